"""Norse's neurons. Nothing is imported here: a model that holds its neurons has imported it already."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_flatten_with_path, tree_unflatten

from ..kernels.eprop import Response
from .adapter import HostAdapter, NeuronCall, NeuronKind, OwnWeight, dense
from .replay import OneStep

_VOLTAGE = "it is a leaky integrator: its output is a voltage, not spikes"


def _starts(call: NeuronCall) -> bool:
    """Norse begins a sequence where no state is passed."""
    return call.state is None


def _input(call: NeuronCall, time_major: bool) -> Tensor:
    return call.current


def _previous(call: NeuronCall, time_major: bool) -> Tensor:
    """The spikes one step earlier: those of the state that was passed, then the layer's own."""
    spikes = dense(call.spikes)
    now = spikes[0] if time_major else spikes
    before = _spikes_of(call.state)
    before = torch.zeros_like(now) if before is None else dense(before).to(now).expand_as(now)
    return torch.cat((before.unsqueeze(0), spikes[:-1])) if time_major else before


def _spikes_of(state: Any) -> Tensor | None:
    while state is not None and not hasattr(state, "z"):
        state = state[0]  # refractory states nest that of the neuron
    return None if state is None else state.z


def _integrator(describe: Callable[[nn.Module], NeuronKind]) -> Callable[[nn.Module], NeuronKind]:
    return lambda module: replace(describe(module), refusal=_VOLTAGE, integrates=True)


def _weighted_cell(module: nn.Module) -> NeuronKind:
    weights = (OwnWeight("input_weights", _input),)
    return NeuronKind(starts=_starts, dt=float(module.dt), weights=weights, takes_current=False)  # type: ignore[arg-type]


def _cell(module: nn.Module) -> NeuronKind:
    return NeuronKind(starts=_starts, dt=float(module.dt))  # type: ignore[arg-type]


def _sequence(module: nn.Module) -> NeuronKind:
    return NeuronKind(time_major=True, starts=_starts, dt=float(module.dt))  # type: ignore[arg-type]


def _recurrent_cell(module: nn.Module) -> NeuronKind:
    weights = (
        OwnWeight("input_weights", _input),
        OwnWeight("recurrent_weights", _previous, bool(module.autapses), recurrent=True),
    )
    return NeuronKind(starts=_starts, dt=float(module.dt), weights=weights, takes_current=False)  # type: ignore[arg-type]


def _recurrent_sequence(module: nn.Module) -> NeuronKind:
    cell = _recurrent_cell(module)
    return NeuronKind(time_major=True, starts=_starts, dt=cell.dt, weights=cell.weights, takes_current=False)


def _refused(reason: str) -> Callable[[nn.Module], NeuronKind]:
    return lambda module: NeuronKind(refusal=reason)


# (module of norse.torch, class, what it is): the first class that fits; integrators stand before what they derive from.
_Kinds = tuple[tuple[str, str, Callable[[nn.Module], NeuronKind]], ...]
_INTEGRATORS: _Kinds = (
    ("leaky_integrator", "LI", _integrator(_sequence)),
    ("leaky_integrator", "LICell", _integrator(_cell)),
    ("leaky_integrator", "LILinearCell", _integrator(_weighted_cell)),
    ("leaky_integrator_box", "LIBoxCell", _integrator(_cell)),
)
_NORSE_KINDS: _Kinds = (
    *_INTEGRATORS,
    (
        "coba_lif",
        "CobaLIFCell",
        _refused("its weights are conductances whose sign chooses excitation or inhibition"),
    ),
    (
        "lif_correlation",
        "LIFCorrelation",
        _refused("its weights are arguments of the call, not part of the model"),
    ),
    ("snn", "SNNCell", _cell),
    ("snn", "SNN", _sequence),
    ("snn", "SNNRecurrentCell", _recurrent_cell),
    ("snn", "SNNRecurrent", _recurrent_sequence),
)


def _is(module: nn.Module, file: str, name: str) -> bool:
    known = getattr(sys.modules.get(f"norse.torch.module.{file}"), name, None)
    return known is not None and isinstance(module, known)


def _integrates(module: nn.Module) -> bool:
    return any(_is(module, file, name) for file, name, _ in _INTEGRATORS)


class Norse(HostAdapter):
    """Its neurons are handed their state at each call; recurrent ones hold their weights themselves."""

    output_sizes = ("hidden_size",)
    input_sizes = ("input_size",)

    def kind_of(self, module: nn.Module) -> NeuronKind | None:
        """What a module is as a neuron of Norse; None if it is none."""
        return next((describe(module) for file, name, describe in _NORSE_KINDS if _is(module, file, name)), None)

    def repeated(self, module: nn.Module) -> str | None:
        """The child that a `Lift` repeats over time."""
        return "lifted_module" if _is(module, "lift", "Lift") else None

    def refusal_of_layer(self, module: nn.Module) -> str | None:
        """Synaptic layers of Norse that are not what they derive from."""
        if _is(module, "conv", "LConv2d"):
            return "LConv2d moves the time axis inside; use Lift(nn.Conv2d(...)) instead"
        return None

    def membrane(self, module: nn.Module, call: NeuronCall) -> Tensor | None:
        """v of the state that it returns, which a reset has been at where there was a spike; None of a sequence.

        What a leaky integrator gives is its v.
        """
        if _integrates(module):
            return call.spikes
        output: Any = call.output
        after = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        leaves = () if after is None else tree_flatten_with_path(after)[0]
        found = next((leaf for path, leaf in leaves if path and str(path[-1]) == ".v"), None)
        return None if found is None or found.shape != call.spikes.shape else found

    def response(self, module: nn.Module) -> Response | None:
        """Of leaky integrators whose constants are numbers: a current that decays, and a membrane that follows it."""
        cell: Any = module
        if not _integrates(module) or any(p.numel() != 1 or p.requires_grad for p in cell.p):
            return None
        rise = float(cell.dt * cell.p.tau_mem_inv)
        decays = [1.0 - rise]
        if hasattr(cell.p, "tau_syn_inv"):
            decays.insert(0, 1.0 - float(cell.dt * cell.p.tau_syn_inv))
        if not all(0.0 <= decay <= 1.0 for decay in decays):
            return None
        if len(decays) == 1:
            return ((rise, decays[0]),)
        current, membrane = decays
        if abs(current - membrane) < 1e-3:  # the sum of the two exponentials would be small beside each of them
            return None
        gain = rise / (current - membrane)
        return ((gain * current, current), (-gain * membrane, membrane))

    def held_state(self, module: nn.Module) -> dict[str, Any]:
        """None: states are handed over."""
        return {}

    def one_step(self, module: nn.Module, call: NeuronCall) -> OneStep | None:
        """Its activation, of the state that was handed over; the spikes in it, which recurrent ones send, are no part.

        What a recurrent cell is given goes through weights of its own, so that these are replaced by ones that hand on
        the current itself.
        """
        cell: Any = module
        current, state, weights = dense(call.current), call.state, ()
        if _is(module, "leaky_integrator", "LILinearCell"):
            library = sys.modules["norse.torch.functional.leaky_integrator"]
            current = nn.functional.linear(current, cell.input_weights.detach())
            activation = library.li_feed_forward_step
            state = library.LIState(cell.p.v_leak.detach(), torch.zeros_like(current)) if state is None else state
        elif not hasattr(cell, "activation"):
            return None
        else:
            activation = cell.activation
        if state is None:
            time_major = _is(module, "snn", "SNN") or _is(module, "snn", "SNNRecurrent")
            state = cell.state_fallback(current.unsqueeze(0) if time_major else current)
        if hasattr(cell, "recurrent_weights"):
            current = nn.functional.linear(current, cell.input_weights.detach())
            size, kind = current.shape[-1], {"dtype": current.dtype, "device": current.device}
            weights = torch.eye(size, **kind), cell.recurrent_weights.detach()
        fields, spec = tree_flatten_with_path(state)
        names = [str(path[-1]) for path, _ in fields]
        leaves = [dense(leaf).to(current).expand_as(current) for _, leaf in fields]

        def run(current: Tensor, h: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor], Any]:
            own = iter(h)
            began = [leaf if name == ".z" else next(own) for name, leaf in zip(names, leaves, strict=True)]
            z, after = activation(current, tree_unflatten(began, spec), *weights, cell.p, cell.dt)
            ended = zip(names, tree_flatten(after)[0], strict=True)
            return z, [leaf for name, leaf in ended if name != ".z"], after

        states = tuple(leaf for name, leaf in zip(names, leaves, strict=True) if name != ".z")
        given = tree_flatten(call.output[1])[0] if isinstance(call.output, tuple) else ()
        after = tuple(leaf for name, leaf in zip(names, given, strict=False) if name != ".z")
        return OneStep(run, current, states, [name for name in names if name != ".z"].index(".v"), after)

    def widen_constants(self, module: nn.Module, small: int, large: int) -> None:
        """Constants stand in the tuple `p`, one for all neurons or one for each."""
        p: Any = getattr(module, "p", None)
        if not hasattr(p, "_replace"):
            return
        wide = {}
        for name, value in p._asdict().items():
            if isinstance(value, Tensor) and value.dim() and value.shape[0] == small:
                wide[name] = value.repeat(-(-large // small), *[1] * (value.dim() - 1))[:large]
        module.p = p._replace(**wide)

    def inserted(self, parent: nn.Sequential, at: int) -> None:
        """A `SequentialState` notes which of its modules are handed a state."""
        stateful = getattr(parent, "stateful_layers", None)
        if isinstance(stateful, list):
            stateful[at:at] = [False, stateful[at - 1]]
