"""Tables as other people write them: separators, slashes, names of columns, and labels that are no classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.test_datasets import all_ids, error, image_file, load, noted
from transferkit.data.datasets.path_table import header
from transferkit.runtime.errors import TransferkitError

SHAPES = ("circle", "square", "triangle")
FILES = [f"images/{shape}/{number:02d}.png" for shape in SHAPES for number in range(8)]


def shape_of(file: str) -> str:
    return file.split("/")[1]


def images(root: Path) -> Path:
    for seed, file in enumerate(FILES):
        image_file(root / file, seed)
    return root


def table(root: Path, rows: list[tuple[str, ...]], name: str = "list.csv", separator: str = ",") -> Path:
    (images(root) / name).write_text("".join(separator.join(row) + "\n" for row in rows))
    return root / name


def plain(*header: str) -> list[tuple[str, ...]]:
    return [header or ("path", "label"), *((file, shape_of(file)) for file in FILES)]


# ---------------------------------------------------------------------------------------------------- separators


@pytest.mark.parametrize(("separator", "words"), [(";", "semicolons"), ("\t", "tabs")])
def test_semicolons_and_tabs_are_found_and_told(separator: str, words: str, tmp_path: Path) -> None:
    splits = load(table(tmp_path, plain(), separator=separator))

    assert splits.class_names == SHAPES
    assert all_ids(splits) == sorted(FILES)
    assert noted(splits, f"list.csv: cells are separated by {words}")


def test_a_usual_csv_needs_no_note(tmp_path: Path) -> None:
    assert not noted(load(table(tmp_path, plain())), "list.csv: cells")
    assert not noted(load(table(tmp_path, plain())), "list.csv: paths")


def test_a_tsv_is_read(tmp_path: Path) -> None:
    assert load(table(tmp_path, plain(), "list.tsv", "\t")).class_names == SHAPES


# ------------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("name", ["file_name", "filename", "image", "Image"])
def test_usual_names_of_the_column_of_paths_are_known_and_told(name: str, tmp_path: Path) -> None:
    splits = load(table(tmp_path, plain(name, "label")))

    assert len(all_ids(splits)) == 24
    assert noted(splits, f"paths from the column {name}, labels from the column label")


def test_columns_are_named_by_keys(tmp_path: Path) -> None:
    rows = [("path", "where", "label", "shape"), *(("x", file, "1", shape_of(file)) for file in FILES)]

    splits = load(table(tmp_path, rows), path_column="where", label_column="shape")

    assert splits.class_names == SHAPES


def test_a_column_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    message = error(table(tmp_path, plain()), label_column="lable")

    assert "has no column 'lable'. Did you mean 'label'?" in message


def test_ids_without_extension_are_found(tmp_path: Path) -> None:
    rows = [("id", "target"), *((file.removesuffix(".png"), shape_of(file)) for file in FILES)]

    splits = load(table(tmp_path, rows))

    assert all_ids(splits) == sorted(FILES)
    assert noted(splits, "names without extension were found with .png")


def test_backslashes_are_read_as_slashes(tmp_path: Path) -> None:
    rows = [("path", "label"), *((file.replace("/", "\\"), shape_of(file)) for file in FILES)]

    splits = load(table(tmp_path, rows))

    assert all_ids(splits) == sorted(FILES)
    assert noted(splits, "backslashes in paths were read as slashes")


# ------------------------------------------------------------------------------------------------------- layouts


def flat(root: Path, folder: str, start: int = 0) -> list[tuple[str, str]]:
    rows = [(f"{number:03d}.png", SHAPES[number % 2]) for number in range(start, start + 12)]
    for number, (name, _) in enumerate(rows):
        image_file(root / folder / name, 1000 * start + number)
    return rows


def test_kaggles_train_csv_finds_the_folder_train(tmp_path: Path) -> None:
    rows = [(name.removesuffix(".png"), label) for name, label in flat(tmp_path, "train")]
    (tmp_path / "train.csv").write_text("id,label\n" + "".join(f"{name},{label}\n" for name, label in rows))

    splits = load(tmp_path)

    assert len(all_ids(splits)) == 12
    assert noted(splits, "classes are as train.csv says")
    assert noted(splits, "files were found in the folder train/")


def test_a_train_csv_beside_class_folders_changes_nothing(tmp_path: Path) -> None:
    for number in range(8):
        image_file(tmp_path / "train" / SHAPES[number % 2] / f"{number}.png", number)
    (tmp_path / "train.csv").write_text("id,label\n0,cat\n1,dog\n")

    assert load(tmp_path).class_names == SHAPES[:2]


def metadata(folder: Path, rows: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"file_name": name, "label": label}) for name, label in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def test_an_imagefolder_with_metadata_in_train_and_test_is_read(tmp_path: Path) -> None:
    metadata(tmp_path / "train", flat(tmp_path, "train"))
    metadata(tmp_path / "test", flat(tmp_path, "test", 100))

    splits = load(tmp_path)

    assert splits.class_names == SHAPES[:2]
    assert sorted(splits.test.open().ids)[0] == "test/100.png"
    assert len(splits.train) + len(splits.val) == 12
    assert noted(splits, "classes are as train/metadata.jsonl, test/metadata.jsonl says")


def test_an_imagefolder_with_metadata_at_its_root_is_read(tmp_path: Path) -> None:
    rows = flat(tmp_path, "pictures")
    metadata(tmp_path, [(f"pictures/{name}", label) for name, label in rows])

    assert len(all_ids(load(tmp_path))) == 12


def test_a_line_that_is_no_json_is_told(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"file_name": "a.png", "label": "cat"}\n{"file_name"\n')

    assert "list.jsonl, line 2: no JSON" in error(tmp_path / "list.jsonl")


# -------------------------------------------------------------------------------------------------------- labels


def test_labels_that_combine_classes_are_refused_by_name(tmp_path: Path) -> None:
    rows = [("path", "label"), *((f, shape_of(f) + "|" + ("in", "out")[i % 2]) for i, f in enumerate(FILES))]

    message = error(table(tmp_path, rows))

    assert (
        "6 of 6 labels combine several with '|': 'circle|in', 'circle|out', 'square|in', 'square|out' and 2" in message
    )
    assert "Here an image has one class." in message


def test_names_with_a_comma_are_names(tmp_path: Path) -> None:
    names = {"circle": '"beech, young"', "square": '"beech, old"', "triangle": "oak"}

    splits = load(table(tmp_path, [("path", "label"), *((file, names[shape_of(file)]) for file in FILES)]))

    assert splits.class_names == ("beech, old", "beech, young", "oak")


def test_a_column_of_measurements_is_refused_as_regression(tmp_path: Path) -> None:
    rows = [("path", "label"), *((file, f"{1.5 + 0.37 * number:.3f}") for number, file in enumerate(FILES))]

    message = error(table(tmp_path, rows))

    assert "the labels are 24 different numbers in 24 rows" in message
    assert "Predicting a number is regression, which transferkit does not do" in message


def test_numbered_classes_are_classes(tmp_path: Path) -> None:
    rows = [("path", "label"), *((file, str(SHAPES.index(shape_of(file)) * 5)) for file in FILES)]

    assert load(table(tmp_path, rows)).class_names == ("0", "5", "10")


def test_a_file_with_two_labels_is_told_with_both(tmp_path: Path) -> None:
    message = error(table(tmp_path, [*plain(), (FILES[0], "indoor")]))

    assert f"names 1 file more than once: {FILES[0]}. {FILES[0]} has the labels circle, indoor; here an" in message


@pytest.mark.parametrize("spelling", ["./{}", "images/../{}", "{root}/{}"], ids=["dot", "up", "absolute"])
def test_a_file_that_is_spelt_in_two_ways_is_one_file(spelling: str, tmp_path: Path) -> None:
    again = spelling.format(FILES[0], root=tmp_path)

    message = error(table(tmp_path, [*plain(), (again, "indoor")]))

    assert f"names 1 file more than once: {again}. {again} has the labels circle, indoor; here an" in message


def test_a_column_for_each_class_is_told(tmp_path: Path) -> None:
    rows = [("path", *SHAPES), *((file, *(str(int(shape == shape_of(file))) for shape in SHAPES)) for file in FILES)]

    assert "has no column label but a column of 0 and 1 for each of circle, square, triangle" in error(
        table(tmp_path, rows)
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_in_utf_16_is_called_so_with_or_without_its_mark(tmp_path: Path, encoding: str) -> None:
    table = tmp_path / "images.csv"
    table.write_bytes("path,label\nä.png,x\n".encode(encoding))

    with pytest.raises(TransferkitError, match=r"images\.csv is text in UTF-16; expected UTF-8\. Save it again as"):
        header(table)
