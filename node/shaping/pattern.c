/* Patterns of replies, codes and sites: checked, and matched one by one. */
#include "node/shaping/rules_impl.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 1000
#define HEAP_MAX_KIB 1024
#define LABELS_MAX 253

/* ---- text ---- */

pcre2_match_context *shaping_match_limits(void)
{
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    if (limits == NULL)
        return NULL;
    pcre2_set_match_limit(limits, SHAPING_STEPS_MAX);
    pcre2_set_depth_limit(limits, DEPTH_MAX);
    pcre2_set_heap_limit(limits, HEAP_MAX_KIB);
    return limits;
}

static pcre2_code *compile(const char *pattern, uint32_t more, char why[160])
{
    const uint32_t options = PCRE2_CASELESS | PCRE2_DOTALL | PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C | more;
    int error;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &error, &at, NULL);
    if (code == NULL) {
        char text[120];
        pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof text);
        snprintf(why, 160, "is no pattern: %s at character %zu", text, (size_t)at + 1);
        return NULL;
    }
    /* Where a machine may not make code executable, the pattern is interpreted. */
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    return code;
}

pcre2_code *shaping_match_compile(const char *pattern, char why[160])
{
    return compile(pattern, 0, why);
}

/* Texts that make bad patterns go back and forth: one character over and over, the pattern's own letters too.
 */
static bool too_slow(pcre2_code *code, const char *pattern, pcre2_match_context *limits,
                     pcre2_match_data *data)
{
    char text[SHAPING_TEXT_MAX];
    bool tried[256] = { false };
    const char *const first = "a1 .-";
    for (size_t i = 0; i < strlen(first) + strlen(pattern); i++) {
        char c = i < strlen(first) ? first[i] : pattern[i - strlen(first)];
        if (tried[(unsigned char)c])
            continue;
        tried[(unsigned char)c] = true;
        memset(text, c, sizeof text);
        text[sizeof text - 1] = '\x01'; /* which few patterns end with */
        int n = pcre2_match(code, (PCRE2_SPTR)text, sizeof text, 0, 0, data, limits);
        if (n < 0 && n != PCRE2_ERROR_NOMATCH)
            return true;
    }
    return false;
}

bool shaping_match_check(const char *pattern, char why[160])
{
    if (strlen(pattern) > SHAPING_MATCH_MAX) {
        snprintf(why, 160, "is longer than %d bytes", SHAPING_MATCH_MAX);
        return false;
    }
    /* without the shortcut by which a text that lacks a needed letter is not looked at */
    pcre2_code *code = compile(pattern, PCRE2_NO_START_OPTIMIZE, why);
    if (code == NULL)
        return false;
    pcre2_match_context *limits = shaping_match_limits();
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    bool good = false;
    if (limits == NULL || data == NULL)
        snprintf(why, 160, "cannot be checked: out of memory");
    else if (pcre2_match(code, (PCRE2_SPTR) "", 0, 0, 0, data, limits) >= 0)
        snprintf(why, 160, "matches an empty text, and so every reply");
    else if (too_slow(code, pattern, limits, data))
        snprintf(why, 160,
                 "can take more than %d steps with one reply: have fewer repetitions inside of repetitions",
                 SHAPING_STEPS_MAX);
    else
        good = true;
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
    pcre2_code_free(code);
    return good;
}

/* ---- codes ---- */

static bool digit_or_x(char c)
{
    return isdigit((unsigned char)c) || c == 'x' || c == 'X';
}

/* The length of one part, at most 3; 0: none. */
static size_t part_len(const char *p)
{
    size_t n = 0;
    while (n < 3 && digit_or_x(p[n]))
        n++;
    return n;
}

bool shaping_code_check(const char *pattern, char why[160])
{
    const char *p = pattern;
    size_t dots = 0, n = part_len(p), first = n;
    bool good = n > 0;
    for (p += n; good && *p == '.'; p += n) {
        dots++;
        n = part_len(++p);
        good = n > 0;
    }
    if (good && *p == '\0' && ((dots == 0 && first == 3) || (dots == 2 && first == 1)) &&
        strchr(dots == 0 ? "2345xX" : "245xX", pattern[0]) != NULL)
        return true;
    snprintf(why, 160, "expected a code such as 421, 45x, 4.7.28 or 5.7.6xx, got \"%.40s\"", pattern);
    return false;
}

/* "x" alone is any number, within a number any digit. */
static bool part_match(const char *p, size_t n, unsigned value)
{
    char digits[8];
    if (n == 1 && (*p == 'x' || *p == 'X'))
        return true;
    if ((size_t)snprintf(digits, sizeof digits, "%u", value) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (p[i] != 'x' && p[i] != 'X' && p[i] != digits[i])
            return false;
    return true;
}

bool shaping_code_match(const char *pattern, unsigned code, const uint16_t enhanced[3])
{
    if (pattern == NULL)
        return true;
    size_t n = part_len(pattern);
    if (pattern[n] == '\0')
        return part_match(pattern, n, code);
    if (enhanced[0] == 0)
        return false;
    for (int i = 0; i < 3; i++) {
        n = part_len(pattern);
        if (!part_match(pattern, n, enhanced[i]))
            return false;
        pattern += n + 1;
    }
    return true;
}

/* ---- sites ---- */

bool shaping_site_check(const char *pattern, char why[160])
{
    size_t n = strlen(pattern), stars = 0;
    bool good = n > 0 && n <= LABELS_MAX;
    for (size_t i = 0; good && i < n; i++) {
        unsigned char c = (unsigned char)pattern[i];
        stars += c == '*';
        good = c == '*' || isalnum(c) || strchr("-_.:[]", c) != NULL;
    }
    if (good && (stars == 0 || n == 1 || (stars == 1 && pattern[0] == '*' && pattern[1] == '.' && n > 2)))
        return true;
    snprintf(why, 160, "expected a domain or host, or *. and the end of its name, got \"%.60s\"", pattern);
    return false;
}

bool shaping_site_match(const char *pattern, struct span name)
{
    struct span p = span_str(pattern);
    if (p.p[0] != '*')
        return span_eq_nocase(p, name);
    p = span_sub(p, 1); /* ".example.org", or nothing */
    return p.n == 0 || (name.n > p.n && span_eq_nocase(p, span_sub(name, name.n - p.n)));
}
