/* Handlers about what is in force against destinations, by rules about replies or by an operator. Admin
 * threads. */
#include "node/admin/call.h"

struct hold_rows {
    struct json_out j;
    bool cut;
};

static int on_hold_row(void *arg, const struct admin_site_hold *row)
{
    struct hold_rows *h = arg;
    struct json_out *j = &h->j;
    json_out_open(j, NULL, '{');
    json_out_span(j, "site", row->site);
    json_out_span(j, "action", row->action);
    json_out_opt(j, "source", row->source);
    json_out_time(j, "since_ms", row->since_ms);
    json_out_time(j, "until_ms", row->until_ms);
    json_out_opt(j, "rule", row->rule);
    json_out_opt(j, "reply", row->reply);
    json_out_opt(j, "by", row->by);
    json_out_close(j, '}');
    h->cut = j->buf->len > ADMIN_PAGE_BYTES;
    return h->cut;
}

int admin_on_site_holds(struct admin_call *c)
{
    if (c->ops->site_holds == NULL)
        return admin_missing(c);
    struct hold_rows h = { .cut = false };
    json_out_begin(&h.j, &c->out);
    json_out_open(&h.j, "holds", '[');
    int err =
        c->ops->site_holds(c->ops->ctx, admin_arg_str(c->args, "site"),
                           (uint32_t)admin_arg_int(c->args, "limit", ADMIN_ROWS_MAX), on_hold_row, &h, &c->e);
    json_out_close(&h.j, ']');
    json_out_bool(&h.j, "cut", h.cut);
    json_out_end(&h.j);
    return err;
}

static int done(struct admin_call *c, int err)
{
    struct json_out j;
    json_out_begin(&j, &c->out);
    json_out_bool(&j, "ok", true);
    json_out_end(&j);
    return err;
}

int admin_on_site_backoff(struct admin_call *c)
{
    const char *action = admin_arg_str(c->args, "action");
    if (c->ops->site_hold == NULL)
        return admin_missing(c);
    return done(c, c->ops->site_hold(c->ops->ctx, c->caller, admin_arg_str(c->args, "site"),
                                     action != NULL ? action : "backoff", admin_arg_str(c->args, "source"),
                                     admin_arg_int(c->args, "for", 1800000), &c->e));
}

int admin_on_site_resume(struct admin_call *c)
{
    if (c->ops->site_hold == NULL)
        return admin_missing(c);
    return done(c, c->ops->site_hold(c->ops->ctx, c->caller, admin_arg_str(c->args, "site"), "none",
                                     admin_arg_str(c->args, "source"), 0, &c->e));
}
