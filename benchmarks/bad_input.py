"""Bad input: every argument of everything public is replaced, one at a time, by what it should not be.

    python benchmarks/bad_input.py [--seed 0] [--cases 100000] [--json results.json] [--page docs/reliability.md]

Kinds, shapes, dtypes, devices, NaN and infinity, None, strings, negative and huge numbers, empty tensors, booleans,
complex numbers, arrays, lists; and the same inside mappings and records. A case ends in one of five ways:

    sentence    an error that this package raised on purpose, and nothing that was handed in or called upon has changed
    raw         an error from inside torch, NumPy or Python: what the user sees explains nothing
    changed     refused, but something is no longer as it was
    accepted    no error: harmless if it does what the converted value does, or if `ACCEPTED` gives the reason
    silent      accepted, and neither

Only the first and the fourth are allowed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import inspect
import io
import json
import linecache
import math
import os
import random
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import results
import torch
from accepted import reason_for
from torch import Tensor, nn
from tqdm import tqdm
from valid_calls import Call, calls

import snn_plasticity

PACKAGE = str(Path(snn_plasticity.__file__).parent)
OURS = (ValueError, TypeError, RuntimeError, OSError, AttributeError)
NONE = object()
BEGIN, END = "<!-- bad input: begin -->", "<!-- bad input: end -->"


class Case(NamedTuple):
    """One argument of one callable, and what it is replaced by."""

    name: str
    argument: str
    label: str


class Outcome(NamedTuple):
    """How a case ended, and what was said."""

    case: Case
    kind: str
    said: str


def wrong_values(valid: Any) -> dict[str, Any]:
    """What an argument is replaced by, by label; some of it may be right for some arguments."""
    values: dict[str, Any] = {
        "None": None, "text": "text", "empty text": "", "bytes": b"text", "True": True, "0": 0, "-1": -1, "1.5": 1.5,
        "-0.5": -0.5, "nan": math.nan, "inf": math.inf, "-inf": -math.inf, "1e300": 1e300, "10**12": 10**12,
        "10**400": 10**400, "1j": 1j, "empty list": [], "list of text": ["a", "b"], "list of None": [None],
        "ragged list": [1.0, [2.0]], "empty dict": {}, "dict": {"x": 1}, "object": object(), "class": int,
        "function of nothing": lambda: None, "module": nn.Identity(), "array of text": np.array(["a"]),
        "array of objects": np.array([None, 1.0], dtype=object), "numpy 0.5": np.float32(0.5), "numpy 2": np.int64(2),
        "numpy True": np.bool_(True), "empty tensor": torch.empty(0), "7 x 5 x 3": torch.ones(7, 5, 3),
        "scalar tensor": torch.tensor(0.5), "nan tensor": torch.tensor([[math.nan] * 3] * 2),
        "meta tensor": torch.ones(2, 3, device="meta"), "complex tensor": torch.ones(2, 3, dtype=torch.complex64),
        "sparse tensor": torch.eye(2).to_sparse(), "bool tensor": torch.ones(2, dtype=torch.bool),
        "set": {1, 2}, "generator": None,
    }  # fmt: skip
    values["generator"] = (number for number in (1.0, 2.0))
    return values | dict(_variants(valid))


def _variants(valid: Any) -> Iterator[tuple[str, Any]]:
    """Near misses: of the same shape or word as what is right."""
    if isinstance(valid, Tensor):
        valid = valid.detach()
        real = valid.double()
        yield from {
            "same, nan": torch.full_like(real, math.nan), "same, inf": torch.full_like(real, math.inf),
            "same, huge": torch.full_like(real, 1e300), "same, negative": -real.float() - 0.25,
            "same, meta": valid.to("meta"), "same, complex": valid.to(torch.complex64), "same, int": valid.long(),
            "same, bool": valid.bool(), "same, half": valid.half() if valid.is_floating_point() else valid.float(),
            "same, double": real, "same, array": valid.numpy(), "same, list": valid.tolist(),
            "same, sparse": valid.to_sparse() if valid.dim() else valid, "one more axis": valid.unsqueeze(0),
            "last axis twice": torch.cat((valid, valid), -1) if valid.dim() else valid,
            "batch twice": torch.cat((valid, valid)) if valid.dim() else valid,
            "no samples": valid[:0] if valid.dim() else valid, "first only": valid[0] if valid.dim() else valid,
            "transposed": valid.transpose(0, -1) if valid.dim() > 1 else valid,
        }.items()  # fmt: skip
    elif isinstance(valid, str):
        yield from {"misspelt": valid + "x", "other case": valid.swapcase(), "nested json": "[" * 20_000}.items()
    elif isinstance(valid, (int, float)) and not isinstance(valid, bool):
        plain = {"same, tensor": torch.tensor(float(valid)), "same, numpy": np.float64(valid), "same, list": [valid]}
        yield from {**plain, "same, text": str(valid), "same, negative": -abs(valid)}.items()
    elif isinstance(valid, (list, tuple)) and not hasattr(valid, "_fields"):
        yield from {"same, list": list(valid), "same, tuple": tuple(valid), "reversed": valid[::-1]}.items()
        yield from {"one fewer": valid[:-1], "one more": (*valid, *valid[-1:]), "of None": [None] * len(valid)}.items()
        if valid and all(isinstance(v, (int, float)) for v in valid):
            yield from {"same, array": np.array(valid), "of nan": [math.nan] * len(valid)}.items()
            yield from {"without zero": (1.0, 2.0), "of text": ["a"] * len(valid)}.items()
    elif is_dataclass(valid):
        yield "same, dict", {f.name: getattr(valid, f.name) for f in fields(valid)}
        yield "its class", type(valid)


INSIDE = ("None", "text", "nan", "inf", "1e300", "-0.5", "10**400", "1j", "list of text", "ragged list", "7 x 5 x 3",
          "empty tensor", "object", "meta tensor", "same, nan", "same, inf", "same, meta", "same, complex",
          "same, array", "same, list", "one more axis", "batch twice", "first only", "same, int",
          "same, sparse")  # fmt: skip


def cases_of(name: str, call: Call) -> Iterator[Case]:
    """Every argument by every value, and the entries of mappings and records by some."""
    for argument, valid in call.arguments.items():
        for label in wrong_values(valid):
            yield Case(name, argument, label)
        for key, entry in entries_of(valid):
            known = wrong_values(entry)
            yield from (Case(name, f"{argument}.{key}", label) for label in INSIDE if label in known)
            if isinstance(valid, Mapping):
                yield Case(name, f"{argument}.{key}", "missing")
        if isinstance(valid, Mapping):
            yield Case(name, argument, "a stranger more")


def entries_of(valid: Any) -> list[tuple[Any, Any]]:
    """What a mapping or a record holds, by name."""
    if isinstance(valid, Mapping):
        return [(key, entry) for key, entry in valid.items() if isinstance(key, str)]
    return list(valid._asdict().items()) if hasattr(valid, "_asdict") else []


def replaced(call: Call, case: Case) -> dict[str, Any]:
    """The arguments with one of them wrong."""
    argument, _, key = case.argument.partition(".")
    valid = call.arguments[argument]
    if case.label == "a stranger more":
        wrong = {**valid, "a stranger": 1.0}
    elif not key:
        wrong = wrong_values(valid)[case.label]
    elif case.label == "missing":
        wrong = {name: entry for name, entry in valid.items() if name != key}
    else:
        entry = wrong_values(dict(entries_of(valid))[key])[case.label]
        wrong = {**valid, key: entry} if isinstance(valid, Mapping) else valid._replace(**{key: entry})
    return {**call.arguments, argument: wrong}


def try_case(build: Callable[[], Call], case: Case) -> Outcome:
    """One case, from the making of the call to the verdict."""
    call = build()
    arguments = replaced(call, case)
    kept = {name: value for name, value in arguments.items() if name != case.argument.partition(".")[0]}
    watched = (*call.watched, kept)
    before = digest(watched)
    try:
        with _quiet():
            result = call.function(**arguments)
            if inspect.isgenerator(result):
                list(result)
    except Exception as error:
        return _refused(case, error, before, watched)
    return _accepted(build, case, arguments, result, call)


def _refused(case: Case, error: Exception, before: Any, watched: Any) -> Outcome:
    said = f"{type(error).__name__}: {error}"
    if not raised_by_us(error) or not isinstance(error, OURS) or len(str(error)) < 20:
        return Outcome(case, "raw", said)
    return Outcome(case, "sentence" if same(before, digest(watched)) else "changed", said)


def _accepted(build: Callable[[], Call], case: Case, arguments: dict[str, Any], result: Any, call: Call) -> Outcome:
    argument = case.argument.partition(".")[0]
    valid = call.arguments[argument]
    if "." not in case.argument and case.label != "a stranger more":
        twin = converted(arguments[argument], valid)
        if twin is not NONE:
            other = build()
            with _quiet(), contextlib.suppress(Exception):
                expected = other.function(**{**other.arguments, argument: twin})
                if same(digest((result, call.watched)), digest((expected, other.watched)), rtol=1e-3):
                    return Outcome(case, "accepted", "as the converted value")
        parameter = inspect.signature(call.function).parameters.get(argument)
        if parameter is not None and arguments[argument] is parameter.default:
            return Outcome(case, "accepted", "it is the default")
        if parameter is not None and arguments[argument] is None and "None" in str(parameter.annotation):
            return Outcome(case, "accepted", "None is documented")
    reason = reason_for(case.name, case.argument, case.label)
    finite = is_finite(digest((result, call.watched)))
    if reason is None or not (finite or "infinite" in reason or "NaN" in reason):
        return Outcome(case, "silent", f"{'' if finite else 'not finite: '}{type(result).__name__}")
    return Outcome(case, "accepted", reason)


def converted(value: Any, valid: Any) -> Any:
    """The value in the form that the argument has when it is right; NONE where it has none."""
    if isinstance(valid, Tensor):
        if isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta and not value.is_complex():
            return value.to(valid.dtype) if value.dtype != valid.dtype else NONE
        if isinstance(value, (list, np.ndarray, float, int)) and not isinstance(value, bool):
            with contextlib.suppress(Exception):
                return torch.as_tensor(np.array(value), dtype=valid.dtype)
        return NONE
    if isinstance(valid, bool):
        return bool(value) if isinstance(value, np.bool_) else NONE
    if isinstance(valid, (int, float)):
        if isinstance(value, Tensor) and value.dim() == 0 and not value.is_meta:
            return value.item()
        plain = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        with np.errstate(over="ignore"):
            return type(valid)(value) if plain and type(value) is not type(valid) and abs(value) < 1e308 else NONE
    if isinstance(valid, tuple) and isinstance(value, (list, np.ndarray)):
        return tuple(value)
    if isinstance(valid, list) and isinstance(value, (tuple, np.ndarray)):
        return list(value)
    return NONE


@lru_cache(maxsize=256)
def _raises(path: str) -> tuple[tuple[int, int], ...]:
    """Lines of every `raise` of a file."""
    tree = ast.parse("".join(linecache.getlines(path)))
    return tuple((n.lineno, n.end_lineno or n.lineno) for n in ast.walk(tree) if isinstance(n, ast.Raise) and n.exc)


def raised_by_us(error: BaseException) -> bool:
    """Whether the error comes from a `raise` of this package, not from something that broke inside."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if not frame.filename.startswith(PACKAGE):
        return False
    return any(first <= (frame.lineno or 0) <= last for first, last in _raises(frame.filename))


def digest(value: Any, depth: int = 0, seen: frozenset[int] = frozenset()) -> Any:
    """A value as nested tuples of plain values and copies of tensors, whatever it is made of."""
    if isinstance(value, Tensor):
        held = value if value.is_meta else value.detach().to_dense().clone()
        return ("tensor", str(value.dtype), str(value.device), held)
    if value is None or isinstance(value, (str, bytes, bool, int, float, complex, torch.dtype, torch.device)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return ("array", torch.as_tensor(value) if value.dtype.kind in "biuf" else str(value))
    if depth > 7 or id(value) in seen or callable(value) and not isinstance(value, nn.Module):
        return type(value).__name__
    seen = seen | {id(value)}
    if isinstance(value, Mapping):
        return ("map", *((str(k), digest(v, depth + 1, seen)) for k, v in value.items()))
    if isinstance(value, (list, tuple, range)):
        return ("list", *(digest(v, depth + 1, seen) for v in value))
    if isinstance(value, nn.Module) and not type(value).__module__.startswith("snn_plasticity"):
        return ("module", digest(dict(value.state_dict(keep_vars=True)), depth + 1, seen))
    if type(value).__module__.startswith("snn_plasticity"):
        return (type(value).__name__, digest(_attributes(value), depth + 1, seen))
    return type(value).__name__


def _attributes(value: Any) -> dict[str, Any]:
    """What an object remembers; caches, clocks and hooks are no part of it."""
    cached = {name for name, member in inspect.getmembers_static(type(value)) if isinstance(member, cached_property)}
    held = vars(value) if hasattr(value, "__dict__") else {name: getattr(value, name) for name in value.__slots__}
    return {name: one for name, one in held.items() if _told(name) and name not in cached}


def _told(name: str) -> bool:
    """Whether an attribute is part of what is compared."""
    return name not in {
        "seconds",
        "_tables",
        "_handles",
        "_forward_hooks",
        "_known_edges",
        "_snapshot",
        "keeper",
    }


def same(a: Any, b: Any, rtol: float = 0.0) -> bool:
    """Whether two digests are equal; with `rtol`, up to precision."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.shape != b.shape or a.is_meta or b.is_meta:
            return a.shape == b.shape
        if rtol:
            return torch.allclose(a.to(b), b, rtol=rtol, atol=rtol, equal_nan=True)
        return torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) if a.is_floating_point() else torch.equal(a, b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        if rtol and a[:1] == b[:1] == ("tensor",):
            return same(a[-1], b[-1], rtol)
        return len(a) == len(b) and all(same(x, y, rtol) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, (int, float)):
        return a == b or (math.isnan(a) and math.isnan(b)) or (rtol > 0 and math.isclose(a, b, rel_tol=rtol))
    return bool(a == b)


def is_finite(value: Any) -> bool:
    """Whether a digest holds no NaN and no infinity."""
    if isinstance(value, Tensor):
        return value.is_meta or not value.is_floating_point() or bool(torch.isfinite(value).all())
    if isinstance(value, tuple):
        return all(map(is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings, printed lines and random numbers that go on from one case to the next."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        before = Path.cwd()
        os.chdir(tempfile.gettempdir())  # where a word that passes for a path is written
        try:
            yield
        finally:
            os.chdir(before)


def all_cases() -> list[tuple[Case, Callable[[], Call]]]:
    """Every case with what builds its call."""
    found = []
    for name, build in calls().items():
        with _quiet():
            found += [(case, build) for case in cases_of(name, build())]
    return found


def sampled(cases: list[Any], number: int, seed: int) -> list[Any]:
    """That many of them, in their order."""
    if number >= len(cases):
        return cases
    return [cases[k] for k in sorted(random.Random(seed).sample(range(len(cases)), number))]


def table(outcomes: list[Outcome]) -> str:
    """How many cases ended how, room by room."""
    kinds = ("sentence", "accepted", "raw", "changed", "silent")
    rooms: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        rooms.setdefault(outcome.case.name.split(".")[0], Counter())[outcome.kind] += 1
    total: Counter[str] = sum(rooms.values(), Counter())
    rows = [f"| room | cases | {' | '.join(kinds)} |", f"|---|{'---:|' * (len(kinds) + 1)}"]
    for room, counts in [*sorted(rooms.items()), ("**all**", total)]:
        rows.append(f"| {room} | {sum(counts.values())} | {' | '.join(str(counts[kind]) for kind in kinds)} |")
    return "\n".join(rows)


def main() -> int:
    """Run, print, write; 1 if anything was neither refused in a sentence nor harmless."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10**9, help="draw that many (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--only", default="", help="callables whose name begins so")
    parser.add_argument("--json", type=Path, help="write every outcome to this file")
    parser.add_argument("--page", type=Path, help="write the table between the marks of this page")
    chosen = parser.parse_args()
    known = all_cases()
    picked = [pair for pair in known if pair[0].name.startswith(chosen.only)]
    picked = sampled(picked, chosen.cases, chosen.seed)
    outcomes = [try_case(build, case) for case, build in tqdm(picked, unit="case")]
    print(table(outcomes))
    bad = [outcome for outcome in outcomes if outcome.kind not in ("sentence", "accepted")]
    for outcome in bad[:50]:
        print(f"{outcome.kind}: {' '.join(outcome.case)}: {outcome.said[:160]}", file=sys.stderr)
    if chosen.json:
        rows = [{**outcome.case._asdict(), "kind": outcome.kind, "said": outcome.said} for outcome in outcomes]
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if chosen.page:
        total = len(known)
        drawn = (
            "all cases"
            if len(outcomes) == total
            else f"{len(outcomes):,} cases drawn from {total:,}, seed {chosen.seed}"
        )
        text = f"{table(outcomes)}\n\n{drawn}, torch {torch.__version__.split('+')[0]}."
        results.put_between(BEGIN, END, text, chosen.page)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
