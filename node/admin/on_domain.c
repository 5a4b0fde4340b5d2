/* Handlers about senders' domains: docs/domains.md. Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

const struct admin_param admin_domain_check_params[] = {
    { .name = "domain", .type = ADMIN_TYPE_STRING, .required = true, .help = "the domain of From" },
    { .name = "pool", .type = ADMIN_TYPE_STRING, .help = "only this pool's addresses" },
    { .name = "ips", .type = ADMIN_TYPE_STRING, .help = "these addresses instead, with commas" },
    { .name = "return_path", .type = ADMIN_TYPE_STRING, .help = "the domain of MAIL FROM, if it is another" },
    { .name = "selectors", .type = ADMIN_TYPE_STRING, .help = "DKIM selectors, with commas" },
    { .name = NULL },
};

#define TENANT                                                                                               \
    {                                                                                                        \
        .name = "tenant", .type = ADMIN_TYPE_STRING,                                                         \
        .help = "for this tenant; default: the domain's name; empty: for accounts without one"               \
    }
const struct admin_param admin_domain_prove_params[] = {
    { .name = "domain", .type = ADMIN_TYPE_STRING, .required = true, .help = "which one" },
    TENANT,
    { .name = "check", .type = ADMIN_TYPE_BOOL, .help = "look for the record now" },
    { .name = "vouch", .type = ADMIN_TYPE_BOOL, .help = "it needs no proof: an operator says so" },
    { .name = NULL },
};
const struct admin_param admin_domain_forget_params[] = {
    { .name = "domain", .type = ADMIN_TYPE_STRING, .required = true, .help = "which one" },
    TENANT,
    { .name = NULL },
};
const struct admin_param admin_domains_params[] = {
    { .name = "tenant", .type = ADMIN_TYPE_STRING, .help = "of this tenant; empty: of accounts without one" },
    { .name = "limit", .type = ADMIN_TYPE_INT, .min = 1, .max = ADMIN_ROWS_MAX, .help = "rows at most" },
    { .name = "after", .type = ADMIN_TYPE_STRING, .help = "the last page's next" },
    { .name = NULL },
};

struct findings {
    struct json_out j;
    bool trouble;
};

static int on_finding(void *arg, const struct admin_domain_row *row)
{
    struct findings *f = arg;
    f->trouble = f->trouble || row->trouble;
    json_out_open(&f->j, NULL, '{');
    json_out_span(&f->j, "level", row->level);
    json_out_span(&f->j, "what", row->what);
    json_out_span(&f->j, "subject", row->subject);
    json_out_span(&f->j, "result", row->result);
    json_out_span(&f->j, "text", row->text);
    json_out_opt(&f->j, "advice", row->advice);
    json_out_close(&f->j, '}');
    return 0;
}

int admin_on_domain_check(struct admin_call *c)
{
    if (c->ops->domain_check == NULL)
        return admin_missing(c);
    struct admin_domain_check q = { .domain = admin_arg_str(c->args, "domain"),
                                    .pool = admin_arg_str(c->args, "pool"),
                                    .ips = admin_arg_str(c->args, "ips"),
                                    .return_path = admin_arg_str(c->args, "return_path"),
                                    .selectors = admin_arg_str(c->args, "selectors") };
    struct findings f = { .trouble = false };
    json_out_begin(&f.j, &c->out);
    json_out_str(&f.j, "domain", q.domain);
    json_out_open(&f.j, "findings", '[');
    int err = c->ops->domain_check(c->ops->ctx, &q, on_finding, &f, &c->e);
    json_out_close(&f.j, ']');
    json_out_bool(&f.j, "ok", !f.trouble);
    json_out_end(&f.j);
    return err;
}

/* ---- domains that tenants prove ------------------------------------------------------------------------- */

/* Of the arguments "domain" and "tenant": as the state has them. Without a tenant: the one that accounts of the
 * domain have when none is given, its name. */
static int names_of(struct admin_call *c, char domain[COMMAND_NAME_MAX + 1], struct span *tenant)
{
    const char *given = admin_arg_str(c->args, "domain");
    if (c->cluster == NULL || c->cluster->domain_name == NULL)
        return admin_missing(c);
    int err = member_name(c, "tenant", tenant);
    if (err == 0 && c->cluster->domain_name(given, domain) != 0)
        err = admin_fail(&c->e, ERR_BAD, "%s is no domain name", given);
    if (err != 0)
        return err;
    if (admin_arg_str(c->args, "tenant") == NULL)
        *tenant = span_str(domain);
    return 0;
}

static void put_when(struct json_out *j, const char *key, int64_t ms)
{
    if (ms > 0)
        json_out_u64(j, key, (uint64_t)ms);
    else
        json_out_null(j, key);
}

static void put_proof(struct json_out *j, const struct directory_proof *p)
{
    json_out_span(j, "domain", p->domain);
    json_out_opt(j, "tenant", p->tenant);
    json_out_str(j, "state", directory_proof_name(p->state));
    put_when(j, "asked_ms", p->asked_ms);
    put_when(j, "proven_ms", p->proven_ms);
    put_when(j, "checked_ms", p->checked_ms);
    put_when(j, "until_ms", p->until_ms);
    put_when(j, "failing_ms", p->failing_ms);
    json_out_u64(j, "failures", p->fails);
    json_out_opt(j, "reason", p->words);
    json_out_span(j, "by", p->who);
    json_out_u64(j, "version", p->version);
}

struct proofs {
    struct member_page page;
    struct span tenant;
    bool one_tenant;
};

static int on_proof(void *arg, const struct directory_proof *p)
{
    struct proofs *r = arg;
    char place[2 * COMMAND_NAME_MAX + 2];
    if (r->one_tenant && !span_eq(p->tenant, r->tenant))
        return 1;
    int n = snprintf(place, sizeof place, "%.*s %.*s", (int)p->tenant.n, p->tenant.p, (int)p->domain.n, p->domain.p);
    if (!member_page_row(&r->page, span_of(place, (size_t)n)))
        return 1;
    put_proof(&r->page.j, p);
    json_out_close(&r->page.j, '}');
    return 0;
}

int admin_on_domains(struct admin_call *c)
{
    struct proofs r = { .one_tenant = admin_arg_str(c->args, "tenant") != NULL };
    char place[MEMBER_PLACE_MAX];
    struct machine *m;
    int err = member_name(c, "tenant", &r.tenant);
    if (err == 0)
        err = member_fresh(c, &m);
    if (err != 0)
        return err;
    int n = member_tenant_place(c, r.one_tenant ? &r.tenant : NULL, place);
    if (n < 0)
        return n;
    member_page_begin(&r.page, c, "domains");
    machine_read_lock(m);
    directory_proof_each(m, span_of(place, (size_t)n), on_proof, &r);
    machine_read_unlock(m);
    return member_page_end(&r.page, c);
}

/* What is known now, and what to publish. */
static int answer_proof(struct admin_call *c, struct span tenant, const char *domain, const struct admin_proof *proof)
{
    struct directory_proof p;
    struct json_out j;
    struct machine *m;
    int err = member_machine(c, &m);
    if (err != 0)
        return err;
    json_out_begin(&j, &c->out);
    json_out_bool(&j, "ok", true);
    machine_read_lock(m);
    if (directory_proof_find(m, tenant, span_str(domain), &p))
        put_proof(&j, &p);
    machine_read_unlock(m);
    json_out_str(&j, "name", proof->name);
    json_out_str(&j, "record", proof->value);
    json_out_opt(&j, "found", span_str(proof->found));
    json_out_opt(&j, "text", span_str(proof->words));
    json_out_end(&j);
    return buf_err(&c->out);
}

int admin_on_domain_prove(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_DOMAIN_ASK };
    char domain[COMMAND_NAME_MAX + 1], tenant[COMMAND_NAME_MAX + 1];
    struct admin_proof proof = { .look = admin_arg_bool(c->args, "check") };
    if (c->cluster == NULL || c->cluster->domain_proof == NULL)
        return admin_missing(c);
    int err = names_of(c, domain, &cmd.domain_ask.tenant);
    cmd.domain_ask.domain = span_str(domain);
    cmd.domain_ask.vouched = admin_arg_bool(c->args, "vouch");
    if (err == 0 && cmd.domain_ask.vouched && proof.look)
        err = admin_fail(&c->e, ERR_BAD, "vouch, or check: who vouches need not look");
    if (err == 0)
        err = member_submit(c, &cmd, NULL);
    if (err != 0)
        return err;
    snprintf(tenant, sizeof tenant, "%.*s", (int)cmd.domain_ask.tenant.n, cmd.domain_ask.tenant.p);
    err = c->cluster->domain_proof(c->cluster_ctx, c->caller, tenant, domain, &proof, &c->e);
    return err != 0 ? err : answer_proof(c, span_str(tenant), domain, &proof);
}

int admin_on_domain_forget(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_DOMAIN_FORGET };
    char domain[COMMAND_NAME_MAX + 1];
    int err = names_of(c, domain, &cmd.domain_forget.tenant);
    cmd.domain_forget.domain = span_str(domain);
    return err != 0 ? err : member_do(c, &cmd);
}
