/* Counting of TLS sessions. Any thread: all of it is under one lock, which is held for a look-up at most, and
 * for one report. */
#include "node/tlspolicy/rpt_impl.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/text.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t key_hash(const char *domain, int64_t day)
{
    return hash_bytes(domain, strlen(domain)) ^ (uint64_t)day * 0x9e3779b97f4a7c15u;
}

static uint64_t domain_hash(const void *item)
{
    const struct rpt_domain *d = item;
    return key_hash(d->name, d->day);
}

struct key {
    const char *domain;
    int64_t day;
};

static bool domain_match(const void *item, const void *key)
{
    const struct rpt_domain *d = item;
    const struct key *k = key;
    return d->day == k->day && strcmp(d->name, k->domain) == 0;
}

struct rpt *rpt_new(uint32_t domains_max)
{
    struct rpt *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    pthread_mutex_init(&r->file_lock, NULL);
    pthread_mutex_init(&r->lock, NULL);
    map_init(&r->map, domain_hash, domain_match);
    list_init(&r->domains);
    list_init(&r->changed);
    buf_init(&r->gone, 1u << 20);
    r->max = domains_max;
    return r;
}

static void domain_drop(struct rpt *r, struct rpt_domain *d)
{
    map_remove(&r->map, domain_hash(d), d);
    list_remove(&d->link);
    list_remove(&d->changed);
    if (d->written) {
        buf_printf(&r->gone, "{\"day\":%lld,\"done\":true,\"domain\":", (long long)d->day);
        text_put_json(&r->gone, span_str(d->name));
        buf_put_str(&r->gone, "}\n");
        r->rewrite = r->rewrite || buf_err(&r->gone) != 0;
    }
    for (uint32_t i = 0; i < d->n; i++) {
        struct rpt_entry *e = d->entries[i];
        r->bytes -= sizeof *e + strlen(e->text) + e->n * sizeof *e->failures;
        free(e->failures);
        free(e);
    }
    free(d);
}

void rpt_free(struct rpt *r)
{
    if (r == NULL)
        return;
    for (struct list *l; (l = list_first(&r->domains)) != NULL;)
        domain_drop(r, LIST_ITEM(l, struct rpt_domain, link));
    map_fini(&r->map);
    buf_fini(&r->gone);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->file_lock);
    free(r);
}

struct rpt_domain *rpt_domain_get(struct rpt *r, const char *name, int64_t day)
{
    struct key key = { name, day };
    struct rpt_domain *d = map_find(&r->map, key_hash(name, day), &key);
    if (d != NULL || r->map.len >= r->max || strlen(name) >= sizeof d->name)
        return d;
    if ((d = calloc(1, sizeof *d)) == NULL)
        return NULL;
    snprintf(d->name, sizeof d->name, "%s", name);
    d->day = day;
    if (map_add(&r->map, domain_hash(d), d) != 0) {
        free(d);
        return NULL;
    }
    struct list *at = &r->domains; /* behind those of its day, and of earlier ones */
    while (at->prev != &r->domains && LIST_ITEM(at->prev, struct rpt_domain, link)->day > day)
        at = at->prev;
    list_push_back(at, &d->link);
    return d;
}

void rpt_domain_changed(struct rpt *r, struct rpt_domain *d)
{
    if (!list_linked(&d->changed))
        list_push_back(&r->changed, &d->changed);
}

struct rpt_entry *rpt_entry_get(struct rpt *r, struct rpt_domain *d, enum rpt_policy policy, struct span text)
{
    if (text.n > RPT_POLICY_TEXT_MAX)
        text.n = RPT_POLICY_TEXT_MAX;
    for (uint32_t i = 0; i < d->n; i++) {
        struct rpt_entry *e = d->entries[i];
        if (e->policy == policy && span_eq(span_str(e->text), text))
            return e;
    }
    if (d->n == RPT_POLICIES_MAX || r->bytes > RPT_BYTES_MAX)
        return NULL;
    struct rpt_entry *e = calloc(1, sizeof *e + text.n + 1);
    if (e == NULL)
        return NULL;
    e->policy = policy;
    if (text.n > 0)
        memcpy(e->text, text.p, text.n);
    d->entries[d->n++] = e;
    r->bytes += sizeof *e + strlen(e->text);
    return e;
}

static const char *known(const char *text)
{
    return text == NULL ? "" : text;
}

struct rpt_failure *rpt_failure_get(struct rpt *r, struct rpt_entry *e, const struct rpt_session *s)
{
    for (uint32_t i = 0; i < e->n; i++) {
        struct rpt_failure *f = &e->failures[i];
        if (f->result == s->result && strcmp(f->sending_ip, known(s->sending_ip)) == 0 &&
            strcmp(f->mx_host, known(s->mx_host)) == 0 && strcmp(f->mx_ip, known(s->mx_ip)) == 0)
            return f;
    }
    if (e->n == RPT_FAILURES_MAX || r->bytes > RPT_BYTES_MAX)
        return NULL;
    struct rpt_failure *failures = realloc(e->failures, (e->n + 1) * sizeof *failures);
    if (failures == NULL)
        return NULL;
    e->failures = failures;
    r->bytes += sizeof *failures;
    struct rpt_failure *f = &failures[e->n++];
    *f = (struct rpt_failure){ .result = s->result };
    snprintf(f->sending_ip, sizeof f->sending_ip, "%s", known(s->sending_ip));
    snprintf(f->mx_host, sizeof f->mx_host, "%s", known(s->mx_host));
    snprintf(f->mx_ip, sizeof f->mx_ip, "%s", known(s->mx_ip));
    snprintf(f->reason, sizeof f->reason, "%s", known(s->reason));
    return f;
}

void rpt_count(struct rpt *r, int64_t now_ms, const struct rpt_session *s)
{
    pthread_mutex_lock(&r->lock);
    struct rpt_domain *d = rpt_domain_get(r, s->domain, now_ms / RPT_DAY_MS);
    struct rpt_entry *e = d == NULL ? NULL : rpt_entry_get(r, d, s->policy, s->policy_text);
    if (e != NULL)
        rpt_domain_changed(r, d);
    if (e != NULL && s->result == RPT_SUCCESS) {
        e->good++;
    } else if (e != NULL) {
        struct rpt_failure *f = rpt_failure_get(r, e, s);
        e->bad++;
        if (f != NULL)
            f->count++;
    }
    pthread_mutex_unlock(&r->lock);
}

uint32_t rpt_domains(struct rpt *r)
{
    pthread_mutex_lock(&r->lock);
    uint32_t n = (uint32_t)r->map.len;
    pthread_mutex_unlock(&r->lock);
    return n;
}

/* The first one of a day that is over, unless it waits. */
static struct rpt_domain *find_due(const struct rpt *r, int64_t now_ms)
{
    LIST_EACH(link, &r->domains)
    {
        struct rpt_domain *d = LIST_ITEM(link, struct rpt_domain, link);
        if (d->day >= now_ms / RPT_DAY_MS)
            break; /* they are in the order of their days */
        if (d->next_ms <= now_ms)
            return d;
    }
    return NULL;
}

static void report_id(const struct rpt_domain *d, const struct rpt_sender *sender, char out[64])
{
    unsigned char sum[SHA256_DIGEST_LENGTH];
    char text[1024];
    uint64_t v;
    int n = snprintf(text, sizeof text, "%s %s %.500s", d->name, sender->node == NULL ? "" : sender->node,
                     sender->host);
    SHA256((const unsigned char *)text, (size_t)n, sum);
    memcpy(&v, sum, sizeof v);
    snprintf(out, 64, "%lld.%016llx@%.24s", (long long)d->day, (unsigned long long)v, sender->host);
}

int rpt_next(struct rpt *r, int64_t now_ms, const struct rpt_sender *sender, struct rpt_due *out)
{
    int err = ERR_NOT_FOUND;
    pthread_mutex_lock(&r->lock);
    const struct rpt_domain *d = find_due(r, now_ms);
    if (d != NULL) {
        snprintf(out->domain, sizeof out->domain, "%s", d->name);
        out->day = d->day;
        out->sent = d->sent;
        report_id(d, sender, out->id);
        err = rpt_domain_render(d, sender, out->id, &out->json);
    }
    pthread_mutex_unlock(&r->lock);
    return err;
}

void rpt_domain_forget(struct rpt *r, const char *name, int64_t day)
{
    struct key key = { name, day };
    struct rpt_domain *d = map_find(&r->map, key_hash(name, day), &key);
    if (d != NULL)
        domain_drop(r, d);
}

void rpt_done(struct rpt *r, const struct rpt_due *due)
{
    pthread_mutex_lock(&r->lock);
    rpt_domain_forget(r, due->domain, due->day);
    pthread_mutex_unlock(&r->lock);
}

bool rpt_later(struct rpt *r, const struct rpt_due *due, int64_t now_ms)
{
    struct key key = { due->domain, due->day };
    bool again = false;
    pthread_mutex_lock(&r->lock);
    struct rpt_domain *d = map_find(&r->map, key_hash(due->domain, due->day), &key);
    if (d != NULL) {
        if (d->tries++ == 0)
            d->first_ms = now_ms;
        int64_t wait_ms = (int64_t)RPT_RETRY_MS << (d->tries < 10 ? d->tries - 1 : 9);
        d->sent = due->sent;
        d->next_ms = now_ms + wait_ms;
        again = d->next_ms - d->first_ms < RPT_GIVE_UP_MS && now_ms >= d->first_ms;
        if (!again)
            domain_drop(r, d);
    }
    pthread_mutex_unlock(&r->lock);
    return again;
}

int64_t rpt_waits_until(struct rpt *r)
{
    int64_t first = INT64_MAX;
    pthread_mutex_lock(&r->lock);
    LIST_EACH(link, &r->domains)
    {
        const struct rpt_domain *d = LIST_ITEM(link, struct rpt_domain, link);
        if (d->next_ms != 0 && d->next_ms < first)
            first = d->next_ms;
    }
    pthread_mutex_unlock(&r->lock);
    return first;
}

/* ---- who wants reports ---- */

static bool uri_usable(struct span u)
{
    static const char mailto[] = "mailto:";
    if (u.n > 500)
        return false;
    for (size_t i = 0; i < u.n; i++) {
        if (u.p[i] <= ' ' || u.p[i] > '~' || strchr("<>\"\\%!", u.p[i]) != NULL)
            return false;
    }
    if (span_starts(u, SPAN_LIT("https://")))
        return u.n > strlen("https://");
    if (!span_starts(u, SPAN_LIT("mailto:")))
        return false;
    u = span_sub(u, sizeof mailto - 1);
    const char *at = u.n == 0 ? NULL : memchr(u.p, '@', u.n);
    return at != NULL && at > u.p && at < u.p + u.n - 1 &&
           memchr(at + 1, '@', (size_t)(u.p + u.n - at - 1)) == NULL && memchr(u.p, '?', u.n) == NULL;
}

int rpt_txt_parse(struct span text, struct rpt_uris *out)
{
    *out = (struct rpt_uris){ 0 };
    if (!span_eq(span_trim(span_cut(&text, ';')), SPAN_LIT("v=TLSRPTv1")))
        return ERR_NOT_FOUND;
    while (text.n > 0) {
        struct span value = span_cut(&text, ';');
        if (!span_eq(span_trim(span_cut(&value, '=')), SPAN_LIT("rua")))
            continue;
        while (value.n > 0 && out->n < RPT_URIS_MAX) {
            struct span uri = span_trim(span_cut(&value, ','));
            if (uri_usable(uri))
                out->uri[out->n++] = uri;
        }
        break;
    }
    return out->n > 0 ? 0 : ERR_BAD;
}
