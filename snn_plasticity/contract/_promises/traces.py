"""Promises of eligibility traces and of the weight change that a modulator makes of them."""

from __future__ import annotations

import io

import torch

from ...config import PlasticityConfig
from ...plasticity import EligibilityTraceModule, ThreeFactorUpdate

T, B, N = 40, 4, 10


def trains(rate: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Spikes of both sides (T, B, N), the same at each call."""
    rng = torch.Generator().manual_seed(0)
    pre, post = (torch.rand(2, T, B, N, generator=rng) < rate).float()
    return pre, post


def new_traces(config: PlasticityConfig, path: str = "auto") -> EligibilityTraceModule:
    """Traces of N neurons on each side, which have seen nothing."""
    return EligibilityTraceModule(N, N, config.eligibility, path=path)  # type: ignore[arg-type]


def run(traces: EligibilityTraceModule, pre: torch.Tensor, post: torch.Tensor) -> torch.Tensor:
    """The eligibility after these steps, one at a time."""
    for now_pre, now_post in zip(pre, post, strict=True):
        traces.observe(now_pre, now_post)
    assert traces.eligibility is not None
    return traces.eligibility.clone()


def changed(config: PlasticityConfig, weight: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """The weight after lr · (modulator × eligibility), within clamp and bounds, by whatever mode."""
    update = ThreeFactorUpdate(config.three_factor)
    delta = update.clamp(config.three_factor.lr * total)
    weight = weight.clone().requires_grad_(update.config.mode == "auxiliary_loss")
    if update.config.mode == "online":
        update.apply_(weight, delta)
        return weight
    if update.config.mode == "hybrid":
        update.add_grad_(weight, delta)
    else:
        update.loss(weight, delta).backward()
    assert weight.grad is not None
    return weight.detach() - weight.grad


def some_weights(config: PlasticityConfig, total: torch.Tensor) -> torch.Tensor:
    """Weights within their bounds, shaped like a change."""
    bounds = config.three_factor.weight_bounds
    low, high = bounds if isinstance(bounds, tuple) else (0.0, 1.0)
    low, high = max(low, -1e3), min(high, 1e3)
    return low + (high - low) * torch.rand(total.shape, generator=torch.Generator().manual_seed(1))


def without_a_modulator_nothing_changes(config: PlasticityConfig) -> None:
    """Without a modulator no weight changes by one bit; with one, weights change."""
    traces = new_traces(config)
    run(traces, *trains())
    weight = some_weights(config, traces.change(0.0))
    assert torch.equal(changed(config, weight, traces.change(torch.zeros(B))), weight)
    after = changed(config, weight, traces.change(1.0))
    print(f"a modulator of 1 moves {int((after != weight).sum())} of {weight.numel()} weights")
    assert not torch.equal(after, weight), f"nothing is learned with lr = {config.three_factor.lr}"


def the_same_spikes_give_the_same_bits(config: PlasticityConfig) -> None:
    """The same spikes give the same eligibility, bit for bit."""
    runs = [run(new_traces(config), *trains()) for _ in range(5)]
    equal = sum(torch.equal(one, runs[0]) for one in runs)
    print(f"{equal} of 5 runs are bit-identical")
    assert equal == 5


def each_sample_of_a_batch_is_alone(config: PlasticityConfig) -> None:
    """The eligibility of a sample does not depend on the other samples of its batch."""
    pre, post = trains()
    together = run(new_traces(config), pre, post)
    alone = torch.cat([run(new_traces(config), pre[:, b : b + 1], post[:, b : b + 1]) for b in range(B)])
    worst = float((together - alone).abs().max() / together.abs().max().clamp(min=1e-9))
    print(f"largest difference {worst:.1e} of the largest eligibility")
    assert worst < 1e-5


def traces_stay_finite_and_within_their_clamp(config: PlasticityConfig) -> None:
    """When all neurons fire at every step, eligibility stays finite, and within clamp_range where there is one."""
    traces, ones, clamp = new_traces(config), torch.ones(B, N), config.eligibility.clamp_range
    for _ in range(300):
        traces.observe(ones, ones)
    e = traces.eligibility
    assert e is not None and bool(torch.isfinite(e).all())
    print(f"e in [{float(e.min()):.3g}, {float(e.max()):.3g}] after 300 steps, clamp {clamp}")
    assert clamp is None or bool(((e >= clamp[0]) & (e <= clamp[1])).all())


def fast_paths_equal_the_plain_one(config: PlasticityConfig) -> None:
    """Many steps at once give what step by step gives: the eligibility, and the change that modulators make of it."""
    (pre, post), mods = trains(), torch.randn(T, B, generator=torch.Generator().manual_seed(2))
    plain, total = new_traces(config, "plain"), torch.zeros(())
    for now_pre, now_post, mod in zip(pre, post, mods, strict=True):
        plain.observe(now_pre, now_post)
        total = total + plain.change(mod)
    change, e = new_traces(config).modulate_window(pre, post, mods), new_traces(config).update_window(pre, post)
    assert plain.eligibility is not None
    differences = []
    for found, expected in ((change, total), (e, plain.eligibility)):
        differences.append(float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-9)))
    print(f"largest relative difference {max(differences):.1e}")
    assert max(differences) < 1e-4


def reset_forgets_everything(config: PlasticityConfig) -> None:
    """After reset(), traces are as new: the next run gives the same bits as the first."""
    traces = new_traces(config)
    first = run(traces, *trains())
    traces.reset()
    again = run(traces, *trains())
    print(f"largest difference after reset {float((first - again).abs().max()):g}")
    assert torch.equal(first, again)


def saved_traces_go_on_where_they_were(config: PlasticityConfig) -> None:
    """Traces that are saved, loaded into new ones and go on give the same bits as those that never stopped."""
    (pre, post), half, file = trains(), T // 2, io.BytesIO()
    through, loaded = new_traces(config), new_traces(config)
    run(through, pre[:half], post[:half])
    torch.save(through.state_dict(), file)
    file.seek(0)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    on, again = run(through, pre[half:], post[half:]), run(loaded, pre[half:], post[half:])
    print(f"largest difference {float((on - again).abs().max()):g}")
    assert torch.equal(on, again)


def weights_stay_finite_and_within_their_bounds(config: PlasticityConfig) -> None:
    """However often a modulator of ±100 comes, weights stay finite, and within weight_bounds = (low, high)."""
    traces, bounds = new_traces(config), config.three_factor.weight_bounds
    run(traces, *trains())
    weight = some_weights(config, traces.change(0.0))
    for k in range(50):
        weight = changed(config, weight, traces.change(100.0 * (-1.0) ** (k // 10)))
    print(f"weights in [{float(weight.min()):.3g}, {float(weight.max()):.3g}], bounds {bounds}")
    assert bool(torch.isfinite(weight).all())
    if isinstance(bounds, tuple):
        assert bounds[0] - 1e-5 <= float(weight.min()) and float(weight.max()) <= bounds[1] + 1e-5


TRACE_PROMISES = (
    without_a_modulator_nothing_changes,
    the_same_spikes_give_the_same_bits,
    each_sample_of_a_batch_is_alone,
    traces_stay_finite_and_within_their_clamp,
    fast_paths_equal_the_plain_one,
    reset_forgets_everything,
    saved_traces_go_on_where_they_were,
    weights_stay_finite_and_within_their_bounds,
)
