"""Colours that everybody can tell apart, a second cue beside each, and legends off the data."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from snn_plasticity.neuromodulators import NEUROMODULATORS
from snn_plasticity.plot import affect, eligibility, learning_curve, modulators, raster, traces, weights
from snn_plasticity.plot.canvas import CYCLE, DASHES, FAINT, INK

# Machado, Oliveira & Fernandes 2009: linear RGB as seen without one kind of cone.
SIGHT = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def lab(color, sight="all cones"):
    """L*, a*, b* of a colour as it is seen."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(SIGHT[sight]) @ linear, 0, 1) / WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(one, other):
    """The smallest distance of two colours under any sight."""
    return min(float(np.linalg.norm(lab(one, sight) - lab(other, sight))) for sight in SIGHT)


def test_lightness_is_that_of_cielab():
    assert lab("white") == pytest.approx([100, 0, 0], abs=0.02)
    assert lab("#0000FF") == pytest.approx([32.30, 79.19, -107.86], abs=0.05)  # as tables of sRGB have it


@pytest.mark.parametrize("one, other", list(combinations((*CYCLE, INK, FAINT, "#FFFFFF"), 2)))
def test_any_two_colours_of_a_figure_stay_apart_for_every_eye(one, other):
    assert apart(one, other) > 15


def test_the_purple_and_grey_of_before_would_not_pass():
    assert apart("#CC79A7", "#9A9A9A") < 10


def test_the_first_three_colours_differ_in_print_without_colour():
    for one, other in combinations(CYCLE[:3], 2):
        assert abs(lab(one)[0] - lab(other)[0]) > 11


def test_text_in_grey_has_enough_contrast():
    luminance = ((lab(FAINT)[0] + 16) / 116) ** 3
    assert 1.05 / (luminance + 0.05) > 4.5  # WCAG 2 AA


def test_modulators_are_told_apart_by_colour_and_by_dashes():
    ax = modulators({kind.name: [0.0, 1.0] for kind in NEUROMODULATORS}, Figure().subplots())
    lines = [line for line in ax.lines if not line.get_label().startswith("_")]
    assert len({str(line._dash_pattern) for line in lines}) == len(lines) == 4
    drawn = {line.get_color() for line in ax.lines}
    assert all(apart(one, other) > 15 for one, other in combinations(drawn, 2))


def test_traces_are_told_apart_by_colour_and_by_dashes():
    ax = traces(np.ones((3, 6)), Figure().subplots())
    assert len({(line.get_color(), str(line._dash_pattern)) for line in ax.lines}) == 6
    assert len({str(line._dash_pattern) for line in ax.lines}) == len(DASHES)


RNG = np.random.default_rng(0)
T = np.arange(200)
FULL = {  # data that leave less and less room
    "rises": lambda ax: learning_curve({"rule": 1 - np.exp(-T / 30), "control": 0.1 + 0 * T}, ax, chance=0.1),
    "falls": lambda ax: learning_curve({"rule": np.exp(-T / 30), "control": 1 - 0 * T}, ax),
    "bands": lambda ax: learning_curve({n: RNG.random((5, 200)) + k for k, n in enumerate("abcdef")}, ax),
    "range": lambda ax: learning_curve({"a": RNG.random((4, 9))}, ax, band="range"),
    "noise everywhere": lambda ax: traces(RNG.normal(size=(200, 4)), ax, labels=list("abcd")),
    "long names": lambda ax: traces(RNG.normal(size=(200, 3)), ax, labels=["a name of some length " * 2] * 3),
    "steps": lambda ax: modulators({k.name: np.sign(np.sin(T / (3 + i))) for i, k in enumerate(NEUROMODULATORS)}, ax),
    "one pulse": lambda ax: modulators({"DA": np.eye(200)[20]}, ax),
}


def covered(figure, ax):
    """Ink under the legend: what is there when it is taken away."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    legend = ax.get_legend()
    box = legend.get_window_extent()
    legend.set_visible(False)
    figure.set_layout_engine("none")  # the rest stays where it is
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    height, width = pixels.shape[:2]
    assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height, "the legend is cut off"
    under = pixels[int(height - box.y1) : int(height - box.y0) + 1, int(box.x0) : int(box.x1) + 1]
    return int((under < 250).any(-1).sum())


@pytest.mark.parametrize("layout", [None, "constrained"])
@pytest.mark.parametrize("draw", FULL.values(), ids=FULL)
def test_a_legend_covers_nothing(draw, layout):
    figure = Figure(figsize=(6, 3), layout=layout)
    assert covered(figure, draw(figure.subplots())) == 0


@pytest.mark.parametrize("name", ["rises", "bands", "steps"])
def test_a_legend_covers_nothing_after_the_limits_have_changed(name):
    figure = Figure(figsize=(6, 3), layout="constrained")
    ax = FULL[name](figure.subplots())
    ax.set_ylim(*ax.dataLim.intervaly)
    ax.set_xlim(20, 60)
    assert covered(figure, ax) == 0


def test_a_legend_of_the_users_own_stays_where_it_is_put():
    figure = Figure()
    ax = FULL["rises"](figure.subplots())
    own = ax.legend(loc=(0.3, 0.4))
    FigureCanvasAgg(figure).draw()
    assert own._loc == (0.3, 0.4)
    ax.get_legend().remove()
    figure.canvas.draw()


def test_the_legend_names_the_kind_of_the_band():
    runs = {"rule": RNG.random((3, 4))}
    said = [
        learning_curve(runs, Figure().subplots(), **options).get_legend().get_title().get_text()
        for options in ({}, {"band": "standard deviation"}, {"band": "range"})
    ]
    assert said == ["mean ± standard error, 3 runs", "mean ± standard deviation, 3 runs", "mean, range of 3 runs"]
    assert not learning_curve({"one": [1.0]}, Figure().subplots()).get_legend().get_title().get_text()


def test_bands_are_what_they_are_called():
    runs = np.array([[0.0], [1.0], [5.0]])
    edges = {}
    for band in ("standard deviation", "range"):
        ax = learning_curve({"a": np.repeat(runs, 2, 1)}, Figure().subplots(), band=band)
        ys = ax.collections[0].get_paths()[0].vertices[:, 1]
        edges[band] = (ys.min(), ys.max())
    assert edges["range"] == (0.0, 5.0)
    assert edges["standard deviation"] == pytest.approx((2 - 7**0.5, 2 + 7**0.5))


def test_a_legend_leaves_the_layout_of_square_axes_as_it_is():
    figure = Figure(figsize=(6, 4), layout="constrained")
    first, second = figure.subplots(1, 2)
    ax = affect(RNG.uniform(-0.7, 0.7, (20, 3)), first)
    ax.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), title="affect")
    traces(T, second)
    FigureCanvasAgg(figure).draw()
    for drawn in (ax.title, ax.xaxis.label, second.xaxis.label):
        box = drawn.get_window_extent()
        assert box.y0 >= 0 and box.y1 <= 400
    assert ax.get_in_layout() and ax.get_tightbbox().x1 < second.get_tightbbox().x0


@pytest.mark.parametrize("neurons", [1, 2, 6, 40])
@pytest.mark.parametrize("height", [0.6, 3.0])
def test_there_is_no_tick_between_two_neurons(neurons, height):
    matrix = np.ones((neurons, neurons))
    for draw in (raster, weights, eligibility):
        ax = draw(matrix, Figure((4.0, height)).subplots())
        ax.figure.draw_without_rendering()
        (low, high), ticks = sorted(ax.get_ylim()), ax.get_yticks()
        assert any(low <= tick <= high for tick in ticks) and np.array_equal(ticks, np.round(ticks))
        if draw is not raster:
            assert np.array_equal(ax.get_xticks(), np.round(ax.get_xticks()))


def test_epochs_are_whole_whoever_counts_them():
    for x, whole in ((None, True), ([1, 2, 3, 4], True), ([0.5, 1.0, 1.5, 2.0], False)):
        ax = learning_curve({"reward": [0.1, 0.4, 0.6, 0.7]}, Figure((9.0, 3.0)).subplots(), x=x)
        assert np.array_equal(ax.get_xticks(), np.round(ax.get_xticks())) == whole


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_a_legend_can_be_taken_away(layout):
    ax = modulators({"DA": [0.0, 1.0]}, Figure(layout=layout).subplots())
    ax.get_legend().remove()
    FigureCanvasAgg(ax.figure).draw()
    assert ax.get_legend() is None
