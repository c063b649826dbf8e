"""What the images of a run say before anything is learnt: copies, groups, missing classes, and how files were read."""

from __future__ import annotations

from transferkit.data.file_facts import FileFacts, Names
from transferkit.metrics.statistics import wilson
from transferkit.runs.checks.finding import Observation
from transferkit.runs.checks.subject import CheckedRun
from transferkit.runtime.plurals import counted
from transferkit.runtime.shares import percent

TIMES_AS_MANY = 10  # images of the largest class as of the smallest
CORRECTIONS = {"logit_adjustment": 1, "class_weight": "balanced"}  # the better one first; docs/transfer.md has figures
NEAR_SHARE = 0.01  # of the test images looked at, however many there are
DARK = 0.5  # brightest value, of that which becomes white
EXPECTED_IN_VAL = 2.0  # images of a class, by its share of train; where chance alone leaves fewer, none is no surprise


def imbalanced(run: CheckedRun) -> Observation | None:
    """The largest class has at least ten times as many training images as the smallest, and each image counts the same.

    The loss then hears little of the small class, and the accuracy hides how seldom it is found: read the mean recall
    and the matrix. Silent where the recipe counts each class the same, or shifts the logits of rare ones up.
    """
    parts, method = run.parts, run.recipe.method if run.recipe else None
    counts = dict(zip(parts.class_names, parts.n.train, strict=False)) if parts else {}
    if len(counts) < 2 or getattr(method, "class_weight", None) not in (None, "even"):
        return None
    if getattr(method, "sampler", "shuffled") != "shuffled" or getattr(method, "logit_adjustment", 0.0):
        return None
    most, fewest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] < TIMES_AS_MANY * max(1, counts[fewest]):
        return None
    observed = f"“{most}” has {counted(counts[most], 'training image')} and “{fewest}” {counts[fewest]:,}"
    advice = "read the mean recall beside the accuracy, or count each class the same"
    remedies = (f"method.{key}={value}" for key, value in CORRECTIONS.items() if hasattr(method, key))
    remedy = next(remedies, "")
    return Observation(observed, advice, run.again(remedy) if remedy else "")


def copies(run: CheckedRun) -> Observation | None:
    """Test images have the very pixels of an image in train or val.

    Such a test image says nothing about new images: the network has learnt its answer. Pixels are compared as they are
    kept, at the size that the data set is decoded to.
    """
    if run.parts is None or (tested := run.parts.copies) is None:
        return None
    observed = (
        f"{tested.count:,} of {tested.of:,} test images have the very pixels of an image in train or val ({tested})"
    )
    return Observation(observed, "take them out of one of the parts", run.ask("labels"))


def near_copies(run: CheckedRun) -> Observation | None:
    """So many test images have a near copy among the training images that the accuracy can be off by more than chance.

    At least 1 % of those looked at, and as large a share as the widest 95 % interval of an accuracy on so many test
    images reaches to one side: 6.3 % of 240 images, 3.1 % of 1,000, 1 % of 10,000. Fewer are lost in that interval.
    Found by a difference hash (at most 4 of 64 bits apart) and confirmed by pictures of 16 px in grey (correlation at
    least 0.98): brighter, compressed or resized copies, crops of one photograph, neighbours in a video. At most 2,000
    test images are looked at. Of CIFAR-10's test images 3 % have one (Barz and Denzler, J. Imaging 2020).
    """
    if run.parts is None or (tested := run.parts.near_copies) is None:
        return None
    if tested.count < max(NEAR_SHARE, _half_interval(sum(run.parts.n.test) or tested.of)) * tested.of:
        return None
    share = percent(tested.count / tested.of)
    observed = (
        f"{tested.count:,} of {counted(tested.of, 'test image')} looked at ({share}) have a near copy in "
        f"train ({tested})"
    )
    return Observation(observed, "look at the pairs, and keep what belongs together in one part", run.ask("labels"))


def _half_interval(n: int) -> float:
    """How far the 95 % interval of an accuracy of one half reaches to one side, the farthest of all accuracies."""
    interval = wilson(n // 2, n)
    return (interval.high - interval.low) / 2


def groups_shared(run: CheckedRun) -> Observation | None:
    """Named groups, such as patients or videos, lie in test and in train or val, or in val and in train.

    What is measured there may be memory of the group instead of knowledge of the class. Parts that are split off here
    keep groups whole; parts that you set apart yourself may not.
    """
    if run.parts is None:
        return None
    for groups, part, others in (
        (run.parts.tested_groups, "test", "train or val"),
        (run.parts.val_groups, "val", "train"),
    ):
        if groups is not None:
            observed = f"{groups.count:,} of {counted(groups.of, 'group')} of {part} are in {others}, too ({groups})"
            return Observation(observed, "leave each group in one part: what is measured there may be memory")
    return None


def folders_parted(run: CheckedRun) -> Observation | None:
    """Class folders hold folders, and images of one such folder lie in train as well as in val or test.

    If a folder is one patient, video or place, the network can recognise it instead of the class, and the accuracy is
    too good to be true. If folders mean nothing, mute the check.
    """
    files = _files(run)
    if parted := files.parted_folders:
        observed = (
            f"the class folders hold {counted(parted.count, 'folder')} ({parted}), and chance "
            "puts images of one folder into "
            "train as well as into val or test"
        )
        advice = "if a folder is one patient, video or place, keep each in one part with --group parent"
        return Observation(observed, advice, run.again("data.group=parent"))
    if repeated := files.repeated_folders:
        observed = (
            f"{counted(repeated.count, 'folder')} inside class folders have the same name in train and in "
            f"test ({repeated})"
        )
        return Observation(observed, "if a folder is one patient, video or place, move each into one part")
    return None


LABEL_TABLE = "write a CSV with the columns path, label and group, one line per image, and type --data folder:FILE.csv"


def folders_swapped(run: CheckedRun) -> Observation | None:
    """The folders read as classes all hold the same few folders, or are called patient1, study1 and the like.

    So it is where pictures are sorted by patient first and by diagnosis second: the run then learns to tell patients.
    """
    outer, inner, depth = _files(run).outer_folders, _files(run).inner_folders, _files(run).inner_depth
    if outer is None:
        return None
    if inner is None or depth > 1:
        below = "no folder has the name of a class" if inner is None else f"{inner} lie {depth} levels below them"
        observed = (
            f"the {outer.count:,} folders read as classes ({outer}) are named as what is photographed, and {below}"
        )
        return Observation(observed, LABEL_TABLE)
    observed = f"the {outer.count:,} folders read as classes ({outer}) hold folders of other names ({inner})"
    advice = "if these are the classes, and the outer folders patients, videos or places, type --group grandparent"
    return Observation(observed, advice, run.again("data.group=grandparent"))


def dark_values(run: CheckedRun) -> Observation | None:
    """Of images deeper than 8 bits, the brightest value seen is less than half of the value that becomes white.

    The images reach the network dark, with less than half of its range. Up to 100 files are looked at.
    """
    depth = _files(run).depth
    if depth is None or depth.brightest >= depth.black + DARK * (depth.white - depth.black):
        return None
    observed = f"values up to {depth.white:,g} become white, and the brightest seen is {depth.brightest:,g}"
    white = f"{depth.brightest:.0f}"
    advice = f"name the value that is white, as with --range {depth.black:g},{white}"
    return Observation(observed, advice, run.again(f"data.range=[{depth.black:g},{white}]"))


def bands_dropped(run: CheckedRun) -> Observation | None:
    """Files have more bands than the three that are read, as red, green, blue and near infrared.

    What tells the classes apart may lie in the bands that are dropped. Alpha and CMYK do not count.
    """
    dropped = _files(run).dropped_bands
    if dropped is None:
        return None
    observed = (
        f"{dropped.files:,} of {counted(dropped.looked_at, 'file')} looked at have {dropped.bands} "
        "bands, of which the first "
        "three are read"
    )
    return Observation(observed, "read them all", run.again(f"data.channels={dropped.bands}"))


def classes_missing(run: CheckedRun) -> Observation | None:
    """A class of train has no image in test, or none in val though its share of train lets expect two.

    Nothing is known then of how often the class is found, and the accuracy leaves it out. A class that only val or test
    has is an error before the run starts.
    """
    if run.parts is None:
        return None
    names, n = run.parts.class_names, run.parts.n
    untested = [name for name, count in zip(names, n.test, strict=False) if not count]
    if untested:
        return _missing(run, "test", untested)
    share = sum(n.val) / max(1, sum(n.train))
    unseen = [
        name
        for name, count, learnt in zip(names, n.val, n.train, strict=False)
        if not count and learnt * share >= EXPECTED_IN_VAL
    ]
    return _missing(run, "val", unseen) if unseen else None


def _missing(run: CheckedRun, part: str, names: list[str]) -> Observation:
    total = len(run.parts.class_names) if run.parts else 0
    observed = (
        f"{part} has no image of {len(names):,} of {counted(total, 'class', 'classes')} ({Names.some(names, total)})"
    )
    return Observation(observed, f"add images of them to {part}, or leave these classes out")


def _files(run: CheckedRun) -> FileFacts:
    return run.parts.files if run.parts else FileFacts()
