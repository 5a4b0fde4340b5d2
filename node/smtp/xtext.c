/* xtext, utf-8-addr-xtext and utf-8-addr-unitext. See the header. Pure; any thread. */
#include "node/smtp/xtext.h"

#include "base/err.h"
#include "base/text.h"

#include <stdint.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* No C0, DEL or C1 controls, and valid UTF-8. */
static bool decoded_ok(const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t len = text_utf8_len(p + i, n - i);
        unsigned char c = (unsigned char)p[i];
        if (len == 0 || c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)p[i + 1] < 0xa0))
            return false;
        i += len;
    }
    return true;
}

int smtp_xtext_decode(char *p, size_t *n)
{
    size_t out = 0;
    for (size_t i = 0; i < *n; i++) {
        char c = p[i];
        if (c == '+') {
            if (*n - i < 3 || hex(p[i + 1]) < 0 || hex(p[i + 2]) < 0)
                return ERR_BAD;
            c = (char)(uint8_t)(hex(p[i + 1]) << 4 | hex(p[i + 2]));
            i += 2;
        } else if (c < 0x21 || c > 0x7e || c == '=') {
            return ERR_BAD;
        }
        p[out++] = c;
    }
    *n = out;
    return decoded_ok(p, out) ? 0 : ERR_BAD;
}

/* Writes the code point as UTF-8; its length, or 0 if there is no such character. */
static size_t put_utf8(char *p, uint32_t cp)
{
    if (cp < 0x80) {
        p[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        p[0] = (char)(uint8_t)(0xc0 | cp >> 6);
        p[1] = (char)(uint8_t)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        if (cp >= 0xd800 && cp <= 0xdfff)
            return 0;
        p[0] = (char)(uint8_t)(0xe0 | cp >> 12);
        p[1] = (char)(uint8_t)(0x80 | (cp >> 6 & 0x3f));
        p[2] = (char)(uint8_t)(0x80 | (cp & 0x3f));
        return 3;
    }
    if (cp > 0x10ffff)
        return 0;
    p[0] = (char)(uint8_t)(0xf0 | cp >> 18);
    p[1] = (char)(uint8_t)(0x80 | (cp >> 12 & 0x3f));
    p[2] = (char)(uint8_t)(0x80 | (cp >> 6 & 0x3f));
    p[3] = (char)(uint8_t)(0x80 | (cp & 0x3f));
    return 4;
}

/* "\x{HEX}" at p: its length, with the code point in *cp; 0 if it is none. */
static size_t embedded(const char *p, size_t n, uint32_t *cp)
{
    if (n < 5 || p[1] != 'x' || p[2] != '{')
        return 0;
    size_t i = 3;
    for (*cp = 0; i < n && i < 9 && hex(p[i]) >= 0; i++)
        *cp = *cp << 4 | (uint32_t)hex(p[i]);
    return i == 3 || i >= n || p[i] != '}' ? 0 : i + 1;
}

int smtp_utf8_addr_decode(char *p, size_t *n, bool raw_utf8)
{
    size_t out = 0;
    for (size_t i = 0; i < *n;) {
        unsigned char c = (unsigned char)p[i];
        if (c == '\\') {
            uint32_t cp;
            size_t len = embedded(p + i, *n - i, &cp);
            /* never longer than its escape: the shortest one, 5 bytes, gives 1 */
            size_t put = len == 0 ? 0 : put_utf8(p + out, cp);
            if (put == 0)
                return ERR_BAD;
            out += put;
            i += len;
        } else if ((c >= 0x80 && raw_utf8) || (c > 0x20 && c < 0x7f && c != '+' && c != '=')) {
            p[out++] = p[i++];
        } else {
            return ERR_BAD;
        }
    }
    *n = out;
    return decoded_ok(p, out) ? 0 : ERR_BAD;
}
