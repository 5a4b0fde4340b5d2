/* Handlers about held mail: what is held and why, on all nodes, and what a postmaster does with it. Each node acts
 * on its own; the asked one has all of them do it, in turns short enough for one answer. docs/held.md. Admin threads.
 */
#include "node/admin/member.h"

#include "base/clock.h"
#include "base/err.h"
#include "node/admin/selector.h"
#include "node/bounce/preview.h"

#include <stdio.h>

#define SLICE_MS 3000 /* of one node's work before it answers */
#define TOTAL_MS 40000
#define PLACES_MAX 900 /* bytes: of one parameter, with one more place */

/* ---- list ---------------------------------------------------------------------------------------------- */

struct held_rows {
    struct json_out j;
    uint32_t limit, n;
    uint64_t held; /* recipients of the open row */
    bool more;
    char id[ADMIN_ID_TEXT];
};

static void close_row(struct held_rows *r)
{
    if (r->n == 0)
        return;
    json_out_u64(&r->j, "held", r->held);
    json_out_close(&r->j, '}');
}

static int on_row(void *arg, const struct admin_row *row)
{
    struct held_rows *r = arg;
    if (r->n > 0 && strcmp(r->id, row->id) == 0) {
        r->held++;
        return 0;
    }
    close_row(r);
    r->more = r->n == r->limit || r->j.buf->len > ADMIN_PAGE_BYTES;
    if (r->more) {
        r->n = 0; /* it is closed */
        return 1;
    }
    r->n++;
    r->held = 1;
    snprintf(r->id, sizeof(r->id), "%s", row->id);
    json_out_open(&r->j, NULL, '{');
    member_put_message(&r->j, row);
    json_out_span(&r->j, "recipient", row->recipient);
    json_out_span(&r->j, "reason", row->held_for);
    json_out_opt(&r->j, "detail", row->held_text);
    json_out_time(&r->j, "since_ms", row->held_ms);
    json_out_time(&r->j, "expires_ms", row->expires_ms);
    return 0;
}

int admin_on_held(struct admin_call *c)
{
    struct admin_selector sel;
    struct admin_page page;
    struct held_rows r = { .n = 0 };
    char after[ADMIN_ID_TEXT], next[ADMIN_ID_TEXT + 4] = "";
    bool all;
    int err = member_asks_all(c, true, &all);
    if (err != 0 || all)
        return err != 0 ? err : member_ask_rows(c, "messages", false);
    if (c->ops->queue_list == NULL)
        return admin_missing(c);
    err = member_selector_init(&sel, c);
    if (err == 0)
        err = member_page_place(&page, c, after);
    if (err == 0) {
        r.limit = page.limit;
        page.limit = UINT32_MAX;      /* of messages, not of recipients */
        page.after_rcpt = UINT32_MAX; /* nothing more of that one */
        sel.state = ADMIN_STATE_HELD;
        json_out_begin(&r.j, &c->out);
        json_out_open(&r.j, "messages", '[');
        err = c->ops->queue_list(c->ops->ctx, &sel, &page, on_row, &r, &c->e);
        close_row(&r);
        if (r.more)
            snprintf(next, sizeof(next), "%s.0", r.id);
        json_out_close(&r.j, ']');
        json_out_opt(&r.j, "next", span_str(next));
        json_out_end(&r.j);
    }
    member_selector_fini(&sel);
    return err;
}

/* ---- how much there is --------------------------------------------------------------------------------- */

int admin_on_held_status(struct admin_call *c)
{
    struct admin_held h = { .messages = 0 };
    struct json_out j;
    bool all;
    int err = member_asks_all(c, true, &all);
    if (err != 0 || all)
        return err != 0 ? err : member_ask_status(c);
    if (c->ops->held == NULL)
        return admin_missing(c);
    c->ops->held(c->ops->ctx, &h);
    json_out_begin(&j, &c->out);
    json_out_str(&j, "node", h.node);
    json_out_u64(&j, "messages", h.messages);
    json_out_u64(&j, "recipients", h.recipients);
    json_out_u64(&j, "bytes", h.bytes);
    json_out_u64(&j, "senders", h.senders);
    json_out_u64(&j, "refused", h.refused);
    if (h.bounded) {
        json_out_u64(&j, "messages_max", h.messages_max);
        json_out_u64(&j, "bytes_max", h.bytes_max);
        json_out_u64(&j, "sender_messages_max", h.sender_messages_max);
        json_out_u64(&j, "sender_bytes_max", h.sender_bytes_max);
        json_out_i64(&j, "expire_ms", h.expire_ms);
        json_out_str(&j, "when_expired", h.when_expired);
        json_out_str(&j, "when_full", h.when_full);
    }
    json_out_end(&j);
    return 0;
}

/* ---- acts: one node's share ---------------------------------------------------------------------------- */

struct held_verb {
    const char *name;
    enum admin_act act;
};

static const struct held_verb verbs[] = { { "release", ADMIN_ACT_RELEASE },
                                          { "delete", ADMIN_ACT_DELETE },
                                          { "bounce", ADMIN_ACT_BOUNCE } };

/* `after`, `by`: NULL for none, and for the caller. */
static int act_here(struct admin_call *c, const struct held_verb *verb, const char *after, const char *by,
                    int64_t for_ms, struct admin_act_result *res)
{
    struct admin_selector sel;
    struct admin_caller caller = *c->caller;
    if (c->ops->queue_act == NULL)
        return admin_missing(c);
    if (by != NULL)
        snprintf(caller.text, sizeof(caller.text), "%s", by);
    struct admin_act_opts opts = { .act = verb->act,
                                   .dry_run = admin_arg_bool(c->args, "dry_run"),
                                   .text = admin_arg_str(c->args, "text"),
                                   .exempt = admin_arg_bool(c->args, "exempt"),
                                   .until_ms = clock_boot_ms() + for_ms,
                                   .after = after,
                                   .expected = (uint32_t)admin_arg_int(c->args, "expected", 0),
                                   .by = &caller };
    int err = member_selector_init(&sel, c);
    sel.state = ADMIN_STATE_HELD;
    if (err == 0)
        err = c->ops->queue_act(c->ops->ctx, &sel, &opts, res, &c->e);
    member_selector_fini(&sel);
    return err;
}

static const char *const counts[] = { "messages", "recipients", "done", "unchanged", "busy", "failed", "no_quota",
                                      "frozen" };
#define NCOUNTS (sizeof(counts) / sizeof(counts[0]))

static void put_result(struct json_out *j, const struct admin_act_result *res)
{
    const uint64_t values[NCOUNTS] = { res->messages, res->recipients, res->done,     res->unchanged,
                                       res->busy,     res->failed,     res->no_quota, res->frozen };
    for (size_t i = 0; i < NCOUNTS; i++)
        json_out_u64(j, counts[i], values[i]);
    json_out_opt(j, "why", span_str(res->why));
}

/* "a=06A1B2C3D4E5F,b=...": each node's place; false: this one has done its share. */
static bool own_place(const char *places, const char *node, char id[ADMIN_ID_TEXT])
{
    struct span rest = span_str(places);
    id[0] = '\0';
    if (places == NULL)
        return true;
    while (rest.n > 0) {
        struct span one = span_cut(&rest, ','), name = span_cut(&one, '=');
        if (span_eq(name, span_str(node)))
            return admin_id_ok(one, id);
    }
    return false;
}

/* Another node asks, or this one asks itself. */
int admin_on_held_act(struct admin_call *c)
{
    struct admin_act_result res = { .done = 0 };
    struct admin_held h = { .messages = 0 };
    struct json_out j;
    const char *name = admin_arg_str(c->args, "verb");
    char after[ADMIN_ID_TEXT];
    if (!c->inner)
        return admin_fail(&c->e, ERR_NOT_FOUND, "only nodes ask each other that");
    if (c->ops->held == NULL)
        return admin_missing(c);
    c->ops->held(c->ops->ctx, &h);
    const struct held_verb *verb = &verbs[0];
    while (strcmp(verb->name, name) != 0) /* one of them: the parameter is a choice */
        verb++;
    int err = 0;
    if (own_place(admin_arg_str(c->args, "places"), h.node, after))
        err = act_here(c, verb, after[0] != '\0' ? after : NULL, admin_arg_str(c->args, "by"), SLICE_MS, &res);
    json_out_begin(&j, &c->out);
    put_result(&j, &res);
    json_out_opt(&j, "next", span_str(res.more ? res.next : ""));
    json_out_end(&j);
    return err;
}

/* ---- acts: all nodes ----------------------------------------------------------------------------------- */

struct acting {
    struct admin_call *c;
    const struct held_verb *verb;
    bool dry_run;
    json_int_t totals[NCOUNTS];
    json_t *why;     /* the first that a node gave; NULL: none */
    json_t *nodes;   /* [{"node": name, "recipients": n, "done": n, ...}] */
    json_t *missing; /* as member_ask has it */
    struct buf places;
    bool cut; /* not all of them: whoever asks again begins there */
};

static const char *const asked_as_given[] = { "sender", "recipient", "account", "tenant", "reason", "text" };

static int question(struct acting *a, struct buf *path)
{
    const json_t *args = a->c->args, *ids = json_object_get(args, "ids");
    buf_init(path, 96u << 10);
    buf_put_str(path, "/v1/held/act");
    member_put_query(path, '?', "verb", span_str(a->verb->name));
    for (size_t i = 0; i < sizeof(asked_as_given) / sizeof(asked_as_given[0]); i++)
        if (admin_arg_str(args, asked_as_given[i]) != NULL)
            member_put_query(path, '&', asked_as_given[i], span_str(admin_arg_str(args, asked_as_given[i])));
    if (admin_arg_int(args, "older_than", 0) > 0)
        buf_printf(path, "&older_than=%" JSON_INTEGER_FORMAT "ms", (json_int_t)admin_arg_int(args, "older_than", 0));
    for (size_t i = 0; i < json_array_size(ids); i++)
        buf_printf(path, "%s%s", i == 0 ? "&ids=" : ",", json_string_value(json_array_get(ids, i)));
    if (a->dry_run)
        buf_put_str(path, "&dry_run=true");
    if (admin_arg_bool(args, "exempt"))
        buf_put_str(path, "&exempt=true");
    member_put_query(path, '&', "by", span_str(a->c->caller->text));
    if (a->places.len > 0)
        member_put_query(path, '&', "places", buf_span(&a->places));
    return buf_put_char(path, '\0') == 0 ? 0 : admin_fail(&a->c->e, ERR_BAD, "the question is too long");
}

static void take_answer(struct acting *a, json_t *answer)
{
    json_t *body = json_object_get(answer, "body"), *node = json_object_get(answer, "node");
    const char *next = json_string_value(json_object_get(body, "next"));
    for (size_t i = 0; i < NCOUNTS; i++)
        a->totals[i] += json_integer_value(json_object_get(body, counts[i]));
    if (a->why == NULL && json_is_string(json_object_get(body, "why")))
        a->why = json_incref(json_object_get(body, "why"));
    a->cut = a->cut || (next != NULL && a->places.len > PLACES_MAX);
    if (next != NULL && a->places.len <= PLACES_MAX)
        buf_printf(&a->places, "%s%s=%s", a->places.len > 0 ? "," : "", json_string_value(node), next);
    json_object_set(body, "node", node);
    json_array_append(a->nodes, body);
}

/* Until no node has anything left, or the time is over: then their places are left. */
static int act_everywhere(struct acting *a)
{
    int64_t until_ms = clock_boot_ms() + TOTAL_MS;
    int err = 0;
    do {
        struct buf path;
        json_t *answers = NULL, *missing = NULL, *answer;
        size_t i;
        err = question(a, &path);
        if (err == 0)
            err = member_ask_path(a->c, path.data, &answers, &missing);
        buf_fini(&path);
        buf_reset(&a->places);
        json_array_foreach(answers, i, answer)
        {
            take_answer(a, answer);
        }
        if (a->missing == NULL)
            a->missing = json_incref(missing);
        else
            json_array_extend(a->missing, missing); /* one that was asked for more, and is gone now */
        json_decref(answers);
        json_decref(missing);
    } while (err == 0 && a->places.len > 0 && clock_boot_ms() < until_ms);
    return err;
}

static void acting_fini(struct acting *a)
{
    json_decref(a->why);
    json_decref(a->nodes);
    json_decref(a->missing);
    buf_fini(&a->places);
}

static void acting_init(struct acting *a, struct admin_call *c, const struct held_verb *verb, bool dry_run)
{
    *a = (struct acting){ .c = c, .verb = verb, .dry_run = dry_run, .nodes = json_array() };
    buf_init(&a->places, 32u << 10);
}

/* How many there are; no more than that were shown to the operator, if he says so. */
static int look_first(struct admin_call *c, const struct held_verb *verb, uint32_t *recipients)
{
    struct acting a;
    int64_t expected = admin_arg_int(c->args, "expected", 0);
    acting_init(&a, c, verb, true);
    int err = act_everywhere(&a);
    *recipients = a.totals[1] > UINT32_MAX ? UINT32_MAX : (uint32_t)a.totals[1];
    if (err == 0 && expected != 0 && a.totals[1] > expected)
        err = admin_fail(&c->e, ERR_BUSY,
                         "%" JSON_INTEGER_FORMAT " recipients match by now, not %lld: nothing was changed", a.totals[1],
                         (long long)expected);
    acting_fini(&a);
    return err;
}

/* Before anything is let go: without a line in the audit trail nothing is. */
static int audit_exempt(struct admin_call *c, uint32_t recipients)
{
    char what[256];
    size_t n = 0;
    const char *operator_name = admin_arg_str(c->args, "operator"), *reason = admin_arg_str(c->args, "text");
    const json_t *ids = json_object_get(c->args, "ids");
    struct command cmd = { .type = COMMAND_HELD_EXEMPT };
    if (operator_name == NULL || operator_name[0] == '\0')
        return admin_fail(&c->e, ERR_BAD, "who exempts them? give operator, a name");
    for (size_t i = 0; i < 5 && n < sizeof(what); i++) {
        const char *v = admin_arg_str(c->args, asked_as_given[i]);
        if (v != NULL)
            n += (size_t)snprintf(what + n, sizeof(what) - n, "%s%s %s", n > 0 ? ", " : "", asked_as_given[i], v);
    }
    if (json_array_size(ids) > 0 && n < sizeof(what))
        n += (size_t)snprintf(what + n, sizeof(what) - n, "%s%zu messages from %s on", n > 0 ? ", " : "",
                              json_array_size(ids), json_string_value(json_array_get(ids, 0)));
    cmd.held_exempt.operator_name = span_of(operator_name, strnlen(operator_name, COMMAND_NAME_MAX));
    cmd.held_exempt.recipients = recipients;
    cmd.held_exempt.what = n == 0 ? SPAN_LIT("everybody") : span_of(what, n < sizeof(what) ? n : sizeof(what) - 1);
    cmd.held_exempt.reason = reason == NULL ? span_of("", 0) : span_of(reason, strnlen(reason, 512));
    return member_submit(c, &cmd, NULL);
}

static int reply(struct acting *a)
{
    json_t *j = json_pack("{s:b}", "dry_run", a->dry_run);
    for (size_t i = 0; i < NCOUNTS; i++)
        json_object_set_new(j, counts[i], json_integer(a->totals[i]));
    json_object_set(j, "why", a->why != NULL ? a->why : json_null());
    json_object_set_new(j, "more", json_boolean(a->cut || a->places.len > 0));
    json_object_set(j, "nodes", a->nodes);
    return member_reply(a->c, j, a->missing);
}

static int act(struct admin_call *c, const struct held_verb *verb)
{
    struct admin_selector sel;
    struct acting a;
    uint32_t recipients = 0;
    bool dry_run = admin_arg_bool(c->args, "dry_run"), exempt = admin_arg_bool(c->args, "exempt");
    int err = member_selector_init(&sel, c);
    if (err == 0 && admin_selector_empty(&sel) && !sel.all)
        err = admin_fail(&c->e, ERR_BAD, "nothing is selected: give a selector, or all");
    member_selector_fini(&sel);
    if (err == 0 && exempt && !member_is(c))
        err = admin_fail(&c->e, ERR_BAD, "this node is in no cluster: there are no limits to be exempt from");
    if (err == 0 && !dry_run && member_is(c) && (exempt || admin_arg_int(c->args, "expected", 0) != 0))
        err = look_first(c, verb, &recipients);
    if (err == 0 && exempt && !dry_run)
        err = audit_exempt(c, recipients);
    if (err != 0)
        return err;
    acting_init(&a, c, verb, dry_run);
    if (member_is(c)) {
        err = act_everywhere(&a);
    } else {
        struct admin_act_result res = { .done = 0 };
        struct buf body;
        struct json_out j;
        buf_init(&body, ADMIN_REPLY_MAX);
        err = act_here(c, verb, NULL, NULL, TOTAL_MS, &res);
        json_out_begin(&j, &body);
        put_result(&j, &res);
        json_out_end(&j);
        json_t *alone = json_loadb(body.data, body.len, 0, NULL);
        json_t *answer = json_pack("{s:s,s:o}", "node", "", "body", alone != NULL ? alone : json_object());
        take_answer(&a, answer);
        json_decref(answer);
        buf_fini(&body);
    }
    if (err == 0)
        err = reply(&a);
    acting_fini(&a);
    return err;
}

int admin_on_held_release(struct admin_call *c)
{
    return act(c, &verbs[0]);
}

int admin_on_held_delete(struct admin_call *c)
{
    return act(c, &verbs[1]);
}

int admin_on_held_bounce(struct admin_call *c)
{
    return act(c, &verbs[2]);
}

/* ---- one message, harmless ----------------------------------------------------------------------------- */

struct shown {
    struct json_out j;
    uint64_t held;
};

static int on_shown(void *arg, const struct admin_row *row)
{
    struct shown *s = arg;
    if (row->state != ADMIN_STATE_HELD)
        return 0;
    if (s->held++ == 0) {
        member_put_message(&s->j, row);
        json_out_span(&s->j, "reason", row->held_for);
        json_out_opt(&s->j, "detail", row->held_text);
        json_out_time(&s->j, "since_ms", row->held_ms);
        json_out_time(&s->j, "expires_ms", row->expires_ms);
        json_out_open(&s->j, "recipients", '[');
    }
    if (s->held <= ADMIN_ROWS_MAX)
        json_out_span(&s->j, NULL, row->recipient);
    return 0;
}

static void on_field(void *arg, struct span name, struct span value)
{
    struct json_out *j = arg;
    json_out_open(j, NULL, '{');
    json_out_span(j, "name", name);
    json_out_span(j, "value", value);
    json_out_close(j, '}');
}

static int read_content(struct admin_call *c, const struct admin_caller *by, struct buf *out)
{
    struct admin_content *content;
    const char *p;
    size_t n = 1;
    if (c->ops->content_open == NULL || c->ops->content_next == NULL || c->ops->content_close == NULL)
        return admin_missing(c);
    int err = c->ops->content_open(c->ops->ctx, c->id, false, by, &content, &c->e);
    if (err != 0)
        return err;
    while (err == 0 && n > 0 && out->len < PREVIEW_READ_MAX) {
        err = c->ops->content_next(c->ops->ctx, content, &p, &n);
        if (err == 0 && n > 0)
            buf_put(out, p, n < PREVIEW_READ_MAX - out->len ? n : PREVIEW_READ_MAX - out->len);
    }
    c->ops->content_close(c->ops->ctx, content);
    return err != 0 ? admin_fail(&c->e, err, "%s: %s", c->id, err_text(err)) : buf_err(out);
}

static int show_here(struct admin_call *c, const struct admin_caller *by)
{
    static const char *const kinds[] = { "none", "plain", "html" };
    struct shown s = { .held = 0 };
    struct buf content, text;
    bool cut = false;
    if (c->ops->queue_show == NULL)
        return admin_missing(c);
    json_out_begin(&s.j, &c->out);
    int err = c->ops->queue_show(c->ops->ctx, c->id, on_shown, &s, &c->e);
    if (err == 0 && s.held == 0)
        err = admin_fail(&c->e, ERR_NOT_FOUND, "%s is not held", c->id);
    if (err != 0)
        return err;
    json_out_close(&s.j, ']');
    json_out_u64(&s.j, "held", s.held);
    buf_init(&content, PREVIEW_READ_MAX + 1);
    buf_init(&text, 2 * PREVIEW_TEXT_MAX);
    err = read_content(c, by, &content);
    if (err == 0) {
        json_out_open(&s.j, "header", '[');
        preview_fields(buf_span(&content), on_field, &s.j);
        json_out_close(&s.j, ']');
        enum preview_kind kind = preview_text(buf_span(&content), &text, &cut);
        json_out_str(&s.j, "text_kind", kinds[kind]);
        json_out_span(&s.j, "text", buf_span(&text));
        json_out_bool(&s.j, "text_cut", cut);
    }
    json_out_end(&s.j);
    buf_fini(&content);
    buf_fini(&text);
    return err;
}

/* Whichever node has it. */
static int show_elsewhere(struct admin_call *c)
{
    json_t *answers = NULL, *missing = NULL;
    struct buf path;
    buf_init(&path, 4096);
    buf_printf(&path, "/v1/held/messages/%s", c->id);
    member_put_query(&path, '?', "by", span_str(c->caller->text));
    buf_put_char(&path, '\0');
    int err = member_ask_path(c, path.data, &answers, &missing);
    buf_fini(&path);
    json_t *answer = json_array_get(answers, 0), *body = json_object_get(answer, "body");
    if (err == 0 && body != NULL) {
        json_object_set(body, "node", json_object_get(answer, "node"));
        err = member_reply(c, json_incref(body), NULL);
    } else if (err == 0) {
        const char *why = json_string_value(json_object_get(json_array_get(missing, 0), "reason"));
        err = admin_fail(&c->e, ERR_NOT_FOUND, "no node that answered holds %s (%s)", c->id, why != NULL ? why : "");
    }
    json_decref(answers);
    json_decref(missing);
    return err;
}

int admin_on_held_show(struct admin_call *c)
{
    struct admin_caller by = *c->caller;
    const char *asks = admin_arg_str(c->args, "by");
    if (c->caller->no_content)
        return admin_fail(&c->e, ERR_DENIED, "you may not look into people's mail");
    if (c->inner && asks != NULL)
        snprintf(by.text, sizeof(by.text), "%s", asks);
    return c->inner || !member_is(c) ? show_here(c, &by) : show_elsewhere(c);
}
