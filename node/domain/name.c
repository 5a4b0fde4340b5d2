/* Domain names as they come from the DNS, and TXT records. Pure. */
#include "node/domain/name.h"

#include "base/err.h"

#include <ctype.h>

#define LABEL_MAX 63
#define TEXT_MAX 253

static bool carries(unsigned char c)
{
    return c > ' ' && c < 0x7f && c != '\\';
}

int domain_name_from_wire(struct span wire, char out[256])
{
    size_t at = 0, n = 0;
    while (at < wire.n && wire.p[at] != 0) {
        size_t len = (unsigned char)wire.p[at++];
        if (len > LABEL_MAX || len > wire.n - at || n + len + 1 > TEXT_MAX + 1)
            return ERR_BAD;
        for (size_t i = 0; i < len; i++) {
            unsigned char c = (unsigned char)wire.p[at + i];
            if (!carries(c) || c == '.')
                return ERR_BAD;
            out[n++] = (char)tolower(c);
        }
        out[n++] = '.';
        at += len;
    }
    if (at + 1 != wire.n || n == 0)
        return ERR_BAD;
    out[n - 1] = '\0';
    return 0;
}

bool domain_name_valid(struct span name)
{
    size_t label = 0;
    if (name.n == 0 || name.n > TEXT_MAX)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (!carries((unsigned char)name.p[i]))
            return false;
        bool dot = name.p[i] == '.';
        if (dot ? label == 0 : label == LABEL_MAX)
            return false;
        label = dot ? 0 : label + 1;
    }
    return label > 0;
}

bool domain_name_within(struct span name, struct span under)
{
    if (name.n < under.n || under.n == 0)
        return false;
    struct span tail = span_sub(name, name.n - under.n);
    return span_eq_nocase(tail, under) && (name.n == under.n || name.p[name.n - under.n - 1] == '.');
}

int domain_txt_join(struct span rdata, struct buf *out)
{
    if (rdata.n == 0)
        return ERR_BAD;
    for (size_t at = 0; at < rdata.n;) {
        size_t len = (unsigned char)rdata.p[at++];
        if (len > rdata.n - at)
            return ERR_BAD;
        buf_put(out, rdata.p + at, len);
        at += len;
    }
    return buf_err(out);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct span domain_trim(struct span s)
{
    while (s.n > 0 && blank(s.p[0]))
        s = span_sub(s, 1);
    while (s.n > 0 && blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

int domain_tag_next(struct span *rest, struct span *tag, struct span *value)
{
    struct span part = { rest->p, 0 };
    do { /* an empty part, as after the last ";", is nothing */
        if (rest->n == 0)
            return 0;
        const char *end = memchr(rest->p, ';', rest->n);
        size_t n = end == NULL ? rest->n : (size_t)(end - rest->p);
        part = domain_trim(span_of(rest->p, n));
        *rest = span_sub(*rest, end == NULL ? n : n + 1);
    } while (part.n == 0);
    const char *eq = memchr(part.p, '=', part.n);
    if (eq == NULL)
        return ERR_BAD;
    *tag = domain_trim(span_of(part.p, (size_t)(eq - part.p)));
    *value = domain_trim(span_sub(part, (size_t)(eq - part.p) + 1));
    return tag->n == 0 ? ERR_BAD : 1;
}
