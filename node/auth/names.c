/* Account names, classes and what may stand in a list of senders. Pure. */
#include "node/auth/accounts.h"

#include "base/err.h"
#include "base/text.h"

static const char *const classes[] = { "person", "device", "bulk" };

const char *account_class_name(int cls)
{
    return cls >= 0 && cls < 3 ? classes[cls] : "?";
}

int account_class_parse(struct span s)
{
    for (int i = 0; i < 3; i++)
        if (span_eq_nocase(s, span_str(classes[i])))
            return i;
    return -1;
}

int account_name_canonical(struct span name, char *out)
{
    out[0] = '\0';
    name = span_trim(name);
    if (name.n == 0 || name.n > ACCOUNT_NAME_MAX || name.p[0] == '#' || !text_utf8_valid(name))
        return ERR_BAD;
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (c <= 0x20 || c == 0x7f || memchr(":\",\\", c, 4) != NULL) {
            out[0] = '\0';
            return ERR_BAD;
        }
        out[i] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    out[name.n] = '\0';
    return 0;
}

static bool domain_plausible(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
        if (!alnum && c != '-' && c != '_' && (c != '.' || i == 0 || s.p[i - 1] == '.'))
            return false;
    }
    return s.n > 0 && s.n <= 253 && s.p[s.n - 1] != '.';
}

const char *account_sender_check(struct span item)
{
    static const char right[] = "a sender is an address, a domain or \"*\"";
    char name[ACCOUNT_NAME_MAX + 1];
    if (span_eq(item, SPAN_LIT("*")))
        return NULL;
    if (account_name_canonical(item, name) != 0 || item.p[0] == ' ')
        return right;
    const char *at = memrchr(item.p, '@', item.n);
    struct span domain = at != NULL ? span_sub(item, (size_t)(at - item.p) + 1) : item;
    return domain_plausible(domain) ? NULL : right;
}
