"""A step that changes nothing says why, once for each cause; and steps that do their work say nothing."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings

import pytest
import snntorch
import torch
from torch import nn

from snn_plasticity import (
    Connection,
    EligibilityConfig,
    NeuromodConfig,
    NeuromodulatoryGate,
    PlasticityConfig,
    PlasticityLearner,
    PlasticityWarning,
    ThreeFactorConfig,
    attach,
)
from snn_plasticity._activity import Activity


def net(*sizes, threshold=1.0):
    layers = []
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(n_in, n_out), snntorch.Leaky(beta=0.9, init_hidden=True, threshold=threshold)]
    model = nn.Sequential(*layers)
    for layer in model[::2]:
        nn.init.uniform_(layer.weight, 0.0, 1.0)
    return model


def run(model, steps=10, rate=0.5, batch=2):
    with torch.no_grad():
        for _ in range(steps):
            model((torch.rand(batch, model[0].in_features) < rate).float())


def said(call):
    """What a call warns of; anything else than a `PlasticityWarning` is an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert all(issubclass(w.category, PlasticityWarning) for w in caught), [str(w.message) for w in caught]
    return [str(w.message) for w in caught]


def gated(**settings):
    return NeuromodulatoryGate(NeuromodConfig(**settings))


class TestNothingObserved:
    def test_before_any_forward(self):
        learner = attach(net(5, 4), PlasticityConfig.dev())
        assert "nothing was observed yet" in said(lambda: learner.step(reward=1.0))[0]
        assert said(lambda: learner.step(reward=1.0)) == []  # once

    def test_after_a_reset(self):
        model = net(5, 4)
        learner = attach(model)
        run(model)
        learner.step(1.0)
        learner.reset()
        assert "since the last reset" in said(lambda: learner.step(1.0))[0]

    def test_a_second_reward_for_the_same_activity_is_no_fault(self):
        model = net(5, 4)
        learner = attach(model)
        run(model)
        assert said(lambda: [learner.step(1.0) for _ in range(40)]) == []

    @pytest.mark.parametrize("reset", (True, False))
    def test_eval_left_on_as_in_the_quickstart(self, reset):
        model = net(20, 10)
        learner, moved, heard = attach(model), [], []
        for i in range(60):
            before = model[0].weight.detach().clone()
            run(model, 25)
            heard.append(said(lambda: learner.step(reward=torch.randn(2))))
            moved.append(not torch.equal(before, model[0].weight))
            if reset:
                learner.reset()
            if i == 3:
                model.eval()
        assert [i for i, words in enumerate(heard) if words] == [4]
        assert "the last 25 forward passes ran in eval()" in heard[4][0] and "model.train()" in heard[4][0]
        assert sum(moved) == (4 if reset else 60)  # without a reset, old eligibility is met again and again

    def test_evaluation_between_two_lessons_is_no_fault(self):
        model = net(5, 4)
        learner = attach(model)

        def lessons():
            for _ in range(5):
                run(model)
                learner.step(1.0)
                learner.reset()
                model.eval()
                run(model)
                model.train()

        assert said(lessons) == []

    def test_recurrent_weights_in_eval(self):
        model = nn.Sequential(nn.Linear(5, 4), snntorch.RLeaky(beta=0.9, linear_features=4, init_hidden=True))
        learner = attach(model)
        model.eval()
        run(model, 3)
        assert [c.seen_in_eval for c in learner.connections.values()] == [3, 3]

    def test_paused_and_removed(self):
        model = net(5, 4)
        learner = attach(model)
        with learner.paused():
            run(model)
            assert "the learner is paused" in said(lambda: learner.step(1.0))[0]
        run(model)
        learner.remove()
        assert said(lambda: learner.step(1.0)) == []  # the last activity meets a late reward
        run(model)
        assert "removed from its model" in said(lambda: learner.step(1.0))[0]
        assert said(lambda: learner.step(1.0)) == []

    def test_without_a_host(self):
        learner = PlasticityLearner([Connection("fc", nn.Linear(3, 2))])
        assert "fc: nothing was observed yet" in said(lambda: learner.step(1.0))[0]


class TestDead:
    def test_neurons_that_never_fire(self):
        model = net(5, 4, 3)
        nn.init.constant_(model[2].weight, -1.0)
        learner = attach(model, PlasticityConfig.dev())
        run(model, 50)
        (words,) = said(lambda: learner.step(reward=1.0))
        assert "2: its eligibility is zero everywhere: its neurons have not fired" in words
        assert "0:" not in words
        assert said(lambda: [run(model) or learner.step(reward=1.0) for _ in range(70)]) == []

    def test_neurons_that_cannot_fire(self):
        """Told from those that merely have not: by the sign of their current, or since the most of it is too weak."""

        def words(weight, bias, threshold=1.0, active=1.0):
            model = net(5, 4, threshold=threshold)
            nn.init.constant_(model[0].weight, weight)
            nn.init.constant_(model[0].bias, bias)
            learner = attach(model, PlasticityConfig.dev())
            with torch.no_grad():
                for step in range(70):
                    model(torch.ones(2, 5) * (step % 10 < 10 * active))
            mem = model[1].mem.clone()
            (told,) = said(lambda: learner.step(reward=1.0))
            assert torch.equal(mem, model[1].mem) and learner.connections["0"].activity.seen == 70
            assert told in learner.diagnose().findings
            assert "scale_to_rate(model, batch) does so" in told
            return told

        assert "they cannot: with its weights and biases, no input like those gives them" in words(-1.0, -0.1)
        assert "they cannot: with its weights and biases, no input like those gives them" in words(-1.0, 0.5)
        assert "they cannot: the most current that inputs like those" in words(0.1, 0.0, threshold=5.1)
        assert "they cannot" not in words(0.1, 0.0, threshold=4.9, active=0.1)

    def test_neurons_of_norse_that_cannot_fire(self):
        norse = pytest.importorskip("norse.torch")

        def words(weight):
            model = norse.SequentialState(nn.Conv1d(2, 3, 3, bias=False), norse.LIFCell())
            nn.init.constant_(model[0].weight, weight)
            learner, state = attach(model, PlasticityConfig.dev()), None
            with torch.no_grad():
                for step in range(70):
                    _, state = model(torch.ones(2, 2, 6) * (step % 20 == 0), state)
            (told,) = said(lambda: learner.step(reward=1.0))
            return told

        assert "they cannot" in words(0.19 / 6) and "they cannot" not in words(0.21 / 6)

    def test_an_input_that_is_silent(self):
        model = net(5, 4)
        nn.init.constant_(model[0].bias, 2.0)
        learner = attach(model)
        run(model, 12, rate=0.0)
        (words,) = said(lambda: learner.step(1.0))
        assert "its input was silent in all 8 steps looked at" in words

    def test_sides_that_never_meet(self):
        """Spikes on both sides, and a kernel without amplitudes."""
        model = net(5, 4, threshold=0.1)
        learner = attach(model, PlasticityConfig(EligibilityConfig(kernel="stdp_pair", a_plus=0.0, a_minus=0.0)))
        run(model, 12)
        (words,) = said(lambda: learner.step(1.0))
        assert "although its input" in words and "are active" in words

    def test_the_first_steps_of_an_online_loop_may_be_silent(self):
        """A membrane has to charge first; one that never reaches its threshold is told of."""

        def loop(threshold, *steps):
            model = net(5, 4, threshold=threshold)
            nn.init.constant_(model[0].weight, 0.5)
            learner, words = attach(model), []
            for many in steps:
                words.append(said(lambda n=many: [run(model, 1, rate=1.0) or learner.step(1.0) for _ in range(n)]))
            return words, learner.connections["0"].eligibility

        words, e = loop(20.0, 10)
        assert words == [[]] and not e.any()
        words, e = loop(20.0, 80)
        assert words == [[]] and e.any()
        words, e = loop(1e9, 63, 1, 100)
        assert [len(w) for w in words] == [0, 1, 0] and not e.any()

    def test_one_that_dies_later_is_told_of(self):
        model = net(5, 4, threshold=0.1)
        learner = attach(model)

        def lessons(n):
            words = []
            for _ in range(n):
                run(model, 4)
                words += said(lambda: learner.step(1.0))
                learner.reset()
                model[1].reset_mem()
            return words

        assert lessons(9) == []
        nn.init.constant_(model[0].weight, -1.0)
        nn.init.constant_(model[0].bias, -1.0)
        (words,) = lessons(70)
        assert "its eligibility is zero everywhere" in words

    def test_silent_trials_now_and_then_are_no_fault(self):
        model = net(5, 4, threshold=0.1)
        nn.init.constant_(model[0].bias, -0.01)
        learner = attach(model)

        def lessons():
            for i in range(1, 130):
                run(model, 4, rate=0.0 if i % 16 == 0 else 0.5)
                learner.step(1.0)
                learner.reset()
                model[1].reset_mem()

        assert said(lessons) == []

    def test_all_eligibility_at_its_clamp(self):
        model = net(6, 4, threshold=0.01)
        nn.init.constant_(model[0].weight, 1.0)
        config = PlasticityConfig(EligibilityConfig(clamp_range=(-0.5, 0.5)), three_factor=ThreeFactorConfig(lr=0.1))
        learner = attach(model, config)
        run(model, 10, rate=1.0)
        (words,) = said(lambda: learner.step(torch.tensor([0.3, 0.5])))
        assert "0: every eligibility is at its clamp (-0.5, 0.5)" in words
        assert torch.equal(learner.connections["0"].eligibility, torch.full((2, 4, 6), 0.5))

    def test_clamps_that_are_left_between_two_spikes(self):
        """Random spikes, a long trace and a tight clamp: hardly one is exactly at it, all are near."""
        model = net(6, 4, threshold=0.01)
        nn.init.constant_(model[0].weight, 1.0)
        config = PlasticityConfig(EligibilityConfig(tau_e=500.0, clamp_range=(-0.5, 0.5)))
        learner = attach(model, config)
        run(model, 50)
        e = learner.connections["0"].eligibility
        assert (e != 0.5).any() and (e > 0.45).all()
        assert len(said(lambda: learner.step(1.0))) == 1
        centred = attach(net(6, 4), config)
        run(centred.hooks[0].model, 1)
        assert said(lambda: centred.step(torch.tensor([1.0, -1.0]))) == []

    def test_some_eligibility_at_its_clamp_is_none_of_it(self):
        connection = Connection(
            "fc", nn.Linear(2, 1), config=PlasticityConfig(EligibilityConfig(clamp_range=(-1.0, 1.0)))
        )
        learner = PlasticityLearner([connection])
        for _ in range(9):
            connection.observe(torch.tensor([[1.0, 0.1]]), torch.ones(1, 1))
        assert connection.eligibility.tolist()[0][0][0] == 1.0 > connection.eligibility.tolist()[0][0][1]
        assert said(lambda: learner.step(1.0)) == []

    def test_weights_that_cannot_move(self):
        layer = nn.Linear(2, 2)
        nn.init.constant_(layer.weight, 1.0)
        config = PlasticityConfig(three_factor=ThreeFactorConfig(lr=0.1, weight_bounds=(0.0, 1.0)))
        connection = Connection("fc", layer, config=config)
        learner, words = PlasticityLearner([connection]), []
        for _ in range(5):
            connection.observe(torch.tensor([[1.0, 0.5]]), torch.ones(1, 2))
            words += said(lambda: learner.step(1.0))
        (words,) = words
        assert "fc: a change was computed, but no weight moved: all weights are at their bounds" in words

    def test_changes_below_the_resolution(self):
        layer = nn.Linear(2, 2)
        nn.init.constant_(layer.weight, 1.0)
        connection = Connection("fc", layer, config=PlasticityConfig(three_factor=ThreeFactorConfig(lr=1e-9)))
        learner, words = PlasticityLearner([connection]), []
        for _ in range(5):
            connection.observe(torch.tensor([[1.0, 0.5]]), torch.ones(1, 2))
            words += said(lambda: learner.step(1.0))
        assert "below the resolution of torch.float32" in words[0] and len(words) == 1


class TestTheThirdFactor:
    def words(self, gate=None, steps=1, **signals):
        model = net(5, 4, threshold=0.1)
        learner = attach(model, gate=gate)
        run(model)
        return said(lambda: [learner.step(**signals) for _ in range(steps)])

    def test_a_signal_that_nobody_listens_to(self):
        (words,) = self.words(gated(da_source="td_error"), reward=1.0)
        assert "reward: no modulator listens to this" in words and "td_error drives DA" in words
        assert "NeuromodConfig(da_source='reward')" in words
        (words,) = self.words(reward=1.0, entropy=0.5)
        assert "entropy: no modulator listens" in words

    def test_a_source_that_never_spoke(self):
        words = self.words(gated(combination_fn="gated_product"), steps=40, novelty=0.5)
        assert len(words) == 1
        assert "told of novelty only" in words[0] and "step(reward=...)" in words[0]
        assert self.words(gated(combination_fn="gated_product", da_baseline=0.1), steps=40, novelty=0.5) == []
        (words,) = self.words(gated(da_weight=0.0), steps=40, reward=1.0)
        assert "told of reward only" in words and "step(novelty=...)" in words

    def test_one_that_speaks_rarely_is_no_fault(self):
        model = net(5, 4, threshold=0.1)
        learner = attach(model, gate=gated(combination_fn="gated_product"))

        def episodes():
            for i in range(120):
                run(model, 1)
                learner.step(novelty=0.5, **({"reward": 1.0} if i % 25 == 24 else {}))

        assert said(episodes) == []

    def test_nothing_but_zeros(self):
        words = self.words(steps=1023, reward=0.0)
        assert words == []
        (words,) = self.words(steps=1100, reward=torch.zeros(2))
        assert "The third factor was exactly 0 in all 1024 steps (signals given: reward)" in words
        (words,) = self.words(steps=1100, modulator=0.0)
        assert "exactly 0 in all 1024 steps, so no weight has moved" in words

    def test_rates_of_zero(self):
        model = net(5, 4, threshold=0.1)
        learner = attach(model)
        run(model)
        learner.lr_scale = 0.0
        assert "lr_scale is 0" in said(lambda: learner.step(1.0))[0]
        model = net(5, 4, threshold=0.1)
        learner = attach(model, PlasticityConfig(three_factor=ThreeFactorConfig(lr=0.0)))
        run(model)
        assert "0: the learning rate is 0" in said(lambda: learner.step(1.0))[0]


class TestDropped:
    def test_a_learner_that_nobody_kept(self):
        model = net(5, 4)
        attach(model)
        gc.collect()
        (words,) = said(lambda: run(model))
        assert "thrown away before its first step" in words
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())

    def test_no_word_where_nothing_is_to_be_learned_or_another_learns(self):
        model = net(5, 4)
        attach(model)
        layer = pickle.loads(pickle.dumps(model[0]))
        copied = copy.deepcopy(model)
        assert said(lambda: run(copied) or layer(torch.ones(1, 5))) == []
        model.eval()
        assert said(lambda: run(model)) == []
        model.train()
        learner = attach(model)
        assert said(lambda: run(model)) == []
        learner.step(1.0)
        del learner
        assert said(lambda: run(model)) == []  # it has done its work
        attach(model).remove()
        with attach(model):
            pass
        assert said(lambda: run(model)) == []


class TestActivity:
    def test_rates_of_what_is_looked_at(self):
        activity, pre = Activity(), (torch.rand(700, 2, 5) < 0.3).float()
        for step in pre:
            activity.see(step, 2.0 * step[:, :3])
        looked = [t for t in range(1, 701) if t <= 8 or t % (13 if t < 512 else 61) == 0]
        rates = activity.rates()
        assert (rates.steps, activity.seen) == (len(looked), 700)
        assert rates.pre == pytest.approx(float(pre[[t - 1 for t in looked]].mean()))
        assert rates.post == pytest.approx(float(pre[[t - 1 for t in looked]][..., :3].mean()))

    def test_windows_meet_every_phase(self):
        """One entry in ten steps: sequences of ten steps are not always looked at in the same one."""
        activity = Activity()
        window = torch.zeros(10, 1, 1)
        window[3] = 1.0
        for _ in range(2000):
            activity.see_window(window, window)
        assert activity.seen == 20000
        assert activity.rates().pre == pytest.approx(0.1, abs=0.03)

    def test_what_is_long_past_is_forgotten(self):
        activity = Activity()
        for rate in (1.0, 0.0):
            for _ in range(61 * 260):
                activity.see(torch.full((1, 2), rate), torch.ones(1, 1))
        assert activity.rates().pre == 0.0


class TestOneForAll:
    """Layers of spikes whose neurons are all told the same, and samples not."""

    @staticmethod
    def words(*sizes, config=None, factor=lambda: torch.rand(4), **options):
        learner = attach(model := net(*sizes), config or PlasticityConfig.dev())

        def life():
            for _ in range(40):
                run(model, steps=3, batch=4)
                learner.step(factor(), **options)
                learner.reset()

        return " ".join(w for w in said(life) if "all neurons hear the same" in w), learner

    @pytest.mark.parametrize("preset", ["minimal", "dev", "production"])
    def test_a_net_of_several_layers_is_told_once(self, preset):
        words, learner = self.words(6, 8, 3, config=getattr(PlasticityConfig, preset)())
        assert words.count("all neurons hear the same third factor") == 1 and words.startswith("0, 2: ")
        assert sum("all neurons hear the same third factor" in found for found in learner.diagnose().findings) == 1

    def test_where_it_makes_sense_nothing_is_said(self):
        quiet = {
            "one for all samples": self.words(6, 8, 3, factor=lambda: 0.5),
            "the same for all samples": self.words(6, 8, 3, factor=lambda: torch.ones(4)),
            "for each neuron": self.words(6, 8, 3, factor=lambda: torch.rand(4, 3), layers=["2"]),
            "for each layer": self.words(6, 8, 3, factor=lambda: {"0": torch.rand(4, 8), "2": torch.rand(4)}),
            "one population": self.words(6, 8),
            "perhaps one population": self.words(6, 8, 8),
            "a learning signal": self.words(6, 8, 3, config=PlasticityConfig.eprop()),
        }
        assert {why: words for why, (words, _) in quiet.items() if words} == {}

    def test_a_single_layer_is_told_by_its_diagnosis_unless_one_neuron_was_chosen(self):
        torch.manual_seed(0)
        model = net(6, 4)
        learner = attach(model, PlasticityConfig.dev())
        run(model, batch=4)
        learner.step(torch.rand(4))
        assert "0: in each sample, all neurons hear the same third factor" in " ".join(learner.diagnose().findings)
        learner.reset()
        with torch.no_grad():
            model[0].weight[1:] = -1.0
            model[0].bias.zero_()
        run(model, batch=4)
        learner.step(torch.rand(4))
        assert "all neurons hear" not in " ".join(learner.diagnose().findings)
