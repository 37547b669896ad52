"""What two networks can share: the learnable and the persistent tensors of a model, by name."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..hosts.survey import survey, unwrap


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers, each once, under its first name.

    What a host keeps for the length of a sequence (membranes of snnTorch's `init_hidden`) is no part of it.

    >>> sorted(tensors_of(nn.BatchNorm1d(2)))
    ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight']
    """
    found: dict[int, tuple[str, Tensor]] = {}
    for name, value in unwrap(model).state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def owner_of(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds a tensor, and the attribute under which it does."""
    path, _, attribute = name.rpartition(".")
    return unwrap(model).get_submodule(path), attribute


def hosts_of(model: nn.Module) -> set[str]:
    """The libraries that the neurons of a model come from."""
    return {type(neuron.proper).__module__.partition(".")[0] for neuron in survey(model).neurons.values()}


def clone(model: nn.Module) -> nn.Module:
    """A copy with the same weights, no hidden state of a past run, and no hooks that act."""
    bare = unwrap(model)
    held = tree_leaves([{k: v for k, v in vars(m).items() if k != "_modules"} for m in bare.modules()])
    past = {id(value): value.detach().clone() for value in held if isinstance(value, Tensor) and value.grad_fn}
    twin = copy.deepcopy(bare, past)
    forget(twin)
    return twin


def forget(model: nn.Module) -> None:
    """Hidden state that neurons hold themselves becomes that of a fresh start."""
    for module in model.modules():
        if not hasattr(module, "init_hidden"):
            continue
        for name in ("mem", "syn", "spk", "syn_exc", "syn_inh"):
            if isinstance(getattr(module, name, None), Tensor):
                setattr(module, name, torch.zeros((), device=getattr(module, name).device))
