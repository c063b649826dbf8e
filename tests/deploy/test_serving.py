"""A run behind HTTP: what it answers, what it refuses, and who may ask."""

from __future__ import annotations

import asyncio
import io
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import hostile_images
import httpx
import numpy as np
import pytest
from command_line import heeding_ctrl_c
from live_server import live
from PIL import Image
from predicting_runs import predicting_run
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from transferkit.cli.app import main
from transferkit.data.reading import Reading
from transferkit.deploy.prediction import Model, load
from transferkit.deploy.serving import reading, uploads
from transferkit.deploy.serving.application import OPEN, Service, application
from transferkit.deploy.serving.documents import Answers, ServedRun
from transferkit.deploy.serving.meters import Meters
from transferkit.deploy.serving.server import listening
from transferkit.deploy.serving.service import service_of
from transferkit.deploy.serving.settings import Limits, ServeSettings
from transferkit.deploy.serving.worker import Worker
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError

HOSTILE = "<img src=x onerror=alert(1)>"
TOKEN = "a-token-of-25-characters"
OWN = {"base_url": "http://127.0.0.1:8000"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(predicting_run(tmp_path_factory.mktemp("runs") / "run", (HOSTILE, "dog", "ship")))


@pytest.fixture(scope="module")
def model(run: Run) -> Model:
    return load(run, device="cpu")


Made = Callable[..., tuple[TestClient, Service, list[str]]]


@pytest.fixture
def made(run: Run, model: Model) -> Iterator[Made]:
    """A client of a server with these settings, the server, and its log."""
    clients: list[TestClient] = []

    def make(**settings: Any) -> tuple[TestClient, Service, list[str]]:
        log: list[str] = []
        service = service_of(run, model, ServeSettings(**settings))
        client = TestClient(application(service, log.append), client=("127.0.0.1", 5), **OWN)  # type: ignore[arg-type]
        clients.append(client.__enter__())
        return client, service, log

    yield make
    for client in clients:
        client.__exit__()


def picture(seed: int = 0, side: int = 9, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def form(*contents: bytes, name: str = "a.png") -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (name, content)) for content in contents]


def test_answers_are_those_of_predict(made: Made, model: Model) -> None:
    client, _, _ = made()
    contents = [picture(seed) for seed in range(3)]

    response = client.post("/predict?top=2", files=form(*contents))

    expected = model.predict([Image.open(io.BytesIO(content)) for content in contents])
    answers = response.json()["answers"]
    assert response.status_code == 200
    assert [answer["top"][0]["class"] for answer in answers] == [prediction.name for prediction in expected]
    assert [answer["unusual_percent"] for answer in answers] == [prediction.percentile for prediction in expected]
    assert [answer["answer"] == "unknown" for answer in answers] == [prediction.unknown for prediction in expected]
    assert [len(answer["top"]) for answer in answers] == [2, 2, 2]


def test_an_image_may_be_the_body(made: Made) -> None:
    client, _, _ = made()

    alone = client.post("/predict", content=picture(), headers={"content-type": "image/png"}).json()["answers"]

    in_form = client.post("/predict", files=form(picture(), name="image 1")).json()["answers"]
    assert alone == in_form


def test_an_unreadable_file_costs_only_its_own_answer(made: Made) -> None:
    client, _, _ = made()

    mixed = client.post("/predict", files=form(picture(), b"no image"))
    alone = client.post("/predict", files=form(b"no image"))

    first, second = mixed.json()["answers"]
    assert (mixed.status_code, first["error"], second["answer"]) == (200, "", "")
    assert second["error"].startswith("not an image, or damaged")
    assert alone.status_code == 422


def test_no_damaged_file_is_a_fault_of_the_server(made: Made) -> None:
    client, _, log = made()

    statuses = {client.post("/predict", files=form(content)).status_code for content in hostile_images.images(3, 60)}

    assert statuses == {200, 422}
    assert not [line for line in log if "fault" in line]


def test_a_bomb_is_refused_by_its_header(made: Made) -> None:
    client, _, _ = made(limits=Limits(megapixels=0.0001))

    answers = client.post("/predict", files=form(picture(side=10), picture(side=11))).json()["answers"]

    assert [answer["error"] for answer in answers] == ["", "more than 100 pixels; shrink it"]


def test_large_images_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = [0], [0]

    def slow(*_: object) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        threading.Event().wait(0.02)
        inside[0] -= 1

    monkeypatch.setattr(reading, "LARGE", 80)
    monkeypatch.setattr(reading, "decode", slow)
    reader = reading.ImageReader(8, Reading(), 1000)
    threads = [threading.Thread(target=reader.decoded, args=(io.BytesIO(picture()),)) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1]


@pytest.mark.parametrize(
    ("limits", "contents", "status", "words"),
    [
        (Limits(megabytes=0.001), [bytes(2000)], 413, "More than 1,000 bytes; send fewer or smaller images."),
        (Limits(images=1), [b"a", b"b"], 413, "More than 1 image in one request; send several."),
        (Limits(waiting=1), [b"a", b"b"], 503, "Too many images are waiting. Try again."),
    ],
)
def test_a_request_above_the_limits_is_told_so(
    made: Made, limits: Limits, contents: list[bytes], status: int, words: str
) -> None:
    client, service, _ = made(limits=limits)

    response = client.post("/predict", files=form(*contents))

    assert (response.status_code, response.json()) == (status, {"error": words})
    assert service.waiting.count == 0


def test_a_body_without_a_length_is_kept_no_further_than_the_limit(made: Made) -> None:
    client, _, _ = made(limits=Limits(megabytes=0.001))
    sent = [0]

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            sent[0] += 1
            yield bytes(500)

    response = client.post("/predict", content=endless(), headers={"content-type": "image/png"})

    assert response.status_code == 413


@pytest.mark.parametrize("has_length", [True, False])
def test_whoever_sends_too_much_can_read_the_refusal(run: Run, model: Model, has_length: bool) -> None:
    body = bytes(8_000_000)  # more than the system's buffers take, so that an early end would break the connection
    content = body if has_length else iter([body[:1_000_000]] * 8)

    with live(run, model, ServeSettings(limits=Limits(megabytes=0.001))) as address:
        response = httpx.post(f"{address}predict", content=content, headers={"content-type": "image/png"}, timeout=60)

    assert (response.status_code, response.headers["connection"]) == (413, "close")
    assert response.json() == {"error": "More than 1,000 bytes; send fewer or smaller images."}


def test_a_body_that_is_refused_is_taken_to_its_end(run: Run, model: Model) -> None:
    head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 16000000\r\n\r\n"

    with live(run, model, ServeSettings(limits=Limits(megabytes=0.001))) as address:
        place = httpx.URL(address)
        with socket.create_connection((place.host, place.port or 80), timeout=60) as client:
            client.sendall(head.encode())
            for _ in range(16):
                client.sendall(bytes(1_000_000))  # fails on a connection that the server has ended
            answer = client.recv(1_000)

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_refused_body_is_discarded_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "DISCARDED_BYTES", 1_000)
    sent = [0]

    async def endless() -> AsyncGenerator[bytes, None]:
        while True:
            sent[0] += 1
            yield bytes(500)

    asyncio.run(uploads._discard(endless()))

    assert sent == [3]


@pytest.mark.parametrize(
    ("address", "options", "status", "words"),
    [
        ("/predict?top=0", {"files": form(b"a")}, 400, "top is no number from 1 to 3."),
        ("/predict?explain=perhaps", {"files": form(b"a")}, 400, "explain is neither true nor false."),
        (
            "/predict?tpo=2",
            {"files": form(b"a")},
            400,
            "Unknown key 'tpo'. Did you mean 'top'? Available: explain, top.",
        ),
        ("/predict", {"data": {"images": "text"}}, 415, "Expected a form with files"),
        ("/predict", {"content": b"a", "headers": {"content-type": "multipart/form-data"}}, 400, "The form cannot be"),
        ("/nothing", {}, 404, "Not Found. See /openapi.json."),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    made: Made, address: str, options: dict[str, Any], status: int, words: str
) -> None:
    client, _, _ = made()

    response = client.post(address, **options)

    assert response.status_code == status
    assert response.json()["error"].startswith(words)


def test_overload_says_when_to_come_again(made: Made) -> None:
    client, service, _ = made(limits=Limits(waiting=1))

    with service.waiting.taken(1):
        response = client.post("/predict", files=form(picture()))

    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


def test_a_queue_full_of_requests_sends_the_next_away_and_answers_the_others(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, service, _ = made(limits=Limits(waiting=3))
    release, resolve = threading.Event(), service.worker._resolve
    monkeypatch.setattr(service.worker, "_resolve", lambda batch: release.wait(30) and resolve(batch))

    with ThreadPoolExecutor(3) as senders:
        waiting = [senders.submit(client.post, "/predict", files=form(picture(seed))) for seed in range(3)]
        while service.waiting.count < 3 and not any(answer.done() for answer in waiting):
            time.sleep(0.01)
        refused = client.post("/predict", files=form(picture(3)))
        release.set()
        answered = [answer.result(30).status_code for answer in waiting]

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert answered == [200, 200, 200]
    assert client.post("/predict", files=form(picture(3))).status_code == 200


def test_what_is_not_answered_in_time_may_come_again(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    client, service, _ = made(limits=Limits(seconds=0.1))
    release = threading.Event()
    monkeypatch.setattr(service.worker, "_resolve", lambda _: release.wait(5))

    response = client.post("/predict", files=form(picture()))

    release.set()
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


def test_images_that_come_together_share_a_forward_pass(model: Model) -> None:
    meters = Meters()
    worker = Worker(model, 0.95, None, meters)
    verdicts = [worker.submit(np.full((3, 8, 8), level, np.uint8)) for level in range(5)]

    worker.start()
    worker.stop()

    assert len({verdict.result(5).prediction.score for verdict in verdicts}) == 5
    assert "transferkit_batches_total 1\n" in meters.text(0)
    assert "transferkit_batched_images_total 5\n" in meters.text(0)


def test_a_fault_ends_its_requests_and_no_others(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    _, service, log = made()
    client = TestClient(application(service, log.append), raise_server_exceptions=False, **OWN)  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr(service.worker, "_resolve", lambda _: 1 / 0)
        broken = client.post("/predict", files=form(picture()))

    after = client.post("/predict", files=form(picture()))

    assert (broken.status_code, after.status_code) == (500, 200)
    assert broken.json() == {"error": "A fault of the server; its log says more."}
    assert "fault: ZeroDivisionError: division by zero" in log


def test_an_explanation_names_training_images_and_shows_where_it_looked(made: Made) -> None:
    client, _, _ = made()

    (answer,) = client.post("/predict?explain=true", files=form(picture())).json()["answers"]

    explanation = answer["explanation"]
    similarities = [neighbour["similarity"] for neighbour in explanation["neighbours"]]
    assert len(similarities) == 3
    assert similarities == sorted(similarities, reverse=True)
    assert explanation["picture"].startswith("data:image/")
    assert explanation["looked_at"].startswith("data:image/") or explanation["no_map_because"]


def test_explanations_can_be_refused(made: Made) -> None:
    client, _, _ = made(explains=False)

    response = client.post("/predict?explain=true", files=form(picture()))

    assert response.status_code == 400


def test_answers_are_what_the_schema_says(made: Made) -> None:
    client, _, _ = made()
    content = client.post("/predict?explain=true", files=form(picture(), b"no image")).content

    schema = client.get("/openapi.json").json()

    assert schema["openapi"] == "3.1.0"
    assert set(schema["paths"]) == {"/predict", "/about", "/metrics", "/health"}
    assert set(TypeAdapter(Answers).validate_json(content, strict=True).answers[0].__dict__) == set(
        schema["components"]["schemas"]["ImageAnswer"]["properties"]
    )
    about = TypeAdapter(ServedRun).validate_json(client.get("/about").content, strict=True)
    assert re.search(r" of [\d,]+ test images right \(95 % interval: \d+\.\d to \d+\.\d\)\.$", about.headline)
    references = set(re.findall(r"#/components/schemas/(\w+)", str(schema)))
    assert references == set(schema["components"]["schemas"])


def test_metrics_count_requests_images_and_batches(made: Made) -> None:
    client, _, _ = made()
    client.get("/health")
    client.post("/predict", files=form(picture(), b"no image"))

    lines = client.get("/metrics").text.splitlines()

    assert 'transferkit_requests_total{path="/predict",status="200"} 1' in lines
    assert 'transferkit_images_total{outcome="unreadable"} 1' in lines
    assert 'transferkit_predict_seconds_bucket{le="+Inf"} 1' in lines
    assert "transferkit_images_waiting 0" in lines
    assert all(line.startswith("#") or re.fullmatch(r"\w+(\{[^}]*\})? [\d.]+", line) for line in lines)


def test_health_tells_when_nobody_answers(made: Made) -> None:
    client, service, _ = made()
    before = client.get("/health").status_code

    service.worker.stop()

    assert (before, client.get("/health").status_code) == (200, 503)


@pytest.mark.parametrize("path", OPEN)
def test_a_token_guards_whatever_tells_of_the_run(made: Made, path: str) -> None:
    client, _, _ = made(token=TOKEN)
    method = "POST" if path == "/predict" else "GET"
    options: dict[str, Any] = {"files": form(picture())} if path == "/predict" else {}

    statuses = [
        client.request(method, path, headers=headers, **options).status_code
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {TOKEN}"})
    ]

    assert statuses == ([200] * 3 if OPEN[path] else [401, 401, 200])
    assert OPEN[path] == (path in {"/", "/page.css", "/page.js", "/health", "/openapi.json"})


def test_no_token_file_name_or_query_is_in_the_log(made: Made) -> None:
    client, service, log = made(token=TOKEN)

    for path in ("/about", f"/about?token={TOKEN}", f"/{TOKEN}", "/predict"):
        for headers in ({"authorization": f"Bearer {TOKEN}"}, {"authorization": f"bearer {TOKEN}x"}):
            client.post(path, headers=headers, files=form(picture(), name="secret.png"))

    assert len(log) == 8
    assert not [line for line in log if TOKEN in line or "secret" in line]
    assert TOKEN not in repr(service.settings)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"host": "attacker.example"}, 400),  # its name may point to 127.0.0.1
        ("GET", {"host": "localhost:8000"}, 200),
        ("GET", {"host": "[::1]:8000"}, 200),
        ("POST", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", {"sec-fetch-site": "same-origin"}, 405),
    ],
)
def test_pages_of_others_cannot_ask_through_a_browser(
    made: Made, method: str, headers: dict[str, str], status: int
) -> None:
    client, _, _ = made()

    assert client.request(method, "/about", headers=headers).status_code == status


def test_the_page_holds_nothing_of_the_run_and_runs_no_other_script(made: Made) -> None:
    client, _, _ = made()

    page = client.get("/")

    assert HOSTILE not in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "<script>" not in page.text
    assert "innerHTML" not in client.get("/page.js").text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ServeSettings(host="0.0.0.0"), "--host 0.0.0.0 is open to other machines, and there is no token."),
        (ServeSettings(host="example.org"), "--host example.org is open to other machines"),
        (ServeSettings(token="short"), "The token is too short"),
        (ServeSettings(token="with a space in the middle"), "The token is too short, or not of plain letters"),
    ],
)
def test_a_server_open_to_others_needs_a_good_token(settings: ServeSettings, words: str) -> None:
    with pytest.raises(TransferkitError, match=re.escape(words)) as refused:
        settings.require_guarded()

    assert "TRANSFERKIT_TOKEN" in str(refused.value)
    replace(settings, token=TOKEN).require_guarded()


def test_a_port_in_use_is_one_message(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        monkeypatch.setattr(sys, "argv", ["transferkit", "serve", str(run.path), "--port", port])

        with pytest.raises(SystemExit) as ended:
            main()

    assert ended.value.code == 2
    assert f"error: Port {port} of 127.0.0.1 is in use. Choose another with --port" in capsys.readouterr().err


def test_connections_send_the_body_of_an_answer_without_waiting_for_the_receipt_of_its_head() -> None:
    with listening("127.0.0.1", 0) as door, socket.create_connection(door.getsockname()):
        accepted, _ = door.accept()

        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"--host 192\.0\.2\.1 is no address of this machine"):
        listening("192.0.2.1", 0)  # RFC 5737: of documentation alone


def test_a_run_of_other_bands_than_red_green_and_blue_is_refused(run: Run, model: Model) -> None:
    with pytest.raises(TransferkitError, match=r"have 4 bands, .* Use transferkit predict\."):
        service_of(run, replace(model, reading=Reading(channels=4)), ServeSettings())


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_stopped_server_ends_in_peace(run: Run, sign: signal.Signals, code: int) -> None:
    server = heeding_ctrl_c(["serve", str(run.path), "--port", "0"], run.path.parent)
    assert server.stderr is not None
    while "Serving" not in (line := server.stderr.readline()):
        assert line

    server.send_signal(sign)

    assert server.wait(30) == code
    assert "Traceback" not in server.stderr.read()


def test_a_missing_token_file_is_told(tmp_path: Path) -> None:
    from transferkit.cli.serve import token_of

    (tmp_path / "empty").write_text("\n")

    with pytest.raises(TransferkitError, match=r"is empty\. Write a token of at least 16 characters"):
        token_of(tmp_path / "empty")
    with pytest.raises(TransferkitError, match=r"Cannot read --token-file .*nowhere: No such file"):
        token_of(tmp_path / "nowhere")
