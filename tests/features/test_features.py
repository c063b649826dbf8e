"""Images of any kind become features; the extractor fits into scikit-learn."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from estimators import ExtractorOfRows, count, failures
from networks import CPU, batch, classifier_of
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn

from transferkit.data.images import Images
from transferkit.features import engine, pictures
from transferkit.features.engine import Engine
from transferkit.features.extractor import FeatureExtractor
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.networks import layer_network, loaded
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import MachineError, TransferkitError

DATA = Path(os.environ.get("TRANSFERKIT_TEST_DATA", "~/.cache/transferkit-test-data")).expanduser()
TINY_IMAGENET = DATA / "weights" / "resnet18-tiny-imagenet.safetensors"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))


def arrays(count: int = 6, side: int = 32) -> np.ndarray:
    return batch(count, side).permute(0, 2, 3, 1).contiguous().numpy()


def extractor(**settings: Any) -> FeatureExtractor:
    return FeatureExtractor("resnet-mini", **{"weights": "none", "size": 32, "store": False, **settings})


# ------------------------------------------------------------------------------------------------ images of any kind


def test_arrays_of_either_layout_images_paths_and_pil_give_the_same_features(tmp_path: Path) -> None:
    pixels = arrays()
    paths = [tmp_path / f"{number}.png" for number in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    channels_first = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    kinds = {
        "NCHW": channels_first,
        "tensor": torch.from_numpy(channels_first),
        "Images": Images.from_pixels(channels_first, [0] * 6, ("a",)),
        "list of arrays": list(pixels),
        "paths": paths,
        "text": [str(path) for path in paths],
        "array of text": np.array([str(path) for path in paths]),
        "PIL": [Image.fromarray(image) for image in pixels],
        "folder": tmp_path,
    }
    expected = extractor().transform(pixels)

    found = {name: extractor().transform(images) for name, images in kinds.items()}

    assert expected.shape == (6, 128)
    assert expected.dtype == np.float32
    assert all(np.allclose(features, expected, atol=1e-6) for features in found.values())
    assert len(found) == 9


def test_rectangular_files_of_mixed_sizes_become_squares(tmp_path: Path) -> None:
    for number, size in enumerate([(40, 20), (20, 60), (33, 33)]):
        Image.new("RGB", size, (10 * number, 50, 90)).save(tmp_path / f"{number}.jpg")

    assert extractor().transform(tmp_path).shape == (3, 128)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((2, 8, 8, 3), 2, np.float32), r"float32 with values from 2 to 2. Expected uint8"),
        (np.zeros((8, 8, 3), np.uint8), r"found uint8 \(8, 8, 3\). Of one image write image\[None\], of grey ones"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"Expected uint8 images .* found uint8 \(2, 8, 8, 4\)"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)], r"mixed sizes: \(8, 8, 3\), \(9, 8, 3\)"),
        ([], "No images. Expected"),
        (["nowhere.jpg"], "Cannot read nowhere.jpg: there is no such file"),
        (Path("no/such/folder"), "There is no file or folder no/such/folder"),
        ([3.5], "An object of type float is no image. Expected paths"),
        (7, "An object of type int is no image. Expected paths"),
    ],
)
def test_images_that_cannot_be_used_are_refused_with_the_reason(images: Any, message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        extractor().transform(images)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")

    with pytest.raises(TransferkitError, match="holds no images"):
        extractor().transform(tmp_path)


# -------------------------------------------------------------------------------------------------------- extractor


def test_several_layers_come_in_one_pass_and_stage_names_mean_their_last_module(both_precisions: str) -> None:
    layers = ["stem", "stage2", "penultimate", "stage3.0"]

    found = extractor().extract(arrays(), layers)

    assert {name: features.shape for name, features in found.items()} == {
        "stem": (6, 32),
        "stage2": (6, 64),
        "penultimate": (6, 128),
        "stage3.0": (6, 128),
    }
    # The body averages stage3 itself, and in bf16 it rounds the averages to 8 bits: by up to 2^-8 of each.
    rounding = {"fp32": 1e-6, "bf16": 2**-8 + 1e-6}[both_precisions]
    assert np.allclose(found["stage3.0"], found["penultimate"], rtol=rounding, atol=1e-6)
    assert all(np.allclose(extractor(layer=name).transform(arrays()), found[name], atol=1e-5) for name in layers)


def test_unpooled_maps_have_the_layers_shape_and_average_to_the_pooled_features() -> None:
    maps = extractor(pool="none", layer="stage2").transform(arrays())

    assert maps.shape == (6, 64, 16, 16)
    assert np.allclose(maps.mean((2, 3)), extractor(layer="stage2").transform(arrays()), atol=1e-5)
    assert np.array_equal(maps.reshape(6, -1), extractor(pool="flatten", layer="stage2").transform(arrays()))


def test_iterating_never_takes_more_than_the_batch_in_hand_and_the_next() -> None:
    largest: list[int] = []

    class Watched(Images):
        def take(self, indices: Any) -> np.ndarray:
            largest.append(int(indices[-1]))
            return super().take(indices)

    pixels = np.ascontiguousarray(arrays(20).transpose(0, 3, 1, 2))
    images = Watched.from_pixels(pixels, [0] * 20, ("a",))

    batches: Iterator[dict[str, np.ndarray]] = extractor(batch_size=4).iterate(images, ["stage1", "stage2"])
    first = next(batches)

    assert {name: features.shape for name, features in first.items()} == {"stage1": (4, 32), "stage2": (4, 64)}
    assert max(largest) < 8
    rest = [first, *batches]
    assert len(rest) == 5
    assert np.allclose(
        np.concatenate([part["stage2"] for part in rest]), extractor(layer="stage2").transform(images), atol=1e-5
    )


def test_stored_features_of_files_need_no_second_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, image in enumerate(arrays(4)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    decoded: list[Any] = []
    plain = pictures.decode
    monkeypatch.setattr(pictures, "decode", lambda *arguments: (decoded.append(arguments), plain(*arguments))[1])

    first = extractor(store=True).transform(tmp_path)
    (tmp_path / "2.png").write_bytes((tmp_path / "3.png").read_bytes())
    second = extractor(store=True).transform(tmp_path)

    assert len(decoded) == 4  # the changed file has the content of another one, which is stored
    assert np.array_equal(second, first[[0, 1, 3, 3]])


def test_random_weights_come_from_the_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    same = [extractor(seed=3).transform(arrays()) for _ in range(2)]
    loaded.cache_clear()
    layer_network.cache_clear()
    same.append(extractor(seed=3).transform(arrays()))

    assert np.array_equal(same[0], same[2])
    assert not np.allclose(same[0], extractor(seed=4).transform(arrays()))
    assert torch.equal(torch.rand(1), expected)


def test_the_extractor_pickles_and_clones_as_settings_alone() -> None:
    used = extractor(layer="stage2", seed=2)
    features = used.transform(arrays())

    pickled = pickle.dumps(used)

    assert len(pickled) < 1000
    assert pickle.loads(pickled).get_params() == used.get_params() == clone(used).get_params()
    assert np.array_equal(pickle.loads(pickled).transform(arrays()), features)


@pytest.mark.filterwarnings("ignore")
def test_the_suite_of_scikit_learn_fails_nowhere() -> None:
    settings: dict[str, Any] = {"weights": "none", "size": 16, "store": False}

    assert count(ExtractorOfRows("resnet-mini", **settings)) >= 35
    assert failures(ExtractorOfRows("resnet-mini", **settings)) == {}
    assert failures(extractor()) == {}  # an estimator of images, by its tags


def test_the_extractor_works_in_a_pipeline_and_a_grid_search() -> None:
    pixels = np.concatenate([arrays(12) // 2, arrays(12) // 2 + 128])  # dark and bright images
    labels = np.repeat([0, 1], 12)
    pipeline = make_pipeline(extractor(), LogisticRegression(max_iter=500))

    search = GridSearchCV(pipeline, {"featureextractor__layer": ["stage1", "stage3"]}, cv=2).fit(pixels, labels)

    assert search.best_score_ == 1.0
    assert pipeline.fit(pixels, labels).predict(pixels).tolist() == labels.tolist()


def test_feature_names_number_the_layers_features_and_make_a_table() -> None:
    table = extractor(layer="stage2").set_output(transform="pandas").transform(arrays())

    assert extractor().get_feature_names_out()[[0, -1]].tolist() == ["penultimate_0", "penultimate_127"]
    assert list(table.columns[:2]) == ["stage2_0", "stage2_1"]
    assert table.shape == (6, 64)


def test_maps_have_no_columns_to_name() -> None:
    with pytest.raises(TransferkitError, match=r"Features of shape \(64, 16, 16\) have no columns"):
        extractor(layer="stage2", pool="none").get_feature_names_out()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool": "mean"}, "Unknown pool 'mean'"),
        ({"batch_size": 0}, "Unknown batch_size 0. Expected auto or a positive number"),
        ({"layer": "stage4"}, "Unknown layer 'stage4'. Did you mean 'stage"),
        ({"backbone": "resnet19"}, "Unknown backbone 'resnet19'. Did you mean 'resnet1"),
    ],
)
def test_wrong_settings_are_refused_with_the_nearest_right_one(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        extractor().set_params(**settings).transform(arrays())


def test_the_automatic_batch_holds_the_same_number_of_pixels_at_any_size() -> None:
    body = nn.Sequential(nn.Conv2d(3, 2, 3, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    networks = {
        side: LayerNetwork(classifier_of(body, side), ["0"], "avg", CPU, SILENT) for side in (64, 112, 224, 600)
    }

    sizes = {side: Engine(network, SILENT).batch_size() for side, network in networks.items()}

    assert sizes == {64: 256, 112: 128, 224: 32, 600: 8}


# ---------------------------------------------------------------------------------------------------------- real data


@pytest.mark.real
@pytest.mark.skipif(not TINY_IMAGENET.exists(), reason=f"{TINY_IMAGENET} is missing; set TRANSFERKIT_TEST_DATA")
def test_textures_are_told_apart_by_features_of_trained_weights_and_worse_by_random_ones() -> None:
    settings: dict[str, Any] = {"size": 64, "layer": "layer3", "store": False}
    files = sorted((DATA / "textures").glob("*/*.jpg"))[::3]
    labels = [path.parent.name for path in files]
    halves = slice(0, None, 2), slice(1, None, 2)
    scores = {}

    for weights in (str(TINY_IMAGENET), "none"):
        features = FeatureExtractor("resnet18", weights=weights, **settings).transform(files)
        features = (features - features.mean(0)) / (features.std(0) + 1e-6)
        learner = LogisticRegression(C=0.01, max_iter=200).fit(features[halves[0]], labels[halves[0]])
        scores[weights] = learner.score(features[halves[1]], labels[halves[1]])

    assert len(files) == 400
    assert scores[str(TINY_IMAGENET)] > scores["none"] + 0.05
    assert scores[str(TINY_IMAGENET)] > 0.5  # of ten classes, 200 images to learn from


@pytest.mark.real
@pytest.mark.skipif(not TINY_IMAGENET.exists(), reason=f"{TINY_IMAGENET} is missing; set TRANSFERKIT_TEST_DATA")
def test_bf16_features_of_trained_weights_point_where_those_of_fp32_do() -> None:
    files = sorted((DATA / "textures").glob("*/*.jpg"))[::40]
    settings: dict[str, Any] = {"weights": str(TINY_IMAGENET), "size": 64, "store": False}

    exact, rounded = (
        FeatureExtractor("resnet18", precision=precision, **settings).transform(files) for precision in ("fp32", "bf16")
    )

    cosines = (exact * rounded).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
    assert len(files) == 30
    assert cosines.min() >= 0.9999


class SmallMemory:
    """A network on a GPU whose memory holds so many images."""

    is_compiled = False
    runtime = CPU
    backbone, side_px = "small", 4

    def __init__(self, console: Console, holds: int) -> None:
        self.console, self.holds = console, holds
        self.passes: list[int] = []

    def prepare(self, images: Tensor) -> Tensor:
        return images

    def of_prepared(self, images: Tensor) -> dict[str, Tensor]:
        if len(images) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.passes.append(len(images))
        return {"mean": images.float().mean((1, 2, 3))[:, None]}


@pytest.fixture
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "FITTING", {})


@pytest.mark.usefixtures("nothing_remembered")
def test_a_batch_beyond_the_gpus_memory_makes_all_later_ones_smaller_and_is_told_once() -> None:
    told = io.StringIO()
    network = SmallMemory(Console(stream=told), holds=3)
    asked = Engine(cast(LayerNetwork, network), network.console, compile="off")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3, 4, 4), dtype=np.uint8)

    features = [asked.arrays(pixels)["mean"] for _ in range(2)]

    assert network.passes == [2, 2, 2, 2] * 2
    assert told.getvalue().splitlines() == [
        "Out of GPU memory at 8 images: 4 at a time from here on.",
        "Out of GPU memory at 4 images: 2 at a time from here on.",
    ]
    for array in features:
        np.testing.assert_allclose(array[:, 0], pixels.mean((1, 2, 3)), rtol=1e-6)


@pytest.mark.usefixtures("nothing_remembered")
def test_what_memory_holds_is_remembered_for_every_later_pass_of_the_process() -> None:
    told = io.StringIO()
    pixels = np.zeros((8, 3, 4, 4), np.uint8)

    passes = []
    for _ in range(2):
        network = SmallMemory(Console(stream=told), holds=3)
        images = Images.from_pixels(pixels, np.zeros(8, np.int64), ("-",))
        list(Engine(cast(LayerNetwork, network), network.console).features_of(images))
        passes.append(network.passes)

    assert passes == [[2, 2, 2, 2]] * 2
    assert len(told.getvalue().splitlines()) == 2


@pytest.mark.usefixtures("nothing_remembered")
def test_a_smaller_batch_is_told_even_where_the_console_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    network = SmallMemory(SILENT, holds=4)

    Engine(cast(LayerNetwork, network), SILENT).arrays(np.zeros((8, 3, 4, 4), np.uint8))

    assert capsys.readouterr().err == "Out of GPU memory at 8 images: 4 at a time from here on.\n"


@pytest.mark.usefixtures("nothing_remembered")
def test_a_smaller_batch_is_a_line_for_the_report_of_every_run_with_that_network_on_that_device() -> None:
    network = SmallMemory(Console(stream=io.StringIO()), holds=4)
    Engine(cast(LayerNetwork, network), network.console).arrays(np.zeros((8, 3, 4, 4), np.uint8))

    assert engine.memory_notes(torch.device("cpu"), ["small"]) == [
        "small at 4 px saw at most 4 images at a time: the memory of cpu held no more"
    ]
    assert engine.memory_notes(torch.device("cpu"), ["another"]) == []
    assert engine.memory_notes(torch.device("cuda"), ["small"]) == []


@pytest.mark.usefixtures("nothing_remembered")
def test_one_image_beyond_the_gpus_memory_is_an_error() -> None:
    network = SmallMemory(SILENT, holds=0)

    with pytest.raises(MachineError, match=r"does not hold one image. Use a smaller size, or cpu"):
        Engine(cast(LayerNetwork, network), SILENT, compile="off").arrays(np.zeros((4, 3, 4, 4), np.uint8))
