"""Ordinary training loops: callbacks, schedulers, closures, accumulated gradients, interruptions; all stays whole."""

from __future__ import annotations

import copy
import os
import signal

import pytest
import torch
from test_dual_nets import OPTIMIZERS, RUN, batches, bits, same, seeded, snntorch_net, trainee
from test_dual_resume import everything
from test_dual_trainer import equal, two
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau

from snn_plasticity import PlasticityWarning
from snn_plasticity.dual import (
    Always,
    BatchGroup,
    Callback,
    Distill,
    Diverged,
    DualModelTrainer,
    Every,
    Never,
    Plateau,
    Sandwich,
    Trainee,
    WeightsMap,
    widen,
)


class Log(Callback):
    def __init__(self) -> None:
        self.seen: list = []

    def after_step(self, trainer, result):
        self.seen.append(trainer.report.history.step)

    def after_validation(self, trainer, point):
        self.seen.append(("validation", point.step))

    def after_epoch(self, trainer):
        self.seen.append(("epoch", trainer.epoch))


class Average(Callback):
    """Exponential moving average of the base's weights, kept with the run."""

    def __init__(self) -> None:
        self.weights: dict = {}

    def after_step(self, trainer, result):
        for name, value in trainer.base.model.named_parameters():
            self.weights[name] = 0.9 * self.weights.get(name, value.detach()) + 0.1 * value.detach()

    def state_dict(self):
        return dict(self.weights)

    def load_state_dict(self, state):
        self.weights = dict(state)


def test_callbacks_are_told_in_order_and_change_nothing() -> None:
    plain, told, log, losses = two(Every(2)), two(Every(2)), Log(), []
    data, plan = batches(3), {"validation": batches(1, 3), "progress": False}
    plain.fit(data, 2, **plan)
    told.fit(data, 2, callbacks=[log, lambda trainer, result: losses.append(result.loss)], **plan)
    assert log.seen == [1, 2, 3, ("epoch", 1), ("validation", 3), 4, 5, 6, ("epoch", 2), ("validation", 6)]
    assert losses == told.report.history.losses
    assert equal(everything(plain), everything(told))
    for wrong in (log, [Log], [3], None):
        with pytest.raises(TypeError, match="callbacks"):
            two().fit(data, 1, callbacks=wrong, progress=False)


def test_a_callback_that_raises_ends_the_run_behind_its_step() -> None:
    whole, broken = two(Every(2)), two(Every(2))
    whole.fit(batches(), 2, progress=False)

    def fails(trainer, result):
        if trainer.report.history.step == 4:
            raise RuntimeError("no space left")

    with pytest.raises(RuntimeError, match="no space left"):
        broken.fit(batches(), 2, callbacks=[fails], progress=False)
    assert broken.report.history.step == broken.batch == 4
    broken.fit(batches(), 2, progress=False)
    assert equal(everything(broken), everything(whole))


def test_a_callback_can_ask_the_run_to_stop() -> None:
    whole, stopped = two(Every(2)), two(Every(2))
    whole.fit(batches(), 2, progress=False)
    stopped.fit(batches(), 2, callbacks=[lambda t, r: t.stop() if t.report.history.step == 5 else None], progress=False)
    assert stopped.report.history.step == 5
    stopped.fit(batches(), 2, progress=False)
    assert equal(everything(stopped), everything(whole))


def test_what_callbacks_remember_is_saved_with_the_run(tmp_path) -> None:
    whole, first, second = two(Every(2)), two(Every(2)), two(Every(2))
    averages = [Average() for _ in range(3)]
    whole.fit(batches(), 2, callbacks=[averages[0]], progress=False)
    first.fit(batches(), 2, callbacks=[averages[1]], progress=False, max_steps=7)
    first.save(tmp_path / "run.pt")
    second.load(tmp_path / "run.pt")
    second.save(tmp_path / "again.pt")  # not lost before the next fit takes it up
    second.load(tmp_path / "again.pt")
    with pytest.raises(ValueError, match="states of 1 callbacks"):
        second.fit(batches(), 2, callbacks=[Average(), Average()], progress=False)
    second.fit(batches(), 2, callbacks=[averages[2]], progress=False)
    assert same(averages[0].weights, averages[2].weights)


def test_training_goes_on_in_training_mode_after_finalize() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.BatchNorm1d(3), nn.Linear(3, 2))
    net[3].eval()  # frozen
    trainer = DualModelTrainer(Trainee(net, torch.optim.Adam(net.parameters())))
    for epochs in (1, 2):
        trainer.fit(batches(), epochs, progress=False)
        trainer.finalize()
        assert not any(module.training for module in net.modules())
    trainer.step(batches()[0])
    assert [module.training for module in net] == [True, True, True, False, True]
    assert int(net[1].num_batches_tracked) == 13 and int(net[3].num_batches_tracked) == 0


def test_a_net_in_evaluation_mode_is_trained_in_it_and_that_is_said() -> None:
    net = snntorch_net().eval()
    with pytest.warns(PlasticityWarning, match="evaluation mode"):
        DualModelTrainer(trainee(net)).fit(batches(1), 1, progress=False)
    assert not net.training


@pytest.mark.parametrize("validated", [True, False])
def test_a_scheduler_that_follows_a_loss(validated, tmp_path) -> None:
    """Each net's follows its own: by hand from the losses of the report."""

    def run() -> DualModelTrainer:
        base = seeded(snntorch_net)
        large, weights = widen(base, 2)
        nets = []
        for net in (base, large):
            optimizer = OPTIMIZERS["sgd"](net.parameters())
            plateau = ReduceLROnPlateau(optimizer, patience=0, threshold=0.05, factor=0.5)
            nets.append(Trainee(net, optimizer, run=RUN, scheduler=plateau))
        return DualModelTrainer(*nets, weights, Every(2))

    def fit(trainer: DualModelTrainer, **more) -> None:
        plan = {"validation": batches(2, 3), "validate_every": 3} if validated else {}
        trainer.fit(batches(), 4, progress=False, **plan, **more)

    whole, first, second = run(), run(), run()
    if validated:
        fit(whole)
    else:
        with pytest.warns(PlasticityWarning, match="follows a loss"):
            fit(whole)
            fit(first, max_steps=10)
            fit(second, max_steps=10)
    history = whole.report.history
    for k, net in enumerate(whole.nets):
        weight = nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([weight], lr=0.05)
        plateau = ReduceLROnPlateau(optimizer, patience=0, threshold=0.05, factor=0.5)
        if validated:
            losses = [point.score(("base", "motivated")[k]).loss for point in whole.report.curve]
        else:
            losses = [sum(history.losses[s + k : s + 6 : 2]) / 3 for s in range(0, 24, 6)]
        for loss in losses:
            optimizer.step()
            plateau.step(loss)
        assert isinstance(net, Trainee)
        assert net.optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] < 0.05
    if validated:
        fit(first, max_steps=10)
        first.save(tmp_path / "run.pt")
        second.load(tmp_path / "run.pt")
        fit(second)
        assert equal(everything(second), everything(whole))


def test_a_condition_that_waits_for_validations_says_that_there_are_none() -> None:
    with pytest.warns(PlasticityWarning, match="reads validations"):
        two(Every(2) & ~Plateau(1, on="validation")).fit(batches(1), 1, progress=False)


def lbfgs(net: nn.Module, **settings) -> Trainee:
    return Trainee(
        net, torch.optim.LBFGS(net.parameters(), lr=0.5, max_iter=4, line_search_fn="strong_wolfe"), **settings
    )


def mlp(hidden: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 2))


def test_an_optimizer_with_a_closure_is_that_of_a_loop_by_hand() -> None:
    plain, net, data = seeded(mlp), seeded(mlp), batches()
    optimizer, losses = torch.optim.LBFGS(plain.parameters(), lr=0.5, max_iter=4, line_search_fn="strong_wolfe"), []
    for x, y in data * 2:

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = F.cross_entropy(plain(x), y)
            loss.backward()
            return loss

        losses.append(optimizer.step(closure).item())
    report = DualModelTrainer(lbfgs(net)).fit(data, 2, progress=False)
    assert report.history.losses == losses and same(bits(plain), bits(net))


@pytest.mark.parametrize("coupling", [None, Distill()])
def test_closures_in_both_nets_resume(coupling, tmp_path) -> None:
    def run() -> DualModelTrainer:
        base = seeded(mlp)
        large, weights = widen(base, 2)
        return DualModelTrainer(lbfgs(base), lbfgs(large), weights, Every(2), coupling=coupling)

    whole, first, second = run(), run(), run()
    whole.fit(batches(), 2, progress=False)
    first.fit(batches(), 2, progress=False, max_steps=5)
    first.save(tmp_path / "run.pt")
    second.load(tmp_path / "run.pt")
    second.fit(batches(), 2, progress=False)
    assert equal(everything(second), everything(whole))


def test_a_closure_that_diverges_halfway_leaves_everything() -> None:
    net, calls = seeded(mlp), [0]

    def loss(output, target):
        calls[0] += 1
        return F.cross_entropy(output, target) * (float("nan") if calls[0] == 7 else 1.0)

    trainer = DualModelTrainer(lbfgs(net, loss=loss))
    trainer.step(batches()[0])
    calls[0] = 4
    before = copy.deepcopy(everything(trainer))
    with pytest.raises(Diverged):
        trainer.step(batches()[1])
    assert equal(everything(trainer), before)


def test_what_a_closure_does_not_go_with_is_refused() -> None:
    base = seeded(mlp)
    large, weights = widen(base, 2)
    trainer = DualModelTrainer(lbfgs(base), lbfgs(large), weights, Always(), coupling=Sandwich())
    with pytest.raises(TypeError, match="evaluates its loss itself"):
        trainer.step(batches()[0])
    with pytest.raises(ValueError, match="accumulate = 2"):
        trainer.fit(batches(), 1, accumulate=2, progress=False)
    with pytest.raises(TypeError, match="descend"):
        lbfgs(base).minimize(lbfgs(base).loss(batches()[0]))


@pytest.mark.parametrize("coupling", [None, Distill(), Sandwich(0.5, 0.5)])
def test_accumulated_batches_are_one_batch_as_large(coupling) -> None:
    """Seven batches of 5, the last of 2, three at a time: the losses and weights of batches of 15, 15 and 2."""

    def run() -> DualModelTrainer:
        base = seeded(mlp).double()
        large, weights = widen(base, 2)
        nets = [Trainee(net, OPTIMIZERS["adam"](net.parameters()), clip_norm=0.5) for net in (base, large)]
        return DualModelTrainer(*nets, weights, Every(2), coupling=coupling)

    data = [(x.double(), y) for x, y in batches(6)]
    data.append((data[0][0][:2] + 1.0, data[0][1][:2]))
    whole = [tuple(torch.cat([batch[k] for batch in data[s : s + 3]]) for k in (0, 1)) for s in (0, 3, 6)]
    few, many = run(), run()
    few.fit(whole, 2, progress=False)
    many.fit(data, 2, accumulate=3, progress=False)
    assert many.report.history.motivated == few.report.history.motivated == [False, True] * 3
    assert many.report.history.losses == pytest.approx(few.report.history.losses, rel=1e-12)
    for one, other in zip(few.nets, many.nets, strict=True):
        for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def test_unequal_batches_count_by_their_samples() -> None:
    net = seeded(mlp).double()
    x, y = torch.randn(7, 4).double(), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    learner = Trainee(net, torch.optim.SGD(net.parameters(), lr=0.1))
    expected = float(learner.loss((x, y)).detach())
    assert learner.train(BatchGroup([(x[:5], y[:5]), (x[5:], y[5:])])) == pytest.approx(expected, rel=1e-12)


def test_an_accumulating_run_resumes_between_its_steps(tmp_path) -> None:
    whole, first, second = two(Every(2)), two(Every(2)), two(Every(2))
    whole.fit(batches(5), 2, accumulate=2, progress=False)
    assert whole.report.history.step == 6
    path = tmp_path / "run.pt"
    first.fit(batches(5), 2, accumulate=2, progress=False, max_steps=2, checkpoint=path, checkpoint_every=1)
    second.load(path)
    assert second.batch == 4
    second.fit(batches(5), 2, accumulate=2, progress=False)
    assert equal(everything(second), everything(whole))


def test_ctrl_c_waits_for_the_end_of_the_step() -> None:
    whole, pressed = two(Every(2)), two(Every(2))
    whole.fit(batches(), 2, progress=False)
    ordinary = signal.getsignal(signal.SIGINT)
    assert isinstance(pressed.base, Trainee)
    moving = pressed.base.optimizer.register_step_post_hook(lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        pressed.fit(batches(), 2, progress=False)
    assert pressed.report.history.step == pressed.batch == 1
    assert signal.getsignal(signal.SIGINT) is ordinary
    moving.remove()
    pressed.fit(batches(), 2, progress=False)
    assert equal(everything(pressed), everything(whole))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_killed_while_it_saves_leaves_the_old_file_and_no_other(tmp_path) -> None:
    path, trainer = tmp_path / "run.pt", two()
    trainer.save(path)
    child = os.fork()
    if not child:
        torch.save = lambda content, file: os.kill(os.getpid(), signal.SIGKILL)
        trainer.save(path)
    os.waitpid(child, 0)
    (left,) = {f.name for f in tmp_path.iterdir()} - {"run.pt"}
    living, other = tmp_path / left.replace(str(child), str(os.getppid())), tmp_path / ".run.pt.elsewhere.1.part"
    for part in (living, other):
        part.write_bytes(b"of another process")
    two().load(path)
    assert {f.name for f in tmp_path.iterdir()} == {"run.pt", living.name, other.name}
    os.utime(other, (0, 0))
    trainer.save(path)
    assert {f.name for f in tmp_path.iterdir()} == {"run.pt", living.name}


@pytest.mark.parametrize("kind", ["one cycle", "warm-up", "frozen", "groups", "bfloat16"])
def test_loops_of_others_are_what_they_are_by_hand(kind) -> None:
    def build():
        net = seeded(snntorch_net)
        groups = [{"params": [p], "weight_decay": 0.1 * (p.dim() > 1)} for p in net.parameters()]
        if kind == "frozen":
            net[0].weight.requires_grad_(False)
        optimizer = torch.optim.AdamW(groups if kind == "groups" else net.parameters(), lr=0.01)
        schedulers = {"one cycle": lambda: OneCycleLR(optimizer, 0.1, total_steps=12),
                      "warm-up": lambda: LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 5))}  # fmt: skip
        return net, optimizer, schedulers[kind]() if kind in schedulers else None

    plain, optimizer, scheduler = build()
    half = kind == "bfloat16"
    for x, y in batches() * 2:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output = RUN(plain, x)
        F.cross_entropy(output.float(), y).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    net, optimizer, scheduler = build()
    other, *_ = build()
    amp = torch.bfloat16 if half else None
    learner = Trainee(net, optimizer, run=RUN, scheduler=scheduler, per_step=True, amp=amp)
    large = Trainee(other, torch.optim.AdamW(other.parameters()), run=RUN)
    DualModelTrainer(learner, large, WeightsMap.identity(net), Never()).fit(batches(), 2, progress=False)
    assert same(bits(plain), bits(net))
    assert not same(bits(net), bits(seeded(snntorch_net)))


class Weighted(nn.Module):
    """Weights of the classes, and a temperature that is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor([1.0, 3.0]))
        self.temperature = nn.Parameter(torch.tensor(2.0))

    def forward(self, output, target):
        return F.cross_entropy(output / self.temperature, target, self.weight)


def test_a_loss_with_parameters_of_its_own_learns_and_is_saved() -> None:
    def run(loss: nn.Module | None = None) -> DualModelTrainer:
        base = seeded(snntorch_net)
        large, weights = widen(base, 2)
        nets = []
        for net in (base, large):
            own = Weighted() if loss is None else loss
            nets.append(Trainee(net, OPTIMIZERS["adam"]([*net.parameters(), *own.parameters()]), own, run=RUN))
        return DualModelTrainer(*nets, weights, Every(2))

    plain, own = seeded(snntorch_net), Weighted()
    optimizer = OPTIMIZERS["adam"]([*plain.parameters(), *own.parameters()])
    whole, first, second = run(), run(), run()
    for batch in batches(1):
        optimizer.zero_grad()
        own(RUN(plain, batch[0]), batch[1]).backward()
        optimizer.step()
        whole.step(batch)
    assert same(bits(own), bits(whole.base.objective)) and same(bits(plain), bits(whole.base.model))
    first.fit(batches(), 1, progress=False, max_steps=4)
    second.load_state_dict(first.state_dict())
    first.fit(batches(), 1, progress=False)
    second.fit(batches(), 1, progress=False)
    assert equal(everything(first), everything(second))
    assert float(first.base.objective.temperature.detach()) != 2.0
    with pytest.raises(ValueError, match="a loss for each net"):
        run(Weighted())
    with pytest.warns(PlasticityWarning, match="parameters of its own"):
        Trainee(plain, OPTIMIZERS["adam"](plain.parameters()), own)


def test_a_run_of_another_optimizer_or_schedule_is_refused_and_nothing_changes() -> None:
    def run(kind: str) -> DualModelTrainer:
        net = seeded(snntorch_net)
        optimizer = (torch.optim.AdamW if kind == "adamw" else torch.optim.Adam)(net.parameters(), lr=0.01)
        schedulers = {"plateau": ReduceLROnPlateau, "warm-up": lambda one: LambdaLR(one, lambda step: 1.0)}
        scheduler = schedulers[kind](optimizer) if kind in schedulers else None
        learner = lbfgs(net, run=RUN) if kind == "lbfgs" else Trainee(net, optimizer, run=RUN, scheduler=scheduler)
        trainer = DualModelTrainer(learner)
        trainer.step(batches()[0])
        return trainer

    kinds = ("adam", "adamw", "lbfgs", "plateau", "warm-up")
    for one, other in ((a, b) for a in kinds for b in kinds if a != b):
        trainer, strange = run(one), copy.deepcopy(run(other).state_dict())
        trainer.step(batches()[1])
        before = copy.deepcopy(everything(trainer))
        with pytest.raises((TypeError, ValueError), match="Nothing was changed|build it likewise"):
            trainer.load_state_dict(strange)
        assert equal(everything(trainer), before)
