"""A record says what happened, and nothing else happens because of it."""

from __future__ import annotations

import copy
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from snn_plasticity import (
    Actor,
    AffectiveLoop,
    Connection,
    EligibilityConfig,
    PlasticityConfig,
    PlasticityLearner,
    SparseLinear,
    ThreeFactorConfig,
    attach,
)
from snn_plasticity.notices import PlasticityWarning
from snn_plasticity.record import LayerEvent, LearnerStep

snn = pytest.importorskip("snntorch")
KERNELS = ("stdp_pair", "stdp_symmetric", "rate", "stdp_triplet")
TRACES = ("accumulating", "replacing", "dutch")


def trains(*shape, seed=0, rate=0.4):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def two_layers(config=None, seed=0, **how):
    torch.manual_seed(seed)
    spiking = {"beta": 0.9, "init_hidden": True, "threshold": 0.3}
    model = nn.Sequential(nn.Linear(12, 8), snn.Leaky(**spiking), nn.Linear(8, 5), snn.Leaky(**spiking))
    return model, attach(model, config or PlasticityConfig.minimal(), **how)


def single(config, n_pre=6, n_post=4, path="auto", seed=0):
    torch.manual_seed(seed)
    connection = Connection("fc", nn.Linear(n_pre, n_post), config=config, path=path)
    return connection, PlasticityLearner([connection])


def norse_net(config):
    norse = pytest.importorskip("norse.torch")
    torch.manual_seed(0)
    low = norse.LIFParameters(v_th=torch.tensor(0.05))
    model = norse.SequentialState(nn.Linear(12, 8), norse.LIFCell(low), nn.Linear(8, 5), norse.LIFCell(low))
    return model, attach(model, config)


@pytest.mark.parametrize("host", ["snntorch", "norse"])
@torch.no_grad()
def test_a_record_holds_what_went_by(host):
    """Against tensors collected by hand in the loop: both sides of both layers, e, Δw, weights and third factors."""
    model, learner = two_layers() if host == "snntorch" else norse_net(PlasticityConfig.minimal())
    names, x, state = list(learner.connections), trains(42, 3, 12), None
    first, last = names[0], names[-1]
    fired = {1: [], 3: []}
    for k in fired:
        model[k].register_forward_hook(
            lambda module, args, output, k=k: fired[k].append(
                (output[0] if isinstance(output, tuple) else output).clone()
            )
        )
    record, seen = learner.record(), []
    for k in range(42):
        out = model(x[k]) if host == "snntorch" else model(x[k], state)
        state = out[1] if host == "norse" else None
        if k % 3 == 2:
            before = {name: c.weight.clone() for name, c in learner.connections.items()}
            reward = torch.randn(3, generator=torch.Generator().manual_seed(k))
            e = {name: c.eligibility.clone() for name, c in learner.connections.items()} if k % 2 else None
            learner.step(reward=reward)
            factor = learner.third_factor.last.factor.clone()
            delta = {name: c.weight - before[name] for name, c in learner.connections.items()}
            seen.append((k + 1, factor, delta, e))
    assert record.layers == names
    for name, pre, post in ((first, x, fired[1]), (last, torch.stack(fired[1]), fired[3])):
        sides = record.spikes(name)
        assert sides.pre.dtype == sides.post.dtype == torch.bool and sides.time.tolist() == list(range(42))
        assert torch.equal(sides.pre.float(), pre) and torch.equal(sides.post.float(), torch.stack(post))
        assert sides.post.any() and sides.samples.unique().tolist() == [3]
        at = tuple(torch.tensor(record.synapses[name]).T)
        changes, e, factor = record.changes(name), record.eligibility(name), record.factor(name)
        assert changes.time.tolist() == e.time.tolist() == [k for k, *_ in seen]
        for row, (_, heard, delta, met) in enumerate(seen):
            assert torch.equal(changes.values[row], delta[name][at])
            assert torch.equal(factor.values[row], heard)
            if met is not None:
                torch.testing.assert_close(e.values[row], met[name][(slice(None), *at)], rtol=1e-5, atol=1e-6)
        assert changes.values.any() and e.values.any()
        norm = record.change_norm(name)
        means = {k: float(delta[name].abs().mean()) for k, _, delta, _ in seen}
        assert len(norm.time) == 2 and norm.values.tolist() == pytest.approx([means[int(k)] for k in norm.time])
        weights = record.weights(name)
        assert weights.time.tolist() == [0, 42] and torch.equal(weights.values[1], learner.connections[name].weight)
    assert torch.equal(record.modulators["DA"].time, changes.time) and record.modulators["DA"].values.shape == (14, 3)


def run(connection, learner, x, y, every, window):
    """Steps or windows, a reward now and then, resets of all and of one sample."""
    for k in range(0, len(x), window):
        if window > 1:
            connection.observe_sequence(x[k : k + window], y[k : k + window], new_sequence=False)
        else:
            connection.observe(x[k], y[k])
        if (k // window) % every == every - 1:
            learner.step(reward=torch.tensor([1.0, -0.5]))
        if k == 16:
            learner.reset()
        if k == 24:
            learner.reset(torch.tensor([True, False]))
    parts = [connection.weight.detach().clone(), *learner.third_factor.state]
    return [*parts, *(p.clone() for p in tensors_of(learner.state_dict()))], connection.activity


def tensors_of(saved):
    if isinstance(saved, torch.Tensor):
        yield saved
    for part in saved.values() if isinstance(saved, dict) else saved if isinstance(saved, list) else ():
        yield from tensors_of(part)


PATHS = [*((trace, path) for trace in TRACES for path in ("auto", "plain", "torch")), ("accumulating", "fold")]


@pytest.mark.parametrize(("trace", "path"), PATHS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_recorded_run_is_the_same_to_the_last_bit(kernel, trace, path):
    """Weights, gate, eligibility, kernel state, what waits, rates that were counted, random numbers."""
    x, y = trains(32, 2, 6), trains(32, 2, 4, seed=1)
    config = PlasticityConfig(
        eligibility=EligibilityConfig(kernel=kernel, trace_type=trace), three_factor=ThreeFactorConfig(lr=0.1)
    )
    for every, window in ((1, 1), (3, 1), (1, 8)):
        found = []
        for recorded in (False, True):
            connection, learner = single(config, path=path)
            record = learner.record(steps=16, weights=2) if recorded else None
            parts, activity = run(connection, learner, x, y, every, window)
            found.append([*parts, torch.rand(3), torch.tensor(activity.rates())])
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
        assert record.eligibility("fc").values[-1].isfinite().all()


@pytest.mark.parametrize(("trace", "path"), [one for one in PATHS if one[1] != "torch"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_e_that_is_worked_out_later_is_the_e_that_there_was(kernel, trace, path):
    """Through resets of all and of some, and from the middle of a sequence whose beginning is no longer kept."""
    config = PlasticityConfig(eligibility=EligibilityConfig(kernel=kernel, trace_type=trace))
    connection, learner = single(config, path=path)
    x, y, seen = trains(65, 2, 6, rate=0.1), trains(65, 2, 4, seed=1, rate=0.1), []
    for k in range(5):
        connection.observe(x[k], y[k])
    record = learner.record(steps=30)
    at = (slice(None), *torch.tensor(record.synapses["fc"]).T)
    for k in range(5, 65):
        connection.observe(x[k], y[k])
        if k in (20, 50):
            learner.reset(torch.tensor([False, True]))
        learner.step(0.1)
        seen.append(connection.eligibility[at].clone())
    found = record.eligibility("fc")
    known = found.values.isfinite().all(-1).all(-1)
    assert found.time[known].min() <= record.known_from("fc") + 1 <= 60 - 15 and known[-15:].all()
    torch.testing.assert_close(found.values[known], torch.stack(seen)[-len(known) :][known], rtol=1e-5, atol=1e-6)


def test_memory_is_bounded_and_the_latest_steps_stay():
    model, learner = two_layers()
    record, x = learner.record(steps=64, every=5, weights=50), trains(700, 2, 12)
    sizes = []
    with torch.no_grad():
        for k in range(700):
            model(x[k])
            learner.step(1.0)
            sizes.append(record.nbytes)
    assert max(sizes) == max(sizes[:200]) and "of 700 observed steps" in repr(record) and "steps=" in repr(record)
    sides = record.spikes("0")
    assert sides.time.tolist() == list(range(636, 700)) and torch.equal(sides.pre.float(), x[636:])
    assert len(record.changes("0").time) == 64 and (record.eligibility("0").time % 5 == 1).all()
    assert len(record.weights("0").time) == 3


def test_a_buffer_that_is_written_over_stays_what_it_was():
    """By torch, behind its back in NumPy, and spikes that the caller changes between two layers."""
    connection, learner = single(PlasticityConfig.minimal())
    buffer, post, x = torch.zeros(2, 6), torch.zeros(2, 4), trains(20, 2, 6)
    record = learner.record()
    for k in range(20):
        if k % 2:
            buffer.copy_(x[k])
        else:
            buffer.numpy()[:] = x[k].numpy()
        post.numpy()[:] = k % 3 == 0
        connection.observe(buffer, post)
        modulator = torch.full((2,), float(k))
        learner.step(modulator)
        modulator.zero_()
    sides = record.spikes("fc")
    assert torch.equal(sides.pre.float(), x) and sides.post[:, 0, 0].tolist() == [k % 3 == 0 for k in range(20)]
    assert record.factor("fc").values[:, 0].tolist() == list(range(20))


def test_numbers_batches_and_samples():
    """Inputs that are no spikes are kept as numbers; batches may change; of a batch some samples may be enough."""
    connection, learner = single(PlasticityConfig.minimal())
    record, x = learner.record(samples=[1, 2]), torch.rand(10, 3, 6)
    for k in range(10):
        connection.observe(x[k], torch.ones(3, 4))
    learner.step(torch.tensor([1.0, 2.0, 3.0]))
    learner.reset()
    for k in range(4):
        connection.observe((x[k, :2] > 0.5).float(), torch.ones(2, 4))
    learner.step(0.5)
    sides = record.spikes("fc")
    assert torch.equal(sides.pre[:10], x[:, 1:]) and sides.samples.tolist() == [2] * 10 + [1] * 4
    assert torch.equal(sides.pre[10:, 0], (x[:4, 1] > 0.5).float()) and not sides.pre[10:, 1].any()
    whats = [(one.what, one.at) for one in record.events("fc") if isinstance(one, LayerEvent)]
    assert whats == [("reset", 10), ("batch", 10)] and record.resets.tolist() == [10]
    e = record.eligibility("fc")
    assert e.values.shape == (2, 2, 8) and e.values[1, 1].isnan().all()


def test_events_tell_what_happened_in_order():
    connection, learner = single(PlasticityConfig.minimal())
    record, x = learner.record(), trains(9, 2, 6)
    for k in range(9):
        connection.observe(x[k], torch.ones(2, 4))
        if k == 2:
            learner.step(reward=1.0)
        if k == 4:
            learner.reset(torch.tensor([True, False]))
        if k == 5:
            with learner.paused():
                connection.enabled = False
                connection.observe(x[k], torch.ones(2, 4))
                connection.enabled = True
        if k == 6:
            learner.load_state_dict(learner.state_dict())
        if k == 7:
            with pytest.raises(ValueError, match="NaN"):
                learner.step(torch.nan)
    learner.step(2.0, layers=["fc"])
    told = [(e.at, "step" if isinstance(e, LearnerStep) else e.what) for e in record.events("fc")]
    assert [what for _, what in told if what != "paused"][:2] == ["step", "reset"]
    assert (3, "step") in told and (5, "reset") in told and (7, "loaded") in told and told[-1] == (9, "step")
    assert record.events("fc")[1].mask.tolist() == [True, False]
    rate = connection.config.three_factor.lr
    last = record.events("fc")[-1]
    assert (last.factor, last.rate, last.number) == (2.0, rate, 1)


@torch.no_grad()
def test_steps_that_are_written_at_once_are_as_true_as_others():
    """After many like steps: numbers, views, windows, another batch, a weight elsewhere, one that others write."""
    connection, learner = single(PlasticityConfig.minimal())
    record, x, y = learner.record(synapses={"fc": [(0, 1), (3, 5)]}), trains(300, 1, 6), trains(300, 1, 4, seed=1)
    moved, weights, pre = [], [], []

    def learn():
        before = connection.weight.clone()
        learner.step(1.0)
        moved.append((connection.weight - before)[[0, 3], [1, 5]])
        weights.append(connection.weight[[0, 3], [1, 5]].clone())

    for k in range(300):
        if k in (280, 281):
            assert k == 281 or connection.activity.layer.fast.taken > 0
            x[k] *= 0.5
        if k == 120:
            connection.observe_sequence(x[k].expand(3, 1, 6), y[k].expand(3, 1, 4), new_sequence=False)
            pre += [x[k]] * 3
        elif k == 150:
            connection.observe(x[k].repeat(1, 2)[:, ::2], y[k])
            pre.append(x[k].repeat(1, 2)[:, ::2])
        else:
            connection.observe(x[k], y[k])
            pre.append(x[k])
        if k == 200:
            connection.weight.data = connection.weight.clone()
        if k % 50 == 49:
            connection.weight.data.mul_(0.5)  # which its version does not tell
        learn()
    sides = record.spikes("fc")
    assert torch.equal(sides.pre.float(), torch.stack(pre)) and len(sides.post) == 302 and record._together is not None
    assert torch.equal(sides.post[-100:].float(), y[-100:])
    changes = record.changes("fc")
    assert torch.equal(changes.values, torch.stack(moved)) and changes.time.tolist()[-1] == 302
    assert torch.equal(record.chosen_weights("fc").values, torch.stack(weights)) and len(record._told) > 200
    assert [e.order for e in record.events("fc")] == sorted(e.order for e in record.events("fc"))


@torch.no_grad()
def test_an_actor_is_recorded_with_a_signal_for_each_layer():
    """Every neuron's own signal, layer by layer; choices and weights are those of a run that nobody records."""
    found = []
    for recorded in (False, True):
        model, learner = two_layers(PlasticityConfig.eprop())
        actor, record = Actor(learner, n_actions=5, promise=0.2), learner.record() if recorded else None
        told, heard = [], {name: [] for name in learner.connections}
        for k in range(6):
            for j in range(4):
                out = model(trains(2, 12, seed=10 * k + j))
            told += [actor.act(out), actor.learn((out.sum(1) > 0).float())]
            for name, factor in learner.third_factor.last.factor.items():
                heard[name].append(factor.clone())
        found.append([*told, *(c.weight.clone() for c in learner.connections.values())])
    assert all(map(torch.equal, *found))
    for name, factors in heard.items():
        values = record.factor(name)
        assert torch.equal(values.values, torch.stack(factors)) and values.values.dim() == 3
        assert values.time.tolist() == [4, 8, 12, 16, 20, 24]
        now = learner.connections[name].weight[tuple(torch.tensor(record.synapses[name]).T)]
        assert torch.equal(record.chosen_weights(name).values[-1], now)
    assert any(record.changes(name).values.any() for name in record.layers)


def test_signals_by_layer_are_recorded_by_layer():
    model, learner = two_layers()
    record = learner.record()
    with torch.no_grad():
        for k in range(20):
            model(trains(2, 12, seed=k))
            learner.step({"0": torch.full((2,), float(k)), "2": -1.0}) if k % 2 else learner.step(float(k))
    first, last = (record.factor(name).values for name in ("0", "2"))
    assert first[:, 0].tolist() == list(range(20)) and last[:, 0].tolist() == [-1.0 if k % 2 else k for k in range(20)]


def test_a_reset_that_is_refused_is_no_event():
    first, second = (Connection(name, nn.Linear(6, 4), config=PlasticityConfig.minimal()) for name in ("one", "two"))
    learner = PlasticityLearner([first, second])
    record = learner.record()
    for connection in (first, second):
        connection.observe(torch.ones(2, 6), torch.ones(2, 4))
    second.noted.forget = lambda mask: (_ for _ in ()).throw(RuntimeError("refused"))
    for mask in (torch.tensor([True, False]), None):
        with pytest.raises(RuntimeError, match="refused"):
            learner.reset(mask)
    with pytest.raises(ValueError, match="mask"):
        learner.reset(torch.tensor([True, False, True]))
    assert not record.events("one") and not record.events("two") and not len(record.resets)
    del second.noted.forget
    learner.reset(torch.tensor([True, False]))
    assert [e.mask.tolist() for e in record.events("one")] == [[True, False]] and record.resets.tolist() == [1]


@pytest.mark.parametrize("mode", ["hybrid", "auxiliary_loss"])
def test_changes_that_go_into_a_gradient_or_a_loss(mode):
    connection, learner = single(PlasticityConfig(three_factor=ThreeFactorConfig(mode=mode, lr=0.1)))
    record = learner.record()
    connection.observe(trains(2, 6), torch.ones(2, 4))
    before = connection.weight.detach().clone()
    if mode == "hybrid":
        learner.step(1.0)
    else:
        learner.loss(1.0).backward()
    at = tuple(torch.tensor(record.synapses["fc"]).T)
    torch.testing.assert_close(record.changes("fc").values[0], -connection.weight.grad[at])
    assert torch.equal(connection.weight, before) and record.changes("fc").values.any()


def test_update_frequency_and_networks_of_their_own():
    connection, learner = single(PlasticityConfig(three_factor=ThreeFactorConfig(update_frequency=3, lr=0.1)))
    record = learner.record()
    for k in range(6):
        connection.observe(trains(2, 6, seed=k), torch.ones(2, 4))
        learner.step(1.0)
    assert record.changes("fc").values.any(1).tolist() == [False, False, True, False, False, True]

    layer = nn.Linear(6, 4)
    layer.weight = nn.Parameter(torch.rand(2, 4, 6))
    each = Connection("each", layer, config=PlasticityConfig.minimal())
    learner = PlasticityLearner([each])
    record = learner.record(synapses={"each": [(0, 1), (3, 5)]})
    before = layer.weight.detach().clone()
    each.observe(torch.ones(2, 6), torch.ones(2, 4))
    learner.step(torch.tensor([1.0, -1.0]))
    moved = (layer.weight.detach() - before)[:, [0, 3], [1, 5]]
    assert torch.equal(record.changes("each").values, moved.unsqueeze(0)) and moved.any()


def test_convolutions_and_edges():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), snn.Leaky(beta=0.9, init_hidden=True, threshold=0.2))
    learner = attach(model, PlasticityConfig.minimal())
    record, x = learner.record(synapses={"0": [(2, 0, 1, 1)]}), trains(6, 2, 1, 8, 8)
    with torch.no_grad():
        for k in range(6):
            model(x[k])
        e = learner.connections["0"].eligibility[:, 2, 0, 1, 1].clone()
        learner.step(1.0)
    assert torch.equal(record.spikes("0").pre.float(), x) and record.spikes("0").post.shape == (6, 2, 3, 6, 6)
    torch.testing.assert_close(record.eligibility("0").values[0, :, 0], e)

    ends = torch.tensor([[0, 1, 2, 5], [0, 0, 3, 2]])
    connection = edges_of(ends)
    learner = PlasticityLearner([connection])
    record = learner.record(synapses={"edges": [3, 0]})
    connection.observe(torch.ones(2, 6), torch.ones(2, 4))
    learner.step(1.0)
    assert record.synapses["edges"] == [(3,), (0,)] and record.changes("edges").values.all()


def edges_of(ends):
    layer = SparseLinear(6, 4, ends)
    return Connection("edges", layer, config=PlasticityConfig.minimal())


def test_post_sides_that_are_no_spikes_come_with_the_spikes():
    """e-prop reads pseudo-derivatives; a raster shows what fired."""
    model, learner = two_layers(PlasticityConfig.reward_all_layers())
    fired = []
    model[1].register_forward_hook(lambda module, args, output: fired.append(output.clone()))
    record, x = learner.record(), trains(12, 2, 12)
    with torch.no_grad():
        for k in range(12):
            model(x[k])
            e = learner.connections["0"].eligibility.clone() if k == 5 else None
            if e is not None:
                kept = e
                learner.step(1.0)
    assert torch.equal(record.spikes("0").post.float(), torch.stack(fired))
    assert not torch.equal(record.post_side("0").values.float(), torch.stack(fired))
    at = (slice(None), *torch.tensor(record.synapses["0"]).T)
    torch.testing.assert_close(record.eligibility("0").values[0], kept[at], rtol=1e-5, atol=1e-6)


def test_a_learner_of_losses():
    model, learner = two_layers(PlasticityConfig.online())
    record, x = learner.record(), trains(5, 2, 12)
    out = sum(model(x[k]) for k in range(5))
    learner.step(loss=out.sum())
    assert torch.equal(record.spikes("0").pre.float(), x) and record.spikes("0").post.shape == (5, 2, 8)
    assert record.factor("0").values.isnan().all() and len(record.changes("2").time) == 1
    with pytest.raises(ValueError, match="gradient of a loss"):
        record.eligibility("0")


def test_affect_is_recorded_where_a_loop_drives_the_learner():
    model, learner = two_layers()
    loop, record = AffectiveLoop(learner), learner.record()
    with torch.no_grad():
        for k in range(6):
            model(trains(2, 12, seed=k))
            loop.step(reward=torch.tensor([1.0, -1.0]), novelty=0.5)
    assert set(record.affect) == {"valence", "arousal", "dominance", "mood"}
    assert torch.equal(record.affect["valence"].values[-1], loop.state.affect.valence)
    assert record.affect["mood"].values.shape == (6, 2, 3)
    assert torch.equal(record.modulators["DA"].values[-1], loop.state.modulators["DA"])
    assert record.factor("0").values.shape == (6, 2)


def test_a_copy_is_not_recorded_and_a_record_ends():
    model, learner = two_layers()
    with learner.record() as record, torch.no_grad():
        model(trains(2, 12))
        twin, other = copy.deepcopy((model, learner))
        assert other.recorder is None and learner.recorder is record
        twin(trains(2, 12, seed=1))
        other.step(1.0)
        model(trains(2, 12, seed=2))
        assert "recorder" not in str(learner.state_dict().keys())
    assert len(record.spikes("0").time) == 2 and learner.recorder is None and "stopped" in repr(record)
    with torch.no_grad():
        model(trains(2, 12, seed=3))
    record.stop()
    assert len(record.spikes("0").time) == 2
    again = learner.record()
    learner.remove()
    assert not again.running


def test_a_connection_that_is_found_while_it_is_recorded():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.one, self.two = nn.Linear(6, 4), snn.Leaky(beta=0.9), snn.Leaky(beta=0.5)

        def forward(self, x, mem):
            current = self.fc(x)
            first, _ = self.one(current, mem)
            return first + self.two(current, mem)[0]

    model = Late()
    learner = attach(model, PlasticityConfig.minimal())
    record = learner.record()
    with torch.no_grad():
        model(trains(2, 6), torch.zeros(2, 4))
    assert len(record.layers) == 2 and all(len(record.spikes(name).time) == 1 for name in record.layers)


def test_edges_that_change_are_said_to_be_others():
    ends = torch.tensor([[0, 1, 2, 5], [0, 0, 3, 2]])
    connection = edges_of(ends)
    learner = PlasticityLearner([connection])
    record = learner.record()
    connection.observe(torch.ones(2, 6), torch.ones(2, 4))
    learner.step(1.0)
    connection.module.add_edges(torch.tensor([[3], [1]]))
    connection.observe(torch.ones(2, 6), torch.ones(2, 4))
    with pytest.warns(PlasticityWarning, match="edges have changed"):
        learner.step(1.0)
    assert record.changes("edges").values[-1].isnan().all()
    with pytest.raises(ValueError, match="edges of edges have changed"):
        record.eligibility("edges")


@pytest.mark.parametrize(
    ("how", "error", "sentence"),
    [
        ({"layers": ["fc9"]}, ValueError, r"layers = \['fc9'\]; expected a list of the learner's layers: 'fc'"),
        ({"layers": []}, ValueError, "expected a list of the learner's layers"),
        ({"steps": 0}, ValueError, "steps"),
        ({"every": 0}, ValueError, "every"),
        ({"weights": -1}, ValueError, "weights"),
        ({"samples": []}, TypeError, "expected a list of sample numbers"),
        ({"samples": [2]}, ValueError, "expected numbers below 2: the batch has 2 samples"),
        ({"synapses": {"fc": [(0, 6)]}}, ValueError, r"expected numbers within the weight \(4, 6\)"),
        ({"synapses": {"fc": [0]}}, TypeError, r"expected a list of \(post, pre\)"),
        ({"synapses": {"fc9": [(0, 0)]}}, ValueError, "expected one that is recorded: 'fc'"),
        ({"steps": 2**31 - 1}, MemoryError, "Take fewer steps="),
        ({"steps": 2**31 - 1, "weights": 1}, MemoryError, "Take a larger weights="),
    ],
)
def test_what_cannot_be_recorded_is_refused(how, error, sentence):
    connection, learner = single(PlasticityConfig.minimal())
    connection.observe(torch.ones(2, 6), torch.ones(2, 4))
    if "weights" not in how and how.get("steps", 1) > 1:
        connection.traces.reset()
        connection.observe(torch.ones(64, 6), torch.ones(64, 4))
    with pytest.raises(error, match=sentence):
        learner.record(**how)
    assert learner.recorder is None and type(connection.activity).__name__ == "Activity"


def test_one_record_at_a_time_and_names_are_known():
    _, learner = single(PlasticityConfig.minimal())
    record = learner.record()
    with pytest.raises(RuntimeError, match="recorded already"):
        learner.record()
    with pytest.raises(ValueError, match="expected a recorded layer: 'fc'"):
        record.spikes("fc2")


@pytest.mark.parametrize("touched", [False, True])
@torch.no_grad()
def test_what_one_layer_gives_the_next_is_kept_once(touched):
    """As long as it is that very tensor, as it was; from where it is not, each has its own."""

    class Between(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.fire, self.two, self.last = nn.Linear(12, 8), leaky(), nn.Linear(8, 5), leaky()
            self.silenced = False

        def forward(self, x):
            spikes = self.fire(self.one(x))
            if self.silenced:
                spikes.zero_()
            return self.last(self.two(spikes))

    def leaky():
        return snn.Leaky(beta=0.9, init_hidden=True, threshold=0.3)

    torch.manual_seed(0)
    model, x = Between(), trains(40, 2, 12)
    learner = attach(model, PlasticityConfig.minimal())
    record = learner.record(steps=30)
    for k in range(40):
        model.silenced = touched and k >= 35
        model(x[k])
    first, second = record.spikes("one"), record.spikes("two")
    apart = record._layers["two"].pre is not record._layers["one"].spikes
    assert apart == touched and len(second.time) == 30 and first.post.any()
    assert torch.equal(second.pre[:25], first.post[:25]) and bool(second.pre[25:].any()) != touched
    assert torch.equal(first.post[25:].any(), torch.tensor(True))


def test_arrays_and_tensorboard():
    """Flat names of arrays; scalars and histograms, in the order and form that a SummaryWriter takes them."""
    model, learner = two_layers()
    record = learner.record(weights=2)
    with torch.no_grad():
        for k in range(6):
            model(trains(2, 12, seed=k))
            learner.step(reward=torch.tensor([1.0, 0.0]))
    arrays = record.to_dict()
    assert (arrays["0.spikes.post"] == record.spikes("0").post.numpy()).all()
    assert arrays["2.changes.values"].shape == (6, 8) and arrays["modulators.DA.values"].shape == (6, 2)
    assert arrays["0.synapses"].shape == (8, 2) and all(type(a).__module__ == "numpy" for a in arrays.values())

    class Writer:
        def __init__(self):
            self.scalars, self.histograms = [], []

        def add_scalar(self, tag, scalar_value, global_step=None, walltime=None, new_style=False):
            self.scalars.append((tag, scalar_value, global_step))

        def add_histogram(self, tag, values, global_step=None, bins="tensorflow", walltime=None, max_bins=None):
            self.histograms.append((tag, tuple(values.shape), global_step))

    writer = Writer()
    record.to_tensorboard(writer)
    told = {tag: value for tag, value, step in writer.scalars if step == 6}
    assert told["0/post_rate"] == pytest.approx(float(record.spikes("0").post[-1].float().mean()))
    assert told["0/third_factor"] == pytest.approx(float(record.factor("0").values[-1].mean()))
    assert told["modulators/DA"] == pytest.approx(float(record.modulators["DA"].values[-1].mean()))
    assert [step for *_, step in writer.scalars] == sorted(step for *_, step in writer.scalars)
    assert ("0/weights", (8, 12), 0) in writer.histograms and len(writer.histograms) == 2 * 5
    with pytest.raises(TypeError, match="SummaryWriter"):
        record.to_tensorboard(None)
    with pytest.raises(TypeError, match=r"wandb\.init"):
        record.to_wandb(None)


def test_a_real_writer_of_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    connection, learner = single(PlasticityConfig.minimal())
    record = learner.record()
    for k in range(3):
        connection.observe(trains(2, 6, seed=k), torch.ones(2, 4))
        learner.step(2.0)
    with SummaryWriter(str(tmp_path)) as writer:
        record.to_tensorboard(writer)
    read = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0})
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("fc/third_factor")] == [(1, 2.0), (2, 2.0), (3, 2.0)]
    assert [e.step for e in read.Histograms("fc/weights")] == [0, 3]


def test_frames_of_pandas():
    pytest.importorskip("pandas")
    model, learner = two_layers()
    loop, record = AffectiveLoop(learner), learner.record()
    with torch.no_grad():
        for k in range(5):
            model(trains(2, 12, seed=k))
            loop.step(reward=torch.tensor([1.0, 0.0]))
    frames = record.to_pandas()
    post = frames["spikes"].query("layer == '0' and side == 'post'")
    assert len(post) == int(record.spikes("0").post.sum()) and set(post["time"]) <= set(range(5))
    of_layer = frames["synapses"].query("layer == '2'")
    change = of_layer[of_layer["synapse"] == str(record.synapses["2"][3])].sort_values("time")["change"]
    torch.testing.assert_close(torch.tensor(change.to_numpy()), record.changes("2").values[:, 3])
    assert len(frames["eligibility"].query("layer == '0'")) == 5 * 2 * 8
    assert {"DA", "valence", "mood.arousal", "factor.0"} <= set(frames["signals"]["name"])


@pytest.mark.parametrize(("module", "how"), [("pandas", "to_pandas"), ("wandb", "to_wandb")])
def test_what_is_not_installed_is_missed_in_a_sentence(monkeypatch, module, how):
    _, learner = single(PlasticityConfig.minimal())
    record = learner.record()
    monkeypatch.setitem(sys.modules, module, None)
    run = SimpleNamespace(log=lambda values: None)
    with pytest.raises(ImportError, match=f"needs {module}, which is not installed"):
        getattr(record, how)(*([run] if how == "to_wandb" else []))


def test_a_run_of_wandb(monkeypatch):
    """A run that keeps what it is told, with the module's one class that is used."""
    rows, module = [], SimpleNamespace(Histogram=lambda np_histogram: np_histogram)
    monkeypatch.setitem(sys.modules, "wandb", module)
    connection, learner = single(PlasticityConfig.minimal())
    record = learner.record()
    connection.observe(trains(2, 6), torch.ones(2, 4))
    learner.step(2.0)
    record.to_wandb(SimpleNamespace(log=rows.append))
    assert [row["step"] for row in rows] == [0, 1] and rows[1]["fc/third_factor"] == 2.0
    counts, edges = rows[1]["fc/weights"]
    assert counts.sum() == 24 and len(edges) == 65
