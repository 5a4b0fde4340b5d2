/* Certificates of members: issued by the leader, renewed by whoever has one that ends. The cluster thread.
 *
 * A certificate's hash goes into the log before anybody gets the certificate, so that no connection with it
 * is refused by a node that has caught up. The CA's secret is given to voters only, who may have to lead.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#define RENEW_AGAIN_MS 60000
#define ASK_MS 10000
#define ISSUE_MS 5000

int cluster_issue(struct cluster *c, struct span request, uint64_t node, struct span name,
                  struct buf *certificate, struct ca_info *info)
{
    struct directory_cluster dc;
    struct peer peer = c->id.self;
    char text[64];
    if (!c->id.has_secret || !directory_cluster(c->m, &dc) || name.n >= sizeof text)
        return ERR_BUSY;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    peer.node = node;
    int err = ca_issue(dc.ca_certificate, dc.ca_key, c->id.secret, request, &peer, text, 0, certificate);
    return err == 0 ? ca_read(buf_span(certificate), info) : err;
}

int cluster_submit_issued(struct cluster *c, uint64_t node, const struct ca_info *info, agent_cb *cb,
                          void *ctx)
{
    struct command cmd = { .type = COMMAND_CERT_ISSUED,
                           .cert_issued = { .node = node, .not_after_ms = info->not_after_ms } };
    memcpy(cmd.cert_issued.sha256, info->sha256, sizeof info->sha256);
    return agent_submit(c->agent, &cmd, ISSUE_MS, cb, ctx);
}

/* ---- the leader's side --------------------------------------------------------------------------------- */

struct renewal {
    struct cluster *c;
    struct gossip_request *r; /* NULL: the leader's own */
    struct buf certificate;
};

static void use_new(struct cluster *c, struct span certificate);

static void renewed_cb(void *ctx, int err, const struct machine_result *result)
{
    struct renewal *job = ctx;
    if (err == 0 && result != NULL)
        err = result->err;
    if (job->r == NULL) {
        job->c->renewing = false;
        if (err == 0)
            use_new(job->c, buf_span(&job->certificate));
    } else if (err == 0) {
        gossip_answer(job->r, buf_span(&job->certificate));
    } else {
        gossip_ignore(job->r);
    }
    buf_fini(&job->certificate);
    free(job);
}

static int renew(struct cluster *c, struct gossip_request *r, uint64_t node, struct span request)
{
    struct directory_member mb;
    struct ca_info info;
    if (!c->ready || !directory_member_find(c->m, node, &mb) || mb.state == COMMAND_MEMBER_REMOVED)
        return ERR_BUSY;
    struct renewal *job = calloc(1, sizeof *job);
    if (job == NULL)
        return -ENOMEM;
    job->c = c;
    job->r = r;
    buf_init(&job->certificate, 32u << 10);
    int err = cluster_issue(c, request, node, mb.name, &job->certificate, &info);
    if (err == 0)
        err = cluster_submit_issued(c, node, &info, renewed_cb, job);
    if (err == 0) {
        log_info("cluster", "node %llu (%.*s) gets a new certificate", (unsigned long long)node,
                 (int)mb.name.n, mb.name.p);
        return 0;
    }
    buf_fini(&job->certificate);
    free(job);
    return err;
}

void cluster_on_renew(struct cluster *c, struct gossip_request *r, uint64_t from, struct span request)
{
    int err = renew(c, r, from, request);
    if (err == 0)
        return;
    log_warn("cluster", "node %llu asks for a new certificate in vain: %s", (unsigned long long)from,
             err_text(err));
    gossip_ignore(r);
}

void cluster_on_secret(struct cluster *c, struct gossip_request *r, uint64_t from)
{
    struct directory_member mb;
    if (c->id.has_secret && directory_member_find(c->m, from, &mb) && mb.state != COMMAND_MEMBER_REMOVED &&
        mb.role == COMMAND_ROLE_VOTER)
        gossip_answer(r, span_of(c->id.secret, sizeof c->id.secret));
    else
        gossip_ignore(r);
}

/* ---- one's own ----------------------------------------------------------------------------------------- */

static int64_t left_ms(struct cluster *c, int64_t *whole)
{
    struct ca_info info;
    if (ca_read(buf_span(&c->id.certificate), &info) != 0)
        return 0;
    *whole = info.not_after_ms - info.not_before_ms;
    return info.not_after_ms - clock_wall_ms();
}

bool cluster_certificate_expires_soon(struct cluster *c)
{
    int64_t whole = 0, left = left_ms(c, &whole);
    return left < whole / 6; /* it should have been renewed at a third */
}

static void save(struct cluster *c)
{
    struct buf why;
    buf_init(&why, 4096);
    if (identity_save(c->dir, &c->id, &why) != 0)
        log_error("cluster", "%.*s", (int)why.len, why.len == 0 ? "" : why.data);
    buf_fini(&why);
}

static void swap(struct buf *a, struct buf *b)
{
    struct buf was = *a;
    *a = *b;
    *b = was;
}

static void use_new(struct cluster *c, struct span certificate)
{
    struct ca_info info;
    struct buf fresh;
    buf_init(&fresh, 32u << 10);
    int err = buf_put_span(&fresh, certificate);
    if (err == 0)
        err = ca_verify(buf_span(&c->id.ca), certificate, clock_wall_ms());
    if (err == 0)
        err = ca_read(certificate, &info);
    if (err == 0 && info.peer.node != c->id.self.node)
        err = ERR_BAD;
    if (err == 0)
        err = transport_set_certificate(c->transport, certificate, buf_span(&c->renew_key));
    if (err == 0)
        err = gossip_set_certificate(c->gossip, certificate, buf_span(&c->renew_key));
    if (err == 0) {
        swap(&c->id.certificate, &fresh);
        swap(&c->id.key, &c->renew_key);
        save(c);
        log_info("cluster", "this node has a new certificate");
    } else {
        log_error("cluster", "the new certificate cannot be used: %s", err_text(err));
    }
    buf_fini(&fresh);
    if (c->renew_key.data != NULL)
        OPENSSL_cleanse(c->renew_key.data, c->renew_key.cap);
    buf_fini(&c->renew_key);
    buf_init(&c->renew_key, 32u << 10);
}

static void renew_answer_cb(void *ctx, uint64_t node, int err, struct span answer)
{
    struct cluster *c = ctx;
    (void)node;
    c->renewing = false;
    if (err == 0 && c->state == CLUSTER_RUNNING)
        use_new(c, answer);
    else
        log_warn("cluster", "no new certificate yet: %s", err_text(err));
}

static void ask_renewal(struct cluster *c)
{
    struct buf request;
    buf_init(&request, 32u << 10);
    buf_reset(&c->renew_key);
    int err = ca_make_request(c->id.name, &c->renew_key, &request);
    c->renewing = true;
    if (err == 0 && c->role == REPLICA_LEADER)
        err = renew(c, NULL, c->id.self.node, buf_span(&request));
    else if (err == 0)
        err = gossip_ask(c->gossip, c->leader, CLUSTER_ASK_RENEW, buf_span(&request), ASK_MS, renew_answer_cb,
                         c);
    if (err != 0) {
        c->renewing = false;
        log_warn("cluster", "no new certificate yet: %s", err_text(err));
    }
    buf_fini(&request);
}

static void secret_answer_cb(void *ctx, uint64_t node, int err, struct span answer)
{
    struct cluster *c = ctx;
    (void)node;
    c->asking_secret = false;
    if (err != 0 || answer.n != sizeof c->id.secret || c->state != CLUSTER_RUNNING)
        return;
    memcpy(c->id.secret, answer.p, answer.n);
    c->id.has_secret = true;
    save(c);
}

static void reported_cb(void *ctx, int err, const struct machine_result *r)
{
    struct cluster *c = ctx;
    (void)err;
    (void)r;
    c->reporting = false;
}

/* The directory says what each node runs. */
static void report(struct cluster *c, const struct directory_member *self)
{
    struct agent_session session;
    agent_session(c->agent, &session);
    if (c->reporting || !session.usable ||
        (self->features == COMMAND_FEATURES && span_eq(self->version, span_str(TURNPIKE_VERSION))))
        return;
    struct command cmd = { .type = COMMAND_MEMBER_REPORT,
                           .member_report = { .node = self->id,
                                              .version = span_str(TURNPIKE_VERSION),
                                              .features = COMMAND_FEATURES } };
    c->reporting = agent_submit(c->agent, &cmd, ISSUE_MS, reported_cb, c) == 0;
}

void cluster_renew_tick(struct cluster *c)
{
    struct directory_member self;
    int64_t whole = 0, now = clock_boot_ms();
    if (c->leader == 0 || !cluster_is_founded(c) || !cluster_own_member(c, &self))
        return;
    report(c, &self);
    if (self.role == COMMAND_ROLE_VOTER && !c->id.has_secret && !c->asking_secret &&
        c->role != REPLICA_LEADER)
        c->asking_secret = gossip_ask(c->gossip, c->leader, CLUSTER_ASK_SECRET, (struct span){ "", 0 },
                                      ASK_MS, secret_answer_cb, c) == 0;
    if (c->renewing || (c->renew_ms != 0 && now - c->renew_ms < RENEW_AGAIN_MS))
        return;
    c->renew_ms = now;
    int64_t left = left_ms(c, &whole);
    if (left < whole / 3)
        ask_renewal(c);
}
