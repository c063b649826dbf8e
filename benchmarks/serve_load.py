"""1,000 requests at 100 at once, against `transferkit serve` and against torchvision in a bare starlette app.

    python benchmarks/serve_load.py RUN [--requests 1000] [--at-once 100] [--turns 3]

First turns of clean photographs (500x375 JPEG), the two servers in turn; then one turn of `transferkit serve` alone,
with bombs, broken files and bodies that are too large. Prints requests per second, the median and the 99th
percentile of the seconds that a request takes, statuses, and the peak of the server's memory. The bare app is what one
writes in ten lines: torchvision's network of the same name with random weights, fp32, one forward pass per request in
starlette's threads, the run's size. RUN is a run of a torchvision network.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import re
import statistics
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

PHOTOS = 50  # different ones
BARE = """
import io, sys, torch, torchvision, uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from torchvision.transforms import v2
name, classes, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
network = torchvision.models.get_model(name, num_classes=classes).eval()
prepare = v2.Compose([v2.ToImage(), v2.Resize((size, size), antialias=True), v2.ToDtype(torch.float32, scale=True),
                      v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
def answer(content):
    image = Image.open(io.BytesIO(content)).convert("RGB")
    with torch.inference_mode():
        return network(prepare(image)[None]).softmax(1)[0].tolist()
async def predict(request):
    from starlette.concurrency import run_in_threadpool
    form = await request.form()
    return JSONResponse({"probabilities": await run_in_threadpool(answer, await form["images"].read())})
class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("http://127.0.0.1:%d/" % self.servers[0].sockets[0].getsockname()[1], file=sys.stderr, flush=True)
app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
Server(uvicorn.Config(app, port=0, log_level="critical")).run()
"""


@dataclass(frozen=True)
class Turn:
    """What a turn of requests gave; seconds of each request that was answered."""

    seconds: tuple[float, ...]
    wall_seconds: float
    statuses: Counter[int]
    without_retry_after: int

    @property
    def per_second(self) -> float:
        """Requests that were carried out."""
        return len(self.seconds) / self.wall_seconds

    def percentile(self, share: float) -> float:
        """Of the seconds, by rank."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(share * len(self.seconds)))]


def photographs() -> list[bytes]:
    """Smooth random pictures as JPEG: about as many bytes as photographs have."""
    generator = np.random.default_rng(0)
    files = []
    for _ in range(PHOTOS):
        coarse = Image.fromarray(generator.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
        files.append(file.getvalue())
    return files


def hostile(photos: Sequence[bytes], total: int) -> list[bytes]:
    """Seven of ten are photographs; the others cut, noise, bombs of several kinds, large pictures, too large bodies."""
    draw = random.Random(0)
    large = io.BytesIO()
    Image.new("RGBA", (5000, 5000), (9, 99, 199, 128)).save(large, "PNG")  # 25 megapixels: allowed, and costly
    others = (
        lambda: draw.choice(photos)[: draw.randrange(10, 5000)],
        lambda: draw.randbytes(5000),
        lambda: b"",
        lambda: bomb(30_000, 30_000),
        lambda: bomb(5_000, 5_000),
        lambda: large.getvalue(),
        lambda: bytes(21_000_000),
    )
    weights = (30, 30, 10, 15, 10, 3, 2)
    return [draw.choice(photos) if draw.random() < 0.7 else draw.choices(others, weights)[0]() for _ in range(total)]


def bomb(width: int, height: int) -> bytes:
    """A PNG of so many black pixels, in a few kilobytes; its data are cut off."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(3_000_000))) + chunk(b"IEND", b"")


async def send(address: str, contents: Sequence[bytes], at_once: int) -> Turn:
    """Post each content as a file, so many at once; 503 is counted and not sent again.

    Each sender has a client, so a connection, of its own: a pool that a hundred senders share looks through all of its
    connections for every request, which takes more of the processor than the servers leave.
    """
    statuses, seconds, lacking = Counter[int](), list[float](), [0]
    queue = list(reversed(contents))

    async def sender(client: httpx.AsyncClient) -> None:
        while queue:
            content = queue.pop()
            started = time.perf_counter()
            try:
                response = await client.post(address + "predict", files={"images": ("a.jpg", content)})
            except httpx.HTTPError:  # the server closed while a body that is too large was being sent
                statuses[0] += 1
                continue
            statuses[response.status_code] += 1
            lacking[0] += response.status_code == 503 and "retry-after" not in response.headers
            if response.status_code != 503:
                seconds.append(time.perf_counter() - started)

    async with AsyncExitStack() as open_clients:
        clients = [
            await open_clients.enter_async_context(httpx.AsyncClient(timeout=120, trust_env=False, verify=False))
            for _ in range(at_once)
        ]
        begun = time.perf_counter()
        await asyncio.gather(*map(sender, clients))
        wall_seconds = time.perf_counter() - begun
    return Turn(tuple(seconds), wall_seconds, statuses, lacking[0])


@contextmanager
def server(*command: str) -> Iterator[tuple[str, int]]:
    """A running server: its address and process number."""
    process = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        address = None
        while address is None:
            if not (line := process.stderr.readline()):
                raise SystemExit(f"{command} did not start")
            address = re.search(r"http://\S+/", line)
        drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        yield address[0], process.pid
    finally:
        process.terminate()
        process.wait(60)
        drain.wait(10)


def peak_megabytes(pid: int) -> float:
    """The most memory a process has held."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1000


def described(name: str, turn: Turn, pid: int) -> str:
    """A line of the table."""
    statuses = ", ".join(f"{count} x {status or 'closed'}" for status, count in sorted(turn.statuses.items()))
    lacking = f", {turn.without_retry_after} without Retry-After" if turn.without_retry_after else ""
    return (
        f"| {name} | {turn.per_second:.0f} | {turn.percentile(0.5):.3f} | {turn.percentile(0.99):.3f} | "
        f"{statuses}{lacking} | {peak_megabytes(pid):.0f} |"
    )


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    """Measure, and print a table in Markdown."""
    arguments = parsed()
    from transferkit.runs.run_directory import open_run

    run = open_run(arguments.run)
    bare = (run.recipe.backbone.name, str(len(run.model.class_names)), str(run.model.input.size))
    photos = photographs()
    clean = [photos[number % PHOTOS] for number in range(arguments.requests)]
    ratios = []
    print("| server | requests/s | median, s | p99, s | statuses | peak memory, MB |\n|---|---|---|---|---|---|")
    ours = ("-m", "transferkit", "serve", str(arguments.run), "--port", "0")
    with server(*ours) as (address, pid), server("-c", BARE, *bare) as (bare_address, bare_pid):
        for place in (address, bare_address):  # what is paid once
            asyncio.run(send(place, clean[:50], 10))
        for _ in range(arguments.turns):
            turn = asyncio.run(send(address, clean, arguments.at_once))
            print(described("transferkit, clean", turn, pid), flush=True)
            bare_turn = asyncio.run(send(bare_address, clean, arguments.at_once))
            print(described("torchvision eager, clean", bare_turn, bare_pid), flush=True)
            ratios.append(turn.per_second / bare_turn.per_second)
    with server(*ours) as (address, pid):
        turn = asyncio.run(send(address, hostile(photos, arguments.requests), arguments.at_once))
        print(described("transferkit, hostile", turn, pid))
    print(f"Ratio of requests/s, turns interleaved: median {statistics.median(ratios):.2f}, {ratios}")


if __name__ == "__main__":
    main()
