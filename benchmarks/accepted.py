"""What `bad_input.py` may find accepted, and why that is harmless.

Each line names callables, arguments and labels by patterns, and the reason. A reason that speaks of what is infinite or
NaN allows results that are not finite; all others do not.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

NUMBERS = "True|0|-1|1.5|-0.5|1e300|10**12|numpy*|same, negative|same, numpy|same, tensor"
ENDLESS = "inf|-inf|1e300"
TENSORS = (
    "same, negative|same, int|same, bool|same, half|same, double|same, array|same, list|same, huge|same, sparse|"
    "7 x 5 x 3|scalar tensor|bool tensor|empty tensor|nan tensor|one more axis|last axis twice|batch twice|no samples|"
    "first only|transposed|sparse tensor|same, complex|same, nan|same, inf|same, meta"
)
LISTS = "same, list|same, tuple|same, array|reversed|one fewer|one more|*list*|of nan|of None|of text|without zero"
TEXTS = "text|empty text|misspelt|other case|nested json|same, text"
CALLABLES = "class|function of nothing|module|its class"
RECORDS = (
    "affect.InternalSignals affect.InternalReading affect.Evidence affect.AppraisalResult affect.ModulationVector "
    "affect.AffectiveState affect.MarkerState "
    "neuromodulation.NeuromodState neuromodulation.CriticState loop.LoopState kernels.Pair kernels.Coincidence "
    "plasticity.EligibilityState diagnostics.LayerTrace diagnostics.PlasticityTrace diagnose.Diagnosis "
    "diagnose.LayerDiagnosis agents.Transition feedback.FeedbackState hosts.NeuronCall hosts.LayerScale "
    "dual.Growth dual.History dual.Cost dual.Score dual.Slot dual.DualReport "
    "record.SideSpikes record.Series record.LearnerStep record.LayerEvent record.Anchor"
)
STATES = "state.* fresh.* other.* readings.* levels.* modulators.* values.* saved.*"
PURE = (
    "kernels.Rate.* kernels.*STDP.* kernels.Window.* kernels.EProp.* kernels.OnlineGradient.* "
    "plasticity.EligibilityRule.* plasticity.Accumulating.* plasticity.Replacing.* plasticity.Dutch.* "
    "plasticity.EligibilityVectors.* plasticity.ThreeFactorUpdate.clamp* "
    "neuromodulation.Modulator.step neuromodulation.ModulatorMLP.forward neuromodulation.weighted_sum "
    "neuromodulation.gated_product"
)

ACCEPTED: tuple[tuple[str, str, str, str], ...] = (
    ("plasticity.ThreeFactorUpdate.delta", "e", "nan tensor", "NaN is refused by the doors of module and learner"),
    ("plasticity.EligibilityTraceModule.*", "pre post mod", "same, huge", "products of 1e30 are infinite, and say so"),
    ("kernels.alif_step", "beta rho", "1e300", "pure: what overflows is infinite, and says so"),
    ("decay.decay_factor", "tau", "nan tensor", "pure: values of tensors are not read, NaN stays NaN"),
    ("layers.SparseLinear.forward", "input", "nan tensor", "as nn.Linear: NaN stays NaN, and the traces refuse it"),
    ("connection.Connection.go_back", "mark.*", "nan|inf", "what mark() gave, NaN too: it is put back as it was"),
    ("*.of affect.from_neuromodulators", "config", "None", "the defaults"),
    ("loop.LoopState.from_dict", "saved", "a stranger more", "what is not of a state is not read"),
    ("loop.AffectiveLoop.read_state", "saved.state", "None", "a loop that has no state yet"),
    ("neuromodulation.dopamine", "scale", "1e300", "linear dopamine has no range: what overflows is infinite"),
    ("affect.color_by_mood affect.perceived_reward", "bias f mood", "1e300|same, huge", "pure: may become infinite"),
    ("affect.ValenceArousalSpace.distance", "affect", "same, huge", "a distance may become infinite"),
    ("affect.ValenceArousalSpace", "words.*", "missing", "a shorter list of words"),
    ("dual.History.add_signals", "values.*", "missing", "not told, not heard"),
    ("dual.Meter dual.PlasticTrainee dual.WeightsMap.identity", "model base", "module", "another module is as good"),
    ("dual.Trainee.loss_of", "output", "nan tensor", "NaN is refused by the step that follows the loss"),
    ("actor.Actor", "feedback", "empty dict", "no layer below the readout hears anything"),
    ("dual.WeightsMap", "slots", "empty dict", "a map of nothing"),
    ("hosts.NeuronKind.starts", "call call.*", "*", "by default no call begins a sequence, whatever it is"),
    ("notices.notice", "stacklevel", "10[*][*]400", "a level beyond the first frame is that of the first frame"),
    (RECORDS, "*", "*", "a record, whatever is in it, NaN too: it is looked at where it is used"),
    ("*.from_dict", "values values.*", "missing|empty dict|None", "a missing field takes its default"),
    ("plasticity.modulate", "e", "nan tensor", "as its modulator, NaN is refused by the doors of module and learner"),
    ("affect.SomaticMarkers.*", "*", f"{TENSORS}|{NUMBERS}", "the age of a slot that was never used is infinite"),
    ("config.PlasticityConfig.*", "lr layers", f"{NUMBERS}|{TEXTS}|*list*", "the trace of such a preset is infinite"),
    ("*", "*tau* span", ENDLESS, "an infinite time constant never ends"),
    ("*", "weight_bounds* clamp* low high", ENDLESS, "a bound may be infinite"),
    ("dual.History.add_step", "loss", ENDLESS, "a loss may become infinite; the trainer refuses it"),
    ("*", "*", NUMBERS, "a number in the range that is documented"),
    ("*", STATES, "nan|inf|-inf", "a state comes from this library; its values, NaN too, are not read at each step"),
    (PURE, "*", TENSORS, "pure and stepped inside loops on any device: no values are read, the doors refuse NaN"),
    ("neuromodulation.RewardBaseline.*", "state pace", TENSORS, "a state of this library, NaN too"),
    ("*", STATES, TENSORS, "a state comes from this library; its values, NaN too, are not read again at each step"),
    ("*", "*", TENSORS, "a tensor that fits, of a size or precision that is as good"),
    ("*", "*", "meta tensor", "shapes in, shapes out: the meta device holds no values"),
    ("*", "*", LISTS, "a list that fits, and is as good as a tuple"),
    ("*", "*", TEXTS, "any text is a name, a label or a path"),
    ("kernels.Rate.*", "state dt pre post", "*", "a rate keeps no state, and `dt` does not matter to it"),
    ("kernels.EProp.* kernels.OnlineGradient.*", "dt", "*", "a response counts steps: `dt` does not matter to it"),
    ("kernels.Window.check_step", "pre post", "*", "not read: a window only minds its step length"),
    ("kernels.*.balance", "pre_rate post_rate", "*", "not read where all spikes are paired"),
    ("plasticity.EligibilityRule.step*", "state.waiting state.kernel", "*", "not read: nothing waits without a lag"),
    ("affect.AffectiveEstimator.*", "state.*", "*", "not read: of the past, mood and expectations go on"),
    ("affect.AppraisalModule.weigh", "readings.modulators", "*", "not read: levels act on affect, not on appraisal"),
    ("neuromodulation.gate_*", "modulators.*", "*", "not read: only one of the four acts here"),
    ("*", "modulators levels signals events", "*a stranger more|empty dict", "not read, or nothing is said"),
    ("*", "signals.* events.* modulators.* layers.* pairs.* masks.* slots.* sizes.*", "missing", "not said, not heard"),
    ("hosts.attach", "layers pairs masks", "empty dict", "no layer and no pair of its own, no weight behind a mask"),
    ("hosts.attach", "sample", "*", "whatever the model's forward takes, or the dry run is left out"),
    ("hosts.attach dual.Trainee dual.PlasticTrainee dual.DualModelTrainer dual.When dual.AtLeast "
     "dual.DualNet.trainer "
     "learner.PlasticityLearner",
     "loss run metric unpack teach reduce pre signals condition function", CALLABLES, "looked at when it is called"),
    ("connection.Connection.check_weight", "around", CALLABLES, "asked only where a weight is new"),
    ("config.NeuromodConfig config.ThreeFactorConfig kernels.Window",
     "combination_fn weight_bounds curve", CALLABLES, "held to its contract where it is built in"),
    ("learner.PlasticityLearner.step loop.AffectiveLoop.step", "layers", "empty dict|set", "no layer hears it"),
    ("dual.Trainee.load_state_dict dual.DualModelTrainer.load_state_dict", "state.*", "*", "as torch keeps it"),
    ("dual.DualReport.from_dict dual.WeightsMap.from_dict", "*", "*", "a record: it is looked at where it is used"),
    ("dual.widen", "place", "dict|empty dict", "layers that are not named keep their places"),
    ("neuromodulation.NeuromodulatoryGate.load_state_dict", "state_dict", "empty dict", "a gate without parameters"),
    ("dual.AffectSignals.__call__", "batch", "*", "affect hears losses; no batch is looked at"),
    ("dual.AffectSignals.load_state_dict", "state.step", "10**400", "a count, only handed on"),
    ("dual.Slot.index", "source target", "*", "only shapes are read"),
    ("dual.Replace.* dual.BaseToo.* dual.Distill.* dual.Sandwich.* dual.Trainee.* dual.PlasticTrainee.* "
     "dual.DualModelTrainer.* dual.OverTime.*", "*", "*", "whatever the net and its objective take"),
    ("*", "state.asked state.like state.recorded state.settings state.running state.traces.*", "None",
     "nothing had been asked or recorded"),
    ("connection.Connection.go_back", "mark.*", "*", "a mark comes from mark()"),
    ("learner.PlasticityLearner.step learner.PlasticityLearner.loss", "modulator", "empty dict",
     "signals by name, and none"),
    ("loop.AffectiveLoop.load_state_dict", "saved.state", "None", "a loop that had not begun"),
    ("affect.*", "signals.modulators signals.aleatoric_uncertainty", "None", "nothing is told apart or felt"),
    ("*", "*.step_count", "*", "a count, only handed on"),
    ("affect.ValenceArousalSpace.*", "affect other", "same, huge", "far away, even at an infinite distance"),
    ("dual.History.add_signals", "values", "dict|empty dict|a stranger more", "any signal may be told"),
    ("dual.DualModelTrainer", "coupling", "its class", "a class that can be asked as its objects can"),
    ("plot.*", "colors labels", "*", "one for each line, or none"),
)  # fmt: skip


def reason_for(name: str, argument: str, label: str) -> str | None:
    """Why a value may be accepted there; None where nobody has said so."""
    for names, arguments, labels, reason in ACCEPTED:
        known = any(fnmatchcase(name, n) for n in names.split())
        known = known and any(fnmatchcase(argument, a) for a in arguments.split())
        if known and any(fnmatchcase(label, one) for one in labels.split("|")):
            return reason
    return None
