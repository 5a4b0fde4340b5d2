/* What the tests of the agent share: a world of two nodes, and short ways to ask an agent. */
#ifndef TEST_LEDGER_AGENTS_H
#define TEST_LEDGER_AGENTS_H

#include "hold.h"

static const struct policy_limit limits[] = {
    { "hour", COMMAND_SCOPE_ACCOUNT, 7, 100, 3600000 },
    { "tenant", COMMAND_SCOPE_TENANT, 7, 150, 3600000 },
};

static struct world w;

static inline int setup(void **state)
{
    (void)state;
    world_begin(&w, 2, limits, 2, true);
    return 0;
}

/* No node has a session yet. */
static inline int setup_closed(void **state)
{
    (void)state;
    world_begin(&w, 2, limits, 2, false);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    world_end(&w);
    return 0;
}

static inline struct agent_session session(uint32_t n)
{
    struct agent_session s;
    agent_session(world_at(n)->agent, &s);
    return s;
}

static inline struct agent_stats stats(uint32_t n)
{
    struct agent_stats s;
    agent_stats(world_at(n)->agent, &s);
    return s;
}

#endif
