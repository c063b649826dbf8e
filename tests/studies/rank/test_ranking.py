"""The ranking of backbones: which images it may see, what it claims, and what a mistake is answered with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

import transferkit
from transferkit import recipe
from transferkit.cli import rank as cli_rank
from transferkit.cli.app import app
from transferkit.data import datasets
from transferkit.data.images import Images, SealedImages, Splits
from transferkit.models import backbones
from transferkit.models.receptive_fields import total_flops
from transferkit.models.stored_model import WeightsRecord
from transferkit.recipe import BackboneSettings, RankingRecipe
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.records import as_json
from transferkit.studies.pages import rebuild_pages
from transferkit.studies.rank import backbone_scores, ranking
from transferkit.studies.rank.backbone_scores import (
    FOLDS,
    ProbedBackbone,
    cross_validate,
    gathered,
    published_top1,
    sample,
)
from transferkit.studies.rank.report import ranking_verdict
from transferkit.studies.rank.results import BackboneFacts, Ranking

FACTS = BackboneFacts(
    name="resnet18",
    weights=WeightsRecord("none", "random initialisation", ""),
    size=64,
    width=512,
    logme=0.1,
    top1=None,
    flops=3_600_000_000,
    parameters=11_000_000,
    images_per_second=100.0,
    C=(1.0,),
    neighbours=20,
    converged=True,
)
LABELS = np.zeros(1000, np.int64)


@pytest.fixture(autouse=True)
def _no_time_for_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone_scores, "TIMED_SECONDS", 0.0)


def found(right: int, shift: int = 0, **facts: Any) -> ProbedBackbone:
    """A backbone that is right on so many of 1,000 images, from the one at `shift` on."""
    answers = np.ones(1000, np.int64)
    answers[(np.arange(right) + shift) % 1000] = 0
    return ProbedBackbone(answers, answers, replace(FACTS, **facts))


def digits(images: int = 40, **changes: Any) -> RankingRecipe:
    return recipe.ranking_from_options(
        ["resnet-mini=none", "resnet20=none"], "digits", (), {"images": images, "size": 8, **changes}
    )


# ---- what it claims ----


def test_a_difference_that_is_not_shown_is_a_tie() -> None:
    scores = {"a": found(800), "b": found(797, shift=5), "c": found(300)}

    result = ranking.ranked(scores, LABELS)

    assert [(row.label, row.ranks) for row in result.rows] == [("a", (1, 2)), ("b", (1, 2)), ("c", (3, 3))]
    assert "No single best is shown: a and b tie for the first rank" in result.verdict


def test_a_best_backbone_is_named_where_it_is_shown() -> None:
    result = ranking.ranked({"b": found(300), "a": found(800)}, LABELS)

    assert result.verdict == ("a is the best of 2 for a linear probe: 80.0 % (95 % interval 77.4 to 82.4, n = 1,000).")


def test_among_ties_the_cheapest_is_named() -> None:
    result = ranking.ranked({"a": found(800), "b": found(799, flops=500_000_000)}, LABELS)

    assert "Of these, b needs the fewest operations (0.5 GFLOPs per image)." in result.verdict


def test_all_pairs_are_adjusted_together() -> None:
    # a beats b on 20 images and loses on 6: 14 / sqrt(26 + 2) / 1.5 = 1.764 deviations, p = 0.0777; times 3.
    answers = np.ones((3, 1000), np.int64)
    answers[:, :500] = 0
    answers[0, 500:520] = 0
    answers[1, 520:526] = 0
    answers[2, 526:536] = 0
    scores = {name: ProbedBackbone(row, row, FACTS) for name, row in zip("abc", answers, strict=True)}

    pairs = {pair.a + pair.b: pair for pair in ranking.ranked(scores, LABELS).pairs}

    assert set(pairs) == {"ac", "ab", "cb"}
    assert pairs["ab"].p == pytest.approx(0.0777, abs=2e-4)
    assert pairs["ab"].p_holm == pytest.approx(3 * pairs["ab"].p)


def test_backbones_are_compared_on_whole_groups_where_images_have_some() -> None:
    groups = tuple(f"patient {number // 25}" for number in range(1000))
    scores = {"a": found(800), "b": found(750)}  # two patients of forty more

    alone, together = ranking.ranked(scores, LABELS), ranking.ranked(scores, LABELS, groups)

    assert alone.pairs[0].shown
    assert not together.pairs[0].shown
    assert together.groups == 40
    assert "n = 1,000 in 40 groups" in together.verdict


def test_one_backbone_alone_is_measured_and_compared_with_nothing() -> None:
    result = ranking.ranked({"a": found(800)}, LABELS)

    assert result.rows[0].ranks == (1, 1)
    assert result.pairs == ()
    assert "with one backbone there is nothing to compare" in result.verdict


# ---- which images it sees ----


def images(counts: list[int]) -> Images:
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.zeros((len(labels), 3, 8, 8), np.uint8)
    return Images.from_pixels(pixels, labels, [str(label) for label in range(len(counts))])


def test_a_sample_keeps_the_shares_of_the_classes_and_at_least_two_images_of_each() -> None:
    # Two of the last class come first; 98 of 996 remain: 59.04, 29.52 and 9.45, rounded.
    chosen = sample(images([600, 300, 96, 4]), 100, seed=0)

    assert np.bincount(chosen.labels).tolist() == [59, 30, 9, 2]


def test_a_smaller_sample_is_part_of_a_larger_one_and_another_seed_draws_others() -> None:
    pool = images([50, 30])

    small, large, other = (set(sample(pool, most, seed).ids) for most, seed in ((20, 0), (40, 0), (20, 1)))

    assert small < large
    assert other != small


def test_every_fold_holds_every_class_that_has_enough_images() -> None:
    labels = sample(images([40, 20, 5]), 65, seed=0).labels

    assert all(set(labels[fold::FOLDS]) == {0, 1, 2} for fold in range(FOLDS))


def test_no_image_is_answered_by_a_probe_that_has_seen_it() -> None:
    # Labels drawn at random can be learnt by heart and not be predicted: four in 100,000 chances to reach 0.7.
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(100, 200, generator=generator), torch.arange(100) % 2

    folds = list(cross_validate(features, labels, seed=0))

    assert (gathered([fold.probe for fold in folds]) == labels.numpy()).mean() < 0.7
    assert (gathered([fold.knn for fold in folds]) == labels.numpy()).mean() < 0.7


def test_the_probe_answers_as_scikit_learn_does_with_the_same_c_and_folds() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(45) % 3
    features = (generator.normal(size=(3, 4))[labels] + generator.normal(size=(45, 4))).astype(np.float32)

    folds = list(cross_validate(torch.from_numpy(features), torch.from_numpy(labels), seed=0))

    for number, fold in enumerate(folds):
        held = np.arange(45) % FOLDS == number
        mean, sd = features[~held].mean(0), features[~held].std(0)
        model = LogisticRegression(C=fold.C, tol=1e-8, max_iter=5000).fit((features[~held] - mean) / sd, labels[~held])
        assert model.predict((features[held] - mean) / sd).tolist() == fold.probe.tolist()


def test_neither_val_nor_test_is_opened(finished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = Ranking.read(finished)
    load, seen = datasets.load, []

    def watched(settings: Any, console: Any) -> Splits:
        splits = load(settings, console)
        seen.append(splits)
        return Splits(splits.train, splits.val.subset([]), SealedImages(splits.test._images.subset([])))

    monkeypatch.setattr(datasets, "load", watched)
    emptied = ranking.rank(digits(), tmp_path, console=SILENT)

    assert [row.accuracy for row in emptied.rows] == [row.accuracy for row in whole.rows]
    assert seen[0].test.openings == whole.data.test_openings == 0


# ---- costs ----


def test_operations_of_resnet18_are_twice_the_multiply_adds_that_torchvision_states() -> None:
    from torchvision.models import ResNet18_Weights

    body = backbones.load(BackboneSettings(name="resnet18", weights="none", stem="imagenet"), ["a"], 224, SILENT).body

    stated = ResNet18_Weights.IMAGENET1K_V1.meta["_ops"]  # thousand million multiply-adds, with the head
    assert (total_flops(body, 224) / 2 + 512 * 1000) / 1e9 == pytest.approx(stated, abs=1e-3)


def test_imagenet_accuracy_is_claimed_for_the_published_weights_alone() -> None:
    assert published_top1(BackboneSettings(name="resnet18")) == 0.69758
    assert published_top1(BackboneSettings(name="resnet18", weights="none")) is None
    assert published_top1(BackboneSettings(name="resnet18", weights="my.pth")) is None
    assert published_top1(BackboneSettings(name="timm/resnet18.a1_in1k")) is None


# ---- the folder ----


def always_right(_: Any, images: Images, *__: Any) -> ProbedBackbone:
    """In place of real work."""
    return ProbedBackbone(images.labels, images.labels, FACTS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished ranking of two small networks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbone_scores, "TIMED_SECONDS", 0.0)
        folder = tmp_path_factory.mktemp("ranking") / "done"
        ranking.rank(digits(), folder, console=SILENT, command="transferkit rank <b>")
        yield folder


def test_a_finished_ranking_is_not_replaced_unasked(finished: Path) -> None:
    before = (finished / "report.html").stat().st_mtime_ns

    assert ranking.rank(digits(), finished, console=SILENT) == Ranking.read(finished)
    assert (finished / "report.html").stat().st_mtime_ns == before
    with pytest.raises(TransferkitError, match=r"another ranking, with images=.* and not 50. .*--out"):
        ranking.rank(digits(images=50), finished, console=SILENT)


def test_the_pages_of_a_ranking_are_built_again_from_its_results(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    (finished / "report.html").unlink()

    rebuild_pages(finished)

    assert (finished / "report.html").read_text(encoding="utf-8") == page


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")

    with pytest.raises(TransferkitError, match="holds other files and is no ranking"):
        ranking.rank(digits(), tmp_path, console=SILENT)
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


def test_a_failed_backbone_is_reported_and_done_alone_the_next_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done: list[str] = []

    def offline(one: Any, *rest: Any) -> ProbedBackbone:
        done.append(one.backbone.name)
        if one.backbone.name == "resnet20" and len(done) < 3:
            raise MachineError("no network")
        return always_right(one, *rest)

    monkeypatch.setattr(ranking, "score", offline)

    first = ranking.rank(digits(), tmp_path, console=SILENT)
    second = ranking.rank(digits(), tmp_path, console=SILENT)

    assert done == ["resnet-mini", "resnet20", "resnet20"]
    assert first.failures == ("resnet20=none: no network",)
    assert "failed: resnet20=none: no network" not in (tmp_path / "report.md").read_text()
    assert {row.label for row in second.rows} == {"resnet-mini=none", "resnet20=none"}


def test_weights_that_are_none_are_refused_before_the_first_backbone_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ranking, "score", always_right)
    (tmp_path / "passwd").write_text("root:x:0:0")

    wanted = ["rank", "resnet-mini=none", f"resnet-mini={tmp_path / 'passwd'}", "--data", "digits"]
    result = CliRunner().invoke(app, [*wanted, "--out", str(tmp_path / "out")])

    assert isinstance(result.exception, TransferkitError)  # exit code 2
    assert re.match(r"resnet-mini=passwd: .*passwd is no file of weights\.", str(result.exception))
    assert not (tmp_path / "out").exists()


def test_a_backbone_whose_code_breaks_is_a_row_with_its_error_beside_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def breaks(one: Any, *rest: Any) -> ProbedBackbone:
        if one.backbone.name == "resnet20":
            raise RuntimeError("Expected gradient function to be set\nat line 3")
        return always_right(one, *rest)

    monkeypatch.setattr(ranking, "score", breaks)

    found = ranking.rank(digits(), tmp_path, console=SILENT)

    failure = "resnet20=none: RuntimeError: Expected gradient function to be set"
    assert found.failures == (failure,)
    assert [row.label for row in found.rows] == ["resnet-mini=none"]
    assert (
        f'<tr class="failed"><td>–</td><td colspan="9">failed: {failure}</td></tr>'
        in (tmp_path / "report.html").read_text()
    )
    assert re.search(rf"^\| – +\| failed: {failure} ", (tmp_path / "report.md").read_text(), re.MULTILINE)
    assert f"Failed: {failure}" in " ".join(" ".join(shown(found)).split())


def test_scores_of_other_weights_in_the_same_file_are_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done: list[str] = []
    monkeypatch.setattr(
        ranking, "score", lambda one, *rest: done.append(one.backbone.weights) or always_right(one, *rest)
    )
    weights = tmp_path / "w.safetensors"
    network = backbones.load(BackboneSettings(name="resnet-mini", weights="none"), ("one", "two"), 8, SILENT)
    wanted = recipe.ranking_from_options([f"resnet-mini={weights}"], "digits", (), {"images": 60, "size": 8})

    for content in ("one", "", "other"):
        if content:
            save_file(network.body.state_dict(), weights, {"content": content})
        ranking.rank(wanted, tmp_path / "out", console=SILENT)
        (tmp_path / "out" / "ranking.json").unlink()  # as if it had been stopped before the end

    assert done == [str(weights)] * 2


def test_no_backbone_that_ends_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: Any) -> ProbedBackbone:
        raise MachineError("no network")

    monkeypatch.setattr(ranking, "score", offline)

    with pytest.raises(MachineError, match="No backbone finished:\nresnet-mini=none: no network"):
        ranking.rank(digits(), tmp_path, console=SILENT)


# ---- what it shows ----


def shown(result: Ranking) -> list[str]:
    console = Console(width=80, file=open("/dev/null", "w"), record=True)  # noqa: SIM115
    console.print(ranking_verdict(result))
    return console.export_text().splitlines()


def test_the_terminal_shows_a_tie_as_a_tie_in_eighty_columns(finished: Path) -> None:
    result = Ranking.read(finished)
    wide = replace(result.rows[0], label="timm/vit_base_patch16_224.augreg2_in21k_ft_in1k", images_per_second=12345.0)

    lines = shown(replace(result, rows=(replace(wide, ranks=(1, 12), parameters=304_000_000),) * 2))

    assert max(map(len, lines)) <= 80
    assert sum("1-12 tie" in line for line in lines) == 2
    assert not any("…" in line for line in lines)


def test_page_and_markdown_tell_the_same_facts_and_load_nothing(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    text = (finished / "report.md").read_text(encoding="utf-8")
    result = Ranking.read(finished)

    for content in (page, text):
        for row in result.rows:
            assert row.label in content
            assert f"{100 * row.accuracy:.1f}" in content
            assert f"{row.logme:.3f}" in content
        assert "Neither val nor test was looked at." in content
        assert "random weights" in content
    assert "transferkit rank &lt;b&gt;" in page
    assert re.findall(r'(?:src|href)="(?!data:|#)', page) == []
    assert page.count('class="dot"') >= 2


# ---- what is asked for ----


def test_one_backbone_may_appear_with_several_weights() -> None:
    wanted = recipe.ranking_from_options(
        ["resnet18", "resnet18=none", "resnet20"], "digits", ["resnet18=a/w.pth", "none"], {}
    )

    assert wanted.labels == ["resnet18=w.pth", "resnet18=none", "resnet20=none"]
    assert [backbone.weights for backbone in wanted.backbones] == ["a/w.pth", "none", "none"]


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    wanted = recipe.ranking_from_options(["resnet18=a/w.pth", "resnet18=b/w.pth"], "digits", (), {})

    assert wanted.labels == ["resnet18=a/w.pth", "resnet18=b/w.pth"]


def test_a_ranking_written_as_a_recipe_reads_back_as_the_same() -> None:
    wanted = digits()

    assert recipe.parse_any(recipe.parse_yaml(wanted.to_yaml(), "r"), "r") == wanted


def test_the_same_backbone_twice_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"resnet18 is there twice.*NAME=WEIGHTS"):
        recipe.ranking_from_options(["resnet18", "resnet20=none", "resnet18"], "digits", (), {})


def test_two_weights_for_all_are_refused() -> None:
    with pytest.raises(TransferkitError, match="can have one kind only"):
        recipe.ranking_from_options(["resnet18"], "digits", ["none", "imagenet"], {})


def test_unknown_keys_and_data_name_the_nearest() -> None:
    with pytest.raises(TransferkitError, match="Did you mean 'images'"):
        recipe.ranking_from_options(["resnet18"], "digits", (), {"imges": 5})
    with pytest.raises(TransferkitError, match=r"unknown data 'digit'. Did you mean 'digits'"):
        recipe.ranking_from_options(["resnet18"], "digit", (), {})
    with pytest.raises(TransferkitError, match=r"unknown key 'backbones.0.wieghts'. Did you mean 'weights'"):
        recipe.parse_ranking({"data": "digits", "backbones": [{"name": "resnet18", "wieghts": "none"}]})


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("resnet81", r"Unknown backbone 'resnet81'. Did you mean 'resnet18'"),
        ("timm/resnet81", r"Unknown backbone 'timm/resnet81'. Nearest: .*timm/resnet18"),
        ("resnet20", r"resnet20 has no ImageNet weights. Write resnet20=none"),
        ("resnet18=my.pth", r"No weights at 'my.pth'"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(backbone: str, message: str, tmp_path: Path) -> None:
    wanted = recipe.ranking_from_options(["resnet-mini=none", backbone], "digits", (), {})

    with pytest.raises(TransferkitError, match=message):
        ranking.rank(wanted, tmp_path / "new", console=SILENT)
    assert not (tmp_path / "new").exists()


def test_too_few_images_are_refused_with_the_number_needed(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"12 images of 10 classes.*Use --images 20 or more"):
        ranking.rank(digits(images=12), tmp_path / "a", console=SILENT)
    with pytest.raises(TransferkitError, match=r"10 images of 10 classes.*more training images; there are 10"):
        ranking.rank(digits(limit_per_class=1), tmp_path / "b", console=SILENT)


def test_one_class_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "pets" / "cat").mkdir(parents=True)
    for number in range(12):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "pets" / "cat" / f"{number}.png")
    wanted = recipe.ranking_from_options(["resnet-mini=none"], f"folder:{tmp_path / 'pets'}", (), {})

    with pytest.raises(TransferkitError, match=r"at least two"):
        ranking.rank(wanted, tmp_path / "out", console=SILENT)


def test_dry_run_prints_the_recipe_of_the_ranking(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = digits()

    cli_rank.run_ranking(wanted, None, overwrite=False, dry_run=True, as_json=False)

    printed = capsys.readouterr().out
    assert recipe.parse_any(recipe.parse_yaml(printed, "r"), "r") == wanted


def test_python_and_the_command_line_mean_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    meant: list[RankingRecipe] = []
    monkeypatch.setattr(ranking, "rank", lambda wanted, *_, **__: meant.append(wanted) or {"rows": []})

    transferkit.rank(["resnet-mini", "resnet20"], "digits", weights="none", images=40, size=8, quiet=True)
    arguments = ["rank", "resnet-mini", "resnet20", "--data", "digits", "--images", "40", "--size", "8"]
    CliRunner().invoke(app, [*arguments, "--weights", "none", "--json"])

    assert meant == [digits()] * 2


def test_what_rank_returns_is_what_its_file_holds_and_says_its_verdict(finished: Path) -> None:
    result = Ranking.read(finished)

    assert repr(result) == f"Ranking: {result.verdict}\nReport: {finished}/report.html"
    assert result._repr_html_().startswith("<iframe srcdoc=")
    assert json.loads((finished / "ranking.json").read_text()) == as_json(result)
