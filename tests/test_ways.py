"""How far a step may be: calls, files and depth of observing one and of `learner.step`, which grow unseen otherwise.

`benchmarks/hops.py` shows where they are; the limits only ever go down.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from snn_plasticity import _compiled

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
import hops  # noqa: E402
import shown  # noqa: E402

LIMITS = {  # calls, files, depth
    "observing a step of a window": (25, 6, 6),
    "its learner.step(reward=)": (170, 29, 15),
    "its learner.step(reward=), the first of all": (255, 36, 16),
    "observing a step, a reward at each": (25, 6, 5),
    "its learner.step": (47, 11, 8),
}
if not _compiled.available():
    LIMITS |= {"observing a step, a reward at each": (60, 19, 10), "its learner.step": (65, 17, 8)}


# More where a kernel asks the host for more than spikes, where a change goes to the gradient, or a bound is a norm.
ASKING = {"observing a step of a window": (25, 12, 6), "observing a step, a reward at each": (80, 26, 10)}
LIMITS_OF = {
    "reward_readout()": {  # weights that compete are no soft bounds, which land in one compiled pass
        "its learner.step(reward=)": (182, 32, 15),
        "its learner.step": (110, 19, 12),
    },
    "eprop()": ASKING,
    "reward_all_layers()": ASKING | {"its learner.step(reward=)": (170, 31, 15), "its learner.step": (110, 19, 12)},
    "unsupervised()": {
        "its learner.step(reward=)": (170, 31, 15),
        "its learner.step": (110, 19, 12),
    },
}
LIMITS_OF_A_LOOP = {"AffectiveLoop.step": (110, 25, 12), "AffectiveLoop.step, the first of all": (227, 42, 18)}


def held(found, limits):
    assert set(found) == set(limits)
    for what, way in found.items():
        assert way.calls > 0, "nothing was counted"
        for now, most in zip((way.calls, way.files, way.depth), limits[what], strict=True):
            assert now <= most, f"{what}: {way}, where (calls, files, depth) may be {limits[what]}"


@pytest.mark.parametrize("preset", shown.presets())
def test_a_step_stays_short(preset):
    held(hops.of_a_net(shown.presets()[preset]), LIMITS | LIMITS_OF.get(preset, {}))


def test_a_step_of_the_loop_stays_short():
    held(hops.of_a_loop(), LIMITS_OF_A_LOOP)
