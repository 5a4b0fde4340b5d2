/* The cluster's first command, and nodes that ask to join it. The cluster thread.
 *
 * Founding: `cluster init` leaves the command in a file before the node becomes a member, so that a crash at
 * any time leads either to no member at all or to one that can still propose it.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/cluster/join.h"
#include "node/core/cluster_impl.h"
#include "node/core/founding.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define JOINS_MAX 16 /* at once */
#define JOIN_MS 5000
#define CLOCK_OFF_MS 300000
#define REFUSALS_LOGGED 20 /* lines, in REFUSALS_MS: anybody may ask */
#define REFUSALS_MS 60000

/* ---- founding ------------------------------------------------------------------------------------------ */

/* A node that begins a new epoch, after a majority was lost, has the state of the one before until its
 * command is applied: so long it may do nothing with it. So does one that joins and replays the log. */
bool cluster_is_founded(const struct cluster *c)
{
    struct directory_cluster dc;
    return directory_cluster(c->m, &dc) && dc.epoch == c->id.self.epoch;
}

void cluster_found(struct cluster *c)
{
    char path[560];
    struct command cmd;
    struct cursor cur;
    if (c->founding)
        return;
    c->founding = true; /* once in a leadership */
    founding_path(c->dir, path, sizeof path);
    FILE *f = fopen(path, "re");
    char *bytes = malloc(COMMAND_BYTES_MAX);
    size_t n = f == NULL || bytes == NULL ? 0 : fread(bytes, 1, COMMAND_BYTES_MAX, f);
    if (f != NULL)
        fclose(f);
    cursor_init(&cur, bytes, n);
    int err = n == 0 ? ERR_NOT_FOUND : command_decode(&cur, &cmd);
    if (err == 0 && (cmd.type != COMMAND_CLUSTER_INIT || cursor_left(&cur) != 0))
        err = ERR_CORRUPT;
    if (err == 0 &&
        cmd.cluster_init.epoch != c->id.self.epoch) /* of an attempt that did not come to its end */
        err = ERR_NOT_FOUND;
    if (err == 0)
        err = replica_propose(c->replica, span_of(bytes, n), 1);
    if (err != 0)
        log_error("cluster", "%s: the cluster's first command cannot be proposed: %s", path, err_text(err));
    free(bytes);
}

static void say_epoch(struct cluster *c)
{
    struct machine_totals t;
    machine_totals(c->m, &t);
    log_warn(
        "cluster",
        "epoch %u begins, with this node alone. All limits count as full until their windows have passed, or "
        "until 'turnpike limit reopen'. Frozen senders stay frozen, %llu of them: review them with 'turnpike "
        "frozen'",
        c->id.self.epoch, (unsigned long long)t.frozen);
}

void cluster_founded(struct cluster *c)
{
    char path[560];
    if (!c->founding)
        return;
    c->founding = false;
    if (c->id.self.epoch > 1)
        say_epoch(c);
    founding_path(c->dir, path, sizeof path);
    if (unlink(path) != 0 && errno != ENOENT)
        log_warn("cluster", "%s: %s", path, err_text(-errno));
}

/* ---- answering ----------------------------------------------------------------------------------------- */

struct job {
    struct cluster *c;
    struct transport_join *j;
    struct join_request_decoded *d;
    struct buf certificate;
    uint64_t node;
    char from[128];
};

static void put_answer(struct transport_join *j, const struct join_answer *a)
{
    struct buf out;
    buf_init(&out, TRANSPORT_JOIN_MAX);
    int err = join_answer_encode(a, &out);
    if (err != 0)
        log_error("cluster", "an answer to a joining node cannot be written: %s", err_text(err));
    transport_join_answer(j, buf_span(&out));
    if (out.data != NULL)
        OPENSSL_cleanse(out.data, out.len);
    buf_fini(&out);
}

static bool may_log(struct cluster *c)
{
    int64_t now_ms = clock_boot_ms();
    if (c->refusals.n == 0 || now_ms - c->refusals.since_ms >= REFUSALS_MS) {
        if (c->refusals.left_out > 0)
            log_warn("cluster", "%u more lines about refused requests to join were left out",
                     c->refusals.left_out);
        c->refusals.since_ms = now_ms;
        c->refusals.n = c->refusals.left_out = 0;
    }
    bool may = c->refusals.n < REFUSALS_LOGGED;
    c->refusals.n += may;
    c->refusals.left_out += !may;
    return may;
}

static void refuse(struct cluster *c, struct transport_join *j, const char *from, bool retry,
                   const char *words)
{
    struct join_answer a = { .retry = retry };
    snprintf(a.words, sizeof a.words, "%s", words);
    if (may_log(c))
        log_line(retry ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "cluster", "%s may not join: %s", from, words);
    put_answer(j, &a);
}

static void send_to_the_leader(struct cluster *c, struct transport_join *j, const char *from)
{
    struct directory_member mb;
    struct join_answer a = { 0 };
    if (c->leader == 0 || c->leader == c->id.self.node || !directory_member_find(c->m, c->leader, &mb) ||
        mb.raft_address.n >= sizeof a.try_address) {
        refuse(c, j, from, true, "the cluster has no leader just now");
        return;
    }
    snprintf(a.words, sizeof a.words, "node %.*s leads", (int)mb.name.n, mb.name.p);
    memcpy(a.try_address, mb.raft_address.p, mb.raft_address.n);
    put_answer(j, &a);
}

static void job_free(struct job *job)
{
    job->c->joins--;
    join_request_free(job->d);
    buf_fini(&job->certificate);
    free(job);
}

static void job_refuse(struct job *job, bool retry, const char *words)
{
    refuse(job->c, job->j, job->from, retry, words);
    job_free(job);
}

static void job_failed(struct job *job, int err, const struct machine_result *r)
{
    char words[256];
    if (r != NULL && r->err != 0 && r->words[0] != '\0')
        snprintf(words, sizeof words, "%.250s", r->words);
    else
        snprintf(words, sizeof words, "the cluster could not take it in: %s",
                 err_text(r != NULL && r->err != 0 ? r->err : err));
    job_refuse(job, r == NULL, words);
}

static int add_seed(void *arg, const struct directory_member *mb)
{
    struct join_answer *a = arg;
    if (mb->state == COMMAND_MEMBER_REMOVED || a->nseeds == sizeof a->seeds / sizeof *a->seeds ||
        mb->raft_address.n >= sizeof a->seeds[0].raft_address ||
        mb->gossip_address.n >= sizeof a->seeds[0].gossip_address || mb->id == a->self.node)
        return 0;
    struct identity_seed *s = &a->seeds[a->nseeds++];
    *s = (struct identity_seed){ .id = mb->id };
    memcpy(s->raft_address, mb->raft_address.p, mb->raft_address.n);
    memcpy(s->gossip_address, mb->gossip_address.p, mb->gossip_address.n);
    return 0;
}

static void issued_cb(void *ctx, int err, const struct machine_result *r)
{
    struct job *job = ctx;
    struct cluster *c = job->c;
    struct directory_cluster dc;
    struct directory_member mb;
    if (err != 0 || r == NULL || r->err != 0 || !directory_cluster(c->m, &dc) ||
        !directory_member_find(c->m, job->node, &mb)) {
        job_failed(job, err, r);
        return;
    }
    struct join_answer a = { .ok = true, .self = c->id.self, .slot = mb.slot, .ca = dc.ca_certificate };
    a.self.node = job->node;
    a.certificate = buf_span(&job->certificate);
    (void)directory_member_each(c->m, add_seed, &a);
    /* It will be one; else it asks for it when it becomes one. */
    if (directory_voters(c->m) < cluster_voters_wanted(c))
        memcpy(a.secret, c->id.secret, sizeof a.secret);
    log_info("cluster", "%.*s joins as node %" PRIu64 ", from %s", (int)mb.name.n, mb.name.p, job->node,
             job->from);
    put_answer(job->j, &a);
    OPENSSL_cleanse(a.secret, sizeof a.secret);
    job_free(job);
}

static void joined_cb(void *ctx, int err, const struct machine_result *r)
{
    struct job *job = ctx;
    const struct join_request *rq = join_request_of(job->d);
    struct directory_member mb;
    struct ca_info info;
    if (err != 0 || r == NULL || r->err != 0) {
        job_failed(job, err, r);
        return;
    }
    if (!directory_member_named(job->c->m, span_str(rq->name), &mb)) {
        job_refuse(job, true, "the cluster has another leader now");
        return;
    }
    job->node = mb.id;
    err = cluster_issue(job->c, rq->certificate_request, mb.id, mb.name, &job->certificate, &info);
    if (err == 0)
        err = cluster_submit_issued(job->c, mb.id, &info, issued_cb, job);
    if (err != 0)
        job_failed(job, err, NULL);
}

/* What is wrong with the request, or NULL. */
static const char *fault(struct cluster *c, const struct join_request *rq, char words[256])
{
    struct directory_token t;
    struct directory_member mb;
    uint8_t secret[32], request[32];
    if (!directory_token_find(c->m, span_str(rq->token_id), &t))
        return "this cluster does not know the token (it may have ended long ago); make a new one: 'turnpike "
               "node token'";
    join_secret_hash(rq->secret, secret);
    if (CRYPTO_memcmp(secret, t.secret_sha256, sizeof secret) != 0)
        return "the token is wrong; make a new one: 'turnpike node token'";
    join_request_hash(rq, request);
    bool repeat = t.used && memcmp(request, t.request_sha256, sizeof request) == 0;
    if (t.used && !repeat)
        return "the token has been used already; make a new one: 'turnpike node token'";
    if (!repeat && replica_now_ms(c->replica) >= t.until_ms)
        return "the token has ended; make a new one: 'turnpike node token'";
    if (t.node_name.n > 0 && !span_eq(t.node_name, span_str(rq->name))) {
        snprintf(words, 256, "the token is for a node named %.*s, and this one is %s", (int)t.node_name.n,
                 t.node_name.p, rq->name);
        return words;
    }
    int64_t off_ms = rq->wall_ms - clock_wall_ms();
    if (off_ms > CLOCK_OFF_MS || off_ms < -CLOCK_OFF_MS) {
        snprintf(words, 256,
                 "its clock is %lld minutes %s of the cluster's: set it right (NTP) and try again",
                 (long long)(off_ms < 0 ? -off_ms : off_ms) / 60000, off_ms < 0 ? "behind that" : "ahead");
        return words;
    }
    if (!repeat && directory_member_named(c->m, span_str(rq->name), &mb) &&
        mb.state != COMMAND_MEMBER_REMOVED) {
        snprintf(words, 256,
                 "there is a node named %s already (node %llu): give this one another name in its file, or "
                 "remove the old one: 'turnpike node remove'",
                 rq->name, (unsigned long long)mb.id);
        return words;
    }
    return NULL;
}

void cluster_on_join(void *ctx, struct transport_join *j, struct span request, const char *from)
{
    struct cluster *c = ctx;
    struct join_request_decoded *d = NULL;
    struct buf why;
    char words[256];
    if (c->state != CLUSTER_RUNNING || c->role != REPLICA_LEADER) {
        send_to_the_leader(c, j, from);
        return;
    }
    if (!c->ready || !cluster_is_founded(c) || !c->id.has_secret || c->joins >= JOINS_MAX) {
        refuse(c, j, from, true, "the leader is not ready yet");
        return;
    }
    buf_init(&why, sizeof words);
    int err = join_request_decode(request, &d, &why);
    if (err != 0) {
        snprintf(words, sizeof words, "the request cannot be read: %.*s",
                 (int)(why.len > 200 ? 200 : why.len), why.len == 0 ? err_text(err) : why.data);
        buf_fini(&why);
        refuse(c, j, from, false, words);
        return;
    }
    buf_fini(&why);
    const struct join_request *rq = join_request_of(d);
    const char *bad = fault(c, rq, words);
    struct job *job = bad == NULL ? calloc(1, sizeof *job) : NULL;
    if (job == NULL) {
        refuse(c, j, from, bad == NULL, bad == NULL ? "no memory" : bad);
        join_request_free(d);
        return;
    }
    *job = (struct job){ .c = c, .j = j, .d = d };
    c->joins++;
    buf_init(&job->certificate, 32u << 10);
    snprintf(job->from, sizeof job->from, "%s", from);
    struct command cmd = { .type = COMMAND_MEMBER_JOIN,
                           .member_join = { .token = span_str(rq->token_id),
                                            .name = span_str(rq->name),
                                            .raft_address = span_str(rq->raft_address),
                                            .gossip_address = span_str(rq->gossip_address),
                                            .version = span_str(rq->version),
                                            .features = rq->features } };
    join_request_hash(rq, cmd.member_join.request_sha256);
    err = agent_submit(c->agent, &cmd, JOIN_MS, joined_cb, job);
    if (err != 0)
        job_failed(job, err, NULL);
}
