"""Spikes that come back: what a synapse reads of neurons that it feeds was fired a step before, and has no graph here.

    S reads N, and S ─► … ─► N          N fired in an earlier step: S reads it detached

Neurons that hold their recurrence are handed their own spikes as a state. In a model that writes it out, as in
`rec(spikes)`, who feeds whom is read off the graph of each step: outputs of synapses and neurons are marked in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, is_grad_enabled, nn
from torch._C import _is_tracing
from torch.utils.hooks import RemovableHandle

from .._untracked import untraced
from .hooks import Hook, awake
from .index import ModelIndex
from .provenance import PairingError

LEAF = "a parameter"


class Recurrence:
    """Which parts of a model come after which within a step, as far as it has been seen."""

    def __init__(self) -> None:
        self._after: dict[str, set[str]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Recurrence:
        return Recurrence()

    def hook(self, manager: Any, index: ModelIndex) -> list[RemovableHandle]:
        """Hooks on all synapses outside of neurons, and on all neurons."""
        outside = [synapse for synapse in index.synapses.values() if synapse.inside_of is None]
        handles: list[RemovableHandle] = []
        for part in (*outside, *index.neurons.values()):
            reads: Any = ReadHook(manager, "", part.name, part.module)
            reads.may_cut = part in outside
            handles.append(part.module.register_forward_pre_hook(reads, with_kwargs=True))
            made: Any = MadeHook(manager, "", part.name, part.module)
            handles.append(part.module.register_forward_hook(made, with_kwargs=True))
        return handles

    def mark(self, name: str, output: Any) -> None:
        """A part has made this."""
        for tensor in (output,) if isinstance(output, Tensor) else output if isinstance(output, tuple) else ():
            if isinstance(tensor, Tensor) and tensor.grad_fn is not None:
                tensor.grad_fn.metadata[self] = name  # type: ignore[index]

    def read(self, name: str, given: Tensor, *, may_cut: bool) -> Tensor | None:
        """What a synapse is to read instead: what was fired a step before, without its graph. None: as it is.

        Raises:
            PairingError: it reads both that and something of this step, in one tensor.
        """
        sources = set(self._sources(given.grad_fn))
        back = {source for source in sources if may_cut and self._leads(name, source)}
        if not back:
            for source in sources - {LEAF}:
                self._after.setdefault(source, set()).add(name)
            return None
        if sources != back:
            others = ", ".join(sorted(sources - back))
            raise PairingError(
                f"{name} reads what {', '.join(sorted(back))} fired a step before together with {others}, and no graph "
                "shall reach over time; hand the former on detached: torch.cat((x, spikes.detach()), 1), say."
            )
        return given.detach()

    def _sources(self, start: Any) -> Iterator[str]:
        """The nearest parts, and parameters, that a node depends on."""
        seen, todo = set(), [start]
        while todo:
            node = todo.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            name = node.metadata.get(self)
            if name is not None or hasattr(node, "variable"):
                yield LEAF if name is None else name
            else:
                todo += [parent for parent, _ in node.next_functions]

    def _leads(self, first: str, last: str) -> bool:
        """Whether one part comes before another within a step."""
        seen, todo = set(), [first]
        while todo:
            part = todo.pop()
            if part == last:
                return True
            if part not in seen:
                seen.add(part)
                todo += self._after.get(part, ())
        return False


class ReadHook(Hook):
    """Before a synapse or a neuron works: what it reads."""

    may_cut: bool

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any = None, output: Any = None) -> Any:
        """A call of it begins."""
        given = args[0] if args else None
        if not isinstance(given, Tensor) or given.grad_fn is None or not is_grad_enabled() or _is_tracing():
            return None
        manager = awake(self.listener(), module, self.module())
        if manager is None:
            return None
        with torch._C.DisableTorchFunction():
            cut = manager.connections.gradients.recurrence.read(self.key, given, may_cut=self.may_cut)
        return None if cut is None else ((cut, *args[1:]), kwargs)


class MadeHook(Hook):
    """After a synapse or a neuron has worked: what it has made."""

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any = None) -> None:
        """A call of it has ended."""
        manager = awake(self.listener(), module, self.module())
        if manager is not None and is_grad_enabled() and not _is_tracing():
            manager.connections.gradients.recurrence.mark(self.key, output)
