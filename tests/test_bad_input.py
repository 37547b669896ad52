"""Bad input: nothing public breaks inside, what is refused has changed nothing, what is accepted is harmless."""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path

import pytest
import torch

from snn_plasticity._checks import require_number

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from bad_input import Case, all_cases, raised_by_us, sampled, try_case  # noqa: E402
from valid_calls import Call, calls, public  # noqa: E402

SLICE = 1200  # of some 50,000 cases; `python benchmarks/bad_input.py` runs them all


def test_everything_public_has_a_valid_call_to_start_from():
    assert sorted(public()) == sorted({name.split(" of ")[0] for name in calls()})  # "step of a loss" is a second way


def test_valid_calls_are_valid():
    """Else every refusal would be one of the call itself, and show nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, build in calls().items():
            call = build()
            if name != "kernels.Rate.balance":  # refuses always: nothing depresses
                call.function(**call.arguments)


def test_a_slice_of_all_cases_ends_in_a_sentence_or_is_harmless():
    outcomes = [try_case(build, case) for case, build in sampled(all_cases(), SLICE, seed=0)]
    wrong = [
        f"{o.kind}: {' '.join(o.case)}: {o.said[:100]}" for o in outcomes if o.kind not in ("sentence", "accepted")
    ]
    assert not wrong, "\n".join(wrong)
    assert sum(o.kind == "sentence" for o in outcomes) > 0.6 * SLICE


class Account:
    """Something of the test's own, with each of the faults that are looked for."""

    def __init__(self):
        self.total = torch.zeros(1)

    def state_dict(self):
        return {"total": self.total}

    def __getattr__(self, name):
        raise AttributeError(name)

    def breaks(self, amount):
        return self.total + torch.ones(3) @ torch.ones(2)

    def swallows(self, amount):
        return torch.full((1,), amount if isinstance(amount, float) else math.nan)


def outcome(method, label):
    account = Account()
    return try_case(lambda: Call(getattr(account, method), {"amount": 1.0}), Case("test.Account", "amount", label)).kind


def test_the_judge_sees_what_breaks_inside_and_what_is_swallowed():
    assert outcome("breaks", "nan") == "raw"
    assert outcome("swallows", "nan") == "silent"
    assert outcome("swallows", "object") == "silent"


def test_the_judge_sees_what_a_refused_call_has_changed():
    weight = torch.zeros(2)

    def half_done(amount):
        weight.add_(1.0)
        return require_number("amount", amount)

    call = Call(half_done, {"amount": 1.0}, (weight,))
    assert try_case(lambda: call, Case("test.half_done", "amount", "text")).kind == "changed"


def test_the_judge_tells_a_sentence_from_an_error_that_passed_through():
    with pytest.raises(ValueError, match="expected a number") as said:
        require_number("dt", "long")
    with pytest.raises(TypeError) as broke:
        require_number("dt", 1.0, low="low")  # type: ignore[arg-type]
    assert raised_by_us(said.value) and not raised_by_us(broke.value)
