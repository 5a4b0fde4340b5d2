/* Any bytes as a return path's token, and as what one is made of. Checked: what was made is read again as it
 * was, and nothing that was not made is taken.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "node/bounce/token.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bounce_key key;
    struct bounce_ref ref = { .day = 20000 }, got;
    char text[BOUNCE_TOKEN_TEXT + 1];
    ensure(bounce_key_derive(SPAN_LIT("a secret of the fuzzer"), &key) == 0);
    ensure(bounce_token_read(&key, span_of(data, size), 20000, 30, &got) == ERR_BAD);
    unsigned char raw[13] = { 0 };
    memcpy(raw, data, size < sizeof raw ? size : sizeof raw);
    memcpy(&ref.account, raw, 6);
    memcpy(&ref.rcpt, raw + 6, 4);
    memcpy(&ref.salt, raw + 10, 2);
    ref.own = (raw[12] & 1) != 0;
    ref.class = raw[12] >> 1;
    ensure(bounce_token_write(&key, &ref, text) == 0);
    ensure(bounce_token_read(&key, span_of(text, BOUNCE_TOKEN_TEXT), 20000, 30, &got) == 0);
    ensure(got.account == ref.account);
    ensure(got.rcpt == ref.rcpt);
    ensure(got.salt == ref.salt && got.own == ref.own && got.class == ref.class);
    return 0;
}
