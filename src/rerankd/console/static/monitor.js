// Updates of the page of monitoring: every minute, unless paused or in the way of what somebody does.
"use strict";

const SECONDS = 60;
const panels = document.getElementById("panels");
const pause = document.getElementById("pause");

function isPaused() {
  return pause.getAttribute("aria-pressed") === "true";
}

function setPaused(paused) {
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? pause.dataset.resume : pause.dataset.pause;
}

// Text that is being selected would be lost.
function isSelecting() {
  const selection = getSelection();
  return !selection.isCollapsed && panels.contains(selection.anchorNode);
}

function refresh() {
  if (!isPaused() && !document.hidden && !isSelecting()) htmx.trigger(panels, "refresh");
}

// What a new content must keep: open tables, how far they are scrolled, and what has the focus.
let kept = { open: [], scrolled: [], focused: "" };

function keep() {
  kept = {
    open: [...panels.querySelectorAll("details[open][id]")].map((each) => each.id),
    scrolled: [...panels.querySelectorAll(".wide[id]")].map((each) => [each.id, each.scrollTop, each.scrollLeft]),
    focused: panels.contains(document.activeElement) ? document.activeElement.id : "",
  };
}

function restore() {
  kept.open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  kept.scrolled.forEach(([id, top, left]) => document.getElementById(id)?.scrollTo({ top, left, behavior: "instant" }));
  if (kept.focused) document.getElementById(kept.focused)?.focus({ preventScroll: true });
}

pause.addEventListener("click", () => setPaused(!isPaused()));
panels.addEventListener("htmx:beforeSwap", (event) => {
  // Another page, such as the one that asks for a key when the session has ended.
  if (new URL(event.detail.xhr.responseURL).pathname !== location.pathname) {
    event.detail.shouldSwap = false;
    location.reload();
    return;
  }
  keep();
});
panels.addEventListener("htmx:afterSwap", restore);
setInterval(refresh, SECONDS * 1000);
