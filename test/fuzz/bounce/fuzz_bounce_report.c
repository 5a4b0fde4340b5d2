/* Any bytes as a message that came back. Checked: bounds, texts without control characters, and that what is
 * dead failed for good and has an address or none. */
#include "base/ensure.h"
#include "base/err.h"
#include "node/bounce/report.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *p, size_t max)
{
    size_t n = strnlen(p, max + 1);
    ensure(n <= max);
    for (size_t i = 0; i < n; i++)
        ensure((unsigned char)p[i] >= ' ' && p[i] != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bounce_report r;
    int err = bounce_report_read(span_of(data, size), &r);
    ensure(err == 0 || err == -ENOMEM);
    if (err != 0)
        return 0;
    ensure(r.nrcpts <= BOUNCE_RCPTS_MAX);
    ensure(r.kind != BOUNCE_REPORT || r.nrcpts > 0);
    check_text(r.mark, sizeof r.mark - 1);
    check_text(r.message_id, sizeof r.message_id - 1);
    check_text(r.return_path, BOUNCE_ADDRESS_MAX);
    check_text(r.feedback, sizeof r.feedback - 1);
    for (uint32_t i = 0; i < r.nrcpts; i++) {
        const struct bounce_rcpt *t = &r.rcpts[i];
        check_text(t->address, BOUNCE_ADDRESS_MAX);
        check_text(t->text, BOUNCE_QUOTE_MAX);
        ensure(t->class < BOUNCE_CLASSES);
        ensure(!t->dead || t->hard);
        ensure(!t->hard || t->action == BOUNCE_FAILED);
    }
    bounce_report_fini(&r);
    return 0;
}
