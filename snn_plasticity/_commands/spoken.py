"""How a command speaks: what runs, for about how long, how far it is, and why it cannot."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import torch

from .. import __version__
from ..config import PlasticityConfig


class CannotError(Exception):
    """Why a command cannot do what was asked, in a sentence; nothing was done."""


def opening(what: str, seconds: float, device: str = "cpu") -> None:
    """The first lines of a command."""
    where = "" if device == "cpu" else f", {device}"
    print(f"snn_plasticity {__version__}, torch {torch.__version__}, Python {platform.python_version()}{where}")
    print(f"{what} This takes about {seconds:.0f} s.\n", flush=True)


def progress(line: str) -> None:
    """What is going on, on a line of its own that the next one replaces; nothing where nobody looks on."""
    if sys.stderr.isatty():
        print(f"\r  {line:<70}", end="\r", file=sys.stderr, flush=True)


def config_from(path: Path) -> PlasticityConfig:
    """The configuration in a file that `config.to_json(path)` wrote.

    Raises:
        CannotError: there is no such file, no JSON in it, or a field that cannot be.
    """
    try:
        return PlasticityConfig.from_json(path)
    except (OSError, TypeError, ValueError) as error:
        raise CannotError(f"{path} holds no configuration: {error}") from error
