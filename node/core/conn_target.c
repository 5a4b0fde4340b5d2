/* Where a connection goes and how it speaks: source address, target, TLS, the client's settings. Decides;
 * connecting is conn.c's. The worker's thread.
 */
#include "node/core/conn.h"

#include "base/clock.h"
#include "base/err.h"
#include "node/core/conn_grey.h"
#include "node/core/egress_rest.h"
#include "node/core/node.h"
#include "node/core/report.h"

#include "node/smtp/reply_parser.h"

#define CLOSE_MS 2000
#define FIRST_SHARE 3 /* of the time for connecting: one in so many parts */

void conn_set_trouble(struct conn *c, unsigned code, const char *enhanced, const char *text)
{
    c->trouble = (struct smtp_reply_text){ .code = (uint16_t)code };
    (void)smtp_enhanced_parse(span_str(enhanced), c->trouble.enhanced);
    smtp_reply_text_add(&c->trouble, span_str(text));
}

void conn_client_config(const struct conn *c, struct smtp_client_config *out)
{
    const struct config *config = c->config;
    const struct config_route *r = c->hop.route;
    *out = (struct smtp_client_config){
        .ehlo_name = c->source != NULL                        ? c->source->ehlo
                     : c->meter != NULL && c->ehlo[0] != '\0' ? c->ehlo
                                                              : config->hostname,
        .tls = conn_policy_tls(c),
        .eightbit_bounce = config->delivery.eightbit_bounce,
        .timeouts = { .banner_ms = (uint32_t)config->delivery.timeouts.greeting_ms,
                      .ehlo_ms = (uint32_t)config->delivery.timeouts.command_ms,
                      .mail_ms = (uint32_t)config->delivery.timeouts.command_ms,
                      .rcpt_ms = (uint32_t)config->delivery.timeouts.command_ms,
                      .data_ms = (uint32_t)config->delivery.timeouts.data_ms,
                      .block_ms = (uint32_t)config->delivery.timeouts.block_ms,
                      .dot_ms = (uint32_t)config->delivery.timeouts.dot_ms },
    };
    if (r != NULL && r->auth.user != NULL) {
        out->auth_user = r->auth.user;
        out->auth_password = r->auth.password;
        out->auth_without_tls = r->tls == CONFIG_TLS_NONE;
    }
}

void conn_begin(struct conn *c)
{
    const struct envelope *env = &c->attempt->info->env;
    const struct attempt *a = c->attempt;
    c->mail = (struct smtp_client_mail){
        .from = returned_path(c->e->w, env,
                              a->nrcpts == 1 ? env->rcpts[a->rcpts[0]].address : (struct span){ "", 0 },
                              c->return_path),
        .envid = env->envid,
        .ret = env->ret,
        .size = env->size,
        .smtputf8 = (env->flags & ENVELOPE_SMTPUTF8) != 0,
        .content_8bit = (env->flags & ENVELOPE_BODY_IS_8BIT) != 0,
        .requiretls = (env->flags & ENVELOPE_REQUIRETLS) != 0,
        .authenticated = conn_policy_authenticated(c),
        .nrcpts = c->attempt->nrcpts,
        .rcpts = c->attempt->client_rcpts,
    };
    c->state = CONN_BUSY;
    stream_local(c->stream, &c->attempt->from, NULL);
    c->body_done = false;
    c->messages++;
    smtp_client_send(c->client, &c->mail);
}

static bool may_share_time(const struct conn *c)
{
    return c->sources_tried == 0 && c->from.family != 0 && !c->moving && c->pin.family == 0 &&
           egress_rest_others(c->e, c->site->qs, &c->from);
}

int conn_connect(struct conn *c, const struct ip_addr *target, const struct stream_ops *ops)
{
    uint32_t all = (uint32_t)c->config->delivery.timeouts.connect_ms, first = all / FIRST_SHARE;
    c->plain = timers_now_ms(&c->e->w->timers) < c->site->plain_until_ms;
    c->state = CONN_CONNECTING;
    c->connecting_ns = clock_mono_ns();
    c->shares_time = may_share_time(c);
    struct stream_connect to = { .addr = *target,
                                 .port = c->port,
                                 .source = c->from,
                                 .timeout_ms = c->shares_time         ? first
                                               : c->sources_tried > 0 ? all - first
                                                                      : all };
    int err = stream_connect(&c->e->w->streams, &to, ops, c, &c->stream);
    if (err == 0 && c->floating)
        err = egress_pools_gate(c->e, c->stream, c->session);
    return err;
}

bool conn_source_again(struct conn *c, int err)
{
    if (err != ERR_TIMEOUT || !c->shares_time)
        return false;
    report_target_failed(c, SMTP_CLIENT_STAGE_CONNECT);
    conn_pool_failed(c);
    c->silent = c->from;
    c->sources_tried++;
    c->tried--;
    return true;
}

void conn_target_new(struct conn *c)
{
    c->sources_tried = 0;
    c->silent = (struct ip_addr){ 0 };
}

bool conn_choose_source(struct conn *c, uint8_t family, struct ip_addr *out)
{
    *out = (struct ip_addr){ 0 };
    c->source = NULL;
    const struct config *config = c->config;
    struct span pool = route_key_pool(queue_site_key(c->site->qs));
    if (conn_grey_source(c, family, out))
        return true;
    if (c->moving)
        return false;
    if (pool.n > 0)
        return conn_pool_source(c, pool, family, out);
    for (uint32_t i = 0; i < config->nsources; i++) {
        const struct config_source *s = &config->sources[(c->e->next_source + i) % config->nsources];
        struct ip_addr a;
        if (ip_from_sockaddr((const struct sockaddr *)&s->address, &a, NULL) == 0 && a.family == family &&
            !egress_shaping_rests(c->e, c->site->qs, &a) && !ip_addr_eq(&a, &c->silent) &&
            conn_site_room(c, &a)) {
            c->e->next_source += i + 1;
            c->source = s;
            *out = a;
            return true;
        }
    }
    return config->nsources == 0;
}

const struct dns_target *conn_target_at(const struct conn *c, uint32_t i)
{
    const struct dns_site *f = c->found;
    uint32_t best = 1;
    while (best < f->ntargets && f->targets[best].preference == f->targets[0].preference)
        best++;
    return &f->targets[i < best ? (c->first + i) % best : i];
}

static size_t nobody_data_cb(void *ctx, const char *p, size_t n)
{
    (void)ctx;
    (void)p;
    return n;
}

static void nobody_closed_cb(void *ctx, int err)
{
    (void)ctx;
    (void)err;
}

static const struct stream_ops nobody = { .on_data = nobody_data_cb, .on_closed = nobody_closed_cb };

void conn_let_stream_go(struct conn *c)
{
    if (c->stream == NULL)
        return;
    if (c->out.len > 0)
        (void)stream_write(c->stream, c->out.data, c->out.len);
    buf_reset(&c->out);
    stream_set_ops(c->stream, &nobody, NULL);
    stream_shutdown_close(c->stream, CLOSE_MS);
    c->stream = NULL;
}
