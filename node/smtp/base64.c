/* Base64 decoding. See the header. Pure; any thread. */
#include "node/smtp/base64.h"

#include "base/base64.h"
#include "base/err.h"

#include <stdint.h>

int smtp_base64_decode(struct span s, char *out, size_t *n)
{
    *n = 0;
    if (s.n % 4 != 0)
        return ERR_BAD;
    size_t pad = 0;
    while (pad < 2 && pad < s.n && s.p[s.n - 1 - pad] == '=')
        pad++;
    size_t chars = s.n - pad, len = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < chars; i++) {
        int v = base64_value(s.p[i]);
        if (v < 0)
            return ERR_BAD;
        bits = bits << 6 | (uint32_t)v;
        if (i % 4 != 0)
            out[len++] = (char)(uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    /* bits left over must be zero, so that each text has one encoding */
    unsigned left = chars % 4 == 2 ? 4 : chars % 4 == 3 ? 2 : 0;
    if ((bits & ((1u << left) - 1)) != 0)
        return ERR_BAD;
    *n = len;
    return 0;
}
