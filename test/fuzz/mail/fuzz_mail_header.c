/* Any bytes as a message through the scanner and the rewriting. Checked: cutting changes nothing, header and
 * body are together what came in, no Bcc survives, and the new header is found to be the same when it is
 * scanned again.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "node/mail/rewrite.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum mail_header_result scan(struct mail_header *h, const char *p, size_t n, size_t step, size_t *at)
{
    enum mail_header_result result = MAIL_HEADER_MORE;
    for (*at = 0; *at < n && result == MAIL_HEADER_MORE;) {
        size_t used, take = n - *at < step ? n - *at : step;
        result = mail_header_feed(h, p + *at, take, &used);
        ensure(used <= take);
        *at += used;
    }
    return result == MAIL_HEADER_MORE ? mail_header_end(h) : result;
}

static int check_address(void *ctx, struct span address)
{
    (void)ctx;
    ensure(address.n >= 2);
    ensure(address.n <= MAIL_ADDRESS_MAX);
    return 0;
}

static void check_rewritten(const struct mail_header *h)
{
    const struct mail_rewrite rw = {
        .remove_bcc = true, .add_date = true, .message_id = SPAN_LIT("<new@out.test>"), .wall_ms = 1
    };
    struct mail_header again;
    struct buf out;
    size_t at;
    buf_init(&out, 1 << 20);
    mail_header_init(&again, 1 << 20);
    ensure(mail_rewrite(h, &rw, &out) == 0);
    ensure(scan(&again, out.data, out.len, out.len, &at) == MAIL_HEADER_DONE);
    ensure(at == out.len);
    ensure(mail_header_rest(&again).n == 0);
    const struct mail_header_info *was = mail_header_info(h), *is = mail_header_info(&again);
    ensure(!is->cut);
    ensure(!is->has_bcc);
    ensure(is->has_date);
    ensure(is->has_message_id);
    ensure(is->received == was->received);
    ensure(is->from_fields == was->from_fields);
    ensure(is->eight_bit == was->eight_bit || was->has_bcc);
    ensure(span_eq(is->subject, was->subject));
    mail_header_fini(&again);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mail_header h, bytes;
    const char *p = (const char *)data;
    size_t at, at_bytes;
    mail_header_init(&h, 5000);
    mail_header_init(&bytes, 5000);
    enum mail_header_result result = scan(&h, p, size, size == 0 ? 1 : size, &at);
    ensure(scan(&bytes, p, size, 1, &at_bytes) == result);
    if (result == MAIL_HEADER_DONE) {
        struct span rest = mail_header_rest(&h), rest_bytes = mail_header_rest(&bytes);
        ensure(at == at_bytes);
        ensure(h.end == bytes.end);
        ensure(span_eq(rest, rest_bytes));
        ensure(h.end + rest.n <= at);
        if (h.end > 0)
            ensure(memcmp(h.block.data, p, h.end) == 0);
        if (rest.n > 0)
            ensure(memcmp(rest.p, p + at - rest.n, rest.n) == 0);
        int err = mail_header_addresses(&h, SPAN_LIT("From"), check_address, NULL);
        ensure(err == 0 || err == ERR_BAD);
        check_rewritten(&h);
    }
    mail_header_fini(&h);
    mail_header_fini(&bytes);
    return 0;
}
