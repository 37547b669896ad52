"""What the neuron behind a plastic layer did since somebody last asked: its spikes counted, or its membrane summed."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor, nn
from torch._C import _is_tracing
from torch.utils.hooks import RemovableHandle

from .._untracked import untraced, untracked
from ..connection import Connection
from ..hosts.adapter import NeuronCall, membrane, one_step, response
from ..hosts.hooks import InertHook, as_activity
from ..hosts.index import Neuron
from ..hosts.manager import HookManager
from ..hosts.replay import linearise
from ..learner import PlasticityLearner


class ReadoutWatch:
    """One of the hooks of a learner; it hears the neurons, and forgets when the learner does.

    Args:
        learner: whose model it is; it is not kept alive.
        connection: the name of the connection whose neuron is meant.
        reads: "spikes", or "membrane", which is what leaky integrators have instead of spikes.
        forget: is called at `learner.reset()`.
    """

    def __init__(self, learner: PlasticityLearner, connection: str, reads: str, forget: Callable[[], None]) -> None:
        self.connection, self.reads, self.forget = connection, reads, forget
        self.silent: str | None = None  # a neuron whose host does not tell its membrane
        self._learner = weakref.ref(learner)
        self._handles: dict[str, RemovableHandle] = {}
        self._heard: dict[bool, dict[str, Tensor]] = {True: {}, False: {}}  # while the learner observes, or is paused
        self.neurons: set[str] = set()  # all that may be heard
        self._first: dict[str, NeuronCall] = {}  # of leaky integrators
        self._answer: float | Tensor | None = None
        for hooks in learner.hooks:
            for neuron in hooks.index.neurons.values() if isinstance(hooks, HookManager) else ():
                self.neurons.add(neuron.name)
                tell: Any = NeuronWatch(self, neuron)
                self._handles[neuron.name] = neuron.module.register_forward_hook(tell, with_kwargs=True)
        learner.hooks.append(self)

    def hear(self, neuron: Neuron, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        """One call of a neuron, of one step or of a whole sequence."""
        learner, call = self._learner(), neuron.read(args, kwargs, output)
        if learner is None or _is_tracing() or call.spikes.is_meta:
            return
        with untracked(call.spikes):
            fires = self.reads == "spikes" and not neuron.kind.integrates
            found = call.spikes if fires else membrane(neuron.proper, call)
            if found is None:
                self.silent = type(neuron.proper).__name__
                return
            found = as_activity(found)
            if neuron.kind.integrates and neuron.name not in self._first:
                one = call.current.detach()
                self._first[neuron.name] = NeuronCall(
                    one[0] if neuron.kind.time_major else one, None, call.spikes.detach()
                )
            found = found.sum(0) if neuron.kind.time_major else found
            if learner.enabled:
                self._heard[False].clear()
            heard = self._heard[learner.enabled]
            before = heard.get(neuron.name)
            heard[neuron.name] = found.clone() if before is None or before.shape != found.shape else before.add_(found)

    def heard(self) -> Tensor | None:
        """What the neuron did since the last `clear`, (B, N); None where it did nothing."""
        learner, neuron = self._learner(), self._neuron()
        if learner is None or neuron is None:
            return None
        if len(self._handles) > 1:
            for name in [name for name in self._handles if name != neuron.name]:
                self._handles.pop(name).remove()
        return self._heard[learner.enabled].get(neuron.name)

    @property
    def answer(self) -> float | Tensor:
        """What a unit of current is at once in what is read: 1 of spikes, ∂v/∂I of leaky integrators, one or (N,)."""
        neuron = self._neuron()
        if neuron is None or not neuron.kind.integrates:
            return 1.0
        if self._answer is None and neuron.name in self._first:  # asked once, since that reads the device
            self._answer = self._answer_of(neuron.proper, self._first[neuron.name])
        return 1.0 if self._answer is None else self._answer

    def _answer_of(self, neuron: nn.Module, call: NeuronCall) -> float | Tensor:
        parts = response(neuron)
        if parts is not None:
            return sum(c for c, _ in parts)
        step = one_step(neuron, call)
        if step is None or step.membrane is None:
            return 1.0
        return linearise(step, spikes=False)[0].b[step.membrane].flatten(1).mean(0)

    def _neuron(self) -> Neuron | None:
        """The one behind the connection, once it is known."""
        learner = self._learner()
        for hooks in () if learner is None else learner.hooks:
            for (_, name), connection in hooks.edges.items() if isinstance(hooks, HookManager) else ():
                if connection.name == self.connection and name is not None:
                    return hooks.index.neurons[name]  # type: ignore[union-attr]
        return None

    @property
    def activity(self) -> dict[str, Tensor]:
        """What neurons did since the last `clear`, (B, N) by name, while the learner observed."""
        return self._heard[True]

    @activity.setter
    def activity(self, activity: dict[str, Tensor]) -> None:
        self._heard = {True: activity, False: {}}

    def clear(self) -> None:
        """It begins anew."""
        learner = self._learner()
        if learner is not None:
            self._heard[learner.enabled].clear()

    def bind(self, learner: Any) -> None:
        """A copy of a learner has a watch that hears nothing."""

    def remove(self) -> None:
        """Take the hooks off the model."""
        while self._handles:
            self._handles.popitem()[1].remove()

    def why_lost(self, connections: Collection[Connection]) -> str | None:
        """Nothing that learns depends on it."""
        return None

    def why_silent(self, connection: Connection) -> str | None:
        """It knows nothing of layers."""
        return None

    def around(self, connection: Connection) -> list[nn.Module]:
        """It knows of no modules."""
        return []

    def settle(self) -> None:
        """It has nothing that waits for a loss."""

    def reset(self) -> None:
        """Forget, as the learner does."""
        for heard in self._heard.values():
            heard.clear()
        self.forget()

    def __deepcopy__(self, memo: dict[int, Any]) -> ReadoutWatch:
        copied = memo[id(self)] = object.__new__(type(self))
        copied.connection, copied.reads, copied.forget = self.connection, self.reads, _nothing
        copied.neurons, copied.silent, copied._first, copied._answer = set(), None, {}, None
        copied._learner, copied._handles, copied._heard = _nothing, {}, {True: {}, False: {}}  # type: ignore[assignment]
        return copied


def _nothing() -> None:
    """Whoever was told is another one's."""


class NeuronWatch:
    """A forward hook that tells a `ReadoutWatch` of one neuron; a copy of it says nothing."""

    def __init__(self, watch: ReadoutWatch, neuron: Neuron) -> None:
        self.watch, self.neuron = weakref.ref(watch), neuron

    @untraced
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any = None) -> None:
        """One call."""
        watch = self.watch()
        if watch is not None and module is self.neuron.module:
            watch.hear(self.neuron, args, kwargs, output)

    def __deepcopy__(self, memo: dict[int, Any]) -> InertHook:
        return InertHook()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (InertHook, ())
