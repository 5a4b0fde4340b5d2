/* Handlers about accounts. Admin threads. Passwords pass through once and are wiped with the arguments. */
#include "node/admin/member.h"

#include "base/clock.h"
#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

#define SENDERS_MAX 100

/* ---- list ---------------------------------------------------------------------------------------------- */

struct account_rows {
    struct json_out j;
    uint32_t n;
    bool cut;
    char last[ADMIN_TEXT_MAX + 1];
};

static int on_account_row(void *arg, const struct admin_account_row *row)
{
    struct account_rows *r = arg;
    struct json_out *j = &r->j;
    json_out_open(j, NULL, '{');
    json_out_span(j, "name", row->name);
    json_out_opt(j, "class", row->class);
    json_out_opt(j, "tenant", row->tenant);
    json_out_open(j, "senders", '[');
    for (uint32_t i = 0; i < row->nsenders; i++)
        json_out_span(j, NULL, row->senders[i]);
    json_out_close(j, ']');
    json_out_bool(j, "disabled", row->disabled);
    json_out_bool(j, "has_password", row->has_password);
    json_out_time(j, "changed_ms", row->changed_ms);
    json_out_close(j, '}');
    size_t n = row->name.n < ADMIN_TEXT_MAX ? row->name.n : ADMIN_TEXT_MAX;
    memcpy(r->last, row->name.p, n);
    r->last[n] = '\0';
    r->n++;
    r->cut = j->buf->len > ADMIN_PAGE_BYTES;
    return r->cut;
}

int admin_on_accounts(struct admin_call *c)
{
    if (member_is(c))
        return member_account_list(c);
    if (c->ops->account_list == NULL)
        return admin_missing(c);
    uint32_t limit = (uint32_t)admin_arg_int(c->args, "limit", 100);
    struct account_rows r = { 0 };
    json_out_begin(&r.j, &c->out);
    json_out_open(&r.j, "accounts", '[');
    int err =
        c->ops->account_list(c->ops->ctx, admin_arg_str(c->args, "after"), limit, on_account_row, &r, &c->e);
    json_out_close(&r.j, ']');
    json_out_opt(&r.j, "next", span_str(r.n >= limit || r.cut ? r.last : ""));
    json_out_end(&r.j);
    return err;
}

/* The one of them that is asked for, in a file that is listed in order of name. */
struct account_show {
    struct account_rows rows;
    const char *name;
    uint32_t seen;
    bool found;
};

static int on_account_shown(void *arg, const struct admin_account_row *row)
{
    struct account_show *s = arg;
    s->seen++;
    if (span_eq_nocase(row->name, span_str(s->name))) {
        on_account_row(&s->rows, row);
        s->found = true;
        return 1;
    }
    size_t n = row->name.n < ADMIN_TEXT_MAX ? row->name.n : ADMIN_TEXT_MAX;
    memcpy(s->rows.last, row->name.p, n);
    s->rows.last[n] = '\0';
    return 0;
}

int admin_on_account_show(struct admin_call *c)
{
    const char *name = admin_arg_str(c->args, "name"), *after = NULL;
    struct account_show s = { .name = name };
    char place[ADMIN_TEXT_MAX + 1];
    int err = 0;
    if (member_is(c))
        return member_account_show(c, name);
    if (c->ops->account_list == NULL)
        return admin_missing(c);
    json_out_init(&s.rows.j, &c->out);
    do {
        s.seen = 0;
        err = c->ops->account_list(c->ops->ctx, after, ADMIN_ROWS_MAX, on_account_shown, &s, &c->e);
        memcpy(place, s.rows.last, sizeof(place));
        after = place;
    } while (err == 0 && !s.found && s.seen == ADMIN_ROWS_MAX);
    buf_put_char(&c->out, '\n');
    return err != 0 || s.found ? err : admin_fail(&c->e, ERR_NOT_FOUND, "there is no account %s", name);
}

/* ---- changes ------------------------------------------------------------------------------------------- */

/* Borrows from `object`; `senders` has room for SENDERS_MAX. */
static struct admin_account account_of(const json_t *object, const char **senders)
{
    struct admin_account a = {
        .name = admin_arg_str(object, "name"),
        .password = admin_arg_str(object, "password"),
        .hash = admin_arg_str(object, "hash"),
        .class = admin_arg_str(object, "class"),
        .tenant = admin_arg_str(object, "tenant"),
        .disabled = admin_arg_bool(object, "disabled"),
        .senders = senders,
    };
    const json_t *list = json_object_get(object, "senders");
    for (size_t i = 0; i < json_array_size(list) && i < SENDERS_MAX; i++)
        senders[a.nsenders++] = json_string_value(json_array_get(list, i));
    return a;
}

int admin_on_account_add(struct admin_call *c)
{
    const char *senders[SENDERS_MAX];
    struct admin_account a = account_of(c->args, senders);
    if (member_is(c))
        return member_account_add(c, &a, false);
    if (c->ops->account_add == NULL)
        return admin_missing(c);
    int err = c->ops->account_add(c->ops->ctx, &a, c->caller, &c->e);
    return err == 0 ? admin_ok(c) : err;
}

int admin_on_account_passwd(struct admin_call *c)
{
    if (member_is(c))
        return member_account_passwd(c, admin_arg_str(c->args, "name"), admin_arg_str(c->args, "password"));
    if (c->ops->account_passwd == NULL)
        return admin_missing(c);
    int err = c->ops->account_passwd(c->ops->ctx, admin_arg_str(c->args, "name"),
                                     admin_arg_str(c->args, "password"), c->caller, &c->e);
    return err == 0 ? admin_ok(c) : err;
}

int admin_on_account_remove(struct admin_call *c)
{
    if (member_is(c))
        return member_account_remove(c, admin_arg_str(c->args, "name"));
    if (c->ops->account_remove == NULL)
        return admin_missing(c);
    int err = c->ops->account_remove(c->ops->ctx, admin_arg_str(c->args, "name"), c->caller, &c->e);
    return err == 0 ? admin_ok(c) : err;
}

int admin_on_account_set(struct admin_call *c)
{
    const char *senders[SENDERS_MAX];
    struct admin_account a = account_of(c->args, senders);
    const json_t *disabled = json_object_get(c->args, "disabled");
    struct admin_account_change change = { .name = a.name,
                                           .class = a.class,
                                           .tenant = a.tenant,
                                           .senders = senders,
                                           .nsenders = a.nsenders,
                                           .set_senders = json_object_get(c->args, "senders") != NULL,
                                           .disabled = disabled != NULL ? json_is_true(disabled) : -1 };
    if (change.class == NULL && change.tenant == NULL && !change.set_senders && change.disabled < 0)
        return admin_fail(&c->e, ERR_BAD,
                          "nothing is to be changed: give class, tenant, senders or disabled");
    if (member_is(c))
        return member_account_set(c, &change);
    if (c->ops->account_set == NULL)
        return admin_missing(c);
    int err = c->ops->account_set(c->ops->ctx, &change, c->caller, &c->e);
    return err == 0 ? admin_ok(c) : err;
}

/* ---- import -------------------------------------------------------------------------------------------- */

struct import {
    struct admin_account *accounts;
    const char **senders;
    uint32_t *index; /* of each account in the request */
    uint32_t n;      /* entries that were good */
    uint64_t taken;
    struct json_out j;
};

static void put_refused(struct import *im, uint32_t index, int err, const char *name, const char *text)
{
    json_out_open(&im->j, NULL, '{');
    json_out_u64(&im->j, "index", index);
    json_out_opt(&im->j, "name", span_str(name));
    json_out_str(&im->j, "code", admin_code_of((int)admin_status_of(err)));
    json_out_str(&im->j, "message", text != NULL ? text : err_text(err));
    json_out_close(&im->j, '}');
}

static void on_import(void *arg, uint32_t index, int err, const char *text)
{
    struct import *im = arg;
    if (index >= im->n)
        return;
    if (err == 0)
        im->taken++;
    else
        put_refused(im, im->index[index], err, im->accounts[index].name, text);
}

/* Entries that are wrong are refused one by one; the rest goes on. */
static void import_gather(struct import *im, json_t *list)
{
    size_t i;
    json_t *item;
    int64_t now_ms = clock_wall_ms();
    json_array_foreach(list, i, item)
    {
        struct admin_error e = { "" };
        int err = admin_args_check(admin_account_params, item, now_ms, &e);
        const char *name = admin_arg_str(item, "name");
        bool password = admin_arg_str(item, "password") != NULL, hash = admin_arg_str(item, "hash") != NULL;
        if (err == 0 && password == hash)
            err = admin_fail(&e, ERR_BAD, "give a password or a hash");
        if (err != 0) {
            put_refused(im, (uint32_t)i, err, name, e.text);
            continue;
        }
        im->accounts[im->n] = account_of(item, &im->senders[(size_t)im->n * SENDERS_MAX]);
        im->index[im->n++] = (uint32_t)i;
    }
}

int admin_on_account_import(struct admin_call *c)
{
    if (!member_is(c) && c->ops->account_import == NULL)
        return admin_missing(c);
    json_t *list = json_object_get(c->args, "accounts");
    size_t n = json_array_size(list);
    struct import im = { .accounts = calloc(n, sizeof(*im.accounts)),
                         .senders = calloc(n * SENDERS_MAX, sizeof(*im.senders)),
                         .index = calloc(n, sizeof(*im.index)) };
    int err = im.accounts == NULL || im.senders == NULL || im.index == NULL
                  ? admin_fail(&c->e, -ENOMEM, "out of memory")
                  : 0;
    if (err == 0) {
        json_out_begin(&im.j, &c->out);
        json_out_open(&im.j, "refused", '[');
        import_gather(&im, list);
        if (im.n > 0 && member_is(c))
            err = member_account_import(c, im.accounts, im.n, admin_arg_bool(c->args, "replace"), on_import,
                                        &im);
        else if (im.n > 0)
            err = c->ops->account_import(c->ops->ctx, im.accounts, im.n, admin_arg_bool(c->args, "replace"),
                                         c->caller, on_import, &im, &c->e);
        json_out_close(&im.j, ']');
        json_out_u64(&im.j, "taken", im.taken);
        json_out_end(&im.j);
    }
    free(im.accounts);
    free(im.senders);
    free(im.index);
    return err;
}
