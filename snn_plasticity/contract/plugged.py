"""Whether the host libraries of this installation can be plugged into: a real layer of each, against a plain loop."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..config import EligibilityConfig, PlasticityConfig, ThreeFactorConfig
from ..hosts import attach
from ..plasticity import EligibilityTraceModule

HOST_STEPS, HOST_BATCH, HOST_PRE, HOST_POST = 30, 3, 6, 4
HOST_CONFIG = PlasticityConfig(EligibilityConfig(kernel="stdp_pair"), three_factor=ThreeFactorConfig(lr=0.1))


def _host(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Norse's deprecations are its own
        return importlib.import_module(name)


def snntorch_run(layer: nn.Linear, spikes: Tensor) -> tuple[nn.Module, Callable[[], list[Tensor]]]:
    """A Linear and Leaky neurons, and a run of them."""
    neuron = _host("snntorch").Leaky(beta=0.8, init_hidden=True).to(spikes.device)
    model = nn.Sequential(layer, neuron)
    return model, lambda: [model(now) for now in spikes]


def norse_run(layer: nn.Linear, spikes: Tensor) -> tuple[nn.Module, Callable[[], list[Tensor]]]:
    """A Linear and box neurons in a `SequentialState`, and a run of them."""
    norse = _host("norse.torch")
    cell = norse.LIFBoxCell(norse.LIFBoxParameters(v_th=torch.tensor(0.1, device=spikes.device)))
    model = norse.SequentialState(layer, cell)

    def run() -> list[Tensor]:
        fired, state = [], None
        for now in spikes:
            out, state = model(now, state)
            fired.append(out)
        return fired

    return model, run


@torch.no_grad()
def largest_difference(host: Callable[..., Any], device: str) -> float:
    """Between the change that `attach` makes and that of a plain loop over the same spikes, over the latter's size."""
    generator = torch.Generator().manual_seed(0)
    spikes = (torch.rand(HOST_STEPS, HOST_BATCH, HOST_PRE, generator=generator) < 0.4).float().to(device)
    layer = nn.Linear(HOST_PRE, HOST_POST).to(device)
    layer.weight.copy_(torch.rand(HOST_POST, HOST_PRE, generator=generator))
    before, reward = layer.weight.clone(), torch.tensor([1.0, -0.5, 0.2], device=device)
    model, run = host(layer, spikes)
    with attach(model, HOST_CONFIG) as learner:
        fired = run()
        learner.step(reward)
    traces = EligibilityTraceModule(HOST_PRE, HOST_POST, HOST_CONFIG.eligibility, path="plain")
    for pre, post in zip(spikes, fired, strict=True):
        traces.observe(pre, post)
    expected = traces.apply_update(before, reward, lr=0.1) - before
    return float((layer.weight - before - expected).abs().max() / expected.abs().max())
