"""`python -m snn_plasticity validate`, `bench`, `compile`: contract and speed of the machine that runs; loops ahead."""

from __future__ import annotations

import argparse
import platform
import sys
import time

import torch

from . import __version__, _compiled
from ._bench import measure
from .config import EligibilityConfig
from .contract import run
from .layers.spike_trains import SpikeTrains
from .plasticity._engine.compiled import bounded
from .plasticity.bounds import HardBounds, SoftBounds
from .plasticity.eligibility import EligibilityTraceModule
from .plasticity.eligibility_vectors import EligibilityVectors


def validate(device: str) -> int:
    """Print every promise with what was measured; 0 if all are kept."""
    print(f"snn_plasticity {__version__}, torch {torch.__version__}, Python {platform.python_version()}, {device}\n")
    torch.set_num_threads(1)  # the tensors are small
    start, kept, total = time.perf_counter(), 0, 0
    for check, verdict in run(device):
        total, kept = total + 1, kept + verdict.kept
        print(f"  {'kept  ' if verdict.kept else 'BROKEN'}  {check.promise:<54}  {verdict.measured}", flush=True)
    print(f"\n{kept} of {total} promises kept, in {time.perf_counter() - start:.1f} s.")
    return 0 if kept == total else 1


def bench(device: str) -> int:
    """Print the time per step of the plain path, of folds, and of changes without eligibility."""
    print(f"snn_plasticity {__version__}, torch {torch.__version__}, {device}; µs per step, 5 % of neurons spike\n")
    print(
        f"  {'batch, pre → post':<22}{'plain':>10}{'fold':>10}{'Δw':>10}"
        f"{'plain/fold':>13}{'plain/Δw':>11}{'dense roof':>13}"
    )

    def progress(line: str) -> None:
        print(f"  {line}", end="\r", file=sys.stderr, flush=True)

    for row in measure(device, progress):
        size = f"{row.size[0]}, {row.size[1]} → {row.size[2]}"
        ratios = f"{row.plain / row.fold:>12.0f}×{row.plain / row.change:>10.0f}×{row.roof:>12.0%}"
        print(f"  {size:<22}{row.plain:>10.1f}{row.fold:>10.1f}{row.change:>10.1f}{ratios}", flush=True)
    print(
        "\nplain: e at every step, in place. fold: e after a window. Δw: a weight change for a modulator at every step,"
    )
    print(
        "without e. dense roof: Δw as if every product had been computed, in parts of a large matrix product's speed."
    )
    return 0


def _compile_waiting(dtype: torch.dtype) -> None:
    """The loops that write down spikes and numbers that wait, and list spikes, of all samples or of some."""
    for height in (1.0, 0.5):
        traces, side = EligibilityTraceModule(4, 4), torch.full((2, 4), height, dtype=dtype)
        for _ in range(2):
            traces.observe(side, side)
    for batch in (1, 2):
        _ = SpikeTrains(torch.ones(2, 2, 8, dtype=torch.bool)[:, :batch], dtype, fast=True).together


def compile_ahead() -> int:
    """Compile every loop that there is, so that no later run waits for it; 1 without numba."""
    if not _compiled.available():
        print('There are no compiled loops: numba is not installed (pip install "snn_plasticity[fast]").')
        return 1
    start = time.perf_counter()
    for dtype in _compiled.KINDS:
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
        for d in (1, 2):
            vectors = EligibilityTraceModule(4, 4, EligibilityConfig(kernel=EligibilityVectors()))
            vectors.update(spikes[0], torch.ones(2, d + 1, d + 1, 4, dtype=dtype))
        for bounds in (HardBounds(-1.0, 1.0), SoftBounds(-1.0, 1.0)):
            bounded(spikes[0], spikes[0], bounds)
    print(f"All loops are compiled (numba {_compiled.version()}), in {time.perf_counter() - start:.1f} s.")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Command line of the package."""
    parser = argparse.ArgumentParser(prog="python -m snn_plasticity", description="Check a running installation.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("validate", "check the contract on this machine"), ("bench", "measure throughput on it")):
        command = commands.add_parser(name, help=what)
        command.add_argument("--device", default="cpu", help="where the tensors live, for instance cuda (default: cpu)")
    commands.add_parser("compile", help="compile all loops now, with numba")
    chosen = parser.parse_args(arguments)
    if chosen.command == "compile":
        return compile_ahead()
    try:
        torch.empty(0, device=chosen.device)
    except (RuntimeError, AssertionError) as error:
        parser.error(f"device {chosen.device!r} cannot be used here: {str(error).splitlines()[0]}")
    return {"validate": validate, "bench": bench}[chosen.command](chosen.device)


if __name__ == "__main__":
    sys.exit(main())
