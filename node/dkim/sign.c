/* Signs a message while it streams by. See sign.h. */
#include "node/dkim/sign.h"

#include "base/base64.h"
#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

#define LINE_MAX_CHARS 76

struct dkim_signer {
    const struct dkim_style *style;
    uint32_t n;
    struct {
        struct dkim_key *key;
        char *domain, *selector;
    } with[DKIM_SIGNATURES_MAX];
    EVP_MD_CTX *header_md, *body_md;
    struct dkim_canon_body body;
    struct buf names; /* h=, folded */
    bool failed;      /* a hash did */
};

static void signer_hash_cb(void *ctx, const void *p, size_t n)
{
    struct dkim_signer *s = ctx;
    if (EVP_DigestUpdate(s->body_md, p, n) != 1)
        s->failed = true;
}

int dkim_signer_new(const struct dkim_style *style, const struct dkim_signature *with, uint32_t n,
                    struct dkim_signer **out)
{
    ensure(n > 0);
    ensure(n <= DKIM_SIGNATURES_MAX);
    struct dkim_signer *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->style = style;
    s->n = n;
    buf_init(&s->names, DKIM_OUT_MAX);
    dkim_canon_body_init(&s->body, style->body, signer_hash_cb, s);
    s->header_md = EVP_MD_CTX_new();
    s->body_md = EVP_MD_CTX_new();
    bool good = s->header_md != NULL && s->body_md != NULL &&
                EVP_DigestInit_ex(s->header_md, EVP_sha256(), NULL) == 1 &&
                EVP_DigestInit_ex(s->body_md, EVP_sha256(), NULL) == 1;
    for (uint32_t i = 0; i < n; i++) {
        s->with[i].key = dkim_key_hold(with[i].key);
        s->with[i].domain = strdup(with[i].domain);
        s->with[i].selector = strdup(with[i].selector);
        good = good && s->with[i].domain != NULL && s->with[i].selector != NULL;
    }
    if (!good) {
        dkim_signer_free(s);
        return -ENOMEM;
    }
    *out = s;
    return 0;
}

void dkim_signer_free(struct dkim_signer *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->n; i++) {
        dkim_key_rele(s->with[i].key);
        free(s->with[i].domain);
        free(s->with[i].selector);
    }
    EVP_MD_CTX_free(s->header_md);
    EVP_MD_CTX_free(s->body_md);
    buf_fini(&s->names);
    free(s);
}

bool dkim_signer_slow(const struct dkim_signer *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (dkim_key_slow(s->with[i].key))
            return true;
    return false;
}

/* ---- header -------------------------------------------------------------------------------------------- */

bool dkim_field_next(struct span *rest, struct span *whole)
{
    if (rest->n == 0 || rest->p[0] == '\r' || rest->p[0] == '\n')
        return false;
    size_t n = 0;
    do { /* lines that begin with a blank belong to the one before */
        const char *end = memchr(rest->p + n, '\n', rest->n - n);
        n = end == NULL ? rest->n : (size_t)(end - rest->p) + 1;
    } while (n < rest->n && (rest->p[n] == ' ' || rest->p[n] == '\t'));
    *whole = span_of(rest->p, n);
    *rest = span_sub(*rest, n);
    return true;
}

struct fields {
    struct span whole[DKIM_FIELDS_MAX], name[DKIM_FIELDS_MAX];
    uint32_t n, signed_names;
};

static int fields_read(struct span header, struct fields *f)
{
    struct span whole;
    for (f->n = 0; dkim_field_next(&header, &whole); f->n++) {
        const char *colon = memchr(whole.p, ':', whole.n);
        if (colon == NULL)
            return ERR_BAD;
        if (f->n == DKIM_FIELDS_MAX)
            return ERR_LIMIT;
        struct span name = span_of(whole.p, (size_t)(colon - whole.p));
        while (name.n > 0 && (name.p[name.n - 1] == ' ' || name.p[name.n - 1] == '\t'))
            name.n--;
        f->whole[f->n] = whole;
        f->name[f->n] = name;
    }
    return 0;
}

static int add_name(struct dkim_signer *s, struct fields *f, const char *name)
{
    if (f->signed_names++ == DKIM_NAMES_MAX)
        return ERR_LIMIT;
    const char *line = s->names.len == 0 ? NULL : memrchr(s->names.data, '\n', s->names.len);
    size_t column = line == NULL ? s->names.len + 3 : (size_t)(s->names.data + s->names.len - line);
    if (s->names.len > 0)
        buf_put_char(&s->names, ':');
    if (s->names.len > 0 && column + strlen(name) + 2 > LINE_MAX_CHARS)
        buf_put_str(&s->names, "\r\n\t ");
    return buf_put_str(&s->names, name);
}

static bool listed(const char *const *names, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcasecmp(names[i], name) == 0)
            return true;
    return false;
}

/* Every field of the name, the last one first, as verifiers look for them (RFC 6376 section 5.4.2); then, if
 * one may not be added, the name once more. */
static int add_fields(struct dkim_signer *s, struct fields *f, const char *name, bool oversigned,
                      struct buf *text)
{
    struct span wanted = span_str(name);
    int err = 0;
    for (uint32_t i = f->n; err == 0 && i-- > 0;) {
        if (!span_eq_nocase(f->name[i], wanted))
            continue;
        err = add_name(s, f, name);
        buf_reset(text);
        if (err == 0)
            err = dkim_canon_field(s->style->header, f->whole[i], text);
        if (err == 0 && EVP_DigestUpdate(s->header_md, text->data, text->len) != 1)
            err = ERR_FAILED;
    }
    return err == 0 && oversigned ? add_name(s, f, name) : err;
}

int dkim_signer_header(struct dkim_signer *s, struct span header)
{
    const struct dkim_style *style = s->style;
    struct fields *f = malloc(sizeof *f);
    struct buf text;
    if (f == NULL)
        return -ENOMEM;
    buf_init(&text, header.n + 16);
    f->signed_names = 0;
    int err = fields_read(header, f);
    for (uint32_t i = 0; err == 0 && i < style->nnames; i++)
        if (!listed(style->names, i, style->names[i]))
            err = add_fields(s, f, style->names[i],
                             listed(style->oversigned, style->noversigned, style->names[i]), &text);
    for (uint32_t i = 0; err == 0 && i < style->noversigned; i++)
        if (!listed(style->names, style->nnames, style->oversigned[i]) &&
            !listed(style->oversigned, i, style->oversigned[i]))
            err = add_fields(s, f, style->oversigned[i], true, &text);
    buf_fini(&text);
    free(f);
    return err;
}

void dkim_signer_body(struct dkim_signer *s, struct span bytes)
{
    dkim_canon_body_feed(&s->body, bytes);
}

/* ---- the field ----------------------------------------------------------------------------------------- */

/* All of it up to b=, which is left empty: so it is signed. */
static int put_unsigned(const struct dkim_signer *s, uint32_t i, int64_t wall_ms, const uint8_t *body_hash,
                        struct buf *out)
{
    const struct dkim_style *style = s->style;
    int64_t now_s = wall_ms / 1000;
    buf_printf(out, "DKIM-Signature: v=1; a=%s; c=%s/%s;\r\n\td=%s;\r\n\ts=%s; t=%lld;",
               dkim_algorithm_signature(dkim_key_algorithm(s->with[i].key)), dkim_canon_name(style->header),
               dkim_canon_name(style->body), s->with[i].domain, s->with[i].selector, (long long)now_s);
    if (style->expire_ms > 0)
        buf_printf(out, " x=%lld;", (long long)(now_s + style->expire_ms / 1000));
    buf_put_str(out, "\r\n\th=");
    buf_put_span(out, buf_span(&s->names));
    buf_put_str(out, ";\r\n\tbh=");
    base64_put(out, body_hash, DKIM_DIGEST_BYTES);
    return buf_put_str(out, ";\r\n\tb=");
}

/* The hash of the signed fields and, last and without its line's end, of this one. */
static int header_digest(const struct dkim_signer *s, struct span field, uint8_t digest[DKIM_DIGEST_BYTES])
{
    struct buf text;
    buf_init(&text, DKIM_OUT_MAX);
    int err = dkim_canon_field(s->style->header, field, &text);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    if (err == 0 &&
        (md == NULL || EVP_MD_CTX_copy_ex(md, s->header_md) != 1 ||
         EVP_DigestUpdate(md, text.data, text.len - 2) != 1 || EVP_DigestFinal_ex(md, digest, NULL) != 1))
        err = ERR_FAILED;
    EVP_MD_CTX_free(md);
    buf_fini(&text);
    return err;
}

/* Base64 in lines of its own, after the "b=" of the first. */
static int put_folded(struct buf *out, struct span text)
{
    size_t room = LINE_MAX_CHARS - 3;
    while (text.n > 0) {
        size_t n = text.n < room ? text.n : room;
        buf_put(out, text.p, n);
        text = span_sub(text, n);
        buf_put_str(out, text.n > 0 ? "\r\n\t " : "\r\n");
        room = LINE_MAX_CHARS - 2;
    }
    return buf_err(out);
}

static int put_signed(const struct dkim_signer *s, uint32_t i, int64_t wall_ms, const uint8_t *body_hash,
                      struct buf *out)
{
    uint8_t digest[DKIM_DIGEST_BYTES];
    size_t begin = out->len;
    struct buf raw, text;
    buf_init(&raw, DKIM_OUT_MAX);
    buf_init(&text, DKIM_OUT_MAX);
    int err = put_unsigned(s, i, wall_ms, body_hash, out);
    if (err == 0)
        err = header_digest(s, span_of(out->data + begin, out->len - begin), digest);
    if (err == 0)
        err = dkim_key_sign(s->with[i].key, digest, &raw);
    if (err == 0)
        err = base64_put(&text, raw.data, raw.len);
    if (err == 0)
        err = put_folded(out, buf_span(&text));
    buf_fini(&raw);
    buf_fini(&text);
    return err;
}

int dkim_signer_sign(struct dkim_signer *s, int64_t wall_ms, struct buf *out)
{
    uint8_t body_hash[DKIM_DIGEST_BYTES];
    dkim_canon_body_end(&s->body);
    if (s->failed || buf_err(&s->names) != 0 || EVP_DigestFinal_ex(s->body_md, body_hash, NULL) != 1)
        return ERR_FAILED;
    int err = 0;
    for (uint32_t i = 0; err == 0 && i < s->n; i++)
        err = put_signed(s, i, wall_ms, body_hash, out);
    return err;
}
