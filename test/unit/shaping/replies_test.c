/* The built-in rules against replies that providers really give (replies.txt): each leads to the rule that is
 * meant for it. Each reply is also said in two other ways; which of these are missed is printed, and bounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/policy/policy.h"
#include "node/shaping/literals.h"
#include "node/smtp/reply_parser.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_MAX 4096
#define REAL_MIN 40        /* replies with a source */
#define PARAPHRASES_PCT 85 /* of them, at least so many lead to the same action */

struct reading {
    struct policy *policy;
    struct shaping_matcher *matcher;
    char provider[64], stage[16], mx[128], rule[64], source[256];
    char reply[REPLY_MAX]; /* with CRLFs */
    unsigned real, real_missed, said, said_missed, sources;
};

static int stage_of(const char *name)
{
    for (int i = 0; i < SHAPING_ANY; i++)
        if (strcmp(shaping_stage_names[i], name) == 0)
            return i;
    fail_msg("no stage %s", name);
    return 0;
}

static const struct shaping_rule *ask(struct reading *r, const char *bytes)
{
    struct smtp_reply_parser parser;
    enum smtp_reply_event event = SMTP_REPLY_MORE;
    size_t used;
    smtp_reply_parser_init(&parser);
    for (size_t n = strlen(bytes); n > 0; bytes += used, n -= used) {
        event = smtp_reply_parser_feed(&parser, bytes, n, &used);
        assert_int_not_equal(event, SMTP_REPLY_BAD);
    }
    assert_int_equal(event, SMTP_REPLY_DONE);
    struct shaping_reply reply = { .site = SPAN_LIT("example.com"),
                                   .mx = span_str(r->mx),
                                   .stage = stage_of(r->stage),
                                   .code = parser.reply.code,
                                   .text = span_of(parser.reply.text, parser.reply.len) };
    for (int i = 0; i < 3; i++)
        reply.enhanced[i] = parser.reply.enhanced[i];
    int found = shaping_match(r->matcher, r->policy->rules, &reply);
    return found < 0 ? NULL : shaping_rules_at(r->policy->rules, (uint32_t)found);
}

static const struct shaping_rule *named(const struct reading *r, const char *name)
{
    for (uint32_t i = 0; i < shaping_rules_count(r->policy->rules); i++)
        if (strcmp(shaping_rules_at(r->policy->rules, i)->name, name) == 0)
            return shaping_rules_at(r->policy->rules, i);
    fail_msg("no built-in rule is called %s", name);
    return NULL;
}

/* The reply that was gathered: this very rule. */
static void check_real(struct reading *r)
{
    if (r->reply[0] == '\0')
        return;
    const struct shaping_rule *met = ask(r, r->reply);
    r->real++;
    if (met == NULL || strcmp(met->name, r->rule) != 0) {
        print_error("%s: meant for %s, met %s: %s", r->provider, r->rule, met == NULL ? "none" : met->name,
                    r->reply);
        r->real_missed++;
    }
    r->reply[0] = '\0';
}

/* Another rule with the same action serves as well. */
static void check_said(struct reading *r, const char *line)
{
    char bytes[REPLY_MAX];
    snprintf(bytes, sizeof bytes, "%s\r\n", line);
    const struct shaping_rule *met = ask(r, bytes);
    r->said++;
    if (met != NULL && met->action == named(r, r->rule)->action)
        return;
    r->said_missed++;
    print_message("missed: %s, meant for %s, met %s: %s\n", r->provider, r->rule,
                  met == NULL ? "none" : met->name, line);
}

static void read_line(struct reading *r, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *text = line + 2;
    switch (line[0]) {
    case '=':
        assert_int_equal(sscanf(text, "%63[^|]| %15s | %127s | %63s", r->provider, r->stage, r->mx, r->rule),
                         4);
        (void)named(r, r->rule);
        r->source[0] = '\0';
        break;
    case '@':
        assert_true(strlen(text) < sizeof r->source);
        strcpy(r->source, text);
        r->sources++;
        break;
    case '>':
        assert_true(strlen(r->reply) + strlen(text) + 3 < sizeof r->reply);
        strcat(strcat(r->reply, text), "\r\n");
        assert_string_not_equal(r->source, "");
        return;
    case '~':
        check_real(r);
        check_said(r, text);
        return;
    default:
        assert_true(line[0] == '#' || line[0] == '\0');
    }
    check_real(r);
}

static void test_replies(void **state)
{
    (void)state;
    struct reading r = { .matcher = shaping_matcher_new() };
    struct shaping_matcher_counts counts;
    struct buf why;
    char line[REPLY_MAX];
    buf_init(&why, 4096);
    assert_non_null(r.matcher);
    assert_int_equal(policy_parse("built-in", policy_builtin(), &r.policy, &why), 0);
    FILE *f = fopen(TEST_SOURCE_DIR "/replies.txt", "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        read_line(&r, line);
    check_real(&r);
    fclose(f);
    shaping_matcher_counts(r.matcher, &counts);
    print_message("%u replies, %u missed; %u paraphrases, %u missed\n", r.real, r.real_missed, r.said,
                  r.said_missed);
    assert_true(r.real >= REAL_MIN);
    assert_true(r.said >= 2 * r.real);
    assert_int_equal(r.real, r.sources);
    assert_int_equal(r.real_missed, 0);
    assert_true(r.said_missed * 100 <= r.said * (100 - PARAPHRASES_PCT));
    assert_int_equal(counts.limited, 0);
    policy_rele(r.policy);
    shaping_matcher_free(r.matcher);
    buf_fini(&why);
}

/* What a site says when it is content, or when nothing can be learnt of it, meets no rule. */
static void test_nothing_to_learn(void **state)
{
    (void)state;
    static const char *const replies[] = {
        "451 4.3.0 Error: queue file write error\r\n",
        "451 4.3.5 Server configuration error\r\n",
        "450 4.1.8 <a@example.org>: Sender address rejected: Domain not found\r\n",
        "552 5.3.4 Message size exceeds fixed limit\r\n",
        "454 4.7.1 <user@example.com>: Relay access denied\r\n",
        "452 4.5.3 Error: too many recipients\r\n",
        "503 5.5.1 Error: need RCPT command\r\n",
    };
    struct reading r = { .matcher = shaping_matcher_new(), .stage = "rcpt", .mx = "mx.example.com" };
    struct buf why;
    buf_init(&why, 4096);
    assert_int_equal(policy_parse("built-in", policy_builtin(), &r.policy, &why), 0);
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
        const struct shaping_rule *met = ask(&r, replies[i]);
        bool harmless = met == NULL || met->action == SHAPING_NONE;
        if (!harmless)
            print_error("met %s: %s", met->name, replies[i]);
        assert_true(harmless);
    }
    /* Of each pattern it is known which letters it needs: see literals.h. */
    for (uint32_t i = 0; i < shaping_rules_count(r.policy->rules); i++) {
        const struct shaping_rule *rule = shaping_rules_at(r.policy->rules, i);
        struct literals l[LITERAL_SETS] = { { .n = 1 } };
        if (rule->match != NULL)
            literals_of(span_str(rule->match), l);
        if (l[0].n == 0)
            print_error("%s is tried with every reply\n", rule->name);
    }
    assert_int_equal(shaping_rules_slow(r.policy->rules), 0);
    policy_rele(r.policy);
    shaping_matcher_free(r.matcher);
    buf_fini(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_nothing_to_learn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
