"""Promises of a rule that learns from a loss: a small net of snnTorch, plugged into by `attach`."""

from __future__ import annotations

import importlib
import io
import warnings
from dataclasses import replace
from typing import Any

import torch

from ...config import PlasticityConfig
from ...hosts import attach
from ...learner import PlasticityLearner


class Net(torch.nn.Module):
    """Two layers, drawn alike each time."""

    def __init__(self) -> None:
        super().__init__()
        snn: Any = importlib.import_module("snntorch")
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            self.fc1, self.fc2 = torch.nn.Linear(12, 10), torch.nn.Linear(10, 3)
        self.lif1, self.lif2 = snn.Leaky(beta=0.9, threshold=0.3), snn.Leaky(beta=0.9, threshold=0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(T, B, 12) -> membranes of the readout (T, B, 3)."""
        mem1, mem2, seen = self.lif1.init_leaky(), self.lif2.init_leaky(), []
        for now in x:
            spikes, mem1 = self.lif1(self.fc1(now), mem1)
            _, mem2 = self.lif2(self.fc2(spikes), mem2)
            seen.append(mem2)
        return torch.stack(seen)

    def weights(self) -> torch.Tensor:
        """All of them, as one vector."""
        return torch.cat([p.detach().flatten() for p in self.parameters()])


def examples() -> tuple[torch.Tensor, torch.Tensor]:
    """A constant current for ten steps (T, B, 12), and what it is (B,); the same at each call."""
    rng = torch.Generator().manual_seed(0)
    return torch.rand(4, 12, generator=rng).expand(10, -1, -1), torch.tensor([0, 1, 2, 1])


def taught(net: Net, learner: PlasticityLearner, *, of: slice = slice(None), weight: float = 1.0) -> torch.Tensor:
    """What one sequence changes in the net; for these samples, with a loss that is summed over them."""
    x, y = examples()
    before = net.weights()
    for p in net.parameters():
        p.grad = None
    loss = torch.nn.functional.cross_entropy(net(x[:, of]).sum(0), y[of], reduction="sum")
    learner.step(loss=weight * loss)
    learner.reset()
    hybrid = torch.cat([(torch.zeros_like(p) if p.grad is None else -p.grad).flatten() for p in net.parameters()])
    return net.weights() - before + hybrid


def new_pupil(config: PlasticityConfig) -> tuple[Net, PlasticityLearner]:
    """A net, and what makes all its layers learn."""
    net, everywhere = Net(), replace(config.three_factor, target_layers="all_eligible")
    return net, attach(net, replace(config, three_factor=everywhere), sample=torch.zeros(1, 1, 12))


def without_a_loss_nothing_changes(config: PlasticityConfig) -> None:
    """A loss of zero changes no weight by one bit, a loss does."""
    neutral = replace(config, three_factor=replace(config.three_factor, firing_rate=None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing is learned is what is asked for
        still = taught(*new_pupil(neutral), weight=0.0)
    moved = taught(*new_pupil(neutral))
    print(f"a loss moves {int((moved != 0).sum())} of {moved.numel()} weights, no loss {int((still != 0).sum())}")
    assert not still.any() and moved.any()


def the_same_loss_gives_the_same_bits(config: PlasticityConfig) -> None:
    """The same inputs and the same loss give the same change, bit for bit."""
    runs = [taught(*new_pupil(config)) for _ in range(3)]
    equal = sum(torch.equal(one, runs[0]) for one in runs)
    print(f"{equal} of 3 runs are bit-identical")
    assert equal == 3


def a_batch_is_the_sum_of_its_samples(config: PlasticityConfig) -> None:
    """The change of a batch, whose loss is a sum, is the sum of the changes of its samples."""
    free = replace(config.three_factor, weight_clamp=None, weight_bounds=None, soft_bounds=None, firing_rate=None)
    config = replace(config, three_factor=free)
    together = taught(*new_pupil(config))
    alone = torch.stack([taught(*new_pupil(config), of=slice(b, b + 1)) for b in range(4)]).sum(0)
    worst = float((together - alone).abs().max() / together.abs().max().clamp(min=1e-9))
    print(f"largest difference {worst:.1e} of the largest change")
    assert worst < 1e-3


def changes_stay_finite(config: PlasticityConfig) -> None:
    """Twenty sequences with a loss that is a hundred times too large leave finite weights."""
    net, learner = new_pupil(config)
    changes = torch.stack([taught(net, learner, weight=100.0) for _ in range(20)])
    print(f"largest change {float(changes.abs().max()):.3g}")
    assert bool(torch.isfinite(changes).all()) and bool(torch.isfinite(net.weights()).all())


def saved_learning_goes_on_where_it_was(config: PlasticityConfig) -> None:
    """A net and its learner that are saved, loaded and go on give the same bits as those that never stopped."""
    (net, learner), (other, loaded), file = new_pupil(config), new_pupil(config), io.BytesIO()
    taught(net, learner)
    torch.save((net.state_dict(), learner.state_dict()), file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    other.load_state_dict(weights)
    loaded.load_state_dict(state)
    on, again = taught(net, learner), taught(other, loaded)
    print(f"largest difference {float((on - again).abs().max()):g}")
    assert torch.equal(on, again)


LOSS_PROMISES = (
    without_a_loss_nothing_changes,
    the_same_loss_gives_the_same_bits,
    a_batch_is_the_sum_of_its_samples,
    changes_stay_finite,
    saved_learning_goes_on_where_it_was,
)
