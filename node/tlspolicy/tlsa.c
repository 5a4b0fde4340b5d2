/* Which TLSA records can be used. Any thread. */
#include "node/tlspolicy/tlsa.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SELECTOR_CERT = 0, SELECTOR_KEY = 1 };
enum { MATCHING_FULL = 0, MATCHING_SHA256 = 1, MATCHING_SHA512 = 2 };

/* What is to be compared as a whole must be something that a server could present. */
static bool readable(uint8_t selector, struct span data)
{
    const unsigned char *p = (const unsigned char *)data.p;
    const unsigned char *end = p + data.n;
    bool ok = false;
    if (selector == SELECTOR_CERT) {
        X509 *cert = d2i_X509(NULL, &p, (long)data.n);
        ok = cert != NULL && p == end && X509_get0_pubkey(cert) != NULL;
        X509_free(cert);
    } else {
        EVP_PKEY *key = d2i_PUBKEY(NULL, &p, (long)data.n);
        ok = key != NULL && p == end;
        EVP_PKEY_free(key);
    }
    ERR_clear_error();
    return ok;
}

static bool usable(struct span rdata, struct tlsa_record *out)
{
    if (rdata.n < 4)
        return false;
    const uint8_t *p = (const uint8_t *)rdata.p;
    *out =
        (struct tlsa_record){ .usage = p[0], .selector = p[1], .matching = p[2], .data = span_sub(rdata, 3) };
    if (out->usage != TLSA_USAGE_TA && out->usage != TLSA_USAGE_EE)
        return false;
    if (out->selector != SELECTOR_CERT && out->selector != SELECTOR_KEY)
        return false;
    switch (out->matching) {
    case MATCHING_FULL:
        return out->data.n <= TLSA_DATA_MAX && readable(out->selector, out->data);
    case MATCHING_SHA256:
        return out->data.n == 32;
    case MATCHING_SHA512:
        return out->data.n == 64;
    default:
        return false;
    }
}

enum tlsa_status tlsa_select(const struct span *rdata, size_t n, struct tlsa_set **out)
{
    struct tlsa_set found = { 0 };
    size_t bytes = 0;
    *out = NULL;
    for (size_t i = 0; i < n && found.n < TLSA_RECORDS_MAX; i++) {
        if (usable(rdata[i], &found.records[found.n]))
            bytes += found.records[found.n++].data.n;
    }
    if (found.n == 0)
        return n == 0 ? TLSA_NONE : TLSA_UNUSABLE;
    struct tlsa_set *set = malloc(sizeof *set + bytes);
    if (set == NULL)
        return TLSA_FAILED;
    *set = found;
    char *to = (char *)(set + 1);
    for (uint32_t i = 0; i < set->n; i++) {
        struct span *data = &set->records[i].data;
        memcpy(to, data->p, data->n);
        data->p = to;
        to += data->n;
    }
    *out = set;
    return TLSA_USABLE;
}
