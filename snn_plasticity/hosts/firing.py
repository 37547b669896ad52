"""Weights scaled until neurons fire as often as is wanted: a layer that never fires has nothing to learn from.

    w <- s · w,   b <- s · b,   s such that mean(spikes) = rate,   one layer after the other, from the input up

Rates are those of real forward passes; s is found by bisection of its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .._checks import require_callable, require_kind, require_number
from .._weights import refusal_of
from .adapter import forget_states
from .index import ModelIndex, Neuron, index_model, unwrap
from .plan import call_with, discover
from .restoring import restored, unheard
from .wiring import Wiring

__all__ = ["LayerScale", "scale_to_rate"]

WIDEST_SCALE = 2.0**30  # scales that are tried: 1 / WIDEST_SCALE .. WIDEST_SCALE
TRIES = 60
FiringRate = float | Mapping[str, float]
Run = Callable[[nn.Module, Any], object]


class LayerScale(NamedTuple):
    """What a layer was multiplied by, and the share of its neurons' steps with a spike before and after."""

    scale: float
    rate_before: float
    rate: float


def scale_to_rate(
    model: nn.Module, batch: Any, *, rate: FiringRate = 0.1, run: Run | None = None, tolerance: float = 0.1
) -> dict[str, LayerScale]:
    """Scale the weights and biases of each layer, from the input up, until its neurons fire at a rate on a batch.

        w <- s · w,   b <- s · b,   s such that mean(spikes) = rate

    Nothing else of the model changes: states, buffers and random numbers are put back, and a learner that is attached
    hears nothing. Recurrent weights are left alone. Layers that feed a neuron together share s.

    Args:
        model: a model with neurons of snnTorch or Norse.
        batch: an input as the model will see it; a tuple is several arguments, a dict keyword arguments.
        rate: spikes per neuron and step, above 0 and below 1; or {layer: rate}, and only these are scaled.
        run: (model, batch) -> anything: your loop over time, where one call of the model is one step. None calls the
            model once. Each run begins with fresh hidden states.
        tolerance: by what share of `rate` a rate may miss it.

    Returns:
        {layer: (scale, rate_before, rate)}.

    Raises:
        ValueError: a rate that no scale reaches, saying what was reached; unknown names; no layer that feeds a neuron.
        TypeError: arguments of another kind, or a weight that is computed from others.
        Whatever is raised, also by the model: nothing is changed then.

    >>> import snntorch
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(4, 50), snntorch.Leaky(beta=0.9, init_hidden=True))
    >>> steps = (torch.rand(100, 8, 4) < 0.2).float()
    >>> found = scale_to_rate(model, steps, rate=0.2, run=lambda model, steps: [model(x) for x in steps])
    >>> abs(found["0"].rate - 0.2) < 0.02
    True
    """
    require_kind("model", model, nn.Module, "The model that holds the layers.")
    tolerance = require_number("tolerance", tolerance, 0.0, 1.0, open_low=True)
    if run is not None:
        require_callable("run", run, "of (model, batch) that runs the model over time, or None")
    rates = {name: _rate(f"rate[{name!r}]", each) for name, each in rate.items()} if isinstance(rate, Mapping) else None
    target = None if rates is not None else _rate("rate", rate)
    trial = _Trial(model, batch, run)
    groups = trial.groups()
    for name in rates or ():
        if not any(name in group.layers for group in groups):
            known = ", ".join(name for group in groups for name in group.layers) or "none"
            raise ValueError(f"rate names {name!r}; expected layers that feed a spiking neuron, which are {known}.")
    chosen = [(group, _wanted(group, rates, target)) for group in groups]
    chosen = [(group, wanted) for group, wanted in chosen if wanted is not None]
    if not chosen:
        raise ValueError(f"No layer feeds a spiking neuron in this run. {trial.index.describe()} Nothing was changed.")
    before = [(p, p.detach().clone()) for group, _ in chosen for p in group.parameters]
    found: dict[str, LayerScale] = {}
    try:
        for group, wanted in chosen:
            found |= dict.fromkeys(group.layers, trial.fit(group, wanted, tolerance))
    except BaseException:
        _write(before)
        raise
    return found


def _rate(name: str, value: object) -> float:
    rate = require_number(name, value, 0.0, 1.0, open_low=True)
    if rate == 1.0:
        raise ValueError(f"{name} = 1; expected a number in (0, 1), spikes per neuron and step.")
    return rate


class _Group(NamedTuple):
    """Layers that are scaled together, since they feed the same neurons or hold the same weights."""

    layers: list[str]
    neurons: list[str]
    parameters: list[Tensor]


def _wanted(group: _Group, rates: Mapping[str, float] | None, target: float | None) -> float | None:
    """The rate that is wanted of a group; None where it is left alone."""
    if rates is None:
        return target
    wanted = {rates[name] for name in group.layers if name in rates}
    if len(wanted) > 1:
        raise ValueError(f"{', '.join(group.layers)} feed the same neurons; expected one rate for them, not {wanted}.")
    return wanted.pop() if wanted else None


def _write(values: Sequence[tuple[Tensor, Tensor]], scale: float = 1.0) -> None:
    for parameter, value in values:
        with torch.inference_mode(parameter.is_inference()), torch.no_grad():
            parameter.copy_(value * scale)


class _Trial:
    """Runs a model on a batch, and counts how often its neurons fire."""

    def __init__(self, model: nn.Module, batch: Any, run: Run | None) -> None:
        self.model, self.batch, self.run = model, batch, run or call_with
        self.index: ModelIndex = index_model(model)

    def groups(self) -> list[_Group]:
        """The layers, in the order in which their neurons fire first."""
        index, wiring = self.index, Wiring({}, {}, (), len(self.index.neurons))
        feeds = discover(unwrap(self.model), index, wiring, self._run)
        groups: list[_Group] = []
        for name in self.rates():
            layers = dict(self._layers_of(index.neurons[name], feeds))
            if not layers:
                continue
            parameters = {id(p): p for held in layers.values() for p in held}
            same = [g for g in groups if any(id(p) in parameters for p in g.parameters)]
            for group in same:
                parameters |= {id(p): p for p in group.parameters}
                groups.remove(group)
            names = dict.fromkeys([*(name for g in same for name in g.layers), *layers])
            neurons = [*(n for g in same for n in g.neurons), name]
            groups.append(_Group(list(names), neurons, list(parameters.values())))
        return groups

    def _layers_of(self, neuron: Neuron, feeds: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, list[Tensor]]]:
        """The layers that drive a neuron, and what is scaled of each."""
        if neuron.kind.refusal or neuron.kind.integrates:
            return
        for name, synapse in self.index.synapses.items():
            inside = synapse.inside_of == neuron.name and not neuron.kind.takes_current
            if not inside and neuron.name not in feeds.get(name, ()):
                continue
            layer, attribute = synapse.layer, synapse.attribute
            if lost := refusal_of(layer, attribute):
                raise TypeError(f"{name} cannot be scaled: {lost}.")
            bias = getattr(layer, "bias", None)
            yield name, [getattr(layer, attribute), *([bias] if isinstance(bias, Tensor) else [])]
        for name, own in self.index.own.items():
            if own.neuron is neuron and not own.weight.recurrent:
                yield name, [getattr(own.layer, own.attribute)]

    def fit(self, group: _Group, wanted: float, tolerance: float) -> LayerScale:
        """Scale a group.

        Raises:
            ValueError: the rate is not reached, whatever the scale.
        """
        values = [(p, p.detach().clone()) for p in group.parameters]
        scale, low, high, tried = 1.0, 0.0, math.inf, {}
        for _ in range(TRIES):
            _write(values, scale)
            rates = self.rates()
            rate = tried[scale] = sum(rates[n].mean for n in group.neurons) / len(group.neurons)
            if abs(rate - wanted) <= tolerance * wanted:
                return LayerScale(scale, tried[1.0], rate)
            low, high = (scale, high) if rate < wanted else (low, scale)
            scale = math.sqrt(low * high) if low and high < math.inf else scale * (4.0 if rate < wanted else 0.25)
            if not 1.0 / WIDEST_SCALE <= scale <= WIDEST_SCALE or scale in tried:
                break
        raise ValueError(_missed(group, wanted, tried))

    def rates(self) -> dict[str, _Firing]:
        """{neuron: how often it fired}, in the order of their first steps."""
        counts: dict[str, _Firing] = {}
        handles = [
            neuron.module.register_forward_hook(_CountingHook(neuron, counts), with_kwargs=True)
            for neuron in self.index.neurons.values()
        ]
        try:
            with unheard(self.model), restored(self.model), torch.inference_mode(False), torch.no_grad():
                self._run()
        finally:
            for handle in handles:
                handle.remove()
        return counts

    def _run(self) -> None:
        """One run, from fresh states."""
        forget_states(self.model)
        try:
            self.run(self.model, self.batch)
        except Exception as error:
            said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            raise ValueError(
                f"batch does not run through the model ({said}); expected an input of its forward, a tuple of several, "
                "a dict by keyword, or run=, a function of (model, batch). Nothing was changed."
            ) from error


class _Firing:
    """Spikes of a neuron, and the entries in which there could have been one."""

    def __init__(self) -> None:
        self.spikes: Tensor | int = 0
        self.entries = 0

    @property
    def mean(self) -> float:
        """Share of entries with a spike."""
        return int(self.spikes) / max(1, self.entries)


class _CountingHook:
    """Counts the spikes of one neuron while a trial runs."""

    def __init__(self, neuron: Neuron, counts: dict[str, _Firing]) -> None:
        self.neuron, self.counts = neuron, counts

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        """One call."""
        spikes, count = (
            self.neuron.read(args, kwargs, output).spikes,
            self.counts.setdefault(self.neuron.name, _Firing()),
        )
        spikes = spikes if spikes.layout is torch.strided else spikes.to_dense()
        count.spikes = count.spikes + torch.count_nonzero(spikes)
        count.entries += spikes.numel()


def _missed(group: _Group, wanted: float, tried: Mapping[float, float]) -> str:
    """Why a rate was not reached, as far as it was tried."""
    names, below = ", ".join(group.layers), {s: r for s, r in tried.items() if r < wanted}
    above = {s: r for s, r in tried.items() if r >= wanted}
    if below and above:
        (s, r), (t, q) = max(below.items()), min(above.items())
        found = (
            f"its neurons fire at {r:.4g} with its weights times {s:.4g} and at {q:.4g} times {t:.4g}, with nothing in "
            "between. Ask for one of these, allow a larger tolerance=, or give a batch of more samples or steps"
        )
    elif not above and not any(tried.values()):
        found = (
            f"its neurons never fire, whatever its weights are multiplied by (up to {max(tried):.3g}). Its current is "
            "never above zero, or what normalises it undoes the scale: look at the signs of its weights and biases, "
            "and at whether its input is silent on this batch"
        )
    elif not above:
        found = (
            f"its neurons fire at {max(tried.values()):.4g} at most. Ask for less, or look at the signs of its weights"
        )
    else:
        found = (
            f"its neurons fire at {min(tried.values()):.4g} at least, even without its current. Ask for more, or look "
            "at what else drives them"
        )
    return f"{names}: a rate of {wanted:g} is not reached: {found}. Nothing was changed."
