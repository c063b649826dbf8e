"""The HTML page: one file that loads nothing, with every name escaped and every script hashed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from transferkit.metrics.evaluation import thumbnail_choice
from transferkit.models.stored_model import InputSpec
from transferkit.recipe import MethodSettings
from transferkit.recipe.augmentation import augment_in_words
from transferkit.recipe.budget import operations_in_words
from transferkit.recipe.mirroring import mirroring_in_words
from transferkit.report import confidence_words, layers, sentences, svg_confusion_matrix, svg_lines
from transferkit.report import number_words as words
from transferkit.report.content import Content
from transferkit.report.glossary import marked_terms
from transferkit.report.headline import explanation, headline
from transferkit.report.image_explanations import explained, explained_words
from transferkit.report.inline_images import data_uri, data_uris
from transferkit.report.label_errors import label_section
from transferkit.report.svg_feature_map import map_svg, map_words
from transferkit.report.svg_whiskers import difference_whisker, whisker
from transferkit.runs.facts import ProbeFacts, RunFacts
from transferkit.runtime.durations import duration
from transferkit.runtime.environment import Environment
from transferkit.runtime.plurals import counted

ORDER: tuple[str, ...] = ("backbone", "weights", "weights SHA-256", "licence", "method", "input", "operations", "data")
ORDER += (
    "terms of the data",
    "images",
    "image size",
    "seed",
    "probe",
    "mirroring",
    "augmentation",
    "trained",
    "started",
    "time",
)  # of what was done
OPTION = re.compile(r"--[a-z][a-z-]*")
FOLDER = Path(__file__).parent
LISTED = 5_000  # test images a page lists by id; with more, mistakes first and a sample of hits


def page(content: Content) -> str:
    """The report as HTML."""
    pictures = data_uris(content.thumbnails)
    rows = listed(content, pictures)
    images = listed_images(content, rows, pictures)
    scores = content.scores
    return rendered(
        FOLDER / "page.html.jinja",
        content=content,
        title=f"{headline(content)} · transferkit",
        headline=headline(content),
        explanation=explanation(content),
        next_steps=content.next_steps if scores else (),
        findings=content.findings,
        muted=content.muted,
        command=sentences.command(content),
        opened=opened(content),
        openings=sentences.openings(content),
        facts=content.facts,
        notes=content.facts.notes if content.facts else (),
        scores=scores,
        sections=sections(content),
        confidence=confidence_words.confidence_section(content),
        done=done(content),
        matrix=svg_confusion_matrix.confusion_svg(content.confusion, content.class_names) if scores else "",
        position={name: index for index, name in enumerate(content.class_names)},
        pictures=pictures,
        explained=explained(content),
        explained_words=explained_words(content),
        listed=len(rows),
        map=map_svg(content, {index: row for row, index in enumerate(rows)}),
        map_words=map_words(content),
        numbered_up_to=svg_confusion_matrix.NUMBERED_UP_TO,
        sampled=len(pictures) < (scores.n if scores else 0),
        labelled=label_section(content),
        curves=drawings(content),
        augmented=data_uri(content.augmented) if content.augmented is not None else "",
        layers=layer_section(content),
        neighbour_counts=sentences.neighbours_in_words(content),
        start_hint=start_hint(content),
        groups=content.facts.parameter_groups if content.facts else (),
        published=content.published,
        environment=environment(content.environment),
        data={
            "names": content.class_names,
            "confusion": content.confusion.tolist(),
            "order": svg_confusion_matrix.similarity_order(content.confusion),
            "images": vars(images),
        },
    )


def summary(content: Content, address: str) -> str:
    """Headline, tiles and confusion matrix in a frame, and below it a link to the page at `address`, for notebooks."""
    scores = content.scores
    matrix = svg_confusion_matrix.confusion_svg(content.confusion, content.class_names) if scores else ""
    page = rendered(
        FOLDER / "summary.html.jinja",
        content=content,
        headline=headline(content),
        scores=scores,
        facts=content.facts,
        opened=opened(content),
        matrix=matrix,
        confidence=confidence_words.confidence_section(content),
    )
    return framed(page) + Markup('<p><a href="{}" target="_blank">{}</a></p>').format(address, address)


def rendered(template: Path, extra_style: Path | None = None, **values: Any) -> str:
    """A template of this folder, filled, with the style sheet and the script inside and a policy that admits these."""
    style, script = (Markup((FOLDER / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js"))
    script = script.replace("const GLOSSARY = {};", Markup(f"const GLOSSARY = {json.dumps(marked_terms())};"))
    if extra_style:
        style += Markup(extra_style.read_text(encoding="utf-8"))
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
    policy += "; base-uri 'none'; form-action 'none'"
    return (
        _environment(template.parent)
        .get_template(template.name)
        .render(style=style, script=script, policy=policy, **values)
    )


@cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader((folder, FOLDER)),
        autoescape=jinja2.select_autoescape(default=True, default_for_string=True),
        undefined=jinja2.ChainableUndefined,  # a run of an earlier version may lack a key
        trim_blocks=True,
    )
    shown: tuple[Callable[..., str], ...] = (
        words.percent,
        words.percent_interval,
        duration,
        words.points,
        words.p_value,
        whisker,
        difference_whisker,
    )
    environment.globals.update({function.__name__: function for function in shown})
    environment.filters.update({"unbroken": unbroken, "options_held": options_held, "basename": basename})
    return environment


def framed(page: str) -> str:
    """A whole page as a frame in a notebook, apart from the notebook's own styles."""
    return Markup('<iframe srcdoc="{}" width="100%" height="640" style="border: 0"></iframe>').format(page)


def _hash(text: str) -> str:
    """A source expression of the content security policy (CSP level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def unbroken(text: str) -> str:
    """The text with its per cent signs held to their numbers."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def options_held(text: str) -> Markup:
    """The text as HTML, each option of the command line in one piece: a line must not end within `--lr`."""
    return Markup(OPTION.sub(r'<span class="option">\g<0></span>', str(escape(text))))


def basename(path: str) -> str:
    """The last part of an image's path, or its id where that is no path."""
    return path.replace("\\", "/").rpartition("/")[2] or path


def sections(content: Content) -> list[tuple[str, str]]:
    """Anchor and words of each section, for the navigation."""
    scored = [
        ("classes", "Per class"),
        ("mistakes", "Mistakes"),
        ("hits", "Least sure"),
        ("map", "Map"),
        ("calibration", "Calibration"),
        ("selective", "Abstaining"),
        ("labels", "Labels"),
    ]
    after = [("training", "Training"), ("published", "Published"), ("made", "Making"), ("environment", "Environment")]
    probed = [("layers", "Layers")] if layers.rows_of(content) else []
    return [*probed, ("confusion", "Confusion matrix"), *(scored if content.scores else []), *after]


@dataclass(frozen=True)
class LayerSection:
    """What the page shows of the probed layers."""

    drawing: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    sentences: Sequence[str]
    caveats: Sequence[str]


def layer_section(content: Content) -> LayerSection | None:
    """What the page shows of the probed layers; None where there are none."""
    if not layers.rows_of(content):
        return None
    header, cells = layers.markdown_rows(content)
    return LayerSection(layers.drawing(content), header, cells, layers.sentences(content), layers.caveats(content))


@dataclass(frozen=True)
class OpenedTile:
    """The tile about the openings of the test set."""

    count: str
    words: str
    is_warning: bool


def opened(content: Content) -> OpenedTile:
    """How often the test set was opened."""
    count = content.facts.test_openings if content.facts else None
    if count is None:
        return OpenedTile("–", "not recorded", True)
    times = {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")
    return OpenedTile(times, "as it should be" if count == 1 else "see the notes", count != 1)


def listed(content: Content, pictures: Mapping[int, str]) -> list[int]:
    """Positions of the images the matrix opens onto: those with pictures, then mistakes and a sample of hits."""
    test = content.test
    if test is None:
        return []
    chosen = dict.fromkeys([*pictures, *thumbnail_choice(test, LISTED).tolist()])
    return [index for index in chosen if index < len(test)]


@dataclass(frozen=True)
class ImageColumns:
    """Listed images as the page's script reads them, column by column.

    Attributes:
        true: Positions of their classes.
        predicted: Positions of the answers.
        confidence: In [0, 1].
        id: Paths or indices.
        picture: Data URIs; 0 where none was kept.
    """

    true: list[int]
    predicted: list[int]
    confidence: list[float]
    id: list[str]
    picture: list[str | int]


def listed_images(content: Content, rows: Sequence[int], pictures: Mapping[int, str]) -> ImageColumns:
    """These images as columns."""
    columns = ImageColumns([], [], [], [], [])
    test = content.test
    if test is None:
        return columns
    predictions, confidences = test.predictions.tolist(), test.confidences.tolist()
    for index in rows:
        columns.true.append(int(test.require_labels()[index]))
        columns.predicted.append(predictions[index])
        columns.confidence.append(round(confidences[index], 4))
        columns.id.append(test.ids[index])
        columns.picture.append(pictures.get(index, 0))
    return columns


def start_hint(content: Content) -> str:
    """What epoch 0 of the curves is."""
    images = content.history.start.val_images if content.history.start else None
    if not images:
        return "The start was not judged, because no images were set aside as val."
    return f"Epoch 0 is the start: the weights that training began with, on the same {counted(images, 'val image')}."


def drawings(content: Content) -> list[svg_lines.Drawn]:
    """The training curves, after the probe's sweep where there was one."""
    probe = content.facts.probe if content.facts else None
    return [*svg_lines.probe_curve(probe), *svg_lines.training_curves(content.history)]


def done(content: Content) -> list[tuple[str, str]]:
    """What was done, as pairs of name and words; what is not known is left out."""
    weights = content.model.weights if content.model else None
    reason = content.facts.input_reason if content.facts else ""
    pairs = [
        ("backbone", _backbone(content)),
        ("weights", " · ".join(filter(None, (weights.source, weights.tag))) if weights else ""),
        ("weights SHA-256", weights.sha256 if weights else ""),
        ("licence", weights.licence if weights else ""),
        ("method", _method(content.recipe.method) if content.recipe else ""),
        ("input", _input(content.model.input, reason) if content.model else ""),
        ("data", content.data_name if content.recipe or content.facts else ""),
        ("seed", str(content.recipe.seed) if content.recipe else ""),
        *_moved(content),
        *(_made(content.facts) if content.facts else ()),
    ]
    return sorted(((name, text) for name, text in pairs if text), key=_place)


def _moved(content: Content) -> Iterator[tuple[str, str]]:
    """What training did to its images."""
    if (training := content.training) is not None:
        yield "mirroring", mirroring_in_words(bool(training.flip), content.class_names) or "off"
        yield "augmentation", augment_in_words(training.augment)


def _place(pair: tuple[str, str]) -> int:
    return ORDER.index(pair[0]) if pair[0] in ORDER else len(ORDER)


def _made(facts: RunFacts) -> Iterator[tuple[str, str]]:
    """What the facts say of it."""
    data, flops = facts.data, facts.costs.flops_per_image
    yield "operations", f"{operations_in_words(flops)} per image" if flops else ""
    yield "terms of the data", data.terms or ""
    yield "images", " · ".join(f"{count:,} {part}" for part, count in vars(data.n).items())
    yield "image size", " x ".join(map(str, data.size_px)) + " px"
    yield "probe", _probe(facts.probe) if facts.probe else ""
    yield "trained", counted(facts.trained_parameters, "parameter") if facts.trained_parameters else ""
    yield "started", facts.started.replace("T", " ").replace("+00:00", " UTC")
    yield "time", " · ".join(f"{part} {duration(seconds)}" for part, seconds in facts.seconds.items())
    yield from ((f"fingerprint of {part}", digest[:16]) for part, digest in vars(data.fingerprint).items())


def _backbone(content: Content) -> str:
    parameters = content.model.parameters if content.model else None
    return content.backbone + (f" · {parameters / 1e6:.1f} M parameters" if parameters else "")


def _method(method: MethodSettings) -> str:
    keys = ("classifier", "epochs", "batch_size", "optimizer", "lr")
    shown = [f"{key.replace('_', ' ')} {value}" for key in keys if (value := getattr(method, key, None))]
    return " · ".join([method.name, *shown])


def _input(spec: InputSpec, reason: str) -> str:
    return f"{spec.size} px{f' ({reason})' if reason else ''}, {spec.interpolation}"


def _probe(probe: ProbeFacts) -> str:
    if probe.classifier == "knn":
        return f"{probe.k} nearest of {counted(probe.images or 0, 'image')} by cosine, temperature {probe.temperature}"
    if probe.classifier == "ncm":
        return f"class means of {counted(probe.images or 0, 'image')}, {probe.distance} distance"
    if probe.C is None:
        return ""
    return f"C = {probe.C:.3g}, chosen by {probe.chosen_by}"


def environment(machine: Environment | None) -> list[tuple[str, str]]:
    """Versions, device, precision and threads as pairs of name and words."""
    if machine is None:
        return []
    flat = {name: value for name, value in vars(machine).items() if name != "packages" and value is not None}
    return [(name, str(value)) for name, value in {**flat, **machine.packages}.items()]
