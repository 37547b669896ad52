"""Says, once for each cause, why a step changed nothing.

What can be told from names and counts is told at once. Values are looked at on the CPU only, at steps 1, 2, 4, 8, …,
and at every step while something seems to be dead: a step that goes well costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor

from . import _causes as causes
from ._causes import Cause
from ._host_hooks import HostHooks, why_silent
from .connection import Connection
from .neuromodulation import NeuromodulatoryGate
from .notices import notice
from .third_factor import Factor, LayerFactors, factor_of

PATIENCE = 32  # steps without a change, where there were some before, until that is worth a word
ONSET = 64  # observed steps until a layer that has not learned anything yet is taken for dead
SEQUENCE = 8  # observed steps of one sequence in which neurons that are alive fire
RARE = 1024  # steps without any third factor before that is worth a word


class Step(NamedTuple):
    """What a step of a learner was told, and what came of it."""

    connections: Sequence[Connection]
    signals: Collection[str] | None  # names of the signals; None where the third factor was given as it is
    factor: Factor
    changes: Mapping[str, Tensor]
    unmoved: set[int]  # ids of the weights that their change leaves as they were
    lr_scale: float
    reduced: bool  # whether `reduce` had a say


class Silence:
    """What one learner has said so far, and what it suspects."""

    def __init__(self) -> None:
        self.steps = 0
        self.told: set[str] = set()
        self.signals_given: set[str] = set()  # signals that were ever given
        self.next_look = 0  # after so many steps, values are looked at
        self.opened = False  # whether the third factor was ever other than zero
        self.apart = False  # whether neurons were ever told different things
        self._idle: dict[str, int] = {}  # consecutive looks at which a connection changed nothing

    @property
    def looks(self) -> bool:
        """Whether values will be looked at in the next step."""
        return self.steps >= self.next_look

    def after(
        self, step: Step, gate: NeuromodulatoryGate, *, hooks: Sequence[HostHooks], enabled: bool, looks: bool
    ) -> None:
        """A step is over. One in which all is as usual, while nothing is looked at, need not come here.

        Args:
            step: what it was told, and what came of it.
            gate: what turns signals into the third factor.
            hooks: what feeds the connections.
            enabled: whether calls count.
            looks: what `looks` said before the step.
        """
        said: list[Cause | None] = []
        self.steps += 1
        if step.signals is not None:
            self.signals_given.update(step.signals)
        for connection in step.connections:
            if connection.activity.seen != connection.met:
                break
        else:
            said.append(causes.nothing_observed(step.connections, attached=bool(hooks), enabled=enabled))
        if not self.opened:
            said.append(self._wait(step))
        if looks:
            said += self._look(step, gate, hooks)
        for connection in step.connections:
            connection.met, connection.met_in_eval = connection.activity.seen, connection.seen_in_eval
        self.next_look = self.steps if self._idle else (1 << self.steps.bit_length()) - 1
        for cause in said:
            if cause is not None and cause.key not in self.told:
                self._say(cause)

    def _wait(self, step: Step) -> Cause | None:
        """Look at the third factor until it speaks for the first time."""
        self.opened = is_zero(step.factor) is not True
        late = not self.opened and self.steps == RARE
        return causes.zero_third_factor(self.steps, self.signals_given) if late else None

    def _look(self, step: Step, gate: NeuromodulatoryGate, hooks: Sequence[HostHooks]) -> list[Cause | None]:
        said = [causes.no_rate(step.connections, step.lr_scale)]
        if step.signals is not None:
            said.append(causes.unused_signals(gate, step.signals))
            if self.steps >= PATIENCE and "unused" not in self.told:
                said.append(causes.closed_gate(gate, self.signals_given))
        if not step.changes or is_zero(step.factor) is not False:
            return said
        self.apart |= isinstance(step.factor, LayerFactors) or (
            isinstance(step.factor, Tensor) and step.factor.dim() > 1
        )
        if hooks and not self.apart and not step.reduced and self.steps >= PATIENCE:
            said.append(causes.one_for_all(step.connections, step.factor))
        dead, stuck, full = [], [], []
        for connection in step.connections:
            delta = step.changes.get(connection.name)
            heard = factor_of(step.factor, connection.name)
            if delta is None or f"dead {connection.name}" in self.told or is_zero(heard) is True:
                continue
            if not delta.is_cpu or not connection.config.three_factor.lr * step.lr_scale:
                continue
            if not delta.any():
                dead += [connection] if self._is_dead(connection) else []
            elif id(connection.weight) in step.unmoved:
                stuck += [connection] if self._again(connection) > 1 else []
            else:
                connection.moved = True
                self._idle.pop(connection.name, None)
                if not step.reduced and causes.at_the_clamp(connection, delta, heard, step.lr_scale):
                    full.append(connection)
        if dead:
            said.append(causes.zero_eligibility(self._untold("dead", dead), partial(why_silent, hooks)))
        if stuck:
            said.append(causes.unmoved_weights(self._untold("stuck", stuck)))
        if full:
            said.append(causes.clamped_eligibility(self._untold("saturated", full)))
        return said

    def _is_dead(self, connection: Connection) -> bool:
        """Whether no change has been long enough to be more than a pause between two spikes."""
        if connection.moved:
            return self._again(connection) >= PATIENCE
        seen = connection.activity.seen
        return seen >= ONSET or seen - connection.met >= SEQUENCE

    def _again(self, connection: Connection) -> int:
        self._idle[connection.name] = self._idle.get(connection.name, 0) + 1
        return self._idle[connection.name]

    def _untold(self, cause: str, connections: Sequence[Connection]) -> list[Connection]:
        """Those of which this was not said yet; it is from now on."""
        fresh = [connection for connection in connections if f"{cause} {connection.name}" not in self.told]
        for connection in connections:
            self.told.add(f"{cause} {connection.name}")
            self._idle.pop(connection.name, None)
        return fresh

    def _say(self, cause: Cause) -> None:
        if cause.key not in ("dead", "stuck", "saturated"):  # those are said once for each layer
            self.told.add(cause.key)
        notice(cause.sentence, stacklevel=4)


def is_zero(factor: Factor) -> bool | None:
    """Whether the third factor is exactly zero for all; None where looking would wait for a device."""
    if isinstance(factor, LayerFactors):
        each = [is_zero(one) for one in factor.values()]
        return False if False in each else None if None in each else True
    if not isinstance(factor, Tensor):
        return not factor
    return not bool(factor.any()) if factor.is_cpu else None
