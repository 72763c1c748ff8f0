// The first page: draws the chart from the figures in the page, and again whenever htmx brings new ones.
(() => {
  "use strict";
  let chart;
  let open = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const isDark = () => document.documentElement.classList.contains("dark");
  const figures = () => {
    const element = document.getElementById("executions-data");
    return element && JSON.parse(element.textContent);
  };

  const paint = () => {
    if (!chart) return;
    const ink = colour(isDark() ? "--color-base-300" : "--color-base-600");
    const line = colour(isDark() ? "--color-base-800" : "--color-base-200");
    for (const axis of Object.values(chart.options.scales)) {
      axis.ticks.color = ink;
      axis.grid.color = line;
      axis.border = { color: line };
    }
    chart.options.plugins.legend.labels.color = ink;
    chart.update("none");
  };

  const follow = (event, hits) => {
    const [hit] = hits;
    const data = figures();
    if (hit && data) window.location.href = data.datasets[hit.datasetIndex].urls[hit.index];
  };

  const draw = () => {
    const canvas = document.getElementById("executions-chart");
    const data = figures();
    if (!canvas || !data) return;
    const datasets = data.datasets.map((row) => ({ label: row.label, data: row.data, backgroundColor: row.colour }));
    if (chart && chart.canvas === canvas) {
      chart.data.labels = data.labels;
      datasets.forEach((row, index) => Object.assign(chart.data.datasets[index], row));
      chart.update("none");
      return;
    }
    if (chart) chart.destroy();
    chart = new Chart(canvas, {
      type: "bar",
      data: { labels: data.labels, datasets },
      options: {
        animation: false,
        responsive: true,
        maintainAspectRatio: false,
        onClick: follow,
        interaction: { mode: "nearest", intersect: true },
        scales: {
          x: { stacked: true, grid: { display: false }, ticks: { maxRotation: 0, autoSkipPadding: 12 } },
          y: { stacked: true, beginAtZero: true, suggestedMax: 4, grid: {}, ticks: { precision: 0 } },
        },
        plugins: { legend: { position: "bottom", labels: { boxWidth: 12, boxHeight: 12 } } },
      },
    });
    paint();
  };

  const say = (isLost) => {
    document.getElementById("dashboard-lost").hidden = !isLost;
  };

  const watch = () => {
    const dashboard = document.getElementById("dashboard");
    if (!dashboard) return;
    draw();
    new MutationObserver(paint).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
    dashboard.addEventListener("htmx:beforeSwap", (event) => {
      // Whoever is signed out is led to the login page; it belongs into the window, not into this part.
      if (!new URL(event.detail.xhr.responseURL).pathname.endsWith("/dashboard/")) {
        event.detail.shouldSwap = false;
        window.location.reload();
        return;
      }
      open = [...dashboard.querySelectorAll("details[open]")].map((element) => element.id);
    });
    dashboard.addEventListener("htmx:afterSwap", () => {
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      draw();
    });
    dashboard.addEventListener("htmx:afterRequest", (event) => say(!event.detail.successful));
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") htmx.trigger(dashboard, "visible-again");
    });
  };

  document.addEventListener("DOMContentLoaded", watch);
})();
