"""Dopamine: what it is on average, in which units rewards come, and that what is not said is not heard."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from snn_plasticity import AffectiveLoop, NeuromodConfig, NeuromodState, NeuromodulatoryGate
from snn_plasticity._usual_size import update_sums, usual_size
from snn_plasticity.neuromodulation import reset_samples

DISTRIBUTIONS = {
    "rare and large": lambda draw: 10.0 * (draw < 0.1),
    "rare punishment": lambda draw: -5.0 * (draw < 0.1),
    "rare and huge": lambda draw: 1000.0 * (draw < 0.1),
    "rarely missing and huge": lambda draw: 1000.0 * (draw < 0.9),
    "small": lambda draw: 0.1 * (draw < 0.3),
    "even": lambda draw: 100.0 * draw,
    "heavy tail": lambda draw: draw**-0.7,
    "always the same": lambda draw: 300.0 + 0.0 * draw,
}
everywhere = pytest.mark.parametrize("name", DISTRIBUTIONS)


def mean_dopamine(config, rewards):
    """Mean of the gain over samples and the later half of the trials, from rewards (T, B)."""
    gate, gains = NeuromodulatoryGate(config), []
    state = gate.init(rewards.shape[1])
    signal = config.da_source.removeprefix("normalized_")
    for reward in rewards.float():
        _, gain, state = gate.step({signal: reward}, state)
        gains.append(gain.mean())
    return float(torch.stack(gains[len(gains) // 2 :]).mean())


@everywhere
@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("reward", {}),
        ("td_error", {"da_scale": 3.0}),
        ("reward", {"baseline_scope": "batch"}),
        ("normalized_reward", {"baseline_scope": "batch"}),
        ("normalized_td_error", {}),
    ],
)
def test_an_expectation_leaves_no_dopamine_on_average_whatever_the_distribution(name, source, options):
    generator = torch.Generator().manual_seed(1)
    rewards = DISTRIBUTIONS[name](torch.rand(1000, 300, generator=generator, dtype=torch.float64))
    config = NeuromodConfig(da_source=source, reward_baseline="running", reward_baseline_tau=30.0, **options)
    assert abs(mean_dopamine(config, rewards)) < 0.02
    if name not in ("small", "even", "always the same"):  # a mean reward, squashed afterwards, is not enough
        mean = rewards.mean()
        assert abs(float(torch.tanh(rewards - mean).mean())) > 0.2


@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0, 1000.0, 1e5])
def test_a_constant_reward_of_any_size_is_expected_within_five_time_constants(size):
    gate = NeuromodulatoryGate(NeuromodConfig(reward_baseline="running", reward_baseline_tau=20.0))
    state = gate.init(1)
    for _ in range(100):
        modulators, _, state = gate.step({"reward": size}, state)
    assert abs(float(state.baseline) / size - 1.0) < 0.03 and abs(float(modulators["DA"])) < 0.05
    gone = []
    for _ in range(900):  # and unlearnt again, though slower where it was huge: its size has to be got used to first
        modulators, _, state = gate.step({"reward": 0.0}, state)
        gone.append(abs(float(state.baseline)) / size)
    assert gone[200 if size <= 30.0 else 800] < 0.02


def test_small_errors_follow_with_the_time_constant_itself():
    gate = NeuromodulatoryGate(NeuromodConfig(reward_baseline="running", reward_baseline_tau=10.0))
    state = gate.init(1, dtype=torch.float64)
    for n in range(30):
        modulators, _, state = gate.step({"reward": 1e-4}, state)
        assert float(modulators["DA"]) == pytest.approx(1e-4 * math.exp(-n / 10.0), rel=1e-6)


def test_a_linear_dopamine_gives_the_covariance_and_has_no_range():
    """Of a reward that only sometimes comes, and a Hebbian term that goes with it: ⟨g h⟩ = Cov(r, h), not less."""
    generator = torch.Generator().manual_seed(2)
    luck = torch.rand(2000, 200, generator=generator, dtype=torch.float64)
    reward, hebb = 10.0 * (luck < 0.1), 1.0 + 0.5 * (luck < 0.05)
    drift = {}
    for response in ("linear", "tanh"):
        config = NeuromodConfig(da_response=response, reward_baseline="running", reward_baseline_tau=100.0)
        gate, total = NeuromodulatoryGate(config), []
        state = gate.init(200, dtype=torch.float64)
        for r, h in zip(reward, hebb, strict=True):
            modulators, gain, state = gate.step({"reward": r}, state)
            total.append((gain * h).mean())
        drift[response] = float(torch.stack(total[1000:]).mean())
    covariance = float(torch.cov(torch.stack([reward.flatten(), hebb.flatten()]))[0, 1])
    assert drift["linear"] == pytest.approx(covariance, rel=0.05)
    assert drift["tanh"] < 0.3 * covariance
    lasting = NeuromodulatoryGate(NeuromodConfig(da_response="linear", da_scale=2.0, da_tau=10.0, da_baseline=0.5))
    first, _, state = lasting.step({"reward": torch.tensor([-30.0])})
    second, _, _ = lasting.step({"reward": torch.tensor([4.0])}, state)
    assert float(first["DA"]) == -59.5
    assert float(second["DA"]) == pytest.approx(-60.0 * math.exp(-0.1) + 8.0 + 0.5, rel=1e-6)


@pytest.mark.parametrize("usual", [1e-6, 0.1, 1.0, 10.0, 1e6])
def test_a_hundred_is_told_from_ten_where_ten_is_usual_in_any_unit(usual):
    for config in (
        NeuromodConfig(da_source="normalized_reward"),
        NeuromodConfig(da_source="normalized_reward", reward_baseline="running", reward_baseline_tau=20.0),
    ):
        gate = NeuromodulatoryGate(config)
        state, generator = gate.init(1), torch.Generator().manual_seed(0)
        for draw in torch.rand(600, generator=generator):
            _, _, state = gate.step({"reward": usual * float(draw < 0.5)}, state)
        one, ten = (float(gate({"reward": k * usual}, state)[0]["DA"]) for k in (1.0, 10.0))
        assert 0.3 < one < 0.8 and ten > 0.99
        assert float(gate({"reward": 0.0}, state)[0]["DA"]) <= 0.0
    raw = NeuromodulatoryGate()
    assert float(raw({"reward": 10.0})[0]["DA"]) == float(raw({"reward": 100.0})[0]["DA"]) == 1.0


@pytest.mark.parametrize("scope", ["sample", "batch"])
@pytest.mark.parametrize("baseline", ["none", "running"])
def test_a_constant_factor_in_all_rewards_changes_nothing_once_a_few_were_heard(baseline, scope):
    rewards = torch.randn(600, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.5
    dopamine = {}
    for factor in (0.01, 1.0, 500.0):
        config = NeuromodConfig(
            da_source="normalized_reward", reward_baseline=baseline, baseline_scope=scope, reward_baseline_tau=10.0
        )
        gate, found = NeuromodulatoryGate(config), []
        state = gate.init(4, dtype=torch.float64)
        for reward in factor * rewards:
            modulators, _, state = gate.step({"reward": reward}, state)
            found.append(modulators["DA"])
        dopamine[factor] = torch.stack(found)[400:]
    for factor in (0.01, 500.0):
        assert (dopamine[factor] - dopamine[1.0]).abs().max() < 0.02
    assert dopamine[1.0].abs().mean() > 0.2


def test_surprise_in_units_of_its_usual_size_drives_norepinephrine():
    gate = NeuromodulatoryGate(NeuromodConfig(ne_source="normalized_surprise", baseline_scope="batch"))
    state = None
    for _ in range(300):
        _, _, state = gate.step({"surprise": torch.tensor([20.0, 20.0, 0.0])}, state)
    modulators, _ = gate({"surprise": torch.tensor([0.0, 20.0, 60.0])}, state)
    torch.testing.assert_close(modulators["NE"], torch.tanh(torch.tensor([0.0, 1.0, 3.0])), rtol=1e-3, atol=0.0)
    assert "NE←normalized surprise" in repr(gate)


def test_the_usual_size_is_a_running_root_mean_square_of_what_was_no_silence():
    rng = np.random.default_rng(0)
    values = rng.normal(size=40) * (rng.random(40) < 0.7)
    sums, tau = torch.zeros(2, dtype=torch.float64), 30.0
    told = []
    for value in values:
        weights = (1 - 1 / tau) ** np.arange(len(told))[::-1]
        left = 50.0 * (1 - 1 / tau) ** len(told) * 0.5 ** (weights.sum() / 12.0) ** 2
        expected = math.sqrt((left + (weights * np.square(told)).sum()) / (left + weights.sum()))
        assert float(usual_size(sums, tau)) == pytest.approx(expected, rel=1e-12)
        told += [value] if value else []
        x = torch.tensor(value)
        sums = update_sums(sums, (x.square(),), x != 0, tau)
    assert len(told) < 40


def test_what_is_not_said_moves_nothing_and_zero_stays_zero():
    config = NeuromodConfig(da_source="normalized_td_error", ne_source="normalized_surprise", reward_baseline="running")
    gate = NeuromodulatoryGate(config)
    _, _, state = gate.step({"td_error": torch.tensor([5.0, 0.0]), "surprise": 3.0})
    modulators, plasticity, after = gate.step({"novelty": 0.0}, state)
    assert not plasticity.any() and torch.equal(after.baseline, state.baseline)
    assert torch.equal(after.usual, state.usual)
    fresh = gate.init(2)
    for _ in range(50):
        modulators, plasticity, fresh = gate.step({"td_error": 0.0, "surprise": 0.0}, fresh)
        assert not plasticity.any() and not any(amount.any() for amount in modulators.values())


def test_update_state_hears_only_what_it_is_told():
    gate = NeuromodulatoryGate(NeuromodConfig(reward_baseline="running", reward_baseline_tau=5.0, da_tau=20.0))
    state = None
    for _ in range(40):
        state = gate.update_state(reward=1.0, state=state, batch_size=1)
    told = stepped = state
    for _ in range(20):
        told = gate.update_state(novelty=0.5, state=told)
        stepped = gate.step({"novelty": 0.5}, stepped)[2]
    assert all(torch.equal(a, b) for a, b in zip(told, stepped, strict=True))
    assert torch.equal(told.baseline, state.baseline)
    silent = gate.update_state(state=state)
    torch.testing.assert_close(silent.levels, math.exp(-1 / 20) * state.levels)
    assert float(gate.update_state(reward=0.0, state=state).baseline) < float(state.baseline)
    errors = NeuromodulatoryGate(NeuromodConfig(da_source="td_error", reward_baseline="running"))
    before = errors.update_state(reward=1.0, batch_size=1)
    assert torch.equal(errors.update_state(patience=1.0, state=before).baseline, before.baseline)


@pytest.mark.parametrize("source", ["reward", "normalized_reward", "normalized_td_error"])
@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_extreme_signals_leave_finite_numbers(source, scope):
    config = NeuromodConfig(da_source=source, reward_baseline="running", baseline_scope=scope, reward_baseline_tau=5.0)
    gate, signal = NeuromodulatoryGate(config), source.removeprefix("normalized_")
    state = gate.init(3)
    for value in (1e30, -1e30, 1e-30, 0.0, 1e38, 1.0, 0.0, 1e6, -1e-8):
        modulators, plasticity, state = gate.step({signal: torch.tensor([value, 0.0, 1.0])}, state)
        assert all(torch.isfinite(part).all() for part in (plasticity, *state))
        assert modulators["DA"].abs().max() <= 1.0


OPTIONS = {"da_source": "normalized_reward", "ne_source": "normalized_surprise", "reward_baseline": "context"}


def lived(gate, state=None, steps=6):
    """Dopamine of some trials, and the state after them."""
    generator, found = torch.Generator().manual_seed(7), []
    for draw in torch.rand(steps, 3, 4, generator=generator):
        events = {"reward": 9.0 * draw[0] - 2.0, "surprise": 3.0 * draw[1], "context": (draw[2] > 0.5).float()}
        modulators, _, state = gate.step(events, state)
        found.append(torch.stack([modulators["DA"], modulators["NE"]]))
    return torch.stack(found), state


@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_saved_and_loaded_the_sizes_go_on_bit_for_bit(scope, tmp_path):
    gate = NeuromodulatoryGate(NeuromodConfig(**OPTIONS, baseline_scope=scope, n_contexts=2))
    _, state = lived(gate)
    torch.save(tuple(state), tmp_path / "state.pt")
    loaded = NeuromodState(*torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(lived(gate, state)[0], lived(gate, loaded)[0])
    assert not torch.equal(lived(gate, state)[0], lived(gate, loaded._replace(usual=0 * loaded.usual))[0])


def test_samples_do_not_hear_each_other_and_are_reset_alone():
    gate = NeuromodulatoryGate(NeuromodConfig(**OPTIONS, n_contexts=2))
    together, state = lived(gate)
    alone = NeuromodulatoryGate(NeuromodConfig(**OPTIONS, n_contexts=2))
    one, generator = None, torch.Generator().manual_seed(7)
    for t, draw in enumerate(torch.rand(6, 3, 4, generator=generator)):
        row = draw[:, 2:3]
        events = {"reward": 9.0 * row[0] - 2.0, "surprise": 3.0 * row[1], "context": (row[2] > 0.5).float()}
        modulators, _, one = alone.step(events, one)
        torch.testing.assert_close(modulators["DA"], together[t, 0, 2:3])
    mask = torch.tensor([True, False, False, True])
    reset, fresh = reset_samples(state, mask), gate.init(4)
    for after, before, new in zip(reset, state, fresh, strict=True):
        assert torch.equal(after[mask], new[mask]) and torch.equal(after[~mask], before[~mask])
    kept = reset_samples(state, mask, keep_baseline=True)
    assert torch.equal(kept.usual, state.usual) and torch.equal(kept.baseline, state.baseline)


def test_what_is_released_from_within_is_added_as_it_is_and_teaches_nothing():
    gate = NeuromodulatoryGate(NeuromodConfig(**OPTIONS, n_contexts=2))
    _, state = lived(gate)
    released = {"DA": 0.5, "NE": torch.tensor([0.1, 0.2, 0.3, 0.4])}
    modulators, _, after = gate.step({}, state, released=released)
    torch.testing.assert_close(modulators["DA"], torch.tanh(torch.full((4,), 0.5)))
    torch.testing.assert_close(modulators["NE"], torch.tanh(released["NE"]))
    assert torch.equal(after.baseline, state.baseline) and torch.equal(after.usual, state.usual)
    plain, _, heard = gate.step({"surprise": 2.0}, state)
    more, _, also = gate.step({"surprise": 2.0}, state, released=released)
    torch.testing.assert_close(torch.atanh(more["NE"]) - torch.atanh(plain["NE"]), released["NE"])
    assert torch.equal(heard.usual, also.usual)
    with pytest.raises(ValueError, match="released names NA; expected modulators among DA, ACh, NE, 5HT"):
        gate.step({}, state, released={"NA": 1.0})


@pytest.mark.parametrize("scope", ["sample", "batch"])
@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "normalized"])
def test_an_empty_batch_is_a_step_with_nothing_in_it(options, scope):
    gate = NeuromodulatoryGate(NeuromodConfig(**options, baseline_scope=scope))
    nobody = torch.zeros(0)
    modulators, plasticity, state = gate.step({"reward": nobody, "surprise": nobody})
    assert modulators["DA"].shape == plasticity.shape == (0,) and state.levels.shape == (0, 4)
    _, _, again = gate.step({"reward": nobody}, state)
    assert all(torch.equal(a, b) for a, b in zip(state, again, strict=True))


def test_a_state_of_other_sources_is_refused():
    plain, normalized = NeuromodulatoryGate(), NeuromodulatoryGate(NeuromodConfig(da_source="normalized_reward"))
    with pytest.raises(ValueError, match=r"state.usual has shape \(2, 0, 2\); this gate's has \(2, 1, 2\).*sources"):
        normalized({"reward": 1.0}, plain.init(2))
    short = NeuromodState(torch.zeros(2, 4), torch.zeros(2, 0))
    assert torch.equal(plain({"reward": 1.0}, short)[1], plain({"reward": 1.0}, plain.init(2))[1])
    with pytest.raises(ValueError, match=r"state.usual has shape \(0,\)"):
        normalized({"reward": 1.0}, short)


def test_the_loop_of_affect_hears_rewards_in_units_of_their_usual_size_unless_told_otherwise():
    loop = AffectiveLoop()
    for _ in range(300):
        loop.step(reward=10.0)
    ten, hundred, nothing = (loop.advance({"reward": r}, loop.state).modulators["DA"] for r in (10.0, 100.0, 0.0))
    assert float(ten) == pytest.approx(math.tanh(1.0), rel=1e-3) and float(hundred) > 0.99
    assert float(nothing) == 0.0
    told = AffectiveLoop(gate=NeuromodulatoryGate())
    assert float(told.advance({"reward": 10.0}).modulators["DA"]) == 1.0


def test_a_dopamine_without_range_is_felt_within_the_range_of_affect():
    loop = AffectiveLoop(gate=NeuromodulatoryGate(NeuromodConfig(da_response="linear")))
    loop.step(reward=50.0)
    assert float(loop.state.modulators["DA"]) == 50.0
    felt = loop.advance({}, loop.state).affect.valence
    one = loop.advance({}, loop.state._replace(modulators=loop.state.modulators | {"DA": torch.ones(1)}))
    assert torch.equal(felt, one.affect.valence) and 0.0 < float(felt) < 0.3


@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_a_loop_of_one_animal_goes_on_in_another_batch_with_the_mean_of_what_was_learnt(scope):
    config = NeuromodConfig(da_source="normalized_reward", reward_baseline="running", baseline_scope=scope)
    loop = AffectiveLoop(gate=NeuromodulatoryGate(config), shared=True)
    for _ in range(3):
        loop.step(reward=torch.tensor([1.0, 2.0, 4.0]))
    before = loop.state.gate
    loop.step(novelty=torch.zeros(2))
    after = loop.state.gate
    for old, new in zip(before[1:], after[1:], strict=True):
        expected = old if scope == "batch" else old.mean(0).expand(2, *old.shape[1:])
        torch.testing.assert_close(new, expected)
