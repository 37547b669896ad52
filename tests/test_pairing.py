"""Who feeds whom is found by identity, and never guessed."""

from __future__ import annotations

import copy

import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from host_models import BATCH, CONFIG, FAST, N_IN, N_OUT, STEPS, Record, changes, close, excitable, expected, trains
from torch import nn

from snn_plasticity import (
    Coincidence,
    EligibilityConfig,
    Pair,
    PlasticityConfig,
    PlasticityWarning,
    ThreeFactorConfig,
)
from snn_plasticity.hosts import PairingError, attach

X, Y = trains(STEPS, BATCH, N_IN), trains(STEPS, BATCH, N_IN, seed=7)


def lif(**options):
    return snntorch.Leaky(beta=0.8, init_hidden=True, **options)


class Net(nn.Module):
    """Named parts and a function of them and of one step's input."""

    def __init__(self, step, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        excitable(self)
        self.step = step

    def forward(self, *xs):
        return self.step(self, *xs)


def steps(net, *trains):
    def run():
        for xs in zip(*trains, strict=True):
            net(*xs)

    return run


def linear(n_in=N_IN, n_out=N_OUT):
    return nn.Linear(n_in, n_out)


def test_a_shared_layer_with_two_neurons_keeps_two_traces():
    net = Net(lambda m, x, y: (m.a(m.fc(x)), m.b(m.fc(y))), fc=linear(), b=lif(), a=lif(threshold=0.7))
    calls, a, b = [], Record(net.a, net.a), Record(net.b, net.b)
    net.fc.register_forward_hook(lambda m, args, out: calls.append(args[0]))
    learner = attach(net, CONFIG)
    start = net.fc.weight.detach().clone()
    steps(net, X, Y)()
    assert set(learner.connections) == {"fc", "fc->b"}
    learner.step(0.7)
    wanted = expected(torch.stack(calls[::2]), torch.stack(a.post)) + expected(
        torch.stack(calls[1::2]), torch.stack(b.post)
    )
    close((net.fc.weight - start).detach(), wanted)


@pytest.mark.parametrize("how", ["pairs", "sample"])
def test_a_shared_output_feeds_both_neurons(how):
    def step(m, x):
        current = m.norm(m.fc(x))
        return m.a(current), m.b(current)

    net = Net(step, fc=linear(), norm=nn.BatchNorm1d(N_OUT), a=lif(), b=lif(threshold=0.5))
    given = {"pairs": {"pairs": {"fc": ["a", "b"]}}, "sample": {"sample": X[0]}}[how]
    learner = attach(net, CONFIG, **given)
    a, b, start = Record(net.fc, net.a), Record(net.fc, net.b), net.fc.weight.detach().clone()
    assert set(learner.connections) == {"fc", "fc->b"}
    steps(net, X)()
    learner.step(0.7)
    close((net.fc.weight - start).detach(), a.change() + b.change())


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("how", ["sum", "in place"])
def test_two_synapses_of_one_neuron_are_both_known(how, grad):
    def step(m, x, y):
        current = m.left(x)
        if how == "sum":
            return m.n(current + m.right(y))
        current = current + 0.0 if grad else current
        current += m.right(y)
        return m.n(current)

    net = Net(step, right=linear(), n=lif(), left=linear())
    records = {"left": Record(net.left, net.n), "right": Record(net.right, net.n)}
    with torch.set_grad_enabled(grad):
        moved = changes(net, attach(net, CONFIG), steps(net, X, Y))
    for name, record in records.items():
        close(moved[name], record.change())


def test_an_activation_in_place_is_not_a_sum():
    net = Net(lambda m, x: m.n(m.relu(m.fc(x))), fc=linear(), relu=nn.ReLU(inplace=True), n=lif())
    record = Record(net.fc, net.n)
    close(changes(net, attach(net, CONFIG), steps(net, X))["fc"], record.change())


def test_an_activation_in_place_beside_a_readout_in_a_loop():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.n, self.out, self.drop = linear(), lif(), linear(N_OUT, 2), nn.Dropout(0.2, inplace=True)

        def forward(self, xs):
            return [self.out(self.n(self.drop(self.fc(x)))) for x in xs]

    net = excitable(Net())
    record = Record(net.fc, net.n)
    close(changes(net, attach(net, CONFIG), lambda: net(X))["fc"], record.change())


def test_lateral_synapses_with_a_sample():
    class Lateral(nn.Module):
        def __init__(self):
            super().__init__()
            self.lateral, self.fc, self.n = linear(N_OUT, N_OUT), linear(), snntorch.Leaky(beta=0.8)
            excitable(self, high=0.6)

        def forward(self, xs):
            spikes = mem = torch.zeros(xs.shape[1], N_OUT)
            for x in xs:
                spikes, mem = self.n(self.fc(x) + self.lateral(spikes), mem)
            return spikes

    net = Lateral()
    learner = attach(net, CONFIG, sample=X)
    fc, lateral = Record(net.fc, net.n), Record(net.lateral, net.n)
    moved = changes(net, learner, lambda: net(X))
    close(moved["fc"], fc.change())
    close(moved["lateral"], lateral.change())


BETWEEN = {
    "dropout": lambda: nn.Dropout(0.5),
    "batchnorm": lambda: nn.BatchNorm1d(N_OUT),
    "identity": lambda: nn.Identity(),
    "scaled": lambda: nn.Sequential(nn.BatchNorm1d(N_OUT), nn.Dropout(0.3)),
}


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", BETWEEN)
def test_what_may_stand_between(name, grad):
    net = Net(
        lambda m, x: m.n2(m.between2(m.fc2(m.n(m.between(m.fc(x)))))),
        fc=linear(), fc2=linear(N_OUT, N_OUT), n=lif(), n2=lif(threshold=0.2),
        between=BETWEEN[name](), between2=BETWEEN[name](),
    )  # fmt: skip
    one, two = Record(net.fc, net.n), Record(net.fc2, net.n2)
    learner = attach(net, CONFIG)
    with torch.set_grad_enabled(grad):
        moved = changes(net, learner, steps(net, X))
    close(moved["fc"], one.change())
    close(moved["fc2"], two.change())


def test_a_pool_that_is_no_maximum_and_no_average_is_an_error():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LPPool2d(2.0, 2), snntorch.Leaky(beta=0.5, init_hidden=True))
    learner = attach(net, CONFIG)
    with pytest.raises(PairingError, match=r"Between 0 and 2 there is lp_pool2d.*behind 2"):
        net(trains(BATCH, 1, 6, 6))
    assert learner.connections["0"].eligibility is None


def test_a_transposition_that_shapes_cannot_show_is_an_error():
    net = Net(lambda m, x: m.n(m.conv(x).transpose(1, 2).contiguous()), conv=nn.Conv1d(1, 3, 1), n=lif())
    learner = attach(net, CONFIG)
    with pytest.raises(PairingError, match="transposition"):
        net(trains(BATCH, 1, 5))
    learner.remove()


@pytest.mark.parametrize(("between", "grad"), [(nn.Identity(), True), (nn.Identity(), False), (nn.ReLU(), True)])
def test_a_readout_head_is_not_mistaken_for_the_synapse(between, grad):
    """The head waits for a neuron that never comes, while a neuron fires that nobody feeds."""
    net = Net(lambda m, x: (m.head(x), m.n(m.between(x))), head=linear(N_IN, N_IN), between=between, n=lif())
    learner = attach(net, CONFIG)
    with torch.set_grad_enabled(grad), pytest.warns(PlasticityWarning, match="head: nothing was observed"):
        moved = changes(net, learner, steps(net, X))
    assert abs(moved["head"]).max() == 0
    assert learner.connections["head"].note == "no neuron found so far"


@pytest.mark.parametrize("how", ["raw", "binary", "eval", "half"])
def test_the_input_of_a_head_is_known_however_it_is_read(how):
    """Its memory is remembered whether the activity is that memory, a copy, or left out."""
    net = Net(lambda m, x: (m.head(x), m.n(x)), head=linear(N_IN, N_IN), n=lif())
    learner = attach(net, CONFIG, pre="binary" if how == "binary" else "raw")
    net.head.train(how != "eval")
    kind = torch.bfloat16 if how == "half" else torch.float32
    with torch.no_grad():
        steps(net.to(kind), X.to(kind))()
    assert learner.connections["head"].eligibility is None
    assert learner.connections["head"].note == "no neuron found so far"


@pytest.mark.parametrize("grad", [True, False])
def test_a_head_before_a_normalised_layer_is_told_apart(grad):
    net = Net(
        lambda m, x: (m.head(x), m.n(m.norm(m.fc(x)))), head=linear(), fc=linear(), norm=nn.BatchNorm1d(N_OUT), n=lif()
    )
    record = Record(net.fc, net.n)
    with torch.set_grad_enabled(grad):
        moved = changes(net, attach(net, CONFIG), steps(net, X))
    close(moved["fc"], record.change())
    assert abs(moved["head"]).max() == 0


def test_two_calls_before_either_neuron_reads_its_own():
    def step(m, x, y):
        a, b = m.norm(m.fc(x)), m.norm(m.fc(y))
        return m.a(a), m.b(b)

    net = Net(step, fc=linear(), norm=nn.BatchNorm1d(N_OUT), a=lif(), b=lif())
    learner, a, b = attach(net, CONFIG), Record(net.a, net.a), Record(net.b, net.b)
    start = net.fc.weight.detach().clone()
    steps(net, X, Y)()
    learner.step(0.7)
    close((net.fc.weight - start).detach(), expected(X, torch.stack(a.post)) + expected(Y, torch.stack(b.post)))


def test_an_exception_between_synapse_and_neuron_leaves_nothing_behind():
    class Broken(Exception):
        pass

    def step(m, x, fail=None):
        current = m.norm(m.fc(x))
        if fail is not None:
            raise Broken
        return m.n(current)

    net = Net(step, fc=linear(), norm=nn.BatchNorm1d(N_OUT), n=lif())
    record = Record(net.fc, net.n)
    learner = attach(net, CONFIG)
    with pytest.raises(Broken):
        net(Y[0], True)
    record.pre.clear()
    close(changes(net, learner, steps(net, X))["fc"], record.change())


def test_a_loop_that_was_left_leaves_nothing_behind():
    fc, norm, n = excitable(linear()), nn.BatchNorm1d(N_OUT), lif()
    net = nn.ModuleDict({"fc": fc, "norm": norm, "n": n})
    learner = attach(net, CONFIG)
    norm(fc(Y[0]))  # and then nothing
    record = Record(fc, n)
    close(changes(net, learner, lambda: [n(norm(fc(x))) for x in X])["fc"], record.change())


def test_a_stale_call_is_not_mistaken_where_the_tensor_tells():
    fc, n = excitable(linear()), lif()
    learner = attach(nn.ModuleDict({"fc": fc, "n": n}), CONFIG)
    fc(Y[0])
    record = Record(fc, n)
    close(changes(fc, learner, lambda: [n(fc(x)) for x in X])["fc"], record.change())


def test_a_readout_in_a_loop_does_not_pile_up():
    fc, n, out = excitable(linear()), lif(), linear(N_OUT, 2)
    net = nn.ModuleDict({"fc": fc, "n": n, "out": out})
    learner = attach(net, CONFIG)
    ledger = learner.hooks[0].wiring.ledger
    with torch.no_grad():
        for _ in range(500):
            out(n(fc(X[0])))
    assert len(ledger.entries) + len(ledger.unrelated) < 300


class TestNames:
    def model(self):
        return nn.Sequential(linear(), lif(), linear(N_OUT, N_OUT), lif(), linear(N_OUT, 2))

    def config(self, *names):
        return PlasticityConfig(CONFIG.eligibility, CONFIG.neuromod, ThreeFactorConfig(target_layers=names))

    def test_target_layers_restrict(self):
        model = self.model()
        learner = attach(model, self.config("2"))
        steps(model, X)()
        assert list(learner.connections) == ["2"]

    def test_unknown_names(self):
        with pytest.raises(ValueError, match=r"there is no 'fc1' here; expected one of 0, 2, 4"):
            attach(self.model(), self.config("fc1"))
        with pytest.raises(ValueError, match="there is no 'fc1'"):
            attach(self.model(), layers={"fc1": CONFIG})
        with pytest.raises(ValueError, match="pairs: there is no 'lif' here"):
            attach(self.model(), pairs={"0": "lif"})

    def test_layers_have_settings_of_their_own(self):
        slow = PlasticityConfig(CONFIG.eligibility, three_factor=ThreeFactorConfig(lr=0.0))
        model = self.model()
        moved = changes(model, attach(excitable(model), CONFIG, layers={"2": slow}), steps(model, X))
        assert abs(moved["0"]).max() > 0
        assert abs(moved["2"]).max() == 0

    def test_layers_outside_of_the_targets(self):
        with pytest.raises(ValueError, match="layers names 2, which target_layers leaves out"):
            attach(self.model(), self.config("0"), layers={"2": CONFIG})

    def test_a_readout_that_nobody_named_learns_nothing_and_says_so(self):
        model = self.model()
        learner = attach(model, CONFIG)
        steps(model, X)()
        assert "4: 2×4, stdp_pair, accumulating (τ=15), auto; no neuron found so far" in repr(learner)
        assert "no neuron" not in repr(learner.connections["0"])

    def test_a_readout_that_was_named_is_an_error_at_the_first_pass(self):
        model = self.model()
        attached = attach(model, self.config("0", "4"))
        with pytest.raises(PairingError, match="4 was named to learn.*readout"):
            model(X[0])
        attached.remove()

    def test_a_readout_that_was_named_is_an_error_at_once_with_a_sample(self):
        with pytest.raises(ValueError, match="4 fed no neuron in the dry run"):
            attach(self.model(), self.config("0", "4"), sample=X[0])

    def test_a_leaky_integrator_is_a_readout(self):
        def model():
            return norse.SequentialState(linear(), norse.LIFCell(FAST), linear(N_OUT, 2), norse.LICell())

        learner = attach(body := model(), CONFIG)
        body(X[0])
        assert "2: 2×4, stdp_pair, accumulating (τ=15), auto; feeds 3: it is a leaky integrator" in repr(learner)
        with pytest.raises(ValueError, match=r"2 feeds 3 \(LICell\), and it is a leaky integrator"):
            attach(model(), CONFIG, pairs={"2": "3"})
        with pytest.raises(ValueError, match=r"2 feeds 3 \(LICell\)"):
            attach(model(), self.config("2"), sample=X[0])
        attached = attach(body := model(), self.config("2"))
        with pytest.raises(PairingError, match=r"2 feeds 3 \(LICell\)"):
            body(X[0])
        attached.remove()

    def test_nothing_to_learn(self):
        with pytest.raises(ValueError, match=r"Nothing in this model.*Found the weights 0; and the neurons none"):
            attach(nn.Sequential(linear(), nn.ReLU()))
        with pytest.raises(ValueError, match=r"Nothing in this model.*1: it is a leaky integrator"):
            attach(norse.SequentialState(linear(), norse.LICell()))
        with pytest.raises(ValueError, match="the weights none; and the neurons 0 "):
            attach(nn.Sequential(lif()))

    def test_layers_that_learn_only_when_they_are_named(self):
        """A class of one's own may do more than it derives from: the error says so, and what to write does it."""

        class OwnLinear(nn.Linear):
            pass

        def model():
            return nn.Sequential(OwnLinear(3, 4), lif())

        with pytest.raises(ValueError, match=r"Found the weights 0; .* Left out: 0 is a OwnLinear, .* Name it") as told:
            attach(model())
        assert str(told.value).endswith("it learns: ThreeFactorConfig(target_layers=('0',)).")
        assert list(attach(model(), self.config("0")).connections) == ["0"]

    def test_a_layer_before_input_weights_is_no_synapse_of_that_neuron(self):
        model = norse.SequentialState(linear(N_IN, N_IN), norse.LIFRecurrentCell(N_IN, N_IN, FAST))
        learner = attach(model, CONFIG, pre=lambda x: x)
        model(X[0])
        assert "it has input weights of its own" in learner.connections["0"].note
        assert learner.connections["0"].eligibility is None

    def test_a_neuron_of_ones_own(self):
        class Threshold(nn.Module):
            def forward(self, current):
                return (current > 0.5).float()

        model = excitable(nn.Sequential(linear(), Threshold()))
        record = Record(*model)
        close(changes(model, attach(model, CONFIG, pairs={"0": "1"}), steps(model, X))["0"], record.change())


class TestSample:
    def test_nothing_remains_of_the_dry_run(self):
        model = excitable(
            nn.Sequential(linear(), nn.BatchNorm1d(N_OUT), nn.Dropout(0.5), lif(), linear(N_OUT, 2), lif())
        )
        model(X[0])
        before = copy.deepcopy({k: v.detach() for k, v in dict(model.named_buffers()).items()})
        identity = {k: id(v) for k, v in model.named_buffers()}
        attributes = {id(m): set(vars(m)) for m in model.modules()}
        rng, grads = torch.get_rng_state(), [p.grad for p in model.parameters()]
        learner = attach(model, CONFIG, sample=X[0])
        assert all(torch.equal(v.detach(), before[k]) for k, v in model.named_buffers())
        assert identity == {k: id(v) for k, v in model.named_buffers()}
        assert attributes == {id(m): set(vars(m)) for m in model.modules()}
        assert torch.equal(rng, torch.get_rng_state())
        assert grads == [p.grad for p in model.parameters()]
        assert all(c.eligibility is None for c in learner.connections.values())

    def test_states_and_lists_of_the_users_modules_come_back(self):
        class Recording(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc, self.n, self.seen, self.count = linear(), snntorch.Leaky(beta=0.8), [], 0

            def forward(self, x):
                spikes, self.mem = self.n(self.fc(x))
                self.seen.append(spikes)
                self.count += 1
                return spikes

        net = Recording()
        seen = net.seen
        attach(net, CONFIG, sample=X[0])
        assert net.seen is seen
        assert (seen, net.count, hasattr(net, "mem")) == ([], 0, False)
        assert net.n.mem.numel() == 0

    def test_an_error_in_the_dry_run_leaves_the_model_as_it_was(self):
        model = nn.Sequential(linear(), lif())
        with pytest.raises(ValueError, match="sample= does not run through the model.*shapes cannot be multiplied"):
            attach(model, CONFIG, sample=torch.ones(1, N_IN + 1))
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())

    def test_another_learner_does_not_hear_the_dry_run(self):
        model = nn.Sequential(linear(), lif(), linear(N_OUT, 2), lif())
        names = TestNames()
        first = attach(model, names.config("0"))
        attach(model, names.config("2"), sample=X[0])
        assert first.connections["0"].eligibility is None

    def test_through_pooling_residuals_and_lift(self):
        class Residual(nn.Module):
            def __init__(self):
                super().__init__()
                self.b, self.a, self.skip = (
                    nn.Conv2d(2, 2, 3, padding=1),
                    nn.Conv2d(1, 2, 3, padding=1),
                    nn.Conv2d(1, 2, 1),
                )
                self.n2, self.n1 = lif(), lif()

            def forward(self, x):
                return self.n2(self.b(self.n1(self.a(x))) + self.skip(x))

        learner = attach(Residual(), CONFIG, sample=trains(BATCH, 1, 4, 4))
        assert set(learner.hooks[0].edges) == {("b", "n2"), ("a", "n1"), ("skip", "n2")}
        lifted = norse.SequentialState(norse.Lift(nn.Conv2d(1, 2, 3)), norse.LIF(FAST))
        learner = attach(lifted, CONFIG, sample=trains(STEPS, BATCH, 1, 5, 5))
        assert set(learner.hooks[0].edges) == {("0.lifted_module", "1")}


def test_currents_of_all_steps_kept_in_a_list():
    fc, n = excitable(linear()), lif()
    learner, record = attach(nn.ModuleDict({"fc": fc, "n": n}), CONFIG), Record(fc, n)

    def run():
        with torch.no_grad():
            for current in [fc(x) for x in X]:
                n(current)

    close(changes(fc, learner, run)["fc"], record.change())


@pytest.mark.parametrize("grad", [True, False])
def test_each_half_of_a_fused_layer_learns_from_its_own_population(grad):
    def step(m, x):
        one, two = m.fc(x).chunk(2, -1)
        return m.a(one), m.b(1.1 * two)

    net = Net(step, fc=linear(N_IN, 2 * N_OUT), a=lif(), b=lif(threshold=0.6))
    learner, a, b = attach(net, CONFIG), Record(net.fc, net.a), Record(net.fc, net.b)
    start = net.fc.weight.detach().clone()
    with torch.set_grad_enabled(grad):
        steps(net, X)()
    learner.step(0.7)
    assert set(learner.connections) == {"fc", "fc->b"}
    close((net.fc.weight - start).detach(), np.concatenate([a.change(), b.change()]))


def test_other_units_at_each_step_are_an_error():
    net = Net(lambda m, x, t: m.n(m.fc(x)[:, t : t + 2]), fc=linear(), n=lif())
    attached = attach(net, CONFIG)
    net(X[0], 0)
    with pytest.raises(PairingError, match="other units of it were read before"):
        net(X[1], 1)
    attached.remove()


def test_units_that_a_neuron_does_not_read_do_not_learn_whatever_the_kernel():
    class Heterosynaptic:
        def init(self, pre, post):
            return None

        def step(self, pre, post, state, dt=1.0):
            return Coincidence((), (Pair(1.0 - post, pre),)), None  # what is silent is depressed

    net = Net(lambda m, x: m.n(m.fc(x)[:, :2]), fc=linear(), n=lif())
    config = PlasticityConfig(EligibilityConfig(kernel=Heterosynaptic()))
    moved = changes(net, attach(net, config), steps(net, X))["fc"]
    assert abs(moved[:2]).max() > 0
    assert abs(moved[2:]).max() == 0
