"""Histories of `attach` on real nets of snnTorch and Norse."""

from __future__ import annotations

from typing import Any

import numpy as np
import reference
import torch

from snn_plasticity import (
    NeuromodConfig,
    PlasticityConfig,
    PlasticityLearner,
    ThreeFactorConfig,
    attach,
)

from . import settings
from .learner import LearnerHistory
from .nets import Net, Notes, excite, norse_net, snntorch_net
from .story import palette


class Interrupted(Exception):
    """What a module of the user's raises in the middle of a forward pass."""


class HostHistory(LearnerHistory):
    """Forward passes of every kind, beside all that happens to a learner."""

    HEAD = ("# the net is drawn: see `histories.nets`",)
    events = {k: v for k, v in LearnerHistory.events.items() if k not in ("new_sequence", "broken_step")} | {
        "fresh_state": 0.7, "evaluate": 0.7, "pause": 0.7, "interrupt": 0.7, "write": 0.5, "detach": 0.4,
    }  # fmt: skip

    def net_of(self) -> Net:
        """A net of the host."""
        raise NotImplementedError

    def set_up(self) -> None:
        """A net with a learner, and the reference of it."""
        draw = self.draw
        self.double, self.rtol = False, 1e-4
        torch.manual_seed(self.seed)
        self.net = self.net_of()
        excite(self.net.model, self.seed)
        self.batch, self.state, self.breaking = draw.randint(1, 3), None, False
        self.path = draw.choice((*["auto"] * 6, "fold", "plain"))
        self.update, self.neuromod = settings.update(draw), settings.neuromod(draw)
        chosen, said = settings.eligibility(draw), settings.convention(draw)
        config, given = settings.both(chosen, said)
        positive = any(settings.cancels(chosen, site.layer) for site in self.net.sites.values())
        self.palette = palette(draw, 2, positive=positive)
        self.config = PlasticityConfig(config, NeuromodConfig(**self.neuromod), ThreeFactorConfig(**self.update))
        self.learner = self.made()
        self.build_oracle(given)
        self.notes = Notes(self.net, self.tell, self.begin)
        self.tally.count(f"net {' '.join(self.net.kinds)}")
        self.run()

    def build_oracle(self, given: reference.Eligibility) -> None:
        """The reference of every plastic weight."""
        oracles = {}
        for name, site in self.net.sites.items():
            weight = np.asarray(self.weight(name).detach(), np.float64)
            mask = None if site.autapses else 1.0 - np.eye(len(weight))
            update = reference.ThreeFactor(**self.update)
            oracles[name] = reference.Synapses(site.layer, weight, given, update, mask)
        self.oracle = reference.Learner(oracles, reference.Neuromod(**self.neuromod))

    def weight(self, name: str) -> torch.Tensor:
        """A plastic weight of the net."""
        owner, _, attribute = name.rpartition(".")
        if attribute in ("input_weights", "recurrent_weights"):
            return getattr(self.net.model.get_submodule(owner), attribute)
        return self.net.model.get_submodule(name).weight  # type: ignore[return-value]

    def build(self) -> PlasticityLearner:
        """Attach."""
        return attach(self.net.model, self.config, path=self.path)

    def rebuild(self) -> PlasticityLearner:
        """Attach again, and find out who feeds whom without being seen."""
        self.learner.remove()
        return self.build()

    @property
    def layers(self) -> dict[str, Any]:  # type: ignore[override]
        """Plastic weights by name."""
        return self.net.sites

    def n_post(self, name: str) -> int:
        """Post neurons of a connection."""
        return self.net.sites[name].layer.shape[0]

    # what the hooks see

    def tell(self, name: str, pre: np.ndarray, post: np.ndarray) -> None:
        """Steps of one synapse."""
        for p, q in zip(pre, post, strict=True):
            self.oracle.synapses[name].traces.observe(p, q)

    def begin(self, name: str) -> None:
        """A sequence of one synapse begins."""
        self.oracle.synapses[name].traces.start_sequence()

    # forward passes

    def forward(self, *, seen: bool = True, steps: int | None = None) -> None:
        """Some steps of the net."""
        steps = steps or self.draw.choice((1, 1, 2, 3, 6))
        kind = self.draw.choice(self.palette)
        xs = self.tensor(self.activity((steps, self.batch, *self.net.size), kind))
        self.say(f"# {steps} steps, {kind}, seen {seen}")
        self.notes.listening = seen
        try:
            with torch.set_grad_enabled(self.draw.random() < 0.3):
                for x in (xs,) if self.net.sequence else xs:
                    self.call(x)
        finally:
            self.notes.listening = False
            self.notes.forget()

    def call(self, x: torch.Tensor) -> None:
        """One call of the model."""
        if not self.net.stateful:
            self.net.model(x)
            return
        _, self.state = self.net.model(x, self.state)

    def run(self) -> None:
        """Steps that count."""
        self.forward()

    def fresh_state(self) -> None:
        """The net begins a new sequence; snnTorch does not say so, Norse does."""
        self.still()
        self.forward()

    def still(self) -> None:
        """Membranes at rest."""
        self.state = None
        for module in self.net.model.modules():
            if hasattr(module, "reset_mem"):
                module.reset_mem()  # type: ignore[operator]

    def evaluate(self) -> None:
        """In `eval()` nothing counts."""
        self.net.model.eval()
        self.forward(seen=False)
        self.net.model.train()

    def pause(self) -> None:
        """While the learner is paused nothing counts."""
        with self.learner.paused():
            self.forward(seen=False)

    def interrupt(self) -> None:
        """A pass that fails half-way: neurons that have answered have answered."""
        paths = sorted({p for site in self.net.sites.values() for p in (site.synapse, site.neuron) if p})
        module = self.net.model.get_submodule(self.draw.choice(paths))

        def stop(*_: Any) -> None:
            raise Interrupted

        handle = module.register_forward_pre_hook(stop)
        try:
            self.forward(steps=1)
        except Interrupted:
            pass
        else:
            raise AssertionError("the pass was not interrupted")
        finally:
            handle.remove()

    def write(self) -> None:
        """The user changes weights."""
        with torch.no_grad():
            for name, synapses in self.oracle.synapses.items():
                self.weight(name).mul_(0.9)
                synapses.weight = synapses.weight * 0.9

    def detach(self) -> None:
        """The learner goes, the net runs, another learner comes."""
        self.learner.remove()
        self.forward(seen=False)
        self.learner = self.build()
        for synapses in self.oracle.synapses.values():
            synapses.traces.reset()
            synapses.discard_pending()
        self.oracle.gate, self.oracle.lr_scale = reference.Gate(reference.Neuromod(**self.neuromod)), 1.0
        self.forward()

    def another_batch(self) -> None:
        """A reset of the learner and of the net, then another number of samples."""
        self.learner.reset()
        self.oracle.reset()
        self.still()
        self.batch = self.draw.randint(1, 3)
        self.forward()

    def forget(self) -> None:
        """A whole reset, of the learner alone or of the net too."""
        super().forget()
        if self.draw.random() < 0.5:
            self.still()

    def excused(self, error: Exception) -> bool:
        """Nothing is."""
        return False


class SnnTorchHistory(HostHistory):
    """On nets of snnTorch."""

    def net_of(self) -> Net:
        return snntorch_net(self.draw)


class NorseHistory(HostHistory):
    """On nets of Norse."""

    def net_of(self) -> Net:
        return norse_net(self.draw)
