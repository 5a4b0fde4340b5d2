/* Whether our source addresses are on lists of bad addresses: see dnsbl.h. */
#include "node/core/dnsbl.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster.h"
#include "node/core/egress.h"
#include "node/core/node.h"
#include "node/core/pools.h"
#include "node/core/report.h"
#include "node/domain/dnsbl.h"
#include "node/net/dns.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define FIRST_MS 5000   /* after a list was named, or the node began */
#define CHECK_MS 30000  /* of an operator's question: what is not asked by then stays as it was */
#define ROUND_MS 900000 /* likewise of a round */
#define REST_ROUNDS 4   /* so many rounds an address rests after the last time that it was listed */

struct row {
    struct ip_addr addr;
    char zone[254];
    enum dnsbl_state state;
    int64_t since_ms, checked_ms;
    char text[DNSBL_TEXT_MAX];
};

enum step { STEP_NEVER, STEP_ALWAYS, STEP_ADDRESSES };

/* One walk over all lists and addresses; on the first worker. */
struct round {
    struct worker_msg msg;
    struct dnsbl *d;
    struct worker *w;
    void (*done)(struct round *r);
    int64_t by_ms; /* CLOCK_BOOTTIME */
    int64_t every_ms;
    sem_t sem;
    uint32_t nlists, naddrs, list, at;
    enum step step;
    bool text; /* TXT of an address that is listed is asked for */
    unsigned char code[4];
    struct policy_dnsbl lists[POLICY_DNSBL_MAX];
    struct ip_addr addrs[DNSBL_ADDRESSES_MAX];
};

struct dnsbl {
    struct node *node;
    uv_mutex_t lock;
    struct row *rows;
    uint32_t nrows, cap;
    int64_t next_ms;       /* of the main thread */
    struct policy *policy; /* by which that was set, held */
    bool busy;             /* under the lock: the round runs */
    struct round round;
};

int dnsbl_new(struct node *n, struct dnsbl **out)
{
    struct dnsbl *d = calloc(1, sizeof *d);
    if (d == NULL)
        return -ENOMEM;
    d->node = n;
    int err = uv_mutex_init(&d->lock);
    if (err != 0) {
        free(d);
        return err;
    }
    *out = d;
    return 0;
}

void dnsbl_free(struct dnsbl *d)
{
    if (d == NULL)
        return;
    uv_mutex_destroy(&d->lock);
    policy_rele(d->policy);
    free(d->rows);
    free(d);
}

/* ---- what is known; under the lock --------------------------------------------------------------------- */

static struct row *find(struct dnsbl *d, const struct ip_addr *addr, const char *zone)
{
    for (uint32_t i = 0; i < d->nrows; i++)
        if (ip_addr_eq(&d->rows[i].addr, addr) && strcmp(d->rows[i].zone, zone) == 0)
            return &d->rows[i];
    return NULL;
}

static struct row *get(struct dnsbl *d, const struct ip_addr *addr, const char *zone)
{
    struct row *r = find(d, addr, zone);
    if (r != NULL)
        return r;
    if (d->nrows == d->cap) {
        uint32_t cap = d->cap == 0 ? 16 : d->cap * 2;
        r = realloc(d->rows, cap * sizeof *r);
        if (r == NULL)
            return NULL;
        d->rows = r;
        d->cap = cap;
    }
    r = &d->rows[d->nrows++];
    *r = (struct row){ .addr = *addr };
    snprintf(r->zone, sizeof r->zone, "%s", zone);
    return r;
}

/* ---- rests --------------------------------------------------------------------------------------------- */

/* The hold that keeps it from all sites, as far as it is in force: until when; 0: it is not. */
static int64_t rests_until(struct node *n, struct span source, int64_t now)
{
    uv_mutex_lock(&n->holds.lock);
    const struct shaping_hold *x =
        shaping_hold_find(n->holds.v, SPAN_LIT(EGRESS_ALL_SITES), SHAPING_DISABLE_SOURCE, source, now);
    int64_t until = x != NULL && span_eq(x->rule, SPAN_LIT(DNSBL_RULE)) ? x->until_ms : 0;
    uv_mutex_unlock(&n->holds.lock);
    return until;
}

enum rest { REST_NO, REST_YES, REST_UNKNOWN };

/* Whether a list whose listed addresses rest has it, and what it says. A list that has not answered for long
 * is not believed, and one that never has since the node began may be why the address rests. */
static enum rest wanted(struct round *r, const struct ip_addr *addr, char words[DNSBL_TEXT_MAX + 300])
{
    enum rest rest = REST_NO;
    int64_t oldest_ms = clock_wall_ms() - REST_ROUNDS * r->every_ms;
    uv_mutex_lock(&r->d->lock);
    for (uint32_t i = 0; i < r->nlists && rest != REST_YES; i++) {
        if (!r->lists[i].rest)
            continue;
        const struct row *row = find(r->d, addr, r->lists[i].zone);
        if (row == NULL || row->state == DNSBL_STATE_UNKNOWN) {
            rest = REST_UNKNOWN;
        } else if (row->state == DNSBL_STATE_LISTED && row->checked_ms > oldest_ms) {
            rest = REST_YES;
            snprintf(words, DNSBL_TEXT_MAX + 300, "listed by %s: %s", row->zone, row->text);
        }
    }
    uv_mutex_unlock(&r->d->lock);
    return rest;
}

/* The hold outlasts some rounds, so that it stays while the list does not answer, and goes by itself when
 * nobody asks any more. */
static void settle(struct round *r, const struct ip_addr *addr)
{
    struct node *n = r->d->node;
    char source[IP_TEXT_MAX], words[DNSBL_TEXT_MAX + 300] = "";
    int64_t now = clock_wall_ms();
    struct shaping_hold hold = { .key = SPAN_LIT(EGRESS_ALL_SITES),
                                 .kind = SHAPING_DISABLE_SOURCE,
                                 .source = span_str(ip_addr_format(addr, source)),
                                 .since_ms = now,
                                 .until_ms = now + REST_ROUNDS * r->every_ms,
                                 .rule = SPAN_LIT(DNSBL_RULE) };
    enum rest rest = wanted(r, addr, words);
    int64_t until = rests_until(n, hold.source, now);
    if (rest == REST_UNKNOWN ||
        (rest == REST_YES ? until - now >= REST_ROUNDS / 2 * r->every_ms : until == 0))
        return;
    hold.reply = span_str(words);
    if (rest == REST_NO)
        hold.kind = SHAPING_NONE;
    egress_shaping_hear(n, &hold, false);
    if (n->cluster != NULL)
        cluster_shaping_tell(n->cluster, &hold);
}

/* ---- one round ----------------------------------------------------------------------------------------- */

static void tell(struct worker *w, const struct ip_addr *addr, const char *zone, bool listed,
                 const char *text)
{
    char source[IP_TEXT_MAX], words[DNSBL_TEXT_MAX + 32];
    struct event e = EVENT_INIT(EVENT_SHAPING);
    snprintf(words, sizeof words, "%s%s%s", listed ? "listed" : "not listed any more",
             text[0] != '\0' ? ": " : "", text);
    e.site = SPAN_LIT(EGRESS_ALL_SITES);
    e.rule = span_str(zone);
    e.source_ip = span_str(ip_addr_format(addr, source));
    e.text = span_str(words);
    report_event(w, &e);
    log_warn("dnsbl", "%s: %s, by %s", source, words, zone);
}

static void note(struct round *r, const struct ip_addr *addr, enum dnsbl_state state, const char *text)
{
    const char *zone = r->lists[r->list].zone;
    enum dnsbl_state was = DNSBL_STATE_UNKNOWN;
    int64_t now = clock_wall_ms();
    uv_mutex_lock(&r->d->lock);
    struct row *row = get(r->d, addr, zone);
    if (row != NULL) {
        was = row->state;
        if (was != state)
            row->since_ms = now;
        row->state = state;
        row->checked_ms = now;
        snprintf(row->text, sizeof row->text, "%s", text);
    }
    uv_mutex_unlock(&r->d->lock);
    if (row != NULL && was != state && (state == DNSBL_STATE_LISTED || was == DNSBL_STATE_LISTED))
        tell(r->w, addr, zone, state == DNSBL_STATE_LISTED, text);
}

static void next_list(struct round *r)
{
    r->list++;
    r->at = 0;
    r->step = STEP_NEVER;
}

/* What was known of it stays; further questions would wait as long. */
static void silent(struct round *r)
{
    uv_mutex_lock(&r->d->lock);
    for (uint32_t i = r->step == STEP_ADDRESSES ? r->at : 0; i < r->naddrs; i++) {
        struct row *row = get(r->d, &r->addrs[i], r->lists[r->list].zone);
        if (row != NULL && row->state == DNSBL_STATE_UNKNOWN && row->since_ms == 0) {
            row->since_ms = clock_wall_ms();
            snprintf(row->text, sizeof row->text, "no answer");
        }
    }
    uv_mutex_unlock(&r->d->lock);
    next_list(r);
}

/* It does not answer as a list does: nothing that it says is believed, nor was it right to. */
static void broken(struct round *r, const char *why)
{
    log_warn("dnsbl", "the list %s is not believed: %s", r->lists[r->list].zone, why);
    for (uint32_t i = 0; i < r->naddrs; i++)
        note(r, &r->addrs[i], DNSBL_STATE_BROKEN, why);
    next_list(r);
}

static void advance(struct round *r);

static void listed(struct round *r, const char *text)
{
    char words[DNSBL_TEXT_MAX];
    snprintf(words, sizeof words, "%u.%u.%u.%u%s%.236s", r->code[0], r->code[1], r->code[2], r->code[3],
             text[0] != '\0' ? " " : "", text);
    note(r, &r->addrs[r->at++], DNSBL_STATE_LISTED, words);
}

static void on_text(struct round *r, const struct dns_answer *a)
{
    char text[DNSBL_TEXT_MAX] = "";
    struct buf joined;
    buf_init(&joined, 4096);
    if (a->status == DNS_OK && a->nrecords > 0 && dns_txt_join(a->records[0], &joined) == 0)
        snprintf(text, sizeof text - 20, "%.*s", (int)joined.len, joined.data == NULL ? "" : joined.data);
    for (char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || (unsigned char)*p >= 0x7f)
            *p = '?';
    buf_fini(&joined);
    r->text = false;
    listed(r, text);
}

static void on_address(struct round *r, const struct dns_answer *a)
{
    char why[128] = "no answer";
    enum dnsbl_answer answer = DNSBL_CLEAN;
    if (a->status == DNS_OK)
        answer = dnsbl_read(a->records, a->nrecords, r->code, why);
    switch (r->step) {
    case STEP_NEVER:
        if (answer == DNSBL_CLEAN)
            r->step = STEP_ALWAYS;
        else
            broken(r, answer == DNSBL_BROKEN ? why : "it lists " DNSBL_NEVER);
        return;
    case STEP_ALWAYS:
        if (answer == DNSBL_LISTED)
            r->step = STEP_ADDRESSES;
        else
            broken(r, answer == DNSBL_BROKEN ? why : "it does not list " DNSBL_ALWAYS);
        return;
    case STEP_ADDRESSES:
        if (answer == DNSBL_LISTED)
            r->text = true; /* what it says of it is asked next */
        else if (answer == DNSBL_BROKEN)
            broken(r, why);
        else
            note(r, &r->addrs[r->at++], DNSBL_STATE_CLEAN, "");
        return;
    }
}

static void answer_cb(void *ctx, const struct dns_answer *a)
{
    struct round *r = ctx;
    if (r->text)
        on_text(r, a);
    else if (a->status == DNS_TEMPORARY)
        silent(r);
    else
        on_address(r, a);
    advance(r);
}

static bool ask(struct round *r)
{
    char name[256];
    struct ip_addr test;
    const char *zone = r->lists[r->list].zone;
    const struct ip_addr *addr = &r->addrs[r->at];
    if (r->step != STEP_ADDRESSES) {
        ensure(ip_addr_parse(span_str(r->step == STEP_NEVER ? DNSBL_NEVER : DNSBL_ALWAYS), &test) == 0);
        addr = &test;
    }
    return !r->w->egress->stopping && clock_boot_ms() < r->by_ms && dnsbl_address_name(addr, zone, name) &&
           dns_lookup(r->w->dns, span_str(name), r->text ? DNS_TYPE_TXT : DNS_TYPE_A, answer_cb, r) != NULL;
}

static void advance(struct round *r)
{
    while (r->list < r->nlists) {
        if (r->step == STEP_ADDRESSES && r->at == r->naddrs)
            next_list(r);
        else if (ask(r))
            return;
        else
            silent(r); /* no time or no memory */
        r->text = false;
    }
    for (uint32_t i = 0; i < r->naddrs; i++)
        settle(r, &r->addrs[i]);
    r->done(r);
}

static void add(struct round *r, const struct ip_addr *a, const struct ip_addr *only)
{
    bool there = only != NULL && !ip_addr_eq(a, only);
    for (uint32_t i = 0; i < r->naddrs && !there; i++)
        there = ip_addr_eq(&r->addrs[i], a);
    if (!there && r->naddrs < DNSBL_ADDRESSES_MAX)
        r->addrs[r->naddrs++] = *a;
}

/* The lists, and the addresses that this node sends from: of pools, and of its own configuration. */
static void prepare(struct round *r, struct dnsbl *d, const struct policy *p, const struct ip_addr *only)
{
    struct node *n = d->node;
    struct pool_view *v = n->cluster == NULL ? NULL : cluster_pools(n->cluster);
    struct config *config = node_config(n);
    const struct pool_address *a;
    memset(r, 0, sizeof *r);
    r->d = d;
    r->w = &n->workers[0];
    r->every_ms = p->dnsbl.every_ms;
    r->nlists = p->dnsbl.nlists;
    memcpy(r->lists, p->dnsbl.lists, sizeof r->lists);
    for (uint32_t i = 0; (a = pool_view_at(v, i)) != NULL; i++)
        if (a->meter != NULL)
            add(r, &a->addr, only);
    for (uint32_t i = 0; i < config->nsources; i++) {
        struct ip_addr source;
        if (ip_from_sockaddr((const struct sockaddr *)&config->sources[i].address, &source, NULL) == 0)
            add(r, &source, only);
    }
    config_rele(config);
    pool_view_rele(v);
}

/* ---- every so often ------------------------------------------------------------------------------------ */

static bool still(const struct round *r, const struct row *row)
{
    bool addr = false, zone = false;
    for (uint32_t i = 0; i < r->naddrs && !addr; i++)
        addr = ip_addr_eq(&r->addrs[i], &row->addr);
    for (uint32_t i = 0; i < r->nlists && !zone; i++)
        zone = strcmp(r->lists[i].zone, row->zone) == 0;
    return addr && zone;
}

/* Lists that are not asked any more, and addresses that are other nodes' now. Under the lock. */
static void prune(struct dnsbl *d, const struct round *r)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < d->nrows; i++)
        if (still(r, &d->rows[i]))
            d->rows[kept++] = d->rows[i];
    d->nrows = kept;
}

static void round_done(struct round *r)
{
    struct dnsbl *d = r->d;
    uv_mutex_lock(&d->lock);
    prune(d, r);
    d->busy = false;
    uv_mutex_unlock(&d->lock);
}

static void run_round(struct worker *w, struct worker_msg *msg)
{
    struct round *r = (struct round *)msg;
    if (!w->egress->stopping)
        advance(r);
}

/* Nine to eleven tenths of it: nodes do not ask in step. */
static int64_t jittered(int64_t ms)
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return ms;
    return ms * 9 / 10 + (int64_t)(random % 1000) * (ms / 5) / 1000;
}

void dnsbl_tick(struct dnsbl *d, int64_t now_ms)
{
    struct policy *p = d->node->cluster == NULL ? NULL : cluster_policy(d->node->cluster);
    if (p != NULL && p != d->policy) {
        d->next_ms = now_ms + jittered(FIRST_MS);
        policy_rele(d->policy);
        d->policy = policy_hold(p);
    }
    uv_mutex_lock(&d->lock);
    bool due = p != NULL && now_ms >= d->next_ms && !d->busy && (p->dnsbl.nlists > 0 || d->nrows > 0);
    d->busy = d->busy || due;
    uv_mutex_unlock(&d->lock);
    if (due) {
        prepare(&d->round, d, p, NULL);
        d->next_ms = now_ms + jittered(p->dnsbl.every_ms);
        d->round.done = round_done;
        d->round.by_ms = clock_boot_ms() + ROUND_MS;
        d->round.msg.run = run_round;
        worker_post_always(d->round.w, &d->round.msg);
    }
    policy_rele(p);
}

/* ---- asked for ----------------------------------------------------------------------------------------- */

static void ask_done(struct round *r)
{
    sem_post(&r->sem);
}

static void start(struct worker *w, void *arg)
{
    (void)w;
    advance(arg);
}

int dnsbl_ask(struct dnsbl *d, const struct ip_addr *addr)
{
    struct policy *p = d->node->cluster == NULL ? NULL : cluster_policy(d->node->cluster);
    struct round *r = p == NULL || p->dnsbl.nlists == 0 ? NULL : calloc(1, sizeof *r);
    int err = 0;
    if (r != NULL) {
        prepare(r, d, p, addr);
        r->done = ask_done;
        r->by_ms = clock_boot_ms() + CHECK_MS;
        err = r->naddrs == 0 ? ERR_NOT_FOUND : 0;
    }
    if (r != NULL && err == 0) {
        sem_init(&r->sem, 0, 0);
        worker_call(r->w, start, r);
        while (sem_wait(&r->sem) != 0)
            ;
        sem_destroy(&r->sem);
    }
    free(r);
    policy_rele(p);
    return err;
}

/* ---- looking ------------------------------------------------------------------------------------------- */

void dnsbl_each(struct dnsbl *d, const struct ip_addr *addr, dnsbl_row_fn *fn, void *ctx)
{
    uv_mutex_lock(&d->lock);
    for (uint32_t i = 0; i < d->nrows; i++) {
        const struct row *r = &d->rows[i];
        if (addr == NULL || ip_addr_eq(&r->addr, addr))
            fn(ctx, &(struct dnsbl_row){ .addr = r->addr,
                                         .zone = r->zone,
                                         .state = r->state,
                                         .since_ms = r->since_ms,
                                         .checked_ms = r->checked_ms,
                                         .text = r->text });
    }
    uv_mutex_unlock(&d->lock);
}

static void count_cb(void *ctx, const struct dnsbl_row *row)
{
    struct dnsbl_counts *n = ctx;
    char text[IP_TEXT_MAX];
    if (row->state != DNSBL_STATE_LISTED)
        return;
    if (n->addresses++ == 0)
        snprintf(n->example, sizeof n->example, "%s on %.200s", ip_addr_format(&row->addr, text), row->zone);
}

void dnsbl_count(struct dnsbl *d, struct dnsbl_counts *out)
{
    *out = (struct dnsbl_counts){ 0 };
    dnsbl_each(d, NULL, count_cb, out);
}

struct heads {
    struct buf *out;
    enum dnsbl_state state;
    bool some;
};

static void metric_cb(void *ctx, const struct dnsbl_row *row)
{
    struct heads *h = ctx;
    char text[IP_TEXT_MAX];
    if (row->state == DNSBL_STATE_UNKNOWN)
        return;
    if (!h->some && h->state == DNSBL_STATE_LISTED)
        buf_put_str(h->out, "# HELP turnpike_dnsbl_listed A source address of this node is on a list.\n"
                            "# TYPE turnpike_dnsbl_listed gauge\n");
    else if (!h->some)
        buf_put_str(h->out,
                    "# HELP turnpike_dnsbl_broken A list that is asked about an address is not believed.\n"
                    "# TYPE turnpike_dnsbl_broken gauge\n");
    h->some = true;
    buf_printf(h->out, "%s{address=\"%s\",list=\"%s\"} %d\n",
               h->state == DNSBL_STATE_LISTED ? "turnpike_dnsbl_listed" : "turnpike_dnsbl_broken",
               ip_addr_format(&row->addr, text), row->zone, row->state == h->state);
}

int dnsbl_metrics(struct dnsbl *d, struct buf *out)
{
    struct heads listed_heads = { out, DNSBL_STATE_LISTED, false },
                 broken_heads = { out, DNSBL_STATE_BROKEN, false };
    dnsbl_each(d, NULL, metric_cb, &listed_heads);
    dnsbl_each(d, NULL, metric_cb, &broken_heads);
    return buf_err(out);
}
