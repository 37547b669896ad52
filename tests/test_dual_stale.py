"""A large net that went stale is said, and a refresh at the end that is known keeps it from that."""

from __future__ import annotations

import math

import pytest
import torch
from test_dual_nets import batches, seeded, snntorch_net, trainee

from snn_plasticity import PlasticityWarning
from snn_plasticity.dual import (
    AtLeast,
    DualModelTrainer,
    DualReport,
    History,
    LastSteps,
    LossDecrease,
    Never,
    Plateau,
    Score,
    Seeking,
    replay,
    widen,
)
from snn_plasticity.dual.conditions.staleness import stale_sentence
from snn_plasticity.dual.report import ValidationPoint


def two(condition) -> DualModelTrainer:
    base = seeded(snntorch_net)
    large, weights = widen(base, 2)
    return DualModelTrainer(trainee(base), trainee(large), weights, condition, seed=1)


def counted(losses: int) -> dict[str, list[int]]:
    return {"steps_left": list(range(losses, 0, -1))}


@pytest.mark.parametrize(("steps", "last"), [(1000, 20), (400, 20), (399, 19), (100, 5), (19, 0)])
def test_a_minimum_ends_in_a_refresh_that_is_no_more_than_its_share(steps, last) -> None:
    asleep = lambda history: False  # noqa: E731
    said = replay(AtLeast(asleep, 1 / 20), [1.0] * steps, counted(steps))
    spread = replay(AtLeast(asleep, 1 / 20), [1.0] * steps)
    assert said[steps - last :] == [True] * last and said[: steps - last] == spread[: steps - last]
    for other in (Plateau(), ~AtLeast(lambda history: True, 1 / 20)):
        assert replay(other, [1.0 / (t + 1) for t in range(steps)], counted(steps))[steps - last :] == [True] * last
    assert not any(replay(Plateau(at_least=None), [1.0 / (t + 1) for t in range(steps)], counted(steps)))


def test_last_steps_are_those_before_the_end_and_combine() -> None:
    assert replay(LastSteps(3), [1.0] * 9, counted(9)) == [False] * 6 + [True] * 3
    assert not any(replay(LastSteps(3), [1.0] * 9))  # nobody knows when it ends
    both = LossDecrease(2) | LastSteps(2)
    assert replay(both, [3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0], counted(7)) == [False] * 3 + [True, False, True, True]


def test_fit_knows_its_end_and_a_replay_of_what_was_logged_is_the_run() -> None:
    report = two(AtLeast(Never(), 1 / 8)).fit(batches(8), 4, progress=False)
    history = report.history
    assert history.motivated == [t % 8 == 7 or t >= 28 for t in range(32)]
    assert history.signals["steps_left"] == list(range(32, 0, -1))
    assert replay(AtLeast(Never(), 1 / 8), history.losses, history.signals) == history.motivated


def test_a_pause_is_no_end_and_a_run_in_pieces_is_the_run(tmp_path) -> None:
    whole = two(Seeking(share=0.3, window=10, at_least=1 / 8)).fit(batches(8), 4, progress=False)
    pieces = two(Seeking(share=0.3, window=10, at_least=1 / 8))
    for stop in (3, 9, 29, None):
        pieces.fit(batches(8), 4, progress=False, max_steps=stop)
        pieces.save(tmp_path / "run.pt")
        pieces = two(Seeking(share=0.3, window=10, at_least=1 / 8))
        pieces.load(tmp_path / "run.pt")
    assert pieces.report.history.motivated == whole.history.motivated
    assert pieces.report.history.losses == whole.history.losses
    longer = two(AtLeast(Never(), 1 / 8))
    longer.fit(batches(8), 2, progress=False)
    longer.fit(batches(8), 4, progress=False)
    assert longer.report.history.motivated[14:16] == longer.report.history.motivated[28:] * 0 + [True, True]
    assert longer.report.history.motivated[28:] == [True] * 4


def test_steps_by_hand_and_loaders_without_a_length_have_no_end() -> None:
    class Endless:
        def __iter__(self):
            return iter(batches(8))

    trainer = two(AtLeast(Never(), 1 / 8))
    for batch in batches(8):
        trainer.step(batch)
    trainer.fit(Endless(), 1, progress=False)
    assert "steps_left" not in trainer.report.history.signals
    trainer.fit(batches(8), 2, progress=False)
    assert trainer.report.history.signals["steps_left"][-9:] == [0, *range(8, 0, -1)]
    trainer.step(batches(1)[0])
    trainer.fit(Endless(), 3, progress=False)
    assert not any(trainer.report.history.signals["steps_left"][24:])


def report_of(base: Score, large: Score | None, condition: str = "Plateau()") -> DualReport:
    history = History([1.0] * 10, [t in (1, 3) for t in range(10)])
    return DualReport(history, [], [ValidationPoint(10, 1, 0, 0, 0.0, base, large)], condition)


def test_a_large_net_below_the_small_one_is_said_with_what_to_do() -> None:
    said = stale_sentence(report_of(Score(0.3, 0.9), Score(0.4, 0.8)))
    assert said is not None and "accuracy 0.8 against 0.9" in said
    assert "in 2 of 10 steps, the last time 7 ago" in said and "AtLeast(" in said and "LastSteps(" in said
    assert said in report_of(Score(0.3, 0.9), Score(0.4, 0.8)).table()
    nan = math.nan
    assert "loss 0.4 against 0.3" in str(stale_sentence(report_of(Score(0.3, nan), Score(0.4, nan))))
    assert "f1 0.1 against 0.2" in str(stale_sentence(report_of(Score(1, 1, 0.2, "f1"), Score(1, 1, 0.1, "f1"))))
    for fresh in (
        report_of(Score(0.3, 0.8), Score(0.4, 0.9)), report_of(Score(0.3, nan), Score(0.3, nan)),
        report_of(Score(0.3, 0.9), None), report_of(Score(0.3, 0.9), Score(0.4, 0.8), "Never()"), DualReport(),
    ):  # fmt: skip
        assert stale_sentence(fresh) is None


def test_a_difference_within_chance_of_the_samples_is_none() -> None:
    """0.40 and 0.45 of n: one standard error is 0.70 / √n."""
    for n, said in ((100, False), (300, True)):
        small, large = (Score(1.0, a, None, "accuracy", n) for a in (0.45, 0.40))
        assert (stale_sentence(report_of(small, large)) is not None) is said


def test_fit_says_it_once_when_it_is_over() -> None:
    """The large net is recruited in the beginning only, and the base goes on; two labels that a line tells apart."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(400, 4, generator=rng)
    data = list(zip((2 * x).split(20), (x[:, 0] > x[:, 1]).long().split(20), strict=True))
    base = seeded(lambda: snntorch_net(12, norm=False))
    large, weights = widen(base, 6)
    trainer = DualModelTrainer(trainee(base), trainee(large), weights, lambda history: history.step < 3, seed=1)
    with pytest.warns(PlasticityWarning, match="large net is below the small one at the last validation") as said:
        report = trainer.fit(data, 8, validation=data, progress=False)
    assert len(said) == 1
    assert report.curve[-1].base.accuracy > report.curve[-1].score("motivated").accuracy
    two(Never()).fit(data[:2], 1, validation=data, progress=False)


def test_files_saved_before_there_were_minima_are_runs_without_them() -> None:
    before = {"kind": "snn_plasticity.dual.motivation.Seeking", "on": 0.2, "off": 0.1, "curiosity": "curiosity"}
    before["anticipation"] = "anticipation"
    trainer, other, third = (two(Seeking(0.2, 0.1, at_least=least)) for least in (None, None, 1 / 20))
    trainer.fit(batches(8), 2, progress=False)
    saved = trainer.state_dict()
    saved["settings"] = {"condition": before, "coupling": saved["settings"]["coupling"]}
    other.load_state_dict(saved)
    assert other.report.history.motivated == trainer.report.history.motivated
    with pytest.raises(ValueError, match="condition.at_least was None and is 0.05"):
        third.load_state_dict(saved)
