"""What it costs, in seconds of the processor, to check the content of decoded images when a folder is loaded again.

Loads a folder again and again, in turn with and without the check, so that both meet the same machine.
Usage: python benchmarks/decoded_cache_check.py FOLDER [ROUNDS]
"""

from __future__ import annotations

import argparse
import statistics
import time
from unittest.mock import patch

from transferkit.data import datasets
from transferkit.data.datasets import folder_cache
from transferkit.recipe import FolderData
from transferkit.runtime.console import SILENT


def seconds(settings: FolderData) -> float:
    started = time.process_time()
    datasets.load(settings, SILENT)
    return time.process_time() - started


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("rounds", type=int, nargs="?", default=20)
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    settings, rounds = FolderData(name="folder", path=arguments.folder), arguments.rounds
    seconds(settings)
    checked, unchecked = [], []
    for _ in range(rounds):
        checked.append(seconds(settings))
        with patch.object(folder_cache, "is_sound", lambda *_: True):
            unchecked.append(seconds(settings))
    with_check, without = statistics.median(checked), statistics.median(unchecked)
    print(f"second load, median of {rounds}: {1e3 * with_check:.1f} ms with the check, {1e3 * without:.1f} ms without")
    print(f"the check takes {100 * (with_check - without) / with_check:.1f} % of a second load")


if __name__ == "__main__":
    main()
