"""The estimator: neutral from nothing, bounded, deterministic, per sample, resumable, differentiable, cheap."""

from __future__ import annotations

import ast
import copy
import gc
import io
import itertools
import math
import pickle
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import snn_plasticity.affect
from snn_plasticity.affect import (
    AffectiveEstimator,
    AffectiveState,
    AppraisalResult,
    InternalSignals,
    ModulationVector,
    reset_samples,
    to_neuromodulators,
)
from snn_plasticity.config.affect import AffectiveConfig, AffectiveFullConfig, AppraisalConfig

LEARNED = AffectiveFullConfig(appraisal=AppraisalConfig(use_learned_appraisal=True))
CONFIGS = {
    "minimal": AffectiveFullConfig.minimal(),
    "dev": AffectiveFullConfig.dev(),
    "production": AffectiveFullConfig.production(),
    "learned": LEARNED,
    "strong": AffectiveFullConfig(
        AffectiveConfig(valence_scale=8.0, arousal_scale=9.0, dominance_scale=7.0, output_clamp=0.8)
    ),
}
configs = pytest.mark.parametrize("name", CONFIGS)
TELLS = pytest.mark.parametrize("told", [False, True], ids=["one uncertainty", "told apart"])


def signals_at(t, batch=4, dtype=torch.float32, told=True, scale=1.0, levels=True):
    rng = np.random.default_rng(t)

    def draw(low=0.0, high=2.0):
        return torch.tensor(scale * rng.uniform(low, high, batch), dtype=dtype)

    return InternalSignals(
        reward_prediction_error=draw(-2.0),
        epistemic_uncertainty=draw(),
        prediction_error_magnitude=draw(),
        novelty_score=torch.tensor(rng.uniform(0, 1, batch), dtype=dtype),
        homeostatic_deviation=draw(),
        aleatoric_uncertainty=draw() if told else None,
        modulators={
            name: torch.tensor(rng.uniform(-1 if name == "DA" else 0, 1, batch), dtype=dtype)
            for name in ("DA", "ACh", "NE", "5HT")
        }
        if levels
        else None,
    )


def leaves(state):
    """All tensors of a state, with their names."""
    for name, value in zip(state._fields, state, strict=True):
        if isinstance(value, tuple):
            yield from ((f"{name}.{n}", v) for n, v in zip(value._fields, value, strict=True))
        elif isinstance(value, torch.Tensor):
            yield name, value


def same_bits(first, second):
    return all(torch.equal(a, b) for (_, a), (_, b) in zip(leaves(first), leaves(second), strict=True))


def run(estimator, steps, state=None, start=0, **options):
    for t in range(start, start + steps):
        state = estimator.estimate(signals_at(t, **options), state)
    return state


# ---------------------------------------------------------------- nothing, and bounds


@configs
@TELLS
@pytest.mark.parametrize("batch", [1, 3, 8, 70])
def test_nothing_is_exactly_nothing_for_ten_thousand_steps(name, told, batch):
    """From reset: V = A = D = 0, mood 0, expectations 0, to the bit, at every place of the tensor."""
    estimator = AffectiveEstimator(CONFIGS[name])
    state = estimator.reset(batch)
    zero = torch.zeros(batch)
    nothing = InternalSignals(*[zero] * 5, zero if told else None)
    worst = torch.zeros(())
    for _ in range(10_000 if (name, batch) == ("production", 3) else 300):
        state = estimator.estimate(nothing, state)
        worst = worst.maximum(state.point.abs().max())
    assert worst == 0.0
    assert not state.mood.any() and not state.expected.any()
    assert all(not level.any() for level in to_neuromodulators(state).values())
    factors = estimator.get_modulation(state)
    assert torch.equal(factors.learning_rate_scale, torch.ones(batch))
    assert torch.equal(factors.exploration_temp, torch.full((batch,), 1.5))


def test_reset_is_what_nothing_leaves():
    estimator = AffectiveEstimator()
    fresh, after = estimator.reset(5), estimator.estimate(InternalSignals(), estimator.reset(5))
    assert fresh.step_count == 0 and after.step_count == 1
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(leaves(fresh), leaves(after), strict=True))


def extremes(dtype):
    """Every combination of the ends of every signal, as one batch, modulators among them."""
    ends = [(-1e6, 0.0, 1e6), (0.0, 1e6), (0.0, 1e6), (0.0, 1.0), (0.0, 1e6), (0.0, 1e6), (-1.0, 1.0), (0.0, 1.0)]
    columns = torch.tensor(list(itertools.product(*ends)), dtype=dtype).unbind(-1)
    *own, da, others = columns
    return InternalSignals(*own, modulators={"DA": da, "ACh": others, "NE": others, "5HT": others})


@configs
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_everything_stays_bounded_at_a_million(name, dtype, autocast):
    estimator = AffectiveEstimator(CONFIGS[name])
    signals = extremes(dtype)
    if dtype == torch.float16:  # holds no million
        signals = InternalSignals(*(v.clamp(-6e4, 6e4) for v in signals[:6]), modulators=signals.modulators)
    bound = estimator.config.affect.output_clamp
    state = None
    for t in range(6):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            signals = signals._replace(
                reward_prediction_error=-signals.reward_prediction_error,
                prediction_error_magnitude=signals.prediction_error_magnitude.flip(0) if t % 2 else signals[2],
            )
            state = estimator.estimate(signals, state)
            factors = estimator.get_modulation(state)
        assert state.point.abs().max() <= bound and state.mood.abs().max() <= bound
        assert all(factor.min() > 0.0 for factor in factors)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        for label, tensor in leaves(state):
            assert torch.isfinite(tensor).all(), label
            assert tensor.dtype == wide, label
        a = state.appraisal
        assert a.relevance.min() >= 0.5 and a.relevance.max() <= 1.0
        assert a.norm_deviation.min() >= 0.5 and a.norm_deviation.max() <= 1.0
        assert a.congruence.abs().max() <= 1.0
        assert a.coping.min() >= 0.0 and a.coping.max() <= 1.0 / (1.0 + math.exp(-1.0)) + 1e-7
        assert a.epistemic_share.min() >= 0.0 and a.epistemic_share.max() <= 1.0


def test_the_largest_finite_numbers_give_no_nan():
    huge = torch.finfo(torch.float32).max
    signals = InternalSignals(*[torch.tensor([huge, huge])] * 3, 1.0, huge, huge)
    state = AffectiveEstimator().estimate(signals)
    assert all(torch.isfinite(tensor).all() for _, tensor in leaves(state))


def test_autocast_changes_not_one_bit():
    plain = run(AffectiveEstimator(LEARNED), 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = run(AffectiveEstimator(LEARNED), 10)
    assert same_bits(plain, cast)


# ---------------------------------------------------------------- the formulas, against an independent reference


def in_usual_units(error, met, tau):
    """An error divided by the root mean square of those that were met before, and of ones at first."""
    if tau is None:
        return error
    weights = [(1 - 1 / tau) ** age for age in range(len(met))]
    ones = 50.0 * 2.0 ** -((sum(weights) / 12.0) ** 2) * (1 - 1 / tau) ** len(met)
    squares = sum(weight * old * old for weight, old in zip(weights, reversed(met), strict=True))
    size = math.sqrt((squares + ones) / (sum(weights) + ones))
    met.extend([error] if error else [])
    return error / size


def reference(rows, config, steps_state=None):
    """One sample in plain Python floats, written from the contract, not from the code."""
    a, w = config.affect, config.appraisal
    sigma = lambda x: 1.0 / (1.0 + math.exp(-x))  # noqa: E731
    mood, familiar_r, familiar_p = [0.0, 0.0, 0.0], 0.5, sigma(1.0)
    met = {"reward": [], "prediction": []}
    for rpe, e, pe, n, h, chance, levels in rows:
        rpe = in_usual_units(rpe, met["reward"], a.tau_usual if a.reward_error_source == "normalized" else None)
        pe = in_usual_units(pe, met["prediction"], a.tau_usual if a.prediction_error_source == "normalized" else None)
        tell = chance is not None
        chance = chance or 0.0
        x = rpe + a.mood_congruence_bias * mood[0] * (1 - math.tanh(rpe) ** 2)
        relevance = sigma(pe + n + (e + chance if tell else 0.0))
        coping = sigma(1.0 - (chance if tell else e))
        norm = sigma(a.valence_scale * (h + chance))
        total = w.congruence_weight + w.norm_weight
        v = (w.congruence_weight * math.tanh(a.valence_scale * x) + w.norm_weight * (1 - 2 * norm)) / total
        r = a.arousal_scale * (relevance - familiar_r) / 0.5
        d = a.dominance_scale * (coping - familiar_p) / sigma(1.0)
        v += a.da_feedback * levels["DA"]
        r += a.ne_feedback * levels["NE"] + a.ach_feedback * levels["ACh"]
        d += a.sht_feedback * levels["5HT"]
        felt = [max(-a.output_clamp, min(a.output_clamp, value)) for value in (v, r, d)]
        mood = [m + (f - m) / a.tau_mood for m, f in zip(mood, felt, strict=True)]
        familiar_r += (relevance - familiar_r) / a.tau_baseline
        familiar_p += (sigma(1.0 - e - chance) - familiar_p) / a.tau_baseline
    return felt, mood


@pytest.mark.parametrize("name", ["minimal", "dev", "production", "strong"])
@TELLS
def test_the_affect_is_the_contracts_formula(name, told):
    estimator, state, rows = AffectiveEstimator(CONFIGS[name]), None, [[], [], [], []]
    for t in range(40):
        signals = signals_at(t, dtype=torch.float64, told=told)
        state = estimator.estimate(signals, state)
        for b in range(4):
            own = [None if value is None else value[b].item() for value in signals[:6]]
            rows[b].append((*own, {key: value[b].item() for key, value in signals.modulators.items()}))
    for b in range(4):
        felt, mood = reference(rows[b], CONFIGS[name])
        torch.testing.assert_close(state.point[b], torch.tensor(felt, dtype=torch.float64), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(state.mood[b], torch.tensor(mood, dtype=torch.float64), rtol=1e-10, atol=1e-12)


def test_single_precision_follows_double():
    single, double = run(AffectiveEstimator(), 50), run(AffectiveEstimator(), 50, dtype=torch.float64)
    for (name, a), (_, b) in zip(leaves(single), leaves(double), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-6, msg=name)


# ---------------------------------------------------------------- directions


def grid(name, values, state=None, config=None, **others):
    estimator = AffectiveEstimator(config)
    batch = len(values)
    given = {key: torch.full((batch,), float(value)) for key, value in others.items()}
    return estimator.estimate(InternalSignals(**{name: values, **given}), state)


def rising(tensor):
    return bool((tensor.diff() > 0).all())


LADDER = torch.linspace(0, 4, 33)


@pytest.mark.parametrize("rpe", [-2.0, -0.1, 0.0, 0.1, 2.0])
@pytest.mark.parametrize("deviation", [0.0, 1.0])
def test_directions_hold_at_either_sign_of_valence(rpe, deviation):
    rest = {"reward_prediction_error": rpe, "homeostatic_deviation": deviation}
    for name, values in (("prediction_error_magnitude", LADDER), ("novelty_score", LADDER / 4)):
        state = grid(name, values, **rest)
        assert rising(state.arousal) and rising(state.modulation.learning_rate_scale)
        assert torch.equal(state.valence, state.valence[:1].expand(33))
    state = grid("epistemic_uncertainty", LADDER, **rest)
    assert rising(-state.dominance) and rising(state.modulation.exploration_temp)
    chance = grid("aleatoric_uncertainty", LADDER, **rest)
    assert rising(-chance.dominance) and rising(-chance.valence) and rising(chance.arousal)
    assert rising(chance.modulation.exploration_temp) and rising(chance.modulation.risk_scale)


def test_better_news_feels_better_and_less_risky_in_any_mood():
    values = torch.linspace(-3, 3, 61)
    estimator = AffectiveEstimator(AffectiveConfig(mood_congruence_bias=1.0))
    for mood in (-1.0, -0.3, 0.0, 0.3, 1.0):
        state = estimator.reset(61)
        state = grid("reward_prediction_error", values, state._replace(mood=state.mood + mood), estimator.config)
        assert rising(state.valence) and rising(-state.modulation.risk_scale)
    worse = grid("homeostatic_deviation", LADDER)
    assert rising(-worse.valence) and rising(worse.modulation.risk_scale)


# ---------------------------------------------------------------- determinism, samples, resuming


@configs
@TELLS
def test_same_signals_same_bits(name, told):
    first = run(AffectiveEstimator(CONFIGS[name]), 30, told=told)
    torch.manual_seed(99)
    assert same_bits(first, run(AffectiveEstimator(CONFIGS[name]), 30, told=told))


@configs
def test_a_batch_is_a_loop_over_its_samples(name):
    estimator = AffectiveEstimator(CONFIGS[name])
    together = run(estimator, 30, dtype=torch.float64)
    for b in range(4):
        state = None
        for t in range(30):
            signals = signals_at(t, dtype=torch.float64)
            levels = {key: value[b : b + 1] for key, value in signals.modulators.items()}
            state = estimator.estimate(InternalSignals(*(v[b : b + 1] for v in signals[:6]), levels), state)
        for (label, alone), (_, shared) in zip(leaves(state), leaves(together), strict=True):
            torch.testing.assert_close(alone[0], shared[b], rtol=1e-12, atol=1e-14, msg=label)


@configs
def test_saved_and_restored_midway_goes_on_to_the_bit(name):
    estimator = AffectiveEstimator(CONFIGS[name])
    whole = run(estimator, 40)
    file = io.BytesIO()
    torch.save((run(estimator, 17).to_dict(), estimator.state_dict()), file)
    file.seek(0)
    saved, weights = torch.load(file, weights_only=True)
    other = AffectiveEstimator(CONFIGS[name])
    other.load_state_dict(weights)
    resumed = run(other, 23, AffectiveState.from_dict(saved), start=17)
    assert same_bits(whole, resumed) and resumed.step_count == whole.step_count == 40


def test_a_state_survives_pickle_and_a_broken_one_is_refused():
    state = run(AffectiveEstimator(), 3)
    assert same_bits(pickle.loads(pickle.dumps(state)), state)
    saved = state.to_dict()
    assert {"mood", "appraisal.coping", "modulation.risk_scale", "step_count"} <= set(saved)
    for broken in ({k: v for k, v in saved.items() if k != "mood"}, saved | {"temper": 1}, {"appraisal.luck": 1}):
        with pytest.raises(ValueError, match="no saved state.*to_dict"):
            AffectiveState.from_dict(broken)


def test_the_estimator_remembers_nothing_and_changes_no_state():
    estimator = AffectiveEstimator()
    state = run(estimator, 5)
    before = copy.deepcopy(state)
    inside = list(estimator.__dict__)
    first = estimator.estimate(signals_at(7), state)
    run(estimator, 10)
    assert same_bits(state, before) and state.step_count == before.step_count
    assert same_bits(estimator.estimate(signals_at(7), state), first)
    assert list(estimator.__dict__) == inside and not list(estimator.buffers()) and not estimator.state_dict()


def test_samples_can_be_reset_one_by_one():
    estimator = AffectiveEstimator()
    state = run(estimator, 10)
    mask = torch.tensor([True, False, True, False])
    mixed = reset_samples(state, estimator.reset(4), mask)
    for (label, got), (_, old), (_, new) in zip(leaves(mixed), leaves(state), leaves(estimator.reset(4)), strict=True):
        assert torch.equal(got[mask], new[mask]) and torch.equal(got[~mask], old[~mask]), label
    after, fresh = estimator.estimate(signals_at(3), mixed), estimator.estimate(signals_at(3))
    assert torch.equal(after.point[mask], fresh.point[mask])
    for wrong in (mask.float(), [True] * 4):
        with pytest.raises(TypeError, match="boolean"):
            reset_samples(state, estimator.reset(4), wrong)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        reset_samples(state, estimator.reset(4), mask[:3])


def test_shapes_floats_and_columns_are_one():
    estimator = AffectiveEstimator()
    plain = estimator.estimate(signals_at(0))
    column = InternalSignals(*(value.unsqueeze(-1) for value in signals_at(0)[:6]), signals_at(0).modulators)
    assert same_bits(plain, estimator.estimate(column))
    assert plain.mood.shape == (4, 3) and plain.expected.shape == (4, 2) and plain.valence.shape == (4,)
    assert isinstance(plain.appraisal, AppraisalResult) and isinstance(plain.modulation, ModulationVector)
    floats = estimator.estimate(InternalSignals(0.5, 0.1, torch.tensor(0.2), 0.3, 0.4), estimator.reset(3))
    tensors = estimator.estimate(InternalSignals(*(torch.full((3,), x) for x in (0.5, 0.1, 0.2, 0.3, 0.4))))
    assert same_bits(floats, tensors)
    assert estimator.estimate(InternalSignals()).valence.shape == (1,)


def test_double_stays_double_and_half_becomes_single():
    estimator = AffectiveEstimator()
    assert run(estimator, 2, dtype=torch.float64).mood.dtype == torch.float64
    assert run(estimator, 2, dtype=torch.float16).mood.dtype == torch.float32
    mixed = estimator.estimate(signals_at(0), estimator.reset(4, dtype=torch.float64))
    assert mixed.valence.dtype == torch.float64
    assert estimator.reset(2, dtype=torch.float16).mood.dtype == torch.float32
    assert mixed.to(dtype=torch.float16).mood.dtype == torch.float32


# ---------------------------------------------------------------- gradients, memory, time


def test_affect_is_differentiable_in_the_signals_of_its_step():
    estimator = AffectiveEstimator()
    point = torch.rand(6, dtype=torch.float64, requires_grad=True)
    state = run(estimator, 5, batch=1, dtype=torch.float64)

    def felt(x):
        after = estimator.estimate(InternalSignals(*x.unbind(0)), state)
        return torch.cat([after.point[0], after.mood[0], torch.stack(after.modulation)[:, 0]])

    assert torch.autograd.gradcheck(felt, (point,))
    jacobian = torch.func.jacrev(felt)(point)
    torch.testing.assert_close(jacobian, torch.autograd.functional.jacobian(felt, point))


def test_gradients_run_through_time_only_if_asked():
    for through_time in (False, True):
        estimator = AffectiveEstimator(through_time=through_time)
        first = torch.tensor([0.5], requires_grad=True)
        state = estimator.estimate(InternalSignals(first, 0.5, first.abs()))
        state = estimator.estimate(InternalSignals(torch.tensor([0.1], requires_grad=True)), state)
        (gradient,) = torch.autograd.grad((state.mood + state.point).sum(), first, allow_unused=True)
        assert (gradient is not None and gradient.abs() > 0) == through_time


def test_gradients_through_time_are_those_of_finite_differences():
    estimator = AffectiveEstimator(LEARNED, through_time=True)
    stretch = torch.rand(6, 6, dtype=torch.float64, requires_grad=True)

    def live(rows):
        state = None
        for row in rows:
            levels = None if state is None else to_neuromodulators(state)
            state = estimator.estimate(InternalSignals(*row.unbind(0), modulators=levels), state)
        return torch.cat([state.point[0], state.mood[0], state.expected[0]])

    assert torch.autograd.gradcheck(live, (stretch,))


def test_a_learned_appraisal_can_be_trained():
    estimator = AffectiveEstimator(LEARNED)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=1e-2)
    signals = signals_at(1, batch=64, levels=False)
    target = -0.5 * torch.tanh(signals.novelty_score)  # a mind that dislikes novelty
    losses = []
    for _ in range(200):
        loss = (estimator.estimate(signals).valence - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert not estimator.estimate(InternalSignals()).point.any()  # and still nothing comes of nothing


def test_it_maps_over_samples_and_differentiates_under_functorch():
    estimator = AffectiveEstimator()
    rows = torch.rand(5, 6, dtype=torch.float64)

    def felt(row):
        return estimator.estimate(InternalSignals(*row.unbind(0))).point[0]

    batched = estimator.estimate(InternalSignals(*rows.unbind(1))).point
    torch.testing.assert_close(torch.vmap(felt)(rows), batched, rtol=1e-12, atol=1e-14)
    jacobians = torch.vmap(torch.func.jacrev(felt))(rows)
    torch.testing.assert_close(jacobians[2], torch.autograd.functional.jacobian(felt, rows[2]))


@pytest.mark.usefixtures("fresh_compiler")
def test_one_step_is_one_graph_without_a_branch_on_data():
    """Compiled as a whole, which any look at a value would forbid; and the same bits."""
    estimator = AffectiveEstimator(LEARNED)

    def step(values, state):
        after = estimator.estimate(InternalSignals(*values, modulators=to_neuromodulators(state)), state)
        return after, estimator.get_modulation(after)

    compiled = torch.compile(step, backend="eager", fullgraph=True)
    one = two = estimator.reset(4)
    with torch.no_grad():
        for t in range(3):
            values = signals_at(t)[:6]
            (one, _), (two, _) = compiled(values, one), step(values, two)
    assert same_bits(one, two)


def test_only_what_returns_names_waits_for_the_device():
    rooms = Path(snn_plasticity.affect.__file__).parent.glob("*.py")
    waits = {
        (path.stem, node.func.attr)
        for path in rooms
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"item", "tolist", "cpu", "numpy", "nonzero"}
    }
    assert waits == {("space", "tolist")}


@pytest.mark.slow
def test_memory_does_not_grow_with_gradients_on():
    """A hundred thousand steps of a trainable estimator keep no history."""
    estimator = AffectiveEstimator(LEARNED)
    signals = InternalSignals(torch.tensor([0.3, -0.2]), 0.1, 0.4, 0.2)
    state = run(estimator, 1_000, batch=2)
    early = resident_bytes()
    for _ in range(100_000):
        state = estimator.estimate(signals, state)
    assert state.mood.requires_grad
    assert resident_bytes() - early < 10e6  # one tensor kept per step would be ten times that


def resident_bytes():
    """Memory this process holds, without what waits to be let go."""
    gc.collect()
    pages = Path("/proc/self/statm")
    if not pages.exists():
        pytest.skip("needs /proc")
    return int(pages.read_text().split()[1]) * resource.getpagesize()


def depth(node):
    """Length of the longest chain in a graph of gradients."""
    longest, stack = {}, [(node, False)]
    while stack:
        here, done = stack.pop()
        parents = [parent for parent, _ in here.next_functions if parent is not None]
        if done:
            longest[here] = 1 + max((longest[parent] for parent in parents), default=0)
        elif here not in longest:
            stack += [(here, True), *((parent, False) for parent in parents)]
    return longest[node]


def test_the_graph_of_gradients_has_the_length_of_one_step():
    """Also where the modulators that affect releases are felt in the next step."""
    depths, estimator, state = set(), AffectiveEstimator(LEARNED), None
    for _ in range(100):
        levels = None if state is None else to_neuromodulators(state)
        state = estimator.estimate(InternalSignals(0.5, 0.2, 0.4, modulators=levels), state)
        depths.add(depth(state.mood.grad_fn))
    assert len(depths) == 1


def test_one_step_for_a_thousand_samples_takes_less_than_a_millisecond():
    estimator, signals = AffectiveEstimator(), signals_at(0, batch=1024)
    state, best = estimator.reset(1024), math.inf
    with torch.no_grad():
        for _ in range(100):  # short stretches: one of them has the core for itself
            start = time.thread_time()
            for _ in range(4):
                state = estimator.estimate(signals, state)
                estimator.get_modulation(state)
            best = min(best, (time.thread_time() - start) / 4)
    assert best < 1e-3


# ---------------------------------------------------------------- bad input

BAD = {
    "epistemic_uncertainty": (-0.1, ">= 0"),
    "aleatoric_uncertainty": (-2.0, ">= 0"),
    "prediction_error_magnitude": (-1e-3, ">= 0"),
    "homeostatic_deviation": (-5.0, ">= 0"),
    "novelty_score": (1.5, "<= 1"),
}


def refuses(signals, state, error, *words):
    estimator = AffectiveEstimator()
    before = copy.deepcopy(state)
    with pytest.raises(error) as caught:
        estimator.estimate(signals, state)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    if isinstance(state, AffectiveState):
        assert same_bits(state, before) and state.step_count == before.step_count


@pytest.mark.parametrize("name", BAD)
def test_values_out_of_range_name_signal_and_range(name):
    value, expected = BAD[name]
    state = run(AffectiveEstimator(), 3)
    refuses(InternalSignals(**{name: value}), state, ValueError, name, expected)
    refuses(InternalSignals(**{name: torch.tensor([0.0, value, 0.0, 0.0])}), state, ValueError, name, expected)
    if name == "novelty_score":
        refuses(InternalSignals(**{name: -0.5}), state, ValueError, name, ">= 0")


@pytest.mark.parametrize("name", ["reward_prediction_error", *BAD])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused(name, value):
    state = run(AffectiveEstimator(), 3)
    refuses(InternalSignals(**{name: torch.tensor([0.0, 0.0, 0.0, value])}), state, ValueError, name, "finite")
    refuses(InternalSignals(**{name: value}), state, ValueError, name, "finite")


def test_wrong_shapes_batches_kinds_and_modulators_are_refused():
    state = run(AffectiveEstimator(), 3)
    refuses(InternalSignals(torch.zeros(4, 2)), state, ValueError, "reward_prediction_error", "(4, 2)", "(4, 1)")
    refuses(InternalSignals(torch.zeros(3)), state, ValueError, "batch of 3", "one of 4")
    refuses(InternalSignals(torch.zeros(4), torch.zeros(3)), None, ValueError, "epistemic_uncertainty", "(3,)")
    refuses(InternalSignals("high"), state, TypeError, "reward_prediction_error")
    refuses(InternalSignals(None), state, TypeError, "reward_prediction_error")
    refuses(InternalSignals(torch.zeros(4, dtype=torch.complex64)), state, TypeError, "real numbers")
    refuses({"novelty_score": 1.0}, state, TypeError, "InternalSignals")
    refuses(InternalSignals(modulators={"dopamine": 1.0}), state, ValueError, "dopamine", "DA, ACh, NE, 5HT")
    refuses(InternalSignals(modulators={"DA": -1.5}), state, ValueError, "DA", ">= -1")
    refuses(InternalSignals(modulators={"NE": -0.5}), state, ValueError, "NE", ">= 0")
    refuses(InternalSignals(modulators=[0.1]), state, TypeError, "mapping")


def test_a_state_that_does_not_fit_is_refused():
    estimator = AffectiveEstimator()
    state = run(estimator, 3)
    refuses(signals_at(0, batch=2), state, ValueError, "batch of 2", "one of 4", "reset(2)")
    with pytest.raises(ValueError, match="signals are on cpu, the state on meta.*state.to"):
        estimator.estimate(signals_at(0), state.to("meta"))
    on_meta = InternalSignals(torch.zeros(4, device="meta"), torch.zeros(4))
    refuses(on_meta, state, ValueError, "one device")
    refuses(signals_at(0), (1, 2), TypeError, "AffectiveState")
    refuses(signals_at(0), state._replace(mood=state.mood[:, :2]), ValueError, "(B, 3)")
    with pytest.raises(ValueError, match="state.mood.*finite"):
        estimator.estimate(signals_at(0), state._replace(mood=state.mood * math.nan))
    for size in (0, -1, 2.0, True, None):
        with pytest.raises(ValueError, match="batch_size"):
            estimator.reset(size)
    with pytest.raises(TypeError, match="AffectiveFullConfig"):
        AffectiveEstimator({"tau_mood": 3})
    with pytest.raises(TypeError, match="AffectiveState"):
        estimator.get_modulation(None)
