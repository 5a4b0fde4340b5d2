/* The scheduling of one worker: what may be sent next, to which site, and when. Pure: it is told the time and
 * performs nothing. One thread.
 *
 * An item is the recipients of one message that go to one site: they share a transaction. A site is a
 * destination: a recipient domain, or the next hop that a route names; later the set of its MX hosts. Within a
 * site senders take turns (deficit round robin, weighted by class), so that one sender's 100,000 messages delay
 * nobody else's. Items are due at once or at next_ms.
 *
 * A site's connections are limited: the limit starts low, grows with success and shrinks with trouble. A site
 * that cannot be reached is "down": one connection probes it at the retry schedule's times, whatever is queued.
 */
#ifndef NODE_QUEUE_QUEUE_H
#define NODE_QUEUE_QUEUE_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define QUEUE_RETRY_STEPS 16

struct queue_config {
    uint32_t nretry;
    int64_t retry_ms[QUEUE_RETRY_STEPS]; /* the last one repeats */
    uint32_t retry_jitter_pct;           /* +-; 10 */
    int64_t expire_ms;                   /* 4 d */
    int64_t delay_notice_ms;             /* 4 h; 0: none */
    uint32_t conns_start, conns_max;     /* per site: 2, 20 */
    uint32_t conns_total_max;            /* of the worker */
    uint32_t weight[3];                  /* by enum envelope_class: messages per turn */
    uint64_t seed;                       /* of the jitter */
};

struct queue;
struct queue_site;

struct queue_item_info {
    uint64_t id;           /* message */
    struct span site;      /* key: lower-case domain, or "host:port" of a route with a mark; see node/core/route.h */
    struct span sender;    /* account, or reverse-path's domain when there is none: who takes turns */
    uint8_t class;
    int64_t arrival_ms;    /* wall */
    int64_t next_ms;       /* wall; 0: now */
    uint16_t attempts;
    bool held;             /* kept, shown, never offered until released */
    bool delay_told;
    uint32_t nrcpts;
    const uint32_t *rcpts; /* indexes; nrcpts of them; stored compactly (one needs no array) */
    uint32_t size_kib;
};

#endif
