"""Batches as people have them: mappings, longer tuples, several inputs, padded and time-major sequences, streams."""

from __future__ import annotations

import pytest
import torch
from snntorch import Leaky
from test_dual_nets import batches, bits, by_hand, same, seeded, snntorch_net, trainee
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader, IterableDataset

from snn_plasticity import PlasticityWarning
from snn_plasticity.dual import Always, DualModelTrainer, Fields, OverTime, Trainee, widen


def optimizer(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.1)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.fc(tokens * mask)


def test_a_mapping_is_read_by_the_names_that_are_said() -> None:
    plain, named = seeded(snntorch_net), seeded(snntorch_net)
    by_hand(plain, batches(), 1)
    data = [{"id": 7, "label": y, "image": x} for x, y in batches()]
    DualModelTrainer(trainee(named, unpack=Fields("image", target="label"))).fit(data, 1, progress=False)
    assert same(bits(plain), bits(named))


def test_several_inputs_go_to_forward_by_name_or_by_place() -> None:
    tokens, mask, y = torch.randn(4, 3), torch.rand(4, 3).round(), torch.tensor([0, 1, 1, 0])
    net = TwoInputs()
    expected = nn.functional.cross_entropy(net(tokens, mask), y)
    by_name = Trainee(net, optimizer(net), unpack=Fields("mask", "tokens", target="y"))
    by_place = Trainee(net, optimizer(net), unpack=Fields(2, 0, target=1))
    assert torch.equal(by_name.loss({"y": y, "tokens": tokens, "mask": mask}), expected)
    assert torch.equal(by_place.loss((mask, y, tokens)), expected)
    assert by_name.evaluate([{"y": y, "tokens": tokens, "mask": mask}]).loss == pytest.approx(expected.item())


def test_what_a_longer_batch_means_is_said_and_not_guessed() -> None:
    """`cross_entropy(output, y, lengths)` would take lengths for the weights of classes."""
    x, y = batches(1)[0]
    net = snntorch_net()
    with pytest.raises(TypeError, match="unpack=Fields"):
        trainee(net).train((x, y, torch.ones(2)))
    with pytest.raises(TypeError, match="unpack=Fields"):
        trainee(net).train({"x": x, "y": y})
    with pytest.raises(TypeError, match="a mapping with x, y"):
        trainee(net, unpack=Fields("x", target="label")).train({"x": x, "y": y})
    with pytest.raises(TypeError, match="places alone"):
        Fields("x", 1, target="y")
    with pytest.raises(TypeError, match="unpack returned"):
        trainee(net, unpack=lambda batch: batch[0]).train((x, y))


def test_several_targets_reach_the_loss_as_one() -> None:
    x, y, weight = torch.randn(4, 3), torch.tensor([0, 1, 1, 0]), torch.tensor([1.0, 0.0, 2.0, 1.0])
    net = nn.Linear(3, 2)

    def weighted(output: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        return (nn.functional.cross_entropy(output, target[0], reduction="none") * target[1]).mean()

    learner = Trainee(net, optimizer(net), weighted, unpack=Fields(0, target=(1, 2)))
    by_hand = (nn.functional.cross_entropy(net(x), y, reduction="none") * weight).mean()
    assert learner.train((x, y, weight)) == pytest.approx(by_hand.item())


def spiking() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Linear(3, 4), Leaky(0.9, init_hidden=True, threshold=0.3)))


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_padded_samples_count_to_their_own_end(batch_first, mean) -> None:
    """Each alone, at its own length, gives what it gives among longer ones."""
    samples = [2.0 * torch.rand(length, 3) for length in (5, 1, 3)]
    padded = pad_sequence(samples, batch_first=batch_first, padding_value=9.0)
    lengths, net = torch.tensor([5, 1, 3]), spiking()
    together = OverTime(lengths=True, batch_first=batch_first, mean=mean)(net, (padded, lengths))
    alone = [OverTime(mean=mean)(net, sample[:, None]) for sample in samples]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)
    assert together.sum() > 0


def test_time_and_batch_are_told_apart_by_what_is_said() -> None:
    x, net = 2.0 * torch.rand(4, 4, 3), spiking()
    assert torch.equal(OverTime()(net, x), OverTime(batch_first=True)(net, x.transpose(0, 1)))
    assert not torch.equal(OverTime()(net, x), OverTime(batch_first=True)(net, x))
    with pytest.raises(ValueError, match="axis of time"):
        OverTime(3, batch_first=True)
    with pytest.raises(ValueError, match="whole number for each sample"):
        OverTime(lengths=True)(net, (x, torch.ones(3)))


def test_sequences_of_several_inputs() -> None:
    tokens, mask, net = torch.rand(5, 4, 3), torch.rand(5, 4, 3).round(), TwoInputs()
    expected = sum(net(tokens[t], mask[t]) for t in range(5))
    assert torch.equal(OverTime()(net, (tokens, mask)), expected)
    assert torch.equal(OverTime()(net, {"mask": mask, "tokens": tokens}), expected)
    with pytest.raises(ValueError, match="one T"):
        OverTime()(net, (tokens, mask[:2]))


def test_a_packed_sequence_stays_whole() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.fc = nn.GRU(3, 4), nn.Linear(4, 2)

        def forward(self, x: PackedSequence) -> Tensor:
            return self.fc(pad_packed_sequence(self.rnn(x)[0])[0].sum(0))

    net, samples = Recurrent(), [torch.randn(length, 3) for length in (5, 3)]
    learner = Trainee(net, optimizer(net))
    loss = learner.train((pack_sequence(samples), torch.tensor([0, 1])))
    assert loss > learner.evaluate([(pack_sequence(samples), torch.tensor([0, 1]))]).loss


class Stream(IterableDataset):
    def __init__(self, number: int = 20) -> None:
        self.number = number

    def __iter__(self):
        for k in range(self.number):
            yield torch.full((4,), float(k % 5)), k % 2


def test_a_stream_is_trained_on_and_resumed_in_the_middle(tmp_path) -> None:
    def run() -> DualModelTrainer:
        base = seeded(snntorch_net)
        large, weights = widen(base, 2)
        return DualModelTrainer(trainee(base), trainee(large), weights, Always())

    whole, first, second = run(), run(), run()
    assert whole.fit(DataLoader(Stream(), 6), 2, progress=False).history.step == 8
    first.fit(DataLoader(Stream(), 6), 2, progress=False, max_steps=6)
    first.save(tmp_path / "run.pt")
    second.load(tmp_path / "run.pt")
    with pytest.warns(PlasticityWarning, match="2 batches"):
        second.fit(DataLoader(Stream(), 6), 2, progress=False)
    assert second.report.history.losses == whole.report.history.losses
    assert same(bits(whole.base.model), bits(second.base.model))


def test_a_stream_that_is_shorter_than_where_the_run_stood_says_so() -> None:
    trainer = DualModelTrainer(trainee(snntorch_net()))
    trainer.fit(DataLoader(Stream(), 5), 1, progress=False, max_steps=3)
    with pytest.warns(PlasticityWarning, match="3 batches"), pytest.raises(ValueError, match="ended before"):
        trainer.fit(DataLoader(Stream(5), 5), 1, progress=False)


def test_batch_without_a_sample_is_refused_in_training_and_nothing_in_a_score():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    trainee = Trainee(net, torch.optim.SGD(net.parameters(), lr=0.1))
    x, y = torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match="holds no sample.*drop_last"):
        DualModelTrainer(trainee).step((x[:0], y[:0]))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert trainee.evaluate([(x, y), (x[:0], y[:0])]) == trainee.evaluate([(x, y)])


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 3)

    def forward(self, x):
        return {"logits": self.fc(x)}


def test_output_of_several_parts_is_the_business_of_the_loss():
    net = Named()

    def loss(output, target):
        return nn.functional.cross_entropy(output["logits"], target)

    trainee = Trainee(net, torch.optim.SGD(net.parameters(), lr=0.1), loss)
    batch = torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    assert trainee.train(batch) > trainee.train(batch)
