// Comparisons of two ranked lists: lines between them, sorting anew by the controls, and the filter of what moved.
const { orderOf, returnedOf } = globalThis.rerankdRanking;
const DASH = "–";

function number(text) {
  return text === "" || text === undefined ? NaN : Number(text);
}

// The value of a slider in thousandths, unless it is the one that the page came with.
function precise(slider) {
  return slider.value === slider.defaultValue ? Number(slider.value) : Math.round(Number(slider.value) * 1000) / 1000;
}

// What the page says of a document in one list.
function readEntry(item) {
  const { index, rank, score, raw, boost, pin, first } = item.dataset;
  return {
    item,
    index: Number(index),
    rank: rank === "" ? null : Number(rank),
    isReturned: !item.classList.contains("out"),
    score: number(score),
    raw: number(raw),
    boost: Number(boost),
    pin: Number(pin),
    first: number(first),
    filtered: "filtered" in item.dataset,
    blank: "blank" in item.dataset,
  };
}

class RankedList {
  constructor(element) {
    this.element = element;
    this.isSortable = "sortable" in element.dataset;
    this.entries = [...element.children].map(readEntry);
    this.byIndex = new Map(this.entries.map((entry) => [entry.index, entry]));
    // Documents of equal score stay in the order of the request.
    this.documents = [...this.entries].sort((a, b) => a.index - b.index);
  }

  // Ranks the documents by the options; a list whose order is given is cut only.
  rank(options) {
    const kept = this.isSortable ? this.documents : this.entries;
    const order = this.isSortable ? orderOf(kept, options) : kept.map((_, position) => position).filter((position) => kept[position].rank !== null);
    const returned = new Set(returnedOf(kept, order, this.isSortable ? options : { topN: options.topN }));
    kept.forEach((entry) => { entry.rank = null; entry.isReturned = false; });
    order.forEach((position, place) => {
      kept[position].rank = place + 1;
      kept[position].isReturned = returned.has(position);
    });
    const filtered = kept.filter((entry) => entry.rank === null);
    if (this.isSortable) this.element.append(...order.map((position) => kept[position].item), ...filtered.map((entry) => entry.item));
  }
}

class Comparison {
  constructor(root) {
    this.root = root;
    this.form = root.querySelector("form.controls");
    this.lines = root.querySelector("svg.lines");
    [this.left, this.right] = [...root.querySelectorAll("ol[data-side]")].map((element) => new RankedList(element));
    this.isChanged = false;
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", (event) => this.change(event.target.name));
    this.form.addEventListener("reset", () => setTimeout(() => this.change("")));
    for (const kind of ["pointerover", "focusin"]) root.addEventListener(kind, (event) => this.point(event.target));
    root.addEventListener("toggle", () => this.draw(), true);
    new ResizeObserver(() => this.draw()).observe(root);
    this.showValues();
    this.draw();
  }

  get options() {
    const { threshold, top_n: topN, fusion, fusion_weight: weight } = this.form.elements;
    if (!threshold) return null;
    const isAll = topN.value === topN.max;
    return { threshold: precise(threshold), topN: isAll ? Infinity : Number(topN.value), fusion: fusion.value, weight: precise(weight) };
  }

  get movedMoreThan() {
    const { value } = this.form.elements.moved;
    return value === "" ? null : Number(value);
  }

  change(name) {
    const options = this.options;
    if (options && name !== "moved") {
      if (name === "fusion") this.form.elements.fusion_weight.value = options.fusion === "rrf" ? 1 : 0.5;
      this.left.rank(this.options);
      this.right.rank(this.options);
      this.showRanks();
    }
    this.filter();
    this.showValues();
    this.draw();
    this.root.dispatchEvent(new CustomEvent("comparison:change", { detail: this.options, bubbles: true }));
  }

  move(index) {
    const [left, right] = [this.left.byIndex.get(index), this.right.byIndex.get(index)];
    return left && right && left.rank !== null && right.rank !== null ? left.rank - right.rank : null;
  }

  showRanks() {
    const counts = { common: 0, only_left: 0, only_right: 0, up: 0, down: 0 };
    for (const list of [this.left, this.right]) {
      for (const entry of list.entries) {
        entry.item.classList.toggle("out", !entry.isReturned);
        entry.item.querySelector(".rank").textContent = entry.rank ?? DASH;
      }
    }
    for (let index = 0; index < Number(this.root.dataset.documents); index += 1) {
      const [left, right] = [this.left, this.right].map((list) => Boolean(list.byIndex.get(index)?.isReturned));
      if (left && right) counts.common += 1;
      else if (left) counts.only_left += 1;
      else if (right) counts.only_right += 1;
      const moved = this.move(index);
      if (moved > 0) counts.up += 1;
      if (moved < 0) counts.down += 1;
      this.showMove(index, moved);
    }
    for (const [name, count] of Object.entries(counts)) this.root.querySelector(`[data-count=${name}]`).textContent = count;
  }

  showMove(index, moved) {
    const place = this.right.byIndex.get(index)?.item.querySelector(".move");
    if (!place) return;
    const sign = Math.sign(moved ?? 0);
    place.classList.remove("up", "down", "same");
    place.classList.add(["down", "same", "up"][sign + 1]);
    const word = moved === null ? place.dataset.new : [place.dataset.down, place.dataset.same, place.dataset.up][sign + 1];
    const text = place.firstElementChild;
    text.setAttribute("aria-label", word.replace("{n}", Math.abs(moved)));
    text.textContent = moved === null ? DASH : ["▼ ", "=", "▲ "][sign + 1] + (sign ? Math.abs(moved) : "");
  }

  // Hides the documents that did not move more than the reader asks for.
  filter() {
    const most = this.movedMoreThan;
    let shown = 0;
    for (const list of [this.left, this.right]) {
      for (const { item, index } of list.entries) {
        const moved = this.move(index);
        item.hidden = most !== null && !(moved !== null && Math.abs(moved) > most);
        shown += item.hidden ? 0 : 1;
      }
    }
    this.root.querySelector(".none-moved").hidden = shown > 0;
  }

  showValues() {
    const { threshold, top_n: topN, fusion, fusion_weight: weight } = this.form.elements;
    if (!threshold) return;
    const outputs = [...this.form.querySelectorAll("output")];
    outputs[0].textContent = String(precise(threshold));
    outputs[1].textContent = topN.value === topN.max ? outputs[1].dataset.all : topN.value;
    outputs[2].textContent = fusion.value === "none" ? DASH : String(precise(weight));
    weight.disabled = fusion.value === "none";
  }

  // One line for each document that both lists show, from the one place to the other.
  draw() {
    const box = this.lines.getBoundingClientRect();
    const lines = [];
    for (const { item, index, isReturned } of this.left.entries) {
      const other = this.right.byIndex.get(index);
      if (!other || item.hidden || other.item.hidden) continue;
      const [from, to] = [item, other.item].map((each) => middle(each) - box.top);
      const moved = this.move(index);
      const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
      const bend = box.width / 2;
      line.setAttribute("d", `M0,${from} C${bend},${from} ${bend},${to} ${box.width},${to}`);
      line.setAttribute("class", moved === null ? "same out" : `${["down", "same", "up"][Math.sign(moved) + 1]}${isReturned || other.isReturned ? "" : " out"}`);
      line.dataset.index = index;
      lines.push(line);
    }
    this.lines.replaceChildren(...lines);
  }

  // Shows which document of the other list is the same.
  point(target) {
    const item = target.closest("li[data-index]");
    this.root.querySelectorAll(".pointed").forEach((each) => each.classList.remove("pointed"));
    if (item) this.root.querySelectorAll(`[data-index="${item.dataset.index}"]`).forEach((each) => each.classList.add("pointed"));
  }
}

// The height of the middle of a document's rank.
function middle(item) {
  const { top, height } = item.querySelector(".rank").getBoundingClientRect();
  return top + height / 2;
}

function compareAll(root) {
  root.querySelectorAll(".comparison").forEach((element) => {
    if (!element.comparison) element.comparison = new Comparison(element);
  });
}

document.addEventListener("DOMContentLoaded", () => compareAll(document));
document.addEventListener("htmx:afterSwap", (event) => compareAll(event.target));
