"""Kernels: what one step of spikes says, as signed products of a post-side and a pre-side vector.

x ← d·x + pre                     all pairs         d = exp(−dt/τ) or 1 − dt/τ
x ← pre where it spikes, else d·x nearest pairs
"""

from __future__ import annotations

import math

import numpy as np

from .settings import Convention, Eligibility

Product = tuple[float, np.ndarray, np.ndarray]  # sign, post side, pre side
State = dict[str, np.ndarray]  # every array begins with the batch


def decay(tau: float, dt: float, mode: str) -> float:
    """What is left after one step."""
    return 1.0 - dt / tau if mode == "euler" else math.exp(-dt / tau)


def around(trace: np.ndarray, spike: np.ndarray, tau: float, dt: float, convention: Convention):
    """A spike trace just before the spike of this step, and just after it."""
    before = trace * decay(tau, dt, convention.spike_trace_decay)
    if convention.pairing == "nearest":
        return before, np.where(spike != 0, spike, before)
    return before, before + spike


def rate(pre: np.ndarray, post: np.ndarray, state: State, dt: float, given: Eligibility) -> list[Product]:
    """f = post ⊗ pre."""
    return [(1.0, post, pre)]


def spike_traces(pre: np.ndarray, post: np.ndarray, state: State, dt: float, given: Eligibility):
    """x and y as the other side's spikes meet them, by what the convention makes of spikes in one step."""
    convention = given.convention
    x_before, state["x"] = around(state["x"], pre, given.stdp_tau_plus, dt, convention)
    y_before, state["y"] = around(state["y"], post, given.stdp_tau_minus, dt, convention)
    x = x_before if convention.coincidence == "none" else state["x"]
    y = state["y"] if convention.coincidence == "both" else y_before
    return x, y


def pair(pre: np.ndarray, post: np.ndarray, state: State, dt: float, given: Eligibility) -> list[Product]:
    """f = A₊ post ⊗ x − A₋ y ⊗ pre."""
    x, y = spike_traces(pre, post, state, dt, given)
    return [(given.a_plus, post, x), (-given.a_minus, y, pre)]


def symmetric(pre: np.ndarray, post: np.ndarray, state: State, dt: float, given: Eligibility) -> list[Product]:
    """f = A₊ post ⊗ x + A₋ y ⊗ pre."""
    x, y = spike_traces(pre, post, state, dt, given)
    return [(given.a_plus, post, x), (given.a_minus, y, pre)]


def triplet(pre: np.ndarray, post: np.ndarray, state: State, dt: float, given: Eligibility) -> list[Product]:
    """f = post (A₊ + A₃₊ y₂) ⊗ x − y ⊗ pre (A₋ + A₃₋ x₂), the slow traces read before the spike."""
    slow_x, state["slow_x"] = around(state["slow_x"], pre, given.stdp_tau_x, dt, given.convention)
    slow_y, state["slow_y"] = around(state["slow_y"], post, given.stdp_tau_y, dt, given.convention)
    x, y = spike_traces(pre, post, state, dt, given)
    return [(1.0, post * (given.a_plus + given.a3_plus * slow_y), x),
            (-1.0, y, pre * (given.a_minus + given.a3_minus * slow_x))]  # fmt: skip


def window(pre: np.ndarray, post: np.ndarray, state: State, dt: float, given: Eligibility) -> list[Product]:
    """f = Σ_{k ≥ 0} W(k dt) post(t) pre(t−k) + Σ_{k ≥ 1} W(−k dt) post(t−k) pre(t)."""
    assert given.curve is not None
    same_step = given.convention.coincidence != "none"
    late_post = partner(pre, state["pre"], dt, 1.0, given, same_step)
    late_pre = partner(post, state["post"], dt, -1.0, given, False)
    state["pre"] = np.concatenate((pre[:, None], state["pre"][:, :-1]), axis=1)
    state["post"] = np.concatenate((post[:, None], state["post"][:, :-1]), axis=1)
    return [(1.0, post, late_post), (1.0, late_pre, pre)]


def partner(now: np.ndarray, past: np.ndarray, dt: float, sign: float, given: Eligibility, same_step: bool):
    """What a spike of the other side meets: the curve over this side's spikes, newest first."""
    assert given.curve is not None
    steps = int(math.floor(given.span / dt + 1e-9))
    met, free = np.zeros_like(now), np.ones(now.shape, bool)
    for k in range(0 if same_step else 1, steps + 1):
        spike = now if k == 0 else past[:, k - 1]
        met = met + given.curve(sign * k * dt) * np.where(free, spike, 0.0)
        if given.convention.pairing == "nearest":
            free &= spike == 0
    return met


KERNELS = {
    "rate": rate, "stdp_pair": pair, "stdp_symmetric": symmetric, "stdp_triplet": triplet, "window": window,
}  # fmt: skip


def silent(pre: np.ndarray, post: np.ndarray, given: Eligibility) -> State:
    """What a kernel remembers before the first spike."""
    if given.kernel == "window":
        steps = max(1, int(math.floor(given.span / given.dt + 1e-9)))
        return {"pre": np.zeros((len(pre), steps, *pre.shape[1:])),
                "post": np.zeros((len(post), steps, *post.shape[1:]))}  # fmt: skip
    x, y = np.zeros_like(pre), np.zeros_like(post)
    if given.kernel == "stdp_triplet":
        return {"x": x, "y": y, "slow_x": x, "slow_y": y}
    return {} if given.kernel == "rate" else {"x": x, "y": y}
