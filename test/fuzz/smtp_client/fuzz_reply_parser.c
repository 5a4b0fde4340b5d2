/* Any bytes through the reply parser, at once and in pieces: the same events and texts, always bounded,
 * always plain characters. */
#include "base/ensure.h"
#include "base/text.h"
#include "node/smtp/reply_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const struct smtp_reply_text *r)
{
    ensure(r->len < sizeof r->text);
    ensure(r->text[r->len] == '\0');
    ensure(text_utf8_valid(span_of(r->text, r->len)));
    for (size_t i = 0; i < r->len; i++)
        ensure((unsigned char)r->text[i] >= 0x20 && r->text[i] != 0x7f);
}

/* A digest of all events. */
static uint64_t run(const char *p, size_t n, size_t step)
{
    static struct smtp_reply_parser r;
    uint64_t digest = 1;
    smtp_reply_parser_init(&r);
    for (size_t at = 0; at < n;) {
        size_t used, take = n - at < step ? n - at : step;
        enum smtp_reply_event event = smtp_reply_parser_feed(&r, p + at, take, &used);
        ensure(used > 0);
        ensure(used <= take);
        at += used;
        if (event == SMTP_REPLY_MORE)
            continue;
        check_text(&r.reply);
        if (event == SMTP_REPLY_BAD)
            return digest * 31 + 7;
        digest = digest * 31 + r.reply.code;
        for (size_t i = 0; i < r.text.n; i++)
            digest = digest * 31 + (unsigned char)r.text.p[i];
        if (event == SMTP_REPLY_DONE) {
            ensure(r.reply.code >= 200 && r.reply.code <= 599);
            ensure(r.reply.enhanced[0] == 0 || r.reply.enhanced[0] == r.reply.code / 100);
            for (size_t i = 0; i < r.reply.len; i++)
                digest = digest * 31 + (unsigned char)r.reply.text[i];
        }
    }
    return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    uint64_t whole = run(p, size, size == 0 ? 1 : size);
    ensure(run(p, size, 1) == whole);
    ensure(run(p, size, 7) == whole);
    return 0;
}
