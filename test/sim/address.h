/* The source addresses of a simulated process: the real view of pools, the real release of addresses, the
 * real plans of the day and senders' records; connections are drawn. See address.c.
 */
#ifndef TEST_SIM_ADDRESS_H
#define TEST_SIM_ADDRESS_H

#include "node/core/cluster_impl.h"
#include "node/core/conn.h"
#include "node/core/node.h"
#include "test/sim/threads.h"

#define ADDRESS_POOLS 2 /* the first is bound to its machines, the second floats */
#define ADDRESS_N 6     /* the first ADDRESS_BOUND are of the first pool */
#define ADDRESS_BOUND 2
#define ADDRESS_SITES 2
#define ADDRESS_WEBS_OF_HOST 2
#define ADDRESS_WEBS 4
#define ADDRESS_CONNS 3
extern const char *const address_pools[ADDRESS_POOLS];
extern const char *const address_names[ADDRESS_N];
extern const char *const address_sites[ADDRESS_SITES];

struct address_conn {
    struct conn c;
    struct { /* its stream: only what stands before the kernel */
        stream_gate_fn *may_send;
        void *ctx;
        uint64_t mark;
    } gate;
    struct attempt attempt;
    struct smtp_client_result result;
    bool open;
    uint32_t left; /* messages */
    int64_t due_ns;
};
struct address_worker {
    struct egress egress;
    struct egress_site sites[ADDRESS_POOLS][ADDRESS_SITES];
    struct address_conn conns[ADDRESS_CONNS];
    struct list posted; /* on its way to the worker, in order */
};
/* Of a process; its memory is the process's. A struct cluster is a real one here, of which only what is about
 * addresses is there. */
struct address {
    struct sim_server *s;
    struct cluster cluster;
    struct node node;
    struct worker workers[SIM_WORKERS];
    struct address_worker at[SIM_WORKERS];
    int64_t tick_ns;
    uint32_t process; /* as address_check.c knows it */
    bool tallies;     /* what is counted is kept */
};

/* address_check.c: what must hold of addresses. */
/* A process begins. It counts for an account of its own, so that what is lost with it is known. */
uint32_t address_check_process(const struct sim_server *s);
const char *address_check_account(uint32_t process);
void address_check_counted(uint32_t process, uint8_t kind);
/* A connection from an address begins. */
void address_check_opened(const struct sim_server *s, const struct conn *c);
/* Bytes leave from an address; the first ones of a message? */
void address_check_sends(const struct sim_server *s, const struct conn *c, bool first);
/* Somebody's machine stood still, its clocks too. */
void address_check_stood(uint32_t server);

#endif
