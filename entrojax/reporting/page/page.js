// Draws the figures of a report, hides variants, and sorts tables.
"use strict";

const hidden = new Set(); // indices of the variants that the reader hid
const plots = []; // {element, figure, drawn}

// Returns the text of an element that holds gzip in base64.
async function unpack(id) {
  const packed = atob(document.getElementById(id).textContent.trim());
  const bytes = Uint8Array.from(packed, (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream();
  const unzipped = stream.pipeThrough(new DecompressionStream("gzip"));
  return new Response(unzipped).text();
}

function color(name) {
  const style = getComputedStyle(document.documentElement);
  return style.getPropertyValue(name).trim();
}

// Returns the layout of a figure in the colours of the page.
function themed(layout) {
  const axis = {
    gridcolor: color("--grid"),
    linecolor: color("--line"),
    zerolinecolor: color("--line"),
    tickfont: { color: color("--soft") },
    showline: true,
    spikecolor: color("--soft"),
    spikethickness: 1,
  };
  const title = { font: { size: 12, color: color("--soft") }, standoff: 6 };
  return {
    ...layout,
    autosize: true,
    margin: { l: 48, r: 12, t: 8, b: 42 },
    showlegend: false,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 11, color: color("--ink") },
    hoverlabel: {
      bgcolor: color("--card"),
      bordercolor: color("--line"),
      font: { color: color("--ink") },
      namelength: -1,
    },
    // a finger scrolls the page; a mouse draws the part to zoom into
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    xaxis: {
      ...axis,
      ...layout.xaxis,
      title: { ...title, ...layout.xaxis.title },
    },
    yaxis: { ...axis, ...layout.yaxis },
  };
}

const isShown = (trace) => trace.meta === null || !hidden.has(trace.meta);

function draw(plot) {
  if (plot.drawn) return;
  plot.drawn = true;
  const traces = plot.figure.data.map((trace) => ({
    ...trace,
    visible: isShown(trace),
  }));
  const options = { displayModeBar: false, responsive: true };
  Plotly.newPlot(plot.element, traces, themed(plot.figure.layout), options);
}

function update() {
  for (const button of document.querySelectorAll("nav [data-variant]")) {
    const shown = !hidden.has(Number(button.dataset.variant));
    button.setAttribute("aria-pressed", shown);
  }
  for (const plot of plots.filter((p) => p.drawn)) {
    const visible = plot.figure.data.map(isShown);
    Plotly.restyle(plot.element, { visible });
  }
}

function listenToLegend() {
  const buttons = [...document.querySelectorAll("nav [data-variant]")];
  const all = buttons.map((button) => Number(button.dataset.variant));
  for (const button of buttons) {
    const variant = Number(button.dataset.variant);
    button.addEventListener("click", () => {
      if (!hidden.delete(variant)) hidden.add(variant);
      update();
    });
    button.addEventListener("dblclick", () => {
      all.forEach((other) => hidden.add(other));
      hidden.delete(variant);
      update();
    });
  }
  document.querySelector("nav .all")?.addEventListener("click", () => {
    hidden.clear();
    update();
  });
  document.querySelector("nav .none")?.addEventListener("click", () => {
    all.forEach((variant) => hidden.add(variant));
    update();
  });
}

// Returns what a cell is sorted by: its last number before a spread, or text.
function sortKey(cell) {
  const text = cell.textContent.split("→").pop().trim();
  const number = parseFloat(text.replaceAll(",", "").replace("−", "-"));
  return Number.isNaN(number) ? text : number;
}

function sortBy(heading) {
  const column = heading.cellIndex;
  const body = heading.closest("table").tBodies[0];
  const down = heading.getAttribute("aria-sort") !== "descending";
  for (const other of heading.parentNode.cells) {
    other.removeAttribute("aria-sort");
  }
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const compare = (a, b) => {
    const [x, y] = [a, b].map((row) => sortKey(row.cells[column]));
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
    const order = x < y ? -1 : x > y ? 1 : 0;
    return down ? -order : order;
  };
  body.append(...[...body.rows].sort(compare));
}

async function start() {
  const library = document.createElement("script");
  library.textContent = await unpack("library");
  document.head.append(library);
  const figures = JSON.parse(await unpack("figures"));
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((e) => e.isIntersecting)) {
        draw(plots[entry.target.dataset.figure]);
        watcher.unobserve(entry.target);
      }
    },
    { rootMargin: "600px" },
  );
  for (const element of document.querySelectorAll(".plot")) {
    plots[element.dataset.figure] = {
      element,
      figure: figures[element.dataset.figure],
      drawn: false,
    };
    watcher.observe(element);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const plot of plots.filter((p) => p.drawn)) {
      Plotly.relayout(plot.element, themed(plot.figure.layout));
    }
  });
  addEventListener("beforeprint", () => plots.forEach(draw));
}

listenToLegend();
for (const heading of document.querySelectorAll("thead th")) {
  heading.addEventListener("click", () => sortBy(heading));
}
start().catch((error) => {
  const note = document.getElementById("failed");
  note.hidden = false;
  note.append(` (${error})`);
});
