/* The durable queue on disk: what it promises is G1 (docs/guarantees.md).
 *
 * Threads. One writer thread of the spool's own gathers what all workers append, writes it with one write and
 * one fdatasync, then answers. Compaction runs on a second thread. Every function here may be called from any
 * thread unless it says otherwise; one ingest or one reader belongs to one thread at a time. Answers (`done`)
 * run on the writer thread and must only pass the news on (inbox_answer, or the batch hook below).
 *
 * Failure. When a file sync fails the spool stops for good: everything waiting and everything later is
 * answered with the error, `on_failed` is called once, and the process is expected to stop accepting and to
 * exit; the next start verifies from disk. A failed write leaves its segment, cut where it was good, and is
 * tried once more in a new one; if that fails for want of room, new messages are refused (ERR_DISK_FULL) and
 * states wait for room, otherwise the spool stops too.
 */
#ifndef SPOOL_SPOOL_H
#define SPOOL_SPOOL_H

#include "base/inbox.h"
#include "base/list.h"
#include "base/span.h"
#include "spool/disk.h"
#include "spool/envelope.h"

struct spool;

/* Where one recipient stands. `reply` is the last reply or reason: "451 4.2.1 text", at most 512 bytes. */
struct spool_rcpt {
    uint8_t state;      /* enum rcpt_state */
    uint8_t delay_told; /* a delay notice was sent */
    uint16_t attempts;
    int64_t next_ms;    /* wall clock: not before; 0: at once */
    int64_t changed_ms; /* wall clock: when this state was recorded; 0: at arrival */
    struct span reply;
};

/* A change of one recipient. */
struct spool_rcpt_update {
    uint32_t rcpt; /* index */
    struct spool_rcpt to;
};

struct spool_config {
    const char *dir;
    const struct disk *disk; /* NULL: the real one */
    uint64_t segment_bytes;  /* 0: 64 MiB */
    uint64_t min_free_bytes; /* new messages are refused below this; room for states is kept. 0: 256 MiB */
    uint64_t max_messages;   /* 0: 10,000,000 */
    uint32_t gather_max_us;  /* longest wait of a busy writer for more to sync together; 0: 2000 */
    uint32_t id_node;        /* 0 to 255: goes into ids, so that nodes never give the same one */
    void (*on_failed)(void *ctx, int err); /* on the writer thread, once */
    void *ctx;
    /* Terminal states, for the history (below); set here, spool_open reports those that the segments still
     * hold and no segment is removed before spool_history_done covers it. NULL: nobody keeps a history. */
    void (*on_ended)(void *ctx, uint64_t id, const struct envelope *env, const struct spool_rcpt_update *u,
                     uint32_t n, uint64_t seq);
    void *ended_ctx;
};

/* ---- start and stop ------------------------------------------------------------------------------------ */

/* A message found alive at start; all pointers are valid during the call only. A return other than 0 stops
 * the opening with that error. */
typedef int spool_found_fn(void *ctx, const struct envelope *env, const struct spool_rcpt *rcpts);

/* Opens or makes the spool: recovers, calls `found` for each living message on the calling thread (in no
 * order), starts the threads. The log says what was recovered or found damaged. */
int spool_open(const struct spool_config *config, spool_found_fn *found, void *ctx, struct spool **out);

/* As spool_config.id_node, when it becomes known later: for ids from now on. */
void spool_set_id_node(struct spool *s, uint32_t id_node);

/* Writes and syncs what is waiting, seals, stops the threads. No ingest or reader may be open. */
void spool_close(struct spool *s);

/* ---- requests and answers ------------------------------------------------------------------------------ */

/* A request that is answered from the writer thread. Embed it; it must live until answered. */
struct spool_op {
    struct inbox_msg msg; /* free for the receiver's use: lets `done` be one inbox_answer */
    int status;           /* 0 or error, set before done */
    uint64_t id;          /* the message's id, set before done */
    int64_t commit_ms;    /* wall clock when the record was handed to the writer */
    void (*done)(struct spool_op *op);
    struct inbox *inbox; /* if not NULL, `done` is not called: the op's msg is answered into this inbox, those
                            of one sync together */
    struct list link;    /* the spool's own */
};

/* ---- a message arrives --------------------------------------------------------------------------------- */

struct spool_ingest;

/* ERR_DISK_FULL, ERR_LIMIT (too many messages), or the error that stopped the spool. */
int spool_ingest_open(struct spool *s, struct spool_ingest **out);

/* The same for a message that another node gives away, under the id that spool_id_moved gave. Its envelope has
 * ENVELOPE_INERT. ERR_EXISTS: it is here already. */
int spool_ingest_open_moved(struct spool *s, uint64_t id, struct spool_ingest **out);

/* The living message that people call so, whatever its hop; 0: none. */
uint64_t spool_find(struct spool *s, uint64_t id);

/* The id that the message will have; it goes into Received. */
uint64_t spool_ingest_id(const struct spool_ingest *in);

/* Bytes of content that were added so far. */
uint64_t spool_ingest_bytes(const struct spool_ingest *in);

/* Adds content. Memory does not grow with it: full blocks are compressed and handed to the writer. Returns 0;
 * or 1 when it took the bytes but wants no more until `room` (given below) is called; or an error, after
 * which only abort is allowed. */
int spool_ingest_write(struct spool_ingest *in, const void *p, size_t n);

/* Puts bytes before all the content, which was written to its end: a field that tells of what follows it, such as a
 * signature. Once, before the commit; after an error only abort is allowed. */
#define SPOOL_FRONT_MAX 65536u
int spool_ingest_front(struct spool_ingest *in, const void *p, size_t n);

/* Called on the writer thread when an ingest that answered 1 takes bytes again, or failed: it must only pass
 * the news on. Set before the first write. */
void spool_ingest_on_room(struct spool_ingest *in, void (*room)(void *ctx), void *ctx);

/* Ends the message: e->id, e->size are filled in by the spool (the caller's structure is changed). Takes `in`
 * in any case. Answered when the record is on disk, with 0, or with an error: then the message is not in the spool,
 * except that after a failed sync it may turn up at the next start (docs/spool-format.md): at worst a duplicate. */
void spool_ingest_commit(struct spool_ingest *in, struct envelope *e, struct spool_op *op);

/* Takes `in`. */
void spool_ingest_abort(struct spool_ingest *in);

/* ---- its life ------------------------------------------------------------------------------------------ */

/* Records new states. Terminal states are monotone: an update of a recipient that is terminal already changes
 * nothing. The last terminal state of a message ends it. Answered when on disk; `op` NULL: no answer wanted.
 * The arguments are copied. ERR_NOT_FOUND when no such message is alive (not answered then). */
int spool_update(struct spool *s, uint64_t id, const struct spool_rcpt_update *u, uint32_t n,
                 struct spool_op *op);

/* Terminal states that were recorded, for the history: spool_config.on_ended. `u` is valid during the call
 * only, and so is `env`: at spool_open the message's envelope (NULL only when the history had the ending
 * before, or its commit is damaged), later NULL, since whoever ended it knows it. Called on the writer thread
 * after the sync (at spool_open on the opening thread, for every ending that the segments still hold, since
 * the history may have missed it: so the same one can come again after a restart). Calls come in the order of
 * seq, one for each message that the record ends recipients of. Without threads of its own the callee must
 * only pass the news on. */
typedef void spool_ended_fn(void *ctx, uint64_t id, const struct envelope *env,
                            const struct spool_rcpt_update *u, uint32_t n, uint64_t seq);
/* The same for a spool that is open already: only of what ends from now on. */
void spool_on_ended(struct spool *s, spool_ended_fn *fn, void *ctx);
/* Everything up to this seq is durable in the history. */
void spool_history_done(struct spool *s, uint64_t seq);

/* Waits until everything that was appended before is on disk. 0, or the error that stopped the spool. Not on the
 * spool's own threads, nor on a loop that must not stop. */
int spool_flush(struct spool *s);

/* ---- reading ------------------------------------------------------------------------------------------- */

/* The envelope and present states of a living message; free with spool_info_free. Reads the disk unless the
 * page cache has it. */
struct spool_info {
    struct envelope env;
    struct spool_rcpt *rcpts; /* env.nrcpts of them */
    /* private memory follows */
};
int spool_info(struct spool *s, uint64_t id, struct spool_info **out);
void spool_info_free(struct spool_info *i);

/* The ids of all living messages, in no order, also of those that are between two nodes. What comes, goes or
 * gets another hop meanwhile may be missing. The array is to be freed. -ENOMEM. */
int spool_living(struct spool *s, uint64_t **ids, size_t *n);

struct spool_reader;
/* Opens the content of a living message. Compaction cannot take it away while the reader is open. */
int spool_reader_open(struct spool *s, uint64_t id, struct spool_reader **out);
/* The next block of content (at most 64 KiB), valid until the next call; *n 0 at the end. ERR_CORRUPT. */
int spool_reader_next(struct spool_reader *r, const char **p, size_t *n);
void spool_reader_close(struct spool_reader *r);

/* ---- looking at it ------------------------------------------------------------------------------------- */

struct spool_stats {
    uint64_t messages, segments, bytes, live_bytes, free_bytes;
    uint64_t appended_bytes, syncs, committed, updates, compacted_segments, corrupt_records;
    uint64_t held_by_history; /* segments that wait for spool_history_done */
    int failed;               /* the error that stopped it, or 0 */
};
void spool_stats(struct spool *s, struct spool_stats *out);

/* Reads everything in a spool that is not open by a process, changes nothing; calls `say` per finding.
 * Returns the number of damaged records, or an error. */
typedef void spool_verify_say_fn(void *ctx, const char *line);
struct spool_verify_result {
    uint64_t segments, messages, records, damaged, torn_tails;
};
int spool_verify(const char *dir, const struct disk *disk, spool_verify_say_fn *say, void *ctx,
                 struct spool_verify_result *out);

#endif
