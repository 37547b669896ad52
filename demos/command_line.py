"""The command line of a demo: what can be set, how what was found is printed, and the exit code that follows."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure


class Number(NamedTuple):
    """A whole number that can be set: what it is of, its default, and the least that makes sense."""

    of: str
    default: int = 0
    least: int = 0


class Numbers(NamedTuple):
    """Several whole numbers that can be set: what they are of, their defaults, and the least that makes sense."""

    of: str
    default: tuple[int, ...]
    least: int = 0


class Word(NamedTuple):
    """One of several words that can be set: what it is of, and which; the first is the default."""

    of: str
    choices: tuple[str, ...]


class Finding(NamedTuple):
    """What was measured, what was expected, and whether the claim is kept."""

    measured: str
    expected: str
    kept: bool


def settings(
    page: str, argv: list[str] | None, *, report: bool = False, figure: Path | None = None,
    **known: Number | Numbers | Word,
) -> argparse.Namespace:  # fmt: skip
    """The numbers and words, and where to draw the figure; with `report` also where to write what was found.

    The first line of `page`, the demo's docstring, says what it is. Without `figure` none is drawn unless asked for.
    """
    parser = argparse.ArgumentParser(description=page.splitlines()[0])
    for name, setting in known.items():
        said = f"{setting.of} (default: %(default)s)"
        if isinstance(setting, Word):
            parser.add_argument(f"--{name}", choices=setting.choices, default=setting.choices[0], help=said)
        elif isinstance(setting, Numbers):
            said = f"{setting.of} (default: {' '.join(map(str, setting.default))})"
            parser.add_argument(f"--{name}", type=int, nargs="+", default=list(setting.default), help=said)
        else:
            parser.add_argument(f"--{name}", type=int, default=setting.default, help=said)
    drawn = "draw the figure here" if figure is None else f"draw it here (default: {figure})"
    parser.add_argument("--figure", type=Path, metavar="FILE", default=figure, help=drawn)
    if report:
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here")
    args = parser.parse_args(argv)
    refuse_less(parser, args, {name: number.least for name, number in known.items() if not isinstance(number, Word)})
    return args


def write(args: argparse.Namespace, numbers: Mapping[str, object], figure: Figure | None) -> None:
    """The numbers and the figure, to the files that were named."""
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    if args.figure and figure is not None:
        args.figure.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(args.figure, dpi=150)
        print(f"figure: {args.figure}")


def refuse_less(parser: argparse.ArgumentParser, args: argparse.Namespace, least: Mapping[str, int]) -> None:
    """End with a sentence where a number is less than makes sense."""
    for name, low in least.items():
        given = getattr(args, name)
        lowest = min(given) if isinstance(given, list) else given
        if lowest < low:
            parser.error(f"--{name} is {lowest}; expected {low} or more.")


def mark(kept: bool) -> str:
    """A verdict in a word."""
    return "ok" if kept else "FAILED"


def tell(findings: Mapping[str, Finding], row: str) -> int:
    """Print a line for every claim, laid out as `row` (claim, measured, expected, verdict); the exit code."""
    print(row.format("", "measured", "expected", "").rstrip())
    for claim, (measured, expected, kept) in findings.items():
        print(row.format(claim, measured, expected, mark(kept)))
    return 0 if all(finding.kept for finding in findings.values()) else 1
