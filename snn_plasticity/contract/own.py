"""The contract for a configuration of one's own: which promises it is held to, and whether it keeps them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..config import PlasticityConfig
from ..config.validation import require_config
from ._promises.gate import GATE_PROMISES, each_sample_has_a_gate_of_its_own
from ._promises.loss import LOSS_PROMISES
from ._promises.traces import TRACE_PROMISES
from .verdict import Verdict

TestOf = Callable[[PlasticityConfig], None]


class Clause(NamedTuple):
    """What is promised of a configuration: a function that asserts it, and why it is left out, if it is."""

    test: TestOf
    left_out: str = ""

    @property
    def said(self) -> str:
        """The promise in a sentence."""
        return (self.test.__doc__ or "").strip()


def promises_of(config: PlasticityConfig) -> tuple[Clause, ...]:
    """What a configuration is held to.

    Args:
        config: any; rules that learn from a loss have other promises than those that wait for a modulator.

    Raises:
        TypeError: no configuration.

    >>> [promise.test.__name__ for promise in promises_of(PlasticityConfig.online()) if promise.left_out]
    []
    """
    config = require_config(config, PlasticityConfig)
    if config.eligibility.kernel in ("online", "sltt") or _reads_gradient(config):
        return tuple(map(Clause, LOSS_PROMISES))
    neuromod = config.neuromod
    shared = neuromod.baseline_scope == "batch" and neuromod.reward_baseline != "none"
    reasons = {each_sample_has_a_gate_of_its_own: "baseline_scope='batch': samples share what they expect"}
    return tuple(Clause(test, reasons.get(test, "") if shared else "") for test in (*TRACE_PROMISES, *GATE_PROMISES))


def _reads_gradient(config: PlasticityConfig) -> bool:
    """Whether a kernel object learns from a loss."""
    return getattr(config.eligibility.kernel, "post_side", None) == "gradient"


def check(promise: Clause, config: PlasticityConfig) -> Verdict:
    """Whether a configuration keeps a promise, with what was measured; one that raises has not kept it.

    >>> check(promises_of(PlasticityConfig.dev())[1], PlasticityConfig.dev())
    Verdict(kept=True, measured='5 of 5 runs are bit-identical')
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            promise.test(config)
    except AssertionError as broken:
        return Verdict(False, "; ".join(filter(None, (said.getvalue().strip(), str(broken).split("\n")[0]))))
    except Exception as error:  # a rule that cannot even run is what this is looking for
        return Verdict(False, f"{type(error).__name__}: {error}")
    return Verdict(True, said.getvalue().strip())


def run_for(config: PlasticityConfig) -> Iterator[tuple[Clause, Verdict | None]]:
    """Every promise of a configuration in turn, and whether it is kept; None where it is left out."""
    for promise in promises_of(config):
        yield promise, None if promise.left_out else check(promise, config)
