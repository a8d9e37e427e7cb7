// The page that compares: the request on the screen as curl and as Python, and the line of a draft that is at fault.
// Controls of terminals and of direction, which JSON does not escape.
const hidden = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

function json(value) {
  return JSON.stringify(value).replace(hidden, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

// A literal of Python; strings are those of JSON.
function python(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, member]) => `${json(name)}: ${python(member)}`).join(", ")}}`;
  return json(value);
}

function asCurl(body, service, needsKey) {
  const key = needsKey ? ' \\\n  -H "Authorization: Bearer $RERANKD_API_KEY"' : "";
  return `curl -sS ${service}/v1/rerank \\\n  -H 'Content-Type: application/json'${key} \\\n  --data-binary @- <<'JSON'\n${json(body)}\nJSON\n`;
}

function asPython(body, service) {
  const { query, documents, ...options } = body;
  options.top_n ??= null;
  if (documents.some((document) => document.metadata)) options.send_metadata = true;
  const lines = documents.map((document) => `    ${python(document)},\n`).join("");
  const named = Object.entries(options).map(([name, value]) => `, ${name}=${python(value)}`).join("");
  return `from rerankd import Client\n\ndocuments = [\n${lines}]\nwith Client(${json(service)}) as client:\n    result = client.rank(${json(query)}, documents${named})\nfor ranked in result:\n    print(ranked.rank_after, ranked.index, f"{ranked.relevance_score:.4f}", repr(ranked.document.text[:80]))\n`;
}

// The request with the options of the controls.
function onScreen(request, options) {
  const body = { ...request };
  if (!options) return body;
  for (const name of ["top_n", "threshold", "fusion_weight"]) delete body[name];
  body.fusion = options.fusion;
  if (options.fusion !== "none") body.fusion_weight = options.weight;
  if (options.threshold > 0) body.threshold = options.threshold;
  if (options.topN !== Infinity) body.top_n = options.topN;
  return body;
}

function writeSnippets(options) {
  const block = document.getElementById("request");
  if (!block) return;
  const body = onScreen(JSON.parse(block.textContent), options);
  const service = block.dataset.service ?? location.origin;
  document.getElementById("curl").textContent = asCurl(body, service, "needsKey" in block.dataset);
  document.getElementById("python").textContent = asPython(body, service);
}

// Puts the cursor where the draft is wrong.
function selectFault() {
  const field = document.querySelector("textarea[data-line]");
  if (!field) return;
  const lines = field.value.split("\n");
  const line = Math.min(Number(field.dataset.line), lines.length) - 1;
  const start = lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, 0);
  field.focus();
  field.setSelectionRange(start, start + lines[line].length);
}

document.addEventListener("comparison:change", (event) => writeSnippets(event.detail));
document.addEventListener("DOMContentLoaded", () => {
  const element = document.querySelector(".comparison");
  if (element) writeSnippets(element.comparison.options);
  selectFault();
});
