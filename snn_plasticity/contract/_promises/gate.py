"""Promises of a gate: what it makes of signals, and of none."""

from __future__ import annotations

import io
from collections.abc import Iterator

import torch

from ...config import PlasticityConfig
from ...neuromodulation import NeuromodState, NeuromodulatoryGate

HEARD = ("reward", "td_error", "novelty", "uncertainty", "surprise", "urgency", "patience")


def events(steps: int = 30, batch: int = 4) -> list[dict[str, torch.Tensor]]:
    """Signals of each step, one number for each sample; the same at each call."""
    draws = torch.rand(steps, len(HEARD), batch, generator=torch.Generator().manual_seed(0))
    return [dict(zip(HEARD, draw, strict=True)) for draw in draws]


def gate_of(config: PlasticityConfig) -> NeuromodulatoryGate:
    """A gate with these settings; where it has weights, they are drawn alike each time."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return NeuromodulatoryGate(config.neuromod)


@torch.no_grad()
def gated(
    config: PlasticityConfig, signals: list[dict[str, torch.Tensor]], state: NeuromodState | None = None
) -> Iterator[tuple[torch.Tensor, NeuromodState]]:
    """Modulators and gain of each step, stacked (5, B), and the state after it."""
    gate = gate_of(config)
    for heard in signals:
        modulators, plasticity, state = gate.step(heard, state)
        yield torch.stack([*modulators.values(), plasticity]), state


def no_signal_opens_no_gate(config: PlasticityConfig) -> None:
    """Signals of zero release nothing: without tonic baselines, modulators and gain stay at exactly zero."""
    tonic = [getattr(config.neuromod, f"{name}_baseline") for name in ("da", "ach", "ne", "sht")]
    silent = [{name: torch.zeros(4) for name in HEARD}] * 50
    levels = torch.stack([step for step, _ in gated(config, silent)])
    print(f"levels in [{float(levels.min()):g}, {float(levels.max()):g}], tonic baselines {tonic}")
    assert torch.equal(levels, levels[:1].expand_as(levels)), "what comes of nothing changes with time"
    assert any(tonic) or not levels.any()


def modulators_stay_in_range(config: PlasticityConfig) -> None:
    """At signals of ±1e6 modulators stay within ±1, and the gain is a finite number for each sample."""
    huge = [{name: signal * 1e6 * (-1) ** k for name, signal in heard.items()} for k, heard in enumerate(events())]
    allowed = ("reward", "td_error")  # the others are never negative
    huge = [{name: v if name in allowed else v.abs() for name, v in heard.items()} for heard in huge]
    levels = torch.stack([step for step, _ in gated(config, huge)])
    print(f"modulators within ±{float(levels[:, :4].abs().max()):g}, gain within ±{float(levels[:, 4].abs().max()):g}")
    assert float(levels[:, :4].abs().max()) <= 1.0 and bool(torch.isfinite(levels).all())


def the_same_signals_give_the_same_bits(config: PlasticityConfig) -> None:
    """The same signals give the same modulators and the same gain, bit for bit."""
    runs = [torch.stack([step for step, _ in gated(config, events())]) for _ in range(5)]
    equal = sum(torch.equal(one, runs[0]) for one in runs)
    print(f"{equal} of 5 runs are bit-identical")
    assert equal == 5


def each_sample_has_a_gate_of_its_own(config: PlasticityConfig) -> None:
    """What one sample hears does not reach another, where the batch shares no expectation."""
    together = torch.stack([step for step, _ in gated(config, events())])
    alone = []
    for b in range(together.shape[-1]):
        heard = [{name: signal[b : b + 1] for name, signal in step.items()} for step in events()]
        alone.append(torch.stack([step for step, _ in gated(config, heard)]))
    worst = float((together - torch.cat(alone, -1)).abs().max())
    print(f"largest difference {worst:.1e}")
    assert worst < 1e-5


def a_saved_gate_goes_on_where_it_was(config: PlasticityConfig) -> None:
    """A gate whose state is saved and loaded goes on as if it had never stopped, bit for bit."""
    heard, file = events(), io.BytesIO()
    through = list(gated(config, heard))
    torch.save(tuple(through[14][1]), file)
    file.seek(0)
    state = NeuromodState(*torch.load(file, weights_only=True))
    again = torch.stack([step for step, _ in gated(config, heard[15:], state)])
    on = torch.stack([step for step, _ in through[15:]])
    print(f"largest difference {float((on - again).abs().max()):g}")
    assert torch.equal(on, again)


GATE_PROMISES = (
    no_signal_opens_no_gate,
    modulators_stay_in_range,
    the_same_signals_give_the_same_bits,
    each_sample_has_a_gate_of_its_own,
    a_saved_gate_goes_on_where_it_was,
)
