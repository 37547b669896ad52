"""The world of the demo: five cues come from the left or the right, then silence, then it asks where there were more.

    cues      5 × (5 steps of nothing, 10 steps in which the ten input neurons of one side fire)
    silence   200 steps
    recall    15 steps in which ten other neurons fire: now say on which side there were more cues

Ten more neurons fire at random all the time. Morcos & Harvey 2016; Bellec et al. 2020, figure 4, where cues are longer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snn_plasticity.feedback import Feedback

CUES, CUE, GAP, SILENCE, RECALL = 5, 10, 5, 200, 15
STEPS = CUES * (CUE + GAP) + SILENCE + RECALL
GROUP, SIGNAL, NOISE, LEANING = 10, 0.4, 0.1, 0.7  # neurons of a group, their spikes per step, and how sure a side is


class CueLearner:
    """A net that learns the task by e-prop, batch by batch.

    Args:
        kind: "ALIF" or "LIF".
        feedback: to the hidden neurons.
        seed: of weights and trials.
        batches: how many will come; the learning rate falls to zero with them.
    """

    def __init__(self, kind: str, feedback: Feedback, seed: int, batches: int) -> None:
        self.kind, self.feedback, self.batches = kind, feedback, batches
        self.rng = torch.Generator().manual_seed(seed)

    def change_with(self, adam: torch.optim.Adam) -> None:
        """What changes the weights after each batch."""
        self.adam, self.cooling = adam, torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.batches)

    def change(self) -> None:
        """A batch is over."""
        self.adam.step()
        self.cooling.step()


def trials(size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Input spikes (T, B, 40), and the side (B,) on which there were more cues."""
    leaning = torch.where(torch.rand(size, 1, generator=rng) < 0.5, LEANING, 1 - LEANING)
    cues = torch.rand(size, CUES, generator=rng) < leaning
    chance = torch.zeros(STEPS, size, 4, GROUP)
    for k, right in enumerate(cues.T):
        start = k * (CUE + GAP) + GAP
        chance[start : start + CUE, :, 0] = SIGNAL * (~right).float().unsqueeze(1)
        chance[start : start + CUE, :, 1] = SIGNAL * right.float().unsqueeze(1)
    chance[-RECALL:, :, 2] = SIGNAL
    chance[:, :, 3] = NOISE
    spikes = torch.rand(chance.shape, generator=rng) < chance
    return spikes.float().flatten(2), (cues.sum(1) > CUES // 2).long()
