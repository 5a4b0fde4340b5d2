/* Extracts the mailboxes of a header field. A tokenizer that knows comments, quoted strings and domain
 * literals, and above it the few rules of address lists. It builds no tree and holds one address at a time.
 * Any thread.
 */
#include "node/mail/address.h"

#include "base/err.h"
#include "base/text.h"

enum token { TOKEN_END, TOKEN_ATOM, TOKEN_QUOTED, TOKEN_LITERAL, TOKEN_SPECIAL, TOKEN_BAD };

struct parser {
    struct span rest;
    enum token token;
    char special;
    struct span text; /* of an atom, or a literal with its brackets, or a quoted string without its quotes */
    char local[MAIL_ADDRESS_MAX], domain[MAIL_ADDRESS_MAX];
    mail_address_fn *fn;
    void *ctx;
};

static bool is_atext(unsigned char c)
{
    return c > ' ' && c != 0x7f && strchr("()<>[]:;@\\,.\"", c) == NULL;
}

/* Skips blanks and comments; false when a comment does not end. */
static bool skip_cfws(struct parser *ps)
{
    size_t i = 0, depth = 0;
    for (; i < ps->rest.n; i++) {
        char c = ps->rest.p[i];
        if (c == '(')
            depth++;
        else if (depth > 0 && c == ')')
            depth--;
        else if (depth > 0 && c == '\\')
            i++;
        else if (depth == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n')
            break;
    }
    ps->rest = span_sub(ps->rest, i);
    return depth == 0;
}

/* A run up to `close`, with quoted pairs. */
static bool take_enclosed(struct parser *ps, char close, enum token token)
{
    size_t i = 1;
    while (i < ps->rest.n && ps->rest.p[i] != close)
        i += ps->rest.p[i] == '\\' ? 2 : 1;
    if (i >= ps->rest.n)
        return false;
    bool brackets = token == TOKEN_LITERAL;
    ps->token = token;
    ps->text = brackets ? span_of(ps->rest.p, i + 1) : span_of(ps->rest.p + 1, i - 1);
    ps->rest = span_sub(ps->rest, i + 1);
    return true;
}

static void token_next(struct parser *ps)
{
    ps->token = TOKEN_BAD;
    if (!skip_cfws(ps))
        return;
    if (ps->rest.n == 0) {
        ps->token = TOKEN_END;
        return;
    }
    unsigned char c = (unsigned char)ps->rest.p[0];
    if (c == '"') {
        take_enclosed(ps, '"', TOKEN_QUOTED);
    } else if (c == '[') {
        take_enclosed(ps, ']', TOKEN_LITERAL);
    } else if (is_atext(c)) {
        size_t i = 1;
        while (i < ps->rest.n && is_atext((unsigned char)ps->rest.p[i]))
            i++;
        ps->token = TOKEN_ATOM;
        ps->text = span_of(ps->rest.p, i);
        ps->rest = span_sub(ps->rest, i);
    } else if (c != '\0' && strchr("<>@,;:.", c) != NULL) {
        ps->token = TOKEN_SPECIAL;
        ps->special = (char)c;
        ps->rest = span_sub(ps->rest, 1);
    }
}

static bool at(const struct parser *ps, char special)
{
    return ps->token == TOKEN_SPECIAL && ps->special == special;
}

/* ---- one addr-spec
 * --------------------------------------------------------------------------------------------- */

/* Appends a word's text without quoted pairs and folding; false at the limit or for a control character. */
static bool word_add(char *to, size_t *len, struct span word, bool quoted)
{
    for (size_t i = 0; i < word.n; i++) {
        char c = word.p[i];
        if (quoted && (c == '\r' || c == '\n'))
            continue;
        if (quoted && c == '\\')
            c = word.p[++i]; /* the tokenizer saw to it that one follows */
        if ((unsigned char)c < ' ' || c == 0x7f || *len + 1 >= MAIL_ADDRESS_MAX)
            return false;
        to[(*len)++] = c;
    }
    return true;
}

/* Words with dots between them. `*plain` tells whether they make a dot-atom. */
static bool dotted_parse(struct parser *ps, char *to, size_t *len, bool allow_quoted, bool *plain)
{
    *len = 0;
    for (*plain = true;;) {
        bool quoted = ps->token == TOKEN_QUOTED;
        if (ps->token != TOKEN_ATOM && !(quoted && allow_quoted))
            return false;
        size_t from = *len;
        if (!word_add(to, len, ps->text, quoted))
            return false;
        if (*len == from)
            *plain = false;
        for (size_t i = from; i < *len; i++)
            if (!is_atext((unsigned char)to[i]) &&
                (to[i] != '.' || i == from || i + 1 == *len || to[i - 1] == '.'))
                *plain = false;
        token_next(ps);
        if (!at(ps, '.'))
            return true;
        if (*len + 1 >= MAIL_ADDRESS_MAX)
            return false;
        to[(*len)++] = '.';
        token_next(ps);
    }
}

static bool domain_parse(struct parser *ps, size_t *len)
{
    bool plain;
    if (ps->token != TOKEN_LITERAL)
        return dotted_parse(ps, ps->domain, len, false, &plain);
    *len = 0;
    if (!word_add(ps->domain, len, ps->text, false))
        return false;
    token_next(ps);
    return true;
}

static int emit(struct parser *ps, struct span local, bool plain, struct span domain)
{
    char out[2 * MAIL_ADDRESS_MAX + 2];
    size_t n = 0;
    if (!plain)
        out[n++] = '"';
    for (size_t i = 0; i < local.n; i++) {
        if (!plain && (local.p[i] == '"' || local.p[i] == '\\'))
            out[n++] = '\\';
        if (n + 4 >= MAIL_ADDRESS_MAX)
            return ERR_BAD;
        out[n++] = local.p[i];
    }
    if (!plain)
        out[n++] = '"';
    out[n++] = '@';
    if (n + domain.n > MAIL_ADDRESS_MAX)
        return ERR_BAD;
    memcpy(out + n, domain.p, domain.n);
    n += domain.n;
    if (!text_utf8_valid(span_of(out, n)))
        return ERR_BAD;
    return ps->fn(ps->ctx, span_of(out, n));
}

/* local-part "@" domain; the token after it is left in the parser. */
static int addr_spec_parse(struct parser *ps)
{
    size_t nlocal, ndomain;
    bool plain;
    if (!dotted_parse(ps, ps->local, &nlocal, true, &plain) || !at(ps, '@'))
        return ERR_BAD;
    token_next(ps);
    if (!domain_parse(ps, &ndomain))
        return ERR_BAD;
    return emit(ps, span_of(ps->local, nlocal), plain, span_of(ps->domain, ndomain));
}

/* After "<": a source route is passed over (RFC 5322 section 4.4). "<>" is no mailbox. */
static int angle_parse(struct parser *ps)
{
    token_next(ps);
    if (at(ps, '@') || at(ps, ',')) {
        while (at(ps, '@') || at(ps, ',') || at(ps, '.') || ps->token == TOKEN_ATOM ||
               ps->token == TOKEN_LITERAL)
            token_next(ps);
        if (!at(ps, ':'))
            return ERR_BAD;
        token_next(ps);
    }
    int err = addr_spec_parse(ps);
    if (err != 0)
        return err;
    if (!at(ps, '>'))
        return ERR_BAD;
    token_next(ps);
    return 0;
}

/* ---- the list
 * ---------------------------------------------------------------------------------------------------- */

/* What comes first in a mailbox or group: is it a display name, and what ends it? Looks ahead on a copy. */
static char lead_end(const struct parser *ps)
{
    struct parser *ahead = &(struct parser){ .rest = ps->rest, .token = ps->token, .special = ps->special };
    while (ahead->token == TOKEN_ATOM || ahead->token == TOKEN_QUOTED || ahead->token == TOKEN_LITERAL ||
           at(ahead, '.') || at(ahead, '@'))
        token_next(ahead);
    return ahead->token == TOKEN_SPECIAL ? ahead->special : ahead->token == TOKEN_BAD ? '!' : '\0';
}

static void lead_skip(struct parser *ps, char end)
{
    while (!at(ps, end))
        token_next(ps);
}

int mail_address_each(struct span value, mail_address_fn *fn, void *ctx)
{
    struct parser ps = { .rest = value, .fn = fn, .ctx = ctx };
    bool in_group = false;
    if (value.n == 0)
        return 0;
    token_next(&ps);
    while (ps.token != TOKEN_END) {
        int err = 0;
        if (at(&ps, ',')) { /* empty elements: RFC 5322 section 4.4 */
            token_next(&ps);
            continue;
        }
        if (at(&ps, ';') && in_group) {
            in_group = false;
            token_next(&ps);
        } else {
            char end = lead_end(&ps);
            if (end == ':' && !in_group && !at(&ps, ':')) {
                lead_skip(&ps, ':');
                in_group = true;
                token_next(&ps);
                continue;
            }
            if (end == '<') {
                lead_skip(&ps, '<');
                err = angle_parse(&ps);
            } else {
                err = addr_spec_parse(&ps);
            }
        }
        if (err != 0)
            return err;
        if (ps.token != TOKEN_END && !at(&ps, ',') && !(at(&ps, ';') && in_group))
            return ERR_BAD;
    }
    return in_group ? ERR_BAD : 0;
}
