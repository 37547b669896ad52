"""Is what a random model learned what it should have learned? Held against hooks and sums of this file's own.

The program runs on shadows, which tells of every number that a neuron was given which output of which layer it was. It
runs on torch, where hooks note what layers were given and which neurons fired. Both together give Δw, in NumPy float64.
"""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import norse.torch as norse
import numpy as np
import snntorch
import torch
from torch import nn

from snn_plasticity import EligibilityConfig, PlasticityConfig, PlasticityLearner, ThreeFactorConfig, attach
from snn_plasticity.hosts import PairingError

from .draw import Pass, Spec, draw, simpler
from .parts import IN_PLACE, OTHER
from .text import write
from .truth import A_MINUS, A_PLUS, TAU_E, TAU_MINUS, TAU_PLUS, Meaning, Record, change

FAST = norse.LIFParameters(tau_syn_inv=torch.tensor(700.0), tau_mem_inv=torch.tensor(600.0), v_th=torch.tensor(0.4))
RULES = {
    "rate": EligibilityConfig(kernel="rate", tau_e=1e9, clamp_range=None),
    "stdp_pair": EligibilityConfig(
        kernel="stdp_pair", tau_e=TAU_E, stdp_tau_plus=TAU_PLUS, stdp_tau_minus=TAU_MINUS, a_plus=A_PLUS,
        a_minus=A_MINUS, clamp_range=None,
    ),
}  # fmt: skip
RIGHT, REFUSED, NEEDLESS, VAGUE = "right", "refused", "needlessly refused", "vaguely refused"
WRONG, CRASH = "wrong", "crash"
WORDS = {"pool": ("pooling",), "matmul": ("@", "matrix"), "linear": ("matrix",), "conv1d": ("convolution",)}
AGAIN = "run it again"  # said where a pattern changes that was not watched any more; it must then be right
REFUSALS = (PairingError, ValueError, TypeError)
GRADS: dict[str, Callable[[], Any]] = {
    "grad": contextlib.nullcontext, "no_grad": torch.no_grad, "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}  # fmt: skip


class Verdict(NamedTuple):
    """What became of a model, and why."""

    outcome: str
    why: str
    spec: Spec

    @property
    def text(self) -> str:
        """The program."""
        return write(self.spec)

    @property
    def fault(self) -> bool:
        return self.outcome in (WRONG, CRASH, VAGUE)


class Twice(torch.autograd.Function):
    """An operation of a user's own."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return 2 * gradient


class Run:
    """One program with its model, judged pass by pass."""

    def __init__(self, spec: Spec) -> None:
        self.spec, self.source = spec, write(spec)
        self.meaning = Meaning(spec, self.source)
        self.space: dict[str, Any] = {
            "torch": torch, "nn": nn, "F": _Functions(self), "snn": snntorch, "norse": norse, "FAST": FAST,
            "Twice": Twice, "tick": lambda: None,
        }  # fmt: skip
        self.record: Record | None = None
        exec(self.source, self.space)
        torch.manual_seed(spec.seed)
        self.net: nn.Module = self.space["Net"]()
        _excite(self.net)
        self.lr = 0.02 if spec.online else 1.0
        self.kernel = "rate" if self.meaning.uneven else spec.kernel
        self.plastic = set(self.meaning.layers)
        self.named: list[set[str]] = []
        first = sorted(name for name in self.plastic if name[:4] != "head")[0]
        if spec.some:
            others = {name for name in self.plastic if name[:4] != "head"} - {first}
            self.named = [{first}, others] if spec.two and others else [{first}]
            self.plastic = set().union(*self.named)
        self.left = first if spec.pairs == "left" and not spec.some and "." not in first else ""
        self.plastic -= {self.left}

    def verdict(self) -> Verdict:
        """Run, compare."""
        needed = self.meaning.must_refuse(self.plastic)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                why = self._passes()
        except _Refused as refusal:
            return self._refused(str(refusal), needed)
        except Exception:
            last = traceback.format_exc().strip().splitlines()
            return Verdict(CRASH, last[-1] + " | " + " | ".join(line.strip() for line in last[-7:-1]), self.spec)
        if why:
            return Verdict(WRONG, why, self.spec)
        if needed:
            return Verdict(WRONG, f"accepted, though {sorted(needed)} mixes outputs", self.spec)
        return Verdict(RIGHT, "", self.spec)

    def _refused(self, text: str, needed: set[tuple[str, str]]) -> Verdict:
        said = text.lower()
        layer = any(name in text for name in self.meaning.layers)
        neuron = any(name in text for name in self.meaning.whole) or "readout" in text or "already learns" in text
        clear = needed and all(what != OTHER for what in self.spec.standings)
        operation = not clear or any(word in said for _, what in needed for word in (what, *WORDS.get(what, ())))
        if not (layer and neuron and operation):
            missing = "layer" if not layer else "neuron" if not neuron else "operation"
            return Verdict(VAGUE, f"names no {missing}: {text}", self.spec)
        followed = not needed and OTHER not in self.spec.standings  # what is mixed, then, is left out
        if followed and not self.meaning.may_refuse(self.plastic, self._named()):
            return Verdict(NEEDLESS, text, self.spec)
        return Verdict(REFUSED, text, self.spec)

    def _named(self) -> set[str]:
        """Layers that must feed a neuron, because they are named."""
        return self.plastic if self.spec.some else {name for name, fed in (self._pairs() or {}).items() if fed}

    def _passes(self) -> str:
        """What was wrong, or nothing."""
        record = self.record = Record(self.net, self.meaning)
        kept = {key: value.clone() for key, value in self.net.state_dict().items()}
        sampled = self.spec.sample and self.spec.loop == "model"
        first = self.spec.passes[0]
        sample = (self._input(first, 0), list(first.order)) if sampled else None
        learners = _Learners()
        try:
            with _refusals("attach"):
                for named in self.named or [set()]:
                    learners.append(self._attach(named, sample))
            return self._compare(learners, record, kept, sampled)
        finally:
            learners.remove()

    def _attach(self, named: set[str], sample: Any) -> PlasticityLearner:
        targets = tuple(sorted(named)) or "all_eligible"
        three_factor = ThreeFactorConfig(lr=self.lr, weight_clamp=None, target_layers=targets)
        config, pairs = PlasticityConfig(RULES[self.kernel], three_factor=three_factor), self._pairs()
        if pairs is not None and named:
            pairs = {name: fed for name, fed in pairs.items() if name in named}
        return attach(self.net, config, sample=sample, pairs=pairs, pre=lambda x: x)

    def _pairs(self) -> dict[str, tuple[str, ...]] | None:
        """Who feeds whom, said by the user."""
        if self.left:
            return {self.left: ()}
        if self.spec.pairs != "all" or self.spec.neuron in ("lift", "recurrent"):
            return None
        feeds: dict[str, set[str]] = {name: set() for name in self.plastic}
        for one in self.meaning.passes:
            for neuron, calls in one.items():
                for layer in {layer for g in calls for layer, *_ in (*g.parts, *g.mixed)} & self.plastic:
                    feeds[layer].add(neuron)
        return {layer: tuple(sorted(neurons)) for layer, neurons in feeds.items()}

    def _compare(self, learner: _Learners, record: Record, kept: dict[str, torch.Tensor], sampled: bool) -> str:
        for i, one in enumerate(self.spec.passes):
            why = ""
            try:
                learner.reset()
                with _refusals(f"pass {i}"):
                    self._disturb(learner, one)
                    why = self._outcome(learner, record, i, kept)
            except _Refused as refusal:
                if not self.spec.online and self._moved(kept):
                    return f"a refused pass moved weights: {refusal}"
                if AGAIN in str(refusal):
                    self._restore(kept)
                    with _refusals(f"pass {i}, run again"):
                        why = self._outcome(learner, record, i, kept)
                elif sampled and i == 0:
                    why = f"sample= was accepted, the first pass was not: {refusal}"
                if not why:
                    raise
            if why:
                return f"pass {i}, {why}"
            self._restore(kept)
        return ""

    def _outcome(self, learner: _Learners, record: Record, turn: int, kept: dict[str, torch.Tensor]) -> str:
        """Run the model from a fresh start, with steps in the middle or at the end; what was wrong."""
        learner.reset()
        record.clear()
        self.space["tick"] = (lambda: learner.step(1.0)) if self.spec.online else lambda: None
        try:
            self.run(self.spec.passes[turn])
        finally:
            self.space["tick"] = lambda: None
        if not self.spec.online:
            learner.step(1.0)
        return self._off(record, turn, kept)

    def run(self, one: Pass, order: list[Any] | None = None) -> None:
        """Run the model as in this pass."""
        with GRADS[one.grad]():
            for turn in range(1 + one.twice):
                self.space["run"](self.net, self._input(one, turn), list(one.order) if order is None else order)

    def _disturb(self, learner: _Learners, one: Pass) -> None:
        """Something else happens in between."""
        if one.before == "eval":
            self.net.eval()
            self.run(one)
            self.net.train()
        elif one.before == "paused":
            with learner.paused():
                self.run(one)
        elif one.before == "raise" and self.spec.raises:
            with contextlib.suppress(IndexError):
                self.run(one, [*one.order[:2], 99])

    def _off(self, record: Record, turn: int, kept: dict[str, torch.Tensor]) -> str:
        modules = dict(self.net.named_modules())
        for name in self.meaning.layers:
            layer: Any = modules[name]
            moved = (layer.weight.detach() - kept[f"{name}.weight"]).double().numpy() / self.lr
            want = np.zeros(moved.shape)
            for other in self.plastic:
                if modules[other].weight is layer.weight:
                    want += change(layer, other, turn, self.meaning, record, self.kernel)
            off = np.abs(moved - want).max()
            if off > 1e-4 * max(1.0, np.abs(want).max()):
                return f"{name}: Δw is off by {off:.3g}, the largest is {np.abs(want).max():.3g}"
        return ""

    def _restore(self, kept: dict[str, torch.Tensor]) -> None:
        modules = dict(self.net.named_modules())
        with torch.no_grad():
            for name in self.meaning.layers:
                modules[name].weight.copy_(kept[f"{name}.weight"])  # type: ignore[union-attr, operator]

    def _moved(self, kept: dict[str, torch.Tensor]) -> bool:
        weights = self.net.state_dict()
        return any(not torch.equal(weights[f"{n}.weight"], kept[f"{n}.weight"]) for n in self.meaning.layers)

    def _input(self, one: Pass, turn: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.spec.seed + 10 * one.steps + turn)
        return (torch.rand(*self.spec.shape(one), generator=generator) < 0.4).float()


class _Functions:
    """`torch.nn.functional`, where somebody notes what its maxima take."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getattr__(self, name: str) -> Any:
        function = getattr(nn.functional, name)
        return partial(self._pool, name, function) if name.startswith("max_pool") else function

    def _pool(self, name: str, function: Callable[..., Any], x: Any, *how: Any) -> Any:
        if self._run.record is not None:
            self._run.record.pool(name[-2:], x, *how)
        return function(x, *how)


class _Learners(list[PlasticityLearner]):
    """All that are attached."""

    def step(self, modulator: float) -> None:
        for learner in self:
            learner.step(modulator)

    def reset(self) -> None:
        for learner in self:
            learner.reset()

    def remove(self) -> None:
        for learner in self:
            learner.remove()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for learner in self:
                stack.enter_context(learner.paused())
            yield


class _Refused(Exception):
    """A refusal of the library's."""


@contextlib.contextmanager
def _refusals(where: str) -> Iterator[None]:
    try:
        yield
    except REFUSALS as error:
        frames = traceback.extract_tb(error.__traceback__)
        if not any("snn_plasticity" in frame.filename and "tests" not in frame.filename for frame in frames):
            raise
        if isinstance(error, PairingError) or "snn_plasticity" in frames[-1].filename:
            raise _Refused(f"{where}: {type(error).__name__}: {error}") from error
        raise


def _excite(net: nn.Module) -> None:
    """Weights at which neurons fire now and then."""
    for module in net.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            nn.init.uniform_(module.weight, -0.3, 0.6)
            nn.init.uniform_(module.bias, -0.1, 0.2)  # type: ignore[arg-type]


def sound(spec: Spec) -> Spec:
    """The same without what torch itself does not allow: in-place on some views, some operations in half precision."""
    if _runs(spec):
        return spec
    blocks = (replace(b, first=_out_of_place(b.first), between=_out_of_place(b.between)) for b in spec.blocks)
    passes = (replace(one, grad="grad" if one.grad == "autocast" else one.grad) for one in spec.passes)
    return replace(spec, blocks=tuple(blocks), passes=tuple(passes))


def _runs(spec: Spec) -> bool:
    run = Run(spec)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for one in spec.passes:
                run.run(one)
    except (RuntimeError, TypeError):
        return False
    return True


def _out_of_place(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in IN_PLACE)


def judge(seed: int) -> Verdict:
    """The verdict on the model of a seed."""
    return Run(sound(draw(seed))).verdict()


def shrink(verdict: Verdict) -> Verdict:
    """A simpler model of which the same is true."""
    progress = True
    while progress:
        progress = False
        for spec in simpler(verdict.spec):
            with contextlib.suppress(Exception):
                again = Run(spec).verdict()
                if again.outcome == verdict.outcome:
                    verdict, progress = again, True
                    break
    return verdict
