"""Three hundred random nets: each grows and answers as its base at first, or is refused for a reason that is true."""

from __future__ import annotations

import re

import pytest
import torch
from random_nets import MIXES, RandomNet

from snn_plasticity.dual import widen

NETS, GROUPS = 300, 10


def refused_rightly(net: RandomNet, sentence: str) -> bool:
    """Whether the part that is named may be refused, for that reason; a wrong shape shows in what reads it."""
    modules = dict(net.named_modules())
    where = sentence.partition(" over ")[0].partition(" does not run")[0].partition(" (")[0].partition(":")[0]
    where = where.partition(" is a ")[0].partition(" takes ")[0]
    if where not in modules or not where:
        return False
    last = int(where.split(".")[1]) if where.startswith("blocks.") else len(net.blocks)
    if any(re.search(MIXES["number"], sentence) and "number" in block.against for block in net.blocks[: last + 1]):
        return True
    return last < len(net.blocks) and any(re.search(MIXES[key], sentence) for key in net.blocks[last].against)


def outcome(seed: int) -> str:
    """'grown', 'refused', or what is wrong."""
    net = RandomNet(seed)
    told = f"{seed}: {net.kind}, {net.names}"
    try:
        place = ("first", "spread")[seed % 2]
        grown, weights = widen(net, 2, init="preserving", place=place, sample=net.input(seed), seed=seed)
    except ValueError as error:
        return "refused" if refused_rightly(net, str(error)) else f"{told}: {error}"
    weights.check(net, grown)
    with torch.no_grad():
        for k, scale in enumerate((0.7, 20.0)):
            x = net.input(1000 + seed + k, scale)
            wanted, got = net(x), grown(x)
            if not torch.allclose(wanted, got, 1e-7, 1e-7):
                return f"{told}: answers otherwise by {float((wanted - got).abs().max()):.2g}"
    return "grown"


@pytest.mark.parametrize("group", range(GROUPS))
def test_random_nets_grow_or_are_refused_for_a_true_reason(group) -> None:
    torch.set_num_threads(1)
    seeds = range(group, NETS, GROUPS)
    found = {seed: outcome(seed) for seed in seeds}
    wrong = [text for text in found.values() if text not in ("grown", "refused")]
    assert not wrong, "\n".join(wrong)
    grown = sum(text == "grown" for text in found.values())
    assert grown > len(seeds) / 3  # most nets hold nothing that mixes units
