"""What all tests share: a cache of their own, one thread each, and the folder of real data."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts; several workers share the cores

import pytest
import torch
from browsers import browser as browser
from command_line import image

from transferkit.metrics import feature_map
from transferkit.runtime import machine


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests believe in a machine with bf16 units, or in one without: both must pass everywhere."""
    words = "whether the machine counts as one with bf16 units; default: as it is"
    parser.addoption("--bf16-units", choices=("yes", "no"), default=None, help=words)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked `gpu` is skipped where there is none, whatever asked for it."""
    asking = [item for item in items if item.get_closest_marker("gpu")]
    if asking and not torch.cuda.is_available():
        for item in asking:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_collection() -> None:
    """A third of the seconds in which tests are imported went into looking for garbage among them."""
    gc.disable()


def pytest_collection_finish() -> None:
    """From here on garbage is collected, but not looked for among what was imported, which stays."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _bf16_units_as_asked(request: pytest.FixtureRequest) -> Iterator[None]:
    """bf16 arithmetic works on every CPU, only slowly without units for it."""
    asked = request.config.getoption("--bf16-units")
    with pytest.MonkeyPatch.context() as patch:
        if asked is not None:
            patch.setattr(machine, "has_fast_bf16", lambda _: asked == "yes")
        yield


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def both_precisions(request: pytest.FixtureRequest) -> Iterator[str]:
    """What `auto` means: fp32 as on a machine without bf16 units, then bf16 as on one with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "has_fast_bf16", lambda _: request.param == "bf16")
        yield request.param


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing a test does reaches the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        yield


@pytest.fixture(scope="session", autouse=True)
def points_of_a_map() -> Iterator[int]:
    """60 in tests, which look at no map: hundreds take a third of a tiny run's time. The value: the product's own."""
    usual = feature_map.POINTS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_map, "POINTS", 60)
        yield usual


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, or a skip that says why."""
    folder = os.environ.get("TRANSFERKIT_TEST_DATA")
    if not folder:
        pytest.skip("needs the real data: set TRANSFERKIT_TEST_DATA to its folder")
    return Path(folder)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Twelve pictures of each of two classes, set apart in train and test."""
    for part, count in (("train", 8), ("test", 4)):
        for number in range(count):
            image(tmp_path / "pets" / part / "cat" / f"{number}.png", 10)
            image(tmp_path / "pets" / part / "dog" / f"{number}.png", 150)
    return tmp_path / "pets"
