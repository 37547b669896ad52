"""Everything public on a GPU that is not there: the same numbers as on the CPU, on the device, and nobody waits for it.

Each scenario runs on the CPU, then twice on a pretended device (`pretended_cuda`): in the second run, when tables of
that shape are there, every place of the package that waits for the device or uploads to it is counted, and refused
unless it is listed below.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pretended_cuda
import pytest
import torch
from pretended_cuda import Pretence, on_device, pretending
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from scenarios import scenarios  # noqa: E402
from valid_calls import calls  # noqa: E402

SCENARIOS = scenarios()  # `benchmarks/cuda.py` plays them on a real one

# The most that a scenario may have of each.
ACCEPTED_WAITS = {
    "hosts/snntorch.py:<genexpr>: __float__": 2,  # the decays of each neuron, once when it is paired
    "hosts/replay.py:_require_elementwise: __bool__": 4,  # whether a neuron is elementwise, at its first two steps
    "record/choice.py:choose: to": 1,  # which synapses are kept, once when a record begins
}
ACCEPTED_UPLOADS = {
    "record/chosen_weights.py:of: to": 1,  # which synapses are kept, once for each record
    "feedback.py:_drawn: to": 1,  # the matrix of feedback, once for each layer below the readout
    "layers/edges.py:_at: to": 3,  # the lists of edges, once for each module
}


def both_ways(scenario: Callable[[str], list[Tensor]], tolerance: float = 1e-5) -> None:
    """The scenario gives on the device what it gives on the CPU, and only accepted places wait or upload."""
    expected = [tensor.clone() for tensor in scenario("cpu")]
    with pretending() as pretence:
        scenario("cuda")
        pretence.waits.clear()
        pretence.uploads.clear()
        found = scenario("cuda")
        waits, uploads = pretence.waits.copy(), pretence.uploads.copy()
        elsewhere = [number for number, tensor in enumerate(found) if not on_device(tensor)]
        numbers = [tensor.cpu() for tensor in found]
    assert not elsewhere, f"results {elsewhere} are not on the device"
    for number, (ours, theirs) in enumerate(zip(numbers, expected, strict=True)):
        assert ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance), f"result {number}"
    refuse(waits, ACCEPTED_WAITS, "waits for the device")
    refuse(uploads, ACCEPTED_UPLOADS, "uploads to the device")


def refuse(found: Counter[str], accepted: dict[str, int], what: str) -> None:
    new = [f"{place} ({count})" for place, count in sorted(found.items()) if count > accepted.get(place, 0)]
    assert not new, f"{what}: " + "; ".join(new)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_gives_the_same_on_a_device_and_nobody_waits(name):
    both_ways(*SCENARIOS[name])


# Rooms that may look at values in a call of their own: what they do is not done at every step of a network.
LOOKING = {
    "agents.py": "environments take their actions on the CPU",
    "affect/space.py": "names of feelings are words",
    "_checks.py": "numbers from elsewhere are copied where they are needed",
    "dual/": "a training step reads its loss; maps and nets are checked when they are built",
    "hosts/": "masks are looked at by `attach`; a dry run puts everything back",
    "layers/": "wiring is worked out on the CPU",
    "plasticity/_engine/clamp.py": "a clamp that might bind",
    "plasticity/_engine/stepping.py": "a clamp that might bind",
    "plasticity/input_checks.py": "where neurons lie in another layer is looked at once",
    "layers/edges.py": "wiring is worked out on the CPU",
    "kernels/window.py": "a curve is tabulated when it is built",
    "_saved.py": "what was saved is looked at whole",
    "record/": "what was kept is read on the CPU, when somebody asks",
    "explain/": "a weight is explained on the CPU",
}
MOVES = {
    "affect.AffectiveState.to",
    "loop.LoopState.to",
    "neuromodulation.NeuromodState.to",
}
ON_A_CPU = {"kernels.Rate.balance"}  # refused everywhere


@pytest.mark.filterwarnings("ignore")
def test_every_public_call_runs_where_everything_is_on_a_device():
    """The valid calls of `benchmarks/valid_calls.py`, their tensors on the device: none mixes devices, few look."""
    failed, looked = {}, Counter[str]()
    with pretending() as pretence, torch.device("cuda"):
        for name, build in calls().items():
            if name.startswith("plot.") or name in MOVES | ON_A_CPU:
                continue
            try:
                call = build()
                pretence.waits.clear()
                call.function(**call.arguments)
            except Exception as error:
                failed[name] = f"{type(error).__name__}: {error}"
            looked.update({f"{place}, by {name}": count for place, count in pretence.waits.items()})
    assert not failed
    assert not [place for place in looked if not place.startswith(tuple(LOOKING))]


# The pretence itself.


@pytest.fixture
def here(monkeypatch):
    """What this file does counts as the package's doing."""
    monkeypatch.setattr(pretended_cuda, "PACKAGE", str(Path(__file__)))


WAITS: dict[str, Callable[[Tensor], object]] = {
    "bool": lambda x: bool(x.sum() > 0),
    "float": lambda x: float(x.sum()),
    "int": lambda x: int(x.sum()),
    "item": lambda x: x.sum().item(),
    "tolist": lambda x: x.tolist(),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "equal": lambda x: torch.equal(x, x),
    "allclose": lambda x: torch.allclose(x, x),
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu"),
    "copy_": lambda x: torch.zeros(2, 3).copy_(x),
    "index by a tensor": lambda x: x[torch.zeros((), dtype=torch.long).to("cuda")],
    "unique": lambda x: x.unique(),
}
UPLOADS: dict[str, Callable[[Tensor], object]] = {
    "tensor": lambda x: torch.tensor(1.0, device="cuda"),
    "as_tensor": lambda x: torch.as_tensor([1.0], device=x.device),
    "to": lambda x: torch.ones(2).to("cuda"),
    "copy_": lambda x: x.copy_(torch.ones(2, 3)),
    "index on the CPU": lambda x: x[torch.tensor([0, 1])],
}
FREE: dict[str, Callable[[Tensor], object]] = {
    "full": lambda x: torch.full((), 2.0, device=x.device),
    "sums": lambda x: (x * 2.0 + torch.tensor(1.0)).sum(0).clamp_(-1.0, 1.0),
    "masked_fill": lambda x: x.masked_fill(x > 0, 0.0),
    "a number where a mask is": lambda x: x.__setitem__(x > 0, 0.0),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "views": lambda x: x[0, 1:].unsqueeze(0).T,
    "to the same": lambda x: x.to("cuda"),
    "zeros": lambda x: torch.zeros(3, device="cuda"),
    "shapes": lambda x: x.shape[0] + x.numel() + x.dim() + len(x),
}


def counted(work: Callable[[Tensor], object]) -> Pretence:
    with pretending() as pretence:
        x = torch.randn(2, 3).to("cuda")
        pretence.uploads.clear()
        work(x)
    return pretence


@pytest.mark.parametrize("work", WAITS.values(), ids=WAITS)
def test_a_wait_is_noticed(here, work):
    assert sum(counted(work).waits.values()) >= 1


@pytest.mark.parametrize("work", UPLOADS.values(), ids=UPLOADS)
def test_an_upload_is_noticed(here, work):
    assert sum(counted(work).uploads.values()) == 1


@pytest.mark.parametrize("work", FREE.values(), ids=FREE)
def test_what_costs_nothing_is_not(here, work):
    pretence = counted(work)
    assert not pretence.waits
    assert not pretence.uploads


def test_devices_do_not_mix(here):
    for work in (lambda x: x + torch.ones(3), lambda x: torch.cat((x, torch.ones(1, 3))), lambda x: x @ torch.ones(3)):
        with pytest.raises(RuntimeError, match="same device"):
            counted(work)
    with pytest.raises(TypeError, match="numpy"):
        counted(lambda x: x.numpy())


def test_a_new_wait_fails_the_test(here):
    """A scenario that looks is refused, with the place that looked."""

    def scenario(device: str) -> list[Tensor]:
        x = torch.ones(3).to(device)
        return [x * 2.0 if bool(x.any()) else x]

    with pytest.raises(AssertionError, match="waits for the device: :scenario: __bool__"):
        both_ways(scenario)


def test_a_result_left_on_the_cpu_fails_the_test():
    with pytest.raises(AssertionError, match="not on the device"):
        both_ways(lambda device: [torch.ones(3)])


def test_afterwards_nothing_is_left():
    with pretending():
        torch.zeros(2, device="cuda")
    assert torch.cuda.device_count() == 0 or torch.cuda.is_available()
    assert torch.zeros(2).is_cpu
    assert nn.Parameter(torch.zeros(2)).device.type == "cpu"
