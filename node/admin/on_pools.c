/* Handlers about pools and the source addresses in them. Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"

/* ---- pools --------------------------------------------------------------------------------------------- */

static const char *const assignees[] = {
    [COMMAND_ASSIGN_CLASS] = "class", [COMMAND_ASSIGN_TENANT] = "tenant", [COMMAND_ASSIGN_ACCOUNT] = "account"
};

struct pool_count {
    struct span pool;
    uint64_t addresses, usable, weight;
};

static int count_ip(void *arg, const struct directory_ip *ip)
{
    struct pool_count *n = arg;
    bool usable = ip->node != 0 && ip->next == 0 && ip->use == 1;
    if (!span_eq(ip->pool, n->pool))
        return 0;
    n->addresses++;
    n->usable += usable;
    n->weight += usable ? ip->weight : 0;
    return 0;
}

struct pool_rows {
    struct json_out j;
    const struct machine *m;
    bool more;
};

static int rows_begin(struct pool_rows *r, struct admin_call *c, struct machine **m)
{
    int err = member_fresh(c, m);
    if (err != 0)
        return err;
    *r = (struct pool_rows){ .m = *m };
    json_out_begin(&r->j, &c->out);
    return 0;
}

static int rows_end(struct pool_rows *r)
{
    json_out_bool(&r->j, "more", r->more);
    return json_out_end(&r->j);
}

static const char *const modes[] = { "unknown", "never", "operator", "automatic" };

static void put_floating(struct json_out *j, const struct directory_floating *f)
{
    json_out_str(j, "floating", f->mode <= COMMAND_FLOATING_AUTOMATIC ? modes[f->mode] : modes[0]);
    if (f->mode != COMMAND_FLOATING_AUTOMATIC)
        return;
    json_out_u64(j, "after_ms", f->after_ms);
    if (f->per_node != 0)
        json_out_u64(j, "per_node", f->per_node);
    json_out_opt(j, "nodes", f->nodes);
    json_out_bool(j, "return", f->back);
}

static int on_pool(void *arg, const struct directory_pool *p)
{
    struct pool_rows *r = arg;
    struct pool_count n = { .pool = p->name };
    directory_ip_each(r->m, count_ip, &n);
    json_out_open(&r->j, NULL, '{');
    json_out_span(&r->j, "name", p->name);
    json_out_opt(&r->j, "note", p->note);
    json_out_u64(&r->j, "addresses", n.addresses);
    json_out_u64(&r->j, "usable", n.usable);
    json_out_u64(&r->j, "version", p->version);
    put_floating(&r->j, &p->floating);
    json_out_close(&r->j, '}');
    r->more = r->j.buf->len > ADMIN_PAGE_BYTES;
    return r->more;
}

static int on_assignment(void *arg, const struct directory_assignment *a)
{
    struct pool_rows *r = arg;
    bool known = a->to >= COMMAND_ASSIGN_CLASS && a->to <= COMMAND_ASSIGN_ACCOUNT;
    json_out_open(&r->j, NULL, '{');
    json_out_str(&r->j, "to", known ? assignees[a->to] : "unknown");
    json_out_span(&r->j, "name", a->name);
    json_out_span(&r->j, "pool", a->pool);
    json_out_close(&r->j, '}');
    r->more = r->j.buf->len > ADMIN_PAGE_BYTES;
    return r->more;
}

int admin_on_pools(struct admin_call *c)
{
    struct pool_rows r;
    struct machine *m;
    int err = rows_begin(&r, c, &m);
    if (err != 0)
        return err;
    machine_read_lock(m);
    json_out_open(&r.j, "pools", '[');
    directory_pool_each(m, on_pool, &r);
    json_out_close(&r.j, ']');
    json_out_open(&r.j, "assignments", '[');
    directory_assignment_each(m, on_assignment, &r);
    json_out_close(&r.j, ']');
    machine_read_unlock(m);
    return rows_end(&r);
}

int admin_on_pool_add(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_POOL_SET };
    const char *note = admin_arg_str(c->args, "note");
    int err = member_name(c, "name", &cmd.pool_set.name);
    cmd.pool_set.note = note != NULL ? span_str(note) : span_of("", 0);
    return err != 0 ? err : member_do(c, &cmd);
}

int admin_on_pool_remove(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_POOL_REMOVE };
    int err = member_name(c, "name", &cmd.name.name);
    return err != 0 ? err : member_do(c, &cmd);
}

int admin_on_pool_float(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_POOL_FLOATING };
    struct command_pool_floating *f = &cmd.pool_floating;
    const char *mode = admin_arg_str(c->args, "mode"), *nodes = admin_arg_str(c->args, "nodes");
    int err = member_name(c, "name", &f->name);
    for (uint8_t i = COMMAND_FLOATING_NEVER; i <= COMMAND_FLOATING_AUTOMATIC; i++)
        if (strcmp(mode, modes[i]) == 0)
            f->mode = i;
    f->after_ms = (uint64_t)admin_arg_int(c->args, "after", 30000);
    f->per_node = (uint32_t)admin_arg_int(c->args, "per_node", 0);
    f->back = admin_arg_bool(c->args, "return");
    f->nodes = nodes != NULL ? span_str(nodes) : span_of("", 0);
    return err != 0 ? err : member_do(c, &cmd);
}

/* Exactly one of class, tenant and account. */
static int assign(struct admin_call *c, bool remove)
{
    struct command cmd = { .type = COMMAND_POOL_ASSIGN };
    char text[COMMAND_NAME_MAX + 1];
    uint8_t given = 0, to = 0;
    int err = 0;
    for (uint8_t i = COMMAND_ASSIGN_CLASS; i <= COMMAND_ASSIGN_ACCOUNT; i++)
        if (admin_arg_str(c->args, assignees[i]) != NULL) {
            to = i;
            given++;
        }
    if (given != 1)
        return admin_fail(&c->e, ERR_BAD, "give class, tenant or account, one of them");
    cmd.pool_assign.to = to;
    err = to == COMMAND_ASSIGN_ACCOUNT ? member_account(c, "account", text, &cmd.pool_assign.name)
                                       : member_name(c, assignees[to], &cmd.pool_assign.name);
    cmd.pool_assign.pool = span_of("", 0);
    if (err == 0 && !remove)
        err = member_name(c, "pool", &cmd.pool_assign.pool);
    return err != 0 ? err : member_do(c, &cmd);
}

int admin_on_pool_assign(struct admin_call *c)
{
    return assign(c, false);
}

int admin_on_pool_unassign(struct admin_call *c)
{
    return assign(c, true);
}

/* ---- addresses ----------------------------------------------------------------------------------------- */

static const char *const uses[] = { "", "used", "drained", "disabled" };

/* Where it stands: with whom, or what it waits for. */
static void put_state(struct json_out *j, const struct machine *m, const struct directory_ip *ip)
{
    static const char *const hooks[] = { "assigned", "adding", "assigned", "failed" };
    const char *state = ip->node == 0   ? "waiting"
                        : ip->next != 0 ? "releasing"
                        : ip->hook > 3  ? "unknown"
                                        : hooks[ip->hook];
    json_out_str(j, "state", state);
    json_out_opt(j, "reason", ip->hook_words);
    json_out_bool(j, "floats", ip->floats);
    if (ip->unsure != 0)
        member_put_node(j, "unsure", m, ip->unsure);
    if (ip->home != 0)
        member_put_node(j, "home", m, ip->home);
}

void member_put_ip(struct json_out *j, const struct machine *m, const struct directory_ip *ip)
{
    json_out_span(j, "address", ip->address);
    json_out_opt(j, "pool", ip->pool);
    member_put_node(j, "node", m, ip->node);
    if (ip->next == DIRECTORY_NOBODY) /* it is being removed */
        json_out_str(j, "next", "nobody");
    else
        member_put_node(j, "next", m, ip->next);
    json_out_str(j, "use", ip->use >= 1 && ip->use <= 3 ? uses[ip->use] : "unknown");
    json_out_u64(j, "weight", ip->weight);
    json_out_opt(j, "ehlo", ip->ehlo);
    put_state(j, m, ip);
    json_out_u64(j, "version", ip->version);
}

static int on_ip(void *arg, const struct directory_ip *ip)
{
    struct pool_rows *r = arg;
    struct json_out *j = &r->j;
    json_out_open(j, NULL, '{');
    member_put_ip(j, r->m, ip);
    json_out_close(j, '}');
    r->more = j->buf->len > ADMIN_PAGE_BYTES;
    return r->more;
}

int admin_on_ips(struct admin_call *c)
{
    struct pool_rows r;
    struct machine *m;
    int err = rows_begin(&r, c, &m);
    if (err != 0)
        return err;
    json_out_open(&r.j, "addresses", '[');
    machine_read_lock(m);
    directory_ip_each(m, on_ip, &r);
    machine_read_unlock(m);
    json_out_close(&r.j, ']');
    return rows_end(&r);
}

static int ip_set(struct admin_call *c, bool create)
{
    struct command cmd = { .type = COMMAND_IP_SET };
    struct command_ip_set *s = &cmd.ip_set;
    char text[INET6_ADDRSTRLEN];
    const char *use = admin_arg_str(c->args, "use");
    int err = member_address(c, text, &s->address);
    if (err == 0)
        err = member_name(c, "pool", &s->pool);
    if (err == 0)
        err = member_name(c, "ehlo", &s->ehlo);
    if (err == 0 && create)
        err = member_node(c, "node", &s->node);
    s->create = create;
    s->weight = (uint32_t)admin_arg_int(c->args, "weight", 0);
    for (uint8_t i = 1; use != NULL && i <= 3; i++)
        if (strcmp(use, uses[i]) == 0)
            s->use = i;
    return err != 0 ? err : member_do(c, &cmd);
}

int admin_on_ip_add(struct admin_call *c)
{
    return ip_set(c, true);
}

int admin_on_ip_set(struct admin_call *c)
{
    return ip_set(c, false);
}

int admin_on_ip_move(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_IP_MOVE };
    char text[INET6_ADDRSTRLEN];
    int err = member_address(c, text, &cmd.ip_move.address);
    if (err == 0)
        err = member_node(c, "node", &cmd.ip_move.node);
    if (admin_arg_bool(c->args, "dead"))
        cmd.type = COMMAND_IP_MOVE_DEAD;
    return err != 0 ? err : member_do(c, &cmd);
}

int admin_on_ip_remove(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_IP_REMOVE };
    char text[INET6_ADDRSTRLEN];
    int err = member_address(c, text, &cmd.name.name);
    return err != 0 ? err : member_do(c, &cmd);
}
