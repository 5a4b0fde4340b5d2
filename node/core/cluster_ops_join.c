/* Becoming a member: `cluster init`, `node join`, and the token that a new node needs. Admin threads, but for
 * what runs in a cluster_call.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/cluster/join.h"
#include "node/core/cluster.h"
#include "node/core/cluster_impl.h"
#include "node/core/founding.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOIN_ASK_MS 30000
#define FOUND_MS 20000
#define TOKEN_MS INT64_C(3600000)

/* ---- one operator at a time ---------------------------------------------------------------------------- */

static void claim_run(struct cluster *c, struct cluster_call *call)
{
    int err = 0;
    if (c->dead_transport != NULL)
        err = admin_fail(call->e, ERR_BUSY,
                         "an attempt failed and left something open: restart turnpiked, then try again");
    else if (c->claimed)
        err = admin_fail(call->e, ERR_BUSY, "another operator makes this node a member just now");
    else if (c->state == CLUSTER_LEFT)
        err = admin_fail(call->e, ERR_BUSY,
                         "this node has left its cluster: restart turnpiked, then join again");
    else if (c->state != CLUSTER_NONE)
        err = admin_fail(call->e, ERR_EXISTS, "this node is a member of a cluster already");
    else
        c->claimed = true;
    cluster_call_done(c, call, err);
}

static void unclaim_run(struct cluster *c, struct cluster_call *call)
{
    c->claimed = false;
    cluster_call_done(c, call, 0);
}

static int claim(struct cluster *c, struct admin_error *e)
{
    struct cluster_call call;
    if (c == NULL)
        return admin_fail(
            e, ERR_DENIED,
            "this node's configuration has no 'cluster' section: add one with 'listen' and 'gossip', and "
            "restart turnpiked");
    cluster_call_init(&call, claim_run, e);
    return cluster_call_wait(c, &call);
}

static void unclaim(struct cluster *c)
{
    struct cluster_call call;
    cluster_call_init(&call, unclaim_run, NULL);
    (void)cluster_call_wait(c, &call);
}

/* ---- before anything is changed ------------------------------------------------------------------------ */

static int try_listen(const struct sockaddr_storage *a, const char *key, struct admin_error *e)
{
    char text[80];
    int on = 1;
    socklen_t n = a->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    int fd = socket(a->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int err = fd < 0 ? -errno : 0;
    if (err == 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
                     bind(fd, (const struct sockaddr *)a, n) != 0 || listen(fd, 1) != 0))
        err = -errno;
    if (fd >= 0)
        close(fd);
    config_endpoint_format(a, text, sizeof text);
    return err == 0 ? 0
                    : admin_fail(e, err == -EADDRINUSE ? ERR_EXISTS : err,
                                 "cannot listen on %s (cluster.%s): %s", text, key, err_text(err));
}

static int prepare(struct cluster *c, const struct config *config, struct admin_error *e)
{
    struct buf why;
    int err = try_listen(&config->cluster.listen, "listen", e);
    if (err == 0)
        err = try_listen(&config->cluster.gossip, "gossip", e);
    if (err != 0 || access(c->dir, F_OK) != 0)
        return err;
    buf_init(&why, 4096); /* an attempt that did not come to its end */
    err = identity_retire(c->dir, &why);
    if (err != 0)
        err = admin_fail(e, err, "%.*s", (int)why.len, why.len > 0 ? why.data : "");
    buf_fini(&why);
    return err;
}

/* ---- starting ------------------------------------------------------------------------------------------ */

struct start {
    struct cluster_call call;
    struct identity *id; /* moved */
};

static void start_run(struct cluster *c, struct cluster_call *call)
{
    struct start *s = (struct start *)call;
    identity_fini(&c->id);
    c->id = *s->id;
    identity_init(s->id);
    int err = cluster_stack_start(c);
    if (err == 0) {
        cluster_call_later(c, call); /* until the state is there */
        return;
    }
    err = admin_fail(call->e, err, "cannot start as a member: %s; the log has more", err_text(err));
    if (c->state == CLUSTER_NONE) {
        cluster_call_done(c, call, err);
    } else {
        c->stop_err = err;
        c->stop_call = call;
    }
}

static void start_poll(struct cluster *c, struct cluster_call *call)
{
    struct directory_member self;
    if (c->state == CLUSTER_RUNNING && cluster_is_founded(c) && cluster_own_member(c, &self))
        cluster_call_done(c, call, 0);
}

static int start_late(struct cluster *c, struct cluster_call *call, int err)
{
    (void)c;
    return admin_fail(
        call->e, err,
        "this node is a member now, but the cluster's state has not come yet: see 'turnpike cluster status'");
}

/* Takes what is in `id`. On failure nothing is left. */
static int start(struct cluster *c, struct identity *id, struct admin_error *e)
{
    struct start s = { .id = id };
    struct buf why;
    buf_init(&why, 4096);
    int err = identity_save(c->dir, id, &why);
    if (err != 0) {
        err = admin_fail(e, err, "%.*s", (int)why.len, why.len > 0 ? why.data : "");
    } else {
        cluster_call_init(&s.call, start_run, e);
        s.call.timeout_ms = FOUND_MS;
        s.call.poll = start_poll;
        s.call.give_up = start_late;
        err = cluster_call_wait(c, &s.call);
        if (err == 0 || err == ERR_TIMEOUT || err == ERR_CLOSED) {
            buf_fini(&why);
            return err;
        }
    }
    buf_reset(&why);
    if (identity_retire(c->dir, &why) != 0)
        log_warn("cluster", "%.*s", (int)why.len, why.len > 0 ? why.data : "");
    buf_fini(&why);
    return err;
}

/* ---- init ---------------------------------------------------------------------------------------------- */

static int found(struct cluster *c, struct identity *id, struct admin_error *e)
{
    struct buf why;
    buf_init(&why, 4096);
    id->self.epoch = 1;
    id->self.node = 1;
    id->slot = 1;
    bool drawn = getrandom(id->self.cluster, sizeof id->self.cluster, 0) == sizeof id->self.cluster;
    int err = drawn ? founding_write(c->dir, id, &why) : ERR_FAILED;
    if (err != 0)
        err = admin_fail(e, err, "%.*s", (int)why.len, why.len > 0 ? why.data : "");
    else if (mkdir(c->raft_dir, 0700) != 0 && errno != EEXIST)
        err = admin_fail(e, -errno, "%s: %s", c->raft_dir, err_text(-errno));
    else if ((err = replica_bootstrap(c->raft_dir, 1, id->raft_address)) != 0)
        err = admin_fail(e, err, "%s: %s", c->raft_dir, err_text(err));
    buf_fini(&why);
    return err;
}

int cluster_init_op(void *ctx, const struct admin_caller *by, const struct admin_init_opts *opts,
                    struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct identity id;
    int err = claim(c, e);
    if (err != 0)
        return err;
    struct config *config = node_config(c->node);
    identity_init(&id);
    snprintf(id.name, sizeof id.name, "%s", opts != NULL && opts->name != NULL ? opts->name : config->name);
    snprintf(id.raft_address, sizeof id.raft_address, "%s", config->cluster.advertise);
    snprintf(id.gossip_address, sizeof id.gossip_address, "%s", config->cluster.advertise_gossip);
    err = prepare(c, config, e);
    if (err == 0)
        err = found(c, &id, e);
    if (err == 0)
        err = start(c, &id, e);
    identity_fini(&id);
    config_rele(config);
    unclaim(c);
    if (err == 0)
        log_info("cluster", "a new cluster, made by %s", by->text);
    return err;
}

/* ---- join ---------------------------------------------------------------------------------------------- */

int cluster_join_op(void *ctx, const struct admin_caller *by, const struct admin_join_opts *opts,
                    struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct join_token token;
    struct identity id;
    struct buf why;
    int err = claim(c, e);
    if (err != 0)
        return err;
    struct config *config = node_config(c->node);
    identity_init(&id);
    buf_init(&why, 4096);
    err = join_token_parse(span_str(opts->token), &token, &why);
    if (err != 0)
        err = admin_fail(e, err, "the token cannot be used: %.*s", (int)why.len, why.len > 0 ? why.data : "");
    if (err == 0)
        err = prepare(c, config, e);
    if (err == 0) {
        err = join_ask(&token, config->name, config->cluster.advertise, config->cluster.advertise_gossip,
                       TURNPIKE_VERSION, COMMAND_FEATURES, JOIN_ASK_MS, &id, &why);
        if (err != 0)
            err = admin_fail(e, err, "%.*s", (int)why.len, why.len > 0 ? why.data : "");
    }
    if (err == 0)
        err = start(c, &id, e);
    OPENSSL_cleanse(&token, sizeof token);
    buf_fini(&why);
    identity_fini(&id);
    config_rele(config);
    unclaim(c);
    if (err == 0)
        log_info("cluster", "joined, as %s wanted", by->text);
    return err;
}

/* ---- token --------------------------------------------------------------------------------------------- */

static int add_address(void *arg, const struct directory_member *mb)
{
    struct join_token *t = arg;
    if (mb->state != COMMAND_MEMBER_ACTIVE || mb->raft_address.n >= sizeof t->addresses[0] ||
        t->naddresses == sizeof t->addresses / sizeof *t->addresses)
        return 0;
    memcpy(t->addresses[t->naddresses], mb->raft_address.p, mb->raft_address.n);
    t->addresses[t->naddresses++][mb->raft_address.n] = '\0';
    return 0;
}

int cluster_token(void *ctx, const struct admin_caller *by, int64_t for_ms, const char *node_name,
                  struct buf *out, struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct machine *m;
    struct directory_cluster dc;
    struct join_token t = { .naddresses = 0 };
    struct machine_result r;
    uint8_t ca_sha256[32];
    char text[JOIN_TOKEN_MAX];
    int err = cluster_need(c, e);
    if (err != 0)
        return err;
    m = cluster_machine(c);
    machine_read_lock(m);
    bool founded = directory_cluster(m, &dc);
    err = founded ? ca_fingerprint(dc.ca_certificate, ca_sha256) : ERR_BUSY;
    machine_read_unlock(m);
    if (err == 0)
        err = join_token_make(&t, ca_sha256);
    if (err != 0)
        return admin_fail(e, err, "%s", founded ? err_text(err) : "the cluster's state has not come yet");
    machine_read_lock(m);
    (void)directory_member_each(m, add_address, &t);
    machine_read_unlock(m);
    struct command cmd = { .type = COMMAND_TOKEN_ADD,
                           .token_add = { .id = span_str(t.id),
                                          .for_ms = (uint64_t)(for_ms > 0 ? for_ms : TOKEN_MS),
                                          .node_name = span_str(node_name) } };
    join_secret_hash(t.secret, cmd.token_add.secret_sha256);
    err = cluster_submit(ctx, by, &cmd, &r, e);
    if (err == 0) {
        join_token_format(&t, text);
        err = buf_put_str(out, text);
        OPENSSL_cleanse(text, sizeof text);
    }
    OPENSSL_cleanse(&t, sizeof t);
    return err;
}
