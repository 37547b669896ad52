"""What a step of the dual trainer costs beside the same step written by hand, on small nets.

    python benchmarks/dual_overhead.py [--quick] [--json PATH]

One net alone, B = 64, Adam, the same data: `trainer.step(batch)` against zero_grad, forward, loss, backward, step and
`loss.item()`, taking turns in blocks of steps, on one thread, in CPU time. The ledger, signals, history and the way
back from a step that diverges are part of the trainer's step; one step in 64 is looked at by the ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import results
import torch
from command import parser
from timing import cpu_seconds, in_turns, one_thread
from torch import Tensor, nn
from tqdm import tqdm

from snn_plasticity.dual import DualModelTrainer, OverTime, Trainee

BATCH, STEPS, BLOCK = 64, 8, 64
HEADER = ("net", "by hand, µs/step", "trainer.step", "ratio", "asked")
ASKED = "≤ 1.10×"
TEXT = """## Overhead of the dual trainer

One net alone, a step of `DualModelTrainer` and the same step by hand (zero_grad, forward from a fresh hidden state,
loss, backward, Adam, `loss.item()`), B = 64, blocks of 64 steps in turns. µs of CPU time per step. The two-layer
perceptron is the worst case: nothing in it takes longer than the calls around it.
"""


def snntorch_net() -> nn.Module:
    from snntorch import Leaky

    sizes = ((64, 16), (16, 16), (16, 10))
    return nn.Sequential(*(part for size in sizes for part in (nn.Linear(*size), Leaky(0.9, init_hidden=True))))


def norse_net() -> nn.Module:
    from norse.torch import LIFBoxCell, SequentialState

    sizes = ((64, 16), (16, 16), (16, 10))
    return SequentialState(*(part for size in sizes for part in (nn.Linear(*size), LIFBoxCell())))


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def run_snntorch(net: nn.Module, x: Tensor) -> Tensor:
    from snntorch import utils

    utils.reset(net)
    return torch.stack([net(x) for _ in range(STEPS)]).sum(0)


def run_norse(net: nn.Module, x: Tensor) -> Tensor:
    state, total = None, torch.zeros(())
    for _ in range(STEPS):
        output, state = net(x, state)
        total = total + output
    return total


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Tensor], Tensor], Any, tuple[int, int]]] = {
    "snnTorch 64–16–16–10, T = 8": (snntorch_net, run_snntorch, OverTime(STEPS), (64, 10)),
    "Norse 64–16–16–10, T = 8": (norse_net, run_norse, OverTime(STEPS), (64, 10)),
    "perceptron 6–8–2": (perceptron, lambda net, x: net(x), None, (6, 2)),
}


def by_hand(net: nn.Module, run: Callable[[nn.Module, Tensor], Tensor], batches: list[Any]) -> Callable[[], object]:
    optimizer, losses = torch.optim.Adam(net.parameters(), lr=1e-3), []

    def train() -> None:
        for x, y in batches:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(run(net, x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    return train


def by_trainer(net: nn.Module, run: Any, batches: list[Any]) -> Callable[[], object]:
    settings = {} if run is None else {"run": run}
    trainer = DualModelTrainer(Trainee(net, torch.optim.Adam(net.parameters(), lr=1e-3), **settings))

    def train() -> None:
        for batch in batches:
            trainer.step(batch)

    return train


def measure(name: str, rounds: int) -> dict[str, float]:
    """CPU seconds of a step, by hand and by the trainer."""
    build, run, over_time, (inputs, classes) = NETS[name]
    torch.manual_seed(0)
    batches = [(torch.rand(BATCH, inputs), torch.randint(classes, (BATCH,))) for _ in range(BLOCK)]
    nets = [build(), build()]
    nets[1].load_state_dict(nets[0].state_dict())
    runs = {"by hand": by_hand(nets[0], run, batches), "trainer": by_trainer(nets[1], over_time, batches)}
    times = in_turns({key: lambda play=play: cpu_seconds(play) for key, play in runs.items()}, rounds)
    if any(not torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True)):
        raise AssertionError(f"{name}: the two loops have not trained the same net")
    return {key: seconds / BLOCK for key, seconds in times.items()}


def line(name: str, times: dict[str, float]) -> list[str]:
    hand, trainer = times["by hand"], times["trainer"]
    return [name, results.micro(hand), results.micro(trainer), f"{trainer / hand:.2f}×", ASKED]


def main() -> None:
    options = parser(__doc__).parse_args()
    one_thread()
    measured = {name: measure(name, 5 if options.quick else 21) for name in tqdm(NETS, desc="dual_overhead")}
    rows = [line(name, times) for name, times in measured.items()]
    text = "\n\n".join([TEXT.strip(), results.machine(), results.table(HEADER, rows)])
    print(text)
    if not options.quick:
        results.write("dual_overhead", text)
    results.write_json(options.json, "dual_overhead", [{"net": name, **times} for name, times in measured.items()])


if __name__ == "__main__":
    main()
