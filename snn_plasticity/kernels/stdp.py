"""Kernels: the correlation of pre and post, as a few products of neuron-sized vectors.

    f = Σ post_k ⊗ pre_k  (potentiation)  −  Σ post_k ⊗ pre_k  (depression)

    rate            f = post ⊗ pre
    stdp_pair       f = A₊ post ⊗ x  −  A₋ y ⊗ pre
    stdp_symmetric  f = A₊ post ⊗ x  +  A₋ y ⊗ pre

    x, y     spike traces of pre and post, time constants τ₊ and τ₋

A kernel never sees weights: what a synapse stores is the business of `synapses` and `eligibility`. Every kernel has
`init(pre, post) -> state` and `step(pre, post, state, dt) -> (Coincidence, state)`, pure and differentiable, and works
element by element, so that `pre` and `post` may have any shape that begins with the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..conventions import Convention
from ..decay import decay_factor
from .balance import pair_traces
from .operands import require_parameters, require_spikes, require_state, require_window
from .parameters import Number as Number
from .parameters import plain_numbers, require_decays, require_fit
from .terms import Filtered, Spikes, StateAfter, Term, accepts_bool


class Pair(NamedTuple):
    """One product of the correlation: `post` (B, *post shape) times `pre` (B, *pre shape)."""

    post: Tensor
    pre: Tensor


class Coincidence(NamedTuple):
    """What one step says about every synapse: products that potentiate, products that depress."""

    ltp: tuple[Pair, ...]
    ltd: tuple[Pair, ...] = ()

    full = None  # no field: what is said of each synapse beside the products, as a `FullCoincidence` says


class FullCoincidence(NamedTuple):
    """What one step says about every synapse where neurons make it a matter of each: f itself, (B, *weight shape).

    The kernel says so beforehand, with an attribute `per_synapse = True`.
    """

    full: Tensor
    ltp: tuple[Pair, ...] = ()
    ltd: tuple[Pair, ...] = ()


@runtime_checkable
class Kernel(Protocol):
    """Anything with `init` and `step`; a kernel of your own needs no edit here.

    The state is made of tensors and numbers, alone or in tuples, lists and dicts. Which axis of a tensor counts samples
    is seen from how it grows with the batch; a tensor that does not grow belongs to the whole batch, and stays as it is
    when single samples are reset. `step` may return other products from step to step, or none. A method
    `check_step(pre, post, dt)` that raises is asked before spikes are taken.
    """

    def init(self, pre: Tensor, post: Tensor) -> Any:
        """State before the first step, shaped like one step's spikes."""
        ...

    def step(self, pre: Tensor, post: Tensor, state: Any, dt: float = 1.0) -> tuple[Coincidence, Any]:
        """One step: the products of this step, and the state after it."""
        ...


class SpikeTraces(NamedTuple):
    """Traces of the spikes so far: pre and post, (B, ...)."""

    x: Tensor
    y: Tensor


def advance_trace(
    trace: Tensor, spike: Tensor, tau: Number, dt: float, convention: Convention
) -> tuple[Tensor, Tensor]:
    """The trace just before this step's spike, and just after it."""
    before = trace * decay_factor(tau, dt, convention.spike_trace_decay)
    if convention.pairing == "nearest":
        return before, torch.where(spike != 0, spike, before)
    return before, before + spike


def spike_filters(
    tau_plus: float,
    tau_minus: float,
    convention: Convention,
    spikes: tuple[Tensor, Tensor],
    state: SpikeTraces | None,
    dt: float,
) -> tuple[Filtered, Filtered]:
    """The pre and post traces of a window, as far as each is seen by the other side's spikes."""
    (pre, post), (x, y), mode = spikes, state or (None, None), convention.spike_trace_decay
    return (
        Filtered(pre, decay_factor(tau_plus, dt, mode), x, exclusive=convention.coincidence == "none"),
        Filtered(post, decay_factor(tau_minus, dt, mode), y, exclusive=convention.coincidence != "both"),
    )


@dataclass(frozen=True)
class Rate:
    """Hebbian product of activities: f = post ⊗ pre.

    >>> import torch
    >>> Rate().step(torch.ones(1, 2), torch.ones(1, 3), None)[0].ltp[0].post.shape
    torch.Size([1, 3])
    """

    words: ClassVar[str] = "rate"

    def init(self, pre: Tensor, post: Tensor) -> None:
        """No memory."""
        require_spikes(pre, post)

    def step(self, pre: Tensor, post: Tensor, state: None, dt: float = 1.0) -> tuple[Coincidence, None]:
        """One step; `dt` does not matter."""
        if not (isinstance(pre, Tensor) and isinstance(post, Tensor)):
            require_spikes(pre, post)
        return Coincidence((Pair(post, pre),)), None

    @accepts_bool
    def window(self, pre: Tensor, post: Tensor, state: None, dt: float = 1.0) -> tuple[list[Term], None]:
        """Many steps (T, B, ...) at once."""
        require_window(pre, post)
        return [Term(1.0, Spikes(post), Spikes(pre))], None

    def balance(self, dt: float = 1.0, *, pre_rate: Number | None = None, post_rate: Number | None = None) -> Number:
        """There is none: nothing depresses.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "Rate has no depression, so that no amplitude balances it: chance coincidences always potentiate. "
            "Subtract a reward baseline from the modulator, or take a kernel that depresses, as 'stdp_pair'."
        )


@dataclass(frozen=True)
class PairSTDP:
    """Pair STDP: two spikes change a synapse by how far apart they are.

        W(Δt) = A₊ exp(−Δt/τ₊)  for post after pre,  −A₋ exp(Δt/τ₋)  for pre after post

    Args:
        tau_plus, tau_minus: time constants of pre and post, in the unit of dt; a tensor holds one number or one for
            each neuron, and keeps its gradient.
        a_plus, a_minus: amplitudes, likewise, for each post neuron.
        convention: decay, same-step pairs, and all or nearest pairs.

    >>> kernel = PairSTDP(tau_plus=20.0)

    Song, Miller & Abbott 2000; Morrison, Diesmann & Gerstner 2008.
    """

    words: ClassVar[str] = "stdp_pair"
    tau_plus: Number = 20.0
    tau_minus: Number = 20.0
    a_plus: Number = 1.0
    a_minus: Number = 1.0
    convention: Convention = field(default_factory=Convention)

    def __post_init__(self) -> None:
        require_parameters(self, ("tau_plus", "tau_minus"), ("a_plus", "a_minus"))

    def init(self, pre: Tensor, post: Tensor) -> SpikeTraces:
        """Silent traces."""
        require_spikes(pre, post)
        return SpikeTraces(torch.zeros_like(pre), torch.zeros_like(post))

    def step(self, pre: Tensor, post: Tensor, state: SpikeTraces, dt: float = 1.0) -> tuple[Coincidence, SpikeTraces]:
        """One step: post meets the pre trace, pre meets the post trace."""
        require_state(state, SpikeTraces, (("x", pre), ("y", post)))
        x_before, x = advance_trace(state.x, pre, self.tau_plus, dt, self.convention)
        y_before, y = advance_trace(state.y, post, self.tau_minus, dt, self.convention)
        x_seen = x_before if self.convention.coincidence == "none" else x
        y_seen = y if self.convention.coincidence == "both" else y_before
        ltp, ltd = Pair(self.a_plus * post, x_seen), Pair(self.a_minus * y_seen, pre)
        return Coincidence((ltp,), (ltd,)), SpikeTraces(x, y)

    @accepts_bool
    def window(
        self, pre: Tensor, post: Tensor, state: SpikeTraces | None, dt: float = 1.0
    ) -> tuple[list[Term], StateAfter[SpikeTraces]] | None:
        """Many steps (T, B, ...) at once; None where pairs are nearest, or parameters those of single neurons."""
        require_window(pre, post)
        numbers = plain_numbers(self.tau_plus, self.tau_minus, self.a_plus, self.a_minus)
        if self.convention.pairing == "nearest" or numbers is None:
            return None
        tau_plus, tau_minus, a_plus, a_minus = numbers
        if state is not None:
            require_state(state, SpikeTraces, (("x", pre[0]), ("y", post[0])))
        x, y = spike_filters(tau_plus, tau_minus, self.convention, (pre, post), state, dt)
        terms = [Term(a_plus, Spikes(post), x), Term(-a_minus, y, Spikes(pre))]
        return terms, lambda last: SpikeTraces(last(x), last(y))

    def balance(self, dt: float = 1.0, *, pre_rate: Number | None = None, post_rate: Number | None = None) -> Number:
        """The `a_minus` at which unrelated spikes neither potentiate nor depress (formulas in `balance.py`).

        Above it chance coincidences depress, below it they potentiate.

        Args:
            dt: step length.
            pre_rate, post_rate: spikes per step, in (0, 1]; they matter, and are needed, only with nearest pairs.

        Raises:
            ValueError: a rate that is needed and missing, or out of range; a trace that never decays.

        >>> round(PairSTDP().balance(), 4)                 # exp(1/20): a same-step pair potentiates
        1.0513
        >>> PairSTDP(convention=Convention(coincidence="both")).balance()
        1.0
        """
        x, y = pair_traces((self.tau_plus, self.tau_minus), dt, self.convention, (pre_rate, post_rate))
        return self.a_plus * (x / y)

    def check_step(self, pre: Tensor, post: Tensor, dt: float = 1.0) -> None:
        """Refuse parameters that do not fit these neurons, and steps longer than an Euler decay can take."""
        require_spikes(pre, post)
        require_fit({"tau_plus": self.tau_plus}, pre, "pre")
        after = {"tau_minus": self.tau_minus, "a_plus": self.a_plus, "a_minus": self.a_minus}
        require_fit(after, post, "post")
        taus = {"tau_plus": self.tau_plus, "tau_minus": self.tau_minus}
        require_decays(taus, dt, self.convention.spike_trace_decay)


@dataclass(frozen=True)
class SymmetricSTDP:
    """Pair STDP in which both orders potentiate: W(Δt) = A₊ exp(−Δt/τ₊) or A₋ exp(Δt/τ₋).

    Arguments as in `PairSTDP`.

    >>> kernel = SymmetricSTDP(a_minus=0.5)
    """

    words: ClassVar[str] = "stdp_symmetric"
    tau_plus: Number = 20.0
    tau_minus: Number = 20.0
    a_plus: Number = 1.0
    a_minus: Number = 1.0
    convention: Convention = field(default_factory=Convention)

    def __post_init__(self) -> None:
        require_parameters(self, ("tau_plus", "tau_minus"), ("a_plus", "a_minus"))

    def init(self, pre: Tensor, post: Tensor) -> SpikeTraces:
        """As `PairSTDP`."""
        return self._pair.init(pre, post)

    def step(self, pre: Tensor, post: Tensor, state: SpikeTraces, dt: float = 1.0) -> tuple[Coincidence, SpikeTraces]:
        """One step: as `PairSTDP`, with the depressing product potentiating."""
        coincidence, state = self._pair.step(pre, post, state, dt)
        return Coincidence(coincidence.ltp + coincidence.ltd), state

    @accepts_bool
    def window(
        self, pre: Tensor, post: Tensor, state: SpikeTraces | None, dt: float = 1.0
    ) -> tuple[list[Term], StateAfter[SpikeTraces]] | None:
        """Many steps (T, B, ...) at once, as `PairSTDP`."""
        found = self._pair.window(pre, post, state, dt)
        if found is None:
            return None
        (ltp, ltd), state_after = found
        return [ltp, ltd._replace(scale=-ltd.scale)], state_after

    def balance(self, dt: float = 1.0, *, pre_rate: Number | None = None, post_rate: Number | None = None) -> Number:
        """As of `PairSTDP`, with the other sign: below zero, where this kernel is no longer symmetric.

        With amplitudes above zero chance coincidences always potentiate; centre the modulator, as by a reward baseline.

        >>> round(SymmetricSTDP().balance(), 4)
        -1.0513
        """
        return -self._pair.balance(dt, pre_rate=pre_rate, post_rate=post_rate)

    def check_step(self, pre: Tensor, post: Tensor, dt: float = 1.0) -> None:
        """As `PairSTDP`."""
        self._pair.check_step(pre, post, dt)

    @cached_property
    def _pair(self) -> PairSTDP:
        return PairSTDP(self.tau_plus, self.tau_minus, self.a_plus, self.a_minus, self.convention)
