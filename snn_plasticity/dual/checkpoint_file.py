"""The file of a checkpoint: whole or not there, and nothing left beside it."""

from __future__ import annotations

import glob
import os
import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from .._checks import require_kind, require_path
from .nets import explain_errors

HOST = platform.node().replace(".", "-").replace("/", "-")
ABANDONED = 2 * 24 * 3600.0  # seconds after which a file of another machine, or on Windows, is nobody's any more


def write_checkpoint(path: str | Path, content: dict[str, Any]) -> None:
    """Replace the file at `path` in one move; whatever interrupts it, the old one or the new one is there, whole."""
    require_kind("path", path, (str, Path), "The path of a file.")
    if not Path(path).name:
        raise ValueError(f"path = {str(path)!r}; expected the path of a file.")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_parts(path)
    beside = part_of(path)
    try:
        with open(beside, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Where this process writes what will become the file at `path`."""
    return path.with_name(f".{path.name}.{HOST}.{os.getpid()}.part")


def remove_parts(path: Path) -> None:
    """Delete what killed processes left beside `path`: of dead ones of this machine, and what is days old."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        host, _, number = part.name[len(path.name) + 2 : -len(".part")].rpartition(".")
        with suppress(OSError):  # another process was faster
            here = host == HOST and number.isdecimal() and os.name == "posix"
            if not _is_alive(int(number)) if here else time.time() - part.stat().st_mtime > ABANDONED:
                part.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except OSError:  # it lives, and belongs to somebody else
        pass
    return True


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """What `write_checkpoint` wrote. No code in the file is run."""
    path = require_path("path", path)
    remove_parts(path)
    with explain_errors(f"{path} is no checkpoint", "a file that save() wrote"):
        return torch.load(path, map_location="cpu", weights_only=True)
