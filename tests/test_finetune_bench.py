"""The bench of fine-tuning: fair draws, honest rivals, records that last, differences with their intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import finetune_quality
import numpy as np
import pytest
import torch
from finetuning import pairs, product, records, rivals, settings, table, targets, work
from finetuning.images import Arithmetic, Labelled, augmented
from finetuning.networks import BACKBONES
from finetuning.records import Record
from finetuning.settings import Setting

FP32 = Arithmetic("cpu", "fp32")
ROW = Setting("digits 4 resnet18", "digits", "resnet18", 4, 8, 1, test=40)
PLACES = work.Places(Path("data"), Path("cache"), FP32, 1, "c0de", "abc1234")
ABOUT = {
    "precision": "fp32",
    "date": "2026-01-01T00:00:00",
    "processor": "a CPU",
    "threads": 1,
    "torch": "2",
    "commit": "a",
}


def record(
    arm: str, seed: int, correct: list[int], code: str = "c0de", date: str = "2026-01-01", **keys: Any
) -> Record:
    about = {**ABOUT, "date": date}
    return Record(ROW.name, ROW.key, arm, seed, code, np.array(correct, dtype=bool), about=about, **keys)


# ------------------------------------------------------------------------------------------------------------ settings


def test_quick_has_eight_settings_half_of_them_photographs_with_two_thousand_test_images() -> None:
    photographs = [one for one in settings.QUICK if one.target in ("cifar10", "tiny-imagenet") and one.test >= 2_000]

    assert len(settings.QUICK) == 8
    assert len(photographs) >= 4
    assert len(settings.FULL) <= 20


def test_every_setting_names_a_target_and_a_backbone_and_no_two_share_a_name() -> None:
    for listed, _ in settings.LISTS.values():
        assert len({setting.name for setting in listed}) == len({setting.key for setting in listed}) == len(listed)
        assert {setting.target for setting in listed} <= targets.TARGETS.keys()
        assert {setting.backbone for setting in listed} <= BACKBONES.keys()


def test_no_pupil_is_measured_on_the_images_that_it_learned_from() -> None:
    pupils = [one for listed, _ in settings.LISTS.values() for one in listed if one.backbone in ("alexnet", "vgg11")]

    assert len(pupils) >= 3
    assert not [one for one in pupils if one.target.startswith("tiny-imagenet")]


def test_a_note_does_not_change_the_key_and_epochs_do() -> None:
    assert replace(ROW, note="seen", name="other").key == ROW.key
    assert replace(ROW, epochs=2).key != ROW.key


def test_labels_of_an_imbalanced_setting_fall_evenly_in_the_logarithm() -> None:
    setting = replace(ROW, labels=100, rarest=0.01)

    assert [setting.labels_of(position, 3) for position in range(3)] == [100, 10, 2]  # never below two


# --------------------------------------------------------------------------------------------------------------- draws


def test_seeds_draw_other_labels_and_the_same_test_images() -> None:
    pool = {name: [Path(f"{name}/{number}.png") for number in range(50)] for name in "ab"}
    test = {name: [Path(f"{name}/t{number}.png") for number in range(50)] for name in "ab"}

    first, second = (targets.drawn(pool, test, ROW, seed) for seed in (0, 1))

    assert [len(files) for files in first["train"].values()] == [4, 4]
    assert [len(files) for files in first["test"].values()] == [20, 20]
    assert first["train"] != second["train"]
    assert first["test"] == second["test"]


def test_a_class_is_cut_into_disjoint_halves() -> None:
    files = [Path(str(number)) for number in range(10)]

    pool, test = targets.halves({"a": files}, 0.3)

    assert len(test["a"]) == 3
    assert sorted(pool["a"] + test["a"]) == sorted(files)


def test_transferkit_and_the_rivals_get_the_same_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transferkit import recipe
    from transferkit.data import datasets
    from transferkit.runtime.console import SILENT

    small = targets.Target(targets.made("few", lambda folder: targets.write_shapes(folder, 6, 16), 0.5), 16)
    monkeypatch.setitem(targets.TARGETS, "few", small)

    task = targets.draw(replace(ROW, target="few", labels=2, test=12), 0, tmp_path, tmp_path)

    splits = datasets.load(recipe.parse_data(f"folder:{task.folder}"), SILENT)
    theirs = splits.test.open()
    assert theirs.ids == tuple(f"test/{name}" for name in task.test.ids)
    np.testing.assert_array_equal(theirs.pixels, task.test.pixels)
    assert len(task.train) == len(splits.train) + len(splits.val) == 12


# -------------------------------------------------------------------------------------------------------------- rivals


def labelled(per_class: int = 10, classes: int = 2) -> Labelled:
    count = per_class * classes
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    names = tuple(str(label) for label in range(classes))
    return Labelled(pixels, np.arange(count) % classes, tuple(str(number) for number in range(count)), names)


def test_val_of_the_plain_loop_is_a_fifth_of_every_class() -> None:
    train, val = rivals.carve(labelled(), 0.2, seed=0)

    assert np.bincount(train.labels).tolist() == [8, 8]
    assert np.bincount(val.labels).tolist() == [2, 2]
    assert not set(train.ids) & set(val.ids)


def test_the_plain_loop_learns_from_all_labels_at_the_rate_that_was_best_on_val(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried: list[tuple[float, int]] = []
    losses = dict(zip(BACKBONES["resnet18"].rates, (0.9, 0.5, 0.7), strict=True))

    def loop(images: Labelled, *rest: Any) -> float:
        rate: float = rest[2]
        tried.append((rate, len(images)))
        return rate

    monkeypatch.setattr(rivals, "plain_loop", loop)
    monkeypatch.setattr(rivals, "logits_of", lambda network, images, _: torch.full((len(images), 2), network))
    monkeypatch.setattr(rivals, "accuracy_and_loss", lambda logits, _: (0.5, losses[round(logits[0, 0].item(), 4)]))

    trial = rivals.plain(targets.Task(tmp_path, labelled(), labelled()), ROW, 0, tmp_path, FP32)

    assert tried == [(0.003, 16), (0.01, 16), (0.03, 16), (0.01, 20)]
    assert trial.facts["rate"] == 0.01


def test_a_diverged_network_is_not_chosen() -> None:
    logits = torch.tensor([[float("nan"), 0.0]])

    assert rivals.accuracy_and_loss(logits, np.array([0])) == (0.0, float("inf"))


def test_fastais_cycle_starts_peaks_and_ends_as_fit_one_cycle_does() -> None:
    cycle = rivals.Cycle(1, (1.0, 1.0, 1.0), rising=0.3, div=5)

    assert cycle.at(0) == pytest.approx((0.2, 0.95))
    assert cycle.at(0.3) == pytest.approx((1, 0.85))
    assert cycle.at(1) == pytest.approx((1e-5, 0.95))


def network() -> Any:
    from finetuning.networks import Network, bare_body

    body, width = bare_body("resnet18")
    return Network(body, width, 2, BACKBONES["resnet18"], 32)


def test_a_frozen_body_keeps_its_kernels_and_trains_its_batchnorm() -> None:
    frozen = network()

    rivals.set_frozen(frozen, frozen=True)

    trained = {name for name, parameter in frozen.named_parameters() if parameter.requires_grad}
    assert {"body.bn1.weight", "head.weight"} <= trained
    assert not {name for name in trained if "conv" in name}


def test_layer_groups_hold_every_parameter_once() -> None:
    from finetuning.networks import layer_groups

    whole = network()

    groups = layer_groups(whole, BACKBONES["resnet18"].late)

    numbers = [id(parameter) for group in groups for parameter in group]
    assert sorted(numbers) == sorted(id(parameter) for parameter in whole.parameters())
    assert all(groups)


def test_augmentation_without_room_to_move_or_mirror_changes_nothing() -> None:
    batch = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)

    assert torch.equal(augmented(batch, flip=False, share=0), batch)


@pytest.mark.parametrize("rival", [rivals.plain, rivals.fastai])
def test_a_rival_tells_bright_from_dark(
    rival: Callable[..., rivals.Trial], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = labelled(per_class=16)
    bright = np.where(images.labels == 1, 200, 20).astype(np.uint8)
    images = replace(images, pixels=np.broadcast_to(bright[:, None, None, None], images.pixels.shape).copy())
    monkeypatch.setattr(rivals, "pretrained", lambda *_: tiny())

    trial = rival(targets.Task(tmp_path, images, images), replace(ROW, epochs=12), 0, tmp_path, FP32)

    assert trial.correct.tolist() == [True] * 32


def tiny() -> Any:
    from finetuning.networks import Named, Network

    parts = {
        "conv1": torch.nn.Conv2d(3, 8, 3),
        "layer3": torch.nn.BatchNorm2d(8),
        "pool": torch.nn.AdaptiveAvgPool2d(1),
    }
    return Network(Named({**parts, "flat": torch.nn.Flatten()}), 8, 2, BACKBONES["resnet18"], 8)


# ------------------------------------------------------------------------------------------------------------- records


def test_a_record_is_read_as_it_was_saved(tmp_path: Path) -> None:
    saved = record("plain", 1, [1, 0, 1, 1, 0, 1, 1, 1, 1])

    path = records.save(tmp_path, ROW, saved)

    assert records.read(path) == saved
    assert records.read(path).correct.tolist() == saved.correct.tolist()
    assert records.read(path).accuracy == pytest.approx(7 / 9)


def test_without_a_code_the_one_measured_last_is_shown(tmp_path: Path) -> None:
    for code, date in (("new", "2026-02-02"), ("old", "2026-01-01")):
        records.save(tmp_path, ROW, record("default", 0, [1], code, date))

    assert records.measured(tmp_path, ROW, "default", "fp32")[0].code == "new"
    assert records.measured(tmp_path, ROW, "default", "fp32", "old")[0].code == "old"
    assert records.measured(tmp_path, ROW, "default", "bf16") == {}


def test_what_is_measured_is_not_measured_again_and_a_failure_is(tmp_path: Path) -> None:
    places = replace(PLACES, cache=tmp_path)
    cells = [work.Cell(ROW, "default", seed) for seed in range(3)]
    records.save(tmp_path, ROW, record("default", 0, [1]))
    records.save(tmp_path, ROW, record("default", 1, [], error="RuntimeError: out of memory"))

    assert [cell.seed for cell in work.missing(cells, places)] == [1, 2]
    assert len(work.missing(cells, replace(places, code="changed"))) == 3


def test_the_fingerprint_follows_training_and_not_the_report(tmp_path: Path) -> None:
    for inner in ("training/loop.py", "report/page.py"):
        (tmp_path / inner).parent.mkdir()
        (tmp_path / inner).write_text("a = 1\n")
    before = product.fingerprint(tmp_path)

    (tmp_path / "report/page.py").write_text("a = 2\n")
    after_report = product.fingerprint(tmp_path)
    (tmp_path / "training/loop.py").write_text("a = 2\n")

    assert after_report == before
    assert product.fingerprint(tmp_path) != before


def test_a_failed_cell_is_kept_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("diverged")

    monkeypatch.setattr(work, "_trial", fail)

    work.measure(work.Cell(ROW, "fastai", 0), replace(PLACES, cache=tmp_path))

    assert records.measured(tmp_path, ROW, "fastai", "fp32")[0].error == "RuntimeError: diverged"


# --------------------------------------------------------------------------------------------------------- differences


def test_one_draw_is_compared_by_students_t_over_its_images() -> None:
    from scipy import stats

    generator = np.random.default_rng(0)
    a, b = generator.random((2, 1, 200)) < np.array([0.8, 0.6])[:, None, None]

    pair = pairs.paired(a, b)

    assert pair.p == pytest.approx(stats.ttest_rel(a[0].astype(float), b[0].astype(float)).pvalue)


def test_draws_that_disagree_widen_the_interval() -> None:
    base = np.tile([True, False], 50)
    same = np.stack([np.ones(100, bool), np.ones(100, bool)])
    apart = np.stack([np.ones(100, bool), base])  # one draw gains 50 points, the other nothing

    agreed, disagreed = pairs.paired(same, np.stack([base, base])), pairs.paired(apart, np.stack([base, base]))

    assert (agreed.difference, disagreed.difference) == (0.5, 0.25)
    assert agreed.low > 0.3
    assert disagreed.low < 0


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):  # a is better by 0.1 on average; draws and images both vary
        draws, images = generator.normal(0, 0.03, (3, 1)), generator.normal(0, 0.2, (1, 300))
        better = generator.random((3, 300)) < (0.6 + draws + images)
        worse = generator.random((3, 300)) < (0.5 + images)
        pair = pairs.paired(better, worse)
        covered += pair.low <= 0.1 <= pair.high

    assert 0.92 <= covered / 400 <= 0.99


def test_equal_arms_differ_by_nothing() -> None:
    right = np.ones((2, 5), bool)

    assert pairs.paired(right, right) == pairs.Pair(0.0, 0.0, 0.0, 1.0, 2, 5)


# --------------------------------------------------------------------------------------------------------------- table


def test_the_table_shows_means_spreads_and_paired_differences() -> None:
    base = [1, 0] * 50
    arms = {"default": {0: record("default", 0, [1] * 100), 1: record("default", 1, [1] * 90 + [0] * 10)}}
    arms |= {"plain": {seed: record("plain", seed, base, "v1") for seed in (0, 1)}}

    page = table.markdown({ROW: arms}, ["foot"])

    assert "| digits 4 resnet18 | 100 | - | 95.0 ± 7.1 (2) | - | 50.0 ± 0.0 (2) | - | +45.0 [" in page
    assert "Default against plain: +45.0 points on average over 1 settings, lowest +45.0 (digits 4 resnet18)" in page


def test_a_setting_that_is_shown_to_be_worse_is_named() -> None:
    arms = {"default": {0: record("default", 0, [1, 0] * 50)}, "probe": {0: record("probe", 0, [1] * 100)}}

    page = table.markdown({ROW: arms}, [])

    assert "shown to be better in 0, worse in 1: digits 4 resnet18 (Holm, 5%)" in page


def test_failures_are_listed_and_do_not_count_as_accuracies() -> None:
    arms = {"default": {0: record("default", 0, [], error="MachineError: the loss became nan")}}

    page = table.markdown({ROW: arms}, [])

    assert "| 1 failed |" in page
    assert "- digits 4 resnet18, default, seed 0: MachineError: the loss became nan" in page


def test_arms_and_seeds_are_read_from_the_command_line() -> None:
    words = ["quick", "--data", "d", "--cache", "c", "--arms", "default, random head", "--seeds", "1,"]

    arguments = finetune_quality.parsed(words)

    assert arguments.arms == ("default", "random head")
    assert finetune_quality.chosen(arguments) == (list(settings.QUICK), (1,))


def test_an_unknown_arm_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        finetune_quality.parsed(["quick", "--data", "d", "--cache", "c", "--arms", "best"])

    assert "no arm 'best'; expected some of: probe, default, random head, plain, fastai" in capsys.readouterr().err
