"""The neuromodulators, one a line: everything that goes through them in order reads this table.

    name, prefix of its settings      what it is called, and `da_source`, `da_scale`, `da_tau`, ... in a config
    low                               −1 where it is signed, 0 else; every level ends at 1
    weight                            its usual weight in the combination
    color                             its line in a plot (Okabe & Ito 2008)
    drives                            signals that may drive it, the usual one first; `normalized_` in front: in units
                                      of its usual size

A row that is added here is driven, combined, carried in the state, felt by affect as nothing and drawn; settings that a
config does not have by name are those of the row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["NAMES", "NEUROMODULATORS", "Neuromodulator"]

NORMALIZED = OF = "normalized_"  # in front of a source: divided by its usual size before it is squashed


class Neuromodulator(NamedTuple):
    """A row of the table.

    >>> NEUROMODULATORS[0].signed, NEUROMODULATORS[1].signed
    (True, False)
    """

    name: str
    prefix: str
    word: str
    low: float
    weight: float
    color: str
    drives: str

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the signals that may drive it, the usual one first."""
        return tuple(self.drives.split())

    @property
    def signed(self) -> bool:
        """Whether a level may be negative."""
        return self.low < 0.0

    def setting(self, config: Any, field: str) -> Any:
        """What a config says of it: `scale`, `tau`, `baseline`, `weight`, `source`, ...; else the row."""
        usual = {"source": self.sources[0], "weight": self.weight, "scale": 1.0, "tau": 0.0, "baseline": 0.0}
        return getattr(config, f"{self.prefix}_{field}", usual.get(field))


NEUROMODULATORS: tuple[Neuromodulator, ...] = (
    Neuromodulator("DA", "da", "dopamine", -1.0, 1.0, "#D55E00", f"reward td_error {OF}reward {OF}td_error"),
    Neuromodulator("ACh", "ach", "acetylcholine", 0.0, 0.5, "#009E73", "novelty uncertainty entropy"),
    Neuromodulator("NE", "ne", "norepinephrine", 0.0, 0.25, "#0072B2", f"urgency surprise {OF}surprise"),
    Neuromodulator("5HT", "sht", "serotonin", 0.0, 0.25, "#CC79A7", "patience long_horizon_value"),
)
NAMES: tuple[str, ...] = tuple(kind.name for kind in NEUROMODULATORS)
