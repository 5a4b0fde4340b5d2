/* What Dovecot says: split anywhere, it means the same, and never more than the protocol has. */
#include "base/ensure.h"
#include "base/err.h"
#include "node/auth/dovecot.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    uint32_t ready, answers;
    uint64_t sum;
};

static void on_event(void *ctx, enum dovecot_event event, uint32_t id, struct span user)
{
    struct seen *s = ctx;
    if (event == DOVECOT_READY) {
        s->ready++;
    } else {
        ensure(s->ready == 1);
        ensure(id != 0);
        s->answers++;
    }
    s->sum = s->sum * 31 + (uint64_t)event * 7 + id;
    for (size_t i = 0; i < user.n; i++)
        s->sum = s->sum * 31 + (unsigned char)user.p[i];
}

static int feed(const uint8_t *data, size_t size, size_t step, struct seen *s)
{
    struct dovecot d;
    struct buf out;
    int err = 0;
    dovecot_init(&d);
    buf_init(&out, 1024);
    dovecot_start(&d, 1, &out);
    for (size_t at = 0; at < size && err == 0; at += step)
        err = dovecot_input(&d, (const char *)data + at, size - at < step ? size - at : step, on_event, s);
    ensure((err == 0) == (d.why == NULL));
    buf_fini(&out);
    dovecot_fini(&d);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole = { 0 }, split = { 0 };
    int err = feed(data, size, size + 1, &whole);
    ensure(feed(data, size, 1 + size % 7, &split) == err);
    ensure(whole.sum == split.sum);
    ensure(whole.answers == split.answers);
    return 0;
}
