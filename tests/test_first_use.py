"""What an impatient newcomer meets: mistakes answered at once, and nothing promised that is not so."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_cli import refused, transferkit

from transferkit import datasets
from transferkit.images import Splits


@pytest.fixture
def closed_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any data set that is loaded fails the test."""

    def load(*_: object) -> Splits:
        raise AssertionError("data were loaded")

    monkeypatch.setattr(datasets, "load", load)


@pytest.mark.usefixtures("closed_data")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", "resnet8"], "Unknown backbone 'resnet8'. Did you mean 'resnet18'?"),
        (["probe", "timm/resnet1888"], "resnet1888"),
        (["finetune", "resnet18", "--weights", "no/such.pth"], "No weights at 'no/such.pth'"),
    ],
)
def test_a_wrong_backbone_is_refused_before_any_data_are_loaded(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    assert message in refused(transferkit(*arguments, "--data", "digits", cwd=tmp_path))
