/* A shell around the server machine for tests. See the header. */
#include "test/unit/smtp_server/harness.h"

#include "base/ensure.h"

#include <stdlib.h>

void harness_init(struct harness *h, const struct smtp_server_config *config)
{
    *h = (struct harness){ 0 };
    buf_init(&h->reply, 1u << 22);
    buf_init(&h->unread, 1u << 24);
    buf_init(&h->all_rcpts, 1u << 22);
    buf_init(&h->body, 1u << 24);
    h->s = smtp_server_new(config, &h->reply);
    ensure(h->s != NULL);
}

static void message_fini(struct harness_message *m)
{
    buf_fini(&m->from);
    buf_fini(&m->rcpts);
    buf_fini(&m->body);
}

void harness_fini(struct harness *h)
{
    smtp_server_free(h->s);
    for (uint32_t i = 0; i < h->messages && i < HARNESS_MESSAGES; i++)
        message_fini(&h->kept[i]);
    buf_fini(&h->reply);
    buf_fini(&h->unread);
    buf_fini(&h->all_rcpts);
    buf_fini(&h->body);
}

static const struct smtp_reply *ask(struct harness *h, enum smtp_server_want want)
{
    return h->answer == NULL ? NULL : h->answer(h->ctx, want, h->offset);
}

static bool refuses(const struct smtp_reply *reply)
{
    return reply != NULL && reply->code >= 400;
}

static void message_keep(struct harness *h)
{
    ensure(h->transaction_open);
    h->commits++;
    if (h->messages == HARNESS_MESSAGES)
        return;
    struct harness_message *m = &h->kept[h->messages++];
    buf_init(&m->from, 4096);
    buf_init(&m->rcpts, 1u << 22);
    buf_init(&m->body, 1u << 24);
    buf_put_span(&m->from, smtp_server_mail(h->s)->from.text);
    buf_put_span(&m->rcpts, buf_span(&h->all_rcpts));
    buf_put_span(&m->body, buf_span(&h->body));
}

static void take_spans(struct harness *h, const struct smtp_server_result *r)
{
    for (uint32_t i = 0; i < r->nspans; i++) {
        ensure(r->spans[i].n > 0);
        ensure(memchr(r->spans[i].p, '\0', r->spans[i].n) == NULL);
        buf_put_span(&h->body, r->spans[i]);
    }
    ensure(r->nspans == 0 || h->transaction_open);
}

/* Content that is to be stored has CRLF lines and nothing else. */
static void body_check(const struct buf *body)
{
    ensure(body->err == 0);
    for (size_t i = 0; i < body->len; i++) {
        if (body->data[i] == '\r') {
            ensure(i + 1 < body->len);
            ensure(body->data[i + 1] == '\n');
        } else if (body->data[i] == '\n') {
            ensure(i > 0);
            ensure(body->data[i - 1] == '\r');
        }
    }
    ensure(body->len == 0 || body->data[body->len - 1] == '\n');
}

static void transaction_forget(struct harness *h)
{
    h->transaction_open = false;
    buf_reset(&h->all_rcpts);
    buf_reset(&h->body);
}

static void act_rcpt(struct harness *h)
{
    const struct smtp_reply *reply = ask(h, SMTP_SERVER_WANT_RCPT);
    struct span to = smtp_server_rcpt(h->s)->to.text;
    ensure(h->transaction_open);
    ensure(to.n > 0);
    if (!refuses(reply)) {
        if (h->all_rcpts.len > 0)
            buf_put_char(&h->all_rcpts, ',');
        buf_put_span(&h->all_rcpts, to);
    }
    smtp_server_on_rcpt(h->s, reply);
}

static void act_commit(struct harness *h)
{
    const struct smtp_reply *reply = ask(h, SMTP_SERVER_WANT_COMMIT);
    body_check(&h->body);
    ensure(smtp_server_rcpts_accepted(h->s) > 0);
    if (!refuses(reply))
        message_keep(h);
    smtp_server_on_commit(h->s, reply);
    transaction_forget(h);
}

static void act(struct harness *h, enum smtp_server_want want)
{
    const struct smtp_reply *reply;
    switch (want) {
    case SMTP_SERVER_WANT_INPUT:
        break;
    case SMTP_SERVER_WANT_TLS:
        ensure(h->unread.len == 0);
        transaction_forget(h);
        smtp_server_on_tls(h->s, !h->tls_fails);
        break;
    case SMTP_SERVER_WANT_AUTH:
        ensure(smtp_server_auth(h->s)->authcid.n > 0);
        smtp_server_on_auth(h->s, ask(h, want));
        ensure(smtp_server_auth(h->s) == NULL);
        break;
    case SMTP_SERVER_WANT_MAIL:
        ensure(!h->transaction_open);
        reply = ask(h, want);
        h->transaction_open = !refuses(reply);
        smtp_server_on_mail(h->s, reply);
        break;
    case SMTP_SERVER_WANT_RCPT:
        act_rcpt(h);
        break;
    case SMTP_SERVER_WANT_BODY:
        smtp_server_on_body(h->s, ask(h, want));
        break;
    case SMTP_SERVER_WANT_COMMIT:
        act_commit(h);
        break;
    case SMTP_SERVER_WANT_ABORT:
        ensure(h->transaction_open);
        h->aborts++;
        transaction_forget(h);
        break;
    case SMTP_SERVER_WANT_CLOSE:
        h->closed = true;
        break;
    }
}

void harness_feed(struct harness *h, const char *p, size_t n)
{
    /* an allocation of the exact size, so that a sanitizer sees a read past the end */
    size_t have = h->unread.len + n;
    char *in = malloc(have == 0 ? 1 : have);
    ensure(in != NULL);
    if (h->unread.len > 0)
        memcpy(in, h->unread.data, h->unread.len);
    if (n > 0)
        memcpy(in + h->unread.len, p, n);
    buf_reset(&h->unread);
    size_t at = 0;
    struct smtp_server_result r;
    bool more = !h->closed;
    while (more) {
        smtp_server_step(h->s, in + at, have - at, &r);
        ensure(r.consumed <= have - at);
        ensure(r.nspans <= SMTP_SERVER_SPANS);
        at += r.consumed;
        h->offset += r.consumed;
        take_spans(h, &r);
        const struct smtp_reply *bad =
            r.nspans > 0 && h->content != NULL ? h->content(h->ctx, r.want, h->offset) : NULL;
        if (bad != NULL)
            smtp_server_refuse_content(h->s, bad);
        if (bad != NULL && r.want == SMTP_SERVER_WANT_COMMIT)
            transaction_forget(h);
        else
            act(h, r.want);
        more = !h->closed && (r.consumed > 0 || r.want != SMTP_SERVER_WANT_INPUT);
    }
    if (!h->closed)
        buf_put(&h->unread, in + at, have - at);
    free(in);
}

void harness_feed_str(struct harness *h, const char *s)
{
    harness_feed(h, s, strlen(s));
}

void harness_check_replies(const struct harness *h)
{
    const char *p = h->reply.data, *end = p + h->reply.len;
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        ensure(lf != NULL);
        size_t n = (size_t)(lf + 1 - p);
        ensure(n >= 6);
        ensure(n <= 512);
        ensure(lf[-1] == '\r');
        for (size_t i = 0; i + 2 < n; i++) {
            ensure(p[i] >= 0x20);
            ensure(p[i] < 0x7f);
        }
        ensure(p[0] >= '2');
        ensure(p[0] <= '5');
        ensure(p[1] >= '0' && p[1] <= '9');
        ensure(p[2] >= '0' && p[2] <= '9');
        ensure(p[3] == ' ' || p[3] == '-');
        p = lf + 1;
    }
}
