"""Which size the network's input gets: from weights and images, never from the device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from transferkit.models import backbones
from transferkit.models.backbones import timm_sizes
from transferkit.models.backbones.torchvision_models import Stem
from transferkit.models.input_sizes import InputSize, in_words, input_size, resolved_backbone
from transferkit.models.receptive_fields import total_flops
from transferkit.models.stored_model import InputSpec
from transferkit.ood import rejection
from transferkit.recipe import BackboneSettings, from_options, ranking_from_options
from transferkit.recipe.budget import operations_in_words
from transferkit.report import page
from transferkit.run import save_model
from transferkit.runs.run_directory import Run
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.compare.options import Arms, StudySettings, study_of
from transferkit.training import defaults
from transferkit.training.estimates import inputs_in_words, of_ranking, of_study, require_weights, work
from transferkit.training.estimates.cheaper_sizes import MEASURED, cheaper_size
from transferkit.training.estimates.inputs import resolved_as_run


def chosen(method: str, backbone: str, native_px: int, **options: object) -> tuple[int, str]:
    """Side in px and stem for images of this side."""
    full = defaults.resolved(from_options(method, backbone, "cifar10", options, ()), 1_000, native_px)
    assert isinstance(full.method.size, int)
    return full.method.size, full.backbone.stem


def reason(method: str, backbone: str, native_px: int, **options: object) -> str:
    recipe = from_options(method, backbone, "cifar10", options, ())
    return input_size(recipe.method, resolved_backbone(recipe.backbone, recipe.method, native_px), native_px).reason


@pytest.mark.parametrize("native_px", [8, 32, 64])
def test_small_images_are_enlarged_to_128_px_for_imagenet_weights(native_px: int) -> None:
    assert chosen("finetune", "resnet18", native_px) == (128, "imagenet")
    assert reason("finetune", "resnet18", native_px) == "images up to 64 px are enlarged to 128 px"


@pytest.mark.parametrize("native_px", [65, 96, 256])
def test_larger_images_get_the_size_that_the_weights_were_made_for(native_px: int) -> None:
    assert chosen("probe", "resnet18", native_px)[0] == 224  # torchvision's weights
    assert chosen("probe", "timm/inception_v3", native_px)[0] == 299  # timm's default_cfg
    assert reason("probe", "resnet18", native_px) == "the size that the weights were made for"


@pytest.mark.parametrize(("stem", "expected"), [("cifar", (32, "cifar")), ("imagenet", (128, "imagenet"))])
def test_a_file_of_weights_brings_its_stem(stem: Stem, expected: tuple[int, str], tmp_path: Path) -> None:
    settings = BackboneSettings(name="resnet18", weights="none", stem=stem)
    body = backbones.load(settings, ("a", "b"), 32, SILENT).body
    save_file(body.state_dict(), tmp_path / "w.safetensors")

    assert chosen("finetune", "resnet18", 32, weights=str(tmp_path / "w.safetensors")) == expected


def test_more_epochs_do_not_change_the_size() -> None:
    assert chosen("finetune", "resnet18", 32, epochs=30) == chosen("finetune", "resnet18", 32, epochs=1)


@pytest.mark.parametrize("method", ["scratch", "probe", "finetune"])
def test_without_pretrained_weights_small_images_keep_their_size_and_meet_the_small_stem(method: str) -> None:
    assert chosen(method, "resnet18", 32, **({} if method == "scratch" else {"weights": "none"})) == (32, "cifar")


def test_without_pretrained_weights_large_images_keep_their_size_up_to_that_of_the_design() -> None:
    assert [chosen("scratch", "resnet18", side) for side in (96, 256)] == [(96, "imagenet"), (224, "imagenet")]
    assert reason("scratch", "resnet18", 256) == "the size that the network was designed for"


def test_a_network_without_a_small_stem_sees_small_images_as_its_pretrained_twin_does() -> None:
    assert chosen("scratch", "alexnet", 32) == chosen("finetune", "alexnet", 32) == (128, "imagenet")


def test_a_network_that_needs_more_than_the_images_own_size_gets_as_much_as_it_needs() -> None:
    assert chosen("scratch", "vgg11_bn", 8) == (32, "cifar")  # five poolings halve 32 px to one
    assert reason("scratch", "vgg11_bn", 8) == "the images' own size, or the nearest that vgg11_bn takes"


def test_an_asked_size_of_64_px_leaves_scratch_the_stem_of_its_pretrained_twin() -> None:
    asked = defaults.resolved(from_options("scratch", "resnet18", "cifar10", {"size": 64}, ()), 1_000, 32)
    own = defaults.resolved(from_options("scratch", "resnet18", "cifar10", {"size": 32}, ()), 1_000, 32)

    def flops(stem: str, size: int) -> int:
        settings = BackboneSettings(name="resnet18", weights="none", stem=stem)
        return total_flops(backbones.load(settings, ("a", "b"), size, SILENT).body, size)

    assert (asked.backbone.stem, own.backbone.stem) == ("imagenet", "cifar")
    assert flops("cifar", 64) / flops("imagenet", 64) == pytest.approx(15, abs=0.5)


@pytest.mark.parametrize("metadata", [{"size": "64"}, {"top1": "0.462 at 64 px"}])
def test_a_file_of_weights_says_the_size_that_it_was_made_for(metadata: dict[str, str], tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "own.safetensors", metadata)
    weights = str(tmp_path / "own.safetensors")

    assert chosen("probe", "resnet18", 32, weights=weights)[0] == 64  # not enlarged beyond it
    assert chosen("probe", "resnet18", 256, weights=weights)[0] == 64
    assert reason("probe", "resnet18", 32, weights=weights) == "the size that the weights were made for"


def test_a_file_that_says_no_size_counts_as_made_for_that_of_its_architecture(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "own.safetensors", {"top1": "0.7", "size": "big"})

    assert chosen("probe", "resnet18", 256, weights=str(tmp_path / "own.safetensors"))[0] == 224


def test_the_weights_of_a_run_bring_its_size(tmp_path: Path) -> None:
    classifier = backbones.load(BackboneSettings(name="resnet-mini", weights="none"), ("a", "b"), 48, SILENT)
    recipe, runtime = from_options("scratch", "resnet-mini", "digits", {}, ()), machine.start("cpu", "fp32", 1)
    save_model(Run(tmp_path), classifier, recipe, runtime, rejection.fit(None))

    assert chosen("finetune", "resnet-mini", 256, weights=str(tmp_path))[0] == 48
    assert (
        reason("finetune", "resnet-mini", 8, weights=str(tmp_path)) == "the size of the run that the weights are from"
    )


def test_a_word_for_weights_stays_one_where_a_run_of_that_name_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = backbones.load(BackboneSettings(name="simple-cnn", weights="none"), ("a", "b"), 48, SILENT)
    recipe, runtime = from_options("scratch", "simple-cnn", "digits", {}, ()), machine.start("cpu", "fp32", 1)
    (tmp_path / "none").mkdir()
    save_model(Run(tmp_path / "none"), classifier, recipe, runtime, rejection.fit(None))
    before = chosen("scratch", "simple-cnn", 16)

    monkeypatch.chdir(tmp_path)

    assert chosen("scratch", "simple-cnn", 16) == before
    assert before[0] == 16


def test_an_asked_size_is_taken_as_it_is() -> None:
    assert chosen("finetune", "resnet18", 256, size=72)[0] == 72
    assert reason("finetune", "resnet18", 256, size=72) == "as asked"


# ------------------------------------------------------------------------------------------------------- timm


def test_a_transformer_gets_whole_patches() -> None:
    assert chosen("probe", "timm/vit_small_patch14_dinov2", 32)[0] == 126  # 9 patches of 14 px
    assert chosen("probe", "timm/vit_tiny_patch16_224", 32)[0] == 128  # 8 of 16 px


def test_a_network_that_takes_one_size_alone_gets_it() -> None:
    assert chosen("probe", "timm/levit_128s", 32)[0] == 224
    assert reason("probe", "timm/levit_128s", 32) == (
        "images up to 64 px are enlarged to 128 px, or the nearest that timm/levit_128s takes"
    )


def test_sizes_are_tried_with_the_weights_where_there_are_some() -> None:
    made_for, small = (
        timm_sizes.Size("levit_128s", 224, is_fixed=True),
        timm_sizes.Size("levit_128s", 128, is_fixed=True),
    )

    assert not timm_sizes.is_taken(small, trained=made_for)  # its attention biases belong to a map of 14 x 14
    assert timm_sizes.is_taken(small, trained=None)


def test_an_asked_size_that_cuts_off_a_strip_of_the_images_is_refused() -> None:
    settings = BackboneSettings(name="timm/vit_tiny_patch16_224", weights="none")

    with pytest.raises(
        TransferkitError, match=r"patches of 16 px, and the last 4 px are in none. Use --size 96 or 112"
    ):
        backbones.load(settings, ("a", "b"), 100, SILENT)


def test_a_network_whose_windows_overlap_takes_any_size() -> None:
    body = backbones.load(BackboneSettings(name="resnet18", weights="none"), ("a", "b"), 100, SILENT).body

    assert timm_sizes.patch_px(body) == 1


def test_an_unknown_model_of_timm_is_told_as_everywhere() -> None:
    with pytest.raises(TransferkitError, match="Unknown backbone 'timm/resnet8'"):
        chosen("probe", "timm/resnet8", 32)


# ------------------------------------------------------------------------------------------------------ words


def test_the_size_is_printed_with_its_reason_and_its_operations() -> None:
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1))

    words = in_words(InputSize(32, "as asked"), body)

    assert words == "input: 32 px (as asked); 0.44 MFLOPs per image"  # 2 x 27 x 8 x 32 x 32 = 442,368


def test_operations_are_said_in_two_digits() -> None:
    assert [operations_in_words(flops) for flops in (4.64e6, 2.98e8, 1.19e9, 3.6e11)] == [
        "4.6 MFLOPs",
        "0.3 GFLOPs",
        "1.2 GFLOPs",
        "360 GFLOPs",
    ]


def test_operations_are_counted_in_networks_that_hand_on_tuples() -> None:
    body = backbones.load(BackboneSettings(name="timm/pit_ti_224", weights="none"), ("a", "b"), 224, SILENT).body

    assert np.isclose(total_flops(body, 224), 2 * 0.5e9, rtol=0.5)  # 0.7 G multiply-adds (Heo et al. 2021, table 5)


# -------------------------------------------------------------------------------------------------- estimates


def test_an_estimate_is_of_the_network_that_the_run_will_train(tmp_path: Path) -> None:
    for index in range(8):
        folder = tmp_path / "train" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (index, 0, 0)).save(folder / f"{index}.png")

    full = resolved_as_run(from_options("scratch", "resnet18", f"folder:{tmp_path}", {}, ()))

    assert (full.method.size, full.backbone.stem) == (32, "cifar")


def test_a_study_estimates_each_arm_and_how_often_it_is_run() -> None:
    arms = Arms(["resnet-mini"], ["scratch", "probe"], ["none"])
    study = study_of("compare", arms, "digits", {"limit_per_class": 4}, StudySettings(2, "1epochs"))

    told = of_study(study)

    assert list(told) == ["scratch", "probe", "in all"]
    assert told["scratch"].startswith("Estimate: 40 labelled and 898 test images, 1 epoch at 8 px, about ")
    assert told["scratch"].endswith(" 2 times, once per seed.")


def test_a_ranking_estimates_one_pass_over_the_images_that_it_ranks_on() -> None:
    ranking = ranking_from_options(["resnet-mini=none"], "digits", (), {"images": 100})

    told = of_ranking(ranking)

    assert told["resnet-mini=none"].startswith("Estimate: features of 100 training images at 8 px, about ")


def test_a_long_run_is_offered_the_next_smaller_measured_size_with_its_loss() -> None:
    assert cheaper_size(3600, 128).startswith("Cheaper: --size 96 takes about 34 min; it lost 2.0 points")
    assert cheaper_size(3600, 96).startswith("Cheaper: --size 64 takes about 27 min; it lost 8.7 points")
    assert cheaper_size(900, 128) == cheaper_size(3600, 192) == ""  # short, and not measured


def test_the_estimate_comes_before_what_would_be_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_forward", lambda *_: 1.0)
    monkeypatch.setattr(work, "_step", lambda *_: 1.0)
    recipe = from_options("finetune", "resnet18", "glyphs", {"epochs": 3}, ())

    first, second = work.estimate(recipe).splitlines()
    of_study = work.estimates({"a": recipe}, 2)["a"].text.splitlines()

    assert first.startswith("Estimate: ")
    assert second.startswith("Cheaper: --size 96 takes about ")
    assert of_study == [f"{first} 2 times, once per seed.", second]


def test_every_loss_that_is_offered_stands_in_the_measured_results() -> None:
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    part = page[page.index("## Smaller inputs") :]

    for row in MEASURED:
        assert f"| {row.px} to {row.smaller_px} px | {row.points:.1f} points |" in part


def test_a_dry_run_of_a_study_sees_its_data_once_and_what_it_would_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    study = study_of("compare", Arms(["resnet18"], ["scratch", "finetune"], ()), "cifar10", {}, StudySettings(3))

    told = inputs_in_words(recipe for _, _, recipe in study.recipes())

    assert told == ["To be downloaded: cifar10 (170 MB), ImageNet weights of resnet18 (about 45 MB)."]


def draw_classes(folder: Path, **counts: int) -> None:
    for label, count in counts.items():
        (folder / label).mkdir()
        for index in range(count):
            Image.new("RGB", (8, 8)).save(folder / label / f"{index}.png")


def test_a_dry_run_counts_images_of_classes_that_have_as_many(tmp_path: Path) -> None:
    draw_classes(tmp_path, a=2, b=2)

    told = inputs_in_words([from_options("scratch", "resnet20", f"folder:{tmp_path}", {}, ())])

    assert told == ["Data: 2 classes, 2 training images each; 4 of 4 files opened."]


def test_a_dry_run_counts_classes_and_names_files_that_cannot_be_read(tmp_path: Path) -> None:
    draw_classes(tmp_path, a=2, b=3)
    (tmp_path / "b" / "2.png").write_bytes(b"no image")

    told = inputs_in_words([from_options("scratch", "resnet20", f"folder:{tmp_path}", {}, ())])

    assert told == [
        "Data: 2 classes, 2 to 3 training images each; 5 of 5 files opened.",
        "1 of them cannot be read: b/2.png. Fix or delete them, or use --skip-bad.",
    ]


def test_a_dry_run_refuses_weights_that_do_not_fit(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "own.safetensors")
    recipe = from_options("probe", "resnet18", "digits", {"weights": str(tmp_path / "own.safetensors")}, ())

    with pytest.raises(TransferkitError, match="do not fit resnet18"):
        require_weights(recipe)


def test_the_page_of_a_run_gives_the_reason_for_its_input_size() -> None:
    spec = InputSpec(128, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")

    assert page._input(spec, "as asked") == "128 px (as asked), bilinear"
    assert page._input(spec, "") == "128 px, bilinear"  # of a run from before the reason was kept
