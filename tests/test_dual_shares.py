"""A share of the steps, whatever the signal; and a minimum, whatever the condition."""

from __future__ import annotations

import math
import random

import pytest

from snn_plasticity import PlasticityWarning
from snn_plasticity.dual import (
    Always,
    AtLeast,
    CountMatched,
    Curiosity,
    Every,
    FromStep,
    History,
    LossDecrease,
    Never,
    Plateau,
    RandomActivation,
    Seeking,
    When,
    replay,
)

STEPS = 1200
NOTHING = [0.0] * STEPS


def drift(rng: random.Random) -> list[float]:
    x = [0.0]
    for _ in range(STEPS - 1):
        x.append(0.95 * x[-1] + rng.gauss(0, 1))
    return x


def signals() -> dict[str, list[float]]:
    rng = random.Random(7)
    return {
        "uniform": [rng.random() for _ in range(STEPS)],
        "heavy": [rng.paretovariate(0.5) for _ in range(STEPS)],
        "cauchy": [math.tan(math.pi * (rng.random() - 0.5)) for _ in range(STEPS)],
        "slow": drift(rng),
        "rising": [float(t) for t in range(STEPS)],
        "falling": [-float(t) for t in range(STEPS)],
        "decaying": [math.exp(-t / 300) + 0.05 * rng.random() for t in range(STEPS)],
        "rare": [float(rng.random() < 0.1) for _ in range(STEPS)],
        "often": [float(rng.random() < 0.6) for _ in range(STEPS)],
        "waves": [math.sin(t / 60) for t in range(STEPS)],
        "steps": [rng.random() + 5.0 * (t > STEPS // 2) for t in range(STEPS)],
        "tiny": [1e-300 * rng.random() for t in range(STEPS)],
    }


SIGNALS = signals()
ASKED = [(name, 0.3) for name in SIGNALS]
ASKED += [(name, share) for name in ("rising", "falling", "slow") for share in (0.1, 0.6)]


@pytest.mark.parametrize(("name", "share"), ASKED)
def test_the_share_that_was_asked_for_is_reached_with_any_signal(name, share) -> None:
    values = SIGNALS[name]
    said = replay(Curiosity(share=share), NOTHING, {"novelty": values})
    assert sum(said) / STEPS == pytest.approx(share, abs=0.03)
    both = {"curiosity": values, "anticipation": SIGNALS["uniform"]}
    assert sum(replay(Seeking(share=share), NOTHING, both)) / STEPS == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("condition", [Curiosity(share=0.3), Seeking(None, None, "novelty", "novelty", 0.3)])
def test_what_is_denied_is_the_other_share(condition) -> None:
    for name in ("uniform", "rising"):
        said = replay(~condition, NOTHING, {"novelty": SIGNALS[name]})
        assert sum(said) / STEPS == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize("change", [lambda v: 1e9 * v - 5, math.atan, lambda v: v**3, lambda v: -math.exp(-v / 50)])
def test_a_monotone_transform_of_either_signal_changes_no_decision(change) -> None:
    first, second = SIGNALS["slow"][:600], [50 * v for v in SIGNALS["uniform"][:600]]
    once = replay(Seeking(share=0.3), NOTHING[:600], {"curiosity": first, "anticipation": second})
    for a, b in ((change, float), (float, change), (change, change)):
        changed = {"curiosity": [a(v) for v in first], "anticipation": [b(v) for v in second]}
        assert replay(Seeking(share=0.3), NOTHING[:600], changed) == once
    assert replay(Curiosity(share=0.3), NOTHING[:600], {"novelty": first}) == replay(
        Curiosity(share=0.3), NOTHING[:600], {"novelty": [change(v) for v in first]}
    )


def test_it_is_the_steps_at_which_the_signal_is_high() -> None:
    values = SIGNALS["uniform"]
    said = replay(Curiosity(share=0.3), NOTHING, {"novelty": values})
    on = [v for v, m in zip(values, said, strict=True) if m]
    off = [v for v, m in zip(values, said, strict=True) if not m]
    assert sum(v > 0.6 for v in on) / len(on) > 0.92 and sum(v < 0.8 for v in off) / len(off) > 0.92
    second = list(reversed(values))
    said = replay(Seeking(share=0.2), NOTHING, {"curiosity": values, "anticipation": second})
    lesser = [min(pair) for pair in zip(values, second, strict=True)]
    on = [v for v, m in zip(lesser, said, strict=True) if m]
    assert sum(on) / len(on) > 0.55 > 0.4 > sum(lesser) / STEPS


def test_no_long_debt_after_a_warm_up() -> None:
    said = replay(FromStep(500) & Curiosity(share=0.3), NOTHING, {"novelty": SIGNALS["uniform"]})
    assert not any(said[:500])
    assert 0.3 * 100 < sum(said[500:600]) < 0.5 * 100
    assert all(sum(said[t : t + 100]) / 100 == pytest.approx(0.3, abs=0.15) for t in range(600, 1100))


def test_a_constant_signal_is_said_once_and_spread_evenly() -> None:
    with pytest.warns(PlasticityWarning, match="has been 0.5 for 100 steps") as said:
        motivated = replay(Curiosity(share=0.25), NOTHING[:400], {"novelty": [0.5] * 400})
    assert len(said) == 1
    assert sum(motivated[100:]) == pytest.approx(75, abs=1)
    assert all(3 <= sum(motivated[t : t + 20]) <= 7 for t in range(100, 380))


class Counted(list):
    """A list that counts what is read of it."""

    read = 0

    def __getitem__(self, where):  # type: ignore[no-untyped-def]
        found = super().__getitem__(where)
        Counted.read += len(found) if isinstance(where, slice) else 1
        return found

    def __iter__(self):  # type: ignore[no-untyped-def]
        raise AssertionError("all of it is read")

    __reversed__ = __iter__


@pytest.mark.parametrize("condition", [Seeking(0.9, 0.1), Seeking(share=0.3), Curiosity(share=0.3), Plateau()])
def test_a_decision_reads_no_more_of_a_long_history_than_of_a_short_one(condition) -> None:
    def cost(steps: int) -> int:
        values = [0.4 + 0.1 * (t % 7) / 7 for t in range(steps + 1)]
        names = ("novelty", "curiosity", "anticipation")
        history = History(
            Counted(values[:-1]), Counted([t % 3 == 0 for t in range(steps)]), {n: Counted(values) for n in names}
        )
        Counted.read = 0
        condition(history)
        return Counted.read

    assert cost(50_000) == cost(2_000) < 1500


def test_between_the_thresholds_it_stays_as_it_was_for_however_long() -> None:
    level = [0.9] + [0.5] * 400 + [0.1] + [0.5] * 400
    said = replay(
        Seeking(0.8, 0.2, at_least=None), [0.0] * len(level), {"curiosity": level, "anticipation": [1.0] * len(level)}
    )
    assert said == [True] * 401 + [False] * 401
    kept = replay(Seeking(0.8, 0.2), [0.0] * len(level), {"curiosity": level, "anticipation": [1.0] * len(level)})
    assert sum(kept[401:]) == 401 // 20 and all(kept[:401])


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 20, 49])
def test_a_minimum_under_never_is_every_nth_step(n) -> None:
    assert replay(AtLeast(Never(), 1 / n), [0.0] * 200) == replay(Every(n), [0.0] * 200)


@pytest.mark.parametrize("share", [1 / 20, 0.07, 1 / 3, 0.45])
@pytest.mark.parametrize("condition", [RandomActivation(0.05, 1), CountMatched(9, 300), FromStep(200), Every(13)])
def test_a_minimum_is_a_longest_wait_and_nothing_else(condition, share) -> None:
    plain, waited, expected = replay(condition, [0.0] * 300), 0, []
    for own in plain:
        expected.append(own or waited >= math.floor(1 / share) - 1)
        waited = 0 if expected[-1] else waited + 1
    assert replay(AtLeast(condition, share), [0.0] * 300) == expected
    assert sum(expected) / 300 >= share - 1 / 300


def test_a_minimum_stands_whatever_is_denied_and_yields_to_and() -> None:
    rng = random.Random(3)
    losses = [rng.random() for _ in range(300)]

    def said(condition):  # type: ignore[no-untyped-def]
        return replay(condition, losses)

    a, b = AtLeast(RandomActivation(0.03, 1), 1 / 8), AtLeast(RandomActivation(0.9, 2), 1 / 5)
    assert said(~a) == said(AtLeast(~RandomActivation(0.03, 1), 1 / 8))
    assert said(~~a) == said(a) and said(~(a & b)) == said(~a | ~b) and said(~(a | b)) == said(~a & ~b)
    assert said(~AtLeast(Always(), 1 / 4)) == said(Every(4))
    assert said(~Plateau(2, at_least=1 / 6)) == said(AtLeast(~Plateau(2, at_least=None), 1 / 6))
    assert not any(said(a & FromStep(50))[:50]) and said(a & FromStep(50))[50]
    assert said(a | LossDecrease(2)) == said(AtLeast(RandomActivation(0.03, 1) | LossDecrease(2), 1 / 8))
    own = AtLeast(lambda history: history.step == 5, 1 / 50)
    assert [t for t, m in enumerate(said(own)) if m] == [5, 55, 105, 155, 205, 255]
    assert said(~When(lambda history: True) | own) == said(own)


def test_minima_are_on_where_motivation_may_dry_up_and_none_takes_them_away() -> None:
    still = {name: [0.0] * 100 for name in ("novelty", "curiosity", "anticipation")}
    for kind in (Seeking, Curiosity, Plateau):
        falling = [1.0 / (1 + t) for t in range(100)]
        assert replay(kind(), falling, still) == replay(Every(20), falling)
        assert not any(replay(kind(at_least=None), falling, still))
    assert not any(replay(LossDecrease(2), [1.0] * 100))


def test_shares_and_minima_out_of_range_are_refused() -> None:
    for wrong in (
        lambda: Curiosity(share=0.0), lambda: Curiosity(share=1.5), lambda: Curiosity(share=0.3, window=9),
        lambda: Curiosity(0.5, share=0.3), lambda: Seeking(0.5, share=0.3), lambda: Seeking(share=0.02),
        lambda: AtLeast(Never(), 0.0), lambda: AtLeast(Never(), 1.1), lambda: Plateau(at_least=-1.0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            wrong()
    assert Seeking(share=0.02, at_least=None).share == 0.02
    with pytest.raises(TypeError, match="expected"):
        AtLeast("never")  # type: ignore[arg-type]
