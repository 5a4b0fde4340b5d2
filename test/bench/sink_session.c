/* One session of the sink: the server's side of SMTP, as lenient as a sink may be. */
#include "test/bench/sink.h"

#include "base/text.h"

#include <stdlib.h>

static struct sink_session *of(struct conn *c)
{
    return LIST_ITEM(c, struct sink_session, conn);
}

/* ---- replies ------------------------------------------------------------------------------------------- */

static void send_reply(struct sink_session *x, struct span reply)
{
    buf_put_span(&x->conn.out, reply);
    buf_put_str(&x->conn.out, "\r\n");
    if (span_starts(reply, SPAN_LIT("421"))) {
        conn_close_soon(&x->conn);
        return;
    }
    if (x->start_tls) {
        x->start_tls = false;
        x->lines.len = 0;
        if (conn_start_tls(&x->conn, x->sink->tls, true, NULL) != 0)
            conn_close(&x->conn, 0);
    }
}

static void process(struct sink_session *x, const char *p, size_t n);

static void delay_cb(uv_timer_t *timer)
{
    struct sink_session *x = timer->data;
    if (x->conn.closing || !x->conn.open)
        return;
    x->delayed = false;
    send_reply(x, buf_span(&x->pending));
    struct buf held = x->held;
    buf_init(&x->held, held.max);
    process(x, held.data, held.len);
    buf_fini(&held);
    conn_flush(&x->conn);
    if (!x->delayed)
        conn_resume(&x->conn);
}

/* Answers, now or later. True: a positive reply (2xx, 3xx). */
static bool answer(struct sink_session *x, enum sink_stage stage, struct span address, const char *usual)
{
    const char *reply = sink_rules_reply(x->sink, stage, address);
    if (reply == NULL)
        reply = usual;
    else
        x->sink->refused++;
    if (strcmp(reply, "close") == 0) {
        conn_close(&x->conn, 0);
        return false;
    }
    int64_t delay_ms = x->sink->o->delay_ms[stage];
    if (delay_ms == 0) {
        send_reply(x, span_str(reply));
        return reply[0] < '4';
    }
    if (!x->timer_ready) {
        uv_timer_init(&x->sink->loop, &x->timer);
        x->timer.data = x;
        x->timer_ready = true;
    }
    buf_reset(&x->pending);
    buf_put_str(&x->pending, reply);
    x->delayed = true;
    conn_pause(&x->conn);
    uv_timer_start(&x->timer, delay_cb, (uint64_t)delay_ms, 0);
    return reply[0] < '4';
}

static void simple(struct sink_session *x, const char *reply)
{
    send_reply(x, span_str(reply));
}

/* ---- commands ------------------------------------------------------------------------------------------ */

static void forget(struct sink_session *x)
{
    x->mail = false;
    x->nrcpts = 0;
    x->size = 0;
    buf_reset(&x->content);
    buf_reset(&x->envelope);
}

static struct span address_in(struct span line)
{
    const char *from = memchr(line.p, '<', line.n);
    const char *to = from == NULL ? NULL : memchr(from, '>', line.n - (size_t)(from - line.p));
    return to == NULL ? (struct span){ "", 0 } : span_of(from + 1, (size_t)(to - from - 1));
}

static void on_ehlo(struct sink_session *x, struct span line)
{
    const struct sink_opts *o = x->sink->o;
    (void)line;
    forget(x);
    char text[256];
    snprintf(text, sizeof text,
             "250-sink.test\r\n%s%s%s%s%s250-8BITMIME\r\n250-AUTH PLAIN LOGIN\r\n"
             "250-ENHANCEDSTATUSCODES\r\n250 SIZE 268435456",
             o->pipelining ? "250-PIPELINING\r\n" : "", o->chunking ? "250-CHUNKING\r\n" : "",
             o->smtputf8 ? "250-SMTPUTF8\r\n" : "", o->dsn ? "250-DSN\r\n" : "",
             o->cert != NULL && !x->secured ? "250-STARTTLS\r\n" : "");
    answer(x, SINK_HELO, line, text);
}

static void on_helo(struct sink_session *x, struct span line)
{
    forget(x);
    answer(x, SINK_HELO, line, "250 sink.test");
}

static void on_mail(struct sink_session *x, struct span line)
{
    uint64_t limit = x->sink->o->per_connection;
    if (limit != 0 && x->messages >= limit) {
        simple(x, "421 4.7.0 enough for one connection");
        return;
    }
    forget(x);
    struct span address = address_in(line);
    x->mail = answer(x, SINK_MAIL, address, "250 2.1.0 ok");
    if (x->mail && x->sink->log != NULL) {
        buf_put_str(&x->envelope, "\"from\":");
        text_put_json(&x->envelope, address);
        buf_put_str(&x->envelope, ",\"mail\":");
        text_put_json(&x->envelope, line);
        buf_put_str(&x->envelope, ",\"to\":[");
    }
}

static void on_rcpt(struct sink_session *x, struct span line)
{
    if (!x->mail) {
        simple(x, "503 5.5.1 MAIL first");
        return;
    }
    struct span address = address_in(line);
    if (!answer(x, SINK_RCPT, address, "250 2.1.5 ok"))
        return;
    if (x->sink->log != NULL) {
        if (x->nrcpts > 0)
            buf_put_char(&x->envelope, ',');
        text_put_json(&x->envelope, address);
    }
    x->nrcpts++;
}

static void on_data(struct sink_session *x, struct span line)
{
    (void)line;
    if (x->nrcpts == 0) {
        simple(x, "503 5.5.1 no recipients");
        return;
    }
    if (!answer(x, SINK_DATA, (struct span){ "", 0 }, "354 go ahead"))
        return;
    x->state = SINK_STATE_CONTENT;
    x->chunk_last = false;
    x->tail[0] = '\r'; /* the dot may follow at once */
    x->tail[1] = '\n';
    x->ntail = 2;
}

static void end_of_message(struct sink_session *x)
{
    x->state = SINK_STATE_COMMAND;
    const char *reply = sink_rules_reply(x->sink, SINK_DOT, (struct span){ "", 0 });
    if (reply != NULL) {
        x->sink->refused++;
        if (reply[0] == '2') /* a rule may change only the words */
            reply = sink_take(x->sink, x) ? reply : "451 4.3.0 cannot record";
    } else {
        reply = sink_take(x->sink, x) ? "250 2.0.0 taken" : "451 4.3.0 cannot record";
    }
    if (reply[0] == '2')
        x->messages++;
    forget(x);
    bool had = x->sink->has_rules[SINK_DOT];
    x->sink->has_rules[SINK_DOT] = false; /* decided above */
    answer(x, SINK_DOT, (struct span){ "", 0 }, reply);
    x->sink->has_rules[SINK_DOT] = had;
}

static void on_bdat(struct sink_session *x, struct span line)
{
    struct span rest = span_sub(line, 5);
    size_t digits = 0;
    while (digits < rest.n && rest.p[digits] != ' ')
        digits++;
    uint64_t octets;
    if (line.n < 6 || text_u64(span_of(rest.p, digits), &octets) != 0) {
        simple(x, "501 5.5.4 how many octets?");
        return;
    }
    x->chunk_left = octets;
    x->chunk_last = span_eq_nocase(span_sub(rest, digits), SPAN_LIT(" LAST"));
    x->state = SINK_STATE_CHUNK;
}

static void end_of_chunk(struct sink_session *x)
{
    x->state = SINK_STATE_COMMAND;
    if (x->nrcpts == 0)
        simple(x, "503 5.5.1 no recipients");
    else if (x->chunk_last)
        end_of_message(x);
    else
        simple(x, "250 2.0.0 go on");
}

static void on_rset(struct sink_session *x, struct span line)
{
    forget(x);
    answer(x, SINK_RSET, line, "250 2.0.0 ok");
}

static void on_noop(struct sink_session *x, struct span line)
{
    (void)line;
    simple(x, "250 2.0.0 ok");
}

static void on_quit(struct sink_session *x, struct span line)
{
    answer(x, SINK_QUIT, line, "221 2.0.0 bye");
    if (!x->delayed)
        conn_close_soon(&x->conn);
}

static void on_starttls(struct sink_session *x, struct span line)
{
    if (x->sink->tls == NULL || x->secured) {
        simple(x, "503 5.5.1 not now");
        return;
    }
    forget(x);
    x->start_tls = true;
    if (!answer(x, SINK_STARTTLS, line, "220 2.0.0 go ahead"))
        x->start_tls = false;
}

static void on_auth(struct sink_session *x, struct span line)
{
    if (line.n >= 10 && strncasecmp(line.p, "AUTH LOGIN", 10) == 0) {
        x->auth_lines = 2;
        x->state = SINK_STATE_AUTH;
        simple(x, "334 VXNlcm5hbWU6");
    } else if (line.n <= 11) {
        x->auth_lines = 1;
        x->state = SINK_STATE_AUTH;
        simple(x, "334 ");
    } else {
        answer(x, SINK_AUTH, line, "235 2.7.0 ok");
    }
}

static void on_auth_line(struct sink_session *x, struct span line)
{
    if (--x->auth_lines > 0) {
        simple(x, "334 UGFzc3dvcmQ6");
        return;
    }
    x->state = SINK_STATE_COMMAND;
    answer(x, SINK_AUTH, line, "235 2.7.0 ok");
}

static void on_command(struct sink_session *x, struct span line)
{
    static const struct {
        const char *verb;
        void (*run)(struct sink_session *x, struct span line);
    } verbs[] = {
        { "MAIL", on_mail }, { "RCPT", on_rcpt }, { "DATA", on_data }, { "RSET", on_rset },
        { "EHLO", on_ehlo }, { "HELO", on_helo }, { "QUIT", on_quit }, { "STAR", on_starttls },
        { "AUTH", on_auth }, { "BDAT", on_bdat }, { "NOOP", on_noop },
    };
    for (size_t i = 0; line.n >= 4 && i < sizeof verbs / sizeof verbs[0]; i++)
        if (strncasecmp(line.p, verbs[i].verb, 4) == 0) {
            verbs[i].run(x, line);
            return;
        }
    simple(x, "500 5.5.1 what?");
}

/* ---- content ------------------------------------------------------------------------------------------- */

static void keep(struct sink_session *x, const char *p, size_t n)
{
    x->size += n;
    size_t room = x->sink->keep_bytes > x->content.len ? x->sink->keep_bytes - x->content.len : 0;
    if (room > 0)
        buf_put(&x->content, p, n < room ? n : room);
}

/* Where CRLF . CRLF ends in p, or 0. */
static size_t find_end(const char *p, size_t n)
{
    if (n < 5)
        return 0;
    for (const char *at = p + 2; (at = memchr(at, '.', (size_t)(p + n - at))) != NULL; at++)
        if (p + n - at >= 3 && memcmp(at - 2, "\r\n.\r\n", 5) == 0)
            return (size_t)(at - p) + 3;
    return 0;
}

/* How much of p belongs to the content, its dot included; *ended says whether it is all. */
static size_t content_length(struct sink_session *x, const char *p, size_t n, bool *ended)
{
    char joint[8];
    size_t head = n < 4 ? n : 4;
    memcpy(joint, x->tail, x->ntail);
    memcpy(joint + x->ntail, p, head);
    size_t end = find_end(joint, x->ntail + head);
    *ended = true;
    if (end > x->ntail)
        return end - x->ntail;
    end = find_end(p, n);
    if (end > 0)
        return end;
    *ended = false;
    if (n >= 4) {
        memcpy(x->tail, p + n - 4, 4);
        x->ntail = 4;
    } else {
        size_t all = x->ntail + head;
        size_t last = all < 4 ? all : 4;
        memcpy(x->tail, joint + all - last, last);
        x->ntail = (unsigned)last;
    }
    return n;
}

static void process(struct sink_session *x, const char *p, size_t n)
{
    struct span line;
    while ((n > 0 || (x->state == SINK_STATE_CHUNK && x->chunk_left == 0)) && !x->conn.closing &&
           !x->conn.close_when_written && !x->delayed) {
        bool had_tls = x->conn.ssl != NULL;
        if (x->state == SINK_STATE_CONTENT) {
            bool ended;
            size_t take = content_length(x, p, n, &ended);
            keep(x, p, take);
            p += take;
            n -= take;
            if (ended)
                end_of_message(x);
        } else if (x->state == SINK_STATE_CHUNK) {
            size_t take = x->chunk_left < n ? (size_t)x->chunk_left : n;
            keep(x, p, take);
            p += take;
            n -= take;
            x->chunk_left -= take;
            if (x->chunk_left == 0)
                end_of_chunk(x);
        } else if (lines_next(&x->lines, &p, &n, &line)) {
            if (x->state == SINK_STATE_AUTH)
                on_auth_line(x, line);
            else
                on_command(x, line);
        } else if (x->lines.too_long) {
            conn_close(&x->conn, 0);
        }
        if (!had_tls && x->conn.ssl != NULL)
            return; /* what came before the handshake is dropped */
    }
    if (x->delayed && n > 0)
        buf_put(&x->held, p, n);
}

/* ---- the connection ------------------------------------------------------------------------------------ */

static void session_data(struct conn *c, const char *p, size_t n)
{
    struct sink_session *x = of(c);
    if (x->delayed)
        buf_put(&x->held, p, n);
    else
        process(x, p, n);
}

static void greet(struct sink_session *x)
{
    const struct sink_opts *o = x->sink->o;
    if (o->connections != 0 && x->sink->open > o->connections)
        simple(x, "421 4.7.0 too many connections");
    else
        answer(x, SINK_BANNER, (struct span){ "", 0 }, "220 sink.test ESMTP");
    conn_flush(&x->conn);
}

static void session_secured(struct conn *c)
{
    struct sink_session *x = of(c);
    x->secured = true;
    if (x->sink->o->wrapped)
        greet(x);
}

static void timer_closed(uv_handle_t *handle)
{
    struct sink_session *x = handle->data;
    x->timer_ready = false;
    sink_session_ended(x->sink, x);
}

static void session_closed(struct conn *c, int err)
{
    (void)err;
    struct sink_session *x = of(c);
    if (x->timer_ready)
        uv_close((uv_handle_t *)&x->timer, timer_closed);
    else
        sink_session_ended(x->sink, x);
}

static const struct conn_calls calls = { .data = session_data,
                                         .secured = session_secured,
                                         .closed = session_closed };

static struct sink_session *session_new(struct sink *s)
{
    struct list *link = list_pop_front(&s->idle);
    if (link != NULL)
        return LIST_ITEM(link, struct sink_session, link);
    struct sink_session *x = calloc(1, sizeof *x);
    if (x == NULL)
        return NULL;
    x->sink = s;
    conn_init(&x->conn, &calls);
    buf_init(&x->held, 1u << 20);
    buf_init(&x->pending, 4096);
    buf_init(&x->envelope, 1u << 20);
    buf_init(&x->content, 256u << 20);
    return x;
}

void sink_session_delete(struct sink_session *x)
{
    conn_fini(&x->conn);
    buf_fini(&x->held);
    buf_fini(&x->pending);
    buf_fini(&x->envelope);
    buf_fini(&x->content);
    free(x);
}

void sink_session_accept(struct sink *s)
{
    struct sink_session *x = session_new(s);
    if (x == NULL)
        return; /* it stays in the backlog */
    x->state = SINK_STATE_COMMAND;
    x->secured = x->start_tls = x->delayed = false;
    x->messages = 0;
    x->lines.len = 0;
    x->lines.too_long = false;
    buf_reset(&x->held);
    forget(x);
    if (conn_accept(&x->conn, &s->loop, (uv_stream_t *)&s->listener) != 0) {
        list_push_back(&s->idle, &x->link);
        return;
    }
    s->connections++;
    if (++s->open > s->most_open)
        s->most_open = s->open;
    if (x->conn.closing)
        return;
    if (!s->o->wrapped)
        greet(x);
    else if (conn_start_tls(&x->conn, s->tls, true, NULL) != 0)
        conn_close(&x->conn, 0);
}
