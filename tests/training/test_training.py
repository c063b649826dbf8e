"""The training loop: groups, schedule, averages, resuming, and what stops it."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from small_trainings import MACHINE, classifier, images, settings
from timm.optim import param_groups_layer_decay
from torch import Tensor

from transferkit.metrics.history import History
from transferkit.models.backbones import timm_models
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec
from transferkit.recipe import FinetuneSettings
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.context import Context
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.files import read_tensors, write_tensors
from transferkit.training import checkpoint as state
from transferkit.training import epoch, parameter_groups, resolved_training, train
from transferkit.training.loop import begun
from transferkit.training.methods import table
from transferkit.training.mixing import pasted, random_box, remaining_share
from transferkit.training.optimizers import optimizer_groups, rate_groups
from transferkit.training.rates import rate_share
from transferkit.training.resolved import Mixing
from transferkit.training.step_loss import StepLoss


def trained(
    chosen: FinetuneSettings, seed: int = 0, folder: Path | None = None, console: Console = SILENT
) -> tuple[Classifier, History]:
    network = classifier()
    if chosen.freeze_to:
        network.freeze(network.stages_up_to(chosen.freeze_to))
    network.batchnorm_frozen = chosen.batchnorm == "eval"
    groups = parameter_groups(network, resolved_training(chosen))
    return network, train(
        network, images(), images(16, 1), resolved_training(chosen), groups, Context(MACHINE, console, seed, folder)
    )


def tensors_of(network: Classifier, stage: str) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items() if network.stage_of(name) == stage}


def test_training_learns_to_tell_dark_from_light() -> None:
    _, history = trained(settings(epochs=12, lr=0.1))

    assert history.last.val_accuracy == 1.0
    assert history.last.loss < history.epochs[1].loss


def test_same_seed_gives_the_same_weights_and_another_seed_gives_others() -> None:
    first, _ = trained(settings())
    second, _ = trained(settings())
    other, _ = trained(settings(), seed=1)

    assert first.digest(["stem", "head"]) == second.digest(["stem", "head"])
    assert first.digest(["stem", "head"]) != other.digest(["stem", "head"])


def test_frozen_stages_keep_every_tensor_batchnorm_statistics_included() -> None:
    before = tensors_of(classifier(), "stem")

    network, _ = trained(settings(freeze_to="stem"))

    after = tensors_of(network, "stem")
    assert len(after) == 7
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not torch.equal(tensors_of(network, "dense")["body.dense.weight"], classifier().body.dense.weight)


@pytest.mark.parametrize("average", ["ema", "lookahead"])
def test_an_average_leaves_frozen_weights_of_minus_zero_bit_for_bit(average: str) -> None:
    network, chosen = classifier(), resolved_training(settings(epochs=10, **{average: True}))
    network.body.stem[0].weight.data.flatten()[:9] = -0.0
    network.freeze(["stem"])
    before = network.digest(["stem"])

    train(network, images(), images(16, 1), chosen, parameter_groups(network, chosen), Context(MACHINE, SILENT, 0))

    assert network.digest(["stem"]) == before


def test_batchnorm_eval_keeps_statistics_while_weights_are_trained() -> None:
    before = tensors_of(classifier(), "stem")

    network, _ = trained(settings(batchnorm="eval"))

    after = tensors_of(network, "stem")
    assert torch.equal(after["body.stem.1.running_mean"], before["body.stem.1.running_mean"])
    assert not torch.equal(after["body.stem.0.weight"], before["body.stem.0.weight"])


def test_average_covers_buffers_too() -> None:
    averaged, _ = trained(settings(ema=True, epochs=4))
    last, _ = trained(settings(ema=False, epochs=4))

    mean = "body.stem.1.running_mean"
    assert not torch.equal(averaged.state_dict()[mean], last.state_dict()[mean])


def test_val_accuracy_of_the_last_epoch_is_that_of_the_resulting_weights() -> None:
    network, history = trained(settings(ema=True, epochs=2))

    val = images(16, 1)
    with torch.inference_mode():
        predictions = network(torch.from_numpy(val.pixels)).argmax(1).numpy()
    assert history.last.val_accuracy == pytest.approx(float((predictions == val.labels).mean()))


@pytest.mark.parametrize("changes", [{"ema": True, "mixup": 0.2}, {"l2_sp": 1.0}])
def test_an_interrupted_training_resumes_to_the_same_weights(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, whole_history = trained(settings(**changes))
    monkeypatch.setattr(state, "SECONDS_BETWEEN_SAVES", 0.0)
    save = state.save

    def save_then_stop(training: state.Training, folder: Path | None) -> None:
        save(training, folder)
        if len(training.history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(state, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        trained(settings(**changes), folder=tmp_path)
    monkeypatch.setattr(state, "save", save)
    said = io.StringIO()
    resumed, history = trained(settings(**changes), folder=tmp_path, console=Console(stream=said))

    assert f"resumed after epoch 1: {tmp_path / 'checkpoint.safetensors'}" in said.getvalue()
    judged = ("epoch", "step", "loss", "val_accuracy", "val_loss", "val_gained", "val_lost")
    assert [[getattr(record, key) for key in judged] for record in history] == [
        [getattr(record, key) for key in judged] for record in whole_history
    ]
    stages = ["stem", "middle", "dense", "head"]
    assert resumed.digest(stages) == whole.digest(stages)


def test_a_checkpoint_whose_optimiser_belongs_to_no_parameter_is_refused(tmp_path: Path) -> None:
    network, chosen = classifier(), resolved_training(settings(optimizer="adamw"))
    training = begun(network, chosen, parameter_groups(network, chosen), MACHINE)
    state.save(training, tmp_path / "checkpoint.safetensors")
    tensors, facts = read_tensors(tmp_path / "checkpoint.safetensors")
    write_tensors(tmp_path / "checkpoint.safetensors", {**tensors, "optimizer.0.exp_avg": torch.zeros(1)}, facts)

    with pytest.raises(TransferkitError, match=r"is of an earlier version\. Start the run anew: --overwrite\."):
        state.resume(training, tmp_path / "checkpoint.safetensors")


def test_stages_of_like_rate_and_decay_are_one_group_of_the_optimiser() -> None:
    network, chosen = classifier(), resolved_training(settings())
    stages = parameter_groups(network, chosen)
    alike = [replace(group, lr=0.1, layer_decay=1.0, weight_decay=0.01) for group in stages]

    groups = rate_groups(network, alike)

    assert sorted(group.weight_decay for group in groups) == [0.0, 0.01]
    assert sum(len(group.params) for group in groups) == len(list(network.parameters()))


@pytest.mark.parametrize("changes", [{"ema": True, "mixup": 0.2}, {"augment": "trivial"}])
def test_a_training_killed_inside_an_epoch_goes_on_at_the_next_batch_to_the_same_weights(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every epoch has three steps; the kill comes after the second step of the second epoch."""
    chosen = settings(**changes)
    whole, whole_history = trained(chosen)
    monkeypatch.setattr(epoch, "SECONDS_BETWEEN_SAVES_INSIDE", 0.0)
    save, stopped_at = state.save, []

    def save_then_stop(training: state.Training, path: Path | None) -> None:
        save(training, path)
        if training.epochs == 1 and training.steps_into_epoch == 2:
            stopped_at.append(training.step)
            raise KeyboardInterrupt

    monkeypatch.setattr(epoch, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        trained(chosen, folder=tmp_path)
    monkeypatch.setattr(epoch, "save", save)
    resumed, history = trained(chosen, folder=tmp_path)

    assert stopped_at == [5]
    judged = ("epoch", "step", "loss", "gradient_norm", "val_accuracy", "val_loss", "val_gained", "val_lost")
    assert [[getattr(record, key) for key in judged] for record in history] == [
        [getattr(record, key) for key in judged] for record in whole_history
    ]
    assert resumed.digest(["stem", "middle", "dense", "head"]) == whole.digest(["stem", "middle", "dense", "head"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_the_step_and_what_to_try(value: float) -> None:
    network, chosen = classifier(), settings()
    network.head.bias.data[:] = torch.tensor([value, 0.0])
    groups = parameter_groups(network, resolved_training(chosen))

    with pytest.raises(MachineError, match=r"The loss became (nan|inf) at step 1. Try a smaller --lr"):
        train(network, images(), images(16, 1), resolved_training(chosen), groups, Context(MACHINE, SILENT, 0))


def test_a_step_beyond_the_memory_says_which_batch_and_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    network, chosen = classifier(), settings()
    groups = parameter_groups(network, resolved_training(chosen))
    monkeypatch.setattr(StepLoss, "backward", too_much)

    with pytest.raises(MachineError, match=r"training step of 16 images at 8 px\. Use --batch-size 8 --accumulate 2"):
        train(network, images(), images(16, 1), resolved_training(chosen), groups, Context(MACHINE, SILENT, 0))


def test_steps_that_are_far_too_large_are_stopped_with_what_to_try() -> None:
    far_too_fast = settings().model_copy(update={"lr": 1e12, "head_lr": 1e12})  # a recipe allows 1,000 at most

    with pytest.raises(MachineError, match=r"The (loss|gradient) became (nan|inf) at step \d+. Try a smaller --lr"):
        trained(far_too_fast)


def test_every_trainable_parameter_is_in_exactly_one_optimiser_group() -> None:
    network = classifier()
    groups = parameter_groups(network, resolved_training(settings()))

    listed = [id(value) for group in groups for option in optimizer_groups(network, group) for value in option.params]

    assert sorted(listed) == sorted(id(value) for value in network.parameters())


def test_norms_and_biases_have_no_weight_decay() -> None:
    network = classifier()
    group = parameter_groups(network, resolved_training(settings(weight_decay=0.1)))[0]

    decays = {
        value.ndim > 1: option.weight_decay for option in optimizer_groups(network, group) for value in option.params
    }

    assert decays == {True: 0.1, False: 0.0}


def test_rate_falls_by_layer_decay_per_stage_and_rises_with_the_batch() -> None:
    groups = parameter_groups(
        classifier(), resolved_training(settings(lr=0.1, head_lr=0.2, layer_decay=0.5, batch_size=256))
    )

    rates = {group.stage: group.lr for group in groups}

    # twice the batch doubles every rate; dense is next to the head, middle one below it, stem two
    assert rates == pytest.approx({"stem": 0.05, "middle": 0.1, "dense": 0.2, "head": 0.4})


@pytest.mark.parametrize("name", ["convnext_atto", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
def test_layer_decay_and_weight_decay_of_a_timm_model_are_those_of_timm(name: str) -> None:
    with torch.device("meta"):  # rates need names and shapes, not numbers
        model = timm.create_model(name, num_classes=0)
    network = Classifier(model, 8, ("a", "b"), timm_models.stages(model), InputSpec(32, (0, 0, 0), (1, 1, 1)))
    timm_models.tell_layers(network)
    training = resolved_training(settings(lr=1.0, layer_decay=0.75, weight_decay=0.05, batch_size=128))

    ours = {
        id(value): (option.lr, option.weight_decay)
        for group in parameter_groups(network, training)[:-1]
        for option in optimizer_groups(network, group)
        for value in option.params
    }

    theirs = param_groups_layer_decay(model, 0.05, model.no_weight_decay() if "conv" not in name else ())
    expected = {id(value): (group["lr_scale"], group["weight_decay"]) for group in theirs for value in group["params"]}
    assert ours.keys() == expected.keys()
    assert all(ours[key] == pytest.approx(expected[key]) for key in ours)


def test_a_stage_of_several_layers_shows_its_first_and_its_last_rate() -> None:
    network = classifier()
    network.layer_numbers = {
        name.removeprefix("body."): int(name.startswith("body.middle")) + 2 * int(name.startswith("body.dense"))
        for name, _ in network.named_parameters()
        if name.startswith("body.")
    } | {"middle.0.weight": 0}

    stem, middle, *_ = parameter_groups(network, resolved_training(settings(lr=0.1, layer_decay=0.5, batch_size=128)))

    assert (stem.first_lr, stem.lr) == (0.025, 0.025)
    assert (middle.first_lr, middle.lr) == (0.025, 0.05)
    assert table.rates(middle) == "0.025 to 0.05"


def test_table_of_groups_tells_frozen_stages_and_batchnorm_state() -> None:
    network = classifier()
    network.freeze(["stem"])

    groups = parameter_groups(network, resolved_training(settings()))

    states = [(group.stage, group.is_trained, group.batchnorm) for group in groups]
    assert states == [("stem", False, "eval"), ("middle", True, "train"), ("dense", True, "-"), ("head", True, "-")]


@pytest.mark.parametrize(
    ("epochs", "frozen", "wakes_at"),
    [
        (6, [], {"head": 0, "dense": 1, "middle": 2, "stem": 3}),
        (4, [], {"head": 0, "dense": 1, "middle": 2, "stem": 3}),
        (3, [], {"head": 0, "dense": 0, "middle": 1, "stem": 2}),  # depth 0 to 3 times 3 / 4, rounded down
        (2, [], {"head": 0, "dense": 0, "middle": 1, "stem": 1}),
        (1, [], {"head": 0, "dense": 0, "middle": 0, "stem": 0}),
        (2, ["stem"], {"head": 0, "dense": 0, "middle": 1, "stem": 0}),  # a frozen stage is never woken
    ],
)
def test_gradual_unfreezing_wakes_stages_from_the_head_down_and_all_of_them(
    epochs: int, frozen: list[str], wakes_at: dict[str, int]
) -> None:
    network = classifier()
    network.freeze(frozen)

    groups = parameter_groups(network, resolved_training(settings(gradual_unfreezing=True, epochs=epochs)))

    assert {group.stage: group.wakes_at for group in groups} == wakes_at


@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_gradual_unfreezing_trains_every_stage_however_few_the_epochs(epochs: int) -> None:
    before = {stage: tensors_of(classifier(), stage) for stage in ("stem", "middle", "dense", "head")}

    network, _ = trained(settings(gradual_unfreezing=True, epochs=epochs))

    changed = [
        stage
        for stage, old in before.items()
        if any(not torch.equal(tensors_of(network, stage)[name], old[name]) for name in old)
    ]
    assert changed == ["stem", "middle", "dense", "head"]


def test_gradual_unfreezing_by_a_budget_without_epochs_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"a budget of 500steps has no number of epochs\. Use --epochs"):
        parameter_groups(
            classifier(), resolved_training(settings(gradual_unfreezing=True, epochs=None, budget="500steps"))
        )


def test_l2_sp_keeps_the_backbone_nearer_to_its_start() -> None:
    def distance(alpha: float) -> float:
        network, _ = trained(settings(l2_sp=alpha, momentum=0.0, lr=0.05, epochs=10))
        start = classifier().state_dict()
        return math.sqrt(
            sum(
                float(((value - start[name]) ** 2).sum())
                for name, value in network.state_dict().items()
                if "body.dense" in name
            )
        )

    assert distance(10.0) < 0.8 * distance(0.0)


def test_everything_frozen_is_refused() -> None:
    network = classifier()
    network.freeze(["stem", "middle", "dense", "head"])

    groups = parameter_groups(network, resolved_training(settings()))
    with pytest.raises(TransferkitError, match="Every stage is frozen, so nothing would be trained"):
        train(network, images(), images(16), resolved_training(settings()), groups, Context(MACHINE, SILENT, 0))


def test_one_image_per_step_is_refused_where_batchnorm_learns() -> None:
    with pytest.raises(TransferkitError, match=r"One image per step is too few for BatchNorm.*Use --batch-size 16 or"):
        trained(settings(batch_size=1, epochs=1))

    _, history = trained(settings(batch_size=1, epochs=1, batchnorm="eval"))
    assert history.last.epoch == 1


def test_rate_rises_linearly_then_follows_a_cosine_to_zero() -> None:
    shares = [rate_share(step, 100, 0.1) for step in (0, 4, 9, 10, 55, 100)]

    # ten rising steps; half of the remaining ninety is step 55, where the cosine stands at one half
    assert shares == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.5, 0.0])


def test_cutmix_pastes_one_box_and_reports_the_share_that_remains() -> None:
    first, second = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)

    box = slice(2, 6), slice(4, 8)
    mixed = pasted(first, second, box)

    assert mixed[0, 0, 2:6, 4:8].eq(1).all()
    assert mixed[0, 0].sum() == 16
    assert remaining_share(first, box) == 0.75


def published_box(height: int, width: int, share: float, row: int, column: int) -> tuple[int, int, int, int]:
    """`rand_bbox` of Yun et al. 2019 for a centre that was drawn."""
    cut_height, cut_width = int(height * np.sqrt(1 - share)), int(width * np.sqrt(1 - share))
    rows = np.clip([row - cut_height // 2, row + cut_height // 2], 0, height)
    columns = np.clip([column - cut_width // 2, column + cut_width // 2], 0, width)
    return int(rows[0]), int(rows[1]), int(columns[0]), int(columns[1])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_box_of_cutmix_is_the_published_one(share: float) -> None:
    for seed in range(50):
        torch.manual_seed(seed)
        rows, columns = random_box(20, 31, share)
        torch.manual_seed(seed)
        row, column = int(torch.randint(20, ())), int(torch.randint(31, ()))
        assert (rows.start, rows.stop, columns.start, columns.stop) == published_box(20, 31, share, row, column)


def test_box_of_cutmix_covers_a_third_on_average_where_half_is_asked_for() -> None:
    torch.manual_seed(0)
    shares = torch.rand(4000).tolist()

    covered = [1 - remaining_share(torch.zeros(1, 3, 224, 224), random_box(224, 224, share)) for share in shares]

    # with a ratio u of the sides the clipped side is u - u^2 / 4 on average, and u^2 (1 - u / 4)^2, u^2 uniform, is
    # 1/2 - 1/5 + 1/48 on average
    assert np.mean(covered) == pytest.approx(0.321, abs=0.015)


def test_mixed_loss_of_two_equal_labels_equals_the_plain_loss() -> None:
    network = classifier().eval()
    batch = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    labels = torch.zeros(8, dtype=torch.int64)

    same = batch[:1].expand(8, -1, -1, -1)
    mixed = StepLoss(Mixing(0.4, 0.0, 0.0), 8, MACHINE).backward(network, same, labels)
    plain = StepLoss(Mixing(0.0, 0.0, 0.0), 8, MACHINE).backward(network, same, labels)

    assert mixed() == pytest.approx(plain(), rel=1e-5)
