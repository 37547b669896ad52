"""BindsNET's own MSTDPET on given spikes."""

from __future__ import annotations

import importlib
import sys
from unittest.mock import MagicMock

import numpy as np
import torch

# Imported by BindsNET for datasets, images and games; its learning rules use none of them.
BESIDE_THE_POINT = ("torchvision", "torchvision.utils", "torchvision.datasets", "cv2", "ale_py")


def load():
    """BindsNET, imported with stand-ins for what its learning rules do not use."""
    absent = [name for name in BESIDE_THE_POINT if name not in sys.modules]
    sys.modules.update({name: MagicMock(name=name) for name in absent})
    try:
        return importlib.import_module("bindsnet")
    finally:
        for name in absent:
            del sys.modules[name]


def mstdpet(pre, post, reward, *, tau_plus, tau_minus, tau_e, a_plus, a_minus, zero_lag=False):
    """Weight change of every step, (T, N_post, N_pre), float32; reward (T, B), the batch is summed."""
    bindsnet = load()
    source, target = (bindsnet.network.nodes.Input(n=spikes.shape[2]) for spikes in (pre, post))
    for layer in (source, target):
        layer.set_batch_size(pre.shape[1])
        layer.compute_decays(1.0)
    taus = {"tc_plus": tau_plus, "tc_minus": tau_minus, "tc_e_trace": tau_e}
    connection = bindsnet.network.topology.Connection(
        source, target, update_rule=bindsnet.learning.MSTDPET, nu=1.0, zero_lag=zero_lag, **taus
    )
    connection.dt = 1.0
    changes = []
    for x, y, r in zip(*map(torch.tensor, (pre, post, reward)), strict=True):
        source.s, target.s = x, y
        connection.w.zero_()
        connection.update_rule.update(reward=r.view(-1, 1, 1).float(), a_plus=a_plus, a_minus=-a_minus)
        changes.append(connection.w.numpy().T.copy())
    return np.stack(changes)
