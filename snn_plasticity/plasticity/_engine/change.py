"""A weight change straight from the spikes: Σ_r Σ_b m_rb · e_rb, with no eligibility built for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..geometry import Geometry
from ..three_factor import modulate
from . import filters
from .clamp import failing_rows
from .contract import fold_, folded
from .spikes import Block
from .state import Past
from .update import fold_terms
from .window_terms import WindowTerms


class Ask(NamedTuple):
    """Modulators (k, ...) that met the first `met`, `met` + 1, … of the recorded steps."""

    met: int
    mods: Tensor


def change_from_spikes(past: Past, window: Sequence[Block], asked: Sequence[Ask], *, fold: bool) -> Tensor | None:
    """Σ over all that was asked of the steps after `past`; None where that would not be exact.

    Args:
        past: eligibility before the first step; left as it is, unless `fold`.
        window: the steps, of one length.
        asked: the modulators.
        fold: also bring the past beyond these steps, which costs less than doing so later (no clamp only).
    """
    geometry, trace = past.rule.geometry, past.rule.trace
    per_neuron = any(ask.mods.dim() == 3 for ask in asked)
    unseen = trace.clamp_range is not None and not past.like[0].is_cpu and not past.shared
    if not window or not trace.linear or unseen or (per_neuron and not geometry.closed_form):
        return None
    dt, longest = window[0].dt, max(block.used for block in window)
    steps = sum(block.used for block in window)
    gains, lead = _gains(asked, float(trace.retained(dt)), steps)
    total = _Total(past, lead)
    if fold:
        past.laid_out()
    parts = past.parts(longest) if fold else past.copied().parts(longest)
    start = 0
    for block in window:
        now, goes_on = past.scale * gains[start : start + block.used], fold or block is not window[-1]
        for samples, part in parts:
            if not _add_(total, part, block, samples, now, fold=fold, goes_on=goes_on):
                return None
        start += block.used
    if fold:
        past.take(parts)
    return total.so_far


class _Total:
    """The change so far, beginning with what comes from e before the window."""

    def __init__(self, past: Past, lead: Tensor) -> None:
        self.so_far = None if past.e is None else _from_e(past, past.e, lead)

    def add(self, geometry: Geometry, said: WindowTerms, gains: Tensor) -> None:
        """Add the part of a window."""
        if self.so_far is None:
            self.so_far = folded(geometry, said, gains)
        else:
            fold_(geometry, self.so_far, said, gains)


def _add_(total: _Total, past: Past, block: Block, samples: slice, gains: Tensor, *, fold: bool, goes_on: bool) -> bool:
    """The part of some samples in a block; False where the clamp might bind."""
    rule = past.rule
    window = block.pre[:, samples], block.post[:, samples]
    said = WindowTerms(rule.kernel, *window, past.kernel, block.dt, past.like[1].dtype, block.restarts)
    if failing_rows(past, said, block.dt, refresh=False) is not None:
        return False
    total.add(rule.geometry, said, gains if gains.dim() == 1 else gains[:, samples])
    if fold:
        fold_terms(past, said, block.dt, decay=not past.shared or samples.start == 0)
    if goes_on:
        past.kernel = said.after
    return True


def _gains(asked: Sequence[Ask], beta: float, steps: int) -> tuple[Tensor, Tensor]:
    """Gain of each step's f, (T,), (T, B) or (T, B, N_post); and of e before the window, without the T."""
    like = max((ask.mods[0] for ask in asked), key=Tensor.dim)
    met, at_once = like.new_zeros(steps, *like.shape), torch.zeros_like(like)
    for first, mods in asked:
        mods = mods.view(*mods.shape, *[1] * (met.dim() - mods.dim()))
        if first == 0:
            at_once = at_once + mods[0]
            first, mods = 1, mods[1:]
        met[first - 1 : first - 1 + len(mods)] += mods
    gains = filters.backward(met, beta)
    return gains, at_once + beta * gains[0]


def _from_e(past: Past, e: Tensor, lead: Tensor) -> Tensor:
    """The part of a change that comes from e before the window, summed over the batch."""
    return lead * e if past.shared else modulate(past.rule.geometry.per_synapse(lead), e, "sum")
