"""Where fine-tuning starts: statistics and head by the probe's loss; its rates; and val given back at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_trainings import NEUTRAL
from torch import Tensor, nn

from transferkit.data.images import Images, SealedImages, Splits
from transferkit.metrics.outputs import Outputs
from transferkit.models.classifier import Classifier
from transferkit.models.linear import choose_C, common_scale, fit_chosen
from transferkit.models.stored_model import InputSpec, WeightsRecord
from transferkit.ood import rejection
from transferkit.ood.knn import typical_distance
from transferkit.recipe import BackboneSettings, FinetuneSettings, from_options
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.training import defaults
from transferkit.training.methods import finetune, finetune_rates, starting_point
from transferkit.training.methods.finetune import warmup_share
from transferkit.training.resolved import resolved_training

MACHINE = machine.Runtime(torch.device("cpu"), "fp32", torch.get_num_threads())
NAMES = ("dark", "light")
BARE = BackboneSettings(name="resnet20", weights="none")


class Body(nn.Module):
    """Two stages with BatchNorm, whose features are means of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.top = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.top(self.stem(images)).mean((2, 3))
        return pooled


def classifier(body: nn.Module | None = None) -> Classifier:
    torch.manual_seed(0)
    spec = InputSpec(8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    weights = WeightsRecord("file", "made for this test")
    return Classifier(body or Body(), 4, NAMES, {"stem": ("stem",), "top": ("top",)}, spec, weights)


def images(count: int, seed: int) -> Images:
    """Dark and light noise, not quite told apart by brightness."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = generator.integers(0, 200, (count, 3, 8, 8)) + 20 * labels[:, None, None, None]
    return Images.from_pixels(pixels.astype(np.uint8), labels, NAMES, [f"{seed}/{index}" for index in range(count)])


def splits(val: int = 16) -> Splits:
    return Splits(images(48, 0), images(val, 1), SealedImages(images(8, 2)))


def settings(**changes: Any) -> FinetuneSettings:
    values = {"epochs": 2, "batch_size": 16, "refit": False, "optimizer": None, "clip_norm": None}
    return FinetuneSettings(name="finetune", **{**NEUTRAL, **values, **changes})


def context() -> Context:
    return Context(MACHINE, SILENT, seed=0)


# ------------------------------------------------------------------------------------------------------- the head


def test_the_common_scale_is_the_root_mean_square_of_the_standard_deviations() -> None:
    features = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 7.0], [2.0, 7.0]])  # deviations 1 and 3

    assert common_scale(features).tolist() == pytest.approx([5.0**0.5, 5.0**0.5])  # sqrt((1 + 9) / 2)


def test_a_nearly_dead_feature_gets_no_large_weight_from_the_common_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    alive = labels[:, None] + 0.5 * torch.randn(200, 4, generator=generator)
    nearly_dead = 1e-4 * (labels[:, None] + 0.5 * torch.randn(200, 1, generator=generator))
    features = torch.cat([alive, nearly_dead], dim=1)
    nothing = (features[:0], labels[:0])

    def norm(**scaling: Any) -> float:
        choice = choose_C(features, labels, *nothing, 2, by="loss", **scaling)
        return float(fit_chosen(features, labels, 2, choice, **scaling).head(0).weight.norm())

    assert norm() > 1000  # standardised, the weight on the dead feature is divided by 1e-4
    assert norm(scaling=common_scale) < 10


def test_by_loss_the_value_of_C_with_the_lowest_cross_entropy_is_chosen() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    features = torch.randn(120, 6, generator=generator) + labels[:, None]

    choice = choose_C(features, labels, features[:0], labels[:0], 3, by="loss")

    assert choice.loss == min(choice.validation_loss)
    assert choice.grid[choice.validation_loss.index(choice.loss)] == choice.C


def test_a_scaled_head_gives_the_same_answers() -> None:
    network = classifier()
    start = starting_point.choose(network, splits(), settings(), context())
    pixels = torch.from_numpy(images(64, 3).pixels)

    def logits(scale: float) -> Tensor:
        start.put_probe(network, scale, val_too=False)
        with torch.inference_mode():
            return network.eval()(pixels)

    torch.testing.assert_close(logits(0.25), 0.25 * logits(1.0))


# ------------------------------------------------------------------------------------------------- the statistics


def test_re_estimated_statistics_are_those_of_the_training_images() -> None:
    network, train = classifier(), images(48, 0)
    with torch.no_grad():
        seen = network.body.stem[0](network.prepare(torch.from_numpy(train.pixels)))

    starting_point.reestimate(network, train, MACHINE)

    torch.testing.assert_close(network.body.stem[1].running_mean, seen.mean((0, 2, 3)))  # one batch holds all of them
    torch.testing.assert_close(network.body.stem[1].running_var, seen.var((0, 2, 3)))
    assert network.body.stem[1].momentum == 0.1


def test_a_frozen_stage_keeps_its_statistics() -> None:
    network = classifier()
    network.freeze(["stem"])
    before = network.digest(["stem"])

    starting_point.reestimate(network, images(48, 0), MACHINE)

    assert network.digest(["stem"]) == before
    assert [layer.num_features for layer in starting_point.trained_batchnorms(network)] == [4]  # that of `top` alone


def test_the_statistics_with_the_lower_loss_of_the_probe_are_taken() -> None:
    network = classifier()
    for layer in starting_point.trained_batchnorms(network):
        layer.running_mean.fill_(1e4)  # every feature is dead: nothing can be told from them

    start = starting_point.choose(network, splits(), settings(), context())

    assert start.statistics == "re-estimated"
    assert start.loss["re-estimated"] < start.loss["pretrained"]
    assert start.loss["pretrained"] == pytest.approx(np.log(2), abs=0.02)


def test_pretrained_statistics_are_put_back_where_they_are_better(monkeypatch: pytest.MonkeyPatch) -> None:
    network = classifier()
    before = network.digest(["stem", "top"])
    spoil = starting_point.reestimate

    def spoiled(network: Classifier, *rest: Any) -> None:
        spoil(network, *rest)
        for layer in starting_point.trained_batchnorms(network):
            layer.running_mean.fill_(1e4)

    monkeypatch.setattr(starting_point, "reestimate", spoiled)
    start = starting_point.choose(network, splits(), settings(), context())
    start.put_probe(network, 1.0, val_too=False)

    assert start.statistics == "pretrained"
    assert network.digest(["stem", "top"]) == before


@pytest.mark.parametrize(("asked", "tried"), [("eval", ("pretrained",)), ("train", ("re-estimated",))])
def test_statistics_that_are_asked_for_are_the_only_ones_tried(asked: str, tried: tuple[str, ...]) -> None:
    assert starting_point.candidates(classifier(), settings(batchnorm=asked)) == tried


def test_random_weights_have_no_statistics_worth_keeping() -> None:
    network = classifier()
    network.weights = WeightsRecord("none", "random")

    assert starting_point.candidates(network, settings()) == ("re-estimated",)


def own_network() -> Classifier:
    """Without BatchNorm, as a program gave it: four weighted sums of all pixels."""
    body = nn.Sequential()
    body.stem, body.top = nn.Conv2d(3, 4, 8), nn.Flatten()
    network = classifier(body)
    network.weights = WeightsRecord("given", "as your program gave them")
    return network


def test_given_weights_are_told_from_random_ones_by_a_probe_on_both() -> None:
    random, taught = own_network(), own_network()
    taught.body.stem.weight.data.fill_(1.0)  # brightness, by which the classes differ
    before = taught.digest(["stem"])

    untrained, trained = (
        starting_point.choose(network, splits(), settings(), context()) for network in (random, taught)
    )

    assert (untrained.is_untrained, trained.is_untrained) == (True, False)
    assert "hardly better than random ones (a probe's loss is 0." in untrained.untrained_words()
    assert trained.untrained_words() == ""
    assert taught.digest(["stem"]) == before


def test_networks_by_name_and_those_with_batchnorm_are_not_compared_with_random_weights() -> None:
    named, normalised = own_network(), classifier()
    named.weights, normalised.weights = classifier().weights, own_network().weights

    starts = [starting_point.choose(network, splits(), settings(), context()) for network in (named, normalised)]

    assert [start.random_loss for start in starts] == [None, None]


def test_a_fine_tuning_of_weights_that_know_nothing_says_so_and_takes_the_rates_of_random_ones() -> None:
    fitted = finetune.fit(own_network(), splits(), settings(), BARE, context())

    assert fitted.rates is not None
    assert (fitted.rates.optimizer, fitted.rates.lr, fitted.rates.layer_decay) == ("adamw", 2.8e-3, 1.0)
    assert "so the network is trained at rates for random weights" in fitted.notes[0]


# ------------------------------------------------------------------------------------------------------ the rates


def test_kept_statistics_are_trained_by_adamw_and_re_estimated_ones_by_sgd() -> None:
    kept = finetune_rates.settled_rates(settings(), classifier(), "pretrained")
    trained = finetune_rates.settled_rates(settings(), classifier(), "re-estimated")

    assert (kept.batchnorm, kept.optimizer, kept.clip_norm) == ("eval", "adamw", 1.0)
    assert (trained.batchnorm, trained.optimizer, trained.clip_norm) == ("train", "sgd", 0.0)


def test_a_probes_head_is_made_small_above_batchnorm_and_a_random_one_is_left_as_it_is() -> None:
    kept = finetune_rates.settled_rates(settings(), classifier(), "pretrained")
    trained = finetune_rates.settled_rates(settings(), classifier(), "re-estimated")
    random = finetune_rates.settled_rates(settings(head="random"), classifier(), "pretrained")

    assert (kept.head_scale, trained.head_scale, random.head_scale) == (0.3, 0.3, 1.0)


def test_a_network_without_batchnorm_has_layer_decay() -> None:
    body = nn.Sequential()
    body.stem, body.top = nn.Conv2d(3, 4, 8), nn.Flatten()

    rates = finetune_rates.settled_rates(settings(), classifier(body), "pretrained")

    assert (rates.optimizer, rates.layer_decay, rates.batchnorm) == ("adamw", 0.75, "eval")
    assert rates.head_scale == 1.0


def test_what_is_asked_for_is_kept_and_the_head_follows_the_body() -> None:
    rates = finetune_rates.settled_rates(settings(optimizer="sgd", lr=0.5, clip_norm=3.0), classifier(), "pretrained")

    assert (rates.optimizer, rates.lr, rates.head_lr, rates.clip_norm) == ("sgd", 0.5, 0.5, 3.0)


@pytest.mark.parametrize(
    ("given", "head_lr"),
    [
        ({}, 0.1875),  # as the body: 11.5 / (1 + 1 / 0.15) x 128 / 1,024
        ({"head_lr": 23.0}, 0.375),  # twice as large, in the unit of the body's
        ({"head": "random"}, 0.1),  # the default of a random head is SGD's own rate
    ],
)
def test_decoupled_rates_of_body_and_head_have_one_unit(given: dict[str, Any], head_lr: float) -> None:
    decoupled = settings(decoupled=True, lr=11.5, weight_decay=0.0153, momentum=0.85, **given)
    rates = finetune_rates.settled_rates(decoupled, classifier(), "re-estimated")

    training = resolved_training(decoupled, rates)

    assert training.lr == pytest.approx(0.1875)
    assert training.head_lr == pytest.approx(head_lr)


def test_the_rate_rises_for_twenty_steps_at_most_a_third_of_them() -> None:
    assert warmup_share(200) * 200 == pytest.approx(20)
    assert warmup_share(30) * 30 == pytest.approx(10)


# ------------------------------------------------------------------------------------------------- val given back


def test_val_is_given_back_and_what_is_known_of_it_is_that_of_the_first_training() -> None:
    once, again = classifier(), classifier()

    judged = finetune.fit(once, splits(), settings(), BARE, context())
    refitted = finetune.fit(again, splits(), settings(refit=True), BARE, context())

    assert judged.val is not None
    assert refitted.val is not None
    np.testing.assert_array_equal(refitted.val.logits, judged.val.logits)
    assert refitted.notes == ["the result was trained again on all 64 labelled images, val included"]
    assert once.digest(["stem", "top"]) != again.digest(["stem", "top"])
    told = [(record.epoch, record.step, record.val_accuracy is None) for record in refitted.history]
    assert told == [(0, 0, False), (1, 3, False), (2, 6, False), (3, 10, True), (4, 14, True)]  # 48 images, then 64


def test_the_result_is_the_one_that_all_labels_without_val_give() -> None:
    refitted, all_labels = classifier(), classifier()
    parts = splits()
    everything = Splits(parts.train.joined(parts.val), parts.val.subset([]), parts.test)

    finetune.fit(
        refitted,
        parts,
        settings(batchnorm="eval", head="random", refit=True),
        BARE,
        context(),
    )
    finetune.fit(
        all_labels,
        everything,
        settings(batchnorm="eval", head="random"),
        BARE,
        context(),
    )

    stages = ["stem", "top"]
    assert refitted.digest(stages) != classifier().digest(stages)
    assert refitted.digest(stages) == all_labels.digest(stages)


def test_an_epoch_chosen_by_val_is_the_result_and_val_is_not_given_back() -> None:
    def resolved(**keys: Any) -> Any:
        return defaults.resolved(from_options("finetune", "resnet20", "digits", keys, ()), 2_000, 8).method

    assert resolved().refit is True
    assert resolved(keep="best").refit is False
    with pytest.raises(TransferkitError, match="keep best chooses an epoch by val, and refit trains on val"):
        resolved(keep="best", refit=True)


def test_thresholds_are_those_of_the_classifier_that_has_not_learnt_from_val() -> None:
    def outputs(features: np.ndarray) -> Outputs:
        labels = np.arange(len(features)) % 2
        names = tuple(map(str, range(len(features))))
        return Outputs(features.astype(np.float32), np.zeros((len(features), 2), np.float32), labels, names, NAMES)

    generator = np.random.default_rng(0)
    val, seen, bank = (
        outputs(generator.normal(size=(count, 3)) + shift) for count, shift in ((30, 0), (60, 0), (60, 9))
    )

    refitted = rejection.fit(val, bank, seen)

    wider = typical_distance(bank) / typical_distance(seen)
    assert refitted.percentiles == pytest.approx([wider * score for score in rejection.fit(val, seen).percentiles])
    assert refitted.bank is bank


# -------------------------------------------------------------------------------------------------- images together


def test_images_are_joined_with_and_without_a_common_storage() -> None:
    whole = images(10, 0)
    shared = whole.subset([1, 3]).joined(whole.subset([8]))
    apart = images(2, 0).joined(images(3, 1))

    np.testing.assert_array_equal(shared.pixels, whole.pixels[[1, 3, 8]])
    assert shared.storage is whole.storage
    assert apart.ids == ("0/0", "0/1", "1/0", "1/1", "1/2")
    assert apart.labels.tolist() == [0, 1, 0, 1, 0]


def test_spread_images_are_evenly_apart_and_no_more_than_there_are() -> None:
    assert images(9, 0).spread(3).ids == ("0/0", "0/4", "0/8")
    assert len(images(4, 0).spread(100)) == 4
