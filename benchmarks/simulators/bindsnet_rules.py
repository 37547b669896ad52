"""BindsNET's MSTDPET."""

from __future__ import annotations

import importlib
import sys
from unittest.mock import MagicMock

import torch
from players import StepByStep
from trains import Rule, Trains

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


def _connection(trains: Trains, rule: Rule, zero_lag: bool):
    bindsnet = load()
    size = trains.size
    source, target = (bindsnet.network.nodes.Input(n=n) for n in (size.n_pre, size.n_post))
    for layer in (source, target):
        layer.set_batch_size(size.batch)
        layer.compute_decays(1.0)
    taus = {"tc_plus": rule.tau_plus, "tc_minus": rule.tau_minus, "tc_e_trace": rule.tau_e}
    learning = {"update_rule": bindsnet.learning.MSTDPET, "nu": rule.lr, **taus}
    connection = bindsnet.network.topology.Connection(source, target, zero_lag=zero_lag, **learning)
    connection.dt = 1.0
    connection.w.zero_()
    return connection


def mstdpet(trains: Trains, rule: Rule, zero_lag: bool = False) -> StepByStep:
    """`MSTDPET` on a `Connection`: a batch of eligibilities, its sum applied in each step.

    With `zero_lag` the reward meets the eligibility of its own step.
    """
    connection = _connection(trains, rule, zero_lag)
    signs = {"a_plus": rule.a_plus, "a_minus": -rule.a_minus}

    @torch.no_grad()
    def step(pre, post, reward):
        connection.source.s, connection.target.s = pre, post
        connection.update_rule.update(reward=reward.view(-1, 1, 1), **signs)

    return StepByStep(trains, step, lambda: connection.w.detach().numpy().T)
