"""Steps whose gradient is yet to come: what went into a synapse, and where in the graph its output is.

The output itself is not held, and neither is anything of an earlier step: the graph of each step ends at the states
that neurons brought along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge


class FollowedStep(NamedTuple):
    """A neuron's step, linear around where it is.

    Args:
        rows: [[., .], [b, J]] (d + 1, d + 1, B, ...), shaped like the output of the synapse.
        states: where the gradients of the d states before it are found; None where there is none.
        ends: instead of these, where those of its spikes and of the d states after it are found, with [q, p] in the
            first row of `rows`: where its current is not seen.
    """

    rows: Tensor
    states: tuple[GradientEdge | None, ...]
    ends: tuple[GradientEdge | None, ...] = ()


class ReadoutStep:
    """One step of the readout: where the gradient of its layer's output is found, and what it gave, with its graph."""

    __slots__ = ("membrane", "output", "shape", "spikes")

    def __init__(self) -> None:
        self.output: GradientEdge | None = None
        self.shape = torch.Size()
        self.spikes: Tensor | None = None  # (B, ...), or the layer's output where no neuron follows
        self.membrane: Tensor | None = None


NOWHERE = ReadoutStep()


class HeardStep(NamedTuple):
    """What a signal that a neuron hears has to do with a step.

    Args:
        spikes: of the neuron, with their graph (B, ...).
        by_feedback: whether a signal comes from the readout; else it is that of a firing rate alone.
    """

    spikes: Tensor
    by_feedback: bool


class NotedStep(NamedTuple):
    """One call of a synapse.

    Args:
        pre: what went in, (B, ...).
        version: of `pre`, when it was read.
        outputs: where gradients of its output are found; they add up.
        shape: of the output.
        begins: whether a new sequence begins with it.
        followed: the step of the neuron, where its memory is followed for each synapse.
        heard: what its neuron hears, where that is more than the gradient of a loss, or comes by feedback.
        readout: the step of the readout that it leads to.
    """

    pre: Tensor
    version: int
    outputs: tuple[GradientEdge, ...]
    shape: torch.Size
    begins: bool
    followed: FollowedStep | None = None
    heard: HeardStep | None = None
    readout: ReadoutStep = NOWHERE

    @property
    def edges(self) -> list[GradientEdge]:
        """Where gradients are asked for: at its output, and at the states that its neuron began with."""
        states = () if self.followed is None else (*self.followed.states, *self.followed.ends)
        return [*self.outputs, *(state for state in states if state is not None)]

    @property
    def asked(self) -> list[GradientEdge]:
        """Where a loss itself is asked for its gradients."""
        if self.heard is None or not self.heard.by_feedback:
            return self.edges
        return [] if self.readout.output is None else [self.readout.output]

    def post(self, gradients: Sequence[Tensor | None], like: Tensor) -> Tensor:
        """δ (B, ...), or [[δ, ∂loss/∂h], [b, J]] (B, d + 1, d + 1, ...); None is zero."""

        def dense(gradient: Tensor | None) -> Tensor:
            return like.new_zeros(self.shape) if gradient is None else gradient.to(like.dtype).reshape(self.shape)

        own, others = gradients[: len(self.outputs)], gradients[len(self.outputs) :]
        delta = sum((dense(gradient) for gradient in own[1:]), dense(own[0]) if own else dense(None))
        if self.followed is None:
            return delta
        found, rows = iter(others), self.followed.rows.to(like.dtype)
        if self.followed.ends:
            ends = [dense(None if end is None else next(found)) for end in self.followed.ends]
            first = sum((end * row for end, row in zip(ends[1:], rows[1:], strict=True)), ends[0] * rows[0])
            return torch.cat((first.unsqueeze(0), rows[1:])).movedim(2, 0)
        first = [delta, *(dense(None if state is None else next(found)) for state in self.followed.states)]
        return torch.cat((torch.stack(first).unsqueeze(0), rows[1:])).movedim(2, 0)


class NotedWindow(NamedTuple):
    """Steps of one sequence: pre (T, B, ...), δ (T, B, ...), and whether the sequence begins with them."""

    pre: Tensor
    delta: Tensor
    begins: bool


class NotedSteps:
    """The steps of a connection since the last loss."""

    def __init__(self) -> None:
        self.steps: list[NotedStep] = []
        self.sides: tuple[torch.Size, torch.Size] | None = None  # of pre and post of the last step
        self.neurons: torch.Size | None = None  # of a sample, where a pool or a view lies before them
        self.places: tuple[int, ...] = ()  # of a sample of the layer's output, where that is a map, (C, *places)
        self.readers: Tensor | None = None  # the neuron that reads each of them, −1 for none; None: several may
        self.mixed = False  # whether it was said that places hear the mean of their channel
        self.seed = 0  # of feedback that is drawn
        self.way: Callable[[], Tensor] = _unknown  # the weights from its neurons to the readout, (n_out, N)
        self._forgotten: list[tuple[int, Tensor]] = []  # after so many steps the samples in a mask started anew

    def __deepcopy__(self, memo: dict[int, Any]) -> NotedSteps:
        return NotedSteps()  # the graph is that of the model that was copied

    def __len__(self) -> int:
        return len(self.steps)

    def clear(self) -> None:
        """Drop all of them."""
        self.steps, self._forgotten = [], []

    def forget(self, mask: Tensor | None) -> None:
        """Drop them, of all samples or of those in `mask` (B,)."""
        if mask is None:
            self.clear()
        elif self.steps:
            self._forgotten.append((len(self.steps), mask))

    def at_places(self, modulator: Any) -> Any:
        """A modulator of each neuron (B, *neurons) behind a pool or a view, at the places of a map; others as they are.

        Raises:
            ValueError: windows of the pool overlap.
        """
        each = isinstance(modulator, Tensor) and modulator.shape[1:] == self.neurons and self.places
        if not each or (modulator.dim() == 2 and modulator.shape[1] == self.places[0]):
            return modulator
        if self.readers is None:
            raise ValueError(
                f"the modulator has shape {tuple(modulator.shape)}, and behind a pool whose windows overlap a place of "
                f"the layer's output belongs to several neurons; expected one for each channel, (B, {self.places[0]})."
            )
        readers = self.readers.to(modulator.device)
        return (modulator.flatten(1)[:, readers.clamp(min=0)] * (readers >= 0)).unflatten(1, self.places)

    def signals_at(self, signals: Tensor, shape: torch.Size) -> Tensor:
        """Signals of neurons (T, B, N), at the places of a map whose steps have this shape (B, C, *places); else as is.

        Raises:
            ValueError: windows of a pool overlap.
        """
        if len(shape) < 3 or signals.shape[2] == shape[1]:
            return signals
        if self.places and self.readers is None:
            raise ValueError(
                "a leaky readout needs an eligibility for each neuron, and behind a pool whose windows overlap a place "
                "of the layer's output belongs to several; expected tau_e as it is, or windows side by side. Nothing "
                "was changed."
            )
        if self.readers is not None:
            readers = self.readers.to(signals.device)
            signals = signals[..., readers.clamp(min=0)] * (readers >= 0)
        return signals.unflatten(2, shape[1:])

    def readout_steps(self) -> tuple[list[ReadoutStep], list[tuple[int, Tensor]]]:
        """Those of the readout that gave something, and after how many of them the samples in a mask started anew."""
        each = [step.readout for step in self.steps]
        known = list(dict.fromkeys(step for step in each if step.spikes is not None))
        return known, [(len(set(each[:at]).intersection(known)), mask) for at, mask in self._forgotten]

    @property
    def single(self) -> NotedStep | None:
        """The only step, in mid-sequence, of which nothing was forgotten; None where it is another case."""
        plain = len(self.steps) == 1 and not self._forgotten and not self.steps[0].begins
        return self.steps[0] if plain and self.steps[0].followed is None else None

    def sequences(self) -> Iterator[tuple[int, int]]:
        """Where each sequence of steps begins and ends."""
        starts = [k for k, step in enumerate(self.steps) if step.begins and k]
        return pairwise((0, *starts, len(self.steps)) if self.steps else ())

    def windows(self, gradients: Sequence[Sequence[Tensor | None]]) -> Iterator[NotedWindow]:
        """The steps beside their gradients, those of its `edges` for each step."""
        for first, end in self.sequences():
            steps = self.steps[first:end]
            like = steps[0].pre.new_zeros(())
            given = zip(steps, gradients[first:end], strict=True)
            delta = torch.stack([step.post(found, like) for step, found in given])
            pre = torch.stack([step.pre for step in steps])
            for at, mask in self._forgotten:
                dropped = mask.to(pre.device).nonzero().flatten()
                for side in (pre, delta):
                    side[: max(0, at - first)].index_fill_(1, dropped, 0)
            yield NotedWindow(pre, delta, steps[0].begins)


def _unknown() -> Tensor:
    """Nothing was noted yet."""
    raise RuntimeError("The way from these neurons to the readout is not known yet; run the model first.")
