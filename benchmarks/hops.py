"""How far one step is: calls, functions, files and depth of observing a step and of `learner.step`; and lines of code.

    python benchmarks/hops.py [--quick] [--json PATH]

Counted, not timed: every Python call inside the package while one Linear with Leaky neurons makes a forward step, and
while its learner takes a reward, when nothing is new any more. Lines are those with code:
neither blank, nor comment, nor docstring.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import results
import shown
import torch
from command import parser
from torch import nn

import snn_plasticity
from snn_plasticity import AffectiveLoop, EligibilityConfig, EligibilityTraceModule, PlasticityConfig, attach

PACKAGE = Path(snn_plasticity.__file__).parent
HEADER = ("what", "rule", "calls", "functions", "files", "depth", "asked")
OBSERVING, STEP = "≤ 25 calls, 6 files", "≤ 80 calls, 10 files"
MACHINERY = ("_compiled", "plasticity/_engine", "kernels/terms.py", "layers/spike_trains.py")
TEXT = """## The way of a step

Python calls inside the package while a step of one (Linear, Leaky) is observed, B = 8, and while its learner takes a
reward, when nothing is new any more: after a window of three steps, and at every step; and while the first reward of
all comes. How many calls, through how many functions and files, how deep. *Machinery* is everything between a kernel's
step and e or Δw.
"""


class Way(NamedTuple):
    """What one call comes to."""

    calls: int
    functions: int
    files: int
    depth: int


class Calls:
    """Python calls inside a folder, as a profile function sees them: file, first line and name of each; how deep.

    Args:
        room: the folder.
    """

    def __init__(self, room: Path) -> None:
        self.room = str(room) + os.sep
        self.seen: list[tuple[str, int, str]] = []
        self.depth = self.deepest = 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """One event of the profile."""
        code = frame.f_code
        if not code.co_filename.startswith(self.room):
            return
        if event == "call":
            self.seen.append((code.co_filename, code.co_firstlineno, code.co_name))
            self.depth += 1
            self.deepest = max(self.deepest, self.depth)
        elif event == "return":
            self.depth -= 1

    @property
    def files(self) -> set[str]:
        """The files that were called into."""
        return {file for file, _, _ in self.seen}


def calls_of(work: Callable[[], object], room: Path = PACKAGE) -> Calls:
    """The calls of `work` inside a folder."""
    calls, before = Calls(room), sys.getprofile()
    sys.setprofile(calls)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def way(work: Callable[[], object]) -> Way:
    """Calls, functions, files and depth of `work` inside the package."""
    calls = calls_of(work)
    return Way(len(calls.seen), len(set(calls.seen)), len(calls.files), calls.deepest)


@torch.no_grad()
def of_a_net(config: PlasticityConfig, steps: int = 40) -> dict[str, Way]:
    """Observing and learning, after a while: in a window of three steps, and with a reward at every step."""
    import snntorch

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 10), snntorch.Leaky(beta=0.9, init_hidden=True, threshold=0.3))
    trains, learner = (torch.rand(64, 8, 20) < 0.3).float(), attach(net, config)
    reward, first = torch.randn(8), None
    for begin in range(0, 60, 3):  # long enough for every neuron to have fired some times: hooks look until then
        net(trains[begin])
        net(trains[begin + 1])
        third, after = way(partial(net, trains[begin + 2])), way(lambda: learner.step(reward=reward))
        first = first or after
        learner.reset()
    for pre in trains[3:steps]:
        net(pre)
        learner.step(reward=reward)
    observing, learning = way(lambda: net(trains[steps])), way(lambda: learner.step(reward=reward))
    return {
        "observing a step of a window": third,
        "its learner.step(reward=)": after,
        "its learner.step(reward=), the first of all": first,
        "observing a step, a reward at each": observing,
        "its learner.step": learning,
    }


@torch.no_grad()
def of_a_loop(steps: int = 40) -> dict[str, Way]:
    """`AffectiveLoop.step` on such a net at every step: the first of all, and after a while."""
    import snntorch

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 10), snntorch.Leaky(beta=0.9, init_hidden=True, threshold=0.3))
    loop, reward, found = AffectiveLoop(attach(net)), torch.randn(8), []
    for pre in (torch.rand(steps, 8, 20) < 0.3).float():
        net(pre)
        found.append(way(lambda: loop.step(reward=reward, novelty=0.3)))
    return {"AffectiveLoop.step": found[-1], "AffectiveLoop.step, the first of all": found[0]}


@torch.no_grad()
def traces_alone() -> dict[str, Way]:
    """`EligibilityTraceModule` without a host: a step and a window."""
    pre, post = (torch.rand(64, 8, 20) < 0.3).float(), (torch.rand(64, 8, 10) < 0.3).float()
    traces = EligibilityTraceModule(20, 10, EligibilityConfig(kernel="stdp_pair"))
    window = way(lambda: traces.update_window(pre, post))
    traces.update(pre[0], post[0])
    return {"traces.update_window, 64 steps": window, "traces.update": way(lambda: traces.update(pre[1], post[1]))}


def lines_of_code(paths: Iterable[Path]) -> int:
    """Lines that are neither blank, nor comment, nor docstring."""
    return sum(_code(path.read_text(encoding="utf-8")) for path in paths)


def _code(source: str) -> int:
    said: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            text = node.body[0]
            said.update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") and at not in said for at, line in lines)


def lines() -> dict[str, int]:
    """Of everything between a kernel's step and e or Δw, of the package, of its tests."""
    rooms = [PACKAGE / name for name in MACHINERY]
    machinery = [path for room in rooms for path in ([room] if room.is_file() else room.rglob("*.py"))]
    tests = PACKAGE.parent / "tests"
    return {
        "machinery": lines_of_code(machinery),
        "package": lines_of_code(PACKAGE.rglob("*.py")),
        "tests": lines_of_code(tests.rglob("*.py")),
    }


def ways() -> dict[tuple[str, str], Way]:
    """Every line of the table."""
    found: dict[tuple[str, str], Way] = {}
    for name, config in shown.presets().items():
        found |= {(what, name): one for what, one in of_a_net(config).items()}
    found |= {(what, "as by default"): one for what, one in of_a_loop().items()}
    return found | {(what, "pair STDP"): one for what, one in traces_alone().items()}


def asked(what: str) -> str:
    """The most that a way may be."""
    return OBSERVING if what.startswith("observing") else STEP if "learner.step" in what else ""


def main() -> None:
    options = parser(__doc__).parse_args()
    found, counted = ways(), lines()
    rows = [[what, rule, *one, asked(what)] for (what, rule), one in found.items()]
    count = results.table(("lines of code", *counted), [("now", *(f"{n:,}" for n in counted.values()))])
    text = "\n\n".join([TEXT.strip(), results.table(HEADER, rows), count])
    print(text)
    if not options.quick:
        results.write("hops", text)
    flat = [{"what": what, "rule": rule} | one._asdict() for (what, rule), one in found.items()]
    results.write_json(options.json, "hops", [*flat, counted])


if __name__ == "__main__":
    main()
