"""The net of the demo on cues as one writes it with Norse, and its e-prop through `attach`.

    v ← v + (i − v)/τ_m    i ← W·x + R·z    θ ← θ + (1 − θ)/τ_a + β·z    z = 1 where v ≥ θ, and v ← 0 there
    z̄ ← κ·z̄ + (1 − κ)·z    y = W_out·z̄                                  LIF: θ = 1

The membrane of such a neuron starts from zero where it fires, so that each synapse follows for itself what membrane and
threshold keep of it. That is exact, and takes more time than the sums of `eprop_nets.py`: the net is smaller.
"""

from __future__ import annotations

import math
from typing import Any

import norse.torch as norse
import torch
from cue_task import GROUP, RECALL, STEPS, CueLearner, trials
from eprop_nets import Course
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from snn_plasticity import PlasticityConfig, attach
from snn_plasticity.feedback import Feedback

N, BATCH, BATCHES = 60, 16, 120
TAU_M, TAU_A, TAU_OUT, BETA = 20.0, 300.0, 20.0, 0.6
GAIN, LR, LR_OUT = 1.6, 0.2, 0.02  # a unit of input is 1/TAU_M at the membrane: weights and steps are as much larger
KAPPA = math.exp(-1 / TAU_OUT)
SHAPE: dict[str, Any] = {
    "tau_syn_inv": torch.tensor(1000.0), "tau_mem_inv": torch.tensor(1000 / TAU_M), "method": "tanh", "alpha": 2.0,
}  # fmt: skip
CELLS = {
    "ALIF": lambda: norse.LSNNCell(
        norse.LSNNParameters(tau_adapt_inv=torch.tensor(1000 / TAU_A), beta=torch.tensor(BETA), **SHAPE)
    ),
    "LIF": lambda: norse.LIFCell(norse.LIFParameters(**SHAPE)),
}


class CueNet(nn.Module):
    """Cues in, a side out; what is between is called step by step."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.fc, self.recurrent = nn.Linear(4 * GROUP, N, bias=False), nn.Linear(N, N, bias=False)
        self.cell, self.readout = CELLS[kind](), nn.Linear(N, 2, bias=False)
        with torch.no_grad():
            for layer in (self.fc, self.recurrent):
                layer.weight.normal_(0.0, GAIN * TAU_M / layer.in_features**0.5)
            self.readout.weight.normal_(0.0, 1 / N**0.5)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Tensor, Any]:
        """One step, from spikes (B, 40): spikes (B, N), filtered ones, and the state to hand over next."""
        spikes, seen, inner = state or (x.new_zeros(len(x), N), x.new_zeros(len(x), N), None)
        spikes, inner = self.cell(self.fc(x) + self.recurrent(spikes), inner)
        seen = KAPPA * seen + (1 - KAPPA) * spikes
        return spikes, seen, (spikes, seen, inner)


class NorseLearner(CueLearner):
    """A net of Norse and its e-prop through `attach`; arguments as in `CueLearner`."""

    def __init__(self, kind: str, feedback: Feedback, seed: int, batches: int) -> None:
        super().__init__(kind, feedback, seed, batches)
        torch.manual_seed(seed)
        self.net = CueNet(kind)
        self.state = feedback.init(self.out)
        settings = PlasticityConfig.eprop(1.0, tau_e=TAU_OUT, mode="hybrid")
        self.learner = attach(self.net, settings, pairs={"readout": ()})
        hidden = {"params": [self.net.fc.weight, self.net.recurrent.weight], "lr": LR}
        self.change_with(torch.optim.Adam([hidden, {"params": [self.net.readout.weight], "lr": LR_OUT}]))

    @property
    def out(self) -> Tensor:
        """The weights of the readout (2, N)."""
        return self.net.readout.weight.detach()

    @torch.no_grad()
    def course(self, inputs: Tensor) -> Course:
        """What becomes of trials (T, B, 40), without learning."""
        state, spikes, readout = None, [], []
        with self.learner.paused():
            for x in inputs:
                now, seen, state = self.net(x, state)
                spikes.append(now)
                readout.append(self.net.readout(seen))
        z = torch.stack(spikes)
        return Course(inputs, z, torch.zeros_like(z), torch.stack(readout))

    def learn(self) -> float:
        """One batch of trials; the share that was answered rightly."""
        inputs, side = trials(BATCH, self.rng)
        state, answer = None, torch.zeros(BATCH, 2)
        self.adam.zero_grad()
        for t, x in enumerate(inputs):
            with torch.no_grad():
                _, seen, state = self.net(x, state)
            if t >= STEPS - RECALL:
                answer += self.hear(seen, side)
        self.learner.reset()
        self.change()
        return float((answer.argmax(1) == side).float().mean())

    def hear(self, seen: Tensor, side: Tensor) -> Tensor:
        """A step of recall: the readout has its own gradient, the neurons below hear its error; what it said (B, 2)."""
        y = self.net.readout(seen)
        (cross_entropy(y, side) / RECALL).backward()
        y = y.detach()
        error = (one_hot(side, 2) - y.softmax(-1)) * (1 - KAPPA) / RECALL
        learning, self.state = self.feedback.step(error, self.state, self.out)
        self.learner.step(dict.fromkeys(self.learner.connections, learning))
        return y
