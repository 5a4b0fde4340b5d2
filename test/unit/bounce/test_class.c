/* Replies fall into the classes that they belong to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/err.h"
#include "replies.h"

static enum bounce_class class_of(const char *text, struct bounce_reply *r)
{
    bounce_reply_read(span_str(text), r);
    return bounce_classify(r);
}

static void every_reply(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
        struct bounce_reply r;
        enum bounce_class c = class_of(replies[i].reply, &r);
        if (c != replies[i].class) {
            wrong++;
            print_message("%s, not %s: %s\n", bounce_class_name(c), bounce_class_name(replies[i].class),
                          replies[i].reply);
        }
    }
    assert_int_equal(wrong, 0);
}

static void codes(const char *text, unsigned code, unsigned a, unsigned b, unsigned c)
{
    struct bounce_reply r;
    bounce_reply_read(span_str(text), &r);
    assert_int_equal(r.code, code);
    assert_int_equal(r.status[0], a);
    assert_int_equal(r.status[1], b);
    assert_int_equal(r.status[2], c);
}

static void codes_are_found(void **state)
{
    (void)state;
    codes("550 5.1.1 no", 550, 5, 1, 1);
    codes("550-5.7.26 no", 550, 5, 7, 26);
    codes("smtp; 452 4.2.2 full", 452, 4, 2, 2);
    codes("host mx.example.com[192.0.2.5] said: 550 no such user", 550, 0, 0, 0);
    codes("<exch.example.com #5.1.1>", 0, 5, 1, 1);
    codes("Remote host said: 554 delivery error", 554, 0, 0, 0);
    codes("5.1.1", 0, 5, 1, 1);
    /* addresses and sizes are no codes */
    codes("from 5.1.1.2 on", 0, 0, 0, 0);
    codes("192.5.1.1 was seen", 0, 0, 0, 0);
    codes("message of 5500 bytes", 0, 0, 0, 0);
    codes("5.1.999", 0, 0, 0, 0);
    codes("", 0, 0, 0, 0);
}

static void hard_and_dead(void **state)
{
    (void)state;
    struct bounce_reply r;
    enum bounce_class c = class_of("550 5.1.1 User unknown", &r);
    assert_true(bounce_is_hard(&r));
    assert_true(bounce_is_dead(&r, c));
    /* asked to come again: not dead, whatever is said */
    c = class_of("450 4.1.1 User unknown", &r);
    assert_int_equal(c, BOUNCE_UNKNOWN_USER);
    assert_false(bounce_is_hard(&r));
    assert_false(bounce_is_dead(&r, c));
    c = class_of("552 5.2.2 Mailbox full", &r);
    assert_true(bounce_is_hard(&r));
    assert_false(bounce_is_dead(&r, c));
    c = class_of("556 5.1.10 null MX", &r);
    assert_true(bounce_is_dead(&r, c));
    c = class_of("554 5.7.1 Client host blocked using a list", &r);
    assert_false(bounce_is_dead(&r, c));
}

static void long_and_odd_texts(void **state)
{
    (void)state;
    char text[BOUNCE_TEXT_MAX * 3];
    memset(text, 'a', sizeof text);
    struct bounce_reply r = { .code = 550, .status = { 5, 1, 1 }, .text = span_of(text, sizeof text) };
    assert_int_equal(bounce_classify(&r), BOUNCE_UNKNOWN_USER);
    memset(text, '\n', sizeof text);
    assert_int_equal(bounce_classify(&r), BOUNCE_UNKNOWN_USER);
    r = (struct bounce_reply){ 0 };
    assert_int_equal(bounce_classify(&r), BOUNCE_OTHER);
}

static void names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < BOUNCE_CLASSES; i++) {
        enum bounce_class c;
        assert_int_equal(bounce_class_named(span_str(bounce_class_name((enum bounce_class)i)), &c), 0);
        assert_int_equal(c, i);
    }
    enum bounce_class c;
    assert_int_equal(bounce_class_named(SPAN_LIT("nonsense"), &c), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reply),   cmocka_unit_test(codes_are_found),
        cmocka_unit_test(hard_and_dead), cmocka_unit_test(long_and_odd_texts),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
