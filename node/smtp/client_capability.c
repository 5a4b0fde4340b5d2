/* What a server announces in its reply to EHLO. Unknown keywords and broken parameters are passed over: an
 * announcement that cannot be read is one that was not made. Runs on the session's thread.
 */
#include "node/smtp/client_impl.h"

#include "base/text.h"

static const struct {
    const char *keyword;
    unsigned bit;
} plain[] = {
    { "PIPELINING", CAP_PIPELINING }, { "8BITMIME", CAP_8BITMIME },
    { "SMTPUTF8", CAP_SMTPUTF8 },     { "DSN", CAP_DSN },
    { "STARTTLS", CAP_STARTTLS },     { "CHUNKING", CAP_CHUNKING },
    { "REQUIRETLS", CAP_REQUIRETLS }, { "SIZE", CAP_SIZE },
};

static struct span word_next(struct span *rest)
{
    size_t i = 0;
    while (i < rest->n && (rest->p[i] == ' ' || rest->p[i] == '\t'))
        i++;
    size_t end = i;
    while (end < rest->n && rest->p[end] != ' ' && rest->p[end] != '\t')
        end++;
    struct span word = span_of(rest->p + i, end - i);
    *rest = span_sub(*rest, end);
    return word;
}

static void auth_line(struct smtp_capabilities *caps, struct span rest)
{
    for (struct span word; (word = word_next(&rest)).n > 0;) {
        if (span_eq_nocase(word, SPAN_LIT("PLAIN")))
            caps->bits |= CAP_AUTH_PLAIN;
        else if (span_eq_nocase(word, SPAN_LIT("LOGIN")))
            caps->bits |= CAP_AUTH_LOGIN;
    }
}

/* RFC 9422 section 4: NAME=digits, six of them at most; zero would forbid everything and is passed over. */
static void limits_line(struct smtp_capabilities *caps, struct span rest)
{
    for (struct span word; (word = word_next(&rest)).n > 0;) {
        const char *eq = memchr(word.p, '=', word.n);
        uint64_t value;
        if (eq == NULL)
            continue;
        struct span name = span_of(word.p, (size_t)(eq - word.p));
        if (text_u64(span_sub(word, name.n + 1), &value) != 0 || value == 0 || value > 999999)
            continue;
        if (span_eq_nocase(name, SPAN_LIT("RCPTMAX")))
            caps->rcpt_max = (uint32_t)value;
        else if (span_eq_nocase(name, SPAN_LIT("MAILMAX")))
            caps->mail_max = (uint32_t)value;
        else if (span_eq_nocase(name, SPAN_LIT("RCPTDOMAINMAX")))
            caps->rcpt_domain_max = (uint32_t)value;
    }
}

void smtp_capabilities_line(struct smtp_capabilities *caps, struct span line)
{
    struct span rest = line;
    struct span keyword = word_next(&rest);
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (span_eq_nocase(keyword, span_str(plain[i].keyword)))
            caps->bits |= plain[i].bit;
    if (span_eq_nocase(keyword, SPAN_LIT("SIZE"))) {
        uint64_t size;
        if (text_u64(word_next(&rest), &size) == 0)
            caps->size = size;
    } else if (span_eq_nocase(keyword, SPAN_LIT("AUTH"))) {
        auth_line(caps, rest);
    } else if (keyword.n > 5 && span_eq_nocase(span_of(keyword.p, 5), SPAN_LIT("AUTH="))) {
        /* as servers wrote it before RFC 2554 was final; some write both for old clients */
        auth_line(caps, span_sub(line, 5));
    } else if (span_eq_nocase(keyword, SPAN_LIT("LIMITS"))) {
        limits_line(caps, rest);
    }
}
