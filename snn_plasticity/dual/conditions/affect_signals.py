"""AffectSignals: how training goes is felt, and what is felt decides when the large net is recruited."""

from __future__ import annotations

from collections.abc import Mapping
from math import tanh
from statistics import fmean, pstdev
from typing import Any

from ..._checks import known_as, require_count
from ..._saved import FORMAT, require_format, require_real_number, require_saved_count
from ...loop import AffectiveLoop
from .history import History, require_history

REACH = 5


class AffectSignals:
    """Curiosity and anticipation from an affect that lives through the training: `signals=AffectSignals()`.

        td_error = usual loss − L(t−1)             better than usual feels good
        novelty = tanh(|td_error| / s.d.)          in units of what is usual
        homeostatic_deviation = share of motivated steps of late: effort tires

        curiosity = arousal,  anticipation = valence,  mood = what is left of valence

    What is usual is the mean of the last `window` losses of the net that had this one, so that a change of nets is no
    event. Arousal and valence are in −1 .. 1 and small as a rule; ask for a share of them, `Seeking(share=0.3)`.

    Args:
        loop: how events are felt, without a learner; None is `AffectiveLoop()`. It is stepped here, once before each
            batch, and its state is saved with the run.
        window: losses that say what is usual, 4 or more.

    Raises:
        TypeError: no loop.
        ValueError: a loop with a learner, a window that is too small; when asked, a step that is neither that of the
            last call nor the next one.

    >>> from snn_plasticity.dual import Seeking, replay
    >>> signals, history = AffectSignals(), History()
    >>> for loss in (1.0, 0.9, 0.8, 0.7, 0.2):
    ...     felt = signals(history, batch=None)
    ...     history.add_step(loss, motivated=False)
    >>> signals(history, batch=None)["anticipation"] > felt["anticipation"] > 0
    True

    Panksepp 1998, *Affective Neuroscience*; Eldar, Rutledge, Dolan & Niv 2016, on mood as momentum.
    """

    def __init__(self, loop: AffectiveLoop | None = None, window: int = 20) -> None:
        if loop is not None and not isinstance(loop, AffectiveLoop):
            raise TypeError(f"loop is {known_as(loop)}; expected an AffectiveLoop, or None.")
        if loop is not None and loop.learner is not None:
            raise ValueError(
                "loop has a learner, which would learn once more before each batch; expected a loop without one: "
                "AffectiveLoop(config=...)."
            )
        self.loop = AffectiveLoop() if loop is None else loop
        self.window = require_count("window", window, 4)
        self._step, self._felt = -1, dict[str, float]()

    def __call__(self, history: History, batch: Any) -> dict[str, float]:
        """What is felt before a batch; asked again for the same step, the same.

        Args:
            history: of the run so far.
            batch: not looked at.

        Returns:
            {"curiosity", "anticipation", "mood"} in −1 .. 1, and "novelty" in 0 .. 1.
        """
        require_history(history)
        if history.step == self._step:
            return dict(self._felt)
        if self._step >= 0 and history.step != self._step + 1:
            raise ValueError(
                f"AffectSignals has felt step {self._step} and is asked for step {history.step}; expected the next "
                "one. Build one for each run; a run that is loaded brings its own along."
            )
        events = training_events(history, self.window)
        self.loop.step(td_error=events["better"], novelty=events["novelty"], homeostatic_deviation=events["effort"])
        assert self.loop.state is not None
        affect = self.loop.state.affect
        felt = {"curiosity": affect.arousal, "anticipation": affect.valence, "mood": affect.mood[:, 0]}
        self._felt = {"novelty": events["novelty"]} | {name: float(value.mean()) for name, value in felt.items()}
        self._step = history.step
        return dict(self._felt)

    def state_dict(self) -> dict[str, Any]:
        """What was felt so far, as plain tensors and values."""
        return {"format": FORMAT, "loop": self.loop.state_dict(), "step": self._step + 1, "felt": dict(self._felt)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`, bit for bit; or refuse it, and nothing is changed.

        Raises:
            TypeError: no such state.
            ValueError: another format, a loop with other settings, NaN.
        """
        what = "The saved AffectSignals"
        require_format(what, state, ("loop", "step", "felt"))
        step = require_saved_count(f"{what}: step", state["step"])
        if not isinstance(state["felt"], Mapping):
            raise TypeError(f"{what}: felt is {known_as(state['felt'])}; expected what state_dict() gave.")
        felt = {str(n): require_real_number(f"{what}: {n}", value) for n, value in state["felt"].items()}
        self.loop.read_state(state["loop"])()
        self._step, self._felt = step - 1, felt


def training_events(history: History, window: int) -> dict[str, float]:
    """How much better than usual the last step was, how new, at what effort; 0 where there is nothing to compare."""
    losses, motivated = history.losses[-REACH * window :], history.motivated[-REACH * window :]
    effort = fmean(motivated[-window:]) if motivated else 0.0
    usual = [loss for loss, on in zip(losses[:-1], motivated, strict=False) if on == motivated[-1]][-window:]
    if len(usual) < 2:
        return {"better": 0.0, "novelty": 0.0, "effort": effort}
    better = fmean(usual) - losses[-1]
    novelty = tanh(abs(better) / (pstdev(usual) + 1e-12))  # a constant loss is no news: 0 / 1e-12
    return {"better": better, "novelty": novelty, "effort": effort}
