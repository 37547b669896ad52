"""A record of a learner: what went through its synapses, what it was told, and what its weights did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._checks import known_as, require_count
from .export import to_arrays, to_frames, write_to_tensorboard, write_to_wandb
from .layer import Anchor, LayerEvent, LayerRecorder, LearnerStep
from .recorder import Recorder
from .replay import aligned, eligibility_at, known_from, points_after, require_eligibility
from .rows import SideSpikes
from .together import clock_of, modulators_of


class Series(NamedTuple):
    """Values over time.

    Args:
        time: (S,) observed steps of the connection (of the busiest one, where it belongs to all) before each value.
        values: (S, …).
    """

    time: Tensor
    values: Tensor


class Record(Recorder):
    """What `PlasticityLearner.record` keeps, while it runs and afterwards.

    Time is counted in observed steps of a connection since the record began. As a context manager it stops at the end.

    >>> import torch
    >>> from torch import nn
    >>> from snn_plasticity import Connection, PlasticityConfig, PlasticityLearner
    >>> connection = Connection("fc", nn.Linear(2, 1), config=PlasticityConfig.minimal())
    >>> learner = PlasticityLearner([connection])
    >>> with learner.record() as record:
    ...     for _ in range(3):
    ...         connection.observe(torch.ones(1, 2), torch.ones(1, 1))
    ...         learner.step(1.0)
    >>> record.spikes("fc").post.shape, record.eligibility("fc").values.shape
    (torch.Size([3, 1, 1]), torch.Size([3, 1, 2]))
    >>> bool((record.changes("fc").values > 0).all())
    True
    """

    @property
    def layers(self) -> list[str]:
        """Names of the connections that are recorded."""
        return list(self._layers)

    @property
    def synapses(self) -> dict[str, list[tuple[int, ...]]]:
        """The chosen synapses of each connection: indices into its weight."""
        return {name: list(layer.chosen.indices) for name, layer in self._layers.items()}

    def spikes(self, name: str) -> SideSpikes:
        """Both sides of the observed steps that are kept.

        Args:
            name: of a connection.

        Raises:
            ValueError: a name of none.
        """
        layer = self._layer(name)
        post = layer.spikes
        if post.count and post.count < layer.count:
            post.skip_to(layer.count, torch.zeros(1, device="cpu"))
        first, (pre, fired), samples = aligned([layer.pre, post])
        return SideSpikes(torch.arange(first, first + len(samples), device="cpu"), pre, fired, samples)

    def post_side(self, name: str) -> Series:
        """What the kernel read of the neurons, (T, B, …): their spikes, or pseudo-derivatives, membranes and the like.

        Args:
            name: of a connection.

        Raises:
            ValueError: a name of none, or one that learns from a loss.
        """
        layer = self._layer(name)
        require_eligibility(layer)
        rows = layer.spikes if layer.connection.post_side == "spikes" else layer.post
        first, (_, post), samples = aligned([layer.pre, rows])
        return Series(
            torch.arange(first, first + len(samples), device="cpu"),
            torch.empty(0, device="cpu") if post is None else post,
        )

    def eligibility(self, name: str, since: int | None = None, until: int | None = None) -> Series:
        """e of the chosen synapses as each learner step that was looked at (`every`) met it, (L, B, K).

        It is worked out now, from the spikes that were kept; NaN where traces go back to spikes that are no longer.
        On the path "shared" it is the sum over the batch, (L, 1, K).

        Args:
            name: of a connection.
            since, until: instead of that, e as each observed step from `since` on and before `until` left it, before
                what came next; one of them alone leaves the other open.

        Raises:
            ValueError: a name of none, one that learns from a loss, or one whose edges have changed; no such steps.
        """
        layer = self._layer(name)
        if since is None and until is None:
            looked = [one for one in self._steps(layer) if one.number % self.settings.every == 0]
            points = [(one.at, one.order) for one in looked]
        else:
            require_eligibility(layer)
            first = 0 if since is None else require_count("since", since, low=0)
            last = layer.count if until is None else min(require_count("until", until, low=0), layer.count)
            points = points_after(layer, range(first + 1, last + 1))
        found = list(eligibility_at(layer, points))
        batch = max((len(e) for e in found if e is not None), default=1)
        values = torch.full((len(points), batch, len(layer.chosen.indices)), torch.nan, device="cpu")
        for row, e in zip(values, found, strict=True):
            if e is not None:
                row[: len(e)] = e
        return Series(torch.tensor([at for at, _ in points], dtype=torch.long, device="cpu"), values)

    def known_from(self, name: str) -> int:
        """The observed step from which on the eligibility of any synapse can be worked out from what is kept.

        Args:
            name: of a connection.
        """
        layer = self._layer(name)
        require_eligibility(layer)
        return known_from(layer)

    def changes(self, name: str) -> Series:
        """Δw of the chosen synapses at each learner step, (S, K), or (S, B, K) with one network for each sample.

        It is what the step did to the weight; where that goes into a gradient or a loss, what was worked out.

        Args:
            name: of a connection.
        """
        layer = self._layer(name)
        steps = self._steps(layer)
        moved = [_plain(one.after) - _plain(one.before) if one.asked is None else _plain(one.asked) for one in steps]
        return Series(_times(steps), _stacked(moved, len(layer.chosen.indices)))

    def chosen_weights(self, name: str) -> Series:
        """The chosen synapses after each learner step, (S, K), or (S, B, K) with one network for each sample.

        Args:
            name: of a connection.
        """
        layer = self._layer(name)
        steps = self._steps(layer)
        return Series(_times(steps), _stacked([_plain(one.after) for one in steps], len(layer.chosen.indices)))

    def change_norm(self, name: str) -> Series:
        """Mean |Δw| of a layer in learner steps that were looked at, (L,).

        That is, of those that `every` names, at most one in 32 observed steps. Of more than 8,192 weights it is that of
        about 2,000, spread over all of them.

        Args:
            name: of a connection.
        """
        looked = [one for one in self._steps(self._layer(name)) if one.norm is not None]
        return Series(_times(looked), torch.tensor([float(one.norm) for one in looked], device="cpu"))

    def weights(self, name: str) -> Series:
        """The whole weight when the record began, at each look (`weights`), and now or at its end, (n, *shape).

        Args:
            name: of a connection.
        """
        layer = self._layer(name)
        last = self._end[name] if name in self._end else layer.connection.weight.detach().clone()
        kept = [(0, layer.begin), *layer.whole, (layer.count, last)]
        kept = [(at, weight) for at, weight in kept if weight.shape == last.shape]
        times = torch.tensor([at for at, _ in kept], device="cpu")
        return Series(times, torch.stack([weight.to(last.device) for _, weight in kept]))

    def factor(self, name: str) -> Series:
        """The third factor that each learner step met, (S, B), (S, B, N_post) or (S, B, C, *places).

        NaN where a loss came instead, and behind the samples of smaller batches.

        Args:
            name: of a connection.
        """
        steps = self._steps(self._layer(name))
        return Series(_times(steps), _padded([_tensor(one.factor) for one in steps]))

    @property
    def modulators(self) -> dict[str, Series]:
        """Neuromodulators of each step that was given signals, (S, B), by name."""
        told = [one if len(one) == 2 else (clock_of(one), modulators_of(one)) for one in self._modulators]  # type: ignore
        return _by_name([(at, kept if isinstance(kept, dict) else kept.settled().modulators) for at, kept in told])

    @property
    def affect(self) -> dict[str, Series]:
        """Valence, arousal and dominance (S, B), and mood (S, B, 3), where an `AffectiveLoop` drives the learner."""
        return _by_name(list(self._affect))

    @property
    def resets(self) -> Tensor:
        """(R,) observed steps, of the busiest connection, before each call of `learner.reset`."""
        return torch.tensor(list(self._resets), dtype=torch.long, device="cpu")

    def events(self, name: str) -> list[LearnerStep | LayerEvent]:
        """All that happened to a connection within the steps that are kept, in order: learner steps, resets, pauses.

        Args:
            name: of a connection.
        """
        return list(self._layer(name).merged())

    def anchors(self, name: str) -> list[Anchor]:
        """States of the traces from which one can go on with the spikes that are kept, oldest first.

        Args:
            name: of a connection.
        """
        layer = self._layer(name)
        first = layer.first if layer.count else 0
        return [one for one in layer.anchors if one.at >= first]

    def to_dict(self) -> dict[str, np.ndarray]:
        """Everything as arrays under flat names, as "fc1.spikes.post", "fc1.changes.values" or "modulators.DA.time"."""
        return to_arrays(self)

    def to_pandas(self) -> dict[str, Any]:
        """Tidy frames: "spikes", "synapses" (Δw and w), "eligibility", "layers" (mean |Δw|) and "signals".

        A row is one spike, or one value: of a time, and a synapse or sample. Signals are modulators, affect, and third
        factors.

        Raises:
            ImportError: pandas is not installed.
        """
        return to_frames(self)

    def to_tensorboard(self, writer: Any) -> None:
        """Rates, mean |Δw|, third factors, modulators and affect as scalars over steps; whole weights as histograms.

        Args:
            writer: a `torch.utils.tensorboard.SummaryWriter`, or what has its `add_scalar` and `add_histogram`.

        Raises:
            TypeError: something else.
        """
        write_to_tensorboard(self, writer)

    def to_wandb(self, run: Any) -> None:
        """The same for Weights & Biases, with the step of each under "step".

        Args:
            run: what `wandb.init(...)` gave.

        Raises:
            TypeError: something without `log`.
            ImportError: wandb is not installed.
        """
        write_to_wandb(self, run)

    @property
    def nbytes(self) -> int:
        """Memory of spikes and whole weights."""
        return sum(layer.nbytes for layer in self._layers.values())

    def _layer(self, name: object) -> LayerRecorder:
        if not isinstance(name, str) or name not in self._layers:
            raise ValueError(
                f"name = {known_as(name)}; expected a recorded layer: {', '.join(map(repr, self._layers))}."
            )
        return self._layers[name]

    @staticmethod
    def _steps(layer: LayerRecorder) -> list[LearnerStep]:
        return layer.learner_steps

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "recording" if self.running else "stopped"
        lines = [f"Record ({state}): {self.number:,} learner steps, {self.nbytes / 1e6:.1f} MB"]
        lines += [f"  {line}" for line in self._kept_lines()]
        return "\n".join(lines)

    def _kept_lines(self) -> Iterator[str]:
        for name, layer in self._layers.items():
            first = layer.first if layer.count else 0
            kept = f"{name}: {layer.count - first:,} of {layer.count:,} observed steps"
            kept += f", {len(layer.learner_steps):,} learner steps"
            kept += f", {len(layer.chosen.indices)} synapses"
            if first:
                why = "memory" if any(r.dropped_bytes for r in (layer.pre, layer.post, layer.spikes)) else "steps="
                kept += f"; those before {first:,} were dropped ({why})"
            yield kept


def _times(steps: list[LearnerStep]) -> Tensor:
    return torch.tensor([one.at for one in steps], dtype=torch.long, device="cpu")


def _plain(values: Any) -> Tensor:
    return (torch.from_numpy(values) if isinstance(values, np.ndarray) else values).cpu()


def _tensor(factor: Any) -> Tensor:
    """A third factor with an axis of samples; one for all has one sample."""
    one = torch.tensor(torch.nan, device="cpu") if factor is None else torch.as_tensor(factor).detach().cpu().float()
    return one.reshape(1) if one.dim() == 0 else one


def _stacked(rows: list[Tensor], count: int) -> Tensor:
    return torch.stack(rows) if rows else torch.zeros(0, count, device="cpu")


def _padded(rows: list[Tensor]) -> Tensor:
    """Rows (B, …) of several sizes as one (S, B, …): what is for all is repeated, what is missing is NaN."""
    dims = max((row.dim() for row in rows), default=1)
    rows = [row.reshape(*row.shape, *[1] * (dims - row.dim())) for row in rows]
    shape = [max((row.shape[k] for row in rows), default=0) for k in range(dims)]
    values = torch.full((len(rows), *shape), torch.nan, device="cpu")
    for into, row in zip(values, rows, strict=True):
        samples = shape[0] if len(row) == 1 else len(row)
        into[:samples] = row.expand(samples, *(shape[1:] if dims > 1 else ()))
    return values


def _by_name(kept: list[tuple[int, dict[str, Tensor]]]) -> dict[str, Series]:
    found: dict[str, Series] = {}
    for name in dict.fromkeys(name for _, values in kept for name in values):
        own = [(at, values[name].detach().cpu().float()) for at, values in kept if name in values]
        values = _padded([value.reshape(1) if value.dim() == 0 else value for _, value in own])
        found[name] = Series(torch.tensor([at for at, _ in own], dtype=torch.long, device="cpu"), values)
    return found
