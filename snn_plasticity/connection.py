"""One plastic weight: where it lives, its eligibility, and what it is to change by since it last did.

A weight with an axis more than the geometry, (B, *shape), is one network for each sample: Δw_b = lr · gate_b · e_b,
with neither mean nor sum over the batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from ._activity import Activity
from ._checks import known_as, require_flag, require_kind, require_number, require_real, require_tensors
from ._noted_steps import NotedSteps
from ._saved import require_parts, require_settings
from ._untracked import AS_IT_IS, untracked
from ._weights import FLATTENED, WeightGuard
from .config import PlasticityConfig
from .config.eligibility import TracePath
from .config.validation import require_config
from .feedback import FeedbackState, read_feedback
from .kernels.named_kernels import kernel_of, words_of
from .kernels.post_side import PostSide, post_side_of
from .kernels.stdp import Kernel
from .layers.geometry import Geometry
from .layers.synapses import geometry_of, require_geometry
from .plasticity._engine.compiled import BoundLanding
from .plasticity._engine.edge_steps import EdgeLanding
from .plasticity._engine.engine import RunningTraces
from .plasticity.eligibility import EligibilityTraceModule
from .plasticity.leaky_readout import settings_of_traces
from .plasticity.per_sample import modulate_each, require_samples, samples_of
from .plasticity.rewiring import follower_of, rewire
from .plasticity.saved_checks import read_pending, settings_of
from .plasticity.three_factor import Landing, ThreeFactorUpdate

__all__ = ["Connection"]


class ConnectionMark(NamedTuple):
    """A connection as it was, all but its weight."""

    traces: Any
    pending: Tensor | None
    steps: int
    feedback: Any


class Connection:
    """A weight that learns. It is told what its pre and post neurons did; it knows no host library.

    Args:
        name: how the learner and the user call it.
        module, attribute: where the weight lives; it is looked up anew at every use.
        config: eligibility and three-factor settings.
        geometry: how its synapses are laid out; by default that of `module`.
        mask: weight-shaped; changes are multiplied by it. Where it is zero the weight never moves, whatever its bounds
            or a `reduce` say (forbidden autapses, synapses that are missing).
        strict: whether another batch size in mid-sequence is an error (else traces restart, with one warning).
        path: how the traces are worked out; see `EligibilityTraceModule`.
        post: what is supplied as the post side: None for what the kernel reads, or a function of the user's.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        attribute: str = "weight",
        config: PlasticityConfig | None = None,
        *,
        geometry: Geometry | None = None,
        mask: Tensor | None = None,
        strict: bool = True,
        path: TracePath = "auto",
        post: PostSide | None = None,
    ) -> None:
        self.name = require_kind("name", name, str, "As 'fc1'.")
        self.module = require_kind("module", module, nn.Module, "The layer that holds the weight.")
        self.attribute = require_kind("attribute", attribute, str, "As 'weight'.")
        if not isinstance(getattr(module, attribute, None), Tensor):
            raise ValueError(f"attribute = {attribute!r}; {type(module).__name__} has no tensor of that name.")
        self.config = require_config(config, PlasticityConfig)
        geometry = geometry_of(module) if geometry is None else require_geometry(geometry)
        if mask is not None:
            require_tensors({"mask": mask, "the weight": self.weight}, like="the weight")
        self.samples = samples_of(name, self.weight, geometry, path)  # B, where each has weights of its own; else None
        self._follower, self._post = follower_of(module, geometry), post
        self._path: TracePath = path  # that was asked for; the traces' own is the one that suits them
        self.feedback: FeedbackState | None = None  # B, where a loss comes down to it by feedback
        self._remember(geometry, path)
        self.update = ThreeFactorUpdate(self.config.three_factor, self.config.eligibility.convention.reduction)
        self.mask, self.strict, self.enabled = mask, require_flag("strict", strict), True
        self.fixed = None if mask is None else mask == 0  # weights that never move
        self.note, self.activity = "", Activity()  # such as that it feeds no neuron; what it has seen
        # calls that were not observed because the layer or its neuron was in eval(); how much the last step had met
        self.seen_in_eval = self.met = self.met_in_eval = 0
        self._foreign, self._dt = self._runs_foreign_code(), self.config.eligibility.dt
        self._averages = self.samples is None and self.update.reduction == "mean"  # over the batch
        self._changes_at_once = self.config.three_factor.update_frequency == 1 and self.samples is None
        # moved: whether a step is known to have changed something
        self._pending, self._steps, self.moved, self._warned = None, 0, False, False
        self.noted, self._guard = NotedSteps(), WeightGuard(self.name, self.module, self.attribute)

    def _remember(self, geometry: Geometry, path: TracePath) -> None:
        """Traces of the kernel in the settings, which have seen nothing."""
        self._traces = EligibilityTraceModule(1, 1, settings_of_traces(self.config), geometry=geometry, path=path)
        self.post_side = post_side_of(kernel_of(self.config.eligibility), self._post)

    def take_kernel(self, kernel: Kernel, **settings: Any) -> None:
        """Go on with a kernel (and settings of the eligibility) that suits the neuron, before anything was observed."""
        self.config = replace(self.config, eligibility=replace(self.config.eligibility, kernel=kernel, **settings))
        by_place = self._traces.by_place
        self._remember(self._traces.rule.geometry, self._path)
        self._traces.by_place = by_place
        self._foreign = self._runs_foreign_code()

    @property
    def weight(self) -> Tensor:
        """The weight as it is now."""
        return getattr(self.module, self.attribute)

    @property
    def traces(self) -> EligibilityTraceModule:
        """Its eligibility traces, of the synapses that there are now."""
        if self._follower is not None:
            self._follow()
        return self._traces

    @property
    def eligibility(self) -> Tensor | None:
        """(B, *weight shape), or None before anything was observed."""
        return self.traces.eligibility

    def observe(self, pre: Tensor, post: Tensor, *, new_sequence: bool = False) -> None:
        """One step: pre (B, ...) went in, post (B, ...) came of it; what is refused changes nothing."""
        if not self.enabled:
            return
        running = None if new_sequence or self._follower is not None else self._traces._running
        if running is not None and running.take_step(pre, post, self._dt):
            activity = self.activity
            activity.seen += 1
            if activity.seen >= activity.due:
                activity.look(pre, post, spikes=self.post_side == "spikes")
            return
        if not (isinstance(pre, Tensor) and pre.dim()):
            require_real("pre", pre)
            raise ValueError("pre has no batch axis; expected (B, ...).")
        require_samples(self.name, self.samples, pre.shape[0])
        self.traces.observe(pre, post, first=self._first(pre.shape[0], new_sequence))
        self.activity.see(pre, post, spikes=self.post_side == "spikes")

    def observe_sequence(self, pre: Tensor, post: Tensor, *, new_sequence: bool) -> None:
        """A whole sequence: pre (T, B, ...) and post (T, B, ...); what is refused changes nothing."""
        if not self.enabled:
            return
        new_sequence, running = require_flag("new_sequence", new_sequence), self.traces._running
        edges = None if running is None or new_sequence else running.state.edge_steps
        if edges is not None and edges.take_window(running, pre, post, self._dt):
            self.activity.see_window(pre, post, spikes=self.post_side == "spikes")
            return
        if not (isinstance(pre, Tensor) and pre.dim() >= 2):
            require_real("pre", pre)
            raise ValueError(f"pre has shape {tuple(pre.shape)}; expected a window (T, B, ...).")
        require_samples(self.name, self.samples, pre.shape[1])
        self.traces.observe_window(pre, post, first=self._first(pre.shape[1], new_sequence))
        self.activity.see_window(pre, post, spikes=self.post_side == "spikes")

    def check_sides(self, pre: Tensor, post: Tensor, *, window: bool, new_sequence: bool) -> None:
        """Refuse what `observe` would refuse, or with `window` what `observe_sequence` would; nothing is changed."""
        if self.enabled:
            window, new_sequence = require_flag("window", window), require_flag("new_sequence", new_sequence)
            samples = pre.shape[int(window)] if isinstance(pre, Tensor) and pre.dim() > window else 0
            require_samples(self.name, self.samples, samples)
            anew = self._first(samples, new_sequence) is not None
            self.traces.check_sides(pre, post, window=window, anew=anew)

    def start_sequence(self) -> None:
        """A new sequence begins: traces start from zero, unless the config carries them on."""
        if not self.config.eligibility.carry:
            self.reset()

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget the eligibility, of all samples or of those in `mask` (B,), and the steps that wait for a loss."""
        self._forget(mask)
        self.activity.begin_anew(mask)

    def _forget(self, mask: Tensor | None) -> None:
        """As `reset`, of which no record is told yet: it may be taken back by `go_back`."""
        if mask is None:
            self._flush()
        self.noted.forget(mask)
        self.traces.reset(mask=mask)

    def discard_pending(self) -> None:
        """Drop the change that was not applied yet (`update_frequency` > 1)."""
        self._pending, self._steps = None, 0

    def has_known_weight(self) -> bool:
        """Whether the weight is the one that was last found fit to learn, as one quick look tells."""
        if self._follower is not None:
            self._follow()
        weight, guard = self.module._parameters.get(self.attribute), self._guard
        weight = getattr(self.module, self.attribute, None) if weight is None else weight
        if weight is None or guard.verified is None or weight is not guard.verified():
            return False
        guard.replaced = 0
        same = weight.dtype is guard.dtype and weight.shape == guard.shape
        return same and not weight.is_meta and FLATTENED not in weight.__dict__

    def check_weight(self, around: Callable[[], Iterable[nn.Module]] = list) -> None:
        """Refuse a weight in which a change would be lost; a weight that was looked at before is not looked at again.

        Args:
            around: tells the modules that the layer is in.

        Raises:
            RuntimeError: it is computed from others, sharded, on the meta device, or of another shape than at first.
        """
        if not self.has_known_weight():
            self._guard.look(around)

    def check_reset(self, mask: Tensor, *, traces: bool) -> None:
        """Refuse a mask (B,) that does not fit what was observed, or `traces` of samples that cannot forget alone."""
        try:
            self.traces.check_mask(mask, forgets=require_flag("traces", traces))
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None

    @property
    def running(self) -> RunningTraces | None:
        """Its running traces; None before anything was observed."""
        return self._traces._running

    def weight_change(self, mod: float | Tensor, lr_scale: float = 1.0) -> Tensor | None:
        """lr · lr_scale · reduce_B(mod · e), masked; None before the weight's turn, or with nothing observed.

        With `update_frequency` = k the modulators of k steps are worked out together, at the last of them.

        Raises:
            ValueError: a modulator that does not fit the eligibility, naming this connection; NaN.
        """
        if self.traces.batch_size is None:
            return None
        lr_scale = require_number("lr_scale", lr_scale)
        running = self._traces._running
        if running is None or not running.meets(mod):
            try:
                fitting = self._traces.modulator(self.noted.at_places(mod))
            except ValueError as error:
                raise ValueError(f"{self.name}: {error}") from None
            mod = mod if type(mod) is float else fitting
        lr = self.config.three_factor.lr * lr_scale
        if running is not None and self._changes_directly(running):
            change = running.change_at_once(mod, lr / (max(1, running.batch_size) if self._averages else 1))
            if change is not None:
                self.meet()
                return change
        mod = lr * mod
        if self.samples is None and self.config.three_factor.update_frequency == 1:
            change = self._traces.change(mod)
        else:
            self._queue(mod)
            self._steps += 1
            if self._steps < self.config.three_factor.update_frequency:
                return None
            self._flush()
            change = self._pending
        self.discard_pending()
        return change if self.mask is None or change is None else change * self.mask

    def landing_at_once(self, mod: float | Tensor, lr_scale: float) -> Landing | EdgeLanding | BoundLanding | None:
        """What `weight_change` and `landing` come to together where all is as usual; nothing is changed yet.

        None where there is more to look at, or something to refuse. What has landed is said by `meet`.
        """
        running, weight = self._traces._running, self.module._parameters.get(self.attribute)
        if weight is None or running is None or self.post_side == "gradient":
            return None
        update, clamp = self.update, self.config.three_factor.weight_clamp
        rate = self.config.three_factor.lr * lr_scale / (max(1, running.batch_size) if self._averages else 1)
        steps = running.state.edge_steps or running.state.steps if self.mask is None else None
        landing = None if steps is None else steps.landing(running, weight, mod, rate, update.ends)
        if landing is not None:
            return landing
        plain = weight.is_cpu and weight.dtype is running.like[1].dtype and not weight.is_inference()
        direct = plain and update.ends is not None and self._changes_directly(running)
        delta = running.change_at_once(mod, rate) if direct else None
        if delta is None:
            return None
        delta = delta if clamp is None else delta.clamp_(*clamp)
        if update.adds:
            return Landing(weight, delta, "sum")
        return Landing(weight, update.bounded(weight, delta), "weight")

    def meet(self) -> None:
        """A change has landed that was worked out at once."""
        self._traces._running.meet()  # type: ignore[union-attr]

    def _changes_directly(self, running: RunningTraces) -> bool:
        """Whether nothing stands between e and the Δw of one step."""
        if not self._changes_at_once or self.mask is not None or self.fixed is not None:
            return False
        return not (self._foreign and running.visible)  # what the user wrote may refuse in the middle of it

    def landing(self, delta: Tensor) -> Landing:
        """What a change of the weight comes to in the manner of the mode; nothing is changed yet.

        Raises:
            ValueError, TypeError: a change that is NaN, infinite or does not fit the weight, naming this connection.
        """
        weight = self.weight
        if not isinstance(delta, Tensor) or delta.is_meta != weight.is_meta:
            raise TypeError(f"{self.name}: delta is {known_as(delta)}; expected a tensor {tuple(weight.shape)}.")
        # the model may have moved since it last ran
        delta, fixed = delta.to(weight.device), None if self.fixed is None else self.fixed.to(weight.device)
        try:
            with AS_IT_IS if self.config.three_factor.mode == "auxiliary_loss" else untracked(weight):
                return self.update.landing(weight, delta, fixed)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{self.name}: {error}") from error

    def mark(self, *, safe: bool) -> ConnectionMark:
        """Everything as it is, to come back to with `go_back`; `safe` as in `EligibilityTraceModule.mark`."""
        safe = (safe is False and self._foreign) or safe
        return ConnectionMark(self.traces.mark(safe=safe), self._pending, self._steps, self.feedback)

    def go_back(self, mark: ConnectionMark) -> None:
        """Traces, and the change that was not applied yet, as they were at the mark."""
        require_kind("mark", mark, ConnectionMark, "What mark(safe=...) gave.")
        self.traces.go_back(mark.traces)
        self._pending, self._steps, self.feedback = mark.pending, mark.steps, mark.feedback

    def state_dict(self) -> dict[str, Any]:
        """Settings, traces, and the change that was not applied yet."""
        pending, traces = None if self._pending is None else self._pending.clone(), self.traces.get_extra_state()
        given = {} if self.feedback is None else {"feedback": list(self.feedback)}
        return {"settings": self._settings, "traces": traces, "asked": pending, "steps": self._steps} | given

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`; errors as in `read_state`."""
        self.read_state(state)()

    def read_state(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """Look at a saved state whole; what is returned goes on from it. Nothing is changed before.

        Raises:
            TypeError, ValueError: other settings, shapes, a stranger, NaN; naming this connection.
        """
        what = f"The saved {self.name}"
        feedback, named = read_feedback(what, state if self.post_side == "gradient" else None, self.weight.device)
        require_parts(what, state, ("settings", "traces", "asked", "steps", *named))
        require_settings(what, state["settings"], self._settings)
        shape = self.traces.rule.geometry.shape if self.samples is None else tuple(self._guard.shape)
        asked, each = (state["asked"], state["steps"]), self.config.three_factor.update_frequency
        pending, steps = read_pending(what, *asked, each, shape, self.weight.device)
        go_on = self.traces.read_state(state["traces"], what=what, device=self.weight.device)

        def commit() -> None:
            go_on()
            self._pending, self._steps, self.feedback = pending, steps, feedback

        return commit

    @property
    def _settings(self) -> dict[str, Any]:
        """What a saved state has to agree with; the names of the layers say which they are."""
        return settings_of(self.config, None if self._follower is None else self.traces.rule.geometry)

    def _runs_foreign_code(self) -> bool:
        """Whether a step runs code of the user's, or a path that may refuse in mid-step."""
        kernel = type(self.traces.rule.kernel).__module__.startswith(f"{__package__}.")
        return not kernel or self.traces.path == "shared" or callable(self.config.three_factor.weight_bounds)

    def _follow(self) -> None:
        """Go on with the edges that the layer has by now, where it is one whose edges come and go."""
        change = None if self._follower is None else self._follower.news()
        if change is not None:
            rewire(self._traces, change)
            self._pending, self.mask = change.placed(self._pending), change.placed(self.mask, 1.0)
            self.fixed, self._guard.shape = change.placed(self.fixed), self.weight.shape

    def _flush(self) -> None:
        """Work out the modulators that are queued in the running traces, before these are forgotten."""
        if self._steps and self.samples is None and self.traces.batch_size is not None:
            change = self.traces.flush()
            self._pending = change if self._pending is None else self._pending + change

    def _queue(self, mod: Tensor | float) -> None:
        """Queue a modulator of all samples, to be worked out later; of single samples it is worked out now."""
        if self.samples is None:
            self.traces.queue(mod)
            return
        now = modulate_each(self.traces, mod)
        self._pending = now if self._pending is None else self._pending + now

    def _first(self, new: int, new_sequence: bool) -> Callable[[], None] | None:
        """What is to be done before a batch of this size is recorded, once it is known to fit."""
        if self.strict and not new_sequence:
            return None
        known = self.traces.batch_size
        if known is None:
            return None
        if not self.strict and known != new:
            return lambda: self._restart(known, new)
        return self.reset if new_sequence and not self.config.eligibility.carry else None

    def _restart(self, known: int, new: int) -> None:
        """Another batch size starts the traces anew."""
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.name}: the batch size changed from {known} to {new} in mid-sequence; its traces start again "
                "from zero. Call learner.reset() between batches to say so yourself.",
                stacklevel=2,
            )
        self.reset()

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.traces.rule.geometry.shape))
        rule, note = self.config.eligibility, f"; {self.note}" if self.note else ""
        trace = f"{rule.trace_type} (τ={rule.tau_e:g})"
        return f"{self.name}: {shape}, {words_of(self.config)}, {trace}, {self.traces.path}{note}"
