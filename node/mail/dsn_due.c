/* Which delivery report is due: RFC 3461 sections 4.1 and 5.2, RFC 5321 section 6.1. Any thread. */
#include "node/mail/dsn.h"

/* Was this wish made? Without NOTIFY a sender hears of failures and delays (RFC 3461 section 4.1). */
static bool wants(const struct mail_dsn_case *c, unsigned bit)
{
    if ((c->notify & ENVELOPE_NOTIFY_NEVER) != 0)
        return false;
    if (c->notify == 0)
        return bit != ENVELOPE_NOTIFY_SUCCESS;
    return (c->notify & bit) != 0;
}

struct mail_dsn_decision mail_dsn_due(const struct mail_dsn_case *c)
{
    struct mail_dsn_decision d = { .state = RCPT_QUEUED };
    bool wanted = false;
    switch (c->event) {
    case MAIL_DSN_EVENT_ACCEPTED:
        /* a hop that knows DSN reports success itself, or passes the wish on */
        d.state = c->next_hop_dsn || c->notify == 0 ? RCPT_DELIVERED : RCPT_RELAYED;
        d.action = MAIL_DSN_RELAYED;
        wanted = !c->next_hop_dsn && wants(c, ENVELOPE_NOTIFY_SUCCESS);
        break;
    case MAIL_DSN_EVENT_FINAL:
        d.state = RCPT_DELIVERED;
        d.action = MAIL_DSN_DELIVERED;
        wanted = wants(c, ENVELOPE_NOTIFY_SUCCESS);
        break;
    case MAIL_DSN_EVENT_FAILED:
    case MAIL_DSN_EVENT_EXPIRED:
        d.state = c->event == MAIL_DSN_EVENT_FAILED ? RCPT_BOUNCED : RCPT_EXPIRED;
        d.action = MAIL_DSN_FAILED;
        wanted = wants(c, ENVELOPE_NOTIFY_FAILURE);
        break;
    case MAIL_DSN_EVENT_DELAYED:
        d.action = MAIL_DSN_DELAYED;
        wanted = wants(c, ENVELOPE_NOTIFY_DELAY);
        break;
    case MAIL_DSN_EVENT_DELETED:
        d.state = RCPT_DELETED;
        break;
    }
    /* never about a report, never to nobody: reports must not breed reports */
    d.report = wanted && !c->null_sender && !c->is_report;
    if (!d.report)
        d.action = MAIL_DSN_FAILED;
    /* RFC 3461 section 4.3: RET speaks of failures; other reports have the header only */
    d.full = d.report && d.action == MAIL_DSN_FAILED &&
             (c->ret == ENVELOPE_RET_FULL || (c->ret == ENVELOPE_RET_ABSENT && c->default_full));
    return d;
}

const char *mail_dsn_action_name(enum mail_dsn_action action)
{
    static const char *const names[] = { "failed", "delayed", "delivered", "relayed", "expanded" };
    return (size_t)action < sizeof names / sizeof names[0] ? names[action] : "failed";
}
