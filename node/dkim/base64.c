/* Base64 for keys and signatures. Pure. */
#include "node/dkim/base64.h"

#include "base/base64.h"
#include "base/err.h"

int dkim_base64_get(struct span text, struct buf *out)
{
    uint32_t v = 0, bits = 0;
    size_t n = 0, padding = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            continue;
        if (c == '=') {
            padding++;
            continue;
        }
        int d = base64_value(c);
        if (d < 0 || padding > 0)
            return ERR_BAD;
        v = v << 6 | (uint32_t)d;
        bits += 6;
        n++;
        if (bits >= 8) {
            bits -= 8;
            buf_put_u8(out, (uint8_t)(v >> bits));
        }
    }
    return n % 4 == 1 || padding > 2 ? ERR_BAD : buf_err(out);
}
