"""Who feeds whom: known by following tensors from the output of a synapse to the input of a neuron, never guessed.

Where a neuron is given the very memory that a synapse has written, or a view of it, nothing else has to be watched.
While a pattern is new, and where something is computed in between, the operations are watched, and tell which call,
which sample and which step every row came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from .adapter import NeuronCall
from .index import Neuron, Synapse
from .ledger import Ledger, Operations
from .operations import Operation
from .pooling import Pool, pooled
from .provenance import (
    Operand,
    PairingError,
    Provenance,
    SynapseCall,
    expired,
    memory_of,
    stride_and_offset,
    unit_by_unit,
    version_of,
)
from .reading import (
    AS_IT_CAME,
    Reading,
    RowSelection,
    changed_pattern,
    mixed_sentence,
    no_correspondence,
    readings_of,
    unwatchable,
)

SETTLED_AFTER = 2  # firings of each neuron, all known without watching, from which on nobody watches


class Wiring:
    """The outputs of synapses, followed to the neurons that read them.

    Args:
        inner_synapses: the synapses that are built into a neuron, by the neuron's name.
        given: {synapse: neurons}, where the user has said which of them it learns from.
        plastic: the synapses that learn.
        neurons: how many neurons there are.
    """

    def __init__(
        self,
        inner_synapses: Mapping[str, Iterable[str]],
        given: Mapping[str, Iterable[str]],
        plastic: Iterable[str],
        neurons: int,
    ) -> None:
        self.ledger = Ledger()
        self.operations = Operations(self.ledger)
        self.given = {synapse: tuple(partners) for synapse, partners in given.items()}
        self.inner_synapses = {neuron: tuple(inside) for neuron, inside in inner_synapses.items()}
        self.plastic, self.neurons = set(plastic), neurons
        self.watching, self._steady = True, 0
        self._held = {synapse for inside in self.inner_synapses.values() for synapse in inside}
        self._inner: dict[str, SynapseCall] = {}  # the latest calls of synapses inside of neurons
        self.latest: dict[str, SynapseCall] = {}  # those of the others, since the pass began
        self.superseded: dict[str, SynapseCall] = {}  # those before, of which somebody still holds the output
        self.unlisted: dict[str, SynapseCall] = {}  # those that the ledger has not been told of: nobody asked
        self._fired: set[str] = set()
        self._unwatched_pairs: set[tuple[str, str]] = set()  # pairs for which there is nothing but the user's word

    def renewed(self) -> Wiring:
        """Another one, that knows what the user has said and has seen nothing yet."""
        return Wiring(self.inner_synapses, self.given, self.plastic, self.neurons)

    def synapse_called(self, synapse: Synapse, given: Tensor | None, pre: Tensor | None, output: Tensor) -> None:
        """A synapse has computed something."""
        call, name = SynapseCall(synapse, pre, output, given), synapse.name
        if name in self._held:
            self._inner[name] = call
            return
        if self.watching:
            source = pre if given is None else given
            if source is not None and not self.ledger.knows(source) and not self.unread:
                self.ledger.mark_unrelated((source,))  # it was there before there was anything to be made of
        before, unasked = self.latest.get(name), self.unlisted.pop(name, None)
        if unasked is not None:
            self._list(unasked)
        self._release(name)
        if before is not None:
            self.superseded[name] = before
            self._release(name)
            call.waiting += before.waiting
        self.latest[name] = self.unlisted[name] = call
        self.watch_if_needed(call)

    def latest_call(self, name: str) -> SynapseCall | None:
        """The latest call of a synapse."""
        return (self._inner if name in self._held else self.latest).get(name)

    def _release(self, name: str) -> None:
        """Forget the call before the latest, once its output is gone."""
        call = self.superseded.get(name)
        if call is not None and expired(call.memory):
            self.ledger.release(self.superseded.pop(name))

    def watch_if_needed(self, call: SynapseCall) -> None:
        """Operations on what was just computed are seen, where that is needed."""
        if call.version < 0:  # what is written into an inference tensor is not counted, so it has to be seen
            self.watching = True
        if self.watching:
            self.list_calls()
            self.operations.on()

    def list_calls(self) -> None:
        """Tell the ledger of the calls it does not know yet."""
        for call in self.unlisted.values():
            self._list(call)
        self.unlisted.clear()

    def _list(self, call: SynapseCall) -> None:
        for provenance in (call, *call.handed_on.values()):
            if not expired(provenance.memory):
                self.ledger.record_call(provenance)
        call.handed_on = {}  # the ledger's from now on

    def hand_on(self, layer: str, given: Tensor, output: Tensor, pool: Pool | None = None) -> bool:
        """`layer_called`, where one call's output came out laid out as it was; False, and nothing, where it did not."""
        if not (given.layout is torch.strided is output.layout) or given.is_inference() or output.is_inference():
            return False
        memory = given.untyped_storage()._cdata
        if memory == output.untyped_storage()._cdata:
            return True  # a view; or written in place, which the version tells
        for call in self.unlisted.values():
            for source in (call, *call.handed_on.values()):
                if source.memory == memory:
                    return source.version == given._version and call.hand_on(layer, source, given, output, pool)
        return memory not in self.ledger.entries

    def layer_called(self, given: Tensor, output: Tensor, pool: Pool | None = None) -> None:
        """A layer that is known to work unit by unit, or to pool, has computed something of what it was given."""
        self.list_calls()
        provenance = self.ledger.of(given)
        if provenance is None or memory_of(output) == memory_of(given):  # a view; what is written in place is watched
            return
        part = Operand(given, memory_of(given), provenance)
        if pool is not None:
            made = pooled(pool, part, output)
        elif output.numel() == given.numel() and output.shape != given.shape:
            made = Operation("reshape", torch.reshape, (given, output.shape), {}, [part], []).origins(output)
        else:
            made = unit_by_unit([part], output, "a layer in between")
        self.ledger.record(output, made, watched=provenance.watched)

    def feeders(self, neuron_call: NeuronCall) -> set[str]:
        """The synapses that have a part in what a neuron was given."""
        self.list_calls()
        provenance = self.ledger.of(neuron_call.current)
        return {name for origin in provenance.origins for name in origin.names} if provenance else set()

    def neuron_called(self, neuron: Neuron, neuron_call: NeuronCall) -> list[Reading]:
        """What a neuron has read of the synapses that learn from it.

        Raises:
            PairingError: it is not known what it has read.
        """
        self.list_calls()
        provenance = self._call_as_it_came(neuron, neuron_call)
        call = None if provenance is None else provenance.unmoved
        if provenance is not None and call is not None:
            self._mark_read(call)
            read = [] if not call.observed else [Reading((call,), AS_IT_CAME, provenance.layer)]
        else:
            read = self._read(neuron, neuron_call)
            for reading in read:
                for call in reading.calls:
                    self._mark_read(call)
            read = [reading for reading in read if all(call.observed for call in reading.calls)]
        if self.watching:
            self._update_watching(neuron, neuron_call)
        return read

    def _mark_read(self, call: SynapseCall) -> None:
        name = call.synapse.name
        for root in call.roots:
            root.read = True
        if name in self.latest:
            self.latest[name].waiting = 0

    def _call_as_it_came(self, neuron: Neuron, neuron_call: NeuronCall) -> Provenance | None:
        """The usual case: a neuron was given one call's output, or what is laid out like it, and learns from it."""
        current, provenance = neuron_call.current, self.ledger.of(neuron_call.current)
        call = None if provenance is None else provenance.unmoved
        if (
            call is not None
            and current.shape == call.shape == neuron_call.spikes.shape
            and stride_and_offset(current) == call.place
            and version_of(current) == provenance.version  # type: ignore[union-attr]
            and neuron.name not in self.inner_synapses
            and self._learns_from(call.synapse.name, neuron)
        ):
            return provenance
        return None

    def _read(self, neuron: Neuron, neuron_call: NeuronCall) -> list[Reading]:
        """Of all synapses, also those inside of the neuron."""
        try:
            return [*self._inner_readings(neuron, neuron_call), *self._outer_readings(neuron, neuron_call)]
        except PairingError:
            self.watch()
            raise

    def watch(self) -> None:
        """From now on, see every operation."""
        self.watching, self._steady = True, 0
        self.list_calls()

    def begin_pass(self, given: Any) -> None:
        """A pass of the whole model begins: what an interrupted one has left waits for nobody."""
        for name in tuple(self.superseded):
            self._release(name)
        for name, call in self.latest.items():
            call.waiting = 0
            if not expired(call.memory):
                continue
            if name in self.unlisted:
                call.pre = call.pre if call.held else None
            else:
                self.ledger.release(call)
        self.latest.clear()
        if self.watching:
            self.ledger.values_escaped = False
            self.ledger.mark_unrelated(given)
            self.operations.on()

    def resume(self, output: Any) -> None:
        """See again, where there is something to follow; what a neuron gave is its own."""
        self.ledger.mark_unrelated((output,))
        if self.ledger.entries:
            self.operations.on()

    def pause(self) -> None:
        """See nothing until a synapse is called again."""
        self.operations.off()

    def clear(self) -> None:
        """What was called so far waits for nobody."""
        for call in self.unlisted.values():
            call.handed_on = {}
        self.latest.clear()
        self.unlisted.clear()
        self.superseded.clear()
        self._inner.clear()
        self.pause()

    @property
    def unread(self) -> set[str]:
        """The synapses whose last call no neuron has read."""
        return {name for name, call in self.latest.items() if not call.read}

    def _learns_from(self, synapse: str, neuron: Neuron) -> bool:
        if synapse not in self.plastic or neuron.why_not_post(synapse):
            return False
        return neuron.name in self.given.get(synapse, (neuron.name,))

    def _inner_readings(self, neuron: Neuron, neuron_call: NeuronCall) -> Iterator[Reading]:
        """The latest calls of the synapses that are built into a neuron."""
        for name in self.inner_synapses.get(neuron.name, ()):
            call = self._inner.pop(name, None)
            if call is None:
                continue
            leading = _leading_inside(call, tuple(neuron_call.spikes.shape), neuron.kind.time_major)
            if leading is None:
                raise PairingError(no_correspondence(name, neuron, call.shape, neuron_call.spikes))
            yield Reading((call,), RowSelection((0,), leading, None))

    def _outer_readings(self, neuron: Neuron, neuron_call: NeuronCall) -> Iterator[Reading]:
        if neuron.why_not_post() and not neuron.read_by:
            return
        provenance, current = self.ledger.of(neuron_call.current), neuron_call.current
        if provenance is None:
            waiting = {n for n in self.unread if self._learns_from(n, neuron)}
            yield from self._unwatched_readings(neuron, neuron_call, waiting)
            return
        if provenance.version != version_of(current):
            self._require_unwanted(neuron, provenance)
            return
        for origin in provenance.origins:
            wanted = {name for name in origin.names if self._learns_from(name, neuron)}
            wanted = {call.synapse.name for call in origin.calls if call.synapse.name in wanted and call.observed}
            if wanted and origin.places is None:
                raise PairingError(
                    mixed_sentence(
                        min(wanted), neuron, origin.mixed, origin.calls[0].roots[0].shape, neuron_call.spikes
                    )
                )
            if wanted:
                yield from readings_of(neuron, neuron_call, origin, wanted)

    def _unwatched_readings(self, neuron: Neuron, neuron_call: NeuronCall, waiting: set[str]) -> Iterator[Reading]:
        """What a neuron was given comes of nothing that was seen."""
        memory = memory_of(neuron_call.current)
        if self.watching and memory in self.ledger.unrelated:
            return
        said = {n for n in self.latest if n in self.given and self._learns_from(n, neuron)}
        for name in sorted(said):
            reading = self._reading_of_pair(name, neuron, neuron_call)
            if reading is not None:
                yield reading
        waiting = {n for n in waiting - said if self.latest[n].pre is not None and self.latest[n].source != memory}
        if not waiting or said:
            return
        if not self.watching:
            raise PairingError(changed_pattern(min(waiting), neuron))
        made = neuron_call.current.grad_fn
        raise PairingError(unwatchable(min(waiting), neuron, "" if made is None else type(made).__name__))

    def _reading_of_pair(self, name: str, neuron: Neuron, neuron_call: NeuronCall) -> Reading | None:
        """What the user says that a neuron reads: the one call since it last fired, where that can be meant."""
        call, before = self.latest[name], (name, neuron.name) in self._unwatched_pairs
        count = call.waiting
        if count == 0 and not before:
            return None
        if count != 1:
            raise PairingError(
                f"pairs= says that {name} feeds {neuron.name}, which fired after {count} calls of {name}: expected "
                "one, since what lies between them cannot be watched and does not tell which call and step was meant."
            )
        if call.shape != neuron_call.spikes.shape:
            raise PairingError(no_correspondence(name, neuron, call.shape, neuron_call.spikes))
        self._unwatched_pairs.add((name, neuron.name))
        return Reading((call,), RowSelection((0,), call.leading, None))

    def _require_unwanted(self, neuron: Neuron, provenance: Provenance) -> None:
        """Something was written into what a neuron was given, and nobody saw what."""
        names = {name for origin in provenance.origins for name in origin.names if self._learns_from(name, neuron)}
        if names:
            how = unwatchable if self.watching else changed_pattern
            raise PairingError(how(min(names), neuron))

    def _update_watching(self, neuron: Neuron, neuron_call: NeuronCall) -> None:
        """Where everything is known without watching, for long enough, nobody watches any more."""
        provenance = self.ledger.of(neuron_call.current)
        self._fired.add(neuron.name)
        if provenance is None:
            unclear = bool(self.unread & self.plastic)
        else:
            unclear = provenance.watched or provenance.version < 0 or not neuron.module.training
            unclear = unclear or any(
                not call.observed and call.synapse.name in self.plastic  # in eval()
                for origin in provenance.origins
                for call in origin.calls
            )
        self._steady = 0 if unclear else self._steady + 1
        if self._steady >= SETTLED_AFTER * self.neurons and len(self._fired) == self.neurons:
            self.watching = False
            self.pause()
            self._unlist()

    def _unlist(self) -> None:
        """The latest calls are notes again, of which the ledger is told when somebody asks."""
        for name, call in self.latest.items():
            if self.ledger.let_go(call):
                self.unlisted[name] = call


def _leading_inside(call: SynapseCall, spikes: tuple[int, ...], time_major: bool) -> tuple[int, ...] | None:
    """The leading shape of a synapse inside of a neuron; a sequence may have gone through it as one batch."""
    sample_dims = call.synapse.sample_dims
    if call.shape == spikes:
        return spikes[:-sample_dims]
    if time_major and call.shape[0] == prod(spikes[:2]) and call.shape[1:] == spikes[2:]:
        return spikes[:2]
    return None
