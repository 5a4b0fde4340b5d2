/* What is wrong, what goes through, and who is busy: of all nodes. */
import { get, scope, session } from "./api.js";
import { brief, bytes, card, el, many, number, pill, span, table } from "./dom.js";
import { plot } from "./plot.js";

const tile = (label, value, more, kind, href) => el(href ? "a" : "div", { class: `tile ${kind || ""}`, href },
  el("div", { class: "label" }, label), el("div", { class: "value" }, value), el("div", { class: "more" }, more || ""));

const sum = (rows, of) => rows.reduce((n, r) => n + (of(r) || 0), 0);

let range = "hour";

export function problemsOf(cluster, statuses) {
  const found = [...((cluster && cluster.problems) || [])];
  for (const { node, status } of statuses)
    if (!cluster && status.state !== "running") found.push(`${node}: ${status.state}${status.reason ? `: ${status.reason}` : ""}`);
  return found;
}

function nodesTable(cluster, statuses) {
  const of = new Map(statuses.map((s) => [s.node, s.status]));
  const rows = cluster ? cluster.nodes.filter((n) => n.state !== "removed") : statuses.map((s) => ({ name: s.node, health: "self" }));
  return table("Nodes", [
    ["Node", (n) => el("strong", null, n.name)],
    ["Health", (n) => {
      const dead = n.health === "dead" || n.health === "never seen", s = of.get(n.name);
      if (n.fenced) return pill("fenced", "bad");
      if (dead) return pill(n.health, "bad");
      if (n.draining) return pill("draining", "warn");
      if (n.health === "suspect" || n.quorum === false) return pill(n.health === "suspect" ? "suspect" : "cut off", "warn");
      return s && s.state !== "running" ? pill(s.state, "warn") : pill("well", "good");
    }, { tight: true }],
    ["Role", (n) => (n.leader ? "leader" : n.role || "alone"), { tight: true }],
    ["Sessions", (n) => { const s = of.get(n.name); return s ? `${number(s.sessions.in)} in, ${number(s.sessions.out)} out` : "–"; }, { tight: true }],
    ["Received/s", (n) => { const s = of.get(n.name); return s ? brief(s.rates.received.m1) : "–"; }, { num: true }],
    ["Delivered/s", (n) => { const s = of.get(n.name); return s ? brief(s.rates.delivered.m1) : "–"; }, { num: true }],
    ["Queue", (n) => { const s = of.get(n.name); return s ? number(s.queue.recipients) : number(n.queued); }, { num: true }],
    ["Disk free", (n) => { const s = of.get(n.name); return s ? bytes(s.spool.free_bytes) : "–"; }, { num: true }],
    ["Up", (n) => { const s = of.get(n.name); return s ? span(s.uptime_ms) : "–"; }, { num: true }],
    ["Version", (n) => n.version || (of.get(n.name) || {}).version || "–", { tight: true }],
  ], rows);
}

const busy = (caption, title, rows, href) => table(caption, [
  [title, (r) => el("a", { href: href(r.key) }, r.key || "(none)"), { address: true }],
  ["Received", (r) => number(r.received), { num: true }],
  ["Delivered", (r) => number(r.delivered), { num: true }],
  ["Deferred", (r) => number(r.deferred), { num: true }],
  ["Bounced", (r) => number(r.bounced), { num: true }],
  ["Queued", (r) => number(r.queued), { num: true }],
], rows, "Nothing in the last minute.");

function plots(series) {
  const step = series.step_ms, per = step >= 600000 ? "recipients in 10 minutes" : "recipients a minute";
  const narrow = window.innerWidth <= 900;
  const width = narrow ? window.innerWidth - 58 : (Math.min(1360, window.innerWidth) - 40 - 14) / 2 - 34;
  return [
    card("half", el("h2", null, "Throughput"), plot("Recipients", [
      { name: "received", values: series.received, area: true }, { name: "delivered", values: series.delivered },
      { name: "deferred", values: series.deferred }, { name: "bounced", values: series.bounced },
    ], series.from_ms, step, per, width)),
    card("half", el("h2", null, "Queue and sessions"), plot("Queue", [
      { name: "queued", values: series.queued, area: true }, { name: "sessions in", values: series.sessions_in },
      { name: "sessions out", values: series.sessions_out }, { name: "held", values: series.held },
    ], series.from_ms, step, "recipients, sessions", width)),
  ];
}

function rangeSwitch(again) {
  const one = (value, text) => el("button", { type: "button", "aria-pressed": String(range === value),
                                              on: { click: () => { range = value; again(); } } }, text);
  return el("div", { class: "switch", role: "group", "aria-label": "Time" }, one("hour", "Last hour"), one("day", "Last day"));
}

export async function overview(ctx) {
  const [cluster, status, series, top, frozen] = await Promise.all([
    session.member ? get("/v1/cluster", null, ctx.signal) : null,
    get("/v1/status", scope(), ctx.signal),
    get("/v1/series", { window: range }, ctx.signal),
    get("/v1/top", { limit: 8, ...scope() }, ctx.signal),
    session.member ? get("/v1/frozen", { limit: 1000 }, ctx.signal) : null,
  ]);
  const statuses = status.nodes || [{ node: status.node, status }];
  const all = statuses.map((s) => s.status);
  const problems = problemsOf(cluster, statuses);
  const missing = status.missing || [];
  const rate = (name) => sum(all, (s) => s.rates[name].m1) * 60;
  const queued = sum(all, (s) => s.queue.recipients), held = sum(all, (s) => s.queue.held);
  const down = sum(all, (s) => s.queue.sites_down);
  const stopped = frozen ? frozen.frozen.length + frozen.local.length : 0;
  ctx.health(problems.length + missing.length);
  const lines = [...problems.map((p) => el("li", null, p)),
                 ...missing.map((m) => el("li", null, `${m.node} did not answer: ${m.reason}`)),
                 cluster && cluster.note && el("li", { class: "note" }, cluster.note)].filter(Boolean);
  ctx.show("Overview", [
    ctx.title("Overview", cluster ? `${many(cluster.nodes.filter((n) => n.state !== "removed").length, "node", "nodes")}, policy version ${cluster.policy_version}` : "One node, in no cluster", rangeSwitch(ctx.again)),
    el("div", { class: "grid" },
      card("", el("h2", null, problems.length + missing.length ? "What is wrong" : "Health"),
        el("ul", { class: "problems" }, lines.length ? lines : el("li", { class: "fine" }, "Nothing is wrong that the nodes know of."))),
      el("div", { class: "tiles" },
        tile("Received", brief(rate("received")), "recipients a minute"),
        tile("Delivered", brief(rate("delivered")), "recipients a minute"),
        tile("Deferred", brief(rate("deferred")), "recipients a minute", rate("deferred") > rate("delivered") && rate("deferred") > 10 ? "warn" : ""),
        tile("Bounced", brief(rate("bounced")), "recipients a minute"),
        tile("Queued", brief(queued), many(down, "site down", "sites down"), down ? "warn" : "", "#queue"),
        tile("Held", brief(held), "recipients", held ? "warn" : "", "#held"),
        tile("Frozen", brief(stopped), stopped === 1 ? "sender" : "senders", stopped ? "warn" : "", session.member ? "#frozen" : null)),
      plots(series),
      card("", nodesTable(cluster, statuses)),
      card("half", busy("Busiest senders", "Sender", top.senders, (k) => `#senders/${encodeURIComponent(k)}`)),
      card("half", busy("Busiest destinations", "Site", top.sites, (k) => `#queue/site/${encodeURIComponent(k)}`))),
  ]);
}
