"""The page of a server in a real browser: a picture is dropped on it, a token is asked for, names stay text."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from browsers import find, opened, texts
from live_server import live
from PIL import Image
from predicting_runs import predicting_run

from transferkit.deploy.prediction import Model, load
from transferkit.deploy.serving.settings import ServeSettings
from transferkit.runs.run_directory import Run

pytestmark = pytest.mark.browser

CLASS = "<img src=x onerror=alert(1)>"
FILE = "<script>alert(2)<\u2215script>\u202egnp.png"  # with a sign that turns the direction of writing
TOKEN = "a-token-of-25-characters"
DROP = """
    const [name, numbers, type] = arguments, transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(numbers)], name, {type}));
    const over = new DragEvent("dragover", {dataTransfer: transfer, bubbles: true, cancelable: true});
    const drop = new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true});
    document.getElementById("drop").dispatchEvent(over);
    const marked = document.getElementById("drop").classList.contains("over");
    document.getElementById("drop").dispatchEvent(drop);
    return [marked, drop.defaultPrevented];"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With hostile names."""
    return Run(predicting_run(tmp_path_factory.mktemp("runs") / "run", (CLASS, f"{CLASS} 2", f"{CLASS} 3")))


@pytest.fixture(scope="module")
def model(run: Run) -> Model:
    return load(run, device="cpu")


@pytest.fixture(scope="module")
def page(run: Run, model: Model) -> Iterator[str]:
    with live(run, model, ServeSettings()) as address:
        yield address


def picture(side: int = 9) -> list[int]:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, "PNG")
    return list(file.getvalue())


def dropped(browser: Any, content: list[int], name: str = "a.png") -> list[bool]:
    """Drop a file, and wait for its answer; whether the place was marked meanwhile, and the browser kept from it."""
    before = len(texts(browser, ".answer"))
    results: list[bool] = browser.execute_script(DROP, name, content, "image/png")
    waited(browser, lambda: len(texts(browser, ".answer")) > before)
    return results


def waited(browser: Any, condition: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30).until(lambda _: condition())


def started(browser: Any, address: str) -> None:
    browser.get("about:blank")
    opened(browser, address)
    waited(browser, lambda: find(browser, "#work").is_displayed() or find(browser, "#guard").is_displayed())


def test_a_dropped_picture_is_answered_as_predict_answers(browser: Any, page: str, model: Model) -> None:
    started(browser, page)

    marked, prevented = dropped(browser, picture())

    (expected,) = model.predict([Image.open(io.BytesIO(bytes(picture())))])
    assert (marked, prevented) == (True, True)
    assert find(browser, ".answer .shares tr").text.startswith(expected.name)
    assert find(browser, "#status").text == "1 image answered."
    assert find(browser, "#drop").get_attribute("class") == ""
    assert browser.get_log("browser") == []


def test_names_of_files_and_classes_are_read_as_text(browser: Any, page: str) -> None:
    started(browser, page)
    scripts = browser.execute_script("return document.scripts.length")

    dropped(browser, picture(), FILE)

    assert find(browser, ".answer .file").get_attribute("textContent") == FILE
    assert CLASS in find(browser, ".answer .shares").text
    assert CLASS in find(browser, "#classes").get_attribute("textContent")
    assert browser.execute_script("return document.scripts.length") == scripts
    assert browser.find_elements("css selector", "img[src='x']") == []
    assert browser.get_log("browser") == []


def test_an_unusual_picture_is_called_unknown(browser: Any, run: Run, model: Model) -> None:
    with live(run, model, ServeSettings(acceptance=0.5)) as address:
        started(browser, address)

        dropped(browser, picture(200))

        (expected,) = model.predict([Image.open(io.BytesIO(bytes(picture(200))))], acceptance=0.5)
        assert expected.unknown
        assert find(browser, ".answer h2 bdi").text == "unknown"
        assert "unknown" in find(browser, ".answer").get_attribute("class").split()
        assert find(browser, ".answer .note").text.startswith("More unusual than ")
        assert find(browser, ".answer .share").text == ""


def test_a_file_that_is_no_image_says_so(browser: Any, page: str) -> None:
    started(browser, page)

    dropped(browser, [1, 2, 3], "a.png")

    assert find(browser, ".answer h2").text == "Cannot be read"
    assert find(browser, ".answer .note").text.startswith("not an image, or damaged")


def test_it_shows_what_the_picture_is_like_and_where_the_network_looked(browser: Any, page: str) -> None:
    started(browser, page)

    dropped(browser, picture())

    waited(browser, lambda: find(browser, ".given img").get_property("naturalWidth") > 0)
    assert len(texts(browser, ".nearest li")) == 3
    assert find(browser, ".looked").is_displayed() or find(browser, ".no-map").text


def test_the_page_asks_for_the_token_and_goes_on_with_the_right_one(browser: Any, run: Run, model: Model) -> None:
    with live(run, model, ServeSettings(token=TOKEN)) as address:
        started(browser, address)
        assert not find(browser, "#work").is_displayed()

        for token in ("wrong", TOKEN):
            find(browser, "#token").clear()
            find(browser, "#token").send_keys(token)
            find(browser, "#guard button").click()
            waited(browser, lambda: find(browser, "#work").is_displayed() or find(browser, "#wrong").text)
            if token == "wrong":
                assert find(browser, "#wrong").text == "That is not the token."

        dropped(browser, picture())
        assert not find(browser, "#guard").is_displayed()
        assert TOKEN not in browser.current_url
        assert find(browser, "#token").get_attribute("type") == "password"


def test_a_phone_of_360_px_scrolls_in_one_direction_only(browser: Any, page: str) -> None:
    started(browser, page)
    opened(browser, page, width=360)
    waited(browser, lambda: find(browser, "#work").is_displayed())

    dropped(browser, picture(), "a-very-long-name-" * 10 + ".png")

    assert browser.execute_script("return document.documentElement.scrollWidth") == 360
