"""What was chosen, and whether the choice lies at the edge of what was tried."""

from __future__ import annotations

from transferkit.models.backbones.cards import CARDS, PIXELS
from transferkit.recipe.mirroring import reason_not_to_mirror
from transferkit.runs.checks.finding import Observation
from transferkit.runs.checks.subject import CheckedRun
from transferkit.runtime.shares import percent

FEW_PER_CLASS = 10  # training images


def C_at_edge(run: CheckedRun) -> Observation | None:
    """The best C of the linear head lies at an end of its grid, and is better than its neighbour there.

    A value beyond may be better still. Where the neighbour does as well, nothing is lost and nothing is said.
    """
    probe = run.probe
    if probe is None or not probe.on_boundary or probe.C is None or len(probe.grid) < 2:
        return None
    is_largest = probe.grid[-1] == probe.C
    edge, neighbour = (probe.validation_accuracy or (0.0, 0.0))[:: -1 if is_largest else 1][:2]
    if edge <= neighbour:
        return None
    observed = f"C = {probe.C:.3g}, the best, is the {'largest' if is_largest else 'smallest'} that was tried"
    beyond = 10 * probe.C if is_largest else probe.C / 10
    if not run.recipe or run.recipe.method.name != "probe":
        return Observation(observed, "compare with a probe that has a larger or smaller C", "")
    return Observation(observed, "try a value beyond it, on val", run.again(f"method.C={beyond:.3g}"))


def not_converged(run: CheckedRun) -> Observation | None:
    """The solver of the linear probe stopped before it converged, so that its head is not quite the one asked for."""
    probe = run.probe
    if probe is None or probe.converged is not False or probe.C is None:
        return None
    observed = f"at C = {probe.C:.3g} the solver stopped before it converged"
    return Observation(observed, "a smaller C converges", run.again(f"method.C={probe.C / 10:.3g}"))


def best_epoch_is_last(run: CheckedRun) -> Observation | None:
    """The epoch was chosen on val, and the best one is the last: val was still rising when training ended."""
    training, result = run.training, run.history.result
    if training is None or training.keep != "best" or result is None or not result.epoch or not training.epochs:
        return None
    if result is not run.history.best or result.epoch != training.epochs:
        return None
    observed = f"epoch {result.epoch}, the last, is the best on val ({percent(result.val_accuracy)})"
    return Observation(observed, "train longer", run.again(f"method.epochs={2 * training.epochs}"))


def no_val(run: CheckedRun) -> Observation | None:
    """No labelled images were set aside as val: nothing could be chosen or watched without the test set."""
    if run.facts is None or run.facts.data.n.val:
        return None
    observed = f"all {run.facts.data.n.train:,} labelled images were learnt from and none was set aside as val"
    return Observation(observed, "set a tenth aside", run.again("data.val_fraction=0.1"))


def input_below_images(run: CheckedRun) -> Observation | None:
    """The network sees the images at less than half of their side, so that small details are lost.

    Silent where the size was not asked for: then it follows from the weights and the images.
    """
    if run.model is None or run.facts is None or run.facts.input_reason != "as asked":
        return None
    px, native_px = run.model.input.size, min(run.facts.data.size_px)
    if 2 * px >= native_px:
        return None
    observed = f"images of {native_px} px reach the network at {px} px"
    return Observation(observed, "let weights and images decide the size", run.again("method.size=auto"))


def nothing_transferred(run: CheckedRun) -> Observation | None:
    """A method that builds on pretrained weights started from random ones, so that nothing was transferred."""
    if run.recipe is None:
        return None
    weights = run.model.weights if run.model else None
    is_random = weights.source == "none" if weights else run.recipe.backbone.weights == "none"
    if not is_random or not run.method.starts_from_pretrained or run.recipe.backbone.name == PIXELS.name:
        return None
    observed = f"{run.backbone} started from random weights, so that nothing was transferred"
    known = CARDS.get(run.recipe.backbone.name)
    if known is not None and known.top1 is None:
        return Observation(
            observed,
            "it has no ImageNet weights: give it a file of your own by --weights, or train it with transferkit scratch",
            "",
        )
    return Observation(
        observed,
        "give it pretrained weights, as with --weights imagenet, or train with transferkit scratch",
        run.again("backbone.weights=imagenet"),
    )


def mirrored_sides(run: CheckedRun) -> Observation | None:
    """Training mirrored images though class names differ by a side, or are single characters.

    A mirrored “turn left” is a “turn right”: the network is taught both under one name.
    """
    training = run.training
    if training is None or not training.flip or not (reason := reason_not_to_mirror(run.class_names)):
        return None
    return Observation(f"training mirrors images, but {reason}", "do not mirror", run.again("method.flip=false"))


def one_seed_on_few_images(run: CheckedRun) -> Observation | None:
    """Gradient steps on few images end elsewhere under another seed, and this run has one.

    Below 10 training images per class another seed moves the accuracy by more than most choices do.
    """
    if run.training is None or run.facts is None or run.scores is None:
        return None
    per_class = run.facts.data.n.train / max(1, len(run.scores.per_class))
    if per_class >= FEW_PER_CLASS:
        return None
    observed = f"one seed, with {per_class:.1f} training images per class"
    seed = run.recipe.seed if run.recipe else 0
    return Observation(observed, "make it again with other seeds before you compare", run.again(f"seed={seed + 1}"))
