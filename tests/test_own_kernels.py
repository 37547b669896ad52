"""Kernels of one's own: other products from step to step, or none, and state of any layout, against NumPy by hand."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from conftest import settings, trains

from snn_plasticity import Coincidence, Convention, EligibilityConfig, EligibilityRule, EligibilityTraceModule, Pair
from snn_plasticity.kernels.kernel_state import batch_axes, unit_axes
from snn_plasticity.kernels.terms import Spikes, Term, Values
from snn_plasticity.layers.dense import Dense
from snn_plasticity.plasticity._engine import engine as running
from snn_plasticity.plasticity._engine import state as states

T, B, N_PRE, N_POST = 23, 3, 4, 2
PRE, POST = trains(T, B, N_PRE, seed=1), trains(T, B, N_POST, seed=2)
TRACES = ("accumulating", "dutch", "replacing", "dutch_active")


def outer(post, pre):
    """(B, N_post, N_pre)."""
    return post[:, :, None] * pre[:, None, :]


class Changing:
    """In step k: k mod 5 = 0 potentiates, 1 depresses, 2 says nothing, 3 both, 4 two that potentiate."""

    def init(self, pre, post):
        return 0

    def step(self, pre, post, state, dt=1.0):
        one, other = Pair(post, pre), Pair(0.5 * post, pre * pre)
        said = [((one,), ()), ((), (one,)), ((), ()), ((other,), (one,)), ((one, other), ())][state % 5]
        return Coincidence(*said), state + 1

    @staticmethod
    def f(pre, post, k):
        """The same in NumPy."""
        return outer(post, pre) * (1.0, -1.0, 0.0, -0.5, 1.5)[k % 5]


class Mute:
    """Says nothing, ever."""

    def init(self, pre, post):
        return None

    def step(self, pre, post, state, dt=1.0):
        return Coincidence(()), None


class Delayed:
    """post ⊗ pre of `steps` steps ago: a delay line (steps, B, N), newest first, and the step's number."""

    def __init__(self, steps):
        self.steps = steps

    def init(self, pre, post):
        return {"line": pre.new_zeros(self.steps, *pre.shape), "steps": 0}

    def step(self, pre, post, state, dt=1.0):
        line = torch.cat((pre.unsqueeze(0), state["line"]))
        return Coincidence((Pair(post, line[-1]),)), {"line": line[:-1], "steps": state["steps"] + 1}


class DelayedWindow(Delayed):
    """The same, which can also say a whole window at once."""

    def window(self, pre, post, state, dt=1.0):
        state = self.init(pre[0], post[0]) if state is None else state
        line = torch.cat((state["line"].flip(0), pre))
        after = {"line": line[len(pre) :].flip(0), "steps": state["steps"] + len(pre)}
        return [Term(1.0, Spikes(post), Values(line[: len(pre)]))], after


class Threshold:
    """post above a threshold (N_post,) that follows the mean of the batch."""

    def init(self, pre, post):
        return post.new_zeros(post.shape[1])

    def step(self, pre, post, state, dt=1.0):
        return Coincidence((Pair(post - state, pre),)), 0.9 * state + 0.1 * post.mean(0)


def stepped(fs, trace, clamp, d=1.0 - 1.0 / 15.0, alpha=0.3):
    """Eligibilities of correlations, in NumPy: one value per step."""
    e, seen = np.zeros_like(fs[0]), []
    for f in fs:
        kept = d * e
        e = {
            "accumulating": lambda f=f, kept=kept: kept + f,
            "dutch": lambda f=f, kept=kept: (1 - alpha) * kept + f,
            "replacing": lambda f=f, kept=kept: np.where(np.abs(f) >= np.abs(kept), f, kept),
            "dutch_active": lambda f=f, kept=kept: np.where(f != 0, (1 - alpha) * kept, kept) + f,
        }[trace]()
        e = e if clamp is None else np.clip(e, *clamp)
        seen.append(e)
    return seen


@pytest.fixture(params=("as they are", "small"))
def limits(request, monkeypatch):
    """Windows as long as they are, or short, and of few samples."""
    if request.param == "small":
        for name in ("MIN_WINDOW", "MAX_WINDOW", "MAX_CLAMPED_WINDOW"):
            monkeypatch.setattr(running, name, 7)
        monkeypatch.setattr(states, "TABLE_ENTRIES", 30)


@pytest.mark.parametrize("lag", (0, 1))
@pytest.mark.parametrize("clamp", (None, (-0.6, 0.9)))
@pytest.mark.parametrize("trace", TRACES)
def test_products_may_change_side_number_and_be_missing(trace, clamp, lag, limits):
    fs = [Changing.f(pre, post, k) for k, (pre, post) in enumerate(zip(PRE.numpy(), POST.numpy(), strict=True))]
    right = stepped(fs, trace, clamp)[-1 - lag]
    config = settings(Changing(), trace, Convention(lag=lag), clamp_range=clamp)
    for path in ("plain", "auto", "rows" if trace in ("replacing", "dutch_active") else "fold"):
        single, whole = (EligibilityTraceModule(N_PRE, N_POST, config, path=path) for _ in range(2))
        for pre, post in zip(PRE, POST, strict=True):
            single.observe(pre, post)
        whole.observe_window(PRE, POST)
        for module in (single, whole):
            np.testing.assert_allclose(module.change(1.0).numpy(), right.mean(0), rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(module.eligibility.numpy(), right, rtol=1e-12, atol=1e-12)
    state = EligibilityRule.of(Dense(N_PRE, N_POST), config)
    e, now = None, state.init(PRE[0], POST[0])
    for pre, post in zip(PRE, POST, strict=True):
        e, now = state.step(pre, post, now)
    np.testing.assert_allclose(e.numpy(), right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("path", ("plain", "fold", "auto", "shared"))
def test_a_kernel_that_never_says_anything(path):
    module = EligibilityTraceModule(N_PRE, N_POST, settings(Mute()), path=path)
    module.observe_window(PRE, POST)
    assert not module.change(1.0).any()
    for trace in ("replacing", "dutch_active"):
        module = EligibilityTraceModule(N_PRE, N_POST, settings(Mute(), trace))
        assert not module.update_window(PRE, POST).any()


def reloaded(module, config, path):
    """What a file makes of it."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    again = EligibilityTraceModule(N_PRE, N_POST, config, path=path)
    again.load_state_dict(torch.load(file, weights_only=True))
    return again


@pytest.mark.parametrize("path", ("plain", "fold", "auto"))
def test_what_the_batch_shares_is_left_alone_and_so_are_the_other_samples(path):
    reset, going = (EligibilityTraceModule(N_PRE, N_POST, settings(Threshold()), path=path) for _ in range(2))
    for module in (reset, going):
        for pre, post in zip(PRE[:9], POST[:9], strict=True):
            module.observe(pre, post)
    reset.reset(mask=torch.tensor([True, False, True]))
    for module in (reset, going):
        for pre, post in zip(PRE[9:], POST[9:], strict=True):
            module.observe(pre, post)
    assert torch.equal(reset.eligibility[1], going.eligibility[1])
    threshold, fs = np.zeros(N_POST), []
    for k, (pre, post) in enumerate(zip(PRE.numpy(), POST.numpy(), strict=True)):
        fs.append(outer(post - threshold, pre) * (k >= 9))
        threshold = 0.9 * threshold + 0.1 * post.mean(0)
    np.testing.assert_allclose(reset.eligibility[0].numpy(), stepped(fs, "accumulating", None)[-1][0], rtol=1e-12)


class Square(Delayed):
    """A state in which two axes grow with the batch."""

    def __init__(self):
        super().__init__(1)

    def init(self, pre, post):
        return {**super().init(pre, post), "pairs": pre.new_zeros(len(pre), len(pre))}

    def step(self, pre, post, state, dt=1.0):
        coincidence, after = super().step(pre, post, state, dt)
        return coincidence, {**after, "pairs": state["pairs"]}


class Lazy:
    """A state that gets its shape in the first step."""

    def init(self, pre, post):
        return torch.zeros(())

    def step(self, pre, post, state, dt=1.0):
        state = 0.9 * state + pre
        return Coincidence((Pair(post, state),)), state


class Hoard:
    """A state that is no tensor."""

    def init(self, pre, post):
        return {1, 2}

    def step(self, pre, post, state, dt=1.0):
        return Coincidence((Pair(post, pre),)), state


@pytest.mark.parametrize("path", ("plain", "auto"))
@pytest.mark.parametrize(
    ("kernel", "word"), [(Square(), "expected one axis"), (Lazy(), "began with"), (Hoard(), "a set")]
)
def test_where_the_part_of_a_sample_is_not_known_its_reset_is_refused_and_nothing_changes(kernel, word, path):
    module, untouched = (EligibilityTraceModule(N_PRE, N_POST, settings(kernel), path=path) for _ in range(2))
    for one in (module, untouched):
        for pre, post in zip(PRE[:5], POST[:5], strict=True):
            one.observe(pre, post)
    with pytest.raises(ValueError, match=word):
        module.reset(mask=torch.tensor([True, False, True]))
    for one in (module, untouched):
        one.observe(PRE[5], POST[5])
    assert torch.equal(module.eligibility, untouched.eligibility)
    module.reset()  # the whole batch can be
    assert module.eligibility is None


def test_axes_are_seen_by_what_grows():
    like = torch.zeros(3, 3), torch.zeros(3, 3)  # sizes that could be mistaken for each other
    kernels = (Delayed(3), Threshold(), settings("window").kernel, Changing())
    assert [batch_axes(kernel, like) for kernel in kernels] == [[1, None], [None], [0, 0], [None]]
    assert [unit_axes(kernel, like, 0, 1) for kernel in kernels] == [[2, None], [None], [2, None], [None]]
    assert [unit_axes(kernel, like, 1, 1) for kernel in kernels] == [[None, None], [0], [None, 2], [None]]


def test_a_learner_of_its_own_kernel_that_flips_sign_every_step():
    """Four steps that cancel: e is 0, not 4."""

    class Flip(Changing):
        def step(self, pre, post, state, dt=1.0):
            pair = (Pair(post, pre),)
            return (Coincidence((), pair) if state % 2 else Coincidence(pair)), state + 1

    for path in ("plain", "fold", "auto"):
        module = EligibilityTraceModule(1, 1, EligibilityConfig(kernel=Flip(), tau_e=1e9), path=path)
        for _ in range(4):
            module.observe(torch.ones(1, 1), torch.ones(1, 1))
        assert abs(float(module.eligibility)) < 1e-6


class Rash:
    """x ← 0.8 x + 2 pre, f = post ⊗ x, with all that it is given changed in place."""

    zeros = torch.zeros(B, N_PRE, dtype=torch.float64)

    def init(self, pre, post):
        return self.zeros if len(pre) == B else self.zeros.new_zeros(len(pre), N_PRE)

    def step(self, pre, post, state, dt=1.0):
        state.mul_(0.8).add_(pre.mul_(2.0))
        return Coincidence((Pair(post, state),)), state


@pytest.mark.parametrize("clamp", (None, (-1.0, 2.0)))
@pytest.mark.parametrize("path", ("plain", "fold", "auto"))
def test_a_kernel_may_change_what_it_is_given_in_place(path, clamp, limits):
    """Rates, so that what waits is not even copied to become numbers; asked twice without an eligibility."""
    x, fs = np.zeros((B, N_PRE)), []
    pre, post = 0.5 * PRE, 0.5 * POST
    for now_pre, now_post in zip(pre.numpy(), post.numpy(), strict=True):
        x = 0.8 * x + 2.0 * now_pre
        fs.append(outer(now_post, x))
    right = stepped(fs, "accumulating", clamp)
    module = EligibilityTraceModule(N_PRE, N_POST, settings(Rash(), clamp_range=clamp), path=path)
    for t, (now_pre, now_post) in enumerate(zip(pre, post, strict=True)):
        module.observe(now_pre, now_post)
        if t in (3, 9):
            module.queue(1.0)
            np.testing.assert_allclose(module.flush().numpy(), right[t].mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(module.eligibility.numpy(), right[-1], rtol=1e-12, atol=1e-12)
    assert torch.equal(pre, 0.5 * PRE) and not Rash.zeros.any()
