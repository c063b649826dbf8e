"""The HTML page: one file that loads nothing, with every name escaped and every script hashed."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup, escape

from transferkit.metrics.evaluation import thumbnail_choice
from transferkit.recipe.budget import operations_in_words
from transferkit.report import confidence_words, layers, sentences, svg_confusion_matrix, svg_lines
from transferkit.report import number_words as words
from transferkit.report.content import Content
from transferkit.report.headline import explanation, headline
from transferkit.report.image_explanations import explained, explained_words
from transferkit.report.inline_images import data_uris
from transferkit.report.label_errors import labelled
from transferkit.report.svg_feature_map import map_svg, map_words
from transferkit.report.svg_whiskers import difference_whisker, whisker

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
        command=sentences.command(content),
        opened=opened(content),
        openings=sentences.openings(content),
        notes=content.facts.get("notes", []),
        scores=scores,
        sections=sections(content),
        total_seconds=total_seconds(content),
        **confidence_section(content),
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
        labelled=labelled(content),
        curves=drawings(content),
        layers=layer_section(content),
        neighbour_counts=sentences.neighbours_in_words(content),
        start_hint=start_hint(content),
        groups=content.facts.get("parameter_groups", []),
        published=content.published,
        environment=environment(content.environment),
        data={
            "names": content.class_names,
            "confusion": content.confusion.tolist(),
            "order": svg_confusion_matrix.similarity_order(content.confusion),
            "images": images,
        },
    )


def rendered(template: Path, extra_style: Path | None = None, **values: Any) -> str:
    """A template of this folder, filled, with the style sheet and the script inside and a policy that admits these."""
    style, script = (Markup((FOLDER / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js"))
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
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader((folder, FOLDER)),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=ChainableUndefined,  # a run of an earlier version may lack a key
        trim_blocks=True,
    )
    shown: tuple[Callable[..., str], ...] = (
        words.percent,
        words.percent_interval,
        words.duration,
        words.spread,
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
        ("hits", "Near misses"),
        ("map", "Map"),
        ("calibration", "Calibration"),
        ("selective", "Abstaining"),
        ("labels", "Labels"),
    ]
    after = [("training", "Training"), ("published", "Published"), ("made", "Making"), ("environment", "Environment")]
    probed = [("layers", "Layers")] if layers.rows_of(content) else []
    return [*probed, ("confusion", "Confusion matrix"), *(scored if content.scores else []), *after]


def confidence_section(content: Content) -> dict[str, Any]:
    """What the page says about confidence; nothing without scores."""
    scores = content.scores
    if scores is None:
        return {}
    calibration, selective = scores.calibration, scores.selective
    return {
        "calibration_words": confidence_words.calibration_words(calibration),
        "calibration": confidence_words.calibration_table(calibration),
        "temperature": confidence_words.temperature_words(calibration, sentences.val_images(content)),
        "gaps": confidence_words.confidence_rows(calibration),
        "selective": confidence_words.selective(selective),
        "guarantees": confidence_words.guarantees(selective),
        "calibration_drawings": svg_lines.calibration_drawings(scores),
    }


def layer_section(content: Content) -> dict[str, Any] | None:
    """What the page shows of the probed layers."""
    if not layers.rows_of(content):
        return None
    header, cells = layers.markdown_rows(content)
    told = {"sentences": layers.sentences(content), "caveats": layers.caveats(content)}
    return {"drawing": layers.drawing(content), "header": header, "rows": cells, **told}


def opened(content: Content) -> dict[str, Any]:
    """The tile about the openings of the test set."""
    count = content.facts.get("test_openings")
    if count is None:
        return {"count": "–", "words": "not recorded", "is_warning": True}
    times = {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")
    return {"count": times, "words": "as it should be" if count == 1 else "see the notes", "is_warning": count != 1}


def listed(content: Content, pictures: Mapping[int, str]) -> list[int]:
    """Positions of the images the matrix opens onto: those with pictures, then mistakes and a sample of hits."""
    test = content.test
    if test is None:
        return []
    chosen = dict.fromkeys([*pictures, *thumbnail_choice(test, LISTED).tolist()])
    return [index for index in chosen if index < len(test)]


def listed_images(content: Content, rows: Sequence[int], pictures: Mapping[int, str]) -> dict[str, list[Any]]:
    """These images as columns."""
    columns: dict[str, list[Any]] = {"true": [], "predicted": [], "confidence": [], "id": [], "picture": []}
    test = content.test
    if test is None:
        return columns
    predictions, confidences = test.predictions.tolist(), test.confidences.tolist()
    for index in rows:
        columns["true"].append(int(test.require_labels()[index]))
        columns["predicted"].append(predictions[index])
        columns["confidence"].append(round(confidences[index], 4))
        columns["id"].append(test.ids[index])
        columns["picture"].append(pictures.get(index, 0))
    return columns


def total_seconds(content: Content) -> float | None:
    """The time of the whole run."""
    seconds = content.facts.get("seconds") or {}
    return sum(seconds.values()) if seconds else None


def start_hint(content: Content) -> str:
    """What epoch 0 of the curves is."""
    images = content.history.start.val_images if content.history.start else None
    if not images:
        return "The start was not judged, because no images were set aside as val."
    return f"Epoch 0 is the start: the weights that training began with, on the same {images:,} val images."


def drawings(content: Content) -> list[svg_lines.Drawn]:
    """The training curves, after the probe's sweep where there was one."""
    return [*svg_lines.probe_curve(content.facts.get("probe") or {}), *svg_lines.training_curves(content.history)]


def done(content: Content) -> list[tuple[str, str]]:
    """What was done, as pairs of name and words; what is not known is left out."""
    facts, data, weights = content.facts, content.facts.get("data") or {}, content.model.get("weights") or {}
    pairs = [
        ("backbone", _backbone(content)),
        ("weights", " · ".join(str(weights[key]) for key in ("source", "tag") if weights.get(key))),
        ("weights SHA-256", str(weights.get("sha256") or "")),
        ("licence", str(weights.get("licence") or "")),
        ("method", _method(content.recipe.get("method") or {})),
        ("input", _input(content.model.get("input") or {}, str(facts.get("input_reason") or ""))),
        ("operations", _operations(facts.get("costs") or {})),
        ("data", content.data_name if content.recipe else str(data.get("name", ""))),
        ("terms of the data", str(data.get("terms") or "")),
        ("images", " · ".join(f"{count:,} {name}" for name, count in (data.get("n") or {}).items())),
        ("image size", " x ".join(str(side) for side in data.get("size_px") or []) + (" px" * ("size_px" in data))),
        ("seed", str(content.recipe.get("seed", ""))),
        ("probe", _probe(facts.get("probe") or {})),
        ("trained", f"{facts['trained_parameters']:,} parameters" if facts.get("trained_parameters") else ""),
        ("started", str(facts.get("started") or "").replace("T", " ").replace("+00:00", " UTC")),
        ("time", " · ".join(f"{part} {words.duration(time)}" for part, time in (facts.get("seconds") or {}).items())),
    ]
    pairs += [(f"fingerprint of {part}", str(digest)[:16]) for part, digest in (data.get("fingerprint") or {}).items()]
    return [(name, text) for name, text in pairs if text]


def _backbone(content: Content) -> str:
    parameters = content.model.get("parameters")
    return content.backbone + (f" · {parameters / 1e6:.1f} M parameters" if parameters else "")


def _method(method: Mapping[str, Any]) -> str:
    shown = [
        f"{key} {method[key]}" for key in ("classifier", "epochs", "batch_size", "optimizer", "lr") if method.get(key)
    ]
    return " · ".join([str(method.get("name") or ""), *(text.replace("_", " ") for text in shown)])


def _input(spec: Mapping[str, Any], reason: str) -> str:
    if "size" not in spec:
        return ""
    size = f"{spec['size']} px" + (f" ({reason})" if reason else "")
    return ", ".join(filter(None, (size, spec.get("interpolation"))))


def _operations(costs: Mapping[str, Any]) -> str:
    return f"{operations_in_words(costs['flops_per_image'])} per image" if costs.get("flops_per_image") else ""


def _probe(probe: Mapping[str, Any]) -> str:
    if probe.get("classifier") == "knn":
        return f"{probe['k']} nearest of {probe['images']:,} images by cosine, temperature {probe['temperature']}"
    if probe.get("classifier") == "ncm":
        return f"class means of {probe['images']:,} images, {probe['distance']} distance"
    if "C" not in probe:
        return ""
    warning = "; the best value lies on the grid's boundary" if probe.get("on_boundary") else ""
    return f"C = {probe['C']:.3g}, chosen by {probe.get('chosen_by', 'val')}{warning}"


def environment(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Versions, device, precision and threads as pairs of name and words."""
    flat = {name: value for name, value in facts.items() if not isinstance(value, Mapping)}
    packages = facts.get("packages") or {}
    return [(name, str(value)) for name, value in {**flat, **packages}.items()]
