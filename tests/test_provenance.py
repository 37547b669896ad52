"""Where every element came from: movements by brute force, and what is watched and what is not."""

from __future__ import annotations

import gc
import random
import sys
from dataclasses import replace
from pathlib import Path

import norse.torch as norse
import pytest
import snntorch
import torch
from host_models import (
    CONFIG,
    FAST,
    MODULATOR,
    N_IN,
    N_OUT,
    Record,
    changes,
    close,
    excitable,
    expected,
    expected_conv,
    trains,
)
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.overrides import _get_current_function_mode_stack as modes

from snn_plasticity import PlasticityConfig, PlasticityWarning, ThreeFactorConfig, attach, hosts
from snn_plasticity.hosts import PairingError
from snn_plasticity.hosts.hooks import LayerHook
from snn_plasticity.hosts.index import Synapse
from snn_plasticity.hosts.ledger import Ledger, Operations
from snn_plasticity.hosts.provenance import SLOT, Layout, Places, SynapseCall

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
import hops  # noqa: E402

HOSTS = Path(hosts.__file__).parent
X = trains(12, 3, N_IN)
MOVES = {
    "transpose": lambda x, r: x.transpose(0, r.randrange(x.dim())),
    "reversed": lambda x, r: x.flip(r.randrange(x.dim())),
    "rolled": lambda x, r: x.roll(1, r.randrange(x.dim())),
    "picked": lambda x, r: x[[r.randrange(len(x)) for _ in range(3)]],
    "chosen": lambda x, r: x.index_select(0, torch.tensor([r.randrange(len(x)) for _ in range(2)])),
    "masked": lambda x, r: x[torch.arange(len(x)) % 2 == 0],
    "stepped": lambda x, r: x[::2],
    "one": lambda x, r: x[r.randrange(len(x))].unsqueeze(0),
    "copied": lambda x, r: x.transpose(0, -1).contiguous().transpose(0, -1),
    "flat": lambda x, r: x.flatten(0, 1) if x.dim() > 1 else x,
    "refolded": lambda x, r: x.reshape(-1, x.shape[-1]),
    "repeated": lambda x, r: x.repeat(2, *[1] * (x.dim() - 1)),
    "each": lambda x, r: x.repeat_interleave(2, 0),
    "stacked": lambda x, r: torch.stack([x, x.flip(0)], r.randrange(2)),
    "joined": lambda x, r: torch.cat([x, 2 * x[:1]]),
    "padded": lambda x, r: functional.pad(x, (1, 0)),
    "halves": lambda x, r: torch.cat(tuple(reversed(x.chunk(2)))),
    "scaled": lambda x, r: 3 * x,
    "shifted": lambda x, r: x + torch.ones(x.shape[-1]),
    "chained": lambda x, r: torch.stack(list(x.unbind(0)), -1),
    "written": lambda x, r: torch.zeros(2, *x.shape).index_copy(0, torch.tensor([1]), x[None]).abs(),
    "filled": lambda x, r: _filled(x),
    "gathered": lambda x, r: x.gather(0, torch.randint(len(x), x.shape)),
}
MIXES = ("written",)  # known to move, but not known to `operations`: must not be taken for anything


def _filled(x):
    buffer = torch.zeros(2, *x.shape)
    buffer[1] = x
    buffer[0, :1] = x[-1:]
    return buffer


def followed(seed: int):
    """A random chain of operations on an output whose elements are all different, watched."""
    r, ledger = random.Random(seed), Ledger()
    output = torch.arange(1.0, 61.0).reshape(r.choice([(5, 4, 3), (4, 5, 3), (15, 4)]))
    call = SynapseCall(Synapse("fc", nn.Linear(2, output.shape[-1])), torch.ones(*output.shape[:-1], 2), output, None)
    ledger.record_call(call)
    watch, x, names = Operations(ledger), output, []
    watch.on()
    try:
        for name in r.choices([n for n in MOVES if n not in MIXES], k=r.randrange(1, 6)):
            x = MOVES[name](x, r)
            names.append(name)
    finally:
        watch.off()
    return output, x, ledger.of(x), names


@pytest.mark.parametrize("seed", range(120))
def test_places_tell_where_every_element_came_from(seed):
    """Values are moved with the elements: each is that of its place, but for the factors and shifts on the way."""
    output, x, image, names = followed(seed)
    assert image is not None, names
    (origin,) = image.origins
    assert origin.places is not None, (names, origin.mixed)
    places = Layout.of(x).view(origin.places.value)
    if "scaled" in names or "shifted" in names or "joined" in names:
        assert places.shape == x.shape
        assert bool(((places < 0) | (x != 0)).all())
        return
    assert bool((places[places >= 0] >> SLOT == 0).all())
    wanted = torch.where(places >= 0, output.flatten()[places.clamp(min=0)], torch.zeros(()))
    assert torch.equal(wanted, x), names


def test_a_movement_that_nobody_has_described_mixes():
    ledger, output = Ledger(), torch.rand(3, 4)
    ledger.record_call(SynapseCall(Synapse("fc", nn.Linear(2, 4)), torch.ones(3, 2), output, None))
    watch = Operations(ledger)
    watch.on()
    moved = torch.zeros(2, 3, 4).index_copy(0, torch.tensor([1]), output[None])
    watch.off()
    (origin,) = ledger.of(moved).origins
    assert origin.places is None
    assert origin.mixed == "index_copy"


def _called(ledger, name, output):
    call = SynapseCall(Synapse(name, nn.Linear(2, 4)), torch.ones(3, 2), output, None)
    ledger.record_call(call)
    return call


@pytest.mark.parametrize("inference", [False, True])
def test_only_the_target_of_an_operation_is_written(inference):
    """Inference tensors count no versions: `c += x` changes c and leaves x; and `out=` holds nothing of before."""
    ledger = Ledger()
    with torch.inference_mode(inference), torch.no_grad():
        a, b, x = torch.rand(3, 4), torch.rand(3, 4), torch.rand(3, 4)
        ledger.mark_unrelated((x,))
        first, second = _called(ledger, "a", a), _called(ledger, "b", b)
        watch = Operations(ledger)
        watch.on()
        a += x
        beside, (origin,) = ledger.of(x), ledger.of(a).origins
        torch.mul(b, 2.0, out=a)
        (written,) = ledger.of(a).origins
        b -= a
        (both,) = ledger.of(b).origins
        watch.off()
    assert beside is None and origin.calls == (first,)
    assert written.calls == both.calls == (second,)


class Steady(nn.Module):
    """Frames (T, B, N), read as they come until `how` says otherwise; it notes which frame each spike answers."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.fc, self.how, self.kept, self.pairs = nn.Linear(N_IN, N_OUT), "as it comes", None, {"lif": [], "other": []}
        self.between = between
        self.lif, self.other = (snntorch.Leaky(0.8, init_hidden=True) for _ in range(2))
        self.both = True  # else the second neuron rests

    def forward(self, x):
        if self.how == "held, and given in reverse":
            held = [self.between(self.fc(frame)) for frame in x]
            for frame, current in zip(x.flip(0), reversed(held), strict=True):
                self.answer("lif", frame, current)
            return
        for frame in x:
            current = self.between(self.fc(frame))
            if self.how == "as it comes":
                self.answer("lif", frame, current)
                if self.both:
                    self.other(torch.zeros(len(frame), N_OUT))
            elif self.how == "a view, the output itself gone":
                current = current.view(-1, N_OUT)
                self.answer("lif", frame, current)
            elif self.how == "one frame late, also across passes":
                if self.kept is not None:
                    self.answer("lif", *self.kept)
                self.kept = frame, current
            else:
                self.answer("lif", frame, current)
                current = current.view(-1, N_OUT)
                self.answer("other", frame, current)

    def answer(self, neuron, frame, current):
        self.pairs[neuron].append((frame, getattr(self, neuron)(current).detach()))


class TestSteady:
    """Where outputs are read as they come, nothing is built for a call; and then they are read otherwise."""

    WAYS = (
        "as it comes",
        "held, and given in reverse",
        "a view, the output itself gone",
        "one frame late, also across passes",
        "by a second neuron, too",
    )

    BETWEEN = (nn.Identity, nn.Flatten, lambda: nn.Sequential(nn.BatchNorm1d(N_OUT), nn.Dropout(0.1)))

    @pytest.mark.parametrize("how", WAYS)
    @pytest.mark.parametrize("grad", [False, True])
    @pytest.mark.parametrize("between", BETWEEN, ids=("nothing", "view", "norm and dropout"))
    def test_spikes_are_put_beside_the_input_that_they_answer(self, how, grad, between):
        net = excitable(Steady(between()))
        learner = attach(net, CONFIG)
        wiring = learner.hooks[0].wiring
        with torch.set_grad_enabled(grad):
            net(X)
            net.both = False
            net(X)
            assert not wiring.watching and set(wiring.unlisted) == {"fc"}  # its one call is a note, over and over
            learner.step(0.0)
            learner.reset()
            for neuron in (net.lif, net.other):
                neuron.reset_mem()
            net.how, net.pairs = how, {"lif": [], "other": []}
            before = net.fc.weight.detach().clone()
            net(X)
            net(X)
            learner.step(MODULATOR)
        seen = [pairs for pairs in net.pairs.values() if pairs]
        wanted = sum(expected(*map(torch.stack, zip(*pairs, strict=True))) for pairs in seen)
        assert len(learner.connections) == len(seen) and wanted.any()
        close(net.fc.weight.detach() - before, wanted)

    def test_layers_in_between_are_notes_too(self):
        """BatchNorm and dropout between layer and neuron: hosts/ is called for each of the layers, and once more."""
        layers = nn.Linear(N_IN, N_OUT), nn.BatchNorm1d(N_OUT), nn.Dropout(0.1), snntorch.Leaky(0.8, init_hidden=True)
        net, hook = excitable(nn.Sequential(*layers)), LayerHook.__call__.__code__
        learner = attach(net, CONFIG)
        with torch.no_grad():
            for x in X:
                net(x)
            calls = hops.calls_of(lambda: net(X[0]), HOSTS).seen
        assert learner.connections["0"].activity.seen == len(X) + 1
        assert calls.count((hook.co_filename, hook.co_firstlineno, hook.co_name)) == 2
        assert not [name for _, _, name in calls if "notify" in name]

    @pytest.mark.parametrize("host", ["snntorch", "norse"])
    def test_a_step_that_is_heard_takes_few_calls(self, host):
        """From the hooks to `observe`: calls and files of hosts/, for one layer and its neuron."""
        neuron = snntorch.Leaky(0.8, init_hidden=True) if host == "snntorch" else norse.LIFCell(FAST)
        make = nn.Sequential if host == "snntorch" else norse.SequentialState
        net, state = excitable(make(nn.Linear(N_IN, N_OUT), neuron)), ()
        learner = attach(net, CONFIG)
        with torch.no_grad():
            for _ in range(3):
                for x in X:
                    output = net(x, *state)
                    state = output[1:] if host == "norse" else ()
            calls = hops.calls_of(lambda: net(X[0], *state), HOSTS)
        assert learner.connections["0"].eligibility is not None
        assert 0 < len(calls.seen) <= (4 if host == "snntorch" else 6)
        assert len(calls.files) <= (1 if host == "snntorch" else 2)

    @pytest.mark.parametrize("how", ["the third forward", "a later one of a window", "a reward at every step"])
    def test_observing_a_step_takes_25_calls_through_6_files(self, how):
        """Of the whole package, from the hooks to where the step is in e or waits for a reward."""
        if how == "a reward at every step":
            pytest.importorskip("numba")
        net = nn.Sequential(nn.Linear(N_IN, N_OUT), snntorch.Leaky(0.8, init_hidden=True))
        learner, trains = attach(excitable(net), PlasticityConfig.dev()), (X > 0).float()
        with torch.no_grad():
            for x in [] if how == "the third forward" else [*trains] * 4:
                net(x)
                if how == "a reward at every step":
                    learner.step(reward=torch.ones(len(x)))
            learner.reset() if how == "a later one of a window" else None
            for x in trains[:2] if how != "a reward at every step" else []:
                net(x)
            seen = learner.connections["0"].activity.seen
            way = hops.way(lambda: net(trains[2]))
        assert learner.connections["0"].activity.seen == seen + 1
        assert 0 < way.calls <= 25
        assert way.files <= 6

    def test_inputs_are_not_kept_alive_by_outputs_that_are_gone(self):
        net = excitable(Steady(nn.Identity()))
        learner = attach(net, CONFIG)
        with torch.no_grad():
            net(X)
            net.both = False
            net(X)
            frames = X.clone()
            memory = StorageWeakRef(frames.untyped_storage())
            net(frames)
            net.pairs = {"lif": [], "other": []}
            del frames
            assert not memory.expired()  # the last output may still be read
            net(X[:0])  # the next pass begins
        assert memory.expired() and learner.enabled


class TestWatching:
    def test_nothing_is_watched_once_everything_is_read_as_it_comes(self):
        for between in (nn.Identity(), nn.BatchNorm1d(N_OUT), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1)):
            model = excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), between, snntorch.Leaky(0.8, init_hidden=True)))
            learner = attach(model, CONFIG)
            assert learner.hooks[0].wiring.watching
            with torch.no_grad():
                for x in X:
                    model(x)
                    assert modes() == []  # between two passes nothing is seen in any case
            assert not learner.hooks[0].wiring.watching

    def test_what_is_computed_before_the_first_layer_is_no_output_of_it(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc, self.beside = nn.Linear(N_IN, N_OUT), snntorch.Leaky(0.8, init_hidden=True)
                self.lif = snntorch.Leaky(0.8, init_hidden=True)

            def forward(self, x):
                trace = 2 * x + torch.ones(N_IN)
                current = self.fc(x)
                return self.beside(trace), self.lif(current)

        net = excitable(Net())
        learner, record = attach(net, CONFIG), Record(net.fc, net.lif)
        with torch.no_grad():
            moved = changes(net, learner, lambda: [net(x) for x in X])
        close(moved["fc"], record.change())
        assert set(learner.hooks[0].edges) == {("fc", "lif")}

    def test_what_was_not_watched_is_an_error_once_and_then_known(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc, self.lif, self.turned = nn.Linear(N_IN, N_OUT), snntorch.Leaky(0.8, init_hidden=True), False

            def forward(self, x):
                current = self.fc(x)
                return self.lif(current.flip(0) if self.turned else current)

        net = excitable(Net())
        learner = attach(net, CONFIG)
        with torch.no_grad():
            for x in X:
                net(x)
            learner.step(0.0)
            learner.reset()
            net.lif.reset_mem()
            net.turned = True
            with pytest.raises(PairingError, match="lif was given something else than before.*output of fc"):
                net(X[0])
            assert learner.connections["fc"].eligibility is None
            net.lif.reset_mem()
            turned = Record(net.fc, net.lif)
            moved = changes(net, learner, lambda: [net(x) for x in X])
        turned.pre = [x.flip(0) for x in X]
        close(moved["fc"], turned.change())

    def test_what_is_written_into_an_output_later_is_noticed(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc, self.other = nn.Linear(N_IN, N_OUT), nn.Linear(N_IN, N_OUT)
                self.lif, self.both = snntorch.Leaky(0.8, init_hidden=True), False

            def forward(self, x):
                current, beside = self.fc(x), self.other(x)
                if self.both:
                    current += beside
                return self.lif(current)

        net = excitable(Net())
        learner = attach(net, CONFIG)
        with torch.no_grad():
            for x in X:
                net(x)
            learner.reset()
            net.both = True
            with pytest.raises(PairingError):
                net(X[0])
            net.lif.reset_mem()
            records = {"fc": Record(net.fc, net.lif), "other": Record(net.other, net.lif)}
            moved = changes(net, learner, lambda: [net(x) for x in X])
        for name, record in records.items():
            close(moved[name], record.change())

    def test_an_exception_leaves_no_mode_behind(self):
        class Broken(nn.Module):
            def forward(self, x):
                raise ZeroDivisionError

        model = nn.Sequential(nn.Linear(N_IN, N_OUT), nn.Tanh(), Broken())
        model.append(snntorch.Leaky(0.8, init_hidden=True))
        learner = attach(model, CONFIG)
        with pytest.raises(ZeroDivisionError):
            model(X[0])
        assert modes() == []
        learner.remove()

    def test_other_modes_come_and_go_as_if_there_were_none(self):
        fc, lif = excitable(nn.Linear(N_IN, N_OUT)), snntorch.Leaky(0.8, init_hidden=True)
        learner, record = attach(nn.ModuleList([fc, lif]), CONFIG), Record(fc, lif)

        def run():
            for x in X:
                with torch.device("cpu"):
                    current = fc(x)
                current = 1.5 * current
                with torch.device("cpu"):
                    lif(current)
                    assert len(modes()) >= 1

        with torch.no_grad():
            close(changes(fc, learner, run)["0"], record.change())
        learner.remove()
        assert modes() == []

    @pytest.mark.parametrize("grad", [True, False])
    def test_functions_with_a_gradient_of_their_own_are_seen_into(self, grad):
        class Scaled(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, turned):
                return 2 * (x.flip(0) if turned else x)

            @staticmethod
            def backward(ctx, grad):
                return 2 * grad, None

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc, self.lif = nn.Linear(N_IN, N_OUT), snntorch.Leaky(0.8, init_hidden=True)

            def forward(self, x, turned):
                return self.lif(Scaled.apply(self.fc(x), turned))

        net = excitable(Net())
        record, learner = Record(net.fc, net.lif), attach(net, CONFIG)
        with torch.set_grad_enabled(grad):
            moved = changes(net, learner, lambda: [net(x, t % 2 == 1) for t, x in enumerate(X)])
        record.pre = [x.flip(0) if t % 2 == 1 else x for t, x in enumerate(X)]
        close(moved["fc"], record.change())

    @pytest.mark.parametrize("how", ["numpy", "vmap"])
    def test_what_cannot_be_watched_is_refused_unless_the_user_vouches_for_it(self, how):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc, self.lif = nn.Linear(N_IN, N_OUT), snntorch.Leaky(0.8, init_hidden=True)

            def forward(self, x):
                current = self.fc(x)
                if how == "numpy":
                    return self.lif(torch.from_numpy(2 * current.numpy()))
                return self.lif(torch.vmap(lambda row: 2 * row)(current))

        net = excitable(Net())
        attached = attach(net, CONFIG)
        with torch.no_grad(), pytest.raises(PairingError, match="Between fc and lif.*cannot be watched.*pairs="):
            net(X[0])
        attached.remove()
        net.lif.reset_mem()
        record, learner = Record(net.fc, net.lif), attach(net, CONFIG, pairs={"fc": "lif"})
        with torch.no_grad():
            close(changes(net, learner, lambda: [net(x) for x in X])["fc"], record.change())


class TestStrangeModels:
    def test_a_layer_that_holds_its_neuron_is_refused_with_the_true_reason(self):
        class Spiking(nn.Linear):
            def __init__(self):
                super().__init__(N_IN, N_OUT)
                self.lif = snntorch.Leaky(0.8, init_hidden=True)

            def forward(self, x):
                return self.lif(super().forward(x))

        model = nn.Sequential(Spiking(), nn.Linear(N_OUT, 2), snntorch.Leaky(0.8, init_hidden=True))
        with pytest.warns(PlasticityWarning, match="learn: 1. 0 cannot learn: it is a Spiking.*by side. What is"):
            assert list(attach(model, CONFIG).connections) == ["1"]
        named = PlasticityConfig(three_factor=ThreeFactorConfig(target_layers=("0",)))
        with pytest.raises(
            TypeError, match=r"0 cannot be plastic: it is a Spiking that holds the neuron 0\.lif inside"
        ):
            attach(model, named)

    def test_the_parts_of_a_recurrence_are_known_by_name(self):
        class Balanced(nn.Module):
            def __init__(self):
                super().__init__()
                self.excite, self.inhibit = nn.Linear(N_OUT, N_OUT), nn.Linear(N_OUT, N_OUT)

            def forward(self, spikes):
                return self.excite(spikes).relu() - self.inhibit(spikes).relu()

        lif = snntorch.RLeaky(beta=0.8, linear_features=N_OUT, init_hidden=True)
        lif.recurrent = Balanced()
        model = nn.Sequential(nn.Linear(N_IN, N_OUT), lif)
        with pytest.warns(PlasticityWarning, match=r"learn: 0. 1\.recurrent\.excite cannot learn.*inhibit cannot"):
            assert list(attach(model, CONFIG).connections) == ["0"]
        named = PlasticityConfig(three_factor=ThreeFactorConfig(target_layers=("1.recurrent.excite",)))
        with pytest.raises(TypeError, match=r"a part of 1\.recurrent, a Balanced inside of a neuron"):
            attach(model, named)

    def test_a_cell_that_begins_anew_at_every_step_says_so_once(self):
        class Stateless(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc, self.lif = nn.Linear(N_IN, N_OUT), norse.LIFCell(FAST)

            def forward(self, x):
                return self.lif(self.fc(x))[0]  # the state is dropped

        net = excitable(Stateless())
        learner = attach(net, CONFIG)
        with torch.no_grad():
            net(X[0])
            with pytest.warns(PlasticityWarning, match="lif was called without a state again.*begins a new sequence"):
                net(X[1])
            net(X[2])
        learner.remove()

    def test_samples_of_one_step_each_say_nothing(self):
        fc, lif = excitable(nn.Linear(N_IN, N_OUT)), norse.LIFCell(FAST)
        learner = attach(nn.ModuleList([fc, lif]), CONFIG)
        with torch.no_grad():
            for x in X:
                lif(fc(x))
                learner.step(0.1)
                learner.reset()

    @pytest.mark.parametrize("where", ["before", "after"])
    def test_layers_that_are_left_out_never_stop_a_pass(self, where):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.f1, self.f2, self.lif1 = nn.Linear(N_IN, N_OUT), nn.Linear(N_IN, N_OUT), snntorch.Leaky(0.8)
                self.fc, self.lif2 = nn.Linear(N_OUT, 3), snntorch.Leaky(0.8)

            def forward(self, x, m, q):
                spikes, m = self.lif1((self.f1(x) + self.f2(x)).softmax(-1), m)
                spikes, q = self.lif2(self.fc(spikes), q)
                return spikes, m, q

        net = excitable(Net())
        only = replace(CONFIG, three_factor=replace(CONFIG.three_factor, target_layers=("fc",)))
        m, q = net.lif1.reset_mem(), net.lif2.reset_mem()
        learner = attach(net, only, sample=(X[0], m, q) if where == "before" else None)
        net.lif1.reset_mem(), net.lif2.reset_mem()
        record = Record(net.fc, net.lif2)

        def run():
            state = m, q
            for x in X:
                _, *state = net(x, *state)

        with torch.no_grad():
            close(changes(net, learner, run)["fc"], record.change())

    def test_a_layer_that_is_paired_with_nothing_is_left_out(self):
        model = excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), nn.Softmax(-1), snntorch.Leaky(0.8, init_hidden=True)))
        model.extend([nn.Linear(N_OUT, 2), snntorch.Leaky(0.8, init_hidden=True)])
        for sample in (None, X[0]):
            learner = attach(model, CONFIG, pairs={"0": ()}, sample=sample)
            model(X[0])
            assert list(learner.connections) == ["3"]
            learner.remove()
            model[2].reset_mem()
            model[4].reset_mem()


def test_a_pass_in_eval_settles_nothing():
    """Dropout does nothing in eval(): that the outputs arrive as they came tells nothing about training."""
    model = excitable(
        nn.Sequential(nn.Linear(N_IN, N_OUT), nn.Dropout(0.2, inplace=True), snntorch.Leaky(0.8, init_hidden=True))
    )
    record, learner = Record(model[0], model[2]), attach(model, CONFIG)
    with torch.no_grad():
        model.eval()
        for x in X:
            model(x)
        model.train()
        model[2].reset_mem()
        record.pre.clear()
        record.post.clear()
        close(changes(model, learner, lambda: [model(x) for x in X])["0"], record.change())


@pytest.mark.parametrize("grad", [True, False])
def test_residual_blocks_on_a_folded_axis_with_dropout_of_whole_channels(grad):
    """(T·B, C, H, W) through a convolution, Dropout2d and a skip, unfolded for a neuron that takes sequences."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.drop = nn.Conv2d(2, 2, 3, padding=1), nn.Dropout2d(0.2)
            self.skip, self.lif = nn.Conv2d(2, 2, 1), norse.LIF(FAST)

        def forward(self, frames):
            folded = frames.flatten(0, 1)
            current = self.drop(self.conv(folded)) + self.skip(folded) + folded
            return self.lif(current.unflatten(0, frames.shape[:2]))[0]

    net, frames = excitable(Block()), trains(5, 3, 2, 4, 4)
    learner, spikes = attach(net, CONFIG), []
    net.lif.register_forward_hook(lambda module, args, output: spikes.append(output[0].detach()))
    with torch.set_grad_enabled(grad):
        moved = changes(net, learner, lambda: net(frames))
    assert spikes[0].shape == (5, 3, 2, 4, 4)
    for name in ("conv", "skip"):
        close(moved[name], expected_conv(getattr(net, name), frames, spikes[0]))


def test_places_are_let_go_with_the_memories_they_describe():
    """Steps whose samples are shuffled anew each time are read one by one, and nothing of them stays."""

    class Shuffled(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif = nn.Linear(N_IN, N_OUT), snntorch.Leaky(0.8, init_hidden=True)

        def forward(self, x):
            return self.lif(self.fc(x)[torch.randperm(len(x))])

    net = excitable(Shuffled())
    learner = attach(net, CONFIG)

    def alive():
        return sum(type(thing) in (Places, SynapseCall) for thing in gc.get_objects())

    gc.collect()
    gc.disable()  # nothing may hang on a cycle
    try:
        with torch.no_grad():
            for x in X:
                net(x)
            before = alive()
            for _ in range(30):
                for x in X:
                    net(x)
            assert alive() < before + 150  # a few generations of memories that are not looked through yet
    finally:
        gc.enable()
    learner.remove()
