"""Estimator: internal signals in, valence, arousal, dominance and mood out.

    signals ─► evidence ─► colour of mood ─► scores ─► V, A, D ─► mood
          ▲                                    ▲         │
    their usual size                 what is expected    └─► factors, neuromodulators

The estimator remembers nothing: mood, expectations, the usual size of prediction errors and the count of steps travel
in the `AffectiveState`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._checks import known_as, require_count, require_device, require_dtype, require_flag
from .._untracked import uncast
from .._usual_size import bounded_square, update_sums, usual_size
from ..config.affect import AffectiveConfig, AffectiveFullConfig
from ..config.validation import require_config
from . import dimensions
from .appraisal import AppraisalModule, AppraisalResult, Evidence, checked_evidence, score
from .mapping import felt
from .modulation import AffectiveModulator, ModulationVector
from .mood import moving_average, shift_by_mood
from .signals import InternalReading, InternalSignals, layout, read_internal
from .state import AffectiveState, require_affect_state

ERROR_SOURCES = {
    "reward_prediction_error": "reward_error_source",
    "prediction_error_magnitude": "prediction_error_source",
}


class AffectiveEstimator(nn.Module):
    """Estimates what a model feels from what it knows about itself.

    Everything is computed in fp32 (fp64 where a signal or the state is), under autocast too. Gradients run from affect,
    mood and factors to the signals of the same step and to a learned appraisal. What comes from the past is detached
    (the state that is handed in, and the levels of modulators, which are affect coming back), so that memory stays
    bounded however long the run. With `through_time=True` gradients run through these as well, for meta-learning over
    a stretch of steps; memory then grows with the stretch.

    Args:
        config: settings; an `AffectiveConfig` stands for a full one with the other parts as they are by default.
        appraisal: judges events in place of the formulas: a module with weigh(readings) -> `Evidence`, from an
            `InternalReading` without modulators (these are felt later, so that every loop settles as before); None is
            an `AppraisalModule`.
        through_time: whether gradients run from one step to the one before.

    Raises:
        TypeError: settings or an appraisal of another kind.

    >>> estimator = AffectiveEstimator()
    >>> state = estimator.estimate(InternalSignals(reward_prediction_error=torch.tensor([1.0, 0.0])))
    >>> state.valence
    tensor([0.5077, 0.0000])
    >>> estimator.get_modulation(state).risk_scale
    tensor([0.8477, 1.0000])
    """

    def __init__(
        self,
        config: AffectiveFullConfig | AffectiveConfig | None = None,
        *,
        appraisal: nn.Module | None = None,
        through_time: bool = False,
    ) -> None:
        super().__init__()
        config = AffectiveFullConfig(affect=config) if isinstance(config, AffectiveConfig) else config
        self.config = config = require_config(config, AffectiveFullConfig)
        self.through_time = require_flag("through_time", through_time)
        own = AppraisalModule(config.appraisal, config.affect.hidden_dim) if appraisal is None else appraisal
        if not isinstance(own, nn.Module) or not callable(getattr(own, "weigh", None)):
            raise TypeError(
                f"appraisal is {known_as(own)}; expected a torch.nn.Module with weigh(readings) -> Evidence, or None."
            )
        self.appraisal = own
        self.modulator = AffectiveModulator(config.modulation)
        self._in_units = [
            name for name, source in ERROR_SOURCES.items() if getattr(config.affect, source) == "normalized"
        ]
        self._shares = config.appraisal.valence_shares
        self._arousal = config.affect.arousal_scale * config.appraisal.arousal_share
        self._dominance = config.affect.dominance_scale * config.appraisal.dominance_share

    def reset(
        self, batch_size: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> AffectiveState:
        """The state before anything happened: neutral, and used to nothing.

        Args:
            batch_size: B.
            device: by default that of a learned appraisal, or the CPU.
            dtype: anything narrower than float32 becomes float32.

        Raises:
            ValueError: `batch_size` is no whole number above zero.
        """
        batch_size, device = require_count("batch_size", batch_size), require_device("device", device)
        return self._fresh(batch_size, device, require_dtype("dtype", dtype))

    def _fresh(self, batch_size: int, device: torch.device | None, dtype: torch.dtype) -> AffectiveState:
        """As `reset`, of what was checked already."""
        device = device or next((p.device for p in self.parameters()), None)
        zero = torch.zeros(batch_size, device=device, dtype=torch.promote_types(dtype, torch.float32))
        half, able = zero + dimensions.RELEVANCE_AT_REST, zero + dimensions.COPING_AT_REST
        appraisal = AppraisalResult(half, zero, able, half, able, zero)
        modulation = self.modulator._factors_of(zero, zero, zero)
        mood, expected = zero.new_zeros(batch_size, 3), zero.new_zeros(batch_size, 2)
        usual = zero.new_zeros(batch_size, len(ERROR_SOURCES), 2)
        return AffectiveState(zero, zero, zero, appraisal, modulation, mood, 0, expected, usual)

    def estimate(
        self, signals: InternalSignals | InternalReading, state: AffectiveState | None = None
    ) -> AffectiveState:
        """The state after one step.

        Args:
            signals: each a float or a tensor (), (B,) or (B, 1); or an `InternalReading`, which was checked before.
            state: from `reset` or the last estimate, it is not changed; None: as after a reset.

        Raises:
            TypeError: signals or a state of another kind.
            ValueError: a wrong shape, batch size or device, NaN, a value out of its range; the sentence names the
                signal and its range.
        """
        return self._estimated(*self._check_inputs(signals, state))

    def _estimated(self, readings: InternalReading, state: AffectiveState) -> AffectiveState:
        """As `estimate`, of readings and a state that were checked already."""
        mood, expected, usual, levels = state.mood, state.expected, state.usual, readings.modulators
        if not self.through_time:
            mood, expected, usual = mood.detach(), expected.detach(), usual.detach()
            levels = {name: level.detach() for name, level in levels.items()}
        with uncast(mood):
            readings, usual = self._in_usual_units(readings, usual)
            found = checked_evidence(self.appraisal, readings)
            congruence = shift_by_mood(found.congruence, mood[:, 0], self.config.affect.mood_congruence_bias)
            found = found._replace(congruence=congruence)
            appraisal = score(found)
            v, a, d = self._affect(found, appraisal, expected, levels)
            affect = torch.stack([v, a, d], dim=-1)
            return AffectiveState(
                valence=v,
                arousal=a,
                dominance=d,
                appraisal=appraisal,
                modulation=self.modulator._factors_of(v, a, d),
                mood=moving_average(mood, affect, self.config.affect.tau_mood),
                step_count=state.step_count + 1,
                expected=dimensions.habituate(expected, appraisal, self.config.affect.tau_baseline),
                usual=usual,
            )

    def forward(
        self, signals: InternalSignals | InternalReading, state: AffectiveState | None = None
    ) -> AffectiveState:
        """As `estimate`."""
        return self.estimate(signals, state)

    def get_modulation(self, state: AffectiveState) -> ModulationVector:
        """The factors of a state, from its valence, arousal and dominance, each (B,) and above zero."""
        require_affect_state(state, None, None)
        return self.modulator._factors_of(state.valence, state.arousal, state.dominance)

    def extra_repr(self) -> str:
        """How slow mood and expectations are, and how far each loop is from where it would not settle."""
        gains = ", ".join(f"{name} {gain:.2g}" for name, gain in self.config.loop_gains().items())
        return f"τ_mood={self.config.affect.tau_mood:g}, τ_b={self.config.affect.tau_baseline:g}; loop gains: {gains}"

    def _in_usual_units(self, readings: InternalReading, usual: Tensor) -> tuple[InternalReading, Tensor]:
        """Prediction errors divided by their usual size, where the config says so; and the sizes that heard them."""
        if not self._in_units:
            return readings, usual
        tau = self.config.affect.tau_usual
        errors = torch.stack((readings.reward_prediction_error, readings.prediction_error_magnitude), dim=1)
        in_units = dict(zip(ERROR_SOURCES, (errors / usual_size(usual, tau)).unbind(1), strict=True))
        usual = update_sums(usual, (bounded_square(errors),), errors != 0, tau)
        return readings._replace(**{name: in_units[name] for name in self._in_units}), usual

    def _affect(
        self, found: Evidence, appraisal: AppraisalResult, expected: Tensor, levels: dict[str, Tensor]
    ) -> list[Tensor]:
        """Valence, arousal and dominance, each (B,), within the clamp."""
        config, scaled = self.config.affect, appraisal
        if config.valence_scale != 1.0:
            congruence, deviation = config.valence_scale * found.congruence, config.valence_scale * found.deviation
            scaled = score(found._replace(congruence=congruence, deviation=deviation))
        raw = (
            dimensions.valence(scaled, self._shares),
            dimensions.arousal(appraisal, expected[:, 0], self._arousal),
            dimensions.dominance(appraisal, expected[:, 1], self._dominance),
        )
        bound = config.output_clamp
        return [(own + back).clamp(-bound, bound) for own, back in zip(raw, felt(levels, config), strict=True)]

    def _check_inputs(
        self, signals: InternalSignals | InternalReading, state: AffectiveState | None
    ) -> tuple[InternalReading, AffectiveState]:
        """Checked signals and state, on one device and in one precision."""
        if isinstance(signals, InternalReading):
            like = signals.reward_prediction_error
            size, device, dtype = len(like), like.device, like.dtype
        else:
            size, device, dtype = layout(signals)
        if state is None:
            state = self.reset(size or 1, device, dtype)
        else:
            require_affect_state(state, size, device, whole=False)
            dtype = torch.promote_types(dtype, state.mood.dtype)
            state = state if state.mood.dtype == dtype else state.to(dtype=dtype)
        if isinstance(signals, InternalReading):
            return signals, state
        return read_internal(signals, len(state.mood), state.mood.device, state.mood.dtype), state
