/* MTA-STS policies between nodes. Any thread.
 *
 * Numbers are little-endian. Question: u64 after, then a u64 for each bucket: the exclusive or of the tags of
 * its policies in force. Answer: u64 after, then lines, in the order of the hashes of their domains.
 */
#include "node/tlspolicy/sts_share.h"

#include "base/cursor.h"
#include "base/err.h"
#include "node/tlspolicy/sts_store_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t bucket_of(const struct sts_entry *e)
{
    return (uint32_t)(e->order >> 56);
}

int sts_share_tell(struct sts_store *s, const char *domain, int64_t now_ms, struct buf *out)
{
    pthread_mutex_lock(&s->lock);
    const struct sts_entry *e = sts_store_peek(s, domain);
    int err = e != NULL && sts_entry_in_force(e, now_ms) ? sts_entry_put(e, out) : ERR_NOT_FOUND;
    pthread_mutex_unlock(&s->lock);
    return err;
}

static bool is_full(const struct sts_store *s)
{
    return s->map.len >= s->max || s->bytes >= STS_STORE_BYTES_MAX;
}

/* The later one; at the same time the same one on every node. */
static bool is_newer(const struct sts_entry *e, const struct sts_line *l, int64_t now_ms)
{
    if (e->policy == NULL || e->fetched_ms > now_ms + STS_SKEW_MS)
        return true;
    return l->fetched_ms != e->fetched_ms ? l->fetched_ms > e->fetched_ms : strcmp(l->id, e->id) > 0;
}

static bool hear_one(struct sts_store *s, const struct sts_line *l, int64_t now_ms, bool just_fetched)
{
    if (now_ms - l->fetched_ms >= (int64_t)l->policy->max_age_s * 1000)
        return false;
    pthread_mutex_lock(&s->lock);
    const struct sts_entry *e = sts_store_peek(s, l->domain);
    bool news = e == NULL ? just_fetched || !is_full(s) : is_newer(e, l, now_ms);
    news = news && sts_entry_take(s, l->domain, l->id, l->policy, l->fetched_ms, false) == 0;
    s->changed = s->changed || news;
    pthread_mutex_unlock(&s->lock);
    return news;
}

uint32_t sts_share_hear(struct sts_store *s, struct span lines, int64_t now_ms, bool just_fetched)
{
    uint32_t news = 0;
    while (lines.n > 0) {
        struct sts_line l;
        struct span text = span_cut(&lines, '\n');
        if (text.n == 0 || text.n >= STS_LINE_MAX || sts_line_parse(text, now_ms, &l) != 0)
            continue;
        news += hear_one(s, &l, now_ms, just_fetched);
        sts_policy_rele(l.policy);
    }
    return news;
}

/* Under the lock. */
static void digests(const struct sts_store *s, int64_t now_ms, uint64_t out[STS_SHARE_BUCKETS])
{
    memset(out, 0, STS_SHARE_BUCKETS * sizeof *out);
    const struct sts_entry *e;
    for (size_t at = 0; (e = map_next(&s->map, &at)) != NULL;) {
        if (sts_entry_in_force(e, now_ms))
            out[bucket_of(e)] ^= e->tag;
    }
}

int sts_share_question(struct sts_store *s, uint64_t after, int64_t now_ms, struct buf *out)
{
    uint64_t own[STS_SHARE_BUCKETS];
    pthread_mutex_lock(&s->lock);
    digests(s, now_ms, own);
    pthread_mutex_unlock(&s->lock);
    buf_put_u64(out, after);
    for (uint32_t i = 0; i < STS_SHARE_BUCKETS; i++)
        buf_put_u64(out, own[i]);
    return buf_err(out);
}

static int by_order(const void *a, const void *b)
{
    const struct sts_entry *const *x = a, *const *y = b;
    return (*x)->order < (*y)->order ? -1 : (*x)->order > (*y)->order;
}

/* Those of buckets that differ, behind `after`; under the lock. */
static size_t differing(const struct sts_store *s, const uint64_t theirs[STS_SHARE_BUCKETS], uint64_t after,
                        int64_t now_ms, const struct sts_entry **out)
{
    uint64_t own[STS_SHARE_BUCKETS];
    size_t n = 0;
    const struct sts_entry *e;
    digests(s, now_ms, own);
    for (size_t at = 0; (e = map_next(&s->map, &at)) != NULL;) {
        uint32_t bucket = bucket_of(e);
        if (own[bucket] != theirs[bucket] && e->order > after && sts_entry_in_force(e, now_ms))
            out[n++] = e;
    }
    qsort(out, n, sizeof *out, by_order);
    return n;
}

int sts_share_answer(struct sts_store *s, struct span question, int64_t now_ms, struct buf *out)
{
    uint64_t theirs[STS_SHARE_BUCKETS], after;
    struct cursor c;
    struct buf lines;
    cursor_init(&c, question.p, question.n);
    after = cursor_u64(&c);
    for (uint32_t i = 0; i < STS_SHARE_BUCKETS; i++)
        theirs[i] = cursor_u64(&c);
    if (cursor_err(&c) != 0)
        return ERR_BAD;
    buf_init(&lines, STS_SHARE_PAGE + STS_LINE_MAX);
    int err = 0;
    uint64_t next = 0;
    pthread_mutex_lock(&s->lock);
    const struct sts_entry **found = calloc(s->map.len + 1, sizeof *found);
    size_t n = found == NULL ? 0 : differing(s, theirs, after, now_ms, found);
    for (size_t i = 0; i < n && err == 0 && next == 0; i++) {
        err = sts_entry_put(found[i], &lines);
        if (lines.len >= STS_SHARE_PAGE && i + 1 < n)
            next = found[i]->order;
    }
    pthread_mutex_unlock(&s->lock);
    if (found == NULL)
        err = -ENOMEM;
    free(found);
    if (err == 0) {
        buf_put_u64(out, next);
        buf_put_span(out, buf_span(&lines));
        err = buf_err(out);
    }
    buf_fini(&lines);
    return err;
}

int sts_share_take(struct sts_store *s, struct span answer, int64_t now_ms, struct sts_share_taken *out)
{
    struct cursor c;
    cursor_init(&c, answer.p, answer.n);
    *out = (struct sts_share_taken){ .after = cursor_u64(&c) };
    if (cursor_err(&c) != 0)
        return ERR_BAD;
    out->news = sts_share_hear(s, span_sub(answer, 8), now_ms, false);
    pthread_mutex_lock(&s->lock);
    if (is_full(s))
        out->after = 0;
    pthread_mutex_unlock(&s->lock);
    return 0;
}
