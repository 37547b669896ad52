"""`scale_to_rate`: neurons fire as often as was asked, counted by a loop of one's own; refused calls change nothing."""

from __future__ import annotations

import copy

import norse.torch as norse
import pytest
import snntorch
import torch
from torch import nn
from torch.nn.utils import parametrizations

from snn_plasticity import PlasticityConfig, attach, scale_to_rate

STEPS = (torch.rand(60, 16, 12, generator=torch.Generator().manual_seed(0)) < 0.2).float()


class Tutorial(nn.Module):
    """A net with its own loop over time, as in snnTorch's tutorials."""

    def __init__(self, reset="subtract"):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(12, 40), nn.Linear(40, 6)
        self.lif1 = snntorch.Leaky(beta=0.9, reset_mechanism=reset)
        self.lif2 = snntorch.Leaky(beta=0.9, reset_mechanism=reset)

    def forward(self, steps):
        m1, m2, hidden, out = self.lif1.init_leaky(), self.lif2.init_leaky(), [], []
        for x in steps:
            s1, m1 = self.lif1(self.fc1(x), m1)
            s2, m2 = self.lif2(self.fc2(s1), m2)
            hidden.append(s1)
            out.append(s2)
        return torch.stack(hidden), torch.stack(out)


def stepped(*neurons):
    """Norse, one step at a time."""
    return norse.SequentialState(nn.Linear(12, 40), neurons[0], nn.Linear(40, 6), neurons[1])


def walk(model, steps):
    """A user's loop over Norse's states; the spikes of both layers."""
    state, hidden, out = None, [], []
    for x in steps:
        s1, first = model[1](model[0](x), state and state[0])
        s2, second = model[3](model[2](s1), state and state[1])
        state = (first, second)
        hidden.append(s1)
        out.append(s2)
    return torch.stack(hidden), torch.stack(out)


def as_before(model, call):
    """What a refused call says; nothing of the model has changed."""
    before = copy.deepcopy(model.state_dict())
    rng = torch.get_rng_state()
    with pytest.raises((ValueError, TypeError, RuntimeError)) as error:
        call()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert set(before) == set(model.state_dict()) and torch.equal(rng, torch.get_rng_state())
    return str(error.value)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_both_layers_of_a_net_with_its_own_loop_fire_at_the_rate(seed, reset):
    torch.manual_seed(seed)
    model = Tutorial(reset)
    weights = [p.detach().clone() for p in model.parameters()]
    found = scale_to_rate(model, STEPS, rate=0.15)
    with torch.no_grad():
        rates = [float(spikes.mean()) for spikes in model(STEPS)]
    assert rates == pytest.approx([0.15, 0.15], rel=0.1)
    assert [found["fc1"].rate, found["fc2"].rate] == pytest.approx(rates)
    scales = [found[name].scale for name in ("fc1", "fc1", "fc2", "fc2")]
    for was, now, scale in zip(weights, model.parameters(), scales, strict=True):
        assert torch.equal(was * scale, now)


@pytest.mark.parametrize("neuron", [norse.LIFCell, norse.LIFBoxCell, norse.LSNNCell])
def test_norse_step_by_step_in_a_loop_of_ones_own(neuron):
    torch.manual_seed(0)
    model = stepped(neuron(), neuron())
    with torch.no_grad():
        before = float(walk(model, STEPS)[1].mean())
    found = scale_to_rate(model, STEPS, rate={"2": 0.1, "0": 0.2}, run=lambda model, steps: walk(model, steps))
    with torch.no_grad():
        assert [float(s.mean()) for s in walk(model, STEPS)] == pytest.approx([0.2, 0.1], rel=0.1)
    assert before < 0.01 and sorted(found) == ["0", "2"]


def test_whole_sequences_recurrent_weights_and_a_readout_without_spikes():
    torch.manual_seed(0)
    model = norse.SequentialState(norse.LIFRecurrent(12, 20), norse.Lift(nn.Linear(20, 5)), norse.LIF(), norse.LI())
    recurrent = model[0].recurrent_weights.detach().clone()
    found = scale_to_rate(model, STEPS, rate=0.1)
    assert sorted(found) == ["0.input_weights", "1.lifted_module"]
    assert torch.equal(recurrent, model[0].recurrent_weights)
    with torch.no_grad():
        spikes, _ = model[0](STEPS)
    assert float(spikes.mean()) == pytest.approx(0.1, rel=0.1)


def test_a_convolution_and_a_layer_that_is_not_named():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), snntorch.Leaky(beta=0.9, init_hidden=True), nn.Flatten(),
        nn.Linear(4 * 16, 3), snntorch.Leaky(beta=0.9, init_hidden=True),
    )  # fmt: skip
    images = torch.rand(8, 1, 6, 6)
    other = model[3].weight.detach().clone()

    def run(model, images):
        return [model(images) for _ in range(30)]

    found = scale_to_rate(model, images, rate={"0": 0.2}, run=run)
    assert list(found) == ["0"] and found["0"].rate == pytest.approx(0.2, rel=0.1)
    assert torch.equal(other, model[3].weight)


def test_layers_that_feed_one_neuron_share_a_scale():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.lif = nn.Linear(12, 9), nn.Linear(12, 9), snntorch.Leaky(beta=0.9)

        def forward(self, steps):
            mem = self.lif.init_leaky()
            for x in steps:
                _, mem = self.lif(self.a(x) + self.b(x.flip(0)), mem)

    found = scale_to_rate(Two(), STEPS, rate=0.1)
    assert found["a"] == found["b"] and found["a"].rate == pytest.approx(0.1, rel=0.1)


def test_tied_weights_are_scaled_once():
    shared = nn.Linear(12, 12)
    model = nn.Sequential(
        shared, snntorch.Leaky(beta=0.9, init_hidden=True), shared, snntorch.Leaky(beta=0.9, init_hidden=True)
    )
    was = shared.weight.detach().clone()
    found = scale_to_rate(model, STEPS, rate=0.1, tolerance=0.2, run=lambda model, steps: [model(x) for x in steps])
    assert torch.equal(shared.weight, was * found["0"].scale)


def test_a_learner_hears_nothing_and_states_and_random_numbers_are_as_before():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(12, 20), nn.BatchNorm1d(20), nn.Dropout(0.1), snntorch.Leaky(beta=0.9, init_hidden=True)
    )
    learner = attach(model, PlasticityConfig.dev())
    with torch.no_grad():
        model(STEPS[0])
    kept = [model[3].mem.clone(), model[1].running_mean.clone(), torch.get_rng_state()]
    learner.step(reward=1.0)
    traces = learner.connections["0"].eligibility.clone()

    def noisy(model, steps):
        return [model(x + 0.1 * torch.rand_like(x)) for x in steps]

    said = as_before(model, lambda: scale_to_rate(model, STEPS, rate=0.3, run=noisy))
    assert "what normalises it undoes the scale" in said or "at most" in said or "nothing in between" in said
    now = [model[3].mem, model[1].running_mean, torch.get_rng_state()]
    assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))
    assert torch.equal(traces, learner.connections["0"].eligibility)
    assert learner.connections["0"].activity.seen == 1


def test_what_is_not_reached_is_said_and_nothing_is_changed():
    torch.manual_seed(0)
    model = Tutorial()
    nn.init.constant_(model.fc2.weight, -1.0)
    nn.init.constant_(model.fc2.bias, -0.1)
    said = as_before(model, lambda: scale_to_rate(model, STEPS, rate=0.1))
    assert said.startswith("fc2: a rate of 0.1 is not reached: its neurons never fire")
    assert "Nothing was changed" in said
    one = STEPS[:10, :1]
    said = as_before(model, lambda: scale_to_rate(model, one, rate={"fc1": 0.3333}, tolerance=1e-6))
    assert "with nothing in between" in said
    with pytest.raises(ValueError, match="hears") as error:
        scale_to_rate(model, STEPS, rate=0.1, run=lambda model, steps: (_ for _ in ()).throw(ValueError("hears")))
    assert "hears" in str(error.value)


def test_a_silent_input_is_said():
    model = Tutorial()
    nn.init.zeros_(model.fc1.bias)
    said = as_before(model, lambda: scale_to_rate(model, torch.zeros_like(STEPS), rate=0.1))
    assert said.startswith("fc1") and "whether its input is silent on this batch" in said


def test_wrong_calls_are_sentences():
    model = Tutorial()
    assert "expected layers that feed a spiking neuron, which are fc1, fc2" in as_before(
        model, lambda: scale_to_rate(model, STEPS, rate={"fc3": 0.1})
    )
    assert "rate = 1; expected a number in (0, 1)" in as_before(model, lambda: scale_to_rate(model, STEPS, rate=1))
    assert "batch does not run through the model" in as_before(model, lambda: scale_to_rate(model, STEPS[..., :3]))
    dense = nn.Sequential(nn.Linear(12, 3), nn.ReLU())
    assert "No layer feeds a spiking neuron" in as_before(dense, lambda: scale_to_rate(dense, STEPS))
    parametrizations.weight_norm(model.fc1)
    assert "fc1 cannot be scaled: it is parametrized" in as_before(model, lambda: scale_to_rate(model, STEPS))
