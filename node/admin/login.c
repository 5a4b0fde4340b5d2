/* Logins of the dashboard. */
#include "node/admin/login.h"

#include "base/err.h"
#include "base/text.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A login as this node has it. */
struct here {
    uint8_t id[32];
    char name[LOGIN_OPERATOR_MAX + 1];
    uint64_t version; /* of the operator's record; 0: by the token */
    bool used;
    bool copy; /* the state has it: here is only how long it goes on */
    int64_t until_ms, ends_ms;
};

struct logins {
    pthread_mutex_t lock;
    struct here rows[LOGIN_HERE_MAX];
};

struct logins *logins_new(void)
{
    struct logins *l = calloc(1, sizeof *l);
    if (l != NULL)
        pthread_mutex_init(&l->lock, NULL);
    return l;
}

void logins_free(struct logins *l)
{
    if (l == NULL)
        return;
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- secrets ------------------------------------------------------------------------------------------- */

static void put_hex(const uint8_t *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
}

bool login_derive(struct span secret, struct login *out)
{
    static const char mark[] = "csrf ";
    char text[sizeof mark + LOGIN_SECRET_TEXT];
    uint8_t digest[32];
    if (secret.n != LOGIN_SECRET_TEXT - 1)
        return false;
    for (size_t i = 0; i < secret.n; i++)
        if (text_hex_value(secret.p[i]) < 0)
            return false;
    SHA256((const uint8_t *)secret.p, secret.n, out->id);
    memcpy(text, mark, sizeof mark - 1);
    memcpy(text + sizeof mark - 1, secret.p, secret.n);
    SHA256((const uint8_t *)text, sizeof mark - 1 + secret.n, digest);
    put_hex(digest, (LOGIN_CSRF_TEXT - 1) / 2, out->csrf);
    OPENSSL_cleanse(text, sizeof text);
    return true;
}

int login_make(char secret[LOGIN_SECRET_TEXT], struct login *out)
{
    uint8_t raw[32];
    if (RAND_bytes(raw, sizeof raw) != 1)
        return ERR_FAILED;
    put_hex(raw, sizeof raw, secret);
    OPENSSL_cleanse(raw, sizeof raw);
    return login_derive(span_of(secret, LOGIN_SECRET_TEXT - 1), out) ? 0 : ERR_FAILED;
}

bool login_cookie(struct span header, struct span *secret)
{
    struct span name = SPAN_LIT(LOGIN_COOKIE "=");
    unsigned found = 0;
    while (header.n > 0) {
        const char *end = memchr(header.p, ';', header.n);
        size_t n = end != NULL ? (size_t)(end - header.p) : header.n;
        struct span one = span_of(header.p, n);
        while (one.n > 0 && one.p[0] == ' ')
            one = span_sub(one, 1);
        if (span_starts(one, name)) {
            *secret = span_sub(one, name.n);
            found++;
        }
        header = span_sub(header, n < header.n ? n + 1 : n);
    }
    return found == 1;
}

/* ---- the table of this node ---------------------------------------------------------------------------- */

static struct here *row_of(struct logins *l, const uint8_t id[32])
{
    for (size_t i = 0; i < LOGIN_HERE_MAX; i++)
        if (l->rows[i].used && memcmp(l->rows[i].id, id, 32) == 0)
            return &l->rows[i];
    return NULL;
}

/* A free one, or that which ends first. */
static struct here *room(struct logins *l)
{
    struct here *first = &l->rows[0];
    for (size_t i = 0; i < LOGIN_HERE_MAX; i++) {
        if (!l->rows[i].used)
            return &l->rows[i];
        if (l->rows[i].until_ms < first->until_ms)
            first = &l->rows[i];
    }
    return first;
}

static void put(struct logins *l, const struct login *login, uint64_t version, bool is_copy)
{
    struct here *h = row_of(l, login->id);
    if (h == NULL)
        h = room(l);
    *h = (struct here){ .version = version,
                        .used = true,
                        .copy = is_copy,
                        .until_ms = login->until_ms,
                        .ends_ms = login->ends_ms };
    memcpy(h->id, login->id, sizeof h->id);
    memcpy(h->name, login->name, sizeof h->name);
}

void logins_open_here(struct logins *l, const struct login *login, uint64_t version)
{
    pthread_mutex_lock(&l->lock);
    put(l, login, version, false);
    pthread_mutex_unlock(&l->lock);
}

void logins_extend_here(struct logins *l, const struct login *login, int64_t until_ms)
{
    struct login later = *login;
    later.until_ms = until_ms < login->ends_ms ? until_ms : login->ends_ms;
    pthread_mutex_lock(&l->lock);
    struct here *h = row_of(l, login->id);
    if (h != NULL)
        h->until_ms = later.until_ms;
    else
        put(l, &later, 0, true);
    pthread_mutex_unlock(&l->lock);
}

void logins_close_here(struct logins *l, const uint8_t id[32])
{
    pthread_mutex_lock(&l->lock);
    struct here *h = row_of(l, id);
    if (h != NULL)
        h->used = false;
    pthread_mutex_unlock(&l->lock);
}

void logins_drop_tokens(struct logins *l)
{
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < LOGIN_HERE_MAX; i++)
        if (l->rows[i].version == 0 && !l->rows[i].copy)
            l->rows[i].used = false;
    pthread_mutex_unlock(&l->lock);
}

/* ---- looking it up ------------------------------------------------------------------------------------- */

/* Under the machine's lock: the role is what the operator's record says now. */
static bool put_operator(const struct machine *m, struct span name, uint64_t version, struct login *out)
{
    struct directory_operator o;
    if (name.n >= sizeof out->name || !directory_operator_find(m, name, &o) ||
        (version != 0 && o.version != version))
        return false;
    snprintf(out->name, sizeof out->name, "%.*s", (int)name.n, name.p);
    out->role = o.role;
    return true;
}

static bool find_in_state(const struct machine *m, const struct here *h, struct login *out)
{
    struct directory_login found;
    if (!directory_login_find(m, out->id, &found) || !put_operator(m, found.name, 0, out))
        return false;
    out->until_ms = found.until_ms;
    out->ends_ms = found.ends_ms;
    if (h != NULL && h->copy && h->until_ms > out->until_ms)
        out->until_ms = h->until_ms;
    return true;
}

static bool find_here(const struct machine *m, const struct here *h, struct login *out)
{
    if (h == NULL || h->copy)
        return false;
    out->until_ms = h->until_ms;
    out->ends_ms = h->ends_ms;
    out->here = true;
    out->token = h->version == 0;
    if (!out->token)
        return m != NULL && put_operator(m, span_str(h->name), h->version, out);
    memcpy(out->name, h->name, sizeof out->name);
    out->role = COMMAND_ROLE_ADMIN;
    return true;
}

bool logins_find(struct logins *l, struct machine *m, struct span secret, int64_t now_ms, struct login *out)
{
    struct here h = { .used = false };
    *out = (struct login){ .here = false };
    if (!login_derive(secret, out))
        return false;
    pthread_mutex_lock(&l->lock);
    const struct here *is = row_of(l, out->id);
    if (is != NULL)
        h = *is;
    pthread_mutex_unlock(&l->lock);
    is = h.used ? &h : NULL;
    if (m != NULL)
        machine_read_lock(m);
    bool found = (m != NULL && find_in_state(m, is, out)) || find_here(m, is, out);
    if (m != NULL)
        machine_read_unlock(m);
    return found && now_ms < out->until_ms && now_ms < out->ends_ms;
}
