/* One line of the accounts file: name:hash:class:tenant:options. */
#include "node/auth/line.h"

#include "base/text.h"

#include <string.h>

bool account_line_blank(struct span line)
{
    size_t i = 0;
    while (i < line.n && (line.p[i] == ' ' || line.p[i] == '\t' || line.p[i] == '\r'))
        i++;
    return i == line.n || line.p[i] == '#';
}

/* Lower-cases in place; what is wrong, or NULL. */
static const char *senders_check(char *list)
{
    unsigned n = 0;
    for (char *p = list; *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    for (const char *p = list;; p++) {
        size_t len = strcspn(p, ",");
        const char *why = account_sender_check(span_of(p, len));
        if (why != NULL)
            return why;
        if (++n > ACCOUNT_SENDERS_MAX)
            return "more than 256 senders";
        p += len;
        if (*p == '\0')
            return NULL;
    }
}

static const char *options_parse(char *text, struct account *out)
{
    char *save = NULL;
    for (char *o = strtok_r(text, " \t", &save); o != NULL; o = strtok_r(NULL, " \t", &save)) {
        if (strcmp(o, "disabled") == 0) {
            out->disabled = true;
        } else if (strncmp(o, "senders=", 8) == 0) {
            const char *why = senders_check(o + 8);
            if (why != NULL)
                return why;
            out->senders = o + 8;
        } else {
            return "unknown option; known are senders=LIST and disabled";
        }
    }
    return NULL;
}

const char *account_line_parse(char *line, struct account *out)
{
    char name[ACCOUNT_NAME_MAX + 1];
    char *field[5] = { line, NULL, NULL, NULL, NULL };
    size_t len = strlen(line);
    if (len > 0 && line[len - 1] == '\r')
        line[--len] = '\0';
    if (len > ACCOUNT_LINE_MAX)
        return "the line is longer than 16384 bytes";
    for (int i = 1; i < 5; i++) {
        char *colon = strchr(field[i - 1], ':');
        if (colon == NULL)
            break;
        *colon = '\0';
        field[i] = colon + 1;
    }
    if (field[1] == NULL)
        return "expected name:hash:class:tenant:options";
    if (account_name_canonical(span_str(field[0]), name) != 0)
        return "the name is empty, too long, or has a character that names can't have";
    memcpy(field[0], name, strlen(name) + 1); /* never longer than it was */
    struct span hash;
    bool none = strcmp(field[1], "!") == 0;
    if (!none && (!account_hash_recognise(span_str(field[1]), &hash) || hash.p != field[1]))
        return "the second field is not a password hash that crypt(5) knows";
    int cls =
        field[2] == NULL || *field[2] == '\0' ? ACCOUNT_PERSON : account_class_parse(span_str(field[2]));
    if (cls < 0)
        return "the class must be person, device or bulk";
    if (field[3] != NULL && (strlen(field[3]) > 255 || !text_utf8_valid(span_str(field[3]))))
        return "the tenant is longer than 255 bytes or not UTF-8";
    *out = (struct account){
        .name = field[0],
        .hash = field[1],
        .tenant = field[3] != NULL ? field[3] : "",
        .senders = "",
        .class = (uint8_t)cls,
    };
    return field[4] != NULL ? options_parse(field[4], out) : NULL;
}

void account_line_put(struct buf *out, const struct account *a)
{
    buf_printf(out, "%s:%s:%s:%s:", a->name, a->hash, account_class_name(a->class), a->tenant);
    if (a->senders[0] != '\0')
        buf_printf(out, "senders=%s", a->senders);
    if (a->disabled)
        buf_printf(out, "%sdisabled", a->senders[0] != '\0' ? " " : "");
}
