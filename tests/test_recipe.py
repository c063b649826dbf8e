"""The recipe: what may be written in it, and what a mistake is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from transferkit import recipe
from transferkit.errors import TransferkitError
from transferkit.recipe import FinetuneSettings, FolderData, Recipe, Study, book

MINIMAL = "data: cifar10\nbackbone: {name: resnet18}\nmethod: {name: finetune}\n"


def read(text: str) -> Recipe:
    return recipe.parse(recipe.parse_yaml(text, "my.yaml"), "my.yaml")


def test_a_number_in_scientific_notation_is_a_number() -> None:
    method = read("data: cifar10\nbackbone: {name: resnet18}\nmethod: {name: finetune, lr: 1e-3}").method

    assert isinstance(method, FinetuneSettings)
    assert method.lr == 0.001


def test_the_words_no_and_off_are_words() -> None:
    assert recipe.parse_yaml("[no, off, yes, on, true]", "x") == ["no", "off", "yes", "on", True]


def test_a_string_that_looks_like_a_number_survives_dump_and_load() -> None:
    original = read(MINIMAL).model_copy(update={"name": "1e-3"})

    assert read(recipe.dump(original)).name == "1e-3"


def test_dumped_recipe_reads_back_as_the_same_recipe() -> None:
    original = read(MINIMAL)

    assert read(recipe.dump(original)) == original


def test_folder_colon_path_is_short_for_a_folder_data_set() -> None:
    data = read(MINIMAL.replace("cifar10", "folder:a/b:c")).data

    assert isinstance(data, FolderData)
    assert data.path == Path("a/b:c")


def test_unknown_key_names_file_key_path_nearest_and_valid_keys() -> None:
    with pytest.raises(TransferkitError) as caught:
        read("data: cifar10\nbackbone: {name: resnet18, wieghts: none}\nmethod: {name: finetune}")

    assert str(caught.value) == (
        "my.yaml: unknown key 'backbone.wieghts'. Did you mean 'weights'? Available: dropout, name, stem, weights."
    )


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(TransferkitError) as caught:
        read("data: cifar1\nbackbone: {nam: resnet18}\nmethod: {name: finetune, epochs: 0}")

    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "unknown data 'cifar1'. Did you mean 'cifar10'?" in lines[0]
    assert "key 'backbone.name' is missing." in lines[1]
    assert "unknown key 'backbone.nam'. Did you mean 'name'?" in lines[2]
    assert "method.epochs: input should be greater than or equal to 1; found 0." in lines[3]


def test_missing_name_of_a_group_says_so() -> None:
    with pytest.raises(TransferkitError, match=r"key 'method.name' is missing: it says which method to use"):
        read("data: cifar10\nbackbone: {name: resnet18}\nmethod: {epochs: 3}")


def test_text_that_is_no_yaml_names_line_and_column() -> None:
    with pytest.raises(TransferkitError, match=r"my.yaml, line 1, column \d+ is not YAML"):
        recipe.parse_yaml("a: {b: ]}", "my.yaml")


def test_override_value_may_contain_an_equals_sign() -> None:
    assert recipe.overridden({}, ["data.path=a=b"]) == {"data": {"path": "a=b"}}


def test_override_without_value_is_refused_with_the_form() -> None:
    with pytest.raises(TransferkitError, match=r"Expected key.path=value, as in method.epochs=5"):
        recipe.overridden({}, ["method.epochs"])


def test_override_with_another_name_starts_the_group_afresh() -> None:
    base = {"method": {"name": "finetune", "head": "random"}}

    assert recipe.overridden(base, ["method.name=probe"]) == {"method": {"name": "probe"}}


def test_options_find_their_groups() -> None:
    options = {"weights": "none", "epochs": 2, "limit_per_class": 5, "seed": 3, "size": None}

    built = recipe.from_options("finetune", "resnet18", "folder:pets", options, ["method.lr=1e-2"])

    assert built.backbone.weights == "none"
    assert isinstance(built.method, FinetuneSettings)
    assert (built.method.epochs, built.method.lr, built.method.size) == (2, 0.01, "auto")
    assert (built.data.limit_per_class, built.seed) == (5, 3)


def test_hash_changes_with_the_seed_and_not_with_the_number_of_threads() -> None:
    base = read(MINIMAL)

    assert base.model_copy(update={"threads": 3}).short_hash == base.short_hash
    assert base.model_copy(update={"seed": 3}).short_hash != base.short_hash


STUDY = """
common: {data: digits, backbone: {name: resnet20}}
arms:
  a: {method: {name: scratch}}
  b: {method: {name: probe}}
reference: a
seeds: 2
"""


def test_a_study_expands_into_one_recipe_per_arm_and_seed() -> None:
    study = recipe.parse_any(recipe.parse_yaml(STUDY, "s"), "s")

    assert isinstance(study, Study)
    assert [(arm, seed, each.method.name) for arm, seed, each in study.recipes()] == [
        ("a", 0, "scratch"),
        ("a", 1, "scratch"),
        ("b", 0, "probe"),
        ("b", 1, "probe"),
    ]


def test_a_mistake_in_an_arm_names_the_arm() -> None:
    with pytest.raises(TransferkitError, match=r"study, arm b: unknown method 'prob'. Did you mean 'probe'"):
        recipe.parse_any(recipe.parse_yaml(STUDY.replace("name: probe", "name: prob"), "s"), "s")


def test_unknown_reference_names_the_arms() -> None:
    with pytest.raises(TransferkitError, match=r"reference 'c' is no arm. Available: a, b."):
        recipe.parse_any(recipe.parse_yaml(STUDY.replace("reference: a", "reference: c"), "s"), "s")


def test_every_shipped_recipe_is_valid_and_opens_with_its_purpose_and_its_command() -> None:
    names = book.names()
    for name in names:
        lines = book.find(name).read_text().splitlines()
        recipe.load(book.find(name))
        assert lines[0].startswith("# "), name
        assert lines[0].endswith("."), name
        assert lines[1].startswith(("# transferkit run " + name, "# transferkit " + name)), name

    assert len(names) >= 10


def test_every_backbone_of_the_lecture_has_a_finetune_and_a_probe_recipe() -> None:
    expected = {
        f"{method}-{name}"
        for method in ("finetune", "probe")
        for name in ("alexnet", "vgg16_bn", "resnet18", "resnet50")
    }

    assert expected <= set(book.names())


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(TransferkitError, match=r"Unknown recipe 'finetune-resnet8'. Did you mean 'finetune-resnet18'"):
        book.find("finetune-resnet8")


def test_copy_never_overwrites(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("precious")

    with pytest.raises(TransferkitError, match="Choose another file name; nothing is overwritten"):
        book.copy("quickstart", file)
    assert file.read_text() == "precious"


def test_schema_describes_recipes_studies_and_rankings() -> None:
    definitions = recipe.schema()["$defs"]

    assert {"Recipe", "Study", "Ranking", "FinetuneSettings", "FolderData"} <= set(definitions)
