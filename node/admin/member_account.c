/* Accounts that are kept by the cluster: read from the replicated state, changed by commands. Passwords are
 * hashed on the admin thread that asks; only the hash goes further.
 */
#include "node/admin/member.h"
#include "node/admin/tenant.h"

#include "base/clock.h"
#include "base/err.h"
#include "node/auth/accounts.h"
#include "node/tenant/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ACCOUNT_TRIES 4 /* somebody else may change it between our look and our command */

/* ---- reading ------------------------------------------------------------------------------------------- */

static void put_account(struct json_out *j, const struct directory_account *a)
{
    json_out_span(j, "name", a->name);
    json_out_str(j, "class", member_class_name(a->class));
    json_out_opt(j, "tenant", a->tenant);
    json_out_split(j, "senders", a->senders, ',');
    json_out_bool(j, "disabled", a->disabled);
    json_out_bool(j, "has_password", a->hash.n > 0 && !span_eq(a->hash, SPAN_LIT("!")));
    json_out_time(j, "changed_ms", 0);
    json_out_u64(j, "version", a->version);
}

struct account_rows {
    struct member_page page;
    const struct admin_call *c;
};

static int on_account(void *arg, const struct directory_account *a)
{
    struct account_rows *r = arg;
    if (!admin_sees(r->c, a->tenant))
        return 0;
    if (!member_page_row(&r->page, a->name))
        return 1;
    put_account(&r->page.j, a);
    json_out_close(&r->page.j, '}');
    return 0;
}

int member_account_list(struct admin_call *c)
{
    const char *after = admin_arg_str(c->args, "after");
    struct account_rows r = { .c = c };
    struct machine *m;
    int err = member_fresh(c, &m);
    if (err != 0)
        return err;
    member_page_begin(&r.page, c, "accounts");
    machine_read_lock(m);
    directory_account_each(m, after != NULL ? span_str(after) : span_of("", 0), on_account, &r);
    machine_read_unlock(m);
    return member_page_end(&r.page, c);
}

static int canonical(struct admin_call *c, const char *name, char out[ACCOUNT_NAME_MAX + 1])
{
    return account_name_canonical(span_str(name), out) == 0
               ? 0
               : admin_fail(&c->e, ERR_BAD, "that is no account name: give one such as anna@example.com");
}

int member_account_show(struct admin_call *c, const char *name)
{
    char text[ACCOUNT_NAME_MAX + 1];
    struct directory_account a;
    struct json_out j;
    struct machine *m;
    int err = member_fresh(c, &m);
    if (err == 0)
        err = canonical(c, name, text);
    if (err != 0)
        return err;
    json_out_begin(&j, &c->out);
    machine_read_lock(m);
    bool found = directory_account_find(m, span_str(text), &a);
    if (found) {
        struct span pool = directory_pool_of(m, a.name, a.tenant, a.class);
        put_account(&j, &a);
        json_out_opt(&j, "pool", pool);
    }
    machine_read_unlock(m);
    json_out_end(&j);
    return found ? buf_err(&c->out) : admin_fail(&c->e, ERR_NOT_FOUND, "there is no account %s", text);
}

/* ---- one account --------------------------------------------------------------------------------------- */

/* What a command borrows. */
struct spec {
    char name[ACCOUNT_NAME_MAX + 1], hash[ACCOUNT_HASH_MAX + 1], tenant[COMMAND_NAME_MAX + 1];
    struct buf senders;
    struct command cmd;
};

static void spec_fini(struct spec *s)
{
    explicit_bzero(s->hash, sizeof(s->hash));
    buf_fini(&s->senders);
}

/* `e` gets the words: an import has one for each entry. */
static int put_sender_list(struct spec *s, const char *const *senders, uint32_t n, struct admin_error *e)
{
    buf_reset(&s->senders);
    if (n > ACCOUNT_SENDERS_MAX)
        return admin_fail(e, ERR_BAD, "more than %d senders", ACCOUNT_SENDERS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        const char *why = strchr(senders[i], ',') != NULL ? "a sender is one address, one domain or *"
                                                          : account_sender_check(span_str(senders[i]));
        if (why != NULL)
            return admin_fail(e, ERR_BAD, "%s: %s", senders[i], why);
        buf_printf(&s->senders, "%s%s", i > 0 ? "," : "", senders[i]);
    }
    return buf_err(&s->senders);
}

static int put_hash(struct spec *s, const struct admin_account *a, struct admin_error *e)
{
    struct span hash;
    snprintf(s->hash, sizeof(s->hash), "!");
    if (a->hash != NULL) {
        if (!account_hash_recognise(span_str(a->hash), &hash) || hash.n > ACCOUNT_HASH_MAX)
            return admin_fail(e, ERR_BAD, "that is no crypt(5) hash that can be checked");
        snprintf(s->hash, sizeof(s->hash), "%.*s", (int)hash.n, hash.p);
    } else if (a->password != NULL && account_hash_password(span_str(a->password), s->hash) != 0) {
        return admin_fail(e, ERR_BAD, "the password cannot be used: empty, or over %d bytes",
                          ACCOUNT_PASSWORD_MAX);
    }
    return 0;
}

static int spec_init(struct spec *s, const struct admin_account *a, struct admin_error *e)
{
    struct command_account_set *set = &s->cmd.account_set;
    memset(s, 0, sizeof(*s));
    buf_init(&s->senders, ACCOUNT_LINE_MAX);
    s->cmd.type = COMMAND_ACCOUNT_SET;
    if (account_name_canonical(span_str(a->name), s->name) != 0)
        return admin_fail(e, ERR_BAD, "that is no account name: give one such as anna@example.com");
    int class = a->class != NULL ? account_class_parse(span_str(a->class)) : ACCOUNT_PERSON;
    if (class < 0)
        return admin_fail(e, ERR_BAD, "there is no class %s: there are person, device and bulk", a->class);
    set->name = span_str(s->name);
    set->class = (uint8_t) class;
    set->disabled = a->disabled;
    set->tenant = a->tenant != NULL ? span_str(a->tenant) : tenant_default(set->name);
    if (set->tenant.n > COMMAND_NAME_MAX)
        return admin_fail(e, ERR_BAD, "tenant is longer than %d bytes", COMMAND_NAME_MAX);
    int err = put_sender_list(s, a->senders, a->nsenders, e);
    if (err == 0)
        err = put_hash(s, a, e);
    set->senders = s->senders.len > 0 ? buf_span(&s->senders) : span_of("", 0);
    set->hash = span_str(s->hash);
    return err;
}

static int add(struct admin_call *c, const struct admin_account *a, bool replace, struct admin_error *e)
{
    struct spec s;
    struct machine_result result = { 0 };
    int err = spec_init(&s, a, e);
    s.cmd.account_set.create = !replace;
    s.cmd.account_set.upsert = replace;
    if (err == 0)
        err = c->cluster->submit(c->cluster_ctx, c->caller, &s.cmd, &result, e);
    if (err == ERR_TIMEOUT)
        c->code = "no_majority";
    if (err == ERR_EXISTS)
        admin_fail(e, err, "there is an account %s already", s.name);
    spec_fini(&s);
    return err;
}

int member_account_add(struct admin_call *c, const struct admin_account *a, bool replace)
{
    int err = add(c, a, replace, &c->e);
    return err != 0 ? err : admin_ok(c);
}

/* The account as it is, for a change of a part of it; the command then names the version that was seen. */
static int spec_read(struct spec *s, struct admin_call *c, const char *name)
{
    struct command_account_set *set = &s->cmd.account_set;
    struct directory_account a;
    struct machine *m;
    memset(s, 0, sizeof(*s));
    buf_init(&s->senders, ACCOUNT_LINE_MAX);
    s->cmd.type = COMMAND_ACCOUNT_SET;
    int err = member_fresh(c, &m);
    if (err == 0)
        err = canonical(c, name, s->name);
    if (err != 0)
        return err;
    machine_read_lock(m);
    bool found = directory_account_find(m, span_str(s->name), &a);
    if (found) {
        buf_put_span(&s->senders, a.senders);
        snprintf(s->tenant, sizeof(s->tenant), "%.*s", (int)a.tenant.n, a.tenant.n > 0 ? a.tenant.p : "");
        set->class = a.class;
        set->disabled = a.disabled;
        set->by.version = a.version;
    }
    machine_read_unlock(m);
    if (!found)
        return admin_fail(&c->e, ERR_NOT_FOUND, "there is no account %s", s->name);
    set->name = span_str(s->name);
    set->tenant = span_str(s->tenant);
    set->senders = s->senders.len > 0 ? buf_span(&s->senders) : span_of("", 0);
    set->hash = span_of("", 0);
    set->keep_hash = true;
    return buf_err(&s->senders);
}

int member_account_passwd(struct admin_call *c, const char *name, const char *password)
{
    char hash[ACCOUNT_HASH_MAX + 1];
    int err = ERR_BUSY;
    if (account_hash_password(span_str(password), hash) != 0)
        return admin_fail(&c->e, ERR_BAD, "the password cannot be used: empty, or over %d bytes",
                          ACCOUNT_PASSWORD_MAX);
    for (int i = 0; err == ERR_BUSY && i < ACCOUNT_TRIES; i++) {
        struct spec s;
        err = spec_read(&s, c, name);
        s.cmd.account_set.hash = span_str(hash);
        s.cmd.account_set.keep_hash = false;
        if (err == 0)
            err = member_submit(c, &s.cmd, NULL);
        spec_fini(&s);
    }
    explicit_bzero(hash, sizeof(hash));
    return err != 0 ? err : admin_ok(c);
}

static int put_change(struct spec *s, struct admin_call *c, const struct admin_account_change *change)
{
    struct command_account_set *set = &s->cmd.account_set;
    int class = change->class != NULL ? account_class_parse(span_str(change->class)) : set->class;
    if (class < 0)
        return admin_fail(&c->e, ERR_BAD, "there is no class %s: there are person, device and bulk",
                          change->class);
    set->class = (uint8_t) class;
    if (change->tenant != NULL)
        set->tenant = span_str(change->tenant);
    if (set->tenant.n > COMMAND_NAME_MAX)
        return admin_fail(&c->e, ERR_BAD, "tenant is longer than %d bytes", COMMAND_NAME_MAX);
    if (change->disabled >= 0)
        set->disabled = change->disabled > 0;
    if (!change->set_senders)
        return 0;
    int err = put_sender_list(s, change->senders, change->nsenders, &c->e);
    set->senders = s->senders.len > 0 ? buf_span(&s->senders) : span_of("", 0);
    return err;
}

int member_account_set(struct admin_call *c, const struct admin_account_change *change)
{
    int err = ERR_BUSY;
    for (int i = 0; err == ERR_BUSY && i < ACCOUNT_TRIES; i++) {
        struct spec s;
        err = spec_read(&s, c, change->name);
        if (err == 0)
            err = put_change(&s, c, change);
        if (err == 0)
            err = member_submit(c, &s.cmd, NULL);
        spec_fini(&s);
    }
    return err != 0 ? err : admin_ok(c);
}

int member_account_remove(struct admin_call *c, const char *name)
{
    struct command cmd = { .type = COMMAND_ACCOUNT_REMOVE };
    char text[ACCOUNT_NAME_MAX + 1];
    int err = canonical(c, name, text);
    cmd.name.name = span_str(text);
    if (err == 0)
        err = member_submit(c, &cmd, NULL);
    if (err == ERR_NOT_FOUND)
        admin_fail(&c->e, err, "there is no account %s", text);
    return err != 0 ? err : admin_ok(c);
}

/* ---- many ---------------------------------------------------------------------------------------------- */

/* Without a majority each entry would wait in vain, and a call must end in time. */
int member_account_import(struct admin_call *c, const struct admin_account *a, uint32_t n, bool replace,
                          admin_import_fn *each, void *arg)
{
    int64_t until_ms = clock_boot_ms() + ADMIN_CALL_MAX_MS / 2;
    struct machine *m;
    int lost = 0, err = member_machine(c, &m);
    for (uint32_t i = 0; err == 0 && i < n; i++) {
        struct admin_error e = { "" };
        int one = lost != 0 ? lost
                  : clock_boot_ms() > until_ms
                      ? admin_fail(&e, ERR_TIMEOUT, "not reached in time: give it again")
                      : add(c, &a[i], replace, &e);
        if (lost == 0 && (one == ERR_TIMEOUT || one == ERR_CLOSED))
            lost = one;
        each(arg, i, one, one == 0 ? "" : e.text[0] != '\0' ? e.text : err_text(one));
    }
    return err;
}
