"""What a message says of a path that does not exist."""

from __future__ import annotations

from pathlib import Path

from transferkit.runtime.missing_paths import missing_in_words


def test_a_name_that_is_alike_is_offered(tmp_path: Path) -> None:
    for name in ("photo1.png", "notes.txt"):
        (tmp_path / name).touch()

    assert missing_in_words(tmp_path / "foto1.png") == (
        f"{tmp_path / 'foto1.png'} does not exist. Did you mean {tmp_path / 'photo1.png'}?"
    )
    assert missing_in_words(tmp_path / "xyz") == f"{tmp_path / 'xyz'} does not exist."


def test_the_first_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pets" / "cats" / "1.jpg"

    assert missing_in_words(path) == f"{path} does not exist; there is no folder {tmp_path / 'pets'}."


def test_a_name_longer_than_a_disk_allows_does_not_exist() -> None:
    assert missing_in_words(Path("a" * 5000)).endswith(" does not exist.")
