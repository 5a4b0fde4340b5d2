/* Handlers of logins to the dashboard: docs/dashboard.md. The password is looked at here, on the connection's
 * thread: at most HASHES_MAX at a time, and as often as failed logins of accounts may be. Admin threads.
 */
#include "node/admin/member.h"

#include "base/clock.h"
#include "base/err.h"
#include "node/admin/guard.h"
#include "node/auth/accounts.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define HASHES_MAX 4

/* ---- whose password it is ------------------------------------------------------------------------------ */

static char stand_in[ACCOUNT_HASH_MAX + 1];

/* Of no operator: so that a name that there is not takes as long as a wrong password. */
static void make_stand_in(void)
{
    if (account_hash_password(SPAN_LIT("nobody's"), stand_in) != 0)
        stand_in[0] = '\0';
}

struct wanted {
    char hash[ACCOUNT_HASH_MAX + 1];
    uint64_t version;
    uint8_t role;
};

static bool operator_of(struct admin_call *c, const char *name, struct wanted *out)
{
    struct machine *m = member_is(c) ? c->cluster->machine(c->cluster_ctx) : NULL;
    struct directory_operator o;
    if (m == NULL)
        return false;
    machine_read_lock(m);
    bool found = directory_operator_find(m, span_str(name), &o) && o.hash.n < sizeof out->hash;
    if (found) {
        snprintf(out->hash, sizeof out->hash, "%.*s", (int)o.hash.n, o.hash.p);
        out->version = o.version;
        out->role = o.role;
    }
    machine_read_unlock(m);
    return found;
}

static int check_password(struct admin_call *c, const char *name, struct span password, struct wanted *w)
{
    static atomic_int hashing;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_stand_in);
    bool known = operator_of(c, name, w);
    int busy = atomic_fetch_add(&hashing, 1);
    bool right = false;
    if (busy < HASHES_MAX)
        right = account_hash_verify(known ? w->hash : stand_in, password) && known;
    atomic_fetch_sub(&hashing, 1);
    OPENSSL_cleanse(w->hash, sizeof w->hash);
    if (busy >= HASHES_MAX)
        return admin_fail(&c->e, ERR_BUSY, "too many log in at this moment: try again");
    return right ? 0 : ERR_DENIED;
}

/* ---- the answer ---------------------------------------------------------------------------------------- */

static int put_login(struct admin_call *c, const struct login *l)
{
    struct json_out j;
    json_out_begin(&j, &c->out);
    json_out_str(&j, "name", l->name);
    json_out_str(&j, "role", admin_role_name(l->role));
    json_out_str(&j, "csrf", l->csrf);
    json_out_i64(&j, "until_ms", l->until_ms);
    json_out_i64(&j, "ends_ms", l->ends_ms);
    json_out_bool(&j, "this_node_only", l->here);
    json_out_bool(&j, "member", member_is(c));
    return json_out_end(&j);
}

/* In the cluster's state; without a majority on this node alone. */
static int open_login(struct admin_call *c, struct login *l, uint64_t version)
{
    struct command cmd = { .type = COMMAND_LOGIN_SET,
                           .login_set = { .name = span_str(l->name),
                                          .until_ms = (uint64_t)l->until_ms,
                                          .ends_ms = (uint64_t)l->ends_ms,
                                          .open = true } };
    memcpy(cmd.login_set.id, l->id, sizeof l->id);
    int err = version != 0 ? member_submit(c, &cmd, NULL) : 0;
    l->here = version == 0 || err == ERR_TIMEOUT;
    if (l->here) {
        logins_open_here(c->logins, l, version);
        c->code = NULL;
        err = 0;
    }
    return err;
}

static int too_often(struct admin_call *c, int64_t wait_ms)
{
    return admin_fail(&c->e, ERR_LIMIT, "too many failed logins: try again in %" PRId64 " s",
                      (wait_ms + 999) / 1000);
}

static int wrong(struct admin_call *c, const char *name)
{
    if (c->ops->login_count != NULL)
        c->ops->login_count(c->ops->ctx, name, (const struct sockaddr *)&c->caller->peer, false);
    c->code = "unauthorized";
    return admin_fail(&c->e, ERR_DENIED, "name or password are wrong");
}

int admin_on_login(struct admin_call *c)
{
    const char *name = admin_arg_str(c->args, "name"), *password = admin_arg_str(c->args, "password");
    const char *token = admin_arg_str(c->args, "token");
    const struct sockaddr *peer = (const struct sockaddr *)&c->caller->peer;
    char secret[LOGIN_SECRET_TEXT];
    struct login l = { .role = COMMAND_ROLE_ADMIN };
    struct wanted w = { .version = 0, .role = COMMAND_ROLE_ADMIN };
    if (c->logins == NULL || c->caller->local)
        return admin_fail(&c->e, ERR_BAD, "there is nothing to log in to on this socket");
    if ((token != NULL) == (name != NULL && password != NULL))
        return admin_fail(&c->e, ERR_BAD, "give name and password, or the token");
    if (name != NULL && strlen(name) > LOGIN_OPERATOR_MAX)
        return wrong(c, "");
    const char *counted = token != NULL ? "" : name;
    int64_t wait_ms = c->ops->login_wait != NULL ? c->ops->login_wait(c->ops->ctx, counted, peer) : 0;
    if (wait_ms > 0)
        return too_often(c, wait_ms);
    int err = token == NULL                           ? check_password(c, name, span_str(password), &w)
              : c->token_ok(c->conn, span_str(token)) ? 0
                                                      : ERR_DENIED;
    if (err != 0)
        return err == ERR_DENIED ? wrong(c, counted) : err;
    err = login_make(secret, &l);
    if (err != 0)
        return admin_fail(&c->e, err, "there is no randomness to be had");
    if (c->ops->login_count != NULL)
        c->ops->login_count(c->ops->ctx, counted, peer, true);
    snprintf(l.name, sizeof l.name, "%s", token != NULL ? "token" : name);
    l.role = w.role;
    l.ends_ms = clock_wall_ms() + LOGIN_ENDS_MS;
    l.until_ms = clock_wall_ms() + LOGIN_IDLE_MS;
    err = open_login(c, &l, w.version);
    if (err == 0) {
        snprintf(c->cookie, sizeof c->cookie, LOGIN_COOKIE "=%s; Path=/; Secure; HttpOnly; SameSite=Strict",
                 secret);
        err = put_login(c, &l);
    }
    OPENSSL_cleanse(secret, sizeof secret);
    return err;
}

int admin_on_logout(struct admin_call *c)
{
    if (c->login == NULL)
        return admin_fail(&c->e, ERR_BAD, "nobody is logged in by a cookie");
    struct command cmd = { .type = COMMAND_LOGIN_END, .login_end = { .name = span_str(c->login->name) } };
    memcpy(cmd.login_end.id, c->login->id, sizeof c->login->id);
    logins_close_here(c->logins, c->login->id);
    snprintf(c->cookie, sizeof c->cookie,
             LOGIN_COOKIE "=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    return c->login->here ? admin_ok(c) : member_do(c, &cmd);
}

int admin_on_session(struct admin_call *c)
{
    if (c->login == NULL)
        return admin_fail(&c->e, ERR_BAD, "nobody is logged in by a cookie");
    return put_login(c, c->login);
}

void admin_login_used(struct admin_call *c, struct login *l, int64_t now_ms)
{
    int64_t until_ms = now_ms + LOGIN_IDLE_MS < l->ends_ms ? now_ms + LOGIN_IDLE_MS : l->ends_ms;
    if (until_ms - l->until_ms < LOGIN_RENEW_MS)
        return;
    struct command cmd = { .type = COMMAND_LOGIN_SET,
                           .login_set = { .name = span_str(l->name), .until_ms = (uint64_t)until_ms } };
    memcpy(cmd.login_set.id, l->id, sizeof l->id);
    int err = l->here ? ERR_TIMEOUT : member_submit(c, &cmd, NULL);
    if (err == ERR_TIMEOUT)
        logins_extend_here(c->logins, l, until_ms);
    if (err == 0 || err == ERR_TIMEOUT)
        l->until_ms = until_ms;
    c->code = NULL;
    c->e.text[0] = '\0';
}

int admin_on_session_keep(struct admin_call *c)
{
    return admin_on_session(c); /* that it was a POST was enough */
}
