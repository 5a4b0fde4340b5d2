/* What dialogues cannot show: memory, late answers, phases, the order of wants, the bound of replies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/smtp/arena.h"
#include "node/smtp/server_impl.h"
#include "test/unit/smtp_server/harness.h"

#include <stdio.h>
#include <stdlib.h>

static const struct smtp_server_config config = {
    .kind = SMTP_LISTENER_RELAY,
    .hostname = "mx.test",
    .max_message_bytes = 1u << 24,
    .max_errors = 20,
    .offer_auth = true,
    .auth_without_tls = true,
};

struct bare { /* a machine without the harness, stepped by hand */
    struct smtp_server *s;
    struct buf reply;
    struct smtp_server_result r;
};

static void start(struct bare *b)
{
    buf_init(&b->reply, 1u << 16);
    b->s = smtp_server_new(&config, &b->reply);
    assert_non_null(b->s);
    smtp_server_greet(b->s, NULL);
}

static void stop(struct bare *b)
{
    smtp_server_free(b->s);
    buf_fini(&b->reply);
}

static enum smtp_server_want step(struct bare *b, const char *in)
{
    smtp_server_step(b->s, in, strlen(in), &b->r);
    return b->r.want;
}

static bool replied(struct bare *b, const char *text)
{
    bool same = span_eq(buf_span(&b->reply), span_str(text));
    if (!same)
        print_error("%.*s\n", (int)b->reply.len, b->reply.data);
    buf_reset(&b->reply);
    return same;
}

static void to_rcpt(struct bare *b)
{
    step(b, "EHLO c\r\n");
    assert_int_equal(step(b, "MAIL FROM:<a@b.test>\r\n"), SMTP_SERVER_WANT_MAIL);
    smtp_server_on_mail(b->s, NULL);
    assert_int_equal(step(b, "RCPT TO:<c@d.test>\r\n"), SMTP_SERVER_WANT_RCPT);
    smtp_server_on_rcpt(b->s, NULL);
    buf_reset(&b->reply);
}

/* The name's syntax counts only where it is asked for, by EHLO and HELO; a wrong one is an error, and no end. */
static void test_helo_strict(void **state)
{
    (void)state;
    struct bare b;
    start(&b);
    buf_reset(&b.reply);
    step(&b, "HELO my_printer\r\n");
    assert_true(replied(&b, "250 mx.test\r\n"));
    stop(&b);
    start(&b);
    buf_reset(&b.reply);
    smtp_server_helo_strict(b.s);
    static const char *const bad[] = { "EHLO my_printer\r\n", "HELO 192.0.2.1\r\n", "EHLO [192.0.2.300]\r\n" };
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(step(&b, bad[i]), SMTP_SERVER_WANT_INPUT);
        assert_true(replied(&b, "501 5.5.2 Not a host name or [address] by RFC 5321 section 4.1.1.1: correct "
                                "your EHLO name\r\n"));
        assert_int_equal(smtp_server_errors(b.s), i + 1);
        assert_int_equal(smtp_server_helo(b.s).n, 0);
    }
    step(&b, "MAIL FROM:<a@b.test>\r\n");
    assert_true(replied(&b, "503 5.5.1 Send EHLO or HELO first\r\n"));
    step(&b, "HELO [IPv6:2001:db8::1]\r\n");
    assert_true(replied(&b, "250 mx.test\r\n"));
    step(&b, "EHLO printer\r\n");
    assert_true(span_eq(smtp_server_helo(b.s), SPAN_LIT("printer")));
    stop(&b);
}

/* 10,000 idle connections in 200 MiB, with everything else that a connection has. */
static void test_idle_is_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct smtp_server) <= 256);
    struct bare b;
    start(&b);
    to_rcpt(&b);
    assert_true(b.s->arena.held > 0);
    assert_int_equal(step(&b, "RSET\r\n"), SMTP_SERVER_WANT_ABORT);
    step(&b, "");
    assert_int_equal(b.s->arena.held, 0);
    assert_null(b.s->auth);
    stop(&b);
}

/* While a want is out nothing is consumed, and what waits is handled in order afterwards. */
static void test_waiting_consumes_nothing(void **state)
{
    (void)state;
    struct bare b;
    start(&b);
    step(&b, "EHLO c\r\n");
    buf_reset(&b.reply);
    const char *in = "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRSET\r\n";
    size_t line = strlen("MAIL FROM:<a@b.test>\r\n");
    assert_int_equal(step(&b, in), SMTP_SERVER_WANT_MAIL);
    assert_int_equal(b.r.consumed, line);
    assert_int_equal(step(&b, in + line), SMTP_SERVER_WANT_MAIL);
    assert_int_equal(b.r.consumed, 0);
    assert_int_equal(smtp_server_phase(b.s), SMTP_SERVER_PHASE_WAIT);
    assert_true(replied(&b, ""));
    smtp_server_on_mail(b.s, NULL);
    assert_int_equal(step(&b, in + line), SMTP_SERVER_WANT_RCPT);
    assert_true(span_eq(smtp_server_rcpt(b.s)->to.domain, SPAN_LIT("d.test")));
    smtp_server_on_rcpt(b.s, NULL);
    assert_int_equal(smtp_server_rcpts_accepted(b.s), 1);
    assert_int_equal(step(&b, "RSET\r\n"), SMTP_SERVER_WANT_ABORT);
    assert_false(smtp_server_in_transaction(b.s));
    assert_int_equal(step(&b, ""), SMTP_SERVER_WANT_INPUT);
    assert_true(replied(&b, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n250 2.0.0 Ok\r\n"));
    stop(&b);
}

/* A refused MAIL opens nothing, so there is nothing to abort. */
static void test_refused_mail_needs_no_abort(void **state)
{
    (void)state;
    struct bare b;
    start(&b);
    step(&b, "EHLO c\r\n");
    assert_int_equal(step(&b, "MAIL FROM:<a@b.test>\r\n"), SMTP_SERVER_WANT_MAIL);
    smtp_server_on_mail(b.s, &(struct smtp_reply){ 553, "5.7.1", "No" });
    assert_int_equal(step(&b, "RSET\r\n"), SMTP_SERVER_WANT_INPUT);
    stop(&b);
}

/* The shell's answer may come when it has already ended the session. */
static void test_late_answers(void **state)
{
    (void)state;
    struct bare b;
    start(&b);
    step(&b, "EHLO c\r\n");
    assert_int_equal(step(&b, "AUTH PLAIN AGEAYg==\r\n"), SMTP_SERVER_WANT_AUTH);
    buf_reset(&b.reply);
    smtp_server_quit(b.s, &(struct smtp_reply){ 421, "4.4.2", "Timeout" });
    assert_non_null(smtp_server_auth(b.s));
    smtp_server_on_auth(b.s, NULL);
    assert_null(smtp_server_auth(b.s));
    assert_false(smtp_server_authenticated(b.s));
    smtp_server_quit(b.s, &(struct smtp_reply){ 421, "4.4.2", "Again" });
    assert_int_equal(step(&b, "NOOP\r\n"), SMTP_SERVER_WANT_CLOSE);
    assert_int_equal(b.r.consumed, 0);
    assert_true(replied(&b, "421 4.4.2 Timeout\r\n"));
    stop(&b);

    start(&b);
    to_rcpt(&b);
    assert_int_equal(step(&b, "DATA\r\n"), SMTP_SERVER_WANT_BODY);
    smtp_server_on_body(b.s, NULL);
    assert_int_equal(step(&b, "x\r\n.\r\n"), SMTP_SERVER_WANT_COMMIT);
    smtp_server_quit(b.s, NULL);
    smtp_server_on_commit(b.s, NULL);
    smtp_server_refuse_content(b.s, &(struct smtp_reply){ 451, "4.3.0", "No" });
    assert_int_equal(step(&b, ""), SMTP_SERVER_WANT_CLOSE);
    assert_true(replied(&b, "354 End data with <CR><LF>.<CR><LF>\r\n"));
    stop(&b);
}

static void test_phases(void **state)
{
    (void)state;
    struct bare b;
    start(&b);
    assert_int_equal(smtp_server_phase(b.s), SMTP_SERVER_PHASE_COMMAND);
    step(&b, "EHLO c\r\n");
    uint64_t elements = smtp_server_elements(b.s);
    step(&b, "NOO");
    assert_int_equal(smtp_server_elements(b.s), elements);
    step(&b, "AUTH PLAIN\r\n");
    assert_int_equal(smtp_server_elements(b.s), elements + 1);
    assert_int_equal(smtp_server_phase(b.s), SMTP_SERVER_PHASE_AUTH);
    step(&b, "*\r\n");
    to_rcpt(&b);
    step(&b, "DATA\r\n");
    smtp_server_on_body(b.s, NULL);
    assert_int_equal(smtp_server_phase(b.s), SMTP_SERVER_PHASE_BODY);
    elements = smtp_server_elements(b.s);
    step(&b, "x\r\ny\r\n");
    assert_int_equal(smtp_server_elements(b.s), elements);
    stop(&b);
}

/* A refusal that comes with the last octets stands for on_commit. */
static void test_refusal_while_commit_is_out(void **state)
{
    (void)state;
    struct bare b;
    start(&b);
    to_rcpt(&b);
    step(&b, "DATA\r\n");
    smtp_server_on_body(b.s, NULL);
    buf_reset(&b.reply);
    assert_int_equal(step(&b, "x\r\n.\r\n"), SMTP_SERVER_WANT_COMMIT);
    smtp_server_refuse_content(b.s, &(struct smtp_reply){ 554, "5.4.6", "Loop" });
    assert_int_equal(step(&b, ""), SMTP_SERVER_WANT_INPUT);
    assert_true(replied(&b, "554 5.4.6 Loop\r\n"));
    assert_int_equal(smtp_server_errors(b.s), 1);
    stop(&b);
}

/* The texts of a refusal are the caller's only until the call returns. */
static void test_refusal_is_copied(void **state)
{
    (void)state;
    struct bare b;
    start(&b);
    to_rcpt(&b);
    step(&b, "DATA\r\n");
    smtp_server_on_body(b.s, NULL);
    buf_reset(&b.reply);
    char text[] = "Too many hops", enhanced[] = "5.4.6";
    step(&b, "x\r\n");
    smtp_server_refuse_content(b.s, &(struct smtp_reply){ 554, enhanced, text });
    smtp_server_refuse_content(b.s, &(struct smtp_reply){ 451, "4.3.0", "Later" });
    memset(text, '!', sizeof text - 1);
    memset(enhanced, '!', sizeof enhanced - 1);
    assert_int_equal(step(&b, "y\r\n"), SMTP_SERVER_WANT_INPUT);
    assert_int_equal(b.r.nspans, 0);
    assert_int_equal(step(&b, ".\r\n"), SMTP_SERVER_WANT_ABORT);
    assert_true(replied(&b, "554 5.4.6 Too many hops\r\n"));
    stop(&b);
}

/* Recipients without a limit of the listener's: the transaction's memory is the limit, and refused ones cost
 * none. */
static void test_transaction_memory_is_bounded(void **state)
{
    (void)state;
    struct bare b;
    start(&b);
    step(&b, "EHLO c\r\n");
    step(&b, "MAIL FROM:<a@b.test>\r\n");
    smtp_server_on_mail(b.s, NULL);
    size_t held = b.s->arena.held;
    char rcpt[1200];
    snprintf(rcpt, sizeof rcpt, "RCPT TO:<%0200d@b.test> ORCPT=rfc822;%0400d\r\n", 1, 2);
    for (unsigned i = 0; i < 5000; i++) {
        assert_int_equal(step(&b, rcpt), SMTP_SERVER_WANT_RCPT);
        smtp_server_on_rcpt(b.s, &(struct smtp_reply){ 450, "4.7.1", "Later" });
        buf_reset(&b.reply);
    }
    assert_true(b.s->arena.held <= held + 4096);
    unsigned taken = 0;
    while (step(&b, rcpt) == SMTP_SERVER_WANT_RCPT) {
        smtp_server_on_rcpt(b.s, NULL);
        buf_reset(&b.reply);
        taken++;
        assert_true(taken < 10000);
    }
    assert_true(taken > 2000);
    assert_true(b.s->arena.held <= SMTP_SERVER_TRANSACTION_MAX);
    assert_true(replied(&b, "452 4.5.3 Too many recipients\r\n"));
    stop(&b);
}

/* A client that reads no replies: the shell's bound on the buffer ends the session. */
static void test_reply_buffer_full(void **state)
{
    (void)state;
    struct bare b;
    buf_init(&b.reply, 300);
    b.s = smtp_server_new(&config, &b.reply);
    assert_non_null(b.s);
    smtp_server_greet(b.s, NULL);
    step(&b, "EHLO c\r\n");
    unsigned i = 0;
    while (step(&b, "NOOP\r\n") == SMTP_SERVER_WANT_INPUT)
        assert_true(i++ < 100);
    assert_int_equal(b.r.want, SMTP_SERVER_WANT_CLOSE);
    stop(&b);
}

/* Long content passes in few spans and in blocks of any size unchanged. */
static void test_spans(void **state)
{
    (void)state;
    struct buf in, want;
    buf_init(&in, 1u << 22);
    buf_init(&want, 1u << 22);
    for (unsigned i = 0; i < 3000; i++) {
        buf_printf(&in, "%sline %u\r\n", i % 7 == 0 ? ".." : "", i);
        buf_printf(&want, "%sline %u\r\n", i % 7 == 0 ? "." : "", i);
    }
    buf_put_str(&in, ".\r\n");
    for (size_t block = 1; block < 5000; block = block * 3 + 1) {
        struct harness h;
        harness_init(&h, &config);
        smtp_server_greet(h.s, NULL);
        harness_feed_str(&h, "EHLO c\r\n");
        harness_feed_str(&h, "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n");
        for (size_t at = 0; at < in.len; at += block)
            harness_feed(&h, in.data + at, in.len - at < block ? in.len - at : block);
        assert_int_equal(h.commits, 1);
        assert_true(span_eq(buf_span(&h.kept[0].body), buf_span(&want)));
        harness_fini(&h);
    }
    buf_fini(&in);
    buf_fini(&want);

    struct bare b;
    start(&b);
    to_rcpt(&b);
    step(&b, "DATA\r\n");
    smtp_server_on_body(b.s, NULL);
    char block[8192];
    for (size_t i = 0; i < sizeof block; i += 64)
        memcpy(block + i, "123456789012345678901234567890123456789012345678901234567890..\r\n", 64);
    smtp_server_step(b.s, block, sizeof block, &b.r);
    assert_int_equal(b.r.consumed, sizeof block);
    assert_int_equal(b.r.nspans, 1);
    assert_ptr_equal(b.r.spans[0].p, block);
    stop(&b);
}

static void test_arena(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 10000);
    assert_null(arena_alloc(&a, 10001));
    assert_null(arena_alloc(&a, SIZE_MAX));
    char *p = arena_alloc(&a, 100);
    assert_non_null(p);
    memset(p, 1, 100);
    struct arena_mark mark = arena_mark(&a);
    size_t held = a.held;
    for (unsigned i = 0; i < 4; i++) {
        char *q = arena_alloc(&a, 1500);
        assert_non_null(q);
        assert_int_equal((uintptr_t)q % 16, 0);
        memset(q, 2, 1500);
    }
    while (arena_alloc(&a, 1) != NULL)
        assert_true(a.held <= 10000);
    arena_rewind(&a, mark);
    assert_int_equal(a.held, held);
    assert_int_equal(p[99], 1);
    char *again = arena_alloc(&a, 10);
    assert_ptr_equal(again, p + 112);
    arena_reset(&a);
    assert_int_equal(a.held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_helo_strict), cmocka_unit_test(test_idle_is_small),
        cmocka_unit_test(test_waiting_consumes_nothing),
        cmocka_unit_test(test_refused_mail_needs_no_abort),
        cmocka_unit_test(test_late_answers),
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_refusal_while_commit_is_out),
        cmocka_unit_test(test_refusal_is_copied),
        cmocka_unit_test(test_transaction_memory_is_bounded),
        cmocka_unit_test(test_reply_buffer_full),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
