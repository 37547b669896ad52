"""The share of right answers, for the outputs and targets that people have, against counting by hand."""

from __future__ import annotations

import itertools
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn_plasticity.dual import DualModelTrainer, EarlyStopping, Score, Trainee
from snn_plasticity.notices import PlasticityWarning

SF = pytest.importorskip("snntorch.functional")
T, B, C = 6, 4, 3


def seeded(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def labels(*shape: int, classes: int = C) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(sum(shape)))


class Given(nn.Module):
    """A net that answers with what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


def trainee(loss, **settings) -> Trainee:
    net = Given()
    return Trainee(net, torch.optim.SGD(net.parameters(), lr=0.1), loss, **settings)


def score(loss, *batches: tuple[Tensor, Tensor], **settings) -> Score:
    """Without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", PlasticityWarning)
        return trainee(loss, **settings).evaluate(batches)


def refused(loss, *batches: tuple[Tensor, Tensor]) -> Score:
    """NaN, and one sentence that names the way out; the second time without it."""
    net = trainee(loss)
    with pytest.warns(PlasticityWarning, match="metric=") as told:
        found = net.evaluate(batches)
    assert len(told) == 1 and np.isnan(found.accuracy) and np.isfinite(found.loss)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PlasticityWarning)
        net.evaluate(batches)
    return found


def by_hand(output: np.ndarray, target: np.ndarray, axis: int) -> float:
    """Place by place."""
    places = list(itertools.product(*map(range, target.shape)))
    right = 0
    for place in places:
        scores = [output[(*place[:axis], c, *place[axis:])] for c in range(output.shape[axis])]
        right += max(range(len(scores)), key=scores.__getitem__) == target[place]
    return right / len(places)


def flat(output, target):
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


@pytest.mark.parametrize(
    ("loss", "output", "target", "axis"),
    [
        (F.cross_entropy, (B, C), (B,), 1),
        (F.cross_entropy, (C, C), (C,), 1),
        (nn.CrossEntropyLoss(), (B, C, 5), (B, 5), 1),
        (F.cross_entropy, (B, C, C), (B, C), 1),
        (partial(F.cross_entropy, label_smoothing=0.1), (B, C, 5, 2), (B, 5, 2), 1),
        (flat, (T, B, C), (T, B), 2),
        (flat, (B, 7, C), (B, 7), 2),
        (flat, (B, B, C), (B, B), 2),
    ],
)
def test_classes_are_looked_for_where_the_shape_of_the_target_leaves_them(loss, output, target, axis) -> None:
    x, y = seeded(*output), labels(*target)
    assert score(loss, (x, y)).accuracy == pytest.approx(by_hand(x.numpy(), y.numpy(), axis))


LOSSES = {
    "ce_rate": SF.ce_rate_loss(),
    "ce_count": SF.ce_count_loss(),
    "mse_count": SF.mse_count_loss(0.8, 0.2),
    "mse_membrane": SF.mse_membrane_loss(),
    "custom": lambda output, target: F.cross_entropy(output.sum(0), target),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("steps", [T, B])
def test_over_time_counts_and_membranes_add_up(loss, steps) -> None:
    from snntorch.functional import accuracy_rate

    spikes, target = (seeded(steps, B, C) > 0.3).float() + 0.01 * seeded(steps, B, C), labels(B)
    assert score(loss, (spikes, target)).accuracy == pytest.approx(float(accuracy_rate(spikes, target)))


def test_populations_largest_membranes_and_first_spikes_as_the_losses_read_them() -> None:
    from snntorch.functional import accuracy_rate, accuracy_temporal

    wide, target = seeded(T, 9, 5 * C), labels(9)
    for loss in (
        SF.ce_count_loss(population_code=True, num_classes=C),
        SF.mse_count_loss(population_code=True, num_classes=C),
    ):
        expected = accuracy_rate(wide, target, population_code=True, num_classes=C)
        assert score(loss, (wide, target)).accuracy == pytest.approx(float(expected))
    membranes = seeded(T, 9, C)
    largest = (membranes.amax(0).argmax(1) == target).float().mean()
    assert score(SF.ce_max_membrane_loss(), (membranes, target)).accuracy == pytest.approx(float(largest))
    spikes = (seeded(T, 9, C) > 0.8).float().requires_grad_()
    expected = accuracy_temporal(spikes.detach(), target)
    assert score(SF.ce_temporal_loss(), (spikes, target)).accuracy == pytest.approx(float(expected))


def test_several_outputs_for_a_class_are_suspected() -> None:
    net = trainee(lambda output, target: output.square().mean())
    with pytest.warns(PlasticityWarning, match=r"15 outputs and the targets name classes up to 2.*metric="):
        net.evaluate([(seeded(T, 9, 15), torch.arange(9) % 3)])


def test_shares_of_classes_are_read_by_the_largest() -> None:
    x, y = seeded(9, C), labels(9)
    right = score(F.cross_entropy, (x, y)).accuracy
    one_hot = F.one_hot(y, C)
    soft = 0.7 * one_hot + 0.3 / C

    def mean(output, target):
        return F.mse_loss(output, target.float())

    for loss, target in ((F.cross_entropy, soft), (F.mse_loss, one_hot.float()), (mean, one_hot)):
        assert score(loss, (x, target)).accuracy == pytest.approx(right)

    def over_time(output, target):
        return F.cross_entropy(output.mean(0), target)

    assert score(over_time, (x.expand(T, 9, C), soft)).accuracy == pytest.approx(right)
    maps, places = seeded(B, C, 5), labels(B, 5)
    shares = F.one_hot(places, C).movedim(-1, 1).float()
    assert score(F.cross_entropy, (maps, shares)).accuracy == score(F.cross_entropy, (maps, places)).accuracy


def test_one_logit_is_yes_or_no() -> None:
    for shape in ((9,), (9, 1)):
        x, y = seeded(*shape), labels(*shape, classes=2).float()
        right = ((x > 0) == (y > 0.5)).float().mean()
        assert score(F.binary_cross_entropy_with_logits, (x, y)).accuracy == pytest.approx(float(right))
        assert score(nn.BCELoss(), (x.sigmoid(), y)).accuracy == pytest.approx(float(right))


def test_what_shapes_do_not_tell_is_not_known_and_said_once() -> None:
    def square(output, target):
        return (output.sum() - target.sum()).square() / 100

    refused(F.mse_loss, (seeded(9, 1), seeded(9, 1)))
    refused(F.mse_loss, (seeded(9, C), seeded(9, C)))
    refused(F.binary_cross_entropy_with_logits, (seeded(9, C), torch.ones(9, C)))
    refused(square, (seeded(9, 1), labels(9)))
    refused(square, (seeded(9), labels(9)))
    refused(square, (seeded(9, T, C), labels(9)))
    refused(square, (seeded(B, C, C), labels(B, C)))
    refused(lambda output, target: output.mean(), (seeded(9, C), {"y": labels(9), "n": labels(9)}))
    refused(square, (seeded(9, C), labels(9).float()))
    refused(square, (seeded(9, C), labels(9)), (seeded(9, 1), labels(9)))


def test_ignored_labels_are_none() -> None:
    x, y = seeded(B, C, 5), labels(B, 5)
    y[0, 2:] = -100
    known = y >= 0
    right = (x.argmax(1)[known] == y[known]).float().mean()
    assert score(F.cross_entropy, (x, y)).accuracy == pytest.approx(float(right))
    other = torch.where(known, y, 2)
    kept = other != 2
    right = (x.argmax(1)[kept] == other[kept]).float().mean()
    for loss in (nn.CrossEntropyLoss(ignore_index=2), partial(F.cross_entropy, ignore_index=2)):
        assert score(loss, (x, other)).accuracy == pytest.approx(float(right))


def test_batches_count_by_their_samples() -> None:
    """Not by their steps: one of T = 6 and 9 samples beside one of T = 6 and 2."""
    x, y = seeded(T, 11, C), labels(11)
    loss = SF.ce_count_loss()
    parts = score(loss, (x[:, :9], y[:9]), (x[:, 9:], y[9:]))
    whole = score(loss, (x, y))
    assert parts[:2] == pytest.approx(whole[:2], rel=1e-5) and parts[2:] == (None, "accuracy", 11)
    x, y = seeded(11, C), seeded(11, C)

    def f1(output, target):
        return output.mean()

    parts = score(F.mse_loss, (x[:9], y[:9]), (x[9:], y[9:]), metric=f1)
    assert parts.loss == pytest.approx(float(F.mse_loss(x, y)), rel=1e-5)
    assert parts.metric == pytest.approx(float(x.mean()), rel=1e-4)


def explained(output: Tensor, target: Tensor) -> float:
    return 1.0 - float((output - target).square().mean() / target.var())


def test_a_metric_goes_by_its_name_in_scores_tables_and_figures() -> None:
    x, y = seeded(9, C), seeded(9, C)
    net = trainee(F.mse_loss, metric=explained)
    trainer = DualModelTrainer(net)
    report = trainer.fit([(x, y)], 2, validation=[(x, y)], early_stopping=EarlyStopping(net="base"), progress=False)
    last = report.curve[-1].base
    assert last.value == last.metric and last.measure == "explained" and np.isnan(last.accuracy)
    assert last.metric == pytest.approx(explained(net.model(x).detach(), y), rel=1e-5)
    assert "explained" in report.table() and f"{last.metric:.3f}" in report.table()
    assert report.figure().axes[1].get_ylabel() == "explained"
    assert type(report).from_dict(report.to_dict()).curve[-1].base.measure == "explained"
    with pytest.raises(TypeError, match="metric"):
        trainee(F.mse_loss, metric="f1")


def test_early_stopping_goes_by_the_loss_where_there_is_no_accuracy() -> None:
    net = nn.Linear(3, 1)
    x, y = seeded(32, 3), seeded(32, 3)[:, :1]
    learner = Trainee(net, torch.optim.SGD(net.parameters(), lr=0.1), F.mse_loss, metric=None)
    stop = EarlyStopping(3, net="base")
    with pytest.warns(PlasticityWarning) as told:
        report = DualModelTrainer(learner).fit([(x, y)], 400, validation=[(x, y)], early_stopping=stop, progress=False)
    assert len([1 for one in told if "EarlyStopping" in str(one.message)]) == 1
    losses = [point.base.loss for point in report.curve]
    assert losses[-4] == min(losses) and 20 < len(losses) < 400
    assert losses[-1] <= losses[0] / 5


def test_of_spikes_and_membranes_the_spikes_are_the_answer() -> None:
    spikes, membranes, target = seeded(T, 9, C), seeded(T, 9, C + 1), labels(9)
    both = score(lambda output, target: output[1].mean(), ((spikes, membranes), target), run=lambda model, x: x)
    assert both.accuracy == pytest.approx(float((spikes.sum(0).argmax(1) == target).float().mean()))
