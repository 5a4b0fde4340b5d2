/* The cache of MTA-STS policies. Any thread.
 *
 * The file has a line for each policy: domain, id, when fetched, mode, max_age, hosts with commas between
 * them
 * ("-" for none). None of these can have a blank.
 */
#include "node/tlspolicy/sts_store.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES (STS_NAMES_MAX + 1024)

struct entry {
    struct list link;              /* by use, oldest first */
    struct sts_policy *policy;     /* NULL: none was ever fetched */
    int64_t fetched_ms, failed_ms; /* 0: never */
    char id[STS_ID_MAX + 1];
    char failed_id[STS_ID_MAX + 1];
    char domain[];
};

struct sts_store {
    pthread_mutex_t lock;
    struct map map; /* the rest: under the lock */
    struct list by_use;
    size_t bytes;
    uint32_t max;
    bool changed;
    char *file;
};

static uint64_t entry_hash(const void *item)
{
    return hash_bytes(((const struct entry *)item)->domain, strlen(((const struct entry *)item)->domain));
}

static bool entry_match(const void *item, const void *key)
{
    return strcmp(((const struct entry *)item)->domain, key) == 0;
}

static size_t entry_bytes(const struct entry *e)
{
    return sizeof *e + strlen(e->domain) + 1 + (e->policy == NULL ? 0 : sizeof *e->policy + e->policy->bytes);
}

static void drop(struct sts_store *s, struct entry *e)
{
    s->bytes -= entry_bytes(e);
    map_remove(&s->map, entry_hash(e), e);
    list_remove(&e->link);
    sts_policy_rele(e->policy);
    free(e);
}

static struct entry *find(struct sts_store *s, const char *domain)
{
    struct entry *e = map_find(&s->map, hash_bytes(domain, strlen(domain)), domain);
    if (e != NULL) {
        list_remove(&e->link);
        list_push_back(&s->by_use, &e->link);
    }
    return e;
}

static struct entry *find_or_add(struct sts_store *s, const char *domain)
{
    struct entry *e = find(s, domain);
    if (e != NULL)
        return e;
    size_t n = strlen(domain) + 1;
    if ((e = calloc(1, sizeof *e + n)) == NULL)
        return NULL;
    memcpy(e->domain, domain, n);
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
        drop(s, LIST_ITEM(list_first(&s->by_use), struct entry, link));
}

static bool in_force(const struct entry *e, int64_t now_ms)
{
    return e->policy != NULL && now_ms - e->fetched_ms < (int64_t)e->policy->max_age_s * 1000;
}

static int put(struct sts_store *s, const char *domain, const char *id, struct sts_policy *policy,
               int64_t fetched_ms)
{
    struct entry *e = find_or_add(s, domain);
    if (e == NULL)
        return -ENOMEM;
    s->bytes -= entry_bytes(e);
    sts_policy_rele(e->policy);
    sts_policy_hold(policy);
    e->policy = policy;
    s->bytes += entry_bytes(e);
    snprintf(e->id, sizeof e->id, "%s", id);
    e->fetched_ms = fetched_ms;
    e->failed_ms = 0;
    keep_bounds(s);
    return 0;
}

int sts_store_put(struct sts_store *s, const char *domain, const char *id, struct sts_policy *policy,
                  int64_t now_ms)
{
    pthread_mutex_lock(&s->lock);
    int err = put(s, domain, id, policy, now_ms);
    s->changed = s->changed || err == 0;
    pthread_mutex_unlock(&s->lock);
    return err;
}

void sts_store_failed(struct sts_store *s, const char *domain, const char *id, int64_t now_ms)
{
    pthread_mutex_lock(&s->lock);
    struct entry *e = find_or_add(s, domain);
    if (e != NULL) {
        e->failed_ms = now_ms;
        snprintf(e->failed_id, sizeof e->failed_id, "%s", id);
        keep_bounds(s);
    }
    pthread_mutex_unlock(&s->lock);
}

void sts_store_find(struct sts_store *s, const char *domain, int64_t now_ms, struct sts_found *out)
{
    *out = (struct sts_found){ 0 };
    pthread_mutex_lock(&s->lock);
    struct entry *e = find(s, domain);
    if (e != NULL) {
        out->failed = e->failed_ms != 0 && now_ms >= e->failed_ms && now_ms - e->failed_ms < STS_RETRY_MS;
        if (in_force(e, now_ms)) {
            out->policy = e->policy;
            sts_policy_hold(out->policy);
            int64_t age = now_ms - e->fetched_ms, half = (int64_t)e->policy->max_age_s * 500;
            out->fresh = age >= 0 && age < (half < STS_REFRESH_MS ? half : STS_REFRESH_MS);
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

/* ---- the file ---- */

static bool line_put(struct buf *b, const struct entry *e)
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
    return err == 0 && buf_put_char(b, '\n') == 0;
}

static int write_whole(const char *path, const struct buf *b)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int err = 0;
    for (size_t at = 0; at < b->len && err == 0;) {
        ssize_t n = write(fd, b->data + at, b->len - at);
        if (n < 0 && errno != EINTR)
            err = -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    if (err == 0 && fsync(fd) != 0)
        err = -errno;
    if (close(fd) != 0 && err == 0)
        err = -errno;
    return err;
}

int sts_store_save(struct sts_store *s)
{
    char fresh[4096];
    struct buf b;
    buf_init(&b, 2 * STS_STORE_BYTES_MAX);
    pthread_mutex_lock(&s->lock);
    bool wanted = s->changed, whole = true;
    s->changed = false;
    if (wanted) {
        LIST_EACH_SAFE(link, &s->by_use)
        {
            const struct entry *e = LIST_ITEM(link, struct entry, link);
            whole = whole && (e->policy == NULL || line_put(&b, e));
        }
    }
    pthread_mutex_unlock(&s->lock);
    int err = 0;
    if (wanted && (!whole || snprintf(fresh, sizeof fresh, "%s.new", s->file) >= (int)sizeof fresh))
        err = -ENOMEM;
    else if (wanted && (err = write_whole(fresh, &b)) == 0 && rename(fresh, s->file) != 0)
        err = -errno;
    buf_fini(&b);
    return err;
}

static void line_take(struct sts_store *s, struct span line, int64_t now_ms)
{
    char domain[256], id[STS_ID_MAX + 1];
    struct span mx[STS_MX_MAX], d = span_cut(&line, ' '), i = span_cut(&line, ' ');
    uint64_t fetched, age;
    uint32_t n = 0;
    bool ok = text_u64(span_cut(&line, ' '), &fetched) == 0;
    int mode = sts_mode_parse(span_cut(&line, ' '));
    ok = text_u64(span_cut(&line, ' '), &age) == 0 && ok;
    struct span hosts = span_cut(&line, ' ');
    if (!ok || mode < 0 || d.n == 0 || d.n >= sizeof domain || i.n == 0 || i.n >= sizeof id ||
        fetched > (uint64_t)now_ms || age > STS_AGE_MAX_S)
        return;
    while (hosts.n > 0 && !span_eq(hosts, SPAN_LIT("-")) && n < STS_MX_MAX) {
        const char *comma = memchr(hosts.p, ',', hosts.n);
        mx[n++] = span_of(hosts.p, comma == NULL ? hosts.n : (size_t)(comma - hosts.p));
        hosts = comma == NULL ? span_of(hosts.p, 0) : span_sub(hosts, mx[n - 1].n + 1);
    }
    snprintf(domain, sizeof domain, "%.*s", (int)d.n, d.p);
    snprintf(id, sizeof id, "%.*s", (int)i.n, i.p);
    struct sts_policy *policy = NULL;
    if (sts_policy_new((enum sts_mode)mode, (uint32_t)age, mx, n, &policy) != 0)
        return;
    (void)put(s, domain, id, policy, (int64_t)fetched);
    sts_policy_rele(policy);
}

static void load(struct sts_store *s, int64_t now_ms)
{
    FILE *f = fopen(s->file, "re");
    char *line = malloc(LINE_MAX_BYTES);
    while (f != NULL && line != NULL && fgets(line, LINE_MAX_BYTES, f) != NULL) {
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
    load(s, now_ms);
    *out = s;
    return 0;
}

void sts_store_free(struct sts_store *s)
{
    if (s == NULL)
        return;
    for (struct list *l; (l = list_first(&s->by_use)) != NULL;)
        drop(s, LIST_ITEM(l, struct entry, link));
    map_fini(&s->map);
    pthread_mutex_destroy(&s->lock);
    free(s->file);
    free(s);
}
