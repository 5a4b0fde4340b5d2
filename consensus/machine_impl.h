/* Between the parts of the machine: sessions, quotas and freeze (session.c, quota*.c, freeze.c) on one side, what is
 * known by name (directory*.c) on the other. Nobody else includes it. All under the machine's lock, in apply.
 */
#ifndef CONSENSUS_MACHINE_IMPL_H
#define CONSENSUS_MACHINE_IMPL_H

#include "consensus/directory.h"
#include "consensus/machine.h"
#include "consensus/store.h"

#include <pthread.h>

struct directory;
struct sessions;
struct quotas;
struct freezes;

struct machine {
    struct machine_config config;
    pthread_mutex_t lock;
    struct store *store;
    uint64_t applied, now_ms;
    struct directory *directory;
    struct sessions *sessions;
    struct quotas *quotas;
    struct freezes *freezes;
    struct machine_effects *out; /* of the entry that is being applied */
    int failed;                  /* -ENOMEM while saying what changed */
    uint64_t snapshot_applied, snapshot_now_ms; /* at the mark */
    bool snapshot_begun;                        /* the head was written */
    struct buf snapshot_part;                   /* of one step: what grows without bound grows outside of the lock */
    struct buf snapshot_copies;                 /* of what changed meanwhile: likewise */
};

/* Where in the log a command is. Its id, index * 64 + place, names what it makes. */
struct machine_at {
    uint64_t index;
    uint32_t place; /* in its entry, from 0 */
    uint64_t id;
    uint64_t now_ms;
};

/* ---- for every part ------------------------------------------------------------------------------------ */

/* Says that something changed, in the effects of this entry. No memory: the apply fails as a whole. */
void machine_changed(struct machine *m, enum machine_change change, uint64_t id, struct span key);
/* Sets err and words (printf), returns err. */
int machine_refuse(struct machine_result *r, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Each part registers its record types (ids: sessions and quotas 1 to 15, freeze 16 to 19, directory 20 to 63) and
 * keeps no state but records and what can be rebuilt from them by its `_restored`, which runs after a restore. */
extern const struct store_type *const session_types[], *const quota_types[], *const freeze_types[],
    *const directory_types[];
extern const uint32_t session_ntypes, quota_ntypes, freeze_ntypes, directory_ntypes;

/* ---- what the directory offers ------------------------------------------------------------------------- */

struct directory *directory_new(struct machine *m);
void directory_free(struct directory *d);
int directory_restored(struct machine *m);
/* Commands ACCOUNT_SET to FEATURE_RAISE, TOKEN_REMOVE, TRANSFER_*, SUPPRESS_*, SEAL* and WARMUP_*. Result in r; nothing changed when r->err is
 * set. The return is 0 but for -ENOMEM, which is fatal. */
int directory_apply(struct machine *m, const struct machine_at *at, const struct command *cmd, struct machine_result *r);
/* What is due by cluster time: stale chunks of uploads, old tokens. Appends commands (origin 0). */
int directory_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n);
/* The policy in force: never NULL. */
const struct policy_compiled *directory_policy_compiled(const struct machine *m);
/* An override of a limit's count; false: none. */
bool directory_override(const struct machine *m, uint8_t scope, struct span name, struct span limit, uint64_t *count);
uint32_t directory_features(const struct machine *m);
/* A member that may have a session: joining, active or draining. */
bool directory_member_present(const struct machine *m, uint64_t node);
/* A node's current session changed (0: it has none). Addresses of a session that ended are released. */
void directory_session_current(struct machine *m, const struct machine_at *at, uint64_t node, uint64_t session);
void directory_session_ended(struct machine *m, const struct machine_at *at, uint64_t node, uint64_t session);
/* The node obeys the state up to this index, or (UINT64_MAX) uses nothing that it has not heard of in its present
 * process. */
void directory_session_obeys(struct machine *m, uint64_t node, uint64_t index);
/* For machine_totals. */
void directory_totals(const struct machine *m, struct machine_totals *out);
/* A line for the audit trail. */
int directory_audit(struct machine *m, const struct machine_at *at, const struct command_by *by, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- what sessions, quotas and freeze offer ------------------------------------------------------------ */

/* The member was removed: its session is no longer current, and is waited for. */
void session_member_removed(struct machine *m, const struct machine_at *at, uint64_t node);
/* The policy or an override changed. */
void quota_limits_changed(struct machine *m);

#endif
