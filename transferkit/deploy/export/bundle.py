"""What lies beside an exported model so that a machine without transferkit can use it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from transferkit.deploy.card.text import CardFiles, card_text
from transferkit.deploy.export.source import ExportSource
from transferkit.runtime.environment import package_version
from transferkit.runtime.files import write_text
from transferkit.runtime.plurals import counted
from transferkit.runtime.records import write_record


@dataclass(frozen=True)
class Library:
    """The lines of predict.py that differ from library to library.

    Attributes:
        model: Reads the file; `{file}` is its name.
        ask: What the model answers for `images`.
    """

    model: str
    ask: str


LIBRARIES = {
    "onnxruntime": Library(
        'SESSION = onnxruntime.InferenceSession(HERE / "{file}", providers=["CPUExecutionProvider"])',
        'SESSION.run(None, {"images": images})',
    ),
    "torch": Library(
        'MODEL = torch.export.load(HERE / "{file}").module().requires_grad_(False)', "MODEL(torch.from_numpy(images))"
    ),
}


@dataclass(frozen=True)
class Program:
    """What was written.

    Attributes:
        format: Its key in `deploy.formats`.
        file: The model's name in the folder.
        needs: Packages that run it, besides numpy and Pillow.
    """

    format: str
    file: str
    needs: tuple[str, ...]


def write(source: ExportSource, folder: Path, program: Program, notes: tuple[str, ...]) -> None:
    """classes.json, predict.py, Dockerfile and MODEL_CARD.md."""
    write_record(folder / "classes.json", facts_of(source, program))
    write_text(folder / "predict.py", predict_script(program, source.reading.fit))
    write_text(folder / "Dockerfile", dockerfile(program))
    write_text(folder / "MODEL_CARD.md", model_card(source, program, notes))


@dataclass(frozen=True)
class BundleFacts:
    """What classes.json holds: the names of the classes, and what a program must know of images and answers.

    Attributes:
        model: Name of the file beside it.
        side_px: At which files are kept before the network resizes them.
        black, white: The values that become 0 and 255.
        temperature: Divides the logits before a probability is believed; None where val was too small.
        unknown_threshold: Of the score; None where nothing is rejected as unknown.
        unknown_learnt_from: validation or training.
    """

    classes: tuple[str, ...]
    model: str
    format: str
    backbone: str
    side_px: int
    fit: str
    black: float
    white: float
    network_px: int
    temperature: float | None
    unknown_score: str
    unknown_threshold: float | None
    unknown_learnt_from: str | None


def facts_of(source: ExportSource, program: Program) -> BundleFacts:
    """The facts of an export that go with its program."""
    rejection = source.rejection
    threshold = rejection.threshold() if rejection else None
    return BundleFacts(
        classes=tuple(source.class_names),
        model=program.file,
        format=program.format,
        backbone=source.name,
        side_px=source.storage_px,
        fit=source.reading.fit,
        black=source.reading.black,
        white=source.reading.white,
        network_px=source.classifier.input_spec.size,
        temperature=rejection.temperature if rejection else None,
        unknown_score=rejection.score if rejection else "msp",
        unknown_threshold=threshold,
        unknown_learnt_from=rejection.learnt_from if rejection and threshold is not None else None,
    )


def predict_script(program: Program, fit: str) -> str:
    """A program that answers for files, with the few packages that it names; `fit` makes squares of them."""
    import jinja2

    text = resources.files(__package__).joinpath("predict.py.jinja").read_text(encoding="utf-8")
    (needs,) = program.needs
    template = jinja2.Environment(keep_trailing_newline=True, undefined=jinja2.StrictUndefined).from_string(text)
    library = LIBRARIES[needs]
    return template.render(needs=needs, fit=fit, model=library.model.format(file=program.file), ask=library.ask)


def dockerfile(program: Program) -> str:
    """An image of this folder; packages in the versions with which the file was checked."""
    packages = " ".join(f"{name}=={_release(name)}" for name in (*program.needs, "numpy", "pillow"))
    return (
        "# docker build -t my-model . && docker run --rm -v $PWD:/data my-model /data/picture.jpg\n"
        "FROM python:3.12-slim\n"
        f"RUN pip install --no-cache-dir {packages}\n"
        "WORKDIR /model\n"
        f"COPY {program.file} classes.json predict.py ./\n"
        'ENTRYPOINT ["python", "predict.py"]\n'
    )


def _release(name: str) -> str:
    return package_version(name).partition("+")[0]  # without the build's own suffix, as +cu130


def model_card(source: ExportSource, program: Program, notes: tuple[str, ...]) -> str:
    """The run's card, with what the files beside it are for."""
    needs = " ".join((*program.needs, "numpy", "pillow"))
    use = (
        f"`{program.file}` was written by `transferkit export --to {program.format}`; `predict.py` asks it.\n\n"
        f"```\npip install {needs}\npython predict.py photo.jpg\n```"
    )
    name = f"{source.name} for {counted(len(source.class_names), 'class', 'classes')}"
    return card_text(source.run, CardFiles(name, use, _unknown_words(source), notes))


def _unknown_words(source: ExportSource) -> str:
    rejection = source.rejection
    threshold = rejection.threshold() if rejection else None
    if rejection is None or threshold is None:
        return "It calls no image unknown, as the run holds no threshold."
    images = f"95 % of {rejection.n:,} {rejection.learnt_from} images"
    return (
        f"It calls an image unknown above {threshold:.4g} of {rejection.score}, below which {images} lie; images "
        "unlike its own may lie there too."
    )
