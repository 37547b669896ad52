"""A compiled step of eligibility vectors: one pass over e and ε, where torch takes one for each of their factors.

    e ← β e + s Σ_l (q x + p · ε)        ε ← J ε + b x          for each weight, at each position l that shares it

e (B, G, C, K), ε (B, d, G, C, L, K), rows [[q, p], [b, J]] (B, d + 1, d + 1, G, C, L), x (B, G, L, K): G groups of C
post units, K weights onto each. Imported where numba is there.
"""

from __future__ import annotations

import numpy as np

from .dense_loops import loop


@loop
def _one_state(out, held, pre, q, p, b, j):
    """Of one row, where there is one state."""
    for k in range(out.size):
        before = held[k]
        out[k] += q * pre[k] + p * before
        held[k] = b * pre[k] + j * before


@loop
def _two_states(out, first, second, pre, rows):
    """Of one row, where there are two."""
    q, p0, p1 = rows[0, 0], rows[0, 1], rows[0, 2]
    b0, j00, j01 = rows[1, 0], rows[1, 1], rows[1, 2]
    b1, j10, j11 = rows[2, 0], rows[2, 1], rows[2, 2]
    for k in range(out.size):
        one, two, x = first[k], second[k], pre[k]
        out[k] += q * x + p0 * one + p1 * two
        first[k] = b0 * x + j00 * one + j01 * two
        second[k] = b1 * x + j10 * one + j11 * two


@loop
def _some_states(out, held, pre, rows, now):
    """Of one row: held (d, K), and room for as much."""
    states, width = held.shape
    for k in range(width):
        out[k] += rows[0, 0] * pre[k]
    for m in range(states):
        for k in range(width):
            out[k] += rows[0, 1 + m] * held[m, k]
    for j in range(states):
        for k in range(width):
            now[j, k] = rows[1 + j, 0] * pre[k]
        for m in range(states):
            if rows[1 + j, 1 + m] != 0.0:
                for k in range(width):
                    now[j, k] += rows[1 + j, 1 + m] * held[m, k]
    for j in range(states):
        for k in range(width):
            held[j, k] = now[j, k]


@loop
def advance(e, epsilon, rows, x, beta, scale):
    """In place: e and ε after a step."""
    samples, states, groups, units, places, width = epsilon.shape
    here, now = np.empty((states + 1, states + 1), e.dtype), np.empty((states, width), e.dtype)
    for b in range(samples):
        for g in range(groups):
            for c in range(units):
                out = e[b, g, c]
                for k in range(width):
                    out[k] *= beta
                for position in range(places):
                    for r in range(states + 1):
                        for m in range(states + 1):
                            here[r, m] = rows[b, r, m, g, c, position]
                    for m in range(states + 1):
                        here[0, m] *= scale
                    pre = x[b, g, position]
                    if states == 1:
                        row = epsilon[b, 0, g, c, position]
                        _one_state(out, row, pre, here[0, 0], here[0, 1], here[1, 0], here[1, 1])
                    elif states == 2:
                        row, other = epsilon[b, 0, g, c, position], epsilon[b, 1, g, c, position]
                        _two_states(out, row, other, pre, here)
                    else:
                        _some_states(out, epsilon[b, :, g, c, position], pre, here, now)
