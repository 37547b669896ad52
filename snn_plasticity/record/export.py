"""A record for other tools: NumPy arrays, tidy frames of pandas, TensorBoard, Weights & Biases."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .._checks import known_as
from .._loss_changes import reads_gradient

if TYPE_CHECKING:
    from .record import Record, Series

RATES = 100  # points of the curve of a firing rate


def to_arrays(record: Record) -> dict[str, np.ndarray]:
    """Everything under a flat name, as "fc1.spikes.post" or "modulators.DA.values"."""
    found: dict[str, Tensor] = {"resets": record.resets}
    for name in record.layers:
        sides = record.spikes(name)
        parts = {f"spikes.{part}": value for part, value in sides._asdict().items() if value is not None}
        for what, series in series_of(record, name).items():
            parts |= {f"{what}.time": series.time, f"{what}.values": series.values}
        parts["synapses"] = torch.tensor(record.synapses[name], device="cpu")
        found |= {f"{name}.{part}": value for part, value in parts.items()}
    for room, signals in (("modulators", record.modulators), ("affect", record.affect)):
        for name, series in signals.items():
            found |= {f"{room}.{name}.time": series.time, f"{room}.{name}.values": series.values}
    return {name: value.detach().cpu().numpy() for name, value in found.items()}


def series_of(record: Record, name: str) -> dict[str, Series]:
    """What there is of a layer over time; e is left out where there is none."""
    layer, found = record._layers[name], {}
    if not (reads_gradient(layer.connection) or layer.chosen.lost):
        found["eligibility"] = record.eligibility(name)
    return found | {
        "changes": record.changes(name),
        "chosen_weights": record.chosen_weights(name),
        "change_norm": record.change_norm(name),
        "factor": record.factor(name),
        "weights": record.weights(name),
    }


def to_frames(record: Record) -> dict[str, Any]:
    """Tidy frames, one row for each observation."""
    pandas: Any = _module("pandas", "record.to_pandas()", 'pip install "snn_plasticity[log]"')
    spikes, synapses, traces, layers, signals = [], [], [], [], []
    for name in record.layers:
        sides, found = record.spikes(name), series_of(record, name)
        for side, values in (("pre", sides.pre), ("post", sides.post)):
            if values is not None:
                spikes.append(_spike_rows(pandas, name, side, sides.time, values))
        labels = [str(index) for index in record.synapses[name]]
        changes = _long(pandas, found["changes"], ("synapse",), "change", labels, apart=True)
        weights = _long(pandas, found["chosen_weights"], ("synapse",), "weight", labels, apart=True)
        synapses.append(changes.assign(weight=weights["weight"]).assign(layer=name))
        if "eligibility" in found:
            e = _long(pandas, found["eligibility"], ("sample", "synapse"), "eligibility", labels)
            traces.append(e.assign(layer=name))
        norm = found["change_norm"]
        layers.append(pandas.DataFrame({"time": norm.time, "mean_change": norm.values}).assign(layer=name))
        signals.append(_signal_rows(pandas, f"factor.{name}", found["factor"]))
    for name, series in {**record.modulators, **record.affect}.items():
        signals.append(_signal_rows(pandas, name, series))
    frames = {"spikes": spikes, "synapses": synapses, "eligibility": traces, "layers": layers, "signals": signals}
    return {
        what: pandas.concat(rows, ignore_index=True) if rows else pandas.DataFrame() for what, rows in frames.items()
    }


def _spike_rows(pandas: Any, layer: str, side: str, time: Tensor, values: Tensor) -> Any:
    """A row for each entry that is not zero; neurons of a map are counted one after the other."""
    flat = values.flatten(2) if values.dim() > 2 else values.unsqueeze(2)
    at, sample, neuron = flat.nonzero(as_tuple=True)
    height = flat[at, sample, neuron].to(torch.float64)
    return pandas.DataFrame(
        {"layer": layer, "side": side, "time": time[at], "sample": sample, "neuron": neuron, "value": height}
    )


def _long(
    pandas: Any, series: Series, axes: tuple[str, ...], what: str, labels: list[str], *, apart: bool = False
) -> Any:
    """A series (S, …, K) of synapses, a row for each value."""
    values = series.values
    if apart and values.dim() == 3:  # one network for each sample
        axes = ("sample", *axes)
    grid = torch.meshgrid(*(torch.arange(size, device="cpu") for size in values.shape), indexing="ij")
    columns: dict[str, Any] = {"time": series.time[grid[0].flatten()]}
    for axis, places in zip(axes, grid[1:], strict=True):
        flat = places.flatten().tolist()
        columns[axis] = [labels[k] for k in flat] if axis == "synapse" else flat
    return pandas.DataFrame({**columns, what: values.flatten()})


def _signal_rows(pandas: Any, name: str, series: Series) -> Any:
    """A row for each step and sample; what differs from neuron to neuron is averaged, but for the parts of a mood."""
    if name == "mood" and series.values.dim() == 3:
        parts = (("valence", 0), ("arousal", 1), ("dominance", 2))
        each = [
            _signal_rows(pandas, f"mood.{part}", series._replace(values=series.values[..., k])) for part, k in parts
        ]
        return pandas.concat(each, ignore_index=True)
    values = series.values.flatten(2).mean(2) if series.values.dim() > 2 else series.values
    steps, batch = values.shape
    sample = torch.arange(batch, device="cpu").repeat(steps)
    time = series.time.repeat_interleave(batch)
    return pandas.DataFrame({"name": name, "time": time, "sample": sample, "value": values.flatten()})


def scalars_of(record: Record) -> list[tuple[int, str, float]]:
    """(step, tag, value) in the order of steps: rates, mean |Δw|, and means of factors, modulators and affect."""
    found: list[tuple[int, str, float]] = []
    for name in record.layers:
        sides = record.spikes(name)
        for side, values in (("pre", sides.pre), ("post", sides.post)):
            if values is not None and len(values):
                for part, at in zip(values.tensor_split(min(RATES, len(values))), _ends(sides.time), strict=True):
                    found.append((at, f"{name}/{side}_rate", float((part != 0).float().mean())))
        norm, factor = record.change_norm(name), record.factor(name)
        found += _means(f"{name}/mean_change", norm.time, norm.values)
        found += _means(f"{name}/third_factor", factor.time, factor.values)
    for name, series in record.modulators.items():
        found += _means(f"modulators/{name}", *series)
    for name, series in record.affect.items():
        if name == "mood":
            for k, part in enumerate(("valence", "arousal", "dominance")):
                found += _means(f"affect/mood_{part}", series.time, series.values[..., k])
        else:
            found += _means(f"affect/{name}", *series)
    return sorted(found, key=lambda one: one[0])


def _ends(time: Tensor) -> list[int]:
    return [int(part[-1]) + 1 for part in time.tensor_split(min(RATES, len(time)))]


def _means(tag: str, time: Tensor, values: Tensor) -> list[tuple[int, str, float]]:
    means = values.flatten(1).nanmean(1) if values.dim() > 1 else values
    return [(at, tag, mean) for at, mean in zip(time.tolist(), means.tolist(), strict=True) if mean == mean]


def write_to_tensorboard(record: Record, writer: Any) -> None:
    """Scalars over steps, and histograms of the whole weights that were kept."""
    if not (callable(getattr(writer, "add_scalar", None)) and callable(getattr(writer, "add_histogram", None))):
        raise TypeError(
            f"writer is {known_as(writer)}; expected torch.utils.tensorboard.SummaryWriter(...), or what has its "
            "add_scalar and add_histogram."
        )
    for at, tag, value in scalars_of(record):
        writer.add_scalar(tag, value, at)
    for name in record.layers:
        series = record.weights(name)
        for at, weight in zip(series.time.tolist(), series.values, strict=True):
            writer.add_histogram(f"{name}/weights", weight.detach().cpu(), at)


def write_to_wandb(record: Record, run: Any) -> None:
    """One `run.log` for each step that has something, with the step under "step"; weights as histograms."""
    if not callable(getattr(run, "log", None)):
        raise TypeError(f"run is {known_as(run)}; expected what wandb.init(...) gave, or what has its log.")
    wandb: Any = _module("wandb", "record.to_wandb(run)", "pip install wandb")
    rows: dict[int, dict[str, Any]] = {}
    for at, tag, value in scalars_of(record):
        rows.setdefault(at, {})[tag] = value
    for name in record.layers:
        series = record.weights(name)
        for at, weight in zip(series.time.tolist(), series.values, strict=True):
            counts = np.histogram(weight.detach().cpu().double().numpy(), bins=64)
            rows.setdefault(at, {})[f"{name}/weights"] = wandb.Histogram(np_histogram=counts)
    for at in sorted(rows):
        run.log({"step": at, **rows[at]})


def _module(name: str, what: str, how: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise ImportError(f"{what} needs {name}, which is not installed; {how}. Nothing was written.") from None
