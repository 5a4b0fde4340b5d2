/* Handlers about senders' domains: docs/domains.md. Admin threads. */
#include "node/admin/call.h"

const struct admin_param admin_domain_check_params[] = {
    { .name = "domain", .type = ADMIN_TYPE_STRING, .required = true, .help = "the domain of From" },
    { .name = "pool", .type = ADMIN_TYPE_STRING, .help = "only this pool's addresses" },
    { .name = "ips", .type = ADMIN_TYPE_STRING, .help = "these addresses instead, with commas" },
    { .name = "return_path", .type = ADMIN_TYPE_STRING, .help = "the domain of MAIL FROM, if it is another" },
    { .name = "selectors", .type = ADMIN_TYPE_STRING, .help = "DKIM selectors, with commas" },
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
