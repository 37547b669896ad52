"""Σ_t Σ_b f_t of a window, straight from the spikes: for what is used up at once and leaves no eligibility behind."""

from __future__ import annotations

from torch import Tensor

from .._checks import require_finite
from .._untracked import untracked
from ._engine.spikes import SpikeBlock
from ._engine.stepping import sum_of_steps
from .eligibility import EligibilityTraceModule
from .input_checks import recordable


def begin(traces: EligibilityTraceModule, pre: Tensor, post: Tensor, *, anew: bool) -> None:
    """Refuse a step (B, ...) of other neurons or samples than the running sequence; where none runs, one begins.

    Args:
        traces: of the connection.
        pre, post: only their shape, kind and device count.
        anew: whether a new sequence begins with it, of as many samples as it likes.
    """
    traces._fits(pre, post, None, anew=anew)
    traces._begun(pre, post)


def sum_window(traces: EligibilityTraceModule, pre: Tensor, post: Tensor) -> Tensor:
    """Σ_t Σ_b f_t, shaped like the weight; what the kernel remembers goes on, and e stays as it is.

    Args:
        traces: of the connection.
        pre, post: (T, B, ...).

    Raises:
        TypeError, ValueError: as `EligibilityTraceModule.observe_window`.
    """
    dt = traces._window_fits(pre, post, None)
    kept = recordable("pre", pre), require_finite("post", post)
    running = traces._begun(pre[0], post[0])
    pre, post = traces._wide(*kept)
    with untracked(running.like[0]):
        total, state = running.like[1].new_zeros(traces.rule.geometry.shape), running.state
        for start in range(0, len(pre) if running.batch_size else 0, running._length):
            now = pre[start : start + running._length], post[start : start + running._length]
            sum_of_steps(state, SpikeBlock(*now, dt, len(now[0])), total)
    return total
