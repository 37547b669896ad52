"""Traps of running a model: gradients, modes, batches, sequences, memory."""

from __future__ import annotations

import gc
import weakref

import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from host_models import (
    BATCH,
    CONFIG,
    FAST,
    MODULATOR,
    N_IN,
    N_OUT,
    STEPS,
    Loop,
    Record,
    Stepper,
    changes,
    close,
    excitable,
    expected,
    sequential,
    trains,
)  # fmt: skip
from torch import nn
from torch.utils.checkpoint import checkpoint

from snn_plasticity import EligibilityConfig, PlasticityConfig, ThreeFactorConfig
from snn_plasticity.hosts import attach
from snn_plasticity.kernels import terms

X = trains(STEPS, BATCH, N_IN)


def one_layer(**options):
    return excitable(nn.Sequential(nn.Linear(N_IN, N_OUT), snntorch.Leaky(beta=0.8, init_hidden=True, **options)))


def run(model, xs=X):
    return torch.stack([model(x) for x in xs])


def norse_loop():
    parts = nn.Linear(N_IN, N_OUT), norse.LIFCell(FAST), nn.Linear(N_OUT, N_OUT), norse.LIFCell(FAST)
    return Loop(excitable(norse.SequentialState(*parts), high=1.5))


class TestGradients:  # trap 1
    @pytest.mark.parametrize("make", [lambda: Stepper("Leaky"), norse_loop])
    def test_backward_before_step_has_the_gradients_of_an_unattached_model(self, make):
        plain, model = make(), make()
        plain(X).sum().backward()
        learner = attach(model, CONFIG)
        model(X).sum().backward()
        learner.step(MODULATOR)
        for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            assert torch.equal(ours.grad, theirs.grad)
        assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))

    @pytest.mark.parametrize("make", [lambda: Stepper("Leaky"), norse_loop])
    def test_backward_after_step_is_an_error_of_torch_and_not_a_wrong_gradient(self, make):
        model = make()
        learner = attach(model, CONFIG)
        spikes = model(X)
        learner.step(MODULATOR)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            spikes.sum().backward()

    def test_the_forward_pass_moves_no_weight(self):
        model = one_layer()
        learner = attach(model, CONFIG)
        version = model[0].weight._version
        run(model)
        assert model[0].weight._version == version and learner.enabled

    def test_hybrid_adds_to_the_gradient(self):
        config = PlasticityConfig(
            CONFIG.eligibility, three_factor=ThreeFactorConfig(mode="hybrid", lr=0.5, weight_clamp=None)
        )
        plain, model = Stepper("Leaky"), Stepper("Leaky")
        plain(X).sum().backward()
        record = Record(model.fc1, model.lif1)
        learner = attach(model, config)
        model(X).sum().backward()
        learner.step(MODULATOR)
        close(model.fc1.weight.grad - plain.fc1.weight.grad, -record.change())


class TestModes:  # traps 2 and 3
    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_without_gradients_it_learns_the_same(self, mode):
        plain, model = one_layer(), one_layer()
        wanted = changes(plain, attach(plain, CONFIG), lambda: run(plain))

        def inside():
            with mode():
                run(model)

        close(changes(model, attach(model, CONFIG), inside)["0"], wanted["0"])

    def test_training_after_inference_mode(self):
        model = excitable(norse.SequentialState(nn.Linear(N_IN, N_OUT), norse.LIF(FAST)), high=1.5)
        learner = attach(model, CONFIG)
        with torch.inference_mode():
            model(X)
            learner.step(MODULATOR)
        assert not learner.connections["0"].eligibility.is_inference()
        assert not model[0].weight.is_inference()
        model(X)[0].sum().backward()
        learner.step(MODULATOR)
        assert model[0].weight.grad.isfinite().all()

    def test_part_of_a_sequence_in_inference_mode(self):
        plain, model = one_layer(), one_layer()
        wanted = changes(plain, attach(plain, CONFIG), lambda: run(plain))

        def mixed():
            with torch.inference_mode():
                run(model, X[:4])
            model[1].mem = model[1].mem.clone()
            run(model, X[4:])

        close(changes(model, attach(model, CONFIG), mixed)["0"], wanted["0"])

    def test_eval_observes_nothing_and_training_goes_on_from_there(self):
        model, record = one_layer(), None
        learner = attach(model, CONFIG)
        run(model.eval(), X.flip(0))
        assert learner.connections["0"].eligibility is None
        model[1].reset_mem()
        model.train()
        record = Record(*model)
        close(changes(model, learner, lambda: run(model))["0"], record.change())

    def test_a_layer_in_eval_is_frozen_alone(self):
        model = sequential("Leaky")
        model[0].eval()
        moved = changes(model, attach(model, CONFIG), lambda: run(model))
        assert abs(moved["0"]).max() == 0
        assert abs(moved["2"]).max() > 0

    @pytest.mark.parametrize("make", [one_layer, norse_loop])
    def test_paused(self, make):
        model = make()
        learner = attach(model, CONFIG)
        with learner.paused():
            model(X) if isinstance(model, Loop) else run(model)
        assert all(c.eligibility is None for c in learner.connections.values())

    def test_pausing_in_mid_sequence_skips_those_steps(self):
        model = one_layer()
        learner, record = attach(model, CONFIG), Record(*model)

        def with_a_pause():
            run(model, X[:3])
            with learner.paused():
                run(model, X[3:6])
            run(model, X[6:])

        moved = changes(model, learner, with_a_pause)
        seen = [*range(3), *range(6, STEPS)]
        close(moved["0"], expected(*(torch.stack(x)[seen] for x in (record.pre, record.post))))


class TestBatches:  # traps 4 and 5
    def test_another_batch_size_is_an_error_that_changes_nothing(self):
        model = one_layer()
        learner = attach(model, CONFIG)
        run(model)
        before = learner.connections["0"].eligibility.clone()
        with pytest.raises(ValueError, match=r"batch of 2 and the running sequence one of 3.*reset"):
            model(X[0, :2])
        assert torch.equal(learner.connections["0"].eligibility, before)
        learner.reset()
        model(X[0, :2])
        assert learner.batch_size == 2

    def test_another_batch_size_starts_anew_where_that_is_allowed(self):
        model = one_layer()
        learner = attach(model, CONFIG, strict=False)
        run(model)
        record = Record(*model)
        with pytest.warns(UserWarning, match="batch size changed from 3 to 2"):
            moved = changes(model, learner, lambda: run(model, X[:, :2]))
        close(moved["0"], record.change())

    def test_snntorch_does_not_say_when_a_sample_begins_so_traces_go_on_until_reset(self):
        model = one_layer()
        learner, record = attach(model, CONFIG), Record(*model)
        run(model)
        model[1].reset_mem()  # says nothing to anybody
        close(changes(model, learner, lambda: run(model))["0"], record.change())

    def test_norse_says_it_by_passing_no_state(self):
        model = norse_loop()
        learner = attach(model, CONFIG)
        model(X.flip(0))
        record = Record(model.body[0], model.body[1])
        close(changes(model, learner, lambda: model(X))["body.0"], record.change())

    def test_carry_goes_on_even_so(self):
        rule = EligibilityConfig(**{**vars(CONFIG.eligibility), "carry": True})
        model = norse_loop()
        learner = attach(model, PlasticityConfig(rule, three_factor=CONFIG.three_factor))
        record = Record(model.body[0], model.body[1])
        model(X.flip(0))
        close(changes(model, learner, lambda: model(X))["body.0"], record.change())

    def test_a_reset_of_some_samples(self):
        model = one_layer()
        learner = attach(model, CONFIG)
        run(model)
        model[1].mem[1] = 0.0
        learner.reset(torch.tensor([False, True, False]))
        run(model, X[:2])
        e = learner.connections["0"].eligibility.clone()
        learner.reset()
        model[1].mem[1] = 0.0
        alone = Record(*model)
        run(model, X[:2])
        model[1].reset_mem()
        assert not torch.equal(e[0], learner.connections["0"].eligibility[0])
        assert len(alone.pre) == 2


class TestCheckpointing:  # trap 24
    @pytest.mark.parametrize("reentrant", [True, False])
    def test_recomputing_in_the_backward_pass_counts_nothing_twice(self, reentrant):
        fc, lif = excitable(nn.Linear(N_IN, N_OUT)), snntorch.Leaky(beta=0.8)
        net = nn.ModuleDict({"fc": fc, "lif": lif})
        learner = attach(net, CONFIG)
        calls, record = [], Record(fc, lif)

        def step(x, mem):
            calls.append(1)
            return lif(fc(x), mem)

        mem, total = torch.zeros(BATCH, N_OUT), 0.0
        for x in X.clone().requires_grad_():
            spikes, mem = checkpoint(step, x, mem, use_reentrant=reentrant)
            total = total + spikes.sum()
        pre, post = torch.stack(record.pre), torch.stack(record.post)
        total.backward()
        assert len(calls) == 2 * STEPS
        start = fc.weight.detach().clone()
        learner.step(MODULATOR)
        close((fc.weight - start).detach(), expected(pre, post))


class TestMemory:  # trap 28
    @pytest.mark.parametrize("between", [nn.Identity(), nn.BatchNorm1d(N_OUT)])
    def test_no_graph_is_kept_alive(self, between):
        net = nn.Sequential(nn.Linear(N_IN, N_OUT), between, snntorch.Leaky(beta=0.8), nn.Identity())
        net = nn.ModuleList(net)  # called part by part: no end of a pass cleans up
        learner = attach(net, CONFIG)
        graphs = []
        mem = torch.zeros(BATCH, N_OUT)
        for x in X:
            current = net[1](net[0](x))
            graphs.append(weakref.ref(current))
            spikes, mem = net[2](current, mem.detach())
        del current, spikes, mem
        gc.collect()
        assert [graph() for graph in graphs] == [None] * STEPS
        entries = learner.hooks[0].wiring.ledger.entries.values()
        assert not any(call.pre.requires_grad for entry in entries for o in entry.origins for call in o.calls)

    def test_traces_and_learner_state_have_no_graph(self):
        model = Stepper("RLeaky")
        learner = attach(model, CONFIG)
        model(X)
        assert not any(c.eligibility.requires_grad for c in learner.connections.values())

    def test_an_online_loop_without_gradients_does_not_grow(self):
        model = one_layer()
        learner = attach(model, CONFIG)

        def tensors():
            terms.remaining.cache_clear()  # bounded, but not full yet
            gc.collect()
            return sum(type(o) is torch.Tensor for o in gc.get_objects())

        with torch.no_grad():
            for _ in range(20):
                run(model)
                learner.step(1e-3)
            before = tensors()
            for _ in range(20):
                run(model)
                learner.step(1e-3)
        assert tensors() <= before + 2


def test_step_by_step_and_at_the_end_are_different_rules_that_agree_on_one_weight():  # trap 8
    """A sequence class has one weight per sequence: updating in mid-loop is possible for cells only."""
    loop = norse_loop()
    learner, start = attach(loop, CONFIG), loop.body[0].weight.detach().clone()
    state, states = None, []
    for x in X:
        _, state = loop.body(x, state)
        learner.step(0.01)
        states.append(loop.body[0].weight.detach().clone())
    assert len({float(w.sum()) for w in states}) > 1
    assert np.isfinite(np.asarray(states[-1] - start)).all()
