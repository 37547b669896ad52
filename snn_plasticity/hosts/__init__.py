"""Plugging plasticity into models of snnTorch and Norse: nothing of the model changes but its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..config import PlasticityConfig
from ..config.eligibility import TracePath
from ..learner import PlasticityLearner
from ..neuromodulation import NeuromodulatoryGate
from .adapter import HostAdapter as HostAdapter
from .adapter import NeuronCall as NeuronCall
from .adapter import NeuronKind as NeuronKind
from .adapter import OwnWeight as OwnWeight
from .adapter import register_host as register_host
from .norse import Norse
from .plan import assemble, require_choices, require_masks, require_model, require_settings
from .provenance import PairingError as PairingError
from .snntorch import SnnTorch

__all__ = ["HostAdapter", "NeuronCall", "NeuronKind", "OwnWeight", "PairingError", "attach", "register_host"]

for _host in (Norse(), SnnTorch()):
    register_host(_host)


def attach(
    model: nn.Module,
    config: PlasticityConfig | None = None,
    *,
    layers: Mapping[str, PlasticityConfig] | None = None,
    pairs: Mapping[str, str | Sequence[str]] | None = None,
    masks: Mapping[str, Tensor] | None = None,
    sample: Any = None,
    gate: NeuromodulatoryGate | None = None,
    pre: str | Callable[[Tensor], Tensor] = "raw",
    dt: float | str | None = None,
    strict: bool = True,
    path: TracePath = "auto",
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> PlasticityLearner:
    """Make the synapses of an existing spiking model plastic.

        Δw = lr · gate · e

    Every Linear and convolution that feeds a spiking neuron learns, and so do the recurrent weights of neurons. Run the
    model as always; then `learner.step(reward=...)`, and `learner.reset()` between sequences.

    Args:
        model: a model with neurons of snnTorch or Norse; wrapped or compiled as you like.
        config: settings; `config.three_factor.target_layers` chooses the weights by their module paths.
        layers: settings of single layers, by name.
        pairs: {synapse: neuron or neurons}, where the model's run leaves it open.
        masks: {synapse: which of its weights learn}, boolean or zeros and ones, shaped like the weight. The others
            never move: synapses that are missing in a pruned layer, say.
        sample: an input (a tuple: several; a dict: by keyword) for a dry run that finds out who feeds whom.
        gate: from signals to the third factor; None builds it from `config.neuromod`.
        pre: what counts as presynaptic activity: the input as it is ("raw"), "binary", or a function of it.
        dt: step length of the traces: None as in the settings, "auto" that of the (Norse) neuron, or a number.
        strict: whether another batch size in mid-sequence is an error; else the traces start anew, with a warning.
        path: how the traces are worked out: "auto", "plain", "fold", "shared" or "rows"; all are exact, and a path that
            would not be is refused. "shared" suits modulators that are one number for the whole batch.
        reduce: applied to each Δw before it lands; for instance an average over the ranks of a distributed run.

    Returns:
        The learner. It is not part of the model; drop it, or call `remove()`, and the hooks are gone.

    Raises:
        ValueError: unknown names, nothing that can learn, or a weight that learns already.
        TypeError: arguments of another kind, or weights that are computed from others (parametrized, pruned, ...) or
            not yet initialised.

    >>> import snntorch, torch
    >>> model = nn.Sequential(nn.Linear(4, 3), snntorch.Leaky(beta=0.9, init_hidden=True))
    >>> learner = attach(model)
    >>> for step in range(5):
    ...     spikes = model(torch.ones(1, 4))
    >>> learner.step(reward=1.0)
    >>> sorted(learner.connections)
    ['0']
    """
    require_model(model)
    config = require_settings(config, layers, pairs)
    require_masks(masks)
    require_choices(gate, pre, dt, strict, path, reduce)
    manager, connections = assemble(
        model, config, layers or {}, pairs or {}, masks or {}, sample=sample, pre=pre, dt=dt, strict=strict, path=path
    )
    gate = gate or NeuromodulatoryGate(config.neuromod)
    learner = PlasticityLearner(connections, gate, hooks=[manager], reduce=reduce)
    manager.bind(learner)
    learner.check()
    return learner
