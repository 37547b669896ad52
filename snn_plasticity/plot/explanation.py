"""Why a weight moved, as a picture: spike pairs, what the trace kept of them and the gate they met, and the weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import require_count, require_kind, require_number
from ..explain.explanation import Explanation
from .canvas import BLUE, GREEN, INK, ORANGE, VERMILION, axes, label_axes, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 300  # pairs that are drawn: those that did most
WIDEST = 3.0  # points, of the pair that did most
PRE_ROW, POST_ROW, TICK = 1.0, 0.0, 0.16


def explanation(
    explained: Explanation,
    ax: Sequence[Axes] | None = None,
    *,
    sample: int | None = None,
    dt: float = 1.0,
    unit: str = "steps",
) -> list[Axes]:
    """Draw the ledger of a weight: each spike pair, its eligibility beside the gate, and the weight.

    Above, the spikes of both neurons, and a line for each pair: blue and whole where it strengthened the synapse,
    vermilion and dashed where it weakened it, and the wider the more it did. In the middle e of the sample, and lr ·
    factor whenever a modulator came. Below the weight, which all samples share.

    Args:
        explained: what `learner.explain` gave.
        ax: three axes, one above the other; None opens a figure.
        sample: of the batch; None: the one whose pairs did most.
        dt, unit: length of a step and its unit, for the time axis.

    Returns:
        The three axes.

    Raises:
        TypeError: no explanation, or no three axes.
        ValueError: a sample that is not part of it, or dt <= 0.

    >>> import torch
    >>> from matplotlib.figure import Figure
    >>> from snn_plasticity import Connection, PlasticityLearner
    >>> connection = Connection("fc", torch.nn.Linear(1, 1))
    >>> learner = PlasticityLearner([connection])
    >>> with learner.record():
    ...     for _ in range(3):
    ...         connection.observe(torch.ones(1, 1), torch.ones(1, 1))
    ...         learner.step(1.0)
    ...     found = learner.explain("fc", 0, 0)
    >>> [ax.get_ylabel() for ax in explanation(found, Figure().subplots(3))]
    ['', 'eligibility e', 'weight']
    """
    require_kind("explained", explained, Explanation, "What learner.explain gave.")
    dt = require_number("dt", dt, 0.0, open_low=True)
    require_kind("unit", unit, str, "A text, as 'ms'.")
    sample = _sample(explained, sample)
    pairs, trace, weight = _three(ax)
    _draw_pairs(explained, sample, dt, pairs)
    _draw_trace(explained, sample, dt, trace)
    _draw_weight(explained, dt, unit, weight)
    times = [explained.pre.step, explained.post.step, explained.steps]
    low, high = (pick(np.concatenate(times).tolist()) for pick in (min, max))
    room = max(0.5, 0.02 * (high - low))
    for one in (pairs, trace, weight):
        one.set_xlim(dt * (low - room), dt * (high + room))
    return [pairs, trace, weight]


def _three(ax: Any) -> list[Axes]:
    if ax is None:
        import matplotlib.pyplot as plt

        shape = {"height_ratios": (1.3, 1, 0.8)}
        ax = plt.subplots(3, figsize=(7.0, 5.6), sharex=True, layout="constrained", gridspec_kw=shape)[1]
    ax = list(ax) if isinstance(ax, (list, tuple, np.ndarray)) else [ax]
    if len(ax) != 3:
        raise TypeError(f"ax holds {len(ax)} axes; expected three, as from plt.subplots(3, sharex=True)[1], or None.")
    return [axes(one) for one in ax]


def _sample(explained: Explanation, sample: int | None) -> int:
    """The sample to draw."""
    known = sorted({one.sample for one in explained.eligibility})
    if sample is None:
        did = explained.by_sample()
        return max(did, key=lambda one: abs(did[one])) if did else (known or [0])[0]
    sample = require_count("sample", sample, 0)
    if sample not in known:
        raise ValueError(f"sample = {sample}; expected one of {', '.join(map(str, known))}.")
    return sample


def _draw_pairs(explained: Explanation, sample: int, dt: float, ax: Axes) -> None:
    """Spikes of both sides, and lines between those that are pairs."""
    from matplotlib.collections import LineCollection

    for side, row, color in ((explained.pre, PRE_ROW, INK), (explained.post, POST_ROW, INK)):
        ax.vlines(dt * np.unique(side.step[side.sample == sample]), row - TICK, row + TICK, color=color, linewidth=1.4)
    did = [
        ((dt * pre, dt * post), change)
        for (whose, _, pre, post), change in explained.by_pair().items()
        if whose == sample and pre is not None and post is not None
    ]
    did = sorted(did, key=lambda one: -abs(one[1]))[:MOST_LINES]
    widest = abs(did[0][1]) if did else 1.0
    for sign, color, dashes, name in ((1, BLUE, "-", "strengthens"), (-1, VERMILION, (0, (4, 2)), "weakens")):
        chosen = [one for one in did if one[1] * sign > 0]
        ends = [[(pre, PRE_ROW - TICK), (post, POST_ROW + TICK)] for (pre, post), _ in chosen]
        widths = [max(0.3, WIDEST * abs(change) / widest) for _, change in chosen]
        lines = LineCollection(ends, colors=color, linewidths=widths, linestyles=[dashes], label=name, alpha=0.85)  # type: ignore[arg-type]
        if ends:
            ax.add_collection(lines)
    ax.set_yticks([POST_ROW, PRE_ROW], ["post", "pre"])
    ax.set_ylim(-0.35, 1.35)
    label_axes(ax, "", "")
    total = explained.by_sample().get(sample, 0.0)
    index = ", ".join(map(str, explained.index))
    ax.set_title(f"{explained.layer}[{index}], sample {sample}: {total:+.3g}", fontsize=10, loc="left")
    if did:
        ax.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, fontsize=9)


def _draw_trace(explained: Explanation, sample: int, dt: float, ax: Axes) -> None:
    """e after each step, and the gate whenever a modulator came."""
    own = [one for one in explained.eligibility if one.sample == sample]
    for one in own:
        when = dt * np.arange(one.start, one.start + len(one.e))
        ax.step(when, one.e, where="post", color=GREEN, linewidth=1.6)
    ax.axhline(0.0, color=INK, linewidth=0.6)
    label_axes(ax, "", "eligibility e")
    ax.yaxis.label.set_color(GREEN)
    columns = explained.columns
    mine = columns["sample"] == sample
    steps, first = np.unique(columns["step"][mine], return_index=True)
    gates = columns["gate"][mine][first]
    gate = ax.twinx()
    when = dt * (steps - 1)  # after the step before it
    gate.vlines(when, 0.0, gates, color=ORANGE, linewidth=1.6)
    for up, marker in ((True, "^"), (False, "v")):
        some = (gates > 0) == up
        gate.plot(when[some], gates[some], marker, color=ORANGE, markersize=5)
    for one, values in ((gate, [gates]), (ax, [held.e for held in own])):
        far = 1.2 * max([1e-12, *(float(np.abs(some).max(initial=0.0)) for some in values)])
        one.set_ylim(-far, far)  # zero at one height on both sides
    gate.set_ylabel("gate, lr · factor", color=ORANGE)
    gate.spines[["top", "left"]].set_visible(False)


def _draw_weight(explained: Explanation, dt: float, unit: str, ax: Axes) -> None:
    """The weight, which changes after the step that a modulator came in."""
    when = explained.steps - 1
    begin = min([*explained.pre.step.tolist(), *explained.post.step.tolist(), int(when[0])]) - 1
    ax.step(
        dt * np.array([begin, *when, when[-1] + 1]),
        [*explained.weights, explained.weights[-1]],
        where="post",
        color=INK,
    )
    label_axes(ax, f"time ({unit})", "weight")
    if dt.is_integer():
        whole_ticks(ax.xaxis)
    ax.set_title(f"{explained.before:.4g} → {explained.after:.4g} ({explained.measured:+.3g})", fontsize=10, loc="left")
    ax.margins(y=0.15)
