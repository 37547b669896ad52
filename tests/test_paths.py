"""Every path gives what the plain one gives: the same story told to both, step by step and in windows."""

from __future__ import annotations

import random

import pytest
import torch
from conftest import CONVENTIONS, KERNELS, LAYERS, layer_and_trains, settings, trains

from snn_plasticity import Convention, EligibilityConfig, EligibilityTraceModule, _compiled
from snn_plasticity.kernels.eprop import EProp
from snn_plasticity.kernels.stdp import Coincidence, Pair, Rate
from snn_plasticity.kernels.terms import Spikes, Term, Values
from snn_plasticity.layers import dense, spike_trains
from snn_plasticity.plasticity._engine import engine as running
from snn_plasticity.plasticity._engine import state as states
from snn_plasticity.plasticity._engine import stepping
from snn_plasticity.plasticity._engine.window_terms import WindowTerms

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
LINEAR = ("accumulating", "dutch")


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch):
    """Fold often, and as narrow sparse matrices, so that short stories meet every branch; in foul memory."""
    monkeypatch.setattr(running, "MIN_WINDOW", 7)
    monkeypatch.setattr(running, "MAX_WINDOW", 7)
    monkeypatch.setattr(running, "MAX_CLAMPED_WINDOW", 7)
    monkeypatch.setattr(states, "TABLE_ENTRIES", 70)
    monkeypatch.setattr(dense, "SMALL_POPULATION", 0)
    monkeypatch.setattr(dense, "TILE_COLUMNS", (16, 16))
    monkeypatch.setattr(dense, "TILE_ENTRIES", 16 * 8)
    monkeypatch.setattr(spike_trains, "MIN_ENTRIES", 0)
    monkeypatch.setattr(stepping, "STEPWISE", (1, 1))
    monkeypatch.setattr(torch.Tensor, "new_empty", foul)


def foul(like, *size, dtype=None):
    """Memory that shows when it is read before it was written."""
    dtype = dtype or like.dtype
    return like.new_full(
        torch.Size(size) if isinstance(size[0], int) else size[0], dtype.is_floating_point and torch.nan, dtype=dtype
    )


def modulators(shape, n_post, rng):
    """A modulator of any kind, of either sign."""
    kind = rng.choice(("number", "sample", "neuron"))
    if kind == "number":
        return rng.uniform(-1.0, 1.0)
    size = (shape,) if kind == "sample" else (shape, n_post)
    return torch.randn(size, dtype=torch.float64)


def story(pre, post, n_post, seed):
    """Random events: steps, windows, modulators now or later, resets of single samples, looks at e."""
    rng, t, events = random.Random(seed), 0, []
    while t < len(pre):
        length = min(rng.choice((1, 1, 1, 2, 5, 9, 16)), len(pre) - t)
        window = pre[t : t + length], post[t : t + length]
        events.append(("step" if length == 1 else rng.choice(("window", "steps", "modulated")), window))
        t += length
        action = rng.choice(("nothing", "change", "queue", "flush", "look", "forget", "nothing"))
        events.append((action, modulators(pre.shape[1], n_post, rng)))
    return [*events, ("flush", None), ("look", None)]


def tell(module, events, rng_seed=0):
    """What a module answers to a story."""
    rng, answers, asked = random.Random(rng_seed), [], False
    for event, what in events:
        if event in ("step", "steps"):
            for p, q in zip(*what, strict=True):
                module.observe(p, q)
        elif event == "window":
            module.observe_window(*what)
        elif event == "modulated":
            generator = torch.Generator().manual_seed(rng.randrange(1000))
            mod = torch.randn(len(what[0]), what[0].shape[1], generator=generator, dtype=torch.float64)
            answers.append(module.modulate_window(*what, mod))
        elif event == "change":
            answers.append(module.change(what))
        elif event == "queue":
            module.queue(what)
            asked = True
        elif event == "flush" and asked:
            answers.append(module.flush())
        elif event == "look":
            answers.append(module.eligibility.clone())
        elif event == "forget":
            module.reset(mask=torch.tensor([rng.random() < 0.4 for _ in range(module.batch_size)]))
    return answers


def same(layer, config, pre, post, path, seed=0):
    """Both paths answer alike."""
    modules = [EligibilityTraceModule.for_layer(layer, config, path=which) for which in ("plain", path)]
    events = story(pre, post, modules[0].rule.geometry.shape[0], seed)
    plain, fast = (tell(module, events) for module in modules)
    assert len(plain) == len(fast) > 1
    for expected, answer in zip(plain, fast, strict=True):
        tolerance = TOLERANCE[pre.dtype]
        torch.testing.assert_close(answer, expected, rtol=tolerance, atol=0.1 * tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("path", ("fold", "auto"))
@pytest.mark.parametrize("trace", LINEAR)
@pytest.mark.parametrize("kernel", KERNELS)
def test_folds_equal_the_plain_path_in_every_convention(kernel, trace, path):
    layer, pre, post = layer_and_trains("linear", steps=40)
    for i, convention in enumerate(CONVENTIONS):
        same(layer, settings(kernel, trace, convention), pre, post, path, seed=i)


@pytest.mark.parametrize("dtype", (torch.float64, torch.float32))
@pytest.mark.parametrize("path", ("fold", "auto"))
@pytest.mark.parametrize("trace", LINEAR)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layer_name", [name for name in LAYERS if name != "transposed"])
def test_folds_equal_the_plain_path_in_every_layer(layer_name, kernel, trace, path, dtype):
    layer, pre, post = layer_and_trains(layer_name, steps=30, dtype=dtype)
    for seed, lag in enumerate((0, 1)):
        same(layer, settings(kernel, trace, Convention(lag=lag)), pre, post, path, seed)


@pytest.mark.parametrize("kernel", KERNELS)
def test_layers_known_only_by_their_product_are_folded_too(kernel):
    layer, pre, post = layer_and_trains("transposed", steps=20)
    modules = [EligibilityTraceModule.for_layer(layer, settings(kernel), path=path) for path in ("plain", "auto")]
    for module in modules:
        module.observe_window(pre, post)
    plain, fast = (module.change(torch.tensor([1.0, -2.0, 0.5])) for module in modules)
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("n_pre", "n_post"), ((50, 37), (50, 10), (10, 50)))
@pytest.mark.parametrize("path", ("fold", "auto"))
def test_wide_tables_are_multiplied_in_parts(n_pre, n_post, path):
    plain, fast = (
        EligibilityTraceModule(n_pre, n_post, settings("stdp_pair"), path=which) for which in ("plain", path)
    )
    for seed in range(3):
        pre, post = trains(30, 2, n_pre, seed=seed), trains(30, 2, n_post, seed=seed + 9)
        mod = torch.randn(30, 2, dtype=torch.float64)
        changes = [module.modulate_window(pre, post, mod) for module in (plain, fast)]
        torch.testing.assert_close(changes[1], changes[0], rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(fast.eligibility, plain.eligibility, rtol=1e-10, atol=1e-11)


CLAMPS = ((-0.3, 0.4), (-1.0, 1.0), (-3.0, 3.0), (0.0, 1.0), (-0.5, 0.0))


@pytest.mark.parametrize("path", ("fold", "auto"))
@pytest.mark.parametrize("kernel", ("rate", "stdp_pair", "stdp_triplet", "window"))
@pytest.mark.parametrize(
    ("layer_name", "clamp"),
    [*((name, clamp) for name in ("linear", "conv1d") for clamp in CLAMPS), ("transposed", (-1.0, 1.0))],
)
def test_a_clamp_binds_at_the_same_steps(layer_name, kernel, path, clamp):
    layer, pre, post = layer_and_trains(layer_name, steps=40)
    config = settings(kernel, clamp_range=clamp)
    modules = [EligibilityTraceModule.for_layer(layer, config, path=which) for which in ("plain", path)]
    for module in modules:
        module.observe_window(pre[:25], post[:25])
    answers = [[m.change(torch.tensor([1.0, -2.0, 0.5])), m.update_window(pre[25:], post[25:])] for m in modules]
    for expected, answer in zip(*answers, strict=True):
        torch.testing.assert_close(answer, expected, rtol=1e-10, atol=1e-11)


def test_the_certificate_spares_most_rows_and_never_lies():
    """Where it passes, the largest |e| of the plain path stays within; where e is half the clamp, all rows pass."""
    from snn_plasticity.plasticity._engine.clamp import count_bounds, row_bounds

    pre, post = trains(200, 2, 50, seed=1, rate=0.05), trains(200, 2, 40, seed=2, rate=0.05)
    module = EligibilityTraceModule(50, 40, settings("stdp_pair", tau_e=50.0), path="plain")
    bound, worst, kernel = torch.zeros(2, 40).double(), torch.zeros(2, 40).double(), None
    beta = module.rule.trace.retained(1.0)
    for start in range(0, 200, 40):
        block = slice(start, start + 40)
        terms, before = WindowTerms(module.rule.kernel, pre[block], post[block], kernel, 1.0, torch.float64), kernel
        new, kernel = row_bounds(module.rule.geometry, terms, beta, 1.0), terms.state_after
        assert bool((new <= row_bounds(module.rule.geometry, terms, 1.0, 1.0) + 1e-12).all())
        counted = WindowTerms(module.rule.kernel, pre[block].bool(), post[block].bool(), before, 1.0, torch.float64)
        assert bool((new <= count_bounds(counted, 1.0) + 1e-12).all())
        for p, q in zip(pre[block], post[block], strict=True):
            row = module.update(p, q).abs().amax(2)
            assert bool((row <= bound + new + 1e-12).all())
            worst = torch.maximum(worst, row)
        bound = module.eligibility.abs().amax(2)
    config = settings("stdp_pair", tau_e=50.0, clamp_range=(-2.2 * float(worst.max()), 2.2 * float(worst.max())))
    fold = EligibilityTraceModule(50, 40, config, path="fold")
    walked = []
    original = stepping.step_rows
    stepping.step_rows = lambda *a: walked.append(a) or original(*a)
    try:
        fold.observe_window(pre, post)
        torch.testing.assert_close(fold.eligibility, module.eligibility, rtol=1e-10, atol=1e-11)
    finally:
        stepping.step_rows = original
    assert len(walked) <= 2


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("trace", ("replacing", "dutch_active"))
@pytest.mark.parametrize("layer_name", ("linear", "conv2d"))
def test_rows_equal_the_plain_path(layer_name, trace, kernel):
    layer, pre, post = layer_and_trains(layer_name, steps=40)
    for seed, convention in enumerate((Convention(), Convention(lag=1, pairing="nearest"))):
        same(layer, settings(kernel, trace, convention), pre, post, "rows", seed)
        same(layer, settings(kernel, trace, convention, clamp_range=(-0.3, 0.4)), pre, post, "rows", seed)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layer_name", ("linear", "conv1d", "conv2d"))
@pytest.mark.parametrize("reduction", ("mean", "sum"))
def test_a_shared_trace_is_enough_for_shared_modulators(layer_name, kernel, reduction):
    layer, pre, post = layer_and_trains(layer_name, steps=40)
    config = settings(kernel, convention=Convention(reduction=reduction))
    plain, shared = (EligibilityTraceModule.for_layer(layer, config, path=path) for path in ("plain", "shared"))
    for t, (p, q) in enumerate(zip(pre, post, strict=True)):
        plain.observe(p, q)
        shared.observe(p, q)
        if t % 3 == 0:
            torch.testing.assert_close(shared.change(0.5 - t % 2), plain.change(0.5 - t % 2), rtol=1e-10, atol=1e-11)
    mod = torch.linspace(-1.0, 1.0, 40, dtype=torch.float64)
    torch.testing.assert_close(
        shared.modulate_window(pre, post, mod), plain.modulate_window(pre, post, mod), rtol=1e-10, atol=1e-11
    )


def test_eprop_with_a_signal_per_neuron_needs_no_eligibility():
    psi, pre, signal = torch.rand(30, 3, 5).double(), trains(30, 3, 6), torch.randn(30, 3, 5).double()
    config = EligibilityConfig(kernel=EProp(tau_m=8.0), tau_e=4.0, clamp_range=None)
    plain, fast = (EligibilityTraceModule(6, 5, config, path=path) for path in ("plain", "auto"))
    expected = plain.modulate_window(pre, psi, signal)
    torch.testing.assert_close(fast.modulate_window(pre, psi, signal), expected, rtol=1e-10, atol=1e-11)
    assert fast._running.state.e is None


def test_a_change_at_the_end_builds_no_eligibility():
    module = EligibilityTraceModule(40, 30, settings("stdp_pair"))
    pre, post = trains(50, 4, 40, seed=1), trains(50, 4, 30, seed=2)
    for p, q in zip(pre, post, strict=True):
        module.observe(p, q)
    module.change(torch.randn(4))
    assert module._running.state.e is None


def test_steps_of_different_length_are_kept_apart():
    pre, post = trains(20, 2, 4, seed=1), trains(20, 2, 3, seed=2)
    plain, fast = (EligibilityTraceModule(4, 3, settings("stdp_pair"), path=path) for path in ("plain", "auto"))
    for t, (p, q) in enumerate(zip(pre, post, strict=True)):
        for module in (plain, fast):
            module.observe(p, q, dt=0.5 if t % 5 == 0 else 1.0)
    torch.testing.assert_close(fast.change(torch.ones(2)), plain.change(torch.ones(2)))
    torch.testing.assert_close(fast.eligibility, plain.eligibility)


def test_saved_in_the_middle_of_a_fold_it_goes_on_bit_for_bit(tmp_path):
    pre, post = trains(40, 3, 6, seed=1, dtype=torch.float32), trains(40, 3, 5, seed=2, dtype=torch.float32)
    for path in ("plain", "fold", "auto"):
        module, restored = (EligibilityTraceModule(6, 5, settings("stdp_pair"), path=path) for _ in range(2))
        stayed = EligibilityTraceModule(6, 5, settings("stdp_pair"), path=path)
        for p, q in zip(pre[:17], post[:17], strict=True):
            module.observe(p, q)
            stayed.observe(p, q)
        torch.save(module.state_dict(), tmp_path / "traces.pt")
        restored.load_state_dict(torch.load(tmp_path / "traces.pt", weights_only=True))
        mods = torch.randn(3)
        for p, q in zip(pre[17:], post[17:], strict=True):
            for going in (module, restored, stayed):
                going.observe(p, q)
        results = [going.change(mods) for going in (stayed, module, restored)]
        assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
        assert torch.equal(restored.eligibility, stayed.eligibility)


@pytest.mark.parametrize("path", ("plain", "fold", "auto", "rows"))
def test_ten_runs_of_a_path_give_the_same_bits(path):
    pre, post = trains(40, 3, 6, seed=1, dtype=torch.float32), trains(40, 3, 5, seed=2, dtype=torch.float32)
    config = settings("stdp_pair", "replacing" if path == "rows" else "accumulating")
    answers = [EligibilityTraceModule(6, 5, config, path=path).update_window(pre, post) for _ in range(10)]
    assert all(torch.equal(answer, answers[0]) for answer in answers)


@pytest.mark.parametrize(
    ("path", "trace", "word"),
    [
        ("fast", "accumulating", "'shared'"),
        ("rows", "accumulating", "not linear"),
        ("fold", "replacing", "not exact"),
        ("shared", "dutch_active", "not exact"),
    ],
)
def test_a_path_that_would_not_be_exact_is_refused_with_the_reason(path, trace, word):
    with pytest.raises(ValueError, match=word):
        EligibilityTraceModule(4, 3, settings("rate", trace), path=path)


def test_the_shared_path_hears_a_number_that_was_expanded():
    module = EligibilityTraceModule(4, 3, settings("rate"), path="shared")
    module.observe_window(torch.ones(20, 2, 4), torch.ones(20, 2, 3))
    assert torch.equal(module.change(torch.tensor(0.5).expand(2)), module.change(0.5))
    alone = EligibilityTraceModule(4, 3, settings("rate"), path="shared")
    alone.observe_window(torch.ones(20, 1, 4), torch.ones(20, 1, 3))
    assert torch.equal(alone.change(torch.tensor([0.5])), alone.change(0.5))


def test_the_shared_path_refuses_what_needs_single_samples():
    module = EligibilityTraceModule(4, 3, settings("rate"), path="shared")
    module.observe_window(torch.ones(20, 2, 4), torch.ones(20, 2, 3))
    for call, word in (
        (lambda: module.change(torch.ones(2)), "one number for the whole batch"),
        (lambda: module.eligibility, "single samples"),
        (lambda: module.reset(mask=torch.tensor([True, False])), "one sum"),
    ):
        with pytest.raises(ValueError, match=word):
            call()
    clamped = EligibilityTraceModule(4, 3, settings("rate", clamp_range=(-0.1, 0.1)), path="shared")
    with pytest.raises(ValueError, match="clamp"):
        clamped.observe_window(torch.ones(20, 2, 4), torch.ones(20, 2, 3))


@pytest.mark.parametrize(
    ("pre", "post", "mod", "word"),
    [
        (torch.ones(5, 2, 4), torch.ones(4, 2, 3), torch.ones(5), "same T"),
        (torch.ones(0, 2, 4), torch.ones(0, 2, 3), torch.ones(0), "T >= 1"),
        (torch.ones(5, 2, 4), torch.ones(5, 2, 3), torch.ones(4), "each of the 5 steps"),
        (torch.ones(5, 2, 4), torch.ones(5, 2, 3), 1.0, "each of the 5 steps"),
        (torch.ones(5, 2, 4), torch.ones(5, 2, 3), torch.ones(5, 3), "(3,)"),
        (torch.full((5, 2, 4), float("nan")), torch.ones(5, 2, 3), torch.ones(5), "NaN"),
    ],
)
def test_bad_windows_are_refused(pre, post, mod, word):
    module = EligibilityTraceModule(4, 3)
    module.observe_window(torch.ones(3, 2, 4), torch.ones(3, 2, 3))
    before = module.eligibility.clone()
    with pytest.raises(ValueError, match=r".") as error:
        module.modulate_window(pre, post, mod)
    assert word in str(error.value)
    assert torch.equal(module.eligibility, before)


def test_repr_says_which_path_was_chosen():
    assert "path='auto'" in repr(EligibilityTraceModule(4, 3))
    assert "path='rows'" in repr(EligibilityTraceModule(4, 3, settings("rate", "replacing")))


def test_spikes_are_kept_as_booleans_and_what_is_no_spike_as_it_is():
    trains_in = trains(100, 2, 6, seed=1), trains(100, 2, 5, seed=2)
    for height, kept in ((1.0, torch.bool), (0.5, torch.float64)):
        pre, post = (height * side for side in trains_in)
        plain, fast = (EligibilityTraceModule(6, 5, settings("stdp_pair"), path=path) for path in ("plain", "auto"))
        for module in (plain, fast):
            module.observe_window(pre.clone(), post.clone())
        assert fast._running.pending.blocks[0].pre.dtype == kept
        torch.testing.assert_close(fast.change(torch.ones(2)), plain.change(torch.ones(2)), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
@pytest.mark.parametrize("piece", (7, 1 << 17))
def test_only_zeros_and_ones_are_spikes(dtype, piece, monkeypatch):
    monkeypatch.setattr(spike_trains, "LOOKED_AT", piece)
    spikes = trains(20, 3, 30, seed=1).to(dtype)
    assert torch.equal(spike_trains.as_binary(spikes), spikes.bool())
    assert torch.equal(spike_trains.as_binary(torch.where(spikes > 0, spikes, -0.0)), spikes.bool())
    assert torch.equal(spike_trains.as_binary(spikes.transpose(0, 1)), spikes.transpose(0, 1).bool())
    for odd in (0.5, 2.0, -1.0, 1e-30, 1e-42, 1.0 - 1e-7, 1.0 + 3e-7, float("nan"), float("inf")):
        for number in (1, 600):
            other = spikes.clone()
            other.view(-1)[torch.randperm(other.numel())[:number]] = odd
            assert spike_trains.as_binary(other) is None
    assert spike_trains.as_binary(torch.full((4,), 0.5, dtype=dtype)) is None


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_steps_are_written_as_bits_only_if_they_are_zeros_and_ones(dtype):
    spikes = trains(1, 3, 30, seed=1)[0].to(dtype)
    for given in (spikes, spikes.clone().requires_grad_(), spikes.bool(), spikes.mT.contiguous().mT):
        rooms = torch.empty(2, 3, 30, dtype=torch.bool)
        assert spike_trains.write_binary(rooms.numpy(), 1, given)
        assert torch.equal(rooms[1], spikes.bool())
    for odd in (0.5, -1.0, 1.0 + 3e-7, float("nan"), float("inf")):
        rooms = torch.empty(1, 3, 30, dtype=torch.bool).numpy()
        assert not spike_trains.write_binary(rooms, 0, torch.where(spikes > 0, odd, spikes))
        assert not spike_trains.write_binary(rooms.repeat(20, 1), 0, torch.where(spikes > 0, odd, spikes).repeat(20, 1))


@pytest.mark.parametrize("fast", (False, True))
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_a_writer_takes_what_fits_and_nothing_else(dtype, fast):
    g = torch.Generator().manual_seed(1)
    bits, values = trains(1, 3, 30, seed=1)[0].to(dtype), torch.randn(3, 30, generator=g, dtype=dtype)
    for room, fits in ((torch.bool, bits), (dtype, values)):
        rooms = torch.zeros(4, 3, 30, dtype=room)
        write = spike_trains.writer_into(rooms, fast=fast)
        for given in (fits, fits.clone().requires_grad_(), fits.mT.contiguous().mT):
            rooms.zero_()
            assert write(2, given)
            assert torch.equal(rooms[2], fits.detach().to(room)) and not rooms[[0, 1, 3]].any()
        for odd in (
            float("nan"),
            float("inf"),
            -float("inf"),
            *((0.5, -1.0, 1.0 + 3e-7) if room is torch.bool else ()),
        ):
            assert not write(1, torch.where(torch.arange(30) == 17, odd, fits))
    assert spike_trains.writer_into(torch.empty(1, 3, 30, dtype=torch.bool), fast=fast)(0, bits.bool())
    other = torch.float64 if dtype is torch.float32 else torch.float32
    assert not spike_trains.writer_into(torch.empty(1, 3, 30, dtype=dtype), fast=fast)(0, values.to(other))


@pytest.mark.skipif(not _compiled.available(), reason="needs compiled loops, with numba")
@pytest.mark.parametrize("rate", (0.0, 0.01, 0.3, 1.0))
@pytest.mark.parametrize("whole", (True, False))
def test_spikes_that_a_loop_lists_are_those_that_numpy_finds(rate, whole):
    """Of all samples, or of some of them, which do not lie together."""
    bits = torch.rand(37, 5, 64, generator=torch.Generator().manual_seed(2)) < rate
    bits = bits if whole else bits[:, 1:4]
    batch = bits.shape[1]
    listed, found = (spike_trains.SpikeTrains(bits, torch.float32, fast=fast) for fast in (True, False))
    assert listed._listed(together=True) is not None and found._listed(together=True) is None
    for now, known in ((listed.together, found.together), (listed.apart(1, batch - 1), found.apart(1, batch - 1))):
        assert torch.equal(now.starts, known.starts) and torch.equal(now.columns, known.columns)
    odd = spike_trains.SpikeTrains(bits[..., :61], torch.float32, fast=True)
    assert torch.equal(odd.together.columns, spike_trains.SpikeTrains(bits[..., :61], torch.float32).together.columns)


def test_no_episode_touches_what_was_kept_of_another():
    plain, fast = (EligibilityTraceModule(6, 5, settings("stdp_pair"), path=path) for path in ("plain", "auto"))
    saved = None
    for episode, (batch, heights) in enumerate([(2, 1), (2, 1), (2, 1), (3, 1), (2, (0.3, 1)), (2, 1), (2, 1)]):
        pre, post = trains(300, batch, 6, seed=episode), trains(300, batch, 5, seed=episode + 9)
        for module in (plain, fast):
            module.reset()
            for t in range(300):
                height = heights if isinstance(heights, int) else heights[t % 2]
                module.observe(height * pre[t], post[t], dt=1.0 if t < 290 else 2.0)
        changes = [module.change(torch.linspace(-1.0, 2.0, batch)) for module in (plain, fast)]
        torch.testing.assert_close(changes[1], changes[0], rtol=1e-10, atol=1e-11)
        if saved is not None:  # what was kept of an episode is not touched by the next
            for module, before in zip((plain, fast), saved, strict=True):
                again = EligibilityTraceModule(6, 5, settings("stdp_pair"), path=module.path)
                again.set_extra_state(before[0])
                assert torch.equal(again.eligibility, before[1])
        saved = [(module.get_extra_state(), module.eligibility.clone()) for module in (plain, fast)]


def test_a_silent_step_among_rates_begins_no_new_block():
    module = EligibilityTraceModule(6, 5, settings("rate"))
    for t in range(20):
        module.observe((0.3 if t % 3 != 1 else 0.0) * torch.ones(2, 6), torch.ones(2, 5))
    assert len(module._running.pending.blocks) == 1


@pytest.mark.parametrize("dtype", (torch.bool, torch.float64))
def test_what_is_recorded_is_not_the_callers_memory(dtype):
    spikes, rates = trains(80, 2, 6, seed=1).to(dtype), trains(80, 2, 5, seed=2).double() * 0.3
    modules = [EligibilityTraceModule(6, 5, settings("stdp_pair")) for _ in range(2)]
    modules[0].observe_window(spikes.clone(), rates.clone())
    modules[1].observe_window(spikes, rates)
    spikes.zero_()
    rates.zero_()
    changes = [module.change(torch.ones(2)) for module in modules]
    assert torch.equal(*changes) and bool(changes[0].any())


class Previous:
    """post ⊗ the input of the step before: its state is that input itself, not a copy."""

    def init(self, pre, post):
        return torch.zeros_like(pre)

    def step(self, pre, post, state, dt=1.0):
        return Coincidence((Pair(post, state),)), pre


@pytest.mark.parametrize("path", ("auto", "fold"))
def test_a_kernel_may_keep_its_input_as_it_is(path):
    plain, fast = (EligibilityTraceModule(6, 5, settings(Previous()), path=which) for which in ("plain", path))
    for seed in range(4):
        pre, post = trains(70, 2, 6, seed=seed), trains(70, 2, 5, seed=seed + 9)
        mod = torch.randn(70, 2, dtype=torch.float64)
        changes = [module.modulate_window(pre, post, mod) for module in (plain, fast)]
        torch.testing.assert_close(changes[1], changes[0], rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(fast.eligibility, plain.eligibility, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("path", ("fold", "auto"))
def test_a_kernel_may_have_nothing_to_say_about_a_window(path):
    class Silent(Rate):
        def window(self, pre, post, state, dt=1.0):
            return [], None

    pre, post = trains(20, 2, 4), trains(20, 2, 3)
    module = EligibilityTraceModule(4, 3, EligibilityConfig(kernel=Silent()), path=path)
    assert torch.equal(module.update_window(pre, post), torch.zeros(2, 3, 4).double())
    assert torch.equal(module.change(1.0), torch.zeros(3, 4).double())


@pytest.mark.parametrize("path", ("fold", "auto"))
def test_a_kernel_that_reckons_with_its_trains_gets_numbers(path):
    """Also where it derives from one that only passes them on."""

    class Inverted(Rate):
        def step(self, pre, post, state, dt=1.0):
            return Coincidence((Pair(post, 1.0 - pre),)), None

        def window(self, pre, post, state, dt=1.0):
            return [Term(1.0, Spikes(post), Values(1.0 - pre))], None

    pre, post = trains(20, 2, 4), trains(20, 2, 3)
    config = EligibilityConfig(kernel=Inverted(), tau_e=15.0, clamp_range=None)
    plain, fast = (EligibilityTraceModule(4, 3, config, path=which) for which in ("plain", path))
    torch.testing.assert_close(fast.update_window(pre, post), plain.update_window(pre, post), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("path", ("fold", "auto"))
@pytest.mark.parametrize("name", ("linear", "conv2d"))
def test_a_constant_current_counts_like_any_other(name, path):
    layer, pre, post = layer_and_trains(name, steps=40)
    constant = torch.rand_like(pre[:1]).expand_as(pre).clone()
    config = EligibilityConfig(kernel=EProp(tau_m=9.0), tau_e=15.0, clamp_range=None)
    for seed in range(3):
        same(layer, config, constant, post * torch.rand_like(post), path, seed)
        for_a_while = torch.where(torch.arange(40).view(-1, *[1] * (pre.dim() - 1)) < 25, constant, pre)
        same(layer, config, for_a_while, post * torch.rand_like(post), path, seed)


def test_of_a_constant_current_one_step_is_multiplied(monkeypatch):
    multiplied, plainly = [], dense.Dense.contract_
    monkeypatch.setattr(
        dense.Dense, "contract_", lambda self, out, product, beta: multiplied.append(len(product.pre)) or plainly(
            self, out, product, beta
        )
    )  # fmt: skip
    module = EligibilityTraceModule(6, 5, EligibilityConfig(kernel=EProp(tau_m=9.0), tau_e=15.0, clamp_range=None))
    constant, spikes = torch.rand(1, 2, 6).expand(5, 2, 6), torch.rand(5, 2, 5)
    module.observe_window(constant, spikes)
    module.change(torch.ones(2, 5))
    assert multiplied == [1]


@pytest.mark.parametrize("kind", (torch.bool, torch.float64))
@pytest.mark.parametrize("size", ((9, 1, 20), (1000, 3, 7), (5, 3, 30_000)))
@pytest.mark.parametrize("density", (0.0, 0.001, 0.05, 0.2))
def test_matrices_of_trains_are_the_trains(kind, size, density):
    torch.manual_seed(0)
    train = torch.rand(size, dtype=torch.float64)
    train = (train < density) if kind == torch.bool else torch.where(train < density, train, 0.0)
    steps, batch, n = size
    made = spike_trains.SpikeTrains(train, torch.float64)
    table = torch.randn(steps * batch, 2, dtype=torch.float64)
    together = train.double().flatten(0, 1).T @ table
    torch.testing.assert_close(made.together.times(table), together)
    apart = torch.cat([train[:, b].double().T @ table.view(steps, batch, 2)[:, b] for b in range(batch)])
    torch.testing.assert_close(made.apart(0, batch).times(table), apart)


@pytest.mark.parametrize("tau_e", (float("inf"), 9.0))
def test_a_single_modulator_of_each_neuron(tau_e):
    config = EligibilityConfig(kernel="stdp_pair", tau_e=tau_e, clamp_range=None)
    pre, post = trains(40, 4, 6, seed=1), trains(40, 4, 5, seed=2)
    torch.manual_seed(3)
    mod, changes = torch.randn(4, 5, dtype=torch.float64), []
    for path in ("plain", "auto"):
        module = EligibilityTraceModule(6, 5, config, path=path)
        module.observe_window(pre[:20], post[:20])
        first = module.change(mod)
        module.observe_window(pre[20:], post[20:])
        changes.append((first, module.change(mod.flip(0)), module.eligibility))
    for plain, folded in zip(*changes, strict=True):
        torch.testing.assert_close(folded, plain, rtol=1e-10, atol=1e-11)
