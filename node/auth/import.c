/* Bulk import of accounts: all of the input is checked, then hashed on several threads, then taken over. */
#include "node/auth/edit.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define IMPORT_FIELDS 5
#define IMPORT_WHY_MAX 100
#define IMPORT_THREADS_MAX 64

struct row {
    char *field[IMPORT_FIELDS]; /* unquoted, never NULL once read; in `text` */
    char *text;
    uint32_t line;
    char name[ACCOUNT_NAME_MAX + 1];
    char hash[ACCOUNT_HASH_MAX + 1]; /* made here, when the input has a password */
    bool plain;                      /* field[1] is a password */
};

struct import {
    struct row **v;
    uint32_t n, cap;
    struct map names; /* of rows, for names given twice */
    struct buf *why;
    uint32_t faults;
    atomic_uint next; /* row to hash */
    atomic_int err;
};

static void fault(struct import *im, uint32_t line, const char *reason)
{
    if (im->why != NULL && im->faults < IMPORT_WHY_MAX)
        buf_printf(im->why, "line %u: %s\n", line, reason);
    im->faults++;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* One line of CSV, in place: "a,""b"",c" as RFC 4180 has it, but without line breaks in quotes. */
static const char *csv_split(char *text, char **field)
{
    char *p = text;
    for (int i = 0; i < IMPORT_FIELDS; i++)
        field[i] = text + strlen(text);
    for (int i = 0;; i++) {
        if (i == IMPORT_FIELDS)
            return "more than five fields; quote a password that has a comma";
        char *out = p;
        field[i] = p;
        bool quoted = *p == '"';
        if (quoted)
            p++;
        while (*p != '\0' && (quoted || *p != ',')) {
            if (quoted && *p == '"') {
                if (p[1] != '"')
                    break;
                p++;
            }
            *out++ = *p++;
        }
        if (quoted && *p != '"')
            return "a quote is not closed";
        p += quoted;
        bool last = *p == '\0';
        if (!last && *p != ',')
            return "text after a closing quote";
        *out = '\0';
        if (last)
            return NULL;
        p++;
    }
}

static uint64_t row_hash(const void *item)
{
    return hash_bytes(((const struct row *)item)->name, strlen(((const struct row *)item)->name));
}

static bool row_match(const void *item, const void *key)
{
    return strcmp(((const struct row *)item)->name, key) == 0;
}

static void row_free(struct row *r)
{
    if (r == NULL)
        return;
    if (r->text != NULL)
        explicit_bzero(r->text, strlen(r->text));
    free(r->text);
    free(r);
}

static int class_of(const struct row *r)
{
    return r->field[2][0] == '\0' ? ACCOUNT_PERSON : account_class_parse(span_str(r->field[2]));
}

/* Blanks between senders, as a comma would end the field. */
static void commas(char *senders)
{
    for (char *p = senders; *p != '\0'; p++)
        if (*p == ' ' || *p == ';')
            *p = ',';
}

static struct account_spec row_spec(const struct row *r)
{
    return (struct account_spec){
        .name = span_str(r->name),
        .hash = span_str(r->plain ? r->hash : r->field[1]),
        .tenant = span_str(r->field[3]),
        .senders = span_str(r->field[4]),
        .class = class_of(r),
    };
}

static const char *row_check(struct import *im, const struct accounts_edit *e, struct row *r, unsigned flags)
{
    struct span hash;
    size_t len = strlen(r->field[1]);
    if (account_name_canonical(span_str(r->field[0]), r->name) != 0)
        return "the first field is no account name";
    if (map_find(&im->names, row_hash(r), r->name) != NULL)
        return "the account was in an earlier line already";
    if ((flags & ACCOUNTS_IMPORT_UPDATE) == 0 && edit_find(e, span_str(r->name)) != NULL)
        return "the account exists already; use --update to replace it";
    r->plain = strcmp(r->field[1], "!") != 0 && !account_hash_recognise(span_str(r->field[1]), &hash);
    if (len == 0)
        return "no password; \"!\" makes an account without one";
    if (r->plain && len >= ACCOUNT_PASSWORD_MAX)
        return "the password is longer than 511 bytes";
    if (r->plain && r->field[1][0] == '{' && strchr(r->field[1], '}') != NULL)
        return "a hash of a scheme that crypt(5) does not know";
    if (class_of(r) < 0)
        return "the third field, the class, must be person, device or bulk";
    /* The rest is found now rather than after an hour of hashing. */
    struct account_spec spec = row_spec(r);
    char name[ACCOUNT_NAME_MAX + 1], *text;
    spec.hash = SPAN_LIT("!");
    if (edit_format(&spec, name, &text, NULL) != 0)
        return "the tenant (fourth field) or the senders (fifth) are malformed";
    free(text);
    return NULL;
}

static int row_keep(struct import *im, struct row *r)
{
    if (im->n == ACCOUNTS_MAX)
        return ERR_LIMIT;
    if (im->n == im->cap) {
        uint32_t cap = im->cap == 0 ? 64 : im->cap * 2;
        struct row **v = reallocarray(im->v, cap, sizeof *v);
        if (v == NULL)
            return -ENOMEM;
        im->v = v;
        im->cap = cap;
    }
    int err = map_add(&im->names, row_hash(r), r);
    if (err == 0)
        im->v[im->n++] = r;
    return err;
}

static int read_row(struct import *im, const struct accounts_edit *e, struct span text, uint32_t line,
                    unsigned flags)
{
    struct row *r = calloc(1, sizeof *r);
    if (r == NULL || (r->text = strndup(text.p, text.n)) == NULL) {
        free(r);
        return -ENOMEM;
    }
    r->line = line;
    const char *reason =
        strlen(r->text) != text.n ? "contains a NUL character" : csv_split(r->text, r->field);
    if (reason == NULL && line == 1 && strcasecmp(r->field[0], "name") == 0) {
        row_free(r);
        return 0;
    }
    if (reason == NULL) {
        commas(r->field[4]);
        reason = row_check(im, e, r, flags);
    }
    int err = reason == NULL ? row_keep(im, r) : 0;
    if (reason != NULL)
        fault(im, line, reason);
    if (reason != NULL || err != 0)
        row_free(r);
    return err;
}

static int read_rows(struct import *im, const struct accounts_edit *e, struct span csv, unsigned flags)
{
    int err = 0;
    for (uint32_t line = 1; csv.n > 0 && err == 0; line++) {
        const char *end = memchr(csv.p, '\n', csv.n);
        struct span text = span_of(csv.p, end != NULL ? (size_t)(end - csv.p) : csv.n);
        csv = span_sub(csv, text.n + (end != NULL ? 1 : 0));
        if (text.n > 0 && text.p[text.n - 1] == '\r')
            text.n--;
        if (text.n > 0 && text.p[0] != '#')
            err = read_row(im, e, text, line, flags);
    }
    return err != 0 ? err : im->faults > 0 ? ERR_BAD : 0;
}

/* ---- hashing ------------------------------------------------------------------------------------------- */

static void *hash_some(void *arg)
{
    struct import *im = arg;
    for (;;) {
        uint32_t i = atomic_fetch_add(&im->next, 1);
        if (i >= im->n || atomic_load(&im->err) != 0)
            return NULL;
        if (!im->v[i]->plain)
            continue;
        int err = account_hash_password(span_str(im->v[i]->field[1]), im->v[i]->hash);
        if (err != 0)
            atomic_store(&im->err, err);
    }
}

static int hash_rows(struct import *im, unsigned threads)
{
    pthread_t ids[IMPORT_THREADS_MAX];
    unsigned started = 0;
    if (threads > IMPORT_THREADS_MAX)
        threads = IMPORT_THREADS_MAX;
    while (started + 1 < threads && started + 1 < im->n &&
           pthread_create(&ids[started], NULL, hash_some, im) == 0)
        started++;
    hash_some(im); /* this thread is one of them */
    for (unsigned i = 0; i < started; i++)
        pthread_join(ids[i], NULL);
    return atomic_load(&im->err);
}

/* ---- taking over --------------------------------------------------------------------------------------- */

/* Everything that could be wrong with a line is found before the first one is taken. */
static int format_rows(struct import *im, char **lines)
{
    for (uint32_t i = 0; i < im->n; i++) {
        char name[ACCOUNT_NAME_MAX + 1];
        struct account_spec spec = row_spec(im->v[i]);
        size_t was = im->why != NULL ? im->why->len : 0;
        if (im->why != NULL)
            buf_printf(im->why, "line %u: ", im->v[i]->line);
        int err = edit_format(&spec, name, &lines[i], im->why);
        if (err == 0 && im->why != NULL)
            im->why->len = was;
        if (err != 0)
            return err;
    }
    return 0;
}

static int take_rows(struct import *im, struct accounts_edit *e, char **lines,
                     struct accounts_import_result *result)
{
    if (e->accounts + (uint64_t)im->n > ACCOUNTS_MAX)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < im->n; i++) {
        struct edit_line *l = edit_find(e, span_str(im->v[i]->name));
        result->hashed += im->v[i]->plain;
        if (l != NULL) {
            free(l->text);
            l->text = lines[i];
            result->updated++;
        } else {
            int err = edit_append(e, im->v[i]->name, lines[i]);
            if (err != 0)
                return err;
            result->added++;
        }
        lines[i] = NULL;
    }
    return 0;
}

int accounts_edit_import(struct accounts_edit *e, struct span csv, unsigned flags, unsigned threads,
                         struct accounts_import_result *result, struct buf *why)
{
    struct import im = { .why = why };
    char **lines = NULL;
    *result = (struct accounts_import_result){ 0 };
    map_init(&im.names, row_hash, row_match);
    int err = read_rows(&im, e, csv, flags);
    if (err == 0)
        err = hash_rows(&im, threads);
    if (err == 0 && im.n > 0) {
        lines = calloc(im.n, sizeof *lines);
        err = lines == NULL ? -ENOMEM : format_rows(&im, lines);
        if (err == 0)
            err = take_rows(&im, e, lines, result);
    }
    for (uint32_t i = 0; i < im.n; i++) {
        if (lines != NULL)
            free(lines[i]);
        row_free(im.v[i]);
    }
    free(lines);
    free(im.v);
    map_fini(&im.names);
    return err;
}
