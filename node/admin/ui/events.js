/* Events of all nodes: what there was, and then what the node sends as it happens (server-sent events). When it has no room for
 * one more listener, it is asked every few seconds. */
import { get, scope } from "./api.js";
import { button, card, choice, clock, el, field, number, pill, table } from "./dom.js";

/* A browser hears only of those that it is given by name. */
const kinds = ["received", "delivered", "relayed", "deferred", "bounced", "expired", "deleted", "held", "released", "rejected", "auth", "auth_failed",
  "auth_attack", "web_senders", "connection", "connect_failed", "site_down", "site_up", "shaping", "returned", "complaint", "dsn", "delayed", "domain", "notice", "frozen",
  "warned", "operator", "operator_froze", "operator_thawed", "dropped", "test"];
const eventKind = { delivered: "good", relayed: "good", bounced: "bad", expired: "bad", rejected: "bad", auth_failed: "bad", auth_attack: "bad", complaint: "bad",
  frozen: "bad", dropped: "bad", deferred: "warn", site_down: "warn", connect_failed: "warn", held: "warn", shaping: "warn", warned: "warn", notice: "warn" };
const EVENTS_KEPT = 500, EVENTS_SHOWN = 150, DRAW_MS = 250, AGAIN_MS = 60000;

const feed = { after: null, rows: [], kinds: "", word: "", paused: false, missing: [], lost: false, source: null, closedAt: 0, timer: 0, redraw: () => {} };

function text(e) {
  const who = e.account || e.sender || e.client_ip || "";
  const to = e.recipient || e.site || "";
  return [who && to ? `${who} → ${to}` : who || to, e.code ? `${e.code} ${e.enhanced || ""}` : "", e.text || "", e.rule || "",
    e.count ? `${number(e.count)} lines were lost` : ""].filter(Boolean).join(" · ");
}

function rows() {
  const word = feed.word.toLowerCase();
  const found = feed.rows.filter((e) => !word || JSON.stringify(e).toLowerCase().includes(word)).slice(0, EVENTS_SHOWN);
  return table("Newest first", [
    ["Time", (e) => el("time", { datetime: e.ts }, clock(Date.parse(e.ts))), { tight: true }],
    ["Node", (e) => e.node, { tight: true }],
    ["Event", (e) => pill(e.event.replaceAll("_", " "), eventKind[e.event]), { tight: true }],
    ["Message", (e) => (e.id ? el("a", { href: `#track/${encodeURIComponent(e.id)}`, class: "mono" }, e.id) : "–"), { tight: true }],
    ["What", text],
  ], found, feed.rows.length ? "None of the latest events has these words." : "Nothing yet. Events come as they happen.");
}

function add(events) {
  feed.rows = [...events, ...feed.rows].sort((a, b) => (a.ts < b.ts ? 1 : a.ts > b.ts ? -1 : 0)).slice(0, EVENTS_KEPT);
}

/* ---- what the node sends ---- */

function draw() {
  clearTimeout(feed.timer);
  feed.timer = 0;
  feed.redraw();
}

function drawSoon() {
  if (!feed.timer) feed.timer = setTimeout(draw, DRAW_MS);
}

export function eventsEnd() {
  clearTimeout(feed.timer);
  feed.timer = 0;
  if (feed.source) feed.source.close();
  feed.source = null;
}

function listen() {
  const q = new URLSearchParams({ after: feed.after, ...scope() });
  if (feed.kinds) q.set("kinds", feed.kinds);
  const source = new EventSource(`/v1/events/stream?${q}`);
  const take = (e) => { add([JSON.parse(e.data)]); drawSoon(); };
  feed.source = source;
  for (const kind of kinds) source.addEventListener(kind, take);
  source.addEventListener("place", (e) => { feed.after = e.lastEventId; });
  source.addEventListener("gap", () => { feed.lost = true; drawSoon(); });
  source.addEventListener("missing", (e) => { feed.missing = JSON.parse(e.data); drawSoon(); });
  source.addEventListener("open", () => { feed.missing = []; drawSoon(); });
  source.addEventListener("error", () => {
    /* The browser tries again by itself, unless it was answered with an error: no room, or the login has ended. */
    if (source.readyState === EventSource.CLOSED && feed.source === source) {
      feed.source = null;
      feed.closedAt = Date.now();
      get("/v1/session").catch(() => {});
    }
    drawSoon();
  });
}

function live() {
  if (feed.paused) return pill("paused", "warn");
  if (!feed.source) return pill("every 5 seconds");
  return feed.source.readyState === EventSource.OPEN ? pill("live", "good") : pill("connecting", "warn");
}

async function look(ctx) {
  const page = await get("/v1/events", { limit: 200, after: feed.after, kinds: feed.kinds, ...scope() }, ctx.signal);
  if (feed.after && page.gap) feed.lost = true;
  feed.after = page.next;
  feed.missing = page.missing || [];
  add(page.events);
}

/* ---- the view ---- */

function parts(ctx) {
  const filter = el("input", { type: "search", value: feed.word, maxlength: 100 });
  const body = card(""), state = el("span", { id: "live", role: "status" }), wrong = el("ul", { class: "problems" });
  const pause = button("", () => { feed.paused = !feed.paused; feed.redraw(); });
  const fill = () => {
    const scroll = body.querySelector(".scroll"), left = scroll ? scroll.scrollLeft : 0;
    body.replaceChildren(...rows().filter(Boolean));
    body.querySelector(".scroll").scrollLeft = left;
  };
  feed.redraw = () => {
    const now = live();
    pause.textContent = feed.paused ? "Go on" : "Pause";
    if (state.textContent !== now.textContent) state.replaceChildren(now);
    wrong.replaceChildren(...feed.missing.map((m) => el("li", { class: "note" }, `${m.node} did not answer: ${m.reason}`)),
      ...(feed.lost ? [el("li", { class: "note" }, "Lines are missing: a node was restarted, or there was more than it keeps. Tracking has what became of each message.")] : []));
    wrong.hidden = !wrong.hasChildNodes();
    if (!feed.paused) fill();
  };
  filter.addEventListener("input", () => { feed.word = filter.value; fill(); });
  fill();
  feed.redraw();
  const kind = choice([["", "All"], ...kinds.map((k) => [k, k.replaceAll("_", " ")])], feed.kinds, (v) => { feed.kinds = v; ctx.again(true); });
  return [ctx.title("Events", [state, " As they happen, on all nodes."]), wrong,
          el("div", { class: "grid" }, card("", el("div", { class: "row" }, field("Kind", kind), field("Has these words", filter), pause)), body)];
}

export async function events(ctx) {
  if (ctx.fresh) {
    eventsEnd();
    Object.assign(feed, { after: null, rows: [], lost: false, closedAt: 0 });
  }
  if (!feed.source) {
    await look(ctx);
    if (Date.now() - feed.closedAt > AGAIN_MS) listen();
  }
  if (ctx.fresh) ctx.show("Events", parts(ctx));
  else draw();
}
