"""Rasters of many spikes: how long one takes to be drawn and saved, and whether all of it has the same ink.

    python benchmarks/big_rasters.py [--quick] [--json PATH]

Random spikes of 1,000 neurons are drawn by `plot.raster`, and by matplotlib as points (`Axes.scatter`) and as ticks
(`Axes.eventplot`), on a figure of 8 × 4 inches, and saved as PNG with 150 dots per inch. Seconds are those of the
processor. Ink is compared over twelve bands of rows.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable

import numpy as np
import results
import torch
from command import parser
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from snn_plasticity import plot

NEURONS, RATE, BANDS = 1000, 0.02, 12
SPIKES = (10_000, 100_000, 1_000_000)
TEXT = """## Large rasters

1,000 neurons, random spikes; CPU seconds from the spikes to a PNG of 1,200 × 600 pixels, median; and the ink of the
fullest of twelve bands of rows over that of the emptiest, beside what sampling alone makes of it (that of the spikes
themselves). Ticks of matplotlib are rounded to whole pixels.
"""


def points(spikes: Tensor, ax: Axes) -> None:
    """One dot a spike."""
    when, neuron = spikes.nonzero(as_tuple=True)
    ax.scatter(when.numpy(), neuron.numpy(), s=0.5, color="k", linewidths=0)


def ticks(spikes: Tensor, ax: Axes) -> None:
    """One tick a spike."""
    ax.eventplot([column.nonzero().squeeze(1).numpy() for column in spikes.T], linelengths=0.8, colors="k")


def ours(spikes: Tensor, ax: Axes) -> None:
    """`plot.raster`."""
    plot.raster(spikes, ax)


def seconds(draw: Callable[[Tensor, Axes], None], spikes: Tensor, rounds: int) -> float:
    """CPU seconds of drawing and saving."""
    taken = []
    for _ in range(rounds):
        begin = time.process_time()
        figure = Figure(figsize=(8, 4), layout="constrained")
        draw(spikes, figure.subplots())
        figure.savefig(io.BytesIO(), format="png", dpi=150)
        taken.append(time.process_time() - begin)
    return statistics.median(taken)


def spread_of_ink(draw: Callable[[Tensor, Axes], None], spikes: Tensor) -> float:
    """Ink of the fullest band over that of the emptiest."""
    figure = Figure(figsize=(8, 4), dpi=150)
    canvas, ax = FigureCanvasAgg(figure), figure.subplots()
    draw(spikes, ax)
    ax.set(ylim=(-0.5, NEURONS - 0.5))
    ax.set_axis_off()
    canvas.draw()
    box = ax.get_window_extent()
    rows = slice(round(box.y0), round(box.y1)), slice(round(box.x0), round(box.x1))
    ink = 255.0 - np.asarray(canvas.buffer_rgba())[::-1, :, :3].mean(-1)[rows]
    return ratio(np.array([band.mean() for band in np.array_split(ink, BANDS)]))


def ratio(bands: np.ndarray) -> float:
    """The largest over the smallest."""
    return float(bands.max() / bands.min())


def main() -> int:
    options = parser(__doc__).parse_args()
    counts, rounds = (SPIKES[:2], 1) if options.quick else (SPIKES, 3)
    rows = []
    for count in counts:
        spikes = torch.rand(round(count / NEURONS / RATE), NEURONS, generator=torch.Generator().manual_seed(0)) < RATE
        sampled = ratio(np.array([band.sum() for band in np.array_split(spikes.numpy(), BANDS, axis=1)]))
        for name, draw in (("plot.raster", ours), ("scatter", points), ("eventplot", ticks)):
            seconds(draw, spikes[:200], 1)
            taken, ink = seconds(draw, spikes, rounds), spread_of_ink(draw, spikes)
            rows.append({"spikes": int(spikes.sum()), "drawn by": name, "s": taken, "ink": ink, "sampling": sampled})
            print(rows[-1])
    told = [
        (f"{r['spikes']:,}, {r['drawn by']}", f"{r['s']:.2f}", f"{r['ink']:.2f}", f"{r['sampling']:.2f}") for r in rows
    ]
    text = (
        TEXT + "\n" + results.table(("spikes, drawn by", "CPU s", "ink", "sampling"), told) + "\n\n" + results.machine()
    )
    if not options.quick:
        results.write("big_rasters", text)
    results.write_json(options.json, "big_rasters", rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
