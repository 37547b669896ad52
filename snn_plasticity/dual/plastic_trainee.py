"""One net that learns by three-factor plasticity, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .._checks import require_callable, require_kind, shown
from .._saved import require_parts
from ..learner import PlasticityLearner
from .batches import pair_of, unpack_pair
from .distributed import group_of
from .nets import explain_errors, require_finite_loss, require_net, reset_hidden_state
from .over_time import model_output
from .score import Score, Scorer, evaluate


class PlasticTrainee:
    """A net that learns by three-factor plasticity, without gradients.

    Args:
        model: the net.
        learner: what `attach(model, ...)` returned.
        teach: (model, learner, batch) -> loss: runs the model on the batch, calls `learner.step(...)` with the
            modulator, and returns a number that says how it went (a loss, for conditions and reports).
        loss, run, metric, unpack: for the evaluation, as in `Trainee`; `teach` gets the batch as it is.

    Raises:
        TypeError: an argument of another kind.
        ValueError: a model of several processes.

    >>> from snntorch import Leaky
    >>> from snn_plasticity import attach
    >>> net = nn.Sequential(nn.Linear(4, 2), Leaky(0.9, init_hidden=True))
    >>> def teach(model, learner, batch):
    ...     wrong = (model(batch[0]).argmax(1) != batch[1]).float()
    ...     learner.step(0.5 - wrong)
    ...     return wrong.mean()
    >>> trainee = PlasticTrainee(net, attach(net), teach)
    >>> 0.0 <= trainee.train((torch.ones(3, 4), torch.tensor([0, 1, 1]))) <= 1.0
    True
    """

    def __init__(
        self,
        model: nn.Module,
        learner: PlasticityLearner,
        teach: Callable[[nn.Module, PlasticityLearner, Any], float],
        loss: Callable[[Tensor, Any], Tensor] = nn.functional.cross_entropy,
        *,
        run: Callable[[nn.Module, Any], Tensor] = model_output,
        metric: Callable[[Tensor, Any], Any] | None = None,
        unpack: Callable[[Any], tuple[Any, Any]] = unpack_pair,
    ) -> None:
        require_net(model, loss, run, unpack)
        require_kind("learner", learner, PlasticityLearner, "As attach(model) returns one.")
        require_callable("teach", teach, "(model, learner, batch) -> loss")
        if group_of(model) is not None:
            raise ValueError(
                "The model is in DistributedDataParallel, and what plasticity changes is not averaged over processes; "
                "expected the net itself, in one process."
            )
        self.model, self.teach, self.objective, self.run, self.unpack = model, teach, loss, run, unpack
        self.learner: PlasticityLearner | None = learner
        self.scorer = Scorer(loss, metric)

    def train(self, batch: Any) -> float:
        """One step on one batch, as `teach` does it, from a fresh hidden state.

        Returns:
            What `teach` returned.

        Raises:
            Diverged: it is no finite number.
        """
        assert self.learner is not None
        reset_hidden_state(self.model)
        with (
            explain_errors(
                lambda: f"teach does not take a batch of {shown(batch)}", "what it was made for, and a loss in return"
            ),
            torch.no_grad(),
        ):
            return require_finite_loss(float(self.teach(self.model, self.learner, batch)))

    def evaluate(self, batches: Iterable[Any]) -> Score:
        """Mean loss, accuracy and metric on batches (x, target); nothing is learned and no trace changes."""
        assert self.learner is not None
        with self.learner.paused():
            return evaluate(self.model, self._output, self.scorer, batches)

    def _output(self, batch: Any) -> tuple[Tensor, Any]:
        x, target = pair_of(self.unpack, batch)
        reset_hidden_state(self.model)
        return self.run(self.model, x), target

    def end_epoch(self) -> None:
        """Nothing to do."""

    def state_dict(self) -> dict[str, Any]:
        """Eligibility and modulators."""
        assert self.learner is not None
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`; errors as in `PlasticityLearner.load_state_dict`."""
        self.read_state(state)()

    def read_state(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """Look at a saved state whole; what is returned goes on from it. Nothing is changed before."""
        assert self.learner is not None
        require_parts("The saved net", state, ("learner",))
        return self.learner.read_state(state["learner"])
