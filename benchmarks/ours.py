"""This library as a contestant: the weight change of a window, its eligibility, or the weight kept current."""

from __future__ import annotations

import numpy as np
import torch
from players import Player, StepByStep, WholeWindow
from timing import cpu_seconds
from trains import Rule, Trains

from snn_plasticity import (
    Connection,
    Convention,
    EligibilityConfig,
    EligibilityTraceModule,
    PlasticityConfig,
    PlasticityLearner,
    SparseLinear,
    ThreeFactorConfig,
)

Clamp = tuple[float, float] | None


def traces_of(
    trains: Trains,
    rule: Rule,
    convention: Convention | None = None,
    *,
    path: str = "auto",
    trace_type: str = "accumulating",
    clamp: Clamp = None,
) -> EligibilityTraceModule:
    """The eligibility of these trains, on one of the library's paths."""
    config = _config(rule, convention, trace_type, clamp)
    edges = None if trains.edges is None else torch.from_numpy(trains.edges)
    return EligibilityTraceModule(trains.size.n_pre, trains.size.n_post, config, path=path, connectivity=edges)


def _config(
    rule: Rule, convention: Convention | None, trace_type: str = "accumulating", clamp: Clamp = None
) -> EligibilityConfig:
    return EligibilityConfig(
        kernel="stdp_pair",
        trace_type=trace_type,
        tau_e=rule.tau_e,
        stdp_tau_plus=rule.tau_plus,
        stdp_tau_minus=rule.tau_minus,
        a_plus=rule.a_plus,
        a_minus=rule.a_minus,
        clamp_range=clamp,
        convention=convention or Convention(),
    )


def change_of_window(
    trains: Trains, rule: Rule, convention: Convention | None = None, *, path: str = "auto", anew: bool = False
) -> Player:
    """Σ_t reduce_B(m_t e_t) of a window, added to the weight at its end.

    With `anew` every window is an episode of its own, so that no eligibility need be built; else e is carried along.
    """
    traces = traces_of(trains, rule, convention, path=path)
    weight = _zeros(traces)

    def run(pre, post, reward):
        if anew:
            traces.reset()
        weight.add_(traces.modulate_window(pre, post, reward), alpha=rule.lr)

    return WholeWindow(trains, run, weight.numpy)


class WeightsOften:
    """The weights of a list of edges are current every `every` steps, as a learner of a `SparseLinear` keeps them.

    A reward meets e at the steps 0, `every`, 2 `every`, … A portion is one round of the trains, whose length `every`
    divides; its last window ends with the first step of the next round.
    """

    def __init__(
        self, trains: Trains, rule: Rule, convention: Convention, *, every: int = 10, path: str = "auto"
    ) -> None:
        assert trains.edges is not None
        layer = SparseLinear(trains.size.n_pre, trains.size.n_post, torch.from_numpy(trains.edges), bias=False)
        self.weight, self.portion = torch.nn.init.zeros_(layer.weight), len(trains.pre)
        update = ThreeFactorConfig(lr=rule.lr, weight_clamp=None)
        config = PlasticityConfig(_config(rule, convention), three_factor=update)
        self.synapses = Connection("edges", layer, config=config, path=path)
        self.learner = PlasticityLearner([self.synapses])
        pre, post, reward = (torch.from_numpy(array) for array in trains[:3])
        self.first = pre[:1], post[:1], reward[0]
        pre, post, reward = (side.roll(-1, 0) for side in (pre, post, reward))
        ends = range(every, self.portion + 1, every)
        self.windows = [(pre[end - every : end], post[end - every : end], reward[end - 1]) for end in ends]
        self.begun = False

    def play(self, portions: int = 1) -> float:
        """Go on for so many rounds; CPU seconds per step."""
        self._begin()
        return cpu_seconds(lambda: self._advance(self.windows * portions)) / (portions * self.portion)

    def play_all(self) -> None:
        """The trains once, but for the steps after their last reward, which change nothing."""
        self._begin()
        self._advance(self.windows[:-1])

    def change(self) -> np.ndarray:
        """Weight change since the start."""
        return self.weight.detach().numpy()

    def _begin(self) -> None:
        if not self.begun:
            self.begun = True
            self._advance([self.first])

    def _advance(self, windows: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> None:
        for pre, post, reward in windows:
            self.synapses.observe_sequence(pre, post, new_sequence=False)
            self.learner.step(reward)


def change_of_edges(trains: Trains, rule: Rule, convention: Convention) -> Player:
    """The same for a list of edges, kept as a full matrix out of which they are read."""
    traces = traces_of(trains._replace(edges=None), rule, convention)
    pre_of, post_of = torch.from_numpy(trains.edges)
    weight = torch.zeros(len(pre_of))

    def run(pre, post, reward):
        weight.add_(traces.modulate_window(pre, post, reward)[post_of, pre_of], alpha=rule.lr)

    return WholeWindow(trains, run, weight.numpy)


def eligibility_of_window(trains: Trains, rule: Rule, *, path: str = "auto", **kind: object) -> Player:
    """e (B, N_post, N_pre) at the end of a window, of every sample."""
    traces = traces_of(trains, rule, path=path, **kind)

    def run(pre, post, reward):
        traces.update_window(pre, post)

    return WholeWindow(trains, run, lambda: traces.eligibility.numpy())


def eligibility_by_step(trains: Trains, rule: Rule, *, path: str = "plain", **kind: object) -> Player:
    """The same e, one call for each step."""
    traces = traces_of(trains, rule, path=path, **kind)
    return StepByStep(trains, lambda pre, post, reward: traces.observe(pre, post), lambda: traces.eligibility.numpy())


def eligibility_of_preset(trains: Trains, config: EligibilityConfig, *, path: str = "auto") -> Player:
    """e at the end of a window with settings as they are; on the plain path one call for each step."""
    traces = EligibilityTraceModule(trains.size.n_pre, trains.size.n_post, config, path=path)

    def shown() -> np.ndarray:
        return traces.eligibility.numpy()

    if path == "plain":
        return StepByStep(trains, lambda pre, post, reward: traces.observe(pre, post), shown)
    return WholeWindow(trains, lambda pre, post, reward: traces.update_window(pre, post), shown)


def change_by_step(
    trains: Trains, rule: Rule, convention: Convention | None = None, *, path: str = "auto", one_for_all: bool = False
) -> Player:
    """A reward in every step, of each sample or one for all of them, and the weight current after every step."""
    traces = traces_of(trains, rule, convention, path="shared" if one_for_all else path)
    weight = _zeros(traces)

    def step(pre, post, reward):
        traces.observe(pre, post)
        weight.add_(traces.change(reward[0] if one_for_all else reward), alpha=rule.lr)

    return StepByStep(trains, step, weight.numpy)


def reward_at_end(trains: Trains, rule: Rule, config: EligibilityConfig | None = None) -> Player:
    """Every step observed, one reward for each sample at the end, as a network learns; with settings of its own."""
    size = trains.size
    traces = EligibilityTraceModule(size.n_pre, size.n_post, config) if config else traces_of(trains, rule)
    weight = _zeros(traces)

    def run(pre, post, reward):
        traces.reset()
        for now_pre, now_post in zip(pre, post, strict=True):
            traces.observe(now_pre, now_post)
        weight.add_(traces.change(reward[-1]), alpha=rule.lr)

    return WholeWindow(trains, run, weight.numpy)


def closed_loop(trains: Trains, rule: Rule) -> Player:
    """Forward pass with the weight as it is now, then one reward for the whole batch, in every step."""
    traces = traces_of(trains, rule, path="shared")
    weight, current = _zeros(traces), torch.empty(0)

    def step(pre, post, reward):
        nonlocal current
        current = pre @ weight.T
        traces.observe(pre, post)
        weight.add_(traces.change(reward[0]), alpha=rule.lr)

    return StepByStep(trains, step, lambda: np.concatenate([weight.numpy().ravel(), current.numpy().ravel()]))


def _zeros(traces: EligibilityTraceModule) -> torch.Tensor:
    return torch.zeros(traces.rule.geometry.shape)
