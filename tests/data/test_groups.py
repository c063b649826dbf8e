"""Pictures that belong together stay together: in parts, under limits, in folds; and what is said about it."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_findings import found

from tests.data.test_datasets import error, image_file, load, noted
from transferkit.data.groups import group_folds, held_out, in_turns
from transferkit.data.images import Images, Splits
from transferkit.data.splitting import hold_out, split
from transferkit.recipe import Recipe
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.training.estimates import inputs_in_words


def patients(groups: int = 30, per_group: int = 4, classes: int = 2, seed: int = 0) -> Images:
    """Every patient has one label and several pictures."""
    label_of = np.arange(groups) % classes
    number = np.random.default_rng(seed).permutation(np.repeat(np.arange(groups), per_group))
    pixels = np.zeros((len(number), 3, 4, 4), np.uint8)
    names = tuple(f"class {label}" for label in range(classes))
    return Images.from_pixels(pixels, label_of[number], names, groups=[f"patient {one}" for one in number])


def parted(limit: int | None = None, val_fraction: float = 0.2) -> Splits:
    return split(patients(), patients(4), val_fraction=val_fraction, limit_per_class=limit, seed=0)


# ------------------------------------------------------------------------------------------------------- splits


def test_train_and_val_share_no_group_and_val_has_its_share_of_every_class() -> None:
    splits = parted()

    assert splits.train.groups is not None
    assert splits.val.groups is not None
    assert not set(splits.train.groups) & set(splits.val.groups)
    assert np.bincount(splits.val.require_labels()).tolist() == [
        12,
        12,
    ]  # 3 of 15 patients, 4 pictures each


def test_held_out_images_are_whole_groups() -> None:
    kept, held = hold_out(patients(), 0.2, seed=1)

    assert kept.groups is not None
    assert held.groups is not None
    assert not set(kept.groups) & set(held.groups)
    assert len(held) == 24


def test_a_class_with_one_group_keeps_it_for_training() -> None:
    labels = np.array([0, 0, 1, 1, 1, 1])
    ranks = np.array([0, 0, 1, 2, 3, 4])  # class 0: one group of two; class 1: four groups

    assert held_out(labels, ranks, 0.9)[:2].tolist() == [False, False]


def test_a_group_of_several_classes_is_not_torn() -> None:
    labels = np.tile([0, 1], 40)
    ranks = np.repeat(np.arange(20), 4)  # every patient shows both classes

    held = held_out(labels, ranks, 0.25)

    assert held.reshape(20, 4).all(axis=1).sum() == held.reshape(20, 4).any(axis=1).sum() == 5


def test_every_limit_of_groups_takes_a_subset_of_the_next_larger_one() -> None:
    found = [parted(limit) for limit in (1, 3, 10, 30, None)]

    for smaller, larger in pairwise(found):
        assert set(smaller.train.ids) <= set(larger.train.ids)
        assert set(smaller.val.ids) <= set(larger.val.ids)


def test_a_limit_takes_one_image_of_each_group_before_a_second() -> None:
    ranks = np.array([0, 0, 0, 1, 1, 2])

    chosen = in_turns(np.arange(6), ranks, np.random.default_rng(0))

    assert ranks[chosen].tolist() == [0, 1, 2, 0, 1, 0]


def test_splits_without_groups_are_what_they_were() -> None:
    pool = replace(patients(), groups=None)

    splits = split(pool, pool, val_fraction=0.2, limit_per_class=None, seed=0)

    generator = np.random.default_rng(0)
    first = [generator.permutation(np.flatnonzero(pool.require_labels() == label)) for label in (0, 1)]
    val = sorted(
        index for order in first for index in order[2::5].tolist()
    )  # floor((k + 1) / 5 + 0.5) steps at 2, 7, ...
    assert [int(name) for name in splits.val.ids] == val


def test_joined_images_keep_their_groups_and_an_image_without_one_stands_for_itself() -> None:
    grouped, alone = patients(2, 1), replace(patients(2, 1), groups=None, ids=("a", "b"))

    assert grouped.joined(alone).groups == (*(grouped.groups or ()), "a", "b")
    assert alone.joined(alone).groups is None


def test_groups_do_not_change_the_fingerprint_of_the_pixels() -> None:
    images = patients()

    assert images.fingerprint == replace(images, groups=None).fingerprint


def test_a_wrong_number_of_groups_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"found 8 images and 1 group\."):
        replace(patients(2), groups=("one",))


# -------------------------------------------------------------------------------------------------------- folds


def test_folds_hold_whole_groups_and_even_classes() -> None:
    images = patients(20, 3)
    groups = np.array(images.groups)

    fold = group_folds(images.require_labels(), groups, 5, seed=0)

    assert all(len(set(fold[groups == group])) == 1 for group in set(groups))
    assert [np.bincount(images.require_labels()[fold == number]).tolist() for number in range(5)] == [[6, 6]] * 5


def test_no_more_folds_than_the_rarest_class_has_groups() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    groups = np.array(["a", "a", "b", "c", "d", "e", "f", "g", "g"])  # class 0: 3 groups, class 1: 4

    assert set(group_folds(labels, groups, 5, seed=0).tolist()) == {0, 1, 2}


def test_the_only_group_of_a_class_is_in_every_training_part() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    groups = np.array(["a", "a", "b", "c", "d"])

    fold = group_folds(labels, groups, 5, seed=0)

    assert fold[:2].tolist() == [-1, -1]
    assert sorted(fold[2:].tolist()) == [0, 1, 2]


def test_without_a_class_of_two_groups_there_are_no_folds() -> None:
    assert group_folds(np.array([0, 0, 1]), np.array(["a", "a", "b"]), 5, seed=0).tolist() == [-1, -1, -1]


# ------------------------------------------------------------------------------------------------------ folders


def clinic(root: Path, order: str = "class/patient", patients_per_class: int = 5) -> Path:
    for number in range(2 * patients_per_class):
        name = {"class": ("ill", "well")[number % 2], "patient": f"patient{number:02d}"}
        folder = root.joinpath(*(name[part] for part in order.split("/")))
        for index in range(4):
            image_file(folder / f"{index}.png", 100 * number + index)
    return root


def groups_by_part(splits: Splits) -> list[set[str]]:
    return [set(part.groups or ()) for part in (splits.train, splits.val, splits.test.open())]


def test_folders_inside_class_folders_are_groups_where_asked(tmp_path: Path) -> None:
    splits = load(clinic(tmp_path), group="parent")

    train, val, test = groups_by_part(splits)
    assert not train & val | train & test | val & test
    assert train | val | test == {f"patient{number:02d}" for number in range(10)}
    assert noted(splits, f"groups: {len(train)} in train, {len(val)} in val, {len(test)} in test")
    assert noted(splits, "(8 images, 2 whole groups) is sealed as test")


def test_an_image_beside_the_folders_of_groups_is_a_group_of_its_own(tmp_path: Path) -> None:
    image_file(clinic(tmp_path) / "ill" / "alone.png", 999)

    assert "ill/alone.png" in set().union(*groups_by_part(load(tmp_path, group="parent")))


def test_a_deep_folder_belongs_to_the_group_below_the_class(tmp_path: Path) -> None:
    clinic(tmp_path)
    image_file(tmp_path / "ill" / "patient00" / "left" / "deep.png", 999)

    assert "left" not in set().union(*groups_by_part(load(tmp_path, group="parent")))


def test_folders_that_were_not_named_groups_give_a_warning_that_says_what_to_type(tmp_path: Path) -> None:
    splits = load(clinic(tmp_path))

    words = found(splits, "TK025")
    assert "The class folders hold 10 folders (“patient00”, “patient01”, “patient02”, ...), and chance puts" in words
    assert "keep each in one part with --group parent" in words


def test_the_warning_is_silent_where_nothing_is_split_off(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val", "test")):
        for index in range(4):
            for label in ("ill", "well"):
                image_file(
                    tmp_path / part / label / f"{part}{index}" / "0.png", 1000 * number + 10 * index + len(label)
                )

    assert not found(load(tmp_path), "TK025")


def test_folders_of_one_name_in_train_and_test_give_a_warning(tmp_path: Path) -> None:
    clinic(tmp_path / "train")
    clinic(tmp_path / "test", patients_per_class=1)

    repeated = found(load(tmp_path, val_fraction=0), "TK025")
    shared = found(load(tmp_path, group="parent"), "TK024")
    assert "2 folders inside class folders have the same name in train and in test (“patient00”, “pat" in repeated
    assert "2 of 2 groups of test are in train or val, too (“patient00”, “patient01”)" in shared


def test_patients_above_class_folders_give_a_warning_that_says_what_to_type(tmp_path: Path) -> None:
    for number in range(4):
        for label in ("ill", "well"):
            image_file(tmp_path / f"patient{number}" / label / "0.png", 10 * number + len(label))
            image_file(tmp_path / f"patient{number}" / label / "1.png", 1000 + 10 * number + len(label))

    splits = load(tmp_path)

    assert splits.class_names == ("patient0", "patient1", "patient2", "patient3")
    assert "hold folders of other names (“ill”, “well”)" in found(splits, "TK026")
    assert "type --group grandparent" in found(splits, "TK026")


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ("patient{0}/{1}", "(“patient0”, “patient1”) hold folders of other names (“ill”, “well”): if these are"),
        (
            "study{0}/sub-{2}/{1}",
            "(“study0”, “study1”) are named as what is photographed, and “ill”, “well” lie 2 levels",
        ),
        (
            "patient{0}/series{2}{1}",
            "are named as what is photographed, and no folder has the name of a class: write a CSV",
        ),
    ],
)
def test_two_folders_named_as_patients_give_a_warning_that_says_what_to_type(
    folders: str, words: str, tmp_path: Path
) -> None:
    for number, (unit, label, inner) in enumerate(itertools.product("01", ("ill", "well"), "01")):
        for index in range(2):
            image_file(tmp_path / folders.format(unit, label, inner) / f"{inner}{index}.png", 10 * number + index)

    assert words in found(load(tmp_path), "TK026")


def test_patients_inside_class_folders_are_not_taken_for_classes(tmp_path: Path) -> None:
    assert not found(load(clinic(tmp_path)), "TK026")


def test_class_folders_inside_groups_are_read_where_asked(tmp_path: Path) -> None:
    splits = load(clinic(tmp_path, "patient/class"), group="grandparent")

    train, val, test = groups_by_part(splits)
    assert splits.class_names == ("ill", "well")
    assert train | val | test == {f"patient{number:02d}" for number in range(10)}
    assert not train & test


def test_grandparent_without_classes_says_what_it_expected(tmp_path: Path) -> None:
    for index in range(3):
        image_file(tmp_path / "ill" / f"{index}.png", index)
        image_file(tmp_path / "well" / f"{index}.png", 10 + index)

    assert "has 0 classes inside its folders" in error(tmp_path, group="grandparent")
    assert f"{tmp_path}/<patient>/<class>/<image>.jpg" in error(tmp_path, group="grandparent")


def test_too_few_groups_for_a_test_part_are_told_by_class(tmp_path: Path) -> None:
    assert "(ill has 1, well has 1). Every class needs two groups" in error(
        clinic(tmp_path, patients_per_class=1), group="parent"
    )


def test_a_held_out_part_without_a_class_is_told(tmp_path: Path) -> None:
    clinic(tmp_path)
    image_file(tmp_path / "rare" / "only" / "0.png", 999)

    assert "Test has no image of 1 of 3 classes (“rare”)" in found(load(tmp_path, group="parent"), "TK029")


# ---------------------------------------------------------------------------------------------------------- CSV


def table(root: Path, header: str = "path,label,group") -> Path:
    clinic(root)
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    rows = [f"{name},{name.split('/')[0]},{name.split('/')[1]}" for name in files]
    (root / "images.csv").write_text("\n".join([header, *rows]) + "\n")
    return root / "images.csv"


def test_a_csv_names_groups_in_a_column(tmp_path: Path) -> None:
    train, val, test = groups_by_part(load(table(tmp_path)))

    assert not train & val | train & test | val & test
    assert train | val | test == {f"patient{number:02d}" for number in range(10)}


def test_an_empty_cell_of_the_column_group_is_an_image_of_its_own(tmp_path: Path) -> None:
    path = table(tmp_path)
    path.write_text(path.read_text().replace("ill/patient00/0.png,ill,patient00", "ill/patient00/0.png,ill,"))

    assert "ill/patient00/0.png" in set().union(*groups_by_part(load(path)))


def test_a_csv_with_the_key_for_folders_is_told_of_its_column(tmp_path: Path) -> None:
    assert "names groups in a column called group. Leave --group out." in error(table(tmp_path), group="parent")


def test_the_screen_tells_of_groups(tmp_path: Path) -> None:
    stream = io.StringIO()
    settings: dict[str, Any] = {"group": "parent"}

    load(clinic(tmp_path), Console(stream=stream), **settings)

    assert "images of one group stay in one part" in stream.getvalue()


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("patient/class", "the 10 folders read as classes (“patient00”, “patient01”"),
        ("class/patient", "keep each in one part with --group parent"),
    ],
)
def test_a_dry_run_says_of_folders_what_the_run_would(order: str, words: str, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(
        {
            "data": {"name": "folder", "path": clinic(tmp_path, order)},
            "backbone": {"name": "resnet-mini", "weights": "none"},
            "method": {"name": "probe"},
        }
    )

    assert words.lower() in "\n".join(inputs_in_words([recipe])).lower()


def test_a_dry_run_leaves_out_what_the_recipe_mutes(tmp_path: Path) -> None:
    recipe = Recipe.model_validate(
        {
            "data": {"name": "folder", "path": clinic(tmp_path, "class/patient")},
            "backbone": {"name": "resnet-mini", "weights": "none"},
            "method": {"name": "probe"},
            "ignore": ["TK025"],
        }
    )

    assert "--group" not in "\n".join(inputs_in_words([recipe]))
