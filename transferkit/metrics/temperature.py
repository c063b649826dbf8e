"""The temperature that calibrates a classifier on validation images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from transferkit.metrics.outputs import Outputs
from transferkit.metrics.probabilities import losses_of
from transferkit.metrics.statistics import Interval
from transferkit.runtime.array_types import Floats
from transferkit.runtime.errors import TransferkitError

PRIOR_SD = 0.5  # of log T around 0; docs/results.md says by which runs it was chosen
FEWEST_FOR_INTERVAL = 100  # images that stand for others when they are drawn again
TEMPERATURE_GRID = 81
TEMPERATURES = (0.05, 20.0)  # that the search looks at


def fit_temperature(val: Outputs) -> float | None:
    """The T in [0.05, 20] that validation images make likeliest for logits / T; None without images.

    Guo et al., ICML 2017 (arXiv:1706.04599), section 4.2, with a normal prior on log T, so that few images move it
    less far from 1: ten that alone say 2.05 give 1.69, and to 500 it makes no difference. T above 1 means that the
    classifier was overconfident. Never fit it on test images.
    """
    if not len(val):
        return None
    from scipy import optimize  # takes a while to import; few commands fit a temperature

    low, high = np.log(TEMPERATURES)
    minimum = optimize.minimize_scalar(
        lambda log_t: float(_losses(val, log_t).sum() + _surprise(log_t)),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(minimum.x))


def temperature_interval(val: Outputs, seed: int, draws: int = 200) -> Interval | None:
    """The 95 % percentile bootstrap interval of `fit_temperature` over images; None below 100 images.

    The loss of every image is taken once on a grid of temperatures around the fitted one, a factor of 4 to each side;
    a resample's T is the vertex of the parabola through its best value and the two beside it. A resample that wants to
    go farther stays at the grid's end.
    """
    if len(val) < FEWEST_FOR_INTERVAL:
        return None
    fitted = fit_temperature(val)
    assert fitted is not None
    log_t = np.log(fitted) + np.linspace(-1, 1, TEMPERATURE_GRID) * np.log(4)
    losses = np.stack([_losses(val, value) for value in log_t], axis=1)  # (N, G)
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(val), np.full(len(val), 1 / len(val)), draws)  # (draws, N)
    low, high = np.quantile(np.exp(_vertices(log_t, counts @ losses + _surprise(log_t))), [0.025, 0.975])
    return Interval(float(low), float(high))


def _losses(val: Outputs, log_t: float) -> Floats:
    """(N,), in nats."""
    return losses_of(with_temperature(val, float(np.exp(log_t))))


def _surprise(log_t: Floats | float) -> Floats:
    """Minus the log of the prior's density, up to a constant."""
    surprise: Floats = np.square(np.asarray(log_t) / PRIOR_SD) / 2
    return surprise


def _vertices(xs: Floats, rows: Floats) -> Floats:
    """(R,), where the parabola through the smallest value of each row (R, G) and its neighbours is lowest."""
    middle = np.clip(rows.argmin(axis=1), 1, len(xs) - 2)
    left, best, right = (rows[np.arange(len(rows)), middle + step] for step in (-1, 0, 1))
    bend = left - 2 * best + right
    shift = np.divide(left - right, 2 * bend, out=np.zeros_like(bend), where=bend > 0)
    vertices: Floats = xs[middle] + (xs[1] - xs[0]) * np.clip(shift, -1, 1)
    return vertices


def with_temperature(outputs: Outputs, temperature: float) -> Outputs:
    """The same outputs with logits divided by the temperature; predictions stay, confidences change."""
    if not temperature > 0:
        raise TransferkitError(f"Temperature is {temperature}; expected a number above 0, as fit_temperature gives.")
    return replace(outputs, logits=(outputs.logits / np.float32(temperature)).astype(np.float32))
