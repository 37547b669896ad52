"""`compile`: every loop compiled now, so that no later run waits for it."""

from __future__ import annotations

import time

import torch
from torch import nn

from .. import _compiled
from ..config import EligibilityConfig
from ..connection import Connection
from ..layers.spike_trains import SpikeTrains
from ..learner import PlasticityLearner
from ..plasticity._engine.compiled import bounded
from ..plasticity.bounds import HardBounds, SoftBounds
from ..plasticity.eligibility import EligibilityTraceModule
from ..plasticity.eligibility_vectors import EligibilityVectors
from .spoken import opening, progress

COMPILE_SECONDS = 60.0  # of a machine that has compiled nothing yet


def _compile_waiting(dtype: torch.dtype) -> None:
    """The loops that write down spikes and numbers that wait, and list spikes, of all samples or of some."""
    for height in (1.0, 0.5):
        traces, side = EligibilityTraceModule(4, 4), torch.full((2, 4), height, dtype=dtype)
        for _ in range(2):
            traces.observe(side, side)
    for batch in (1, 2):
        _ = SpikeTrains(torch.ones(2, 2, 8, dtype=torch.bool)[:, :batch], dtype, fast=True).together


def _compile_edges(dtype: torch.dtype) -> None:
    """The loops of a list of edges, and of an eligibility that a batch shares."""
    spikes, mod = torch.ones(3, 2, 4, dtype=dtype), torch.ones(2, dtype=dtype)
    shared = EligibilityTraceModule(4, 4, EligibilityConfig(clamp_range=None), path="shared")
    edges = EligibilityTraceModule(
        4, 4, EligibilityConfig(kernel="stdp_pair"), connectivity=torch.ones(4, 4, dtype=torch.bool)
    )
    for _ in range(3):
        shared.observe(spikes[0], spikes[0])
        shared.change(mod[0])
    edges.update_window(spikes, spikes)
    edges.change(mod)
    edges.rule.geometry.delivered(spikes[0], torch.ones(16, dtype=dtype))  # type: ignore[attr-defined]


def _compile_recording(dtype: torch.dtype) -> None:
    """The loops that write down both sides of a step, and the weights that are looked at."""
    connection = Connection("fc", nn.Linear(4, 4, dtype=dtype))
    learner, spikes = PlasticityLearner([connection]), torch.ones(2, 4, dtype=dtype)
    with learner.record():
        for step in range(100):  # the first ones are looked at more closely
            connection.observe(spikes, spikes)
            if step < 4:
                learner.step(1.0)


def compile_ahead() -> int:
    """Compile every loop that there is, so that no later run waits for it; 1 without numba."""
    if not _compiled.available():
        print('There are no compiled loops: numba is not installed (pip install "snn_plasticity[fast]").')
        return 1
    opening("Compiles all loops for this machine, once; where that was done before, it is soon over.", COMPILE_SECONDS)
    start = time.perf_counter()
    for dtype in _compiled.KINDS:
        progress(f"loops for {dtype} …")
        spikes, mod = torch.ones(3, 2, 4, dtype=dtype), torch.ones(2, dtype=dtype)
        for kind in ("accumulating", "replacing", "dutch"):
            for kernel in ("stdp_pair", "stdp_triplet"):
                config = EligibilityConfig(
                    trace_type=kind, kernel=kernel, clamp_range=(-0.1, 0.1), dutch_scope="active"
                )
                traces = EligibilityTraceModule(4, 4, config)
                for _ in range(3):  # one reward, and another after the next step: from there on, step by step
                    traces.observe(spikes[0], spikes[0])
                    traces.change(mod)
                traces.update_window(spikes, spikes)
        _compile_waiting(dtype)
        many = torch.ones(64, 2, 128, dtype=dtype)
        for kernel in ("stdp_pair", "stdp_triplet"):  # trains of zeros and ones, and of numbers
            for clamp in (None, (-400.0, 400.0)):  # the certificate looks closely before it fails
                traces = EligibilityTraceModule(128, 128, EligibilityConfig(kernel=kernel, clamp_range=clamp))
                traces.modulate_window(many, many, many[:, :, 0])
        _compile_edges(dtype)
        _compile_recording(dtype)
        for d in (1, 2):
            vectors = EligibilityTraceModule(4, 4, EligibilityConfig(kernel=EligibilityVectors()))
            vectors.update(spikes[0], torch.ones(2, d + 1, d + 1, 4, dtype=dtype))
        for bounds in (HardBounds(-1.0, 1.0), SoftBounds(-1.0, 1.0)):
            bounded(spikes[0], spikes[0], bounds)
    print(f"All loops are compiled (numba {_compiled.version()}), in {time.perf_counter() - start:.1f} s.")
    return 0
