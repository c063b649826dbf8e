"""What moves along with a picture: a convolution always, pooling by whole steps, a dense layer never."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.lab.equivariance import compare, moved, relative_difference, star


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("px", [1, 3, 4, 8])
def test_a_convolution_moves_along_pooling_by_whole_steps_and_a_dense_layer_never(seed: int, px: int) -> None:
    convolution, pooling, dense = compare(None, px, seed).facts.layers

    assert convolution.moves_along
    assert pooling.moves_along == (px % 4 == 0)
    assert 1.2 < dense.error < 1.6  # two unrelated patterns of one size differ by the root of 2


def test_what_is_compared_is_the_map_of_the_moved_picture_with_the_moved_map() -> None:
    comparison = compare(None, 3, 0)

    at_rest, of_moved, expected = comparison.maps[0]
    assert torch.equal(expected, moved(at_rest, 3))
    assert torch.allclose(of_moved[:, 3:], at_rest[:, :-3], atol=1e-6)
    # (3, 4) against (3, 0): |4| / |(3, 0)|
    assert relative_difference(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 0.0])) == pytest.approx(4 / 3)


def test_the_drawn_star_stands_on_two_tips() -> None:
    drawn = star() > 0.5
    top, bottom = drawn[drawn.any(dim=1)][[0, -1]]

    assert torch.equal(drawn, drawn.flip(1))
    assert top[15:17].all()  # the middle of 32 px
    assert not bottom[12:20].any()
    assert bottom.any()


def test_a_picture_that_would_leave_its_frame_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"room to move by 16 px; found 17. Use a smaller --px"):
        compare(None, 17, 0)


def test_the_command_takes_a_picture_of_any_size_and_draws(tmp_path: Path) -> None:
    Image.new("RGB", (50, 30), (200, 10, 90)).save(tmp_path / "red.png")
    figure = tmp_path / "equivariance.svg"

    arguments = ["lab", "equivariance", str(tmp_path / "red.png"), "--px", "2", "--out", str(figure), "--json"]
    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["picture"], facts["px"]) == ("red.png", 2)
    assert "convolution (sobel): its map moves along, by 2 places" in result.stderr
    assert "difference of these two" in figure.read_text(encoding="utf-8")
