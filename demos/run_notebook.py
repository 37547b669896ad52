"""Runs a notebook from its first cell to its last, and compares what it prints with what is stored in it.

    python demos/run_notebook.py demos/notebooks/NAME.ipynb --json FILE --figure FILE

Words and whole numbers have to be the same, numbers with a point within 5 % and 0.02: chance is seeded, but another
processor sums otherwise.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

import nbformat

sys.path.insert(0, str(Path(__file__).parent / "notebooks"))
import remake  # noqa: E402

NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
NEAR, SMALL = 0.05, 0.02


def printed(cell: Any) -> str:
    """What a cell says in words."""
    texts = [out.get("text", "") for out in cell.outputs if out.output_type == "stream" and out.name == "stdout"]
    texts += [out.data.get("text/plain", "") for out in cell.outputs if out.output_type == "execute_result"]
    return "\n".join(texts)


def same(stored: str, found: str) -> bool:
    """Whether two texts say the same.

    >>> same("accuracy 0.97", "accuracy  0.96"), same("accuracy 0.97", "accuracy 0.5"), same("a 1", "b 1")
    (True, False, False)
    """
    if NUMBER.sub("#", stored).split() != NUMBER.sub("#", found).split():
        return False
    return all(
        a == b or ("." in a + b and abs(float(a) - float(b)) <= SMALL + NEAR * abs(float(a)))
        for a, b in zip(NUMBER.findall(stored), NUMBER.findall(found), strict=True)
    )


def figures(cells: list[Any]) -> list[bytes]:
    """Every picture of these cells, in order."""
    outputs = [out for cell in cells if cell.cell_type == "code" for out in cell.outputs]
    return [base64.b64decode(out.data["image/png"]) for out in outputs if "image/png" in out.get("data", {})]


def compared(path: Path, notebook: Any) -> dict[str, dict[str, object]]:
    """The claim of a notebook: that it says what is stored in it, and draws as many pictures."""
    stored = nbformat.read(path, as_version=4)
    pairs = [
        (printed(before), printed(after))
        for before, after in zip(stored.cells, notebook.cells, strict=True)
        if before.cell_type == "code"
    ]
    told = [same(*pair) for pair in pairs if any(pair)]
    drawn, expected = len(figures(notebook.cells)), len(figures(stored.cells))
    return {
        "what it prints": {"measured": f"{sum(told)} of {len(told)} as stored", "expected": "all", "kept": all(told)},
        "pictures": {"measured": str(drawn), "expected": str(expected), "kept": drawn == expected},
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--json", type=Path, metavar="FILE", required=True, help="write what was found here")
    parser.add_argument("--figure", type=Path, metavar="FILE", required=True, help="write the last picture here")
    args = parser.parse_args(argv)
    notebook = remake.executed(args.path)
    found = compared(args.path, notebook)
    args.json.write_text(json.dumps({"judged": True, "findings": found}, indent=2) + "\n", encoding="utf-8")
    if pictures := figures(notebook.cells):
        args.figure.write_bytes(pictures[-1])
    for claim, finding in found.items():
        print(f"{claim}: {finding['measured']} (expected: {finding['expected']})")
    return 0 if all(finding["kept"] for finding in found.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
