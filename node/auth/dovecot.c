/* Dovecot's authentication protocol, the client's side. */
#include "node/auth/dovecot.h"

#include "base/err.h"
#include "base/text.h"

#include <openssl/evp.h>
#include <string.h>

#define FIELDS_MAX 64 /* of a line; further ones are of no interest */

void dovecot_init(struct dovecot *d)
{
    *d = (struct dovecot){ 0 };
    buf_init(&d->line, DOVECOT_LINE_MAX);
}

void dovecot_fini(struct dovecot *d)
{
    buf_fini(&d->line);
}

int dovecot_start(struct dovecot *d, uint32_t pid, struct buf *out)
{
    buf_reset(&d->line);
    d->version = d->plain = d->ready = false;
    d->why = NULL;
    return buf_printf(out, "VERSION\t1\t1\nCPID\t%u\n", pid);
}

static int bad(struct dovecot *d, const char *why)
{
    d->why = why;
    return ERR_BAD;
}

/* \001 escapes tab, LF, CR, NUL and itself. In place. */
static struct span unescape(char *p, size_t n)
{
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (c == '\001' && i + 1 < n) {
            c = p[++i];
            c = c == '0' ? '\0' : c == '1' ? '\001' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'n' ? '\n' : c;
        }
        p[out++] = c;
    }
    return span_of(p, out);
}

static size_t fields(char *line, size_t n, struct span *out)
{
    size_t count = 0;
    for (char *p = line; count < FIELDS_MAX;) {
        char *tab = memchr(p, '\t', n - (size_t)(p - line));
        size_t len = tab != NULL ? (size_t)(tab - p) : n - (size_t)(p - line);
        out[count++] = unescape(p, len);
        if (tab == NULL)
            break;
        p = tab + 1;
    }
    return count;
}

static bool has(const struct span *f, size_t n, struct span want)
{
    for (size_t i = 2; i < n; i++)
        if (span_eq(f[i], want))
            return true;
    return false;
}

static struct span value(const struct span *f, size_t n, struct span key)
{
    for (size_t i = 2; i < n; i++)
        if (span_starts(f[i], key))
            return span_sub(f[i], key.n);
    return (struct span){ "", 0 };
}

static int answer(struct dovecot *d, const struct span *f, size_t n, dovecot_fn *fn, void *ctx)
{
    uint64_t id;
    if (!d->ready)
        return bad(d, "an answer before the handshake was done");
    if (n < 2 || text_u64(f[1], &id) != 0 || id == 0 || id > UINT32_MAX)
        return bad(d, "an answer without a proper id");
    enum dovecot_event event = DOVECOT_FAIL;
    if (span_eq(f[0], SPAN_LIT("OK")))
        event = DOVECOT_OK;
    /* CONT asks for more; PLAIN with its initial response has none, so the server is confused. */
    else if (span_eq(f[0], SPAN_LIT("CONT")) || has(f, n, SPAN_LIT("temp")) ||
             has(f, n, SPAN_LIT("code=temp_fail")))
        event = DOVECOT_TEMP;
    fn(ctx, event, (uint32_t)id, value(f, n, SPAN_LIT("user=")));
    return 0;
}

static int line_take(struct dovecot *d, char *line, size_t len, dovecot_fn *fn, void *ctx)
{
    struct span f[FIELDS_MAX];
    size_t n = fields(line, len, f);
    if (span_eq(f[0], SPAN_LIT("OK")) || span_eq(f[0], SPAN_LIT("FAIL")) || span_eq(f[0], SPAN_LIT("CONT")))
        return answer(d, f, n, fn, ctx);
    if (span_eq(f[0], SPAN_LIT("VERSION"))) {
        if (n < 2 || !span_eq(f[1], SPAN_LIT("1")))
            return bad(d, "a version of the protocol other than 1");
        d->version = true;
    } else if (span_eq(f[0], SPAN_LIT("MECH"))) {
        d->plain = d->plain || (n > 1 && span_eq_nocase(f[1], SPAN_LIT("PLAIN")));
    } else if (span_eq(f[0], SPAN_LIT("DONE"))) {
        if (!d->version)
            return bad(d, "no version was given");
        if (!d->plain)
            return bad(d, "the server does not offer PLAIN (auth_mechanisms)");
        if (d->ready)
            return bad(d, "a second handshake");
        d->ready = true;
        fn(ctx, DOVECOT_READY, 0, (struct span){ "", 0 });
    }
    return 0; /* SPID, CUID, COOKIE and what later versions add */
}

int dovecot_input(struct dovecot *d, const char *p, size_t n, dovecot_fn *fn, void *ctx)
{
    while (n > 0) {
        const char *lf = memchr(p, '\n', n);
        size_t len = lf != NULL ? (size_t)(lf - p) : n;
        if (buf_put(&d->line, p, len) != 0)
            return bad(d, "a line of more than 8192 bytes");
        if (lf == NULL)
            return 0;
        int err = line_take(d, d->line.data != NULL ? d->line.data : "", d->line.len, fn, ctx);
        if (err != 0)
            return err;
        buf_reset(&d->line);
        p += len + 1;
        n -= len + 1;
    }
    return 0;
}

static bool plain_text(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || s.p[i] == 0x7f)
            return false;
    return true;
}

int dovecot_request(uint32_t id, struct span service, struct span user, struct span password,
                    struct span client, struct buf *out)
{
    unsigned char raw[2048], coded[2800];
    size_t n = user.n + password.n + 2;
    if (n > sizeof raw || !plain_text(service) || !plain_text(client))
        return ERR_LIMIT;
    raw[0] = '\0';
    memcpy(raw + 1, user.p, user.n);
    raw[1 + user.n] = '\0';
    memcpy(raw + 2 + user.n, password.p, password.n);
    int len = EVP_EncodeBlock(coded, raw, (int)n);
    size_t was = out->len;
    buf_printf(out, "AUTH\t%u\tPLAIN\tservice=%.*s\tsecured", id, (int)service.n, service.p);
    if (client.n > 0)
        buf_printf(out, "\trip=%.*s", (int)client.n, client.p);
    buf_printf(out, "\tresp=%.*s\n", len, (const char *)coded); /* resp is always the last */
    explicit_bzero(raw, sizeof raw);
    explicit_bzero(coded, sizeof coded);
    if (buf_err(out) == 0)
        return 0;
    out->len = was;
    out->err = 0;
    return ERR_LIMIT;
}
