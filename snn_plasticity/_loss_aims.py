"""What a step goes down: a loss, or one made of what the readout gave since the last step, and of an error or a target.

    error       E = ⟨error, h⟩                      ∂E/∂h = error
    classes     E = −log softmax(h)[class]          ∂E/∂h = softmax(h) − 1{class}
    target      E = 1/2 · |h − target|²             ∂E/∂h = h − target

h (B, n_out) is the sum of what the readout gave, so that each of its steps hears the same; of an error or a target
(T, B, n_out) each step has its own. All are means over samples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ._checks import require_choice, require_finite, require_real, require_within, shown
from .connection import Connection

Reads = Literal["spikes", "membrane"]


class Aim(NamedTuple):
    """One of these; and whether the readout is read by its spikes or by its membrane."""

    loss: Tensor | None
    error: Tensor | None
    target: Tensor | None
    reads: Reads | None


def require_one(aim: Aim, modulator: object, signals: Mapping[str, object]) -> Aim:
    """Refuse two of them, one beside a modulator or signals, and a reading of a readout that is not read.

    Raises:
        TypeError: says which.
        ValueError: an unknown reading.
    """
    given = [name for name in ("loss", "error", "target") if getattr(aim, name) is not None]
    others = [*signals] + ["a modulator"] * (modulator is not None)
    if len(given) + len(others) > 1:
        first, *rest = [f"a {name}" if name != "error" else "an error" for name in given] + others
        raise TypeError(f"step got {first} and {', '.join(rest)}; expected one or the other. Nothing was changed.")
    if aim.reads is not None:
        require_choice("reads", aim.reads, ("spikes", "membrane"))
        if not given or aim.loss is not None:
            raise TypeError("reads says how the readout is read for an error or a target, and step got neither.")
    return aim


def loss_of(aim: Aim, connections: Collection[Connection]) -> Any:
    """The loss that was given, or the one that an error or a target makes of what the readout gave.

    Args:
        aim: what was given.
        connections: those that learn from it, whose steps wait for it.

    Raises:
        TypeError: no tensor of real numbers.
        ValueError: a readout that is not known, another shape, NaN, or no such class.
    """
    if aim.error is None and aim.target is None:
        return aim.loss
    name, given = ("error", aim.error) if aim.target is None else ("target", aim.target)
    require_real(name, given)
    assert isinstance(given, Tensor)
    outputs = _outputs(connections, aim.reads or "spikes")
    steps, size, n_out = outputs.shape
    plain = given.is_floating_point() or given.dtype is torch.bool
    classes = name == "target" and given.dim() == 1 and not plain
    if given.is_meta or tuple(given.shape) not in (((size,),) if classes else ((size, n_out), (steps, size, n_out))):
        wanted = f"({size}, {n_out}), or ({steps}, {size}, {n_out}) for each of the steps since the last one"
        wanted += f", or whole numbers ({size},), one class for each sample" if name == "target" else ""
        raise ValueError(f"{name} is {shown(given)}; expected {wanted}. Nothing was changed.")
    h = outputs if given.dim() == 3 else outputs.sum(0)
    if classes:
        require_within(name, given, 0, n_out - 1)
        return functional.cross_entropy(h, given.long().to(h.device))
    given = require_finite(name, given).detach().to(h)
    per_unit = h * given if name == "error" else 0.5 * (h - given).square()
    return per_unit.sum() / max(1, size)


def _outputs(connections: Collection[Connection], reads: Reads) -> Tensor:
    """What the readout gave at each step since the last one, (T, B, n_out).

    Raises:
        ValueError: nothing of it is known, or its host does not tell its membrane.
    """
    noted = max((connection.noted for connection in connections), key=len)
    steps, forgotten = noted.readout_steps()
    if not steps:
        raise ValueError(
            "The readout, the last layer of the model, gave nothing since the last step, or it is not known; expected "
            "a layer or a neuron behind one that was run in train(), with gradients on. Take step(loss=...) else. "
            "Nothing was changed."
        )
    found = [step.membrane if reads == "membrane" else step.spikes for step in steps]
    known = [one for one in found if one is not None]
    if len(known) < len(found) or len({one.shape for one in known}) > 1:
        raise ValueError(
            "The neurons of the readout do not tell their membrane; expected reads='spikes', or step(loss=...). "
            "Nothing was changed."
            if len(known) < len(found)
            else f"The readout gave {', '.join(str(tuple(one.shape)) for one in known)} since the last step; expected "
            "one shape. Nothing was changed."
        )
    outputs = torch.stack([one.flatten(1) for one in known])
    for at, mask in forgotten:
        dropped = torch.zeros_like(outputs[:, :, :1], dtype=torch.bool)
        dropped[:at] = mask.to(outputs.device).unsqueeze(1)
        outputs = outputs.masked_fill(dropped, 0.0)
    return outputs
