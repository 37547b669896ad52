"""Two nets on a GPU that is not there: everything lies on the device, and the numbers are those of the CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pretended_cuda import on_device, pretending
from test_dual_nets import RUN, batches, seeded, snntorch_net
from test_dual_plasticity import build, plastic
from torch import Tensor, nn

from snn_plasticity.dual import Distill, DualModelTrainer, Every, Replace, Sandwich, Trainee, deepen, widen


def tensors(*models: nn.Module) -> list[Tensor]:
    return [tensor for model in models for tensor in (*model.parameters(), *model.buffers())]


def grown(device: str) -> list[Tensor]:
    base = seeded(snntorch_net).to(device)
    return tensors(widen(base, 2, place="spread").model, deepen(base, "2", init="preserving").model)


def by_gradients(coupling: Replace | Distill | Sandwich) -> Callable[[str], list[Tensor]]:
    def scenario(device: str) -> list[Tensor]:
        base = seeded(snntorch_net).to(device)
        large, weights = widen(base, 2, place="spread")
        nets = [Trainee(net, torch.optim.SGD(net.parameters(), lr=0.1), run=RUN) for net in (base, large)]
        trainer = DualModelTrainer(*nets, weights, Every(2), coupling=coupling)
        trainer.fit(batches(4), 1, validation=batches(2), progress=False)
        return tensors(base, large)

    return scenario


def by_plasticity(device: str) -> list[Tensor]:
    base = seeded(build).to(device)
    large, weights = widen(base, 2, place="spread")
    data = [(x.to(device), y.to(device)) for x, y in batches(4)]
    nets = [plastic(net, "stdp_pair") for net in (base, large)]
    DualModelTrainer(*nets, weights, Every(2)).fit(data, 1, progress=False)
    return tensors(base, large)


SCENARIOS = {
    "growth": grown,
    "replace": by_gradients(Replace()),
    "distill": by_gradients(Distill()),
    "sandwich": by_gradients(Sandwich(1.0, 0.5)),
    "plasticity": by_plasticity,
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_both_nets_stay_on_their_device(name, monkeypatch) -> None:
    expected = [tensor.detach().clone() for tensor in SCENARIOS[name]("cpu")]
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", list)  # there are none to be saved
    with pretending():
        found = SCENARIOS[name]("cuda")
        elsewhere = [number for number, tensor in enumerate(found) if not on_device(tensor)]
        numbers = [tensor.detach().cpu() for tensor in found]
    assert not elsewhere, f"tensors {elsewhere} are not on the device"
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(expected, numbers, strict=True))


def test_a_training_step_waits_once(monkeypatch) -> None:
    """For loss and gradient together: a batch that diverges is undone before anything moves."""
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", list)
    steps = 6
    for condition, coupling in ((Every(2), Replace()), (Every(2), Distill()), (Every(2), Sandwich(1.0, 0.5))):
        with pretending() as pretence:
            base = seeded(snntorch_net).to("cuda")
            large, weights = widen(base, 2, place="spread")
            nets = [Trainee(net, torch.optim.SGD(net.parameters(), lr=0.1), run=RUN) for net in (base, large)]
            trainer = DualModelTrainer(*nets, weights, condition, coupling=coupling)
            data = [(x.to("cuda"), y.to("cuda")) for x, y in batches(steps)]
            trainer.step(data[0])
            pretence.waits.clear()
            results = [trainer.step(batch) for batch in data]
            waits = pretence.waits.copy()
            read = [result.cost.synops for result in results]
        updates = sum(1 + (result.motivated and isinstance(coupling, Distill)) for result in results)
        assert waits == {"dual/trainee.py:_look: tolist": updates}
        assert all(type(number) is int and number > 0 for number in read)


def test_an_evaluation_waits_at_its_end(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", list)
    with pretending() as pretence:
        net = seeded(snntorch_net).to("cuda")
        trainee = Trainee(net, torch.optim.SGD(net.parameters(), lr=0.1), run=RUN)
        data = [(x.to("cuda"), y.to("cuda")) for x, y in batches(5)]
        pretence.waits.clear()
        score = trainee.evaluate(data)
        assert pretence.waits.total() == 1
    twin = seeded(snntorch_net)
    assert score == Trainee(twin, torch.optim.SGD(twin.parameters(), lr=0.1), run=RUN).evaluate(batches(5))
