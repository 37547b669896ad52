"""Traps of what is put around a model: compilers, ranks, replicas, transforms, exporters, and learners that go away."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import textwrap

import norse.torch as norse
import pytest
import snntorch
import torch
from host_models import (
    BATCH,
    CONFIG,
    FAST,
    MODULATOR,
    N_HIDDEN,
    N_IN,
    N_OUT,
    STEPS,
    Record,
    changes,
    close,
    excitable,
    expected,
    trains,
)  # fmt: skip
from torch import nn
from torch._C._dynamo import eval_frame

from snn_plasticity import PlasticityWarning
from snn_plasticity.connection import Connection
from snn_plasticity.hosts import attach
from snn_plasticity.hosts.hooks import Hook

X = trains(STEPS, BATCH, N_IN)


def snn_model():
    lif = [snntorch.Leaky(beta=0.8, init_hidden=True) for _ in range(2)]
    return excitable(nn.Sequential(nn.Linear(N_IN, N_HIDDEN), lif[0], nn.Linear(N_HIDDEN, N_OUT), lif[1]))


def run(model, xs=X):
    for x in xs:
        model(x)


class Spike(nn.Module):
    """A neuron without state, for tools that want pure functions."""

    def forward(self, current):
        return (current > 0.5).float()


@pytest.fixture
def compiler(fresh_compiler):
    return lambda model, **options: torch.compile(model, backend="eager", **options)


@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.*should not be instantiated")  # Dynamo itself does it
class TestCompile:  # trap 21
    @pytest.mark.parametrize("first", ["attach", "compile", "run"])
    def test_snntorch_learns_the_same(self, compiler, first):
        plain, model = snn_model(), snn_model()
        wanted = changes(plain, attach(plain, CONFIG), lambda: run(plain))
        learner = attach(model, CONFIG) if first == "attach" else None
        compiled = compiler(model)
        if first == "run":
            with torch.no_grad():
                run(compiled, X[:2])
            for layer in (model[1], model[3]):
                layer.reset_mem()
        learner = learner or attach(compiled, CONFIG)
        assert list(learner.connections) == ["0", "2"]  # no `_orig_mod.`
        with torch.no_grad():
            moved = changes(model, learner, lambda: run(compiled))
        for name in wanted:
            close(moved[name], wanted[name])

    def test_norse_learns_the_same(self, compiler):
        def model():
            return excitable(norse.LIFRecurrentCell(N_IN, N_HIDDEN, FAST))

        def loop(cell):
            state = None
            for x in X:
                _, state = cell(x, state)

        plain, ours = model(), model()
        wanted = changes(plain, attach(plain, CONFIG), lambda: loop(plain))
        compiled = compiler(ours)
        with torch.no_grad():
            moved = changes(ours, attach(ours, CONFIG), lambda: loop(compiled))
        for name in wanted:
            close(moved[name], wanted[name])

    def test_compiled_code_sees_the_new_weights(self, compiler):
        model = nn.Sequential(nn.Linear(N_IN, N_OUT), Spike())
        learner = attach(model, CONFIG, pairs={"0": "1"})
        compiled = compiler(model)
        with torch.no_grad():
            run(compiled)
            learner.step(10.0)
            assert torch.equal(compiled(X[0]), (model[0](X[0]) > 0.5).float())

    @pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")
    def test_the_compiler_is_off_while_a_hook_works(self, compiler, monkeypatch):
        """In compiled code a hook of somebody else runs with the compiler on; ours, and what they call, without it."""
        seen, observe = [], Connection.observe

        def noted(*args, **kwargs):
            seen.append(("ours", eval_frame.get_eval_frame_callback()))
            return observe(*args, **kwargs)

        def foreign(*call):
            torch._dynamo.graph_break()
            seen.append(("foreign", eval_frame.get_eval_frame_callback()))

        monkeypatch.setattr(Connection, "observe", noted)
        model = snn_model()
        learner = attach(model, CONFIG)
        model[0].register_forward_hook(foreign)
        compiled = compiler(model)
        with torch.no_grad():
            run(compiled, X[:3])
        assert [who for who, _ in seen].count("ours") == 3 * len(learner.connections)
        assert all((callback is None) == (who == "ours") for who, callback in seen)
        assert eval_frame._debug_get_cache_entry_list(Hook.__call__.__code__) == []

    def test_fullgraph_is_a_clear_error(self, compiler):
        model = snn_model()
        learner = attach(model, CONFIG)
        with pytest.raises(torch._dynamo.exc.Unsupported, match="disable|skipped"):  # the word depends on the version
            compiler(model, fullgraph=True)(X[0])
        assert learner.connections["0"].eligibility is None

    def test_a_compiled_part_keeps_its_name(self, compiler):
        model = snn_model()
        model[0] = compiler(model[0])
        assert list(attach(model, CONFIG).connections) == ["0", "2"]


RANKS = """
    import sys, torch, torch.distributed as dist, torch.multiprocessing as mp
    from torch import nn
    sys.path.insert(0, {tests!r})
    from host_models import CONFIG, MODULATOR, N_IN, N_OUT, trains, excitable, snntorch
    from snn_plasticity.hosts import attach
    torch.set_num_threads(1)

    def average(delta):
        dist.all_reduce(delta)
        return delta / dist.get_world_size()

    def work(rank, path):
        dist.init_process_group("gloo", init_method="file://" + path, rank=rank, world_size=2)
        model = excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), snntorch.Leaky(beta=0.8, init_hidden=True)))
        wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
        for reduce in (None, average):
            learner = attach(wrapped, CONFIG, reduce=reduce)
            assert list(learner.connections) == ["0"]        # no `module.`
            before = model[0].weight.detach().clone()
            model[1].reset_mem()
            for x in trains(9, 4, N_IN)[:, 2 * rank : 2 * rank + 2]:
                wrapped(x)
            learner.step(MODULATOR)
            torch.save((model[0].weight - before).detach(), f"{{path}}.{{rank}}.{{reduce is None}}")
            model[0].weight.data.copy_(before)
            learner.remove()
        dist.destroy_process_group()

    mp.start_processes(work, (sys.argv[1],), nprocs=2, start_method="fork")
"""


class TestRanks:  # trap 22
    def test_an_average_over_ranks_is_the_batch_of_all(self, tmp_path, request):
        script = textwrap.dedent(RANKS).format(tests=str(request.path.parent))
        where = tmp_path / "store"
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script, str(where)], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        deltas = {
            (r, alone): torch.load(f"{where}.{r}.{alone}", weights_only=True) for r in (0, 1) for alone in (True, False)
        }
        assert not torch.allclose(deltas[0, True], deltas[1, True])  # left alone, ranks drift apart
        assert torch.equal(deltas[0, False], deltas[1, False])
        model = excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), snntorch.Leaky(beta=0.8, init_hidden=True)))
        whole = changes(model, attach(model, CONFIG), lambda: run(model, trains(9, 4, N_IN)))["0"]
        close(deltas[0, False], whole)


class TestReplicas:  # trap 23
    def test_a_replica_is_an_error(self):
        model = nn.Sequential(nn.Linear(N_IN, N_OUT), Spike())
        learner = attach(model, CONFIG, pairs={"0": "1"})
        for part, x in ((model[0], X[0]), (model[1], torch.zeros(BATCH, N_OUT))):
            replica = part._replicate_for_data_parallel()
            replica._parameters = dict(part._parameters)
            with pytest.raises(RuntimeError, match="replica of the module, as nn.DataParallel makes them"):
                replica(x)
        assert learner.connections["0"].eligibility is None

    def test_the_wrapper_itself_is_looked_through(self):
        assert list(attach(nn.DataParallel(snn_model()), CONFIG).connections) == ["0", "2"]


class TestTransforms:  # trap 26
    def test_vmap_is_refused(self):
        model = nn.Sequential(nn.Linear(N_IN, N_OUT), Spike())
        learner = attach(model, CONFIG, pairs={"0": "1"})
        with pytest.raises(RuntimeError, match=r"0: the call came from inside a torch.func transform.*paused"):
            torch.func.vmap(model)(X[0])
        with learner.paused():
            assert torch.func.vmap(model)(X[0]).shape == (BATCH, N_OUT)
        assert learner.connections["0"].eligibility is None

    def test_functional_call_moves_the_weight_of_the_module(self):
        model = excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), Spike()))
        learner, record = attach(model, CONFIG, pairs={"0": "1"}), Record(*model)
        other = {name: 2 * value.detach() for name, value in model.named_parameters()}
        moved = changes(model, learner, lambda: [torch.func.functional_call(model, other, (x,)) for x in X])
        close(moved["0"], record.change())
        assert torch.equal(torch.stack(record.post), (X @ other["0.weight"].T + other["0.bias"] > 0.5).float())


class TestExporters:  # trap 31
    def test_an_export_leaves_nothing_in_the_traces(self):
        model = nn.Sequential(nn.Linear(N_IN, N_OUT), Spike())
        learner = attach(model, CONFIG, pairs={"0": "1"})
        exported = torch.export.export(model, (X[0],), strict=False)
        assert learner.connections["0"].eligibility is None
        assert torch.equal(exported.module()(X[0]), model(X[0]))
        record = Record(*model)
        learner.reset()
        close(changes(model, learner, lambda: run(model))["0"], record.change())

    @pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*")
    def test_jit_tracing_leaves_nothing_in_the_traces(self):
        model = nn.Sequential(nn.Linear(N_IN, N_OUT), Spike())
        learner = attach(model, CONFIG, pairs={"0": "1"})
        torch.jit.trace(model, X[0], check_trace=False)
        assert learner.connections["0"].eligibility is None

    @pytest.mark.filterwarnings("ignore:nirtorch.extract_nir_graph:DeprecationWarning")
    def test_an_export_to_nir_runs_the_model_once(self):
        pytest.importorskip("nirtorch")
        from snntorch.export_nir import export_to_nir

        lif = snntorch.Leaky(beta=torch.full((N_OUT,), 0.8), threshold=torch.ones(N_OUT), init_hidden=True)
        model = nn.Sequential(nn.Linear(N_IN, N_OUT), lif)
        learner = attach(model, CONFIG)
        with learner.paused():
            graph = export_to_nir(model, torch.ones(1, N_IN), ignore_dims=[0])
        assert learner.connections["0"].eligibility is None
        assert set(graph.nodes) == {"input", "0", "1", "output"}

    def test_a_dry_run_counts_unless_paused(self):
        model = snn_model()
        learner = attach(model, CONFIG)
        with learner.paused():
            model(X[0])
        assert learner.connections["0"].eligibility is None
        model(X[0])
        assert learner.connections["0"].eligibility is not None

    def test_meta_tensors_are_no_activity(self):
        model = nn.Sequential(nn.Linear(N_IN, N_OUT), Spike())
        learner = attach(model, CONFIG, pairs={"0": "1"})
        weights = {name: value.to("meta") for name, value in model.named_parameters()}
        torch.func.functional_call(model, weights, (X[0].to("meta"),))
        assert learner.connections["0"].eligibility is None


class TestGone:  # trap 32
    def test_a_dropped_learner_takes_its_hooks_along(self):
        model = snn_model()
        learner = attach(model, CONFIG)
        hook = next(iter(model[0]._forward_hooks.values()))
        assert hook.listener() is not None
        del learner
        gc.collect()
        assert hook.listener() is None
        assert not any(m._forward_hooks for m in model.modules())
        assert hook(model[0], (X[0],), {}, X[0]) is None
        with pytest.warns(PlasticityWarning, match="thrown away before its first step"):
            model(X[0])
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())

    def test_a_context_manager_removes_its_hooks(self):
        model = snn_model()
        with attach(model, CONFIG) as learner:
            run(model)
            learner.step(MODULATOR)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        seen = learner.connections["0"].eligibility.clone()
        run(model)
        assert torch.equal(learner.connections["0"].eligibility, seen)


IMPORTS = """
    import json, sys
    import snn_plasticity, snn_plasticity.hosts
    at_import = [name for name in ("snntorch", "norse", "torch._dynamo") if name in sys.modules]
    import warnings
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", ".*torch.jit.script.*")
    import norse.torch as norse, torch
    model = norse.SequentialState(torch.nn.Linear(2, 2), norse.LIFCell())
    learner = snn_plasticity.hosts.attach(model)
    model(torch.ones(1, 2))
    print(json.dumps([at_import, "snntorch" in sys.modules, learner.batch_size]))
"""


def test_nothing_is_imported_before_it_is_needed():  # trap 33
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(IMPORTS)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], False, 1]


def test_a_learner_heard_by_nobody_is_the_reference():
    """The recorder of these tests hears the same as the learner: with it, nothing is left to chance."""
    model = snn_model()
    record = Record(model[0], model[1])
    run(model)
    assert len(record.pre) == STEPS
    assert abs(expected(torch.stack(record.pre), torch.stack(record.post))).max() > 0
