"""The addresses of the server, and what each answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from transferkit.deploy.answer_rows import row
from transferkit.deploy.answers import Answer
from transferkit.deploy.serving.access import CLIENT_LEFT, Gate
from transferkit.deploy.serving.documents import Answers, ImageAnswer, LikelyClass, ServedRun, openapi
from transferkit.deploy.serving.meters import MEDIA_TYPE, Meters
from transferkit.deploy.serving.reading import ImageReader, UnreadableImage
from transferkit.deploy.serving.refusals import Refusal, overloaded
from transferkit.deploy.serving.settings import ServeSettings
from transferkit.deploy.serving.uploads import Upload, Waiting, received
from transferkit.deploy.serving.worker import ExplainedPrediction, NoNumber, Worker
from transferkit.runtime.errors import did_you_mean, quoted

FOLDER = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
OPEN = {  # without a token, since there is nothing of the run in them
    "/": True,
    "/page.css": True,
    "/page.js": True,
    "/health": True,
    "/openapi.json": True,
    "/about": False,
    "/metrics": False,
    "/predict": False,
}
KEYS = ("top", "explain")  # of a query to /predict
YES = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True)
class Service:
    """What the addresses share."""

    settings: ServeSettings
    about: ServedRun
    reader: ImageReader
    worker: Worker
    meters: Meters
    waiting: Waiting


def application(service: Service, log: Callable[[str], None]) -> ASGIApp:
    """The whole server, for uvicorn or a test."""

    @asynccontextmanager
    async def alive(_: Starlette) -> AsyncIterator[None]:
        service.worker.start()
        yield
        await asyncio.to_thread(service.worker.stop)
        service.reader.threads.shutdown(cancel_futures=True)

    async def fault(_: Request, error: Exception) -> Response:
        if isinstance(error, ClientDisconnect):
            return Response(status_code=CLIENT_LEFT)
        log(f"fault: {type(error).__name__}: {str(error)[:200]}")
        return JSONResponse({"error": "A fault of the server; its log says more."}, 500)

    routes = [
        Route("/", _page),
        Route("/page.css", _style),
        Route("/page.js", _script),
        Route("/health", _said(service, _health)),
        Route("/openapi.json", _said(service, _openapi)),
        Route("/about", _said(service, _about)),
        Route("/metrics", _said(service, _metrics)),
        Route("/predict", _predict(service), methods=["POST"]),
    ]
    handlers = {HTTPException: _no_such, Refusal: _refused, Exception: fault}
    inner = Starlette(routes=routes, lifespan=alive, exception_handlers=handlers)
    return Gate(inner, service.settings, OPEN, service.meters, log)


def _said(service: Service, answer: Callable[[Service], Response]) -> Callable[[Request], object]:
    """An address that answers alike to everybody."""

    async def say(_: Request) -> Response:
        return answer(service)

    return say


def _about(service: Service) -> Response:
    return JSONResponse(asdict(service.about))


def _page(_: Request) -> Response:
    return FileResponse(FOLDER / "page.html", headers={"Content-Security-Policy": POLICY})


def _style(_: Request) -> Response:
    from transferkit.report.page import FOLDER as REPORT

    sheets = (REPORT / "page.css", FOLDER / "page.css")
    return Response("\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets), media_type="text/css")


def _script(_: Request) -> Response:
    return FileResponse(FOLDER / "page.js", media_type="text/javascript")


def _health(service: Service) -> Response:
    if service.worker.is_alive:
        return PlainTextResponse("ok\n")
    return PlainTextResponse("the model's thread has ended\n", 503)


def _openapi(service: Service) -> Response:
    return JSONResponse(openapi(bool(service.settings.token), len(service.about.class_names)))


def _metrics(service: Service) -> Response:
    return Response(service.meters.text(service.waiting.count), media_type=MEDIA_TYPE)


async def _no_such(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": f"{error.detail}. See /openapi.json."}, error.status_code, error.headers)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response


def _predict(service: Service) -> Callable[[Request], object]:
    limits = service.settings.limits

    async def predict(request: Request) -> Response:
        top, explain = _asked(request, service)
        with service.waiting.taken(1):
            uploads = await received(request, limits)
            try:
                with service.waiting.taken(len(uploads) - 1):
                    answers = await _answers(service, uploads, top, explain)
            finally:
                for upload in uploads:
                    upload.file.close()
        status = 422 if all(answer.error for answer in answers) else 200
        return JSONResponse(asdict(Answers(tuple(answers))), status)

    return predict


def _asked(request: Request, service: Service) -> tuple[int, bool]:
    """How many classes, and whether to explain.

    Raises:
        Refusal: 400.
    """
    if unknown := sorted(set(request.query_params) - set(KEYS)):
        raise Refusal(400, f"Unknown key {quoted(unknown[0])}. {did_you_mean(unknown[0], KEYS)}")
    classes = len(service.about.class_names)
    top = request.query_params.get("top", str(min(3, classes)))
    if not (top.isascii() and top.isdecimal() and len(top) < 7 and 1 <= int(top) <= classes):
        raise Refusal(400, f"top is no number from 1 to {classes}.")
    explain = YES.get(request.query_params.get("explain", "false").lower())
    if explain is None:
        raise Refusal(400, "explain is neither true nor false.")
    if explain and not service.about.explains:
        raise Refusal(400, "This server gives no explanations (--no-explain).")
    return int(top), explain


async def _answers(service: Service, uploads: Sequence[Upload], top: int, explain: bool) -> list[ImageAnswer]:
    try:
        async with asyncio.timeout(service.settings.limits.seconds):
            return await asyncio.gather(*(_answer(service, upload, top, explain) for upload in uploads))
    except TimeoutError:
        raise overloaded("The images were not answered in time. Try again.") from None


async def _answer(service: Service, upload: Upload, top: int, explain: bool) -> ImageAnswer:
    loop = asyncio.get_running_loop()
    try:
        pixels = await loop.run_in_executor(service.reader.threads, service.reader.decoded, upload.file)
        verdict = await asyncio.wrap_future(service.worker.submit(pixels, explain=explain))
    except (UnreadableImage, NoNumber) as error:
        service.meters.image("unreadable")
        return ImageAnswer(upload.name, "", None, None, None, (), None, str(error))
    service.meters.image("unknown" if verdict.prediction.unknown else "answered")
    return _as_document(upload.name, verdict, top)


def _as_document(name: str, verdict: ExplainedPrediction, top: int) -> ImageAnswer:
    entry = row(Answer(name, verdict.prediction), top)
    return ImageAnswer(
        path=name,
        answer=entry.answer,
        probability=entry.probability,
        unknown=entry.unknown,
        unusual_percent=entry.unusual_percent,
        top=tuple(LikelyClass({"class": likely, "probability": share}) for likely, share in entry.top),
        candidates=verdict.prediction.candidates,
        error="",
        explanation=verdict.explanation,
    )
