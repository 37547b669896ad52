"""From the description of a random model to the text of a program: a class `Net`, and a function `run`."""

from __future__ import annotations

from math import prod

from .draw import Block, Spec
from .parts import BATCH_FIRST, BETWEEN, HALVES, KEEPS, NEURONS, Units


def write(spec: Spec) -> str:
    """The text of a program with a class `Net` and a function `run(net, x, order)`."""
    return _Writer(spec).text() if spec.form == "code" else _contained(spec)


class _Writer:
    """A program being written: lines of `__init__`, of the states, of what comes before the loop, of the loop."""

    def __init__(self, spec: Spec) -> None:
        self.spec, self.count, self.tick = spec, 0, _tick(spec)
        self.needs: list[str] = []
        self.states: list[str] = []
        self.before: list[str] = []
        self.step: list[str] = []
        self.kept: dict[int, Units] = {}  # units of the current k{i}
        self.layers: dict[int, tuple[str, int, int]] = {}  # by block: name, inputs and outputs of a plain Linear

    def text(self) -> str:
        units = self._first()
        for i, block in enumerate(self.spec.blocks[1:], start=2):
            units = self._next(block, i, units)
        self._last(units)
        return self._assemble()

    def _first(self) -> Units:
        spec, block, name = self.spec, self.spec.blocks[0], "c1"
        into, flat = prod(spec.sample_shape), block.layer == "linear"
        size = spec.into if block.layer == "tokens" else into
        source = {"stream": "x[t]", "stream_b": "x[:, t]", "fold": "x.flatten(0, 1)", "bfold": "x.flatten(0, 1)"}
        given = source.get(spec.read, "x")
        streamed = spec.read in ("stream", "stream_b")
        place = self.step if streamed else self.before
        heads = (
            given if spec.read not in ("calls", "tconv") else "x[0]" if spec.read == "calls" else "x.transpose(1, 2)"
        )
        self._heads(place, ("before", "no_grad"), into, heads, flat)
        self._first_layer(place, block, size, given, "c" if streamed else name)
        self._heads(place, ("after", "frozen", "mlp"), into, heads, flat)
        if not streamed:
            self._operate(place, block.first, self._wide(block), name)
            self.step.append(f"c = {self._pick(name)}")
        return self._rest(block, 1, self._wide(block))

    def _first_layer(self, place: list[str], block: Block, into: int, given: str, name: str) -> None:
        if self.spec.read == "tconv":
            self.needs.append(f"s.fc1 = nn.Conv1d({into}, {block.out}, 3, padding=1)")
            place.append(f"{name} = s.fc1(x)")
        elif self.spec.read == "calls":
            lines: list[str] = []
            self._current(lines, block, 1, into, "x[t]", "c")
            place += ["made = []", "for t in range(T):", *(f"    {line}" for line in lines), "    made.append(c)"]
            place.append(f"{name} = torch.stack(made)")
        else:
            self._current(place, block, 1, into, given, name)
        if self.spec.read == "static_rep":
            form = {"index": "torch.stack([c1] * T)", "unbind": "c1.unsqueeze(0).expand(T, *c1.shape)"}
            place.append(f"c1 = {form.get(self.spec.pick, 'c1.unsqueeze(0).repeat(T, *[1] * len(c1.shape))')}")

    def _wide(self, block: Block) -> Units:
        alone = self.spec.read == "tconv" and block is self.spec.blocks[0]
        more = {"cat": block.out, "beside": 2}.get(block.join, 0)
        return (block.out + more,) if more and not alone else block.units

    def _next(self, block: Block, i: int, units: Units) -> Units:
        if len(units) > 1:
            self.step.append(f"h = h.flatten({2 if self.spec.whole else 1})")
        into, source, lead = prod(units), "h", block.lead if self.spec.whole else ""
        made = self._wide(block)
        if lead == "fold":
            source = "h.flatten(0, 1)"
        self._current(self.step, block, i, into, source, "c")
        if self.spec.whole:
            self._operate(self.step, block.first, made, "c")
        if lead == "fold":
            self.step.append("c = c.unflatten(0, h.shape[:2])")
        return self._rest(block, i, made)

    def _rest(self, block: Block, i: int, units: Units) -> Units:
        """From the current of a step (or of all) to the spikes h; the units of these."""
        self._operate(self.step, block.between, units, "c")
        self.kept[i] = units
        if i < len(self.spec.blocks) and self.spec.blocks[i].join == "skip":
            self.step.append(f"k{i} = c")
        if i == 1 and "current" in self.spec.heads and len(units) == 1:
            self._heads(self.step, ("current",), units[0], "c", True)
        return self._neurons(block, i, units)

    def _last(self, units: Units) -> None:
        flat = len(units) == 1
        if not self.spec.whole:
            self._heads(self.step, ("spikes",), prod(units), "h", flat)
        if "voltage" in self.spec.heads and self.spec.host == "Norse" and flat:
            self.needs.append(f"s.head_voltage = nn.Linear({units[0]}, 6)")
            self.needs.append(f"s.li = norse.LI{'' if self.spec.whole else 'Cell'}()")
            if self.spec.whole:
                self.step.append("v, _ = s.li(s.head_voltage(h))")
            else:
                self.states.append("mv = None")
                self.step.append("v, mv = s.li(s.head_voltage(h), mv)")

    def _heads(self, place: list[str], kinds: tuple[str, ...], into: int, source: str, flat: bool) -> None:
        """Layers that feed nobody."""
        for kind in kinds:
            if kind not in self.spec.heads:
                continue
            made = f"nn.Linear({into}, 6)"
            if kind == "mlp":
                made = f"nn.Sequential({made}, nn.ReLU(), nn.Linear(6, 6))"
            self.needs.append(f"s.head_{kind} = {made}{'.requires_grad_(False)' if kind == 'frozen' else ''}")
            call = f"v = s.head_{kind}({source}{'' if flat else '.flatten(1)'})"
            place += ["with torch.no_grad():", f"    {call}"] if kind == "no_grad" else [call]

    def _operate(self, place: list[str], names: tuple[str, ...], units: Units, c: str) -> None:
        for name in names:
            if name == "sometimes" and self.spec.loop == "step":
                continue
            self.count += 1
            values = _values(units, c, self.count)
            if BETWEEN[name].needs:
                self.needs.append(BETWEEN[name].needs.format(**values))
            if name in ("lowpass", "delayed"):
                self.states.append(f"low{self.count} = 0.0" if name == "lowpass" else f"late{self.count} = []")
            place.append(BETWEEN[name].line.format(**values))

    def _current(self, place: list[str], block: Block, i: int, into: int, source: str, c: str) -> None:
        """Lines that compute a block's current from what it reads."""
        name, join = f"fc{i}", block.join
        shared = self.layers.get(i - 1)
        if join == "shared" and shared and shared[1:] == (into, block.out):
            name = shared[0]
        else:
            self.needs.append(
                f"s.{name} = {_layer(block, into, lift=block.lead == 'lift' and self.spec.whole and i > 1)}"
            )
        if block.layer == "linear":
            self.layers[i] = (name, into, block.out)
        if join in ("sum", "sum_", "cat", "gated", "choose", "swap"):
            self.needs.append(f"s.fb{i} = {_layer(block, into)}")
        if join == "chain":
            self.needs.append(f"s.fb{i} = nn.Linear({block.out}, {block.out})")
        skip = join == "skip" and self.kept.get(i - 1) == block.units
        residual = join == "residual" and into == block.out
        form = {
            "batches": "torch.cat([s.{a}({x}[:2]), s.{a}({x}[2:])])",
            "tied": "s.{a}({x}) - 0.5 * s.{b}({x})",
            "sum": "s.{a}({x}) + s.{b}({x})", "gated": "s.{a}({x}) * torch.sigmoid(s.{b}({x}))",
            "cat": "torch.cat([s.{a}({x}), s.{b}({x})], -1)", "sum_same": "s.{a}({x}) + s.{a}(1 - {x})",
            "beside": "torch.cat([s.{a}({x}), 0.5 * {x}[..., :2]], -1)",
            "residual": "{x} + s.{a}({x})" if residual else "s.{a}({x})",
            "choose": "(s.{a}({x}), s.{b}({x}))[" + self._turned() + "]",
            "skip": "s.{a}({x}) + " + self._kept(i - 1) if skip else "s.{a}({x})",
        }.get(join, "s.{a}({x})")  # fmt: skip
        if join == "hooked":
            self.needs.append(f"s.{name}.register_forward_hook(lambda module, given, made: 1.3 * made)")
        if join == "tied":
            self.needs.append(f"s.fb{i} = {_layer(block, into)}")
            if "Lift" not in self.needs[-2]:
                self.needs.append(f"s.fb{i}.weight = s.{name}.weight")
        if join == "unfed":
            self.needs.append(f"s.register_buffer('wire{i}', torch.rand({into}, {block.out}))")
            place += [f"v = s.{name}({source})", f"{c} = 0.6 * ({source} @ s.wire{i})"]
            return
        if join == "swap":
            place.append(f"both = [s.{name}({source}), s.fb{i}({source})]")
            place.append(f"c, d = both if {self._turned()} else both[::-1]")
            return
        place.append(f"{c} = " + form.format(a=name, b=f"fb{i}", x=source))
        if join == "sum_" or (join == "residual_" and into == block.out):
            place.append(f"{c} += s.fb{i}({source})" if join == "sum_" else f"{c} += {source}")
        if join == "chain":
            place.append(f"{c} = {c} + s.fb{i}({c})")

    def _turned(self) -> str:
        """What differs from pass to pass: whether the frames run backwards."""
        return "0" if self.spec.loop == "step" else "int(order[0] > order[-1])"

    def _kept(self, i: int) -> str:
        folded = self.spec.whole and self.spec.blocks[i].lead == "fold"
        return f"k{i}.flatten(0, 1)" if folded else f"k{i}"

    def _neurons(self, block: Block, i: int, units: Units) -> Units:
        join, half = block.join, units[-1] // 2
        if join == "part":
            self.step.append(f"c = c[..., {half}:]")
            units = (units[-1] - half,)
        if join == "flat":
            self.step.append(f"c = c.flatten({2 if self.spec.whole else 1})")
            units = (prod(units),)
        if join == "pooled":
            pool = f"F.max_pool{len(units) - 1}d"
            whole = f"{pool}(c.flatten(0, 1), 2).unflatten(0, c.shape[:2])"
            self.step.append(f"c = {whole}" if self.spec.whole else f"c = {pool}(c, 2)")
            units = (units[0], *(n // 2 for n in units[1:]))
        if join in HALVES:
            self.step.append("one, two = " + HALVES[join].format(c="c", half=half))
            self.step += [self._fire(i, "h1", "one", half), self._fire(i, "h2", "two", half, "b")]
            self.step.append("h = torch.cat([h1, h2], -1)")
        elif join in ("double", "swap"):
            other = "0.6 * c" if join == "double" else "1.1 * d"
            self.step += [self._fire(i, "h1", "c", units[-1]), self._fire(i, "h2", other, units[-1], "b")]
            self.step.append("h = h1 + h2")
        else:
            shared = i > 1 and join == "shared_neuron" and self.spec.blocks[i - 2].join not in HALVES
            self.step.append(self._fire(i, "h", "c", units[-1], shared=shared))
            if join == "ticks" and not self.spec.whole:
                self.step.append(self.step[-1].replace("c,", "1.2 * c,").replace("(c)", "(1.2 * c)"))
        return units

    def _fire(self, i: int, to: str, current: str, size: int, tag: str = "", *, shared: bool = False) -> str:
        """The line of a neuron's call; its module and its state are arranged for."""
        kind, state = self.spec.neuron, f"m{i}{tag}"
        name = f"lif{i}{tag}"
        if shared:
            name = next(f"lif{j}" for j in range(i - 1, 0, -1) if f"s.lif{j} = {NEURONS[kind]}" in self.needs)
        else:
            self.needs.append(f"s.{name} = {NEURONS[kind].format(n=size)}")
        if self.spec.whole:
            return f"{to}, _ = s.{name}({current})"
        if kind in KEEPS:
            self.states.append(f"s.{name}.reset_mem()")
            return f"{to} = s.{name}({current})"
        made = {"cell": "None", "state": "None", "keyword": f"s.{name}.reset_mem()"}
        start = made.get(kind) or (f"list(s.{name}.reset_mem())" if kind == "synaptic" else f"[s.{name}.reset_mem()]")
        self.states.append(f"{state} = {start}")
        call = {
            "cell": f"{current}, {state}", "state": f"{current}, state={state}",
            "keyword": f"input_={current}, mem={state}",
        }.get(kind, f"{current}, *{state}")  # fmt: skip
        return f"{to}, {state if kind in made else '*' + state} = s.{name}({call})"

    def _pick(self, c: str) -> str:
        """The step t of a current that holds all steps; in sequences, all of them in order."""
        read, whole = self.spec.read, self.spec.whole
        if read == "static":
            return c
        if read == "tconv":
            return f"{c}[:, :, order].permute(2, 0, 1)" if whole else f"{c}[:, :, t]"
        if read in ("fold", "bfold"):
            if self.spec.pick == "chunk" and not whole:
                return f"{c}[t * B : (t + 1) * B]" if read == "fold" else f"{c}[t::T]"
            self.before.append(f"{c} = {c}.unflatten(0, {'(T, B)' if read == 'fold' else '(B, T)'})")
        if read == "turning":
            return (
                f"{c}[order] if {self._turned()} else {c}[:, order].transpose(0, 1)"
                if whole
                else f"{c}[t] if {self._turned()} else {c}[:, t]"
            )
        axis = int(read in BATCH_FIRST)
        if whole:
            frames = "" if self.spec.pick in ("unbind", "list") else "[:, order]" if axis else "[order]"
            return f"{c}{frames}{'.transpose(0, 1)' if axis else ''}"
        made = {
            "unbind": f"{c}.unbind({axis})", "list": f"list({c}{'.transpose(0, 1)' if axis else ''})",
            "chunk": f"[k.squeeze({axis}) for k in {c}.chunk(T, {axis})]",
        }.get(self.spec.pick)  # fmt: skip
        if made:
            self.before.append(f"steps = {made}")
            return "steps[t]"
        other = {"select": f"{c}.select({axis}, t)", "narrow": f"{c}.narrow({axis}, t, 1).squeeze({axis})"}
        return other.get(self.spec.pick, f"{c}[:, t]" if axis else f"{c}[t]")

    def _assemble(self) -> str:
        spec, states = self.spec, list(dict.fromkeys(self.states))
        needs = list(dict.fromkeys(self.needs))
        shape = _sizes(spec)
        if spec.loop == "step":
            return self._stepwise(needs, shape, states)
        loop = [*self.step, "return h"]
        if not spec.whole:
            inside = [*_indented(self.step), "    out.append(h)", *self.tick]
            loop = ["out = []", "for t in order:", *inside, "return torch.stack(out)"]
        body = [shape, *states, *self.before, *loop]
        if spec.loop == "model":
            return _program(needs, ["def forward(s, x, order):", *_indented(body)], ["return net(x, order)"])
        return _program(needs, [], ["s = net", *body])

    def _stepwise(self, needs: list[str], shape: str, states: list[str]) -> str:
        names = "".join(f", {line.split(' = ')[0]}" for line in states if " = " in line)
        step = [line.replace("x[:, t]", "x").replace("x[t]", "x") for line in self.step]
        method = [f"def forward(s, x{names}):", *_indented([*step, f"return h{names}"])]
        call = f"h{names} = net({'x[t]' if self.spec.read == 'stream' else 'x[:, t]'}{names})"
        run = ["s = net", shape, *states, "out = []", "for t in order:", f"    {call}", "    out.append(h)"]
        run += self.tick
        return _program(needs, method, [*run, "return torch.stack(out)"])


def _values(units: Units, c: str, k: int) -> dict[str, object]:
    shape = units if len(units) > 1 else f"({units[0]},)"
    return {"c": c, "u": shape, "n": units[-1], "ch": units[0], "k": k}


def _layer(block: Block, into: int, *, lift: bool = False) -> str:
    made = f"nn.Conv{block.layer[4:]}(1, {block.out}, 3, padding=1)"
    if block.layer in ("linear", "tokens"):
        made = f"nn.Linear({into}, {block.out})"
    return f"norse.Lift({made})" if lift else made


def _sizes(spec: Spec) -> str:
    if spec.read == "tconv":
        return "B, T = len(x), x.shape[-1]"
    if spec.read[:6] == "static":
        return "T = max(order) + 1"
    return "B, T = x.shape[:2]" if spec.read in BATCH_FIRST else "T, B = x.shape[:2]"


def _tick(spec: Spec) -> list[str]:
    """Where the learner steps in mid-sequence."""
    return ["    tick()"] if spec.online else []


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _program(needs: list[str], method: list[str], run: list[str]) -> str:
    init = ["def __init__(s):", *_indented(["super().__init__()", *needs])]
    inside = [*init, "", *method] if method else init
    lines = ["class Net(nn.Module):", *(f"    {line}" if line else "" for line in inside), "", ""]
    return "\n".join([*lines, "def run(net, x, order):", *_indented(run), ""])


def _contained(spec: Spec) -> str:
    """A program around the host's container."""
    parts: list[str] = []
    units: Units = spec.sample_shape
    for i, block in enumerate(spec.blocks):
        if i > 0 and len(units) > 1:
            parts.append(f"nn.Flatten({2 if spec.whole else 1})")
        into = units[-1] if block.layer == "tokens" else prod(units)
        parts.append(_layer(block, into, lift=spec.whole and block.lead == "lift"))
        units = block.units
        parts += [BETWEEN[name].module.format(**_values(units, "", 0)) for name in block.operations]
        parts.append(NEURONS[spec.neuron].format(n=units[-1]))
    keeps = spec.neuron in KEEPS
    body = f"{'nn.Sequential' if keeps else 'norse.SequentialState'}({', '.join(parts)})"
    needs = [f"s.body = norse.Lift({body})" if spec.form == "lifted" else f"s.body = {body}"]
    if spec.whole or spec.form == "lifted":
        body = ["h, _ = s.body(x[order])", "return h"]
    else:
        frame = "x[t]" if spec.read == "stream" else "x[:, t]"
        states = ["[m.reset_mem() for m in s.body if hasattr(m, 'reset_mem')]"] if keeps else ["m = None"]
        call = f"h = s.body({frame})" if keeps else f"h, m = s.body({frame}, m)"
        loop = ["out = []", "for t in order:", f"    {call}", "    out.append(h)", *_tick(spec)]
        body = [*states, *loop, "return torch.stack(out)"]
    if spec.loop == "model":
        return _program(needs, ["def forward(s, x, order):", *_indented(body)], ["return net(x, order)"])
    return _program(needs, [], ["s = net", *body])
