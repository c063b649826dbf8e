"""How many known images a fine-tuned run of few labels accepts, and how often its candidate sets hold the right class.

    python benchmarks/unknown_after_finetuning.py CIFAR10 OUT

CIFAR10 holds train/CLASS/*.jpg and test/CLASS/*.jpg. A small network learns every second class from scratch; each draw
takes so many labels of each other class and fine-tunes it by the defaults. With `--weights FILE --backbone NAME` that
network starts instead, and all classes are drawn from. Test images choose nothing; runs that are finished are not made
again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from finetuning.images import Labelled, folder_images
from unknown_coverage import coverages

import transferkit
from transferkit.ood import rejection
from transferkit.runs.run_directory import Run

SIDE_PX = 32


@dataclass(frozen=True)
class Source:
    """What is drawn from, and the network that starts."""

    train: Labelled
    test: Labelled
    backbone: str
    weights: str


def of_classes(images: Labelled, wanted: tuple[str, ...]) -> Labelled:
    """The images of some classes, numbered anew."""
    kept = images.subset(np.flatnonzero(np.isin(np.array(images.classes)[images.labels], wanted)))
    labels = np.array([wanted.index(images.classes[label]) for label in kept.labels])
    return Labelled(kept.pixels, labels, kept.ids, wanted)


def write_arrays(path: Path, train: Labelled, test: Labelled) -> str:
    """Both parts in one file, as `data` takes it."""
    names = np.array(train.classes)
    parts = {"train": train, "test": test}
    arrays = {f"{part}_images": images.pixels for part, images in parts.items()}
    labels = {f"{part}_labels": names[images.labels] for part, images in parts.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays, **labels)
    return f"arrays:{path}"


def drawn(images: Labelled, per_class: int, generator: np.random.Generator) -> Labelled:
    """So many images of each class."""
    rows = [np.flatnonzero(images.labels == label) for label in range(len(images.classes))]
    return images.subset(np.concatenate([generator.choice(row, per_class, replace=False) for row in rows]))


def pupil(train: Labelled, test: Labelled, folder: Path) -> Source:
    """A small network that has learnt every second class, and the images of the others."""
    learnt, new = train.classes[::2], train.classes[1::2]
    data = write_arrays(folder / "learnt.npz", of_classes(train, learnt), of_classes(test, learnt))
    run = transferkit.scratch("simple-cnn", data, epochs=4, size=SIDE_PX, out=folder / "learnt", resume=True)
    return Source(of_classes(train, new), of_classes(test, new), "simple-cnn", str(run.path))


def measured(source: Source, per_class: int, seed: int, test: Labelled, folder: Path) -> tuple[float, float, float]:
    """Of one draw, what `coverages` gives; nan in place of the first where the run has no threshold."""
    out = folder / f"{per_class}-{seed}"
    if not Run(out).is_finished:
        train = drawn(source.train, per_class, np.random.default_rng(seed))
        data = write_arrays(folder / "drawn.npz", train, test)
        options = {"weights": source.weights, "size": SIDE_PX, "seed": seed}
        transferkit.finetune(source.backbone, data, out=out, resume=True, quiet=True, **options)
    limits = rejection.shipped(Run(out).model.rejection, Run(out).stored_outputs)
    assert limits is not None  # a run keeps its val outputs at least
    return coverages(limits, Run(out).outputs("test"))


def row(per_class: int, values: list[tuple[float, float, float]]) -> str:
    """Mean, standard deviation and range over draws."""
    accepted, held, size = np.array(values).T
    cells = [
        f"{100 * v.mean():.1f} ± {100 * v.std(ddof=1):.1f} | {100 * v.min():.1f}–{100 * v.max():.1f}"
        for v in (accepted, held)
    ]
    return f"| {per_class} | {len(values)} | {cells[0]} | {cells[1]} | {size.mean():.1f} |"


def main() -> None:
    """Print a table, a row as soon as its draws are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cifar10", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", default=[5, 10, 50], help="per class")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--test", type=int, default=400, help="test images per class")
    parser.add_argument("--backbone")
    parser.add_argument("--weights")
    given = parser.parse_args()
    train, test = (folder_images(given.cifar10 / part, SIDE_PX) for part in ("train", "test"))
    source = Source(train, test, given.backbone, given.weights) if given.weights else pupil(train, test, given.out)
    judged = drawn(source.test, given.test, np.random.default_rng(0))
    print(f"{len(judged):,} test images, {len(judged.classes)} classes, {source.backbone}, {given.draws} draws")
    print("| labels per class | draws | accepted, % | range | sets hold it, % | range | classes per set |", flush=True)
    for per_class in given.labels:
        values = [measured(source, per_class, seed, judged, given.out) for seed in range(given.draws)]
        print(row(per_class, values), flush=True)


if __name__ == "__main__":
    main()
