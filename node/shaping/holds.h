/* What is in force against destinations: a queue that goes slowly or rests, a source address that rests for
 * one. Bounded, pure; one thread. Times are a clock's that the caller reads, in ms.
 *
 * A key is a queue's: "example.org", or with a pool of source addresses in front "news/example.org". For each
 * key there is at most one hold of the kinds BACKOFF and SUSPEND, and one of DISABLE_SOURCE for each address.
 * A newer one takes the place of the old one if it lasts longer, or comes from an operator.
 *
 * At most SHAPING_HOLDS_MAX of them, and SHAPING_KEY_SOURCES_MAX addresses of one key: over it the one that
 * ends first goes, since resting too short costs a few refusals, and memory must not grow with what servers
 * say.
 */
#ifndef NODE_SHAPING_HOLDS_H
#define NODE_SHAPING_HOLDS_H

#include "base/buf.h"
#include "node/shaping/rules.h"

#define SHAPING_HOLDS_MAX 10000
#define SHAPING_KEY_SOURCES_MAX 64
#define SHAPING_KEY_MAX 1024
#define SHAPING_REPLY_MAX 256 /* bytes kept of the reply */
#define SHAPING_BY_MAX 64
#define SHAPING_HOLD_MAX_MS (INT64_C(31) * 86400000)

struct shaping_hold {
    struct span key;
    int kind;           /* enum shaping_action: BACKOFF, SUSPEND or DISABLE_SOURCE */
    struct span source; /* DISABLE_SOURCE: the address as text; else empty */
    int64_t since_ms, until_ms;
    uint32_t deliveries; /* BACKOFF: ends after so many in a row; 0: by time only */
    struct span rule;    /* empty: an operator's */
    struct span reply;   /* that brought it about */
    struct span by;      /* the operator, or the node that learnt it; empty: this node */
    bool old; /* told by a node that had it before: since_ms is when it was heard. Is not told on */
};

struct shaping_holds;
struct shaping_holds *shaping_holds_new(void); /* NULL: no memory */
void shaping_holds_free(struct shaping_holds *h);

/* Copies. True: it is new, or lasts longer than what was there. False: what was there stays, or there is no
 * memory, or `hold` makes no sense (it came from another node). */
bool shaping_hold_put(struct shaping_holds *h, const struct shaping_hold *hold, int64_t now_ms);
/* Ends those of the key (kind < 0: all kinds; source empty: all addresses); how many. */
uint32_t shaping_hold_end(struct shaping_holds *h, struct span key, int kind, struct span source);
/* The same, of all kinds, but for those that began after at_ms. */
uint32_t shaping_hold_end_before(struct shaping_holds *h, struct span key, struct span source, int64_t at_ms);
/* The one in force, or NULL; good until the next call that changes something. */
const struct shaping_hold *shaping_hold_find(const struct shaping_holds *h, struct span key, int kind,
                                             struct span source, int64_t now_ms);
/* All of them: start with *at = 0; NULL ends. Those whose time is over may be among them. */
const struct shaping_hold *shaping_hold_next(const struct shaping_holds *h, uint32_t *at);
uint32_t shaping_holds_count(const struct shaping_holds *h);

/* Ends one whose time is over: copies its key, kind and source out. False: there is none. */
struct shaping_ended {
    int kind;
    char key[SHAPING_KEY_MAX], source[64], rule[64];
};
bool shaping_hold_expire(struct shaping_holds *h, int64_t now_ms, struct shaping_ended *out);
/* When the next one ends; INT64_MAX: none. */
int64_t shaping_holds_wake_ms(const struct shaping_holds *h);

/* A message was taken by the site, or refused: counts for a back-off that ends by success. True: it has
 * ended. */
bool shaping_hold_delivered(struct shaping_holds *h, struct span key);
void shaping_hold_refused(struct shaping_holds *h, struct span key);

/* One more reply that met a rule with a threshold: `count` of them from one key within `within_ms`? After a
 * yes it begins anew. What is counted is bounded too: of very many keys some are counted short. */
bool shaping_threshold(struct shaping_holds *h, struct span key, const struct shaping_rule *rule,
                       int64_t now_ms);

/* As other nodes are told: with the time that is left, since clocks differ. Kind SHAPING_NONE: the holds of
 * that key and source end, or were ended so long ago as until_ms is after now_ms. Decoding points into the
 * bytes; ERR_BAD. */
int shaping_hold_encode(const struct shaping_hold *hold, int64_t now_ms, struct buf *out);
int shaping_hold_decode(struct span bytes, int64_t now_ms, struct shaping_hold *out);

#endif
