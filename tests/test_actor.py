"""The actor: its changes against autograd through the host and by hand, and digits read from right or wrong."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from conftest import trains
from torch import nn

from snn_plasticity import (
    EligibilityConfig,
    EProp,
    PlasticityConfig,
    RandomFeedback,
    RewardBaseline,
    TDCritic,
    TDCriticConfig,
    ThreeFactorConfig,
    attach,
    feedback_of,
)
from snn_plasticity.actor import Actor
from snn_plasticity.actor.populations import populations
from snn_plasticity.hosts.feedback_matrices import matrices

snn = pytest.importorskip("snntorch")
B, N_IN, SIZES, STEPS, LR = 5, 8, (11, 7, 4), 9, 0.1


class Net(nn.Module):
    """Layers of leaky neurons, one after the other; spikes of each are kept."""

    def __init__(self, sizes=SIZES):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n, m) for n, m in zip((N_IN, *sizes), sizes, strict=False))
        self.neurons = nn.ModuleList(snn.Leaky(0.9, threshold=0.3) for _ in sizes)

    def forward(self, steps):
        states = [neuron.init_leaky() for neuron in self.neurons]
        self.spikes = [[] for _ in self.neurons]
        for x in steps:
            for k, (layer, neuron) in enumerate(zip(self.layers, self.neurons, strict=True)):
                x, states[k] = neuron(layer(x), states[k])
                self.spikes[k].append(x)
        return torch.stack(self.spikes[-1])


def made(config=None, **settings):
    torch.manual_seed(0)
    net = Net()
    learner = attach(net, config or PlasticityConfig.eprop(lr=LR))
    return net, learner, Actor(learner, **settings)


def steps_of(seed=1, steps=STEPS):
    return trains(steps, B, N_IN, seed=seed, rate=0.4).float()


def weights(net):
    return [layer.weight.detach().clone() for layer in net.layers]


def changes(net, before):
    return [layer.weight.detach() - old for layer, old in zip(net.layers, before, strict=True)]


REWARD = torch.tensor([1.0, 0.0, 0.5, -1.0, 1.0])


@pytest.mark.parametrize("n_actions", [4, 2])
def test_the_readout_changes_by_the_policy_gradient(n_actions):
    """lr · mean_b (r − π_a) ∂ log π_a / ∂W, by autograd through the neurons of the host; one or two an action."""
    net, _, actor = made(n_actions=n_actions, temperature=2.0)
    before, x = weights(net), steps_of()
    counts = net(x).sum(0)
    log_policy = torch.log_softmax(counts.unflatten(1, (n_actions, -1)).sum(2) / 2.0, 1)
    action = actor.act()
    chosen = log_policy.gather(1, action.unsqueeze(1)).squeeze(1)
    error = REWARD - chosen.exp().detach()
    (expected,) = torch.autograd.grad((error * chosen).mean(), net.layers[-1].weight)
    torch.testing.assert_close(actor.learn(REWARD), error)
    assert counts.any() and expected.any()
    torch.testing.assert_close(changes(net, before)[-1], LR * expected, rtol=1e-4, atol=1e-7)


def test_symmetric_feedback_comes_down_through_every_layer_above():
    """Each hidden layer by autograd of ⟨L·W₃·W₂, its spikes⟩, with its input detached."""
    net, _, actor = made()
    before, x = weights(net), steps_of()
    with torch.no_grad():
        net(x)
    trains_in = [x, *(torch.stack(spikes) for spikes in net.spikes[:-1])]
    actor.act()
    signal = actor.choice.centred
    error = actor.learn(REWARD)
    found = changes(net, before)
    for k in (2, 1, 0):
        layer, neuron, mem, total = net.layers[k], net.neurons[k], net.neurons[k].init_leaky(), 0.0
        with torch.no_grad():
            layer.weight.copy_(before[k])
        for pre in trains_in[k]:
            z, mem = neuron(layer(pre), mem)
            total = total + (signal * z).sum(1)
        (expected,) = torch.autograd.grad((error * total).mean(), layer.weight)
        assert expected.any()
        torch.testing.assert_close(found[k], LR * expected, rtol=1e-4, atol=1e-7)
        signal = signal @ before[k]


@pytest.mark.parametrize("word", ["random", "adaptive", "broadcast"])
def test_feedback_by_word_is_that_of_the_pure_part(word):
    net, learner, actor = made(feedback=word, seed=3, promise=0.25)
    first = weights(net)
    ways = [first[2] @ first[1], first[2]]
    feedback = [feedback_of(word, seed=3 + k) for k in range(2)]
    states = [f.init(way) for f, way in zip(feedback, ways, strict=True)]
    for trial in range(3):
        before = weights(net)
        with torch.no_grad():
            net(steps_of(trial))
        actor.act()
        signal = (REWARD - 0.25).unsqueeze(1) * actor.choice.centred
        ways = [before[2] @ before[1], before[2]]
        e = [c.eligibility.clone() for c in learner.connections.values()]
        actor.learn(REWARD)
        for k, change in enumerate(changes(net, before)[:2]):
            heard, states[k] = feedback[k].step(signal, states[k], ways[k])
            torch.testing.assert_close(change, LR * torch.einsum("bo,boi->oi", heard, e[k]) / B, rtol=1e-4, atol=1e-6)
        learner.reset()


def test_layers_without_feedback_hear_nothing():
    net, learner, _ = made()
    actor = Actor(learner, feedback={"layers.1": RandomFeedback(7)})
    before = weights(net)
    net(steps_of())
    actor.act()
    actor.learn(REWARD)
    assert [bool(change.any()) for change in changes(net, before)] == [False, True, True]


def test_choices_follow_the_policy_and_the_seed_alone():
    preferences = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).repeat(20_000, 1)
    _, _, actor = made(temperature=0.5, seed=4)
    state = torch.get_rng_state()
    action = actor.act(preferences)
    assert torch.equal(state, torch.get_rng_state())
    share = torch.bincount(action, minlength=4) / len(action)
    policy = torch.softmax(preferences[0] / 0.5, 0)
    assert ((share - policy).abs() < 4 * (policy * (1 - policy) / len(action)).sqrt()).all()
    assert torch.equal(action, made(temperature=0.5, seed=4)[2].act(preferences))
    assert not torch.equal(action, made(temperature=0.5, seed=5)[2].act(preferences))
    assert (actor.act(preferences, greedy=True) == 2).all()
    centred = actor.choice.centred
    torch.testing.assert_close(centred.sum(1), torch.zeros(len(centred)), atol=1e-6, rtol=0.0)
    torch.testing.assert_close(actor.choice.probability, policy[2].expand(len(centred)))


def test_spikes_are_counted_from_choice_to_choice_and_not_while_paused():
    net, learner, actor = made()
    first, second = steps_of(1), steps_of(2)
    with torch.no_grad():
        counts = net(first).sum(0)
        with learner.paused():
            held_out = net(second).sum(0)
            actor_paused = actor.act(greedy=True)
        counts = counts + net(second).sum(0)
        actor.act()
        expected = torch.softmax(counts, 1)
    torch.testing.assert_close(actor.choice.probability, expected.gather(1, actor.choice.action[:, None])[:, 0])
    assert torch.equal(actor_paused, held_out.argmax(1))
    with pytest.raises(RuntimeError, match="its neurons did nothing since the last choice"):
        actor.act()


def test_membranes_are_read_where_they_are_asked_for():
    net, learner, _ = made()
    actor = Actor(learner, reads="membrane")
    membranes, step = [], net.neurons[-1].forward

    def noted(*given):
        spikes, mem = step(*given)
        membranes.append(mem.detach())
        return spikes, mem

    net.neurons[-1].forward = noted
    net(steps_of())
    actor.act()
    policy = torch.softmax(sum(membranes), 1)
    torch.testing.assert_close(actor.choice.probability, policy.gather(1, actor.choice.action[:, None])[:, 0])


def test_what_reward_is_measured_against():
    preferences = torch.randn(B, 4, generator=torch.Generator().manual_seed(0))
    features, after = torch.eye(B, 6), torch.eye(B, 6).roll(1, 1)
    baseline, critic = RewardBaseline(tau=3.0), TDCritic(TDCriticConfig(n_features=6, lr=0.3))
    over = torch.tensor([False, True, False, False, True])

    def actor_with(promise):
        _, learner, _ = made()
        actor = Actor(learner, promise=promise)
        net_input = steps_of()
        learner.hooks[0].model(net_input)
        return actor

    actor = actor_with("policy")
    actor.act(preferences)
    torch.testing.assert_close(actor.learn(REWARD), REWARD - actor.choice.probability)
    torch.testing.assert_close(actor.learn(REWARD, promise=REWARD / 2), REWARD / 2)
    actor, state = actor_with(baseline), baseline.init(B)
    for _ in range(3):
        actor.act(preferences)
        error, state = baseline.step(REWARD, 0, state)
        torch.testing.assert_close(actor.learn(REWARD), error)
    actor, learnt = actor_with(critic), critic.init(B)
    for _ in range(3):
        actor.act(preferences, features=features)
        error, learnt = critic.step(features, REWARD, after, learnt, terminated=over, truncated=~over)
        found = actor.learn(REWARD, next_features=after, terminated=over, truncated=~over)
        torch.testing.assert_close(found, error)
    for part, expected in zip(actor._learnt.promise, learnt, strict=True):
        torch.testing.assert_close(part, expected)


@pytest.mark.parametrize("promise", ["policy", RewardBaseline(tau=3.0), TDCritic(TDCriticConfig(n_features=6))])
def test_samples_in_which_nothing_was_chosen_teach_nothing(promise):
    valid = torch.tensor([True, False, True, True, False])
    found = []
    for garbage in (0.0, 100.0):
        net, learner, _ = made()
        actor, told = Actor(learner, promise=promise), {}
        for trial in range(3):
            net(steps_of(trial))
            if isinstance(promise, TDCritic):
                told = {"next_features": torch.eye(B, 6) + garbage * (~valid).float().unsqueeze(1)}
                actor.act(features=torch.eye(B, 6) + garbage * (~valid).float().unsqueeze(1))
            else:
                actor.act()
            error = actor.learn(torch.where(valid, REWARD, garbage), valid=valid, **told)
            assert not error[~valid].any()
            learner.reset()
        found.append([*weights(net), error])
    assert all(map(torch.equal, *found))


def test_a_trace_keeps_each_choice_with_its_own_eligibility():
    """E ← γλ E + L·e at every choice, e of the window since the one before; silence in between changes nothing."""
    net, learner, _ = made(config=PlasticityConfig.eprop(lr=LR))
    actor, kept = Actor(learner, trace=0.8, promise=0.0, feedback="random"), None
    for trial in range(4):
        net(steps_of(trial))
        e = [c.eligibility.clone() for c in learner.connections.values()]
        actor.act()
        signals = actor._signals(actor.choice.centred)[0]
        now = [signals[name].unsqueeze(2) * each for name, each in zip(learner.connections, e, strict=True)]
        kept = now if kept is None else [0.8 * old + new for old, new in zip(kept, now, strict=True)]
    before = weights(net)
    actor.learn(REWARD)
    after = changes(net, before)
    for change, each in zip(after, kept, strict=True):
        assert each.any()
        torch.testing.assert_close(change, LR * torch.einsum("b,boi->oi", REWARD, each) / B, rtol=1e-4, atol=1e-7)
    over = torch.tensor([True, False, False, True, False])
    actor.reset(over)
    before = weights(net)
    actor.learn(REWARD)
    for change, each in zip(changes(net, before), kept, strict=True):
        left = REWARD.masked_fill(over, 0.0)
        torch.testing.assert_close(change, LR * torch.einsum("b,boi->oi", left, each) / B, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("trace", [None, 1.0])
def test_silence_before_the_reward_changes_no_memory_of_the_choice(trace):
    found = []
    for silent in (0, 30):
        net, learner, _ = made()
        for layer in net.layers:
            nn.init.zeros_(layer.bias)
        config_of = learner.connections["layers.0"].config
        assert config_of.eligibility.tau_e == float("inf")
        actor = Actor(learner, trace=trace, promise=0.0)
        before = weights(net)
        net(steps_of())
        actor.act()
        remembered = actor.choice
        if silent:
            net(torch.zeros(silent, B, N_IN))
        actor.learn(REWARD)
        assert actor.choice is remembered
        found.append(changes(net, before))
    if trace is not None:
        assert all(map(torch.equal, *found))


def test_bounds_reduce_and_masks_hold_for_what_a_trace_changes():
    config = PlasticityConfig(
        EligibilityConfig(kernel=EProp(response=((1.0, 0.9),)), tau_e=float("inf"), clamp_range=None),
        three_factor=ThreeFactorConfig(lr=50.0, weight_bounds=(-0.2, 0.2)),
    )
    net, learner, _ = made(config=config)
    actor = Actor(learner, trace=0.5, promise=0.0)
    for layer in net.layers:
        nn.init.uniform_(layer.weight, 0.0, 0.2)
    net(steps_of())
    actor.act()
    learner.reduce, before = (lambda delta: torch.zeros_like(delta)), weights(net)
    actor.learn(REWARD)
    assert not any(change.any() for change in changes(net, before))
    learner.reduce = lambda delta: 2.0 * delta
    actor.learn(REWARD)
    assert all(change.any() for change in changes(net, before))
    assert all(layer.weight.abs().max() <= 0.2 for layer in net.layers)
    learner.reduce = lambda delta: delta.fill_(float("nan"))
    before = weights(net)
    with pytest.raises(ValueError, match="NaN"):
        actor.learn(REWARD)
    assert not any(change.any() for change in changes(net, before))


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.lif1 = nn.Conv2d(1, 3, 3, padding=1), snn.Leaky(0.9, threshold=0.1, init_hidden=True)
        self.conv2, self.lif2 = nn.Conv2d(3, 4, 3, stride=2), snn.Leaky(0.9, threshold=0.1, init_hidden=True)
        self.fc, self.lif3 = nn.Linear(4 * 3 * 3, 5), snn.Leaky(0.9, init_hidden=True)

    def forward(self, x):
        return self.lif3(self.fc(self.lif2(self.conv2(self.lif1(self.conv1(x)))).flatten(1)))


def test_the_way_down_through_convolutions_is_that_of_autograd():
    torch.manual_seed(0)
    net = ConvNet()
    learner = attach(net, PlasticityConfig.eprop(lr=LR))
    x = (torch.rand(4, B, 1, 8, 8) < 0.4).float()
    for step in x:
        net(step)
    actor = Actor(learner)
    ways = matrices(populations(learner, "fc"), 5, torch.zeros(1))
    first = torch.zeros(1, 3, 8, 8)
    jacobian = torch.autograd.functional.jacobian(
        lambda z: torch.nn.functional.linear(torch.nn.functional.conv2d(z, net.conv2.weight, stride=2).flatten(1),
                                             net.fc.weight), first)  # fmt: skip
    torch.testing.assert_close(ways["conv1"], jacobian[0, :, 0].flatten(1))
    torch.testing.assert_close(ways["conv2"], net.fc.weight.detach())
    net(x[0])
    actor.act()
    plastic = (net.conv1.weight, net.conv2.weight, net.fc.weight)
    before = [weight.detach().clone() for weight in plastic]
    actor.learn(REWARD)
    assert not any(map(torch.equal, before, plastic))


def test_the_way_down_is_found_where_pools_lie_before_neurons():
    """snnTorch's quickstart net: the neurons behind a pool are fewer than what the convolution gives."""
    torch.manual_seed(0)
    leaky = partial(snn.Leaky, 0.9, threshold=0.1, init_hidden=True)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.AvgPool2d(2), leaky(), nn.Conv2d(3, 4, 2), nn.MaxPool2d(2), leaky(),
        nn.Flatten(), nn.Linear(4 * 4, 5), leaky(),
    )  # fmt: skip
    learner = attach(net, PlasticityConfig.eprop(lr=LR))
    actor = Actor(learner)
    for _ in range(2):
        for step in (torch.rand(4, B, 1, 12, 12) < 0.4).float():
            net(step)
        actor.act()
        ways = matrices(populations(learner, "7"), 5, torch.zeros(1))
        out = net[7].weight.detach().unflatten(1, (4, 2, 2))
        torch.testing.assert_close(ways["3"], out.flatten(1))
        spread = torch.zeros(5, 4, 4, 4)
        spread[:, :, :, :] = out.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
        below = torch.nn.functional.conv_transpose2d(spread, net[3].weight.detach())
        torch.testing.assert_close(ways["0"], below.flatten(1))
        before = net[0].weight.detach().clone()
        actor.learn(REWARD)
        assert not torch.equal(before, net[0].weight)
        learner.reset()


@pytest.mark.parametrize("host", ["snntorch", "norse"])
def test_recurrent_neurons_hear_one_signal_through_all_their_weights(host):
    """Weights onto the neurons themselves get what those from below get, and are no way down."""
    torch.manual_seed(0)
    if host == "snntorch":
        hidden = snn.RLeaky(beta=0.9, linear_features=6, threshold=0.3, init_hidden=True)
        net = nn.Sequential(
            nn.Linear(N_IN, 5), snn.Leaky(0.9, threshold=0.3, init_hidden=True),
            nn.Linear(5, 6), hidden, nn.Linear(6, 4), snn.Leaky(0.9, init_hidden=True),
        )  # fmt: skip
        below, out = net[2].weight, net[4].weight
    else:
        norse = pytest.importorskip("norse.torch")
        hidden = norse.LIFRecurrentCell(5, 6)
        net = norse.SequentialState(nn.Linear(N_IN, 5), norse.LIFBoxCell(), hidden, nn.Linear(6, 4), norse.LIFBoxCell())
        below, out = hidden.input_weights, net[3].weight
    kernel = EProp(response=((1.0, 0.9),))
    config = PlasticityConfig(EligibilityConfig(kernel=kernel, tau_e=float("inf"), clamp_range=None))
    learner = attach(net, config, post=lambda call: torch.ones_like(call.spikes))
    net(steps_of()[0])
    groups = populations(learner, "4" if host == "snntorch" else "3")
    ways = matrices(groups, 4, torch.zeros(1))
    assert [len(group.connections) for group in groups] == [1, 2, 1] and len(ways) == 4
    into, onto = (c.name for c in groups[1].connections)
    assert torch.equal(ways[into], ways[onto]) and torch.equal(ways[into], out.detach())
    torch.testing.assert_close(ways[groups[2].connections[0].name], (out @ below).detach())


def test_copies_and_removal_leave_the_actor_of_the_first_alone():
    net, learner, actor = made()
    with torch.no_grad():
        net(steps_of())
    twin, other = copy.deepcopy((net, learner))
    twin(steps_of(3))
    other.reset()
    counts = torch.stack(net.spikes[-1]).sum(0)
    actor.act()
    policy = torch.softmax(counts, 1)
    torch.testing.assert_close(actor.choice.probability, policy.gather(1, actor.choice.action[:, None])[:, 0].detach())
    learner.remove()
    assert not any(type(hook).__name__ == "NeuronWatch" for m in net.modules() for hook in m._forward_hooks.values())


def test_what_does_not_fit_is_refused_in_a_sentence():
    net, learner, actor = made()
    for settings, error in (
        ({"readout": "fc9"}, "readout = 'fc9'; expected one of the connections"),
        ({"n_actions": 3}, "n_actions = 3, and layers.2 has 4 neurons"),
        ({"temperature": 0.0}, "temperature"),
        ({"promise": "much"}, "promise = 'much'; expected one of 'policy' or a number"),
        ({"feedback": {"layers.2": "random"}}, r"feedback is for \['layers.2'\]; expected names below layers.2"),
        ({"trace": 1.5}, "trace"),
        ({"reads": "voltage"}, "reads = 'voltage'"),
    ):
        with pytest.raises(ValueError, match=error):
            Actor(learner, **settings)
    with pytest.raises(TypeError, match=r"A tensor goes to actor.learn\(reward, promise=...\)"):
        Actor(learner, promise=torch.ones(2))
    with pytest.raises(RuntimeError, match="There is no choice that a reward could be for"):
        actor.learn(1.0)
    net(steps_of())
    with pytest.raises(ValueError, match=r"preferences are .*; expected \(B, 4\)"):
        actor.act(torch.ones(B, 3))
    with pytest.raises(TypeError, match="features was given, and promise is 'policy'"):
        actor.act(features=torch.ones(B, 3))
    actor.act()
    learner.reset()
    with pytest.raises(RuntimeError, match="There is no choice"):
        actor.learn(1.0)
    net(steps_of())
    actor.act()
    before = weights(net)
    with pytest.raises(ValueError, match="reward has shape"):
        actor.learn(torch.ones(B + 1))
    assert not any(change.any() for change in changes(net, before))


def test_a_way_down_that_is_not_known_is_refused_and_random_feedback_needs_none():
    class Pooled(ConvNet):
        def forward(self, x):
            hidden = torch.nn.functional.max_pool2d(self.lif1(self.conv1(x)), 2)
            return self.lif3(self.fc2(hidden.flatten(1)))

    torch.manual_seed(0)
    net = Pooled()
    net.fc2 = nn.Linear(3 * 4 * 4, 5)
    del net.conv2, net.fc
    learner = attach(net, PlasticityConfig.eprop(lr=LR))
    actor, random = Actor(learner, "fc2"), Actor(learner, "fc2", feedback="random")
    net((torch.rand(B, 1, 8, 8) < 0.4).float())
    actor.act()
    random.act()
    with pytest.raises(ValueError, match="conv1: its feedback needs the weights from there to fc2"):
        actor.learn(REWARD)
    before = net.conv1.weight.detach().clone()
    random.learn(REWARD)
    assert not torch.equal(before, net.conv1.weight)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::snn_plasticity.PlasticityWarning")  # of Adam, which divides by size
@pytest.mark.parametrize("feedback", ["symmetric", "random"])
def test_an_ordinary_net_reads_digits_from_right_or_wrong_alone(feedback):
    """snnTorch's tutorial 5, unmodified: 64–100–10, 25 steps of constant current; 6 epochs."""
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    torch.manual_seed(0)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]

    class Tutorial(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.lif1 = nn.Linear(64, 100), snn.Leaky(beta=0.95)
            self.fc2, self.lif2 = nn.Linear(100, 10), snn.Leaky(beta=0.95)

        def forward(self, x):
            mem1, mem2, spikes = self.lif1.init_leaky(), self.lif2.init_leaky(), []
            for _ in range(25):
                hidden, mem1 = self.lif1(self.fc1(x), mem1)
                out, mem2 = self.lif2(self.fc2(hidden), mem2)
                spikes.append(out)
            return torch.stack(spikes)

    net = Tutorial()
    learner = attach(net, PlasticityConfig.eprop(lr=1.0, mode="hybrid"))
    actor = Actor(learner, temperature=2.0, feedback=feedback)
    optimizer = torch.optim.Adam([net.fc1.weight, net.fc2.weight], lr=2e-3)
    with torch.no_grad():
        for _ in range(6):
            for now, digit in zip(x[:1347].split(64), y[:1347].split(64), strict=True):
                net(now)
                optimizer.zero_grad()
                actor.learn((actor.act() == digit).float())
                optimizer.step()
                learner.reset()
        with learner.paused():
            accuracy = (net(x[1347:]).sum(0).argmax(1) == y[1347:]).float().mean()
    assert accuracy > 0.8


def critic_of(n_features):
    return TDCritic(TDCriticConfig(n_features=n_features, lr=0.1, scope="batch"))


PROMISES = {
    "policy": lambda: "policy",
    "number": lambda: 0.5,
    "baseline": lambda: RewardBaseline("running"),
    "critic": lambda: critic_of(3),
}


@pytest.mark.parametrize("trace", [None, 0.9])
@pytest.mark.parametrize("promise", PROMISES)
def test_a_resumed_actor_lives_the_same_life(promise, trace, tmp_path):
    """Saved after the net has run and before the actor chooses: the same draws and weights, bit for bit."""
    made_up = torch.rand(12, B, 3, generator=torch.Generator().manual_seed(2))

    def born():
        return made(promise=PROMISES[promise](), feedback="adaptive", trace=trace, temperature=9.0, seed=3)

    def live(net, actor, trials, chosen, save=None):
        for k in trials:
            net(steps_of(k))
            if k == save:
                state = {"net": net.state_dict(), "learner": actor.learner.state_dict(), "actor": actor.state_dict()}
                torch.save(state, tmp_path / "saved.pt")
            with_critic = promise == "critic"
            chosen.append(actor.act(features=made_up[k] if with_critic else None))
            over = {"next_features": made_up[k + 1]} if with_critic else {}
            actor.learn((chosen[-1] == 1).float(), **over)

    with torch.no_grad():
        net, _, actor = born()
        whole = []
        live(net, actor, range(8), whole, save=4)
        twin, learner, resumed = born()
        twin(steps_of(0))
        learner.reset()
        saved = torch.load(tmp_path / "saved.pt", weights_only=True)
        twin.load_state_dict(saved["net"])
        learner.load_state_dict(saved["learner"])
        resumed.load_state_dict(saved["actor"])
        again = []
        again.append(resumed.act(features=made_up[4] if promise == "critic" else None))
        resumed.learn((again[-1] == 1).float(), **({"next_features": made_up[5]} if promise == "critic" else {}))
        live(twin, resumed, range(5, 8), again)
    assert torch.equal(torch.stack(again), torch.stack(whole[4:])) and len(torch.stack(again).unique()) > 1
    for name, weight in net.state_dict().items():
        assert torch.equal(twin.state_dict()[name], weight), name


def spoiled(state, which):
    state = copy.deepcopy(state)
    if which == "settings":
        state["settings"]["temperature"] = 2.0
    elif which == "choice":
        state["choice"][0] = state["choice"][0] + 9
    elif which == "feedback":
        state["feedback"]["layers.0"][0][0, 0] = float("nan")
    elif which == "stranger":
        state["kept"]["elsewhere"] = torch.zeros(1)
    elif which == "promise":
        state["promise"] = {"averages": torch.zeros(1)}
    elif which == "draws":
        state["draws"] = state["draws"][:5]
    elif which == "part":
        del state["heard"]
    return state


@pytest.mark.parametrize("which", ["settings", "choice", "feedback", "stranger", "promise", "draws", "part"])
def test_a_saved_actor_that_does_not_fit_is_refused_and_nothing_is_changed(which):
    with torch.no_grad():
        net, _, actor = made(feedback="random")
        net(steps_of())
        actor.act()
        actor.learn(1.0)
        before = copy.deepcopy(actor.state_dict())
        with pytest.raises(ValueError, match="The saved actor|was saved with other settings|feedback"):
            actor.load_state_dict(spoiled(before, which))
    after = actor.state_dict()
    assert torch.equal(after["draws"], before["draws"])
    assert all(torch.equal(a, b) for a, b in zip(after["choice"][:3], before["choice"][:3], strict=True))
    for name, state in before["feedback"].items():
        assert all(torch.equal(a, b) for a, b in zip(after["feedback"][name], state, strict=True))


@pytest.mark.parametrize("cell", ["LIFCell", "LSNNCell", "LIFRefracCell"])
def test_membranes_of_norse_are_read(cell):
    norse = pytest.importorskip("norse.torch")
    torch.manual_seed(0)
    layer, neuron = nn.Linear(N_IN, 4), getattr(norse, cell)()
    learner = attach(norse.SequentialState(layer, neuron), PlasticityConfig.eprop())
    actor, total, state = Actor(learner, reads="membrane"), torch.zeros(B, 4), None
    with torch.no_grad():
        layer.weight.mul_(20.0)
        for x in steps_of():
            spikes, state = neuron(layer(x), state)
            total += (state.lif if hasattr(state, "lif") else state).v
        assert total.abs().sum() > 0
        action = actor.act()
    policy = torch.softmax(total, 1)
    torch.testing.assert_close(actor.choice.probability, policy.gather(1, action.unsqueeze(1)).squeeze(1))


def test_membranes_of_a_whole_sequence_of_norse_are_not_told():
    norse = pytest.importorskip("norse.torch")
    learner = attach(net := nn.Sequential(nn.Linear(N_IN, 4), norse.LIF()), PlasticityConfig.eprop())
    actor = Actor(learner, reads="membrane")
    net(steps_of())
    with pytest.raises(RuntimeError, match="do not tell their membrane"):
        actor.act()
