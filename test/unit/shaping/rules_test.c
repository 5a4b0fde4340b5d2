/* Rules: order, stages, codes, sites; what is refused; that a text is never passed by because of the literals
 * that were read from a pattern; that patterns which go back and forth are bounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/shaping/grams.h"
#include "node/shaping/literals.h"
#include "node/shaping/rules_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *words(const char *s)
{
    return (char *)(uintptr_t)s;
}

static int ask(struct shaping_rules *r, const struct shaping_reply *reply)
{
    struct shaping_matcher *m = shaping_matcher_new();
    assert_non_null(m);
    int first = shaping_match(m, r, reply), again = shaping_match(m, r, reply);
    assert_int_equal(first, again); /* as it is remembered */
    shaping_matcher_free(m);
    return first;
}

static void test_order_and_conditions(void **state)
{
    (void)state;
    char *google[] = { words("*.google.com"), words("gmail.com") };
    const struct shaping_rule rules[] = {
        { .name = words("a"), .match = words("too many"), .stage = SHAPING_BANNER, .count = 1 },
        { .name = words("b"),
          .match = words("too many"),
          .pool = words("news"),
          .stage = SHAPING_ANY,
          .count = 1 },
        { .name = words("c"),
          .match = words("too (many|much)"),
          .sites = google,
          .nsites = 2,
          .stage = SHAPING_ANY,
          .count = 1 },
        { .name = words("d"), .code = words("4.7.28"), .stage = SHAPING_ANY, .count = 1 },
        { .name = words("e"),
          .code = words("45x"),
          .match = words("^later$"),
          .stage = SHAPING_ANY,
          .count = 1 },
        { .name = words("f"), .code = words("5.7.6xx"), .stage = SHAPING_ANY, .count = 1 },
        { .name = words("g"), .match = words("too many"), .stage = SHAPING_ANY, .count = 1 },
    };
    struct shaping_rules *r = shaping_rules_new(rules, 7);
    struct shaping_reply reply = { .site = SPAN_LIT("example.org"),
                                   .stage = SHAPING_RCPT,
                                   .code = 421,
                                   .text = SPAN_LIT("Too MANY of them") };
    assert_int_equal(ask(r, &reply), 6);
    reply.stage = SHAPING_BANNER;
    assert_int_equal(ask(r, &reply), 0);
    reply.stage = SHAPING_DOT;
    reply.pool = SPAN_LIT("news");
    assert_int_equal(ask(r, &reply), 1);
    reply.pool = SPAN_LIT("new");
    reply.mx = SPAN_LIT("alt1.Gmail-smtp-in.l.google.com");
    assert_int_equal(ask(r, &reply), 2);
    reply.mx = SPAN_LIT("notgoogle.com");
    assert_int_equal(ask(r, &reply), 6);
    reply.site = SPAN_LIT("gmail.com");
    assert_int_equal(ask(r, &reply), 2);
    reply.text = SPAN_LIT("slowly");
    assert_int_equal(ask(r, &reply), -1);
    reply.enhanced[0] = 4;
    reply.enhanced[1] = 7;
    reply.enhanced[2] = 28;
    assert_int_equal(ask(r, &reply), 3);
    reply.enhanced[2] = 2;
    reply.code = 451;
    reply.text = SPAN_LIT("LATER");
    assert_int_equal(ask(r, &reply), 4);
    reply.text = SPAN_LIT("later!");
    assert_int_equal(ask(r, &reply), -1);
    /* Where the parser of replies left a code in the text, it counts. */
    reply = (struct shaping_reply){ .site = SPAN_LIT("example.org"),
                                    .stage = SHAPING_MAIL,
                                    .code = 550,
                                    .text = SPAN_LIT("5.7.606 Access denied") };
    assert_int_equal(ask(r, &reply), 5);
    reply.text = SPAN_LIT("5.7.60 Access denied");
    assert_int_equal(ask(r, &reply), -1);
    reply.text = SPAN_LIT("4.7.606 Access denied");
    assert_int_equal(ask(r, &reply), -1);
    assert_ptr_equal(shaping_rules_hold(r), r);
    shaping_rules_rele(r);
    shaping_rules_rele(r);
}

/* What a matcher remembers is of these rules only. */
static void test_other_rules(void **state)
{
    (void)state;
    struct shaping_matcher *m = shaping_matcher_new();
    struct shaping_matcher_counts counts;
    const struct shaping_rule one = {
        .name = words("a"), .match = words("busy"), .stage = SHAPING_ANY, .count = 1
    };
    const struct shaping_rule two = {
        .name = words("a"), .match = words("idle"), .stage = SHAPING_ANY, .count = 1
    };
    const struct shaping_reply reply = { .site = SPAN_LIT("example.org"),
                                         .code = 421,
                                         .text = SPAN_LIT("busy") };
    struct shaping_rules *r = shaping_rules_new(&one, 1), *s = shaping_rules_new(&two, 1);
    assert_int_equal(shaping_match(m, r, &reply), 0);
    assert_int_equal(shaping_match(m, s, &reply), -1);
    assert_int_equal(shaping_match(m, r, &reply), 0);
    assert_int_equal(shaping_match(m, r, &reply), 0);
    shaping_matcher_counts(m, &counts);
    assert_int_equal(counts.asked, 4);
    assert_int_equal(counts.remembered, 1);
    assert_int_equal(counts.tried, 2);
    shaping_rules_rele(r);
    shaping_rules_rele(s);
    shaping_matcher_free(m);
}

static void test_sites_and_codes(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool good, match;
    } sites[] = {
        { "example.org", "example.org", true, true },
        { "example.org", "Example.ORG", true, true },
        { "example.org", "mx.example.org", true, false },
        { "*.example.org", "mx.example.org", true, true },
        { "*.example.org", "example.org", true, false },
        { "*.example.org", "badexample.org", true, false },
        { "*", "anything", true, true },
        { "[192.0.2.1]", "[192.0.2.1]", true, true },
        { "", "", false, false },
        { "mx*.example.org", "mx1.example.org", false, false },
        { "*.", "a.", false, false },
        { "a b", "a b", false, false },
        { "*.*.org", "a.b.org", false, false },
    };
    static const struct {
        const char *pattern;
        bool good;
    } codes[] = { { "421", true },    { "4xx", true },     { "x50", true },       { "4.7.28", true },
                  { "x.1.1", true },  { "5.7.6xx", true }, { "5.x.x", true },     { "42", false },
                  { "4211", false },  { "4.7", false },    { "4.7.28.1", false }, { "", false },
                  { "4.7.", false },  { "621", false },    { "3.0.0", false },    { "4.7.2828", false },
                  { "a.b.c", false }, { "45.1.1", false } };
    char why[160];
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++) {
        assert_int_equal(shaping_site_check(sites[i].pattern, why), sites[i].good);
        if (sites[i].good)
            assert_int_equal(shaping_site_match(sites[i].pattern, span_str(sites[i].name)), sites[i].match);
    }
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        assert_int_equal(shaping_code_check(codes[i].pattern, why), codes[i].good);
    const uint16_t e[3] = { 5, 7, 26 };
    assert_true(shaping_code_match("x.x.x", 550, e));
    assert_true(shaping_code_match("5.7.2x", 550, e));
    assert_false(shaping_code_match("5.7.2", 550, e));
    assert_false(shaping_code_match("5.7.xxx", 550, e));
    assert_false(shaping_code_match("x.x.x", 550, (const uint16_t[3]){ 0 }));
}

static void test_refused_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *why; /* NULL: it is good */
    } cases[] = {
        { "rate.?limit", NULL },
        { "(too many|exceed\\w*)\\b.{0,50}\\b(connection|session)s?", NULL },
        { "(", "is no pattern: missing closing parenthesis at character 2" },
        { "a**+b", "is no pattern: quantifier does not follow a repeatable item at character 3" },
        { "x*", "matches an empty text, and so every reply" },
        { "a|", "matches an empty text, and so every reply" },
        { "(*UTF)a", "is no pattern: using UTF is disabled by the application at character 7" },
        { "(a+)+b",
          "can take more than 20000 steps with one reply: have fewer repetitions inside of repetitions" },
        { "(x|x)*y",
          "can take more than 20000 steps with one reply: have fewer repetitions inside of repetitions" },
    };
    char why[160], large[SHAPING_MATCH_MAX + 2];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool good = shaping_match_check(cases[i].pattern, why);
        if (good != (cases[i].why == NULL))
            fail_msg("%s: %s", cases[i].pattern, good ? "is taken" : why);
        if (!good)
            assert_string_equal(why, cases[i].why);
    }
    memset(large, 'a', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    assert_false(shaping_match_check(large, why));
    assert_string_equal(why, "is longer than 2048 bytes");
}

/* A pattern that was let in, with a text that makes it go back and forth: it doesn't match, and that is
 * counted. */
static void test_bounded(void **state)
{
    (void)state;
    char text[SHAPING_TEXT_MAX];
    const struct shaping_rule rule = {
        .name = words("a"), .match = words("((a|b|ab)+c?)+d"), .stage = SHAPING_ANY, .count = 1
    };
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 2 == 0 ? 'a' : 'b';
    memcpy(text + sizeof text - 2, "#d", 2);
    struct shaping_rules *r = shaping_rules_new(&rule, 1);
    struct shaping_matcher *m = shaping_matcher_new();
    struct shaping_matcher_counts counts;
    const struct shaping_reply reply = { .site = SPAN_LIT("a"),
                                         .code = 421,
                                         .text = span_of(text, sizeof text) };
    assert_int_equal(shaping_match(m, r, &reply), -1);
    shaping_matcher_counts(m, &counts);
    assert_int_equal(counts.limited, 1);
    shaping_matcher_free(m);
    shaping_rules_rele(r);
}

/* ---- literals ------------------------------------------------------------------------------------------ */

static void test_literals(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *want; /* of each set, joined by blanks; "": none */
    } cases[] = {
        { "rate limit", "rate limit" },
        { "Rate.?Limit", "limit + rate" },
        { "too (many|much)", "too  + many much" },
        { "(too|so) (many|mu)", "" },
        { "spam|junk", "spam junk" },
        { "spam|x", "" },
        { "(?:blocked)+ by", "blocked +  by" },
        { "(?:blocked)? by us", " by us" },
        { "blo?cked", "cked" },
        { "abc+def", "abc + def" },
        { "abcd{0,3}ef", "abc" },
        { "abcd{2}ef", "abcd" },
        { "(?!never)ever", "ever" },
        { "(?=always)x", "" },
        { "(?<!un)known", "known" },
        { "(?i)abc", "" },
        { "\\babc\\b", "abc" },
        { "a\\.bc", "a.bc" },
        { "\\x41bcd", "" },
        { "\\Qabc\\E", "" },
        { "[abc]def[^]x]ghij", "ghij + def" },
        { "[[:alpha:]]]abc", "]abc" },
        { "(((abc)))", "abc" },
        { "(abc|(def|ghi)x?)jk", "abc def ghi" },
        { "abc{", "" },
        { "mailbox (full|quota)|spam", "mailbox  spam + full quota spam" },
        { "(abcd.efg|hij.klmn).{9}opqrstu", "opqrstu + abcd klmn" },
        { "abc.def|x", "" },
        { "abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwx" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct literals l[LITERAL_SETS];
        char got[1024] = "";
        literals_of(span_str(cases[i].pattern), l);
        for (int set = 0; set < LITERAL_SETS; set++)
            for (uint32_t k = 0; k < l[set].n; k++)
                snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s",
                         k > 0    ? " "
                         : set > 0 ? " + "
                                   : "",
                         l[set].v[k].len, l[set].v[k].text);
        const char *want = cases[i].want;
        if (strcmp(got, want) != 0)
            fail_msg("%s: \"%s\", not \"%s\"", cases[i].pattern, got, want);
    }
}

static uint64_t seed = 88172645463325252u;

static uint32_t draw(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 11) % n;
}

/* Random patterns of few letters, so that they do match at times. */
static void put_pattern(char *out, size_t cap, int depth)
{
    static const char *const atoms[] = { "a",    "b",    "ab",  "abc", "bca", "c",  ".",
                                         "[ab]", "[^c]", "\\b", "\\w", "aab", "cab" };
    static const char *const often[] = { "", "", "", "", "?", "*", "+", "{0,2}", "{1,2}", "{2}", "??", "*?" };
    static const char *const groups[] = { "(", "(?:", "(?=", "(?!", "(?>" };
    for (uint32_t n = 1 + draw(4); n > 0; n--) {
        size_t len = strlen(out);
        if (len + 64 > cap)
            return;
        if (depth < 3 && draw(4) == 0) {
            strcat(out, groups[draw(5)]);
            put_pattern(out, cap - 40, depth + 1);
            if (draw(2) == 0) {
                strcat(out, "|");
                put_pattern(out, cap - 40, depth + 1);
            }
            strcat(out, ")");
        } else {
            strcat(out, atoms[draw(13)]);
        }
        len = strlen(out);
        if (len < 2 || strcmp(out + len - 2, "\\b") != 0)
            strcat(out, often[draw(12)]);
    }
}

/* Whatever matches is named by the table. */
static void test_literals_leave_nothing_out(void **state)
{
    (void)state;
    uint32_t matched = 0, known = 0, both = 0, passed = 0;
    pcre2_match_context *limits = shaping_match_limits();
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    for (int i = 0; i < 20000; i++) {
        char pattern[512] = "", why[160], text[40];
        uint64_t named;
        struct literals l[LITERAL_SETS];
        put_pattern(pattern, sizeof pattern, 0);
        pcre2_code *code = shaping_match_compile(pattern, why);
        if (code == NULL)
            continue;
        struct grams *g = grams_new(1);
        literals_of(span_str(pattern), l);
        assert_int_equal(grams_add(g, 0, l), 0);
        known += l[0].n > 0;
        both += l[1].n > 0;
        for (int k = 0; k < 10; k++) {
            size_t n = 1 + draw(sizeof text - 1);
            for (size_t at = 0; at < n; at++)
                text[at] = "abcABC"[draw(6)];
            grams_find(g, span_of(text, n), &named);
            bool match = pcre2_match(code, (PCRE2_SPTR)text, n, 0, 0, data, limits) >= 0;
            matched += match;
            passed += named == 0;
            if (match && named == 0)
                fail_msg("%s matches %.*s, which is passed by", pattern, (int)n, text);
        }
        grams_free(g);
        pcre2_code_free(code);
    }
    assert_true(matched > 10000);
    assert_true(known > 1000);
    assert_true(both > 300);
    assert_true(passed > 1000);
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_conditions),
        cmocka_unit_test(test_other_rules),
        cmocka_unit_test(test_sites_and_codes),
        cmocka_unit_test(test_refused_patterns),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_literals_leave_nothing_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
