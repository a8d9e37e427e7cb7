// The queue: `n` opens what is to be labelled next.
"use strict";

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, select, textarea, [contenteditable], dialog");
  if (event.key.toLowerCase() !== "n" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  document.getElementById("next")?.click();
});
