"""Eligibility traces of a layer that remember: state held, changed in place, checked at the door."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .._checks import (
    as_real,
    length_of,
    require_count,
    require_device,
    require_finite,
    require_flag,
    require_kind,
    require_mask,
    require_number,
    require_pair,
    require_real,
)
from .._saved import FORMAT, described, require_format, require_settings
from ..config.eligibility import EligibilityConfig, TracePath
from ..config.validation import require_config
from ..conventions import Reduction
from ..kernels.operands import require_window
from ..layers.geometry import Geometry
from ..layers.synapses import geometry_of
from ._engine.engine import RunningTraces
from ._engine.snapshots import TraceMark, gone_back, marked, moved, of_units, pack, unpack
from ._engine.state import compiled_or_not, one_step
from .input_checks import (
    admitted_step,
    check_spikes,
    choose_path,
    layout_of,
    modulator_for,
    places_of,
    plain,
    recordable,
    require_mark,
    require_reduction,
    units_of,
    zeros_of,
)
from .input_checks import described as shown
from .memory import require_memory
from .rule import EligibilityRule
from .saved_checks import read_reset, unpacked


class EligibilityTraceModule(nn.Module):
    """Eligibility traces of a weight: accumulating, replacing or Dutch, over any kernel.

    e (B, N_post, N_pre), or (B, N) with `config.diagonal`, or (B, *weight.shape) with `for_layer`; fp32, or fp64 if the
    spikes are. Nothing here takes part in autograd; `rule` is the differentiable counterpart.

    Args:
        n_pre, n_post: numbers of neurons.
        config: kernel, trace and conventions.
        geometry: layout of the synapses, instead of a full matrix or a diagonal.
        connectivity: the synapses there are, as a boolean mask (N_post, N_pre) or a list (2, E) of pre and post
            neurons; e is then (B, E).
        path: "auto", "plain", "fold", "shared" or "rows", as in `attach`; "compiled" insists on compiled loops, "torch"
            does without. All are exact.

    Raises:
        ValueError: diagonal synapses between populations of different size, or a path that would not be exact.

    >>> module = EligibilityTraceModule(2, 1, EligibilityConfig(tau_e=20.0))
    >>> module.update(torch.tensor([[1.0, 0.0]]), torch.ones(1, 1))
    tensor([[[1., 0.]]])
    >>> module.update(torch.zeros(1, 2), torch.zeros(1, 1))
    tensor([[[0.9500, 0.0000]]])

    Gerstner, Lehmann, Liakoni, Corneil & Brea 2018.
    """

    def __init__(
        self,
        n_pre: int,
        n_post: int,
        config: EligibilityConfig | None = None,
        *,
        geometry: Geometry | None = None,
        connectivity: Tensor | None = None,
        path: TracePath = "auto",
    ) -> None:
        super().__init__()
        self.config = require_config(config, EligibilityConfig)
        if geometry is None:
            geometry = layout_of(n_pre, n_post, connectivity, diagonal=self.config.diagonal)
        self.rule = EligibilityRule.of(geometry, self.config)
        self.path: TracePath = choose_path(path, self.rule)
        self._running: RunningTraces | None = None
        self._given: tuple[int, torch.device | None] | None = None  # batch size and device given to reset
        self.by_place = False  # whether each place of a map will hear for itself, so that its eligibility is kept apart
        self._dt: float | None = None  # the step length that was admitted last, for these neurons

    @classmethod
    def for_layer(
        cls, layer: nn.Module, config: EligibilityConfig | None = None, *, path: TracePath = "auto"
    ) -> EligibilityTraceModule:
        """Traces shaped like the weight of a layer: pre is what goes into it, post what its neurons make of its output.

        Raises:
            TypeError: the layer has no weight of its own.

        >>> EligibilityTraceModule.for_layer(nn.Conv2d(1, 4, 3)).rule.geometry.shape
        (4, 1, 3, 3)
        """
        geometry = geometry_of(layer)
        return cls(geometry.shape[-1], geometry.shape[0], config, geometry=geometry, path=path)

    @property
    def batch_size(self) -> int | None:
        """Samples of the running sequence; None while any number may come."""
        if self._running is not None:
            return self._running.batch_size
        return self._given[0] if self._given else None

    @property
    def device(self) -> torch.device | None:
        """Where the running traces live; None before anything was observed."""
        return None if self._running is None else self._running.like[0].device

    @property
    def eligibility(self) -> Tensor | None:
        """What a modulator would meet now, (B, *weight shape); None before anything is known."""
        if self._running is None and self._given is not None:
            shape, device = (self._given[0], *self.rule.geometry.shape), self._given[1] or torch.get_default_device()
            require_memory("The eligibility", shape, torch.float32, device, "Reset to a smaller batch.")
            return torch.zeros(shape, device=device)
        if self._running is None:
            return None
        return self._running.eligibility()

    def reset(
        self,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
        *,
        mask: Tensor | None = None,
    ) -> None:
        """Forget: everything, or with a boolean `mask` (B,) those samples only.

        Args:
            batch_size: samples that will come; None takes whatever comes.
            device: where the traces live; None follows the spikes.
            mask: samples to forget; the others are left bit for bit as they are, and so is what a kernel of your own
                keeps for the whole batch.

        Raises:
            ValueError: a batch size below 1; a mask that is not boolean or not (B,), or with no batch running; a kernel
                whose state does not tell what belongs to a sample.
        """
        if mask is not None:
            self.check_mask(mask)
            if self._running is not None:
                self._running.forget(mask.to(self._running.like[0].device))
            return
        if batch_size is not None:
            batch_size = require_count("batch_size", batch_size)
        place = require_device("device", device)
        self.by_place |= self._running is not None and self._running.state.by_place
        self._running = self._dt = None
        self._given = None if batch_size is None else (batch_size, place)

    def check_mask(self, mask: Tensor, *, forgets: bool = True) -> None:
        """Refuse a mask that `reset` could not follow, before anything is forgotten.

        Args:
            mask: boolean (B,).
            forgets: whether traces are to be forgotten; else only the shape counts.

        Raises:
            ValueError: it is not boolean or not (B,), or the path "shared" has made one sum of the samples.
        """
        require_mask(mask, self.batch_size)
        if forgets and self._running is not None:
            self._running.check_forget()

    def start_sequence(self) -> None:
        """A new sequence begins: traces start from zero, unless `config.carry`."""
        if not self.config.carry:
            self.reset()

    def observe(
        self, pre: Tensor, post: Tensor, dt: float | None = None, *, first: Callable[[], None] | None = None
    ) -> None:
        """One step, without reading e.

        Args:
            pre: (B, N_pre), spikes or rates; for a layer, its input.
            post: (B, N_post); for a layer, shaped like its output.
            dt: step length; None takes `config.dt`.
            first: done once these spikes are known to fit, before they are recorded: it ends the running sequence.

        Raises:
            TypeError: no real tensors.
            ValueError: wrong shape, another batch size than the running sequence, NaN, infinity; dt that is not > 0, or
                longer than a time constant with Euler decay.
            MemoryError: traces that would take too much of the memory that is free.
        """
        if first is None and self._take_step(pre, post, dt):
            return
        dt = self._fits(pre, post, dt, anew=first is not None)
        at_once = self.path == "plain" if self._running is None else self._running.at_once
        look = require_finite if at_once else recordable
        kept = look("pre", pre), look("post", post)
        if first is not None:
            first()
        running = self._begun(pre, post)
        if len(pre):
            running.record(*self._wide(*kept), dt)

    def check_sides(
        self, pre: Tensor, post: Tensor, dt: float | None = None, *, window: bool = False, anew: bool = False
    ) -> None:
        """Refuse what `observe` would refuse, or with `window` what `observe_window` would; nothing is changed.

        Args:
            pre, post, dt: as there.
            window: whether these are many steps (T, B, ...).
            anew: whether a new sequence begins with them.
        """
        window, anew = require_flag("window", window), require_flag("anew", anew)
        (self._window_fits if window else self._fits)(pre, post, dt, anew=anew)
        require_finite("pre", pre)
        require_finite("post", post)
        if anew or self._running is None:
            RunningTraces(self.rule, zeros_of(*((pre[0], post[0]) if window else (pre, post))), self.path)

    def _take_step(self, pre: Tensor, post: Tensor, dt: float | None = None) -> bool:
        """One step by the shortest way there is; False, and nothing, where there is none.

        It is `observe` without what that looks at: whatever there is to refuse is left to `observe`.
        """
        running, dt = self._running, self.config.dt if dt is None else dt
        return running is not None and type(dt) is float and running.take_step(pre, post, dt)

    def update(self, pre: Tensor, post: Tensor, dt: float | None = None) -> Tensor:
        """One step as in `observe`; returns e, a view of the living traces (clone it to keep it)."""
        dt = self._fits(pre, post, dt)
        kept = require_finite("pre", pre), require_finite("post", post)
        running = self._begun(pre, post)
        return running.update(*self._wide(*kept), dt) if len(pre) else running.eligibility()

    def observe_window(
        self, pre: Tensor, post: Tensor, dt: float | None = None, *, first: Callable[[], None] | None = None
    ) -> None:
        """Many steps at once, pre (T, B, ...) and post (T, B, ...), without reading e; else as `observe`."""
        dt = self._window_fits(pre, post, dt, anew=first is not None)
        kept = recordable("pre", pre), recordable("post", post)
        if first is not None:
            first()
        running = self._begun(pre[0], post[0])
        if pre.shape[1]:
            running.record_window(*self._wide(*kept), dt)

    def update_window(self, pre: Tensor, post: Tensor, dt: float | None = None) -> Tensor:
        """Many steps at once as in `observe_window`; returns e after the last."""
        self.observe_window(pre, post, dt)
        return self._observed().eligibility()

    def modulate_window(
        self, pre: Tensor, post: Tensor, mod: Tensor, dt: float | None = None, *, reduction: Reduction | None = None
    ) -> Tensor:
        """Σ_t reduce_B(m_t · e_t) over many steps at once, shaped like the weight; no e is built where none need be.

        Args:
            pre, post, dt: as in `observe_window`.
            mod: a modulator for each step, (T,), (T, B), (T, B, N_post), or (T, B, C, *places) of a convolution.
            reduction: "mean" or "sum" over the batch; None takes the convention's.

        Raises:
            ValueError: a modulator of another shape, or as `observe`.
        """
        require_reduction(reduction)
        dt = self._window_fits(pre, post, dt)
        mod = mod if isinstance(mod, Tensor) or length_of(mod) is None else as_real("mod", mod)
        if not isinstance(mod, Tensor) or mod.dim() == 0 or len(mod) != len(pre):
            raise ValueError(f"mod is {shown(mod)}; expected a modulator for each of the {len(pre)} steps, (T, ...).")
        require_real("mod", mod)
        require_finite("mod", mod)
        kept = recordable("pre", pre), recordable("post", post)
        before = self._running
        running = self._begun(pre[0], post[0])
        try:
            first = self.modulator(mod[0])
        except (TypeError, ValueError):
            self._running = before
            raise
        if not pre.shape[1]:
            return first.new_zeros(self.rule.geometry.shape)
        mod = mod.detach().to(first).reshape(len(mod), *first.shape)
        return self._reduced(running.modulate_window(*self._wide(*kept), dt, mod), reduction)

    def change(self, mod: float | Tensor, reduction: Reduction | None = None) -> Tensor:
        """reduce_B(mod · e) as things stand, shaped like the weight; e is built only where it must be.

        Args:
            mod: (), (B,), (B, 1), (B, N_post), or (B, C, *places) of a convolution's output.
            reduction: "mean" or "sum" over the batch; None takes the convention's.

        Raises:
            ValueError: nothing was observed yet, or a modulator of another shape.
        """
        running = self._running
        if reduction is None and running is not None and isinstance(mod, Tensor) and running.meets(mod):
            mean = running.batch_size > 1 and self.config.convention.reduction == "mean"
            found = running.change_at_once(mod, 1.0 / running.batch_size if mean else 1.0, finite=False)
            if found is not None:
                running.meet()
                return found
        require_reduction(reduction)
        mod = require_finite("modulator", self.modulator(mod))
        if running is None or not running.batch_size:
            return mod.new_zeros(self.rule.geometry.shape)
        total = running.change(mod.detach())
        running.meet()
        return self._reduced(total, reduction)

    def queue(self, mod: float | Tensor) -> None:
        """A modulator that meets e now, worked out together with others by `flush`; errors as in `change`."""
        self._observed().queue(require_finite("modulator", self.modulator(mod)).detach().clone())

    def flush(self, reduction: Reduction | None = None) -> Tensor:
        """Σ of what was asked since the last time, shaped like the weight."""
        require_reduction(reduction)
        return self._reduced(self._observed().flush(), reduction)

    def modulator(self, mod: float | Tensor) -> Tensor:
        """A modulator beside the traces, (), (B,) or (B, N_post); of a convolution (B, C, *places), too.

        Raises:
            ValueError: any other shape, naming both.
        """
        if self._running is None and self._given is not None:
            batch, like = self._given[0], torch.zeros((), device=self._given[1])
        else:
            batch, like = self._observed().batch_size, self._observed().like[1]
        return modulator_for(mod, like, batch, self.rule, shared=self.path == "shared")

    def apply_update(
        self,
        weights: Tensor,
        mod_signal: float | Tensor,
        *,
        lr: float,
        clamp: tuple[float, float] | None = None,
    ) -> Tensor:
        """Weights after Δw = clamp(lr · reduce_B(mod · e)), a new tensor.

        Args:
            weights: shaped like the layer's weight.
            mod_signal: the third factor, (), (B,) or (B, N_post).
            lr: learning rate. clamp: range of Δw around zero, or None.

        Raises:
            ValueError: nothing was observed yet, shapes that do not fit, or a clamp that leaves out zero.
        """
        require_real("weights", weights)
        most = torch.finfo(torch.float32).max
        lr = require_number("lr", lr, -most, most)
        clamp = None if clamp is None else require_pair("clamp", clamp, around_zero=True)
        if tuple(weights.shape) != self.rule.geometry.shape:
            raise ValueError(
                f"weights have shape {tuple(weights.shape)}; expected {self.rule.geometry.shape}, one per trace."
            )
        if self.device is not None and weights.device != self.device:
            raise ValueError(f"weights are on {weights.device} and the traces on {self.device}; move one of them.")
        change = lr * self.change(mod_signal)
        return weights + (change if clamp is None else change.clamp(*clamp)).to(weights.dtype)

    def mark(self, *, safe: bool) -> tuple[TraceMark | None, Any]:
        """The traces as they are, to come back to with `go_back` when a step is refused.

        Args:
            safe: whether what waits to be folded is copied; else it may stay folded, which is the same eligibility.
        """
        safe = require_flag("safe", safe)
        return None if self._running is None else marked(self._running, safe=safe), self._given

    def go_back(self, mark: tuple[TraceMark | None, Any]) -> None:
        """The traces as they were at the mark."""
        require_mark(mark)
        running, self._given = mark
        self._running = None if running is None else gone_back(running)

    def take_units(self, source: EligibilityTraceModule, pre: Tensor | None = None, post: Tensor | None = None) -> None:
        """Go on where the traces of a smaller or larger layer are; what is new here stays, or begins at zero.

        Spikes that wait there are worked in first; modulators that are queued there stay there.

        Args:
            source: the other traces, with the same settings.
            pre, post: for each pre and post neuron here its index there, −1 for a new one, (N,); None: the same ones.

        Raises:
            TypeError: no traces, or indices that are no integers.
            ValueError: other settings, indices that do not fit, a path that keeps no eligibility of single samples, or
                a kernel whose state does not tell what belongs to a neuron.
        """
        require_kind("source", source, EligibilityTraceModule, "As EligibilityTraceModule(4, 3).")
        require_settings("The eligibility of the other net", source.settings, self.settings)
        units = units_of(source.rule.geometry, self.rule.geometry, pre, post)
        if source._running is None:
            self.reset()
            return
        source._running.eligibility()
        own = self._running if self.batch_size == source.batch_size else None
        self._running = of_units(self.rule, self.path, source._running, units, own)

    def get_extra_state(self) -> dict[str, Any]:
        """Settings and running traces, as plain values and tensors: they travel in `state_dict`."""
        given = None if self._given is None else [self._given[0], str(self._given[1] or "")]
        running = None if self._running is None else pack(self._running)
        return {"format": FORMAT, "settings": self.settings, "asked": given, "running": running}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from saved traces, bit for bit, or refuse them and change nothing; errors as in `read_state`."""
        self.read_state(state)()

    def read_state(
        self, state: Any, *, what: str = "The saved traces", device: torch.device | None = None
    ) -> Callable[[], None]:
        """Look at saved traces whole; what is returned goes on from them, on a device. Nothing is changed before.

        Raises:
            TypeError: no saved traces.
            ValueError: of another format, layer or path, with other settings, or with NaN.
        """
        require_format(what, state, ("settings", "asked", "running"))
        require_settings(what, state["settings"], self.settings)
        given = read_reset(what, state["asked"])
        running = unpacked(what, state["running"], self.rule, self.path, device)

        def commit() -> None:
            self._running, self._given = running, given

        return commit

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What saved traces have to agree with."""
        return described(self.config)

    def extra_repr(self) -> str:
        """Geometry, kernel, trace, path, whether loops are compiled and, once there are spikes, the strategy of now."""
        strategy = "" if self._running is None else f", strategy={self._running.strategy!r}"
        rule, like = self.rule, one_step(self.rule.geometry) if self._running is None else self._running.like
        compiled = f"compiled={compiled_or_not(rule, like, self.path)}"
        return f"{rule.geometry}, {rule.kernel}, {rule.trace}, path={self.path!r}, {compiled}{strategy}"

    def _apply(self, fn: Any, recurse: bool = True) -> EligibilityTraceModule:
        """Follow `.to(device)` and `.double()`; traces never fall below fp32."""
        super()._apply(fn, recurse)
        if self._running is not None:
            self._running = unpack(self.rule, moved(pack(self._running), fn), self.path)
        return self

    def _begun(self, pre: Tensor, post: Tensor) -> RunningTraces:
        """The running traces, started if these are the first spikes (one step's, for their shape and device)."""
        if self._running is None:
            by_place = self.by_place and places_of(self.rule, post) is not None
            self._running = RunningTraces(self.rule, zeros_of(pre, post), self.path, by_place=by_place)
        self._running.admitted = self._dt
        return self._running

    def _observed(self) -> RunningTraces:
        if self._running is None:
            raise ValueError("There is no eligibility yet; call reset(batch_size) or update(pre, post) first.")
        return self._running

    def _wide(self, pre: Tensor, post: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes in the precision of the traces, or as booleans."""
        return plain(pre, dtype := self._observed().like[0].dtype), plain(post, dtype)

    def _reduced(self, total: Tensor, reduction: Reduction | None) -> Tensor:
        """A sum over the batch as the convention wants it."""
        batch = self._observed().batch_size
        mean = batch > 1 and (reduction or self.config.convention.reduction) == "mean"
        return total.div_(batch) if mean else total

    def _fits(self, pre: Tensor, post: Tensor, dt: float | None, *, anew: bool = False) -> float:
        """Refuse spikes that do not fit, whatever their values; the step length otherwise."""
        like = None if self._running is None or anew else self._running.like
        check_spikes(self.rule, pre, post, like, self._given[0] if self._given and not anew else None)
        dt = self.config.dt if dt is None else dt
        if anew or type(dt) is not float or dt != self._dt:
            dt = self._dt = admitted_step(self.rule, pre, post, dt)
        return dt

    def _window_fits(self, pre: Tensor, post: Tensor, dt: float | None, *, anew: bool = False) -> float:
        require_window(pre, post)
        return self._fits(pre[0], post[0], dt, anew=anew)
