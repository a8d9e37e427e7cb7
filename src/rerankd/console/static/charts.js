// Charts of a page: every canvas with `data-chart` draws the JSON of the script element of that id.
//   kind     line | bar | scatter                      labels   of the points
//   series   [{name, values}], and as they like: color, or colors of the values (names of CSS variables), titles and
//            links of the values, line (in a scatter chart)
//   times    starts of the points, seconds since 1970 (a time axis in UTC)
//   marks    [{at, label, kind}] vertical lines        step     seconds between two times
//   limits   [{value, label}] horizontal lines         links, or links_id of a script element with [{traces}]: what a click opens
"use strict";

const palette = ["--c0", "--c1", "--c2", "--c3"];
const dashes = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
const pointStyles = ["circle", "rect", "triangle", "rectRot"];
const ticksOf = [60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 604800, 1209600];
const DAY = 86400;

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function jsonOf(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

// Vertical lines for events on the axis, such as releases and experiments. Short labels are flags, which do not overlap.
const marks = {
  id: "marks",
  afterDatasetsDraw(chart, _, options) {
    const { ctx, chartArea, scales } = chart;
    let last = -Infinity;
    let level = 0;
    (options.list || []).forEach((mark) => {
      const x = scales.x.getPixelForValue(mark.at);
      if (x < chartArea.left || x > chartArea.right) return;
      level = x - last < 18 ? (level + 1) % 4 : 0;
      last = x;
      drawMark(ctx, chartArea, x, level, mark);
    });
  },
};

function drawMark(ctx, area, x, level, mark) {
  const y = area.top + 9 + 18 * level;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = color(mark.kind === "release" ? "--text" : "--soft");
  ctx.setLineDash(mark.kind === "release" ? [] : [4, 3]);
  ctx.beginPath();
  ctx.moveTo(x, area.top);
  ctx.lineTo(x, area.bottom);
  ctx.stroke();
  ctx.font = "bold 11px system-ui, sans-serif";
  ctx.textBaseline = "middle";
  if (mark.label.length > 2) {
    ctx.fillText(mark.label, Math.min(x + 3, area.right - 60), y);
  } else {
    const at = Math.min(Math.max(x, area.left + 9), area.right - 9);
    ctx.beginPath();
    ctx.arc(at, y, 8.5, 0, 2 * Math.PI);
    ctx.fill();
    ctx.fillStyle = color("--card");
    ctx.textAlign = "center";
    ctx.fillText(mark.label, at, y + 0.5);
  }
  ctx.restore();
}

// Horizontal lines for thresholds.
const limits = {
  id: "limits",
  afterDatasetsDraw(chart, _, options) {
    const { ctx, chartArea, scales } = chart;
    (options.list || []).forEach((limit) => {
      const y = scales.y.getPixelForValue(limit.value);
      if (y < chartArea.top || y > chartArea.bottom) return;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = color("--bad");
      ctx.setLineDash([6, 4]);
      ctx.beginPath();
      ctx.moveTo(chartArea.left, y);
      ctx.lineTo(chartArea.right, y);
      ctx.stroke();
      ctx.font = "11px system-ui, sans-serif";
      ctx.fillText(limit.label, chartArea.left + 4, y - 4);
      ctx.restore();
    });
  },
};

function utc(seconds) {
  return new Date(seconds * 1000).toISOString();
}

function timeTicks(scale) {
  const most = Math.max(2, Math.floor(scale.width / 64));
  const span = scale.max - scale.min;
  const step = ticksOf.find((each) => span / each <= most) || ticksOf.at(-1);
  scale.ticks = [];
  for (let at = Math.ceil(scale.min / step) * step; at <= scale.max; at += step) scale.ticks.push({ value: at });
}

function timeLabel(seconds) {
  return seconds % DAY === 0 ? utc(seconds).slice(5, 10) : utc(seconds).slice(11, 16);
}

function dataOf(content, series) {
  if (content.kind === "scatter" || !content.times) return series.values;
  return content.times.map((start, index) => ({ x: start + content.step / 2, y: series.values[index] }));
}

function pointRadiusOf(content, series) {
  if (content.kind === "scatter") return series.line ? 0 : 4;
  return content.times ? 2.5 : 2;
}

function datasetOf(content, series, index) {
  const line = color(series.color || palette[index % palette.length]);
  return {
    label: series.name,
    data: dataOf(content, series),
    borderColor: line,
    backgroundColor: series.colors ? series.colors.map(color) : line,
    borderDash: dashes[Math.floor(index / palette.length) % dashes.length],
    borderWidth: content.kind === "bar" ? 0 : 2,
    showLine: content.kind === "line" || Boolean(series.line),
    pointStyle: content.times ? pointStyles[index % pointStyles.length] : "circle",
    pointRadius: pointRadiusOf(content, series),
    pointHoverRadius: series.line ? 0 : 6,
    pointHitRadius: series.line ? 0 : 4,
    spanGaps: !content.times,
    barPercentage: 0.9,
    categoryPercentage: 1,
  };
}

function xAxis(content) {
  const title = { display: Boolean(content.x_title), text: content.x_title, color: color("--soft") };
  const grid = { color: color("--line") };
  if (!content.times) return { ticks: { color: color("--soft"), maxRotation: 0, autoSkipPadding: 16 }, grid, title };
  return {
    type: "linear",
    offset: false,
    min: content.times[0],
    max: content.times.at(-1) + content.step,
    afterBuildTicks: timeTicks,
    ticks: { color: color("--soft"), maxRotation: 0, autoSkip: false, callback: timeLabel },
    stacked: Boolean(content.stacked),
    grid: { ...grid, offset: false },
    title,
  };
}

function yAxis(content) {
  return {
    beginAtZero: content.kind === "bar" || Boolean(content.from_zero),
    stacked: Boolean(content.stacked),
    ticks: { color: color("--soft"), maxTicksLimit: 6 },
    grid: { color: color("--line") },
    title: { display: Boolean(content.unit), text: content.unit, color: color("--soft") },
  };
}

// The text beside the pointer: for values with a title, the title too.
function labelOf(content, number) {
  return (item) => {
    const series = content.series[item.datasetIndex];
    const text = content.times ? number.format(item.parsed.y) : item.formattedValue;
    const value = content.kind === "scatter" ? text : `${series.name}: ${text}`;
    return series.titles ? [series.titles[item.dataIndex], value] : value;
  };
}

function tooltipOf(content) {
  const number = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: content.digits ?? 3 });
  const callbacks = { label: labelOf(content, number) };
  if (content.times) callbacks.title = (items) => (items.length ? content.labels[items[0].dataIndex] : "");
  return { callbacks };
}

function addressOf(content, element) {
  const index = element.index;
  const links = content.series[element.datasetIndex].links || content.links;
  if (links) return links[index];
  const points = content.links_id && document.getElementById(content.links_id) && jsonOf(content.links_id);
  return points && points[index] && points[index].traces;
}

function draw(canvas) {
  const content = jsonOf(canvas.dataset.chart);
  const hasLinks = Boolean(content.links || content.links_id || content.series.some((series) => series.links));
  Chart.getChart(canvas)?.destroy();
  new Chart(canvas, {
    type: content.kind,
    data: {
      labels: content.kind === "scatter" || content.times ? undefined : content.labels,
      datasets: content.series.map((series, index) => datasetOf(content, series, index)),
    },
    plugins: [marks, limits],
    options: {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      color: color("--text"),
      interaction: content.times ? { mode: "index", intersect: false } : undefined,
      onHover: (event, elements) => {
        event.native.target.style.cursor = hasLinks && elements.length ? "pointer" : "";
      },
      onClick: (_, elements) => {
        const address = elements.length && addressOf(content, elements[0]);
        if (address) location.assign(address);
      },
      scales: { x: xAxis(content), y: yAxis(content) },
      plugins: {
        legend: {
          display: content.series.length > 1,
          align: "start",
          labels: { color: color("--text"), usePointStyle: true, boxHeight: 7 },
        },
        tooltip: tooltipOf(content),
        marks: { list: content.marks },
        limits: { list: content.limits },
      },
    },
  });
}

function drawAll(root) {
  Object.values(Chart.instances).forEach((chart) => chart.canvas?.isConnected || chart.destroy());
  root.querySelectorAll("canvas[data-chart]").forEach(draw);
}

document.addEventListener("DOMContentLoaded", () => drawAll(document));
document.addEventListener("htmx:afterSwap", (event) => drawAll(event.target));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));
