/* Handlers about the cluster and its members, and what operators did. Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define LEAVE_MS 45000
#define LOST_MAX (64u << 10)

/* ---- status -------------------------------------------------------------------------------------------- */

static void put_node(struct json_out *j, const struct admin_node *n)
{
    json_out_open(j, NULL, '{');
    json_out_u64(j, "id", n->id);
    json_out_str(j, "name", n->name);
    json_out_str(j, "state", n->state);
    json_out_str(j, "role", n->role);
    json_out_str(j, "health", n->health);
    json_out_bool(j, "leader", n->leader);
    json_out_bool(j, "quorum", n->quorum);
    json_out_bool(j, "accepting", n->accepting);
    json_out_bool(j, "draining", n->draining);
    json_out_bool(j, "fenced", n->fenced);
    if (n->heard_ms < 0)
        json_out_null(j, "heard_ms");
    else
        json_out_i64(j, "heard_ms", n->heard_ms);
    json_out_str(j, "session", n->session);
    if (n->session_left_ms < 0)
        json_out_null(j, "session_left_ms");
    else
        json_out_i64(j, "session_left_ms", n->session_left_ms);
    json_out_u64(j, "applied", n->applied);
    json_out_u64(j, "published", n->published);
    json_out_u64(j, "queued", n->queued);
    json_out_u64(j, "held", n->held);
    json_out_u64(j, "sessions_in", n->sessions_in);
    json_out_u64(j, "features", n->features);
    json_out_opt(j, "version", span_str(n->version));
    json_out_opt(j, "raft_address", span_str(n->raft_address));
    json_out_opt(j, "gossip_address", span_str(n->gossip_address));
    json_out_bool(j, "certificate_expires_soon", n->certificate_expires_soon);
    json_out_bool(j, "disk_low", n->disk_low);
    json_out_i64(j, "clock_ms", n->clock_ms);
    json_out_u64(j, "transfers_late", n->transfers_late);
    json_out_close(j, '}');
}

#define CLOCK_OFF_MS 5000 /* heartbeats may be late */

static void put_problem(struct json_out *j, const char *node, const char *text)
{
    char line[ADMIN_TROUBLE_BYTES + 64];
    snprintf(line, sizeof(line), "%s%s%s", node, node[0] != '\0' ? ": " : "", text);
    json_out_str(j, NULL, line);
}

static void put_disk(struct json_out *j, const struct admin_node *n)
{
    char line[160];
    snprintf(line, sizeof(line),
             "its disk is nearly full (%u.%u %% free): make room, or it takes no more mail",
             n->disk_free_permille / 10, n->disk_free_permille % 10);
    put_problem(j, n->name, line);
}

static void put_clock(struct json_out *j, const struct admin_node *n)
{
    char line[160], off[32];
    text_format_duration((n->clock_ms < 0 ? -n->clock_ms : n->clock_ms) / 1000 * 1000, off, sizeof(off));
    snprintf(line, sizeof(line),
             "its clock is %s %s the others': set it, and see that it is kept (NTP); certificates go by it",
             off, n->clock_ms < 0 ? "behind" : "ahead of");
    put_problem(j, n->name, line);
}

static void put_transfers(struct json_out *j, const struct admin_node *n)
{
    char line[160];
    snprintf(line, sizeof(line),
             "%u batch%s of mail on the way between it and other nodes for over a minute: turnpike transfer "
             "list there says why",
             n->transfers_late, n->transfers_late == 1 ? "" : "es");
    put_problem(j, n->name, line);
}

static void put_node_problems(struct json_out *j, const struct admin_node *n)
{
    bool removed = strcmp(n->state, "removed") == 0, present = strcmp(n->health, "dead") != 0;
    if (removed)
        return;
    if (strcmp(n->health, "dead") == 0)
        put_problem(j, n->name, "does not answer: start it, or turnpike node remove it");
    else if (strcmp(n->health, "suspect") == 0)
        put_problem(j, n->name, "has not answered for some seconds");
    else if (strcmp(n->health, "never seen") == 0)
        put_problem(j, n->name, "has never been heard of: check its gossip address and port");
    if (n->fenced)
        put_problem(
            j, n->name,
            "its state differs from the others', and it is fenced: keep its log, then remove it and have it "
            "join anew (the operations manual, 'States that differ')");
    else if (present && strcmp(n->health, "never seen") != 0 && !n->quorum)
        put_problem(j, n->name, "is cut off from the majority");
    else if (present && strcmp(n->health, "never seen") != 0 && !n->accepting && !n->draining)
        put_problem(j, n->name, "accepts no mail: turnpike status there says why");
    if (n->certificate_expires_soon)
        put_problem(j, n->name, "its certificate expires soon and was not renewed: its log says why");
    if (n->disk_low)
        put_disk(j, n);
    if (n->clock_ms > CLOCK_OFF_MS || n->clock_ms < -CLOCK_OFF_MS)
        put_clock(j, n);
    if (n->transfers_late > 0)
        put_transfers(j, n);
}

/* The most important first. */
static void put_problems(struct json_out *j, const struct admin_cluster_status *s, bool full)
{
    uint32_t voters = 0;
    json_out_open(j, "problems", '[');
    for (uint32_t i = 0; i < s->ntroubles; i++)
        put_problem(j, "", s->troubles[i]);
    if (s->ntroubles == 0 && !s->quorum)
        put_problem(j, "", "this node sees no majority: nothing can be changed, and mail is refused for now");
    for (uint32_t i = 0; i < s->nnodes; i++) {
        const struct admin_node *n = &s->nodes[i];
        bool counts = strcmp(n->state, "removed") != 0;
        voters += counts && strcmp(n->role, "voter") == 0;
        put_node_problems(j, n);
    }
    if (voters == 2)
        put_problem(j, "", "two nodes vote: if either fails, nothing can be changed; have a third one join");
    if (full)
        put_problem(j, "", "all limits count as full since the recovery: turnpike limit reopen ends that");
    json_out_close(j, ']');
}

static void put_totals(struct json_out *j, const struct machine_totals *t)
{
    json_out_open(j, "totals", '{');
    json_out_u64(j, "accounts", t->accounts);
    json_out_u64(j, "tenants", t->tenants);
    json_out_u64(j, "counters", t->counters);
    json_out_u64(j, "counters_max", t->counters_max);
    json_out_u64(j, "grants", t->grants);
    json_out_u64(j, "sessions", t->sessions);
    json_out_u64(j, "frozen", t->frozen);
    json_out_u64(j, "members", t->members);
    json_out_u64(j, "pools", t->pools);
    json_out_u64(j, "addresses", t->addresses);
    json_out_u64(j, "transfers", t->transfers);
    json_out_u64(j, "audit", t->audit);
    json_out_u64(j, "charged", t->charged);
    json_out_u64(j, "spent_or_held", t->spent_or_held);
    json_out_u64(j, "burned", t->burned);
    json_out_u64(j, "refunded", t->refunded);
    json_out_u64(j, "granted", t->granted);
    json_out_u64(j, "refused", t->refused);
    json_out_u64(j, "no_room", t->no_room);
    json_out_u64(j, "bytes", t->bytes);
    json_out_close(j, '}');
}

static void put_status(struct json_out *j, const struct admin_cluster_status *s, bool full)
{
    json_out_open(j, NULL, '{');
    put_problems(j, s, full);
    json_out_opt(j, "note", span_str(s->note));
    json_out_str(j, "cluster", s->cluster);
    json_out_u64(j, "epoch", s->epoch);
    json_out_u64(j, "features", s->features);
    json_out_bool(j, "joining", s->joining);
    json_out_u64(j, "self", s->self);
    json_out_u64(j, "leader", s->leader);
    json_out_u64(j, "term", s->term);
    json_out_u64(j, "applied", s->applied);
    json_out_bool(j, "quorum", s->quorum);
    json_out_bool(j, "session_usable", s->session_usable);
    json_out_u64(j, "policy_version", s->policy_version);
    json_out_u64(j, "log_bytes", s->log_bytes);
    json_out_u64(j, "snapshot_bytes", s->snapshot_bytes);
    json_out_bool(j, "digest_mismatch", s->digest_mismatch);
    json_out_open(j, "nodes", '[');
    for (uint32_t i = 0; i < s->nnodes && i < ADMIN_NODES_MAX; i++)
        put_node(j, &s->nodes[i]);
    json_out_close(j, ']');
    put_totals(j, &s->totals);
    json_out_close(j, '}');
}

int admin_on_cluster(struct admin_call *c)
{
    struct admin_cluster_status *s = calloc(1, sizeof(*s));
    struct json_out j;
    if (s == NULL)
        return admin_fail(&c->e, ERR_FAILED, "out of memory");
    int err = c->cluster != NULL && c->cluster->status != NULL ? c->cluster->status(c->cluster_ctx, s) : 0;
    if (err != 0)
        admin_fail(&c->e, err, "the cluster's state is not known: %s", err_text(err));
    else if (!s->member)
        err = admin_fail(&c->e, -ENOSYS,
                         "this node is in no cluster: turnpike cluster init or turnpike node join");
    struct machine *m = err == 0 && c->cluster->machine != NULL ? c->cluster->machine(c->cluster_ctx) : NULL;
    bool full = false;
    if (m != NULL) {
        machine_read_lock(m);
        full = machine_windows_full(m);
        machine_read_unlock(m);
    }
    json_out_init(&j, &c->out);
    if (err == 0)
        put_status(&j, s, full);
    free(s);
    return err != 0 ? err : buf_put_char(&c->out, '\n');
}

/* ---- becoming a member --------------------------------------------------------------------------------- */

static int must_be_alone(struct admin_call *c)
{
    if (c->cluster == NULL)
        return admin_missing(c);
    return member_is(c) ? admin_fail(&c->e, ERR_EXISTS,
                                     "this node is in a cluster already: turnpike cluster status shows it")
                        : 0;
}

int admin_on_cluster_init(struct admin_call *c)
{
    int err = must_be_alone(c);
    struct admin_init_opts opts = { .name = admin_arg_str(c->args, "name") };
    if (err == 0)
        err = c->cluster->init == NULL ? admin_missing(c)
                                       : c->cluster->init(c->cluster_ctx, c->caller, &opts, &c->e);
    return err != 0 ? err : admin_ok(c);
}

int admin_on_node_join(struct admin_call *c)
{
    int err = must_be_alone(c);
    struct admin_join_opts opts = { .token = admin_arg_str(c->args, "token") };
    if (err == 0)
        err = c->cluster->join == NULL ? admin_missing(c)
                                       : c->cluster->join(c->cluster_ctx, c->caller, &opts, &c->e);
    return err != 0 ? err : admin_ok(c);
}

int admin_on_node_token(struct admin_call *c)
{
    struct machine *m;
    struct json_out j;
    struct buf text;
    int64_t for_ms = admin_arg_int(c->args, "for", 3600000);
    int err = member_machine(c, &m);
    if (err != 0 || c->cluster->token == NULL)
        return err != 0 ? err : admin_missing(c);
    buf_init(&text, 4096);
    err = c->cluster->token(c->cluster_ctx, c->caller, for_ms, admin_arg_str(c->args, "name"), &text, &c->e);
    if (err == 0)
        err = buf_err(&text);
    json_out_begin(&j, &c->out);
    json_out_span(&j, "token", buf_span(&text));
    json_out_i64(&j, "for_ms", for_ms);
    json_out_end(&j);
    if (text.data != NULL)
        explicit_bzero(text.data, text.cap);
    buf_fini(&text);
    return err;
}

/* ---- members ------------------------------------------------------------------------------------------- */

int admin_on_node_drain(struct admin_call *c)
{
    struct machine *m;
    int err = member_machine(c, &m);
    if (err == 0)
        err = c->cluster->drain == NULL
                  ? admin_missing(c)
                  : c->cluster->drain(c->cluster_ctx, c->caller, !admin_arg_bool(c->args, "undo"), &c->e);
    return err != 0 ? err : admin_ok(c);
}

/* A node with much mail needs longer than one call may take: then "left" is false, and the call is repeated.
 */
int admin_on_node_leave(struct admin_call *c)
{
    struct machine *m;
    struct json_out j;
    struct admin_leave_opts opts = { .timeout_ms = LEAVE_MS };
    int err = member_machine(c, &m);
    if (err == 0)
        err = c->cluster->leave == NULL ? admin_missing(c)
                                        : c->cluster->leave(c->cluster_ctx, c->caller, &opts, &c->e);
    if (err != 0 && err != ERR_TIMEOUT)
        return err;
    json_out_begin(&j, &c->out);
    json_out_bool(&j, "left", err == 0);
    json_out_opt(&j, "waits_for", span_str(err == 0 ? "" : c->e.text));
    return json_out_end(&j);
}

int admin_on_node_role(struct admin_call *c)
{
    uint64_t id;
    bool voter = strcmp(admin_arg_str(c->args, "role"), "voter") == 0;
    int err = member_node(c, "node", &id);
    if (err == 0)
        err = c->cluster->role == NULL
                  ? admin_missing(c)
                  : c->cluster->role(c->cluster_ctx, c->caller, id,
                                     voter ? COMMAND_ROLE_VOTER : COMMAND_ROLE_STANDBY, &c->e);
    return err != 0 ? err : admin_ok(c);
}

/* Of a node that has moved and cannot say so itself. */
int admin_on_node_address(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_MEMBER_SET };
    const char *raft = admin_arg_str(c->args, "raft"), *gossip = admin_arg_str(c->args, "gossip");
    struct span host;
    uint16_t port;
    int err = member_node(c, "node", &cmd.member_set.node);
    if (err == 0 && (text_host_port(span_str(raft), &host, &port) != 0 ||
                     text_host_port(span_str(gossip), &host, &port) != 0))
        err = admin_fail(&c->e, ERR_BAD,
                         "an address is a name or an IP address with a port, such as 192.0.2.1:7301");
    cmd.member_set.raft_address = span_str(raft);
    cmd.member_set.gossip_address = span_str(gossip);
    return err != 0 ? err : member_do(c, &cmd);
}

int admin_on_node_remove(struct admin_call *c)
{
    uint64_t id;
    struct json_out j;
    struct buf lost;
    int err = member_node(c, "node", &id);
    if (err != 0 || c->cluster->remove == NULL)
        return err != 0 ? err : admin_missing(c);
    buf_init(&lost, LOST_MAX);
    err = c->cluster->remove(c->cluster_ctx, c->caller, id, &lost, &c->e);
    json_out_begin(&j, &c->out);
    json_out_open(&j, "lost", '[');
    for (struct span rest = buf_span(&lost); rest.n > 0;) {
        const char *end = memchr(rest.p, '\n', rest.n);
        size_t n = end != NULL ? (size_t)(end - rest.p) : rest.n;
        json_out_span(&j, NULL, span_of(rest.p, n));
        rest = span_sub(rest, n + 1);
    }
    json_out_close(&j, ']');
    json_out_end(&j);
    buf_fini(&lost);
    return err;
}

/* ---- audit --------------------------------------------------------------------------------------------- */

static int on_audit(void *arg, const struct directory_audit *a)
{
    struct member_page *p = arg;
    char place[24];
    snprintf(place, sizeof(place), "%llu", (unsigned long long)a->id);
    if (!member_page_row(p, span_str(place)))
        return 1;
    json_out_u64(&p->j, "id", a->id);
    json_out_time(&p->j, "at_ms", a->wall_ms);
    json_out_opt(&p->j, "who", a->who);
    json_out_span(&p->j, "what", a->what);
    json_out_close(&p->j, '}');
    return 0;
}

int admin_on_audit(struct admin_call *c)
{
    const char *after = admin_arg_str(c->args, "after");
    uint64_t before = 0;
    struct member_page page;
    struct machine *m;
    if (after != NULL && (text_u64(span_str(after), &before) != 0 || before == 0))
        return admin_fail(&c->e, ERR_BAD, "after is not what an earlier page gave as next");
    int err = member_fresh(c, &m);
    if (err != 0)
        return err;
    member_page_begin(&page, c, "audit");
    machine_read_lock(m);
    directory_audit_each(m, before, on_audit, &page);
    machine_read_unlock(m);
    return member_page_end(&page, c);
}
