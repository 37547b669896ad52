"""A simulator in the environment of another Python: trains go through a file, commands through a pipe.

`python elsewhere.py MODULE FUNCTION TRAINS.npz RULE.json` answers in lines of JSON: first the steps of a portion, then
one line for each command: `play N` with CPU seconds per step, `all` when the trains were played once, `change PATH`
when the weight change lies in that .npy file.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from timing import ONE_THREAD, one_thread
from trains import Rule, Trains, load, save


class Elsewhere:
    """A player in another process."""

    def __init__(self, python: str, simulator: str, function: str, trains: Trains, rule: Rule) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, "trains.npz")
        save(path, trains)
        command = [python, __file__, simulator, function, str(path), json.dumps(rule)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, env=os.environ | ONE_THREAD, **pipes)
        self.portion = int(self._answer())

    def play(self, portions: int = 1) -> float:
        """CPU seconds per step, as the other process measured them."""
        return float(self._ask(f"play {portions}"))

    def play_all(self) -> None:
        """Play the trains once, from first to last."""
        self._ask("all")

    def change(self) -> np.ndarray:
        """Weight change since the start."""
        path = Path(self.folder.name, "change.npy")
        self._ask(f"change {path}")
        return np.load(path)

    def close(self) -> None:
        """End the other process."""
        self.process.communicate()
        self.folder.cleanup()

    def _ask(self, command: str) -> object:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> object:
        line = self.process.stdout.readline()
        if not line:
            error = self.process.stderr.read().strip().splitlines()
            raise ImportError(error[-1] if error else "the other Python ended without a word")
        return json.loads(line)


def _serve(module: str, function: str, path: str, rule: str) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        one_thread()
        build = getattr(importlib.import_module(f"simulators.{module}"), function)
        player = build(load(Path(path)), Rule(*json.loads(rule)))
    _say(player.portion)
    for line in sys.stdin:
        command, *arguments = line.split()
        with contextlib.redirect_stdout(sys.stderr):
            answer = _obey(player, command, arguments)
        _say(answer)


def _obey(player, command: str, arguments: list[str]) -> float | None:
    if command == "play":
        return player.play(int(arguments[0]))
    if command == "all":
        return player.play_all()
    return np.save(arguments[0], player.change())


def _say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
