"""Who feeds whom, on random small models: each learns what hooks of the test's own ask for, or is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from random_models import shadows
from random_models.draw import Block, Pass, Spec, draw
from random_models.judge import NEEDLESS, REFUSED, RIGHT, WRONG, Run, judge
from random_models.parts import HALVES, READS
from torch import nn

from snn_plasticity.connection import Connection
from snn_plasticity.hosts import pooling

SLICE = range(150)


@pytest.fixture(scope="module")
def verdicts():
    return [judge(seed) for seed in SLICE]


def _listed(verdicts, *outcomes: str) -> list[str]:
    return [f"seed {v.spec.seed}: {v.why}" for v in verdicts if v.outcome in outcomes]


def test_every_model_is_right_or_refused(verdicts):
    faults = [f"seed {v.spec.seed} ({v.outcome}): {v.why}" for v in verdicts if v.fault]
    assert not faults, "\n".join(faults)


def test_what_maps_unit_by_unit_is_not_refused(verdicts):
    needless = _listed(verdicts, NEEDLESS)
    assert not needless, "\n".join(needless)


def test_the_models_are_a_mixture(verdicts):
    count = Counter(v.outcome for v in verdicts)
    assert count[RIGHT] > len(verdicts) / 2
    assert len({v.spec.read for v in verdicts}) == len(READS)
    assert count[REFUSED] > len(verdicts) / 20


def _shifted_units(observe):
    return lambda self, pre, post, **more: observe(self, pre, post.roll(1, -1), **more)


def _reversed(observe):
    return lambda self, pre, post, **more: observe(self, pre.flip(0), post, **more)


def _late(observe):
    last = {}

    def late(self, pre, post, **more):
        before, last[self] = last.get(self, pre), pre
        return observe(self, before if before.shape == pre.shape else pre, post, **more)

    return late


def _every_second(observe):
    calls = Counter()

    def dropped(self, pre, post, **more):
        calls[self] += 1
        return observe(self, pre, post, **more) if calls[self] % 2 else None

    return dropped


FAULTS = [
    ("observe", _shifted_units), ("observe", _reversed), ("observe", _late), ("observe", _every_second),
    ("observe_sequence", _shifted_units), ("observe_sequence", _reversed),
]  # fmt: skip


@pytest.mark.parametrize(("method", "fault"), FAULTS)
def test_the_judge_sees(method, fault, verdicts, monkeypatch):
    """Units, samples or steps confused, readings lost: a deliberate fault in the library is seen on these models."""
    whole = method == "observe_sequence"
    right = [v.spec for v in verdicts if v.outcome == RIGHT and v.spec.whole == whole][:15]
    monkeypatch.setattr(Connection, method, fault(getattr(Connection, method)))
    seen = [spec for spec in right if Run(spec).verdict().outcome == WRONG]
    assert len(right) == 15
    assert len(seen) > 8


def test_a_shadow_knows_each_row_of_a_folded_sequence():
    """(B, T) folded into one axis: step t of sample b is row b·T + t."""
    spec = Spec(read="bfold", into=4, blocks=(Block(out=6),), passes=(Pass(3, 2, (2, 0)),))
    (given,) = Run(spec).meaning.passes[0].values()
    rows = [(step.parts[0][1] // 6).tolist() for step in given]
    assert rows == [[[2] * 6, [5] * 6], [[0] * 6, [3] * 6]]


POOLS = ("maxpool1d", "fmaxpool1d", "avgpool1d", "maxpool2d", "fmaxpool2d", "avgpool2d", "favgpool2d")


@pytest.mark.parametrize(("neuron", "read"), [("hidden", "stream"), ("cell", "fold"), ("seq", "fold")])
@pytest.mark.parametrize("pool", POOLS)
def test_pools_are_right(pool, neuron, read):
    """Each pool: alone, among other operations, behind another pool, behind a sum."""
    layer = "conv1d" if pool.endswith("1d") else "conv2d"
    for names, join in (((pool,), ""), (("relu", pool, "drop"), "sum"), ((pool, "half", pool), "pooled")):
        where = {"between" if read == "stream" else "first": names}
        spec = Spec(neuron=neuron, read=read, blocks=(Block(layer, 2, join=join, **where),), kernel="stdp_pair")
        verdict = Run(spec).verdict()
        assert verdict.outcome == RIGHT, verdict.why


@pytest.mark.parametrize("name", ["Winners", "Shares"])
def test_the_judge_sees_what_a_pool_hands_to_another_place(name, monkeypatch):
    kind = getattr(pooling, name)
    monkeypatch.setattr(kind, "back", lambda self, post, rows, back=kind.back: back(self, post, rows).roll(1, -1))
    pool = "maxpool2d" if name == "Winners" else "favgpool2d"
    assert Run(Spec(blocks=(Block("conv2d", 2, between=(pool,)),))).verdict().outcome == WRONG


def test_a_shadow_tells_a_mixture():
    spec = Spec(blocks=(Block(between=("scale", "softmax")),))
    assert Run(spec).meaning.must_refuse({"fc1"}) == {("fc1", "softmax")}
    assert not Run(Spec(blocks=(Block(between=("scale", "norm")),))).meaning.must_refuse({"fc1"})


MOVES = {
    "clone", "detach", "double", "view", "unsqueeze", "unsqueeze_last", "turned", "stacked", "joined", "repeated",
    "expanded", "samples", "tiled", "buffer", "flip", "roll", "shuffle", "flip_rows", "roll_rows", "delayed",
    "identity",
}  # fmt: skip
JOINS = ("", "cat", "flat", "part", "shared", "choose", *HALVES)


def _only_moving(spec: Spec) -> Spec:
    """The same without what changes numbers."""
    blocks = (
        replace(
            block, join=block.join if block.join in JOINS else "",
            first=tuple(name for name in block.first if name in MOVES),
            between=tuple(name for name in block.between if name in MOVES),
        )
        for block in spec.blocks
    )  # fmt: skip
    neuron = "hidden" if spec.neuron == "recurrent" else spec.neuron
    return replace(spec, blocks=tuple(blocks), neuron=neuron, form="code")


@pytest.mark.parametrize("seed", range(120))
def test_shadows_say_where_numbers_come_from(seed):
    """Where nothing is computed, each number that a neuron gets on torch is the one that its shadow names."""
    spec = _only_moving(draw(seed))
    run, one = Run(spec), replace(spec.passes[0], grad="no_grad")
    outputs, inputs = Watched(run.net, run.meaning.layers), Watched(run.net, run.meaning.whole, given=True)
    run.run(one)
    for neuron, given in run.meaning.passes[0].items():
        assert len(given) == len(inputs.seen[neuron]) > 0
        for shadow, current in zip(given, inputs.seen[neuron], strict=True):
            named = np.zeros(shadow.shape)
            for layer, numbers in shadow.parts:
                for call, output in enumerate(outputs.seen[layer]):
                    here = (numbers >= 0) & (numbers // shadows.CALL == call)
                    named[here] = output.ravel()[numbers[here] % shadows.CALL]
            np.testing.assert_array_equal(current, named)


class Watched:
    """What modules gave out, or were given, call by call."""

    def __init__(self, net: nn.Module, names: Iterable[str], *, given: bool = False) -> None:
        self.seen = {name: [] for name in names}
        for name, notes in self.seen.items():
            hook = partial(self._note, notes, given)
            net.get_submodule(name).register_forward_hook(hook, with_kwargs=True)

    def _note(self, notes, given, module, args, kwargs, output):
        notes.append((args[0] if args else kwargs["input_"]) if given else output)
        notes[-1] = notes[-1].detach().numpy().copy()


def test_the_page_keeps_what_is_not_ours(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    import wiring_models

    verdicts = [
        {"outcome": outcome, "standing": standing, "spec": {"seed": seed, "read": "static"}}
        for seed, (outcome, standing) in enumerate([("right", "listed"), ("right", "other"), ("refused", "mixed")])
    ]
    page = tmp_path / "reliability.md"
    page.write_text("# Reliability\n\nBefore.\n", encoding="utf-8")
    for again in (verdicts[:2], verdicts):
        wiring_models.write(wiring_models.report(again, 9), page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Reliability\n\nBefore.\n") and text.count("## Wiring") == 1
    assert "| **all** | 3 | 2 | 1 | 0 | 0 | 0 | 0 |" in text
    assert "| outputs mixed | 1 | 0 | 1 | 0 | 0 | 0 | 0 |" in text
    page.write_text(text + "\nAfter.\n", encoding="utf-8")
    wiring_models.write(wiring_models.report(verdicts[:1], 9), page)
    assert page.read_text(encoding="utf-8").endswith("<!-- /wiring -->\n\nAfter.\n")
