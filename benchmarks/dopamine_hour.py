"""An hour of dopamine: what one core needs for the distal reward problem (Izhikevich 2007), learning and neurons apart.

    python benchmarks/dopamine_hour.py [--quick] [--json PATH] [--minutes MINUTES]

One network of 1000 of Norse's Izhikevich neurons with 100,000 synapses, of which the 80,000 excitatory ones learn, in
steps of 1 ms, the weights current every 10 ms, as in the published program; rewards come at random, about every 20 s.
A slice of simulated time is run on one thread, in CPU time, and an hour is reckoned from it: what a step costs does not
change with the hour, as long as the rates do not. In the first second e is held against the library's plain path.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from typing import NamedTuple

import results
import torch
from command import parser
from effort import TOLERANCE
from norse.torch.functional.izhikevich import IzhikevichParameters, IzhikevichState, izhikevich_feed_forward_step
from timing import one_thread
from torch import Tensor
from tqdm import tqdm

from snn_plasticity import (
    Connection,
    Convention,
    EligibilityConfig,
    NeuromodConfig,
    NeuromodulatoryGate,
    PlasticityConfig,
    PlasticityLearner,
    PlasticityWarning,
    SparseLinear,
    ThreeFactorConfig,
)

NEURONS, EXCITATORY, FAN_OUT, BLOCK = 1000, 800, 100, 10
PLASTIC = EXCITATORY * FAN_OUT
SECOND = 1000 // BLOCK
PARTS = ("neurons", "learning")
HEADER = ("part", "µs per ms", "seconds per biological hour", "asked")
ASKED = {"learning": "≤ 60 s (aim 30 s)", "whole": "≤ 650 s (aim 600 s)"}
TEXT = """## An hour of dopamine

The distal reward problem (Izhikevich 2007): 1000 Izhikevich neurons of Norse, 80,000 plastic edges of 100,000, nearest
pairs, τ_e = 1 s, weights current every 10 ms, one core. *Neurons*: noise, synaptic currents and Norse's two half steps
a millisecond. *Learning*: eligibility, dopamine and weights. *Asked*: the most that it may be, and the aim.
"""


class Network:
    """The population as published: regular spiking and fast spiking neurons, spikes that take a millisecond."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        reach = [NEURONS] * EXCITATORY + [EXCITATORY] * (NEURONS - EXCITATORY)
        targets = torch.cat([torch.randperm(n, generator=generator)[:FAN_OUT] for n in reach])
        edges = torch.stack((torch.arange(NEURONS).repeat_interleave(FAN_OUT), targets))
        inhibiting = edges[:, PLASTIC:] - torch.tensor([[EXCITATORY], [0]])
        self.excitatory = SparseLinear(EXCITATORY, NEURONS, edges[:, :PLASTIC], bias=False)
        self.inhibitory = SparseLinear(NEURONS - EXCITATORY, NEURONS, inhibiting, bias=False)
        torch.nn.init.constant_(self.excitatory.weight, 1.0)
        torch.nn.init.constant_(self.inhibitory.weight, -1.0)
        excitatory = torch.arange(NEURONS) < EXCITATORY
        self.parameters = IzhikevichParameters(
            a=torch.where(excitatory, 0.02, 0.1), b=0.2, c=-65.0, d=torch.where(excitatory, 8.0, 2.0), tau_inv=1000.0,
            method="heaviside",
        )  # type: ignore[arg-type]  # fmt: skip
        self.state = IzhikevichState(torch.full((1, NEURONS), -65.0), torch.full((1, NEURONS), -13.0))
        self.spikes = torch.zeros(1, NEURONS)

    def step(self) -> Tensor:
        """Spikes (1, N) of the next millisecond."""
        current = 13.0 * (torch.rand(1, NEURONS, generator=self.generator) - 0.5)
        current += self.excitatory(self.spikes[:, :EXCITATORY]) + self.inhibitory(self.spikes[:, EXCITATORY:])
        first, state = izhikevich_feed_forward_step(current, self.state, self.parameters, dt=0.0005)
        second, self.state = izhikevich_feed_forward_step(current, state, self.parameters, dt=0.0005)
        self.spikes = first + second
        return self.spikes


class Learning:
    """e, dopamine and the weights of the plastic synapses, a block of milliseconds at a time."""

    def __init__(self, layer: SparseLinear, path: str = "auto") -> None:
        rule = EligibilityConfig(
            kernel="stdp_pair", tau_e=1000.0, a_plus=0.1, a_minus=0.15 / 0.95, clamp_range=None,
            convention=Convention.preset("izhikevich2007"),
        )  # fmt: skip
        bounded = ThreeFactorConfig(lr=BLOCK / 10, weight_clamp=None, weight_bounds=(0.0, 4.0))
        dopamine = NeuromodConfig(da_scale=math.atanh(0.5), da_tau=200.0, da_baseline=0.002, dt=float(BLOCK))
        config = PlasticityConfig(rule, three_factor=bounded)
        self.synapses = Connection("excitatory", layer, config=config, path=path)
        self.learner = PlasticityLearner([self.synapses], NeuromodulatoryGate(dopamine))

    def block(self, arriving: Tensor, spikes: Tensor, reward: float) -> None:
        """Past spikes that arrive, (T, 1, 800), and spikes that leave, (T, 1, 1000)."""
        self.synapses.observe_sequence(arriving, spikes, new_sequence=False)
        self.learner.step(reward=reward)


class Run(NamedTuple):
    """What a slice of simulated time came to."""

    seconds: int
    cpu: dict[str, float]  # seconds of CPU time
    rates: tuple[float, float]  # Hz: excitatory, inhibitory
    difference: float  # of e from the plain path, after the first second

    def per_ms(self, part: str) -> float:
        """Seconds of CPU time for a millisecond."""
        spent = sum(self.cpu.values()) if part == "whole" else self.cpu[part]
        return spent / (1000 * self.seconds)


@torch.no_grad()
def live(seconds: int) -> Run:
    """A second to warm up and to be checked, then so many that count."""
    network = Network(torch.Generator().manual_seed(0))
    learning, plain = Learning(network.excitatory), Learning(copy.deepcopy(network.excitatory), path="plain")
    warnings.simplefilter("ignore", PlasticityWarning)  # at first nobody fires, and nothing is learned
    chance = torch.Generator().manual_seed(1)
    cpu, counts, difference = dict.fromkeys(PARTS, 0.0), torch.zeros(NEURONS), 0.0
    for block in tqdm(range((1 + seconds) * SECOND), desc="dopamine", unit="block", mininterval=1.0):
        before, begin = network.spikes, time.process_time()
        spikes = torch.stack([network.step() for _ in range(BLOCK)])
        neurons = time.process_time() - begin
        arriving = torch.cat((before.unsqueeze(0), spikes[:-1]))[..., :EXCITATORY]
        reward = float(torch.rand((), generator=chance) < BLOCK / 20_000)
        middle = time.process_time()
        learning.block(arriving, spikes, reward)
        end = time.process_time()
        if block < SECOND:
            plain.block(arriving, spikes, reward)
            difference = _difference(learning.synapses, plain.synapses)
            continue
        cpu["neurons"] += neurons
        cpu["learning"] += end - middle
        counts += spikes.sum((0, 1))
    rates = counts / seconds
    both = float(rates[:EXCITATORY].mean()), float(rates[EXCITATORY:].mean())
    return Run(seconds, cpu, both, difference)


def _difference(ours: Connection, plain: Connection) -> float:
    e, expected = ours.eligibility, plain.eligibility
    assert e is not None and expected is not None
    return float((e - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--minutes", type=float, default=1.0, help="of simulated time that are run (default: 1)")
    options = arguments.parse_args()
    one_thread()
    run = live(2 if options.quick else max(1, round(60 * options.minutes)))
    micros = {part: run.per_ms(part) for part in (*PARTS, "whole")}
    rows = [[part, results.micro(s), f"{3.6e6 * s:,.0f}", ASKED.get(part, "")] for part, s in micros.items()]
    said = (
        f"An hour is reckoned from {run.seconds} s of it. Excitatory neurons fire at {run.rates[0]:.1f} Hz,\n"
        f"inhibitory ones at {run.rates[1]:.1f} Hz. e agrees with the plain path to {run.difference:.0e}."
    )
    text = "\n\n".join([TEXT.strip(), results.machine(), results.table(HEADER, rows), said])
    print(text)
    if not options.quick:
        results.write("dopamine_hour", text)
    results.write_json(options.json, "dopamine_hour", [run._asdict()])
    if not run.difference <= TOLERANCE:
        raise SystemExit(f"e differs from the plain path by {run.difference:.0e} of its largest value.")


if __name__ == "__main__":
    main()
