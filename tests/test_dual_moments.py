"""What the experiments on dual training run and report: exact counts, paired differences, real data in each code."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from snn_plasticity.dual import CountMatched, DualModelTrainer, History, replay
from snn_plasticity.dual.report import Estimate

pytest.importorskip("sklearn")
ROOT = Path(__file__).parent.parent
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "demos")]
import dual_moments  # noqa: E402
import moments  # noqa: E402
import moments_tables as tables  # noqa: E402
import seeking_data as data  # noqa: E402
from seeking_nets import HOSTS, newborn, show  # noqa: E402


@pytest.mark.parametrize(
    ("count", "of", "power"), [(0, 7, 1.0), (36, 120, 1.0), (50, 50, 1.0), (36, 120, 2.0), (99, 330, 2.0)]
)
def test_paced_recruits_as_often_as_it_says_and_ever_closer(count, of, power):
    steps = np.flatnonzero(replay(moments.Paced(count, of, power), [0.0] * of))
    assert len(steps) == count
    gaps = np.diff(steps)
    if power == 1.0 and count > 1:
        assert np.ptp(gaps) <= 1
    elif count > 1:
        assert gaps[: len(gaps) // 2].mean() >= gaps[len(gaps) // 2 :].mean()


@pytest.mark.parametrize("high", [True, False])
def test_ranked_recruits_as_often_as_it_says_where_the_signal_is_extreme(high):
    values = np.random.default_rng(0).normal(size=300)
    asked = moments.Ranked("hardness", 90, 300, high)
    chosen = np.array(replay(asked, [0.0] * 300, {"hardness": values.tolist()}))
    assert abs(chosen.sum() - 90) <= 1
    gap = values[chosen].mean() - values[~chosen].mean()
    assert gap > 1.5 if high else gap < -1.5


def a_job(host: str, seeds: tuple[int, ...] = (0, 1, 2), task: str = "wines") -> dual_moments.Job:
    return dual_moments.Job(host, task, "at random", "replace", seeds)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("coupling", moments.COUPLINGS)
def test_seeds_side_by_side_learn_what_the_trainer_teaches_each(host, coupling):
    job, steps, rule = a_job(host), 6, moments.COUPLINGS[coupling]
    pair, histories = dual_moments.pair_of(job, rule), [History() for _ in job.seeds]
    conditions = [CountMatched(3, steps, seed) for seed in job.seeds]
    for x, y in dual_moments.batches(job, 0):
        asked = [condition(history) for condition, history in zip(conditions, histories, strict=True)]
        for history, loss, motivated in zip(histories, pair.step(torch.tensor(asked), x, y), asked, strict=True):
            history.add_step(float(loss), motivated)
    split = dual_moments.data_of(job.task)
    for seed, condition in zip(job.seeds, conditions, strict=True):
        base, large, weights = newborn(host, split, 4, seed)
        trainer = DualModelTrainer(base, large, weights, condition, coupling=rule, seed=seed)
        report = trainer.fit(data.Shuffled(split.x, split.y, 16), 1, progress=False)
        assert report.history.motivated == histories[seed].motivated
        assert report.history.losses == pytest.approx(histories[seed].losses, abs=1e-4)
        assert report.cost.macs == pair.costs[seed]
        trainer.sync()
        pair.up(torch.arange(len(job.seeds)))
        for net, stack in ((base, pair.base), (large, pair.large)):
            for own, many in zip(net.model.parameters(), stack.weights, strict=True):
                torch.testing.assert_close(own.detach(), many[seed], atol=1e-3, rtol=0)


def test_hardness_and_agreement_are_the_loss_and_the_cosine_of_each_base():
    job, split = a_job("snntorch", (0, 3)), data.wines()
    stack, histories = dual_moments.pair_of(job, moments.COUPLINGS["replace"]).base, [History(), History()]
    batch, other = (split.x[:16], split.y[:16]), (split.x[16:32], split.y[16:32])
    many = [(x.expand(2, *x.shape), y.expand(2, *y.shape)) for x, y in (batch, other)]
    hard = [one["hardness"] for one in moments.hardness(stack)(histories, *many[0])]
    measure = moments.agreement(stack)
    found = [[one["agreement"] for one in measure(histories, *each)] for each in many]
    for place, seed in enumerate(job.seeds):
        base, _, _ = newborn("snntorch", split, 4, seed)
        weights = list(base.model.parameters())
        first, second = (
            torch.cat([g.flatten() for g in torch.autograd.grad(base.loss(b), weights)]) for b in (batch, other)
        )
        assert hard[place] == pytest.approx(base.evaluate([batch]).loss, abs=1e-5)
        assert found[0][place] == pytest.approx(1.0, abs=1e-5)
        cosine = float(first @ second / (first.norm() * second.norm()))
        assert found[1][place] == pytest.approx(cosine, abs=1e-5)


def test_each_bright_pixel_fires_once_and_the_brighter_the_sooner():
    spikes = data.first_spikes(torch.tensor([[1.0, 0.5, data.DARK, 0.1, 0.0]]))
    assert spikes.sum(1).tolist() == [[1, 1, 1, 0, 0]]
    assert spikes.argmax(1)[0, :3].tolist() == [0, 5, 7]  # (1 − brightness) / 0.75 · 7, rounded


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", sorted(set(data.TASKS) - {"mnist1d"}))
def test_every_task_is_real_unseen_and_runs_on_both_hosts(name, host):
    task = data.TASKS[name]
    split = task.data()
    seen = {tuple(row) for row in split.x.flatten(1).tolist()}
    assert sum(tuple(row) in seen for row in split.unseen_x.flatten(1).tolist()) <= 0.05 * len(split.unseen_x)
    assert set(split.y.tolist()) == set(split.unseen_y.tolist())
    base, large, _ = newborn(host, split, task.hidden, 0)
    assert show(large.model, split.x[:5]).shape == (5, len(set(split.y.tolist())))
    assert base.train((split.x[:5], split.y[:5])) > 0


def lines() -> list[dict]:
    """Two seeds of a task, each net alone and both together, told at random order."""
    alone = [
        {"host": "h", "task": "t", "seed": seed, "moment": f"{net} alone", "coupling": "", "curve": curve}
        for seed in (0, 1)
        for net, curve in (
            ("base", [[10, 100, 0.2], [20, 200, 0.4], [40, 400, 0.8]]),
            ("large", [[10, 400, 0.5], [20, 800, 0.9]]),
        )
    ]
    names = {"host": "h", "task": "t", "coupling": "replace", "share": 0.3, "macs": 300}
    dual = [
        {**names, "seed": seed, "moment": moment, "base": 0.5 + gain * seed, "motivated": 0.7}
        for seed in (1, 0)
        for moment, gain in (("spaced", 0.1), ("at random", 0.0))
    ]
    return dual + alone


def test_runs_are_paired_by_seed_and_read_at_equal_steps_and_compute(tmp_path):
    tables.save(lines(), tmp_path / "d.json")
    arm = tables.load(tmp_path / "d.json")["h", "t", "replace", "spaced"]
    assert arm["seed"] == [0, 1] and arm["base"] == [0.5, 0.6]
    assert arm["base, equal steps"] == [0.4, 0.4] and arm["base, equal compute"] == [0.6, 0.6]
    assert arm["large, equal compute"] == [0.5, 0.5] and arm["large, equal steps"] == [0.9, 0.9]
    assert arm["compute"] == [0.375, 0.375]
    assert tables.difference(arm["base"], arm["base, equal steps"]) == "**+.150 ± .050**"
    assert tables.value(arm["base"]) == ".550 ± .050"


@pytest.fixture(scope="module")
def arms():
    return tables.load()


def test_the_page_shows_the_tables_of_what_was_measured(arms):
    page = tables.PAGE.read_text(encoding="utf-8")
    for name, text in tables.pages(arms).items():
        assert f"<!-- {name} -->\n\n{text}\n\n<!-- /{name} -->" in page, f"run benchmarks/moments_tables.py: {name}"


def signs(pairs) -> list[int]:
    """For each task, whether one net is beyond two standard errors above (1) or below (−1) another of the same seed."""
    return [tables.beyond(Estimate.of(np.subtract(*pair).tolist())) for pair in pairs]


def test_what_the_page_says_of_couplings_is_what_was_measured(arms):
    def beside(coupling: str, moment: str, net: str, other: str, host: str = "snntorch") -> list[int]:
        found = [arms[host, task, coupling, moment] for task in tables.TASKS]
        assert all(arm["seed"] == list(range(10)) for arm in found)
        return signs((arm[net], arm[other]) for arm in found)

    taught, papers = ("teach", "at random"), ("replace", "loss fell twice")
    assert beside(*taught, "base", "base, equal steps") == [1] * 6
    assert -1 not in beside(*taught, "motivated", "large, equal compute")
    assert beside(*taught, "motivated", "base, equal compute").count(-1) == 5
    assert beside(*papers, "base", "base, equal steps").count(-1) == 4
    norse = beside(*taught, "base", "base, equal steps", "norse")
    assert (norse.count(1), norse.count(-1)) == (4, 0)
    norse = beside(*taught, "motivated", "large, equal compute", "norse")
    assert (norse.count(1), norse.count(-1)) == (1, 2)
    for coupling in ("base too", "distill"):
        assert beside(coupling, "at random", "base", "base, equal steps").count(1) == 4
    late = beside("teach", "last block", "motivated", "large, equal compute")
    assert sum(late) <= sum(beside(*taught, "motivated", "large, equal compute"))
    assert beside("replace", "first block", "motivated", "base").count(-1) == 3
    for names in (taught, papers):
        assert 1 not in beside(*names, "base", "base, equal compute")
        assert 1 not in beside(*names, "motivated", "large, equal steps")


@pytest.mark.parametrize(
    ("moment", "large", "base"),
    [
        ("loss fell twice", (1, 0), (0, 0)), ("first block", (0, 6), (1, 0)), ("last block", (4, 0), (0, 3)),
        ("ever closer", (3, 0), (0, 0)), ("affect", (3, 0), (0, 1)),
        ("seeking", (2, 0), (0, 0)), ("refreshed", (2, 0), (0, 0)),
        ("hard batches", (2, 0), (0, 0)),
    ],
)  # fmt: skip
def test_what_the_page_says_of_moments_is_what_was_measured(arms, moment, large, base):
    for net, expected in (("motivated", large), ("base", base)):
        found = signs(tables.against_chance(arms, "snntorch", task, "replace", moment, net) for task in tables.TASKS)
        assert (found.count(1), found.count(-1)) == expected
