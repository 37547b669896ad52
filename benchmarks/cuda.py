"""The benchmark on a GPU: `python benchmarks/cuda.py --help`. What it does stands in `gpu.py`.

This file is called as NVIDIA's package is that torch looks for: whoever imports `cuda` beside it gets that package.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    from gpu import main

    main()
else:
    here, before = str(Path(__file__).resolve().parent), list(sys.path)
    mine = sys.modules.pop(__name__)
    sys.path[:] = [place for place in before if str(Path(place or ".").resolve()) != here]
    try:
        import cuda  # noqa: F401  another one, or a ModuleNotFoundError
    finally:
        sys.path[:] = before
