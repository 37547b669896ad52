"""What is promised of affect: it stays in range, is silent without signals, points the right way, and settles."""

from __future__ import annotations

import itertools

import torch

from ..affect import AffectiveEstimator, AffectiveModulator, AffectiveState, InternalSignals
from ..config import NeuromodConfig
from ..config.affect import AffectiveConfig, AffectiveFullConfig
from ..loop import AffectiveLoop
from ..neuromodulation import NeuromodulatoryGate
from .verdict import Check, Verdict

HUGE = 1e6
AFFECT_STEPS = 100


def _after_events(device: str, steps: int = 50) -> AffectiveState:
    """Affect after a run of random events, eight lives at once."""
    estimator, generator = AffectiveEstimator(), torch.Generator().manual_seed(0)
    state = estimator.reset(8, device)
    for draw in torch.rand(steps, 5, 8, generator=generator).to(device):
        signals = InternalSignals(4.0 * draw[0] - 2.0, 3.0 * draw[1], 3.0 * draw[2], draw[3], 2.0 * draw[4])
        state = estimator.estimate(signals, state)
    return state


def _range(device: str) -> Verdict:
    rows = torch.tensor(list(itertools.product((-HUGE, HUGE), *[(0.0, HUGE)] * 4, (0.0, 1.0))), device=device)
    rpe, epistemic, aleatoric, surprise, deviation, novelty = rows.unbind(1)
    signals = InternalSignals(rpe, epistemic, surprise, novelty, deviation, aleatoric)
    estimator, state = AffectiveEstimator(), None
    largest, least = 0.0, float("inf")
    for _ in range(AFFECT_STEPS):
        state = estimator.estimate(signals, state)
        felt, factors = torch.cat([state.point, state.mood], dim=1), torch.stack(list(state.modulation))
        largest, least = max(largest, float(felt.abs().max())), min(least, float(factors.min()))
    measured = f"affect within ±{largest:g}, least factor {least:.2f}, at signals of ±{HUGE:g}"
    return Verdict(largest <= 1.0 and least > 0.0, measured)


def _neutral(device: str) -> Verdict:
    loop = AffectiveLoop()
    state, largest = loop.init(4, device), 0.0
    for _ in range(AFFECT_STEPS):
        state = loop.advance({"reward": 0.0, "novelty": 0.0}, state)
        levels = torch.cat([state.affect.point, torch.stack([*state.modulators.values(), state.plasticity], 1)], 1)
        largest = max(largest, float(levels.abs().max()))
    return Verdict(largest == 0.0, f"largest of affect, modulators and gate {largest:g}")


def _directions(device: str) -> Verdict:
    line = torch.linspace(-1.0, 1.0, 41, device=device)
    v, a, d = (axis.reshape(-1) for axis in torch.meshgrid(line, line, line, indexing="ij"))
    factors = AffectiveModulator().factors(v, a, d)
    shape = (41, 41, 41)
    rising = {
        "learning rate with arousal": factors.learning_rate_scale.reshape(shape).diff(dim=1),
        "exploration with lost control": -factors.exploration_temp.reshape(shape).diff(dim=2),
        "risk with displeasure": -factors.risk_scale.reshape(shape).diff(dim=0),
    }
    kept = [name for name, steps in rising.items() if bool((steps > 0).all())]
    return Verdict(len(kept) == 3, f"{len(kept)} of 3 rise everywhere: {', '.join(kept)}")


def _determinism(device: str) -> Verdict:
    runs = [torch.cat([state.point, state.mood], 1) for state in (_after_events(device) for _ in range(5))]
    equal = sum(torch.equal(run, runs[0]) for run in runs)
    return Verdict(equal == 5, f"{equal} of 5 runs bit-identical")


def _slow_gate(device: str, tau: float = 10.0) -> NeuromodulatoryGate:
    return NeuromodulatoryGate(NeuromodConfig(da_source="td_error", da_tau=tau, ne_tau=tau)).to(device)


def _settles(device: str) -> Verdict:
    """From an upheaval back to neutral, with modulators that last; and what could lock in is refused."""
    config = AffectiveFullConfig(AffectiveConfig(tau_mood=20.0, da_feedback=0.05, ne_feedback=0.05, ach_feedback=0.0))
    loop = AffectiveLoop(config=config, gate=_slow_gate(device))
    state, peak = loop.init(2, device), 0.0
    for t in range(2_000):
        event = {"td_error": -3.0, "surprise": 3.0, "uncertainty": 2.0} if t < 20 else {}
        state = loop.advance(event, state)
        peak = max(peak, float(state.affect.point.abs().max()))
    left = float(torch.cat([state.affect.point, state.affect.mood], 1).abs().max())
    try:
        AffectiveLoop(gate=_slow_gate(device, tau=200.0))
        refused = False
    except ValueError:
        refused = True
    measured = f"from {peak:.2f} to {left:.0e} of neutral; what could lock in is {'refused' if refused else 'ACCEPTED'}"
    return Verdict(peak > 0.5 and left < 1e-4 and refused, measured)


AFFECT_CHECKS: tuple[Check, ...] = (
    Check("affect stays in range and factors above zero", _range),
    Check("without signals, affect and its loop stay at zero", _neutral),
    Check("affect moves its factors the right way", _directions),
    Check("the same signals give the same affect", _determinism),
    Check("affect and its modulators settle", _settles),
)
