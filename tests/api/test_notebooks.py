"""A notebook, executed: it trains, shows the run and the comparison, and draws one bar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CELLS = (
    """
import numpy as np, transferkit
pixels = np.random.default_rng(0).integers(0, 256, (60, 3, 16, 16), dtype=np.uint8)
pixels[1::2] //= 4
labels = ["bright", "dark"] * 30
keys = dict(weights="none", size=16, epochs=2, test_fraction=0.3)
run = transferkit.finetune("resnet-mini", (pixels, labels), out="run", **keys)
""",
    "run",
    "run.predict(pixels[:2])",
    'transferkit.compare(["resnet-mini"], ["scratch", "probe"], "digits", seeds=1, weights="none", limit_per_class=5, '
    'budget="2steps", size=8, out="study", quiet=True)',
)


@pytest.mark.slow
def test_a_notebook_draws_one_bar_and_shows_its_results(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])

    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()

    shown = [json.dumps(cell.outputs) for cell in notebook.cells]
    assert shown[0].count('class=\\"transferkit-bar\\"') == 1
    assert "Test accuracy" in shown[1]
    assert "<table>" in shown[2]
    assert "text/html" in shown[3]
