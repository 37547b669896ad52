"""Interrupted and resumed is bit for bit never interrupted; a crash in the middle of a write loses nothing."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from test_dual_nets import OPTIMIZERS, RUN, batches, seeded, snntorch_net
from test_dual_trainer import Shuffled, equal, state_of
from test_saved_states import changed, drop, places, put, reopened, wrongs
from torch import nn

from snn_plasticity.dual import (
    Distill,
    DualModelTrainer,
    EarlyStopping,
    FromStep,
    LossDecrease,
    RandomActivation,
    Sandwich,
    Seeking,
    Trainee,
    widen,
)

EPOCHS = 2
STEPS = 6 * EPOCHS
COUPLINGS = {"paper": (LossDecrease(1), None), "distill": (Seeking(0.2, 0.1), Distill()),
             "sandwich": (RandomActivation(0.5), Sandwich(1.0, 0.5)), "late": (FromStep(3), None)}  # fmt: skip


def build(name: str = "paper") -> DualModelTrainer:
    """Everything that could remember: shuffling, dropout, momentum, schedulers, norms, random conditions."""
    base = seeded(lambda: nn.Sequential(nn.Dropout(0.2), *snntorch_net()))
    large, weights = widen(base, 2, place="spread")
    nets = []
    for net in (base, large):
        optimizer = OPTIMIZERS["rmsprop"](net.parameters())
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 4)
        nets.append(Trainee(net, optimizer, run=RUN, scheduler=scheduler, per_step=True))
    condition, coupling = COUPLINGS[name]
    torch.manual_seed(11)
    return DualModelTrainer(*nets, weights, condition, coupling=coupling, seed=5)


def everything(trainer: DualModelTrainer) -> list:
    report = trainer.report.to_dict()
    curve = [point[:4] + point[5:] for point in report["curve"]]  # all but the seconds
    return [state_of(trainer), report["losses"], report["motivated"], report["signals"], report["costs"], curve]


@pytest.mark.parametrize("name", COUPLINGS)
def test_interrupted_at_any_step(name, tmp_path) -> None:
    whole = build(name)
    whole.fit(Shuffled(), EPOCHS, progress=False, validation=batches(2, 3))
    assert 0 < whole.report.share < 1
    for stop in range(1, STEPS) if name == "paper" else (2, 6, 9):
        first, second = build(name), build(name)
        first.fit(Shuffled(), EPOCHS, progress=False, validation=batches(2, 3), max_steps=stop)
        assert first.report.history.step == stop
        first.save(tmp_path / "run.pt")
        torch.manual_seed(999)  # another process would have other numbers
        second.load(tmp_path / "run.pt")
        second.fit(Shuffled(), EPOCHS, progress=False, validation=batches(2, 3))
        assert equal(everything(second), everything(whole)), stop


def test_interrupted_by_the_user_between_checkpoints(tmp_path) -> None:
    whole = build()
    whole.fit(Shuffled(), EPOCHS, progress=False, checkpoint=tmp_path / "whole.pt")
    trainer = build()

    def impatient(history, batch):
        if history.step == 8:
            raise KeyboardInterrupt
        return {"novelty": 0.0, "curiosity": 0.0, "anticipation": 0.0}

    signals, trainer.signals = trainer.signals, lambda h, b: impatient(h, b) and signals(h, b)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(Shuffled(), EPOCHS, progress=False, checkpoint=tmp_path / "run.pt", checkpoint_every=3)
    again = build()
    again.load(tmp_path / "run.pt")
    assert again.report.history.step == 6
    again.fit(Shuffled(), EPOCHS, progress=False)
    assert equal(everything(again), everything(whole))


def test_stopped_early_stays_stopped(tmp_path) -> None:
    trainer, stopping = build(), EarlyStopping(1, "base", "loss", min_delta=99.0)
    for _ in range(2):
        trainer.fit(Shuffled(), 9, progress=False, validation=batches(2, 3), early_stopping=stopping)
        assert trainer.epoch == 2


@pytest.mark.parametrize("moment", ["while the file is written", "before it is moved"])
def test_a_crash_during_the_write_leaves_the_previous_checkpoint_whole(moment, tmp_path, monkeypatch) -> None:
    trainer, path = build(), tmp_path / "run.pt"
    trainer.fit(Shuffled(), 1, progress=False)
    trainer.save(path)
    before, then = path.read_bytes(), everything(trainer)
    trainer.step(batches()[0])

    def half(content, file):
        file.write(b"PK half a file")
        raise OSError("no space left on device")

    def never(*names):
        raise OSError("killed")

    monkeypatch.setattr(*((torch, "save", half) if "written" in moment else (os, "replace", never)))
    with pytest.raises(OSError):
        trainer.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["run.pt"]
    other = build()
    other.load(path)
    assert equal(everything(other), then)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_killed_in_the_middle_of_the_write(tmp_path) -> None:
    trainer, path = build(), tmp_path / "run.pt"
    trainer.save(path)
    before = path.read_bytes()
    child = os.fork()
    if not child:
        import signal

        def half(content, file):
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        torch.save = half
        trainer.save(path)
    os.waitpid(child, 0)
    assert path.read_bytes() == before
    build().load(path)


def test_a_checkpoint_runs_no_code_and_refuses_other_maps(tmp_path) -> None:
    trainer, path = build(), tmp_path / "run.pt"
    trainer.save(path)
    torch.load(path, weights_only=True)
    base = seeded(snntorch_net)
    large, weights = widen(base, 2)
    other = DualModelTrainer(*(Trainee(n, OPTIMIZERS["sgd"](n.parameters())) for n in (base, large)), weights)
    with pytest.raises(ValueError, match="shares other weights"):
        other.load(path)
    (tmp_path / "bad.pt").write_bytes(pickle.dumps(print))
    with pytest.raises(Exception, match="(?i)weights|load|magic|unpickl"):
        trainer.load(tmp_path / "bad.pt")


def may_be_nan(trainer: DualModelTrainer, path: tuple) -> bool:
    """Buffers are the net's own affair; signals and scores are what their owners say."""
    buffer = len(path) == 3 and path[0] == "models" and path[2] in dict(trainer.nets[path[1]].model.named_buffers())
    return buffer or path[:2] in (("report", "signals"), ("report", "curve"))


def test_a_run_that_is_wrong_at_any_place_is_refused_and_nothing_changes() -> None:
    trainer = build("distill")
    trainer.fit(Shuffled(), EPOCHS, progress=False, max_steps=4)
    saved, tried = reopened(trainer.state_dict()), 0
    trainer.fit(Shuffled(), EPOCHS, progress=False, max_steps=6)
    before, numbers = everything(trainer), torch.get_rng_state()
    for path, value in places(saved):
        cases = list(wrongs(value)) + ([("missing", drop)] if isinstance(path[-1], str) else [])
        if path[0] == "weights" or "settings" in path[:-1]:
            cases = [("a stranger", put("x"))]
        for what, change in cases:
            if what == "NaN" and may_be_nan(trainer, path) or path[:2] == ("report", "curve"):
                continue
            if what == "half" and path[0] == "nets" or (what, path[-1]) == ("nothing known", "step"):
                continue  # an optimizer chooses the numbers it keeps
            if (
                what in ("missing", "one too many")
                and path[:2] == ("report", "signals")
                and path != ("report", "signals")
            ):
                continue  # nobody knows which signals there were
            if what == "a word" and path == ("report", "condition"):
                continue
            with pytest.raises((TypeError, ValueError, RuntimeError)) as raised:
                trainer.load_state_dict(changed(saved, path, change))
                pytest.fail(f"{what} at {path} was accepted")
            assert len(str(raised.value)) > 40, (path, what, str(raised.value))
            assert equal(everything(trainer), before) and torch.equal(numbers, torch.get_rng_state()), (path, what)
            tried += 1
    assert tried > 300
    trainer.load_state_dict(saved)


@pytest.mark.parametrize("at", ["base", "motivated", "signals"])
def test_a_load_that_fails_in_its_midst_goes_back(at, monkeypatch) -> None:
    """Parts of the user's own may raise when they are loaded; what was loaded before them is put back."""

    class Own:
        def __init__(self) -> None:
            self.seen = 0

        def __call__(self, history, batch):
            self.seen += 1
            return {"novelty": 1.0}

        def state_dict(self):
            return {"seen": self.seen}

        def load_state_dict(self, state):
            if at == "signals" and state["seen"] == 3:
                raise OSError("broken")
            self.seen = state["seen"]

    trainer = build()
    trainer.signals = Own()
    trainer.fit(Shuffled(), EPOCHS, progress=False, max_steps=3)
    saved = reopened(trainer.state_dict())
    trainer.fit(Shuffled(), EPOCHS, progress=False, max_steps=6)
    before, numbers, seen = everything(trainer), torch.get_rng_state(), trainer.signals.seen
    if at != "signals":
        optimizer = getattr(trainer, at).optimizer

        def broken(state):
            monkeypatch.undo()
            raise OSError("broken")

        monkeypatch.setattr(optimizer, "load_state_dict", broken)
    with pytest.raises(OSError, match="broken"):
        trainer.load_state_dict(saved)
    assert equal(everything(trainer), before) and torch.equal(numbers, torch.get_rng_state())
    assert trainer.signals.seen == seen


def test_a_run_with_another_condition_or_coupling_is_refused_by_name() -> None:
    saved = build("distill").state_dict()
    with pytest.raises(ValueError, match="condition.kind was .*Seeking.* and is .*LossDecrease"):
        build("paper").load_state_dict(saved)
    other = build("distill")
    other.coupling = Distill(share=0.25)
    with pytest.raises(ValueError, match="coupling.share was 0.5 and is 0.25"):
        other.load_state_dict(saved)


SAVED_KINDS = {  # settings as earlier files hold them: kinds by the module in which they were, and as they were called
    "late": (
        {"kind": "snn_plasticity.dual.schedule.After", "step": 3},
        {"kind": "snn_plasticity.dual.coupling.Replace", "base_first": False, "several": False},
    ),
    "paper": (
        {"kind": "snn_plasticity.dual.conditions.motivation.LossDecrease", "k": 1},
        {"kind": "snn_plasticity.dual.coupling.Replace", "base_first": False, "several": False},
    ),
    "sandwich": (
        {"kind": "snn_plasticity.dual.schedule.RandomActivation", "p": 0.5, "seed": 0},
        {
            "kind": "snn_plasticity.dual.coupling.Sandwich",
            "weight": 1.0,
            "share": 0.5,
            "temperature": 2.0,
            "base_first": False,
            "several": False,
        },
    ),
}


@pytest.mark.parametrize("name", SAVED_KINDS)
def test_settings_in_files_saved_before_classes_moved_are_still_known(name) -> None:
    trainer, other = build(name), build(name)
    trainer.fit(Shuffled(), 1, progress=False)
    condition, coupling = SAVED_KINDS[name]
    other.load_state_dict({**trainer.state_dict(), "settings": {"condition": condition, "coupling": coupling}})
    assert equal(everything(other), everything(trainer))
    changed_kind = {**condition, "kind": condition["kind"] + "s"}
    with pytest.raises(ValueError, match="condition.kind was"):
        other.load_state_dict({**trainer.state_dict(), "settings": {"condition": changed_kind, "coupling": coupling}})
