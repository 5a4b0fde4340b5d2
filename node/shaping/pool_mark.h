/* Where a recipient goes out in place of its sender's pool of source addresses: since when it was moved is
 * not kept, but where it is, which pools it has left, and by which rule. It stands behind the reply that the
 * spool keeps, before the mark of greylisting (grey_mark.h), so that it goes wherever that goes. Records
 * without it are read as they were. Pure; any thread.
 *
 *     550 5.7.1 Blocked <US>pool source-blocked overflow newsletters
 *
 * <US> is the control character 1F, which no reply has. "=" is no pool.
 */
#ifndef NODE_SHAPING_POOL_MARK_H
#define NODE_SHAPING_POOL_MARK_H

#include "node/shaping/grey_mark.h"

#define POOL_MARK_MOVES_MAX 2 /* of one recipient */
#define POOL_MARK_NAME_MAX 63 /* bytes of a pool's name, or a rule's */
/* The rule of a move that no reply brought about: policy's pools.when_all_disabled. */
#define POOL_MARK_ALL_REST "when_all_disabled"

struct pool_mark {
    struct span rule;                      /* of the last move */
    struct span to;                        /* where it goes out now */
    uint32_t n;                            /* moves */
    struct span left[POOL_MARK_MOVES_MAX]; /* the pools that it has left, in this order; empty: none, mail
                                              without one */
};

/* False: it has none. `words`: the reply without any mark. Spans point into `text`. */
bool pool_mark_parse(struct span text, struct pool_mark *out, struct span *words);
/* Was the recipient moved out of this pool? */
bool pool_mark_left(const struct pool_mark *m, struct span pool);
/* One more move, out of `from`: `m` is the mark so far, or zero. False: none is left to it, or it would go
 * back to where it was; nothing has changed. Spans are borrowed. */
bool pool_mark_move(struct pool_mark *m, struct span from, struct span to, struct span rule);
/* A reply with the marks that are given (NULL: without), behind that of a hold (hold_mark.h) if the words have one: at most GREY_TEXT_MAX bytes, less what a transfer
 * puts before them, the end of the reply being cut off. */
struct span pool_mark_format(const struct pool_mark *m, const struct grey_mark *grey, struct span words,
                             char out[GREY_TEXT_MAX]);

#endif
