/* Signs many odd messages for check_samples.py: for each a line "SELECTOR RECORD" per key, a line "MESSAGE
 * n", and the n octets of the signed message. Random, but the same ones each time. */
#include "base/ensure.h"
#include "node/dkim/record.h"
#include "node/dkim/sign.h"

#include <stdio.h>
#include <stdlib.h>

#define MESSAGES 150

static uint64_t seed = 0x2026112207ull;

static uint32_t below(uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((seed >> 33) % n);
}

static void put_piece(struct buf *out, bool body)
{
    static const char *const pieces[] = {
        "a",     "Bb",     " ",  "  ",   "\t",       ":",     ";", "=",    "gr\xc3\xbc\xc3\x9f\x65",
        "\r\n ", "\r\n\t", "b=", "\r\n", "\r\n\r\n", " \r\n", ".", "\r\n."
    };
    buf_put_str(out, pieces[below(body ? 17 : 11)]);
}

static void put_message(struct buf *header, struct buf *body)
{
    static const char *const names[] = { "From",       "to",      "SUBJECT", "Date",
                                         "Message-ID", "X-Other", "Cc",      "Received" };
    buf_put_str(header, "From: a@example.com\r\n");
    for (uint32_t i = below(12); i > 0; i--) {
        buf_put_str(header, names[below(8)]);
        buf_put_str(header, below(3) == 0 ? ":" : ": ");
        for (uint32_t k = below(8); k > 0; k--)
            put_piece(header, false);
        buf_put_str(header,
                    "z\r\n"); /* no line of blanks alone at the end, nor one before a colon: parsers differ */
    }
    for (uint32_t k = below(60); k > 0; k--)
        put_piece(body, true);
    if (body->len > 0) /* a message's content ends with a line's end */
        buf_put_str(body, "\r\n");
}

static void sign_one(const struct dkim_signature *with, uint32_t n, struct buf *out)
{
    static const char *const names[] = { "From", "To", "Subject", "Date", "Cc" };
    static const char *const over[] = { "From", "Subject", "Reply-To" };
    struct dkim_style style = { .header = below(2) ? DKIM_RELAXED : DKIM_SIMPLE,
                                .body = below(2) ? DKIM_RELAXED : DKIM_SIMPLE,
                                .expire_ms = below(2) ? 4000000000000 : 0,
                                .names = names,
                                .nnames = 5,
                                .oversigned = over,
                                .noversigned = 3 };
    struct buf header, body;
    struct dkim_signer *s;
    buf_init(&header, 1 << 20);
    buf_init(&body, 1 << 20);
    put_message(&header, &body);
    ensure(dkim_signer_new(&style, with, n, &s) == 0);
    ensure(dkim_signer_header(s, buf_span(&header)) == 0);
    for (size_t at = 0; at < body.len;) {
        size_t left = body.len - at, step = 1 + below(20);
        dkim_signer_body(s, span_of(body.data + at, left < step ? left : step));
        at += left < step ? left : step;
    }
    ensure(dkim_signer_sign(s, 1700000000000, out) == 0);
    dkim_signer_free(s);
    buf_put_span(out, buf_span(&header));
    buf_put_str(out, "\r\n");
    buf_put_span(out, buf_span(&body));
    buf_fini(&header);
    buf_fini(&body);
}

int main(void)
{
    struct dkim_signature with[3] = { { NULL, "example.com", "rsa" },
                                      { NULL, "example.com", "ed" },
                                      { NULL, "news.example.org", "other.2026" } };
    ensure(dkim_key_generate(DKIM_RSA, 2048, &with[0].key) == 0);
    ensure(dkim_key_generate(DKIM_ED25519, 0, &with[1].key) == 0);
    ensure(dkim_key_generate(DKIM_RSA, 1024, &with[2].key) == 0);
    struct buf out;
    buf_init(&out, 4 << 20);
    for (int i = 0; i < 3; i++) {
        buf_reset(&out);
        ensure(dkim_record_put(with[i].key, &out) == 0);
        printf("KEY %s._domainkey.%s %.*s\n", with[i].selector, with[i].domain, (int)out.len, out.data);
    }
    for (int i = 0; i < MESSAGES; i++) {
        uint32_t first = below(3), n = 1 + below(3 - first);
        buf_reset(&out);
        sign_one(with + first, n, &out);
        ensure(buf_err(&out) == 0);
        printf("MESSAGE %u %zu\n", n, out.len);
        fwrite(out.data, 1, out.len, stdout);
        printf("\n");
    }
    for (int i = 0; i < 3; i++)
        dkim_key_rele(with[i].key);
    buf_fini(&out);
    return 0;
}
