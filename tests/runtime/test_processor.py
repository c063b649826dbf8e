"""What the kernel says of a processor, and what follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from transferkit.executors.workers import environment_of
from transferkit.runtime import machine, processor
from transferkit.runtime.errors import TransferkitError

EPYC = ("AuthenticAMD", "AMD EPYC 9B14", "fma avx512f avx512_bf16")
XEON = ("GenuineIntel", "Intel(R) Xeon(R) Platinum 8581C", "fma avx512f avx512_bf16 amx_bf16 amx_tile")
XEON_WITHOUT_AMX = ("GenuineIntel", "Intel(R) Xeon(R) Processor", "fma avx512f avx512_bf16")
OLD = ("AuthenticAMD", "AMD EPYC 7763", "fma avx2")


@pytest.mark.parametrize(
    ("described", "has_units"), [(EPYC, True), (XEON, True), (XEON_WITHOUT_AMX, False), (OLD, False)]
)
def test_bf16_pays_with_amx_or_on_amds_avx512(
    described: tuple[str, str, str], has_units: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor, model, flags = described
    one = f"processor\t: 0\nvendor_id\t: {vendor}\nmodel\t\t: 207\nmodel name\t: {model}\nflags\t\t: {flags}\n\n"
    (tmp_path / "cpuinfo").write_text(one * 2)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")

    assert processor.has_bf16_units() == has_units
    assert processor.cpu_model() == model


def test_without_such_a_list_bf16_has_no_units_and_the_name_is_pythons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "missing")
    monkeypatch.setattr("platform.processor", lambda: "arm")

    assert not processor.has_bf16_units()
    assert processor.cpu_model() == "arm"


@pytest.mark.parametrize(("text", "threads"), [("", None), ("0", None), ("3", 3), ("4,2", 4), (" 2 , 1", 2)])
def test_threads_are_those_of_omp_at_its_first_depth(
    text: str, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)

    assert processor.asked_threads() == threads


@pytest.mark.parametrize("text", ["abc", "-3", "1e3", "1025", ",2", "\u0664"])
def test_threads_that_are_no_number_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)

    message = rf"^OMP_NUM_THREADS is '{text}'\. Expected a number of threads, at most 1,024; or unset it"
    for asking in (processor.asked_threads, machine.start, lambda: environment_of(0, 2)):
        with pytest.raises(TransferkitError, match=message):
            asking()
