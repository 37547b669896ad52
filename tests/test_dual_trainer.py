"""The trainer: equal to training by hand where it must be, and nothing moves that takes no part."""

from __future__ import annotations

import math

import pytest
import torch
from test_dual_nets import (
    OPTIMIZERS,
    RUN,
    batches,
    bits,
    by_hand,
    norse_net,
    same,
    seeded,
    snntorch_net,
    trainee,
)
from torch import nn

from snn_plasticity.dual import (
    Always,
    BaseToo,
    Curiosity,
    Distill,
    Diverged,
    DualModelTrainer,
    EarlyStopping,
    Every,
    LossDecrease,
    Never,
    OverTime,
    RandomActivation,
    Sandwich,
    Seeking,
    Trainee,
    WeightsMap,
    replay,
    widen,
)
from snn_plasticity.dual.over_time import model_output


def two(condition=None, optimizer: str = "adam", build=snntorch_net, **settings) -> DualModelTrainer:
    base = seeded(build)
    motivated, weights = widen(base, 2, place="spread")
    return DualModelTrainer(trainee(base, optimizer), trainee(motivated, optimizer), weights, condition, **settings)


@pytest.mark.parametrize("build", [snntorch_net, norse_net])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_never_is_plain_training_of_the_base(build, optimizer) -> None:
    trainer, data, plain = two(Never(), optimizer, build), batches(), seeded(build)
    report = trainer.fit(data, 2, progress=False, validation=batches(2, 1))
    assert report.history.losses == by_hand(plain, data, 2, optimizer)
    assert same(bits(plain), bits(trainer.base.model))


@pytest.mark.parametrize("build", [snntorch_net, norse_net])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_always_with_the_identity_is_plain_training_of_the_large_net(build, optimizer) -> None:
    one, other, plain, data = (*(seeded(build) for _ in range(3)), batches())
    trainer = DualModelTrainer(trainee(one, optimizer), trainee(other, optimizer), WeightsMap.identity(one), Always())
    report = trainer.fit(data, 2, progress=False, validation=batches(2, 1))
    assert report.history.losses == by_hand(plain, data, 2, optimizer)
    assert same(bits(plain), bits(one)) and same(bits(plain), bits(other))


def test_one_net_alone_trains_the_plain_way() -> None:
    net, plain, data = seeded(snntorch_net), seeded(snntorch_net), batches()
    DualModelTrainer(trainee(net)).fit(data, 2, progress=False)
    by_hand(plain, data, 2)
    assert same(bits(plain), bits(net))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_takes_no_part_does_not_move(optimizer) -> None:
    """Neither extensions on base steps (weights, momentum, decay), nor the base's optimizer on motivated ones."""
    trainer = two(Every(3), optimizer)
    assert trainer.motivated is not None
    for batch in batches(9):
        large, state = bits(trainer.motivated.model), trainer.motivated.state_dict()["optimizer"]["state"]
        state = {k: {n: torch.as_tensor(v).clone() for n, v in s.items()} for k, s in state.items()}
        small = {k: {n: torch.as_tensor(v).clone() for n, v in s.items()}
                 for k, s in trainer.base.state_dict()["optimizer"]["state"].items()}  # fmt: skip
        if trainer.step(batch).motivated:
            now, kept = trainer.base.state_dict()["optimizer"]["state"], small
        else:
            assert same(large, bits(trainer.motivated.model))
            now, kept = trainer.motivated.state_dict()["optimizer"]["state"], state
        assert all(same(kept[k], {n: torch.as_tensor(v) for n, v in now[k].items()}) for k in kept)


def test_after_every_step_the_base_holds_the_shared_part() -> None:
    trainer = two(Every(2))
    for batch in batches(6):
        done = trainer.step(batch)
        assert trainer.pair is not None
        equal = all(torch.equal(a, b[i]) for a, b, i in trainer.pair.shared())
        assert equal is done.motivated
    base, motivated = trainer.finalize()
    assert motivated is not None and all(torch.equal(a, b[i]) for a, b, i in trainer.pair.shared())
    fresh = snntorch_net(6)
    fresh.load_state_dict(motivated.state_dict())  # a plain module again
    assert torch.equal(RUN(fresh.eval(), batches()[0][0]), RUN(motivated, batches()[0][0]))
    assert not any(len(m._forward_hooks) for net in (base, motivated) for m in net.modules())


def test_a_motivated_step_is_copy_up_train_copy_down() -> None:
    trainer, (batch, *_) = two(Always()), batches()
    base = seeded(snntorch_net)
    large, weights = widen(base, 2, place="spread")
    weights.copy_up(base, large)
    by_hand(large, [batch], 1)
    weights.copy_down(base, large)
    trainer.step(batch)
    assert same(bits(base), bits(trainer.base.model)) and same(bits(large), bits(trainer.nets[1].model))


def test_train_base_too_is_a_base_step_and_then_a_motivated_one() -> None:
    trainer, (batch, *_) = two(Always(), train_base_too=True), batches()
    base = seeded(snntorch_net)
    large, weights = widen(base, 2, place="spread")
    losses = by_hand(base, [batch], 1)
    weights.copy_up(base, large)
    by_hand(large, [batch], 1)
    weights.copy_down(base, large)
    assert [trainer.step(batch).loss] == losses
    assert same(bits(base), bits(trainer.base.model)) and same(bits(large), bits(trainer.nets[1].model))


def test_a_sandwich_follows_the_sum_of_two_gradients() -> None:
    """With plain SGD, the motivated step's change is that of either net alone, added up."""

    def change(coupling, net: int) -> torch.Tensor:
        base = seeded(lambda: snntorch_net(norm=False))
        large, weights = widen(base, 2)
        nets = [Trainee(n, torch.optim.SGD(n.parameters(), lr=0.1), run=RUN) for n in (base, large)]
        before = [base[0].weight.detach().clone(), large[0].weight.detach().clone()]
        condition = Always() if net else Never()
        DualModelTrainer(*nets, weights, condition, coupling=coupling).step(batches()[0])
        return (large if net else base)[0].weight.detach() - before[net]

    both, alone, small = change(Sandwich(0.5), 1), change(None, 1), change(None, 0)
    alone[:3] += 0.5 * small
    assert torch.allclose(both, alone, atol=1e-7)
    assert small.abs().sum() > 0


def test_distilling_without_answers_is_one_more_base_step() -> None:
    trainer, (batch, *_) = two(Always(), coupling=Distill(share=0.0)), batches()
    other = two(Always())
    other.step(batch)
    other.base.train(batch)
    trainer.step(batch)
    assert same(bits(trainer.base.model), bits(other.base.model))


CONDITIONS = [LossDecrease(1), LossDecrease(2), Curiosity(0.7), Seeking(0.2, 0.1), RandomActivation(0.4, 2)]


@pytest.mark.parametrize("condition", CONDITIONS, ids=repr)
@pytest.mark.parametrize("coupling", [None, BaseToo()])
def test_the_share_is_what_a_replay_of_the_logged_losses_says(condition, coupling) -> None:
    report = two(condition, coupling=coupling).fit(batches(8), 4, progress=False)
    history = report.history
    assert history.motivated == replay(condition, history.losses, history.signals)
    assert report.share == sum(history.motivated) / 32 and 0 < report.share < 1


class Shuffled:
    """A loader that shuffles and augments with torch's random numbers, as users' do."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def __iter__(self):
        for k in torch.randperm(6).tolist():
            x, y = batches()[k]
            x = x + 0.1 * torch.randn(x.shape)
            self.seen.append(x)
            yield x, y


def test_the_order_of_the_data_does_not_depend_on_the_schedule() -> None:
    orders = []
    for condition in (Never(), Always(), Every(2)):
        loader = Shuffled()
        two(condition).fit(loader, 2, progress=False)
        orders.append(torch.stack(loader.seen))
    assert torch.equal(orders[0], orders[1]) and torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0][:6], orders[0][6:])


def test_torchs_own_loader_with_a_generator_of_its_own() -> None:
    data = torch.utils.data.TensorDataset(torch.rand(20, 4), torch.randint(0, 2, (20,)))
    losses = []
    for _ in range(2):
        loader = torch.utils.data.DataLoader(data, 5, shuffle=True, generator=torch.Generator().manual_seed(7))
        if losses:
            next(iter(loader))  # somebody else used it before
        losses.append(two(Every(2)).fit(loader, 2, progress=False).history.losses)
    assert losses[0] == losses[1]


def test_dropout_hears_the_global_numbers_as_in_plain_training() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Linear(3, 2))

    net, plain = seeded(build), seeded(build)
    torch.manual_seed(9)
    DualModelTrainer(trainee(net)).fit(batches(), 2, progress=False, validation=batches(2))
    torch.manual_seed(9)
    by_hand(plain, batches(), 2)
    assert same(bits(net), bits(plain))


def test_schedulers_step_with_their_own_net() -> None:
    base = seeded(snntorch_net)
    large, weights = widen(base, 2)
    nets = []
    for net, per_step in ((base, False), (large, True)):
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        nets.append(Trainee(net, optimizer, run=RUN, scheduler=scheduler, per_step=per_step))
    DualModelTrainer(*nets, weights, Every(3)).fit(batches(), 2, progress=False)
    assert [net.optimizer.param_groups[0]["lr"] for net in nets] == [0.25, 0.5**4]


def test_gradients_are_clipped() -> None:
    def moved(clip: float | None) -> float:
        net = seeded(snntorch_net)
        before = bits(net)
        Trainee(net, torch.optim.SGD(net.parameters(), lr=1.0), run=RUN, clip_norm=clip).train(batches()[0])
        return math.sqrt(sum(float((p.detach() - before[n]).square().sum()) for n, p in net.named_parameters()))

    assert moved(None) > 0.01
    assert moved(0.01) == pytest.approx(0.01, rel=1e-3)


def test_mixed_precision_is_close_to_full() -> None:
    full, mixed = (trainee(seeded(lambda: snntorch_net(norm=False)), amp=amp) for amp in (None, torch.bfloat16))
    assert full.loss(batches()[0]).item() == pytest.approx(mixed.loss(batches()[0]).item(), rel=0.3)
    assert mixed.output(batches()[0])[0].shape == (5, 2)
    assert math.isfinite(mixed.train(batches()[0]))


def test_early_stopping_reads_the_curve_of_either_net() -> None:
    stopping = EarlyStopping(patience=2, net="base", by="loss", min_delta=10.0)  # nothing is ever that much better
    report = two(Every(2)).fit(batches(), 20, progress=False, validation=batches(2, 1), early_stopping=stopping)
    assert len(report.curve) == 3
    patient = EarlyStopping(patience=99)
    assert len(two().fit(batches(2), 4, progress=False, validation=batches(2), early_stopping=patient).curve) == 4


def test_validation_counts_right_answers() -> None:
    net = nn.Linear(4, 2)
    alone = DualModelTrainer(Trainee(net, torch.optim.SGD(net.parameters(), lr=0.1)))
    data = batches(3, size=7) + batches(1, size=2)
    point = alone.validate(data)
    x, y = (torch.cat(t) for t in zip(*data, strict=True))
    assert point.base.accuracy == pytest.approx(float((net(x).argmax(1) == y).float().mean()))
    assert point.base.loss == pytest.approx(nn.functional.cross_entropy(net(x), y).item())


def state_of(trainer: DualModelTrainer) -> list:
    import copy

    return copy.deepcopy([trainer.state_dict()[key] for key in ("models", "nets", "position", "rng")])


def equal(a, b) -> bool:
    return torch.utils._pytree.tree_all(
        lambda pair: torch.equal(*pair) if isinstance(pair[0], torch.Tensor) else pair[0] == pair[1],
        [*zip(torch.utils._pytree.tree_leaves(a), torch.utils._pytree.tree_leaves(b), strict=True)],
        is_leaf=lambda x: isinstance(x, tuple),
    )


@pytest.mark.parametrize("coupling", [BaseToo(), Distill(), Sandwich()], ids=repr)
def test_losses_are_in_single_precision_whatever_the_nets_compute_in(coupling) -> None:
    seen = []

    def objective(output, target):
        seen.append(output.dtype)
        return nn.functional.cross_entropy(output, target)

    base = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    motivated, weights = widen(base, 2)
    steps = (torch.optim.SGD(net.parameters(), lr=0.1) for net in (base, motivated))
    pair = (
        Trainee(net, step, objective, amp=torch.bfloat16) for net, step in zip((base, motivated), steps, strict=True)
    )
    DualModelTrainer(*pair, weights, Always(), coupling=coupling).fit(batches(2), 1, progress=False)
    assert len(seen) >= 2 and set(seen) == {torch.float32}


@pytest.mark.parametrize("condition", [Never(), Always()], ids=repr)
@pytest.mark.parametrize("coupling", [None, BaseToo(), Distill(), Distill(base_first=True), Sandwich()], ids=repr)
def test_a_loss_that_is_no_number_stops_names_the_batch_and_keeps_the_last_good_state(condition, coupling) -> None:
    data = batches(5)
    data[3] = (data[3][0] * math.nan, data[3][1])
    trainer, short = two(condition, coupling=coupling), two(condition, coupling=coupling)
    short.fit(data[:3], 1, progress=False, max_steps=3)
    with pytest.raises(Diverged, match="Batch 3 of epoch 0"):
        trainer.fit(data, 1, progress=False)
    assert equal(state_of(trainer), state_of(short))
    assert trainer.report.history.step == 3 and len(trainer.report.history.signals["novelty"]) == 3
    before, good = state_of(trainer), batches(5)[3]
    trainer.step(good)
    assert not equal(before, state_of(trainer))


def test_a_gradient_that_is_no_number_stops_too() -> None:
    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(4, 2))

        def forward(self, x):
            return x @ self.w.abs().sqrt()  # a loss that is fine, with an infinite slope

    net = Steep()
    trainer = DualModelTrainer(Trainee(net, torch.optim.SGD(net.parameters(), lr=0.1)))
    with pytest.raises(Diverged, match="gradient"):
        trainer.step(batches()[0])
    assert not net.w.any()


def test_what_does_not_fit_is_refused() -> None:
    base, other = seeded(snntorch_net), seeded(norse_net)
    large, weights = widen(base, 2)
    with pytest.raises(ValueError, match="neurons of snntorch and the motivated net of norse"):
        DualModelTrainer(trainee(base), trainee(other), weights)
    with pytest.raises(ValueError, match="belong together"):
        DualModelTrainer(trainee(base), trainee(large))
    with pytest.raises(ValueError, match=r"0.weight has shape \(3, 4\) and 0.weight \(6, 4\)"):
        DualModelTrainer(trainee(base), trainee(large), WeightsMap.identity(base))
    with pytest.raises(ValueError, match="same parameters"):
        DualModelTrainer(trainee(base), trainee(base), WeightsMap.identity(base))
    with pytest.raises(ValueError, match="an optimizer of its own"):
        Trainee(base, torch.optim.SGD(large.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="train_base_too"):
        two(coupling=Distill(), train_base_too=True)
    with pytest.raises(ValueError, match="gave no batch in epoch 0"):
        two().fit([], 1, progress=False)
    with pytest.raises(ValueError, match="gave no batch in epoch 1"):
        two().fit(iter(batches()), 2, progress=False)
    with pytest.raises(ValueError, match="validation data hold no batch"):
        two().fit(batches(), 1, progress=False, validation=[])
    with pytest.raises(TypeError, match="returned 1, a int, at step 0"):
        two(lambda history: 1).fit(batches(), 1, progress=False)
    assert model_output(nn.Linear(4, 2), batches()[0][0]).shape == (5, 2)
    assert OverTime(mean=True)(nn.Identity(), torch.ones(3, 1, 2)).tolist() == [[1.0, 1.0]]


class Counts(nn.Module):
    """Puts another tensor in the place of a buffer, as functional code does."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = self.seen + 1
        return self.fc(x)


def test_a_buffer_that_was_replaced_by_a_failing_step_is_there_again() -> None:
    net, y = Counts(), torch.tensor([0, 1])
    trainer = DualModelTrainer(Trainee(net, torch.optim.SGD(net.parameters(), lr=0.1)))
    trainer.step((torch.ones(2, 2), y))
    with pytest.raises(Diverged):
        trainer.step((torch.full((2, 2), float("nan")), y))
    assert net.seen == 1
    trainer.step((torch.ones(2, 2), y))
    assert net.seen == 2
