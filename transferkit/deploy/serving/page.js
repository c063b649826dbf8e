"use strict";
// Everything that comes from a file or a run is set as text, never as HTML.
const AT_ONCE = 4, TRIES = 8, SHOWN = 100;
const byId = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
const waiting = [];
let about = null, working = 0, done = 0, total = 0;
let token = sessionStorage.getItem("transferkit-token") || "";

function headers() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function start() {
  const response = await fetch("about", { headers: headers() }).catch(() => null);
  if (!response) return say("The server does not answer.");
  if (response.status === 401) {
    byId("wrong").textContent = token ? "That is not the token." : "";
    byId("guard").hidden = false;
    return byId("token").focus();
  }
  about = await response.json();
  byId("guard").hidden = true;
  byId("work").hidden = false;
  byId("run").textContent = about.run;
  byId("headline").textContent = about.headline;
  const names = about.class_names.length;
  byId("classes-title").textContent = `It knows ${names.toLocaleString("en")} classes`;
  byId("classes").textContent = about.class_names.join(", ");
  const size = `Up to ${(about.most_bytes / 1e6).toLocaleString("en")} MB and ${(about.most_pixels / 1e6).toLocaleString("en")} megapixels per image.`;
  byId("limits").textContent = [size, about.no_unknown_because].filter(Boolean).join(" ");
}

function say(text) {
  byId("work").hidden = false;
  byId("status").textContent = text;
}

function add(files) {
  if (!about) return;
  for (const file of files) waiting.push(file);
  total += files.length;
  count();
  while (working < AT_ONCE && waiting.length) work();
}

function count() {
  byId("status").textContent = done < total ? `${done} of ${total} answered …` : `${total} ${total === 1 ? "image" : "images"} answered.`;
}

async function work() {
  working += 1;
  while (waiting.length) {
    const file = waiting.shift();
    show(await ask(file));
    done += 1;
    count();
  }
  working -= 1;
}

async function ask(file) {
  const failed = (error) => ({ path: file.name, answer: "", error, top: [] });
  if (file.size > about.most_bytes) return failed(`larger than ${(about.most_bytes / 1e6).toLocaleString("en")} MB`);
  const form = new FormData();
  form.append("images", file, file.name || "pasted");
  const address = about.explains ? "predict?explain=true" : "predict";
  for (let tries = 0; tries < TRIES; tries += 1) {
    let response;
    try {
      response = await fetch(address, { method: "POST", body: form, headers: headers() });
    } catch {
      return failed("the server does not answer");
    }
    const words = await response.json().catch(() => ({}));
    if (words.answers) return words.answers[0];
    if (response.status !== 503) return failed(words.error || `the server answered ${response.status}`);
    await pause(Number(response.headers.get("Retry-After")) || 1);
  }
  return failed("the server has too much to do; try again later");
}

function show(answer) {
  const card = byId("card").content.firstElementChild.cloneNode(true);
  const part = (selector) => card.querySelector(selector);
  part(".file bdi").textContent = answer.path;
  part("h2 bdi").textContent = answer.error ? "Cannot be read" : answer.answer;
  part(".note").textContent = noteOf(answer);
  card.classList.toggle("unknown", Boolean(answer.unknown));
  card.classList.toggle("failed", Boolean(answer.error));
  if (!answer.error && !answer.unknown) part(".share").textContent = percent(answer.probability);
  for (const entry of answer.top) part(".shares tbody").append(shareRow(entry));
  if (answer.explanation) explain(answer, part);
  byId("answers").prepend(card);
  while (byId("answers").children.length > SHOWN) byId("answers").lastElementChild.remove();
}

function noteOf(answer) {
  if (answer.error) return answer.error;
  const unusual = answer.unusual_percent;
  if (answer.unknown) return `More unusual than ${unusual}\u00a0% of the model’s own images. It would have been predicted as ${answer.top[0].class}.`;
  if (unusual === null) return "";
  const others = (answer.candidates || []).filter((name) => name !== answer.answer);
  return others.length ? `Could also be ${others.slice(0, 5).join(", ")}${others.length > 5 ? " …" : ""}.` : "";
}

function shareRow(entry) {
  const row = document.createElement("tr");
  const name = row.insertCell(), bar = row.insertCell(), share = row.insertCell();
  const bdi = document.createElement("bdi"), progress = document.createElement("progress");
  bdi.textContent = entry.class;
  progress.max = 1;
  progress.value = entry.probability;
  progress.setAttribute("aria-hidden", "true");
  name.append(bdi);
  bar.append(progress);
  bar.className = "bar";
  share.textContent = percent(entry.probability);
  share.className = "number";
  return row;
}

function explain(answer, part) {
  const { picture, looked_at: looked, no_map_because: reason, neighbours } = answer.explanation;
  picture && put(part(".given"), picture, `${answer.path}, cut as the model sees it`);
  looked && put(part(".looked"), looked, `the same, dark where nothing speaks for ${answer.top[0].class}`);
  part(".no-map").textContent = reason ? `There is no map of where it looked: ${reason}.` : "";
  part(".nearest").hidden = !neighbours.length;
  for (const neighbour of neighbours) part(".nearest ul").append(neighbourItem(neighbour));
}

function put(figure, source, words) {
  figure.querySelector("img").src = source;
  figure.querySelector("img").alt = words;
  figure.hidden = false;
}

function neighbourItem(neighbour) {
  const item = document.createElement("li"), name = document.createElement("bdi"), id = document.createElement("div");
  if (neighbour.picture) {
    const image = document.createElement("img");
    image.src = neighbour.picture;
    image.alt = "";
    item.append(image);
  }
  name.textContent = neighbour.class;
  id.textContent = `${neighbour.path} · ${neighbour.similarity.toFixed(2)}`;
  id.className = "soft";
  id.title = "cosine of the features";
  item.append(name, id);
  return item;
}

byId("guard").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  sessionStorage.setItem("transferkit-token", token);
  start();
});
byId("files").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = "";
});
addEventListener("paste", (event) => add([...event.clipboardData.files]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("drop").classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget || byId("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  add([...event.dataTransfer.files]);
});
start();
