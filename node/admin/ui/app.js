/* The dashboard's frame: login, views by the address's fragment, keys, and looking again every few seconds. */
import { ApiError, entered, get, may, post, session, whenLost } from "./api.js";
import { byId, el, many, toast } from "./dom.js";
import { events, eventsEnd } from "./events.js";
import { held } from "./held.js";
import { queue, track } from "./mail.js";
import { overview } from "./overview.js";
import { addresses, frozen, operators, senders } from "./people.js";

const EVERY_MS = 5000;
const KEEP_EVERY_MS = 300000; /* what an operator does is made known this often, so that his login goes on */

const views = [
  { id: "overview", name: "Overview", show: overview, again: true },
  { id: "queue", name: "Queue", show: queue, again: true },
  { id: "senders", name: "Senders", show: senders, member: true },
  { id: "addresses", name: "Addresses", show: addresses, member: true },
  { id: "frozen", name: "Frozen", show: frozen, member: true, again: true },
  { id: "held", name: "Held", show: held, again: true },
  { id: "events", name: "Events", show: events, again: true, end: eventsEnd },
  { id: "track", name: "Track", show: track },
  { id: "operators", name: "Operators", show: operators, member: true, role: "admin" },
];
const open = () => views.filter((v) => (!v.member || session.member) && (!v.role || may(v.role)));

let current = null, timer = 0, running = null, keptAt = Date.now();

/* ---- views ---- */

function fail(e) {
  if (e.name === "AbortError") return;
  if (!(e instanceof ApiError)) throw e;
  if (e.status !== 401) toast(e.message, true);
}

function tellHealth(n) {
  const pill = byId("health");
  pill.className = `pill ${n ? "bad" : "good"}`;
  pill.textContent = n ? many(n, "problem", "problems") : "well";
}

function context(args, fresh, signal) {
  return {
    args, fresh, signal,
    again: (all) => show(all === true),
    run: (work) => work.catch(fail),
    health: tellHealth,
    title: (title, more, acts) => el("div", { class: "head" }, el("div", null, el("h1", null, title), el("p", { class: "quiet" }, more)), acts || null),
    show: (title, children) => {
      document.title = `${title} – Turnpike`;
      const main = byId("app").querySelector("main"), focused = document.activeElement;
      const label = focused && main.contains(focused) ? focused.getAttribute("aria-label") || focused.textContent : null;
      const tag = label ? focused.tagName : null, left = [...main.querySelectorAll(".scroll")].map((s) => s.scrollLeft);
      main.replaceChildren(...children.flat().filter(Boolean));
      main.querySelectorAll(".scroll").forEach((s, i) => { s.scrollLeft = left[i] || 0; });
      if (label) { /* whoever works with the keyboard stays where he was */
        const same = [...main.querySelectorAll(tag)].find((n) => (n.getAttribute("aria-label") || n.textContent) === label);
        if (same) same.focus({ preventScroll: true });
      }
    },
  };
}

function busyTyping() {
  const a = document.activeElement;
  return byId("ask").open || (a && ["INPUT", "SELECT", "TEXTAREA"].includes(a.tagName) && byId("app").contains(a));
}

/* What a view has going on by itself. */
function end() {
  if (current && current.end) current.end();
}

async function show(fresh) {
  clearTimeout(timer);
  if (running) running.abort();
  const [id, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  const view = open().find((v) => v.id === id) || views[0];
  const here = new AbortController();
  running = here;
  if (view !== current) { end(); current = view; fresh = true; }
  for (const a of byId("nav").querySelectorAll("a"))
    if (a.hash === `#/${view.id}`) {
      a.setAttribute("aria-current", "page");
      const nav = a.closest("nav"); /* on a small screen it may be out of sight */
      nav.scrollLeft = a.offsetLeft - (nav.clientWidth - a.offsetWidth) / 2;
    } else a.removeAttribute("aria-current");
  try {
    await view.show(context(rest.map(decodeURIComponent), fresh, here.signal));
    byId("notice").hidden = true;
  } catch (e) {
    if (e.name === "AbortError") return;
    if (!(e instanceof ApiError)) throw e;
    if (e.status === 401) return;
    byId("notice").textContent = e.message;
    byId("notice").hidden = false;
  }
  if (running === here && view.again) timer = setTimeout(tick, EVERY_MS);
}

function tick() {
  if (document.hidden || (busyTyping() && current.id !== "events")) timer = setTimeout(tick, EVERY_MS);
  else show(false);
}

/* ---- logging in and out ---- */

function leave() {
  clearTimeout(timer);
  if (running) running.abort();
  end();
  current = null;
  Object.assign(session, { name: "", role: "", csrf: "" });
  byId("app").hidden = true;
  byId("app").querySelector("main").replaceChildren();
  if (byId("ask").open) byId("ask").close();
  byId("login").hidden = false;
  byId("login-host").textContent = location.host;
  byId("login-name").focus();
}

function enter(who) {
  entered(who);
  byId("login").hidden = true;
  byId("app").hidden = false;
  byId("who").textContent = `${session.name} · ${session.role}${session.this_node_only ? " · this node only" : ""}`;
  byId("nav").replaceChildren(...open().map((v) => el("li", null, el("a", { href: `#/${v.id}` }, v.name))));
  byId("help-keys").replaceChildren(...[...open().map((v, i) => [String(i + 1), v.name]), ["/", "Track a message"], ["r", "Look again"], ["?", "These keys"]]
    .flatMap(([key, what]) => [el("dt", null, el("kbd", null, key)), el("dd", null, what)]));
  byId("health").textContent = "";
  if (session.member)
    get("/v1/cluster").then((c) => tellHealth(c.problems.length), fail);
  show(true);
}

byId("login-form").addEventListener("submit", async (e) => {
  e.preventDefault();
  const name = byId("login-name").value.trim().toLowerCase(), secret = byId("login-password");
  byId("login-error").textContent = "";
  try {
    const who = await post("/v1/login", name ? { name, password: secret.value } : { token: secret.value });
    secret.value = "";
    enter(who);
  } catch (problem) {
    if (!(problem instanceof ApiError)) throw problem;
    secret.value = "";
    secret.focus();
    byId("login-error").textContent = problem.message;
  }
});

byId("logout").addEventListener("click", async () => {
  try { await post("/v1/logout"); leave(); } catch (e) { fail(e); }
});

/* ---- keys, and that somebody is there ---- */

function keep() {
  if (!session.name || Date.now() - keptAt < KEEP_EVERY_MS) return;
  keptAt = Date.now();
  post("/v1/session").catch(fail);
}
document.addEventListener("pointerdown", keep);

document.addEventListener("keydown", (e) => {
  keep();
  if (!session.name || e.ctrlKey || e.metaKey || e.altKey || byId("ask").open || byId("help").open) return;
  if (e.target instanceof Element && e.target.closest("input, select, textarea")) return;
  const view = open()[Number(e.key) - 1];
  if (view) location.hash = view.id;
  else if (e.key === "/") { e.preventDefault(); location.hash = "track"; }
  else if (e.key === "r") show(false);
  else if (e.key === "?") byId("help").showModal();
});
byId("help-open").addEventListener("click", () => byId("help").showModal());
document.querySelector(".skip").addEventListener("click", (e) => {
  e.preventDefault();
  const main = byId("app").hidden ? byId("login-name") : byId("app").querySelector("main");
  main.focus();
});

byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
});
if (["light", "dark"].includes(localStorage.getItem("theme"))) document.documentElement.dataset.theme = localStorage.getItem("theme");

window.addEventListener("hashchange", () => { if (session.name) show(true); });
document.addEventListener("visibilitychange", () => {
  if (document.hidden) end();
  else if (session.name) show(false);
});
whenLost(() => { if (session.name) { leave(); byId("login-error").textContent = "The login has ended."; } });

get("/v1/session").then(enter, (e) => {
  leave();
  if (e instanceof ApiError && e.status !== 401) byId("login-error").textContent = e.message;
});
