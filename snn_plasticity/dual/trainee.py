"""One net and how it learns: by surrogate gradients, or by three-factor plasticity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from .._checks import known_as, require_callable, require_dtype, require_flag, require_kind, require_number, shown
from .._saved import require_alike, require_numbers, require_parts
from ..learner import PlasticityLearner
from .checkpoint import require_optimizer
from .nets import (
    Diverged,
    device_of,
    explain_errors,
    model_output,
    require_finite_loss,
    reset_hidden_state,
    unpack_batch,
)
from .score import Score, Scorer, evaluate


class Trainee:
    """A net that learns by (surrogate) gradients: model, optimizer and loss in one object.

    Args:
        model: the net. Hidden states that neurons hold themselves start anew with every batch.
        optimizer: of this model's parameters alone.
        loss: (output, target) -> scalar.
        run: (model, x) -> output, for a loop over time, as `OverTime(8)`; by default the model is called once.
        scheduler: of the learning rate, stepped once per epoch, or with `per_step` after each step of this net.
        clip_norm: largest norm of the gradient.
        amp: dtype of automatic mixed precision, torch.bfloat16 or torch.float16 (with loss scaling on CUDA).
        metric: (output, target) -> number for one batch, the larger the better; scores carry its mean under its name.
            None is the accuracy, where outputs and targets have shapes that tell it.

    Raises:
        TypeError: an argument of another kind.
        ValueError: the optimizer holds parameters that are not the model's, or none that are.

    >>> net = nn.Linear(2, 2)
    >>> trainee = Trainee(net, torch.optim.SGD(net.parameters(), lr=0.1))
    >>> batch = torch.eye(2), torch.tensor([0, 1])
    >>> trainee.train(batch) > trainee.train(batch)
    True
    """

    learner: PlasticityLearner | None = None

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Callable[[Tensor, Any], Tensor] = nn.functional.cross_entropy,
        *,
        run: Callable[[nn.Module, Any], Tensor] = model_output,
        scheduler: Any = None,
        per_step: bool = False,
        clip_norm: float | None = None,
        amp: torch.dtype | None = None,
        metric: Callable[[Tensor, Any], Any] | None = None,
    ) -> None:
        _require_net(model, loss, run)
        require_kind("optimizer", optimizer, torch.optim.Optimizer, "As torch.optim.Adam(model.parameters()).")
        if scheduler is not None and not callable(getattr(scheduler, "step", None)):
            raise TypeError(f"scheduler is {known_as(scheduler)}; expected one of torch.optim.lr_scheduler, or None.")
        per_step = require_flag("per_step", per_step)
        clip_norm = None if clip_norm is None else require_number("clip_norm", clip_norm, 0.0, open_low=True)
        if amp is not None:
            require_dtype("amp", amp)
        self.model, self.optimizer, self.objective, self.run = model, optimizer, loss, run
        self.scheduler, self.per_step, self.clip_norm, self.amp = scheduler, per_step, clip_norm, amp
        self.scorer = Scorer(loss, metric)
        half = amp is torch.float16 and device_of(model).type == "cuda"
        self.scaler: Any = torch.amp.GradScaler("cuda") if half else None  # type: ignore[attr-defined]
        mine = {id(p) for p in model.parameters()}
        held = [p for group in optimizer.param_groups for p in group["params"]]
        if not held or any(id(p) not in mine for p in held):
            raise ValueError(
                f"The optimizer holds {len(held)} tensors, and not all are parameters of this {type(model).__name__}; "
                "expected an optimizer of its own for each net, built on model.parameters()."
            )

    def output(self, batch: Any) -> tuple[Tensor, Any]:
        """(output, target) for a batch (x, target), from a fresh hidden state, on the model's device."""
        batch = unpack_batch(batch)
        with explain_errors(f"The net does not run on a batch of {shown(batch[0])}", "inputs that its forward takes"):
            x, target = tree_map_only(Tensor, lambda t: t.to(device_of(self.model)), batch)
            reset_hidden_state(self.model)
            with torch.autocast(device_of(self.model).type, dtype=self.amp, enabled=self.amp is not None):
                return self.run(self.model, x), target

    def loss(self, batch: Any) -> Tensor:
        """The loss of one batch (x, target), with its graph."""
        return self.loss_of(*self.output(batch))

    def loss_of(self, output: Tensor, target: Any) -> Tensor:
        """The loss of an output that is there already, in single precision whatever the net computed in."""
        require_kind("output", output, Tensor, "What the net made of a batch.")
        message = f"The objective does not take an output of {shown(output)} and a target of {shown(target)}"
        with explain_errors(message, "what it was made for"), torch.autocast(device_of(self.model).type, enabled=False):
            return self.objective(output.float() if self.amp else output, target)

    def train(self, batch: Any) -> float:
        """One step of the optimizer on one batch (x, target).

        Returns:
            The loss before the step.

        Raises:
            Diverged: the loss or the gradient is no finite number; no parameter has moved.
        """
        return self.minimize(self.loss(batch))

    def minimize(self, loss: Tensor) -> float:
        """One step of the optimizer along the gradient of a loss; the value of the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        return self.optimizer_step(self.backward(loss))

    def backward(self, loss: Tensor) -> Tensor:
        """Add the gradient of a loss to the gradients that are there; the loss without its graph, where it lies."""
        _require_loss(loss, "one number with a graph, as trainee.loss(batch)", graph=True)
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        return loss.detach()

    def optimizer_step(self, loss: Tensor) -> float:
        """Step along the gradients that are there, clipped where `clip_norm` says so, and clear them.

        Loss and gradients are looked at together: this is where a training step waits for its device, once.

        Args:
            loss: that the gradients are of, as `backward` returns it.

        Returns:
            Its value.

        Raises:
            Diverged: the loss or a gradient is not finite; no parameter has moved.
        """
        held = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        try:
            value = self._look(loss, held)
        except Diverged:
            self.optimizer.zero_grad(set_to_none=True)
            raise
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(held, self.clip_norm)
        if self.scaler is None:
            self.optimizer.step()
        else:  # skips steps whose scaled gradient overflowed
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.per_step and self.scheduler is not None:
            self.scheduler.step()
        return value

    def _look(self, loss: Tensor, held: list[Tensor]) -> float:
        """The value of a loss, where it and the gradients of these parameters are finite; scaled ones may overflow."""
        _require_loss(loss, "one number, as trainee.backward(loss) returns it", graph=False)
        if self.scaler is not None or not held:
            return require_finite_loss(float(loss))
        finite = torch.isfinite(torch.stack([p.grad.norm() for p in held])).all()  # type: ignore[union-attr]
        value, whole = torch.stack([loss.reshape(()), finite.to(loss)]).tolist()
        require_finite_loss(value)
        if not whole:
            raise Diverged("its gradient holds NaN or infinity; expected finite numbers")
        return value

    def evaluate(self, batches: Iterable[Any]) -> Score:
        """Mean loss, accuracy and metric on batches (x, target), in evaluation mode; random numbers stay as is."""
        return evaluate(self.model, self.output, self.scorer, batches)

    def end_epoch(self) -> None:
        """Step the scheduler, unless it steps with every batch."""
        if self.scheduler is not None and not self.per_step:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """State of optimizer, scheduler and loss scaling; the model's is its own."""
        scheduler = None if self.scheduler is None else self.scheduler.state_dict()
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": scheduler,
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`; errors as in `read_state`."""
        self.read_state(state)()

    def read_state(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """Look at a saved state whole; what is returned goes on from it. Nothing is changed before.

        Raises:
            TypeError, ValueError: another optimizer, a scheduler or scaler too many or too few, NaN.
        """
        what = "The saved net"
        require_parts(what, state, ("optimizer", "scheduler", "scaler"))
        require_optimizer(f"{what}: optimizer", self.optimizer, state["optimizer"])
        parts = [(self.optimizer, state["optimizer"])]
        for name, own in (("scheduler", self.scheduler), ("scaler", self.scaler)):
            if (own is None) is not (state[name] is None):
                there, here = ("no", "one") if state[name] is None else ("a", "none")
                raise ValueError(f"{what} has {there} {name}, this one has {here}; build it likewise first.")
            if own is not None:
                require_alike(f"{what}: {name}", state[name], own.state_dict())
                require_numbers(f"{what}: {name}", state[name])
                parts.append((own, state[name]))

        def commit() -> None:
            for own, saved in parts:
                own.load_state_dict(saved)

        return commit


class PlasticTrainee:
    """A net that learns by three-factor plasticity, without gradients.

    Args:
        model: the net.
        learner: what `attach(model, ...)` returned.
        teach: (model, learner, batch) -> loss: runs the model on the batch, calls `learner.step(...)` with the
            modulator, and returns a number that says how it went (a loss, for conditions and reports).
        loss, run, metric: for the evaluation, as in `Trainee`.

    Raises:
        TypeError: an argument of another kind.

    >>> from snntorch import Leaky
    >>> from snn_plasticity import attach
    >>> net = nn.Sequential(nn.Linear(4, 2), Leaky(0.9, init_hidden=True))
    >>> def teach(model, learner, batch):
    ...     wrong = (model(batch[0]).argmax(1) != batch[1]).float()
    ...     learner.step(0.5 - wrong)
    ...     return wrong.mean()
    >>> trainee = PlasticTrainee(net, attach(net), teach)
    >>> 0.0 <= trainee.train((torch.ones(3, 4), torch.tensor([0, 1, 1]))) <= 1.0
    True
    """

    def __init__(
        self,
        model: nn.Module,
        learner: PlasticityLearner,
        teach: Callable[[nn.Module, PlasticityLearner, Any], float],
        loss: Callable[[Tensor, Any], Tensor] = nn.functional.cross_entropy,
        *,
        run: Callable[[nn.Module, Any], Tensor] = model_output,
        metric: Callable[[Tensor, Any], Any] | None = None,
    ) -> None:
        _require_net(model, loss, run)
        require_kind("learner", learner, PlasticityLearner, "As attach(model) returns one.")
        require_callable("teach", teach, "(model, learner, batch) -> loss")
        self.model, self.teach, self.objective, self.run = model, teach, loss, run
        self.learner: PlasticityLearner | None = learner
        self.scorer = Scorer(loss, metric)

    def train(self, batch: Any) -> float:
        """One step on one batch, as `teach` does it, from a fresh hidden state.

        Returns:
            What `teach` returned.

        Raises:
            Diverged: it is no finite number.
        """
        assert self.learner is not None
        reset_hidden_state(self.model)
        message = f"teach does not take a batch of {shown(batch)}"
        with explain_errors(message, "what it was made for, and a loss in return"), torch.no_grad():
            return require_finite_loss(float(self.teach(self.model, self.learner, batch)))

    def evaluate(self, batches: Iterable[Any]) -> Score:
        """Mean loss, accuracy and metric on batches (x, target); nothing is learned and no trace changes."""
        assert self.learner is not None
        with self.learner.paused():
            return evaluate(self.model, self._output, self.scorer, batches)

    def _output(self, batch: Any) -> tuple[Tensor, Any]:
        x, target = unpack_batch(batch)
        reset_hidden_state(self.model)
        return self.run(self.model, x), target

    def end_epoch(self) -> None:
        """Nothing to do."""

    def state_dict(self) -> dict[str, Any]:
        """Eligibility and modulators."""
        assert self.learner is not None
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`; errors as in `PlasticityLearner.load_state_dict`."""
        self.read_state(state)()

    def read_state(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """Look at a saved state whole; what is returned goes on from it. Nothing is changed before."""
        assert self.learner is not None
        require_parts("The saved net", state, ("learner",))
        return self.learner.read_state(state["learner"])


def _require_loss(loss: object, expected: str, *, graph: bool) -> None:
    loss = require_kind("loss", loss, Tensor, f"Give {expected}.")
    if loss.numel() != 1 or not loss.is_floating_point() or loss.is_meta:
        raise ValueError(f"loss is {shown(loss)}; expected {expected}.")
    if graph and not loss.requires_grad:
        raise ValueError(f"loss is {shown(loss)} without a graph; expected {expected}.")


def _require_net(model: object, loss: object, run: object) -> None:
    require_kind("model", model, nn.Module, "The net that learns.")
    require_callable("loss", loss, "(output, target) -> scalar")
    require_callable("run", run, "(model, x) -> output")
