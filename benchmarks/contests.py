"""Who is compared, under which convention, what differs all the same, and which ratio is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from trains import Size

from snn_plasticity import Convention

SMALL, SINGLE, LAYER, BATCH = Size(100, 100, 1), Size(1000, 1000, 1), Size(784, 256, 32), Size(1000, 1000, 32)
SIZES = (SMALL, SINGLE, LAYER, BATCH)


class Bar(NamedTuple):
    """The ratio asked for, and the one aimed at."""

    at_least: float
    aim: float

    def __str__(self) -> str:
        return f"{self.at_least:g}× / {self.aim:g}×"


class Most(NamedTuple):
    """The most µs per step that it may take, and the number aimed at."""

    at_most: float
    aim: float

    def __str__(self) -> str:
        return f"≤ {self.at_most:,g} µs (aim {self.aim:,g})"


class Contest(NamedTuple):
    """One learning rule of one simulator.

    `convention` is the one under which this library gives the same numbers; a rule of two factors is compared with
    an eligibility that lasts one step, and timed against one that lasts 200. `bars` are for an episode, `each_step` for
    a weight that is current after every step.
    """

    title: str
    simulator: str
    function: str
    convention: Convention
    differs: str
    bars: dict[Size, Bar]
    factors: int = 3
    each_step: dict[Size, Bar] = {SMALL: Bar(2, 4)}

    @property
    def module(self) -> str:
        """The room where it is played."""
        return f"{self.simulator}_rules"


def _two_factors(**choices: str) -> Convention:
    return Convention(eligibility_decay="euler", coincidence="both", reduction="sum", **choices)


_small = {SMALL: Bar(10, 20)}
_trace_by_hand = _small | {SINGLE: Bar(100, 250), BATCH: Bar(300, 1000)}

CONTESTS = (
    Contest(
        "SpikingJelly MSTDPET",
        "spikingjelly",
        "mstdpet",
        Convention.preset("spikingjelly"),
        "reward meets e(t−1); e is divided by τ_e; no batch: one learner for each sample, their changes summed",
        _small | {SINGLE: Bar(150, 400)},
    ),
    Contest(
        "SpikingJelly STDP",
        "spikingjelly",
        "stdp",
        _two_factors(spike_trace_decay="euler"),
        "two factors; Euler spike traces; sum over the batch",
        _small,
        factors=2,
    ),
    Contest(
        "BindsNET MSTDPET",
        "bindsnet",
        "mstdpet",
        Convention.preset("bindsnet"),
        "reward meets e(t−1); e is divided by τ_e; sum over the batch",
        _trace_by_hand,
    ),
    Contest(
        "inferno MSTDPET",
        "inferno",
        "mstdpet",
        Convention.preset("inferno"),
        "e is divided by τ_e; two eligibilities, one for each order of spikes; sum over the batch",
        _small | {SINGLE: Bar(250, 800)},
    ),
    Contest(
        "snnTorch + trace by hand",
        "snntorch",
        "mstdpet",
        Convention.preset("snntorch"),
        "`mstdpet` (B = 1) or `mstdp` gives f; decay of e and reward are the user's lines; sum over the batch",
        _trace_by_hand,
    ),
    Contest(
        "snnTorch STDP",
        "snntorch",
        "stdp",
        _two_factors(spike_trace_decay="euler"),
        "two factors; Euler spike traces; sum over the batch",
        _small,
        factors=2,
    ),
    Contest(
        "Norse STDP",
        "norse",
        "stdp",
        replace(Convention.preset("norse"), eligibility_decay="euler"),
        "two factors, never a tensor per sample; Euler spike traces that grow by dt/τ; sum over the batch",
        _small | {LAYER: Bar(3, 10)},
        factors=2,
        each_step={SMALL: Bar(2, 4), LAYER: Bar(1, 2)},
    ),
)
