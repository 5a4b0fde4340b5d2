/* Lines of the event log, of this node or of all. Where one has got to is a number for each node, by its
 * name: "relay1.6a1f,relay2.6a20". Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"

#include <string.h>

#define LINES_MAX (512u << 10) /* bytes of a node's reply: other nodes' come in one message each */

/* Each is NAME.HEX. */
static bool places_are_good(const char *after)
{
    while (*after != '\0') {
        size_t all = strcspn(after, ",");
        const char *dot = memrchr(after, '.', all);
        size_t digits = dot == NULL ? 0 : strspn(dot + 1, "0123456789abcdef");
        if (dot == NULL || dot == after || digits == 0 || digits > 16 || dot + 1 + digits != after + all)
            return false;
        after += all + (after[all] == ',');
    }
    return true;
}

static void put_lines(struct json_out *j, struct buf *lines)
{
    const char *p = lines->data, *end = lines->data + lines->len;
    for (const char *eol; p < end && (eol = memchr(p, '\n', (size_t)(end - p))) != NULL; p = eol + 1)
        json_out_raw(j, NULL, span_of(p, (size_t)(eol - p)));
}

int admin_on_events(struct admin_call *c)
{
    if (c->ops->events == NULL)
        return admin_missing(c);
    const char *after = admin_arg_str(c->args, "after"), *id = admin_arg_str(c->args, "id");
    char id_text[ADMIN_ID_TEXT];
    if (after != NULL && !places_are_good(after))
        return admin_fail(&c->e, ERR_BAD, "after is not what a reply had as next");
    if (id != NULL && !admin_id_ok(span_str(id), id_text))
        return admin_fail(&c->e, ERR_BAD, "id is no queue id");
    bool all;
    int err = member_asks_all(c, true, &all);
    if (err != 0 || all)
        return err != 0 ? err : member_ask_events(c);
    struct admin_events q = { .after = after,
                              .kinds = admin_arg_str(c->args, "kinds"),
                              .id = id != NULL ? id_text : NULL,
                              .account = admin_arg_str(c->args, "account"),
                              .tenant = admin_arg_str(c->args, "tenant"),
                              .sender = admin_arg_str(c->args, "sender"),
                              .recipient = admin_arg_str(c->args, "recipient"),
                              .site = admin_arg_str(c->args, "site"),
                              .client_ip = admin_arg_str(c->args, "client_ip"),
                              .limit = (uint32_t)admin_arg_int(c->args, "limit", 100) };
    struct admin_events_info info;
    struct buf lines;
    buf_init(&lines, LINES_MAX);
    err = c->ops->events(c->ops->ctx, &q, &info, &lines, &c->e);
    if (err == 0) {
        struct json_out j;
        json_out_begin(&j, &c->out);
        json_out_open(&j, "events", '[');
        put_lines(&j, &lines);
        json_out_close(&j, ']');
        json_out_str(&j, "next", info.next);
        json_out_bool(&j, "gap", info.gap);
        json_out_end(&j);
    }
    buf_fini(&lines);
    return err;
}
