/* Handlers about the cluster's random secrets: docs/security.md. A secret comes in with an import, and never
 * goes out. Admin threads. */
#include "node/admin/member.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

static int on_secret(void *arg, const struct directory_sealed *s)
{
    struct member_page *page = arg;
    char place[2 * COMMAND_NAME_MAX + 2];
    if (s->kind != COMMAND_SEALED_SECRET)
        return s->kind > COMMAND_SEALED_SECRET;
    int n = snprintf(place, sizeof place, "%.*s %.*s", (int)s->name.n, s->name.p, (int)s->selector.n,
                     s->selector.p);
    if (!member_page_row(page, span_of(place, (size_t)n)))
        return 1;
    struct json_out *j = &page->j;
    json_out_span(j, "use", s->name);
    json_out_span(j, "name", s->selector);
    json_out_u64(j, "made_ms", s->not_before_ms);
    json_out_u64(j, "sealing_key", s->number);
    json_out_span(j, "by", s->who);
    json_out_u64(j, "version", s->version);
    json_out_close(j, '}');
    return 0;
}

int admin_on_secret(struct admin_call *c)
{
    const char *after = admin_arg_str(c->args, "after");
    char place[2 * COMMAND_NAME_MAX + 2] = { COMMAND_SEALED_SECRET };
    struct member_page page;
    struct machine *m;
    size_t n = after == NULL ? 0 : strnlen(after, sizeof place - 1);
    int err = member_fresh(c, &m);
    if (err != 0)
        return err;
    if (n == sizeof place - 1)
        return admin_fail(&c->e, ERR_BAD, "after: not a page's next");
    memcpy(place + 1, after == NULL ? "" : after, n);
    char *blank = memchr(place + 1, ' ', n);
    if (blank != NULL)
        *blank = '\0';
    member_page_begin(&page, c, "secrets");
    machine_read_lock(m);
    directory_sealed_each(m, span_of(place, n + 1), on_secret, &page);
    machine_read_unlock(m);
    return member_page_end(&page, c);
}

int admin_on_secret_add(struct admin_call *c)
{
    const char *use = admin_arg_str(c->args, "use"), *text = admin_arg_str(c->args, "secret");
    struct buf named, secret;
    struct json_out j;
    if (c->cluster == NULL || c->cluster->secret_add == NULL)
        return admin_missing(c);
    buf_init(&named, COMMAND_NAME_MAX);
    buf_init(&secret, COMMAND_SEALED_MAX);
    int err = 0;
    if (admin_arg_bool(c->args, "policy")) {
        err =
            strcmp(use, "bounces") == 0 && text == NULL
                ? member_policy_secret(c, &secret)
                : admin_fail(&c->e, ERR_BAD, "policy: it has a key for bounces, and that is the secret then");
        if (err == 0)
            err = buf_put_char(&secret, '\0');
        text = secret.data;
    }
    if (err == 0)
        err = c->cluster->secret_add(c->cluster_ctx, c->caller, use, admin_arg_str(c->args, "name"), text,
                                     &named, &c->e);
    if (err == 0) {
        json_out_begin(&j, &c->out);
        json_out_bool(&j, "ok", true);
        json_out_str(&j, "use", use);
        json_out_span(&j, "name", buf_span(&named));
        json_out_end(&j);
        err = buf_err(&c->out);
    }
    if (secret.data != NULL)
        explicit_bzero(secret.data, secret.cap);
    buf_fini(&secret);
    buf_fini(&named);
    return err;
}

int admin_on_secret_remove(struct admin_call *c)
{
    struct command cmd = { .type = COMMAND_SEALED_REMOVE,
                           .sealed_remove = { .kind = COMMAND_SEALED_SECRET,
                                              .name = span_str(admin_arg_str(c->args, "use")) } };
    int err = member_name(c, "name", &cmd.sealed_remove.selector);
    return err != 0 ? err : member_do(c, &cmd);
}
