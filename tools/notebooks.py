"""The tutorial pages and lab sheets as executed notebooks in docs/notebooks; `--check` only compares, names choose.

Cells are the page's own words, Python blocks and commands. Outputs are kept where a notebook's code is as it was, so
new words cost nothing; where code changed, its page is executed: offline, in an empty folder, with drawn pictures.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FOLDER = DOCS / "notebooks"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
NOT_HERE = ("transferkit serve", "transferkit lab mask-rcnn")  # never ends; needs a network that is not built in
MOST_LINES = 40  # of one output
SECONDS_OF_A_CELL = 900
BAR = "━━"  # of a progress bar, drawn again and again
LINK = "[This page as a notebook](notebooks/{name}.ipynb), executed; to download, for Jupyter or Colab."

PICTURES_SHOWN = '''\
from pathlib import Path

from IPython.display import display
from PIL import Image


def show_new_pictures(_result: object, shown: set = set()) -> None:
    """After each cell, the pictures that it wrote here."""
    for path in sorted(Path().glob("*.png")):
        if (key := (path.name, path.stat().st_mtime_ns)) not in shown:
            shown.add(key)
            picture = Image.open(path).convert("RGB")
            picture.thumbnail((720, 720))
            display(picture.quantize(48))


get_ipython().events.register("post_run_cell", show_new_pictures)
'''

ONE_PICTURE = """
import numpy as np
from PIL import ImageDraw

picture = Image.fromarray(np.uint8(np.linspace(40, 215, 96)[None, :, None] * np.ones((96, 1, 3))))
pen = ImageDraw.Draw(picture)
pen.ellipse((14, 20, 52, 58), fill=(230, 190, 60))
pen.rectangle((56, 48, 88, 80), fill=(30, 90, 160))
picture.save("picture.png")
"""

FOLDERS = '''
import numpy as np
from PIL import ImageDraw

KINDS = {"circle": 40, "hexagon": 6, "pentagon": 5, "square": 4, "triangle": 3}  # corners


def draw(folder: str, kinds: list, each: int, seed: int) -> None:
    """Stand-ins for your photographs: folders of drawn shapes. Leave them out once you have folders of your own."""
    random = np.random.default_rng(seed)
    for kind in kinds:
        Path(folder, kind).mkdir(parents=True)
        for number in range(each):
            picture = Image.new("L", (128, 128), 128)
            circle = *random.uniform(36, 92, 2), random.uniform(16, 36)  # x, y, radius around it
            grey = 128 + int(random.choice([-1, 1]) * random.uniform(20, 80))
            ImageDraw.Draw(picture).regular_polygon(circle, KINDS[kind], rotation=random.uniform(0, 360), fill=grey)
            noisy = np.asarray(picture) + random.normal(0, 12, (128, 128))
            picture = Image.fromarray(np.uint8(noisy.clip(0, 255)))
            picture.save(Path(folder, kind, f"{kind}-{seed}-{number:02d}.jpg"))
'''


@dataclass(frozen=True)
class Lesson:
    """What one page needs as a notebook.

    Attributes:
        setup: Code before the first cell.
        words: What the page leaves open in its commands, and what stands for it here.
    """

    setup: str = ""
    words: Mapping[str, str] = field(default_factory=dict)


LESSONS = {
    "first-model": Lesson(
        FOLDERS
        + '\n\ndraw("my-images", ["circle", "pentagon", "square", "triangle"], each=60, seed=0)\n'
        + 'draw("new-photos", ["circle", "square", "hexagon"], each=4, seed=1)  # nobody teaches it hexagons\n',
    ),
    "lab-1-convolution": Lesson(ONE_PICTURE, {"PICTURE": "picture.png"}),
    "lab-2-modes": Lesson(),
    "lab-3-losses": Lesson(),
    "lab-4-depth": Lesson(),
    "lab-5-transfer": Lesson(ONE_PICTURE, {"a-photo.jpg": "picture.png"}),
    "production": Lesson(
        FOLDERS
        + '\n\ndraw("my-images", ["circle", "pentagon", "square", "triangle"], each=24, seed=0)\n'
        + 'draw("other-photos", ["hexagon"], each=40, seed=2)\n'
        + 'draw("new", ["circle", "square", "hexagon"], each=2, seed=1)\n'
        + "!transferkit probe timm/tf_efficientnet_lite0 --data folder:my-images --size 160 --out runs/shapes\n",
        {"textures": "shapes", "new/*.jpg": "new/*/*.jpg"},
    ),
    "paper-table": Lesson(
        FOLDERS + '\n\ndraw("my-images", ["circle", "pentagon", "square", "triangle"], each=24, seed=0)\n'
    ),
    "not-photos": Lesson(
        FOLDERS
        + """

draw("my-images", ["circle", "pentagon", "square", "triangle"], each=24, seed=0)
for path in Path("my-images").rglob("*.jpg"):  # as a microscope would store them: grey, 12 bits in files of 16
    grey = np.asarray(Image.open(path).convert("L"), dtype=np.uint16)
    Image.fromarray(grey * 16).save(path.with_suffix(".tif"))
    path.unlink()
""",
    ),
}


def built(name: str) -> dict[str, Any]:
    """The notebook of a page, not executed."""
    lesson = LESSONS[name]
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8").replace(LINK.format(name=name), "")
    cells = [_words(_opening(name)), _code(PICTURES_SHOWN + lesson.setup), *_cells_of(page, lesson)]
    numbered = [{"id": f"{name}-{number}", **cell} for number, cell in enumerate(cells)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {"cells": numbered, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


def _opening(name: str) -> str:
    return (
        f"This notebook is the page {name}.md of transferkit's documentation with its commands executed. It needs "
        "transferkit: `%pip install` and the path of the project's folder, in a cell of its own; in Colab that folder "
        "lies on a mounted drive. Where the page uses photographs, drawn pictures stand in, so numbers differ from "
        "those in the text."
    )


def _cells_of(page: str, lesson: Lesson) -> Iterator[dict[str, Any]]:
    """Words, Python and commands in the order of the page."""
    begin = 0
    for block in BLOCK.finditer(page):
        if not (sources := _sources(*block.groups(), lesson)):
            continue
        if words := page[begin : block.start()].strip():
            yield _words(_unlinked(words))
        yield from map(_code, sources)
        begin = block.end()
    if words := page[begin:].strip():
        yield _words(_unlinked(words))


def _sources(language: str, text: str, lesson: Lesson) -> list[str]:
    """What cells run of a block, one for each command; none: the block stays text."""
    if language == "python":
        return [text]
    commands = [f"!{command}" for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", text, flags=re.MULTILINE)]
    return [] if any(name in text for name in NOT_HERE) else [_filled(command, lesson) for command in commands]


def _filled(command: str, lesson: Lesson) -> str:
    """A command with what stands here for the words that the page leaves open."""
    for word, meaning in lesson.words.items():
        command = re.sub(rf"(?<![\w.]){re.escape(word)}(?!\w)", meaning, command)
    return command


def _unlinked(words: str) -> str:
    """Without links between pages, which a notebook that went elsewhere cannot follow."""
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", words)


def _words(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": _lines(text)}


def _code(text: str) -> dict[str, Any]:
    lines = _lines(text.strip("\n"))
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": lines}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


# ---- running them ----


def executed(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with its outputs, run in an empty folder.

    Raises:
        nbclient.exceptions.CellExecutionError: If Python in it fails.
    """
    import nbformat
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "lab")
        place.mkdir()
        client = NotebookClient(
            nbformat.reads(json.dumps(notebook), as_version=4),
            timeout=SECONDS_OF_A_CELL,
            record_timing=False,
            resources={"metadata": {"path": str(place)}},
        )
        client.execute(env={**os.environ, **_environment(Path(folder))})
        return _tidied(json.loads(nbformat.writes(client.nb)), folder)


def _environment(folder: Path) -> dict[str, str]:
    """This checkout's command line, a cache of its own, and 80 columns."""
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    cache = str(folder / "cache")
    return {"PATH": search, "PYTHONPATH": str(ROOT), "TRANSFERKIT_CACHE": cache, "COLUMNS": "80", "TERM": "dumb"}


def _tidied(notebook: dict[str, Any], folder: str) -> dict[str, Any]:
    for cell in notebook["cells"]:
        cell["source"] = _lines("".join(cell["source"]))
        if cell["cell_type"] == "code":
            cell["outputs"] = [_shortened(output, folder) for output in _joined(cell["outputs"])]
    return {key: notebook[key] for key in ("cells", "metadata", "nbformat", "nbformat_minor")} | {
        "metadata": {"kernelspec": notebook["metadata"]["kernelspec"]}
    }


def _joined(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a cell printed as one output, then its pictures."""
    printed = "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")
    rest = [output for output in outputs if output["output_type"] != "stream"]
    return [{"name": "stdout", "output_type": "stream", "text": printed}, *rest] if printed else rest


def _shortened(output: dict[str, Any], folder: str) -> dict[str, Any]:
    """Without codes of a terminal, bars that were drawn over, and this machine's folders."""
    if output["output_type"] != "stream":
        return output
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output["text"].replace("\r\n", "\n"))
    lines = [
        line.split("\r")[-1].rstrip().replace(folder, "/home/ann") for line in text.splitlines() if BAR not in line
    ]
    lines = [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]
    if len(lines) > MOST_LINES:
        half = MOST_LINES // 2
        lines = [*lines[:half], f"... {len(lines) - 2 * half} lines ...", *lines[-half:]]
    return output | {"text": [f"{line}\n" for line in lines]}


# ---- files ----


def sources(notebook: Mapping[str, Any], *kinds: str) -> list[str]:
    """The text of the cells of some kinds."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] in kinds]


def committed(name: str) -> dict[str, Any]:
    """The notebook that lies in docs/notebooks, or an empty one."""
    path = FOLDER / f"{name}.ipynb"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {"cells": []}


def stale() -> list[str]:
    """The notebooks that are not those of their pages."""
    kinds = "markdown", "code"
    return [name for name in LESSONS if sources(built(name), *kinds) != sources(committed(name), *kinds)]


def renewed(name: str, *, again: bool) -> dict[str, Any]:
    """The notebook of a page: with the outputs that are there if its code is as it was, else executed."""
    new, old = built(name), committed(name)
    if again or sources(new, "code") != sources(old, "code"):
        return executed(new)
    ran = iter([cell for cell in old["cells"] if cell["cell_type"] == "code"])
    return new | {
        "cells": [{**next(ran), "id": cell["id"]} if cell["cell_type"] == "code" else cell for cell in new["cells"]]
    }


def main() -> None:
    """Renew the notebooks whose pages changed; those named are executed in any case."""
    if "--check" in sys.argv:
        if old := stale():
            sys.exit(f"{', '.join(old)}: not what the page says. Run python tools/notebooks.py and commit the result.")
        return
    FOLDER.mkdir(exist_ok=True)
    named = sys.argv[1:]
    for name in named or stale():
        text = json.dumps(renewed(name, again=bool(named)), indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.ipynb").write_text(f"{text}\n", encoding="utf-8")
        print(f"docs/notebooks/{name}.ipynb: {len(text) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
