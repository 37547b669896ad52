"""What was learned about the costs of a run: of each kind of step, and of each net by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..._saved import require_parts, require_real_number, require_saved_count, require_saved_flag
from .meter import Cost
from .net_cost import NetCost

NETS = ("base", "motivated")
SAVED_BOOKS = "The saved books"


@dataclass
class StepKind:
    """Steps of one kind, told apart by the net that learns, shapes and what takes part.

    Args:
        macs: of the last one that was counted.
        times: how many there were.
        size: numbers in the input of one.
    """

    macs: int
    times: int
    size: int


@dataclass
class Books:
    """What steps cost, and what the nets cost by themselves.

    Args:
        kinds: by what they are called, "base …" or "motivated …".
        varies: steps of one kind cost different amounts, so that every step is counted.
        nets: "base" and "motivated", each on one batch; known after `fit`.
    """

    kinds: dict[str, StepKind] = field(default_factory=dict)
    varies: bool = False
    nets: dict[str, NetCost] = field(default_factory=dict)

    def alone(self, steps: int) -> dict[str, int]:
        """Multiply-accumulates that the base alone, and the large net alone, would have cost for all steps so far.

        Only what is known: base steps as they were; what a base step costs for each number in its input, and the two
        nets side by side, tell the rest.
        """
        base = [kind for name, kind in self.kinds.items() if name.startswith("base")]
        size = sum(kind.times * kind.size for kind in self.kinds.values())
        known, spent = sum(k.times * k.size for k in base), sum(k.times * k.macs for k in base)
        small, large = (self.nets.get(name) for name in NETS)
        if not size or sum(kind.times for kind in self.kinds.values()) != steps:
            return {}
        if not known and small is not None:
            known, spent = small.size, small.step_macs
        if not known:
            return {}
        alone = {"base": spent * size // known}
        if small is not None and large is not None and small.step_macs:
            alone["large"] = alone["base"] * large.step_macs // small.step_macs
        return alone

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "kinds": [[name, kind.macs, kind.times, kind.size] for name, kind in self.kinds.items()],
            "varies": self.varies,
            "nets": [[*net.forward, net.seconds, *net[2:]] for net in map(self.nets.get, NETS) if net is not None],
        }

    @classmethod
    def from_dict(cls, values: Any) -> Books:
        """What `to_dict` described.

        Raises:
            TypeError, ValueError: it is something else.
        """
        require_parts(SAVED_BOOKS, values, ("kinds", "varies", "nets"))
        kinds = {_name(row[0]): StepKind(*_counts(row[1:], 3)) for row in values["kinds"]}
        nets = [NetCost(Cost(*_counts(r[:3], 3)), _seconds(r[3]), *_counts(r[4:], 2)) for r in values["nets"]]
        varies = require_saved_flag(f"{SAVED_BOOKS}: varies", values["varies"])
        return cls(kinds, varies, dict(zip(NETS, nets, strict=False)))


def _counts(row: Any, number: int) -> list[int]:
    if len(row) != number:
        raise ValueError(f"{SAVED_BOOKS}: {row!r} holds {len(row)} numbers; expected {number}.")
    return [require_saved_count(f"{SAVED_BOOKS}: a count", count) for count in row]


def _seconds(value: Any) -> float:
    require_real_number(f"{SAVED_BOOKS}: seconds", value)
    return float(value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith(NETS):
        raise ValueError(f"{SAVED_BOOKS}: a kind of step is called {value!r}; expected base or motivated, and shapes.")
    return value
