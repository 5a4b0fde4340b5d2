/* The event log's lines about what was refused to a client. The session's worker. */
#include "node/core/node.h"
#include "node/core/report.h"
#include "node/core/session.h"
#include "node/core/worker.h"
#include "node/smtp/reply_parser.h"

#include <string.h>

static uint32_t stage_label(const char *stage)
{
    static const struct {
        const char *name;
        uint32_t label;
    } stages[] = {
        { "connect", METRICS_STAGE_CONNECT }, { "mail", METRICS_STAGE_MAIL },
        { "rcpt", METRICS_STAGE_RCPT },       { "data", METRICS_STAGE_DATA },
        { "content", METRICS_STAGE_CONTENT }, { "commit", METRICS_STAGE_CONTENT },
    };
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++)
        if (strcmp(stages[i].name, stage) == 0)
            return stages[i].label;
    return METRICS_STAGE_OTHER;
}

/* `e` has what is known besides. */
static void rejected(struct session *s, const char *stage, const struct smtp_reply *reply, struct event *e)
{
    report_client(s, e);
    e->stage = span_str(stage);
    e->code = reply->code;
    if (reply->enhanced != NULL)
        (void)smtp_enhanced_parse(span_str(reply->enhanced), e->enhanced);
    e->text = span_str(reply->text);
    e->local = true;
    report_event(s->in->w, e);
    metrics_add(s->in->w->node->metrics, s->in->w->index, METRICS_REJECTED, stage_label(stage), 1);
}

void report_rejected_by(struct session *s, const char *stage, const char *rule,
                        const struct smtp_reply *reply, struct span sender, struct span rcpt)
{
    struct event e = EVENT_INIT(EVENT_REJECTED);
    e.rule = span_str(rule);
    e.sender = sender;
    e.recipient = rcpt;
    rejected(s, stage, reply, &e);
}

void report_rejected_content(struct session *s, const char *verdict, const struct smtp_reply *reply,
                             struct span sender)
{
    struct event e = EVENT_INIT(EVENT_REJECTED);
    e.rule = SPAN_LIT("content");
    e.verdict = span_str(verdict);
    e.sender = sender;
    e.null_sender = sender.n == 0;
    rejected(s, "content", reply, &e);
}
