/* Handlers about mail that moves between nodes. Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"

struct transfer_rows {
    struct json_out j;
    const struct machine *m;
    bool more;
};

static int on_row(void *arg, const struct admin_transfer *row)
{
    struct transfer_rows *r = arg;
    struct json_out *j = &r->j;
    json_out_open(j, NULL, '{');
    json_out_str(j, "batch", row->batch);
    json_out_str(j, "direction", row->orphan ? "kept" : row->giving ? "out" : "in");
    member_put_node(j, "giver", r->m, row->giver);
    member_put_node(j, "taker", r->m, row->taker);
    json_out_u64(j, "messages", row->messages);
    json_out_str(j, "state", row->state);
    json_out_time(j, "since_ms", row->since_ms);
    json_out_opt(j, "trouble", span_str(row->trouble));
    json_out_close(j, '}');
    r->more = j->buf->len > ADMIN_PAGE_BYTES;
    return r->more;
}

/* Works without a majority: what is in doubt is best seen then. */
int admin_on_transfers(struct admin_call *c)
{
    struct transfer_rows r = { 0 };
    struct admin_transfers all = { 0 };
    struct machine *m;
    int err = member_machine(c, &m);
    if (err != 0 || c->cluster->transfers == NULL)
        return err != 0 ? err : admin_missing(c);
    r.m = m;
    json_out_begin(&r.j, &c->out);
    json_out_open(&r.j, "transfers", '[');
    machine_read_lock(m);
    err = c->cluster->transfers(c->cluster_ctx, on_row, &r, &all);
    machine_read_unlock(m);
    json_out_close(&r.j, ']');
    json_out_u64(&r.j, "queued", all.queued);
    json_out_u64(&r.j, "leaving", all.leaving);
    json_out_u64(&r.j, "moved", all.moved);
    json_out_u64(&r.j, "waiting", all.waiting);
    json_out_u64(&r.j, "unclaimed", all.unclaimed);
    json_out_u64(&r.j, "stuck", all.stuck);
    json_out_bool(&r.j, "more", r.more);
    json_out_close(&r.j, '}');
    if (err < 0)
        return admin_fail(&c->e, err, "cannot list what is on its way: %s", err_text(err));
    return buf_put_char(&c->out, '\n');
}

int admin_on_transfer_cancel(struct admin_call *c)
{
    struct machine *m;
    int err = member_machine(c, &m);
    if (err == 0)
        err = c->cluster->transfer_cancel == NULL
                  ? admin_missing(c)
                  : c->cluster->transfer_cancel(c->cluster_ctx, c->caller, admin_arg_str(c->args, "batch"),
                                                &c->e);
    return err != 0 ? err : admin_ok(c);
}

int admin_on_transfer_take(struct admin_call *c)
{
    struct machine *m;
    int err = member_machine(c, &m);
    if (err == 0)
        err = c->cluster->transfer_take == NULL
                  ? admin_missing(c)
                  : c->cluster->transfer_take(c->cluster_ctx, c->caller, admin_arg_str(c->args, "batch"),
                                              &c->e);
    return err != 0 ? err : admin_ok(c);
}

int admin_on_transfer_forget(struct admin_call *c)
{
    uint32_t ended = 0, kept = 0;
    struct json_out j;
    struct machine *m;
    int err = member_machine(c, &m);
    if (err == 0)
        err = c->cluster->transfer_forget == NULL
                  ? admin_missing(c)
                  : c->cluster->transfer_forget(c->cluster_ctx, c->caller, admin_arg_str(c->args, "node"),
                                                &ended, &kept, &c->e);
    if (err != 0)
        return err;
    json_out_begin(&j, &c->out);
    json_out_u64(&j, "ended", ended);
    json_out_u64(&j, "kept", kept);
    return json_out_end(&j);
}

int admin_on_spool_adopt(struct admin_call *c)
{
    struct admin_adopted n = { 0 };
    struct json_out j;
    struct machine *m;
    int err = member_machine(c, &m);
    if (err == 0)
        err = c->cluster->adopt == NULL
                  ? admin_missing(c)
                  : c->cluster->adopt(c->cluster_ctx, c->caller, admin_arg_str(c->args, "dir"),
                                      admin_arg_str(c->args, "node"), &n, &c->e);
    if (err != 0)
        return err;
    json_out_begin(&j, &c->out);
    json_out_u64(&j, "messages", n.messages);
    json_out_u64(&j, "taken", n.taken);
    json_out_u64(&j, "elsewhere", n.elsewhere);
    json_out_u64(&j, "in_doubt", n.in_doubt);
    json_out_u64(&j, "failed", n.failed);
    return json_out_end(&j);
}
