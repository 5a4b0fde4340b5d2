/* A filter that says anything: the first octet chooses what is offered and how much comes at a time, the rest
 * is what it sends. It cannot say more than it was asked; what it wants told is printable, and the header
 * stays one.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "node/content/milter_session.h"
#include "node/dkim/sign.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADER                                                                                               \
    "Received: from us\r\nFrom: anna@example.com\r\nX-Two: 1\r\nSubject: a\r\n b\r\nX-Two: 2\r\n\r\n"

static void printable(const char *text, size_t cap)
{
    ensure(memchr(text, '\0', cap) != NULL);
    for (; *text != '\0'; text++)
        ensure(*text >= ' ' && *text <= '~');
}

static void check_header(const struct milter_fields *f)
{
    struct buf b;
    struct span field;
    uint32_t n = 0, there = 0;
    bool ours = false;
    buf_init(&b, sizeof HEADER + MILTER_CHANGED_BYTES);
    ensure(milter_fields_put(f, &b) == 0);
    struct span rest = buf_span(&b);
    for (; dkim_field_next(&rest, &field); n++) {
        ours = ours || span_eq(field, SPAN_LIT("Received: from us\r\n"));
        ensure(field.n >= 3 && memchr(field.p, ':', field.n) != NULL);
        while (field.n > 0) { /* no line is blank, none ends but with CRLF */
            struct span line = span_cut(&field, '\n');
            ensure(line.n > 1 && line.n <= 999 && line.p[line.n - 1] == '\r');
            line.n--;
            ensure(memchr(line.p, '\r', line.n) == NULL && memchr(line.p, '\0', line.n) == NULL);
            ensure(span_trim(line).n > 0);
        }
    }
    for (uint32_t i = 0; i < f->n; i++)
        there += !f->items[i].gone;
    ensure(ours && n == there && span_eq(rest, SPAN_LIT("\r\n")));
    buf_fini(&b);
}

static void check_answer(const struct milter_answer *a)
{
    printable(a->enhanced, sizeof a->enhanced);
    printable(a->text, sizeof a->text);
    printable(a->rcpt, sizeof a->rcpt);
    ensure(a->code == 0 || (a->code >= 400 && a->code <= 599));
    ensure(a->code == 0 || (a->code < 500) == (a->verdict == MILTER_DEFERRED));
    ensure(a->enhanced[0] == '\0' || a->enhanced[0] - '0' == a->code / 100);
}

/* What is sent is packets, as many as fit, and nothing while an answer is awaited. */
static void pump(struct milter_session *s, struct buf *out)
{
    bool waits = s->waits;
    struct span packet;
    char command;
    buf_reset(out);
    ensure(milter_session_pump(s, out) == 0);
    ensure(!waits || out->len == 0);
    struct span rest = buf_span(out);
    while (milter_next(&rest, &command, &packet) == 1)
        ;
    ensure(rest.n == 0);
}

static enum milter_result talk(struct milter_session *s, struct span *in, size_t piece, struct buf *out)
{
    struct span now = span_of(in->p, 0);
    for (;;) {
        pump(s, out);
        if (!s->waits && s->step < MILTER_STEP_LAST && now.n == 0)
            continue; /* the buffer was full */
        size_t n = now.n + piece < in->n ? now.n + piece : in->n;
        bool end = n == now.n;
        now.n = n;
        size_t before = now.n;
        enum milter_result r = milter_session_take(s, &now);
        *in = span_sub(*in, before - now.n);
        if (r != MILTER_MORE || (end && before == now.n))
            return r;
        now.p = in->p;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char body[2 * MILTER_DATA_MAX];
    struct milter_about about = { .hostname = SPAN_LIT("mx"),
                                  .ip = SPAN_LIT("192.0.2.1"),
                                  .helo = SPAN_LIT("x") };
    struct milter_fields fields;
    struct milter_session s;
    struct buf script, out;
    if (size == 0)
        return 0;
    struct span in = span_of((const char *)data + 1, size - 1);
    buf_init(&script, MILTER_SCRIPT_MAX);
    buf_init(&out, MILTER_OUT_MAX);
    ensure(milter_script_begin(&script, &about) == 0 &&
           milter_script_rcpt(&script, SPAN_LIT("bob@example.net")) == 0 && milter_script_end(&script) == 0);
    milter_session_init(&s, (data[0] & 1) != 0);
    enum milter_result r = MILTER_DONE;
    for (unsigned i = 0; i < 4 && r == MILTER_DONE; i++) {
        ensure(milter_fields_read(&fields, SPAN_LIT(HEADER)) == 0);
        struct milter_message m = { buf_span(&script), &fields,
                                    span_of(body, (data[0] & 2) != 0 ? sizeof body : 3) };
        milter_session_begin(&s, &m);
        r = talk(&s, &in, 1u + (data[0] >> 2), &out);
        check_header(&fields);
        if (r == MILTER_DONE)
            check_answer(&s.answer);
        if (r == MILTER_FAILED)
            printable(s.why, sizeof s.why);
        milter_fields_fini(&fields);
        buf_reset(&out);
        if (r == MILTER_DONE && !milter_session_again(&s, &out))
            break;
    }
    buf_fini(&script);
    buf_fini(&out);
    return 0;
}
