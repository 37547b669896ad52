"""Triplet STDP: the recent past of each side modulates the pair rule.

f = post (A₊ + A₃₊ y₂) ⊗ x  −  y ⊗ pre (A₋ + A₃₋ x₂)

x, y     spike traces as in the pair rule
x₂, y₂   slow spike traces, read before the spike of the same step
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..conventions import Convention
from .balance import mean_trace, pair_traces, require_rate
from .operands import require_parameters, require_spikes, require_state, require_window
from .parameters import plain_numbers, require_decays, require_fit
from .stdp import Coincidence, Number, Pair, PairSTDP, SpikeTraces, advance_trace, spike_filters
from .terms import Spikes, StateAfter, Term


class TripletTraces(NamedTuple):
    """Fast and slow traces of the spikes so far."""

    x: Tensor
    y: Tensor
    x_slow: Tensor
    y_slow: Tensor


@dataclass(frozen=True)
class TripletSTDP:
    """Triplet STDP: a slow trace of each side modulates the pair rule, so that frequency matters.

    Slow traces are read before the spike of the same step (reading them after it would count a spike as its own past).

    Args:
        tau_plus, tau_minus, a_plus, a_minus, convention: as in `PairSTDP`; A₋ and A₃₋ may differ among pre neurons.
        tau_x, tau_y: time constants of the slow pre and post trace.
        a3_plus, a3_minus: triplet amplitudes of potentiation and depression.

    >>> visual_cortex = TripletSTDP(16.8, 33.7, a_plus=0.0, a_minus=7.1e-3, tau_y=114.0, a3_plus=6.5e-3)

    Pfister & Gerstner 2006.
    """

    words: ClassVar[str] = "stdp_triplet"
    tau_plus: Number = 20.0
    tau_minus: Number = 20.0
    a_plus: Number = 1.0
    a_minus: Number = 1.0
    tau_x: Number = 101.0
    tau_y: Number = 114.0
    a3_plus: Number = 1.0
    a3_minus: Number = 0.0
    convention: Convention = field(default_factory=Convention)

    def __post_init__(self) -> None:
        taus = ("tau_plus", "tau_minus", "tau_x", "tau_y")
        require_parameters(self, taus, ("a_plus", "a_minus", "a3_plus", "a3_minus"))

    def init(self, pre: Tensor, post: Tensor) -> TripletTraces:
        """Silent traces."""
        require_spikes(pre, post)
        zeros = torch.zeros_like
        return TripletTraces(zeros(pre), zeros(post), zeros(pre), zeros(post))

    def step(
        self, pre: Tensor, post: Tensor, state: TripletTraces, dt: float = 1.0
    ) -> tuple[Coincidence, TripletTraces]:
        """One step: the pair rule with amplitudes that the slow traces raise."""
        require_state(state, TripletTraces, (("x_slow", pre), ("y_slow", post)))
        pairs, fast = self._pair.step(pre, post, SpikeTraces(state.x, state.y), dt)
        (ltp,), (ltd,) = pairs.ltp, pairs.ltd
        x_before, x_slow = advance_trace(state.x_slow, pre, self.tau_x, dt, self.convention)
        y_before, y_slow = advance_trace(state.y_slow, post, self.tau_y, dt, self.convention)
        ltp = Pair(ltp.post * (self.a_plus + self.a3_plus * y_before), ltp.pre)
        ltd = Pair(ltd.post, ltd.pre * (self.a_minus + self.a3_minus * x_before))
        return Coincidence((ltp,), (ltd,)), TripletTraces(fast.x, fast.y, x_slow, y_slow)

    @cached_property
    def _pair(self) -> PairSTDP:
        """The fast traces, without amplitudes."""
        return PairSTDP(self.tau_plus, self.tau_minus, 1.0, 1.0, self.convention)

    def window(
        self, pre: Tensor, post: Tensor, state: TripletTraces | None, dt: float = 1.0
    ) -> tuple[list[Term], StateAfter[TripletTraces]] | None:
        """Many steps (T, B, ...) at once; None where pairs are nearest, or parameters those of single neurons."""
        require_window(pre, post)
        amplitudes = plain_numbers(self.a_plus, self.a3_plus, self.a_minus, self.a3_minus)
        taus = plain_numbers(self.tau_plus, self.tau_minus, self.tau_x, self.tau_y)
        if self.convention.pairing == "nearest" or amplitudes is None or taus is None:
            return None
        if state is not None:
            sides = (("x", pre[0]), ("y", post[0]), ("x_slow", pre[0]), ("y_slow", post[0]))
            require_state(state, TripletTraces, sides, alike=True)
        (a_plus, a3_plus, a_minus, a3_minus), (tau_plus, tau_minus, tau_x, tau_y) = amplitudes, taus
        fast = None if state is None else SpikeTraces(state.x, state.y)
        slow = None if state is None else SpikeTraces(state.x_slow, state.y_slow)
        unseen = replace(self.convention, coincidence="none")  # slow traces, before the spike of the same step
        x, y = spike_filters(tau_plus, tau_minus, self.convention, (pre, post), fast, dt)
        x_slow, y_slow = spike_filters(tau_x, tau_y, unseen, (pre, post), slow, dt)
        ltp = Spikes(post * (a_plus + a3_plus * y_slow.values()))
        ltd = Spikes(pre * (a_minus + a3_minus * x_slow.values()))
        terms = [Term(1.0, ltp, x), Term(-1.0, y, ltd)]
        return terms, lambda last: TripletTraces(last(x), last(y), last(x_slow), last(y_slow))

    def balance(self, dt: float = 1.0, *, pre_rate: Number | None = None, post_rate: Number | None = None) -> Number:
        """The `a_minus` at which unrelated spikes neither potentiate nor depress, at these rates.

        With triplets it grows with the rates (formulas in `balance.py`): at one rate only is a triplet rule balanced.

        Args:
            dt: step length.
            pre_rate, post_rate: spikes per step, in (0, 1].

        Raises:
            ValueError: a rate that is missing or out of range; a trace that never decays.

        >>> round(TripletSTDP(a3_plus=0.0).balance(pre_rate=0.02, post_rate=0.02), 4)
        1.0513
        >>> round(TripletSTDP(a3_plus=0.5).balance(pre_rate=0.02, post_rate=0.02), 4)
        2.2445
        """
        p, q = require_rate("pre_rate", pre_rate), require_rate("post_rate", post_rate)
        x, y = pair_traces((self.tau_plus, self.tau_minus), dt, self.convention, (p, q))
        x_slow = mean_trace(self.tau_x, dt, self.convention, same_step=False, rate=p, name="pre_rate")
        y_slow = mean_trace(self.tau_y, dt, self.convention, same_step=False, rate=q, name="post_rate")
        return (self.a_plus + self.a3_plus * q * y_slow) * x / y - self.a3_minus * p * x_slow

    def check_step(self, pre: Tensor, post: Tensor, dt: float = 1.0) -> None:
        """Refuse parameters that do not fit these neurons, and steps longer than an Euler decay can take."""
        require_spikes(pre, post)
        before = {"tau_plus": self.tau_plus, "tau_x": self.tau_x, "a_minus": self.a_minus, "a3_minus": self.a3_minus}
        after = {"tau_minus": self.tau_minus, "tau_y": self.tau_y, "a_plus": self.a_plus, "a3_plus": self.a3_plus}
        require_fit(before, pre, "pre")
        require_fit(after, post, "post")
        taus = {name: tau for name, tau in (before | after).items() if name.startswith("tau")}
        require_decays(taus, dt, self.convention.spike_trace_decay)
