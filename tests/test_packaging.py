"""What an installation promises: a light import, the declared version, types, and commands that stay as written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import snn_plasticity

ROOT = Path(__file__).parent.parent


def run(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light_and_silent() -> None:
    """Neither host library, nor anything that draws, is paid for by those who do not use it."""
    loaded = json.loads(run("import json, sys, snn_plasticity; print(json.dumps(sorted(sys.modules)))"))
    heavy = {name.split(".")[0] for name in loaded} & {
        "snntorch",
        "norse",
        "matplotlib",
        "sklearn",
        "gymnasium",
        "pandas",
    }
    assert not heavy


def test_import_takes_little_longer_than_torch() -> None:
    code = "import torch, time; t = time.process_time(); import snn_plasticity; print(time.process_time() - t)"
    seconds = min(float(run(code)) for _ in range(3))
    assert seconds < 1.0


def test_attach_needs_only_the_host_that_is_used() -> None:
    """A snnTorch user never imports Norse."""
    loaded = run(
        "import sys, torch, snntorch, snn_plasticity\n"
        "net = torch.nn.Sequential(torch.nn.Linear(2, 2), snntorch.Leaky(beta=0.9, init_hidden=True))\n"
        "snn_plasticity.attach(net)\n"
        "print('norse' in sys.modules)"
    )
    assert loaded.strip() == "False"


def test_installed_version_is_that_of_the_package() -> None:
    try:
        installed = metadata.version("snn_plasticity")
    except metadata.PackageNotFoundError:
        pytest.skip("the package is on the path, but not installed")
    assert installed == snn_plasticity.__version__


def test_changelog_and_citations_name_this_version() -> None:
    docs = ROOT / "docs"
    heads = re.findall(r"^## (.+)$", (docs / "changelog.md").read_text("utf-8"), re.M)
    cff, page = (docs / "CITATION.cff").read_text("utf-8"), (docs / "citation.md").read_text("utf-8")
    told = dict(re.findall(r"^(version|date-released): (\S+)$", cff, re.M))
    assert heads[:2] == ["Unreleased", f"{told['version']} ({told['date-released']})"]
    assert told["version"] == snn_plasticity.__version__
    assert f"version = {{{snn_plasticity.__version__}}}" in page


def test_types_are_shipped() -> None:
    assert (ROOT / "snn_plasticity" / "py.typed").exists()


def test_public_names_are_documented() -> None:
    for name, thing in vars(snn_plasticity).items():
        if not name.startswith("_"):
            assert thing.__doc__, name


def test_readme_commands_are_the_ones_that_are_run() -> None:
    """The two commands of the README stand word for word in the script that checks a fresh clone."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```bash\n(.*?)```", readme, re.S) for line in block.splitlines()]
    installs = [line for line in commands if line.startswith("pip install")]
    assert len(installs) == 2, installs
    checked = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in installs:
        assert f"readme '{command}'" in checked, command


def test_commands_of_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"python -m snn_plasticity (\w+)", readme))
    done = subprocess.run([sys.executable, "-m", "snn_plasticity", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert named and all(command in done.stdout for command in named)
