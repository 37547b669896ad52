"""Two recurrent nets that read a digit row by row, one from each host, and count the spikes of each neuron.

    LIF     snnTorch, 200 RLeaky       v ← 0.2·v + W·x + R·z − z
    ALIF    Norse, 100 LSNNCell        v ← 0.2·v + 0.8·i    i ← W·x + R·z
                                       θ ← 0.98·θ + 0.02 + 0.2·z    v ← 0 where it fires

x are the 8 pixels of the row and one that is always on, z the spikes of the step before. R is part of RLeaky; beside an
LSNNCell it is a `Linear`, because Norse's `LSNNRecurrentCell` lets no gradient through its threshold.

Gain, rate and epochs were chosen for e-prop, on digits held back from those to learn from, with other seeds.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import norse.torch as norse
import snntorch as snn
import torch
from snntorch.surrogate import fast_sigmoid
from torch import Tensor, nn
from torch.nn.functional import pad

STEPS, UNIT, GAIN = 2, 4.0, 4.0  # for each row; spikes that are one at the readout; of the first weights of the pixels
PARAMETERS = norse.LSNNParameters(
    tau_syn_inv=torch.tensor(1000.0), tau_mem_inv=torch.tensor(800.0), tau_adapt_inv=torch.tensor(20.0),
    beta=torch.tensor(0.2), method="tanh", alpha=3.0,
)  # fmt: skip


class RowNet(nn.Module):
    """Rows in, the spikes of each neuron counted out, and a linear readout of these.

    Attributes:
        back: the layer that the spikes come back through.
        neurons: how many there are.
        lr, epochs: of the optimizer, and how long it learns.
    """

    back: str
    neurons: int
    lr: float
    epochs: int

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(9, self.neurons, bias=False)
        self.readout = nn.Linear(self.neurons, 10)
        with torch.no_grad():
            self.fc.weight.mul_(GAIN)

    @abstractmethod
    def step(self, row: Tensor, state: Any) -> tuple[Tensor, Any]:
        """From a row (B, 9) and what the step before left, None at first, to spikes (B, neurons) and what is left."""

    def forward(self, images: Tensor) -> Tensor:
        """From images (B, 64) to spikes counted (B, neurons)."""
        state, count = None, torch.zeros(())
        for row in pad(images.view(-1, 8, 8), (0, 1), value=1.0).unbind(1):
            for _ in range(STEPS):
                spikes, state = self.step(row, state)
                count = count + spikes
        return count / UNIT


class LIF(RowNet):
    """snnTorch: neurons that hold their recurrence."""

    back, neurons, lr, epochs = "lif.recurrent", 200, 0.02, 40

    def __init__(self) -> None:
        super().__init__()
        self.lif = snn.RLeaky(0.2, all_to_all=True, linear_features=self.neurons, spike_grad=fast_sigmoid(10))
        self.lif.recurrent.bias = None

    def step(self, row: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One call of its neurons, which add the spikes that come back."""
        state = self.lif(self.fc(row), *(state or self.lif.init_rleaky()))
        return state[0], state


class ALIF(RowNet):
    """Norse: neurons whose threshold adapts, and a layer from each to each."""

    back, neurons, lr, epochs = "recurrent", 100, 0.02, 25

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.Linear(self.neurons, self.neurons, bias=False)
        self.alif = norse.LSNNCell(PARAMETERS)

    def step(self, row: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The spikes that come back, then one call of its neurons."""
        spikes, inner = state or (row.new_zeros(len(row), self.neurons), None)
        state = self.alif(self.fc(row) + self.recurrent(spikes), inner)
        return state[0], state
