"""Random nets as people write them: blocks of torch, snnTorch and Norse, each with what may be said against it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MIXES = {
    "norm": r"is a (LayerNorm|GroupNorm|LocalResponseNorm|RMSNorm) over the \d+ units of .*BatchNorm or InstanceNorm",
    "operation": r"takes (softmax|mean|vector_norm|cumsum) over the \d+ units of",
    "none": r"Nothing becomes larger",
    "number": r"(does not run with more units|its indices are not those of the same units|answers otherwise)",
}


def spike(x: Tensor) -> Tensor:
    """In whatever precision the net is."""
    return (x > 0).to(x)


class Block(nn.Module):
    """One part of a net: (x, state) to (y, state); `against` says what `widen` may rightly say against it.

    Args:
        modules: its parts, by name.
        run: from the block, x and the state to y and the state.
        against: keys of MIXES.
    """

    def __init__(self, modules: dict[str, nn.Module], run: Callable, against: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.run, self.against = run, against
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y = self.run(self, x, state)
        return y if isinstance(y, tuple) else (y, state)


def lin(n: int, m: int, rng: random.Random) -> nn.Module:
    layer = nn.Linear(n, m, bias=rng.random() < 0.8)
    return nn.utils.parametrizations.weight_norm(layer) if rng.random() < 0.15 else layer


def flat_blocks(n: int, rng: random.Random) -> dict[str, Callable[[], tuple[Block, int]]]:
    """Blocks for (B, n)."""
    m = rng.choice([3, 4, 6, 8])
    even = n % 2 == 0
    blocks = {
        "linear": lambda: (Block({"a": lin(n, m, rng)}, lambda s, x, h: torch.relu(s.a(x))), m),
        "residual": lambda: (
            Block({"a": lin(n, m, rng), "b": lin(m, n, rng)}, lambda s, x, h: x + s.b(torch.tanh(s.a(x)))), n),
        "concat": lambda: (
            Block({"a": lin(n, m, rng), "b": lin(n, 5, rng)}, lambda s, x, h: torch.cat([s.a(x).relu(), s.b(x)], -1)),
            m + 5),
        "skip": lambda: (Block({"a": lin(n, m, rng)}, lambda s, x, h: torch.cat([x, torch.relu(s.a(x))], 1)), n + m),
        "gate": lambda: (Block({"a": lin(n, n, rng)}, lambda s, x, h: x * torch.sigmoid(s.a(x))), n),
        "glu": lambda: (Block({"a": lin(n, 2 * m, rng)}, lambda s, x, h: F.glu(s.a(x), -1)), m),
        "chunks": lambda: (
            Block({"a": lin(n, 2 * m, rng)}, lambda s, x, h: torch.cat(s.a(x).chunk(2, -1)[::-1], -1)), 2 * m),
        "tied": lambda: (tied(n), n),
        "decoder": lambda: (
            Block({"a": nn.Linear(n, m)}, lambda s, x, h: F.linear(torch.tanh(s.a(x)), s.a.weight.t())), n),
        "batch norm": lambda: (Block({"a": lin(n, m, rng), "b": nn.BatchNorm1d(m)}, lambda s, x, h: s.b(s.a(x))), m),
        "dropout": lambda: (Block({"a": nn.Dropout(0.4)}, lambda s, x, h: s.a(x)), n),
        "slopes": lambda: (Block({"a": nn.PReLU(n)}, lambda s, x, h: s.a(x)), n),
        "gru cell": lambda: (Block({"a": nn.GRUCell(n, m)}, lambda s, x, h: 2 * (s.a(x, h),)), m),
        "lstm cell": lambda: (Block({"a": nn.LSTMCell(n, m)}, lambda s, x, h: (lambda hc: (hc[0], hc))(s.a(x, h))), m),
        "maxout": lambda: (
            Block({"a": lin(n, 2 * m, rng)}, lambda s, x, h: s.a(x).unflatten(-1, (-1, 2)).amax(-1)), m),
        "bilinear": lambda: (
            Block({"a": lin(n, 3, rng), "b": nn.Bilinear(n, 3, m)}, lambda s, x, h: s.b(x, s.a(x).tanh())), m),
        "watched rate": lambda: (Block({"a": lin(n, m, rng)}, watched), m),
        "group norm": lambda: (
            Block({"a": lin(n, 6, rng), "b": nn.GroupNorm(rng.choice([2, 3]), 6)}, lambda s, x, h: s.b(s.a(x))), 6),
        "layer norm": lambda: (Block({"a": nn.LayerNorm(n)}, lambda s, x, h: s.a(x), ("norm",)), n),
        "rms norm": lambda: (Block({"a": nn.RMSNorm(n)}, lambda s, x, h: s.a(x), ("norm",)), n),
        "softmax": lambda: (Block({}, lambda s, x, h: x.softmax(-1), ("operation",)), n),
        "less mean": lambda: (Block({}, lambda s, x, h: x - x.mean(-1, keepdim=True), ("operation",)), n),
        "unit length": lambda: (Block({}, lambda s, x, h: F.normalize(x, dim=-1), ("operation",)), n),
        "fixed view": lambda: (Block({}, lambda s, x, h: x.view(-1, n).relu(), ("number",)), n),
    }  # fmt: skip
    if even:
        blocks["fixed slice"] = lambda: (
            Block({}, lambda s, x, h: x[:, : n // 2] * x[:, n // 2 :], ("number",)),
            n // 2,
        )
    return blocks | neurons(n, 0, rng)


def tied(n: int) -> Block:
    a, b = nn.Linear(n, n), nn.Linear(n, n)
    b.weight = a.weight
    return Block({"a": a, "b": b}, lambda s, x, h: s.b(torch.relu(s.a(x))))


def watched(block: Any, x: Tensor, state: Any) -> Tensor:
    y = torch.relu(block.a(x))
    block.rate = y.mean()
    return y


def map_blocks(n: int, rng: random.Random) -> dict[str, Callable[[], tuple[Block, int]]]:
    """Blocks for (B, n, 4, 4)."""
    m = rng.choice([2, 4, 6])

    def conv(i: int, o: int, k: int = 3, groups: int = 1) -> nn.Module:
        return nn.Conv2d(i, o, k, padding=k // 2, groups=groups)

    blocks = {
        "conv": lambda: (Block({"a": conv(n, m)}, lambda s, x, h: torch.relu(s.a(x))), m),
        "depthwise": lambda: (Block({"a": conv(n, n, groups=n)}, lambda s, x, h: s.a(x)), n),
        "multiplier": lambda: (Block({"a": conv(n, 2 * n, groups=n)}, lambda s, x, h: s.a(x)), 2 * n),
        "grouped": lambda: (
            Block({"a": conv(n, 4, 1), "b": conv(4, 6, groups=2)}, lambda s, x, h: s.b(s.a(x).relu())), 6),
        "grouped transposed": lambda: (
            Block({"a": conv(n, 4, 1), "b": nn.ConvTranspose2d(4, 6, 1, groups=2)}, lambda s, x, h: s.b(s.a(x))), 6),
        "residual": lambda: (
            Block({"a": conv(n, m), "b": nn.BatchNorm2d(m), "c": conv(m, n)},
                  lambda s, x, h: x + s.c(torch.relu(s.b(s.a(x))))), n),
        "stride shortcut": lambda: (
            Block({"a": conv(n, m), "b": conv(n, m, 1)}, lambda s, x, h: torch.relu(s.a(x) + s.b(x))), m),
        "u-net": lambda: (
            Block({"a": conv(n, m), "u": nn.ConvTranspose2d(m, 3, 2, 2)},
                  lambda s, x, h: torch.cat([x, s.u(torch.relu(s.a(F.max_pool2d(x, 2))))], 1)), n + 3),
        "interpolated": lambda: (
            Block({"a": conv(n, m)}, lambda s, x, h: F.interpolate(F.avg_pool2d(s.a(x), 2), scale_factor=2)), m),
        "squeeze-excite": lambda: (
            Block({"a": nn.Linear(n, 2), "b": nn.Linear(2, n)},
                  lambda s, x, h: x * torch.sigmoid(s.b(s.a(x.mean((2, 3))).relu()))[..., None, None]), n),
        "instance norm": lambda: (Block({"a": nn.InstanceNorm2d(n, affine=True)}, lambda s, x, h: s.a(x)), n),
        "pixel shuffle": lambda: (
            Block({"a": conv(n, 8, 1), "b": nn.PixelShuffle(2)}, lambda s, x, h: F.max_pool2d(s.b(s.a(x)), 2)), 2),
        "channel drop": lambda: (Block({"a": nn.Dropout2d(0.4)}, lambda s, x, h: s.a(x)), n),
        "group norm": lambda: (
            Block({"a": conv(n, 6, 1), "b": nn.GroupNorm(2, 6)}, lambda s, x, h: s.b(s.a(x))), 6),
        "norm over all": lambda: (Block({"a": nn.GroupNorm(1, n)}, lambda s, x, h: s.a(x), ("norm",)), n),
        "response norm": lambda: (Block({"a": nn.LocalResponseNorm(3)}, lambda s, x, h: s.a(x), ("norm",)), n),
        "softmax": lambda: (Block({}, lambda s, x, h: x.softmax(1), ("operation",)), n),
    }  # fmt: skip
    return blocks | neurons(n, 2, rng)


def sequence_blocks(n: int, rng: random.Random) -> dict[str, Callable[[], tuple[Block, int]]]:
    """Blocks for (B, 3, n)."""
    m = rng.choice([4, 6, 8])

    def first(s: Any, x: Tensor, h: Any) -> Tensor:
        return s.a(x)[0]

    return {
        "linear": lambda: (Block({"a": lin(n, m, rng)}, lambda s, x, h: torch.relu(s.a(x))), m),
        "lstm": lambda: (Block({"a": nn.LSTM(n, m, batch_first=True, bidirectional=rng.random() < 0.5)}, first), 0),
        "gru": lambda: (Block({"a": nn.GRU(n, m, 2, batch_first=True)}, first), 0),
        "rnn": lambda: (Block({"a": nn.RNN(n, m, batch_first=True)}, first), 0),
        "conv1d": lambda: (
            Block({"a": nn.Conv1d(n, m, 3, padding=1)}, lambda s, x, h: s.a(x.transpose(1, 2)).transpose(1, 2)), m),
        "attention": lambda: (
            Block({"i": nn.Linear(n, 8), "a": nn.MultiheadAttention(8, 2, batch_first=True)},
                  lambda s, x, h: (lambda i: i + s.a(i, i, i)[0])(s.i(x))), 8),
        "heads by hand": lambda: (Block({"a": nn.Linear(n, 24), "o": nn.Linear(8, m)}, heads), m),
        "one head": lambda: (
            Block({"q": nn.Linear(n, 4), "k": nn.Linear(n, 4), "v": nn.Linear(n, m)},
                  lambda s, x, h: (s.q(x) @ s.k(x).mT).softmax(-1) @ s.v(x)), m),
        "position": lambda: (position(n), n),
        "one head, scaled": lambda: (
            Block({"q": nn.Linear(n, 4), "k": nn.Linear(n, 4)},
                  lambda s, x, h: (s.q(x) @ s.k(x).mT / s.q(x).shape[-1] ** 0.5).softmax(-1) @ x, ("number",)), n),
        "encoder": lambda: (
            Block({"i": nn.Linear(n, 4), "a": nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)},
                  lambda s, x, h: s.a(s.i(x)), ("norm",)), 4),
        "layer norm": lambda: (Block({"a": nn.LayerNorm(n)}, lambda s, x, h: s.a(x), ("norm",)), n),
        "running sum": lambda: (Block({}, lambda s, x, h: x.cumsum(-1), ("operation",)), n),
    }  # fmt: skip


def heads(block: Any, x: Tensor, state: Any) -> Tensor:
    q, k, v = (part.unflatten(-1, (-1, 4)).transpose(1, 2) for part in block.a(x).chunk(3, -1))
    return block.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def position(n: int) -> Block:
    block = Block({}, lambda s, x, h: torch.cat([x + s.place, s.token.expand(len(x), 1, -1)], 1)[:, -x.shape[1] :])
    block.place, block.token = nn.Parameter(torch.randn(1, 3, n)), nn.Parameter(torch.randn(1, 1, n))
    return block


def neurons(n: int, places: int, rng: random.Random) -> dict[str, Callable[[], tuple[Block, int]]]:
    """Neurons of both libraries, with constants of their own."""
    import norse.torch as norse
    import snntorch

    def own(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, *[1] * places)

    some = {"spike_grad": spike, "threshold": own(0.1, 0.5)}
    inner = {"conv2d_channels": n, "kernel_size": 3} if places else {"linear_features": n}

    def neuron(module: nn.Module, *, reads_spikes: bool = False) -> tuple[Block, int]:
        def run(block: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
            if state is None and hasattr(block.a, "reset_mem"):
                state = block.a.reset_mem()
                state = state if isinstance(state, tuple) else (state,)
            output = block.a(x, *(state or ()))
            return output[0], output if reads_spikes else output[1:]

        return Block({"a": module}, run), n

    p = norse.LIFBoxParameters(v_th=torch.tensor(0.02))
    found = {
        "Leaky": lambda: neuron(snntorch.Leaky(own(0.5, 0.9), **some)),
        "Synaptic": lambda: neuron(snntorch.Synaptic(own(0.5, 0.9), own(0.5, 0.9), **some)),
        "RLeaky": lambda: neuron(snntorch.RLeaky(own(0.5, 0.9), **inner, **some), reads_spikes=True),
        "RSynaptic": lambda: neuron(snntorch.RSynaptic(0.8, own(0.5, 0.9), **inner, **some), reads_spikes=True),
        "one-to-one": lambda: neuron(
            snntorch.RLeaky(0.8, all_to_all=False, V=own(0.0, 1.0), **some), reads_spikes=True),
        "LIFBoxCell": lambda: neuron(norse.LIFBoxCell(p)),
        "LIFCell": lambda: neuron(norse.LIFCell(norse.LIFParameters(v_th=own(0.01, 0.03)))),
    }  # fmt: skip
    if not places:
        found["LIFRecurrentCell"] = lambda: neuron(
            norse.LIFRecurrentCell(n, n, p=norse.LIFParameters(v_th=own(0.01, 0.03)))
        )
    return found


class RandomNet(nn.Module):
    """Blocks in a row, shown an input for some steps.

    Args:
        seed: of all of it.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = random.Random(seed)
        torch.manual_seed(seed)
        self.kind = rng.choice(["flat", "flat", "map", "sequence", "tokens"])
        menu = {"flat": flat_blocks, "map": map_blocks}.get(self.kind, sequence_blocks)
        shape = {"flat": (5, 6), "map": (3, 2, 4, 4), "sequence": (3, 3, 5), "tokens": (3, 3)}[self.kind]
        self.names, blocks, n = [], [], 6 if self.kind == "tokens" else shape[1 if self.kind == "map" else -1]
        self.embed = nn.Embedding(7, 6) if self.kind == "tokens" else nn.Identity()
        example = torch.zeros(*shape[:1], *([3, 6] if self.kind == "tokens" else shape[1:]))
        for k in range(rng.randint(2, 4)):
            choices = menu(n, rng)
            name = rng.choice(sorted(choices)) if k else ("conv" if self.kind == "map" else "linear")
            block, _ = choices[name]()
            with torch.no_grad():
                example = block.eval()(example, None)[0]
            n = example.shape[1 if self.kind == "map" else -1]
            blocks.append(block)
            self.names.append(name)
        self.blocks, self.shape = nn.ModuleList(blocks), shape
        self.end = rng.choice(["flatten", "pool"])
        self.out = nn.Linear(self.ended(example).shape[-1], 3)
        self.double().eval()

    def ended(self, x: Tensor) -> Tensor:
        """(B, features)."""
        places = {"flat": (), "map": (2, 3)}.get(self.kind, (1,))
        return x.mean(places) if places and self.end == "pool" else x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        states, steps = [None] * len(self.blocks), []
        for _ in range(2):
            y = self.embed(x)
            for k, block in enumerate(self.blocks):
                y, states[k] = block(y, states[k])
            steps.append(self.out(self.ended(y)))
        return torch.stack(steps)

    def input(self, seed: int, scale: float = 1.0) -> Tensor:
        """Something that it takes."""
        rng = torch.Generator().manual_seed(seed)
        if self.kind == "tokens":
            return torch.randint(0, 7, self.shape, generator=rng)
        return scale * torch.randn(self.shape, generator=rng, dtype=torch.float64)
