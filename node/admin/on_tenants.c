/* Handlers about tenants, and about the limits of tenants and accounts. Admin threads. */
#include "node/admin/member.h"
#include "node/admin/tenant.h"

#include "base/clock.h"
#include "base/err.h"
#include "consensus/web_sender.h"
#include "node/auth/accounts.h"
#include "node/config/types.h"
#include "node/tenant/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- what a tenant is told ----------------------------------------------------------------------------- */

static void put_report_counts(struct json_out *j, const struct tenant_report *r)
{
    json_out_open(j, "recipients", '{');
    json_out_u64(j, "accepted", r->counts[RECORD_ACCEPTED]);
    json_out_u64(j, "delivered", r->counts[RECORD_DELIVERED]);
    json_out_u64(j, "deferred", r->counts[RECORD_DEFERRED]);
    json_out_u64(j, "bounced", tenant_report_bounced(r));
    json_out_u64(j, "complaints", r->counts[RECORD_COMPLAINT]);
    json_out_close(j, '}');
    json_out_u64(j, "failed_logins", r->counts[RECORD_FAILED_LOGINS]);
    json_out_u64(j, "senders", r->senders);
    json_out_open(j, "top", '[');
    for (uint32_t i = 0; i < r->top_n; i++) {
        const struct tenant_report_sender *s = &r->top[i];
        json_out_open(j, NULL, '{');
        json_out_str(j, "account", s->account);
        json_out_u64(j, "delivered", s->delivered);
        json_out_u64(j, "deferred", s->deferred);
        json_out_u64(j, "bounced", s->bounced);
        json_out_u64(j, "complaints", s->complaints);
        json_out_u64(j, "failed_logins", s->failed_logins);
        json_out_close(j, '}');
    }
    json_out_close(j, ']');
}

static void put_report_acts(struct json_out *j, const struct tenant_report *r)
{
    json_out_u64(j, "frozen_count", r->nfrozen);
    json_out_open(j, "frozen", '[');
    for (uint32_t i = 0; i < r->frozen_n; i++) {
        const struct tenant_report_frozen *f = &r->frozen[i];
        json_out_open(j, NULL, '{');
        json_out_str(j, "scope", member_scope_name(f->scope));
        json_out_str(j, "name", f->name);
        json_out_str(j, "mail", tenant_report_mode(f->mode));
        json_out_opt(j, "reason", span_str(f->reason));
        json_out_time(j, "since_ms", f->since_ms);
        json_out_time(j, "left_ms", (int64_t)f->left_ms);
        json_out_close(j, '}');
    }
    json_out_close(j, ']');
    json_out_u64(j, "done_count", r->nacts);
    json_out_open(j, "done", '[');
    for (uint32_t i = 0; i < r->acts_n; i++) {
        json_out_open(j, NULL, '{');
        json_out_time(j, "at_ms", r->acts[i].at_ms);
        json_out_str(j, "what", r->acts[i].what);
        json_out_str(j, "by", r->acts[i].by);
        json_out_close(j, '}');
    }
    json_out_close(j, ']');
}

static int put_report(struct admin_call *c, const struct tenant_report *r)
{
    struct json_out j;
    struct buf text;
    buf_init(&text, TENANT_REPORT_BYTES_MAX);
    int err = tenant_report_text(r, &text);
    json_out_begin(&j, &c->out);
    json_out_str(&j, "tenant", r->tenant);
    json_out_opt(&j, "contact", span_str(r->contact));
    json_out_str(&j, "window", r->window == DIRECTORY_RECORD_DAY ? "24h" : "7d");
    json_out_time(&j, "until_ms", r->now_ms);
    put_report_counts(&j, r);
    put_report_acts(&j, r);
    json_out_span(&j, "text", buf_span(&text));
    buf_fini(&text);
    return err != 0 ? err : json_out_end(&j);
}

int admin_on_tenant_report(struct admin_call *c)
{
    const char *window = admin_arg_str(c->args, "window");
    bool day = window != NULL && strcmp(window, "24h") == 0;
    struct tenant_report *r;
    struct span tenant;
    struct machine *m;
    int err = member_name(c, "tenant", &tenant);
    if (err == 0 && tenant.n == 0)
        err = admin_fail(&c->e, ERR_BAD, "tenant: say which");
    if (err == 0)
        err = member_machine(c, &m);
    if (err != 0)
        return err;
    if ((r = malloc(sizeof *r)) == NULL)
        return -ENOMEM;
    err = tenant_report_gather(m, tenant, day ? DIRECTORY_RECORD_DAY : DIRECTORY_RECORD_WEEK, clock_wall_ms(), r);
    if (err == ERR_NOT_FOUND)
        admin_fail(&c->e, err, "there is no tenant %.*s", (int)tenant.n, tenant.p);
    if (err == 0)
        err = put_report(c, r);
    free(r);
    return err;
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
    struct directory_sender seen;
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
    tenant = known ? account.tenant : by_account ? tenant_default(name) : name;
    class = known ? account.class : class;
    if (by_account && web_sender_host(name).n > 0) { /* his host's tenant is not charged for him */
        tenant = span_of("", 0);
        class = directory_sender_find(m, name, &seen) ? seen.class : ACCOUNT_DEVICE;
    }
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
