"""From the readout downwards: the populations of neurons that a reward has to reach."""

from __future__ import annotations

from ..connection import Connection
from ..hosts.feedback_matrices import Population
from ..hosts.manager import HookManager
from ..learner import PlasticityLearner


def populations(learner: PlasticityLearner, readout: str) -> list[Population]:
    """From the readout downwards: what ends on its neurons, then what ends on those before them, and so on.

    Layers are taken to follow one another in the order of their neurons in the model.
    """
    neurons: dict[str, tuple[str, bool]] = {}
    order: list[object] = []
    for hooks in learner.hooks:
        neurons |= _fed_neurons(hooks) if isinstance(hooks, HookManager) else {}
        order += hooks.index.neurons if isinstance(hooks, HookManager) else ()
    found: dict[object, list[Connection]] = {}
    for name, connection in learner.connections.items():
        neuron, recurrent = neurons.get(name, (("alone", name), False))
        found.setdefault(neuron, []).insert(len(found.get(neuron, ())) if recurrent else 0, connection)
    groups = [Population(found[neuron]) for neuron in sorted(found, key=lambda n: order.index(n) if n in order else -1)]
    last = next(k for k, group in enumerate(groups) if any(c.name == readout for c in group.connections))
    return groups[last::-1]


def _fed_neurons(hooks: HookManager) -> dict[str, tuple[str, bool]]:
    """The neuron that each connection is known to feed, and whether it comes from that very neuron, by name."""
    synapses, own = hooks.index.synapses, hooks.index.own
    return {
        connection.name: (neuron, own[s].weight.recurrent if s in own else synapses[s].inside_of is not None)
        for (s, neuron), connection in hooks.edges.items()
        if neuron is not None
    }
