/* What is known of a message besides its body: the envelope, where it came from, and its recipients.
 *
 * Pure: structures and their encoding, no I/O. All spans are borrowed: from the arena or buffer of whoever
 * filled the structure in, until the call that it is passed to returns. Limits are part of the format: an
 * envelope over one of them does not encode (ERR_LIMIT), so none is ever stored.
 */
#ifndef SPOOL_ENVELOPE_H
#define SPOOL_ENVELOPE_H

#include "base/buf.h"
#include "base/cursor.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define ENVELOPE_RCPTS_MAX 10000
#define ENVELOPE_TEXT_MAX 1024 /* bytes of any one span below */

/* RFC 3461 section 4.1 */
enum envelope_notify {
    ENVELOPE_NOTIFY_NEVER = 1,
    ENVELOPE_NOTIFY_SUCCESS = 2,
    ENVELOPE_NOTIFY_FAILURE = 4,
    ENVELOPE_NOTIFY_DELAY = 8, /* none set: the parameter was absent */
};

/* RFC 3461 section 4.3 */
enum envelope_ret { ENVELOPE_RET_ABSENT, ENVELOPE_RET_FULL, ENVELOPE_RET_HDRS };

enum envelope_body { ENVELOPE_BODY_7BIT, ENVELOPE_BODY_8BITMIME };

enum envelope_class { ENVELOPE_CLASS_PERSON, ENVELOPE_CLASS_DEVICE, ENVELOPE_CLASS_BULK };

enum envelope_flag {
    ENVELOPE_SMTPUTF8 = 1,
    ENVELOPE_REQUIRETLS = 2,
    ENVELOPE_DSN = 4,          /* generated here, and a report: never reported on */
    ENVELOPE_HELD = 8,         /* born held: no delivery until an operator releases it */
    ENVELOPE_BODY_IS_8BIT = 16, /* the content has an octet over 127 */
    ENVELOPE_INERT = 32,        /* came from another node: nothing is done with it before that is settled */
    ENVELOPE_FORWARDED = 128,   /* the account passes it on for somebody else: it leaves with a return path of ours */
    ENVELOPE_TLS_OPTIONAL = 64, /* "TLS-Required: No" (RFC 8689 section 5); never with REQUIRETLS */
};

/* A recipient's states. Those from DELIVERED on are terminal: nothing follows them. The numbers are on disk.
 */
enum rcpt_state {
    RCPT_QUEUED = 0,
    RCPT_HELD = 1,
    RCPT_DELIVERED = 2, /* the next hop took it and said that it passes DSN requests on, or none were made */
    RCPT_RELAYED = 3,   /* the next hop took it but does not know DSN */
    RCPT_BOUNCED = 4,
    RCPT_EXPIRED = 5,
    RCPT_DELETED = 6, /* by an operator */
    RCPT_MOVED = 7,   /* another node has it, or kept it */
    /* Not terminal, and nothing is done with it: it is about to be another node's, or to become ours. Which, and by
     * which transfer, is in the reply. */
    RCPT_LEAVING = 8,
    RCPT_LEAVING_HELD = 9,
    RCPT_INERT = 10,
    RCPT_INERT_HELD = 11,
};
#define RCPT_STATES 12

static inline bool rcpt_state_terminal(uint8_t state)
{
    return state >= RCPT_DELIVERED && state <= RCPT_MOVED;
}

/* Between two nodes: neither offered for delivery nor an operator's to change. */
static inline bool rcpt_state_between(uint8_t state)
{
    return state >= RCPT_LEAVING;
}

struct envelope_rcpt {
    struct span address; /* as it goes into RCPT TO, without < > */
    struct span orcpt;   /* "rfc822;x@y" decoded from xtext, or empty */
    uint8_t notify;      /* enum envelope_notify bits */
};

/* A recipient of another message that this message's commit record closes (a DSN reports it). */
struct envelope_close {
    uint64_t id;
    uint32_t rcpt;     /* index into that message's recipients */
    uint8_t state;     /* terminal */
    struct span reply; /* as in spool_rcpt_update */
};

struct envelope {
    uint64_t id;           /* given by the spool */
    int64_t arrival_ms;    /* wall clock */
    uint64_t size;         /* bytes of the content as stored, CRLF lines, without dot-stuffing */
    uint32_t header_bytes; /* of those, the header and the empty line after it */
    uint8_t body;          /* enum envelope_body: what MAIL FROM said */
    uint8_t ret;           /* enum envelope_ret */
    uint8_t class;         /* enum envelope_class */
    uint8_t flags;         /* enum envelope_flag bits */
    struct span mail_from; /* reverse-path without < >; empty for the null reverse-path */
    struct span envid;     /* decoded from xtext */
    struct span account;   /* who authenticated, canonical; empty for our own reports */
    struct span tenant;
    struct span client_ip;
    struct span client_name; /* PTR, or empty */
    struct span helo;
    struct span protocol; /* as in Received: ESMTPSA and the like */
    struct span listener;
    struct span message_id; /* with < > */
    struct span hold;       /* ENVELOPE_HELD: why, in words of whoever asked for it; else empty */
    uint32_t nrcpts;
    struct envelope_rcpt *rcpts;
    uint32_t ncloses;
    struct envelope_close *closes;
};

/* Appends the encoded envelope; ERR_LIMIT if it is over a limit of the format. */
int envelope_encode(const struct envelope *e, struct buf *out);

/* A decoded envelope and the memory of its arrays; its spans point into the bytes that were decoded. */
struct envelope_decoded {
    struct envelope env;
    void *arrays;
};

/* ERR_TORN, ERR_CORRUPT (a value out of range) or -ENOMEM; on success free with envelope_decoded_fini. */
int envelope_decode(struct cursor *c, struct envelope_decoded *out);
void envelope_decoded_fini(struct envelope_decoded *d);

/* "delivered" and the like, for people and programs. */
const char *rcpt_state_name(uint8_t state);

/* The state of a recipient of which nothing else is known yet. */
static inline uint8_t envelope_first_state(const struct envelope *e)
{
    bool held = (e->flags & ENVELOPE_HELD) != 0;
    if ((e->flags & ENVELOPE_INERT) != 0)
        return held ? RCPT_INERT_HELD : RCPT_INERT;
    return held ? RCPT_HELD : RCPT_QUEUED;
}

/* An id is ms since 1970 (44 bits), a counter (8), the number of times that the message moved to another node (4), and
 * the node that accepted it (8). A message is found by its id with the hop: a node that gives one away and gets it back
 * has two that never meet. People see it without the hop, as the same wherever it is. */
#define SPOOL_ID_HOP_SHIFT 8
#define SPOOL_ID_HOP_BITS 4
#define SPOOL_ID_HOPS_MAX 15u

static inline uint32_t spool_id_hop(uint64_t id)
{
    return (uint32_t)(id >> SPOOL_ID_HOP_SHIFT) & SPOOL_ID_HOPS_MAX;
}

static inline uint64_t spool_id_public(uint64_t id)
{
    return id & ~((uint64_t)SPOOL_ID_HOPS_MAX << SPOOL_ID_HOP_SHIFT);
}

/* As it is called on the next node; 0: it has moved as often as it can. */
static inline uint64_t spool_id_moved(uint64_t id)
{
    return spool_id_hop(id) == SPOOL_ID_HOPS_MAX ? 0 : id + (1u << SPOOL_ID_HOP_SHIFT);
}

/* Queue ids as people see them: 13 characters of Crockford's base 32, which sort as the numbers do. */
#define SPOOL_ID_TEXT 14 /* with the NUL */
void spool_id_format(uint64_t id, char out[SPOOL_ID_TEXT]);
/* Takes either case; ERR_BAD. */
int spool_id_parse(struct span text, uint64_t *id);

#endif
