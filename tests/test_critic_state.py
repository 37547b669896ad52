"""What a critic has learnt: into a batch of another size, through a file, and untouched by an empty batch."""

from __future__ import annotations

import pytest
import torch
from test_saved_states import changed, drop, places, put, reopened, wrongs

from snn_plasticity.neuromodulation import TDCritic, TDCriticConfig


def features(batch, seed):
    return torch.rand(batch, 3, generator=torch.Generator().manual_seed(seed))


def lived(scope, steps=4, batch=2):
    critic = TDCritic(TDCriticConfig(3, lr=0.2, scope=scope))
    state = critic.init(batch)
    for t in range(steps):
        _, state = critic.step(features(batch, t), float(t), features(batch, t + 1), state)
    return critic, state


@pytest.mark.parametrize("scope", ("sample", "batch"))
def test_a_state_goes_on_bit_for_bit_through_a_file_at_any_step(scope):
    for stop in range(5):
        critic, state = lived(scope, stop)
        other = TDCritic(critic.config)
        again = other.load_state(reopened(critic.state_dict(state)))
        for t in range(stop, 7):
            error, state = critic.step(features(2, t), float(t), features(2, t + 1), state)
            same, again = other.step(features(2, t), float(t), features(2, t + 1), again)
            assert torch.equal(error, same) and all(map(torch.equal, state, again))


@pytest.mark.parametrize("scope", ("sample", "batch"))
def test_what_is_wrong_at_any_place_is_refused(scope):
    critic, state = lived(scope)
    saved, tried = reopened(critic.state_dict(state)), 0
    for path, value in places(saved):
        cases = [*wrongs(value), ("missing", drop)] if path[0] != "settings" else [("a stranger", put("x"))]
        for what, change in cases:
            with pytest.raises((TypeError, ValueError), match="The saved critic"):
                critic.load_state(changed(saved, path, change))
                pytest.fail(f"{what} at {path} was accepted")
            tried += 1
    assert tried > 20
    with pytest.raises(ValueError, match="lr was 0.2 and is 0.1"):
        TDCritic(TDCriticConfig(3, scope=scope)).load_state(saved)


@pytest.mark.parametrize("batch", (1, 3, 5))
def test_another_batch_goes_on_from_what_was_learnt(batch):
    critic, state = lived("batch")
    other = critic.for_batch(state, batch)
    assert torch.equal(other.weights, state.weights) and not other.trace.any() and len(other.old_value) == batch
    critic, state = lived("sample")
    other = critic.for_batch(state, batch)
    torch.testing.assert_close(other.weights, state.weights.mean(0).expand(batch, 3))
    critic.step(features(batch, 0), 1.0, features(batch, 1), other)
    if batch != 2:
        with pytest.raises(ValueError, match="critic.for_batch"):
            critic.step(features(batch, 0), 1.0, features(batch, 1), state)


@pytest.mark.parametrize("scope", ("sample", "batch"))
def test_nobody_teaches_nothing(scope):
    critic, state = lived(scope)
    nobody = critic.for_batch(state, 0)
    error, after = critic.step(features(0, 0), torch.zeros(0), features(0, 1), nobody)
    assert error.shape == (0,) and torch.equal(after.weights, nobody.weights) and bool(after.weights.isfinite().all())
    if scope == "batch":
        assert torch.equal(critic.for_batch(after, 2).weights, state.weights)
