"""How long the corruption suite takes to make: 15 corruptions x 5 severities, without any network.

    python benchmarks/corruption_suite.py --threads 2                      # measures 1,000 images and scales up
    python benchmarks/corruption_suite.py --threads 2 --images 10000       # measures all of a CIFAR-10 test set

The images are pieces of the two photographs that come with scikit-learn. Noise is drawn for whole chunks of 1,000, so
fewer images than that cost more each.
"""

from __future__ import annotations

import argparse
import platform
import time

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

from transferkit.data.corruptions import CORRUPTIONS, FIFTEEN, SEVERITIES, corrupt
from transferkit.runtime import machine, processor

TEST_SET = 10_000
BATCH = 1_000


def main() -> None:
    """Measure and print."""
    options = parsed()
    runtime = machine.start(options.device, "fp32", options.threads)
    images = pieces(options.images, options.size).to(runtime.device)
    print(f"{machine.device_name(runtime.device)}, {runtime.threads} of {processor.usable_cores()} cores, "
          f"torch {torch.__version__}, Python {platform.python_version()}")  # fmt: skip
    print(f"measured on {len(images):,} images of {options.size} px, each corruption at severity 1 to 5")
    total = 0.0
    for name in FIFTEEN:
        seconds = [made_in(images, name, severity) for severity in SEVERITIES]
        total += sum(seconds)
        print(
            f"{CORRUPTIONS[name].family:8} {name:18} {sum(seconds):7.2f} s  " + " ".join(f"{s:6.2f}" for s in seconds)
        )
    print(f"all 75: {total:.1f} s for {len(images):,} images")
    if len(images) != TEST_SET:
        print(f"scaled to {TEST_SET:,} images (not measured): {total * TEST_SET / len(images):.0f} s")


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def pieces(count: int, size: int) -> Tensor:
    """(count, 3, size, size) uint8, cut at random from photographs reduced to five times that size."""
    generator = np.random.default_rng(0)
    photographs = [
        np.asarray(Image.fromarray(photograph).resize((5 * size, 4 * size), Image.Resampling.LANCZOS))
        for photograph in load_sample_images().images
    ]
    places = zip(generator.integers(0, 3 * size, count), generator.integers(0, 4 * size, count), strict=True)
    cut = [
        photographs[index % len(photographs)][top : top + size, left : left + size]
        for index, (top, left) in enumerate(places)
    ]
    return torch.from_numpy(np.stack(cut)).movedim(-1, 1).contiguous()


def made_in(images: Tensor, name: str, severity: int) -> float:
    """Seconds to corrupt all images in batches of a chunk."""
    started = time.perf_counter()
    for start in range(0, len(images), BATCH):
        corrupt(images[start : start + BATCH], name, severity, 0, start)
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
