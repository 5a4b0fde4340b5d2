/* The queue and tracking. */
import { get, scope } from "./api.js";
import { brief, bytes, card, choice, el, field, many, number, pairs, pill, span, table, time, toast } from "./dom.js";

const stateKind = { delivered: "good", relayed: "good", bounced: "bad", rejected: "bad", expired: "bad", deleted: "bad", held: "warn", queued: "", active: "" };
export const state = (s) => pill(s, stateKind[s]);
const sender = (s) => (s === "" ? "<>" : s);

/* ---- the queue ---- */

let groupBy = "site";

function ages(row, minutes) {
  const named = row.ages.map((n, i) => (n ? `${brief(n)} ${i < minutes.length ? `under ${span(minutes[i] * 60000)}` : "older"}` : "")).filter(Boolean);
  return named.slice(-2).join(", ") || "–";
}

function recipientRows(rows, ctx) {
  return table("Recipients", [
    ["Queue id", (r) => el("a", { href: `#track/${encodeURIComponent(r.id)}`, class: "mono" }, r.id), { tight: true }],
    ["State", (r) => state(r.state)],
    ["From", (r) => sender(r.sender), { address: true }],
    ["To", (r) => r.recipient, { address: true }],
    ["Tries", (r) => number(r.attempts), { num: true }],
    ["Next", (r) => time(r.next_ms), { tight: true }],
    ["Last reply", (r) => r.reply || "–"],
    ["Node", (r) => r.node || "–", { tight: true }],
  ], rows, "Nothing in the queue matches.");
}

export async function queue(ctx) {
  const [by, key] = ctx.args;
  if (by && key) {
    const names = { site: "site", account: "account", sender: "sender" };
    const page = await get("/v1/queue", { [names[by] || "site"]: key, limit: 100, ...scope() }, ctx.signal);
    ctx.show("Queue", [ctx.title(key, el("a", { href: "#queue" }, "← All groups")), card("", recipientRows(page.recipients, ctx),
      page.next && el("p", { class: "quiet small" }, "The first 100 are shown: turnpike queue list has the rest."))]);
    return;
  }
  const s = await get("/v1/queue/summary", { by: groupBy, limit: 100, ...scope() }, ctx.signal);
  const most = Math.max(1, ...s.groups.map((g) => g.recipients));
  const linked = ["site", "account", "sender"].includes(groupBy);
  ctx.show("Queue", [
    ctx.title("Queue", `${many(s.total.recipients, "recipient", "recipients")}, ${bytes(s.total.bytes)}, ${number(s.total.held)} held`,
      field("Group by", choice([["site", "Site"], ["account", "Account"], ["sender", "Sender"], ["state", "State"], ["reply", "Reply"]], groupBy,
        (v) => { groupBy = v; ctx.again(); }))),
    card("", table("Groups", [
      [groupBy[0].toUpperCase() + groupBy.slice(1), (g) => (linked && g.key ? el("a", { href: `#queue/${groupBy}/${encodeURIComponent(g.key)}` }, g.key) : g.key || "(none)"), { address: true }],
      ["Recipients", (g) => number(g.recipients), { num: true }],
      ["Share", (g) => { const m = el("span", { class: "meter" }); m.style.width = `${Math.round(g.recipients / most * 90) + 2}px`; return m; }],
      ["Held", (g) => number(g.held), { num: true }],
      ["Size", (g) => bytes(g.bytes), { num: true }],
      ["Oldest", (g) => (g.oldest_ms ? span(Date.now() - g.oldest_ms) : "–"), { num: true }],
      ["Ages", (g) => ages(g, s.age_minutes)],
      ["Next try", (g) => time(g.next_ms), { tight: true }],
    ], s.groups, "The queue is empty.")),
  ]);
}

/* ---- tracking ---- */

const FOUND_OPEN = 3; /* of more, one opens those that one wants */
const asked = { sender: "", recipient: "", message_id: "", account: "", since: "24h" };

function stepLine(s) {
  return el("li", null, el("strong", null, s.what), s.done && ` (${s.done})`, " ", time(s.at_ms), s.greylisted && [" ", pill("greylisted", "warn")],
    el("div", { class: "quiet small" }, [s.mx && `by ${s.mx}${s.mx_ip ? ` [${s.mx_ip}]` : ""}`, s.source_ip && `from ${s.source_ip}`, s.tls, s.pool && `pool ${s.pool}`, s.who].filter(Boolean).join(", ")),
    (s.verdict || s.reply) && el("div", null, s.verdict || s.reply), s.next_ms && el("div", { class: "quiet small" }, "next try ", time(s.next_ms)));
}

function found(r, all) {
  const known = [["Queue id", el("a", { class: "mono", href: `#track/${encodeURIComponent(r.id)}` }, r.id)], ["Account", r.account], ["Message-ID", r.message_id], ["Arrived", time(r.arrival_ms)],
    ["Client", [r.client_name, r.client_ip && `[${r.client_ip}]`, r.helo && `HELO ${r.helo}`].filter(Boolean).join(" ")], ["Size", bytes(r.size)],
    ["Next hop", [r.mx, r.mx_ip && `[${r.mx_ip}]`].filter(Boolean).join(" ")], ["From address", r.source_ip], ["TLS", r.tls], ["Signed", r.dkim],
    ["Tries", number(r.attempts)], ["Reply", r.reply], ["Next try", r.next_ms && time(r.next_ms)], ["Node", r.node]];
  return el("details", { class: "found", open: all.length <= FOUND_OPEN },
    el("summary", null, state(r.state), " ", el("strong", null, r.recipient), el("span", { class: "quiet" }, " from ", sender(r.sender), ", ", time(r.changed_ms || r.arrival_ms))),
    pairs(known, "columns"),
    r.steps && r.steps.length > 0 && el("ol", { class: "steps" }, r.steps.map(stepLine)));
}

async function search(parameters, into, ctx) {
  const page = await get("/v1/track", { limit: 50, steps: "true", ...parameters, ...scope() }, ctx.signal);
  const missing = (page.missing || []).map((m) => el("p", { class: "error" }, `${m.node} did not answer: ${m.reason}`));
  into.replaceChildren(...missing, el("h2", null, page.recipients.length ? many(page.recipients.length, "recipient", "recipients") + (page.next ? " and more" : "") : "Nothing was found"),
    ...page.recipients.map((r) => found(r, page.recipients)));
}

export async function track(ctx) {
  const id = ctx.args[0] || "";
  const input = (name, more) => el("input", { name, value: asked[name] || "", maxlength: 320, spellcheck: "false", autocapitalize: "none", ...more });
  const fields = { id: el("input", { name: "id", value: id, maxlength: 32, spellcheck: "false" }), message_id: input("message_id"), sender: input("sender"), recipient: input("recipient"), account: input("account") };
  const since = choice([["1h", "Last hour"], ["24h", "Last day"], ["7d", "Last week"], ["31d", "Last month"]], asked.since);
  const results = card("", el("p", { class: "none" }, "Give what you know of the message."));
  const go = async () => {
    const given = Object.fromEntries(Object.entries(fields).map(([k, f]) => [k, f.value.trim()]).filter(([, v]) => v));
    Object.assign(asked, given, { since: since.value });
    if (Object.keys(given).length === 0) { toast("Give at least one of the fields.", true); return; }
    await search(given.id ? given : { ...given, since: since.value }, results, ctx);
  };
  const form = el("form", { on: { submit: (e) => { e.preventDefault(); ctx.run(go()); } } }, el("div", { class: "row" },
    field("Queue id", fields.id), field("Message-ID", fields.message_id), field("Sender", fields.sender), field("Recipient", fields.recipient),
    field("Account", fields.account), field("Arrived", since), el("button", { type: "submit", class: "primary" }, "Track")));
  ctx.show("Track", [ctx.title("Track a message", "Live and finished mail of all nodes. An address, or @domain."), el("div", { class: "grid" }, card("", form), results)]);
  if (id) await go();
  else fields.message_id.focus();
}
