"""The layers of a network as a tree: every group before its members, and totals that are known from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torchvision
from typer.testing import CliRunner

import transferkit
from transferkit.cli.app import app
from transferkit.models import create
from transferkit.models.receptive_fields import LayerFacts
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.lab.layer_tree import compared, summary, tree, tree_rows, trees


def layer(name: str) -> LayerFacts:
    return LayerFacts(name, "Conv2d", (4, 2, 2), 3, 1, 9, 72)


def test_a_group_stands_before_its_members_with_guides_between_them() -> None:
    lines = [branch.guide + branch.name for branch in tree([layer("a.0"), layer("a.1"), layer("a"), layer("head")])]

    assert lines == ["├ a", "│ ├ 0", "│ └ 1", "└ head"]


def test_a_group_without_a_tensor_of_its_own_has_a_line_and_no_numbers() -> None:
    group, member = tree([layer("blocks.0")])

    assert (group.name, group.facts) == ("blocks", None)
    assert member.facts == layer("blocks.0")


def test_totals_are_those_of_torchvision_and_of_a_person() -> None:
    network = create("resnet18", ["a", "b"], size=64, weights="none", stem="imagenet")

    totals = summary("resnet18", network, 64)

    theirs = sum(parameter.numel() for parameter in torchvision.models.resnet18(weights=None).parameters())
    assert totals.parameters == theirs - 1000 * 513 + 2 * 513
    assert totals.layers == {"convolutions": 20, "dense layers": 1, "BatchNorm layers": 20}
    assert (totals.last_map, totals.receptive_field, totals.widest) == ((512, 2, 2), 435, (64, 32, 32))


def test_the_last_line_of_a_tree_is_the_total() -> None:
    network = create("simple-cnn", ["a", "b"], size=8, weights="none", blocks=1, features=4, batchnorm=False, dense=[5])

    *_, head, total = tree_rows([layer("head")], summary("net", network, 8))

    # 4 x (27 + 1), 5 x (64 + 1), 2 x (5 + 1); two operations for each of 64 x 4 x 27 + 5 x 64 + 2 x 5 multiply-adds
    assert total == ("total", "", "", "", "", "449", "14,484")
    assert head[0] == "└ head"


def test_networks_stand_side_by_side_with_keys_for_all() -> None:
    listed = compared(["simple-cnn", "lenet"], [], None, SILENT)

    (table,) = listed.tables
    assert table.header == ("", "simple-cnn", "lenet")
    assert ("convolutions", "3", "2") in table.rows
    assert [row["size_px"] for row in listed.values] == [32, 32]


def test_a_run_brings_its_shape_and_its_size(tmp_path: Path) -> None:
    keys = {"epochs": 1, "limit_per_class": 6}
    run = str(transferkit.scratch("simple-cnn", data="digits", out=tmp_path / "run", quiet=True, **keys).path)

    listed = trees([run], [], None, SILENT)

    shapes = {layer["name"]: layer["shape"] for layer in listed.values}
    assert (shapes["blocks.0.0"], shapes["head"]) == ((32, 8, 8), (10,))  # digits have 8 px and ten classes
    with pytest.raises(TransferkitError, match=r"is a run, whose network is settled. Leave backbone.kernel=5 out"):
        trees([run], ["backbone.kernel=5"], None, SILENT)


def test_one_network_alone_is_no_comparison() -> None:
    with pytest.raises(TransferkitError, match="needs two networks: transferkit layers alexnet resnet18 --compare"):
        compared(["lenet"], [], None, SILENT)


def test_the_command_writes_a_table_and_prints_the_comparison(tmp_path: Path) -> None:
    arguments = ["layers", "simple-cnn", "plain20", "--compare", "--out", str(tmp_path / "table.csv"), "--json"]

    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 0, result.output
    assert [network["name"] for network in json.loads(result.stdout)] == ["simple-cnn", "plain20"]
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").startswith(',simple-cnn,plain20\n"input, px",32,32\n')


def test_keys_alone_are_no_network() -> None:
    result = CliRunner().invoke(app, ["layers", "backbone.kernel=5"])

    assert isinstance(result.exception, TransferkitError)
    assert "No network is named beside backbone.kernel=5" in str(result.exception)


def test_several_trees_stand_below_their_names_and_do_not_fit_one_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["layers", "lenet", "simple-cnn"])

    assert result.exit_code == 0, result.output
    assert result.stdout.index("lenet\nlayer") < result.stdout.index("simple-cnn\nlayer")
    with pytest.raises(TransferkitError, match=r"A file holds one table. Name one network for --out, or add --compare"):
        trees(["lenet", "simple-cnn"], [], None, SILENT).write(tmp_path / "both.csv")
