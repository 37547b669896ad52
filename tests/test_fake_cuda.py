"""Everything public on a GPU that is not there: the same numbers as on the CPU, on the device, and nobody waits for it.

Each scenario runs on the CPU, then twice on a pretended device (`pretended_cuda`): in the second run, when tables of
that shape are there, every place of the package that waits for the device or uploads to it is counted, and refused
unless it is listed below.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pretended_cuda
import pytest
import torch
from conftest import TRACES, layer_and_trains, settings, trains
from pretended_cuda import Pretence, on_device, pretending
from torch import Tensor, nn

from snn_plasticity import (
    Connection,
    Convention,
    EligibilityTraceModule,
    NeuromodConfig,
    NeuromodulatoryGate,
    PlasticityLearner,
    attach,
)
from snn_plasticity.affect import AffectiveEstimator, InternalSignals
from snn_plasticity.conventions import PRESETS
from snn_plasticity.loop import AffectiveLoop

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
import shown  # noqa: E402
import small_nets  # noqa: E402

B, T, N_PRE, N_POST = 3, 12, 5, 4
Scenario = Callable[[str], list[Tensor]]

# The most that a scenario may have of each. A clamp that might bind is looked at, many times in a window.
ACCEPTED_WAITS = {
    "plasticity/paths/certificate.py:_any: __bool__": 120,
    "plasticity/paths/certificate.py:_any_hope: __bool__": 6,
    "plasticity/paths/advance.py:_fold: __bool__": 3,
    "plasticity/paths/clamped.py:through_: __int__": 3,
    "plasticity/paths/rows.py:_blocks: nonzero": 9,
}
ACCEPTED_UPLOADS = {
    "plasticity/edges.py:_at: to": 3,  # the lists of edges, once for each module
    "neuromodulation/state.py:reset_samples: to": 1,  # a mask, once for each reset
}


def both_ways(scenario: Scenario, tolerance: float = 1e-5) -> None:
    """The scenario gives on the device what it gives on the CPU, and only accepted places wait or upload."""
    expected = [tensor.clone() for tensor in scenario("cpu")]
    with pretending() as pretence:
        scenario("cuda")
        pretence.waits.clear()
        pretence.uploads.clear()
        found = scenario("cuda")
        waits, uploads = pretence.waits.copy(), pretence.uploads.copy()
        elsewhere = [number for number, tensor in enumerate(found) if not on_device(tensor)]
        numbers = [tensor.cpu() for tensor in found]
    assert not elsewhere, f"results {elsewhere} are not on the device"
    for number, (ours, theirs) in enumerate(zip(numbers, expected, strict=True)):
        assert ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance), f"result {number}"
    refuse(waits, ACCEPTED_WAITS, "waits for the device")
    refuse(uploads, ACCEPTED_UPLOADS, "uploads to the device")


def refuse(found: Counter[str], accepted: dict[str, int], what: str) -> None:
    new = [f"{place} ({count})" for place, count in sorted(found.items()) if count > accepted.get(place, 0)]
    assert not new, f"{what}: " + "; ".join(new)


def spikes(device: str, *, seed: int = 0, n_pre: int = N_PRE, n_post: int = N_POST) -> tuple[Tensor, Tensor]:
    """Trains (T, B, N) of both sides."""
    sides = trains(T, B, n_pre, seed=seed), trains(T, B, n_post, seed=seed + 1)
    return tuple(side.float().to(device) for side in sides)  # type: ignore[return-value]


def factors(device: str, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5)).to(device)


def play(traces: EligibilityTraceModule, device: str, pre: Tensor, post: Tensor) -> list[Tensor]:
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
        results.append(traces.eligibility.clone())
    results.append(traces.modulate_window(pre, post, course).clone())
    traces.observe(pre[1], post[1])
    traces.ask(one)
    traces.observe(pre[2], post[2])
    traces.ask(-one)
    results.append(traces.collect().clone())
    weight = torch.zeros(traces.rule.geometry.shape).to(device)
    results.append(traces.apply_update(weight, one, lr=0.1, clamp=(-1.0, 1.0)))
    return results


CLAMPS = {"no clamp": None, "may bind": (-5.0, 5.0), "binds": (-0.5, 0.5)}
LINEAR = ("accumulating", "dutch")


def every_way() -> list:
    """Paths × traces × clamps, as far as they go together."""
    ways = []
    for path, trace, clamp in itertools.product(("auto", "plain", "fold", "shared", "rows"), TRACES, CLAMPS):
        folds = path in ("fold", "shared") and trace not in LINEAR
        rows = path == "rows" and trace in LINEAR
        if not (folds or rows or (path == "shared" and clamp != "no clamp")):
            ways.append(pytest.param(path, trace, CLAMPS[clamp], id=f"{path}, {trace}, {clamp}"))
    return ways


@pytest.mark.parametrize(("path", "trace", "clamp"), every_way())
def test_every_path(path, trace, clamp):
    config = settings("stdp_pair", trace, clamp_range=clamp)

    def scenario(device: str) -> list[Tensor]:
        traces = EligibilityTraceModule(N_PRE, N_POST, config, path=path)
        return play(traces, device, *spikes(device))

    both_ways(scenario)


@pytest.mark.parametrize("kernel", ["rate", "stdp_symmetric", "stdp_triplet", "window"])
@pytest.mark.parametrize("path", ["auto", "plain"])
def test_every_kernel(kernel, path):
    config = settings(kernel)
    both_ways(
        lambda device: play(EligibilityTraceModule(N_PRE, N_POST, config, path=path), device, *spikes(device)), 1e-4
    )


@pytest.mark.parametrize("name", PRESETS)
def test_conventions(name):
    config = settings("stdp_pair", convention=Convention.preset(name))
    both_ways(lambda device: play(EligibilityTraceModule(N_PRE, N_POST, config), device, *spikes(device)), 1e-4)


@pytest.mark.parametrize("name", ["nest", "izhikevich2007"])
@pytest.mark.parametrize("path", ["auto", "plain"])
def test_edges(name, path):
    config = settings("stdp_pair", convention=Convention.preset(name))
    edges = torch.stack((torch.arange(N_PRE).repeat_interleave(2), torch.arange(2 * N_PRE) % N_POST))

    def scenario(device: str) -> list[Tensor]:
        traces = EligibilityTraceModule(N_PRE, N_POST, config, path=path, connectivity=edges).to(device)
        return play(traces, device, *spikes(device))

    both_ways(scenario)


@pytest.mark.parametrize("layer", ["conv1d", "conv2d", "conv2d_same"])
def test_layers(layer):
    def scenario(device: str) -> list[Tensor]:
        module, pre, post = layer_and_trains(layer, steps=T, dtype=torch.float32)
        traces = EligibilityTraceModule.for_layer(module.to(device), settings("stdp_pair"))
        return play(traces, device, pre.to(device), post.to(device))

    both_ways(scenario, 1e-4)


@pytest.mark.parametrize("combination", ["weighted_sum", "gated_product"])
@pytest.mark.parametrize("baseline", ["none", "running"])
def test_gate(combination, baseline):
    config = NeuromodConfig(combination_fn=combination, reward_baseline=baseline, da_tau=20.0)
    gate = NeuromodulatoryGate(config)

    def scenario(device: str) -> list[Tensor]:
        state, outputs, given = gate.init(B, device=device), [], factors(device, 5, B)
        for now in given:
            levels, factor, state = gate.step({"reward": now, "novelty": 0.3, "urgency": now.abs() / 9}, state)
            outputs += [levels, factor] if isinstance(levels, Tensor) else [factor]
        return outputs

    both_ways(scenario)


def test_affect():
    estimator = AffectiveEstimator()

    def scenario(device: str) -> list[Tensor]:
        state = estimator.reset(B, device=device)
        for now in factors(device, 4, 5, B).sigmoid():
            state = estimator.estimate(InternalSignals(*now), state)
        return [value for value in state if isinstance(value, Tensor)]

    both_ways(scenario)


def test_loop():
    loop = AffectiveLoop()

    def scenario(device: str) -> list[Tensor]:
        state = loop.init(B, device=device)
        for reward, novelty, urgency in factors(device, 4, 3, B).sigmoid():
            state = loop.advance({"reward": reward, "novelty": novelty, "urgency": urgency}, state)
        return [value for value in torch.utils._pytree.tree_leaves(state) if isinstance(value, Tensor)]

    both_ways(scenario)


CONFIGS = shown.presets() | {"pair": shown.pair(), "pair, clamp that binds": shown.pair((-0.03, 0.03))}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("every", [1, 4])
def test_connections(config, every):
    """A learner whose connections are fed by hand, with a reward after so many steps."""

    def scenario(device: str) -> list[Tensor]:
        torch.manual_seed(0)
        layer = nn.Linear(N_PRE, N_POST).to(device)
        connection = Connection("fc", layer, config=config)
        learner = PlasticityLearner([connection], NeuromodulatoryGate(config.neuromod))
        rewards = factors(device, T, B)
        for now, (pre, post) in enumerate(zip(*spikes(device), strict=True)):
            connection.observe(pre, post)
            if now % every == 0:
                learner.step(reward=rewards[now])
        learner.step(rewards[0])
        learner.reset(torch.tensor([True, False, True]).to(device))
        connection.observe(pre, post)
        learner.step(reward=0.5)
        learner.reset()
        return [layer.weight.detach()]

    both_ways(scenario)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("host", small_nets.HOSTS)
def test_attached(host, config):
    """A network with its hooks: reward at every step, then one after an episode."""

    def scenario(device: str) -> list[Tensor]:
        net, (pre, rewards) = small_nets.network(host, 12), small_nets.inputs(12, B)
        net.model.to(device)
        learner = attach(net.model, config)
        net.restart()
        for now, reward in zip(pre[:T].to(device), rewards.to(device), strict=False):
            with torch.no_grad():
                net.step(now)
            learner.step(reward=reward)
        learner.reset()
        net.restart()
        for now in pre[T : 2 * T].to(device):
            with torch.no_grad():
                net.step(now)
        learner.step(rewards[0].to(device))
        return [layer.weight.detach() for layer in small_nets.linears(net)]

    both_ways(scenario)


@pytest.mark.parametrize("mode", ["hybrid", "auxiliary_loss"])
def test_modes(mode):
    config = shown.pair()
    config = replace(config, three_factor=replace(config.three_factor, mode=mode))

    def scenario(device: str) -> list[Tensor]:
        net, (pre, rewards) = small_nets.network("snnTorch", 12), small_nets.inputs(12, B)
        net.model.to(device)
        learner = attach(net.model, config)
        net.restart()
        net.step(pre[0].to(device))
        net.step(pre[1].to(device))
        loss = learner.step(reward=rewards[0].to(device))
        if mode == "auxiliary_loss":
            return [loss.detach()]
        return [layer.weight.grad for layer in small_nets.linears(net)]

    both_ways(scenario)


def test_saved_states_go_on():
    def scenario(device: str) -> list[Tensor]:
        torch.manual_seed(0)
        layers = [nn.Linear(N_PRE, N_POST).to(device) for _ in range(2)]
        first, second = (PlasticityLearner([Connection("fc", layer, config=shown.pair())]) for layer in layers)
        pre, post = spikes(device)
        for now in range(4):
            first.connections["fc"].observe(pre[now], post[now])
        second.load_state_dict(first.state_dict())
        second.step(reward=factors(device, B))
        return [layers[1].weight.detach()]

    both_ways(scenario)


# The pretence itself.


@pytest.fixture
def here(monkeypatch):
    """What this file does counts as the package's doing."""
    monkeypatch.setattr(pretended_cuda, "PACKAGE", str(Path(__file__)))


WAITS: dict[str, Callable[[Tensor], object]] = {
    "bool": lambda x: bool(x.sum() > 0),
    "float": lambda x: float(x.sum()),
    "int": lambda x: int(x.sum()),
    "item": lambda x: x.sum().item(),
    "tolist": lambda x: x.tolist(),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "equal": lambda x: torch.equal(x, x),
    "allclose": lambda x: torch.allclose(x, x),
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu"),
    "copy_": lambda x: torch.zeros(2, 3).copy_(x),
    "index by a tensor": lambda x: x[torch.zeros((), dtype=torch.long).to("cuda")],
    "unique": lambda x: x.unique(),
}
UPLOADS: dict[str, Callable[[Tensor], object]] = {
    "tensor": lambda x: torch.tensor(1.0, device="cuda"),
    "as_tensor": lambda x: torch.as_tensor([1.0], device=x.device),
    "to": lambda x: torch.ones(2).to("cuda"),
    "copy_": lambda x: x.copy_(torch.ones(2, 3)),
    "index on the CPU": lambda x: x[torch.tensor([0, 1])],
}
FREE: dict[str, Callable[[Tensor], object]] = {
    "full": lambda x: torch.full((), 2.0, device=x.device),
    "sums": lambda x: (x * 2.0 + torch.tensor(1.0)).sum(0).clamp_(-1.0, 1.0),
    "masked_fill": lambda x: x.masked_fill(x > 0, 0.0),
    "a number where a mask is": lambda x: x.__setitem__(x > 0, 0.0),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "views": lambda x: x[0, 1:].unsqueeze(0).T,
    "to the same": lambda x: x.to("cuda"),
    "zeros": lambda x: torch.zeros(3, device="cuda"),
    "shapes": lambda x: x.shape[0] + x.numel() + x.dim() + len(x),
}


def counted(work: Callable[[Tensor], object]) -> Pretence:
    with pretending() as pretence:
        x = torch.randn(2, 3).to("cuda")
        pretence.uploads.clear()
        work(x)
    return pretence


@pytest.mark.parametrize("work", WAITS.values(), ids=WAITS)
def test_a_wait_is_noticed(here, work):
    assert sum(counted(work).waits.values()) >= 1


@pytest.mark.parametrize("work", UPLOADS.values(), ids=UPLOADS)
def test_an_upload_is_noticed(here, work):
    assert sum(counted(work).uploads.values()) == 1


@pytest.mark.parametrize("work", FREE.values(), ids=FREE)
def test_what_costs_nothing_is_not(here, work):
    pretence = counted(work)
    assert not pretence.waits
    assert not pretence.uploads


def test_devices_do_not_mix(here):
    for work in (lambda x: x + torch.ones(3), lambda x: torch.cat((x, torch.ones(1, 3))), lambda x: x @ torch.ones(3)):
        with pytest.raises(RuntimeError, match="same device"):
            counted(work)
    with pytest.raises(TypeError, match="numpy"):
        counted(lambda x: x.numpy())


def test_a_new_wait_fails_the_test(here):
    """A scenario that looks is refused, with the place that looked."""

    def scenario(device: str) -> list[Tensor]:
        x = torch.ones(3).to(device)
        return [x * 2.0 if bool(x.any()) else x]

    with pytest.raises(AssertionError, match="waits for the device: :scenario: __bool__"):
        both_ways(scenario)


def test_a_result_left_on_the_cpu_fails_the_test():
    with pytest.raises(AssertionError, match="not on the device"):
        both_ways(lambda device: [torch.ones(3)])


def test_afterwards_nothing_is_left():
    with pretending():
        torch.zeros(2, device="cuda")
    assert torch.cuda.device_count() == 0 or torch.cuda.is_available()
    assert torch.zeros(2).is_cpu
    assert nn.Parameter(torch.zeros(2)).device.type == "cpu"
