/* Any bytes as a reply. Checked: a class that exists, codes within their ranges, the same without case. */
#include "base/ensure.h"
#include "node/bounce/class.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bounce_reply r;
    bounce_reply_read(span_of(data, size), &r);
    ensure(r.code == 0 || (r.code >= 400 && r.code < 600));
    ensure(r.status[0] == 0 || r.status[0] == 2 || r.status[0] == 4 || r.status[0] == 5);
    enum bounce_class c = bounce_classify(&r);
    ensure(c < BOUNCE_CLASSES);
    ensure(!bounce_is_dead(&r, c) || bounce_is_hard(&r));
    char *upper = malloc(size + 1);
    if (upper == NULL)
        return 0;
    for (size_t i = 0; i < size; i++)
        upper[i] = (char)(data[i] >= 'a' && data[i] <= 'z' ? data[i] - 'a' + 'A' : data[i]);
    r.text = span_of(upper, size);
    ensure(bounce_classify(&r) == c);
    free(upper);
    return 0;
}
