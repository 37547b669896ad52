"""A neuron's own step, run again on detached leaves: how its spikes and its state depend on its current and its past.

    J = ∂h_t/∂h_{t−1}    b = ∂h_t/∂I_t    p = ∂z_t/∂h_{t−1}    q = ∂z_t/∂I_t

h are the d states that a neuron hands on, I is its current, z its spikes. A neuron is elementwise: none of its units
reads another's state. So d + 1 reverse passes through one step are all of J, b, p and q, and whatever the host detaches
(its reset, say) is detached here, too. Nothing of the module is changed: a bare twin of it runs, without hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
GOLDEN = 0.6180339887498949  # whose multiples lie all over a circle, none near another for long
TOLERANCE = 1e-3  # relative, of two derivatives that ought to be the same: hosts fire in single precision


class Before(NamedTuple):
    """What a call of a neuron began with.

    Args:
        args, kwargs: what it was given, its current first.
        held: the tensors that it held itself, by attribute.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    held: Mapping[str, Any] = {}


class OneStep(NamedTuple):
    """A neuron's step as a function.

    Args:
        run: of its current and its states, to its spikes, its states, and what the host calls a state.
        current: its current, (B, *units).
        states: h before the step, d tensors (B, *units).
        membrane: which of them is the membrane, where that is known.
        after: h after the step, as the call itself gave them, where that is known.
    """

    run: Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Sequence[Tensor], Any]]
    current: Tensor
    states: tuple[Tensor, ...]
    membrane: int | None = None
    after: tuple[Tensor, ...] = ()


class Linearised(NamedTuple):
    """A step of a neuron, linear around where it is.

    Args:
        J: ∂h_t/∂h_{t−1}, (d, d, B, *units).
        b: ∂h_t/∂I_t, (d, B, *units).
        p: ∂z_t/∂h_{t−1}, (d, B, *units).
        q: ∂z_t/∂I_t, (B, *units).
    """

    J: Tensor
    b: Tensor
    p: Tensor
    q: Tensor

    def rows(self, membrane: int | None = None) -> Tensor:
        """[[q, p], [b, J]] (d + 1, d + 1, B, *units); with a membrane its own row in place of that of the spikes."""
        first = (self.q, self.p) if membrane is None else (self.b[membrane], self.J[membrane])
        top = torch.cat((first[0].unsqueeze(0), first[1])).unsqueeze(0)
        return torch.cat((top, torch.cat((self.b.unsqueeze(1), self.J), 1)))


def linearise(step: OneStep, *, check: bool = False, spikes: bool = True) -> tuple[Linearised, Any]:
    """J, b, p and q of a step, and what the host calls the state after it.

    Args:
        step: the step.
        check: whether it is made sure that the step is elementwise, for as much work again.
        spikes: whether the derivative of the spikes is needed; else p and q are zero where there is none.

    Raises:
        ValueError: units that read one another's states, or spikes without a derivative.

    >>> def leaky(current, states):
    ...     v = 0.9 * states[0] + current
    ...     return torch.sigmoid(v), (v,), None
    >>> found, _ = linearise(OneStep(leaky, torch.zeros(1, 2), (torch.zeros(1, 2),)))
    >>> found.J, found.q
    (tensor([[[[0.9000, 0.9000]]]]), tensor([[0.2500, 0.2500]]))
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaves = [_leaf(tensor) for tensor in (step.current, *step.states)]
        z, after, whole = step.run(leaves[0], leaves[1:])
        if spikes and not z.requires_grad:
            raise ValueError("its spikes have no derivative: its surrogate gradient is disabled")
        outputs = (z, *after)
        found = [_gradients(output, leaves) for output in outputs]
        if check:
            _require_elementwise(outputs, leaves, found)
    row, *rows = (torch.stack(row) for row in found)
    below = torch.stack(rows) if rows else row.new_zeros(0, *row.shape)
    return Linearised(below[:, 1:], below[:, 0], row[1:], row[0]), whole


def _leaf(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return (tensor.clone() if tensor.is_inference() else tensor).requires_grad_()


def _gradients(output: Tensor, leaves: Sequence[Tensor], weight: Tensor | None = None) -> list[Tensor]:
    """Of the (weighed) sum of an output, by each leaf."""
    if not output.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    total = (output if weight is None else output * weight).sum()
    given = torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(given, leaves, strict=True)]


def _require_elementwise(outputs: Sequence[Tensor], leaves: Sequence[Tensor], found: Sequence[list[Tensor]]) -> None:
    """Weigh units unequally: the derivative by each must then have its own weight and no other's.

    Raises:
        ValueError: it has not.
    """
    shape = leaves[0].shape
    if any(tensor.shape != shape for tensor in (*outputs, *leaves)):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (*leaves, *outputs))
        raise ValueError(f"its current, spikes and states differ in shape ({shapes}); expected one state for each unit")
    numbers = torch.arange(1, leaves[0].numel() + 1, device=leaves[0].device, dtype=torch.float32)
    weight = (numbers * GOLDEN).frac().view(shape) + 0.5
    wrong = []
    for output, plain in zip(outputs, found, strict=True):
        for weighed, one in zip(_gradients(output, leaves, weight.to(output)), plain, strict=True):
            apart, scale = (weighed - weight * one).abs(), one.abs().max()
            wrong.append((apart > TOLERANCE * (scale + one.abs())).any())
    if bool(torch.stack(wrong).any()):  # the one time that a device is waited for
        raise ValueError("its units read one another's states, so that it is not elementwise")


def bare_twin(module: nn.Module, held: Mapping[str, Any] | None = None) -> nn.Module:
    """The same module without hooks, that keeps its state apart; parameters are shared, `held` attributes replaced."""
    twin = module.__new__(type(module))
    twin.__dict__ = {
        name: dict(value) if name in ("_parameters", "_buffers") else type(value)() if name in HOOKS else value
        for name, value in vars(module).items()
    }
    twin.__dict__["_modules"] = {
        name: None if child is None else bare_twin(child) for name, child in module._modules.items()
    }
    for name, value in vars(module).items():
        if isinstance(value, MethodType) and value.__self__ is module:
            twin.__dict__[name] = MethodType(value.__func__, twin)
    for name, value in (held or {}).items():
        (twin._buffers if name in twin._buffers else twin.__dict__)[name] = value
    return twin


def held_tensors(module: nn.Module) -> dict[str, Any]:
    """The tensors that a module holds itself, and what is not there yet, as they are now."""
    own = {name: value for name, value in vars(module).items() if value is None or isinstance(value, Tensor)}
    held = {**own, **module._buffers}
    return {name: value.clone() if isinstance(value, Tensor) else None for name, value in held.items()}


def step_of_call(module: nn.Module, before: Before, current: Tensor, spikes: Tensor, output: Any) -> OneStep | None:
    """The step of any module that hands on its state, or keeps it: what is shaped like its spikes.

    Args:
        module: the neuron.
        before: what the call began with.
        current, spikes, output: what went in and came out.

    Returns:
        None where states that went in are not those that came out.
    """

    def is_state(value: Any) -> bool:
        return isinstance(value, Tensor) and value.is_floating_point() and value.shape == spikes.shape

    given, spec = tree_flatten((before.args[1:], dict(before.kwargs)))
    places = [k for k, leaf in enumerate(given) if is_state(leaf)]
    returned = [leaf for leaf in tree_flatten(output)[0] if is_state(leaf)][1:]
    if places and len(places) != len(returned):
        return None
    kept = {name: value for name, value in {**vars(module), **module._buffers}.items() if is_state(value)}
    names = [next((name for name, value in kept.items() if value is leaf), "") for leaf in returned]
    names += [name for name in kept if name not in names]  # of each state the attribute that holds it, if one does
    began = [given[place] for place in places]
    began += [before.held.get(name) for name in names[len(places) :]]

    def run(current: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor], Any]:
        arguments, held = list(given), dict(before.held)
        for k, state in enumerate(states):
            if k < len(places):
                arguments[places[k]] = state
            elif is_state(began[k]):
                held[names[k]] = state
        twin, (args, kwargs) = bare_twin(module, held), tree_unflatten(arguments, spec)
        z, *after = (leaf for leaf in tree_flatten(twin.forward(current, *args, **kwargs))[0] if is_state(leaf))
        return z, (*after, *(getattr(twin, name) for name in names[len(returned) :])), None

    silent = torch.zeros_like(current)
    return OneStep(run, current, tuple(h if is_state(h) else silent for h in began))
