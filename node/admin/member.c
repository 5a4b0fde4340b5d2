/* What the handlers of a cluster's member share. */
#include "node/admin/member.h"

#include "base/err.h"
#include "base/text.h"
#include "consensus/web_sender.h"
#include "node/auth/accounts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

int member_address(struct admin_call *c, char text[INET6_ADDRSTRLEN], struct span *out)
{
    const char *given = admin_arg_str(c->args, "address");
    unsigned char raw[16];
    int family = strchr(given, ':') != NULL ? AF_INET6 : AF_INET;
    if (inet_pton(family, given, raw) != 1 || inet_ntop(family, raw, text, INET6_ADDRSTRLEN) == NULL)
        return admin_fail(&c->e, ERR_BAD, "address is no IP address: give 192.0.2.1 or 2001:db8::1");
    *out = span_str(text);
    return 0;
}

bool member_is(const struct admin_call *c)
{
    return c->cluster != NULL && c->cluster->machine != NULL && c->cluster->machine(c->cluster_ctx) != NULL;
}

int member_machine(struct admin_call *c, struct machine **out)
{
    *out = member_is(c) ? c->cluster->machine(c->cluster_ctx) : NULL;
    if (*out != NULL)
        return 0;
    return admin_fail(&c->e, -ENOSYS,
                      "this node is in no cluster: turnpike cluster init or turnpike node join");
}

/* Clients tell it from a node that is merely slow: what was asked for may be possible elsewhere, or later. */
static int note_majority(struct admin_call *c, int err)
{
    if (err == ERR_TIMEOUT)
        c->code = "no_majority";
    return err;
}

int member_fresh(struct admin_call *c, struct machine **out)
{
    int err = member_machine(c, out);
    if (err == 0 && c->cluster->barrier != NULL)
        err = note_majority(c, c->cluster->barrier(c->cluster_ctx, &c->e));
    return err;
}

int member_submit(struct admin_call *c, struct command *cmd, struct machine_result *out)
{
    struct machine *m;
    struct machine_result result = { 0 };
    int err = member_machine(c, &m);
    if (err == 0)
        err = c->cluster->submit(c->cluster_ctx, c->caller, cmd, out != NULL ? out : &result, &c->e);
    if (err == ERR_BUSY && c->e.text[0] == '\0')
        admin_fail(&c->e, err, "somebody else changed it meanwhile: look again, then repeat");
    return note_majority(c, err);
}

int member_do(struct admin_call *c, struct command *cmd)
{
    int err = member_submit(c, cmd, NULL);
    return err != 0 ? err : admin_ok(c);
}

/* ---- names --------------------------------------------------------------------------------------------- */

int member_name(struct admin_call *c, const char *arg, struct span *out)
{
    *out = span_str(admin_arg_str(c->args, arg));
    if (out->p == NULL)
        *out = span_of("", 0);
    if (out->n > COMMAND_NAME_MAX)
        return admin_fail(&c->e, ERR_BAD, "%s is longer than %d bytes", arg, COMMAND_NAME_MAX);
    return 0;
}

/* A web sender's is no account's, and a sender's all the same. */
static bool web_name(struct span given, char text[COMMAND_NAME_MAX + 1])
{
    for (size_t i = 0; i < given.n; i++)
        text[i] = (char)(given.p[i] >= 'A' && given.p[i] <= 'Z' ? given.p[i] - 'A' + 'a' : given.p[i]);
    text[given.n] = '\0';
    return web_sender_ok(span_of(text, given.n));
}

int member_account(struct admin_call *c, const char *arg, char text[COMMAND_NAME_MAX + 1], struct span *out)
{
    struct span given;
    int err = member_name(c, arg, &given);
    if (err != 0)
        return err;
    if (account_name_canonical(given, text) != 0 && !web_name(given, text))
        return admin_fail(&c->e, ERR_BAD, "%s is no account name", arg);
    *out = span_str(text);
    return 0;
}

int member_sender(struct admin_call *c, uint8_t *scope, char text[COMMAND_NAME_MAX + 1], struct span *out)
{
    bool account = admin_arg_str(c->args, "account") != NULL,
         tenant = admin_arg_str(c->args, "tenant") != NULL;
    if (account == tenant)
        return admin_fail(&c->e, ERR_BAD, "give account or tenant, one of them");
    *scope = account ? COMMAND_SCOPE_ACCOUNT : COMMAND_SCOPE_TENANT;
    return account ? member_account(c, "account", text, out) : member_name(c, "tenant", out);
}

int member_node(struct admin_call *c, const char *arg, uint64_t *id)
{
    struct machine *m;
    struct span name;
    struct directory_member mb;
    int err = member_name(c, arg, &name);
    if (err == 0)
        err = member_machine(c, &m);
    if (err != 0)
        return err;
    machine_read_lock(m);
    bool found = directory_member_named(m, name, &mb);
    if (!found && text_u64(name, id) == 0)
        found = directory_member_find(m, *id, &mb) && mb.state != COMMAND_MEMBER_REMOVED;
    *id = found ? mb.id : 0;
    machine_read_unlock(m);
    return found ? 0
                 : admin_fail(&c->e, ERR_NOT_FOUND, "there is no node %.*s: turnpike node list shows them",
                              (int)name.n, name.p);
}

void member_put_node(struct json_out *j, const char *key, const struct machine *m, uint64_t id)
{
    struct directory_member mb;
    char text[24];
    if (id == 0) {
        json_out_null(j, key);
    } else if (directory_member_find(m, id, &mb)) {
        json_out_span(j, key, mb.name);
    } else {
        snprintf(text, sizeof(text), "%" PRIu64, id);
        json_out_str(j, key, text);
    }
}

const char *member_class_name(uint8_t class)
{
    return account_class_name(class);
}

int member_class(struct admin_call *c, const char *arg, uint8_t otherwise, uint8_t *out)
{
    const char *name = admin_arg_str(c->args, arg);
    int class = name != NULL ? account_class_parse(span_str(name)) : otherwise;
    *out = class < 0 ? otherwise : (uint8_t) class;
    return class >= 0 ? 0 : admin_fail(&c->e, ERR_BAD, "%s must be person, device or bulk", arg);
}

const char *member_scope_name(uint8_t scope)
{
    return scope == COMMAND_SCOPE_TENANT ? "tenant" : "account";
}

/* ---- pages --------------------------------------------------------------------------------------------- */

void member_page_begin(struct member_page *p, struct admin_call *c, const char *key)
{
    *p = (struct member_page){ .limit = (uint32_t)admin_arg_int(c->args, "limit", 100) };
    json_out_begin(&p->j, &c->out);
    json_out_open(&p->j, key, '[');
}

bool member_page_row(struct member_page *p, struct span place)
{
    if (p->n >= p->limit || p->j.buf->len > ADMIN_PAGE_BYTES) {
        p->more = true;
        return false;
    }
    size_t n = place.n < sizeof(p->last) - 1 ? place.n : sizeof(p->last) - 1;
    memcpy(p->last, place.n > 0 ? place.p : "", n);
    p->last[n] = '\0';
    p->n++;
    json_out_open(&p->j, NULL, '{');
    return true;
}

int member_page_end(struct member_page *p, struct admin_call *c)
{
    json_out_close(&p->j, ']');
    json_out_opt(&p->j, "next", span_str(p->more ? p->last : ""));
    json_out_end(&p->j);
    return buf_err(&c->out);
}

int member_tenant_place(struct admin_call *c, const struct span *tenant, char place[MEMBER_PLACE_MAX])
{
    const char *after = admin_arg_str(c->args, "after");
    if (after != NULL) {
        size_t n = strnlen(after, MEMBER_PLACE_MAX);
        if (n == MEMBER_PLACE_MAX)
            return admin_fail(&c->e, ERR_BAD, "after: not a page's next");
        memcpy(place, after, n);
        char *blank = memchr(place, ' ', n);
        if (blank != NULL)
            *blank = '\0';
        return (int)n;
    }
    if (tenant == NULL)
        return 0;
    if (tenant->n > 0)
        memcpy(place, tenant->p, tenant->n);
    place[tenant->n] = '\0';
    return (int)tenant->n + 1;
}
