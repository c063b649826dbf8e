"""Every form that images come in, from Python: one line trains on it, and the model answers new images of the kind."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from command_line import transferkit as command
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import Dataset

import transferkit

NUMBER = 20
NAMES = ["dark", "light"] * (NUMBER // 2)
PIXELS = np.stack(  # (N, H, W, 3), the second, fourth ... three times as bright as the others
    [np.random.default_rng(n).integers(0, 60, (8, 8, 3)) * (1 + 2 * (n % 2)) for n in range(NUMBER)]
).astype(np.uint8)


class Numbered(Dataset):  # type: ignore[type-arg]
    """As torchvision's data sets with ToTensor."""

    classes = ("dark", "light")

    def __len__(self) -> int:
        return NUMBER

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(PIXELS[index].transpose(2, 0, 1)).float() / 255, index % 2


def files(folder: Path) -> list[str]:
    """The images as files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return [str(folder / f"{number:02d}.png") for number in range(NUMBER)]


def frame(folder: Path) -> Any:
    return pd.DataFrame({"path": files(folder), "label": NAMES})


def npz(folder: Path) -> Path:
    np.savez(folder / "photos.npz", images=PIXELS, labels=np.array(NAMES))
    return folder / "photos.npz"


def imagefolder(folder: Path) -> Path:
    """As Hugging Face's `imagefolder` has it, with metadata."""
    lines = [{"file_name": Path(file).name, "label": name} for file, name in zip(files(folder), NAMES, strict=True)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def contents(folder: Path) -> list[bytes]:
    return [Path(file).read_bytes() for file in files(folder / "files")]


def parquet(folder: Path) -> Path:
    """As on the Hugging Face hub."""
    images = [{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(contents(folder))]
    pq.write_table(pa.table({"image": images, "label": NAMES}), folder / "photos.parquet")
    return folder / "photos.parquet"


def tar(folder: Path) -> Path:
    """As WebDataset writes it."""
    with tarfile.open(folder / "photos.tar", "w") as file:
        for number, (content, name) in enumerate(zip(contents(folder), NAMES, strict=True)):
            for ending, data in (("png", content), ("cls", name.encode())):
                member = tarfile.TarInfo(f"{number:02d}.{ending}")
                member.size = len(data)
                file.addfile(member, io.BytesIO(data))
    return folder / "photos.tar"


FORMS: dict[str, Callable[[Path], Any]] = {
    "pandas frame": frame,
    "torch Dataset": lambda _: Numbered(),
    "(images, labels)": lambda _: (PIXELS, NAMES),
    "(paths, labels)": lambda folder: (files(folder), NAMES),
    "npz": npz,
    "npz as text": lambda folder: str(npz(folder)),
    "imagefolder": imagefolder,
    "parquet": parquet,
    "tar": tar,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_probe_learns_from_it_and_predicts(form: str, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    data = FORMS[form](tmp_path / "given")
    settings = {"classifier": "raw-pixels", "C": 1.0, "test_fraction": 0.4}

    run = transferkit.probe("resnet-mini", data, out=tmp_path / "run", quiet=True, **settings)

    assert run.evaluation.test.n == 8
    assert [answer.name for answer in run.predict(PIXELS[:4])] == ["dark", "light", "dark", "light"]


def test_the_card_of_a_run_from_python_is_that_of_the_command(tmp_path: Path) -> None:
    options = {"weights": "none", "size": 8, "C": 1.0, "test_fraction": 0.4}
    run = transferkit.probe("resnet-mini", (PIXELS, NAMES), out=tmp_path / "run", quiet=True, **options)

    ours = run.card(tmp_path / "python")
    result = command("card", "run", "--out", "command", cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    for name in ("README.md", "config.json"):
        assert (ours / name).read_bytes() == (tmp_path / "command" / name).read_bytes(), name
    weights = [load_file(folder / "model.safetensors") for folder in (ours, tmp_path / "command")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
