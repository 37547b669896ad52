"""`demo`: runs one of the demos that lie beside the package."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .spoken import CannotError

WHERE = (
    "The demos are not part of the installed package. They are in its repository, in the folder demos/: clone it, "
    'go there, pip install -e ".[demos]", and ask again (or start one with: python demos/NAME.py).'
)


def folder() -> Path:
    """Where the demos are: beside the package, or where one stands.

    Raises:
        CannotError: neither, as with an installed wheel.
    """
    for place in (Path(__file__).parents[2] / "demos", Path.cwd() / "demos"):
        if (place / "run_list.py").exists():
            return place
    raise CannotError(WHERE)


def catalogue() -> Any:
    """The module that lists the demos, from their folder."""
    spec = importlib.util.spec_from_file_location("run_list", folder() / "run_list.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def listed() -> int:
    """Print every demo with what it shows, and how long it takes."""
    known = catalogue()
    for run in known.demos():
        seconds = known.seconds_of(run.name)
        print(f"{run.name:<20}{run.sentence}{'' if seconds is None else f' (about {known.span(seconds)})'}")
    print("\nRun one: python -m snn_plasticity demo NAME; what can be set: python -m snn_plasticity demo NAME --help")
    return 0


def run_demo(name: str, arguments: Sequence[str]) -> int:
    """Run one from where one stands, with these options; its exit code."""
    paths = {run.name: run.path for run in catalogue().demos()}
    if name not in paths:
        raise CannotError(f"{name!r} is no demo; expected one of {', '.join(paths)}.")
    return subprocess.run([sys.executable, str(paths[name]), *arguments]).returncode
