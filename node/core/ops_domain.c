/* The admin API's check of a sender's domain: node/domain/check.h with the questions asked on a worker's
 * resolver, one after the other. An admin thread waits.
 */
#include "node/core/ops_domain.h"

#include "base/clock.h"
#include "base/err.h"
#include "consensus/command.h"
#include "node/core/cluster.h"
#include "node/core/keyring.h"
#include "node/core/node.h"
#include "node/core/pools.h"
#include "node/domain/check.h"
#include "node/domain/name.h"
#include "node/net/dns.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

/* All questions together; what is not asked by then counts as not answered. The last one may take the
 * resolver's own time on top. */
#define CHECK_MS 30000

/* ---- the questions ------------------------------------------------------------------------------------- */

struct run {
    struct domain_check *check;
    struct worker *w;
    int64_t by_ms;
    sem_t done;
};

static void advance(struct run *r);

static void answer_cb(void *ctx, const struct dns_answer *a)
{
    struct run *r = ctx;
    struct spf_answer answer = { .status = a->status == DNS_OK          ? SPF_DNS_OK
                                           : a->status == DNS_PERMANENT ? SPF_DNS_NONE
                                                                        : SPF_DNS_FAILED,
                                 .n = a->status == DNS_OK ? a->nrecords : 0,
                                 .records = a->records };
    domain_check_feed(r->check, &answer);
    advance(r);
}

/* False: it was not asked, and the answer is in `status`. */
static bool ask(struct run *r, const struct spf_question *q, enum spf_dns *status)
{
    char name[256];
    *status = SPF_DNS_FAILED;
    if (dns_name_normalise(span_str(q->name), name) != 0) {
        *status = SPF_DNS_NONE; /* a macro can make names that no host has */
        return false;
    }
    return clock_boot_ms() < r->by_ms &&
           dns_lookup(r->w->dns, span_str(name), (int)q->type, answer_cb, r) != NULL;
}

static void advance(struct run *r)
{
    for (const struct spf_question *q; (q = domain_check_next(r->check)) != NULL;) {
        struct spf_answer answer = { 0 };
        if (ask(r, q, &answer.status))
            return;
        domain_check_feed(r->check, &answer);
    }
    sem_post(&r->done);
}

static void start(struct worker *w, void *arg)
{
    struct run *r = arg;
    r->w = w;
    advance(r);
}

/* ---- what is checked ----------------------------------------------------------------------------------- */

struct subject {
    char domain[256], return_path[256];
    struct ip_addr sources[DOMAIN_CHECK_SOURCES_MAX];
    size_t nsources;
    struct config *config;                      /* a reference: names and keys are in it */
    struct keyring *ring;                       /* likewise, of the cluster; NULL: none */
    char selectors[DOMAIN_CHECK_KEYS_MAX][256]; /* those that were asked for */
    struct domain_check_key keys[DOMAIN_CHECK_KEYS_MAX];
    size_t nkeys;
};

static int add_source(struct subject *s, const struct ip_addr *a, struct admin_error *e)
{
    for (size_t i = 0; i < s->nsources; i++)
        if (ip_addr_eq(&s->sources[i], a))
            return 0;
    if (s->nsources == DOMAIN_CHECK_SOURCES_MAX)
        return admin_fail(e, ERR_BAD, "more than %d addresses: name a pool", DOMAIN_CHECK_SOURCES_MAX);
    s->sources[s->nsources++] = *a;
    return 0;
}

/* The next of a list with commas; false: there is none. */
static bool next_of(const char **list, struct span *out)
{
    if (*list == NULL || **list == '\0')
        return false;
    *out = span_of(*list, strcspn(*list, ","));
    *list += out->n + ((*list)[out->n] == ',');
    return true;
}

static int read_ips(struct subject *s, const char *list, struct admin_error *e)
{
    struct span text;
    struct ip_addr a;
    while (next_of(&list, &text)) {
        if (ip_addr_parse(text, &a) != 0)
            return admin_fail(e, ERR_BAD, "%.*s is no IP address", (int)text.n, text.p);
        int err = add_source(s, &a, e);
        if (err != 0)
            return err;
    }
    return 0;
}

static int read_selectors(struct subject *s, const char *list, struct admin_error *e)
{
    struct span text;
    while (next_of(&list, &text)) {
        char *name = s->selectors[s->nkeys];
        if (s->nkeys == DOMAIN_CHECK_KEYS_MAX)
            return admin_fail(e, ERR_BAD, "more than %d selectors", DOMAIN_CHECK_KEYS_MAX);
        if (dns_name_normalise(text, name) != 0)
            return admin_fail(e, ERR_BAD, "%.*s is no selector", (int)text.n, text.p);
        s->keys[s->nkeys++].selector = name;
    }
    return 0;
}

/* What this node signs the domain's mail with, now or later: keys of its file and of the cluster. */
static void read_keys(struct subject *s)
{
    int64_t now_ms = clock_wall_ms();
    for (uint32_t i = 0; i < s->config->dkim.nkeys && s->nkeys < DOMAIN_CHECK_KEYS_MAX; i++) {
        const struct config_dkim_key *k = &s->config->dkim.keys[i];
        struct span domain = span_str(s->domain), d = span_str(k->domain);
        if ((k->not_after_ms != 0 && k->not_after_ms <= now_ms) ||
            !(k->subdomains ? domain_name_within(domain, d) : span_eq_nocase(domain, d)))
            continue;
        s->keys[s->nkeys++] =
            (struct domain_check_key){ .selector = k->selector, .domain = k->domain, .key = k->key };
    }
    for (uint32_t i = 0; i < keyring_count(s->ring) && s->nkeys < DOMAIN_CHECK_KEYS_MAX; i++) {
        const struct keyring_key *k = keyring_at(s->ring, i);
        struct span domain = span_str(s->domain), d = span_str(k->domain);
        if ((k->not_after_ms == 0 || k->not_after_ms > now_ms) &&
            (k->subdomains ? domain_name_within(domain, d) : span_eq_nocase(domain, d)))
            s->keys[s->nkeys++] =
                (struct domain_check_key){ .selector = k->selector, .domain = k->domain, .key = k->key };
    }
}

/* All that mail may leave from: the cluster's pools (or one), whichever node has the address; without any,
 * this node's configured sources. */
static int read_own(struct node *n, struct subject *s, const char *pool, struct admin_error *e)
{
    struct pool_view *v = n->cluster == NULL ? NULL : cluster_pools(n->cluster);
    const struct pool_address *p;
    int err = 0;
    for (uint32_t i = 0; v != NULL && err == 0 && (p = pool_view_at(v, i)) != NULL; i++)
        if (p->use != COMMAND_USE_DISABLED && (pool == NULL || span_eq(p->pool, span_str(pool))))
            err = add_source(s, &p->addr, e);
    pool_view_rele(v);
    if (err != 0)
        return err;
    if (pool != NULL && s->nsources == 0)
        return admin_fail(e, ERR_NOT_FOUND, "there is no pool %s with an address that is used", pool);
    const struct config *c = s->config;
    bool any = s->nsources > 0;
    for (uint32_t i = 0; !any && err == 0 && i < c->nsources; i++) {
        struct ip_addr a;
        if (ip_from_sockaddr((const struct sockaddr *)&c->sources[i].address, &a, NULL) == 0)
            err = add_source(s, &a, e);
    }
    if (err == 0 && s->nsources == 0)
        err =
            admin_fail(e, ERR_NOT_FOUND,
                       "no source addresses are configured, so mail leaves from whatever address the system "
                       "chooses: name them (--ip)");
    return err;
}

static int read_subject(struct node *n, const struct admin_domain_check *q, struct subject *s,
                        struct admin_error *e)
{
    if (dns_name_normalise(span_str(q->domain), s->domain) != 0)
        return admin_fail(e, ERR_BAD, "%s is no domain name", q->domain);
    const char *path = q->return_path != NULL ? q->return_path : q->domain;
    if (dns_name_normalise(span_str(path), s->return_path) != 0)
        return admin_fail(e, ERR_BAD, "%s is no domain name", path);
    s->config = node_config(n);
    s->ring = n->cluster == NULL ? NULL : cluster_keyring(n->cluster);
    int err = read_selectors(s, q->selectors, e);
    if (err == 0 && s->nkeys == 0)
        read_keys(s);
    if (err == 0)
        err = read_ips(s, q->ips, e);
    if (err == 0 && s->nsources == 0)
        err = read_own(n, s, q->pool, e);
    return err;
}

/* ---- the check ----------------------------------------------------------------------------------------- */

static int check(struct node *n, const struct subject *s, admin_domain_fn *fn, void *arg,
                 struct admin_error *e)
{
    struct domain_suffixes *suffixes = domain_suffixes_new();
    if (suffixes == NULL)
        return admin_fail(e, ERR_FAILED, "there is no public suffix list");
    struct domain_check_input in = { .domain = s->domain,
                                     .return_path = s->return_path,
                                     .sources = s->sources,
                                     .nsources = s->nsources,
                                     .keys = s->keys,
                                     .nkeys = s->nkeys,
                                     .suffixes = suffixes };
    struct run r = { .check = domain_check_new(&in), .by_ms = clock_boot_ms() + CHECK_MS };
    if (r.check == NULL) {
        domain_suffixes_free(suffixes);
        return admin_fail(e, -ENOMEM, "no memory");
    }
    sem_init(&r.done, 0, 0);
    worker_call(&n->workers[0], start, &r);
    while (sem_wait(&r.done) != 0)
        ;
    sem_destroy(&r.done);
    int enough = 0;
    for (size_t i = 0; enough == 0 && i < domain_check_count(r.check); i++) {
        const struct domain_finding *f = domain_check_at(r.check, i);
        struct admin_domain_row row = { .level = span_str(domain_level_name(f->level)),
                                        .what = span_str(f->what),
                                        .subject = span_str(f->subject),
                                        .result = span_str(f->result),
                                        .text = span_str(f->text),
                                        .advice = span_str(f->advice),
                                        .trouble = f->level == DOMAIN_TROUBLE };
        enough = fn(arg, &row);
    }
    domain_check_free(r.check);
    domain_suffixes_free(suffixes);
    return 0;
}

int ops_domain_check(void *ctx, const struct admin_domain_check *q, admin_domain_fn *fn, void *arg,
                     struct admin_error *e)
{
    struct subject *s = calloc(1, sizeof *s);
    if (s == NULL)
        return admin_fail(e, -ENOMEM, "no memory");
    int err = read_subject(ctx, q, s, e);
    if (err == 0)
        err = check(ctx, s, fn, arg, e);
    if (s->config != NULL)
        config_rele(s->config);
    keyring_rele(s->ring);
    free(s);
    return err;
}
