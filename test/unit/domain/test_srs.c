/* SRS: there and back, over several forwarders, and what others made up. */
#include "base/err.h"
#include "node/domain/srs.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define DAY 86400
#define NOW (20000LL * DAY + 5)

static const struct srs ours = { .domain = SPAN_LIT("srs.example"),
                                 .keys = { SPAN_LIT("0123456789abcdef") },
                                 .nkeys = 1 };
static const struct srs theirs = { .domain = SPAN_LIT("fwd.test"),
                                   .keys = { SPAN_LIT("another key of 16") },
                                   .nkeys = 1 };

static void there_and_back(const char *address)
{
    char out[SRS_ADDRESS_MAX + 1], back[SRS_ADDRESS_MAX + 1];
    assert_int_equal(srs_forward(&ours, span_str(address), NOW, out), 0);
    assert_memory_equal(out, "SRS0=", 5);
    assert_string_equal(strrchr(out, '@'), "@srs.example");
    assert_int_equal(srs_reverse(&ours, span_str(out), NOW + 20 * DAY, back), 0);
    assert_string_equal(back, address);
}

static void test_there_and_back(void **state)
{
    (void)state;
    there_and_back("alice@example.com");
    there_and_back("a@b.c");
    there_and_back("a=b+c--x@example.com");
    there_and_back("bounce+list=bob=example.org@lists.example.com");
    there_and_back("SRS@example.com");
    there_and_back("odd@local@example.com");
}

static void test_left_alone(void **state)
{
    static const char *const same[] = { "", "x@srs.example", "x@SRS.example", "\"a b\"@example.com" };
    char out[SRS_ADDRESS_MAX + 1], longest[300];
    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        assert_int_equal(srs_forward(&ours, span_str(same[i]), NOW, out), 0);
        assert_string_equal(out, same[i]);
    }
    assert_int_equal(srs_forward(&ours, SPAN_LIT("postmaster"), NOW, out), ERR_BAD);
    assert_int_equal(srs_forward(&ours, SPAN_LIT("x@a=b.test"), NOW, out), ERR_BAD);
    assert_int_equal(srs_forward(&ours, SPAN_LIT("x\0y@a.test"), NOW, out), ERR_BAD);
    snprintf(longest, sizeof longest, "%0220d@example.com", 0);
    assert_int_equal(srs_forward(&ours, span_str(longest), NOW, out), ERR_LIMIT);
    assert_string_equal(out, longest);
    snprintf(longest, sizeof longest, "%0280d@example.com", 0);
    assert_int_equal(srs_forward(&ours, span_str(longest), NOW, out), ERR_LIMIT);
}

static void test_several_forwarders(void **state)
{
    struct srs third = ours;
    char first[SRS_ADDRESS_MAX + 1], second[SRS_ADDRESS_MAX + 1], last[SRS_ADDRESS_MAX + 1];
    char out[SRS_ADDRESS_MAX + 1];
    (void)state;
    third.domain = SPAN_LIT("third.test");
    assert_int_equal(srs_forward(&theirs, SPAN_LIT("alice@example.com"), NOW, first), 0);
    assert_int_equal(srs_forward(&ours, span_str(first), NOW, second), 0);
    assert_memory_equal(second, "SRS1=", 5);
    assert_non_null(strstr(second, "=fwd.test=="));
    assert_int_equal(srs_forward(&third, span_str(second), NOW, last), 0);
    assert_memory_equal(last, "SRS1=", 5);
    assert_non_null(strstr(last, "=fwd.test=="));
    /* each leads to the first forwarder, who knows the sender */
    assert_int_equal(srs_reverse(&third, span_str(last), NOW, out), 0);
    assert_string_equal(out, first);
    assert_int_equal(srs_reverse(&ours, span_str(second), NOW, out), 0);
    assert_string_equal(out, first);
    assert_int_equal(srs_reverse(&theirs, span_str(first), NOW, out), 0);
    assert_string_equal(out, "alice@example.com");
    /* other separators are kept */
    assert_int_equal(srs_forward(&ours, SPAN_LIT("SRS0+abc=de=a.test=x@other.test"), NOW, second), 0);
    assert_int_equal(srs_reverse(&ours, span_str(second), NOW, out), 0);
    assert_string_equal(out, "SRS0+abc=de=a.test=x@other.test");
}

static void test_in_another_case(void **state)
{
    char made[SRS_ADDRESS_MAX + 1], out[SRS_ADDRESS_MAX + 1];
    (void)state;
    assert_int_equal(srs_forward(&ours, SPAN_LIT("Alice@Example.com"), NOW, made), 0);
    for (char *p = made; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    assert_int_equal(srs_reverse(&ours, span_str(made), NOW, out), 0);
    assert_string_equal(out, "alice@example.com");
}

static void test_made_up(void **state)
{
    char made[SRS_ADDRESS_MAX + 1], out[SRS_ADDRESS_MAX + 1];
    (void)state;
    assert_int_equal(srs_forward(&ours, SPAN_LIT("alice@example.com"), NOW, made), 0);
    size_t local = (size_t)(strrchr(made, '@') - made);
    for (size_t i = 5; i < local; i++) { /* whatever is changed, it is no longer ours */
        char other[SRS_ADDRESS_MAX + 1];
        memcpy(other, made, sizeof other);
        other[i] = other[i] == 'x' ? 'y' : 'x';
        assert_int_equal(srs_reverse(&ours, span_str(other), NOW, out), ERR_BAD);
        assert_string_equal(out, "");
    }
    static const char *const bad[] = { "SRS0=@srs.example", "SRS0=a@srs.example",
                                       "SRS0=AAAAAAAA=AA=victim.test=x@srs.example",
                                       "SRS1=AAAAAAAA=victim.test==a=b=c=d@srs.example",
                                       "SRS0-@srs.example" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_true(srs_reverse(&ours, span_str(bad[i]), NOW, out) == ERR_BAD ||
                    srs_reverse(&ours, span_str(bad[i]), NOW, out) == ERR_NOT_FOUND);
    assert_int_equal(srs_reverse(&ours, span_str(bad[2]), NOW, out), ERR_BAD);
    assert_int_equal(srs_reverse(&ours, span_str(bad[3]), NOW, out), ERR_BAD);
    assert_int_equal(srs_reverse(&ours, SPAN_LIT("alice@srs.example"), NOW, out), ERR_NOT_FOUND);
    assert_int_equal(srs_reverse(&theirs, span_str(made), NOW, out), ERR_NOT_FOUND);
    /* what was made for an SRS0 is not believed in an SRS1 */
    made[3] = '1';
    assert_int_equal(srs_reverse(&ours, span_str(made), NOW, out), ERR_BAD);
}

static void test_age_and_keys(void **state)
{
    char made[SRS_ADDRESS_MAX + 1], out[SRS_ADDRESS_MAX + 1];
    struct srs changed = ours;
    (void)state;
    assert_int_equal(srs_forward(&ours, SPAN_LIT("alice@example.com"), NOW, made), 0);
    assert_int_equal(srs_reverse(&ours, span_str(made), NOW + 21 * DAY, out), 0);
    assert_int_equal(srs_reverse(&ours, span_str(made), NOW + 22 * DAY, out), ERR_TIMEOUT);
    assert_int_equal(srs_reverse(&ours, span_str(made), NOW - DAY, out), 0);
    assert_int_equal(srs_reverse(&ours, span_str(made), NOW - 2 * DAY, out), ERR_TIMEOUT);
    changed.keys[0] = SPAN_LIT("a new key of some length");
    assert_int_equal(srs_reverse(&changed, span_str(made), NOW, out), ERR_BAD);
    changed.keys[1] = ours.keys[0];
    changed.nkeys = 2;
    assert_int_equal(srs_reverse(&changed, span_str(made), NOW, out), 0);
    assert_int_equal(srs_forward(&changed, SPAN_LIT("alice@example.com"), NOW, made), 0);
    assert_int_equal(srs_reverse(&ours, span_str(made), NOW, out), ERR_BAD); /* the first key signs */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_left_alone),
        cmocka_unit_test(test_several_forwarders),
        cmocka_unit_test(test_in_another_case),
        cmocka_unit_test(test_made_up),
        cmocka_unit_test(test_age_and_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
