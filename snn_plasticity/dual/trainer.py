"""DualModelTrainer: a small net learns; while motivated, a large one that contains it learns in its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from .._checks import known_as, require_callable, require_count, require_flag
from ..hosts.index import unwrap
from .callbacks import Callback, Callbacks
from .checkpoint import load_run, run_state
from .checkpoint_file import read_checkpoint, write_checkpoint
from .conditions.condition import ConditionFn, Never, decide
from .conditions.history import History
from .conditions.motivation import LossDecrease, loss_signals
from .conditions.staleness import say_if_stale
from .coupling import BaseToo, Coupling, Replace
from .distributed import group_of, mean_over_ranks
from .fit_loop import FitPlan, run_fit
from .fitting import EarlyStopping, StopCriteria, end_of_fit, require_fit_arguments
from .ledger.bookkeeper import Bookkeeper
from .nets import Diverged, TrainableNet, reset_hidden_state
from .pair import NetPair
from .report import DualReport, StepResult, ValidationPoint
from .score import Score
from .snapshot import Snapshot
from .weights_map import WeightsMap

Signals = Callable[[History, Any], Mapping[str, float]]


class DualModelTrainer:
    """Trains two nets, the small one inside the large one.

    Before each batch a condition is asked; its answer says which net learns from that batch.

        condition(history)?   no:  base learns
                              yes: base ─copy─► motivated;  motivated learns;  shared part ─copy─► base

    Args:
        base: how the small net learns: a `Trainee` or a `PlasticTrainee`.
        motivated: how the large one does; None trains one net alone, the plain way.
        weights: where the small net lies in the large one, as `widen` and `deepen` return it.
        condition: any function of a `History` that returns a bool; True recruits the large net. None is
            `LossDecrease(2)`.
        coupling: what a motivated step does; None is `Replace()`, the paper's. `Distill(base_first=True)` serves both
            nets better.
        train_base_too: the base learns from motivated batches as well; short for `BaseToo()`.
        signals: (history, batch) -> named numbers for the condition; None measures them from the losses. If it has
            a `state_dict`, that is saved too.
        seed: of the order of the data.

    What is remembered: `report`, the run so far; `epoch` and `batch`, where it stands; `base` and `motivated`.

    Raises:
        TypeError: a net that is no trainee, or a condition, coupling or `signals` that cannot be called.
        ValueError: a map or nets that do not fit together; see `NetPair`.

    >>> import torch
    >>> from snn_plasticity.dual import Trainee, widen
    >>> small = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> large, weights = widen(small, 2)
    >>> nets = [Trainee(net, torch.optim.Adam(net.parameters())) for net in (small, large)]
    >>> trainer = DualModelTrainer(*nets, weights)
    >>> report = trainer.fit([(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))] * 3, epochs=2, progress=False)
    >>> report.history.step
    6

    Acheli & Gaaloul 2026, *Motivation is something you need* (arXiv 2602.21064).
    """

    def __init__(
        self,
        base: TrainableNet,
        motivated: TrainableNet | None = None,
        weights: WeightsMap | None = None,
        condition: ConditionFn | None = None,
        *,
        coupling: Coupling | None = None,
        train_base_too: bool = False,
        signals: Signals | None = None,
        seed: int = 0,
    ) -> None:
        for name, net in (("base", base), ("motivated", motivated)):
            if (net is not None or name == "base") and not isinstance(getattr(net, "model", None), nn.Module):
                raise TypeError(f"{name} is {known_as(net)}; expected a Trainee or a PlasticTrainee.")
        if condition is not None:
            require_callable("condition", condition, "from a History to True or False")
        if signals is not None:
            require_callable("signals", signals, "(history, batch) -> named numbers")
        if coupling is not None and not callable(getattr(coupling, "motivated_step", None)):
            raise TypeError(f"coupling is {known_as(coupling)}; expected one as Replace() or Distill().")
        train_base_too, seed = require_flag("train_base_too", train_base_too), require_count("seed", seed, 0)
        if (motivated is None) != (weights is None):
            raise ValueError("A motivated net and a map into it belong together; one of them is missing.")
        if coupling is not None and train_base_too:
            raise ValueError(f"train_base_too=True means coupling=BaseToo(); got coupling={coupling!r} as well.")
        self.base, self.motivated, self.weights = base, motivated, weights
        self.pair = None if motivated is None or weights is None else NetPair(base, motivated, weights)
        self.condition: ConditionFn = (condition or LossDecrease(2)) if self.pair else Never()
        self.coupling = coupling or (BaseToo() if train_base_too else Replace())
        self.signals, self.seed = signals or (lambda history, batch: loss_signals(history)), seed
        self.report = DualReport(condition=repr(self.condition))
        self.epoch, self.batch, self.stopping = 0, 0, False
        self.callbacks: Callbacks = Callbacks(())
        self.saved_callbacks: list[Any] | None = None
        self._end: int | None = None
        self._modes: dict[nn.Module, bool] = {}
        self.keeper, self._group = Bookkeeper(self.nets), group_of(base.model)
        self._snapshot = Snapshot(self.nets)

    @property
    def nets(self) -> list[TrainableNet]:
        """The base, and the motivated net if there is one."""
        return [net for net in (self.base, self.motivated) if net is not None]

    def step(self, batch: Any) -> StepResult:
        """Ask the condition, and learn from one batch.

        Args:
            batch: (x, target).

        Returns:
            The loss, whether the step was motivated, and what it cost.

        Raises:
            Diverged: a loss or gradient that is no number; everything is as before this batch.
            TypeError: the condition returned no bool.
        """
        start, history = time.perf_counter(), self.report.history
        if self._modes:
            self._resume_training_modes()
        self._measure_signals(batch)
        motivated = decide(self.condition, history)
        self._snapshot.take(whole=motivated and self.coupling.multiple_updates)
        try:
            with self.keeper.begin(self.report, batch, motivated):
                loss = self._train_nets(batch, motivated)
        except FloatingPointError as error:
            self._roll_back()
            raise Diverged(
                f"Batch {self.batch} of epoch {self.epoch} (step {history.step}, "
                f"{'motivated' if motivated else 'base'}): {error}. Nothing of it was kept; both nets are as before "
                "it. Lower the learning rate, clip the gradient with clip_norm=1.0, or look at this batch."
            ) from error
        except BaseException:
            self._roll_back()
            raise
        cost = self.keeper.end(self.report, batch, motivated)
        history.add_step(loss, motivated)
        self.report.seconds += time.perf_counter() - start
        return StepResult(loss, motivated, cost)

    def fit(
        self,
        loader: Iterable[Any],
        epochs: int,
        *,
        validation: Iterable[Any] | None = None,
        validate_every: int | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int | None = None,
        early_stopping: EarlyStopping | None = None,
        max_steps: int | None = None,
        max_macs: int | None = None,
        accumulate: int = 1,
        callbacks: Iterable[Callback | Callable[[DualModelTrainer, StepResult], object]] = (),
        progress: bool = True,
    ) -> DualReport:
        """Train until `epochs` epochs are over, those of earlier calls and of a loaded run included.

        Args:
            loader: batches (x, target), or what `Trainee(unpack=...)` takes; shuffled by this trainer's seed alone,
                whatever the schedule.
            epochs: in total.
            validation: batches on which both nets are scored, after each epoch.
            validate_every: score them after so many steps instead.
            checkpoint: file to save to, after each epoch.
            checkpoint_every: save after so many steps instead.
            early_stopping: when to stop before; needs `validation`.
            max_steps, max_macs: in total; stop there, to go on another time.
            accumulate: batches for each step, whose gradients are those of one batch as large, for a loss that is a
                mean over samples; the condition is asked once for all of them, and `signals` is handed all of them.
            callbacks: functions (trainer, result) that are called after each step, or objects as `Callback`.
            progress: show a bar, if tqdm is installed.

        Returns:
            `trainer.report`, which grows with each call.

        Raises:
            TypeError: a loader that cannot be gone through, or a condition that returns no bool.
            ValueError: a loader without batches, a limit that is none, or nets that cannot accumulate.
            Diverged: as `step`.
            KeyboardInterrupt: behind the step in which Ctrl-C was pressed; nothing of it is lost.
        """
        require_fit_arguments(
            loader,
            validation,
            checkpoint,
            {"validate_every": validate_every, "checkpoint_every": checkpoint_every, "max_steps": max_steps},
            max_macs,
            early_stopping,
        )
        epochs, progress = require_count("epochs", epochs, 0), require_flag("progress", progress)
        told = Callbacks(callbacks)
        self._require_accumulation(require_count("accumulate", accumulate))
        self._resume_callbacks(told)
        self._resume_training_modes()
        stop, self.stopping = StopCriteria(max_steps, max_macs, early_stopping), False
        self._end = end_of_fit(self, loader, epochs, accumulate)
        last = run_fit(
            self,
            FitPlan(
                loader,
                epochs,
                validation=validation,
                validate_every=validate_every,
                checkpoint=checkpoint,
                checkpoint_every=checkpoint_every,
                stop=stop,
                callbacks=told,
                accumulate=accumulate,
                progress=progress,
            ),
        )
        if last is not None:
            self.keeper.look_at_nets(self.report, last)
        say_if_stale(self.report)
        return self.report

    def stop(self) -> None:
        """Ask `fit` to end behind the step, validation or epoch that is going on; `fit` again goes on from there."""
        self.stopping = True

    def validate(self, batches: Iterable[Any]) -> ValidationPoint:
        """Score both nets now. The motivated net is brought in sync first; how training goes on does not change."""
        self.sync()
        base = self._score(self.base, batches)
        motivated = None if self.motivated is None else self._score(self.motivated, batches)
        cost, report = self.report.cost, self.report
        return ValidationPoint(report.history.step, self.epoch, cost.macs, cost.synops, report.seconds, base, motivated)

    def sync(self) -> None:
        """Copy the base's weights, buffers and eligibility into the motivated net, as each motivated step begins."""
        if self.pair is not None:
            self.pair.up()

    def finalize(self) -> tuple[nn.Module, nn.Module | None]:
        """The two models, each to deploy on its own: in sync, in evaluation mode, without hidden state.

        Returns:
            The base's model, and the motivated net's (None without one): plain modules, no copies.
        """
        self.sync()
        for net in self.nets:
            for module in net.model.modules():
                self._modes.setdefault(module, module.training)
            net.model.eval()
            reset_hidden_state(net.model)
        return unwrap(self.base.model), None if self.motivated is None else unwrap(self.motivated.model)

    def state_dict(self) -> dict[str, Any]:
        """Everything that going on needs, as plain tensors and values: weights, optimizers, report, random numbers."""
        return run_state(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, bit for bit; or refuse it, and nothing is changed.

        Raises:
            TypeError: no such state.
            ValueError: another format, nets that share other weights or have other shapes, another condition or
                coupling, a part that is missing or too many, or NaN.
        """
        load_run(self, state)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint for `load` in one move: a crash leaves the old file or the new one, whole."""
        write_checkpoint(path, self.state_dict())

    def load(self, path: str | Path) -> None:
        """Go on from a file that `save` wrote, into nets built as they were then; errors as `load_state_dict`."""
        self.load_state_dict(read_checkpoint(path))

    def _train_nets(self, batch: Any, motivated: bool) -> float:
        if not motivated:
            return self.base.train(batch)
        assert self.pair is not None
        if not self.coupling.base_first:
            return self.coupling.motivated_step(self.pair, batch)
        loss = self.base.train(batch)
        self.coupling.motivated_step(self.pair, batch)
        return loss

    def _measure_signals(self, batch: Any) -> None:
        history = self.report.history
        if all(len(values) == history.step for values in history.signals.values()):
            history.add_signals(self._over_ranks(self.signals(history, batch)))
            history.note_steps_left(self._end)

    def _over_ranks(self, values: Mapping[str, float]) -> Mapping[str, float]:
        """Signals of all ranks together, so that all take the same decision."""
        if not isinstance(values, Mapping) or self._group is None:
            return values
        names = sorted(values)
        return dict(zip(names, mean_over_ranks([float(values[n]) for n in names], self.base.model), strict=True))

    def _score(self, net: TrainableNet, batches: Iterable[Any]) -> Score:
        score = net.evaluate(batches)
        if group_of(net.model) is None:
            return score
        numbers = {name: value for name, value in score._asdict().items() if isinstance(value, float)}
        return score._replace(**dict(zip(numbers, mean_over_ranks(list(numbers.values()), net.model), strict=True)))

    def _roll_back(self) -> None:
        self._snapshot.restore()
        self.keeper.drop()
        for values in self.report.history.signals.values():
            del values[self.report.history.step :]

    def _require_accumulation(self, batches: int) -> None:
        for name, net in zip(("base", "motivated net"), self.nets, strict=False):
            if batches > 1 and (net.learner is not None or getattr(net, "closure", False)):
                raise ValueError(
                    f"accumulate = {batches}, and the {name} has no gradients to add up: it learns by plasticity, or "
                    "its optimizer looks at each batch several times; expected accumulate=1. Make the batches larger."
                )

    def callback_states(self) -> list[Any]:
        """What the callbacks of this run remember, or what a loaded one keeps for those of the next `fit`."""
        return self.callbacks.state_dict() if self.saved_callbacks is None else self.saved_callbacks

    def _resume_callbacks(self, callbacks: Callbacks) -> None:
        if self.saved_callbacks is not None:
            callbacks.load_state_dict(self.saved_callbacks)
        self.callbacks, self.saved_callbacks = callbacks, None

    def _resume_training_modes(self) -> None:
        """Modules that `finalize` brought into evaluation mode train again; those that were in it before stay so."""
        for module, training in self._modes.items():
            module.training = module.training or training
        self._modes.clear()
