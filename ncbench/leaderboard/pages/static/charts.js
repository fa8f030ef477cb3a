// Charts, drawn by Plotly from the JSON beside them when they come into view: most pages are read without.
"use strict";

const library = document.currentScript.dataset.library;
const DASHES = ["solid", "dash", "dot", "dashdot"];
const SYMBOLS = ["circle", "square", "diamond", "cross"];
let loading = null;

function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = library;
    script.onload = () => resolve(globalThis.Plotly);
    script.onerror = reject;
    document.head.append(script);
  });
  return loading;
}

// The value that a variable of the style sheet has in the theme of the moment.
function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const line = (style) => colour(`line-${style % 4}`);

function axis(title, options = {}) {
  return { title: { text: literal(title) }, gridcolor: colour("hairline"), linecolor: colour("muted"), zeroline: false, spikecolor: colour("muted"), spikethickness: 1, automargin: true, ...options };
}

function layout(options) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), family: getComputedStyle(document.querySelector("table") ?? document.body).fontFamily, size: 12 },
    margin: { l: 48, r: 12, t: 8, b: 40 },
    hoverlabel: { bgcolor: colour("paper"), bordercolor: colour("muted"), font: { color: colour("ink") } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    dragmode: false,
    ...options,
  };
}

function curves(data) {
  const traces = data.lines.flatMap(({ label, style, median, seeds }) => {
    const name = literal(label);
    const shared = { type: "scatter", legendgroup: name, name };
    const faint = seeds.map(([x, y]) => ({ ...shared, x, y, mode: "lines", opacity: 0.35, line: { color: line(style), width: 1 }, hoverinfo: "skip", showlegend: false }));
    const mode = median[0].length > 1 ? "lines" : "markers";
    return [...faint, { ...shared, x: median[0], y: median[1], mode, line: { color: line(style), width: 2.5, dash: DASHES[style % 4] }, marker: { color: line(style) } }];
  });
  const percent = data.scale === "percent";
  const yaxis = axis(percent ? "per cent" : "", data.scale === "log" ? { type: "log" } : { rangemode: "tozero", ...(percent && { range: [0, 102] }) });
  const shapes = data.stages.map((x) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: colour("muted"), width: 1, dash: "dot" } }));
  return [traces, layout({ height: 280, hovermode: "x unified", hoverdistance: -1, shapes, xaxis: axis("epoch", { type: "log", tickvals: [1, 10, 100, 1000, 10000].flatMap((unit) => [unit, 2 * unit, 5 * unit]) }), yaxis })];
}

// Means of one metric with their intervals, or one metric against another.
function rows(data, chosen) {
  const { x, y } = chosen;
  const kinds = [...new Set(data.rows.map((row) => row.labels))];
  const shown = data.rows.filter((row) => row.values[y] && (!x || row.values[x]));
  const traces = kinds.map((kind, style) => {
    const members = shown.filter((row) => row.labels === kind);
    const at = (name) => members.map((row) => row.values[name][0]);
    const spread = (name) => ({ type: "data", array: members.map((row) => row.values[name][1] ?? 0), color: colour("ink"), thickness: 1, width: 3 });
    const names = members.map((row) => literal(row.name));
    const shared = { name: literal(kind), text: names, type: "scatter", mode: "markers", marker: { color: line(style), symbol: SYMBOLS[style % 4], size: 8 } };
    if (!x) return { ...shared, x: at(y), y: members.map((row) => shown.indexOf(row)), error_x: spread(y), hovertemplate: "%{text}<br>%{x}<extra></extra>" };
    return { ...shared, x: at(x), y: at(y), error_x: spread(x), error_y: spread(y), hovertemplate: "%{text}<br>%{x}; %{y}<extra></extra>" };
  });
  if (!x) {
    const most = innerWidth < 640 ? 18 : 44;
    const ticktext = shown.map(({ name }) => literal(name.length > most ? `${name.slice(0, most - 1)}…` : name));
    const yaxis = axis("", { tickvals: shown.map((_, place) => place), ticktext, range: [shown.length - 0.4, -0.6] });
    // Above the axis, which is on top since the picture is taller than a screen.
    const legend = { orientation: "h", yref: "container", y: 1, yanchor: "top", x: 0 };
    const above = 56 + 22 * (innerWidth < 640 ? kinds.length : 1);
    return [traces, layout({ legend, showlegend: true, margin: { l: 48, r: 12, t: above, b: 8 }, height: above + 20 + 22 * shown.length, hovermode: "closest", xaxis: axis(data.axes[y], { side: "top", automargin: false }), yaxis })];
  }
  const scale = (name) => (["cost", "nc1", "bias_nc1"].includes(name) ? { type: "log" } : {});
  return [traces, layout({ height: 460, hovermode: "closest", xaxis: axis(data.axes[x], scale(x)), yaxis: axis(data.axes[y], scale(y)) })];
}

// Best mean rank on the left; bars over what the critical difference does not tell apart.
function ranks(data) {
  const count = data.methods.length;
  const bars = data.alike.length;
  const points = { type: "scatter", mode: "markers+text", x: [], y: [], text: [], textposition: "middle right", cliponaxis: false, marker: { color: line(0), size: 7 }, hoverinfo: "text" };
  data.methods.forEach(([name, rank], place) => {
    points.x.push(rank);
    points.y.push(-bars - 1 - place);
    points.text.push(` ${literal(name)} ${rank.toFixed(2)}`);
  });
  const upright = data.methods.map(([, rank], place) => ({ type: "line", x0: rank, x1: rank, y0: 0, y1: -bars - 1 - place, layer: "below", line: { color: colour("hairline"), width: 1 } }));
  const joined = data.alike.map(([first, last], level) => ({ type: "line", x0: data.methods[first][1] - 0.03, x1: data.methods[last][1] + 0.03, y0: -0.6 - level, y1: -0.6 - level, line: { color: line(2), width: 5 } }));
  const difference = { type: "line", x0: 1, x1: 1 + data.difference, y0: 0.8, y1: 0.8, line: { color: colour("ink"), width: 2 } };
  const annotations = [{ x: 1, y: 1.5, xanchor: "left", text: `critical difference ${data.difference.toFixed(2)}`, showarrow: false, font: { color: colour("muted") } }];
  return [[points], layout({
    height: 120 + 22 * (count + bars), annotations, shapes: [...upright, ...joined, difference], showlegend: false, hovermode: "closest",
    xaxis: axis("mean rank", { range: [0.8, Math.max(count, 1 + data.difference) + 1.5], side: "top", dtick: 1 }),
    yaxis: { visible: false, range: [-bars - count - 1, 2.2] },
  })];
}

// Which metrics are drawn: the worst group against the accuracy if there are both.
function selects(figure, data, draw) {
  const chosen = { y: data.primary, x: "" };
  const bar = document.createElement("p");
  bar.className = "choices";
  const names = Object.keys(data.axes);
  for (const [axisName, text, options] of [["y", "Show", names], ["x", "against", ["", ...names]]]) {
    const label = document.createElement("label");
    const select = document.createElement("select");
    for (const name of options) select.add(new Option(name ? data.axes[name] : "nothing: means with intervals", name, false, name === chosen[axisName]));
    select.addEventListener("change", () => { chosen[axisName] = select.value; draw(); });
    label.append(`${text} `, select);
    bar.append(label);
  }
  figure.querySelector(".plot").before(bar);
  return chosen;
}

function setUpChart(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const place = figure.querySelector(".plot");
  const kinds = { curves, rows, ranks };
  const draw = async () => {
    const drawing = await plotly();
    const [traces, around] = kinds[data.kind](data, chosen);
    await drawing.react(place, traces, around, { displayModeBar: false, responsive: true });
    figure.dataset.drawn = "";
  };
  const chosen = data.kind === "rows" ? selects(figure, data, draw) : null;
  document.addEventListener("themechange", () => { if ("drawn" in figure.dataset) draw(); });
  return draw;
}

document.addEventListener("DOMContentLoaded", () => {
  const draws = new Map([...document.querySelectorAll("figure.chart")].map((figure) => [figure, setUpChart(figure)]));
  whenNear(draws.keys(), (figure) => draws.get(figure)());
});
