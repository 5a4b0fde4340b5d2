/* The DNS record of a key. Pure. */
#include "node/dkim/record.h"

#include "base/base64.h"
#include "base/err.h"
#include "node/dkim/base64.h"
#include "node/dkim/tags.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>

int dkim_record_put(const struct dkim_key *k, struct buf *out)
{
    struct buf raw;
    buf_init(&raw, DKIM_RECORD_MAX);
    int err = dkim_key_put_public(k, &raw);
    if (err == 0) {
        buf_printf(out, "v=DKIM1; k=%s; p=", dkim_algorithm_name(dkim_key_algorithm(k)));
        err = base64_put(out, raw.data, raw.len);
    }
    buf_fini(&raw);
    return err;
}

int dkim_record_put_zone(struct span record, struct buf *out)
{
    for (bool first = true; record.n > 0; first = false) {
        size_t n = record.n < 255 ? record.n : 255;
        buf_put_str(out, first ? "\"" : " \"");
        buf_put(out, record.p, n);
        buf_put_char(out, '"');
        record = span_sub(record, n);
    }
    return buf_err(out);
}

const char *dkim_record_state_name(enum dkim_record_state state)
{
    static const char *const names[] = { "matches", "differs", "revoked", "too_short", "broken" };
    return names[state];
}

static void broken(struct dkim_record_info *out, const char *why)
{
    out->state = DKIM_RECORD_BROKEN;
    snprintf(out->why, sizeof out->why, "%s", why);
}

/* An absent tag is 0 with an empty value. */
static int optional(struct span record, const char *name, struct span *value)
{
    *value = (struct span){ "", 0 };
    int err = dkim_tag_find(record, name, value);
    return err == ERR_NOT_FOUND ? 0 : err;
}

/* What stands besides the key. False: `out` has what is wrong. */
static bool terms_good(struct span record, struct dkim_record_info *out)
{
    struct span rest = record, version, type, hashes, service, flags;
    struct dkim_tag first;
    if (dkim_tag_next(&rest, &first) != 1 || optional(record, "v", &version) != 0 ||
        optional(record, "k", &type) != 0 || optional(record, "h", &hashes) != 0 ||
        optional(record, "s", &service) != 0 || optional(record, "t", &flags) != 0) {
        broken(out, "it is no list of tags such as \"v=DKIM1; k=rsa; p=...\"");
        return false;
    }
    out->testing = dkim_tag_has(flags, "y");
    out->algorithm = span_eq(type, SPAN_LIT("ed25519")) ? DKIM_ED25519 : DKIM_RSA;
    if (version.n > 0 && (!span_eq(version, SPAN_LIT("DKIM1")) || !span_eq(first.name, SPAN_LIT("v"))))
        broken(out, "v= must be DKIM1, and come first");
    else if (type.n > 0 && !span_eq(type, SPAN_LIT("rsa")) && !span_eq(type, SPAN_LIT("ed25519")))
        broken(out, "k= is neither rsa nor ed25519");
    else if (hashes.n > 0 && !dkim_tag_has(hashes, "sha256"))
        broken(out, "h= does not allow sha256");
    else if (service.n > 0 && !dkim_tag_has(service, "email") && !dkim_tag_has(service, "*"))
        broken(out, "s= does not allow email");
    else
        return true;
    return false;
}

/* RSA's key in either form. 0: it is none. */
static uint32_t rsa_bits(const struct buf *raw)
{
    const unsigned char *p = (const unsigned char *)raw->data;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &p, (long)raw->len);
    if (pkey == NULL) {
        p = (const unsigned char *)raw->data;
        pkey = d2i_PublicKey(EVP_PKEY_RSA, NULL, &p, (long)raw->len);
    }
    int bits = pkey == NULL || EVP_PKEY_get_base_id(pkey) != EVP_PKEY_RSA ? 0 : EVP_PKEY_get_bits(pkey);
    EVP_PKEY_free(pkey);
    return bits > 0 ? (uint32_t)bits : 0;
}

/* Whether the record has this key, in one form or the other. */
static bool same_key(const struct buf *raw, const struct dkim_key *key)
{
    struct buf own;
    buf_init(&own, DKIM_RECORD_MAX);
    bool same = dkim_key_put_public(key, &own) == 0 && span_eq(buf_span(&own), buf_span(raw));
    if (!same && dkim_key_algorithm(key) == DKIM_RSA) {
        buf_reset(&own);
        same = dkim_key_put_public_pkcs1(key, &own) == 0 && span_eq(buf_span(&own), buf_span(raw));
    }
    buf_fini(&own);
    return same;
}

static void check_key(const struct buf *raw, const struct dkim_key *key, struct dkim_record_info *out)
{
    out->bits = out->algorithm == DKIM_RSA ? rsa_bits(raw) : 256;
    if (out->bits == 0) {
        broken(out, "p= is no RSA key");
    } else if (out->algorithm == DKIM_ED25519 && raw->len != 32) {
        broken(out, "p= does not have the 32 octets of an Ed25519 key");
    } else if (key != NULL && (dkim_key_algorithm(key) != out->algorithm || !same_key(raw, key))) {
        out->state = DKIM_RECORD_DIFFERS;
        snprintf(out->why, sizeof out->why, "%s",
                 dkim_key_algorithm(key) != out->algorithm ? "it is for another algorithm"
                                                           : "it has another key");
    } else {
        out->state = out->bits < DKIM_RSA_BITS_MIN && out->algorithm == DKIM_RSA ? DKIM_RECORD_TOO_SHORT
                                                                                 : DKIM_RECORD_GOOD;
    }
}

int dkim_record_check(struct span record, const struct dkim_key *key, struct dkim_record_info *out)
{
    struct span value;
    *out = (struct dkim_record_info){ .state = DKIM_RECORD_BROKEN };
    if (!terms_good(record, out))
        return 0;
    if (dkim_tag_find(record, "p", &value) != 0) {
        broken(out, "it has no p=");
        return 0;
    }
    if (value.n == 0) {
        out->state = DKIM_RECORD_REVOKED;
        return 0;
    }
    struct buf raw;
    buf_init(&raw, DKIM_RECORD_MAX);
    int err = dkim_base64_get(value, &raw);
    if (err == 0)
        check_key(&raw, key, out);
    else if (err != -ENOMEM)
        broken(out, "p= is not in base64");
    buf_fini(&raw);
    return err == -ENOMEM ? err : 0;
}
