"""The figure of docs/speed.md, drawn from the tables of RESULTS.md: nothing is measured here.

python benchmarks/speed_figure.py [--figure FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
from results import RESULTS, tables

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "speed.png"
SIZE = "1000×1000 B1"
BLUE, ORANGE, GREY, INK = "#0072b2", "#d55e00", "#9a9a9a", "#333333"


def number(cell: str) -> float:
    """What a cell says, without units: "1,018,262", "2.97×".

    >>> number("1.68×"), number("4,258")
    (1.68, 4258.0)
    """
    return float(cell.rstrip("×").replace(",", ""))


def simulators() -> dict[str, tuple[float, float, float]]:
    """{rule: µs per step of the other, of ours at every step, of ours for an episode}."""
    rows = tables("against_others")[0]
    return {
        row["rule"]: (number(row["its µs/step"]), number(row["every step"]), number(row["episode"]))
        for row in rows
        if row["size"] == SIZE
    }


def closed_loops() -> dict[str, tuple[float, float]]:
    """{network: by hand, attached with dev() and a reward at every step}, each in times of the bare network."""
    rows = tables("closed_loop")[0]
    return {
        f"{row['network']} {row['neurons']}": (number(row["by hand"]) / number(row["bare, µs/step"]),
                                               number(row["reward"]) / number(row["bare, µs/step"]))
        for row in rows
        if row["rule"] == "dev()"
    }  # fmt: skip


def memory() -> dict[str, float]:
    """{work: peak above the network, in sizes of the eligibility of all samples}."""
    return {row["work"]: number(row["in sizes of e"]) for row in tables("memory")[0]}


def draw(path: Path = FIGURE) -> None:
    """Save the figure."""
    figure, axes = plt.subplot_mosaic([["left", "right"], ["loop", "loop"]], figsize=(10, 8.4), layout="constrained")
    _simulators(axes["left"])
    _memory(axes["right"])
    _loops(axes["loop"])
    for axis in axes.values():
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(True, axis="x", color="0.92")
        axis.set_axisbelow(True)
        axis.title.set_fontsize(11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _simulators(axis) -> None:
    found = simulators()
    for row, (theirs, each, episode) in enumerate(found.values()):
        axis.plot([episode, theirs], [row, row], color="0.8", zorder=1)
        for value, colour, marker in ((theirs, GREY, "s"), (each, ORANGE, "o"), (episode, BLUE, "^")):
            axis.plot(value, row, marker, color=colour, markersize=8, linestyle="none")
    axis.set(xscale="log", xlabel="CPU time per step (µs)", title=f"Learning alone, {SIZE.replace(' B1', '')} synapses")
    axis.set_yticks(range(len(found)), list(found))
    axis.invert_yaxis()
    names = {GREY: ("the other", "s"), ORANGE: ("here, weight current at every step", "o")}
    names[BLUE] = ("here, applied after 256 steps", "^")
    for colour, (name, marker) in names.items():
        axis.plot([], [], marker, color=colour, label=name)
    axis.legend(loc="lower center", bbox_to_anchor=(0.4, 1.08), ncols=1, frameon=False, fontsize=9)


def _loops(axis) -> None:
    found = closed_loops()
    for row, (by_hand, ours) in enumerate(found.values()):
        axis.barh(row - 0.2, by_hand, 0.36, color=GREY, hatch="//", edgecolor="white")
        axis.barh(row + 0.2, ours, 0.36, color=BLUE)
        axis.text(max(by_hand, ours) + 0.2, row, f"{by_hand:.1f}×, {ours:.1f}×", va="center", fontsize=8, color=INK)
    axis.axvline(1.0, color=INK, linewidth=1)
    axis.set_yticks(range(len(found)), [name.replace(" B", ", batch ") for name in found])
    axis.set(xlabel="time of a step, in times of the bare net", title="Closed loop, a reward at every step")
    axis.set_xlim(0, 1.25 * max(max(pair) for pair in found.values()))
    axis.invert_yaxis()
    axis.barh(0, 0, color=GREY, hatch="//", edgecolor="white", label="written by hand in place")
    axis.barh(0, 0, color=BLUE, label="attached, dev()")
    axis.legend(loc="lower center", bbox_to_anchor=(0.4, 1.08), ncols=1, frameon=False, fontsize=9)


def _memory(axis) -> None:
    found = memory()
    colours = [GREY if name.startswith(("naive", "plain")) else BLUE for name in found]
    axis.barh(range(len(found)), list(found.values()), 0.7, color=colours)
    for row, size in enumerate(found.values()):
        axis.text(size + 0.08, row, f"{size:.2g}", va="center", fontsize=8, color=INK)
    axis.axvline(1.0, color=INK, linewidth=1)
    axis.set_yticks(range(len(found)), [name.replace("observed step by step, ", "step by step, ") for name in found])
    axis.set(xlabel="peak, in sizes of e", title="Memory, batch 32")
    axis.set_xlim(0, 1.2 * max(found.values()))
    axis.invert_yaxis()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=f"Draws {FIGURE.name} from {RESULTS.name}.")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    draw(parser.parse_args().figure)
