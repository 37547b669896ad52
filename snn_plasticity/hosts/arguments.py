"""What `attach` is given: everything that can be told to be wrong without looking into the model is refused here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..checks import require_callable, require_choice, require_flag, require_kind, require_number, require_real
from ..config import PlasticityConfig
from ..config.validation import Serializable, require_config
from ..neuromodulation import NeuromodulatoryGate
from ..plasticity._engine.engine import PATHS


def require_model(model: object) -> None:
    """Refuse what is no module.

    Raises:
        TypeError: says what it is, and how layers become a model.
    """
    listed = isinstance(model, (list, tuple))
    how = "Wrap the layers: nn.Sequential(*layers)." if listed else "Give attach the model that holds the layers."
    require_kind("model", model, nn.Module, how)


def require_settings(config: object, layers: object, pairs: object) -> PlasticityConfig:
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


def require_masks(masks: object) -> None:
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


def require_choices(gate: Any, pre: Any, dt: Any, strict: Any, path: Any, reduce: Any) -> None:
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
