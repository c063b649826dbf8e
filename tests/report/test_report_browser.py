"""The report in a real browser: it opens onto its images, sorts, prints, fits a phone and loads nothing."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browsers import find, opened, texts
from pages import study
from synthetic_runs import finished_run, outputs

from transferkit import report
from transferkit.report.page import rendered
from transferkit.runtime import folders
from transferkit.studies.compare.report import write_pages

pytestmark = pytest.mark.browser

HOSTILE = ("<script>alert(1)</script>", "dog", "</script><img src=x onerror=alert(2)>", "日本語の猫" * 40)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of one page each: four classes, hostile names, and 202 classes."""
    folder = tmp_path_factory.mktemp("runs")
    many = tuple(f"class number {label}" for label in range(202))
    tests = {"four": outputs(), "hostile": outputs(names=HOSTILE), "many": outputs(names=many, per_class=5, wrong=2)}
    for name, test in tests.items():
        report.write(finished_run(folder / name, test))
    return {name: (folder / name / "report.html").as_uri() for name in tests}


def requested(browser: Any) -> list[str]:
    """Every address the page asked for since it was opened."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def cell_centre(browser: Any, true: int, predicted: int) -> tuple[int, int]:
    """Where the middle of a cell is, seen from the middle of the drawing."""
    script = """
        const svg = document.querySelector('.matrix'), box = svg.getBoundingClientRect();
        const {side, left, top} = svg.dataset, scale = box.width / svg.viewBox.baseVal.width;
        const x = (Number(left) + (arguments[1] + 0.5) * side) * scale;
        const y = (Number(top) + (arguments[0] + 0.5) * side) * scale;
        return [Math.round(x - box.width / 2), Math.round(y - box.height / 2)];"""
    x, y = browser.execute_script(script, true, predicted)
    return x, y


def click_cell(browser: Any, true: int, predicted: int) -> None:
    from selenium.webdriver import ActionChains

    matrix = find(browser, ".matrix")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", matrix)
    ActionChains(browser).move_to_element_with_offset(matrix, *cell_centre(browser, true, predicted)).click().perform()


@pytest.mark.parametrize("width", [360, 1200])
def test_a_term_explains_itself_when_focused(browser: Any, pages: dict[str, str], width: int) -> None:
    opened(browser, pages["four"], width)
    term = find(browser, "#calibration abbr[tabindex]")
    browser.execute_script("arguments[0].focus()", term)

    shown = browser.execute_script("return getComputedStyle(arguments[0], '::after').content", term)

    assert shown.strip('"') == term.get_attribute("data-meaning")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_terms_are_explained_once_in_a_section_and_never_in_names(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "page.html.jinja").write_text(
        """{% extends "frame.html.jinja" %}{% block main %}
        <section id="first"><p>ECE, then ECE, balanced\N{NO-BREAK SPACE}accuracy and recall</p><p>the ece</p></section>
        <section id="second"><p>The Ece of <b>val</b> &lt; 1</p></section>
        <section id="left"><p><bdi>val</bdi> <a href="#x">val</a> <code>val</code> val-like vals</p>val</section>
        <section id="sorted"><table class="sortable"><thead><tr><th aria-sort="none">recall</th></tr></thead>
        <tbody><tr><td data-value="1">1</td></tr></tbody></table></section>{% endblock %}"""
    )
    (tmp_path / "page.html").write_text(rendered(tmp_path / "page.html.jinja"))
    opened(browser, (tmp_path / "page.html").as_uri())

    assert texts(browser, "#first abbr") == ["ECE", "balanced accuracy", "recall"]
    assert texts(browser, "#second abbr") == ["Ece", "val"]
    assert texts(browser, "#left abbr") == []
    assert texts(browser, "#sorted button abbr:not([tabindex])") == ["recall"]
    assert find(browser, "#second p").text == "The Ece of val < 1"


def test_a_link_to_a_folded_section_opens_it(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "page.html.jinja").write_text(
        """{% extends "frame.html.jinja" %}{% block main %}
        <section id="one"><details class="fold"><summary>One</summary><p>first</p></details></section>
        <section id="two"><details class="fold"><summary>Two</summary><p>second</p></details></section>{% endblock %}"""
    )
    (tmp_path / "page.html").write_text(rendered(tmp_path / "page.html.jinja"))

    opened(browser, (tmp_path / "page.html").as_uri() + "#two")

    assert not find(browser, "#one p").is_displayed()
    assert find(browser, "#two p").is_displayed()


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(key).perform()


@pytest.mark.parametrize("name", ["four", "hostile", "many"])
def test_a_page_loads_without_error_and_asks_the_network_for_nothing(
    browser: Any, pages: dict[str, str], name: str
) -> None:
    opened(browser, pages[name])

    assert browser.get_log("browser") == []
    assert [url for url in requested(browser) if not url.startswith("data:")] == [pages[name]]
    assert browser.execute_script("return document.documentElement.classList.contains('live')")


def test_a_hostile_name_is_read_as_text(browser: Any, pages: dict[str, str]) -> None:
    opened(browser, pages["hostile"])

    click_cell(browser, 0, 1)

    assert HOSTILE[0] in find(browser, "#behind h3").text
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.scripts.length") == 2


def test_a_click_on_a_cell_shows_its_images_with_id_and_confidence(browser: Any, pages: dict[str, str]) -> None:
    opened(browser, pages["four"])

    click_cell(browser, 1, 2)

    assert find(browser, "#behind h3").text == "dog predicted as ship"
    assert "3 images, 30.0\N{NO-BREAK SPACE}%" in find(browser, "#behind .hint").get_attribute("textContent")
    assert sorted(texts(browser, "#behind .id")) == ["0.png", "1.png", "2.png"]
    widths = browser.execute_script("return [...document.querySelectorAll('#behind img')].map(i => i.naturalWidth)")
    assert widths == [12, 12, 12]


def test_the_keyboard_alone_opens_a_cell_and_closes_it(browser: Any, pages: dict[str, str]) -> None:
    from selenium.webdriver import Keys

    opened(browser, pages["four"])
    browser.execute_script("document.getElementById('matrix').focus()")

    press(browser, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ENTER)

    reached = find(browser, "#behind h3").text
    assert " predicted as " in reached or " recognised" in reached
    assert find(browser, "#readout").text.split(":")[0].replace("true ", "").replace(",", "") == reached
    assert browser.execute_script("return document.activeElement.id") == "behind"
    press(browser, Keys.ESCAPE)
    assert not find(browser, "#behind").is_displayed()
    assert browser.execute_script("return document.activeElement.id") == "matrix"


def test_a_confused_pair_opens_its_cell(browser: Any, pages: dict[str, str]) -> None:
    opened(browser, pages["four"])

    browser.execute_script("document.querySelector('[data-open]').click()")

    assert find(browser, "#behind h3").text == "cat predicted as dog"


def test_numbers_change_to_shares_and_back(browser: Any, pages: dict[str, str]) -> None:
    opened(browser, pages["four"])
    cell = "text[data-cell='0,1']"
    assert texts(browser, cell) == ["3"]

    find(browser, "input[value=percent]").click()
    assert texts(browser, cell) == ["30"]

    find(browser, "input[value=counts]").click()
    assert texts(browser, cell) == ["3"]


def test_another_order_moves_cells_and_opens_the_same_images(browser: Any, pages: dict[str, str]) -> None:
    opened(browser, pages["many"])
    shape = "return document.querySelector('[data-shade=m6]').getAttribute('d')"  # 2 of 5 are called the next class
    before = browser.execute_script(shape)
    data = browser.execute_script("return JSON.parse(document.getElementById('data').textContent).order")

    find(browser, "input[value=similar]").click()
    click_cell(browser, data.index(7), data.index(8))

    after = browser.execute_script(shape)
    side = float(find(browser, ".matrix").get_attribute("data-side"))
    moved = f"M{round(data.index(8) * side, 2):g} {round(data.index(7) * side, 2):g}h"
    assert len(before.split("M")) == len(after.split("M")) == 203
    assert moved in after
    assert find(browser, "#behind h3").text == "class number 7 predicted as class number 8"
    find(browser, "input[value=given]").click()
    assert set(browser.execute_script(shape).split("M")) == set(before.split("M"))


def test_a_class_is_found_among_two_hundred(browser: Any, pages: dict[str, str]) -> None:
    from selenium.webdriver import Keys

    opened(browser, pages["many"])

    find(browser, "#find").send_keys("number 137", Keys.ENTER)

    assert find(browser, "#behind h3").text == "class number 137 recognised"


def test_headings_sort_the_table_both_ways_and_say_so(browser: Any, pages: dict[str, str]) -> None:
    opened(browser, pages["four"])
    heading = find(browser, "table.sortable th button")

    heading.click()
    assert texts(browser, "table.sortable tbody th") == ["cat", "dog", "ship", "truck"]
    assert find(browser, "table.sortable th").get_attribute("aria-sort") == "ascending"

    heading.click()
    assert texts(browser, "table.sortable tbody th") == ["truck", "ship", "dog", "cat"]
    assert find(browser, "table.sortable th").get_attribute("aria-sort") == "descending"


def test_a_dot_of_the_map_shows_its_image_by_pointing(browser: Any, pages: dict[str, str]) -> None:
    from selenium.webdriver import ActionChains

    opened(browser, pages["four"])
    dot = find(browser, ".map .miss")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", dot)

    ActionChains(browser).move_to_element(dot).perform()

    row = int(dot.get_attribute("data-image"))
    images = browser.execute_script("return JSON.parse(document.getElementById('data').textContent).images")
    assert find(browser, "#spot img").get_attribute("src") == images["picture"][row]
    assert images["id"][row].split("/")[-1] in find(browser, "#spot").text
    assert "label:" in find(browser, "#spot").text
    assert browser.get_log("browser") == []


def test_the_arrow_keys_walk_over_the_map(browser: Any, pages: dict[str, str]) -> None:
    from selenium.webdriver import Keys

    opened(browser, pages["four"])
    browser.execute_script("document.getElementById('places').focus()")

    def at() -> tuple[float, float]:
        ring = find(browser, ".map .here")
        return float(ring.get_attribute("cx")), float(ring.get_attribute("cy"))

    press(browser, Keys.ARROW_RIGHT)
    start = at()
    press(browser, Keys.ARROW_RIGHT)
    right = at()
    press(browser, Keys.ARROW_DOWN)
    below = at()

    assert right[0] > start[0] or below[1] > right[1]  # at the border there is nothing farther on one side
    assert find(browser, ".map .here").get_attribute("visibility") == "visible"
    assert find(browser, "#spot img").is_displayed()


def test_one_class_of_the_map_can_be_shown_alone(browser: Any, pages: dict[str, str]) -> None:
    from selenium.webdriver.support.ui import Select

    opened(browser, pages["many"])

    Select(find(browser, "#only")).select_by_visible_text("class number 3")

    away = browser.execute_script(
        "return [...document.querySelectorAll('.map [data-class]')]"
        ".map((dot) => [dot.dataset.class, dot.classList.contains('away')])"
    )
    assert any(label == "3" for label, _ in away)
    assert all(hidden == (label != "3") for label, hidden in away)


def test_dark_mode_is_dark_and_light_mode_is_light(browser: Any, pages: dict[str, str]) -> None:
    def brightness(scheme: str) -> float:
        opened(browser, pages["four"], scheme=scheme)
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 3

    assert brightness("light") > 230
    assert brightness("dark") < 50


@pytest.mark.parametrize("name", ["four", "hostile", "many"])
def test_a_phone_of_360_px_scrolls_in_one_direction_only(browser: Any, pages: dict[str, str], name: str) -> None:
    opened(browser, pages[name], width=360)
    browser.execute_script("document.querySelector('[data-open]').click()")

    assert browser.execute_script("return document.documentElement.scrollWidth") == 360


def test_every_column_of_a_comparison_is_in_sight_at_1200_px(browser: Any, tmp_path: Path) -> None:
    comparison = study(tmp_path, names=("scratch-on-many-pictures", "finetune-from-imagenet-weights"))
    wide: dict[str, Any] = {"accuracies": (0.82,) * 5, "runs": tuple(f"runs/seed{seed}" for seed in range(5))}
    wide |= {"flops_per_image": 3.6e9, "trained_parameters": 11_200_000, "training_flops": 1.2e16}
    wide |= {"predicted_images_per_second": 1234.5}
    comparison = replace(comparison, arms=tuple(replace(arm, **wide) for arm in comparison.arms))
    (tmp_path / "page").mkdir()
    with folders.hold(tmp_path / "page", "study"):
        comparison.write(tmp_path / "page")
        write_pages(tmp_path / "page")

    opened(browser, (tmp_path / "page" / "report.html").as_uri())

    table, room = browser.execute_script(
        "const around = document.querySelector('.arms').parentElement; return [around.scrollWidth, around.clientWidth]"
    )
    assert len(texts(browser, ".arms thead th")) == 8
    assert table <= room


def test_a_run_prints_on_at_most_five_pages_with_the_matrix_under_its_heading(
    browser: Any, pages: dict[str, str]
) -> None:
    opened(browser, pages["four"])
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    kept = browser.execute_script("return getComputedStyle(document.querySelector('#confusion')).breakInside")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})

    assert 2 <= len(re.findall(rb"/Type /Page\b", printed)) <= 5
    assert kept == "avoid"


def test_print_gives_a_pdf_with_the_whole_table_and_no_controls(browser: Any, pages: dict[str, str]) -> None:
    opened(browser, pages["many"])

    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])

    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") >= 3
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not find(browser, "nav").is_displayed()
    assert browser.execute_script("return getComputedStyle(document.querySelector('.tall')).maxHeight") == "none"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_page_reads_without_script(browser: Any, pages: dict[str, str]) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    opened(browser, pages["four"])
    heading = find(browser, "h1").text
    shown = find(browser, ".matrix").is_displayed()
    controls = find(browser, ".controls").is_displayed()
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})

    assert "70.0\N{NO-BREAK SPACE}%" in heading or "70.0 %" in heading
    assert shown
    assert not controls


def test_every_figure_has_a_link_that_saves_it_with_its_colours(browser: Any, pages: dict[str, str]) -> None:
    from urllib.parse import unquote

    page = opened(browser, pages["four"])
    links = page.find_elements("css selector", "figure svg[role=img] + a.save")
    page.execute_script("arguments[0].dispatchEvent(new Event('focus'))", links[0])

    assert len(links) == len(page.find_elements("css selector", "main figure svg[role=img]")) >= 2
    address = links[0].get_attribute("href")
    assert address.startswith("data:image/svg+xml")
    assert 'stroke="rgb(' in unquote(address)
    assert links[0].get_attribute("download").endswith(".svg")


def test_a_key_is_drawn_with_the_marks_of_its_chart(browser: Any, tmp_path: Path) -> None:
    recalls = replace(study(tmp_path), class_names=("cat", "dog"))
    arms = tuple(replace(arm, recalls=(0.5 + 0.1 * number, 0.5)) for number, arm in enumerate(recalls.arms))
    with folders.hold(tmp_path / "page", "study"):
        replace(recalls, arms=arms).write(tmp_path / "page")
        write_pages(tmp_path / "page")

    page = opened(browser, (tmp_path / "page" / "report.html").as_uri())

    colour = "return getComputedStyle(document.querySelector(arguments[0])).fill"
    in_key = page.execute_script(colour, "#classes .key polygon")
    assert in_key == page.execute_script(colour, "#classes .chart polygon") != "none"
    assert texts(page, "#classes .key li") == ["finetune"]
