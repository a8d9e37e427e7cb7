// The order of a ranking: the same as `rerankd.ranking.order`, so that lists can be sorted anew without scoring again.
// Sums are made in numpy's order: numbers that tie there tie here.
const RRF_CONSTANT = 60;

// numpy's pairwise sum: eight running sums for up to 128 numbers, halves beyond that.
function pairwiseSum(values, start = 0, count = values.length) {
  if (count < 8) {
    let sum = 0;
    for (let i = 0; i < count; i += 1) sum += values[start + i];
    return sum;
  }
  if (count > 128) {
    let half = Math.floor(count / 2);
    half -= half % 8;
    return pairwiseSum(values, start, half) + pairwiseSum(values, start + half, count - half);
  }
  const sums = values.slice(start, start + 8);
  let i = 8;
  for (; i < count - (count % 8); i += 8) {
    for (let j = 0; j < 8; j += 1) sums[j] += values[start + i + j];
  }
  let sum = sums[0] + sums[1] + (sums[2] + sums[3]) + (sums[4] + sums[5] + (sums[6] + sums[7]));
  for (; i < count; i += 1) sum += values[start + i];
  return sum;
}

function mean(values) {
  return pairwiseSum(values) / values.length;
}

function standardized(values) {
  const middle = mean(values);
  const spread = Math.sqrt(mean(values.map((value) => (value - middle) * (value - middle))));
  const largest = Math.max(0, ...values.map(Math.abs));
  if (spread <= 1e-12 * Math.max(1, largest)) return values.map(() => 0);
  return values.map((value) => (value - middle) / spread);
}

function reciprocalRanks(values) {
  const order = values.map((_, index) => index).sort((a, b) => values[b] - values[a] || a - b);
  const result = new Array(values.length);
  order.forEach((index, position) => { result[index] = 1 / (RRF_CONSTANT + position + 1); });
  return result;
}

// The model's scores fused with those of the first stage; without one of these (NaN) the order of the request counts.
function fused(scores, first, method, weight) {
  let before = first;
  if (first.some(Number.isNaN)) {
    before = scores.map((_, index) => -index);
    if (method === "weighted") before = before.map((value) => 1 / (RRF_CONSTANT - value));
  }
  const [model, stage] = method === "rrf" ? [reciprocalRanks(scores), reciprocalRanks(before)] : [standardized(scores), standardized(before)];
  return model.map((value, index) => value + weight * stage[index]);
}

// Positions of the documents, best first, without those that rules filter out.
// A document: {raw, boost, pin, filtered, blank, first, score}; options: {fusion, weight}.
function orderOf(documents, { fusion = "none", weight = 0 } = {}) {
  let values = documents.map((document) => document.raw + document.boost);
  if (fusion !== "none" && values.length) values = fused(values, documents.map((document) => document.first), fusion, weight);
  const order = documents.map((_, index) => index);
  order.sort((a, b) => Number(documents[a].blank) - Number(documents[b].blank) || values[b] - values[a] || a - b);
  return withPins(documents, order.filter((index) => !documents[index].filtered));
}

function withPins(documents, order) {
  const slots = new Map();
  const pinned = order.filter((index) => documents[index].pin);
  pinned.sort((a, b) => documents[a].pin - documents[b].pin);
  for (const index of pinned) {
    let position = documents[index].pin;
    while (slots.has(position)) position += 1;
    slots.set(position, index);
  }
  const others = order.filter((index) => !documents[index].pin);
  const result = [];
  for (let next = 0; next < others.length || slots.has(result.length + 1); ) {
    const position = result.length + 1;
    if (slots.has(position)) {
      result.push(slots.get(position));
      slots.delete(position);
    } else {
      result.push(others[next]);
      next += 1;
    }
  }
  return result.concat([...slots.keys()].sort((a, b) => a - b).map((position) => slots.get(position)));
}

// The documents of an order that are returned: the first `topN`, and of these the ones that reach the threshold.
function returnedOf(documents, order, { topN = Infinity, threshold = 0 } = {}) {
  const passes = (document) => threshold === 0 || document.pin || (document.score >= threshold && !document.blank);
  return order.slice(0, topN).filter((index) => passes(documents[index]));
}

globalThis.rerankdRanking = { orderOf, returnedOf, fused };
