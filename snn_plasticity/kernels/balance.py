"""Balance: the depression at which spikes that have nothing to do with each other neither potentiate nor depress.

    ⟨f⟩ = p q (A₊ X − A₋ Y)              independent trains with p pre and q post spikes a step
    balance   A₋ = A₊ X / Y

    X, Y    mean spike trace that meets a spike of the other side, for one spike a step:
                                         all pairs        nearest pairs
        same-step spike in the trace     1 / (1 − d)      1 / (1 − d (1 − rate))
        not in it                        d / (1 − d)      d / (1 − d (1 − rate))
    d       what is left of a trace after one step

With all pairs and τ₊ = τ₋ the balance is A₊ exp(dt/τ) where a same-step pair potentiates ("causal"), and A₊ where it
does both or neither. With triplets, A₊ becomes A₊ + A₃₊ q Y₂ and A₋ becomes A₋ + A₃₋ p X₂, with the means of the slow
traces.
"""

from __future__ import annotations

from torch import Tensor

from .._checks import require_finite, require_number, require_real, require_within
from ..conventions import Convention
from ..decay import decay_factor
from .parameters import Number


def require_rate(name: str, rate: Number | None) -> Number:
    """Refuse what is no share of steps with a spike."""
    if rate is None:
        raise ValueError(
            f"{name} is not given; this balance depends on how often the neurons fire. "
            f"Give {name}= in spikes per step, in (0, 1], as in kernel.balance(pre_rate=0.02, post_rate=0.02)."
        )
    if isinstance(rate, Tensor):
        require_real(name, rate)
        require_finite(name, rate)
        require_within(name, rate, 0.0, 1.0)
        return rate
    return require_number(name, rate, 0.0, 1.0, open_low=True)


def mean_trace(
    tau: Number, dt: float, convention: Convention, *, same_step: bool, rate: Number | None, name: str
) -> Number:
    """Mean of a spike trace for one spike a step, as the other side's spikes meet it.

    Args:
        tau: time constant, in the unit of `dt`.
        dt: step length.
        convention: decay of spike traces, and all or nearest pairs.
        same_step: whether the spike of the same step is in it.
        rate: spikes per step, read where pairs are nearest.
        name: of the rate, for the error.

    Raises:
        ValueError: a rate that is missing or out of range; a trace that never decays.

    >>> round(mean_trace(20.0, 1.0, Convention(), same_step=True, rate=None, name="pre_rate"), 3)
    20.504
    """
    left = decay_factor(tau, dt, convention.spike_trace_decay)
    kept = left * (1.0 - require_rate(name, rate)) if convention.pairing == "nearest" else left
    if not isinstance(kept, Tensor) and kept >= 1.0:
        raise ValueError(f"tau = {tau!r} never decays, so that traces have no mean; expected a finite time constant.")
    if not isinstance(left, Tensor) and left == 0.0:
        raise ValueError(f"dt = {dt:g} with tau = {tau!r} leaves nothing of a trace; expected both in the same unit.")
    return (1.0 if same_step else left) / (1.0 - kept)


def pair_traces(
    taus: tuple[Number, Number], dt: float, convention: Convention, rates: tuple[Number | None, Number | None]
) -> tuple[Number, Number]:
    """X and Y of the pair rule, each for one spike a step."""
    same = convention.coincidence
    x = mean_trace(taus[0], dt, convention, same_step=same != "none", rate=rates[0], name="pre_rate")
    y = mean_trace(taus[1], dt, convention, same_step=same == "both", rate=rates[1], name="post_rate")
    return x, y
