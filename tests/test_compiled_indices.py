"""Compiled loops stay inside their arrays: some tests of them once more, with every index looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOOPS = ("tests/test_compiled.py", "tests/test_row_loop.py")
SOME = "before_the_first or (one_modulator and kind0) or (list_of and compiled) or (reward_at and stdp_pair and kind0)"


def test_no_loop_leaves_its_arrays(tmp_path):
    pytest.importorskip("numba")
    checked = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *LOOPS, "-k", SOME]
    run = subprocess.run(command, cwd=ROOT, env=checked, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:]
