/* Some nodes of one cluster in one process, each with its own loop; a node whose loop is not run stands
 * still. */
#ifndef TEST_UNIT_GOSSIP_FIXTURE_H
#define TEST_UNIT_GOSSIP_FIXTURE_H

#include "certs.h"
#include "gossip/gossip.h"

#define NODES 3
#define HEARTBEAT_TEST_MS 100

struct node {
    struct fixture *f;
    uv_loop_t loop;
    struct gossip *g; /* NULL: not up */
    struct peer self;
    struct leaf leaf;
    char address[64];
    bool stopped; /* its loop is not run */
    bool closed;
    bool bar[NODES + 2]; /* by node id: its certificates are not admitted here */
    uint8_t admitted_sha256[NODES + 2][32];
    /* what happened */
    struct gossip_state state; /* told */
    struct gossip_state heard[NODES + 2];
    enum gossip_health health[NODES + 2];
    uint32_t states, changes, messages, requests;
    uint64_t bytes;
    uint16_t last_type;
    uint64_t last_from;
    struct buf last;
    /* instead of the counting, when not NULL */
    void (*on_message)(struct node *n, uint64_t from, uint16_t type, struct span payload);
    void (*on_request)(struct node *n, struct gossip_request *r, uint64_t from, uint16_t type,
                       struct span payload);
    void (*on_health)(struct node *n, uint64_t node, enum gossip_health health);
};

struct fixture {
    struct authority ca;
    struct node nodes[NODES]; /* ids 1.. */
};

void fixture_init(struct fixture *f);
void fixture_fini(struct fixture *f);

/* At a port that was free; at the same one after node_down. */
void node_up(struct node *n);
/* Closes it and waits; stands for a node that ends. */
void node_down(struct node *n);
/* Tells this node of all others. */
void node_meet(struct node *n);
/* All up, and each alive to each. */
void fixture_start(struct fixture *f);

/* Runs the loops of all that are up until it is true; fails the test after 60 s. */
typedef bool until_fn(void *arg);
void fixture_until(struct fixture *f, until_fn *fn, void *arg);
void fixture_run_ms(struct fixture *f, int64_t ms);

bool node_sees(const struct node *n, uint64_t id, enum gossip_health health);
bool node_connected(const struct node *n, uint64_t id);
struct gossip_peer_info node_info(const struct node *n, uint64_t id);
struct gossip_stats node_stats(const struct node *n);

#endif
