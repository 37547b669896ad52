"""From a loss to changes of weights, through the steps since the last one.

    δ_t = ∂loss/∂(output of the synapse at step t)
    Δw  = −lr · Σ_t Σ_b δ_t ⊗ x̄_t

With feedback, δ_t of a layer below the readout is (∂z_t/∂(output of its synapse))ᵀ L_t, where L_t is what
∂loss/∂(output of the readout's synapse at step t) says to its neurons.

How a loss weighs its samples is in δ already (a mean over the batch, say), so that samples are summed here, whatever
the convention says of means. It is −lr times the gradient of the loss, but for the paths that are cut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from ._checks import has_finite_sum, known_as
from ._noted_steps import NOWHERE, FollowedStep, HeardStep, NotedStep, ReadoutStep
from ._untracked import untracked
from .connection import Connection
from .diagnostics import PlasticityTrace, layer_trace, plasticity_trace
from .feedback import FeedbackState, feedback_of
from .kernels.learning_signals import firing_rate_signal
from .plasticity.leaky_readout import sum_of_signals
from .plasticity.window_sum import begin, sum_step, sum_window

_HOW = "learner.step(loss=loss_fn(output, target))"
Gradients = list[list[Tensor | None]]


class Arrived(NamedTuple):
    """What has come to the noted steps of a connection.

    Args:
        gradients: of the loss, for each step those at its `edges`; None is zero.
        psi: where a readout leaks, those of the spikes instead; None else.
        signals: which meet them later, too, (B, N) for each step.
    """

    gradients: Gradients
    psi: Gradients | None = None
    signals: Sequence[Tensor] = ()


def reads_gradient(connection: Connection) -> bool:
    """Whether its kernel wants the gradient of a loss."""
    return connection.post_side == "gradient"


def hears_by_feedback(connection: Connection) -> bool:
    """Whether a loss comes down to it by feedback, rather than by the weights above it."""
    three = connection.config.three_factor
    by_weights = three.feedback is None or (three.feedback == "symmetric" and three.tau_readout is None)
    return reads_gradient(connection) and not by_weights


def readers_of_eligibility(chosen: list[Connection], named: object) -> list[Connection]:
    """Those of the chosen connections that learn from a modulator.

    Raises:
        TypeError: none does, or one that is named does not.
    """
    gradient = [connection.name for connection in chosen if reads_gradient(connection)]
    if gradient and (named is not None or len(gradient) == len(chosen)):
        raise TypeError(
            f"{', '.join(gradient)}: a kernel that reads the gradient of a loss learns from no modulator; call {_HOW}. "
            "Nothing was changed."
        )
    return [connection for connection in chosen if not reads_gradient(connection)] if gradient else chosen


def readers_of_gradients(chosen: list[Connection], named: object) -> list[Connection]:
    """Those of the chosen connections that learn from a loss.

    Raises:
        TypeError: none does, or one that is named does not; or its mode gives a loss of its own.
    """
    found = [connection for connection in chosen if reads_gradient(connection)]
    others = [connection.name for connection in chosen if not reads_gradient(connection)]
    if not found or (named is not None and others):
        raise TypeError(
            f"{', '.join(others)}: the kernel reads no gradient of a loss; attach with PlasticityConfig.online(...), "
            "or give a modulator. Nothing was changed."
        )
    for connection in found:
        if connection.config.three_factor.mode == "auxiliary_loss":
            raise TypeError(
                f"{connection.name}: mode is 'auxiliary_loss', and a loss is there already; expected 'online', or "
                "'hybrid' for its gradient. Nothing was changed."
            )
    return found


def note(
    connection: Connection,
    pre: Tensor,
    outputs: tuple[GradientEdge, ...],
    shape: torch.Size,
    *,
    begins: bool,
    followed: FollowedStep | None = None,
    heard: HeardStep | None = None,
    readout: ReadoutStep = NOWHERE,
) -> None:
    """A synapse was called: its step waits for a loss.

    Args:
        connection: whose kernel reads gradients.
        pre: what went in, (B, ...).
        outputs: where gradients of what came out are found; they add up.
        shape: of what came out, (B, ...).
        begins: whether a new sequence begins with this step.
        followed: the step of its neuron, where the kernel wants that.
        heard: how its neuron hears of a loss, where that is by feedback.
        readout: the step of the readout that it leads to.

    Raises:
        ValueError: shapes that do not fit, or another batch size in mid-sequence; naming the connection.
    """
    if not connection.enabled:
        return
    if connection.samples is not None:
        raise ValueError(f"{connection.name}: each sample has weights of its own; a loss needs one weight for all.")
    noted, running = connection.noted, connection.running
    if begins and not noted.steps:
        connection.traces.start_sequence()
        running, begins = connection.running, False
    sides = pre.shape, shape if followed is None else torch.Size((shape[0], *followed.rows.shape[:2], *shape[1:]))
    known = running and (running.like[0].shape, running.like[1].shape)
    known = noted.sides if noted.steps else known
    if known != sides:
        try:
            begin(connection.traces, pre, pre.new_empty(sides[1]), anew=begins)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{connection.name}: {error}") from None
    noted.sides = sides
    noted.steps.append(NotedStep(pre, pre._version, outputs, shape, begins, followed, heard, readout))


def gradients_of(
    loss: object, connections: Sequence[Connection], *, retain_graph: bool, whole: bool = False
) -> dict[str, Arrived]:
    """What comes down to every noted step, by connection. Feedback goes on.

    Raises:
        TypeError: no tensor.
        ValueError: no single number, NaN, or nothing that a synapse has had a part in.
        RuntimeError: its graph is gone, or what it holds has been written over.
    """
    steps = [step for connection in connections for step in connection.noted.steps]
    later = any(step.followed is not None for step in steps)  # its neuron may answer a step later
    loss = _require_loss(loss, constant=later)
    for connection in connections:
        if any(step.pre._version != step.version for step in connection.noted.steps):
            raise RuntimeError(
                f"{connection.name}: its input was written over since the synapse read it, and the loss of that step "
                "needs it still; hand the model a tensor of its own for each step. Nothing was changed."
            )
    edges = list(dict.fromkeys(edge for step in steps for edge in step.asked))
    found: Sequence[Tensor | None] = [None] * len(edges)
    heard = any(step.heard is not None for step in steps)
    try:
        if edges and loss.requires_grad:
            found = torch.autograd.grad(loss, edges, allow_unused=True, retain_graph=retain_graph or heard or whole)
    except RuntimeError as error:
        raise RuntimeError(_why_not(str(error))) from error
    if edges and not later and all(gradient is None for gradient in found):
        names = ", ".join(connection.name for connection in connections)
        raise ValueError(
            f"The loss depends on no output of {names} since the last step; expected one made of what these steps "
            "gave, without detach(). Nothing was changed."
        )
    known = dict(zip(edges, found, strict=True))
    if whole:
        _require_part(connections, known)
    arrived: dict[str, Arrived] = {}
    for c in connections:
        by_feedback = any(step.heard is not None and step.heard.by_feedback for step in c.noted.steps)
        direct = [] if by_feedback else [[known[edge] for edge in step.edges] for step in c.noted.steps]
        now = _fed_back(c, known) if by_feedback else Arrived(direct)
        arrived[c.name] = now._replace(gradients=_with_rates(c, now.gradients))
    return arrived


def _require_part(connections: Sequence[Connection], known: Mapping[GradientEdge, Tensor | None]) -> None:
    """Refuse a layer that has no part in what the readout gave."""
    for c in connections:
        steps = c.noted.steps
        if steps and all(step.followed is None and known[edge] is None for step in steps for edge in step.asked):
            raise ValueError(
                f"The readout, the last layer of the model, depends on no output of {c.name} since the last step: it "
                "is another readout, or answers a step later. Name the layers that are meant, step(..., layers=[...]), "
                "or give a loss of what all of them gave. Nothing was changed."
            )


def _with_rates(connection: Connection, gradients: Gradients) -> Gradients:
    """These gradients, and those of what brings the neurons to their rate."""
    aim, steps = connection.config.three_factor.firing_rate, connection.noted.steps
    if aim is None or not steps or steps[0].heard is None:
        return gradients
    signals: list[Tensor] = []
    for first, end in connection.noted.sequences():
        spikes = torch.stack([step.heard.spikes.detach() for step in steps[first:end] if step.heard is not None])
        signals += [firing_rate_signal(spikes, *aim).div_(-spikes.shape[1])] * (end - first)
    more = _reaching(steps, signals)
    return [
        [b if a is None else a if b is None else a + b.to(a) for a, b in zip(*pair, strict=True)]
        for pair in zip(gradients, more, strict=True)
    ]


def _fed_back(connection: Connection, known: Mapping[GradientEdge, Tensor | None]) -> Arrived:
    """What comes to a layer that hears of the loss by feedback."""
    steps, errors = connection.noted.steps, list[Tensor]()
    outputs = [step.readout.output for step in steps]
    given = [None if output is None else known.get(output) for output in outputs]
    kind = next((error.dtype for error in given if error is not None), None)
    if kind is None:
        raise ValueError(
            f"{connection.name} hears of the loss from the last layer of the model, and the loss depends on no output "
            "of that in these steps; expected a readout that is the last layer, and answers within the step. Nothing "
            "was changed."
        )
    n_out = max(step.readout.shape[1:].numel() for step in steps)
    for step, error in zip(steps, given, strict=True):
        none = step.pre.new_zeros(step.shape[0], n_out, dtype=kind)
        errors.append(none if error is None else error.reshape(step.shape[0], -1).to(none))
    signals = _signals(connection, torch.cat(errors)).split([len(error) for error in errors])
    if connection.config.three_factor.tau_readout is None:
        return Arrived(_reaching(steps, signals))
    ones = [torch.ones_like(step.heard.spikes) for step in steps if step.heard is not None]
    return Arrived([[None] * len(step.edges) for step in steps], _reaching(steps, ones), signals)


def _reaching(steps: Sequence[NotedStep], signals: Sequence[Tensor]) -> Gradients:
    """What signals at the spikes of each step are at its edges."""
    spikes = [step.heard.spikes for step in steps if step.heard is not None]
    reached = [signal.to(z).reshape(z.shape) for signal, z in zip(signals, spikes, strict=True)]
    pairs = [(z, signal) for z, signal in zip(spikes, reached, strict=True) if z.requires_grad]
    edges = [edge for step in steps for edge in step.edges]
    found: Sequence[Tensor | None] = [None] * len(edges)
    if pairs and edges:
        roots, aims = zip(*pairs, strict=True)
        found = torch.autograd.grad(roots, edges, aims, allow_unused=True, retain_graph=True)
    each = iter(found)
    return [[next(each) for _ in step.edges] for step in steps]


def _signals(connection: Connection, error: Tensor) -> Tensor:
    """What errors (S, n_out) at the readout say to the neurons of a layer below, (S, N); feedback goes on."""
    first, noted, state = connection.noted.steps[0].heard, connection.noted, connection.feedback
    assert first is not None
    feedback = feedback_of(connection.config.three_factor.feedback, noted.seed)
    shape = error.shape[1], first.spikes.shape[1:].numel()
    way = noted.way() if getattr(feedback, "follows", True) else error.new_zeros(shape)
    known = way.shape if state is None else state.weights.shape
    if tuple(known) != shape or tuple(way.shape) != shape:
        raise ValueError(
            f"{connection.name}: its feedback is {tuple(known)}, from {known[0]} outputs to {known[1]} neurons; "
            f"expected {shape}. Nothing was changed."
        )
    state = feedback.init(way) if state is None else state
    signal, connection.feedback = feedback.step(error, FeedbackState(*(m.to(error.device) for m in state)), way)
    return signal


def changes_by_loss(
    loss: object,
    connections: Sequence[Connection],
    everyone: Collection[Connection],
    lr_scale: float,
    *,
    whole: bool = False,
) -> Iterator[tuple[Connection, Tensor | None]]:
    """−lr · Σ_t Σ_b δ_t ⊗ x̄_t of each connection; None before the turn of its weight.

    Args:
        loss: of the steps that were noted; errors as in `gradients_of`.
        connections: those that learn from it now.
        everyone: of the learner. Where others have noted steps, too, the graph is kept for them.
        lr_scale: what every learning rate is multiplied by.
        whole: whether the loss has to depend on every one of them.
    """
    others = any(len(connection.noted) and connection not in connections for connection in everyone)
    arrived = gradients_of(loss, connections, retain_graph=others, whole=whole)
    for connection in connections:
        lr = connection.config.three_factor.lr * lr_scale
        with untracked(connection.weight):
            parts = list(_summed(connection, arrived[connection.name]))
            yield connection, _due(connection, sum(parts[1:], parts[0]).mul_(-lr)) if parts else None


def _summed(connection: Connection, arrived: Arrived) -> Iterator[Tensor]:
    """Σ_t Σ_b of what has arrived, of each sequence."""
    traces, noted = connection.traces, connection.noted
    if arrived.psi is None:
        yield from _products(connection, arrived.gradients)
        return
    if connection.config.three_factor.firing_rate is not None:
        _ = traces.eligibility  # steps that wait are worked in, so that the products begin behind them
        mark = traces.mark(safe=True)
        yield from _products(connection, arrived.gradients)
        traces.go_back(mark)
    for window, (first, end) in zip(noted.windows(arrived.psi), noted.sequences(), strict=True):
        if window.begins:
            traces.start_sequence()
        signals = torch.stack(list(arrived.signals[first:end]))
        try:
            units = noted.steps[first].shape  # behind them a kernel may want several values for each
            signals = noted.signals_at(signals, units)
            yield sum_of_signals(traces, window.pre, window.delta, signals)
        except ValueError as error:
            raise ValueError(f"{connection.name}: {error}") from None


def _products(connection: Connection, gradients: Gradients) -> Iterator[Tensor]:
    """Σ_t Σ_b δ_t ⊗ x̄_t of each sequence."""
    one = connection.noted.single
    if one is not None:
        pre, traces = one.pre.detach(), connection.traces
        found = sum_step(traces, pre, one.post(gradients[0], pre))
        if found is not None:
            yield found
            return
    for window in connection.noted.windows(gradients):
        if window.begins:
            connection.traces.start_sequence()
        yield sum_window(connection.traces, window.pre, window.delta)


def _due(connection: Connection, change: Tensor) -> Tensor | None:
    """A change with those that came before it, masked; None before the weight's turn."""
    change = change if connection._pending is None else connection._pending + change
    connection._pending, connection._steps = change, connection._steps + 1
    if connection._steps < connection.config.three_factor.update_frequency:
        return None
    connection.discard_pending()
    return change if connection.mask is None else change * connection.mask


def trace_of_loss(loss: Tensor, connections: Sequence[Connection], changes: Mapping[str, Tensor]) -> PlasticityTrace:
    """What a step down a loss did, in numbers; there is no eligibility, and no modulator."""
    none = torch.zeros(1)
    seen = {c.name: layer_trace(c.weight, none, changes.get(c.name)) for c in connections}
    return plasticity_trace({}, torch.ones(()), seen, loss.detach())


def _require_loss(loss: object, *, constant: bool) -> Tensor:
    if not isinstance(loss, Tensor):
        raise TypeError(f"loss is {known_as(loss)}; expected a tensor with a graph, as loss_fn(output, target) gives.")
    if loss.numel() != 1:
        raise ValueError(f"loss has shape {tuple(loss.shape)}; expected one number, as loss.mean().")
    if not (loss.requires_grad or constant):
        raise ValueError(
            "loss has no graph: what it is made of was detached, or the model ran under torch.no_grad(). Run the model "
            "in train() with gradients on, and make the loss of its outputs. Nothing was changed."
        )
    if loss.is_cpu and not has_finite_sum(loss):
        raise ValueError(f"loss is {float(loss.detach()):g}; expected a finite number. Nothing was changed.")
    return loss


def _why_not(error: str) -> str:
    """In a sentence, why autograd went no further."""
    if "a second time" in error:
        why = (
            "its graph was used up, by loss.backward() or by another step; call learner.step(loss=loss) first, with "
            "retain_graph=True where backward() is to follow, and make each loss of steps since the last one"
        )
    elif "inplace" in error or "in-place" in error:
        why = (
            "it reaches back to steps from before the last learner.step, whose weights have changed since; make the "
            "loss of each step of that step's outputs, and detach what is summed or handed on"
        )
    else:
        why = error.splitlines()[0]
    return f"There is no gradient of the loss: {why}. Nothing was changed."
