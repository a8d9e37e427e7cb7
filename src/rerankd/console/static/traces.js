// The list of traces: selection for export, and addresses without empty parameters.
"use strict";

const boxes = () => [...document.querySelectorAll('input[name="id"]')];

// Says on the button how many traces are selected, and enables it for at least one.
function showSelection() {
  const button = document.querySelector("[data-exports]");
  const all = document.querySelector("[data-selects-all]");
  if (!button || !all) return;
  const selected = boxes().filter((box) => box.checked).length;
  button.disabled = selected === 0;
  button.querySelector("[data-count]").textContent = selected ? ` (${selected})` : "";
  all.hidden = false;
  all.checked = selected > 0 && selected === boxes().length;
  all.indeterminate = selected > 0 && !all.checked;
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-selects-all]")) {
    for (const box of boxes()) box.checked = event.target.checked;
  }
  if (event.target.matches("[data-selects-all], input[name='id']")) showSelection();
});

document.addEventListener("htmx:configRequest", (event) => {
  const parameters = event.detail.parameters;
  for (const [name, value] of Object.entries(parameters)) if (value === "") delete parameters[name];
});

// The list is replaced alone: what names its address elsewhere on the page follows.
document.addEventListener("htmx:pushedIntoHistory", (event) => {
  const address = new URL(event.detail.path, location.href);
  document.querySelector("footer a").href = `${address.pathname}.json${address.search}`;
  for (const field of document.querySelectorAll('input[name="next"]')) field.value = address.pathname + address.search;
});

for (const name of ["htmx:afterSwap", "htmx:historyRestore"]) document.addEventListener(name, showSelection);
document.addEventListener("DOMContentLoaded", showSelection);
