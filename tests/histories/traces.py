"""Histories of one `EligibilityTraceModule`."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import reference
import torch

from snn_plasticity import EligibilityTraceModule

from . import settings
from .layers import any_layer
from .story import Mismatch, Player, numbers, palette

PATHS = (*["auto"] * 5, *["fold"] * 3, "plain", "rows", "shared")


class TraceHistory(Player):
    """Steps, windows, modulators, resets, sequences, saving and loading, on every path."""

    HEAD = ("from math import exp", "from torch import nn",
            "mexican_hat = lambda dt: (1 - (dt / 3) ** 2) * exp(-(dt / 3) ** 2 / 2) - .02 * dt")  # fmt: skip
    events = {
        "observe": 8, "update": 2, "window": 3, "long_train": 0.5,
        "many_windows": 0.5, "modulated_window": 1.5, "change": 4, "peek": 2,
        "forget": 0.7, "forget_some": 1, "new_sequence": 1, "save_and_load": 1, "another_batch": 0.4, "bad_input": 1,
        "new_weights": 0.7,
    }  # fmt: skip

    def set_up(self) -> None:
        """A module and its reference."""
        draw = self.draw
        self.double = draw.random() < 0.75
        self.rtol = 1e-9 if self.double else 1e-4
        self.kind = draw.choice(("float", "float", "float", "long", "bool")) if not self.double else "float"
        self.chosen, self.said = settings.eligibility(draw), settings.convention(draw)
        self.config, given = settings.both(self.chosen, self.said)
        self.layer = any_layer(draw)
        if self.layer.kind == "diagonal":
            self.config = replace(self.config, diagonal=True)
        self.batch, self.path = draw.randint(1, 3), draw.choice(PATHS)
        self.look = draw.choice(("live", "copy", "copy", "end", "end", "end"))
        self.varied_dt = self.chosen["kernel"] != "window" and draw.random() < 0.2
        zeros_and_ones = ["spikes", "sparse", "silent", "saturated"]
        self.palette = palette(draw, 3, positive=settings.cancels(self.chosen, self.layer.reference))
        if self.kind != "float" or draw.random() < 0.45:
            self.palette = draw.sample([*zeros_and_ones, *["counts"] * (self.kind == "long")], 2)
        self.sized = False
        self.oracle = reference.Traces(self.layer.reference, given)
        self.module = self.made()
        self.tally.count(f"path {self.path}")
        self.tally.count(f"kernel {self.chosen['kernel']}")
        self.tally.count(f"trace {self.chosen['trace_type']}")
        self.tally.count(f"layer {self.layer.kind}")

    def excused(self, error: Exception) -> bool:
        """The shared path keeps no single samples, and says so when a clamp might bind."""
        return self.path == "shared" and self.config.clamp_range is not None and "'shared'" in str(error)

    def made(self) -> EligibilityTraceModule:
        """A module on the chosen path, or on "auto" where that one is refused."""
        try:
            return self.build()
        except ValueError:
            self.path = "auto"
            return self.build()

    def build(self) -> EligibilityTraceModule:
        layer, config = self.layer, self.config
        if self.telling:
            self.lines = self.lines[: len(self.HEAD) + 2]
            self.lines += settings.spelt(
                self.chosen | ({"diagonal": True} if layer.kind == "diagonal" else {}), self.said
            ).split("\n")
            how = f".for_layer({layer.spelt}, config" if layer.module is not None else f"({layer.spelt}"
            self.lines.append(f"m = EligibilityTraceModule{how}, path={self.path!r})")
        if layer.module is not None:
            return EligibilityTraceModule.for_layer(layer.module, config, path=self.path)
        n_pre, n_post = layer.pre[0], layer.post[0]
        return EligibilityTraceModule(n_pre, n_post, config, connectivity=layer.connectivity, path=self.path)

    # inputs

    def spikes(self, *leading: int) -> tuple[np.ndarray, np.ndarray]:
        """Pre and post, (..., B, *shape)."""
        kinds = [self.draw.choice(self.palette) for _ in "ab"]
        pre = self.activity((*leading, self.batch, *self.layer.pre), kinds[0])
        return pre, self.activity((*leading, self.batch, *self.layer.post), kinds[1])

    def given(self, values: np.ndarray) -> torch.Tensor:
        """Activity as the package gets it."""
        if self.kind == "float":
            return self.tensor(values)
        return torch.as_tensor(values.astype(np.int64 if self.kind == "long" else bool))

    def spell(self, value: object) -> str:
        """Activity in its own type."""
        if self.kind == "float" or not isinstance(value, np.ndarray) or (value % 1).any() or value.ndim < 2:
            return super().spell(value)
        dtype = {"long": (np.int64, "int64"), "bool": (bool, "bool")}[self.kind]
        return f"torch.tensor({value.astype(dtype[0]).tolist()}, dtype=torch.{dtype[1]})"

    def step_length(self) -> float | None:
        """The settings', or another one for this call."""
        return self.draw.choice((None, 0.5, 1.0, 2.0)) if self.varied_dt else None

    def modulator(self, *leading: int) -> np.ndarray:
        """One number, one per sample, or one per sample and neuron; sometimes zero."""
        n_post = self.layer.post[-1 if self.layer.kind == "positions" else 0]
        shapes: list[tuple[int, ...]] = [()]
        if self.path != "shared":
            shapes += [(self.batch,), (self.batch, n_post)]
            shapes += [] if leading else [(self.batch, 1)]
        shape = self.draw.choice(shapes)
        return np.round(self.rng.standard_normal((*leading, *shape)), 3) * (self.draw.random() > 0.1)

    # events

    def observe(self) -> None:
        """One step."""
        pre, post, dt = *self.spikes(), self.step_length()
        self.say("m.observe({}, {}, {})", pre, post, dt)
        self.module.observe(self.given(pre), self.given(post), dt)
        self.oracle.observe(pre, post, dt)
        self.check()

    def update(self) -> None:
        """One step, and its eligibility."""
        if self.path == "shared":
            self.observe()
            return
        pre, post, dt = *self.spikes(), self.step_length()
        self.say("e = m.update({}, {}, {})", pre, post, dt)
        got = self.module.update(self.given(pre), self.given(post), dt)
        self.oracle.observe(pre, post, dt)
        self.compare_e(got, "e")

    def window(self, steps: int | None = None) -> None:
        """Many steps in one call."""
        steps = steps or self.draw.choice((1, 2, 3, 5, 8, 20))
        pre, post = self.spikes(steps)
        dt = self.step_length()
        read = self.path != "shared" and self.draw.random() < 0.3
        self.say(f"e = m.{'update' if read else 'observe'}_window" + "({}, {}, {})", pre, post, dt)
        way = self.module.update_window if read else self.module.observe_window
        got: Any = way(self.given(pre), self.given(post), dt)
        for p, q in zip(pre, post, strict=True):
            self.oracle.observe(p, q, dt)
        if read:
            self.compare_e(got, "e")
        else:
            self.check()

    def long_train(self) -> None:
        """Very many steps, one by one or in one call."""
        steps = self.draw.choice((40, 70, 140))
        if len(self.layer.post) > 1:
            steps //= 4
        if self.draw.random() < 0.4:
            self.window(steps)
            return
        pre, post = self.spikes(steps)
        self.say("for p, q in zip({}, {}): m.observe(p, q)", pre, post)
        for p, q in zip(pre, post, strict=True):
            self.module.observe(self.given(p), self.given(q))
            self.oracle.observe(p, q)
        self.check()

    def many_windows(self) -> None:
        """Window after window, a modulator between them, until a clamp may bind that was far away at first."""
        steps, kinds = self.draw.choice((2, 3, 5, 10)), self.palette
        self.palette = [self.draw.choice(("spikes", "spikes", "saturated"))]
        for _ in range(self.draw.randint(4, 16)):
            self.window(steps)
            self.draw.choice((self.peek, self.change, self.check))()
        self.palette = kinds

    def modulated_window(self) -> None:
        """Many steps with a modulator after each."""
        steps = self.draw.choice((1, 2, 4, 7))
        pre, post = self.spikes(steps)
        mod, dt = self.modulator(steps), self.step_length()
        reduction = self.draw.choice((None, "mean", "sum"))
        self.say("d = m.modulate_window({}, {}, {}, {}, reduction={})", pre, post, mod, dt, reduction)
        got = self.module.modulate_window(self.given(pre), self.given(post), self.tensor(mod), dt, reduction=reduction)
        wanted = np.zeros(self.layer.reference.shape)
        for p, q, m in zip(pre, post, mod, strict=True):
            self.oracle.observe(p, q, dt)
            wanted = wanted + self.oracle.change(m, reduction)
        self.compare("change of a window", got, wanted, "d")

    def change(self) -> None:
        """A modulator meets what is there."""
        if self.oracle.now is None:
            if not self.sized:
                self.refused("change with nothing observed", lambda: self.module.change(1.0))
            return
        mod, reduction = self.modulator(), self.draw.choice((None, "mean", "sum"))
        self.say("d = m.change({}, {})", mod, reduction)
        given = float(mod) if mod.ndim == 0 and self.draw.random() < 0.5 else self.tensor(mod)
        self.compare("change", self.module.change(given, reduction), self.oracle.change(mod, reduction), "d")

    def new_weights(self) -> None:
        """`apply_update`."""
        if self.oracle.now is None:
            return
        mod, lr = self.modulator(), 0.1
        clamp = self.draw.choice((None, (-0.05, 0.02)))
        weights = np.round(self.rng.standard_normal(self.layer.reference.shape), 3)
        self.say("w = m.apply_update({}, {}, lr={}, clamp={})", weights, mod, lr, clamp)
        got = self.module.apply_update(self.tensor(weights), self.tensor(mod), lr=lr, clamp=clamp)
        delta = lr * self.oracle.change(mod)
        self.compare("weights", got, weights + (delta if clamp is None else np.clip(delta, *clamp)), "w")

    def peek(self) -> None:
        """Read the eligibility."""
        if self.path != "shared":
            self.say("e = m.eligibility")
            self.compare_e(self.module.eligibility, "e")

    def forget(self) -> None:
        """A whole reset."""
        size = self.draw.choice((None, self.batch))
        self.say("m.reset({})", size)
        self.module.reset(size)
        self.oracle.reset()
        self.sized = size is not None

    def forget_some(self) -> None:
        """A reset of some samples."""
        if self.path == "shared" or self.oracle.now is None:
            return
        mask = self.rng.random(self.batch) < 0.5
        self.say(f"m.reset(mask=torch.tensor({mask.tolist()}))")
        self.module.reset(mask=torch.as_tensor(mask))
        self.oracle.reset(mask)
        self.check()

    def new_sequence(self) -> None:
        """A sequence begins."""
        self.say("m.start_sequence()")
        self.module.start_sequence()
        self.oracle.start_sequence()

    def another_batch(self) -> None:
        """A reset, then another number of samples."""
        self.batch = self.draw.randint(1, 3)
        self.say("m.reset()")
        self.module.reset()
        self.sized = False
        self.oracle.reset()
        self.observe()

    def save_and_load(self) -> None:
        """Go on in another module, from what was saved."""
        saved = copy.deepcopy(self.module.state_dict())
        self.say("saved, m_ = m.state_dict(), m; m = copy.deepcopy(m); m.reset(); m.load_state_dict(saved)")
        telling, self.telling = self.telling, False
        fresh = self.build()
        self.telling = telling
        fresh.load_state_dict(saved)
        self.module = fresh
        self.check()

    def bad_input(self) -> None:
        """A call that is refused leaves everything as it was."""
        pre, post = self.spikes()
        if self.kind != "float" or not pre.size:
            return
        how = self.draw.choice(("nan", "inf", "shape", "batch", "dt", "nan in a window"))
        if how == "shape":
            pre = np.concatenate((pre, pre), axis=-1) if len(self.layer.post) == 1 else pre[..., None]
        elif how == "batch":
            if self.oracle.now is None:
                return
            pre, post = np.concatenate((pre, pre)), np.concatenate((post, post))
        elif how in ("nan", "inf"):
            pre.flat[0] = {"nan": np.nan, "inf": np.inf}[how]
        p, q = self.tensor(pre), self.tensor(post)
        self.say(f"try: m.observe({p.tolist()}, {q.tolist()})  # {how}\nexcept ValueError: pass")
        if how == "nan in a window":
            windows = torch.stack((p, p)), torch.stack((q, q * float("nan")))
            self.refused(how, lambda: self.module.observe_window(*windows))
        else:
            self.refused(how, lambda: self.module.observe(p, q, -1.0 if how == "dt" else None))
        self.check()

    # comparisons

    def check(self) -> None:
        """Look, in the manner of this history."""
        if self.look == "live":
            self.peek()
        elif self.look == "copy" and self.path != "shared":
            self.compare_e(copy.deepcopy(self.module).eligibility, "copy.deepcopy(m).eligibility")

    def finish(self) -> None:
        """What is left in the end."""
        self.peek()
        if self.oracle.now is not None:
            self.compare("change", self.module.change(1.0), self.oracle.change(1.0), "m.change(1.0)")

    def compare_e(self, got: torch.Tensor | None, said: str) -> None:
        """Eligibility; None is nothing yet, and so are zeros of a module that knows its batch."""
        wanted = self.oracle.e
        if wanted is None:
            self.same("eligibility is nothing", got is None or not bool(got.any()), True)
        elif got is None:
            raise Mismatch(f"eligibility: got None, expected {numbers(wanted)}")
        else:
            self.compare("eligibility", got, wanted, said)
