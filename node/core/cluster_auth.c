/* The cluster's accounts and failed logins, for node/auth. Accounts are looked up in the replicated state at
 * each login; failures that one node sees are told to all others, so that guessing on all nodes in turn
 * counts once, and so are the networks that accounts' owners log in from, which stay open to them.
 */
#include "base/err.h"
#include "base/log.h"
#include "node/auth/auth.h"
#include "node/core/cluster_impl.h"
#include "node/core/tally.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <stdlib.h>

#define LOGINS_MAX 1024 /* on their way to the cluster thread; more are not told */

struct cluster_auth {
    struct cluster *c;
    struct inbox logins;
};

struct login {
    struct inbox_msg msg;
    uint16_t type; /* CLUSTER_MESSAGE_AUTH_... */
    size_t account_bytes, network_bytes;
    char text[]; /* account, network */
};

/* ---- accounts: any thread ------------------------------------------------------------------------------ */

static const char *text_put(struct auth_text *text, size_t *at, struct span s)
{
    char *p = text->bytes + *at;
    if (s.n >= sizeof text->bytes - *at)
        return NULL;
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    *at += s.n + 1;
    return p;
}

static bool account_copy(const struct directory_account *a, struct account *out, struct auth_text *text)
{
    size_t at = 0;
    *out = (struct account){ .name = text_put(text, &at, a->name),
                             .hash = text_put(text, &at, a->hash),
                             .tenant = text_put(text, &at, a->tenant),
                             .senders = text_put(text, &at, a->senders),
                             .class = a->class,
                             .disabled = a->disabled };
    return out->name != NULL && out->hash != NULL && out->tenant != NULL && out->senders != NULL;
}

bool cluster_account_find(struct cluster *c, struct span name, struct account *out, struct auth_text *text)
{
    struct machine *m = cluster_machine(c);
    struct directory_account a;
    if (m == NULL)
        return false;
    machine_read_lock(m);
    bool found = directory_account_find(m, name, &a) && account_copy(&a, out, text);
    machine_read_unlock(m);
    return found;
}

static bool auth_find_cb(void *ctx, struct span name, struct account *out, struct auth_text *text)
{
    return cluster_account_find(ctx, name, out, text);
}

#define STAND_IN_LOOKED_AT 64

struct stand_in {
    struct account *out;
    struct auth_text *text;
    uint32_t looked;
    bool found;
};

static int stand_in_row_cb(void *arg, const struct directory_account *a)
{
    struct stand_in *s = arg;
    s->found = a->hash.n > 0 && a->hash.p[0] == '$' && account_copy(a, s->out, s->text);
    return s->found || ++s->looked == STAND_IN_LOOKED_AT;
}

/* The next account in order, or the first one: neighbours of a name that does not exist stay the same. */
static bool auth_stand_in_cb(void *ctx, struct span name, struct account *out, struct auth_text *text)
{
    struct machine *m = cluster_machine(ctx);
    struct stand_in s = { .out = out, .text = text };
    if (m == NULL)
        return false;
    machine_read_lock(m);
    (void)directory_account_each(m, name, stand_in_row_cb, &s);
    if (!s.found)
        (void)directory_account_each(m, (struct span){ "", 0 }, stand_in_row_cb, &s);
    machine_read_unlock(m);
    return s.found;
}

void cluster_auth_changed(struct cluster *c, struct span account)
{
    auth_forget(c->node->auth, account);
}

/* ---- failures ------------------------------------------------------------------------------------------ */

static void pass_on(struct cluster_auth *a, struct span account, struct span network, uint16_t type)
{
    struct login *f = malloc(sizeof *f + account.n + network.n);
    if (f == NULL)
        return;
    *f = (struct login){ .type = type, .account_bytes = account.n, .network_bytes = network.n };
    if (account.n > 0)
        memcpy(f->text, account.p, account.n);
    if (network.n > 0)
        memcpy(f->text + account.n, network.p, network.n);
    if (inbox_push(&a->logins, &f->msg) != 0)
        free(f);
}

/* On the checker's threads. */
static void auth_login_cb(void *ctx, struct span account, struct span network, bool right)
{
    pass_on(ctx, account, network, right ? CLUSTER_MESSAGE_AUTH_RIGHT : CLUSTER_MESSAGE_AUTH_FAILED);
}

void cluster_auth_unblock(struct cluster *c, struct span account, struct span network)
{
    pass_on(c->auth, account, network, CLUSTER_MESSAGE_AUTH_UNBLOCK);
}

static void cluster_login_cb(void *ctx, struct inbox_msg *msg)
{
    struct cluster_auth *a = ctx;
    struct cluster *c = a->c;
    struct login *f = LIST_ITEM(msg, struct login, msg);
    struct buf out;
    buf_init(&out, 1024);
    buf_put_counted(&out, span_of(f->text, f->account_bytes));
    buf_put_counted(&out, span_of(f->text + f->account_bytes, f->network_bytes));
    if (buf_err(&out) == 0 && c->state == CLUSTER_RUNNING && c->gossip != NULL)
        (void)gossip_send_all(c->gossip, f->type, buf_span(&out));
    buf_fini(&out);
    if (f->type != CLUSTER_MESSAGE_AUTH_UNBLOCK && c->state == CLUSTER_RUNNING && directory_sender_known(c->m, span_of(f->text, f->account_bytes)))
        tally_add(c, span_of(f->text, f->account_bytes), RECORD_FAILED_LOGINS);
    free(f);
}

void cluster_auth_heard(struct cluster *c, struct span payload, uint16_t type)
{
    struct cursor in;
    cursor_init(&in, payload.p, payload.n);
    struct span account = cursor_counted(&in), network = cursor_counted(&in);
    if (cursor_err(&in) != 0 || cursor_left(&in) != 0 || account.n > ACCOUNT_NAME_MAX ||
        network.n > AUTH_NETWORK_MAX)
        return;
    if (type == CLUSTER_MESSAGE_AUTH_UNBLOCK)
        (void)auth_unblock(c->node->auth, account, network);
    else
        auth_note(c->node->auth, account, network, type == CLUSTER_MESSAGE_AUTH_RIGHT);
}

void cluster_auth_policy(struct cluster *c, const struct policy *p)
{
    const struct auth_guard_config guard = { .account_failures = p->auth_guard.failures_per_account,
                                             .client_failures = p->auth_guard.failures_per_network,
                                             .window_ms = p->auth_guard.window_ms,
                                             .block_ms = p->auth_guard.block_ms };
    auth_set_guard(c->node->auth, &guard);
}

/* ---- life ---------------------------------------------------------------------------------------------- */

int cluster_auth_new(struct cluster *c, struct cluster_auth **out)
{
    struct cluster_auth *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    a->c = c;
    int err = inbox_init(&a->logins, &c->loop, LOGINS_MAX, cluster_login_cb, a);
    if (err != 0) {
        free(a);
        return err;
    }
    const struct auth_source source = { .find = auth_find_cb, .stand_in = auth_stand_in_cb, .ctx = c };
    auth_set_source(c->node->auth, &source);
    auth_on_login(c->node->auth, auth_login_cb, a);
    *out = a;
    return 0;
}

void cluster_auth_close(struct cluster_auth *a)
{
    auth_on_login(a->c->node->auth, NULL, NULL);
    auth_set_guard(a->c->node->auth, NULL);
    inbox_close(&a->logins, NULL);
}

void cluster_auth_free(struct cluster_auth *a)
{
    if (a == NULL)
        return;
    inbox_fini(&a->logins);
    free(a);
}
