// Decisions are sent once: the buttons of a form rest while it is under way.
"use strict";

document.addEventListener("submit", (event) => {
  const buttons = event.target.querySelectorAll("button:not([type=button])");
  setTimeout(() => buttons.forEach((button) => (button.disabled = true)), 0);
});

// A page that the browser kept comes back as it was left.
addEventListener("pageshow", (event) => {
  if (event.persisted) document.querySelectorAll("form button").forEach((button) => (button.disabled = false));
});
