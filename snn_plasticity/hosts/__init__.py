"""Plugging plasticity into models of snnTorch and Norse: nothing of the model changes but its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from .._checks import require_callable, require_choice, require_flag, require_kind, require_number, require_real
from ..config import PlasticityConfig
from ..config.eligibility import TracePath
from ..config.validation import Serializable, require_config
from ..kernels.post_side import PostSide, require_post
from ..learner import PlasticityLearner
from ..neuromodulation import NeuromodulatoryGate
from ..plasticity._engine.engine import PATHS
from .adapter import HostAdapter as HostAdapter
from .adapter import NeuronCall as NeuronCall
from .adapter import NeuronKind as NeuronKind
from .adapter import OwnWeight as OwnWeight
from .adapter import register_host as register_host
from .firing import LayerScale as LayerScale
from .firing import scale_to_rate as scale_to_rate
from .norse import Norse
from .plan import assemble
from .provenance import PairingError as PairingError
from .snntorch import SnnTorch

__all__ = [
    "HostAdapter",
    "LayerScale",
    "NeuronCall",
    "NeuronKind",
    "OwnWeight",
    "PairingError",
    "attach",
    "register_host",
    "scale_to_rate",
]

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
    post: PostSide | None = None,
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
        pairs: {synapse: neuron or neurons}, where the model's run leaves it open; () leaves a synapse out.
        masks: {synapse: which of its weights learn}, boolean or zeros and ones, shaped like the weight. The others
            never move: synapses that are missing in a pruned layer, say.
        sample: an input (a tuple: several; a dict: by keyword) for a dry run that finds out who feeds whom.
        gate: from signals to the third factor; None builds it from `config.neuromod`.
        pre: what counts as presynaptic activity: the input as it is ("raw"), "binary", or a function of it.
        post: what counts as the post side: None for what each kernel reads (spikes, "surrogate" derivatives, …; see
            `kernels.post_side_of`), or a function of a `NeuronCall` that gives a tensor like its spikes.
        dt: step length of the traces: None as in the settings, "auto" that of the (Norse) neuron, or a number.
        strict: whether another batch size in mid-sequence is an error; else the traces start anew, with a warning.
        path: how the traces are worked out: "auto", "plain", "fold", "shared", "rows", "compiled" or "torch"; all are
            exact, and a path that would not be is refused. "shared" suits modulators that are one number for the whole
            batch; "compiled" insists on compiled loops, "torch" does without.
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
    _require_model(model)
    config = _require_settings(config, layers, pairs)
    _require_masks(masks)
    _require_choices(gate, pre, dt, strict, path, reduce)
    require_post(post)
    manager, connections = assemble(
        model,
        config,
        layers or {},
        pairs or {},
        masks or {},
        sample=sample,
        pre=pre,
        dt=dt,
        strict=strict,
        path=path,
        post=post,
    )
    gate = gate or NeuromodulatoryGate(config.neuromod)
    learner = PlasticityLearner(connections, gate, hooks=[manager], reduce=reduce)
    manager.bind(learner)
    learner.check()
    return learner


def _require_model(model: object) -> None:
    """Refuse what is no module.

    Raises:
        TypeError: says what it is, and how layers become a model.
    """
    listed = isinstance(model, (list, tuple))
    how = "Wrap the layers: nn.Sequential(*layers)." if listed else "Give attach the model that holds the layers."
    require_kind("model", model, nn.Module, how)


def _require_settings(config: object, layers: object, pairs: object) -> PlasticityConfig:
    """The settings; what is no config, no {layer: config} and no {synapse: neurons} is refused.

    Raises:
        TypeError: another kind, or names that are no strings.
    """
    how = "As in {'fc1': PlasticityConfig.dev()}."
    for name, own in require_kind("layers", {} if layers is None else layers, Mapping, how).items():
        require_kind("A name in layers", name, str, how)
        require_kind(f"layers[{name!r}]", own, Serializable, "A PlasticityConfig.")
        require_config(own, PlasticityConfig, name=f"layers[{name!r}]")
    how = "As in {'fc1': 'lif1'}, or {'fc1': ('lif1', 'lif2')}."
    for name, partners in require_kind("pairs", {} if pairs is None else pairs, Mapping, how).items():
        require_kind("A name in pairs", name, str, how)
        require_kind(f"pairs[{name!r}]", partners, (str, Sequence), how)
        for partner in partners:  # type: ignore[attr-defined]
            require_kind(f"A neuron in pairs[{name!r}]", partner, str, how)
    return require_config(config, PlasticityConfig)


def _require_masks(masks: object) -> None:
    """Refuse what is no {synapse: zeros and ones}; shapes are for those who know the weights.

    Raises:
        TypeError: another kind, or names that are no strings.
        ValueError: other numbers than zeros and ones, or no numbers at all.
    """
    how = "As in {'fc1': fc1.weight != 0}."
    for name, mask in require_kind("masks", {} if masks is None else masks, Mapping, how).items():
        require_kind("A name in masks", name, str, how)
        label = f"masks[{name!r}]"
        require_real(label, require_kind(label, mask, Tensor, "Booleans, or zeros and ones, shaped like the weight."))
        if mask.is_meta:  # type: ignore[attr-defined]
            raise ValueError(f"{label} is on the meta device and holds no values; expected a tensor that does.")
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise ValueError(f"{label} holds other numbers than zeros and ones; expected booleans: mask != 0.")


def _require_choices(gate: Any, pre: Any, dt: Any, strict: Any, path: Any, reduce: Any) -> None:
    """Refuse choices that are none.

    Raises:
        TypeError: a gate of another kind, or no function to reduce with.
        ValueError: an unknown word, no step length, or neither True nor False.
    """
    if gate is not None:
        require_kind("gate", gate, NeuromodulatoryGate, "Build one: NeuromodulatoryGate(config.neuromod).")
    if not callable(pre):
        require_choice("pre", pre, ("raw", "binary"), "a function of a synapse's input")
    if isinstance(dt, str) or dt is None:
        require_choice("dt", dt or "auto", ("auto",), "a step length, or None for that of the settings")
    else:
        require_number("dt", dt, 0.0, open_low=True)
    require_flag("strict", strict)
    require_choice("path", path, PATHS)
    if reduce is not None:
        require_callable("reduce", reduce, "from a Δw to a tensor of its shape, or None")
