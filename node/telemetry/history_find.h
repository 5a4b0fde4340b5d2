/* Which rows of the history may be meant by a question, from its indexes alone. The asker's thread. */
#ifndef NODE_TELEMETRY_HISTORY_FIND_H
#define NODE_TELEMETRY_HISTORY_FIND_H

#include "node/telemetry/history_impl.h"

/* Where a row stands in the order of an answer: as people see it, the id without its hop. Rows of a message
 * that left and came back share a place. */
struct history_place {
    uint64_t id;
    uint32_t rcpt;
};

struct history_places {
    struct history_place *p; /* newest first; to be freed */
    uint32_t n, cap;
    bool rcpts; /* else each is a whole message */
};

#define HISTORY_CONDITIONS 8

struct history_condition {
    sqlite3_stmt *stmt;
    int64_t low, high;
    bool rcpts;   /* it gives recipients, else messages */
    bool arrival; /* only of use where a stretch is not in the time asked for as a whole */
    bool states;
    bool tenant; /* by its name, not a range of numbers */
};

struct history_find { /* begins with ask, sql and salt */
    const struct history_query *ask;
    sqlite3 *sql;
    uint64_t salt;
    struct history_condition by[HISTORY_CONDITIONS]; /* the most telling first */
    uint32_t n;
    bool ready;
    sqlite3_stmt *of_message;
    struct history_places other; /* room */
};

/* 0: the same place. */
int history_place_compare(const struct history_place *a, const struct history_place *b);

/* Of the message asked for by id, under whatever hop. Errors: ERR_FAILED, ERR_TIMEOUT, ERR_LIMIT, -ENOMEM. */
int history_find_id(struct history_find *f, struct history_places *out);
/* Of one stretch; `out` is written anew. */
int history_find_stretch(struct history_find *f, const struct history_stretch *s, struct history_places *out);
/* The recipients of the message at *at and of those after it that are the same to people; moves *at on. */
int history_find_group(struct history_find *f, const struct history_places *messages, uint32_t *at,
                       struct history_places *out);
/* What failed is logged; the error to give. */
int history_find_failed(const struct history_find *f);
void history_find_fini(struct history_find *f);

#endif
