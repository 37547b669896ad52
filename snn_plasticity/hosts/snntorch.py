"""snnTorch's neurons. Nothing is imported here: a model that holds its neurons has imported it already."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..kernels.eprop import Response
from .adapter import HostAdapter, NeuronCall, NeuronKind, first_tensor
from .replay import OneStep, bare_twin

_STATES = ("mem", "syn", "spk", "syn_exc", "syn_inh")
NEVER_REACHED = 1000.0  # a threshold from which on a neuron without a reset is there for its membrane
_LSTM = "its output comes from gated LSTM state, and its weights are gates rather than synapses"


def _always(call: NeuronCall) -> bool:
    """Without state, every call is a sequence of its own."""
    return True


def _step(module: nn.Module) -> NeuronKind:
    never = getattr(module, "reset_mechanism", "") == "none" and bool((module.threshold >= NEVER_REACHED).all())  # type: ignore[operator]
    return NeuronKind(integrates=never)


def _recurrent(module: nn.Module) -> NeuronKind:
    return NeuronKind(inner=("recurrent",))


def _state(module: nn.Module) -> NeuronKind:
    silent = None if module.output else "with output=False it returns its membrane potential, not spikes"
    return NeuronKind(time_major=True, starts=_always, refusal=silent, integrates=not module.output)


def _linear_state(module: nn.Module) -> NeuronKind:
    silent = _state(module).refusal
    return NeuronKind(time_major=True, starts=_always, refusal=silent, takes_current=False, inner=("linear",))


def _refused(reason: str) -> Callable[[nn.Module], NeuronKind]:
    return lambda module: NeuronKind(refusal=reason)


# The first class that fits describes a module: subclasses stand before what they derive from.
_SNNTORCH_KINDS: tuple[tuple[str, Callable[[nn.Module], NeuronKind]], ...] = (
    ("SLSTM", _refused(_LSTM)),
    ("SConv2dLSTM", _refused(_LSTM)),
    ("AssociativeLeaky", _refused("its output is a query of associative memory, not spikes of neurons")),
    (
        "LeakyParallel",
        _refused("its weights are fused into an nn.RNN; use a Linear and a StateLeaky instead"),
    ),
    ("LinearLeaky", _linear_state),
    ("StateLeaky", _state),
    ("RLeaky", _recurrent),
    ("RSynaptic", _recurrent),
    ("SpikingNeuron", _step),
)


_DECAYS = {
    "Leaky": ("beta",), "StateLeaky": ("tau",), "RLeaky": ("beta",), "Synaptic": ("alpha", "beta"),
    "RSynaptic": ("alpha", "beta"), "Alpha": ("alpha", "beta"), "Lapicque": ("R", "C", "time_step"),
}  # fmt: skip


def _is_plain(module: nn.Module) -> bool:
    """Whether it is a neuron of the library itself, and no class derived from one."""
    library = sys.modules.get("snntorch")
    return library is not None and getattr(library, type(module).__name__, None) is type(module)


def _response(name: str, *numbers: float) -> Response | None:
    """From a unit of current to the membrane, n steps later, of the neurons of this class."""
    if name == "Lapicque":
        resistance, capacity, step = numbers
        return ((step / capacity, 1.0 - step / (resistance * capacity)),)
    if name == "StateLeaky":  # its kernel is exp(−n/τ), τ = 1/(1 − β)
        return ((1.0, math.exp(-1.0 / numbers[0])),)
    decays = [min(max(decay, 0.0), 1.0) for decay in numbers]
    if len(decays) == 1:
        return ((1.0, decays[0]),)
    alpha, beta = decays
    if alpha == beta or (name == "Alpha" and min(alpha, beta) == 0.0):
        return None
    if name == "Alpha":
        gain = math.log(alpha) / (math.log(beta) - math.log(alpha)) + 1.0
        return ((gain, alpha), (-gain, beta))
    return ((alpha / (alpha - beta), alpha), (-beta / (alpha - beta), beta))


_CLOSED = {f"{name}.<locals>.inner": name for name in ("atan", "fast_sigmoid")}
_PROBES = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64)


class SpikeSlope:
    """ψ of a neuron of snnTorch: the derivative that autograd takes its spike function to have.

    Where that is one of the library's, of a closed form that is found to be the same, it is worked out by this.

    Args:
        module: the neuron.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self._looked: tuple[Any, tuple[str, float] | None] = (None, None)  # a spike function, its form and number

    def __call__(self, above: Tensor) -> Tensor:
        """ψ of membranes above threshold, any shape."""
        spike = self.module.spike_grad
        if self._looked[0] is not spike:
            self._look(spike)
        form, number = self._looked[1] or ("", 0.0)
        if form == "atan":  # α/2 / (1 + (π/2 α u)²)
            psi = (above.detach() * (math.pi / 2 * number)).square_().add_(1.0).reciprocal_().mul_(number / 2)
        elif form == "fast_sigmoid":  # 1 / (1 + k|u|)²
            psi = (above.detach() * number).abs_().add_(1.0).square_().reciprocal_()
        else:
            with torch.enable_grad():
                above = above.detach().requires_grad_()
                spikes = spike(above)
                psi = torch.autograd.grad(spikes, above, torch.ones_like(spikes))[0]
        factor: Any = self.module.graded_spikes_factor
        return psi * (factor * factor if hasattr(self.module, "tau") else factor).detach()  # sequences have it twice

    def _look(self, spike: Any) -> None:
        """Whether a spike function has a closed form: it is called as the library calls one, and comes to the same."""
        self._looked = spike, None
        form, cells = _CLOSED.get(getattr(spike, "__qualname__", "")), getattr(spike, "__closure__", None) or ()
        number: Any = cells[0].cell_contents if len(cells) == 1 else None
        if form is None or spike.__module__ != "snntorch.surrogate" or type(number) not in (int, float):
            return
        alone = SimpleNamespace(spike_grad=spike, graded_spikes_factor=torch.ones((), dtype=torch.float64))
        closed, by_autograd = SpikeSlope(alone), SpikeSlope(alone)
        closed._looked, by_autograd._looked = (spike, (form, float(number))), (spike, None)
        if torch.allclose(closed(_PROBES), by_autograd(_PROBES)):
            self._looked = closed._looked

    def __getstate__(self) -> dict[str, Any]:
        """A copy looks at its function again."""
        return {"module": self.module, "_looked": (None, None)}

    def __repr__(self) -> str:
        return f"ψ of {type(self.module).__name__}"


@cache
def _arguments(kind: type[nn.Module]) -> tuple[str, ...]:
    """What a call of such a neuron is given, by name."""
    return tuple(inspect.signature(kind.forward).parameters)


def _step_of_sequence(module: Any, call: NeuronCall) -> OneStep | None:
    """Of a neuron that works out whole sequences: v ← exp(−1/τ) v + I; None where its kernel is truncated."""
    if module.kernel_truncation_steps is not None:
        return None
    current, decay = call.current.detach(), torch.exp(-1.0 / module.tau.detach())
    if hasattr(module, "linear"):
        current = nn.functional.linear(current, module.linear.weight.detach(), module.linear.bias)
    v = torch.zeros_like(current) if call.state is None else call.state

    def run(current: Tensor, h: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor], Tensor]:
        after = decay * h[0] + current
        return module.fire(after) * module.graded_spikes_factor, (after,), after

    return OneStep(run, current, (v,), 0)


def _earliness(spikes: Tensor) -> Tensor:
    """− the step of the first spike; a neuron that never fires counts as one that fires in the last."""
    fired = spikes != 0
    first = torch.where(fired.any(0), fired.int().argmax(0), len(spikes) - 1)
    return -first


class SnnTorch(HostAdapter):
    """Its neurons keep their state themselves with `init_hidden`; their own recurrence is a layer inside of them."""

    output_sizes = ("linear_features", "channels")

    def kind_of(self, module: nn.Module) -> NeuronKind | None:
        """What a module is as a neuron of snnTorch; None if it is none."""
        library = sys.modules.get("snntorch")
        if library is None:
            return None
        for name, describe in _SNNTORCH_KINDS:
            known = getattr(library, name, None)
            if known is not None and isinstance(module, known):
                return describe(module)
        return None

    def membrane(self, module: nn.Module, call: NeuronCall) -> Tensor | None:
        """The last of its states: returned beside the spikes, or kept by the module."""
        if not _is_plain(module) or getattr(module, "inhibition", False) or not getattr(module, "reset_delay", True):
            return None
        output: Any = call.output
        if isinstance(output, Tensor) and hasattr(module, "tau") and not module.output:
            return output
        return output[-1] if isinstance(output, tuple) and len(output) > 1 else getattr(module, "mem", None)

    def above_threshold(self, module: nn.Module, call: NeuronCall) -> Tensor | None:
        """Its membrane less its threshold."""
        mem = self.membrane(module, call)
        if mem is None or mem.shape != call.spikes.shape:
            return None
        above = mem - module.threshold  # type: ignore[operator]
        return above.detach() if above.requires_grad else above

    def pseudo_derivative(self, module: nn.Module) -> Callable[[Tensor], Tensor] | None:
        """What autograd makes of the module's own spike function."""
        return SpikeSlope(module) if _is_plain(module) and not module.surrogate_disable else None

    def surrogate(self, module: nn.Module, call: NeuronCall) -> Tensor | None:
        """The one of the other at this call."""
        above, slope = self.above_threshold(module, call), self.pseudo_derivative(module)
        return None if above is None or slope is None else slope(above)

    def response(self, module: nn.Module) -> Response | None:
        """Of neurons whose reset is subtracted or none, with one decay for all of them that does not learn."""
        names = _DECAYS.get(type(module).__name__)
        reset, delayed = getattr(module, "reset_mechanism", ""), getattr(module, "reset_delay", True)
        cut = reset == "zero" or (type(module).__name__ == "Alpha" and reset != "none")
        if names is None or not _is_plain(module) or cut or not delayed or module.state_quant or module.inhibition:
            return None
        values = [getattr(module, name) for name in names]
        if any(isinstance(v, nn.Parameter) or v.numel() != 1 for v in values):
            return None
        if getattr(module, "kernel_truncation_steps", None) is not None:
            return None
        return _response(type(module).__name__, *(float(v) for v in values))

    def held_state(self, module: nn.Module) -> dict[str, Any]:
        """Membranes and currents; the neurons replace them at each step."""
        if not _is_plain(module):
            return super().held_state(module)
        return {name: module._buffers[name] for name in _STATES if name in module._buffers}

    def one_step(self, module: nn.Module, call: NeuronCall) -> OneStep | None:
        """Its forward, with the state given or held; the spikes that a recurrent one has sent are no part of that."""
        if not _is_plain(module):
            return super().one_step(module, call)
        if hasattr(module, "tau"):
            return _step_of_sequence(module, call)
        _, *names = _arguments(type(module))
        given = {**dict(zip(names, call.before.args, strict=False)), **call.before.kwargs}
        now = {**call.before.held, **{name: h for name, h in given.items() if isinstance(h, Tensor)}}
        if not call.before.held:
            return None
        silent, kept = torch.zeros_like(call.current), [name for name in _STATES if name in module._buffers]
        held = {name: now[name].detach() if now[name].shape == silent.shape else silent for name in kept}
        states = tuple(name for name in kept if name != "spk")

        def run(current: Tensor, h: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor], None]:
            twin = bare_twin(module, {**held, **dict(zip(states, h, strict=True))})
            spikes = first_tensor(twin.forward(current))
            return spikes, [getattr(twin, name) for name in states], None

        return OneStep(run, call.current, tuple(held[name] for name in states), states.index("mem"))

    def class_scores(self, loss: Callable[..., Any]) -> Callable[[Tensor], Tensor] | None:
        """Of `snntorch.functional`: counts, or those of a population; the largest membrane; who fires first."""
        if type(loss).__module__ != "snntorch.functional.loss":
            return None
        name = type(loss).__name__
        if name == "ce_max_membrane_loss":
            return lambda output: output.amax(0)
        if name.endswith("temporal_loss"):
            return _earliness
        classes = getattr(loss, "num_classes", 0) if getattr(loss, "population_code", False) else 0
        if not classes:
            return lambda output: output.sum(0)
        return lambda output: output.sum(0).unflatten(-1, (classes, -1)).sum(-1)

    def detach_state(self, module: nn.Module) -> None:
        """Membranes, currents and the spikes that come back."""
        held, plain = module._buffers, vars(module)
        for name in _STATES if "init_hidden" in plain else ():
            state = held.get(name, plain.get(name))
            if isinstance(state, Tensor) and state.requires_grad:
                (held if name in held else plain)[name] = state.detach()

    def forget_state(self, module: nn.Module) -> None:
        """Membranes and currents are zero."""
        held, plain = module._buffers, vars(module)
        if "init_hidden" not in plain:
            return
        for name in _STATES:
            state = held.get(name, plain.get(name))
            if isinstance(state, Tensor):
                (held if name in held else plain)[name] = torch.zeros((), device=state.device)
