"""Somatic markers: a table where situations are distinct, fading, of limited size; and the Iowa gambling task."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch

from snn_plasticity.affect import MarkerState, SomaticMarkers
from snn_plasticity.config.affect import AffectiveConfig

FOREVER = math.inf


def memory(**settings):
    return SomaticMarkers(AffectiveConfig(**settings))


def stream(steps, batch=3, places=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, places, (steps, batch)), 10.0 * rng.normal(size=(steps, batch))


def one_hot(places, n=5):
    return torch.eye(n, dtype=torch.float64)[torch.as_tensor(places)]


@pytest.mark.parametrize("tau", [FOREVER, 30.0])
def test_distinct_situations_are_a_table_of_running_averages(tau):
    """Against a plain dictionary per agent: v ← d v for all, then v ← v + rate (outcome − v)."""
    markers = memory(marker_tau=tau, marker_rate=0.2, marker_width=0.1, marker_capacity=8)
    state = markers.init(3, 5, dtype=torch.float64)
    tables, fade = [{} for _ in range(3)], math.exp(-1.0 / tau)
    for places, outcomes in zip(*stream(60), strict=True):
        state = markers.learn(one_hot(places), torch.tensor(outcomes), state)
        for table, place, outcome in zip(tables, places, outcomes, strict=True):
            for known in table:
                table[known] *= fade
            table[place] = table.get(place, 0.0) + 0.2 * (outcome - table.get(place, 0.0))
    expected = torch.tensor([[table.get(place, 0.0) for place in range(5)] for table in tables], dtype=torch.float64)
    torch.testing.assert_close(
        markers.predict(one_hot(range(5)).expand(3, 5, 5), state), expected, rtol=1e-9, atol=1e-9
    )


def brute_force(x, state, width):
    """Kernel average over what is remembered, in loops."""
    total = weight = 0.0
    for place, value, age in zip(*(part.tolist() for part in state), strict=True):
        if age < math.inf:
            alike = math.exp(-sum((a - b) ** 2 for a, b in zip(x, place, strict=True)) / (2 * width**2))
            total, weight = total + alike * value, weight + alike
    return total / max(1.0, weight)


def test_prediction_is_the_kernel_average_of_what_is_like_it():
    markers = memory(marker_width=0.5, marker_capacity=10)
    generator = torch.Generator().manual_seed(0)
    state = markers.init(2, 3, dtype=torch.float64)
    for _ in range(25):
        where = torch.randn(2, 3, generator=generator, dtype=torch.float64)
        state = markers.learn(where, torch.randn(2, generator=generator, dtype=torch.float64), state)
    asked = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64)
    found = markers.predict(asked, state)
    for b in range(2):
        own = MarkerState(*(part[b] for part in state))
        for n in range(7):
            assert found[b, n].item() == pytest.approx(
                brute_force(asked[b, n].tolist(), own, 0.5), rel=1e-12, abs=1e-15
            )


def test_nothing_known_feels_like_nothing_and_near_feels_like_near():
    markers = memory(marker_rate=1.0, marker_width=0.2)
    state = markers.init(1, 2)
    assert not markers.predict(torch.randn(1, 4, 2), state).any()
    state = markers.learn(torch.zeros(1, 2), -4.0, state)
    line = torch.stack([torch.linspace(0, 2, 21), torch.zeros(21)], dim=-1)[None]
    felt = markers.predict(line, state)[0]
    assert felt[0] == -4.0 and (felt[:15].diff() > 0).all() and felt[-1].abs() < 1e-6


def test_the_outcome_is_felt_unsquashed():
    markers = memory(marker_rate=1.0, somatic_marker_weight=1.0)
    here = torch.ones(1, 1)
    for outcome in (-1250.0, -3.5, 0.25, 1e6):
        state = markers.learn(here, outcome, markers.init(1, 1))
        assert markers.predict(here, state).item() == outcome


def test_the_situation_unused_for_longest_is_forgotten_first():
    markers = memory(marker_capacity=3, marker_rate=1.0, marker_tau=FOREVER, marker_width=0.1)
    state = markers.init(1, 5, dtype=torch.float64)
    for place in (0, 1, 2, 0, 3):  # 1 is the one that has to go
        state = markers.learn(one_hot([place]), float(place + 1), state)
    felt = markers.predict(one_hot(range(5))[None], state)[0]
    torch.testing.assert_close(felt, torch.tensor([1.0, 0.0, 3.0, 4.0, 0.0], dtype=torch.float64))
    assert state.values.shape == (1, 3)


def test_markers_fade_with_their_time_constant():
    markers = memory(marker_tau=20.0, marker_rate=1.0, marker_width=0.1)
    state = markers.learn(one_hot([0]), 8.0, markers.init(1, 5, dtype=torch.float64))
    for _ in range(20):
        state = markers.learn(one_hot([1]), 0.0, state)
    assert markers.predict(one_hot([0]), state).item() == pytest.approx(8.0 / math.e, rel=1e-9)


def test_a_batch_is_a_loop_and_the_same_events_give_the_same_bits():
    markers = memory(marker_capacity=4)
    places, outcomes = stream(40)

    def run(columns):
        state = markers.init(len(columns), 5, dtype=torch.float64)
        for here, how in zip(places[:, columns], outcomes[:, columns], strict=True):
            state = markers.learn(one_hot(here), torch.tensor(how), state)
        return state

    together, again = run([0, 1, 2]), run([0, 1, 2])
    assert all(torch.equal(a, b) for a, b in zip(together, again, strict=True))
    for b in range(3):
        assert all(torch.equal(a[0], c[b]) for a, c in zip(run([b]), together, strict=True))
    file = io.BytesIO()
    torch.save(together, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    ahead = [markers.learn(one_hot([0, 1, 2]), 1.0, state) for state in (together, loaded)]
    assert all(torch.equal(a, b) for a, b in zip(*ahead, strict=True))


def test_scores_are_adjusted_by_the_contracts_formula():
    markers = memory(somatic_marker_weight=0.3, marker_rate=1.0)
    state = markers.learn(torch.zeros(2, 2), torch.tensor([5.0, -5.0]), markers.init(2, 2))
    scores, candidates = torch.rand(2, 4), torch.randn(2, 4, 2)
    felt = markers.predict(candidates, state)
    torch.testing.assert_close(markers.adjust(scores, candidates, state), scores + 0.3 * felt)
    torch.testing.assert_close(markers.adjust(scores, candidates, state, minimised=True), scores - 0.3 * felt)
    paths = torch.randn(2, 4, 6, 2)
    along = markers.predict(paths, state)
    assert along.shape == (2, 4, 6)
    torch.testing.assert_close(markers.adjust(scores, paths, state), scores + 0.3 * along.mean(-1))
    off = memory(use_somatic_markers=False, somatic_marker_weight=0.3)
    assert off.adjust(scores, candidates, state) is scores


def test_what_felt_good_is_preferred_whichever_end_of_the_scores_wins():
    markers = memory(somatic_marker_weight=1.0, marker_rate=1.0, marker_width=0.1)
    state = markers.learn(one_hot([2]), 3.0, markers.init(1, 5, dtype=torch.float64))
    even, all_places = torch.zeros(1, 5, dtype=torch.float64), one_hot(range(5))[None]
    assert markers.adjust(even, all_places, state).argmax() == 2
    assert markers.adjust(even, all_places, state, minimised=True).argmin() == 2


def test_gradients_reach_outcome_situation_and_candidates_but_not_the_past():
    markers = memory(marker_width=0.7)
    where, what = torch.randn(1, 3, dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    past = markers.learn(torch.randn(1, 3).double(), 1.0, markers.init(1, 3, dtype=torch.float64))

    def felt(x, outcome, asked):
        return markers.predict(asked, markers.learn(x, outcome, past))

    inputs = [tensor.requires_grad_() for tensor in (where, what, torch.randn(1, 3, dtype=torch.float64))]
    assert torch.autograd.gradcheck(felt, inputs)
    value = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    later = markers.learn(where.detach(), 0.5, markers.learn(where.detach(), value, past))
    assert not later.values.requires_grad


def test_bad_input_is_refused_and_changes_nothing():
    markers = memory()
    state = markers.learn(torch.zeros(2, 3), 1.0, markers.init(2, 3))
    before = [part.clone() for part in state]
    for features in (torch.zeros(3, 3), torch.zeros(2, 4), torch.zeros(2, 1, 3)):
        with pytest.raises(ValueError, match=r"situation has shape .*expected \(2, 3\)"):
            markers.learn(features, 1.0, state)
    with pytest.raises(ValueError, match="situation holds"):
        markers.learn(torch.full((2, 3), math.nan), 1.0, state)
    for outcome in (math.nan, torch.tensor([0.0, math.inf])):
        with pytest.raises(ValueError, match="outcome (=|holds)"):
            markers.learn(torch.zeros(2, 3), outcome, state)
    with pytest.raises(ValueError, match=r"outcome has shape \(3,\)"):
        markers.learn(torch.zeros(2, 3), torch.zeros(3), state)
    with pytest.raises(TypeError, match="MarkerState"):
        markers.predict(torch.zeros(2, 3), None)
    with pytest.raises(ValueError, match="scores have shape"):
        markers.adjust(torch.zeros(2, 4), torch.zeros(2, 5, 3), state)
    with pytest.raises(ValueError, match="n_features"):
        markers.init(2, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))
