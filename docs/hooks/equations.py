"""Sets the equations of the pages: an ```equation block, in the plain text of the code, becomes LaTeX, sign by sign.

There is one source, the docstring: a test holds the block to the code, and the LaTeX to the block, every sign in its
place. A sign of which is not known how it is set stops the build. The plain text stays in the page: it is what is read
where MathJax or JavaScript is not.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

BLOCK = re.compile(r"^```equation\n(.*?)^```$", re.S | re.M)
COLUMNS = re.compile(r"(?<![-+−·=←≤≥\s])\s{2,}(?![-+−·=←≤≥(\s])")  # beside an operator spaces are only spaces

GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "θ": "theta", "κ": "kappa", "λ": "lambda",
    "μ": "mu", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "varphi", "ψ": "psi", "Δ": "Delta", "∂": "partial",
    "ℓ": "ell",
}  # fmt: skip
OPERATORS = {
    "⊗": r"\otimes", "·": r"\cdot", "≥": r"\ge", "≤": r"\le", "←": r"\leftarrow", "─►": r"\longrightarrow", "≠": r"\ne",
    "±": r"\pm", "×": r"\times", "−": "-", "-": "-", "+": "+", "=": "=", "<": "<", ">": ">",
    ",": "{,}", ";": "{;}", ":": "{:}", "/": "/",
}  # fmt: skip
BRACKETS = {"(": "(", ")": ")", "[": "[", "]": "]", "⟨": r"\langle", "⟩": r"\rangle", "{": r"\{", "}": r"\}"}
RAISED = dict(zip("²³⁰¹", "2301", strict=True)) | {"′": r"\prime", "°": r"\circ", "*": "*"}
LOWERED = dict(zip("₀₁₂₃₊₋", "0123+-", strict=True))
NAMED = {word: f"\\{word}" for word in ("tanh", "exp", "max", "min")} | {"Σ": r"\sum", "½": r"\tfrac12", "tau": r"\tau"}
NAME = r"[a-z]{3,}_[a-z]{3,}|[A-Za-z]+(?:[.-][A-Za-z]+)*"  # stdp_pair, w.grad, same-step
TOKEN = re.compile(rf"\s+|─►|5-?HT|\d+(?:\.\d+)?|[A-Za-z]\u0304|{NAME}|.")


WIDE = 78  # characters in all columns that fit beside each other


class Reader:
    """One line of plain text, read from left to right."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.tokens = TOKEN.findall(unicodedata.normalize("NFD", line.strip()))[::-1]

    @property
    def next(self) -> str:
        """The token that comes, or nothing at the end."""
        return self.tokens[-1] if self.tokens else ""

    def fail(self, said: str) -> ValueError:
        """The error that names the line."""
        return ValueError(f"{said}, in the equation: {self.line}")

    def sequence(self, closing: str = "") -> str:
        """Everything up to a closing sign, or the end."""
        parts: list[str] = []
        last = "="  # the first sign of the last part
        while self.next and self.next not in closing:
            if self.next.isspace():
                self.tokens.pop()
                if last in (",", ";", ":"):
                    parts.append(r"\ ")
                elif last not in OPERATORS and self.next not in ("", *OPERATORS, *closing):
                    parts.append(r"\ " if r"\text" in parts[-1] or len(self.next) > 1 else r"\,")
            elif self.next == "/" and last not in OPERATORS:
                self.tokens.pop()
                if self.next.isspace():
                    self.tokens.pop()
                parts[-1] = rf"\frac{{{bare(parts[-1])}}}{{{bare(self.atom())}}}"
            else:
                last = self.next
                parts.append(self.article() or self.atom())
        return " ".join(parts)

    def article(self) -> str:
        """The word "a", as in "of a neuron", which is no variable."""
        if self.next == "a" and len(self.tokens) > 2 and self.tokens[-2].isspace() and len(self.tokens[-3]) > 1:
            return rf"\text{{{self.tokens.pop()}}}"
        return ""

    def atom(self) -> str:
        """A name, a number, an operator or a bracket, with its index, its power and what it is called with."""
        token = self.tokens.pop() if self.tokens else ""
        if token == "|" or token in BRACKETS and token in "([⟨{":
            return self.group(token) + self.attached()
        if token == "√":
            return rf"\sqrt{{{bare(self.atom())}}}"
        if token == "∂":
            return r"\partial " + self.atom()
        set_ = self.sign(token)
        if token in OPERATORS:
            return set_
        set_ += self.attached()
        if self.next in ("(", "[") and (token[0].isalpha() and token != "Σ"):  # called: no space between
            set_ += r"\mathopen{}" + self.group(self.tokens.pop()) + self.attached()
        return set_

    def group(self, opening: str) -> str:
        """What stands between two brackets or bars, and these."""
        inside = self.sequence("|" if opening == "|" else ")]}⟩")  # [0, 1) closes too
        if not self.tokens:
            raise self.fail(f"{opening} is not closed")
        closing = self.tokens.pop()
        left, right = (r"\lvert", r"\rvert") if opening == "|" else (BRACKETS[opening], BRACKETS[closing])
        return rf"\left{left} {inside} \right{right} "

    def attached(self) -> str:
        """What hangs on a name: indices below; powers, primes and stars above."""
        below, above = "", ""
        while self.next and self.next in ("_", "^", *RAISED, *LOWERED):
            token = self.tokens.pop()
            if token in LOWERED:
                below += LOWERED[token]
            elif token in RAISED:
                above += RAISED[token] + " "
            else:
                script = bare(self.group(self.tokens.pop())) if self.next in ("{", "(") else self.script()
                below, above = (below + script, above) if token == "_" else (below, above + script)
        return (f"_{{{below}}}" if below else "") + (f"^{{{above}}}" if above else "")

    def script(self) -> str:
        """An index or power of one name, with its own index: μ₊, T, DA."""
        token = self.tokens.pop() if self.tokens else ""
        own = "".join(LOWERED[self.tokens.pop()] for _ in iter(lambda: self.next in LOWERED and self.next != "", False))
        return (token if re.fullmatch("[a-z]{2}", token) else self.sign(token)) + (f"_{{{own}}}" if own else "")

    def sign(self, token: str) -> str:
        """One token, set."""
        for known in (GREEK, NAMED):
            if token in known:
                return (known[token] if known is NAMED else f"\\{known[token]}") + " "
        if token in OPERATORS:
            return OPERATORS[token] + " "
        if token in BRACKETS:
            return BRACKETS[token] + " "
        if token.endswith("\u0304"):
            return rf"\bar{{{token[0]}}}"
        if re.fullmatch(r"[A-Za-z]|[\d.]+", token):
            return token
        if re.fullmatch(r"[A-Za-z0-9._-]{2,}", token):
            return rf"\text{{{token}}}"
        raise self.fail(f"a sign that cannot be set, {token!r}")


def bare(group: str) -> str:
    """Without its round or curly brackets, where a bar or a place says as much."""
    inside = re.fullmatch(r"\\left(?:\(|\\\{) (.*) \\right(?:\)|\\\}) ", group, re.S)
    depth = 0
    for piece in re.findall(r"\\(left|right)(?!arrow)", inside[1] if inside else ""):
        depth += 1 if piece == "left" else -1
        if depth < 0:  # two pairs side by side, not one around all
            return group
    return inside[1] if inside else group


def latex(line: str) -> str:
    """The LaTeX of one line of plain text."""
    reader, parts = Reader(line), []
    while reader.tokens:
        parts.append(reader.sequence(")]}⟩"))
        if reader.tokens:
            raise reader.fail(f"{reader.next} closes nothing")
    return " ".join(parts).strip()


def rows(block: str) -> Iterator[list[list[str]]]:
    """The lines of a block as columns, in groups that are aligned: up to an empty line, or one without columns."""
    group: list[list[str]] = []
    for line in [*block.strip("\n").splitlines(), ""]:
        cells = [line] if "─►" in line else [""] * line.startswith("  ") + COLUMNS.split(line.strip())
        if group and (len(cells) == 1 or len(group[-1]) == 1):
            yield stacked(group)
            group = []
        group += [cells] if line.strip() else []


def stacked(group: list[list[str]]) -> list[list[str]]:
    """Where all columns together are too wide, what stands right of the second is a row of its own."""
    widths = [max(map(len, column)) for column in zip_longest(*group, fillvalue="")]
    if len(widths) < 3 or sum(widths) <= WIDE:
        return group
    rows = []
    for line in group:
        named = len(line) > 3 and re.fullmatch(r"\w+", line[2])  # further names, each with what it is
        below = [line[k : k + 2] for k in range(2, len(line), 2)] if named else [["", cell] for cell in line[2:]]
        rows += [line[:2], *below]
    return rows


def display(block: str) -> str:
    """A block as LaTeX: one array for each group of lines."""
    arrays = []
    for group in rows(block):
        columns = r"l@{\qquad}" * (max(map(len, group)) - 1) + "l"
        lines = (" & ".join(rf"\displaystyle {latex(cell)}" for cell in line) for line in group)
        arrays.append(r"\begin{array}{@{}" + columns + "} " + r" \\[0.5em] ".join(lines) + r" \end{array}")
    return r"\begin{array}{@{}l} " + r" \\[1.2em] ".join(arrays) + r" \end{array}"


def figure(block: str) -> str:
    """The block as it stands in the page: set, and in plain text beside it."""
    return (
        f'<div class="equation"><div class="math" data-search-exclude>\\[{html.escape(display(block))}\\]</div>'
        f"<pre><code>{html.escape(block)}</code></pre></div>\n"
    )


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for every page."""
    return BLOCK.sub(lambda found: figure(found.group(1)), markdown)
