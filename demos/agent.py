"""CartPole: an ordinary layer of neurons learns to balance a pole, from nothing but the news that it fell.

    what is seen ─► place cells ─► a plastic layer of two neurons ─► the actor chooses left or right     e, E
                         └───────► the critic: what is to be expected                                    V
    reward + γ V(next) − V = δ, which dopamine reports ─► every tagged synapse learns                    Δw = lr · δ · E

Four poles at a time, one network step for each of theirs; reward is −1 where a pole falls, else 0. The net is
snnTorch's or Norse's, through `attach`. Three ablations live the same life: `no_trace` (λ = 0: only the last choice is
credited), `noise` (dopamine is noise) and `raw_reward` (dopamine is the reward itself).

    python demos/agent.py --host norse --seeds 10 --json agent.json

Criterion: the mean of the last 50 of 300 episodes is at least 475 (of 500) in nine of ten seeds, and every ablation is
worse, over all episodes, by three standard errors of the difference. Else the exit code is 1.

After Frémaux, Sprekeler & Gerstner 2013 (place cells, an actor and a critic, and dopamine as the error of the critic).
"""

from __future__ import annotations

import argparse
from statistics import mean, stdev
from typing import Any

import torch
from command_line import Finding, Number, Word, close, settings
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

from snn_plasticity import (
    Actor,
    EligibilityConfig,
    EProp,
    PlasticityConfig,
    TDCritic,
    TDCriticConfig,
    ThreeFactorConfig,
    attach,
)
from snn_plasticity.agents import Environments
from snn_plasticity.plot import learning_curve
from snn_plasticity.plot.canvas import FAINT

HOSTS, ABLATIONS = ("snntorch", "norse"), ("no_trace", "noise", "raw_reward")
POLES, EPISODES, LAST, GOOD = 4, 300, 50, 475.0
GAMMA, LAMBDA, ACTOR_RATE, CRITIC_RATE, NOISE = 0.99, 0.8, 1.0, 0.1, 0.1
LEAK = 0.1  # of the membrane of either host, per step


class Places:
    """Place cells: eight grids over position, speed, angle and angular speed, each shifted; one cell of each fires."""

    bins, ends, grids = torch.tensor([4, 4, 8, 8]), torch.tensor([2.4, 3.0, 0.21, 3.5]), 8
    cells = grids * int(bins.prod())

    def __init__(self) -> None:
        grid = torch.arange(self.grids)
        self.shift = (grid.unsqueeze(1) * torch.tensor([1, 3, 5, 7]) % self.grids) / self.grids
        self.stride = torch.tensor([256, 64, 8, 1])
        self.first = grid * int(self.bins.prod())

    def __call__(self, seen: Tensor) -> Tensor:
        """(B, 4) -> spikes (B, cells)."""
        at = ((seen + self.ends) / (2 * self.ends)).clamp(0.0, 1.0) * (self.bins - 1)
        cell = torch.minimum((at.unsqueeze(1) + self.shift).long(), self.bins - 1)
        return torch.zeros(len(seen), self.cells).scatter_(1, (cell * self.stride).sum(2) + self.first, 1.0)


class Net(nn.Module):
    """From place cells to two neurons, one for each direction; it returns their membranes after one step."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.synapse, self.host = nn.Linear(Places.cells, 2, bias=False), host
        nn.init.zeros_(self.synapse.weight)
        if host == "snntorch":
            import snntorch

            self.neuron: nn.Module = snntorch.Leaky(beta=1.0 - LEAK)
        else:
            import norse.torch as norse
            from norse.torch.functional.lif_box import LIFBoxParameters

            out_of_reach = torch.as_tensor(1e3)  # a spike would reset the membrane that is read
            self.neuron = norse.LIFBoxCell(LIFBoxParameters(v_th=out_of_reach))

    @property
    def gain(self) -> float:
        """What a unit of current adds to the membrane."""
        return 1.0 if self.host == "snntorch" else LEAK

    def forward(self, places: Tensor) -> Tensor:
        """(B, cells) -> (B, 2)."""
        current = self.synapse(places)
        if self.host == "snntorch":
            return self.neuron(current, self.neuron.init_leaky())[1]
        return self.neuron(current)[1].v


def rule(net: Net) -> PlasticityConfig:
    """What a membrane was made of is its eligibility: its own filter of the input, with ψ = 1."""
    kernel = EProp(response=((net.gain, 1.0 - LEAK),))
    return PlasticityConfig(
        EligibilityConfig(kernel=kernel, tau_e=float("inf"), clamp_range=None),
        three_factor=ThreeFactorConfig(lr=ACTOR_RATE, weight_clamp=None),
    )


def told(condition: str, reward: Tensor, rng: torch.Generator, critic: dict[str, Any]) -> dict[str, Any]:
    """What the actor is told of a step: the reward, and what to measure it against."""
    if condition == "noise":
        return {"reward": NOISE * torch.randn(len(reward), generator=rng), "promise": 0.0}
    if condition == "raw_reward":
        return {"reward": reward, "promise": 0.0}
    return {"reward": reward, **critic}


@torch.no_grad()
def life(host: str, condition: str, seed: int, episodes: int, bar: tqdm | None = None) -> list[float]:
    """The lengths of the episodes of one agent, in the order in which they ended."""
    fade = 0.0 if condition == "no_trace" else LAMBDA
    places, net, rng = Places(), Net(host), torch.Generator().manual_seed(seed)
    learner = attach(net, rule(net), post=lambda call: torch.ones_like(call.spikes))
    critic = TDCritic(TDCriticConfig(Places.cells, GAMMA, fade, CRITIC_RATE, scope="batch"))
    actor = Actor(learner, temperature=net.gain, promise=critic, trace=GAMMA * fade, seed=seed)
    poles = Environments.make("CartPole-v1", POLES, seed=seed)
    here = places(poles.observation)
    while len(poles.returns) < episodes:
        before = len(poles.returns)
        step = poles.step(actor.act(net(here), features=here))
        next_features = places(step.next_observation)
        ends = {"terminated": step.terminated, "truncated": step.truncated}
        heard = told(condition, -step.terminated.float(), rng, {"next_features": next_features, **ends})
        actor.learn(**heard, valid=step.valid)
        if step.over.any():
            actor.reset(step.over)
        here = places(poles.observation)
        if bar is not None:
            bar.update(min(len(poles.returns), episodes) - before)
    return poles.returns[:episodes]


def worse(lives: list[list[float]], others: list[list[float]]) -> bool:
    """Whether others balance less, over all episodes, by three standard errors of the difference of the means."""
    ours, theirs = [mean(life) for life in lives], [mean(life) for life in others]
    errors = [stdev(each) ** 2 / len(each) if len(each) > 1 else 0.0 for each in (ours, theirs)]
    return mean(ours) - mean(theirs) > 3.0 * sum(errors) ** 0.5


def draw(found: dict[str, list[list[float]]], host: str) -> Figure:
    """Mean lengths in windows of 25 episodes, ± standard error over seeds."""
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    size = min(25, len(found["agent"][0]))
    curves = {name.replace("_", " "): torch.tensor(some).unfold(1, size, size).mean(2) for name, some in found.items()}
    at = (torch.arange(curves["agent"].shape[1]) + 0.5) * size
    ax = learning_curve(curves, figure.subplots(), x=at, xlabel="episode", ylabel="steps until the pole falls")
    ax.axhline(GOOD, color=FAINT, linewidth=0.8, linestyle=":")
    ax.set(title=f"CartPole-v1, {host} (dotted: solved)", ylim=(0, 510))
    return figure


def judge(found: dict[str, list[list[float]]]) -> dict[str, Finding]:
    """The agents against the criterion, and each ablation against them."""
    last = {name: [mean(one[-LAST:]) for one in lives] for name, lives in found.items()}
    good, agents = sum(value >= GOOD for value in last["agent"]), len(found["agent"])
    verdict = {}
    for name, values in last.items():
        measured = f"{mean(values):.1f} steps, of all {mean(map(mean, found[name])):.1f}"
        if name == "agent":
            expected, kept = f"{GOOD:g} in 9 of 10 agents", 10 * good >= 9 * agents
            measured = f"{good} of {agents} agents; {measured}"
        else:
            expected, kept = "less by 3 s.e.", worse(found["agent"], found[name])
        verdict[f"{name}, the last {LAST} episodes"] = Finding(measured, expected, kept)
    return verdict


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """What was asked for."""
    return settings(
        __doc__, argv, figure="agent", work=lambda args: (args.seeds + 0.3 * args.ablated) * args.episodes,
        host=Word("whose neurons", HOSTS), seeds=Number("how many agents", 3, 1),
        ablated=Number("agents of each ablation", 2), seed=Number("the first one"),
        episodes=Number("of each agent", EPISODES, 1),
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    args, found = arguments(argv), {}
    counts = {"agent": args.seeds, **dict.fromkeys(ABLATIONS, args.ablated)}
    with tqdm(total=sum(counts.values()) * args.episodes, unit="episode", disable=None) as bar:
        for name, count in counts.items():
            for seed in range(args.seed, args.seed + count):
                bar.set_description(f"{name} {seed}")
                found.setdefault(name, []).append(life(args.host, name, seed, args.episodes, bar))
    last = {name: [mean(one[-LAST:]) for one in lives] for name, lives in found.items()}
    numbers = {
        "last50": [round(value, 1) for value in last["agent"]],
        "ablations": {name: round(mean(last[name]), 1) for name in last if name != "agent"},
    }
    return close(args, judge(found), numbers, lambda: draw(found, args.host))


if __name__ == "__main__":
    raise SystemExit(main())
