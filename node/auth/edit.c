/* Editing the accounts file. Blocking; for the command line and the admin API's blocking work. */
#include "node/auth/edit.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"
#include "node/auth/file.h"
#include "node/auth/line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static uint64_t line_hash(const void *item)
{
    const char *name = ((const struct edit_line *)item)->name;
    return hash_bytes(name, strlen(name));
}

static bool line_match(const void *item, const void *key)
{
    return span_eq(span_str(((const struct edit_line *)item)->name), *(const struct span *)key);
}

struct edit_line *edit_find(const struct accounts_edit *e, struct span name)
{
    return map_find(&e->index, hash_bytes(name.p, name.n), &name);
}

static int grow(struct accounts_edit *e)
{
    if (e->n < e->cap)
        return 0;
    uint32_t cap = e->cap == 0 ? 64 : e->cap * 2;
    struct edit_line **v = reallocarray(e->v, cap, sizeof *v);
    if (v == NULL)
        return -ENOMEM;
    e->v = v;
    e->cap = cap;
    return 0;
}

int edit_append(struct accounts_edit *e, const char *name, char *line)
{
    struct edit_line *l = calloc(1, sizeof *l);
    int err = l == NULL ? -ENOMEM : grow(e);
    if (err == 0 && name != NULL) {
        l->name = strdup(name);
        err = l->name == NULL               ? -ENOMEM
              : e->accounts >= ACCOUNTS_MAX ? ERR_LIMIT
                                            : map_add(&e->index, line_hash(l), l);
    }
    if (err != 0) {
        if (l != NULL)
            free(l->name);
        free(l);
        return err;
    }
    l->text = line;
    e->v[e->n++] = l;
    e->accounts += name != NULL;
    return 0;
}

/* The file was found right before: each line is blank or begins with a name. */
static int split(struct accounts_edit *e, struct span text)
{
    while (text.n > 0) {
        const char *end = memchr(text.p, '\n', text.n);
        struct span line = span_of(text.p, end != NULL ? (size_t)(end - text.p) : text.n);
        char name[ACCOUNT_NAME_MAX + 1];
        bool blank = account_line_blank(line);
        if (!blank) {
            const char *colon = memchr(line.p, ':', line.n);
            ensure(colon != NULL);
            account_name_canonical(span_of(line.p, (size_t)(colon - line.p)), name);
        }
        char *copy = strndup(line.p, line.n);
        int err = copy == NULL ? -ENOMEM : edit_append(e, blank ? NULL : name, copy);
        if (err != 0) {
            free(copy);
            return err;
        }
        text = span_sub(text, line.n + (end != NULL ? 1 : 0));
    }
    return 0;
}

static int read_file(struct accounts_edit *e, struct buf *why)
{
    struct buf text;
    struct account_table *t = NULL;
    buf_init(&text, ACCOUNTS_FILE_MAX + (1u << 20));
    int err = account_file_read(e->path, &text, why);
    if (err == 0)
        err = account_table_parse(e->path, buf_span(&text), &t, why);
    if (err == 0)
        err = split(e, buf_span(&text));
    account_table_rele(t);
    if (text.data != NULL)
        explicit_bzero(text.data, text.cap);
    buf_fini(&text);
    return err == -ENOENT ? 0 : err;
}

int accounts_edit_open(const char *path, struct accounts_edit **out, struct buf *why)
{
    *out = NULL;
    struct accounts_edit *e = calloc(1, sizeof *e);
    if (e == NULL)
        return -ENOMEM;
    map_init(&e->index, line_hash, line_match);
    e->lock = -1;
    e->path = strdup(path);
    int err = e->path == NULL ? -ENOMEM : account_file_lock(path, why);
    if (err >= 0) {
        e->lock = err;
        err = read_file(e, why);
    }
    if (err != 0) {
        accounts_edit_close(e);
        return err;
    }
    *out = e;
    return 0;
}

void accounts_edit_close(struct accounts_edit *e)
{
    if (e == NULL)
        return;
    for (uint32_t i = 0; i < e->n; i++) {
        free(e->v[i]->text);
        free(e->v[i]->name);
        free(e->v[i]);
    }
    free(e->v);
    map_fini(&e->index);
    if (e->lock >= 0)
        close(e->lock); /* the lock's file stays: removing it would let two in */
    free(e->path);
    free(e);
}

/* ---- one account ----------------------------------------------------------------------------------------
 */

static int bad(struct buf *why, struct span name, const char *reason)
{
    if (why != NULL)
        buf_printf(why, "%.*s: %s\n", (int)(name.n > 100 ? 100 : name.n), name.p, reason);
    return ERR_BAD;
}

/* Makes the line and reads it back: so nothing gets in that the node would refuse. */
static int format_checked(const struct account *a, char **line, struct buf *why)
{
    struct buf b;
    struct account back;
    buf_init(&b, ACCOUNT_LINE_MAX + 1);
    account_line_put(&b, a);
    buf_put_char(&b, '\0');
    if (buf_err(&b) != 0) {
        buf_fini(&b);
        return bad(why, span_str(a->name), "the line would be longer than 16384 bytes");
    }
    char *copy = strdup(b.data);
    const char *reason = copy == NULL ? "no memory" : account_line_parse(copy, &back);
    free(copy);
    if (reason != NULL) {
        buf_fini(&b);
        return bad(why, span_str(a->name), reason);
    }
    *line = b.data;
    return 0;
}

static bool plain(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f || s.p[i] == ':')
            return false;
    return true;
}

int edit_format(const struct account_spec *spec, char *name, char **line, struct buf *why)
{
    char tenant[256], senders[ACCOUNT_LINE_MAX], hash[ACCOUNT_HASH_MAX + 1];
    struct span h = spec->hash, t = spec->tenant;
    if (account_name_canonical(spec->name, name) != 0)
        return bad(why, spec->name,
                   "is no account name: no blanks, colons, commas, quotes or backslashes; at most 320 bytes");
    if (!span_eq(h, SPAN_LIT("!")) && !account_hash_recognise(spec->hash, &h))
        return bad(why, spec->name, "the hash is none that crypt(5) knows");
    const char *at = strrchr(name, '@');
    if (t.n == 0 && at != NULL)
        t = span_str(at + 1);
    if (t.n >= sizeof tenant || !plain(t))
        return bad(why, spec->name,
                   "the tenant is longer than 255 bytes or has a colon or control character");
    if (spec->senders.n >= sizeof senders || !plain(spec->senders) ||
        (spec->senders.n > 0 && memchr(spec->senders.p, ' ', spec->senders.n) != NULL))
        return bad(why, spec->name, "senders are separated by commas, without blanks");
    if (spec->class < ACCOUNT_PERSON || spec->class > ACCOUNT_BULK)
        return bad(why, spec->name, "the class must be person, device or bulk");
    snprintf(tenant, sizeof tenant, "%.*s", (int)t.n, t.p != NULL ? t.p : "");
    snprintf(senders, sizeof senders, "%.*s", (int)spec->senders.n,
             spec->senders.p != NULL ? spec->senders.p : "");
    snprintf(hash, sizeof hash, "%.*s", (int)h.n, h.p);
    struct account a = { .name = name,
                         .hash = hash,
                         .tenant = tenant,
                         .senders = senders,
                         .class = (uint8_t)spec->class,
                         .disabled = spec->disabled };
    return format_checked(&a, line, why);
}

int accounts_edit_add(struct accounts_edit *e, const struct account_spec *spec, struct buf *why)
{
    char name[ACCOUNT_NAME_MAX + 1];
    char *line;
    int err = edit_format(spec, name, &line, why);
    if (err != 0)
        return err;
    if (edit_find(e, span_str(name)) != NULL) {
        free(line);
        bad(why, span_str(name), "exists already");
        return ERR_EXISTS;
    }
    err = edit_append(e, name, line);
    if (err != 0)
        free(line);
    return err;
}

/* The account's line taken apart; *copy is what the strings point into. */
static int current(struct accounts_edit *e, struct span name, struct edit_line **line, struct account *a,
                   char **copy)
{
    char canonical[ACCOUNT_NAME_MAX + 1];
    if (account_name_canonical(name, canonical) != 0)
        return ERR_NOT_FOUND;
    *line = edit_find(e, span_str(canonical));
    if (*line == NULL)
        return ERR_NOT_FOUND;
    *copy = strdup((*line)->text);
    if (*copy == NULL)
        return -ENOMEM;
    const char *reason = account_line_parse(*copy, a);
    ensure(reason == NULL);
    return 0;
}

int accounts_edit_passwd(struct accounts_edit *e, struct span name, struct span hash, struct buf *why)
{
    struct edit_line *l;
    struct account a;
    char *copy, *line, text[ACCOUNT_HASH_MAX + 1];
    struct span h = hash;
    int err = current(e, name, &l, &a, &copy);
    if (err != 0)
        return err;
    if (!span_eq(hash, SPAN_LIT("!")) && !account_hash_recognise(hash, &h)) {
        free(copy);
        return bad(why, name, "the hash is none that crypt(5) knows");
    }
    snprintf(text, sizeof text, "%.*s", (int)h.n, h.p);
    a.hash = text;
    err = format_checked(&a, &line, why);
    if (err == 0) {
        free(l->text);
        l->text = line;
    }
    free(copy);
    return err;
}

int accounts_edit_set(struct accounts_edit *e, const struct account_spec *spec, struct buf *why)
{
    struct edit_line *l;
    struct account a;
    char *copy, *line, name[ACCOUNT_NAME_MAX + 1];
    int err = current(e, spec->name, &l, &a, &copy);
    if (err != 0)
        return err;
    struct account_spec full = *spec;
    if (full.hash.n == 0)
        full.hash = span_str(a.hash);
    err = edit_format(&full, name, &line, why);
    if (err == 0) {
        free(l->text);
        l->text = line;
    }
    free(copy);
    return err;
}

int accounts_edit_remove(struct accounts_edit *e, struct span name)
{
    char canonical[ACCOUNT_NAME_MAX + 1];
    if (account_name_canonical(name, canonical) != 0)
        return ERR_NOT_FOUND;
    struct edit_line *l = edit_find(e, span_str(canonical));
    if (l == NULL)
        return ERR_NOT_FOUND;
    map_remove(&e->index, line_hash(l), l);
    free(l->text);
    free(l->name);
    l->text = l->name = NULL;
    e->accounts--;
    return 0;
}

int accounts_edit_commit(struct accounts_edit *e, struct buf *why)
{
    struct buf b;
    buf_init(&b, ACCOUNTS_FILE_MAX);
    for (uint32_t i = 0; i < e->n; i++)
        if (e->v[i]->text != NULL) {
            buf_put_str(&b, e->v[i]->text);
            buf_put_char(&b, '\n');
        }
    int err = buf_err(&b);
    if (err == 0)
        err = account_file_replace(e->path, buf_span(&b), why);
    if (b.data != NULL)
        explicit_bzero(b.data, b.cap);
    buf_fini(&b);
    return err;
}
