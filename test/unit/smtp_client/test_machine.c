/* What dialogues cannot show: many transactions on one connection, large ones, windows, and the values that
 * this folder shares with the envelope without including it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/smtp/client.h"
#include "spool/envelope.h"

_Static_assert((int)SMTP_CLIENT_NOTIFY_NEVER == (int)ENVELOPE_NOTIFY_NEVER, "notify");
_Static_assert((int)SMTP_CLIENT_NOTIFY_SUCCESS == (int)ENVELOPE_NOTIFY_SUCCESS, "notify");
_Static_assert((int)SMTP_CLIENT_NOTIFY_FAILURE == (int)ENVELOPE_NOTIFY_FAILURE, "notify");
_Static_assert((int)SMTP_CLIENT_NOTIFY_DELAY == (int)ENVELOPE_NOTIFY_DELAY, "notify");
_Static_assert((int)SMTP_CLIENT_RET_FULL == (int)ENVELOPE_RET_FULL, "ret");
_Static_assert((int)SMTP_CLIENT_RET_HDRS == (int)ENVELOPE_RET_HDRS, "ret");

static const struct smtp_client_config config = { .ehlo_name = "out.test" };

static void say(struct smtp_client *c, const char *text)
{
    smtp_client_input(c, text, strlen(text));
}

static struct smtp_client *greeted(struct buf *out, const char *ehlo)
{
    struct smtp_client *c = smtp_client_new(&config, out);
    say(c, "220 hi\r\n");
    say(c, ehlo);
    assert_int_equal(smtp_client_want(c), SMTP_CLIENT_WANT_MAIL);
    buf_reset(out);
    return c;
}

static size_t count(const struct buf *out, const char *what)
{
    size_t n = 0;
    const char *p = out->data, *end = p + out->len;
    while (p < end && (p = memmem(p, (size_t)(end - p), what, strlen(what))) != NULL) {
        n++;
        p++;
    }
    return n;
}

static void thousands_without_growth(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 18);
    struct smtp_client *c = greeted(&out, "250-mx\r\n250 PIPELINING\r\n");
    struct smtp_client_rcpt rcpt = { .address = SPAN_LIT("a@b.test") };
    struct smtp_client_mail mail = { .from = SPAN_LIT("s@t.test"), .nrcpts = 1, .rcpts = &rcpt };
    size_t before = 0;
    for (int i = 0; i < 20000; i++) {
        smtp_client_send(c, &mail);
        assert_int_equal(count(&out, "\r\n"), 3);
        buf_reset(&out);
        say(c, "250 ok\r\n250 ok\r\n354 go\r\n");
        assert_int_equal(smtp_client_want(c), SMTP_CLIENT_WANT_BODY);
        smtp_client_body_sent(c);
        say(c, "250 2.0.0 queued\r\n");
        assert_int_equal(smtp_client_results(c)[0].class, SMTP_CLIENT_OK);
        smtp_client_next(c);
        if (i == 10)
            before = mallinfo2().uordblks;
    }
    assert_int_equal(mallinfo2().uordblks, before);
    assert_int_equal(smtp_client_transactions(c), 20000);
    smtp_client_free(c);
    buf_fini(&out);
}

/* 1000 recipients: at most 100 unanswered, DATA once with the last, one refused in the middle. */
static void window(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct buf out;
    buf_init(&out, 1 << 18);
    struct smtp_client *c = greeted(&out, "250-mx\r\n250 PIPELINING\r\n");
    struct smtp_client_rcpt *rcpts = calloc(N, sizeof *rcpts);
    char(*names)[32] = calloc(N, sizeof *names);
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "u%d@b.test", i);
        rcpts[i].address = span_str(names[i]);
    }
    struct smtp_client_mail mail = { .from = SPAN_LIT("s@t.test"), .nrcpts = N, .rcpts = rcpts };
    smtp_client_send(c, &mail);
    assert_int_equal(count(&out, "RCPT TO"), 100);
    assert_int_equal(count(&out, "DATA"), 0);
    say(c, "250 ok\r\n");
    assert_int_equal(count(&out, "RCPT TO"), 100);
    for (int i = 0; i < N; i++) {
        char line[64];
        snprintf(line, sizeof line, i == 500 ? "550 5.1.1 <%s> no\r\n" : "250 <%s>\r\n", names[i]);
        assert_int_equal(count(&out, "DATA"), i >= N - 100);
        say(c, line);
        assert_int_equal(count(&out, "RCPT TO"), i + 101 > N ? N : i + 101);
    }
    say(c, "354 go\r\n");
    smtp_client_body_sent(c);
    say(c, "250 done\r\n");
    for (int i = 0; i < N; i++)
        assert_int_equal(smtp_client_results(c)[i].class, i == 500 ? SMTP_CLIENT_PERMANENT : SMTP_CLIENT_OK);
    smtp_client_next(c);
    assert_int_equal(smtp_client_want(c), SMTP_CLIENT_WANT_MAIL);
    smtp_client_free(c);
    buf_fini(&out);
    free(rcpts);
    free(names);
}

/* The server takes 50 recipients at a time: 60 need two transactions and no failure. */
static void the_51st_recipient(void **state)
{
    (void)state;
    enum { N = 60, MAX = 50 };
    struct buf out;
    buf_init(&out, 1 << 18);
    struct smtp_client *c = greeted(&out, "250-mx\r\n250 PIPELINING\r\n");
    static struct smtp_client_rcpt rcpts[N];
    for (int i = 0; i < N; i++)
        rcpts[i].address = SPAN_LIT("a@b.test");
    struct smtp_client_mail mail = { .from = SPAN_LIT("s@t.test"), .nrcpts = N, .rcpts = rcpts };
    for (uint32_t left = N; left > 0;) {
        mail.nrcpts = left;
        smtp_client_send(c, &mail);
        assert_int_equal(count(&out, "RSET"), 0);
        buf_reset(&out);
        say(c, "250 ok\r\n");
        for (uint32_t i = 0; i < left; i++)
            say(c, i < MAX ? "250 ok\r\n" : "452 4.5.3 too many recipients\r\n");
        say(c, "354 go\r\n");
        smtp_client_body_sent(c);
        say(c, "250 done\r\n");
        const struct smtp_client_result *r = smtp_client_results(c);
        uint32_t next = 0;
        for (uint32_t i = 0; i < left; i++) {
            assert_int_equal(r[i].class, i < MAX ? SMTP_CLIENT_OK : SMTP_CLIENT_NOT_TRIED);
            next += r[i].class == SMTP_CLIENT_NOT_TRIED;
        }
        left = next;
        smtp_client_next(c);
    }
    assert_int_equal(smtp_client_transactions(c), 2);
    smtp_client_free(c);
    buf_fini(&out);
}

/* Parameters of a kilobyte each: `out` stays small, and the transaction goes on. */
static void long_parameters(void **state)
{
    (void)state;
    enum { N = 300 };
    struct buf out;
    buf_init(&out, 1 << 17);
    struct smtp_client *c = greeted(&out, "250-mx\r\n250-PIPELINING\r\n250 DSN\r\n");
    static char orcpt[1024] = "rfc822;";
    memset(orcpt + 7, '=', sizeof orcpt - 7);
    static struct smtp_client_rcpt rcpts[N];
    for (int i = 0; i < N; i++)
        rcpts[i] =
            (struct smtp_client_rcpt){ .address = SPAN_LIT("a@b.test"), .orcpt = { orcpt, sizeof orcpt } };
    struct smtp_client_mail mail = { .from = SPAN_LIT("s@t.test"), .nrcpts = N, .rcpts = rcpts };
    smtp_client_send(c, &mail);
    size_t asked = 0;
    for (int i = 0; i <= N; i++) {
        assert_true(out.len < 80000);
        asked += count(&out, "RCPT TO");
        buf_reset(&out);
        say(c, "250 ok\r\n");
        assert_int_equal(smtp_client_want(c), SMTP_CLIENT_WANT_INPUT);
    }
    asked += count(&out, "RCPT TO");
    assert_int_equal(asked, N);
    say(c, "354 go\r\n");
    assert_int_equal(smtp_client_want(c), SMTP_CLIENT_WANT_BODY);
    smtp_client_free(c);
    buf_fini(&out);
}

static void no_room_for_output(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 64);
    struct smtp_client *c = greeted(&out, "250 mx\r\n");
    static char name[200];
    memset(name, 'x', sizeof name);
    struct smtp_client_rcpt rcpt = { .address = SPAN_LIT("a@b.test") };
    struct smtp_client_mail mail = { .from = { name, sizeof name }, .nrcpts = 1, .rcpts = &rcpt };
    smtp_client_send(c, &mail);
    assert_int_equal(smtp_client_want(c), SMTP_CLIENT_WANT_CLOSE);
    assert_int_equal(smtp_client_results(c)[0].class, SMTP_CLIENT_TEMPORARY);
    smtp_client_free(c);
    buf_fini(&out);
}

/* A deadline for the whole reply: bytes alone are no progress. */
static void progress(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 16);
    struct smtp_client *c = smtp_client_new(&config, &out);
    uint32_t seen = smtp_client_progress(c);
    say(c, "220-");
    say(c, "slow\r\n220-still\r\n");
    assert_int_equal(smtp_client_progress(c), seen);
    say(c, "220 done\r\n");
    assert_int_not_equal(smtp_client_progress(c), seen);
    assert_int_equal(smtp_client_deadline_ms(c), 300000);
    smtp_client_free(c);
    buf_fini(&out);
}

/* A reply that began before the dot was written is none to the dot. */
static void reply_begun_before_dot(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 16);
    struct smtp_client *c = greeted(&out, "250-mx\r\n250 PIPELINING\r\n");
    struct smtp_client_rcpt rcpt = { .address = SPAN_LIT("a@b.test") };
    struct smtp_client_mail mail = { .nrcpts = 1, .rcpts = &rcpt };
    smtp_client_send(c, &mail);
    say(c, "250 ok\r\n250 ok\r\n354 go\r\n25");
    assert_int_equal(smtp_client_want(c), SMTP_CLIENT_WANT_BODY);
    smtp_client_body_sent(c);
    say(c, "0 queued\r\n");
    assert_int_equal(smtp_client_want(c), SMTP_CLIENT_WANT_CLOSE);
    assert_int_equal(smtp_client_results(c)[0].class, SMTP_CLIENT_TEMPORARY);
    smtp_client_free(c);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thousands_without_growth), cmocka_unit_test(window),
        cmocka_unit_test(the_51st_recipient),       cmocka_unit_test(long_parameters),
        cmocka_unit_test(no_room_for_output),       cmocka_unit_test(progress),
        cmocka_unit_test(reply_begun_before_dot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
