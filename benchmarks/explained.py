"""Does `learner.explain` add up? Its rows against what a weight did: kernels × traces × paths × conventions, and hosts.

    python benchmarks/explained.py [--quick] [--whole] [--json PATH]

A few minutes: each kernel, trace and convention on the next of its paths. With --whole each is played on all of its
paths, with --quick one case of fifty.
"""

from __future__ import annotations

import itertools
import math
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import results
import torch
from command import parser
from every_convention import CONVENTIONS
from torch import Tensor, nn
from tqdm import tqdm

from snn_plasticity import (
    Connection,
    Convention,
    EligibilityConfig,
    EProp,
    PlasticityConfig,
    PlasticityLearner,
    ThreeFactorConfig,
    Window,
    attach,
)
from snn_plasticity.explain import Explanation
from snn_plasticity.kernels import Coincidence, Pair
from snn_plasticity.layers import SparseLinear

STEPS, SHORT, BATCH, WORST, QUICK = 14, 8, 3, 1e-6, 50
HEARD, ALL_FORGET, SOME_FORGET = (3, 7, 8, 13), 10, 5  # steps after which this happens
TRACES: dict[str, dict[str, Any]] = {
    "accumulating": {"trace_type": "accumulating"},
    "replacing": {"trace_type": "replacing"},
    "Dutch": {"trace_type": "dutch"},
    "Dutch, active synapses": {"trace_type": "dutch", "dutch_scope": "active"},
}
LINEAR = ("accumulating", "Dutch")


class Calcium:
    """A kernel of a user's own: f = post ⊗ x² − 0.1 (y ⊗ x), with a memory on both sides of the second product."""

    def init(self, pre: Tensor, post: Tensor) -> tuple[Tensor, Tensor]:
        """Silent traces."""
        return torch.zeros_like(pre), torch.zeros_like(post)

    def step(self, pre: Tensor, post: Tensor, state: Any, dt: float = 1.0) -> tuple[Coincidence, Any]:
        """Both traces with this step's spikes in them."""
        x, y = 0.8 * state[0] + pre, 0.7 * state[1] + post
        return Coincidence((Pair(post, x * x),), (Pair(0.1 * y, x),)), (x, y)


def hat(dt: float) -> float:
    """A curve with both signs on either side."""
    return (1.0 - (dt / 3.0) ** 2) * math.exp(-((dt / 3.0) ** 2) / 2.0) - 0.02 * dt


KERNELS: dict[str, Callable[[Convention], Any]] = {
    "rate": lambda _: "rate",
    "stdp_pair": lambda _: "stdp_pair",
    "stdp_symmetric": lambda _: "stdp_symmetric",
    "stdp_triplet": lambda _: "stdp_triplet",
    "Window": lambda convention: Window(hat, span=9.0, convention=convention),
    "EProp": lambda convention: EProp(tau_m=6.0, convention=convention),
    "own": lambda _: Calcium(),
}


def settings(kernel: str, trace: str, convention: Convention | None = None, **changes: Any) -> EligibilityConfig:
    """Constants that differ, so that none can be taken for another."""
    convention = convention or Convention()
    config = EligibilityConfig(
        kernel=KERNELS[kernel](convention), tau_e=15.0, stdp_tau_plus=7.0, stdp_tau_minus=11.0, a_plus=0.8, a_minus=1.1,
        stdp_tau_x=9.0, stdp_tau_y=13.0, a3_plus=0.6, a3_minus=0.4, dutch_alpha=0.3, clamp_range=None,
        convention=convention, **TRACES[trace],
    )  # fmt: skip
    return replace(config, **changes)


def trains(*shape: int, seed: int, rate: float = 0.3) -> Tensor:
    """Spikes by chance (T, B, ...)."""
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def number(step: int, batch: int) -> float:
    """One third factor for all."""
    return 0.5 - 0.1 * step


def each_sample(step: int, batch: int) -> Tensor:
    """One for each sample."""
    return torch.linspace(-1.0, 2.0, batch) + 0.1 * step


def drawn(*shape: int) -> Callable[[int, int], Tensor]:
    """One for each neuron or place."""
    return lambda step, batch: torch.randn(batch, *shape, generator=torch.Generator().manual_seed(step))


class Scene(NamedTuple):
    """A layer whose spikes are given, and how it learns."""

    layer: Callable[[], nn.Module]
    pre: Tensor
    post: Tensor
    index: tuple[int, ...]
    config: PlasticityConfig
    factor: Callable[[int, int], Any] = number
    path: str = "auto"
    mask: Tensor | None = None
    late: int = 0  # step at which the record begins
    reduce: Callable[[Tensor], Tensor] | None = None


def explained(scene: Scene) -> Explanation:
    """Play it, and ask why the weight moved."""
    torch.manual_seed(0)
    connection = Connection(
        "layer", scene.layer(), config=scene.config, path=scene.path, mask=scene.mask  # type: ignore[arg-type]
    )  # fmt: skip
    learner, batch = PlasticityLearner([connection], reduce=scene.reduce), scene.pre.shape[1]
    for step, (pre, post) in enumerate(zip(scene.pre, scene.post, strict=True)):
        if step == scene.late:
            learner.record(synapses={"layer": [scene.index]})
        connection.observe(pre, post)
        if step in HEARD:
            learner.step(scene.factor(step, batch))
        if step == SOME_FORGET and scene.path != "shared":
            learner.reset(torch.arange(batch) % 2 == 0)
        if step == ALL_FORGET:
            learner.reset()
    return learner.explain("layer", *scene.index)


def learns(eligibility: EligibilityConfig, **three_factor: Any) -> PlasticityConfig:
    """Δw of some hundredths."""
    return PlasticityConfig(
        eligibility, three_factor=ThreeFactorConfig(**{"lr": 0.02, "weight_clamp": None} | three_factor)
    )


MATRIX = Scene(
    partial(nn.Linear, 4, 3), trains(STEPS, BATCH, 4, seed=1), trains(STEPS, BATCH, 3, seed=2), (1, 2),
    learns(settings("rate", "accumulating")),
)  # fmt: skip


def paths_of(kernel: str, trace: str) -> tuple[str, ...]:
    """All paths that are legal."""
    ways = ("auto", "plain", "fold", "shared") if trace in LINEAR else ("auto", "plain", "rows")
    return (*ways, "torch", "compiled")


def matrix(*, whole: bool = False) -> Iterator[tuple[str, Scene]]:
    """Kernel × trace × convention, on all paths or each on the next one, over the first steps.

    In one of them samples forget, and after two of them the weight changes.
    """
    scene = MATRIX._replace(pre=MATRIX.pre[:SHORT], post=MATRIX.post[:SHORT])
    for kernel, trace, (number, convention) in itertools.product(KERNELS, TRACES, enumerate(CONVENTIONS)):
        paths = paths_of(kernel, trace)
        for path in paths if whole else (paths[(number + number // 4) % len(paths)],):
            config, played = learns(settings(kernel, trace, convention)), "all paths" if whole else "a path each"
            yield f"{kernel}: traces × conventions, {played}", scene._replace(config=config, path=path)


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "Linear": (partial(nn.Linear, 4, 3), (4,), (1, 2)),
    "Linear, positions": (partial(nn.Linear, 4, 3), (5, 4), (1, 2)),
    "Conv1d, stride, groups": (partial(nn.Conv1d, 4, 6, 3, stride=2, padding=1, groups=2), (4, 7), (3, 1, 2)),
    "Conv2d, dilation": (
        partial(nn.Conv2d, 2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (2, 6, 5), (2, 1, 1, 0),
    ),
    "Conv2d, circular": (partial(nn.Conv2d, 1, 2, 3, padding="same", padding_mode="circular"), (1, 4, 5), (1, 0, 2, 1)),
    "Conv3d": (partial(nn.Conv3d, 1, 2, 2, padding=1), (1, 3, 4, 3), (1, 0, 1, 0, 1)),
    "ConvTranspose2d": (partial(nn.ConvTranspose2d, 2, 3, 2, stride=2), (2, 3, 3), (1, 2, 0, 1)),
}  # fmt: skip


def layers() -> Iterator[tuple[str, Scene]]:
    """Layers × kernels, with one factor for all, for each channel, and for each place."""
    for (name, (make, size, index)), kernel in itertools.product(LAYERS.items(), KERNELS):
        pre = trains(STEPS, BATCH, *size, seed=1)
        post = trains(STEPS, *make()(pre[0]).shape, seed=2)
        scene = Scene(make, pre, post, index, learns(settings(kernel, "accumulating"), lr=0.002))
        yield name, scene
        channels = post.shape[-1] if name.startswith("Linear") else post.shape[2]
        if name != "ConvTranspose2d":
            yield f"{name}, factor per neuron", scene._replace(factor=drawn(channels))
        if name.startswith("Conv") and name != "ConvTranspose2d":
            for path in ("auto", "plain"):
                yield f"{name}, factor per place", scene._replace(factor=drawn(*post.shape[2:]), path=path)


def bounds(kernels: Iterable[str] = KERNELS, traces: Iterable[str] = TRACES) -> Iterator[tuple[str, Scene]]:
    """Clamps that bind, bounds, masks, frequencies, `reduce`, records that begin late."""
    half, none = torch.ones(3, 4), torch.ones(3, 4)
    half[1, 2], none[1, 2] = 0.5, 0.0
    three = {
        "weight_clamp": {"weight_clamp": (-0.001, 0.001)},
        "hard bounds": {"weight_bounds": (-0.02, 0.0)},
        "soft bounds": {"weight_bounds": (-1.0, 1.0), "soft_bounds": 1.0},
        "norm": {"weight_bounds": "norm"},
        "sums": {"weight_bounds": "sums"},
        "own bounds": {"weight_bounds": lambda weight, delta: 0.99 * (weight + delta)},
        "update_frequency": {"update_frequency": 2},
    }
    for kernel, (number, trace) in itertools.product(kernels, enumerate(traces)):
        lag = number % 2
        eligibility = settings(kernel, trace, Convention(lag=lag))
        here = MATRIX._replace(config=learns(eligibility))
        for name, given in three.items():
            yield name, MATRIX._replace(config=learns(eligibility, **given))
        yield "clamp_range", MATRIX._replace(config=learns(replace(eligibility, clamp_range=(-0.9, 0.7))))
        yield "mask", here._replace(mask=half)
        yield "mask of zero", here._replace(mask=none)
        yield "reduce", here._replace(reduce=lambda delta: 0.5 * delta + 1e-4)
        yield "factor per sample", here._replace(factor=each_sample)
        yield "factor per neuron", here._replace(factor=drawn(3))
        for late in (2, 6, 8):
            yield "record begins in mid-sequence", here._replace(late=late)


class SnnTorchNet(nn.Module):
    """A convolution, a pool, recurrent spikes and a readout."""

    def __init__(self) -> None:
        import snntorch as snn

        super().__init__()
        self.conv, self.pool, self.lif0 = nn.Conv2d(1, 3, 3, padding=1), nn.MaxPool2d(2), snn.Leaky(beta=0.8)
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.RLeaky(beta=0.9, linear_features=8)
        self.fc2, self.lif2 = nn.Linear(8, 4), snn.Leaky(beta=0.9)

    def forward(self, steps: Tensor) -> Tensor:
        """Spikes of the readout, (T, B, 4)."""
        spikes, voltage = self.lif1.init_rleaky()
        first, last, out = self.lif0.init_leaky(), self.lif2.init_leaky(), []
        for x in steps:
            seen, first = self.lif0(self.pool(self.conv(x)), first)
            spikes, voltage = self.lif1(self.fc1(seen.flatten(1)), spikes, voltage)
            fired, last = self.lif2(self.fc2(spikes), last)
            out.append(fired)
        return torch.stack(out)


class NorseNet(nn.Module):
    """Edges with delays, recurrent spikes and a readout."""

    def __init__(self) -> None:
        import norse.torch as norse

        super().__init__()
        low = norse.LIFParameters(v_th=torch.tensor(0.1))
        edges = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2, 4], [0, 1, 2, 3, 4, 5, 3, 4, 1]])
        self.fc1, self.lif1 = SparseLinear(6, 6, connectivity=edges, delays=2), norse.LIFCell(low)
        self.lif2, self.fc3, self.lif3 = norse.LIFRecurrentCell(6, 8, low), nn.Linear(8, 4), norse.LIFCell(low)

    def forward(self, steps: Tensor) -> Tensor:
        """Spikes of the readout, (T, B, 4)."""
        first = second = third = None
        out = []
        self.fc1.reset()
        for x in steps:
            spikes, first = self.lif1(self.fc1(x), first)
            spikes, second = self.lif2(spikes, second)
            spikes, third = self.lif3(self.fc3(spikes), third)
            out.append(spikes)
        return torch.stack(out)


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "snnTorch": (SnnTorchNet, (3, 8, 5, 1, 4, 4), 2.5), "Norse": (NorseNet, (2, 30, 5, 6), 1.0),
}  # fmt: skip


def of_net(host: str, eligibility: EligibilityConfig) -> Iterator[Explanation]:
    """Some synapses of every layer of a net."""
    make, shape, gain = NETS[host]
    torch.manual_seed(1)
    net = make()
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(gain)
            weight.abs_() if host == "Norse" else None
    inputs = trains(*shape, seed=5, rate=0.5)
    learner = attach(net, learns(eligibility, lr=2e-4), sample=inputs[0])
    record = learner.record()
    for episode, steps in enumerate(inputs):
        for part in (steps, steps.flip(0)):
            net(part)
            learner.step(0.3 + 0.2 * episode)
        learner.reset()
    for layer, indices in record.synapses.items():
        for index in indices[::3]:
            yield learner.explain(layer, *index)
    learner.remove()


def eligibilities(trace: str, convention: Convention) -> Iterator[tuple[str, EligibilityConfig]]:
    """The kernels for a net; e-prop with the memory of its very neurons."""
    for kernel in KERNELS:
        yield kernel, replace(settings(kernel, trace, convention), **({"kernel": "eprop"} if kernel == "EProp" else {}))


def nets() -> Iterator[tuple[str, partial[Iterator[Explanation]]]]:
    """Hosts × kernels × traces × conventions of simulators."""
    named = zip(TRACES, ("izhikevich2007", "florian2007", "nest", "inferno"), strict=True)
    for host, (trace, preset) in itertools.product(NETS, list(named)):
        for kernel, eligibility in eligibilities(trace, Convention.preset(preset)):
            yield f"{host}, {kernel}", partial(of_net, host, eligibility)


class Found(NamedTuple):
    """Of a group of cases: how many, how far weights moved, and how far the rows were from that."""

    cases: int
    moved: float
    worst: float


def play(every: int = 1, *, whole: bool = False) -> dict[str, Found]:
    """All groups, or one case of so many; `whole`: every kernel, trace and convention on all of its paths."""
    scenes = [
        (name, lambda scene=scene: [explained(scene)])
        for part in (partial(matrix, whole=whole), layers, bounds)
        for name, scene in part()
    ]
    cases: list[tuple[str, Callable[[], Any]]] = [*scenes, *nets()]
    found: dict[str, list[Explanation]] = {}
    for name, run in tqdm(cases[::every], desc="explained"):
        found.setdefault(name, []).extend(run())
    return {
        name: Found(len(each), statistics.median(abs(x.measured) for x in each), max(abs(x.difference) for x in each))
        for name, each in found.items()
    }


def page(found: dict[str, Found]) -> str:
    """The section of RESULTS.md."""
    rows = [(name, each.cases, f"{each.moved:.1e}", f"{each.worst:.1e}") for name, each in found.items()]
    worst = max(each.worst for each in found.values())
    total = sum(each.cases for each in found.values())
    return (
        "## The ledger adds up\n\n"
        "`learner.explain` lists the spike pairs behind a weight's change; here what its rows add up to is held "
        f"against what the weight did, in single precision. {total:,} changes; the worst difference is {worst:.1e}.\n\n"
        + results.table(("case", "changes", "median of absolute Δw", "worst difference"), rows)
        + f"\n\n{results.machine()}"
    )


def main() -> None:
    asked = parser(__doc__)
    asked.add_argument("--whole", action="store_true", help="every kernel, trace and convention on all of its paths")
    options = asked.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = play(QUICK if options.quick else 1, whole=options.whole)
    text = page(found)
    print(text)
    if not options.quick:
        results.write("explained", text)
    results.write_json(options.json, "explained", [{"case": name} | each._asdict() for name, each in found.items()])
    late = {name: each.worst for name, each in found.items() if each.worst > WORST}
    if late:
        raise SystemExit(f"do not add up to {WORST:g}: {late}")


if __name__ == "__main__":
    main()
