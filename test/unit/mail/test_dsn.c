/* Building a delivery report: what goes wrong, and what stays bounded. Its structure is check_dsn.py's
 * matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/err.h"
#include "node/mail/dsn.h"

static const struct mail_dsn_rcpt rcpt = { .address = SPAN_LIT("a@b.test"), .status = { 5, 1, 1 } };
static const struct envelope original = { .mail_from = SPAN_LIT("s@t.test"),
                                          .size = 1 << 20,
                                          .header_bytes = 100 };

static struct mail_dsn report(void)
{
    return (struct mail_dsn){ .original = &original,
                              .rcpts = &rcpt,
                              .nrcpts = 1,
                              .reporting_mta = SPAN_LIT("out.test"),
                              .message_id = SPAN_LIT("<r@out.test>"),
                              .full = true,
                              .full_max_bytes = 1 << 20 };
}

struct reader {
    size_t left;
    int err; /* after the last block */
};

static int read_block(void *ctx, const char **p, size_t *n)
{
    static const char block[65536] = "x";
    struct reader *r = ctx;
    if (r->left == 0 && r->err != 0)
        return r->err;
    *n = r->left < sizeof block ? r->left : sizeof block;
    *p = block;
    r->left -= *n;
    return 0;
}

static int run(const struct mail_dsn *d, struct reader *r, size_t max, size_t *bytes, size_t *largest)
{
    struct mail_dsn_builder b;
    struct buf out;
    int more = 1;
    buf_init(&out, max);
    mail_dsn_start(&b, d, read_block, r);
    for (*bytes = *largest = 0; more == 1; buf_reset(&out)) {
        more = mail_dsn_next(&b, &out);
        *bytes += out.len;
        *largest = out.len > *largest ? out.len : *largest;
    }
    buf_fini(&out);
    return more;
}

static void blocks(void **state)
{
    (void)state;
    struct mail_dsn d = report();
    struct reader r = { .left = 1 << 20 };
    size_t bytes, largest;
    assert_int_equal(run(&d, &r, 1 << 17, &bytes, &largest), 0);
    assert_int_equal(r.left, 0);
    assert_int_equal(largest, 65536);
    assert_in_range(bytes, 1 << 20, (1 << 20) + 4096);

    /* the header only: of the content no more than that is written, and one block read */
    d.full = false;
    r = (struct reader){ .left = 1 << 20 };
    assert_int_equal(run(&d, &r, 1 << 17, &bytes, &largest), 0);
    assert_int_equal(r.left, (1 << 20) - 65536);
    assert_in_range(bytes, 100, 4096);
}

/* To an address in ASCII a message in UTF-8 goes encoded: in steps of a size of our own then. */
static void encoded_blocks(void **state)
{
    (void)state;
    struct envelope global = original;
    struct mail_dsn d = report();
    struct reader r = { .left = 1 << 20 };
    size_t bytes, largest, lines = ((1 << 20) + 56) / 57, encoded = ((1 << 20) + 2) / 3 * 4 + 2 * lines;
    global.flags = ENVELOPE_SMTPUTF8;
    d.original = &global;
    assert_int_equal(run(&d, &r, 32768, &bytes, &largest), 0);
    assert_int_equal(r.left, 0);
    assert_in_range(bytes, encoded, encoded + 4096);

    /* less content than was announced, and an error after some of it */
    r = (struct reader){ .left = 1000 };
    assert_int_equal(run(&d, &r, 32768, &bytes, &largest), 0);
    assert_in_range(bytes, 1336 + 36, 4096);
    r = (struct reader){ .left = 70000, .err = ERR_CORRUPT };
    assert_int_equal(run(&d, &r, 32768, &bytes, &largest), ERR_CORRUPT);

    global.mail_from = SPAN_LIT("\xc3\xa9@t.test");
    r = (struct reader){ .left = 1 << 20 };
    assert_int_equal(run(&d, &r, 1 << 17, &bytes, &largest), 0);
    assert_int_equal(largest, 65536);
}

/* Which transport it needs is decided by the address that it goes to, then by what is returned. */
static void needs(void **state)
{
    static const struct {
        const char *from;
        uint8_t flags, body;
        bool utf8, eight_bit;
    } cases[] = {
        { "s@t.test", 0, ENVELOPE_BODY_7BIT, false, false },
        { "s@t.test", ENVELOPE_BODY_IS_8BIT, ENVELOPE_BODY_7BIT, false, true },
        { "s@t.test", 0, ENVELOPE_BODY_8BITMIME, false, true },
        { "s@t.test", ENVELOPE_SMTPUTF8, ENVELOPE_BODY_7BIT, false, false },
        { "s@t.test", ENVELOPE_SMTPUTF8 | ENVELOPE_BODY_IS_8BIT, ENVELOPE_BODY_8BITMIME, false, false },
        { "\xc3\xa9@t.test", ENVELOPE_SMTPUTF8, ENVELOPE_BODY_7BIT, true, true },
        { "s@t\xc3\xa9.test", 0, ENVELOPE_BODY_7BIT, true, true },
        { "\xff@t.test", 0, ENVELOPE_BODY_7BIT, false, false },
    };
    static const struct mail_dsn_rcpt utf8 = { .address = SPAN_LIT("\xc3\xa9@b.test"),
                                               .orcpt = SPAN_LIT("utf-8;\xc3\xa9@b.test"),
                                               .diagnostic = SPAN_LIT("550 \xc3\xa9") };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct envelope e = original;
        struct mail_dsn d = report();
        d.original = &e;
        e.mail_from = span_str(cases[i].from);
        e.flags = cases[i].flags;
        e.body = cases[i].body;
        for (int j = 0; j < 2; j++) {
            d.rcpts = j == 0 ? &rcpt : &utf8;
            assert_int_equal(mail_dsn_is_utf8(&d), cases[i].utf8);
            assert_int_equal(mail_dsn_is_8bit(&d), cases[i].eight_bit);
        }
    }
}

static void content_ends_early(void **state)
{
    (void)state;
    struct mail_dsn d = report();
    struct reader r = { .left = 1000 };
    size_t bytes, largest;
    assert_int_equal(run(&d, &r, 1 << 17, &bytes, &largest), 0);
    assert_in_range(bytes, 1000, 4096);
}

static void errors_come_through(void **state)
{
    (void)state;
    struct mail_dsn d = report();
    struct reader r = { .left = 70000, .err = ERR_CORRUPT };
    size_t bytes, largest;
    assert_int_equal(run(&d, &r, 1 << 17, &bytes, &largest), ERR_CORRUPT);
    assert_int_equal(run(&d, &r, 64, &bytes, &largest), ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(blocks), cmocka_unit_test(encoded_blocks),
                                        cmocka_unit_test(needs), cmocka_unit_test(content_ends_early),
                                        cmocka_unit_test(errors_come_through) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
