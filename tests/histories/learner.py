"""Histories of a `PlasticityLearner`: connections are told of spikes, a gate of signals, and weights change."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import reference
import torch
from torch import nn

from snn_plasticity import Connection, NeuromodConfig, PlasticityConfig, PlasticityLearner, ThreeFactorConfig
from snn_plasticity.layers.dense import Diagonal
from snn_plasticity.layers.edges import Edges

from . import settings
from .layers import Layer, any_layer, weight_of
from .story import Player, palette

SCOPES = ("episode", "episode", "eligibility", "neuromodulators", "all")


class Broken(Exception):
    """What a reduction of the user's raises."""


class Bare(nn.Module):
    """A weight and nothing else."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*shape))


class LearnerHistory(Player):
    """Modulators and signals of every kind, resets, refusals, other batches, saving and loading."""

    HEAD = ("import copy", "from math import exp", "from torch import nn",
            "from snn_plasticity.layers.edges import Edges", "from snn_plasticity.layers.dense import Diagonal",
            "mexican_hat = lambda dt: (1 - (dt / 3) ** 2) * exp(-(dt / 3) ** 2 / 2) - .02 * dt")  # fmt: skip
    events = {
        "run": 9, "modulate": 5, "signal": 5, "forget": 1, "forget_some": 1, "another_batch": 1, "new_sequence": 0.7,
        "save_and_load": 1, "refused_step": 1, "broken_step": 0.7, "peek": 0.7,
        "other_rate": 0.5,
    }  # fmt: skip

    def set_up(self) -> None:
        """Connections, a gate, and their reference."""
        draw = self.draw
        self.double = draw.random() < 0.7
        self.rtol = 1e-9 if self.double else 1e-4
        self.batch, self.path = draw.randint(1, 3), draw.choice((*["auto"] * 6, "fold", "plain", "shared"))
        self.update, self.neuromod = settings.update(draw), settings.neuromod(draw)
        self.breaking = False
        self.layers: dict[str, Layer] = {}
        oracles: dict[str, reference.Synapses] = {}
        self.drawn: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        torch.manual_seed(self.seed)
        for name in ("a", "b")[: draw.choice((1, 1, 2))]:
            layer = self.layers[name] = any_layer(draw)
            layer.module = (layer.module or Bare(*layer.reference.shape)).to(
                torch.float64 if self.double else torch.float32
            )
            self.drawn[name] = settings.eligibility(draw), settings.convention(draw)
            given = settings.both(*self.drawn[name])[1]
            self.prepare(layer)
            oracles[name] = reference.Synapses(
                layer.reference, weight_of(layer), given, reference.ThreeFactor(**self.update)
            )
        positive = any(settings.cancels(self.drawn[name][0], layer.reference) for name, layer in self.layers.items())
        self.palette = palette(draw, 2, positive=positive)
        self.oracle = reference.Learner(oracles, reference.Neuromod(**self.neuromod))
        self.learner = self.made()

    def prepare(self, layer: Layer) -> None:
        """Weights within bounds, or a little outside."""
        weight: torch.Tensor = layer.module.weight.data  # type: ignore[union-attr, assignment]
        weight.uniform_(-0.8, 0.8)
        if self.update["weight_bounds"] is not None and self.draw.random() < 0.8:
            weight.clamp_(*self.update["weight_bounds"])

    def made(self) -> PlasticityLearner:
        """A learner on the chosen path, or on "auto" where that one is refused."""
        try:
            return self.build()
        except ValueError:
            self.path = "auto"
            return self.build()

    def build(self) -> PlasticityLearner:
        """Connections and their learner."""
        update, gate = ThreeFactorConfig(**self.update), NeuromodConfig(**self.neuromod)
        connections = []
        if self.telling:
            self.lines = self.lines[: len(self.HEAD) + 2] + settings.spelt_gate(self.update, self.neuromod)
        for name, layer in self.layers.items():
            config = PlasticityConfig(settings.both(*self.drawn[name])[0], gate, update)
            geometry = self.geometry(layer)
            assert layer.module is not None
            connections.append(Connection(name, layer.module, config=config, geometry=geometry, path=self.path))
            self.tell_connection(name, layer)
        self.say(f"L = PlasticityLearner([{', '.join(self.layers)}], NeuromodulatoryGate(gate))")
        from snn_plasticity import NeuromodulatoryGate

        return PlasticityLearner(connections, NeuromodulatoryGate(gate), reduce=self.reduce)

    def tell_connection(self, name: str, layer: Layer) -> None:
        """How this connection is made, as it can be pasted."""
        if not self.telling:
            return
        self.lines += settings.spelt(*self.drawn[name]).split("\n")
        weight = self.spell(weight_of(layer))
        module, geometry = layer.spelt, "None"
        if layer.kind in ("edges", "diagonal"):
            module = f"nn.Linear(1, {weight_of(layer).size}, bias=False)"
            geometry = f"Diagonal({layer.pre[0]})"
            if layer.kind == "edges":
                geometry = f"Edges.of(torch.tensor({layer.connectivity.tolist()}), {layer.pre[0]}, {layer.post[0]})"  # type: ignore[union-attr]
        self.lines += [f"{name} = {module}; {name}.weight = nn.Parameter({weight})",
                       f"{name} = Connection({name!r}, {name}, config=PlasticityConfig(config, gate, update), "
                       f"geometry={geometry}, path={self.path!r})"]  # fmt: skip

    @staticmethod
    def geometry(layer: Layer) -> Any:
        """How synapses are laid out that no torch layer has."""
        if layer.kind == "diagonal":
            return Diagonal(layer.pre[0])
        if layer.kind == "edges":
            assert layer.connectivity is not None
            return Edges.of(layer.connectivity, layer.pre[0], layer.post[0])
        return None

    def reduce(self, delta: torch.Tensor) -> torch.Tensor:
        """A reduction that leaves the change as it is, or breaks."""
        if self.breaking:
            raise Broken
        return delta

    # activity

    def run(self) -> None:
        """Some steps of activity for every connection, or a sequence at once."""
        steps, as_sequence = self.draw.choice((1, 1, 2, 3, 6)), self.draw.random() < 0.25
        fresh = as_sequence and self.draw.random() < 0.5
        trains = {name: self.spikes(layer, steps) for name, layer in self.layers.items()}
        for name, (pre, post) in trains.items():
            connection, oracle = self.learner.connections[name], self.oracle.synapses[name]
            if fresh:
                oracle.traces.start_sequence()
            if as_sequence:
                self.say(f"{name}.observe_sequence({{}}, {{}}, new_sequence={fresh})", pre, post)
                connection.observe_sequence(self.tensor(pre), self.tensor(post), new_sequence=fresh)
            for p, q in zip(pre, post, strict=True):
                if not as_sequence:
                    self.say(f"{name}.observe({{}}, {{}})", p, q)
                    connection.observe(self.tensor(p), self.tensor(q))
                oracle.traces.observe(p, q)

    def spikes(self, layer: Layer, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Pre and post (T, B, *shape)."""
        pre = self.activity((steps, self.batch, *layer.pre), self.draw.choice(self.palette))
        return pre, self.activity((steps, self.batch, *layer.post), self.draw.choice(self.palette))

    def new_sequence(self) -> None:
        """A sequence begins."""
        for name, connection in self.learner.connections.items():
            self.say(f"{name}.start_sequence()")
            connection.start_sequence()
            self.oracle.synapses[name].traces.start_sequence()

    # the third factor

    def n_post(self, name: str) -> int:
        """Post neurons of a connection."""
        layer = self.layers[name]
        return layer.post[-1 if layer.kind == "positions" else 0]

    def modulate(self) -> None:
        """A modulator as it is."""
        names = [self.draw.choice(list(self.layers))] if self.draw.random() < 0.2 else list(self.layers)
        shapes: list[tuple[int, ...]] = [()]
        if self.path != "shared":
            shapes += [(self.batch,), (self.batch, 1)]
            if len({self.n_post(name) for name in names}) == 1:
                shapes.append((self.batch, self.n_post(names[0])))
        mod = np.round(self.rng.standard_normal(self.draw.choice(shapes)), 3) * (self.draw.random() > 0.1)
        self.say(f"r = L.{self.stepping}({{}}, layers={names})", mod)
        given = float(mod) if mod.ndim == 0 and self.draw.random() < 0.5 else self.tensor(mod)
        before = self.reading()
        got = getattr(self.learner, self.stepping)(given, layers=names)
        self.landed(before, got, self.oracle.step(mod, names)[2])

    @property
    def stepping(self) -> str:
        """The method of a learner that makes a step in its mode."""
        return "loss" if self.update["mode"] == "auxiliary_loss" else "step"

    def signal(self) -> None:
        """Signals by name."""
        if self.oracle.batch is None:
            return
        signals = self.signals()
        if self.draw.random() < 0.3 and self.path != "shared":
            signals = {name: self.per_sample(value) for name, value in signals.items()}
        said = ", ".join(f"{name}={{}}" for name in signals)
        details = self.draw.random() < 0.5
        self.say(
            f"r = L.step({said}, return_details=True)" if details else f"r = L.{self.stepping}({said})",
            *(np.asarray(v) if self.double else v for v in signals.values()),
        )
        given = {
            n: v if isinstance(v, (float, int)) and not self.double else self.tensor(v) for n, v in signals.items()
        }
        before = self.reading()
        how = {"return_details": True} if details else {}
        got: Any = getattr(self.learner, "step" if details else self.stepping)(**given, **how)
        amounts, factor, loss = self.oracle.step(**signals)
        if details:
            for k, name in enumerate(reference.gate.NAMES):
                self.compare(f"modulators {name}", got.modulators[name], amounts[:, k], f"r.modulators[{name!r}]")
            self.compare("gain", got.global_plasticity, factor, "r.global_plasticity")
            self.statistics(got.layers)
            got = got.loss
        self.landed(before, got, loss)

    def statistics(self, layers: Any) -> None:
        """What a logger is told of the eligibility."""
        for name, seen in layers.items():
            e = np.abs(self.oracle.synapses[name].traces.e)  # type: ignore[arg-type]
            self.compare(f"statistics of {name}", seen.eligibility_mean, e.mean(), f"r.layers[{name!r}]")
            self.compare(f"statistics of {name}", seen.eligibility_max, e.max(), f"r.layers[{name!r}]")
            if self.oracle.synapses[name].traces.given.kernel == "rate" and not {"signed", "analogue"} & {
                *self.palette
            }:
                # elsewhere what cancels is zero on one side and a rounding error on the other
                self.same(f"active {name}", round(float(seen.eligibility_active) * e.size), int((e > 0).sum()))

    def signals(self) -> dict[str, Any]:
        """One or some of what the gate may hear."""
        signals: dict[str, Any] = {}
        for name in ("reward", "td_error", "novelty", "urgency", "patience", "surprise"):
            if self.draw.random() < (0.6 if name == "reward" else 0.25):
                value = round(float(self.rng.standard_normal()) * self.draw.choice((1.0, 1.0, 5.0)), 3)
                signals[name] = value if name in ("reward", "td_error") else abs(value)
        if self.neuromod["reward_baseline"] == "context":
            signals["context"] = float(self.draw.randrange(self.neuromod["n_contexts"]))
        return signals or {"novelty": 0.5}

    def per_sample(self, value: float) -> Any:
        """The value itself, or one for each sample around it."""
        if self.draw.random() < 0.4:
            return value
        spread = np.round(value * self.rng.random(self.batch), 3 if value % 1 else 0)
        return spread if self.draw.random() < 0.7 else spread[:, None]

    def other_rate(self) -> None:
        """A schedule of the learning rate."""
        self.learner.lr_scale = self.oracle.lr_scale = self.draw.choice((0.5, 1.0, 2.0))
        self.say("L.lr_scale = {}", self.oracle.lr_scale)

    def reading(self) -> list[torch.Tensor]:
        """Gradients as they are before a step."""
        for connection in self.learner.connections.values():
            if connection.weight.grad is None:
                connection.weight.grad = torch.zeros_like(connection.weight)
        return [connection.weight.grad.clone() for connection in self.learner.connections.values()]  # type: ignore[union-attr]

    def landed(self, before: list[torch.Tensor], loss: Any, wanted: float) -> None:
        """What became of the weights, of their gradients and of the loss."""
        if self.update["mode"] == "auxiliary_loss":
            if isinstance(loss, torch.Tensor) and loss.requires_grad:
                loss.backward()
            self.compare("loss", 0.0 if loss is None else loss, wanted, "r", least=0.01)
        for name, connection in self.learner.connections.items():
            oracle = self.oracle.synapses[name]
            self.compare(f"weight {name}", connection.weight, oracle.weight, f"{name}.weight")
            if self.update["mode"] != "online":
                grad = connection.weight.grad
                self.compare(f"gradient {name}", grad, oracle.grad, f"{name}.weight.grad", least=0.01)  # type: ignore[arg-type]

    # refusals

    def refused_step(self) -> None:
        """A step that is refused changes nothing."""
        if self.oracle.batch is None:
            return
        how: Any = self.draw.choice((
            {"modulator": float("nan")}, {"modulator": torch.ones(self.batch + 1)},
            {"modulator": torch.ones(self.batch, 9)}, {"reward": torch.ones(self.batch, 2)},
            {"reward": float("inf")}, {"reward": 1.0, "novelty": -1.0}, {"rewards": 1.0},
        ))  # fmt: skip
        self.say(
            f"try: L.{self.stepping}(**{how!r})\nexcept (ValueError, TypeError): pass".replace("tensor", "torch.tensor")
            .replace("nan", "float('nan')")
            .replace("inf", "float('inf')")
        )
        before = self.reading()
        self.refused(f"step({how})", lambda: getattr(self.learner, self.stepping)(**how))
        self.landed(before, None, 0.0)

    def broken_step(self) -> None:
        """A step that fails half-way changes nothing."""
        if self.oracle.batch is None:
            return
        before, self.breaking = self.reading(), True
        signals = self.signals()
        self.say(f"# a step whose `reduce` raises: {signals}")
        given = {name: self.tensor(value) for name, value in signals.items()}
        try:
            getattr(self.learner, self.stepping)(**given)
        except Broken:
            pass
        else:
            # it was not this step's turn to change anything: it counts
            self.oracle.step(**signals)
        self.breaking = False
        self.landed(before, None, 0.0)

    # state

    def forget(self) -> None:
        """A whole reset."""
        scope = self.draw.choice(SCOPES)
        self.say("L.reset(scope={})", scope)
        self.learner.reset(scope=scope)
        self.oracle.reset(scope=scope)

    def forget_some(self) -> None:
        """A reset of some samples."""
        if self.path == "shared" or self.oracle.batch is None:
            return
        mask, scope = self.rng.random(self.batch) < 0.5, self.draw.choice(SCOPES)
        self.say(f"L.reset(torch.tensor({mask.tolist()}), scope={scope!r})")
        self.learner.reset(torch.as_tensor(mask), scope)
        self.oracle.reset(mask, scope)

    def another_batch(self) -> None:
        """A reset, then another number of samples."""
        self.say("L.reset()")
        self.learner.reset()
        self.oracle.reset()
        self.batch = self.draw.randint(1, 3)
        self.run()

    def save_and_load(self) -> None:
        """Another learner of the same weights goes on."""
        saved = copy.deepcopy(self.learner.state_dict())
        self.say("# another learner goes on from L.state_dict()")
        telling, self.telling = self.telling, False
        fresh = self.rebuild()
        self.telling = telling
        fresh.load_state_dict(saved)
        self.learner = fresh

    def rebuild(self) -> PlasticityLearner:
        """Another learner of the same weights."""
        return self.build()

    def peek(self) -> None:
        """Read every eligibility."""
        for name, connection in self.learner.connections.items():
            wanted = self.oracle.synapses[name].traces.e
            if wanted is not None and self.path != "shared":
                self.compare(f"eligibility {name}", connection.eligibility, wanted, f"{name}.eligibility")  # type: ignore[arg-type]

    def excused(self, error: Exception) -> bool:
        """The shared path keeps no single samples, and says so when a clamp might bind."""
        return self.path == "shared" and "'shared'" in str(error)

    def finish(self) -> None:
        """What is left in the end."""
        self.peek()
        self.modulate()
