"""A progress bar, where tqdm is installed; silence where it is not."""

from __future__ import annotations

from typing import Any


class Progress:
    """One line: both losses, share of motivated steps, compute.

    Args:
        total: steps to come, if known. done: steps behind. show: False for silence.
    """

    def __init__(self, total: int | None, done: int, *, show: bool) -> None:
        self.bar: Any = None
        if show:
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self.bar = tqdm(total=total, initial=done, unit="batch", disable=None)
        self.losses = {False: float("nan"), True: float("nan")}

    def step(self, loss: float, motivated: bool, share: float, macs: int) -> None:
        """One step is over."""
        if self.bar is None:
            return
        self.losses[motivated] = loss
        text = f"base {self.losses[False]:.3f}, motivated {self.losses[True]:.3f}, {share:.0%}, {macs / 1e9:.3g} GMAC"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update()

    def close(self) -> None:
        """Leave the last line where it is."""
        if self.bar is not None:
            self.bar.close()
