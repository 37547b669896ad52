"""Compiled loops over edges: a window of pair STDP, each spike along the edges of its neuron and no other.

    e ← clamp(β e + up · post ⊗ x + down · y ⊗ pre)      at edges, where the clamp holds zero

Between two events an edge only decays, and towards zero, so that a clamp can bind at events alone. All edges decay at
once, over the whole window; what an event of step t adds, and the clamp there, are scaled by what is left of it at the
end, β^(T−1−t). Only `edge_steps` imports this file, where numba is there.
"""

from __future__ import annotations

from .compiled_loops import loop


@loop
def _see(trace, neurons, values, start, end, nearest):
    """In place: the spikes of a step into a trace that has decayed."""
    for k in range(start, end):
        trace[neurons[k]] = values[k] if nearest else trace[neurons[k]] + values[k]


@loop
def _mark(now, neurons, values, start, end):
    """Who spikes in this step, by how much."""
    for k in range(start, end):
        now[neurons[k]] = values[k]


@loop
def _clear(now, neurons, start, end):
    for k in range(start, end):
        now[neurons[k]] = 0


@loop
def _post_events(row, x, y, pre_now, of_post, neurons, values, start, end, factors):
    """In place: the edges onto neurons that spike, whatever their pre neurons do in the same step."""
    starts, edges, far = of_post
    up, down, floor, ceiling = factors
    for s in range(start, end):
        neuron = neurons[s]
        potentiate, depress = up * values[s], down * y[neuron]
        for k in range(starts[neuron], starts[neuron + 1]):
            j = far[k]
            value = row[edges[k]] + (potentiate * x[j] + depress * pre_now[j])
            row[edges[k]] = min(max(value, floor), ceiling)


@loop
def _pre_events(row, y, post_now, of_pre, neurons, values, start, end, factors):
    """In place: the edges that leave neurons that spike, but for those that end on one that does, too."""
    starts, edges, far = of_pre
    _, down, floor, ceiling = factors
    for s in range(start, end):
        neuron = neurons[s]
        depress = down * values[s]
        for k in range(starts[neuron], starts[neuron + 1]):
            i = far[k]
            if post_now[i] == 0:
                row[edges[k]] = min(max(row[edges[k]] + depress * y[i], floor), ceiling)


@loop
def pair_edges(e, x, y, pre, post, numbers, flags, gains, of_pre, of_post, pre_now, post_now):
    """In place: e (B, E), x (B, N_pre) and y (B, N_post) past a window.

    pre and post: spikes as lists, step by step and sample by sample: (starts (T·B + 1,), neurons, values).
    numbers: what is kept of x, y and, over the whole window, e; up, down, and the clamp.
    flags: nearest pairs; whether a spike meets x, and y, as they were before those of its own step.
    gains (T,): what is left of a step at the end.
    of_pre, of_post: the edges of each neuron: (starts (N + 1,), edges, neurons at their other ends).
    pre_now (N_pre,) and post_now (N_post,) are room, and zero.
    """
    x_decay, y_decay, kept, up, down, low, high = numbers
    nearest, x_before, y_before = flags
    pre_starts, pre_neurons, pre_values = pre
    post_starts, post_neurons, post_values = post
    batch = e.shape[0]
    for b in range(batch):
        row, xs, ys = e[b], x[b], y[b]
        for k in range(row.size):
            row[k] *= kept
        for t in range(gains.size):
            at = t * batch + b
            p, p_end, q, q_end = pre_starts[at], pre_starts[at + 1], post_starts[at], post_starts[at + 1]
            for k in range(xs.size):
                xs[k] *= x_decay
            for k in range(ys.size):
                ys[k] *= y_decay
            if not x_before:
                _see(xs, pre_neurons, pre_values, p, p_end, nearest)
            if not y_before:
                _see(ys, post_neurons, post_values, q, q_end, nearest)
            _mark(pre_now, pre_neurons, pre_values, p, p_end)
            _mark(post_now, post_neurons, post_values, q, q_end)
            gain = gains[t]
            floor, ceiling = gain * low, gain * high
            factors = gain * up, gain * down, floor, ceiling
            _post_events(row, xs, ys, pre_now, of_post, post_neurons, post_values, q, q_end, factors)
            _pre_events(row, ys, post_now, of_pre, pre_neurons, pre_values, p, p_end, factors)
            _clear(pre_now, pre_neurons, p, p_end)
            _clear(post_now, post_neurons, q, q_end)
            if x_before:
                _see(xs, pre_neurons, pre_values, p, p_end, nearest)
            if y_before:
                _see(ys, post_neurons, post_values, q, q_end, nearest)


@loop
def deliver(current, spikes, weight, of_pre):
    """In place: current (R, N_post) of spikes (R, N_pre), each along the edges of its neuron.

    weight: (1, E), or (B, E) with weights of its own for each sample.
    """
    starts, edges, far = of_pre
    for r in range(spikes.shape[0]):
        own, out = weight[r % weight.shape[0]], current[r]
        for neuron in range(spikes.shape[1]):
            spike = spikes[r, neuron]
            if spike != 0:
                for k in range(starts[neuron], starts[neuron + 1]):
                    out[far[k]] += own[edges[k]] * spike
