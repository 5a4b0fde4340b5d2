/* Any bytes as the record of a key. Checked: whatever it is, there is an answer, with a reason where it is
 * broken; what is good without a key to compare with is not broken with one. */
#include "base/ensure.h"
#include "node/dkim/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct dkim_key *key;
    struct dkim_record_info alone, compared;
    if (key == NULL)
        ensure(dkim_key_generate(DKIM_ED25519, 0, &key) == 0);
    ensure(dkim_record_check(span_of(data, size), NULL, &alone) == 0);
    ensure(dkim_record_check(span_of(data, size), key, &compared) == 0);
    ensure(alone.state != DKIM_RECORD_DIFFERS);
    ensure((alone.state == DKIM_RECORD_BROKEN) == (alone.why[0] != '\0'));
    ensure((alone.state == DKIM_RECORD_BROKEN) == (compared.state == DKIM_RECORD_BROKEN));
    return 0;
}
