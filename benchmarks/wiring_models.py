"""Who feeds whom on random small models: how many are right, how many are refused, and what they were.

    python benchmarks/wiring_models.py                       # 2,000 models, written into docs/reliability.md
    python benchmarks/wiring_models.py --models 300 --seed 7000 --json FILE

Models come from `tests/random_models`: layers, what lies between, loops over time, heads, sums; each is judged by hooks
and sums of its own. The first faults, if any, are printed in their simplest form.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import results
from timing import one_thread
from tqdm import tqdm

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
MODELS = 2000
COMMAND = "python benchmarks/wiring_models.py --models 20000 --seed 2000 --json out/wiring.json"
COLUMNS = ("models", "right", "refused", "needlessly refused", "vaguely refused", "wrong", "crash")
READS = {
    "stream": "step by step, (T, B, N)",
    "stream_b": "step by step, (B, T, N)",
    "static": "once, its current read T times",
    "static_rep": "once, its current repeated or stacked",
    "tbn": "(T, B, N) at once",
    "btn": "(B, T, N) at once",
    "turning": "(N, N, …), now time first, now batch first",
    "fold": "folded (T·B)",
    "bfold": "folded (B·T)",
    "calls": "step by step, the currents stacked",
    "tconv": "a convolution over time",
}
STANDINGS = {
    "listed": "unit by unit and pools, as documented",
    "other": "sums, other orders, the unforeseen",
    "mixed": "outputs mixed",
}
TEXT = """## Wiring

Who feeds whom is asked of {models:,} random small models (seeds {first:,} to {last:,}): one to three layers, of
snnTorch or Norse, with {operations} operations that may lie between a layer and its neuron, pools among them, two
populations behind one layer, sums, residuals, layers and neurons that are shared, heads that feed nobody; the loop
over time in the model or outside, batch first or time first, gradients on or off, autocast; several passes with
other frames and sizes, disturbed by `eval()`, pauses and exceptions; with and without `sample=`, `pairs=`,
`target_layers`; steps of the learner after a pass or in the middle; two learners on one net.

The program of a model is run a second time on tensors without numbers, whose elements know where they come from;
with what hooks of the test's own have seen (inputs, spikes, where each maximum was taken), that gives each Δw in NumPy
float64 (rate and pair STDP). *Right*: all agree to 10⁻⁴. *Refused*: an error that names layer, neuron and, where
outputs are mixed, the operation, and that changed nothing. It is *needless* where everything in between must be
followed, *vague* where it does not say what it is about. A model of documented parts is refused with reason where a
layer that is named to learn feeds nobody, or nothing is left to learn."""
NOT_COVERED = """### What the models do not cover

Layers of more than 32 units, devices other than the CPU, compiled models, Conv3d and strides, neurons other than
Leaky, Lapicque, Synaptic, RLeaky and StateLeaky of snnTorch, LIF of Norse; random programs beyond those parts."""


def rows(verdicts: list[dict], kinds: dict[str, str], key: Callable[[dict], str]) -> Iterable[list[str]]:
    """One line for each kind of model."""
    for kind, label in kinds.items():
        yield _row(label, [v["outcome"] for v in verdicts if key(v) == kind])


def _row(label: str, outcomes: list[str]) -> list[str]:
    count = Counter(outcomes)
    return [label, f"{len(outcomes):,}", *(f"{count[name]:,}" for name in COLUMNS[1:])]


def report(verdicts: list[dict], operations: int) -> str:
    """The section of the page."""
    first, last = verdicts[0]["spec"]["seed"], verdicts[-1]["spec"]["seed"]
    intro = TEXT.format(models=len(verdicts), first=first, last=last, operations=operations)
    reading = [*rows(verdicts, READS, lambda v: v["spec"]["read"])]
    between = [*rows(verdicts, STANDINGS, lambda v: v["standing"])]
    total = _row("**all**", [v["outcome"] for v in verdicts])
    return "\n\n".join(
        [
            intro,
            results.table(("the first layer reads", *COLUMNS), [*reading, total]),
            results.table(("what lies between", *COLUMNS), between),
            "Any number, with other seeds:\n\n```bash\n" + COMMAND + "\n```",
            NOT_COVERED,
        ]
    )


def write(text: str, page: Path = PAGE) -> None:
    """Replace the section between its markers, or append it."""
    block = f"<!-- wiring -->\n{text}\n<!-- /wiring -->"
    page_text = page.read_text(encoding="utf-8") if page.exists() else "# Reliability\n"
    found = re.search(r"<!-- wiring -->\n.*?\n<!-- /wiring -->", page_text, re.DOTALL)
    if found:
        page.write_text(page_text[: found.start()] + block + page_text[found.end() :], encoding="utf-8")
    else:
        page.write_text(f"{page_text.rstrip()}\n\n{block}\n", encoding="utf-8")


def judged(seeds: Iterable[int], faults: int) -> list[dict]:
    """Judge the model of every seed; print the first few faults, simplified."""
    from random_models.judge import judge, shrink

    verdicts = []
    for seed in tqdm(seeds, desc="wiring"):
        verdict = judge(seed)
        if verdict.outcome not in ("right", "refused") and faults > 0:
            faults -= 1
            simple = shrink(verdict)
            tqdm.write(f"seed {seed}, {simple.outcome}: {simple.why}\n{simple.text}")
        spec = asdict(verdict.spec)
        verdicts.append(
            {"outcome": verdict.outcome, "why": verdict.why, "standing": verdict.spec.standing, "spec": spec}
        )
    return verdicts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=MODELS)
    parser.add_argument("--seed", type=int, default=0, help="the first seed; only seed 0 is written into the page")
    parser.add_argument("--json", type=Path, help="where to write every verdict")
    parser.add_argument("--faults", type=int, default=5, help="how many faults are shown in their simplest form")
    asked = parser.parse_args()
    one_thread()
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
    warnings.simplefilter("ignore")
    verdicts = judged(range(asked.seed, asked.seed + asked.models), asked.faults)
    from random_models.parts import BETWEEN

    text = report(verdicts, len(BETWEEN))
    print(text)
    if asked.json:
        asked.json.write_text(json.dumps(verdicts, indent=1), encoding="utf-8")
    if asked.seed == 0 and asked.models >= MODELS:
        write(text)
    return sum(v["outcome"] not in ("right", "refused", "needlessly refused") for v in verdicts) > 0


if __name__ == "__main__":
    raise SystemExit(main())
