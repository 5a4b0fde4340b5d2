/* Addresses that warm up: see warmup.h. */
#include "node/core/warmup.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/bounce/class.h"
#include "node/core/cluster_impl.h"
#include "node/core/conn.h"
#include "node/core/node.h"

#include <stdlib.h>

#define ASK_MS 10000     /* for an answer */
#define ASKS_PER_TICK 64 /* of one tick */
#define AGAIN_MS 1000    /* after a refusal that may be over soon */
#define GONE_MS 30000    /* an operator may have given the plan more meanwhile */
#define SCAN_MS 2000     /* between two looks at what is to be told */
#define REPORTS_PER_TICK 64

/* ---- the cluster thread: asking ------------------------------------------------------------------------ */

struct ask {
    struct warmup_hand *hand;
    struct warmup_name name;
    int64_t sent_ms; /* what is handed out counts its life from then */
};

static void answered_cb(void *ctx, int err, const struct machine_result *r)
{
    struct ask *a = ctx;
    int64_t now = clock_boot_ms();
    if (err == 0 && r->err == 0) {
        warmup_hand_granted(a->hand, &a->name,
                            &(struct warmup_grant){ .count = r->count,
                                                    .plan = r->id,
                                                    .until_ms = r->free_ms,
                                                    .end_ms = a->sent_ms + r->life_ms });
    } else {
        bool gone = err == 0 && r->err == ERR_LIMIT;
        int64_t left = gone && r->free_ms > r->now_ms ? (int64_t)(r->free_ms - r->now_ms) : AGAIN_MS;
        warmup_hand_refused(a->hand, &a->name, gone, now + (left < GONE_MS ? left : GONE_MS));
    }
    free(a);
}

static struct span site_of(const struct warmup_name *name)
{
    return span_of(name->site, name->nsite);
}

static void ask(struct cluster *c, const struct warmup_name *name, int64_t now_ms)
{
    char text[IP_TEXT_MAX];
    struct command cmd = { .type = COMMAND_WARMUP_RESERVE };
    cmd.warmup_reserve = (struct command_warmup_reserve){
        .address = span_str(ip_addr_format(&name->addr, text)), .site = site_of(name), .want = WARMUP_WANT
    };
    struct ask *a = malloc(sizeof *a);
    if (a != NULL) {
        *a = (struct ask){ .hand = c->warmup, .name = *name, .sent_ms = now_ms };
        if (agent_submit(c->agent, &cmd, ASK_MS, answered_cb, a) == 0)
            return;
    }
    free(a);
    warmup_hand_refused(c->warmup, name, false, now_ms + AGAIN_MS);
}

/* ---- the cluster thread: telling ----------------------------------------------------------------------- */

struct told {
    struct warmup_hand *hand;
    struct warmup_report report;
};

static void told_cb(void *ctx, int err, const struct machine_result *r)
{
    struct told *t = ctx;
    (void)r; /* the plan may be gone: then nobody needs to know */
    if (err != 0)
        warmup_hand_untold(t->hand, &t->report);
    free(t);
}

static void tell(struct cluster *c, const struct warmup_report *r)
{
    char text[IP_TEXT_MAX];
    struct command cmd = { .type = COMMAND_WARMUP_REPORT };
    cmd.warmup_report =
        (struct command_warmup_report){ .address = span_str(ip_addr_format(&r->name.addr, text)),
                                        .site = site_of(&r->name),
                                        .plan = r->plan,
                                        .until_ms = r->until_ms,
                                        .unspent = r->unspent,
                                        .delivered = r->n[WARMUP_DELIVERED],
                                        .deferred = r->n[WARMUP_DEFERRED],
                                        .refused = r->n[WARMUP_REFUSED],
                                        .complaints = r->n[WARMUP_COMPLAINED] };
    struct told *t = malloc(sizeof *t);
    if (t != NULL) {
        *t = (struct told){ .hand = c->warmup, .report = *r };
        if (agent_submit(c->agent, &cmd, ASK_MS, told_cb, t) == 0)
            return;
    }
    free(t);
    warmup_hand_untold(c->warmup, r);
}

/* Still this node's, and nobody asks for it. */
static bool kept_cb(void *ctx, const struct ip_addr *addr)
{
    const struct cluster *c = ctx;
    const struct pool_address *a = pool_view_find(c->pools, addr);
    return a != NULL && a->node == c->id.self.node && a->next == 0 && a->warming;
}

void warmup_tick(struct cluster *c, int64_t now_ms)
{
    struct warmup_name name;
    struct warmup_report report;
    if (c->agent == NULL || c->pools == NULL ||
        command_type_level(COMMAND_WARMUP_RESERVE) > machine_features(c->m))
        return;
    for (int i = 0; i < ASKS_PER_TICK && warmup_hand_ask(c->warmup, &name); i++)
        ask(c, &name, now_ms);
    /* Before an address is released, what is in hand of it goes back. */
    if (now_ms >= c->warmup_ms || c->pools_moving) {
        warmup_hand_scan(c->warmup, now_ms, kept_cb, c);
        c->warmup_ms = now_ms + SCAN_MS;
    }
    for (int i = 0; i < REPORTS_PER_TICK && warmup_hand_report(c->warmup, &report); i++)
        tell(c, &report);
}

/* ---- workers ------------------------------------------------------------------------------------------- */

static struct warmup_hand *hand_of(const struct egress *e)
{
    struct cluster *c = e->w->node->cluster;
    return c == NULL ? NULL : c->warmup;
}

static bool warms(const struct pool_view *v, const struct ip_addr *addr)
{
    const struct pool_address *a = pool_view_find(v, addr);
    return a != NULL && a->warming;
}

bool warmup_rests(void *ctx, const struct ip_addr *addr)
{
    struct warmup_rest *r = ctx;
    struct warmup_hand *h = hand_of(r->site->e);
    if (h == NULL || !warms(r->view, addr))
        return false;
    if (!r->choosing && egress_sites_key(r->site).n == 0)
        return false; /* which site it is will be known with its hosts */
    enum warmup_answer answer = warmup_hand_look(h, addr, egress_sites_shared(r->site), clock_boot_ms());
    r->soon |= answer == WARMUP_SOON;
    r->sent |= answer == WARMUP_NO;
    return answer != WARMUP_YES;
}

bool conn_warmup_take(struct conn *c)
{
    c->warming = false;
    if (c->meter == NULL || !warms(c->e->w->pools, &c->source_addr))
        return true;
    c->warming =
        warmup_hand_take(hand_of(c->e), &c->source_addr, egress_sites_shared(c->site), clock_boot_ms(), &c->token);
    return c->warming;
}

void conn_warmup_untake(struct conn *c)
{
    if (c->warming)
        warmup_hand_untake(hand_of(c->e), &c->source_addr, egress_sites_shared(c->site), &c->token);
    c->warming = false;
}

/* Refused for what the server thinks of the address: as telling as a deferral. Greylisting says nothing. */
static enum warmup_outcome outcome_of(const struct smtp_client_result *r, bool *nothing)
{
    struct bounce_reply reply;
    enum bounce_class why = attempt_meaning(r, &reply);
    *nothing = why == BOUNCE_GREYLIST;
    return r->class == SMTP_CLIENT_TEMPORARY || why == BOUNCE_BLOCK || why == BOUNCE_RATE ||
                   why == BOUNCE_POLICY
               ? WARMUP_DEFERRED
               : WARMUP_REFUSED;
}

void conn_warmup_settled(struct conn *c)
{
    const struct attempt *a = c->attempt;
    enum warmup_outcome worst = WARMUP_REFUSED;
    bool delivered = false, nothing = true;
    if (!c->warming)
        return;
    c->warming = false;
    for (uint32_t i = 0; i < a->nrcpts; i++) {
        const struct smtp_client_result *r = &a->results[i];
        bool greylisted = true;
        delivered |= r->class == SMTP_CLIENT_OK;
        if (r->class == SMTP_CLIENT_OK || r->local)
            continue;
        enum warmup_outcome o = outcome_of(r, &greylisted);
        nothing = nothing && greylisted;
        worst = !greylisted && o == WARMUP_DEFERRED ? o : worst;
    }
    if (delivered || !nothing)
        warmup_hand_result(hand_of(c->e), &c->source_addr,
                           c->site != NULL ? egress_sites_shared(c->site) : route_key_site(span_str(a->site)),
                           delivered ? WARMUP_DELIVERED : worst, clock_boot_ms());
}

void warmup_complained(struct worker *w, struct span source, struct span rcpt)
{
    struct cluster *c = w->node->cluster;
    struct machine *m = c == NULL ? NULL : cluster_machine(c);
    struct directory_warming warming;
    struct ip_addr addr;
    struct route_key key;
    char text[IP_TEXT_MAX];
    if (m == NULL || ip_addr_parse(source, &addr) != 0 || route_site_key(w->config, rcpt, &key) != 0)
        return;
    machine_read_lock(m);
    bool warms_up = directory_warming_find(m, span_str(ip_addr_format(&addr, text)), &warming);
    machine_read_unlock(m);
    if (warms_up)
        warmup_hand_result(c->warmup, &addr, span_of(key.text, key.len), WARMUP_COMPLAINED, clock_boot_ms());
}
