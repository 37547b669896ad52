"""Eligibility traces against the double sums over spike pairs, and what must hold for every kernel, trace and layer."""

from __future__ import annotations

import brute_force
import numpy as np
import pytest
import stepped
import torch
from conftest import CONVENTIONS, KERNELS, LAYERS, TRACES, layer_and_trains, settings, trains

from snn_plasticity import Convention, EligibilityConfig, EligibilityTraceModule

T, B, N_PRE, N_POST = 24, 3, 4, 2


def run(module, pre, post):
    """All eligibilities of a run (T, B, ...), each a copy."""
    return torch.stack([module.update(p, q).clone() for p, q in zip(pre, post, strict=True)])


def expected(pre, post, config):
    """The oracle's eligibilities, shifted where a modulator meets those of the step before."""
    e = brute_force.run(pre.numpy(), post.numpy(), config)[1]
    return np.concatenate((np.zeros_like(e[:1]), e[:-1])) if config.convention.lag else e


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_equals_the_double_sum_in_every_convention(kernel, trace):
    pre, post = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)
    for convention in CONVENTIONS:
        config = settings(kernel, trace, convention)
        e = run(EligibilityTraceModule(N_PRE, N_POST, config), pre, post)
        np.testing.assert_allclose(
            e.numpy(), expected(pre, post, config), rtol=1e-10, atol=1e-10, err_msg=str(convention)
        )


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_two_oracles_are_one(kernel, trace):
    """Sums over pairs, and recursions."""
    pre, post = trains(12, 2, 3, seed=1) * 1.5, trains(12, 2, 2, seed=2)
    for convention in CONVENTIONS[::5]:
        config = settings(kernel, trace, convention, clamp_range=(-0.6, 0.9))
        rule = EligibilityTraceModule(3, 2, config).rule
        seen = stepped.run(rule.kernel, rule.trace, pre, post, torch.zeros(2, 2, 3))
        right = brute_force.run(pre.numpy(), post.numpy(), config)[1]
        np.testing.assert_allclose(seen, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("trace", TRACES)
def test_a_binding_clamp_acts_at_every_step(trace):
    pre, post = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)
    config = settings("stdp_pair", trace, clamp_range=(-0.5, 0.7))
    e = run(EligibilityTraceModule(N_PRE, N_POST, config), pre, post)
    assert e.max() == 0.7 and e.min() == -0.5
    np.testing.assert_allclose(e.numpy(), expected(pre, post, config), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kernel", ("rate", "stdp_pair"))
def test_a_step_may_be_shorter(kernel):
    pre, post = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)
    config = settings(kernel, dt=0.5)
    e = run(EligibilityTraceModule(N_PRE, N_POST, config), pre, post)
    np.testing.assert_allclose(e.numpy(), expected(pre, post, config), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layer_name", LAYERS)
def test_in_place_equals_the_pure_rule_in_every_layer(layer_name, kernel, trace):
    layer, pre, post = layer_and_trains(layer_name)
    module = EligibilityTraceModule.for_layer(layer, settings(kernel, trace, Convention(lag=1)))
    state = module.rule.init(pre[0], post[0])
    for now_pre, now_post in zip(pre, post, strict=True):
        e, state = module.rule.step(now_pre, now_post, state)
        torch.testing.assert_close(module.update(now_pre, now_post), e, rtol=1e-10, atol=1e-12)
        assert e.shape == (3, *layer.weight.shape)


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layer_name", LAYERS)
def test_a_batch_equals_the_loop_over_its_samples(layer_name, kernel, trace):
    layer, pre, post = layer_and_trains(layer_name)
    config = settings(kernel, trace)
    together = run(EligibilityTraceModule.for_layer(layer, config), pre, post)
    for b in range(pre.shape[1]):
        alone = run(EligibilityTraceModule.for_layer(layer, config), pre[:, b : b + 1], post[:, b : b + 1])
        torch.testing.assert_close(together[:, b : b + 1], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_ten_runs_give_the_same_bits(kernel, trace):
    pre, post = trains(T, B, N_PRE, seed=1, dtype=torch.float32), trains(T, B, N_POST, seed=2, dtype=torch.float32)
    first = run(EligibilityTraceModule(N_PRE, N_POST, settings(kernel, trace)), pre, post)
    for _ in range(9):
        assert torch.equal(run(EligibilityTraceModule(N_PRE, N_POST, settings(kernel, trace)), pre, post), first)


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("lag", (0, 1))
def test_saved_and_loaded_traces_go_on_bit_for_bit(kernel, trace, lag, tmp_path):
    pre, post = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)
    config = settings(kernel, trace, Convention(lag=lag))
    module = EligibilityTraceModule(N_PRE, N_POST, config)
    run(module, pre[:10], post[:10])
    torch.save(module.state_dict(), tmp_path / "traces.pt")
    restored = EligibilityTraceModule(N_PRE, N_POST, config)
    restored.load_state_dict(torch.load(tmp_path / "traces.pt", weights_only=True))
    assert torch.equal(run(restored, pre[10:], post[10:]), run(module, pre[10:], post[10:]))


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("lag", (0, 1))
def test_reset_of_one_sample_is_a_fresh_start_for_it_alone(kernel, trace, lag):
    pre, post = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)
    config = settings(kernel, trace, Convention(lag=lag))
    module, untouched = (EligibilityTraceModule(N_PRE, N_POST, config) for _ in range(2))
    run(module, pre[:10], post[:10])
    run(untouched, pre[:10], post[:10])
    module.reset(mask=torch.tensor([False, True, False]))
    e, before = run(module, pre[10:], post[10:]), run(untouched, pre[10:], post[10:])
    fresh = run(EligibilityTraceModule(N_PRE, N_POST, config), pre[10:], post[10:])
    assert torch.equal(e[:, 1], fresh[:, 1])
    assert torch.equal(e[:, [0, 2]], before[:, [0, 2]])


def test_reset_is_as_new_and_a_new_sequence_starts_from_zero_unless_carried():
    pre, post = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)
    for carry in (False, True):
        module = EligibilityTraceModule(N_PRE, N_POST, settings("stdp_pair", carry=carry))
        first = run(module, pre, post)
        module.start_sequence()
        again = run(module, pre, post)
        assert torch.equal(first, again) is not carry
        module.reset()
        assert torch.equal(run(module, pre, post), first)


def test_reset_shows_zero_traces_at_once():
    module = EligibilityTraceModule(N_PRE, N_POST)
    assert module.eligibility is None
    module.reset(5)
    assert torch.equal(module.eligibility, torch.zeros(5, N_POST, N_PRE))
    module.update(torch.ones(5, N_PRE), torch.ones(5, N_POST))
    module.reset()
    assert module.eligibility is None and module.batch_size is None


def test_diagonal_is_the_diagonal_of_the_full_matrix():
    pre, post = trains(T, B, 4, seed=1), trains(T, B, 4, seed=2)
    for trace in TRACES:
        full = run(EligibilityTraceModule(4, 4, settings("stdp_pair", trace)), pre, post)
        diagonal = run(EligibilityTraceModule(4, 4, settings("stdp_pair", trace, diagonal=True)), pre, post)
        torch.testing.assert_close(diagonal, torch.diagonal(full, dim1=2, dim2=3), rtol=1e-12, atol=1e-12)


def test_large_matrices_are_worked_on_in_blocks(monkeypatch):
    pre, post = trains(T, B, 20, seed=1), trains(T, B, 15, seed=2)
    config = settings("stdp_pair", "replacing")
    whole = run(EligibilityTraceModule(20, 15, config), pre, post)
    for size in (7, 20, 100, 301, 700):
        monkeypatch.setattr("snn_plasticity.layers.dense.CACHED_ENTRIES", size)
        torch.testing.assert_close(
            run(EligibilityTraceModule(20, 15, config), pre, post), whole, rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("trace", ("accumulating", "dutch", "replacing"))
def test_no_temporary_as_large_as_the_traces(trace):
    n, b = 600, 4
    module = EligibilityTraceModule(n, n, settings("stdp_pair", trace, clamp_range=(-5.0, 5.0)))
    pre, post = trains(3, b, n, seed=1, dtype=torch.float32), trains(3, b, n, seed=2, dtype=torch.float32)
    module.update(pre[0], post[0])
    with torch.profiler.profile(profile_memory=True) as profile:
        module.update(pre[1], post[1])
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest < b * n * n * 4 / 2


def test_double_spikes_give_double_traces_and_half_never_does():
    module = EligibilityTraceModule(2, 1)
    assert module.update(torch.ones(1, 2, dtype=torch.float16), torch.ones(1, 1)).dtype == torch.float32
    module.reset()
    assert module.update(torch.ones(1, 2), torch.ones(1, 1, dtype=torch.float64)).dtype == torch.float64
    assert module.half().eligibility.dtype == torch.float32
    module.reset()
    assert module.update(torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 1, dtype=torch.int64)).dtype == torch.float32


def test_traces_are_float32_under_autocast_and_equal_to_those_without():
    pre, post = trains(T, B, N_PRE, seed=1, dtype=torch.float32), trains(T, B, N_POST, seed=2, dtype=torch.float32)
    plain = run(EligibilityTraceModule(N_PRE, N_POST, settings("stdp_pair")), pre, post)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = run(EligibilityTraceModule(N_PRE, N_POST, settings("stdp_pair")), pre, post)
    assert torch.equal(plain, mixed)


def test_traces_made_in_inference_mode_can_go_on_outside():
    module = EligibilityTraceModule(2, 2, settings("stdp_pair"))
    with torch.inference_mode():
        module.update(torch.ones(1, 2), torch.ones(1, 2))
    assert not module.update(torch.ones(1, 2), torch.ones(1, 2)).is_inference()


def test_no_graph_is_kept():
    module = EligibilityTraceModule(2, 2, settings("stdp_pair"))
    pre = torch.ones(1, 2, requires_grad=True)
    assert not module.update(pre, torch.ones(1, 2)).requires_grad


def test_silence_leaves_zero_and_saturation_stays_in_the_clamp():
    module = EligibilityTraceModule(3, 2, settings("stdp_pair", clamp_range=(-5.0, 5.0)))
    for _ in range(1000):
        assert not module.update(torch.zeros(1, 3), torch.zeros(1, 2)).any()
    for _ in range(1000):
        e = module.update(torch.ones(1, 3), torch.ones(1, 2))
    assert e.abs().max() <= 5.0


@pytest.mark.parametrize(
    ("pre", "post", "word"),
    [
        (torch.ones(2, 3), torch.ones(2, 2), "expected (B, 4)"),
        (torch.ones(2, 4), torch.ones(3, 2), "same B"),
        (torch.ones(2, 2), torch.ones(2, 4), "swapped"),
        (torch.ones(4), torch.ones(2), "batch dimension"),
        (torch.full((3, 4), float("nan")), torch.ones(3, 2), "NaN"),
        (torch.ones(3, 4), torch.full((3, 2), float("inf")), "infinite"),
        (torch.ones(5, 4), torch.ones(5, 2), "reset(5)"),
        (torch.ones(3, 4, dtype=torch.complex64), torch.ones(3, 2), "real numbers"),
        ([1.0], torch.ones(3, 2), "torch.Tensor"),
        (torch.ones(3, 4, device="meta"), torch.ones(3, 2), "meta"),
    ],
)
def test_bad_spikes_are_refused_and_nothing_changes(pre, post, word):
    module = EligibilityTraceModule(4, 2, settings("stdp_pair"))
    module.update(torch.ones(3, 4), torch.ones(3, 2))
    before = module.state_dict()
    with pytest.raises((ValueError, TypeError)) as error:
        module.update(pre, post)
    assert word in str(error.value)
    for old, new in zip(
        torch.utils._pytree.tree_leaves(before), torch.utils._pytree.tree_leaves(module.state_dict()), strict=True
    ):
        assert torch.equal(old, new) if isinstance(old, torch.Tensor) else old == new


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda m: m.reset(0), "batch_size = 0"),
        (lambda m: m.reset(True), "batch_size = True"),
        (lambda m: m.reset(mask=torch.ones(3)), "boolean"),
        (lambda m: m.reset(mask=torch.ones(2, dtype=torch.bool)), "(3,)"),
        (lambda m: m.update(torch.ones(3, 4), torch.ones(3, 2), dt=0.0), "dt = 0.0"),
        (lambda m: m.apply_update(torch.ones(4, 2), 1.0, lr=0.1), "(2, 4)"),
        (lambda m: m.apply_update(torch.ones(2, 4), torch.ones(2), lr=0.1), "(3,)"),
        (lambda m: EligibilityTraceModule(3, 2, EligibilityConfig(diagonal=True)), "diagonal"),
        (lambda m: EligibilityTraceModule(4, 2).apply_update(torch.ones(2, 4), 1.0, lr=0.1), "no eligibility yet"),
    ],
)
def test_bad_calls_say_what_to_do(call, word):
    module = EligibilityTraceModule(4, 2)
    module.update(torch.ones(3, 4), torch.ones(3, 2))
    with pytest.raises(ValueError, match=r".") as error:
        call(module)
    assert word in str(error.value)


def test_traces_of_another_layer_are_refused():
    module, other = EligibilityTraceModule(4, 2), EligibilityTraceModule(3, 2)
    module.update(torch.ones(3, 4), torch.ones(3, 2))
    with pytest.raises(ValueError, match="another layer"):
        other.set_extra_state(module.get_extra_state())
