/* Handlers about notifications: what targets have taken, and a test of one. Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"

#include <stdio.h>

static void put_target(struct json_out *j, const struct admin_notify_target *t)
{
    json_out_open(j, NULL, '{');
    json_out_str(j, "node", t->node);
    json_out_str(j, "target", t->name);
    json_out_str(j, "kind", t->kind);
    json_out_str(j, "where", t->where);
    json_out_u64(j, "waiting", t->waiting);
    json_out_time(j, "oldest_ms", t->oldest_ms);
    json_out_u64(j, "sent", t->sent);
    json_out_u64(j, "lost", t->lost);
    json_out_u64(j, "failed", t->failed);
    json_out_u64(j, "failures", t->failures);
    json_out_time(j, "last_ok_ms", t->last_ok_ms);
    json_out_time(j, "last_failed_ms", t->last_failed_ms);
    json_out_time(j, "next_ms", t->next_ms);
    json_out_opt(j, "error", span_str(t->why));
    json_out_close(j, '}');
}

static int put_all(struct admin_call *c)
{
    json_t *answers, *missing;
    int err = member_ask(c, &answers, &missing);
    if (err == 0) {
        json_t *reply = json_object(), *rows = json_array(), *answer, *row;
        size_t i, k;
        json_array_foreach(answers, i, answer)
        {
            json_array_foreach(json_object_get(json_object_get(answer, "body"), "targets"), k, row)
            {
                json_array_append(rows, row);
            }
        }
        json_object_set_new(reply, "targets", rows);
        err = member_reply(c, reply, missing);
    }
    json_decref(answers);
    json_decref(missing);
    return err;
}

int admin_on_notify(struct admin_call *c)
{
    struct admin_notify_target targets[ADMIN_NOTIFY_TARGETS_MAX];
    struct json_out j;
    uint32_t n = 0;
    bool all;
    if (c->ops->notify_status == NULL)
        return admin_missing(c);
    int err = member_asks_all(c, true, &all);
    if (err != 0 || all)
        return err != 0 ? err : put_all(c);
    err = c->ops->notify_status(c->ops->ctx, targets, &n, &c->e);
    if (err != 0)
        return err;
    json_out_begin(&j, &c->out);
    json_out_open(&j, "targets", '[');
    for (uint32_t i = 0; i < n; i++)
        put_target(&j, &targets[i]);
    json_out_close(&j, ']');
    return json_out_end(&j);
}

int admin_on_notify_test(struct admin_call *c)
{
    char id[96];
    struct json_out j;
    if (c->ops->notify_test == NULL)
        return admin_missing(c);
    int err = c->ops->notify_test(c->ops->ctx, admin_arg_str(c->args, "target"), c->caller, id, &c->e);
    if (err != 0)
        return err;
    json_out_begin(&j, &c->out);
    json_out_bool(&j, "ok", true);
    json_out_str(&j, "id", id);
    return json_out_end(&j);
}
