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
    "its learner.step(reward=)": (260, 31, 16),
    "observing a step, a reward at each": (25, 6, 5),
    "its learner.step": (50, 11, 8),
}
if not _compiled.available():
    LIMITS |= {"observing a step, a reward at each": (60, 19, 10), "its learner.step": (70, 19, 10)}


@pytest.mark.parametrize("preset", shown.presets())
def test_a_step_stays_short(preset):
    found = hops.of_a_net(shown.presets()[preset])
    assert set(found) == set(LIMITS)
    for what, way in found.items():
        assert way.calls > 0, "nothing was counted"
        for now, most in zip((way.calls, way.files, way.depth), LIMITS[what], strict=True):
            assert now <= most, f"{what}: {way}, where (calls, files, depth) may be {LIMITS[what]}"
