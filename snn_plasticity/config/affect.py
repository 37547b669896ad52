"""Settings of the affect estimator, and the bound that lets every loop through it settle.

Two loops lead from affect back to affect: over mood, which colours ambiguous prediction errors, and over the
neuromodulators, which affect raises and which are felt in turn. Their gains are at most

    valence     ρ_V = s_V · w_c/(w_c + w_n) · bias  +  k_DA G_DA
    arousal     ρ_A = k_NE G_NE + k_ACh G_ACh
    dominance   ρ_D = k_5HT G_5HT

    s_V     valence_scale                        bias   mood_congruence_bias
    w_c     congruence_weight                    w_n    norm_weight
    k_X     how strongly modulator X is felt     G_X    steady amount of X that one unit of affect releases:
                                                        1, or through a gate scale/(1 − exp(−dt/τ)), and twice
                                                        that for dopamine above a learning reward baseline

A config with ρ > MAX_LOOP_GAIN < 1 is refused: everything else in the loops is an average or a clamp, so that for
constant signals the distance to the fixed point shrinks at every step (the proof is in docs/affect.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..decay import decay_factor
from .neuromod import NeuromodConfig
from .validation import (
    Serializable,
    require_config,
    require_count_field,
    require_flag_field,
    require_number_field,
    require_part_field,
    require_word_field,
)

MAX_LOOP_GAIN = 0.95
MAX_SCALE = 1e3


@dataclass(frozen=True)
class AffectiveConfig(Serializable):
    """How strongly things are felt, for how long, and what they leave behind.

    Args:
        valence_scale: gain of what valence is squashed from, so that it says how soon valence saturates.
        arousal_scale, dominance_scale: gains of the distance from what one has got used to, before the clamp.
        tau_mood: steps over which affect becomes mood, 1 or more.
        mood_congruence_bias: in [0, 1], how far mood shifts an ambiguous prediction error in its own direction.
        output_clamp: in (0, 1], bound of every dimension.
        use_somatic_markers: whether markers change scores at all.
        somatic_marker_weight: weight of the predicted outcome in a score. Outcomes come in the unit of the scores: with
            1, what is expected to feel like 1 counts as much as one point of score.
        hidden_dim: hidden units of the learned appraisal.
        tau_baseline: steps over which relevance and coping become what is expected, 1 or more.
        da_feedback, ne_feedback, ach_feedback, sht_feedback: how strongly each modulator is felt, in [0, 1].
        marker_capacity: situations that are remembered at once.
        marker_tau: outcomes after which a marker has faded to 1/e; infinity never fades.
        marker_rate: share of a new outcome in its marker, in (0, 1].
        marker_width: distance over which situations feel alike.
        reward_error_source, prediction_error_source: `reward_prediction_error` and `prediction_error_magnitude` are
            "normalized", in units of their own usual size, or "raw", as they are given.
        tau_usual: errors over which the usual size is taken, 1 or more; exact zeros are silence, and no errors.

    Raises:
        ValueError: a field out of range, naming field, value and range.

    >>> AffectiveConfig(tau_mood=20.0).mood_congruence_bias
    0.1
    """

    valence_scale: float = 1.0
    arousal_scale: float = 1.0
    dominance_scale: float = 1.0
    tau_mood: float = 100.0
    mood_congruence_bias: float = 0.1
    output_clamp: float = 1.0
    use_somatic_markers: bool = True
    somatic_marker_weight: float = 1.0
    hidden_dim: int = 64
    tau_baseline: float = 50.0
    da_feedback: float = 0.1
    ne_feedback: float = 0.1
    ach_feedback: float = 0.1
    sht_feedback: float = 0.1
    marker_capacity: int = 64
    marker_tau: float = 1000.0
    marker_rate: float = 0.1
    marker_width: float = 0.25
    reward_error_source: str = "normalized"
    prediction_error_source: str = "normalized"
    tau_usual: float = 200.0

    def __post_init__(self) -> None:
        for name in ("valence_scale", "arousal_scale", "dominance_scale"):
            require_number_field(self, name, 0.0, MAX_SCALE)
        for name in ("reward_error_source", "prediction_error_source"):
            require_word_field(self, name, ("normalized", "raw"))
        for name in ("tau_mood", "tau_baseline", "tau_usual"):
            require_number_field(self, name, 1.0, 1e9)
        for name in ("mood_congruence_bias", "da_feedback", "ne_feedback", "ach_feedback", "sht_feedback"):
            require_number_field(self, name, 0.0, 1.0)
        for name in ("output_clamp", "marker_rate"):
            require_number_field(self, name, 0.0, 1.0, open_low=True)
        require_flag_field(self, "use_somatic_markers")
        require_number_field(self, "somatic_marker_weight", 0.0, MAX_SCALE)
        require_number_field(self, "marker_tau", 1.0, infinite=True)
        require_number_field(self, "marker_width", 0.0, MAX_SCALE, open_low=True)
        for name in ("hidden_dim", "marker_capacity"):
            require_count_field(self, name)


@dataclass(frozen=True)
class AppraisalConfig(Serializable):
    """What an event is judged by.

    Weights are shares of their own dimension: congruence and norm share valence; relevance alone makes arousal and
    coping alone dominance, so that any weight above zero is the whole of it, and zero switches the dimension off.

    Args:
        relevance_weight: weight of relevance in arousal.
        congruence_weight, norm_weight: weights of congruence and of norm deviation in valence.
        coping_weight: weight of coping in dominance.
        use_learned_appraisal: let a small network correct the formulas.
        seed: initialisation of that network.

    Raises:
        ValueError: a field out of range, naming field, value and range.

    >>> AppraisalConfig(congruence_weight=3.0, norm_weight=1.0).valence_shares
    (0.75, 0.25)
    """

    relevance_weight: float = 1.0
    congruence_weight: float = 1.0
    coping_weight: float = 1.0
    norm_weight: float = 0.5
    use_learned_appraisal: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("relevance_weight", "congruence_weight", "coping_weight", "norm_weight"):
            require_number_field(self, name, 0.0, 1e6)
        require_flag_field(self, "use_learned_appraisal")
        require_count_field(self, "seed", 0)

    @property
    def valence_shares(self) -> tuple[float, float]:
        """Shares of congruence and of norm deviation in valence."""
        total = self.congruence_weight + self.norm_weight
        return (self.congruence_weight / total, self.norm_weight / total) if total > 0 else (0.0, 0.0)

    @property
    def arousal_share(self) -> float:
        """Share of relevance in arousal: 1, or 0 if it has no weight."""
        return float(self.relevance_weight > 0)

    @property
    def dominance_share(self) -> float:
        """Share of coping in dominance: 1, or 0 if it has no weight."""
        return float(self.coping_weight > 0)


@dataclass(frozen=True)
class ModulationConfig(Serializable):
    """How strongly affect changes learning, attention, exploration, memory and risk, and within which limits.

    Args:
        lr_alpha, attention_beta, exploration_gamma, memory_delta, risk_epsilon: gains, >= 0.
        lr_floor, attention_floor, exploration_floor, memory_floor, risk_floor: least factors, > 0.
        lr_ceiling, attention_ceiling, exploration_ceiling, memory_ceiling, risk_ceiling: largest factors.

    Raises:
        ValueError: a field out of range, naming field, value and range; a floor at or above its ceiling.

    >>> ModulationConfig(lr_alpha=1.0).lr_ceiling
    3.0
    """

    lr_alpha: float = 0.5
    lr_floor: float = 0.1
    lr_ceiling: float = 3.0
    attention_beta: float = 0.3
    attention_floor: float = 0.5
    attention_ceiling: float = 2.0
    exploration_gamma: float = 0.5
    exploration_floor: float = 0.1
    exploration_ceiling: float = 3.0
    memory_delta: float = 0.5
    memory_floor: float = 0.1
    memory_ceiling: float = 3.0
    risk_epsilon: float = 0.3
    risk_floor: float = 0.1
    risk_ceiling: float = 3.0

    def __post_init__(self) -> None:
        for name in ("lr_alpha", "attention_beta", "exploration_gamma", "memory_delta", "risk_epsilon"):
            require_number_field(self, name, 0.0, MAX_SCALE)
        for name in ("lr", "attention", "exploration", "memory", "risk"):
            require_number_field(self, f"{name}_floor", 0.0, 1e6, open_low=True)
            require_number_field(self, f"{name}_ceiling", 0.0, 1e6, open_low=True)
            floor, ceiling = getattr(self, f"{name}_floor"), getattr(self, f"{name}_ceiling")
            if floor >= ceiling:
                raise ValueError(
                    f"ModulationConfig.{name}_floor = {floor!r} with {name}_ceiling = {ceiling!r}; "
                    "expected a floor below its ceiling."
                )


@dataclass(frozen=True)
class AffectiveFullConfig(Serializable):
    """The three settings together, with presets; refused where a loop through affect might not settle.

    Raises:
        ValueError: a part of another kind, or a loop gain above `MAX_LOOP_GAIN`.

    >>> AffectiveFullConfig.from_json(AffectiveFullConfig.dev().to_json()) == AffectiveFullConfig.dev()
    True
    >>> {name: round(gain, 3) for name, gain in AffectiveFullConfig().loop_gains().items()}
    {'valence': 0.167, 'arousal': 0.2, 'dominance': 0.1}
    """

    affect: AffectiveConfig = field(default_factory=AffectiveConfig)
    appraisal: AppraisalConfig = field(default_factory=AppraisalConfig)
    modulation: ModulationConfig = field(default_factory=ModulationConfig)

    def __post_init__(self) -> None:
        for name, kind in self.parts().items():
            require_part_field(self, name, kind)
        self.require_settling()

    @classmethod
    def minimal(cls) -> AffectiveFullConfig:
        """Feelings of the moment: mood colours nothing, modulators are not felt, errors as they are, no markers."""
        return cls(
            AffectiveConfig(
                mood_congruence_bias=0.0,
                use_somatic_markers=False,
                da_feedback=0.0,
                ne_feedback=0.0,
                ach_feedback=0.0,
                sht_feedback=0.0,
                reward_error_source="raw",
                prediction_error_source="raw",
            )
        )

    @classmethod
    def dev(cls) -> AffectiveFullConfig:
        """Everything on, with a mood and expectations short enough to watch."""
        return cls(AffectiveConfig(tau_mood=20.0, tau_baseline=10.0, marker_capacity=16))

    @classmethod
    def production(cls) -> AffectiveFullConfig:
        """Everything on, with slow moods and a large memory."""
        return cls(AffectiveConfig(tau_mood=1000.0, tau_baseline=200.0, marker_capacity=256, marker_tau=10_000.0))

    def loop_gains(self, gate: NeuromodConfig | None = None) -> dict[str, float]:
        """The most by which one step of each loop can pass a difference on; below 1 it dies out.

        Args:
            gate: the gate that stands between affect and the modulators that are felt; None: nothing does.
        """
        release = (
            dict.fromkeys(("da", "ach", "ne", "sht"), 1.0)
            if gate is None
            else _released_amounts(require_config(gate, NeuromodConfig, name="gate"))
        )
        felt = {name: getattr(self.affect, f"{name}_feedback") * amount for name, amount in release.items()}
        bias = self.affect.mood_congruence_bias
        mood = self.affect.valence_scale * self.appraisal.valence_shares[0] * bias
        return {"valence": mood + felt["da"], "arousal": felt["ne"] + felt["ach"], "dominance": felt["sht"]}

    def require_settling(self, gate: NeuromodConfig | None = None) -> None:
        """Refuse settings with which a loop through affect could oscillate or lock in.

        Raises:
            ValueError: a loop gain above `MAX_LOOP_GAIN`, naming the loop and what to lower.
        """
        lower = {
            "valence": "valence_scale, mood_congruence_bias, da_feedback",
            "arousal": "ne_feedback, ach_feedback",
            "dominance": "sht_feedback",
        }
        for name, gain in self.loop_gains(gate).items():
            if not gain <= MAX_LOOP_GAIN:
                through = "" if gate is None else " through this gate"
                raise ValueError(
                    f"AffectiveFullConfig has a loop gain of {gain:.3g} in {name}{through}; expected at most "
                    f"{MAX_LOOP_GAIN:g}, or affect could oscillate or lock in. Lower {lower[name]}."
                )


def _released_amounts(gate: NeuromodConfig) -> dict[str, float]:
    """Steady amount of each modulator that a gate makes of one unit of its signal."""
    release = {}
    for name in ("da", "ach", "ne", "sht"):
        tau = getattr(gate, f"{name}_tau")
        left = decay_factor(tau, gate.dt) if tau > 0 else 0.0
        release[name] = getattr(gate, f"{name}_scale") / (1.0 - left) if left < 1.0 else float("inf")
    if gate.da_source == "reward" and gate.reward_baseline != "none":
        release["da"] *= 2.0  # the signal and its own running average, at worst against each other
    return release
