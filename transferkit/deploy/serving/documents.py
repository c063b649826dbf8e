"""What the server says, as types; their schema is the one that programs are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from transferkit import __version__
from transferkit.runtime.json_files import JsonObject, JsonValue

# a class and how probable the network calls it, in [0, 1]
LikelyClass = TypedDict("LikelyClass", {"class": str, "probability": float})
# a training image that is much like the image to the network: its class, its file's name or id, the cosine of the
# features in [-1, 1], and the picture as a data URI, empty where its file is not at hand
Neighbour = TypedDict("Neighbour", {"class": str, "path": str, "similarity": float, "picture": str})


@dataclass(frozen=True)
class Explanation:
    """Why the model answers so.

    Attributes:
        picture: What the model was given, as a data URI.
        looked_at: The same, darkened where nothing supported the class (Grad-CAM); empty where there is no such map.
        no_map_because: Why not; else empty.
        neighbours: Training images, the most similar first.
    """

    picture: str
    looked_at: str
    no_map_because: str
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class ImageAnswer:
    """What the model says of one image.

    Attributes:
        path: The name that its file came with, or its number.
        answer: A class, or "unknown"; empty where the image could not be read.
        probability: Of the likeliest class, in [0, 1].
        unknown: Whether it is more unusual than the model accepts; null if the run holds no threshold.
        unusual_percent: Per cent of the run's own images that are no more unusual.
        top: The likeliest classes, likeliest first.
        candidates: Classes that hold the true one for at least 90 % of images like the run's own.
        error: Why the image could not be read; else empty.
        explanation: With explain=true.
    """

    path: str
    answer: str
    probability: float | None
    unknown: bool | None
    unusual_percent: int | None
    top: tuple[LikelyClass, ...]
    candidates: tuple[str, ...] | None
    error: str
    explanation: Explanation | None = None


@dataclass(frozen=True)
class Answers:
    """One answer per image, in the order of the request."""

    answers: tuple[ImageAnswer, ...]


@dataclass(frozen=True)
class ServedRun:
    """The run that answers, and what it refuses.

    Attributes:
        run: Its name.
        headline: Its accuracy on test in one sentence, with the 95 % interval and the number of images.
        class_names: What it can answer, besides "unknown".
        no_unknown_because: Why it never answers "unknown"; else empty.
        explains: Whether it takes explain=true.
        most_bytes: Of one request.
        most_pixels: Of one image.
        most_images: Of one request.
    """

    run: str
    headline: str
    class_names: tuple[str, ...]
    no_unknown_because: str
    explains: bool
    most_bytes: int
    most_pixels: int
    most_images: int


@dataclass(frozen=True)
class Problem:
    """A request that was not carried out."""

    error: str


REFUSALS = {
    "400": "the request is not as described here",
    "401": "the token is missing or wrong",
    "408": "the request took too long to arrive",
    "413": "too many bytes or images",
    "503": "too much to do; come again after the seconds of Retry-After",
}
FILES: JsonObject = {"type": "array", "items": {"type": "string", "format": "binary"}}


def openapi(needs_token: bool, most_classes: int) -> dict[str, JsonValue]:
    """The description of all addresses, OpenAPI 3.1."""
    guard: dict[str, JsonValue] = {"security": [{"token": []}]} if needs_token else {}
    schemes: JsonObject = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "transferkit serve", "version": __version__},
        "paths": {
            "/predict": {"post": _predict(most_classes) | guard},
            "/about": {"get": _read("The run that answers.", ServedRun) | guard},
            "/metrics": {"get": _text("Counters in Prometheus' text format.") | guard},
            "/health": {"get": _text("200 while the server can answer, else 503.")},
        },
        "components": {"schemas": _schemas(), **(schemes if needs_token else {})},
    }


def _predict(most_classes: int) -> dict[str, JsonValue]:
    explain: JsonObject = {"name": "explain", "in": "query", "schema": {"type": "boolean", "default": False}}
    top: JsonObject = {
        "name": "top",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": most_classes, "default": min(3, most_classes)},
    }
    form: JsonObject = {"schema": {"type": "object", "properties": {"images": FILES}, "required": ["images"]}}
    single = {"schema": {"type": "string", "format": "binary"}}
    answered = _json(Answers)
    refused: JsonObject = {
        status: {"description": words, "content": _json(Problem)} for status, words in REFUSALS.items()
    }
    return {
        "summary": "Name what is in each image, or say unknown.",
        "operationId": "predict",
        "parameters": [top, explain],
        "requestBody": {"required": True, "content": {"multipart/form-data": form, "image/*": single}},
        "responses": {
            "200": {"description": "one answer per image; some may have an error", "content": answered},
            "422": {"description": "no image could be read", "content": answered},
            **refused,
        },
    }


def _read(summary: str, kind: type[Any]) -> dict[str, JsonValue]:
    return {"summary": summary, "responses": {"200": {"description": "as said", "content": _json(kind)}}}


def _text(summary: str) -> dict[str, JsonValue]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {"summary": summary, "responses": {"200": {"description": "as said", "content": content}}}


def _json(kind: type[Any]) -> dict[str, JsonValue]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}


def _schemas() -> dict[str, JsonValue]:
    """Of every type that is answered."""
    schemas: dict[str, JsonValue] = {}
    for kind in (Answers, ServedRun, Problem):
        schema = TypeAdapter(kind).json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
        schemas |= schema.pop("$defs", {})
        schemas[kind.__name__] = schema
    return schemas
