"""The connections of a learner, by synapse and neuron: what a call of a neuron means for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from .._loss_changes import reads_gradient
from ..connection import Connection
from ..kernels.post_side import OF_STEPS
from ..learner import PlasticityLearner
from ..notices import notice
from .adapter import NeuronCall, held_state, never
from .builder import ConnectionBuilder, readout
from .gradients import GradientSteps, require_no_second
from .hooks import DirectReading, Presynaptic, as_activity, is_plain
from .index import ModelIndex, Neuron, OwnSynapse
from .post_sides import PostSides, look, may_follow, suit_pool
from .provenance import PairingError
from .reading import AS_IT_CAME, Reading
from .replay import Before


class Connections:
    """Observes, for each connection, what went into its synapse and came out of its neuron.

    Args:
        index: the parts of the model.
        build: makes the connection from a synapse to a neuron; the first of a synapse bears its name.
        edges: those that exist from the start, by (synapse, neuron) or (synapse, None).
        named: synapses that the user named, for which feeding no neuron is an error.
        pre: what is made of the input of a synapse.
    """

    def __init__(
        self,
        index: ModelIndex,
        build: ConnectionBuilder,
        edges: Mapping[tuple[str, str | None], Connection],
        named: Iterable[str],
        pre: Presynaptic,
    ) -> None:
        self.edges, self.plastic, self.named, self.pre = dict(edges), {name for name, _ in edges}, set(named), pre
        self.own: dict[str, list[OwnSynapse]] = {}
        for synapse in index.own.values():
            self.own.setdefault(synapse.neuron.name, []).append(synapse)
        self._build, self.gradients = build, GradientSteps(self.edges)
        self.bind(lambda: None)
        self._warned = False  # whether it was said that a state gets lost
        self._units: dict[str, Tensor] = {}  # those that the neuron of a connection reads, where not all

    def bind(self, learner: Callable[[], PlasticityLearner | None]) -> None:
        """Observe on behalf of a learner; nothing was seen yet."""
        self._learner = learner
        self.before: dict[str, Before] = {}  # by neuron, what a call that is going on began with
        self.direct: dict[
            str, DirectReading
        ] = {}  # by neuron, where its last call had one reading, of a call as it came
        self._places: dict[str, torch.device] = {}
        self.started_at: dict[str, int] = {}  # steps of the learner when a call last began a sequence, else -1

    def own_weights_of(self, neuron: str) -> list[str]:
        """The weights that a neuron holds itself, by name."""
        return [synapse.name for synapse in self.own.get(neuron, ())]

    def seen_in_eval(self, synapse: str) -> None:
        """A call of a synapse or its neuron was not observed, since it was in eval()."""
        for (known, _), connection in self.edges.items():
            if known == synapse:
                connection.seen_in_eval += 1

    def observe(self, neuron: Neuron, neuron_call: NeuronCall, readings: Sequence[Reading]) -> None:
        """Every pair of sides is worked out and looked at before the first is observed: no half of a step is."""
        direct = self.direct.get(neuron.name)
        if direct is not None and len(readings) == 1 and self._observe_directly(direct, neuron_call, readings[0]):
            return
        sides, time_major = self._sides(neuron, neuron_call), neuron.kind.time_major
        neurons, due = neuron_call.spikes.shape[1 + time_major :], []
        for reading in readings:
            connection = self._connection(reading.calls[0].synapse.name, neuron.name)
            if connection is not None and not reading.unmoved and len(reading.sample) > 1:
                connection.noted.places, connection.noted.readers = reading.sample, reading.readers
            if connection is not None and reads_gradient(connection):
                as_it_came = self.gradients.on_reading(connection, neuron, sides.call, reading)
                if as_it_came is not None and len(readings) == 1:
                    self.direct[neuron.name] = as_it_came
            elif connection is not None:
                units = reading.units
                if self._units or units is not None:
                    self._mask(connection, units, prod(reading.sample))
                suit_pool(connection, neuron, reading)
                place = partial(reading.sides, time_major=time_major)
                connection.noted.neurons = None if reading.unmoved else neurons
                due.append((connection, *sides.beside(connection, place, alike=reading.unmoved)))
        for own in self.own.get(neuron.name, ()):
            connection = self._connection(own.name, neuron.name)
            place = partial(self._own_sides, own, neuron_call, time_major=time_major)
            if connection is not None and not self.gradients.on_own(connection, neuron, neuron_call, place):
                due.append((connection, *sides.beside(connection, place, alike=True)))
        starts = neuron.kind.starts(neuron_call)
        due = [(connection, *self._alike(connection, pre, post)) for connection, pre, post in due]
        if len(due) > 1:
            for connection, pre, post in due:
                connection.check_sides(pre, post, window=time_major, new_sequence=starts)
        for connection, pre, post in due:
            self._observe(connection, neuron, pre, post, starts=starts)
            if connection.post_side != "spikes":
                connection.activity.fired(as_activity(sides.call.spikes))
        if len(due) == len(readings) == 1 and readings[0].rows is AS_IT_CAME and not time_major:
            self._remember_reading(due[0][0], neuron, neuron.kind.starts, readings[0])

    def _remember_reading(
        self, connection: Connection, neuron: Neuron, starts: Callable[[NeuronCall], bool], reading: Reading
    ) -> None:
        """How a neuron was read whose input was the output of one synapse as it came: the next call may be like it."""
        simple = connection.post_side not in OF_STEPS or reading.unmoved
        if not simple or connection.name in self._units or neuron.kind.inner:
            return
        reads = None if connection.post_side == "spikes" else neuron
        self.direct[neuron.name] = DirectReading(
            reading.calls[0].synapse.name, reading.layer, connection, self._places[connection.name],
            None if starts is never else starts, reads, None if reads is None else look(connection, neuron),
        )  # fmt: skip

    def _observe_directly(self, direct: DirectReading, neuron_call: NeuronCall, reading: Reading) -> bool:
        """One step of what the neuron learned from before; False, and nothing, where it is another or begins anew."""
        call, spikes = reading.calls[0], neuron_call.spikes
        if (
            reading.rows is not AS_IT_CAME
            or (call.synapse.name, reading.layer) != (direct.synapse, direct.layer)
            or call.pre is None
            or len(call.shape) <= call.sample_dims
            or call.pre.dtype is not spikes.dtype
            or direct.device != spikes.device
            or not is_plain(spikes)
            or direct.reads is not None
            or (direct.starts is not None and direct.starts(neuron_call))
        ):
            return False
        if direct.starts is not None:
            self.started_at[direct.connection.name] = -1
        direct.connection.observe(call.pre, call.credited(spikes.detach()))
        return True

    def post_side(self, direct: DirectReading, neuron_call: NeuronCall) -> Tensor:
        """What the connection of a direct reading observes of a call, where it is not the spikes."""
        assert direct.reads is not None
        seen = None if direct.side is None else direct.side(neuron_call)
        if seen is not None and seen.shape == neuron_call.spikes.shape and is_plain(seen):
            return seen
        sides = self._sides(direct.reads, neuron_call)
        return sides.beside(direct.connection, lambda post: (post, post), alike=True)[1]

    def _sides(self, neuron: Neuron, neuron_call: NeuronCall) -> PostSides:
        """What the call offers, with what it began with."""
        before = self.before.pop(neuron.name, None)
        return PostSides(neuron, neuron_call if before is None else neuron_call._replace(before=before))

    def begin(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A neuron begins to work: what it works with is noted, where its step will be run again."""
        self.before[name] = Before(args, kwargs, held_state(module))

    @property
    def follows_steps(self) -> bool:
        """Whether the step of some neuron will be run again, as far as is known."""
        return any(map(may_follow, self.edges.values()))

    def _own_sides(
        self, own: OwnSynapse, neuron_call: NeuronCall, spikes: Tensor, time_major: bool
    ) -> tuple[Tensor, Tensor]:
        """Of a weight that a neuron holds itself."""
        pre, at = self.pre(own.name, as_activity(own.weight.pre(neuron_call, time_major))), int(time_major)
        return (pre, spikes) if pre.dim() > 1 + at else (pre.unsqueeze(at), spikes.unsqueeze(at))

    def _mask(self, connection: Connection, units: Tensor | None, size: int) -> None:
        """The units of a layer that a neuron does not read do not learn from it."""
        known = self._units.get(connection.name)
        if units is known:
            return
        if units is not None and known is None and connection.traces.batch_size is None:
            self._units[connection.name] = units
            self.direct.clear()
            rows = _rows_of(connection.weight.detach(), units, size)
            connection.mask = rows if connection.mask is None else connection.mask * rows
        elif units is None or known is None or not torch.equal(units, known):
            raise PairingError(
                f"{connection.name}: other units of it were read before than now, and a neuron has one history for "
                "each. Give each part of the layer a neuron of its own, or make it several layers."
            )

    def _alike(self, connection: Connection, pre: Tensor, post: Tensor) -> tuple[Tensor, Tensor]:
        """Both sides in the wider precision of the two, and the traces where they are."""
        if pre.dtype != post.dtype:
            kind = torch.promote_types(pre.dtype, post.dtype)
            pre, post = pre.to(kind), post.to(kind)
        if self._places.get(connection.name) != pre.device:
            self._places[connection.name] = pre.device
            _move(connection, pre.device)
        return pre, post

    def _observe(self, connection: Connection, neuron: Neuron, pre: Tensor, post: Tensor, *, starts: bool) -> None:
        if starts and not neuron.kind.time_major and connection.traces.batch_size is not None:
            self._warn_of_a_lost_state(connection, neuron)
        if neuron.kind.starts is not never:
            self.started_at[connection.name] = self._steps() if starts else -1
        (connection.observe_sequence if neuron.kind.time_major else connection.observe)(pre, post, new_sequence=starts)

    def _steps(self) -> int:
        learner = self._learner()
        return 0 if learner is None else learner.silence.steps

    def _warn_of_a_lost_state(self, connection: Connection, neuron: Neuron) -> None:
        """Two sequences of one step each, and nothing was learned in between: a wrapper drops the state."""
        if self._warned or connection.config.eligibility.carry or self.started_at.get(connection.name) != self._steps():
            return
        self._warned = True
        notice(
            f"{neuron.name} was called without a state again. Each such call begins a new sequence, and its traces "
            "begin anew: a step learns from the last only. Hand the state on, as SequentialState and Lift do; or "
            "say that traces go on across sequences, with EligibilityConfig(carry=True).",
            stacklevel=6,
        )

    def _connection(self, synapse: str, neuron: str) -> Connection | None:
        """From this synapse to this neuron; a second neuron of one synapse has traces of its own."""
        connection = self.edges.get((synapse, neuron))
        if connection is not None or synapse not in self.plastic:
            return connection
        connection = self.edges.pop((synapse, None), None)
        if connection is None:
            require_no_second(synapse, neuron, self.edges)
            connection = self._build(synapse, neuron)
        else:
            self._build.suit(connection, neuron)
        self.edges[synapse, neuron] = connection
        connection.note = ""
        learner = self._learner()
        if learner is not None:
            learner.connections.setdefault(connection.name, connection)
            if learner.recorder is not None:
                learner.recorder.take(connection)
        return connection

    def note_readouts(self, names: Iterable[str], neuron: Neuron) -> None:
        """These feed a neuron whose output is no spikes."""
        for name in names:
            if name in self.named:
                raise PairingError(readout(name, neuron))
            if (name, None) in self.edges:
                self.edges[name, None].note = f"feeds {neuron.name}: {neuron.why_not_post(name)}"


def _move(connection: Connection, device: torch.device) -> None:
    """Traces follow a model that moved."""
    connection.traces.to(device)
    if connection.mask is not None:
        connection.mask = connection.mask.to(device)


def _rows_of(weight: Tensor, units: Tensor, size: int) -> Tensor:
    """Ones for the weights of these units of `size` in a sample, zeros for the others."""
    keep = torch.zeros(len(weight), device=weight.device)
    keep[(units * len(weight) // size).to(weight.device)] = 1.0
    return keep.view(-1, *[1] * (weight.dim() - 1)).expand(weight.shape).clone()
