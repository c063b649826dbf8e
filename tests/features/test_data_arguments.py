"""Data given in Python: whatever holds the same images gives the same recipe; what is no data gets one sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from networks import batch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

import transferkit
from transferkit.data import datasets
from transferkit.data.images import Images
from transferkit.features.data_arguments import as_named
from transferkit.recipe import parse_data
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError

PIXELS = batch(20, 8).numpy()  # (20, 3, 8, 8)
NAMES = np.array(["cat", "dog"])[np.arange(20) % 2]


class Pairs(Dataset):  # type: ignore[type-arg]
    """As torchvision's data sets with ToTensor: float images in [0, 1], numbers, and `classes`."""

    classes = ("cat", "dog")

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(PIXELS[index]).float() / 255, index % 2


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / f"{number}.png")
    return [str(tmp_path / f"{number}.png") for number in range(20)]


def test_arrays_images_pil_and_a_torch_data_set_of_the_same_images_are_the_same_data() -> None:
    channels_last = PIXELS.transpose(0, 2, 3, 1)
    kinds = [
        (PIXELS, NAMES),
        (channels_last, list(NAMES)),
        (torch.from_numpy(PIXELS), NAMES),
        ([Image.fromarray(pixels) for pixels in channels_last], NAMES),
        Images.from_pixels(PIXELS, np.arange(20) % 2, ("cat", "dog")),
        Pairs(),
    ]

    named = {as_named(data) for data in kinds}

    assert len(named) == 1
    splits = datasets.load(parse_data(named.pop()), SILENT)
    images = splits.train.joined(splits.val).joined(splits.test.open())
    assert sorted(images.digests.tolist()) == sorted(Images.from_pixels(PIXELS, None, ()).digests.tolist())
    assert splits.class_names == ("cat", "dog")


def test_images_as_programs_hold_them_are_the_same_data_as_their_uint8() -> None:
    grey = PIXELS[:, :1]
    colour = [PIXELS / 255, torch.from_numpy(PIXELS).float() / 255, PIXELS.astype(np.int64), list(PIXELS)]
    colour += [list(torch.from_numpy(PIXELS))]

    assert {as_named((images, NAMES[:, None])) for images in colour} == {as_named((PIXELS, NAMES))}
    assert {as_named((images, NAMES)) for images in (grey, grey[:, 0], grey[:, 0] / 255)} == {as_named((grey, NAMES))}


def test_a_transform_that_draws_at_random_is_refused() -> None:
    class Mirrored(Pairs):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image, label = super().__getitem__(index)
            return (image.flip(-1) if torch.rand(()) < 0.5 else image), label

    with pytest.raises(TransferkitError, match=r"gives other pixels for its item \d when it is asked again"):
        as_named(Mirrored())


def test_paths_and_a_table_of_paths_are_the_same_data_read_from_their_files(
    paths: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"filename": [Path(path).name for path in paths], "label": NAMES})

    named = {as_named(data) for data in ((paths, NAMES), table)}

    assert len(named) == 1
    splits = datasets.load(parse_data(named.pop()), SILENT)
    assert len(splits.train) + len(splits.val) + len(splits.test) == 20


def test_split_and_group_of_a_table_are_kept(paths: list[str]) -> None:
    split = ["train"] * 16 + ["test"] * 4
    table = pd.DataFrame({"path": paths, "label": NAMES, "split": split, "group": [f"g{n // 4}" for n in range(20)]})

    splits = datasets.load(parse_data(as_named(table)), SILENT)

    assert len(splits.test) == 4
    assert set(splits.test.open().groups or ()) == {"g4"}


def test_a_name_and_a_folder_stay_what_they_are(tmp_path: Path) -> None:
    assert as_named("cifar10") == "cifar10"
    assert as_named(tmp_path) == f"folder:{tmp_path}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, "data is 5. Expected a data set's name"),
        (PIXELS, "data is a ndarray of shape (20, 3, 8, 8) without labels. Expected"),
        ((PIXELS, NAMES[:3]), "data holds 20 images and labels of shape (3,). Expected one label per image, (20,)."),
        ((5, NAMES), "The images of data are 5. Expected"),
        ({"train": 1}, "data is a dict. Expected"),
        (pd.DataFrame({"file": ["a.png"]}), "data is a table with the columns 'file'. Expected"),
        (TensorDataset(torch.zeros(2, 3, 8, 8) - 1, torch.zeros(2)), "values from -1 to -1. Expected uint8"),
        (TensorDataset(torch.zeros(2, 3, 8, 8)), "a TensorDataset whose items are no (image, label). Expected"),
        ((np.full((2, 8, 8, 3), 16.0), ["a", "b"]), "with values from 16 to 16. Expected uint8"),
        (
            (PIXELS, np.eye(2)[np.arange(20) % 2]),
            "labels of shape (20, 2). Expected one label per image, (20,). Of one",
        ),
        ((PIXELS, [None, *NAMES[1:]]), "data holds 1 image without a label (None), the first at row 0. Give each"),
        ((PIXELS, [*NAMES[:19], float("nan")]), "data holds 1 image without a label (nan), the first at row 19."),
        (
            pd.DataFrame({"path": ["a.png", "b.png"], "label": ["x", None]}),
            "1 image without a label (nan), the first at row 1",
        ),
        (((PIXELS, NAMES), (PIXELS, NAMES)), "data is a pair whose second part is a tuple and no list of classes. Exp"),
        (DataLoader(TensorDataset(torch.zeros(2, 1))), "data is a DataLoader, which mixes and batches. Give what"),
    ],
)
def test_what_is_no_data_gets_one_sentence_and_no_array_is_printed(data: Any, message: str) -> None:
    with pytest.raises(TransferkitError, match=re.escape(message)) as error:
        as_named(data)

    assert len(str(error.value)) < 300


def test_a_run_on_arrays_tells_its_verdict_and_its_page_as_the_command_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"classifier": "raw-pixels", "C": 1.0, "test_fraction": 0.4}

    run = transferkit.probe("resnet-mini", (PIXELS, NAMES), out=tmp_path / "run", **settings)

    told = "".join(capsys.readouterr().err.splitlines())  # a long path is wrapped
    assert "of 8 test images right" in told
    assert f"Report: {run.path / 'report.html'}" in told
    assert told.endswith((run.path / "report.html").as_uri())
    again = transferkit.Recipe.from_yaml((tmp_path / "run" / "recipe.yaml").read_text())
    assert again.data == run.recipe.data


def test_a_quiet_run_on_arrays_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transferkit.probe("resnet-mini", (PIXELS, NAMES), out=tmp_path / "run", classifier="raw-pixels", C=1.0, quiet=True)

    assert capsys.readouterr() == ("", "")
