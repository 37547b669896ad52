"""Compiled loops in use: forced, refused and shown by name; compiled once, kept on disk; in threads and processes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from conftest import settings, trains
from torch import nn

from snn_plasticity import EligibilityConfig, EligibilityTraceModule, _compiled, attach
from snn_plasticity.plasticity._engine import state, stepping
from snn_plasticity.plasticity._engine.engine import RunningTraces

needs_numba = pytest.mark.skipif(not _compiled.available(), reason="numba is not installed")
ROOT = Path(__file__).parents[1]
EDGES = torch.ones(5, 7, dtype=torch.bool)


def learned(path: str = "auto", trace: str = "accumulating", clamp: tuple[float, float] | None = (-0.5, 0.6)):
    """Changes by a reward at every step, then e after a window."""
    traces = EligibilityTraceModule(7, 5, settings("stdp_pair", trace, clamp_range=clamp), path=path)
    pre, post = (trains(40, 3, n, seed=n) for n in (7, 5))
    mods, changes = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).double(), []
    for t in range(40):
        traces.observe(pre[t], post[t])
        changes.append(traces.change(mods[t]))
    return torch.stack(changes), traces.update_window(pre, post), repr(traces)


class TestByName:
    @pytest.mark.parametrize("trace", ("accumulating", "replacing", "dutch_active"))
    def test_torch_alone_gives_the_same_and_calls_no_loop(self, trace, monkeypatch):
        plain = learned("plain", trace)
        monkeypatch.setattr(_compiled, "loops", lambda: pytest.fail("a loop was looked for"))
        alone = learned("torch", trace)
        for found, right in zip(alone[:2], plain[:2], strict=True):
            torch.testing.assert_close(found, right)
        assert "path='torch', compiled=no: path='torch'" in alone[2]

    @needs_numba
    @pytest.mark.parametrize("trace", ("accumulating", "replacing", "dutch_active"))
    def test_compiled_gives_the_same_and_says_so(self, trace):
        forced, plain = learned("compiled", trace), learned("plain", trace)
        for found, right in zip(forced[:2], plain[:2], strict=True):
            torch.testing.assert_close(found, right)
        assert f"path='compiled', compiled=yes (numba {_compiled.version()})" in forced[2]

    @pytest.mark.parametrize("path", ("auto", "torch"))
    def test_samples_in_groups_go_the_way_that_was_asked_for(self, path, monkeypatch):
        """A batch whose tables are large is worked on in groups of samples: in loops, or without."""
        monkeypatch.setattr(state, "TABLE_ENTRIES", 1)
        taken: list[bool] = []
        original = stepping.step_rows
        monkeypatch.setattr(stepping, "step_rows", lambda *given: (taken.append(given[5]), original(*given))[1])
        found, right = learned(path, "replacing")[1], learned("plain", "replacing")[1]
        torch.testing.assert_close(found, right)
        assert len(taken) >= 3 and set(taken) == {path == "auto"}

    def test_what_cannot_be_compiled_is_refused_with_the_reason(self, monkeypatch):
        monkeypatch.setattr(_compiled, "available", lambda: True)
        per_synapse = EligibilityConfig(kernel="stdp_pair", diagonal=True)
        with pytest.raises(ValueError, match="be taken: loops are for full matrices and edges; take path='auto'"):
            EligibilityTraceModule(5, 5, per_synapse, path="compiled")
        with pytest.raises(ValueError, match="cannot be taken: loops are for full"):
            EligibilityTraceModule.for_layer(nn.Conv2d(1, 4, 3), path="compiled")
        elsewhere = tuple(torch.zeros(1, n, device="meta") for n in (7, 5))
        with pytest.raises(ValueError, match="cannot be taken: on meta; take"):
            RunningTraces(EligibilityTraceModule(7, 5, path="compiled").rule, elsewhere, "compiled")
        assert "compiled=no: loops are for full" in repr(EligibilityTraceModule(5, 5, per_synapse))

    @needs_numba
    def test_edges(self):
        config = EligibilityConfig(kernel="stdp_pair")
        assert "compiled=yes" in repr(EligibilityTraceModule(7, 5, config, connectivity=EDGES))
        with pytest.raises(ValueError, match="edges have loops for pair and symmetric STDP"):
            EligibilityTraceModule(7, 5, EligibilityConfig(kernel="rate"), connectivity=EDGES, path="compiled")

    def test_without_numba_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr(_compiled, "available", lambda: False)
        with pytest.raises(ValueError, match=r'numba is not installed; pip install "snn_plasticity\[fast\]"'):
            EligibilityTraceModule(7, 5, path="compiled")
        assert "compiled=no: numba is not installed" in repr(EligibilityTraceModule(7, 5))

    @needs_numba
    def test_attach_takes_both(self):
        import snntorch as snn

        for path in ("compiled", "torch"):
            model = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.9, init_hidden=True))
            assert attach(model, path=path).connections["0"].traces.path == path


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own."""
    here = os.pathsep.join((str(ROOT), str(ROOT / "tests"), *sys.path))
    environment = {**os.environ, "PYTHONPATH": here, **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300)


STEPS = """
import torch
from snn_plasticity import EligibilityTraceModule, EligibilityConfig
traces = EligibilityTraceModule(3, 2, EligibilityConfig(kernel="stdp_pair"))
for _ in range(4):
    traces.observe(torch.ones(1, 3), torch.ones(1, 2))
    traces.change(torch.ones(1))
"""
EDGE_STEPS = """
config = EligibilityConfig(kernel="stdp_pair")
edges = EligibilityTraceModule(3, 2, config, connectivity=torch.ones(2, 3, dtype=torch.bool))
edges.update_window(torch.ones(4, 1, 3), torch.ones(4, 1, 2))
"""


@needs_numba
class TestOnce:
    def test_numba_is_imported_when_a_loop_is_first_called(self):
        code = """
import sys, torch
from snn_plasticity import EligibilityTraceModule, attach
traces = EligibilityTraceModule(3, 2)
repr(traces)
traces.observe_window(torch.ones(3, 1, 3), torch.ones(3, 1, 2))
traces.change(torch.ones(1))
assert "numba" not in sys.modules
"""
        done = run(code)
        assert not done.returncode, done.stderr

    def test_the_first_compilation_is_announced_and_what_is_kept_is_not(self, tmp_path):
        first, second = (run(STEPS, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
        assert not first.returncode, first.stderr
        assert first.stderr.count("compiles its loops") == 1 and str(tmp_path) in first.stderr
        assert second.stderr == "" and list(tmp_path.rglob("*.nbi"))

    def test_a_package_that_cannot_be_written_to(self, tmp_path):
        """What is compiled goes to the user's cache; where nothing can be written, it is compiled each time."""
        code = (
            """
from numba.core import caching
def never(self):
    raise OSError("read-only")
beside = next(value for name, value in vars(caching).items() if name.endswith("InTreeCacheLocator"))
beside.ensure_cache_path = never
{}
"""
            + STEPS
        )
        own = run(code.format(""), XDG_CACHE_HOME=str(tmp_path), NUMBA_CACHE_DIR="")
        assert not own.returncode, own.stderr
        assert str(tmp_path) in own.stderr and list(tmp_path.rglob("*.nbi"))
        nowhere = run(code.format("caching.CacheImpl._locator_classes = []") + EDGE_STEPS)
        assert not nowhere.returncode, nowhere.stderr
        assert "set NUMBA_CACHE_DIR" in nowhere.stderr

    def test_a_numba_that_cannot_be_imported_is_said_and_done_without(self, tmp_path):
        (tmp_path / "numba.py").write_text("raise ImportError('another NumPy')")
        done = run(f"import sys; sys.path.insert(0, {str(tmp_path)!r})" + STEPS)
        assert not done.returncode, done.stderr
        assert "cannot be used (another NumPy)" in done.stderr


def in_a_process(queue) -> None:
    """For a process that begins anew, or a copy of this one."""
    torch.set_num_threads(1)
    changes, e, _ = learned()
    queue.put((changes.numpy(), e.numpy()))


@needs_numba
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("how", ("fork", "spawn"))
def test_processes(how):
    """After loops have run here: a copy of this process, and one that begins anew, learn what a plain path does."""
    if how not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {how} here")
    right = learned("plain")
    learned()
    context = multiprocessing.get_context(how)
    queue = context.Queue()
    children = [context.Process(target=in_a_process, args=(queue,)) for _ in range(2)]
    for child in children:
        child.start()
    for _ in children:
        for found, expected in zip(queue.get(timeout=240), right[:2], strict=True):
            torch.testing.assert_close(torch.from_numpy(found), expected)
    for child in children:
        child.join(60)
        assert child.exitcode == 0


def test_threads():
    """Learners of their own in threads of their own, at the same time."""
    right, found = learned("plain"), []
    start = threading.Barrier(4)

    def learn():
        start.wait()
        for _ in range(5):
            found.append(learned())

    threads = [threading.Thread(target=learn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    for changes, e, _ in found:
        torch.testing.assert_close(changes, right[0])
        torch.testing.assert_close(e, right[1])


def test_all_loops_ahead(capsys, monkeypatch):
    import snn_plasticity.__main__ as command

    if _compiled.available():
        assert command.main(["compile"]) == 0
        assert f"All loops are compiled (numba {_compiled.version()})" in capsys.readouterr().out
        from snn_plasticity._compiled import dense_loops, edge_loops, spike_loops

        public = {
            n: f for m in (dense_loops, edge_loops, spike_loops) for n, f in vars(m).items() if hasattr(f, "signatures")
        }
        least = dict.fromkeys(public, 2) | {"write_sides": 1}  # float32 and float64; this one is told which by a flag
        assert not [name for name, f in public.items() if not name.startswith("_") and len(f.signatures) < least[name]]
    monkeypatch.setattr(_compiled, "available", lambda: False)
    assert command.main(["compile"]) == 1
    assert 'pip install "snn_plasticity[fast]"' in capsys.readouterr().out
