"""What one fit needs besides its steps: the order of the data, when to stop, and a line that shows how it goes.

The order is the same whatever is trained in between, and known again after an interruption.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch.utils.data import IterableDataset

from .. import _checks as checks
from .._checks import known_as, require_choice, require_kind
from ..config.validation import require_count_field, require_number_field
from ..notices import notice
from .conditions.history import require_validations
from .ledger.meter import prefixed
from .report import DualReport, ValidationPoint

if TYPE_CHECKING:
    from .trainer import DualModelTrainer


class DataOrder:
    """Batches of a loader, shuffled by random numbers of their own, epoch by epoch.

    Args:
        loader: a DataLoader, or anything that can be gone through again and again.
        seed: of shuffling and of transforms that use torch's random numbers; every epoch has its own.
    """

    def __init__(self, loader: Iterable[Any], seed: int) -> None:
        self.loader, self.seed = loader, seed

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch from the `start`-th on. Random numbers outside are left as they are.

        Raises:
            ValueError: there is none.
        """
        if start and self._is_stream():
            notice(
                f"The loader is a stream: its first {start} batches, of which this run has learned in epoch {number}, "
                "are read again and skipped. The run goes on exactly if they come in the same order.",
                stacklevel=5,
            )
        own = _epoch_rng(self.seed, number)
        self._seed_sampler(number)
        outside, batches, count = torch.get_rng_state(), None, 0
        while True:
            outside = torch.get_rng_state()
            torch.set_rng_state(own)
            try:
                batches = iter(self.loader) if batches is None else batches
                batch = next(batches, None)
                own = torch.get_rng_state()
            finally:
                torch.set_rng_state(outside)
            if batch is None:
                break
            count += 1
            if count > start:
                yield batch
        if count < start:
            raise ValueError(
                f"The loader ended before the run did: it gave {count} batches, and epoch {number} stands behind batch "
                f"{start}; expected the same loader. To begin the epoch with another one, set trainer.batch = 0."
            )
        if not count:
            raise ValueError(
                f"The loader gave no batch in epoch {number}; expected at least one. An iterator that is used up? "
                "Pass a DataLoader or a list."
            )

    def _is_stream(self) -> bool:
        return isinstance(getattr(self.loader, "dataset", None), IterableDataset) or isinstance(self.loader, Iterator)

    def _seed_sampler(self, number: int) -> None:
        sampler = getattr(self.loader, "sampler", None)
        for holder in (self.loader, sampler):
            generator = getattr(holder, "generator", None)
            if isinstance(generator, torch.Generator):
                generator.manual_seed(_epoch_seed(self.seed, number))
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(number)  # type: ignore[union-attr]


def _epoch_seed(seed: int, number: int) -> int:
    return (seed * 1_000_003 + number) % 2**63  # a prime apart, so that epochs of neighbouring seeds do not meet


def _epoch_rng(seed: int, number: int) -> torch.Tensor:
    return torch.Generator().manual_seed(_epoch_seed(seed, number)).get_state()


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when a net has not become better for `patience` validations in a row.

    Args:
        patience: validations to wait.
        net: which net, "base" or "motivated".
        by: "accuracy", which is the metric where the net has one, or "loss". Where it is NaN at a validation, the loss
            decides instead, and a warning says so.
        min_delta: a net is better only where it is so by more than this.
    """

    patience: int = 5
    net: Literal["base", "motivated"] = "motivated"
    by: Literal["accuracy", "loss"] = "accuracy"
    min_delta: float = 0.0
    _said: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_choice("net", self.net, ("base", "motivated"))
        require_choice("by", self.by, ("accuracy", "loss"))
        require_count_field(self, "patience")
        require_number_field(self, "min_delta", 0.0)

    def __call__(self, curve: list[ValidationPoint]) -> bool:
        """Whether it is time; read off the curve alone, so that a resumed run stops where it would have."""
        scores = [point.score(self.net) for point in require_validations("curve", curve)]
        values = [-score.loss if self.by == "loss" else score.value for score in scores]
        if self.by == "accuracy" and any(value != value for value in values):
            self._say(scores[0].measure)
            values = [-score.loss for score in scores]
        best, since = -float("inf"), 0
        for value in values:
            best, since = (value, 0) if value > best + self.min_delta else (best, since + 1)
        return since >= self.patience

    def _say(self, measure: str) -> None:
        if not self._said:
            self._said.append(measure)
            notice(
                f"EarlyStopping: the {measure} of the {self.net} net is NaN; its loss decides instead.", stacklevel=4
            )


class StopCriteria(NamedTuple):
    """Limits of one `fit`; None is no limit."""

    max_steps: int | None
    max_macs: int | None
    early: EarlyStopping | None

    def reached(self, report: DualReport, macs: int) -> bool:
        """Whether one of them is reached."""
        steps = self.max_steps is not None and report.history.step >= self.max_steps
        spent = self.max_macs is not None and macs >= self.max_macs
        return steps or spent or (self.early is not None and self.early(report.curve))


class Progress:
    """One line: both losses, share of motivated steps, compute.

    Args:
        total: steps in all, if known.
        motivated: which of the steps behind trained the large net.
        show: False for silence; without tqdm there is silence too.
    """

    def __init__(self, total: int | None, motivated: Sequence[bool], *, show: bool) -> None:
        self.bar: Any = None
        if show:
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self.bar = tqdm(total=total, initial=len(motivated), unit="batch", disable=None)
        self.steps, self.motivated = len(motivated), sum(motivated)
        self.losses = {False: float("nan"), True: float("nan")}

    def step(self, loss: float, motivated: bool, macs: int) -> None:
        """One step is over; `macs` in all."""
        if self.bar is None:
            return
        self.losses[motivated] = loss
        self.steps, self.motivated = self.steps + 1, self.motivated + motivated
        share, (base, large) = self.motivated / self.steps, self.losses.values()
        text = f"base {base:.3f}, motivated {large:.3f}, {share:.0%}, {prefixed(macs)}MAC"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update()

    def close(self) -> None:
        """Leave the last line where it is."""
        if self.bar is not None:
            self.bar.close()


def require_fit_arguments(
    loader: object,
    validation: object,
    checkpoint: object,
    counts: Mapping[str, object],
    max_macs: object,
    early_stopping: object,
) -> None:
    """Refuse what no fit can go by; None is nothing where it may be left out.

    Raises:
        TypeError, ValueError: naming the argument, what it is, and what was expected.
    """
    require_loader("loader", loader)
    if validation is not None:
        require_loader("validation", validation)
    for name, count in counts.items():
        if count is not None:
            checks.require_count(name, count)
    if max_macs is not None:
        checks.require_number("max_macs", max_macs, 0.0, open_low=True)
    if early_stopping is not None:
        require_kind("early_stopping", early_stopping, EarlyStopping, "EarlyStopping(patience=5), or None.")
    if checkpoint is not None:
        require_kind("checkpoint", checkpoint, (str, Path), "The path of a file.")


def require_loader(name: str, loader: object) -> None:
    """Refuse what gives no batches; a tensor of one number calls itself iterable and is not."""
    number = isinstance(loader, torch.Tensor) and not loader.dim()
    if number or isinstance(loader, (str, bytes, Mapping)) or not isinstance(loader, Iterable):
        raise TypeError(f"{name} is {known_as(loader)}; expected a DataLoader or a list of (x, target).")


def total_steps(loader: Iterable[Any], epochs: int, accumulate: int) -> int | None:
    """How many steps all epochs hold; None where the loader does not say."""
    try:
        return epochs * -(-len(loader) // accumulate)  # type: ignore[arg-type]
    except TypeError:  # it has no length, or says so only when asked
        return None


def end_of_fit(trainer: DualModelTrainer, loader: Iterable[Any], epochs: int, accumulate: int) -> int | None:
    """How many steps there will be in all when the epochs are over; None where the loader does not say."""
    ahead = total_steps(loader, epochs - trainer.epoch, accumulate)
    return None if ahead is None else trainer.report.history.step + ahead - trainer.batch // accumulate
