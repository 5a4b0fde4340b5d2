/* Handlers about taking addresses out of what is kept: docs/privacy.md. Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

struct rows {
    struct member_page page;
    const struct machine *m;
    const struct directory_erasure *e;
};

static int on_member(void *arg, const struct directory_member *mb)
{
    struct rows *r = arg;
    if (mb->state != COMMAND_MEMBER_REMOVED && !directory_erasure_done(r->e, mb->id))
        json_out_span(&r->page.j, NULL, mb->name);
    return 0;
}

static int on_erasure(void *arg, const struct directory_erasure *e)
{
    struct rows *r = arg;
    if (!member_page_row(&r->page, e->address))
        return 1;
    r->e = e;
    json_out_u64(&r->page.j, "id", e->id);
    json_out_span(&r->page.j, "address", e->address);
    json_out_time(&r->page.j, "asked_ms", e->wall_ms);
    json_out_span(&r->page.j, "by", e->who);
    json_out_open(&r->page.j, "waiting", '[');
    (void)directory_member_each(r->m, on_member, r);
    json_out_close(&r->page.j, ']');
    json_out_close(&r->page.j, '}');
    return 0;
}

int admin_on_privacy_erasures(struct admin_call *c)
{
    const char *after = admin_arg_str(c->args, "after");
    struct rows r = { 0 };
    struct machine *m;
    int err = member_fresh(c, &m);
    if (err != 0)
        return err;
    r.m = m;
    member_page_begin(&r.page, c, "erasures");
    machine_read_lock(m);
    directory_erasure_each(m, after != NULL ? span_str(after) : span_of("", 0), on_erasure, &r);
    machine_read_unlock(m);
    return member_page_end(&r.page, c);
}

/* A node alone has nobody to wait for. */
static int erase_here(struct admin_call *c, const char *address)
{
    struct json_out j;
    uint64_t rows = 0;
    bool living = false;
    if (c->ops->erase == NULL)
        return admin_missing(c);
    int err = c->ops->erase(c->ops->ctx, address, c->caller, &rows, &living, &c->e);
    if (err == 0 && living)
        err = admin_fail(
            &c->e, ERR_BUSY,
            "the history is clean, but mail of %s is still in the queue: when it has ended, or was "
            "deleted, repeat this",
            address);
    json_out_begin(&j, &c->out);
    json_out_str(&j, "address", address);
    json_out_null(&j, "id");
    json_out_u64(&j, "rows", rows);
    return err != 0 ? err : json_out_end(&j);
}

int admin_on_privacy_erase(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_ERASE_ADD };
    struct machine_result result = { 0 };
    char text[COMMAND_NAME_MAX + 1];
    struct span given;
    struct json_out j;
    int err = member_name(c, "address", &given);
    if (err != 0)
        return err;
    const char *at = given.n > 0 ? memrchr(given.p, '@', given.n) : NULL;
    if (at == NULL || at == given.p || at + 1 == given.p + given.n)
        return admin_fail(&c->e, ERR_BAD, "address: expected a whole mail address");
    for (size_t i = 0; i < given.n; i++)
        text[i] = (char)(given.p[i] >= 'A' && given.p[i] <= 'Z' ? given.p[i] - 'A' + 'a' : given.p[i]);
    text[given.n] = '\0';
    if (!member_is(c))
        return erase_here(c, text);
    cmd.erase.address = span_str(text);
    err = member_submit(c, &cmd, &result);
    json_out_begin(&j, &c->out);
    json_out_str(&j, "address", text);
    json_out_u64(&j, "id", result.id);
    json_out_null(&j, "rows");
    return err != 0 ? err : json_out_end(&j);
}
