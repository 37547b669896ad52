"""One page of a trial: who fired, what was tagged, what was released, and what became of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import known_as, require_count, require_kind, require_number, shown
from ..record import Record
from .canvas import CYCLE, DASHES, FAINT, INK, label_axes, panels, row_colors, whole_ticks
from .legends import legend
from .modulators import COLOR, NAME
from .raster import raster
from .story import Line, Story, from_time, of_arrays, of_record, strongest, within

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

MOST_MARKS = 40  # learner steps that are marked one by one
DOTTED = 60  # points of a line that get a dot each
MARKERS = ("o", "s", "^", "D")


def trial(
    record: Record | Mapping[str, Any],
    where: Mapping[str, Axes] | FigureBase | None = None,
    *,
    sample: int = 0,
    since: int | None = None,
    until: int | None = None,
    layer: str | None = None,
    most: int = 5,
    synapses: Mapping[Any, str] | Sequence[Any] | None = None,
    colors: Mapping[str, Any] | None = None,
    dt: float = 1.0,
    unit: str = "steps",
    start: float | None = None,
) -> dict[str, Axes]:
    """Draw one page: spikes of inputs and of every layer, e of some synapses, the third factor, and what weights did.

    All panels share their time. Dotted lines are steps of the learner (where there are at most 40), dashed
    lines resets. Δw is counted from the first step that is shown. A third factor that is one for each neuron is drawn
    of the neurons of the drawn synapses, in their colours.

    Args:
        record: of `learner.record()`; or plain arrays by name: "spikes" {name: (T, N)}, and as far as there are some
            "eligibility" (T, K), "modulators" {name: (T,)}, "changes" (T, K) of weights since the begin, "synapses" (K
            names), "steps" and "resets" (step numbers).
        where: a figure to fill; or axes by name ("input", the layers, "eligibility", "modulators", "changes"; None in
            place of axes leaves a panel out); or None for a new figure.
        sample: which of the recorded samples.
        since, until: the first step that is shown, and the first that is not; None: all that was kept.
        layer: whose synapses are shown; None: the last one that has an eligibility.
        most: how many synapses: those with the largest |e|.
        synapses: instead, these of the recorded ones: a list of indices, or {(post, pre): name}.
        colors: of spikes, {"input" or a layer: as in `raster`}; None: dark.
        dt, unit: length of a step and its unit, for the time axis.
        start: time of the first step that is shown; None: dt times its number.

    Returns:
        The axes by name.

    Raises:
        TypeError: no record, no arrays, or no axes.
        ValueError: nothing was recorded between `since` and `until`; no such sample, layer or
            synapse; other shapes, NaN, or colours of none of the layers.

    >>> import torch
    >>> from matplotlib.figure import Figure
    >>> spikes = {"input": torch.eye(6), "output": torch.eye(6)[:, :2]}
    >>> list(trial({"spikes": spikes, "modulators": {"DA": torch.zeros(6)}}, Figure()))
    ['input', 'output', 'modulators']
    """
    if not isinstance(record, (Record, Mapping)):
        raise TypeError(f"record is {known_as(record)}; expected what learner.record() returns, or arrays by name.")
    sample, most = require_count("sample", sample, low=0), require_count("most", most)
    dt = require_number("dt", dt, 0.0, open_low=True)
    require_kind("unit", unit, str, "A text, as 'ms'.")
    bounds = tuple(
        otherwise if bound is None else require_count(name, bound, low=0)
        for name, bound, otherwise in (("since", since, 0), ("until", until, 2**31))
    )
    start, wanted = None if start is None else require_number("start", start) / dt, _wanted(synapses)
    told = (
        of_record(record, sample, layer, bounds, wanted)
        if isinstance(record, Record)
        else of_arrays(record, layer, wanted)
    )
    told = from_time(strongest(within(told, *bounds), most if wanted is None else len(wanted)), start)
    colors = _checked(colors, told)
    rows = [*told.firing, *_lower(told)]
    tall = [0.7 + 0.35 * np.log10(line.values.shape[1]) for line in told.firing.values()]
    ratios = [*tall, *(1.15 if name == "eligibility" else 0.75 for name in _lower(told))]
    size = (8.0, 0.8 + 1.05 * sum(ratios))
    drawn = panels(where, [[row] for row in rows], size, height_ratios=ratios)
    for name, line in told.firing.items():
        if name in drawn:
            _firing(drawn[name], name, line, dt, colors.get(name))
    for name in _lower(told):
        if name in drawn:
            _LOWER[name](drawn[name], told, dt)
            _name_lines(drawn[name], name, told, beside=not isinstance(where, Mapping))
    _mark(drawn, told, dt, unit)
    return drawn


def _lower(told: Story) -> list[str]:
    """The panels below the spikes, as far as there is something for them."""
    heard = told.factors or told.heard
    there = {"eligibility": told.eligibility, "modulators": heard or None, "changes": told.changes}
    return [name for name, what in there.items() if what is not None]


def _wanted(synapses: Any) -> dict[Any, str | None] | None:
    """Which synapses, by index, and what they are called where they have names."""
    if synapses is None:
        return None
    if not isinstance(synapses, (list, tuple, Mapping)) or not synapses:
        raise TypeError(f"synapses is {known_as(synapses)}; expected a list of (post, pre), or {{(post, pre): name}}.")
    named = dict(synapses) if isinstance(synapses, Mapping) else dict.fromkeys(map(_index, synapses))
    for name in named.values():
        if name is not None or isinstance(synapses, Mapping):
            require_kind("A name of a synapse", name, str, "A text.")
    return {_index(one): name for one, name in named.items()}


def _index(one: Any) -> tuple[Any, ...]:
    return tuple(one) if isinstance(one, (list, tuple)) else (one,)


def _checked(colors: Any, told: Story) -> dict[str, Any]:
    """Colours of spikes by name, if they are colours and there are such spikes."""
    given = {} if colors is None else require_kind("colors", colors, Mapping, "As {'input': '#666666'}.")
    unknown = [name for name in given if name not in told.firing]
    if unknown:
        raise ValueError(f"colors has {shown(unknown[0])}; expected names among {', '.join(map(repr, told.firing))}.")
    for name, some in given.items():
        row_colors(some, {name: told.firing[name].values.shape[1]})
    return dict(given)


def _firing(ax: Axes, name: str, line: Line, dt: float, colors: Any) -> None:
    """Spikes as a raster; numbers as an image."""
    values = line.values
    if values.dtype == bool or np.isin(values, (0, 1)).all():
        raster(values, ax, dt=dt, start=dt * float(line.time[0]), colors=colors, ylabel=f"{name} ({values.shape[1]:,})")
        return
    first, last, top = line.time[0] - 0.5, line.time[-1] + 0.5, float(np.abs(values).max() or 1.0)
    extent = (dt * first, dt * last, -0.5, values.shape[1] - 0.5)
    ax.imshow(np.abs(values).T, cmap="Greys", vmin=0, vmax=top, aspect="auto", interpolation="nearest", origin="lower",
              extent=extent)  # fmt: skip
    whole_ticks(ax.yaxis)
    label_axes(ax, "", f"{name} ({values.shape[1]:,})")


def _draw_eligibility(ax: Axes, told: Story, dt: float) -> None:
    assert told.eligibility is not None
    for k, values in enumerate(told.eligibility.values.T):
        _line(ax, dt * told.eligibility.time, values, k, told.synapses[k])
    ax.axhline(0.0, color=FAINT, linewidth=0.6, zorder=0)
    label_axes(ax, "", "eligibility e")


def _draw_changes(ax: Axes, told: Story, dt: float) -> None:
    assert told.changes is not None
    for k, values in enumerate(told.changes.values.T):
        _line(ax, dt * told.changes.time, values, k, told.synapses[k], drawstyle="steps-post")
    ax.axhline(0.0, color=FAINT, linewidth=0.6, zorder=0)
    label_axes(ax, "", "Δw")
    ax.ticklabel_format(axis="y", scilimits=(-2, 4))


def _draw_factors(ax: Axes, told: Story, dt: float) -> None:
    """Modulators as stems while they are few, else as lines; or what each neuron heard, as its first synapse."""
    lines = [(k, NAME.get(name, name), COLOR.get(name), line) for k, (name, line) in enumerate(told.factors.items())]
    if told.heard is not None:
        for k, name in enumerate(told.neurons):
            if name not in told.neurons[:k]:
                lines.append((k, name, None, Line(told.heard.time, told.heard.values[:, k])))
    for k, name, own, line in lines:
        style = {"color": own or CYCLE[k % len(CYCLE)], "linestyle": DASHES[k % len(DASHES)], "linewidth": 1.4}
        if len(line.time) <= DOTTED:
            ax.vlines(dt * line.time, 0, line.values, **style)
            mark = {"color": style["color"], "marker": MARKERS[k % len(MARKERS)], "markersize": 4, "linestyle": ""}
            ax.plot(dt * line.time, line.values, label=name, **mark)
        else:
            ax.plot(dt * line.time, line.values, label=name, **style)
    ax.axhline(0.0, color=FAINT, linewidth=0.6, zorder=0)
    plain = told.heard is not None or list(told.factors) == ["third factor"]
    label_axes(ax, "", "third factor" if plain else "modulators")


_LOWER = {"eligibility": _draw_eligibility, "modulators": _draw_factors, "changes": _draw_changes}


def _name_lines(ax: Axes, name: str, told: Story, *, beside: bool) -> None:
    """A legend, right of the panel on a page of its own; synapses are the same in both panels, and named once."""
    if name == "changes":
        return
    options = {"fontsize": 8, "frameon": False}
    by_neurons = all(" ← " in one for one in told.synapses)  # and not by names of the user's own
    titles = {"eligibility": "post ← pre" if by_neurons else "", "modulators": "third factor of" if told.heard else ""}
    title = titles[name]
    options |= {"title": title, "title_fontsize": 8, "alignment": "left"} if title else {}
    if beside:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0, **options)
    else:  # over the marks of steps and resets, which are in every place
        legend(ax, **options | {"frameon": True, "framealpha": 0.85, "facecolor": "white", "edgecolor": "none"})


def _line(ax: Axes, when: np.ndarray, values: np.ndarray, k: int, name: str, **options: Any) -> None:
    mark = {"marker": ".", "markersize": 4} if len(when) <= DOTTED else {}
    style = {"color": CYCLE[k % len(CYCLE)], "linestyle": DASHES[k % len(DASHES)], "linewidth": 1.4}
    ax.plot(when, values, label=name, **style, **mark, **options)


def _mark(drawn: Mapping[str, Axes], told: Story, dt: float, unit: str) -> None:
    """Steps of the learner and resets, in every panel; a common time, told at the bottom."""
    every = list(drawn.values())
    first = min(line.time[0] for line in told.firing.values())
    last = max(line.time[-1] for line in told.firing.values())
    marks = [(told.resets, "reset", {"color": INK, "linestyle": "--", "linewidth": 1.0})]
    if len(told.steps) <= MOST_MARKS:
        marks.insert(0, (told.steps, "step of the learner", {"color": FAINT, "linestyle": ":", "linewidth": 1.0}))
    handles = []
    for times, name, style in marks:
        for ax in every:
            for when in times:
                handle = ax.axvline(dt * when, zorder=-1, **style)
        if len(times) and every:
            handles.append((handle, name))
    if handles:
        every[0].legend(*zip(*handles, strict=True), loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2,
                        frameon=False, fontsize=8, borderpad=0.1)  # fmt: skip
    for ax in every:
        ax.set_xlim(dt * (first - 0.5 - 0.004 * (last - first)), dt * (last + 0.5 + 0.01 * (last - first)))
        ax.set_xlabel("")
        ax.tick_params(labelbottom=ax is every[-1])
    if every:
        every[-1].set_xlabel(f"time ({unit})")
