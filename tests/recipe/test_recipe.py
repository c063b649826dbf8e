"""The recipe: what may be written in it, and what a mistake is answered with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from transferkit import recipe
from transferkit.recipe import FinetuneSettings, FolderData, Recipe, Study, book
from transferkit.recipe.data import own_data
from transferkit.recipe.yaml_text import dump_yaml
from transferkit.runtime.errors import TransferkitError

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

    assert read(original.to_yaml()).name == "1e-3"


def test_dumped_recipe_reads_back_as_the_same_recipe() -> None:
    original = read(MINIMAL)

    assert read(original.to_yaml()) == original


def test_folder_colon_path_is_short_for_a_folder_data_set() -> None:
    data = read(MINIMAL.replace("cifar10", "folder:a/b:c")).data

    assert isinstance(data, FolderData)
    assert data.path == Path("a/b:c")


def test_a_text_is_short_for_a_backbone_with_its_weights_and_for_a_method() -> None:
    short = "data: cifar10\nbackbone: resnet18=none\nmethod: probe"
    long = "data: cifar10\nbackbone: {name: resnet18, weights: none}\nmethod: {name: probe}"

    assert read(short) == read(long)
    assert read(short.replace("=none", "")).backbone.weights == "imagenet"


def test_a_short_form_that_is_wrong_names_the_nearest() -> None:
    with pytest.raises(TransferkitError, match=r"my.yaml: unknown method 'prob'. Did you mean 'probe'\?"):
        read("data: cifar10\nbackbone: resnet18\nmethod: prob")


def test_an_override_changes_a_key_of_a_short_form() -> None:
    values = recipe.parse_yaml("{data: digits, backbone: resnet18=none, method: probe}", "x")

    changed = recipe.parse(recipe.overridden(values, ["backbone.stem=cifar", "method=scratch", "method.epochs=2"]))

    assert (changed.backbone.weights, changed.backbone.stem) == ("none", "cifar")
    assert (changed.method.name, dict(changed.method)["epochs"]) == ("scratch", 2)


def test_unknown_key_names_file_key_path_nearest_and_valid_keys() -> None:
    with pytest.raises(TransferkitError) as caught:
        read("data: cifar10\nbackbone: {name: resnet18, wieghts: none}\nmethod: {name: finetune}")

    assert str(caught.value) == (
        "my.yaml: unknown key 'backbone.wieghts'. Did you mean 'weights'? Available: dropout, name, stem, weights."
    )


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("{name: finetune, C: 0.1}", r"unknown key 'method\.C'\. Available: .* more\. C is a key of probe\.$"),
        (
            "{name: probe, epochs: 2}",
            r"unknown key 'method\.epochs'\. Available: .* epochs is a key of finetune, scratch\.$",
        ),
        ("{name: finetune, dataset: digits}", r"unknown key 'method\.dataset'\. Did you mean 'data'\? Available: "),
    ],
)
def test_an_unknown_key_says_whose_it_is_or_which_is_nearest(method: str, says: str) -> None:
    with pytest.raises(TransferkitError, match=says):
        read(f"data: cifar10\nbackbone: resnet18\nmethod: {method}")


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(TransferkitError) as caught:
        read("data: cifar1\nbackbone: {nam: resnet18}\nmethod: {name: finetune, epochs: 0}")

    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "unknown data 'cifar1'. Did you mean 'cifar10'?" in lines[0]
    assert "key 'backbone.name' is missing." in lines[1]
    assert "unknown key 'backbone.nam'. Did you mean 'name'?" in lines[2]
    assert "method.epochs: expected at least 1; found 0." in lines[3]


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


def test_short_forms_in_a_study_are_the_same_study() -> None:
    short = (
        "{common: {data: digits, backbone: vgg11=none}, arms: {a: {method: probe}, b: {method: scratch}}, reference: a}"
    )
    long = (
        "{common: {data: {name: digits}, backbone: {name: vgg11, weights: none}}, "
        "arms: {a: {method: {name: probe}}, b: {method: {name: scratch}}}, reference: a}"
    )

    studies = [
        recipe.parse_any(recipe.parse_yaml(f"{text[:-1]}, budget: 9steps}}", "s"), "s") for text in (short, long)
    ]

    assert studies[0] == studies[1]
    assert isinstance(studies[0], Study)
    assert [dict(each.method).get("budget") for _, _, each in studies[0].recipes(1)] == [None, "9steps"]


def test_another_backbone_in_an_arm_starts_that_group_afresh() -> None:
    arms = STUDY.replace("{name: resnet20}", "vgg11=none").replace(
        "{method: {name: probe}}", "{method: probe, backbone: resnet20}"
    )

    study = recipe.parse_any(recipe.parse_yaml(arms, "s"), "s")

    assert isinstance(study, Study)
    assert [(each.backbone.name, each.backbone.weights) for _, _, each in study.recipes(1)] == [
        ("vgg11", "none"),
        ("resnet20", "imagenet"),
    ]


@pytest.mark.parametrize("method", ["probe", "finetune"])
def test_arms_of_a_study_learn_from_train_alone_unless_they_say_otherwise(method: str) -> None:
    arms = STUDY.replace("name: probe", f"name: {method}"), STUDY.replace("name: probe", f"name: {method}, refit: true")

    plain, asked = (recipe.parse_any(recipe.parse_yaml(text, "s"), "s") for text in arms)

    assert isinstance(plain, Study)
    assert isinstance(asked, Study)
    refits = [
        [dict(each.method)["refit"] for arm, _, each in study.recipes(1) if arm == "b"] for study in (plain, asked)
    ]
    assert refits == [[False], [True]]


def test_a_mistake_in_an_arm_names_the_arm() -> None:
    with pytest.raises(TransferkitError, match=r"study, arm b: unknown method 'prob'. Did you mean 'probe'"):
        recipe.parse_any(recipe.parse_yaml(STUDY.replace("name: probe", "name: prob"), "s"), "s")


def test_a_mistake_in_an_arm_names_the_file() -> None:
    with pytest.raises(TransferkitError, match=r"my.yaml: study, arm b: unknown key 'method.epoch'"):
        recipe.parse_any(recipe.parse_yaml(STUDY.replace("name: probe", "name: finetune, epoch: 1"), "s"), "my.yaml")


def test_the_first_arm_is_the_reference_unless_another_is_named() -> None:
    study = recipe.parse_any(recipe.parse_yaml(STUDY.replace("reference: a\n", ""), "s"), "s")

    assert isinstance(study, Study)
    assert study.reference == "a"
    assert study == recipe.parse_any(recipe.parse_yaml(STUDY, "s"), "s")


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


def test_shipped_recipes_state_an_accuracy_where_theirs_was_measured_and_only_there() -> None:
    texts = {name: book.find(name).read_text() for name in book.names()}
    runs = {name: loaded for name in texts if isinstance(loaded := recipe.load(book.find(name)), Recipe)}

    stating = {name for name, loaded in runs.items() if loaded.stated_accuracy is not None}

    assert stating == {"lab-convolution", "lab-dropout"}
    assert all("# Measured" in texts[name] and "not measured yet" not in texts[name] for name in stating)
    silent = (
        texts.keys() - stating - {"my-folder", "quickstart", "probe-layers"}
    )  # one's own images; told by arm, by layer
    assert len(silent) >= 20
    assert all("Ours: not measured yet" in texts[name] for name in silent)


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

    assert {"Recipe", "Study", "RankingRecipe", "FinetuneSettings", "FolderData"} <= set(definitions)


# ------------------------------------------------------------------------------------------ what came from a stranger


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x", r"my.yaml, line 1, column 4 holds an anchor or alias \(& or \*\)"),
        ("seed: 1\nseed: 2", r"my.yaml, line 2, column 1 holds the key 'seed' twice"),
        ("a: {b: 1, 'b': 2}", r"column 11 holds the key 'b' twice"),
        ("seed: !!int x", r"my.yaml, line 1, column 7 holds 'x' where int was expected"),
        ("seed: " + "9" * 5000, r"holds '9{80}' \.\.\. \(5,000 characters\) where int was expected"),
        ("a: " + "[" * 3000, r"column 23 holds more than 20 mappings and lists within each other"),
        ("? [a]\n: b", r"holds a key that is no word"),
        ("a: !!python/name:os.system x", r"is not YAML: could not determine a constructor for the tag"),
        ("x" * 100_001, r"my.yaml is no recipe: more than 100,000 characters"),
    ],
)
def test_what_a_recipe_never_needs_is_refused_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        recipe.parse_yaml(text, "my.yaml")


def test_billion_laughs_is_refused_at_its_first_line() -> None:
    lines = ["a0: &a0 [lol, lol]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 30))]

    with pytest.raises(TransferkitError, match=r"line 1, column 5 holds an anchor or alias") as caught:
        recipe.parse_yaml("\n".join(lines), "my.yaml")

    assert len(str(caught.value)) < 200


def test_dates_and_numbers_to_base_60_are_words() -> None:
    assert recipe.parse_yaml("[190:20:30, 2024-31-12, 2024-12-31, 1_000]", "x") == [
        *("190:20:30", "2024-31-12", "2024-12-31", "1_000")
    ]


def test_keys_are_words_even_if_they_look_like_numbers() -> None:
    assert recipe.parse_yaml("{1: a, true: b, null: c}", "x") == {"1": "a", "true": "b", "null": "c"}


def test_what_is_there_twice_is_written_out_twice() -> None:
    shared = {"lr": 0.1}

    text = read(MINIMAL).to_yaml() + dump_yaml({"a": shared, "b": shared})

    assert "&" not in text
    assert recipe.parse_yaml(text, "x")["b"] == {"lr": 0.1}


def numbers(schema: dict[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number in a JSON schema, with its place."""
    if schema.get("type") in ("integer", "number"):
        yield place, schema
    for key, below in schema.items():
        for number, item in enumerate(below if isinstance(below, list) else [below]):
            if isinstance(item, dict):
                yield from numbers(item, f"{place}.{key}" + (f".{number}" if isinstance(below, list) else ""))


def test_every_number_of_a_recipe_has_two_bounds() -> None:
    found = list(numbers(recipe.schema()))

    assert len(found) > 60
    upper = [place for place, schema in found if not {"maximum", "exclusiveMaximum"} & schema.keys()]
    lower = [place for place, schema in found if not {"minimum", "exclusiveMinimum"} & schema.keys()]
    assert (upper, lower) == ([], [])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=99999999999999999999", "seed: expected less than 4294967296; found 99999999999999999999"),
        ("method.size=100000", "method.size: expected at most 2048 or 'auto'; found 100000"),
        ("method.lr=.inf", "method.lr: expected a finite number; found inf"),
        ("method.lr=.nan", "method.lr: expected a finite number; found nan"),
        (
            "method.budget=1e999flops",
            r"method.budget: The budget '1e999flops' has no end. Expected at most 1e\+24 flops",
        ),
        ("method.budget=9e9steps", r"The budget '9e9steps' has no end. Expected at most 1e\+09 steps"),
        ("backbone={name: simple-cnn, features: 2048}", "features grow to 8,192 in the last block; at most 4,096"),
        ("backbone={name: simple-cnn, features: 10000000}", "expected at most 4096 or a list; found 10000000"),
    ],
)
def test_a_setting_without_bounds_is_refused(override: str, message: str) -> None:
    values = recipe.parse_yaml(MINIMAL, "my.yaml")

    with pytest.raises(TransferkitError, match=message):
        recipe.parse(recipe.overridden(values, [override]), "my.yaml")


LARGE: dict[str, Any] = {
    "text": "x" * 5000,
    "list": ["x" * 3000] * 100,
    "key": {"x" * 3000: 1},
    "number": 10**5000,
    "lists": [[["x"] * 99] * 99] * 99,
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("key", ["seed", "device", "data", "backbone", "no such key"])
def test_a_message_repeats_a_large_value_in_a_few_words(key: str, name: str) -> None:
    values = {**recipe.parse_yaml(MINIMAL, "x"), key: LARGE[name]}

    with pytest.raises(TransferkitError) as caught:
        recipe.parse(values, "my.yaml")

    assert len(str(caught.value)) < 1500


def test_many_mistakes_are_listed_up_to_twenty() -> None:
    values = {**recipe.parse_yaml(MINIMAL, "x"), **{f"key{number}": 1 for number in range(100)}}

    with pytest.raises(TransferkitError) as caught:
        recipe.parse(values, "my.yaml")

    assert len(str(caught.value).splitlines()) == 21
    assert str(caught.value).endswith("my.yaml: and 80 more mistakes.")


@pytest.mark.parametrize("path", ["a\0b", "caf\udce9", "a\x1b[2Jb"])
def test_a_text_that_no_file_can_hold_is_refused_by_its_key(path: str) -> None:
    with pytest.raises(TransferkitError, match=r"my.yaml: data: expected text in UTF-8 without control characters"):
        recipe.parse({**recipe.parse_yaml(MINIMAL, "x"), "data": f"folder:{path}"}, "my.yaml")


def test_an_override_of_endless_depth_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"Cannot read the override 'a\.a\.a\."):
        recipe.overridden({}, ["a." * 5000 + "b=1"])


@pytest.mark.parametrize("name", ["../../elsewhere", "..", "a/b", ""])
def test_the_name_of_a_run_before_a_study_is_no_path(name: str) -> None:
    values = recipe.parse_yaml(STUDY, "x")

    with pytest.raises(TransferkitError, match="before"):
        recipe.parse_study({**values, "before": {name: recipe.parse_yaml(MINIMAL, "x")}}, "study")


def test_a_study_of_too_many_runs_is_refused_at_once() -> None:
    with pytest.raises(TransferkitError, match=r"study: 98,000 runs. Expected at most 5,000 in one study"):
        recipe.parse_study({**recipe.parse_yaml(STUDY, "x"), "seeds": 1000, "labels": list(range(1, 50))}, "study")


def test_a_name_longer_than_file_systems_take_is_no_path() -> None:
    assert own_data("é" * 200) is None  # 400 bytes; a name in a folder has 255 at most
