"""Why a weight moved: rows add up to what it did, and each says what its two spikes did."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch
from conftest import layer_and_trains
from torch import nn

from snn_plasticity import (
    Connection,
    Convention,
    EligibilityConfig,
    PlasticityConfig,
    PlasticityLearner,
    ThreeFactorConfig,
    attach,
    plot,
)
from snn_plasticity.explain import explain
from snn_plasticity.explain.uses import uses_of
from snn_plasticity.layers.synapses import geometry_of

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
import explained as scenes  # noqa: E402

LR = 0.02


def of_pair(pre, post, factors, *, kernel="stdp_pair", trace="accumulating", resets=(), weight=0.3, **changes):
    """One synapse between two neurons: spikes at these steps, and a third factor after those."""
    eligibility = scenes.settings(kernel, trace, changes.pop("convention", None), **changes)
    layer = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.fill_(weight)
    connection = Connection("fc", layer, config=scenes.learns(eligibility, lr=LR))
    learner = PlasticityLearner([connection])
    learner.record()
    for step in range(max(factors) + 1):
        spikes = [torch.tensor([[float(step in side)]], dtype=torch.float64) for side in (pre, post)]
        connection.observe(*spikes)
        if step in factors:
            learner.step(factors[step])
        if step in resets:
            learner.reset()
    return learner


def thinned(cases, every):
    return list(itertools.islice(cases, every // 3, None, every))


@pytest.mark.filterwarnings("ignore::snn_plasticity.PlasticityWarning")  # places that hear the mean of their channel
@pytest.mark.parametrize("part, every", [(scenes.matrix, 259), (scenes.layers, 11), (scenes.bounds, 61)])
def test_rows_add_up_to_what_the_weight_did(part, every):
    """The whole of it is played by benchmarks/explained.py."""
    moved = 0
    for name, scene in thinned(part(), every):
        found = scenes.explained(scene)
        assert abs(found.difference) <= scenes.WORST and found.adds_up, (name, scene.config, scene.path)
        moved += abs(found.measured) > 1e-5
    assert moved >= 3


@pytest.mark.parametrize("name, scene", list(dict(scenes.bounds(["stdp_pair"], ["accumulating"])).items()))
def test_every_bound_clamp_and_mask_adds_up(name, scene):
    found = scenes.explained(scene)
    assert abs(found.difference) <= scenes.WORST and found.adds_up
    causes = {other.cause for other in found.others}
    rows = {"mask": "mask", "mask of zero": "mask", "norm": "bounds", "sums": "bounds", "own bounds": "bounds"}
    rows |= {"reduce": "reduce", "record begins in mid-sequence": "remembered"}
    assert causes >= ({rows[name]} if name in rows else set())
    if name in ("weight_clamp", "hard bounds", "soft bounds"):
        assert found.columns["bounds"].min() < 1.0 <= 1.0 + found.columns["bounds"].min()


@pytest.mark.parametrize("host, kernel", [("snnTorch", "stdp_triplet"), ("snnTorch", "EProp"), ("Norse", "stdp_pair")])
def test_every_layer_of_a_net_adds_up(host, kernel):
    eligibility = dict(scenes.eligibilities("accumulating", Convention()))[kernel]
    found = list(scenes.of_net(host, eligibility))
    assert max(abs(one.difference) for one in found) <= scenes.WORST and all(one.adds_up for one in found)
    assert sum(abs(one.measured) > 1e-6 for one in found) > len(found) // 2
    assert len({one.layer for one in found}) == 4


def test_two_spikes_by_hand():
    """Pre at 3, post at 5, dopamine after 9: A₊ exp(−2/τ₊) · (1 − 1/τ_e)⁴ · lr."""
    learner = of_pair([3], [5], {9: 2.0})
    (row,) = learner.explain("fc", 0, 0)
    assert (row.sample, row.place, row.pre_step, row.post_step, row.dt, row.step) == (0, 0, 3, 5, 2, 10)
    assert row.coincidence == pytest.approx(0.8 * math.exp(-2 / 7))
    assert row.trace == pytest.approx((1 - 1 / 15) ** 4) and row.gate == pytest.approx(2.0 * LR) and row.bounds == 1.0
    assert row.change == pytest.approx(row.coincidence * row.trace * row.gate)
    assert learner.explain("fc", 0, 0).measured == pytest.approx(row.change)


@pytest.mark.parametrize("lag, normalize", [(0, False), (0, True), (1, False), (1, True)])
def test_four_spikes_by_hand(lag, normalize):
    """Every pair of a pre and a post spike, and nothing else, with what the convention leaves of it."""
    convention = Convention(lag=lag, normalize_trace=normalize, eligibility_decay="exponential")
    learner = of_pair([2, 7], [4, 8], {10: 1.0}, convention=convention)
    found = {(row.pre_step, row.post_step): row for row in learner.explain("fc", 0, 0)}
    after = {(2, 4): 2, (2, 8): 6, (7, 8): 1}
    before = {(7, 4): 3}
    assert found.keys() == after.keys() | before.keys()
    for pair, apart in (after | before).items():
        sign, tau = (0.8, 7.0) if pair in after else (-1.1, 11.0)
        kept = math.exp(-(10 - max(pair) - lag) / 15.0) / (15.0 if normalize else 1.0)
        assert found[pair].coincidence == pytest.approx(sign * math.exp(-apart / tau))
        assert found[pair].trace == pytest.approx(kept)


def test_nearest_pairs_are_those_of_nearest_spikes():
    learner = of_pair([1, 3], [5, 6], {8: 1.0}, convention=Convention(pairing="nearest"))
    assert {(row.pre_step, row.post_step) for row in learner.explain("fc", 0, 0)} == {(3, 5), (3, 6)}


def test_a_triplet_is_its_pair_with_what_the_earlier_post_spike_made_of_it():
    found = of_pair([4], [1, 6], {7: 1.0}, kernel="stdp_triplet").explain("fc", 0, 0)
    row = next(row for row in found if row.post_step == 6)
    assert row.pre_step == 4 and row.coincidence == pytest.approx(math.exp(-2 / 7) * (0.8 + 0.6 * math.exp(-5 / 13)))


def test_a_replacing_trace_keeps_the_pairs_of_its_last_coincidence():
    found = of_pair([2, 6], [3, 6], {8: 1.0}, kernel="rate", trace="replacing").explain("fc", 0, 0)
    assert [(row.pre_step, row.post_step) for row in found] == [(6, 6)]


def test_a_clamp_takes_its_share_of_every_pair():
    free = of_pair([2, 3], [4], {4: 1.0}).explain("fc", 0, 0)
    cut = of_pair([2, 3], [4], {4: 1.0}, clamp_range=(-0.5, 0.5)).explain("fc", 0, 0)
    share = 0.5 * LR / free.measured
    assert [row.trace for row in cut] == pytest.approx([share, share])


@pytest.mark.parametrize("kernel", ["rate", "stdp_pair", "stdp_symmetric", "Window", "EProp"])
@pytest.mark.parametrize("trace", scenes.LINEAR)
def test_without_a_spike_the_weight_moves_by_so_much_less_as_its_pairs_said(kernel, trace):
    pre, post, factors = [1, 4, 6, 11], [1, 2, 6, 9, 12], {7: 0.7, 13: -1.2}
    whole = of_pair(pre, post, factors, kernel=kernel, trace=trace).explain("fc", 0, 0)
    for spike in pre:
        said = sum(row.change for row in whole if row.pre_step == spike)
        less = [one for one in pre if one != spike]
        without = of_pair(less, post, factors, kernel=kernel, trace=trace).explain("fc", 0, 0)
        assert whole.measured - without.measured == pytest.approx(said, abs=1e-12)


def test_sums_by_step_dt_sample_and_pair_are_those_of_the_rows():
    found = scenes.explained(scenes.MATRIX._replace(config=scenes.learns(scenes.settings("stdp_pair", "accumulating"))))
    rows = list(found)
    assert len(rows) == len(found) > 10
    for name in ("step", "dt", "sample"):
        sums = getattr(found, f"by_{name}")()
        for key, total in sums.items():
            assert total == pytest.approx(sum(row.change for row in rows if getattr(row, name) == key), abs=1e-12)
        assert sum(sums.values()) == pytest.approx(found.total)
    assert sum(found.by_pair().values()) == pytest.approx(found.total)
    largest = found.largest(3)
    assert len(largest) == 3 and abs(largest[0].change) == max(abs(row.change) for row in rows)
    assert found.weights[0] == found.before and found.weights[-1] == found.after


def test_an_interval_has_the_changes_of_its_steps():
    learner = of_pair([1, 6], [2, 8], {3: 1.0, 9: 1.0, 12: -1.0})
    whole, part = learner.explain("fc", 0, 0), learner.explain("fc", 0, 0, since=4, until=10)
    assert part.adds_up and part.measured == pytest.approx(whole.by_step()[10])
    assert {row.step for row in part} == {10} and (1, 2) in {(row.pre_step, row.post_step) for row in part}
    with pytest.raises(ValueError, match="no learner.step changed its weights after step 4 and up to step 6"):
        learner.explain("fc", 0, 0, since=4, until=6)


def test_what_came_before_the_record_is_a_row_of_its_own():
    connection = Connection("fc", nn.Linear(1, 1), config=scenes.learns(scenes.settings("stdp_pair", "accumulating")))
    learner, one, none = PlasticityLearner([connection]), torch.ones(1, 1), torch.zeros(1, 1)
    connection.observe(one, one)
    learner.record()
    connection.observe(none, one)
    learner.step(1.0)
    found = learner.explain("fc", 0, 0)
    remembered = {other.cause: other.change for other in found.others}
    assert remembered == {"remembered": pytest.approx(LR * 0.8 * (1 - 1 / 15))}
    (row,) = found
    assert row.pre_step is None and row.post_step == 0 and row.dt is None and found.adds_up
    assert row.coincidence == pytest.approx(0.8 * math.exp(-1 / 7)) and "before the record" in str(found)


@pytest.mark.filterwarnings("ignore::snn_plasticity.PlasticityWarning")  # places that hear the mean of their channel
@pytest.mark.parametrize("kernel", ["rate", "stdp_pair"])
def test_what_places_heard_in_mid_sequence_is_not_forgotten(kernel):
    """Rates have no kernel state, by which it could be told that something is remembered."""
    name, whole = "Conv1d, stride, groups, factor per place", scenes.learns(scenes.settings(kernel, "accumulating"))
    scene = next(scene for found, scene in scenes.layers() if found == name)
    found = scenes.explained(scene._replace(config=whole, path="plain"))
    assert found.adds_up and abs(found.difference) <= scenes.WORST and abs(found.measured) > 1e-4


@pytest.mark.parametrize("path", ["auto", "plain"])
def test_samples_that_forgot_just_before_the_record_remember_nothing(path):
    """With lag 1 the last step before the record comes to e after its beginning, but of those that remember it."""
    eligibility = scenes.settings("stdp_pair", "accumulating", Convention(lag=1))
    scene = scenes.MATRIX._replace(config=scenes.learns(eligibility), late=scenes.SOME_FORGET + 1, path=path)
    found = scenes.explained(scene)
    assert found.adds_up and abs(found.difference) <= scenes.WORST


def test_a_weight_that_was_written_from_elsewhere_is_told():
    learner = of_pair([1], [2], {3: 1.0})
    connection = learner.connections["fc"]
    with torch.no_grad():
        connection.weight.add_(0.25)
    learner.step(1.0)
    found = learner.explain("fc", 0, 0)
    assert found.adds_up and {other.cause: other.change for other in found.others} == {"elsewhere": pytest.approx(0.25)}


def test_a_ring_that_has_gone_on_goes_on_from_where_traces_are_known():
    config = scenes.learns(scenes.settings("stdp_pair", "accumulating", carry=True))
    connection = Connection("fc", nn.Linear(3, 2), config=config)
    learner = PlasticityLearner([connection])
    learner.record(steps=40, synapses={"fc": [(1, 2)]})
    pre, post = scenes.trains(200, 2, 3, seed=1), scenes.trains(200, 2, 2, seed=2)
    for step, sides in enumerate(zip(pre, post, strict=True)):
        connection.observe(*sides)
        if step % 10 == 9:
            learner.step(0.5)
    found = learner.explain("fc", 1, 2, since=185)
    assert found.adds_up and abs(found.measured) > 1e-4 and "remembered" in {other.cause for other in found.others}
    with pytest.raises(ValueError, match=r"no learner.step|no longer kept"):
        learner.explain("fc", 1, 2, since=0, until=50)


def test_batches_of_other_sizes_add_up():
    """A record that begins in mid-sequence, and goes on with larger and smaller batches."""
    connection = Connection("fc", nn.Linear(4, 3), config=scenes.learns(scenes.settings("stdp_pair", "accumulating")))
    learner = PlasticityLearner([connection])
    for number, batch in enumerate((2, 5, 3)):
        pre, post = (scenes.trains(9, batch, n, seed=n + number, rate=0.5) for n in (4, 3))
        for step, sides in enumerate(zip(pre, post, strict=True)):
            if not number and step == 3:
                learner.record(synapses={"fc": [(1, 2)]})
            connection.observe(*sides)
            if step in (4, 8):
                learner.step(torch.linspace(0.5, 1.0, batch))
        learner.reset()
    found = learner.explain("fc", 1, 2)
    assert found.adds_up and abs(found.difference) <= scenes.WORST and abs(found.measured) > 1e-3
    assert {row.sample for row in found} == set(range(5)) and "remembered" in {other.cause for other in found.others}


def test_an_interval_in_which_a_state_was_loaded_is_refused():
    learner = of_pair([1], [2], {3: 1.0})
    learner.load_state_dict(learner.state_dict())
    connection, one = learner.connections["fc"], torch.ones(1, 1, dtype=torch.float64)
    connection.observe(one, one)
    learner.step(1.0)
    with pytest.raises(ValueError, match="A saved state was loaded within the interval"):
        learner.explain("fc", 0, 0)
    assert learner.explain("fc", 0, 0, since=4).adds_up and learner.explain("fc", 0, 0, until=4).adds_up


@pytest.mark.parametrize("name", ["linear", "conv1d", "conv2d", "conv2d_same", "conv3d", "transposed"])
def test_uses_of_a_weight_are_its_hebbian_product(name):
    layer, pre, post = layer_and_trains(name)
    geometry = geometry_of(layer)
    post, pre = torch.rand_like(post[0]), torch.rand_like(pre[0])
    product = geometry.product(post, pre)
    for index in list(itertools.product(*map(range, geometry.shape)))[::5]:
        uses = uses_of(geometry, index, tuple(pre.shape[1:]), tuple(post.shape[1:]))
        found = (uses.share * post.flatten(1)[:, uses.post] * pre.flatten(1)[:, uses.pre]).sum(1)
        torch.testing.assert_close(found, product[(slice(None), *index)])


def test_a_table_dict_and_frame_say_the_same():
    found = of_pair([1, 6], [2, 8], {3: 1.0, 9: 1.0}).explain("fc", 0, 0)
    text = str(found)
    assert text.startswith("fc[0, 0] moved by +") and "The rows add up to the change of the weight" in text
    assert text.count("\n") < 20 and max(map(len, text.splitlines())) <= 100
    told = found.to_dict()
    assert told["measured"] == found.measured and len(told["pairs"]["change"]) == len(found)
    assert told["pairs"]["dt"] == [row.dt for row in found] and told["others"] == []
    frame = pytest.importorskip("pandas") and found.to_pandas()
    assert list(frame.columns) == list(found.largest(1)[0]._fields) and frame["change"].sum() == pytest.approx(
        found.total
    )


def test_pandas_is_missed_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pandas, or take to_dict"):
        of_pair([1], [2], {3: 1.0}).explain("fc", 0, 0).to_pandas()


def test_what_was_not_kept_is_said_with_how_it_would_have_been():
    config = PlasticityConfig(EligibilityConfig(kernel="stdp_pair"))
    connection = Connection("fc2", nn.Linear(9, 9), config=config)
    learner = PlasticityLearner([connection])
    with pytest.raises(ValueError, match=r"record = learner.record\(synapses=\{'fc2'"):
        learner.explain("fc2", 0, 0)
    record = learner.record(synapses={"fc2": [(1, 2)]})
    with pytest.raises(ValueError, match=r"learner.record\(synapses=\{'fc2': \[\(0, 0\)\]\}\)"):
        learner.explain("fc2", 0, 0)
    for wrong in (("fc1", 1, 2), ("fc2", 1), ("fc2", 1, 9), ("fc2", 1.0, 2), (3, 1, 2)):
        with pytest.raises(ValueError, match="expected"):
            learner.explain(*wrong)
    with pytest.raises(ValueError, match="has observed nothing since the record began"):
        learner.explain("fc2", 1, 2)
    connection.observe(torch.ones(2, 9), torch.ones(2, 9))
    with pytest.raises(ValueError, match=r"no learner.step changed its weights"):
        learner.explain("fc2", 1, 2)
    learner.step(1.0)
    record.stop()
    assert explain(record, "fc2", 1, 2).adds_up


def test_what_is_no_sum_of_spike_pairs_is_refused():
    for config, why in (
        (PlasticityConfig.online(), "gradient of a loss"),
        (PlasticityConfig(three_factor=ThreeFactorConfig(mode="hybrid")), "mode 'hybrid'"),
    ):
        connection = Connection("fc", nn.Linear(2, 2), config=config)
        learner = PlasticityLearner([connection])
        learner.record()
        with pytest.raises(ValueError, match=why):
            learner.explain("fc", 0, 0)
    connection = Connection("fc", nn.Linear(2, 2))
    learner = PlasticityLearner([connection])
    learner.record(samples=[0])
    connection.observe(torch.ones(2, 2), torch.ones(2, 2))
    learner.step(1.0)
    with pytest.raises(ValueError, match="every sample of a batch"):
        learner.explain("fc", 0, 0)
    shared = nn.Linear(2, 2)
    learner = PlasticityLearner([Connection("a", shared), Connection("b", shared)])
    learner.record()
    with pytest.raises(ValueError, match="shares its weight with b"):
        learner.explain("a", 0, 0)


def test_the_picture_shows_spikes_pairs_gate_and_weight():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    found = of_pair([1, 6], [2, 8], {3: 1.0, 9: -1.0}).explain("fc", 0, 0)
    pairs, trace, weight = plot.explanation(found, figure.subplots(3))
    ticks = [segment for line in pairs.collections[:2] for segment in line.get_segments()]
    assert sorted(segment[0][0] for segment in ticks) == [1, 2, 6, 8]
    lines = {line.get_label(): len(line.get_segments()) for line in pairs.collections[2:]}
    did = found.by_pair().values()
    assert lines == {"strengthens": sum(one > 0 for one in did), "weakens": sum(one < 0 for one in did)}
    assert pairs.get_title(loc="left").startswith("fc[0, 0], sample 0")
    (e,) = (line for line in trace.lines if len(line.get_xdata()) == 10)
    assert e.get_ydata()[-1] == pytest.approx(found.eligibility[0].e[-1])
    assert weight.lines[0].get_ydata()[-1] == found.after
    figure.draw_without_rendering()
    slower = plot.explanation(found, figure.subplots(3), dt=0.5, unit="ms")
    ticks = [segment[0][0] for line in slower[0].collections[:2] for segment in line.get_segments()]
    assert sorted(ticks) == [0.5, 1.0, 3.0, 4.0] and slower[2].get_xlabel() == "time (ms)"
    for before, after in zip((pairs, trace, weight), slower, strict=True):
        assert after.get_xlim() == pytest.approx([0.5 * edge for edge in before.get_xlim()])
    for here, there in ((trace, slower[1]), (weight, slower[2])):
        assert there.lines[0].get_xdata() == pytest.approx(0.5 * here.lines[0].get_xdata())
    assert all(tick == int(tick) for tick in weight.get_xticks())
    for wrong, why in (((found, figure.subplots(2)), "expected three"), ((3, None), "explained")):
        with pytest.raises(TypeError, match=why):
            plot.explanation(*wrong)
    with pytest.raises(ValueError, match="expected one of 0"):
        plot.explanation(found, figure.subplots(3), sample=4)
    with pytest.raises(ValueError, match="dt = 0; expected"):
        plot.explanation(found, figure.subplots(3), dt=0)


def test_nothing_is_changed_by_asking():
    """The same run with and without a record that is asked at every step."""
    weights = []
    for asks in (False, True):
        torch.manual_seed(0)
        connection = Connection("fc", nn.Linear(4, 3), config=scenes.learns(scenes.settings("stdp_pair", "replacing")))
        learner = PlasticityLearner([connection])
        learner.record(synapses={"fc": [(1, 2)]}) if asks else None
        for pre, post in zip(scenes.MATRIX.pre, scenes.MATRIX.post, strict=True):
            connection.observe(pre, post)
            learner.step(0.3)
            assert not asks or learner.explain("fc", 1, 2).adds_up
        weights.append(connection.weight.detach().clone())
    assert torch.equal(*weights)


def test_a_net_is_asked_by_the_names_of_its_layers():
    snntorch = pytest.importorskip("snntorch")
    net = nn.Sequential(nn.Linear(5, 4), snntorch.Leaky(beta=0.9, init_hidden=True))
    with torch.no_grad():
        net[0].weight.abs_()
    learner = attach(net, scenes.learns(scenes.settings("stdp_pair", "accumulating")))
    learner.record(synapses={"0": [(2, 1)]})
    for step in scenes.trains(20, 3, 5, seed=4, rate=0.6):
        net(step)
    learner.step(1.0)
    found = learner.explain("0", 2, 1)
    assert found.adds_up and abs(found.measured) > 1e-4
    learner.remove()
