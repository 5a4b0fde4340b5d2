/* Any bytes as a message to sign, the first one saying how. Checked: the fields of the header are together
 * what came in; cutting the body changes nothing; and what is signed comes out as whole fields. */
#include "base/ensure.h"
#include "base/err.h"
#include "node/dkim/sign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = { "From", "To", "Subject", "X" };

static int sign(unsigned how, struct span header, struct span body, size_t step, struct buf *out)
{
    static struct dkim_key *key;
    struct dkim_style style = { .header = (how & 1) != 0 ? DKIM_RELAXED : DKIM_SIMPLE,
                                .body = (how & 2) != 0 ? DKIM_RELAXED : DKIM_SIMPLE,
                                .names = names,
                                .nnames = 4,
                                .oversigned = names,
                                .noversigned = (how >> 2) % 4 };
    if (key == NULL)
        ensure(dkim_key_generate(DKIM_ED25519, 0, &key) == 0);
    struct dkim_signature with = { key, "example.com", "s" };
    struct dkim_signer *s;
    ensure(dkim_signer_new(&style, &with, 1, &s) == 0);
    int err = dkim_signer_header(s, header);
    for (size_t at = 0; err == 0 && at < body.n; at += step)
        dkim_signer_body(s, span_of(body.p + at, body.n - at < step ? body.n - at : step));
    if (err == 0)
        err = dkim_signer_sign(s, 1700000000000, out);
    dkim_signer_free(s);
    return err;
}

static void check_fields(struct span header)
{
    struct span rest = header, whole;
    while (dkim_field_next(&rest, &whole)) {
        ensure(whole.n > 0);
        ensure(whole.p + whole.n == rest.p);
    }
    ensure(rest.n == 0 || rest.p[0] == '\r' || rest.p[0] == '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct span message = span_of(data + 1, size - 1), rest, whole;
    const char *end = memmem(message.p, message.n, "\r\n\r\n", 4);
    struct span header = end == NULL ? message : span_of(message.p, (size_t)(end - message.p) + 4);
    struct span body = span_sub(message, header.n);
    struct buf one, other;
    buf_init(&one, DKIM_OUT_MAX);
    buf_init(&other, DKIM_OUT_MAX);
    check_fields(header);
    int err = sign(data[0], header, body, body.n + 1, &one);
    ensure(err == 0 || err == ERR_BAD || err == ERR_LIMIT);
    ensure(sign(data[0], header, body, 1 + data[0] % 7, &other) == err);
    if (err == 0) {
        ensure(span_eq(buf_span(&one), buf_span(&other)));
        rest = buf_span(&one);
        ensure(dkim_field_next(&rest, &whole));
        ensure(rest.n == 0);
        ensure(span_starts(whole, SPAN_LIT("DKIM-Signature: v=1; a=ed25519-sha256;")));
    }
    buf_fini(&one);
    buf_fini(&other);
    return 0;
}
