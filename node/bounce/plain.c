/* Bounces that are text for people only: those of qmail (QSBMF), Exim, Sendmail, Exchange and others are all
 * of one shape. A line says that something was not delivered; then come addresses at the beginnings of lines,
 * each with its reason behind or below; then a line that says that the returned message follows. Pure; any
 * thread.
 */
#include "node/bounce/report_impl.h"

#include <string.h>

#define PLAIN_MAX (64u << 10) /* of a text: each line is compared with some dozens of phrases */

/* Each begins with a letter in lower case. */
static const char *const intros[] = {
    "following address",      "following recipient",     "could not be delivered",
    "couldn't be delivered",  "wasn't able to",          "unable to deliver",
    "was not delivered",      "did not reach",           "delivery has failed",
    "delivery failed",        "delivery to the",         "permanent fatal errors",
    "undeliverable",          "this is the mail system", "not be delivered",
    "could not deliver",      "cannot be delivered",     "cannot deliver",
    "returned to sender",     "can't be delivered",      "message wasn't delivered",
    "wurde nicht zugestellt", "konnte nicht zugestellt", "n'a pas pu",
    "nicht zustell",
};
static const char *const delays[] = {
    "warning message only",   "delayed",         "still being retried",   "will keep trying",
    "not yet been delivered", "will be retried", "do not need to resend", "has not been delivered yet",
};
static const char *const ends[] = {
    "below this line is a copy", "this is a copy of",      "original message",       "unsent message",
    "returned message",          "message header follows", "message headers follow", "message follows",
    "headers of the message",
};

static bool contains(struct span s, const char *what)
{
    size_t n = strlen(what);
    for (size_t i = 0; i + n <= s.n; i++)
        if ((s.p[i] | 0x20) == what[0] && strncasecmp(s.p + i, what, n) == 0)
            return true;
    return false;
}

#define ANY_OF(s, list) any_of(s, list, sizeof list / sizeof list[0])
static bool any_of(struct span s, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (contains(s, list[i]))
            return true;
    return false;
}

struct plain {
    struct bounce_report *r;
    struct bounce_rcpt *open; /* lines go to its text; NULL: none */
    bool listing, delayed;
    char mentioned[BOUNCE_ADDRESS_MAX + 1]; /* in the line that began it */
    char common[BOUNCE_QUOTE_MAX + 1];      /* lines with codes that are nobody's */
};

static void add_text(char text[BOUNCE_QUOTE_MAX + 1], struct span line)
{
    size_t n = strlen(text);
    if (n > 0 && n < BOUNCE_QUOTE_MAX)
        text[n++] = ' ';
    bounce_copy(text + n, BOUNCE_QUOTE_MAX - n, line);
}

/* The mailbox that a line begins with; *rest is what stands behind it. */
static bool leading_address(struct span line, struct span *address, struct span *rest)
{
    size_t n = 0;
    bool angle = line.n > 0 && line.p[0] == '<';
    for (; n < line.n; n++)
        if (angle ? line.p[n] == '>' : strchr(" \t<(:;,", line.p[n]) != NULL)
            break;
    if (angle && n < line.n)
        n++;
    if (!bounce_address(span_of(line.p, n), address))
        return false;
    *rest = span_trim(span_sub(line, n));
    while (rest->n > 0 && (rest->p[0] == ':' || rest->p[0] == ' '))
        *rest = span_sub(*rest, 1);
    return true;
}

static void take_mentioned(struct plain *p, struct span line)
{
    struct span address, rest;
    for (size_t i = 0; i < line.n && p->mentioned[0] == 0; i++)
        if ((i == 0 || strchr(" <'\"", line.p[i - 1]) != NULL) &&
            leading_address(span_sub(line, i), &address, &rest))
            bounce_copy(p->mentioned, BOUNCE_ADDRESS_MAX, address);
}

static int take_line(struct plain *p, struct span line)
{
    struct span address, rest;
    struct bounce_reply found;
    int err = 0;
    line = span_trim(line);
    if (ANY_OF(line, delays))
        p->delayed = true;
    if (line.n > 0 && leading_address(line, &address, &rest)) {
        p->open = bounce_rcpt_add(p->r, &err);
        if (p->open == NULL)
            return err;
        bounce_copy(p->open->address, BOUNCE_ADDRESS_MAX, address);
        add_text(p->open->text, rest);
        return 0;
    }
    if (line.n == 0) {
        if (p->open != NULL && p->open->text[0] != 0)
            p->open = NULL;
        return 0;
    }
    bounce_reply_read(line, &found);
    if (p->open != NULL)
        add_text(p->open->text, line);
    else if (found.code != 0 || found.status[0] != 0)
        add_text(p->common, line);
    return 0;
}

/* Same mailbox named twice, as Sendmail does: in its list, and in its transcript. */
static bool is_repeat(const struct bounce_report *r, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++)
        if (strcasecmp(r->rcpts[k].address, r->rcpts[i].address) == 0)
            return true;
    return false;
}

static void judge(struct plain *p, struct span text)
{
    struct bounce_report *r = p->r;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->nrcpts; i++) {
        if (is_repeat(r, i))
            continue;
        struct bounce_rcpt *rcpt = &r->rcpts[kept];
        if (kept != i)
            *rcpt = r->rcpts[i];
        kept++;
        struct bounce_reply found;
        bounce_reply_read(span_str(rcpt->text), &found);
        if (found.code == 0 && found.status[0] == 0 && p->common[0] != 0)
            add_text(rcpt->text, span_str(p->common));
        if (rcpt->text[0] == 0)
            bounce_copy(rcpt->text, BOUNCE_QUOTE_MAX, text);
        rcpt->action = p->delayed ? BOUNCE_DELAYED : BOUNCE_FAILED;
        rcpt->status[0] = p->delayed ? 4 : 5;
        bounce_rcpt_judge(rcpt);
    }
    r->nrcpts = kept;
}

int bounce_plain_read(struct bounce_report *r, struct span text)
{
    text.n = text.n < PLAIN_MAX ? text.n : PLAIN_MAX;
    struct plain p = { .r = r };
    struct span line;
    int err = 0;
    for (size_t at = 0; err == 0 && mime_line(text, &at, &line);) {
        bool begins = ANY_OF(line, intros);
        if (p.listing && ANY_OF(line, ends)) {
            while (at < text.n && (text.p[at] == '\r' || text.p[at] == '\n'))
                at++;
            bounce_original(r, span_sub(text, at));
            break;
        }
        if (begins) {
            p.listing = true;
            take_mentioned(&p, line);
        }
        if (p.listing)
            err = take_line(&p, line);
    }
    if (err == 0 && p.listing && r->nrcpts == 0 && p.mentioned[0] != 0 && p.common[0] != 0) {
        struct bounce_rcpt *rcpt = bounce_rcpt_add(r, &err);
        if (rcpt != NULL)
            bounce_copy(rcpt->address, BOUNCE_ADDRESS_MAX, span_str(p.mentioned));
    }
    judge(&p, text);
    return err;
}
