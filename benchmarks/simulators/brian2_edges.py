"""Brian2 on a list of edges: reward-modulated STDP as its users write it, from equations.

    clock    c decays and w grows in every step, as in its examples after Izhikevich (2007)
    event    c decays only when a spike meets it; w grows when a reward comes, every 10 or 100 steps

Either runs through Cython or as a C++ program of its own ("standalone"). Start and compilation are not counted.
Spikes are given by a generator; there are no other neurons. float32, with which it is faster than with its default.
"""

from __future__ import annotations

import math
import resource
import tempfile
import time

import numpy as np
from trains import Rule, Trains

SPIKE_TRACES = """
dx/dt = -x / tau_plus : 1 (event-driven)
dy/dt = -y / tau_minus : 1 (event-driven)
w : 1
"""
COINCIDENCE = {
    "all": {"on_pre": "x += 1; c -= a_minus * y", "on_post": "y += 1; c += a_plus * x"},
    "nearest": {"on_pre": "x = 1; c -= a_minus * y", "on_post": "y = 1; c += a_plus * x"},
}
C = {"clock": "c : 1", "event": "dc/dt = -c / tau_e : 1 (event-driven)"}
LEARN = {
    "clock": "w += lr * reward(t) * c\nc *= d",
    "event": "w += lr * reward(t) * c * exp(-(t - lastupdate) / tau_e)",
}


def _network(brian2, trains: Trains, rule: Rule, idiom: str, every: int):
    """Generator and synapses with their reward; a round of it is as long as the trains."""
    ms, when, who = brian2.ms, *np.nonzero(trains.pre[:, 0])
    neurons = brian2.SpikeGeneratorGroup(trains.size.n_pre, who, when * ms, period=len(trains.pre) * ms)
    names = {"tau_plus": rule.tau_plus * ms, "tau_minus": rule.tau_minus * ms, "tau_e": rule.tau_e * ms}
    names |= {"a_plus": rule.a_plus, "a_minus": rule.a_minus, "lr": rule.lr, "d": math.exp(-1.0 / rule.tau_e)}
    names["reward"] = brian2.TimedArray(trains.reward[:, 0], dt=1 * ms)
    synapses = brian2.Synapses(neurons, neurons, SPIKE_TRACES + C[idiom], namespace=names, **COINCIDENCE[rule.pairing])
    synapses.connect(i=trains.edges[0], j=trains.edges[1])
    synapses.pre.order, synapses.post.order = 0, 1  # a pre and a post spike in one step potentiate
    synapses.run_regularly(LEARN[idiom], when="end", dt=every * ms)
    return brian2.Network(neurons, synapses), synapses


def _prepared(trains: Trains, rule: Rule, idiom: str, every: int):
    import brian2

    brian2.defaultclock.dt = 1 * brian2.ms
    brian2.prefs.core.default_float_dtype = np.float32
    brian2.prefs.logging.console_log_level = "ERROR"
    return brian2, *_network(brian2, trains, rule, idiom, every), len(trains.pre) * brian2.ms


class Cython:
    """Brian2's default: compiled code objects, one call of each per step."""

    def __init__(self, trains: Trains, rule: Rule, idiom: str, every: int = 1) -> None:
        self.brian2, self.network, self.synapses, self.length = _prepared(trains, rule, idiom, every)
        self.portion, self.clock = len(trains.pre), []

    def play(self, portions: int = 1) -> float:
        """A portion is one round of the trains; timed from the first step to the last by its own reports."""
        return sum(self._round() for _ in range(portions)) / (portions * self.portion)

    def play_all(self) -> None:
        """One round."""
        self._round()

    def change(self) -> np.ndarray:
        """Weights of the edges."""
        return np.asarray(self.synapses.w[:])

    def _round(self) -> float:
        self.clock.clear()
        self.network.run(self.length, report=self._report, report_period=1e6 * self.brian2.second)
        return self.clock[-1] - self.clock[0]

    def _report(self, elapsed, completed, start, duration) -> None:
        self.clock.append(time.process_time())


class Standalone:
    """A C++ program, compiled once and run anew for every round."""

    def __init__(self, trains: Trains, rule: Rule, idiom: str, every: int = 1) -> None:
        import brian2

        self.folder = tempfile.TemporaryDirectory()
        brian2.set_device("cpp_standalone", directory=self.folder.name, build_on_run=False)
        brian2, network, self.synapses, length = _prepared(trains, rule, idiom, every)
        network.run(length)
        self.device, self.portion = brian2.device, len(trains.pre)
        self.device.build(directory=self.folder.name, run=False, with_output=False)

    def play(self, portions: int = 1) -> float:
        """A portion is one round: the lesser of the CPU time of its program and of the time it reports itself."""
        return min(self._round() for _ in range(portions)) / self.portion

    def play_all(self) -> None:
        """One round."""
        self._round()

    def change(self) -> np.ndarray:
        """Weights of the edges."""
        return np.asarray(self.synapses.w[:])

    def _round(self) -> float:
        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.device.run(directory=self.folder.name, with_output=False)
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime
        return min(spent, self.device._last_run_time)


def cython_clock(trains: Trains, rule: Rule) -> Cython:
    """Clock-driven, through Cython."""
    return Cython(trains, rule, "clock")


def cython_event(trains: Trains, rule: Rule) -> Cython:
    """Event-driven, through Cython."""
    return Cython(trains, rule, "event", 100)


def standalone_clock(trains: Trains, rule: Rule) -> Standalone:
    """Clock-driven, as a C++ program."""
    return Standalone(trains, rule, "clock")


def standalone_event(trains: Trains, rule: Rule) -> Standalone:
    """Event-driven, as a C++ program."""
    return Standalone(trains, rule, "event", 100)


def cython_often(trains: Trains, rule: Rule) -> Cython:
    """Event-driven, a reward every 10 steps, through Cython."""
    return Cython(trains, rule, "event", 10)


def standalone_often(trains: Trains, rule: Rule) -> Standalone:
    """Event-driven, a reward every 10 steps, as a C++ program."""
    return Standalone(trains, rule, "event", 10)
