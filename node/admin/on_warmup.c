/* Handlers about source addresses that warm up: docs/warmup.md. Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"
#include "node/policy/policy.h"

int admin_on_ip_warm_start(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_WARMUP_START };
    struct command_warmup_start *s = &cmd.warmup_start;
    char text[INET6_ADDRSTRLEN];
    struct policy *policy;
    int err = member_address(c, text, &s->address);
    if (err == 0)
        err = member_policy(c, &policy);
    if (err != 0)
        return err;
    const struct policy_warmup *w = &policy->warmup;
    s->first = w->first;
    s->growth_pct = w->growth_pct;
    s->days = w->days;
    s->fill_pct = w->fill_pct;
    s->deferral_permille = w->deferral_pct * 10;
    s->complaint_permille = w->complaint_permille;
    s->step_back = w->step_back;
    s->sites = w->sites;
    policy_rele(policy);
    return member_do(c, &cmd);
}

int admin_on_ip_warm_stop(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_WARMUP_STOP };
    char text[INET6_ADDRSTRLEN];
    int err = member_address(c, text, &cmd.name.name);
    return err != 0 ? err : member_do(c, &cmd);
}

int admin_on_ip_warm_step(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_WARMUP_STEP };
    char text[INET6_ADDRSTRLEN];
    int err = member_address(c, text, &cmd.warmup_step.address);
    if (err == 0)
        err = member_name(c, "site", &cmd.warmup_step.site);
    if (err == 0 && cmd.warmup_step.site.n > COMMAND_WARMUP_SITE_MAX)
        return admin_fail(&c->e, ERR_BAD, "site is longer than %d bytes", COMMAND_WARMUP_SITE_MAX);
    cmd.warmup_step.step = (uint32_t)admin_arg_int(c->args, "step", 0);
    return err != 0 ? err : member_do(c, &cmd);
}

/* ---- showing ------------------------------------------------------------------------------------------- */

struct rows {
    struct json_out j;
    uint64_t now_ms;
    bool more;
};

static void put_counts(struct json_out *j, const char *key, const struct directory_warmup_counts *n)
{
    json_out_open(j, key, '{');
    json_out_u64(j, "delivered", n->delivered);
    json_out_u64(j, "deferred", n->deferred);
    json_out_u64(j, "refused", n->refused);
    json_out_u64(j, "complaints", n->complaints);
    json_out_close(j, '}');
}

static int on_site(void *arg, const struct directory_warming_site *s)
{
    static const char *const verdicts[] = { "new", "up", "same", "back" };
    struct rows *r = arg;
    struct json_out *j = &r->j;
    json_out_open(j, NULL, '{');
    json_out_span(j, "site", s->site);
    json_out_u64(j, "step", s->step);
    json_out_bool(j, "warm", s->warm);
    json_out_u64(j, "volume", s->volume);
    json_out_u64(j, "reserved", s->reserved);
    json_out_u64(j, "held", s->held);
    json_out_u64(j, "left_ms", s->until_ms > r->now_ms ? s->until_ms - r->now_ms : 0);
    json_out_str(j, "verdict", verdicts[s->verdict]);
    put_counts(j, "today", &s->today);
    put_counts(j, "before", &s->before);
    json_out_close(j, '}');
    r->more = j->buf->len > ADMIN_PAGE_BYTES;
    return r->more;
}

int admin_on_ip_warm(struct admin_call *c)
{
    struct rows r = { 0 };
    struct directory_warming w;
    char text[INET6_ADDRSTRLEN];
    struct span address;
    struct machine *m;
    int err = member_address(c, text, &address);
    if (err == 0)
        err = member_fresh(c, &m);
    if (err != 0)
        return err;
    machine_read_lock(m);
    if (!directory_warming_find(m, address, &w)) {
        machine_read_unlock(m);
        return admin_fail(&c->e, ERR_NOT_FOUND, "address %s has no warm-up plan: turnpike ip warm %s start",
                          text, text);
    }
    r.now_ms = machine_now_ms(m);
    json_out_begin(&r.j, &c->out);
    json_out_span(&r.j, "address", w.address);
    json_out_u64(&r.j, "age_ms", r.now_ms - w.begun_ms);
    json_out_span(&r.j, "by", w.who);
    json_out_u64(&r.j, "first", w.set.first);
    json_out_u64(&r.j, "growth", w.set.growth_pct);
    json_out_u64(&r.j, "days", w.set.days);
    json_out_u64(&r.j, "fill", w.set.fill_pct);
    json_out_u64(&r.j, "max_deferrals", w.set.deferral_permille / 10);
    json_out_u64(&r.j, "max_complaints", w.set.complaint_permille);
    json_out_bool(&r.j, "step_back", w.set.step_back);
    json_out_u64(&r.j, "max_sites", w.set.sites);
    json_out_u64(&r.j, "version", w.version);
    json_out_open(&r.j, "sites", '[');
    directory_warming_site_each(m, address, on_site, &r);
    json_out_close(&r.j, ']');
    machine_read_unlock(m);
    json_out_bool(&r.j, "more", r.more);
    return json_out_end(&r.j);
}
