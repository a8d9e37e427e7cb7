// Charts of a page: every canvas with `data-chart` draws the JSON of the script element of that id.
"use strict";

const palette = ["--c0", "--c1", "--c2", "--c3"];

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Vertical lines for events on the axis, such as releases and experiments.
const marks = {
  id: "marks",
  afterDatasetsDraw(chart, _, options) {
    const { ctx, chartArea, scales } = chart;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = color("--soft");
    ctx.setLineDash([4, 3]);
    ctx.font = "11px system-ui, sans-serif";
    (options.list || []).forEach((mark, index) => {
      const x = scales.x.getPixelForValue(mark.at);
      if (x < chartArea.left || x > chartArea.right) return;
      ctx.beginPath();
      ctx.moveTo(x, chartArea.top);
      ctx.lineTo(x, chartArea.bottom);
      ctx.stroke();
      ctx.fillText(mark.label, Math.min(x + 3, chartArea.right - 60), chartArea.top + 10 + 12 * (index % 3));
    });
    ctx.restore();
  },
};

// The text beside the pointer: for values with a title, the title too.
function labelOf(content) {
  return (item) => {
    const series = content.series[item.datasetIndex];
    const value = content.kind === "scatter" ? `${item.formattedValue}` : `${series.name}: ${item.formattedValue}`;
    return series.titles ? [series.titles[item.dataIndex], value] : value;
  };
}

function draw(canvas) {
  const content = JSON.parse(document.getElementById(canvas.dataset.chart).textContent);
  const isScatter = content.kind === "scatter";
  const datasets = content.series.map((series, index) => ({
    label: series.name,
    data: series.values,
    borderColor: color(series.color || palette[index % palette.length]),
    backgroundColor: series.colors ? series.colors.map(color) : color(series.color || palette[index % palette.length]),
    borderDash: [[], [8, 4], [2, 3], [10, 3, 2, 3]][Math.floor(index / palette.length) % 4],
    borderWidth: content.kind === "bar" ? 0 : 2,
    showLine: content.kind === "line" || Boolean(series.line),
    pointRadius: isScatter ? (series.line ? 0 : 4) : 2,
    pointHitRadius: series.line ? 0 : 4,
    spanGaps: true,
  }));
  Chart.getChart(canvas)?.destroy();
  new Chart(canvas, {
    type: content.kind,
    data: { labels: isScatter ? undefined : content.labels, datasets },
    plugins: [marks],
    options: {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      color: color("--text"),
      onClick: (_, elements) => {
        const series = elements.length && content.series[elements[0].datasetIndex];
        const address = elements.length && (series.links || content.links || [])[elements[0].index];
        if (address) location.assign(address);
      },
      scales: {
        x: { ticks: { color: color("--soft"), maxRotation: 0, autoSkipPadding: 16 }, grid: { color: color("--line") }, title: { display: Boolean(content.x_title), text: content.x_title, color: color("--soft") } },
        y: { ticks: { color: color("--soft") }, grid: { color: color("--line") }, title: { display: Boolean(content.unit), text: content.unit, color: color("--soft") } },
      },
      plugins: { legend: { display: content.series.length > 1, labels: { color: color("--text") } }, tooltip: { callbacks: { label: labelOf(content) } }, marks: { list: content.marks } },
    },
  });
}

function drawAll(root) {
  root.querySelectorAll("canvas[data-chart]").forEach(draw);
}

document.addEventListener("DOMContentLoaded", () => drawAll(document));
document.addEventListener("htmx:afterSwap", (event) => drawAll(event.target));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));
