"""Which synapse fed this neuron? Found by the identity of tensors, never by the order of registration.

A neuron's input is the output of a synapse, or a view of it: they share memory, and that is certain. Where something
was computed in between (BatchNorm, Dropout, a sum), a single synapse that still waits is taken, if the autograd graph,
where there is one, does not speak against it. More than one is an error, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from .call import Call, PairingError, memory_of, stacked
from .graph import reaches
from .neuron import Firing, Neuron
from .synapse import Synapse

LIMIT = 4096  # calls of one synapse that may wait: more than the steps of a sequence, so that a readout cannot pile up


class Pairing:
    """The calls that wait for their neuron, and what is known of who feeds whom.

    Args:
        homes: the synapses that are built into a neuron, by the neuron's name.
        sequences: whether any neuron reads a whole sequence, that may have been made step by step.
        given: {synapse: neurons}, where the user or a dry run has said it; these are taken as they are.
    """

    def __init__(
        self,
        homes: Mapping[str, Iterable[str]],
        given: Mapping[str, Iterable[str]],
        *,
        sequences: bool,
    ) -> None:
        self.sequences = sequences
        self.given = {synapse: tuple(partners) for synapse, partners in given.items()}
        self.homes = {neuron: tuple(inside) for neuron, inside in homes.items()}
        self.found: dict[str, tuple[str, ...]] = {}
        self._readouts = {synapse for synapse, partners in self.given.items() if not partners}
        self._wired: dict[str, list[str]] = {}  # {neuron: synapses}: the other way round
        for synapse, partners in self.given.items():
            for neuron in dict.fromkeys(partners):
                self._wired.setdefault(neuron, []).append(synapse)
        self._known = set(self.given)  # synapses of which it is known, or was found, whom they feed
        self._held = {*self.given, *(synapse for inside in self.homes.values() for synapse in inside)}
        self._calls: dict[str, list[Call]] = {}

    @property
    def waiting(self) -> set[str]:
        """Synapses with a call that no neuron has read."""
        return {name for name, calls in self._calls.items() if any(not c.readers for c in calls)}

    def called(self, synapse: Synapse, given: Tensor, pre: Tensor | None, output: Tensor) -> None:
        """A synapse has computed something, of what it was given."""
        name = synapse.name
        if name in self._readouts:
            return
        call = Call(synapse, given, pre, output, trace_graph=name not in self._known)
        waiting = self._still_waiting(name) if name in self._calls else []
        for older in waiting:
            older.node = None  # one autograd node is enough to find out whom it feeds, and it holds a graph
        waiting.append(call)
        self._calls[name] = waiting if len(waiting) <= LIMIT else waiting[-LIMIT:]

    def fired(self, neuron: Neuron, firing: Firing) -> list[Call]:
        """The calls that fed a neuron, each marked as read.

        Raises:
            PairingError: more than one could have been it; what waited is dropped. (Of a readout nobody need know.)
        """
        try:
            calls = self._feeding(neuron, firing)
        except PairingError:
            if neuron.deafness:
                return []
            self.clear()
            raise
        for call in calls:
            call.read(neuron.name)
        return calls

    def clear(self) -> None:
        """Drop what waits: what was interrupted stays interrupted."""
        self._calls.clear()

    def _feeding(self, neuron: Neuron, firing: Firing) -> list[Call]:
        name = neuron.name
        inner = self._inside(name) if name in self.homes else []
        wired = self._wired.get(name)
        if wired:
            return inner + self._of(wired, neuron, firing)
        known, behind = self.found.get(name), self._behind(neuron, firing)
        if behind is not None:
            outer = [behind]
        else:
            outer = self._alone(neuron, firing) if known is None else self._of(known, neuron, firing)
        if behind is None or known is None or behind.synapse.name not in known:
            self._remember(name, {call.synapse.name for call in outer})
        return inner + outer

    def _inside(self, neuron: str) -> list[Call]:
        """The latest calls of the synapses that are built into a neuron."""
        return [self._calls.pop(name)[-1] for name in self.homes[neuron] if name in self._calls]

    def _remember(self, neuron: str, fed: set[str]) -> None:
        """These synapses, too, have fed a neuron."""
        known = self.found.get(neuron, ())
        self.found[neuron] = (*known, *fed.difference(known))
        self._known |= fed

    def _still_waiting(self, synapse: str) -> list[Call]:
        """Older calls without a neuron. One whose output is gone as well can only be part of a sequence."""
        waiting = [call for call in self._calls.get(synapse, ()) if not call.readers]
        if not waiting or self.sequences:
            return waiting
        gone = [call for call in waiting if call.is_gone][:-1]
        return [call for call in waiting if call not in gone]

    def _free(self) -> list[Call]:
        """Calls whose neuron has to be found."""
        return [call for name, calls in self._calls.items() if name not in self._held for call in calls]

    def _behind(self, neuron: Neuron, firing: Firing) -> Call | None:
        """The call whose output is what the neuron got."""
        memory = memory_of(firing.current)
        call = self._newest_in(memory)
        if call is not None and call.changed_in(firing.current):
            self._refuse_sum(neuron, firing, memory)
        return call

    def _newest_in(self, memory: int) -> Call | None:
        """The last of the free calls whose output lies in this memory; as a rule it is the first that is looked at."""
        for name in reversed(self._calls):
            if name not in self._held:
                for call in reversed(self._calls[name]):
                    if call.is_behind(memory):
                        return call
        return None

    def _refuse_sum(self, neuron: Neuron, firing: Firing, memory: int) -> None:
        """What was written into an output since may have been that of another synapse."""
        same = [call for call in self._free() if call.is_behind(memory)]
        newest = {call.synapse.name: call for call in self._free() if not call.readers and call not in same}
        added = self._possible(firing.current, newest.values())
        if added:
            names = {call.synapse.name for call in (*same, *added)}
            raise PairingError(self._ambiguous(neuron, names))

    def _alone(self, neuron: Neuron, firing: Firing) -> list[Call]:
        """The only synapse that waits for a neuron."""
        free = self._possible(firing.current, (call for call in self._free() if not call.readers))
        names = {call.synapse.name for call in free}
        if len(names) > 1:
            raise PairingError(self._ambiguous(neuron, names))
        return self._of(names, neuron, firing)

    def _possible(self, current: Tensor, calls: Iterable[Call]) -> list[Call]:
        """Those calls that a tensor may have been computed from, as far as its memory and its graph tell."""
        memory = memory_of(current)
        later = [call for call in calls if not call.came_from(memory)]
        near = reaches(current.grad_fn, [call.node for call in later if call.node is not None])
        return [call for call in later if call.node is None or call.node in near]

    def _of(self, synapses: Iterable[str], neuron: Neuron, firing: Firing) -> list[Call]:
        chosen = (self._latest(name, neuron, firing) for name in synapses)
        return [call for call in chosen if call is not None]

    def _latest(self, synapse: str, neuron: Neuron, firing: Firing) -> Call | None:
        calls, memory = self._calls.get(synapse, []), memory_of(firing.current)
        same = [call for call in calls if call.is_behind(memory)]
        fresh = same or [call for call in calls if call.waits_for(neuron.name, firing.spikes)]
        if len(fresh) > 1 and neuron.kind.time_major and len(fresh) == len(firing.spikes):
            self._calls.pop(synapse)
            return stacked(fresh)
        if len(fresh) > 1 and not same:
            raise PairingError(
                f"{neuron.name} fired after {len(fresh)} calls of {synapse}: expected one call, or a tensor that shows "
                "which was meant. Let the neuron follow its call directly; if a forward pass was interrupted, call "
                "learner.reset()."
            )
        return fresh[-1] if fresh else None

    def _ambiguous(self, neuron: Neuron, names: Iterable[str]) -> str:
        listed = sorted(names)
        return (
            f"{neuron.name} fired, and {' and '.join(listed)} were waiting for a neuron: any of them, or their sum, "
            f"could have fed it. Say which, with attach(..., pairs={{{listed[0]!r}: {neuron.name!r}, ...}}), or give "
            "attach a sample= input, so that a dry run finds out."
        )
