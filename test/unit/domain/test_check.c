/* domain check: zones with one trouble each, and what is said of them. */
#include "node/dkim/key.h"
#include "node/domain/check.h"
#include "test/unit/domain/zone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define TXT(name, text)                                                                                      \
    {                                                                                                        \
        name, SPF_TYPE_TXT, text                                                                             \
    }
#define A(name, text)                                                                                        \
    {                                                                                                        \
        name, SPF_TYPE_A, text                                                                               \
    }
#define MX(name, text)                                                                                       \
    {                                                                                                        \
        name, SPF_TYPE_MX, text                                                                              \
    }
#define KEY "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

static const struct zone_record zone[] = {
    MX("good.test", "10 mx.good.test"),
    TXT("good.test", "v=spf1 ip4:192.0.2.1 ip6:2001:db8::/64 -all"),
    TXT("s1._domainkey.good.test", KEY),
    TXT("old._domainkey.good.test", "v=DKIM1; p="),
    TXT("two._domainkey.good.test", KEY),
    TXT("two._domainkey.good.test", KEY),
    TXT("test._domainkey.good.test", KEY "; t=y"),
    TXT("down._domainkey.good.test", NULL),
    TXT("_dmarc.good.test", "v=DMARC1; p=reject; rua=mailto:d@good.test"),
    MX("bounce.good.test", "10 mx.good.test"),
    TXT("bounce.good.test", "v=spf1 ip4:192.0.2.1 -all"),
    A("bare.test", "192.0.2.80"),
    MX("null.test", "0 "),
    TXT("null.test", "v=spf1 +all"),
    TXT("_dmarc.null.test", "v=DMARC1; p=none"),
    MX("broken.test", "1 mx.test"),
    TXT("broken.test", "v=spf1 ip4:192.0.2.1 nonsense -all"),
    TXT("_dmarc.broken.test", "v=DMARC1; p=none; rua=mailto:a@b.test"),
    TXT("_dmarc.broken.test", "v=DMARC1; p=none"),
    MX("strict.test", "1 mx.test"),
    TXT("_dmarc.strict.test", "v=DMARC1; p=none; aspf=s; rua=mailto:a@b.test"),
    MX("r.strict.test", "1 mx.test"),
    TXT("r.strict.test", "v=spf1 ip4:192.0.2.1 -all"),
    MX("down.test", NULL),
    TXT("down.test", NULL),
    TXT("_dmarc.down.test", NULL),
    TXT("_dmarc.reports.test", "v=DMARC1; p=none"),
};

static struct domain_suffixes *suffixes;

static struct domain_check *check(const char *domain, const char *return_path, const char *selector,
                                  const char *const *ips)
{
    static struct zone_answer a;
    struct ip_addr sources[4];
    size_t n = 0;
    for (; ips[n] != NULL; n++)
        assert_int_equal(ip_addr_parse(span_str(ips[n]), &sources[n]), 0);
    struct domain_check_input in = { .domain = domain,
                                     .return_path = return_path,
                                     .sources = sources,
                                     .nsources = n,
                                     .keys = &(struct domain_check_key){ .selector = selector },
                                     .nkeys = selector != NULL,
                                     .suffixes = suffixes };
    struct domain_check *c = domain_check_new(&in);
    assert_non_null(c);
    unsigned asked = 0;
    for (const struct spf_question *q; (q = domain_check_next(c)) != NULL;) {
        assert_true(asked++ < 100);
        zone_answer(zone, sizeof zone / sizeof *zone, q, &a);
        domain_check_feed(c, &a.answer);
    }
    return c;
}

static const struct domain_finding *finding(const struct domain_check *c, const char *what,
                                            const char *subject)
{
    for (size_t i = 0; i < domain_check_count(c); i++) {
        const struct domain_finding *f = domain_check_at(c, i);
        if (strcmp(f->what, what) == 0 && (subject == NULL || strcmp(f->subject, subject) == 0))
            return f;
    }
    fail_msg("no finding %s %s", what, subject == NULL ? "" : subject);
    return NULL;
}

static void expect(const struct domain_check *c, const char *what, const char *subject,
                   enum domain_level level, const char *result)
{
    const struct domain_finding *f = finding(c, what, subject);
    assert_string_equal(f->result, result);
    assert_int_equal(f->level, level);
    assert_string_not_equal(f->text, "");
    if (level == DOMAIN_TROUBLE)
        assert_string_not_equal(f->advice, "");
}

static const char *const one[] = { "192.0.2.1", NULL };
static const char *const three[] = { "192.0.2.1", "192.0.2.2", "2001:db8::5", NULL };

static void test_good(void **state)
{
    (void)state;
    struct domain_check *c = check("good.test", NULL, "s1", one);
    expect(c, "mx", "good.test", DOMAIN_GOOD, "present");
    expect(c, "spf", "192.0.2.1", DOMAIN_GOOD, "pass");
    expect(c, "dkim", "s1", DOMAIN_GOOD, "good");
    expect(c, "dmarc", "good.test", DOMAIN_GOOD, "reject");
    expect(c, "alignment", NULL, DOMAIN_GOOD, "aligned");
    assert_int_equal(domain_check_count(c), 5);
    assert_false(domain_check_bad(c));
    domain_check_free(c);
}

static void test_sources(void **state)
{
    (void)state;
    struct domain_check *c = check("good.test", NULL, NULL, three);
    expect(c, "spf", "192.0.2.1", DOMAIN_GOOD, "pass");
    expect(c, "spf", "192.0.2.2", DOMAIN_TROUBLE, "fail");
    expect(c, "spf", "2001:db8::5", DOMAIN_GOOD, "pass");
    assert_string_equal(finding(c, "spf", "192.0.2.2")->advice,
                        "add ip4:192.0.2.2 to the SPF record of good.test");
    assert_true(domain_check_bad(c));
    domain_check_free(c);
}

static void test_keys(void **state)
{
    static const struct {
        const char *selector, *result;
        enum domain_level level;
    } cases[] = {
        { "none", "none", DOMAIN_TROUBLE },    { "old", "revoked", DOMAIN_TROUBLE },
        { "two", "several", DOMAIN_TROUBLE },  { "test", "good", DOMAIN_NOTE },
        { "down", "unknown", DOMAIN_TROUBLE },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct domain_check *c = check("good.test", NULL, cases[i].selector, one);
        expect(c, "dkim", cases[i].selector, cases[i].level, cases[i].result);
        domain_check_free(c);
    }
}

/* Keys that the node signs with: the record must be theirs, and may be of a domain above. */
static void test_own_keys(void **state)
{
    static struct zone_answer a;
    struct dkim_key *key;
    (void)state;
    assert_int_equal(dkim_key_generate(DKIM_ED25519, 0, &key), 0);
    const struct domain_check_key keys[] = { { .selector = "s1", .domain = "good.test", .key = key },
                                             { .selector = "test", .domain = "good.test" } };
    struct domain_check_input in = { .domain = "news.good.test",
                                     .keys = keys,
                                     .nkeys = 2,
                                     .return_path = "nowhere.test",
                                     .suffixes = suffixes };
    struct domain_check *c = domain_check_new(&in);
    assert_non_null(c);
    for (const struct spf_question *q; (q = domain_check_next(c)) != NULL;) {
        zone_answer(zone, sizeof zone / sizeof *zone, q, &a);
        domain_check_feed(c, &a.answer);
    }
    expect(c, "dkim", "s1._domainkey.good.test", DOMAIN_TROUBLE, "differs");
    expect(c, "dkim", "test._domainkey.good.test", DOMAIN_NOTE, "good");
    expect(c, "alignment", NULL, DOMAIN_NOTE, "dkim"); /* of the organisation, relaxed */
    domain_check_free(c);
    dkim_key_rele(key);
}

static void test_return_path(void **state)
{
    (void)state;
    struct domain_check *c = check("good.test", "bounce.good.test", NULL, one);
    expect(c, "mx", "bounce.good.test", DOMAIN_GOOD, "present");
    expect(c, "alignment", "bounce.good.test", DOMAIN_GOOD, "aligned");
    domain_check_free(c);
    c = check("strict.test", "r.strict.test", NULL, one); /* aspf=s: below is not enough */
    expect(c, "spf", "192.0.2.1", DOMAIN_GOOD, "pass");
    expect(c, "alignment", "r.strict.test", DOMAIN_TROUBLE, "none");
    domain_check_free(c);
    c = check("good.test", "broken.test", "s1", one);
    expect(c, "alignment", "broken.test", DOMAIN_NOTE, "dkim");
    domain_check_free(c);
    c = check("a.b.good.test", "good.test", NULL, one); /* of the organisation */
    expect(c, "dmarc", "good.test", DOMAIN_GOOD, "reject");
    expect(c, "alignment", "good.test", DOMAIN_GOOD, "aligned");
    domain_check_free(c);
}

static void test_troubles(void **state)
{
    (void)state;
    struct domain_check *c = check("bare.test", NULL, NULL, one);
    expect(c, "mx", "bare.test", DOMAIN_NOTE, "address");
    expect(c, "spf", "192.0.2.1", DOMAIN_TROUBLE, "none");
    assert_string_equal(finding(c, "spf", NULL)->advice,
                        "publish bare.test TXT \"v=spf1 ip4:192.0.2.1 ~all\"");
    expect(c, "dmarc", "bare.test", DOMAIN_TROUBLE, "none");
    domain_check_free(c);
    c = check("nowhere.test", NULL, NULL, one);
    expect(c, "mx", "nowhere.test", DOMAIN_TROUBLE, "none");
    domain_check_free(c);
    c = check("null.test", NULL, NULL, one);
    expect(c, "mx", "null.test", DOMAIN_TROUBLE, "null");
    expect(c, "spf", "192.0.2.1", DOMAIN_NOTE, "pass"); /* +all */
    expect(c, "dmarc", "null.test", DOMAIN_NOTE, "none");
    domain_check_free(c);
    c = check("broken.test", NULL, NULL, one);
    expect(c, "spf", "192.0.2.1", DOMAIN_TROUBLE, "permerror");
    assert_non_null(strstr(finding(c, "spf", NULL)->text, "nonsense"));
    expect(c, "dmarc", "broken.test", DOMAIN_TROUBLE, "several");
    domain_check_free(c);
    c = check("down.test", NULL, "s1", one);
    expect(c, "mx", "down.test", DOMAIN_TROUBLE, "unknown");
    expect(c, "spf", "192.0.2.1", DOMAIN_TROUBLE, "temperror");
    expect(c, "dkim", "s1", DOMAIN_TROUBLE, "none");
    expect(c, "dmarc", "down.test", DOMAIN_TROUBLE, "unknown");
    domain_check_free(c);
    /* without addresses, what else there is is judged */
    static const char *const none[] = { NULL };
    c = check("good.test", NULL, NULL, none);
    expect(c, "alignment", "good.test", DOMAIN_TROUBLE, "none");
    domain_check_free(c);
}

static int setup(void **state)
{
    (void)state;
    suffixes = domain_suffixes_new();
    return suffixes == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    domain_suffixes_free(suffixes);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),     cmocka_unit_test(test_sources),     cmocka_unit_test(test_keys),
        cmocka_unit_test(test_own_keys), cmocka_unit_test(test_return_path), cmocka_unit_test(test_troubles),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
