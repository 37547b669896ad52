"""`contract-tests`: writes a file for pytest that holds settings, a kernel or a gate of one's own to the contract."""

from __future__ import annotations

import ast
import importlib
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import snn_plasticity

from ..config import EligibilityConfig, NeuromodConfig, PlasticityConfig
from ..config.eligibility import TRACES
from ..contract import promises_of
from ..contract._promises import gate, loss, traces
from .spoken import CannotError, config_from

TESTED_PRESETS = ("minimal", "dev", "production", "reward_readout", "reward_all_layers", "unsupervised", "eprop")
LATE = 'snn: Any = importlib.import_module("snntorch")'
PAGE = '''"""The contract, for {what}.

Written by `python -m snn_plasticity contract-tests`, for you to read, change and keep beside your code. What is
promised stands in the first line of each test. Run it with

    python -m pytest {name}
"""

from __future__ import annotations

{imports}

{configs}


@pytest.fixture(params=CONFIGS.values(), ids=list(CONFIGS))
def config(request: pytest.FixtureRequest) -> PlasticityConfig:
    """What is tested."""
    return request.param


{tests}
'''


class Subject(NamedTuple):
    """What is held to the contract: in words, the source that makes it, and the configurations that come of it."""

    what: str
    source: str
    configs: list[PlasticityConfig]
    modules: tuple[ModuleType, ...] = (traces, gate)


def write(output: Path, config: Path | None, kernel: str | None, gate_name: str | None, *, force: bool) -> int:
    """Write the file, and say how to run it.

    Raises:
        CannotError: nothing has that name, it can be no kernel, gate or configuration, or the file exists.
    """
    if output.is_dir() or not output.parent.is_dir():
        raise CannotError(f"--output is {output}; expected a file in a folder that exists.")
    if output.exists() and not force:
        raise CannotError(f"{output} exists, and may hold changes of yours; expected a new name, or --force.")
    if config is not None:
        held = _of_config(config, output)
    elif kernel is not None:
        held = _of_kernel(kernel)
    else:
        held = _of_presets() if gate_name is None else _of_gate(gate_name)
    output.write_text(text(held, output.name), encoding="utf-8")
    print(f"{output} holds {held.what} to the contract. Run it: python -m pytest {output}")
    return 0


def text(held: Subject, name: str) -> str:
    """The whole file."""
    kept = [clause.test.__name__ for config in held.configs for clause in promises_of(config) if not clause.left_out]
    left_out = {clause.test.__name__ for config in held.configs for clause in promises_of(config) if clause.left_out}
    parts = [part for module in held.modules for part in _parts(module, set(kept) - left_out)]
    tests = "\n\n\n".join(parts)
    used = f"{held.source}\n{tests}\npytest PlasticityConfig"
    imports = _imports(used, held.modules, held.source)
    source = "\n".join(line for line in held.source.splitlines() if not line.startswith(("from ", "import ")))
    return PAGE.format(what=held.what, name=name, imports=imports, configs=source.strip(), tests=tests)


def _of_config(path: Path, output: Path) -> Subject:
    """The settings in a file, read anew at each run."""
    config = config_from(path)
    relative = Path(os.path.relpath(path.resolve(), output.resolve().parent)).as_posix()
    source = f"from pathlib import Path\n\nFILE = Path(__file__).parent / {relative!r}\n"
    source += "CONFIGS = {FILE.name: PlasticityConfig.from_json(FILE)}"
    learns_from_loss = promises_of(config)[0].test in loss.LOSS_PROMISES
    return Subject(f"the settings in {path.name}", source, [config], (loss,) if learns_from_loss else (traces, gate))


def _of_kernel(named: str) -> Subject:
    """A kernel, under each kind of trace."""
    kernel, line, call = _found(named, ("init", "step"), "a kernel, with init and step")
    if getattr(kernel, "post_side", None) == "gradient":
        raise CannotError(f"--kernel {named} learns from a loss; expected a kernel that leaves an eligibility behind.")
    source = f"{line}\n\nKERNEL = {call}\nTRACES = {TRACES!r}\nCONFIGS = {{\n"
    source += "    kind: PlasticityConfig(EligibilityConfig(kernel=KERNEL, trace_type=kind)) for kind in TRACES\n}"
    return Subject(f"the kernel {call}", source, [_made(EligibilityConfig, named, kernel=kernel)], (traces,))


def _of_gate(named: str) -> Subject:
    """A function of the modulators."""
    function, line, call = _found(named, (), "a gate, a function of the modulators")
    source = f"{line}\n\nGATE = {call}\n"
    source += "CONFIGS = {GATE.__name__: PlasticityConfig(neuromod=NeuromodConfig(combination_fn=GATE))}"
    if not hasattr(function, "__name__"):
        source = source.replace("GATE.__name__", repr(named))
    return Subject(f"the gate {call}", source, [_made(NeuromodConfig, named, combination_fn=function)], (gate,))


def _of_presets() -> Subject:
    """The presets that wait for a modulator."""
    lines = "".join(f'    "{name}": PlasticityConfig.{name}(),\n' for name in TESTED_PRESETS)
    configs = [getattr(PlasticityConfig, name)() for name in TESTED_PRESETS]
    return Subject("the presets", f"CONFIGS = {{\n{lines}}}", configs)


def _made(kind: Any, named: str, **field: object) -> PlasticityConfig:
    """A configuration with this kernel or gate, or a sentence why there is none."""
    try:
        part = kind(**field)
        return PlasticityConfig(part) if kind is EligibilityConfig else PlasticityConfig(neuromod=part)
    except (TypeError, ValueError) as error:
        raise CannotError(f"{named} is refused: {error}") from error


def _found(named: str, methods: Iterable[str], expected: str) -> tuple[Any, str, str]:
    """The object behind `module:object`, the line that imports it, and how it is written; a class is called."""
    module_name, _, path = named.partition(":")
    if (
        not module_name
        or not path
        or not all(part.isidentifier() for part in [*module_name.split("."), *path.split(".")])
    ):
        raise CannotError(f"{named!r} names no object; expected module:object, as in my_rules:Covariance.")
    sys.path.insert(0, os.getcwd())
    try:
        thing: Any = importlib.import_module(module_name)
        for part in path.split("."):
            thing = getattr(thing, part)
        called = isinstance(thing, type)
        thing = thing() if called else thing
    except Exception as error:  # whatever the user's module raises
        raise CannotError(f"{named} cannot be had here: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    if not all(callable(getattr(thing, method, None)) for method in methods) or not (methods or callable(thing)):
        raise CannotError(f"{named} is a {type(thing).__name__}; expected {expected}.")
    return thing, f"from {module_name} import {path.split('.')[0]}", path + "()" * called


def _parts(module: ModuleType, kept: set[str]) -> list[str]:
    """What stands in a file of promises, those that are kept as tests."""
    path = Path(str(module.__file__))
    source = path.read_text(encoding="utf-8")
    promises = {test.__name__ for test in next(v for name, v in vars(module).items() if name.endswith("_PROMISES"))}
    parts = []
    for node in ast.parse(source).body:
        piece = ast.get_source_segment(source, node) or ""
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            piece = "".join(f"@{ast.unparse(d)}\n" for d in node.decorator_list) + piece
            if node.name in promises and node.name not in kept:
                continue
            parts.append(
                piece.replace(f"def {node.name}(", f"def test_{node.name}(") if node.name in promises else piece
            )
        elif isinstance(node, ast.Assign) and "_PROMISES" not in piece:
            parts.append(piece)
    return [
        part.replace('snn: Any = importlib.import_module("snntorch")', "import snntorch as snn\n") for part in parts
    ]


def _imports(used: str, modules: Iterable[ModuleType], source: str) -> str:
    """The imports that the file needs: Python's own, then libraries, then the package and the user's."""
    lines = {"import pytest", *(line for line in source.splitlines() if line.startswith(("from ", "import ")))}
    ours = {"PlasticityConfig", "EligibilityConfig", "NeuromodConfig"}
    for module in modules:
        for node in ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                lines |= {f"import {alias.name}" for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level:
                ours |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
                lines |= {f"from {node.module} import {alias.name}" for alias in node.names}
    needed = sorted(name for name in ours if _mentions(used, name))
    assert all(name in snn_plasticity.__all__ for name in needed)
    lines = {line for line in lines if _mentions(used, line.split()[-1])}
    standard = {line for line in lines if line.split()[1].split(".")[0] in sys.stdlib_module_names}
    blocks = [standard, {line for line in lines - standard if line in ("import pytest", "import torch")}]
    rest = {f"from snn_plasticity import {', '.join(needed)}", *(lines - blocks[0] - blocks[1])}
    return "\n\n".join("\n".join(sorted(block, key=_place)) for block in (*blocks, rest) if block)


def _place(line: str) -> tuple[bool, str]:
    """`import a` before `from b`."""
    return line.startswith("from"), line


def _mentions(text: str, name: str) -> bool:
    """Whether a name is used in a text."""
    return re.search(rf"\b{name}\b", text) is not None
