"""In the place of what counts the steps of a connection: it counts likewise, and tells a record of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .._activity import Activity
from .at_once import NO_STEPS
from .layer import LayerRecorder


class WatchedActivity(Activity):
    """Counts as the one that it stands for, and is told of every step that a connection observes.

    Args:
        own: what counted until now.
        layer: what is told.
        first: told once, of the first step or window: (layer, pre, how many steps).
    """

    def __init__(
        self, own: Activity, layer: LayerRecorder, first: Callable[[LayerRecorder, Tensor, int], None]
    ) -> None:
        vars(self).update(vars(own))
        self._first, self._new = first, True
        self.layer, self.next_look, self._counted = layer, own.due, own.looked == own.seen
        self.due = 0  # every step comes here

    def plain(self) -> Activity:
        """What counts on when nobody records any more."""
        own = Activity()
        kept = {name: value for name, value in vars(self).items() if name in vars(own)}
        vars(own).update(kept, due=self.next_look, looked=self.seen if self._counted else -1)
        return own

    def __deepcopy__(self, memo: dict[int, Any]) -> Activity:
        return self.plain()

    def __reduce__(self) -> Any:
        return (_restored, (vars(self.plain()),))

    def see(self, pre: Tensor, post: Tensor | None, *, spikes: bool = True) -> None:
        """One step."""
        self.seen = seen = self.seen + 1
        fast = self.layer.fast
        if spikes and post is not None and seen < fast.due and fast.resembles(pre, post):
            fast.look(pre, post)
        else:
            self.see_slowly(pre, post, spikes=spikes)

    def look(self, pre: Tensor, post: Tensor | None, *, spikes: bool = True) -> None:
        """One step that was counted already, of a running sequence; `StepsAtOnce.look` stands for it when it can."""
        self.see_slowly(pre, post, spikes=spikes)

    def look_now(self, pre: Tensor, post: Tensor | None, *, spikes: bool) -> None:
        """Count what is active in the step that came last."""
        super().look(pre, post, spikes=spikes)
        self.next_look, self.due = self.due, 0

    def see_slowly(self, pre: Tensor, post: Tensor | None, *, spikes: bool) -> None:
        """One step that was counted already, whatever it is like."""
        self._counted = self.seen >= self.next_look
        if self._counted:
            self.look_now(pre, post, spikes=spikes)
        if self._new:
            self._new = False
            self._first(self.layer, pre, 1)
        self.looked = self.seen
        self.layer.step(pre, post, spikes=spikes)
        if spikes and post is not None:
            self.layer.arm(pre, post, self.seen)
            if self.layer.fast is not NO_STEPS:
                vars(self)["look"] = self.layer.fast.look

    def see_window(self, pre: Tensor, post: Tensor | None, *, spikes: bool = True) -> None:
        """Many steps."""
        self.looked = -1
        super().see_window(pre, post, spikes=spikes)
        self.next_look, self.due = self.due, 0
        self._counted, self.looked = self.looked == self.seen, self.seen
        if self._new:
            self._new = False
            self._first(self.layer, pre, len(pre))
        self.layer.window(pre, post, spikes=spikes)

    def count(self, pre: Tensor) -> None:
        """One step of a layer that no neuron reads."""
        super().count(pre)
        self.layer.step(pre, None, spikes=True)

    def fired(self, spikes: Tensor) -> None:
        """The spikes of the step or window that came last."""
        self.layer.fired(spikes)
        if self._counted:
            super().fired(spikes)
            self._counted = False

    def worked_out(self, change: Tensor) -> None:
        """Δw before a `reduce`."""
        self.layer.worked_out(change)

    def begin_anew(self, mask: Tensor | None) -> None:
        """Traces were reset."""
        self.layer.happened("reset", mask)


def _restored(counted: dict[str, Any]) -> Activity:
    own = Activity()
    vars(own).update(counted)
    return own
