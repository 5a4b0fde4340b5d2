/* Writes a header anew; fields that stay are copied byte for byte (signatures may cover them). Any thread. */
#include "node/mail/rewrite.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/text.h"
#include "node/mail/date.h"

static bool name_matches(struct span name, struct span pattern)
{
    if (pattern.n > 0 && pattern.p[pattern.n - 1] == '*')
        return name.n >= pattern.n - 1 &&
               span_eq_nocase(span_of(name.p, pattern.n - 1), span_of(pattern.p, pattern.n - 1));
    return span_eq_nocase(name, pattern);
}

static bool is_removed(struct span name, const struct mail_rewrite *rw)
{
    if (rw->remove_bcc &&
        (span_eq_nocase(name, SPAN_LIT("bcc")) || span_eq_nocase(name, SPAN_LIT("resent-bcc"))))
        return true;
    for (uint32_t i = 0; i < rw->nrules; i++)
        if (rw->rules[i].kind == MAIL_RULE_REMOVE && name_matches(name, rw->rules[i].name))
            return true;
    return false;
}

int mail_rule_check(const struct mail_rule *rule)
{
    struct span name = rule->name, value = rule->value;
    if (rule->kind == MAIL_RULE_REMOVE && name.n > 1 && name.p[name.n - 1] == '*')
        name.n--;
    if (name.n == 0 || name.n > 76)
        return ERR_BAD;
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] <= ' ' || (unsigned char)name.p[i] >= 0x7f || name.p[i] == ':')
            return ERR_BAD;
    if (rule->kind == MAIL_RULE_REMOVE)
        return 0;
    if (name.n + 2 + value.n > 998 || !text_utf8_valid(value))
        return ERR_BAD;
    for (size_t i = 0; i < value.n; i++)
        if (((unsigned char)value.p[i] < ' ' && value.p[i] != '\t') || value.p[i] == 0x7f)
            return ERR_BAD;
    return 0;
}

static void put_field(struct buf *out, struct span name, struct span value)
{
    buf_put_span(out, name);
    buf_put_str(out, ": ");
    buf_put_span(out, value);
    buf_put_str(out, "\r\n");
}

/* A field as it came; its last line gets an end if the content ended without one. */
static void put_whole(struct buf *out, struct span whole)
{
    buf_put_span(out, whole);
    if (whole.p[whole.n - 1] != '\n')
        buf_put_str(out, "\r\n");
}

int mail_rewrite(const struct mail_header *h, const struct mail_rewrite *rw, struct buf *out)
{
    const struct mail_header_info *info = mail_header_info(h);
    struct mail_header_field f;
    ensure(h->done);
    for (uint32_t i = 0; i < rw->nrules; i++)
        if (mail_rule_check(&rw->rules[i]) != 0)
            return ERR_BAD;
    if (rw->received != NULL)
        mail_received_put(rw->received, out);
    for (size_t at = 0; mail_header_next(h, &at, &f);)
        if (!is_removed(f.name, rw))
            put_whole(out, f.whole);
    if (rw->add_date && !info->has_date) {
        char date[MAIL_DATE_TEXT];
        mail_date_format(rw->wall_ms, 0, date);
        put_field(out, SPAN_LIT("Date"), span_str(date));
    }
    if (rw->message_id.n > 0 && !info->has_message_id)
        put_field(out, SPAN_LIT("Message-ID"), rw->message_id);
    for (uint32_t i = 0; i < rw->nrules; i++)
        if (rw->rules[i].kind == MAIL_RULE_ADD)
            put_field(out, rw->rules[i].name, rw->rules[i].value);
    return buf_put_str(out, "\r\n");
}
