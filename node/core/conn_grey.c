/* Greylisted mail keeps its source address: see conn_grey.h. */
#include "node/core/conn_grey.h"
#include "node/core/egress_rest.h"

#include "node/core/cluster.h"
#include "node/core/conn.h"
#include "node/core/greylist.h"
#include "node/core/node.h"
#include "node/core/outcome.h"
#include "node/core/report.h"
#include "node/core/transfer.h"

#define USUAL_MS 300000    /* the usual delay */
#define HAND_WAIT_MS 15000 /* for mail that is to move to another node: then it is tried here after all */

/* ---- which address --------------------------------------------------------------------------------------
 */

bool grey_pin(const struct spool_info *info, const uint32_t *rcpts, uint32_t n, uint32_t attempts,
              struct ip_addr *pin, struct span *host)
{
    struct grey_mark m;
    struct span words;
    for (uint32_t i = 0; i < n; i++)
        if (rcpts[i] < info->env.nrcpts && grey_mark_parse(info->rcpts[rcpts[i]].reply, &m, &words) &&
            attempts <= (m.sure ? GREY_ATTEMPTS + 1u : 2u) && ip_addr_parse(m.source, pin) == 0) {
            *host = m.host;
            return true;
        }
    *pin = (struct ip_addr){ 0 };
    return false;
}

static const struct config_source *source_of(const struct config *config, const struct ip_addr *addr)
{
    for (uint32_t i = 0; i < config->nsources; i++) {
        struct ip_addr a;
        if (ip_from_sockaddr((const struct sockaddr *)&config->sources[i].address, &a, NULL) == 0 &&
            ip_addr_eq(&a, addr))
            return &config->sources[i];
    }
    return NULL;
}

/* The address is this node's to send from, and does not rest for the site. */
static bool usable(struct conn *c, const struct ip_addr *addr)
{
    struct egress *e = c->e;
    struct span pool = route_key_pool(queue_site_key(c->site->qs));
    if (addr->family == 0 || egress_shaping_rests(e, c->site->qs, addr))
        return false;
    if (pool.n == 0)
        return source_of(c->config, addr) != NULL;
    const struct pool_view *v = egress_pools_view(e);
    struct warmup_rest rest = { .site = c->site, .view = v, .choosing = true };
    const struct pool_address *a = pool_view_find(v, addr);
    return a != NULL && span_eq(a->pool, pool) && pool_address_usable(v, a, egress_pools_session(e)) &&
           !warmup_rests(&rest, addr);
}

/* A target that the address can reach; with the host that is named, if it can be. */
static bool target_for(const struct conn *c, uint8_t family, struct span host, uint32_t *first)
{
    const struct dns_site *f = c->found;
    bool any = false;
    for (uint32_t i = 0; i < f->ntargets; i++) {
        const struct dns_target *t = &f->targets[i];
        if (t->addr.family != family)
            continue;
        any = true;
        if (t->preference == f->targets[0].preference && t->host < f->nhosts &&
            span_eq(span_str(f->hosts[t->host]), host)) {
            *first = i;
            break;
        }
    }
    return any;
}

void conn_grey_expect(struct conn *c)
{
    struct egress *e = c->e;
    struct queue_item *item = queue_site_next(e->queue, c->site->qs);
    struct queue_item_view v;
    struct spool_info *info;
    struct span host;
    if (item == NULL)
        return;
    queue_item_view(e->queue, item, &v);
    if (v.attempts == 0 || v.attempts > GREY_ATTEMPTS || spool_info(e->w->node->spool, v.id, &info) != 0)
        return;
    if (!grey_pin(info, v.rcpts, v.nrcpts, v.attempts + 1u, &c->pin, &host) || !usable(c, &c->pin) ||
        !target_for(c, c->pin.family, host, &c->first))
        c->pin = (struct ip_addr){ 0 };
    spool_info_free(info);
}

bool conn_grey_source(struct conn *c, uint8_t family, struct ip_addr *out)
{
    struct span pool = route_key_pool(queue_site_key(c->site->qs));
    if (c->pin.family != family || !usable(c, &c->pin))
        return false;
    *out = c->pin;
    if (pool.n == 0)
        c->source = source_of(c->config, &c->pin);
    else
        conn_pool_take(c, pool_view_find(egress_pools_view(c->e), &c->pin));
    return true;
}

/* ---- changing it ----------------------------------------------------------------------------------------
 */

bool conn_grey_moves(struct conn *c)
{
    const struct attempt *a = c->attempt;
    struct ip_addr local = { 0 };
    uint32_t first = c->first;
    if (a->pin.family == 0)
        return false;
    stream_local(c->stream, &local, NULL);
    if (ip_addr_eq(&local, &a->pin) || !usable(c, &a->pin) ||
        !target_for(c, a->pin.family, a->pin_host, &first))
        return false;
    conn_warmup_untake(c); /* of the address that it leaves */
    conn_rest_untake(c);
    conn_site_unsent(c);
    c->pin = a->pin;
    c->first = first;
    c->tried = c->messages = 0;
    c->moving = true;
    smtp_client_quit(c->client);
    conn_let_stream_go(c);
    conn_next_target(c);
    return true;
}

/* Another node of the cluster may send from there now. */
static uint64_t elsewhere(const struct conn *c, const struct ip_addr *addr)
{
    const struct pool_address *a = pool_view_find(egress_pools_view(c->e), addr);
    bool there = a != NULL && a->node != cluster_self(c->e->w->node->cluster) && a->next == 0 && !a->absent &&
                 a->use == COMMAND_USE_ON && span_eq(a->pool, route_key_pool(queue_site_key(c->site->qs)));
    return there ? a->node : 0;
}

bool conn_grey_hands(struct conn *c)
{
    struct attempt *a = c->attempt;
    struct egress *e = c->e;
    uint64_t node = a->pin.family == 0 ? 0 : elsewhere(c, &a->pin);
    /* Once: when it is offered again and still is here, more attempts are counted than are recorded. */
    if (node == 0 || a->attempts != a->info->rcpts[a->rcpts[0]].attempts + 1u ||
        transfer_request(e->w->node, a->info->env.id, node) != 0)
        return false;
    c->attempt = NULL;
    int64_t now = egress_now_ms(e);
    (void)queue_defer_to(e->queue, a->item, NULL, 0, now + HAND_WAIT_MS, now);
    attempt_free(a);
    return true;
}

void conn_grey_give_back(struct conn *c)
{
    struct attempt *a = c->attempt;
    if (a == NULL)
        return;
    c->attempt = NULL;
    queue_requeue(c->e->queue, a->item, egress_now_ms(c->e));
    attempt_free(a);
}

bool conn_grey_arrived(struct conn *c)
{
    struct queue_item_view v;
    if (c->attempt == NULL)
        return false;
    (void)egress_cut_off(c->e);
    queue_item_view(c->e->queue, c->attempt->item, &v);
    if (!v.frozen)
        return true;
    conn_grey_give_back(c);
    return false;
}

void conn_grey_lost(struct conn *c)
{
    struct attempt *a = c->attempt;
    struct smtp_client_result result = {
        .class = SMTP_CLIENT_TEMPORARY, .stage = SMTP_CLIENT_STAGE_CONNECT, .local = true, .reply = c->trouble
    };
    attempt_result_all(a, &result);
    c->attempt = NULL;
    c->moving = false;
    queue_conn_success(c->e->queue, &c->qc, egress_now_ms(c->e)); /* from another address it was there */
    outcome_settle(a, c);
}

/* ---- outcomes -------------------------------------------------------------------------------------------
 */

/* The mark that the recipient had before this attempt. */
static bool mark_before(const struct attempt *a, uint32_t i, struct grey_mark *out)
{
    struct span words;
    return grey_mark_parse(a->info->rcpts[a->rcpts[i]].reply, out, &words);
}

/* It has gone out from where it did before: what was told then counts for it. */
static bool same_source(const struct attempt *a, const struct grey_mark *m)
{
    struct ip_addr before;
    return ip_addr_parse(m->source, &before) == 0 && ip_addr_eq(&before, &a->from);
}

void conn_grey_refused(struct conn *c, uint32_t i, const struct shaping_rule *rule)
{
    struct attempt *a = c->attempt;
    struct attempt_grey *g = &a->grey[i];
    struct grey_mark before;
    struct grey_verdict verdict;
    int64_t now = egress_now_ms(c->e), stated = rule == NULL ? 0 : grey_stated_ms(a->results[i].reply.text);
    bool again = mark_before(a, i, &before) && same_source(a, &before) && before.since_ms < now;
    struct grey_refusal refusal = { .site = egress_sites_shared(c->site),
                                    .sure = rule != NULL,
                                    .attempts = a->attempts,
                                    .waited_ms = again ? now - before.since_ms : 0,
                                    .stated_ms = stated,
                                    .usual_ms = rule != NULL && rule->for_ms != 0 ? rule->for_ms : USUAL_MS };
    grey_refused(c->e->w->node->greylist->known, &refusal, now, &verdict);
    if (verdict.endless)
        report_greylist(c, &a->results[i].reply);
    if (!verdict.greylisted && a->attempts > 1)
        return;
    *g = (struct attempt_grey){ .kind = verdict.greylisted ? ATTEMPT_GREY : ATTEMPT_MAYBE_GREY,
                                .since_ms = again ? before.since_ms : now / GREY_STEP_MS * GREY_STEP_MS };
    if (verdict.greylisted && a->attempts <= GREY_ATTEMPTS)
        a->retry_at_ms = now + verdict.wait_ms;
}

void conn_grey_taken(struct conn *c, uint32_t i)
{
    const struct attempt *a = c->attempt;
    struct grey_mark before;
    int64_t now = egress_now_ms(c->e);
    if (mark_before(a, i, &before) && same_source(a, &before) && before.since_ms < now &&
        grey_passed(c->e->w->node->greylist->known, egress_sites_shared(c->site), before.sure,
                    a->attempts, now - before.since_ms, now))
        report_greylist(c, NULL);
}

bool attempt_grey_mark(const struct attempt *a, uint32_t i, const struct conn *c, struct grey_mark *out,
                       char text[IP_TEXT_MAX])
{
    const struct attempt_grey *g = &a->grey[i];
    if (g->kind == ATTEMPT_NOT_GREY) /* what it was told stands, unless it has heard something else */
        return a->results[i].local && mark_before(a, i, out);
    if (c == NULL || a->from.family == 0)
        return false;
    *out = (struct grey_mark){ .since_ms = g->since_ms,
                               .sure = g->kind == ATTEMPT_GREY,
                               .host = span_str(c->host),
                               .source = span_str(ip_addr_format(&a->from, text)) };
    return true;
}
