"""Combination: four modulators become one gain, the third factor.

    weighted sum     g = w_DA DA + w_ACh ACh + w_NE NE + w_5HT 5HT
    gated product    g = w_DA DA (1 + w_ACh ACh) (1 + w_NE NE) (1 + w_5HT 5HT)
    mlp              g = tanh(W₂ tanh(W₁ m)),   m = (DA, ACh, NE, 5HT), no biases

In a sum, novelty alone opens the gate; in a product, the others can only amplify what dopamine says. All of
them turn zero modulators into exactly zero. The weights w are the config's; the MLP learns its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._checks import require_count, require_number, shown
from ..config import NeuromodConfig
from ..neuromodulators import NAMES, NEUROMODULATORS
from ..signals import levels_of
from .modulators import multiplied, summed

Weights = tuple[float, ...]


def weighted_sum(modulators: Mapping[str, Tensor], weights: Weights = (1.0, 0.5, 0.25, 0.25)) -> Tensor:
    """Sum of the modulators: g = Σ w_k m_k.

    Args:
        modulators: "DA", "ACh", "NE", "5HT", each (B,).
        weights: w_DA, w_ACh, w_NE, w_5HT.

    Returns:
        (B,).

    >>> m = {"DA": torch.ones(1), "ACh": torch.ones(1), "NE": torch.zeros(1), "5HT": torch.zeros(1)}
    >>> weighted_sum(m)
    tensor([1.5000])
    """
    return summed(_paired(modulators, weights))


def gated_product(modulators: Mapping[str, Tensor], weights: Weights = (1.0, 0.5, 0.25, 0.25)) -> Tensor:
    """Dopamine, amplified by the others: g = w_DA DA (1 + w_ACh ACh) (1 + w_NE NE) (1 + w_5HT 5HT).

    Args:
        modulators: "DA", "ACh", "NE", "5HT", each (B,).
        weights: w_DA, w_ACh, w_NE, w_5HT.

    Returns:
        (B,), zero wherever dopamine is zero.

    >>> m = {"DA": torch.ones(1), "ACh": torch.ones(1), "NE": torch.zeros(1), "5HT": torch.ones(1)}
    >>> gated_product(m)
    tensor([1.8750])
    """
    return multiplied(_paired(modulators, weights))


def _paired(modulators: Mapping[str, Tensor], weights: Weights) -> list[tuple[float, Tensor]]:
    """Each modulator beside its weight."""
    four = levels_of("modulators", modulators)
    if not isinstance(weights, (tuple, list)) or len(weights) != len(NAMES):
        names = ", ".join(f"w_{name}" for name in NAMES)
        raise ValueError(f"weights = {shown(weights)}; expected {len(NAMES)} numbers: {names}.")
    factors = [w if isinstance(w, float) and math.isfinite(w) else require_number("weights", w) for w in weights]
    return list(zip(factors, four, strict=True))


class ModulatorMLP(nn.Module):
    """Learned combination g = tanh(W₂ tanh(W₁ m)): odd, bounded by 1, and exactly zero at zero.

    The weights start at random, with W₂ signed so that ∂g/∂DA > 0 everywhere: before any training, reward
    strengthens and punishment weakens. The global random state is neither read nor changed.

    Args:
        hidden_dim: hidden units.
        seed: of the initial weights.

    >>> zero = dict.fromkeys(("DA", "ACh", "NE", "5HT"), torch.zeros(2))
    >>> ModulatorMLP(hidden_dim=8)(zero).tolist()
    [0.0, 0.0]
    """

    def __init__(self, hidden_dim: int = 64, seed: int = 0) -> None:
        super().__init__()
        hidden_dim, seed = require_count("hidden_dim", hidden_dim), require_count("seed", seed, 0)
        generator = torch.Generator().manual_seed(seed)
        inward = torch.randn(hidden_dim, len(NAMES), generator=generator) / math.sqrt(len(NAMES))
        outward = torch.randn(1, hidden_dim, generator=generator).abs() / math.sqrt(hidden_dim)
        self.inward = nn.Parameter(inward)
        self.outward = nn.Parameter(torch.copysign(outward, inward[:, 0]))

    def forward(self, modulators: Mapping[str, Tensor]) -> Tensor:
        """The gain (B,) of the modulators, each (B,), in their precision."""
        m = torch.stack(levels_of("modulators", modulators), dim=-1)
        hidden = torch.tanh(F.linear(m, self.inward.to(m)))
        return torch.tanh(F.linear(hidden, self.outward.to(m))).squeeze(-1)


class UserCombination(nn.Module):
    """A callable of the user's, held to its contract: (B,) out, and zero for zero.

    Args:
        function: from the dict of modulators, each (B,), to the gain (B,). If it is a module, its parameters
            become the gate's.

    Raises:
        TypeError: it does not return a tensor.
        ValueError: its result is not (B,), or not exactly zero when all modulators are.

    >>> UserCombination(lambda m: m["DA"] * m["ACh"])
    UserCombination()
    >>> UserCombination(lambda m: m["DA"] + 1.0)
    Traceback (most recent call last):
    ValueError: combination_fn turns zero modulators into 1; expected exactly 0, ...
    """

    def __init__(self, function: Callable[[dict[str, Tensor]], Any]) -> None:
        super().__init__()
        self.function = function
        device = next((p.device for p in self.parameters()), None)
        with torch.no_grad():
            result = self({name: torch.zeros(2, device=device) for name in NAMES})
        worst = float(result.abs().max())
        if worst != 0.0:
            raise ValueError(
                f"combination_fn turns zero modulators into {worst:g}; expected exactly 0, or plasticity "
                "would go on ungated. Multiply by a modulator, or subtract what it gives at zero."
            )

    def forward(self, modulators: Mapping[str, Tensor]) -> Tensor:
        """The user's gain, its shape checked."""
        result = self.function(dict(modulators))
        expected = modulators["DA"].shape
        if not isinstance(result, Tensor):
            found = type(result).__name__
            raise TypeError(f"combination_fn returned a {found}; expected a tensor {tuple(expected)}.")
        if result.shape != expected:
            raise ValueError(
                f"combination_fn returned shape {tuple(result.shape)}; expected {tuple(expected)}: one gain per sample."
            )
        return result.to(modulators["DA"].dtype)


def combination_of(config: NeuromodConfig) -> Callable[[dict[str, Tensor]], Tensor]:
    """What `config.combination_fn` stands for: from the modulators to the gain (B,)."""
    if callable(config.combination_fn):
        return UserCombination(config.combination_fn)
    if config.combination_fn == "mlp":
        return ModulatorMLP(config.modulator_hidden_dim, config.seed)
    combine = {"weighted_sum": weighted_sum, "gated_product": gated_product}[config.combination_fn]
    return partial(combine, weights=weights_of(config))


def weights_of(config: NeuromodConfig) -> Weights:
    """The weight of each modulator, in the order of the table."""
    return tuple(kind.setting(config, "weight") for kind in NEUROMODULATORS)
