"""How speednet is trained: each ingredient of Jordan 2024 (arXiv:2404.00498), with values worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_trainings import NEUTRAL
from torch import Tensor, nn

from transferkit.data.images import Images
from transferkit.models.backbones import speednet
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec
from transferkit.models.test_time_augmentation import augmented_copies
from transferkit.recipe import Recipe, ScratchSettings, overridden, parse, parse_yaml
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.machine import Runtime
from transferkit.training import averages, parameter_groups, rates, resolved_training, train
from transferkit.training import checkpoint as state
from transferkit.training.checkpoint import Training
from transferkit.training.defaults import resolved
from transferkit.training.optimizers import optimizer_groups

# ---------------------------------------------------------------------------------------------------------- rates


def test_the_triangle_starts_at_a_fifth_peaks_and_ends_at_seven_hundredths() -> None:
    shares = [rates.rate_share(step, 200, 0.23, "triangular") for step in range(201)]

    assert shares[0] == pytest.approx(0.2)
    assert shares.index(max(shares)) == 46  # 23 % of 200
    assert shares[46] == pytest.approx(1)
    assert shares[123] == pytest.approx((1 + 0.07) / 2)  # half of the way down
    assert shares == pytest.approx(np.interp(range(201), [0, 46, 200], [0.2, 1, 0.07]))


def test_decoupled_rates_are_the_coupled_ones_of_the_program() -> None:
    lr, decay = rates.coupled(11.5, 0.0153, 0.85)

    # a batch of 1,024 images is eight of 128; the gradient of a mean then goes 11.5 / (1 + 1 / 0.15) = 1.5 per step
    assert 8 * lr == pytest.approx(1.5)
    assert 8 * lr * decay == pytest.approx(0.0153 / (1 + 1 / 0.15))


@pytest.mark.parametrize("momentum", [0.5, 0.85])
def test_a_decoupled_rate_allows_for_the_growth_of_steps_by_momentum(momentum: float) -> None:
    lr, _ = rates.coupled(0.8, 0.0, momentum)
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], 8 * lr, momentum, nesterov=momentum > 0)
    positions = []
    for _step in range(200):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        positions.append(weight.item())

    way = positions[-2] - positions[-1]  # in the end, when the momentum has built up

    # torch's Nesterov step under a constant gradient is 1 + m / (1 - m) = 1 / (1 - m) of the rate; Jordan divides by
    # one more
    assert way == pytest.approx(0.8 * (1 / (1 - momentum)) / (1 + 1 / (1 - momentum)))


# ------------------------------------------------------------------------------------------------------ averages


def test_lookahead_moves_slow_weights_every_five_steps_and_goes_back_to_them() -> None:
    slow, fast = {"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0])}

    averages.look_ahead(slow, fast, step=4, total_steps=10)
    assert (slow["w"].item(), fast["w"].item()) == (0.0, 1.0)

    averages.look_ahead(slow, fast, step=5, total_steps=10)
    expected = 1 - 0.95**5 / 8  # half of the run: keeps 0.95^5 (1/2)^3 of nothing
    assert slow["w"].item() == pytest.approx(expected)
    assert fast["w"].item() == pytest.approx(expected)


def test_lookahead_copies_counters() -> None:
    slow = {"w": torch.tensor([0.0]), "batches": torch.tensor(0)}
    fast = {"w": torch.tensor([1.0]), "batches": torch.tensor(5)}

    averages.look_ahead(slow, fast, step=5, total_steps=10)

    assert slow["batches"].item() == 5


# --------------------------------------------------------------------------------------------------------- views


def test_six_views_weigh_one_together_and_the_image_itself_is_the_last() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3).expand(1, 3, 3, 3)

    found = list(augmented_copies(image, mirrored=True, shifted=True))

    assert [weight for weight, _ in found] == [0.125, 0.125, 0.125, 0.125, 0.25, 0.25]
    seen = [view[0, 0].tolist() for _, view in found]
    up_left = [[4, 5, 4], [7, 8, 7], [4, 5, 4]]  # what was one px below and to the right; the border is reflected
    down_right = [[4, 3, 4], [1, 0, 1], [4, 3, 4]]
    assert seen[1] == up_left
    assert seen[3] == down_right
    assert seen[5] == image[0, 0].tolist()
    assert [seen[at] for at in (0, 2, 4)] == [[row[::-1] for row in seen[at]] for at in (1, 3, 5)]


def test_predictions_in_eval_mode_are_the_weighted_mean_of_the_views() -> None:
    classifier = tiny_classifier()
    classifier.averages_mirror = classifier.averages_shifts = True
    images = torch.rand(2, 3, 8, 8)

    with torch.no_grad():
        averaged = classifier.eval()(images)
        classifier.averages_mirror = classifier.averages_shifts = False
        expected = sum(
            weight * classifier(view) for weight, view in augmented_copies(images, mirrored=True, shifted=True)
        )

    torch.testing.assert_close(averaged, expected)


# ------------------------------------------------------------------------------------------------------- network


def test_a_group_normalises_without_scale_and_with_a_learnt_shift() -> None:
    norm = speednet.shifting_norm(2)
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([0.0, 3.0]))
        maps = norm(torch.randn(64, 2, 4, 4) * 5 + 7)

    assert [name for name, _ in norm.named_parameters()] == ["bias"]
    torch.testing.assert_close(maps.mean((0, 2, 3)), torch.tensor([0.0, 3.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(maps.var((0, 2, 3), unbiased=False), torch.ones(2), atol=1e-4, rtol=0)


def test_features_are_scaled_by_a_ninth_and_are_maxima_over_places() -> None:
    body = speednet.Speednet().eval()
    images = torch.rand(2, 3, 32, 32)

    with torch.no_grad():
        maps = body.group3(body.group2(body.group1(body.gelu(body.whitening(images)))))  # the bias begins at zero
        features = body(images)

    assert maps.shape == (2, 256, 3, 3)  # 32 -> 31 -> 15 -> 7 -> 3 px
    torch.testing.assert_close(features, maps.amax((2, 3)) / 9)


# ------------------------------------------------------------------------------------------------------ training


class TinyBody(nn.Module):
    """A convolution with BatchNorm, and a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.norm(self.stem(images)).mean((2, 3))
        return features


def tiny_classifier() -> Classifier:
    torch.manual_seed(0)
    spec = InputSpec(8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return Classifier(TinyBody(), 4, ("dark", "light"), {"stem": ("stem",), "norm": ("norm",)}, spec)


def tiny_images(count: int = 48) -> Images:
    labels = np.arange(count) % 2
    noise = np.random.default_rng(0).integers(0, 100, (count, 3, 8, 8)) + 120 * labels[:, None, None, None]
    return Images.from_pixels(noise.astype(np.uint8), labels, ("dark", "light"))


def tiny_settings(**changes: Any) -> ScratchSettings:
    values = {"epochs": 3, "batch_size": 16, "lr": 0.02, "weight_decay": 1e-3, **changes}
    return ScratchSettings(name="scratch", **{**NEUTRAL, **values})


def tiny_training(settings: ScratchSettings, folder: Path | None = None) -> Classifier:
    classifier, images = tiny_classifier(), tiny_images()
    runtime = Runtime(torch.device("cpu"), "fp32", 1)
    groups = parameter_groups(classifier, resolved_training(settings))
    train(
        classifier, images, images.subset([]), resolved_training(settings), groups, Context(runtime, SILENT, 0, folder)
    )
    return classifier


def test_biases_of_batchnorm_alone_have_the_higher_rate() -> None:
    classifier = tiny_classifier()
    stem, norm, _ = parameter_groups(classifier, resolved_training(tiny_settings(batch_size=128)))

    options = [option for group in (stem, norm) for option in optimizer_groups(classifier, group, 64.0)]

    found = {id(value): (option.lr, option.weight_decay) for option in options for value in option.params}
    named = {name: found[id(value)] for name, value in classifier.body.named_parameters()}
    assert named == {
        "stem.0.weight": (0.02, 1e-3),
        "stem.0.bias": (0.02, 0),
        "norm.weight": (0.02, 0),
        "norm.bias": (pytest.approx(1.28), 0),
    }


def test_a_stage_is_frozen_after_its_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    original = Training.seconds.fget  # read at the beginning of every epoch
    assert original is not None

    def noted(training: Training) -> float:
        seen.append(training.classifier.body.norm.bias.detach().clone())  # type: ignore[union-attr]
        return float(original(training))

    monkeypatch.setattr(Training, "seconds", property(noted))
    classifier = tiny_training(tiny_settings(freeze_after={"norm": 1}))

    biases = torch.stack(seen)
    moved = (biases[1:] != biases[:-1]).any(1)
    assert int(moved.sum()) == 1  # in the first of three epochs
    assert classifier.frozen == ("norm",)


def test_an_unknown_stage_to_freeze_names_the_nearest() -> None:
    with pytest.raises(TransferkitError, match=r"Unknown stage 'norms'. Did you mean 'norm'"):
        parameter_groups(tiny_classifier(), resolved_training(tiny_settings(freeze_after={"norms": 1})))


def test_a_training_with_lookahead_ends_at_the_slow_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    slow_at: dict[int, Tensor] = {}
    original = averages.look_ahead

    def noted(slow: Any, values: Any, step: int, total_steps: int) -> None:
        original(slow, values, step, total_steps)
        slow_at[step] = slow["head.weight"].clone()

    monkeypatch.setattr(averages, "look_ahead", noted)
    classifier = tiny_training(tiny_settings(lookahead=True, epochs=4))  # 12 steps

    torch.testing.assert_close(classifier.head.weight.detach(), slow_at[10], rtol=0, atol=0)  # 10 is the last look back
    assert not torch.equal(slow_at[10], slow_at[9])


def test_an_interrupted_lookahead_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny_settings(lookahead=True, epochs=4, freeze_after={"norm": 3}, norm_bias_lr=8)
    whole = tiny_training(settings)
    monkeypatch.setattr(state, "SECONDS_BETWEEN_SAVES", 0.0)
    save = state.save

    def save_then_stop(training: Training, folder: Path | None) -> None:
        save(training, folder)
        if len(training.history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(state, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        tiny_training(settings, tmp_path)
    monkeypatch.setattr(state, "save", save)
    resumed = tiny_training(settings, tmp_path)

    stages = ["stem", "norm", "head"]
    assert resumed.digest(stages) == whole.digest(stages)


# ------------------------------------------------------------------------------------------------------- recipes


def recipe_of(method: str, data: str = "cifar10") -> Recipe:
    text = {"data": data, "backbone": {"name": "speednet"}, "method": {"name": "scratch"}}
    return parse(overridden(text, [f"method.{key}={value}" for key, value in parse_yaml(method, "m").items()]), "r")


def method_of(method: str = "{}", data: str = "cifar10") -> ScratchSettings:
    found = resolved(recipe_of(method, data), 45_000, 32).method
    assert isinstance(found, ScratchSettings)
    return found


def test_speednet_is_trained_as_in_the_paper_without_being_asked() -> None:
    method = method_of()

    assert (method.schedule, method.warmup, method.momentum) == ("triangular", 0.23, 0.85)
    assert (method.lookahead, method.ema, method.norm_bias_lr) == (True, False, 64)
    assert (method.label_smoothing, method.mixup, method.shift) == (0.2, 0, 0.0625)
    assert (method.alternating_flip, method.test_flip, method.test_shifts) == (True, True, True)
    assert method.freeze_after == {"whitening_bias": 3}
    assert method.batch_size == 1024
    assert (method.lr, method.weight_decay) == pytest.approx(rates.coupled(11.5, 0.0153, 0.85), rel=0.03)


def test_digits_are_mirrored_neither_in_training_nor_in_tests() -> None:
    method = method_of(data="digits")

    assert (method.flip, bool(method.alternating_flip), bool(method.test_flip)) == (False, False, False)
    assert method.test_shifts


def test_what_the_recipe_says_goes_before_the_paper() -> None:
    method = method_of("{ema: true, schedule: cosine, momentum: 0.9, batch_size: 256}")

    assert (method.ema, bool(method.lookahead)) == (True, False)
    assert (method.schedule, method.momentum, method.batch_size) == ("cosine", 0.9, 256)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("{ema: true, lookahead: true}", "two averages of the weights"),
        ("{decoupled: true, lr: 11.5}", "Give both"),
        ("{freeze_after: whitening_bias}", "'whitening_bias' is no list of stage=epochs. Write whitening_bias=3"),
        ("{freeze_after: {whitening_bias: 0}}", "method.freeze_after: expected at least 1; found 0"),
        ("{schedule: triangle}", "triangular"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(method: str, message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        recipe_of(method)
