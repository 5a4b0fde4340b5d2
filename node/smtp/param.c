/* The arguments of MAIL and RCPT. See the header. Pure; any thread.
 *
 * Whether the client may use them at all, and what for, is not decided here.
 */
#include "node/smtp/param.h"

#include "base/err.h"
#include "base/text.h"
#include "node/smtp/xtext.h"

#define SIZE_DIGITS_MAX 20 /* RFC 1870 section 3 */
#define ENVID_MAX 100      /* RFC 3461 section 4.4 */
#define ORCPT_MAX 500      /* RFC 3461 section 4.2 */

static const struct smtp_reply bad_mail_syntax = { 501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]" };
static const struct smtp_reply bad_rcpt_syntax = { 501, "5.5.4", "Syntax: RCPT TO:<address> [parameters]" };
static const struct smtp_reply bad_sender = { 501, "5.1.7", "Bad sender address syntax" };
static const struct smtp_reply bad_recipient = { 501, "5.1.3", "Bad recipient address syntax" };
static const struct smtp_reply needs_smtputf8 = { 500, "5.5.2", "Non-ASCII address without SMTPUTF8" };
static const struct smtp_reply bad_param = { 501, "5.5.4", "Bad parameter" };
static const struct smtp_reply bad_value = { 501, "5.5.4", "Bad parameter value" };
static const struct smtp_reply twice = { 501, "5.5.4", "Parameter given twice" };
static const struct smtp_reply unknown = { 555, "5.5.4", "Unsupported parameter" };
static const struct smtp_reply too_big = { 552, "5.3.4", "Message size exceeds the limit" };

struct param {
    struct span key;
    char *value; /* NULL: no '=' */
    size_t n;
};

/* What the handlers fill in, and what they may know. */
struct target {
    struct smtp_server_mail *mail;
    struct smtp_server_rcpt *rcpt;
    const struct smtp_param_offer *offer;
    bool smtputf8; /* of the transaction, for RCPT */
};

typedef const struct smtp_reply *param_fn(struct target *t, struct param *p);

struct param_row {
    const char *key;
    param_fn *run;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_key_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

static struct span value_of(const struct param *p)
{
    return span_of(p->value, p->n);
}

/* Takes the next parameter off the front; 1, 0 at the end, or ERR_BAD. Values are checked by their handlers,
 * but for what no value may hold (esmtp-value: no '=', no control; octets over 127 by RFC 6531). */
static int param_next(char **at, const char *end, struct param *out)
{
    char *p = *at;
    while (p < end && is_blank(*p))
        p++;
    if (p == end)
        return 0;
    const char *key = p;
    while (p < end && is_key_char(*p))
        p++;
    *out = (struct param){ .key = span_of(key, (size_t)(p - key)) };
    if (out->key.n == 0 || key[0] == '-')
        return ERR_BAD;
    if (p < end && *p == '=') {
        out->value = ++p;
        while (p < end && !is_blank(*p) && *p != '=')
            p++;
        out->n = (size_t)(p - out->value);
        if (out->n == 0)
            return ERR_BAD;
    }
    if (p < end && !is_blank(*p))
        return ERR_BAD;
    *at = p;
    return 1;
}

static const struct smtp_reply *params_run(char *at, const char *end, const struct param_row *rows,
                                           size_t nrows, struct target *t)
{
    unsigned seen = 0;
    struct param p;
    int more;
    while ((more = param_next(&at, end, &p)) > 0) {
        size_t i = 0;
        while (i < nrows && !span_eq_nocase(p.key, span_str(rows[i].key)))
            i++;
        if (i == nrows)
            return &unknown;
        if ((seen & 1u << i) != 0)
            return &twice;
        seen |= 1u << i;
        const struct smtp_reply *bad = rows[i].run(t, &p);
        if (bad != NULL)
            return bad;
    }
    return more < 0 ? &bad_param : NULL;
}

static const struct smtp_reply *mail_size(struct target *t, struct param *p)
{
    if (p->n == 0 || p->n > SIZE_DIGITS_MAX)
        return &bad_value;
    for (size_t i = 0; i < p->n; i++)
        if (p->value[i] < '0' || p->value[i] > '9')
            return &bad_value;
    if (text_u64(value_of(p), &t->mail->size) != 0)
        t->mail->size = UINT64_MAX; /* legal, though larger than we can count */
    if (t->offer->max_message_bytes != 0 && t->mail->size > t->offer->max_message_bytes)
        return &too_big;
    return NULL;
}

static const struct smtp_reply *mail_body(struct target *t, struct param *p)
{
    t->mail->body_8bitmime = span_eq_nocase(value_of(p), SPAN_LIT("8BITMIME"));
    return t->mail->body_8bitmime || span_eq_nocase(value_of(p), SPAN_LIT("7BIT")) ? NULL : &bad_value;
}

static const struct smtp_reply *mail_smtputf8(struct target *t, struct param *p)
{
    if (!t->offer->smtputf8)
        return &unknown;
    t->mail->smtputf8 = true;
    return p->value == NULL ? NULL : &bad_value;
}

static const struct smtp_reply *mail_ret(struct target *t, struct param *p)
{
    if (span_eq_nocase(value_of(p), SPAN_LIT("FULL")))
        t->mail->ret = SMTP_RET_FULL;
    else if (span_eq_nocase(value_of(p), SPAN_LIT("HDRS")))
        t->mail->ret = SMTP_RET_HDRS;
    else
        return &bad_value;
    return NULL;
}

static const struct smtp_reply *mail_envid(struct target *t, struct param *p)
{
    if (p->n == 0 || p->n > ENVID_MAX || smtp_xtext_decode(p->value, &p->n) != 0)
        return &bad_value;
    t->mail->envid = value_of(p);
    return NULL;
}

/* RFC 4954 section 5. */
static const struct smtp_reply *mail_auth(struct target *t, struct param *p)
{
    struct smtp_path path;
    if (!t->offer->auth)
        return &unknown;
    if (p->n == 0 || smtp_xtext_decode(p->value, &p->n) != 0)
        return &bad_value;
    if (!span_eq(value_of(p), SPAN_LIT("<>")) && smtp_mailbox_parse(value_of(p), &path) != 0)
        return &bad_value;
    t->mail->auth = value_of(p);
    return NULL;
}

/* RFC 8689 section 3: known only under TLS. */
static const struct smtp_reply *mail_requiretls(struct target *t, struct param *p)
{
    if (!t->offer->requiretls)
        return &unknown;
    t->mail->requiretls = true;
    return p->value == NULL ? NULL : &bad_value;
}

static const struct smtp_reply *rcpt_notify(struct target *t, struct param *p)
{
    static const struct {
        struct span word;
        uint8_t bit;
    } words[] = {
        { { "NEVER", 5 }, SMTP_NOTIFY_NEVER },
        { { "SUCCESS", 7 }, SMTP_NOTIFY_SUCCESS },
        { { "FAILURE", 7 }, SMTP_NOTIFY_FAILURE },
        { { "DELAY", 5 }, SMTP_NOTIFY_DELAY },
    };
    struct span rest = value_of(p);
    for (bool more = true; more;) {
        const char *comma = rest.n == 0 ? NULL : memchr(rest.p, ',', rest.n);
        size_t n = comma == NULL ? rest.n : (size_t)(comma - rest.p);
        uint8_t bit = 0;
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
            if (span_eq_nocase(span_of(rest.p, n), words[i].word))
                bit = words[i].bit;
        if (bit == 0)
            return &bad_value;
        t->rcpt->notify |= bit;
        more = comma != NULL;
        rest = span_sub(rest, n + 1);
    }
    /* NEVER stands alone */
    bool mixed = (t->rcpt->notify & SMTP_NOTIFY_NEVER) != 0 && t->rcpt->notify != SMTP_NOTIFY_NEVER;
    return mixed ? &bad_value : NULL;
}

/* RFC 3461 section 4.2: type;xtext. RFC 6533 section 3: with type utf-8 an encoding of its own. */
static const struct smtp_reply *rcpt_orcpt(struct target *t, struct param *p)
{
    size_t type = 0;
    while (type < p->n && is_key_char(p->value[type]))
        type++;
    if (type == 0 || type >= p->n || p->value[type] != ';' || p->n > ORCPT_MAX)
        return &bad_value;
    char *addr = p->value + type + 1;
    size_t n = p->n - type - 1;
    bool utf8 = span_eq_nocase(span_of(p->value, type), SPAN_LIT("utf-8"));
    int err = utf8 ? smtp_utf8_addr_decode(addr, &n, t->smtputf8) : smtp_xtext_decode(addr, &n);
    if (err != 0 || n == 0)
        return &bad_value;
    t->rcpt->orcpt = span_of(p->value, type + 1 + n);
    return NULL;
}

static const struct param_row mail_rows[] = {
    { "SIZE", mail_size },   { "BODY", mail_body }, { "SMTPUTF8", mail_smtputf8 },     { "RET", mail_ret },
    { "ENVID", mail_envid }, { "AUTH", mail_auth }, { "REQUIRETLS", mail_requiretls },
};

static const struct param_row rcpt_rows[] = {
    { "NOTIFY", rcpt_notify },
    { "ORCPT", rcpt_orcpt },
};

/* "FROM:" or "TO:", then blanks as Postfix allows them, though RFC 5321 section 3.3 does not, then the path.
 */
static const struct smtp_reply *path_arg(char **at, const char *end, struct span word, struct smtp_path *path,
                                         const struct smtp_reply *bad_syntax,
                                         const struct smtp_reply *bad_path)
{
    size_t n = (size_t)(end - *at), used;
    if (n < word.n || !span_eq_nocase(span_of(*at, word.n), word))
        return bad_syntax;
    *at += word.n;
    while (*at < end && is_blank(**at))
        (*at)++;
    if (smtp_path_parse(span_of(*at, (size_t)(end - *at)), path, &used) != 0)
        return bad_path;
    *at += used;
    return *at < end && !is_blank(**at) ? bad_path : NULL;
}

const struct smtp_reply *smtp_param_mail(char *args, size_t n, const struct smtp_param_offer *offer,
                                         struct smtp_server_mail *out)
{
    char *at = args;
    struct target t = { .mail = out, .offer = offer };
    *out = (struct smtp_server_mail){ 0 };
    const struct smtp_reply *bad =
        path_arg(&at, args + n, SPAN_LIT("FROM:"), &out->from, &bad_mail_syntax, &bad_sender);
    if (bad == NULL && out->from.text.n > 0 && out->from.domain.n == 0 && !offer->allow_unqualified)
        bad = &bad_sender;
    if (bad == NULL)
        bad = params_run(at, args + n, mail_rows, sizeof mail_rows / sizeof mail_rows[0], &t);
    if (bad == NULL && out->from.utf8 && !out->smtputf8)
        bad = &needs_smtputf8;
    return bad;
}

const struct smtp_reply *smtp_param_rcpt(char *args, size_t n, const struct smtp_param_offer *offer,
                                         bool smtputf8, struct smtp_server_rcpt *out)
{
    char *at = args;
    struct target t = { .rcpt = out, .offer = offer, .smtputf8 = smtputf8 };
    *out = (struct smtp_server_rcpt){ 0 };
    const struct smtp_reply *bad =
        path_arg(&at, args + n, SPAN_LIT("TO:"), &out->to, &bad_rcpt_syntax, &bad_recipient);
    if (bad == NULL && out->to.text.n == 0)
        bad = &bad_recipient;
    if (bad == NULL && out->to.domain.n == 0 && !offer->allow_unqualified &&
        !span_eq_nocase(out->to.local, SPAN_LIT("postmaster")))
        bad = &bad_recipient;
    if (bad == NULL && out->to.utf8 && !smtputf8)
        bad = &needs_smtputf8;
    if (bad == NULL)
        bad = params_run(at, args + n, rcpt_rows, sizeof rcpt_rows / sizeof rcpt_rows[0], &t);
    return bad;
}
