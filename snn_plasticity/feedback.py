"""Feedback: what an error at the readout says to each hidden neuron.

    L_hidden[b, j] = Σ_k error[b, k] · B[k, j]

    symmetric    B = W                          W (n_out, N): from hidden neuron to readout
    random       B ~ N(0, 1) · scale            scale = 1/√n_out unless told; it stays as drawn
    adaptive     B ← B + rate · (W − W before)  drawn as above; it follows what the readout learns
    broadcast    B = 1/√n_out                   every hidden neuron hears the same

An adaptive B with rate = 1 takes each step that the readout takes: B ← B − η gᵀ where W ← W − η g. Where layers lie
between a hidden neuron and the readout, W is their product.

Random feedback: Lillicrap et al. 2016; direct to every layer: Nøkland 2016; adaptive, and for spiking neurons: Bellec
et al. 2020.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from ._checks import (
    known_as,
    require_callable,
    require_choice,
    require_finite,
    require_kind,
    require_number,
    require_real,
    require_tensors,
    shown,
)
from .config.validation import require_number_field

__all__ = [
    "AdaptiveFeedback",
    "BroadcastFeedback",
    "Feedback",
    "FeedbackState",
    "FeedbackWord",
    "RandomFeedback",
    "SymmetricFeedback",
    "feedback_of",
]

FeedbackWord = Literal["symmetric", "random", "adaptive", "broadcast"]
LARGEST_SEED = 2**63 - 1


class FeedbackState(NamedTuple):
    """What feedback remembers.

    Args:
        weights: (n_out, N) B, by which the last error came down.
        readout: (n_out, N) W, as it was then.
    """

    weights: Tensor
    readout: Tensor


class Feedback(Protocol):
    """From the readout to one hidden layer: `init` says how it begins, `step` brings one error down.

    Attributes:
        follows: whether the readout's weights matter; where they do not, they are not looked for, and may be zeros.
    """

    follows: ClassVar[bool] = True

    def init(self, readout: Tensor) -> FeedbackState:
        """Feedback at the beginning.

        Args:
            readout: (n_out, N) W, from hidden neuron to readout.

        Raises:
            TypeError: no dense tensor.
            ValueError: another number of axes, no floating point, NaN.
        """
        ...

    def step(self, error: Tensor, state: FeedbackState, readout: Tensor) -> tuple[Tensor, FeedbackState]:
        """One error comes down.

        Args:
            error: (B, n_out) error, or signal, at the readout.
            state: from `init` or the last step; it is not changed.
            readout: (n_out, N) W as it is now.

        Returns:
            (signal (B, N), new state).

        Raises:
            TypeError: a state of another kind, no tensors.
            ValueError: shapes or devices that do not fit, NaN.
        """
        ...


@dataclass(frozen=True)
class SymmetricFeedback(Feedback):
    """B = W: the error comes down by the weights that the spikes go up by, as in backpropagation.

    >>> feedback, readout = SymmetricFeedback(), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> feedback.step(torch.tensor([[1.0, -1.0]]), feedback.init(readout), readout)[0]
    tensor([[-2., -2.]])
    """

    def init(self, readout: Tensor) -> FeedbackState:
        """B is W; see `Feedback`."""
        readout = _matrix("readout", readout)
        return FeedbackState(readout.clone(), readout.clone())

    def step(self, error: Tensor, state: FeedbackState, readout: Tensor) -> tuple[Tensor, FeedbackState]:
        """One error comes down by W as it is now; see `Feedback`."""
        error, state, readout = _read(error, state, readout)
        return error @ readout, FeedbackState(readout.clone(), readout.clone())


@dataclass(frozen=True)
class RandomFeedback(Feedback):
    """B is drawn once, from a seed, and stays (feedback alignment).

    Args:
        seed: of the draw; one seed gives the same B on every device.
        scale: standard deviation of B; None is 1/√n_out.

    Raises:
        ValueError: a seed that is no whole number of 0 or more, or a scale that is not above zero.

    >>> feedback = RandomFeedback(seed=1)
    >>> state = feedback.init(torch.zeros(2, 3))
    >>> feedback.step(torch.tensor([[1.0, 0.0]]), state, torch.ones(2, 3))[0].equal(state.weights[:1])
    True
    """

    seed: int = 0
    scale: float | None = None

    follows: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require_draw(self)

    def init(self, readout: Tensor) -> FeedbackState:
        """B is drawn; see `Feedback`."""
        return _drawn(readout, self.seed, self.scale)

    def step(self, error: Tensor, state: FeedbackState, readout: Tensor) -> tuple[Tensor, FeedbackState]:
        """One error comes down by B as it was drawn; see `Feedback`."""
        error, state, readout = _read(error, state, readout)
        return error @ state.weights, FeedbackState(state.weights, readout.clone())


@dataclass(frozen=True)
class AdaptiveFeedback(Feedback):
    """B is drawn from a seed, and follows what the readout learns: B ← B + rate · (W − W before).

    Args:
        seed, scale: as in `RandomFeedback`.
        rate: how much of each change of the readout B takes part in.

    Raises:
        ValueError: an argument out of range.

    >>> feedback, before = AdaptiveFeedback(seed=1), torch.zeros(1, 2)
    >>> state = feedback.init(before)
    >>> _, after = feedback.step(torch.ones(1, 1), state, before + 0.5)
    >>> after.weights - state.weights
    tensor([[0.5000, 0.5000]])
    """

    seed: int = 0
    rate: float = 1.0
    scale: float | None = None

    def __post_init__(self) -> None:
        _require_draw(self)
        require_number_field(self, "rate", 0.0)

    def init(self, readout: Tensor) -> FeedbackState:
        """B is drawn; see `Feedback`."""
        return _drawn(readout, self.seed, self.scale)

    def step(self, error: Tensor, state: FeedbackState, readout: Tensor) -> tuple[Tensor, FeedbackState]:
        """B takes part in what the readout has learnt since, then one error comes down; see `Feedback`."""
        error, state, readout = _read(error, state, readout)
        weights = state.weights + self.rate * (readout - state.readout)
        return error @ weights, FeedbackState(weights, readout.clone())


@dataclass(frozen=True)
class BroadcastFeedback(Feedback):
    """B = 1/√n_out: one number for all hidden neurons, the sum of the errors.

    A signal that is centred, as (1{a} − π), sums to zero, so that it says nothing this way: give it the error of a
    regression, or one column.

    >>> feedback, readout = BroadcastFeedback(), torch.zeros(1, 3)
    >>> feedback.step(torch.tensor([[2.0]]), feedback.init(readout), readout)[0]
    tensor([[2., 2., 2.]])
    """

    follows: ClassVar[bool] = False

    def init(self, readout: Tensor) -> FeedbackState:
        """B is 1/√n_out everywhere; see `Feedback`."""
        readout = _matrix("readout", readout)
        return FeedbackState(torch.full_like(readout, 1.0 / math.sqrt(max(1, len(readout)))), readout.clone())

    def step(self, error: Tensor, state: FeedbackState, readout: Tensor) -> tuple[Tensor, FeedbackState]:
        """The sum of the errors comes down; see `Feedback`."""
        error, state, readout = _read(error, state, readout)
        return error @ state.weights, FeedbackState(state.weights, readout.clone())


def feedback_of(feedback: FeedbackWord | Feedback, seed: int = 0) -> Feedback:
    """The feedback that a word stands for; one that is an object stays as it is.

    Args:
        feedback: "symmetric", "random", "adaptive", "broadcast", or an object with `init` and `step`.
        seed: of what is drawn.

    Raises:
        TypeError: neither word nor feedback.
        ValueError: another word.

    >>> feedback_of("random", seed=3)
    RandomFeedback(seed=3, scale=None)
    """
    if isinstance(feedback, str):
        require_choice("feedback", feedback, ("symmetric", "random", "adaptive", "broadcast"), "a Feedback")
        if feedback in ("random", "adaptive"):
            return (RandomFeedback if feedback == "random" else AdaptiveFeedback)(seed)
        return SymmetricFeedback() if feedback == "symmetric" else BroadcastFeedback()
    if isinstance(feedback, type) or not hasattr(feedback, "init"):
        raise TypeError(f"feedback is {known_as(feedback)}; expected a word, or one as RandomFeedback(seed=0).")
    for name in ("init", "step"):
        require_callable(f"feedback.{name}", getattr(feedback, name, None), "of the house's shape")
    return feedback


def read_feedback(what: str, saved: object, device: torch.device) -> tuple[FeedbackState | None, tuple[str, ...]]:
    """The feedback in a saved state, looked at whole, and the name of its part; None and no name where there is none.

    Raises:
        ValueError: anything but two matrices of one shape; NaN.
    """
    if not isinstance(saved, Mapping) or "feedback" not in saved:
        return None, ()
    given = saved["feedback"]
    listed = isinstance(given, (list, tuple)) and len(given) == 2 and all(isinstance(m, Tensor) for m in given)
    if not listed or given[0].shape != given[1].shape:
        raise ValueError(f"{what}: feedback is {shown(given)}; expected two matrices of a shape. Nothing was changed.")
    weights, readout = (_matrix(f"{what}: feedback", matrix).to(device) for matrix in given)
    return FeedbackState(weights.clone(), readout.clone()), ("feedback",)


def _require_draw(feedback: RandomFeedback | AdaptiveFeedback) -> None:
    """Refuse a seed or a scale from which nothing can be drawn."""
    seed = feedback.seed
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"{type(feedback).__name__}.seed = {shown(seed)}; expected a whole number, 0 or more.")
    if feedback.scale is not None:
        require_number(f"{type(feedback).__name__}.scale", feedback.scale, 0.0, open_low=True)


def _drawn(readout: Tensor, seed: int, scale: float | None) -> FeedbackState:
    """N(0, 1) · scale, shaped and placed as the readout's weights."""
    readout = _matrix("readout", readout)
    scale = 1.0 / math.sqrt(max(1, len(readout))) if scale is None else scale
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(readout.shape, generator=generator, dtype=readout.dtype).to(readout.device)
    return FeedbackState(scale * drawn, readout.clone())


def _read(error: Tensor, state: FeedbackState, readout: Tensor) -> tuple[Tensor, FeedbackState, Tensor]:
    """The error, the state and the readout's weights, in one precision."""
    require_kind("state", state, FeedbackState, "As from init(readout).")
    state = FeedbackState(_matrix("state.weights", state.weights), _matrix("state.readout", state.readout))
    readout, error = _matrix("readout", readout), _matrix("error", error)
    require_tensors({"readout": readout, "state.weights": state.weights, "state.readout": state.readout}, "readout")
    if error.shape[1] != len(readout) or error.device != readout.device:
        raise ValueError(
            f"error has shape {tuple(error.shape)} on {error.device}; expected (B, {len(readout)}) on "
            f"{readout.device}, one column for each neuron of the readout."
        )
    dtype = torch.promote_types(torch.promote_types(error.dtype, readout.dtype), state.weights.dtype)
    return error.to(dtype), FeedbackState(state.weights.to(dtype), state.readout.to(dtype)), readout.to(dtype)


def _matrix(name: str, matrix: object) -> Tensor:
    """A matrix without a graph, in fp32 or fp64."""
    require_real(name, matrix)
    assert isinstance(matrix, Tensor)
    if matrix.dim() != 2 or not matrix.is_floating_point() or matrix.is_meta:
        raise ValueError(f"{name} is {shown(matrix)}; expected floating point of two axes, which has values.")
    return require_finite(name, matrix.detach().to(torch.promote_types(matrix.dtype, torch.float32)))
