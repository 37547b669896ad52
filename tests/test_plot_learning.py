"""What is drawn of windows, weights, rates, affect, families and diagnoses is what was given, or what was measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import nn

from snn_plasticity import Convention, EligibilityConfig, PairSTDP, Window, plot
from snn_plasticity.diagnose import LayerDiagnosis
from snn_plasticity.plot.canvas import BLUE, VERMILION
from snn_plasticity.plot.diagnosis import verdict


@pytest.fixture
def ax():
    return Figure().subplots()


def by_label(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


class Late(nn.Module):
    """A kernel of one's own: an order of spikes counts only if they are two steps apart or more."""

    def init(self, pre, post):
        return torch.zeros_like(pre), torch.zeros_like(pre)

    def step(self, pre, post, state, dt=1.0):
        from snn_plasticity import Coincidence, Pair

        last, before = state
        return Coincidence((Pair(post, before),)), (pre, before * 0.5 + last)


def test_a_window_is_measured_as_the_equation_says():
    config = EligibilityConfig(kernel="stdp_pair", stdp_tau_plus=17.0, stdp_tau_minus=34.0, a_plus=0.7, a_minus=0.4)
    delta, e = plot.measured_window(config)
    expected = np.where(delta >= 0, 0.7 * np.exp(-delta / 17), -0.4 * np.exp(delta / 34))
    assert delta.min() == -136 and delta.max() == 136
    assert e == pytest.approx(expected, abs=1e-6)


def test_what_is_configured_aside_of_the_kernel_is_measured_too():
    euler = Convention(spike_trace_decay="euler", coincidence="none")
    config = EligibilityConfig(kernel="stdp_pair", stdp_tau_plus=5.0, stdp_tau_minus=5.0, convention=euler, a_plus=9.0)
    delta, e = plot.measured_window(config, span=6.0)
    at = dict(zip(delta.tolist(), e.tolist(), strict=True))
    assert at[0.0] == 0.0  # "none": a pair in one step is none
    assert at[1.0] == 5.0  # the clamp
    assert at[6.0] == pytest.approx(9.0 * 0.8**6, rel=1e-6)


def test_a_kernel_of_ones_own_is_measured(ax):
    delta, e = plot.measured_window(Late(), span=5.0)
    assert dict(zip(delta.tolist(), e.tolist(), strict=True)) == {
        **{float(k): 0.0 for k in range(-5, 2)}, 2.0: 1.0, 3.0: 0.5, 4.0: 0.25, 5.0: 0.125
    }  # fmt: skip
    plot.stdp_window(Late(), ax, span=5.0)
    assert [line.get_label() for line in ax.lines if line.get_label()[0] != "_"] == ["as measured"]


@pytest.mark.parametrize("rule", ["stdp_pair", "stdp_symmetric", PairSTDP(3.0, 9.0, 0.5, 2.0)])
def test_the_line_and_the_dots_of_a_window_lie_on_each_other(rule, ax):
    plot.stdp_window(rule, ax, span=20.0)
    dots = by_label(ax, "as measured")
    lines = [line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 200]
    for x, y in zip(*dots.get_data(), strict=True):
        if x:
            side = next(line for line in lines if np.sign(line.get_xdata()[0]) == np.sign(x))
            assert np.interp(x, *side.get_data()) == pytest.approx(y, abs=2e-3)


def test_a_curve_of_ones_own_is_drawn_and_reaches_as_far_as_it_says(ax):
    hat = Window(lambda dt: (1 - (dt / 10) ** 2) * math.exp(-((dt / 10) ** 2) / 2), span=40.0)
    plot.stdp_window(hat, ax)
    x, y = by_label(ax, "as measured").get_data()
    assert (x.min(), x.max()) == (-40.0, 40.0)
    assert y == pytest.approx([hat.curve(float(delta)) for delta in x], abs=1e-6)


@pytest.mark.parametrize(
    "rule, options, message",
    [
        ("eprop", {}, "reads .* of the post neuron, not spikes"),
        ("online", {}, "reads 'gradient' of the post neuron, not spikes"),
        ("rate", {"measured": False}, "has no curve to draw; expected measured=True"),
        ("stdp_pair", {"span": 0.5}, "span = 0.5; expected a number in"),
        (EligibilityConfig(diagonal=True), {}, "diagonal is True; expected False"),
        ("stdp", {}, "EligibilityConfig.kernel = 'stdp'; expected one of"),
    ],
)
def test_rules_without_a_window_are_answered_with_a_sentence(rule, options, message, ax):
    with pytest.raises(ValueError, match=message):
        plot.stdp_window(rule, ax, **options)
    assert not ax.lines


def test_membranes_have_a_threshold_and_a_tick_for_each_spike(ax):
    v = torch.rand(30, 2)
    plot.membrane(v, ax, threshold=0.8, spikes=v > 0.8, dt=0.5, unit="ms")
    step, neuron = (v > 0.8).nonzero(as_tuple=True)
    segments = np.array(ax.collections[0].get_segments())
    assert segments[:, 0, 0] == pytest.approx(0.5 * step.numpy())
    assert segments[:, :, 1].min() > v.max()
    rows = {round(float(low), 6) for low in segments[:, 0, 1]}
    assert len(rows) == len(set(neuron.tolist()))  # a row for each neuron
    assert by_label(ax, "threshold").get_ydata() == [0.8, 0.8]


def test_filters_are_small_images_on_one_scale(ax):
    weight = torch.randn(3, 2, 4, 5)
    plot.filters(weight, ax)
    image = ax.images[0]
    drawn, top = image.get_array(), float(weight.abs().max())
    assert image.get_clim() == pytest.approx((-top, top))
    for out in range(3):
        for into in range(2):
            part = drawn[out * 5 : out * 5 + 4, into * 6 : into * 6 + 5]
            assert np.array_equal(part.filled(), weight[out, into].double().numpy())
    assert drawn.mask[4].all() and drawn.mask[:, 5].all()  # lines between them


def test_receptive_fields_are_rows_as_images(ax):
    weight = torch.randn(7, 12)
    plot.receptive_fields(weight, (3, 4), ax, columns=3, colorbar=False)
    drawn = ax.images[0].get_array()
    assert drawn.shape == (11, 14)
    assert np.array_equal(drawn[4:7, 5:9].filled(), weight[4].reshape(3, 4).double().numpy())
    assert drawn.mask[8:, 5:].all()  # there is no eighth
    assert len(ax.figure.axes) == 1


def test_weights_before_and_after_are_on_one_scale_with_their_distributions():
    before, after = torch.zeros(4, 6), torch.randn(4, 6)
    figure = Figure()
    drawn = plot.weight_change(before, after, figure, bins=9)
    assert list(drawn) == ["before", "after", "change", "distribution"]
    assert drawn["before"].images[0].get_clim() == drawn["after"].images[0].get_clim()
    assert np.array_equal(drawn["change"].images[0].get_array(), after.double().numpy())
    bars, outline = drawn["distribution"].containers[0], drawn["distribution"].patches[-1]
    assert sum(bar.get_height() for bar in bars) == 24
    assert outline.get_path().vertices[:, 1].max() == np.histogram(after.numpy(), 9)[0].max()
    again = plot.weight_change(after, before, drawn)
    assert again["before"] is drawn["before"]


def test_weights_of_two_shapes_and_axes_that_are_missing():
    with pytest.raises(ValueError, match=r"before has shape \(2, 3\) and after \(3, 2\); expected the same"):
        plot.weight_change(torch.ones(2, 3), torch.ones(3, 2), Figure())
    with pytest.raises(ValueError, match="expected 'after', 'change', 'distribution' too"):
        plot.weight_change(torch.ones(2, 3), torch.ones(2, 3), {"before": Figure().subplots()})
    with pytest.raises(TypeError, match="expected a figure, axes by name, or None"):
        plot.weight_change(torch.ones(2, 3), torch.ones(2, 3), 3)


def test_eligibility_over_time_shows_the_strongest_synapses_in_the_order_of_their_peaks(ax):
    e = torch.zeros(20, 3, 4)
    for rank, (t, post, pre) in enumerate([(15, 0, 1), (3, 2, 2), (9, 1, 3), (18, 1, 0)]):
        e[t:, post, pre] = (0.5**rank) * 0.9 ** torch.arange(20 - t)
    plot.eligibility(e, ax, strongest=3, dt=2.0)
    drawn = np.asarray(ax.images[0].get_array())
    expected = [e[:, 2, 2], e[:, 1, 3], e[:, 0, 1]]
    assert np.array_equal(drawn, torch.stack(expected).double().numpy())
    assert ax.images[0].get_extent()[:2] == [-1.0, 39.0]
    assert ax.get_ylabel() == "3 strongest of 12 synapses"
    flat = plot.eligibility(e[16], Figure().subplots())
    assert np.array_equal(np.asarray(flat.images[0].get_array()), e[16].double().numpy())


def test_rates_show_every_neuron_the_mean_and_who_is_silent(ax):
    hidden = torch.zeros(10, 2, 4)
    hidden[:5, :, 1] = 1.0
    hidden[:, :, 2] = 1.0
    plot.rates({"hidden": hidden, "output": torch.ones(10, 3).bool()}, ax, dt=0.5, unit="ms")
    active, silent, *_ = ax.collections
    assert sorted(active.get_offsets()[:, 0].tolist()) == [1.0, 2.0]
    assert silent.get_offsets()[:, 0].tolist() == [0.0, 0.0]
    assert to_hex(silent.get_edgecolor()[0]).upper() == VERMILION and to_hex(active.get_facecolor()[0]).upper() == BLUE
    assert silent.get_paths()[0].vertices.shape != active.get_paths()[0].vertices.shape  # crosses and dots
    means = [c.get_segments()[0][0][0] for c in ax.collections if hasattr(c, "get_segments")]
    assert means == [0.75, 2.0]
    assert [text.get_text() for text in ax.texts] == ["50% silent", "0% silent"]


def test_affect_is_a_path_with_dots_and_rings(ax):
    path = torch.tensor([[0.0, 0.1, 0.4], [0.3, 0.5, -0.2], [0.6, -0.2, 0.1]])
    plot.affect(path, ax, mood=0.5 * path, colors=["red", "green", "blue"])
    full, rings = (c for c in ax.collections if len(c.get_offsets()) and c.get_sizes()[0] == 22)
    assert full.get_offsets().tolist() == pytest.approx(path[[0, 2], :2].double().numpy())
    assert rings.get_offsets().tolist() == pytest.approx(path[[1], :2].double().numpy())
    assert [to_hex(c) for c in full.get_facecolor()] == ["#ff0000", "#0000ff"]
    assert [to_hex(c) for c in rings.get_facecolor()] == ["#ffffff"]
    assert by_label(ax, "mood").get_xydata() == pytest.approx(0.5 * path[:, :2].numpy())
    start, end = ax.texts
    assert (start.get_text(), end.get_text()) == ("start", "end")
    assert start.xyann[0] < 0 and start.xyann[1] < 0 and end.xyann[1] < 0 < end.xyann[0]  # not on the path


def test_a_family_shows_who_took_which_step(ax):
    losses, member = [4.0, 3.0, 9.0, 2.0, 1.0, 8.0], [0, 0, 1, 0, 0, 2]
    plot.family(losses, member, ax, labels=["small", "large", "largest"], width=1)
    found = {line.get_label(): line for line in ax.lines if line.get_label()[0] != "_"}
    assert list(found) == ["small", "large (17% of steps)", "largest (17% of steps)"]
    assert found["small"].get_xdata().tolist() == [0, 1, 3, 4] and found["small"].get_ydata().tolist() == [4, 3, 2, 1]
    ticks = [line for line in ax.lines if line.get_marker() == "|"]
    assert [line.get_xdata().tolist() for line in ticks] == [[2], [5]]
    assert (
        len({line.get_color() for line in found.values()})
        == len({line.get_linestyle() for line in found.values()})
        == 3
    )


def layer(**found):
    usual = {"pre_rate": 0.1, "post_rate": 0.05, "eligibility_zero": 0.3, "change_mean": 1e-3, "weight_at_bounds": 0.0}
    return LayerDiagnosis("fc", (2, 3), "online", 20, 0, True, **{**usual, **found})


@pytest.mark.parametrize(
    "found, word",
    [
        ({}, "learns"),
        ({"post_rate": 0.0, "eligibility_zero": 1.0}, "dead: never fires"),
        ({"pre_rate": 0.0, "post_rate": 0.0}, "silent input"),
        ({"eligibility_at_clamp": 0.8}, "saturated"),
        ({"change_cut": 0.9}, "saturated"),
        ({"weight_at_bounds": 0.6}, "saturated"),
        ({"post_rate": 0.9}, "fires all the time"),
        ({"eligibility_zero": 1.0}, "no eligibility"),
        ({"change_mean": 0.0}, "changes nothing"),
        ({"status": "its lr is 0"}, "does not learn"),
    ],
)
def test_a_layer_in_a_word(found, word):
    assert verdict(layer(**found)) == word


def test_a_diagnosis_marks_what_stands_out(ax):
    from snn_plasticity import Connection, PlasticityLearner

    silent, dead, fine = (Connection(name, nn.Linear(5, 4)) for name in ("silent", "dead", "fine"))
    learner = PlasticityLearner([silent, dead, fine])
    rng = torch.Generator().manual_seed(0)
    for _ in range(30):
        x, y = (torch.rand(2, 5, generator=rng) < 0.2).float(), (torch.rand(2, 4, generator=rng) < 0.2).float()
        silent.observe(0 * x, 0 * y)
        dead.observe(x, 0 * y)
        fine.observe(x, y)
    plot.diagnosis(learner.diagnose(), ax)
    said = {}
    for text in ax.texts:
        said.setdefault(int(text.get_position()[1]), []).append(text.get_text())
    assert [said[row][-1] for row in range(3)] == ["! silent input", "! dead: never fires", "✓ learns"]
    assert said[0][:2] == ["0% !", "0% !"] and said[1][1] == "0% !" and not said[1][0].endswith("!")
    assert not any("!" in text for text in said[2])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["silent", "dead", "fine"]
