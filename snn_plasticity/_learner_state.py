"""What a learner remembers: forgotten, or read from a saved state that was looked at whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ._changes import all_or_nothing
from ._checks import require_mask
from ._saved import require_format, require_real_number
from .connection import Connection
from .third_factor import ThirdFactor, batch_of


def read_learner(
    state: Any, connections: Mapping[str, Connection], third_factor: ThirdFactor
) -> tuple[float, list[Callable[[], None]]]:
    """The saved `lr_scale`, and what goes on from the rest; nothing is changed before.

    Raises:
        TypeError: no such state.
        ValueError: the state has another format, other connections, settings or shapes, a stranger, or NaN.
    """
    what = "The saved learner"
    require_format(what, state, ("connections", "third_factor", "lr_scale"))
    saved = state["connections"]
    found = sorted(map(str, saved)) if isinstance(saved, Mapping) else repr(saved)
    if not isinstance(saved, Mapping) or set(saved) != set(connections):
        raise ValueError(
            f"{what} has the connections {found}; this one has {sorted(connections)}. Attach to the "
            "same layers first; what is paired only in a forward pass is known after one, or with sample=."
        )
    lr_scale = require_real_number(f"{what}: lr_scale", state["lr_scale"])
    commits = [connection.read_state(saved[name]) for name, connection in connections.items()]
    device = next((connection.weight.device for connection in connections.values()), None)
    commits.append(third_factor.read_state(state["third_factor"], device))
    return lr_scale, commits


def forget(connections: Sequence[Connection], third_factor: ThirdFactor, mask: Tensor | None, scope: str) -> None:
    """Forget eligibility and modulators of all samples, or of those in `mask` (B,), as `PlasticityLearner.reset` says.

    Raises:
        ValueError: a mask that does not fit. Nothing was forgotten.
    """
    connections = [c for c in connections if mask is None or c.traces.batch_size is not None]
    if mask is not None:
        require_mask(mask)
        for connection in connections:
            connection.check_reset(mask, traces=scope != "neuromodulators")
    kept = third_factor.kept
    if scope != "eligibility":
        size = None if mask is None else batch_of(connections).size
        kept = third_factor.after_reset(mask, size, keep_baseline=scope == "episode")
    if scope != "neuromodulators":
        with all_or_nothing(connections, safe=False):
            for connection in connections:
                connection._forget(mask)
        for connection in connections:
            connection.activity.begin_anew(mask)
    third_factor.kept = kept
