"""On a GPU: whether every path gives what it gives on the CPU, and how long plain steps, folds and closed loops take.

    python benchmarks/cuda.py [--quick] [--json PATH] [--device cuda:0] [--budget SECONDS]

Six minutes at most. First every scenario of `scenarios.py` is played on the CPU and on the device, and every place of
the package that makes the host wait is listed; then a recorded net of each host. Then each work is timed beside naive
torch, N = 1000 and 4000, B = 1, 32 and 256, taking turns, until the device has done it; beside it stand the shares of a
copy's bandwidth and of a matrix product's speed that are reached, both measured in the same run. Without a GPU it says
so and ends. `--device cpu` is a dry run with small sizes.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import gpu_contests as contests
import gpu_records
import results
import torch
from command import parser
from effort import TOLERANCE
from gpu_contests import STEPS, WORKS, Given, Machine, Player, Size, Work
from scenarios import Scenario, scenarios
from timing import one_thread
from torch import Tensor
from tqdm import tqdm

import snn_plasticity

PACKAGE = str(Path(snn_plasticity.__file__).parent)
SIZES = tuple(Size(n, batch) for n in (1000, 4000) for batch in (1, 32, 256))
QUICK_SIZES, DRY_SIZES = (Size(1000, 1), Size(1000, 32)), (Size(60, 1), Size(60, 4))
TURN, ROUNDS = 0.25, 3  # seconds of one turn; turns
HEADER = (
    "work", "N", "B", "naive, µs/step", "ours", "ratio", "of bandwidth", "of matmul", "agreed to",
)  # fmt: skip
TEXT = f"""## CUDA

Pair STDP, N×N synapses, spikes at 5 %, windows of {STEPS} steps, fp32: µs per step of the whole batch until the device
has done it, beside the equations written out of place. *Of bandwidth*, *of matmul*: the least that a step must read and
write, and multiply, as a part of what a copy and a matrix product reach in the same run.
"""
ABSENT = """## CUDA

No CUDA device was at hand: `python benchmarks/cuda.py` measures this section on a machine that has one."""


class Check(NamedTuple):
    """What came of a scenario: the largest difference over what is allowed, or an error."""

    name: str
    excess: float
    error: str = ""

    @property
    def kept(self) -> bool:
        """Whether both devices agree."""
        return not self.error and self.excess <= 1.0


class Line(NamedTuple):
    """What was measured; seconds per step, None where it did not fit."""

    work: str
    size: Size
    naive: float | None
    ours: float | None
    of_bandwidth: float
    of_matmul: float
    difference: float | None

    def cells(self) -> list[str]:
        """A row of the table."""
        naive, ours = ("does not fit" if s is None else results.micro(s) for s in (self.naive, self.ours))
        both = self.naive is not None and self.ours is not None
        ratio = results.ratio(self.naive / self.ours) if both else ""  # type: ignore[operator]
        shares = (f"{share:.1%}" if self.ours else "" for share in (self.of_bandwidth, self.of_matmul))
        agreed = "" if self.difference is None else f"{self.difference:.0e}"
        return [self.work, f"{self.size.n:,}", f"{self.size.batch}", naive, ours, ratio, *shares, agreed]


def checked(device: str, chosen: dict[str, Scenario]) -> tuple[list[Check], Counter[str]]:
    """Every scenario against the CPU, and where the package made the host wait when nothing was new any more."""
    found, waits = [], Counter[str]()
    for name, scenario in tqdm(chosen.items(), desc="checks"):
        expected = [tensor.clone() for tensor in scenario.play("cpu")]
        try:
            scenario.play(device)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                _note_waits(device, True)
                try:
                    got = scenario.play(device)
                finally:
                    _note_waits(device, False)
            found.append(Check(name, _excess(got, expected, scenario.tolerance, device)))
        except Exception as error:  # one that fails must not hide the others
            found.append(Check(name, float("inf"), f"{type(error).__name__}: {error}".splitlines()[0]))
            continue
        inside = (one for one in said if one.filename.startswith(PACKAGE) and "synchroniz" in str(one.message))
        waits.update(f"{one.filename.removeprefix(PACKAGE + '/')}:{one.lineno}" for one in inside)
    return found, waits


def _note_waits(device: str, on: bool) -> None:
    if device != "cpu":
        torch.cuda.set_sync_debug_mode("warn" if on else "default")


def _excess(got: list[Tensor], expected: list[Tensor], tolerance: float, device: str) -> float:
    """The largest difference, in parts of what is allowed; infinite for another shape or place."""
    worst = 0.0
    for ours, theirs in zip(got, expected, strict=True):
        if ours.shape != theirs.shape or ours.device.type != torch.device(device).type:
            return float("inf")
        allowed = tolerance * (1.0 + theirs.abs())
        apart = ((ours.cpu() - theirs).abs() / allowed).max() if theirs.numel() else torch.zeros(())
        worst = max(worst, float("inf") if bool(apart.isnan()) else float(apart))
    return worst


def measure(work: Work, size: Size, device: str, machine: Machine, rounds: int) -> Line:
    """First whether both agree after the trains, then how long a step takes, in turns."""
    given = contests.given(size, device)
    players: dict[str, Player | None] = {"naive": None, "ours": None}
    for name, build in (("naive", work.naive), ("ours", work.ours)):
        players[name] = _built(build, given)
    ready = {name: player for name, player in players.items() if player is not None}
    difference = None
    if len(ready) == 2:
        ours, naive = (ready[name].result() for name in ("ours", "naive"))
        difference = float((ours - naive).abs().max() / naive.abs().max())
    times: dict[str, list[float]] = {name: [] for name in ready}
    lengths = {name: _length(player, device) for name, player in ready.items()}
    for _ in range(rounds):
        for name, player in ready.items():
            times[name].append(_turn(player, *lengths[name], device))
    medians = {name: statistics.median(values) for name, values in times.items()}
    own = medians.get("ours")
    bandwidth = work.traffic(size) / own / machine.bandwidth if own else 0.0
    matmul = work.operations(size) / own / machine.matmul if own else 0.0
    return Line(work.name, size, medians.get("naive"), own, bandwidth, matmul, difference)


def _built(build, given: Given) -> Player | None:
    """A player that has played the trains once; None where the memory does not do."""
    try:
        player = build(given)
        player.play(0, STEPS)
    except (torch.OutOfMemoryError, MemoryError):
        torch.cuda.empty_cache()
        return None
    return player


def _length(player: Player, device: str) -> tuple[int, int]:
    """How many steps of the trains a turn plays, and how often."""
    if player.whole:
        whole = contests.seconds(lambda: player.play(0, STEPS), device)
        return STEPS, max(1, round(TURN / whole))
    one = contests.seconds(lambda: player.play(0, 2), device) / 2
    steps = min(STEPS, max(1, round(TURN / one)))
    return steps, max(1, round(TURN / (one * steps)))


def _turn(player: Player, steps: int, times: int, device: str) -> float:
    """Seconds per step."""
    return contests.seconds(lambda: [player.play(0, steps) for _ in range(times)], device) / (steps * times)


def timed(device: str, sizes: tuple[Size, ...], until: float) -> tuple[list[Line], Machine, list[str]]:
    """Every work at every size, as far as the time goes; what was not reached is told."""
    machine = contests.limits(device)
    lines, left = [], []
    for size, work in tqdm([(size, work) for size in sizes for work in WORKS], desc="works"):
        if time.monotonic() > until:
            left.append(f"{work.name} at N = {size.n}, B = {size.batch}")
            continue
        lines.append(measure(work, size, device, machine, ROUNDS))
        if device != "cpu":
            torch.cuda.empty_cache()
    return lines, machine, left


def told(
    device: str, checks: list[Check], waits: Counter[str], timing: tuple[list[Line], Machine, list[str]],
    records: list[gpu_records.Found],
) -> str:  # fmt: skip
    """The section."""
    lines, machine, left = timing
    name = torch.cuda.get_device_name(device) if device != "cpu" else "the CPU, a dry run"
    kept = sum(check.kept for check in checks)
    places = ", ".join(f"{place} ({count})" for place, count in waits.most_common()) or "none"
    broken = [f"- {check.name}: {check.error or f'{check.excess:.1f} times what is allowed'}" for check in checks
              if not check.kept]  # fmt: skip
    parts = [
        TEXT.strip(),
        f"{name}; {results.machine()}",
        f"A copy moves {machine.bandwidth / 1e9:,.0f} GB/s, a matrix product {machine.matmul / 1e12:,.2f} TFLOP/s.",
        results.table(HEADER, [line.cells() for line in lines]),
        f"{kept} of {len(checks)} scenarios give what they give on the CPU. Places where the host waits: {places}.",
        "\n".join(broken),
        f"Records of a net with a reward at every step. {'; '.join(one.told() for one in records)}.",
        f"Not reached in time: {'; '.join(left)}." if left else "",
    ]
    return "\n\n".join(filter(None, parts))


def absent(write: bool) -> None:
    """Say so; what was measured elsewhere stays."""
    print(ABSENT)
    if write and not results.measured("cuda"):
        results.write("cuda", ABSENT)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--device", default="cuda", help="where it is measured (default: cuda); cpu is a dry run")
    arguments.add_argument("--budget", type=float, default=330.0, help="seconds after which no work is begun")
    options = arguments.parse_args()
    device, dry = options.device, options.device == "cpu"
    if not dry and not torch.cuda.is_available():
        absent(not options.quick)
        results.write_json(options.json, "cuda", [])
        return
    one_thread()
    until = time.monotonic() + options.budget
    chosen = scenarios()
    if dry or options.quick:
        chosen = dict(list(chosen.items())[:: 8 if options.quick else 3])
    checks, waits = checked(device, chosen)
    records = gpu_records.all_hosts(device)
    timing = timed(device, DRY_SIZES if dry else QUICK_SIZES if options.quick else SIZES, until)
    text = told(device, checks, waits, timing, records)
    print(text)
    if not (options.quick or dry):
        results.write("cuda", text)
    rows = [line._asdict() | {"size": line.size._asdict()} for line in timing[0]]
    limits, failed = timing[1]._asdict(), [check._asdict() for check in checks if not check.kept]
    kept = [one._asdict() for one in records]
    results.write_json(options.json, "cuda", [*rows, limits, {"waits": dict(waits)}, {"failed": failed}, *kept])
    wrong = [f"{line.work} {line.size}" for line in timing[0] if not (line.difference or 0.0) <= TOLERANCE]
    wrong += [f"records of {one.host}" for one in records if not one.kept]
    if failed or wrong:
        raise SystemExit("These disagree: " + "; ".join([*(check["name"] for check in failed), *wrong]))
