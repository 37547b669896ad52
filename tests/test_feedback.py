"""Feedback from the readout to hidden neurons: against loops in plain Python, and against autograd."""

from __future__ import annotations

import pytest
import torch

from snn_plasticity import (
    AdaptiveFeedback,
    BroadcastFeedback,
    FeedbackState,
    RandomFeedback,
    SymmetricFeedback,
    feedback_of,
)

B, N_OUT, N = 4, 3, 7
WORDS = ("symmetric", "random", "adaptive", "broadcast")


def drawn(seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(N_OUT, N, generator=g, dtype=dtype), torch.randn(B, N_OUT, generator=g, dtype=dtype)


def by_hand(error, weights):
    """Σ_k error[b, k] · B[k, j], one product at a time."""
    rows = [
        [sum(float(error[b, k] * weights[k, j]) for k in range(error.shape[1])) for j in range(weights.shape[1])]
        for b in range(len(error))
    ]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("word", WORDS)
def test_each_hidden_neuron_hears_the_errors_weighted_by_its_column(word):
    readout, error = drawn()
    feedback = feedback_of(word, seed=5)
    signal, after = feedback.step(error, feedback.init(readout), readout)
    torch.testing.assert_close(signal, by_hand(error, after.weights))
    assert signal.shape == (B, N)


def test_symmetric_feedback_is_the_gradient_with_respect_to_what_the_readout_reads():
    readout, target = drawn(1)
    hidden = torch.randn(B, N, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    error = hidden @ readout.T - target
    (0.5 * error.square().sum()).backward()
    feedback = SymmetricFeedback()
    state = feedback.init(torch.zeros_like(readout))  # W at the step counts, not that of the beginning
    torch.testing.assert_close(feedback.step(error.detach(), state, readout)[0], hidden.grad)


def test_random_feedback_stays_as_it_was_drawn_whatever_the_readout_learns():
    readout, error = drawn(3)
    feedback = RandomFeedback(seed=11)
    first = state = feedback.init(readout)
    for _ in range(3):
        readout = readout + 1.0
        _, state = feedback.step(error, state, readout)
    assert torch.equal(state.weights, first.weights)
    assert torch.equal(RandomFeedback(seed=11).init(readout).weights, first.weights)
    assert not torch.equal(RandomFeedback(seed=12).init(readout).weights, first.weights)


def test_drawn_feedback_has_the_scale_that_it_says():
    wide = torch.zeros(400, 500)
    assert RandomFeedback(seed=0).init(wide).weights.std().item() == pytest.approx(1 / 20, rel=0.01)
    assert AdaptiveFeedback(seed=0, scale=2.0).init(wide).weights.std().item() == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_adaptive_feedback_takes_the_steps_of_the_readout(rate):
    """B ← B − rate · η gᵀ beside W ← W − η g, of a linear regression by gradient descent, whoever does the descent."""
    readout, target = drawn(4)
    x = torch.randn(B, N, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    feedback, eta = AdaptiveFeedback(seed=1, rate=rate), 0.03
    state = feedback.init(readout)
    expected = state.weights.clone()
    for _ in range(5):
        error = x @ readout.T - target
        gradient = error.T @ x
        signal, state = feedback.step(error, state, readout)
        torch.testing.assert_close(signal, by_hand(error, expected))
        readout = readout - eta * gradient
        expected = expected - rate * eta * gradient
    assert not torch.allclose(state.weights, feedback.init(readout).weights)


def test_a_readout_that_learns_in_place_is_followed():
    readout, error = drawn(7)
    feedback = AdaptiveFeedback(seed=1)
    state = feedback.init(readout)
    before = state.weights.clone()
    readout.add_(0.5)
    _, after = feedback.step(error, state, readout)
    torch.testing.assert_close(after.weights, before + 0.5)
    assert torch.equal(state.weights, before)


def test_broadcast_feedback_says_the_same_to_all():
    readout, error = drawn(8)
    feedback = BroadcastFeedback()
    signal, _ = feedback.step(error, feedback.init(readout), readout)
    torch.testing.assert_close(signal, (error.sum(1, keepdim=True) / N_OUT**0.5).expand(B, N))


def test_feedback_of_ones_own_making_goes_on():
    readout, error = drawn(9)
    own = torch.ones_like(readout)
    signal, after = RandomFeedback().step(error, FeedbackState(own, readout), readout)
    torch.testing.assert_close(signal, error.sum(1, keepdim=True).expand(B, N))
    assert torch.equal(after.weights, own)


@pytest.mark.parametrize("word", WORDS)
def test_what_does_not_fit_is_refused_in_a_sentence(word):
    readout, error = drawn(dtype=torch.float32)
    feedback = feedback_of(word)
    state = feedback.init(readout)
    with pytest.raises(ValueError, match=r"error has shape \(4, 2\) on cpu; expected \(B, 3\)"):
        feedback.step(error[:, :2], state, readout)
    with pytest.raises(ValueError, match="expected the same"):
        feedback.step(error, state, readout[:, :2])
    with pytest.raises(ValueError, match="error holds 1 value"):
        feedback.step(error.index_fill(0, torch.tensor([0]), 0.0).put(torch.tensor([0]), torch.tensor([torch.nan])),
                      state, readout)  # fmt: skip
    with pytest.raises(TypeError, match="state is"):
        feedback.step(error, readout, readout)


def test_words_and_objects():
    mine = RandomFeedback(3)
    assert feedback_of(mine) is mine
    with pytest.raises(ValueError, match="'symmetric', 'random', 'adaptive', 'broadcast' or a Feedback"):
        feedback_of("sideways")
    with pytest.raises(TypeError, match="expected a word"):
        feedback_of(RandomFeedback)
