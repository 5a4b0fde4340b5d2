/* A cluster of one node with a real machine, behind the admin API. */
#include "test/unit/admin/fake_cluster.h"

#include "base/ensure.h"
#include "base/err.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NO_MAJORITY "no majority: node-b and node-c do not answer; nothing was changed"

static void unlock(pthread_mutex_t **held)
{
    pthread_mutex_unlock(*held);
}
#define LOCKED(f)                                                                                            \
    pthread_mutex_t *held __attribute__((cleanup(unlock))) = &(f)->lock;                                     \
    pthread_mutex_lock(held)

static int apply(struct fake_cluster *f, struct command *cmd, struct machine_result *out)
{
    struct buf entry;
    buf_init(&entry, 1u << 20);
    if (f->session != 0)
        cmd->origin = (struct command_origin){ .session = f->session, .seq = ++f->seq, .lowest = f->seq };
    ensure(command_entry_begin(&entry, f->now_ms += 10) == 0);
    ensure(command_encode(cmd, &entry) == 0);
    ensure(command_entry_end(&entry, 1) == 0);
    ensure(machine_apply(f->machine, ++f->index, entry.data, entry.len, &f->effects) == 0);
    buf_fini(&entry);
    *out = (struct machine_result){ .err = ERR_FAILED };
    for (uint32_t i = 0; i < f->effects.n; i++)
        if (f->effects.items[i].is_result)
            *out = f->effects.items[i].result;
    return out->err;
}

int fake_cluster_do(struct fake_cluster *f, struct command *cmd, struct machine_result *out)
{
    struct machine_result result;
    LOCKED(f);
    return apply(f, cmd, out != NULL ? out : &result);
}

void fake_cluster_raise(struct fake_cluster *f, uint32_t level)
{
    for (uint64_t node = 2; node <= 3; node++) { /* they know no such level */
        struct directory_member mb;
        if (!directory_member_find(f->machine, node, &mb) || mb.state == COMMAND_MEMBER_REMOVED)
            continue;
        struct command gone = { .type = COMMAND_MEMBER_SET,
                                .member_set = { .node = node, .state = COMMAND_MEMBER_REMOVED } };
        ensure(fake_cluster_do(f, &gone, NULL) == 0);
    }
    struct command report = { .type = COMMAND_MEMBER_REPORT,
                              .member_report = { .node = 1, .version = SPAN_LIT("1"), .features = level } };
    struct command raise = { .type = COMMAND_FEATURE_RAISE, .feature_raise = { .level = level } };
    ensure(fake_cluster_do(f, &report, NULL) == 0);
    ensure(fake_cluster_do(f, &raise, NULL) == 0);
}

static int on_status(void *ctx, struct admin_cluster_status *out)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    *out = f->status;
    if (f->machine != NULL) {
        machine_read_lock(f->machine);
        machine_totals(f->machine, &out->totals);
        machine_read_unlock(f->machine);
    }
    return 0;
}

static struct machine *on_machine(void *ctx)
{
    return ((struct fake_cluster *)ctx)->machine;
}

static int on_barrier(void *ctx, struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    f->barriers++;
    return f->submit_err != 0 ? admin_fail(e, f->submit_err, NO_MAJORITY) : 0;
}

/* Operators' commands begin with struct command_by; uploads have none. */
static void put_by(struct fake_cluster *f, struct command *cmd, const struct admin_caller *by)
{
    snprintf(f->who, sizeof(f->who), "%s@node-a", by->text);
    if (cmd->type == COMMAND_POLICY_CHUNK)
        return;
    struct command_by *to = &cmd->freeze.by;
    to->who = span_str(f->who);
    to->wall_ms = 1700000000000;
}

static int on_submit(void *ctx, const struct admin_caller *by, struct command *cmd,
                     struct machine_result *out, struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    f->submits++;
    if (f->submit_err != 0)
        return admin_fail(e, f->submit_err, NO_MAJORITY);
    if (f->busy_first > 0) {
        f->busy_first--;
        return admin_fail(e, ERR_BUSY, "changed meanwhile");
    }
    put_by(f, cmd, by);
    if (cmd->type == COMMAND_THAW)
        f->thawed = cmd->thaw.freeze;
    int err = apply(f, cmd, out);
    return err == 0 ? 0 : admin_fail(e, err, "%s", out->words[0] != '\0' ? out->words : err_text(err));
}

static int on_await(void *ctx, uint64_t index, int64_t timeout_ms, admin_freeze_fn *fn, void *arg,
                    struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    ensure(timeout_ms > 0);
    f->awaited = index;
    fn(arg, &(struct admin_freeze_row){ .node = 1, .name = "node-a", .how = "confirmed", .after_ms = 2 });
    if (f->await_err != 0)
        return admin_fail(e, f->await_err, "node-b has not confirmed yet");
    fn(arg, &(struct admin_freeze_row){ .node = 2, .name = "node-b", .how = "expired", .after_ms = 4100 });
    return 0;
}

static int on_freeze_local(void *ctx, const struct admin_caller *by, const struct command_freeze *fr,
                           struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    (void)by, (void)e;
    f->freezes_local++;
    snprintf(f->frozen_name, sizeof(f->frozen_name), "%.*s", (int)fr->name.n, fr->name.p);
    return 0;
}

static int on_thaw_local(void *ctx, const struct admin_caller *by, uint8_t scope, const char *name,
                         struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    (void)by;
    if (scope != COMMAND_SCOPE_ACCOUNT || strcmp(name, f->frozen_name) != 0)
        return admin_fail(e, ERR_NOT_FOUND, "%s is not frozen here", name);
    f->thaws_local++;
    return 0;
}

static int on_frozen_local(void *ctx, machine_frozen_fn *fn, void *arg)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    if (f->freezes_local > f->thaws_local)
        fn(arg, &(struct machine_frozen){ .scope = COMMAND_SCOPE_ACCOUNT,
                                          .mode = COMMAND_FREEZE_DEFER,
                                          .name = span_str(f->frozen_name) });
    return 0;
}

static int on_init(void *ctx, const struct admin_caller *by, const struct admin_init_opts *opts,
                   struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    (void)by, (void)e;
    snprintf(f->init_name, sizeof(f->init_name), "%s", opts->name != NULL ? opts->name : "(configured)");
    return 0;
}

static int on_join(void *ctx, const struct admin_caller *by, const struct admin_join_opts *opts,
                   struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    (void)by;
    snprintf(f->token, sizeof(f->token), "%s", opts->token);
    return strcmp(opts->token, "expired") == 0
               ? admin_fail(e, ERR_DENIED,
                            "the token is no longer good: make a new one with turnpike node token")
               : 0;
}

static int on_token(void *ctx, const struct admin_caller *by, int64_t for_ms, const char *name,
                    struct buf *out, struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    (void)by, (void)e;
    f->token_for_ms = for_ms;
    return buf_printf(out, "tp1.secret.%s", name != NULL ? name : "any");
}

static int on_role(void *ctx, const struct admin_caller *by, uint64_t node, uint8_t role,
                   struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    (void)by, (void)e;
    f->role_of = node;
    f->role = role;
    return 0;
}

static int on_remove(void *ctx, const struct admin_caller *by, uint64_t node, struct buf *lost,
                     struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    (void)by;
    if (node == 1)
        return admin_fail(e, ERR_DENIED, "this is this node: turnpike node leave");
    f->removed = node;
    return buf_put_str(lost, "12 recipients in its queue\n3 tokens that it held\n");
}

static int on_drain(void *ctx, const struct admin_caller *by, bool on, struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    (void)by, (void)e;
    f->drained = on;
    return 0;
}

static int on_leave(void *ctx, const struct admin_caller *by, const struct admin_leave_opts *opts,
                    struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    (void)by;
    ensure(opts->timeout_ms > 0 && opts->timeout_ms < ADMIN_CALL_MAX_MS);
    f->leaves++;
    return f->leaves <= f->leave_after ? admin_fail(e, ERR_TIMEOUT, "7 messages are still here") : 0;
}

/* This node by its own API, the others as scripted. */
static int on_ask(void *ctx, const char *path, int64_t timeout_ms, admin_ask_fn *fn, void *arg,
                  struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    struct buf body;
    (void)e;
    ensure(timeout_ms > 0);
    snprintf(f->path, sizeof(f->path), "%s", path);
    buf_init(&body, 8u << 20);
    struct admin_ask_row row = { .node = 1, .name = "node-a", .status = admin_answer(f->admin, path, &body) };
    row.body = buf_span(&body);
    fn(arg, &row);
    buf_fini(&body);
    for (uint32_t i = 0; i < f->npeers; i++) {
        const struct fake_peer *p = &f->peers[i];
        row = (struct admin_ask_row){
            .node = i + 2, .err = p->err, .status = p->status, .body = span_str(p->body)
        };
        snprintf(row.name, sizeof(row.name), "%s", p->name);
        fn(arg, &row);
    }
    return 0;
}

/* ---- founding ------------------------------------------------------------------------------------------ */

static void found(struct fake_cluster *f)
{
    static const uint8_t hash[32] = { 1 };
    struct machine_result result;
    f->machine = machine_new(&(struct machine_config){ 0 });
    ensure(f->machine != NULL);
    struct command init = { .type = COMMAND_CLUSTER_INIT,
                            .cluster_init = { .cluster = { 0xab },
                                              .epoch = 1,
                                              .ca_certificate = SPAN_LIT("certificate"),
                                              .ca_key = SPAN_LIT("key"),
                                              .name = SPAN_LIT("node-a"),
                                              .raft_address = SPAN_LIT("192.0.2.1:8026"),
                                              .gossip_address = SPAN_LIT("192.0.2.1:8027"),
                                              .certificate_sha256 = span_of(hash, 32),
                                              .version = SPAN_LIT("0.1.0"),
                                              .features = 1 } };
    ensure(apply(f, &init, &result) == 0);
    struct command open = { .type = COMMAND_SESSION_OPEN,
                            .session_open = { .node = 1, .nonce = { 7 }, .new_process = true } };
    ensure(apply(f, &open, &result) == 0);
    f->session = result.id;
    for (char c = 'b'; c <= 'c'; c++) {
        char name[] = "node-x", id[] = "token-x";
        name[5] = id[6] = c;
        struct command token = { .type = COMMAND_TOKEN_ADD,
                                 .token_add = { .id = span_str(id), .for_ms = 3600000 } };
        ensure(apply(f, &token, &result) == 0);
        struct command join = { .type = COMMAND_MEMBER_JOIN,
                                .member_join = { .token = span_str(id),
                                                 .request_sha256 = { (uint8_t)c },
                                                 .name = span_str(name),
                                                 .raft_address = c == 'b' ? SPAN_LIT("192.0.2.2:8026")
                                                                          : SPAN_LIT("192.0.2.3:8026"),
                                                 .gossip_address = c == 'b' ? SPAN_LIT("192.0.2.2:8027")
                                                                            : SPAN_LIT("192.0.2.3:8027"),
                                                 .version = SPAN_LIT("0.1.0"),
                                                 .features = 1 } };
        ensure(apply(f, &join, &result) == 0);
    }
}

static void fill_status(struct fake_cluster *f, bool member)
{
    struct admin_cluster_status *s = &f->status;
    s->member = member;
    if (!member)
        return;
    snprintf(s->cluster, sizeof(s->cluster), "ab000000000000000000000000000000");
    s->epoch = 1;
    s->features = 1;
    s->self = s->leader = 1;
    s->term = 3;
    s->quorum = s->session_usable = true;
    s->nnodes = 3;
    for (uint32_t i = 0; i < 3; i++) {
        struct admin_node *n = &s->nodes[i];
        *n = (struct admin_node){ .id = i + 1,
                                  .version = "0.1.0",
                                  .state = "active",
                                  .role = "voter",
                                  .health = i == 0 ? "self" : "alive",
                                  .leader = i == 0,
                                  .quorum = true,
                                  .accepting = true,
                                  .heard_ms = i * 40,
                                  .session = "open",
                                  .session_left_ms = i == 0 ? 2500 : -1,
                                  .queued = 10 * i,
                                  .features = 1 };
        snprintf(n->name, sizeof(n->name), "node-%c", 'a' + (int)i);
        snprintf(n->raft_address, sizeof(n->raft_address), "192.0.2.%u:8026", i + 1);
    }
}

void fake_cluster_new_epoch(struct fake_cluster *f)
{
    struct machine_result result;
    struct command cmd = { .type = COMMAND_CLUSTER_INIT };
    cmd.cluster_init = (struct command_cluster_init){ .epoch = 2,
                                                      .ca_certificate = SPAN_LIT("another certificate"),
                                                      .ca_key = SPAN_LIT("another key"),
                                                      .name = SPAN_LIT("node-a"),
                                                      .raft_address = SPAN_LIT("192.0.2.1:7301"),
                                                      .gossip_address = SPAN_LIT("192.0.2.1:7302"),
                                                      .version = SPAN_LIT("1"),
                                                      .features = 1 };
    struct directory_cluster dc;
    LOCKED(f);
    ensure(directory_cluster(f->machine, &dc));
    memcpy(cmd.cluster_init.cluster, dc.id, sizeof dc.id);
    ensure(apply(f, &cmd, &result) == 0);
}

static int on_backup(void *ctx, const struct admin_caller *by, struct buf *out, struct admin_error *e)
{
    struct fake_cluster *f = ctx;
    LOCKED(f);
    (void)by;
    if (f->submit_err != 0)
        return admin_fail(e, f->submit_err, NO_MAJORITY);
    for (uint32_t i = 0; i < FAKE_BACKUP_BYTES; i++)
        (void)buf_put_char(out, (char)(i * 7));
    return buf_err(out);
}

void fake_cluster_init(struct fake_cluster *f, bool member)
{
    memset(f, 0, sizeof(*f));
    ensure(pthread_mutex_init(&f->lock, NULL) == 0);
    machine_effects_init(&f->effects);
    f->now_ms = 1000;
    if (member)
        found(f);
    fill_status(f, member);
    f->table = (struct admin_cluster){
        .status = on_status,
        .machine = on_machine,
        .barrier = on_barrier,
        .submit = on_submit,
        .await_obeyed = on_await,
        .freeze_local = on_freeze_local,
        .thaw_local = on_thaw_local,
        .frozen_local = on_frozen_local,
        .init = on_init,
        .join = on_join,
        .token = on_token,
        .role = on_role,
        .remove = on_remove,
        .drain = on_drain,
        .leave = on_leave,
        .ask = on_ask,
        .backup = on_backup,
    };
}

void fake_cluster_fini(struct fake_cluster *f)
{
    machine_effects_fini(&f->effects);
    machine_free(f->machine);
    pthread_mutex_destroy(&f->lock);
}
