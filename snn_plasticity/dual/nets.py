"""A net as it is: its tensors by name, its hidden state, a copy of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .._checks import require_callable, require_kind
from ..hosts.adapter import forget_states
from ..hosts.index import index_model, unwrap
from ..learner import PlasticityLearner

if TYPE_CHECKING:
    from .score import Score


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers, each once, under its first name.

    What a host keeps for the length of a sequence (membranes of snnTorch's `init_hidden`) is no part of it.

    >>> sorted(tensors_of(nn.BatchNorm1d(2)))
    ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight']
    """
    found: dict[int, tuple[str, Tensor]] = {}
    for name, value in unwrap(model).state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def owner_of(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds a tensor, and the attribute under which it does."""
    path, _, attribute = name.rpartition(".")
    return unwrap(model).get_submodule(path), attribute


def hosts_of(model: nn.Module) -> set[str]:
    """The libraries that the neurons of a model come from."""
    return {type(neuron.proper).__module__.partition(".")[0] for neuron in index_model(model).neurons.values()}


def clone(model: nn.Module) -> nn.Module:
    """A copy with the same weights, no hidden state of a past run, and no hooks that act."""
    bare = unwrap(model)
    held = tree_leaves([{k: v for k, v in vars(m).items() if k != "_modules"} for m in bare.modules()])
    past = {id(value): value.detach().clone() for value in held if isinstance(value, Tensor) and value.grad_fn}
    twin = copy.deepcopy(bare, past)
    reset_hidden_state(twin)
    return twin


def reset_hidden_state(model: nn.Module) -> None:
    """Hidden state that neurons hold themselves becomes that of a fresh start."""
    forget_states(model)


class TrainableNet(Protocol):
    """What the trainer needs of a net: `Trainee` and `PlasticTrainee` have it, a class of your own may."""

    model: nn.Module
    learner: PlasticityLearner | None

    def train(self, batch: Any) -> float:
        """One step on one batch; its loss."""
        ...

    def evaluate(self, batches: Iterable[Any]) -> Score:
        """How it does; nothing changes."""
        ...

    def end_epoch(self) -> None:
        """All batches were seen once."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything but the model itself."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        ...


def preserve_rng() -> AbstractContextManager[None]:
    """A `with` block after which torch's random numbers go on as if none had been drawn in it, on every device."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # asking would start CUDA
    return torch.random.fork_rng(devices=devices)


def require_net(model: object, loss: object, run: object, unpack: object) -> None:
    """Refuse what no net can be trained and scored with."""
    require_kind("model", model, nn.Module, "The net that learns.")
    require_callable("loss", loss, "(output, target) -> scalar")
    require_callable("run", run, "(model, x) -> output")
    require_callable("unpack", unpack, "batch -> (x, target)")


def device_of(model: nn.Module) -> torch.device:
    """Where a model lives."""
    return next((tensor.device for tensor in model.parameters()), torch.device("cpu"))


class Diverged(FloatingPointError):
    """Raised when a loss or a gradient is NaN or infinite; no parameter has moved."""


def require_finite_loss(loss: float) -> float:
    """A loss that is one.

    Raises:
        Diverged: NaN or infinity.
    """
    if not math.isfinite(loss):
        raise Diverged(f"its loss is {loss}; expected a finite number")
    return loss


USER_ERRORS = (TypeError, ValueError, RuntimeError, LookupError, AttributeError, NotImplementedError, AssertionError)


class explain_errors:  # noqa: N801 (a `with` block, as those of contextlib, which take longer at every step)
    """Within it, an error from outside of this package is told with what broke and what was expected.

    Args:
        what: broke; or a function that says so, asked only then.
        expected: instead.

    Raises:
        TypeError, ValueError, RuntimeError: as the error that was raised, which is its cause.
    """

    def __init__(self, what: str | Callable[[], str], expected: str) -> None:
        self.what, self.expected = what, expected

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Tell the error."""
        if not isinstance(error, USER_ERRORS) or is_own_error(error):
            return
        if isinstance(error, torch.cuda.OutOfMemoryError):
            return
        kind = next((k for k in (TypeError, ValueError) if isinstance(error, k)), RuntimeError)
        first, what = (str(error).splitlines() or [""])[0], self.what if isinstance(self.what, str) else self.what()
        raise kind(f"{what} ({type(error).__name__}: {first}); expected {self.expected}.") from error


def is_own_error(error: BaseException) -> bool:
    """Whether an error is a sentence of this package, and not of what it calls."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return where.startswith("snn_plasticity") and "expected" in str(error)
