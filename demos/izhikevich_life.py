"""The experiment: two networks live side by side, and in one of them a synapse is paid for what it did seconds ago.

n1 fires, then n2 within 20 ms ─► 1 to 3 s later ─► reward ─► dopamine, at every synapse of the first network
                                                         └─► its average so far, at every synapse of the second
"""

from __future__ import annotations

import time
import warnings
from typing import NamedTuple

import torch
from izhikevich_network import BLOCK, EXCITATORY, NEURONS, Learning, Networks
from torch import Tensor
from tqdm import tqdm

from snn_plasticity import PlasticityWarning

N1 = 0  # a neuron; n2 is where the first of its synapses ends
WITHIN = 20  # ms from n1 to n2; the published program says 20, the text 10
LATE = (1000, 3001)  # ms to the reward
SECOND = 1000 // BLOCK
QUANTILES = torch.tensor((0.01, 0.1, 0.5, 0.9, 0.99))


class Experimenter:
    """Watches n1 and n2 of the first network, and pays late."""

    def __init__(self, n2: int, generator: torch.Generator) -> None:
        self.pair, self.generator, self.last = [N1, n2], generator, -WITHIN
        self.coincidences: list[int] = []  # ms
        self.due: list[int] = []
        self.paid: list[int] = []

    def watch(self, spikes: Tensor, start: int) -> None:
        """A block (T, B, N) that began at `start` ms."""
        for step, which in spikes[:, 0, self.pair].nonzero().tolist():
            if which == 0:
                self.last = start + step
            elif 0 < start + step - self.last < WITHIN:
                self.coincidences.append(start + step)
                self.due.append(start + step + int(torch.randint(*LATE, (), generator=self.generator)))

    def pay(self, end: int) -> float:
        """How many rewards fall due before `end`."""
        now = [when for when in self.due if when < end]
        self.due = [when for when in self.due if when >= end]
        self.paid += now
        return float(len(now))


class Clock:
    """CPU time of the parts of the run."""

    def __init__(self) -> None:
        self.total, self.last = {"neurons": 0.0, "learning": 0.0, "": 0.0}, time.process_time()

    def charge(self, part: str = "") -> None:
        """What went by since the last call was spent on this."""
        now = time.process_time()
        self.total[part] += now - self.last
        self.last = now

    def micros(self, steps: int) -> dict[str, float]:
        """µs of a step."""
        return {part: 1e6 * self.total[part] / steps for part in ("neurons", "learning")}


class Record(NamedTuple):
    """What happened in S seconds to B = 2 networks, rewarded and control."""

    watched: Tensor  # (S, B) weight of n1 → n2
    others: Tensor  # (S, 5) quantiles of the excitatory weights of the rewarded network
    rank: Tensor  # (S, B) share of the excitatory synapses that are weaker than n1 → n2
    weights: Tensor  # (B, 80000) at the end
    rewards: list[int]  # ms
    film: Tensor  # (1000, N) spikes of the last second with a coincidence, in the rewarded network
    coincidence: int  # when it was, ms into the film; -1 if there was none
    pair: tuple[int, int]  # n1, n2
    rates: tuple[float, float]  # Hz: excitatory, inhibitory
    micros: dict[str, float]  # µs of CPU time for one millisecond of both networks


class Diary:
    """Keeps what is to be shown."""

    def __init__(self, networks: Networks, edge: int, experimenter: Experimenter) -> None:
        self.networks, self.edge, self.experimenter = networks, edge, experimenter
        self.watched: list[Tensor] = []
        self.others: list[Tensor] = []
        self.rank: list[Tensor] = []
        self.film, self.coincidence = torch.zeros(1000, NEURONS), -1
        self.counts, self.seen = torch.zeros(NEURONS), 0

    def second(self, spikes: Tensor, start: int) -> None:
        """The end of a second that began at `start` ms, spikes (1000, N)."""
        weights, coincidences = self.networks.plastic, self.experimenter.coincidences
        watched = weights[:, self.edge].clone()
        self.watched.append(watched)
        self.others.append(torch.quantile(weights[0], QUANTILES))
        self.rank.append((weights < watched.unsqueeze(1)).float().mean(1))
        self.counts += spikes.sum(0)
        if len(coincidences) > self.seen or not start:
            self.film, self.coincidence = spikes, (coincidences[-1] - start if coincidences else -1)
        self.seen = len(coincidences)

    def record(self, clock: Clock) -> Record:
        """All of it."""
        seconds = len(self.watched)
        rates = self.counts / seconds
        return Record(
            *(torch.stack(rows) for rows in (self.watched, self.others, self.rank)),
            self.networks.plastic.clone(),
            self.experimenter.paid,
            self.film,
            self.coincidence,
            (self.experimenter.pair[0], self.experimenter.pair[1]),
            (float(rates[:EXCITATORY].mean()), float(rates[EXCITATORY:].mean())),
            clock.micros(1000 * seconds),
        )


def live(seconds: int, tau_e: float, seed: int, bar: tqdm) -> Record:
    """Both networks, a block of milliseconds at a time."""
    generator = torch.Generator().manual_seed(seed)
    networks = Networks(2, generator)
    edge = int((networks.edges[0] == N1).nonzero()[0])
    networks.plastic[:, edge] = 0.0
    learning = Learning(networks, tau_e)
    experimenter = Experimenter(int(networks.edges[1, edge]), generator)
    diary, clock, film = Diary(networks, edge, experimenter), Clock(), []
    warnings.simplefilter(
        "ignore", PlasticityWarning
    )  # in the first milliseconds nobody fires, so that nothing is learned
    for start in range(0, 1000 * seconds, BLOCK):
        before = networks.spikes
        spikes = torch.stack([networks.step() for _ in range(BLOCK)])
        clock.charge("neurons")
        experimenter.watch(spikes, start)
        reward = experimenter.pay(start + BLOCK)
        film.append(spikes[:, 0])
        clock.charge()
        arriving = torch.cat((before.unsqueeze(0), spikes[:-1]))[..., :EXCITATORY]  # a spike takes 1 ms
        learning.block(arriving, spikes, reward)
        clock.charge("learning")
        if len(film) == SECOND:
            diary.second(torch.cat(film), start + BLOCK - 1000)
            film = []
            bar.update()
        clock.charge()
    return diary.record(clock)
