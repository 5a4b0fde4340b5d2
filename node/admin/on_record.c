/* Handlers about senders' records, what became of their mail on all nodes together: docs/bounces.md. Any node
 * answers from the state that it has; the nodes report every few seconds. Admin threads.
 */
#include "node/admin/member.h"
#include "node/admin/tenant.h"

#include "base/err.h"
#include "node/bounce/class.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 500 /* records looked at under one lock */

static const char *const windows[DIRECTORY_RECORD_WINDOWS] = { "1h", "24h", "7d" };

static enum directory_record_window window_of(struct admin_call *c)
{
    const char *name = admin_arg_str(c->args, "window");
    for (int i = 0; name != NULL && i < DIRECTORY_RECORD_WINDOWS; i++)
        if (strcmp(name, windows[i]) == 0)
            return (enum directory_record_window)i;
    return DIRECTORY_RECORD_DAY;
}

static uint64_t bounces(const struct directory_record *r, enum directory_record_window w)
{
    return directory_record_sum(r, w, RECORD_HARD, RECORD_HARD_END);
}

static void put_window(struct json_out *j, const struct directory_record *r, enum directory_record_window w)
{
    json_out_open(j, NULL, '{');
    json_out_str(j, "window", windows[w]);
    json_out_u64(j, "delivered", r->counts[w][RECORD_DELIVERED]);
    json_out_u64(j, "deferred", r->counts[w][RECORD_DEFERRED]);
    json_out_u64(j, "bounced", bounces(r, w));
    json_out_u64(j, "complaints", r->counts[w][RECORD_COMPLAINT]);
    json_out_open(j, "classes", '{');
    for (unsigned class = 0; class < BOUNCE_CLASSES; class ++)
        if (r->counts[w][RECORD_HARD + class] != 0)
            json_out_u64(j, bounce_class_name((enum bounce_class) class), r->counts[w][RECORD_HARD + class]);
    json_out_close(j, '}');
    json_out_close(j, '}');
}

int admin_on_sender_bounces(struct admin_call *c)
{
    char text[COMMAND_NAME_MAX + 1];
    struct span account;
    struct directory_record r;
    struct json_out j;
    struct machine *m;
    int err = member_account(c, "account", text, &account);
    if (err == 0)
        err = member_machine(c, &m);
    if (err != 0)
        return err;
    struct directory_standing s = { 0 };
    machine_read_lock(m);
    bool found = directory_record_find(m, account, &r);
    bool stands = directory_standing_find(m, account, &s);
    machine_read_unlock(m);
    if (!found)
        r = (struct directory_record){ 0 };
    json_out_begin(&j, &c->out);
    json_out_span(&j, "account", account);
    json_out_str(&j, "tier", directory_tier_name(s.tier));
    json_out_bool(&j, "pinned", s.pinned);
    if (stands)
        json_out_u64(&j, "tier_since_ms", s.wall_ms > 0 ? (uint64_t)s.wall_ms : 0);
    else
        json_out_null(&j, "tier_since_ms");
    json_out_open(&j, "windows", '[');
    for (int w = 0; w < DIRECTORY_RECORD_WINDOWS; w++)
        put_window(&j, &r, (enum directory_record_window)w);
    json_out_close(&j, ']');
    return json_out_end(&j);
}

int admin_on_sender_pin(struct admin_call *c)
{
    static const char *const tiers[] = { "neutral", "good", "poor" };
    const char *tier = admin_arg_str(c->args, "tier");
    const char *reason = admin_arg_str(c->args, "reason");
    char text[COMMAND_NAME_MAX + 1];
    struct command cmd = { .type = COMMAND_STANDING_SET };
    struct command_standing_set *set = &cmd.standing_set;
    int err = member_account(c, "account", text, &set->account);
    if (err != 0)
        return err;
    set->reason = reason != NULL ? span_str(reason) : span_of("", 0);
    if (set->reason.n > COMMAND_STANDING_REASON_MAX)
        return admin_fail(&c->e, ERR_BAD, "reason: longer than %d bytes", COMMAND_STANDING_REASON_MAX);
    set->keep = strcmp(tier, "auto") == 0;
    set->pinned = !set->keep;
    for (uint8_t i = 0; i < sizeof tiers / sizeof tiers[0]; i++)
        if (strcmp(tier, tiers[i]) == 0)
            set->tier = i;
    return member_do(c, &cmd);
}

/* ---- the senders with the most ------------------------------------------------------------------------- */

struct top_row {
    uint64_t rank;
    struct directory_record r; /* its account is in `account` */
    char account[COMMAND_NAME_MAX + 1];
};

struct top {
    const struct admin_call *c;
    const struct machine *m;
    enum directory_record_window window;
    const char *by;
    struct top_row *rows; /* the largest first */
    uint32_t n, limit, seen;
    char last[COMMAND_NAME_MAX + 1];
};

static void copy_name(char out[COMMAND_NAME_MAX + 1], struct span name)
{
    memcpy(out, name.p, name.n);
    out[name.n] = '\0';
}

static uint64_t rank_of(const struct top *t, const struct directory_record *r)
{
    return strcmp(t->by, "complaints") == 0  ? r->counts[t->window][RECORD_COMPLAINT]
           : strcmp(t->by, "deferred") == 0  ? r->counts[t->window][RECORD_DEFERRED]
           : strcmp(t->by, "delivered") == 0 ? r->counts[t->window][RECORD_DELIVERED]
                                             : bounces(r, t->window);
}

static int on_record(void *arg, const struct directory_record *r)
{
    struct top *t = arg;
    uint64_t rank = rank_of(t, r);
    uint32_t at = t->n;
    while (at > 0 && t->rows[at - 1].rank < rank)
        at--;
    if (rank > 0 && at < t->limit && admin_sees_account(t->c, t->m, r->account)) {
        if (t->n < t->limit)
            t->n++;
        memmove(&t->rows[at + 1], &t->rows[at], (t->n - 1 - at) * sizeof *t->rows);
        t->rows[at].rank = rank;
        t->rows[at].r = *r;
        copy_name(t->rows[at].account, r->account);
    }
    copy_name(t->last, r->account);
    return ++t->seen % PAGE == 0;
}

/* Not under one lock: a walk over all records takes longer than others should wait. */
static void look_at_all(struct machine *m, struct top *t)
{
    uint32_t before;
    do {
        before = t->seen;
        char after[COMMAND_NAME_MAX + 1];
        memcpy(after, t->last, sizeof after);
        machine_read_lock(m);
        (void)directory_record_each(m, span_str(after), on_record, t);
        machine_read_unlock(m);
    } while (t->seen != before && t->seen % PAGE == 0);
}

int admin_on_sender_top(struct admin_call *c)
{
    const char *by = admin_arg_str(c->args, "by");
    struct top t = { .c = c,
                     .window = window_of(c),
                     .by = by != NULL ? by : "bounces",
                     .limit = (uint32_t)admin_arg_int(c->args, "limit", 20) };
    struct json_out j;
    struct machine *m;
    int err = member_machine(c, &m);
    if (err != 0)
        return err;
    t.m = m;
    t.rows = calloc(t.limit, sizeof *t.rows);
    if (t.rows == NULL)
        return -ENOMEM;
    look_at_all(m, &t);
    json_out_begin(&j, &c->out);
    json_out_str(&j, "by", t.by);
    json_out_str(&j, "window", windows[t.window]);
    json_out_open(&j, "senders", '[');
    for (uint32_t i = 0; i < t.n; i++) {
        const struct directory_record *r = &t.rows[i].r;
        json_out_open(&j, NULL, '{');
        json_out_str(&j, "account", t.rows[i].account);
        json_out_u64(&j, "delivered", r->counts[t.window][RECORD_DELIVERED]);
        json_out_u64(&j, "deferred", r->counts[t.window][RECORD_DEFERRED]);
        json_out_u64(&j, "bounced", bounces(r, t.window));
        json_out_u64(&j, "complaints", r->counts[t.window][RECORD_COMPLAINT]);
        json_out_close(&j, '}');
    }
    json_out_close(&j, ']');
    free(t.rows);
    return json_out_end(&j);
}
