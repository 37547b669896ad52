"""`validate`: the contract of the installation that runs, or of a configuration of one's own."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from ..contract import CHECKS, promises_of, run, run_for
from .spoken import CannotError, config_from, opening, progress

PER_CHECK, PER_PROMISE = 0.5, 0.2  # seconds, more or less


def validate(device: str, config: Path | None) -> int:
    """Print every promise with what was measured; 0 if all are kept."""
    torch.set_num_threads(1)  # the tensors are small
    start = time.perf_counter()
    kept, total = _own(config, device) if config is not None else _installation(device)
    print(f"\n{kept} of {total} promises kept, in {time.perf_counter() - start:.1f} s.")
    return 0 if kept == total else 1


def _installation(device: str) -> tuple[int, int]:
    """Of the library on this machine: how many are kept, of how many."""
    opening("Checks what the library promises, on this machine.", PER_CHECK * len(CHECKS), device)
    kept = total = 0
    progress(CHECKS[0].promise)
    for check, verdict in run(device):
        total, kept = total + 1, kept + verdict.kept
        print(f"  {'kept  ' if verdict.kept else 'BROKEN'}  {check.promise:<54}  {verdict.measured}", flush=True)
        if total < len(CHECKS):
            progress(CHECKS[total].promise)
    return kept, total


def _own(path: Path, device: str) -> tuple[int, int]:
    """Of a configuration: how many are kept, of those that are about it."""
    if device != "cpu":
        raise CannotError(f"--device is {device}, and a configuration is checked on the CPU; expected no --device.")
    config = config_from(path)
    opening(f"Checks what the library promises, with the settings of {path}.", PER_PROMISE * len(promises_of(config)))
    kept = total = 0
    for promise, verdict in run_for(config):
        if verdict is None:
            print(f"  left out  {promise.said}\n            {promise.left_out}", flush=True)
            continue
        total, kept = total + 1, kept + verdict.kept
        mark = "kept    " if verdict.kept else "BROKEN  "
        print(f"  {mark}  {promise.said}\n            {verdict.measured}", flush=True)
    return kept, total
