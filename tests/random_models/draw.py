"""From a seed to the description of a small snnTorch or Norse model, and of the runs it is put through."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from .parts import (
    BATCH_FIRST,
    BETWEEN,
    HALVES,
    HEADS,
    JOINS,
    KEEPS,
    LISTED,
    MIXED,
    NEURONS,
    NORSE,
    OTHER,
    READS,
    WHOLE,
    Units,
)


@dataclass(frozen=True)
class Block:
    """A layer, what lies between, a neuron.

    Args:
        layer: "linear", "tokens" (a Linear on three rows of a sample), "conv1d", "conv2d".
        out: units, or channels.
        first: what is done with all steps at once, where the layer reads all of them.
        between: what is done in each step.
        join: how layers and neurons are joined.
        lead: in sequences, how a later layer reads: "tbn", "fold" or "lift".
    """

    layer: str = "linear"
    out: int = 6
    first: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    join: str = ""
    lead: str = "tbn"

    @property
    def units(self) -> Units:
        """What the layer gives for one row."""
        rest = {"conv1d": (self.out, 5), "conv2d": (self.out, 4, 4), "tokens": (3, self.out)}
        return rest.get(self.layer, (self.out,))

    @property
    def operations(self) -> tuple[str, ...]:
        return (*self.first, *self.between)


@dataclass(frozen=True)
class Pass:
    """One run of the model, and what comes before it.

    Args:
        steps, batch: sizes of the input.
        order: the frames that are read.
        grad: "grad", "no_grad", "inference_mode", "autocast".
        before: "" or what disturbs: "eval", "paused", "raise".
        twice: whether there are two runs before the learner steps.
    """

    steps: int = 5
    batch: int = 5
    order: tuple[int, ...] = (0, 1, 2, 3, 4)
    grad: str = "no_grad"
    before: str = ""
    twice: bool = False


@dataclass(frozen=True)
class Spec:
    """Everything that is drawn.

    Args:
        seed: also of weights and inputs.
        form: "code" for a forward written out, "sequential" for the host's container, "lifted" for that in a Lift.
        neuron, read: the kind of neuron, and how the first layer reads.
        pick: how a step is taken from a current that holds all steps.
        loop: where the loop over time is: in the "model", in the "caller", or around each "step".
        into: inputs of the first layer.
        blocks, heads, passes: layers with neurons, layers that feed nobody, runs.
        sample: whether the first input is given to `attach`.
        kernel: "rate" or "stdp_pair".
        some: whether only one layer is named in `target_layers`.
        online: whether the learner steps after each frame, rather than once after a run.
        two: whether, where only one layer is named, a second learner has the others.
        pairs: "" or what is said of who feeds whom: "all", or that one layer is "left" out.
    """

    seed: int = 0
    form: str = "code"
    neuron: str = "leaky"
    read: str = "stream"
    pick: str = "index"
    loop: str = "model"
    into: int = 6
    blocks: tuple[Block, ...] = (Block(),)
    heads: tuple[str, ...] = ()
    passes: tuple[Pass, ...] = (Pass(),)
    sample: bool = False
    kernel: str = "rate"
    some: bool = False
    pairs: str = ""
    online: bool = False
    two: bool = False

    @property
    def host(self) -> str:
        return "Norse" if self.neuron in NORSE else "snnTorch"

    @property
    def whole(self) -> bool:
        """Whether neurons read whole sequences."""
        return self.neuron in WHOLE

    @property
    def standings(self) -> set[str]:
        """Those of all that it is made of."""
        parts = {JOINS[block.join] for block in self.blocks}
        tokens = any(block.layer == "tokens" and block.join == "flat" for block in self.blocks)
        parts |= {OTHER} if self.read == "tconv" or tokens else set()
        return parts | {BETWEEN[name].standing for block in self.blocks for name in block.operations}

    @property
    def standing(self) -> str:
        """The least of them."""
        return next((kind for kind in (MIXED, OTHER) if kind in self.standings), LISTED)

    @property
    def raises(self) -> bool:
        """Whether a frame that there is not is an error."""
        return self.read[:6] != "static" and not (self.read in ("fold", "bfold") and self.pick == "chunk")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample of one step of the input."""
        rest = {"conv1d": (1, 5), "conv2d": (1, 4, 4), "tokens": (3, self.into)}
        return rest.get(self.blocks[0].layer, (self.into,))

    def shape(self, one: Pass) -> tuple[int, ...]:
        """The shape of the input of one pass."""
        if self.read == "tconv":
            return (one.batch, self.into, one.steps)
        if self.read[:6] == "static":
            return (one.batch, *self.sample_shape)
        front = (one.batch, one.steps) if self.read in BATCH_FIRST else (one.steps, one.batch)
        return (*front, *self.sample_shape)


def draw(seed: int) -> Spec:
    """A model from a seed."""
    r = random.Random(seed)
    neuron = r.choice((*NEURONS, "leaky", "leaky", "hidden", "cell", "cell", "seq"))
    reads = [read for read in READS if not (neuron in WHOLE and read in ("stream", "stream_b", "static"))]
    read = r.choices(reads, [1 if read == "tconv" else 3 for read in reads])[0]
    form = "sequential" if neuron in (*KEEPS, "cell", "seq") and r.random() < 0.2 else "code"
    if form == "sequential":
        form = "lifted" if neuron == "cell" and r.random() < 0.5 else form
        read = r.choice(("stream", "stream_b")) if neuron not in WHOLE and form != "lifted" else "tbn"
    streamed = read in ("stream", "stream_b")
    loop = "model" if neuron in WHOLE else r.choice(("model", "model", "caller", "step" if streamed else "model"))
    blocks = _blocks(r, neuron, read, form)
    calm = r.random() < 0.6
    passes = tuple(_pass(r, neuron, calm) for _ in range(r.choice((1, 2, 2, 3))))
    if r.random() < 0.5:  # other frames of the same shapes
        passes = tuple(_sized(one, passes[0].steps, passes[0].batch) for one in passes)
    if read == "turning":
        passes = tuple(_sized(one, one.steps, one.steps) for one in passes)
    several = len(blocks) > 1 or blocks[0].join in ("sum", "cat", "gated")
    heads = tuple(head for head in HEADS if r.random() < 0.1)
    pick = r.choice(("index", "index", "unbind", "list", "chunk", "select", "narrow"))
    return Spec(
        seed, form, neuron, read, pick, loop, r.choice((4, 5, 6)), blocks, heads if form == "code" else (), passes,
        r.random() < 0.35, r.choice(("rate", "stdp_pair")), r.random() < 0.2,
        r.choices(("", "all", "left"), (8, 1, 1))[0], neuron not in WHOLE and form != "lifted" and r.random() < 0.2,
        several and r.random() < 0.4,
    )  # fmt: skip


def _pass(r: random.Random, neuron: str, calm: bool) -> Pass:
    steps, batch = r.choice((4, 5, 6)), r.choice((4, 5, 6))
    batch = steps if r.random() < 0.5 else batch
    frames = list(range(steps))
    kind = r.choice(("forward", "forward", "reversed", "skipped", "repeated", "shuffled"))
    if kind == "reversed":
        frames.reverse()
    elif kind == "skipped":
        frames = frames[::2]
    elif kind == "repeated":
        frames = [t for t in frames for _ in range(2)]
    elif kind == "shuffled":
        r.shuffle(frames)
    grad = r.choice(("grad", "grad", "no_grad", "no_grad", "no_grad", "inference_mode", "autocast"))
    before = "" if calm else r.choice(("", "eval", "paused", "raise"))
    twice = neuron not in (*NORSE, *WHOLE) and not calm and r.random() < 0.4
    return Pass(steps, batch, tuple(frames), grad, before, twice)


def _sized(one: Pass, steps: int, batch: int) -> Pass:
    """The same with another size; frames that there are no more become others."""
    return replace(one, steps=steps, batch=batch, order=tuple(t % steps for t in one.order))


def _blocks(r: random.Random, neuron: str, read: str, form: str) -> tuple[Block, ...]:
    conv = READS[read] in ("step", "fold") and neuron not in ("recurrent", "sequence") and r.random() < 0.4
    blocks: list[Block] = []
    for i in range(r.choice((1, 1, 2, 3))):
        layer = r.choice(("tokens", "conv1d", "conv2d")) if conv and i == 0 else "linear"
        join = _join(r, layer, neuron, read, i) if form == "code" else ""
        out = 2 if layer[:4] == "conv" else r.choice((4, 6, 6))
        lead = r.choice(("tbn", "fold", "lift") if form == "code" else ("tbn", "lift"))
        block = Block(layer, out, (), (), join, lead)
        many = READS[read] if i == 0 else block.lead if neuron in WHOLE else "step"
        first = _some(r, block.units, many, form) if many in ("fold", "tbn", "btn") else ()
        between = () if neuron in WHOLE else _some(r, block.units, "step", form)
        blocks.append(replace(block, first=first, between=between))
    return tuple(blocks)


def _join(r: random.Random, layer: str, neuron: str, read: str, i: int) -> str:
    if layer != "linear":
        pooled = ("pooled", "pooled") if layer != "tokens" else ()
        return r.choice(("", "", "flat", "sum", "sum_", "double", "batches", *pooled))
    fitting = [join for join in JOINS if join not in ("flat", "pooled")]
    if i == 0:
        fitting = [join for join in fitting if join not in ("shared", "shared_neuron", "skip")]
    if neuron in (*KEEPS, *WHOLE):
        fitting = [join for join in fitting if join != "shared_neuron" and (join != "ticks" or neuron in KEEPS)]
    if neuron in WHOLE or (i == 0 and read not in ("stream", "stream_b")):
        fitting = [join for join in fitting if join != "swap"]
    if neuron in ("recurrent", "sequence"):
        fitting = [join for join in fitting if join not in HALVES and join not in ("part", "cat")]
    return r.choice(fitting) if r.random() < 0.45 else ""


def _some(r: random.Random, units: Units, lead: str, form: str) -> tuple[str, ...]:
    fitting = [name for name, operation in BETWEEN.items() if operation.fits(units, lead)]
    if form != "code":
        fitting = [name for name in fitting if BETWEEN[name].module]
    found = []
    for _ in range(r.choice((0, 0, 1, 1, 2))):
        standing = r.choices((LISTED, OTHER, MIXED), (80, 13, 7))[0]
        names = [name for name in fitting if BETWEEN[name].standing == standing]
        found += [r.choice(names)] if names else []
    return tuple(found)


def simpler(spec: Spec) -> list[Spec]:
    """The same with one thing less, in every way."""
    found: list[Spec] = []
    if len(spec.passes) > 1:
        found += [replace(spec, passes=spec.passes[:i] + spec.passes[i + 1 :]) for i in range(len(spec.passes))]
    found += [replace(spec, heads=tuple(h for h in spec.heads if h != head)) for head in spec.heads]
    for i, block in enumerate(spec.blocks):
        if len(spec.blocks) > 1:
            found.append(replace(spec, blocks=spec.blocks[:i] + spec.blocks[i + 1 :]))
        found += [replace(spec, blocks=(*spec.blocks[:i], less, *spec.blocks[i + 1 :])) for less in _less(block)]
    for i, one in enumerate(spec.passes):
        easy = {"order": tuple(range(one.steps)), "grad": "no_grad", "before": "", "twice": False}
        for less in _changed(one, easy):
            found.append(replace(spec, passes=(*spec.passes[:i], less, *spec.passes[i + 1 :])))
    plain = {"snnTorch": ("leaky", "sequence"), "Norse": ("cell", "seq")}[spec.host][spec.whole]
    easy = {"pick": "index", "loop": "model", "sample": False, "kernel": "rate", "pairs": ""}
    easy |= dict.fromkeys(("some", "online", "two"), False)
    return found + _changed(spec, easy | ({"neuron": plain} if spec.form == "code" else {}))


def _changed(one: Any, values: dict[str, Any]) -> list[Any]:
    return [replace(one, **{key: value}) for key, value in values.items() if getattr(one, key) != value]


def _less(block: Block) -> list[Block]:
    found = [replace(block, join="")] if block.join else []
    for key in ("first", "between"):
        names = getattr(block, key)
        found += [replace(block, **{key: names[:i] + names[i + 1 :]}) for i in range(len(names))]
    return found
