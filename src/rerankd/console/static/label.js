// Labelling of one ranking: every grade is saved at once, one after the other, and the page says whether it was.
"use strict";

const list = document.getElementById("documents");
const words = JSON.parse(document.getElementById("label-words").textContent);
const advance = document.getElementById("advance");
let current = null;
let lastSave = Promise.resolve();

function say(name, values = {}) {
  return words[name].replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
}

function documents() {
  return [...list.children];
}

// Marks a document as the one that keys act on; with `focus` the browser goes there too.
function choose(item, { focus = true } = {}) {
  if (!item) return;
  current?.removeAttribute("aria-current");
  current = item;
  current.setAttribute("aria-current", "true");
  if (focus) {
    current.focus({ preventScroll: true });
    current.scrollIntoView({ block: "nearest" });
  }
}

function move(step) {
  const all = documents();
  choose(all[Math.max(0, Math.min(all.length - 1, all.indexOf(current) + step))]);
}

// Saves one after the other, so that the last of several quick grades on a document is the one that stays.
function inTurn(task) {
  lastSave = lastSave.then(task, task);
  return lastSave;
}

async function send(action, fields) {
  const body = new URLSearchParams(fields);
  const headers = { accept: "application/json", "x-csrf-token": document.querySelector("#undo [name=csrf_token]").value };
  let response;
  try {
    response = await fetch(action, { method: "POST", headers, body, redirect: "error", keepalive: true });
  } catch {
    throw new Error(words.offline);
  }
  const content = await response.json().catch(() => ({}));
  if (response.ok) return content;
  const error = content.error ?? {};
  const message = typeof error === "string" ? error : error.message;
  throw new Error([message, error.hint].filter(Boolean).join(" ") || `HTTP ${response.status}`);
}

function save(item, grade) {
  if (!item) return;
  const buttons = [...item.querySelectorAll("button[name=grade]")];
  const button = buttons.find((each) => each.value === grade);
  if (!button) return;
  if (button.disabled) {
    if (grade !== "") fail("name", words.no_name);
    return;
  }
  const rank = item.dataset.rank;
  document.getElementById("saved").textContent = say("saving", { rank });
  item.classList.add("saving");
  const form = item.querySelector("form");
  inTurn(async () => {
    try {
      const content = await send(form.action, { position: item.dataset.position, grade });
      apply(content);
      confirm(item.id, grade === "" ? say("cleared", { rank }) : say("saved", { rank, grade }));
    } catch (error) {
      const what = grade === "" ? say("not_cleared", { rank }) : say("not_saved", { rank, grade });
      fail(item.id, `${what} ${error.message}`, () => save(item, grade));
    } finally {
      item.classList.remove("saving");
    }
  });
  if (advance.checked && grade !== "") move(1);
}

function undo() {
  const form = document.getElementById("undo");
  inTurn(async () => {
    try {
      const content = await send(form.action, {});
      apply(content);
      if (content.gone) {
        location.assign(document.querySelector(".crumbs a").href);
      } else if (content.document) {
        const { rank, grade } = content.document;
        choose(document.getElementById(`d${content.document.index}`));
        confirm("undo", grade === null ? say("undone_none", { rank }) : say("undone", { rank, grade }));
      } else {
        confirm("undo", content.undone ? words.undone_elsewhere : words.nothing_to_undo);
      }
    } catch (error) {
      fail("undo", `${words.not_undone} ${error.message}`, undo);
    }
  });
}

// Shows what the server says of a document, of the coverage and of the changes that can be undone.
function apply(content) {
  document.querySelector("#undo button").disabled = content.undo === 0;
  if (content.coverage) showCoverage(content.coverage);
  const item = content.document && document.getElementById(`d${content.document.index}`);
  if (!item) return;
  const { grade, others, others_hidden: hidden, decided } = content.document;
  item.dataset.grade = grade ?? "";
  let isOffered = grade === null;
  for (const button of item.querySelectorAll("button[aria-pressed]")) {
    const isPressed = button.value === String(grade);
    button.setAttribute("aria-pressed", String(isPressed));
    isOffered ||= isPressed;
  }
  item.querySelector("button.clear").disabled = grade === null;
  const part = (name) => item.querySelector(`[data-part=${name}]`);
  part("own").textContent = isOffered ? "" : say("own_grade", { grade });
  part("others").replaceChildren(...(hidden ? [words.others_hidden] : others.flatMap(graded)));
  part("decided").textContent = others.length ? say("decided", { grade: decided ?? "–" }) : "";
}

// Another labeller's name, isolated in its direction, and grade.
function graded({ labeller, grade }, index) {
  const name = document.createElement("bdi");
  name.className = "text";
  name.textContent = labeller || words.anonymous;
  return [index ? ", " : "", name, `: ${grade}`];
}

function showCoverage(coverage) {
  const meter = document.querySelector("#coverage meter");
  meter.value = coverage.labelled;
  meter.textContent = coverage.labelled;
  meter.setAttribute("aria-label", say("coverage", coverage));
  document.querySelector("#coverage .number").textContent = `${coverage.labelled} / ${coverage.of}`;
}

// Says what was saved; a notice that the same could not be done goes.
function confirm(key, text) {
  document.getElementById("saved").textContent = text;
  forget(key);
}

function forget(key) {
  document.querySelector(`#failed [data-key=${key}]`)?.remove();
  document.getElementById(key)?.classList.remove("unsaved");
}

// Says what was not saved, until it is.
function fail(key, text, retry) {
  forget(key);
  document.getElementById("saved").textContent = "";
  document.getElementById(key)?.classList.add("unsaved");
  const notice = document.createElement("div");
  notice.className = "notice error row";
  notice.dataset.key = key;
  const sentence = document.createElement("span");
  sentence.textContent = text;
  notice.append(sentence);
  if (retry) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words.retry;
    button.addEventListener("click", retry);
    notice.append(button);
  }
  document.getElementById("failed").append(notice);
}

// Opens the next ranking once everything is saved; what could not be saved is left behind on the second try only.
function openNext(event) {
  event?.preventDefault();
  inTurn(() => {
    if (list.querySelector(".unsaved") && !document.querySelector("#failed [data-key=leave]")) {
      fail("leave", words.unsaved);
    } else {
      location.assign(document.getElementById("next").href);
    }
  });
}

const keys = {
  arrowdown: () => move(1),
  j: () => move(1),
  arrowup: () => move(-1),
  k: () => move(-1),
  backspace: () => save(current, ""),
  delete: () => save(current, ""),
  u: undo,
  n: () => openNext(),
  s: () => document.querySelector("[data-opens=skip]")?.click(),
  t: () => current?.querySelector("details")?.toggleAttribute("open"),
};

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input:not([type=checkbox]), select, textarea, [contenteditable], dialog")) return;
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && key === "z" && !event.shiftKey && !event.altKey) {
    event.preventDefault();
    undo();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const act = /^[0-3]$/.test(key) ? () => save(current, key) : keys[key];
  if (!act) return;
  event.preventDefault();
  if (!event.repeat || act === keys[key] && /^(arrow|[jk]$)/.test(key)) act();
});

list.addEventListener("click", (event) => choose(event.target.closest(".document"), { focus: false }));
list.addEventListener("focusin", (event) => choose(event.target.closest(".document"), { focus: false }));
list.addEventListener("submit", (event) => {
  event.preventDefault();
  save(event.target.closest(".document"), event.submitter?.value ?? "");
});
document.getElementById("next").addEventListener("click", (event) => {
  if (!event.ctrlKey && !event.metaKey && !event.shiftKey) openNext(event);
});
document.getElementById("undo").addEventListener("submit", (event) => {
  event.preventDefault();
  undo();
});

advance.checked = localStorage.getItem("rerankd.label.advance") === "yes";
advance.addEventListener("change", () => localStorage.setItem("rerankd.label.advance", advance.checked ? "yes" : "no"));

const all = documents();
const named = location.hash && document.getElementById(location.hash.slice(1));
choose(all.includes(named) ? named : all.find((item) => item.dataset.grade === "") ?? all[0], { focus: all.includes(named) });
