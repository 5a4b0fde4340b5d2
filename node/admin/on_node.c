/* Handlers about the node itself: health, metrics, status, sites, addresses, configuration, log. Admin
 * threads. */
#include "node/admin/member.h"

#include "base/err.h"

int admin_on_healthz(struct admin_call *c)
{
    c->type = "text/plain; charset=utf-8";
    return buf_put_str(&c->out, "ok\n");
}

int admin_on_readyz(struct admin_call *c)
{
    if (c->ops->ready == NULL)
        return admin_missing(c);
    c->type = "text/plain; charset=utf-8";
    int err = c->ops->ready(c->ops->ctx, &c->e);
    if (err == 0)
        return buf_put_str(&c->out, "ready\n");
    c->status = 503; /* whatever the reason: load balancers look at this only */
    buf_put_str(&c->out, "not ready: ");
    return buf_printf(&c->out, "%s\n", c->e.text);
}

int admin_on_metrics(struct admin_call *c)
{
    if (c->ops->metrics == NULL)
        return admin_missing(c);
    c->type = "text/plain; version=0.0.4; charset=utf-8";
    return c->ops->metrics(c->ops->ctx, &c->out, &c->e);
}

int admin_on_openapi(struct admin_call *c)
{
    return buf_put(&c->out, admin_openapi, admin_openapi_len);
}

static void put_rate(struct json_out *j, const char *name, const struct admin_rate *r)
{
    json_out_open(j, name, '{');
    json_out_real(j, "m1", r->m1);
    json_out_real(j, "m5", r->m5);
    json_out_real(j, "m15", r->m15);
    json_out_u64(j, "total", r->total);
    json_out_close(j, '}');
}

static void put_rates(struct json_out *j, const struct admin_status *s)
{
    json_out_open(j, "rates", '{');
    put_rate(j, "received", &s->received);
    put_rate(j, "rejected", &s->rejected);
    put_rate(j, "auth_failed", &s->auth_failed);
    put_rate(j, "delivered", &s->delivered);
    put_rate(j, "deferred", &s->deferred);
    put_rate(j, "bounced", &s->bounced);
    json_out_close(j, '}');
}

static void put_queue_and_spool(struct json_out *j, const struct admin_status *s)
{
    json_out_open(j, "queue", '{');
    json_out_u64(j, "messages", s->queue.messages);
    json_out_u64(j, "recipients", s->queue.recipients);
    json_out_u64(j, "active", s->queue.active);
    json_out_u64(j, "deferred", s->queue.deferred);
    json_out_u64(j, "held", s->queue.held);
    json_out_u64(j, "sites", s->queue.sites);
    json_out_u64(j, "sites_down", s->queue.sites_down);
    json_out_time(j, "oldest_ms", s->queue.oldest_ms);
    json_out_close(j, '}');
    json_out_open(j, "spool", '{');
    json_out_u64(j, "messages", s->spool.messages);
    json_out_u64(j, "segments", s->spool.segments);
    json_out_u64(j, "bytes", s->spool.bytes);
    json_out_u64(j, "live_bytes", s->spool.live_bytes);
    json_out_u64(j, "free_bytes", s->spool.free_bytes);
    json_out_u64(j, "appended_bytes", s->spool.appended_bytes);
    json_out_u64(j, "syncs", s->spool.syncs);
    json_out_u64(j, "committed", s->spool.committed);
    json_out_u64(j, "updates", s->spool.updates);
    json_out_u64(j, "compacted_segments", s->spool.compacted_segments);
    json_out_u64(j, "corrupt_records", s->spool.corrupt_records);
    json_out_u64(j, "held_by_history", s->spool.held_by_history);
    json_out_opt(j, "error", span_str(s->spool.error));
    json_out_close(j, '}');
}

static void put_parts(struct json_out *j, const struct admin_status *s)
{
    json_out_open(j, "greylisting", '{');
    json_out_u64(j, "sites", s->greylist.sites);
    json_out_u64(j, "endless", s->greylist.endless);
    json_out_opt(j, "example", span_str(s->greylist.example));
    json_out_close(j, '}');
    json_out_u64(j, "sites_rested", s->sites_rested);
    json_out_u64(j, "held_messages", s->held_messages);
    json_out_u64(j, "held_bytes", s->held_bytes);
    json_out_u64(j, "held_refused", s->held_refused);
    json_out_open(j, "dnsbl", '{');
    json_out_u64(j, "listed", s->dnsbl.addresses);
    json_out_opt(j, "example", span_str(s->dnsbl.example));
    json_out_close(j, '}');
    json_out_open(j, "workers", '[');
    for (uint32_t i = 0; i < s->nworkers && i < ADMIN_WORKERS_MAX; i++) {
        json_out_open(j, NULL, '{');
        json_out_u64(j, "sessions_in", s->workers[i].sessions_in);
        json_out_u64(j, "sessions_out", s->workers[i].sessions_out);
        json_out_u64(j, "queued", s->workers[i].queued);
        json_out_u64(j, "held", s->workers[i].held);
        json_out_u64(j, "sites", s->workers[i].sites);
        json_out_close(j, '}');
    }
    json_out_close(j, ']');
    json_out_open(j, "listeners", '[');
    for (uint32_t i = 0; i < s->nlisteners && i < ADMIN_LISTENERS_MAX; i++) {
        json_out_open(j, NULL, '{');
        json_out_str(j, "name", s->listeners[i].name);
        json_out_str(j, "kind", s->listeners[i].kind);
        json_out_str(j, "address", s->listeners[i].address);
        json_out_u64(j, "sessions", s->listeners[i].sessions);
        json_out_u64(j, "accepted", s->listeners[i].accepted);
        json_out_close(j, '}');
    }
    json_out_close(j, ']');
}

int admin_on_status(struct admin_call *c)
{
    if (c->ops->status == NULL)
        return admin_missing(c);
    struct admin_status s = { 0 };
    bool all;
    int err = member_asks_all(c, false, &all);
    if (err != 0 || all)
        return err != 0 ? err : member_ask_status(c);
    err = c->ops->status(c->ops->ctx, &s, &c->e);
    if (err != 0)
        return err;
    struct json_out j;
    json_out_begin(&j, &c->out);
    json_out_str(&j, "version", TURNPIKE_VERSION);
    json_out_str(&j, "node", s.node);
    json_out_str(&j, "state", s.state);
    json_out_opt(&j, "reason", span_str(s.reason));
    json_out_time(&j, "started_ms", s.started_ms);
    json_out_i64(&j, "uptime_ms", s.uptime_ms);
    json_out_i64(&j, "pid", s.pid);
    json_out_u64(&j, "memory_bytes", s.memory_bytes);
    json_out_str(&j, "config_path", s.config_path);
    json_out_time(&j, "config_loaded_ms", s.config_loaded_ms);
    json_out_open(&j, "sessions", '{');
    json_out_u64(&j, "in", s.sessions_in);
    json_out_u64(&j, "in_max", s.sessions_in_max);
    json_out_u64(&j, "out", s.sessions_out);
    json_out_u64(&j, "out_max", s.sessions_out_max);
    json_out_close(&j, '}');
    put_queue_and_spool(&j, &s);
    put_rates(&j, &s);
    put_parts(&j, &s);
    json_out_end(&j);
    return 0;
}

/* ---- top ----------------------------------------------------------------------------------------------- */

struct top_rows { /* the two tables may come mixed: the second waits in a buffer of its own */
    struct json_out senders, sites;
    struct buf sites_buf;
};

static void put_top_row(struct json_out *j, const struct admin_top_row *row)
{
    json_out_open(j, NULL, '{');
    json_out_span(j, "key", row->key);
    json_out_u64(j, "received", row->received);
    json_out_u64(j, "delivered", row->delivered);
    json_out_u64(j, "deferred", row->deferred);
    json_out_u64(j, "bounced", row->bounced);
    json_out_u64(j, "bytes", row->bytes);
    json_out_u64(j, "queued", row->queued);
    json_out_real(j, "received_rate", row->received_rate);
    json_out_real(j, "delivered_rate", row->delivered_rate);
    json_out_close(j, '}');
}

static int on_top_row(void *arg, enum admin_top_table table, const struct admin_top_row *row)
{
    struct top_rows *t = arg;
    put_top_row(table == ADMIN_TOP_SENDERS ? &t->senders : &t->sites, row);
    return 0;
}

int admin_on_top(struct admin_call *c)
{
    if (c->ops->top == NULL || c->ops->status == NULL)
        return admin_missing(c);
    struct admin_status s = { 0 };
    bool all;
    int err = member_asks_all(c, false, &all);
    if (err != 0 || all)
        return err != 0 ? err : member_ask_top(c);
    err = c->ops->status(c->ops->ctx, &s, &c->e);
    if (err != 0)
        return err;
    struct top_rows t;
    buf_init(&t.sites_buf, ADMIN_REPLY_MAX / 2);
    json_out_init(&t.sites, &t.sites_buf);
    json_out_begin(&t.senders, &c->out);
    json_out_str(&t.senders, "node", s.node);
    json_out_i64(&t.senders, "uptime_ms", s.uptime_ms);
    put_queue_and_spool(&t.senders, &s);
    put_rates(&t.senders, &s);
    json_out_open(&t.senders, "senders", '[');
    err = c->ops->top(c->ops->ctx, (uint32_t)admin_arg_int(c->args, "limit", 15), on_top_row, &t, &c->e);
    json_out_close(&t.senders, ']');
    json_out_open(&t.senders, "sites", '[');
    buf_put_span(&c->out, buf_span(&t.sites_buf));
    json_out_close(&t.senders, ']');
    json_out_end(&t.senders);
    if (err == 0)
        err = buf_err(&t.sites_buf);
    buf_fini(&t.sites_buf);
    return err;
}

/* ---- sites and addresses ------------------------------------------------------------------------------- */

struct site_rows {
    struct json_out j;
    uint32_t n;
    bool cut;
    char last[ADMIN_TEXT_MAX + 1];
};

static int on_site_row(void *arg, const struct admin_site_row *row)
{
    struct site_rows *s = arg;
    struct json_out *j = &s->j;
    json_out_open(j, NULL, '{');
    json_out_span(j, "site", row->site);
    json_out_span(j, "state", row->state);
    json_out_opt(j, "last_reply", row->last_reply);
    json_out_opt(j, "of", row->of);
    json_out_u64(j, "domains", row->domains);
    json_out_u64(j, "of_conns", row->of_conns);
    json_out_u64(j, "worker", row->worker);
    json_out_u64(j, "conns", row->conns);
    json_out_u64(j, "conns_limit", row->conns_limit);
    json_out_u64(j, "queued", row->queued);
    json_out_u64(j, "active", row->active);
    json_out_u64(j, "held", row->held);
    json_out_u64(j, "senders", row->senders);
    json_out_time(j, "next_ms", row->next_ms);
    json_out_time(j, "last_ok_ms", row->last_ok_ms);
    json_out_time(j, "last_fail_ms", row->last_fail_ms);
    json_out_close(j, '}');
    s->n++;
    size_t n = row->site.n < ADMIN_TEXT_MAX ? row->site.n : ADMIN_TEXT_MAX;
    memcpy(s->last, row->site.p, n);
    s->last[n] = '\0';
    s->cut = j->buf->len > ADMIN_PAGE_BYTES;
    return s->cut;
}

int admin_on_sites(struct admin_call *c)
{
    if (c->ops->site_list == NULL)
        return admin_missing(c);
    uint32_t limit = (uint32_t)admin_arg_int(c->args, "limit", 100);
    struct site_rows s = { 0 };
    json_out_begin(&s.j, &c->out);
    json_out_open(&s.j, "sites", '[');
    int err = c->ops->site_list(c->ops->ctx, admin_arg_str(c->args, "state"), admin_arg_str(c->args, "after"),
                                limit, on_site_row, &s, &c->e);
    json_out_close(&s.j, ']');
    json_out_opt(&s.j, "next", span_str(s.n >= limit || s.cut ? s.last : ""));
    json_out_end(&s.j);
    return err;
}

static int on_ip_row(void *arg, const struct admin_ip_row *row)
{
    struct json_out *j = arg;
    json_out_open(j, NULL, '{');
    json_out_span(j, "ip", row->ip);
    json_out_opt(j, "ehlo", row->ehlo);
    json_out_opt(j, "ptr", row->ptr);
    json_out_opt(j, "addresses", row->addresses);
    json_out_bool(j, "bound", row->bound);
    json_out_bool(j, "ptr_ok", row->ptr_ok);
    json_out_bool(j, "forward_ok", row->forward_ok);
    json_out_bool(j, "ok", row->problem.n == 0);
    json_out_opt(j, "problem", row->problem);
    json_out_open(j, "lists", '[');
    for (uint32_t i = 0; i < row->nlists; i++) {
        json_out_open(j, NULL, '{');
        json_out_str(j, "list", row->lists[i].list);
        json_out_str(j, "state", row->lists[i].state);
        json_out_opt(j, "text", span_str(row->lists[i].text));
        json_out_time(j, "since_ms", row->lists[i].since_ms);
        json_out_close(j, '}');
    }
    json_out_close(j, ']');
    json_out_close(j, '}');
    return 0;
}

int admin_on_ip_check(struct admin_call *c)
{
    if (c->ops->ip_check == NULL)
        return admin_missing(c);
    struct json_out j;
    json_out_begin(&j, &c->out);
    json_out_open(&j, "ips", '[');
    int err = c->ops->ip_check(c->ops->ctx, admin_arg_str(c->args, "ip"), on_ip_row, &j, &c->e);
    json_out_close(&j, ']');
    json_out_end(&j);
    return err;
}

/* ---- configuration and log ----------------------------------------------------------------------------- */

int admin_on_config(struct admin_call *c)
{
    if (c->ops->config_show == NULL)
        return admin_missing(c);
    struct buf yaml;
    struct json_out j;
    buf_init(&yaml, ADMIN_PAGE_BYTES);
    int err = c->ops->config_show(c->ops->ctx, &yaml, &c->e);
    json_out_begin(&j, &c->out);
    json_out_span(&j, "yaml", buf_span(&yaml));
    json_out_end(&j);
    if (err == 0)
        err = buf_err(&yaml);
    buf_fini(&yaml);
    return err;
}

int admin_on_config_check(struct admin_call *c)
{
    if (c->ops->config_check == NULL)
        return admin_missing(c);
    int err = c->ops->config_check(c->ops->ctx, &c->e);
    return err == 0 ? admin_ok(c) : err;
}

int admin_on_reload(struct admin_call *c)
{
    if (c->ops->reload == NULL)
        return admin_missing(c);
    int err = c->ops->reload(c->ops->ctx, c->caller, &c->e);
    return err == 0 ? admin_ok(c) : err;
}

int admin_on_log(struct admin_call *c)
{
    char level[8] = "";
    if (c->ops->log_level_get == NULL)
        return admin_missing(c);
    int err = c->ops->log_level_get(c->ops->ctx, level, &c->e);
    struct json_out j;
    json_out_begin(&j, &c->out);
    json_out_str(&j, "level", level);
    json_out_end(&j);
    return err;
}

int admin_on_log_set(struct admin_call *c)
{
    if (c->ops->log_level_set == NULL)
        return admin_missing(c);
    int err = c->ops->log_level_set(c->ops->ctx, admin_arg_str(c->args, "level"), c->caller, &c->e);
    return err == 0 ? admin_ok(c) : err;
}
