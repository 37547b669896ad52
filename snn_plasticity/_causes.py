"""Why nothing is learned, in sentences: each says what was found, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ._activity import Rates
from .connection import Connection
from .neuromodulation import NeuromodulatoryGate
from .neuromodulators import NEUROMODULATORS
from .third_factor import ThirdFactor

SOURCE_FIELDS = {source: f"{kind.prefix}_source" for kind in NEUROMODULATORS for source in kind.sources}
TRIED_STEPS, ENOUGH_FACTORS = 16, 32  # steps and values that tell whether a third factor has one sign
NEAR_CLAMP = 0.1  # share of a clamp within which an eligibility counts as near it
_EVAL = (
    "where nothing is observed and nothing is learned. Call model.train() before the passes that it is to "
    "learn from (torch.no_grad() may stay)."
)


class Cause(NamedTuple):
    """A reason, said once for each `key`."""

    key: str
    sentence: str


def nothing_observed(connections: Sequence[Connection], *, attached: bool, enabled: bool) -> Cause | None:
    """A step with no activity since the one before; None where the eligibility of earlier activity is met again."""
    names = join_names(connections)
    waiting = any(c.traces.batch_size is not None and c.post_side != "gradient" for c in connections)
    if not attached and not enabled:
        return Cause(
            "removed", "The learner was removed from its model and observes nothing any more. Call attach again."
        )
    passes = max((c.seen_in_eval - c.met_in_eval for c in connections), default=0)
    if passes and not (waiting and all(c.module.training for c in connections)):
        last = "forward pass" if passes == 1 else f"{passes} forward passes"
        return Cause("eval", f"{names}: the last {last} ran in eval(), {_EVAL}")
    if waiting or not connections:
        return None
    if not enabled:
        return Cause(
            "paused", f"{names}: the learner is paused and observes nothing. Leave `with learner.paused()` first."
        )
    ever = any(c.activity.seen for c in connections)
    notes = "; ".join(f"{c.name}: {c.note}" for c in connections if c.note)
    return Cause(
        "unobserved",
        f"{names}: nothing was observed {'since the last reset' if ever else 'yet'}, so a step changes nothing. "
        "Run the model that the learner is attached to (not a copy, and not paused) between reset() and step()"
        + (f"; {notes}." if notes else "."),
    )


def in_eval(connections: Sequence[Connection]) -> Cause | None:
    """Layers that are in eval() now."""
    asleep = [connection for connection in connections if not connection.module.training]
    return Cause("eval", f"{join_names(asleep)}: in eval(), {_EVAL}") if asleep else None


def no_rate(connections: Sequence[Connection], lr_scale: float) -> Cause | None:
    """A learning rate of zero for all."""
    if connections and isinstance(lr_scale, (int, float)) and lr_scale == 0:
        return Cause("lr_scale", "learner.lr_scale is 0, so no step changes anything; set it above 0.")
    if not connections or any(c.config.three_factor.lr for c in connections):  # a layer of several may be held still
        return None
    return Cause("lr", f"{join_names(connections)}: the learning rate is 0; set ThreeFactorConfig(lr=...) above 0.")


def unused_signals(gate: NeuromodulatoryGate, given: Collection[str]) -> Cause | None:
    """Signals that drive no modulator."""
    lost = sorted(set(given) - {m.source for m in gate.modulators} - {"context"})
    if not lost:
        return None
    settings = ", ".join(f"{SOURCE_FIELDS[name]}={name!r}" for name in lost if name in SOURCE_FIELDS)
    return Cause(
        "unused",
        f"{', '.join(lost)}: no modulator listens to this. {_describe_sources(gate)}. Give one of these "
        f"signals, or set NeuromodConfig({settings}).",
    )


def closed_gate(gate: NeuromodulatoryGate, signals_given: Collection[str]) -> Cause | None:
    """A gate that is zero because nobody has ever given what could open it."""
    config = gate.config
    weights = {
        m.source: kind.setting(config, "weight") for m, kind in zip(gate.modulators, NEUROMODULATORS, strict=True)
    }
    tonic = {m.source: m.baseline for m in gate.modulators}
    openers = [gate.modulators[0].source] if config.combination_fn == "gated_product" else list(weights)
    if config.combination_fn in ("weighted_sum", "gated_product"):
        openers = [source for source in openers if weights[source] != 0]
    if any(tonic[source] for source in openers) or set(openers) & set(signals_given):
        return None
    how = f"Give step({openers[0]}=...)" if openers else "Give one of the modulators a weight other than 0"
    told = f"it was told of {', '.join(sorted(signals_given))} only" if signals_given else "it was told nothing"
    return Cause("closed", f"The gate is zero: {told}, and that cannot open it. {_describe_sources(gate)}. {how}.")


def zero_third_factor(steps: int, signals_given: Collection[str]) -> Cause:
    """A third factor that was never anything but zero."""
    what = f" (signals given: {', '.join(sorted(signals_given))})" if signals_given else ""
    return Cause(
        "zeros",
        f"The third factor was exactly 0 in all {steps} steps{what}, so no weight has moved. If rewards are that rare, "
        "all is well; otherwise check where they are computed.",
    )


def one_way(third_factor: ThirdFactor, signals_given: Collection[str]) -> Cause | None:
    """Third factors of one sign, which no outcome turns around; a constant one by hand is a plain rule, and meant."""
    met, low, high = third_factor.met, third_factor.met.low, third_factor.met.high
    if met.steps < TRIED_STEPS or met.values < ENOUGH_FACTORS or low <= 0 <= high:
        return None
    constant = high - low <= 1e-5 * max(abs(low), abs(high))
    if third_factor.gate.config.reward_baseline != "none" or (constant and not signals_given):
        return None
    side = f"{low:.3g}" if constant else f"{'above' if low > 0 else 'below'} 0 ({low:.3g} to {high:.3g})"
    how = "NeuromodConfig(reward_baseline='running')" if signals_given else "for instance its running mean"
    return Cause(
        "one way",
        f"The third factor was always {side}: whatever the outcome, every active synapse is pushed the same way, and "
        "the net cannot learn which outcome was good. Subtract a baseline, the reward that was to be expected: "
        f"{how}. If no outcome is to be learned (plain STDP), all is well.",
    )


def zero_eligibility(connections: Iterable[Connection], why_silent: Callable[[Connection], str | None]) -> Cause | None:
    """Eligibilities that are zero everywhere; `why_silent` says of neurons that they cannot fire."""
    told = [_why_zero(connection, connection.activity.rates(), why_silent) for connection in connections]
    return Cause("dead", " ".join(told)) if told else None


def _why_zero(connection: Connection, rates: Rates | None, why_silent: Callable[[Connection], str | None]) -> str:
    name, begin = connection.name, "its eligibility is zero everywhere"
    if connection.post_side == "gradient":
        return (
            f"{name}: no gradient of the loss has reached it{_silent(rates)}. Check that the loss depends on its "
            "neurons in the steps that it is computed from, and that their membranes come near the threshold. Neurons "
            "that answer a step later (Norse's LIF, snnTorch's Alpha) let no gradient through to layers before them."
        )
    if rates is None:
        return f"{name}: {begin}."
    if not rates.pre:
        return f"{name}: {begin}: its input was silent in all {rates.steps} steps looked at. Check what feeds it."
    if rates.post == 0:
        return f"{name}: {begin}: {_never_fired(connection, rates, why_silent)}"
    neurons = "" if rates.post is None else f" and its neurons ({rates.post:.1%})"
    return (
        f"{name}: {begin}, although its input ({rates.pre:.1%}){neurons} are active. Either no two spikes came close "
        "enough in time for the kernel, or the trace had faded before the step came (raise tau_e), or a mask, `reduce` "
        "or amplitudes of 0 removed it."
    )


def _silent(rates: Rates | None) -> str:
    return ", and its input was silent" if rates is not None and not rates.pre else ""


def silent_neurons(connection: Connection, why_silent: Callable[[Connection], str | None]) -> Cause | None:
    """Neurons that have not fired, where the kernel reads something else of them: they learn, and nobody hears them."""
    rates = connection.activity.rates()
    if rates is None or rates.post != 0 or not rates.pre or connection.post_side == "spikes":
        return None
    return Cause("silent", f"{connection.name}: {_never_fired(connection, rates, why_silent)}")


def _never_fired(connection: Connection, rates: Rates, why_silent: Callable[[Connection], str | None]) -> str:
    never = why_silent(connection)
    return (
        f"its neurons have not fired in the {rates.steps} steps looked at (its input is active in {rates.pre:.1%} of "
        "them)" + (f", and they cannot: {never}" if never else "") + ". Raise its weights (scale_to_rate(model, batch) "
        "does so) or its inputs, or lower the neurons' threshold."
    )


def unmoved_weights(connections: Sequence[Connection]) -> Cause | None:
    """Changes that leave the weight as it is."""
    told = []
    for connection in connections:
        bounds = connection.config.three_factor.weight_bounds
        if isinstance(bounds, str):
            why = f"weight_bounds={bounds!r} removes it, since all synapses were to change by the same amount"
        elif bounds is not None:
            why = "all weights are at their bounds already; widen weight_bounds, or check the sign of the modulator"
        else:
            why = f"the change is below the resolution of {connection.weight.dtype}; raise lr, or use float32 weights"
        told.append(f"{connection.name}: a change was computed, but no weight moved: {why}.")
    return Cause("stuck", " ".join(told)) if told else None


def clamped_eligibility(connections: Sequence[Connection]) -> Cause | None:
    """Eligibilities that are at their clamp everywhere, so that all weights change alike."""
    if not connections:
        return None
    low, high = connections[0].config.eligibility.clamp_range or (0.0, 0.0)
    return Cause(
        "saturated",
        f"{join_names(connections)}: every eligibility is at its clamp ({low:g}, {high:g}) or near it, so all weights "
        "change by the same amount. Widen clamp_range, shorten tau_e, or lower the amplitudes or the firing rates.",
    )


def at_the_clamp(connection: Connection, delta: Tensor, factor: float | Tensor, lr_scale: float) -> bool:
    """Whether a change is that of an eligibility at its clamp everywhere: Δw = lr · reduce_B(mod) · end.

    Modulators of one sign show eligibilities within a `NEAR_CLAMP` share of the clamp; those of both cancel and are
    read exactly.
    """
    config, ends = connection.config.three_factor, connection.config.eligibility.clamp_range
    mod = torch.as_tensor(factor, dtype=delta.dtype)
    ends = None if connection.post_side == "gradient" else ends
    if ends is None or config.update_frequency != 1 or mod.dim() > 1 or delta.numel() < 2:
        return False
    samples = (connection.traces.batch_size or 1) if connection.update.reduction == "sum" else 1
    size, mean = mod.abs().mean() * samples, mod.mean() * samples
    near = NEAR_CLAMP if bool(mean.abs() > (1.0 - NEAR_CLAMP) * size) else 1e-5
    full = torch.zeros_like(delta, dtype=torch.bool) if connection.mask is None else connection.mask == 0
    for end in ends:
        change = connection.update.clamp(config.lr * lr_scale * mean * end)
        if end and change != 0:
            full |= (delta - change).abs() <= near * (config.lr * lr_scale * size * abs(end)).clamp(max=change.abs())
    return bool(full.all())


def one_for_all(connections: Sequence[Connection], factor: object) -> Cause | None:
    """Several populations of spikes of which each is told one thing for all of its neurons, though samples differ."""
    several = len({c.traces.rule.geometry.n_post for c in connections}) > 1  # else they may be one
    return alike(connections) if several and all(hears_as_one(c, factor) for c in connections) else None


def hears_as_one(connection: Connection, factor: object) -> bool:
    """Whether spikes meet a third factor that tells samples apart, and not the neurons of a sample."""
    if connection.post_side != "spikes" or connection.samples is not None:
        return False
    told = isinstance(factor, Tensor) and factor.dim() == 1 and len(factor) > 1 and factor.is_cpu
    return told and bool((factor != factor[0]).any())  # type: ignore[union-attr]


def alike(connections: Sequence[Connection]) -> Cause | None:
    """A reward for all neurons of a layer alike."""
    if not connections:
        return None
    return Cause(
        "alike",
        f"{join_names(connections)}: in each sample, all neurons hear the same third factor. That teaches them to be "
        "active together or not, but hardly which of them should have fired: a net that has to choose stays at chance. "
        "Give each neuron its own, (B, N_post), or let an Actor do so (PlasticityConfig.reward_all_layers()). If the "
        "neurons are rewarded as one population, all is well.",
    )


def join_names(connections: Iterable[Connection]) -> str:
    """Names, and no more of them than one wants to read."""
    names = [connection.name for connection in connections]
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"


def _describe_sources(gate: NeuromodulatoryGate) -> str:
    return "Here " + ", ".join(f"{m.source} drives {m.name}" for m in gate.modulators)
