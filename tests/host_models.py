"""Real snnTorch and Norse models, a recorder of what their layers did, and the weight change that follows from it."""

from __future__ import annotations

import brute_force
import norse.torch as norse
import numpy as np
import snntorch
import torch
from torch import nn

from snn_plasticity import Convention, EligibilityConfig, PlasticityConfig, ThreeFactorConfig

STEPS, BATCH, N_IN, N_HIDDEN, N_OUT = 9, 3, 6, 5, 4
LR, MODULATOR = 0.5, 0.7
CONFIG = PlasticityConfig(
    EligibilityConfig(
        kernel="stdp_pair", tau_e=15.0, stdp_tau_plus=7.0, stdp_tau_minus=11.0, a_plus=0.8, a_minus=1.1,
        clamp_range=None,
    ),
    three_factor=ThreeFactorConfig(lr=LR, weight_clamp=None),
)  # fmt: skip

SNNTORCH = {
    "Leaky": lambda n, **k: snntorch.Leaky(beta=0.8, **k),
    "Synaptic": lambda n, **k: snntorch.Synaptic(alpha=0.5, beta=0.8, **k),
    "Alpha": lambda n, **k: snntorch.Alpha(alpha=0.8, beta=0.5, threshold=0.05, **k),
    "Lapicque": lambda n, **k: snntorch.Lapicque(beta=0.8, threshold=0.2, **k),
    "RLeaky": lambda n, **k: snntorch.RLeaky(beta=0.8, linear_features=n, **k),
    "RSynaptic": lambda n, **k: snntorch.RSynaptic(alpha=0.5, beta=0.8, linear_features=n, **k),
}
FAST = norse.LIFParameters(tau_syn_inv=torch.tensor(900.0), tau_mem_inv=torch.tensor(800.0), v_th=torch.tensor(0.5))


def trains(*shape: int, rate: float = 0.5, seed: int = 1) -> torch.Tensor:
    """Bernoulli spikes."""
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def excitable(model: nn.Module, low: float = 0.0, high: float = 0.8) -> nn.Module:
    """Weights at which neurons fire now and then."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.copy_(low + (high - low) * torch.rand(parameter.shape, generator=generator))
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)) and module.bias is not None:
            module.bias.data.copy_(0.4 * torch.rand(module.bias.shape, generator=generator) - 0.2)
    return model


def sequential(name: str, **options) -> nn.Module:
    """Linear, neuron, Linear, neuron in snnTorch's init_hidden style."""
    make = SNNTORCH[name]
    layers = (
        nn.Linear(N_IN, N_HIDDEN), make(N_HIDDEN, init_hidden=True, **options),
        nn.Linear(N_HIDDEN, N_OUT), make(N_OUT, init_hidden=True, **options),
    )  # fmt: skip
    return excitable(nn.Sequential(*layers))


class Stepper(nn.Module):
    """The same with states passed by hand, over a sequence (T, B, N); layers are registered in no helpful order."""

    def __init__(self, name: str, *, by_keyword: bool = False) -> None:
        super().__init__()
        self.lif2, self.fc2 = SNNTORCH[name](N_OUT), nn.Linear(N_HIDDEN, N_OUT)
        self.lif1, self.fc1 = SNNTORCH[name](N_HIDDEN), nn.Linear(N_IN, N_HIDDEN)
        self.by_keyword = by_keyword
        excitable(self)

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        s1, s2, out = self.lif1.reset_mem(), self.lif2.reset_mem(), []
        s1, s2 = ((s,) if isinstance(s, torch.Tensor) else s for s in (s1, s2))
        for x in xs:
            spikes, *s1 = self._step(self.lif1, self.fc1(x), s1)
            spikes, *s2 = self._step(self.lif2, self.fc2(spikes), s2)
            if isinstance(self.lif1, (snntorch.RLeaky, snntorch.RSynaptic)):
                s1, s2 = (self.lif1.spk, *s1), (self.lif2.spk, *s2)
            out.append(spikes)
        return torch.stack(out)

    def _step(self, neuron, current, state):
        if not self.by_keyword:
            return neuron(current, *state)
        names = [name for name in ("syn_exc", "syn_inh", "spk", "syn", "mem") if hasattr(neuron, name)]
        return neuron(input_=current, **dict(zip(names, state, strict=True)))


class Loop(nn.Module):
    """A module called once per step of (T, B, ...); Norse states are carried along."""

    def __init__(self, body: nn.Module, *, stateful: bool = True) -> None:
        super().__init__()
        self.body, self.stateful = body, stateful

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        state, out = None, []
        for x in xs:
            y, state = self.body(x, state) if self.stateful else (self.body(x), None)
            out.append(y)
        return torch.stack(out)


class Record:
    """What went into one module and came out of another, call by call, seen by hooks of the test's own."""

    def __init__(self, synapse: nn.Module, neuron: nn.Module) -> None:
        self.pre, self.post = [], []
        synapse.register_forward_hook(lambda m, args, out: self.pre.append(args[0].detach()))
        neuron.register_forward_hook(lambda m, args, out: self.post.append(first(out).detach()))

    def change(self, *, sequence: bool = False, config: PlasticityConfig = CONFIG) -> np.ndarray:
        """Δw that these trains ask for. `sequence`: each call was (T, B, N)."""
        join = torch.cat if sequence else torch.stack
        return expected(join(self.pre), join(self.post), config)


def first(output) -> torch.Tensor:
    return output if isinstance(output, torch.Tensor) else output[0]


def expected(
    pre, post, config: PlasticityConfig = CONFIG, modulator: float = MODULATOR, dt: float | None = None
) -> np.ndarray:
    """lr · modulator · mean_B e(T) of trains (T, B, N), written out as sums over spike pairs; it must not be empty."""
    rule, dt = config.eligibility, config.eligibility.dt if dt is None else dt
    pre, post = (np.asarray(x.detach(), dtype=np.float64) for x in (pre, post))
    taus = {"tau_plus": rule.stdp_tau_plus, "tau_minus": rule.stdp_tau_minus, "dt": dt, "convention": Convention()}
    f = brute_force.stdp_pair(pre, post, a_plus=rule.a_plus, a_minus=rule.a_minus, **taus)
    e = brute_force.eligibility(f, tau_e=rule.tau_e, dt=dt, convention=Convention())[-1]
    change = config.three_factor.lr * modulator * e.mean(axis=0)
    assert np.abs(change).max() > 1e-3, "the test saw no activity"
    return change


def expected_conv(layer: nn.Conv2d, pre, post, config: PlasticityConfig = CONFIG) -> np.ndarray:
    """The same for a convolution: each position is a sample with its own patch, and positions are summed."""
    steps, batch = pre.shape[:2]
    patches = nn.functional.unfold(pre.flatten(0, 1), layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    places = patches.shape[-1]
    patches = patches.mT.reshape(steps, batch * places, -1)
    spikes = post.flatten(3).movedim(2, -1).reshape(steps, batch * places, -1)
    return places * expected(patches, spikes, config).reshape(layer.weight.shape)


def changes(model: nn.Module, learner, run) -> dict[str, np.ndarray]:
    """Run, apply the third factor once, and tell how far each plastic weight moved."""
    before = {name: c.weight.detach().clone() for name, c in learner.connections.items()}
    run()
    learner.step(MODULATOR)
    return {name: np.asarray((c.weight - before[name]).detach()) for name, c in learner.connections.items()}


def close(actual, wanted) -> None:
    """Equal to single precision, measured by the largest number there is."""
    np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=2e-6 * max(1.0, float(np.abs(np.asarray(wanted)).max())))
