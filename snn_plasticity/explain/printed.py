"""An explanation as a table to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .explanation import Explanation, SpikePair

_CAUSES = {
    "remembered": "what the trace remembered from before the record",
    "mask": "what the mask took away",
    "reduce": "what reduce made of the change",
    "bounds": "what the weight's bounds took or gave",
    "waiting": "changes that waited from before the record",
    "elsewhere": "the weight was written from elsewhere",
    "faded": "pairs too faded to be listed, together",
}


def table_of(found: Explanation) -> str:
    """The rows that did most, their sum, and the weight before and after."""
    index = ", ".join(map(str, found.index))
    lines = [
        f"{found.layer}[{index}] moved by {found.measured:+.6g} in steps {found.since} to {found.until}: "
        f"{found.before:.6g} → {found.after:.6g}",
        "",
    ]
    listed = found.largest()
    lines += _columns(found, listed) if listed else ["  no spike pair met a modulator"]
    rest = len(found) - len(listed)
    if rest:
        left = found.columns["change"].sum() - sum(row.change for row in listed)
        lines.append(f"{f'  and {rest:,} more rows of pairs':<{_WIDTH}}{left:+11.6f}")
    if any(row.dt is None for row in listed):
        lines.append("  –: not a spike of the record, but what traces held from before it")
    causes: dict[str, float] = {}
    for other in found.others:
        causes[other.cause] = causes.get(other.cause, 0.0) + other.change
    lines += [f"{'  ' + _CAUSES[cause]:<{_WIDTH}}{change:+11.6f}" for cause, change in causes.items()]
    lines.append(f"{'  sum':<{_WIDTH}}{found.total:+11.6f}")
    lines.append("")
    if found.adds_up:
        lines.append("The rows add up to the change of the weight.")
    else:
        lines.append(
            f"The rows do NOT add up to the change of the weight: {found.difference:+.3g} is between them. Something "
            "that is not recorded was at work."
        )
    return "\n".join(lines)


_HEAD = ("sample", "pre", "post", "Δt", "coincidence", "trace", "at step", "gate", "bounds")
_WIDTHS = (8, 6, 6, 5, 13, 8, 9, 12, 8)
_WIDTH = sum(_WIDTHS)


def _columns(found: Explanation, listed: list[SpikePair]) -> list[str]:
    head = "".join(f"{name:>{width}}" for name, width in zip(_HEAD, _WIDTHS, strict=True))
    rows = [f"{head}{'change':>11}"]
    for row in listed:
        dt = "–" if row.dt is None else f"{row.dt:+d}"
        cells = (
            str(row.sample), _when(row.pre_step), _when(row.post_step), dt, f"{row.coincidence:+.4f}",
            f"{row.trace:.4f}", str(row.step), f"{row.gate:+.3e}", f"{row.bounds:.3f}",
        )  # fmt: skip
        line = "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
        rows.append(f"{line}{row.change:+11.6f}")
    return rows


def _when(step: int | None) -> str:
    return "–" if step is None else str(step)
