"""Norse models learn what their spikes ask for: cells, sequences, recurrent weights and containers."""

from __future__ import annotations

import norse.torch as norse
import pytest
import torch
from host_models import (
    BATCH,
    CONFIG,
    FAST,
    N_HIDDEN,
    N_IN,
    N_OUT,
    STEPS,
    Loop,
    Record,
    changes,
    close,
    excitable,
    expected,
    expected_conv,
    first,
    trains,
)  # fmt: skip
from torch import nn

from snn_plasticity.hosts import attach

X = trains(STEPS, BATCH, N_IN)
ADEX = norse.LIFAdExParameters(tau_syn_inv=torch.tensor(900.0), tau_mem_inv=torch.tensor(800.0), v_th=torch.tensor(0.5))
CELLS = {
    "LIFCell": lambda: norse.LIFCell(FAST),
    "LIFBoxCell": lambda: norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=torch.tensor(900.0))),
    "IAFCell": lambda: norse.IAFCell(),
    "LSNNCell": lambda: norse.LSNNCell(
        norse.LSNNParameters(tau_syn_inv=torch.tensor(900.0), tau_mem_inv=torch.tensor(900.0))
    ),
    "LIFAdExCell": lambda: norse.LIFAdExCell(ADEX),
    "LIFRefracCell": lambda: norse.LIFRefracCell(norse.LIFRefracParameters(FAST, torch.tensor(1))),
    "LIFExCell": lambda: norse.LIFExCell(),
    "IzhikevichCell": lambda: norse.IzhikevichCell(norse.tonic_spiking),
}
SEQUENCES = {
    "LIF": lambda: norse.LIF(FAST),
    "IAF": lambda: norse.IAF(),
    "LSNN": lambda: norse.LSNN(norse.LSNNParameters(tau_syn_inv=torch.tensor(900.0), tau_mem_inv=torch.tensor(900.0))),
    "LIFAdEx": lambda: norse.LIFAdEx(ADEX),
    "LIFEx": lambda: norse.LIFEx(),
}
RECURRENT = {
    "LIFRecurrent": FAST,
    "LSNNRecurrent": norse.LSNNParameters(tau_syn_inv=torch.tensor(900.0), tau_mem_inv=torch.tensor(900.0)),
    "LIFAdExRecurrent": ADEX,
    "LIFRefracRecurrent": norse.LIFRefracParameters(FAST, torch.tensor(1)),
    "LIFExRecurrent": norse.LIFExParameters(),
}


def weighty(model, high=1.5):
    """Norse's neurons take more current than snnTorch's, and Izhikevich's much more."""
    if any(isinstance(m, norse.IzhikevichCell) for m in model.modules()):
        high = 60.0
    return excitable(model, high=high)


@pytest.mark.parametrize("name", CELLS)
def test_cells_in_a_sequential_state(name):
    body = norse.SequentialState(nn.Linear(N_IN, N_HIDDEN), CELLS[name](), nn.Linear(N_HIDDEN, N_OUT), CELLS[name]())
    model = Loop(weighty(body))
    records = {"body.0": Record(body[0], body[1]), "body.2": Record(body[2], body[3])}
    moved = changes(model, attach(model, CONFIG), lambda: model(X.repeat(3, 1, 1)))
    for key, record in records.items():
        close(moved[key], record.change())


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_in_a_sequential_state(name):
    model = norse.SequentialState(
        nn.Linear(N_IN, N_HIDDEN), SEQUENCES[name](), nn.Linear(N_HIDDEN, N_OUT), SEQUENCES[name]()
    )
    weighty(model)
    records = {"0": Record(model[0], model[1]), "2": Record(model[2], model[3])}
    moved = changes(model, attach(model, CONFIG), lambda: model(X.repeat(3, 1, 1)))
    for key, record in records.items():
        close(moved[key], record.change(sequence=True))


def recurrent_reference(model, run, sequence):
    """Trains of a recurrent layer, and its spikes one step earlier."""
    post = []
    handle = model.register_forward_hook(lambda m, args, out: post.append(first(out).detach()))
    run()
    handle.remove()
    post = torch.cat(post) if sequence else torch.stack(post)
    return post, torch.cat((torch.zeros_like(post[:1]), post[:-1]))


@pytest.mark.parametrize("by_keyword", [False, True])
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_cells(name, by_keyword):
    cell = weighty(getattr(norse, name + "Cell")(N_IN, N_HIDDEN, RECURRENT[name]), 0.8)

    def run():
        state = None
        for x in X:
            _, state = cell(x, state=state) if by_keyword else cell(x, state)

    post, before = recurrent_reference(cell, run, False)
    moved = changes(cell, attach(cell, CONFIG), run)
    close(moved["input_weights"], expected(X, post))
    close(moved["recurrent_weights"], no_autapses(expected(before, post)))


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_sequences_go_on_where_a_state_is_passed(name):
    layer = weighty(getattr(norse, name)(N_IN, N_HIDDEN, RECURRENT[name]), 0.8)

    def run():
        _, state = layer(X[:4])
        layer(X[4:], state)

    post, before = recurrent_reference(layer, run, True)
    moved = changes(layer, attach(layer, CONFIG), run)
    close(moved["input_weights"], expected(X, post))
    close(moved["recurrent_weights"], no_autapses(expected(before, post)))


@pytest.mark.parametrize("name", ["LIFMCRecurrentCell", "LIFMCRefracRecurrentCell", "LIFAdExRefracRecurrentCell"])
def test_nested_states(name):
    parameters = {
        "LIFMCRecurrentCell": (FAST,),
        "LIFMCRefracRecurrentCell": (norse.LIFRefracParameters(FAST, torch.tensor(1)),),
    }
    cell = weighty(getattr(norse, name)(N_IN, N_HIDDEN, *parameters.get(name, ())), 1.5)

    def run():
        state = None
        for x in X.repeat(4, 1, 1):
            _, state = cell(x, state)

    post, before = recurrent_reference(cell, run, False)
    moved = changes(cell, attach(cell, CONFIG), run)
    close(moved["input_weights"], expected(X.repeat(4, 1, 1), post))
    close(moved["recurrent_weights"], no_autapses(expected(before, post)))


def no_autapses(change):
    change[range(len(change)), range(len(change))] = 0.0
    return change


def test_no_state_begins_a_new_sequence():
    layer = weighty(norse.LIFRecurrent(N_IN, N_HIDDEN, FAST), 0.8)
    learner = attach(layer, CONFIG)
    layer(X.flip(0))
    post, _ = recurrent_reference(layer, lambda: layer(X), True)
    learner.reset()
    layer(X.flip(0))  # forgotten when the next one begins
    close(changes(layer, learner, lambda: layer(X))["input_weights"], expected(X, post))


def test_no_state_begins_a_new_sequence_for_cells_too():
    model = Loop(weighty(norse.SequentialState(nn.Linear(N_IN, N_OUT), norse.LIFCell(FAST))))
    learner = attach(model, CONFIG)
    model(X.flip(0))
    record = Record(model.body[0], model.body[1])
    close(changes(model, learner, lambda: model(X))["body.0"], record.change())


def test_a_loop_of_cells_equals_the_sequence_class():
    """With updates at the end of the sequence, in both."""
    loop = Loop(weighty(norse.SequentialState(nn.Linear(N_IN, N_OUT), norse.LIFCell(FAST))))
    whole = norse.SequentialState(nn.Linear(N_IN, N_OUT), norse.LIF(FAST))
    whole.load_state_dict(loop.body.state_dict())
    one = changes(loop, attach(loop, CONFIG), lambda: loop(X))
    other = changes(whole, attach(whole, CONFIG), lambda: whole(X))
    close(one["body.0"], other["0"])
    assert abs(one["body.0"]).max() > 1e-3


def test_lift_around_the_convolution():
    conv = nn.Conv2d(1, 2, 3)
    model = norse.SequentialState(norse.Lift(conv), norse.LIF(FAST))
    weighty(model)
    xs = trains(STEPS, BATCH, 1, 5, 6)
    post = []
    model[1].register_forward_hook(lambda m, args, out: post.append(out[0].detach()))
    moved = changes(model, attach(model, CONFIG), lambda: model(xs))
    close(moved["0.lifted_module"], expected_conv(conv, xs, post[0]))


def test_lift_around_the_neuron():
    model = nn.Sequential(nn.Linear(N_IN, N_OUT), norse.Lift(norse.LIFCell(FAST)))
    weighty(model)
    record = Record(*model)
    moved = changes(model, attach(model, CONFIG), lambda: model(X))
    close(moved["0"], record.change(sequence=True))


def test_lift_around_both():
    body = norse.SequentialState(nn.Linear(N_IN, N_OUT), norse.LIFCell(FAST))
    model = norse.Lift(body)
    weighty(model)
    record = Record(body[0], body[1])
    moved = changes(model, attach(model, CONFIG), lambda: model(X))
    close(moved["lifted_module.0"], record.change())


def test_lift_around_a_recurrent_cell():
    cell = norse.LIFRecurrentCell(N_IN, N_HIDDEN, FAST)
    model = weighty(norse.Lift(cell), 0.8)
    post, before = recurrent_reference(model, lambda: model(X), True)
    moved = changes(model, attach(model, CONFIG), lambda: model(X))
    close(moved["lifted_module.input_weights"], expected(X, post))
    close(moved["lifted_module.recurrent_weights"], no_autapses(expected(before, post)))


def test_flattened_time_and_batch():
    conv, lif = nn.Conv2d(1, 2, 3), norse.LIF(FAST)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.lif = conv, lif

        def forward(self, xs):
            return self.lif(self.conv(xs.flatten(0, 1)).unflatten(0, xs.shape[:2]))

    net = weighty(Net())
    xs = trains(STEPS, BATCH, 1, 5, 6)
    record = Record(conv, lif)
    moved = changes(net, attach(net, CONFIG), lambda: net(xs))
    close(moved["conv"], expected_conv(conv, xs, record.post[0]))


def test_steps_of_a_synapse_stacked_for_a_sequence():
    fc, lif = nn.Linear(N_IN, N_OUT), norse.LIF(FAST)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif = fc, lif

        def forward(self, xs):
            return self.lif(torch.stack([self.fc(x) for x in xs]))

    net = weighty(Net())
    record = Record(fc, lif)
    moved = changes(net, attach(net, CONFIG), lambda: net(X))
    close(moved["fc"], expected(X, record.post[0]))


def test_recurrent_sequential():
    body = norse.RecurrentSequential(nn.Linear(N_IN, N_IN), norse.LIFCell(FAST))
    model = Loop(weighty(body, 0.6))
    record = Record(body.module[0], body.module[1])
    moved = changes(model, attach(model, CONFIG, pre=lambda x: x), lambda: model(X))
    close(moved["body.module.0"], record.change())


def test_sparse_spikes():
    cell = weighty(norse.LIFRecurrentCell(N_IN, N_HIDDEN, FAST), 0.8)

    def run(xs):
        state = None
        for x in xs:
            _, state = cell(x, state)

    post, before = recurrent_reference(cell, lambda: run(X), False)
    moved = changes(cell, attach(cell, CONFIG), lambda: run([x.to_sparse() for x in X]))
    close(moved["input_weights"], expected(X, post))
    close(moved["recurrent_weights"], no_autapses(expected(before, post)))


def test_recorded_states():
    model = weighty(norse.SequentialState(nn.Linear(N_IN, N_OUT), norse.LIF(FAST, record_states=True)))
    record = Record(model[0], model[1])
    close(changes(model, attach(model, CONFIG), lambda: model(X))["0"], record.change(sequence=True))


def test_plain_tensors_as_weights():
    weights = {"input_weights": torch.rand(N_HIDDEN, N_IN), "recurrent_weights": torch.rand(N_HIDDEN, N_HIDDEN)}
    cell = norse.LIFRecurrentCell(N_IN, N_HIDDEN, FAST, **weights)
    post, _ = recurrent_reference(cell, lambda: [cell(x) for x in X[:1]], False)
    learner = attach(cell, CONFIG)
    close(changes(cell, learner, lambda: cell(X[0]))["input_weights"], expected(X[:1], post))
    assert set(cell.state_dict()) == set()
