"""Downloads against a server on loopback that can cut connections, and archives that try to escape."""

from __future__ import annotations

import hashlib
import http.server
import io
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from transferkit.runtime import download
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.download import fetch, unpack
from transferkit.runtime.errors import MachineError, TransferkitError

CONTENT = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT in several moods, chosen by the path."""

    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Range")))  # type: ignore[attr-defined]
        if self.path == "/missing":
            self.send_error(404)
        elif self.path == "/held":
            self.server.gate.asked.set()  # type: ignore[attr-defined]
            self.server.gate.open.wait(10)  # type: ignore[attr-defined]
            self._send(*self._asked())
        elif self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/file")
            self.end_headers()
        else:
            self._send(*self._asked())

    def _asked(self) -> tuple[int, bytes]:
        wanted = self.headers.get("Range")
        if self.path == "/wrong":
            return 0, CONTENT[::-1]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.path != "/no-range" else 0
        return start, CONTENT[start:]

    def _send(self, start: int, body: bytes) -> None:
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        is_cut = self.path == "/cut" or (self.path == "/cut-once" and not start)
        self.wfile.write(body[: len(body) // 2] if is_cut else body)

    def log_message(self, *_: Any) -> None:
        pass


class Gate:
    """Holds the answer to `/held` back until it is opened."""

    def __init__(self) -> None:
        self.asked, self.open = threading.Event(), threading.Event()


class QuietServer(http.server.ThreadingHTTPServer):
    """Says nothing of clients that hang up."""

    def handle_error(self, *_: Any) -> None:
        pass


class Server:
    """The server's address and the requests that it saw."""

    def __init__(self, server: http.server.ThreadingHTTPServer) -> None:
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        self.seen: list[tuple[str, str | None]] = server.seen  # type: ignore[attr-defined]
        self.gate: Gate = server.gate  # type: ignore[attr-defined]


@pytest.fixture
def server() -> Iterator[Server]:
    running = QuietServer(("127.0.0.1", 0), Handler)
    running.seen = []  # type: ignore[attr-defined]
    running.gate = Gate()  # type: ignore[attr-defined]
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Server(running)
    running.shutdown()
    thread.join()
    running.server_close()


def get(to: Path, *urls: str, sha256: str | None = SHA256, console: Console = SILENT, **options: Any) -> Path:
    return fetch(urls, to, sha256=sha256, title="the file", console=console, **options)


def test_a_file_is_downloaded_verified_and_put_in_place(server: Server, tmp_path: Path) -> None:
    path = get(tmp_path / "new" / "file.bin", f"{server.address}/file")

    assert path.read_bytes() == CONTENT
    assert [child.name for child in path.parent.iterdir()] == ["file.bin"]


def test_a_file_that_is_there_is_verified_and_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(CONTENT)

    get(tmp_path / "file.bin", f"{server.address}/file")

    assert server.seen == []


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_two_downloads_of_one_file_become_one(server: Server, tmp_path: Path, sha256: str | None) -> None:
    gate = server.gate
    waiting = io.StringIO()
    first = threading.Thread(
        target=get, args=(tmp_path / "file.bin", f"{server.address}/held"), kwargs={"sha256": sha256}
    )
    second = threading.Thread(
        target=get,
        args=(tmp_path / "file.bin", f"{server.address}/held"),
        kwargs={"sha256": sha256, "console": Console(stream=waiting)},
    )

    first.start()
    gate.asked.wait(10)
    second.start()
    wait_for(lambda: "Another process is downloading the file; waiting for it." in waiting.getvalue())
    gate.open.set()
    first.join(10)
    second.join(10)

    assert server.seen == [("/held", None)]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_what_a_killed_download_left_does_not_lock_the_next_one(server: Server, tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom transferkit.runtime import download, console\n"
        "with download._alone(Path(sys.argv[1]), 'it', console.SILENT):\n    os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "file.bin"
    killed = subprocess.run([sys.executable, "-c", script, str(path)], check=False)

    get(path, f"{server.address}/file")

    assert killed.returncode == -9
    assert path.read_bytes() == CONTENT


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Return when the condition holds; fail where it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_file_put_there_by_hand_that_is_another_one_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(b"half")

    with pytest.raises(TransferkitError, match=r"another file than expected, or incomplete.*Delete it"):
        get(tmp_path / "file.bin", "http://127.0.0.1:9/file")
    assert (tmp_path / "file.bin").read_bytes() == b"half"


def test_a_cut_connection_is_resumed_where_it_broke(server: Server, tmp_path: Path) -> None:
    path = get(tmp_path / "file.bin", f"{server.address}/cut-once")

    assert path.read_bytes() == CONTENT
    assert server.seen == [("/cut-once", None), ("/cut-once", f"bytes={len(CONTENT) // 2}-")]


def test_a_part_of_an_earlier_call_is_completed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])

    assert get(tmp_path / "file.bin", f"{server.address}/file").read_bytes() == CONTENT
    assert server.seen == [("/file", "bytes=1000-")]


def test_the_first_digits_of_a_hash_are_enough_to_resume_and_to_verify(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])

    assert get(tmp_path / "file.bin", f"{server.address}/file", sha256=SHA256[:8]).read_bytes() == CONTENT
    assert server.seen == [("/file", "bytes=1000-")]
    with pytest.raises(MachineError, match=rf"came with SHA256 \w+, expected {SHA256[:8]}; it was deleted"):
        get(tmp_path / "other.bin", f"{server.address}/wrong", sha256=SHA256[:8])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.bin"]


def test_a_part_that_is_complete_already_is_verified_and_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)

    assert get(tmp_path / "file.bin", f"{server.address}/file").read_bytes() == CONTENT


def test_a_part_of_another_file_is_thrown_away_and_the_download_begins_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)

    assert get(tmp_path / "file.bin", f"{server.address}/file").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.seen] == ["bytes=1000-", None]


def test_without_a_checksum_nothing_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)

    assert get(tmp_path / "file.bin", f"{server.address}/file", sha256=None).read_bytes() == CONTENT
    assert server.seen == [("/file", None)]


def test_a_server_that_ignores_the_range_sends_the_whole_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])

    assert get(tmp_path / "file.bin", f"{server.address}/no-range").read_bytes() == CONTENT


def test_a_wrong_file_is_deleted_and_the_error_says_so(server: Server, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=rf"came with SHA256 \w+, expected {SHA256}; it was deleted"):
        get(tmp_path / "file.bin", f"{server.address}/wrong")
    assert list(tmp_path.iterdir()) == []


def test_md5_serves_where_no_other_checksum_is_published(server: Server, tmp_path: Path) -> None:
    fetch([f"{server.address}/file"], tmp_path / "a", md5=MD5, title="the file", console=SILENT)

    with pytest.raises(MachineError, match="came with MD5"):
        fetch([f"{server.address}/wrong"], tmp_path / "b", md5=MD5, title="the file", console=SILENT)


def test_mirrors_are_tried_in_order_and_each_failure_is_printed(server: Server, tmp_path: Path) -> None:
    printed = io.StringIO()
    urls = [f"{server.address}{path}" for path in ("/missing", "/wrong", "/file")]

    assert get(tmp_path / "file.bin", *urls, console=Console(stream=printed)).read_bytes() == CONTENT
    assert "/missing: the server answered 404" in printed.getvalue()
    assert "/wrong: the file came with SHA256" in printed.getvalue()


def test_the_failure_of_the_last_address_is_told_by_the_error_alone(server: Server, tmp_path: Path) -> None:
    printed = io.StringIO()

    with pytest.raises(MachineError, match="/missing: the server answered 404"):
        get(tmp_path / "file.bin", f"{server.address}/missing", console=Console(stream=printed))
    assert "404" not in printed.getvalue()


def test_a_part_is_kept_when_connections_break_for_good(server: Server, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="the connection was cut again and again"):
        get(tmp_path / "file.bin", f"{server.address}/cut")
    assert CONTENT.startswith((tmp_path / "file.bin.part").read_bytes())
    assert (tmp_path / "file.bin.part").stat().st_size > len(CONTENT) / 2


def test_a_slow_mirror_makes_way_and_the_last_one_may_be_slow(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SLOW_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(download, "SLOW_BYTES_PER_SECOND", 1e12)
    printed = io.StringIO()

    get(tmp_path / "file.bin", f"{server.address}/a", f"{server.address}/b", console=Console(stream=printed))

    assert "kB/s), so the next mirror is tried" in printed.getvalue()
    assert server.seen[1][0] == "/b"
    assert server.seen[1][1] is not None  # it goes on with the part


def test_without_a_network_the_error_says_what_where_and_what_works(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as caught:
        get(tmp_path / "file.bin", "http://127.0.0.1:9/file.bin", offline="Offline, --data digits works.")

    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert "Could not download the file (file.bin):\n  http://127.0.0.1:9/file.bin: " in message
    assert f"Put file.bin by hand at {tmp_path / 'file.bin'} (SHA256 {SHA256})" in message
    assert message.endswith("Offline, --data digits works.")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/file", "/etc/hostname"])
def test_other_addresses_than_http_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"Expected an address that begins with https:// or http://"):
        get(tmp_path / "file.bin", url)


def test_a_redirect_away_from_http_is_not_followed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="elsewhere: "):
        get(tmp_path / "file.bin", f"{server.address}/elsewhere")


def test_too_little_space_is_told_before_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 1000))

    with pytest.raises(MachineError, match=r"0 MB free; 1 MB are needed.*TRANSFERKIT_CACHE"):
        get(tmp_path / "file.bin", f"{server.address}/file")


# ------------------------------------------------------------------------------------------------ archives


def tar_of(path: Path, *members: tarfile.TarInfo, content: bytes = b"hello") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            member.size = len(content) if member.isfile() else 0
            tar.addfile(member, io.BytesIO(content))
    return path


def zip_of(path: Path, *names: str, content: bytes = b"hello") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(name, content)
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize(
    "make",
    [lambda path: tar_of(path, tarfile.TarInfo("a/b.txt")), lambda path: zip_of(path, "a/b.txt")],
    ids=["tar", "zip"],
)
def test_archives_are_unpacked_into_a_new_folder(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = unpack(make(tmp_path / "archive"), tmp_path / "out")

    assert (folder / "a" / "b.txt").read_text() == "hello"
    assert sorted(child.name for child in tmp_path.iterdir()) == ["archive", "out"]


@pytest.mark.parametrize(
    "make",
    [
        lambda path: tar_of(path, tarfile.TarInfo("good"), tarfile.TarInfo("../escaped")),
        lambda path: tar_of(path, link("door", ".."), tarfile.TarInfo("door/escaped")),
        lambda path: zip_of(path, "good", "../escaped"),
        lambda path: zip_of(path, "/escaped"),
        lambda path: zip_of(path, "C:\\escaped"),
    ],
    ids=["tar dots", "tar link", "zip dots", "zip root", "zip drive"],
)
def test_an_archive_that_reaches_outside_leaves_nothing(make: Callable[[Path], Path], tmp_path: Path) -> None:
    archive = make(tmp_path / "archive")

    with pytest.raises(TransferkitError, match=r"outside"):
        unpack(archive, tmp_path / "out")
    assert [child.name for child in tmp_path.iterdir()] == ["archive"]


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()

    unpack(tmp_path / "no archive at all", tmp_path / "out")

    assert (tmp_path / "out" / "mine").exists()


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "SMALL_ARCHIVE_BYTES", 1_000_000)
    archive = zip_of(tmp_path / "archive", "zeros", content=bytes(5_000_000))

    with pytest.raises(TransferkitError, match=r"its 0\.0 MB would become 5 MB"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("keep", [0, 40, 90], ids=["empty", "header only", "cut"])
def test_a_damaged_archive_is_named_with_the_next_step(keep: int, tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "archive", tarfile.TarInfo("a"), tarfile.TarInfo("b"))
    archive.write_bytes(archive.read_bytes()[:keep])

    with pytest.raises(TransferkitError, match=r"archive.* (neither a tar nor a zip|Delete it and run)"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
