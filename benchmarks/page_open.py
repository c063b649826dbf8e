"""How long a browser takes to open pages: until the load event by the clock, and seconds of the processor.

    python benchmarks/page_open.py [--runs 1000x10 100000x10 100000x200] [--pages PAGE ...] [--turns 5]

A run of 100000x200 is one of 100,000 test images in 200 classes, written without training, as the tests write them; its
page is then built as for any run. Pages take turns in one headless Chromium (selenium and chromedriver). Seconds of
the processor are those of the page's own thread (scripts, styles, layout), which other work on the machine lengthens
less than the clock.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from speed.machine import load, setting

from transferkit import report

TESTS = Path(__file__).parents[1] / "tests"
LOADED = "const [page] = performance.getEntriesByType('navigation'); return page.loadEventEnd / 1000"
WIDTH = 64  # of the features


def main() -> None:
    """Write the runs, open all pages in turns, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="*", default=("1000x10", "100000x10", "100000x200"), metavar="IMAGESxCLASSES")
    parser.add_argument("--pages", nargs="*", type=Path, default=())
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    print(f"{setting(threads=1)}; {load()}")
    with tempfile.TemporaryDirectory() as scratch:
        pages = [*(run_page(Path(scratch) / run, *map(int, run.split("x"))) for run in given.runs), *given.pages]
        for page, opened in times(pages, given.turns).items():
            clock, processor = zip(*opened, strict=True)
            seconds = f"{median(clock):.2f} s ({min(clock):.2f} to {max(clock):.2f}) by the clock"
            thread = f"{median(processor):.2f} s ({min(processor):.2f} to {max(processor):.2f}) of the processor"
            print(f"{page.parent.name}/{page.name}: {page.stat().st_size / 1e6:.2f} MB; {seconds}; {thread}")


def run_page(folder: Path, images: int, classes: int) -> Path:
    """The page of a finished run of which every fifth answer is wrong."""
    sys.path.insert(0, str(TESTS))
    from synthetic_runs import finished_run, outputs

    each = images // classes
    test = outputs([f"class {number}" for number in range(classes)], each, each // 5, width=WIDTH)
    run = finished_run(folder, test)
    started = time.process_time()
    report.write(run)
    print(f"{folder.name}: page built in {time.process_time() - started:.2f} s of the processor", flush=True)
    return folder / "report.html"


def times(pages: Sequence[Path], turns: int) -> dict[Path, list[tuple[float, float]]]:
    """Seconds by the clock and of the processor, each turn; one before does not count."""
    opened: dict[Path, list[tuple[float, float]]] = {page: [] for page in pages}
    with browser() as driver:
        for _ in range(turns + 1):
            for page, taken in opened.items():
                taken.append(seconds_to_open(driver, page))
    return {page: taken[1:] for page, taken in opened.items()}


def seconds_to_open(driver: Any, page: Path) -> tuple[float, float]:
    """Of one page, from a tab that has nothing open."""
    driver.get("about:blank")
    driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    before = busy_seconds(driver)
    driver.get(page.resolve().as_uri())
    clock = float(driver.execute_script(LOADED))
    return clock, busy_seconds(driver) - before


def busy_seconds(driver: Any) -> float:
    """What the thread of the page has worked so far."""
    metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium that asks nobody else."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
