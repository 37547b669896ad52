"""Loop: what happens becomes affect, affect becomes neuromodulators, these open the gate, and what they do is felt.

    events ─► V, A, D ─► DA  ACh  NE  5HT ─► gate g ─► Δw = lr · reduce_B(s · g · e)
                 ▲              │
                 └── felt at the next step

    DA      source where the events tell it, else V
    ACh     source + epistemic share · max(A, 0)         NE   source + max(A, 0)         5HT   source + max(D, 0)
    s       1 + α · A, within its floor and ceiling

Where dopamine is reward above a *learnt* baseline, only reward moves it: a feeling is no reward to be expected. Every
way round the loop passes a difference on by at most the loop gains of `config/affect.py`, which are below 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import torch
from torch import Tensor, nn

from .._checks import (
    Signal,
    require_choice,
    require_count,
    require_device,
    require_dtype,
    require_finite,
    require_flag,
    require_kind,
    require_mask,
    shown,
)
from .._saved import FORMAT, described, require_format, require_saved_tensors, require_settings
from ..affect import AffectiveEstimator, AffectiveState, AppraisalModule
from ..config import NeuromodConfig
from ..config.affect import AffectiveConfig, AffectiveFullConfig
from ..diagnostics import PlasticityTrace
from ..learner import PlasticityLearner
from ..neuromodulation import NeuromodState, NeuromodulatoryGate
from ..neuromodulators import NAMES
from ..signals import LOOP, EventSignals, SignalLayout
from .events import prediction_error, to_gate_signals, to_internal_signals
from .state import (
    LoopState,
    admitted,
    clone_tensors,
    empty_state,
    read_loop_state,
    require_one_batch,
    reset_state,
    resize_state,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

Outcome = TypeVar("Outcome")
LoopScope = Literal["episode", "eligibility", "neuromodulators", "affect", "all"]
NORMALIZED_REWARD = NeuromodConfig(da_source="normalized_reward")
LOOP_SCOPES = ("episode", "eligibility", "neuromodulators", "affect", "all")


class AffectiveLoop:
    """Affect, neuromodulators, gate and learner in one object.

    `advance` is pure: events and a state in, the next state out. `step` does the same with a state that is held, and
    lets the learner learn. **The learning rate is scaled per sample, in the third factor**: the learner hears
    s_b · g_b, so that Δw = lr · reduce_B(s · g · e); `learner.lr_scale` stays the user's. The loop runs the gate and
    holds its state; `learner.step(reward=...)` beside it would start a second one.

    What comes from the past is detached, so that memory stays bounded with gradients on; `through_time=True` keeps the
    history, for meta-learning.

    Args:
        learner: what learns, as from `attach`; None: affect for its own sake.
        config: settings of affect.
        gate: turns signals into modulators; by default that of the learner, or without one a gate whose dopamine hears
            rewards in units of their usual size (`da_source="normalized_reward"`).
        appraisal: judges events in place of the formulas, as in `AffectiveEstimator`.
        shared: the samples of a batch are one animal: its affect hears the mean of the events over the batch, while the
            gate hears every sample. Else every sample has an affect of its own.
        through_time: whether gradients run from one step to the one before.

    Raises:
        TypeError: a gate beside a learner that has another one.
        ValueError: settings with which the loop through this gate might not settle.

    >>> loop = AffectiveLoop()
    >>> _ = loop.step(reward=torch.tensor([1.0, 0.0]))
    >>> loop.state.modulators["DA"]
    tensor([0.7616, 0.0000])
    >>> loop.temperature(1.0), loop.learning_rate(0.1)
    (tensor([1.5000, 1.5000]), tensor([0.1231, 0.1000]))
    """

    def __init__(
        self,
        learner: PlasticityLearner | None = None,
        config: AffectiveFullConfig | AffectiveConfig | None = None,
        *,
        gate: NeuromodulatoryGate | None = None,
        appraisal: nn.Module | None = None,
        shared: bool = False,
        through_time: bool = False,
    ) -> None:
        for name, part, kind, how in (
            ("learner", learner, PlasticityLearner, "As attach(model) returns one; or None."),
            ("gate", gate, NeuromodulatoryGate, "Build one: NeuromodulatoryGate(NeuromodConfig(...)); or None."),
        ):
            if part is not None:
                require_kind(name, part, kind, how)
        if learner is not None and gate is not None and gate is not learner.gate:
            raise TypeError("The learner has another gate than the one that was given; expected one of the two.")
        self.estimator = AffectiveEstimator(config, appraisal=appraisal, through_time=through_time)
        self.gate = gate or (NeuromodulatoryGate(NORMALIZED_REWARD) if learner is None else learner.gate)
        self.estimator.config.require_settling(self.gate.config)
        self.learner, self.shared = learner, require_flag("shared", shared)
        self._state: LoopState | None = None
        self._any_batch_size = True  # whether a batch of any size may come next, as after a reset of all samples

    @property
    def state(self) -> LoopState | None:
        """What the loop remembers; None before anything happened. What is put in its place is looked at."""
        return self._state

    @state.setter
    def state(self, state: LoopState | None) -> None:
        self._state = None if state is None else admitted(state, shared=self.shared)

    def init(
        self, batch_size: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> LoopState:
        """The state before anything happened: neutral, with no modulator released.

        Args:
            batch_size: B.
            device: by default that of a learned appraisal or gate, or the CPU.
            dtype: anything narrower than float32 becomes float32.

        Raises:
            ValueError: `batch_size` is no whole number above zero.
        """
        batch_size, device = require_count("batch_size", batch_size), require_device("device", device)
        return self._fresh(batch_size, device, require_dtype("dtype", dtype))

    def _fresh(self, batch_size: int, device: torch.device | None, dtype: torch.dtype) -> LoopState:
        """As `init`, of what was checked already."""
        device = device or next((p.device for part in (self.estimator, self.gate) for p in part.parameters()), None)
        gate = self.gate._fresh(batch_size, device, dtype)
        affect = self.estimator._fresh(1 if self.shared else batch_size, gate.levels.device, gate.levels.dtype)
        zero = gate.levels.new_zeros(batch_size)
        return LoopState(affect, gate, dict.fromkeys(NAMES, zero), zero)

    def advance(self, events: Mapping[str, Signal], state: LoopState | None = None) -> LoopState:
        """The state after one step.

        Args:
            events: values by name, each a float or a tensor (), (B,) or (B, 1); what is missing is zero, except that
                the surprise of affect is then the size of the reward prediction error. Any number: reward, td_error,
                long_horizon_value. In [0, 1]: novelty. At least 0: surprise, uncertainty (else entropy),
                aleatoric_uncertainty, homeostatic_deviation, urgency, patience, context.
            state: from `init` or the last step, it is not changed; None: as new.

        Raises:
            TypeError: no mapping, a value that is no number, a state of another kind.
            ValueError: an unknown event, a wrong shape, batch size or device, NaN, a value out of its range; the
                sentence names the event and its range.
        """
        layout = LOOP.layout(events)
        return self._advance(events, layout, None if state is None else admitted(state, shared=self.shared))

    def _advance(self, events: Mapping[str, Signal], layout: SignalLayout, state: LoopState | None) -> LoopState:
        """As `advance`, of names that `layout` has seen and a state that was admitted."""
        size, device, dtype = layout
        if state is None:
            state = self._empty_batch(device, dtype) if size == 0 else self._fresh(size or 1, device, dtype)
        require_one_batch(state, size, device)
        place = state.plasticity.device
        if not len(state.plasticity):
            LOOP.read(events, 0, place, state.plasticity.dtype)
            return state  # nothing happens to nobody
        state = state.to(dtype=dtype) if state.plasticity.dtype != dtype == torch.float64 else state
        given = LOOP.read(events, len(state.plasticity), place, state.plasticity.dtype)
        before = state.gate
        if not self.estimator.through_time:
            before = NeuromodState(*map(Tensor.detach, before))
        error = prediction_error(given, self.gate, before.baseline, state.plasticity)
        felt = state.modulators
        if self.gate.config.da_response == "linear":  # without a range in the gate; felt within that of affect
            felt = {**felt, "DA": felt["DA"].clamp(-1.0, 1.0)}
        affect = self.estimator._estimated(to_internal_signals(given, error, felt, shared=self.shared), state.affect)
        require_finite("state.mood", affect.mood)  # an appraisal of one's own may say anything
        signals, released = to_gate_signals(given, affect, self.gate)
        modulators, plasticity, after = self.gate.step(signals, before, released=released)
        return LoopState(affect, after, modulators, plasticity)

    @overload
    def step(
        self,
        *,
        layers: Collection[str] | None = None,
        return_details: Literal[False] = False,
        **events: Unpack[EventSignals],
    ) -> None: ...
    @overload
    def step(
        self, *, layers: Collection[str] | None = None, return_details: Literal[True], **events: Unpack[EventSignals]
    ) -> PlasticityTrace | None: ...
    @overload
    def step(
        self, *, layers: Collection[str] | None = None, return_details: bool, **events: Unpack[EventSignals]
    ) -> PlasticityTrace | None: ...
    def step(
        self, *, layers: Collection[str] | None = None, return_details: bool = False, **events: Unpack[EventSignals]
    ) -> PlasticityTrace | None:
        """Feel, release, gate and learn; the state is held.

        Args:
            layers, return_details: as in `PlasticityLearner.step`.
            events: as in `advance`, by keyword.

        Returns:
            What the learner's step returns; None without a learner.

        Raises:
            TypeError, ValueError: as `advance` and `PlasticityLearner.step`; nothing is changed then.
        """
        return_details = require_flag("return_details", return_details)

        def learn(learner: PlasticityLearner, state: LoopState) -> PlasticityTrace | None:
            return learner.step(state.third_factor.detach(), layers=layers, return_details=return_details)

        state, trace = self._advance_and_learn(events, layers, learn)
        if trace is None:
            return None
        return trace._replace(modulators={name: level.detach() for name, level in state.modulators.items()})

    def loss(self, *, layers: Collection[str] | None = None, **events: Unpack[EventSignals]) -> Tensor:
        """As `step`, of a learner of mode "auxiliary_loss": what `PlasticityLearner.loss` returns.

        Args:
            layers: as in `PlasticityLearner.step`.
            events: as in `advance`, by keyword.

        Raises:
            TypeError: there is no learner, and as `step`.
            ValueError: as `step`; nothing is changed then.
        """
        if self.learner is None:
            raise TypeError("This loop has no learner, and so no loss; build it with AffectiveLoop(attach(model)).")
        _, loss = self._advance_and_learn(
            events, layers, lambda learner, s: learner.loss(s.third_factor.detach(), layers=layers)
        )
        assert loss is not None
        return loss

    def _advance_and_learn(
        self,
        events: Mapping[str, Any],
        layers: Collection[str] | None,
        learn: Callable[[PlasticityLearner, LoopState], Outcome],
    ) -> tuple[LoopState, Outcome | None]:
        """One step of everything, and what came of the learner's."""
        if layers is not None and not isinstance(layers, (list, tuple, set, frozenset, dict)):
            raise ValueError(f"layers = {shown(layers)}; expected a list of names of layers, or None.")
        with torch.inference_mode(False):
            layout = LOOP.layout(events)
            state = self._advance(events, layout, self._state_for(*layout))
            learned = None if self.learner is None else learn(self.learner, state)
        if len(state.plasticity):
            self._state, self._any_batch_size = state, False
        if self.learner is not None and self.learner.recorder is not None:
            self.learner.recorder.felt(state.affect, state.modulators)
        return state, learned

    def reset(self, mask: Tensor | None = None, scope: LoopScope = "episode") -> None:
        """Forget.

        Args:
            mask: boolean (B,): those samples only. An affect that all share belongs to no sample, and stays.
            scope: "episode": eligibility and modulators, while affect and the reward baseline go on;
                "eligibility"; "neuromodulators": levels and reward baseline; "affect": feelings, mood and what one has
                got used to; "all": as new.

        Raises:
            TypeError, ValueError: an unknown scope, or a mask that does not fit; nothing is changed then.
        """
        require_choice("scope", scope, LOOP_SCOPES)
        if mask is not None:
            self._require_mask(mask)
        state = self.state
        if state is not None and (mask is None or len(mask)):
            state = state if mask is None or not self._any_batch_size else self._resized(state, len(mask))
            fresh = self._fresh(len(state.plasticity), state.plasticity.device, state.plasticity.dtype)
            state = reset_state(state, fresh, mask, scope)
        if self.learner is not None and scope != "affect":
            self.learner.reset(mask, scope)
        self._state = None if scope == "all" and mask is None else state
        self._any_batch_size = self._any_batch_size or (mask is None and scope != "affect")

    def learning_rate(self, base: float | Tensor) -> Tensor:
        """A learning rate for something else that learns: base · (1 + α · arousal). The learner's has it already."""
        return self._scaled(self.estimator.modulator.modulate_learning_rate, base)

    def temperature(self, base: float | Tensor) -> Tensor:
        """A temperature of exploration: base · (1 + γ · (1 − dominance)); (B,), or of the shape (B, ...) of `base`."""
        return self._scaled(self.estimator.modulator.modulate_exploration, base)

    def attention(self, logits: Tensor) -> Tensor:
        """Attention logits (B, ...), sharper where feelings are strong: logits · (1 + β · |valence|)."""
        return self._scaled(self.estimator.modulator.modulate_attention, logits)

    def priority(self, base: float | Tensor) -> Tensor:
        """A priority of consolidation or replay: base · (1 + δ · arousal · |valence|)."""
        return self._scaled(self.estimator.modulator.modulate_memory_priority, base)

    def risk(self, base: float | Tensor) -> Tensor:
        """A sensitivity to risk: base · (1 − ε · valence)."""
        return self._scaled(self.estimator.modulator.modulate_risk, base)

    def state_dict(self) -> dict[str, Any]:
        """Settings, and everything that the loop and its learner remember, as plain values and tensors."""
        return {
            "format": FORMAT,
            "settings": self._settings(),
            "state": None if self.state is None else self.state.to_dict(),
            "loose": self._any_batch_size,
            "estimator": clone_tensors(self.estimator.state_dict()),
            "gate": clone_tensors(self.gate.state_dict()),
            "learner": None if self.learner is None else self.learner.state_dict(),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from `state_dict`, bit for bit; or refuse it, and nothing is changed.

        Raises:
            TypeError: no such state.
            ValueError: another format, other settings, another learner or none, a stranger, NaN.
        """
        self.read_state(saved)()

    def read_state(self, saved: Mapping[str, Any]) -> Callable[[], None]:
        """Look at a saved state whole; what is returned goes on from it. Errors as in `load_state_dict`."""
        what = "The saved loop"
        require_format(what, saved, ("settings", "state", "loose", "estimator", "gate", "learner"))
        if (saved["learner"] is None) != (self.learner is None):
            there, here = ("no", "one") if saved["learner"] is None else ("a", "none")
            raise ValueError(
                f"{what} has {there} learner, this one has {here}; expected the same. Build it likewise first."
            )
        require_settings(what, saved["settings"], self._settings())
        estimator = require_saved_tensors(f"{what}: estimator", saved["estimator"], self.estimator.state_dict())
        gate = require_saved_tensors(f"{what}: gate", saved["gate"], self.gate.state_dict())
        loose = require_flag(f"{what}: loose", saved["loose"])
        state = None if saved["state"] is None else read_loop_state(f"{what}: state", saved["state"], self.init)
        learner = None if self.learner is None else self.learner.read_state(saved["learner"])

        def commit() -> None:
            if learner is not None:
                learner()
            self.estimator.load_state_dict(estimator)
            self.gate.load_state_dict(gate)
            self._state, self._any_batch_size = state, loose

        return commit

    def _settings(self) -> dict[str, Any]:
        """What a saved loop has to agree with."""
        affect, gate = described(self.estimator.config), described(self.gate.config)
        settings = {"affect": affect, "gate": gate, "shared": self.shared}
        judge = self.estimator.appraisal
        return settings if type(judge) is AppraisalModule else {**settings, "appraisal": type(judge).__qualname__}

    def __repr__(self) -> str:
        gains = self.estimator.config.loop_gains(self.gate.config).items()
        whose = "one for the batch" if self.shared else "one for each sample"
        affect = f"affect: {whose}; loop gains: " + ", ".join(f"{name} {gain:.2g}" for name, gain in gains)
        lines = [affect, f"gate: {self.gate.extra_repr()}", f"learner: {self.learner!r}"]
        return "\n  ".join(["AffectiveLoop(", *(line.replace("\n", "\n  ") for line in lines)]) + "\n)"

    def _state_for(self, size: int | None, device: torch.device | None, dtype: torch.dtype) -> LoopState | None:
        """The held state, or a new one for the batch that the events or the learner have."""
        if size is None and self.learner is not None:
            size = self.learner.batch_size
        state = self.state
        if size == 0:
            return self._empty_batch(device, dtype)
        if state is None:
            return None if size is None else self._fresh(size, device, dtype)
        if size is None or size == len(state.plasticity) or not (self.shared or self._any_batch_size):
            return state
        return self._resized(state, size)

    def _resized(self, state: LoopState, size: int) -> LoopState:
        """What was felt and learnt, for a batch of another size."""
        return resize_state(state, self._fresh(size, state.plasticity.device, state.plasticity.dtype))

    def _empty_batch(self, device: torch.device | None, dtype: torch.dtype) -> LoopState:
        """The state of an empty batch."""
        return empty_state(*(self._fresh(size, device, dtype) for size in (1, 2)))

    def _require_mask(self, mask: Tensor) -> None:
        """Refuse a mask that does not fit what is known of the batch."""
        known = None if self.learner is None else self.learner.batch_size
        if known is None and self.state is not None and not self._any_batch_size:
            known = len(self.state.plasticity)
        require_mask(mask, known)

    def _scaled(self, modulate: Callable[[Any, AffectiveState], Tensor], base: float | Tensor) -> Tensor:
        """A quantity times its factor; an affect that all share has one factor for all."""
        size = None if self.learner is None else self.learner.batch_size
        state = self.init(size or 1) if self.state is None else self.state
        if self.shared and isinstance(base, Tensor) and base.dim() > 0:
            return modulate(base.unsqueeze(0), state.affect).squeeze(0)
        return modulate(base, state.affect)
