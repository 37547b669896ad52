"""The page of a trial shows what happened: spikes, e of every step, the third factor, weights, steps and resets."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import nn

from snn_plasticity import Connection, EligibilityConfig, PlasticityConfig, PlasticityLearner, plot
from snn_plasticity.plot.spike_image import SpikeImage

STEPS, BATCH, SIZES = 60, 3, (7, 6, 4)
LEARNED, FORGOTTEN = (20, 40, 60), 30


@pytest.fixture(scope="module")
def lived():
    """Sixty steps of two layers, learned from three times and forgotten once; and e and w as they were after each."""
    torch.manual_seed(0)
    config = PlasticityConfig(eligibility=EligibilityConfig(kernel="stdp_pair", tau_e=30.0, clamp_range=None))
    layers = [Connection(f"fc{k}", nn.Linear(SIZES[k - 1], SIZES[k]), config=config) for k in (1, 2)]
    learner = PlasticityLearner(layers)
    chosen = {"fc1": [(0, 0)], "fc2": [(0, 1), (3, 5), (2, 2)]}
    record = learner.record(synapses=chosen)
    spikes = [torch.rand(STEPS, BATCH, n) < 0.2 for n in SIZES]
    e, w, factor = [], [layers[1].weight.detach().clone()], torch.tensor([0.5, -1.0, 0.25])
    for t in range(STEPS):
        for k, layer in enumerate(layers):
            layer.observe(spikes[k][t].float(), spikes[k + 1][t].float())
        e.append(layers[1].eligibility.clone())
        if t + 1 in LEARNED:
            learner.step(factor)
            w.append(layers[1].weight.detach().clone())
        if t + 1 == FORGOTTEN:
            learner.reset()
    return SimpleNamespace(record=record, spikes=spikes, e=torch.stack(e), w=w, chosen=chosen["fc2"], factor=factor)


def fired(ax):
    """(time, neuron) of every tick."""
    return {(a[0], round((a[1] + b[1]) / 2)) for a, b in ax.collections[0].get_segments()}


def lines(ax):
    return {line.get_label(): line for line in ax.lines if line.get_label()[0] != "_"}


def test_all_layers_are_on_the_page_with_their_spikes(lived):
    drawn = plot.trial(lived.record, Figure(), sample=1)
    assert list(drawn) == ["input", "fc1", "fc2", "eligibility", "modulators", "changes"]
    for name, spikes in zip(("input", "fc1", "fc2"), lived.spikes, strict=True):
        assert fired(drawn[name]) == {(float(t), n) for t, n in spikes[:, 1].nonzero().tolist()}
    assert drawn["fc1"].get_ylabel() == "fc1 (6)"


def test_e_is_that_of_every_step(lived):
    """Drawn half a step after each step, as it was then in the learner; also behind a reset."""
    drawn = plot.trial(lived.record, Figure(), sample=2)
    found = lines(drawn["eligibility"])
    assert list(found) == ["0 ← 1", "3 ← 5", "2 ← 2"]
    for line, (post, pre) in zip(found.values(), lived.chosen, strict=True):
        assert line.get_xdata() == pytest.approx(np.arange(STEPS) + 0.5)
        assert line.get_ydata() == pytest.approx(lived.e[:, 2, post, pre].numpy(), abs=1e-5)


def test_weights_are_drawn_as_they_changed_and_factors_as_they_came(lived):
    drawn = plot.trial(lived.record, Figure(), sample=2)
    for line, (post, pre) in zip(lines(drawn["changes"]).values(), lived.chosen, strict=True):
        expected = [float((w - lived.w[0])[post, pre]) for w in lived.w]
        assert line.get_xdata() == pytest.approx([-0.5, *(t - 0.5 for t in LEARNED)])
        assert line.get_ydata() == pytest.approx(expected, abs=1e-6)
    (factor,) = lines(drawn["modulators"]).values()
    assert factor.get_label() == "third factor"
    assert factor.get_ydata() == pytest.approx(3 * [float(lived.factor[2])])


def test_steps_of_the_learner_and_resets_are_marked_in_every_panel(lived):
    drawn = plot.trial(lived.record, Figure())
    for ax in drawn.values():
        upright = [line for line in ax.lines if len(set(line.get_xdata())) == 1 and list(line.get_ydata()) == [0, 1]]
        marks = {line.get_linestyle(): [] for line in upright}
        for line in upright:
            marks[line.get_linestyle()].append(line.get_xdata()[0])
        assert marks == {":": [t - 0.5 for t in LEARNED], "--": [FORGOTTEN - 0.5]}
    assert len({ax.get_xlim() for ax in drawn.values()}) == 1
    texts = [text.get_text() for text in drawn["input"].get_legend().get_texts()]
    assert texts == ["step of the learner", "reset"]


def test_a_part_of_the_time_in_another_unit(lived):
    drawn = plot.trial(lived.record, Figure(), since=25, until=45, dt=2.0, unit="ms")
    times = {when for when, _ in fired(drawn["input"])}
    assert min(times) >= 50.0 and max(times) <= 88.0
    assert min(line.get_xdata().min() for line in lines(drawn["eligibility"]).values()) >= 49.0
    assert drawn["changes"].get_xlabel() == "time (ms)"
    assert drawn["input"].get_xlabel() == ""


def test_the_synapses_with_the_largest_e_are_shown(lived):
    drawn = plot.trial(lived.record, Figure(), most=2)
    size = {index: float(lived.e[:, 0, index[0], index[1]].abs().max()) for index in lived.chosen}
    largest = sorted(size, key=size.__getitem__)[-2:]
    assert set(lines(drawn["eligibility"])) == {f"{post} ← {pre}" for post, pre in largest}
    assert [x.get_color() for x in lines(drawn["eligibility"]).values()] == [
        x.get_color() for x in lines(drawn["changes"]).values()
    ]


def test_another_layer_and_axes_of_ones_own(lived):
    panels = dict(zip(("input", "fc1", "eligibility", "changes"), Figure().subplots(4), strict=True))
    drawn = plot.trial(lived.record, {**panels, "fc2": None, "modulators": None}, layer="fc1")
    assert drawn == panels
    assert list(lines(drawn["eligibility"])) == ["0 ← 0"]


def test_a_factor_of_each_neuron_is_drawn_of_the_neurons_of_the_drawn_synapses():
    learner = PlasticityLearner([Connection("fc", nn.Linear(3, 4))])
    record = learner.record(synapses={"fc": [(3, 0), (1, 2), (3, 2)]})
    given = torch.tensor([[5.0, 0.3, -8.0, -0.7]])
    given[0, 2] -= given.sum()  # on average nothing, as an actor's
    for _ in range(4):
        learner.connections["fc"].observe(torch.ones(1, 3), torch.ones(1, 4))
        learner.step(given)
    drawn = plot.trial(record, Figure())
    found = lines(drawn["modulators"])
    assert {name: line.get_ydata().tolist() for name, line in found.items()} == {
        f"neuron {k}": pytest.approx(4 * [float(given[0, k])]) for k in (3, 1)
    }
    synapse = lines(drawn["changes"])
    for name, first in (("neuron 3", "3 ← 0"), ("neuron 1", "1 ← 2")):
        assert found[name].get_color() == synapse[first].get_color()
    assert drawn["modulators"].get_legend().get_title().get_text() == "third factor of"
    assert drawn["modulators"].get_ylabel() == "third factor"
    assert list(lines(plot.trial(record, Figure(), synapses=[(1, 2)])["modulators"])) == ["neuron 1"]


def test_synapses_are_chosen_and_named_and_spikes_have_colours(lived):
    names = {(2, 2): "dark", (0, 1): "bright"}
    colors = {"input": "#666666", "fc2": ["#0072B2", "#E69F00", "#222222", "#222222"]}
    drawn = plot.trial(lived.record, Figure(), synapses=names, colors=colors)
    assert list(lines(drawn["eligibility"])) == list(lines(drawn["changes"])) == ["dark", "bright"]
    for line, (post, pre) in zip(lines(drawn["eligibility"]).values(), names, strict=True):
        assert line.get_ydata() == pytest.approx(lived.e[:, 0, post, pre].numpy(), abs=1e-5)
    ticks = drawn["fc2"].collections[0]
    rows = [round(float(segment[:, 1].mean())) for segment in ticks.get_segments()]
    assert [to_hex(color).upper() for color in ticks.get_colors()] == [colors["fc2"][row] for row in rows]
    assert {to_hex(color) for color in drawn["input"].collections[0].get_colors()} == {"#666666"}


def test_a_part_may_begin_at_nought_and_its_weights_too(lived):
    drawn = plot.trial(lived.record, Figure(), since=25, until=55, start=0.0, dt=2.0)
    shown = lived.spikes[2][25:55, 0].nonzero().tolist()
    assert fired(drawn["fc2"]) == {(2.0 * t, n) for t, n in shown}
    for line, (post, pre) in zip(lines(drawn["changes"]).values(), lived.chosen, strict=True):
        assert line.get_xdata() == pytest.approx([-1.0, 29.0, 59.0])  # the begin, the step after 15, the end
        moved = float((lived.w[2] - lived.w[1])[post, pre])
        assert line.get_ydata() == pytest.approx([0.0, moved, moved], abs=1e-6)


def test_numbers_are_drawn_as_an_image_and_large_layers_as_ink():
    rng = np.random.default_rng(0)
    given = {"spikes": {"current": rng.random((30, 5)), "many": rng.random((30, 900)) < 0.1}}
    drawn = plot.trial(given, Figure())
    assert np.array_equal(np.asarray(drawn["current"].images[0].get_array()), given["spikes"]["current"].T)
    assert any(isinstance(artist, SpikeImage) for artist in drawn["many"].get_children())


def test_plain_arrays_are_drawn_like_a_record():
    e, w = torch.randn(30, 3), torch.randn(30, 3)
    given = {"spikes": {"input": torch.eye(30)}, "eligibility": e, "changes": w, "modulators": {"DA": torch.eye(30)[9]}}
    drawn = plot.trial({**given, "steps": [9.5], "resets": [], "synapses": ["a", "b", "c"]}, Figure())
    assert list(drawn) == ["input", "eligibility", "modulators", "changes"]
    for name, values in (("eligibility", e), ("changes", w)):
        assert [line.get_label() for line in lines(drawn[name]).values()] == ["a", "b", "c"]
        found = np.stack([line.get_ydata() for line in lines(drawn[name]).values()], 1)
        assert found == pytest.approx(values.numpy())
    assert list(lines(drawn["modulators"])) == ["dopamine"]


def test_modulators_that_stay_at_zero_are_left_out():
    levels = {"DA": np.ones(9), "ACh": np.zeros(9)}
    drawn = plot.trial({"spikes": {"input": np.eye(9)}, "modulators": levels}, Figure())
    assert list(lines(drawn["modulators"])) == ["dopamine"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sample": 3}, "sample = 3; 3 samples are recorded"),
        ({"layer": "fc3"}, "layer = 'fc3'; expected a recorded layer: fc1, fc2"),
        ({"since": 100}, "leave no step; the steps that were kept are 0 to 59"),
        ({"most": 0}, "most = 0; expected"),
        ({"dt": 0}, "dt = 0; expected"),
        ({"synapses": [(0, 1), (1, 1)]}, r"synapses has \(1, 1\); the record kept \(0, 1\), \(3, 5\), \(2, 2\) of fc2"),
        ({"colors": {"fc9": "red"}}, "colors has 'fc9'; expected names among 'input', 'fc1', 'fc2'"),
        ({"colors": {"fc2": ["red"]}}, "colors has 1 entries"),
        ({"where": {"input": None}}, "expected 'fc1', 'fc2', 'eligibility', 'modulators', 'changes' too"),
    ],
)
def test_what_is_not_in_the_record_is_answered_with_a_sentence(lived, change, message):
    with pytest.raises(ValueError, match=message):
        plot.trial(lived.record, **{"where": Figure(), **change})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"spikes": {}}, "record has no spikes; expected"),
        ({"volts": [1.0]}, r"record has the names \['volts'\]; expected 'spikes'"),
        ({"eligibility": np.ones((4, 2))}, "have the steps {'input': 5, 'eligibility': 4}"),
        ({"eligibility": np.ones((5, 2)), "synapses": ["a"]}, r"record has 1 synapses, and lines of \[2\]"),
        ({"modulators": {"DA": [np.nan] * 5}}, "holds NaN"),
    ],
)
def test_arrays_that_do_not_fit_are_answered_with_a_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        plot.trial({"spikes": {"input": np.eye(5)}, **change}, Figure())


def test_a_record_of_nothing_says_so():
    learner = PlasticityLearner([Connection("fc", nn.Linear(2, 1))])
    with pytest.raises(ValueError, match="fc has observed no step since the record began; run the model first"):
        plot.trial(learner.record(), Figure())
    with pytest.raises(TypeError, match="expected what learner.record"):
        plot.trial(learner, Figure())
