"""The command that checks an installation: it tells the truth, also about a broken one."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import snn_plasticity.__main__ as command
from snn_plasticity.contract import CHECKS, Check, Verdict


def test_a_sound_installation_keeps_every_promise():
    done = subprocess.run([sys.executable, "-m", "snn_plasticity", "validate"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CHECKS)} of {len(CHECKS)} promises kept" in done.stdout
    assert all(check.promise in done.stdout for check in CHECKS)


def test_a_gate_that_leaks_is_found(monkeypatch, capsys):
    leak = lambda self, mod, reduction=None: self.eligibility.mean(0)  # noqa: E731
    monkeypatch.setattr("snn_plasticity.plasticity.eligibility.EligibilityTraceModule.change", leak)
    assert command.main(["validate"]) == 1
    printed = capsys.readouterr().out
    assert "BROKEN  no modulator, no change" in printed and "0 of 15" in printed


def test_a_check_that_raises_is_a_broken_promise(monkeypatch, capsys):
    def explode(device):
        raise RuntimeError("no such kernel")

    checks = (Check("works", explode), Check("is well", lambda device: Verdict(True, "1")))
    monkeypatch.setattr("snn_plasticity.contract.checklist.CHECKS", checks)
    assert command.main(["validate"]) == 1
    printed = capsys.readouterr().out
    assert "RuntimeError: no such kernel" in printed and "1 of 2 promises kept" in printed


def test_a_device_that_is_not_there_is_named(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["validate", "--device", "nowhere"])
    assert stop.value.code == 2
    assert "'nowhere'" in capsys.readouterr().err


def test_the_benchmark_prints_a_row_for_each_size(monkeypatch, capsys):
    monkeypatch.setattr("snn_plasticity._bench.SIZES", ((1, 20, 10), (3, 12, 8)))
    monkeypatch.setattr("snn_plasticity._bench.ROUNDS", 1)
    assert command.main(["bench"]) == 0
    printed = capsys.readouterr().out
    assert "1, 20 → 10" in printed and "3, 12 → 8" in printed and "×" in printed


def test_the_benchmark_refuses_to_time_paths_that_disagree(monkeypatch):
    from snn_plasticity.plasticity._engine import engine as running

    monkeypatch.setattr("snn_plasticity._bench.SIZES", ((2, 12, 8),))
    wrong = lambda *_, **__: torch.ones(8, 12)  # noqa: E731
    monkeypatch.setattr(running, "change_from_spikes", wrong)
    with pytest.raises(AssertionError, match="not close"):
        command.main(["bench"])
