"""The usual size of a signal, from what was heard of it: a running root mean square.

    S ← (1 − 1/τ) S + x²        N ← (1 − 1/τ) N + 1         for every x ≠ 0; a zero is silence, and moves nothing
    σ = √((S + n₀) / (N + n₀)),   n₀ = 50 · 2^(−(N/12)²) (1 − N/τ)

    S, N    sums of squares and of counts, from zero        τ    signals that are remembered
    n₀      a prior of size 1: what is left of so many signals that were ordinary, gone after some fifty

Read before x is heard, σ is 1 for the first x, which is therefore taken as it is, and nearly so are the next few; then
it is the size of what was heard. Divided by σ, a signal is in units of its usual size: no mean is subtracted, so that
zero stays zero, and a constant factor in all of them is gone after some fifty. Dopamine neurons adapt likewise: Tobler,
Fiorillo & Schultz 2005.
"""

from __future__ import annotations

import torch
from torch import Tensor

PRIOR, FADING = 50.0, 12.0  # signals of size 1, and how many others outweigh them
LARGEST = 1e15  # a square beyond it could overflow
SMALLEST = 1e-12


def usual_size(sums: Tensor, tau: float) -> Tensor:
    """σ of the sums (..., 2).

    >>> usual_size(torch.tensor([[0.0, 0.0], [100.0, 1.0]]), tau=200.0)
    tensor([1.0000, 1.7205])
    """
    squares, count = sums.unbind(-1)
    # A Gaussian in the count, not an exponential: it keeps the first few in the old unit, and is gone by the fiftieth.
    left = torch.exp2(count.square() * -(FADING**-2)) * (PRIOR - (PRIOR / tau) * count)  # a count never exceeds τ
    return ((squares + left) / (count + left)).clamp(min=SMALLEST**2).sqrt()


def update_sums(sums: Tensor, now: tuple[Tensor, ...], moves: Tensor, tau: float) -> Tensor:
    """Running sums (..., n) after this step: what there is `now`, n tensors (...), and a count where n is one more.

    Args:
        sums: before this step; the last is the count.
        now: n − 1 tensors (...).
        moves: (...) bool; elsewhere the sums stay.
        tau: steps that are remembered, >= 1.
    """
    new = torch.stack([*now, torch.ones_like(now[0])], dim=-1)
    return torch.where(moves.unsqueeze(-1), (1.0 - 1.0 / tau) * sums + new, sums)


def bounded_square(x: Tensor) -> Tensor:
    """x², of what is not too large to be squared."""
    return x.clamp(-LARGEST, LARGEST).square()
