"""Any curve of spike timing as a kernel.

    f(t) = Σ_{k ≥ 0} W(k dt) post(t) pre(t−k)  +  Σ_{k ≥ 1} W(−k dt) post(t−k) pre(t)

The last `span` of spikes is kept, so that the curve may have any shape; where W < 0 the pair depresses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import _checks as plain
from .._checks import shown
from ..config.validation import require_number_field
from ..conventions import Convention
from .operands import require_parameters, require_spikes, require_state, require_window
from .stdp import Coincidence, Pair
from .terms import Spikes, Term, Values

MOST_STEPS = 10**6  # of a curve: more is a slip of units


class SpikeHistory(NamedTuple):
    """Spikes of the last steps, newest first: (B, steps, ...)."""

    pre: Tensor
    post: Tensor


@dataclass(frozen=True)
class Window:
    """STDP by a curve W(Δt) of your own, Δt = t_post − t_pre.

    Args:
        curve: a function from Δt (a float, in the unit of dt) to the change that such a pair makes.
        span: largest |Δt| that is remembered.
        dt: step length; every `step` must use the same.
        convention: pairing "all" or "nearest"; a pair in the same step counts once, as W(0), except
            with coincidence "none". Decay does not matter: the curve says it all.

    Raises:
        ValueError: `span` is shorter than one step, the curve is not finite, or `dt` changes.

    >>> import math
    >>> mexican_hat = Window(lambda dt: (1 - (dt / 10) ** 2) * math.exp(-((dt / 10) ** 2) / 2), span=40)
    """

    curve: Callable[[float], float]
    span: float
    dt: float = 1.0
    convention: Convention = field(default_factory=Convention)

    @property
    def words(self) -> str:
        """What it is called in print."""
        name = getattr(self.curve, "__name__", type(self.curve).__name__)
        return f"Window({'curve' if name == '<lambda>' else name})"

    def __post_init__(self) -> None:
        if not callable(self.curve):
            raise ValueError(f"Window.curve = {shown(self.curve)}; expected a function from Δt to a weight change.")
        require_parameters(self)
        require_number_field(self, "dt", 0.0, open_low=True)
        require_number_field(self, "span")
        if self.span < self.dt or self.span > MOST_STEPS * self.dt:
            raise ValueError(
                f"Window.span = {self.span!r} with dt = {self.dt!r}; expected span >= dt > 0, and at most "
                f"{MOST_STEPS} steps."
            )
        self._require_curve()
        steps = range(self._steps + 1)
        after = torch.tensor([float(self.curve(k * self.dt)) for k in steps], dtype=torch.float64)
        before = torch.tensor([0.0] + [float(self.curve(-k * self.dt)) for k in steps if k], dtype=torch.float64)
        if self.convention.coincidence == "none":
            after[0] = 0.0
        if not bool(torch.isfinite(after).all() and torch.isfinite(before).all()):
            raise ValueError("Window.curve is NaN or infinite somewhere within the span; expected finite values.")
        lobes = [(after, True, 1), (after, True, -1), (before, False, 1), (before, False, -1)]
        lobes = [((sign * table).clamp(min=0), is_after, sign) for table, is_after, sign in lobes]
        object.__setattr__(self, "_lobes", [lobe for lobe in lobes if bool(lobe[0].any())])
        object.__setattr__(self, "_tables", {})

    def _require_curve(self) -> None:
        """Refuse a function that does not make a number of a number."""
        try:
            found = self.curve(0.0)
        except TypeError as error:
            raise ValueError(f"Window.curve cannot take Δt = 0.0 ({error}); expected one argument.") from error
        if not isinstance(found, (int, float, Tensor)):
            raise ValueError(f"Window.curve made {shown(found)} of Δt = 0.0; expected a number.")

    @property
    def _steps(self) -> int:
        return round(self.span / self.dt)

    def init(self, pre: Tensor, post: Tensor) -> SpikeHistory:
        """An empty history."""
        require_spikes(pre, post)
        if not pre.dim() or not post.dim():
            raise ValueError("pre and post have no batch axis; expected (B, ...) of each.")
        return SpikeHistory(
            pre.new_zeros(len(pre), self._steps, *pre.shape[1:]),
            post.new_zeros(len(post), self._steps, *post.shape[1:]),
        )

    def step(self, pre: Tensor, post: Tensor, state: SpikeHistory, dt: float = 1.0) -> tuple[Coincidence, SpikeHistory]:
        """One step: post meets the weighted pre history, pre meets the weighted post history."""
        self.check_step(pre, post, dt)
        require_state(state, SpikeHistory, (("pre", pre), ("post", post)), steps=self._steps, alike=True)
        pre_seen, post_seen = self._remember(state.pre, pre), self._remember(state.post, post)
        same_step = self.convention.coincidence != "none"
        products: dict[int, list[Pair]] = {1: [], -1: []}
        for table, is_after, sign in self._lobes_like(pre):
            if is_after:
                past = _weighted(pre_seen, table) if same_step else _weighted(state.pre, table[1:])
                products[sign].append(Pair(post, past))
            else:
                products[sign].append(Pair(_weighted(state.post, table[1:]), pre))
        coincidence = Coincidence(tuple(products[1]), tuple(products[-1]))
        return coincidence, SpikeHistory(pre_seen[:, :-1], post_seen[:, :-1])

    def check_step(self, pre: Tensor, post: Tensor, dt: float = 1.0) -> None:
        """Refuse a step of another length."""
        if not isinstance(dt, float) or dt != self.dt:
            found = plain.require_number("dt", dt, 0.0, open_low=True)
            if found == self.dt:
                return
            raise ValueError(
                f"Window was built for dt = {self.dt:g} and got a step of dt = {found:g}; build it with that dt."
            )

    def window(
        self, pre: Tensor, post: Tensor, state: SpikeHistory | None, dt: float = 1.0
    ) -> tuple[list[Term], SpikeHistory] | None:
        """Many steps (T, B, ...) at once: the curve slides over the trains; None where pairs are nearest."""
        require_window(pre, post)
        plain.require_number("dt", dt, 0.0, open_low=True)
        if self.convention.pairing == "nearest" or dt != self.dt:
            return None
        state = self.init(pre[0], post[0]) if state is None else state
        require_state(state, SpikeHistory, (("pre", pre[0]), ("post", post[0])), steps=self._steps, alike=True)
        pre_seen, post_seen = _continued(state.pre, pre), _continued(state.post, post)
        terms = []
        for table, is_after, sign in self._lobes_like(pre):
            if is_after:
                terms.append(Term(sign, Spikes(post), Values(_slide(pre_seen, table))))
            else:
                terms.append(Term(sign, Values(_slide(post_seen, table)), Spikes(pre)))
        histories = (seen[-self._steps :].flip(0).transpose(0, 1) for seen in (pre_seen, post_seen))
        return terms, SpikeHistory(*histories)

    def _lobes_like(self, spikes: Tensor) -> list[tuple[Tensor, bool, int]]:
        """The parts of the curve, on the device of the spikes (copied there once)."""
        tables = self._tables  # type: ignore[attr-defined]
        key = (spikes.device, spikes.dtype)
        if key not in tables:
            lobes = self._lobes  # type: ignore[attr-defined]
            tables[key] = [(t.to(spikes.device, spikes.dtype), is_after, sign) for t, is_after, sign in lobes]
        return tables[key]

    def _remember(self, history: Tensor, spike: Tensor) -> Tensor:
        """The history with this step in front; only the latest spike where pairs are nearest."""
        spike = spike.unsqueeze(1)
        if self.convention.pairing == "nearest":
            history = torch.where(spike != 0, torch.zeros_like(history), history)
        return torch.cat((spike, history), dim=1)


def _weighted(history: Tensor, table: Tensor) -> Tensor:
    """Σ_k table[k] · history[:, k]."""
    return torch.einsum("bk...,k->b...", history, table)


def _continued(history: Tensor, trains: Tensor) -> Tensor:
    """History and trains in one, oldest first: (steps + T, B, ...)."""
    return torch.cat((history.flip(1).transpose(0, 1), trains))


def _slide(seen: Tensor, table: Tensor) -> Tensor:
    """Σ_k table[k] · seen[t − k] for every step of the trains: (T, B, ...)."""
    flat = seen.flatten(1).T.unsqueeze(1)
    past = F.conv1d(flat, table.flip(0).view(1, 1, -1))
    return past.squeeze(1).T.reshape(-1, *seen.shape[1:])
