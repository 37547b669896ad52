"""Every spike of a raster has the same ink, wherever it falls, at any size, resolution and number of neurons."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from matplotlib import colors as mcolors
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from snn_plasticity.plot import raster
from snn_plasticity.plot.canvas import CYCLE
from snn_plasticity.plot.spike_image import SpikeImage

BANDS = 12


def random_spikes(steps, neurons, rate, seed=0):
    return torch.rand(steps, neurons, generator=torch.Generator().manual_seed(seed)) < rate


def drawn(spikes, size=(6.0, 3.0), dpi=100, **options):
    """The axes, and the ink of every pixel of them: (rows from the top, columns)."""
    figure = Figure(figsize=size, dpi=dpi)
    canvas = FigureCanvasAgg(figure)
    ax = raster(spikes, figure.subplots(), **options)
    canvas.draw()
    pixels = 255.0 - np.asarray(canvas.buffer_rgba())[..., :3].mean(-1)
    box, rim = ax.get_window_extent(), 3  # the spines lie in the rim
    height = pixels.shape[0]
    return ax, pixels[int(height - box.y1) + rim : int(height - box.y0) - rim, int(box.x0) + rim : int(box.x1) - rim]


def kind(ax):
    return "ticks" if ax.collections else "image"


@pytest.mark.parametrize("neurons, rows", [(96, "ticks"), (240, "image"), (1000, "image"), (3000, "image")])
@pytest.mark.parametrize("size, dpi", [((6, 3), 100), ((3, 1.2), 72), ((6, 3), 163)])
def test_bands_of_random_spikes_have_equal_ink_within_sampling_noise(neurons, rows, size, dpi):
    spikes = random_spikes(1000, neurons, 0.02)
    ax, ink = drawn(spikes, size, dpi)
    if (size, dpi) == ((6, 3), 100):
        assert kind(ax) == rows
    found = np.array([band.mean() for band in np.array_split(ink, BANDS)])
    noise = (float(spikes.sum()) / BANDS) ** -0.5  # of a count, as a share of it
    assert abs(found / found.mean() - 1).max() < 4 * noise


@pytest.mark.parametrize("neurons", [131, 700, 1000])
def test_ink_of_one_spike_does_not_depend_on_its_row(neurons):
    """A diagonal has its ink everywhere alike: no row is lost between two pixels, none is drawn twice."""
    steps = 40  # neighbours of a diagonal overlap less than those of other samples do
    every = torch.zeros(steps * neurons, neurons, dtype=torch.bool)
    every[torch.arange(neurons) * steps, torch.arange(neurons)] = True
    _, ink = drawn(every, (6, 3))
    found = np.array([band.mean() for band in np.array_split(ink, BANDS)])[1:-1]  # the margin lies in the others
    assert abs(found / found.mean() - 1).max() < 0.04


def test_twice_the_rate_has_twice_the_ink_even_where_all_pixels_are_full():
    few, many = random_spikes(20_000, 500, 0.02), random_spikes(20_000, 500, 0.04, seed=1)
    _, ink = drawn(torch.cat((few, many), 1))
    upper, lower = np.array_split(ink, 2)
    assert upper.mean() / lower.mean() == pytest.approx(2.0, rel=0.06)


def test_the_image_is_made_for_the_resolution_it_is_saved_with():
    figure = Figure(figsize=(4, 2))
    ax = raster(random_spikes(500, 800, 0.02), figure.subplots())
    (image,) = [artist for artist in ax.get_children() if isinstance(artist, SpikeImage)]
    shapes = []
    for dpi in (50, 200):
        figure.savefig(io.BytesIO(), dpi=dpi)
        shapes.append(image._painted[1].shape[:2])
    assert shapes[1][0] == pytest.approx(4 * shapes[0][0], abs=4)
    for form in ("pdf", "svg"):
        file = io.BytesIO()
        figure.savefig(file, format=form)
        assert len(file.getvalue()) > 5000


def test_a_large_raster_holds_every_spike_where_and_when_it_was():
    spikes = random_spikes(300, 900, 0.1)
    ax = raster(spikes, Figure().subplots(), dt=0.5, start=3.0)
    (image,) = [artist for artist in ax.get_children() if isinstance(artist, SpikeImage)]
    step, neuron = spikes.nonzero(as_tuple=True)
    assert np.array_equal(image.when, 3.0 + 0.5 * step.numpy())
    assert np.array_equal(image.neuron, neuron.numpy())


def test_zooming_in_shows_the_spikes_of_the_part():
    ax, _ = drawn(random_spikes(1000, 1000, 0.01))
    (image,) = [artist for artist in ax.get_children() if isinstance(artist, SpikeImage)]
    ax.set(xlim=(100, 110), ylim=(200, 220))
    ax.figure.canvas.draw()
    inside = (abs(image.when - 105) < 5) & (abs(image.neuron - 210) < 10)
    assert 0 < inside.sum() < 10
    inked = (image._painted[1][..., 3] > 0).sum()
    assert inked < 20 * 60 * max(inside.sum(), 1)


def test_large_rasters_keep_the_colours_of_their_neurons():
    colors = ["#0072B2"] * 400 + ["#E69F00"] * 400
    ax, _ = drawn(random_spikes(400, 800, 0.02), colors=colors)
    (image,) = [artist for artist in ax.get_children() if isinstance(artist, SpikeImage)]
    painted = image._painted[1]
    lower, upper = painted[20:-20][: len(painted) // 3], painted[20:-20][-len(painted) // 3 :]
    for part, color in ((lower, colors[0]), (upper, colors[-1])):
        inked = part[part[..., 3] > 100][:, :3] / 255
        assert abs(inked - mcolors.to_rgb(color)).max() < 0.01


GROUPS = {"input": torch.eye(6).bool(), "hidden": torch.ones(6, 3), "output": torch.zeros(6, 2)}


def test_groups_lie_above_one_another_with_names_and_lines_between_them():
    ax = raster(GROUPS, Figure().subplots())
    rows = {round((a[1] + b[1]) / 2) for a, b in ax.collections[0].get_segments()}
    assert rows == set(range(9))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["input (6)", "hidden (3)", "output (2)"]
    assert [line.get_ydata()[0] for line in ax.lines] == [5.5, 8.5]
    assert ax.get_ylim()[1] > 10
    inks = {mcolors.to_hex(color).upper() for color in ax.collections[0].get_colors()}
    assert inks == {CYCLE[0], CYCLE[1]}


def test_names_of_small_groups_stay_apart():
    sizes = {"many": 1000, "a": 2, "b": 3}
    ax = raster({name: random_spikes(20, n, 0.1) for name, n in sizes.items()}, Figure().subplots())
    places = ax.get_yticks()
    assert np.diff(places).min() >= 0.05 * 1005
    assert len(places) == 3


def test_groups_have_the_colours_that_are_given():
    ax = raster(GROUPS, Figure().subplots(), colors={"input": "red", "hidden": "black", "output": "blue"})
    assert {mcolors.to_hex(c) for c in ax.collections[0].get_colors()} == {"#ff0000", "#000000"}


@pytest.mark.parametrize(
    "spikes, options, message",
    [
        ({}, {}, "empty mapping; expected at least one group"),
        (
            {"a": torch.ones(3, 2), "b": torch.ones(4, 2)},
            {},
            "steps {'a': 3, 'b': 4}; expected all groups over the same",
        ),
        ({"a": torch.ones(3)}, {}, r"spikes\['a'\] has shape \(3,\); expected \(T, N\)"),
        (GROUPS, {"colors": {"input": "red"}}, r"colors has the groups \['input'\]; expected those of spikes"),
        (GROUPS, {"colors": "reddish"}, "colors = 'reddish'; expected a colour"),
        (GROUPS, {"colors": ["red"]}, "colors has 1 entries"),
    ],
)
def test_groups_that_do_not_fit_are_answered_with_a_sentence(spikes, options, message):
    ax = Figure().subplots()
    with pytest.raises(ValueError, match=message):
        raster(spikes, ax, **options)
    assert not ax.collections and not ax.artists
