/* Matching of replies against the rules. The text becomes one line of lower-case words, so that a rule needs
 * to know nothing of case, punctuation and folding. Pure; any thread.
 */
#include "node/bounce/class.h"

#include "base/err.h"
#include "node/bounce/rules.h"

#include <string.h>

static const struct {
    const char *name, *words;
} classes[BOUNCE_CLASSES] = {
    [BOUNCE_OTHER] = { "other", "other" },
    [BOUNCE_UNKNOWN_USER] = { "unknown_user", "unknown user" },
    [BOUNCE_MAILBOX_FULL] = { "mailbox_full", "mailbox full" },
    [BOUNCE_POLICY] = { "policy", "policy" },
    [BOUNCE_BLOCK] = { "block", "blocked" },
    [BOUNCE_CONTENT] = { "content", "content" },
    [BOUNCE_GREYLIST] = { "greylist", "greylisted" },
    [BOUNCE_RATE] = { "rate", "rate" },
    [BOUNCE_RELAY_DENIED] = { "relay_denied", "relaying denied" },
    [BOUNCE_DNS] = { "dns", "no such domain" },
    [BOUNCE_EXPIRED] = { "expired", "expired" },
};

const char *bounce_class_name(enum bounce_class c)
{
    return classes[c < BOUNCE_CLASSES ? c : BOUNCE_OTHER].name;
}

const char *bounce_class_words(enum bounce_class c)
{
    return classes[c < BOUNCE_CLASSES ? c : BOUNCE_OTHER].words;
}

int bounce_class_named(struct span name, enum bounce_class *out)
{
    for (unsigned i = 0; i < BOUNCE_CLASSES; i++) {
        if (span_eq(name, span_str(classes[i].name))) {
            *out = (enum bounce_class)i;
            return 0;
        }
    }
    return ERR_NOT_FOUND;
}

/* " one blank between words and at both ends ". */
static void words_of(struct span text, char out[BOUNCE_TEXT_MAX + 3])
{
    size_t n = 0;
    out[n++] = ' ';
    for (size_t i = 0; i < text.n && n <= BOUNCE_TEXT_MAX; i++) {
        char c = text.p[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (unsigned char)c > 127;
        if (word)
            out[n++] = c;
        else if (out[n - 1] != ' ')
            out[n++] = ' ';
    }
    if (out[n - 1] != ' ')
        out[n++] = ' ';
    out[n] = 0;
}

static bool phrase_in(const char *words, struct span phrase)
{
    bool prefix = phrase.p[phrase.n - 1] == '~';
    if (prefix)
        phrase.n--;
    for (const char *at = words; (at = memmem(at, strlen(at), phrase.p, phrase.n)) != NULL; at++)
        if (at[-1] == ' ' && (prefix || at[phrase.n] == ' '))
            return true;
    return false;
}

static bool group_in(const char *words, const char *group)
{
    while (*group != 0) {
        size_t n = strcspn(group, "|");
        if (phrase_in(words + 1, span_of(group, n)))
            return true;
        group += n + (group[n] == '|' ? 1 : 0);
    }
    return false;
}

static bool matches(const struct bounce_rule *rule, const char *words, unsigned digit)
{
    if (rule->digit != 0 && rule->digit != digit)
        return false;
    for (unsigned i = 0; i < BOUNCE_RULE_GROUPS && rule->groups[i] != NULL; i++)
        if (!group_in(words, rule->groups[i]))
            return false;
    return rule->except == NULL || !group_in(words, rule->except);
}

/* 4, 5, or 0. */
static unsigned digit_of(const struct bounce_reply *r)
{
    return r->status[0] != 0 ? r->status[0] : r->code / 100;
}

enum bounce_class bounce_classify(const struct bounce_reply *r)
{
    char words[BOUNCE_TEXT_MAX + 3];
    words_of(r->text, words);
    unsigned digit = digit_of(r);
    for (unsigned i = 0; i < bounce_nrules; i++)
        if (matches(&bounce_rules[i], words, digit))
            return bounce_rules[i].class;
    for (unsigned i = 0; r->status[0] != 0 && i < bounce_nstatus_rules; i++) {
        const struct bounce_status_rule *s = &bounce_status_rules[i];
        if (s->subject == r->status[1] && (s->detail == 255 || s->detail == r->status[2]))
            return s->class;
    }
    for (unsigned i = 0; i < bounce_ncode_rules; i++)
        if (bounce_code_rules[i].code == r->code)
            return bounce_code_rules[i].class;
    return BOUNCE_OTHER;
}

bool bounce_is_hard(const struct bounce_reply *r)
{
    return digit_of(r) == 5;
}

bool bounce_is_dead(const struct bounce_reply *r, enum bounce_class c)
{
    if (!bounce_is_hard(r))
        return false;
    if (c == BOUNCE_UNKNOWN_USER)
        return true;
    return c == BOUNCE_DNS && r->status[1] == 1;
}

/* ---- codes in a text ------------------------------------------------------------------------------------
 */

static bool is_digit(struct span s, size_t i)
{
    return i < s.n && s.p[i] >= '0' && s.p[i] <= '9';
}

/* A number of at most three digits; 0: none. Returns its digits. */
static size_t number(struct span s, size_t i, unsigned *out)
{
    size_t n = 0;
    *out = 0;
    for (; n < 3 && is_digit(s, i + n); n++)
        *out = *out * 10 + (unsigned)(s.p[i + n] - '0');
    return is_digit(s, i + n) ? 0 : n;
}

/* "5.1.1" at i. Not part of an address, such as 5.1.1.2. */
static bool status_at(struct span s, size_t i, uint8_t out[3])
{
    unsigned v[3];
    if (s.n - i < 5 || (s.p[i] != '2' && s.p[i] != '4' && s.p[i] != '5') || s.p[i + 1] != '.')
        return false;
    size_t at = i;
    for (unsigned k = 0; k < 3; k++) {
        size_t n = number(s, at, &v[k]);
        if (n == 0 || v[k] > 254)
            return false;
        at += n;
        if (k < 2 && (at >= s.n || s.p[at++] != '.'))
            return false;
    }
    if (at + 1 < s.n && s.p[at] == '.' && is_digit(s, at + 1))
        return false;
    for (unsigned k = 0; k < 3; k++)
        out[k] = (uint8_t)v[k];
    return true;
}

static bool ends_word(struct span s, size_t i)
{
    return i >= s.n || strchr(" -\t\r\n#:;,.)>]", s.p[i]) != NULL;
}

void bounce_reply_read(struct span text, struct bounce_reply *out)
{
    *out = (struct bounce_reply){ .text = text };
    for (size_t i = 0; i < text.n && (out->code == 0 || out->status[0] == 0); i++) {
        if (i > 0 && strchr(" \t\r\n-:;#(<[\"'", text.p[i - 1]) == NULL)
            continue;
        unsigned code;
        if (out->status[0] == 0 && status_at(text, i, out->status))
            continue;
        if (out->code == 0 && (text.p[i] == '4' || text.p[i] == '5') && number(text, i, &code) == 3 &&
            ends_word(text, i + 3) && !(i + 3 < text.n && text.p[i + 3] == '.' && is_digit(text, i + 4)))
            out->code = code;
    }
}
