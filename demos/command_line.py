"""The command line of a demo: what can be set, how long it will take, what was found, and the exit code that follows.

`settings` reads the options and says what begins and for about how long; `close` prints what was measured beside what
was expected, writes `--json` and `--figure`, and gives the exit code. It is 1 where a claim is not kept. The claims are
about the default settings, with any `--seed` and any `--host`: with other settings a demo reports, and judges nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from run_list import seconds_of, span

HOLDS = ("seed", "host")


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


class Flag(NamedTuple):
    """What is done only where it is asked for."""

    of: str


class File(NamedTuple):
    """Where something more is written, if anywhere."""

    of: str


class Finding(NamedTuple):
    """What was measured, what was expected, and whether the claim is kept."""

    measured: str
    expected: str
    kept: bool


Option = Number | Numbers | Word | Flag | File


def settings(
    page: str, argv: Sequence[str] | None, /, *, figure: str | Callable[[argparse.Namespace], str],
    work: Callable[[argparse.Namespace], float] = lambda args: 1.0,
    refuse: Callable[[argparse.Namespace], str | None] = lambda args: None,
    holds: tuple[str, ...] = HOLDS, **known: Option,
) -> argparse.Namespace:  # fmt: skip
    """The options that were given, after a line on what begins and for how long.

    Args:
        page: the demo's docstring; its first line says what it is.
        figure: the name of its picture, out/NAME.png, which is that of the demo; or what names it, by the options.
        work: what these settings ask for, in any unit: time is told in proportion to that of the defaults.
        refuse: what makes no sense together, as a sentence.
        holds: options whose every value the claims are about.
        known: what can be set.
    """
    said = ", ".join(f"--{name}" for name in holds if name in known)
    parser = argparse.ArgumentParser(
        description=page.splitlines()[0],
        epilog=f"The criterion is about the default settings (and any {said}); the exit code is 1 where it is not "
        "kept. With other settings the demo reports what it measured, and judges nothing.",
    )
    for name, option in known.items():
        add(parser, name, option)
    usual = parser.parse_args([])
    name_of = figure if callable(figure) else lambda args: figure
    drawn = f"draw it here (default: out/{name_of(usual)}.png)"
    parser.add_argument("--figure", type=Path, metavar="FILE", help=drawn)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here")
    args = parser.parse_args(argv)
    args.figure = args.figure or Path("out", f"{name_of(args)}.png")
    if sentence := refuse(args):
        parser.error(sentence)
    refuse_less(parser, args, {name: option.least for name, option in known.items() if hasattr(option, "least")})
    for name in ("figure", "json", *(name for name, option in known.items() if isinstance(option, File))):
        if getattr(args, name) is not None and getattr(args, name).is_dir():
            parser.error(f"--{name} is {getattr(args, name)}, a folder; expected a file to write.")
    set_here = {name: getattr(args, name) for name, option in known.items() if not isinstance(option, File)}
    changed = {n: v for n, v in set_here.items() if n not in holds and v != getattr(usual, n)}
    args.unusual = ", ".join(f"--{n} {shown(v)} (default: {shown(getattr(usual, n))})" for n, v in changed.items())
    args.known, args.began = set_here, time.perf_counter()
    torch.set_num_threads(1)  # the tensors are small
    print(f"{page.splitlines()[0]}\n{how_long(name_of(args), work(args) / work(usual))}\n", flush=True)
    return args


def add(parser: argparse.ArgumentParser, name: str, option: Option) -> None:
    """An option of the command line."""
    said = f"{option.of} (default: %(default)s)"
    if isinstance(option, Flag):
        parser.add_argument(f"--{name}", action="store_true", help=option.of)
    elif isinstance(option, File):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=option.of)
    elif isinstance(option, Word):
        parser.add_argument(f"--{name}", choices=option.choices, default=option.choices[0], help=said)
    elif isinstance(option, Numbers):
        said = f"{option.of} (default: {shown(option.default)})"
        parser.add_argument(f"--{name}", type=int, nargs="+", default=list(option.default), help=said)
    else:
        parser.add_argument(f"--{name}", type=int, default=option.default, help=said)


def shown(value: object) -> str:
    """A value as it is typed."""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def how_long(name: str, times: float) -> str:
    """What to wait for: so many times what the demo took when the table was made."""
    took = seconds_of(name)
    if took is None:
        return "How long it takes was not measured yet."
    return f"It takes about {span(times * took)} on one core."


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


def table(findings: Mapping[str, Finding], *, judged: bool = True) -> str:
    """A line for every claim: what was measured, what was expected, and the verdict where there is one."""
    rows = [("", "measured", "expected" if judged else "expected by default", "")]
    rows += [(claim, f.measured, f.expected, mark(f.kept) if judged else "") for claim, f in findings.items()]
    wide = [max(len(row[k]) for row in rows) for k in range(3)]
    return "\n".join(f"{a:<{wide[0]}}  {b:>{wide[1]}}   {c:<{wide[2]}}   {d}".rstrip() for a, b, c, d in rows)


def close(
    args: argparse.Namespace, findings: Mapping[str, Finding], numbers: Mapping[str, object],
    draw: Callable[[], Figure], *, notes: str = "",
) -> int:  # fmt: skip
    """Print what was found, write the numbers and the figure; the exit code.

    Args:
        args: from `settings`.
        findings: every claim.
        numbers: more of what was measured, for the file.
        draw: makes the figure.
        notes: what else there is to say.
    """
    judged, seconds = not args.unusual, time.perf_counter() - args.began
    print(table(findings, judged=judged))
    if notes:
        print(f"\n{notes}")
    used = ", ".join(f"{name} {shown(value)}" for name, value in args.known.items() if value is not False)
    print(f"\n{used}: {seconds:.0f} s")
    if not judged:
        print(f"Not judged, since the criterion is about the default settings: {args.unusual}.")
    if args.json:
        found = {claim: {**f._asdict(), "kept": f.kept if judged else None} for claim, f in findings.items()}
        told = {"seconds": round(seconds, 1), **numbers, "settings": args.known, "judged": judged, "findings": found}
        written(args.json).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draw().savefig(written(args.figure), dpi=150)
    print(f"figure: {args.figure}")
    return 0 if not judged or all(finding.kept for finding in findings.values()) else 1


def written(path: Path) -> Path:
    """A file in a folder that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
