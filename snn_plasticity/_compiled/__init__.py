"""Loops that numba compiles, and whether they can be used.

They come with numba (`pip install "snn_plasticity[fast]"`) and are taken by themselves on the CPU, in single and double
precision; without it, or with path="torch", everything works as it does elsewhere, in torch.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..notices import notice

KINDS = (torch.float32, torch.float64)
NUMBERS = {torch.float32: np.float32, torch.float64: np.float64}


@cache
def available() -> bool:
    """Whether numba is there; it is imported when the first loop is called."""
    return importlib.util.find_spec("numba") is not None


@cache
def loops() -> ModuleType | None:
    """The loops; None where numba is missing, or cannot be imported, which is said once."""
    if not available():
        return None
    try:
        from . import dense_loops
    except Exception as error:  # another NumPy than it was built for, a broken wheel
        notice(f"numba is installed, but cannot be used ({error}); everything is worked out in torch, more slowly.")
        return None
    _announce()
    return dense_loops


@cache
def loops_over_edges() -> ModuleType:
    """The loops over edges, where numba is there."""
    from . import edge_loops

    return edge_loops


@cache
def loops_over_spikes() -> ModuleType:
    """The loops that write spikes down, where numba is there."""
    from . import spike_loops

    return spike_loops


@cache
def loops_over_vectors() -> ModuleType:
    """The loops over eligibility vectors, where numba is there."""
    from . import vector_loops

    return vector_loops


def _announce() -> None:
    """Have it said on stderr, once, when something has to be compiled: it takes seconds."""
    from numba.core import event

    class Announcement(event.Listener):
        said = False

        def on_start(self, event: Any) -> None:
            loop: Any = (event.data or {}).get("dispatcher")
            if not self.said and getattr(loop, "__module__", "").startswith(__package__ or "") and sys.stderr:
                self.said = True
                print(
                    "snn_plasticity compiles its loops for this machine, once, which takes some seconds; they are kept "
                    f"in {loop.stats.cache_path or 'no place, since none can be written to: set NUMBA_CACHE_DIR'}.",
                    file=sys.stderr,
                )

        def on_end(self, event: Any) -> None:
            pass

    event.register("numba:compile", Announcement())


def version() -> str:
    """Of numba, which is not imported for it."""
    return importlib.metadata.version("numba")


def placed(tensor: Tensor) -> str | None:
    """Why a tensor cannot be handed to a loop, as the end of a sentence; None where it can."""
    if not available():
        return "numba is not installed"
    if not tensor.is_cpu:
        return f"on {tensor.device.type}"
    return None if tensor.dtype in KINDS else f"in {tensor.dtype}"


def suits(tensor: Tensor) -> bool:
    """Whether a tensor can be handed to a loop."""
    return tensor.is_cpu and tensor.dtype in KINDS and loops() is not None
