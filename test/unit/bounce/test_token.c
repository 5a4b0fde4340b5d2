/* Return paths: read as they were written, by nobody else, and not for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/bounce/token.h"

static struct bounce_ref sample(void)
{
    return (struct bounce_ref){ .day = 20000,
                                .class = 2,
                                .own = true,
                                .account = bounce_hash(SPAN_LIT("news@shop.example")),
                                .rcpt = (uint32_t)bounce_hash(SPAN_LIT("bob@example.com")),
                                .salt = 4711 };
}

static void there_and_back(void **state)
{
    (void)state;
    struct bounce_key key;
    struct bounce_ref a = sample(), b;
    char text[BOUNCE_TOKEN_TEXT + 1], upper[BOUNCE_TOKEN_TEXT];
    assert_int_equal(bounce_key_derive(SPAN_LIT("a secret of the cluster"), &key), 0);
    assert_int_equal(bounce_token_write(&key, &a, text), 0);
    assert_int_equal(strlen(text), BOUNCE_TOKEN_TEXT);
    assert_int_equal(bounce_token_read(&key, span_str(text), 20003, 30, &b), 0);
    assert_int_equal(b.day, a.day);
    assert_int_equal(b.class, 2);
    assert_true(b.own);
    assert_true(b.account == a.account);
    assert_int_equal(b.rcpt, a.rcpt);
    assert_int_equal(b.salt, 4711);
    for (unsigned i = 0; i < BOUNCE_TOKEN_TEXT; i++)
        upper[i] = (char)(text[i] >= 'a' ? text[i] - 'a' + 'A' : text[i]);
    assert_int_equal(bounce_token_read(&key, span_of(upper, sizeof upper), 20003, 30, &b), 0);
}

static void not_by_others(void **state)
{
    (void)state;
    struct bounce_key key, other;
    struct bounce_ref a = sample(), b;
    char text[BOUNCE_TOKEN_TEXT + 1], second[BOUNCE_TOKEN_TEXT + 1];
    assert_int_equal(bounce_key_derive(SPAN_LIT("a secret"), &key), 0);
    assert_int_equal(bounce_key_derive(SPAN_LIT("another"), &other), 0);
    assert_int_equal(bounce_token_write(&key, &a, text), 0);
    assert_int_equal(bounce_token_read(&other, span_str(text), 20000, 30, &b), ERR_BAD);
    /* any change of any letter */
    for (unsigned i = 0; i < BOUNCE_TOKEN_TEXT; i++) {
        for (const char *c = "abcdefghijklmnopqrstuvwxyz234567=\n"; *c != 0; c++) {
            char was = text[i];
            if (*c == was)
                continue;
            text[i] = *c;
            assert_int_equal(bounce_token_read(&key, span_str(text), 20000, 30, &b), ERR_BAD);
            text[i] = was;
        }
    }
    assert_int_equal(bounce_token_read(&key, span_of(text, BOUNCE_TOKEN_TEXT - 1), 20000, 30, &b), ERR_BAD);
    assert_int_equal(bounce_token_read(&key, span_of("", 0), 20000, 30, &b), ERR_BAD);
    /* two messages of one account have nothing in common */
    a.salt++;
    assert_int_equal(bounce_token_write(&key, &a, second), 0);
    unsigned same = 0;
    for (unsigned i = 0; i < BOUNCE_TOKEN_TEXT; i++)
        same += text[i] == second[i];
    assert_true(same < 12);
}

static void not_for_ever(void **state)
{
    (void)state;
    struct bounce_key key;
    struct bounce_ref a = sample(), b;
    char text[BOUNCE_TOKEN_TEXT + 1];
    assert_int_equal(bounce_key_derive(SPAN_LIT("a secret"), &key), 0);
    assert_int_equal(bounce_token_write(&key, &a, text), 0);
    assert_int_equal(bounce_token_read(&key, span_str(text), 20030, 30, &b), 0);
    assert_int_equal(bounce_token_read(&key, span_str(text), 20031, 30, &b), ERR_TIMEOUT);
    assert_int_equal(bounce_token_read(&key, span_str(text), 19999, 30, &b), 0);
    assert_int_equal(bounce_token_read(&key, span_str(text), 19998, 30, &b), ERR_TIMEOUT);
}

static void names_without_case(void **state)
{
    (void)state;
    assert_true(bounce_hash(SPAN_LIT("Bob@Example.com")) == bounce_hash(SPAN_LIT("bob@example.com")));
    assert_true(bounce_hash(SPAN_LIT("bob@example.com")) != bounce_hash(SPAN_LIT("bob@example.org")));
    assert_true(bounce_hash(SPAN_LIT("bob@example.com")) >> 48 == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(not_by_others),
        cmocka_unit_test(not_for_ever),
        cmocka_unit_test(names_without_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
