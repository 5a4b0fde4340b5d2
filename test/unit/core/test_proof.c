/* What proves a domain: the record's value, and finding it among what the DNS has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/core/proof.h"
#include "node/net/dns.h"

#include <stdio.h>
#include <string.h>

static const struct secret old = { .n = 16, .text = "0123456789abcdef" },
                           fresh = { .n = 16, .text = "a fresh secret16" };

static const char *value(const struct secret *s, const char *tenant, const char *domain)
{
    static char out[PROOF_VALUE_MAX];
    assert_int_equal(proof_value(s, span_str(tenant), span_str(domain), out), 0);
    return out;
}

static void the_value(void **state)
{
    (void)state;
    /* HMAC-SHA-256 of "turnpike domain", 0, "acme", 0, "example.com", as Python's hmac and base64 have it */
    assert_string_equal(value(&old, "acme", "example.com"),
                        "turnpike-proof=loefwgtbrzkec5so5zrflhi35tlgii7r");
    char first[PROOF_VALUE_MAX];
    memcpy(first, value(&old, "acme", "example.com"), sizeof first);
    assert_string_not_equal(first, value(&old, "evil", "example.com"));
    assert_string_not_equal(first, value(&old, "acme", "example.org"));
    assert_string_not_equal(first, value(&old, "", "acmeexample.com"));
    assert_string_not_equal(first, value(&fresh, "acme", "example.com"));
}

/* rdata of strings */
static struct span txt(char *out, const char *one, const char *two)
{
    size_t n = 0;
    out[n++] = (char)strlen(one);
    memcpy(out + n, one, strlen(one));
    n += strlen(one);
    if (two != NULL) {
        out[n++] = (char)strlen(two);
        memcpy(out + n, two, strlen(two));
        n += strlen(two);
    }
    return span_of(out, n);
}

static enum proof_seen see(enum dns_status status, const struct span *records, uint32_t n, const struct secrets *s,
                           const char *tenant, char words[COMMAND_DOMAIN_WORDS_MAX + 1])
{
    struct dns_answer a = { .status = status, .nrecords = n, .records = records };
    return proof_seen(&a, s, span_str(tenant), SPAN_LIT("example.com"), words);
}

static void among_records(void **state)
{
    (void)state;
    char words[COMMAND_DOMAIN_WORDS_MAX + 1], bytes[4][200], spaced[100];
    const char *mine = value(&old, "acme", "example.com");
    snprintf(spaced, sizeof spaced, " %s ", mine);
    char half[20] = "";
    memcpy(half, mine, 18);
    const struct span records[] = { txt(bytes[0], "v=spf1 -all", NULL), txt(bytes[1], half, mine + 18) };
    const struct span padded = txt(bytes[2], spaced, NULL), cut = txt(bytes[3], half, NULL);
    struct secrets *s = secrets_new();
    assert_int_equal(see(DNS_OK, records, 2, s, "acme", words), PROOF_MISSING); /* no secret, no proof */
    assert_int_equal(secrets_add(s, SECRET_DOMAINS, 1, span_of(old.text, old.n)), 0);
    assert_int_equal(secrets_add(s, SECRET_DOMAINS, 2, span_of(fresh.text, fresh.n)), 0);
    assert_int_equal(see(DNS_OK, records, 2, s, "acme", words),
                     PROOF_THERE); /* with the secret before, too */
    assert_string_equal(words, "");
    assert_int_equal(see(DNS_OK, &padded, 1, s, "acme", words), PROOF_THERE);
    assert_int_equal(see(DNS_OK, records, 2, s, "evil", words), PROOF_MISSING);
    assert_string_equal(words, "its TXT record says something else");
    assert_int_equal(see(DNS_OK, &cut, 1, s, "acme", words), PROOF_MISSING);
    assert_int_equal(see(DNS_OK, NULL, 0, s, "acme", words), PROOF_MISSING);
    assert_string_equal(words, "there is no such TXT record");
    assert_int_equal(see(DNS_PERMANENT, NULL, 0, s, "acme", words), PROOF_MISSING);
    assert_int_equal(see(DNS_TEMPORARY, NULL, 0, s, "acme", words), PROOF_UNKNOWN);
    secrets_rele(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_value), cmocka_unit_test(among_records) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
