/* Handlers about what was seen of a sender, what the policy's rules make of it, and what they did: docs/senders.md. Any
 * node answers from the state that it has. Admin threads.
 */
#include "node/admin/member.h"
#include "node/admin/tenant.h"

#include "base/err.h"
#include "consensus/web_sender.h"
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
    if (rule->action == SENDER_SLOW) {
        json_out_u64(j, "count", rule->slow_count);
        json_out_u64(j, "window_ms", rule->slow_ms);
    }
    if (rule->action == SENDER_POOL)
        json_out_str(j, "pool", rule->pool);
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
            if (sender_fact_in(fact, w))
                json_out_u64(j, sender_window_names[w], v->now[fact][w]);
        json_out_close(j, '}');
    }
    json_out_close(j, ']');
}

struct measures {
    struct json_out *j;
    uint64_t now_ms;
};

static int put_measure(void *arg, const struct directory_measure *v)
{
    struct measures *of = arg;
    struct json_out *j = of->j;
    json_out_open(j, NULL, '{');
    json_out_span(j, "rule", v->rule);
    json_out_str(j, "action", sender_action_names[v->action]);
    if (v->pool.n > 0)
        json_out_span(j, "pool", v->pool);
    json_out_bool(j, "in_force", v->in_force);
    json_out_i64(j, "since_ms", v->wall_ms);
    if (v->in_force && v->until_ms != 0)
        json_out_u64(j, "left_ms", v->until_ms > of->now_ms ? v->until_ms - of->now_ms : 0);
    json_out_u64(j, "times", v->times);
    json_out_span(j, "evidence", v->evidence);
    json_out_close(j, '}');
    return 0;
}

/* ---- web senders --------------------------------------------------------------------------------------- */

struct web_rows {
    const struct admin_call *c;
    const struct machine *m;
    struct member_page page;
    uint64_t now_ms; /* cluster time */
};

static int on_web(void *arg, const struct directory_web *w)
{
    struct web_rows *r = arg;
    if (!admin_sees_account(r->c, r->m, w->name))
        return 0;
    if (!member_page_row(&r->page, w->name))
        return 1;
    json_out_span(&r->page.j, "account", w->name);
    json_out_span(&r->page.j, "host", web_sender_host(w->name));
    json_out_u64(&r->page.j, "age_ms", r->now_ms - w->since_ms);
    json_out_u64(&r->page.j, "left_ms", w->until_ms - r->now_ms);
    json_out_close(&r->page.j, '}');
    return 0;
}

int admin_on_sender_web(struct admin_call *c)
{
    const char *after = admin_arg_str(c->args, "after");
    struct web_rows r = { .c = c };
    struct machine *m;
    int err = member_fresh(c, &m);
    if (err != 0)
        return err;
    r.m = m;
    member_page_begin(&r.page, c, "senders");
    machine_read_lock(m);
    r.now_ms = machine_now_ms(m);
    directory_web_each(m, after != NULL ? span_str(after) : span_of("", 0), on_web, &r);
    machine_read_unlock(m);
    return member_page_end(&r.page, c);
}

int admin_on_sender_forget(struct admin_call *c)
{
    char text[COMMAND_NAME_MAX + 1];
    struct command cmd = { .type = COMMAND_WEB_FORGET };
    int err = member_account(c, "account", text, &cmd.name.name);
    return err != 0 ? err : member_do(c, &cmd);
}

/* ---- what rules do ------------------------------------------------------------------------------------- */

int admin_on_sender_lift(struct admin_call *c)
{
    const char *rule = admin_arg_str(c->args, "rule");
    char text[COMMAND_NAME_MAX + 1];
    struct command cmd = { .type = COMMAND_SENDER_LIFT };
    int err = member_account(c, "account", text, &cmd.sender_lift.account);
    if (err != 0)
        return err;
    cmd.sender_lift.rule = rule != NULL ? span_str(rule) : span_of("", 0);
    if (cmd.sender_lift.rule.n >= SENDER_RULE_NAME)
        return admin_fail(&c->e, ERR_BAD, "rule: longer than %d bytes", SENDER_RULE_NAME - 1);
    return member_do(c, &cmd);
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
    json_out_begin(&j, &c->out);
    machine_read_lock(m);
    bool known = directory_sender_find(m, account, &s);
    json_out_open(&j, "measures", '[');
    (void)directory_measure_each(m, account, put_measure, &(struct measures){ &j, machine_now_ms(m) });
    json_out_close(&j, ']');
    machine_read_unlock(m);
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
