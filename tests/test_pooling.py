"""Pools between a layer and its neuron: Δw is that of autograd through the pool of each step, with its own winners."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from functools import partial

import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from host_models import (
    BATCH,
    CONFIG,
    FAST,
    LR,
    MODULATOR,
    changes,
    close,
    excitable,
    expected_conv,
    first,
    trains,
)
from torch import nn
from torch.nn import functional as F

from snn_plasticity import EligibilityConfig, PlasticityConfig, ThreeFactorConfig, attach
from snn_plasticity.hosts import PairingError
from snn_plasticity.plasticity import EligibilityVectors

STEPS = 8
RATE = PlasticityConfig(
    EligibilityConfig(kernel="rate", tau_e=1e9, clamp_range=None),
    three_factor=ThreeFactorConfig(lr=LR, weight_clamp=None),
)
SIZES = {1: (9,), 2: (7, 8), 3: (5, 6, 5)}
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
MODULES = {
    "max": lambda d: getattr(nn, f"MaxPool{d}d")(2),
    "max overlapping": lambda d: getattr(nn, f"MaxPool{d}d")(3, 1, padding=1),
    "max dilated": lambda d: getattr(nn, f"MaxPool{d}d")(2, 1, dilation=2),
    "max ceil": lambda d: getattr(nn, f"MaxPool{d}d")(2, 2, ceil_mode=True),
    "avg": lambda d: getattr(nn, f"AvgPool{d}d")(2),
    "avg overlapping": lambda d: getattr(nn, f"AvgPool{d}d")(3, 2, 1),
    "avg without padding": lambda d: getattr(nn, f"AvgPool{d}d")(3, 2, 1, ceil_mode=True, count_include_pad=False),
    "adaptive max": lambda d: getattr(nn, f"AdaptiveMaxPool{d}d")(2),
    "adaptive avg": lambda d: getattr(nn, f"AdaptiveAvgPool{d}d")(3),
}
FUNCTIONS = {
    "max": lambda d: partial(getattr(F, f"max_pool{d}d"), kernel_size=2),
    "max with indices": lambda d: lambda z: getattr(F, f"max_pool{d}d")(z, 2, 1, return_indices=True)[0],
    "torch max": lambda d: lambda z: getattr(torch, f"max_pool{d}d")(z, 2, stride=1),
    "avg": lambda d: partial(getattr(F, f"avg_pool{d}d"), kernel_size=2, stride=1),
    "adaptive max": lambda d: lambda z: getattr(F, f"adaptive_max_pool{d}d")(input=z, output_size=2),
    "adaptive avg": lambda d: lambda z: getattr(F, f"adaptive_avg_pool{d}d")(z, 2),
    "mean": lambda d: lambda z: z.mean(tuple(range(2, 2 + d))),
    "mean kept": lambda d: lambda z: torch.mean(z, dim=-1, keepdim=True),
}


def lif(**options):
    return snntorch.Leaky(beta=0.6, threshold=0.3, init_hidden=True, **options)


def conv(dims=2, into=1, out=3, **options):
    return excitable(CONVS[dims](into, out, 2, **options), -0.2 if dims > 1 else 0.0, 0.6)


class Net(nn.Module):
    """A layer, whatever is between, a pool, whatever is between, a neuron, step by step over (T, B, ...)."""

    def __init__(self, layer, pool, neuron, before=lambda z: z, after=lambda z: z):
        super().__init__()
        self.layer, self.neuron, self.pool, self.before, self.after = layer, neuron, pool, before, after

    def forward(self, xs):
        state = ()
        for x in xs:
            given = self.after(self.pool(self.before(self.layer(x))))
            output = self.neuron(given, *state)
            state = (output[1],) if isinstance(output, tuple) else ()


class Seen:
    """What the layer was given and gave, and what the neuron gave, seen by hooks of the test's own."""

    def __init__(self, layer, neuron):
        self.layer, self.pre, self.made, self.post, self.deaf = layer, [], [], [], False
        layer.register_forward_hook(self._layer)
        neuron.register_forward_hook(lambda m, args, out: self.post.append(first(out).detach().clone()))

    def _layer(self, module, args, output):
        if self.deaf:
            return
        self.pre.append(args[0].detach().clone())
        self.made.append(output.detach().clone())

    def posts(self, pool):
        """∂⟨post, pool(z)⟩ / ∂z of each step."""
        return [vjp(pool, z, post) for z, post in zip(self.made, self.post, strict=True)]

    def change(self, pool):
        """lr · modulator · mean over samples of Σ_t ∂⟨post_t, pool(layer(pre_t; W))⟩ / ∂W."""
        self.deaf, total = True, torch.zeros_like(self.layer.weight, dtype=torch.float64)
        for pre, post in zip(self.pre, self.posts(pool), strict=True):
            made = self.layer(pre)
            total += torch.autograd.grad(made, self.layer.weight, post.view_as(made))[0].double()
        self.deaf = False
        assert total.abs().max() > 0.1, "the test saw no activity"
        return np.asarray(LR * MODULATOR * total / len(self.pre[0]))


def vjp(pool, z, post):
    with torch.enable_grad():
        z = z.clone().requires_grad_()
        made = pool(z)
        return torch.autograd.grad(made, z, post.reshape(made.shape))[0]


def checked(net, pool, xs, config=RATE, grad=False, calls=1):
    """Attach, run, compare; the learner."""
    seen = Seen(net.layer, net.neuron)
    learner = attach(net, config, pre=lambda x: x)
    with torch.set_grad_enabled(grad):
        moved = changes(net, learner, lambda: [net(x) for x in xs.chunk(calls)])
    with learner.paused():
        close(moved["layer"], seen.change(pool))
    return learner


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kind", MODULES)
def test_a_pool_module(kind, dims, grad):
    pool = MODULES[kind](dims)
    learner = checked(Net(conv(dims), pool, lif()), pool, trains(STEPS, BATCH, 1, *SIZES[dims]), grad=grad, calls=2)
    assert not learner.hooks[0].wiring.watching


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_a_pool_function(kind, dims):
    pool = FUNCTIONS[kind](dims)
    checked(Net(conv(dims), pool, lif()), pool, trains(STEPS, BATCH, 1, *SIZES[dims]))


@pytest.mark.parametrize("kind", ["max", "max overlapping", "avg overlapping", "adaptive avg"])
@pytest.mark.parametrize("module", [True, False])
def test_norse_cells(kind, module):
    pool = MODULES[kind](2)
    net = Net(conv(), pool if module else pool.forward, norse.LIFCell(FAST))
    checked(net, pool, trains(STEPS, BATCH, 1, 7, 8))


@pytest.mark.parametrize("calls", [1, 3])
@pytest.mark.parametrize("kind", ["max", "max overlapping", "avg", "adaptive max"])
def test_a_sequence_through_lift(kind, calls):
    pool, layer, neuron = MODULES[kind](2), conv(), norse.LIF(FAST)
    net = norse.SequentialState(norse.Lift(layer), norse.Lift(pool), neuron)
    seen, learner, xs = Seen(layer, neuron), attach(net, RATE), trains(6, BATCH, 1, 7, 8)

    def run(state=None):
        for x in xs.chunk(calls):
            _, state = net(x, state)

    moved = changes(net, learner, run)
    seen.post = [step for call in seen.post for step in call]
    with learner.paused():
        close(moved["0.lifted_module"], seen.change(pool))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", ["max overlapping", "avg"])
def test_a_sequence_that_is_folded_into_the_batch(kind, batch_first):
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.pool, self.neuron = conv(), MODULES[kind](2), norse.LIF(FAST)

        def forward(self, x):
            front = x.shape[:2]
            z = self.pool(self.layer(x.flatten(0, 1))).unflatten(0, front)
            return self.neuron(z.transpose(0, 1) if batch_first else z)

    net = Whole()
    seen, learner, xs = Seen(net.layer, net.neuron), attach(net, RATE), trains(6, BATCH, 1, 7, 8)
    given = xs.transpose(0, 1).contiguous() if batch_first else xs
    moved = changes(net, learner, lambda: net(given))
    post = seen.post[0].transpose(0, 1) if batch_first else seen.post[0]
    seen.post = [post.flatten(0, 1)]
    with learner.paused():
        close(moved["layer"], seen.change(net.pool) * (len(given.flatten(0, 1)) / BATCH))


BETWEEN = {
    "batchnorm": lambda: nn.BatchNorm2d(3),
    "relu": nn.ReLU,
    "relu_": lambda: lambda z: z.relu_(),
    "scaled": lambda: lambda z: 2 * z - 0.1,
    "centred": lambda: lambda z: z - z.mean((2, 3), keepdim=True),
}


@pytest.mark.parametrize("kind", ["max", "avg overlapping"])
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("between", BETWEEN)
def test_with_unit_by_unit_operations_around(between, kind, grad):
    """Winners are those of what the pool was given; the operations themselves do not count, as without a pool."""
    if between == "relu_" and grad:
        between = "relu"
    pool, before, after = MODULES[kind](2), BETWEEN[between](), BETWEEN[between]()
    given = []
    net = Net(conv(), pool, lif(), before, after)
    pool.register_forward_pre_hook(lambda m, args: given.append(args[0].detach().clone()))
    seen, learner = Seen(net.layer, net.neuron), attach(net, RATE)
    with torch.set_grad_enabled(grad):
        moved = changes(net, learner, lambda: net(trains(STEPS, BATCH, 1, 7, 8)))
    seen.made = given
    with learner.paused():
        close(moved["layer"], seen.change(MODULES[kind](2)))


@pytest.mark.parametrize("host", ["snntorch", "norse"])
@pytest.mark.parametrize("kind", ["max", "max overlapping", "avg", "adaptive avg"])
def test_a_trace_of_the_post_side_lives_where_the_winners_were(kind, host):
    pool, neuron = MODULES[kind](2), lif() if host == "snntorch" else norse.LIFCell(FAST)
    net = Net(conv(), pool, neuron)
    seen, learner = Seen(net.layer, neuron), attach(net, CONFIG)
    moved = changes(net, learner, lambda: net(trains(STEPS, BATCH, 1, 7, 8)))
    wanted = expected_conv(net.layer, torch.stack(seen.pre), torch.stack(seen.posts(pool)), CONFIG)
    assert np.abs(moved["layer"] - wanted).max() < 2e-5 * max(1.0, np.abs(wanted).max())


def test_a_step_at_each_step():
    """Weights move in between, and so do winners."""
    pool = nn.MaxPool2d(2)
    net = Net(conv(), pool, lif())
    seen, learner = Seen(net.layer, net.neuron), attach(net, RATE)
    for x in trains(STEPS, BATCH, 1, 7, 8).split(1):
        before = net.layer.weight.detach().clone()
        net(x)
        learner.step(0.1 * MODULATOR)
        with learner.paused():
            close((net.layer.weight - before).detach(), 0.1 * seen.change(pool))


class TestMoreThanOne:
    """Layers beside and behind one another."""

    def check(self, net, layers, posts, xs, neuron="neuron"):
        """`posts`: of what the layers gave at a step and of the spikes, ∂⟨post, pool(...)⟩ / ∂ each of them."""
        layers = {name: net.get_submodule(name) for name in layers}
        seen = {name: Seen(layer, net.get_submodule(neuron)) for name, layer in layers.items()}
        learner = attach(net, RATE, pre=lambda x: x)
        moved = changes(net, learner, lambda: [net(x) for x in xs])
        fired = next(iter(seen.values())).post
        made = [dict(zip(seen, step, strict=True)) for step in zip(*(s.made for s in seen.values()), strict=True)]
        shares = [posts(step, post) for step, post in zip(made, fired, strict=True)]
        for name, one in seen.items():
            one.posts = lambda pool, name=name: [share[name] for share in shares]
            with learner.paused():
                close(moved[name], one.change(None))
        return learner

    def gradients(self, way):
        def posts(made, post):
            with torch.enable_grad():
                leaves = {name: z.clone().requires_grad_() for name, z in made.items()}
                given = way(**leaves)
                found = torch.autograd.grad(given, list(leaves.values()), post.reshape(given.shape))
            return dict(zip(leaves, found, strict=True))

        return posts

    @pytest.mark.parametrize("pool", [partial(F.max_pool2d, kernel_size=2), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2, 1)])
    @pytest.mark.parametrize("join", ["sum", "cat", "sum behind"])
    def test_joined(self, join, pool):
        if join == "sum behind":
            way = lambda a, b: pool(a) + pool(b)  # noqa: E731
        elif join == "cat":
            way = lambda a, b: pool(torch.cat([a, b], 1))  # noqa: E731
        else:
            way = lambda a, b: pool(a + 0.7 * b)  # noqa: E731
        net = nn.Module()
        net.a, net.b, net.neuron = conv(), conv(), lif()
        net.forward = lambda x: net.neuron(way(net.a(x), net.b(x)))
        plain = (lambda a, b: pool(a + b + 0 * b)) if join == "sum" else way
        if join == "sum":  # scaling does not count, but decides who wins
            plain = lambda a, b: _with_winners_of(pool, a + 0.7 * b, a + b)  # noqa: E731
        self.check(net, ("a", "b"), self.gradients(plain), trains(STEPS, BATCH, 1, 7, 8))

    def test_two_pools_one_after_the_other(self):
        way = lambda layer: F.avg_pool2d(F.max_pool2d(layer, 2, 1), 2)  # noqa: E731
        pools = nn.Sequential(nn.MaxPool2d(2, 1), nn.AvgPool2d(2))
        for pool in (way, pools):
            learner = self.check(
                Net(conv(), pool, lif()), ("layer",), self.gradients(way), trains(STEPS, 1, BATCH, 1, 7, 8)
            )
            assert learner.hooks[0].wiring.watching == (pool is way)

    @pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(2)])
    def test_channels_for_two_populations(self, pool):
        net = nn.Module()
        net.layer, net.pool, net.one, net.two = conv(out=4), pool, lif(), lif()

        def forward(x):
            first, second = net.pool(net.layer(x)).chunk(2, 1)
            net.one(first), net.two(second)

        net.forward = forward
        one, two, learner = Seen(net.layer, net.one), Seen(net.layer, net.two), attach(net, RATE)
        before = net.layer.weight.detach().clone()
        for x in trains(STEPS, BATCH, 1, 7, 8):
            net(x)
        learner.step(MODULATOR)
        one.post = [torch.cat(posts, 1) for posts in zip(one.post, two.post, strict=True)]
        with learner.paused():
            wanted = one.change(pool)
        close((net.layer.weight - before).detach(), wanted)
        masks = [learner.connections[name].mask[:, 0, 0, 0].tolist() for name in ("layer", "layer->two")]
        assert masks == [[1, 1, 0, 0], [0, 0, 1, 1]]

    @pytest.mark.parametrize("pool", [nn.MaxPool1d(2), nn.AvgPool1d(3, 1, 1), nn.AdaptiveMaxPool1d(3)])
    def test_units_of_a_matrix(self, pool):
        way = lambda layer: pool(layer.unsqueeze(1)).squeeze(1)  # noqa: E731
        net = Net(excitable(nn.Linear(6, 8)), pool, lif(), lambda z: z.unsqueeze(1), lambda z: z.squeeze(1))
        self.check(net, ("layer",), self.gradients(way), trains(STEPS, 1, BATCH, 6))

    def test_over_channels(self):
        way = lambda layer: F.max_pool3d(layer.unsqueeze(1), (2, 1, 1)).squeeze(1)  # noqa: E731
        net = Net(conv(out=4), way, lif())
        self.check(net, ("layer",), self.gradients(way), trains(STEPS, 1, BATCH, 1, 7, 8))

    def test_winners_stay_those_of_their_step(self):
        """Currents of all steps are pooled first, and read later, in another order."""
        net = nn.Module()
        net.layer, net.pool, net.neuron = conv(), nn.MaxPool2d(2), lif()

        def forward(xs):
            currents = [net.pool(net.layer(x)) for x in xs]
            for current in reversed(currents):
                net.neuron(current)

        net.forward = forward
        for grad in (True, False):
            seen, learner = Seen(net.layer, net.neuron), attach(net, RATE)
            with torch.set_grad_enabled(grad):
                moved = changes(net, learner, lambda: [net(x) for x in trains(STEPS, BATCH, 1, 7, 8).chunk(2)])
            half = len(seen.post) // 2
            seen.post = [*reversed(seen.post[:half]), *reversed(seen.post[half:])]
            with learner.paused():
                close(moved["layer"], seen.change(net.pool))
            learner.remove()


def _with_winners_of(pool, decides, z):
    """The pool of z with the winners of another tensor; an average has none."""
    if isinstance(pool, nn.AvgPool2d):
        return pool(z)
    how = {"kernel_size": 2} if isinstance(pool, partial) else {"kernel_size": 3, "stride": 2, "padding": 1}
    _, winners = F.max_pool2d(decides, **how, return_indices=True)
    return z.flatten(2).gather(2, winners.flatten(2)).view(winners.shape)


REFUSED = {
    "lp_pool2d": lambda z: F.lp_pool2d(z, 2.0, 2),
    "fractional_max_pool2d": lambda z: F.fractional_max_pool2d(z, 2, output_size=3),
    "amax": lambda z: z.amax((2, 3)),
    "max_unpool2d": lambda z: F.max_unpool2d(*F.max_pool2d(z, 2, return_indices=True), 2, output_size=z.shape),
    "max_pool1d": lambda z: F.max_pool1d(z.flatten(1).T, 3, 1, 1).T.reshape(z.shape),
    "mean": lambda z: z.mean(0, keepdim=True),
    "different samples, steps or places": lambda z: F.max_pool2d(z, 2) + F.avg_pool2d(z, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_still_refused_is_named(name):
    net = Net(conv(), REFUSED[name], lif())
    learner = attach(net, CONFIG)
    with pytest.raises(PairingError, match=f"Between layer and neuron there is .*{name}"):
        net(trains(2, 4, 1, 7, 8))
    assert learner.connections["layer"].eligibility is None


def test_halves_of_a_pool_of_two_layers_are_refused():
    net = nn.Module()
    net.a, net.b, net.one, net.two = conv(out=2), conv(out=2), lif(), lif()

    def forward(x):
        one, two = F.max_pool2d(torch.cat([net.a(x), net.b(x)], 1), 2).chunk(2, 1)
        net.one(one), net.two(two)

    net.forward = forward
    learner = attach(net, CONFIG)
    with pytest.raises(PairingError, match="choice of units behind a pool"):
        net(trains(BATCH, 1, 7, 8))
    assert learner.connections["a"].eligibility is None


@pytest.mark.parametrize("between", [nn.MaxPool2d(2), nn.BatchNorm2d(3, affine=False).eval()])
def test_what_was_read_last_does_not_become_the_next_step(between):
    """The last current that was watched is kept, and read again once nobody watches any more."""
    net = nn.Module()
    net.layer, net.between, net.neuron, kept = conv(), between, lif(), []

    def forward(x, again):
        current = net.between(net.layer(x))
        net.neuron(current)
        kept.append(current)
        if again:
            net.neuron(kept[again])

    net.forward = forward
    for last in range(1, 6):
        learner, pre, post = attach(net, RATE), [], []
        kept.clear()
        hooks = [
            net.layer.register_forward_hook(lambda m, args, out, pre=pre: pre.append((args[0], out.clone()))),
            net.neuron.register_forward_hook(lambda m, args, out, post=post: post.append(out.clone())),
        ]
        before, xs = net.layer.weight.detach().clone(), trains(last + 1, BATCH, 1, 7, 8)
        with torch.no_grad():
            for t, x in enumerate(xs):
                net(x, last - 1 if t == last and last > 1 else 0)
        learner.step(MODULATOR)
        [hook.remove() for hook in hooks]
        learner.remove()
        steps = [*pre, pre[last - 1]] if last > 1 else pre
        total = torch.zeros_like(before)
        for (x, made), spikes in zip(steps, post, strict=True):
            credit = vjp(between, made, spikes) if isinstance(between, nn.MaxPool2d) else spikes
            total += torch.autograd.grad(net.layer(x), net.layer.weight, credit)[0]
        close((net.layer.weight - before).detach(), LR * MODULATOR / BATCH * total)
        net.neuron.reset_mem()


class TestEProp:
    """What is not a spike goes back the same way."""

    def gradient(self, pool, neuron, xs, signal):
        layer = conv(bias=False)

        class Whole(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer, self.pool, self.neuron = layer, pool, neuron

            def forward(self, xs):
                state, out = neuron.reset_mem(), []
                for x in xs:
                    spikes, state = neuron(pool(layer(x)), state)
                    out.append(spikes)
                return torch.stack(out)

        net = Whole()
        out = net(xs)
        (wanted,) = torch.autograd.grad((signal(out) * out).sum(), layer.weight)
        return net, wanted

    @pytest.mark.parametrize("kind", ["avg", "avg overlapping", "adaptive avg"])
    @pytest.mark.parametrize("module", [True, False])
    def test_it_is_the_gradient_behind_an_average(self, kind, module):
        pool, xs = MODULES[kind](2), trains(STEPS, BATCH, 1, 7, 8)
        signal = torch.randn(BATCH, generator=torch.Generator().manual_seed(1))
        pool = pool if module else pool.forward
        net, wanted = self.gradient(
            pool, snntorch.Leaky(beta=0.7, threshold=0.3), xs, lambda out: signal.view(1, -1, 1, 1, 1)
        )
        learner = attach(net, PlasticityConfig.eprop())
        with torch.no_grad():
            net(xs)
        found = torch.einsum("b...,b->...", learner.connections["layer"].eligibility, signal)
        assert (found - wanted).abs().max() < 1e-6 * wanted.abs().max()

    def test_each_step_goes_to_its_winners(self):
        """ψ_t, put at the winners of step t, times the trace of the pre side."""
        pool, neuron, xs = nn.MaxPool2d(2), snntorch.Leaky(beta=0.7, threshold=0.3), trains(STEPS, BATCH, 1, 7, 8)
        net, gradient = self.gradient(pool, neuron, xs, torch.ones_like)
        wanted, state, trace = torch.zeros_like(net.layer.weight), neuron.reset_mem(), 0
        for x in xs:
            made, trace = net.layer(x), 0.7 * trace + x
            current = pool(made).detach().requires_grad_()
            spikes, state = neuron(current, state.detach())
            (psi,) = torch.autograd.grad(spikes.sum(), current)
            (back,) = torch.autograd.grad(net.layer(trace), net.layer.weight, vjp(pool, made.detach(), psi))
            wanted += back
        learner = attach(net, PlasticityConfig.eprop())
        with torch.no_grad():
            net(xs)
        found = learner.connections["layer"].eligibility.sum(0)
        assert (found - wanted).abs().max() < 1e-6 * wanted.abs().max()
        assert torch.cosine_similarity(found.flatten(), gradient.flatten(), dim=0) > 0.8

    CUT = {
        "zero": lambda: snntorch.Leaky(beta=0.7, threshold=0.3, reset_mechanism="zero"),
        "subtract": lambda: snntorch.Leaky(beta=0.7, threshold=0.3),
        "synaptic": lambda: snntorch.Synaptic(alpha=0.5, beta=0.7, threshold=0.3, reset_mechanism="zero"),
        "norse": lambda: norse.LIFCell(FAST),
    }
    SIDE_BY_SIDE = {
        "max": nn.MaxPool2d(2), "max wide": nn.MaxPool2d((2, 3), (3, 3), (1, 0)), "avg": nn.AvgPool2d(2, 3, 1),
        "max dilated": nn.MaxPool2d(2, 4, dilation=2), "global": nn.AdaptiveMaxPool2d(1),
        "adaptive": nn.AdaptiveAvgPool2d((3, 7)), "function": lambda z: F.max_pool2d(z, 2),
        "mean": lambda z: z.mean((2, 3)), "over channels": lambda z: z.mean(1),
        "two": nn.Sequential(nn.AvgPool2d(2), nn.Identity(), nn.MaxPool2d(2)),
        "flat": nn.Sequential(nn.MaxPool2d(2), nn.Flatten()),
    }  # fmt: skip

    @pytest.mark.parametrize("neuron", CUT)
    @pytest.mark.parametrize("pool", SIDE_BY_SIDE)
    def test_a_memory_that_is_followed_is_the_gradient_where_windows_lie_side_by_side(self, pool, neuron):
        made, pool = self.CUT[neuron](), self.SIDE_BY_SIDE[pool]
        xs, signal = trains(STEPS, BATCH, 1, 7, 8), torch.randn(BATCH, generator=torch.Generator().manual_seed(1))
        net = nn.Module()
        net.layer, net.pool, net.neuron = conv(bias=False), pool, made

        def forward(xs):
            out, state = [], (None,) if neuron == "norse" else ()
            for x in xs:
                spikes, *state = made(pool(net.layer(x)), *state)
                out.append(spikes)
            return torch.stack(out)

        net.forward = forward
        out = net(xs)
        signal = signal.view(1, -1, *[1] * (out.dim() - 2))
        (wanted,) = torch.autograd.grad((signal * out).sum(), net.layer.weight)
        getattr(made, "reset_mem", lambda: None)()
        config = replace(PlasticityConfig.eprop().eligibility, kernel=EligibilityVectors())
        learner = attach(net, replace(PlasticityConfig.eprop(), eligibility=config))
        with torch.no_grad():
            assert torch.equal(net(xs), out)
        found = torch.einsum("b...,b->...", learner.connections["layer"].eligibility, signal.flatten())
        assert (found - wanted).abs().max() < 2e-6 * wanted.abs().max()

    def test_one_whose_windows_overlap_is_refused(self):
        for pool in (nn.MaxPool2d(3, 2), nn.AvgPool2d(2, 1), lambda z: F.adaptive_avg_pool2d(z, 4)):
            net = Net(conv(), pool, norse.LIFCell(FAST))
            learner = attach(net, PlasticityConfig.eprop())
            with pytest.raises(PairingError, match="behind a pool whose windows overlap"):
                net(trains(2, BATCH, 1, 7, 8))
            assert learner.connections["layer"].eligibility is None
            learner.remove()


class TestOnline:
    """The gradient of a loss comes through the pool by itself; what must be told is which call it belongs to."""

    @pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(3, 2, 1), partial(F.max_pool2d, kernel_size=2)])
    def test_it_is_the_gradient_of_the_step(self, pool):
        layer, neuron, trace = conv(bias=False), snntorch.Leaky(beta=0.6, threshold=0.3), 0
        twin, net = copy.deepcopy(layer), nn.Module()
        net.layer, net.pool, net.neuron = layer, pool, neuron
        net.forward = lambda x, state: neuron(pool(layer(x)), state)
        learner, state, other = attach(net, PlasticityConfig.online(lr=0.1)), neuron.reset_mem(), neuron.reset_mem()
        for x in trains(STEPS, BATCH, 1, 7, 8):
            spikes, state = net(x, state)
            learner.step(loss=spikes.sum())
            made, trace = twin(x).detach().requires_grad_(), 0.6 * trace + x
            with learner.paused():
                spikes, other = neuron(pool(made), other.detach())
            (delta,) = torch.autograd.grad(spikes.sum(), made)
            twin.weight.data -= 0.1 * torch.autograd.grad(twin(trace), twin.weight, delta)[0]
            close(layer.weight.detach(), twin.weight.detach())

    def test_a_part_of_a_call_behind_a_pool_is_refused(self):
        net = nn.Module()
        net.layer, net.neuron = conv(bias=False), snntorch.Leaky(beta=0.6, init_hidden=True)

        def forward(x):
            current = net.layer(x)
            for half in current.chunk(2):
                net.neuron(F.max_pool2d(half, 2))

        net.forward = forward
        learner = attach(net, PlasticityConfig.online())
        with pytest.raises(PairingError, match="a choice of samples"):
            net(trains(4, 1, 7, 8))
        assert learner.connections["layer"].eligibility is None


class Tutorial6(nn.Module):
    """The convolutional net of snnTorch's sixth tutorial: pools as functions, states that begin anew at each call."""

    def __init__(self):
        super().__init__()
        leaky = partial(snntorch.Leaky, beta=0.5, spike_grad=snntorch.surrogate.fast_sigmoid(slope=25))
        self.conv1, self.conv2, self.fc1 = nn.Conv2d(1, 12, 5), nn.Conv2d(12, 64, 5), nn.Linear(64 * 4 * 4, 10)
        self.lif1, self.lif2, self.lif3 = leaky(), leaky(), leaky()

    def forward(self, x):
        mem1, mem2, mem3 = (lif.init_leaky() for lif in (self.lif1, self.lif2, self.lif3))
        spk1, mem1 = self.lif1(F.max_pool2d(self.conv1(x), 2), mem1)
        spk2, mem2 = self.lif2(F.max_pool2d(self.conv2(spk1), 2), mem2)
        return self.lif3(self.fc1(spk2.flatten(1)), mem3)


def quickstart():
    """The net of snnTorch's quickstart."""
    leaky = partial(snntorch.Leaky, beta=0.9, init_hidden=True)
    return nn.Sequential(
        nn.Conv2d(1, 8, 5), nn.MaxPool2d(2), leaky(), nn.Conv2d(8, 16, 5), nn.MaxPool2d(2), leaky(),
        nn.Flatten(), nn.Linear(16 * 4 * 4, 10), leaky(output=True),
    )  # fmt: skip


NETS = {"quickstart": (quickstart, 3, 5e-3), "tutorial 6": (Tutorial6, 1, 1e-2)}


@pytest.mark.parametrize("preset", [PlasticityConfig.dev, PlasticityConfig.eprop, PlasticityConfig.online])
@pytest.mark.parametrize("name", NETS)
def test_nets_of_the_tutorials_attach_as_they_are(name, preset):
    net = NETS[name][0]()
    learner = attach(net, preset(), sample=torch.rand(1, 1, 28, 28), pre=lambda x: x)
    layers = ["0", "3", "7"] if name == "quickstart" else ["conv1", "conv2", "fc1"]
    assert sorted(learner.connections) == layers
    net(torch.rand(4, 1, 28, 28))


@pytest.mark.parametrize("name", NETS)
def test_nets_of_the_tutorials_learn(name):
    """Digits, enlarged to the 28 × 28 that these nets expect."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    x = F.interpolate(torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16, (28, 28))
    y, generator = torch.tensor(digits.target), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    make, steps, rate = NETS[name]
    net = make()
    learner = attach(net, PlasticityConfig.online(mode="hybrid"), pre=lambda x: x)
    optimizer = torch.optim.Adam(net.parameters(), rate)

    def run(batch, each=lambda mem: None):
        spikes = 0
        for neuron in net.modules():
            if isinstance(neuron, snntorch.Leaky):
                neuron.reset_mem()
        for _ in range(steps):
            spk, mem = net(batch)
            spikes = spikes + spk
            each(mem)
        return spikes, mem

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # silent layers, to begin with
        for _ in range(40):
            chosen = torch.randint(1500, (32,), generator=generator)
            optimizer.zero_grad(set_to_none=True)
            run(x[chosen], lambda mem, chosen=chosen: learner.step(loss=F.cross_entropy(mem, y[chosen])))
            optimizer.step()
            learner.reset()
    net.eval()
    with torch.no_grad():
        _, mem = run(x[1500:])
    assert (mem.argmax(1) == y[1500:]).float().mean() > 0.6
