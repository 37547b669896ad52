"""Somatic markers: situations, and how they felt.

    alike      κ_k(x) = exp(−|x − c_k|² / (2 ℓ²))           of situation x and the remembered situation c_k
    predicted  p(x) = Σ_k κ_k(x) v_k / max(1, Σ_k κ_k(x))   nothing like it was met: nothing is felt
    learnt     v_k ← d v_k for all,  d = exp(−1/τ);         then, for the k that x is like (κ >= ½),
               v_k ← v_k + rate (outcome − v_k)             or, if there is none, for the one unused for longest,
                                                            with c_k = x and from v_k = 0
    adjusted   score + weight · p(x)

Outcomes come in the unit of the scores that they are added to: money in hundreds beside values in hundreds, reward
beside action values. In that unit a weight of 1 lets feeling and score count alike; a tenth of it leaves the markers
unheard in the Iowa gambling task. The outcome is felt as it is, not squashed: a loss of 1250 has to weigh more than one
of 250, or rare disasters cannot be told from small change. Damasio 1994; Bechara, Damasio, Damasio & Anderson 1994.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .._checks import (
    Signal,
    as_signal,
    require_count,
    require_device,
    require_dtype,
    require_finite,
    require_flag,
    require_real,
)
from ..config.affect import AffectiveConfig
from ..config.validation import require_config
from ..decay import decay_factor


class MarkerState(NamedTuple):
    """What is remembered: K situations of F features for every sample.

    Args:
        situations: (B, K, F).
        values: (B, K) how they felt.
        ages: (B, K) outcomes since each was last met; infinity where there is none yet.
    """

    situations: Tensor
    values: Tensor
    ages: Tensor


class SomaticMarkers:
    """An associative memory from situations to felt outcomes, one per sample, with decay and a capacity.

    It stores nothing itself: markers travel in a `MarkerState`, without their history of gradients.

    Args:
        config: capacity, τ, rate, width ℓ, the weight in a score, and whether markers are used at all.

    >>> markers = SomaticMarkers(AffectiveConfig(marker_rate=0.5, somatic_marker_weight=1.0))
    >>> snake, rabbit = torch.eye(2)
    >>> state = markers.learn(snake[None], -8.0, markers.init(batch_size=1, n_features=2))
    >>> markers.adjust(torch.zeros(1, 2), torch.stack([snake, rabbit])[None], state)
    tensor([[-4.0000e+00, -4.5014e-07]])
    """

    def __init__(self, config: AffectiveConfig | None = None) -> None:
        self.config = require_config(config, AffectiveConfig)

    def init(
        self,
        batch_size: int,
        n_features: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> MarkerState:
        """An empty memory for situations (B, F).

        Raises:
            ValueError: `batch_size` or `n_features` is no whole number above zero.
        """
        batch_size, n_features = require_count("batch_size", batch_size), require_count("n_features", n_features)
        device, slots = require_device("device", device), self.config.marker_capacity
        wide = torch.promote_types(require_dtype("dtype", dtype), torch.float32)
        values = torch.zeros(batch_size, slots, device=device, dtype=wide)
        return MarkerState(values.new_zeros(batch_size, slots, n_features), values, values + torch.inf)

    def learn(self, situation: Tensor, outcome: Signal, state: MarkerState) -> MarkerState:
        """The memory after one outcome.

        Args:
            situation: (B, F) features of where it happened.
            outcome: how it felt, a float or a tensor (), (B,) or (B, 1); any real number.
            state: from `init` or the last outcome; it is not changed.

        Raises:
            TypeError: no tensor, no number.
            ValueError: a wrong shape, NaN.
        """
        situation = self._check_inputs(situation, state, batched=())
        value = as_signal(outcome, len(situation), name="outcome", device=state.values.device, dtype=state.values.dtype)
        old = MarkerState(*(tensor.detach() for tensor in state))
        alike = self._similarity(situation.unsqueeze(1), old).squeeze(1)
        closest, best = alike.max(dim=-1)
        known = closest >= 0.5
        slot = torch.where(known, best, old.ages.argmax(dim=-1))  # ages of empty slots are infinite: these come first
        here = slot.unsqueeze(-1) == torch.arange(old.values.shape[1], device=slot.device)
        faded = decay_factor(self.config.marker_tau) * old.values
        before = torch.where(known.unsqueeze(-1), faded, 0.0)
        learnt = before + self.config.marker_rate * (value.unsqueeze(-1) - before)
        fresh = here & ~known.unsqueeze(-1)
        return MarkerState(
            torch.where(fresh.unsqueeze(-1), situation.unsqueeze(1), old.situations),
            torch.where(here, learnt, faded),
            (old.ages + 1.0).masked_fill(here, 0.0),
        )

    def predict(self, situations: Tensor, state: MarkerState) -> Tensor:
        """How situations would feel.

        Args:
            situations: (B, ..., F).
            state: of the memory.

        Returns:
            (B, ...), in the unit of the outcomes; zero where nothing like it was met.

        Raises:
            TypeError: no tensor.
            ValueError: a wrong shape, NaN.
        """
        features = self._check_inputs(situations, state, batched=None)
        alike = self._similarity(features.reshape(len(features), -1, features.shape[-1]), state)
        felt = (alike * state.values.unsqueeze(1)).sum(-1) / alike.sum(-1).clamp(min=1.0)
        return felt.reshape(features.shape[:-1])

    def adjust(self, scores: Tensor, candidates: Tensor, state: MarkerState, *, minimised: bool = False) -> Tensor:
        """Scores of candidates, with what they would feel like: score + weight · predicted valence.

        Args:
            scores: (B, N) action values or expected free energies.
            candidates: (B, N, F) where each leads, or (B, N, T, F) trajectories, which feel as their mean.
            state: of the memory.
            minimised: whether the lowest score wins, as where the free energy itself is ranked and not its negative;
                the marker is then subtracted, so that what felt good is preferred either way.

        Returns:
            (B, N); the scores themselves where the config uses no markers.

        Raises:
            TypeError: no tensors.
            ValueError: shapes that do not fit, NaN.
        """
        require_real("scores", scores)
        require_real("candidates", candidates)
        require_finite("scores", scores)
        minimised = require_flag("minimised", minimised)
        if candidates.dim() not in (3, 4) or scores.shape != candidates.shape[:2]:
            raise ValueError(
                f"scores have shape {tuple(scores.shape)}, candidates {tuple(candidates.shape)}; "
                "expected (B, N) and (B, N, F) or (B, N, T, F)."
            )
        if scores.device != candidates.device:
            raise ValueError(f"scores are on {scores.device}, candidates on {candidates.device}; move one of them.")
        if not self.config.use_somatic_markers:
            return scores
        felt = self.predict(candidates, state)
        felt = felt.mean(-1) if felt.dim() == 3 else felt
        weight = self.config.somatic_marker_weight
        return scores - weight * felt if minimised else scores + weight * felt

    def _similarity(self, x: Tensor, state: MarkerState) -> Tensor:
        """κ of situations (B, M, F) and all that is remembered, (B, M, K)."""
        apart = (x.unsqueeze(2) - state.situations.unsqueeze(1)).square().sum(-1)
        alike = torch.exp(-apart / (2.0 * self.config.marker_width**2))
        return alike.masked_fill(torch.isinf(state.ages).unsqueeze(1), 0.0)

    def _check_inputs(self, features: Tensor, state: MarkerState, batched: tuple[int, ...] | None) -> Tensor:
        """Checked features in the precision of the state."""
        require_real("situation", features)
        if not isinstance(state, MarkerState):
            raise TypeError(f"state is a {type(state).__name__}; expected the MarkerState of markers.init(B, F).")
        for name, tensor in zip(state._fields, state, strict=True):
            require_real(f"state.{name}", tensor)
        held, slots, width = state.situations.shape if state.situations.dim() == 3 else (0, 0, 0)
        if held != len(state.values) or not state.values.shape == state.ages.shape == (held, slots):
            shapes = ", ".join(f"{n} {tuple(t.shape)}" for n, t in zip(state._fields, state, strict=True))
            raise ValueError(f"state holds {shapes}; expected (B, K, F), (B, K), (B, K), as from markers.init(B, F).")
        if len({tensor.device for tensor in (features, *state)}) > 1:
            raise ValueError(
                f"situation is on {features.device}, the state on {state.values.device}; move one of them."
            )
        fits = features.dim() >= 2 and features.shape[0] == held and features.shape[-1] == width
        if not fits or (batched is not None and features.dim() != 2):
            expected = f"({held}, {width})" if batched is not None else f"({held}, ..., {width})"
            raise ValueError(f"situation has shape {tuple(features.shape)}; expected {expected}, as in markers.init.")
        require_finite("situation", features)
        return features.to(state.values.dtype)
