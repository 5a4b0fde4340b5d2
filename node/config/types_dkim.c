/* Types of the section dkim: dates, selectors, names of header fields. */
#include "node/config/types.h"

#include "base/ensure.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SHOWN(s) ((s).n > 80 ? 80 : (int)(s).n), (s).p

/* ---- dates --------------------------------------------------------------------------------------------- */

static bool date_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    char text[32];
    struct tm tm = { 0 };
    const char *end = NULL;
    if (s.n < sizeof text) {
        memcpy(text, s.p, s.n);
        text[s.n] = '\0';
        end = strptime(text, "%Y-%m-%d", &tm);
        if (end != NULL && *end == 'T')
            end = strptime(end, "T%H:%M:%SZ", &tm);
    }
    int day = tm.tm_mday;
    int64_t t = end == NULL || *end != '\0' ? 0 : (int64_t)timegm(&tm);
    if (t <= 0 || tm.tm_mday != day) { /* timegm makes 3 March of 31 February */
        schema_fault(l, "expected a date such as 2026-11-01 or 2026-11-01T12:30:00Z (UTC), got \"%.*s\"",
                     SHOWN(s));
        return false;
    }
    *(int64_t *)out = t * 1000;
    return true;
}

static bool date_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    time_t t = (time_t)(*(const int64_t *)in / 1000);
    char text[40];
    struct tm tm;
    if (t == 0 || gmtime_r(&t, &tm) == NULL)
        return false;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_put_str(out, text);
    return true;
}

const struct schema_type type_date = { sizeof(int64_t), date_parse, date_format, NULL };

/* ---- names --------------------------------------------------------------------------------------------- */

static bool selector_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    if (!host_valid(s)) {
        schema_fault(l, "expected a selector such as s2026 or 2026.mail, got \"%.*s\"", SHOWN(s));
        return false;
    }
    return config_string_keep(s, out);
}

const struct schema_type type_selector = { sizeof(char *), selector_parse, config_string_format,
                                           config_string_fini };

static bool field_name_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    static const char *const changed[] = { "Received", "Return-Path", "DKIM-Signature", "Bcc" };
    bool good = s.n > 0 && s.n <= 64;
    for (size_t i = 0; good && i < s.n; i++)
        good = s.p[i] > ' ' && s.p[i] < 0x7f && s.p[i] != ':' && s.p[i] != ';';
    if (!good) {
        schema_fault(l, "expected the name of a header field such as Subject, got \"%.*s\"", SHOWN(s));
        return false;
    }
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++)
        if (span_eq_nocase(s, span_str(changed[i]))) {
            schema_fault(l, "%s cannot be signed: it is added or taken away on the way", changed[i]);
            return false;
        }
    return config_string_keep(s, out);
}

const struct schema_type type_field_name = { sizeof(char *), field_name_parse, config_string_format,
                                             config_string_fini };
