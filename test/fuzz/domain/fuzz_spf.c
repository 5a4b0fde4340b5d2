/* SPF, DMARC: what a hostile zone answers. The input: an octet of options, then for each question an octet
 * (how many records, or none, or a failure) and records, each a length and so many octets. When it is used
 * up, the last answer is given again and again: the machine has to end all the same. */
#include "node/domain/dmarc.h"
#include "node/domain/name.h"
#include "node/domain/spf.h"

#include <stdint.h>
#include <stdlib.h>

#define QUESTIONS_MAX 400
#define RECORDS_MAX 24

struct input {
    const uint8_t *p;
    size_t n;
};

static size_t take(struct input *in)
{
    if (in->n == 0)
        return 0;
    in->n--;
    return *in->p++;
}

static void next_answer(struct input *in, struct span *records, struct spf_answer *a)
{
    if (in->n == 0)
        return;
    size_t head = take(in);
    a->status = head == 255 ? SPF_DNS_FAILED : head == 254 ? SPF_DNS_NONE : SPF_DNS_OK;
    a->n = 0;
    for (size_t i = 0; a->status == SPF_DNS_OK && i < head % RECORDS_MAX && in->n > 0; i++) {
        size_t len = take(in);
        len = len > in->n ? in->n : len;
        records[a->n++] = span_of(in->p, len);
        in->p += len;
        in->n -= len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    struct span records[RECORDS_MAX];
    struct spf_answer a = { .status = SPF_DNS_OK, .records = records };
    struct dmarc_record dmarc;
    size_t options = take(&in), asked = 0;
    struct spf_input who = { .local = SPAN_LIT("a.b-c+d"),
                             .domain = SPAN_LIT("a.test"),
                             .helo = SPAN_LIT("h.test") };
    uint8_t bytes[16] = { 0x20, 1, 0xd, 0xb8, [15] = 1 };
    who.ip = (options & 1) != 0 ? ip_addr_v6(bytes, NULL) : ip_addr_v4(bytes);
    (void)dmarc_parse(span_of(in.p, in.n), &dmarc);
    struct spf *s = spf_new(&who);
    for (const struct spf_question *q; s != NULL && (q = spf_next(s)) != NULL; asked++) {
        if (asked > QUESTIONS_MAX || !domain_name_valid(span_str(q->name)))
            abort();
        next_answer(&in, records, &a);
        spf_feed(s, &a);
    }
    if (s != NULL && spf_verdict(s)->lookups > 11)
        abort();
    spf_free(s);
    return 0;
}
