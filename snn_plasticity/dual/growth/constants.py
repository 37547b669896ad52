"""Tensors that modules hold beside their parameters and persistent buffers, such as thresholds in a tuple."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten


def constants_of(model: nn.Module) -> dict[str, Tensor]:
    """Each of them, by module, attribute and place in it."""
    found = {}
    for path, module in model.named_modules():
        for key, value in _plain(module).items():
            for k, leaf in enumerate(tree_leaves(value)):
                if isinstance(leaf, Tensor):
                    found[f"{path}:{key}:{k}"] = leaf
    return found


def replace_constants(model: nn.Module, new: Mapping[str, Tensor]) -> None:
    """Others in their places."""
    for path, module in model.named_modules():
        for key, value in _plain(module).items():
            leaves, spec = tree_flatten(value)
            wanted = [new.get(f"{path}:{key}:{k}", leaf) for k, leaf in enumerate(leaves)]
            if any(a is not b for a, b in zip(wanted, leaves, strict=True)):
                home = module._buffers if key in module._buffers else vars(module)
                home[key] = tree_unflatten(wanted, spec)


def _plain(module: nn.Module) -> dict[str, Any]:
    own = {
        key: value
        for key, value in vars(module).items()
        if not (key.startswith("_") and key.endswith("s")) and not isinstance(value, (int, float, str, type(None)))
    }
    return own | {key: module._buffers[key] for key in module._non_persistent_buffers_set if key in module._buffers}
