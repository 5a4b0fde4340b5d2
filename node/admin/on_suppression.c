/* Handlers about suppressed addresses: docs/bounces.md. Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"
#include "node/bounce/class.h"

#include <stdio.h>
#include <string.h>

/* A page begins behind "tenant address"; neither has a blank in it. */

struct rows {
    struct member_page page;
    uint64_t now_ms;
    struct span tenant;
    bool one_tenant;
};

static int on_suppressed(void *arg, const struct directory_suppressed *s)
{
    struct rows *r = arg;
    char place[MEMBER_PLACE_MAX];
    if (r->one_tenant && !span_eq(s->tenant, r->tenant))
        return 1;
    int n = snprintf(place, sizeof place, "%.*s %.*s", (int)s->tenant.n, s->tenant.p, (int)s->address.n,
                     s->address.p);
    if (!member_page_row(&r->page, span_of(place, (size_t)n)))
        return 1;
    struct json_out *j = &r->page.j;
    json_out_opt(j, "tenant", s->tenant);
    json_out_span(j, "address", s->address);
    json_out_str(j, "class", bounce_class_name((enum bounce_class)s->class));
    json_out_u64(j, "since_ms", s->wall_ms > 0 ? (uint64_t)s->wall_ms : 0);
    if (s->until_ms != 0)
        json_out_u64(j, "left_ms", s->until_ms > r->now_ms ? s->until_ms - r->now_ms : 0);
    else
        json_out_null(j, "left_ms");
    json_out_span(j, "by", s->who);
    json_out_opt(j, "reason", s->reason);
    json_out_u64(j, "version", s->version);
    json_out_close(j, '}');
    return 0;
}

int admin_on_suppression(struct admin_call *c)
{
    struct rows r = { .one_tenant = admin_arg_str(c->args, "tenant") != NULL };
    char place[MEMBER_PLACE_MAX];
    struct machine *m;
    int err = member_name(c, "tenant", &r.tenant);
    if (err == 0)
        err = member_fresh(c, &m);
    if (err != 0)
        return err;
    int n = member_tenant_place(c, r.one_tenant ? &r.tenant : NULL, place);
    if (n < 0)
        return n;
    member_page_begin(&r.page, c, "suppressed");
    machine_read_lock(m);
    r.now_ms = machine_now_ms(m);
    directory_suppressed_each(m, span_of(place, (size_t)n), on_suppressed, &r);
    machine_read_unlock(m);
    return member_page_end(&r.page, c);
}

/* In lower case, in `text`. */
static int address(struct admin_call *c, char text[COMMAND_NAME_MAX], struct span *out)
{
    struct span given;
    int err = member_name(c, "address", &given);
    if (err != 0)
        return err;
    for (size_t i = 0; i < given.n; i++)
        text[i] = (char)(given.p[i] >= 'A' && given.p[i] <= 'Z' ? given.p[i] - 'A' + 'a' : given.p[i]);
    *out = span_of(text, given.n);
    return 0;
}

int admin_on_suppression_add(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_SUPPRESS_ADD };
    struct command_suppress_add *add = &cmd.suppress_add;
    const char *reason = admin_arg_str(c->args, "reason");
    char text[COMMAND_NAME_MAX];
    int err = address(c, text, &add->address);
    if (err == 0)
        err = member_name(c, "tenant", &add->tenant);
    if (err != 0)
        return err;
    add->reason = reason != NULL ? span_str(reason) : span_of("", 0);
    if (add->reason.n > COMMAND_SUPPRESS_REASON_MAX)
        return admin_fail(&c->e, ERR_BAD, "reason: longer than %d bytes", COMMAND_SUPPRESS_REASON_MAX);
    add->for_ms = (uint64_t)admin_arg_int(c->args, "for", 0);
    add->most = UINT32_MAX; /* the policy bounds what bounces add */
    return member_do(c, &cmd);
}

int admin_on_suppression_remove(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_SUPPRESS_REMOVE };
    char text[COMMAND_NAME_MAX];
    int err = address(c, text, &cmd.suppress_remove.address);
    if (err == 0)
        err = member_name(c, "tenant", &cmd.suppress_remove.tenant);
    return err != 0 ? err : member_do(c, &cmd);
}
