"""A picture convolved: every number by hand, and the whole against a loop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.lab.picture_convolution import KERNELS, convolved, kernel_named

STEP = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(4, 4)  # dark left, bright right


def test_sobel_answers_where_it_gets_brighter_to_the_right() -> None:
    assert convolved(STEP, kernel_named("sobel"), 1, "none").tolist() == [[4, 4], [4, 4]]  # (1 + 2 + 1) x 1
    assert convolved(STEP, kernel_named("sobel-y"), 1, "none").abs().max() == 0


@pytest.mark.parametrize(
    ("padding", "right_edge"),
    [
        ("zeros", -4.0),  # 0 - 1, four times: an edge that is not in the picture
        ("constant", -2.0),  # 0.5 - 1
        ("replicate", 0.0),  # 1 - 1
        ("reflect", 0.0),  # 1 - 1: the pixel before the border
        ("circular", -4.0),  # 0 - 1: the left border
    ],
)
def test_what_each_padding_makes_of_the_right_border(padding: str, right_edge: float) -> None:
    output = convolved(STEP, kernel_named("sobel"), 1, padding)  # type: ignore[arg-type]

    assert tuple(output.shape) == (4, 4)
    assert float(output[1, 3]) == right_edge


def test_a_stride_takes_every_second_place() -> None:
    grey = torch.rand(9, 7, generator=torch.Generator().manual_seed(0))

    every = convolved(grey, kernel_named("gauss"), 1, "reflect")

    assert torch.equal(convolved(grey, kernel_named("gauss"), 2, "reflect"), every[::2, ::2])


@pytest.mark.parametrize("name", KERNELS)
def test_a_map_is_the_sum_over_each_window(name: str) -> None:
    grey = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    kernel = kernel_named(name)

    output = convolved(grey, kernel, 1, "none")

    by_loop = [[float((grey[y : y + 3, x : x + 3] * kernel).sum()) for x in range(4)] for y in range(3)]
    np.testing.assert_allclose(output.numpy(), by_loop, atol=1e-6)


def test_an_unknown_kernel_and_a_tiny_picture_are_refused() -> None:
    with pytest.raises(TransferkitError, match=r"Unknown kernel 'sobell'\. Did you mean 'sobel'"):
        kernel_named("sobell")
    with pytest.raises(TransferkitError, match="A picture of 2 px is too small for a kernel of 3 px"):
        convolved(torch.zeros(2, 9), kernel_named("box"), 1, "none")


def test_the_command_draws_and_says_the_arithmetic(tmp_path: Path) -> None:
    Image.fromarray(np.repeat(np.arange(0, 250, 5, dtype=np.uint8)[None], 20, axis=0)).save(tmp_path / "ramp.png")
    figure = tmp_path / "out.svg"

    command = ["convolve", str(tmp_path / "ramp.png"), "--stride", "2", "--padding", "reflect"]
    result = CliRunner().invoke(app, [*command, "--out", str(figure), "--json"])

    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["size_px"], said["map_px"]) == ([20, 50], [10, 25])
    assert said["arithmetic"].endswith("(50 + 2 x 1 - 3) // 2 + 1 = 25")
    assert said["highest"] == pytest.approx(
        4 * 2 * 5 / 255, abs=1e-6
    )  # two px apart, 5 grey levels each, weights 1 + 2 + 1
    assert "picture, 20 x 50 px" in figure.read_text()


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")

    result = CliRunner().invoke(app, ["convolve", str(tmp_path / "notes.txt"), "--out", str(tmp_path / "out.png")])

    assert "notes.txt cannot be read as a picture" in str(result.exception)
