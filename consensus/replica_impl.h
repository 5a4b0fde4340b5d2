/* Inside the shell around libraft: what its files share. See replica.h for what it offers; the faults of
 * libraft 0.22.1 that it works around are told where it does. Everything on the cluster thread's loop.
 *
 *     replica.c           open, close, one turn of the loop, who leads, failing
 *     replica_io.c        between libraft and its disk and network: fences, watches, bounds
 *     replica_install.c   snapshots between nodes: one at a time, and held back while one is being taken
 *     replica_fsm.c       applying entries; taking and restoring snapshots
 *     replica_encode.c    the state as bytes, slice by slice
 *     replica_copy.c      a copy of the state for somebody else
 *     replica_propose.c   gathering commands into entries, cluster time, barriers
 *     replica_member.c    changes of the cluster's members, transfer of leadership
 *     replica_setup.c     a directory's first state, recovery; the translation of errors
 *     replica_stats.c     figures
 *
 * libraft is never entered from inside one of its own callbacks: what callers ask for is put down, and done
 * in replica_turn, which runs twice in each turn of the loop, with nothing of libraft on the stack.
 */
#ifndef CONSENSUS_REPLICA_IMPL_H
#define CONSENSUS_REPLICA_IMPL_H

#include "base/buf.h"
#include "base/list.h"
#include "consensus/replica.h"

#include <raft.h>
#include <raft/uv.h>

#define REPLICA_LOG "raft"
#define REPLICA_TICK_MS 20
#define REPLICA_IN_FLIGHT_MAX 64
#define REPLICA_BARRIERS_MAX 1024
#define REPLICA_SEGMENT_BYTES (1u << 20)
/* Proposals are refused while a majority has less than this prepared; see raft_set_capacity_threshold. */
#define REPLICA_CAPACITY_KIB 128
#define REPLICA_DISK_STUCK_MS 10000
#define REPLICA_WATCH_MAX_MS 100 /* of one tick: the rest of it this process stood still, not the disk */
#define REPLICA_TRANSFER_MS 1000
#define REPLICA_SNAPSHOT_LOG_BYTES (32ull << 20) /* of log between snapshots */
#define REPLICA_TRAILING_BYTES (24ull << 20)
#define REPLICA_TRAILING_ENTRIES 32768u
#define REPLICA_ENTRY_OVERHEAD 32 /* of an entry on disk */
#define REPLICA_SNAPSHOT_RETRY_MS 5000
#define REPLICA_SNAPSHOT_BYTES_MAX 0x7ff00000ull /* libraft counts a snapshot's bytes in an int */
#define REPLICA_SNAPSHOT_CHUNK (4u << 20)
#define REPLICA_GETS_MAX 16
/* Queued for one peer: over it, messages are dropped as if the network had lost them. */
#define REPLICA_PEER_MESSAGES_MAX 1024
#define REPLICA_PEER_BYTES_MAX (32ull << 20)
#define REPLICA_WORDS_MAX 320

/* For tests: what goes wrong from now on. */
enum replica_fault {
    REPLICA_FAULT_NONE,
    REPLICA_FAULT_APPEND_STUCK, /* log writes never end */
    REPLICA_FAULT_APPEND_ERROR, /* log writes fail */
    REPLICA_FAULT_APPEND_FULL,  /* no segment can be prepared */
    REPLICA_FAULT_VOTE,         /* term and vote cannot be written */
    REPLICA_FAULT_SNAPSHOT,     /* a snapshot cannot be written */
    REPLICA_FAULT_DEAF,         /* the network: nothing arrives */
};

struct replica_peer {
    uint64_t id; /* 0: free */
    int64_t heard_ms;
    uint32_t pending; /* messages handed to libuv, not yet in the kernel */
    uint64_t pending_bytes;
    uint64_t dropped;
    int64_t warned_ms;
    int64_t installing_ms; /* since when a snapshot is on its way into the kernel; 0: none is */
    int64_t install_ms;    /* when the last snapshot for it was sent whole; 0: never, or it came to nothing */
    /* What the last AppendEntries told it: `last`, `last_term` of the log, and how much is committed. */
    struct {
        unsigned char version;
        raft_term term; /* of the leader that sent it; 0: none did */
        raft_index last;
        raft_term last_term;
        raft_index committed;
    } told;
    raft_index acked; /* it said that it has the log up to here */
};

struct replica_flight { /* an entry that was proposed */
    struct raft_apply req;
    struct replica *r;
    struct list link;
};

enum replica_op_kind {
    REPLICA_OP_NONE,
    REPLICA_OP_ADD,
    REPLICA_OP_ASSIGN,
    REPLICA_OP_REMOVE,
    REPLICA_OP_TRANSFER
};
struct replica_op {
    enum replica_op_kind kind;
    bool started;
    uint64_t id;
    enum replica_vote vote;
    char address[128];
    replica_cb *cb;
    void *ctx;
    struct raft_change change;
    struct raft_transfer transfer;
};

enum replica_closing {
    REPLICA_OPEN,
    REPLICA_CLOSE_ASKED,
    REPLICA_CLOSE_TRANSFER,
    REPLICA_CLOSE_ENCODE,
    REPLICA_CLOSE_RAFT,
    REPLICA_CLOSED
};

struct replica_encoding;
/* Called once, at the end or when it is cancelled: 0, ERR_CLOSED, ERR_LIMIT, -ENOMEM. What it takes of `e` it
 * replaces by NULL; the rest is freed after it. */
typedef void replica_encoded_cb(struct replica *r, int err, struct replica_encoding *e);

/* The state that is being encoded: one at a time. */
struct replica_encoding {
    bool active;
    replica_encoded_cb *done;
    size_t chunk; /* bytes of a buffer, about; 0: all in one */
    struct buf part;
    struct raft_buffer *bufs; /* what is full; each of malloc */
    unsigned n, cap;
    uint64_t bytes;
    uint32_t crc; /* CRC-32C of all */
    uint64_t since_bytes, seen_bytes; /* of log, when it was begun; at the last slice */
};

struct replica {
    struct raft raft;
    struct raft_io io;   /* libraft's, with our functions in place of its own */
    struct raft_io real; /* its own */
    struct raft_fsm fsm;
    struct raft_tracer tracer;
    struct replica_config config;
    char *dir, *address;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t timer, slice;
    unsigned handles; /* of the four, open */
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    bool started, in_turn;

    /* failing */
    int failed;  /* an err code, once and for all */
    bool fenced; /* nothing goes to disk or network any more */
    bool reported;
    int64_t failed_ms;
    char words[REPLICA_WORDS_MAX];
    enum replica_fault fault;
    int64_t disk_stuck_ms;
    /* The watch's time: it goes on with each tick, at most REPLICA_WATCH_MAX_MS. */
    int64_t watch_ms, watched_ms;

    /* closing */
    enum replica_closing closing;
    int64_t closing_ms;
    void (*closed)(void *ctx);
    void *closed_ctx;
    struct raft_transfer transfer; /* before a close or a failure; else op.transfer */
    bool transfer_asked;

    /* role */
    enum replica_role role;
    uint64_t leader;
    raft_term role_term; /* of both */
    bool ready;
    raft_term ready_term, lead_term;
    bool lead_pending, lead_refused;
    struct raft_barrier lead;
    uint64_t elections;
    uint64_t base_cluster_ms, last_ms;
    int64_t base_boot_ms;

    /* proposals */
    struct list gathered; /* struct entry of replica_propose.c */
    uint32_t ngathered;
    struct buf entry;
    struct replica_flight flights[REPLICA_IN_FLIGHT_MAX];
    struct list idle;
    uint32_t in_flight;
    uint64_t entries, commands, refused;
    struct list barriers; /* struct waiter of replica_propose.c: not yet started */
    uint32_t nbarriers;   /* all */
    struct replica_op op;

    /* disk */
    struct list appends; /* struct append of replica_io.c, oldest first */
    int64_t low_ms;      /* since when there is too little prepared; 0: there is enough */

    /* applying */
    struct machine_effects effects;
    uint64_t since_bytes; /* of log since the last snapshot was begun */
#define REPLICA_BLOCK 256u
#define REPLICA_BLOCKS (REPLICA_TRAILING_ENTRIES / REPLICA_BLOCK + 1)
    uint64_t block_bytes[REPLICA_BLOCKS]; /* of the last entries, by blocks of them */
    uint64_t block, known_from;           /* current block; first index that is counted */

    /* taking and installing snapshots */
    uint32_t trailing_max; /* entries; tests lower it */
    bool taking;           /* from fsm.snapshot to fsm.snapshot_finalize */
    int64_t take_retry_ms;
    struct replica_encoding encoding;
    struct raft_buffer *spent; /* what was encoded and is to be freed */
    unsigned nspent;
    bool copying; /* for somebody else: replica_copy.c */
    replica_copy_cb *copy_cb;
    void *copy_ctx;
    uint64_t take_index, take_bytes;
    uint64_t take_log; /* since_bytes, when it was begun */
    unsigned take_trailing;
    struct raft_snapshot *take_into; /* libraft's; lives until the snapshot is finalized */
    struct {
        bool active, take;
        struct raft_io_snapshot_put req;
        struct raft_io_snapshot_put *theirs;
        raft_io_snapshot_put_cb cb;
        int64_t since_ms;
    } put;
    struct raft_message *held; /* an InstallSnapshot that came meanwhile */
    uint64_t installs_held;
    uint64_t taken, installed, snapshot_index, snapshot_bytes;

    /* sending them */
    struct list gets; /* struct get of replica_install.c, not started */
    uint32_t ngets;
    bool get_active;
    uint64_t get_number;
    raft_term get_term; /* of the snapshot that was loaded last */
    int64_t get_ms;
    int64_t install_timeout_ms;

    struct replica_peer peers[REPLICA_SERVERS_MAX];
    uint64_t log_bytes, snapshot_disk_bytes;
    int64_t measured_ms;
};

#define REPLICA_OF_IO(p) ((struct replica *)((char *)(p)-offsetof(struct replica, io)))

/* replica.c */
void replica_turn(struct replica *r);
/* Ends this replica's part in the cluster; the first one counts. `step_down`: the disk is bad but what is in
 * memory is good, so a leader may hand over first. Safe inside libraft's callbacks. */
void replica_fail(struct replica *r, int err, bool step_down, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
int64_t replica_mono_ms(void);

/* replica_setup.c */
int replica_err(int raft_err);

/* replica_io.c */
void replica_io_wrap(struct replica *r);
void replica_io_watch(struct replica *r);
void replica_io_cancel(struct replica *r);
struct replica_peer *replica_peer(struct replica *r, uint64_t id);
void replica_receive(struct replica *r, struct raft_message *msg);
/* The leader's followers hear how much is committed. */
void replica_io_commit(struct replica *r);

/* replica_install.c */
bool replica_install_hold(struct replica *r, struct raft_message *msg);
void replica_install_release(struct replica *r);
void replica_install_drop(struct replica *r);
void replica_message_free(struct raft_message *msg);
int replica_install_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb);
/* May this InstallSnapshot be sent now? */
bool replica_install_may_send(struct replica *r, const struct raft_message *msg);
void replica_install_sent(struct replica *r, uint64_t id, uint64_t number, int status);
void replica_install_watch(struct replica *r);
void replica_install_cancel(struct replica *r);

/* replica_fsm.c */
/* The end of a snapshot on disk, after so many bytes of content. */
int replica_trailer_put(struct buf *b, uint64_t content_bytes, uint32_t crc);
uint32_t replica_crc(const void *p, size_t n);
void replica_fsm_init(struct replica *r);
void replica_fsm_encode(struct replica *r, unsigned trailing, const struct raft_snapshot *snapshot);

/* replica_encode.c */
/* After machine_snapshot_begin. */
void replica_encode(struct replica *r, size_t chunk, replica_encoded_cb *done);
void replica_encode_cancel(struct replica *r);
/* Adds what comes after the content on disk. 0, -ENOMEM. */
int replica_encoding_trailer(struct replica_encoding *e);
/* Takes them. */
void replica_bufs_discard(struct replica *r, struct raft_buffer *bufs, unsigned n);

/* replica_propose.c */
void replica_propose_init(struct replica *r);
void replica_propose_flush(struct replica *r);
void replica_propose_drop(struct replica *r);
void replica_propose_fini(struct replica *r);
/* Starts the barrier after which a new leader is ready. */
void replica_lead(struct replica *r);
void replica_barrier_flush(struct replica *r);
void replica_barrier_drop(struct replica *r, int err);

/* replica_member.c */
void replica_member_start(struct replica *r);
void replica_member_drop(struct replica *r, int err);

#endif
