"""History: what a motivation condition may look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..checks import array_of, require_callable, require_flag, require_kind, require_number, shown


@dataclass
class History:
    """What happened so far, one entry per step.

    Args:
        losses: of each batch, from the net that was trained on it (with `train_base_too`: the base's).
        motivated: which steps trained the large net.
        signals: named numbers, such as novelty; those of the step that is about to be decided are the last ones.
    """

    losses: list[float] = field(default_factory=list)
    motivated: list[bool] = field(default_factory=list)
    signals: dict[str, list[float]] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Which step is decided next, counted from 0."""
        return len(self.losses)

    def trail(self, name: str) -> Sequence[float]:
        """All values of a signal.

        Raises:
            ValueError: nothing of that name was measured.
        """
        if not isinstance(name, str) or name not in self.signals:
            known = ", ".join(self.signals) or "none"
            raise ValueError(
                f"The condition reads the signal {name!r}; measured are: {known}. "
                f"Give the trainer signals=..., a function that returns {{{name!r}: number}}."
            )
        return self.signals[name]

    def tell(self, values: Mapping[str, float]) -> None:
        """The signals of the step that is about to be decided."""
        values = require_kind("values", values, Mapping, "As {'novelty': 0.5}.")
        told = {name: require_number(f"The signal {name!r}", value) for name, value in values.items()}
        for name, value in told.items():
            self.signals.setdefault(name, []).append(float(value))

    def add(self, loss: float, motivated: bool) -> None:
        """One more step is over."""
        loss, motivated = require_number("loss", loss, infinite=True), require_flag("motivated", motivated)
        self.losses.append(loss)
        self.motivated.append(motivated)


Ask = Callable[[History], bool]


def decide(condition: Ask, history: History) -> bool:
    """What a condition says.

    Raises:
        TypeError: it says something that is no bool.
    """
    require_callable("condition", condition, "from a History to True or False")
    try:
        answer = condition(history)
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # from within the condition
        raise TypeError(f"{shown(condition)} cannot be asked ({error}); expected a function of one History.") from error
    if not isinstance(answer, bool):
        raise TypeError(
            f"{condition!r} returned {answer!r}, a {type(answer).__name__}, at step {history.step}; "
            "expected True or False. Write bool(...) around what it computes."
        )
    return answer


def replay(condition: Ask, losses: Sequence[float], signals: Mapping[str, Sequence[float]] | None = None) -> list[bool]:
    """What a condition would have said before each of the steps that were logged.

    >>> from .motivation import LossDecrease
    >>> replay(LossDecrease(1), [3.0, 2.0, 2.5, 2.0])
    [False, False, True, False]
    """
    history, told = History(), require_kind("signals", {} if signals is None else signals, Mapping, "{name: values}.")
    losses = array_of("losses", losses).tolist()
    for name, values in told.items():
        if len(array_of(f"signals[{name!r}]", values)) < len(losses):
            raise ValueError(f"signals[{name!r}] has {len(values)} values for {len(losses)} losses; expected as many.")
    for step, loss in enumerate(losses):
        history.tell({name: values[step] for name, values in told.items()})
        history.add(loss, decide(condition, history))
    return history.motivated
