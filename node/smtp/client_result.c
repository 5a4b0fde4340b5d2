/* Results of the SMTP client machine: made from a reply, or in our own words. Runs on the session's thread.
 */
#include "node/smtp/client_impl.h"

#include <stddef.h>
#include <stdio.h>

void smtp_result_local(struct smtp_client_result *r, enum smtp_client_class class,
                       enum smtp_client_stage stage, unsigned code, const char *enhanced, const char *fmt,
                       ...)
{
    char text[SMTP_REPLY_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->class = class;
    r->stage = stage;
    r->local = true;
    r->reply.code = (uint16_t)code;
    smtp_enhanced_parse(span_str(enhanced), r->reply.enhanced);
    r->reply.len = 0;
    smtp_reply_text_add(&r->reply, span_str(text));
}

void smtp_result_reply(struct smtp_client_result *r, enum smtp_client_class class,
                       enum smtp_client_stage stage, const struct smtp_reply_text *reply)
{
    r->class = class;
    r->stage = stage;
    r->local = false;
    smtp_reply_text_copy(&r->reply, reply);
}

void smtp_result_copy(struct smtp_client_result *to, const struct smtp_client_result *from)
{
    to->class = from->class;
    to->stage = from->stage;
    to->local = from->local;
    smtp_reply_text_copy(&to->reply, &from->reply);
}

const char *smtp_client_stage_name(enum smtp_client_stage stage)
{
    static const char *const names[] = { "connect", "banner", "ehlo", "tls",  "auth", "mail",
                                         "rcpt",    "data",   "dot",  "rset", "quit" };
    return (size_t)stage < sizeof names / sizeof names[0] ? names[stage] : "unknown";
}
