"""What the user's own parts say when they break: which part it was, on what, and what was expected of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..checks import known_as
from .history import History

BROKEN = (TypeError, ValueError, RuntimeError, LookupError, AttributeError, NotImplementedError, AssertionError)


@contextmanager
def explained(what: str, expected: str) -> Iterator[None]:
    """Within it, an error from outside of this package is told with what broke and what was expected.

    Raises:
        TypeError, ValueError, RuntimeError: as the error that was raised, which is its cause.
    """
    try:
        yield
    except BROKEN as error:
        if raised_here(error) or isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        kind = next((k for k in (TypeError, ValueError) if isinstance(error, k)), RuntimeError)
        first = (str(error).splitlines() or [""])[0]
        raise kind(f"{what} ({type(error).__name__}: {first}); expected {expected}.") from error


def raised_here(error: BaseException) -> bool:
    """Whether an error is a sentence of this package, and not of what it calls."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return where.startswith("snn_plasticity") and "expected" in str(error)


def require_history(history: object) -> None:
    """Refuse what is no history of a run."""
    if not isinstance(history, History):
        raise TypeError(f"history is {known_as(history)}; expected a History, as trainer.report.history.")
