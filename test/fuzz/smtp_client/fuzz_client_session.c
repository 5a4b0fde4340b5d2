/* A hostile server against the client machine. The first bytes choose the configuration and the message, the
 * rest is what the server sends; 0x01 cuts the input, 0x02 ends the connection. Checked: what goes out is
 * well-formed, a recipient is delivered only after the dot was sent, and every transaction ends with a result
 * for each recipient.
 */
#include "base/ensure.h"
#include "node/smtp/client.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RCPTS = 130 };

struct run {
    struct smtp_client *c;
    struct buf out;
    struct smtp_client_mail mail;
    struct smtp_client_rcpt rcpts[RCPTS];
    bool in_transaction, dot_sent;
    uint32_t messages;
};

static void check_out(struct run *run)
{
    for (size_t i = 0; i < run->out.len; i++) {
        char ch = run->out.data[i];
        ensure(ch != '\0');
        if (ch == '\n')
            ensure(i > 0 && run->out.data[i - 1] == '\r');
        if (ch == '\r')
            ensure(i + 1 < run->out.len && run->out.data[i + 1] == '\n');
    }
    ensure(run->out.len < 400000);
    buf_reset(&run->out);
}

static void check_results(struct run *run)
{
    const struct smtp_client_result *results = smtp_client_results(run->c);
    ensure(results != NULL);
    for (uint32_t i = 0; i < run->mail.nrcpts; i++) {
        ensure(results[i].class <= SMTP_CLIENT_NOT_TRIED);
        ensure(results[i].class != SMTP_CLIENT_OK || run->dot_sent);
        ensure(results[i].reply.code >= 200 && results[i].reply.code <= 599);
        ensure(results[i].reply.text[results[i].reply.len] == '\0');
    }
    run->in_transaction = false;
}

/* Does what is wanted; false at the end of the session. */
static bool serve(struct run *run)
{
    static const char body[] = ".x\r\n.\r\ny\n.\n\rz";
    struct smtp_stuff st = { .at_line_start = true };
    check_out(run);
    switch (smtp_client_want(run->c)) {
    case SMTP_CLIENT_WANT_INPUT:
        return true;
    case SMTP_CLIENT_WANT_TLS:
        smtp_client_on_tls(run->c, run->messages % 3 != 1, "no");
        return true;
    case SMTP_CLIENT_WANT_MAIL:
        if (run->messages == 8) {
            smtp_client_quit(run->c);
            return true;
        }
        run->messages++;
        run->in_transaction = true;
        run->dot_sent = false;
        smtp_client_send(run->c, &run->mail);
        return true;
    case SMTP_CLIENT_WANT_BODY:
        if (run->messages == 5) {
            smtp_client_body_failed(run->c, "no");
            return true;
        }
        smtp_stuff_put(&st, body, sizeof body - 1, &run->out);
        smtp_stuff_end(&st, &run->out);
        run->dot_sent = true;
        smtp_client_body_sent(run->c);
        return true;
    case SMTP_CLIENT_WANT_RESULT:
        check_results(run);
        smtp_client_next(run->c);
        return true;
    case SMTP_CLIENT_WANT_CLOSE:
        if (run->in_transaction)
            check_results(run);
        return false;
    }
    ensure(false);
    return false;
}

static bool serve_all(struct run *run)
{
    for (int i = 0; i < 20; i++) {
        enum smtp_client_want before = smtp_client_want(run->c);
        if (!serve(run))
            return false;
        if (before == SMTP_CLIENT_WANT_INPUT)
            break;
    }
    return true;
}

static void choose(struct run *run, const uint8_t *data, struct smtp_client_config *config)
{
    static const char *const froms[] = { "", "s@t.test", "\xc3\xbc@t.test", "a\rb@t.test" };
    static const char *const tos[] = { "a@b.test", "\xc3\xbc@b.test", "x\ny@b.test", "c@d.test", "nodomain" };
    *config = (struct smtp_client_config){ .ehlo_name = "out.test", .tls = data[0] & 3 };
    if ((data[0] & 4) != 0) {
        config->auth_user = "me";
        config->auth_password = "secret";
    }
    config->auth_without_tls = (data[0] & 8) != 0;
    config->eightbit_bounce = (data[0] & 16) != 0;
    run->mail = (struct smtp_client_mail){ .from = span_str(froms[data[1] & 3]),
                                           .ret = (data[1] >> 2) % 3,
                                           .size = data[1] * 10u,
                                           .smtputf8 = (data[1] & 16) != 0,
                                           .content_8bit = (data[1] & 32) != 0,
                                           .requiretls = data[1] > 250,
                                           .envid = SPAN_LIT("e=\xff+ 1"),
                                           .rcpts = run->rcpts };
    run->mail.nrcpts = data[2] > 240 ? RCPTS : 1 + data[2] % 5;
    for (uint32_t i = 0; i < run->mail.nrcpts; i++) {
        run->rcpts[i].address = span_str(tos[(data[3] + i * (data[3] >> 5)) % 5]);
        run->rcpts[i].orcpt =
            i % 2 == 0 ? SPAN_LIT("utf-8;\xc3\xbc\\x{F6}\\=\xff") : SPAN_LIT("rfc822;a+b\x01");
        run->rcpts[i].notify = (data[3] >> 1) & 15;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;
    struct smtp_client_config config;
    if (size < 4)
        return 0;
    run.in_transaction = run.dot_sent = false;
    run.messages = 0;
    choose(&run, data, &config);
    buf_init(&run.out, 1 << 19);
    run.c = smtp_client_new(&config, &run.out);
    ensure(run.c != NULL);
    bool open = serve_all(&run);
    for (size_t at = 4; open && at < size;) {
        size_t n = 0;
        while (at + n < size && data[at + n] != 1 && data[at + n] != 2)
            n++;
        char *copy = malloc(n == 0 ? 1 : n);
        for (size_t i = 0; i < n; i++)
            copy[i] = (char)data[at + i];
        smtp_client_input(run.c, copy, n);
        free(copy);
        if (at + n < size && data[at + n] == 2)
            smtp_client_on_closed(run.c, "connection closed");
        at += n + 1;
        open = serve_all(&run);
    }
    if (open) {
        smtp_client_on_closed(run.c, "timed out");
        while (serve_all(&run))
            ;
    }
    smtp_client_free(run.c);
    buf_fini(&run.out);
    return 0;
}
