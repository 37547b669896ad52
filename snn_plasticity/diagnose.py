"""How a learner is doing, in numbers and sentences: what each layer sees, what a step changes, what stands in the way.

It is asked rarely, so it may read the device; and it changes nothing: the steps after it are bit for bit the same.

    change = lr · reduce_B(m · e),   m: the third factor of the last step, or 1 where there was none that fits
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import _causes as causes
from ._host_hooks import HostHooks, why_silent
from .connection import Connection
from .third_factor import LayerFactors, ThirdFactor, factor_tensor

__all__ = ["Diagnosis", "LayerDiagnosis"]

ENOUGH_STEPS = 8  # in which neurons that are alive fire
LARGE_SHARE = 0.5  # of what is worth a sentence
TINY_CHANGE, LARGE_CHANGE = 1e-7, 1.0  # of a step, against weights

_CLAMPED = (
    "{:.1%} of its eligibility is at its clamp or near it. Widen clamp_range, shorten tau_e, or lower the amplitudes "
    "or the firing rates."
)
_CUT = "weight_clamp cuts {:.1%} of a step's changes. Lower lr, or widen weight_clamp."
_BOUNDED = "{:.1%} of its weights are at their bounds. Widen weight_bounds, or set soft_bounds."


@dataclass(frozen=True)
class LayerDiagnosis:
    """One plastic weight. Shares are in [0, 1]; None where there is nothing to look at yet.

    Args:
        name, shape, mode: of the connection.
        steps_observed: steps that were seen, exactly. calls_in_eval: calls that were not, because of `eval()`, exactly.
        training: whether the layer is in training mode now.
        pre_rate, post_rate: share of entries that were active, over `steps_sampled` of the steps (the first 8, then one
            in 13, later one in 61; the last few thousand steps count). Of neurons these are the spikes, whatever the
            kernel reads; None where it reads something else and no host tells of spikes.
        eligibility_mean, eligibility_zero, eligibility_at_clamp, eligibility_near_clamp: mean |e|, share of e that is
            0, share at the clamp, and share within 10 % of it.
        change_mean, change_cut: mean |Δw| of a step, and the share of it that `weight_clamp` cuts.
        weight_mean, weight_at_bounds: mean |w|, and the share of weights at `weight_bounds`.
        status: "learns", or why not.
    """

    name: str
    shape: tuple[int, ...]
    mode: str
    steps_observed: int
    calls_in_eval: int
    training: bool
    pre_rate: float | None = None
    post_rate: float | None = None
    steps_sampled: int = 0
    eligibility_mean: float | None = None
    eligibility_zero: float | None = None
    eligibility_at_clamp: float | None = None
    eligibility_near_clamp: float | None = None
    change_mean: float | None = None
    change_cut: float | None = None
    weight_mean: float | None = None
    weight_at_bounds: float | None = None
    status: str = "learns"

    def __str__(self) -> str:
        """One line."""
        steps = _count(self.steps_observed, "step")
        told = [f"{self.name} ({'×'.join(map(str, self.shape))}, {self.mode}): {steps} observed"]
        if self.calls_in_eval:
            told.append(f"{_count(self.calls_in_eval, 'call')} in eval()")
        if self.pre_rate is not None:
            post = "" if self.post_rate is None else f", post {self.post_rate:.1%}"
            told.append(f"active: pre {self.pre_rate:.1%}{post} (of {_count(self.steps_sampled, 'step')})")
        if self.eligibility_zero is not None:
            clamp = "" if self.eligibility_at_clamp is None else f", {self.eligibility_at_clamp:.1%} at its clamp"
            told.append(f"e: mean {self.eligibility_mean:.3g}, {self.eligibility_zero:.1%} zero{clamp}")
        if self.change_mean is not None:
            cut = "" if self.change_cut is None else f" ({self.change_cut:.1%} cut by weight_clamp)"
            told.append(f"a step changes weights of mean size {self.weight_mean:.3g} by {self.change_mean:.3g}{cut}")
        if self.weight_at_bounds is not None:
            told.append(f"{self.weight_at_bounds:.1%} of the weights at their bounds")
        return "; ".join(told) + ("." if self.status == "learns" else f"; {self.status.rstrip('.')}.")


@dataclass(frozen=True)
class Diagnosis:
    """A learner as it is now; `print` it, or take `to_dict()`.

    Args:
        steps: steps of the learner since it was made. batch_size: samples of the running sequence.
        lr_scale: factor of all rates.
        third_factor: of the last step, mean over the batch; None before one. modulators: its DA, ACh, NE, 5HT.
        levels, reward_baseline: what the gate remembers now, batch means.
        layers: by name.
        findings: what stands in the way of learning, each with what to do.
    """

    steps: int
    batch_size: int | None
    lr_scale: float
    third_factor: float | None
    modulators: dict[str, float]
    levels: dict[str, float]
    reward_baseline: float | None
    layers: dict[str, LayerDiagnosis]
    findings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it, as plain numbers, strings, lists and dicts."""
        return {**asdict(self), "findings": list(self.findings)}

    def __str__(self) -> str:
        """Sentences."""
        size = "no batch yet" if self.batch_size is None else f"a batch of {self.batch_size}"
        lines = [f"{_count(self.steps, 'step')} of learning, {size}, lr_scale {self.lr_scale:g}."]
        if self.third_factor is not None:
            parts = "".join(f", {name} {amount:.3g}" for name, amount in self.modulators.items())
            lines.append(f"The last third factor: {self.third_factor:.3g}{parts}.")
        if self.levels:
            kept = "" if self.reward_baseline is None else f"; expected reward {self.reward_baseline:.3g}"
            lines.append("The gate holds " + ", ".join(f"{n} {x:.3g}" for n, x in self.levels.items()) + f"{kept}.")
        lines += [str(layer) for layer in self.layers.values()]
        lines += self.findings or ["Nothing stands in the way of learning."]
        return "\n".join(lines)


def diagnose(
    connections: Sequence[Connection],
    third_factor: ThirdFactor,
    *,
    steps: int,
    signals_given: set[str],
    lr_scale: float,
    hooks: Sequence[HostHooks],
    enabled: bool,
    check: Callable[[Connection], None],
) -> Diagnosis:
    """What `PlasticityLearner.diagnose` returns.

    Args:
        connections, third_factor: of the learner.
        steps, signals_given, lr_scale, hooks, enabled: how often it stepped, what it was told of, its state.
        check: raises a RuntimeError that says why a connection cannot learn.
    """
    last, state = third_factor.last, third_factor.state
    layers, found, together = {}, [], []
    for connection in connections:
        why = _refusal(connection, check)
        heard = None if last is None else last.factor
        heard = heard.get(connection.name) if isinstance(heard, LayerFactors) else heard
        layer = _layer(connection, heard, lr_scale, why)
        layers[connection.name] = layer
        found += _findings(connection, layer, why, hooks)
        together += [connection] if hooks and why is None and _together(connection, heard) else []
    if hooks and last is not None:
        found.append(causes.alike(together) or causes.one_for_all(connections, last.factor))
    asleep = causes.in_eval(connections)
    found.append(asleep)
    if all(connection.traces.batch_size is None for connection in connections):
        idle = causes.nothing_observed(connections, attached=bool(hooks), enabled=enabled)
        found.append(None if asleep and idle and idle.key == "eval" else idle)
    found.append(causes.no_rate(connections, lr_scale))
    found.append(causes.closed_gate(third_factor.gate, signals_given) if signals_given else None)
    found.append(causes.one_way(third_factor, signals_given))
    if not steps:
        found.append(
            causes.Cause("step", "No step was made yet: call learner.step(reward=...) when the outcome is known.")
        )
    names = [modulator.name for modulator in third_factor.gate.modulators]
    levels = {} if state is None else dict(zip(names, state.levels.mean(0).tolist(), strict=True))
    baseline = None if state is None or not state.baseline.numel() else float(state.baseline.mean())
    return Diagnosis(
        steps, next((c.traces.batch_size for c in connections if c.traces.batch_size is not None), None), lr_scale,
        None if last is None else _mean(factor_tensor(last.factor)),
        {} if last is None else {name: float(amount.mean()) for name, amount in last.modulators.items()},
        levels, baseline, layers, tuple(dict.fromkeys(cause.sentence for cause in found if cause is not None)),
    )  # fmt: skip


def _refusal(connection: Connection, check: Callable[[Connection], None]) -> str | None:
    try:
        check(connection)
    except RuntimeError as error:
        return str(error)
    return None


def _layer(connection: Connection, factor: float | Tensor | None, lr_scale: float, why: str | None) -> LayerDiagnosis:
    rates = connection.activity.rates()
    numbers: dict[str, Any] = {}
    if rates is not None:
        numbers = {"pre_rate": rates.pre, "post_rate": rates.post, "steps_sampled": rates.steps}
    if why is None:
        numbers |= _weight(connection)
        if connection.traces.batch_size:
            numbers |= _eligibility(connection, factor, lr_scale)
    return LayerDiagnosis(
        connection.name, tuple(connection.traces.rule.geometry.shape), connection.config.three_factor.mode,
        connection.activity.seen, connection.seen_in_eval, connection.module.training,
        **numbers, status=why or connection.note or "learns",
    )  # fmt: skip


def _weight(connection: Connection) -> dict[str, Any]:
    weight, bounds = connection.weight.detach(), connection.config.three_factor.weight_bounds
    ends = bounds if isinstance(bounds, tuple) else None
    at = None if ends is None else _mean((weight <= ends[0]) | (weight >= ends[1]))
    return {"weight_mean": _mean(weight.abs()), "weight_at_bounds": at}


@torch.no_grad()
def _eligibility(connection: Connection, factor: float | Tensor | None, lr_scale: float) -> dict[str, Any]:
    """e, and what a step would change; the traces are put back as they were."""
    traces, config = connection.traces, connection.config
    mark = connection.mark(safe=True)
    try:
        mod = _fitting(connection, factor)
        change = config.three_factor.lr * lr_scale * traces.change(mod)
        e = traces.change(1.0, "sum") if traces.path == "shared" else traces.eligibility
        assert e is not None
        clamp = config.eligibility.clamp_range
        at, near = (
            None if clamp is None else _mean(_beyond(e, clamp, share)) for share in (1.0, 1.0 - causes.NEAR_CLAMP)
        )
        told = {"eligibility_mean": _mean(e.abs()), "eligibility_zero": _mean(e == 0), "eligibility_at_clamp": at}
        told["eligibility_near_clamp"] = near
    finally:
        connection.go_back(mark)
    if connection.mask is not None:
        change = change * connection.mask
    kept = connection.update.clamp(change)
    cut = None if config.three_factor.weight_clamp is None else _mean(kept != change)
    return {**told, "change_mean": _mean(kept.abs()), "change_cut": cut}


def _beyond(e: Tensor, clamp: tuple[float, float], share: float) -> Tensor:
    """Where e has reached that share of an end; an end of zero is none."""
    low, high = (share * end for end in clamp)
    return ((e <= low) & (low != 0)) | ((e >= high) & (high != 0))


def _fitting(connection: Connection, factor: float | Tensor | None) -> float | Tensor:
    """The last third factor, or 1 where it was nothing or belonged to another batch."""
    try:
        fits = factor is not None and connection.traces.modulator(factor) is not None
    except (ValueError, TypeError):
        fits = False
    return factor if fits and factor is not None and bool(torch.as_tensor(factor).any()) else 1.0


def _findings(
    connection: Connection,
    layer: LayerDiagnosis,
    why: str | None,
    hooks: Sequence[HostHooks],
) -> list[causes.Cause | None]:
    """What is to be said of a layer."""
    if why is not None:
        return [causes.Cause("lost", why)]
    found: list[causes.Cause | None] = []
    if layer.eligibility_zero == 1.0:
        found.append(causes.zero_eligibility([connection], partial(why_silent, hooks)))
    elif layer.post_rate == 0 and layer.steps_sampled >= ENOUGH_STEPS:
        found.append(causes.silent_neurons(connection, partial(why_silent, hooks)))
    full = layer.eligibility_near_clamp == 1.0
    found.append(causes.clamped_eligibility([connection]) if full else _half(layer, "eligibility_near_clamp", _CLAMPED))
    found += [_half(layer, "change_cut", _CUT), _half(layer, "weight_at_bounds", _BOUNDED), _size(layer)]
    return found


def _together(connection: Connection, factor: object) -> bool:
    """Whether neurons are told the same of which none was active for the others; traces are put back as they were."""
    if not connection.traces.batch_size or not causes.hears_as_one(connection, factor):
        return False
    mark = connection.mark(safe=True)
    try:
        e = connection.eligibility
    finally:
        connection.go_back(mark)
    if e is None or e.dim() < 3:
        return False
    size = e.abs().flatten(2).sum(2)
    active = size[size.any(1)]
    leading = (active.amax(1) / active.sum(1)).mean()  # from 1 / n, where all are alike, to 1, where one was chosen
    return len(active) > 0 and bool(leading < size.shape[1] ** -0.5)


def _half(layer: LayerDiagnosis, share: str, sentence: str) -> causes.Cause | None:
    """A share that is too large."""
    value = getattr(layer, share)
    if value is None or value < LARGE_SHARE:
        return None
    return causes.Cause(share, f"{layer.name}: {sentence.format(value)}")


def _size(layer: LayerDiagnosis) -> causes.Cause | None:
    """A step that is too small or too large for its weights."""
    if not layer.change_mean or not layer.weight_mean:
        return None
    share = layer.change_mean / layer.weight_mean
    if TINY_CHANGE <= share <= LARGE_CHANGE:
        return None
    much, way = (f"only {share:.1g} of", "Raise") if share < TINY_CHANGE else (f"{share:.3g} times", "Lower")
    return causes.Cause("size", f"{layer.name}: a step changes weights by {much} their mean size. {way} lr.")


def _mean(values: Tensor) -> float | None:
    return float(values.float().mean()) if values.numel() else None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
