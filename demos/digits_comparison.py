"""Many animals whose world changes, with affect and without: what was measured, and whether it is enough.

    with affect       learning rate, gate and temperature come from the loop
    without affect    the constants that the loop has at rest
    same on average   constants again: the mean learning rate and temperature that the animal with affect lived with

The third tells what comes of *when* rate and temperature rise, beyond how high they are on average. An animal has
recovered when held-out accuracy is at `RECOVERED` again; one that never gets there counts with all that was left.
"""

from __future__ import annotations

import torch
from command_line import Finding
from digits_affect import Course, Manner, moments, whole_life
from digits_life import BATCH
from torch import Tensor
from tqdm import tqdm

RECOVERED = 0.8
LEARNED = 0.85  # held-out accuracy that animals with affect reach in the end, on average
SIGNIFICANT = 2.0  # standard errors
WITH, WITHOUT, AVERAGE = "with affect", "without affect", "same on average"
Lives = dict[str, list[Course]]


def all_lives(host: str, delay: int, seeds: range, epochs: int) -> Lives:
    """Every animal under every condition, from the same births."""
    lives: Lives = {WITH: [], WITHOUT: [], AVERAGE: []}
    with tqdm(total=moments(epochs)[1] * len(seeds) * len(lives), unit="batch", desc=host, disable=None) as bar:
        for seed in seeds:
            bar.set_postfix_str(f"seed {seed}")
            felt = whole_life(host, Manner(affect=True), delay, seed, epochs, bar)
            mean = Manner(False, float(felt.lr_factor.mean()), float(felt.temperature.mean()))
            lives[WITH].append(felt)
            lives[WITHOUT].append(whole_life(host, Manner(affect=False), delay, seed, epochs, bar))
            lives[AVERAGE].append(whole_life(host, mean, delay, seed, epochs, bar))
    return lives


def recovery(life: Course, epochs: int) -> float:
    """Digits seen after the change until the animal reads as well as `RECOVERED` again."""
    change, last = moments(epochs)
    good = life.looked[(life.looked > change) & (life.accuracy >= RECOVERED)]
    return float((good[0] if len(good) else last) - change) * BATCH


def measures(lives: list[Course], epochs: int) -> dict[str, Tensor]:
    """By name, one value per animal (N,)."""
    change = moments(epochs)[0]
    return {
        "digits to recover": torch.tensor([recovery(life, epochs) for life in lives]),
        "final accuracy": torch.stack([life.accuracy[-3:].mean() for life in lives]),
        "paid after change": torch.stack([life.reward[change:].mean() for life in lives]),
    }


def spread(values: Tensor) -> tuple[float, float]:
    """Mean and standard error."""
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


def judge(lives: Lives, epochs: int) -> dict[str, Finding]:
    """Whether affect is worth having: criteria by name."""
    found = {name: measures(courses, epochs) for name, courses in lives.items()}
    verdict = {}
    for other in (WITHOUT, AVERAGE):
        sooner, error = spread(found[other]["digits to recover"] - found[WITH]["digits to recover"])
        claim = f"recovers sooner than {other} (digits)"
        verdict[claim] = Finding(f"{sooner:.0f} ± {error:.0f}", f"> {SIGNIFICANT:g} s.e.", sooner > SIGNIFICANT * error)
        better, error = spread(found[WITH]["final accuracy"] - found[other]["final accuracy"])
        claim = f"ends no worse than {other}"
        kept = better > -SIGNIFICANT * error
        verdict[claim] = Finding(f"{better:+.3f} ± {error:.3f}", f"> −{SIGNIFICANT:g} s.e.", kept)
    final = spread(found[WITH]["final accuracy"])[0]
    verdict["final accuracy with affect"] = Finding(f"{final:.3f}", f">= {LEARNED:.2f}", final >= LEARNED)
    return verdict


def table(lives: Lives, epochs: int) -> str:
    """Means ± standard errors over animals, and the differences that affect makes to the same animals."""
    found = {name: measures(courses, epochs) for name, courses in lives.items()}
    head = "".join(f"{name:>22}" for name in found[WITH])
    rows = [f"{'mean ± s.e. of ' + str(len(lives[WITH])) + ' lives':<28}{head}"]
    rows += [f"{name:<28}" + "".join(map(_cell, values.values())) for name, values in found.items()]
    for other in (WITHOUT, AVERAGE):
        differences = [found[WITH][name] - found[other][name] for name in found[WITH]]
        rows.append(f"{'with, less ' + other:<28}" + "".join(map(_cell, differences)))
    return "\n".join(rows)


def _cell(values: Tensor) -> str:
    mean, error = spread(values)
    digits = 0 if abs(mean) > 10 else 3
    return f"{mean:.{digits}f} ± {error:.{digits}f}".replace("-", "−").rjust(22)


def report(lives: Lives, epochs: int) -> dict[str, object]:
    """The numbers, for a file: [mean, standard error]."""
    found = {name: measures(courses, epochs) for name, courses in lives.items()}
    numbers = {
        name: {what: [round(x, 4) for x in spread(values)] for what, values in each.items()}
        for name, each in found.items()
    }
    return {"lives": len(lives[WITH]), **numbers}
