/* What the scheduler's tests share: a queue with round numbers, and shorthand. */
#ifndef TEST_UNIT_QUEUE_FIXTURE_H
#define TEST_UNIT_QUEUE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/queue/queue.h"

#include <stdio.h>
#include <stdlib.h>

#define T0 INT64_C(1800000000000)
#define MINUTE INT64_C(60000)
#define HOUR (60 * MINUTE)

/* The defaults without jitter and without the grace after a start. */
static inline struct queue_config config_plain(void)
{
    struct queue_config c;
    queue_config_default(&c);
    c.retry_jitter_pct = 0;
    c.expire_grace_ms = 0;
    return c;
}

static inline struct queue_item *add(struct queue *q, uint64_t id, const char *site, const char *sender,
                                     int64_t now)
{
    uint32_t rcpt = 0;
    struct queue_item_info info = { .id = id,
                                    .site = span_str(site),
                                    .sender = span_str(sender),
                                    .arrival_ms = now,
                                    .nrcpts = 1,
                                    .rcpts = &rcpt };
    struct queue_item *item = queue_add(q, &info, now);
    assert_non_null(item);
    return item;
}

static inline struct queue_item_view view(const struct queue *q, const struct queue_item *item)
{
    struct queue_item_view v;
    queue_item_view(q, item, &v);
    return v;
}

static inline struct queue_site_state site_state(const struct queue *q, const char *key)
{
    struct queue_site_state s;
    struct queue_site *site = queue_site_find(q, span_str(key));
    assert_non_null(site);
    queue_site_state(q, site, &s);
    return s;
}

static inline void expect_nothing(struct queue *q, int64_t now)
{
    struct queue_action a;
    assert_false(queue_poll(q, now, &a));
}

static inline struct queue_action expect(struct queue *q, enum queue_action_kind kind, int64_t now)
{
    struct queue_action a;
    assert_true(queue_poll(q, now, &a));
    assert_int_equal(a.kind, kind);
    assert_non_null(a.site);
    return a;
}

/* Polls for an OPEN_CONNECTION and makes it succeed. */
static inline void open_one(struct queue *q, struct queue_conn *conn, int64_t now)
{
    struct queue_action a = expect(q, QUEUE_ACTION_OPEN_CONNECTION, now);
    queue_conn_init(q, a.site, conn);
    queue_conn_opened(q, conn, now);
}

static inline void fail_one(struct queue *q, const char *why, int64_t now)
{
    struct queue_conn conn;
    struct queue_action a = expect(q, QUEUE_ACTION_OPEN_CONNECTION, now);
    queue_conn_init(q, a.site, &conn);
    queue_conn_failed(q, &conn, span_str(why), now);
}

#endif
