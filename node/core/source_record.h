/* What remote sites answered to each source address: recipients delivered, deferred and refused by class of
 * reply, over the last hour and the last 24, and the last refusing reply. Each worker has a table of its own,
 * so that they do not wait for each other; who wants to know adds the tables up.
 *
 * Bounded: a new pair of address and site takes the place of the one that was longest unused. Times are a
 * wall clock's in ms; one that goes back empties what it meets. Any thread; knows no sockets and no clock.
 */
#ifndef NODE_CORE_SOURCE_RECORD_H
#define NODE_CORE_SOURCE_RECORD_H

#include "base/span.h"
#include "node/bounce/class.h"
#include "node/bounce/reputation.h"
#include "node/net/ip.h"

#include <stdbool.h>
#include <stdint.h>

#define SOURCE_RECORD_ROWS_MAX 16384 /* of a node: its workers' tables together */
#define SOURCE_RECORD_REPLY_MAX 256

enum source_window { SOURCE_HOUR, SOURCE_DAY, SOURCE_WINDOWS };
enum source_outcome { SOURCE_DELIVERED, SOURCE_DEFERRED, SOURCE_REFUSED, SOURCE_OUTCOMES };

struct source_counts {
    uint64_t n[SOURCE_OUTCOMES];
    uint64_t meant[2][BOUNCE_CLASSES]; /* of those that were deferred, and refused: by what the reply meant */
};

/* Answered for, without what was greylisted; and of these, against the address. */
struct source_judged {
    uint64_t answered, against;
};

struct source_records;
struct source_records *source_records_new(uint32_t rows_max); /* NULL: no memory */
void source_records_free(struct source_records *r);

struct source_answer {
    enum source_outcome outcome;
    enum bounce_class class; /* not DELIVERED */
    struct span reply;       /* likewise */
    uint32_t n;              /* recipients */
};
/* `rules` NULL: nothing is judged. */
void source_record_add(struct source_records *r, const struct ip_addr *addr, struct span site,
                       const struct source_answer *answer, const struct reputation_rest *rules,
                       int64_t now_ms);
/* Adds to *out what the rules are held against. */
void source_record_judge(struct source_records *r, const struct ip_addr *addr, struct span site,
                         const struct reputation_rest *rules, int64_t now_ms, struct source_judged *out);
/* It is judged anew: by what comes from now on. */
void source_record_renew(struct source_records *r, const struct ip_addr *addr, struct span site);

struct source_row {
    struct ip_addr addr;
    struct span site;
    struct source_counts windows[SOURCE_WINDOWS];
    struct span reply; /* the last one that refused or deferred; empty: none did */
    int64_t reply_ms;
};
/* Under the table's lock: keep it short, and call nothing here. */
typedef void source_row_fn(void *ctx, const struct source_row *row);
/* Those of the address, in no order. */
void source_record_each(struct source_records *r, const struct ip_addr *addr, int64_t now_ms,
                        source_row_fn *fn, void *ctx);
uint32_t source_records_count(struct source_records *r);
/* Rows that went for newer ones, ever. */
uint64_t source_records_forgotten(struct source_records *r);

#endif
