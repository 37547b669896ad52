"""Where hooks are put: on the synapses and neurons of a model, and on the layers in between that work unit by unit."""

from __future__ import annotations

from torch import nn
from torch.utils.hooks import RemovableHandle

from .hooks import Hook, LayerHook, Listener, NeuronHook, SynapseHook
from .index import ModelIndex
from .pooling import pool_of_module


def hooks_of(model: nn.Module) -> list[Hook]:
    """Every hook of ours on a model that still has a listener."""
    hooks = [hook for module in model.modules() for hook in module._forward_hooks.values()]
    return [hook for hook in hooks if isinstance(hook, Hook) and hook.listener() is not None]


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


def hooked(
    listener: Listener, index: ModelIndex, *, quick: bool = False
) -> list[tuple[nn.Module, Hook, RemovableHandle]]:
    """Hooks for a listener on all synapses and neurons of a model, and on the layers above where they stand alone.

    With `quick` it is a hook manager, which need not be told of what goes as before.
    """
    parts = [(synapse.name, synapse.module, "on_synapse") for synapse in index.synapses.values()]
    parts += [(neuron.name, neuron.module, "on_neuron") for neuron in index.neurons.values()]
    own = {module for _, module, _ in parts}
    for name, module in index.modules.items():
        if (type(module) in UNIT_BY_UNIT_LAYERS or pool_of_module(module)) and module not in own:
            parts.append((name, module, "on_layer"))
    ways: dict[str, type[Hook]] = {"on_synapse": SynapseHook, "on_layer": LayerHook, "on_neuron": NeuronHook}
    kinds = ways if quick else {}
    hooks = [(m, kinds.get(method, Hook)(listener, method, name, m)) for name, m, method in parts]
    return [(m, hook, m.register_forward_hook(hook, with_kwargs=True)) for m, hook in hooks]  # type: ignore[arg-type]
