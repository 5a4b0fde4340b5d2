/* Handlers about who may log in to the dashboard. Passwords come in, are hashed here, and never go out. Admin
 * threads.
 */
#include "node/admin/member.h"

#include "base/clock.h"
#include "base/err.h"
#include "node/auth/accounts.h"

#include <openssl/crypto.h>
#include <string.h>

struct rows {
    struct member_page page;
    const struct machine *m;
    struct span name; /* whose logins are put */
    int64_t now_ms;
};

static int on_login(void *arg, const struct directory_login *l)
{
    struct rows *r = arg;
    struct json_out *j = &r->page.j;
    if (!span_eq(l->name, r->name) || l->until_ms <= r->now_ms)
        return 0;
    json_out_open(j, NULL, '{');
    json_out_span(j, "from", l->who);
    json_out_time(j, "since_ms", l->wall_ms);
    json_out_time(j, "until_ms", l->until_ms);
    json_out_close(j, '}');
    return 0;
}

static int on_operator(void *arg, const struct directory_operator *o)
{
    struct rows *r = arg;
    struct json_out *j = &r->page.j;
    if (!member_page_row(&r->page, o->name))
        return 1;
    json_out_span(j, "name", o->name);
    json_out_str(j, "role", admin_role_name(o->role));
    json_out_time(j, "changed_ms", o->wall_ms);
    json_out_u64(j, "version", o->version);
    r->name = o->name;
    json_out_open(j, "logins", '[');
    directory_login_each(r->m, on_login, r);
    json_out_close(j, ']');
    json_out_close(j, '}');
    return 0;
}

int admin_on_operators(struct admin_call *c)
{
    const char *after = admin_arg_str(c->args, "after");
    struct rows r = { .now_ms = clock_wall_ms() };
    struct machine *m;
    int err = member_fresh(c, &m);
    if (err != 0)
        return err;
    member_page_begin(&r.page, c, "operators");
    r.m = m;
    machine_read_lock(m);
    directory_operator_each(m, after != NULL ? span_str(after) : span_of("", 0), on_operator, &r);
    machine_read_unlock(m);
    return member_page_end(&r.page, c);
}

/* The command's name, role and hash from the call's; `hash` has room for one. */
static int fill(struct admin_call *c, struct command_operator_set *o, char hash[ACCOUNT_HASH_MAX + 1])
{
    const char *password = admin_arg_str(c->args, "password");
    struct machine *m;
    int err = member_machine(c, &m); /* before a hash is made for nothing */
    if (err == 0)
        err = member_name(c, "name", &o->name);
    if (err == 0 && o->name.n > LOGIN_OPERATOR_MAX)
        err = admin_fail(&c->e, ERR_BAD, "name is longer than %d bytes", LOGIN_OPERATOR_MAX);
    if (err != 0)
        return err;
    o->role = admin_role_of(admin_arg_str(c->args, "role"));
    if (password == NULL)
        return 0;
    if (strlen(password) < LOGIN_PASSWORD_MIN)
        return admin_fail(&c->e, ERR_BAD, "an operator's password has at least %d characters",
                          LOGIN_PASSWORD_MIN);
    err = account_hash_password(span_str(password), hash);
    o->hash = err == 0 ? span_str(hash) : o->hash;
    return err != 0 ? admin_fail(&c->e, err, "the password cannot be hashed: it is too long") : 0;
}

static int operator_do(struct admin_call *c, bool create)
{
    char hash[ACCOUNT_HASH_MAX + 1] = "";
    struct command cmd = { .type = COMMAND_OPERATOR_SET, .operator_set = { .create = create } };
    int err = fill(c, &cmd.operator_set, hash);
    if (err == 0)
        err = member_do(c, &cmd);
    OPENSSL_cleanse(hash, sizeof hash);
    return err;
}

int admin_on_operator_add(struct admin_call *c)
{
    return operator_do(c, true);
}

int admin_on_operator_set(struct admin_call *c)
{
    return operator_do(c, false);
}

int admin_on_operator_passwd(struct admin_call *c)
{
    return operator_do(c, false);
}

int admin_on_operator_remove(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_OPERATOR_REMOVE };
    int err = member_name(c, "name", &cmd.name.name);
    return err != 0 ? err : member_do(c, &cmd);
}

int admin_on_operator_logout(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_LOGIN_END, .login_end = { .all = true } };
    int err = member_name(c, "name", &cmd.login_end.name);
    return err != 0 ? err : member_do(c, &cmd);
}
