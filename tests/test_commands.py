"""The command line beside `validate`: help, bench, tests that are written, demos; and errors in a sentence."""

from __future__ import annotations

import os
import sys

import pytest
import torch

import snn_plasticity.__main__ as command
from snn_plasticity import PlasticityConfig
from snn_plasticity._commands import demos as demos_of_the_package
from snn_plasticity._commands.affect_bench import story

RULES = '''
from dataclasses import dataclass

import torch

from snn_plasticity import Coincidence, Pair


@dataclass(frozen=True)
class Covariance:
    """Activity above its own average."""

    tau: float = 100.0

    def init(self, pre, post):
        return torch.zeros_like(pre), torch.zeros_like(post)

    def step(self, pre, post, state, dt=1.0):
        x, y = state[0] + (pre - state[0]) * dt / self.tau, state[1] + (post - state[1]) * dt / self.tau
        return Coincidence(ltp=(Pair(post - y, pre - x),)), (x, y)


class Mixing(Covariance):
    """Activity above the average of the batch: samples hear of one another."""

    def step(self, pre, post, state, dt=1.0):
        return Coincidence(ltp=(Pair(post - post.mean(0, keepdim=True), pre),)), state


def curious(modulators):
    return modulators["DA"] * (1 + modulators["ACh"])


def above_the_others(modulators):
    return modulators["DA"] - modulators["DA"].mean()


number = 3.0
'''


def refused(arguments, capsys):
    """The sentence with which a command ends before it begins."""
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_without_a_command_there_is_help(capsys):
    assert command.main([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("validate", "bench", "contract-tests", "demo", "compile"))


# ---------------------------------------------------------------- bench


def test_the_benchmark_says_what_it_timed_in_milliseconds_and_steps(monkeypatch, capsys):
    monkeypatch.setattr("snn_plasticity._commands.layer_bench.SIZES", ((1, 20, 10), (3, 12, 8)))
    monkeypatch.setattr("snn_plasticity._commands.layer_bench.ROUNDS", 1)
    assert command.main(["bench"]) == 0
    printed = capsys.readouterr().out
    assert "20 → 10 neurons, 1 sample" in printed and "12 → 8 neurons, 3 samples" in printed
    assert printed.count(" ms") >= 6 and printed.count("× faster)") == 4
    assert "This takes about" in printed and "12 × 8 synapses with 3 samples learn for" in printed


def test_the_benchmark_refuses_to_time_paths_that_disagree(monkeypatch):
    from snn_plasticity.plasticity._engine import engine as running

    monkeypatch.setattr("snn_plasticity._commands.layer_bench.SIZES", ((2, 12, 8),))
    wrong = lambda *_, **__: torch.ones(8, 12)  # noqa: E731
    monkeypatch.setattr(running, "change_from_spikes", wrong)
    with pytest.raises(AssertionError, match="not close"):
        command.main(["bench"])


def test_mood_follows_good_and_bad_news_and_affect_is_timed(monkeypatch, capsys):
    _, *lines = story()
    steps = {int(line[:7]): float(line[30:38]) for line in lines}
    assert 0 < steps[20] < steps[40] and 0 < steps[120] < steps[60] < steps[40]
    assert steps[160] < steps[140] < steps[120] and steps[160] < 0 and abs(steps[320]) < abs(steps[200])
    monkeypatch.setattr("snn_plasticity._commands.affect_bench.AFFECT_ROUNDS", 1)
    monkeypatch.setattr("snn_plasticity._commands.affect_bench.TIMED_STEPS", 3)
    monkeypatch.setattr("snn_plasticity._commands.affect_bench.LIVES", (1, 4))
    assert command.main(["bench", "affect"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("estimator", "mapping", "whole loop", "good news", "bad news"))


# ---------------------------------------------------------------- tests that are written


def written(tmp_path, monkeypatch, *options):
    """The file that comes of these options."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_rules.py").write_text(RULES)
    monkeypatch.delitem(sys.modules, "my_rules", raising=False)
    assert command.main(["contract-tests", *options]) == 0
    return tmp_path / "test_contract.py"


def outcome(path, capsys, *, only=""):
    """What pytest says of it, warnings being errors."""
    for module in ("test_contract", "my_rules"):
        sys.modules.pop(module, None)
    alone = ["-c", os.devnull, "--rootdir", str(path.parent), "-p", "no:cacheprovider", "-p", "no:randomly"]
    strict = ["-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = pytest.main(["-q", *strict, *alone, str(path), "-k", only])
    return int(code), capsys.readouterr().out


def test_presets_are_green(tmp_path, monkeypatch, capsys):
    path = written(tmp_path, monkeypatch)
    text = path.read_text()
    assert text.count("\ndef test_") == 12 and "each_sample_has_a_gate_of_its_own" not in text
    compile(text, "test_contract.py", "exec")
    code, said = outcome(path, capsys, only="dev or eprop")
    assert code == 0 and "24 passed" in said


def test_settings_are_read_anew_at_each_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "settings").mkdir()
    PlasticityConfig.online(mode="hybrid").to_json(tmp_path / "settings" / "mine.json")
    path = written(tmp_path, monkeypatch, "--config", "settings/mine.json")
    assert "'settings/mine.json'" in path.read_text() and "import snntorch as snn" in path.read_text()
    code, said = outcome(path, capsys)
    assert code == 0 and "5 passed" in said
    (tmp_path / "settings" / "mine.json").write_text('{"three_factor": {"lr": -1}}')
    code, said = outcome(path, capsys)
    assert code != 0 and "ThreeFactorConfig.lr = -1" in said


@pytest.mark.parametrize(
    ("option", "good", "bad", "broken"),
    [
        ("--kernel", "my_rules:Covariance", "my_rules:Mixing", "test_each_sample_of_a_batch_is_alone"),
        ("--gate", "my_rules:curious", "my_rules:above_the_others", "test_each_sample_has_a_gate_of_its_own"),
    ],
)
def test_what_breaks_the_contract_is_red(option, good, bad, broken, tmp_path, monkeypatch, capsys):
    code, said = outcome(written(tmp_path, monkeypatch, option, good), capsys)
    assert code == 0 and " passed" in said
    code, said = outcome(written(tmp_path, monkeypatch, option, bad, "--force"), capsys, only="each_sample")
    assert code == 1 and f"FAILED test_contract.py::{broken}" in said


def test_what_cannot_be_written_is_said_and_nothing_is(tmp_path, monkeypatch, capsys):
    path = written(tmp_path, monkeypatch)
    before = path.read_text()
    for options, said in (
        ([], "test_contract.py exists"),
        (["--force", "--kernel", "my_rules"], "expected module:object"),
        (["--force", "--kernel", "no_such:Thing"], "No module named 'no_such'"),
        (["--force", "--kernel", "my_rules:nothing"], "has no attribute 'nothing'"),
        (["--force", "--kernel", "my_rules:number"], "is a float; expected a kernel, with init and step"),
        (["--force", "--gate", "my_rules:number"], "is a float; expected a gate"),
        (["--force", "--config", "my_rules.py"], "holds no configuration"),
        (["--output", "nowhere/test.py"], "expected a file in a folder that exists"),
    ):
        assert said in refused(["contract-tests", *options], capsys), options
    assert path.read_text() == before


# ---------------------------------------------------------------- demos


def test_demos_are_listed_and_run_with_their_options(capfd):
    assert command.main(["demo", "--list"]) == 0
    printed = capfd.readouterr().out
    assert "A spiking network learns to read handwritten digits from reward alone" in printed
    assert command.main(["demo", "cue", "--help"]) == 0
    assert "whose neurons" in capfd.readouterr().out


def test_a_demo_that_is_not_there_and_demos_that_are_nowhere(capsys, monkeypatch, tmp_path):
    assert "'nothing' is no demo; expected one of affect_plane, agent, cue" in refused(["demo", "nothing"], capsys)
    monkeypatch.setattr(demos_of_the_package, "__file__", str(tmp_path / "a" / "b" / "demos.py"))
    monkeypatch.chdir(tmp_path)
    assert "The demos are not part of the installed package" in refused(["demo", "cue"], capsys)
