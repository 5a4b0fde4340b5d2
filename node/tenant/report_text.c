/* A tenant's report as text, and as a message. Pure. */
#include "node/tenant/report.h"

#include "base/text.h"
#include "node/bounce/class.h"
#include "node/mail/date.h"

#include <inttypes.h>
#include <string.h>

const char *tenant_report_mode(uint8_t mode)
{
    return mode == COMMAND_FREEZE_HOLD     ? "held"
           : mode == COMMAND_FREEZE_DEFER  ? "deferred"
           : mode == COMMAND_FREEZE_REJECT ? "rejected"
                                           : "rejected or deferred";
}

/* What is no printable ASCII becomes "?": the message needs no encoding, and no line ends early. */
static void put_safe(struct buf *out, const char *s)
{
    for (; *s != '\0'; s++)
        (void)buf_put_char(out, *s >= 0x20 && *s < 0x7f ? *s : '?');
}

static void put_count(struct buf *out, const char *what, uint64_t n, const char *more)
{
    (void)buf_printf(out, "    %-18s %10" PRIu64 "%s\n", what, n, more);
}

static void put_counts(const struct tenant_report *r, struct buf *out)
{
    (void)buf_put_str(out, "Recipients\n\n");
    if (r->counts[RECORD_ACCEPTED] > 0)
        put_count(out, "accepted", r->counts[RECORD_ACCEPTED], "");
    put_count(out, "delivered", r->counts[RECORD_DELIVERED], "");
    put_count(out, "deferred", r->counts[RECORD_DEFERRED], "  attempts, which are repeated");
    put_count(out, "refused for good", tenant_report_bounced(r), "");
    for (unsigned class = 0; class < BOUNCE_CLASSES; class ++)
        if (r->counts[RECORD_HARD + class] > 0)
            (void)buf_printf(out, "      %-16s %10" PRIu64 "\n", bounce_class_name((enum bounce_class) class),
                             r->counts[RECORD_HARD + class]);
    put_count(out, "complaints", r->counts[RECORD_COMPLAINT], "");
    put_count(out, "failed logins", r->counts[RECORD_FAILED_LOGINS], "");
}

static void put_senders(const struct tenant_report *r, struct buf *out)
{
    (void)buf_printf(out, "\nSenders: %" PRIu32 "\n\n", r->senders);
    for (uint32_t i = 0; i < r->top_n; i++) {
        const struct tenant_report_sender *s = &r->top[i];
        (void)buf_put_str(out, "    ");
        put_safe(out, s->account);
        (void)buf_printf(out, "\n        delivered %" PRIu64 ", deferred %" PRIu64 ", refused %" PRIu64,
                         s->delivered, s->deferred, s->bounced);
        if (s->complaints > 0)
            (void)buf_printf(out, ", complaints %" PRIu64, s->complaints);
        if (s->failed_logins > 0)
            (void)buf_printf(out, ", failed logins %" PRIu64, s->failed_logins);
        (void)buf_put_str(out, "\n");
    }
    if (r->senders > r->top_n)
        (void)buf_printf(out, "    and %" PRIu32 " more\n", r->senders - r->top_n);
}

static void put_date(struct buf *out, int64_t wall_ms)
{
    char date[MAIL_DATE_TEXT];
    mail_date_format(wall_ms, 0, date);
    (void)buf_put_str(out, date);
}

static void put_frozen(const struct tenant_report *r, struct buf *out)
{
    (void)buf_put_str(out, "\nStopped now\n\n");
    if (r->nfrozen == 0)
        (void)buf_put_str(out, "    nobody\n");
    for (uint32_t i = 0; i < r->frozen_n; i++) {
        const struct tenant_report_frozen *f = &r->frozen[i];
        (void)buf_put_str(out, f->scope == COMMAND_SCOPE_TENANT ? "    all of " : "    ");
        put_safe(out, f->name);
        (void)buf_printf(out, ": mail is %s since ", tenant_report_mode(f->mode));
        put_date(out, f->since_ms);
        if (f->left_ms > 0) {
            char left[32];
            text_format_duration((int64_t)f->left_ms, left, sizeof left);
            (void)buf_printf(out, ", for another %s", left);
        }
        if (f->reason[0] != '\0') {
            (void)buf_put_str(out, "\n        ");
            put_safe(out, f->reason);
        }
        (void)buf_put_str(out, "\n");
    }
    if (r->nfrozen > r->frozen_n)
        (void)buf_printf(out, "    and %" PRIu32 " more\n", r->nfrozen - r->frozen_n);
}

static void put_acts(const struct tenant_report *r, struct buf *out)
{
    (void)buf_put_str(out, "\nWhat was done\n\n");
    if (r->nacts == 0)
        (void)buf_put_str(out, "    nothing\n");
    for (uint32_t i = 0; i < r->acts_n; i++) {
        (void)buf_put_str(out, "    ");
        put_date(out, r->acts[i].at_ms);
        (void)buf_put_str(out, ", by ");
        put_safe(out, r->acts[i].by);
        (void)buf_put_str(out, "\n        ");
        put_safe(out, r->acts[i].what);
        (void)buf_put_str(out, "\n");
    }
    if (r->nacts > r->acts_n)
        (void)buf_printf(out, "    and %" PRIu32 " more\n", r->nacts - r->acts_n);
}

static const char *span_of_time(enum directory_record_window w)
{
    return w == DIRECTORY_RECORD_HOUR ? "hour" : w == DIRECTORY_RECORD_DAY ? "day" : "week";
}

int tenant_report_text(const struct tenant_report *r, struct buf *out)
{
    (void)buf_put_str(out, "Mail of ");
    put_safe(out, r->tenant);
    (void)buf_printf(out, " in the last %s, until ", span_of_time(r->window));
    put_date(out, r->now_ms);
    (void)buf_put_str(out, "\n\n");
    put_counts(r, out);
    put_senders(r, out);
    put_frozen(r, out);
    put_acts(r, out);
    return buf_err(out);
}

int tenant_report_mail(const struct tenant_report *r, const struct tenant_report_mail *mail, struct buf *out,
                       uint32_t *header_bytes)
{
    size_t from = out->len;
    struct buf text;
    (void)buf_printf(out, "From: Postmaster <%s>\r\nTo: <%s>\r\nDate: ", mail->from, mail->to);
    put_date(out, r->now_ms);
    (void)buf_printf(out, "\r\nMessage-ID: %s\r\nSubject: Mail of ", mail->message_id);
    put_safe(out, r->tenant);
    (void)buf_printf(out,
                     " in the last %s\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
                     "Content-Type: text/plain; charset=us-ascii\r\n\r\n",
                     span_of_time(r->window));
    *header_bytes = (uint32_t)(out->len - from);
    buf_init(&text, TENANT_REPORT_BYTES_MAX);
    int err = tenant_report_text(r, &text);
    for (size_t i = 0; i < text.len; i++)
        (void)(text.data[i] == '\n' ? buf_put_str(out, "\r\n") : buf_put_char(out, text.data[i]));
    buf_fini(&text);
    (void)buf_printf(out, "\r\nThis goes to the contact of the tenant once a %s.\r\n", mail->every);
    return err != 0 ? err : buf_err(out);
}
