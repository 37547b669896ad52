"""The oracle: plasticity as double sums over spike pairs, in NumPy float64.

Nothing here is recursive where a sum can be written out: a trace is the sum over all earlier spikes, a
correlation the sum over all pairs, an eligibility the sum over all earlier correlations. Slow and obvious is
the point.

    arrays    pre (T, B, N_pre), post (T, B, N_post), f and e (T, B, N_post, N_pre)
    lag k     a pair of spikes that are k steps apart

`convention` has the fields of `snn_plasticity.Convention`, `config` those of `EligibilityConfig`.
"""

from __future__ import annotations

import math

import numpy as np


def decay(tau, dt, mode):
    """What is left of a trace after one step."""
    return {"euler": 1.0 - dt / tau, "exponential": math.exp(-dt / tau)}[mode]


def window(tau, dt, mode):
    """Value of a spike trace k steps after the spike, as a function of k."""
    if mode == "euler":
        return lambda k: (1.0 - dt / tau) ** k
    return lambda k: math.exp(-k * dt / tau)


def partners(spikes, t, same_step, pairing):
    """Every earlier step as (lag, spikes); with nearest pairs, only where no later spike stands between."""
    free = np.ones(spikes.shape[1:], dtype=bool)
    for k in range(0 if same_step else 1, t + 1):
        earlier = spikes[t - k]
        yield k, np.where(free, earlier, 0.0)
        if pairing == "nearest":
            free &= earlier == 0


def sum_over_pairs(earlier, later, weight, same_step, pairing):
    """Σ_k weight(k) later(t) ⊗ earlier(t − k), for every t: (T, B, N_later, N_earlier)."""
    total = np.zeros((*later.shape, earlier.shape[2]))
    for t in range(len(later)):
        for k, spikes in partners(earlier, t, same_step, pairing):
            total[t] += weight(k) * later[t][:, :, None] * spikes[:, None, :]
    return total


def trace_before(spikes, tau, dt, convention):
    """The spike trace of each neuron just before the spike of the same step: (T, B, N)."""
    weight = window(tau, dt, convention.spike_trace_decay)
    pairs = [partners(spikes, t, False, convention.pairing) for t in range(len(spikes))]
    return np.stack([sum((weight(k) * s for k, s in pair), np.zeros(spikes.shape[1:])) for pair in pairs])


def rate(pre, post):
    """The product of this step's activities."""
    return post[:, :, :, None] * pre[:, :, None, :]


def stdp(pre, post, tau_plus, tau_minus, dt, convention, *, post_gain=1.0, pre_gain=1.0):
    """Potentiation and depression of the pair rule, each (T, B, N_post, N_pre).

    The gains multiply the later spike of a pair; they are amplitudes, or amplitudes that a slow trace raises.
    """
    mode, pairing = convention.spike_trace_decay, convention.pairing
    ltp_same_step = convention.coincidence in ("causal", "both")
    ltd_same_step = convention.coincidence == "both"
    ltp = sum_over_pairs(pre, post * post_gain, window(tau_plus, dt, mode), ltp_same_step, pairing)
    ltd = sum_over_pairs(post, pre * pre_gain, window(tau_minus, dt, mode), ltd_same_step, pairing)
    return ltp, ltd.swapaxes(2, 3)


def stdp_pair(pre, post, *, tau_plus, tau_minus, a_plus, a_minus, dt, convention):
    """Each pre-then-post pair gives A₊ w(k), each post-then-pre pair −A₋ w(k)."""
    ltp, ltd = stdp(pre, post, tau_plus, tau_minus, dt, convention)
    return a_plus * ltp - a_minus * ltd


def stdp_symmetric(pre, post, *, tau_plus, tau_minus, a_plus, a_minus, dt, convention):
    """Each pair potentiates, whatever its order."""
    ltp, ltd = stdp(pre, post, tau_plus, tau_minus, dt, convention)
    return a_plus * ltp + a_minus * ltd


def stdp_triplet(pre, post, *, tau_plus, tau_minus, tau_x, tau_y, a_plus, a_minus, a3_plus, a3_minus, dt, convention):
    """The pair rule, its amplitudes raised by the later neuron's own past (Pfister & Gerstner 2006)."""
    post_gain = a_plus + a3_plus * trace_before(post, tau_y, dt, convention)
    pre_gain = a_minus + a3_minus * trace_before(pre, tau_x, dt, convention)
    ltp, ltd = stdp(pre, post, tau_plus, tau_minus, dt, convention, post_gain=post_gain, pre_gain=pre_gain)
    return ltp - ltd


def curve_window(pre, post, *, curve, span, dt, convention):
    """Each pair gives curve(t_post − t_pre), out to `span`; a same-step pair once, as curve(0), or never."""
    last = round(span / dt)
    same_step, pairing = convention.coincidence != "none", convention.pairing
    after = sum_over_pairs(pre, post, lambda k: curve(k * dt) if k <= last else 0.0, same_step, pairing)
    before = sum_over_pairs(post, pre, lambda k: curve(-k * dt) if k <= last else 0.0, False, pairing)
    return after + before.swapaxes(2, 3)


def accumulating(f, d):
    """e(t) = Σ_s d^(t−s) f(s)."""
    return np.stack([sum(d ** (t - s) * f[s] for s in range(t + 1)) for t in range(len(f))])


def entry_by_entry(f, d, trace_type, alpha, dutch_scope, clamp):
    """One number at a time: for the traces that are no sum."""
    e = np.zeros_like(f)
    for index in np.ndindex(f.shape[1:]):
        value = 0.0
        for t in range(len(f)):
            value = one_entry(d * value, f[(t, *index)], trace_type, alpha, dutch_scope)
            if clamp is not None:
                value = min(max(value, clamp[0]), clamp[1])
            e[(t, *index)] = value
    return e


def one_entry(decayed, f, trace_type, alpha, dutch_scope):
    """The next value of one trace, before the clamp."""
    if trace_type == "replacing":
        return f if abs(f) >= abs(decayed) else decayed
    if trace_type == "dutch" and (dutch_scope == "all" or f != 0.0):
        return (1.0 - alpha) * decayed + f
    return decayed + f


def eligibility(f, *, tau_e, dt, convention, trace_type="accumulating", alpha=0.1, dutch_scope="all", clamp=None):
    """The eligibility trace of the correlations f, one value per step."""
    d = decay(tau_e, dt, convention.eligibility_decay)
    f = f / tau_e if convention.normalize_trace else f
    if clamp is None and trace_type == "accumulating":
        return accumulating(f, d)
    if clamp is None and trace_type == "dutch" and dutch_scope == "all":
        return accumulating(f, (1.0 - alpha) * d)
    return entry_by_entry(f, d, trace_type, alpha, dutch_scope, clamp)


def weight_change(modulator, e, *, lag=0, reduction="mean"):
    """Σ_t reduce_b m(t, b) e(t − lag, b), for a modulator (T,), (T, B) or (T, B, N_post)."""
    modulator = np.asarray(modulator, dtype=np.float64)
    modulator = modulator.reshape(modulator.shape + (1,) * (4 - modulator.ndim))
    products = [(modulator[t] * e[t - lag]) for t in range(lag, len(e))]
    total = sum(products, np.zeros(e.shape[1:]))
    return total.sum(0) if reduction == "sum" else total.mean(0)


def correlation(pre, post, config):
    """The correlation f by the kernel that a config names or, if it holds a window, by its curve."""
    if not isinstance(config.kernel, str):
        own = config.kernel
        return curve_window(pre, post, curve=own.curve, span=own.span, dt=config.dt, convention=own.convention)
    if config.kernel == "rate":
        return rate(pre, post)
    pairs = {"tau_plus": config.stdp_tau_plus, "tau_minus": config.stdp_tau_minus}
    pairs |= {"a_plus": config.a_plus, "a_minus": config.a_minus}
    pairs |= {"dt": config.dt, "convention": config.convention}
    if config.kernel == "stdp_triplet":
        slow = {"tau_x": config.stdp_tau_x, "tau_y": config.stdp_tau_y}
        return stdp_triplet(pre, post, **pairs, **slow, a3_plus=config.a3_plus, a3_minus=config.a3_minus)
    return {"stdp_pair": stdp_pair, "stdp_symmetric": stdp_symmetric}[config.kernel](pre, post, **pairs)


def run(pre, post, config):
    """Correlations and eligibilities of a whole run: f and e, each (T, B, N_post, N_pre)."""
    pre, post = (np.asarray(spikes, dtype=np.float64) for spikes in (pre, post))
    f = correlation(pre, post, config)
    settings = {"tau_e": config.tau_e, "dt": config.dt, "convention": config.convention}
    settings |= {"trace_type": config.trace_type, "alpha": config.dutch_alpha}
    return f, eligibility(f, **settings, dutch_scope=config.dutch_scope, clamp=config.clamp_range)
