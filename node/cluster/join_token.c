/* Tokens. The text is "tpj1-" and base32 (RFC 4648, lower case, no padding) of
 *
 *     u16 length of all that follows | id, 8 bytes | secret | CA's SHA-256 | u8 addresses | each: u8 length,
 * text | first 4 bytes of the SHA-256 of everything before
 */
#include "node/cluster/join.h"

#include "base/cursor.h"
#include "base/ensure.h"
#include "base/err.h"
#include "node/cluster/fields.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <string.h>

#define PREFIX "tpj1-"
#define ID_BYTES 8
#define CHECK_BYTES 4
#define BYTES_MAX ((JOIN_TOKEN_MAX - sizeof PREFIX) * 5 / 8)
/* Longer ones are no tokens, however many blanks are in them. */
#define TEXT_MAX (2 * JOIN_TOKEN_MAX)

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

int join_token_make(struct join_token *t, const uint8_t ca_sha256[32])
{
    uint8_t id[ID_BYTES];
    *t = (struct join_token){ 0 };
    if (RAND_bytes(id, sizeof id) != 1 || RAND_bytes(t->secret, sizeof t->secret) != 1)
        return ERR_FAILED;
    field_put_hex(id, sizeof id, t->id);
    memcpy(t->ca_sha256, ca_sha256, sizeof t->ca_sha256);
    return 0;
}

void join_secret_hash(const uint8_t secret[JOIN_SECRET_BYTES], uint8_t sha256[32])
{
    SHA256(secret, JOIN_SECRET_BYTES, sha256);
}

static size_t encode(struct span bytes, char *out)
{
    size_t n = 0;
    unsigned have = 0, bits = 0;
    for (size_t i = 0; i < bytes.n; i++) {
        bits = (bits << 8 | (uint8_t)bytes.p[i]) & 0xffffu;
        for (have += 8; have >= 5; have -= 5)
            out[n++] = alphabet[bits >> (have - 5) & 31];
    }
    if (have > 0)
        out[n++] = alphabet[bits << (5 - have) & 31];
    return n;
}

void join_token_format(const struct join_token *t, char out[JOIN_TOKEN_MAX])
{
    struct buf b;
    buf_init(&b, BYTES_MAX);
    buf_put_u16(&b, 0);
    uint8_t id[ID_BYTES];
    ensure(field_parse_hex(span_str(t->id), id, sizeof id));
    buf_put(&b, id, sizeof id);
    buf_put(&b, t->secret, sizeof t->secret);
    buf_put(&b, t->ca_sha256, sizeof t->ca_sha256);
    ensure(t->naddresses <= sizeof t->addresses / sizeof *t->addresses);
    buf_put_u8(&b, (uint8_t)t->naddresses);
    for (uint32_t i = 0; i < t->naddresses; i++) {
        struct span a = span_str(t->addresses[i]);
        ensure(field_address_ok(a));
        buf_put_u8(&b, (uint8_t)a.n);
        buf_put_span(&b, a);
    }
    ensure(buf_err(&b) == 0);
    size_t length = b.len - 2 + CHECK_BYTES;
    b.data[0] = (char)(length & 0xff);
    b.data[1] = (char)(length >> 8);
    uint8_t sum[SHA256_DIGEST_LENGTH];
    SHA256((const uint8_t *)b.data, b.len, sum);
    buf_put(&b, sum, CHECK_BYTES);
    ensure(buf_err(&b) == 0);
    memcpy(out, PREFIX, sizeof PREFIX - 1);
    size_t n = sizeof PREFIX - 1 + encode(buf_span(&b), out + sizeof PREFIX - 1);
    ensure(n < JOIN_TOKEN_MAX);
    out[n] = '\0';
    OPENSSL_cleanse(b.data, b.cap);
    buf_fini(&b);
}

static int letter(char c)
{
    return c >= 'a' && c <= 'z'   ? c - 'a'
           : c >= 'A' && c <= 'Z' ? c - 'A'
           : c >= '2' && c <= '7' ? c - '2' + 26
                                  : -1;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int say(struct buf *why, const char *words)
{
    if (why != NULL)
        buf_put_str(why, words);
    return ERR_BAD;
}

/* Bytes of the base32 letters; ERR_BAD: another character; ERR_TORN: it ends within a byte. Bits that are
 * left over must be zero, so that a token has one text only. */
static int decode(struct span text, struct buf *out)
{
    unsigned have = 0, bits = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (blank(text.p[i]))
            continue;
        int v = letter(text.p[i]);
        if (v < 0)
            return ERR_BAD;
        bits = (bits << 5 | (unsigned)v) & 0xfffu;
        have += 5;
        if (have >= 8) {
            have -= 8;
            buf_put_u8(out, (uint8_t)(bits >> have & 0xff));
        }
    }
    return have < 5 && (bits & ((1u << have) - 1)) == 0 ? buf_err(out) : ERR_TORN;
}

static int read_fields(struct span bytes, struct join_token *out)
{
    struct cursor c;
    cursor_init(&c, bytes.p, bytes.n);
    cursor_u16(&c);
    struct span id = cursor_bytes(&c, ID_BYTES), secret = cursor_bytes(&c, JOIN_SECRET_BYTES),
                sha256 = cursor_bytes(&c, sizeof out->ca_sha256);
    out->naddresses = cursor_u8(&c);
    if (cursor_err(&c) != 0 || out->naddresses > sizeof out->addresses / sizeof *out->addresses)
        return ERR_BAD;
    field_put_hex((const uint8_t *)id.p, id.n, out->id);
    memcpy(out->secret, secret.p, secret.n);
    memcpy(out->ca_sha256, sha256.p, sha256.n);
    for (uint32_t i = 0; i < out->naddresses; i++) {
        struct span a = cursor_bytes(&c, cursor_u8(&c));
        if (cursor_err(&c) != 0 || !field_address_ok(a))
            return ERR_BAD;
        memcpy(out->addresses[i], a.p, a.n);
    }
    return cursor_left(&c) == CHECK_BYTES ? 0 : ERR_BAD;
}

static int parse(struct span bytes, bool whole, struct join_token *out, struct buf *why)
{
    size_t length = bytes.n < 2 ? SIZE_MAX : (size_t)((uint8_t)bytes.p[0] | (uint8_t)bytes.p[1] << 8);
    if (length > bytes.n - 2 || bytes.n < 2 + CHECK_BYTES)
        return say(why, "the token is cut off: copy all of it");
    if (length < bytes.n - 2)
        return say(why,
                   "the token has letters too many, or one of its first letters is wrong: copy it again");
    uint8_t sum[SHA256_DIGEST_LENGTH];
    SHA256((const uint8_t *)bytes.p, bytes.n - CHECK_BYTES, sum);
    if (!whole || memcmp(sum, bytes.p + bytes.n - CHECK_BYTES, CHECK_BYTES) != 0)
        return say(why, "a letter of the token is wrong: copy it again");
    if (read_fields(bytes, out) != 0)
        return say(why, "the token is not one that this version understands");
    return 0;
}

int join_token_parse(struct span text, struct join_token *out, struct buf *why)
{
    *out = (struct join_token){ 0 };
    while (text.n > 0 && blank(text.p[0]))
        text = span_sub(text, 1);
    struct span prefix = SPAN_LIT(PREFIX);
    if (text.n == 0)
        return say(why, "there is no token");
    if (text.n < prefix.n || !span_eq_nocase(span_of(text.p, prefix.n), prefix) || text.n > TEXT_MAX)
        return say(why, "this is not a token: one begins with " PREFIX);
    struct buf bytes;
    buf_init(&bytes, TEXT_MAX);
    int err = decode(span_sub(text, prefix.n), &bytes);
    if (err == ERR_BAD)
        say(why, "the token has a character that is in none: copy it again");
    else if (err == 0 || err == ERR_TORN)
        err = parse(buf_span(&bytes), err == 0, out, why);
    if (bytes.data != NULL)
        OPENSSL_cleanse(bytes.data, bytes.cap);
    buf_fini(&bytes);
    if (err != 0)
        OPENSSL_cleanse(out, sizeof *out);
    return err;
}
