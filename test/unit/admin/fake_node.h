/* A node behind the admin API that has a small queue in memory, for tests of the server and of the command
 * line. It answers by its own rules (selectors, pages, acts), and remembers what it was asked.
 */
#ifndef TEST_FAKE_NODE_H
#define TEST_FAKE_NODE_H

#include "node/admin/admin.h"
#include "test/unit/admin/fake_cluster.h"

#include <pthread.h>
#include <stdatomic.h>

#define FAKE_ROWS 8
#define FAKE_ACCOUNTS 1024

struct fake_account {
    char name[128], class[16], tenant[64], password[128], hash[128];
    bool disabled;
};

struct fake_node {
    pthread_mutex_t lock;
    struct admin_row rows[FAKE_ROWS];
    struct fake_account accounts[FAKE_ACCOUNTS];
    uint32_t naccounts;
    int not_ready;   /* error that ready gives */
    atomic_int status_err; /* error that status gives */
    int trace_lines; /* lines that trace_start puts before it ends; -1: silent and endless */
    int busy_rows;   /* so many selected recipients are in a transaction when acted on */
    char log_level[8];
    /* What was asked last. */
    char act_text[256], caller[160];
    struct admin_act_opts act;
    int64_t login_wait_ms;
    uint32_t logins_wrong, logins_right;
    char login_name[96];
    uint32_t reloads, traces_open, calls, contents_open;
    char trace_ip[64], probe_from[64];
    struct admin_stream *trace; /* held while one is open */
};

void fake_node_init(struct fake_node *f);
void fake_node_fini(struct fake_node *f);
/* After an exchange, before its effects are looked at; and before the node's answers are set. */
void fake_node_sync(struct fake_node *f);
void fake_node_ops(struct fake_node *f, struct admin_ops *ops);

/* A server for it: a unix socket, and TCP on a free port of 127.0.0.1, in a new directory under /tmp. */
struct fake_server {
    struct fake_node node;
    struct admin_ops ops;
    struct fake_cluster cluster;
    struct admin *admin;
    char dir[64], socket[96], token_file[96];
    char token[40];
    uint16_t port;
};
void fake_server_start(struct fake_server *s, uint32_t request_ms);
/* Of a node that could be in a cluster, and is when `member`. */
void fake_server_start_in(struct fake_server *s, bool member);
void fake_server_stop(struct fake_server *s);

int fake_ip_record(void *ctx, const char *address, const char *site, admin_ip_site_fn *fn, void *arg,
                   struct admin_error *e);
int fake_site_shares(void *ctx, const char *site, admin_site_share_fn *fn, void *arg, struct admin_error *e);
int fake_site_holds(void *ctx, const char *site, uint32_t limit, admin_hold_fn *fn, void *arg, struct admin_error *e);
int fake_ip_check(void *ctx, const char *ip, admin_ip_fn *fn, void *arg, struct admin_error *e);

#endif
