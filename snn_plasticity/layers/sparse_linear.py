"""A linear layer whose synapses are a list of edges, with conduction delays.

    I_j(t) = b_j + Σ_{e: target_e = j} w_e · s_{source_e}(t − d_e)

It stands in for `nn.Linear` between the neurons of snnTorch and Norse. Neuron and delay together are an axon: a
synapse (edge) joins an axon to a post neuron; what arrives at the ends of all axons is what the synapses learn from.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn.functional import embedding_bag

from .._checks import (
    PRECISE,
    known_as,
    require_count,
    require_device,
    require_dtype,
    require_finite,
    require_flag,
    require_kind,
    require_number,
    require_real,
)
from .edges import Edges, Rewiring, edge_list

MAX_DELAY = 1 << 16  # steps of a delay; all inputs of that time are kept
FEW_ROWS = 4  # rows below which edges are added one by one, without a table of rows
EVENT, EVENT_OF_MANY = (
    4,
    64,
)  # edges of a dense pass that cost as much as one that a spike reaches, for few rows and many


class SparseLinear(nn.Module):
    """Synapses as edges: any wiring, several synapses between the same two neurons, a delay for each.

        I_j(t) = b_j + Σ_{e: target_e = j} w_e · s_{source_e}(t − d_e)

    Differentiable in weight, bias and input. Where no gradient is wanted and few inputs are not zero, only the edges of
    these are touched (on the CPU). Plastic through `attach`, with eligibility (B, E).

    With delays the layer remembers the last inputs: `reset()` between sequences, as for the neurons of the model. An
    input (N_pre,) or (B, N_pre) is then one step, and (T, B, N_pre) are T steps. The pre side of a synapse is the spike
    that arrives at it, so that a spike of t and an edge of delay d meet the post spikes of t + d: each pair of neuron
    and delay (an axon, A of them) has a spike train and traces of its own, (B, A).

    Args:
        in_features, out_features: numbers of pre and post neurons.
        connectivity: the edges, as (2, E) integers (pre above post neurons) or a boolean mask (N_post, N_pre), whose
            edges are counted row by row.
        delays: steps from a spike to its arrival, one number or (E,) integers >= 0; None: at once, nothing is kept.
        bias: whether post neurons have one.
        samples: None, or B: every sample has weights (B, E) of its own (one network for each sample).
        device, dtype: of the weights.

    Attributes:
        weight: (E,) or (B, E). bias: (N_post,) or None.
        connectivity: (2, E). delays: (E,) or None. past: the last inputs (D, B, N_pre), the oldest first, or None.

    Raises:
        ValueError: edges outside of the populations or none, delays that do not fit, an input of another width, or
            another batch size in mid-sequence.
        TypeError: arguments of another kind.

    >>> layer = SparseLinear(3, 2, torch.tensor([[0, 2, 2], [1, 1, 1]]), bias=False)
    >>> layer.weight.data[:] = torch.tensor([1.0, 2.0, 4.0])
    >>> layer(torch.tensor([1.0, 0.0, 1.0])).tolist()
    [0.0, 7.0]
    """

    bias: nn.Parameter | None
    connectivity: Tensor
    delays: Tensor | None
    past: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        connectivity: Tensor,
        *,
        delays: int | Tensor | None = None,
        bias: bool = True,
        samples: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = require_count("in_features", in_features)
        self.out_features = require_count("out_features", out_features)
        self.samples = None if samples is None else require_count("samples", samples)
        require_real("connectivity", connectivity)
        place = require_device("device", device) or torch.get_default_device()
        if place.type == "meta":
            raise ValueError("device is 'meta', which holds no values, and a wiring has some; expected another device.")
        dtype = torch.get_default_dtype() if dtype is None else require_dtype("dtype", dtype)
        listed = torch.stack(edge_list(connectivity, self.in_features, self.out_features))
        count = listed.shape[1]
        self.register_buffer("connectivity", listed.to(place))
        self.register_buffer("delays", None if delays is None else _delays_of(delays, count).to(place))
        self.register_buffer("past", None)
        self.arriving: Tensor | None = None  # at the end of each axon, at the last call; (B, A) or (T, B, A)
        shape = (count,) if self.samples is None else (self.samples, count)
        self.weight = nn.Parameter(torch.empty(shape, device=place, dtype=dtype))
        bias = require_flag("bias", bias)
        self.bias = nn.Parameter(torch.empty(self.out_features, device=place, dtype=dtype)) if bias else None
        self._wire(None)
        self.reset_parameters()

    @classmethod
    def from_linear(cls, linear: nn.Linear, mask: Tensor | None = None) -> SparseLinear:
        """The same layer with the synapses that there are: where a mask (N_post, N_pre) is true, or not of zero weight.

        >>> linear = nn.Linear(4, 3)
        >>> SparseLinear.from_linear(linear).weight.shape
        torch.Size([12])
        """
        require_kind("linear", linear, nn.Linear, "A layer that is full, or pruned to zeros.")
        weight = linear.weight.detach()
        if mask is not None:
            require_real("mask", mask)
        mask = weight != 0 if mask is None else mask
        made = cls(
            linear.in_features,
            linear.out_features,
            mask,
            bias=linear.bias is not None,
            device=weight.device,
            dtype=weight.dtype,
        )
        with torch.no_grad():
            made.weight.copy_(weight[made.connectivity[1], made.connectivity[0]])
            if made.bias is not None:
                made.bias.copy_(linear.bias)
        return made

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Uniform within ±1/√(edges onto the post neuron), as `nn.Linear` begins."""
        onto = torch.bincount(self.connectivity[1], minlength=self.out_features).clamp(min=1).to(self.weight)
        self.weight.uniform_(-1.0, 1.0).mul_(onto.rsqrt()[self.connectivity[1]])
        if self.bias is not None:
            self.bias.uniform_(-1.0, 1.0).mul_(onto.rsqrt())

    def reset(self) -> None:
        """Forget the inputs that are on their way: a new sequence begins."""
        self.past = self.arriving = None

    def detach_past(self) -> None:
        """Go on with the same inputs on their way, without the graph they came from (truncated backpropagation)."""
        self.past = None if self.past is None else self.past.detach()

    @torch.no_grad()
    def add_edges(self, connectivity: Tensor, *, weight: float | Tensor = 0.0, delays: int | Tensor = 0) -> Tensor:
        """More edges, behind those that there are; these keep weight, gradient, traces and pending updates bit for bit.

        A learner that is attached goes on with all of them; new edges begin at zero eligibility. The parameter `weight`
        is the same and has another shape: an optimizer with a state of its own for each weight (momentum, Adam) has to
        begin anew.

        Args:
            connectivity: (2, K) or a mask (N_post, N_pre), as at first.
            weight: one number, (K,), or (B, K) where each sample has weights of its own.
            delays: one number or (K,); only for a layer with delays.

        Returns:
            The numbers of the new edges, (K,).

        Raises:
            TypeError, ValueError: what is no edge, weight or delay; nothing was changed.

        >>> layer = SparseLinear(3, 2, torch.tensor([[0], [1]]))
        >>> layer.add_edges(torch.tensor([[2, 2], [0, 1]]), weight=0.5).tolist()
        [1, 2]
        """
        require_real("connectivity", connectivity)
        more = torch.stack(edge_list(connectivity, self.in_features, self.out_features))
        count, before, place = more.shape[1], self.edges.shape[0], self.weight.device
        if not isinstance(weight, Tensor):
            weight = torch.tensor(require_number("weight", weight), dtype=self.weight.dtype, device=place)
        require_real("weight", weight)
        if weight.is_meta and not self.weight.is_meta:
            raise ValueError("weight is on the meta device and holds no values; expected a tensor that does.")
        weight = require_finite("weight", weight.to(self.weight))
        shape = (*self.weight.shape[:-1], count)
        if weight.shape not in ((), (count,), shape):
            raise ValueError(
                f"weight has shape {tuple(weight.shape)}; expected one number or {shape}, for {count} edges."
            )
        late = _delays_of(delays, count)
        if self.delays is None and bool(late.any()):
            raise ValueError("delays are given and this layer has none; build it with delays=0 at least.")
        new = weight.expand(shape)
        self._replace(
            torch.cat((torch.arange(before, device="cpu"), torch.full((count,), -1, device="cpu"))), more, late, new
        )
        return torch.arange(before, before + count)

    @torch.no_grad()
    def remove_edges(self, edges: Tensor) -> None:
        """Fewer edges; the others keep weight, gradient, traces and pending updates bit for bit, and their order.

        Args:
            edges: which, as booleans (E,) or as numbers (K,).

        Raises:
            TypeError, ValueError: what is no edge, or all of them; nothing was changed.

        >>> layer = SparseLinear(3, 2, torch.tensor([[0, 2, 2], [1, 0, 1]]))
        >>> layer.remove_edges(torch.tensor([1]))
        >>> layer.connectivity.tolist()
        [[0, 2], [1, 1]]
        """
        count = self.edges.shape[0]
        require_real("edges", edges)
        if edges.is_floating_point() or edges.is_meta or edges.dim() != 1:
            raise TypeError(f"edges is {known_as(edges)}; expected booleans ({count},) or numbers of edges (K,).")
        gone = torch.zeros(count, dtype=torch.bool, device="cpu")
        if edges.dtype == torch.bool:
            if edges.shape != gone.shape:
                raise ValueError(f"edges has shape {tuple(edges.shape)}; expected ({count},), one for each edge.")
            gone = edges.cpu()
        elif len(edges):
            if int(edges.min()) < 0 or int(edges.max()) >= count:
                raise ValueError(f"edges run from {int(edges.min())} to {int(edges.max())}; expected 0 to {count - 1}.")
            gone[edges.cpu().long()] = True
        if bool(gone.all()):
            raise ValueError("edges are all that there are; expected some to be left, since a layer has one at least.")
        none = torch.zeros(2, 0, dtype=torch.long, device="cpu")
        self._replace((~gone).nonzero().squeeze(1), none, none[0], self.weight[..., :0])

    def _replace(self, origin: Tensor, more: Tensor, late: Tensor, weight: Tensor) -> None:
        """These edges are left of the old ones (−1: a new one), and those come behind them."""
        kept = origin[origin >= 0].to(self.weight.device)
        wide = self.weight.data[..., kept], weight
        grad, self.weight.grad = self.weight.grad, None
        self.weight.data = torch.cat(wide, -1)
        if grad is not None:
            self.weight.grad = torch.cat((grad[..., kept], torch.zeros_like(weight)), -1)
        self.connectivity = torch.cat((self.connectivity[:, kept], more.to(kept.device)), 1)
        longest = self._longest
        if self.delays is not None:
            self.delays = torch.cat((self.delays[kept], late.to(kept.device)))
        self._wire(origin)
        if self.past is not None and self._longest != longest:
            silence = self.past.new_zeros(max(0, self._longest - longest), *self.past.shape[1:])
            self.past = torch.cat((silence, self.past[max(0, longest - self._longest) :]))
        self.arriving = None

    def geometry(self) -> Edges:
        """How its synapses are laid out, from axons to post neurons."""
        return self.edges

    def forward(self, input: Tensor) -> Tensor:
        """The current of each post neuron, (..., N_post)."""
        require_real("input", input)
        if input.dim() == 0 or input.shape[-1] != self.in_features:
            raise ValueError(f"input has shape {tuple(input.shape)}; expected (..., {self.in_features}).")
        if input.device != self.weight.device:
            raise ValueError(f"input is on {input.device} and the weight on {self.weight.device}; expected one device.")
        spikes = input.to(self.weight.dtype)
        if self.delays is not None:
            spikes = self._arrived(spikes)
            self.arriving = spikes.detach()
        if self.samples is not None and (spikes.dim() < 2 or spikes.shape[-2] != self.samples):
            raise ValueError(
                f"input has shape {tuple(input.shape)}; expected (..., {self.samples}, {self.in_features}): each of "
                f"the {self.samples} samples has weights of its own."
            )
        current = self._delivered(spikes.reshape(math.prod(spikes.shape[:-1]), spikes.shape[-1]))
        current = current.reshape(*spikes.shape[:-1], self.out_features)
        return current if self.bias is None else current + self.bias

    def extra_repr(self) -> str:
        """Neurons, edges, and the longest delay."""
        text = f"{self.in_features}, {self.out_features}, edges={self.edges.shape[0]}, bias={self.bias is not None}"
        text += "" if self.delays is None else f", delays to {self._longest}"
        return text + ("" if self.samples is None else f", samples={self.samples}")

    def edges_as_listed(self) -> Tensor:
        """Pre neuron, post neuron and delay of each edge, (3, E), on the CPU; a copy."""
        delays = torch.zeros_like(self.connectivity[0]) if self.delays is None else self.delays
        return torch.cat((self.connectivity, delays.unsqueeze(0))).cpu()

    def _wire(self, origin: Tensor | None) -> None:
        """Tables of the edges as they are now; axons are counted delay by delay.

        Args:
            origin: where each edge was before, −1 if nowhere, for those who go on with them; None at first.
        """
        source, target, delay = self.edges_as_listed()
        keys, width, device = torch.arange(self.in_features, device="cpu"), self.in_features, self.connectivity.device
        ends, self._longest = [], 0
        if self.delays is not None:
            keys, source = torch.unique(delay * width + source, return_inverse=True)
            self._longest = int(delay.max())
            for late in torch.unique(keys // width).tolist():
                ends.append((late, (keys[keys // width == late] % width).to(device)))
        edges = Edges(source, target, len(keys), self.out_features)
        if origin is not None:
            place = torch.searchsorted(self._keys, keys).clamp(max=len(self._keys) - 1)
            self.edges.after = Rewiring(edges, origin, torch.where(self._keys[place] == keys, place, -1))
        edges.prepare(device)
        self.edges, self._axons, self._keys = edges, ends, keys

    def _arrived(self, spikes: Tensor) -> Tensor:
        """What arrives at the end of every axon, (B, A) or (T, B, A); the past goes on."""
        if spikes.dim() > 3:
            raise ValueError(
                f"input has shape {tuple(spikes.shape)}; a layer with delays expected one step ({self.in_features},) "
                f"or (B, {self.in_features}), or a sequence (T, B, {self.in_features})."
            )
        steps = spikes if spikes.dim() == 3 else spikes.reshape(1, *(spikes.shape[:-1] or (1,)), self.in_features)
        past = self.past
        if past is None:
            past = steps.new_zeros(self._longest, *steps.shape[1:])
        elif past.shape[1] != steps.shape[1]:
            raise ValueError(
                f"input has a batch of {steps.shape[1]} and the inputs on their way one of {past.shape[1]}; expected "
                "the same until reset() begins a new sequence."
            )
        window = torch.cat((past.to(steps), steps))
        self.past = window[len(window) - self._longest :].clone()
        ends = [
            window[self._longest - delay :][: len(steps)].index_select(-1, neurons) for delay, neurons in self._axons
        ]
        return torch.cat(ends, -1).reshape(*spikes.shape[:-1], len(self._keys))

    def _delivered(self, spikes: Tensor) -> Tensor:
        """Rows (R, A) of what arrives, summed onto post neurons (R, N_post)."""
        rows = len(spikes)
        if self._few(spikes):
            return self.edges.delivered(spikes, self.weight)
        source, target = self.edges.ends(spikes.device)
        followed = not torch.compiler.is_compiling() and any(map(is_functorch_wrapped_tensor, (self.weight, spikes)))
        if self.samples is None and rows >= FEW_ROWS and not followed:  # a bag has no forward derivative
            order, starts = self.edges.onto(spikes.device)
            table = spikes.t().contiguous()
            return embedding_bag(source[order], table, starts, mode="sum", per_sample_weights=self.weight[order]).t()
        weight = self.weight if self.samples is None else self.weight.repeat(rows // self.samples, 1)
        current = spikes.new_zeros(rows, self.out_features)
        return current.index_add(-1, target, spikes.index_select(-1, source) * weight)

    def _few(self, spikes: Tensor) -> bool:
        """Whether only the edges of spiking neurons are worth touching, which no gradient could follow."""
        if torch.is_grad_enabled() and (spikes.requires_grad or self.weight.requires_grad):
            return False
        if (
            not spikes.is_cpu
            or spikes.dtype not in PRECISE
            or torch.compiler.is_compiling()
            or type(spikes) is not Tensor
        ):
            return False
        if is_functorch_wrapped_tensor(spikes):
            return False
        cost = EVENT if len(spikes) < FEW_ROWS or self.samples is not None else EVENT_OF_MANY
        return cost * int(torch.count_nonzero(spikes)) < spikes.numel()

    def _apply(self, fn: Any, recurse: bool = True) -> SparseLinear:
        """Follow `.to(device)`, what is on its way included."""
        super()._apply(fn, recurse)
        device = self.connectivity.device
        self._axons = [(delay, neurons.to(device)) for delay, neurons in self._axons]
        self.edges.prepare(device)
        self.arriving = None
        return self

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Weights, wiring and the inputs on their way; a wiring of as many edges takes the place of this one."""
        names = ("connectivity", "delays", "past")
        wiring, delays, past = (state_dict.get(prefix + name) for name in names)
        if wiring is not None:
            why = self._refused(wiring, delays)
            if why:
                rest[-1].append(f"{prefix}connectivity {why}")
                return
        before = self.edges_as_listed()
        self.past = None if past is None else torch.empty_like(past, device=self.weight.device, dtype=self.weight.dtype)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        now = self.edges_as_listed()
        if not torch.equal(before, now):
            self._wire(torch.full((now.shape[1],), -1, device="cpu"))

    def _refused(self, wiring: Tensor, delays: Tensor | None) -> str | None:
        """Why a saved wiring cannot take the place of this one; None where it can."""
        if wiring.shape != self.connectivity.shape or (delays is None) != (self.delays is None):
            saved, here = ("without" if held is None else "with" for held in (delays, self.delays))
            return (
                f"has {wiring.shape[-1]} edges {saved} delays; this layer has {self.edges.shape[0]} {here} delays. "
                "Build it from what was saved, SparseLinear(..., connectivity=..., delays=...), then load."
            )
        try:
            edge_list(wiring, self.in_features, self.out_features)
            if delays is not None:
                _delays_of(delays, self.edges.shape[0])
        except (ValueError, TypeError) as error:
            return str(error)
        return None


def _delays_of(delays: object, count: int) -> Tensor:
    """Steps for each edge, (E,).

    Raises:
        TypeError: neither a number nor a tensor of integers.
        ValueError: another shape, or a step below 0.
    """
    if isinstance(delays, Tensor):
        require_real("delays", delays)
    else:
        return torch.full((count,), require_count("delays", delays, 0), device="cpu")
    if delays.is_floating_point() or delays.dtype == torch.bool or delays.is_meta:
        raise TypeError(f"delays is {known_as(delays)}; expected integers, steps from a spike to its arrival.")
    if delays.shape != (count,):
        raise ValueError(f"delays has shape {tuple(delays.shape)}; expected ({count},), one for each edge.")
    if int(delays.min()) < 0 or int(delays.max()) > MAX_DELAY:
        raise ValueError(
            f"delays run from {int(delays.min())} to {int(delays.max())}; expected 0 to {MAX_DELAY} steps."
        )
    return delays.detach().long().cpu()
