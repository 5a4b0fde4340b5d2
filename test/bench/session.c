/* One session of the load generator: a client's side of SMTP, as a table of what each reply leads to. */
#include "test/bench/send.h"

#include "base/clock.h"
#include "base/err.h"

#include <openssl/evp.h>
#include <stdlib.h>

#define RETRY_NS 100000000 /* between attempts to connect */

static struct session *of(struct conn *c)
{
    return LIST_ITEM(c, struct session, conn);
}

static void command(struct session *x, enum session_step step, const char *text)
{
    x->step = step;
    buf_put_str(&x->conn.out, text);
}

static void say_ehlo(struct session *x)
{
    x->step = SESSION_EHLO;
    x->pipelining = false;
    buf_printf(&x->conn.out, "EHLO %s\r\n", x->sender->o->helo);
}

static struct pattern_values values_of(const struct session *x, uint64_t rcpt)
{
    return (struct pattern_values){ .message = x->message, .rcpt = rcpt, .session = x->number };
}

static void say_auth(struct session *x)
{
    struct buf plain;
    buf_init(&plain, 4096);
    struct pattern_values v = values_of(x, 0);
    buf_put_char(&plain, '\0');
    pattern_put(&plain, &x->sender->o->auth_user, &v);
    buf_put_char(&plain, '\0');
    buf_put_str(&plain, x->sender->o->password);
    unsigned char *coded = malloc(plain.len / 3 * 4 + 8);
    if (coded == NULL)
        abort();
    EVP_EncodeBlock(coded, (const unsigned char *)plain.data, (int)plain.len);
    x->step = SESSION_AUTH;
    buf_printf(&x->conn.out, "AUTH PLAIN %s\r\n", (char *)coded);
    free(coded);
    buf_fini(&plain);
}

/* ---- a transaction ------------------------------------------------------------------------------------- */

static void put_command(struct session *x, unsigned i)
{
    const struct send_opts *o = x->sender->o;
    struct buf *out = &x->conn.out;
    if (i == 0) {
        struct pattern_values v = values_of(x, 0);
        buf_put_str(out, "MAIL FROM:<");
        pattern_put(out, &o->mail_from, &v);
        buf_put_str(out, ">\r\n");
    } else if (i <= o->rcpts) {
        struct pattern_values v = values_of(x, i - 1);
        buf_put_str(out, "RCPT TO:<");
        pattern_put(out, &o->rcpt_to, &v);
        buf_put_str(out, ">\r\n");
    } else {
        buf_put_str(out, "DATA\r\n");
    }
}

void session_begin(struct session *x)
{
    x->step = SESSION_ENVELOPE;
    x->replies = 0;
    x->rcpts_ok = 0;
    unsigned n = x->pipelining ? x->sender->o->rcpts + 2 : 1;
    for (unsigned i = 0; i < n; i++)
        put_command(x, i);
    conn_flush(&x->conn);
}

static void put_content(struct session *x)
{
    struct pattern_values v = values_of(x, 0);
    struct buf from, to;
    buf_init(&from, 1024);
    buf_init(&to, 1024);
    pattern_put(&from, &x->sender->o->mail_from, &v);
    pattern_put(&to, &x->sender->o->rcpt_to, &v);
    message_put(&x->conn.out, &x->sender->pool, x->message, buf_span(&from), buf_span(&to));
    buf_fini(&from);
    buf_fini(&to);
    x->dot_ns = clock_mono_ns();
    x->step = SESSION_DOT;
}

static void ready(struct session *x)
{
    struct sender *s = x->sender;
    x->step = SESSION_READY;
    if (s->o->per_connection != 0 && x->on_connection >= s->o->per_connection) {
        session_quit(x);
        return;
    }
    switch (sender_take(s, x)) {
    case SEND_TAKE_OK:
        x->on_connection++;
        session_begin(x);
        break;
    case SEND_TAKE_LATER:
        break;
    case SEND_TAKE_NONE:
        session_quit(x);
        break;
    }
}

void session_quit(struct session *x)
{
    command(x, SESSION_QUIT, "QUIT\r\n");
    conn_flush(&x->conn);
}

static void refused(struct session *x)
{
    sender_missed(x->sender, false);
    command(x, SESSION_RSET, "RSET\r\n");
}

static void envelope_reply(struct session *x, unsigned code, struct span line)
{
    const struct send_opts *o = x->sender->o;
    unsigned i = x->replies++;
    bool good = i == o->rcpts + 1 ? code == 354 : code / 100 == 2;
    if (!good && (i <= o->rcpts || x->rcpts_ok > 0))
        sender_error(x->sender, i == 0 ? "mail" : i <= o->rcpts ? "rcpt" : "data", line);
    if (good && i > 0 && i <= o->rcpts)
        x->rcpts_ok++;
    if (i == o->rcpts + 1) { /* DATA */
        if (!good) {
            refused(x);
        } else if (x->rcpts_ok > 0) {
            put_content(x);
        } else { /* pipelined, and the server takes content for nobody: RFC 2920 section 3.1 */
            buf_put_str(&x->conn.out, ".\r\n");
            x->dot_ns = clock_mono_ns();
            x->step = SESSION_DOT;
        }
        return;
    }
    if (x->pipelining)
        return;
    if ((i == 0 && !good) || (i == o->rcpts && x->rcpts_ok == 0))
        refused(x);
    else
        put_command(x, i + 1);
}

static void dot_reply(struct session *x, unsigned code, struct span line)
{
    if (code / 100 == 2 && x->rcpts_ok > 0) {
        sender_accepted(x->sender, x, x->rcpts_ok);
        ready(x);
        return;
    }
    if (x->rcpts_ok > 0)
        sender_error(x->sender, "dot", line);
    refused(x);
}

/* ---- the session --------------------------------------------------------------------------------------- */

static void after_ehlo(struct session *x)
{
    const struct send_opts *o = x->sender->o;
    if (o->no_pipelining)
        x->pipelining = false;
    if (o->tls == BENCH_TLS_STARTTLS && !x->tls_done)
        command(x, SESSION_STARTTLS, "STARTTLS\r\n");
    else if (o->auth)
        say_auth(x);
    else {
        hist_add(&x->sender->connect, clock_mono_ns() - x->connect_ns);
        ready(x);
    }
}

static void fail(struct session *x, const char *stage, struct span line)
{
    sender_error(x->sender, stage, line);
    if (x->step != SESSION_ENVELOPE && x->step != SESSION_DOT) {
        x->sender->connect_failures++;
        x->step = SESSION_OFF;
    }
    conn_close(&x->conn, ERR_FAILED);
}

static void on_reply(struct session *x, unsigned code, struct span line)
{
    bool good = code / 100 == 2;
    switch (x->step) {
    case SESSION_BANNER:
        if (good)
            say_ehlo(x);
        else
            fail(x, "banner", line);
        break;
    case SESSION_EHLO:
        if (good)
            after_ehlo(x);
        else
            fail(x, "ehlo", line);
        break;
    case SESSION_STARTTLS:
        if (!good) {
            fail(x, "starttls", line);
            break;
        }
        x->step = SESSION_HANDSHAKE;
        if (conn_start_tls(&x->conn, x->sender->tls, false, x->sender->o->host) != 0)
            fail(x, "starttls", SPAN_LIT("cannot start TLS"));
        break;
    case SESSION_AUTH:
        if (!good) {
            fail(x, "auth", line);
            break;
        }
        hist_add(&x->sender->connect, clock_mono_ns() - x->connect_ns);
        ready(x);
        break;
    case SESSION_ENVELOPE:
        envelope_reply(x, code, line);
        break;
    case SESSION_DOT:
        dot_reply(x, code, line);
        break;
    case SESSION_RSET:
        ready(x);
        break;
    case SESSION_QUIT:
        conn_close(&x->conn, 0);
        break;
    case SESSION_READY: /* 421 while nothing is going on */
        sender_error(x->sender, "idle", line);
        list_remove(&x->link);
        conn_close(&x->conn, 0);
        break;
    case SESSION_OFF:
    case SESSION_CONNECT:
    case SESSION_HANDSHAKE:
        fail(x, "unexpected", line);
        break;
    }
}

static void session_data(struct conn *c, const char *p, size_t n)
{
    struct session *x = of(c);
    struct span line;
    while (!c->closing && lines_next(&x->lines, &p, &n, &line)) {
        if (line.n < 3 || line.p[0] < '2' || line.p[0] > '5') {
            fail(x, "not SMTP", line);
            return;
        }
        unsigned code = (unsigned)((line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0'));
        if (x->step == SESSION_EHLO && line.n >= 14 && strncasecmp(line.p + 4, "PIPELINING", 10) == 0)
            x->pipelining = true;
        if (line.n > 3 && line.p[3] == '-')
            continue;
        on_reply(x, code, line);
        if (x->step == SESSION_HANDSHAKE)
            return; /* what came before the handshake is dropped */
    }
    if (x->lines.too_long)
        fail(x, "line too long", (struct span){ "", 0 });
}

static void session_connected(struct conn *c)
{
    struct session *x = of(c);
    x->sender->connections++;
    x->step = SESSION_BANNER;
    if (x->sender->o->tls != BENCH_TLS_WRAPPED)
        return;
    x->step = SESSION_HANDSHAKE;
    if (conn_start_tls(c, x->sender->tls, false, x->sender->o->host) != 0)
        fail(x, "tls", SPAN_LIT("cannot start TLS"));
}

static void session_secured(struct conn *c)
{
    struct session *x = of(c);
    x->tls_done = true;
    if (x->sender->o->tls == BENCH_TLS_WRAPPED)
        x->step = SESSION_BANNER;
    else
        say_ehlo(x);
}

static void session_closed(struct conn *c, int err)
{
    struct session *x = of(c);
    struct sender *s = x->sender;
    enum session_step was = x->step;
    x->step = SESSION_OFF;
    list_remove(&x->link);
    if (was == SESSION_ENVELOPE || was == SESSION_DOT) {
        sender_missed(s, true);
        sender_error(s, was == SESSION_DOT ? "connection lost after the dot" : "connection lost",
                     span_str(err == 0 ? "closed by the server" : err_text(err)));
    } else if (was == SESSION_CONNECT || was == SESSION_BANNER || was == SESSION_HANDSHAKE) {
        s->connect_failures++;
        sender_error(s, was == SESSION_HANDSHAKE ? "TLS handshake" : "connect",
                     span_str(err == 0 ? "closed by the server" : err_text(err)));
    }
    if (s->stopping) {
        x->ended = true;
        sender_session_ended(s);
        return;
    }
    if (was == SESSION_QUIT || was == SESSION_RSET || was == SESSION_READY)
        session_connect(x);
    else
        x->retry_ns = clock_mono_ns() + RETRY_NS;
}

void session_connect(struct session *x)
{
    x->step = SESSION_CONNECT;
    x->tls_done = false;
    x->on_connection = 0;
    x->lines.len = 0;
    x->lines.too_long = false;
    x->connect_ns = clock_mono_ns();
    int err = conn_connect(&x->conn, &x->sender->loop, (const struct sockaddr *)&x->sender->o->to);
    if (err != 0) {
        x->step = SESSION_OFF;
        x->retry_ns = clock_mono_ns() + RETRY_NS;
        x->sender->connect_failures++;
        sender_error(x->sender, "connect", span_str(err_text(err)));
    }
}

static const struct conn_calls calls = {
    .connected = session_connected,
    .secured = session_secured,
    .data = session_data,
    .closed = session_closed,
};

void session_init(struct session *x, struct sender *s, unsigned number)
{
    x->sender = s;
    x->number = number;
    conn_init(&x->conn, &calls);
}

void session_fini(struct session *x)
{
    conn_fini(&x->conn);
}
