"""Weights: found, verified, read without running code, and fitted or refused with a list."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.description import describe
from transferkit.models.stored_model import write_model
from transferkit.models.weights.cached import hash_prefix, sha256_of
from transferkit.models.weights.fitting import guessed_backbone
from transferkit.models.weights.reading import read_file
from transferkit.models.weights.sources import torchvision_url
from transferkit.recipe import BackboneSettings
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import MachineError, TransferkitError

State = dict[str, Any]


@pytest.fixture(scope="module")
def resnet18() -> State:
    torch.manual_seed(3)
    return dict(models.resnet18(num_classes=7).state_dict())


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Empty: torch's checkpoints folder, and ours."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "ours"))
    folders = (tmp_path / "torch" / "hub" / "checkpoints", tmp_path / "ours" / "weights")
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


def load(where: Path | str, name: str = "resnet18", console: Console = SILENT, size: int = 32) -> Classifier:
    return backbones.load(BackboneSettings(name=name, weights=str(where)), ("cat", "dog"), size, console)


def assert_has(classifier: Classifier, state: State) -> None:
    body = classifier.body.state_dict()
    assert len(body) == 120  # 122 tensors of a ResNet-18 less weight and bias of its head
    for name, value in body.items():
        torch.testing.assert_close(value, state[name])


# ---------------------------------------------------------------------------------------------------------- file


def test_old_head_of_any_class_count_is_dropped(tmp_path: Path, resnet18: State) -> None:
    save_file(resnet18, tmp_path / "w.safetensors")

    classifier = load(tmp_path / "w.safetensors")

    assert_has(classifier, resnet18)
    assert classifier.head.weight.shape == (2, 512)


def test_weights_without_head_are_taken(tmp_path: Path, resnet18: State) -> None:
    headless = {name: value for name, value in resnet18.items() if not name.startswith("fc.")}
    torch.save(headless, tmp_path / "w.pth")

    assert_has(load(tmp_path / "w.pth"), resnet18)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
def test_wrappers_and_prefixes_of_training_scripts_are_taken_off(tmp_path: Path, wrapper: str) -> None:
    saved = {wrapper: {f"module.{name}.weight": torch.ones(2) for name in ("conv1", "fc")}, "epoch": 3}
    torch.save(saved, tmp_path / "w.pt")

    tensors, _ = read_file(tmp_path / "w.pt")

    assert set(tensors) == {"conv1.weight", "fc.weight"}


def test_half_precision_becomes_float32(tmp_path: Path, resnet18: State) -> None:
    halves = {name: value.half() if value.is_floating_point() else value for name, value in resnet18.items()}
    save_file(halves, tmp_path / "w.safetensors")

    classifier = load(tmp_path / "w.safetensors")

    assert {parameter.dtype for parameter in classifier.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in classifier.parameters())


def test_weights_of_before_batch_counters_are_taken(tmp_path: Path, resnet18: State) -> None:
    old = {name: value for name, value in resnet18.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "w.pth")

    assert load(tmp_path / "w.pth").get_buffer("body.bn1.num_batches_tracked").item() == 0


def test_record_has_name_hash_and_licence_of_the_file(tmp_path: Path, resnet18: State) -> None:
    path = tmp_path / "mine.safetensors"
    metadata = {"mean": "0.5,0.4,0.3", "std": "0.2,0.2,0.1", "license": "cc0-1.0"}
    save_file(resnet18, path, metadata=metadata)

    classifier = load(path)

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert asdict(classifier.weights) == {
        "source": "file",
        "tag": "mine.safetensors",
        "sha256": digest,
        "licence": "cc0-1.0",
    }
    assert classifier.input_spec.mean == (0.5, 0.4, 0.3)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"mean": "inf,0,0", "std": "1,1,1"}, "mean is 'inf,0,0'. Expected three finite numbers, as in 0.485"),
        ({"mean": "0,0,0", "std": "nan,1,1"}, "std is 'nan,1,1'. Expected three positive numbers"),
        ({"mean": "0,0,0", "std": "0,1,1"}, "std is '0,1,1'. Expected three positive numbers"),
        ({"mean": "0.5", "std": "1,1,1"}, "mean is '0.5'. Expected three finite numbers"),
        ({"mean": "0,0,0", "std": "x" * 9000}, r"std is 'x{80}' ... \(9,000 characters\)"),
    ],
)
def test_metadata_that_images_cannot_be_prepared_with_are_refused(
    metadata: dict[str, str], message: str, tmp_path: Path, resnet18: State
) -> None:
    save_file(resnet18, tmp_path / "w.safetensors", metadata=metadata)

    with pytest.raises(TransferkitError, match=f"w.safetensors says in its metadata that {message}"):
        load(tmp_path / "w.safetensors")


def test_file_without_mean_and_std_says_that_imagenet_ones_are_used(tmp_path: Path, resnet18: State) -> None:
    said = io.StringIO()
    torch.save(resnet18, tmp_path / "w.pth")

    load(tmp_path / "w.pth", console=Console(stream=said))

    assert "w.pth tells no mean and std; images are prepared as for ImageNet weights" in said.getvalue()


def test_another_architecture_lists_differences_and_guesses(tmp_path: Path, resnet18: State) -> None:
    torch.save(resnet18, tmp_path / "w.pth")

    with pytest.raises(TransferkitError) as caught:
        load(tmp_path / "w.pth", "resnet50")

    message = str(caught.value)
    assert "w.pth do not fit resnet50. It looks like resnet18" in message
    assert "missing: layer1.0.conv3.weight" in message
    assert "of another shape: layer1.0.conv1.weight (64, 64, 3, 3) instead of (64, 64, 1, 1)" in message
    assert " and " in message.partition("missing:")[2].splitlines()[0]  # eight are listed, the others counted
    assert "fc." not in message


def test_missing_and_unexpected_tensors_are_listed_together(tmp_path: Path, resnet18: State) -> None:
    state = {**resnet18, "extra.weight": torch.zeros(1)}
    del state["layer4.1.bn2.bias"]
    torch.save(state, tmp_path / "w.pth")

    with pytest.raises(TransferkitError, match=r"1 missing: layer4.1.bn2.bias\n  1 unexpected: extra.weight"):
        load(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "name", ["alexnet", "vgg11", "vgg16_bn", "vgg19", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
)
def test_torchvision_networks_are_recognised_by_their_tensors(name: str) -> None:
    with torch.device("meta"):
        state = models.get_model(name).state_dict()

    assert guessed_backbone(state) == name


def test_stem_is_that_of_the_weights(tmp_path: Path) -> None:
    scratch = backbones.load(
        BackboneSettings(name="resnet18", weights="none", stem="cifar"), ("a", "b"), 32, SILENT
    ).body.state_dict()
    torch.save(scratch, tmp_path / "w.pth")

    assert load(tmp_path / "w.pth").body.conv1.kernel_size == (3, 3)  # type: ignore[union-attr]
    settings = BackboneSettings(name="resnet18", weights=str(tmp_path / "w.pth"), stem="imagenet")
    with pytest.raises(TransferkitError, match=r"trained with stem cifar, not imagenet. Set backbone.stem=cifar"):
        backbones.load(settings, ("a", "b"), 32, SILENT)


class RunsCode:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.witness),)


def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    witness = tmp_path / "made-by-the-file"
    torch.save({"conv1.weight": RunsCode(witness)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps({"conv1.weight": RunsCode(witness)}, protocol=2))

    for name in ("a.pth", "b.pth"):
        with pytest.raises(TransferkitError, match=r"was refused: .* run code from the file \((posix|nt|os).mkdir\)"):
            load(tmp_path / name)

    assert not witness.exists()


def test_a_whole_pickled_model_is_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.save(models.resnet18(), tmp_path / "w.pth")

    with pytest.raises(TransferkitError, match=r"torchvision.models.resnet.ResNet.*save its state dict"):
        load(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.pth", b"<!DOCTYPE html><html>", "is no PyTorch file. It begins with '<!DOCTYPE html>"),
        ("w.pth", b"", "is no PyTorch file. It is empty"),
        ("w.pth", b"\x80\x02garbage", "is damaged"),
        ("w.pth", b"PK\x03\x04garbage", "is damaged or cut off"),
        ("w.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "or damaged.*begins with 'version https"),
        ("w.safetensors", b"", "It is empty"),
        ("w.txt", b"weights", "is no file of weights. Expected .safetensors or one of .pth"),
    ],
)
def test_what_is_no_file_of_weights_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(TransferkitError, match=message):
        load(tmp_path / name)


def test_a_cut_off_file_is_refused(tmp_path: Path, resnet18: State) -> None:
    torch.save(resnet18, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(content[: len(content) // 2])

    with pytest.raises(TransferkitError, match="is damaged or cut off"):
        load(tmp_path / "w.pth")


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "w.pth")

    with pytest.raises(TransferkitError, match="holds no weights: expected a state dict"):
        load(tmp_path / "w.pth")


def test_nothing_at_the_path_says_what_is_expected() -> None:
    with pytest.raises(TransferkitError, match=r"No weights at 'no/such.pth': there is no such file or folder"):
        load("no/such.pth")


# ----------------------------------------------------------------------------------------------------------- run


def write_run(folder: Path, name: str) -> Classifier:
    classifier = backbones.load(BackboneSettings(name=name, weights="none"), ("cat", "dog"), 16, SILENT)
    folder.mkdir()
    save_file({key: value.contiguous() for key, value in classifier.state_dict().items()}, folder / "model.safetensors")
    facts = describe(classifier, BackboneSettings(name=name, weights="none"))
    write_model(folder, replace(facts, input=replace(facts.input, mean=(0.1, 0.2, 0.3))))
    return classifier


def test_a_run_gives_its_body_and_preparation_below_a_new_head(tmp_path: Path) -> None:
    trained = write_run(tmp_path / "glyphs", "resnet-mini")

    classifier = load(tmp_path / "glyphs", "resnet-mini")

    for name, value in trained.body.state_dict().items():
        torch.testing.assert_close(classifier.body.state_dict()[name], value)
    assert not torch.equal(classifier.head.weight, trained.head.weight)  # type: ignore[arg-type]
    assert classifier.input_spec.mean == (0.1, 0.2, 0.3)
    assert classifier.input_spec.size == 32
    assert (classifier.weights.source, classifier.weights.tag) == ("run", "glyphs")


def test_the_model_file_of_a_run_is_a_file_too(tmp_path: Path) -> None:
    trained = write_run(tmp_path / "glyphs", "resnet-mini")

    classifier = load(tmp_path / "glyphs" / "model.safetensors", "resnet-mini")

    torch.testing.assert_close(classifier.body.state_dict(), trained.body.state_dict())


def test_a_run_of_another_architecture_names_both(tmp_path: Path) -> None:
    write_run(tmp_path / "glyphs", "resnet-mini")

    with pytest.raises(TransferkitError, match="glyphs trained resnet-mini, not resnet20"):
        load(tmp_path / "glyphs", "resnet20")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match="holds no model: expected the folder of a finished run"):
        load(tmp_path)


# ---------------------------------------------------------------------------------------------------- torchvision


@pytest.fixture
def published(tmp_path: Path, resnet18: State) -> Path:
    """A file of weights named as torch.hub names them, in a folder to be served."""
    path = tmp_path / "served" / "w.pth"
    path.parent.mkdir()
    torch.save(resnet18, path)
    return path.rename(path.with_name(f"resnet18-{sha256_of(path)[:8]}.pth"))


@pytest.fixture
def server(published: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, directory=str(published.parent), **kwargs)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


def test_weights_in_torchs_own_cache_are_used_without_network(
    caches: tuple[Path, Path], published: Path, resnet18: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "transferkit.models.weights.sources.torchvision_url", lambda _: f"http://127.0.0.1:9/{published.name}"
    )
    published.rename(caches[0] / published.name)

    classifier = load("imagenet")

    assert_has(classifier, resnet18)
    assert (classifier.weights.source, classifier.weights.tag) == ("torchvision", "IMAGENET1K_V1")
    assert classifier.weights.sha256.startswith(hash_prefix(published.name))


def test_missing_weights_are_downloaded_into_our_cache_and_verified(
    caches: tuple[Path, Path], published: Path, server: str, resnet18: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferkit.models.weights.sources.torchvision_url", lambda _: f"{server}/{published.name}")

    assert_has(load("imagenet"), resnet18)

    assert (caches[1] / published.name).read_bytes() == published.read_bytes()


def test_a_damaged_file_in_the_cache_is_replaced_and_said(
    caches: tuple[Path, Path], published: Path, server: str, resnet18: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferkit.models.weights.sources.torchvision_url", lambda _: f"{server}/{published.name}")
    (caches[1] / published.name).write_bytes(b"half a file")
    said = io.StringIO()

    classifier = load("imagenet", console=Console(stream=said))

    assert_has(classifier, resnet18)
    assert f"{published.name} is damaged" in said.getvalue()


def test_a_download_with_the_wrong_hash_is_refused_and_removed(
    caches: tuple[Path, Path], published: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = published.rename(published.with_name("resnet18-00000000.pth"))
    monkeypatch.setattr("transferkit.models.weights.sources.torchvision_url", lambda _: f"{server}/{wrong.name}")

    with pytest.raises(MachineError, match=r"came with SHA256 \w+, expected 00000000; it was deleted"):
        load("imagenet")

    assert [path.name for path in caches[1].iterdir() if not path.name.startswith(".transferkit")] == []


def test_without_network_the_error_names_file_place_and_alternatives(
    caches: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "transferkit.models.weights.sources.torchvision_url", lambda _: "http://127.0.0.1:9/resnet18-f37072fd.pth"
    )

    with pytest.raises(MachineError) as caught:
        load("imagenet")

    message = str(caught.value)
    assert str(caches[1] / "resnet18-f37072fd.pth") in message
    assert "--weights FILE" in message
    assert "--weights none" in message
    assert "transferkit quickstart" in message
    assert caught.value.exit_code == 1


def test_pinned_weights_are_version_1() -> None:
    assert torchvision_url("resnet50").endswith("resnet50-0676ba61.pth")  # V2 is resnet50-11ad3fa6.pth


# ----------------------------------------------------------------------------------------------------- real data

REAL = Path(os.environ.get("TRANSFERKIT_TEST_DATA", "~/.cache/transferkit-test-data")).expanduser()
TINY_IMAGENET = REAL / "weights" / "resnet18-tiny-imagenet.safetensors"


@pytest.mark.real
@pytest.mark.skipif(not TINY_IMAGENET.exists(), reason=f"{TINY_IMAGENET} is missing; set TRANSFERKIT_TEST_DATA")
def test_half_precision_weights_with_202_classes_tell_images_apart() -> None:
    classifier = load(TINY_IMAGENET, size=64).eval()

    flat = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    noise = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        features = classifier.features(torch.cat([flat, noise]))

    assert classifier.weights.tag == "resnet18-tiny-imagenet.safetensors"
    assert features.dtype == torch.float32
    assert features.isfinite().all()
    assert (features[0] - features[2]).norm() > (features[0] - features[1]).norm()
