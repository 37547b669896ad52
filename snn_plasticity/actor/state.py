"""What an actor remembers, as plain values and tensors; and looked at, whole, before it goes on from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._checks import require_within, shown
from .._saved import UNCHANGED, require_tensor
from ..connection import Connection
from ..feedback import FeedbackState, read_feedback
from ..neuromodulation import RewardBaseline, TDCritic
from ..neuromodulation.critic import CriticState
from .promises import Expected, Promise


class Remembered(NamedTuple):
    """All that an actor remembers.

    Args:
        choice: the last one, (a, π_a, 1{a} − π, features); None where there is none.
        feedback: B by layer.
        promise: the averages of a baseline, or the state of a critic.
        kept: choices with their eligibility, by layer.
        heard: what neurons did since the last choice, by neuron.
        draws: where its random numbers are.
    """

    choice: tuple[Tensor | None, ...] | None
    feedback: dict[str, FeedbackState]
    promise: Expected
    kept: dict[str, Tensor]
    heard: dict[str, Tensor]
    draws: Tensor


def packed(remembered: Remembered, promise: Promise) -> dict[str, Any]:
    """It, copied, as plain values and tensors."""
    choice, expected = remembered.choice or (), remembered.promise
    known: dict[str, Any] = {} if expected is None else {"averages": expected}
    if isinstance(expected, CriticState) and isinstance(promise, TDCritic):
        known = {"critic": promise.state_dict(expected)}
    return {
        "choice": [None if part is None else part.clone() for part in choice],
        "feedback": {name: [matrix.clone() for matrix in state] for name, state in remembered.feedback.items()},
        "promise": {n: part.clone() if isinstance(part, Tensor) else part for n, part in known.items()},
        "kept": {name: kept.clone() for name, kept in remembered.kept.items()},
        "heard": {name: heard.clone() for name, heard in remembered.heard.items()},
        "draws": remembered.draws.clone(),
    }


def unpacked(
    saved: Mapping[str, Any],
    connections: Mapping[str, Connection],
    promise: Promise,
    neurons: Collection[str],
    n_actions: int,
    device: torch.device,
) -> Remembered:
    """A saved one, copied to a device.

    Args:
        saved: what `packed` gave.
        connections: of the learner.
        promise: what reward is measured against.
        neurons: those that are listened to, by name.
        n_actions: how many there are.
        device: where it goes on.

    Raises:
        TypeError, ValueError: a part that is strange, shaped otherwise, or holds NaN.
    """
    what = "The saved actor"
    feedback = {}
    for name, given in _named(f"{what}: feedback", saved["feedback"], connections).items():
        state = read_feedback(f"{what}: {name}", {"feedback": given}, device)[0]
        assert state is not None
        n_post = connections[name].traces.rule.geometry.n_post
        shape = (None, None if len(connections[name].traces.rule.geometry.shape) > 2 else n_post)
        feedback[name] = FeedbackState(*(require_tensor(f"{what}: feedback of {name}", m, shape) for m in state))
    kept = {}
    for name, given in _named(f"{what}: kept", saved["kept"], connections).items():
        shape = (None, *connections[name].traces.rule.geometry.shape)
        kept[name] = require_tensor(f"{what}: kept of {name}", given, shape)
    heard = {
        name: require_tensor(f"{what}: heard of {name}", given)
        for name, given in _named(f"{what}: heard", saved["heard"], neurons).items()
    }
    parts = {"kept": kept, "heard": heard}
    here = {key: {n: t.detach().to(device, copy=True) for n, t in part.items()} for key, part in parts.items()}
    return Remembered(
        _choice(f"{what}: choice", saved["choice"], n_actions, promise, device), feedback,
        _expected(f"{what}: promise", saved["promise"], promise, device), here["kept"], here["heard"],
        _draws(f"{what}: draws", saved["draws"]),
    )  # fmt: skip


def _named(what: str, saved: Any, known: Collection[str]) -> Mapping[str, Any]:
    """A mapping whose names are known."""
    if not isinstance(saved, Mapping) or not all(name in known for name in saved):
        raise ValueError(f"{what} is {shown(saved)}; expected tensors by names among {', '.join(known)}. {UNCHANGED}")
    return saved


def _choice(
    what: str, saved: Any, n_actions: int, promise: Promise, device: torch.device
) -> tuple[Tensor | None, ...] | None:
    """A choice that was saved; None where there was none."""
    if not isinstance(saved, (list, tuple)) or len(saved) not in (0, 4):
        raise ValueError(f"{what} is {shown(saved)}; expected a list, empty or of four parts. {UNCHANGED}")
    if not saved:
        return None
    sees = isinstance(promise, TDCritic)
    action = require_tensor(f"{what}: action", saved[0], (None,), like=torch.zeros(0, dtype=torch.long))
    size, n_features = len(action), promise.config.n_features if isinstance(promise, TDCritic) else 0
    shapes = ((size,), (size, n_actions), (size, n_features))
    for part, shape in zip(saved[1:] if sees else saved[1:3], shapes, strict=False):
        require_tensor(f"{what}", part, shape)
    if not sees and saved[3] is not None:
        raise ValueError(f"{what} has features, and there is no critic; expected None. {UNCHANGED}")
    require_within(f"{what}: action", action, 0, n_actions - 1)
    return tuple(None if part is None else part.detach().to(device, copy=True) for part in saved)


def _expected(what: str, saved: Any, promise: Promise, device: torch.device) -> Expected:
    """What was remembered of promises."""
    name = "critic" if isinstance(promise, TDCritic) else "averages" if isinstance(promise, RewardBaseline) else ""
    if not isinstance(saved, Mapping) or (len(saved) and list(saved) != [name]):
        raise ValueError(f"{what} is {shown(saved)}, and promise is {promise!r}; expected what that has. {UNCHANGED}")
    if not saved:
        return None
    if isinstance(promise, TDCritic):
        return CriticState(*(part.to(device) for part in promise.load_state(saved[name])))
    assert isinstance(promise, RewardBaseline)
    shape = promise.state_shape(0)
    found = require_tensor(what, saved[name], (None, *shape[1:]) if len(shape) > 1 else shape)
    return found.detach().to(device, copy=True)


def _draws(what: str, saved: Any) -> Tensor:
    """The state of a generator, which a fresh one takes."""
    fresh = torch.Generator()
    state = require_tensor(what, saved, tuple(fresh.get_state().shape), like=fresh.get_state())
    try:
        fresh.set_state(state.cpu())
    except RuntimeError as error:
        raise ValueError(f"{what} is no state of a generator: {error}. {UNCHANGED}") from None
    return state.detach().cpu().clone()
