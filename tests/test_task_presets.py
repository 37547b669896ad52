"""Presets by task: an ordinary net of either host learns what the preset is for, on seeds that nothing was tuned on."""

from __future__ import annotations

import norse.torch as norse
import pytest
import snntorch
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from snn_plasticity import Actor, PlasticityConfig, ThreeFactorConfig, attach, scale_to_rate
from snn_plasticity.plasticity import KeptNorm, KeptSums, ThreeFactorUpdate

SEED = 7
hosts = pytest.mark.parametrize("host", ["snntorch", "norse"])


def digits():
    """Images in [0, 1] and labels, 1,472 to learn from and 325 held out."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED))
    x, y = torch.tensor(images, dtype=torch.float32)[order] / 16, torch.tensor(labels)[order]
    return x[:1472], y[:1472], x[1472:], y[1472:]


class Net(nn.Module):
    """Two layers with a loop of their own, as in the tutorials of either host."""

    def __init__(self, host):
        super().__init__()
        low = norse.LIFParameters(v_th=torch.tensor(0.3))
        make = {"snntorch": lambda: snntorch.Leaky(beta=0.95), "norse": lambda: norse.LIFCell(low)}[host]
        self.fc1, self.lif1, self.fc2, self.lif2 = nn.Linear(64, 100), make(), nn.Linear(100, 10), make()
        self.begin = lambda lif: lif.init_leaky() if host == "snntorch" else None

    def forward(self, x):
        first, second, out = self.begin(self.lif1), self.begin(self.lif2), []
        for _ in range(25):
            spikes, first = self.lif1(self.fc1(x), first)
            spikes, second = self.lif2(self.fc2(spikes), second)
            out.append(spikes)
        return torch.stack(out)


@torch.no_grad()
def learn(net, learner, third_factor, *, epochs, silent=0, others=False):
    """Right or wrong, batch by batch; held-out accuracy before and after."""
    x, y, unseen, labels = digits()
    rng = torch.Generator().manual_seed(SEED)

    def accuracy():
        with learner.paused():
            return float((net(unseen).sum(0).argmax(1) == labels).float().mean())

    before = accuracy()
    for _ in range(epochs):
        for at in torch.randperm(len(x), generator=rng).split(64):
            policy = torch.softmax(net(x[at]).sum(0), 1)
            choice = torch.multinomial(policy, 1, generator=rng)
            for _ in range(silent):
                net(torch.zeros_like(x[at]))
            reward = (choice[:, 0] == y[at]).float().unsqueeze(1)
            reward = reward[torch.randperm(len(reward), generator=rng)] if others else reward
            learner.step(third_factor(reward - policy.gather(1, choice), policy, choice))
            learner.reset()
    return before, accuracy()


def at_the_chosen_neuron(error, policy, choice):
    return error * one_hot(choice[:, 0], policy.shape[1])


def readout_that_fires(host):
    torch.manual_seed(SEED)
    net = Net(host)
    nn.init.uniform_(net.fc2.weight, 0.0, 1.0)
    nn.init.zeros_(net.fc2.bias)
    scale_to_rate(net, digits()[0][:64], rate={"fc2": 0.25})
    return net, float(net.fc2.weight.detach().max()) / 3


@hosts
def test_reward_at_the_readout(host):
    net, lr = readout_that_fires(host)
    hidden, sums = net.fc1.weight.detach().clone(), [net.fc2.weight.detach().sum(axis) for axis in (0, 1)]
    learner = attach(net, PlasticityConfig.reward_readout("fc2", lr=lr), pre=lambda x: x)
    before, after = learn(net, learner, at_the_chosen_neuron, epochs=5)
    assert before < 0.3 and after > 0.65
    assert torch.equal(hidden, net.fc1.weight)
    for axis in (0, 1):
        torch.testing.assert_close(net.fc2.weight.detach().sum(axis), sums[axis], atol=1e-4, rtol=1e-4)


@hosts
def test_delayed_reward_and_the_reward_of_others(host):
    ends = []
    for others in (False, True):
        net, lr = readout_that_fires(host)
        nn.init.zeros_(net.fc1.bias)  # silent while it waits
        config = PlasticityConfig.delayed_reward("fc2", delay=25, lr=lr)
        assert config.eligibility.tau_e == 50.0
        learner = attach(net, config, pre=lambda x: x)
        ends.append(learn(net, learner, at_the_chosen_neuron, epochs=5, silent=1, others=others)[1])
    assert ends[0] > 0.6 and ends[1] < 0.2


@hosts
def test_reward_to_all_layers(host):
    torch.manual_seed(SEED)
    net, (x, y, unseen, labels) = Net(host), digits()
    hidden, rng = net.fc1.weight.detach().clone(), torch.Generator().manual_seed(SEED)
    learner = attach(net, PlasticityConfig.reward_all_layers(), pre=lambda x: x)
    actor = Actor(learner, temperature=4.0, seed=SEED)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(3):
        for at in torch.randperm(len(x), generator=rng).split(64):
            with torch.no_grad():
                net(x[at])
            choice = actor.act()
            optimizer.zero_grad()
            actor.learn((choice == y[at]).float())
            optimizer.step()
            learner.reset()
    with torch.no_grad(), learner.paused():
        accuracy = float((net(unseen).sum(0).argmax(1) == labels).float().mean())
    assert accuracy > 0.82 and not torch.equal(hidden, net.fc1.weight)


@hosts
def test_online_gradients(host):
    torch.manual_seed(SEED)
    net, (x, y, unseen, labels) = Net(host), digits()
    learner = attach(net, PlasticityConfig.online(carry=host == "snntorch", mode="hybrid"), pre=lambda x: x)
    optimizer, rng = torch.optim.Adam(net.parameters(), 2e-3), torch.Generator().manual_seed(SEED)
    for at in torch.randperm(len(x), generator=rng).split(64) * 2:
        optimizer.zero_grad()
        learner.step(loss=cross_entropy(net(x[at]).sum(0), y[at]))
        optimizer.step()
        learner.reset()
    with torch.no_grad(), learner.paused():
        accuracy = float((net(unseen).sum(0).argmax(1) == labels).float().mean())
    assert accuracy > 0.82


class Features(nn.Module):
    """Forty neurons that inhibit one another."""

    def __init__(self, host):
        super().__init__()
        low = norse.LIFBoxParameters(v_th=torch.tensor(0.1))
        self.fc, self.host = nn.Linear(64, 40, bias=False), host
        self.lif = norse.LIFBoxCell(low) if host == "norse" else snntorch.Leaky(beta=0.9)

    def forward(self, x):
        state = None if self.host == "norse" else self.lif.init_leaky()
        spikes, counts = torch.zeros(len(x), 40), torch.zeros(len(x), 40)
        for _ in range(20):
            rivals = spikes.sum(1, keepdim=True) - spikes
            spikes, state = self.lif(self.fc(x) - 4.0 * rivals, state)
            counts = counts + spikes
        return counts


@torch.no_grad()
def read_by_names(net):
    """Each neuron is named after the digit it fires for most; the most active one names a held-out digit."""
    x, y, unseen, labels = digits()
    names = (net(x - x.mean(0)).T @ (one_hot(y, 10) / one_hot(y, 10).sum(0))).argmax(1)
    return float((names[net(unseen - x.mean(0)).argmax(1)] == labels).float().mean())


@hosts
def test_features_without_reward(host):
    torch.manual_seed(SEED)
    net = Features(host)
    x, norm, random = digits()[0], net.fc.weight.detach().norm(dim=1), read_by_names(net)
    learner = attach(net, PlasticityConfig.unsupervised("fc"), pre=lambda x: x)
    with torch.no_grad():
        for batch in (x - x.mean(0)).repeat(2, 1).split(16):
            net(batch)
            learner.step(1.0)
            learner.reset()
    with learner.paused():
        learned = read_by_names(net)
    assert random < 0.65 and learned > 0.75 and learned > random + 0.2
    torch.testing.assert_close(net.fc.weight.detach().norm(dim=1), norm)


def test_a_kept_norm_is_the_projection_and_leaves_alone_what_does_not_change():
    torch.manual_seed(SEED)
    weight, delta = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    delta[1] = 0.0
    delta[2] = -weight[2]
    new = KeptNorm()(weight, delta)
    for row in (0, 3, 4):
        expected = (weight[row] + delta[row]) * weight[row].norm() / (weight[row] + delta[row]).norm()
        torch.testing.assert_close(new[row], expected)
    assert torch.equal(new[1], weight[1]) and torch.equal(new[2], weight[2])
    rule = ThreeFactorUpdate(ThreeFactorConfig(weight_bounds="norm"))
    own = weight.clone()
    rule.apply_(own, delta)
    assert torch.equal(own, new)


@pytest.mark.parametrize("shape", [(5, 4), (3, 2, 3, 3), (1, 4), (4, 1)])
def test_kept_sums_are_the_nearest_change_that_keeps_them(shape):
    torch.manual_seed(SEED)
    weight, delta = torch.randn(2, *shape, dtype=torch.float64)
    n, m = weight.flatten(1).shape
    rows = torch.eye(n, dtype=torch.float64).repeat_interleave(m, 1) if m > 1 else torch.zeros(0, n * m)
    columns = torch.eye(m, dtype=torch.float64).repeat(1, n) if n > 1 else torch.zeros(0, n * m)
    sums = torch.cat((rows, columns)).double()
    away = sums.T @ torch.linalg.lstsq(sums.T, delta.flatten(), driver="gelsd").solution
    own = weight.clone()
    ThreeFactorUpdate(ThreeFactorConfig(weight_bounds="sums")).apply_(own, delta)
    torch.testing.assert_close(own, weight + delta - away.view(shape))
    assert torch.equal(own, KeptSums()(weight, delta))


def test_words_for_bounds_go_through_json_and_others_are_refused():
    for config in (PlasticityConfig.unsupervised(("a", "b")), PlasticityConfig.reward_readout(("a", "b"))):
        assert PlasticityConfig.from_json(config.to_json()) == config
        assert config.three_factor.target_layers == ("a", "b")
    with pytest.raises(ValueError, match="expected one of 'norm', 'sums' or a pair"):
        ThreeFactorConfig(weight_bounds="sum")
    with pytest.raises(ValueError, match="needs weight_bounds"):
        ThreeFactorConfig(weight_bounds="norm", soft_bounds=1.0)
    with pytest.raises(ValueError, match="a row for each neuron"):
        KeptNorm()(torch.ones(3), torch.ones(3))
    with pytest.raises(ValueError, match="'sums' needs .* a row for each neuron"):
        KeptSums()(torch.ones(3), torch.ones(3))
    with pytest.raises(ValueError, match="lr = -1"):
        PlasticityConfig.reward_readout(lr=-1)
    with pytest.raises(ValueError, match="delay = -1"):
        PlasticityConfig.delayed_reward(delay=-1)
