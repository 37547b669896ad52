"""What is said aloud without stopping anything: the warning of a step that learns nothing, or less than it seems."""

from __future__ import annotations

import warnings

__all__ = ["PlasticityWarning", "notice"]


class PlasticityWarning(UserWarning):
    """Something here cannot learn, cannot be known or changes nothing; the message says what, why and what to do.

    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", PlasticityWarning)  # in your own tests: silence becomes an error
    """


def notice(message: str, *, stacklevel: int = 2) -> None:
    """Warn with a `PlasticityWarning`; `stacklevel` counts from the caller, as in `warnings.warn`."""
    if not isinstance(message, str) or not isinstance(stacklevel, int):
        raise TypeError(f"message is {message!r} and stacklevel {stacklevel!r}; expected a text and a whole number.")
    warnings.warn(message, PlasticityWarning, stacklevel=min(stacklevel, 1000) + 1)
