"""Space: where an affect lies among all affects, and what it is called there.

    angle     φ = atan2(A, V)             pleasure at 0, arousal at π/2, displeasure at ±π, sleep at −π/2
    radius    r = √(V² + A²)              of the circumplex (Russell 1980)
    distance  |x − y|                     in all three dimensions

A region is a pattern of signs; an affect belongs to the pattern that points most nearly its way, and to none where it
is too small to point anywhere.

Words lie where people put them: mean ratings of Russell & Mehrabian 1977, *Journal of Research in Personality* 11:273,
each from −1 to 1. Their list has no words for relief and disappointment; "consoled" and "discouraged" stand for them,
as in GAMYGDALA (Popescu, Broekens & van Someren 2014).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from .._checks import require_finite, require_kind, require_number, require_real, shown
from .state import AffectiveState, require_affect_state

REGIONS: dict[str, tuple[float, float, float]] = {
    "happy/excited": (1.0, 1.0, 1.0),
    "calm/content": (1.0, -1.0, 1.0),
    "anxious/fearful": (-1.0, 1.0, -1.0),
    "sad/fatigued": (-1.0, -1.0, -1.0),
    "frustrated": (-1.0, 1.0, 1.0),
    "curious": (0.0, 1.0, 1.0),
}
NEUTRAL = "neutral"

WORDS: dict[str, tuple[float, float, float]] = {
    "happy": (0.81, 0.51, 0.46),
    "joyful": (0.76, 0.48, 0.35),
    "excited": (0.62, 0.75, 0.38),
    "interested": (0.64, 0.51, 0.17),
    "hopeful": (0.51, 0.23, 0.14),
    "curious": (0.22, 0.62, -0.01),
    "surprised": (0.40, 0.67, -0.13),
    "relaxed": (0.68, -0.46, 0.06),
    "consoled": (0.29, -0.19, -0.28),
    "angry": (-0.51, 0.59, 0.25),
    "fearful": (-0.64, 0.60, -0.43),
    "distressed": (-0.61, 0.28, -0.36),
    "discouraged": (-0.61, -0.15, -0.29),
    "sad": (-0.63, -0.27, -0.33),
    "bored": (-0.65, -0.62, -0.33),
}

EMOTIONS: dict[str, str] = {
    "joy": "joyful",
    "anger": "angry",
    "fear": "fearful",
    "sadness": "sad",
    "relief": "consoled",
    "disappointment": "discouraged",
}


def point_of(affect: AffectiveState | Tensor) -> Tensor:
    """An affect as (..., 3): valence, arousal, dominance.

    Raises:
        TypeError: neither a state nor a tensor.
        ValueError: the last dimension is not 3, or NaN.
    """
    if isinstance(affect, AffectiveState):
        require_affect_state(affect, None, None)
    point = affect.point if isinstance(affect, AffectiveState) else affect
    require_real("affect", point)
    if point.dim() < 1 or point.shape[-1] != 3:
        raise ValueError(f"affect has shape {tuple(point.shape)}; expected (..., 3): valence, arousal, dominance.")
    require_finite("affect", point)
    return point.to(torch.promote_types(point.dtype, torch.float32))


def _place(word: str, place: object) -> tuple[float, float, float]:
    """Where a word lies: three numbers in [−1, 1]."""
    if not isinstance(place, (tuple, list, np.ndarray)) or len(place) != 3:
        raise ValueError(f"words[{word!r}] = {shown(place)}; expected (valence, arousal, dominance), each in [-1, 1].")
    v, a, d = (require_number(f"words[{word!r}]", number, -1.0, 1.0) for number in place)
    return v, a, d


class ValenceArousalSpace:
    """Geometry and names of affect.

    Every method takes an `AffectiveState` or a tensor (..., 3). Those that return names look at values and so wait for
    the device; the indices do not.

    Args:
        words: emotion words and their places; by default those of Russell & Mehrabian 1977.
        neutral_radius: length below which an affect belongs to no region.

    Raises:
        ValueError: no words, or a radius outside [0, 1].

    >>> space = ValenceArousalSpace()
    >>> space.region(torch.tensor([[0.6, 0.5, 0.4], [0.0, 0.0, 0.0]]))
    ['happy/excited', 'neutral']
    >>> space.nearest_word(torch.tensor([-0.5, 0.6, 0.2]))
    ['angry']
    """

    regions = (*REGIONS, NEUTRAL)

    def __init__(
        self, words: Mapping[str, tuple[float, float, float]] | None = None, neutral_radius: float = 0.1
    ) -> None:
        words = require_kind("words", WORDS if words is None else words, Mapping, "As {'glad': (0.8, 0.5, 0.4)}.")
        if not words:
            raise ValueError("words is empty; expected at least one word with its (valence, arousal, dominance).")
        self.words = {require_kind("A word", w, str, "As 'glad'."): _place(w, at) for w, at in words.items()}
        self.neutral_radius = require_number("neutral_radius", neutral_radius, 0.0, 1.0)

    def angle(self, affect: AffectiveState | Tensor) -> Tensor:
        """Direction in the circumplex, (...), in radians from −π to π."""
        v, a, _ = point_of(affect).unbind(-1)
        return torch.atan2(a, v)

    def radius(self, affect: AffectiveState | Tensor) -> Tensor:
        """Strength in the circumplex, (...)."""
        v, a, _ = point_of(affect).unbind(-1)
        return torch.hypot(v, a)

    def distance(self, affect: AffectiveState | Tensor, other: AffectiveState | Tensor) -> Tensor:
        """How far two affects are apart in all three dimensions, (...)."""
        one, two = point_of(affect), point_of(other)
        if one.device != two.device or (one.shape != two.shape and 1 not in (one.dim(), two.dim())):
            raise ValueError(
                f"affect has shape {tuple(one.shape)} on {one.device}, other {tuple(two.shape)} on {two.device}; "
                "expected the same, or one of them (3,)."
            )
        return torch.linalg.vector_norm(one - two, dim=-1)

    def region_index(self, affect: AffectiveState | Tensor) -> Tensor:
        """Which of `regions` an affect belongs to, (...), as an index."""
        point = point_of(affect)
        directions = torch.nn.functional.normalize(point.new_tensor(list(REGIONS.values())), dim=-1)
        nearest = (point @ directions.T).argmax(-1)
        weak = torch.linalg.vector_norm(point, dim=-1) <= self.neutral_radius
        return nearest.masked_fill(weak, len(REGIONS))

    def region(self, affect: AffectiveState | Tensor) -> list[str]:
        """The names of the regions, one per affect."""
        return [self.regions[index] for index in _read(self.region_index(affect))]

    def word_index(self, affect: AffectiveState | Tensor) -> Tensor:
        """Which of `words` is nearest, (...), as an index."""
        point = point_of(affect)
        places = point.new_tensor(list(self.words.values()))
        return torch.linalg.vector_norm(point.unsqueeze(-2) - places, dim=-1).argmin(-1)

    def nearest_word(self, affect: AffectiveState | Tensor) -> list[str]:
        """The nearest emotion words, one per affect."""
        names = list(self.words)
        return [names[index] for index in _read(self.word_index(affect))]


def _read(index: Tensor) -> list[int]:
    """Indices as numbers, which needs values."""
    if index.is_meta:
        raise ValueError("affect is on the meta device, which holds no values; expected a tensor that does.")
    return index.flatten().tolist()
