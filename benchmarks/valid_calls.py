"""A valid call of everything public: what `bad_input.py` starts from, one wrong argument at a time.

`public()` finds the callables, `CALLS` holds a call for each, written by hand. The two are compared by a test, so that
nothing public can be added without a valid call.
"""

from __future__ import annotations

import ast
import inspect
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import snntorch
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import snn_plasticity as sp
from snn_plasticity import (
    affect,
    agents,
    config,
    dual,
    explain,
    hosts,
    kernels,
    layers,
    loop,
    neuromodulation,
    plasticity,
    plot,
    record,
)
from snn_plasticity.config import affect as affect_config
from snn_plasticity.decay import decay_factor
from snn_plasticity.kernels import EProp, alif_step
from snn_plasticity.layers import Dense, Edges, Geometry
from snn_plasticity.notices import notice
from snn_plasticity.plasticity import inner_step

ROOMS = (
    sp,
    config,
    kernels,
    plasticity,
    neuromodulation,
    affect,
    loop,
    hosts,
    layers,
    dual,
    plot,
    agents,
    record,
    explain,
)
BESIDE = (
    affect_config.AffectiveConfig,
    affect_config.AffectiveFullConfig,
    affect_config.AppraisalConfig,
    affect_config.ModulationConfig,
    decay_factor,
    notice,
)  # documented, and imported from their own files
GYMNASIUM = find_spec("gymnasium") is not None
CHECKED_BEFORE = {
    "connection.Connection.landing_at_once",
    "connection.Connection.take_kernel",
    "plasticity.EligibilityVectors.accumulate_",
    "plasticity.EligibilityVectors.accumulate_apart_",
    "dual.Trainee.optimizer_step",
    *(f"dual.Callback.after_{what}" for what in ("step", "validation", "epoch")),
    *(f"dual.DualNet.forward{way}" for way in ("", "_base", "_motivated")),
    "neuromodulation.Modulator.stepped",
    "plasticity.ThreeFactorUpdate.bounded",
    *(
        f"neuromodulation.NeuromodulatoryGate.{name}"
        for name in ("stepped", "stepped_plain", "remembered", "tensors_of")
    ),
    *(f"neuromodulation.RewardBaseline.{name}" for name in ("difference", "moved", "squashed", "squashed_plain")),
    *(f"layers.{kind.__name__}.{name}" for kind in (Dense, Edges) for name in (*vars(Geometry), "columns", "summed")),
    *(f"layers.Edges.{name}" for name in ("delivered", "ends", "onto", "prepare")),
    *(f"explain.{name}" for name in ("Explanation", "SpikePair", "SpikeTimes", "Eligibility", "OtherCause")),
    *(f"record.Record.{name}" for name in ("after", "before", "felt", "happened", "take")),
    *(() if find_spec("wandb") else ("record.Record.to_wandb",)),
    *(() if GYMNASIUM else ("agents.Environments.make",)),
}  # each the second half of another, which looks at everything; a geometry is asked by traces
B, N_PRE, N_POST, T = 2, 3, 4, 5
CONFIGS = (
    sp.EligibilityConfig,
    sp.NeuromodConfig,
    sp.ThreeFactorConfig,
    sp.PlasticityConfig,
    affect_config.AffectiveConfig,
    affect_config.AppraisalConfig,
    affect_config.ModulationConfig,
    affect_config.AffectiveFullConfig,
    neuromodulation.TDCriticConfig,
)


class Call(NamedTuple):
    """A function, valid arguments by name, and what must stay as it is when a call is refused."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    watched: tuple[Any, ...] = ()


def public() -> dict[str, Any]:
    """Everything public that can be called with an argument, by name."""
    found: dict[str, Any] = {}
    for thing in (*(thing for room in ROOMS for thing in _exported(room)), *BESIDE):
        if not callable(thing) or getattr(thing, "_is_protocol", False):
            continue
        if isinstance(thing, type) and issubclass(thing, BaseException):
            continue
        name = f"{thing.__module__.split('.')[1]}.{thing.__qualname__}"
        for label, function in ((name, thing), *_methods(name, thing)):
            if _arguments(function) and label not in CHECKED_BEFORE:
                found[label] = function
    return found


def _exported(room: Any) -> Iterator[Any]:
    """What a room's `__init__` hands on, or defines itself."""
    tree, names = ast.parse(Path(room.__file__).read_text(encoding="utf-8")), getattr(room, "__all__", ())
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            yield from (getattr(room, a.name) for a in node.names if a.name in names or a.asname == a.name)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield getattr(room, node.name)


def _methods(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(thing, type):
        return
    for label, member in inspect.getmembers(thing):
        function = getattr(member, "__func__", member)
        own = inspect.isfunction(function) and inspect.unwrap(function).__module__.startswith("snn_plasticity")
        if own and (label == "__call__" or not label.startswith("_")):
            yield f"{name}.{label}", member


def _arguments(function: Any) -> list[str]:
    try:
        return [name for name in inspect.signature(function).parameters if name != "self"]
    except ValueError:
        return []


def spikes(*shape: int) -> Tensor:
    """Zeros and ones, the same every time."""
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(0)) < 0.5).float()


def pre() -> Tensor:
    """Presynaptic spikes of one step."""
    return spikes(B, N_PRE)


def post() -> Tensor:
    """Postsynaptic spikes of one step."""
    return torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]])


def windows() -> dict[str, Tensor]:
    """Both sides over several steps."""
    return {"pre": spikes(T, B, N_PRE), "post": spikes(T, B, N_POST)}


def module() -> sp.EligibilityTraceModule:
    """Traces that have seen a step."""
    traces = sp.EligibilityTraceModule(N_PRE, N_POST, sp.EligibilityConfig(kernel="stdp_pair"))
    traces.observe(pre(), post())
    return traces


def connection() -> sp.Connection:
    """A connection that has seen a step."""
    torch.manual_seed(0)
    made = sp.Connection("fc", nn.Linear(N_PRE, N_POST), config=sp.PlasticityConfig.dev())
    made.observe(pre(), post())
    return made


def net() -> nn.Module:
    """A small model of snnTorch."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(N_PRE, N_POST), snntorch.Leaky(beta=0.9, init_hidden=True))


def learner(settings: sp.PlasticityConfig | None = None) -> sp.PlasticityLearner:
    """A learner whose model has run."""
    model = net()
    made = sp.attach(model, settings or sp.PlasticityConfig.dev())
    for _ in range(3):
        model(torch.ones(B, N_PRE))
    made.model = model  # type: ignore[attr-defined]  # kept alive, and watched
    return made


def full_loop() -> sp.AffectiveLoop:
    """A closed loop that has taken a step."""
    made = sp.AffectiveLoop(learner(sp.PlasticityConfig.minimal()))
    made.step(reward=1.0)
    return made


def felt() -> affect.AffectiveState:
    """An affect."""
    signals = sp.InternalSignals(reward_prediction_error=torch.tensor([1.0, -0.5]), novelty_score=0.5)
    return sp.AffectiveEstimator().estimate(signals)


def signals() -> dict[str, Any]:
    """Signals of a gate, in every form."""
    return {"reward": torch.tensor([1.0, -1.0]), "novelty": 0.5}


def levels() -> dict[str, Tensor]:
    """Modulators of a gate."""
    return {name: torch.tensor([0.5, 0.25]) for name in ("DA", "ACh", "NE", "5HT")}


def gate() -> sp.NeuromodulatoryGate:
    """A gate with a memory and a reward baseline."""
    return sp.NeuromodulatoryGate(sp.NeuromodConfig(da_tau=20.0, reward_baseline="running"))


def small() -> nn.Module:
    """A base of the dual trainer."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))


def batch() -> tuple[Tensor, Tensor]:
    """Inputs and classes."""
    return torch.tensor([[0.1, 0.2], [0.3, -0.4]]), torch.tensor([0, 1])


class TwoHeads(nn.Module):
    """One layer that serves a small and a large net."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head, self.more = nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(3, 2)

    def forward_base(self, x: Tensor) -> Tensor:
        """By the first head."""
        return self.head(self.trunk(x))

    def forward_motivated(self, x: Tensor) -> Tensor:
        """By both."""
        return self.more(self.trunk(x)) + self.trunk(x)[:, :2]


def trainee(model: nn.Module | None = None) -> dual.Trainee:
    """A net that learns by gradients."""
    model = model or small()
    return dual.Trainee(model, torch.optim.SGD(model.parameters(), lr=0.1))


def pair() -> dual.NetPair:
    """Two nets, one inside the other."""
    base = small()
    large, weights = dual.widen(base, 2)
    return dual.NetPair(trainee(base), trainee(large), weights)


def trainer() -> dual.DualModelTrainer:
    """A trainer that has taken a step."""
    nets = pair()
    made = dual.DualModelTrainer(nets.base, nets.motivated, nets.weights, dual.Always())
    made.step(batch())
    return made


def plastic() -> dual.PlasticTrainee:
    """A net that learns by plasticity."""
    made = learner()
    return dual.PlasticTrainee(made.model, made, teach)  # type: ignore[attr-defined]


class Written:
    """What takes scalars and histograms, and keeps none."""

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """One number."""

    def add_histogram(self, tag: str, values: Tensor, step: int) -> None:
        """Many."""

    def log(self, values: dict[str, Any]) -> None:
        """Some by name."""


def recorded() -> record.Record:
    """What was kept of a learner that has taken a step."""
    made = learner()
    kept = made.record(steps=100)
    made.model(torch.ones(B, N_PRE))  # type: ignore[attr-defined]
    made.step(1.0)
    return kept


def explanation() -> explain.Explanation:
    """Why a weight of it moved."""
    kept = recorded()
    return explain.explain(kept, "0", *kept.synapses["0"][0])


def teach(model: nn.Module, learner: sp.PlasticityLearner, batch: Any) -> float:
    """Run and reward."""
    model(batch[0])
    learner.step(1.0)
    return 0.5


def history() -> dual.History:
    """Losses, decisions and signals of three steps."""
    return dual.History([3.0, 2.0, 1.0], [False, True, False], {"novelty": [0.1, 0.2, 0.9, 0.8]})


def report() -> dual.DualReport:
    """A run with a validation."""
    made = trainer()
    made.report.curve.append(made.validate([batch()]))
    return made.report


def axes() -> Any:
    """Axes of a figure that no window shows."""
    return Figure().subplots()


def _bound(make: Callable[[], Any], method: str, arguments: Callable[[], dict[str, Any]]) -> Callable[[], Call]:
    """A method of an object that is made anew for every call, and watched."""

    def build() -> Call:
        owner = make()
        return Call(getattr(owner, method), arguments(), (owner,))

    return build


def _recordings() -> Iterator[tuple[str, Callable[[], Call]]]:
    asked = {"layers": ["0"], "steps": 100, "every": 1, "samples": [0], "synapses": {"0": [(0, 1)]}, "weights": 0}
    yield "learner.PlasticityLearner.record", _bound(learner, "record", lambda: dict(asked))
    for name in (
        "anchors", "change_norm", "changes", "chosen_weights", "eligibility", "events", "factor", "known_from",
        "post_side", "spikes", "weights",
    ):  # fmt: skip
        more = {"since": 0, "until": 1} if name == "eligibility" else {}
        yield f"record.Record.{name}", _bound(recorded, name, lambda more=more: {"name": "0", **more})
    yield "record.Record.to_tensorboard", _bound(recorded, "to_tensorboard", lambda: {"writer": Written()})
    if find_spec("wandb") is not None:
        yield "record.Record.to_wandb", _bound(recorded, "to_wandb", lambda: {"run": Written()})
    settings = recorded().settings
    yield "record.Record", _free(record.Record, lambda: {"learner": learner(), "settings": settings})
    sides, series = recorded().spikes("0"), recorded().changes("0")
    for made in (sides, series, recorded().events("0")[0], record.LayerEvent(0, 1, "reset"), record.Anchor(0, None)):
        kind = type(made)
        yield f"record.{kind.__name__}", _free(kind, lambda m=made: m._asdict())


def _explanations() -> Iterator[tuple[str, Callable[[], Call]]]:
    kept, asked = recorded(), {"layer": "0", "since": 0, "until": 1}
    index = kept.synapses["0"][0]
    of_record = lambda record, layer, since=None, until=None: explain.explain(
        record, layer, *index, since=since, until=until
    )
    yield "explain.explain", _free(of_record, lambda: {"record": kept, **asked})
    runs = learner()
    runs.record(synapses={"0": [index]})
    runs.model(torch.ones(B, N_PRE))  # type: ignore[attr-defined]
    runs.step(1.0)
    of_learner = lambda layer, since=None, until=None: runs.explain(layer, *index, since=since, until=until)
    yield "learner.PlasticityLearner.explain", _free(of_learner, lambda: dict(asked))
    yield "explain.Explanation.largest", _bound(explanation, "largest", lambda: {"count": 3})


def _free(function: Callable[..., Any], arguments: Callable[[], dict[str, Any]]) -> Callable[[], Call]:
    """A function, a class or a class method."""
    return lambda: Call(function, arguments())


def _folder() -> Path:
    return Path(tempfile.gettempdir())


def _configs() -> Iterator[tuple[str, Callable[[], Call]]]:
    for kind in CONFIGS:
        name = f"{kind.__module__.split('.')[1]}.{kind.__name__}"
        made = kind(n_features=3) if kind is neuromodulation.TDCriticConfig else kind()
        assert is_dataclass(made)
        values = {f.name: getattr(made, f.name) for f in fields(made)}
        yield name, _free(kind, lambda v=values: dict(v))
        yield f"{name}.from_dict", _free(kind.from_dict, lambda m=made: {"values": m.to_dict()})
        yield f"{name}.from_json", _free(kind.from_json, lambda m=made: {"source": m.to_json()})
        yield f"{name}.to_json", _free(made.to_json, lambda: {"path": _folder() / "config.json"})
    presets: dict[str, dict[str, Any]] = {
        "reward_readout": {"readout": "fc2", "lr": 0.02, "tau_e": 200.0},
        "delayed_reward": {"readout": "fc2", "delay": 50, "lr": 0.02},
        "reward_all_layers": {"lr": 1.0, "mode": "hybrid"},
        "unsupervised": {"layers": "fc", "lr": 0.03},
        "eprop": {"lr": 0.01, "tau_e": 20.0, "mode": "online", "feedback": "random", "firing_rate": (0.1, 1.0)},
        "online": {"lr": 0.01, "carry": True, "mode": "online", "feedback": "random", "firing_rate": (0.1, 1.0)},
    }
    for preset, given in presets.items():
        make = getattr(sp.PlasticityConfig, preset)
        yield f"config.PlasticityConfig.{preset}", _free(make, lambda g=given: dict(g))


def _kernels() -> Iterator[tuple[str, Callable[[], Call]]]:
    made: dict[str, Any] = {
        "kernels.Rate": kernels.Rate(),
        "kernels.PairSTDP": kernels.PairSTDP(),
        "kernels.SymmetricSTDP": kernels.SymmetricSTDP(),
        "kernels.TripletSTDP": kernels.TripletSTDP(),
        "kernels.Window": kernels.Window(lambda gap: 1.0 - abs(gap), span=2.0),
        "kernels.EProp": EProp(response=((1.0, 0.9), (-0.5, 0.8))),
        "kernels.OnlineGradient": kernels.OnlineGradient(response=((1.5, 0.9), (-0.5, 0.8))),
    }
    for name, kernel in made.items():
        if fields(kernel):
            yield name, _free(type(kernel), lambda k=kernel: {f.name: getattr(k, f.name) for f in fields(k)})
        yield f"{name}.init", _bound(lambda k=kernel: k, "init", lambda: {"pre": pre(), "post": post()})
        step = lambda k=kernel: {"pre": pre(), "post": post(), "state": k.init(pre(), post()), "dt": 1.0}
        yield f"{name}.step", _bound(lambda k=kernel: k, "step", step)
        window = lambda k=kernel: {**windows(), "state": k.init(pre(), post()), "dt": 1.0}
        yield f"{name}.window", _bound(lambda k=kernel: k, "window", window)
        if hasattr(kernel, "check_step"):
            yield (
                f"{name}.check_step",
                _bound(lambda k=kernel: k, "check_step", lambda: {"pre": pre(), "post": post(), "dt": 1.0}),
            )
        if hasattr(kernel, "balance"):
            rates = {"dt": 1.0, "pre_rate": 0.1, "post_rate": 0.2}
            yield f"{name}.balance", _bound(lambda k=kernel: k, "balance", lambda r=rates: dict(r))


def _plasticity() -> Iterator[tuple[str, Callable[[], Call]]]:
    room, sides = "plasticity.", lambda: {"pre": pre(), "post": post(), "dt": 1.0}
    rule = plasticity.EligibilityRule.of(Dense(N_PRE, N_POST), sp.EligibilityConfig(kernel="stdp_pair"))
    state = lambda: {**sides(), "state": rule.init(pre(), post())}
    trace = {"tau_e": 20.0, "clamp_range": (-5.0, 5.0), "convention": sp.Convention()}
    e = lambda: torch.ones(B, N_POST, N_PRE)
    weight = lambda: torch.full((N_POST, N_PRE), 0.5)
    change = lambda: {"weight": weight(), "delta": torch.full((N_POST, N_PRE), 0.1)}
    vectors = lambda: plasticity.EligibilityVectors(Dense(N_PRE, N_POST))
    rows = lambda: {"pre": pre(), "post": torch.full((B, 2, 2, N_POST), 0.5)}
    epsilon = lambda: {**rows(), "state": torch.zeros(B, 1, N_POST, 1, N_PRE), "dt": 1.0}
    yield (
        f"{room}EligibilityVectors",
        _free(plasticity.EligibilityVectors, lambda: {"geometry": Dense(N_PRE, N_POST), "of": "membrane"}),
    )
    yield f"{room}EligibilityVectors.laid_out", _bound(vectors, "laid_out", lambda: {"geometry": Dense(N_PRE, N_POST)})
    yield f"{room}EligibilityVectors.init", _bound(vectors, "init", rows)
    yield f"{room}EligibilityVectors.step", _bound(vectors, "step", epsilon)
    yield f"{room}EligibilityVectors.check_step", _bound(vectors, "check_step", lambda: {**rows(), "dt": 1.0})
    yield (
        f"{room}EligibilityTraceModule",
        _free(
            sp.EligibilityTraceModule,
            lambda: {"n_pre": N_PRE, "n_post": N_POST, "config": sp.EligibilityConfig(), "geometry": None,
                     "connectivity": torch.ones(N_POST, N_PRE, dtype=torch.bool), "path": "auto"},
        ),
    )  # fmt: skip
    layer = lambda: {"layer": nn.Linear(N_PRE, N_POST), "config": sp.EligibilityConfig(), "path": "auto"}
    yield f"{room}EligibilityTraceModule.for_layer", _free(sp.EligibilityTraceModule.for_layer, layer)
    of_module = {
        "observe": sides,
        "update": sides,
        "observe_window": lambda: {**windows(), "dt": 1.0},
        "check_sides": lambda: {**windows(), "dt": 1.0, "window": True, "anew": False},
        "update_window": lambda: {**windows(), "dt": 1.0},
        "modulate_window": lambda: {**windows(), "mod": torch.ones(T, B), "dt": 1.0, "reduction": "mean"},
        "change": lambda: {"mod": torch.ones(B), "reduction": "mean"},
        "queue": lambda: {"mod": torch.ones(B)},
        "modulator": lambda: {"mod": torch.ones(B)},
        "take_units": lambda: {"source": module(), "pre": torch.arange(N_PRE), "post": torch.arange(N_POST)},
        "apply_update": lambda: {"weights": weight(), "mod_signal": 1.0, "lr": 0.1, "clamp": (-1.0, 1.0)},
        "reset": lambda: {"batch_size": B, "device": "cpu", "mask": None},
        "set_extra_state": lambda: {"state": module().get_extra_state()},
        "mark": lambda: {"safe": True},
        "read_state": lambda: {"state": module().get_extra_state()},
        "check_mask": lambda: {"mask": torch.tensor([True, False])},
    }
    for name, arguments in of_module.items():
        yield f"{room}EligibilityTraceModule.{name}", _bound(module, name, arguments)

    def queued() -> sp.EligibilityTraceModule:
        made = module()
        made.queue(1.0)
        return made

    yield f"{room}EligibilityTraceModule.flush", _bound(queued, "flush", lambda: {"reduction": "mean"})

    def marked() -> Call:
        made = module()
        return Call(made.go_back, {"mark": made.mark(safe=True)}, (made,))

    yield f"{room}EligibilityTraceModule.go_back", marked
    yield (
        f"{room}EligibilityRule",
        _free(
            plasticity.EligibilityRule,
            lambda: {"geometry": Dense(N_PRE, N_POST), "kernel": kernels.Rate(), "trace": plasticity.Accumulating()},
        ),
    )
    of = lambda: {"geometry": Dense(N_PRE, N_POST), "config": sp.EligibilityConfig()}
    yield f"{room}EligibilityRule.of", _free(plasticity.EligibilityRule.of, of)
    yield f"{room}EligibilityRule.init", _bound(lambda: rule, "init", lambda: {"pre": pre(), "post": post()})
    like = lambda: {"like": (pre(), post())}
    yield f"{room}EligibilityRule.batch_axes", _bound(lambda: rule, "batch_axes", like)
    yield f"{room}EligibilityRule.step", _bound(lambda: rule, "step", state)
    yield f"{room}EligibilityRule.step_", _bound(lambda: rule, "step_", state)
    for kind, more in (
        (plasticity.Accumulating, {}),
        (plasticity.Replacing, {}),
        (plasticity.Dutch, {"alpha": 0.1, "scope": "all"}),
    ):
        name = f"{room}{kind.__name__}"
        yield name, _free(kind, lambda m=more: {**trace, **m})
        yield f"{name}.join", _bound(kind, "join", lambda: {"kept": e(), "f": e()})
        yield f"{name}.retained", _bound(kind, "retained", lambda: {"dt": 1.0})
    yield f"{room}HardBounds", _free(plasticity.HardBounds, lambda: {"low": 0.0, "high": 1.0})
    yield f"{room}HardBounds.__call__", _bound(lambda: plasticity.HardBounds(0.0, 1.0), "__call__", change)
    soft = {"low": 0.0, "high": 1.0, "mu_plus": 1.0, "mu_minus": 1.0}
    yield f"{room}KeptNorm.__call__", _bound(plasticity.KeptNorm, "__call__", change)
    yield f"{room}KeptSums.__call__", _bound(plasticity.KeptSums, "__call__", change)
    yield f"{room}SoftBounds", _free(plasticity.SoftBounds, lambda: dict(soft))
    yield f"{room}SoftBounds.__call__", _bound(lambda: plasticity.SoftBounds(**soft), "__call__", change)
    yield f"{room}free", _free(plasticity.free, change)
    yield "layers.geometry_of", _free(layers.geometry_of, lambda: {"layer": nn.Linear(N_PRE, N_POST)})
    meet = lambda: {"mod": torch.ones(B), "e": e(), "reduction": "mean"}
    yield f"{room}modulate", _free(plasticity.modulate, meet)
    update = lambda: plasticity.ThreeFactorUpdate(sp.ThreeFactorConfig(weight_bounds=(0.0, 1.0)))
    settings = lambda: {"config": sp.ThreeFactorConfig(), "reduction": "mean"}
    yield f"{room}ThreeFactorUpdate", _free(plasticity.ThreeFactorUpdate, settings)
    fixed = lambda: {**change(), "fixed": torch.zeros(N_POST, N_PRE, dtype=torch.bool)}
    yield f"{room}ThreeFactorUpdate.landing", _bound(update, "landing", fixed)
    for name in ("add_grad_", "apply_", "loss"):
        yield f"{room}ThreeFactorUpdate.{name}", _bound(update, name, change)
    for name in ("clamp", "clamp_"):
        yield f"{room}ThreeFactorUpdate.{name}", _bound(update, name, lambda: {"delta": weight()})
    yield (
        f"{room}ThreeFactorUpdate.delta",
        _bound(update, "delta", lambda: {"mod": torch.ones(B), "e": e(), "lr": 0.1}),
    )
    adaptive = lambda: {"psi": post(), "x": pre(), "epsilon": e(), "beta": 0.5, "rho": 0.9}
    yield "kernels.alif_step", _free(alif_step, adaptive)
    for shape in (kernels.piecewise_linear, kernels.exponential, kernels.fast_sigmoid, kernels.arctan):
        v = lambda: {"v": post(), "threshold": 1.0, "height": 0.3, "width": 1.0, "refractory": post() > 0.5}
        yield f"kernels.{shape.__name__}", _free(shape, v)
    signal = lambda: torch.ones(T, B, N_POST)
    yield "kernels.future_signal", _free(kernels.future_signal, lambda: {"signal": signal(), "kappa": 0.9})
    rate = lambda: {"spikes": signal(), "target": 0.1, "strength": 1.0}
    yield "kernels.firing_rate_signal", _free(kernels.firing_rate_signal, rate)
    adapting = lambda: {"psi": signal(), "signal": signal(), "beta": 0.5, "rho": 0.9}
    yield "kernels.adaptive_post", _free(kernels.adaptive_post, adapting)
    yield "kernels.post_side_of", _free(kernels.post_side_of, lambda: {"kernel": EProp(), "given": "surrogate"})
    inner = lambda: {
        "weight": weight(),
        "gradient": weight(),
        "mod": torch.ones(B),
        "e": e(),
        "update": update(),
        "lr": 0.1,
    }
    yield f"{room}inner_step", _free(inner_step, inner)
    yield "layers.Dense", _free(Dense, lambda: {"n_pre": N_PRE, "n_post": N_POST})
    ends = lambda: {"source": torch.tensor([0, 2]), "target": torch.tensor([1, 3]), "n_pre": N_PRE, "n_post": N_POST}
    yield "layers.Edges", _free(Edges, ends)
    wired = lambda: {"connectivity": torch.tensor([[0, 2], [1, 3]]), "n_pre": N_PRE, "n_post": N_POST}
    yield "layers.Edges.of", _free(Edges.of, wired)
    yield "decay.decay_factor", _free(decay_factor, lambda: {"tau": 20.0, "dt": 1.0, "mode": "exponential"})
    yield "conventions.Convention", _free(sp.Convention, lambda: {f.name: f.default for f in fields(sp.Convention)})
    yield "conventions.Convention.from_dict", _free(sp.Convention.from_dict, lambda: {"values": {"lag": 1}})
    yield "conventions.Convention.preset", _free(sp.Convention.preset, lambda: {"name": "nest"})
    yield "notices.notice", _free(notice, lambda: {"message": "nothing was learnt", "stacklevel": 2})


def edges() -> sp.SparseLinear:
    """A layer of edges with a spike on its way."""
    torch.manual_seed(0)
    made = sp.SparseLinear(N_PRE, N_POST, torch.tensor([[0, 2, 2], [1, 3, 3]]), delays=torch.tensor([0, 1, 2]))
    made(pre())
    return made


def _feedback() -> Iterator[tuple[str, Callable[[], Call]]]:
    drawn: dict[Any, dict[str, Any]] = {
        sp.SymmetricFeedback: {},
        sp.RandomFeedback: {"seed": 1, "scale": 0.5},
        sp.AdaptiveFeedback: {"seed": 1, "rate": 1.0, "scale": 0.5},
        sp.BroadcastFeedback: {},
    }
    weights = lambda: torch.full((N_POST, N_PRE), 0.5)
    for kind, settings in drawn.items():
        name, made = f"feedback.{kind.__name__}", kind(**settings)
        if settings:
            yield name, _free(kind, lambda s=settings: dict(s))
        yield f"{name}.init", _bound(lambda m=made: m, "init", lambda: {"readout": weights()})
        step = lambda m=made: {"error": post(), "state": m.init(weights()), "readout": weights()}
        yield f"{name}.step", _bound(lambda m=made: m, "step", step)
    yield "feedback.FeedbackState", _free(sp.FeedbackState, lambda: {"weights": weights(), "readout": weights()})
    yield "feedback.feedback_of", _free(sp.feedback_of, lambda: {"feedback": "random", "seed": 1})


def actor() -> sp.Actor:
    """An actor whose critic and readout have seen something."""
    critic = sp.TDCritic(sp.TDCriticConfig(n_features=3))
    made = sp.Actor(learner(), promise=critic, trace=0.9)
    made.act(post(), features=torch.ones(B, 3))
    return made


def _actor() -> Iterator[tuple[str, Callable[[], Call]]]:
    settings = lambda: {
        "learner": learner(), "readout": "0", "n_actions": 2, "temperature": 2.0, "reads": "spikes",
        "feedback": "random", "promise": 0.5, "trace": 0.5, "seed": 1,
    }  # fmt: skip
    yield "actor.Actor", _free(sp.Actor, settings)
    given = lambda: {"preferences": post(), "features": torch.ones(B, 3), "greedy": False}
    yield "actor.Actor.act", _bound(actor, "act", given)
    told = lambda: {
        "reward": torch.ones(B), "promise": None, "next_features": torch.ones(B, 3),
        "terminated": torch.tensor([True, False]), "truncated": False, "valid": torch.tensor([True, False]),
    }  # fmt: skip
    yield "actor.Actor.learn", _bound(actor, "learn", told)
    yield "actor.Actor.load_state_dict", _bound(actor, "load_state_dict", lambda: {"saved": actor().state_dict()})
    yield "actor.Actor.reset", _bound(actor, "reset", lambda: {"mask": torch.tensor([True, False])})


class Worlds:
    """Vectorised environments in which nothing happens."""

    num_envs, metadata = B, {"autoreset_mode": "NextStep"}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        """The first observation."""
        return np.zeros((B, 3)), {}

    def step(self, action: Any) -> Any:
        """The next one."""
        return np.zeros((B, 3)), np.ones(B), np.zeros(B, bool), np.zeros(B, bool), {}


def _agents() -> Iterator[tuple[str, Callable[[], Call]]]:
    room = "agents.Environments"
    yield room, _free(agents.Environments, lambda: {"environments": Worlds(), "seed": 1, "device": "cpu"})
    worlds = lambda: agents.Environments(Worlds())
    yield f"{room}.step", _bound(worlds, "step", lambda: {"action": torch.tensor([0, 1])})
    named = {"name": "CartPole-v1", "count": 2, "seed": 1, "mode": "SameStep"}
    if GYMNASIUM:
        yield f"{room}.make", _free(agents.Environments.make, lambda: dict(named))
    yield "agents.Transition", _free(agents.Transition, lambda: worlds().step(torch.tensor([0, 1]))._asdict())


def _layers() -> Iterator[tuple[str, Callable[[], Call]]]:
    room = "layers."
    parts = lambda: {
        "in_features": N_PRE, "out_features": N_POST, "connectivity": torch.tensor([[0, 2, 2], [1, 3, 3]]),
        "delays": torch.tensor([0, 1, 2]), "bias": True, "samples": B, "device": "cpu", "dtype": torch.float32,
    }  # fmt: skip
    yield f"{room}SparseLinear", _free(sp.SparseLinear, parts)
    pruned = lambda: {"linear": nn.Linear(N_PRE, N_POST), "mask": torch.ones(N_POST, N_PRE, dtype=torch.bool)}
    yield f"{room}SparseLinear.from_linear", _free(sp.SparseLinear.from_linear, pruned)
    more = lambda: {
        "connectivity": torch.tensor([[1, 1], [0, 3]]),
        "weight": torch.ones(2),
        "delays": torch.tensor([0, 1]),
    }
    yield f"{room}SparseLinear.add_edges", _bound(edges, "add_edges", more)
    yield f"{room}SparseLinear.remove_edges", _bound(edges, "remove_edges", lambda: {"edges": torch.tensor([1])})
    yield f"{room}SparseLinear.forward", _bound(edges, "forward", lambda: {"input": pre()})


class Adapter(hosts.HostAdapter):
    """A host without neurons."""

    def kind_of(self, module: nn.Module) -> None:
        """None is."""


def _learning() -> Iterator[tuple[str, Callable[[], Call]]]:
    def attached() -> Call:
        model = net()
        arguments = {
            "model": model, "config": sp.PlasticityConfig.dev(), "layers": {"0": sp.PlasticityConfig()},
            "pairs": {"0": "1"}, "masks": {"0": torch.ones(N_POST, N_PRE)},
            "sample": torch.ones(B, N_PRE), "gate": sp.NeuromodulatoryGate(), "pre": "raw",
            "dt": 1.0, "strict": True, "path": "auto", "reduce": lambda delta: delta,
        }  # fmt: skip
        return Call(sp.attach, arguments, (model,))

    def scaled() -> Call:
        model = net()
        arguments = {
            "model": model, "batch": spikes(20, B, N_PRE), "rate": 0.06,
            "run": lambda model, steps: [model(each) for each in steps], "tolerance": 0.5,
        }  # fmt: skip
        return Call(sp.scale_to_rate, arguments, (model,))

    yield "hosts.attach", attached
    yield "hosts.scale_to_rate", scaled
    yield "hosts.LayerScale", _free(hosts.LayerScale, lambda: {"scale": 2.0, "rate_before": 0.0, "rate": 0.1})
    yield "hosts.register_host", _free(hosts.register_host, lambda: {"adapter": Adapter()})
    kind = lambda: {
        "time_major": False, "starts": lambda call: False, "refusal": "no spikes", "takes_current": True, "dt": 1.0,
        "inner": ("recurrent",), "weights": (hosts.OwnWeight("w", lambda call, time_major: call.current),),
        "inside": "cell", "integrates": False,
    }  # fmt: skip
    yield "hosts.NeuronKind", _free(hosts.NeuronKind, kind)
    yield "hosts.NeuronKind.over_time", _free(hosts.NeuronKind().over_time, lambda: {"inside": "cell"})
    yield (
        "hosts.NeuronKind.starts",
        _free(hosts.NeuronKind().starts, lambda: {"call": hosts.NeuronCall(post(), None, post())}),
    )
    own = lambda: {"attribute": "w", "pre": lambda call, time_major: call.current, "autapses": True, "recurrent": True}
    yield "hosts.OwnWeight", _free(hosts.OwnWeight, own)
    call = lambda: {"current": post(), "state": None, "spikes": post()}
    yield "hosts.NeuronCall", _free(hosts.NeuronCall, call)
    parts = lambda: {
        "name": "fc", "module": nn.Linear(N_PRE, N_POST), "attribute": "weight", "config": sp.PlasticityConfig(),
        "geometry": Dense(N_PRE, N_POST), "mask": torch.ones(N_POST, N_PRE), "strict": True, "path": "auto",
    }  # fmt: skip
    yield "connection.Connection", _free(sp.Connection, parts)
    of_connection = {
        "weight_change": lambda: {"mod": torch.ones(B), "lr_scale": 1.0},
        "check_weight": lambda: {"around": list},
        "landing": lambda: {"delta": torch.zeros(N_POST, N_PRE)},
        "load_state_dict": lambda: {"state": connection().state_dict()},
        "mark": lambda: {"safe": True},
        "observe": lambda: {"pre": pre(), "post": post()},
        "observe_sequence": lambda: {**windows(), "new_sequence": True},
        "check_sides": lambda: {"pre": pre(), "post": post(), "window": False, "new_sequence": True},
        "reset": lambda: {"mask": torch.tensor([True, False])},
        "check_reset": lambda: {"mask": torch.tensor([True, False]), "traces": True},
        "read_state": lambda: {"state": connection().state_dict()},
    }
    for name, arguments in of_connection.items():
        yield f"connection.Connection.{name}", _bound(connection, name, arguments)

    def marked() -> Call:
        made = connection()
        return Call(made.go_back, {"mark": made.mark(safe=True)}, (made,))

    yield "connection.Connection.go_back", marked
    whole = lambda: {"connections": [connection()], "gate": gate(), "hooks": (), "reduce": lambda d: d}
    yield "learner.PlasticityLearner", _free(sp.PlasticityLearner, whole)

    def stepped() -> Call:
        made = learner()
        arguments = {"modulator": None, "layers": ["0"], "return_details": True, **signals()}
        return Call(made.step, arguments, (made, made.model))  # type: ignore[attr-defined]

    yield "learner.PlasticityLearner.step", stepped

    def followed() -> Call:
        made = learner(sp.PlasticityConfig.online())
        loss = made.model(torch.ones(B, N_PRE)).sum()  # type: ignore[attr-defined]
        arguments = {"loss": loss, "layers": ["0"], "return_details": True}
        return Call(made.step, arguments, (made, made.model))  # type: ignore[attr-defined]

    yield "learner.PlasticityLearner.step of a loss", followed

    def aimed(name: str) -> Call:
        made = learner(sp.PlasticityConfig.online())
        output = made.model(torch.ones(B, N_PRE))  # type: ignore[attr-defined]
        arguments = {name: torch.zeros_like(output), "reads": "spikes", "layers": ["0"], "return_details": True}
        return Call(made.step, arguments, (made, made.model))  # type: ignore[attr-defined]

    for name in ("error", "target"):
        yield f"learner.PlasticityLearner.step of its {name}", partial(aimed, name)
    with_loss = sp.PlasticityConfig(three_factor=sp.ThreeFactorConfig(mode="auxiliary_loss"))

    def lost() -> Call:
        made = learner(with_loss)
        return Call(made.loss, {"modulator": None, "layers": ["0"], **signals()}, (made, made.model))  # type: ignore[attr-defined]

    yield "learner.PlasticityLearner.loss", lost
    looping = lambda: sp.AffectiveLoop(learner(with_loss))
    yield "loop.AffectiveLoop.loss", _bound(looping, "loss", lambda: {"layers": None, **signals()})
    of_learner = {
        "check": lambda: {"connections": None},
        "load_state_dict": lambda: {"state": learner().state_dict()},
        "read_state": lambda: {"state": learner().state_dict()},
        "reset": lambda: {"mask": torch.tensor([True, False]), "scope": "episode"},
    }
    for name, arguments in of_learner.items():
        yield f"learner.PlasticityLearner.{name}", _bound(learner, name, arguments)
    yield from _recordings()
    yield from _explanations()
    state = {"affect": None, "gate": None, "modulators": {}, "plasticity": torch.zeros(B)}
    yield "loop.LoopState", _free(sp.LoopState, lambda: dict(state))
    lived = lambda: sp.AffectiveLoop().init(B)
    yield "loop.LoopState.to", _bound(lived, "to", lambda: {"device": "cpu", "dtype": torch.float64})
    yield "loop.LoopState.from_dict", _free(sp.LoopState.from_dict, lambda: {"saved": lived().to_dict()})
    yield (
        "loop.AffectiveLoop",
        _free(
            sp.AffectiveLoop,
            lambda: {"learner": None, "config": affect_config.AffectiveFullConfig(),
                     "gate": sp.NeuromodulatoryGate(), "appraisal": None, "shared": False,
                     "through_time": False},
        ),
    )  # fmt: skip
    of_loop = {
        "advance": lambda: {"events": signals(), "state": full_loop().init(B)},
        "attention": lambda: {"logits": torch.ones(B, 3)},
        "init": lambda: {"batch_size": B, "device": "cpu", "dtype": torch.float32},
        "learning_rate": lambda: {"base": 0.1},
        "load_state_dict": lambda: {"saved": full_loop().state_dict()},
        "read_state": lambda: {"saved": full_loop().state_dict()},
        "priority": lambda: {"base": 0.1},
        "reset": lambda: {"mask": torch.tensor([True, False]), "scope": "episode"},
        "risk": lambda: {"base": torch.ones(B)},
        "step": lambda: {"layers": None, "return_details": False, **signals()},
        "temperature": lambda: {"base": 1.0},
    }
    for name, arguments in of_loop.items():
        yield f"loop.AffectiveLoop.{name}", _bound(full_loop, name, arguments)


def _gate() -> Iterator[tuple[str, Callable[[], Call]]]:
    room, B1 = "neuromodulation.", lambda: torch.tensor([0.5, 0.25])
    sizes = lambda: {"batch_size": B, "device": "cpu", "dtype": torch.float32}
    yield f"{room}NeuromodulatoryGate", _free(sp.NeuromodulatoryGate, lambda: {"config": sp.NeuromodConfig()})
    of_gate = {
        "init": sizes,
        "forward": lambda: {"signals": signals(), "state": gate().init(B)},
        "step": lambda: {"signals": signals(), "state": gate().init(B)},
        "update_state": lambda: {"reward": 1.0, "novelty": 0.5, "urgency": 0.1, "patience": 0.2,
                                 "state": gate().init(B), "context": 0, "batch_size": B},
    }  # fmt: skip
    for name, arguments in of_gate.items():
        yield f"{room}NeuromodulatoryGate.{name}", _bound(gate, name, arguments)
    baseline = lambda: sp.RewardBaseline("context", n_contexts=3)
    yield (
        f"{room}RewardBaseline",
        _free(
            sp.RewardBaseline, lambda: {"kind": "context", "tau": 10.0, "n_contexts": 2, "scope": "sample", "dt": 1.0}
        ),
    )
    yield f"{room}RewardBaseline.init", _bound(baseline, "init", sizes)
    yield f"{room}RewardBaseline.of", _free(sp.RewardBaseline.of, lambda: {"config": sp.NeuromodConfig()})
    yield f"{room}RewardBaseline.state_shape", _bound(baseline, "state_shape", lambda: {"batch_size": B})
    step = lambda: {"reward": B1(), "context": 1, "state": baseline().init(B)}
    yield f"{room}RewardBaseline.step", _bound(baseline, "step", step)
    yield f"{room}RewardBaseline.error", _bound(baseline, "error", step)
    squashed = lambda: {
        **step(),
        "pace": baseline().init_pace(B) if hasattr(baseline(), "init_pace") else torch.zeros(B, 3, 3),
        "scale": 1.0,
    }
    if hasattr(sp.RewardBaseline, "squashed_step"):
        yield f"{room}RewardBaseline.squashed_step", _bound(baseline, "squashed_step", squashed)
    loads = lambda: {"state_dict": gate().state_dict(), "strict": True, "assign": False}
    yield f"{room}NeuromodulatoryGate.load_state_dict", _bound(gate, "load_state_dict", loads)
    both = lambda: {"state": gate().init(B), "fresh": gate().init(3)}
    yield f"{room}for_batch", _free(neuromodulation.for_batch, both)
    settings = neuromodulation.TDCriticConfig(n_features=3)
    critic = lambda: sp.TDCritic(settings)
    yield f"{room}TDCritic", _free(sp.TDCritic, lambda: {"config": settings})
    yield f"{room}TDCritic.init", _bound(critic, "init", sizes)
    seen = lambda: {"features": pre(), "state": critic().init(B)}
    yield f"{room}TDCritic.value", _bound(critic, "value", seen)
    held = lambda: {"state": critic().init(B)}
    yield f"{room}TDCritic.state_dict", _bound(critic, "state_dict", held)
    saved = lambda: {"saved": critic().state_dict(critic().init(B))}
    yield f"{room}TDCritic.load_state", _bound(critic, "load_state", saved)
    other = lambda: {**held(), "batch_size": 3}
    yield f"{room}TDCritic.for_batch", _bound(critic, "for_batch", other)
    told = lambda: {**seen(), "reward": 1.0, "next_features": pre(), "terminated": False, "truncated": False}
    yield f"{room}TDCritic.step", _bound(critic, "step", told)
    yield f"{room}CriticState", _free(neuromodulation.CriticState, lambda: critic().init(B)._asdict())
    attention = lambda: {"logits": torch.ones(B, 3), "modulators": levels(), "gain": 1.0}
    yield f"{room}gate_attention", _free(sp.gate_attention, attention)
    confidence = lambda: {"confidence": B1(), "modulators": levels(), "gain": 1.0}
    yield f"{room}gate_confidence", _free(sp.gate_confidence, confidence)
    yield f"{room}ModulatorMLP", _free(neuromodulation.ModulatorMLP, lambda: {"hidden_dim": 4, "seed": 0})
    yield (
        f"{room}ModulatorMLP.forward",
        _bound(neuromodulation.ModulatorMLP, "forward", lambda: {"modulators": levels()}),
    )
    weights = lambda: {"modulators": levels(), "weights": (1.0, 0.5, 0.25, 0.25)}
    yield f"{room}weighted_sum", _free(neuromodulation.weighted_sum, weights)
    yield f"{room}gated_product", _free(neuromodulation.gated_product, weights)
    one = {"name": "DA", "source": "reward", "scale": 1.0, "tau": 10.0, "baseline": 0.0, "dt": 1.0}
    yield f"{room}Modulator", _free(neuromodulation.Modulator, lambda: dict(one))
    stepped = lambda: {"signal": B1(), "level": B1()}
    yield f"{room}Modulator.step", _bound(lambda: neuromodulation.Modulator(**one), "step", stepped)
    yield (
        f"{room}accumulate",
        _free(neuromodulation.accumulate, lambda: {"level": B1(), "drive": B1(), "tau": 10.0, "dt": 1.0, "low": 0.0}),
    )
    yield f"{room}dopamine", _free(neuromodulation.dopamine, lambda: {"reward": B1(), "baseline": 0.5, "scale": 1.0})
    for name, signal in (("acetylcholine", "novelty"), ("norepinephrine", "urgency"), ("serotonin", "patience")):
        yield f"{room}{name}", _free(getattr(neuromodulation, name), lambda s=signal: {s: B1(), "scale": 1.0})
    yield (
        "signals.read_signals",
        _free(
            neuromodulation.read_signals,
            lambda: {"signals": signals(), "batch_size": B, "device": "cpu", "dtype": torch.float32},
        ),
    )
    yield f"{room}NeuromodState", _free(sp.NeuromodState, lambda: gate().init(B)._asdict())
    moved = lambda: {"device": "cpu", "dtype": torch.float64}
    yield f"{room}NeuromodState.to", _bound(lambda: gate().init(B), "to", moved)
    mask = lambda: {"state": gate().init(B), "mask": torch.tensor([True, False]), "keep_baseline": False}
    yield f"{room}reset_samples", _free(neuromodulation.reset_samples, mask)


def _affect() -> Iterator[tuple[str, Callable[[], Call]]]:
    room, B1 = "affect.", lambda: torch.tensor([0.5, -0.25])
    told = lambda: sp.InternalSignals(B1(), 0.5, B1().abs(), 0.5, 0.25, 0.1, levels())
    appraised = lambda: affect.AppraisalModule().appraise(told())
    yield f"{room}InternalSignals", _free(sp.InternalSignals, lambda: told()._asdict())
    reading = lambda: affect.signals.read_internal(told(), B, "cpu", torch.float32)
    yield "affect.InternalReading", _free(affect.InternalReading, lambda: reading()._asdict())
    yield "affect.Evidence", _free(affect.Evidence, lambda: affect.AppraisalModule().weigh(reading())._asdict())
    yield f"{room}AppraisalResult", _free(affect.AppraisalResult, lambda: appraised()._asdict())
    yield f"{room}ModulationVector", _free(affect.ModulationVector, lambda: felt().modulation._asdict())
    yield f"{room}AffectiveState", _free(sp.AffectiveState, lambda: felt()._asdict())
    moved = lambda: {"device": "cpu", "dtype": torch.float64}
    yield f"{room}AffectiveState.to", _bound(felt, "to", moved)
    yield f"{room}AffectiveState.from_dict", _free(sp.AffectiveState.from_dict, lambda: {"values": felt().to_dict()})
    settings = lambda: {"config": affect_config.AffectiveFullConfig(), "appraisal": None, "through_time": False}
    yield f"{room}AffectiveEstimator", _free(sp.AffectiveEstimator, settings)
    sizes = lambda: {"batch_size": B, "device": "cpu", "dtype": torch.float32}
    yield f"{room}AffectiveEstimator.reset", _bound(sp.AffectiveEstimator, "reset", sizes)
    for name in ("estimate", "forward"):
        arguments = lambda: {"signals": told(), "state": felt()}
        yield f"{room}AffectiveEstimator.{name}", _bound(sp.AffectiveEstimator, name, arguments)
    yield (
        f"{room}AffectiveEstimator.get_modulation",
        _bound(sp.AffectiveEstimator, "get_modulation", lambda: {"state": felt()}),
    )
    hidden = lambda: {"config": affect_config.AppraisalConfig(use_learned_appraisal=True), "hidden_dim": 4}
    yield f"{room}AppraisalModule", _free(affect.AppraisalModule, hidden)
    for name in ("appraise", "forward"):
        yield f"{room}AppraisalModule.{name}", _bound(affect.AppraisalModule, name, lambda: {"signals": told()})
    read = lambda: {"readings": affect.signals.read_internal(told(), B, "cpu", torch.float32)}
    yield f"{room}AppraisalModule.weigh", _bound(affect.AppraisalModule, "weigh", read)
    yield (
        f"{room}AffectiveModulator",
        _free(sp.AffectiveModulator, lambda: {"config": affect_config.ModulationConfig()}),
    )
    point = lambda: {"valence": B1(), "arousal": B1(), "dominance": B1()}
    yield f"{room}AffectiveModulator.factors", _bound(sp.AffectiveModulator, "factors", point)
    for name, what in (
        ("modulate_attention", "attention_logits"),
        ("modulate_exploration", "temperature"),
        ("modulate_learning_rate", "base_lr"),
        ("modulate_memory_priority", "priority"),
        ("modulate_risk", "risk_sensitivity"),
    ):
        base = torch.ones(B, 3) if what == "attention_logits" else 0.5
        yield (
            f"{room}AffectiveModulator.{name}",
            _bound(sp.AffectiveModulator, name, lambda w=what, b=base: {w: b, "state": felt()}),
        )
    markers = sp.SomaticMarkers
    remembered = lambda: markers().init(B, 3)
    yield f"{room}MarkerState", _free(affect.MarkerState, lambda: remembered()._asdict())
    yield f"{room}SomaticMarkers", _free(markers, lambda: {"config": affect_config.AffectiveConfig()})
    yield f"{room}SomaticMarkers.init", _bound(markers, "init", lambda: {**sizes(), "n_features": 3})
    learnt = lambda: {"situation": pre(), "outcome": B1(), "state": remembered()}
    yield f"{room}SomaticMarkers.learn", _bound(markers, "learn", learnt)
    asked = lambda: {"situations": pre(), "state": remembered()}
    yield f"{room}SomaticMarkers.predict", _bound(markers, "predict", asked)
    adjusted = lambda: {
        "scores": torch.ones(B, 2), "candidates": torch.ones(B, 2, 3), "state": remembered(), "minimised": False,
    }  # fmt: skip
    yield f"{room}SomaticMarkers.adjust", _bound(markers, "adjust", adjusted)
    words = {"happy": (0.8, 0.5, 0.4), "sad": (-0.6, -0.3, -0.3)}
    space = sp.ValenceArousalSpace
    yield f"{room}ValenceArousalSpace", _free(space, lambda: {"words": dict(words), "neutral_radius": 0.1})
    for name in ("angle", "nearest_word", "radius", "region", "region_index", "word_index"):
        yield f"{room}ValenceArousalSpace.{name}", _bound(space, name, lambda: {"affect": torch.ones(B, 3)})
    two = lambda: {"affect": torch.ones(B, 3), "other": felt()}
    yield f"{room}ValenceArousalSpace.distance", _bound(space, "distance", two)
    back = lambda: {"levels": levels(), "config": affect_config.AffectiveConfig()}
    yield f"{room}from_neuromodulators", _free(affect.from_neuromodulators, back)
    yield f"{room}to_neuromodulators", _free(affect.to_neuromodulators, lambda: {"state": felt()})
    colour = lambda: {"rpe": B1(), "mood_valence": B1(), "bias": 0.5}
    yield f"{room}color_by_mood", _free(affect.color_by_mood, colour)
    seen = lambda: {"reward": B1(), "mood": B1(), "f": 1.2}
    yield f"{room}perceived_reward", _free(affect.perceived_reward, seen)
    mood = lambda: {"mood": torch.zeros(B, 3), "affect": torch.ones(B, 3), "tau": 10.0}
    yield f"{room}update_mood", _free(affect.update_mood, mood)
    fresh = lambda: {
        "state": felt(), "fresh": sp.AffectiveEstimator().reset(B), "mask": torch.tensor([True, False]),
    }  # fmt: skip
    yield f"{room}reset_samples", _free(affect.reset_samples, fresh)
    full = affect_config.AffectiveFullConfig()
    for name in ("loop_gains", "require_settling"):
        yield f"config.AffectiveFullConfig.{name}", _free(getattr(full, name), lambda: {"gate": sp.NeuromodConfig()})


def _dual() -> Iterator[tuple[str, Callable[[], Call]]]:
    room = "dual."
    conditions: dict[Any, dict[str, Any]] = {
        dual.Always: {},
        dual.Never: {},
        dual.LossDecrease: {"k": 2},
        dual.LossSpike: {"factor": 2.0, "window": 2},
        dual.Plateau: {"window": 1, "tolerance": 0.1, "on": "training", "at_least": 0.05},
        dual.Curiosity: {"threshold": None, "signal": "novelty", "share": 0.5, "window": 10, "at_least": 0.05},
        dual.Seeking: {
            "on": 0.3,
            "off": 0.1,
            "curiosity": "novelty",
            "anticipation": "novelty",
            "share": None,
            "window": 10,
            "at_least": 0.05,
        },
        dual.AtLeast: {"condition": lambda history: False, "share": 0.05},
        dual.FromStep: {"step": 2},
        dual.LastSteps: {"n": 2},
        dual.Every: {"n": 2},
        dual.RandomActivation: {"p": 0.5, "seed": 0},
        dual.CountMatched: {"count": 1, "of": 4, "seed": 0},
        dual.When: {"function": lambda history: True},
    }
    for kind, settings in conditions.items():
        if settings:
            yield f"{room}{kind.__name__}", _free(kind, lambda s=settings: dict(s))
        asked = _bound(lambda k=kind, s=settings: k(**s), "__call__", lambda: {"history": history()})
        yield f"{room}{kind.__name__}.__call__", asked
    yield f"{room}Condition.__call__", _bound(dual.Always, "__call__", lambda: {"history": history()})
    couplings: dict[Any, dict[str, Any]] = {
        dual.Replace: {"base_first": False, "multiple_updates": False},
        dual.BaseToo: {"base_first": True, "multiple_updates": True},
        dual.Distill: {"share": 0.5, "temperature": 2.0, "base_first": False, "multiple_updates": True},
        dual.Sandwich: {
            "weight": 1.0,
            "share": 0.5,
            "temperature": 2.0,
            "base_first": False,
            "multiple_updates": False,
        },
    }
    for kind, settings in couplings.items():
        yield f"{room}{kind.__name__}", _free(kind, lambda s=settings: dict(s))
        step = _bound(kind, "motivated_step", lambda: {"pair": pair(), "batch": batch()})
        yield f"{room}{kind.__name__}.motivated_step", step
    grown = lambda: {"base": small(), "init": "fresh", "sample": torch.ones(1, 2), "seed": 0}
    yield f"{room}widen", _free(dual.widen, lambda: {**grown(), "sizes": {"0": 6}, "place": "first"})
    spiking = lambda: nn.Sequential(nn.Linear(4, 3), snntorch.Leaky(0.9, init_hidden=True), nn.Linear(3, 2))
    deeper = lambda: {**grown(), "base": spiking(), "sample": torch.ones(1, 4), "after": "1"}
    yield f"{room}deepen", _free(dual.deepen, deeper)
    yield f"{room}Growth", _free(dual.Growth, lambda: dual.widen(small(), 2)._asdict())
    yield f"{room}History", _free(dual.History, lambda: dict(vars(history())))
    yield f"{room}History.add_step", _bound(history, "add_step", lambda: {"loss": 1.0, "motivated": True})
    yield f"{room}History.add_signals", _bound(history, "add_signals", lambda: {"values": {"novelty": 0.5}})
    yield f"{room}History.is_among_last", _bound(history, "is_among_last", lambda: {"n": 2})
    yield f"{room}History.note_steps_left", _bound(history, "note_steps_left", lambda: {"end": 9})
    yield f"{room}History.signal", _bound(history, "signal", lambda: {"name": "novelty"})
    logged = lambda: {
        "condition": dual.LossDecrease(1), "losses": [3.0, 2.0, 1.0], "signals": {"novelty": [0.1, 0.2, 0.3]},
        "validations": report().curve,
    }  # fmt: skip
    yield f"{room}replay", _free(dual.replay, logged)
    yield f"{room}loss_signals", _free(dual.loss_signals, lambda: {"history": history(), "window": 2})
    yield f"{room}AffectSignals", _free(dual.AffectSignals, lambda: {"loop": sp.AffectiveLoop(), "window": 4})
    asked = lambda: {"history": history(), "batch": batch()}
    yield f"{room}AffectSignals.__call__", _bound(dual.AffectSignals, "__call__", asked)
    felt = lambda: {"state": dual.AffectSignals().state_dict()}
    yield f"{room}AffectSignals.load_state_dict", _bound(dual.AffectSignals, "load_state_dict", felt)
    yield f"{room}Cost", _free(dual.Cost, lambda: {"macs": 1, "synops": 2, "spikes": 1})
    yield f"{room}Cost.plus", _bound(dual.Cost, "plus", lambda: {"other": dual.Cost(1, 2)})
    between = lambda: {"other": dual.Cost(2, 3), "share": 0.5}
    yield f"{room}Cost.mixed", _bound(lambda: dual.Cost(2, 1), "mixed", between)
    yield f"{room}Cost.scaled", _bound(lambda: dual.Cost(2, 1), "scaled", lambda: {"macs": 4})
    yield (
        f"{room}Score",
        _free(dual.Score, lambda: {"loss": 0.5, "accuracy": 0.5, "metric": 0.5, "measure": "f1", "answers": 9}),
    )
    yield f"{room}Meter", _free(dual.Meter, lambda: {"model": small(), "events": True, "learner": False})

    def whole_pair() -> Call:
        made = pair()
        return Call(dual.NetPair, {"base": made.base, "motivated": made.motivated, "weights": made.weights})

    yield f"{room}NetPair", whole_pair
    yield f"{room}DualReport", _free(dual.DualReport, lambda: dict(vars(report())))
    yield f"{room}DualReport.from_dict", _free(dual.DualReport.from_dict, lambda: {"values": report().to_dict()})
    yield f"{room}DualReport.figure", _bound(report, "figure", lambda: {"path": _folder() / "run.png"})
    runs = lambda: {"dual": [report()], "base_alone": [report()], "large_alone": [report()]}
    yield f"{room}Comparison", _free(dual.Comparison, runs)
    compared = lambda: dual.Comparison(**runs())
    yield f"{room}Comparison.compute", _bound(compared, "compute", lambda: {"unit": "macs"})
    yield f"{room}Comparison.figure", _bound(compared, "figure", lambda: {"path": _folder() / "runs.png"})
    yield (
        f"{room}OverTime",
        _free(dual.OverTime, lambda: {"steps": 3, "mean": False, "batch_first": False, "lengths": False}),
    )
    shown = lambda: {"model": small(), "x": torch.ones(B, 2)}
    yield f"{room}OverTime.__call__", _bound(lambda: dual.OverTime(3), "__call__", shown)
    stop = {"patience": 2, "net": "base", "by": "loss", "min_delta": 0.0}
    yield f"{room}EarlyStopping", _free(dual.EarlyStopping, lambda: dict(stop))
    curve = lambda: {"curve": report().curve}
    yield f"{room}EarlyStopping.__call__", _bound(lambda: dual.EarlyStopping(**stop), "__call__", curve)
    yield from _trainees(room)
    slot = {"name": "weight", "axes": ((2, 0), (0, 1)), "entries": None}
    one = lambda: dual.DualNet(both_nets()["base"], both_nets()["motivated"], into())
    both_nets = lambda: {"base": small(), "motivated": dual.widen(small(), 2).model}
    yield f"{room}DualNet", _free(dual.DualNet, lambda: {**both_nets(), "weights": into()})
    yield f"{room}DualNet.split", _free(dual.DualNet.split, lambda: {"module": TwoHeads(), "sample": torch.ones(1, 2)})
    of_both = lambda: {"trainee": trainee, "condition": dual.Always()}
    yield f"{room}DualNet.trainer", _bound(one, "trainer", of_both)
    fields = {"target": 1}
    yield f"{room}Fields", _free(lambda target: dual.Fields(0, target=target), lambda: dict(fields))
    yield f"{room}Fields.__call__", _bound(lambda: dual.Fields(0, **fields), "__call__", lambda: {"batch": batch()})
    yield f"{room}BatchGroup", _free(lambda: dual.BatchGroup([batch()]), dict)
    yield f"{room}Slot", _free(dual.Slot, lambda: dict(slot))
    tensors = lambda: {"source": torch.ones(2, 2), "target": torch.ones(3, 2)}
    yield f"{room}Slot.index", _bound(lambda: dual.Slot(**slot), "index", tensors)
    whole = lambda: {"slots": {"weight": dual.Slot("weight")}, "private": ("bias",)}
    yield f"{room}WeightsMap", _free(dual.WeightsMap, whole)
    both = lambda: {"base": small(), "motivated": dual.widen(small(), 2).model}
    into = lambda: dual.widen(small(), 2).weights
    for name in ("check", "copy_down", "copy_up"):
        yield f"{room}WeightsMap.{name}", _bound(into, name, both)
    yield f"{room}WeightsMap.from_dict", _free(dual.WeightsMap.from_dict, lambda: {"values": into().to_dict()})
    yield f"{room}WeightsMap.from_json", _free(dual.WeightsMap.from_json, lambda: {"source": into().to_json()})
    yield f"{room}WeightsMap.to_json", _bound(into, "to_json", lambda: {"path": _folder() / "map.json"})
    yield f"{room}WeightsMap.identity", _free(dual.WeightsMap.identity, lambda: {"base": small()})
    same = lambda: {"other": dual.WeightsMap.identity(dual.widen(small(), 2).model)}
    yield f"{room}WeightsMap.then", _bound(into, "then", same)


def _trainees(room: str) -> Iterator[tuple[str, Callable[[], Call]]]:
    loss, run = nn.functional.cross_entropy, lambda model, x: model(x)

    def gradients() -> Call:
        model = small()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        arguments = {
            "model": model, "optimizer": optimizer, "loss": loss, "run": run,
            "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1), "per_step": False, "clip_norm": 1.0,
            "amp": None, "metric": lambda output, target: 0.5, "unpack": lambda batch: batch, "closure": False,
        }  # fmt: skip
        return Call(dual.Trainee, arguments, (model,))

    def plasticity_alone() -> Call:
        made = learner()
        model = made.model  # type: ignore[attr-defined]
        metric = lambda output, target: 0.5
        unpack = lambda batch: batch
        arguments = {
            "model": model, "learner": made, "teach": teach, "loss": loss, "run": run, "metric": metric,
            "unpack": unpack,
        }  # fmt: skip
        return Call(dual.PlasticTrainee, arguments, (model,))

    yield f"{room}Trainee", gradients
    yield f"{room}PlasticTrainee", plasticity_alone
    graph = lambda made: {"loss": made.loss(batch())}
    for name in ("backward", "minimize"):

        def learns(name: str = name) -> Call:
            made = trainee()
            return Call(getattr(made, name), graph(made), (made.model,))

        yield f"{room}Trainee.{name}", learns
    for name in ("descend", "add_gradients"):

        def terms(name: str = name) -> Call:
            made = trainee()
            return Call(getattr(made, name), {"terms": [(1.0, lambda: made.loss(batch()))]}, (made.model,))

        yield f"{room}Trainee.{name}", terms
    of_trainee = {
        "observe": lambda: {"loss": 0.5},
        "evaluate": lambda: {"batches": [batch()]},
        "loss_of": lambda: {"output": torch.ones(2, 2), "target": torch.tensor([0, 1])},
        "load_state_dict": lambda: {"state": trainee().state_dict()},
        "read_state": lambda: {"state": trainee().state_dict()},
        "loss": lambda: {"batch": batch()},
        "output": lambda: {"batch": batch()},
        "train": lambda: {"batch": batch()},
    }
    for name, arguments in of_trainee.items():
        yield f"{room}Trainee.{name}", _bound(trainee, name, arguments)
    seen = lambda: (torch.ones(B, N_PRE), torch.zeros(B, dtype=torch.long))
    yield f"{room}PlasticTrainee.evaluate", _bound(plastic, "evaluate", lambda: {"batches": [seen()]})
    yield f"{room}PlasticTrainee.train", _bound(plastic, "train", lambda: {"batch": seen()})
    saved = lambda: {"state": plastic().state_dict()}
    yield f"{room}PlasticTrainee.read_state", _bound(plastic, "read_state", saved)
    yield f"{room}PlasticTrainee.load_state_dict", _bound(plastic, "load_state_dict", saved)

    def whole() -> Call:
        nets = pair()
        arguments = {
            "base": nets.base, "motivated": nets.motivated, "weights": nets.weights, "condition": dual.Always(),
            "coupling": dual.Replace(), "train_base_too": False, "signals": lambda history, batch: {"novelty": 0.5},
            "seed": 0,
        }  # fmt: skip
        return Call(dual.DualModelTrainer, arguments)

    yield f"{room}DualModelTrainer", whole
    of_trainer = {
        "fit": lambda: {
            "loader": [batch()], "epochs": 1, "validation": [batch()], "validate_every": 1,
            "checkpoint": _folder() / "run.pt", "checkpoint_every": 1, "early_stopping": dual.EarlyStopping(),
            "max_steps": 2, "max_macs": 10**9, "accumulate": 2, "callbacks": [lambda trainer, result: None],
            "progress": False,
        },
        "load": lambda: {"path": _saved()},
        "load_state_dict": lambda: {"state": trainer().state_dict()},
        "save": lambda: {"path": _folder() / "saved.pt"},
        "step": lambda: {"batch": batch()},
        "validate": lambda: {"batches": [batch()]},
    }  # fmt: skip
    for name, arguments in of_trainer.items():
        yield f"{room}DualModelTrainer.{name}", _bound(trainer, name, arguments)
    fit = of_trainer["fit"]  # not watched: a run that breaks keeps what it has learnt so far
    yield f"{room}DualModelTrainer.fit", lambda: Call(trainer().fit, fit())


def _saved() -> Path:
    path = _folder() / "a_run.pt"
    trainer().save(path)
    return path


def _plots() -> Iterator[tuple[str, Callable[[], Call]]]:
    room, over = "plot.", {"dt": 1.0, "unit": "steps", "start": 0.0}
    curves = lambda: {
        "curves": {"rule": [0.1, 0.2]}, "ax": axes(), "x": [0.0, 1.0], "chance": 0.5,
        "band": "range", "xlabel": "epoch", "ylabel": "accuracy",
    }  # fmt: skip
    yield f"{room}learning_curve", _free(plot.learning_curve, curves)
    pictured = lambda: {"explained": explanation(), "ax": list(Figure().subplots(3)), "sample": 0}
    yield f"{room}explanation", _free(plot.explanation, pictured)
    lines = lambda: {"levels": {"DA": [0.1, 0.2]}, "ax": axes(), **over, "ylabel": "level"}
    yield f"{room}modulators", _free(plot.modulators, lines)
    ticks = lambda: {"spikes": spikes(T, 3), "ax": axes(), **over, "colors": "#222222", "ylabel": "neuron"}
    yield f"{room}raster", _free(plot.raster, ticks)
    more = lambda: {
        "values": torch.ones(T, 2), "ax": axes(), **over, "labels": ["a", "b"], "colors": ["red", "blue"],
        "ylabel": "e",
    }  # fmt: skip
    yield f"{room}traces", _free(plot.traces, more)
    matrix = lambda: {
        "values": torch.ones(3, 2), "ax": axes(), "limit": 1.0, "colorbar": True, "label": "weight", "xlabel": "pre",
        "ylabel": "post",
    }  # fmt: skip
    yield f"{room}weights", _free(plot.weights, matrix)
    yield from _more_plots(room, over)


def _more_plots(room: str, over: dict[str, Any]) -> Iterator[tuple[str, Callable[[], Call]]]:
    scale = {"limit": 1.0, "colorbar": True, "label": "weight"}
    feelings = lambda: {"values": 0.5 * torch.ones(T, 3), "ax": axes(), "mood": torch.zeros(T, 3), "colors": "#222222"}
    yield f"{room}affect", _free(plot.affect, feelings)
    yield f"{room}diagnosis", _free(plot.diagnosis, lambda: {"told": learner().diagnose(), "ax": axes()})
    traced = lambda: {
        "values": torch.ones(T, 3, 2),
        "ax": axes(),
        "strongest": 2,
        "limit": 1.0,
        "colorbar": True,
        **over,
    }
    yield f"{room}eligibility", _free(plot.eligibility, traced)
    nets = lambda: {
        "losses": torch.ones(4), "member": torch.tensor([0, 1, 0, 1]), "ax": axes(), "labels": ["base", "motivated"],
        "width": 3, "ylabel": "loss",
    }  # fmt: skip
    yield f"{room}family", _free(plot.family, nets)
    images = lambda: {"values": torch.ones(2, 1, 3, 3), "ax": axes(), **scale}
    yield f"{room}filters", _free(plot.filters, images)
    fields = lambda: {"values": torch.ones(3, 6), "shape": (2, 3), "ax": axes(), "columns": 2, **scale}
    yield f"{room}receptive_fields", _free(plot.receptive_fields, fields)
    v = lambda: {
        "values": torch.ones(T, 2), "ax": axes(), "threshold": 0.5, "spikes": spikes(T, 2), "labels": ["a", "b"],
        **over, "ylabel": "v",
    }  # fmt: skip
    yield f"{room}membrane", _free(plot.membrane, v)
    layers = lambda: {"spikes": {"fc1": spikes(T, 3)}, "ax": axes(), "dt": 1.0, "unit": "step"}
    yield f"{room}rates", _free(plot.rates, layers)
    pair = lambda: {"rule": "stdp_pair", "span": 3.0}
    yield f"{room}measured_window", _free(plot.measured_window, pair)
    drawn = lambda: {**pair(), "ax": axes(), "measured": True, "unit": "steps"}
    yield f"{room}stdp_window", _free(plot.stdp_window, drawn)
    both = lambda: {
        "before": torch.ones(3, 2), "after": torch.ones(3, 2), "where": Figure(), "limit": 1.0, "bins": 5, "label": "w",
    }  # fmt: skip
    yield f"{room}weight_change", _free(plot.weight_change, both)
    page = lambda: {
        "record": recorded(), "where": Figure(), "sample": 0, "since": 0, "until": 3, "layer": "0", "most": 2,
        "dt": 1.0, "unit": "steps",
    }  # fmt: skip
    yield f"{room}trial", _free(plot.trial, page)


def _records() -> Iterator[tuple[str, Callable[[], Call]]]:
    step = lambda: kernels.PairSTDP().step(pre(), post(), kernels.PairSTDP().init(pre(), post()))[0]
    yield "kernels.Pair", _free(kernels.Pair, lambda: {"post": post(), "pre": pre()})
    yield "kernels.Coincidence", _free(kernels.Coincidence, lambda: step()._asdict())
    e = lambda: {"kernel": None, "e": torch.ones(B, N_POST, N_PRE), "waiting": None}
    yield "plasticity.EligibilityState", _free(plasticity.EligibilityState, e)
    zero = torch.zeros(())
    yield "diagnostics.LayerTrace", _free(sp.LayerTrace, lambda: dict.fromkeys(sp.LayerTrace._fields, zero))
    told = learner().diagnose()
    yield "diagnose.Diagnosis", _free(type(told), lambda: dict(vars(told)))
    layer = next(iter(told.layers.values()))
    yield "diagnose.LayerDiagnosis", _free(type(layer), lambda: dict(vars(layer)))
    trace = {"modulators": {}, "global_plasticity": zero, "layers": {}, "loss": None}
    yield "diagnostics.PlasticityTrace", _free(sp.PlasticityTrace, lambda: dict(trace))


def calls() -> dict[str, Callable[[], Call]]:
    """All valid calls."""
    groups = (
        _configs,
        _kernels,
        _plasticity,
        _feedback,
        _actor,
        _agents,
        _layers,
        _learning,
        _gate,
        _affect,
        _dual,
        _plots,
        _records,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: build for group in groups for name, build in group()}
