"""A probe at every layer: which layers, what is computed once, what is shown and what is not claimed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import page_of, terminal_lines
from small_probes import CPU, noise, settings
from synthetic_runs import finished_run, layer_rows, with_layers, with_rows
from typer.testing import CliRunner

from transferkit import report
from transferkit.cli.app import app
from transferkit.features.cached_outputs import outputs_of
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.stored import stored_layers
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import WeightsRecord
from transferkit.recipe import BackboneSettings, ProbeSettings, from_options
from transferkit.report import content, layers
from transferkit.runs.run_directory import open_run
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.training import methods
from transferkit.training.methods import layer_probes, probe

BARE = BackboneSettings(name="resnet-mini", weights="none", stem="imagenet")
STAGES = ["stem", "stage1", "stage2", "stage3"]


def network(source: str = "file") -> Classifier:
    """A network that says its weights came from a file, so that it has a random copy to be compared with."""
    torch.manual_seed(5)
    classifier = backbones.load(BARE, ("dark", "grey", "light"), 16, SILENT)
    classifier.weights = WeightsRecord(source, "some weights")
    return classifier


@pytest.fixture
def passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    images: list[int] = []
    forward = LayerNetwork.of_prepared

    def counted(self: LayerNetwork, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        images.append(len(batch))
        return forward(self, batch)

    monkeypatch.setattr(LayerNetwork, "of_prepared", counted)
    return images


def test_each_network_passes_once_over_the_images_for_all_layers_and_the_runs_own_probe(passed: list[int]) -> None:
    classifier, splits = network(), noise()

    fitted = probe.fit(classifier, splits, settings(layers="all", C=1.0), BARE, Context(CPU, SILENT, 0))
    images = splits.test.open()
    found = fitted.judge_others(images).layers
    test = outputs_of(classifier, images, CPU, SILENT, "test")

    assert sum(passed) == 2 * 60
    assert found is not None
    assert [row.layer for row in found.rows] == STAGES
    # the last stage, averaged, is the head's input: its probe is the run's own
    assert found.rows[-1].given.accuracy == pytest.approx(float((test.predictions == test.labels).mean()))


def test_a_row_has_n_interval_and_facts_of_the_layer(passed: list[int]) -> None:
    splits = noise()

    fitted = probe.fit(network(), splits, settings(layers="stage1,stage3", C=1.0), BARE, Context(CPU, SILENT, 0))
    found = fitted.judge_others(splits.test.open()).layers

    assert passed
    assert found is not None
    # 16 px: stage 1 keeps the side, stages 2 and 3 halve it in their first convolution; receptive fields of 3x3
    # convolutions: 3 + 2 + 2 = 7 at stride 1, + 2 + 4 = 13 at stride 2, + 4 + 8 = 25 at stride 4
    assert [(row.layer, row.shape, row.receptive_field, row.stride) for row in found.rows] == [
        ("stage1", (32, 16, 16), 7, 1),
        ("stage3", (128, 4, 4), 25, 4),
    ]
    for row in found.rows:
        for probed in (row.given, row.random):
            assert probed is not None
            assert probed.n == 20
            assert probed.interval[0] <= probed.accuracy <= probed.interval[1]
            assert (probed.C, probed.chosen_by) == (1.0, "given")


def test_a_network_with_random_weights_has_no_copy() -> None:
    torch.manual_seed(0)
    classifier, splits = backbones.load(BARE, ("dark", "grey", "light"), 16, SILENT), noise()

    fitted = probe.fit(classifier, splits, settings(layers="stem", C=1.0), BARE, Context(CPU, SILENT, 0))

    found = fitted.judge_others(splits.test.open()).layers
    assert found is not None
    assert [row.random for row in found.rows] == [None]


def test_the_random_copy_comes_from_the_seed_and_prepares_images_alike() -> None:
    classifier = network()
    state = torch.get_rng_state()

    one, same, other = (layer_probes.random_copy(classifier, BARE, seed) for seed in (1, 1, 2))

    assert torch.equal(torch.get_rng_state(), state)
    assert one.digest(STAGES) == same.digest(STAGES)
    assert len({each.digest(STAGES) for each in (one, other, classifier)}) == 3
    assert one.input_spec == classifier.input_spec


@pytest.mark.parametrize(
    ("name", "layer", "shape", "width"),
    [
        ("timm/pvt_v2_b0", "stem", (32, 16, 16), 32),  # gives (H, W, C)
        ("timm/mobilenetv3_small_050", "conv_head", (1024, 1, 1), 1024),
        ("timm/resnet18", "layer4", (512, 2, 2), 512),
        pytest.param("timm/vit_tiny_patch16_224", "blocks.11", (197, 192), 192, marks=pytest.mark.slow),
        pytest.param("alexnet", "conv5", (256, 1, 1), 256, marks=pytest.mark.slow),
        pytest.param("vgg11", "block5", (512, 2, 2), 512, marks=pytest.mark.slow),
        pytest.param("vgg11_bn", "fc7", (4096,), 4096, marks=pytest.mark.slow),
    ],
)
def test_every_stage_of_other_networks_gives_one_row_per_image_and_a_shape_with_channels_first(
    name: str, layer: str, shape: tuple[int, ...], width: int
) -> None:
    size = 224 if "vit" in name else 64
    bare = BackboneSettings(name=name, weights="none", stem="auto" if "timm" in name else "imagenet")
    classifier = backbones.load(bare, ("one", "two"), size, SILENT).eval()
    names = layer_probes.probed_layers(classifier, ("all",))

    features = LayerNetwork(classifier, names, "avg", CPU, SILENT)(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    geometries = layer_probes.layer_geometries(classifier, names)

    assert features.keys() == geometries.keys() == set(names)
    assert geometries[layer].shape == shape
    assert features[layer].shape == (2, width)
    for each, rows in features.items():
        found = geometries[each].shape
        assert rows.shape == (2, found[0] if len(found) == 3 else found[-1])


def test_an_unknown_layer_names_the_nearest_before_any_work() -> None:
    with pytest.raises(TransferkitError, match=r"Unknown layer 'stag2'. Did you mean 'stage2'"):
        methods.require(network(), settings(layers="stem,stag2"), 31, 0)


def test_features_that_are_not_finite_name_layer_and_image() -> None:
    classifier, splits = network(), noise()
    with torch.no_grad():
        classifier.body.get_submodule("stage2.0.convolutions.0").weight.fill_(torch.nan)

    with pytest.raises(MachineError, match=r"Layer 'stage2' gives features that are not finite .* first \d+"):
        stored_layers(classifier, splits.train, STAGES, CPU, SILENT, "train")


def test_layers_may_be_a_list_or_text_and_survive_the_recipe() -> None:
    text, listed = (
        from_options("probe", "resnet18", "digits", {"layers": value}, ()).method
        for value in ("layer1, layer3", ["layer1", "layer3"])
    )

    assert isinstance(text, ProbeSettings)
    assert text.layers == ("layer1", "layer3")
    assert text == listed


@pytest.mark.slow
def test_the_command_leaves_a_table_json_and_a_figure(tmp_path: Path) -> None:
    place = tmp_path / "run"
    options = ["--data", "digits", "--weights", "none", "--limit-per-class", "6", "--threads", "1", "--C", "1"]

    result = CliRunner().invoke(app, ["probe", "resnet20", "--layers", "all", *options, "--json", "--out", str(place)])
    drawn = CliRunner().invoke(app, ["report", str(place), "--figure", "layers", "--out", str(tmp_path / "layers.svg")])

    assert (result.exit_code, drawn.exit_code) == (0, 0), (result.exception, drawn.exception)
    printed = json.loads(result.stdout)
    assert [row["layer"] for row in printed["layers"]["rows"]] == STAGES
    assert open_run(place).facts.test_openings == 1
    assert "stage3" in (tmp_path / "layers.svg").read_text(encoding="utf-8")


# --------------------------------------------------------------------------------------------------------- the report


def test_page_markdown_and_terminal_show_every_layer_with_both_networks(tmp_path: Path) -> None:
    run = with_layers(finished_run(tmp_path / "run", method="probe"))

    page = page_of(run)
    markdown = (run.path / "report.md").read_text(encoding="utf-8")
    lines = terminal_lines(run)

    assert 'aria-label="Accuracy of a linear probe at 3 layers, from layer1 to layer3"' in page
    assert page.count('class="dot"') >= 2 * 3 + 2 * 3  # two accuracies, receptive field and map of each layer
    assert "| layer2 | 16 x 8 x 8 | 22 px | 50.0 % (47.0–53.0) | 30.0 % (27.0–33.0) | 1,000 |" in markdown
    assert any(
        line.split() == ["layer3", "32x4x4", "44", "px", "60.0", "57.0–63.0", "30.0", "27.0–33.0"] for line in lines
    )
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 80


def test_more_abstract_is_said_only_where_the_intervals_show_it(tmp_path: Path) -> None:
    rising = content.gather(with_layers(finished_run(tmp_path / "rising", method="probe"), last=0.6))
    level = content.gather(with_layers(finished_run(tmp_path / "level", method="probe"), last=0.42))

    assert "features become more abstract" in " ".join(layers.sentences(rising))
    assert "At layer3, the given weights are worth 30.0 points over random ones." in layers.sentences(rising)
    assert "features become more abstract" not in " ".join(layers.sentences(level))
    assert layers.sentences(level)[0].startswith("Given weights: no difference is shown between the first and the last")


def test_random_weights_are_called_so_and_never_said_to_be_abstract(tmp_path: Path) -> None:
    run = with_layers(finished_run(tmp_path / "rising", method="probe"), last=0.9)
    run = with_rows(run, [replace(row, random=None) for row in layer_rows(3, last=0.9)])
    found = content.gather(run)

    assert layers.sentences(found)[0].startswith("Random weights: accuracy rises from 40.0 % (37.0–43.0) at layer1")
    assert len(layers.sentences(found)) == 1
    assert "given weights" not in page_of(run)


def test_many_layers_and_hostile_names_are_drawn(tmp_path: Path) -> None:
    rows = layer_rows(12, last=0.6)
    rows[0] = replace(rows[0], layer="<script>alert(1)</script>", receptive_field=None)
    rows[-1] = replace(rows[-1], shape=(512,), receptive_field="global", stride=None)
    run = with_rows(finished_run(tmp_path / "run", method="probe"), rows)

    page = page_of(run)
    report.figure(run, "layers", tmp_path / "layers.pdf")

    assert "<script>alert(1)" not in page
    assert "global" in page
    assert np.isfinite(len(page))


def test_the_figure_of_a_run_without_layers_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match="transferkit probe BACKBONE --layers all"):
        report.figure(finished_run(tmp_path / "run"), "layers", tmp_path / "layers.pdf")
