"""Saved at any step, loaded and gone on with, traces are bit for bit those that never stopped, whatever comes next."""

from __future__ import annotations

import io
import random

import pytest
import torch
from conftest import layer_and_trains, settings
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from snn_plasticity import Convention, EligibilityTraceModule
from snn_plasticity.plasticity._engine import engine as running
from snn_plasticity.plasticity._engine import state


def reloaded(module, make):
    """What a file makes of it."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    again = make()
    again.load_state_dict(torch.load(file, weights_only=True))
    return again


def event(rng, pre, post, t, n_post):
    """Something that happens at step t, as a function of a module; and how many steps it takes."""
    batch, length = pre.shape[1], min(rng.choice((1, 2, 5, 70)), len(pre) - t)
    g = torch.Generator().manual_seed(rng.randrange(10**6))
    mod = rng.choice((1.0, torch.randn(batch, generator=g), torch.randn(batch, n_post, generator=g)))
    mask = torch.rand(batch, generator=g) < 0.5
    mods, window = torch.randn(length, batch, generator=g), (pre[t : t + length], post[t : t + length])
    dt = rng.choice((1.0, 1.0, 1.0, 0.5))
    return rng.choice(
        (
            *[(lambda m: m.observe(pre[t], post[t]), 1)] * 6,
            (lambda m: m.observe(pre[t], post[t], dt), 1),
            (lambda m: m.observe_window(*window), length),
            (lambda m: m.modulate_window(*window, mods), length),
            (lambda m: m.update(pre[t], post[t]), 1),
            *[(lambda m: m.change(mod), 0)] * 3,
            (lambda m: m.queue(mod), 0),
            (lambda m: m.flush(), 0),
            (lambda m: m.eligibility, 0),
            (lambda m: m.reset(mask=mask), 0),
        )
    )


@effort(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    kernel=st.sampled_from(("rate", "stdp_pair", "stdp_triplet")),
    trace=st.sampled_from(("accumulating", "replacing")),
    lag=st.sampled_from((0, 1)),
    clamp=st.sampled_from((None, (-0.3, 0.4), (-5.0, 5.0))),
    kind=st.sampled_from(("spikes", "graded", "mixed")),
    path=st.sampled_from(("auto", "fold", "plain")),
    layer_name=st.sampled_from(("linear", "conv1d")),
    small=st.booleans(),
)
def test_bit_for_bit(seed, kernel, trace, lag, clamp, kind, path, layer_name, small):
    layer, pre, post = layer_and_trains(layer_name, steps=150, dtype=torch.float32)
    heights = {"spikes": (1.0, 1.0, 1.0), "graded": (0.3, 0.3, 0.3), "mixed": (0.3, 1.0, 1.0)}[kind]
    pre = torch.stack([heights[t % 3] * step for t, step in enumerate(pre)])
    config = settings(kernel, trace, Convention(lag=lag), clamp_range=clamp)
    path = "auto" if trace == "replacing" and path == "fold" else path

    def make():
        return EligibilityTraceModule.for_layer(layer, config, path=path)

    with pytest.MonkeyPatch.context() as patch:
        if small:
            for limit in ("MIN_WINDOW", "MAX_WINDOW", "MAX_CLAMPED_WINDOW"):
                patch.setattr(running, limit, 7)
            patch.setattr(state, "TABLE_ENTRIES", 70)
        rng, t, stayed, going = random.Random(seed), 0, make(), make()
        for module in (stayed, going):
            module.observe(pre[0], post[0])
        t = 1
        for _ in range(30):
            if t == len(pre):
                break
            happens, steps = event(rng, pre, post, t, post.shape[2])
            if rng.random() < 0.5:
                going = reloaded(going, make)
            answers = [happens(module) for module in (stayed, going)]
            t += steps
            assert answers[0] is None or torch.equal(*answers)
        assert torch.equal(stayed.flush(), going.flush()) and torch.equal(stayed.eligibility, going.eligibility)
