/* Who sent it, as a shared host's header says: see origin.h. */
#include "node/mail/origin.h"

#include <stdio.h>
#include <string.h>

#define VALUE_MAX 1024 /* bytes of a value that are looked at: more of it tells nobody apart */
#define HASH_TEXT 17   /* "~" and 16 digits */

const char *const origin_form_names[ORIGIN_FORMS + 1] = { "text", "user", "script", "path", NULL };

static const struct {
    const char *name;
    enum origin_form form;
} known[] = {
    { "X-AuthUser", ORIGIN_USER },
    { "X-Auth-User", ORIGIN_USER },
    { "X-Authenticated-User", ORIGIN_USER },
    { "X-PHP-Originating-Script", ORIGIN_SCRIPT },
    { "X-PHP-Script", ORIGIN_PATH },
    { "X-PHP-Filename", ORIGIN_PATH },
    { "X-Source", ORIGIN_PATH },
    { "X-Source-Dir", ORIGIN_PATH },
};

enum origin_form origin_form_of(struct span name)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (span_eq_nocase(name, span_str(known[i].name)))
            return known[i].form;
    return ORIGIN_TEXT;
}

/* ---- one value ----------------------------------------------------------------------------------------- */

struct value {
    size_t n;
    char text[VALUE_MAX];
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Unfolded: each run of blanks is one, none at the ends. */
static void unfold(struct span raw, struct value *v)
{
    bool blank = false;
    v->n = 0;
    for (size_t i = 0; i < raw.n && v->n + 2 < sizeof v->text; i++) {
        if (is_blank(raw.p[i])) {
            blank = v->n > 0;
            continue;
        }
        if (blank)
            v->text[v->n++] = ' ';
        blank = false;
        v->text[v->n++] = raw.p[i];
    }
}

static struct span up_to(struct span s, char c)
{
    const char *at = s.n == 0 ? NULL : memchr(s.p, c, s.n);
    return at == NULL ? s : span_of(s.p, (size_t)(at - s.p));
}

static struct span user_of(struct span s)
{
    if (s.n > 1 && s.p[0] == '<')
        s = up_to(span_sub(s, 1), '>');
    return up_to(s, ' ');
}

/* What was evaluated belongs to its file, whatever the line: "1001:a.php(12) : eval()'d code". */
static struct span script_of(struct span s)
{
    struct span uid = up_to(s, ':');
    for (size_t i = 0; i < uid.n; i++)
        if (uid.p[i] < '0' || uid.p[i] > '9')
            return span_of("", 0);
    struct span script = span_trim(up_to(s, '('));
    return uid.n == 0 || script.n <= uid.n + 1 ? span_of("", 0) : script;
}

/* Each client of the script is no sender of its own; nor is each of its questions. */
static struct span without_clients(struct span s)
{
    const char *at = s.n == 0 ? NULL : memmem(s.p, s.n, " for ", 5);
    if (at != NULL)
        s = span_of(s.p, (size_t)(at - s.p));
    return up_to(up_to(s, '?'), '#');
}

/* Without empty parts, "." and "..": what stands before the first slash stays as it is. */
static void path_of(struct span s, struct value *v)
{
    struct span rest = without_clients(s), head = up_to(rest, '/');
    memcpy(v->text, head.p, head.n);
    v->n = head.n;
    rest = span_sub(rest, head.n);
    while (rest.n > 0) {
        rest = span_sub(rest, 1); /* the slash */
        struct span part = up_to(rest, '/');
        rest = span_sub(rest, part.n);
        if (span_eq(part, SPAN_LIT(".."))) {
            while (v->n > head.n && v->text[--v->n] != '/')
                ;
        } else if (part.n > 0 && !span_eq(part, SPAN_LIT("."))) {
            v->text[v->n++] = '/';
            memmove(v->text + v->n, part.p, part.n);
            v->n += part.n;
        }
    }
}

/* FNV-1a: the same on every node and in every version, for it is in names. */
static uint64_t name_hash(const char *p, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)p[i]) * 0x100000001b3u;
    return h;
}

static bool passes(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c != '\0' && strchr("._:/@+=~-", c) != NULL);
}

/* One name for one sender: without capitals, any other octet as "_"; what is too long ends with a hash of it.
 */
static void put(struct span s, char out[ORIGIN_MAX + 1])
{
    char all[VALUE_MAX];
    for (size_t i = 0; i < s.n; i++) {
        char c = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] - 'A' + 'a' : s.p[i]);
        all[i] = passes(c) ? c : '_';
    }
    if (s.n <= ORIGIN_MAX) {
        memcpy(out, all, s.n);
        out[s.n] = '\0';
        return;
    }
    memcpy(out, all, ORIGIN_MAX - HASH_TEXT);
    snprintf(out + ORIGIN_MAX - HASH_TEXT, HASH_TEXT + 1, "~%016llx",
             (unsigned long long)name_hash(all, s.n));
}

bool origin_normalise(enum origin_form form, struct span raw, char out[ORIGIN_MAX + 1])
{
    struct value v, path = { .n = 0 };
    unfold(raw, &v);
    struct span s = span_of(v.text, v.n);
    if (form == ORIGIN_USER)
        s = user_of(s);
    if (form == ORIGIN_SCRIPT)
        s = script_of(s);
    if (form == ORIGIN_PATH) {
        path_of(s, &path);
        s = span_of(path.text, path.n);
    }
    out[0] = '\0';
    if (s.n > 0)
        put(s, out);
    return s.n > 0;
}

/* ---- a header ------------------------------------------------------------------------------------------ */

static bool find_one(const struct mail_header *h, const struct origin_header *header,
                     char out[ORIGIN_MAX + 1])
{
    char text[ORIGIN_MAX + 1];
    struct mail_header_field f;
    bool found = false;
    size_t at = 0;
    while (mail_header_next(h, &at, &f)) {
        if (!span_eq_nocase(f.name, span_str(header->name)) || !origin_normalise(header->form, f.value, text))
            continue;
        if (found && strcmp(text, out) != 0)
            memcpy(text, ORIGIN_SEVERAL, sizeof ORIGIN_SEVERAL);
        memcpy(out, text, sizeof text);
        found = true;
    }
    return found;
}

bool origin_find(const struct mail_header *h, const struct origin_header *headers, uint32_t n,
                 char out[ORIGIN_MAX + 1])
{
    for (uint32_t i = 0; i < n; i++)
        if (find_one(h, &headers[i], out))
            return true;
    return false;
}
