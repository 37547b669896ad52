"""What the loop remembers: saved and loaded whole, let go of with its batch, and untouched where nothing happened."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from test_all_or_nothing import assert_same
from test_all_or_nothing import everything as everything_of
from test_loop import a_learner, leaves, some_events, spike
from test_saved_states import changed, drop, places, put, reopened, wrongs

from snn_plasticity import NeuromodConfig
from snn_plasticity.config.affect import AffectiveConfig, AffectiveFullConfig, AppraisalConfig
from snn_plasticity.loop import AffectiveLoop

GATE = NeuromodConfig(combination_fn="mlp", reward_baseline="running", ne_tau=2.0, seed=3)
AFFECT = AffectiveFullConfig(AffectiveConfig(ne_feedback=0.05), AppraisalConfig(use_learned_appraisal=True, seed=5))


def a_loop(shared=False, gate=GATE, affect=AFFECT, learner=True):
    return AffectiveLoop(a_learner(gate, batch=3) if learner else None, affect, shared=shared)


def everything(loop):
    parts = [torch.tensor(float(loop._any_batch_size)), *leaves(loop.state), *loop.estimator.state_dict().values()]
    return copy.deepcopy([part.detach() for part in parts]) + (everything_of(loop.learner) if loop.learner else [])


def tell(loop, event):
    what, batch, seed = event
    if what == "spikes" and loop.learner.batch_size in (None, batch):
        spike(loop.learner, batch)
    elif what == "events" and loop.learner.batch_size in (None, batch):
        loop.step(**some_events(seed, batch))
    elif what == "reward":
        loop.step(reward=1.0)
    elif what == "mask" and loop.learner.batch_size == batch:
        loop.reset(torch.arange(batch) % 2 == 0)
    elif what == "reset":
        loop.reset(scope=("episode", "eligibility", "all")[seed % 3])


@pytest.mark.filterwarnings("ignore::snn_plasticity.PlasticityWarning")
@pytest.mark.parametrize("shared", (False, True))
@pytest.mark.parametrize("seed", range(4))
def test_saved_at_every_step_of_a_story_it_goes_on_to_the_bit(seed, shared):
    rng, batch, events = random.Random(seed), 3, []
    for t in range(14):
        what = rng.choice(["spikes", "spikes", "events", "events", "events", "reward", "mask", "reset"])
        batch = rng.choice([1, 2, 3]) if what == "reset" else batch
        events.append((what, batch, t))
    whole, states = a_loop(shared), []
    for event in events:
        states.append(reopened((whole.state_dict(), whole.learner.connections["w"].module.state_dict())))
        tell(whole, event)
    end = everything(whole)
    for stop, (state, weights) in enumerate(states):
        other = a_loop(shared)
        tell(other, ("events", 3, 99))
        other.load_state_dict(state)
        other.learner.connections["w"].module.load_state_dict(weights)
        for event in events[stop:]:
            tell(other, event)
        assert_same(end, everything(other))


def test_a_loop_refuses_what_is_wrong_at_any_place_and_nothing_changes():
    loop, tried = a_loop(), 0
    loop.step(**some_events())
    saved = reopened(loop.state_dict())
    loop.step(**some_events(1))
    before = everything(loop)
    for path, value in places(saved):
        if path[0] == "learner" and len(path) > 1:
            continue  # as for a learner of its own
        cases = list(wrongs(value)) if "settings" not in path[:-1] else [("a stranger", put("x"))]
        for what, change in [*cases, ("missing", drop)] if isinstance(path[-1], str) else cases:
            with pytest.raises((TypeError, ValueError)) as raised:
                loop.load_state_dict(changed(saved, path, change))
                pytest.fail(f"{what} at {path} was accepted")
            assert len(str(raised.value)) > 40, (path, what, str(raised.value))
            assert_same(before, everything(loop))
            tried += 1
    assert tried > 150
    loop.load_state_dict(saved)


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"shared": True}, "shared was True and is False"),
        ({"gate": NeuromodConfig(combination_fn="mlp", seed=3)}, "reward_baseline was 'none' and is 'running'"),
        ({"affect": AffectiveFullConfig(AffectiveConfig(tau_mood=50.0), AFFECT.appraisal)}, "tau_mood was 50.0"),
        ({"learner": False}, "has no learner, this one has one"),
    ],
)
def test_a_loop_that_was_built_otherwise_is_refused_by_name(other, word):
    loop, strange = a_loop(), a_loop(**other)
    strange.step(**some_events())
    before = everything(loop)
    with pytest.raises(ValueError, match=word):
        loop.load_state_dict(reopened(strange.state_dict()))
    assert_same(before, everything(loop))


@pytest.mark.parametrize("batches", ((3, 2), (2, 3), (3, 1), (1, 3)))
def test_after_a_reset_the_next_batch_goes_on_from_the_mean_of_the_last(batches):
    """Affect and reward averages are what one has got used to; another batch is of other samples."""
    old, new = batches
    loop = AffectiveLoop(a_learner(GATE, batch=old), AFFECT)
    for seed in range(3):
        loop.step(**some_events(seed, old))
    before = loop.state
    loop.reset()
    spike(loop.learner, new)
    events = some_events(7, new)
    loop.reset(torch.arange(new) % 2 == 1)  # nothing to forget, and no other batch size in the way
    loop.step(**events)
    by_hand = AffectiveLoop(None, AFFECT, gate=loop.gate)
    state = by_hand.init(new)
    affect = before.affect._replace(
        **{
            name: type(part)(*(leaf.mean(0).expand(new) for leaf in part)) if isinstance(part, tuple)
            else part.mean(0).expand(new, *part.shape[1:])
            for name, part in before.affect._asdict().items() if name != "step_count"
        }
    )  # fmt: skip
    gate = state.gate._replace(
        **{n: leaf.mean(0).expand(new, *leaf.shape[1:]) for n, leaf in before.gate._asdict().items() if n != "levels"}
    )
    expected = by_hand.advance(events, state._replace(affect=affect, gate=gate))
    for a, b in zip(leaves(loop.state), leaves(expected), strict=True):
        torch.testing.assert_close(a, b)


def test_a_batch_of_another_size_without_a_reset_is_refused_and_nothing_changes():
    loop = a_loop()
    loop.step(**some_events())
    loop.learner.reset()
    spike(loop.learner, 2)
    before = everything(loop)
    for call in (
        lambda: loop.step(**some_events(1, 2)),
        lambda: loop.reset(torch.tensor([True, False])),
        lambda: loop.reset(torch.tensor([True, False, True])),
    ):
        with pytest.raises(ValueError):
            call()
        assert_same(before, everything(loop))


@pytest.mark.parametrize("shared", (False, True))
def test_nothing_happens_to_nobody(shared):
    loop = a_loop(shared)
    loop.step(**some_events())
    loop.reset()
    spike(loop.learner, 0)
    numbers = loop.step(reward=torch.zeros(0), return_details=True).to_dict()
    assert not any(number != number for number in numbers.values())
    before = everything(loop)
    loop.step(**some_events(1, 0))
    loop.step(reward=1.0)
    loop.reset(torch.zeros(0, dtype=torch.bool))
    assert_same(before, everything(loop))
    with pytest.raises(ValueError, match="rewards"):
        loop.step(rewards=torch.zeros(0))
    nobody = loop.advance({"reward": torch.zeros(0)})
    assert len(nobody.plasticity) == 0 and len(nobody.affect.mood) == (1 if shared else 0)
    loop.reset()
    spike(loop.learner, 2)
    loop.step(**some_events(2, 2))
