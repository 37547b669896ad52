"""Both nets in one module, with a forward pass for each: as they are written down, moved and saved together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .._checks import known_as, require_callable, require_kind, shown
from .conditions.condition import ConditionFn
from .nets import TrainableNet, clone, explain_errors, preserve_rng, reset_hidden_state, tensors_of
from .weights_map import Slot, WeightsMap

if TYPE_CHECKING:
    from .trainer import DualModelTrainer

WAYS = ("forward_base", "forward_motivated")


class DualNet(nn.Module):
    """A base and a motivated net in one module, for `state_dict`, `to(device)` and code that wants a single one.

        forward_base(x) = base(x)        forward_motivated(x) = motivated(x)        forward(x) = forward_motivated(x)

    Args:
        base, motivated: the two nets, each with weights of its own.
        weights: where the base lies in the motivated net; `DualNet(base, *widen(base, 4))`.

    Raises:
        ValueError: the map does not fit.

    >>> from snn_plasticity.dual import Trainee, widen
    >>> base = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> net = DualNet(base, *widen(base, 2))
    >>> trainer = net.trainer(lambda one: Trainee(one, torch.optim.Adam(one.parameters())))
    >>> report = trainer.fit([(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))], epochs=3, progress=False)
    >>> net.forward_base(torch.randn(4, 2)).shape
    torch.Size([4, 2])
    """

    def __init__(self, base: nn.Module, motivated: nn.Module, weights: WeightsMap) -> None:
        super().__init__()
        require_kind("weights", weights, WeightsMap, "As from widen(base, 2).weights.")
        weights.check(base, motivated)
        self.base, self.motivated, self.weights = base, motivated, weights

    @classmethod
    def split(cls, module: nn.Module, sample: Any) -> DualNet:
        """From one module with methods `forward_base` and `forward_motivated`, whose layers may serve both.

        Each net becomes a copy of the module with what its own method uses. What both use is shared: it goes up and
        down by copying, so that what takes no part in a step does not move.

        Args:
            module: written by hand; it stays as it is.
            sample: one input (B, ...), on which both methods are run once to see what they use.

        Raises:
            TypeError: a method is missing.
            ValueError: they share nothing.
        """
        require_kind("module", module, nn.Module, "A net with both methods.")
        if any(not callable(getattr(module, way, None)) for way in WAYS):
            raise TypeError(f"module is {known_as(module)}; expected one with {' and '.join(WAYS)}.")
        base, motivated = (_cut(module, way, sample) for way in WAYS)
        shared = [name for name in tensors_of(base) if name in tensors_of(motivated)]
        if not shared:
            raise ValueError("forward_base and forward_motivated use no weight in common; expected some.")
        private = tuple(name for name in tensors_of(base) if name not in shared)
        return cls(base, motivated, WeightsMap({name: Slot(name) for name in shared}, private))

    def forward_base(self, *x: Any, **named: Any) -> Any:
        """The small net."""
        return self.base(*x, **named)

    def forward_motivated(self, *x: Any, **named: Any) -> Any:
        """The large net, as it is; `up()` brings it in sync with the base."""
        return self.motivated(*x, **named)

    def forward(self, *x: Any, **named: Any) -> Any:
        """The large net."""
        return self.motivated(*x, **named)

    def up(self) -> None:
        """The base's weights and buffers into their part of the motivated net."""
        self.weights.copy_up(self.base, self.motivated)

    def down(self) -> None:
        """The shared part of the motivated net back into the base."""
        self.weights.copy_down(self.base, self.motivated)

    def trainer(
        self, trainee: Callable[[nn.Module], TrainableNet], condition: ConditionFn | None = None, **settings: Any
    ) -> DualModelTrainer:
        """A trainer of both nets.

        Args:
            trainee: how a net learns, for each of the two: net -> `Trainee` or `PlasticTrainee`.
            condition, settings: as of `DualModelTrainer`.
        """
        from .trainer import DualModelTrainer

        require_callable("trainee", trainee, "net -> Trainee")
        with explain_errors(f"{shown(trainee)} makes no trainee of a net", "a function net -> Trainee"):
            small, large = trainee(self.base), trainee(self.motivated)
        return DualModelTrainer(small, large, self.weights, condition, **settings)


class _Way(nn.Module):
    """A module that is run by one of its methods."""

    def __init__(self, net: nn.Module, method: str) -> None:
        super().__init__()
        self.net, self.method = net, method

    def forward(self, *x: Any, **named: Any) -> Any:
        return getattr(self.net, self.method)(*x, **named)


def _cut(module: nn.Module, method: str, sample: Any) -> nn.Module:
    """A copy that holds what one method uses, and runs it."""
    way, used = _Way(clone(module), method), _used(_Way(clone(module), method), sample)
    for path, part in list(way.named_modules()):
        for held in (part._parameters, part._buffers):
            for name in [n for n, tensor in held.items() if tensor is not None and f"{path}.{n}" not in used]:
                del held[name]
        for name, child in list(part._modules.items()):
            inside = f"{path}.{name}".lstrip(".")
            if child is not None and not any(one == inside or one.startswith(f"{inside}.") for one in used):
                del part._modules[name]
    message = f"What {method} uses of {type(module).__name__} cannot be told by calling it"
    with explain_errors(message, "layers that are called"), preserve_rng(), torch.no_grad():
        clone(way)(sample)
    return way


def _used(way: _Way, sample: Any) -> set[str]:
    """Modules that are called, their own tensors, and parameters that the output depends on."""
    used: set[str] = set()

    def note(path: str, part: nn.Module) -> None:
        used.update([path, *(f"{path}.{name}" for name in (*part._parameters, *part._buffers))])

    handles = [
        part.register_forward_pre_hook(lambda part, args, path=path: note(path, part))
        for path, part in way.named_modules()
    ]
    used.update(f"net.{name}" for name in way.net._buffers)  # its own method needs no call to read them
    message = f"The net does not run on the sample by {way.method}"
    with explain_errors(message, "an input that it takes"), preserve_rng(), torch.enable_grad():
        reset_hidden_state(way)
        outputs = [one for one in tree_leaves(way(sample)) if isinstance(one, Tensor) and one.requires_grad]
        torch.autograd.backward([one.sum() for one in outputs])
    for handle in handles:
        handle.remove()
    return used | {name for name, parameter in way.named_parameters() if parameter.grad is not None}
