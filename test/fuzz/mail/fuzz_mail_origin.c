/* Any bytes as a header of a shared host's mail: what it names is a web sender's, bounded and printable, or
 * nobody's; and a name means itself again. */
#include "base/ensure.h"
#include "node/mail/origin.h"

#include <stddef.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct origin_header headers[] = { { "X-AuthUser", ORIGIN_USER },
                                                { "X-PHP-Originating-Script", ORIGIN_SCRIPT },
                                                { "X-Source-Dir", ORIGIN_PATH },
                                                { "X-Site", ORIGIN_TEXT } };

static void check(const char *origin)
{
    size_t n = strlen(origin);
    ensure(n > 0);
    ensure(n <= ORIGIN_MAX);
    for (size_t i = 0; i < n; i++)
        ensure(strchr("abcdefghijklmnopqrstuvwxyz0123456789._:/@+=~-?", origin[i]) != NULL);
    ensure(strchr(origin, '?') == NULL || strcmp(origin, ORIGIN_SEVERAL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char one[ORIGIN_MAX + 1], again[ORIGIN_MAX + 1];
    struct mail_header h;
    size_t used;
    for (int form = 0; form < ORIGIN_FORMS; form++)
        if (origin_normalise((enum origin_form)form, span_of((const char *)data, size), one)) {
            check(one);
            ensure(origin_normalise(ORIGIN_TEXT, span_str(one), again));
            ensure(strcmp(one, again) == 0);
        }
    mail_header_init(&h, 0);
    enum mail_header_result r = mail_header_feed(&h, (const char *)data, size, &used);
    if (r == MAIL_HEADER_MORE)
        r = mail_header_end(&h);
    if (r == MAIL_HEADER_DONE && origin_find(&h, headers, sizeof headers / sizeof headers[0], one))
        check(one);
    mail_header_fini(&h);
    return 0;
}
