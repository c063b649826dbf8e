"""The table of `imagenet_card.sh`: measured accuracies of eight recipes beside the published ranges.

With `--stand-ins FOLDER` it writes random weights in the shapes of torchvision's, to try the script with.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

BACKBONES = ("alexnet", "vgg16_bn", "resnet18", "resnet50")
METHODS = ("probe", "finetune")
TORCHVISION = "IMAGENET1K_V1"


def main() -> None:
    """Print the table of a folder, or write stand-ins."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stand-ins", action="store_true")
    arguments = parser.parse_args()
    if arguments.stand_ins:
        write_stand_ins(arguments.folder)
    else:
        print(table(arguments.folder))


def write_stand_ins(folder: Path) -> None:
    """Random weights in the shapes of torchvision's, one file per backbone."""
    import torch
    from torchvision import models

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name in BACKBONES:
        torch.save(models.get_model(name).state_dict(), folder / f"{name}.pth")


def table(folder: Path) -> str:
    """A row per recipe; a dash where there is no run."""
    rows = [row(folder / f"{method}-{name}", name, method) for name in BACKBONES for method in METHODS]
    head = ["| backbone | method | test accuracy, % (95 % interval, n) | published, % | weights | data |"]
    return "\n".join([*head, "|---|---|---|---|---|---|", *rows])


def row(run: Path, name: str, method: str) -> str:
    """One run beside what is published for its backbone; whoever reads sees whether data and weights are the same."""
    from transferkit.report.published import CIFAR10

    published = CIFAR10.get((method, name))
    cells = [name, method, "not measured yet", published.range if published else "-", "-", "-"]
    if (run / "evaluation.json").is_file():
        cells[2], cells[4], cells[5] = measured(run)
    return f"| {' | '.join(cells)} |"


def measured(run: Path) -> tuple[str, str, str]:
    """Accuracy with its interval, weights and data of a finished run."""
    from transferkit import recipe

    test = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["test"]
    accuracy, low, high = (100 * share for share in (test["accuracy"], *test["interval"]))
    weights = json.loads((run / "model.json").read_text(encoding="utf-8"))["weights"]
    data = recipe.load(run / "recipe.yaml").data
    words = f"{accuracy:.1f} ({low:.1f} to {high:.1f}, {test['n']:,})"
    real = "torchvision's" if weights["tag"] == TORCHVISION else f"others: {weights['tag']}"
    labels = "all labels" if data.limit_per_class is None else f"{data.limit_per_class} labels per class"
    return words, real, f"{data.name}, {labels}"


if __name__ == "__main__":
    main()
