"""`python -m snn_plasticity validate`: the contract, on this machine, as a table with a verdict."""

from __future__ import annotations

import argparse
import platform
import sys
import time

import torch

from . import __version__
from .contract import run


def validate(device: str) -> int:
    """Print every promise with what was measured; 0 if all are kept."""
    print(f"snn_plasticity {__version__}, torch {torch.__version__}, Python {platform.python_version()}, {device}\n")
    start, kept, total = time.perf_counter(), 0, 0
    for check, verdict in run(device):
        total, kept = total + 1, kept + verdict.kept
        print(f"  {'kept  ' if verdict.kept else 'BROKEN'}  {check.promise:<52}  {verdict.measured}", flush=True)
    print(f"\n{kept} of {total} promises kept, in {time.perf_counter() - start:.1f} s.")
    return 0 if kept == total else 1


def main(arguments: list[str] | None = None) -> int:
    """Command line of the package."""
    parser = argparse.ArgumentParser(prog="python -m snn_plasticity", description="Check a running installation.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("validate", help="check the contract on this machine")
    command.add_argument("--device", default="cpu", help="where the tensors live, for instance cuda (default: cpu)")
    chosen = parser.parse_args(arguments)
    try:
        torch.empty(0, device=chosen.device)
    except (RuntimeError, AssertionError) as error:
        parser.error(f"device {chosen.device!r} cannot be used here: {str(error).splitlines()[0]}")
    return validate(chosen.device)


if __name__ == "__main__":
    sys.exit(main())
