/* What becomes of each account's mail on this node, and what it sends, gathered and reported to the cluster
 * every few seconds, where the sums of all nodes are kept (consensus/directory_record.c, directory_sender.c;
 * docs/bounces.md, docs/senders.md).
 *
 * A report is numbered and repeated until the cluster has answered: it counts once, whatever happens to
 * sessions and leaders meanwhile. What a process gathered and had not reported yet is lost with it. Bounded:
 * when so many accounts wait (the cluster does not answer), further ones are not counted, and the log says
 * so.
 *
 * Where rules of the policy may stop a sender, a node lets only a few recipients of his go on credit, that is
 * before the cluster has been told of them and this node's workers act upon what came of it. What is more
 * waits for that (tally_seen); so mail that makes a rule stop its sender is stopped itself.
 */
#ifndef NODE_CORE_TALLY_H
#define NODE_CORE_TALLY_H

#include "base/span.h"
#include "consensus/facts.h"
#include "node/core/worker.h"

#include <stdint.h>

#define TALLY_ACCOUNTS_MAX 50000
#define TALLY_EVERY_MS 3000
#define TALLY_ANSWER_MS 10000 /* a message waits so long for the cluster */
#define TALLY_WAITING_MAX 20000

struct cluster;
struct tally;

/* NULL: no memory, or no random numbers. */
struct tally *tally_new(void);
/* No worker runs any more. */
void tally_free(struct tally *t);

/* One more of this kind; nothing where there is no cluster (NULL), or no account. Any thread. */
void tally_add(struct cluster *c, struct span account, uint8_t kind);

enum tally_answer {
    TALLY_GO,
    TALLY_WAIT, /* `answered` follows on the worker, unless it is forgotten before */
    TALLY_BUSY, /* the cluster does not answer */
};
/* A message that waits. On the heap: the tally's from TALLY_WAIT on. */
struct tally_look {
    struct worker_msg msg;
    struct list link;
    struct worker *w;
    int64_t until_ms;
    enum tally_answer answer; /* GO or BUSY */
    void (*answered)(void *ctx, enum tally_answer answer);
    void *ctx; /* the worker's; NULL: nobody waits any more */
};

/* Whether the cluster can be told what senders send: its feature level has it. */
bool tally_sees(struct cluster *c);
/* A message that is about to be admitted. At most `credit` recipients of its sender go before the cluster
 * knows of them; 0: any number, and it never waits. The worker's thread. `answered` as in struct tally_look.
 */
enum tally_answer tally_seen(struct cluster *c, const struct sender_facts *f, uint32_t credit,
                             struct worker *w, void (*answered)(void *ctx, enum tally_answer answer),
                             void *ctx, struct tally_look **out);
/* Who waited does not any more. The worker's thread. */
void tally_look_forget(struct tally_look *l);

/* The cluster thread, every 20 ms; and before the node leaves its session, so that what can still be told
 * is. */
void tally_tick(struct cluster *c, int64_t now_ms);
void tally_last(struct cluster *c);
/* After it: nobody waits any more, and nothing is counted. */
void tally_end(struct cluster *c);

#endif
