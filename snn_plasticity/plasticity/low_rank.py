"""A closed loop for one sample and large layers: the current weight drives every step, and is not built at every step.

    w(t) = w_0 + C_t·e_0 + Σ_s D_ts f_s,      C_t = lr Σ_{u ≤ t} m_u β^(u+1),   D_ts = lr Σ_{s ≤ u ≤ t} m_u β^(u−s)

Between two folds the weight is two matrices at rest and a few vectors per step, so that w(t)·pre costs the columns that
spike and K vectors; matrices are touched once in K steps. Exact for linear traces whose clamp does not bind and weights
without bounds.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import EligibilityConfig
from .dense import Dense
from .kernels import Pair
from .rule import EligibilityRule

FOLD = 64  # steps between two folds


class LowRankLoop:
    """A layer (N_post, N_pre) that learns while it runs: drive, observe, modulate, at every step.

    Args:
        weight: where it starts; it is copied.
        config: kernel and linear trace, without clamp, lag 0.
        lr: learning rate.

    Raises:
        ValueError: a trace that is not linear, a clamp, or a lag.

    >>> loop = LowRankLoop(torch.zeros(1, 2), EligibilityConfig(clamp_range=None), lr=0.1)
    >>> loop.observe(torch.tensor([1.0, 0.0]), torch.ones(1))
    >>> loop.modulate(1.0)
    >>> loop.drive(torch.ones(2))
    tensor([0.1000])
    """

    def __init__(self, weight: Tensor, config: EligibilityConfig, lr: float) -> None:
        self.rule = EligibilityRule.of(Dense(weight.shape[1], weight.shape[0]), config)
        if not self.rule.trace.linear or config.clamp_range is not None or config.convention.lag:
            raise ValueError(
                f"trace_type = {config.trace_type!r}, clamp_range = {config.clamp_range}, "
                f"lag = {config.convention.lag}; a low-rank loop is exact for linear traces with clamp_range=None "
                "and lag=0."
            )
        self.beta = float(self.rule.trace.retained(config.dt))
        self.scale = 1.0 / config.tau_e if config.convention.normalize_trace else 1.0
        self.dt, self.lr = config.dt, lr
        self._kernel = None
        self._resting = torch.stack((weight.T, torch.zeros_like(weight.T)))  # w_0 and e_0, a row for each pre neuron
        self._start()

    @property
    def weight(self) -> Tensor:
        """The current weight (N_post, N_pre)."""
        self._fold()
        return self._resting[0].T

    @property
    def eligibility(self) -> Tensor:
        """The current eligibility (N_post, N_pre)."""
        self._fold()
        return self._resting[1].T

    @torch.no_grad()
    def drive(self, pre: Tensor) -> Tensor:
        """w(t)·pre, (N_post,), of spikes or rates (N_pre,)."""
        active = pre.nonzero().squeeze(1)
        resting = torch.einsum("a,kan->kn", pre[active], self._resting[:, active])
        total = resting[0] + self._c * resting[1]
        if not self._left:
            return total
        left, right = torch.stack(self._left), torch.stack(self._right)  # (n, P, N_post), (n, P, N_pre)
        met = (right[:, :, active] @ pre[active]) * self._d[: len(left), None]
        return total + torch.einsum("npo,np->o", left, met)

    @torch.no_grad()
    def observe(self, pre: Tensor, post: Tensor) -> None:
        """One step: spikes pre (N_pre,) and post (N_post,)."""
        if len(self._left) == FOLD:
            self._fold()
        pre, post = pre.unsqueeze(0), post.unsqueeze(0)
        state = self.rule.kernel.init(pre, post) if self._kernel is None else self._kernel
        (ltp, ltd), self._kernel = self.rule.kernel.step(pre, post, state, self.dt)
        signed = [(1.0, pair) for pair in ltp] + [(-1.0, pair) for pair in ltd]
        if not signed:
            signed = [(0.0, Pair(post, pre))]
        if self._left and len(self._left[0]) != len(signed):  # every step between two folds has as many products
            self._fold()
        self._left.append(torch.cat([sign * self.scale * pair.post for sign, pair in signed]))
        self._right.append(torch.cat([pair.pre for _, pair in signed]))

    @torch.no_grad()
    def modulate(self, mod: float | Tensor) -> None:
        """The weight changes by lr · mod · e, for a modulator that is one number."""
        steps = len(self._left)
        self._d[:steps] += self.lr * mod * self._powers[FOLD - steps : FOLD]
        self._c = self._c + self.lr * mod * self.beta**steps

    def _start(self) -> None:
        like = self._resting
        self._left: list[Tensor] = []
        self._right: list[Tensor] = []
        ages = torch.arange(FOLD - 1, -1, -1, dtype=torch.float64)
        self._powers = (self.beta**ages).to(like)  # oldest first
        self._c, self._d = like.new_zeros(()), like.new_zeros(FOLD)

    @torch.no_grad()
    def _fold(self) -> None:
        """Vectors into the matrices."""
        weight, e = self._resting
        weight.add_(self._c * e)
        steps = len(self._left)
        if steps:
            left, right = torch.stack(self._left), torch.stack(self._right).flatten(0, 1)
            weight.addmm_(right.T, (left * self._d[:steps, None, None]).flatten(0, 1))
            ages = self._powers[FOLD - steps :, None, None]
            e.addmm_(right.T, (left * ages).flatten(0, 1), beta=self.beta**steps)
        self._start()
