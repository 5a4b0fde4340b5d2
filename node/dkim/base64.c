/* Base64 for keys and signatures. Pure. */
#include "node/dkim/base64.h"

#include "base/err.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int dkim_base64_put(struct buf *out, const void *p, size_t n)
{
    const uint8_t *in = p;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16;
        if (i + 1 < n)
            v |= (uint32_t)in[i + 1] << 8;
        if (i + 2 < n)
            v |= in[i + 2];
        char group[4] = { digits[v >> 18], digits[v >> 12 & 63], digits[v >> 6 & 63], digits[v & 63] };
        if (i + 1 >= n)
            group[2] = '=';
        if (i + 2 >= n)
            group[3] = '=';
        buf_put(out, group, 4);
    }
    return buf_err(out);
}

static int digit(char c)
{
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)(at - digits);
}

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
        int d = digit(c);
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
