/* RFC 5322 dates: formatting only; nothing here reads one. Any thread. */
#include "node/mail/date.h"

#include <stdio.h>

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days since 1970-01-01 to a civil date (H. Hinnant, "chrono-compatible low-level date algorithms"). */
static void civil(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
    days += 719468; /* from 0000-03-01, so that leap days end the year */
    int64_t era = floor_div(days, 146097);
    unsigned doe = (unsigned)(days - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    *day = doy - (153 * mp + 2) / 5 + 1;
    *month = mp < 10 ? mp + 3 : mp - 9;
    *year = (int64_t)yoe + era * 400 + (*month <= 2);
}

void mail_date_format(int64_t wall_ms, int zone_min, char out[MAIL_DATE_TEXT])
{
    static const char week[7][4] = { "Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed" };
    static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    static const int64_t first = -2208988800, last = 253402300799; /* 1900 and 9999 */
    int64_t s = floor_div(wall_ms, 1000);
    if (zone_min < -1439 || zone_min > 1439)
        zone_min = 0;
    s += zone_min * 60;
    s = s < first ? first : s > last ? last : s;
    int64_t days = floor_div(s, 86400), year;
    unsigned month, day, second = (unsigned)(s - days * 86400);
    civil(days, &year, &month, &day);
    int weekday = (int)(days - floor_div(days, 7) * 7);
    int zone = zone_min < 0 ? -zone_min : zone_min;
    snprintf(out, MAIL_DATE_TEXT, "%s, %u %s %d %02u:%02u:%02u %c%02d%02d", week[weekday], day,
             months[month - 1], (int)year, second / 3600, second / 60 % 60, second % 60,
             zone_min < 0 ? '-' : '+', zone / 60, zone % 60);
}
