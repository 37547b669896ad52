"""Edges come and go while they learn: the rest keeps what it has, and learns as if nothing had happened."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import snntorch
import torch
from conftest import TRACES, settings, trains
from host_models import CONFIG, MODULATOR, close
from torch import nn

from snn_plasticity import Connection, Convention, PlasticityConfig, PlasticityLearner, SparseLinear, attach

N_PRE, N_POST, STEPS, B = 7, 6, 12, 3
EDGES = torch.randint(N_POST, (2, 20), generator=torch.Generator().manual_seed(5))
MORE = torch.randint(N_POST, (2, 4), generator=torch.Generator().manual_seed(7))
DELAYS = torch.randint(4, (24,), generator=torch.Generator().manual_seed(6))
GONE = torch.tensor([0, 3, 4, 11, 19])
KEPT = torch.tensor([k for k in range(20) if k not in GONE.tolist()])


def layer_of(edges=EDGES, delays=None, samples=None, dtype=torch.float64):
    torch.manual_seed(0)
    made = SparseLinear(N_PRE, N_POST, edges, delays=delays, samples=samples, bias=False, dtype=dtype)
    with torch.no_grad():
        made.weight.copy_(torch.linspace(0.1, 0.9, edges.shape[1], dtype=dtype).expand_as(made.weight))
    return made


def learner_of(layer, kernel="stdp_triplet", trace="accumulating", **options):
    config = PlasticityConfig(settings(kernel, trace, options.pop("convention", None)))
    updates = replace(config.three_factor, lr=0.1, weight_clamp=None, **options)
    connection = Connection("edges", layer, config=replace(config, three_factor=updates))
    return PlasticityLearner([connection]), connection


def arriving(layer, x):
    if layer.delays is None:
        return x
    layer(x)
    return layer.arriving


def steps(seed):
    return trains(STEPS, B, N_PRE, seed=seed), trains(STEPS, B, N_POST, seed=seed + 1)


def observed(layer, connection, seed, *, window):
    pre, post = steps(seed)
    if window:
        connection.observe_sequence(arriving(layer, pre), post, new_sequence=False)
    else:
        for p, q in zip(pre, post, strict=True):
            connection.observe(arriving(layer, p), q)


@pytest.mark.parametrize("window", (False, True))
@pytest.mark.parametrize("delayed", (False, True))
@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("kernel", ("stdp_pair", "stdp_triplet", "window"))
def test_the_rest_learns_as_if_nothing_had_happened(kernel, trace, delayed, window):
    """Beside a layer that never changes, for edges that stay; and for new ones, one that begins when they do."""
    layer, same = (layer_of(delays=DELAYS[:20] if delayed else None) for _ in range(2))
    (learner, connection), (unchanged, other) = learner_of(layer, kernel, trace), learner_of(same, kernel, trace)
    for one, c in ((layer, connection), (same, other)):
        observed(one, c, 1, window=window)
        assert c.eligibility.abs().max() > 0.01
    before, weight = connection.eligibility.clone(), layer.weight.detach().clone()
    new = layer.add_edges(MORE, weight=0.3, delays=DELAYS[20:] if delayed else 0)
    assert torch.equal(connection.eligibility[:, :20], before)
    assert not connection.eligibility[:, new].any()
    layer.remove_edges(GONE)
    assert torch.equal(layer.weight.detach(), torch.cat((weight[KEPT], torch.full((4,), 0.3, dtype=torch.float64))))
    assert torch.equal(connection.eligibility, torch.cat((before[:, KEPT], torch.zeros(B, 4)), 1))
    for one, c in ((layer, connection), (same, other)):
        observed(one, c, 3, window=window)
    torch.testing.assert_close(connection.eligibility[:, :15], other.eligibility[:, KEPT], rtol=1e-9, atol=1e-10)
    for learning in (learner, unchanged):
        learning.step(torch.tensor([0.5, -0.2, 1.0]))
    torch.testing.assert_close(layer.weight[:15], same.weight[KEPT], rtol=1e-9, atol=1e-10)
    assert bool((layer.weight[15:] != 0.3).any())


def test_a_new_edge_is_where_an_old_one_of_the_same_neurons_is_but_for_what_was_before():
    """Its kernel is that of its neurons, which have been heard all the time: e differs by what had decayed since."""
    layer = layer_of()
    _, connection = learner_of(layer)
    observed(layer, connection, 1, window=False)
    before = connection.eligibility.clone()
    layer.add_edges(EDGES)
    observed(layer, connection, 3, window=False)
    old, new = connection.eligibility.split(20, 1)
    kept = (1.0 - 1.0 / 15.0) ** STEPS  # tau_e = 15
    torch.testing.assert_close(new, old - kept * before, rtol=1e-9, atol=1e-10)


def test_with_one_edge_for_each_axon_a_new_delay_is_heard_from_then_on():
    """A delay that no other edge of its neuron has: what was on its way before arrives, its traces begin silent."""
    edges, delays = torch.tensor([[0, 1], [0, 1]]), torch.tensor([1, 3])
    layer = layer_of(edges, delays)
    _, connection = learner_of(layer, "stdp_pair")
    pre, post = steps(1)
    for p, q in zip(pre, post, strict=True):
        connection.observe(arriving(layer, p), q)
    layer.add_edges(torch.tensor([[0], [1]]), delays=torch.tensor([2]))
    fresh = layer_of(torch.tensor([[0], [1]]), torch.tensor([2]))
    fresh(pre)  # the same spikes on their way
    _, beginning = learner_of(fresh, "stdp_pair")
    for p, q in zip(*steps(3), strict=True):
        connection.observe(arriving(layer, p), q)
        beginning.observe(arriving(fresh, p), q)
    heard = connection.eligibility[:, 2] - beginning.eligibility[:, 0]  # of the post spikes before
    y = sum(math.exp(-k / 11.0) * q[:, 1] for k, q in enumerate(reversed(post)))
    expected, kept = 0.0, 1.0 - 1.0 / 15.0
    for t, p in enumerate(torch.cat((pre[-2:], steps(3)[0]))[:STEPS, :, 0]):
        expected = expected * kept - 1.1 * p * y * math.exp(-(t + 1) / 11.0)
    torch.testing.assert_close(heard, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("samples", (None, B))
@pytest.mark.parametrize("convention", (Convention(), Convention(lag=1)))
def test_pending_updates_and_masks_go_with_their_edges(samples, convention):
    layers = [layer_of(samples=samples) for _ in range(2)]
    pairs = [learner_of(layer, update_frequency=3, convention=convention) for layer in layers]
    mask = torch.ones_like(layers[0].weight.detach())
    mask[..., 5] = 0.0
    for _, connection in pairs:
        connection.mask, connection.fixed = mask, mask == 0
    for now in range(3):
        for layer, (learner, connection) in zip(layers, pairs, strict=True):
            observed(layer, connection, 1 + 2 * now, window=False)
            if now == 2 and layer is layers[0]:
                layer.add_edges(MORE, weight=0.3)
                layer.remove_edges(GONE)
            learner.step(torch.tensor([0.5, -0.2, 1.0]))
    changed, same = (layer.weight.detach() for layer in layers)
    torch.testing.assert_close(changed[..., :15], same[..., KEPT], rtol=1e-9, atol=1e-10)
    at = KEPT.tolist().index(5)
    assert torch.equal(changed[..., at], layer_of(samples=samples).weight.detach()[..., 5])
    assert not torch.equal(changed[..., :15], layer_of(samples=samples).weight.detach()[..., KEPT])


def test_what_comes_out_is_that_of_the_edges_there_are_with_spikes_on_their_way():
    layer, x = layer_of(delays=DELAYS[:20]), trains(2 * STEPS, B, N_PRE, seed=1)
    layer(x[:STEPS])
    layer.add_edges(MORE, weight=torch.linspace(0.1, 0.4, 4), delays=torch.tensor([0, 2, 3, 1]))
    layer.remove_edges(torch.arange(24) % 5 == 1)
    built = SparseLinear(N_PRE, N_POST, layer.connectivity, delays=layer.delays, bias=False, dtype=torch.float64)
    with torch.no_grad():
        built.weight.copy_(layer.weight)
    expected = built(x)[STEPS:]
    torch.testing.assert_close(layer(x[STEPS:]), expected)


def test_a_longer_delay_remembers_more_from_then_on_and_a_shorter_one_less():
    layer, x = layer_of(torch.tensor([[0], [0]]), torch.tensor([1])), trains(2 * STEPS, B, N_PRE, seed=1)
    layer(x[:STEPS])
    layer.add_edges(torch.tensor([[1], [1]]), weight=1.0, delays=4)
    out = layer(x[STEPS:])
    late = x[STEPS - 4 : -4, :, 1].clone()
    late[:3] = 0.0  # longer ago than anybody remembered
    np.testing.assert_allclose(out[:, :, 1].detach(), late)
    layer.remove_edges(torch.tensor([1]))
    assert layer.past.shape == (1, B, N_PRE)
    assert torch.equal(layer.past[0], x[-1])


def test_gradients_stay_with_their_edges_and_new_ones_have_none():
    layer = layer_of()
    layer(trains(B, N_PRE)).square().sum().backward()
    grad, parameter = layer.weight.grad.clone(), layer.weight
    layer.add_edges(MORE)
    layer.remove_edges(GONE)
    assert layer.weight is parameter
    assert torch.equal(layer.weight.grad, torch.cat((grad[KEPT], torch.zeros(4))))
    layer(trains(B, N_PRE)).sum().backward()
    torch.optim.SGD([parameter], lr=0.1).step()


@torch.no_grad()
def test_a_net_of_snntorch_goes_on_through_attach_and_a_copy_of_it_too():
    net = nn.Sequential(layer_of(dtype=torch.float32), snntorch.Leaky(beta=0.8, init_hidden=True))
    learner = attach(net, CONFIG)
    x = trains(STEPS, B, N_PRE, dtype=torch.float32)
    [net(now) for now in x]
    twin, its_learner = copy.deepcopy((net, learner))
    for one, teacher in ((net, learner), (twin, its_learner)):
        one[0].add_edges(MORE, weight=0.2)
        one[0].remove_edges(GONE)
        [one(now) for now in x]
        teacher.step(MODULATOR)
    assert net[0].weight.shape == (19,)
    close(twin[0].weight.detach(), net[0].weight.detach())
    saved = learner.state_dict()
    learner.load_state_dict(saved)
    assert str(learner).count("0: 19") == 1


def test_a_wiring_that_is_loaded_is_new_to_the_learner_and_the_same_one_is_not():
    layer = layer_of()
    _, connection = learner_of(layer)
    observed(layer, connection, 1, window=False)
    before = connection.eligibility.clone()
    layer.load_state_dict(layer_of().state_dict())
    assert torch.equal(connection.eligibility, before)
    layer.load_state_dict(layer_of(EDGES.flip(1)).state_dict())
    assert connection.eligibility.shape == before.shape and not connection.eligibility.any()
    observed(layer, connection, 3, window=False)
    assert connection.eligibility.any()


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda x: x.add_edges(torch.tensor([[9], [0]])), ValueError, "source runs from 9 to 9"),
        (lambda x: x.add_edges(MORE, weight=torch.ones(3)), ValueError, r"weight has shape \(3,\); expected"),
        (lambda x: x.add_edges(MORE, weight=float("nan")), ValueError, "weight = nan"),
        (lambda x: x.add_edges(MORE, delays=2), ValueError, "this layer has none"),
        (lambda x: x.remove_edges(torch.tensor([20])), ValueError, "expected 0 to 19"),
        (lambda x: x.remove_edges(torch.tensor([1.0])), TypeError, "expected booleans"),
        (lambda x: x.remove_edges(torch.ones(3, dtype=torch.bool)), ValueError, r"expected \(20,\)"),
        (lambda x: x.remove_edges(torch.ones(20, dtype=torch.bool)), ValueError, "expected some to be left"),
    ],
)
def test_what_is_refused_changes_nothing(call, kind, words):
    layer = layer_of()
    edges, weight = layer.edges, layer.weight.detach().clone()
    with pytest.raises(kind, match=words):
        call(layer)
    assert layer.edges is edges and torch.equal(layer.weight, weight)


def test_what_was_saved_with_another_wiring_is_refused_until_the_layer_has_it_too():
    layer, other = layer_of(), layer_of(EDGES.flip(1))
    (learner, connection), (stranger, its) = learner_of(layer), learner_of(other)
    observed(layer, connection, 1, window=False)
    saved = learner.state_dict()
    with pytest.raises(ValueError, match="wiring was .* and is"):
        stranger.load_state_dict(saved)
    other.load_state_dict(layer.state_dict())
    stranger.load_state_dict(saved)
    assert torch.equal(its.eligibility, connection.eligibility)
