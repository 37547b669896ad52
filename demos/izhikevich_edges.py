"""One synapse among 100,000 is paid, seconds late, and finds out: the distal reward problem (Izhikevich 2007).

A thousand of Norse's Izhikevich neurons fire about once a second, driven by noise (see `izhikevich_network`). Whenever
neuron n2 happens to fire within 20 ms after neuron n1, a reward follows 1 to 3 s later; by then every neuron has fired
again, and dopamine reaches every synapse. The synapse n1 → n2 starts at zero and the other excitatory ones, which learn
as well, at 1 mV. Its eligibility is all that connects it to the reward.

    rewarded    dopamine comes 1 to 3 s after each coincidence of n1 and n2
    control     the same wiring, and as much dopamine on average as there was so far, evenly at all times

    python demos/izhikevich_edges.py
    python demos/izhikevich_edges.py --seconds 3600 --tau 1000          # the published experiment: an hour, τ_e = 1 s

In an hour some 150 coincidences are paid. In the eight minutes of the default there are about twenty, and with
τ_e = 1 s so little is left of them after 1 to 3 s that chance coincidences just before a reward count as much. To make
up for the shorter life τ_e is 2 s here, the mean delay. Neurons, STDP, learning rate, dopamine and bounds are as
published, but for this: weights change every 20 ms and not every 10, dopamine stays below 1, no two synapses join the
same neurons, and Norse moves u in half steps too (inhibitory neurons fire a fifth more often for it). Some others grow
as strong, by luck: the synapse is judged by where it stands among them, and beside the control.

Criterion, over the last third of the run: the synapse, weakest of all in the beginning, is on average stronger than
75 % of the others, and by 0.5 mV stronger than in the control, where it stays below the 1 mV at which others began; the
excitatory neurons fire between 0.5 and 5 times a second (the paper: about once). Else the exit code is 1.
"""

from __future__ import annotations

import torch
from command_line import Finding, Number, close, settings
from izhikevich_figure import draw
from izhikevich_life import Record, live
from tqdm import tqdm

STRONGER_THAN, AHEAD, WEAK = 0.75, 0.5, 1.0  # share of the others; mV; mV
RATES = (0.5, 5.0)  # Hz


def judge(record: Record) -> dict[str, Finding]:
    """Every claim, over the last third of the run."""
    last = -max(1, len(record.watched) // 3)
    paid, control = record.watched[last:].mean(0).tolist()
    rank, rate = float(record.rank[last:, 0].mean()), record.rates[0]
    return {
        "n1 → n2 is stronger than": Finding(
            f"{rank:.1%} of all", f"> {STRONGER_THAN:.0%}, from 0 %", rank > STRONGER_THAN
        ),
        "its weight": Finding(f"{paid:.2f} mV", f"> control + {AHEAD:g}", paid > control + AHEAD),
        "its weight in the control": Finding(f"{control:.2f} mV", f"< {WEAK:g} mV", control < WEAK),
        "excitatory rate": Finding(f"{rate:.2f} Hz", "{:g} to {:g} Hz".format(*RATES), RATES[0] < rate < RATES[1]),
    }


def summary(record: Record) -> str:
    """Where it ended, and what it cost."""
    watched, median, top = record.watched[-1].tolist(), float(record.others[-1, 2]), float(record.others[-1, -1])
    costs = ", ".join(f"{part} {micros:.0f} µs" for part, micros in record.micros.items())
    return (
        f"at the end: {watched[0]:.2f} mV, control {watched[1]:.2f} mV; median of the others {median:.2f} mV, "
        f"their 99 % quantile {top:.2f} mV\n"
        f"a millisecond of both networks, 200,000 synapses of which 160,000 learn: {costs}\n"
        f"{len(record.watched)} s simulated, {len(record.rewards)} rewards"
    )


def main(argv: list[str] | None = None) -> int:
    args = settings(
        __doc__,
        argv,
        figure="izhikevich_edges",
        work=lambda args: args.seconds,
        seconds=Number("simulated seconds", 480, 1),
        tau=Number("time constant of the eligibilities in ms; published: 1000", 2000, 1),
        seed=Number("of wiring, noise and delays"),
    )
    with torch.no_grad(), tqdm(total=args.seconds, unit="s", desc="simulated", disable=None) as bar:
        record = live(args.seconds, float(args.tau), args.seed, bar)
    numbers = {
        "weight": record.watched[-1].tolist(), "weaker": record.rank[-1].tolist(), "rates": record.rates,
        "rewards": len(record.rewards), "micros": record.micros,
    }  # fmt: skip
    return close(args, judge(record), numbers, lambda: draw(record), notes=summary(record))


if __name__ == "__main__":
    raise SystemExit(main())
