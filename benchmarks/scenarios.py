"""What is played on two devices and has to give the same numbers on both: every path, the gate, affect, whole networks.

A scenario takes the name of a device and returns tensors that lie there; what it draws is drawn on the CPU, so that it
is the same everywhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import shown
import small_nets
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from snn_plasticity import (
    AffectiveEstimator,
    AffectiveLoop,
    Connection,
    Convention,
    EligibilityConfig,
    EligibilityTraceModule,
    InternalSignals,
    NeuromodConfig,
    NeuromodulatoryGate,
    PlasticityConfig,
    PlasticityLearner,
    SparseLinear,
    Window,
    attach,
)
from snn_plasticity.conventions import PRESETS

B, T, N_PRE, N_POST = 3, 12, 5, 4
PATHS = ("auto", "plain", "fold", "shared", "rows")
TRACES = {
    "accumulating": {"trace_type": "accumulating"},
    "replacing": {"trace_type": "replacing"},
    "dutch": {"trace_type": "dutch"},
    "dutch_active": {"trace_type": "dutch", "dutch_scope": "active"},
}
LINEAR = ("accumulating", "dutch")
CLAMPS = {"no clamp": None, "a clamp that may bind": (-5.0, 5.0), "a clamp that binds": (-0.5, 0.5)}
KERNELS = ("rate", "stdp_symmetric", "stdp_triplet", "window")
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (4, 7)),
    "Conv2d": (lambda: nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (2, 6, 5)),
    "Conv2d, same": (lambda: nn.Conv2d(1, 2, 3, padding="same", padding_mode="circular"), (1, 4, 5)),
}


class Scenario(NamedTuple):
    """What is played, and how far two devices may differ, relative and absolute."""

    play: Callable[[str], list[Tensor]]
    tolerance: float = 1e-5


def scenarios() -> dict[str, Scenario]:
    """All of them, by name."""
    return paths() | kernels() | conventions() | edges() | layers() | signals() | connections() | networks()


def settings(kernel: str = "stdp_pair", trace: str = "accumulating", **changes: Any) -> EligibilityConfig:
    """Unequal constants, so that no two can be mistaken for each other."""
    convention = changes.get("convention", Convention())
    curve = Window(_mexican_hat, span=9.0, convention=convention) if kernel == "window" else kernel
    config = EligibilityConfig(
        kernel=curve, tau_e=15.0, stdp_tau_plus=7.0, stdp_tau_minus=11.0, a_plus=0.8, a_minus=1.1, stdp_tau_x=9.0,
        stdp_tau_y=13.0, a3_plus=0.6, a3_minus=0.4, dutch_alpha=0.3, clamp_range=None, **TRACES[trace],
    )  # fmt: skip
    return replace(config, **changes)


def paths() -> dict[str, Scenario]:
    """Paths × traces × clamps, as far as they go together."""
    found: dict[str, Scenario] = {}
    for path, trace, clamp in itertools.product(PATHS, TRACES, CLAMPS):
        folds, rows = path in ("fold", "shared") and trace not in LINEAR, path == "rows" and trace in LINEAR
        if not (folds or rows or (path == "shared" and CLAMPS[clamp] is not None)):
            config = settings(trace=trace, clamp_range=CLAMPS[clamp])
            found[f"path {path}, {trace}, {clamp}"] = Scenario(_of_traces(config, path))
    return found


def kernels() -> dict[str, Scenario]:
    """Every kernel, folded and stepped."""
    return {
        f"kernel {kernel}, {path}": Scenario(_of_traces(settings(kernel), path), 1e-4)
        for kernel in KERNELS
        for path in ("auto", "plain")
    }


def conventions() -> dict[str, Scenario]:
    """Every preset of `Convention`."""
    return {
        f"convention {name}": Scenario(_of_traces(settings(convention=Convention.preset(name)), "auto"), 1e-4)
        for name in PRESETS
    }


def edges() -> dict[str, Scenario]:
    """Lists of edges, all pairs and nearest ones; and a layer of them with delays."""
    wiring = torch.stack((torch.arange(N_PRE).repeat_interleave(2), torch.arange(2 * N_PRE) % N_POST))
    found = {
        f"edges {name}, {path}": Scenario(
            _of_traces(settings(convention=Convention.preset(name)), path, connectivity=wiring)
        )
        for name in ("nest", "izhikevich2007")
        for path in ("auto", "plain")
    }

    def layer(device: str) -> list[Tensor]:
        torch.manual_seed(0)
        module = SparseLinear(N_PRE, N_POST, wiring, delays=torch.arange(2 * N_PRE) % 3).to(device)
        pre, _ = spikes(device)
        with torch.no_grad():
            return [module(now) for now in pre[:5]]

    def attached(device: str) -> list[Tensor]:
        import snntorch

        torch.manual_seed(0)
        module = SparseLinear(N_PRE, N_POST, wiring, delays=torch.arange(2 * N_PRE) % 3)
        net = nn.Sequential(module, snntorch.Leaky(beta=0.9, init_hidden=True, threshold=0.2)).to(device)
        learner, rewards = attach(net, shown.pair()), factors(device, T, B)
        for pre, reward in zip(spikes(device)[0], rewards, strict=True):
            with torch.no_grad():
                net(pre)
            learner.step(reward=reward)
        return [module.weight.detach()]

    return found | {"SparseLinear, delays": Scenario(layer), "SparseLinear, attached": Scenario(attached)}


def layers() -> dict[str, Scenario]:
    """Convolutions."""

    def of(name: str) -> Scenario:
        make, size = LAYERS[name]

        def play(device: str) -> list[Tensor]:
            torch.manual_seed(0)
            layer = make()
            pre = _bernoulli(T, B, *size, seed=1)
            post = _bernoulli(T, *layer(pre[0]).shape, seed=2)
            traces = EligibilityTraceModule.for_layer(layer.to(device), settings())
            return fed(traces, device, pre.to(device), post.to(device))

        return Scenario(play, 1e-4)

    return {f"layer {name}": of(name) for name in LAYERS}


def signals() -> dict[str, Scenario]:
    """Gate, affect and the closed loop of both."""
    found = {"affect": Scenario(_affect), "affective loop": Scenario(_loop)}
    for combination, baseline in itertools.product(("weighted_sum", "gated_product"), ("none", "running")):
        config = NeuromodConfig(combination_fn=combination, reward_baseline=baseline, da_tau=20.0)
        found[f"gate {combination}, baseline {baseline}"] = Scenario(lambda device, c=config: _gate(device, c))
    return found


def configs() -> dict[str, PlasticityConfig]:
    """Every preset, and pair STDP: without a clamp, with one that binds, with a weight that waits for three steps."""
    pair = shown.pair()
    summed = replace(pair, three_factor=replace(pair.three_factor, update_frequency=3))
    others = {"pair": pair, "pair, a clamp that binds": shown.pair((-0.03, 0.03)), "pair, 3 steps summed": summed}
    return shown.presets() | others


def connections() -> dict[str, Scenario]:
    """Learners whose connections are fed by hand, with a reward after so many steps; one goes on from a saved one."""
    found = {
        f"connection {name}, a reward every {every}": Scenario(lambda d, c=config, e=every: _connection(d, c, e))
        for name, config in configs().items()
        for every in (1, 4)
    }
    record = Scenario(lambda d: _connection(d, configs()["pair"], 1, recorded=True))
    return found | {"a saved learner": Scenario(_saved), "a recorded learner": record}


def networks() -> dict[str, Scenario]:
    """Networks of both hosts with their hooks."""
    found = {
        f"{host} {name}": Scenario(lambda d, h=host, c=config: _network(d, h, c))
        for host in small_nets.HOSTS
        for name, config in configs().items()
    }
    modes = {f"mode {mode}": Scenario(lambda d, m=mode: _mode(d, m)) for mode in ("hybrid", "auxiliary_loss")}
    losses = {"online": PlasticityConfig.online()}
    for word in ("random", "adaptive"):
        losses[f"{word} feedback"] = PlasticityConfig.eprop(feedback=word)
        leaky = PlasticityConfig.eprop(feedback=word, tau_e=5.0, firing_rate=(0.2, 1.0))
        losses[f"{word} feedback of a leaky readout"] = leaky
    aims = {f"a target by {name}": Scenario(lambda d, c=config: _aimed(d, c)) for name, config in losses.items()}
    return found | modes | aims


def spikes(device: str) -> tuple[Tensor, Tensor]:
    """Trains (T, B, N) of both sides."""
    return _bernoulli(T, B, N_PRE, seed=0).to(device), _bernoulli(T, B, N_POST, seed=1).to(device)


def fed(traces: EligibilityTraceModule, device: str, pre: Tensor, post: Tensor) -> list[Tensor]:
    """Every way to feed traces and to ask for what they have come to."""
    one, shared = 0.7, traces.path == "shared"
    each, course = (one, factors(device, T)) if shared else (factors(device, B), factors(device, T, B))
    for now in range(4):
        traces.observe(pre[now], post[now])
    results = [traces.change(each).clone()]
    traces.observe_window(pre, post)
    results.append(traces.change(one).clone())
    if not shared:
        results.append(traces.update(pre[0], post[0]).clone())
        results.append(traces.update_window(pre, post).clone())
        traces.reset(mask=torch.tensor([True, False, True]).to(device))
        assert traces.eligibility is not None
        results.append(traces.eligibility.clone())
    results.append(traces.modulate_window(pre, post, course).clone())
    traces.observe(pre[1], post[1])
    weight = torch.zeros_like(results[0])
    return [*results, traces.apply_update(weight, one, lr=0.1, clamp=(-1.0, 1.0))]


def factors(device: str, *shape: int) -> Tensor:
    """Normally distributed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5)).to(device)


def _bernoulli(*shape: int, seed: int) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


def _mexican_hat(dt: float) -> float:
    return (1.0 - (dt / 3.0) ** 2) * math.exp(-((dt / 3.0) ** 2) / 2.0) - 0.02 * dt


def _of_traces(
    config: EligibilityConfig, path: str, connectivity: Tensor | None = None
) -> Callable[[str], list[Tensor]]:
    def play(device: str) -> list[Tensor]:
        traces = EligibilityTraceModule(N_PRE, N_POST, config, path=path, connectivity=connectivity)
        return fed(traces, device, *spikes(device))

    return play


def _gate(device: str, config: NeuromodConfig) -> list[Tensor]:
    gate, outputs = NeuromodulatoryGate(config), []
    state = gate.init(B, device=device)
    for now in factors(device, 5, B):
        _, factor, state = gate.step({"reward": now, "novelty": 0.3, "urgency": now.abs() / 9}, state)
        outputs += [factor, state.levels]
    return outputs


def _affect(device: str) -> list[Tensor]:
    estimator = AffectiveEstimator()
    state = estimator.reset(B, device=device)
    for now in factors(device, 4, 5, B).sigmoid():
        state = estimator.estimate(InternalSignals(*now), state)
    return [value for value in tree_leaves(state) if isinstance(value, Tensor)]


def _loop(device: str) -> list[Tensor]:
    loop = AffectiveLoop()
    state = loop.init(B, device=device)
    for reward, novelty, urgency in factors(device, 4, 3, B).sigmoid():
        state = loop.advance({"reward": reward, "novelty": novelty, "urgency": urgency}, state)
    return [value for value in tree_leaves(state) if isinstance(value, Tensor)]


def _connection(device: str, config: PlasticityConfig, every: int, *, recorded: bool = False) -> list[Tensor]:
    torch.manual_seed(0)
    layer = nn.Linear(N_PRE, N_POST).to(device)
    connection = Connection("fc", layer, config=config)
    learner = PlasticityLearner([connection], NeuromodulatoryGate(config.neuromod))
    (all_pre, all_post), rewards = spikes(device), factors(device, T, B)
    if recorded:
        learner.record()
    for now in range(T):
        connection.observe(all_pre[now], all_post[now])
        if now % every == 0:
            learner.step(reward=rewards[now])
    learner.step(rewards[0])
    learner.reset(torch.tensor([True, False, True]).to(device))
    connection.observe(all_pre[0], all_post[0])
    learner.step(reward=0.5)
    learner.reset()
    return [layer.weight.detach()]


def _saved(device: str) -> list[Tensor]:
    torch.manual_seed(0)
    layers = [nn.Linear(N_PRE, N_POST).to(device) for _ in range(2)]
    first, second = (PlasticityLearner([Connection("fc", layer, config=shown.pair())]) for layer in layers)
    pre, post = spikes(device)
    for now in range(4):
        first.connections["fc"].observe(pre[now], post[now])
    second.load_state_dict(first.state_dict())
    second.step(reward=factors(device, B))
    return [layers[1].weight.detach()]


def _network(device: str, host: str, config: PlasticityConfig) -> list[Tensor]:
    """A reward at every step, then one after an episode."""
    net, (pre, rewards) = small_nets.network(host, 12), small_nets.inputs(12, B)
    net.model.to(device)
    learner = attach(net.model, config)
    pre, rewards = pre.to(device), rewards.to(device)
    with torch.no_grad():
        net.restart()
        for now in range(T):
            net.step(pre[now])
            learner.step(reward=rewards[now])
        learner.reset()
        net.restart()
        for now in range(T, 2 * T):
            net.step(pre[now])
    learner.step(rewards[0])
    return [layer.weight.detach() for layer in small_nets.linears(net)]


def _aimed(device: str, config: PlasticityConfig) -> list[Tensor]:
    """A target at every step, then a class after several."""
    net, (pre, _) = small_nets.network("snnTorch", 12), small_nets.inputs(12, B)
    net.model.to(device)
    learner, pre = attach(net.model, config), pre.to(device)
    net.restart()
    for now in range(4):
        output = net.step(pre[now])
        learner.step(target=torch.full_like(output, 0.5), reads="membrane")
    for now in range(4, 8):
        net.step(pre[now])
    learner.step(target=torch.zeros(B, dtype=torch.long).to(device))
    return [layer.weight.detach() for layer in small_nets.linears(net)]


def _mode(device: str, mode: str) -> list[Tensor]:
    config = shown.pair()
    config = replace(config, three_factor=replace(config.three_factor, mode=mode))
    net, (pre, rewards) = small_nets.network("snnTorch", 12), small_nets.inputs(12, B)
    net.model.to(device)
    learner = attach(net.model, config)
    net.restart()
    net.step(pre[0].to(device))
    net.step(pre[1].to(device))
    if mode == "auxiliary_loss":
        return [learner.loss(reward=rewards[0].to(device)).detach()]
    learner.step(reward=rewards[0].to(device))
    return [layer.weight.grad for layer in small_nets.linears(net) if layer.weight.grad is not None]
