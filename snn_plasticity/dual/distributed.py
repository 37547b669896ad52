"""A net on several ranks (DistributedDataParallel): gradients, losses and signals are means over all of them.

The net itself is run without its wrapper, and the gradients are averaged behind the backward pass, in one message: so a
loop over time may call it as often as it likes, and nets may take turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from .nets import device_of, tensors_of


def group_of(model: nn.Module) -> Any:
    """The process group of a net in DistributedDataParallel, compiled or not; None for any other."""
    wrapper = getattr(model, "_orig_mod", model)
    return wrapper.process_group if isinstance(wrapper, DistributedDataParallel) else None


def without_ranks(model: nn.Module) -> nn.Module:
    """What computes on this rank."""
    wrapper = getattr(model, "_orig_mod", model)
    return wrapper.module if isinstance(wrapper, DistributedDataParallel) else model


def is_first(model: nn.Module) -> bool:
    """Whether this process speaks for all of its group."""
    group = group_of(model)
    return group is None or distributed.get_rank(group) == 0


def average(tensors: Sequence[Tensor], group: Any) -> None:
    """Each tensor becomes its mean over the ranks, in place."""
    if tensors:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat, group=group)
        _scatter(flat / distributed.get_world_size(group), tensors)


def mean_over_ranks(values: Sequence[float], model: nn.Module) -> list[float]:
    """The mean of each number over the ranks of a net; as it is without ranks."""
    group = group_of(model)
    if group is None or not values:
        return list(values)
    numbers = torch.tensor(list(values), dtype=torch.float64, device=device_of(model))
    average([numbers], group)
    return numbers.tolist()


def share_buffers(model: nn.Module, group: Any) -> None:
    """The first rank's running statistics and other buffers, on all ranks."""
    buffers = [tensor for tensor in tensors_of(model).values() if not isinstance(tensor, nn.Parameter)]
    if buffers:
        flat = torch.cat([buffer.detach().reshape(-1).double() for buffer in buffers])
        distributed.broadcast(flat, distributed.get_global_rank(group, 0), group=group)
        _scatter(flat, buffers)


def _scatter(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))
