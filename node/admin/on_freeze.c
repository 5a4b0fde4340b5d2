/* Handlers that stop senders and let them go on: freeze, thaw, who is frozen. Admin threads. */
#include "node/admin/member.h"
#include "node/admin/tenant.h"

#include "base/clock.h"
#include "base/err.h"

#include <stdio.h>

/* TTL and margin are at most two minutes together; the call itself must end before ADMIN_CALL_MAX_MS. */
#define AWAIT_MS 50000

static const char *const modes[] = { [COMMAND_FREEZE_REJECT] = "reject",
                                     [COMMAND_FREEZE_DEFER] = "defer",
                                     [COMMAND_FREEZE_HOLD] = "hold",
                                     [COMMAND_FREEZE_AUTO] = "auto" };

static const char *mode_name(uint8_t mode)
{
    return mode >= COMMAND_FREEZE_REJECT && mode <= COMMAND_FREEZE_AUTO ? modes[mode] : "unknown";
}

/* The mode that was asked for; else the policy's. */
static uint8_t mode_of(struct admin_call *c)
{
    const char *name = admin_arg_str(c->args, "mode");
    struct machine *m = member_is(c) ? c->cluster->machine(c->cluster_ctx) : NULL;
    struct directory_policy policy;
    uint8_t mode = COMMAND_FREEZE_AUTO;
    for (uint8_t i = COMMAND_FREEZE_REJECT; name != NULL && i <= COMMAND_FREEZE_AUTO; i++)
        if (strcmp(name, modes[i]) == 0)
            return i;
    if (m == NULL)
        return mode;
    machine_read_lock(m);
    if (directory_policy(m, 0, &policy) && policy.compiled != NULL && policy.compiled->freeze_mode != 0)
        mode = policy.compiled->freeze_mode;
    machine_read_unlock(m);
    return mode;
}

static int on_freeze_row(void *arg, const struct admin_freeze_row *row)
{
    struct json_out *j = arg;
    json_out_open(j, NULL, '{');
    json_out_str(j, "node", row->name);
    json_out_u64(j, "id", row->node);
    json_out_str(j, "how", row->how);
    json_out_i64(j, "after_ms", row->after_ms);
    json_out_close(j, '}');
    return 0;
}

static void put_what(struct json_out *j, const struct command_freeze *f)
{
    json_out_str(j, "scope", member_scope_name(f->scope));
    json_out_span(j, "name", f->name);
    json_out_str(j, "mode", mode_name(f->mode));
    json_out_i64(j, "for_ms", (int64_t)f->for_ms);
}

static int freeze_local(struct admin_call *c, const struct command_freeze *f)
{
    struct json_out j;
    if (c->cluster == NULL || c->cluster->freeze_local == NULL)
        return admin_missing(c);
    int err = c->cluster->freeze_local(c->cluster_ctx, c->caller, f, &c->e);
    json_out_begin(&j, &c->out);
    put_what(&j, f);
    json_out_bool(&j, "local", true);
    json_out_bool(&j, "complete", true);
    json_out_open(&j, "nodes", '[');
    json_out_close(&j, ']');
    json_out_end(&j);
    return err;
}

/* Frozen from here on; whatever happens while the nodes are awaited, the answer says what is known. */
static int await_nodes(struct admin_call *c, const struct command_freeze *f, uint64_t id, int64_t began_ms)
{
    struct json_out j;
    struct admin_error why = { "" };
    json_out_begin(&j, &c->out);
    put_what(&j, f);
    json_out_u64(&j, "id", id);
    json_out_bool(&j, "local", false);
    json_out_open(&j, "nodes", '[');
    int err =
        c->cluster->await_obeyed(c->cluster_ctx, id / COMMAND_ENTRY_MAX, AWAIT_MS, on_freeze_row, &j, &why);
    json_out_close(&j, ']');
    json_out_bool(&j, "complete", err == 0);
    json_out_opt(&j, "problem", span_str(err == 0 ? "" : why.text[0] != '\0' ? why.text : err_text(err)));
    json_out_i64(&j, "took_ms", clock_boot_ms() - began_ms);
    return json_out_end(&j);
}

int admin_on_freeze(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_FREEZE };
    struct machine_result result = { 0 };
    struct machine *m;
    char name[COMMAND_NAME_MAX + 1];
    const char *reason = admin_arg_str(c->args, "reason");
    int64_t began_ms = clock_boot_ms();
    int err = member_machine(c, &m);
    if (err == 0)
        err = member_sender(c, &cmd.freeze.scope, name, &cmd.freeze.name);
    if (err != 0)
        return err;
    cmd.freeze.mode = mode_of(c);
    cmd.freeze.for_ms = (uint64_t)admin_arg_int(c->args, "for", 0);
    cmd.freeze.reason = reason != NULL ? span_str(reason) : span_of("", 0);
    if (admin_arg_bool(c->args, "local"))
        return freeze_local(c, &cmd.freeze);
    err = member_submit(c, &cmd, &result);
    return err != 0 ? err : await_nodes(c, &cmd.freeze, result.id, began_ms);
}

/* A thaw names the freeze that it ends, also when the operator did not: one that is late must not end
 * another. */
static int name_freeze(struct admin_call *c, struct command_thaw *thaw)
{
    struct machine *m;
    struct machine_frozen f;
    int err = member_fresh(c, &m);
    if (err != 0)
        return err;
    machine_read_lock(m);
    bool frozen = machine_frozen_find(m, thaw->scope, thaw->name, &f);
    machine_read_unlock(m);
    if (!frozen)
        return admin_fail(&c->e, ERR_NOT_FOUND, "%.*s is not frozen", (int)thaw->name.n, thaw->name.p);
    thaw->freeze = f.id;
    return 0;
}

int admin_on_thaw(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_THAW };
    char name[COMMAND_NAME_MAX + 1];
    struct machine *m;
    int err = member_machine(c, &m);
    if (err == 0)
        err = member_sender(c, &cmd.thaw.scope, name, &cmd.thaw.name);
    if (err != 0)
        return err;
    cmd.thaw.freeze = (uint64_t)admin_arg_int(c->args, "freeze", 0);
    if (!admin_arg_bool(c->args, "local")) {
        if (cmd.thaw.freeze == 0)
            err = name_freeze(c, &cmd.thaw);
        return err != 0 ? err : member_do(c, &cmd);
    }
    if (c->cluster->thaw_local == NULL)
        return admin_missing(c);
    char text[COMMAND_NAME_MAX + 1];
    memcpy(text, cmd.thaw.name.p, cmd.thaw.name.n);
    text[cmd.thaw.name.n] = '\0';
    err = c->cluster->thaw_local(c->cluster_ctx, c->caller, cmd.thaw.scope, text, &c->e);
    return err != 0 ? err : admin_ok(c);
}

/* ---- who is frozen ------------------------------------------------------------------------------------- */

/* In order of (name, account before tenant), so that a thaw between two pages hides nobody. */
struct frozen_rows {
    struct member_page page;
    const char *after; /* NULL: from the start; "a:NAME" or "t:NAME" */
    uint64_t now_ms;
    const struct admin_call *c;
    const struct machine *m;
};

/* A tenant sees itself and its accounts. */
static bool is_seen(const struct frozen_rows *r, const struct machine_frozen *f)
{
    return f->scope == COMMAND_SCOPE_TENANT ? admin_sees(r->c, f->name) : admin_sees_account(r->c, r->m, f->name);
}

static bool is_after(const struct machine_frozen *f, const char *after)
{
    struct span a = f->name, b = span_str(after + 2);
    int d = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    if (d == 0)
        d = a.n < b.n ? -1 : a.n > b.n;
    return d != 0 ? d > 0 : f->scope == COMMAND_SCOPE_TENANT && after[0] == 'a';
}

static void put_frozen(struct json_out *j, const struct machine_frozen *f, uint64_t now_ms)
{
    json_out_u64(j, "id", f->id);
    json_out_str(j, "scope", member_scope_name(f->scope));
    json_out_span(j, "name", f->name);
    json_out_str(j, "mode", mode_name(f->mode));
    json_out_opt(j, "reason", f->reason);
    json_out_opt(j, "who", f->who);
    json_out_time(j, "at_ms", f->wall_ms);
    if (f->until_ms == 0)
        json_out_null(j, "left_ms");
    else
        json_out_u64(j, "left_ms", f->until_ms > now_ms ? f->until_ms - now_ms : 0);
    json_out_close(j, '}');
}

static int on_frozen(void *arg, const struct machine_frozen *f)
{
    struct frozen_rows *r = arg;
    char place[COMMAND_NAME_MAX + 8];
    if (!is_seen(r, f) || (r->after != NULL && !is_after(f, r->after)))
        return 0;
    snprintf(place, sizeof(place), "%c:%.*s", f->scope == COMMAND_SCOPE_TENANT ? 't' : 'a', (int)f->name.n,
             f->name.p);
    if (!member_page_row(&r->page, span_str(place)))
        return 1;
    put_frozen(&r->page.j, f, r->now_ms);
    return 0;
}

/* Few, and all on the first page. */
static int on_frozen_local(void *arg, const struct machine_frozen *f)
{
    struct frozen_rows *r = arg;
    machine_read_lock((struct machine *)(uintptr_t)r->m);
    bool seen = is_seen(r, f);
    machine_read_unlock((struct machine *)(uintptr_t)r->m);
    if (!seen)
        return 0;
    json_out_open(&r->page.j, NULL, '{');
    put_frozen(&r->page.j, f, 0);
    return r->page.j.buf->len > ADMIN_PAGE_BYTES;
}

int admin_on_frozen(struct admin_call *c)
{
    struct frozen_rows r = { .after = admin_arg_str(c->args, "after"), .c = c };
    struct machine *m;
    if (r.after != NULL &&
        (strlen(r.after) < 3 || r.after[1] != ':' || (r.after[0] != 'a' && r.after[0] != 't')))
        return admin_fail(&c->e, ERR_BAD, "after is not what an earlier page gave as next");
    int err = member_machine(c, &m);
    if (err != 0)
        return err;
    r.m = m;
    member_page_begin(&r.page, c, "frozen");
    machine_read_lock(m);
    r.now_ms = machine_now_ms(m);
    machine_frozen_each(m, on_frozen, &r);
    machine_read_unlock(m);
    json_out_close(&r.page.j, ']');
    json_out_open(&r.page.j, "local", '[');
    if (r.after == NULL && c->cluster->frozen_local != NULL)
        err = c->cluster->frozen_local(c->cluster_ctx, on_frozen_local, &r);
    return err != 0 ? admin_fail(&c->e, err, "who is frozen here is not known: %s", err_text(err))
                    : member_page_end(&r.page, c);
}
