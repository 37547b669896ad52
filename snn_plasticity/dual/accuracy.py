"""The share of right answers, read off the shapes of an output and of its target.

    output                target                     an answer is right where
    (B, C)                (B,)                       the largest of the C outputs is the class
    (T, B, C)             (B,)                       the largest sum over time is, or what the loss of a host reads
    (T, B, C)             (T, B)                     it is at each step
    (B, C, d1, …)         (B, d1, …)                 it is at each place
    any of these          shares of classes          the largest output is the class of the largest share
    one per sample        0 or 1, with a BCE loss    both are on the same side

Of a tuple, the first output counts, as that of a net that returns its states too.
What cannot be known from shapes is said in a sentence, and never guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from ..hosts.adapter import class_scores

IGNORED = -100  # torch's own default for labels that no loss reads
BY_AXIS_1 = (F.cross_entropy, F.nll_loss, nn.CrossEntropyLoss, nn.NLLLoss)
LOGITS = (F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss)
PROBABILITIES = (F.binary_cross_entropy, nn.BCELoss)


class Answers(NamedTuple):
    """How many answers are right, out of how many, and the largest class among the targets; or why nobody can tell.

    Args:
        right: number of right answers; NaN where float targets turn out to be no shares.
        labels: how many there are.
        outputs: how many classes the net can tell apart.
        largest: class that a target names.
        doubt: why there is no number; "" where there is one.
    """

    right: Tensor | float = float("nan")
    labels: Tensor | int = 0
    outputs: int = 0
    largest: Tensor | int = 0
    doubt: str = ""


NO_CLASSES = "the targets are floats and name no classes"
NO_SHARES = "the targets hold numbers that are no shares of classes, which sum to 1"


def count_right(output: Any, target: Any, objective: Callable[..., Any]) -> Answers:
    """Of one batch, as the objective reads the output; nobody waits for the device."""
    if isinstance(output, (tuple, list)) and output:  # states stand behind it
        output = output[0]
    found = [tree_leaves(value) for value in (output, target)]
    if not all(len(leaves) == 1 and isinstance(leaves[0], Tensor) for leaves in found):
        return Answers(doubt="output and target are not one tensor each")
    scores, labels = found[0][0], found[1][0]
    if scores.is_complex() or labels.is_complex():
        return Answers(doubt="numbers are complex")
    if not labels.numel():
        return Answers(0.0)
    found = Answers(doubt=NO_CLASSES) if labels.is_floating_point() else _classes(scores, labels, objective)
    return _shares(scores, labels, objective, found.doubt) if found.doubt else found


def _classes(output: Tensor, target: Tensor, objective: Callable[..., Any]) -> Answers:
    scores = _scores(output, target.shape, objective)
    if isinstance(scores, str):
        return Answers(doubt=scores)
    settings = objective.keywords if isinstance(objective, partial) else getattr(objective, "__dict__", {})
    counted = target != settings.get("ignore_index", IGNORED)
    right = (scores.argmax(-1) == target) & counted
    return Answers(right.sum(), counted.sum(), scores.shape[-1], target.amax())


def _shares(output: Tensor, target: Tensor, objective: Callable[..., Any], doubt: str) -> Answers:
    """Targets that hold a number for each class, or a yes or no for each sample."""
    single = output.shape == target.shape and target.dim() > 0 and target.numel() == len(target)
    if single and is_one_of(objective, LOGITS + PROBABILITIES):
        middle = 0.0 if is_one_of(objective, LOGITS) else 0.5
        return Answers(((output > middle) == (target > 0.5)).sum(), target.numel(), 2, 1)
    if target.dim() > 2 and is_one_of(objective, BY_AXIS_1):
        target = target.movedim(1, -1)
    scores = _scores(output, target.shape[:-1], objective) if target.dim() > 1 else doubt
    if isinstance(scores, str) or scores.shape != target.shape:
        return Answers(doubt=doubt)
    shares = ((target.sum(-1) - 1).abs() < 1e-3).all() & (target >= 0).all()
    right = (scores.argmax(-1) == target.argmax(-1)).sum().double()
    number = scores.shape[-1]
    return Answers(torch.where(shares, right, float("nan")), target[..., 0].numel(), number, number)


def _scores(output: Tensor, shape: torch.Size, objective: Callable[..., Any]) -> Tensor | str:
    """Scores (*shape, C) of the classes; else a sentence."""
    what = f"an output {tuple(output.shape)} for targets {tuple(shape)}"
    read = class_scores(objective)
    if output.dim() == 3 and read is not None:
        output = read(output)
    elif len(shape) and output.dim() == len(shape) + 2:  # (T, B, …)
        output = output.sum(0)
    last = output.shape[:-1] == shape
    second = output.dim() > 2 and (*output.shape[:1], *output.shape[2:]) == shape
    by_axis_1 = is_one_of(objective, BY_AXIS_1)
    if output.dim() != len(shape) + 1 or not (last or second):
        return f"{what} has no axis of classes"
    if last and second and not by_axis_1:
        return f"{what} may have its classes along axis 1 or along the last one"
    scores = output.movedim(1, -1) if second and (by_axis_1 or not last) else output
    return scores if scores.shape[-1] > 1 else f"{what} has one number for each answer"


def is_one_of(objective: Any, known: tuple[Any, ...]) -> bool:
    """Whether a loss is one of these functions, or an object of one of these classes."""
    objective = objective.func if isinstance(objective, partial) else objective
    return any(objective is one or (isinstance(one, type) and isinstance(objective, one)) for one in known)
