/* Handlers about messages: the queue, acts on it, and tracking. Admin threads. */
#include "node/admin/member.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"
#include "node/admin/selector.h"
#include "node/admin/tenant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- selectors and places ------------------------------------------------------------------------------ */

/* -1: none is named. */
static int state_of(const char *name)
{
    for (int s = 0; name != NULL && s < ADMIN_STATES; s++)
        if (strcmp(name, admin_state_name((enum admin_state)s)) == 0)
            return s;
    return -1;
}

/* The selector's strings are borrowed from the arguments; its arrays are freed with selector_fini. */
int member_selector_init(struct admin_selector *sel, struct admin_call *c)
{
    const json_t *ids = json_object_get(c->args, "ids");
    const char *pattern = admin_arg_str(c->args, "reply_match");
    int64_t older_ms = admin_arg_int(c->args, "older_than", 0);
    *sel = (struct admin_selector){
        .all = admin_arg_bool(c->args, "all"),
        .sender = admin_arg_str(c->args, "sender"),
        .recipient = admin_arg_str(c->args, "recipient"),
        .site = admin_arg_str(c->args, "site"),
        .account = admin_arg_str(c->args, "account"),
        .tenant = admin_arg_str(c->args, "tenant"),
        .held_for = admin_arg_str(c->args, "reason"),
        .arrived_before_ms = older_ms > 0 ? clock_wall_ms() - older_ms : 0,
        .state = state_of(admin_arg_str(c->args, "state")),
    };
    if (json_array_size(ids) > 0) {
        sel->ids = calloc(json_array_size(ids), sizeof(*sel->ids));
        if (sel->ids == NULL)
            return admin_fail(&c->e, -ENOMEM, "out of memory");
        for (size_t i = 0; i < json_array_size(ids); i++)
            sel->ids[sel->nids++] = json_string_value(json_array_get(ids, i));
    }
    if (pattern == NULL)
        return 0;
    struct admin_regex *reply = NULL;
    int err = admin_regex_new(pattern, &reply, &c->e);
    sel->reply = reply;
    return err;
}

void member_selector_fini(struct admin_selector *sel)
{
    free(sel->ids);
    admin_regex_free((struct admin_regex *)(uintptr_t)sel->reply);
}

/* "ID.RCPT", as `next` gave it. */
int member_page_place(struct admin_page *page, struct admin_call *c, char id[ADMIN_ID_TEXT])
{
    const char *after = admin_arg_str(c->args, "after");
    *page = (struct admin_page){ .limit = (uint32_t)admin_arg_int(c->args, "limit", 100) };
    if (after == NULL)
        return 0;
    uint64_t rcpt;
    size_t n = strcspn(after, ".");
    if (!admin_id_ok(span_of(after, n), id) || after[n] != '.' ||
        text_u64(span_str(after + n + 1), &rcpt) != 0 || rcpt > UINT32_MAX)
        return admin_fail(&c->e, ERR_BAD, "after is not what an earlier page gave as next");
    page->after_id = id;
    page->after_rcpt = (uint32_t)rcpt;
    return 0;
}

/* ---- rows ---------------------------------------------------------------------------------------------- */

struct rows {
    struct json_out j;
    const struct admin_call *c;
    uint32_t n;
    bool cut;
    char next[ADMIN_ID_TEXT + 12];
};

static void put_recipient(struct json_out *j, const struct admin_row *row)
{
    json_out_u64(j, "rcpt", row->rcpt);
    json_out_span(j, "recipient", row->recipient);
    json_out_str(j, "state", admin_state_name(row->state));
    json_out_opt(j, "site", row->site);
    json_out_u64(j, "attempts", row->attempts);
    json_out_opt(j, "reply", row->reply);
    json_out_opt(j, "mx", row->mx);
    json_out_opt(j, "mx_ip", row->mx_ip);
    json_out_opt(j, "source_ip", row->source_ip);
    json_out_opt(j, "tls", row->tls);
    json_out_time(j, "greylisted_ms", row->greylisted_ms);
    json_out_opt(j, "rerouted_from", row->rerouted_from);
    json_out_opt(j, "rerouted_to", row->rerouted_to);
    json_out_opt(j, "rerouted_by", row->rerouted_by);
    json_out_opt(j, "held_for", row->held_for);
    json_out_opt(j, "held_text", row->held_text);
    json_out_time(j, "held_ms", row->held_ms);
    json_out_time(j, "next_ms", row->next_ms);
    json_out_time(j, "changed_ms", row->changed_ms);
    json_out_time(j, "expires_ms", row->expires_ms);
}

void member_put_message(struct json_out *j, const struct admin_row *row)
{
    json_out_str(j, "id", row->id);
    json_out_span(j, "sender", row->sender); /* empty: the null reverse-path */
    json_out_opt(j, "account", row->account);
    json_out_opt(j, "tenant", row->tenant);
    json_out_opt(j, "class", row->class);
    json_out_opt(j, "message_id", row->message_id);
    json_out_u64(j, "size", row->size);
    json_out_u64(j, "nrcpts", row->nrcpts);
    json_out_time(j, "arrival_ms", row->arrival_ms);
    json_out_opt(j, "client_ip", row->client_ip);
    json_out_opt(j, "client_name", row->client_name);
    json_out_opt(j, "helo", row->helo);
    json_out_opt(j, "protocol", row->protocol);
    json_out_opt(j, "listener", row->listener);
    json_out_opt(j, "dkim", row->dkim);
}

static void put_steps(struct json_out *j, const struct admin_row *row)
{
    if (row->steps == NULL)
        return;
    json_out_open(j, "steps", '[');
    for (uint32_t i = 0; i < row->nsteps; i++) {
        const struct admin_step *s = &row->steps[i];
        json_out_open(j, NULL, '{');
        json_out_u64(j, "number", s->number);
        json_out_time(j, "at_ms", s->at_ms);
        json_out_str(j, "what", s->what);
        json_out_opt(j, "verdict", s->verdict);
        json_out_opt(j, "done", s->done);
        json_out_u64(j, "attempt", s->attempt);
        json_out_bool(j, "greylisted", s->greylisted);
        json_out_opt(j, "reply", s->reply);
        json_out_opt(j, "pool", s->pool);
        json_out_opt(j, "mx", s->mx);
        json_out_opt(j, "mx_ip", s->mx_ip);
        json_out_opt(j, "source_ip", s->source_ip);
        json_out_opt(j, "tls", s->tls);
        json_out_opt(j, "who", s->who);
        json_out_time(j, "next_ms", s->next_ms);
        json_out_close(j, '}');
    }
    json_out_close(j, ']');
}

static int on_row(void *arg, const struct admin_row *row)
{
    struct rows *r = arg;
    json_out_open(&r->j, NULL, '{');
    member_put_message(&r->j, row);
    put_recipient(&r->j, row);
    put_steps(&r->j, row);
    json_out_close(&r->j, '}');
    r->n++;
    snprintf(r->next, sizeof(r->next), "%.32s.%" PRIu32, row->id, row->rcpt);
    r->cut = r->j.buf->len > ADMIN_PAGE_BYTES;
    return r->cut;
}

static void rows_begin(struct rows *r, struct admin_call *c)
{
    *r = (struct rows){ 0 };
    json_out_begin(&r->j, &c->out);
    json_out_open(&r->j, "recipients", '[');
}

static void rows_next(struct rows *r, uint32_t limit)
{
    json_out_opt(&r->j, "next", span_str(r->n >= limit || r->cut ? r->next : ""));
    json_out_end(&r->j);
}

static void rows_end(struct rows *r, uint32_t limit)
{
    json_out_close(&r->j, ']');
    rows_next(r, limit);
}

int admin_on_queue(struct admin_call *c)
{
    if (c->ops->queue_list == NULL)
        return admin_missing(c);
    struct admin_selector sel;
    struct admin_page page;
    struct rows r;
    char after[ADMIN_ID_TEXT];
    bool all;
    int err = member_asks_all(c, false, &all);
    if (err != 0 || all)
        return err != 0 ? err : member_ask_rows(c, "recipients", false);
    err = member_selector_init(&sel, c);
    if (err == 0)
        err = member_page_place(&page, c, after);
    if (err == 0) {
        rows_begin(&r, c);
        err = c->ops->queue_list(c->ops->ctx, &sel, &page, on_row, &r, &c->e);
        rows_end(&r, page.limit);
    }
    member_selector_fini(&sel);
    return err;
}

static int on_message_row(void *arg, const struct admin_row *row)
{
    struct rows *r = arg;
    if (!admin_sees(r->c, row->tenant))
        return 1;
    if (r->n++ == 0) {
        member_put_message(&r->j, row);
        json_out_open(&r->j, "recipients", '[');
    }
    json_out_open(&r->j, NULL, '{');
    put_recipient(&r->j, row);
    json_out_close(&r->j, '}');
    return 0;
}

int admin_on_message(struct admin_call *c)
{
    if (c->ops->queue_show == NULL)
        return admin_missing(c);
    struct rows r = { .c = c };
    json_out_begin(&r.j, &c->out);
    int err = c->ops->queue_show(c->ops->ctx, c->id, on_message_row, &r, &c->e);
    /* a tenant is not told which of the two it is */
    if ((err == 0 && r.n == 0) || (err == ERR_NOT_FOUND && c->caller->tenant[0] != '\0'))
        err = admin_fail(&c->e, ERR_NOT_FOUND, "there is no message %s in the queue", c->id);
    json_out_close(&r.j, ']');
    json_out_end(&r.j);
    return err;
}

int admin_on_track(struct admin_call *c)
{
    if (c->ops->track == NULL)
        return admin_missing(c);
    struct admin_track q = {
        .message_id = admin_arg_str(c->args, "message_id"),
        .sender = admin_arg_str(c->args, "sender"),
        .recipient = admin_arg_str(c->args, "recipient"),
        .account = admin_arg_str(c->args, "account"),
        .tenant = admin_arg_str(c->args, "tenant"),
        .state = state_of(admin_arg_str(c->args, "status")),
        .since_ms = admin_arg_int(c->args, "since", 0),
        .until_ms = admin_arg_int(c->args, "until", 0),
    };
    struct admin_track_info info = { 0 };
    struct admin_page page;
    struct rows r;
    char after[ADMIN_ID_TEXT], id[ADMIN_ID_TEXT];
    const char *id_text = admin_arg_str(c->args, "id");
    if (id_text != NULL && !admin_id_ok(span_str(id_text), id))
        return admin_fail(&c->e, ERR_BAD, "id is no queue id");
    q.id = id_text != NULL ? id : NULL;
    q.steps = q.id != NULL || q.message_id != NULL || admin_arg_bool(c->args, "steps");
    if (q.id == NULL && q.message_id == NULL && q.sender == NULL && q.recipient == NULL && q.account == NULL &&
        q.state < 0 && q.since_ms == 0 && q.until_ms == 0)
        return admin_fail(&c->e, ERR_BAD,
                          "give at least one of id, message_id, sender, recipient, account, status, since, until");
    bool all = false;
    int err = member_page_place(&page, c, after);
    if (err == 0)
        err = member_asks_all(c, true, &all);
    if (err != 0 || all)
        return err != 0 ? err : member_ask_rows(c, "recipients", true);
    rows_begin(&r, c);
    err = c->ops->track(c->ops->ctx, &q, &page, on_row, &r, &info, &c->e);
    json_out_close(&r.j, ']');
    json_out_time(&r.j, "since_ms", q.since_ms);
    json_out_bool(&r.j, "history", !info.off);
    json_out_time(&r.j, "kept_since_ms", info.kept_since_ms);
    if (c->page != NULL)
        json_out_str(&r.j, "dashboard", c->page);
    rows_next(&r, page.limit);
    return err;
}

/* ---- summary ------------------------------------------------------------------------------------------- */

static void put_group(struct json_out *j, const struct admin_summary_row *row)
{
    json_out_u64(j, "recipients", row->recipients);
    json_out_u64(j, "queued", row->queued);
    json_out_u64(j, "held", row->held);
    json_out_u64(j, "active", row->active);
    json_out_u64(j, "bytes", row->bytes);
    json_out_time(j, "oldest_ms", row->oldest_ms);
    json_out_time(j, "next_ms", row->next_ms);
    json_out_open(j, "ages", '[');
    for (int i = 0; i < ADMIN_AGES; i++)
        json_out_u64(j, NULL, row->age[i]);
    json_out_close(j, ']');
}

static int on_group(void *arg, const struct admin_summary_row *row)
{
    struct json_out *j = arg;
    json_out_open(j, NULL, '{');
    json_out_span(j, "key", row->key);
    put_group(j, row);
    json_out_close(j, '}');
    return 0;
}

static enum admin_group group_of(const char *by)
{
    static const char *const names[] = { [ADMIN_GROUP_SITE] = "site",
                                         [ADMIN_GROUP_SENDER] = "sender",
                                         [ADMIN_GROUP_ACCOUNT] = "account",
                                         [ADMIN_GROUP_STATE] = "state",
                                         [ADMIN_GROUP_REPLY] = "reply" };
    for (unsigned g = 0; by != NULL && g < sizeof(names) / sizeof(names[0]); g++)
        if (strcmp(names[g], by) == 0)
            return (enum admin_group)g;
    return ADMIN_GROUP_SITE;
}

int admin_on_summary(struct admin_call *c)
{
    if (c->ops->queue_summary == NULL)
        return admin_missing(c);
    static const int bounds_min[] = { 5, 10, 20, 40, 80, 160, 320, 640, 1280 };
    struct admin_selector sel;
    struct admin_summary_row total = { 0 };
    struct json_out j;
    const char *by = admin_arg_str(c->args, "by");
    bool all;
    int err = member_asks_all(c, true, &all);
    if (err != 0 || all)
        return err != 0 ? err : member_ask_summary(c);
    err = member_selector_init(&sel, c);
    if (err == 0) {
        json_out_begin(&j, &c->out);
        json_out_str(&j, "by", by != NULL ? by : "site");
        json_out_open(&j, "age_minutes", '[');
        for (size_t i = 0; i < sizeof(bounds_min) / sizeof(bounds_min[0]); i++)
            json_out_i64(&j, NULL, bounds_min[i]);
        json_out_close(&j, ']');
        json_out_open(&j, "groups", '[');
        err =
            c->ops->queue_summary(c->ops->ctx, &sel, group_of(by),
                                  (uint32_t)admin_arg_int(c->args, "limit", 50), on_group, &j, &total, &c->e);
        json_out_close(&j, ']');
        json_out_open(&j, "total", '{');
        put_group(&j, &total);
        json_out_close(&j, '}');
        json_out_end(&j);
    }
    member_selector_fini(&sel);
    return err;
}

/* ---- acts ---------------------------------------------------------------------------------------------- */

static int act(struct admin_call *c, enum admin_act what)
{
    if (c->ops->queue_act == NULL)
        return admin_missing(c);
    struct admin_selector sel;
    struct admin_act_result res = { 0 };
    struct admin_act_opts opts = {
        .act = what,
        .dry_run = admin_arg_bool(c->args, "dry_run"),
        .text = admin_arg_str(c->args, "text"),
        .expected = (uint32_t)admin_arg_int(c->args, "expected", 0),
        .by = c->caller,
    };
    int err = member_selector_init(&sel, c);
    if (err == 0 && admin_selector_empty(&sel) && !sel.all)
        err = admin_fail(&c->e, ERR_BAD, "nothing is selected: give a selector, or all");
    if (err == 0)
        err = c->ops->queue_act(c->ops->ctx, &sel, &opts, &res, &c->e);
    member_selector_fini(&sel);
    struct json_out j;
    json_out_begin(&j, &c->out);
    json_out_bool(&j, "dry_run", opts.dry_run);
    json_out_u64(&j, "messages", res.messages);
    json_out_u64(&j, "recipients", res.recipients);
    json_out_u64(&j, "done", res.done);
    json_out_u64(&j, "unchanged", res.unchanged);
    json_out_u64(&j, "busy", res.busy);
    json_out_u64(&j, "failed", res.failed);
    json_out_u64(&j, "no_quota", res.no_quota);
    json_out_u64(&j, "frozen", res.frozen);
    json_out_opt(&j, "why", span_str(res.why));
    json_out_end(&j);
    return err;
}

/* It is asked for: the messages go as soon as they are in no transaction. */
int admin_on_queue_move(struct admin_call *c)
{
    struct admin_selector sel;
    struct json_out j;
    uint64_t to = 0, messages = 0;
    int err = member_node(c, "to", &to);
    if (err != 0 || c->cluster->queue_move == NULL)
        return err != 0 ? err : admin_missing(c);
    bool dry_run = admin_arg_bool(c->args, "dry_run");
    err = member_selector_init(&sel, c);
    if (err == 0 && admin_selector_empty(&sel) && !sel.all)
        err = admin_fail(&c->e, ERR_BAD, "nothing is selected: give a selector, or all");
    if (err == 0)
        err = c->cluster->queue_move(c->cluster_ctx, c->caller, &sel, to, dry_run, &messages, &c->e);
    member_selector_fini(&sel);
    json_out_begin(&j, &c->out);
    json_out_bool(&j, "dry_run", dry_run);
    json_out_u64(&j, "messages", messages);
    json_out_end(&j);
    return err;
}

int admin_on_retry(struct admin_call *c)
{
    return act(c, ADMIN_ACT_RETRY);
}

int admin_on_hold(struct admin_call *c)
{
    return act(c, ADMIN_ACT_HOLD);
}

int admin_on_release(struct admin_call *c)
{
    return act(c, ADMIN_ACT_RELEASE);
}

int admin_on_bounce(struct admin_call *c)
{
    return act(c, ADMIN_ACT_BOUNCE);
}

int admin_on_delete(struct admin_call *c)
{
    return act(c, ADMIN_ACT_DELETE);
}
