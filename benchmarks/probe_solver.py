"""How much faster the probe solver fits ten values of C than scikit-learn's warm-started L-BFGS, at equal quality.

    OMP_NUM_THREADS=2 python benchmarks/probe_solver.py --n 50000 --d 512 --classes 10

Both get the same images. scikit-learn gets them already standardised, in float32, and goes through the values of C
upwards with warm_start; ours is timed from the features as given, standardisation and rotation included. Quality is
the objective, recomputed in float64 by the same few lines of numpy for both, as its relative distance to the lowest
value that any of the runs found for that C. A ratio is printed only between runs of which ours is at least as good.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import sklearn
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from transferkit.models.linear import fit_linear

GRID = tuple(10.0**exponent for exponent in range(-6, 4))
OUR_TOLERANCES = (1e-1, 1e-2, 3e-3, 3e-4, 1e-4, 1e-5, 1e-6)  # 3e-4 chooses C in fit_probe, the last is the default
THEIR_TOLERANCES = (1e-4, 1e-5)  # the first is scikit-learn's default

Heads = list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]  # (K, D) weights and (K,) biases per C


@dataclass(frozen=True)
class Timed:
    """The repeats of one solver at one tolerance."""

    name: str
    seconds: float  # of the fastest
    slowest: float
    objectives: npt.NDArray[np.float64]  # (len(GRID),)


def main() -> None:
    arguments = parsed()
    features, drawn = pooled_features(arguments.n, arguments.d, arguments.classes)
    present, labels = torch.unique(drawn, return_inverse=True)  # few images may miss a class, which only one would fit
    mean, scale = features.double().mean(0), features.double().std(0, unbiased=False)
    standardised = ((features - mean) / scale).float().numpy()
    print_setting(arguments)

    on_device = features.to(arguments.device), labels.to(arguments.device), len(present)
    mine = {f"transferkit {t:g}": partial(ours, *on_device, GRID, t) for t in OUR_TOLERANCES}
    theirs = {f"scikit-learn {t:g}": partial(scikit_learn, standardised, labels.numpy(), t) for t in arguments.theirs}
    ours(*on_device, GRID, 1e-2)  # warms up threads and libraries
    runs = timed({**mine, **theirs}, standardised, labels.numpy(), arguments.repeats)
    report(runs[: len(mine)], runs[len(mine) :])


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=50_000, help="images")
    parser.add_argument("--d", type=int, default=512, help="features per image")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest is reported")
    parser.add_argument("--theirs", type=float, nargs="+", default=THEIR_TOLERANCES, help="tolerances of scikit-learn")
    parser.add_argument("--device", default="cpu", help="of our solver; scikit-learn runs on the CPU")
    return parser.parse_args()


def pooled_features(n: int, d: int, classes: int, positions: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features like those of a pooled convolutional network: non-negative, correlated, not separable.

    A low-dimensional latent with the class in it and a falling spectrum is mixed into d channels, seen at a few
    positions with noise, rectified and averaged.
    """
    generator = torch.Generator().manual_seed(seed)
    rank = max(classes, d // 4)
    spectrum = torch.arange(1, rank + 1) ** -0.25
    means = 0.3 * torch.randn(classes, rank, generator=generator) * spectrum
    mixing = torch.randn(rank, d, generator=generator) / rank**0.5
    labels = torch.randint(0, classes, (n,), generator=generator)
    parts = []
    for part in torch.split(labels, 4096):
        latent = (means[part] + torch.randn(len(part), rank, generator=generator) * spectrum) @ mixing
        noise = 0.7 * torch.randn(len(part), d, positions, generator=generator)
        parts.append(torch.relu(2 * latent[:, :, None] + noise - 0.3).mean(2))
    return torch.cat(parts), labels


def ours(features: Tensor, labels: Tensor, classes: int, grid: tuple[float, ...], tolerance: float) -> Heads:
    """Heads for standardised features, so that both are judged on the same ones."""
    mean, scale = features.mean(0).double(), features.std(0, unbiased=False).double()
    fits = fit_linear(features, labels, classes, grid, scale=scale, tolerance=tolerance)
    weight, bias = fits.weight.double(), fits.bias.double()
    folded = weight * scale, bias + weight @ mean
    return [(w.cpu().numpy(), b.cpu().numpy()) for w, b in zip(*folded, strict=True)]


def scikit_learn(standardised: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], tolerance: float) -> Heads:
    """One estimator that walks up the grid, each fit starting from the last."""
    estimator = LogisticRegression(tol=tolerance, max_iter=10_000, warm_start=True)
    heads: Heads = []
    for C in GRID:
        estimator.set_params(C=C).fit(standardised, labels)
        heads.append((estimator.coef_.copy(), estimator.intercept_.copy()))
    return heads


def timed(
    fits: dict[str, Callable[[], Heads]],
    standardised: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    repeats: int,
) -> list[Timed]:
    """All of them once, then all of them again, so that a busy moment of the machine does not fall on one alone.

    On one thread in seconds of the process, which other work on the machine disturbs less.
    """
    seconds: dict[str, list[float]] = {name: [] for name in fits}
    heads: dict[str, Heads] = {}
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for _ in range(repeats):
        for name, fit in fits.items():
            started = clock()
            heads[name] = fit()
            seconds[name].append(clock() - started)
    return [
        Timed(
            name,
            min(seconds[name]),
            max(seconds[name]),
            np.array([objective(standardised, labels, *head, C) for head, C in zip(heads[name], GRID, strict=True)]),
        )
        for name in fits
    ]


def objective(
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    weight: npt.NDArray[Any],
    bias: npt.NDArray[Any],
    C: float,
) -> float:
    """What both minimise, in float64: C * sum of losses + 0.5 * sum of squared weights."""
    weight = weight.astype(np.float64)
    logits = features.astype(np.float64) @ weight.T + bias
    losses = scipy.special.logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
    return float(C * losses.sum() + 0.5 * (weight**2).sum())


def print_setting(arguments: argparse.Namespace) -> None:
    device = torch.cuda.get_device_name(0) if "cuda" in arguments.device else f"CPU ({platform.machine()})"
    print(f"{arguments.n:,} x {arguments.d}, {arguments.classes} classes, {len(GRID)} values of C; {device}")
    print(
        f"{torch.get_num_threads()} threads of {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}; "
        f"python {platform.python_version()}, torch {torch.__version__}, scikit-learn {sklearn.__version__}, "
        f"numpy {np.__version__}, scipy {scipy.__version__}; fastest of {arguments.repeats}"
    )


def report(mine: list[Timed], theirs: list[Timed]) -> None:
    lowest = np.min([run.objectives for run in [*mine, *theirs]], axis=0)
    print("\nobjective above the lowest found, relative, per C")
    print(f"{'':18}{'seconds':>8}{'slowest':>8}  " + "".join(f"{C:>9.0e}" for C in GRID))
    for run in [*mine, *theirs]:
        gaps = run.objectives / lowest - 1
        print(f"{run.name:18}{run.seconds:8.3f}{run.slowest:8.3f}  " + "".join(f"{gap:9.1e}" for gap in gaps))
    print()
    for their in theirs:
        print(verdict(mine, their, lowest))


def verdict(mine: list[Timed], their: Timed, lowest: npt.NDArray[np.float64]) -> str:
    worst = float((their.objectives / lowest - 1).max())
    as_good = [run for run in mine if float((run.objectives / lowest - 1).max()) <= worst]
    if not as_good:
        return f"{their.name}: worst gap {worst:.1e}; none of our runs is as good, so no ratio."
    best = min(as_good, key=lambda run: run.seconds)
    gap = float((best.objectives / lowest - 1).max())
    ratio = their.seconds / best.seconds
    return f"{best.name} (worst gap {gap:.1e}) is {ratio:.1f} times as fast as {their.name} (worst gap {worst:.1e})."


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    main()
