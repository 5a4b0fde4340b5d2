/* The hold desk: what is held on all nodes and why, a look at it, and what becomes of it. */
import { get, may, post, scope, session } from "./api.js";
import { ask, button, bytes, card, el, field, many, number, pairs, pill, span, table, time, toast } from "./dom.js";

const words = { release: "Release", delete: "Delete", bounce: "Return to sender" };
const who = (r) => (r.sender === "" ? "<>" : r.sender);

/* What was done, in words; what was not, and why. */
function tell(verb, done) {
  const left = [[done.no_quota, "over a limit"], [done.frozen, "of frozen senders"], [done.busy, "busy"], [done.failed, "failed"]]
    .filter(([n]) => n > 0).map(([n, why]) => `${number(n)} ${why}`);
  const missing = (done.missing || []).map((m) => `${m.node} did not answer`);
  const parts = [`${words[verb]}: ${many(done.done, "recipient", "recipients")}`, ...left, ...missing];
  if (done.more) parts.push("there is more: do it again");
  toast(`${parts.join(", ")}.${done.why ? ` ${done.why}` : ""}`, done.done === 0 || left.length + missing.length > 0);
}

/* `selection`: what the API selects by; `what`: the same in words. */
async function act(verb, selection, what, ctx) {
  const remark = el("input", { maxlength: 200 });
  const exempt = el("input", { type: "checkbox" });
  const parts = [el("p", null, what), field(verb === "bounce" ? "Reason, which the sender is told" : "Remark, for the log", remark)];
  if (verb === "release" && session.member) parts.push(el("div", { class: "check" }, field("Exempt: charge no limits (in your name, in the audit trail)", exempt)));
  if (!(await ask(`${words[verb]}?`, words[verb], parts, verb !== "release"))) return false;
  const body = { ...selection };
  if (remark.value) body.text = remark.value;
  if (exempt.checked) Object.assign(body, { exempt: true, operator: session.name });
  tell(verb, await post(`/v1/held/${verb}`, body));
  ctx.again(true);
  return true;
}

const acts = (selection, what, ctx, small) => Object.keys(words).map((verb) =>
  button(words[verb], () => ctx.run(act(verb, selection, what, ctx)), `${small ? "small " : ""}${verb === "release" ? "" : "danger"}`));

async function one(id, ctx) {
  const m = await get(`/v1/held/messages/${encodeURIComponent(id)}`, null, ctx.signal);
  const what = `${id} from ${who(m)} to ${many(m.held, "recipient", "recipients")}.`;
  ctx.show(`Held ${id}`, [
    ctx.title("Held message", el("a", { href: "#held" }, "← All held mail"), may("postmaster") && el("div", { class: "row" }, acts({ ids: [id] }, what, ctx))),
    el("div", { class: "grid" },
      card("half", el("h2", null, "Why, and whose"), pairs([["Reason", [pill(m.reason, "warn"), " ", m.detail || ""]], ["Account", m.account], ["From", who(m)],
        ["To", m.recipients.join(", ")], ["Client", [m.client_name, m.client_ip && `[${m.client_ip}]`].filter(Boolean).join(" ")], ["Size", bytes(m.size)], ["Held since", time(m.since_ms)],
        ["Expires", time(m.expires_ms)], ["Queue id", el("a", { class: "mono", href: `#track/${encodeURIComponent(id)}` }, id)]])),
      card("half", el("h2", null, "Header"), pairs(m.header.map((f) => [f.name, f.value]))),
      card("", el("h2", null, m.text_kind === "html" ? "Text, taken from its HTML" : "Text"),
        m.text ? el("pre", { class: "text", tabindex: "0" }, m.text) : el("p", { class: "none" }, "It has no text."), m.text_cut && el("p", { class: "quiet small" }, "There is more than is shown."))),
  ]);
}

/* Those whose mail is held most: a whole sender is dealt with at once. */
function bySender(rows, ctx) {
  const senders = new Map();
  for (const r of rows) {
    const s = senders.get(r.account || who(r)) || { name: r.account || who(r), by: r.account ? "account" : "sender", messages: 0, recipients: 0, reasons: new Set() };
    s.messages++;
    s.recipients += r.held;
    s.reasons.add(r.reason);
    senders.set(s.name, s);
  }
  const several = [...senders.values()].filter((s) => s.messages > 1).sort((a, b) => b.messages - a.messages);
  return several.length > 0 && card("", table("By sender", [
    ["Sender", (s) => (s.by === "account" ? el("a", { href: `#senders/${encodeURIComponent(s.name)}` }, s.name) : s.name), { address: true }],
    ["Messages", (s) => number(s.messages), { num: true }], ["Recipients", (s) => number(s.recipients), { num: true }], ["Why", (s) => [...s.reasons].join(", ")],
    ["", (s) => (may("postmaster") ? acts({ [s.by]: s.name }, `All held mail of ${s.name}: ${many(s.messages, "message", "messages")} or more.`, ctx, true) : ""), { acts: true }],
  ], several));
}

export async function held(ctx) {
  if (ctx.args[0]) { await one(ctx.args[0], ctx); return; }
  const [page, status] = await Promise.all([get("/v1/held", { limit: 300, ...scope() }, ctx.signal), get("/v1/held/status", scope(), ctx.signal)]);
  const nodes = status.nodes ? status.nodes.map((n) => n.status) : [status];
  const sum = (key) => nodes.reduce((n, s) => n + (s[key] || 0), 0);
  const missing = [...(page.missing || [])].map((m) => el("p", { class: "error" }, `${m.node} did not answer: ${m.reason}`));
  ctx.show("Held", [
    ctx.title("Held mail", `${many(sum("messages"), "message", "messages")} to ${many(sum("recipients"), "recipient", "recipients")}, ${bytes(sum("bytes"))}, of ${many(sum("senders"), "sender", "senders")}`),
    missing,
    el("div", { class: "grid" }, bySender(page.messages, ctx),
      card("", table("Messages", [
        ["Message", (r) => (may("postmaster") ? el("a", { href: `#held/${encodeURIComponent(r.id)}`, class: "mono" }, r.id) : el("span", { class: "mono" }, r.id)), { tight: true }],
        ["Why", (r) => [pill(r.reason, "warn"), r.detail ? el("div", { class: "small quiet" }, r.detail) : ""]],
        ["From", (r) => [r.account || who(r), r.account && r.account !== r.sender ? el("div", { class: "small quiet" }, `as ${who(r)}`) : ""], { address: true }],
        ["To", (r) => [r.recipient, r.held > 1 ? el("div", { class: "small quiet" }, `and ${many(r.held - 1, "other", "others")}`) : ""], { address: true }],
        ["Size", (r) => bytes(r.size), { num: true }], ["Since", (r) => time(r.since_ms), { tight: true }],
        ["Expires in", (r) => (r.expires_ms ? span(r.expires_ms - Date.now()) : "–"), { tight: true }], ["Node", (r) => r.node || "–", { tight: true }],
        ["", (r) => (may("postmaster") ? acts({ ids: [r.id] }, `${r.id} from ${who(r)} to ${many(r.held, "recipient", "recipients")}.`, ctx, true).slice(0, 2) : ""), { acts: true }],
      ], page.messages, "No mail is held."), page.next && el("p", { class: "quiet small" }, "The first 300 are shown: turnpike held list has the rest."))),
  ]);
}
