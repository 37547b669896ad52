"""`python -m snn_plasticity`: checks an installation or a configuration, times it, writes tests, runs demos."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from ._commands.affect_bench import bench_affect
from ._commands.compile_ahead import compile_ahead
from ._commands.contract_tests import write
from ._commands.demos import listed, run_demo
from ._commands.layer_bench import bench
from ._commands.spoken import CannotError
from ._commands.validate import validate

COMMANDS = (
    ("validate", "check what the library promises, on this machine or with settings of your own"),
    ("bench", "measure how fast it is on this machine"),
    ("contract-tests", "write a pytest file that holds your settings, kernel or gate to the same promises"),
    ("demo", "run one of the demos"),
    ("compile", "compile all loops now, so that no later run waits for it"),
)


def parser_of() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = argparse.ArgumentParser(
        prog="python -m snn_plasticity",
        description="Three-factor learning for spiking networks. Each command says first about how long it takes.",
        epilog="More about one: python -m snn_plasticity COMMAND --help",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    made = {name: commands.add_parser(name, help=what, description=f"{what.capitalize()}.") for name, what in COMMANDS}
    validating, benching, tests, demo = (made[name] for name in ("validate", "bench", "contract-tests", "demo"))
    for command in (validating, benching):
        command.add_argument("--device", default="cpu", help="where the tensors live, for instance cuda (default: cpu)")
    yours = "your settings, as config.to_json(FILE) wrote them"
    validating.add_argument("--config", type=Path, metavar="FILE", help=yours)
    said = "a layer that learns (the default), or affect"
    benching.add_argument("what", nargs="?", choices=("layer", "affect"), default="layer", help=said)
    held = tests.add_mutually_exclusive_group()
    held.add_argument("--config", type=Path, metavar="FILE", help=yours)
    held.add_argument("--kernel", metavar="MODULE:OBJECT", help="your kernel, as my_rules:Covariance")
    held.add_argument("--gate", metavar="MODULE:OBJECT", help="your gate, as my_rules:curious")
    new = Path("test_contract.py")
    tests.add_argument(
        "--output", type=Path, metavar="FILE", default=new, help="what is written (default: %(default)s)"
    )
    tests.add_argument("--force", action="store_true", help="write over a file that exists")
    demo.add_argument("--list", action="store_true", help="name them all")
    demo.add_argument("name", nargs="?", metavar="NAME", help="which one")
    demo.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="its own options")
    return parser


def run(chosen: argparse.Namespace) -> int:
    """One command; its exit code."""
    if chosen.command == "compile":
        return compile_ahead()
    if chosen.command == "contract-tests":
        return write(chosen.output, chosen.config, chosen.kernel, chosen.gate, force=chosen.force)
    if chosen.command == "demo":
        return listed() if chosen.list or not chosen.name else run_demo(chosen.name, chosen.options)
    try:
        torch.empty(0, device=chosen.device)
    except (RuntimeError, AssertionError) as error:
        raise CannotError(f"device {chosen.device!r} cannot be used here: {str(error).splitlines()[0]}") from error
    if chosen.command == "validate":
        return validate(chosen.device, chosen.config)
    if chosen.what == "layer":
        return bench(chosen.device)
    if chosen.device != "cpu":
        raise CannotError(f"--device is {chosen.device}, and affect is timed on the CPU; expected no --device.")
    return bench_affect()


def main(arguments: list[str] | None = None) -> int:
    """Command line of the package."""
    parser = parser_of()
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help()
        return 0
    try:
        return run(chosen)
    except CannotError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
