/* Handlers about tenants, and about the limits of tenants and accounts. Admin threads. */
#include "node/admin/member.h"
#include "node/admin/tenant.h"

#include "base/err.h"
#include "node/auth/accounts.h"
#include "node/config/types.h"

/* ---- tenants ------------------------------------------------------------------------------------------- */

struct tenant_rows {
    struct member_page page;
    const struct admin_call *c;
    const struct machine *m;
    const char *after;
};

static int on_tenant(void *arg, const struct directory_tenant *t)
{
    struct tenant_rows *r = arg;
    if (!admin_sees(r->c, t->name))
        return 0;
    if (!member_page_row(&r->page, t->name))
        return 1;
    json_out_span(&r->page.j, "name", t->name);
    /* the operators' remark is not for the tenant */
    json_out_opt(&r->page.j, "note", r->c->caller->tenant[0] == '\0' ? t->note : span_of("", 0));
    struct span contact = { "", 0 };
    (void)directory_contact_find(r->m, t->name, &contact);
    json_out_opt(&r->page.j, "contact", contact);
    json_out_u64(&r->page.j, "version", t->version);
    json_out_close(&r->page.j, '}');
    return 0;
}

int admin_on_tenants(struct admin_call *c)
{
    struct tenant_rows r = { .c = c, .after = admin_arg_str(c->args, "after") };
    struct machine *m;
    int err = member_fresh(c, &m);
    if (err != 0)
        return err;
    member_page_begin(&r.page, c, "tenants");
    r.m = m;
    machine_read_lock(m);
    directory_tenant_each(m, r.after != NULL ? span_str(r.after) : span_of("", 0), on_tenant, &r);
    machine_read_unlock(m);
    return member_page_end(&r.page, c);
}

int admin_on_tenant_set(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_TENANT_SET };
    const char *note = admin_arg_str(c->args, "note");
    int err = member_name(c, "name", &cmd.tenant_set.name);
    cmd.tenant_set.note = note != NULL ? span_str(note) : span_of("", 0);
    return err != 0 ? err : member_do(c, &cmd);
}

int admin_on_tenant_contact(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_TENANT_CONTACT };
    int err = member_name(c, "name", &cmd.tenant_contact.name);
    if (err == 0)
        err = member_name(c, "address", &cmd.tenant_contact.address);
    if (err == 0 && cmd.tenant_contact.address.n > 0 && !email_valid(cmd.tenant_contact.address))
        err = admin_fail(&c->e, ERR_BAD, "address: expected a mail address such as it@example.org");
    return err != 0 ? err : member_do(c, &cmd);
}

int admin_on_tenant_remove(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_TENANT_REMOVE };
    int err = member_name(c, "name", &cmd.name.name);
    return err != 0 ? err : member_do(c, &cmd);
}

/* ---- tenants' tokens ----------------------------------------------------------------------------------- */

static int on_token(void *arg, const struct directory_access *a)
{
    struct member_page *p = arg;
    if (!member_page_row(p, a->id))
        return 1;
    json_out_span(&p->j, "id", a->id);
    json_out_span(&p->j, "tenant", a->tenant);
    json_out_opt(&p->j, "note", a->note);
    json_out_time(&p->j, "made_ms", a->wall_ms);
    json_out_span(&p->j, "by", a->who);
    json_out_close(&p->j, '}');
    return 0;
}

int admin_on_tenant_tokens(struct admin_call *c)
{
    const char *after = admin_arg_str(c->args, "after");
    struct member_page page;
    struct machine *m;
    int err = member_fresh(c, &m);
    if (err != 0)
        return err;
    member_page_begin(&page, c, "tokens");
    machine_read_lock(m);
    directory_access_each(m, after != NULL ? span_str(after) : span_of("", 0), on_token, &page);
    machine_read_unlock(m);
    return member_page_end(&page, c);
}

int admin_on_tenant_token_add(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_TENANT_TOKEN_ADD };
    struct command_tenant_token *add = &cmd.tenant_token;
    const char *note = admin_arg_str(c->args, "note");
    char id[33], text[ADMIN_TENANT_TOKEN_MAX];
    struct json_out j;
    int err = member_name(c, "name", &add->tenant);
    if (err == 0 && admin_tenant_token_new(id, text, add->secret_sha256) != 0)
        err = admin_fail(&c->e, ERR_FAILED, "no random numbers are to be had");
    if (err != 0)
        return err;
    add->id = span_str(id);
    add->note = note != NULL ? span_str(note) : span_of("", 0);
    err = member_submit(c, &cmd, NULL);
    json_out_begin(&j, &c->out);
    json_out_str(&j, "id", id);
    json_out_span(&j, "tenant", add->tenant);
    json_out_str(&j, "token", text);
    explicit_bzero(text, sizeof text);
    return err != 0 ? err : json_out_end(&j);
}

int admin_on_tenant_token_remove(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_TENANT_TOKEN_REMOVE };
    int err = member_name(c, "id", &cmd.name.name);
    return err != 0 ? err : member_do(c, &cmd);
}

/* ---- limits -------------------------------------------------------------------------------------------- */

struct limits {
    struct json_out j;
    uint64_t now_ms; /* cluster time */
};

static void put_after(struct limits *l, const char *key, uint64_t at_ms)
{
    json_out_u64(&l->j, key, at_ms > l->now_ms ? at_ms - l->now_ms : 0);
}

static int on_usage(void *arg, const struct machine_usage *u)
{
    struct limits *l = arg;
    struct json_out *j = &l->j;
    json_out_open(j, NULL, '{');
    json_out_str(j, "limit", u->limit);
    json_out_str(j, "scope", member_scope_name(u->scope));
    json_out_u64(j, "count", u->count);
    json_out_u64(j, "window_ms", u->window_ms);
    json_out_u64(j, "used", u->used);
    json_out_u64(j, "held", u->held);
    json_out_u64(j, "burned", u->burned);
    json_out_u64(j, "left", u->count > u->used && !u->full ? u->count - u->used : 0);
    put_after(l, "free_after_ms", u->free_ms);
    put_after(l, "gone_after_ms", u->gone_ms);
    json_out_bool(j, "overridden", u->overridden);
    json_out_close(j, '}');
    return 0;
}

int admin_on_limits(struct admin_call *c)
{
    struct machine *m;
    struct limits l;
    struct span name, tenant;
    struct directory_account account = { 0 };
    uint8_t scope, class = ACCOUNT_PERSON;
    char text[COMMAND_NAME_MAX + 1];
    int err = member_sender(c, &scope, text, &name);
    if (err == 0)
        err = member_fresh(c, &m);
    if (err != 0)
        return err;
    json_out_begin(&l.j, &c->out);
    machine_read_lock(m);
    l.now_ms = machine_now_ms(m);
    bool by_account = scope == COMMAND_SCOPE_ACCOUNT,
         known = by_account && directory_account_find(m, name, &account);
    tenant = known ? account.tenant : by_account ? member_default_tenant(name) : name;
    class = known ? account.class : class;
    json_out_opt(&l.j, "account", by_account ? name : span_of("", 0));
    json_out_opt(&l.j, "tenant", tenant);
    json_out_opt(&l.j, "class", span_str(by_account ? member_class_name(class) : ""));
    json_out_open(&l.j, "limits", '[');
    machine_usage_each(m, by_account ? name : span_of("", 0), tenant, class, on_usage, &l);
    machine_read_unlock(m);
    json_out_close(&l.j, ']');
    return json_out_end(&l.j);
}

static int override(struct admin_call *c, bool remove)
{
    struct command cmd = { .type = COMMAND_OVERRIDE_SET };
    char text[COMMAND_NAME_MAX + 1];
    int err = member_sender(c, &cmd.override_set.scope, text, &cmd.override_set.name);
    if (err == 0)
        err = member_name(c, "limit", &cmd.override_set.limit);
    cmd.override_set.remove = remove;
    cmd.override_set.count = (uint64_t)admin_arg_int(c->args, "count", 0);
    return err != 0 ? err : member_do(c, &cmd);
}

int admin_on_limit_set(struct admin_call *c)
{
    return override(c, false);
}

int admin_on_limit_clear(struct admin_call *c)
{
    return override(c, true);
}
