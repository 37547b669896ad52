"""WeightsMap: copies to the bit, both ways, and refuses what does not fit by name."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dual_nets import HandWritten, bits, norse_net, same, seeded, snntorch_net
from torch import nn

from snn_plasticity.dual import Slot, WeightsMap, deepen, widen
from snn_plasticity.dual.nets import tensors_of


class One(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(*shape))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_injective_map_copies_entry_by_entry(data) -> None:
    small = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    large = [n + data.draw(st.integers(0, 2)) for n in small]
    axes = tuple(tuple(data.draw(st.permutations(range(b)))[:a]) for a, b in zip(small, large, strict=True))
    base, motivated = One(*small), One(*large)
    before, weights = motivated.w.detach().clone(), WeightsMap({"w": Slot("w", axes)})
    weights.copy_up(base, motivated)
    expected = before.clone()
    for where in torch.cartesian_prod(*[torch.arange(n) for n in small]).reshape(-1, len(small)).tolist():
        expected[tuple(axis[k] for axis, k in zip(axes, where, strict=True))] = base.w.detach()[tuple(where)]
    assert torch.equal(motivated.w, expected)
    other = One(*small)
    weights.copy_down(other, motivated)
    assert torch.equal(other.w, base.w)


def test_single_entries_may_go_anywhere() -> None:
    base, motivated = One(2, 2), One(9)
    weights = WeightsMap({"w": Slot("w", entries=(8, 0, 4, 2))})
    weights.copy_up(base, motivated)
    assert torch.equal(motivated.w[[8, 0, 4, 2]], base.w.flatten())


@pytest.mark.parametrize("place", ["first", "spread", {"0": [5, 0, 2]}])
def test_up_then_down_is_the_identity_with_buffers_and_norms(place) -> None:
    base = seeded(snntorch_net)
    base(torch.rand(8, 4))  # moves the running statistics
    motivated, weights = widen(base, {"0": 7}, place=place)
    before = bits(base)
    assert {"1.running_mean", "1.num_batches_tracked", "2.beta", "2.threshold"} <= set(weights.slots)
    weights.copy_up(base, motivated)
    with torch.no_grad():
        for tensor in tensors_of(base).values():
            tensor.zero_()
    weights.copy_down(base, motivated)
    assert same(before, bits(base))


@pytest.mark.parametrize("build", [snntorch_net, norse_net, HandWritten])
def test_through_json(build, tmp_path) -> None:
    sample = torch.rand(2, 1, 6, 6) if build is HandWritten else None
    weights = widen(seeded(build), 2, place="spread", sample=sample).weights
    weights.to_json(tmp_path / "map.json")
    assert WeightsMap.from_json(tmp_path / "map.json") == weights
    assert WeightsMap.from_dict(json.loads(weights.to_json())).slots == weights.slots


def test_maps_compose() -> None:
    base = seeded(snntorch_net)
    middle, first = deepen(base, "2")
    large, second = widen(middle, 2, place="spread")
    first.copy_up(base, middle)
    second.copy_up(middle, large)
    before = bits(large)
    first.then(second).copy_up(base, large)
    assert same(before, bits(large))


BAD = {
    "twice the same index": ({"w": Slot("w", ((0, 0), (0, 1)))}, r"w, axis 0: 0 and 1 both go to 0 of w"),
    "outside": ({"w": Slot("w", ((0, 4), (0, 1)))}, r"w, axis 0: 1 goes to 4"),
    "negative": ({"w": Slot("w", ((-1, 0), (0, 1)))}, r"w, axis 0: 0 goes to -1"),
    "shape": ({"w": Slot("w", ((0, 1, 2), (0, 1)))}, r"w has shape \(2, 2\), its map \(3, 2\)"),
    "whole": ({"w": Slot("w")}, r"w has shape \(2, 2\) and w \(4, 4\)"),
    "no such target": ({"w": Slot("v", ((0, 1), (0, 1)))}, r"w goes to 'v', which the motivated network"),
    "no such base": ({"v": Slot("w")}, r"The base has no v"),
    "not mapped": ({}, r"w of the base is not mapped"),
    "entries": ({"w": Slot("w", entries=(0, 1, 2, 2))}, r"w, entries: 2 and 3 both go to 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_map_that_does_not_fit_is_refused_by_name(case) -> None:
    slots, sentence = BAD[case]
    base, motivated = One(2, 2), One(4, 4)
    before = bits(motivated)
    with pytest.raises(ValueError, match=sentence):
        WeightsMap(slots).copy_up(base, motivated)
    assert same(before, bits(motivated))


def test_two_tensors_on_one_entry_are_refused() -> None:
    base = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(1, 2, bias=False))
    slots = {"0.weight": Slot("w", ((0, 1), (0,))), "1.weight": Slot("w", ((2, 1), (0,)))}
    with pytest.raises(ValueError, match=r"1.weight and another base tensor both go to entry \(1, 0\) of w"):
        WeightsMap(slots).check(base, One(3, 1))


def test_types_must_agree_and_slots_be_slots() -> None:
    with pytest.raises(ValueError, match="float32 and w is torch.float64"):
        WeightsMap.identity(One(2)).check(One(2), One(2).double())
    with pytest.raises(TypeError, match="expected a Slot"):
        WeightsMap({"w": "w"})  # type: ignore[dict-item]
    WeightsMap({}, private=("w",)).check(One(2), One(3))
