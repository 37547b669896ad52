"""The rule of eligibility: kernel, Hebbian product and trace in one pure step.

    spikes ─► kernel ─► coincidence ─► Hebbian product ─► trace ─► e

With `Convention(lag=1)` this step's coincidence waits one step, so that `e` is what a modulator of this step meets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._checks import known_as, require_real
from ..config import EligibilityConfig
from ..config.validation import require_config
from ..kernels.kernel_state import Like, batch_axes
from ..kernels.named_kernels import kernel_of
from ..kernels.operands import require_spikes, units_of_post
from ..kernels.stdp import Coincidence, Kernel
from ..layers.geometry import Geometry, correlation
from . import traces
from .traces import Trace, trace_of


class EligibilityState(NamedTuple):
    """Kernel state, eligibility e (B, *weight shape), and the coincidence that waits (lag 1)."""

    kernel: Any
    e: Tensor
    waiting: Coincidence | None = None


@dataclass(frozen=True)
class EligibilityRule:
    """Kernel, geometry and trace together, pure and differentiable.

    >>> import torch
    >>> from snn_plasticity.layers.dense import Dense
    >>> rule = EligibilityRule.of(Dense(2, 1), EligibilityConfig(tau_e=20.0))
    >>> pre, post = torch.ones(1, 2), torch.ones(1, 1)
    >>> e, state = rule.step(pre, post, rule.init(pre, post))
    >>> e
    tensor([[[1., 1.]]])
    """

    geometry: Geometry
    kernel: Kernel
    trace: Trace

    def __post_init__(self) -> None:
        needed = {"geometry": ("check", "product"), "kernel": ("init", "step"), "trace": ("join", "retained")}
        for part, methods in needed.items():
            held = getattr(self, part)
            if isinstance(held, type) or not all(callable(getattr(held, method, None)) for method in methods):
                how = "Dense(3, 4), PairSTDP() and Accumulating(), or objects with their methods"
                raise TypeError(f"EligibilityRule.{part} is {known_as(held)}; expected one as in {how}.")
        laid_out = getattr(self.kernel, "laid_out", None)
        if laid_out is not None:
            object.__setattr__(self, "kernel", laid_out(self.geometry))

    @classmethod
    def of(cls, geometry: Geometry, config: EligibilityConfig) -> EligibilityRule:
        """The rule that a config describes."""
        config = require_config(config, EligibilityConfig)
        if not isinstance(getattr(geometry, "shape", None), tuple):
            raise TypeError(f"geometry is {known_as(geometry)}; expected a layout such as Dense(n_pre, n_post).")
        return cls(geometry, kernel_of(config), trace_of(config))

    def init(self, pre: Tensor, post: Tensor) -> EligibilityState:
        """State before the first step; `pre` and `post` only lend their shape, device and dtype."""
        require_spikes(pre, post)
        self.geometry.check(pre, units_of_post(self.kernel, post))
        e = post.new_zeros(len(post), *self.geometry.shape)
        return EligibilityState(self.kernel.init(pre, post), e)

    def step(
        self, pre: Tensor, post: Tensor, state: EligibilityState, dt: float = 1.0
    ) -> tuple[Tensor, EligibilityState]:
        """One step: the eligibility that a modulator of this step meets, and the new state."""
        self._fits(pre, post, state)
        coincidence, kernel = self.kernel.step(pre, post, state.kernel, dt)
        due, waiting = (state.waiting, coincidence) if self.trace.convention.lag else (coincidence, None)
        e = state.e
        if due is not None:
            says = bool(due.ltp or due.ltd) or due.full is not None
            f = correlation(self.geometry, due) if says else torch.zeros_like(e)
            e = traces.step(self.trace, e, f, dt)
        return e, EligibilityState(kernel, e, waiting)

    def step_(self, pre: Tensor, post: Tensor, state: EligibilityState, dt: float = 1.0) -> EligibilityState:
        """The same step with `state.e` changed in place."""
        self._fits(pre, post, state)
        coincidence, kernel = self.kernel.step(pre, post, state.kernel, dt)
        due, waiting = (state.waiting, coincidence) if self.trace.convention.lag else (coincidence, None)
        if due is not None:
            traces.step_(self.trace, self.geometry, state.e, due, dt)
        return EligibilityState(kernel, state.e, waiting)

    def _fits(self, pre: Tensor, post: Tensor, state: EligibilityState) -> None:
        """Refuse spikes and states of another kind or shape, before anything moves."""
        require_spikes(pre, post)
        if not isinstance(state, EligibilityState):
            raise TypeError(f"state is {known_as(state)}; expected the EligibilityState of rule.init(pre, post).")
        require_real("state.e", state.e)
        if not state.e.is_floating_point():
            raise TypeError(f"state.e is {state.e.dtype}; expected floating point, as from rule.init(pre, post).")
        if state.e.shape != (*post.shape[:1], *self.geometry.shape) or pre.shape[:1] != post.shape[:1]:
            raise ValueError(
                f"state.e has shape {tuple(state.e.shape)}, pre {tuple(pre.shape)}, post {tuple(post.shape)}; expected "
                f"(B, {', '.join(map(str, self.geometry.shape))}) and one B for all. Start with rule.init(pre, post)."
            )

    def batch_axes(self, like: Like) -> list[int | None]:
        """As `kernel_state.batch_axes`, asked once for spikes of a shape."""
        if not isinstance(like, tuple) or len(like) != 2:
            raise TypeError(f"like is {known_as(like)}; expected one step's spikes, (pre, post).")
        require_spikes(*like)
        sizes = tuple(side.shape[1:] for side in like)
        if sizes not in self._axes:
            self._axes[sizes] = batch_axes(self.kernel, like)
        return self._axes[sizes]

    @cached_property
    def _axes(self) -> dict[tuple[torch.Size, ...], list[int | None]]:
        return {}
