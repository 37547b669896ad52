"""Couplings: what a motivated step does with the two nets.

    Replace      up · motivated learns · down                                        (the paper)
    BaseToo      base learns · up · motivated learns · down                          (the other reading)
    Distill      up · motivated learns · down · base learns from labels and from the motivated net's answers
                 (with base_first: base learns · up · …)
    Sandwich     up · motivated learns from both nets' gradients at once · down

A coupling is an object with `base_first` and `motivated_step(pair, batch) -> loss`; one of your own needs no edit here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from torch import Tensor
from torch.nn import functional as F

from .._checks import require_kind
from ..config.validation import require_flag_field, require_number_field
from .pair import NetPair
from .trainee import Trainee, parts_of


class Coupling(Protocol):
    """What a motivated step does with the two nets; write your own with these three."""

    @property
    def base_first(self) -> bool:
        """Whether the base learns from every batch on its own, before a motivated step."""
        ...

    @property
    def multiple_updates(self) -> bool:
        """Whether a motivated step moves parameters more than once, so that all must be remembered for a way back."""
        ...

    def motivated_step(self, pair: NetPair, batch: Any) -> float:
        """One motivated step; the loss of the large net."""
        ...


def _require_flags(coupling: object) -> None:
    for name in ("base_first", "multiple_updates"):
        require_flag_field(coupling, name)


@dataclass(frozen=True)
class Replace:
    """A motivated step takes the place of the base's: up, the large net learns, down.

    Args:
        base_first: the base learns from every batch on its own as well, before a motivated step.
        multiple_updates: whether a motivated step moves parameters more than once (see `Coupling`).
    """

    base_first: bool = False
    multiple_updates: bool = False

    def __post_init__(self) -> None:
        _require_flags(self)

    def motivated_step(self, pair: NetPair, batch: Any) -> float:
        """Up, learn, down."""
        require_kind("pair", pair, NetPair, "As NetPair(base, motivated, weights).")
        pair.up()
        loss = pair.motivated.train(batch)
        pair.down()
        return loss


@dataclass(frozen=True)
class BaseToo(Replace):
    """`Replace` in which the base learns from every batch; where motivated, the large net learns from it as well."""

    base_first: bool = True
    multiple_updates: bool = True


@dataclass(frozen=True)
class Distill:
    """After a motivated step, the base learns from the same batch: from its labels and from the large net's answers.

        L = (1 − share) · loss(base, labels) + share · T² · KL(softmax(motivated/T) ‖ softmax(base/T))

    Args:
        share: of the large net's answers in the loss, 0 .. 1.
        temperature: T > 0, which softens them.
        base_first: the base learns from every batch on its own as well, before it is taught.
        multiple_updates: see `Coupling`.

    Raises:
        TypeError: at the first motivated step, nets that do not learn by gradients.

    Hinton, Vinyals & Dean 2015.
    """

    share: float = 0.5
    temperature: float = 2.0
    base_first: bool = False
    multiple_updates: bool = True

    def __post_init__(self) -> None:
        _require_flags(self)
        require_number_field(self, "share", 0.0, 1.0)
        require_number_field(self, "temperature", 0.0, open_low=True)

    def motivated_step(self, pair: NetPair, batch: Any) -> float:
        """Up, learn, down, and teach."""
        base, motivated = _require_gradients(self, pair)
        pair.up()
        answers: dict[int, Tensor] = {}
        loss = motivated.descend(_answering(motivated, batch, answers))
        pair.down()
        base.descend(_taught(base, batch, answers, self.share, self.temperature))
        return loss


@dataclass(frozen=True)
class Sandwich:
    """The shared weights follow both nets at once: one step of the motivated net on the sum of two losses.

        g = ∇ loss(motivated, labels) + weight · ∇ L(base)        L as in `Distill`

    So the base stays a net in its own right while its weights serve the large one.

    Args:
        weight: of the base's gradient.
        share, temperature: of the large net's answers in the base's loss, as in `Distill`.
        base_first, multiple_updates: see `Coupling`.

    Raises:
        TypeError: at the first motivated step, nets that do not learn by gradients.

    Yu & Huang 2019 (universally slimmable networks: the sandwich rule with in-place distillation).
    """

    weight: float = 1.0
    share: float = 0.0
    temperature: float = 2.0
    base_first: bool = False
    multiple_updates: bool = False

    def __post_init__(self) -> None:
        _require_flags(self)
        require_number_field(self, "weight", 0.0)
        require_number_field(self, "share", 0.0, 1.0)
        require_number_field(self, "temperature", 0.0, open_low=True)

    def motivated_step(self, pair: NetPair, batch: Any) -> float:
        """Up, learn from both, down."""
        base, motivated = _require_gradients(self, pair)
        if base.closure or motivated.closure:
            raise TypeError(f"{self!r} steps once on two gradients, and an optimizer here evaluates its loss itself.")
        pair.up()
        for net in (base, motivated):
            net.optimizer.zero_grad(set_to_none=True)
        answers: dict[int, Tensor] = {}
        loss = motivated.add_gradients(_answering(motivated, batch, answers))
        taught = _taught(base, batch, answers, self.share, self.temperature)
        motivated.add_gradients([(self.weight * share, base_loss) for share, base_loss in taught])
        for mine, other, index in pair.shared():
            if mine.grad is not None and other.grad is not None:
                other.grad[index] += mine.grad
        base.optimizer.zero_grad(set_to_none=True)
        value = motivated.optimizer_step(loss)
        pair.down()
        return value


Terms = list[tuple[float, Callable[[], Tensor]]]


def _answering(motivated: Trainee, batch: Any, answers: dict[int, Tensor]) -> Terms:
    """The large net's losses; what it answered when it was first asked is noted."""

    def ask(number: int, part: Any) -> Tensor:
        output, target = motivated.output(part)
        answers.setdefault(number, output.detach())
        return motivated.loss_of(output, target)

    return [(share, partial(ask, k, part)) for k, (share, part) in enumerate(parts_of(motivated, batch))]


def _taught(base: Trainee, batch: Any, answers: dict[int, Tensor], share: float, temperature: float) -> Terms:
    """The base's losses, from labels and from the answers."""
    return [
        (weight, lambda part=part, k=k: _base_loss(base, part, answers[k], share, temperature))
        for k, (weight, part) in enumerate(parts_of(base, batch))
    ]


def _base_loss(base: Trainee, batch: Any, answers: Tensor, share: float, temperature: float) -> Tensor:
    output, target = base.output(batch)
    loss = base.loss_of(output, target)
    if not share:
        return loss
    soft = F.log_softmax(answers.float() / temperature, -1)
    gap = F.kl_div(F.log_softmax(output.float() / temperature, -1), soft, log_target=True, reduction="batchmean")
    return (1.0 - share) * loss + share * temperature**2 * gap


def _require_gradients(coupling: Coupling, pair: NetPair) -> tuple[Trainee, Trainee]:
    require_kind("pair", pair, NetPair, "As NetPair(base, motivated, weights).")
    if not isinstance(pair.base, Trainee) or not isinstance(pair.motivated, Trainee):
        raise TypeError(
            f"{coupling!r} mixes gradients; expected two Trainee. Use Replace() or BaseToo() for plasticity."
        )
    return pair.base, pair.motivated
