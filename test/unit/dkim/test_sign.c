/* Signing: the vectors of RFC 8463, which fields are in h=, and what cannot be signed. That what comes out is
 * verified by others is check_samples.py's to show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base64.h"
#include "base/err.h"
#include "node/dkim/sign.h"
#include "node/dkim/tags.h"

#include <openssl/sha.h>
#include <stdlib.h>

/* RFC 8463 appendix A.1: the key as PKCS 8 has it. */
static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                          "-----END PRIVATE KEY-----\n";

static const char header[] = "From: Joe SixPack <joe@football.example.com>\r\n"
                             "To: Suzie Q <suzie@shopping.example.net>\r\n"
                             "Subject: Is dinner ready?\r\n"
                             "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
                             "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n";
static const char body[] = "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";

static struct dkim_key *key_of(const char *text)
{
    struct dkim_key *k;
    char why[DKIM_WHY_MAX];
    assert_int_equal(dkim_key_parse(span_str(text), &k, why), 0);
    return k;
}

/* Appendix A.3: the signature of Ed25519 is the same whoever makes it. */
static void test_rfc8463(void **state)
{
    (void)state;
    static const char field[] = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
                                " d=football.example.com; i=@football.example.com;\r\n"
                                " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
                                " subject : date : message-id : from : subject : date;\r\n"
                                " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
                                " b=";
    static const char want[] = "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus"
                               "Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
    struct dkim_key *k = key_of(pem);
    struct buf text, raw, sig;
    struct span rest = span_str(header), whole;
    uint8_t digest[DKIM_DIGEST_BYTES];
    buf_init(&text, 4096);
    buf_init(&raw, 4096);
    buf_init(&sig, 4096);
    while (dkim_field_next(&rest, &whole))
        assert_int_equal(dkim_canon_field(DKIM_RELAXED, whole, &text), 0);
    assert_int_equal(dkim_canon_field(DKIM_RELAXED, span_str(field), &text), 0);
    SHA256((const uint8_t *)text.data, text.len - 2, digest);
    assert_int_equal(dkim_key_sign(k, digest, &raw), 0);
    assert_int_equal(base64_put(&sig, raw.data, raw.len), 0);
    assert_true(span_eq(buf_span(&sig), span_str(want)));
    buf_fini(&text);
    buf_fini(&raw);
    buf_fini(&sig);
    dkim_key_rele(k);
}

static const char *const from_only[] = { "From" };

/* The value of a tag of the one field, unfolded. */
static void tag_of(struct span out, const char *name, char value[2048])
{
    struct span rest = out, whole, v;
    assert_true(dkim_field_next(&rest, &whole));
    assert_int_equal(rest.n, 0);
    const char *colon = memchr(whole.p, ':', whole.n);
    assert_int_equal(dkim_tag_find(span_sub(whole, (size_t)(colon + 1 - whole.p)), name, &v), 0);
    size_t n = 0;
    for (size_t i = 0; i < v.n; i++)
        if (strchr(" \t\r\n", v.p[i]) == NULL)
            value[n++] = v.p[i];
    value[n] = '\0';
}

static int sign(const struct dkim_style *style, const char *head, const char *text, struct buf *out)
{
    struct dkim_key *k = key_of(pem);
    struct dkim_signature with = { k, "football.example.com", "brisbane" };
    struct dkim_signer *s;
    assert_int_equal(dkim_signer_new(style, &with, 1, &s), 0);
    assert_false(dkim_signer_slow(s));
    dkim_key_rele(k);
    int err = dkim_signer_header(s, span_str(head));
    for (const char *p = text; err == 0 && *p != '\0'; p++)
        dkim_signer_body(s, span_of(p, 1));
    if (err == 0)
        err = dkim_signer_sign(s, 1528637909999, out);
    dkim_signer_free(s);
    return err;
}

static void test_tags_of_field(void **state)
{
    (void)state;
    static const struct dkim_style relaxed = {
        .header = DKIM_RELAXED, .body = DKIM_RELAXED, .names = from_only, .nnames = 1
    };
    struct dkim_style style = relaxed;
    struct buf out;
    char v[2048];
    buf_init(&out, DKIM_OUT_MAX);
    assert_int_equal(sign(&style, header, body, &out), 0);
    tag_of(buf_span(&out), "bh", v);
    assert_string_equal(v, "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="); /* as in RFC 8463 */
    tag_of(buf_span(&out), "a", v);
    assert_string_equal(v, "ed25519-sha256");
    tag_of(buf_span(&out), "t", v);
    assert_string_equal(v, "1528637909");
    tag_of(buf_span(&out), "c", v);
    assert_string_equal(v, "relaxed/relaxed");
    assert_null(memmem(out.data, out.len, " x=", 3));
    assert_null(memmem(out.data, out.len, " l=", 3));

    style.expire_ms = 86400000;
    style.header = DKIM_SIMPLE;
    buf_reset(&out);
    assert_int_equal(sign(&style, header, body, &out), 0);
    tag_of(buf_span(&out), "x", v);
    assert_string_equal(v, "1528724309");
    tag_of(buf_span(&out), "c", v);
    assert_string_equal(v, "simple/relaxed");
    buf_fini(&out);
}

static void check_names(const struct dkim_style *style, const char *head, const char *want)
{
    struct buf out;
    char v[2048];
    buf_init(&out, DKIM_OUT_MAX);
    assert_int_equal(sign(style, head, "", &out), 0);
    tag_of(buf_span(&out), "h", v);
    assert_string_equal(v, want);
    buf_fini(&out);
}

static void test_signed_names(void **state)
{
    (void)state;
    static const char *const names[] = { "From", "To", "Subject", "from" };
    static const char *const over[] = { "from", "Cc", "FROM", "cc" };
    struct dkim_style style = { .names = names, .nnames = 4 };
    check_names(&style, "From: a\r\nTo: b\r\n", "From:To");
    check_names(&style, "to: b\r\nX: y\r\nTO : c\r\nFrom: a\r\nTo:\r\n d\r\n", "From:To:To:To");
    style.oversigned = over;
    style.noversigned = 4;
    check_names(&style, "From: a\r\nTo: b\r\n\r\n", "From:From:To:Cc");
    check_names(&style, "Cc: a\r\nFrom: b\r\nFrom: c\r\n", "From:From:From:Cc:Cc");
}

static void test_not_signable(void **state)
{
    (void)state;
    struct dkim_style style = { .names = from_only, .nnames = 1 };
    struct buf head, out;
    buf_init(&head, 1 << 20);
    buf_init(&out, DKIM_OUT_MAX);
    assert_int_equal(sign(&style, "From: a\r\nno field\r\n", "", &out), ERR_BAD);
    for (int i = 0; i < DKIM_FIELDS_MAX; i++)
        buf_put_str(&head, "X: y\r\n");
    buf_put_char(&head, '\0');
    assert_int_equal(sign(&style, head.data, "", &out), 0);
    head.len--;
    buf_put(&head, "X: y\r\n", 7);
    assert_int_equal(sign(&style, head.data, "", &out), ERR_LIMIT);
    buf_reset(&head);
    for (int i = 0; i <= DKIM_NAMES_MAX; i++)
        buf_put_str(&head, "From: a\r\n");
    buf_put_char(&head, '\0');
    assert_int_equal(sign(&style, head.data, "", &out), ERR_LIMIT);
    buf_fini(&head);
    buf_fini(&out);
}

/* No line is longer than it should be, but where a name leaves no choice. */
static void test_folding(void **state)
{
    (void)state;
    static const char *const names[] = {
        "From",        "Reply-To",  "Subject",      "Date",         "Message-ID",
        "To",          "Cc",        "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
        "In-Reply-To", "References"
    };
    struct dkim_style style = { .oversigned = names, .noversigned = 12 };
    struct buf out;
    buf_init(&out, DKIM_OUT_MAX);
    assert_int_equal(sign(&style, header, body, &out), 0);
    struct span rest = buf_span(&out);
    while (rest.n > 0) {
        const char *end = memmem(rest.p, rest.n, "\r\n", 2);
        assert_non_null(end);
        assert_true(end - rest.p <= 78);
        assert_true(end - rest.p > 2);
        rest = span_sub(rest, (size_t)(end - rest.p) + 2);
    }
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc8463),      cmocka_unit_test(test_tags_of_field),
        cmocka_unit_test(test_signed_names), cmocka_unit_test(test_not_signable),
        cmocka_unit_test(test_folding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
