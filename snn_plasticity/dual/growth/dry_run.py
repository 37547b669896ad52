"""One run of a net on a sample, followed operation by operation, in double precision and without chance."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..nets import preserve_rng, reset_hidden_state
from .constants import constants_of, replace_constants
from .labels import Algebra, Labels
from .rules import Rules

FOLLOWED_STEPS = 4  # at most: what neurons remember shows from the second one on
SHORT = (torch.float32, torch.float16, torch.bfloat16)
IN_DEFAULT_PRECISION = {"zeros", "ones", "empty", "full", "rand", "randn", "linspace", "eye", "scalar_tensor"}


class Repeatable(TorchDispatchMode):
    """Double precision throughout, and a constant in the place of every random number."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The operation, in double precision."""
        args = tuple(_wide(given) for given in args)
        kwargs = {key: _wide(given) for key, given in (kwargs or {}).items()}
        name = func._schema.name.removeprefix("aten::")
        if (
            name in IN_DEFAULT_PRECISION
            and kwargs.get("dtype") is None
            and (name != "full" or isinstance(args[1], float))
        ):
            kwargs["dtype"] = torch.float64
        return self.done(func, name, args, kwargs, _without_chance(name, args, func(*args, **kwargs)))

    def done(self, func: Any, name: str, args: tuple, kwargs: dict, output: Any) -> Any:
        """What is looked at on the way."""
        return output


def _wide(given: Any) -> Any:
    return torch.float64 if isinstance(given, torch.dtype) and given in SHORT else given


def _without_chance(name: str, args: Any, output: Any) -> Any:
    if name.startswith("bernoulli"):
        p = args[1] if len(args) > 1 and isinstance(args[1], (float, Tensor)) else args[0]
        return output.copy_(p >= 0.5) if isinstance(p, Tensor) else output.fill_(float(p >= 0.5))
    if name in ("rand", "rand_like", "randn", "randn_like", "uniform_", "normal_", "exponential_"):
        return output.fill_(0.4)
    if name == "native_dropout":
        return args[0].clone(), torch.ones_like(output[1])
    return output


class Follower(Repeatable):
    """A run whose tensors are labelled.

    Args:
        algebra: what operations make of labels.
        labelled: labels of the weights and of the sample, with these themselves.
    """

    def __init__(self, algebra: Algebra, labelled: Mapping[int, tuple[Tensor, Labels]]) -> None:
        super().__init__()
        self._labelled = dict(labelled)
        self._by_place = {_place(tensor): labels for tensor, labels in self._labelled.values() if tensor.numel()}
        self._rules = Rules(algebra, self.labels_of)

    def labels_of(self, tensor: Tensor) -> Labels:
        """What is known of a tensor."""
        if id(tensor) in self._labelled:
            return self._labelled[id(tensor)][1]
        return self._by_place.get(_place(tensor), Labels()) if tensor.numel() else Labels()

    def done(self, func: Any, name: str, args: tuple, kwargs: dict, output: Any) -> Any:
        """Labels for what came out."""
        given = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
        plain = name if name in ("copy_", "index_put_") else name.rstrip("_")
        found = self._rules.apply(func, plain, given, output)
        if found is not None:
            alone = isinstance(output, Tensor)
            pairs = [(output, found)] if alone else zip(tree_leaves(output), tree_leaves(found), strict=False)
            for tensor, labels in pairs:
                if isinstance(tensor, Tensor):
                    self._labelled[id(tensor)] = tensor, labels  # held, so that neither is anything else's
                    self._by_place[_place(tensor)] = labels
        return output


def _place(tensor: Tensor) -> tuple:
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()


class Call(NamedTuple):
    """What went through a module, in the order in which modules ended."""

    path: str
    given: tuple[Tensor, ...]
    made: tuple[Tensor, ...]


class Failed(Exception):
    """A forward that did not end: in which module, and why."""

    def __init__(self, path: str, reason: Exception) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason


class WatchedNet:
    """A net, its calls noted.

    Args:
        model: a copy, which is this object's own.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.inside, self.calls = model, [""], list[Call]()
        self.paths = {module: path for path, module in model.named_modules()}
        for module in self.paths:
            module.register_forward_pre_hook(self._entered)
            module.register_forward_hook(self._left, with_kwargs=True)

    def _entered(self, module: nn.Module, args: Any) -> None:
        self.inside.append(self.paths[module])

    def _left(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self.inside.pop()
        self.calls.append(Call(self.paths[module], _tensors((args, kwargs)), _tensors(output)))

    def run(
        self, samples: Sequence[Any], mode: Repeatable | None = None, learned: Callable[[], Any] | None = None
    ) -> list[Any]:
        """A step for each sample, from a fresh state, until nothing new is learned; what comes out at each.

        Raises:
            Failed: the forward raised an error.
        """
        self.calls, self.inside = [], [""]
        reset_hidden_state(self.model)
        as_double(self.model)
        outputs: list[Any] = []
        known = None
        with quietly(self.model), mode or Repeatable():
            for sample in samples:
                try:
                    outputs.append(call(self.model, sample, outputs[-1] if outputs else None))
                except Exception as error:  # whatever the user's forward raises
                    raise Failed(self.inside[-1], error) from error
                before, known = known, learned() if learned else None
                if learned and known == before:
                    break
        return outputs


def as_double(model: nn.Module) -> nn.Module:
    """In double precision, with all that its modules hold."""
    held = {name: tensor.double() for name, tensor in constants_of(model).items() if tensor.dtype in SHORT}
    if held:
        replace_constants(model, held)
    return model.double()


def call(model: nn.Module, sample: Any, before: Any = None) -> Any:
    """A step of a net, with the state that the step before gave if the net is handed one."""
    signature = inspect.signature(model.forward)
    state = {}
    if "state" in signature.parameters and isinstance(before, tuple) and len(before) > 1:
        state["state"] = before[1]
    if isinstance(sample, Mapping) and set(sample) <= set(signature.parameters):
        return model(**sample, **state)
    if isinstance(sample, tuple):
        try:
            signature.bind(*sample, **state)
        except TypeError:
            return model(sample, **state)
        return model(*sample, **state)
    return model(sample, **state)


@contextmanager
def quietly(model: nn.Module) -> Iterator[None]:
    """Without gradients, fused kernels, compiled code, and any trace in torch's random numbers."""
    fast, fused = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    with ExitStack() as stack:
        if any("_orig_mod" in module._modules for module in model.modules()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for context in (torch.no_grad(), preserve_rng(), sdpa_kernel(SDPBackend.MATH)):
            stack.enter_context(context)
        torch.backends.mha.set_fastpath_enabled(False)
        torch._C._set_mkldnn_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            torch._C._set_mkldnn_enabled(fused)


def _tensors(values: Any) -> tuple[Tensor, ...]:
    return tuple(leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
