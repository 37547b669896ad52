"""Records and explanations on a device: what they hold against the CPU, that nothing changes, what it costs."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import NamedTuple

import small_nets
import torch
from gpu_contests import seconds
from torch import Tensor

from snn_plasticity import PlasticityConfig, PlasticityLearner, attach

N, BATCH, ROUNDS = 64, 4, 15
ALLOWED, LEDGER = 1e-4, 1e-6  # CPU against device, relative and absolute; rows of an explanation against Δw


class Found(NamedTuple):
    """Of one host: the worst difference of each kind, and seconds of a step without and with a record."""

    host: str
    same_bits: bool
    against_cpu: float
    ledger: float
    plain: float
    recorded: float

    @property
    def kept(self) -> bool:
        """Whether the record is true and free of consequences."""
        return self.same_bits and self.against_cpu <= ALLOWED and self.ledger <= LEDGER

    def told(self) -> str:
        """A sentence."""
        bits = "same bits" if self.same_bits else "OTHER BITS"
        return (
            f"{self.host}: {bits} with and without a record, {self.against_cpu:.0e} from the CPU's, rows of an "
            f"explanation within {self.ledger:.0e} of Δw, {self.recorded / self.plain - 1:+.1%} of a step's time"
        )


def player(host: str, device: str, *, recorded: bool) -> tuple[Callable[[], None], list[Tensor], PlasticityLearner]:
    """What plays the trains once with a reward at every step and forgets; its weights and learner."""
    net, (trains, rewards) = small_nets.network(host, N), small_nets.inputs(N, BATCH)
    net.model.to(device)
    learner = attach(net.model, PlasticityConfig.minimal())
    if recorded:
        learner.record()
    trains, rewards = trains.to(device), rewards.to(device)

    @torch.no_grad()
    def play() -> None:
        net.restart()
        for pre, reward in zip(trains, rewards, strict=True):
            net.step(pre)
            learner.step(reward=reward)
        learner.reset()

    return play, [layer.weight for layer in small_nets.linears(net)], learner


def measured(host: str, device: str) -> Found:
    """Play on the CPU and on the device, recorded and not."""
    play, _, on_cpu = player(host, "cpu", recorded=True)
    play()
    plain, weights, _unrecorded = player(host, device, recorded=False)
    recorded, twins, learner = player(host, device, recorded=True)
    for one in (plain, recorded):
        one()
    apart, ledger = _apart(learner.recorder.to_dict(), on_cpu.recorder.to_dict()), _ledger(learner)
    times = [[seconds(one, device) / small_nets.STEPS for one in (plain, recorded)] for _ in range(ROUNDS)]
    costs = [statistics.median(side) for side in zip(*times, strict=True)]
    return Found(host, all(map(torch.equal, weights, twins)), apart, ledger, *costs)


def _apart(found: dict, expected: dict) -> float:
    """The largest difference, in parts of one and of what was expected."""
    if found.keys() != expected.keys() or any(found[key].shape != expected[key].shape for key in found):
        return float("inf")
    pairs = ((torch.as_tensor(found[key]).double(), torch.as_tensor(expected[key]).double()) for key in found)
    far = [((a - b).abs() / (1.0 + b.abs())).nan_to_num(0.0) for a, b in pairs if a.numel()]
    return max(float(one.max()) for one in far)


def _ledger(learner: PlasticityLearner) -> float:
    """The largest distance between the rows of an explanation and what the weight did."""
    chosen = learner.recorder.synapses
    why = [learner.explain(name, *index) for name, indices in chosen.items() for index in indices]
    assert any(one.measured for one in why), "no weight moved"
    return max(abs(one.difference) for one in why)


def all_hosts(device: str) -> list[Found]:
    """One line for each host."""
    return [measured(host, device) for host in small_nets.HOSTS]
