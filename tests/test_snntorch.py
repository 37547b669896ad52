"""snnTorch models learn what their spikes ask for, in every style the library is used in."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import snntorch
import torch
from host_models import (
    BATCH,
    CONFIG,
    N_HIDDEN,
    N_IN,
    N_OUT,
    SNNTORCH,
    STEPS,
    Record,
    Stepper,
    changes,
    close,
    excitable,
    expected,
    expected_conv,
    sequential,
    trains,
)  # fmt: skip
from torch import nn

from snn_plasticity.hosts import attach

X = trains(STEPS, BATCH, N_IN)


def steps(model, xs=X):
    def run():
        for x in xs:
            model(x)

    return run


@pytest.mark.parametrize("name", SNNTORCH)
def test_init_hidden(name):
    model = sequential(name)
    records = {"0": Record(model[0], model[1]), "2": Record(model[2], model[3])}
    if hasattr(model[1], "recurrent"):
        records |= {
            "1.recurrent": Record(model[1].recurrent, model[1]),
            "3.recurrent": Record(model[3].recurrent, model[3]),
        }
    learner = attach(model, CONFIG)
    moved = changes(model, learner, steps(model))
    assert set(moved) == set(records)
    for key, record in records.items():
        close(moved[key], record.change())


@pytest.mark.parametrize("by_keyword", [False, True])
@pytest.mark.parametrize("name", SNNTORCH)
def test_state_passing(name, by_keyword):
    model = Stepper(name, by_keyword=by_keyword)
    records = {"fc1": Record(model.fc1, model.lif1), "fc2": Record(model.fc2, model.lif2)}
    if hasattr(model.lif1, "recurrent"):
        records["lif1.recurrent"] = Record(model.lif1.recurrent, model.lif1)
    moved = changes(model, attach(model, CONFIG), lambda: model(X))
    for key, record in records.items():
        close(moved[key], record.change())


def test_recurrent_weights_see_the_spikes_of_the_step_before():
    model = sequential("RLeaky")
    spikes = []
    model[1].register_forward_hook(lambda m, args, out: spikes.append(out.detach()))
    moved = changes(model, attach(model, CONFIG), steps(model))
    post = torch.stack(spikes)
    close(moved["1.recurrent"], expected(torch.cat((torch.zeros_like(post[:1]), post[:-1])), post))


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("name", ["RLeaky", "RSynaptic"])
def test_recurrent_layers_count_once_whatever_the_reset(name, reset):
    model = sequential(name, reset_mechanism=reset)  # "zero" calls the recurrent layer twice a step
    calls, spikes = [], []
    model[1].recurrent.register_forward_hook(lambda m, args, out: calls.append(args[0].detach()))
    model[1].register_forward_hook(lambda m, args, out: spikes.append(out.detach()))
    moved = changes(model, attach(model, CONFIG), steps(model))
    assert len(calls) == STEPS * (2 if reset == "zero" else 1)
    pre = torch.stack(calls[:: 2 if reset == "zero" else 1])
    close(moved["1.recurrent"], expected(pre, torch.stack(spikes)))


def test_recurrent_convolution():
    model = excitable(nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), snntorch.RLeaky(beta=0.5, conv2d_channels=2, kernel_size=3, init_hidden=True),
    ), high=0.3)  # fmt: skip
    inner, outer = Record(model[1].recurrent, model[1]), Record(model[0], model[1])
    moved = changes(model, attach(model, CONFIG), steps(model, trains(STEPS, BATCH, 1, 4, 5)))
    for name, layer, record in (("0", model[0], outer), ("1.recurrent", model[1].recurrent, inner)):
        close(moved[name], expected_conv(layer, torch.stack(record.pre), torch.stack(record.post)))


def test_one_to_one_recurrence_is_left_alone():
    model = nn.Sequential(nn.Linear(N_IN, N_OUT), snntorch.RLeaky(beta=0.9, all_to_all=False, init_hidden=True))
    assert list(attach(model, CONFIG).connections) == ["0"]


def test_state_leaky_is_a_whole_sequence():
    model = excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), snntorch.StateLeaky(beta=0.8, channels=N_OUT)))
    record = Record(*model)
    learner = attach(model, CONFIG)
    moved = changes(model, learner, lambda: model(X))
    close(moved["0"], record.change(sequence=True))
    record.pre.clear(), record.post.clear()
    close(changes(model, learner, lambda: model(X.flip(0)))["0"], record.change(sequence=True))  # nothing carried over


def test_linear_leaky_holds_its_own_synapses():
    model = excitable(snntorch.LinearLeaky(beta=0.8, in_features=N_IN, out_features=N_OUT))
    spikes = []
    model.register_forward_hook(lambda m, args, out: spikes.append(out[0].detach()))
    moved = changes(model, attach(model, CONFIG), lambda: model(X))
    close(moved["linear"], expected(X, spikes[0]))


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2}])
def test_convolutions(options):
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, **options), snntorch.Leaky(beta=0.5, init_hidden=True),
        nn.Flatten(), nn.LazyLinear(4), snntorch.Leaky(beta=0.8, init_hidden=True),
    )  # fmt: skip
    xs = trains(STEPS, BATCH, 2, 6, 7)
    model(xs[0])
    excitable(model, high=0.3)
    conv, dense = Record(model[0], model[1]), Record(model[3], model[4])
    moved = changes(model, attach(model, CONFIG), steps(model, xs))
    close(moved["0"], expected_conv(model[0], torch.stack(conv.pre), torch.stack(conv.post)))
    close(moved["3"], dense.change())


def test_flatten_between_synapse_and_neuron():
    model = excitable(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), snntorch.Leaky(beta=0.5, init_hidden=True)), high=0.4
    )
    xs = trains(STEPS, BATCH, 1, 5, 6)
    record = Record(model[0], model[2])
    moved = changes(model, attach(model, CONFIG), steps(model, xs))
    post = torch.stack(record.post).unflatten(2, (2, 3, 4))
    close(moved["0"], expected_conv(model[0], xs, post))


@pytest.mark.parametrize("layout", ["select", "unbind", "batch_first", "flat"])
def test_current_computed_for_the_whole_sequence_first(layout):
    fc, lif, xs = nn.Linear(N_IN, N_OUT), snntorch.Leaky(beta=0.8), trains(BATCH, BATCH, N_IN)  # T == B: no shape helps
    excitable(fc)
    post = []
    lif.register_forward_hook(lambda m, args, out: post.append(out[0].detach()))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif = fc, lif

        def forward(self, xs):
            current = {
                "select": lambda: self.fc(xs),
                "unbind": lambda: self.fc(xs).unbind(0),
                "batch_first": lambda: self.fc(xs.transpose(0, 1).contiguous()).transpose(0, 1),
                "flat": lambda: self.fc(xs.flatten(0, 1)).view(BATCH, BATCH, -1),
            }[layout]()
            mem = torch.zeros(BATCH, N_OUT)
            for t in range(BATCH):
                spikes, mem = self.lif(current[t], mem)

    net = Net()
    moved = changes(net, attach(net, CONFIG), lambda: net(xs))
    close(moved["fc"], expected(xs, torch.stack(post)))


def test_batch_first_sequence_into_state_leaky():
    model = excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), snntorch.StateLeaky(beta=0.8, channels=N_OUT)))
    xs = trains(STEPS, STEPS, N_IN)
    post = []
    model[1].register_forward_hook(lambda m, args, out: post.append(out[0].detach()))

    class Transposed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, x):
            return self.net[1](self.net[0](x.transpose(0, 1).contiguous()).transpose(0, 1))

    net = Transposed()
    moved = changes(net, attach(net, CONFIG), lambda: net(xs))
    close(moved["net.0"], expected(xs, post[0]))


def test_delta_leaky_is_a_step_neuron():
    model = excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), snntorch.DeltaLeaky(0.5, beta=0.8, init_hidden=True)))
    record = Record(*model)
    moved = changes(model, attach(model, CONFIG), steps(model))
    close(moved["0"], record.change())
    snntorch.SpikingNeuron.init()  # an un-run DeltaLeaky makes snntorch.utils.reset of other tests fail


def test_a_second_run_continues_and_reset_starts_anew():
    model = sequential("Leaky")
    record, weights = Record(model[0], model[1]), copy.deepcopy(model.state_dict())
    learner = attach(model, CONFIG)
    steps(model)()
    close(changes(model, learner, steps(model, X.flip(0)))["0"], record.change())
    learner.reset()
    model.load_state_dict(weights)
    record.pre.clear(), record.post.clear()
    close(changes(model, learner, steps(model))["0"], record.change())


def test_tokens_of_a_sample_are_summed():
    model = excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), snntorch.Leaky(beta=0.8, init_hidden=True)))
    xs = trains(STEPS, BATCH, 4, N_IN)
    record = Record(*model)
    moved = changes(model, attach(model, CONFIG), steps(model, xs))
    pre, post = (torch.stack(x).flatten(1, 2) for x in (record.pre, record.post))
    close(moved["0"], 4 * expected(pre, post))


def test_unbatched_is_a_batch_of_one():
    model = excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), snntorch.Leaky(beta=0.8, init_hidden=True)))
    record = Record(*model)
    moved = changes(model, attach(model, CONFIG), steps(model, X[:, 0]))
    close(moved["0"], expected(*(torch.stack(x).unsqueeze(1) for x in (record.pre, record.post))))


def test_updates_during_the_sequence_match_the_rule_step_by_step():
    model = sequential("Leaky")
    learner, record = attach(model, CONFIG), Record(model[0], model[1])
    total = np.zeros((N_HIDDEN, N_IN))
    start = model[0].weight.detach().clone()
    for x in X:
        model(x)
        learner.step(0.1)
        try:
            total += expected(torch.stack(record.pre), torch.stack(record.post), modulator=0.1)
        except AssertionError:
            continue  # no spike yet: nothing to add
    np.testing.assert_allclose((model[0].weight - start).detach(), total, rtol=1e-4, atol=1e-3)
