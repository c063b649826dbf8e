"use strict";
/* Opens the confusion matrix onto its images, sorts tables, copies the command. Names and ids become text nodes only. */
(() => {
  document.documentElement.classList.add("live");

  const element = (tag, className, ...children) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
  };
  const percent = (share) => (100 * share).toFixed(1) + "\u00a0%";

  /* ---- terms: the first in each section explains itself when pointed at or focused; names from the data do not ---- */
  const EXPLAINED_IN = "p, li, dt, td, th, h2, h3, figcaption, summary", NOT_IN = "bdi, a, button, code, pre, label, select, svg, script";
  const GLOSSARY = {};  // filled when a page is made
  const meanings = new Map(Object.entries(GLOSSARY));
  const exact = new Map([...meanings.keys()].map((term) => [term.toLowerCase(), term]));
  const PATTERN = [...meanings.keys()].join("|").replaceAll("+", "\\+").replaceAll(" ", "[ \u00a0]");
  const TERM = new RegExp(`(^|[^\\w/-])(${PATTERN})(?![\\w/+-])`, "i");
  const explained = new WeakMap();  // section -> terms
  function explain(node) {
    const section = node.parentElement.closest("section, header, details") ?? document.body;
    if (!explained.has(section)) explained.set(section, new Set());
    const found = TERM.exec(node.data);
    if (!found) return;
    const start = found.index + found[1].length, term = exact.get(found[2].replaceAll("\u00a0", " ").toLowerCase());
    const rest = node.splitText(start).splitText(found[2].length);
    if (!explained.get(section).has(term)) {
      const mark = element("abbr", "", found[2]);
      mark.dataset.meaning = meanings.get(term);
      if (!node.parentElement.closest("[aria-sort]")) mark.tabIndex = 0;  // a heading that sorts is focused itself
      rest.previousSibling.replaceWith(mark);
      explained.get(section).add(term);
    }
    explain(rest);
  }
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), plain = [];
  while (texts.nextNode()) {
    const parent = texts.currentNode.parentElement;
    if (parent.closest(EXPLAINED_IN) && !parent.closest(NOT_IN)) plain.push(texts.currentNode);
  }
  plain.forEach(explain);

  /* ---- sections that fold: a link to one opens it, and paper shows those that are open ---- */
  const unfold = () => {
    document.getElementById(location.hash.slice(1))?.querySelector(":scope > details.fold")?.setAttribute("open", "");
  };
  addEventListener("hashchange", unfold);
  unfold();

  /* ---- tables ---- */
  for (const table of document.querySelectorAll("table.sortable")) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      if (!heading.hasAttribute("aria-sort")) return;
      const button = element("button", "", ...heading.childNodes);
      button.type = "button";
      heading.append(button);
      button.addEventListener("click", () => {
        const isText = heading.dataset.kind === "text";
        const before = heading.getAttribute("aria-sort");
        const upward = before === "none" ? isText : before === "descending";
        for (const other of headings) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
        heading.setAttribute("aria-sort", upward ? "ascending" : "descending");
        const value = (row) => row.cells[column].dataset.value;
        const compared = isText ? (a, b) => value(a).localeCompare(value(b)) : (a, b) => value(a) - value(b);
        const rows = [...table.tBodies[0].rows].sort((a, b) => (upward ? compared(a, b) : compared(b, a)));
        table.tBodies[0].append(...rows);
      });
    });
  }

  /* ---- figures as files: each drawing with the colours that it has here ---- */
  const PAINTED = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "paint-order", "opacity",
    "fill-opacity", "font-size", "font-family", "font-weight", "text-anchor", "dominant-baseline"];
  function painted(drawing) {
    const copy = drawing.cloneNode(true), originals = [drawing, ...drawing.querySelectorAll("*")];
    [copy, ...copy.querySelectorAll("*")].forEach((shape, index) => {
      const style = getComputedStyle(originals[index]);
      for (const name of PAINTED) shape.setAttribute(name, style.getPropertyValue(name));
    });
    copy.setAttribute("style", `background: ${getComputedStyle(document.body).backgroundColor}`);
    return new XMLSerializer().serializeToString(copy);
  }
  for (const drawing of document.querySelectorAll("main figure svg[role=img]")) {
    const link = element("a", "save", "SVG");
    const title = drawing.getAttribute("aria-label") || "figure";
    link.href = "#";
    link.download = `${title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 60)}.svg`;
    link.title = "Save this figure as an SVG file";
    const fill = () => { link.href = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(painted(drawing))}`; };
    for (const event of ["pointerdown", "focus", "click"]) link.addEventListener(event, fill);
    drawing.after(link);
  }

  /* ---- the command ---- */
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(source);
        button.textContent = "Selected: press Ctrl+C";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2500);
    });
  }

  /* ---- the matrix ---- */
  const holder = document.getElementById("matrix");
  if (!holder) return;
  const data = JSON.parse(document.getElementById("data").textContent);
  const named = (index) => element("bdi", "", data.names[index]);
  const svg = holder.querySelector("svg");
  const side = Number(svg.dataset.side), left = Number(svg.dataset.left), top = Number(svg.dataset.top);
  const readout = document.getElementById("readout"), behind = document.getElementById("behind");
  const cursor = svg.querySelector(".cursor"), bands = svg.querySelectorAll(".band");
  const count = data.names.length;
  const totals = data.confusion.map((row) => row.reduce((sum, n) => sum + n, 0));
  const given = data.names.map((_, index) => index);
  let order = given, place = given, asPercent = false, at = null;

  const groups = new Map();
  data.images.true.forEach((label, row) => {
    const key = label + "," + data.images.predicted[row];
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(row);
  });
  for (const rows of groups.values()) rows.sort((a, b) => data.images.confidence[b] - data.images.confidence[a]);

  const drawn = [...svg.querySelectorAll("[data-cell]")].map((shape) => {
    const [label, predicted] = shape.dataset.cell.split(",").map(Number);
    return { shape, label, predicted, isText: shape.tagName === "text",
      dx: shape.getAttribute("x") - (left + predicted * side), dy: shape.getAttribute("y") - (top + label * side) };
  });
  const rowNames = [...svg.querySelectorAll("[data-row]")], columnNames = [...svg.querySelectorAll("[data-column]")];

  /* of many classes, the cells of one shade are one path */
  const shades = new Map([...svg.querySelectorAll("[data-shade]")].map((path) => [path.dataset.shade, path]));
  const shade = (share) => Math.min(9, Math.ceil(9 * Math.sqrt(share) - 1e-9));

  function redrawShades() {
    const squares = new Map([...shades.keys()].map((key) => [key, []]));
    const square = `h${side}v${side}h${-side}z`;
    data.confusion.forEach((row, label) => row.forEach((n, predicted) => {
      if (!n) return;
      const key = (label === predicted ? "h" : "m") + shade(n / totals[label]);
      squares.get(key).push(`M${+(place[predicted] * side).toFixed(2)} ${+(place[label] * side).toFixed(2)}${square}`);
    }));
    for (const [key, path] of shades) path.setAttribute("d", squares.get(key).join(""));
  }

  function redraw() {
    if (shades.size) redrawShades();
    for (const { shape, label, predicted, isText, dx, dy } of drawn) {
      shape.setAttribute("x", left + place[predicted] * side + dx);
      shape.setAttribute("y", top + place[label] * side + dy);
      if (isText) {
        const n = data.confusion[label][predicted], share = 100 * n / totals[label];
        shape.textContent = asPercent ? (share >= 9.95 ? share.toFixed(0) : share.toFixed(1)) : n;
      }
    }
    for (const name of rowNames) name.setAttribute("y", top + (place[name.dataset.row] + 0.5) * side);
    for (const name of columnNames) {
      name.setAttribute("transform", `translate(${left + (place[name.dataset.column] + 0.5) * side} ${top - 8})`);
    }
    if (at) pointAt(at[0], at[1]);
  }

  function cellWords(label, predicted) {
    const n = data.confusion[label][predicted];
    const words = label === predicted
      ? [named(label), " recognised: "]
      : ["true ", named(label), ", predicted as ", named(predicted), ": "];
    return [...words, element("b", "", n.toLocaleString("en")),
      ` of ${totals[label].toLocaleString("en")}` + (totals[label] ? ` (${percent(n / totals[label])})` : "")];
  }

  function pointAt(label, predicted) {
    at = [label, predicted];
    cursor.setAttribute("x", left + place[predicted] * side);
    cursor.setAttribute("y", top + place[label] * side);
    bands[0].setAttribute("y", top + place[label] * side);
    bands[1].setAttribute("x", left + place[predicted] * side);
    for (const shape of [cursor, ...bands]) shape.setAttribute("visibility", "visible");
    for (const name of rowNames) name.classList.toggle("lit", Number(name.dataset.row) === label);
    for (const name of columnNames) {
      name.firstElementChild.classList.toggle("lit", Number(name.dataset.column) === predicted);
    }
    readout.replaceChildren(...cellWords(label, predicted));
  }

  function tile(row) {
    const images = data.images;
    const alt = `${data.names[images.predicted[row]]}, confidence ${percent(images.confidence[row])}`;
    let picture;
    if (images.picture[row]) {
      picture = element("img");
      picture.src = images.picture[row];
      picture.alt = alt;
      picture.width = picture.height = 72;
    } else {
      picture = element("span", "nopicture", "no picture kept");
    }
    const id = element("span", "id soft", element("bdi", "", images.id[row].split(/[\\/]/).pop()));
    id.title = images.id[row];
    return element("li", "", picture, element("span", "number", percent(images.confidence[row])), id);
  }

  function open(label, predicted, takeFocus) {
    const rows = groups.get(label + "," + predicted) || [];
    const n = data.confusion[label][predicted];
    const title = element("h3", "", ...(label === predicted
      ? [named(label), " recognised"] : [named(label), " predicted as ", named(predicted)]));
    const close = element("button", "", "Close");
    close.type = "button";
    close.addEventListener("click", () => { behind.hidden = true; holder.focus(); });
    const shown = rows.length < n ? `, ${rows.length.toLocaleString("en")} of them listed in this page` : "";
    const words = element("p", "hint", n === 0 ? "No test image lies here."
      : `${n.toLocaleString("en")} image${n === 1 ? "" : "s"}, ${percent(n / totals[label])} of the true class${shown}; most confident first.`);
    const list = element("ul", "gallery");
    const more = element("button", "more");
    more.type = "button";
    let next = 0;
    const grow = () => {
      list.append(...rows.slice(next, next + 32).map(tile));
      next += 32;
      more.hidden = next >= rows.length;
      more.textContent = `Show more (${(rows.length - next).toLocaleString("en")} left)`;
    };
    more.addEventListener("click", grow);
    grow();
    behind.replaceChildren(element("header", "", title, close), words, list, more);
    behind.hidden = false;
    behind.scrollTop = 0;
    if (takeFocus) behind.focus({ preventScroll: false });
  }

  function cellUnder(event) {
    const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
    const column = Math.floor(((event.clientX - box.left) * scale - left) / side);
    const row = Math.floor(((event.clientY - box.top) * scale - top) / side);
    return row >= 0 && row < count && column >= 0 && column < count ? [order[row], order[column]] : null;
  }
  svg.addEventListener("pointermove", (event) => {
    const cell = cellUnder(event);
    if (cell && (!at || cell[0] !== at[0] || cell[1] !== at[1])) pointAt(...cell);
  });
  svg.addEventListener("click", (event) => {
    const cell = cellUnder(event);
    if (!cell) return;
    pointAt(...cell);
    open(...cell, false);
  });

  holder.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const [label, predicted] = at || [order[0], order[0]];
    if (step) {
      const clamp = (value) => Math.max(0, Math.min(count - 1, value));
      pointAt(order[clamp(place[label] + (at ? step[0] : 0))], order[clamp(place[predicted] + (at ? step[1] : 0))]);
    } else if (event.key === "Enter" || event.key === " ") {
      pointAt(label, predicted);
      open(label, predicted, true);
    } else return;
    event.preventDefault();
  });
  holder.addEventListener("focus", () => { if (!at && holder.matches(":focus-visible")) pointAt(order[0], order[0]); });
  behind.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { behind.hidden = true; holder.focus(); }
  });

  for (const input of document.querySelectorAll('input[name="numbers"]')) {
    input.addEventListener("change", () => { asPercent = input.value === "percent"; redraw(); });
  }
  for (const input of document.querySelectorAll('input[name="order"]')) {
    input.addEventListener("change", () => {
      order = input.value === "similar" ? data.order : given;
      place = [];
      order.forEach((label, position) => { place[label] = position; });
      redraw();
    });
  }
  const find = document.getElementById("find");
  if (find) {
    find.form.addEventListener("submit", (event) => event.preventDefault());
    find.addEventListener("change", () => {
      const wanted = find.value.trim().toLowerCase();
      const exact = data.names.findIndex((name) => name.toLowerCase() === wanted);
      const index = exact >= 0 ? exact : data.names.findIndex((name) => name.toLowerCase().includes(wanted));
      if (wanted && index >= 0) { pointAt(index, index); open(index, index, false); }
    });
  }
  for (const button of document.querySelectorAll("[data-open]")) {
    button.addEventListener("click", () => {
      const cell = button.dataset.open.split(",").map(Number);
      document.getElementById("confusion").scrollIntoView();
      pointAt(...cell);
      open(...cell, true);
    });
  }

  /* ---- the map ---- */
  const places = document.getElementById("places");
  if (!places) return;
  const plan = places.querySelector("svg"), here = plan.querySelector(".here"), spot = document.getElementById("spot");
  const dots = [...plan.querySelectorAll("[data-image]")].map((shape) => ({
    shape, row: Number(shape.dataset.image), label: Number(shape.dataset.class),
    x: Number(shape.getAttribute("cx")), y: Number(shape.getAttribute("cy")),
  }));
  let chosen = null, only = "";
  const within = (dot) => only === "" || dot.label === Number(only);

  function choose(dot) {
    chosen = dot;
    for (const other of dots) other.shape.classList.toggle("same", other.label === dot.label);
    here.setAttribute("cx", dot.x);
    here.setAttribute("cy", dot.y);
    here.setAttribute("visibility", "visible");
    const images = data.images, isHit = images.true[dot.row] === images.predicted[dot.row];
    let picture;
    if (images.picture[dot.row]) {
      picture = element("img");
      picture.src = images.picture[dot.row];
      picture.alt = "the image at this dot";
    } else {
      picture = element("span", "nopicture", "no picture kept");
    }
    const words = [element("b", "", named(images.predicted[dot.row])), ` ${percent(images.confidence[dot.row])}`];
    if (!isHit) words.push(element("br"), element("span", "failed", "label: ", named(images.true[dot.row])));
    const id = element("p", "soft", element("bdi", "", images.id[dot.row].split(/[\\/]/).pop()));
    id.title = images.id[dot.row];
    spot.replaceChildren(picture, element("div", "", element("p", "", ...words), id));
  }

  function nearest(x, y, candidates, reach) {
    let best = null, least = reach * reach;
    for (const dot of candidates) {
      const distance = (dot.x - x) ** 2 + (dot.y - y) ** 2;
      if (distance < least) { best = dot; least = distance; }
    }
    return best;
  }
  const look = (event) => {
    const box = plan.getBoundingClientRect(), scale = plan.viewBox.baseVal.width / box.width;
    const dot = nearest((event.clientX - box.left) * scale, (event.clientY - box.top) * scale, dots.filter(within), 18);
    if (dot && dot !== chosen) choose(dot);
  };
  plan.addEventListener("pointermove", look);
  plan.addEventListener("click", look);
  places.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    const free = dots.filter(within);
    if (!chosen) { if (free.length) choose(free[0]); return; }
    const onward = free.filter((dot) => {
      const along = (dot.x - chosen.x) * step[0] + (dot.y - chosen.y) * step[1];
      const across = Math.abs((dot.x - chosen.x) * step[1]) + Math.abs((dot.y - chosen.y) * step[0]);
      return along > 0 && across <= along;
    });
    const dot = nearest(chosen.x, chosen.y, onward, Infinity);
    if (dot) choose(dot);
  });
  const select = document.getElementById("only");
  select.addEventListener("change", () => {
    only = select.value;
    for (const dot of dots) dot.shape.classList.toggle("away", !within(dot));
  });
})();
