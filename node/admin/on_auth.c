/* Handlers about who is blocked for failed logins. Each node knows of the failures on all of them, but one
 * may have missed some: so all are asked. Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_block(void *arg, const struct admin_auth_block *row)
{
    struct json_out *j = arg;
    json_out_open(j, NULL, '{');
    json_out_str(j, "kind", row->kind);
    json_out_opt(j, "account", row->account);
    json_out_opt(j, "network", row->network);
    json_out_i64(j, "left_ms", row->left_ms);
    json_out_u64(j, "times", row->times);
    json_out_close(j, '}');
}

static bool same(const json_t *a, const json_t *b)
{
    return json_equal(json_object_get(a, "kind"), json_object_get(b, "kind")) &&
           json_equal(json_object_get(a, "account"), json_object_get(b, "account")) &&
           json_equal(json_object_get(a, "network"), json_object_get(b, "network"));
}

/* The longest wait of any node, and which nodes make wait. */
static void join(json_t *all, json_t *row, json_t *node)
{
    size_t i;
    json_t *was;
    json_array_foreach(all, i, was)
    {
        if (!same(was, row))
            continue;
        json_array_append(json_object_get(was, "nodes"), node);
        if (json_integer_value(json_object_get(row, "left_ms")) >
            json_integer_value(json_object_get(was, "left_ms")))
            json_object_set(was, "left_ms", json_object_get(row, "left_ms"));
        return;
    }
    json_object_set_new(row, "nodes", json_pack("[O]", node));
    json_array_append(all, row);
}

static int ask_all(struct admin_call *c)
{
    json_t *answers, *missing, *answer, *row, *all = json_array();
    size_t i, k;
    int err = member_ask(c, &answers, &missing);
    json_array_foreach(answers, i, answer)
    {
        json_array_foreach(json_object_get(json_object_get(answer, "body"), "blocked"), k, row)
        {
            join(all, row, json_object_get(answer, "node"));
        }
    }
    json_t *j = json_pack("{s:o,s:O}", "blocked", all, "missing", missing);
    char *text = err == 0 && j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
    if (text != NULL) {
        (void)buf_put_str(&c->out, text);
        err = buf_put_char(&c->out, '\n');
    } else if (err == 0) {
        err = admin_fail(&c->e, ERR_FAILED, "out of memory");
    }
    free(text);
    json_decref(j);
    json_decref(answers);
    json_decref(missing);
    return err;
}

int admin_on_auth_blocked(struct admin_call *c)
{
    struct json_out j;
    bool all;
    if (c->ops->auth_blocked == NULL)
        return admin_missing(c);
    int err = member_asks_all(c, true, &all);
    if (err != 0 || all)
        return err != 0 ? err : ask_all(c);
    json_out_begin(&j, &c->out);
    json_out_open(&j, "blocked", '[');
    err = c->ops->auth_blocked(c->ops->ctx, on_block, &j, &c->e);
    json_out_close(&j, ']');
    return err != 0 ? err : json_out_end(&j);
}

int admin_on_auth_unblock(struct admin_call *c)
{
    const char *account = admin_arg_str(c->args, "account"), *address = admin_arg_str(c->args, "address");
    struct json_out j;
    uint32_t ended = 0;
    if (c->ops->auth_unblock == NULL)
        return admin_missing(c);
    if ((account == NULL) == (address == NULL))
        return admin_fail(&c->e, ERR_BAD, "give account or address, one of them");
    int err = c->ops->auth_unblock(c->ops->ctx, account, address, c->caller, &ended, &c->e);
    json_out_begin(&j, &c->out);
    json_out_bool(&j, "ok", true);
    json_out_u64(&j, "ended", ended);
    return err != 0 ? err : json_out_end(&j);
}
