/* Plots of the last hour or day, drawn as SVG: lines over time, told apart by their dashes too, with what the pointer is over in
 * the legend. */
import { brief, clock, el, svg, when } from "./dom.js";

const H = 224, LEFT = 44, RIGHT = 8, TOP = 26, BOTTOM = 24;

function nice(max) {
  if (max <= 8) return max <= 4 ? 4 : 8; /* whole numbers at all four lines */
  const p = 10 ** Math.floor(Math.log10(max));
  return [1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10].map((m) => m * p).find((m) => m >= max);
}

function paths(values, x, y) {
  let line = "", area = "", start = null;
  values.forEach((v, i) => {
    if (v === null) {
      if (start !== null) area += `L${x(i - 1)} ${y(0)}Z`;
      start = null;
      return;
    }
    const at = `${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
    if (start === null) { start = i; line += `M${at}h0.01`; area += `M${x(i)} ${y(0)}L${at}`; }
    else { line += `L${at}`; area += `L${at}`; }
  });
  if (start !== null) area += `L${x(values.length - 1)} ${y(0)}Z`;
  return { line, area };
}

/* series: [{name, values, area}]; `width` in pixels, so that letters keep their shape. */
export function plot(label, series, fromMs, stepMs, unit, width) {
  const W = Math.max(260, Math.round(width));
  const n = series[0].values.length;
  const max = nice(Math.max(1, ...series.flatMap((s) => s.values.map((v) => v || 0))));
  const x = (i) => LEFT + (W - LEFT - RIGHT) * (n > 1 ? i / (n - 1) : 0);
  const y = (v) => H - BOTTOM - (H - TOP - BOTTOM) * (v / max);
  const last = (s) => [...s.values].reverse().find((v) => v !== null);
  const root = svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "plot", role: "img",
                            "aria-label": `${label}: ${series.map((s) => `${s.name} ${brief(last(s))}`).join(", ")}` });
  root.append(svg("text", { x: 0, y: 12 }, unit));
  for (let i = 0; i <= 4; i++) {
    const v = max * i / 4;
    root.append(svg("line", { x1: LEFT, x2: W - RIGHT, y1: y(v), y2: y(v), class: "rule" }),
                svg("text", { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" }, brief(v)));
  }
  for (let i = 0; i <= 4; i++) {
    const at = Math.round((n - 1) * i / 4);
    root.append(svg("text", { x: x(at), y: H - 6, "text-anchor": i === 0 ? "start" : i === 4 ? "end" : "middle" },
                    clock(fromMs + at * stepMs).slice(0, 5)));
  }
  series.forEach((s, k) => {
    const p = paths(s.values, x, y);
    if (s.area) root.append(svg("path", { d: p.area, class: `area s${k + 1}` }));
    root.append(svg("path", { d: p.line, class: `line s${k + 1}` }));
    if (s.values[n - 1] !== null) root.append(svg("circle", { cx: x(n - 1), cy: y(s.values[n - 1]), r: 2.5, class: `s${k + 1}` }));
  });
  const values = series.map(() => el("b"));
  const at = el("span");
  const tell = (i) => {
    series.forEach((s, k) => { values[k].textContent = brief(i === null ? last(s) : s.values[i]); });
    at.textContent = i === null ? "" : `at ${when(fromMs + i * stepMs).slice(0, -3)}`;
  };
  const cursor = svg("line", { y1: TOP, y2: H - BOTTOM, x1: 0, x2: 0, class: "cursor", visibility: "hidden" });
  root.append(cursor);
  root.addEventListener("pointermove", (e) => {
    const box = root.getBoundingClientRect();
    const px = (e.clientX - box.left) / box.width * W;
    const i = Math.max(0, Math.min(n - 1, Math.round((px - LEFT) / (W - LEFT - RIGHT) * (n - 1))));
    cursor.setAttribute("x1", x(i));
    cursor.setAttribute("x2", x(i));
    cursor.setAttribute("visibility", "visible");
    tell(i);
  });
  root.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); tell(null); });
  tell(null);
  const legend = el("ul", { class: "legend" }, series.map((s, k) =>
    el("li", null, svg("svg", { viewBox: "0 0 22 12", "aria-hidden": "true" }, svg("line", { x1: 1, x2: 21, y1: 6, y2: 6, class: `line s${k + 1}` })), s.name, values[k])),
    el("li", null, at));
  return el("div", null, root, legend);
}
