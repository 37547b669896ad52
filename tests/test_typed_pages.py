"""The user code of README and docs passes the type checker, and what must not type-check does not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from pages import PAGES, ROOT, code_blocks  # noqa: E402

PYRIGHT = shutil.which("pyright") or shutil.which("pyright", path=str(Path(sys.executable).parent))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PYRIGHT is None, reason="pyright is not installed")]

WRONG = {  # a user's slip, and the rule that finds it
    "learner.step(rewrad=1.0)": "reportCallIssue",
    "learner.step(reward='much')": "reportArgumentType",
    "learner.step(1.0, return_details=True).layer": "reportAttributeAccessIssue",
    "learner.step(1.0).to_dict()": "reportAttributeAccessIssue",
    "learner.reset(scope='epsiode')": "reportArgumentType",
    "loop.step(surprize=1.0)": "reportCallIssue",
    "EligibilityConfig(kernel=3)": "reportArgumentType",
    "EligibilityConfig(kernel='stpd_pair')": "reportArgumentType",
    "NeuromodConfig(da_source='rewards')": "reportArgumentType",
    "attach(nn.Linear(2, 1), path='eager')": "reportArgumentType",
    "learner.connections['0'].eligibility.sum()": "reportOptionalMemberAccess",
    "EligibilityConfig(trace_type='replaced')": "reportArgumentType",
    "ThreeFactorConfig(mode='offline')": "reportArgumentType",
    "NeuromodConfig(reward_baseline='mean')": "reportArgumentType",
    "EligibilityTraceModule(2, 3, path='fast')": "reportArgumentType",
    "modulate(1.0, e, 'median')": "reportArgumentType",
}
HEAD = """import torch
from torch import nn
from snn_plasticity import *
learner, e = attach(nn.Linear(2, 1)), torch.ones(1, 1, 1)
loop = AffectiveLoop(learner)
"""


def errors(folder: Path) -> list[tuple[str, int, str, str]]:
    """File, line, rule and sentence of every error that pyright finds in a folder, beside this package."""
    settings = {"typeCheckingMode": "basic", "extraPaths": [str(ROOT)], "pythonVersion": "3.10", "include": ["."]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [str(PYRIGHT), "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(run.stdout)["generalDiagnostics"]
    return [
        (Path(d["file"]).name, d["range"]["start"]["line"] + 1, d.get("rule", ""), d["message"])
        for d in found
        if d["severity"] == "error"
    ]


def test_the_code_of_every_page_type_checks(tmp_path: Path) -> None:
    for page in PAGES:
        lines: list[str] = []
        for line, block, _ in code_blocks(page):
            lines += [""] * (line - len(lines)) + block.splitlines()
        (tmp_path / f"{page.stem}_page.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = errors(tmp_path)
    assert not found, "\n".join(f"{name}, line {line}: {said} ({rule})" for name, line, rule, said in found)


def test_slips_of_a_user_are_found_by_the_type_checker(tmp_path: Path) -> None:
    (tmp_path / "slips.py").write_text(HEAD + "\n".join(WRONG) + "\n", encoding="utf-8")
    first = HEAD.count("\n") + 1
    found = {line: rule for _, line, rule, _ in errors(tmp_path)}
    assert found == {first + k: rule for k, rule in enumerate(WRONG.values())}
