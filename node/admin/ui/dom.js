/* Elements made of text. Whatever comes from mail, from peers or from the API goes through here, and only ever becomes
 * a text node or an attribute's value: no markup is made of strings anywhere, and the page's policy forbids it. */

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [type, fn] of Object.entries(value)) node.addEventListener(type, fn);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(3).filter((c) => c !== undefined && c !== null && c !== false));
  return node;
}

export const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

/* ---- words ---- */

const plain = new Intl.NumberFormat(undefined);
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

export const number = (n) => (n === undefined || n === null ? "–" : plain.format(n));
export const brief = (n) => (n === undefined || n === null ? "–" : n < 10000 ? plain.format(Math.round(n * 10) / 10) : compact.format(n));
export const many = (n, one, more) => `${number(n)} ${n === 1 ? one : more}`;

export function bytes(n) {
  if (n === undefined || n === null) return "–";
  let i = 0;
  while (n >= 1024 && i < 4) { n /= 1024; i++; }
  return `${i > 0 && n < 10 ? n.toFixed(1) : Math.round(n)} ${["B", "KiB", "MiB", "GiB", "TiB"][i]}`;
}

export function span(ms) {
  if (ms === undefined || ms === null) return "–";
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  const two = (n, unit, m, less) => `${n} ${unit}${m ? ` ${m} ${less}` : ""}`;
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor(s % 3600 / 60), "min");
  return two(Math.floor(s / 86400), "d", Math.floor(s % 86400 / 3600), "h");
}

const pad = (n) => String(n).padStart(2, "0");
export function clock(ms) {
  const d = new Date(ms);
  return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}
export function when(ms) {
  if (!ms) return "–";
  const d = new Date(ms), today = new Date().toDateString() === d.toDateString();
  return today ? clock(ms) : `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}`;
}
export const time = (ms) => (ms ? el("time", { datetime: new Date(ms).toISOString(), title: new Date(ms).toString() }, when(ms)) : "–");

/* ---- parts ---- */

export const pill = (text, kind) => el("span", { class: `pill ${kind || ""}` }, text);
export const button = (text, fn, kind, more) => el("button", { type: "button", class: kind, on: { click: fn }, ...more }, text);

export function field(label, control) {
  const id = control.id || `f${Math.random().toString(36).slice(2)}`;
  control.id = id;
  return el("div", { class: "field" }, el("label", { for: id }, label), control);
}

export function choice(values, chosen, fn) {
  const select = el("select", null, values.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
  if (fn) select.addEventListener("change", () => fn(select.value));
  return select;
}

/* Terms and what they are; those that are not known are left out. */
export const pairs = (rows, kind) => el("dl", { class: `pairs ${kind || ""}` },
  rows.filter(([, v]) => v).map(([k, v]) => el("div", null, el("dt", null, k), el("dd", null, v))));

/* columns: [title, row => content, {num, tight, address, acts}] */
export function table(caption, columns, rows, none) {
  const head = el("tr", null, columns.map(([title, , o]) =>
    o && o.acts ? el("td", { class: "acts" }) : el("th", { scope: "col", class: o && o.num ? "num" : null }, title)));
  const body = rows.map((row) => el("tr", null, columns.map(([title, cell, o]) => {
    const content = cell(row), empty = content === "" || content === "–" || content === null || content === undefined;
    const kind = [o && o.num && "num", o && o.tight && "tight", o && o.address && "address", o && o.acts && "acts", empty && "empty"].filter(Boolean).join(" ");
    return el("td", { class: kind || null, "data-label": title }, Array.isArray(content) && !(o && o.acts) ? el("span", null, content) : content);
  })));
  const inner = el("table", { class: "stack" }, el("caption", null, caption), el("thead", null, head), el("tbody", null, body));
  return [el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": typeof caption === "string" ? caption : "Table" }, inner),
          rows.length === 0 && el("p", { class: "none" }, none || "Nothing here.")];
}

export const card = (kind, ...children) => el("section", { class: `card ${kind || ""}` }, ...children);

/* ---- toasts and questions ---- */

export function toast(text, bad) {
  const t = el("div", { class: `toast ${bad ? "bad" : ""}` }, text);
  byId("toasts").append(t);
  setTimeout(() => t.remove(), bad ? 9000 : 5000);
}

/* Asks before something is done: true when it is to be. `body`: elements, whose values the caller reads. */
export function ask(title, yes, body, danger) {
  const dialog = byId("ask"), form = byId("ask-form"), ok = byId("ask-yes");
  byId("ask-title").textContent = title;
  byId("ask-body").replaceChildren(...[body].flat().filter(Boolean));
  ok.textContent = yes;
  ok.className = danger ? "danger" : "primary";
  dialog.showModal();
  return new Promise((resolve) => {
    const done = (answer) => {
      form.onsubmit = dialog.oncancel = byId("ask-no").onclick = null;
      if (dialog.open) dialog.close();
      resolve(answer);
    };
    form.onsubmit = (e) => { e.preventDefault(); done(true); };
    dialog.oncancel = () => done(false);
    byId("ask-no").onclick = () => done(false);
  });
}
