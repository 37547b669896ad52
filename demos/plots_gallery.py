"""Every plot of the page docs/plots.md, made by the page's own code.

    python demos/plots_gallery.py

Runs the blocks of the page from top to bottom in one session, and saves the figure of each as the picture below it.
Takes about ten seconds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib import pyplot as plt
from PIL import Image

PAGE = Path(__file__).parent.parent / "docs" / "plots.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n!\[[^\]]*\]\(([^)]+)\))?", re.S | re.M)
DPI = 90
COLORS = (128, 48, 16)  # of a picture's palette: as many as a small file has room for
LARGEST = 60_000  # bytes of a picture


def main() -> int:
    matplotlib.use("Agg")
    torch.manual_seed(0)
    session: dict[str, Any] = {"__name__": "__page__"}
    for code, picture in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        exec(compile(code, str(PAGE), "exec"), session)
        if picture:
            size = save(PAGE.parent / picture)
            print(f"{picture}: {size / 1000:.0f} kB")
        plt.close("all")
    return 0


def save(path: Path) -> int:
    """The figure that is open, as a small file; how many bytes it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plt.gcf().savefig(path, dpi=DPI)
    with Image.open(path) as drawn:
        picture = drawn.convert("RGB")
    for colors in COLORS:
        picture.quantize(colors, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            break
    return path.stat().st_size


if __name__ == "__main__":
    raise SystemExit(main())
