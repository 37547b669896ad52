"""Traps of what a model is made of: readouts, precision, copies, tied and recomputed weights."""

from __future__ import annotations

import copy
import io
import pickle
from dataclasses import replace

import norse.torch as norse
import pytest
import snntorch
import torch
from host_models import (
    BATCH,
    CONFIG,
    FAST,
    MODULATOR,
    N_IN,
    N_OUT,
    STEPS,
    Record,
    changes,
    close,
    excitable,
    expected,
    trains,
)
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from snn_plasticity import PlasticityConfig, ThreeFactorConfig
from snn_plasticity.hosts import attach
from snn_plasticity.hosts.hooks import InertHook
from snn_plasticity.notices import PlasticityWarning

X = trains(STEPS, BATCH, N_IN)


def lif(**options):
    return snntorch.Leaky(beta=0.8, init_hidden=True, **options)


def one_layer():
    return excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), lif()))


def run(model, xs=X):
    for x in xs:
        model(x)


class TestAutapses:  # trap 7
    def test_the_diagonal_stays_zero(self):
        cell = excitable(norse.LIFRecurrent(N_IN, 5, FAST))
        cell.recurrent_weights.data.fill_diagonal_(0.0)
        learner = attach(cell, CONFIG)
        for _ in range(3):
            cell(X)
            learner.step(MODULATOR)
        assert (cell.recurrent_weights.diagonal() == 0).all()
        assert (cell.recurrent_weights != 0).sum() == 20

    def test_on_a_deep_copy_too(self):
        cell = excitable(norse.LIFRecurrent(N_IN, 5, FAST))
        cell.recurrent_weights.data.fill_diagonal_(0.0)
        copied = copy.deepcopy(cell)  # loses Norse's own gradient hook
        learner = attach(copied, CONFIG)
        copied(X)
        learner.step(MODULATOR)
        assert (copied.recurrent_weights.diagonal() == 0).all()
        assert not torch.equal(copied.recurrent_weights, cell.recurrent_weights)

    def test_allowed_autapses_learn(self):
        cell = excitable(norse.LIFRecurrent(N_IN, 5, FAST, autapses=True))
        learner = attach(cell, CONFIG)
        before = cell.recurrent_weights.diagonal().detach().clone()
        cell(X)
        learner.step(MODULATOR)
        assert not torch.equal(before, cell.recurrent_weights.diagonal())


class TestReadouts:  # trap 14
    @pytest.mark.parametrize(
        ("make", "reason"),
        [
            (lambda: norse.LI(), "leaky integrator"),
            (lambda: norse.LICell(), "leaky integrator"),
            (lambda: norse.LIBoxCell(), "leaky integrator"),
            (lambda: norse.LILinearCell(N_OUT, 2), "leaky integrator"),
            (lambda: norse.CobaLIFCell(N_OUT, 2), "conductances"),
            (lambda: norse.LIFCorrelation(N_OUT, 2), "arguments of the call"),
            (lambda: snntorch.StateLeaky(beta=0.8, channels=N_OUT, output=False), "membrane potential"),
            (
                lambda: snntorch.LinearLeaky(beta=0.8, in_features=N_OUT, out_features=2, output=False),
                "membrane potential",
            ),
            (lambda: snntorch.AssociativeLeaky(N_OUT, 2, 2, 4), "associative memory"),
            (lambda: snntorch.SLSTM(N_OUT, 2), "LSTM"),
            (lambda: snntorch.SConv2dLSTM(1, 2, 3), "LSTM"),
            (lambda: snntorch.LeakyParallel(N_OUT, 2, beta=0.5), "nn.RNN"),
        ],
    )
    def test_are_refused_with_the_reason(self, make, reason):
        with pytest.raises(ValueError, match=rf"Nothing in this model can be plastic.*{reason}"):
            attach(nn.ModuleList([nn.Linear(N_IN, N_OUT), make()]))

    def test_the_rest_of_the_network_learns(self):
        model = norse.SequentialState(nn.Linear(N_IN, N_OUT), norse.LIF(FAST), nn.Linear(N_OUT, 2), norse.LI())
        excitable(model, high=1.5)
        record = Record(model[0], model[1])
        moved = changes(model, attach(model, CONFIG), lambda: model(X))
        close(moved["0"], record.change(sequence=True))
        assert abs(moved["2"]).max() == 0

    def test_layers_inside_of_a_refused_neuron_are_not_taken_for_synapses(self):
        model = nn.ModuleList([snntorch.SConv2dLSTM(1, 2, 3, init_hidden=True), nn.Conv2d(2, 1, 3), lif()])
        assert list(attach(model, CONFIG).connections) == ["1"]

    def test_lconv_is_no_synapse(self):
        model = norse.SequentialState(
            norse.LConv2d(1, 2, 3), norse.LIF(FAST), nn.Flatten(2), nn.Linear(2, 2), norse.LIF(FAST)
        )
        with pytest.warns(PlasticityWarning, match=r"learn: 3. 0 cannot learn: LConv2d moves the time axis.*Lift"):
            assert list(attach(model, CONFIG).connections) == ["3"]
        with pytest.raises(TypeError, match=r"0 cannot be plastic: LConv2d moves the time axis.*Lift"):
            attach(model, layers={"0": CONFIG})


class TestPrecision:  # trap 15
    def test_double_models_learn_in_double(self):
        model = one_layer().double()
        record = Record(*model)
        learner = attach(model, CONFIG)
        moved = changes(model, learner, lambda: run(model, X.double()))
        assert learner.connections["0"].eligibility.dtype == torch.float64
        torch.testing.assert_close(
            torch.as_tensor(moved["0"]), torch.as_tensor(record.change()), rtol=1e-10, atol=1e-12
        )

    def test_low_precision_weights_warn_and_keep_wide_traces(self):
        model = one_layer().bfloat16()
        with pytest.warns(UserWarning, match="half precision.*plastic weights should be"):
            learner = attach(model, CONFIG)
        record = Record(*model)
        for x in X:
            model(x.bfloat16())
        e = learner.connections["0"].eligibility
        assert e.dtype == torch.float32
        rule = CONFIG.three_factor.lr * MODULATOR
        close(e.mean(0), expected(torch.stack(record.pre).float(), torch.stack(record.post).float()) / rule)

    def test_autocast_leaves_the_traces_alone(self):
        plain, model = one_layer(), one_layer()
        model.load_state_dict({k: v.bfloat16().float() for k, v in plain.state_dict().items()})
        record = Record(*model)

        def under_autocast():
            with torch.autocast("cpu", dtype=torch.bfloat16):
                run(model)

        learner = attach(model, CONFIG)
        moved = changes(model, learner, under_autocast)
        assert learner.connections["0"].eligibility.dtype == torch.float32
        close(moved["0"], expected(torch.stack(record.pre).float(), torch.stack(record.post).float()))

    def test_a_model_that_becomes_double_takes_its_traces_along(self):  # trap 25, as far as a CPU goes
        model = one_layer()
        learner = attach(model, CONFIG)
        run(model)
        learner.reset()
        model.double()
        model[1].reset_mem()
        record = Record(*model)
        moved = changes(model, learner, lambda: run(model, X.double()))
        close(moved["0"], record.change())


class TestCopies:  # traps 16 and 17
    def test_a_deep_copy_trains_nobody(self):
        model = one_layer()
        learner = attach(model, CONFIG)
        copied = copy.deepcopy(model)
        run(copied)
        assert learner.connections["0"].eligibility is None
        hooks = [h for m in copied.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
        assert hooks
        assert all(isinstance(h, InertHook) for h in hooks)
        learner = attach(copied, CONFIG)  # and may have a learner of its own
        run(copied)
        assert learner.connections["0"].eligibility is not None

    def test_a_snntorch_copy_after_a_forward_with_gradients_fails_by_itself(self):
        model = one_layer()
        learner = attach(model, CONFIG)
        run(model)
        with pytest.raises(RuntimeError, match="deepcopy protocol"):
            copy.deepcopy(model)
        snntorch.Leaky.detach_hidden()
        copy.deepcopy(model)
        learner.remove()

    def test_pickling_a_hooked_module(self):
        layer = nn.Linear(N_IN, N_OUT)
        learner = attach(nn.Sequential(layer, lif()), CONFIG)
        again = pickle.loads(pickle.dumps(layer))
        assert again(X[0]).shape == (BATCH, N_OUT)
        assert isinstance(next(iter(again._forward_hooks.values())), InertHook)
        assert learner.enabled

    def test_state_dict_keys_stay(self):
        plain, model = one_layer(), one_layer()
        attributes = {name: set(vars(m)) for name, m in model.named_modules()}
        learner = attach(model, CONFIG)
        run(model)
        run(plain)
        assert list(model.state_dict()) == list(plain.state_dict())
        assert {name: set(vars(m)) for name, m in model.named_modules()} == {
            name: attributes[name] | set(vars(dict(plain.named_modules())[name])) for name in attributes
        }
        assert type(model[0]) is nn.Linear
        learner.remove()
        assert not any(
            m._forward_hooks or m._forward_pre_hooks or m._forward_hooks_with_kwargs for m in model.modules()
        )

    def test_saving_a_learner_and_going_on_is_never_having_stopped(self):
        straight, model = one_layer(), one_layer()
        wanted = changes(straight, attach(straight, CONFIG), lambda: run(straight))
        learner = attach(model, CONFIG)
        run(model, X[:4])
        file = io.BytesIO()
        torch.save(learner.state_dict(), file)
        learner.remove()
        learner = attach(model, CONFIG)
        file.seek(0)
        learner.load_state_dict(torch.load(file, weights_only=True))
        moved = changes(model, learner, lambda: run(model, X[4:]))
        assert (moved["0"] == wanted["0"]).all()

    @pytest.mark.parametrize("assign", [True, False])
    def test_parameters_may_be_replaced(self, assign):
        model = one_layer()
        learner, record = attach(model, CONFIG), Record(*model)
        fresh = {k: v.clone() for k, v in model.state_dict().items()}
        model.load_state_dict(fresh, assign=assign)
        close(changes(model, learner, lambda: run(model))["0"], record.change())
        model[0].weight = nn.Parameter(torch.zeros(N_OUT, N_IN))
        learner.step(MODULATOR)
        close(model[0].weight.detach(), record.change())


class TestTwice:  # traps 18 and 19
    def test_a_weight_learns_from_one_learner(self):
        model = one_layer()
        learner = attach(model, CONFIG)
        with pytest.raises(ValueError, match="0 already learns, as '0' of another learner.*remove"):
            attach(model, CONFIG)
        with pytest.raises(ValueError, match="already learns"):
            attach(nn.Sequential(model, nn.Flatten()), CONFIG)
        learner.remove()
        record = Record(*model)
        close(changes(model, attach(model, CONFIG), lambda: run(model))["0"], record.change())

    def test_a_forgotten_learner_does_not_stand_in_the_way(self):
        model = one_layer()
        attach(model, CONFIG)
        assert not any(m._forward_hooks for m in model.modules())
        attach(model, CONFIG)

    def test_different_layers_may_have_different_learners(self):
        model = excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), lif(), nn.Linear(N_OUT, 2), lif()))
        parts = [
            PlasticityConfig(
                CONFIG.eligibility, three_factor=ThreeFactorConfig(lr=0.5, weight_clamp=None, target_layers=(name,))
            )
            for name in ("0", "2")
        ]
        first, second = (attach(model, part) for part in parts)
        one, two = Record(model[0], model[1]), Record(model[2], model[3])
        weights = model[2].weight.detach().clone()
        close(changes(model, first, lambda: run(model))["0"], one.change())
        second.step(MODULATOR)
        close((model[2].weight - weights).detach(), two.change())

    def test_tied_weights_move_once_by_the_sum(self):
        class Tied(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.n, self.m = nn.Linear(N_IN, N_IN), nn.Linear(N_IN, N_IN), lif(), lif(threshold=0.6)
                excitable(self, high=0.5)
                self.b.weight = self.a.weight

            def forward(self, x):
                return self.m(self.b(self.n(self.a(x))))

        def attached(clamp):
            three = ThreeFactorConfig(lr=CONFIG.three_factor.lr, weight_clamp=clamp)
            net = Tied()
            records = Record(net.a, net.n), Record(net.b, net.m)
            start, learner = (
                net.a.weight.detach().clone(),
                attach(net, PlasticityConfig(CONFIG.eligibility, three_factor=three)),
            )
            run(net)
            learner.step(MODULATOR)
            return (net.a.weight - start).detach(), sum(r.change() for r in records)

        moved, wanted = attached(None)
        close(moved, wanted)
        moved, wanted = attached((-0.1, 0.1))
        close(moved, wanted.clip(-0.1, 0.1))


class TestRecomputed:  # trap 20
    def parametrized(self):
        layer = nn.Linear(N_IN, N_OUT)
        parametrize.register_parametrization(layer, "weight", nn.Identity())
        return layer

    def pruned(self):
        return prune.l1_unstructured(nn.Linear(N_IN, N_OUT), "weight", 0.5)

    def weight_norm(self):
        return parametrizations.weight_norm(nn.Linear(N_IN, N_OUT))

    def old_weight_norm(self):
        with pytest.warns(FutureWarning, match="deprecated"):
            return nn.utils.weight_norm(nn.Linear(N_IN, N_OUT))

    def lazy(self):
        return nn.LazyLinear(N_OUT)

    def meta(self):
        return nn.Linear(N_IN, N_OUT, device="meta")

    CASES = {
        "parametrized": "remove_parametrizations", "pruned": "prune.remove", "weight_norm": "remove_parametrizations",
        "old_weight_norm": "remove_weight_norm", "lazy": "run the model once", "meta": "materialise",
    }  # fmt: skip

    @pytest.mark.parametrize("name", CASES)
    def test_is_refused_at_the_door(self, name):
        model = nn.Sequential(getattr(self, name)(), lif())
        with pytest.raises(TypeError, match=rf"0 cannot be plastic: .*{self.CASES[name]}"):
            attach(model, CONFIG)
        assert not any(
            isinstance(h, InertHook) or "Hook" in type(h).__name__
            for m in model.modules()
            for h in m._forward_hooks.values()
        )

    def test_may_be_left_out(self):
        model = excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), lif(), self.pruned_head(), lif()))
        only = ThreeFactorConfig(target_layers=("0",))
        assert list(attach(model, PlasticityConfig(three_factor=only)).connections) == ["0"]

    def pruned_head(self):
        return prune.l1_unstructured(nn.Linear(N_OUT, 2), "weight", 0.5)

    def test_recurrent_weights_of_norse(self):
        cell = prune.l1_unstructured(norse.LIFRecurrentCell(N_IN, 5, autapses=True), "recurrent_weights", 0.5)
        with pytest.raises(TypeError, match="recurrent_weights cannot be plastic: it is pruned"):
            attach(cell, CONFIG)

    def test_a_subclass_learns_when_it_is_named(self):
        class Doubled(nn.Linear):
            def forward(self, x):
                return 2 * super().forward(x)

        model = excitable(nn.Sequential(Doubled(N_IN, N_OUT), lif()), high=0.4)
        with pytest.raises(ValueError, match="Nothing in this model"):
            attach(model, CONFIG)
        record = Record(*model)
        moved = changes(model, attach(model, CONFIG, layers={"0": CONFIG}), lambda: run(model))
        close(moved["0"], 2 * record.change())  # the product of the layer as it is: ∂⟨post, layer(pre)⟩/∂W

    def test_a_subclass_beside_layers_that_learn_is_left_out_aloud(self, recwarn):
        class Tripled(nn.Linear):
            pass

        def model():
            return nn.Sequential(nn.Linear(N_IN, N_OUT), lif(), Tripled(N_OUT, 2), lif())

        told = r"learn: 0. Left out: 2 is a Tripled, .*target_layers=\('0', '2'\)"
        with pytest.warns(PlasticityWarning, match=told):
            assert list(attach(model(), CONFIG).connections) == ["0"]
        with pytest.warns(PlasticityWarning, match=r"learn: 2. Left out: 4 is a Tripled.*target_layers=\('2', '4'\)"):
            three = nn.Sequential(*model(), Tripled(2, 2), lif())
            attach(three, CONFIG, pairs={"0": ()}, layers={"2": CONFIG})
        recwarn.clear()
        both = attach(model(), replace(CONFIG, three_factor=ThreeFactorConfig(target_layers=("0", "2"))))
        aside = attach(model(), CONFIG, pairs={"2": ()})
        assert [list(both.connections), list(aside.connections)] == [["0", "2"], ["0"]] and not list(recwarn)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs two devices")
def test_traces_follow_a_model_to_another_device():  # trap 25
    plain, model = one_layer(), one_layer()
    wanted = changes(plain, attach(plain, CONFIG), lambda: run(plain))["0"]
    learner, start = attach(model, CONFIG), model[0].weight.detach().clone()
    with torch.no_grad():
        run(model, X[:4])
        model.cuda()
        run(model, X[4:].cuda())
    assert learner.connections["0"].eligibility.is_cuda
    learner.step(MODULATOR)
    close((model[0].weight.cpu() - start).detach(), wanted)


def test_everything_of_a_connection_follows_the_spikes():  # trap 25, told by a connection that records it
    cell = norse.LIFRecurrentCell(N_IN, 5, FAST)
    learner = attach(cell, CONFIG)
    manager, connection, moves = learner.hooks[0], learner.connections["recurrent_weights"], []
    connection.traces.to = moves.append
    _, state = cell(X[0])
    _, state = cell(X[1], state)
    assert moves == [torch.device("cpu")]  # once, where the spikes are
    manager.connections._places["recurrent_weights"] = torch.device("meta")
    cell(X[2], state)
    assert moves == [torch.device("cpu")] * 2
    assert connection.mask.device == torch.device("cpu")


def test_traces_follow_the_spikes_before_both_layers_of_a_neuron_are_looked_at(monkeypatch):  # trap 25
    cell = norse.LIFRecurrentCell(N_IN, 5, FAST)
    learner = attach(cell, CONFIG)
    _, state = cell(X[0])
    order = []
    for name, connection in learner.connections.items():
        learner.hooks[0].connections._places[name] = torch.device("meta")
        monkeypatch.setattr(connection.traces, "to", lambda device: order.append("moved"))
        monkeypatch.setattr(connection, "check_sides", lambda *a, **k: order.append("looked at"))
    cell(X[1], state)
    assert order == ["moved", "moved", "looked at", "looked at"]
