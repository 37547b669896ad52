"""What is done to a model after `attach`: it works, or the next step says why it cannot, and changes nothing."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
import textwrap
import types
import warnings

import norse.torch as norse
import pytest
import snntorch
import torch
from host_models import BATCH, CONFIG, FAST, MODULATOR, N_IN, N_OUT, STEPS, Record, changes, close, excitable, trains
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm

from snn_plasticity import NeuromodConfig, NeuromodulatoryGate, PlasticityWarning
from snn_plasticity.hosts import attach

X = trains(STEPS, BATCH, N_IN)


def lif():
    return snntorch.Leaky(beta=0.8, init_hidden=True)


def one_layer():
    return excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), lif()))


def run(model, xs=X):
    with torch.no_grad():
        for x in xs:
            model(x)


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = one_layer()

    def forward(self, x):
        return self.body(x)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


class Int8(torch.Tensor):
    """A weight that computes like any other and is stored as integers: what is written into it goes elsewhere."""

    @staticmethod
    def __new__(cls, values):
        return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=torch.float32)

    def __init__(self, values):
        self.scale = values.abs().max() / 127
        self.codes = (values / self.scale).round().to(torch.int8)

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        plain = torch.utils._pytree.tree_map(lambda x: x.codes * x.scale if isinstance(x, Int8) else x, args)
        return args[0] if function is torch.ops.aten.detach.default else function(*plain, **(kwargs or {}))


def old_weight_norm(layer):
    with pytest.warns(FutureWarning, match="deprecated"):
        nn.utils.weight_norm(layer)


def quantised(model):
    model[0].weight = nn.Parameter(Int8(model[0].weight.detach()), requires_grad=False)


def offloaded(model):
    """As offloading does it: the numbers are there during a forward, and nothing is there after it."""
    numbers = model[0].weight.detach().clone()
    model[0].register_forward_pre_hook(lambda m, args: setattr(m, "weight", nn.Parameter(numbers)))
    model[0].register_forward_hook(lambda m, args, out: setattr(m, "weight", nn.Parameter(numbers.to("meta"))))


def quantised_in_place(model):
    """Every Linear becomes another module, which is given the hooks of the old one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: it is to become another package
        torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, inplace=True)


LOST = {
    "quantised in place": (quantised_in_place, "0 is no longer in the model .*another Linear"),
    "prune": (lambda m: prune.random_unstructured(m[0], "weight", 0.5), "it is pruned.*prune.remove"),
    "weight_norm": (lambda m: parametrizations.weight_norm(m[0]), "parametrized.*remove_parametrizations"),
    "old weight_norm": (lambda m: old_weight_norm(m[0]), "weight-normalised.*remove_weight_norm"),
    "spectral_norm": (lambda m: spectral_norm(m[0]), "spectrally normalised"),
    "parametrize": (lambda m: parametrize.register_parametrization(m[0], "weight", Doubled()), "parametrized"),
    "layer replaced": (lambda m: m.__setitem__(0, nn.Linear(N_IN, N_OUT)), "0 is no longer in the model .*Linear"),
    "neuron replaced": (lambda m: m.__setitem__(1, lif()), "1 is no longer in the model .*another Leaky"),
    "layer moved out": (lambda m: m.__delitem__(0), "0 is no longer in the model"),
    "hook taken off": (lambda m: m[0]._forward_hooks.clear(), "the hook on 0 was taken off"),
    "neuron's hook taken off": (lambda m: m[1]._forward_hooks.clear(), "the hook on 1 was taken off"),
    "half": (lambda m: setattr(m[0], "weight", nn.Parameter(m[0].weight.detach()[:, :3])), "its shape is .* 3.* was"),
    "integers": (
        lambda m: m.requires_grad_(False) and setattr(m[0].weight, "data", torch.ones(N_OUT, N_IN).to(torch.int8)),
        "torch.int8",
    ),
    "meta": (lambda m: m[0].to("meta"), "meta device.*offload"),
    "deleted": (lambda m: delattr(m[0], "weight"), "no tensor `weight`"),
    "buffer": (
        lambda m: (delattr(m[0], "weight"), setattr(m[0], "weight", torch.ones(N_OUT, N_IN))),
        "no parameter any",
    ),
    "quantised": (quantised, "Int8.*another form"),
    "offloaded by hooks": (offloaded, "meta device.*offload"),
}


@pytest.mark.parametrize("name", LOST)
@pytest.mark.parametrize("when", ("before it runs", "between running and step"))
def test_what_would_be_lost_is_refused_and_nothing_changes(name, when):
    change, reason = LOST[name]
    model = one_layer()
    learner = attach(model, CONFIG, gate=NeuromodulatoryGate(NeuromodConfig(da_tau=9.0)))
    run(model)
    learner.step(reward=1.0)
    e, level = learner.connections["0"].eligibility.clone(), learner.third_factor.state
    if when == "before it runs":
        learner.reset(scope="eligibility")
    layer = model[0]
    change(model)
    if name not in ("meta", "deleted", "integers", "layer moved out", "half"):
        run(model, X[:2])
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    for _ in range(2):
        with pytest.raises(RuntimeError, match=reason):
            learner.step(reward=1.0)
    assert learner.third_factor.state is level
    if when != "before it runs" and name in ("deleted", "integers"):
        assert torch.equal(learner.connections["0"].eligibility, e)
    for key, value in layer.state_dict().items():
        assert value.is_meta or torch.equal(value, before[key])


def test_a_container_may_be_replaced_as_little_as_what_is_in_it():
    model = Nested()
    learner = attach(model, CONFIG)
    model.body = one_layer()
    run(model)
    with pytest.raises(RuntimeError, match="body.0 is no longer in the model .*another Linear"):
        learner.step(MODULATOR)


def test_only_the_layers_that_hear_the_modulator_have_to_be_there():
    model = excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), lif(), nn.Linear(N_OUT, 2), lif()))
    learner = attach(model, CONFIG)
    run(model)
    model[2] = nn.Linear(N_OUT, 2)
    before = model[0].weight.detach().clone()
    learner.step(MODULATOR, layers=["0"])
    assert not torch.equal(model[0].weight, before)
    with pytest.raises(RuntimeError, match="2 is no longer"):
        learner.step(MODULATOR)


def test_recurrent_weights_are_watched_too():
    cell = excitable(norse.LIFRecurrentCell(N_IN, 5, FAST, autapses=True))
    learner = attach(cell, CONFIG)
    cell(X[0])
    prune.l1_unstructured(cell, "recurrent_weights", 0.5)
    with pytest.raises(RuntimeError, match="recurrent_weights cannot learn: it is pruned"):
        learner.step(MODULATOR)


def wrapped(model):
    model[0] = torch.compile(model[0], backend="eager")
    return model


def named_anew(model):
    """The same layer, by another way."""
    outer = nn.ModuleDict({"first": model[0], "second": model[1]})
    del model[0]
    model.insert(0, nn.Sequential(outer["first"]))
    return model


WORKS = {
    "a layer is compiled": wrapped,
    "a layer is elsewhere in the model": named_anew,
    "weights are loaded": lambda m: m.load_state_dict(m.state_dict()) and m,
    "weights are assigned": lambda m: (
        m.load_state_dict({k: v.clone() for k, v in m.state_dict().items()}, assign=True) and m
    ),
    "a parameter is replaced": lambda m: setattr(m[0], "weight", nn.Parameter(m[0].weight.detach().clone())) or m,
    "frozen": lambda m: m.requires_grad_(False),
    "data is replaced": lambda m: setattr(m[0].weight, "data", m[0].weight.data.clone()) or m,
    "pruned and mended": lambda m: prune.remove(prune.identity(m[0], "weight"), "weight") and m,
}


@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.*should not be instantiated")
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("name", WORKS)
def test_what_is_not_lost_works(name):
    plain, model = one_layer(), one_layer()
    record = Record(*plain)
    run(plain)
    learner, layer = attach(model, CONFIG), model[0]
    model = WORKS[name](model)
    start = layer.weight.detach().clone()
    run(model)
    learner.step(MODULATOR)
    close(layer.weight.detach() - start, record.change())


def test_a_model_that_becomes_narrow_says_so_once():
    model = one_layer()
    learner = attach(model, CONFIG)
    run(model)
    learner.step(MODULATOR)
    model.bfloat16()
    with pytest.warns(PlasticityWarning, match="0 is torch.bfloat16 now") as caught:
        learner.step(MODULATOR)
        learner.step(MODULATOR)
    assert len(caught) == 1


def test_a_parameter_that_is_made_anew_for_every_forward_is_told_of_once():
    """An offloaded copy is brought back each time, and what was learned since is gone."""
    model = one_layer()
    learner, master = attach(model, CONFIG), model[0].weight.detach().clone()
    model[0].register_forward_pre_hook(lambda m, args: setattr(m, "weight", nn.Parameter(master.clone())))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(6):
            run(model, X[:3])
            learner.step(MODULATOR)
    run(model, X[:1])
    assert torch.equal(model[0].weight, master)
    assert ["between each of the last 3 steps its parameter was replaced" in str(w.message) for w in caught] == [True]


def test_a_parameter_that_is_assigned_now_and_then_is_not():
    model = one_layer()
    learner = attach(model, CONFIG)
    for _ in range(4):
        model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
        for _ in range(2):
            run(model, X[:3])
            learner.step(MODULATOR)


RANKS = """
    import os, sys, warnings, torch, torch.distributed as dist, snntorch
    sys.path.insert(0, {tests!r})
    from host_models import *
    from snn_plasticity import attach
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
    mesh, xs = init_device_mesh("cpu", (1,)), trains(STEPS, BATCH, N_IN)

    def model():
        net = nn.Sequential(nn.Linear(N_IN, N_OUT), snntorch.Leaky(beta=0.8, init_hidden=True))
        return nn.Sequential(excitable(net))

    def run(net):
        with torch.no_grad():
            [net(x) for x in xs]

    def told(name, call):
        try:
            call()
        except (RuntimeError, TypeError) as error:
            print(name, "|", error)
        else:
            print(name, "| fine")

    def case(name, shard, *, first, ran=False, ignored=False):
        net = model()
        start = net[0][0].weight.detach().clone()
        learner = attach(net, CONFIG) if first else None
        net = shard(net) or net
        if ran:
            run(net)
        if not first:
            told(name, lambda: attach(net, CONFIG))
            return
        if not ran:
            run(net)
        told(name, lambda: learner.step(MODULATOR))
        if ignored:
            net.reshard()
            print("moved |", not torch.equal(net[0][0].weight, start))

    flat = dict(device_id=torch.device("cpu"), use_orig_params=False)
    kinds = dict(
        whole=lambda net: fully_shard(net, mesh=mesh),
        parts=lambda net: fully_shard(net[0], mesh=mesh, reshard_after_forward=True),
        flat=lambda net: FullyShardedDataParallel(net, use_orig_params=False, device_id=torch.device("cpu")),
        views=lambda net: FullyShardedDataParallel(net, use_orig_params=True, device_id=torch.device("cpu")),
    )
    for kind, shard in kinds.items():
        case("attach, then " + kind, shard, first=True)
        case(kind + ", then attach", shard, first=False)
        case(kind + ", run, then attach", shard, first=False, ran=True)
    left_out = lambda net: fully_shard(net, mesh=mesh, ignored_params={{net[0][0].weight}})
    case("ignored", left_out, first=True, ignored=True)
    big = nn.Sequential(model(), nn.Linear(N_OUT, 2))
    learner = attach(big[0], CONFIG)
    fully_shard(big, mesh=mesh)
    run(big)
    told("around", lambda: learner.step(MODULATOR))
    dist.destroy_process_group()
"""


def test_sharded_weights_are_refused_and_those_left_out_learn(tmp_path, request):
    script = textwrap.dedent(RANKS).format(tests=str(request.path.parent))
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(" | ", 1) for line in done.stdout.splitlines())
    assert (lines.pop("ignored"), lines.pop("moved")) == ("fine", "True")
    assert len(lines) == 13
    for name, line in lines.items():
        assert "shard" in line, (name, line)


def test_a_copy_of_the_model_alone_trains_nobody():
    model = one_layer()
    learner = attach(model, CONFIG)
    copied = copy.deepcopy(model)
    wanted = Record(*model)
    run(model)
    close(changes(model, learner, lambda: None)["0"], wanted.change())
    assert torch.equal(copied[0].weight, one_layer()[0].weight)


@pytest.mark.parametrize("order", ("model first", "learner first", "in an agent"))
@pytest.mark.parametrize("make", (one_layer, lambda: excitable(norse.LIFRecurrentCell(N_IN, N_IN, FAST))))
def test_a_copy_of_model_and_learner_learns_as_the_original(order, make):
    """In mid-sequence, so that eligibility, counters and gate go along; and each of the two learns alone."""
    model = make()
    learner = attach(model, CONFIG, gate=NeuromodulatoryGate(NeuromodConfig(da_tau=9.0)))
    weight = next(iter(learner.connections.values())).weight
    feed(model, X[:4])
    learner.step(reward=0.5)
    if order == "model first":
        copied, other = copy.deepcopy((model, learner))
    elif order == "learner first":
        other, copied = copy.deepcopy((learner, model))
    else:
        agent = copy.deepcopy(types.SimpleNamespace(learner=learner, model=model))
        copied, other = agent.model, agent.learner
    theirs = next(iter(other.connections.values()))
    assert theirs.weight is not weight and torch.equal(theirs.weight, weight)
    start = weight.detach().clone()
    feed(copied, X[4:])
    other.step(reward=-1.0)
    assert torch.equal(weight, start) and not torch.equal(theirs.weight, start)
    feed(model, X[4:])
    learner.step(reward=-1.0)
    assert torch.equal(theirs.weight, weight)
    other.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in copied.modules())
    assert any(m._forward_hooks for m in model.modules())


def feed(model, xs):
    with torch.no_grad():
        state = ()
        for x in xs:
            state = model(x, *state)[1:] if isinstance(model, norse.LIFRecurrentCell) else model(x) is None or ()


def test_a_copied_learner_is_dropped_with_its_hooks():
    model = one_layer()
    learner = attach(model, CONFIG)
    copied, other = copy.deepcopy((model, learner))
    run(copied)
    other.step(MODULATOR)
    del other
    gc.collect()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in copied.modules())


def test_a_copied_model_that_holds_its_learner_says_that_it_has_no_hooks():
    model = one_layer()
    model.learner = attach(model, CONFIG)
    copied = copy.deepcopy(model)
    run(copied)
    with pytest.raises(RuntimeError, match="this learner is a copy whose hooks are not on 0"):
        copied.learner.step(MODULATOR)
