/* The admin API: content of messages, what became of them, busiest senders and sites. Admin threads. */
#include "node/core/ops_look.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"
#include "node/core/egress.h"
#include "node/core/look.h"
#include "node/core/steps.h"

#include <errno.h>
#include <stdlib.h>

/* ---- content --------------------------------------------------------------------------------------------
 */

struct admin_content {
    struct spool_reader *reader;
    uint64_t left; /* bytes still to be given */
};

int ops_content_open(void *ctx, const char *id, bool headers_only, const struct admin_caller *by,
                     struct admin_content **out, struct admin_error *e)
{
    struct node *n = ctx;
    uint64_t number;
    struct spool_info *info;
    if (look_id(ctx, span_str(id), &number) != 0)
        return admin_fail(e, ERR_BAD, "%s is no queue id", id);
    int err = spool_info(n->spool, number, &info);
    if (err == ERR_NOT_FOUND)
        return admin_fail(e, err, "%s is not in the queue", id);
    if (err != 0)
        return admin_fail(e, err, "%s: %s", id, err_text(err));
    struct admin_content *c = calloc(1, sizeof *c);
    if (c != NULL)
        c->left = headers_only ? info->env.header_bytes : info->env.size;
    spool_info_free(info);
    err = c == NULL ? -ENOMEM : spool_reader_open(n->spool, number, &c->reader);
    if (err != 0) {
        free(c);
        return admin_fail(e, err, "%s: %s", id, err_text(err));
    }
    log_info("queue", "%s of %s shown to %s", headers_only ? "header" : "content", id, by->text);
    *out = c;
    return 0;
}

int ops_content_next(void *ctx, struct admin_content *c, const char **p, size_t *n)
{
    (void)ctx;
    *n = 0;
    if (c->left == 0)
        return 0;
    int err = spool_reader_next(c->reader, p, n);
    if (err != 0)
        return err;
    if (*n > c->left)
        *n = (size_t)c->left;
    c->left -= *n;
    return 0;
}

void ops_content_close(void *ctx, struct admin_content *c)
{
    (void)ctx;
    spool_reader_close(c->reader);
    free(c);
}

/* ---- erase --------------------------------------------------------------------------------------------- */

int ops_erase(void *ctx, const char *address, const struct admin_caller *by, uint64_t *rows, bool *living,
              struct admin_error *e)
{
    struct node *n = ctx;
    const atomic_bool stop = false;
    int err = erase_here(n, address, &stop, rows, living);
    if (err != 0)
        return admin_fail(e, err, "not all of it is erased: %s; repeat it", err_text(err));
    log_info("privacy", "%s erased an address from %llu rows of the history", by->text, (unsigned long long)*rows);
    return 0;
}

/* ---- track ----------------------------------------------------------------------------------------------
 */

/* Rows of one kind gather here, sorted before they are given: their strings are copied. */
struct track_row {
    uint64_t id;
    uint32_t rcpt;
    struct admin_row row;
    char id_text[SPOOL_ID_TEXT];
    char *text;
};

static bool row_ended(const struct track_row *r)
{
    return r->row.state >= ADMIN_STATE_DELIVERED;
}

struct tracking {
    struct node *node;
    const struct admin_track *q;
    uint64_t before_id; /* rows come before this place: newest first */
    uint32_t before_rcpt;
    uint32_t limit;
    struct track_row *rows;
    size_t n, cap;
    int err;
};

static void copy_text(struct span *s, char **at)
{
    if (s->n == 0) {
        s->p = "";
        return;
    }
    memcpy(*at, s->p, s->n);
    s->p = *at;
    *at += s->n;
}

static bool wanted_place(const struct tracking *t, uint64_t id, uint32_t rcpt)
{
    uint64_t is = spool_id_public(id), before = spool_id_public(t->before_id);
    return before == 0 || is < before || (is == before && rcpt < t->before_rcpt);
}

static int compare_track(const void *a, const void *b)
{
    const struct track_row *x = a, *y = b;
    uint64_t i = spool_id_public(x->id), k = spool_id_public(y->id);
    if (i != k)
        return i < k ? 1 : -1;
    if (x->rcpt != y->rcpt)
        return x->rcpt < y->rcpt ? 1 : -1;
    if (x->id != y->id)
        return x->id < y->id ? 1 : -1;
    return row_ended(y) - row_ended(x); /* what ended while we looked is there twice */
}

static int track_add(struct tracking *t, uint64_t id, const struct admin_row *row)
{
    if (t->n == t->cap) {
        size_t cap = t->cap == 0 ? 64 : t->cap * 2;
        struct track_row *rows = realloc(t->rows, cap * sizeof *rows);
        if (rows == NULL)
            return -ENOMEM;
        t->rows = rows;
        t->cap = cap;
    }
    struct track_row *r = &t->rows[t->n];
    *r = (struct track_row){ .id = id, .rcpt = row->rcpt, .row = *row };
    struct span *spans[] = { &r->row.sender,        &r->row.recipient,   &r->row.account,
                             &r->row.tenant,        &r->row.site,        &r->row.class,
                             &r->row.message_id,    &r->row.client_ip,   &r->row.client_name,
                             &r->row.helo,          &r->row.protocol,    &r->row.listener,
                             &r->row.reply,         &r->row.mx,          &r->row.mx_ip,
                             &r->row.source_ip,     &r->row.tls,         &r->row.dkim,
                             &r->row.rerouted_from, &r->row.rerouted_to, &r->row.rerouted_by,
                             &r->row.held_text };
    size_t bytes = 1;
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        bytes += spans[i]->n;
    if ((r->text = malloc(bytes)) == NULL)
        return -ENOMEM;
    char *at = r->text;
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        copy_text(spans[i], &at);
    t->n++;
    /* Only the newest are of interest, each perhaps twice; of the last place as many as there are hops. */
    if (t->n >= 4 * (size_t)t->limit + 128) {
        qsort(t->rows, t->n, sizeof *t->rows, compare_track);
        while (t->n > 2 * ((size_t)t->limit + SPOOL_ID_HOPS_MAX))
            free(t->rows[--t->n].text);
    }
    return 0;
}

static bool track_match(const struct admin_track *q, const struct admin_row *row)
{
    return (q->message_id == NULL || span_eq(row->message_id, span_str(q->message_id))) &&
           (q->since_ms == 0 || row->arrival_ms >= q->since_ms) &&
           (q->until_ms == 0 || row->arrival_ms < q->until_ms);
}

static int track_living_cb(void *arg, const struct admin_row *row)
{
    struct tracking *t = arg;
    uint64_t id;
    if (!track_match(t->q, row) || spool_id_parse(span_str(row->id), &id) != 0 ||
        !wanted_place(t, id, row->rcpt))
        return 0;
    (void)look_id(t->node, span_str(row->id), &id); /* with its hop, under which its steps are; it may have ended */
    return t->err = track_add(t, id, row);
}

static enum admin_state ended_state(uint8_t state)
{
    return state == HISTORY_REJECTED ? ADMIN_STATE_REJECTED
                                     : (enum admin_state)(ADMIN_STATE_DELIVERED + (state - RCPT_DELIVERED));
}

static uint8_t history_state(int state)
{
    return state == ADMIN_STATE_REJECTED ? HISTORY_REJECTED
                                         : (uint8_t)(RCPT_DELIVERED + (state - ADMIN_STATE_DELIVERED));
}

static int track_ended_cb(void *arg, const struct history_row *h)
{
    struct tracking *t = arg;
    struct admin_row row = { .rcpt = h->rcpt,
                             .nrcpts = h->nrcpts,
                             .state = ended_state(h->state),
                             .sender = h->sender,
                             .recipient = h->recipient,
                             .account = h->account,
                             .tenant = h->tenant,
                             .site = h->site,
                             .class = span_str(look_class_name(h->class)),
                             .message_id = h->message_id,
                             .client_ip = h->client_ip,
                             .client_name = h->client_name,
                             .helo = h->helo,
                             .protocol = h->protocol,
                             .listener = h->listener,
                             .reply = h->reply,
                             .mx = h->mx,
                             .mx_ip = h->mx_ip,
                             .source_ip = h->source_ip,
                             .tls = h->tls,
                             .dkim = h->dkim,
                             .size = h->size,
                             .attempts = h->attempts,
                             .arrival_ms = h->arrival_ms,
                             .changed_ms = h->ended_ms };
    return t->err = track_add(t, h->id, &row);
}

static int track_living(struct node *n, struct tracking *t)
{
    const struct admin_track *q = t->q;
    const char *ids[1] = { q->id };
    if (q->state >= ADMIN_STATE_DELIVERED)
        return 0;
    struct admin_selector sel = { .state = q->state,
                                  .ids = q->id == NULL ? NULL : ids,
                                  .nids = q->id != NULL,
                                  .sender = q->sender,
                                  .recipient = q->recipient,
                                  .account = q->account,
                                  .tenant = q->tenant };
    return look_all(n, &sel, 0, 0, track_living_cb, t);
}

static int track_ended(struct node *n, struct tracking *t, struct admin_track_info *info,
                       struct admin_error *e)
{
    const struct admin_track *q = t->q;
    struct history_query hq = { .message_id = span_str(q->message_id),
                                .account = span_str(q->account),
                                .tenant = span_str(q->tenant),
                                .sender = span_str(q->sender),
                                .recipient = span_str(q->recipient),
                                .states = q->state < 0 ? 0 : 1u << history_state(q->state),
                                .since_ms = q->since_ms,
                                .until_ms = q->until_ms,
                                .after = t->before_id != 0,
                                .after_id = t->before_id,
                                .after_rcpt = t->before_rcpt,
                                .limit = t->limit };
    struct history_stats stats;
    info->off = n->history == NULL;
    if (info->off)
        return 0;
    history_stats(n->history, &stats);
    info->kept_since_ms = stats.kept_since_ms;
    if (q->state >= 0 && q->state < ADMIN_STATE_DELIVERED)
        return 0;
    if (stats.old)
        return admin_fail(e, ERR_BUSY, "the history is being brought up to date for this version: try again soon");
    if (q->id != NULL)
        (void)spool_id_parse(span_str(q->id), &hq.id); /* ops_track has looked at it */
    /* What ended a moment ago is told when it is on disk. If it cannot be written, what is there must do. */
    (void)spool_flush(n->spool);
    (void)history_flush(n->history);
    int err = history_query(n->history, &hq, track_ended_cb, t);
    return err == ERR_TIMEOUT ? admin_fail(e, err, "it takes too long: give a time, or more of what you know")
           : err != 0         ? admin_fail(e, err, "cannot look it up: %s", err_text(err))
                              : 0;
}

static bool same_place(const struct track_row *a, const struct track_row *b)
{
    return spool_id_public(a->id) == spool_id_public(b->id) && a->rcpt == b->rcpt;
}

/* Newest first. What ended while we looked is there twice; a page does not end in the middle of a place. */
static int track_give(struct tracking *t, struct history_reader *reader, admin_row_fn *fn, void *arg)
{
    struct steps *steps = reader != NULL ? malloc(sizeof *steps) : NULL;
    int err = reader != NULL && steps == NULL ? -ENOMEM : 0;
    const struct track_row *last = NULL;
    uint32_t given = 0;
    bool enough = false;
    for (size_t i = 0; i < t->n && err == 0; i++) {
        struct track_row *r = &t->rows[i];
        if (i > 0 && r->id == r[-1].id && r->rcpt == r[-1].rcpt)
            continue;
        if ((enough || given >= t->limit) && (last == NULL || !same_place(r, last)))
            break;
        spool_id_format(r->id, r->id_text);
        r->row.id = r->id_text;
        if (steps != NULL && (err = steps_read(reader, r->id, r->rcpt, steps)) == 0) {
            r->row.steps = steps->rows;
            r->row.nsteps = steps->n;
        }
        if (err == 0)
            enough |= fn(arg, &r->row) != 0;
        if (steps != NULL)
            steps_fini(steps);
        given++;
        last = r;
    }
    free(steps);
    return err;
}

int ops_track(void *ctx, const struct admin_track *q, const struct admin_page *page, admin_row_fn *fn,
              void *arg, struct admin_track_info *info, struct admin_error *e)
{
    struct tracking t = { .node = ctx, .q = q, .before_rcpt = page->after_rcpt, .limit = page->limit };
    uint64_t id;
    if (q->id != NULL && spool_id_parse(span_str(q->id), &id) != 0)
        return admin_fail(e, ERR_BAD, "%s is no queue id: they have 13 letters and digits", q->id);
    if (page->after_id != NULL && spool_id_parse(span_str(page->after_id), &t.before_id) != 0)
        return admin_fail(e, ERR_BAD, "the page's place is no queue id");
    int err = track_living(ctx, &t); /* first, or one that ends meanwhile would be in neither */
    if (err != 0)
        admin_fail(e, err, "cannot look into the queue: %s", err_text(err));
    else
        err = track_ended(ctx, &t, info, e);
    if (t.n > 0)
        qsort(t.rows, t.n, sizeof *t.rows, compare_track);
    struct history_reader *reader = NULL;
    struct node *n = ctx;
    if (err == 0 && q->steps && n->history != NULL && (err = history_reader_open(n->history, &reader)) != 0)
        admin_fail(e, err, "cannot look into the history: %s", err_text(err));
    if (err == 0 && (err = track_give(&t, reader, fn, arg)) != 0)
        admin_fail(e, err, "cannot read what happened to it: %s", err_text(err));
    history_reader_close(reader);
    for (size_t i = 0; i < t.n; i++)
        free(t.rows[i].text);
    free(t.rows);
    return err;
}

/* ---- top ------------------------------------------------------------------------------------------------
 */

struct top_entry {
    uint64_t counts[ACTIVITY_COUNTS];
    uint64_t queued;
    size_t n;
    char key[];
};

struct top_table {
    struct map map;
    bool senders;
    struct worker *w;
};

static uint64_t top_hash(const void *item)
{
    const struct top_entry *t = item;
    return hash_bytes(t->key, t->n);
}

static bool top_match(const void *item, const void *key)
{
    const struct top_entry *t = item;
    return span_eq(span_of(t->key, t->n), *(const struct span *)key);
}

static void top_queued(struct top_table *t, struct span key, uint64_t *queued)
{
    struct queue *q = t->w->egress->queue;
    struct queue_counts counts = { 0 };
    if (t->senders) {
        (void)queue_sender_counts(q, key, &counts); /* none: zeros */
    } else {
        struct queue_site *site = queue_site_find(q, key);
        struct queue_site_state state;
        if (site != NULL) {
            queue_site_state(q, site, &state);
            counts = state.counts;
        }
    }
    for (int i = 0; i < QUEUE_STATES; i++)
        *queued += counts.state[i];
}

static void top_cb(void *ctx, struct span key, const uint64_t counts[ACTIVITY_COUNTS])
{
    struct top_table *t = ctx;
    uint64_t hash = hash_bytes(key.p, key.n);
    struct top_entry *entry = map_find(&t->map, hash, &key);
    if (entry == NULL) {
        entry = calloc(1, sizeof *entry + key.n);
        if (entry == NULL)
            return;
        entry->n = key.n;
        memcpy(entry->key, key.p, key.n);
        if (map_add(&t->map, hash, entry) != 0) {
            free(entry);
            return;
        }
    }
    for (int i = 0; i < ACTIVITY_COUNTS; i++)
        entry->counts[i] += counts[i];
    top_queued(t, key, &entry->queued);
}

static void top_of_worker(struct worker *w, void *arg)
{
    struct top_table *t = arg;
    t->w = w;
    activity_each(t->senders ? &w->senders : &w->sites, clock_wall_ms(), top_cb, t);
}

static uint64_t busyness(const struct top_entry *t)
{
    return t->counts[ACTIVITY_RECEIVED] + t->counts[ACTIVITY_DELIVERED] + t->counts[ACTIVITY_DEFERRED] +
           t->counts[ACTIVITY_BOUNCED];
}

static int compare_top(const void *a, const void *b)
{
    uint64_t x = busyness(*(struct top_entry *const *)a), y = busyness(*(struct top_entry *const *)b);
    return (x < y) - (x > y);
}

static int top_table(struct node *n, bool senders, uint32_t limit, admin_top_fn *fn, void *arg)
{
    struct top_table t = { .senders = senders };
    map_init(&t.map, top_hash, top_match);
    for (uint32_t i = 0; i < n->nworkers; i++)
        worker_call(&n->workers[i], top_of_worker, &t);
    struct top_entry **sorted = calloc(t.map.len + 1, sizeof *sorted);
    size_t count = 0, at = 0;
    for (struct top_entry *entry; sorted != NULL && (entry = map_next(&t.map, &at)) != NULL;)
        sorted[count++] = entry;
    if (count > 0)
        qsort(sorted, count, sizeof *sorted, compare_top);
    int enough = 0;
    for (size_t i = 0; i < count; i++) {
        const struct top_entry *entry = sorted[i];
        struct admin_top_row row = { .key = span_of(entry->key, entry->n),
                                     .received = entry->counts[ACTIVITY_RECEIVED],
                                     .delivered = entry->counts[ACTIVITY_DELIVERED],
                                     .deferred = entry->counts[ACTIVITY_DEFERRED],
                                     .bounced = entry->counts[ACTIVITY_BOUNCED],
                                     .bytes = entry->counts[ACTIVITY_BYTES],
                                     .queued = entry->queued };
        row.received_rate = (double)row.received / 60;
        row.delivered_rate = (double)row.delivered / 60;
        if (i < limit && enough == 0)
            enough = fn(arg, senders ? ADMIN_TOP_SENDERS : ADMIN_TOP_SITES, &row);
    }
    free(sorted);
    at = 0;
    for (struct top_entry *entry; (entry = map_next(&t.map, &at)) != NULL;)
        free(entry);
    map_fini(&t.map);
    return sorted == NULL ? -ENOMEM : enough;
}

int ops_top(void *ctx, uint32_t limit, admin_top_fn *fn, void *arg, struct admin_error *e)
{
    int err = top_table(ctx, true, limit, fn, arg);
    if (err == 0)
        err = top_table(ctx, false, limit, fn, arg);
    return err >= 0 ? 0 : admin_fail(e, err, "%s", err_text(err));
}

/* ---- sites ----------------------------------------------------------------------------------------------
 */

struct site_entry {
    char *key, *error, *of;
    uint32_t domains, of_conns;
    uint32_t worker;
    struct queue_site_state state;
};

struct site_walk {
    const char *state;
    const char *after;
    struct worker *w;
    uint64_t cursor;
    bool more;
    struct site_entry *entries;
    size_t n, cap;
    int err;
};

static const char *site_state_name(const struct queue_site_state *s)
{
    return s->down ? "down" : s->shaped ? "backoff" : "up";
}

static int of_site_cb(void *ctx, const struct sites_view *view)
{
    struct site_entry *entry = ctx;
    entry->domains = view->domains;
    entry->of_conns = view->conns;
    return 1;
}

static void site_walk_cb(void *ctx, struct queue_site *site)
{
    struct site_walk *walk = ctx;
    struct span key = queue_site_key(site);
    struct queue_site_state state;
    queue_site_state(walk->w->egress->queue, site, &state);
    if (walk->err != 0 || (walk->state != NULL && strcmp(walk->state, site_state_name(&state)) != 0))
        return;
    if (walk->n == walk->cap) {
        size_t cap = walk->cap == 0 ? 256 : walk->cap * 2;
        struct site_entry *entries = realloc(walk->entries, cap * sizeof *entries);
        if (entries == NULL) {
            walk->err = -ENOMEM;
            return;
        }
        walk->entries = entries;
        walk->cap = cap;
    }
    struct site_entry *entry = &walk->entries[walk->n];
    *entry = (struct site_entry){ .worker = walk->w->index, .state = state };
    entry->key = strndup(key.p, key.n);
    entry->error = strndup(state.last_error.n == 0 ? "" : state.last_error.p, state.last_error.n);
    struct span of = egress_sites_key(queue_site_data(site));
    entry->of = strndup(of.p, of.n);
    if (of.n > 0)
        sites_each(walk->w->node->sites, of, of_site_cb, entry);
    if (entry->key == NULL || entry->error == NULL || entry->of == NULL ||
        (walk->after != NULL && strcmp(entry->key, walk->after) <= 0)) {
        if (entry->key == NULL || entry->error == NULL || entry->of == NULL)
            walk->err = -ENOMEM;
        free(entry->key);
        free(entry->of);
        free(entry->error);
        return;
    }
    walk->n++;
}

static void walk_sites(struct worker *w, void *arg)
{
    struct site_walk *walk = arg;
    walk->w = w;
    walk->more = queue_walk_sites(w->egress->queue, &walk->cursor, 2048, site_walk_cb, walk);
}

static int compare_sites(const void *a, const void *b)
{
    return strcmp(((const struct site_entry *)a)->key, ((const struct site_entry *)b)->key);
}

int ops_site_list(void *ctx, const char *state, const char *after, uint32_t limit, admin_site_fn *fn,
                  void *arg, struct admin_error *e)
{
    struct node *n = ctx;
    struct site_walk walk = { .state = state, .after = after };
    for (uint32_t i = 0; i < n->nworkers && walk.err == 0; i++) {
        walk.cursor = 0;
        do {
            worker_call(&n->workers[i], walk_sites, &walk);
        } while (walk.more && walk.err == 0);
    }
    if (walk.n > 0)
        qsort(walk.entries, walk.n, sizeof *walk.entries, compare_sites);
    int enough = 0;
    for (size_t i = 0; i < walk.n; i++) {
        const struct site_entry *s = &walk.entries[i];
        const struct queue_counts *c = &s->state.counts;
        struct admin_site_row row = { .site = span_str(s->key),
                                      .state = span_str(site_state_name(&s->state)),
                                      .last_reply = span_str(s->error),
                                      .of = span_str(s->of),
                                      .domains = s->domains,
                                      .of_conns = s->of_conns,
                                      .worker = s->worker,
                                      .conns = s->state.conns,
                                      .conns_limit = s->state.conns_limit,
                                      .queued = (uint64_t)c->state[QUEUE_STATE_READY] +
                                                c->state[QUEUE_STATE_WAITING],
                                      .active = c->state[QUEUE_STATE_IN_FLIGHT],
                                      .held = c->state[QUEUE_STATE_HELD],
                                      .senders = s->state.senders,
                                      .next_ms = s->state.next_try_ms > s->state.paused_until_ms
                                                     ? s->state.next_try_ms
                                                     : s->state.paused_until_ms,
                                      .last_ok_ms = s->state.last_success_ms,
                                      .last_fail_ms = s->state.last_error_ms };
        if (walk.err == 0 && i < limit && enough == 0)
            enough = fn(arg, &row);
        free(s->key);
        free(s->error);
        free(s->of);
    }
    free(walk.entries);
    return walk.err == 0 ? 0 : admin_fail(e, walk.err, "%s", err_text(walk.err));
}
