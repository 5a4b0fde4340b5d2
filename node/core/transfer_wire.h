/* What two nodes say to each other about a batch of mail that moves, and the pure parts of it: encodings,
 * what marks a recipient as a batch's, what is to be done next. No I/O, no clock; any thread.
 *
 *     giver                                   taker
 *     records LEAVING, durable
 *     OFFER batch, count, hash          --->  room? not draining? not decided already?
 *     PUT id, offset, bytes (repeated)  --->  stored inert, in pieces
 *     SEAL batch                        --->  all there: the hash is right, and everything is on disk
 *     submits TRANSFER_OWN                    applies it: theirs; QUEUED or HELD, durable; dispatched
 *     applies it: MOVED, durable
 *     SETTLED? batch                    --->  nothing inert of it is left
 *     submits TRANSFER_END
 *
 * A repeat of any of them is harmless. docs/transfer.md says what follows from a crash at each place.
 */
#ifndef NODE_CORE_TRANSFER_WIRE_H
#define NODE_CORE_TRANSFER_WIRE_H

#include "base/buf.h"
#include "spool/spool.h"

#define TRANSFER_BATCH_MAX 100            /* messages of one batch */
#define TRANSFER_BATCH_BYTES (8u << 20)   /* after which no further message is added */
#define TRANSFER_PIECE_BYTES (256u << 10) /* of a message in one PUT */
#define TRANSFER_LENGTH_BYTES 4           /* before a head */
#define TRANSFER_HEAD_MAX (48u << 20) /* an envelope of ENVELOPE_RCPTS_MAX recipients with their replies */
#define TRANSFER_REPLY_MAX 512
#define TRANSFER_HEX 33 /* a batch's id as text, with the NUL */

/* ---- marks ---------------------------------------------------------------------------------------------
 *
 * Which batch a recipient in a state of rcpt_state_between belongs to is in its reply: "transfer BATCH PEER
 * N; " and what the reply was before. PEER is the other node. N is where it leaves: by how much the taker
 * counts the message's hops up; where it came: how many messages the batch has. */

struct transfer_mark {
    uint8_t batch[16];
    uint64_t peer, n;
    struct span rest; /* the reply as it was */
};
bool transfer_mark_parse(struct span reply, struct transfer_mark *out);
/* At most TRANSFER_REPLY_MAX bytes, the end of the old reply being cut off. */
struct span transfer_mark_format(const uint8_t batch[16], uint64_t peer, uint64_t n, struct span reply,
                                 char out[TRANSFER_REPLY_MAX]);
void transfer_hex(const uint8_t batch[16], char out[TRANSFER_HEX]);
bool transfer_hex_parse(struct span text, uint8_t batch[16]);

/* ---- hash -----------------------------------------------------------------------------------------------
 */

/* Over the ids as the taker has them, in ascending order; sorts them. */
void transfer_hash(uint64_t *ids, uint32_t n, uint8_t sha256[32]);

/* ---- questions and answers ------------------------------------------------------------------------------
 */

enum transfer_verb {
    TRANSFER_OFFER = 1,
    TRANSFER_PUT = 2,
    TRANSFER_SEAL = 3,
    TRANSFER_SETTLED = 4,
    TRANSFER_HAS = 5,  /* id: it is alive at the node that is asked, or its next hop is */
    TRANSFER_TAKE = 6, /* of the node itself: see transfer_take */
    TRANSFER_DROP = 7  /* likewise: parts of a batch that nobody can own any more */
};

struct transfer_question {
    uint8_t verb;
    uint8_t batch[16];
    uint64_t giver;     /* OFFER: who asks, but for a node that was removed, whose disk is at hand */
    uint32_t count;     /* OFFER */
    uint64_t bytes;     /* OFFER: about so much will come */
    uint8_t sha256[32]; /* OFFER */
    uint64_t
        applied; /* OFFER: index up to which the giver's state was applied when the batch left its queues */
    uint64_t id; /* PUT, HAS: as the taker has it */
    uint64_t offset;   /* PUT: of these bytes; 0 begins the message anew */
    bool last;         /* PUT: the message ends with them */
    struct span piece; /* PUT */
};
int transfer_question_encode(const struct transfer_question *q, struct buf *out);
int transfer_question_decode(struct span bytes, struct transfer_question *out); /* ERR_BAD */

enum transfer_answer_code {
    TRANSFER_YES = 1,
    TRANSFER_NOT_YET, /* SETTLED: it has inert copies */
    TRANSFER_REFUSED, /* not by this node, as it is now: words */
    TRANSFER_AGAIN,   /* the batch is not known (any more): from the offer on. PUT: the message from its start
                       */
    TRANSFER_OWNED,   /* it is the taker's already */
    TRANSFER_CANCELLED, /* the log says that it stays */
};
struct transfer_answer {
    uint8_t code;
    struct span words;
};
int transfer_answer_encode(const struct transfer_answer *a, struct buf *out);
int transfer_answer_decode(struct span bytes, struct transfer_answer *out); /* ERR_BAD */

/* ---- a message ------------------------------------------------------------------------------------------
 *
 * Sent as: u32 length of the head, the head, the content. The head: the envelope with the recipients that are
 * alive, then of each: held, delay_told, attempts, next_ms, reply. */

struct transfer_rcpt {
    bool held;
    uint8_t delay_told;
    uint16_t attempts;
    int64_t next_ms;
    struct span reply;
};
/* `rcpts` gives each recipient's state; those that are terminal are left out. The envelope's id becomes `id`,
 * and it is marked inert. ERR_LIMIT, -ENOMEM. */
int transfer_head_encode(const struct envelope *env, const struct spool_rcpt *rcpts, uint64_t id,
                         struct buf *out);
struct transfer_head {
    struct envelope_decoded envelope;
    struct transfer_rcpt *rcpts; /* as many as the envelope has */
};
/* A head comes in pieces: moves its bytes, the length first, from `bytes` to `gathered` (of TRANSFER_HEAD_MAX
 * at least). 1: it is whole, and what is left of `bytes` is content; 0: more must come; ERR_LIMIT, -ENOMEM.
 */
int transfer_head_gather(struct buf *gathered, struct span *bytes);
/* Without the length. ERR_BAD, -ENOMEM. Spans point into `bytes`; free with transfer_head_fini. */
int transfer_head_decode(struct span bytes, struct transfer_head *out);
void transfer_head_fini(struct transfer_head *h);
/* The same message, but for what the taker has it for. */
bool transfer_same(const struct envelope *a, const struct envelope *b);

/* ---- what is next ---------------------------------------------------------------------------------------
 */

enum transfer_verdict { TRANSFER_UNDECIDED, TRANSFER_VERDICT_OWNED, TRANSFER_VERDICT_CANCELLED };

/* A batch as its giver sees it. */
struct transfer_giving {
    enum transfer_verdict verdict; /* of the log */
    bool taker_present;            /* it is a member */
    bool unmarked;                 /* that it leaves is not known to be on disk here */
    bool sealed;                   /* the taker said that it has everything on disk */
    bool exposed;                  /* the taker may have something of it, or an OWN may be under way */
    bool cancel;                   /* an operator wants it back, or it was tried for long enough */
    bool recorded;                 /* the verdict was carried out here, durably */
    bool settled;                  /* the taker has nothing inert of it any more */
};
enum transfer_give_step {
    TRANSFER_GIVE_MARK,    /* have it put on disk that it leaves */
    TRANSFER_GIVE_SEND,
    TRANSFER_GIVE_OWN,     /* submit TRANSFER_OWN */
    TRANSFER_GIVE_CANCEL,  /* submit TRANSFER_CANCEL */
    TRANSFER_GIVE_KEEP,    /* nobody else knows of it: as if nothing had happened */
    TRANSFER_GIVE_MOVED,   /* record that it has moved */
    TRANSFER_GIVE_RESTORE, /* it stays: back into the queues */
    TRANSFER_GIVE_ASK,     /* the taker, whether it has settled */
    TRANSFER_GIVE_END,     /* submit TRANSFER_END, and forget it */
};
enum transfer_give_step transfer_give_next(const struct transfer_giving *g);

/* A batch as its taker sees it. */
struct transfer_taking {
    enum transfer_verdict verdict;
    uint64_t owner_index; /* of the state that says so */
    bool orphan;          /* not all of it came, and nobody is left who could send the rest */
    uint64_t published;   /* the index up to which this node's workers act on the state */
};
enum transfer_take_step { TRANSFER_TAKE_WAIT, TRANSFER_TAKE_ACTIVATE, TRANSFER_TAKE_DROP };
enum transfer_take_step transfer_take_next(const struct transfer_taking *t);

#endif
