"""Settings of the kernel and the eligibility trace."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol, get_args

from .._checks import shown
from ..conventions import Convention
from .validation import Serializable, require_flag_field, require_number_field, require_range_field, require_word_field

TraceType = Literal["accumulating", "replacing", "dutch"]
KernelName = Literal["rate", "stdp_pair", "stdp_symmetric", "stdp_triplet", "eprop", "online", "sltt"]
TracePath = Literal["auto", "plain", "fold", "shared", "rows", "compiled", "torch"]
TRACES: tuple[TraceType, ...] = get_args(TraceType)
KERNELS: tuple[KernelName, ...] = get_args(KernelName)


class KernelObject(Protocol):
    """A kernel of one's own, as far as settings are concerned."""

    def init(self, pre: Any, post: Any) -> Any:
        """The state before the first step."""
        ...

    def step(self, pre: Any, post: Any, state: Any, dt: Any) -> Any:
        """A `Coincidence`, and the state after this step."""
        ...


@dataclass(frozen=True)
class EligibilityConfig(Serializable):
    """How a synapse remembers what it did: the correlation of pre and post, and the trace of it.

    Args:
        trace_type: "accumulating", "replacing" or "dutch".
        tau_e: time constant of the eligibility, in the unit of `dt`.
        kernel: "rate", "stdp_pair", "stdp_symmetric", "stdp_triplet", "eprop" (in `attach` with the memory of the very
            neuron; elsewhere that of `stdp_tau_plus`), "online" and "sltt" (gradients of a loss, with the memory of the
            neuron and without; they leave no eligibility behind, and want no settings of one), or any object with
            `init` and `step`.
        stdp_tau_plus, stdp_tau_minus: time constants of the pre and the post spike trace.
        a_plus, a_minus: amplitudes of potentiation and depression.
        stdp_tau_x, stdp_tau_y, a3_plus, a3_minus: the slow traces and triplet amplitudes of "stdp_triplet".
        dutch_alpha: share of the old trace that a Dutch trace gives up.
        dutch_scope: "all" synapses give it up at every step, or only the "active" ones (f != 0).
        clamp_range: bounds of the trace, with zero between them, or None.
        dt: step length. With 1.0, time constants are counted in steps.
        carry: whether traces go on from one sequence to the next until `reset`.
        diagonal: one trace per neuron pair (i, i) instead of a full matrix.
        convention: what simulators leave silent.

    Raises:
        ValueError: a field out of range, naming field, value and range.

    >>> EligibilityConfig(kernel="stdp_pair", tau_e=200.0).trace_type
    'accumulating'
    """

    trace_type: TraceType = "accumulating"
    tau_e: float = 20.0
    kernel: KernelName | KernelObject = "rate"
    stdp_tau_plus: float = 20.0
    stdp_tau_minus: float = 20.0
    a_plus: float = 1.0
    a_minus: float = 1.0
    dutch_alpha: float = 0.1
    clamp_range: tuple[float, float] | None = (-5.0, 5.0)
    dt: float = 1.0
    carry: bool = False
    diagonal: bool = False
    convention: Convention = field(default_factory=Convention)
    dutch_scope: Literal["all", "active"] = "all"
    stdp_tau_x: float = 101.0
    stdp_tau_y: float = 114.0
    a3_plus: float = 1.0
    a3_minus: float = 0.0

    def __post_init__(self) -> None:
        require_word_field(self, "trace_type", TRACES)
        require_word_field(self, "kernel", KERNELS, or_object="a kernel object")
        kernel = self.kernel
        if not isinstance(kernel, str) and (isinstance(kernel, type) or not all(map(callable, _methods(kernel)))):
            raise ValueError(
                f"EligibilityConfig.kernel = {shown(self.kernel)}; expected one of {', '.join(map(repr, KERNELS))} or "
                "an object with init(pre, post) -> state and step(pre, post, state, dt) -> (Coincidence, state)."
            )
        require_word_field(self, "dutch_scope", ("all", "active"))
        if not isinstance(self.convention, Convention):
            raise ValueError(
                f"EligibilityConfig.convention = {shown(self.convention)}; expected a Convention, "
                "for instance Convention.preset('spikingjelly')."
            )
        require_number_field(self, "dt", 0.0, open_low=True)
        for name in ("tau_e", "stdp_tau_plus", "stdp_tau_minus", "stdp_tau_x", "stdp_tau_y"):
            self._require_tau(name)
        for name in ("a_plus", "a_minus", "a3_plus", "a3_minus"):
            require_number_field(self, name)
        require_number_field(self, "dutch_alpha", 0.0, 1.0)
        require_range_field(self, "clamp_range", around_zero=True)
        for name in ("carry", "diagonal"):
            require_flag_field(self, name)
        if kernel in ("online", "sltt") or getattr(kernel, "post_side", None) == "gradient":
            self._require_no_trace()

    def _require_no_trace(self) -> None:
        """Refuse settings of an eligibility where there is none: a gradient is used up by the step that brings it."""
        for field_ in fields(self):
            value = getattr(self, field_.name)
            if field_.name in ("trace_type", "tau_e", "clamp_range") and value != field_.default:
                raise ValueError(
                    f"EligibilityConfig.{field_.name} = {shown(value)}, and the kernel reads gradients, which leave no "
                    f"eligibility behind; expected it as it is, {field_.default!r}, or another kernel."
                )

    def _require_tau(self, name: str) -> None:
        require_number_field(self, name, 0.0, open_low=True, infinite=True)
        tau, convention = getattr(self, name), self.convention
        mode = convention.eligibility_decay if name == "tau_e" else convention.spike_trace_decay
        if tau >= self.dt:
            return
        story = f"EligibilityConfig.{name} = {tau:g} is shorter than one step, dt = {self.dt:g}"
        if mode == "euler":
            raise ValueError(
                f"{story}, so that 1 - dt/tau is negative; give both in the same unit, or decay 'exponential'."
            )
        warnings.warn(f"{story}; hardly anything outlives a step. Are both in the same unit?", stacklevel=5)

    @classmethod
    def _restore(cls, name: str, value: Any) -> Any:
        return Convention.from_dict(value) if name == "convention" else super()._restore(name, value)


def _methods(kernel: object) -> tuple[object, object]:
    return getattr(kernel, "init", None), getattr(kernel, "step", None)
