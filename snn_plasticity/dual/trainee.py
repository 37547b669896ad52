"""One net that learns by (surrogate) gradients: what a step does, from a batch to the optimizer."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from .._checks import known_as, require_dtype, require_flag, require_kind, require_number, shown
from .._untracked import AS_IT_IS, casting_anywhere
from ..learner import PlasticityLearner
from ..notices import notice
from .batches import BatchGroup, pair_of, require_samples, shares_of, to_device, unpack_pair
from .distributed import average, group_of, share_buffers, without_ranks
from .nets import (
    Diverged,
    device_of,
    explain_errors,
    require_finite_loss,
    require_net,
    reset_hidden_state,
)
from .over_time import OverTime, model_output
from .score import Score, Scorer, evaluate
from .trainee_state import read_trainee, settings_of


class Trainee:
    """A net that learns by (surrogate) gradients: model, optimizer and loss in one object.

    Args:
        model: the net. Hidden states that neurons hold themselves start anew with every batch.
        optimizer: of this model's parameters alone, and of the loss's if it is a module that has some.
        loss: (output, target) -> scalar.
        run: (model, x) -> output, for a loop over time, as `OverTime(8)`; by default the model is called once.
        scheduler: of the learning rate, stepped once per epoch, or with `per_step` after each step of this net. One
            that follows a loss (ReduceLROnPlateau) is told this net's loss at each validation of `fit`; without
            validation, the mean training loss of each epoch; with `per_step`, the loss of each step.
        clip_norm: largest norm of the gradient.
        amp: dtype of automatic mixed precision, torch.bfloat16 or torch.float16 (with loss scaling on CUDA).
        metric: (output, target) -> number for one batch, the larger the better; scores carry its mean under its name.
            None is the accuracy, where outputs and targets have shapes that tell it.
        unpack: batch -> (x, target); by default a batch is this pair. `Fields` says it of mappings and longer tuples.
        closure: whether the optimizer's step evaluates the loss itself, several times, as LBFGS does; None asks its
            signature.

    Raises:
        TypeError: an argument of another kind.
        ValueError: the optimizer holds parameters that are not the model's, or none that are; loss scaling with a
            closure.

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
        unpack: Callable[[Any], tuple[Any, Any]] = unpack_pair,
        closure: bool | None = None,
    ) -> None:
        require_net(model, loss, run, unpack)
        require_kind("optimizer", optimizer, torch.optim.Optimizer, "As torch.optim.Adam(model.parameters()).")
        if scheduler is not None and not callable(getattr(scheduler, "step", None)):
            raise TypeError(f"scheduler is {known_as(scheduler)}; expected one of torch.optim.lr_scheduler, or None.")
        per_step = require_flag("per_step", per_step)
        clip_norm = None if clip_norm is None else require_number("clip_norm", clip_norm, 0.0, open_low=True)
        if amp is not None:
            require_dtype("amp", amp)
        self.model, self.optimizer, self.objective, self.run = model, optimizer, loss, run
        self.scheduler, self.per_step, self.clip_norm, self.amp = scheduler, per_step, clip_norm, amp
        self.scorer, self.unpack = Scorer(loss, metric), unpack
        self._told_loss = scheduler is not None and needs_argument(scheduler)
        self.follows_loss = self._told_loss and not per_step
        self.closure = needs_argument(optimizer) if closure is None else require_flag("closure", closure)
        self.group, self.here, self._first = group_of(model), without_ranks(model), next(model.parameters(), None)
        half = amp is torch.float16 and device_of(model).type == "cuda"
        self.scaler: Any = torch.amp.GradScaler("cuda") if half else None  # type: ignore[attr-defined]
        if half and self.closure:
            raise ValueError("Loss scaling (amp=torch.float16) does not go with a closure; expected torch.bfloat16.")
        of_loss = list(loss.parameters()) if isinstance(loss, nn.Module) else []
        _require_own(model, of_loss, [p for group in optimizer.param_groups for p in group["params"]])

    def output(self, batch: Any) -> tuple[Tensor, Any]:
        """(output, target) for a batch, from a fresh hidden state, on the model's device."""
        x, target = pair_of(self.unpack, batch)
        device, net = self._device, self.model if self.group is None else self.here

        def message() -> str:
            return f"The net does not run on a batch of {shown(x)}"

        with explain_errors(message, "inputs that its forward takes"):
            x, target = to_device(x, device), to_device(target, device)
            if not isinstance(self.run, OverTime):  # which does so itself
                reset_hidden_state(net)
            with self._casting(self.amp):
                return self.run(net, x), target

    @property
    def _device(self) -> torch.device:
        return device_of(self.model) if self._first is None else self._first.device

    def _casting(self, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
        """Automatic mixed precision in a dtype; None switches it off, where it is on."""
        if dtype is None and not casting_anywhere():
            return AS_IT_IS
        return torch.autocast(self._device.type, dtype=dtype, enabled=dtype is not None)

    def loss(self, batch: Any) -> Tensor:
        """The loss of one batch (x, target), with its graph.

        Raises:
            ValueError: a batch without a sample.
        """
        output, target = self.output(batch)
        require_samples(target)
        return self.loss_of(output, target)

    def loss_of(self, output: Any, target: Any) -> Tensor:
        """The loss of an output that is there already, in single precision whatever the net computed in."""
        if not (isinstance(output, Tensor) or any(isinstance(leaf, Tensor) for leaf in tree_leaves(output))):
            raise TypeError(f"output is {known_as(output)}; expected a Tensor, or a tuple or mapping that holds some.")

        def message() -> str:
            return f"The objective does not take an output of {shown(output)} and a target of {shown(target)}"

        with explain_errors(message, "what it was made for"), self._casting(None):
            return self.objective(tree_map_only(Tensor, Tensor.float, output) if self.amp else output, target)

    def train(self, batch: Any) -> float:
        """One step of the optimizer on one batch, or on the batches of a `BatchGroup`.

        Returns:
            The loss before the step.

        Raises:
            Diverged: the loss or the gradient is no finite number; no parameter has moved.
        """
        return self.descend([(share, partial(self.loss, part)) for share, part in parts_of(self, batch)])

    def descend(self, terms: Sequence[tuple[float, Callable[[], Tensor]]]) -> float:
        """One step of the optimizer along Σ weight · ∇loss(), each loss worked out and its graph freed in turn.

        Args:
            terms: (weight, function that returns a loss with its graph).

        Returns:
            Σ weight · loss(), before the step.

        Raises:
            Diverged: a loss or the gradient is no finite number; no parameter has moved.
        """
        if self.closure:
            return self._step_with_closure(_require_terms(terms))
        self._clear()
        return self.optimizer_step(self.add_gradients(terms))

    def minimize(self, loss: Tensor) -> float:
        """One step of the optimizer along the gradient of a loss; the value of the loss."""
        if self.closure:
            raise TypeError(
                "The optimizer evaluates the loss itself; expected trainee.descend([(1.0, function)]), which can."
            )
        return self.descend([(1.0, lambda: loss)])

    def add_gradients(self, terms: Sequence[tuple[float, Callable[[], Tensor]]]) -> Tensor:
        """Add the gradient of Σ weight · loss() to the gradients that are there; the sum without its graph."""
        total = None
        for weight, loss in _require_terms(terms):
            value = loss()
            value = self.backward(value if weight == 1.0 else weight * value)
            total = value if total is None else total + value
        assert total is not None  # there is one term at least
        return total

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
        value = self._usable(loss)
        if self.scaler is None:
            self.optimizer.step()
        else:  # skips steps whose scaled gradient overflowed
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return self._after_step(value)

    def _usable(self, loss: Tensor) -> float:
        """Gradients averaged over the ranks, looked at, unscaled and clipped; the value of the loss."""
        held = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.group is not None:
            loss = loss.detach().clone()
            average([loss, *(p.grad for p in held)], self.group)
        try:
            value = self._look(loss, held)
        except Diverged:
            self._clear()
            raise
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(held, self.clip_norm)
        return value

    def _step_with_closure(self, terms: Sequence[tuple[float, Callable[[], Tensor]]]) -> float:
        held = [p for group in self.optimizer.param_groups for p in group["params"]]
        before = [p.detach().clone() for p in held], copy.deepcopy(self.optimizer.state_dict())
        values: list[float] = []

        def closure() -> Tensor:
            self._clear()
            with torch.enable_grad():
                loss = self.add_gradients(terms)
            values.append(self._usable(loss))
            return loss.new_tensor(values[-1])

        try:
            self.optimizer.step(closure)  # type: ignore[arg-type]
        except BaseException:
            with torch.no_grad():
                for p, value in zip(held, before[0], strict=True):
                    p.copy_(value)
            self.optimizer.load_state_dict(before[1])
            raise
        return self._after_step(values[0])

    def _clear(self) -> None:
        """As `optimizer.zero_grad`, which takes longer."""
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                p.grad = None

    def _after_step(self, value: float) -> float:
        self._clear()
        if self.group is not None:
            share_buffers(self.model, self.group)
        if self.per_step and self.scheduler is not None:
            self.scheduler.step(*([value] if self._told_loss else []))
        return value

    def _look(self, loss: Tensor, held: list[Tensor]) -> float:
        """The value of a loss, where it and the gradients of these parameters are finite; scaled ones may overflow."""
        _require_loss(loss, "one number, as trainee.backward(loss) returns it", graph=False)
        if self.scaler is not None or not held:
            return require_finite_loss(float(loss))
        gradients: list[Any] = [p.grad for p in held]
        plain = all(g.layout is torch.strided for g in gradients)
        norms = torch._foreach_norm(gradients) if plain else [g.norm() for g in gradients]  # type: ignore[attr-defined]
        value, *sizes = torch.stack([loss.reshape(()), *(n.to(loss.device) for n in norms)]).tolist()
        require_finite_loss(value)
        if not all(map(isfinite, sizes)):
            raise Diverged("its gradient holds NaN or infinity; expected finite numbers")
        return value

    def evaluate(self, batches: Iterable[Any]) -> Score:
        """Mean loss, accuracy and metric on batches (x, target), in evaluation mode; random numbers stay as is."""
        return evaluate(self.model, self.output, self.scorer, batches)

    def end_epoch(self) -> None:
        """Step the scheduler, unless it steps with every batch or follows a loss."""
        if self.scheduler is not None and not self.per_step and not self.follows_loss:
            self.scheduler.step()

    def observe(self, loss: float) -> None:
        """Tell a scheduler that follows a loss of a new one."""
        require_number("loss", loss, infinite=True)
        if self.scheduler is not None and self.follows_loss:
            self.scheduler.step(loss)

    def state_dict(self) -> dict[str, Any]:
        """State of optimizer, scheduler, loss scaling and of a loss that is a module; the model's is its own."""
        scheduler = None if self.scheduler is None else self.scheduler.state_dict()
        return {
            "settings": settings_of(self),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": scheduler,
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "loss": self.objective.state_dict() if isinstance(self.objective, nn.Module) else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`; errors as in `read_state`."""
        self.read_state(state)()

    def read_state(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """Look at a saved state whole; what is returned goes on from it. Nothing is changed before.

        Raises:
            TypeError, ValueError: another optimizer, a scheduler or scaler too many or too few, NaN.
        """
        return read_trainee(self, state)


def _require_loss(loss: object, expected: str, *, graph: bool) -> None:
    loss = require_kind("loss", loss, Tensor, f"Give {expected}.")
    if loss.numel() != 1 or not loss.is_floating_point() or loss.is_meta:
        raise ValueError(f"loss is {shown(loss)}; expected {expected}.")
    if graph and not loss.requires_grad:
        raise ValueError(f"loss is {shown(loss)} without a graph; expected {expected}.")


def parts_of(trainee: Trainee, batch: Any) -> list[tuple[float, Any]]:
    """What adds up to the step of a batch, each with its share: the batch itself, or those of a group."""
    if not isinstance(batch, BatchGroup):
        return [(1.0, batch)]
    return list(zip(shares_of(batch, trainee.unpack), batch, strict=True))


def _require_own(model: nn.Module, of_loss: list[nn.Parameter], held: list[Tensor]) -> None:
    mine, here = {id(p) for p in (*model.parameters(), *of_loss)}, {id(p) for p in held}
    if not held or not here <= mine:
        raise ValueError(
            f"The optimizer holds {len(held)} tensors, and not all are parameters of this {type(model).__name__} or of "
            "its loss; expected an optimizer of its own for each net, built on model.parameters()."
        )
    if any(p.requires_grad and id(p) not in here for p in of_loss):
        notice("The loss has parameters of its own, and the optimizer does not hold them; they stay.", stacklevel=4)


def _require_terms(terms: Any) -> Any:
    whole = isinstance(terms, (list, tuple)) and all(isinstance(t, tuple) and len(t) == 2 for t in terms)
    if not whole or not terms or not all(isinstance(w, (int, float)) and callable(loss) for w, loss in terms):
        raise TypeError(f"terms is {known_as(terms)}; expected [(weight, function that returns a loss), ...].")
    return terms


def needs_argument(stepping: Any) -> bool:
    """Whether the step of an optimizer wants a closure, or that of a scheduler a loss."""
    _, *wanted = inspect.signature(type(stepping).step).parameters.values()
    return any(one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD for one in wanted)
