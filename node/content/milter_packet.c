/* Packets of the milter protocol: see milter_packet.h. */
#include "node/content/milter_packet.h"

#include "base/err.h"

#define HEAD_BYTES 5u /* the length, and the command, which it counts */

/* ---- written ------------------------------------------------------------------------------------------- */

int milter_put_u32(struct buf *out, uint32_t v)
{
    const unsigned char p[4] = { (unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8),
                                 (unsigned char)v };
    return buf_put(out, p, sizeof p);
}

int milter_put(struct buf *out, enum milter_command command, struct span data)
{
    if (data.n > MILTER_DATA_MAX)
        return ERR_LIMIT;
    (void)milter_put_u32(out, (uint32_t)data.n + 1);
    (void)buf_put_char(out, (char)command);
    return buf_put_span(out, data);
}

int milter_put_text(struct buf *out, struct span text)
{
    for (struct span rest = text; rest.n > 0;) {
        struct span piece = span_cut(&rest, '\0');
        bool more = piece.n < text.n && piece.p + piece.n < text.p + text.n;
        (void)buf_put_span(out, piece);
        if (more)
            (void)buf_put_char(out, '?');
    }
    return buf_put_char(out, '\0');
}

/* ---- read ---------------------------------------------------------------------------------------------- */

static uint32_t read_u32(const char *at)
{
    const unsigned char *p = (const unsigned char *)at;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool take_u32(struct span *data, uint32_t *out)
{
    if (data->n < 4)
        return false;
    *out = read_u32(data->p);
    *data = span_sub(*data, 4);
    return true;
}

/* Up to a NUL, which must be there. */
static bool take_text(struct span *data, struct span *out)
{
    if (data->n == 0 || memchr(data->p, '\0', data->n) == NULL)
        return false;
    *out = span_cut(data, '\0');
    return true;
}

int milter_next(struct span *in, char *command, struct span *data)
{
    if (in->n < 4)
        return 0;
    uint32_t n = read_u32(in->p);
    if (n == 0 || n > MILTER_DATA_MAX + 1)
        return ERR_BAD;
    if (in->n - 4 < n)
        return 0;
    *command = in->p[4];
    *data = span_of(in->p + HEAD_BYTES, n - 1);
    *in = span_sub(*in, 4 + (size_t)n);
    return 1;
}

void milter_copy_text(char *to, size_t cap, struct span from)
{
    size_t n = from.n < cap ? from.n : cap - 1;
    for (size_t i = 0; i < n; i++)
        to[i] = from.p[i] < ' ' || from.p[i] > '~' ? '?' : from.p[i];
    to[n] = '\0';
}

static bool digits(struct span s, size_t at, size_t n)
{
    for (size_t i = at; i < at + n; i++)
        if (i >= s.n || s.p[i] < '0' || s.p[i] > '9')
            return false;
    return n > 0;
}

/* How long "5.7.1" in front of it is, of that class (RFC 3463); 0: there is none. */
static size_t enhanced_length(struct span s, char class)
{
    size_t n = 1;
    if (s.n < 5 || s.p[0] != class)
        return 0;
    for (unsigned part = 0; part < 2; part++) {
        size_t k = 0;
        if (n >= s.n || s.p[n++] != '.')
            return 0;
        while (k < 3 && digits(s, n + k, 1))
            k++;
        if (k == 0)
            return 0;
        n += k;
    }
    return n == s.n || s.p[n] == ' ' ? n : 0;
}

/* A line's text behind the others', with a blank between; "%%" says "%" (libmilter's smfi_setreply). */
static void add_line(struct milter_reply *r, struct span line)
{
    size_t n = strlen(r->text);
    line = span_trim(line);
    if (n > 0 && line.n > 0 && n + 1 < sizeof r->text)
        r->text[n++] = ' ';
    for (size_t i = 0; i < line.n && n + 1 < sizeof r->text; i++) {
        r->text[n++] = line.p[i] < ' ' || line.p[i] > '~' ? '?' : line.p[i];
        i += line.p[i] == '%' && i + 1 < line.n && line.p[i + 1] == '%';
    }
    r->text[n] = '\0';
}

/* "550 5.7.1 text", or several lines of it, "550-5.7.1 text" CRLF "550 5.7.1 more". */
static bool read_code(struct span data, struct milter_reply *r)
{
    struct span all;
    bool first = true;
    if (!take_text(&data, &all))
        return false;
    while (all.n > 0) {
        struct span line = span_cut(&all, '\n');
        line.n -= line.n > 0 && line.p[line.n - 1] == '\r';
        if (line.n == 0)
            continue;
        if (!digits(line, 0, 3) || (line.p[0] != '4' && line.p[0] != '5') ||
            (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-'))
            return false;
        uint16_t code = (uint16_t)((line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0'));
        if (!first && code != r->code)
            return false;
        struct span rest = span_trim(span_sub(line, 4));
        size_t n = enhanced_length(rest, line.p[0]);
        if (first && n > 0 && n < sizeof r->enhanced)
            milter_copy_text(r->enhanced, sizeof r->enhanced, span_of(rest.p, n));
        add_line(r, span_sub(rest, n));
        r->code = code;
        first = false;
    }
    return !first;
}

static bool read_field(struct span data, bool index, struct milter_reply *r)
{
    return (!index || take_u32(&data, &r->index)) && take_text(&data, &r->name) &&
           take_text(&data, &r->value) && data.n == 0;
}

static bool read_reason(struct span data, struct milter_reply *r)
{
    struct span text;
    if (!take_text(&data, &text))
        return false;
    milter_copy_text(r->text, sizeof r->text, text);
    return true;
}

/* What stands behind the three is for macros, which are not asked for. */
static bool read_options(struct span data, struct milter_reply *r)
{
    return take_u32(&data, &r->version) && take_u32(&data, &r->actions) && take_u32(&data, &r->protocol);
}

static const struct {
    char command;
    enum milter_reply_kind kind;
} replies[] = {
    { 'c', MILTER_SAYS_CONTINUE },    { 'a', MILTER_SAYS_ACCEPT },    { 'r', MILTER_SAYS_REJECT },
    { 't', MILTER_SAYS_TEMPFAIL },    { 'd', MILTER_SAYS_DISCARD },   { 'y', MILTER_SAYS_CODE },
    { '4', MILTER_SAYS_SHUTDOWN },    { 'f', MILTER_SAYS_SHUTDOWN },  { 's', MILTER_SAYS_SKIP },
    { 'p', MILTER_SAYS_PROGRESS },    { 'O', MILTER_SAYS_NEGOTIATE }, { 'h', MILTER_SAYS_ADD },
    { 'i', MILTER_SAYS_INSERT },      { 'm', MILTER_SAYS_CHANGE },    { 'q', MILTER_SAYS_QUARANTINE },
    { 'b', MILTER_SAYS_BODY },        { '+', MILTER_SAYS_ADD_RCPT },  { '2', MILTER_SAYS_ADD_RCPT_ARGS },
    { '-', MILTER_SAYS_DELETE_RCPT }, { 'e', MILTER_SAYS_SENDER },
};

static bool read_data(struct span data, struct milter_reply *r)
{
    switch (r->kind) {
    case MILTER_SAYS_NEGOTIATE:
        return read_options(data, r);
    case MILTER_SAYS_CODE:
        return read_code(data, r);
    case MILTER_SAYS_ADD:
        return read_field(data, false, r);
    case MILTER_SAYS_INSERT:
    case MILTER_SAYS_CHANGE:
        return read_field(data, true, r);
    case MILTER_SAYS_QUARANTINE:
        return read_reason(data, r);
    default: /* that it says so is all there is to know */
        return true;
    }
}

int milter_reply_read(char command, struct span data, struct milter_reply *out, const char **why)
{
    *out = (struct milter_reply){ .index = 0 };
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
        if (replies[i].command != command)
            continue;
        out->kind = replies[i].kind;
        if (read_data(data, out))
            return 0;
        *why =
            out->kind == MILTER_SAYS_CODE ? "its reply code is none" : "it sends a packet with parts missing";
        return ERR_BAD;
    }
    *why = "it sends what no filter says";
    return ERR_BAD;
}
