"""What all tests share: a cache of their own, one thread each, and the folder of real data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts; several workers share the cores

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing a test does reaches the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, or a skip that says why."""
    folder = os.environ.get("TRANSFERKIT_TEST_DATA")
    if not folder:
        pytest.skip("needs the real data: set TRANSFERKIT_TEST_DATA to its folder")
    return Path(folder)
