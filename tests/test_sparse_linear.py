"""Synapses as edges in place of `nn.Linear`: what they compute, what they remember, what they learn on both hosts."""

from __future__ import annotations

import copy
import io
from dataclasses import replace

import brute_force
import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from conftest import trains
from host_models import CONFIG, FAST, LR, MODULATOR, Loop, close
from torch import nn

from snn_plasticity import Connection, Convention, _compiled, attach
from snn_plasticity.layers import SparseLinear
from snn_plasticity.layers.edges import EdgeLists

N_PRE, N_POST, STEPS, B = 7, 6, 25, 3
EDGES = torch.randint(N_POST, (2, 30), generator=torch.Generator().manual_seed(5))  # several join the same neurons
DELAYS = torch.randint(5, (30,), generator=torch.Generator().manual_seed(6))


@pytest.fixture(autouse=True, params=("compiled", "torch"))
def loops(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(_compiled, "loops", lambda: None)
    elif not _compiled.available():
        pytest.skip("numba is not installed")


def made(*, delays=None, samples=None, dtype=torch.float64, seed=0, **options) -> SparseLinear:
    torch.manual_seed(seed)
    return SparseLinear(N_PRE, N_POST, EDGES, delays=delays, samples=samples, dtype=dtype, **options)


def matrix(layer: SparseLinear, sample: int = 0) -> torch.Tensor:
    """The full weight, entry by entry."""
    full = torch.zeros(N_POST, N_PRE, dtype=layer.weight.dtype)
    weights = layer.weight if layer.samples is None else layer.weight[sample]
    for source, target, weight in zip(*EDGES.tolist(), weights.tolist(), strict=True):
        full[target, source] += weight
    return full


def arrived(layer: SparseLinear, inputs: np.ndarray) -> np.ndarray:
    """The currents (T, B, N_post) of inputs (T, B, N_pre), edge by edge and step by step."""
    out = np.zeros((*inputs.shape[:2], N_POST)) + layer.bias.detach().numpy()
    delays = [0] * 30 if layer.delays is None else layer.delays.tolist()
    weights = layer.weight.detach().numpy()
    for e, (source, target) in enumerate(EDGES.T.tolist()):
        for t in range(delays[e], len(inputs)):
            weight = weights[e] if layer.samples is None else weights[:, e]
            out[t, :, target] += weight * inputs[t - delays[e], :, source]
    return out


@pytest.mark.parametrize("shape", ((N_PRE,), (1, N_PRE), (8, N_PRE), (2, 5, N_PRE), (0, N_PRE)))
@pytest.mark.parametrize("rate", (0.02, 0.6))
def test_the_output_is_that_of_a_linear_layer_with_the_same_entries(shape, rate):
    layer, x = made(), trains(*shape, seed=1, rate=rate)
    expected = nn.functional.linear(x, matrix(layer), layer.bias)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(layer(x.bool()), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", (1, 3, 9))
@pytest.mark.parametrize("samples", (None, 3))
@pytest.mark.parametrize("delays", (None, DELAYS))
def test_gradients_of_weight_bias_and_input_are_those_of_finite_differences(rows, samples, delays):
    layer = made(samples=samples, delays=delays)
    x = torch.rand(3, samples or rows, N_PRE, dtype=torch.float64, requires_grad=True)

    def run(x, weight, bias):
        layer.reset()
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, (x, layer.weight, layer.bias))


@pytest.mark.parametrize("samples", (None, 20))
@pytest.mark.parametrize("delays", (None, DELAYS))
def test_without_gradients_only_the_edges_of_spiking_neurons_are_touched(samples, delays, loops, monkeypatch):
    layer, reached, original = made(samples=samples, delays=delays), [], EdgeLists.reached
    x = torch.zeros(4, 20, N_PRE, dtype=torch.float64)
    for t, b, k in ((0, 3, 2), (1, 19, 5)):
        x[t, b, k] = 1.0
    monkeypatch.setattr(
        EdgeLists, "reached", lambda self, n: (reached.append(len(original(self, n)[1])), original(self, n))[1]
    )
    with torch.no_grad():
        out = layer(x)
    np.testing.assert_allclose(out, arrived(layer, x.numpy()), atol=1e-12)
    if _compiled.loops() is not None:
        assert not reached and layer.weight.grad is None
        return
    leaving = torch.bincount(EDGES[0], minlength=N_PRE)
    assert sum(reached) <= int(leaving[2] + leaving[5])
    assert reached


@pytest.mark.parametrize("grad", (True, False))
@pytest.mark.parametrize("samples", (None, B))
def test_spikes_arrive_after_the_delay_of_their_edge(samples, grad):
    layer, x = made(delays=DELAYS, samples=samples), trains(STEPS, B, N_PRE, seed=3)
    expected = arrived(layer, x.numpy())
    with torch.set_grad_enabled(grad):
        by_step = torch.stack([layer(now) for now in x])
        layer.reset()
        halves = torch.cat((layer(x[:11]), layer(x[11:])))
        layer.reset()
        again = torch.stack([layer(now) for now in x])
    for out in (by_step, halves, again):
        np.testing.assert_allclose(out.detach(), expected, atol=1e-12)


def test_gradients_flow_back_through_the_delays_and_stop_where_the_past_is_detached():
    layer = made(delays=DELAYS)
    x = torch.rand(6, 1, N_PRE, dtype=torch.float64, requires_grad=True)
    outs = [layer(now) for now in x]
    (grad,) = torch.autograd.grad(outs[5].sum(), x)
    expected = np.zeros((6, N_PRE))
    for e, source in enumerate(EDGES[0].tolist()):
        expected[5 - DELAYS[e], source] += layer.weight[e].item()
    np.testing.assert_allclose(grad[:, 0], expected, atol=1e-12)
    layer.reset()
    for now in x[:5]:
        layer(now)
    layer.detach_past()
    (grad,) = torch.autograd.grad(layer(x[5]).sum(), x)
    np.testing.assert_allclose(grad[5, 0], expected[5], atol=1e-12)
    assert not grad[:5].any()


def test_another_batch_size_in_mid_sequence_is_refused_and_changes_nothing():
    layer, x = made(delays=DELAYS), trains(STEPS, B, N_PRE, seed=3)
    layer(x[:9])
    with pytest.raises(ValueError, match=r"batch of 2 .* one of 3; expected the same until reset"):
        layer(x[9, :2])
    np.testing.assert_allclose(layer(x[9:]).detach(), arrived(layer, x.numpy())[9:], atol=1e-12)
    layer.reset()
    assert layer(x[:, :2]).shape == (STEPS, 2, N_POST)


@pytest.mark.parametrize("samples", (None, B))
def test_a_saved_layer_goes_on_with_its_wiring_and_what_is_on_its_way(samples):
    layer, x = made(delays=DELAYS, samples=samples), trains(STEPS, B, N_PRE, seed=3)
    layer(x[:9])
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = SparseLinear(N_PRE, N_POST, EDGES.flip(1), delays=2, samples=samples, dtype=torch.float64)
    other.load_state_dict(saved)
    twin = copy.deepcopy(other)
    for one in (layer, other, twin):
        np.testing.assert_allclose(one(x[9:]).detach(), arrived(layer, x.numpy())[9:], atol=1e-12)
    fresh = SparseLinear(N_PRE, N_POST, saved["connectivity"], delays=saved["delays"], samples=samples).double()
    other.reset()
    fresh.load_state_dict(other.state_dict())
    assert fresh.past is None
    np.testing.assert_allclose(fresh(x).detach(), arrived(layer, x.numpy()), atol=1e-12)


def test_a_saved_wiring_that_does_not_fit_is_refused_in_a_sentence():
    layer, saved = made(), made(delays=DELAYS).state_dict()
    weight = layer.weight.clone()
    with pytest.raises(RuntimeError, match="30 edges with delays; this layer has 30 without"):
        layer.load_state_dict(saved)
    saved = made().state_dict()
    saved["connectivity"] = saved["connectivity"] + 5
    with pytest.raises(RuntimeError, match="expected 0 to 6"):
        layer.load_state_dict(saved)
    assert torch.equal(layer.weight, weight)


def test_it_follows_the_precision_of_the_model_with_spikes_on_their_way():
    layer, x = made(delays=DELAYS, dtype=torch.float32), trains(STEPS, B, N_PRE, seed=3)
    layer(x[:9].float())
    layer.double()
    np.testing.assert_allclose(layer(x[9:]).detach(), arrived(layer, x.numpy())[9:], atol=1e-6)


def test_a_pruned_linear_layer_becomes_its_edges():
    linear = nn.Linear(N_PRE, N_POST)
    mask = torch.rand(N_POST, N_PRE) < 0.4
    linear.weight.data *= mask
    x = torch.rand(4, N_PRE)
    for layer in (SparseLinear.from_linear(linear), SparseLinear.from_linear(linear, mask)):
        assert layer.weight.shape == (int(mask.sum()),)
        torch.testing.assert_close(layer(x), linear(x))


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"delays": torch.zeros(3, dtype=torch.long)}, ValueError, "expected (30,)"),
        ({"delays": DELAYS.float()}, TypeError, "expected integers"),
        ({"delays": DELAYS - 1}, ValueError, "expected 0 to"),
        ({"delays": -1}, ValueError, "delays = -1"),
        ({"delays": 1.5}, ValueError, "delays = 1.5"),
        ({"samples": 0}, ValueError, "samples = 0"),
        ({"device": "meta"}, ValueError, "expected another device"),
        ({"bias": 1}, ValueError, "bias = 1"),
    ],
)
def test_what_is_no_layer_is_refused(options, kind, words):
    with pytest.raises(kind) as error:
        SparseLinear(N_PRE, N_POST, EDGES, **options)
    assert words in str(error.value)


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"input has shape \(3, 6\); expected \(..., 7\)"):
        made()(torch.ones(3, 6))
    with pytest.raises(ValueError, match=r"expected \(..., 3, 7\)"):
        made(samples=3)(torch.ones(2, N_PRE))
    with pytest.raises(ValueError, match="a layer with delays expected one step"):
        made(delays=1)(torch.ones(2, 2, 2, N_PRE))


# plastic


def snntorch_net(layer):
    return nn.Sequential(layer, snntorch.Leaky(beta=0.8, init_hidden=True))


def norse_net(layer):
    return Loop(norse.SequentialState(layer, norse.LIFCell(FAST)))


def run(net, xs):
    return torch.stack([net(x) for x in xs]) if isinstance(net, nn.Sequential) else net(xs)


HOSTS = {"snntorch": snntorch_net, "norse": norse_net}
X = trains(STEPS, B, N_PRE, seed=4, dtype=torch.float32)


def excited(layer):
    with torch.no_grad():
        layer.weight.uniform_(0.0, 0.5, generator=torch.Generator().manual_seed(2))
    return layer


@pytest.mark.parametrize("host", HOSTS)
def test_without_delays_it_learns_as_the_entries_of_a_full_matrix_do(host):
    """Over many steps, so that what was learned changes what is fired."""
    once = torch.unique(EDGES, dim=1)
    sparse = excited(SparseLinear(N_PRE, N_POST, once))
    dense = nn.Linear(N_PRE, N_POST)
    with torch.no_grad():
        dense.weight.zero_()[once[1], once[0]] = sparse.weight
        dense.bias.copy_(sparse.bias)
    mask = torch.zeros(N_POST, N_PRE, dtype=torch.bool)
    mask[once[1], once[0]] = True
    spikes, learners = [], []
    for layer, masks in ((sparse, None), (dense, mask)):
        net = HOSTS[host](layer)
        learner = attach(net, CONFIG)
        for part in X.split(5):
            spikes.append(run(net, part).detach())
            learner.step(MODULATOR)
            if masks is not None:
                layer.weight.data *= masks
        learners.append(learner)
    half = len(spikes) // 2
    assert torch.equal(torch.cat(spikes[:half]), torch.cat(spikes[half:]))
    close(sparse.weight.detach(), dense.weight.detach()[once[1], once[0]])
    (name,) = learners[0].connections
    close(learners[0].connections[name].eligibility, learners[1].connections[name].eligibility[:, once[1], once[0]])


def expected_change(layer, xs, posts):
    """lr · m · mean_B e(T) of each edge, whose pre spikes are those that arrive at it."""
    rule, xs, posts = CONFIG.eligibility, np.asarray(xs, dtype=float), np.asarray(posts, dtype=float)
    change = np.zeros((B, 30))
    taus = {"tau_plus": rule.stdp_tau_plus, "tau_minus": rule.stdp_tau_minus, "dt": 1.0, "convention": Convention()}
    for e, (source, target) in enumerate(EDGES.T.tolist()):
        late = int(layer.delays[e])
        pre = np.concatenate((np.zeros((late, B)), xs[: len(xs) - late, :, source]))[..., None]
        f = brute_force.stdp_pair(pre, posts[:, :, [target]], a_plus=rule.a_plus, a_minus=rule.a_minus, **taus)
        last = brute_force.eligibility(f, tau_e=rule.tau_e, dt=1.0, convention=Convention())[-1]
        change[:, e] = LR * MODULATOR * last[:, 0, 0]
    assert np.abs(change).max() > 1e-2
    return change


@pytest.mark.parametrize("host", (*HOSTS, "norse sequence"))
def test_with_delays_the_pre_spike_of_an_edge_is_the_one_that_arrives_at_it(host):
    layer = excited(made(delays=DELAYS, dtype=torch.float32))
    net = HOSTS[host](layer) if host in HOSTS else norse.SequentialState(layer, norse.LIF(FAST))
    learner, before = attach(net, CONFIG), layer.weight.detach().clone()
    with torch.no_grad():
        posts = net(X)[0] if host == "norse sequence" else run(net, X)
    learner.step(MODULATOR)
    close((layer.weight - before).detach(), expected_change(layer, X, posts).mean(0))


@pytest.mark.parametrize("host", HOSTS)
def test_a_dry_run_leaves_what_is_on_its_way_as_it_was(host):
    layer = excited(made(delays=DELAYS, dtype=torch.float32))
    net = HOSTS[host](layer)
    run(net, X[:9])
    past = layer.past.clone()
    attach(net, CONFIG, sample=X[:2] if host == "norse" else X[0])
    assert torch.equal(layer.past, past)


def test_a_lift_that_hides_the_single_steps_of_a_layer_with_delays_is_refused():
    net = norse.SequentialState(norse.Lift(made(delays=DELAYS)), norse.LIF(FAST), nn.Linear(N_POST, 2), norse.LIF(FAST))
    with pytest.raises(TypeError, match="takes sequences"):
        attach(net, CONFIG, layers={"0.lifted_module": CONFIG})


# one network for each sample


def per_sample(seed=2):
    layer = SparseLinear(N_PRE, N_POST, EDGES, samples=B)
    with torch.no_grad():
        layer.weight.uniform_(0.0, 0.5, generator=torch.Generator().manual_seed(seed))
    return layer


def alone(layer, sample):
    one = SparseLinear(N_PRE, N_POST, EDGES)
    with torch.no_grad():
        one.weight.copy_(layer.weight[sample])
        one.bias.copy_(layer.bias)
    return one


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("every", (1, 2))
@pytest.mark.parametrize("bounds", (None, (0.0, 0.6)))
def test_each_sample_learns_as_a_network_of_its_own(host, every, bounds):
    """Rewards of its own for each, over many steps, so that what was learned changes what is fired."""
    updates = replace(CONFIG.three_factor, update_frequency=every, weight_bounds=bounds)
    config = replace(CONFIG, three_factor=updates)
    rewards = torch.tensor([[0.7, -0.4, 0.2], [0.1, 0.9, -0.3], [0.5, 0.5, 0.5], [-0.2, 0.3, 0.8], [0.1, 0.1, 0.1]])
    layer = per_sample()
    others = [alone(layer, b) for b in range(B)]
    net, nets = HOSTS[host](layer), [HOSTS[host](other) for other in others]
    learner, learners = attach(net, config), [attach(n, config) for n in nets]
    for now, (part, reward) in enumerate(zip(X.split(5), rewards, strict=True)):
        together = run(net, part)
        apart = [run(n, part[:, [b]]) for b, n in enumerate(nets)]
        assert torch.equal(together, torch.cat(apart, 1))
        before = layer.weight.detach().clone()
        details = learner.step(reward, return_details=True)
        (name,) = learner.connections
        moved = float((layer.weight.detach() - before).norm())
        assert bounds or float(details.layers[name].change_norm) == pytest.approx(moved, rel=1e-3)
        for b, one in enumerate(learners):
            one.step(reward[[b]])
        if now == 2:
            learner.reset(torch.tensor([True, False, False]))
            learners[0].reset()
    close(layer.weight.detach(), torch.stack([other.weight.detach() for other in others]))
    assert not torch.equal(layer.weight[0], layer.weight[1])
    assert learner.diagnose().layers[name].post_rate > 0


def test_samples_of_their_own_are_saved_and_go_on():
    updates = replace(CONFIG.three_factor, update_frequency=3)
    layers = [per_sample(), per_sample()]
    nets = [snntorch_net(layer) for layer in layers]
    learners = [attach(net, replace(CONFIG, three_factor=updates)) for net in nets]
    for part in X[:10].split(5):
        run(nets[0], part)
        learners[0].step(MODULATOR)
    nets[1].load_state_dict(nets[0].state_dict())
    nets[1][1].mem = nets[0][1].mem.clone()
    learners[1].load_state_dict(learners[0].state_dict())
    for net, learner in zip(nets, learners, strict=True):
        run(net, X[10:15])
        learner.step(MODULATOR)
    assert torch.equal(layers[0].weight, layers[1].weight)
    assert not torch.equal(layers[0].weight, per_sample().weight)


def test_another_number_of_samples_and_one_sum_of_all_are_refused():
    layer = per_sample()
    connection = Connection("edges", layer)
    with pytest.raises(ValueError, match=r"edges: pre has a batch of 2; expected 3"):
        connection.observe(torch.ones(2, N_PRE), torch.ones(2, N_POST))
    assert connection.eligibility is None
    with pytest.raises(ValueError, match="path 'shared' keeps one sum"):
        Connection("edges", layer, path="shared")


def test_an_empty_batch_has_empty_currents_with_delays_and_without():
    for delays in (None, DELAYS):
        layer, nobody = made(delays=delays), torch.zeros(0, N_PRE, dtype=torch.float64)
        for shape in ((0, N_PRE), (2, 0, N_PRE)):
            layer.reset()
            assert layer(nobody.expand(shape)).shape == (*shape[:-1], N_POST)
        with torch.no_grad():
            layer.reset()
            assert layer(nobody).shape == (0, N_POST)


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("grad", (True, False))
def test_a_layer_that_never_ran_is_compiled_as_one_graph_and_exported(grad):
    """Its tables are there beforehand, since a tracer cannot sort edges."""
    x = (trains(1, 5, N_PRE, rate=0.1)[0]).double()
    with torch.set_grad_enabled(grad):
        expected = x @ matrix(made()).T + made().bias
        compiled_layer = torch.compile(made(), backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled_layer(x), expected)
        exported = torch.export.export(made(), (x,)).module()
        torch.testing.assert_close(exported(1 - x), (1 - x) @ matrix(made()).T + made().bias)


def test_forward_derivatives_are_those_of_the_full_matrix():
    layer, (x, dx) = made(), torch.rand(2, 5, N_PRE, dtype=torch.float64)
    weight, change = layer.weight.detach(), torch.rand(len(EDGES[0]), dtype=torch.float64)

    def current(w, x):
        return torch.func.functional_call(layer, {"weight": w}, (x,))

    _, slope = torch.func.jvp(current, (weight, x), (change, dx))
    moved = made()
    moved.weight.data = change
    torch.testing.assert_close(slope, x @ matrix(moved).T + dx @ matrix(layer).T)
