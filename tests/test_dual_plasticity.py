"""Three-factor plasticity in two nets: eligibility goes where its synapse goes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from test_dual_nets import batches, bits, same, seeded, trainee
from torch import nn

from snn_plasticity import (
    Coincidence,
    Convention,
    EligibilityConfig,
    Pair,
    PlasticityConfig,
    ThreeFactorConfig,
    Window,
    attach,
)
from snn_plasticity.dual import Always, Diverged, DualModelTrainer, Every, Never, PlasticTrainee, WeightsMap, widen


@dataclass(frozen=True)
class Delayed:
    """Pre spikes meet post spikes two steps later; its delay line is (2, B, N_pre), newest first."""

    def init(self, pre, post):
        return pre.new_zeros(2, *pre.shape)

    def step(self, pre, post, state, dt=1.0):
        return Coincidence((Pair(post, state[1]),)), torch.stack([pre, state[0]])


@dataclass(frozen=True)
class Clocked:
    """Pairs count more from step to step: it keeps a number for all, and a trace for each synapse beside."""

    def init(self, pre, post):
        return torch.zeros(()), post.new_zeros(len(pre), post.shape[1], pre.shape[1]), 0

    def step(self, pre, post, state, dt=1.0):
        clock, each, count = state
        size = 1.0 + 0.1 * clock + 0.1 * count + 0.05 * each.sum(-1)
        each = 0.5 * each + post.unsqueeze(-1) * pre.unsqueeze(-2)
        return Coincidence((Pair(size * post, pre),)), (clock + 1.0, each, count + 1)


def bump(delta: float) -> float:
    return math.exp(-abs(delta) / 2.0) * (1.0 if delta >= 0 else -0.5)


KERNELS = ("rate", "stdp_pair", "stdp_triplet", Window(bump, span=3.0), Delayed(), Clocked())


def config(kernel: str, lag: int = 0, lr: float = 0.05) -> PlasticityConfig:
    eligibility = EligibilityConfig(kernel=kernel, carry=True, convention=Convention(lag=lag), clamp_range=None)
    return PlasticityConfig(eligibility=eligibility, three_factor=ThreeFactorConfig(lr=lr))


def build(hidden: int = 3) -> nn.Module:
    from snntorch import Leaky

    layers = nn.Linear(4, hidden), nn.Linear(hidden, 2)
    for layer in layers:
        nn.init.uniform_(layer.weight, 0.0, 0.3)
    neurons = (Leaky(0.9, threshold=threshold, init_hidden=True) for threshold in (0.5, 0.3))
    return nn.Sequential(*(part for pair in zip(layers, neurons, strict=True) for part in pair))


def teach(model, learner, batch) -> float:
    x, y = batch
    counts = sum(model(x) for _ in range(3))
    wrong = (counts.argmax(1) != y).float()
    learner.step(0.5 - wrong)
    return float(wrong.mean())


def plastic(
    model: nn.Module, kernel: str = "rate", lag: int = 0, path: str = "auto", lr: float = 0.05
) -> PlasticTrainee:
    return PlasticTrainee(model, attach(model, config(kernel, lag, lr), path=path, pre=lambda x: x), teach)


@pytest.mark.parametrize("path", ["auto", "plain", "fold"])
@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_switch_to_the_identical_net_and_back_is_no_switch(kernel, lag, path) -> None:
    """Traces, spike traces and weights as if one net had learned all along."""
    alone = plastic(seeded(build), kernel, lag, path)
    losses = [alone.train(batch) for batch in batches(8)]
    pair = [plastic(seeded(build), kernel, lag, path) for _ in range(2)]
    trainer = DualModelTrainer(*pair, WeightsMap.identity(pair[0].model), Every(3))
    report = trainer.fit(batches(8), 1, progress=False)
    assert 0 < report.share < 1 and report.history.losses == losses
    for name, value in alone.model.state_dict().items():
        assert torch.allclose(value, pair[0].model.state_dict()[name], atol=1e-6), name
    for mine, other in zip(alone.learner.connections.values(), pair[0].learner.connections.values(), strict=True):
        assert mine.eligibility.abs().sum() > 0
        assert torch.allclose(mine.eligibility, other.eligibility, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("place", ["first", "spread"])
@pytest.mark.filterwarnings("ignore:.*the learning rate is 0")  # the weights stay as they are, to look at traces alone
def test_up_and_down_moves_shared_eligibility_and_leaves_extensions(kernel, place) -> None:
    base = seeded(build)
    large, weights = widen(base, 2, place=place)
    small, big = plastic(base, kernel, lr=0.0), plastic(large, kernel, lr=0.0)
    data = batches(2)
    big.train(data[0])
    kept = {n: c.eligibility.clone() for n, c in big.learner.connections.items()}
    small.train(data[1])
    mine = {n: c.eligibility.clone() for n, c in small.learner.connections.items()}
    pair = DualModelTrainer(small, big, weights).pair
    assert pair is not None
    pair.up()
    for name, connection in big.learner.connections.items():
        rows, cols = (torch.tensor(list(axis)) for axis in weights.slots[f"{name}.weight"].axes or (range(3), range(4)))
        shared = connection.eligibility[:, rows][:, :, cols]
        assert torch.equal(shared, mine[name])
        mask = torch.ones_like(connection.eligibility, dtype=torch.bool)
        mask[:, rows[:, None], cols] = False
        assert torch.equal(connection.eligibility[mask], kept[name][mask]) and mask.any()
    pair.down()
    for name, connection in small.learner.connections.items():
        assert torch.equal(connection.eligibility, mine[name]) and connection.eligibility.abs().sum() > 0


def test_without_a_trace_below_there_is_none_above() -> None:
    base = seeded(build)
    large, weights = widen(base, 2)
    small, big = plastic(base), plastic(large)
    big.train(batches()[0])
    pair = DualModelTrainer(small, big, weights).pair
    assert pair is not None
    pair.up()
    assert all(c.eligibility is None for c in big.learner.connections.values())


def test_never_is_the_base_alone_and_always_trains_both_deterministically() -> None:
    alone = plastic(seeded(build))
    losses = [alone.train(batch) for batch in batches(6)]
    ends = []
    for condition in (Never(), Always(), Always()):
        base = seeded(build)
        large, weights = widen(base, 2)
        report = DualModelTrainer(plastic(base), plastic(large), weights, condition).fit(batches(6), 1, progress=False)
        ends.append((report.history.losses, bits(base)))
    assert ends[0][0] == losses and same(ends[0][1], bits(alone.model))
    assert ends[1][0] == ends[2][0] and same(ends[1][1], ends[2][1])
    assert not same(ends[1][1], ends[0][1])


def test_resumed_with_its_eligibility(tmp_path) -> None:
    def trainer() -> DualModelTrainer:
        base = seeded(build)
        large, weights = widen(base, 2)
        return DualModelTrainer(plastic(base, "stdp_pair"), plastic(large, "stdp_pair"), weights, Every(2))

    whole, first, second = trainer(), trainer(), trainer()
    whole.fit(batches(7), 1, progress=False)
    first.fit(batches(7), 1, progress=False, max_steps=4)
    first.save(tmp_path / "run.pt")
    second.load(tmp_path / "run.pt")
    second.fit(batches(7), 1, progress=False)
    for a, b in zip(whole.nets, second.nets, strict=True):
        assert same(bits(a.model), bits(b.model))
        for x, y in zip(a.learner.connections.values(), b.learner.connections.values(), strict=True):
            assert torch.equal(x.eligibility, y.eligibility)


def test_validation_is_not_overheard_and_gradients_do_not_mix() -> None:
    net = plastic(seeded(build))
    net.train(batches()[0])
    before = [c.eligibility.clone() for c in net.learner.connections.values()]
    score = net.evaluate(batches(2, 4))
    assert all(torch.equal(a, c.eligibility) for a, c in zip(before, net.learner.connections.values(), strict=True))
    assert 0.0 <= score.accuracy <= 1.0
    base = seeded(build)
    large, weights = widen(base, 2)
    with pytest.raises(ValueError, match="One net learns by plasticity"):
        DualModelTrainer(plastic(base), trainee(large), weights)
    wrong = PlasticTrainee(base, attach(base, config("rate"), pre=lambda x: x), lambda m, learner, b: math.nan)
    with pytest.raises(Diverged, match="Batch 0 of epoch 0"):
        DualModelTrainer(wrong).step(batches()[0])


@pytest.mark.parametrize("kernel", (Window(bump, span=3.0), Delayed(), Clocked()))
def test_what_a_kernel_remembers_of_shared_neurons_goes_with_them(kernel) -> None:
    """In a large net whose extension has never fired, shared synapses go on as if one net had learned all along."""
    base = seeded(build)
    large, weights = widen(base, 2)
    small, big = plastic(base, kernel, lr=0.0), plastic(large, kernel, lr=0.0)
    alone = plastic(seeded(build), kernel, lr=0.0)
    pair = DualModelTrainer(small, big, weights).pair
    assert pair is not None
    generator = torch.Generator().manual_seed(5)
    for t in range(12):
        net, other = ((small, big), (big, small))[t // 3 % 2]
        if t and t % 3 == 0:
            pair.up() if net is big else pair.down()
        for name, connection in alone.learner.connections.items():
            pre, post = ((torch.rand(4, n, generator=generator) < 0.5).float() for n in connection.weight.shape[::-1])
            connection.observe(pre, post)
            mine = net.learner.connections[name]
            sides = []
            for train, axis in ((post, 0), (pre, 1)):
                wide = torch.zeros(4, mine.weight.shape[axis])
                axes = weights.slots[f"{name}.weight"].axes
                rows = list(axes[axis]) if net is big and axes else range(train.shape[1])
                wide[:, list(rows)] = train
                sides.append(wide)
            mine.observe(sides[1], sides[0])
    if net is big:
        pair.down()
    for name, connection in alone.learner.connections.items():
        assert connection.eligibility.abs().sum() > 0
        assert torch.allclose(connection.eligibility, small.learner.connections[name].eligibility, atol=1e-5), name


def test_eligibility_of_another_kernel_is_refused_before_anything_moves() -> None:
    base = seeded(build)
    large, weights = widen(base, 2)
    small, big = plastic(base, "stdp_pair"), plastic(large, Window(bump, span=3.0))
    trainer = DualModelTrainer(small, big, weights, Always())
    small.train(batches()[0])
    before, kept = bits(base), {n: c.eligibility.clone() for n, c in small.learner.connections.items()}
    with pytest.raises(ValueError, match="kernel was 'stdp_pair' and is .*Window"):
        trainer.step(batches()[0])
    assert same(before, bits(base))
    assert all(torch.equal(kept[n], c.eligibility) for n, c in small.learner.connections.items())


def test_each_batch_of_an_evaluation_starts_from_a_fresh_hidden_state() -> None:
    """Neither training nor an earlier batch, here one of another size, leaves membranes behind."""
    net = plastic(seeded(build), lr=0.05)
    data = batches(3)
    net.train(data[0])
    (x, y), weights = (torch.cat(part) for part in zip(*data[1:], strict=True)), net.model.state_dict()
    fresh = seeded(build)
    fresh.load_state_dict({name: value for name, value in weights.items() if name in fresh.state_dict()})
    output = fresh.eval()(x)
    score = net.evaluate([*data[1:], (x, y)])
    assert score.loss == pytest.approx(nn.functional.cross_entropy(output, y).item(), rel=1e-5)
    assert score.accuracy == pytest.approx(float((output.argmax(1) == y).float().mean()))


@dataclass(frozen=True)
class Shapes:
    """A kernel that keeps one of everything: of neurons in odd places, of samples, of nobody, and how many they are."""

    def init(self, pre, post):
        return {
            "pre first": pre.new_zeros(pre.shape[1], len(pre)),
            "no batch": post.new_zeros(post.shape[1]),
            "sample": pre.new_zeros(len(pre)),
            "clock": torch.zeros(()),
            "steps": 0,
            "pre neurons": pre.shape[1],
            "share": torch.tensor(1.0 / post.shape[1]),
            "name": "shapes",
        }

    def step(self, pre, post, state, dt=1.0):
        after = {
            **state,
            "pre first": 0.5 * state["pre first"] + pre.T,
            "no batch": 0.5 * state["no batch"] + post.mean(0) + 1.0,
            "sample": state["sample"] + 1.0 + pre.mean(1),
            "clock": state["clock"] + 1.0,
            "steps": state["steps"] + 1,
        }
        return Coincidence((Pair(post * (1.0 + state["no batch"]) / state["pre neurons"], pre),)), after


@pytest.mark.filterwarnings("ignore:.*the learning rate is 0")
def test_of_a_kernel_of_ones_own_units_are_carried_and_what_is_nobodys_as_it_is() -> None:
    base = seeded(build)
    large, weights = widen(base, 2, place="spread")
    small, big = plastic(base, Shapes(), lr=0.0), plastic(large, Shapes(), lr=0.0)
    for data in batches(2):
        small.train(data)
    big.train(batches(3)[2])
    pair = DualModelTrainer(small, big, weights).pair
    assert pair is not None

    def held(trainee: PlasticTrainee, name: str) -> dict:
        connection = trainee.learner.connections[name]
        assert connection.eligibility is not None  # steps that wait are worked in
        return dict(connection.traces._running.state.kernel)

    before = {name: (held(small, name), held(big, name)) for name in ("0", "2")}
    pair.up()
    for name, (mine, other) in before.items():
        now, axes = held(big, name), weights.slots[f"{name}.weight"].axes
        post, pre = (list(axis) for axis in (axes or (range(len(mine["no batch"])), range(len(mine["pre first"])))))
        for part, units in (("pre first", pre), ("no batch", post)):
            new = [k for k in range(len(other[part])) if k not in units]
            assert torch.equal(now[part][units], mine[part]) and torch.equal(now[part][new], other[part][new])
        assert torch.equal(now["sample"], mine["sample"]) and now["clock"] == mine["clock"] == 6.0
        assert now["steps"] == 6 and now["name"] == "shapes"
        assert now["pre neurons"] == len(now["pre first"]) and now["share"] == 1.0 / len(now["no batch"])
    pair.down()
    for name, (mine, _) in before.items():
        back = held(small, name)
        assert all(torch.equal(torch.as_tensor(back[k]), torch.as_tensor(mine[k])) for k in mine if k != "name")


class Joined(Shapes):
    def init(self, pre, post):
        return pre.new_zeros(len(pre), pre.shape[1] + post.shape[1])

    def step(self, pre, post, state, dt=1.0):
        return Coincidence((Pair(post, pre),)), state + 1.0


class Growing(Joined):
    def init(self, pre, post):
        return pre.new_zeros(0, *pre.shape)

    def step(self, pre, post, state, dt=1.0):
        return Coincidence((Pair(post, pre),)), torch.cat([state, pre[None]])


@pytest.mark.parametrize(("kernel", "said"), [(Joined(), "an axis of their own"), (Growing(), "of a single neuron")])
def test_a_state_that_does_not_tell_whose_it_is_is_refused_and_nothing_changes(kernel, said) -> None:
    base = seeded(build)
    large, weights = widen(base, 2)
    trainer = DualModelTrainer(plastic(base, kernel), plastic(large, kernel), weights, Every(2))
    first, second, third = batches(3)
    trainer.step(first)
    before = bits(trainer.base.model), bits(trainer.motivated.model)
    with pytest.raises(ValueError, match=said):
        trainer.step(second)
    assert same(before[0], bits(trainer.base.model)) and same(before[1], bits(trainer.motivated.model))
    assert trainer.report.history.step == 1
