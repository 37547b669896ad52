"""Run notebooks from top to bottom and store what they print and draw, in place.

    python demos/notebooks/remake.py [NOTEBOOK ...] [--into FOLDER]

A notebook that raises, warns or writes to stderr is left as it was, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NOTEBOOKS = sorted(HERE.glob("*.ipynb"))
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ONCE = "snn_plasticity compiles its loops"  # said on stderr where it is so, and of no interest to a reader
NORSE = "ignore:`torch.jit.script` is deprecated"  # what torch says of Norse when it is imported, and not of a notebook
LONGEST = 300  # seconds, for a cell on a busy machine


def executed(path: Path) -> Any:
    """The notebook as a reader's own run of it would leave it: outputs of this run, no times, no kernel's name.

    Raises:
        CellExecutionError: a cell raised.
        RuntimeError: a cell wrote to stderr, as warnings do.
    """
    notebook = nbformat.read(path, as_version=4)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    os.environ.pop("MPLBACKEND", None)  # figures are drawn inline, as for a reader
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), NORSE]))
    here = {"metadata": {"path": str(path.parent)}}
    settings = {"timeout": LONGEST, "record_timing": False, "extra_arguments": ["--log-level=ERROR"]}
    NotebookClient(notebook, kernel_name="python3", resources=here, **settings).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number:02}", nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not output.get("text", "").startswith(ONCE)]
            said = [output.text.strip() for output in cell.outputs if output.get("name") == "stderr"]
            if said:
                raise RuntimeError(f"cell {number} wrote to stderr: {said[0]}")
    return notebook


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="files (default: all)")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="store them here (default: in place)")
    args = parser.parse_args(argv)
    failed = {}
    chosen = args.notebooks or NOTEBOOKS
    for path in (bar := tqdm(chosen, unit="notebook", disable=None)):
        bar.set_postfix_str(path.stem)
        start = time.perf_counter()
        try:
            notebook = executed(path)
        except CellExecutionError as error:
            failed[path.stem] = f"{error.ename}: {error.evalue}"
            continue
        except RuntimeError as error:
            failed[path.stem] = str(error)
            continue
        if args.into:
            args.into.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, (args.into or path.parent) / path.name)
        tqdm.write(f"{path.stem}: {time.perf_counter() - start:.0f} s")
    for name, error in failed.items():
        print(f"{name} is as it was: {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
