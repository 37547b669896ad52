"""Layers of PyTorch that work unit by unit: what goes in at a place comes out at the same place.

They are hooked, so that what passes through them is known without watching every operation. Exact types only: a
subclass may do anything.
"""

from __future__ import annotations

from torch import nn
from torch.utils.hooks import RemovableHandle

from .hooks import Hook, Owner
from .survey import Survey

UNIT_BY_UNIT_LAYERS: frozenset[type[nn.Module]] = frozenset(
    (
        nn.Identity, nn.Flatten, nn.Unflatten,
        nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
        nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
        nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
        nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm,
        nn.ReLU, nn.ReLU6, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.LeakyReLU, nn.RReLU, nn.PReLU,
        nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Softplus,
        nn.Softsign, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Threshold,
    )
)  # fmt: skip


def hooked(owner: Owner, found: Survey) -> list[tuple[nn.Module, Hook, RemovableHandle]]:
    """Hooks for an owner on all synapses and neurons of a model, and on the layers above where they stand alone."""
    parts = [(synapse.name, synapse.module, "on_synapse") for synapse in found.synapses.values()]
    parts += [(neuron.name, neuron.module, "on_neuron") for neuron in found.neurons.values()]
    own = {module for _, module, _ in parts}
    for name, module in found.modules.items():
        if type(module) in UNIT_BY_UNIT_LAYERS and module not in own:
            parts.append((name, module, "on_between"))
    hooks = [(module, Hook(owner, method, name, module)) for name, module, method in parts]
    return [(m, hook, m.register_forward_hook(hook, with_kwargs=True)) for m, hook in hooks]  # type: ignore[arg-type]
