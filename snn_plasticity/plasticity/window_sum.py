"""Σ_t Σ_b f_t of a window, straight from the spikes: for what is used up at once and leaves no eligibility behind."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from .._checks import has_finite_sum, require_finite
from .._untracked import untracked
from ..kernels.online import OnlineGradient
from ..layers.dense import Dense
from ..layers.geometry import Product
from ..layers.spike_trains import as_numbers
from ._engine.spikes import SpikeBlock
from ._engine.stepping import sum_of_steps
from .eligibility import EligibilityTraceModule
from .input_checks import recordable

SINGLE_STEPS = 2  # up to so many, they are taken one by one


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
        single = len(pre) <= SINGLE_STEPS or getattr(traces.rule.kernel, "per_synapse", False)
        if single and running.batch_size:
            return _by_steps(traces, pre, post, dt)
        total, state = running.like[1].new_zeros(traces.rule.geometry.shape), running.state
        for start in range(0, len(pre) if running.batch_size else 0, running._length):
            now = pre[start : start + running._length], post[start : start + running._length]
            sum_of_steps(state, SpikeBlock(*now, dt, len(now[0])), total)
    return total


def sum_step(traces: EligibilityTraceModule, pre: Tensor, post: Tensor) -> Tensor | None:
    """The same of one step (B, ...) that fits the running sequence, without looking at what `begin` has looked at.

    None, and nothing, where there is another way for it, or something to refuse.
    """
    running, rule = traces._running, traces.rule
    if (
        running is None or type(rule.geometry) is not Dense or type(rule.kernel) is not OnlineGradient
        or not pre.dtype is post.dtype is running.like[0].dtype or not pre.is_cpu or not running.batch_size
    ):  # fmt: skip
        return None
    state, like, kernel = running.state, running.like, cast("OnlineGradient", rule.kernel)
    before = kernel.init(*like) if state.kernel is None else state.kernel
    with untracked(like[0]):
        coincidence, after = kernel.step(pre, post, before, traces.config.dt)
        pair = coincidence.ltp[0]
        total = like[1].new_empty(rule.geometry.shape)
        rule.geometry.contract_(total, Product(pair.post.unsqueeze(0), pair.pre.unsqueeze(0)), 0.0)
        if not has_finite_sum(total):  # every number that came in has a part in it
            return None
    state.kernel = after
    return total


def _by_steps(traces: EligibilityTraceModule, pre: Tensor, post: Tensor, dt: float) -> Tensor:
    """The same, step by step."""
    rule, running = traces.rule, traces._begun(pre[0], post[0])
    total, state = running.like[1].new_zeros(rule.geometry.shape), running.state
    if state.kernel is None:
        state.kernel = rule.kernel.init(*running.like)
    for now_pre, now_post in zip(as_numbers(pre, total.dtype), post, strict=True):
        coincidence, state.kernel = rule.kernel.step(now_pre, now_post, state.kernel, dt)
        if coincidence.full is not None:
            total += coincidence.full.sum(0)
        for pair in coincidence.ltp:
            rule.geometry.contract_(total, Product(pair.post.unsqueeze(0), pair.pre.unsqueeze(0)), 1.0)
    return total
