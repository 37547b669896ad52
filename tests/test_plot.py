"""What is drawn is what was given: every spike, every line, every colour; and no plot touches another's figure."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib import colors as mcolors
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from snn_plasticity.plot import (
    affect,
    eligibility,
    family,
    filters,
    learning_curve,
    membrane,
    modulators,
    raster,
    rates,
    stdp_window,
    traces,
    weights,
)
from snn_plasticity.plot.canvas import CYCLE

plt.switch_backend("Agg")


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture(autouse=True)
def _no_figure_left():
    plt.close("all")
    yield
    plt.close("all")


def ticks(ax):
    """(time, neuron) of every tick of a raster."""
    return [(float(start[0]), float((start[1] + end[1]) / 2)) for start, end in ax.collections[0].get_segments()]


def test_raster_has_one_tick_for_each_spike_where_and_when_it_was(ax):
    spikes = (torch.rand(40, 7, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    raster(spikes, ax, dt=0.5, start=10.0, unit="ms")
    expected = [(10.0 + 0.5 * t, float(n)) for t, n in spikes.nonzero().tolist()]
    assert sorted(ticks(ax)) == expected
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ms)", "neuron")


def test_raster_colours_follow_the_neuron(ax):
    raster([[1, 0, 1], [0, 1, 0]], ax, colors=["red", "green", "blue"])
    drawn = {neuron: tuple(color) for (_, neuron), color in zip(ticks(ax), ax.collections[0].get_colors(), strict=True)}
    assert drawn == {n: mcolors.to_rgba(c) for n, c in enumerate(["red", "green", "blue"])}


def test_raster_of_silence_still_shows_all_time_and_all_neurons(ax):
    raster(torch.zeros(20, 5), ax)
    assert ticks(ax) == []
    assert ax.get_xlim() == (-0.5, 19.5)
    assert ax.get_ylim()[0] < 0 < 4 < ax.get_ylim()[1]


def test_raster_takes_any_spikes(ax):
    one = torch.eye(3)
    for spikes in (one.bool(), one.bfloat16(), one.to_sparse(), np.eye(3, dtype=int)):
        assert len(ticks(raster(spikes, Figure().subplots()))) == 3
    assert ticks(raster(torch.tensor([[0.0, -3.0]], requires_grad=True), ax)) == [(0.0, 1.0)]


def test_traces_draw_every_value(ax):
    values = torch.rand(12, 3)
    traces(values, ax, dt=2.0, unit="ms", labels=["a", "b", "c"], ylabel="v (mV)")
    assert [line.get_label() for line in ax.lines] == ["a", "b", "c"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "c"]
    for k, line in enumerate(ax.lines):
        assert line.get_xdata() == pytest.approx(2.0 * np.arange(12))
        assert line.get_ydata() == pytest.approx(values[:, k].numpy())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ms)", "v (mV)")


def test_more_traces_than_colours_start_over(ax):
    traces(torch.rand(2, len(CYCLE) + 1), ax)
    assert ax.lines[0].get_color() == ax.lines[-1].get_color() != ax.lines[1].get_color()


def test_one_trace_has_no_legend(ax):
    assert traces([1.0, 2.0], ax).get_legend() is None


def test_each_modulator_keeps_its_colour_whatever_else_is_drawn():
    alone = modulators({"NE": [0.0, 1.0]}, Figure().subplots())
    both = modulators({"DA": [0.0, 1.0], "NE": [0.5, 0.5]}, Figure().subplots())
    line = {line.get_label(): line for line in both.lines}
    assert line["norepinephrine"].get_color() == alone.lines[1].get_color() != line["dopamine"].get_color()
    assert line["dopamine"].get_ydata().tolist() == [0.0, 1.0]


def test_weights_are_white_at_zero_and_symmetric(ax):
    values = torch.tensor([[0.0, 1.0, -3.0]])
    weights(values, ax)
    image = ax.images[0]
    assert image.get_array().tolist() == values.tolist()
    assert image.get_clim() == (-3.0, 3.0)
    white = image.cmap(image.norm(0.0))
    assert min(white[:3]) > 0.95
    assert len(ax.figure.axes) == 2  # the scale stands beside it
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("pre neuron", "post neuron")


def test_weights_of_zero_and_a_given_limit():
    assert weights(torch.zeros(2, 2), Figure().subplots()).images[0].get_clim() == (-1.0, 1.0)
    bare = weights(torch.ones(2, 2), Figure().subplots(), limit=0.5, colorbar=False)
    assert bare.images[0].get_clim() == (-0.5, 0.5)
    assert len(bare.figure.axes) == 1


def test_learning_curve_over_runs_is_their_mean_and_standard_error(ax):
    runs = np.array([[0.1, 0.5, 0.9], [0.3, 0.7, 0.7], [0.2, 0.6, 0.8]])
    learning_curve({"rule": runs}, ax, x=[0, 10, 20], chance=0.1, xlabel="digits seen")
    assert ax.lines[0].get_xdata().tolist() == [0, 10, 20]
    assert ax.lines[0].get_ydata() == pytest.approx([0.2, 0.6, 0.8])
    band = ax.collections[0].get_paths()[0].vertices
    error = 0.1 / np.sqrt(3)
    assert {round(y, 6) for x, y in band if x == 10} == {round(0.6 - error, 6), round(0.6 + error, 6)}
    assert ax.lines[1].get_ydata() == [0.1, 0.1]
    assert ax.get_xlabel() == "digits seen"


def test_curves_differ_in_colour_and_in_dashes(ax):
    learning_curve({name: [0.0, 1.0] for name in "abcdef"}, ax)
    assert len({line.get_color() for line in ax.lines}) == 6
    assert len({str(line._dash_pattern) for line in ax.lines}) == 6


def two_nets(losses, ax=None):
    return family(losses, [0, 1], ax)


DRAWN = {
    raster: np.eye(3),
    traces: np.eye(3),
    modulators: {"DA": np.ones(3)},
    weights: np.eye(3),
    learning_curve: {"rule": np.ones(3)},
    affect: np.eye(3),
    eligibility: np.eye(3),
    two_nets: [1.0, 2.0],
    filters: np.ones((2, 1, 3, 3)),
    membrane: np.eye(3),
    rates: {"fc": np.eye(3)},
    stdp_window: "rate",
}
each = pytest.mark.parametrize("plot", DRAWN, ids=lambda plot: plot.__name__)


@each
def test_given_axes_leave_pyplot_alone(plot, ax):
    assert plot(DRAWN[plot], ax) is ax
    assert plt.get_fignums() == []


@each
def test_without_axes_there_is_one_new_figure(plot):
    other = plt.figure()
    ax = plot(DRAWN[plot])
    assert ax.figure is not other
    assert not other.axes
    assert len(plt.get_fignums()) == 2


@each
def test_what_is_given_stays_as_it_was(plot, ax):
    given = copy.deepcopy(DRAWN[plot])
    plot(given, ax)
    np.testing.assert_equal(given, DRAWN[plot])


@each
def test_axes_that_are_none(plot):
    with pytest.raises(TypeError, match="ax is a str; expected matplotlib axes"):
        plot(DRAWN[plot], "axes")


BAD = {
    "three axes": (raster, torch.ones(4, 2, 3), {}, r"shape \(4, 2, 3\); expected \(T, N\). Choose one sample"),
    "one axis": (raster, torch.ones(4), {}, r"spikes has shape \(4,\); expected \(T, N\)"),
    "nothing": (raster, torch.ones(0, 3), {}, "is empty; expected at least one value"),
    "nan": (traces, [1.0, float("nan")], {}, "values holds NaN or infinity"),
    "dt": (raster, torch.ones(2, 2), {"dt": 0.0}, "dt = 0.0; expected a number"),
    "colours": (raster, torch.ones(2, 3), {"colors": ["red"]}, "colors has 1 entries .*; expected a list of 3"),
    "labels": (traces, torch.ones(2, 3), {"labels": "abc"}, "labels has one string .*; expected a list of 3"),
    "scalar": (traces, 1.0, {}, r"shape \(\); expected \(T,\) or \(T, K\)"),
    "lengths": (modulators, {"DA": [1.0], "NE": [1.0, 2.0]}, {}, "lengths {'DA': 1, 'NE': 2}"),
    "no levels": (modulators, {}, {}, "expected at least one"),
    "level": (modulators, {"DA": [[1.0]]}, {}, r"levels\['DA'\] has shape \(1, 1\)"),
    "limit": (weights, torch.ones(2, 2), {"limit": 0.0}, "limit = 0.0; expected"),
    "vector": (weights, torch.ones(2), {}, r"expected \(N_post, N_pre\)"),
    "points": (learning_curve, {"a": [1.0], "b": [1.0, 2.0]}, {}, r"numbers of points {'a': 1, 'b': 2}; expected 1"),
    "x": (learning_curve, {"a": [1.0, 2.0]}, {"x": [1.0]}, "expected 1 each, as many as x"),
}


@pytest.mark.parametrize("plot, values, options, message", BAD.values(), ids=BAD)
def test_bad_values_are_answered_with_a_sentence_and_nothing_is_drawn(plot, values, options, message, ax):
    with pytest.raises(ValueError, match=message):
        plot(values, ax, **options)
    assert not ax.lines
    assert not ax.collections
    assert not ax.images


@pytest.mark.parametrize(
    "plot, values, message",
    [
        (raster, [["a"]], "spikes holds <U1 values; expected"),
        (traces, torch.ones(3, dtype=torch.complex64), "values holds complex64 values"),
        (modulators, [1.0], "levels is a list; expected a mapping"),
        (learning_curve, [1.0], "expected a mapping of names"),
        (learning_curve, {}, "expected a mapping of names"),
    ],
)
def test_what_is_no_number_or_no_mapping(plot, values, message, ax):
    with pytest.raises(TypeError, match=message):
        plot(values, ax)


def test_the_package_does_not_import_matplotlib_and_its_plots_not_pyplot():
    code = (
        "import sys, snn_plasticity; assert 'matplotlib' not in sys.modules;"
        "import snn_plasticity.plot; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
