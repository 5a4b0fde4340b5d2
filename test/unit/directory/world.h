/* A machine that is told commands one by one, for tests of the directory. When it ends it looks whether a
 * snapshot of it, and a replay of all that it was told, give the same state: to the digest and to every
 * reader.
 */
#ifndef TEST_DIRECTORY_WORLD_H
#define TEST_DIRECTORY_WORLD_H

#include "base/err.h"
#include "consensus/directory.h"
#include "consensus/machine.h"
#include "consensus/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct world {
    struct machine *m;
    struct machine *other; /* for snapshots */
    struct machine_config config;
    struct machine_effects fx;
    struct machine_result r; /* of the last command */
    uint64_t index, now_ms, seq;
    uint64_t session[64]; /* of nodes, as the world knows */
    struct buf log;       /* entries, counted */
};

struct world *world_new(const struct machine_config *config);
/* With a cluster of node 1, "node-a", which has a session. */
struct world *world_founded(void);
/* The same, and its node knows that feature level, which is in force. */
struct world *world_at_level(uint32_t level);
/* Checks snapshot and replay. */
void world_free(struct world *w);

/* Applies one command; the result's err. Under the session of cmd.origin, if it has one. */
int tell(struct world *w, struct command cmd);
/* Under the current session of a node. */
int tell_as(struct world *w, uint64_t node, struct command cmd);
/* The last result's words have this in them. */
void assert_words(const struct world *w, const char *part);
/* An effect of the last command. */
bool changed(const struct world *w, enum machine_change change, const char *key);

int found(struct world *w, const char *name, uint32_t epoch);
/* By a token; its id, and it is active. */
uint64_t join(struct world *w, const char *name);
int token(struct world *w, const char *id, uint64_t for_ms, const char *node_name);
int join_with(struct world *w, const char *token, uint8_t request, const char *name, const char *address,
              uint32_t features);
int member_state(struct world *w, uint64_t node, uint8_t state);
/* Uploads a compiled policy, without its text, in one chunk, and commits it; the commit's err. */
int policy_is(struct world *w, const struct policy_compiled *p);
/* Opens the next session of a node; its id. */
uint64_t open_session(struct world *w, uint64_t node);
int expire(struct world *w, uint64_t session);

/* Every reader's output as text. */
void dump(const struct machine *m, struct buf *out);

static inline struct span str(const char *s)
{
    return span_str(s);
}

#endif
