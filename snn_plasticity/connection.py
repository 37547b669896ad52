"""One plastic weight: where it lives, its eligibility, and what has been asked of it since it last changed."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from .config import PlasticityConfig
from .plasticity.eligibility import EligibilityTraceModule
from .plasticity.geometry import Geometry
from .plasticity.synapses import geometry_of
from .plasticity.three_factor import ThreeFactorUpdate, UpdateState, modulate, modulator_like


class Connection:
    """A weight that learns. It is told what its pre and post neurons did; it knows no host library.

    Args:
        name: how the learner and the user call it.
        module, attribute: where the weight lives; it is looked up anew at every use.
        config: eligibility and three-factor settings.
        geometry: how its synapses are laid out; by default that of `module`.
        mask: weight-shaped; changes are multiplied by it (zeros never learn, as with forbidden autapses).
        strict: whether another batch size in mid-sequence is an error (else traces restart, with one warning).
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
    ) -> None:
        self.name, self.module, self.attribute = name, module, attribute
        self.config = config or PlasticityConfig()
        geometry = geometry or geometry_of(module)
        eligibility = self.config.eligibility
        self.traces = EligibilityTraceModule(geometry.shape[-1], geometry.shape[0], eligibility, geometry=geometry)
        self.update = ThreeFactorUpdate(self.config.three_factor, eligibility.convention.reduction)
        self.mask, self.strict, self.enabled = mask, strict, True
        self.note = ""  # what there is to say about it, such as that it feeds no neuron
        self._asked, self._warned = UpdateState(), False

    @property
    def weight(self) -> Tensor:
        """The weight as it is now."""
        return getattr(self.module, self.attribute)

    @property
    def eligibility(self) -> Tensor | None:
        """(B, *weight shape), or None before anything was observed."""
        return self.traces.eligibility

    def observe(self, pre: Tensor, post: Tensor) -> None:
        """One step: pre (B, ...) went in, post (B, ...) came of it."""
        if not self.enabled:
            return
        known = self.traces.batch_size
        if not self.strict and known is not None and known != len(pre):
            self._restart(known, len(pre))
        self.traces.observe(pre, post)

    def observe_sequence(self, pre: Tensor, post: Tensor, *, new_sequence: bool) -> None:
        """A whole sequence: pre (T, B, ...) and post (T, B, ...)."""
        if not self.enabled:
            return
        if new_sequence:
            self.start_sequence()
        for now_pre, now_post in zip(pre, post, strict=True):
            self.observe(now_pre, now_post)

    def start_sequence(self) -> None:
        """A new sequence begins: traces start from zero, unless the config carries them on."""
        self.traces.start_sequence()

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget the eligibility, of all samples or of those in `mask` (B,)."""
        self.traces.reset(mask=mask)

    def forget_asked(self) -> None:
        """Drop what was asked but not applied yet (`update_frequency` > 1)."""
        self._asked = UpdateState()

    def check(self, mod: float | Tensor) -> None:
        """Refuse a modulator that does not fit the eligibility, before anything changes."""
        if self.eligibility is not None:
            try:
                modulator_like(mod, self.eligibility)
            except ValueError as error:
                raise ValueError(f"{self.name}: {error}") from None

    def ask(self, mod: float | Tensor, lr_scale: float = 1.0) -> Tensor | None:
        """What the modulator asks of the weight; None before the weight's turn, or with nothing observed."""
        e = self.eligibility
        if e is None:
            return None
        asked = self.config.three_factor.lr * lr_scale * modulate(mod, e, self.update.reduction)
        if self.mask is not None:
            asked = asked * self.mask
        due, self._asked = self.update.ask(asked, self._asked)
        return due

    def state_dict(self) -> dict[str, object]:
        """Traces, and what was asked but not applied yet."""
        return {"traces": self.traces.get_extra_state(), "asked": self._asked.asked, "steps": self._asked.steps}

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state_dict`."""
        self.traces.set_extra_state(state["traces"])
        asked = state["asked"]
        self._asked = UpdateState(None if asked is None else asked.clone(), state["steps"])

    def _restart(self, known: int, new: int) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.name}: the batch size changed from {known} to {new} in mid-sequence; its traces start again "
                "from zero. Call learner.reset() between batches to say so yourself.",
                stacklevel=2,
            )
        self.traces.reset()

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.traces.rule.geometry.shape))
        rule = self.config.eligibility
        kernel = rule.kernel if isinstance(rule.kernel, str) else repr(rule.kernel)
        note = f"; {self.note}" if self.note else ""
        return f"{self.name}: {shape}, {kernel}, {rule.trace_type} (τ={rule.tau_e:g}){note}"


def low_precision(weight: Tensor) -> bool:
    """Whether small changes of this weight are rounded away."""
    return weight.dtype in (torch.float16, torch.bfloat16)
