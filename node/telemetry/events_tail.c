/* Blocks of lines in a list, the oldest first. A reader holds the block that it looks through, so that it
 * keeps nobody waiting; one that is no longer in the list lives until then. */
#include "node/telemetry/events_tail.h"

#include "base/ensure.h"
#include "base/list.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 65536 /* of larger ones parts would be kept too long */

struct block {
    struct list link;
    atomic_uint refs;
    uint64_t first; /* number of its first line */
    uint32_t lines;
    size_t n;
    char bytes[];
};

struct events_tail {
    pthread_mutex_t lock;
    struct list blocks; /* under lock, as all that follows */
    size_t bytes, max_bytes;
    uint64_t next;
};

struct events_tail *events_tail_new(size_t max_bytes, uint64_t first)
{
    ensure(first != 0);
    struct events_tail *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    pthread_mutex_init(&t->lock, NULL);
    list_init(&t->blocks);
    t->max_bytes = max_bytes;
    t->next = first;
    return t;
}

static void block_rele(struct block *b)
{
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        free(b);
}

void events_tail_free(struct events_tail *t)
{
    if (t == NULL)
        return;
    for (struct list *link; (link = list_pop_front(&t->blocks)) != NULL;)
        block_rele(LIST_ITEM(link, struct block, link));
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static uint32_t count_lines(struct span s)
{
    uint32_t n = 0;
    for (const char *p = s.p, *end = s.p + s.n; p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL;
         p++)
        n++;
    return n;
}

static void put_block(struct events_tail *t, struct span lines)
{
    uint32_t n = count_lines(lines);
    struct block *b = malloc(sizeof *b + lines.n);
    if (b != NULL) {
        atomic_init(&b->refs, 1);
        b->lines = n;
        b->n = lines.n;
        memcpy(b->bytes, lines.p, lines.n);
    }
    struct list gone;
    list_init(&gone);
    pthread_mutex_lock(&t->lock);
    if (b != NULL) {
        b->first = t->next;
        list_push_back(&t->blocks, &b->link);
        t->bytes += b->n;
    }
    t->next += n;
    while (t->bytes > t->max_bytes) {
        struct list *link = list_pop_front(&t->blocks);
        t->bytes -= LIST_ITEM(link, struct block, link)->n;
        list_push_back(&gone, link);
    }
    pthread_mutex_unlock(&t->lock);
    for (struct list *link; (link = list_pop_front(&gone)) != NULL;)
        block_rele(LIST_ITEM(link, struct block, link));
}

void events_tail_put(struct events_tail *t, struct span lines)
{
    ensure(lines.n == 0 || lines.p[lines.n - 1] == '\n');
    while (lines.n > 0) {
        size_t n = lines.n;
        if (n > BLOCK_BYTES) {
            const char *end = memrchr(lines.p, '\n', BLOCK_BYTES);
            if (end == NULL)
                end = memchr(lines.p, '\n', lines.n);
            n = (size_t)(end - lines.p) + 1;
        }
        put_block(t, span_of(lines.p, n));
        lines = span_sub(lines, n);
    }
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static bool fits(const struct events_tail_filter *f, struct span line)
{
    bool any = f->nany == 0;
    for (uint32_t i = 0; i < f->nall; i++)
        if (memmem(line.p, line.n, f->all[i].p, f->all[i].n) == NULL)
            return false;
    for (uint32_t i = 0; i < f->nany && !any; i++)
        any = memmem(line.p, line.n, f->any[i].p, f->any[i].n) != NULL;
    return any;
}

static struct span next_line(const struct block *b, size_t *at)
{
    const char *p = b->bytes + *at;
    size_t n = (size_t)((const char *)memchr(p, '\n', b->n - *at) - p) + 1;
    *at += n;
    return span_of(p, n);
}

/* The oldest block with lines after that number, held; NULL: there is none. */
static struct block *block_after(struct events_tail *t, uint64_t after)
{
    struct block *found = NULL;
    pthread_mutex_lock(&t->lock);
    LIST_EACH(link, &t->blocks)
    {
        struct block *b = LIST_ITEM(link, struct block, link);
        if (b->first + b->lines - 1 <= after)
            continue;
        found = b;
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
        break;
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

uint64_t events_tail_last(struct events_tail *t)
{
    pthread_mutex_lock(&t->lock);
    uint64_t last = t->next - 1;
    pthread_mutex_unlock(&t->lock);
    return last;
}

uint64_t events_tail_back(struct events_tail *t, const struct events_tail_filter *filter, uint32_t n)
{
    uint64_t last = events_tail_last(t), at = 0;
    uint64_t *found = n > 0 ? calloc(n, sizeof *found) : NULL; /* a ring: the newest n that fit */
    uint64_t count = 0;
    for (struct block *b; found != NULL && at < last && (b = block_after(t, at)) != NULL; block_rele(b)) {
        size_t pos = 0;
        for (uint64_t number = b->first; pos < b->n; number++) {
            struct span line = next_line(b, &pos);
            if (number > at && fits(filter, line))
                found[count++ % n] = number;
        }
        at = b->first + b->lines - 1;
    }
    uint64_t after = count == 0 ? last : found[count < n ? 0 : count % n] - 1;
    free(found);
    return after;
}

static bool put_line(void *ctx, uint64_t number, struct span line)
{
    struct buf *out = ctx;
    (void)number;
    return line.n <= out->max - out->len && buf_put_span(out, line) == 0;
}

bool events_tail_read(struct events_tail *t, uint64_t *after, const struct events_tail_filter *filter,
                      uint32_t n, struct buf *out)
{
    return events_tail_each(t, after, filter, n, put_line, out);
}

bool events_tail_each(struct events_tail *t, uint64_t *after, const struct events_tail_filter *filter, uint32_t n,
                      events_tail_fn *fn, void *ctx)
{
    uint64_t last = events_tail_last(t);
    bool gap = *after > last; /* of a process that is no more, whose clock was ahead */
    if (gap)
        *after = 0;
    for (struct block *b; n > 0 && *after < last && (b = block_after(t, *after)) != NULL; block_rele(b)) {
        size_t pos = 0;
        gap = gap || b->first > *after + 1;
        for (uint64_t number = b->first; pos < b->n && n > 0; number++) {
            struct span line = next_line(b, &pos);
            if (number <= *after)
                continue;
            if (fits(filter, line)) {
                if (!fn(ctx, number, line)) {
                    n = 0;
                    break;
                }
                n--;
            }
            *after = number;
        }
    }
    if (n > 0 && *after < last) { /* no memory for those */
        gap = true;
        *after = last;
    }
    return gap;
}
