/* Handler about what was seen of a sender, and what the policy's rules make of it: docs/senders.md. Any node
 * answers from the state that it has. Admin threads.
 */
#include "node/admin/member.h"

#include "base/err.h"
#include "node/policy/policy.h"

#include <string.h>

static void put_term(struct json_out *j, const struct sender_term *t, const struct sender_values *v)
{
    json_out_open(j, NULL, '{');
    json_out_str(j, "fact", sender_fact_names[t->fact]);
    json_out_str(j, "window", sender_window_names[t->window]);
    json_out_u64(j, "value", sender_value(v, t->fact, t->window));
    json_out_u64(j, "more_than", t->more_than);
    json_out_bool(j, "met", sender_term_met(t, v));
    json_out_close(j, '}');
}

static void put_rule(struct json_out *j, const struct sender_rule *rule, const struct sender_values *v)
{
    json_out_open(j, NULL, '{');
    json_out_str(j, "name", rule->name);
    json_out_str(j, "then", sender_action_names[rule->action]);
    json_out_u64(j, "for_ms", rule->for_ms);
    json_out_bool(j, "dry_run", rule->dry_run);
    json_out_bool(j, "met", sender_rule_met(rule, v));
    json_out_open(j, "when", '[');
    for (uint8_t i = 0; i < rule->nterms; i++)
        put_term(j, &rule->term[i], v);
    json_out_close(j, ']');
    json_out_close(j, '}');
}

static void put_facts(struct json_out *j, const struct sender_values *v)
{
    json_out_open(j, "facts", '[');
    for (uint8_t fact = 0; fact < SENDER_FACTS; fact++) {
        json_out_open(j, NULL, '{');
        json_out_str(j, "fact", sender_fact_names[fact]);
        for (uint8_t w = 0; w < SENDER_WINDOWS; w++)
            if (w == 0 || !sender_fact_hour_only(fact))
                json_out_u64(j, sender_window_names[w], v->now[fact][w]);
        json_out_close(j, '}');
    }
    json_out_close(j, ']');
}

int admin_on_sender_show(struct admin_call *c)
{
    char text[COMMAND_NAME_MAX + 1];
    struct span account;
    struct directory_sender s = { 0 };
    struct policy *policy = NULL;
    struct json_out j;
    struct machine *m;
    int err = member_account(c, "account", text, &account);
    if (err == 0)
        err = member_machine(c, &m);
    if (err == 0)
        err = member_policy(c, &policy);
    if (err != 0)
        return err;
    machine_read_lock(m);
    bool known = directory_sender_find(m, account, &s);
    machine_read_unlock(m);
    json_out_begin(&j, &c->out);
    json_out_span(&j, "account", account);
    json_out_bool(&j, "known", known);
    json_out_str(&j, "class", member_class_name(s.class));
    json_out_u64(&j, "blocks", s.blocks);
    put_facts(&j, &s.values);
    json_out_open(&j, "rules", '[');
    for (uint32_t i = 0; i < policy->compiled.nsender_rules; i++)
        if ((policy->compiled.sender_rules[i].classes >> s.class & 1) != 0)
            put_rule(&j, &policy->compiled.sender_rules[i], &s.values);
    json_out_close(&j, ']');
    policy_rele(policy);
    return json_out_end(&j);
}
