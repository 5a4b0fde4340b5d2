/* Texts with counters in them: "user{n%50}@site{r}.test". {n} is the message's number, {r} the recipient's
 * number within the message, {s} the session's number; "%K" takes it modulo K. Compiled once. One thread.
 */
#ifndef BENCH_PATTERN_H
#define BENCH_PATTERN_H

#include "base/buf.h"

#define PATTERN_PARTS 16

struct pattern_part {
    struct span text; /* when `counter` is 0; borrowed from the option's text */
    char counter;     /* 'n', 'r', 's' or 0 */
    uint64_t modulo;  /* 0: none */
};

struct pattern {
    unsigned nparts;
    struct pattern_part parts[PATTERN_PARTS];
};

struct pattern_values {
    uint64_t message, rcpt, session;
};

/* 0 or ERR_BAD. `text` must outlive the pattern. */
int pattern_init(struct pattern *p, const char *text);
int pattern_put(struct buf *out, const struct pattern *p, const struct pattern_values *v);

#endif
