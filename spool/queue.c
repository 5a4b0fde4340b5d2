/* The queue of records between everybody and the writer thread. Under the spool's lock. */
#include "spool/internal.h"

#include "base/ensure.h"

#include <stdlib.h>

struct rec *rec_new(uint8_t type, uint8_t flags, uint64_t id, uint32_t payload)
{
    ensure(payload <= RECORD_PAYLOAD_MAX);
    struct rec *r = malloc(sizeof *r + record_bytes(payload));
    if (r == NULL)
        return NULL;
    *r = (struct rec){
        .type = type, .flags = flags, .id = id, .payload = payload, .bytes = record_bytes(payload)
    };
    return r;
}

struct rec *rec_step(enum step step)
{
    struct rec *r = malloc(sizeof *r);
    if (r != NULL)
        *r = (struct rec){ .step = (uint8_t)step };
    return r;
}

void rec_checked(struct rec *r, uint32_t n)
{
    ensure(n <= r->payload);
    r->checked = n;
    r->part_crc = crc_more(CRC_INIT, rec_payload(r), n);
    memset(rec_payload(r) + r->payload, 0, r->bytes - RECORD_HEAD_BYTES - r->payload);
}

void rec_shorten(struct rec *r, uint32_t payload)
{
    ensure(payload <= r->payload);
    r->payload = payload;
    r->bytes = record_bytes(payload);
}

static bool waits(const struct rec *r)
{
    return r->op != NULL || r->step == STEP_FLUSH;
}

static void account(struct spool *s, const struct rec *r)
{
    if (list_empty(&s->queue))
        s->lazy_since_ns = spool_now_ns();
    s->queue_bytes += r->bytes;
    s->queue_waiters += waits(r);
}

static bool writer_wanted(const struct spool *s)
{
    switch (s->sleep) {
    case SLEEP_NONE:
        return false;
    case SLEEP_IDLE:
        return true;
    case SLEEP_LAZY:
        return s->queue_waiters > 0 || s->queue_bytes >= SPOOL_LAZY_BYTES;
    case SLEEP_GATHER:
        return queue_gathered(s);
    }
    return true;
}

bool queue_gathered(const struct spool *s)
{
    return s->queue_waiters >= SPOOL_GATHER_WAITERS || s->queue_bytes >= SPOOL_BATCH_BYTES / 2 ||
           (s->open_ingests == 0 && s->queue_waiters >= s->busy_waiters);
}

void queue_push(struct spool *s, struct rec *r)
{
    account(s, r);
    list_push_back(&s->queue, &r->link);
    if (writer_wanted(s)) {
        s->sleep = SLEEP_NONE;
        pthread_cond_signal(&s->writer_cond);
    }
}

void queue_push_front(struct spool *s, struct rec *r)
{
    account(s, r);
    list_push_front(&s->queue, &r->link);
}

void queue_taken(struct spool *s, const struct rec *r)
{
    s->queue_bytes -= r->bytes;
    s->queue_waiters -= waits(r);
}
