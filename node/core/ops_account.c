/* The admin API: accounts in the local file. Admin threads; the file is locked against other writers, and the
 * new table is in force when the call returns.
 */
#include "node/core/ops_account.h"
#include "node/core/ops.h"

#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define WHY_MAX 65536

/* The file's path, or an error: accounts are Dovecot's. Free with free. */
static int account_file(struct node *n, char **path, struct admin_error *e)
{
    struct config *c = node_config(n);
    int err = 0;
    if (c->accounts.source != CONFIG_ACCOUNTS_FILE)
        err = admin_fail(e, ERR_DENIED,
                         "accounts are kept by Dovecot here (accounts.source): change them there");
    else if ((*path = strdup(c->accounts.file)) == NULL)
        err = admin_fail(e, -ENOMEM, "no memory");
    config_rele(c);
    return err;
}

static int fail_with(struct admin_error *e, int err, const struct buf *why)
{
    return admin_fail(e, err, "%.*s", why->len == 0 ? (int)strlen(err_text(err)) : (int)why->len,
                      why->len == 0 ? err_text(err) : why->data);
}

static void load_accounts(struct node *n, void *arg)
{
    struct buf *why = arg;
    (void)node_load_accounts(n, n->config, why);
}

/* Writes the file and has the node read it. Takes the edit. */
static int finish(struct node *n, struct accounts_edit *edit, struct buf *why, struct admin_error *e)
{
    int err = accounts_edit_commit(edit, why);
    accounts_edit_close(edit);
    if (err == 0)
        err = node_request(n, load_accounts, why);
    return err == 0 ? 0 : fail_with(e, err, why);
}

static int open_edit(struct node *n, struct accounts_edit **edit, struct buf *why, struct admin_error *e)
{
    char *path;
    buf_init(why, WHY_MAX);
    int err = account_file(n, &path, e);
    if (err != 0)
        return err;
    err = accounts_edit_open(path, edit, why);
    free(path);
    return err == 0 ? 0 : fail_with(e, err, why);
}

static void join_senders(const struct admin_account *a, struct buf *out)
{
    for (uint32_t i = 0; i < a->nsenders; i++)
        buf_printf(out, "%s%s", i == 0 ? "" : ",", a->senders[i]);
}

/* The account's line; `hash` has room for a new one, `senders` owns the list's text. */
static int spec_fill(const struct admin_account *a, char *hash, struct buf *senders,
                     struct account_spec *spec, struct buf *why)
{
    *spec = (struct account_spec){ .name = span_str(a->name),
                                   .tenant = span_str(a->tenant),
                                   .class = ACCOUNT_PERSON,
                                   .disabled = a->disabled,
                                   .hash = SPAN_LIT("!") };
    if (a->class != NULL && (spec->class = account_class_parse(span_str(a->class))) < 0) {
        buf_printf(why, "%s: no such class; there are person, device and bulk", a->class);
        return ERR_BAD;
    }
    for (uint32_t i = 0; i < a->nsenders; i++) {
        if (strchr(a->senders[i], ',') != NULL) { /* it would be read as two, and the second might be "*" */
            buf_printf(why, "%s: a sender is one address, one domain or *", a->name);
            return ERR_BAD;
        }
    }
    join_senders(a, senders);
    spec->senders = buf_span(senders);
    if (a->hash != NULL) {
        spec->hash = span_str(a->hash);
    } else if (a->password != NULL) {
        int err = account_hash_password(span_str(a->password), hash);
        if (err != 0) {
            buf_printf(why, "%s: the password cannot be used: empty, or over %d bytes", a->name,
                       ACCOUNT_PASSWORD_MAX);
            return err;
        }
        spec->hash = span_str(hash);
    }
    return buf_err(senders);
}

static int add_one(struct accounts_edit *edit, const struct admin_account *a, bool replace, struct buf *why)
{
    char hash[ACCOUNT_HASH_MAX + 1];
    struct account_spec spec;
    struct buf senders;
    buf_init(&senders, ACCOUNT_LINE_MAX);
    int err = spec_fill(a, hash, &senders, &spec, why);
    if (err == 0)
        err = accounts_edit_add(edit, &spec, why);
    if (err == ERR_EXISTS && replace)
        err = accounts_edit_set(edit, &spec, why);
    buf_fini(&senders);
    return err;
}

int ops_account_add(void *ctx, const struct admin_account *a, const struct admin_caller *by,
                    struct admin_error *e)
{
    struct accounts_edit *edit;
    struct buf why;
    int err = open_edit(ctx, &edit, &why, e);
    if (err == 0 && (err = add_one(edit, a, false, &why)) != 0) {
        accounts_edit_close(edit);
        err = err == ERR_EXISTS ? admin_fail(e, err, "there is an account %s already", a->name)
                                : fail_with(e, err, &why);
    } else if (err == 0) {
        err = finish(ctx, edit, &why, e);
    }
    if (err == 0)
        log_info("accounts", "%s added by %s", a->name, by->text);
    buf_fini(&why);
    return err;
}

/* Ends the edit of one account: writes it, or tells why it was not made. Takes the edit. */
static int finish_one(struct node *n, struct accounts_edit *edit, const char *name, int err, struct buf *why,
                      struct admin_error *e)
{
    if (err == 0)
        return finish(n, edit, why, e);
    accounts_edit_close(edit);
    return err == ERR_NOT_FOUND ? admin_fail(e, err, "there is no account %s", name) : fail_with(e, err, why);
}

int ops_account_passwd(void *ctx, const char *name, const char *password, const struct admin_caller *by,
                       struct admin_error *e)
{
    char hash[ACCOUNT_HASH_MAX + 1];
    struct accounts_edit *edit;
    struct buf why;
    if (account_hash_password(span_str(password), hash) != 0)
        return admin_fail(e, ERR_BAD, "the password cannot be used: empty, or over %d bytes",
                          ACCOUNT_PASSWORD_MAX);
    int err = open_edit(ctx, &edit, &why, e);
    if (err == 0)
        err = finish_one(ctx, edit, name, accounts_edit_passwd(edit, span_str(name), span_str(hash), &why),
                         &why, e);
    if (err == 0)
        log_info("accounts", "%s has a new password, set by %s", name, by->text);
    buf_fini(&why);
    return err;
}

int ops_account_remove(void *ctx, const char *name, const struct admin_caller *by, struct admin_error *e)
{
    struct accounts_edit *edit;
    struct buf why;
    int err = open_edit(ctx, &edit, &why, e);
    if (err == 0)
        err = finish_one(ctx, edit, name, accounts_edit_remove(edit, span_str(name)), &why, e);
    if (err == 0)
        log_info("accounts", "%s removed by %s", name, by->text);
    buf_fini(&why);
    return err;
}

int ops_account_import(void *ctx, const struct admin_account *a, uint32_t n, bool replace,
                       const struct admin_caller *by, admin_import_fn *each, void *arg, struct admin_error *e)
{
    struct accounts_edit *edit;
    struct buf why, all;
    int err = open_edit(ctx, &edit, &all, e);
    uint32_t taken = 0;
    buf_init(&why, WHY_MAX);
    for (uint32_t i = 0; err == 0 && i < n; i++) {
        buf_reset(&why);
        int one = add_one(edit, &a[i], replace, &why);
        if (one != 0 && why.len == 0)
            buf_put_str(&why, one == ERR_EXISTS ? "exists already" : err_text(one));
        buf_put_char(&why, '\0');
        taken += one == 0;
        each(arg, i, one, one == 0 ? "" : why.data);
    }
    if (err == 0)
        err = finish(ctx, edit, &all, e);
    if (err == 0)
        log_info("accounts", "%u accounts imported by %s", taken, by->text);
    buf_fini(&why);
    buf_fini(&all);
    return err;
}

/* ---- list -----------------------------------------------------------------------------------------------
 */

static int compare_accounts(const void *a, const void *b)
{
    return strcmp((*(const struct account *const *)a)->name, (*(const struct account *const *)b)->name);
}

static int list_one(const struct account *a, admin_account_fn *fn, void *arg)
{
    struct span senders[ACCOUNT_SENDERS_MAX];
    uint32_t n = 0;
    for (struct span rest = span_str(a->senders); rest.n > 0 && n < ACCOUNT_SENDERS_MAX;) {
        const char *comma = memchr(rest.p, ',', rest.n);
        size_t len = comma == NULL ? rest.n : (size_t)(comma - rest.p);
        senders[n++] = span_of(rest.p, len);
        rest = span_sub(rest, len + 1);
    }
    struct admin_account_row row = { .name = span_str(a->name),
                                     .class = span_str(account_class_name(a->class)),
                                     .tenant = span_str(a->tenant),
                                     .senders = senders,
                                     .nsenders = n,
                                     .disabled = a->disabled,
                                     .has_password = a->hash[0] != '!' };
    return fn(arg, &row);
}

int ops_account_list(void *ctx, const char *after, uint32_t limit, admin_account_fn *fn, void *arg,
                     struct admin_error *e)
{
    char *path;
    struct buf why;
    struct account_table *table;
    int err = account_file(ctx, &path, e);
    if (err != 0)
        return err;
    buf_init(&why, WHY_MAX);
    err = account_table_load(path, &table, &why);
    free(path);
    if (err != 0) {
        err = err == -ENOENT ? 0 : fail_with(e, err, &why);
        buf_fini(&why);
        return err;
    }
    buf_fini(&why);
    uint32_t total = account_table_len(table), n = 0;
    const struct account **sorted = calloc(total + 1, sizeof *sorted);
    for (uint32_t i = 0; sorted != NULL && i < total; i++) {
        const struct account *a = account_table_at(table, i);
        if (after == NULL || strcmp(a->name, after) > 0)
            sorted[n++] = a;
    }
    if (n > 0)
        qsort(sorted, n, sizeof *sorted, compare_accounts);
    for (uint32_t i = 0; i < n && i < limit; i++)
        if (list_one(sorted[i], fn, arg) != 0)
            break;
    err = sorted == NULL ? admin_fail(e, -ENOMEM, "no memory") : 0;
    free(sorted);
    account_table_rele(table);
    return err;
}
