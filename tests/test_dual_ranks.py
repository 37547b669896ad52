"""Two processes, one net each of DistributedDataParallel: they decide alike, and learn what one process would."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
from test_dual_nets import OPTIMIZERS, RUN, batches, bits, same, seeded, snntorch_net, trainee
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from snn_plasticity import PlasticityWarning, attach
from snn_plasticity.dual import (
    Curiosity,
    Distill,
    Diverged,
    DualModelTrainer,
    EarlyStopping,
    LossDecrease,
    OverTime,
    PlasticTrainee,
    Trainee,
    WeightsMap,
    widen,
)

DATA = [(x.double(), y) for x, y in batches(8, size=6)]


def smooth(hidden: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 2))


def run(build, wrap, condition, **settings) -> DualModelTrainer:
    base = seeded(build)
    large, weights = widen(base, 2)
    if build is smooth:
        base, large = base.double(), large.double()
    trainees = [
        Trainee(wrap(net), OPTIMIZERS["adam"](net.parameters()), run=RUN, clip_norm=1.0) for net in (base, large)
    ]
    return DualModelTrainer(*trainees, weights, condition, **settings)


def gathered(values: list[torch.Tensor]) -> list[torch.Tensor]:
    flat = torch.cat([value.double().reshape(-1) for value in values])
    both = [torch.empty_like(flat) for _ in range(2)]
    distributed.all_gather(both, flat)
    return both


def in_step(trainer: DualModelTrainer) -> bool:
    """Whether weights, buffers, losses and decisions are the same on both ranks."""
    history = trainer.report.history
    numbers = torch.tensor([*history.losses, *history.motivated], dtype=torch.float64)
    tensors = [t for net in trainer.nets for t in bits(net.model).values()]
    first, second = gathered([numbers, *tensors])
    return torch.equal(first, second)


def rank(number: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=number, world_size=2)
    wrap = DistributedDataParallel
    try:
        trainer = run(smooth, wrap, LossDecrease(1))
        trainer.fit([(x[number::2], y[number::2]) for x, y in DATA], 2, progress=False)
        assert in_step(trainer)
        trainer.save(Path(folder) / f"{number}.pt")

        trainer = run(smooth, wrap, LossDecrease(1), coupling=Distill())
        trainer.fit([(x[number::2], y[number::2]) for x, y in DATA], 1, accumulate=2, progress=False)
        trainer.save(Path(folder) / f"taught_{number}.pt")

        own = torch.Generator().manual_seed(number)  # what only this rank feels
        data = TensorDataset(torch.randn(30, 4, generator=torch.Generator().manual_seed(3)), torch.arange(30) % 2)
        sampler = DistributedSampler(data, seed=1)
        loader, seen = DataLoader(data, 5, sampler=sampler), []
        trainer = run(
            snntorch_net, wrap, Curiosity(0.5), signals=lambda h, b: {"novelty": float(torch.rand((), generator=own))}
        )
        trainer.fit(
            loader, 4, validation=batches(2, number), early_stopping=EarlyStopping(2), max_macs=10**5, progress=False,
            callbacks=[lambda t, r: seen.append(sampler.epoch)],
        )  # fmt: skip
        assert in_step(trainer) and 0 < trainer.report.share < 1
        assert seen == sorted(seen) and seen[-1] > 0
        first, second = gathered([torch.tensor([point.base.loss for point in trainer.report.curve])])
        assert torch.equal(first, second)

        broken = run(smooth, wrap, LossDecrease(1))
        x, y = DATA[0]
        broken.step((x, y))
        before = bits(broken.base.model)
        broken.base.objective = lambda output, target: F.cross_entropy(output, target) + (float("inf") if number else 0)
        with pytest.raises(Diverged):
            broken.step((x, y))
        assert same(before, bits(broken.base.model)) and in_step(broken)
        plain = snntorch_net()
        with pytest.raises(ValueError, match="expected both"):
            DualModelTrainer(broken.base, trainee(plain), WeightsMap.identity(plain))
        with pytest.raises(ValueError, match="not averaged"):
            PlasticTrainee(wrap(plain), attach(plain), lambda model, learner, batch: 0.0)
        with pytest.warns(PlasticityWarning, match="DistributedSampler"):
            broken.fit(DataLoader(data, 5, shuffle=True), 0, progress=False)
    finally:
        distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_available(), reason="torch was built without torch.distributed")
def test_two_processes_learn_what_one_does(tmp_path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(rank, (port, str(tmp_path)), nprocs=2)
    alone = run(smooth, lambda net: net, LossDecrease(1))
    alone.fit(DATA, 2, progress=False)
    taught = run(smooth, lambda net: net, LossDecrease(1), coupling=Distill())
    taught.fit(DATA, 1, accumulate=2, progress=False)
    assert 0 < alone.report.share < 1
    for expected, name in ((alone, "0"), (alone, "1"), (taught, "taught_1")):
        found = run(smooth, lambda net: net, LossDecrease(1), coupling=expected.coupling)
        found.load(tmp_path / f"{name}.pt")  # a run of ranks goes on as one of a single process
        assert found.report.history.motivated == expected.report.history.motivated
        assert found.report.history.losses == pytest.approx(expected.report.history.losses, rel=1e-9)
        for one, other in zip(found.nets, expected.nets, strict=True):
            assert all(
                torch.allclose(a, b, atol=1e-9)
                for a, b in zip(*(n.model.parameters() for n in (one, other)), strict=True)
            )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_net_is_the_net() -> None:
    def alone(build) -> DualModelTrainer:
        net = seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
        return DualModelTrainer(Trainee(build(net), OPTIMIZERS["adam"](net.parameters())))

    plain, compiled = alone(lambda net: net), alone(lambda net: torch.compile(net, backend="eager"))
    plain.fit(batches(2), 1, progress=False)
    compiled.fit(batches(2), 1, progress=False)
    assert plain.report.history.losses == pytest.approx(compiled.report.history.losses)
    assert list(compiled.state_dict()["models"][0]) == list(plain.state_dict()["models"][0])
    assert not hasattr(compiled.finalize()[0], "_orig_mod")
    plain.load_state_dict(compiled.state_dict())


def test_a_loop_over_time_sees_through_the_wrapper() -> None:
    from norse.torch import LIFBoxCell, SequentialState

    net = seeded(lambda: SequentialState(nn.Linear(4, 3), LIFBoxCell()))
    x = 9.0 * torch.rand(2, 4)
    assert torch.equal(OverTime(5)(nn.DataParallel(net), x), OverTime(5)(net, x))
