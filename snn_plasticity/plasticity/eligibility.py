"""Eligibility traces of a layer that remember: state held, changed in place, checked at the door."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map, tree_map_only

from ..checks import require_finite, require_real
from ..config import EligibilityConfig
from .dense import Dense, Diagonal
from .geometry import Geometry
from .rule import EligibilityRule, EligibilityState
from .saving import pack, unpack
from .synapses import geometry_of
from .three_factor import modulate


class EligibilityTraceModule(nn.Module):
    """Eligibility traces of a weight: accumulating, replacing or Dutch, over any kernel.

    e (B, N_post, N_pre), or (B, N) with `config.diagonal`, or (B, *weight.shape) with `for_layer`; fp32, or fp64 if the
    spikes are. Nothing here takes part in autograd; `rule` is the differentiable counterpart.

    Args:
        n_pre, n_post: numbers of neurons.
        config: kernel, trace and conventions.

    Raises:
        ValueError: diagonal synapses between populations of different size.

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
    ) -> None:
        super().__init__()
        self.config = config or EligibilityConfig()
        if geometry is None and self.config.diagonal and n_pre != n_post:
            raise ValueError(
                f"n_pre = {n_pre} and n_post = {n_post}; diagonal synapses need as many pre as post neurons."
            )
        if geometry is None:
            geometry = Diagonal(n_pre) if self.config.diagonal else Dense(n_pre, n_post)
        self.rule = EligibilityRule.of(geometry, self.config)
        self._state: EligibilityState | None = None
        self._like: tuple[Tensor, Tensor] | None = None  # zeros shaped like one step's pre and post
        self._asked: tuple[int, torch.device | None] | None = None  # batch size and device given to reset

    @classmethod
    def for_layer(cls, layer: nn.Module, config: EligibilityConfig | None = None) -> EligibilityTraceModule:
        """Traces shaped like the weight of a layer: pre is what goes into it, post what its neurons make of its output.

        Raises:
            TypeError: the layer has no weight of its own.

        >>> EligibilityTraceModule.for_layer(nn.Conv2d(1, 4, 3)).rule.geometry.shape
        (4, 1, 3, 3)
        """
        geometry = geometry_of(layer)
        return cls(geometry.shape[-1], geometry.shape[0], config, geometry=geometry)

    @property
    def batch_size(self) -> int | None:
        """Samples of the running sequence; None while any number may come."""
        if self._state is not None:
            return len(self._state.e)
        return self._asked[0] if self._asked else None

    @property
    def eligibility(self) -> Tensor | None:
        """What a modulator would meet now, (B, *weight shape); None before anything is known."""
        if self._state is None and self._asked is not None:
            return torch.zeros(self._asked[0], *self.rule.geometry.shape, device=self._asked[1])
        return None if self._state is None else self._state.e

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
            mask: samples to forget; the others are left bit for bit as they are.

        Raises:
            ValueError: a batch size below 1, or a mask that is not boolean or not (B,).
        """
        if mask is not None:
            self._reset_samples(mask)
            return
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f"batch_size = {batch_size!r}; expected a whole number >= 1.")
        self._state = self._like = None
        self._asked = None if batch_size is None else (batch_size, torch.device(device) if device is not None else None)

    def start_sequence(self) -> None:
        """A new sequence begins: traces start from zero, unless `config.carry`."""
        if not self.config.carry:
            self.reset()

    def observe(self, pre: Tensor, post: Tensor, dt: float | None = None) -> None:
        """One step, without reading e.

        Args:
            pre: (B, N_pre), spikes or rates; for a layer, its input.
            post: (B, N_post); for a layer, shaped like its output.
            dt: step length; None takes `config.dt`.

        Raises:
            TypeError: no real tensors.
            ValueError: wrong shape, another batch size than the running sequence, NaN, infinity, or dt <= 0.
        """
        dt = self.config.dt if dt is None else dt
        self._check(pre, post, dt)
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(pre.device.type, enabled=False):
            if self._state is None:
                self._start(pre, post)
            pre, post = pre.detach().to(self._state.e.dtype), post.detach().to(self._state.e.dtype)  # type: ignore[union-attr]
            self._state = self.rule.step_(pre, post, self._state, dt)  # type: ignore[arg-type]

    def update(self, pre: Tensor, post: Tensor, dt: float | None = None) -> Tensor:
        """One step as in `observe`; returns e, a view of the living traces (clone it to keep it)."""
        self.observe(pre, post, dt)
        return self._state.e  # type: ignore[union-attr]

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
            lr: learning rate. clamp: range of Δw, or None.

        Raises:
            ValueError: nothing was observed yet, or shapes that do not fit.
        """
        if tuple(weights.shape) != self.rule.geometry.shape:
            raise ValueError(
                f"weights have shape {tuple(weights.shape)}; expected {self.rule.geometry.shape}, one per trace."
            )
        e = self.eligibility
        if e is None:
            raise ValueError("There is no eligibility yet; call reset(batch_size) or update(pre, post) first.")
        delta = lr * modulate(mod_signal, e, self.config.convention.reduction)
        return weights + (delta if clamp is None else delta.clamp(*clamp)).to(weights.dtype)

    def get_extra_state(self) -> dict[str, Any]:
        """The running traces, as plain tensors: they travel in `state_dict`."""
        if self._state is None or self._like is None:
            return {"asked": None if self._asked is None else (self._asked[0], str(self._asked[1] or ""))}
        return pack(self._state, self._like)

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from saved traces, bit for bit.

        Raises:
            ValueError: the traces belong to a layer of another shape.
        """
        if "e" in state:
            self._state, self._like = unpack(self.rule, state, self.config.dt)
        else:
            asked = state["asked"]
            self.reset(*((asked[0], asked[1] or None) if asked else ()))

    def extra_repr(self) -> str:
        """Kernel, trace and geometry in words."""
        return f"{self.rule.geometry}, {self.rule.kernel}, {self.rule.trace}"

    def _apply(self, fn: Any, recurse: bool = True) -> EligibilityTraceModule:
        """Follow `.to(device)` and `.double()`; traces never fall below fp32."""
        super()._apply(fn, recurse)

        self._state, self._like = tree_map_only(Tensor, lambda leaf: _wide(fn(leaf)), (self._state, self._like))
        return self

    def _start(self, pre: Tensor, post: Tensor) -> None:
        """Traces at zero, for these shapes, where the spikes are."""
        wide = torch.float64 if torch.float64 in (pre.dtype, post.dtype) else torch.float32
        self._like = (torch.zeros_like(pre, dtype=wide), torch.zeros_like(post, dtype=wide))
        self._state = self.rule.init(*self._like)

    def _reset_samples(self, mask: Tensor) -> None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != (self.batch_size,):
            shape = tuple(mask.shape) if isinstance(mask, Tensor) else mask
            raise ValueError(
                f"mask is {shape!r}; expected a boolean tensor of shape ({self.batch_size},), one per sample."
            )
        if self._state is None or self._like is None:
            return
        with torch.inference_mode(False), torch.no_grad():
            mask = mask.to(self._state.e.device)
            fresh = self.rule.kernel.init(*self._like)
            kernel = tree_map(lambda old, new: _forget(old, new, mask), self._state.kernel, fresh)
            waiting = tree_map(lambda old: _forget(old, 0.0, mask), self._state.waiting)
            self._state.e[mask] = 0.0
            self._state = EligibilityState(kernel, self._state.e, waiting)

    def _check(self, pre: Tensor, post: Tensor, dt: float) -> None:
        require_real("pre", pre)
        require_real("post", post)
        self.rule.geometry.check(pre, post)
        if self.batch_size is not None and len(pre) != self.batch_size:
            raise ValueError(
                f"pre has a batch of {len(pre)} and the running sequence one of {self.batch_size}; the traces "
                f"belong to those samples. Call reset({len(pre)}) before a batch of another size."
            )
        if self._state is not None and pre.device != self._state.e.device:
            raise ValueError(
                f"pre is on {pre.device} and the traces on {self._state.e.device}; move one of them, or call reset()."
            )
        if pre.device != post.device:
            raise ValueError(f"pre is on {pre.device} and post on {post.device}; expected one device.")
        require_finite("pre", pre)
        require_finite("post", post)
        if not dt > 0:
            raise ValueError(f"dt = {dt!r}; expected a step length > 0.")


def _wide(tensor: Tensor) -> Tensor:
    """At least fp32."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _forget(old: Any, new: Any, mask: Tensor) -> Any:
    """A leaf of a state with the samples in `mask` as new."""
    if not isinstance(old, Tensor):
        return old
    return torch.where(mask.view(-1, *[1] * (old.dim() - 1)), new, old)
