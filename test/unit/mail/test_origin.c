/* Which script, site or user a shared host's header names: forms, precedence, and that nothing but bounded,
 * printable names comes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "node/mail/origin.h"

static void values(void **state)
{
    (void)state;
    static const struct {
        enum origin_form form;
        const char *value, *is; /* NULL: not of that form */
    } cases[] = {
        { ORIGIN_TEXT, " Shop-3 ", "shop-3" },
        { ORIGIN_TEXT, "a  b\r\n\tc", "a_b_c" },
        { ORIGIN_TEXT, "\xc3\x84rger\x01\x7f", "__rger__" },
        { ORIGIN_TEXT, "x\"y\\z,<w>?|", "x_y_z__w___" },
        { ORIGIN_TEXT, " \r\n ", NULL },
        { ORIGIN_TEXT, "", NULL },
        { ORIGIN_USER, "Anna", "anna" },
        { ORIGIN_USER, "<Anna@Example.com> x", "anna@example.com" },
        { ORIGIN_USER, "anna (comment)", "anna" },
        { ORIGIN_USER, "<>", NULL },
        { ORIGIN_SCRIPT, "1001:Contact.php", "1001:contact.php" },
        { ORIGIN_SCRIPT, "33:a.php(12) : eval()'d code", "33:a.php" },
        { ORIGIN_SCRIPT, "33:a.php(7) : runtime-created function(1) : eval()'d code", "33:a.php" },
        { ORIGIN_SCRIPT, "contact.php", NULL },
        { ORIGIN_SCRIPT, "x1:contact.php", NULL },
        { ORIGIN_SCRIPT, "33:", NULL },
        { ORIGIN_SCRIPT, ":a.php", NULL },
        { ORIGIN_SCRIPT, "33:(x", NULL },
        { ORIGIN_PATH, "/home//U/./public_html/../x.php/", "/home/u/x.php" },
        { ORIGIN_PATH, "/../../etc", "/etc" },
        { ORIGIN_PATH, "example.com:/public_html/contact", "example.com:/public_html/contact" },
        { ORIGIN_PATH, "Example.com/contact.php for 192.0.2.1, 10.0.0.1", "example.com/contact.php" },
        { ORIGIN_PATH, "example.com/a.php?id=17#x", "example.com/a.php" },
        { ORIGIN_PATH, "/", NULL },
        { ORIGIN_PATH, "..", ".." },
        { ORIGIN_PATH, "/a/../..", NULL },
        { ORIGIN_PATH, "a/../..", "a" },
    };
    char out[ORIGIN_MAX + 1];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool is = origin_normalise(cases[i].form, span_str(cases[i].value), out);
        if (is != (cases[i].is != NULL) || (is && strcmp(out, cases[i].is) != 0))
            fail_msg("%s: %s", cases[i].value, is ? out : "(not of that form)");
    }
}

static void long_values(void **state)
{
    (void)state;
    char text[5000], one[ORIGIN_MAX + 1], other[ORIGIN_MAX + 1];
    memset(text, 'a', sizeof text);
    assert_true(origin_normalise(ORIGIN_TEXT, span_of(text, ORIGIN_MAX), one));
    assert_null(strchr(one, '~'));
    assert_true(origin_normalise(ORIGIN_TEXT, span_of(text, 300), one));
    assert_int_equal(strlen(one), ORIGIN_MAX);
    text[299] = 'b'; /* told apart, though they begin alike */
    assert_true(origin_normalise(ORIGIN_TEXT, span_of(text, 300), other));
    assert_string_not_equal(one, other);
    /* the same on every node: it is in the names of limits and freezes */
    assert_string_equal(one + ORIGIN_MAX - 17, "~ee7717eba7a17e21");
    assert_true(origin_normalise(ORIGIN_PATH, span_of(text, sizeof text), one));
    memset(text, '/', sizeof text);
    assert_false(origin_normalise(ORIGIN_PATH, span_of(text, sizeof text), one));
}

static void any_bytes(void **state)
{
    (void)state;
    uint32_t random = 7;
    for (int i = 0; i < 200000; i++) {
        char bytes[160], out[ORIGIN_MAX + 1];
        size_t n = (size_t)i % sizeof bytes;
        for (size_t k = 0; k < n; k++) {
            random = random * 1664525 + 1013904223;
            bytes[k] = (i & 1) != 0 ? (char)(random >> 24) : "/.:a(? \r\n<>0"[(random >> 24) % 12];
        }
        char *exact = malloc(n + 1); /* so that a sanitizer sees what is read behind it */
        memcpy(exact, bytes, n);
        if (origin_normalise((enum origin_form)(i / 2 % ORIGIN_FORMS), span_of(exact, n), out)) {
            assert_in_range(strlen(out), 1, ORIGIN_MAX);
            for (const char *p = out; *p != '\0'; p++)
                assert_true((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') ||
                            strchr("._:/@+=~-", *p) != NULL);
        }
        free(exact);
    }
}

static const struct origin_header headers[] = {
    { "X-AuthUser", ORIGIN_USER },
    { "X-PHP-Originating-Script", ORIGIN_SCRIPT },
    { "X-Source-Dir", ORIGIN_PATH },
};

/* What the header names; "" when it names nobody. */
static void finds(const char *text, const char *origin)
{
    struct mail_header h;
    char out[ORIGIN_MAX + 1] = "";
    size_t used;
    mail_header_init(&h, 0);
    assert_int_equal(mail_header_feed(&h, text, strlen(text), &used), MAIL_HEADER_DONE);
    bool found = origin_find(&h, headers, 3, out);
    mail_header_fini(&h);
    assert_int_equal(found, origin[0] != '\0');
    assert_string_equal(found ? out : "", origin);
}

static void precedence(void **state)
{
    (void)state;
    finds("From: a@example.com\r\n\r\n", "");
    finds("X-PHP-Originating-Script: 33:a.php\r\nx-authuser: Anna\r\n\r\n", "anna");
    finds("X-PHP-Originating-Script: 33:a.php\r\nX-Source-Dir: example.com:/x\r\n\r\n", "33:a.php");
    finds("X-PHP-Originating-Script: nothing\r\nX-Source-Dir: example.com:/x\r\n\r\n", "example.com:/x");
    finds("X-AuthUser:\r\nX-PHP-Originating-Script: 33:\r\n a.php\r\n\r\n", "33:_a.php");
    finds("X-AuthUsers: anna\r\nX-Auth: anna\r\n\r\n", "");
    /* the same twice is one; what contradicts itself is a sender of its own, in whatever order */
    finds("X-AuthUser: anna\r\nX-AuthUser: ANNA\r\n\r\n", "anna");
    finds("X-AuthUser: anna\r\nX-AuthUser: bob\r\n\r\n", ORIGIN_SEVERAL);
    finds("X-AuthUser: anna\r\nX-AuthUser: bob\r\nX-AuthUser: anna\r\n\r\n", ORIGIN_SEVERAL);
    finds("X-AuthUser: ?several\r\n\r\n", "_several");
}

static void forms(void **state)
{
    (void)state;
    assert_int_equal(origin_form_of(SPAN_LIT("x-php-originating-script")), ORIGIN_SCRIPT);
    assert_int_equal(origin_form_of(SPAN_LIT("X-AuthUser")), ORIGIN_USER);
    assert_int_equal(origin_form_of(SPAN_LIT("X-Source-Dir")), ORIGIN_PATH);
    assert_int_equal(origin_form_of(SPAN_LIT("X-Source-Args")), ORIGIN_TEXT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),     cmocka_unit_test(long_values), cmocka_unit_test(any_bytes),
        cmocka_unit_test(precedence), cmocka_unit_test(forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
