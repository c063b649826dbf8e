"""Gradient norms per layer: measured rightly, put together honestly, written in words that the numbers bear."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.nn import functional as F

from transferkit.data.images import Images
from transferkit.recipe import BackboneSettings
from transferkit.runs import result_folders
from transferkit.runs.result_folders import GRADIENT_FLOW, require_free
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_json, write_json, write_text
from transferkit.runtime.records import as_json
from transferkit.studies.lab import gradient_flow
from transferkit.studies.lab import gradient_flow_page as words
from transferkit.studies.lab.gradient_flow import (
    GradientFlowSettings,
    LayerNorms,
    SeedFlow,
    comparisons,
    gradient_norms,
    measure,
    summary,
    weights,
)
from transferkit.studies.lab.gradient_flow_results import TwinComparison
from transferkit.studies.lab.report import gradient_flow_verdict

CPU = torch.device("cpu")


def images(count: int) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    return Images.from_pixels(pixels, np.arange(count) % 2, ("a", "b"))


def test_norms_are_those_of_backward_and_leave_the_network_as_it_was() -> None:
    torch.manual_seed(1)  # with other weights a number before a ReLU may round to the other side of zero
    network = gradient_flow.network(BackboneSettings(name="resnet20", weights="none"), images(2), 8).eval()
    digest = network.digest([*network.stages, "head"])
    some = images(40)

    found = gradient_norms(network, some, CPU)

    assert not network.training
    assert network.digest([*network.stages, "head"]) == digest
    assert all(value.grad is None for value in network.parameters())
    F.cross_entropy(network.train()(torch.from_numpy(some.pixels)), torch.from_numpy(some.labels)).backward()
    layers = list(weights(network).values())
    assert len(layers) == 20  # the 6n + 2 of He et al. 2016 with n = 3: 19 convolutions and the head
    assert found.norm == pytest.approx([float(layer.grad.norm()) for layer in layers], rel=1e-3)  # type: ignore[union-attr]
    sizes = [float(layer.detach().norm()) for layer in layers]
    assert found.relative == pytest.approx(np.array(found.norm) / sizes, rel=1e-5)


def flow_of(norms: list[float]) -> SeedFlow:
    """A network of three layers and a head whose weights have norm one."""
    moment = LayerNorms(tuple(norms), tuple(norms))
    return SeedFlow(dict.fromkeys("abcd", (1,)), moment, moment, loss=2.0)


def test_first_over_last_compares_thirds_without_the_head() -> None:
    found = summary([flow_of([8.0, 3.0, 2.0, 100.0]), flow_of([2.0, 3.0, 2.0, 100.0])])

    # 8 / 2 and 2 / 2; their geometric mean is 2
    ratio = found.start.first_over_last
    assert ratio.per_seed == pytest.approx([4, 1])
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((2, 1, 4))


def test_twins_are_compared_seed_by_seed_in_their_early_layers() -> None:
    networks = {
        "plain20": summary([flow_of([8.0, 3, 2, 1]), flow_of([2.0, 3, 2, 1])]),
        "resnet20": summary([flow_of([2.0, 9, 2, 1]), flow_of([2.0, 9, 2, 1])]),
        "plain56": summary([flow_of([1.0, 1, 1, 1]), flow_of([1.0, 1, 1, 1])]),
    }

    rows = list(comparisons(networks))

    assert [(row.plain, row.residual, row.moment) for row in rows] == [
        ("plain20", "resnet20", "start"),
        ("plain20", "resnet20", "trained"),
    ]
    assert rows[0].per_seed == pytest.approx([4, 1])


def test_words_say_that_seeds_disagree_where_they_do() -> None:
    row = TwinComparison("plain20", "resnet20", "trained", 1.1, low=0.8, high=1.5, per_seed=())

    assert "seeds disagree whether early gradients of plain20 or of resnet20 are larger (0.80 to 1.5 over 3 seeds)" in (
        words.comparison(row, "after 1 epoch", 3)
    )
    assert "are 1.1 times resnet20's (0.90 to 1.5 over 1 seed)" in words.comparison(replace(row, low=0.9), "before", 1)


def test_a_measurement_leaves_numbers_page_and_figures(tmp_path: Path) -> None:
    settings = GradientFlowSettings(("plain20", "resnet20"), seeds=1, images=16, limit_per_class=4, device="cpu")

    found = measure(settings, tmp_path, SILENT, "transferkit gradient-flow <x>")

    assert as_json(found) == read_json(tmp_path / "gradient-flow.json")
    assert [len(found.networks[name].start.norm[0]) for name in ("plain20", "resnet20")] == [20, 20]
    assert all(norm > 0 for norm in found.networks["plain20"].trained.norm[0])
    html = (tmp_path / "report.html").read_text()
    assert "transferkit gradient-flow &lt;x&gt;" in html
    assert html.count("<polyline") == 4  # two networks at two moments
    assert (tmp_path / "gradient-flow.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "gradient-flow.svg").read_text()
    console = Console(file=io.StringIO(), width=80)
    console.print(gradient_flow_verdict(found))
    assert "early gradients of plain20 are" in console.file.getvalue()  # type: ignore[attr-defined]
    written = (tmp_path / "report.html").stat().st_mtime_ns
    assert measure(settings, tmp_path, SILENT) == found
    assert (tmp_path / "report.html").stat().st_mtime_ns == written


def test_a_finished_or_foreign_folder_is_kept(tmp_path: Path) -> None:
    foreign, finished = tmp_path / "foreign", tmp_path / "finished"
    foreign.mkdir()
    (foreign / "gradient-flow.json").write_text("{}")
    with result_folders.hold_results(finished, GRADIENT_FLOW):
        write_json(finished / "gradient-flow.json", {})
        write_text(finished / "report.html", "")

    with pytest.raises(TransferkitError, match=r"holds other files and is no measurement. Choose another folder"):
        require_free(foreign, GRADIENT_FLOW, overwrite=True)
    with pytest.raises(TransferkitError, match=r"already holds a measurement.*--overwrite"):
        require_free(finished, GRADIENT_FLOW, overwrite=False)
    require_free(finished, GRADIENT_FLOW, overwrite=True)


def test_an_unknown_network_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"Unknown backbone 'plain21'. Did you mean 'plain20'"):
        measure(GradientFlowSettings(("resnet20", "plain21")), tmp_path / "new", SILENT)
    assert not (tmp_path / "new").exists()
