"""e-prop for any neuron: how the state of each post neuron depends on each weight onto it, carried from step to step.

    f_t = p_t · ε_{t−1} + q_t x_t           p = ∂z_t/∂h_{t−1},  q = ∂z_t/∂I_t
    ε_t = J_t ε_{t−1} + b_t x_t             J = ∂h_t/∂h_{t−1},  b = ∂h_t/∂I_t

h is what a neuron hands on to its next step, d numbers: a membrane, a current, an adaptation. I is its input, x the
pre side, z its output. Exact for a single layer of any neurons that only spikes connect; `EProp` is the short way
where J is the same at every step. ε takes B · d · N_post · N_pre numbers (with convolutions those of each position).

Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from .._checks import known_as, require_choice, require_number, require_real
from .._compiled import NUMBERS, loops_over_vectors, suits
from ..kernels.operands import require_spikes, units_of_post
from ..kernels.stdp import FullCoincidence
from ..layers.geometry import SharedWeights
from .memory import require_memory

_POST_SIDES = {"spikes": "step", "membrane": "membrane step", "loss": "gradient"}
VECTOR_ENTRIES = 1 << 18  # of ε that are worked on at once: small enough for a cache


@dataclass(frozen=True)
class EligibilityVectors:
    """Kernel whose `post` (B, d + 1, d + 1, *units) is a neuron's step, linear around where it is: [[q, p], [b, J]].

    Args:
        geometry: the synapses; None takes those of the rule that the kernel is part of.
        of: what f is the derivative of, "spikes", "membrane" (then v stands for z, and the first row is that of v) or
            "loss" (of this step, which stands for z).

    Raises:
        TypeError: a geometry that does not tell the factors of each weight.
        ValueError: another word.

    >>> from snn_plasticity.layers import Dense
    >>> kernel = EligibilityVectors(Dense(2, 1))
    >>> post = torch.tensor([[0.3, 0.0], [1.0, 0.9]]).view(1, 2, 2, 1)  # v ← 0.9 v + I, and ∂z/∂I = 0.3
    >>> coincidence, epsilon = kernel.step(torch.ones(1, 2), post, kernel.init(torch.ones(1, 2), post))
    >>> coincidence.full
    tensor([[[0.3000, 0.3000]]])
    """

    geometry: SharedWeights | None = field(default=None, repr=False)
    of: str = "spikes"
    post_axes: ClassVar[int] = 2
    per_synapse: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_choice("of", self.of, tuple(_POST_SIDES))
        methods = (getattr(self.geometry, name, None) for name in ("check", "columns", "summed"))
        if self.geometry is not None and (isinstance(self.geometry, type) or not all(map(callable, methods))):
            raise TypeError(
                f"geometry is {known_as(self.geometry)}, which does not tell the factors of each weight (`columns` and "
                "`summed`); expected one as Dense(3, 4)."
            )

    @property
    def post_side(self) -> str:
        """What it reads on the post side."""
        return _POST_SIDES[self.of]

    @property
    def words(self) -> str:
        """What it is called in print."""
        return "online gradients, by eligibility vectors" if self.of == "loss" else "e-prop, by eligibility vectors"

    def laid_out(self, geometry: SharedWeights) -> EligibilityVectors:
        """The same for these synapses.

        Raises:
            TypeError: a geometry that does not tell the factors of each weight.
        """
        if geometry is None:
            raise TypeError("geometry is None; expected the synapses, as Dense(3, 4).")
        return replace(self, geometry=geometry)

    def init(self, pre: Tensor, post: Tensor) -> Tensor:
        """Nothing depends on any weight yet: ε (B, d, *columns), zeros.

        Raises:
            MemoryError: it would take too much of the memory that is free.
        """
        shape = _shape(*self._geometry(pre, post).columns(post.flatten(1, 2), pre), post.shape[1] - 1)
        instead = "Take a smaller batch, or neurons without a reset, for which EProp needs no ε."
        require_memory("The eligibility vectors", shape, post.dtype, post.device, instead)
        return post.new_zeros(shape)

    def step(self, pre: Tensor, post: Tensor, state: Tensor, dt: float = 1.0) -> tuple[FullCoincidence, Tensor]:
        """One step: f of each weight, and ε after it."""
        require_number("dt", dt, 0.0, open_low=True)
        geometry, rows, x = self._factors(pre, post, state)
        each = _at_once(state)
        if each >= len(state) or torch.is_grad_enabled():
            f, after = _advanced(rows, x[:, 0], state)
            return FullCoincidence(geometry.summed(f)), after
        found, after = [], torch.empty_like(state)
        for b in range(0, len(state), each):
            f, after[b : b + each] = _advanced(*(side[b : b + each] for side in (rows, x[:, 0], state)))
            found.append(geometry.summed(f))
        return FullCoincidence(torch.cat(found)), after

    def accumulate_(
        self, e: Tensor, pre: Tensor, post: Tensor, state: Tensor, beta: float, scale: float, *, fast: bool
    ) -> None:
        """One step in place: e ← beta·e + scale·f, and ε after it; with `fast` by a compiled loop, if there is one."""
        geometry, rows, x = self._factors(pre, post, state)
        if fast and state.dim() > 4 and suits(state) and e.is_contiguous() and state.is_contiguous():
            whole = state.dim() == 5  # a matrix: one group
            held, rows = (state.unsqueeze(2), rows.unsqueeze(3)) if whole else (state, rows)
            x, number = x[:, 0] if whole else x[:, 0, :, 0], NUMBERS[e.dtype]
            into = e.view(len(e), *held.shape[2:4], held.shape[-1])
            given = (into, held, rows.squeeze(-1).to(e).contiguous(), x.to(e).contiguous())
            loops_over_vectors().advance(*(part.numpy() for part in given), number(beta), number(scale))
            return
        x, each = x[:, 0], _at_once(state)
        for b in range(0, len(state), each):
            some = slice(b, b + each)
            f, state[some] = _advanced(rows[some], x[some], state[some])
            e[some].mul_(beta).add_(geometry.summed(f), alpha=scale)

    def accumulate_apart_(self, e: Tensor, pre: Tensor, post: Tensor, state: Tensor, beta: float, scale: float) -> None:
        """One step in place, each use of a weight for itself: e (B, *columns) ← beta·e + scale·f, and ε after it."""
        _, rows, x = self._factors(pre, post, state)
        x, each = x[:, 0], _at_once(state)
        for b in range(0, len(state), each):
            some = slice(b, b + each)
            f, state[some] = _advanced(rows[some], x[some], state[some])
            e[some].mul_(beta).add_(f, alpha=scale)

    def check_step(self, pre: Tensor, post: Tensor, dt: float = 1.0) -> None:
        """Refuse a post side that is no step of neurons."""
        require_number("dt", dt, 0.0, open_low=True)
        self._geometry(pre, post)

    def _factors(self, pre: Tensor, post: Tensor, state: Tensor) -> tuple[SharedWeights, Tensor, Tensor]:
        """The synapses, (d + 1, d + 1) factors of each unit, and x, once they are known to fit."""
        geometry = self._geometry(pre, post)
        require_real("state", state)
        rows, x = geometry.columns(post.flatten(1, 2), pre)
        shape = _shape(rows, x, post.shape[1] - 1)
        if state.shape != shape or state.device != post.device:
            raise ValueError(
                f"state has shape {tuple(state.shape)} on {state.device}; expected {tuple(shape)} on {post.device}, as "
                "from init(pre, post)."
            )
        return geometry, rows.unflatten(1, post.shape[1:3]), x

    def _geometry(self, pre: Tensor, post: Tensor) -> SharedWeights:
        require_spikes(pre, post)
        if self.geometry is None:
            raise ValueError("EligibilityVectors has no synapses; expected geometry=, or laid_out(geometry) first.")
        if pre.device != post.device:
            raise ValueError(f"pre is on {pre.device} and post on {post.device}; expected one device.")
        self.geometry.check(pre, units_of_post(self, post))
        if post.shape[1] != post.shape[2]:
            raise ValueError(f"post has shape {tuple(post.shape)}; expected (B, d + 1, d + 1, *units).")
        return self.geometry


def _at_once(state: Tensor) -> int:
    """How many samples are worked on at once: on the CPU a cacheful, elsewhere all."""
    return max(1, VECTOR_ENTRIES // max(1, state[:1].numel()) if state.is_cpu else len(state))


def _shape(rows: Tensor, x: Tensor, states: int) -> tuple[int, ...]:
    """Of ε, (B, d, *columns)."""
    batch, _, *columns = (max(sizes) for sizes in zip(rows.shape, x.shape, strict=True))
    return (batch, states, *columns)


def _advanced(rows: Tensor, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """[f; ε'] = [[q, p], [b, J]] [x; ε] for each synapse."""
    now = []
    for row in rows.unbind(1):
        total = row[:, 0] * x
        for k, held in enumerate(state.unbind(1), start=1):
            total = torch.addcmul(total, row[:, k], held)
        now.append(total)
    return now[0], torch.stack(now[1:], 1) if now[1:] else torch.zeros_like(state)
