/* Fuzzes what is shown of a message: bounded, valid UTF-8, and nothing in it that a terminal would obey. */
#include "base/ensure.h"
#include "base/text.h"
#include "node/bounce/preview.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void harmless(struct span s)
{
    ensure(text_utf8_valid(s));
    for (size_t i = 0; i < s.n; i++)
        ensure((unsigned char)s.p[i] >= 0x20 || s.p[i] == '\n');
}

static void on_field(void *arg, struct span name, struct span value)
{
    unsigned *n = arg;
    ensure(++*n <= PREVIEW_FIELDS_MAX);
    ensure(name.n <= 80);
    harmless(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf out;
    unsigned n = 0;
    bool cut;
    buf_init(&out, 2 * PREVIEW_TEXT_MAX);
    preview_fields(span_of(data, size), on_field, &n);
    (void)preview_text(span_of(data, size), &out, &cut);
    ensure(out.len <= PREVIEW_TEXT_MAX);
    harmless(buf_span(&out));
    buf_fini(&out);
    return 0;
}
