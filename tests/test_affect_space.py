"""The space of affect: circumplex geometry, regions by sign, and emotion words where people put them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from snn_plasticity.affect import EMOTIONS, REGIONS, WORDS, AffectiveEstimator, ValenceArousalSpace

SPACE = ValenceArousalSpace()
PUBLISHED = {  # Russell & Mehrabian 1977
    "happy": (0.81, 0.51, 0.46),
    "angry": (-0.51, 0.59, 0.25),
    "fearful": (-0.64, 0.60, -0.43),
    "sad": (-0.63, -0.27, -0.33),
    "surprised": (0.40, 0.67, -0.13),
    "interested": (0.64, 0.51, 0.17),
    "hopeful": (0.51, 0.23, 0.14),
}


def test_norms_are_the_published_ones():
    assert {word: WORDS[word] for word in PUBLISHED} == PUBLISHED
    assert set(EMOTIONS.values()) <= set(WORDS)
    assert WORDS["angry"][2] > 0 > WORDS["fearful"][2]


def test_angle_and_radius_are_polar_coordinates():
    turns = torch.linspace(-math.pi + 0.01, math.pi - 0.01, 50, dtype=torch.float64)
    points = torch.stack([0.7 * torch.cos(turns), 0.7 * torch.sin(turns), torch.rand(50).double()], dim=-1)
    torch.testing.assert_close(SPACE.angle(points), turns)
    torch.testing.assert_close(SPACE.radius(points), torch.full((50,), 0.7, dtype=torch.float64))
    corners = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    torch.testing.assert_close(SPACE.angle(corners), torch.tensor([0.0, math.pi / 2, math.pi, -math.pi / 2]))


def test_distance_is_euclidean_in_three_dimensions():
    a, b = torch.rand(20, 3).double() * 2 - 1, torch.rand(20, 3).double() * 2 - 1
    torch.testing.assert_close(SPACE.distance(a, b), (a - b).square().sum(-1).sqrt())
    assert not SPACE.distance(a, a).any()


def test_an_affect_with_the_signs_of_a_region_belongs_to_it_unless_it_is_curious():
    """Every octant that the contract names, at every strength; small valence with drive and control is curious."""
    octants = {signs: name for name, signs in REGIONS.items() if name != "curious"}
    strengths = torch.linspace(0.2, 1.0, 9).tolist()
    for signs, name in octants.items():
        for size in itertools.product(strengths, repeat=3):
            point = torch.tensor([s * x for s, x in zip(signs, size, strict=True)])
            found = SPACE.region(point)[0]
            if found != name:
                assert found == "curious" and size[0] < 0.3 * (size[1] + size[2])
    assert SPACE.region(torch.tensor([0.0, 0.5, 0.5])) == ["curious"]
    assert SPACE.region(torch.tensor([0.05, 0.9, 0.7])) == ["curious"]
    assert SPACE.region(torch.tensor([0.6, 0.5, 0.5])) == ["happy/excited"]
    assert SPACE.region(torch.tensor([-0.6, 0.5, 0.5])) == ["frustrated"]


def test_what_is_too_weak_points_nowhere():
    tiny = 0.05 * torch.eye(3)
    assert SPACE.region(tiny) == ["neutral"] * 3 and SPACE.region(AffectiveEstimator().reset(2)) == ["neutral"] * 2
    assert ValenceArousalSpace(neutral_radius=0.0).region(0.05 * torch.ones(3)) == ["happy/excited"]


def test_every_word_is_nearest_to_itself_and_ties_with_none():
    points = torch.tensor(list(WORDS.values()))
    assert SPACE.nearest_word(points) == list(WORDS)
    apart = torch.cdist(points, points) + 9 * torch.eye(len(WORDS))
    assert apart.min() > 0.1


def test_shapes_states_and_words_of_ones_own():
    points = torch.rand(2, 4, 3)
    assert SPACE.angle(points).shape == SPACE.region_index(points).shape == SPACE.word_index(points).shape == (2, 4)
    assert len(SPACE.region(points)) == len(SPACE.nearest_word(points)) == 8
    state = AffectiveEstimator().reset(3)._replace(valence=torch.tensor([0.8, -0.6, -0.5]))
    assert SPACE.radius(state).shape == (3,) and SPACE.nearest_word(state)[0] in WORDS
    assert ValenceArousalSpace({"up": (1.0, 0, 0), "down": (-1.0, 0, 0)}).nearest_word(state) == ["up", "down", "down"]
    mapped = torch.vmap(SPACE.region_index)(points)
    assert torch.equal(mapped, SPACE.region_index(points))
    half = SPACE.angle(points.to(torch.bfloat16))
    assert half.dtype == torch.float32


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2,\).*valence, arousal, dominance"):
        SPACE.angle(torch.zeros(2))
    with pytest.raises(ValueError, match="finite"):
        SPACE.region(torch.tensor([math.nan, 0.0, 0.0]))
    with pytest.raises(TypeError, match="affect"):
        SPACE.radius([0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="neutral_radius"):
        ValenceArousalSpace(neutral_radius=2.0)
    with pytest.raises(ValueError, match="words is empty"):
        ValenceArousalSpace({})
