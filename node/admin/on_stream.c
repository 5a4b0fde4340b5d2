/* Handlers whose reply is produced while it is sent: live dialogue and a message's content. Admin threads:
 * the thread of a connection waits for lines, sends them, and notices within a second that its client has
 * gone.
 */
#include "node/admin/call.h"

#include "base/clock.h"
#include "base/err.h"
#include "node/admin/stream.h"

#include <errno.h>
#include <stdlib.h>

#define WAIT_MS 500
#define HEARTBEAT_MS 15000 /* an empty line, so that proxies and clients see that the stream lives */

/* ---- dialogue ------------------------------------------------------------------------------------------ */

struct feed {
    const struct admin_ops *ops;
    struct admin_stream *stream;
    bool trace;
    bool ended;
    bool (*gone)(void *conn);
    void *conn;
    int64_t end_ms;  /* CLOCK_BOOTTIME */
    int64_t sent_ms; /* likewise: the last bytes */
    struct buf out;  /* made, not sent */
};

static void feed_free(void *ctx)
{
    struct feed *f = ctx;
    admin_stream_close(f->stream);
    if (f->trace)
        f->ops->trace_stop(f->ops->ctx, f->stream);
    admin_stream_rele(f->stream);
    buf_fini(&f->out);
    free(f);
}

/* Lines that are there already share a write. */
static void feed_gather(struct feed *f, size_t max)
{
    uint32_t wait_ms = WAIT_MS;
    while (!f->ended && f->out.len < max) {
        enum admin_stream_got got = admin_stream_take(f->stream, wait_ms, &f->out);
        if (got == ADMIN_STREAM_NOTHING)
            break;
        f->ended = got == ADMIN_STREAM_END;
        wait_ms = 0;
    }
}

static ssize_t feed_read(void *ctx, char *p, size_t max)
{
    struct feed *f = ctx;
    if (f->out.len == 0 && f->ended)
        return -1;
    if (f->out.len == 0)
        feed_gather(f, max);
    int64_t now_ms = clock_boot_ms();
    if (f->out.len == 0 && f->gone(f->conn))
        return -2;
    if (f->out.len == 0 && now_ms >= f->end_ms) {
        admin_stream_put_end(&f->out, f->trace ? 0 : ERR_TIMEOUT, "time is up", 0);
        f->ended = true;
    }
    if (f->out.len == 0 && now_ms - f->sent_ms >= HEARTBEAT_MS)
        buf_put_char(&f->out, '\n');
    if (f->out.len == 0)
        return 0;
    f->sent_ms = now_ms;
    return (ssize_t)buf_take(&f->out, p, max);
}

static struct feed *feed_new(struct admin_call *c, int64_t limit_ms)
{
    struct feed *f = calloc(1, sizeof(*f));
    struct admin_stream *s = admin_stream_new();
    if (f == NULL || s == NULL) {
        free(f);
        admin_stream_rele(s);
        admin_fail(&c->e, -ENOMEM, "out of memory");
        return NULL;
    }
    int64_t now_ms = clock_boot_ms();
    *f = (struct feed){ .ops = c->ops,
                        .stream = s,
                        .gone = c->gone,
                        .conn = c->conn,
                        .end_ms = now_ms + limit_ms,
                        .sent_ms = now_ms };
    buf_init(&f->out, 1u << 20);
    return f;
}

static int feed_start(struct admin_call *c, struct feed *f, int64_t limit_ms, int err)
{
    if (err != 0) {
        f->trace = false; /* it did not start */
        feed_free(f);
        return err;
    }
    c->type = "application/x-ndjson";
    c->source = (struct admin_source){ .read = feed_read, .free = feed_free, .ctx = f, .limit_ms = limit_ms };
    return 0;
}

int admin_on_trace(struct admin_call *c)
{
    if (c->ops->trace_start == NULL || c->ops->trace_stop == NULL)
        return admin_missing(c);
    struct admin_trace t = {
        .client = strcmp(admin_arg_str(c->args, "side"), "client") == 0,
        .ip = admin_arg_str(c->args, "ip"),
        .account = admin_arg_str(c->args, "account"),
        .site = admin_arg_str(c->args, "site"),
        .listener = admin_arg_str(c->args, "listener"),
        .sessions_max = (uint32_t)admin_arg_int(c->args, "sessions", 0),
    };
    if (t.client ? t.listener != NULL : t.site != NULL)
        return admin_fail(&c->e, ERR_BAD,
                          t.client ? "listener goes with side=server only"
                                   : "site goes with side=client only");
    int64_t limit_ms = admin_arg_int(c->args, "seconds", 300) * 1000;
    struct feed *f = feed_new(c, limit_ms);
    if (f == NULL)
        return -ENOMEM;
    f->trace = true;
    return feed_start(c, f, limit_ms, c->ops->trace_start(c->ops->ctx, &t, f->stream, &c->e));
}

int admin_on_probe(struct admin_call *c)
{
    if (c->ops->probe_start == NULL)
        return admin_missing(c);
    const char *sender = admin_arg_str(c->args, "sender");
    struct admin_probe p = {
        .recipient = admin_arg_str(c->args, "recipient"),
        .sender = sender != NULL && strcmp(sender, "<>") == 0 ? NULL : sender,
        .from_ip = admin_arg_str(c->args, "from_ip"),
    };
    struct feed *f = feed_new(c, ADMIN_PROBE_MAX_MS);
    if (f == NULL)
        return -ENOMEM;
    return feed_start(c, f, ADMIN_PROBE_MAX_MS,
                      c->ops->probe_start(c->ops->ctx, &p, c->caller, f->stream, &c->e));
}

/* ---- content ------------------------------------------------------------------------------------------- */

#define CONTENT_MAX_MS 900000

struct content {
    const struct admin_ops *ops;
    struct admin_content *reader;
    const char *p; /* of the present block */
    size_t n;
};

static void content_free(void *ctx)
{
    struct content *t = ctx;
    t->ops->content_close(t->ops->ctx, t->reader);
    free(t);
}

static ssize_t content_read(void *ctx, char *p, size_t max)
{
    struct content *t = ctx;
    if (t->n == 0 && t->ops->content_next(t->ops->ctx, t->reader, &t->p, &t->n) != 0)
        return -2; /* the client sees a body that ends without its last chunk: not the whole message */
    if (t->n == 0)
        return -1;
    size_t n = t->n < max ? t->n : max;
    memcpy(p, t->p, n);
    t->p += n;
    t->n -= n;
    return (ssize_t)n;
}

int admin_on_content(struct admin_call *c)
{
    if (c->ops->content_open == NULL || c->ops->content_next == NULL || c->ops->content_close == NULL)
        return admin_missing(c);
    if (c->caller->no_content)
        return admin_fail(&c->e, ERR_DENIED, "you may not look into people's mail");
    struct content *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return admin_fail(&c->e, -ENOMEM, "out of memory");
    t->ops = c->ops;
    int err = c->ops->content_open(c->ops->ctx, c->id, admin_arg_bool(c->args, "headers_only"), c->caller,
                                   &t->reader, &c->e);
    if (err != 0) {
        free(t);
        return err;
    }
    c->type = "message/rfc822";
    c->source = (struct admin_source){
        .read = content_read, .free = content_free, .ctx = t, .limit_ms = CONTENT_MAX_MS
    };
    return 0;
}
