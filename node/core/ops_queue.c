/* The admin API: looking at the queue, and operators' acts on it. Admin threads. */
#include "node/core/ops.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/map.h"
#include "node/core/egress.h"
#include "node/core/held_release.h"
#include "node/core/look.h"
#include "node/core/outcome.h"
#include "node/core/report.h"
#include "node/core/steps.h"

#include <errno.h>
#include <stdlib.h>

/* ---- list and show --------------------------------------------------------------------------------------
 */

struct listing {
    uint32_t left;
    admin_row_fn *fn;
    void *arg;
};

static int listing_cb(void *arg, const struct admin_row *row)
{
    struct listing *l = arg;
    int enough = l->fn(l->arg, row);
    return enough != 0 ? enough : --l->left == 0;
}

int ops_queue_list(void *ctx, const struct admin_selector *sel, const struct admin_page *page,
                   admin_row_fn *fn, void *arg, struct admin_error *e)
{
    uint64_t after = 0;
    if (page->after_id != NULL && look_id(ctx, span_str(page->after_id), &after) != 0)
        return admin_fail(e, ERR_BAD, "the page's place is no queue id");
    struct listing l = { .left = page->limit, .fn = fn, .arg = arg };
    int err = look_all(ctx, sel, after, page->after_rcpt, listing_cb, &l);
    return err == 0 ? 0 : admin_fail(e, err, "cannot list the queue: %s", err_text(err));
}

int ops_queue_show(void *ctx, const char *id, admin_row_fn *fn, void *arg, struct admin_error *e)
{
    uint64_t number;
    struct look_batch batch;
    if (look_id(ctx, span_str(id), &number) != 0)
        return admin_fail(e, ERR_BAD, "%s is no queue id", id);
    int err = look_batch(ctx, &number, 1, &batch);
    if (err == 0) {
        err = look_message(ctx, number, &batch, NULL, true, fn, arg);
        look_batch_fini(&batch);
    }
    if (err == ERR_NOT_FOUND)
        return admin_fail(e, err, "%s is not in the queue; 'track' knows of finished mail", id);
    return err == 0 || err == 1 ? 0 : admin_fail(e, err, "cannot read %s: %s", id, err_text(err));
}

/* ---- acts -----------------------------------------------------------------------------------------------
 */

/* Recipients of one message that are meant. */
struct meant {
    uint64_t id;
    uint32_t n;
    uint32_t *rcpts;
};

struct act {
    struct node *node;
    const struct admin_act_opts *opts;
    struct admin_act_result *out;
    struct held_release release; /* of what is held; ADMIN_ACT_RELEASE */
    struct meant batch[LOOK_BATCH];
    uint32_t n;
    bool late; /* there was no time for all */
    int err;
};

static int compare_rcpts(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* They came in ascending order. */
static bool is_meant(const struct meant *m, uint32_t rcpt)
{
    return bsearch(&rcpt, m->rcpts, m->n, sizeof *m->rcpts, compare_rcpts) != NULL;
}

/* An item of which only some recipients are meant becomes two; one in flight cannot, and they are counted as
 * busy. NULL: nothing to do with it, or no memory. */
static struct queue_item *carve(struct egress *e, struct queue_item *item, const struct meant *m,
                                uint64_t *busy, int *err)
{
    struct queue_item_view v;
    queue_item_view(e->queue, item, &v);
    uint32_t *take = malloc(2 * v.nrcpts * sizeof *take), *leave = take + v.nrcpts;
    uint32_t ntake = 0, nleave = 0;
    if (take == NULL) {
        *err = -ENOMEM;
        return NULL;
    }
    for (uint32_t i = 0; i < v.nrcpts; i++) {
        if (is_meant(m, v.rcpts[i]))
            take[ntake++] = v.rcpts[i];
        else
            leave[nleave++] = v.rcpts[i];
    }
    struct queue_item *out = ntake == 0 ? NULL : item;
    if (ntake > 0 && nleave > 0) {
        bool in_flight = v.state == QUEUE_STATE_IN_FLIGHT;
        *busy += in_flight ? ntake : 0;
        out = in_flight ? NULL : egress_divide(e, item, take, ntake, leave, nleave);
        if (out == NULL && !in_flight)
            *err = -ENOMEM;
    }
    free(take);
    return out;
}

static void note_step(const struct act *act, struct egress *e, struct queue_item *item,
                      enum history_step_kind kind)
{
    struct queue_item_view v;
    queue_item_view(e->queue, item, &v);
    steps_operator(e->w, &v, kind, act->opts->by->text, act->opts->text == NULL ? "" : act->opts->text);
}

/* Recorded, so that it outlives a restart. */
static int record_state(const struct act *act, struct egress *e, struct queue_item *item, uint8_t state)
{
    struct queue_item_view v;
    char text[HOLD_TEXT_MAX];
    const char *remark = act->opts->text;
    bool held = state == RCPT_HELD;
    int n = snprintf(text, sizeof text, "%s%s%s", act->opts->by->text, remark != NULL ? ": " : "",
                     remark != NULL ? remark : "");
    struct hold_mark mark = { .kind = held ? HOLD_OPERATOR : HOLD_RELEASED,
                              .since_ms = clock_wall_ms(),
                              .text = span_of(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1) };
    queue_item_view(e->queue, item, &v);
    return held_record(e, &v, state, held ? SPAN_LIT("held by an operator") : SPAN_LIT("released by an operator"),
                       &mark, NULL);
}

static void act_on_item(struct act *act, struct egress *e, struct queue_item *item)
{
    struct queue_item_view v;
    queue_item_view(e->queue, item, &v);
    bool held = v.state == QUEUE_STATE_HELD, busy = v.state == QUEUE_STATE_IN_FLIGHT;
    uint64_t *count = &act->out->done;
    int err = 0;
    switch (act->opts->act) {
    case ADMIN_ACT_RETRY:
        if (held || busy)
            count = &act->out->unchanged;
        else
            queue_retry_now(e->queue, item, egress_now_ms(e));
        break;
    case ADMIN_ACT_HOLD:
        if (held) {
            count = &act->out->unchanged;
        } else if ((err = record_state(act, e, item, RCPT_HELD)) == 0) {
            note_step(act, e, item, HISTORY_STEP_HELD);
            queue_hold(e->queue, item);
        }
        break;
    case ADMIN_ACT_RELEASE:
        if (held) {
            held_release_item(&act->release, e, item); /* counts by itself */
            egress_kick(e);
            return;
        }
        if (!busy) {
            count = &act->out->unchanged;
        } else if ((err = record_state(act, e, item, RCPT_QUEUED)) == 0) {
            note_step(act, e, item, HISTORY_STEP_RELEASED);
            queue_release(e->queue, item, egress_now_ms(e));
        }
        break;
    case ADMIN_ACT_BOUNCE:
        err = outcome_bounce(e, item,
                             act->opts->text == NULL ? "5.7.1 returned by an operator" : act->opts->text);
        break;
    case ADMIN_ACT_DELETE:
        err = outcome_delete(e, item);
        break;
    }
    if (err == ERR_BUSY)
        count = &act->out->busy;
    else if (err != 0)
        count = &act->out->failed;
    *count += v.nrcpts;
    egress_kick(e);
}

/* The items of a message, all of them: an act may divide, add and remove items. NULL: none, or no memory. */
static struct queue_item **items_of(struct egress *e, uint64_t id, uint32_t *n, int *err)
{
    *n = 0;
    for (struct queue_item *item = queue_find(e->queue, id); item != NULL;
         item = queue_find_next(e->queue, item))
        ++*n;
    struct queue_item **items = *n == 0 ? NULL : malloc(*n * sizeof *items);
    if (*n > 0 && items == NULL)
        *err = -ENOMEM;
    *n = 0;
    if (items != NULL)
        for (struct queue_item *item = queue_find(e->queue, id); item != NULL;
             item = queue_find_next(e->queue, item))
            items[(*n)++] = item;
    return items;
}

static void act_on_message(struct act *act, struct worker *w, const struct meant *m)
{
    static const char *const names[] = { "retry", "hold", "release", "bounce", "delete" };
    bool any = false;
    uint32_t n;
    struct queue_item **items = items_of(w->egress, m->id, &n, &act->err);
    for (uint32_t k = 0; k < n; k++) {
        struct queue_item *item = carve(w->egress, items[k], m, &act->out->busy, &act->err);
        if (item == NULL)
            continue;
        act_on_item(act, w->egress, item);
        any = true;
    }
    free(items);
    if (any)
        report_operator(w, m->id, names[act->opts->act], act->opts->by->text,
                        act->opts->text == NULL ? "" : act->opts->text);
}

static void act_on_worker(struct worker *w, void *arg)
{
    struct act *act = arg;
    for (uint32_t i = 0; i < act->n && act->err == 0; i++)
        act_on_message(act, w, &act->batch[i]);
}

static int act_flush(struct act *act)
{
    for (uint32_t i = 0; i < act->node->nworkers && act->err == 0 && !act->opts->dry_run; i++)
        worker_call(&act->node->workers[i], act_on_worker, act);
    if (act->opts->act == ADMIN_ACT_RELEASE && !act->opts->dry_run)
        held_release_wait(&act->release);
    for (uint32_t i = 0; i < act->n; i++)
        free(act->batch[i].rcpts);
    act->n = 0;
    return act->err;
}

static int act_cb(void *arg, const struct admin_row *row)
{
    struct act *act = arg;
    uint64_t id;
    if (look_id(act->node, span_str(row->id), &id) != 0)
        return 0;
    bool another = act->n == 0 || act->batch[act->n - 1].id != id;
    if (another && act->out->messages > 0 && act->opts->until_ms != 0 && clock_boot_ms() >= act->opts->until_ms) {
        act->late = true;
        return 1;
    }
    if (act->n > 0 && act->batch[act->n - 1].id != id && act->n == LOOK_BATCH) {
        int err = act_flush(act);
        if (err != 0)
            return err;
    }
    if (act->n == 0 || act->batch[act->n - 1].id != id) {
        uint32_t *rcpts = malloc(row->nrcpts * sizeof *rcpts);
        if (rcpts == NULL)
            return act->err = -ENOMEM;
        act->batch[act->n++] = (struct meant){ .id = id, .rcpts = rcpts };
        act->out->messages++;
        snprintf(act->out->next, sizeof act->out->next, "%s", row->id);
    }
    struct meant *m = &act->batch[act->n - 1];
    m->rcpts[m->n++] = row->rcpt;
    act->out->recipients++;
    return 0;
}

static int count_cb(void *arg, const struct admin_row *row)
{
    (void)row;
    uint64_t *n = arg;
    ++*n;
    return 0;
}

static void released(struct act *act)
{
    struct held_release *r = &act->release;
    struct admin_act_result *out = act->out;
    held_release_end(r);
    out->done += r->done;
    out->unchanged += r->gone;
    out->failed += r->failed;
    out->no_quota += r->no_quota;
    out->frozen += r->frozen;
    if (r->no_quota > 0 && r->refusal.why == LEDGER_WHY_LIMIT)
        snprintf(out->why, sizeof out->why, "limit %s of this %s is reached (%llu recipients)", r->refusal.limit,
                 r->refusal.tenant ? "organisation" : "account", (unsigned long long)r->refusal.count);
    else if (r->no_quota > 0)
        snprintf(out->why, sizeof out->why, "%s",
                 r->refusal.why == LEDGER_WHY_FROZEN ? "the account is frozen" : "the account is disabled");
    else if (r->failed > 0)
        snprintf(out->why, sizeof out->why, "sending limits cannot be checked just now");
}

int ops_queue_act(void *ctx, const struct admin_selector *sel, const struct admin_act_opts *opts,
                  struct admin_act_result *out, struct admin_error *e)
{
    *out = (struct admin_act_result){ 0 };
    uint64_t after = 0;
    if (opts->after != NULL && look_id(ctx, span_str(opts->after), &after) != 0)
        return admin_fail(e, ERR_BAD, "%s is no queue id", opts->after);
    if (opts->expected != 0) {
        uint64_t found = 0;
        int err = look_all(ctx, sel, 0, 0, count_cb, &found);
        if (err != 0)
            return admin_fail(e, err, "cannot list the queue: %s", err_text(err));
        if (found > opts->expected)
            return admin_fail(e, ERR_BUSY, "%llu recipients match by now, not %u: nothing was changed",
                              (unsigned long long)found, opts->expected);
    }
    struct act *act = calloc(1, sizeof *act);
    if (act == NULL)
        return admin_fail(e, -ENOMEM, "no memory");
    *act = (struct act){ .node = ctx, .opts = opts, .out = out };
    bool releases = opts->act == ADMIN_ACT_RELEASE && !opts->dry_run;
    if (releases && held_release_begin(&act->release, ctx, opts->by->text, opts->text, opts->exempt) != 0) {
        free(act);
        return admin_fail(e, ERR_BUSY, "held mail is being released on this node just now: try again");
    }
    int err = look_all(ctx, sel, after, UINT32_MAX, act_cb, act);
    int last = act_flush(act);
    out->more = err == 0 && act->late;
    if (releases)
        released(act);
    free(act);
    if (opts->dry_run)
        out->done = out->recipients;
    else if (err == 0 && last == 0)
        last = spool_flush(((struct node *)ctx)->spool); /* what was told to an operator outlives a crash */
    if (err == 0)
        err = last;
    return err == 0 ? 0 : admin_fail(e, err, "stopped half way: %s", err_text(err));
}

/* ---- summary --------------------------------------------------------------------------------------------
 */

struct group {
    char *key;
    size_t n;
    struct admin_summary_row row;
};

struct summary {
    enum admin_group by;
    struct map map;
    struct admin_summary_row *total;
    int64_t now_ms;
};

#define GROUPS_MAX 200000 /* further keys are counted in the total only */

static uint64_t group_hash(const void *item)
{
    const struct group *g = item;
    return hash_bytes(g->key, g->n);
}

static bool group_match(const void *item, const void *key)
{
    const struct group *g = item;
    return span_eq(span_of(g->key, g->n), *(const struct span *)key);
}

static struct group *group_of(struct summary *s, struct span key)
{
    uint64_t hash = hash_bytes(key.p, key.n);
    struct group *g = map_find(&s->map, hash, &key);
    if (g != NULL || s->map.len >= GROUPS_MAX)
        return g;
    g = calloc(1, sizeof *g + key.n + 1);
    if (g == NULL)
        return NULL;
    g->key = (char *)(g + 1);
    g->n = key.n;
    if (key.n > 0)
        memcpy(g->key, key.p, key.n);
    g->row.key = span_of(g->key, g->n);
    if (map_add(&s->map, hash, g) != 0) {
        free(g);
        return NULL;
    }
    return g;
}

static void count_row(struct admin_summary_row *to, const struct admin_row *row, int64_t now_ms)
{
    to->recipients++;
    to->queued += row->state == ADMIN_STATE_QUEUED;
    to->held += row->state == ADMIN_STATE_HELD;
    to->active += row->state == ADMIN_STATE_ACTIVE;
    to->bytes += row->nrcpts == 0 ? 0 : row->size / row->nrcpts;
    if (to->oldest_ms == 0 || row->arrival_ms < to->oldest_ms)
        to->oldest_ms = row->arrival_ms;
    if (row->next_ms != 0 && (to->next_ms == 0 || row->next_ms < to->next_ms))
        to->next_ms = row->next_ms;
    int age = 0;
    for (int64_t limit = 300000; age < ADMIN_AGES - 1 && now_ms - row->arrival_ms >= limit; limit *= 2)
        age++;
    to->age[age]++;
}

static int summary_cb(void *arg, const struct admin_row *row)
{
    struct summary *s = arg;
    struct span key = s->by == ADMIN_GROUP_SITE      ? row->site
                      : s->by == ADMIN_GROUP_SENDER  ? row->sender
                      : s->by == ADMIN_GROUP_ACCOUNT ? row->account
                      : s->by == ADMIN_GROUP_STATE   ? span_str(admin_state_name(row->state))
                                                     : row->reply;
    struct group *g = group_of(s, key);
    if (g != NULL)
        count_row(&g->row, row, s->now_ms);
    count_row(s->total, row, s->now_ms);
    return 0;
}

static int compare_groups(const void *a, const void *b)
{
    const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;
    return (x->row.recipients < y->row.recipients) - (x->row.recipients > y->row.recipients);
}

int ops_queue_summary(void *ctx, const struct admin_selector *sel, enum admin_group by, uint32_t limit,
                      admin_summary_fn *fn, void *arg, struct admin_summary_row *total, struct admin_error *e)
{
    struct summary s = { .by = by, .total = total, .now_ms = clock_wall_ms() };
    *total = (struct admin_summary_row){ .key = { "", 0 } };
    map_init(&s.map, group_hash, group_match);
    int err = look_all(ctx, sel, 0, 0, summary_cb, &s);
    struct group **groups = calloc(s.map.len + 1, sizeof *groups);
    size_t n = 0, at = 0;
    for (struct group *g; groups != NULL && (g = map_next(&s.map, &at)) != NULL;)
        groups[n++] = g;
    if (groups == NULL)
        err = -ENOMEM;
    else if (n > 0)
        qsort(groups, n, sizeof *groups, compare_groups);
    int enough = 0;
    for (size_t i = 0; err == 0 && i < n && i < limit && enough == 0; i++)
        enough = fn(arg, &groups[i]->row);
    free(groups);
    at = 0;
    for (struct group *g; (g = map_next(&s.map, &at)) != NULL;)
        free(g);
    map_fini(&s.map);
    return err == 0 ? 0 : admin_fail(e, err, "cannot sum up the queue: %s", err_text(err));
}
