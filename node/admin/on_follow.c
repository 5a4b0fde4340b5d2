/* The event log as server-sent events (the HTML standard's text/event-stream): what GET /v1/events gives, as
 * it comes. Where a listener has got to is the id of what it was sent last, so that it goes on there when it
 * connects again: with Last-Event-ID, as browsers do by themselves, or with `after`. Admin threads: a
 * listener has one.
 */
#include "node/admin/call.h"

#include "base/clock.h"
#include "base/err.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define LISTENERS_MAX 16         /* each takes a thread, and asks all nodes twice a second */
#define LIFE_MS INT64_C(3600000) /* then it connects again */
#define LOOK_MS 500
#define STEP_MS 100
#define HEARTBEAT_MS 15000
#define LINES_MAX 1000 /* of a node in one look */
#define AFTER_MAX 16384
#define PAIRS_MAX 16

static atomic_int listeners;

struct follow {
    struct admin_call call; /* for each look */
    struct admin_caller caller;
    json_t *args;
    bool first, silent; /* silent: what was before is not asked for */
    bool (*gone)(void *conn);
    void *conn;
    int64_t end_ms, look_ms, sent_ms; /* CLOCK_BOOTTIME */
    json_t *missing;                  /* who did not answer last */
    struct buf out;
};

static void follow_free(void *ctx)
{
    struct follow *f = ctx;
    json_decref(f->args);
    json_decref(f->missing);
    buf_fini(&f->out);
    free(f);
    atomic_fetch_sub(&listeners, 1);
}

static void put(struct follow *f, const char *event, const json_t *data)
{
    char *text = json_dumps(data, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY);
    if (text == NULL)
        return;
    /* Names are ours, but come over the wire from other nodes. */
    size_t n = strcspn(event, "\r\n");
    buf_printf(&f->out, "event: %.*s\ndata: %s\n\n", (int)n, event, text);
    free(text);
}

static void put_reply(struct follow *f, const json_t *reply)
{
    size_t i;
    json_t *line, *missing = json_object_get(reply, "missing"), *gaps = json_object_get(reply, "gaps");
    if (json_is_true(json_object_get(reply, "gap")))
        put(f, "gap", gaps != NULL ? gaps : json_object_get(reply, "gap"));
    if (json_array_size(missing) > 0 && !json_equal(missing, f->missing))
        put(f, "missing", missing);
    json_decref(f->missing);
    f->missing = json_incref(missing);
    json_array_foreach(json_object_get(reply, "events"), i, line)
    {
        const char *event = json_string_value(json_object_get(line, "event"));
        if (!f->first || !f->silent)
            put(f, event != NULL ? event : "message", line);
    }
}

/* The same question as the listener's, behind where it has got to. */
static size_t pairs_of(struct follow *f, struct admin_pair pairs[PAIRS_MAX])
{
    static const char limit[] = "1000";
    size_t n = 0;
    const char *name;
    json_t *value;
    json_object_foreach(f->args, name, value)
    {
        if (json_is_string(value) && n < PAIRS_MAX - 1)
            pairs[n++] = (struct admin_pair){ span_str(name), span_str(json_string_value(value)) };
    }
    if (json_object_get(f->args, "after") != NULL)
        pairs[n++] = (struct admin_pair){ SPAN_LIT("limit"), span_of(limit, sizeof limit - 1) };
    return n;
}

/* 0 or an error, which is in f->call.e. */
static int look(struct follow *f)
{
    struct admin_pair pairs[PAIRS_MAX];
    struct admin_call *c = &f->call;
    c->query = pairs;
    c->nquery = pairs_of(f, pairs);
    c->args = f->args;
    buf_init(&c->out, ADMIN_REPLY_MAX);
    int err = admin_on_events(c);
    json_t *reply = err == 0 ? json_loadb(c->out.data, c->out.len, 0, NULL) : NULL;
    buf_fini(&c->out);
    const char *next = json_string_value(json_object_get(reply, "next"));
    if (err == 0 && next == NULL)
        err = admin_fail(&c->e, -ENOMEM, "out of memory");
    if (err == 0) {
        bool first = f->first;
        size_t before = f->out.len;
        put_reply(f, reply);
        /* The id stands behind what it is the place after: who breaks off in between gets that once more. */
        if (f->out.len > before || first)
            buf_printf(&f->out, "id: %s\nevent: place\ndata: {}\n\n", next);
        json_object_set_new(f->args, "after", json_string(next));
        json_object_set_new(f->args, "limit", json_integer(LINES_MAX));
        f->first = false;
    }
    json_decref(reply);
    f->look_ms = clock_boot_ms() + LOOK_MS;
    return err;
}

static ssize_t follow_read(void *ctx, char *p, size_t max)
{
    struct follow *f = ctx;
    int64_t now_ms = clock_boot_ms();
    if (f->out.len == 0 && now_ms >= f->end_ms)
        return -1;
    if (f->out.len == 0 && now_ms >= f->look_ms)
        (void)look(f); /* a node that cannot answer just now is asked again */
    if (f->out.len == 0 && now_ms - f->sent_ms >= HEARTBEAT_MS)
        buf_put_str(&f->out, ":\n\n");
    if (buf_err(&f->out) != 0 || (f->out.len == 0 && f->gone(f->conn)))
        return -2;
    if (f->out.len == 0) {
        nanosleep(&(struct timespec){ .tv_nsec = STEP_MS * 1000000L }, NULL);
        return 0;
    }
    f->sent_ms = now_ms;
    return (ssize_t)buf_take(&f->out, p, max);
}

static struct follow *follow_new(struct admin_call *c)
{
    struct follow *f = calloc(1, sizeof *f);
    if (f == NULL || (f->args = json_deep_copy(c->args)) == NULL) {
        free(f);
        return NULL;
    }
    int64_t now_ms = clock_boot_ms();
    f->caller = *c->caller;
    f->call = (struct admin_call){ .ops = c->ops,
                                   .caller = &f->caller,
                                   .path = "/v1/events",
                                   .cluster = c->cluster,
                                   .cluster_ctx = c->cluster_ctx,
                                   .gone = c->gone,
                                   .conn = c->conn };
    f->gone = c->gone;
    f->conn = c->conn;
    f->end_ms = now_ms + LIFE_MS;
    f->sent_ms = now_ms;
    f->first = true;
    f->silent = json_object_get(f->args, "limit") == NULL && json_object_get(f->args, "after") == NULL;
    buf_init(&f->out, 2 * ADMIN_REPLY_MAX);
    return f;
}

int admin_on_follow(struct admin_call *c)
{
    if (c->last_event_id.n > AFTER_MAX)
        return admin_fail(&c->e, ERR_BAD, "Last-Event-ID is no id of this stream");
    if (c->last_event_id.n > 0)
        json_object_set_new(c->args, "after", json_stringn(c->last_event_id.p, c->last_event_id.n));
    if (atomic_fetch_add(&listeners, 1) >= LISTENERS_MAX) {
        atomic_fetch_sub(&listeners, 1);
        return admin_fail(&c->e, ERR_LIMIT, "%d listen already, which is the most at a time", LISTENERS_MAX);
    }
    struct follow *f = follow_new(c);
    if (f == NULL) {
        atomic_fetch_sub(&listeners, 1);
        return admin_fail(&c->e, -ENOMEM, "out of memory");
    }
    buf_put_str(&f->out, "retry: 2000\n\n");
    int err = look(f); /* what is wrong with the question is said as for any other */
    if (err != 0) {
        c->e = f->call.e;
        follow_free(f);
        return err;
    }
    c->type = "text/event-stream";
    c->source =
        (struct admin_source){ .read = follow_read, .free = follow_free, .ctx = f, .limit_ms = LIFE_MS };
    return 0;
}
