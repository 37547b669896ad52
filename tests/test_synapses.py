"""The Hebbian product of every layer is the vector-Jacobian product of its forward map, sample by sample."""

from __future__ import annotations

import pytest
import torch
from conftest import LAYERS, layer_and_trains
from torch import nn

from snn_plasticity.layers import geometry_of
from snn_plasticity.layers.synapses import LayerVJP

EXTRA = {
    **LAYERS,
    "conv1d_reflect": (lambda: nn.Conv1d(2, 3, 3, padding=2, padding_mode="reflect"), (2, 6)),
    "conv1d_same_even": (lambda: nn.Conv1d(2, 3, 4, padding="same"), (2, 6)),
    "conv2d_depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, padding=1), (4, 5, 5)),
    "conv2d_leftover": (lambda: nn.Conv2d(1, 1, 2, stride=3), (1, 7, 6)),
    "conv3d_groups": (lambda: nn.Conv3d(2, 4, (2, 1, 2), stride=(1, 2, 1), groups=2), (2, 3, 4, 3)),
    "bilinear_free": (lambda: nn.Linear(5, 2, bias=False), (5,)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", EXTRA)
def test_product_is_autograds_vector_jacobian_product(name, monkeypatch):
    monkeypatch.setitem(LAYERS, name, EXTRA[name])
    layer, pre, post = layer_and_trains(name, steps=1)
    product = geometry_of(layer).product(post[0], pre[0])
    for b in range(len(pre[0])):
        (vjp,) = torch.autograd.grad(layer(pre[0, b : b + 1]), layer.weight, post[0, b : b + 1])
        torch.testing.assert_close(product[b], vjp, rtol=1e-12, atol=1e-12)


def test_positions_of_a_sample_are_summed():
    layer = nn.Linear(4, 3).double()
    pre, post = torch.rand(2, 5, 4, dtype=torch.float64), torch.rand(2, 5, 3, dtype=torch.float64)
    product = geometry_of(layer).product(post, pre)
    for b in range(2):
        (vjp,) = torch.autograd.grad(layer(pre[b]), layer.weight, post[b])
        torch.testing.assert_close(product[b], vjp)


class Doubled(nn.Linear):
    """A subclass that computes something else than its parent."""

    def forward(self, input):
        return super().forward(2.0 * input)


def test_a_subclass_is_asked_what_it_computes_and_not_taken_for_its_parent():
    layer = Doubled(4, 3)
    geometry = geometry_of(layer)
    assert isinstance(geometry, LayerVJP)
    pre, post = torch.ones(1, 4), torch.ones(1, 3)
    torch.testing.assert_close(geometry.product(post, pre), torch.full((1, 3, 4), 2.0))


@pytest.mark.parametrize(
    "layer",
    [
        nn.ReLU(),
        nn.LazyLinear(3),
        torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
        torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 1, 2)),
    ],
)
def test_layers_without_a_weight_of_their_own_are_refused(layer):
    with pytest.raises(TypeError, match="cannot be plastic"):
        geometry_of(layer)


@pytest.mark.parametrize("name", ("conv1d", "conv2d", "conv3d", "transposed"))
def test_spikes_that_do_not_fit_the_layer_are_refused(name):
    layer, pre, post = layer_and_trains(name, steps=1)
    geometry = geometry_of(layer)
    geometry.check(pre[0], post[0])
    with pytest.raises(ValueError, match="expected"):
        geometry.check(pre[0], post[0][..., :-1])
    with pytest.raises((ValueError, RuntimeError)):
        geometry.check(pre[0][:, :1].repeat(1, 7, *[1] * (pre.dim() - 3)), post[0])
