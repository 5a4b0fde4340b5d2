/* Between the files transfer*.c; nobody else includes it. */
#ifndef NODE_CORE_TRANSFER_IMPL_H
#define NODE_CORE_TRANSFER_IMPL_H

#include "base/list.h"
#include "consensus/directory.h"
#include "node/core/cluster.h"
#include "node/core/transfer.h"

#include <pthread.h>
#include <semaphore.h>

#define TRANSFER_WANTS_MAX 1000000 /* messages asked for: 24 bytes each */
#define TRANSFER_WANT_MS 60000     /* how long a message that is in a transaction is waited for */
#define TRANSFER_GIVES_MAX 64      /* batches of either kind that are not finished */
#define TRANSFER_PEERS_MAX 64
#define TRANSFER_TAKES_MAX 64
#define TRANSFER_QUESTIONS_MAX 64
#define TRANSFER_TAKE_BYTES (64u << 20) /* of envelopes, of one batch that comes in */
#define TRANSFER_STUCK_MAX 4096

/* ---- between nodes: cluster_transfer.c ----------------------------------------------------------------- */

/* Waits for the answer. ERR_TIMEOUT, ERR_CLOSED and others as of gossip_ask. */
int cluster_transfer_ask(struct cluster *c, uint64_t node, struct span question, int64_t timeout_ms,
                         struct buf *answer);
void cluster_transfer_answer(struct cluster *c, struct gossip_request *r, struct span answer);
struct cluster_transfer_peer {
    uint64_t node;
    bool active; /* a member, not draining, and heard of */
    char name[64];
};
/* All other members. */
int cluster_transfer_peers(struct cluster *c, struct cluster_transfer_peer *out, uint32_t max, uint32_t *n);
int cluster_transfer_barrier(struct cluster *c);
int cluster_transfer_submit(struct cluster *c, struct command *cmd, struct admin_error *e);
uint64_t cluster_transfer_published(struct cluster *c);

/* ---- giving -------------------------------------------------------------------------------------------- */

struct give_msg {
    uint64_t id, theirs; /* here; and as the taker has it */
};

struct give {
    struct list link;
    struct spool *spool; /* the node's, or that of a removed one */
    uint8_t id[16];
    uint64_t giver, taker;
    struct give_msg msgs[TRANSFER_BATCH_MAX];
    uint32_t n;
    uint64_t applied;
    struct transfer_giving g;
    int64_t since_ms;          /* wall */
    int64_t from_ms, again_ms; /* boot */
    bool own_sent;
    char trouble[160];
    bool cancel_asked;         /* under lock */
    struct transfer_row shown; /* under lock */
};

struct want {
    uint64_t id, node;
    int64_t until_ms; /* boot: how long it is tried again */
};

struct stuck_set {
    uint64_t ids[TRANSFER_STUCK_MAX];
    uint32_t n;
    uint64_t total;
};

/* ---- taking -------------------------------------------------------------------------------------------- */

struct take_msg {
    uint64_t id;
    bool present; /* there is a copy on disk, or on its way there */
    bool fresh;   /* it came with the present offer */
    char *head;   /* until it is sealed */
    size_t head_bytes;
    struct spool_op op;
    sem_t *done;
    bool pending; /* op is not answered */
};

struct take {
    struct list link;
    uint8_t id[16];
    uint64_t giver, from; /* from: who sends it; 0: nobody since the start */
    uint32_t count;       /* as marked, or offered; 0: not known */
    uint8_t sha256[32];
    bool offered, sealed;
    struct take_msg msgs[TRANSFER_BATCH_MAX];
    uint32_t n;
    size_t head_bytes; /* of all */
    int64_t since_ms, touched_ms;
    sem_t done;
    /* the message that is coming */
    struct {
        uint64_t id, offset;
        struct buf head;
        bool headed, skip;
        struct transfer_head decoded;
        uint64_t size;
        struct spool_ingest *in;
        sem_t room;
        struct take_msg *msg;
    } now;
    char trouble[160];
    struct transfer_row shown; /* under lock */
};

struct question {
    struct list link;
    struct gossip_request *request; /* NULL: of this node */
    uint64_t from;
    struct buf bytes;
    /* of this node: */
    struct buf *answer;
    sem_t *done;
};

struct transfer {
    struct node *node;
    pthread_mutex_t lock;
    pthread_cond_t give_wake, take_wake;
    bool stopping, closed; /* under lock. closed: the taker has ended */
    pthread_t giver, taker;
    bool started;
    bool opened; /* the spool: what was found is grouped */

    struct list gives; /* the giver's; membership and `shown` under lock */
    uint32_t ngives;
    struct want *wants; /* under lock */
    size_t nwants, wants_cap;
    struct stuck_set stuck; /* the giver's; total under lock */
    uint64_t moved;         /* under lock */
    struct {                /* the giver's: of a drain */
        uint64_t *ids;
        size_t n, at, share;
        int64_t again_ms;
        uint32_t turn; /* whose it is */
        uint64_t homes[TRANSFER_PEERS_MAX]; /* who takes mail now */
        uint32_t nhomes;
    } drain;
    struct {
        uint64_t node;
        int64_t until_ms;
    } shunned[64]; /* the giver's: they refused or did not answer */
    uint32_t nshunned;

    struct list takes; /* the taker's, likewise */
    uint32_t ntakes;
    struct list questions; /* under lock */
    uint32_t nquestions;
    uint64_t *strays;
    size_t nstrays, strays_cap; /* under lock */
    int64_t strays_ms;
};

/* Something of a batch is not as it should be: in the list, and once in the log. */
void transfer_trouble(char trouble[160], const uint8_t batch[16], const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
enum transfer_verdict transfer_verdict(struct transfer *t, const uint8_t batch[16], uint64_t *applied,
                                       struct directory_transfer *out);
bool transfer_member_present(struct transfer *t, uint64_t node);
/* Not the opposite: a state that has not been read yet knows of nobody. */
bool transfer_member_removed(struct transfer *t, uint64_t node);
void transfer_member_name(struct transfer *t, uint64_t node, char out[64]);
bool transfer_stops(struct transfer *t);
int transfer_want(struct transfer *t, const struct want *w); /* ERR_LIMIT, -ENOMEM */

/* transfer_pick.c: messages out of the queues, and back. */

/* Takes whole messages that are in no transaction out of the queues and marks them; what cannot be taken is
 * left out. Not yet durable. `drains`: any of t->drain.homes would do, so greylisted mail is left out and asked to
 * go to the one that has the address it was told to come again from. */
void transfer_pick(struct transfer *t, struct give *b, const uint64_t *ids, uint32_t n, bool drains);
/* All that is marked as the batch's is queued or held again, here: `spool_update` and the queues. */
int transfer_put_back(struct transfer *t, struct spool *spool, uint64_t id, const uint8_t batch[16]);
/* Into the workers' queues, what of the message is alive. */
int transfer_dispatch(struct transfer *t, uint64_t id);
/* Each living recipient of the batch gets this state; `words` NULL: the old reply. */
int transfer_mark_all(struct transfer *t, struct spool *spool, uint64_t id, const uint8_t batch[16],
                      bool terminal, const char *words);
/* The message stays here, under another id: the other node may have a copy of the present one. */
int transfer_restore(struct transfer *t, struct give *b, uint64_t id);

/* transfer_give.c */
struct give *transfer_give_new(struct spool *spool, uint64_t giver, uint64_t taker); /* NULL: no memory */
void transfer_give_free(struct give *b);
/* One step. 1: at once another; 0: later, see again_ms; -1: it is finished. */
int transfer_give_step(struct transfer *t, struct give *b);
void transfer_give_show(struct transfer *t, struct give *b);
/* The node did not answer a moment ago. */
bool transfer_give_shunned(const struct transfer *t, uint64_t node);

/* transfer_giver.c */
void *transfer_giver_main(void *arg);
/* A batch that was found at the start. */
int transfer_give_found(struct transfer *t, uint64_t id, const struct transfer_mark *mark);

/* transfer_take.c */
struct take *transfer_take_find(struct transfer *t, const uint8_t id[16]);
struct take *transfer_take_new(struct transfer *t, const uint8_t id[16], uint64_t giver); /* NULL: no room */
struct take_msg *transfer_take_message(struct take *b, uint64_t id);                      /* NULL: no room */
void transfer_take_show(struct transfer *t, struct take *b);
/* Nothing of it is on its way to the spool any more. */
void transfer_take_quiet(struct take *b);
void transfer_take_finished(struct transfer *t, struct take *b);
void transfer_take_free(struct take *b);
/* OFFER, PUT and SEAL: a code of transfer_answer_code. */
int transfer_take_part(struct transfer *t, uint64_t from, const struct transfer_question *q,
                       struct transfer_answer *a);
static inline int transfer_refuse(struct transfer_answer *a, const char *words)
{
    a->words = span_str(words);
    return TRANSFER_REFUSED;
}

/* transfer_forget.c */
/* TRANSFER_YES and the like, or an error; of another node, or this one. */
int transfer_ask(struct transfer *t, uint64_t node, uint8_t verb, const uint8_t batch[16]);

/* transfer_taker.c */
void *transfer_taker_main(void *arg);
/* At the start. */
int transfer_take_found(struct transfer *t, uint64_t id, const struct transfer_mark *mark);
int transfer_stray_found(struct transfer *t, uint64_t id);
void transfer_no_stray(struct transfer *t, uint64_t id);
/* Asks this node's own taker. */
int transfer_ask_self(struct transfer *t, struct span question, struct buf *answer);

#endif
