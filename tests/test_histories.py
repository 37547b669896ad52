"""The whole learner against a NumPy reference that shares no code with it, over random histories.

About a minute of them in every run, the same ones each time; `benchmarks/reliability.py` plays any number. What fails
is printed as a program of its own, cut down to the events that it needs.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import reference
import torch
from histories import FAMILIES
from histories.story import Tally, events_of, failure, shrunk, told

HISTORIES = {"traces": 810, "learner": 900, "snntorch": 240, "norse": 210}
PARTS = 3


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("family", FAMILIES)
def test_histories_agree_with_the_reference(family: str, part: int) -> None:
    player, tally, count = FAMILIES[family], Tally(), HISTORIES[family] // PARTS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(part * count, (part + 1) * count):
            found = failure(player, seed, events_of(player, seed), tally)
            if found is not None:
                events = shrunk(player, seed, found[0])
                pytest.fail(f"{family}, seed {seed}: {found[1]}\n\n{told(player, seed, events)}", pytrace=False)
    happened = {name.split()[1] for name in tally.counts if name.startswith("event ")}
    assert happened == set(player.events), "a kind of event was never played"
    assert tally.comparisons > count


@pytest.mark.parametrize("family", FAMILIES)
def test_a_history_is_the_same_whenever_it_is_played(family: str) -> None:
    player = FAMILIES[family]
    assert events_of(player, 5) == events_of(player, 5) != events_of(player, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tallies = [Tally(), Tally()]
        assert [failure(player, 5, events_of(player, 5), tally) for tally in tallies] == [None, None]
    assert vars(tallies[0]) == vars(tallies[1])


def no_clamp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "clip", lambda values, *_: values)


def no_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference.Traces, "e", property(lambda traces: traces.now))


def no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    reset = reference.Traces.reset
    monkeypatch.setattr(
        reference.Traces, "reset", lambda traces, mask=None: None if mask is not None else reset(traces)
    )


def no_decay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference.kernels, "decay", lambda tau, dt, mode: 1.0)


@pytest.mark.parametrize("fault", [no_clamp, no_lag, no_mask, no_decay], ids=lambda fault: fault.__name__)
def test_a_reference_with_a_fault_is_told_apart(fault, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    player = FAMILIES["traces"]
    assert any(failure(player, seed, events_of(player, seed)) for seed in range(100))


# The reference itself, where a number can be worked out by hand.


def traces(**given: object) -> reference.Traces:
    return reference.Traces(reference.Dense(1, 1), reference.Eligibility(**given))  # type: ignore[arg-type]


def lived(synapse: reference.Traces, pre: list[float], post: list[float]) -> list[float]:
    values = []
    for p, q in zip(pre, post, strict=True):
        synapse.observe(np.array([[p]]), np.array([[q]]))
        values.append(float(np.zeros(1)[0] if synapse.e is None else synapse.e[0, 0, 0]))
    return values


def test_the_reference_decays_clamps_and_lags() -> None:
    assert lived(traces(tau_e=2.0), [1, 0, 0], [1, 0, 0]) == [1.0, 0.5, 0.25]
    assert lived(traces(tau_e=2.0, clamp_range=(-1.0, 1.0)), [3, 0], [1, 0]) == [1.0, 0.5]
    lag = reference.Convention(lag=1)
    assert lived(traces(tau_e=2.0, convention=lag), [1, 0, 0], [1, 0, 0]) == [0.0, 1.0, 0.5]
    assert lived(traces(tau_e=4.0, trace_type="dutch", dutch_alpha=0.5), [1, 0], [1, 0]) == [1.0, 0.375]
    assert lived(traces(tau_e=2.0, trace_type="replacing"), [4, 1, 3], [1, 1, -1]) == [4.0, 2.0, -3.0]


def test_the_reference_knows_the_order_of_spikes() -> None:
    pair = {"kernel": "stdp_pair", "tau_e": 1e15, "a_minus": 0.5, "stdp_tau_plus": 10.0, "stdp_tau_minus": 20.0}
    after, before = np.exp(-0.3), -0.5 * np.exp(-0.15)
    np.testing.assert_allclose(lived(traces(**pair), [1, 0, 0, 0], [0, 0, 0, 1])[-1], after)
    np.testing.assert_allclose(lived(traces(**pair), [0, 0, 0, 1], [1, 0, 0, 0])[-1], before)
    same = {
        c: lived(traces(**pair, convention=reference.Convention(coincidence=c)), [1], [1])[0]
        for c in ("causal", "both", "none")
    }
    assert same == {"causal": 1.0, "both": 0.5, "none": 0.0}


def test_the_reference_counts_every_place_of_a_convolution() -> None:
    """Against autograd, which neither side uses."""
    layer = torch.nn.Conv2d(4, 6, (2, 3), (2, 1), (1, 2), (1, 2), 2, bias=False, dtype=torch.float64)
    pre = torch.rand(1, 4, 5, 4, dtype=torch.float64)
    post = torch.rand_like(layer(pre))
    (layer(pre) * post).sum().backward()
    conv = reference.Conv((6, 2, 2, 3), (5, 4), (2, 1), ((1, 1), (2, 2)), (1, 2), 2)
    assert layer.weight.grad is not None
    np.testing.assert_allclose(conv.product(post.numpy(), pre.numpy())[0], layer.weight.grad.numpy(), rtol=1e-12)


def test_the_reference_shares_no_code_with_the_package() -> None:
    from pathlib import Path

    for file in Path(reference.__file__).parent.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "snn_plasticity" not in text and "torch" not in text.replace("snnTorch", ""), file.name
