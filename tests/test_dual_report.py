"""Reports: numbers that can be checked by hand, tables and figures that show them."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from snn_plasticity.dual import (
    Always,
    BaseToo,
    Comparison,
    Cost,
    Distill,
    DualModelTrainer,
    DualReport,
    Every,
    History,
    Never,
    Sandwich,
    Score,
    Trainee,
    widen,
)
from snn_plasticity.dual.checkpoint import read_report
from snn_plasticity.dual.fitting import Progress
from snn_plasticity.dual.ledger.energy import Energy
from snn_plasticity.dual.ledger.meter import prefixed
from snn_plasticity.dual.report import Estimate, ValidationPoint, score_at


def run(ends: list[tuple[float, float | None]], macs: int = 10, motivated: int = 1) -> DualReport:
    """A run with a validation every 2 steps."""
    steps = 2 * len(ends)
    flags = [k % 2 == 1 and k // 2 < motivated for k in range(steps)]
    history = History([1.0 / (k + 1) for k in range(steps)], flags)
    curve = [
        ValidationPoint(
            2 * k + 2, k, 2 * macs * (k + 1), macs * (k + 1), 0.0, Score(0.5, base), large and Score(0.4, large)
        )
        for k, (base, large) in enumerate(ends)
    ]
    return DualReport(history, [Cost(macs, macs // 2)] * steps, curve, "Story()")


def test_equal_steps_and_equal_compute_are_read_off_the_curves() -> None:
    dual = [run([(0.5, 0.6), (0.7, 0.9)]), run([(0.5, 0.6), (0.6, 0.8)])]
    base = [run([(0.4, None), (0.5, None), (0.6, None), (0.8, None)], macs=5)] * 2
    large = [run([(0.3, None), (0.7, None)], macs=20)] * 2
    rows = Comparison(dual, base, large).rows
    assert rows["base"].mean == pytest.approx(0.65) and rows["base"].error == pytest.approx(0.05)
    assert rows["base alone, equal steps"].mean == pytest.approx(0.5)
    assert rows["base alone, equal compute"].mean == pytest.approx(0.8)
    assert rows["large alone, equal compute"].mean == pytest.approx(0.3)
    assert rows["base − base alone, equal steps"].mean == pytest.approx(0.15)
    assert rows["motivated − large alone, equal compute"].mean == pytest.approx(0.55)
    compute = Comparison(dual, base, large).compute()
    assert {name: round(1e9 * value.mean) for name, value in compute.items()} == {
        "dual": 40, "base alone": 20, "large alone": 80,
    }  # fmt: skip
    assert score_at(base[0], "macs", 25) == pytest.approx(0.55)
    table = Comparison(dual, base, large).table()
    assert "0.650 ± 0.050" in table and "×0.50 of the large" in table


def test_what_was_not_measured_is_not_reported() -> None:
    short = [run([(0.5, 0.6)])]
    with pytest.raises(ValueError, match=r"There are \[1, 2, 1\] runs"):
        Comparison(short, short * 2, short)
    with pytest.raises(ValueError, match="never validated"):
        Comparison(short, [DualReport()], short)
    with pytest.raises(ValueError, match="train it longer"):
        _ = Comparison([run([(0.5, 0.6)] * 3)], [run([(0.5, None)])], short).rows
    with pytest.raises(ValueError, match="no motivated net"):
        run([(0.5, None)]).curve[0].score("motivated")
    assert str(Estimate.of([0.5])) == "0.500"


def test_through_plain_values() -> None:
    seen = run([(0.5, 0.6), (0.7, 0.9)])
    again = DualReport.from_dict(json.loads(json.dumps(seen.to_dict())))
    assert again == seen
    assert seen.cost == Cost(40, 20) and seen.share == 0.25
    assert "25% motivated" in seen.table() and "0.900" in seen.table()


def test_the_figures_show_the_runs(tmp_path) -> None:
    dual = [run([(0.5, 0.6), (0.7, 0.9)]), run([(0.5, 0.6), (0.6, 0.8)])]
    alone = [run([(0.4, None), (0.5, None)])] * 2
    figure = Comparison(dual, alone, alone).figure(tmp_path / "all.png")
    assert (tmp_path / "all.png").stat().st_size > 10_000
    equal_steps = figure.axes[1]
    lines = {line.get_label(): line.get_ydata() for line in equal_steps.lines}
    assert list(lines["base"]) == pytest.approx([0.5, 0.65]) and list(lines["motivated"]) == pytest.approx([0.6, 0.85])
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "|"]
    assert list(marks[0].get_xdata()) == [1]
    single = dual[0].figure(tmp_path / "one.png")
    assert [line.get_label() for line in single.axes[1].lines] == ["base", "motivated"]


def test_progress_without_tqdm_is_silence(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    bar = Progress(3, [], show=True)
    bar.step(1.0, False, 5)
    bar.close()
    assert bar.bar is None and capsys.readouterr() == ("", "")


def test_progress_shows_both_losses_the_share_and_the_compute() -> None:
    pytest.importorskip("tqdm")
    bar = Progress(5, [True, True], show=True)
    bar.step(1.5, False, 5_000_000)
    bar.step(0.25, True, 2_000_000_000)
    if not bar.bar.disable:
        assert bar.bar.postfix == "base 1.500, motivated 0.250, 75%, 2 GMAC"
    bar.close()


@pytest.mark.parametrize("host", ["snntorch", "norse"])
def test_the_demo_runs_and_judges_itself(host, tmp_path, monkeypatch, capsys) -> None:
    for needed in ("sklearn", "tqdm"):
        pytest.importorskip(needed)
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "demos")
    figure, numbers = tmp_path / "s.png", tmp_path / "s.json"
    order = f"--seeds 1 --epochs 2 --hidden 8 --condition every-third --host {host} --figure {figure} --json {numbers}"
    code, printed = importlib.import_module("seeking").main(order.split()), capsys.readouterr().out
    assert code == 0 and "Not judged" in printed
    assert "base alone, equal compute" in printed and figure.stat().st_size > 30_000
    seen = json.loads(numbers.read_text(encoding="utf-8"))
    assert 0.3 < seen["share of motivated steps"][0] < 0.34


def test_the_demo_says_which_package_is_missing(monkeypatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "demos")
    monkeypatch.setitem(sys.modules, "mnist1d", None)
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(SystemExit, match=r"needs the package mnist1d: pip install -e ..\[mnist1d\]."):
        importlib.import_module("seeking_data").mnist1d()


def test_mnist1d_is_made_on_the_spot_and_the_same_each_time(monkeypatch) -> None:
    pytest.importorskip("mnist1d")
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "demos")
    made, again = (importlib.import_module("seeking_data").mnist1d() for _ in range(2))
    assert made.x.shape == (4000, 40) and made.unseen_x.shape == (1000, 40)
    assert set(made.y.tolist()) == set(made.unseen_y.tolist()) == set(range(10))
    assert all(map(torch.equal, made, again))


def digits_like(hidden: int = 4) -> tuple[nn.Module, list]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, 2))
    return net, [(torch.randn(n, 3), torch.arange(n) % 2) for n in (6, 6, 6, 2)]


def taught(net: nn.Module) -> Trainee:
    return Trainee(net, torch.optim.SGD(net.parameters(), lr=0.1))


def fitted(condition, coupling=None) -> DualReport:
    base, data = digits_like()
    large, weights = widen(base, 3)
    trainer = DualModelTrainer(taught(base), taught(large), weights, condition, coupling=coupling)
    return trainer.fit(data, 2, validation=data[:1], progress=False)


@pytest.mark.parametrize("coupling", [None, BaseToo(), Distill(), Sandwich()], ids=repr)
@pytest.mark.parametrize("condition", [Never(), Always(), Every(3)], ids=repr)
def test_what_each_net_alone_would_have_cost_is_what_it_costs_alone(condition, coupling) -> None:
    base, data = digits_like()
    large = widen(base, 3).model
    apart = [DualModelTrainer(taught(net)).fit(data, 2, progress=False).cost.macs for net in (base, large)]
    report = fitted(condition, coupling)
    assert report.alone == dict(zip(("base", "large"), apart, strict=True))
    table = report.table()
    assert f"base alone {prefixed(apart[0])}MAC (×{apart[0] / report.cost.macs:.2f})" in table
    assert f"large alone {prefixed(apart[1])}MAC" in table


def test_nets_by_themselves_are_looked_at_without_moving_anything() -> None:
    base, data = digits_like()
    report = fitted(Every(3))
    forward, seconds, step, size = report.books.nets["base"]
    assert forward.macs == 2 * (12 + 8) and size == 6 and step == 2 * (2 * 12 + 3 * 8) and 0 < seconds < 1
    assert report.books.nets["base"].energy.dense == pytest.approx(4.6e-12 * forward.macs)
    assert report.energy.events == pytest.approx(0.9e-12 * report.cost.synops)
    assert "45 nm" in report.table() and "one batch forward, motivated" in report.table()
    again = DualReport.from_dict(json.loads(json.dumps(report.to_dict())))
    assert again == report and again.alone == report.alone


def test_the_energy_of_a_product_and_a_sum_as_published() -> None:
    """Horowitz 2014, 45 nm: a 32-bit float product 3.7 pJ, a sum .9 pJ."""
    assert Energy.of(Cost(10**12, 10**12)) == pytest.approx((3.7 + 0.9, 0.9))


def test_what_only_one_kind_of_step_tells_is_not_known_without_fit() -> None:
    base, data = digits_like()
    large, weights = widen(base, 3)
    trainer = DualModelTrainer(taught(base), taught(large), weights, Always())
    assert trainer.report.alone == {}
    trainer.step(data[0])
    assert trainer.report.alone == {} and "base alone not known, large alone not known" in trainer.report.table()


def test_nothing_is_divided_by_zero(tmp_path) -> None:
    empty = DualReport()
    assert "0 steps" in empty.table() and empty.cost == Cost() and empty.alone == {}
    empty.figure(tmp_path / "empty.png")
    silent = nn.Sequential(nn.Flatten(), nn.LayerNorm(3))
    data = [(torch.randn(4, 3), torch.arange(4) % 3)]
    report = DualModelTrainer(taught(silent)).fit(data, 2, validation=data, progress=False)
    assert report.cost.macs == report.cost.synops == 0 and "compute 0 MAC" in report.table()
    report.figure(tmp_path / "silent.png")
    two = run([(0.5, 0.6)], macs=0)
    comparison = Comparison([two], [report], [report])
    assert comparison.rows["base alone, equal compute"].mean != comparison.rows["base alone, equal compute"].mean
    assert "of the large" not in comparison.table()
    comparison.figure(tmp_path / "all.png")


def test_a_report_saved_before_there_were_books_is_read() -> None:
    old = fitted(Every(3)).to_dict()
    old["costs"] = [cost[:2] for cost in old["costs"]]
    del old["books"]
    again = read_report(old)
    assert again.alone == {} and again.history.step == 8


def test_where_no_accuracy_is_known_nets_are_compared_by_their_losses(tmp_path) -> None:
    nan = float("nan")
    dual, alone = [run([(nan, nan), (nan, nan)])], [run([(nan, None), (nan, None)])]
    comparison = Comparison(dual, alone, alone)
    assert comparison.measure == "loss" and comparison.rows["motivated"].mean == pytest.approx(0.4)
    assert comparison.table().startswith("loss, 1 seeds")
    figure = dual[0].figure()
    assert figure.axes[1].get_ylabel() == "loss" and list(figure.axes[1].lines[0].get_ydata()) == [0.5, 0.5]
    comparison.figure(tmp_path / "all.png")


def test_plain_values_say_what_it_would_have_cost() -> None:
    report = fitted(Every(3))
    told = json.loads(json.dumps(report.to_dict()))
    assert told["alone"] == report.alone and told["energy"] == pytest.approx(list(report.energy))
    told["alone"]["base"] += 1
    with pytest.raises(ValueError, match="do not go together"):
        read_report(told)
