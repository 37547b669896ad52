"""The oracle once more, step after step: rules and traces as NumPy float64 recursions, for long trains.

It reads the parameters of a kernel and a trace, and shares no code with the package. `brute_force`, which it has to
equal, writes the same out as sums over pairs.
"""

from __future__ import annotations

import math

import brute_force
import numpy as np


def left(tau, mode):
    """What one step leaves."""
    return math.exp(-1.0 / tau) if mode == "exponential" else 1.0 - 1.0 / tau


def after(before, spikes, pairing):
    """A trace after this step's spikes."""
    return np.where(spikes != 0, spikes, before) if pairing == "nearest" else before + spikes


def correlations(kernel, pre, post):
    """f of every step, (T, B, N_post, N_pre), of spikes (T, B, N)."""
    kind = type(kernel).__name__
    if kind == "Rate":
        return post[:, :, :, None] * pre[:, :, None, :]
    if kind == "Window":
        own = {"curve": kernel.curve, "span": kernel.span, "dt": kernel.dt, "convention": kernel.convention}
        return brute_force.curve_window(pre, post, **own)
    triplet, c = kind == "TripletSTDP", kernel.convention
    sign = 1.0 if kind == "SymmetricSTDP" else -1.0
    x, slow_x, y, slow_y = (np.zeros(side.shape[1:]) for side in (pre, pre, post, post))
    found = []
    for p, q in zip(pre, post, strict=True):
        x, y = (v * left(tau, c.spike_trace_decay) for v, tau in ((x, kernel.tau_plus), (y, kernel.tau_minus)))
        x_now, y_now = after(x, p, c.pairing), after(y, q, c.pairing)
        seen_x, seen_y = x if c.coincidence == "none" else x_now, y_now if c.coincidence == "both" else y
        up, down = kernel.a_plus * q, kernel.a_minus * p
        if triplet:
            slow_x, slow_y = (
                v * left(tau, c.spike_trace_decay) for v, tau in ((slow_x, kernel.tau_x), (slow_y, kernel.tau_y))
            )
            up, down = up + kernel.a3_plus * slow_y * q, down + kernel.a3_minus * slow_x * p
            slow_x, slow_y = after(slow_x, p, c.pairing), after(slow_y, q, c.pairing)
        found.append(up[:, :, None] * seen_x[:, None, :] + sign * seen_y[:, :, None] * down[:, None, :])
        x, y = x_now, y_now
    return np.stack(found)


def joined(trace, kept, f):
    """What was kept and what came."""
    kind = type(trace).__name__
    if kind == "Replacing":
        return np.where(np.abs(f) >= np.abs(kept), f, kept)
    if kind == "Dutch":
        kept = (
            (1.0 - trace.alpha) * kept if trace.scope == "all" else np.where(f != 0, (1.0 - trace.alpha) * kept, kept)
        )
    return kept + f


def eligibilities(trace, fs, e):
    """e after every step, from an e before the first."""
    d = left(trace.tau_e, trace.convention.eligibility_decay)
    for f in fs:
        e = joined(trace, d * e, f / trace.tau_e if trace.convention.normalize_trace else f)
        e = e if trace.clamp_range is None else np.clip(e, *trace.clamp_range)
        yield e


def run(kernel, trace, pre, post, e):
    """All e's of trains (T, B, N) given as tensors, from a tensor e; as a list."""
    pre, post, e = (np.asarray(side.double()) for side in (pre, post, e))
    return list(eligibilities(trace, correlations(kernel, pre, post), e))
