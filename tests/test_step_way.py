"""The way of a step: calls, files and frames between `learner.step` and the weight, and who looks at what."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from snn_plasticity import (
    AffectiveLoop,
    NeuromodConfig,
    NeuromodulatoryGate,
    PlasticityConfig,
    ThreeFactorConfig,
    _compiled,
    attach,
    signals,
)
from snn_plasticity.loop import EVENTS
from snn_plasticity.neuromodulators import NAMES
from snn_plasticity.plasticity._engine.engine import RunningTraces
from snn_plasticity.plasticity.bounds import bounds_of
from snn_plasticity.third_factor import Batch, PlainOutput, ThirdFactor

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
import hops  # noqa: E402

snn = pytest.importorskip("snntorch")
PACKAGE = Path(signals.__file__).parent
# Of one step of one layer that learns at every step, in compiled loops, or without them.
CALLS, FILES, DEPTH = (36, 10, 8) if _compiled.available() else (46, 13, 8)


def rewarded(config, told):
    """A layer that learned at ten steps, its learner, and a further step that was observed."""
    model = nn.Sequential(nn.Linear(20, 10), snn.Leaky(beta=0.9, init_hidden=True))
    learner = attach(model, config)
    x = (torch.rand(12, 8, 20) < 0.3).float()
    with torch.no_grad():
        for k in range(10):
            model(x[k])
            learner.step(**told)
        model(x[10])
    return model, learner


@pytest.mark.parametrize("told", [{"reward": torch.ones(8)}, {"reward": 1.0}, {"modulator": 1.0}])
def test_the_way_of_a_step_is_short(told):
    model, learner = rewarded(PlasticityConfig.dev(), told)
    before = model[0].weight.clone()
    with torch.no_grad():
        way = hops.way(lambda: learner.step(**told))
    assert not torch.equal(model[0].weight, before)
    assert way.calls <= CALLS and way.files <= FILES and way.depth <= DEPTH


class Operations(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the operations on tensors within it."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.counted[operation.overloadpacket.__name__] += 1
        return operation(*args, **(kwargs or {}))


def looks_of(monkeypatch) -> Counter[str]:
    """How often the values of what has a name are looked at, from now on."""
    looks: Counter[str] = Counter()
    checks = sys.modules["snn_plasticity._checks"]
    for home, name in ((checks, "require_finite"), (checks, "require_within"), (signals, "_checked")):
        original = getattr(home, name)

        def counted(what, tensor, *args, _original=original, **kwargs):
            looks[what] += 1
            return _original(what, tensor, *args, **kwargs)

        for module in [m for n, m in sys.modules.items() if n.startswith("snn_plasticity")]:
            if getattr(module, name, None) is original:
                monkeypatch.setattr(module, name, counted)
    return looks


def told_learner(learner, told):
    learner.step(**told)


def told_loop(learner, told):
    AffectiveLoop(learner).step(**told)


def told_gate(learner, told):
    learner.gate.step(told)


@pytest.mark.parametrize("tell", [told_learner, told_loop, told_gate])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_values_of_a_signal_are_looked_at_once(monkeypatch, tell, batch):
    """A signal is brought from the device once, however many rooms it goes through: the gate, affect and the loop."""
    model = nn.Sequential(nn.Linear(4, 3), snn.Leaky(beta=0.9, init_hidden=True))
    learner = attach(model, PlasticityConfig.minimal())
    looks = looks_of(monkeypatch)
    model(torch.ones(batch, 4))
    tell(learner, {"reward": torch.ones(batch), "novelty": torch.zeros(batch)})
    assert (looks["reward"], looks["novelty"]) == (1, 1)


@pytest.mark.skipif(not _compiled.available(), reason="needs compiled loops, with numba")
@pytest.mark.parametrize(("told", "looks", "sums"), [({"reward": torch.ones(8)}, 1, 1), ({"reward": 1.0}, 0, 0)])
def test_a_steady_step_waits_for_one_value_and_looks_at_no_other(told, looks, sums):
    """Of tensors as large as a batch or a weight: one sum of the reward; all else is worked out without tensors."""
    _, learner = rewarded(PlasticityConfig.minimal(), told)
    before = learner.connections["0"].weight.clone()
    with torch.no_grad(), Operations() as operations:
        learner.step(**told)
    counted = operations.counted
    assert (counted["_local_scalar_dense"], counted["sum"]) == (looks, sums)
    assert not (counted["tanh"] or counted["add_"] or counted["isfinite"])
    assert not torch.equal(before, learner.connections["0"].weight)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("preset", ["minimal", "dev", "production"])
def test_every_way_through_a_step_comes_to_the_same_bits(preset, every):
    """One sample: the usual way in numbers, with details, the long way, and saved and gone on from in between.

    With a reward at every step, or after windows; there details build e before the first change, and agree to rounding.
    """
    g = torch.Generator().manual_seed(1)
    x, rewards = (torch.rand(40, 1, 20, generator=g) < 0.4).float(), torch.randn(40, 1, generator=g)
    found = {}
    for way_of in ("usual", "details", "long", "saved"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 10), snn.Leaky(beta=0.9, init_hidden=True))
        learner = attach(model, getattr(PlasticityConfig, preset)())
        if way_of == "long":
            learner._land_at_once = lambda *arguments: False
        for k in range(40):
            model(x[k])
            if k % every == every - 1:
                learner.step(reward=rewards[k], return_details=way_of == "details")
            if way_of == "saved" and k % 7 == 3:
                learner.load_state_dict(copy.deepcopy(learner.state_dict()))
        found[way_of] = [model[0].weight.detach(), *learner.third_factor.state]
    if every > 1:
        torch.testing.assert_close(found.pop("details"), found["usual"])
    for name, parts in found.items():
        assert all(map(torch.equal, parts, found["usual"])), name


@pytest.mark.parametrize("preset", ["minimal", "dev", "production"])
def test_what_cannot_be_worked_out_at_once_leaves_everything_as_it_was(monkeypatch, preset):
    """After a window the last of two layers runs out of memory: made again, the step comes to the same bits."""
    found, original = [], RunningTraces.fold
    x, reward = (torch.rand(40, 4, 20, generator=torch.Generator().manual_seed(0)) < 0.4).float(), torch.ones(4)
    for fails in (False, True):
        torch.manual_seed(0)
        spiking = {"beta": 0.9, "init_hidden": True, "threshold": 0.1}
        model = nn.Sequential(nn.Linear(20, 10), snn.Leaky(**spiking), nn.Linear(10, 5), snn.Leaky(**spiking))
        learner, n = attach(model, getattr(PlasticityConfig, preset)()), 0
        for k in range(40):
            with torch.no_grad():
                model(x[k])
            if k % 3 != 2:
                continue
            if fails and k > 20:
                last = learner.connections["2"].running

                def fold(running, steps=None, last=last):
                    if running is last:
                        raise MemoryError("none is left")
                    original(running, steps)

                before = [parameter.detach().clone() for parameter in model.parameters()]
                with monkeypatch.context() as patch, pytest.raises(MemoryError, match="none is left"):
                    patch.setattr(RunningTraces, "fold", fold)
                    learner.step(reward=reward)
                assert all(map(torch.equal, before, model.parameters()))
                n += 1
            learner.step(reward=reward)
        assert n == (6 if fails else 0) and learner.silence.steps == 13
        found.append([parameter.detach() for parameter in (*model.parameters(), *learner.third_factor.state)])
    assert all(map(torch.equal, *found)) and found[0][0].any()


@pytest.mark.parametrize("preset", ["minimal", "production"])
def test_what_reduce_makes_of_a_change_in_place_is_looked_at(preset):
    """It may return the very tensor that was known to be finite, with NaN in it by now."""
    model, learner = rewarded(getattr(PlasticityConfig, preset)(), {"reward": 1.0})
    learner.reduce = lambda delta: delta.fill_(float("nan"))
    before = model[0].weight.clone()
    with pytest.raises(ValueError, match="NaN"):
        learner.step(reward=1.0)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize(
    "config", [{}, {"da_tau": 20.0, "ne_tau": 5.0, "ach_baseline": 0.25}, {"reward_baseline": "running"}]
)
@pytest.mark.parametrize("combination", ["weighted_sum", "gated_product"])
def test_one_sample_in_numbers_is_one_of_a_batch_in_tensors(config, combination):
    """The gate takes one sample as numbers and two as tensors: to rounding the same, step after step."""
    gate, g = (
        NeuromodulatoryGate(NeuromodConfig(combination_fn=combination, **config)),
        torch.Generator().manual_seed(0),
    )
    alone, both = gate.init(1), gate.init(2)
    for k in range(50):
        reward, novelty = torch.randn(2, generator=g), torch.rand(2, generator=g)
        told = {"reward": reward, "novelty": novelty, **({"urgency": 0.5} if k % 3 else {})}
        first = {name: value[:1] if isinstance(value, torch.Tensor) else value for name, value in told.items()}
        amounts, gain, alone = gate.step(first, alone)
        expected, gains, both = gate.step(told, both)
        torch.testing.assert_close(gain, gains[:1], rtol=1e-5, atol=1e-6)
        for name in NAMES:
            torch.testing.assert_close(amounts[name], expected[name][:1], rtol=1e-5, atol=1e-6)
        for part, of_both in zip(alone, both, strict=True):
            torch.testing.assert_close(part, of_both[:1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scope", ["sample", "batch"])
@pytest.mark.parametrize("config", [{"ne_tau": 5.0, "ach_baseline": 0.25}, {"reward_baseline": "running"}])
@pytest.mark.parametrize("combination", ["weighted_sum", "gated_product"])
def test_a_batch_in_arrays_is_one_in_tensors(config, combination, scope):
    """A learner hears arrays where the gate by itself hears tensors; what is given stays as it is."""
    settings = NeuromodConfig(combination_fn=combination, baseline_scope=scope, da_tau=20.0, **config)
    gate, g, state = NeuromodulatoryGate(settings), torch.Generator().manual_seed(2), None
    third = ThirdFactor(gate)
    for step in range(30):
        told = {"reward": 2.0 * torch.randn(4, generator=g), "novelty": torch.rand(4, generator=g)}
        told |= {"urgency": 0.5} if step % 3 else {}
        if step % 5 == 4:
            del told["reward"]
        kept = {name: torch.as_tensor(value).clone() for name, value in told.items()}
        with torch.no_grad():
            modulators, gain, state = gate.step(told, state)
            output = third.compute(None, told, Batch(4))
        assert all(torch.equal(torch.as_tensor(told[name]), value) for name, value in kept.items())
        told["novelty"].fill_(9.0)  # what was heard is not heard again
        third.keep(output)
        assert isinstance(output, PlainOutput) == (step > 0)
        torch.testing.assert_close(torch.as_tensor(output.factor), gain)
        if step % 7 == 0:
            torch.testing.assert_close(third.last.modulators, modulators)
            torch.testing.assert_close(tuple(third.state), tuple(state))


def test_one_vocabulary_names_what_may_be_said_by_keyword():
    assert set(signals.GateSignals.__annotations__) == set(signals.GATE.ranges) == set(signals.SIGNALS)
    everything = {*signals.GateSignals.__annotations__, *signals.EventSignals.__annotations__}
    assert everything == set(EVENTS) == set(signals.LOOP.ranges)
    assert list(signals.LEVELS) == list(NAMES)


def test_what_rests_in_the_gate_takes_no_arithmetic():
    """Only dopamine is driven: the arithmetic of the other three is left out, and they are zero of their own."""
    gate = NeuromodulatoryGate(NeuromodConfig())
    state, reward = gate.init(3), torch.ones(3)
    with torch.no_grad(), Operations() as operations:
        amounts, _, _ = gate.step({"reward": reward}, state)
    counted = operations.counted
    assert counted["tanh"] == 1 and counted["clamp"] == 0 and counted.total() <= 8
    amounts["ACh"] += 1.0
    assert not amounts["NE"].any() and not amounts["5HT"].any()  # no memory is shared


FIFTH = """
import snn_plasticity.neuromodulators as table
assert table.NAMES == ("DA", "ACh", "NE", "5HT", "HA")
import torch
from snn_plasticity import AffectiveLoop, NeuromodulatoryGate
from snn_plasticity.plot import modulators
from matplotlib.figure import Figure

gate = NeuromodulatoryGate()
amounts, gain, state = gate.step({"arousal_of_light": torch.tensor([1.0, 0.0])})
assert list(amounts) == list(table.NAMES) and state.levels.shape == (2, 5)
assert torch.equal(amounts["HA"], torch.tanh(torch.tensor([1.0, 0.0]))) and torch.equal(gain, 0.125 * amounts["HA"])
assert "HA←arousal_of_light" in gate.extra_repr()
loop = AffectiveLoop()
loop.step(reward=1.0, arousal_of_light=0.5)
loop.step(reward=-1.0)
assert set(loop.state.modulators) == set(table.NAMES)
drawn = modulators({"HA": [0.0, 1.0]}, Figure().subplots())
assert [text.get_text() for text in drawn.get_legend().get_texts()] == ["histamine"]
"""


def test_a_fifth_modulator_is_a_line_of_the_table_and_one_of_the_vocabulary(tmp_path):
    """In a copy of the package: one row of the table, and the name of the signal that drives it."""
    shutil.copytree(PACKAGE, tmp_path / "snn_plasticity", ignore=shutil.ignore_patterns("__pycache__"))
    row = '    Neuromodulator("HA", "ha", "histamine", 0.0, 0.125, "#E69F00", "arousal_of_light"),\n'
    for name, before, line in (
        ("neuromodulators.py", ")\nNAMES:", row),
        ("signals.py", '    "context": NOT_NEGATIVE,\n', '    "arousal_of_light": NOT_NEGATIVE,\n'),
    ):  # fmt: skip
        path = tmp_path / "snn_plasticity" / name
        source = path.read_text(encoding="utf-8")
        assert source.count(before) == 1
        path.write_text(source.replace(before, line + before), encoding="utf-8")
    run = subprocess.run([sys.executable, "-c", FIFTH], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert not run.returncode, run.stderr


@pytest.mark.skipif(not _compiled.available(), reason="needs compiled loops, with numba")
@pytest.mark.parametrize("bounds", [(-0.2, 0.2), (-0.05, 0.05)])
@pytest.mark.parametrize("soft", [None, 1.0, (0.5, 2.0)])
def test_a_bound_weight_that_is_written_at_once_is_the_bound_of_w_and_dw(bounds, soft):
    """Against bounds in torch, of a change that is clamped; and a graph that needs the weight finds out."""
    rule = ThreeFactorConfig(lr=5.0, weight_clamp=(-0.1, 0.1), weight_bounds=bounds, soft_bounds=soft)
    model = nn.Sequential(nn.Linear(20, 10), snn.Leaky(beta=0.9, init_hidden=True))
    learner = attach(model, PlasticityConfig(three_factor=rule))
    expected = bounds_of(rule)
    x = (torch.rand(20, 4, 20, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    for k in range(20):
        model(x[k])
        before, version = model[0].weight.detach().clone(), model[0].weight._version
        e, reward = learner.connections["0"].eligibility, torch.randn(4)
        learner.step(reward)
        change = (5.0 * torch.einsum("b,bij->ij", reward, e) / 4).clamp(-0.1, 0.1)
        torch.testing.assert_close(model[0].weight.detach(), expected(before, change), rtol=1e-5, atol=1e-6)
        assert model[0].weight._version > version
