/* One HTTP request: the checks before anything is believed, the body, the handler, the reply. On the
 * connection's own thread. Every reply of ours has constant headers only, so nothing that a client sent can
 * reach a header.
 */
#include "node/admin/call.h"
#include "node/admin/server_impl.h"
#include "node/admin/tenant.h"
#include "node/admin/ui.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define QUERY_MAX 32 /* parameters of a query */
#define STREAM_BLOCK 16384u
#define STREAM_CHECK_MS 1000 /* as often, who is sent a stream must show that he still may have it */

struct request {
    struct conn *conn;
    struct MHD_Connection *mhd;
    const struct admin_route *route;
    const struct ui_file *file; /* of the dashboard, in place of a route */
    struct login login;         /* whose cookie it has; name empty: none */
    uint8_t role;               /* enum admin_role */
    char id[ADMIN_ID_TEXT];
    struct buf body;
    char tenant[ADMIN_TENANT_NAME_MAX + 1]; /* whose token it has; empty: not a tenant's */
    bool free;        /* by the unix socket, or open to anybody: nothing that could end opened it */
    unsigned refused; /* status that the request gets whatever its body */
    const char *why, *allow;
};

/* ---- replies ------------------------------------------------------------------------------------------- */

static void add_headers(struct MHD_Response *r, const char *type)
{
    MHD_add_response_header(r, "Content-Type", type != NULL ? type : "application/json");
    MHD_add_response_header(r, "Cache-Control", "no-store");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
}

/* A file of the dashboard: the page, and what it may load, which is ours alone. */
static enum MHD_Result send_file(struct request *rq)
{
    const struct ui_file *f = rq->file;
    struct MHD_Response *r =
        MHD_create_response_from_buffer(f->n, (void *)(uintptr_t)f->bytes, MHD_RESPMEM_PERSISTENT);
    if (r == NULL)
        return MHD_NO;
    MHD_add_response_header(r, "Content-Type", f->type);
    MHD_add_response_header(r, "Cache-Control", "no-store");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "X-Frame-Options", "DENY");
    MHD_add_response_header(r, "Content-Security-Policy", UI_POLICY);
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(r, "Cross-Origin-Opener-Policy", "same-origin");
    MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
    MHD_add_response_header(r, "Permissions-Policy", "camera=(), geolocation=(), microphone=()");
    enum MHD_Result ok = MHD_queue_response(rq->mhd, 200, r);
    MHD_destroy_response(r);
    return ok;
}

static enum MHD_Result send_response(struct request *rq, unsigned status, struct MHD_Response *r)
{
    if (r == NULL)
        return MHD_NO;
    if (status == 401)
        MHD_add_response_header(r, "WWW-Authenticate", "Bearer realm=\"turnpike\"");
    if (status == 405)
        MHD_add_response_header(r, "Allow", rq->allow);
    enum MHD_Result ok = MHD_queue_response(rq->mhd, status, r);
    MHD_destroy_response(r);
    return ok;
}

/* Takes the buffer's memory. `cookie`: NULL or empty: none. */
static enum MHD_Result send_with(struct request *rq, unsigned status, const char *type, const char *cookie,
                                 struct buf *out)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(out->len, out->data, MHD_RESPMEM_MUST_FREE);
    if (r == NULL) {
        buf_fini(out);
        return MHD_NO;
    }
    out->data = NULL;
    out->len = out->cap = 0;
    add_headers(r, type);
    if (cookie != NULL && cookie[0] != '\0')
        MHD_add_response_header(r, "Set-Cookie", cookie);
    return send_response(rq, status, r);
}

static enum MHD_Result send_buf(struct request *rq, unsigned status, const char *type, struct buf *out)
{
    return send_with(rq, status, type, NULL, out);
}

static enum MHD_Result send_error_as(struct request *rq, unsigned status, const char *code, const char *text)
{
    struct buf out;
    buf_init(&out, STREAM_BLOCK);
    admin_error_json(&out, status, code, text);
    return send_buf(rq, status, NULL, &out);
}

static enum MHD_Result send_error(struct request *rq, unsigned status, const char *text)
{
    return send_error_as(rq, status, NULL, text);
}

/* ---- checks -------------------------------------------------------------------------------------------- */

struct header { /* all values of one name */
    const char *name;
    struct span value;
    unsigned count;
};

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
    (void)kind;
    struct header *h = cls;
    if (strcasecmp(key, h->name) == 0) {
        h->value = span_str(value);
        h->count++;
    }
    return MHD_YES;
}

static struct header header_get(struct request *rq, const char *name)
{
    struct header h = { .name = name, .value = { "", 0 } };
    MHD_get_connection_values(rq->mhd, MHD_HEADER_KIND, on_header, &h);
    return h;
}

static bool refuse(struct request *rq, unsigned status, const char *why)
{
    rq->refused = status;
    rq->why = why;
    return false;
}

/* One line in the log per second at most: a guesser must not fill the disk. */
static void log_refusal(struct admin *a, const struct admin_caller *by)
{
    int64_t now_ms = clock_boot_ms();
    pthread_mutex_lock(&a->lock);
    a->refused++;
    uint64_t n = a->warned_ms != 0 && now_ms - a->warned_ms < 1000 ? 0 : a->refused;
    if (n > 0) {
        a->warned_ms = now_ms;
        a->refused = 0;
    }
    pthread_mutex_unlock(&a->lock);
    if (n > 0)
        log_warn("admin", "refused %llu request(s) without the right token, the last from %s",
                 (unsigned long long)n, by->text);
}

static void caller_fill(struct admin_caller *by, struct conn *c, bool local)
{
    *by = (struct admin_caller){ .local = local, .role = ADMIN_ROLE_ADMIN };
    if (local) {
        struct ucred cred = { .uid = (uid_t)-1 };
        socklen_t len = sizeof(cred);
        getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
        by->uid = cred.uid;
        by->pid = cred.pid;
        snprintf(by->text, sizeof(by->text), "unix:uid=%u,pid=%d", (unsigned)cred.uid, (int)cred.pid);
        return;
    }
    union {
        struct sockaddr sa;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    } peer = { 0 };
    socklen_t len = sizeof(peer);
    char ip[INET6_ADDRSTRLEN] = "?";
    getpeername(c->fd, &peer.sa, &len);
    bool six = peer.sa.sa_family == AF_INET6;
    memcpy(&by->peer, &peer, sizeof(peer));
    inet_ntop(six ? AF_INET6 : AF_INET, six ? (void *)&peer.in6.sin6_addr : (void *)&peer.in4.sin_addr, ip,
              sizeof(ip));
    snprintf(by->text, sizeof(by->text), six ? "tcp:[%s]:%u" : "tcp:%s:%u", ip,
             ntohs(six ? peer.in6.sin6_port : peer.in4.sin_port));
}

static bool is_token(void *conn, struct span token)
{
    struct admin *a = ((struct conn *)conn)->admin;
    pthread_mutex_lock(&a->lock);
    bool ok = guard_token_equal(token, span_str(a->token));
    pthread_mutex_unlock(&a->lock);
    return ok;
}

static bool token_ok(struct request *rq)
{
    struct admin *a = rq->conn->admin;
    struct header auth = header_get(rq, "Authorization");
    struct span token;
    if (auth.count != 1 || !guard_bearer(auth.value, &token))
        return false;
    return is_token(rq->conn, token) ||
           admin_tenant_of_token(a->config.cluster, a->config.cluster_ctx, token, rq->tenant);
}

/* Whose login the cookie is. What changes something must show that our own page sends it: a value that a page
 * of another site cannot read, beside Origin and SameSite. False: refused. */
static bool check_login(struct request *rq)
{
    struct admin *a = rq->conn->admin;
    struct header cookie = header_get(rq, "Cookie"), csrf = header_get(rq, "X-CSRF-Token");
    struct span secret;
    struct machine *m = a->config.cluster != NULL && a->config.cluster->machine != NULL
                            ? a->config.cluster->machine(a->config.cluster_ctx)
                            : NULL;
    if (cookie.count != 1 || !login_cookie(cookie.value, &secret) ||
        !logins_find(a->logins, m, secret, clock_wall_ms(), &rq->login)) {
        rq->login.name[0] = '\0';
        return refuse(rq, 401, "give the token: Authorization: Bearer TOKEN, or log in");
    }
    rq->role = rq->login.role;
    if (rq->route != NULL && rq->route->method[0] == 'P' &&
        (csrf.count != 1 || !guard_token_equal(csrf.value, span_str(rq->login.csrf))))
        return refuse(rq, 403, "X-CSRF-Token is not that of this login");
    return true;
}

static bool check_role(struct request *rq)
{
    if (rq->route == NULL || rq->role >= admin_role_needed(rq->route->method, rq->route->path))
        return true;
    return refuse(rq, 403, "your role does not allow that");
}

/* What opens the path: the API's token, a tenant's, or a login. */
static bool check_right(struct request *rq)
{
    if (token_ok(rq))
        return rq->tenant[0] == '\0' || rq->route == NULL || admin_tenant_may(rq->route) ||
               refuse(rq, 403, "a tenant's token does not open this");
    rq->role = ADMIN_ROLE_NONE;
    return check_login(rq) && check_role(rq);
}

static bool check_caller(struct request *rq, bool local)
{
    struct admin *a = rq->conn->admin;
    struct header host = header_get(rq, "Host"), origin = header_get(rq, "Origin");
    struct header site = header_get(rq, "Sec-Fetch-Site");
    unsigned open = ADMIN_ROUTE_OPEN | (a->config.open_metrics ? ADMIN_ROUTE_METRICS : 0u);
    if (!local && (host.count != 1 || !guard_host_ok(&a->hosts, host.value)))
        return refuse(rq, 421, "the Host header does not name this server");
    if (origin.count > 0 &&
        (origin.count > 1 || !guard_origin_ok(origin.value, host.value, !local && a->tls != NULL)))
        return refuse(rq, 403, "requests from pages of another origin are refused");
    /* The page itself may be come to from wherever a link is: it tells nothing. */
    if (rq->file == NULL && site.count > 0 && !span_eq(site.value, SPAN_LIT("same-origin")) &&
        !span_eq(site.value, SPAN_LIT("none")))
        return refuse(rq, 403, "requests from pages of another origin are refused");
    rq->role = ADMIN_ROLE_ADMIN;
    rq->free = local || rq->file != NULL || (rq->route != NULL && (rq->route->flags & open));
    if (rq->free || check_right(rq))
        return true;
    if (rq->tenant[0] != '\0')
        return false;
    struct admin_caller by;
    caller_fill(&by, rq->conn, local);
    if (rq->login.name[0] == '\0')
        log_refusal(a, &by);
    return false;
}

static bool check_body(struct request *rq)
{
    struct header length = header_get(rq, "Content-Length"), chunked = header_get(rq, "Transfer-Encoding");
    bool post = rq->route->method[0] == 'P';
    uint64_t n = 0;
    if (chunked.count > 0)
        return refuse(rq, 411, "send a body with Content-Length");
    if (length.count > 1 || (length.count == 1 && text_u64(length.value, &n) != 0))
        return refuse(rq, 400, "Content-Length is wrong");
    if (n > ADMIN_BODY_MAX && !(rq->route->flags & ADMIN_ROUTE_LARGE))
        return refuse(rq, 413, "the body is longer than 65536 bytes");
    if (n > ADMIN_BODY_LARGE_MAX)
        return refuse(rq, 413, "the body is longer than 2162688 bytes");
    if (n > ADMIN_BODY_MAX)
        rq->body.max = (size_t)n;
    if (!post)
        return n == 0 || refuse(rq, 400, "GET has no body here");
    struct header type = header_get(rq, "Content-Type");
    if (type.count != 1 || !guard_json_type(type.value))
        return refuse(rq, 415, "Content-Type must be application/json");
    return true;
}

static void check_head(struct request *rq, bool local, const char *url, const char *method)
{
    const char *others = NULL;
    rq->route = admin_route_find(method, url, rq->id, &others);
    rq->file = rq->route == NULL && strcmp(method, "GET") == 0 ? ui_find(url) : NULL;
    rq->allow = others;
    if (!check_caller(rq, local) || rq->file != NULL)
        return;
    if (rq->route != NULL)
        check_body(rq);
    else if (others != NULL)
        refuse(rq, 405, "this path does not take that method");
    else
        refuse(rq, 404, "there is no such path: see /v1/openapi.json");
}

/* ---- replies that are sent as they come ------------------------------------------------------------- */

struct stream {
    struct admin_source source;
    struct request *rq; /* there until the reply has been sent */
    int64_t check_ms;   /* CLOCK_BOOTTIME */
};

/* A stream lasts for hours: the login or token that opened it may have ended, the role be another. */
static bool still_may(struct stream *s)
{
    int64_t now_ms = clock_boot_ms();
    if (s->rq->free || now_ms < s->check_ms)
        return true;
    s->check_ms = now_ms + STREAM_CHECK_MS;
    return check_right(s->rq);
}

static ssize_t stream_read(void *cls, uint64_t at, char *p, size_t max)
{
    (void)at;
    struct stream *s = cls;
    ssize_t n = 0;
    /* Returning 0 would make libmicrohttpd ask again at once: the waiting is ours. */
    while (n == 0)
        n = still_may(s) ? s->source.read(s->source.ctx, p, max) : -2;
    return n > 0 ? n : n == -1 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void stream_free(void *cls)
{
    struct stream *s = cls;
    s->source.free(s->source.ctx);
    free(s);
}

static enum MHD_Result send_source(struct request *rq, const char *type, const struct admin_source *source)
{
    struct stream *s = malloc(sizeof(*s));
    if (s == NULL) {
        source->free(source->ctx);
        return send_error(rq, 500, "out of memory");
    }
    *s = (struct stream){ .source = *source, .rq = rq, .check_ms = clock_boot_ms() + STREAM_CHECK_MS };
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, stream_read, s, stream_free);
    if (r == NULL) {
        stream_free(s);
        return MHD_NO;
    }
    conn_set_deadline(rq->conn, source->limit_ms + rq->conn->admin->config.write_ms);
    add_headers(r, type);
    return send_response(rq, 200, r);
}

/* ---- the handler --------------------------------------------------------------------------------------- */

struct query {
    struct admin_pair *pairs; /* QUERY_MAX */
    size_t n;
};

static enum MHD_Result on_query(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_n,
                                const char *value, size_t value_n)
{
    (void)kind;
    struct query *q = cls;
    if (q->n < QUERY_MAX)
        q->pairs[q->n] = (struct admin_pair){ span_of(key, key_n),
                                              value == NULL ? span_of("", 0) : span_of(value, value_n) };
    q->n++;
    return MHD_YES;
}

static int read_args(struct request *rq, struct admin_call *call, struct admin_pair pairs[QUERY_MAX])
{
    struct query q = { .pairs = pairs };
    int64_t now_ms = clock_wall_ms();
    MHD_get_connection_values_n(rq->mhd, MHD_GET_ARGUMENT_KIND, on_query, &q);
    if (q.n > QUERY_MAX)
        return admin_fail(&call->e, ERR_BAD, "too many parameters");
    call->nquery = q.n;
    if (rq->route->method[0] == 'G')
        return admin_args_query(rq->route->params, q.pairs, q.n, now_ms, &call->args, &call->e);
    if (q.n > 0)
        return admin_fail(&call->e, ERR_BAD, "POST takes its parameters in the body, not in the query");
    return admin_args_body(rq->route->params, buf_span(&rq->body), now_ms, &call->args, &call->e);
}

static bool client_gone(void *conn)
{
    struct conn *c = conn;
    struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };
    return atomic_load(&c->admin->stopping) ||
           (poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0);
}

/* Who it is, in front of where he is: for the audit trail and the log. */
static void caller_name(struct admin_caller *by, const struct request *rq)
{
    char from[80];
    if (rq->login.name[0] == '\0')
        return;
    snprintf(from, sizeof(from), "%.79s", by->text);
    snprintf(by->text, sizeof(by->text), "%s %s", rq->login.name, from);
    by->role = rq->role;
    by->no_content = rq->role < ADMIN_ROLE_POSTMASTER;
}

static enum MHD_Result dispatch(struct request *rq, bool local)
{
    struct admin *a = rq->conn->admin;
    struct admin_caller by;
    struct admin_pair pairs[QUERY_MAX];
    struct admin_call call = { .ops = a->ops,
                               .caller = &by,
                               .path = rq->route->path,
                               .query = pairs,
                               .cluster = a->config.cluster,
                               .cluster_ctx = a->config.cluster_ctx,
                               .logins = a->logins,
                               .login = rq->login.name[0] != '\0' ? &rq->login : NULL,
                               .token_ok = is_token,
                               .series = a->series,
                               .page = rq->tenant[0] == '\0' && a->page[0] != '\0' ? a->page : NULL,
                               .last_event_id = header_get(rq, "Last-Event-ID").value,
                               .gone = client_gone,
                               .conn = rq->conn };
    conn_set_deadline(rq->conn, ADMIN_CALL_MAX_MS + a->config.write_ms);
    caller_fill(&by, rq->conn, local);
    memcpy(by.tenant, rq->tenant, sizeof(by.tenant));
    caller_name(&by, rq);
    memcpy(call.id, rq->id, sizeof(call.id));
    buf_init(&call.out, ADMIN_REPLY_MAX);
    int err = read_args(rq, &call, pairs);
    if (err == 0 && call.login != NULL && rq->route->method[0] == 'P')
        admin_login_used(&call, &rq->login, clock_wall_ms());
    if (err == 0)
        err = admin_tenant_narrow(&call, rq->route);
    if (err == 0)
        err = rq->route->handler(&call);
    if (err == 0 && call.source.read == NULL)
        err = buf_err(&call.out);
    admin_args_free(call.args);
    if (rq->body.data != NULL)
        explicit_bzero(rq->body.data, rq->body.cap);
    enum MHD_Result sent;
    bool wrong = call.code != NULL && strcmp(call.code, "unauthorized") == 0; /* a password */
    if (err != 0)
        sent = send_error_as(rq, wrong ? 401 : admin_status_of(err), call.code,
                             call.e.text[0] != '\0' ? call.e.text : err_text(err));
    else if (call.source.read != NULL)
        sent = send_source(rq, call.type, &call.source);
    else
        sent = send_with(rq, call.status != 0 ? call.status : 200, call.type, call.cookie, &call.out);
    explicit_bzero(call.cookie, sizeof(call.cookie));
    buf_fini(&call.out);
    return sent;
}

/* ---- from libmicrohttpd -------------------------------------------------------------------------------- */

static struct request *request_new(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct request *rq = calloc(1, sizeof(*rq));
    if (rq == NULL || info == NULL || info->socket_context == NULL) {
        free(rq);
        return NULL;
    }
    rq->conn = info->socket_context;
    rq->mhd = mhd;
    buf_init(&rq->body, ADMIN_BODY_MAX);
    return rq;
}

/* Called with the head, then for each piece of the body, then once more. */
enum MHD_Result request_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_size, void **state)
{
    (void)version;
    struct listener *l = cls;
    struct request *rq = *state;
    if (rq == NULL) {
        *state = rq = request_new(mhd);
        if (rq == NULL)
            return MHD_NO;
        check_head(rq, l->local, url, method);
        /* A refusal goes out now, before the body is read, and ends the connection if there is one. */
        return rq->refused != 0 ? send_error(rq, rq->refused, rq->why) : MHD_YES;
    }
    if (*upload_size > 0) {
        if (buf_put(&rq->body, upload, *upload_size) != 0)
            return MHD_NO; /* longer than it said, or no memory */
        *upload_size = 0;
        return MHD_YES;
    }
    return rq->file != NULL ? send_file(rq) : dispatch(rq, l->local);
}

void request_completed(void *cls, struct MHD_Connection *mhd, void **state,
                       enum MHD_RequestTerminationCode why)
{
    (void)cls, (void)mhd, (void)why;
    struct request *rq = *state;
    if (rq == NULL)
        return;
    conn_set_deadline(rq->conn, rq->conn->admin->config.request_ms);
    if (rq->body.data != NULL)
        explicit_bzero(rq->body.data, rq->body.cap);
    buf_fini(&rq->body);
    free(rq);
    *state = NULL;
}
