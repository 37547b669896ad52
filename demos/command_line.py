"""The command line of a demo: what can be set, how what was found is printed, and the exit code that follows."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Number(NamedTuple):
    """A whole number that can be set: what it is of, its default, and the least that makes sense."""

    of: str
    default: int = 0
    least: int = 0


class Finding(NamedTuple):
    """What was measured, what was expected, and whether the claim is kept."""

    measured: str
    expected: str
    kept: bool


def settings(page: str, argv: list[str] | None, **numbers: Number) -> argparse.Namespace:
    """The numbers, and where to draw the figure; `page` is the demo's docstring, whose first line says what it is."""
    parser = argparse.ArgumentParser(description=page.splitlines()[0])
    for name, number in numbers.items():
        said = f"{number.of} (default: %(default)s)"
        parser.add_argument(f"--{name}", type=int, default=number.default, help=said)
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the figure here")
    args = parser.parse_args(argv)
    refuse_less(parser, args, {name: number.least for name, number in numbers.items()})
    return args


def refuse_less(parser: argparse.ArgumentParser, args: argparse.Namespace, least: Mapping[str, int]) -> None:
    """End with a sentence where a number is less than makes sense."""
    for name, low in least.items():
        if getattr(args, name) < low:
            parser.error(f"--{name} is {getattr(args, name)}; expected {low} or more.")


def mark(kept: bool) -> str:
    """A verdict in a word."""
    return "ok" if kept else "FAILED"


def tell(findings: Mapping[str, Finding], row: str) -> int:
    """Print a line for every claim, laid out as `row` (claim, measured, expected, verdict); the exit code."""
    print(row.format("", "measured", "expected", "").rstrip())
    for claim, (measured, expected, kept) in findings.items():
        print(row.format(claim, measured, expected, mark(kept)))
    return 0 if all(finding.kept for finding in findings.values()) else 1
