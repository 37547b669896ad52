"""A reward at every step: 2 × (Linear, neurons) of snnTorch and of Norse, the weights current after every step.

    python benchmarks/closed_loop.py [--quick] [--json PATH] [--host HOST]

The same network bare, with pair STDP written into the loop by hand (in place), and attached, with every preset: once
with `step(reward=...)`, so that the gate has its say, once with `step(factor)`. One thread, CPU time, taking turns,
medians. Before anything is timed, the weights that the loop by hand and the attached one come to are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import by_hand
import results
import shown
import small_nets
import torch
from command import parser
from effort import FULL, QUICK, Effort, difference, disagreeing
from small_nets import Net
from timing import cpu_seconds, in_turns, one_thread
from torch import Tensor
from tqdm import tqdm

from snn_plasticity import PlasticityConfig, PlasticityLearner, attach

SMALL = 1e-6  # what a coincidence changes when it is timed: weights and rates stay near where they were
CHECKED, LARGE = 48, 1e-4  # and when weights are compared, after so many steps
HEADER = (
    "network", "neurons", "rule", "bare, µs/step", "by hand", "ratio", "reward", "ratio", "factor", "ratio",
    "asked: reward", "factor",
)  # fmt: skip
TEXT = """## Closed loop

Networks of 2 × (Linear, neurons), input at 30 %, one call and one `learner.step` for each step, a reward for each
sample: µs of CPU time per step of the whole batch, forward pass included, and how many times the bare network that is.
*By hand*: pair STDP with traces, e and weights written in place into the same loop, its reward taken as it is, no
clamp. *Reward*: `step(reward=...)`. *Factor*: `step(factor)`, past the gate. *Asked*: the most that it may be, and
the aim. `lr_scale` makes the changes so small that all of them see the same spikes from beginning to end.
"""


class Size(NamedTuple):
    """Neurons of a layer, samples, and what is asked of a reward and of a factor at every step."""

    neurons: int
    batch: int
    reward: str = ""
    factor: str = ""

    def __str__(self) -> str:
        return f"{self.neurons} B{self.batch}"


SIZES = (
    Size(32, 1),
    Size(100, 1, "≤ 2× (aim 1.4×)", "≤ 1.7× (aim 1.4×)"),
    Size(100, 32, "≤ 2.8× (aim 2.1×)"),
    Size(500, 16, "≤ 9× (aim 7×)"),
)


class Loop:
    """A contestant: from rest, with the weights of the beginning, for as many steps as fill a turn.

    Args:
        net: the network. step: what is done with the spikes of a step and its rewards.
        restart: what else begins anew.
    """

    def __init__(
        self, net: Net, size: Size, step: Callable[[Tensor, Tensor], object], restart: Callable[[], object]
    ) -> None:
        self.net, self.step, self.begin = net, step, restart
        self.given = list(zip(*small_nets.inputs(size.neurons, size.batch), strict=True))
        self.weights = [linear.weight for linear in small_nets.linears(net)]
        self.first = [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def play(self, steps: int) -> float:
        """CPU seconds per step of so many steps."""
        self.restart()
        return cpu_seconds(lambda: self._play(steps)) / steps

    @torch.no_grad()
    def change(self, steps: int) -> Tensor:
        """What the weights of both layers have become after so many steps, minus what they were."""
        self.restart()
        self._play(steps)
        return torch.cat([(now - first).flatten() for now, first in zip(self.weights, self.first, strict=True)])

    def restart(self) -> None:
        """Everything as in the beginning."""
        for weight, first in zip(self.weights, self.first, strict=True):
            weight.data.copy_(first)
        self.net.restart()
        self.begin()

    def _play(self, steps: int) -> None:
        for at in range(steps):
            self.step(*self.given[at % len(self.given)])


def bare(host: str, size: Size) -> Loop:
    """The network alone."""
    net = small_nets.network(host, size.neurons)
    return Loop(net, size, lambda pre, reward: net.step(pre), lambda: None)


def hand(host: str, size: Size, moved: float = SMALL) -> Loop:
    """Learning as lines of the loop."""
    net = small_nets.network(host, size.neurons)
    rules = by_hand.on_layers(small_nets.linears(net), size.batch, moved / by_hand.A_PLUS)

    def step(pre: Tensor, reward: Tensor) -> None:
        by_hand.learn(rules, [pre, *net.layers(pre)], reward)

    return Loop(net, size, step, lambda: [rule.reset() for rule in rules])


def ours(host: str, size: Size, config: PlasticityConfig, *, gated: bool, moved: float = SMALL) -> Loop:
    """Attached; the learner is told at every step."""
    net = small_nets.network(host, size.neurons)
    learner: PlasticityLearner = attach(net.model, config)
    learner.lr_scale = moved / (config.three_factor.lr * config.eligibility.a_plus)

    def rewarded(pre: Tensor, reward: Tensor) -> None:
        net.step(pre)
        learner.step(reward=reward)

    def told(pre: Tensor, reward: Tensor) -> None:
        net.step(pre)
        learner.step(reward)

    return Loop(net, size, rewarded if gated else told, lambda: learner.reset(scope="all"))


def rules() -> dict[str, PlasticityConfig]:
    """The rule of the loop by hand, then every preset."""
    return {shown.PAIR: shown.pair()} | shown.presets()


def agreement(host: str, size: Size) -> float:
    """How far the weights of the loop by hand and of the attached one differ, over the largest change."""
    own = ours(host, size, shown.pair(), gated=False, moved=LARGE).change(CHECKED)
    return difference(own.numpy(), hand(host, size, LARGE).change(CHECKED).numpy())


def measure(host: str, size: Size, effort: Effort) -> dict[str, float]:
    """CPU seconds per step of every contestant."""
    loops = {"bare": bare(host, size), "by hand": hand(host, size)}
    for name, config in rules().items():
        loops[f"{name} reward"] = ours(host, size, config, gated=True)
        loops[f"{name} factor"] = ours(host, size, config, gated=False)
    turns: dict[str, Callable[[], float]] = {}
    for name, loop in loops.items():
        loop.play(8)  # what is done once is done: shapes seen, loops compiled
        steps = max(16, round(effort.seconds / loop.play(16)))
        turns[name] = lambda loop=loop, steps=steps: loop.play(steps)
    return in_turns(turns, effort.rounds)


def lines(host: str, size: Size, times: dict[str, float]) -> list[list[str]]:
    """A row for each rule."""

    def cells(name: str) -> list[str]:
        return [results.micro(times[name]), f"{times[name] / times['bare']:.2f}×"]

    known = [results.micro(times["bare"]), *cells("by hand")]
    return [
        [host, str(size), name, *known, *cells(f"{name} reward"), *cells(f"{name} factor"), size.reward, size.factor]
        for name in rules()
    ]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--host", choices=small_nets.HOSTS, help="one of them; RESULTS.md is left as it is")
    options = arguments.parse_args()
    one_thread()
    effort = QUICK if options.quick else FULL
    hosts = [options.host] if options.host else list(small_nets.HOSTS)
    sizes = SIZES[1:3] if options.quick else SIZES
    cases = [(host, size) for host in hosts for size in sizes]
    found = {f"{host} {size}": agreement(host, size) for host, size in cases}
    measured = {case: measure(*case, effort) for case in tqdm(cases, desc="closed loop")}
    rows = [row for (host, size), times in measured.items() for row in lines(host, size, times)]
    agreed = f"The loop by hand and the attached one agree to {max(found.values()):.0e} after {CHECKED} steps."
    text = "\n\n".join([TEXT.strip(), results.machine(), results.table(HEADER, rows), agreed, _rates(hosts)])
    print(text)
    if not (options.quick or options.host):
        results.write("closed_loop", text)
    flat = [{"host": host, "size": str(size), "seconds": times} for (host, size), times in measured.items()]
    results.write_json(options.json, "closed_loop", flat)
    wrong = disagreeing(found.items())
    if wrong:
        raise SystemExit("These disagree, so that their ratios mean nothing: " + "; ".join(wrong))


def _rates(hosts: list[str]) -> str:
    """How often the layers fire."""
    said = (
        f"{first:.1%} and {second:.1%} in {host}" for host in hosts for first, second in [small_nets.rates(host, 100)]
    )
    return f"Of 100 neurons in the first and the second layer fire {', '.join(said)}."


if __name__ == "__main__":
    main()
