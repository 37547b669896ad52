"""Saved, loaded, gone on: bit for bit, at any step of any story; and what does not fit is refused whole."""

from __future__ import annotations

import copy
import io
import random

import pytest
import torch
from test_all_or_nothing import assert_same, everything
from torch import nn

from snn_plasticity import (
    Connection,
    Convention,
    EligibilityConfig,
    EligibilityTraceModule,
    NeuromodConfig,
    NeuromodulatoryGate,
    PlasticityConfig,
    PlasticityLearner,
    ThreeFactorConfig,
    Window,
)


def hat(delta):
    return 1.0 - abs(delta) / 3.0


KINDS = {
    "pair": {"kernel": "stdp_pair"},
    "pair, lag": {"kernel": "stdp_pair", "convention": Convention(lag=1)},
    "triplet, no clamp": {"kernel": "stdp_triplet", "clamp_range": None},
    "replacing": {"kernel": "stdp_pair", "trace_type": "replacing"},
    "dutch rate": {"trace_type": "dutch"},
    "tight clamp": {"kernel": "stdp_symmetric", "clamp_range": (-0.5, 1.0)},
    "window": {"kernel": Window(hat, span=3.0)},
}


def built(kind="pair", path="auto", update_frequency=1, mode="online", combination="mlp", n=(5, 3), **neuromod):
    eligibility = EligibilityConfig(**KINDS[kind])
    config = PlasticityConfig(
        eligibility, three_factor=ThreeFactorConfig(lr=0.1, update_frequency=update_frequency, mode=mode)
    )
    torch.manual_seed(0)
    layers = nn.Linear(*n), nn.Conv1d(1, 2, 3, padding=1)
    gate = NeuromodConfig(combination_fn=combination, da_tau=4.0, reward_baseline="running", **neuromod)
    learner = PlasticityLearner(
        [Connection(f"c{i}", layer, config=config, path=path) for i, layer in enumerate(layers)],
        NeuromodulatoryGate(gate),
    )
    return learner, nn.ModuleList(layers)


def story(seed, length=10):
    """Events as plain data; the batch changes only at a reset of all."""
    rng, batch, events = random.Random(seed), 3, []
    for t in range(length):
        what = rng.choice(
            ["steps", "steps", "steps", "window", "reward", "reward", "rewards", "modulator", "mask", "reset"]
        )
        if what == "reset":
            batch = rng.choice([1, 2, 3])
        events.append((what, batch, 1000 * seed + t, rng.choice([1, 1, 2, 5, 70])))
    return events


def tell(learner, event):
    what, batch, seed, count = event
    g = torch.Generator().manual_seed(seed)

    def spikes(*shape):
        return (torch.rand(*shape, generator=g) < 0.4).float() * (1.0 if seed % 3 else 0.75)

    shapes = {"c0": ((batch, 5), (batch, 3)), "c1": ((batch, 1, 6), (batch, 2, 6))}
    if what in ("steps", "window"):
        for name, connection in learner.connections.items():
            pre, post = (spikes(count, *shape) for shape in shapes[name])
            if what == "window":
                connection.observe_sequence(pre, post, new_sequence=count == 5)
            else:
                for now in zip(pre, post, strict=True):
                    connection.observe(*now)
    elif what == "reward":
        learner.step(reward=1.0, novelty=0.5)
    elif what == "rewards" and learner.batch_size in (None, batch):
        learner.step(reward=torch.rand(batch, generator=g))
    elif what == "modulator":
        learner.step(torch.rand((), generator=g))
    elif what == "mask" and learner.batch_size == batch:
        learner.reset(torch.rand(batch, generator=g) < 0.5)
    elif what == "reset":
        learner.reset(scope=("episode", "eligibility", "neuromodulators", "all")[seed % 4])
        if seed % 4 == 2:
            learner.reset()


def reopened(state):
    """As another process would find it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.filterwarnings("ignore::snn_plasticity.PlasticityWarning")  # some steps of a story change nothing
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ("auto", "plain"))
@pytest.mark.parametrize("frequency", (1, 3))
def test_saved_at_every_step_of_a_story_it_goes_on_bit_for_bit(kind, path, frequency):
    events = story(list(KINDS).index(kind) + 17 * frequency + (path == "plain"))
    whole, model = built(kind, path, frequency)
    states = []
    for event in events:
        states.append(reopened((whole.state_dict(), model.state_dict())))
        tell(whole, event)
    end = everything(whole)
    for stop, (state, weights) in enumerate(states):
        other, layers = built(kind, path, frequency)
        tell(other, ("steps", 2, 5, 2))  # what it has lived through before is forgotten
        other.load_state_dict(state)
        layers.load_state_dict(weights)
        for event in events[stop:]:
            tell(other, event)
        assert_same(end, everything(other))


# --- what does not fit


def places(tree, path=()):
    """Every place in a saved state."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else ()
    for name, below in pairs:
        yield (*path, name), below
        yield from places(below, (*path, name))


def changed(tree, path, change):
    """A copy of a saved state, with one place changed."""
    tree = copy.deepcopy(tree)
    at = tree
    for name in path[:-1]:
        at = at[name]
    change(at, path[-1])
    return tree


def put(value):
    def change(at, name):
        at[name] = value

    return change


def drop(at, name):
    del at[name]


def wrongs(value):
    """What a place may not hold instead."""
    yield "a stranger", put(object())
    yield "a word", put("x")
    if isinstance(value, torch.Tensor):
        yield "nothing known", put(value.tolist())
        yield "another shape", put(value[..., None, None].expand(*value.shape, 2, 3).clone())
        if value.is_floating_point() and value.numel():
            yield "NaN", put(torch.full_like(value, float("nan")))
            yield "half", put(value.half())
    if isinstance(value, float):
        yield "NaN", put(float("nan"))
    if isinstance(value, dict):
        yield "one too many", lambda at, name: at[name].update(strange=1)


def lived(**options):
    learner, model = built(**options)
    for event in (("steps", 3, 1, 4), ("reward", 3, 2, 1), ("steps", 3, 4, 2)):
        tell(learner, event)
    return learner, model


@pytest.mark.parametrize("frequency", (1, 3))
@pytest.mark.parametrize("kind", ("pair", "window"))
def test_a_learner_refuses_what_is_wrong_at_any_place_and_nothing_changes(kind, frequency):
    learner, _ = lived(kind=kind, update_frequency=frequency)
    saved, tried = reopened(learner.state_dict()), 0
    tell(learner, ("steps", 3, 77, 3))
    before = everything(learner)
    for path, value in places(saved):
        inside_settings = "settings" in path[:-1]
        cases = list(wrongs(value)) if not inside_settings else [("a stranger", put("x"))]
        if isinstance(path[-1], str):
            cases.append(("missing", drop))
        for what, change in cases:
            bad = changed(saved, path, change)
            with pytest.raises((TypeError, ValueError)) as raised:
                learner.load_state_dict(bad)
                pytest.fail(f"{what} at {path} was accepted")
            assert len(str(raised.value)) > 40, (path, what, str(raised.value))
            assert_same(before, everything(learner))
            tried += 1
    assert tried > 200
    for stranger in (None, [], 1.0, "x", {}, saved["connections"]):
        with pytest.raises((TypeError, ValueError), match="The saved learner"):
            learner.load_state_dict(stranger)
    assert_same(before, everything(learner))
    learner.load_state_dict(saved)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"kind": "replacing"}, "trace_type was 'replacing' and is 'accumulating'"),
        ({"kind": "triplet, no clamp"}, "kernel was 'stdp_triplet' and is 'stdp_pair'"),
        ({"kind": "window"}, "kernel was .*Window.* and is 'stdp_pair'"),
        ({"update_frequency": 2}, "update_frequency was 2 and is 1"),
        ({"mode": "hybrid"}, "mode was 'hybrid' and is 'online'"),
        ({"path": "shared", "kind": "pair"}, "path 'shared'"),
        ({"da_scale": 2.0}, "da_scale was 2.0 and is 1.0"),
        ({"combination": "weighted_sum"}, "combination_fn was 'weighted_sum' and is 'mlp'"),
        ({"modulator_hidden_dim": 8}, "modulator_hidden_dim was 8 and is 64"),
        ({"n": (5, 4)}, r"\[4, 5\].*\[3, 5\]"),
    ],
)
def test_a_state_of_other_settings_is_refused_by_name(options, word):
    (learner, _), (other, _) = built(), built(**options)
    if other.connections["c0"].weight.shape == (3, 5):
        tell(other, ("steps", 3, 1, 2))
    else:
        other.connections["c0"].observe(torch.ones(3, 5), torch.ones(3, 4))
    tell(learner, ("steps", 3, 1, 2))
    before = everything(learner)
    with pytest.raises(ValueError, match=word):
        learner.load_state_dict(reopened(other.state_dict()))
    assert_same(before, everything(learner))


def test_kernels_of_ones_own_are_told_apart_by_their_parameters():
    def traces(kernel):
        return EligibilityTraceModule(2, 2, EligibilityConfig(kernel=kernel))

    saved = traces(Window(hat, span=3.0)).state_dict()
    traces(Window(hat, span=3.0)).load_state_dict(saved)
    with pytest.raises(ValueError, match="span was 3.0 and is 4.0"):
        traces(Window(hat, span=4.0)).load_state_dict(saved)
    with pytest.raises(ValueError, match="hat"):
        traces(Window(abs, span=3.0)).load_state_dict(saved)


def test_a_newer_format_is_refused_with_both_numbers():
    learner, _ = lived()
    saved = learner.state_dict()
    for state in ({**saved, "format": 2}, {name: part for name, part in saved.items() if name != "format"}):
        with pytest.raises(ValueError, match="has the format .*; expected 1"):
            learner.load_state_dict(state)


def test_a_saved_state_shares_no_memory_with_the_learner():
    learner, _ = lived()
    saved = learner.state_dict()
    kept = copy.deepcopy(saved)
    for event in (("reward", 3, 2, 1), ("steps", 3, 4, 2), ("reward", 3, 2, 1)):
        tell(learner, event)
    for (path, a), (_, b) in zip(places(kept), places(saved), strict=True):
        assert not isinstance(a, torch.Tensor) or torch.equal(a, b), path
    learner.load_state_dict(saved)
    tell(learner, ("reward", 3, 2, 1))
    for (path, a), (_, b) in zip(places(kept), places(saved), strict=True):
        assert not isinstance(a, torch.Tensor) or torch.equal(a, b), path


def test_a_gate_takes_all_parameters_or_none():
    config = NeuromodConfig(combination_fn="mlp", modulator_hidden_dim=4)
    gate, other = NeuromodulatoryGate(config), NeuromodulatoryGate(NeuromodConfig(**{**vars(config), "seed": 1}))
    saved = reopened(other.state_dict())
    before = copy.deepcopy(gate.state_dict())
    last = list(saved)[-1]
    for wrong in (
        {**saved, last: saved[last][:, :2]},
        {**saved, last: torch.full_like(saved[last], float("nan"))},
        {**saved, last: None},
        {**saved, "strange": torch.ones(1)},
        {name: value for name, value in saved.items() if name != last},
        None,
    ):
        with pytest.raises((TypeError, ValueError), match="The saved gate"):
            gate.load_state_dict(wrong)
        assert all(torch.equal(before[name], value) for name, value in gate.state_dict().items())
    gate.load_state_dict(saved)
    assert all(torch.equal(saved[name], value) for name, value in gate.state_dict().items())
