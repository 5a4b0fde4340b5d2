/* Senders, who is frozen, source addresses, and operators. */
import { get, may, post, session } from "./api.js";
import { ask, button, card, choice, el, field, many, number, pill, span, table, time, toast } from "./dom.js";

/* ---- freezing ---- */

export async function freeze(name, scopeOf, ctx) {
  const who = el("input", { value: name || "", required: true, autofocus: true, maxlength: 320, spellcheck: "false", autocapitalize: "none" });
  const scope = choice([["account", "An account"], ["tenant", "A whole tenant"]], scopeOf || "account");
  const mode = choice([["hold", "Hold: take his mail, and keep it"], ["reject", "Reject"], ["defer", "Defer: have his server try again"]], "hold");
  const length = choice([["", "Until thawed"], ["1h", "One hour"], ["4h", "Four hours"], ["24h", "One day"], ["7d", "One week"]], "");
  const reason = el("input", { maxlength: 200 });
  if (!(await ask("Freeze a sender", "Freeze", [field("What", scope), field("Name", who), field("Mode", mode), field("How long", length), field("Reason, for the audit trail", reason)], true))) return;
  const body = { [scope.value]: who.value.trim(), mode: mode.value };
  if (length.value) body.for = length.value;
  if (reason.value) body.reason = reason.value;
  const done = await post("/v1/freeze", body);
  const rows = done.nodes || [];
  toast(done.complete ? `${who.value} is frozen: ${many(rows.length, "node obeys", "nodes obey")}.` : `${who.value} is frozen. ${done.problem || "Not all nodes have said so yet."}`, !done.complete);
  ctx.again(true);
}

async function thaw(row, ctx) {
  if (!(await ask(`Thaw ${row.name}?`, "Thaw", el("p", null, `Frozen (${row.mode}) ${row.reason ? `because: ${row.reason}` : "without a reason given"}.`)))) return;
  await post("/v1/thaw", { [row.scope]: row.name });
  toast(`${row.name} may send again.`);
  ctx.again(true);
}

export async function frozen(ctx) {
  const page = await get("/v1/frozen", { limit: 500 }, ctx.signal);
  const rows = [...page.frozen, ...page.local.map((r) => ({ ...r, local: true }))];
  ctx.show("Frozen", [
    ctx.title("Frozen senders", many(rows.length, "sender", "senders"), may("postmaster") && button("Freeze a sender", () => ctx.run(freeze("", "", ctx)), "primary", { id: "freeze-new" })),
    card("", table("Who may not send", [
      ["Sender", (r) => (r.scope === "account" ? el("a", { href: `#senders/${encodeURIComponent(r.name)}` }, r.name) : el("strong", null, r.name)), { address: true }],
      ["What", (r) => [r.scope, r.local && [" ", pill("this node only", "warn")]], { tight: true }],
      ["Mode", (r) => pill(r.mode, r.mode === "hold" ? "warn" : "bad")],
      ["Reason", (r) => r.reason || "–"],
      ["By", (r) => r.who || "–", { address: true }],
      ["Since", (r) => time(r.at_ms), { tight: true }],
      ["Ends in", (r) => (r.left_ms === null || r.left_ms === undefined ? "not by itself" : span(r.left_ms)), { tight: true }],
      ["", (r) => (may("postmaster") ? button("Thaw", () => ctx.run(thaw(r, ctx)), "small", { "aria-label": `Thaw ${r.name}` }) : ""), { acts: true }],
    ], rows, "Nobody is frozen.")),
  ]);
}

/* ---- senders ---- */

const seen = { by: "bounces", window: "24h" };

function facts(show) {
  return table("What is known of this sender", [
    ["Fact", (f) => f.fact.replaceAll("_", " ")],
    ...["1h", "24h"].filter((w) => show.facts.some((f) => f[w] !== undefined)).map((w) => [`In ${w}`, (f) => number(f[w]), { num: true }]),
  ], show.facts.filter((f) => Object.entries(f).some(([k, v]) => k !== "fact" && v > 0)), "Nothing was counted lately.");
}

function rules(show) {
  return table("Rules", [
    ["Rule", (r) => [el("strong", null, r.name), r.dry_run && [" ", pill("dry run")]]],
    ["When", (r) => r.when.map((t) => el("div", null, t.met ? "✓ " : "· ", `${t.fact.replaceAll("_", " ")} ${number(t.value)} of more than ${number(t.more_than)} in ${t.window}`))],
    ["Then", (r) => `${r.then}${r.for_ms ? ` ${span(r.for_ms)}` : ""}`],
    ["Met", (r) => (r.met ? pill("met", "bad") : pill("no", "good"))],
  ], show.rules, "The policy has no rules for this class of sender.");
}

async function one(account, ctx) {
  const [show, bounces, limits] = await Promise.all([
    get("/v1/senders/show", { account }, ctx.signal), get("/v1/senders/bounces", { account }, ctx.signal),
    get("/v1/limits", { account }, ctx.signal).catch(() => null)]);
  const rows = (limits && limits.limits) || [];
  ctx.show(account, [
    ctx.title(account, [pill(show.class || "unknown"), " ", pill(`reputation ${bounces.tier}`, { good: "good", poor: "bad" }[bounces.tier]), " ", show.blocks ? `blocked ${many(show.blocks, "time", "times")}` : "", " ", el("a", { href: "#senders" }, "← All senders")],
      may("postmaster") && button("Freeze", () => ctx.run(freeze(account, "account", ctx)), "danger")),
    el("div", { class: "grid" },
      el("div", { class: "half column" }, card("", facts(show))),
      el("div", { class: "half column" }, card("", table("What came of the mail", [["Within", (w) => w.window], ["Delivered", (w) => number(w.delivered), { num: true }], ["Deferred", (w) => number(w.deferred), { num: true }],
        ["Bounced", (w) => number(w.bounced), { num: true }], ["Complaints", (w) => number(w.complaints), { num: true }]], bounces.windows)),
        rows.length > 0 && card("", table("Limits", [["Limit", (l) => l.name || l.limit], ["Recipients", (l) => number(l.used), { num: true }], ["Of", (l) => number(l.count), { num: true }]], rows))),
      card("", rules(show))),
  ]);
}

export async function senders(ctx) {
  if (ctx.args[0]) { await one(ctx.args[0], ctx); return; }
  const page = await get("/v1/senders/top", { by: seen.by, window: seen.window, limit: 100 }, ctx.signal);
  const ratio = (r) => (r.delivered + r.bounced > 0 ? r.bounced / (r.delivered + r.bounced) : 0);
  ctx.show("Senders", [
    ctx.title("Senders by risk", "Of the whole cluster.", el("div", { class: "row" },
      field("Most", choice([["bounces", "Bounces"], ["complaints", "Complaints"], ["deferred", "Deferred"], ["delivered", "Delivered"]], seen.by, (v) => { seen.by = v; ctx.again(); })),
      field("Within", choice([["1h", "An hour"], ["24h", "A day"], ["7d", "A week"]], seen.window, (v) => { seen.window = v; ctx.again(); })))),
    card("", table("Senders", [
      ["Account", (r) => el("a", { href: `#senders/${encodeURIComponent(r.account)}` }, r.account), { address: true }],
      ["Risk", (r) => (ratio(r) > 0.1 || r.complaints > 5 ? pill("high", "bad") : ratio(r) > 0.03 || r.complaints > 0 ? pill("some", "warn") : pill("low", "good"))],
      ["Delivered", (r) => number(r.delivered), { num: true }],
      ["Deferred", (r) => number(r.deferred), { num: true }],
      ["Bounced", (r) => number(r.bounced), { num: true }],
      ["Bounce rate", (r) => `${(ratio(r) * 100).toFixed(1)} %`, { num: true }],
      ["Complaints", (r) => number(r.complaints), { num: true }],
    ], page.senders, "Nothing was counted in that time.")),
  ]);
}

/* ---- addresses ---- */

export async function addresses(ctx) {
  const [pools, ips] = await Promise.all([get("/v1/pools", null, ctx.signal), get("/v1/ips", null, ctx.signal)]);
  const kind = { assigned: "good", failed: "bad", waiting: "warn", releasing: "warn", adding: "warn" };
  const name = (n) => (n && typeof n === "object" ? n.name : n) || "–";
  ctx.show("Addresses", [
    ctx.title("Pools and source addresses", `${many(pools.pools.length, "pool", "pools")}, ${many(ips.addresses.length, "address", "addresses")}`),
    el("div", { class: "grid" },
      card("half", table("Pools", [["Pool", (p) => el("strong", null, p.name)], ["Addresses", (p) => number(p.addresses), { num: true }],
        ["Usable", (p) => (p.usable < p.addresses ? pill(number(p.usable), "warn") : number(p.usable)), { num: true }], ["Floating", (p) => p.floating || "never"], ["Note", (p) => p.note || "–"]], pools.pools, "There are no pools.")),
      card("half", table("Who uses them", [["Mail of", (a) => `${a.to} ${a.name}`], ["Pool", (a) => a.pool]], pools.assignments, "No mail is assigned to a pool.")),
      card("", table("Source addresses", [
        ["Address", (i) => el("span", { class: "mono" }, i.address), { tight: true }],
        ["Pool", (i) => i.pool || "–"], ["Node", (i) => name(i.node)], ["State", (i) => pill(i.state, kind[i.state])],
        ["Use", (i) => (i.use === "used" ? "used" : pill(i.use, "warn"))], ["Weight", (i) => number(i.weight), { num: true }], ["Greets as", (i) => i.ehlo || "–"], ["Problem", (i) => i.reason || "–"],
      ], ips.addresses, "There are no source addresses."))),
  ]);
}

/* ---- operators ---- */

const roles = [["viewer", "Viewer: looks"], ["postmaster", "Postmaster: deals with mail and senders"], ["admin", "Admin: everything"]];

async function add(ctx) {
  const name = el("input", { required: true, maxlength: 64, autocapitalize: "none", autocomplete: "username", autofocus: true });
  const password = el("input", { type: "password", required: true, minlength: 10, maxlength: 500, autocomplete: "new-password" });
  const role = choice(roles, "viewer");
  if (!(await ask("New operator", "Add", [field("Name", name), field("Password, at least 10 characters", password), field("Role", role)]))) return;
  await post("/v1/operators/add", { name: name.value.trim(), password: password.value, role: role.value });
  toast(`${name.value} may log in.`);
  ctx.again(true);
}

async function change(row, ctx) {
  const role = choice(roles, row.role);
  const password = el("input", { type: "password", minlength: 10, maxlength: 500, autocomplete: "new-password" });
  if (!(await ask(`Operator ${row.name}`, "Change", [el("input", { hidden: true, readonly: true, autocomplete: "username", value: row.name }), field("Role", role), field("New password (empty: as it is)", password)]))) return;
  if (role.value !== row.role) await post("/v1/operators/set", { name: row.name, role: role.value });
  if (password.value) await post("/v1/operators/passwd", { name: row.name, password: password.value });
  toast(`${row.name} was changed.`);
  ctx.again(true);
}

async function confirmed(title, yes, path, row, ctx) {
  if (!(await ask(title, yes, el("p", null, `${many(row.logins.length, "login", "logins")} will end.`), true))) return;
  await post(path, { name: row.name });
  ctx.again(true);
}

export async function operators(ctx) {
  const page = await get("/v1/operators", { limit: 500 }, ctx.signal);
  ctx.show("Operators", [
    ctx.title("Operators", "Who may log in here, on every node.", button("New operator", () => ctx.run(add(ctx)), "primary")),
    card("", table("Operators", [
      ["Name", (o) => [el("strong", null, o.name), o.name === session.name && [" ", pill("you")]]],
      ["Role", (o) => o.role],
      ["Logged in", (o) => (o.logins.length ? o.logins.map((l) => el("div", { class: "small" }, l.from.replace(/^tcp:/, ""), " since ", time(l.since_ms))) : "–")],
      ["Changed", (o) => time(o.changed_ms), { tight: true }],
      ["", (o) => [button("Change", () => ctx.run(change(o, ctx)), "small"),
                   button("Log out", () => ctx.run(confirmed(`Log ${o.name} out everywhere?`, "Log out", "/v1/operators/logout", o, ctx)), "small"),
                   button("Remove", () => ctx.run(confirmed(`Remove operator ${o.name}?`, "Remove", "/v1/operators/remove", o, ctx)), "small danger")], { acts: true }],
    ], page.operators, "There are none: somebody with the API's token logged you in.")),
  ]);
}
