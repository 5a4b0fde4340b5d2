/* Handlers about the cluster's DKIM keys: docs/dkim.md. Private keys come in with an import, and never go
 * out. Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

/* A page begins behind "domain selector"; neither has a blank in it. */
#define PLACE_MAX (2 * COMMAND_NAME_MAX + 2)

static void put_date(struct json_out *j, const char *key, uint64_t ms)
{
    if (ms == 0)
        json_out_null(j, key);
    else
        json_out_u64(j, key, ms);
}

/* ---- list -----------------------------------------------------------------------------------------------
 */

struct rows {
    struct member_page page;
    struct span domain;
};

static int on_key(void *arg, const struct directory_sealed *s)
{
    struct rows *r = arg;
    char place[PLACE_MAX];
    if (s->kind != COMMAND_SEALED_DKIM || (r->domain.n > 0 && !span_eq(s->name, r->domain)))
        return 1;
    int n = snprintf(place, sizeof place, "%.*s %.*s", (int)s->name.n, s->name.p, (int)s->selector.n,
                     s->selector.p);
    if (!member_page_row(&r->page, span_of(place, (size_t)n)))
        return 1;
    struct json_out *j = &r->page.j;
    bool ed25519 = memmem(s->public.p, s->public.n, "k=ed25519", 9) != NULL;
    json_out_span(j, "domain", s->name);
    json_out_span(j, "selector", s->selector);
    json_out_str(j, "algorithm", ed25519 ? "ed25519" : "rsa");
    put_date(j, "not_before_ms", s->not_before_ms);
    put_date(j, "not_after_ms", s->not_after_ms);
    json_out_bool(j, "subdomains", s->subdomains);
    json_out_opt(j, "tenants", s->tenants);
    json_out_span(j, "record", s->public);
    json_out_u64(j, "sealing_key", s->number);
    json_out_u64(j, "since_ms", s->wall_ms > 0 ? (uint64_t)s->wall_ms : 0);
    json_out_span(j, "by", s->who);
    json_out_u64(j, "version", s->version);
    json_out_close(j, '}');
    return 0;
}

/* In lower case, in `text`. */
static int lower(struct admin_call *c, const char *arg, char text[COMMAND_NAME_MAX + 1], struct span *out)
{
    struct span given;
    int err = member_name(c, arg, &given);
    if (err != 0)
        return err;
    for (size_t i = 0; i < given.n; i++)
        text[i] = (char)(given.p[i] >= 'A' && given.p[i] <= 'Z' ? given.p[i] - 'A' + 'a' : given.p[i]);
    *out = span_of(text, given.n);
    return 0;
}

int admin_on_dkim(struct admin_call *c)
{
    struct rows r = { .domain = { "", 0 } };
    const char *after = admin_arg_str(c->args, "after");
    char place[PLACE_MAX] = { COMMAND_SEALED_DKIM }, domain[COMMAND_NAME_MAX + 1];
    struct machine *m;
    size_t n = 0;
    int err = lower(c, "domain", domain, &r.domain);
    if (err == 0)
        err = member_fresh(c, &m);
    if (err != 0)
        return err;
    if (after != NULL) {
        n = strnlen(after, sizeof place - 1);
        if (n == sizeof place - 1)
            return admin_fail(&c->e, ERR_BAD, "after: not a page's next");
        memcpy(place + 1, after, n);
        char *blank = memchr(place + 1, ' ', n);
        if (blank != NULL)
            *blank = 0;
    } else if (r.domain.n > 0) {
        memcpy(place + 1, r.domain.p, r.domain.n);
        n = r.domain.n;
        place[++n] = 0;
    }
    member_page_begin(&r.page, c, "keys");
    machine_read_lock(m);
    directory_sealed_each(m, span_of(place, n + 1), on_key, &r);
    machine_read_unlock(m);
    return member_page_end(&r.page, c);
}

/* ---- changes --------------------------------------------------------------------------------------------
 */

static int add(struct admin_call *c, struct admin_dkim_key *key)
{
    struct buf record;
    struct json_out j;
    if (c->cluster == NULL || c->cluster->dkim_add == NULL)
        return admin_missing(c);
    key->domain = admin_arg_str(c->args, "domain");
    key->selector = admin_arg_str(c->args, "selector");
    key->tenants = admin_arg_str(c->args, "tenants");
    key->subdomains = admin_arg_bool(c->args, "subdomains");
    key->not_before_ms = admin_arg_int(c->args, "not_before", 0);
    key->not_after_ms = admin_arg_int(c->args, "not_after", 0);
    buf_init(&record, COMMAND_SEALED_PUBLIC_MAX);
    int err = c->cluster->dkim_add(c->cluster_ctx, c->caller, key, &record, &c->e);
    if (err == 0) {
        json_out_begin(&j, &c->out);
        json_out_bool(&j, "ok", true);
        json_out_str(&j, "domain", key->domain);
        json_out_str(&j, "selector", key->selector);
        json_out_span(&j, "record", buf_span(&record));
        json_out_end(&j);
        err = buf_err(&c->out);
    }
    buf_fini(&record);
    return err;
}

int admin_on_dkim_generate(struct admin_call *c)
{
    const char *type = admin_arg_str(c->args, "type");
    struct admin_dkim_key key = { .bits = (uint32_t)admin_arg_int(c->args, "bits", 0) };
    key.ed25519 = type != NULL && strcmp(type, "ed25519") == 0;
    if (key.ed25519 && key.bits != 0)
        return admin_fail(&c->e, ERR_BAD, "bits: an ed25519 key has as many as it has");
    return add(c, &key);
}

int admin_on_dkim_import(struct admin_call *c)
{
    return add(c, &(struct admin_dkim_key){ .pem = admin_arg_str(c->args, "key") });
}

/* Its dates alone: the rest stays as it is. */
int admin_on_dkim_set(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_SEALED_SET };
    struct command_sealed_set *set = &cmd.sealed_set;
    char domain[COMMAND_NAME_MAX + 1], selector[COMMAND_NAME_MAX + 1], tenants[COMMAND_TEXT_MAX];
    int64_t not_before_ms = admin_arg_int(c->args, "not_before", 0),
            not_after_ms = admin_arg_int(c->args, "not_after", 0);
    struct directory_sealed is;
    struct machine *m;
    int err = lower(c, "domain", domain, &set->name);
    if (err == 0)
        err = lower(c, "selector", selector, &set->selector);
    if (err == 0)
        err = member_fresh(c, &m);
    if (err != 0)
        return err;
    set->kind = COMMAND_SEALED_DKIM;
    machine_read_lock(m);
    bool found = directory_sealed_find(m, set->kind, set->name, set->selector, &is);
    if (found) {
        set->by.version = is.version;
        set->not_before_ms = not_before_ms != 0 ? (uint64_t)not_before_ms : is.not_before_ms;
        set->not_after_ms = not_after_ms != 0 ? (uint64_t)not_after_ms : is.not_after_ms;
        set->subdomains = is.subdomains;
        memcpy(tenants, is.tenants.n == 0 ? "" : is.tenants.p, is.tenants.n);
        set->tenants = span_of(tenants, is.tenants.n);
    }
    machine_read_unlock(m);
    if (!found)
        return admin_fail(&c->e, ERR_NOT_FOUND, "the cluster has no DKIM key %s of %s",
                          admin_arg_str(c->args, "selector"), admin_arg_str(c->args, "domain"));
    return member_do(c, &cmd);
}

int admin_on_dkim_remove(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_SEALED_REMOVE, .sealed_remove = { .kind = COMMAND_SEALED_DKIM } };
    char domain[COMMAND_NAME_MAX + 1], selector[COMMAND_NAME_MAX + 1];
    int err = lower(c, "domain", domain, &cmd.sealed_remove.name);
    if (err == 0)
        err = lower(c, "selector", selector, &cmd.sealed_remove.selector);
    return err != 0 ? err : member_do(c, &cmd);
}

int admin_on_rekey(struct admin_call *c)
{
    struct json_out j;
    uint32_t done = 0, left = 0;
    if (c->cluster == NULL || c->cluster->rekey == NULL)
        return admin_missing(c);
    int err = c->cluster->rekey(c->cluster_ctx, c->caller, admin_arg_bool(c->args, "lost"), &done,
                                &left, &c->e);
    if (err != 0)
        return err;
    json_out_begin(&j, &c->out);
    json_out_bool(&j, "ok", true);
    json_out_u64(&j, "done", done);
    json_out_u64(&j, "left", left);
    json_out_end(&j);
    return buf_err(&c->out);
}
