"""widen and deepen: the base lies in the motivated net, and computes in it what it computed before."""

from __future__ import annotations

import pytest
import torch
from test_dual_nets import RUN, HandWritten, bits, norse_net, same, seeded, snntorch_net
from torch import nn

from snn_plasticity.dual import OverTime, deepen, widen
from snn_plasticity.dual.growth.relay import relay_gains
from snn_plasticity.dual.nets import tensors_of


def spikes_of(net: nn.Module, x: torch.Tensor, steps: int = 12) -> torch.Tensor:
    """What the output neurons do, step by step."""
    seen = []
    handle = list(net.children())[-1].register_forward_hook(
        lambda m, a, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    OverTime(steps)(net.eval(), x)
    handle.remove()
    return torch.stack(seen)


@pytest.mark.parametrize("place", ["first", "spread"])
@pytest.mark.parametrize("build", [snntorch_net, norse_net])
def test_widening_preserves_every_spike(build, place) -> None:
    base, x = seeded(build), torch.rand(9, 4) * 2
    motivated, _ = widen(base, 3, init="preserving", place=place)
    before, after = spikes_of(base, x), spikes_of(motivated, x)
    assert 0 < before.sum() < before.numel()
    assert torch.equal(before, after)
    fresh = spikes_of(widen(base, 3, init="fresh", place=place).model, x)
    assert not torch.equal(before, fresh)


@pytest.mark.parametrize("place", ["first", "spread"])
def test_hand_written_nets_with_convolutions_and_recurrence(place) -> None:
    base, x = seeded(HandWritten).eval(), torch.randn(3, 1, 6, 6)
    motivated, _ = widen(base, 2, init="preserving", place=place, sample=x)
    out = base(x), motivated(x)
    hidden = [tuple(range(2)), tuple(range(4))] if place == "first" else [(0, 2), (0, 2, 4, 6)]
    assert torch.equal(*out) and out[0].sum() > 0
    for layer, units in enumerate(hidden):
        mine, theirs = torch.stack(base.spikes[layer]), torch.stack(motivated.spikes[layer])
        assert torch.equal(mine, theirs[:, :, list(units)])
        assert 0 < mine.sum() < mine.numel()
    assert motivated.lif2.recurrent.weight.shape == (8, 8) and motivated.fc1.in_features == 16


def test_constants_of_single_neurons_are_widened_too() -> None:
    cell = widen(seeded(norse_net), {"0": 7}).model[0]
    assert cell.p.v_th.shape == (7,) and int(cell.hidden_size) == 7
    assert bool((cell.recurrent_weights.diag() == 0).all())


def test_fresh_weights_are_seeded_and_leave_the_global_numbers_alone() -> None:
    base = seeded(snntorch_net)
    state = torch.get_rng_state()
    one, two, three = (bits(widen(base, 2, seed=seed).model) for seed in (1, 1, 2))
    assert same(one, two) and not same(one, three)
    assert torch.equal(state, torch.get_rng_state())


def test_the_base_is_untouched_even_in_mid_sequence() -> None:
    base = seeded(snntorch_net)
    base(torch.rand(5, 4))
    before, membrane = bits(base), base[2].mem
    widen(base, 2)
    deepen(base, "2")
    assert same(before, bits(base)) and base[2].mem is membrane


@pytest.mark.parametrize("after", ["2", "4"])
def test_deepening_a_sequential_preserves_every_spike(after) -> None:
    base, x = seeded(snntorch_net), torch.rand(9, 4) * 2
    motivated, weights = deepen(base, after, init="preserving")
    before = spikes_of(base, x)
    assert 0 < before.sum() < before.numel()
    assert torch.equal(before, spikes_of(motivated, x))
    assert set(weights.slots) == set(tensors_of(base))


def test_deepening_norse_and_hand_written_nets() -> None:
    from norse.torch import LIFBoxCell, LIFBoxParameters, SequentialState

    p = LIFBoxParameters(v_th=torch.tensor(0.02))
    base = SequentialState(nn.Linear(4, 3), LIFBoxCell(p), nn.Linear(3, 2), LIFBoxCell(p))
    x = torch.rand(9, 4)
    assert torch.equal(spikes_of(base, x), spikes_of(deepen(base, "1", init="preserving").model, x))

    class Own(nn.Module):
        def __init__(self) -> None:
            from snntorch import Leaky

            super().__init__()
            self.fc1, self.lif1, self.fc2 = nn.Linear(4, 3), Leaky(0.9), nn.Linear(3, 2)

        def forward(self, x):
            mem, out = self.lif1.reset_mem(), 0.0
            for _ in range(12):
                z, mem = self.lif1(self.fc1(x), mem)
                out = out + self.fc2(z)
            return out

    own, large = Own(), deepen(Own(), "lif1", init="preserving")
    large.weights.copy_up(own, large.model)
    assert torch.equal(own(2 * x), large.model(2 * x))
    assert large.weights.slots["lif1.beta"].name == "lif1.first.beta"


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99])
def test_the_relay_passes_long_spike_trains(beta) -> None:
    from snntorch import Leaky

    neuron, gain = Leaky(beta, reset_mechanism="subtract"), relay_gains(Leaky(beta), 8)
    train = (torch.rand(2000, 8) < 0.5).float()
    mem = neuron.reset_mem()
    for x in train:
        z, mem = neuron(gain * x, mem)
        assert torch.equal(z, x)
    assert bool((gain < 2.0).all())


def test_what_cannot_grow_is_refused() -> None:
    from norse.torch import LIFCell, SequentialState

    base = seeded(snntorch_net)
    slow = SequentialState(nn.Linear(4, 3), LIFCell(), nn.Linear(3, 2))
    with pytest.raises(ValueError, match="expected a factor > 1"):
        widen(base, 1)
    with pytest.raises(ValueError, match="'9'; the layers are 0, 3"):
        widen(base, {"9": 5})
    with pytest.raises(ValueError, match="would get 2"):
        widen(base, {"0": 2})
    with pytest.raises(ValueError, match="expected a neuron: 2, 4"):
        deepen(base, "0")
    with pytest.raises(ValueError, match="LIFCell passes no spike train through unchanged"):
        deepen(slow, "1", init="preserving")
    with pytest.raises(ValueError, match="give one with sample="):
        widen(nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)), 2)
    with pytest.raises(ValueError, match="init = 'old'"):
        widen(base, 2, init="old")


def normed(norm: nn.Module, before: nn.Module | None = None, after: nn.Module | None = None) -> nn.Module:
    """Six channels of three values, normalised between synapse and neuron."""
    from snntorch import Leaky

    def neuron() -> nn.Module:
        return Leaky(0.5, threshold=0.2, init_hidden=True)

    parts = [before, nn.Conv1d(2, 6, 3), norm, neuron(), nn.Flatten(), nn.Linear(18, 2), after, neuron()]
    return nn.Sequential(*[part for part in parts if part is not None])


MIXING = [
    nn.LayerNorm((6, 3)),
    nn.LayerNorm((6, 3), elementwise_affine=False),
    nn.GroupNorm(1, 6),
    nn.GroupNorm(1, 6, affine=False),
    nn.LocalResponseNorm(2),
    nn.RMSNorm((6, 3)),
]


@pytest.mark.parametrize("norm", MIXING, ids=repr)
def test_norms_that_mix_units_are_refused_where_those_become_more(norm) -> None:
    kind, x = type(norm).__name__, torch.randn(4, 2, 5)
    with pytest.raises(
        ValueError, match=f"1 is a {kind} over the 6 units of 0, which would become 12; expected a norm"
    ):
        widen(normed(norm), 2, sample=x)
    with pytest.raises(ValueError, match=r"keep its size: name other layers in sizes\."):
        widen(normed(norm), {"0": 7}, sample=x)
    readout = widen(normed(norm), {"4": 3}, sample=x, init="preserving").model
    assert readout[4].weight.shape == (3, 18)


def test_norms_over_anything_but_wider_units_are_no_trouble() -> None:
    torch.manual_seed(0)
    base, x = normed(nn.LayerNorm(3), before=nn.LayerNorm(5), after=nn.LayerNorm(2)), torch.randn(9, 2, 5)
    before = spikes_of(base, x)
    assert 0 < before.sum() < before.numel()
    assert torch.equal(before, spikes_of(widen(base, 2, sample=x, init="preserving").model, x))


@pytest.mark.parametrize("slopes", [1, 6])
@pytest.mark.parametrize("place", ["first", "spread"])
def test_slopes_by_channel_are_widened_with_their_channels(slopes, place) -> None:
    torch.manual_seed(0)
    base, x = normed(nn.PReLU(slopes)), torch.randn(9, 2, 5)
    nn.init.uniform_(base[1].weight)
    before, motivated = spikes_of(base, x), widen(base, 2, sample=x, init="preserving", place=place).model
    assert 0 < before.sum() < before.numel()
    assert torch.equal(before, spikes_of(motivated, x))
    assert motivated[1].num_parameters == len(motivated[1].weight) == (12 if slopes == 6 else 1)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.InstanceNorm1d])
@pytest.mark.parametrize("place", ["first", "spread"])
def test_norms_by_channel_are_widened_with_their_channels(norm, place) -> None:
    torch.manual_seed(0)
    base, x = normed(norm(6, affine=True, track_running_stats=True)), torch.randn(9, 2, 5)
    nn.init.uniform_(base[1].weight), nn.init.uniform_(base[1].running_mean)
    before, (motivated, weights) = spikes_of(base, x), widen(base, 2, sample=x, init="preserving", place=place)
    assert 0 < before.sum() < before.numel()
    assert torch.equal(before, spikes_of(motivated, x))
    assert motivated[1].num_features == 12 and weights.slots["1.weight"] == weights.slots["1.bias"]._replace(
        name="1.weight"
    )


def test_grown_nets_run_and_learn() -> None:
    for build in (snntorch_net, norse_net):
        for place in ("first", "spread"):
            net = widen(seeded(build), 2, place=place).model
            RUN(net, torch.rand(5, 4)).sum().backward()
            assert all(p.grad is not None for p in net.parameters())


def test_growth_keeps_the_precision_of_the_base() -> None:
    """In double precision too, and without a sample."""
    base, x = seeded(norse_net).double(), torch.rand(9, 4, dtype=torch.float64) * 2
    for motivated, _ in (widen(base, 2, init="preserving"), deepen(base, "2", init="preserving")):
        assert {p.dtype for p in motivated.parameters()} == {torch.float64}
        assert torch.equal(spikes_of(base, x), spikes_of(motivated, x))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("place", ["first", "spread"])
def test_group_norm_gets_whole_groups(affine, place) -> None:
    torch.manual_seed(0)
    base, x = normed(nn.GroupNorm(2, 6, affine=affine)), torch.randn(9, 2, 5)
    motivated = widen(base, 2, sample=x, init="preserving", place=place).model
    before = spikes_of(base, x)
    assert 0 < before.sum() < before.numel()
    assert torch.equal(before, spikes_of(motivated, x))
    assert (motivated[1].num_groups, motivated[1].num_channels) == (4, 12)
    with pytest.raises(ValueError, match="asks for 8, expected a multiple of 3"):
        widen(base, {"0": 8}, sample=x)
