/* Questions to all nodes: each answers for itself with what its own API says, and the answers are joined
 * here. Who did not answer is named in "missing". A node that is asked asks nobody else. Admin threads.
 */
#include "node/admin/member.h"

#include "base/err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ASK_MS 5000
#define PATH_MAX_BYTES (96u << 10)

int member_asks_all(struct admin_call *c, bool by_default, bool *all)
{
    const char *scope = admin_arg_str(c->args, "scope");
    struct machine *m;
    *all = !c->inner && (scope != NULL ? strcmp(scope, "cluster") == 0 : by_default && member_is(c));
    if (!*all)
        return 0;
    int err = member_machine(c, &m);
    return err == 0 && c->cluster->ask == NULL ? admin_missing(c) : err;
}

/* ---- asking -------------------------------------------------------------------------------------------- */

struct asked {
    json_t *answers; /* [{"node": name, "body": {...}}] */
    json_t *missing; /* [{"node": name, "reason": text}] */
    bool no_memory;
};

static void put_escaped(struct buf *b, struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char ch = (unsigned char)s.p[i];
        bool plain = (ch >= '0' && ch <= '9') || (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') ||
                     (ch != 0 && strchr("-._~", ch) != NULL);
        if (plain)
            buf_put_char(b, (char)ch);
        else
            buf_printf(b, "%%%02X", ch);
    }
}

void member_put_query(struct buf *path, char separator, const char *name, struct span value)
{
    buf_put_char(path, separator);
    put_escaped(path, span_str(name));
    buf_put_char(path, '=');
    put_escaped(path, value);
}

/* The client's own question; with `limit`, that in place of his; narrowed to a tenant's own. */
static int question(struct admin_call *c, const char *limit, struct buf *out)
{
    char sep = '?';
    buf_init(out, PATH_MAX_BYTES);
    buf_put_str(out, c->path);
    for (size_t i = 0; i < c->nquery; i++) {
        struct span name = c->query[i].name;
        if (span_eq(name, SPAN_LIT("scope")) ||
            (c->caller->tenant[0] != '\0' && span_eq(name, SPAN_LIT("tenant"))) || (limit != NULL && span_eq(name, SPAN_LIT("limit"))))
            continue;
        buf_put_char(out, sep);
        put_escaped(out, name);
        buf_put_char(out, '=');
        put_escaped(out, c->query[i].value);
        sep = '&';
    }
    if (c->caller->tenant[0] != '\0') {
        buf_printf(out, "%ctenant=", sep);
        put_escaped(out, span_str(c->caller->tenant));
        sep = '&';
    }
    if (limit != NULL)
        buf_printf(out, "%climit=%s", sep, limit);
    return buf_put_char(out, '\0');
}

static void add_missing(struct asked *a, const struct admin_ask_row *row, const char *reason)
{
    a->no_memory |=
        json_array_append_new(a->missing, json_pack("{s:s,s:s}", "node", row->name, "reason", reason)) != 0;
}

static int on_answer(void *arg, const struct admin_ask_row *row)
{
    struct asked *a = arg;
    if (row->err != 0) {
        add_missing(a, row, row->err == ERR_TIMEOUT ? "no answer in time" : err_text(row->err));
        return 0;
    }
    json_t *body = row->body.n > 0 ? json_loadb(row->body.p, row->body.n, 0, NULL) : NULL;
    const char *message = json_string_value(json_object_get(json_object_get(body, "error"), "message"));
    if (row->status != 200 || !json_is_object(body)) {
        char reason[600];
        snprintf(reason, sizeof(reason), "%s", message != NULL ? message : "its answer is not understood");
        add_missing(a, row, reason);
        json_decref(body);
        return 0;
    }
    a->no_memory |=
        json_array_append_new(a->answers, json_pack("{s:s,s:o}", "node", row->name, "body", body)) != 0;
    return 0;
}

static void asked_fini(struct asked *a)
{
    json_decref(a->answers);
    json_decref(a->missing);
}

static int ask_path(struct admin_call *c, const char *path, struct asked *a)
{
    *a = (struct asked){ .answers = json_array(), .missing = json_array() };
    int err = c->cluster->ask(c->cluster_ctx, path, ASK_MS, on_answer, a, &c->e);
    return err == 0 && a->no_memory ? admin_fail(&c->e, -ENOMEM, "out of memory") : err;
}

static int ask(struct admin_call *c, const char *limit, struct asked *a)
{
    struct buf path;
    int err = question(c, limit, &path);
    if (err == 0) {
        err = ask_path(c, path.data, a);
    } else {
        *a = (struct asked){ .answers = json_array(), .missing = json_array() };
        admin_fail(&c->e, ERR_BAD, "the question is too long");
    }
    buf_fini(&path);
    return err;
}

int member_ask_path(struct admin_call *c, const char *path, json_t **answers, json_t **missing)
{
    struct asked a;
    int err = ask_path(c, path, &a);
    *answers = a.answers;
    *missing = a.missing;
    return err;
}

int member_ask(struct admin_call *c, json_t **answers, json_t **missing)
{
    struct asked a;
    int err = ask(c, NULL, &a);
    *answers = a.answers;
    *missing = a.missing;
    return err;
}

int member_reply(struct admin_call *c, json_t *j, json_t *missing)
{
    if (missing != NULL)
        json_object_set(j, "missing", missing);
    char *text = json_dumps(j, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(j);
    if (text == NULL)
        return admin_fail(&c->e, -ENOMEM, "out of memory");
    buf_put_str(&c->out, text);
    free(text);
    return buf_put_char(&c->out, '\n');
}

/* ---- rows of messages ---------------------------------------------------------------------------------- */

struct place {
    const char *id;
    json_int_t rcpt;
    json_t *row;
};

/* In order of (id, rcpt); ids are of one length, but a longer one would be later. */
static int compare_place(const struct place *a, const struct place *b)
{
    size_t an = strlen(a->id), bn = strlen(b->id);
    int d = an != bn ? (an < bn ? -1 : 1) : strcmp(a->id, b->id);
    return d != 0 ? d : a->rcpt < b->rcpt ? -1 : a->rcpt > b->rcpt;
}

static int ascending(const void *a, const void *b)
{
    return compare_place(a, b);
}

static int descending(const void *a, const void *b)
{
    return compare_place(b, a);
}

static struct place place_of(json_t *row)
{
    const char *id = json_string_value(json_object_get(row, "id"));
    return (struct place){ .id = id != NULL ? id : "",
                           .rcpt = json_integer_value(json_object_get(row, "rcpt")),
                           .row = row };
}

struct rows {
    struct place *at;
    size_t n;
    struct place end; /* nothing after it is complete: a node's page ended there */
    bool cut;
};

static int gather_rows(struct asked *a, struct rows *r, const char *key, int (*order)(const void *, const void *))
{
    size_t i, k, total = 0;
    json_t *answer, *row;
    json_array_foreach(a->answers, i, answer)
    {
        total += json_array_size(json_object_get(json_object_get(answer, "body"), key));
    }
    *r = (struct rows){ .at = calloc(total + 1, sizeof(*r->at)) };
    if (r->at == NULL)
        return -ENOMEM;
    json_array_foreach(a->answers, i, answer)
    {
        json_t *body = json_object_get(answer, "body"), *rows = json_object_get(body, key);
        json_array_foreach(rows, k, row)
        {
            json_object_set(row, "node", json_object_get(answer, "node"));
            r->at[r->n++] = place_of(row);
        }
        if (!json_is_string(json_object_get(body, "next")) || json_array_size(rows) == 0)
            continue;
        struct place last = r->at[r->n - 1];
        if (!r->cut || order(&last, &r->end) < 0)
            r->end = last;
        r->cut = true;
    }
    qsort(r->at, r->n, sizeof(*r->at), order);
    return 0;
}

static json_t *first_member(const struct asked *a, const char *name)
{
    json_t *v = json_object_get(json_object_get(json_array_get(a->answers, 0), "body"), name);
    return v != NULL ? json_incref(v) : json_null();
}

/* Since when each node that answered has what ended: [{"node", "since_ms"}]; null: it keeps no history, or is of a
 * version that does not say. */
static json_t *kept_by(const struct asked *a)
{
    json_t *list = json_array(), *answer;
    size_t i;
    json_array_foreach(a->answers, i, answer)
    {
        json_t *since = json_object_get(json_object_get(answer, "body"), "kept_since_ms");
        json_array_append_new(list, json_pack("{s:O,s:O?}", "node", json_object_get(answer, "node"), "since_ms",
                                              json_is_integer(since) ? since : NULL));
    }
    return list;
}

int member_ask_rows(struct admin_call *c, const char *key, bool newest_first)
{
    int (*order)(const void *, const void *) = newest_first ? descending : ascending;
    size_t limit = (size_t)admin_arg_int(c->args, "limit", 100), n = 0;
    struct asked a;
    struct rows r = { 0 };
    char next[ADMIN_ID_TEXT + 24] = "";
    int err = ask(c, NULL, &a);
    if (err == 0 && gather_rows(&a, &r, key, order) != 0)
        err = admin_fail(&c->e, -ENOMEM, "out of memory");
    if (err == 0) {
        json_t *list = json_array();
        /* rows of one place are not divided: the next page begins after it */
        for (; n < r.n && (n < limit || order(&r.at[n], &r.at[n - 1]) == 0) &&
               (!r.cut || order(&r.at[n], &r.end) <= 0);
             n++)
            json_array_append(list, r.at[n].row);
        if (n > 0 && (n < r.n || r.cut))
            snprintf(next, sizeof(next), "%.32s.%" JSON_INTEGER_FORMAT, r.at[n - 1].id, r.at[n - 1].rcpt);
        json_t *j = json_pack("{s:o,s:s?}", key, list, "next", next[0] != '\0' ? next : NULL);
        if (newest_first) {
            json_object_set_new(j, "since_ms", first_member(&a, "since_ms"));
            json_object_set_new(j, "kept", kept_by(&a));
            if (c->page != NULL)
                json_object_set_new(j, "dashboard", json_string(c->page));
        }
        err = member_reply(c, j, a.missing);
    }
    free(r.at);
    asked_fini(&a);
    return err;
}

/* ---- sums ---------------------------------------------------------------------------------------------- */

/* Of times the earliest counts, of everything else the sum. */
static bool is_time(const char *key)
{
    return strcmp(key, "oldest_ms") == 0 || strcmp(key, "next_ms") == 0;
}

static json_t *sum_of(const char *key, const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b)) {
        json_int_t x = json_integer_value(a), y = json_integer_value(b);
        return json_integer(is_time(key) ? (x < y ? x : y) : x + y);
    }
    if (json_is_number(a) && json_is_number(b))
        return json_real(json_number_value(a) + json_number_value(b));
    if (json_is_array(a) && json_is_array(b) && json_array_size(a) == json_array_size(b)) {
        json_t *sum = json_array();
        for (size_t i = 0; i < json_array_size(a); i++)
            json_array_append_new(sum, sum_of(key, json_array_get(a, i), json_array_get(b, i)));
        return sum;
    }
    return json_incref((json_t *)(uintptr_t)(json_is_null(a) ? b : a));
}

/* Adds `from`'s members to `into`'s. */
static void add_to(json_t *into, const json_t *from)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)from, key, v)
    {
        json_t *was = json_object_get(into, key);
        if (was == NULL)
            json_object_set(into, key, v);
        else if (!json_is_string(was) && !json_is_object(was))
            json_object_set_new(into, key, sum_of(key, was, v));
    }
}

struct group {
    json_int_t weight;
    json_t *row;
};

static int heaviest_first(const void *x, const void *y)
{
    const struct group *a = x, *b = y;
    if (a->weight != b->weight)
        return a->weight > b->weight ? -1 : 1;
    const char *ka = json_string_value(json_object_get(a->row, "key"));
    const char *kb = json_string_value(json_object_get(b->row, "key"));
    return strcmp(ka != NULL ? ka : "", kb != NULL ? kb : "");
}

/* Rows of all answers' array `name`, added up by their "key": the heaviest by the sum of the members `by`. */
static json_t *add_up(struct asked *a, const char *name, const char *const by[3], size_t limit)
{
    json_t *answer, *row, *groups = json_object(), *list = json_array();
    const char *key;
    size_t i, k, n = 0;
    json_array_foreach(a->answers, i, answer)
    {
        json_array_foreach(json_object_get(json_object_get(answer, "body"), name), k, row)
        {
            key = json_string_value(json_object_get(row, "key"));
            json_t *was = key != NULL ? json_object_get(groups, key) : NULL;
            if (was != NULL)
                add_to(was, row);
            else if (key != NULL)
                json_object_set(groups, key, row);
        }
    }
    struct group *order = calloc(json_object_size(groups) + 1, sizeof(*order));
    if (order != NULL) {
        json_object_foreach(groups, key, row)
        {
            order[n].row = row;
            for (int b = 0; b < 3 && by[b] != NULL; b++)
                order[n].weight += json_integer_value(json_object_get(row, by[b]));
            n++;
        }
        qsort(order, n, sizeof(*order), heaviest_first);
        for (i = 0; i < n && i < limit; i++)
            json_array_append(list, order[i].row);
    }
    a->no_memory |= order == NULL;
    free(order);
    json_decref(groups);
    return list;
}

/* Members of all answers named so, added up. */
static json_t *add_member(const struct asked *a, const char *name)
{
    json_t *sum = json_object(), *answer;
    size_t i;
    json_array_foreach(a->answers, i, answer)
    {
        add_to(sum, json_object_get(json_object_get(answer, "body"), name));
    }
    return sum;
}

int member_ask_summary(struct admin_call *c)
{
    static const char *const by[3] = { "recipients" };
    struct asked a;
    int err = ask(c, "1000", &a);
    if (err == 0) {
        json_t *groups = add_up(&a, "groups", by, (size_t)admin_arg_int(c->args, "limit", 50));
        json_t *total = add_member(&a, "total");
        err = a.no_memory ? admin_fail(&c->e, -ENOMEM, "out of memory") : 0;
        int wrote = member_reply(c,
                          json_pack("{s:o,s:o,s:o,s:o}", "by", first_member(&a, "by"), "age_minutes",
                                    first_member(&a, "age_minutes"), "groups", groups, "total", total), a.missing);
        err = err == 0 ? wrote : err;
    }
    asked_fini(&a);
    return err;
}

int member_ask_top(struct admin_call *c)
{
    static const char *const by[3] = { "received", "delivered", "queued" };
    size_t limit = (size_t)admin_arg_int(c->args, "limit", 15);
    struct asked a;
    int err = ask(c, "100", &a);
    if (err == 0) {
        json_t *senders = add_up(&a, "senders", by, limit), *sites = add_up(&a, "sites", by, limit);
        json_t *queue = add_member(&a, "queue"), *rates = json_object(), *answer;
        size_t i;
        json_array_foreach(a.answers, i, answer)
        {
            const char *key;
            json_t *rate;
            json_object_foreach(json_object_get(json_object_get(answer, "body"), "rates"), key, rate)
            {
                if (json_object_get(rates, key) == NULL)
                    json_object_set_new(rates, key, json_object());
                add_to(json_object_get(rates, key), rate);
            }
        }
        char name[64];
        snprintf(name, sizeof(name), "%zu node(s)", json_array_size(a.answers));
        err = a.no_memory ? admin_fail(&c->e, -ENOMEM, "out of memory") : 0;
        int wrote = member_reply(c,
                          json_pack("{s:s,s:o,s:o,s:o,s:o}", "node", name, "queue", queue, "rates", rates,
                                    "senders", senders, "sites", sites), a.missing);
        err = err == 0 ? wrote : err;
    }
    asked_fini(&a);
    return err;
}

/* ---- events -------------------------------------------------------------------------------------------- */

static int oldest_first(const void *x, const void *y)
{
    json_t *const *a = x, *const *b = y;
    const char *ta = json_string_value(json_object_get(*a, "ts")), *tb = json_string_value(json_object_get(*b, "ts"));
    return strcmp(ta != NULL ? ta : "", tb != NULL ? tb : "");
}

/* Of nodes that did not answer the place stays as it was. */
static void put_places(const struct asked *a, const char *after, struct buf *out)
{
    json_t *answer;
    size_t i;
    json_array_foreach(a->answers, i, answer)
    {
        const char *next = json_string_value(json_object_get(json_object_get(answer, "body"), "next"));
        if (next != NULL)
            buf_printf(out, "%s%s", out->len > 0 ? "," : "", next);
    }
    while (after != NULL && *after != '\0') {
        struct span place = span_of(after, strcspn(after, ","));
        const char *dot = memrchr(place.p, '.', place.n);
        struct span node = span_of(place.p, dot != NULL ? (size_t)(dot - place.p) : 0);
        bool answered = false;
        json_array_foreach(a->answers, i, answer)
        {
            const char *name = json_string_value(json_object_get(answer, "node"));
            answered = answered || (name != NULL && span_eq(node, span_str(name)));
        }
        if (!answered)
            buf_printf(out, "%s%.*s", out->len > 0 ? "," : "", (int)place.n, place.p);
        after += place.n + (after[place.n] == ',');
    }
    buf_put_char(out, '\0');
}

/* All lines of the answers, by their time: the newest `limit` of them only. NULL: no memory. */
static json_t *gather_lines(const struct asked *a, size_t limit, json_t *gaps)
{
    json_t *list = json_array(), *answer, *line;
    size_t i, k, n = 0, total = 0;
    json_array_foreach(a->answers, i, answer)
    {
        json_t *body = json_object_get(answer, "body");
        total += json_array_size(json_object_get(body, "events"));
        if (json_is_true(json_object_get(body, "gap")))
            json_array_append(gaps, json_object_get(answer, "node"));
    }
    json_t **all = calloc(total + 1, sizeof(*all));
    json_array_foreach(a->answers, i, answer)
    {
        json_array_foreach(json_object_get(json_object_get(answer, "body"), "events"), k, line)
        {
            if (all != NULL)
                all[n++] = line;
        }
    }
    if (all != NULL) {
        qsort(all, n, sizeof(*all), oldest_first);
        for (i = n > limit ? n - limit : 0; i < n; i++)
            json_array_append(list, all[i]);
    } else {
        json_decref(list);
        list = NULL;
    }
    free(all);
    return list;
}

int member_ask_events(struct admin_call *c)
{
    const char *after = admin_arg_str(c->args, "after");
    struct asked a;
    int err = ask(c, NULL, &a);
    if (err == 0) {
        struct buf next;
        json_t *gaps = json_array();
        /* What follows comes whole; of what was before, as much as was asked for. */
        size_t limit = after != NULL ? SIZE_MAX : (size_t)admin_arg_int(c->args, "limit", 100);
        json_t *lines = gather_lines(&a, limit, gaps);
        buf_init(&next, 16384);
        put_places(&a, after, &next);
        if (lines == NULL || buf_err(&next) != 0)
            err = admin_fail(&c->e, -ENOMEM, "out of memory");
        json_t *j = json_pack("{s:o?,s:s,s:b,s:o}", "events", lines, "next", err == 0 ? next.data : "", "gap",
                              json_array_size(gaps) > 0, "gaps", gaps);
        int wrote = member_reply(c, j, a.missing);
        err = err == 0 ? wrote : err;
        buf_fini(&next);
    }
    asked_fini(&a);
    return err;
}

int member_ask_status(struct admin_call *c)
{
    struct asked a;
    int err = ask(c, NULL, &a);
    if (err == 0) {
        json_t *nodes = json_array(), *answer;
        size_t i;
        json_array_foreach(a.answers, i, answer)
        {
            json_array_append_new(nodes, json_pack("{s:O,s:O}", "node", json_object_get(answer, "node"),
                                                   "status", json_object_get(answer, "body")));
        }
        err = member_reply(c, json_pack("{s:o}", "nodes", nodes), a.missing);
    }
    asked_fini(&a);
    return err;
}
