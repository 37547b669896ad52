"""What random models are made of: operations between a layer and its neuron, and how layers and neurons are joined.

Of each it is said whether its map, from outputs of the layer to inputs of the neuron, must be followed (LISTED: the
documents promise it), may be followed or refused (OTHER), or must be refused (MIXED: outputs are mixed).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

LISTED, OTHER, MIXED = "listed", "other", "mixed"
Units = tuple[int, ...]


class Between(NamedTuple):
    """An operation, as text.

        {c} the current   {u} its units, a tuple   {n} their last axis   {ch} their first axis   {k} its own number

    Args:
        standing: whether it must be followed.
        line: what it does to the current.
        fits: of the units and of the axes in front of them ("step", "fold", "tbn", "btn"), whether it can stand there.
        needs: what it needs in `__init__`.
        module: the module that it is, where it is one.
    """

    standing: str
    line: str
    fits: Callable[[Units, str], bool] = lambda units, lead: True
    needs: str = ""
    module: str = ""


def _module(standing: str, module: str, fits: Callable[[Units, str], bool] = lambda units, lead: True) -> Between:
    return Between(standing, "{c} = s.mid{k}({c})", fits, "s.mid{k} = " + module, module)


def _rows(units: Units, lead: str) -> bool:
    return lead in ("step", "fold")


def _row(units: Units, lead: str) -> bool:
    return len(units) == 1 and _rows(units, lead)


def _even(units: Units, lead: str) -> bool:
    return units[0] % 2 == 0 and _rows(units, lead)


def _line(units: Units, lead: str) -> bool:
    return len(units) == 2 and _rows(units, lead)


def _plane(units: Units, lead: str) -> bool:
    return len(units) == 3 and _rows(units, lead)


def _sequence(units: Units, lead: str) -> bool:
    return len(units) == 1 and lead in ("tbn", "btn")


def _time_first(units: Units, lead: str) -> bool:
    return lead == "tbn"


def _step(units: Units, lead: str) -> bool:
    return lead == "step"


BETWEEN = {
    # scaled, shifted, bent
    "scale": Between(LISTED, "{c} = {c} * 2"),
    "half": Between(LISTED, "{c} = 0.7 * {c} / 1.1"),
    "gain": Between(LISTED, "{c} = {c} * s.gain{k}", needs="s.gain{k} = nn.Parameter(torch.ones{u})"),
    "plus": Between(LISTED, "{c} = {c} + 0.1"),
    "minus": Between(LISTED, "{c} = {c} - 0.05"),
    "added": Between(LISTED, "{c} = torch.add({c}, 0.1, alpha=2)"),
    "bias": Between(LISTED, "{c} = {c} + s.bias{k}", needs="s.bias{k} = nn.Parameter(torch.zeros{u})"),
    "noise": Between(LISTED, "{c} = {c} + 0.1 * torch.rand_like({c})"),
    "relu": Between(LISTED, "{c} = torch.relu({c})"),
    "frelu": Between(LISTED, "{c} = F.relu({c})"),
    "relu_": Between(LISTED, "{c} = {c}.relu_()"),
    "tanh": Between(LISTED, "{c} = torch.tanh({c})"),
    "leaky": Between(LISTED, "{c} = F.leaky_relu({c}, 0.1)"),
    "clamp": Between(LISTED, "{c} = {c}.clamp(-3.0, 3.0)"),
    "where": Between(LISTED, "{c} = torch.where({c} > 0, {c}, 0.1 * {c})"),
    "abs": Between(LISTED, "{c} = {c}.abs()"),
    "square": Between(LISTED, "{c} = {c} ** 2"),
    "gelu": Between(LISTED, "{c} = F.gelu({c})"),
    "masked": Between(LISTED, "{c} = {c}.masked_fill({c} < 0, 0.0)"),
    "random": Between(LISTED, "{c} = {c} * (0.5 + torch.rand_like({c}))"),
    "prelu": _module(LISTED, "nn.PReLU()"),
    "iadd": Between(LISTED, "{c} += 0.1"),
    "mul_": Between(LISTED, "{c}.mul_(1.5)"),
    # normalised, dropped
    "drop": _module(LISTED, "nn.Dropout(0.2)"),
    "drop0": _module(LISTED, "nn.Dropout(0.0)"),
    "drop_": _module(LISTED, "nn.Dropout(0.2, inplace=True)"),
    "fdrop": Between(LISTED, "{c} = F.dropout({c}, 0.2)"),
    "norm": _module(LISTED, "nn.LayerNorm({u})"),
    "fnorm": Between(LISTED, "{c} = F.layer_norm({c}, {u})"),
    "batchnorm": _module(LISTED, "nn.BatchNorm1d({n})", _row),
    "batchnorm1d": _module(LISTED, "nn.BatchNorm1d({ch})", _line),
    "batchnorm2d": _module(LISTED, "nn.BatchNorm2d({ch})", _plane),
    "groupnorm": _module(LISTED, "nn.GroupNorm(2, {ch})", _even),
    "drop1d": _module(LISTED, "nn.Dropout1d(0.3)", _line),
    "drop2d": _module(LISTED, "nn.Dropout2d(0.3)", _plane),
    "alphadrop": _module(LISTED, "nn.AlphaDropout(0.1)"),
    "rmsnorm": _module(LISTED, "nn.RMSNorm({n})"),
    "instancenorm": _module(LISTED, "nn.InstanceNorm2d({ch})", _plane),
    "fbatchnorm": Between(LISTED, "{c} = F.batch_norm({c}, None, None, training=True)", _row),
    "channels_last": Between(
        LISTED, "{c} = s.mid{k}({c}.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)", _plane,
        needs="s.mid{k} = nn.LayerNorm({ch})",
    ),
    "norm_folded": Between(
        LISTED, "{c} = s.mid{k}({c}.flatten(0, 1)).unflatten(0, {c}.shape[:2])", _sequence,
        needs="s.mid{k} = nn.BatchNorm1d({n})",
    ),
    "norm_turned": Between(
        LISTED, "{c} = s.mid{k}({c}.transpose(1, 2)).transpose(1, 2)", _sequence,
        needs="s.mid{k} = nn.BatchNorm1d({n})",
    ),
    "identity": _module(LISTED, "nn.Identity()"),
    "activation": _module(LISTED, "nn.ReLU()"),
    "several": _module(LISTED, "nn.Sequential(nn.LayerNorm({u}), nn.ReLU(), nn.Dropout(0.1))"),
    # pooled
    "avgpool1d": _module(LISTED, "nn.AvgPool1d(3, 1, 1)", _line),
    "maxpool1d": _module(LISTED, "nn.MaxPool1d(3, 1, 1)", _line),
    "fmaxpool1d": Between(LISTED, "{c} = F.max_pool1d({c}, 3, 1, 1)", _line),
    "avgpool2d": _module(LISTED, "nn.AvgPool2d(3, 1, 1)", _plane),
    "maxpool2d": _module(LISTED, "nn.MaxPool2d(3, 1, 1)", _plane),
    "favgpool2d": Between(LISTED, "{c} = F.avg_pool2d({c}, 3, 1, 1)", _plane),
    "fmaxpool2d": Between(LISTED, "{c} = F.max_pool2d({c}, 3, 1, 1)", _plane),
    # the same numbers, elsewhere
    "clone": Between(LISTED, "{c} = {c}.clone()"),
    "detach": Between(LISTED, "{c} = {c}.detach()"),
    "double": Between(LISTED, "{c} = {c}.double().float()"),
    "view": Between(LISTED, "{c} = {c}.reshape(-1).view({c}.shape)"),
    "unsqueeze": Between(LISTED, "{c} = {c}.unsqueeze(0).squeeze(0)"),
    "unsqueeze_last": Between(LISTED, "{c} = {c}.unsqueeze(-1).contiguous().squeeze(-1)"),
    "turned": Between(LISTED, "{c} = {c}.transpose(0, 1).contiguous().transpose(0, 1)"),
    "turned_last": Between(LISTED, "{c} = ({c}.transpose(0, -1) * 1.2).transpose(0, -1)"),
    "stacked": Between(LISTED, "{c} = torch.stack([{c}, {c}])[1]"),
    "joined": Between(LISTED, "{c} = torch.cat([{c}[:2], {c}[2:]])"),
    "repeated": Between(LISTED, "{c} = {c}.repeat_interleave(2, 0)[1::2]"),
    "expanded": Between(LISTED, "{c} = {c}.unsqueeze(0).expand(3, *{c}.shape)[1]"),
    "indexed": Between(LISTED, "{c} = {c}.index_select(0, torch.arange(len({c}) - 1, -1, -1))", _step),
    "samples": Between(LISTED, "{c} = {c}[[*range(1, len({c})), 0]]", _step),
    # rows and units in another order, and what a library may know or not
    "tiled": Between(OTHER, "{c} = {c}.repeat(2, *[1] * (len({c}.shape) - 1))[len({c}) :]", _rows),
    "padded": Between(OTHER, "{c} = F.pad({c}, (1, 2))[..., 1:-2]"),
    "buffer": Between(OTHER, "b{k} = torch.zeros_like({c}); b{k}[:] = {c}; {c} = b{k}"),
    "centred": Between(OTHER, "{c} = {c} - 0.5 * {c}.mean(-1, keepdim=True)"),
    "normalized": Between(OTHER, "{c} = 2 * F.normalize({c}, dim=-1)"),
    "flip": Between(OTHER, "{c} = {c}.flip(-1)"),
    "roll": Between(OTHER, "{c} = {c}.roll(1, -1)"),
    "shuffle": Between(OTHER, "{c} = {c}[..., [*range(1, {c}.shape[-1]), 0]]"),
    "flip_rows": Between(OTHER, "{c} = {c}.flip(0)"),
    "roll_rows": Between(OTHER, "{c} = {c}.roll(1, 0)"),
    "sometimes": Between(OTHER, "{c} = {c} if order[0] <= order[-1] else 1.1 * {c}"),
    "delayed": Between(OTHER, "late{k}.append({c}); {c} = late{k}[max(0, len(late{k}) - 2)]", _step),
    "frozen": Between(OTHER, "{c} = s.mid{k}({c})", needs="s.mid{k} = nn.Linear({n}, {n}).requires_grad_(False)"),
    "avgpool": Between(OTHER, "{c} = F.avg_pool1d({c}.unsqueeze(1), 3, 1, 1).squeeze(1)", _row),
    "maxpool": Between(OTHER, "{c} = F.max_pool1d({c}.unsqueeze(1), 3, 1, 1).squeeze(1)", _row),
    "function": Between(OTHER, "{c} = Twice.apply({c})"),
    "vmap": Between(OTHER, "{c} = torch.vmap(lambda row: 1.5 * row)({c})"),
    "aten": Between(OTHER, "{c} = torch.ops.aten.mul.Tensor({c}, torch.tensor(1.5))"),
    "numpy": Between(OTHER, "{c} = torch.from_numpy({c}.detach().numpy() * 1.5)"),
    # outputs mixed
    "matmul": Between(MIXED, "{c} = {c} @ s.mix{k}", needs="s.register_buffer('mix{k}', torch.rand({n}, {n}))"),
    "flinear": Between(MIXED, "{c} = F.linear({c}, s.mix{k})", needs="s.mix{k} = nn.Parameter(torch.rand({n}, {n}))"),
    "softmax": Between(MIXED, "{c} = 3 * torch.softmax({c}, -1)"),
    "cumsum": Between(MIXED, "{c} = 0.3 * {c}.cumsum(-1)"),
    "cumsum_time": Between(MIXED, "{c} = 0.3 * {c}.cumsum(0)", _time_first),
    "sort": Between(MIXED, "{c} = {c}.sort(-1).values"),
    "fft": Between(MIXED, "{c} = 0.5 * torch.fft.fft({c}).real.float()"),
    "fconv": Between(
        MIXED, "{c} = F.conv1d({c}.unsqueeze(1), s.mix{k}, padding=1).squeeze(1)", _row,
        needs="s.register_buffer('mix{k}', torch.rand(1, 1, 3))",
    ),
    "lowpass": Between(MIXED, "low{k} = 0.5 * low{k} + {c}; {c} = low{k}", _step),
}  # fmt: skip
IN_PLACE = ("relu_", "iadd", "mul_", "drop_")
JOINS = {
    "": LISTED, "residual": LISTED, "residual_": LISTED, "unfed": LISTED, "chunk": LISTED, "split": LISTED,
    "slices": LISTED, "fused": LISTED, "part": LISTED, "double": LISTED, "choose": LISTED, "swap": LISTED,
    "shared": LISTED, "shared_neuron": LISTED, "ticks": LISTED, "hooked": LISTED, "flat": LISTED,
    "interleaved": OTHER, "batches": OTHER, "sum": OTHER, "sum_": OTHER, "sum_same": OTHER, "chain": OTHER,
    "cat": OTHER, "beside": OTHER, "gated": OTHER, "skip": OTHER, "tied": OTHER, "pooled": LISTED,
}  # fmt: skip
HALVES = {  # two populations behind one layer
    "chunk": "{c}.chunk(2, -1)", "split": "{c}.split({half}, -1)", "slices": "{c}[..., {half}:], {c}[..., :{half}]",
    "fused": "{c}.unflatten(-1, (2, {half})).unbind(-2)", "interleaved": "{c}[..., ::2], {c}[..., 1::2]",
}  # fmt: skip
HEADS = ("before", "after", "no_grad", "frozen", "mlp", "spikes", "current", "voltage")
READS = {  # how the first layer reads, and the axes in front of what it gives
    "stream": "step", "stream_b": "step", "static": "step", "static_rep": "tbn", "tbn": "tbn", "btn": "btn",
    "turning": "tbn", "fold": "fold", "bfold": "fold", "calls": "tbn", "tconv": "bnt",
}  # fmt: skip
BATCH_FIRST = ("btn", "bfold", "stream_b", "tconv")
NEURONS = {
    "leaky": "snn.Leaky(0.8, threshold=0.5)", "keyword": "snn.Leaky(0.8, threshold=0.5)",
    "synaptic": "snn.Synaptic(0.4, 0.8, threshold=0.5)", "lapicque": "snn.Lapicque(beta=0.8, threshold=0.3)",
    "hidden": "snn.Leaky(0.8, threshold=0.5, init_hidden=True)",
    "recurrent": "snn.RLeaky(0.8, threshold=0.5, linear_features={n}, init_hidden=True)",
    "sequence": "snn.StateLeaky(0.6, {n}, threshold=1.0)",
    "cell": "norse.LIFCell(p=FAST)", "state": "norse.LIFCell(p=FAST)", "seq": "norse.LIF(p=FAST)",
    "lift": "norse.Lift(norse.LIFCell(p=FAST))",
}  # fmt: skip
KEEPS = ("hidden", "recurrent")  # neurons that keep their states
WHOLE = ("seq", "lift", "sequence")  # neurons that read whole sequences
NORSE = ("cell", "state", "seq", "lift")
