/* Fuzzes the file of sealing keys and what is encrypted with them. The first byte chooses: 0, the bytes are
 * the file; else they are an encrypted secret. Only what was made with a key opens; what is read of the file
 * is written as it was read. */
#include "base/ensure.h"
#include "base/err.h"
#include "node/cluster/seal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void file(struct span text)
{
    struct seal_keys keys, again;
    struct buf out;
    buf_init(&out, 4096);
    if (seal_keys_parse(text, &keys) == 0) {
        ensure(keys.n <= SEAL_KEYS_MAX);
        ensure(seal_keys_format(&keys, &out) == 0);
        ensure(seal_keys_parse(buf_span(&out), &again) == 0);
        ensure(again.n == keys.n);
        ensure(memcmp(keys.key, again.key, sizeof keys.key) == 0);
    }
    buf_fini(&out);
}

static void secret(struct span bytes)
{
    static const uint8_t fixed[SEAL_KEY_BYTES] = "a key that is always the same";
    struct seal_key key;
    struct buf out, sealed;
    buf_init(&out, 1u << 16);
    buf_init(&sealed, 1u << 17);
    seal_key_take(1, fixed, &key);
    ensure(seal_open(&key, SPAN_LIT("about"), bytes, &out) != 0);
    ensure(out.len == 0);
    if (bytes.n > 0 && bytes.n < 4096 && seal_put(&key, SPAN_LIT("about"), bytes, &sealed) == 0) {
        ensure(seal_open(&key, SPAN_LIT("about"), buf_span(&sealed), &out) == 0);
        ensure(span_eq(buf_span(&out), bytes));
    }
    buf_fini(&out);
    buf_fini(&sealed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct span rest = span_of((const char *)data + 1, size - 1);
    if (data[0] == 0)
        file(rest);
    else
        secret(rest);
    return 0;
}
