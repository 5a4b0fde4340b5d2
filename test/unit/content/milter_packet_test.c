/* Packets of the milter protocol and the header that filters change: what a filter says that means us harm
 * gets neither into a reply nor into a header.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/content/milter_fields.h"
#include "node/content/milter_packet.h"

#include <stdio.h>
#include <string.h>

static void test_lengths(void **state)
{
    (void)state;
    char command;
    struct span data, in = SPAN_LIT("\0\0\0\3yab\0\0\0\1c\0\0");
    assert_int_equal(milter_next(&in, &command, &data), 1);
    assert_int_equal(command, 'y');
    assert_true(span_eq(data, SPAN_LIT("ab")));
    assert_int_equal(milter_next(&in, &command, &data), 1);
    assert_int_equal(command, 'c');
    assert_int_equal(data.n, 0);
    assert_int_equal(milter_next(&in, &command, &data), 0);
    assert_int_equal(in.n, 2);
    in = SPAN_LIT("\0\0\0\0c");
    assert_int_equal(milter_next(&in, &command, &data), ERR_BAD);
    in = SPAN_LIT("\0\1\0\1c");
    assert_int_equal(milter_next(&in, &command, &data), ERR_BAD);
    in = SPAN_LIT("\xff\xff\xff\xff");
    assert_int_equal(milter_next(&in, &command, &data), ERR_BAD);
    in = SPAN_LIT("\0\1\0\0c");
    assert_int_equal(milter_next(&in, &command, &data), 0);
}

static void test_written(void **state)
{
    (void)state;
    static char huge[MILTER_DATA_MAX + 1];
    struct buf b;
    buf_init(&b, 1u << 20);
    assert_int_equal(milter_put(&b, MILTER_HEADER_END, SPAN_LIT("")), 0);
    assert_int_equal(milter_put(&b, MILTER_BODY, SPAN_LIT("xy")), 0);
    assert_true(span_eq(buf_span(&b), SPAN_LIT("\0\0\0\1N\0\0\0\3Bxy")));
    assert_int_equal(milter_put(&b, MILTER_BODY, span_of(huge, sizeof huge)), ERR_LIMIT);
    assert_int_equal(milter_put(&b, MILTER_BODY, span_of(huge, sizeof huge - 1)), 0);
    buf_reset(&b);
    assert_int_equal(milter_put_text(&b, SPAN_LIT("a\0b\0")), 0);
    assert_true(span_eq(buf_span(&b), SPAN_LIT("a?b?\0")));
    buf_reset(&b);
    assert_int_equal(milter_put_text(&b, SPAN_LIT("")), 0);
    assert_true(span_eq(buf_span(&b), SPAN_LIT("\0")));
    buf_fini(&b);
}

static int read_reply(char command, struct span data, struct milter_reply *r)
{
    const char *why = NULL;
    int err = milter_reply_read(command, data, r, &why);
    assert_true((err == 0) == (why == NULL));
    return err;
}

static void test_codes(void **state)
{
    const struct {
        struct span said;
        uint16_t code; /* 0: none */
        const char *enhanced, *text;
    } t[] = {
        { SPAN_LIT("550 5.7.1 no virus here\0"), 550, "5.7.1", "no virus here" },
        { SPAN_LIT("451 come again\0"), 451, "", "come again" },
        { SPAN_LIT("451\0"), 451, "", "" },
        { SPAN_LIT("550 4.7.1 of another class\0"), 550, "", "4.7.1 of another class" },
        { SPAN_LIT("550 5.7.1\0"), 550, "5.7.1", "" },
        { SPAN_LIT("550 5.70.123 x\0"), 550, "5.70.123", "x" },
        { SPAN_LIT("550 5.7.1234 x\0"), 550, "", "5.7.1234 x" },
        { SPAN_LIT("550 5.7 x\0"), 550, "", "5.7 x" },
        { SPAN_LIT("554 100%% spam 5%\0"), 554, "", "100% spam 5%" },
        { SPAN_LIT("554-5.7.1 one\r\n554 5.7.1 two\0"), 554, "5.7.1", "one two" },
        { SPAN_LIT("554-5.7.1 one\n554-\n554 5.7.1 three\n\0"), 554, "5.7.1", "one three" },
        { SPAN_LIT("554 5.7.1 a\x07"
                   "b\x80\rc\0"),
          554, "5.7.1", "a?b??c" },
        { SPAN_LIT("554 5.7.1 text\r\n250 2.0.0 Ok\0"), 0, "", "" },
        { SPAN_LIT("554 5.7.1 text\r\n551 x\0"), 0, "", "" },
        { SPAN_LIT("250 Ok\0"), 0, "", "" },
        { SPAN_LIT("354 go\0"), 0, "", "" },
        { SPAN_LIT("55 x\0"), 0, "", "" },
        { SPAN_LIT("5500 x\0"), 0, "", "" },
        { SPAN_LIT("550 no end"), 0, "", "" },
        { SPAN_LIT("\0"), 0, "", "" },
        { SPAN_LIT(""), 0, "", "" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct milter_reply r;
        assert_int_equal(read_reply('y', t[i].said, &r), t[i].code == 0 ? ERR_BAD : 0);
        if (t[i].code == 0)
            continue;
        assert_int_equal(r.code, t[i].code);
        assert_string_equal(r.enhanced, t[i].enhanced);
        assert_string_equal(r.text, t[i].text);
    }
    char longer[2000] = "550 5.7.1 ";
    struct milter_reply r;
    memset(longer + 10, 'x', sizeof longer - 11);
    assert_int_equal(read_reply('y', span_of(longer, sizeof longer), &r), 0);
    assert_int_equal(strlen(r.text), MILTER_TEXT_MAX - 1);
}

static void test_other_replies(void **state)
{
    (void)state;
    struct milter_reply r;
    assert_int_equal(read_reply('c', SPAN_LIT(""), &r), 0);
    assert_int_equal(r.kind, MILTER_SAYS_CONTINUE);
    assert_int_equal(read_reply('O', SPAN_LIT("\0\0\0\6\0\0\0\x11\0\x10\0\1more\0"), &r), 0);
    assert_int_equal(r.version, 6);
    assert_int_equal(r.actions, 0x11);
    assert_int_equal(r.protocol, 0x100001);
    assert_int_equal(read_reply('O', SPAN_LIT("\0\0\0\6\0\0\0\x11\0\x10\0"), &r), ERR_BAD);
    assert_int_equal(read_reply('h', SPAN_LIT("X-A\0b\0"), &r), 0);
    assert_true(span_eq(r.name, SPAN_LIT("X-A")) && span_eq(r.value, SPAN_LIT("b")));
    assert_int_equal(read_reply('h', SPAN_LIT("X-A\0b"), &r), ERR_BAD);
    assert_int_equal(read_reply('h', SPAN_LIT("X-A\0"), &r), ERR_BAD);
    assert_int_equal(read_reply('h', SPAN_LIT("X-A\0b\0c\0"), &r), ERR_BAD);
    assert_int_equal(read_reply('i', SPAN_LIT("\0\0\1\0X-A\0b\0"), &r), 0);
    assert_int_equal(r.index, 256);
    assert_int_equal(read_reply('m', SPAN_LIT("\0\0\0\1X-A\0\0"), &r), 0);
    assert_int_equal(r.value.n, 0);
    assert_int_equal(read_reply('m', SPAN_LIT("\0\0\1"), &r), ERR_BAD);
    assert_int_equal(read_reply('q', SPAN_LIT("a vi\nrus\0"), &r), 0);
    assert_string_equal(r.text, "a vi?rus");
    assert_int_equal(read_reply('q', SPAN_LIT("a"), &r), ERR_BAD);
    assert_int_equal(read_reply('z', SPAN_LIT(""), &r), ERR_BAD);
    assert_int_equal(read_reply('\0', SPAN_LIT(""), &r), ERR_BAD);
}

/* ---- the header ---------------------------------------------------------------------------------------- */

#define HEADER                                                                                               \
    "Received: from us\r\n\tby us\r\nFrom: a@example.com\r\nX-Two: 1\r\nno field\r\nX-Two: 2\r\nTo: "        \
    "b\r\n\r\n"

static struct milter_fields fields_of(struct span header)
{
    struct milter_fields f;
    assert_int_equal(milter_fields_read(&f, header), 0);
    return f;
}

static void is_now(struct milter_fields *f, const char *header)
{
    struct buf b;
    buf_init(&b, 1u << 20);
    assert_int_equal(milter_fields_put(f, &b), 0);
    (void)buf_put_char(&b, '\0');
    assert_string_equal(b.data, header);
    buf_fini(&b);
    milter_fields_fini(f);
}

static int add(struct milter_fields *f, const char *name, const char *value)
{
    return milter_fields_add(f, span_str(name), span_str(value), false);
}

static int change(struct milter_fields *f, uint32_t index, const char *name, const char *value)
{
    return milter_fields_change(f, index, span_str(name), span_str(value), false);
}

static int insert(struct milter_fields *f, uint32_t index, const char *name, const char *value)
{
    return milter_fields_insert(f, index, span_str(name), span_str(value), false);
}

static void test_what_is_shown(void **state)
{
    (void)state;
    struct milter_fields f = fields_of(SPAN_LIT(HEADER));
    struct span name, value;
    assert_int_equal(f.n, 6);
    assert_false(milter_fields_show(&f, 0, &name, &value));
    assert_true(milter_fields_show(&f, 1, &name, &value));
    assert_true(span_eq(name, SPAN_LIT("From")) && span_eq(value, SPAN_LIT(" a@example.com")));
    assert_false(milter_fields_show(&f, 3, &name, &value));
    is_now(&f, HEADER);
    f = fields_of(SPAN_LIT("\r\n"));
    is_now(&f, "\r\n");
}

static void test_changes(void **state)
{
    (void)state;
    struct milter_fields f = fields_of(SPAN_LIT(HEADER));
    assert_int_equal(add(&f, "X-Last", "z"), 0);
    assert_int_equal(insert(&f, 0, "X-First", "a"), 0);
    assert_int_equal(insert(&f, 2, "X-Third", "c"), 0);
    assert_int_equal(change(&f, 2, "x-two", "two"), 0);
    assert_int_equal(change(&f, 3, "X-Two", "three"), 0);   /* there is none: added */
    assert_int_equal(change(&f, 1, "received", "mine"), 0); /* ours is not theirs to change */
    is_now(&f, "X-First: a\r\nReceived: from us\r\n\tby us\r\nX-Third: c\r\nFrom: a@example.com\r\nX-Two: "
               "1\r\nno field\r\n"
               "x-two: two\r\nTo: b\r\nX-Last: z\r\nX-Two: three\r\nreceived: mine\r\n\r\n");
    f = fields_of(SPAN_LIT(HEADER)); /* in whichever order a filter deletes them */
    assert_int_equal(change(&f, 1, "X-Two", ""), 0);
    assert_int_equal(change(&f, 2, "X-Two", ""), 0);
    assert_int_equal(change(&f, 5, "X-Two", ""), 0);
    assert_int_equal(change(&f, 1, "X-None", ""), 0);
    assert_int_equal(insert(&f, 99, "X-End", "e"), 0);
    is_now(&f,
           "Received: from us\r\n\tby us\r\nFrom: a@example.com\r\nno field\r\nTo: b\r\nX-End: e\r\n\r\n");
}

static void test_nothing_is_smuggled(void **state)
{
    (void)state;
    struct milter_fields f = fields_of(SPAN_LIT("To: b\r\n\r\n"));
    char wide[1100];
    memset(wide, 'x', sizeof wide);
    wide[sizeof wide - 1] = '\0';
    assert_int_equal(add(&f, "X-A", "one\r\nBcc: eve@example.net\r\n\r\nbody"), 0);
    assert_int_equal(add(&f, "X-B", "one\n two\n\tthree\r\n"), 0);
    assert_int_equal(add(&f, "X-C", "\n\n \n\t\nx\r\r \r\ny\n \n"), 0);
    assert_int_equal(add(&f, "X-D", "\x01\x7f\x1b[31m"), 0);
    assert_int_equal(add(&f, "X-E", "\r\n"), 0);
    assert_int_equal(milter_fields_add(&f, SPAN_LIT("X-F"), SPAN_LIT("tight"), true), 0);
    assert_false(f.eight_bit);
    assert_int_equal(add(&f, "", "x"), ERR_BAD);
    assert_int_equal(add(&f, "X A", "x"), ERR_BAD);
    assert_int_equal(add(&f, "X:A", "x"), ERR_BAD);
    assert_int_equal(add(&f, "X\r\nA", "x"), ERR_BAD);
    assert_int_equal(add(&f, "X\xc3\xa4", "x"), ERR_BAD);
    assert_int_equal(change(&f, 1, "To", wide), ERR_BAD);
    wide[300] = '\0';
    assert_int_equal(add(&f, wide, "x"), ERR_BAD);
    assert_int_equal(add(&f, "X-G", "\xc3\xa4"), 0);
    assert_true(f.eight_bit);
    is_now(&f,
           "To: b\r\nX-A: one\r\n\tBcc: eve@example.net\r\n\tbody\r\nX-B: one\r\n two\r\n\tthree\r\nX-C: \r\n"
           " \tx\r\n y\r\nX-D: ???[31m\r\nX-E: \r\nX-F:tight\r\nX-G: \xc3\xa4\r\n\r\n");
}

static void test_bounds(void **state)
{
    (void)state;
    struct milter_fields f = fields_of(SPAN_LIT("To: b\r\n\r\n"));
    uint32_t n = 0;
    while (add(&f, "X-Many", "1") == 0)
        n++;
    assert_int_equal(n, MILTER_CHANGES_MAX);
    assert_int_equal(change(&f, 1, "To", ""), ERR_LIMIT);
    milter_fields_fini(&f);
    f = fields_of(SPAN_LIT("To: b\r\n\r\n"));
    char wide[901];
    memset(wide, 'x', sizeof wide);
    wide[900] = '\0';
    for (n = 0; add(&f, "X-Wide", wide) == 0; n++)
        ;
    assert_true(n > 60 && f.added <= MILTER_CHANGED_BYTES);
    milter_fields_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_other_replies),
        cmocka_unit_test(test_what_is_shown),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_nothing_is_smuggled),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
