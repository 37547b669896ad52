"""What the library promises, as checks that run anywhere in a few seconds.

Each check measures something and compares it with what the contract says; none of them is a matter of opinion.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch

from ..config import KERNELS, TRACES, EligibilityConfig, NeuromodConfig
from ..neuromodulation import NeuromodulatoryGate
from ..plasticity import EligibilityTraceModule, HardBounds, SoftBounds
from . import affect, association, plugged
from .verdict import Check, Verdict

STEPS, BATCH, N_PRE, N_POST = 50, 4, 12, 8


def _trains(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    draw = torch.rand(STEPS, BATCH, N_PRE + N_POST, generator=generator)
    pre, post = (draw < 0.3).float().to(device).split([N_PRE, N_POST], dim=2)
    return pre, post


def _modules(device: str) -> Iterator[EligibilityTraceModule]:
    """Every kernel with every trace, after a run of strong activity."""
    pre, post = _trains(device)
    for kernel, trace in itertools.product(KERNELS, TRACES):
        if kernel in ("online", "sltt"):
            continue  # they learn from a loss, and leave no eligibility behind
        module = EligibilityTraceModule(N_PRE, N_POST, EligibilityConfig(kernel=kernel, trace_type=trace))
        for now_pre, now_post in zip(pre, post, strict=True):
            module.observe(now_pre, now_post)
        yield module


def _gating(device: str) -> Verdict:
    weights, moved = torch.randn(N_POST, N_PRE, device=device), []
    for module in _modules(device):
        same = torch.equal(module.apply_update(weights, torch.zeros(BATCH, device=device), lr=1e3), weights)
        other = not torch.equal(module.apply_update(weights, 1.0, lr=1.0), weights)
        moved.append(same and other)
    return Verdict(all(moved), f"{sum(moved)} of {len(moved)} kernel × trace pairs")


def _determinism(device: str) -> Verdict:
    runs = [torch.stack([module.update(*_last(device)) for module in _modules(device)]) for _ in range(10)]
    equal = sum(torch.equal(run, runs[0]) for run in runs)
    return Verdict(equal == 10, f"{equal} of 10 runs bit-identical")


def _last(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    pre, post = _trains(device)
    return pre[-1], post[-1]


def _batch_independence(device: str) -> Verdict:
    pre, post = _trains(device)
    worst = 0.0
    for together in _modules(device):
        alone = EligibilityTraceModule(N_PRE, N_POST, together.config)
        for now_pre, now_post in zip(pre[:, 1:2], post[:, 1:2], strict=True):
            e = alone.update(now_pre, now_post)
        worst = max(worst, float((together.eligibility[1:2] - e).abs().max()))  # type: ignore[index]
    return Verdict(worst < 1e-5, f"largest difference {worst:.1e}")


def _clamp(device: str) -> Verdict:
    ones = torch.ones(BATCH, N_PRE, device=device), torch.ones(BATCH, N_POST, device=device)
    largest = 0.0
    for module in _modules(device):
        for _ in range(200):
            e = module.update(*ones)
        largest = max(largest, float(e.abs().max()))
    return Verdict(largest <= 5.0, f"largest |e| {largest:g} of 5")


@torch.no_grad()
def _neutral(device: str) -> Verdict:
    largest = 0.0
    for combination in ("weighted_sum", "gated_product", "mlp"):
        gate = NeuromodulatoryGate(NeuromodConfig(combination_fn=combination, da_tau=50.0)).to(device)
        state = gate.init(BATCH, device)
        for _ in range(100):
            modulators, plasticity, state = gate.step({"reward": 0.0, "novelty": 0.0}, state)
        levels = torch.stack([*modulators.values(), plasticity])
        largest = max(largest, float(levels.abs().max()))
    return Verdict(largest == 0.0, f"largest level {largest:g}")


def _ranges(device: str) -> Verdict:
    gate = NeuromodulatoryGate(NeuromodConfig(da_tau=50.0, ach_tau=50.0, ne_tau=50.0, sht_tau=50.0)).to(device)
    state, low, high = gate.init(2, device), [], []
    for _ in range(100):
        reward = torch.tensor([1e6, -1e6], device=device)
        modulators, _, state = gate.step({"reward": reward, "novelty": 1e6, "urgency": 1e6, "patience": 1e6}, state)
        low.append(min(float(m.min()) for m in modulators.values()))
        high.append(max(float(m.max()) for m in modulators.values()))
    return Verdict(min(low) >= -1.0 and max(high) <= 1.0, f"levels in [{min(low):g}, {max(high):g}]")


def _directions(device: str) -> Verdict:
    gate, grid = NeuromodulatoryGate(NeuromodConfig()).to(device), torch.linspace(0.0, 5.0, 50, device=device)
    rising = [
        bool((gate({signal: grid})[0][name].diff() > 0).all())
        for signal, name in (("reward", "DA"), ("novelty", "ACh"), ("urgency", "NE"), ("patience", "5HT"))
    ]
    punished = bool((gate({"reward": -grid})[1].diff() < 0).all())
    return Verdict(all(rising) and punished, f"{sum(rising)} of 4 rise with their signal; punishment reverses")


def _bounds(device: str) -> Verdict:
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(1000, generator=generator).to(device)
    for bound in (HardBounds(0.0, 1.0), SoftBounds(0.0, 1.0)):
        for _ in range(100):
            weight = bound(weight, torch.randn(1000, generator=generator).to(device))
    inside = bool(((weight >= 0.0) & (weight <= 1.0)).all())
    return Verdict(inside, f"weights in [{float(weight.min()):.3f}, {float(weight.max()):.3f}]")


def _delayed_reward(device: str) -> Verdict:
    with_trace, without = association.learn(device=device), association.learn(tau_e=1.0, device=device)
    first, last = with_trace.loss[0], with_trace.loss[-1]
    kept = last < 0.25 * first and with_trace.accuracy[-1] > 0.9 and without.accuracy[-1] < 0.75
    measured = f"accuracy {with_trace.accuracy[-1]:.2f} with traces, {without.accuracy[-1]:.2f} without"
    return Verdict(kept, f"{measured}; loss {first:.3f} → {last:.3f}")


def _plugged(host: Callable[..., object]) -> Callable[[str], Verdict]:
    def measure(device: str) -> Verdict:
        try:
            difference = plugged.largest_difference(host, device)
        except ModuleNotFoundError as missing:
            return Verdict(True, f"not installed: {missing.name}")
        return Verdict(difference < 1e-5, f"largest difference {difference:.1e}")

    return measure


CHECKS: tuple[Check, ...] = (
    Check("no modulator, no change; a modulator, a change", _gating),
    Check("the same spikes give the same bits", _determinism),
    Check("a batch is the loop over its samples", _batch_independence),
    Check("traces stay within their clamp", _clamp),
    Check("zero signals leave the gate at exactly zero", _neutral),
    Check("modulators stay in range at signals of 1e6", _ranges),
    Check("each modulator rises with its signal", _directions),
    Check("weights stay within their bounds", _bounds),
    Check("reward after a silence teaches, if traces last", _delayed_reward),
    Check("plugged into snnTorch, it learns as a plain loop does", _plugged(plugged.snntorch_run)),
    Check("plugged into Norse, it learns as a plain loop does", _plugged(plugged.norse_run)),
    *affect.AFFECT_CHECKS,
)


def run(device: str = "cpu") -> Iterator[tuple[Check, Verdict]]:
    """Every check in turn; one that raises has not been kept, and says why."""
    for check in CHECKS:
        try:
            yield check, check.measure(device)
        except Exception as error:  # a broken installation is what this is looking for
            yield check, Verdict(False, f"{type(error).__name__}: {error}")
