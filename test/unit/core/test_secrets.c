/* Random secrets: the newest makes, those before are believed, and there is room for so many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/core/secrets.h"

#include <stdio.h>
#include <string.h>

static void add(struct secrets *s, enum secret_use use, int64_t since_ms)
{
    char text[32];
    int n = snprintf(text, sizeof text, "secret number %05d", (int)since_ms);
    assert_int_equal(secrets_add(s, use, since_ms, span_of(text, (size_t)n)), 0);
}

static void the_newest_is_first(void **state)
{
    (void)state;
    struct secrets *s = secrets_new();
    assert_null(secrets_at(s, SECRET_SRS, 0));
    static const int64_t order[] = { 30, 10, 50, 20, 40, 5 };
    for (size_t i = 0; i < 6; i++)
        add(s, SECRET_SRS, order[i]);
    for (uint32_t i = 0; i < SECRETS_EACH_MAX; i++)
        assert_int_equal(secrets_at(s, SECRET_SRS, i)->since_ms, 50 - 10 * (int64_t)i);
    assert_null(secrets_at(s, SECRET_SRS, SECRETS_EACH_MAX));
    assert_null(secrets_at(s, SECRET_DOMAINS, 0));
    assert_null(secrets_at(NULL, SECRET_SRS, 0));
    const struct secret *first = secrets_at(s, SECRET_SRS, 0);
    assert_true(span_eq(span_of(first->text, first->n), SPAN_LIT("secret number 00050")));
    secrets_rele(secrets_hold(s));
    secrets_rele(s);
}

static void those_for_bounces_have_keys(void **state)
{
    (void)state;
    struct secrets *s = secrets_new();
    struct bounce_key key;
    add(s, SECRET_BOUNCES, 7);
    assert_int_equal(bounce_key_derive(SPAN_LIT("secret number 00007"), &key), 0);
    assert_memory_equal(&secrets_at(s, SECRET_BOUNCES, 0)->key, &key, sizeof key);
    secrets_rele(s);
}

static void wrong_ones(void **state)
{
    (void)state;
    char text[SECRET_BYTES_MAX + 1];
    struct secrets *s = secrets_new();
    memset(text, 'a', sizeof text);
    assert_int_equal(secrets_add(s, SECRET_SRS, 1, span_of(text, SECRET_BYTES_MIN - 1)), ERR_BAD);
    assert_int_equal(secrets_add(s, SECRET_SRS, 1, span_of(text, SECRET_BYTES_MAX + 1)), ERR_BAD);
    assert_null(secrets_at(s, SECRET_SRS, 0));
    assert_false(secrets_closed(s, SECRET_SRS) || secrets_closed(NULL, SECRET_SRS));
    secrets_add_closed(s, SECRET_SRS);
    assert_true(secrets_closed(s, SECRET_SRS) && !secrets_closed(s, SECRET_BOUNCES));
    secrets_rele(s);
    for (int i = 0; i < SECRET_USES; i++)
        assert_int_equal(secret_use_of(span_str(secret_use_name((enum secret_use)i))), i);
    assert_int_equal(secret_use_of(SPAN_LIT("dkim")), SECRET_USES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_is_first),
        cmocka_unit_test(those_for_bounces_have_keys),
        cmocka_unit_test(wrong_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
