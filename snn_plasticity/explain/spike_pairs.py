"""The spike pairs behind what comes to one synapse: f(t) as a sum over pairs of a pre and a post spike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .spike_shares import SpikeShares, SplitProduct

MOST_PAIRS = 20_000_000


class PairedSpikes(NamedTuple):
    """What pairs add to f, (n,) each, in the order of units and steps.

    Args:
        unit: whose train it is.
        step: when it comes to the synapse, which is when the later of both spikes comes.
        pre, post: steps of the two spikes; −1 where there is none on that side.
        value: the part of f.
    """

    unit: np.ndarray
    step: np.ndarray
    pre: np.ndarray
    post: np.ndarray
    value: np.ndarray


def pairs_of(products: Sequence[SplitProduct], steps: int) -> PairedSpikes:
    """All pairs of all products; what several products say of one pair is one entry.

    Args:
        products: split into spikes.
        steps: length of the trains.

    Raises:
        ValueError: more pairs than can be listed.
    """
    parts = [_joined(product.post, product.pre, product.sign, steps) for product in products]
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return PairedSpikes(empty, empty, empty, empty, np.zeros(0))
    unit, step, pre, post, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    code = ((unit * steps + step) * (steps + 1) + pre + 1) * (steps + 1) + post + 1
    code, first, which = np.unique(code, return_index=True, return_inverse=True)
    total = np.bincount(which, weights=value, minlength=len(code))
    return PairedSpikes(unit[first], step[first], pre[first], post[first], total)


def _joined(post: SpikeShares, pre: SpikeShares, sign: int, steps: int) -> PairedSpikes:
    """Every share of the post side with every share of the pre side of the same unit and step."""
    keys = [side.unit * steps + side.step for side in (post, pre)]
    order = [np.argsort(key, kind="stable") for key in keys]
    post, pre = (SpikeShares(*(part[o] for part in side)) for side, o in zip((post, pre), order, strict=True))
    key, other = (k[o] for k, o in zip(keys, order, strict=True))
    low, high = np.searchsorted(other, key, "left"), np.searchsorted(other, key, "right")
    count = high - low
    if count.sum() > MOST_PAIRS:
        raise ValueError(
            f"there are {int(count.sum()):,} spike pairs at this synapse since its traces began; expected at most "
            f"{MOST_PAIRS:,}. Call learner.reset() more often, or explain a synapse that is used less."
        )
    at = np.repeat(np.arange(len(key)), count)
    partner = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
    value = sign * post.value[at] * pre.value[partner]
    return PairedSpikes(post.unit[at], post.step[at], pre.origin[partner], post.origin[at], value)
