/* A founded machine and short ways to give it commands: each in an entry of its own, at the fixture's cluster
 * time.
 */
#ifndef TEST_MACHINE_FIXTURE_H
#define TEST_MACHINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "consensus/directory.h"
#include "consensus/lease.h"
#include "consensus/machine.h"
#include "consensus/policy.h"

#define HOUR_MS UINT64_C(3600000)

struct fix {
    struct machine *m;
    uint64_t index, now_ms;
    uint64_t seq; /* of the session that `origin` names */
    struct machine_effects fx;
    struct buf entry;
    /* Entries are kept too when `keep` is set: for replays. */
    bool keep;
    struct buf log; /* index, length, bytes */
};

/* A member 1 ("n1"), and the policy of fix_policy_plain. */
void fix_init(struct fix *f);
void fix_init_with(struct fix *f, const struct machine_config *config);
void fix_fini(struct fix *f);

/* One entry with the command; the result is the fixture's until the next. */
const struct machine_result *fix_apply(struct fix *f, const struct command *cmd);
/* Several; results in f->fx. */
void fix_apply_all(struct fix *f, const struct command *cmds, uint32_t n);
/* Changes of a kind in the last entry; *last: one of them. */
uint32_t fix_changes(const struct fix *f, enum machine_change change, struct machine_effect *last);

/* A member with a name of its own; its id. */
uint64_t fix_join(struct fix *f);
void fix_policy(struct fix *f, const struct policy_compiled *p);
/* 200 an hour of each account, 1000 an hour of each tenant. */
void fix_policy_plain(struct policy_compiled *p);
void fix_limit(struct policy_compiled *p, const char *name, uint8_t scope, uint64_t count,
               uint64_t window_ms);

/* A session of the node in place of its last one. */
uint64_t fix_open(struct fix *f, uint64_t node, uint64_t replaces, bool new_process, uint8_t nonce);
/* Origin with the fixture's next seq. */
struct command_origin fix_origin(struct fix *f, uint64_t session);
const struct machine_result *fix_grant(struct fix *f, uint64_t session, const char *account,
                                       const char *tenant, uint32_t need, uint32_t want);
/* Tokens, when it is not refused. */
uint32_t fix_take(struct fix *f, uint64_t session, const char *account, uint32_t n);
const struct machine_result *fix_return(struct fix *f, uint64_t session, uint64_t grant, uint32_t unspent,
                                        bool last);
const struct machine_result *fix_freeze(struct fix *f, uint8_t scope, const char *name, uint8_t mode,
                                        uint64_t for_ms);
struct machine_usage fix_usage(struct fix *f, const char *account, const char *tenant, const char *limit);

/* The whole state as bytes, at once. */
void fix_snapshot(struct machine *m, struct buf *out);
/* A machine that applied the kept log. */
struct machine *fix_replay(const struct fix *f);

#endif
