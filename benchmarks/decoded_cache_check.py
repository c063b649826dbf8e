"""What it costs, in seconds of the processor, to check the content of decoded images when a folder is loaded again.

Loads a folder again and again, in turn with and without the check, so that both meet the same machine.
Usage: python benchmarks/decoded_cache_check.py FOLDER [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
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


def main() -> None:
    settings = FolderData(name="folder", path=sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 20
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
