/* What the spool's files share. The fields say under what they stand: "lock" (s->lock, held very briefly),
 * "writer" (the writer thread only), "once" (set at open). Not for users of the spool.
 */
#ifndef SPOOL_INTERNAL_H
#define SPOOL_INTERNAL_H

#include "base/map.h"
#include "spool/format.h"
#include "spool/replies.h"
#include "spool/spool.h"

#include <pthread.h>
#include <stdatomic.h>

#define SPOOL_AREA "spool"
#define SPOOL_PATH_MAX 1024
#define SPOOL_SHARDS 64        /* of the index, so that growing one stalls nobody for long */
#define SPOOL_SEGMENT_MIN 4096 /* tests use tiny ones */
#define SPOOL_SEGMENT_MAX (1u << 30)
#define SPOOL_FDS_MAX 256        /* idle descriptors of segments kept open */
#define SPOOL_BATCH_RECORDS 1000 /* below IOV_MAX with the batch's own record */
#define SPOOL_BATCH_BYTES (8u << 20)
#define SPOOL_UNSYNCED_MAX (8u << 20) /* bytes of chunks written before a sync that nobody waits for */
#define SPOOL_QUEUE_BYTES_MAX                                                                                \
    (64u << 20) /* waiting for the writer, of all messages; past it writers of chunks wait */
#define SPOOL_INGEST_QUEUE_MAX (512u << 10) /* the same of one message */
#define SPOOL_GATHER_WAITERS 64             /* enough for one sync */
#define SPOOL_LAZY_BYTES (256u << 10)       /* so many that nobody waits for are written at once */
#define SPOOL_BUSY_NS 20000000              /* a sync with several waiters this short ago means load */
#define SPOOL_FULL_RETRY_NS 200000000       /* a full disk is tried again after this */
#define SPOOL_LAZY_NS 4000000     /* a record that nobody waits for is on its way to disk after this */
#define SPOOL_ID_RESERVE_MS 10000 /* ids this far ahead count as given when a batch is written */
#define SPOOL_ID_COUNTER_BITS 8
#define SPOOL_ID_COUNTER_SHIFT (SPOOL_ID_HOP_SHIFT + SPOOL_ID_HOP_BITS)
#define SPOOL_ID_MS_SHIFT (SPOOL_ID_COUNTER_SHIFT + SPOOL_ID_COUNTER_BITS)

/* ---- messages in memory -------------------------------------------------------------------------------- */

struct msg_rcpt {
    int64_t next_ms;
    int64_t changed_ms;
    uint32_t reply; /* reference into replies */
    uint16_t attempts;
    uint8_t state;
    uint8_t delay_told;
};

/* Bytes of a message's chunks, by segment. */
struct extents {
    uint32_t n;
    struct {
        uint32_t segment;
        uint32_t bytes;
    } e[];
};

enum msg_flag {
    MSG_PENDING = 1,   /* its commit is not on disk: invisible */
    MSG_ENDED = 2,     /* out of the index; kept until its tombstone is on disk */
    MSG_STUB = 4,      /* at recovery: states were read, a commit not (yet) */
    MSG_MOVING = 8,    /* a copy of it is queued */
    MSG_SNAPPING = 16, /* a copy of its states is queued */
};

struct msg {
    uint64_t id;
    struct extents *chunks; /* NULL: it is all in its commit record */
    uint32_t segment;       /* of its commit record; 0: none yet */
    uint32_t offset;
    uint32_t len; /* payload of the commit record */
    uint32_t nrcpts;
    uint32_t state_segment; /* newest STATE, or 0 */
    uint32_t full_segment;  /* no state in segments before this one is needed; 0: none says so */
    uint32_t state_bytes;   /* what state_segment counts for it */
    uint32_t placed;        /* writer: segment of the newest copy of the commit that was placed */
    uint32_t flags;
    struct msg_rcpt rcpts[];
};

struct msg *msg_new(uint64_t id, uint32_t nrcpts, uint8_t state);
void msg_free(struct spool *s, struct msg *m); /* lock: lets go of its replies */

/* All under lock. */
int index_add(struct spool *s, struct msg *m);
void index_remove(struct spool *s, struct msg *m);
struct msg *index_find(struct spool *s, uint64_t id);   /* whatever its flags */
struct msg *index_living(struct spool *s, uint64_t id); /* neither pending nor a stub */
struct msg *index_next(struct spool *s, uint32_t *shard, size_t *at);
/* Applies one update; false when the recipient was terminal already or is none. */
bool msg_apply(struct spool *s, struct msg *m, const struct spool_rcpt_update *u);
bool msg_all_terminal(const struct msg *m);
void msg_rcpt_export(const struct spool *s, const struct msg_rcpt *r, char scratch[64],
                     struct spool_rcpt *out);

/* ---- segments ------------------------------------------------------------------------------------------ */

struct tomb_count {
    uint32_t target;
    uint32_t bytes;
};

struct segment {
    uint32_t number;
    uint32_t refs; /* lock: readers and others that use fd */
    uint32_t pins; /* lock: unfinished messages with chunks here */
    int fd;        /* lock; -1: not open */
    uint64_t salt;
    uint64_t size;   /* end of what is good (active: writer) */
    uint64_t synced; /* writer; at open of an earlier one: what was on disk for certain */
    uint64_t live;   /* lock: bytes of commits and chunks of living messages */
    uint64_t states; /* lock: bytes of states that living messages need */
    uint64_t
        ended_seq;    /* lock: newest ending in it, or of a message whose commit is in it; for the history */
    uint32_t records; /* written by this process */
    bool sealed;      /* lock */
    bool summarised;  /* lock */
    bool earlier;     /* of an earlier process and without a seal: its tail is rewritten at open */
    bool endings;     /* at open: it holds some */
    bool gone;        /* lock: out of the table, freed with the last reference */
    bool stale;       /* lock: may hold commits that were copied: goes before any other */
    bool damaged;     /* lock: could not be copied whole; stays */
    struct tomb_count *tombs; /* lock: tombstones in it by the segment whose end they wait for */
    uint32_t ntombs, tombs_cap;
};

void segment_path(const struct spool *s, uint32_t number, const char *suffix, char out[SPOOL_PATH_MAX]);
struct segment *segment_new(uint32_t number);
int segments_add(struct spool *s, struct segment *seg);          /* lock; by number */
struct segment *segments_find(struct spool *s, uint32_t number); /* lock */
void segments_remove(struct spool *s, struct segment *seg);      /* lock; frees it when unused */
/* A descriptor to read with, until segment_rele; or an error. Under lock. */
int segment_hold(struct spool *s, struct segment *seg);
void segment_rele(struct spool *s, struct segment *seg); /* lock */
int segment_tomb_add(struct segment *seg, uint32_t target, uint32_t bytes);
/* Whether a tombstone in `seg` still has something to keep dead: the segment that it names exists, or one
 * that may hold an older copy of the commit does (a stale one; it stays when damage keeps it from being
 * removed). Lock. */
bool tombstone_needed(struct spool *s, const struct segment *seg, uint32_t target);
uint64_t segment_needed(struct spool *s,
                        const struct segment *seg); /* lock: bytes that compaction would copy */
/* Writer: makes the next segment, its header and its directory entry durable. */
int segment_create(struct spool *s);
/* Writer: ends the active segment with a seal. Its data must be on disk. `last`: the process gives no more
 * ids. */
int segment_seal(struct spool *s, bool last);
/* Reads a record and checks both CRCs; the fd must be held. The payload lands at out (len bytes), the head in
 * the RECORD_HEAD_BYTES before it, which must be there. */
int segment_read(const struct spool *s, const struct segment *seg, int fd, uint32_t offset, uint8_t type,
                 uint64_t id, uint32_t len, uint8_t *out);

/* ---- the writer's queue -------------------------------------------------------------------------------- */

/* A record on its way to disk, or (type 0) a step that only has to wait its turn. */
enum step {
    STEP_NONE,    /* a record */
    STEP_BARRIER, /* answered when all before it is on disk */
    STEP_FLUSH,   /* the same, but refused when the disk is full */
    STEP_RESERVE, /* writes a batch with nothing in it: its id floor is news */
    STEP_ABORT,   /* an ingest ends without a message; a refused commit is answered with it */
};

struct rec {
    struct list link;
    struct spool_op *op;     /* answered when on disk */
    struct spool_ingest *in; /* chunk, commit, abort */
    struct chunk_loc *loc;   /* chunk: to be filled in by the writer */
    struct msg *msg;         /* commit, state, tombstone */
    struct extents *chunks;  /* commit, writer: becomes msg->chunks */
    int status;              /* why it was not written */
    uint32_t bytes;          /* in the segment: head, payload, padding; 0: a step */
    uint32_t payload;        /* length */
    uint32_t checked;        /* bytes of the payload that part_crc covers; the writer fills in the rest */
    uint32_t part_crc;
    uint32_t offset; /* writer */
    uint64_t id;
    uint8_t type;
    uint8_t flags;
    uint8_t step;
    bool closes; /* a commit whose envelope closes recipients of others */
    bool ended;  /* has terminal states to report */
    uint8_t data[];
};

struct rec *rec_new(uint8_t type, uint8_t flags, uint64_t id, uint32_t payload);
struct rec *rec_step(enum step step);
static inline uint8_t *rec_payload(struct rec *r)
{
    return r->data + RECORD_HEAD_BYTES;
}
/* The first n bytes of the payload are final. */
void rec_checked(struct rec *r, uint32_t n);
/* Makes the payload shorter than it was allocated. */
void rec_shorten(struct rec *r, uint32_t payload);

/* The floor to write down now: past every id given, and some way ahead, so that an id that no record mentions
 * is not given again either. Takes the lock. */
uint64_t id_floor_take(struct spool *s);

/* Under lock; takes the record. Wakes the writer if need be. */
void queue_push(struct spool *s, struct rec *r);

void queue_push_front(struct spool *s, struct rec *r);  /* writer: what it took and could not write */
void queue_taken(struct spool *s, const struct rec *r); /* writer: it left the queue */
/* Under load: enough is here that waiting for more gains nothing. */
bool queue_gathered(const struct spool *s);

/* The writer's second half: makes a batch's records known in memory, reports endings, answers. Records with a
 * status were not written. Frees them. */
void batch_finish(struct spool *s, struct list *batch);

static inline uint64_t rec_seq(uint32_t segment, uint32_t offset)
{
    return (uint64_t)segment << 32 | offset;
}

/* What memory keeps account of when a record is on disk; the same for the writer and for recovery. Under
 * lock. */
void account_commit(struct spool *s, struct msg *m, uint32_t segment, uint32_t offset, uint32_t len,
                    struct extents *chunks);
void account_gone(struct spool *s, struct msg *m);  /* its commit and chunks are not needed any more */
void account_ended(struct spool *s, struct msg *m); /* nor its states */
void account_state(struct spool *s, struct msg *m, struct segment *seg, uint32_t bytes, bool full);
#define ACCOUNT_CLOSE_BYTES 64u /* what a close counts for as state of the message that it closes */
/* Takes a message with only terminal recipients out of the index and queues its tombstone. Lock. */
int tombstone_queue(struct spool *s, struct msg *m);

/* ---- a message on its way in --------------------------------------------------------------------------- */

struct chunk_block {
    struct chunk_block *next;
    uint32_t n;
    struct chunk_loc loc[63];
};

struct spool_ingest {
    struct spool *s;
    uint64_t id;
    uint8_t *raw;
    uint32_t raw_len, raw_cap;
    uint32_t nchunks;
    uint32_t content_crc;
    uint64_t size;
    struct chunk_block *first, *last;
    uint32_t queued;                /* lock: bytes with the writer */
    bool want_room;                 /* lock */
    struct spool_ingest *next_room; /* writer */
    int err;                        /* lock */
    uint32_t *pins;                 /* writer: segments pinned */
    uint32_t npins, pins_cap;
    void (*room)(void *ctx); /* room_lock */
    void *room_ctx;
};

struct spool_ingest *ingest_new(struct spool *s, uint64_t id);
void ingest_free(struct spool_ingest *in);
/* Adds a ready chunk payload (prefix and data) as a record. Under no lock. */
int ingest_add_chunk(struct spool_ingest *in, struct rec *r, uint32_t raw);
/* Writer, lock: lets go of the segments. */
void ingest_unpin(struct spool *s, struct spool_ingest *in);

/* ---- the spool ----------------------------------------------------------------------------------------- */

enum writer_sleep { SLEEP_NONE, SLEEP_IDLE, SLEEP_LAZY, SLEEP_GATHER };

struct spool {
    struct spool_config config; /* once */
    char dir[SPOOL_PATH_MAX - 64];
    const struct disk *disk;
    int dir_lock;
    bool threads;

    pthread_mutex_t lock;
    pthread_mutex_t room_lock; /* taken with no other, except an inbox's own */
    pthread_cond_t writer_cond;
    pthread_cond_t background_cond;
    pthread_cond_t flushed_cond;
    pthread_t writer, background;

    /* lock */
    struct map index[SPOOL_SHARDS];
    uint64_t messages;
    struct replies replies;
    struct segment **segments; /* by number */
    uint32_t nsegments, segments_cap;
    uint32_t open_fds;
    uint32_t next_segment;
    uint64_t last_id;
    uint64_t id_reserved; /* ids below it are on disk as given */
    bool id_reserving;    /* a batch that says more is queued */
    uint32_t open_ingests;
    struct list queue;
    uint64_t queue_bytes;
    uint32_t queue_waiters;
    uint32_t busy_waiters; /* how many the last sync answered, if it was not long ago */
    int64_t lazy_since_ns;
    enum writer_sleep sleep;
    bool stopping;
    _Atomic bool background_stop;
    bool rotate; /* seal the active segment at the next step */
    uint64_t history_seq;
    uint64_t ended_seq; /* the newest ending */
    bool history;
    spool_ended_fn *ended_fn;
    void *ended_ctx;
    struct spool_stats stats;
    _Atomic int failed;
    _Atomic int64_t free_bytes;

    /* writer; `active` also under lock where others look */
    struct segment *active;
    struct list batch;
    uint64_t batch_number;
    uint64_t unsynced;
    int64_t last_sync_ns;
    bool full;             /* the last attempt found no room */
    int64_t full_until_ns; /* the disk was full: not tried again before */
};

void spool_fail(struct spool *s, int err, const char *what);
int64_t spool_now_ns(void);
void spool_refresh_free(struct spool *s);

/* One turn of the writer without waiting: takes what is queued (as much as one batch holds), writes, syncs,
 * answers. Returns whether there was anything to do. The thread's loop calls it; so do tests and spool_open.
 */
bool spool_writer_step(struct spool *s);
void *spool_writer_main(void *arg);

/* One piece of background work: a summary, or the compaction of one segment. Returns whether it did any. */
bool spool_background_step(struct spool *s);
void *spool_background_main(void *arg);

/* spool_open with the choice of running no threads: then nothing happens but in the two step functions. */
int spool_open_with(const struct spool_config *config, bool threads, spool_found_fn *found, void *ctx,
                    struct spool **out);

/* Copies whatever is needed of a segment, of its records at `from` and after it, to the active one; it may be
 * removed once spool_flush returned 0 (and from was 0). */
enum copy_what { COPY_COMMITS = 1, COPY_STATES = 2, COPY_ALL = 3 };
int compact_copy(struct spool *s, struct segment *seg, enum copy_what what, uint64_t from);

/* Everything about a message's recipients that is not as at arrival, as a record to queue; NULL: no memory.
 * Lock. */
struct rec *state_snapshot(struct spool *s, struct msg *m);

/* Writes the summary of a sealed segment. */
int summary_write(struct spool *s, struct segment *seg);

/* An empty one, and its end; spool_verify uses them without opening. */
int spool_alloc(const struct spool_config *config, struct spool **out);
void spool_free(struct spool *s);

int recover(struct spool *s, spool_found_fn *found, void *ctx);

#endif
