/* The cache of MTA-STS policies. Any thread.
 *
 * The file has a line for each policy: domain, id, when fetched, mode, max_age, hosts with commas between
 * them
 * ("-" for none). None of these can have a blank.
 */
#include "node/tlspolicy/sts_store_impl.h"

#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint64_t entry_hash(const void *item)
{
    return hash_bytes(((const struct sts_entry *)item)->domain,
                      strlen(((const struct sts_entry *)item)->domain));
}

static bool entry_match(const void *item, const void *key)
{
    return strcmp(((const struct sts_entry *)item)->domain, key) == 0;
}

static size_t entry_bytes(const struct sts_entry *e)
{
    return sizeof *e + strlen(e->domain) + 1 + (e->policy == NULL ? 0 : sizeof *e->policy + e->policy->bytes);
}

static void drop(struct sts_store *s, struct sts_entry *e)
{
    s->bytes -= entry_bytes(e);
    map_remove(&s->map, entry_hash(e), e);
    list_remove(&e->link);
    sts_policy_rele(e->policy);
    free(e);
}

struct sts_entry *sts_store_peek(struct sts_store *s, const char *domain)
{
    return map_find(&s->map, hash_bytes(domain, strlen(domain)), domain);
}

static struct sts_entry *find(struct sts_store *s, const char *domain)
{
    struct sts_entry *e = sts_store_peek(s, domain);
    if (e != NULL) {
        list_remove(&e->link);
        list_push_back(&s->by_use, &e->link);
    }
    return e;
}

static struct sts_entry *find_or_add(struct sts_store *s, const char *domain)
{
    struct sts_entry *e = find(s, domain);
    if (e != NULL)
        return e;
    size_t n = strlen(domain) + 1;
    if ((e = calloc(1, sizeof *e + n)) == NULL)
        return NULL;
    memcpy(e->domain, domain, n);
    e->order = sts_store_hash(domain, n - 1);
    if (map_add(&s->map, entry_hash(e), e) != 0) {
        free(e);
        return NULL;
    }
    list_push_back(&s->by_use, &e->link);
    s->bytes += entry_bytes(e);
    return e;
}

static void keep_bounds(struct sts_store *s)
{
    while (s->map.len > 1 && (s->map.len > s->max || s->bytes > STS_STORE_BYTES_MAX))
        drop(s, LIST_ITEM(list_first(&s->by_use), struct sts_entry, link));
}

bool sts_entry_in_force(const struct sts_entry *e, int64_t now_ms)
{
    return e->policy != NULL && now_ms - e->fetched_ms < (int64_t)e->policy->max_age_s * 1000;
}

uint64_t sts_store_hash(const void *p, size_t n)
{
    unsigned char sum[SHA256_DIGEST_LENGTH];
    uint64_t v;
    SHA256(p, n, sum);
    memcpy(&v, sum, sizeof v);
    return v;
}

int sts_entry_put(const struct sts_entry *e, struct buf *b)
{
    int err = buf_printf(b, "%s %s %" PRId64 " %s %" PRIu32 " ", e->domain, e->id, e->fetched_ms,
                         sts_mode_name(e->policy->mode), e->policy->max_age_s);
    if (e->policy->nmx == 0 && err == 0)
        err = buf_put_char(b, '-');
    bool first = true;
    for (const char *mx = NULL; (mx = sts_policy_next(e->policy, mx)) != NULL && err == 0; first = false) {
        err = first ? 0 : buf_put_char(b, ',');
        err = err != 0 ? err : buf_put_str(b, mx);
    }
    return err != 0 ? err : buf_put_char(b, '\n');
}

static uint64_t entry_tag(const struct sts_entry *e)
{
    struct buf line;
    buf_init(&line, STS_LINE_MAX);
    uint64_t tag = sts_entry_put(e, &line) == 0 ? sts_store_hash(line.data, line.len) : 0;
    buf_fini(&line);
    return tag;
}

int sts_entry_take(struct sts_store *s, const char *domain, const char *id, struct sts_policy *policy,
                   int64_t fetched_ms, bool own)
{
    struct sts_entry *e = find_or_add(s, domain);
    if (e == NULL)
        return -ENOMEM;
    s->bytes -= entry_bytes(e);
    sts_policy_rele(e->policy);
    sts_policy_hold(policy);
    e->policy = policy;
    s->bytes += entry_bytes(e);
    if (strcmp(e->id, id) != 0)
        memcpy(e->former_id, e->id, sizeof e->former_id);
    snprintf(e->id, sizeof e->id, "%s", id);
    e->fetched_ms = fetched_ms;
    e->failed_ms = 0;
    e->own = own;
    e->tag = entry_tag(e);
    keep_bounds(s);
    return 0;
}

int sts_store_put(struct sts_store *s, const char *domain, const char *id, struct sts_policy *policy,
                  int64_t now_ms)
{
    pthread_mutex_lock(&s->lock);
    int err = sts_entry_take(s, domain, id, policy, now_ms, true);
    s->changed = s->changed || err == 0;
    pthread_mutex_unlock(&s->lock);
    return err;
}

void sts_store_failed(struct sts_store *s, const char *domain, const char *id, int64_t now_ms)
{
    pthread_mutex_lock(&s->lock);
    struct sts_entry *e = find_or_add(s, domain);
    if (e != NULL) {
        e->failed_ms = now_ms;
        snprintf(e->failed_id, sizeof e->failed_id, "%s", id);
        keep_bounds(s);
    }
    pthread_mutex_unlock(&s->lock);
}

/* Who fetched it refreshes it first; the others, each at a time of its own, if they haven't heard by then. */
static int64_t fresh_ms(const struct sts_store *s, const struct sts_entry *e)
{
    int64_t half = (int64_t)e->policy->max_age_s * 500, ms = half < STS_REFRESH_MS ? half : STS_REFRESH_MS;
    uint64_t dice = hash_u64(entry_hash(e) ^ s->salt);
    return e->own ? ms : ms + ms / 16 + (int64_t)(dice % (uint64_t)(ms / 16 + 1));
}

void sts_store_find(struct sts_store *s, const char *domain, int64_t now_ms, struct sts_found *out)
{
    *out = (struct sts_found){ 0 };
    pthread_mutex_lock(&s->lock);
    struct sts_entry *e = find(s, domain);
    if (e != NULL) {
        out->failed = e->failed_ms != 0 && now_ms >= e->failed_ms && now_ms - e->failed_ms < STS_RETRY_MS;
        if (sts_entry_in_force(e, now_ms)) {
            int64_t age = now_ms - e->fetched_ms;
            out->policy = e->policy;
            sts_policy_hold(out->policy);
            out->fresh = age >= (e->own ? 0 : -STS_SKEW_MS) && age < fresh_ms(s, e);
            if (e->former_id[0] != '\0' && age < STS_FORMER_MS)
                memcpy(out->former_id, e->former_id, sizeof out->former_id);
        }
        snprintf(out->id, sizeof out->id, "%s", out->policy != NULL ? e->id : e->failed_id);
    }
    pthread_mutex_unlock(&s->lock);
}

uint32_t sts_store_count(struct sts_store *s)
{
    pthread_mutex_lock(&s->lock);
    uint32_t n = (uint32_t)s->map.len;
    pthread_mutex_unlock(&s->lock);
    return n;
}

bool sts_store_changed(struct sts_store *s)
{
    pthread_mutex_lock(&s->lock);
    bool changed = s->changed;
    pthread_mutex_unlock(&s->lock);
    return changed;
}

/* ---- the file ---- */

int sts_store_save(struct sts_store *s)
{
    struct buf b;
    buf_init(&b, 2 * STS_STORE_BYTES_MAX);
    pthread_mutex_lock(&s->lock);
    bool wanted = s->changed, whole = true;
    s->changed = false;
    if (wanted) {
        LIST_EACH_SAFE(link, &s->by_use)
        {
            const struct sts_entry *e = LIST_ITEM(link, struct sts_entry, link);
            whole = whole && (e->policy == NULL || sts_entry_put(e, &b) == 0);
        }
    }
    pthread_mutex_unlock(&s->lock);
    int err = 0;
    if (wanted)
        err = whole ? file_replace(s->file, buf_span(&b)) : -ENOMEM;
    buf_fini(&b);
    if (err != 0) {
        pthread_mutex_lock(&s->lock);
        s->changed = true;
        pthread_mutex_unlock(&s->lock);
    }
    return err;
}

static bool domain_valid(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (!islower(c) && !isdigit(c) && c != '-' && c != '_' && c != '.')
            return false;
    }
    return s.n > 0 && s.n <= 253;
}

static bool id_valid(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!isalnum((unsigned char)s.p[i]))
            return false;
    }
    return s.n > 0 && s.n <= STS_ID_MAX;
}

int sts_line_parse(struct span line, int64_t now_ms, struct sts_line *out)
{
    struct span mx[STS_MX_MAX], d = span_cut(&line, ' '), i = span_cut(&line, ' ');
    uint64_t fetched, age;
    uint32_t n = 0;
    bool ok = text_u64(span_cut(&line, ' '), &fetched) == 0;
    int mode = sts_mode_parse(span_cut(&line, ' '));
    ok = text_u64(span_cut(&line, ' '), &age) == 0 && ok;
    struct span hosts = span_cut(&line, ' ');
    if (!ok || mode < 0 || !domain_valid(d) || !id_valid(i) || age > STS_AGE_MAX_S ||
        fetched > (uint64_t)(now_ms + STS_SKEW_MS))
        return ERR_BAD;
    while (hosts.n > 0 && !span_eq(hosts, SPAN_LIT("-"))) {
        if (n == STS_MX_MAX)
            return ERR_BAD;
        const char *comma = memchr(hosts.p, ',', hosts.n);
        mx[n++] = span_of(hosts.p, comma == NULL ? hosts.n : (size_t)(comma - hosts.p));
        hosts = comma == NULL ? span_of(hosts.p, 0) : span_sub(hosts, mx[n - 1].n + 1);
    }
    snprintf(out->domain, sizeof out->domain, "%.*s", (int)d.n, d.p);
    snprintf(out->id, sizeof out->id, "%.*s", (int)i.n, i.p);
    out->fetched_ms = (int64_t)fetched;
    return sts_policy_new((enum sts_mode)mode, (uint32_t)age, mx, n, &out->policy);
}

static void line_take(struct sts_store *s, struct span text, int64_t now_ms)
{
    struct sts_line line;
    if (sts_line_parse(text, now_ms, &line) != 0)
        return;
    (void)sts_entry_take(s, line.domain, line.id, line.policy, line.fetched_ms, false);
    sts_policy_rele(line.policy);
}

static void load(struct sts_store *s, int64_t now_ms)
{
    FILE *f = fopen(s->file, "re");
    char *line = malloc(STS_LINE_MAX);
    while (f != NULL && line != NULL && fgets(line, STS_LINE_MAX, f) != NULL) {
        size_t n = strlen(line);
        if (n > 0 && line[n - 1] == '\n')
            line_take(s, span_of(line, n - 1), now_ms);
    }
    free(line);
    if (f != NULL)
        fclose(f);
}

int sts_store_new(const char *file, uint32_t entries_max, int64_t now_ms, struct sts_store **out)
{
    struct sts_store *s = calloc(1, sizeof *s);
    if (s == NULL || (s->file = strdup(file)) == NULL) {
        free(s);
        return -ENOMEM;
    }
    pthread_mutex_init(&s->lock, NULL);
    map_init(&s->map, entry_hash, entry_match);
    list_init(&s->by_use);
    s->max = entries_max;
    (void)!getrandom(&s->salt, sizeof s->salt, 0); /* spreads refreshing: none is no harm */
    load(s, now_ms);
    *out = s;
    return 0;
}

void sts_store_free(struct sts_store *s)
{
    if (s == NULL)
        return;
    for (struct list *l; (l = list_first(&s->by_use)) != NULL;)
        drop(s, LIST_ITEM(l, struct sts_entry, link));
    map_fini(&s->map);
    pthread_mutex_destroy(&s->lock);
    free(s->file);
    free(s);
}
