"""Both nets as one module: a state, a device, two forward passes; also out of a module whose layers serve both."""

from __future__ import annotations

import pytest
import torch
from snntorch import Leaky
from test_dual_nets import RUN, batches, bits, same, seeded, snntorch_net, trainee
from test_dual_trainer import two
from torch import nn

from snn_plasticity.dual import Always, DualNet, Every, Trainee, widen
from snn_plasticity.dual.nets import reset_hidden_state


def test_one_module_trains_as_two_nets() -> None:
    base = seeded(snntorch_net)
    net = DualNet(base, *widen(base, 2, place="spread"))
    trainer, plain = net.trainer(trainee, Every(2), seed=3), two(Every(2), seed=3)
    plain.fit(batches(), 2, progress=False)
    trainer.fit(batches(), 2, progress=False)
    assert trainer.report.history.losses == plain.report.history.losses
    assert same(bits(net.base), bits(plain.base.model)) and same(bits(net.motivated), bits(plain.nets[1].model))


def test_one_state_and_two_forward_passes() -> None:
    base = seeded(snntorch_net)
    net = DualNet(base, *widen(base, 2))
    other = DualNet(seeded(snntorch_net, 1), *widen(seeded(snntorch_net, 1), 2))
    other.load_state_dict(net.state_dict())
    assert same(bits(other.base), bits(net.base)) and same(bits(other.motivated), bits(net.motivated))
    x = batches()[0][0]
    assert torch.equal(RUN(net, x), RUN(net.motivated, x))
    with torch.no_grad():
        net.base[0].weight.add_(1.0)
    net.up()
    assert torch.equal(net.motivated[0].weight[:3], net.base[0].weight)
    with torch.no_grad():
        net.motivated[0].weight.add_(1.0)
    net.down()
    assert torch.equal(net.motivated[0].weight[:3], net.base[0].weight)
    assert next(net.to(torch.float64).motivated.parameters()).dtype is torch.float64


class Scalable(nn.Module):
    """One trunk, two heads, an extension that only the large net has, as such nets are written by hand."""

    def __init__(self, spiking: bool = False) -> None:
        super().__init__()
        middle = Leaky(0.9, init_hidden=True, threshold=0.3) if spiking else nn.ReLU()
        self.base = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), middle)
        self.extension = nn.Sequential(nn.Linear(6, 12), nn.ReLU())
        self.classifier, self.extended_classifier = nn.Linear(6, 2), nn.Linear(12, 2)
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("mean", torch.tensor(0.5))

    def forward_base(self, x):
        return self.scale * self.classifier(self.base(x - self.mean))

    def forward_motivated(self, x):
        return self.extended_classifier(self.extension(self.base(x - self.mean)))


@pytest.mark.parametrize("spiking", [False, True])
def test_a_module_written_by_hand_is_split(spiking) -> None:
    module = seeded(lambda: Scalable(spiking))
    before = bits(module)
    net = DualNet.split(module, batches()[0][0])
    assert same(before, bits(module))
    small = {name for name in net.base.state_dict() if "mem" not in name and "base.2" not in name}
    large = {name for name in net.motivated.state_dict() if "mem" not in name and "base.2" not in name}
    trunk = {f"net.base.{name}" for name in module.base.state_dict() if not name.startswith("2")}
    assert small == trunk | {"net.scale", "net.mean", "net.classifier.weight", "net.classifier.bias"}
    assert large == trunk | {"net.mean"} | {f"net.{a}.{b}" for a in ("extension.0", "extended_classifier")
                                            for b in ("weight", "bias")}  # fmt: skip
    assert set(net.weights.private) == small - large
    x = batches()[0][0]
    for way in ("forward_base", "forward_motivated"):
        for one in (net.eval(), module.eval()):
            reset_hidden_state(one)
        assert torch.equal(getattr(net, way)(x), getattr(module, way)(x))
    trainer = net.train().trainer(lambda one: Trainee(one, torch.optim.Adam(one.parameters())), Always())
    held = net.base.net.classifier.weight.clone()
    trainer.fit(batches(), 2, progress=False)
    assert torch.equal(net.base.net.base[0].weight, net.motivated.net.base[0].weight)
    assert torch.equal(held, net.base.net.classifier.weight)  # takes no part in motivated steps
    assert not torch.equal(net.base.net.base[0].weight, module.base[0].weight)


def test_what_cannot_be_split_says_so() -> None:
    with pytest.raises(TypeError, match="forward_base and forward_motivated"):
        DualNet.split(nn.Linear(4, 2), torch.ones(1, 4))

    class Apart(Scalable):
        def forward_motivated(self, x):
            return self.extension(nn.functional.pad(x, (0, 2)))

    with pytest.raises(ValueError, match="no weight in common"):
        net = Apart()
        del net.mean
        net.mean = 0.5
        DualNet.split(net, torch.ones(2, 4))

    class Borrowing(Scalable):
        def forward_base(self, x):
            return nn.functional.linear(x, self.base[0].weight.detach())

    with pytest.raises(RuntimeError, match="cannot be told"):
        DualNet.split(Borrowing(), torch.ones(2, 4))
