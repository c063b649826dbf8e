"""The command that answers over HTTP. torch and the server are imported inside it only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.help_pages import RARE
from transferkit.cli.options import Device, FinishedRun
from transferkit.cli.terminal import working
from transferkit.runtime.errors import TransferkitError

STOPPED = "Stopped. Requests in work were answered."
RARELY = "Options" + RARE


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(serve)


def serve(
    run: FinishedRun,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own asks for a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="A file that holds the token. (default: the variable TRANSFERKIT_TOKEN)", show_default=False),
    ] = None,
    acceptance: Annotated[
        float, typer.Option(help="Share of familiar images that must not be rejected as unknown.", min=0.5, max=1.0)
    ] = 0.95,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain/--no-explain", help="Show training images alike, and the regions that supported the prediction."
        ),
    ] = True,
    max_megabytes: Annotated[
        float, typer.Option(help="Of one request.", min=0.01, max=1000, rich_help_panel=RARELY)
    ] = 20.0,
    max_megapixels: Annotated[
        float, typer.Option(help="Of one image.", min=0.01, max=89, rich_help_panel=RARELY)
    ] = 25.0,
    max_images: Annotated[int, typer.Option(help="Of one request.", min=1, max=1000, rich_help_panel=RARELY)] = 32,
    max_seconds: Annotated[
        float, typer.Option(help="To arrive, and to be answered.", min=0.1, max=3600, rich_help_panel=RARELY)
    ] = 30.0,
    max_waiting: Annotated[
        int,
        typer.Option(help="Images in work; above, 503 and Retry-After.", min=1, max=100_000, rich_help_panel=RARELY),
    ] = 256,
    device: Device = "auto",
) -> None:
    """Serve a run: a page to drop images on, and answers in JSON."""
    token = token_of(token_file)
    with working(STOPPED) as console:
        from transferkit.deploy.serving.server import serve as answer_requests
        from transferkit.deploy.serving.settings import Limits, ServeSettings

        limits = Limits(max_megabytes, max_megapixels, max_images, max_seconds, max_waiting)
        answer_requests(run, ServeSettings(host, port, token, acceptance, explain, limits), console, device)


def token_of(file: Path | None) -> str:
    """From a file, else from the environment; never from the command line, which everybody on a machine can read.

    Raises:
        TransferkitError: If the file cannot be read, or is empty.
    """
    if file is None:
        return os.environ.get("TRANSFERKIT_TOKEN", "").strip()
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TransferkitError(
            f"Cannot read --token-file {file}: {getattr(error, 'strerror', '') or error}."
        ) from error
    if not token:
        raise TransferkitError(f"--token-file {file} is empty. Write a token of at least 16 characters into it.")
    return token
