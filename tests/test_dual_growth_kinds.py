"""Kinds of nets that people have: what grows with them, what stays refused, and what the sentence names."""

from __future__ import annotations

import pytest
import torch
from random_nets import spike
from torch import Tensor, nn
from torch.nn import functional as F

from snn_plasticity.dual import OverTime, deepen, widen


def leaky(**settings) -> nn.Module:
    from snntorch import Leaky

    return Leaky(0.9, threshold=0.1, init_hidden=True, **settings)


class Functional(nn.Module):
    """Layers by name, and a forward that is a function of them and of the input."""

    def __init__(self, run, **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *given):
        return self.run(self, *given)


def preserved(base: nn.Module, grown: nn.Module, *x: Tensor) -> None:
    """The same answer, which is not nothing."""
    with torch.no_grad():
        wanted, got = base.eval()(*x), grown.eval()(*x)
    assert float(wanted.abs().max()) > 0.0
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_tied_weights_grow_together_and_stay_tied() -> None:
    layers = [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)]
    base, x = nn.Sequential(*layers), torch.randn(4, 6)
    base[4].weight = base[2].weight
    grown, weights = widen(base, 2, init="preserving")
    preserved(base, grown, x)
    assert grown[4].weight is grown[2].weight and grown[2].weight.shape == (16, 16)
    assert "4.weight" not in weights.slots and {"2.weight", "4.bias"} <= set(weights.slots)


def test_depthwise_convolutions_get_a_group_for_each_new_channel() -> None:
    base, x = (
        nn.Sequential(nn.Conv2d(2, 4, 1), leaky(), nn.Conv2d(4, 4, 3, groups=4), leaky(), nn.Conv2d(4, 3, 1)),
        (torch.randn(2, 2, 6, 6)),
    )
    grown, _ = widen(base, 2, init="preserving", sample=x, place="spread")
    with torch.no_grad():
        assert torch.equal(OverTime(4)(base, x), OverTime(4)(grown, x))
    assert (grown[2].groups, grown[2].in_channels, tuple(grown[2].weight.shape)) == (8, 8, (8, 1, 3, 3))


def test_attention_gets_heads() -> None:
    def run(net, x):
        h = net.i(x)
        return net.o(h + net.m(h, h, h)[0])

    base = Functional(run, i=nn.Linear(6, 8), m=nn.MultiheadAttention(8, 2, batch_first=True), o=nn.Linear(8, 3))
    x = torch.randn(2, 5, 6)
    grown, _ = widen(base, 3, init="preserving", sample=x)
    preserved(base, grown, x)
    assert (grown.m.num_heads, grown.m.embed_dim, grown.m.head_dim) == (6, 24, 4)
    with pytest.raises(ValueError, match="8 units in 2 equal parts .* asks for 10, expected a multiple of 4"):
        widen(base, {"i": 10}, sample=x)


def test_what_is_only_watched_does_not_matter() -> None:
    def run(net, x):
        h = torch.relu(net.a(x))
        net.rate = h.mean()
        return net.o(h)

    base, x = Functional(run, a=nn.Linear(6, 8), o=nn.Linear(8, 3)), torch.randn(4, 6)
    preserved(base, widen(base, 2, init="preserving", sample=x).model, x)


def test_inputs_by_name_and_several() -> None:
    base = Functional(lambda net, x, z: net.o(torch.relu(net.a(x) + net.b(z))), a=nn.Linear(5, 8), b=nn.Linear(4, 8))
    base.o = nn.Linear(8, 3)
    given = torch.randn(2, 5), torch.randn(2, 4)
    preserved(base, widen(base, 2, init="preserving", sample=given).model, *given)
    by_name = Functional(lambda net, batch: net.o(torch.relu(net.a(batch["x"]))), a=nn.Linear(5, 8), o=nn.Linear(8, 3))
    assert widen(by_name, 2, sample={"x": given[0]}).model.a.out_features == 16


def test_inputs_that_must_be_positive_are_taken_from_the_sample() -> None:
    base = Functional(lambda net, x: net.o(net.a(x.sqrt()).relu()), a=nn.Linear(6, 8), o=nn.Linear(8, 3))
    x = torch.rand(4, 6)
    preserved(base, widen(base, 2, init="preserving", sample=x).model, x)
    log = Functional(lambda net, x: net.o(net.a(x).log()), a=nn.Linear(6, 8), o=nn.Linear(8, 3))
    with pytest.raises(ValueError, match="makes no numbers of noise, nor of sample="):
        widen(log, 2, sample=x)


REFUSED = {
    "softmax": (lambda net, x: net.o(net.a(x).softmax(-1)), "takes softmax over the 8 units of a, .* become 16"),
    "mean": (lambda net, x: net.o(net.a(x) - net.a(x).mean(-1, keepdim=True)), "takes mean over the 8 units of a"),
    "number": (lambda net, x: net.o(net.a(x).view(-1, 8)), "o does not run with more units .*mat1 and mat2"),
    "scale": (lambda net, x: net.o(net.a(x) / net.a(x).shape[-1]), r"o \(Linear\) answers otherwise"),
    "strange": (lambda net, x: net.o(torch.cdist(net.a(x), net.a(x)) @ net.a(x)), "calls .*cdist.* is not known"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_the_sentence_names_what_does_it(kind) -> None:
    run, sentence = REFUSED[kind]
    base = Functional(run, a=nn.Linear(6, 8), o=nn.Linear(8, 3))
    before = {name: value.clone() for name, value in base.state_dict().items()}
    with pytest.raises(ValueError, match=sentence):
        widen(base, 2, sample=torch.randn(4, 6))
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())


@pytest.mark.filterwarnings("ignore:Inhibition is an unstable feature")
def test_winner_takes_all_is_refused() -> None:
    base = nn.Sequential(nn.Linear(5, 8), leaky(inhibition=True), nn.Linear(8, 2))
    with pytest.raises(ValueError, match=r"1 \(Leaky\) .* over the 8 units of 0|1 \(Leaky\) answers otherwise"):
        widen(base, 2)


def maps(places: int, **settings) -> tuple[nn.Module, Tensor]:
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[places]
    head = nn.Linear(4 * 2**places, 3)
    return nn.Sequential(conv(2, 4, 2), leaky(**settings), nn.Flatten(), head), torch.randn(3, 2, *[3] * places)


@pytest.mark.parametrize("places", [1, 2, 3])
def test_deepening_behind_a_convolution(places) -> None:
    torch.manual_seed(0)
    base, x = maps(places)
    grown, _ = deepen(base, "1", init="preserving", sample=x)
    assert type(grown[2]) is type(base[0]) and tuple(grown[2].weight.shape[:2]) == (4, 4) and grown[2].weight[0, 0] > 0
    with torch.no_grad():
        wanted = OverTime(5)(base, x)
        assert torch.equal(wanted, OverTime(5)(grown, x)) and wanted.std() > 0


def test_deepening_behind_as_many_columns_as_channels() -> None:
    base, x = nn.Sequential(nn.Conv2d(2, 4, 3), leaky(), nn.Flatten(), nn.Linear(64, 3)), torch.randn(2, 2, 6, 6)
    assert isinstance(deepen(base, "1", sample=x).model[2], nn.Conv2d)


@pytest.mark.parametrize("kind", ["RLeaky", "one-to-one", "RLeaky over maps"])
def test_deepening_behind_recurrent_neurons(kind) -> None:
    from snntorch import RLeaky

    torch.manual_seed(0)
    x, more = torch.randn(3, 2, 4, 4), {"threshold": 0.1, "spike_grad": spike, "init_hidden": True}
    if kind == "RLeaky over maps":
        neuron, first, flat = RLeaky(0.9, conv2d_channels=4, kernel_size=3, **more), nn.Conv2d(2, 4, 3), nn.Flatten()
    else:
        inner = {"linear_features": 4} if kind == "RLeaky" else {"all_to_all": False, "V": torch.rand(4)}
        neuron, first, flat = RLeaky(0.9, **inner, **more), nn.Sequential(nn.Flatten(), nn.Linear(32, 4)), nn.Identity()
    base = nn.Sequential(first, neuron, flat, nn.Linear(16 if kind == "RLeaky over maps" else 4, 3))
    grown, _ = deepen(base, "1", init="preserving", sample=x)
    with torch.no_grad():
        wanted = OverTime(5)(base, x)
        assert torch.equal(wanted, OverTime(5)(grown, x)) and wanted.std() > 0


def test_deepening_behind_a_cell_that_holds_its_weights() -> None:
    from norse.torch import LIFRecurrentCell, SequentialState

    base, x = SequentialState(LIFRecurrentCell(6, 4), nn.Linear(4, 3)), torch.randn(3, 6)
    grown, weights = deepen(base, "0", sample=x)
    assert grown[2].input_weights.shape == grown[2].recurrent_weights.shape == (4, 4)
    assert OverTime(3)(grown, x).shape == (3, 3) and weights.slots["1.weight"].name == "3.weight"
    with pytest.raises(ValueError, match="LIFRecurrentCell passes no spike train through unchanged"):
        deepen(base, "0", sample=x, init="preserving")


def test_a_stacked_neuron_starts_anew_with_each_sequence() -> None:
    """What the second neuron of the layer holds from the last sequence is not met in the next one."""
    from snntorch import Leaky

    def run(net, x):
        mem, out = net.lif.reset_mem(), 0.0
        for _ in range(5):
            z, mem = net.lif(net.fc(x), mem)
            out = out + net.o(z)
        return out

    base = Functional(run, fc=nn.Linear(4, 3), lif=Leaky(0.9, threshold=0.2), o=nn.Linear(3, 2))
    grown, _ = deepen(base, "lif", sample=torch.randn(2, 4))
    x = torch.randn(2, 4)
    with torch.no_grad():
        first = grown(x)
        grown(5 * x)
        assert torch.equal(grown(x), first)


def test_functions_of_weights_are_followed() -> None:
    base = Functional(lambda net, x: F.linear(torch.tanh(net.a(x)), net.a.weight.t()), a=nn.Linear(6, 8))
    x = torch.randn(4, 6)
    grown, _ = widen(base, 2, init="preserving")
    preserved(base, grown, x)
    assert grown.a.weight.shape == (16, 6)
