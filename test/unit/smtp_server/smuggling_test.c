/* SMTP smuggling (CVE-2023-51764, -51765, -51766): each sequence that some server takes for the end of
 * content, with a whole transaction behind it, split at every byte, in DATA and in BDAT, refused and
 * normalised.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/smtp_server/harness.h"

#include <stdio.h>

struct sequence {
    struct span octets;
    const char *refusal;
    bool taken_normalised; /* it has no fault but bare LF */
};

#define SEQ(s)                                                                                               \
    {                                                                                                        \
        "" s, sizeof(s) - 1                                                                                  \
    }

static const struct sequence sequences[] = {
    { SEQ("\n.\n"), "550 5.5.2 ", true },        { SEQ("\n.\r"), "550 5.5.2 ", false },
    { SEQ("\r.\n"), "550 5.5.2 ", false },       { SEQ("\r.\r"), "550 5.5.2 ", false },
    { SEQ("\n.\r\n"), "550 5.5.2 ", true },      { SEQ("\r.\r\n"), "550 5.5.2 ", false },
    { SEQ("\r\n.\n"), "550 5.5.2 ", true },      { SEQ("\r\n.\r"), "550 5.5.2 ", false },
    { SEQ("\r\n\0.\r\n"), "550 5.6.0 ", false }, { SEQ("\r\n.\0\r\n"), "550 5.6.0 ", false },
    { SEQ("\r\n.\r\r\n"), "550 5.5.2 ", false }, { SEQ("\r\r\n.\r\r\n"), "550 5.5.2 ", false },
};
#define SEQUENCES (sizeof sequences / sizeof sequences[0])

#define BEGIN "MAIL FROM:<honest@a.test>\r\nRCPT TO:<one@b.test>\r\n"
#define HEAD "Subject: x\r\n\r\nfirst"
#define SMUGGLED                                                                                             \
    "MAIL FROM:<admin@b.test>\r\nRCPT TO:<victim@b.test>\r\nDATA\r\nFrom: "                                  \
    "admin@b.test\r\n\r\nsmuggled\r\n.\r\n"

static const struct smtp_server_config strict = {
    .kind = SMTP_LISTENER_RELAY, .hostname = "mx.test", .max_errors = 20, .max_message_bytes = 100000
};

static struct buf stream(const struct sequence *seq, bool bdat)
{
    struct buf b, content;
    buf_init(&b, 4096);
    buf_init(&content, 4096);
    buf_put_str(&content, HEAD);
    buf_put_span(&content, seq->octets);
    buf_put_str(&content, SMUGGLED);
    buf_put_str(&b, BEGIN);
    if (bdat)
        buf_printf(&b, "BDAT %zu LAST\r\n", content.len);
    else
        buf_put_str(&b, "DATA\r\n");
    buf_put_span(&b, buf_span(&content));
    buf_fini(&content);
    assert_int_equal(buf_err(&b), 0);
    return b;
}

static void harness_start(struct harness *h, const struct smtp_server_config *config)
{
    harness_init(h, config);
    smtp_server_greet(h->s, NULL);
    harness_feed_str(h, "EHLO c\r\n");
    buf_reset(&h->reply);
}

static bool holds(const struct buf *b, const char *what)
{
    return memmem(b->data, b->len, what, strlen(what)) != NULL;
}

static void check_refused(const struct harness *h, const struct sequence *seq)
{
    assert_true(h->closed);
    assert_int_equal(h->commits, 0);
    assert_true(holds(&h->reply, seq->refusal));
    /* MAIL, RCPT, and perhaps 354, then the refusal: nothing of the smuggled transaction was answered */
    unsigned lines = 0;
    for (size_t i = 0; i < h->reply.len; i++)
        lines += h->reply.data[i] == '\n';
    assert_in_range(lines, 3, 4);
    harness_check_replies(h);
}

static void check_one(const struct harness *h)
{
    assert_false(h->closed);
    assert_int_equal(h->commits, 1);
    const struct harness_message *m = &h->kept[0];
    assert_true(span_eq(buf_span(&m->from), SPAN_LIT("honest@a.test")));
    assert_true(span_eq(buf_span(&m->rcpts), SPAN_LIT("one@b.test")));
    assert_true(holds(&m->body, "MAIL FROM:<admin@b.test>\r\n"));
    assert_false(holds(&m->body, "\r\n.\r\nMAIL") && !holds(&m->body, "first\r\n"));
    harness_check_replies(h);
}

static void run(const struct smtp_server_config *config, bool bdat)
{
    for (size_t i = 0; i < SEQUENCES; i++) {
        struct buf in = stream(&sequences[i], bdat);
        bool taken = config->normalise_bare_lf && sequences[i].taken_normalised;
        for (size_t cut = 0; cut <= in.len; cut++) {
            struct harness h;
            harness_start(&h, config);
            harness_feed(&h, in.data, cut);
            harness_feed(&h, in.data + cut, in.len - cut);
            if (taken)
                check_one(&h);
            else
                check_refused(&h, &sequences[i]);
            harness_fini(&h);
        }
        buf_fini(&in);
    }
}

static void test_data(void **state)
{
    (void)state;
    run(&strict, false);
}

static void test_bdat(void **state)
{
    (void)state;
    run(&strict, true);
}

static void test_normalised(void **state)
{
    (void)state;
    struct smtp_server_config config = strict;
    config.normalise_bare_lf = true;
    run(&config, false);
    run(&config, true);
}

/* The same in three pieces, at all pairs of places around the sequence. */
static void test_three_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < SEQUENCES; i++) {
        struct buf in = stream(&sequences[i], false);
        size_t from = sizeof(BEGIN "DATA\r\n" HEAD) - 3, to = from + sequences[i].octets.n + 4;
        for (size_t a = from; a < to; a++) {
            for (size_t b = a; b < to; b++) {
                struct harness h;
                harness_start(&h, &strict);
                harness_feed(&h, in.data, a);
                harness_feed(&h, in.data + a, b - a);
                harness_feed(&h, in.data + b, in.len - b);
                check_refused(&h, &sequences[i]);
                harness_fini(&h);
            }
        }
        buf_fini(&in);
    }
}

/* A chunk may end anywhere, also within a CRLF; where it does must not matter. */
static void test_chunk_boundaries(void **state)
{
    (void)state;
    static const char text[] = "A: b\r\n\r\n.\r\n..x\r\n.";
    const size_t n = sizeof text - 1;
    for (size_t cut = 0; cut <= n; cut++) {
        struct harness h;
        char command[64];
        harness_start(&h, &strict);
        harness_feed_str(&h, BEGIN);
        snprintf(command, sizeof command, "BDAT %zu\r\n", cut);
        harness_feed_str(&h, command);
        harness_feed(&h, text, cut);
        snprintf(command, sizeof command, "BDAT %zu LAST\r\n", n - cut);
        harness_feed_str(&h, command);
        harness_feed(&h, text + cut, n - cut);
        assert_int_equal(h.commits, 1);
        assert_true(span_eq(buf_span(&h.kept[0].body), SPAN_LIT("A: b\r\n\r\n.\r\n..x\r\n.\r\n")));
        harness_fini(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_bdat),
        cmocka_unit_test(test_normalised),
        cmocka_unit_test(test_three_pieces),
        cmocka_unit_test(test_chunk_boundaries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
