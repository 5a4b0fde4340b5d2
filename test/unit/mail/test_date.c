/* RFC 5322 dates: known ones, and every day of four centuries against the C library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <time.h>

#include "node/mail/date.h"

static void expect(int64_t ms, int zone, const char *want)
{
    char out[MAIL_DATE_TEXT];
    mail_date_format(ms, zone, out);
    assert_string_equal(out, want);
}

static void known(void **state)
{
    (void)state;
    expect(0, 0, "Thu, 1 Jan 1970 00:00:00 +0000");
    expect(-1, 0, "Wed, 31 Dec 1969 23:59:59 +0000");
    expect(951825600000, 0, "Tue, 29 Feb 2000 12:00:00 +0000");
    expect(951825600999, 0, "Tue, 29 Feb 2000 12:00:00 +0000");
    expect(1795295055000, 60, "Sat, 21 Nov 2026 22:04:15 +0100");
    expect(1795295055000, -210, "Sat, 21 Nov 2026 17:34:15 -0330");
    expect(1795295055000, 9999, "Sat, 21 Nov 2026 21:04:15 +0000");
    expect(INT64_MAX, 0, "Fri, 31 Dec 9999 23:59:59 +0000");
    expect(INT64_MIN, 0, "Mon, 1 Jan 1900 00:00:00 +0000");
}

static void every_day(void **state)
{
    (void)state;
    for (int64_t day = -25000; day < 150000; day++) {
        time_t t = (time_t)(day * 86400 + (day * 7919 % 86400 + 86400) % 86400);
        struct tm tm;
        char want[64], out[MAIL_DATE_TEXT];
        gmtime_r(&t, &tm);
        strftime(want, sizeof want, "%a, %-d %b %Y %H:%M:%S +0000", &tm);
        mail_date_format((int64_t)t * 1000, 0, out);
        assert_string_equal(out, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(known), cmocka_unit_test(every_day) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
