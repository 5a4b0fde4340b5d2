/* SPF: a zone, and what each of its domains says of an address. */
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
#define AAAA(name, text)                                                                                     \
    {                                                                                                        \
        name, SPF_TYPE_AAAA, text                                                                            \
    }
#define MX(name, text)                                                                                       \
    {                                                                                                        \
        name, SPF_TYPE_MX, text                                                                              \
    }
#define PTR(name, text)                                                                                      \
    {                                                                                                        \
        name, SPF_TYPE_PTR, text                                                                             \
    }
#define REV6 "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"

static const struct zone_record zone[] = {
    /* records */
    A("bare.test", "192.0.2.1"),
    TXT("other.test", "verification=1"),
    TXT("two.test", "v=spf1 +all"),
    TXT("two.test", "v=spf1 -all"),
    TXT("near.test", "v=spf10 +all"),
    TXT("empty.test", "v=spf1"),
    TXT("strings.test", "v=spf1 ip4:192.0.|2.1 -all"),
    TXT("case.test", "V=SPF1 IP4:192.0.2.1 -ALL"),
    TXT("servfail.test", NULL),
    TXT("spaces.test", "v=spf1   ip4:192.0.2.1    -all  "),
    TXT("tab.test", "v=spf1\t+all"),
    TXT("late.test", "v=spf1 +all nonsense"),
    TXT("octets.test", "v=spf1 a:caf\xc3\xa9.test +all"),
    /* qualifiers */
    TXT("q.test", "v=spf1 ?ip4:192.0.2.1 ~ip4:192.0.2.2 +ip4:192.0.2.3 -all"),
    /* ip4, ip6 */
    TXT("net.test", "v=spf1 ip4:192.0.2.77/25 ip6:2001:db8::/33 -all"),
    TXT("whole.test", "v=spf1 ip4:203.0.113.9/0 -all"),
    TXT("six.test", "v=spf1 ip6:::/0 -all"),
    TXT("mapped.test", "v=spf1 ip6:::ffff:192.0.2.1 -all"),
    TXT("net33.test", "v=spf1 ip4:192.0.2.0/33 -all"),
    TXT("net00.test", "v=spf1 ip4:192.0.2.0/00 -all"),
    TXT("net129.test", "v=spf1 ip6:2001:db8::/129 -all"),
    TXT("short.test", "v=spf1 ip4:192.0.2 -all"),
    TXT("noip.test", "v=spf1 ip4 -all"),
    TXT("port.test", "v=spf1 ip4:192.0.2.1:25 -all"),
    /* a */
    TXT("a.test", "v=spf1 a -all"),
    A("a.test", "192.0.2.1"),
    AAAA("a.test", "2001:db8::1"),
    TXT("anet.test", "v=spf1 a:a.test/24//64 -all"),
    TXT("a6.test", "v=spf1 a:a.test//64 -all"),
    TXT("a33.test", "v=spf1 a/33 -all"),
    TXT("aempty.test", "v=spf1 a: -all"),
    TXT("adigits.test", "v=spf1 a:192.0.2.1 -all"),
    TXT("atop.test", "v=spf1 a:host -all"),
    TXT("aslash.test", "v=spf1 a:a.test/ -all"),
    TXT("along.test", "v=spf1 a:"
                      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test ?all"),
    TXT("adots.test", "v=spf1 a:x..test ?all"),
    TXT("afail.test", "v=spf1 a:broken.test -all"),
    A("broken.test", NULL),
    TXT("afterfail.test", "v=spf1 ip4:192.0.2.1 a:broken.test -all"),
    TXT("allspec.test", "v=spf1 all:x.test"),
    /* mx */
    TXT("mx.test", "v=spf1 mx -all"),
    MX("mx.test", "10 m1.test"),
    MX("mx.test", "20 m2.test"),
    A("m1.test", "192.0.2.11"),
    A("m2.test", "192.0.2.12"),
    AAAA("m2.test", "2001:db8::12"),
    TXT("mxnet.test", "v=spf1 mx:mx.test/28 -all"),
    TXT("mxmany.test", "v=spf1 mx:many.test -all"),
    MX("many.test", "1 n1.test"),
    MX("many.test", "1 n2.test"),
    MX("many.test", "1 n3.test"),
    MX("many.test", "1 n4.test"),
    MX("many.test", "1 n5.test"),
    MX("many.test", "1 n6.test"),
    MX("many.test", "1 n7.test"),
    MX("many.test", "1 n8.test"),
    MX("many.test", "1 n9.test"),
    MX("many.test", "1 n10.test"),
    MX("many.test", "1 n11.test"),
    TXT("mxnone.test", "v=spf1 mx:a.test ?all"),
    /* exists */
    TXT("exists.test", "v=spf1 exists:%{ir}.list.test -all"),
    A("1.2.0.192.list.test", "127.0.0.2"),
    TXT("existsnone.test", "v=spf1 exists -all"),
    /* ptr */
    TXT("ptr.test", "v=spf1 ptr -all"),
    PTR("1.2.0.192.in-addr.arpa", "liar.example"),
    PTR("1.2.0.192.in-addr.arpa", "host.ptr.test"),
    A("host.ptr.test", "192.0.2.1"),
    A("liar.example", "203.0.113.1"),
    PTR("2.2.0.192.in-addr.arpa", "hostptr.test"),
    A("hostptr.test", "192.0.2.2"),
    PTR("3.2.0.192.in-addr.arpa", NULL),
    PTR(REV6, "six.ptr.test"),
    AAAA("six.ptr.test", "2001:db8::1"),
    TXT("liar.test", "v=spf1 ptr:liar.example -all"),
    TXT("pmacro.test", "v=spf1 exists:%{p}.ok.test ptr:ptr.test ?all"),
    A("host.ptr.test.ok.test", "127.0.0.1"),
    A("unknown.ok.test", "127.0.0.1"),
    /* include, redirect */
    TXT("inc.test", "v=spf1 include:a.test ?include:soft.test -all"),
    TXT("soft.test", "v=spf1 ip4:192.0.2.5 ~all"),
    TXT("incnone.test", "v=spf1 include:bare.test +all"),
    TXT("incno.test", "v=spf1 include:nowhere.test +all"),
    TXT("incbad.test", "v=spf1 include:late.test +all"),
    TXT("inctemp.test", "v=spf1 include:servfail.test +all"),
    TXT("incself.test", "v=spf1 include:incself.test +all"),
    TXT("incminus.test", "v=spf1 -include:a.test +all"),
    TXT("incdeep.test", "v=spf1 include:inc.test ~all"),
    TXT("incredirect.test", "v=spf1 include:red.test ?all"),
    TXT("red.test", "v=spf1 redirect=a.test"),
    TXT("redall.test", "v=spf1 ~all redirect=a.test"),
    TXT("redfirst.test", "v=spf1 redirect=a.test ip4:192.0.2.9"),
    TXT("rednone.test", "v=spf1 redirect=bare.test"),
    TXT("redself.test", "v=spf1 redirect=redself.test"),
    TXT("redtwice.test", "v=spf1 redirect=a.test redirect=a.test"),
    TXT("redempty.test", "v=spf1 redirect= -all"),
    TXT("redtop.test", "v=spf1 redirect=%{d1} -all"),
    TXT("redbad.test", "v=spf1 redirect=%{l}"),
    TXT("redminus.test", "v=spf1 -redirect=a.test"),
    /* exp and other modifiers */
    TXT("exp.test", "v=spf1 -all exp=why.%{d}"),
    TXT("why.exp.test", "%{i} is not one of %{o}'s %%%_%- %{S} %{c} %{r} %{t}"),
    TXT("expred.test", "v=spf1 redirect=exp.test exp=none.test"),
    TXT("expinc.test", "v=spf1 -include:a.test -all exp=inc.why.test"),
    TXT("inc.why.test", "for %{l}"),
    TXT("expbad.test", "v=spf1 -all exp=bad.why.test"),
    TXT("bad.why.test", "caf\xc3\xa9 %{q}"),
    TXT("exptwice.test", "v=spf1 exp=a.test exp=a.test -all"),
    TXT("expempty.test", "v=spf1 exp= -all"),
    TXT("mod.test", "v=spf1 x-new.kind_2=%{d}anything ip4:192.0.2.1 -all"),
    TXT("modbad.test", "v=spf1 x=%(d) ip4:192.0.2.1 -all"),
    TXT("modblank.test", "v=spf1 =x -all"),
    /* limits */
    TXT("l10.test", "v=spf1 a:m1.test a:m1.test a:m1.test a:m1.test a:m1.test a:m1.test a:m1.test a:m1.test "
                    "a:m1.test a:m1.test ip4:192.0.2.1 -all"),
    TXT("l11.test", "v=spf1 a:m1.test a:m1.test a:m1.test a:m1.test a:m1.test a:m1.test a:m1.test a:m1.test "
                    "a:m1.test a:m1.test a:m1.test ip4:192.0.2.1 -all"),
    TXT("linc.test", "v=spf1 include:l10.test ip4:192.0.2.1 -all"),
    TXT("v2.test", "v=spf1 a:x1.test exists:x2.test ip4:192.0.2.1 -all"),
    TXT("v3.test", "v=spf1 a:x1.test exists:x2.test mx:x3.test ip4:192.0.2.1 -all"),
    /* macros */
    TXT("mac1.test", "v=spf1 exists:%{l}.%{d2}.%{v}.m.test -all"),
    A("strong-bad.mac1.test.in-addr.m.test", "127.0.0.1"),
    TXT("mac2.test", "v=spf1 exists:%{l1r-}.%{lr-}.%{h}.m.test -all"),
    A("strong.bad.strong.mail.a.test.m.test", "127.0.0.1"),
    TXT("mac3.test", "v=spf1 exists:%{S}.m.test -all"),
    A("strong-bad%40mac3.test.m.test", "127.0.0.1"),
    TXT("mac4.test", "v=spf1 exists:%{ir}.%{v}.m.test -all"),
    A("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.m.test", "127.0.0.1"),
    TXT("mac5.test", "v=spf1 exists:%{d99}.%{o1}.m.test -all"),
    A("mac5.test.test.m.test", "127.0.0.1"),
    TXT("mzero.test", "v=spf1 exists:%{d0}.m.test -all"),
    TXT("mletter.test", "v=spf1 exists:%{c}.m.test -all"),
    TXT("mopen.test", "v=spf1 exists:%{d -all"),
    TXT("mpercent.test", "v=spf1 exists:%d.m.test -all"),
    TXT("mtail.test", "v=spf1 exists:x.%{d}com -all"),
    TXT("mcut.test",
        "v=spf1 exists:%{d}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}."
        "%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.%{h}.test -all"),
    A("a.test.mail.a.test.mail.a.test.mail.a.test.mail.a.test.mail.a.test.mail.a.test.mail.a.test.mail.a."
      "test."
      "mail.a.test.mail.a.test.mail.a.test.mail.a.test.mail.a.test.mail.a.test.mail.a.test.mail.a.test.mail."
      "a."
      "test.mail.a.test.mail.a.test.mail.a.test.test",
      "127.0.0.1"),
};

static struct spf_verdict check(const char *ip, const char *domain, unsigned *asked)
{
    static struct zone_answer a;
    struct spf_input in = { .local = span_str("strong-bad"),
                            .domain = span_str(domain),
                            .helo = span_str("mail.a.test"),
                            .receiver = span_str("rx.test"),
                            .now_s = 12345 };
    assert_int_equal(ip_addr_parse(span_str(ip), &in.ip), 0);
    struct spf *s = spf_new(&in);
    assert_non_null(s);
    unsigned n = 0;
    for (const struct spf_question *q; (q = spf_next(s)) != NULL; n++) {
        assert_true(n < 300);
        zone_answer(zone, sizeof zone / sizeof *zone, q, &a);
        spf_feed(s, &a.answer);
    }
    struct spf_verdict v = *spf_verdict(s);
    spf_free(s);
    if (asked != NULL)
        *asked = n;
    return v;
}

#define IP1 "192.0.2.1"
#define IP6 "2001:db8::1"

static const struct {
    const char *ip, *domain;
    enum spf_result want;
} cases[] = {
    /* whose record */
    { IP1, "nowhere.test", SPF_NONE },
    { IP1, "bare.test", SPF_NONE },
    { IP1, "other.test", SPF_NONE },
    { IP1, "near.test", SPF_NONE },
    { IP1, "tab.test", SPF_NONE },
    { IP1, "localhost", SPF_NONE },
    { IP1, "x..test", SPF_NONE },
    { IP1, "", SPF_NONE },
    { IP1, "two.test", SPF_PERMERROR },
    { IP1, "servfail.test", SPF_TEMPERROR },
    { IP1, "empty.test", SPF_NEUTRAL },
    { IP1, "strings.test", SPF_PASS },
    { IP1, "strings.test.", SPF_PASS },
    { IP1, "case.test", SPF_PASS },
    { "192.0.2.2", "case.test", SPF_FAIL },
    { IP1, "spaces.test", SPF_PASS },
    { IP1, "late.test", SPF_PERMERROR },
    { IP1, "octets.test", SPF_PERMERROR },
    /* qualifiers */
    { IP1, "q.test", SPF_NEUTRAL },
    { "192.0.2.2", "q.test", SPF_SOFTFAIL },
    { "192.0.2.3", "q.test", SPF_PASS },
    { "192.0.2.4", "q.test", SPF_FAIL },
    /* networks */
    { "192.0.2.127", "net.test", SPF_PASS },
    { "192.0.2.128", "net.test", SPF_FAIL },
    { "2001:db8:7fff::1", "net.test", SPF_PASS },
    { "2001:db8:8000::1", "net.test", SPF_FAIL },
    { IP1, "whole.test", SPF_PASS },
    { IP6, "whole.test", SPF_FAIL },
    { IP6, "six.test", SPF_PASS },
    { IP1, "six.test", SPF_FAIL },
    { IP1, "mapped.test", SPF_FAIL },
    { IP1, "net33.test", SPF_PERMERROR },
    { IP1, "net00.test", SPF_PERMERROR },
    { IP6, "net129.test", SPF_PERMERROR },
    { IP1, "short.test", SPF_PERMERROR },
    { IP1, "noip.test", SPF_PERMERROR },
    { IP1, "port.test", SPF_PERMERROR },
    /* a */
    { IP1, "a.test", SPF_PASS },
    { IP6, "a.test", SPF_PASS },
    { "192.0.2.2", "a.test", SPF_FAIL },
    { "192.0.2.250", "anet.test", SPF_PASS },
    { "192.0.3.1", "anet.test", SPF_FAIL },
    { "2001:db8::ffff", "anet.test", SPF_PASS },
    { "192.0.2.2", "a6.test", SPF_FAIL },
    { "2001:db8::ffff", "a6.test", SPF_PASS },
    { IP1, "a33.test", SPF_PERMERROR },
    { IP1, "aempty.test", SPF_PERMERROR },
    { IP1, "adigits.test", SPF_PERMERROR },
    { IP1, "atop.test", SPF_PERMERROR },
    { IP1, "aslash.test", SPF_PERMERROR },
    { IP1, "along.test", SPF_NEUTRAL },
    { IP1, "adots.test", SPF_NEUTRAL },
    { IP1, "afail.test", SPF_TEMPERROR },
    { IP1, "afterfail.test", SPF_PASS },
    { IP1, "allspec.test", SPF_PERMERROR },
    /* mx */
    { "192.0.2.12", "mx.test", SPF_PASS },
    { "192.0.2.13", "mx.test", SPF_FAIL },
    { "2001:db8::12", "mx.test", SPF_PASS },
    { "192.0.2.15", "mxnet.test", SPF_PASS },
    { "192.0.2.16", "mxnet.test", SPF_FAIL },
    { IP1, "mxmany.test", SPF_PERMERROR },
    { IP1, "mxnone.test", SPF_NEUTRAL },
    /* exists, ptr */
    { IP1, "exists.test", SPF_PASS },
    { "192.0.2.2", "exists.test", SPF_FAIL },
    { IP1, "existsnone.test", SPF_PERMERROR },
    { IP1, "ptr.test", SPF_PASS },
    { "192.0.2.2", "ptr.test", SPF_FAIL }, /* hostptr.test is not below ptr.test */
    { "192.0.2.3", "ptr.test", SPF_FAIL },
    { IP6, "ptr.test", SPF_PASS },
    { IP1, "liar.test", SPF_FAIL },
    { IP1, "pmacro.test", SPF_PASS },
    { "192.0.2.9", "pmacro.test", SPF_PASS }, /* "unknown" */
    { "192.0.2.2", "pmacro.test", SPF_NEUTRAL },
    /* include, redirect */
    { IP1, "inc.test", SPF_PASS },
    { "192.0.2.5", "inc.test", SPF_NEUTRAL },
    { "192.0.2.6", "inc.test", SPF_FAIL },
    { IP1, "incnone.test", SPF_PERMERROR },
    { IP1, "incno.test", SPF_PERMERROR },
    { IP1, "incbad.test", SPF_PERMERROR },
    { IP1, "inctemp.test", SPF_TEMPERROR },
    { IP1, "incself.test", SPF_PERMERROR },
    { IP1, "incminus.test", SPF_FAIL },
    { "192.0.2.2", "incminus.test", SPF_PASS },
    { IP1, "incdeep.test", SPF_PASS },
    { "192.0.2.5", "incdeep.test", SPF_SOFTFAIL }, /* an include of neutral does not match */
    { IP1, "incredirect.test", SPF_PASS },
    { "192.0.2.2", "incredirect.test", SPF_NEUTRAL },
    { IP1, "red.test", SPF_PASS },
    { "192.0.2.2", "red.test", SPF_FAIL },
    { IP1, "redall.test", SPF_SOFTFAIL },
    { "192.0.2.9", "redfirst.test", SPF_PASS },
    { IP1, "rednone.test", SPF_PERMERROR },
    { IP1, "redself.test", SPF_PERMERROR },
    { IP1, "redtwice.test", SPF_PERMERROR },
    { IP1, "redempty.test", SPF_PERMERROR },
    { IP1, "redtop.test", SPF_FAIL },
    { IP1, "redbad.test", SPF_PERMERROR },
    { IP1, "redminus.test", SPF_PERMERROR },
    /* modifiers */
    { IP1, "mod.test", SPF_PASS },
    { IP1, "modbad.test", SPF_PERMERROR },
    { IP1, "modblank.test", SPF_PERMERROR },
    { IP1, "exptwice.test", SPF_PERMERROR },
    { IP1, "expempty.test", SPF_PERMERROR },
    /* limits */
    { IP1, "l10.test", SPF_PASS },
    { IP1, "l11.test", SPF_PERMERROR },
    { IP1, "linc.test", SPF_PERMERROR },
    { IP1, "v2.test", SPF_PASS },
    { IP1, "v3.test", SPF_PERMERROR },
    /* macros */
    { IP1, "mac1.test", SPF_PASS },
    { IP6, "mac1.test", SPF_FAIL },
    { IP1, "mac2.test", SPF_PASS },
    { IP1, "mac3.test", SPF_PASS },
    { IP6, "mac4.test", SPF_PASS },
    { IP1, "mac5.test", SPF_PASS },
    { IP1, "mcut.test", SPF_PASS },
    { IP1, "mzero.test", SPF_PERMERROR },
    { IP1, "mletter.test", SPF_PERMERROR },
    { IP1, "mopen.test", SPF_PERMERROR },
    { IP1, "mpercent.test", SPF_PERMERROR },
    { IP1, "mtail.test", SPF_PERMERROR },
};

static void test_cases(void **state)
{
    unsigned wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct spf_verdict v = check(cases[i].ip, cases[i].domain, NULL);
        if (v.result == cases[i].want)
            continue;
        print_message("%s %s: %s (%s, %s), not %s\n", cases[i].ip, cases[i].domain, spf_result_name(v.result),
                      v.term, v.why, spf_result_name(cases[i].want));
        wrong++;
    }
    assert_int_equal(wrong, 0);
}

static void test_what_matched(void **state)
{
    (void)state;
    struct spf_verdict v = check(IP1, "inc.test", NULL);
    assert_string_equal(v.term, "include:a.test");
    assert_string_equal(v.domain, "inc.test");
    v = check("192.0.2.4", "q.test", NULL);
    assert_string_equal(v.term, "-all");
    v = check(IP1, "late.test", NULL);
    assert_string_equal(v.term, "nonsense");
    assert_string_not_equal(v.why, "");
    v = check(IP1, "incbad.test", NULL);
    assert_string_equal(v.domain, "late.test");
    v = check("192.0.2.9", "pmacro.test", NULL);
    assert_int_equal(v.lookups, 2); /* the term, and PTR */
    v = check("192.0.2.2", "incredirect.test", NULL);
    assert_string_equal(v.term, "?all");
}

static void test_explanations(void **state)
{
    (void)state;
    struct spf_verdict v = check(IP1, "exp.test", NULL);
    assert_int_equal(v.result, SPF_FAIL);
    assert_string_equal(v.explanation,
                        "192.0.2.1 is not one of exp.test's % %20 strong-bad%40exp.test 192.0.2.1 "
                        "rx.test 12345");
    v = check(IP1, "expred.test", NULL); /* the target's, not the redirecting one's (section 6.2) */
    assert_memory_equal(v.explanation, "192.0.2.1 is not", 16);
    v = check(IP1, "expinc.test", NULL);
    assert_string_equal(v.explanation, "for strong-bad");
    v = check(IP1, "expbad.test", NULL);
    assert_int_equal(v.result, SPF_FAIL);
    assert_string_equal(v.explanation, "");
}

static void test_questions_are_bounded(void **state)
{
    (void)state;
    unsigned asked = 0;
    struct spf_verdict v = check(IP1, "incself.test", &asked);
    assert_int_equal(v.lookups, 11);
    assert_int_equal(asked, 11);
    (void)check(IP1, "x..test", &asked);
    assert_int_equal(asked, 0);
    (void)check(IP1, "late.test", &asked); /* a fault further on is seen before anything is asked */
    assert_int_equal(asked, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_what_matched),
        cmocka_unit_test(test_explanations),
        cmocka_unit_test(test_questions_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
