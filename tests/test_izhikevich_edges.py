"""The demo of Izhikevich neurons on 100,000 edges: their rates, their currents, what they learn, and late rewards."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from norse.torch.functional.izhikevich import izhikevich_feed_forward_step
from tqdm import tqdm

from snn_plasticity import EligibilityTraceModule

DEMOS = Path(__file__).parent.parent / "demos"
sys.path.insert(0, str(DEMOS))
demo, life, net = map(import_module, ("izhikevich_edges", "izhikevich_life", "izhikevich_network"))
N, E = net.NEURONS, net.EXCITATORY


def some_networks(batch=1, seed=0):
    return net.Networks(batch, torch.Generator().manual_seed(seed))


def dense(networks, b=0):
    """Weights as a matrix (N, N), posts above pres."""
    matrix = torch.zeros(N, N)
    matrix[networks.edges[1], networks.edges[0]] = weights(networks)[b]
    return matrix


def weights(networks):
    """Those of all edges, (B, 100000)."""
    inhibitory = networks.inhibitory.weight.detach().expand(len(networks.plastic), -1)
    return torch.cat((networks.plastic, inhibitory), 1)


def published_program(weights, milliseconds, seed):
    """Rates of the published network (daspnet.m): v in two half steps, u in one; spikes are found a step later."""
    rng, excitatory = np.random.default_rng(seed), np.arange(N) < E
    a, d = np.where(excitatory, 0.02, 0.1), np.where(excitatory, 8.0, 2.0)
    v, u, counts = np.full(N, -65.0), np.full(N, -13.0), np.zeros(N)
    for _ in range(milliseconds):
        current, fired = 13 * (rng.random(N) - 0.5), v >= 30
        v[fired], u[fired], counts = -65.0, u[fired] + d[fired], counts + fired
        current += weights[:, fired].sum(1)
        for _ in range(2):
            v += 0.5 * ((0.04 * v + 5) * v + 140 - u + current)
        u += a * (0.2 * v - u)
    return counts[:E].mean() * 1000 / milliseconds, counts[E:].mean() * 1000 / milliseconds


def test_a_thousand_neurons_with_a_hundred_synapses_each():
    networks = some_networks()
    source, target = networks.edges
    assert networks.edges.shape == (2, 100_000)
    assert torch.equal(torch.bincount(source), torch.full((N,), 100))
    assert bool((target[source >= E] < E).all())
    assert torch.equal(weights(networks)[0] > 0, source < E)


def test_they_fire_as_often_as_in_the_published_program():
    networks, steps = some_networks(), 3000
    with torch.no_grad():
        rates = torch.stack([networks.step()[0] for _ in range(steps)]).mean(0) * 1000
    excitatory, inhibitory = float(rates[:E].mean()), float(rates[E:].mean())
    theirs = published_program(dense(networks).double().numpy(), steps, seed=1)
    assert 0.8 < excitatory < 2.5
    assert excitatory == pytest.approx(theirs[0], rel=0.15)
    assert inhibitory == pytest.approx(theirs[1], rel=0.4)  # u in two half steps: a fifth more, measured over 15 s


def test_the_edges_deliver_what_a_matrix_would_a_millisecond_later():
    networks = some_networks(batch=2)
    networks.plastic.uniform_(-2.0, 2.0)
    networks.inhibitory.weight.detach().uniform_(-2.0, 2.0)
    networks.spikes = (torch.rand(2, N) < 0.1).float()
    matrices, spikes, state = [dense(networks, b) for b in (0, 1)], networks.spikes, networks.state
    noise = net.THALAMUS * (torch.rand(2, N, generator=networks.generator.clone_state()) - 0.5)
    current = noise + torch.stack([matrix @ fired for matrix, fired in zip(matrices, spikes, strict=True)])
    fired = networks.step()
    first, state = izhikevich_feed_forward_step(current, state, networks.parameters, dt=0.0005)
    second, state = izhikevich_feed_forward_step(current, state, networks.parameters, dt=0.0005)
    torch.testing.assert_close(networks.state.v, state.v, rtol=1e-4, atol=1e-3)
    assert torch.equal(fired, first + second)


def test_the_edges_learn_as_the_full_matrix_does_step_by_step():
    networks, blocks = some_networks(batch=2), 15
    networks.plastic[:] = 2.0
    learning, full = net.Learning(networks, 1000.0), EligibilityTraceModule(E, N, net.stdp(1000.0), path="plain")
    source, target = networks.edges[:, : net.PLASTIC]
    expected, level, met, before = networks.plastic.clone(), 0.0, [], networks.spikes[:, :E]
    for block in range(blocks):
        spikes = (torch.rand(net.BLOCK, 2, N) < 0.01).float()
        arriving = torch.cat((before.unsqueeze(0), spikes[:-1, :, :E]))
        reward, before = float(block in (4, 5)), spikes[-1, :, :E]
        learning.block(arriving, spikes, reward)
        for pre, post in zip(arriving, spikes, strict=True):
            full.observe(pre, post)
        level = min(1.0, level * np.exp(-net.BLOCK / 200) + 0.5 * reward)
        met.append(level + 0.002)
        gain = torch.tensor([[met[-1]], [np.mean(met)]])
        expected += net.BLOCK / 10 * gain * full.eligibility[:, target, source]
        expected.clamp_(0.0, 4.0)
    assert float((networks.plastic - 2.0).abs().max()) > 0.5
    torch.testing.assert_close(networks.plastic, expected, rtol=1e-4, atol=1e-4)
    assert bool((weights(networks)[:, net.PLASTIC :] == net.INHIBITORY).all())


@pytest.mark.filterwarnings("ignore:excitatory. its elig:snn_plasticity.PlasticityWarning")  # at first all are silent
def test_one_coincidence_and_one_reward_seconds_later_reach_one_synapse():
    networks = some_networks(batch=2)
    edge = int((networks.edges[0] == 0).nonzero()[0])
    n2 = int(networks.edges[1, edge])
    learning, experimenter = net.Learning(networks, 1000.0), life.Experimenter(n2, torch.Generator().manual_seed(0))
    for start in range(0, 3600, net.BLOCK):
        arriving, spikes = torch.zeros(net.BLOCK, 2, E), torch.zeros(net.BLOCK, 2, N)
        if start == 100:
            spikes[2, :, 0], arriving[3, :, 0], spikes[8, :, n2] = 1.0, 1.0, 1.0
        experimenter.watch(spikes, start)
        learning.block(arriving, spikes, experimenter.pay(start + net.BLOCK))
    change = networks.plastic - net.START
    assert experimenter.coincidences == [108]
    assert 1108 <= experimenter.paid[0] <= 3108
    tag = 0.1 * 0.95**5  # the spike arrives a millisecond after n1 fired
    ends = np.arange(120, 3601, net.BLOCK)  # of the blocks, from that of the coincidence on
    since = ends - net.BLOCK * (experimenter.paid[0] // net.BLOCK + 1)
    dopamine = 0.002 + np.where(since >= 0, 0.5 * np.exp(-since.clip(0) / 200), 0.0)
    expected = net.BLOCK / 10 * (dopamine * tag * 0.999 ** (ends - 109)).sum()
    assert float(change[0, edge]) == pytest.approx(expected, rel=1e-3)
    assert float(change[0, edge]) > 1.5 * float(change[1, edge]) > 0.0
    change[:, edge] = 0.0
    assert not change.any()


def test_rewards_are_for_n2_after_n1_and_within_twenty_milliseconds():
    experimenter = life.Experimenter(5, torch.Generator().manual_seed(0))
    spikes = torch.zeros(200, 1, N)
    for n1, n2 in ((10, 5), (40, 40), (80, 100), (150, 169)):  # before, at once, too late, in time
        spikes[n1, 0, 0] = spikes[n2, 0, 5] = 1.0
    experimenter.watch(spikes, 0)
    assert experimenter.coincidences == [169]
    assert experimenter.pay(1169) == 0.0
    assert experimenter.pay(3170) == 1.0
    assert experimenter.pay(9000) == 0.0


def test_too_short_a_life_is_not_judged_and_draws_its_figure(tmp_path, capsys):
    figure = tmp_path / "figure.png"
    assert demo.main(["--seconds", "1", "--figure", str(figure)]) == 0
    assert "--seconds 1 (default: 480)" in capsys.readouterr().out
    assert figure.stat().st_size > 50_000


@pytest.mark.slow
def test_the_rewarded_synapse_finds_out():
    record = life.live(300, 2000.0, 0, tqdm(disable=True))
    assert all(finding.kept for finding in demo.judge(record).values())
