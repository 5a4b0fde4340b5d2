/* The admin API: the same that turnpike(1) speaks. The login is a cookie that scripts cannot read; what changes something
 * carries the login's own mark as well (X-CSRF-Token). */

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const session = { name: "", role: "", csrf: "", member: false };
const ranks = { viewer: 1, postmaster: 2, admin: 3 };
export const may = (role) => (ranks[session.role] || 0) >= ranks[role];

let onLost = () => {};
export const whenLost = (fn) => { onLost = fn; };

async function call(method, path, body, signal) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method === "POST" && session.csrf) headers["X-CSRF-Token"] = session.csrf;
  let reply;
  try {
    reply = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
                                credentials: "same-origin", cache: "no-store", redirect: "error" });
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new ApiError(0, "unreachable", "This node cannot be reached.");
  }
  const text = await reply.text();
  let value = null;
  try { value = JSON.parse(text); } catch { /* not JSON: told below if it is an error, kept as text otherwise */ }
  if (!reply.ok) {
    const error = (value && value.error) || {};
    if (reply.status === 401 && path !== "/v1/login") onLost();
    throw new ApiError(reply.status, error.code || "", error.message || `The node answered ${reply.status}.`);
  }
  return value === null ? text : value;
}

function query(parameters) {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters || {}))
    if (value !== undefined && value !== null && value !== "") q.set(name, value);
  const text = q.toString();
  return text ? `?${text}` : "";
}

export const get = (path, parameters, signal) => call("GET", path + query(parameters), undefined, signal);
export const post = (path, body) => call("POST", path, body || {});
/* On a node without a cluster there is nothing to ask others for. */
export const scope = () => (session.member ? { scope: "cluster" } : {});

export function entered(who) {
  Object.assign(session, who);
}
