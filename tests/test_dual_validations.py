"""Validations are part of the history: conditions read them, runs resume and replay with them."""

from __future__ import annotations

import pytest
from test_dual_nets import batches
from test_dual_resume import everything
from test_dual_trainer import equal, two

from snn_plasticity.dual import DualReport, History, Plateau, Score, When, replay
from snn_plasticity.dual.report import ValidationPoint


def point(step: int, loss: float) -> ValidationPoint:
    return ValidationPoint(step, 0, 0, 0, 0.0, Score(loss, 0.5), None)


def test_a_plateau_of_validation_is_one_of_the_means_by_hand() -> None:
    losses = [1.0, 0.8, 0.79, 0.78, 0.5, 0.6]
    for window in (1, 2):
        for count in range(len(losses)):
            history = History(validations=[point(k, loss) for k, loss in enumerate(losses[:count])])
            late, early = losses[max(count - window, 0) : count], losses[max(count - 2 * window, 0) : count - window]
            expected = count >= 2 * window and sum(late) > 0.95 * sum(early)
            assert Plateau(window, 0.05, on="validation")(history) is expected


def test_the_base_at_a_plateau_of_validation_recruits_until_the_next_one() -> None:
    asked = replay(Plateau(1, on="validation"), [1.0] * 8, validations=[point(2, 1.0), point(4, 1.0), point(6, 0.5)])
    assert asked == [False] * 4 + [True] * 2 + [False] * 2
    with pytest.raises(TypeError, match="validations"):
        replay(Plateau(1), [1.0], validations=[0.5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="training"):
        Plateau(1, on="test")  # type: ignore[arg-type]


def test_the_history_and_the_report_hold_the_same_validations() -> None:
    report = DualReport(curve=[point(1, 0.5)])
    report.curve.append(point(2, 0.4))
    assert report.history.validations is report.curve
    again = DualReport.from_dict(report.to_dict())
    assert again.history.validations == again.curve == report.curve


def test_a_run_moved_by_validations_resumes_and_replays(tmp_path) -> None:
    condition = Plateau(1, 0.0, on="validation") | When(lambda h: len(h.validations) % 3 == 2)
    data, plan = batches(), {"validation": batches(2, 3), "validate_every": 2, "progress": False}
    whole = two(condition)
    report = whole.fit(data, 3, **plan)
    assert 0 < report.share < 1
    assert replay(condition, report.history.losses, report.history.signals, report.curve) == report.history.motivated
    for stop in (1, 4, 7, 9):
        first, second = two(condition), two(condition)
        first.fit(data, 3, max_steps=stop, **plan)
        first.save(tmp_path / "run.pt")
        second.load(tmp_path / "run.pt")
        second.fit(data, 3, **plan)
        assert equal(everything(second), everything(whole))
