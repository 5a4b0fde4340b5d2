/* A snapshot of the accounts file: one copy of its text, an array that points into it, and an index by name.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/map.h"
#include "node/auth/accounts.h"
#include "node/auth/file.h"
#include "node/auth/line.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHY_MAX 100 /* faults told of one file */

struct account_table {
    atomic_uint refs;
    char *text;
    size_t text_len;
    struct account *v;
    uint32_t n, cap;
    struct map index;
};

static uint64_t account_hash(const void *item)
{
    return hash_bytes(((const struct account *)item)->name, strlen(((const struct account *)item)->name));
}

static bool account_match(const void *item, const void *key)
{
    return span_eq(span_str(((const struct account *)item)->name), *(const struct span *)key);
}

static void table_free(struct account_table *t)
{
    map_fini(&t->index);
    free(t->v);
    if (t->text != NULL)
        explicit_bzero(t->text, t->text_len); /* hashes are worth something, too */
    free(t->text);
    free(t);
}

struct account_table *account_table_hold(struct account_table *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void account_table_rele(struct account_table *t)
{
    if (t == NULL)
        return;
    unsigned was = atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel);
    ensure(was > 0);
    if (was == 1)
        table_free(t);
}

static int add(struct account_table *t, const struct account *a)
{
    if (t->n == ACCOUNTS_MAX)
        return ERR_LIMIT;
    if (t->n == t->cap) {
        uint32_t cap = t->cap == 0 ? 64 : t->cap * 2;
        struct account *v = reallocarray(t->v, cap, sizeof *v);
        if (v == NULL)
            return -ENOMEM;
        t->v = v;
        t->cap = cap;
    }
    t->v[t->n++] = *a;
    return 0;
}

static void tell(struct buf *why, uint32_t *told, const char *path, uint32_t line, const char *reason)
{
    if (why != NULL && ++*told <= WHY_MAX)
        buf_printf(why, "%s:%u: %s\n", path, line, reason);
}

static int read_lines(const char *path, struct account_table *t, struct buf *why)
{
    uint32_t line = 0, told = 0;
    bool bad = false;
    for (char *p = t->text; p < t->text + t->text_len;) {
        char *end = memchr(p, '\n', (size_t)(t->text + t->text_len - p));
        if (end == NULL)
            end = t->text + t->text_len;
        *end = '\0'; /* there is one byte more than text_len */
        line++;
        const char *reason = NULL;
        struct account a;
        if (strlen(p) != (size_t)(end - p)) {
            reason = "contains a NUL character";
        } else if (!account_line_blank(span_of(p, (size_t)(end - p)))) {
            reason = account_line_parse(p, &a);
            int err = reason == NULL ? add(t, &a) : 0;
            if (err != 0)
                return err;
        }
        bad = bad || reason != NULL;
        if (reason != NULL)
            tell(why, &told, path, line, reason);
        p = end + 1;
    }
    return bad ? ERR_BAD : 0;
}

/* After the array has its place for good. */
static int build_index(const char *path, struct account_table *t, struct buf *why)
{
    int bad = 0;
    uint32_t told = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        struct span name = span_str(t->v[i].name);
        uint64_t hash = account_hash(&t->v[i]);
        if (map_find(&t->index, hash, &name) != NULL) {
            bad = ERR_BAD;
            if (why != NULL && ++told <= WHY_MAX)
                buf_printf(why, "%s: the account %s is there twice\n", path, t->v[i].name);
            continue;
        }
        int err = map_add(&t->index, hash, &t->v[i]);
        if (err != 0)
            return err;
    }
    return bad;
}

int account_table_parse(const char *path, struct span text, struct account_table **out, struct buf *why)
{
    *out = NULL;
    struct account_table *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    atomic_init(&t->refs, 1);
    map_init(&t->index, account_hash, account_match);
    t->text = malloc(text.n + 1);
    t->text_len = text.n;
    int err = t->text == NULL ? -ENOMEM : 0;
    if (err == 0) {
        if (text.n > 0)
            memcpy(t->text, text.p, text.n);
        t->text[text.n] = '\0';
        err = read_lines(path, t, why);
    }
    if (err == 0)
        err = build_index(path, t, why);
    if (err != 0) {
        table_free(t);
        return err;
    }
    *out = t;
    return 0;
}

int account_file_read(const char *path, struct buf *text, struct buf *why)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int err = -errno;
        if (why != NULL && err != -ENOENT)
            buf_printf(why, "%s: cannot read: %s\n", path, err_text(err));
        if (fd >= 0)
            close(fd);
        return err;
    }
    int err = !S_ISREG(st.st_mode) ? -EISDIR : (st.st_mode & S_IRWXO) != 0 ? ERR_DENIED : 0;
    if (err == 0 && (uint64_t)st.st_size > ACCOUNTS_FILE_MAX)
        err = ERR_LIMIT;
    if (why != NULL && err == ERR_DENIED)
        buf_printf(why, "%s: everybody can reach it (mode %04o): chmod 0640 it\n", path, st.st_mode & 07777u);
    else if (why != NULL && err != 0)
        buf_printf(why, "%s: %s\n", path, err == ERR_LIMIT ? "is too large" : "is not a file");
    while (err == 0) {
        err = buf_reserve(text, 262144);
        ssize_t n = err == 0 ? read(fd, text->data + text->len, 262144) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err = -errno;
        if (n <= 0)
            break;
        text->len += (size_t)n;
    }
    close(fd);
    return err;
}

int account_table_load(const char *path, struct account_table **out, struct buf *why)
{
    struct buf text;
    *out = NULL;
    buf_init(&text, ACCOUNTS_FILE_MAX + (1u << 20));
    int err = account_file_read(path, &text, why);
    if (err == 0)
        err = account_table_parse(path, buf_span(&text), out, why);
    if (text.data != NULL)
        explicit_bzero(text.data, text.cap);
    buf_fini(&text);
    return err;
}

const struct account *account_table_find(const struct account_table *t, struct span name)
{
    return map_find(&t->index, hash_bytes(name.p, name.n), &name);
}

uint32_t account_table_len(const struct account_table *t)
{
    return t->n;
}

const struct account *account_table_at(const struct account_table *t, uint32_t i)
{
    ensure(i < t->n);
    return &t->v[i];
}
