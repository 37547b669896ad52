"""The command that checks an installation: it tells the truth, also about a broken one."""

from __future__ import annotations

import subprocess
import sys

import pytest

import snn_plasticity.__main__ as command
from snn_plasticity import PlasticityConfig, ThreeFactorConfig
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


# ---------------------------------------------------------------- settings of one's own


def saved(tmp_path, config):
    config.to_json(tmp_path / "mine.json")
    return str(tmp_path / "mine.json")


@pytest.mark.parametrize(
    ("name", "config", "promises"),
    [
        ("a rule for a modulator", PlasticityConfig.dev(), 13),
        ("expectations that samples share", PlasticityConfig.production(), 12),
        ("a rule for a loss", PlasticityConfig.online(mode="hybrid", feedback="random"), 5),
    ],
)
def test_settings_of_ones_own_are_held_to_what_is_promised_of_them(name, config, promises, tmp_path, capsys):
    assert command.main(["validate", "--config", saved(tmp_path, config)]) == 0
    printed = capsys.readouterr().out
    assert f"{promises} of {promises} promises kept" in printed and "This takes about" in printed
    assert ("left out" in printed) == (promises == 12)


def test_settings_that_cannot_learn_are_found(tmp_path, capsys):
    mine = PlasticityConfig(three_factor=ThreeFactorConfig(lr=0.0))
    assert command.main(["validate", "--config", saved(tmp_path, mine)]) == 1
    printed = capsys.readouterr().out
    assert "BROKEN    Without a modulator no weight changes by one bit" in printed
    assert "nothing is learned with lr = 0.0" in printed and "12 of 13 promises kept" in printed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "expected the path of a file that exists"),
        ("{", "is no JSON"),
        ('{"eligibility": {"tau_e": -1}}', "EligibilityConfig.tau_e = -1"),
        ('{"eligibilty": {}}', "has no field eligibilty; it has eligibility, neuromod, three_factor."),
    ],
)
def test_a_file_that_holds_no_settings_is_refused_in_a_sentence(text, said, tmp_path, capsys):
    path = tmp_path / "mine.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as stop:
        command.main(["validate", "--config", str(path)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert said in error and "mine.json holds no configuration" in error
