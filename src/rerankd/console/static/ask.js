// The answer as it is written, its citations, and the passages that they light up.
"use strict";

const form = document.querySelector("form[data-answer]");
const words = form ? JSON.parse(form.querySelector("[data-words]").textContent) : {};
const part = (name) => form.querySelector(`[data-${name}]`);

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function citation(number, label, className) {
  const link = element("a", number, className);
  link.href = `#passage-${number}`;
  link.setAttribute("aria-label", label.replace("{}", number));
  return link;
}

function sentence(content) {
  const made = element("span", "", content.is_unsupported ? "unsupported" : "");
  if (content.is_unsupported) made.title = words.no_passage;
  for (const each of content.parts) {
    if (each.citations.length) made.append(...each.citations.map((number) => citation(number, words.passage, "cite")));
    else made.append(each.text);
  }
  return [made, ...content.attributed.map((number) => citation(number, words.matched, "cite matched"))];
}

function findings(answer) {
  const found = [];
  if (answer.attributed.length) found.push(element("li", words.attributed));
  if (answer.unsupported.length) found.push(element("li", words.unsupported.replace("0", answer.unsupported.length), "bad"));
  if (answer.invalid_citations.length) found.push(element("li", words.invalid.replace("{}", answer.invalid_citations.join(", ")), "bad"));
  if (answer.is_grounded) found.push(element("li", words.grounded, "good"));
  return found;
}

function fail(text) {
  part("failure").textContent = text;
  part("failure").hidden = false;
}

const handlers = {
  prompt(sent) {
    const shown = document.querySelectorAll("[data-prompt] pre");
    if (sent) sent.messages.forEach((message, position) => { if (shown[position]) shown[position].textContent = message.content; });
  },
  token(delta) {
    part("said").append(delta.text);
  },
  answer(answer) {
    part("said").replaceChildren(...answer.sentences.flatMap(sentence));
    if (!answer.sentences.length && answer.text) part("said").textContent = answer.text;
    part("findings").replaceChildren(...findings(answer));
    if (answer.error) fail(`${answer.error.message} ${answer.error.hint || ""}`);
    part("status").textContent = words.by;
  },
};

// Calls the handler of each event, and keeps the text of an event that has not arrived whole.
function read(buffer) {
  const events = buffer.split("\n\n");
  for (const event of events.slice(0, -1)) {
    const [name, data] = event.split("\ndata: ");
    handlers[name.replace("event: ", "")](JSON.parse(data));
  }
  return events.at(-1);
}

async function ask() {
  const button = part("ask");
  button.disabled = true;
  part("status").textContent = words.writing;
  part("failure").hidden = true;
  part("said").replaceChildren();
  part("findings").replaceChildren();
  try {
    const response = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { accept: "text/event-stream, application/json" } });
    if (!response.ok) throw new Error((await response.json()).message || words.broken);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    for (let next = await reader.read(); !next.done; next = await reader.read()) buffer = read(buffer + next.value);
  } catch (error) {
    fail(error.name === "Error" ? error.message : words.broken);
    part("status").textContent = "";
  } finally {
    button.disabled = false;
    button.textContent = words.again;
  }
}

// Lights up the passage of the citation under the pointer or the focus; a click keeps it lit.
function light(event, isLit) {
  const link = event.target.closest && event.target.closest("a.cite");
  if (link) document.querySelector(link.hash).classList.toggle("lit", isLit);
}

document.addEventListener("pointerover", (event) => light(event, true));
document.addEventListener("pointerout", (event) => light(event, false));
document.addEventListener("focusin", (event) => light(event, true));
document.addEventListener("focusout", (event) => light(event, false));
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#passage-']");
  if (link) document.querySelector(link.hash).focus({ preventScroll: true });
});

if (form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  if (!("done" in form.dataset)) ask();
}
