"""The answer to "why did this weight move?": spike pairs × trace × gate, which add up to the change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .._checks import require_count
from .landings import OtherCause
from .printed import table_of

LISTED = 10  # rows of a printed table


class SpikePair(NamedTuple):
    """One pair of spikes, met by one `learner.step`: change = coincidence · trace · gate · bounds.

    Args:
        sample: of the batch.
        place: which use of the weight (a position of a convolution); 0 in a matrix.
        pre_step, post_step: when the two neurons spiked; None where the kernel needs no spike of that side.
        dt: post_step − pre_step, in steps; None where there is no pair.
        coincidence: what the kernel makes of the two.
        trace: what was left of it when the modulator came.
        step: when that was, in observed steps.
        gate: lr · third factor, and its share where the batch is averaged.
        bounds: the share of the change that clamp and bounds let through.
        change: what it did to the weight.
    """

    sample: int
    place: int
    pre_step: int | None
    post_step: int | None
    dt: int | None
    coincidence: float
    trace: float
    step: int
    gate: float
    bounds: float
    change: float


class SpikeTimes(NamedTuple):
    """Both sides of a synapse: for each spike its sample, place, step and value, (n,) each."""

    sample: np.ndarray
    place: np.ndarray
    step: np.ndarray
    value: np.ndarray


class Eligibility(NamedTuple):
    """e of one sample, after the steps from `start` on."""

    sample: int
    start: int
    e: np.ndarray


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a weight moved: every spike pair, what the trace kept of it and the gate that it met; it adds up.

        Δw = Σ coincidence · trace · gate · bounds  +  Σ other causes

    Built by `learner.explain`. `print` shows a table; `plot.explanation` draws it.

    Args:
        layer, index: the connection, and the weight in it.
        since, until: the interval, in observed steps of the record.
        columns: those of `SpikePair`, (n,) each; −1 stands for None.
        others: what changed the weight beside pairs.
        before, after: the weight.
        pre, post: spikes of both neurons in the interval's episodes.
        eligibility: e of each sample over time.
        steps: when modulators came.
        weights: the weight before the first of them and after each.
        precision: of the weight's own numbers, relative.
    """

    layer: str
    index: tuple[int, ...]
    since: int
    until: int
    columns: dict[str, np.ndarray] = field(repr=False)
    others: tuple[OtherCause, ...]
    before: float
    after: float
    pre: SpikeTimes = field(repr=False)
    post: SpikeTimes = field(repr=False)
    eligibility: tuple[Eligibility, ...] = field(repr=False)
    steps: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    precision: float = field(repr=False)

    @property
    def measured(self) -> float:
        """What the weight did: after − before."""
        return self.after - self.before

    @cached_property
    def total(self) -> float:
        """What all rows add up to."""
        return float(self.columns["change"].sum()) + sum(other.change for other in self.others)

    @property
    def difference(self) -> float:
        """total − measured: rounding, or something that is not known here."""
        return self.total - self.measured

    @property
    def tolerance(self) -> float:
        """How far rounding may take `difference`: a millionth of all that was added, and that of the weight itself.

        A weight is rounded whenever it changes: by half of its last digit.
        """
        added = np.abs(self.columns["change"]).sum() + sum(abs(other.change) for other in self.others)
        return float(1e-6 * added + self.precision / 2 * np.abs(self.weights).sum())

    @property
    def adds_up(self) -> bool:
        """Whether the rows are the whole change."""
        return abs(self.difference) <= self.tolerance

    def __len__(self) -> int:
        return len(self.columns["change"])

    def __iter__(self) -> Iterator[SpikePair]:
        return (self._row(k) for k in range(len(self)))

    def largest(self, count: int = LISTED) -> list[SpikePair]:
        """The pairs that did most, either way."""
        count = require_count("count", count)
        size = -np.abs(self.columns["change"])
        return [self._row(int(k)) for k in np.argsort(size, kind="stable")[:count]]

    def by_step(self) -> dict[int, float]:
        """What each `learner.step` did to the weight, by the step at which it came."""
        return self._summed("step", others=True)

    def by_dt(self) -> dict[int | None, float]:
        """What pairs did, by how far apart their spikes were; None where there was no pair."""
        return self._summed("dt")

    def by_sample(self) -> dict[int, float]:
        """What pairs did, by sample."""
        return self._summed("sample")

    def by_pair(self) -> dict[tuple[int, int, int | None, int | None], float]:
        """What each pair did in all, by (sample, place, pre_step, post_step)."""
        named = [self.columns[name] for name in ("sample", "place", "pre_step", "post_step")]
        keys, which = np.unique(np.stack(named, 1), axis=0, return_inverse=True)
        sums = np.bincount(which.ravel(), weights=self.columns["change"], minlength=len(keys))
        return {
            (int(s), int(p), _step(r), _step(q)): float(total) for (s, p, r, q), total in zip(keys, sums, strict=True)
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers: the columns of the table, other causes, weights and sums."""
        columns = {name: column.tolist() for name, column in self.columns.items()}
        for name in ("pre_step", "post_step"):
            columns[name] = [_step(step) for step in columns[name]]
        pairs = zip(columns["pre_step"], columns["post_step"], strict=True)
        columns["dt"] = [None if None in pair else pair[1] - pair[0] for pair in pairs]  # type: ignore[operator]
        return {
            "layer": self.layer, "index": list(self.index), "since": self.since, "until": self.until,
            "before": self.before, "after": self.after, "measured": self.measured, "total": self.total,
            "difference": self.difference, "pairs": columns, "others": [other._asdict() for other in self.others],
        }  # fmt: skip

    def to_pandas(self) -> Any:
        """The pairs as a DataFrame, one row each, in the order of time.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        try:
            import pandas as pd  # type: ignore[import-not-found,unused-ignore]
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "to_pandas needs pandas, which is not installed: pip install pandas, or take to_dict()."
            ) from None
        frame = pd.DataFrame(self.to_dict()["pairs"], columns=list(SpikePair._fields))
        return frame.astype(dict.fromkeys(("pre_step", "post_step", "dt"), "Int64"))

    def __str__(self) -> str:
        return table_of(self)

    def _row(self, k: int) -> SpikePair:
        row: dict[str, Any] = {name: column[k].item() for name, column in self.columns.items()}
        row["pre_step"], row["post_step"] = _step(row["pre_step"]), _step(row["post_step"])
        row["dt"] = None if None in (row["pre_step"], row["post_step"]) else row["dt"]
        return SpikePair(**row)

    def _summed(self, name: str, *, others: bool = False) -> dict[Any, float]:
        keys, which = np.unique(self.columns[name], return_inverse=True)
        alone = (self.columns["pre_step"] < 0) | (self.columns["post_step"] < 0)
        change = np.where(alone & (name == "dt"), 0.0, self.columns["change"])
        found: dict[Any, float] = dict(zip(keys.tolist(), np.bincount(which, weights=change).tolist(), strict=True))
        if name == "dt" and alone.any():
            found = {key: total for key, total in found.items() if (self.columns["dt"][~alone] == key).any()}
            found[None] = float(self.columns["change"][alone].sum())
        for other in self.others if others else ():
            found[other.step] = found.get(other.step, 0.0) + other.change
        return dict(sorted(found.items(), key=lambda item: (item[0] is None, item[0] or 0)))


def _step(step: Any) -> int | None:
    return None if step < 0 else int(step)
