"""The matrix that tests multiply: kernels × traces × conventions × layers; every test seeded, one thread."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from snn_plasticity import Convention, EligibilityConfig, Window
from snn_plasticity.kernels.stdp import Coincidence

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from every_convention import CONVENTIONS as CONVENTIONS  # noqa: E402

torch.set_num_threads(1)


def pytest_make_parametrize_id(config, val, argname):
    """A name without an address in it, so that every process of a run calls a test the same."""
    said = repr(val)
    return re.sub(r" at 0x[0-9a-f]+", "", said) if " at 0x" in said else None


@pytest.fixture(autouse=True)
def _seeded():
    """Every test draws the same numbers, whichever ran before it, and in whichever process."""
    torch.manual_seed(0)


KERNELS = ("rate", "stdp_pair", "stdp_symmetric", "stdp_triplet", "window")
TRACES = {
    "accumulating": {"trace_type": "accumulating"},
    "replacing": {"trace_type": "replacing"},
    "dutch": {"trace_type": "dutch"},
    "dutch_active": {"trace_type": "dutch", "dutch_scope": "active"},
}
LAYERS = {
    "linear": (lambda: nn.Linear(4, 3), (4,)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (4, 7)),
    "conv2d": (lambda: nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (2, 6, 5)),
    "conv2d_same": (lambda: nn.Conv2d(1, 2, 3, padding="same", padding_mode="circular"), (1, 4, 5)),
    "conv3d": (lambda: nn.Conv3d(1, 2, 2, padding=1), (1, 3, 4, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 3, 2, stride=2), (2, 3, 3)),
}


def mexican_hat(dt: float) -> float:
    """A curve with both signs on either side."""
    return (1.0 - (dt / 3.0) ** 2) * math.exp(-((dt / 3.0) ** 2) / 2.0) - 0.02 * dt


def settings(
    kernel: str, trace: str = "accumulating", convention: Convention | None = None, **changes
) -> EligibilityConfig:
    """A config of the matrix, with unequal constants so that no two can be mistaken for each other."""
    convention = convention or Convention()
    chosen = Window(mexican_hat, span=9.0, convention=convention) if kernel == "window" else kernel
    config = EligibilityConfig(
        kernel=chosen, tau_e=15.0, stdp_tau_plus=7.0, stdp_tau_minus=11.0, a_plus=0.8, a_minus=1.1,
        stdp_tau_x=9.0, stdp_tau_y=13.0, a3_plus=0.6, a3_minus=0.4, dutch_alpha=0.3, clamp_range=None,
        convention=convention, **TRACES[trace],
    )  # fmt: skip
    return replace(config, **changes)


def trains(*shape: int, seed: int = 0, rate: float = 0.3, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Bernoulli spike trains (T, B, ...)."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator) < rate).to(dtype)


def product(coincidence: Coincidence) -> torch.Tensor:
    """f of a full matrix, (B, N_post, N_pre), written out."""
    signed = [(1.0, pair) for pair in coincidence.ltp] + [(-1.0, pair) for pair in coincidence.ltd]
    return sum(sign * torch.einsum("bo,bi->boi", *pair) for sign, pair in signed)  # type: ignore[return-value]


def layer_and_trains(name: str, steps: int = 6, batch: int = 3, dtype: torch.dtype = torch.float64):
    """A layer with trains that fit it: what goes in, and spikes shaped like what comes out."""
    make, size = LAYERS[name]
    torch.manual_seed(0)
    layer = make().to(dtype)
    pre = trains(steps, batch, *size, seed=1, dtype=dtype)
    return layer, pre, trains(steps, *layer(pre[0]).shape, seed=2, dtype=dtype)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def fresh_compiler():
    """What is compiled of one function counts towards a limit of torch's, by whichever test: it is forgotten."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
