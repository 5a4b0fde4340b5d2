/* Reports with parts of their own: RFC 3464 and 5965, and the walk through a message's parts. Pure; any
 * thread. */
#include "node/bounce/report_impl.h"

#include "base/err.h"
#include "node/smtp/address.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DECODED_MAX (2 * BOUNCE_BYTES_MAX) /* a line that ends with LF alone gets CRLF */

struct walk {
    struct bounce_report *r;
    struct buf decoded;
    struct span text; /* the first part that is text for people */
    unsigned parts;
    bool feedback; /* a part message/feedback-report was there */
    int err;
};

void bounce_copy(char *out, size_t max, struct span s)
{
    size_t n = s.n < max ? s.n : max;
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f ? ' ' : s.p[i];
    out[n] = 0;
}

struct bounce_rcpt *bounce_rcpt_add(struct bounce_report *r, int *err)
{
    if (r->nrcpts >= BOUNCE_RCPTS_MAX) {
        r->cut = true;
        return NULL;
    }
    if ((r->nrcpts & (r->nrcpts - 1)) == 0) {
        size_t cap = r->nrcpts == 0 ? 1 : (size_t)r->nrcpts * 2;
        struct bounce_rcpt *p = realloc(r->rcpts, cap * sizeof *p);
        if (p == NULL) {
            *err = -ENOMEM;
            return NULL;
        }
        r->rcpts = p;
    }
    struct bounce_rcpt *rcpt = &r->rcpts[r->nrcpts++];
    memset(rcpt, 0, sizeof *rcpt);
    return rcpt;
}

static bool is_mailbox(struct span s)
{
    struct smtp_path path;
    return s.n > 0 && s.n <= BOUNCE_ADDRESS_MAX && smtp_mailbox_parse(s, &path) == 0 && path.domain.n > 0;
}

bool bounce_address(struct span s, struct span *out)
{
    const char *semi = memchr(s.p, ';', s.n);
    if (semi != NULL)
        s = span_sub(s, (size_t)(semi - s.p) + 1);
    const char *open = s.n == 0 ? NULL : memchr(s.p, '<', s.n);
    if (open != NULL) {
        s = span_sub(s, (size_t)(open - s.p) + 1);
        const char *close = memchr(s.p, '>', s.n);
        if (close == NULL)
            return false;
        s.n = (size_t)(close - s.p);
    }
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = span_sub(s, 1);
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    *out = s;
    return is_mailbox(s);
}

void bounce_rcpt_judge(struct bounce_rcpt *rcpt)
{
    struct bounce_reply found, reply;
    bounce_reply_read(span_str(rcpt->text), &found);
    reply = found;
    if (rcpt->status[0] == 0)
        memcpy(rcpt->status, found.status, sizeof rcpt->status);
    /* A general status, such as 5.0.0, says less than what the other server said itself. */
    else if (found.status[0] == rcpt->status[0] && rcpt->status[1] == 0 && rcpt->status[2] == 0)
        memcpy(rcpt->status, found.status, sizeof rcpt->status);
    rcpt->code = found.code;
    memcpy(reply.status, rcpt->status, sizeof reply.status);
    rcpt->class = bounce_classify(&reply);
    rcpt->hard = rcpt->action == BOUNCE_FAILED && bounce_is_hard(&reply);
    rcpt->dead = rcpt->hard && bounce_is_dead(&reply, rcpt->class);
}

/* ---- RFC 3464 -------------------------------------------------------------------------------------------
 */

static void read_status(struct span v, uint8_t out[3])
{
    struct bounce_reply found;
    bounce_reply_read(v, &found);
    memcpy(out, found.status, 3);
}

static enum bounce_action action_of(struct span v)
{
    if (span_eq_nocase(v, SPAN_LIT("delayed")))
        return BOUNCE_DELAYED;
    return span_eq_nocase(v, SPAN_LIT("delivered")) || span_eq_nocase(v, SPAN_LIT("relayed")) ||
                   span_eq_nocase(v, SPAN_LIT("expanded"))
               ? BOUNCE_DELIVERED
               : BOUNCE_FAILED;
}

/* One group of fields: a recipient, unless it names none. */
static void read_group(struct walk *w, struct span body, size_t *at)
{
    struct bounce_rcpt rcpt = { 0 };
    struct mime_field f;
    struct span address;
    bool original = false, said = false;
    while (mime_field_next(body, at, &f)) {
        struct span v = mime_field_value(&f);
        if (span_eq_nocase(f.name, SPAN_LIT("original-recipient")) && bounce_address(v, &address)) {
            bounce_copy(rcpt.address, BOUNCE_ADDRESS_MAX, address);
            original = true;
        } else if (span_eq_nocase(f.name, SPAN_LIT("final-recipient")) && bounce_address(v, &address)) {
            if (!original)
                bounce_copy(rcpt.address, BOUNCE_ADDRESS_MAX, address);
        } else if (span_eq_nocase(f.name, SPAN_LIT("action"))) {
            rcpt.action = action_of(v);
            said = true;
        } else if (span_eq_nocase(f.name, SPAN_LIT("status"))) {
            read_status(v, rcpt.status);
        } else if (span_eq_nocase(f.name, SPAN_LIT("diagnostic-code"))) {
            const char *semi = memchr(v.p, ';', v.n);
            if (semi != NULL)
                v = span_sub(v, (size_t)(semi - v.p) + 1);
            while (v.n > 0 && v.p[0] == ' ')
                v = span_sub(v, 1);
            bounce_copy(rcpt.text, BOUNCE_QUOTE_MAX, v);
        }
    }
    if (rcpt.address[0] == 0 && !said)
        return;
    if (!said && rcpt.status[0] == 4)
        rcpt.action = BOUNCE_DELAYED;
    bounce_rcpt_judge(&rcpt);
    struct bounce_rcpt *added = bounce_rcpt_add(w->r, &w->err);
    if (added != NULL)
        *added = rcpt;
}

static void read_delivery_status(struct walk *w, struct span body)
{
    for (size_t at = 0; at < body.n && w->err == 0;) {
        size_t before = at;
        read_group(w, body, &at);
        struct span line;
        if (at == before && !mime_line(body, &at, &line)) /* a line that is no field: over it */
            return;
    }
}

/* ---- RFC 5965 -------------------------------------------------------------------------------------------
 */

static void read_feedback(struct walk *w, struct span body)
{
    struct mime_field f;
    struct span address;
    w->feedback = true;
    for (size_t at = 0; w->err == 0 && mime_field_next(body, &at, &f);) {
        struct span v = mime_field_value(&f);
        if (span_eq_nocase(f.name, SPAN_LIT("feedback-type"))) {
            bounce_copy(w->r->feedback, sizeof w->r->feedback - 1, v);
            for (char *p = w->r->feedback; *p != 0; p++)
                *p = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
        } else if (span_eq_nocase(f.name, SPAN_LIT("source-ip"))) {
            bounce_copy(w->r->source_ip, sizeof w->r->source_ip - 1, v);
        } else if (span_eq_nocase(f.name, SPAN_LIT("original-mail-from")) && bounce_address(v, &address)) {
            bounce_copy(w->r->return_path, BOUNCE_ADDRESS_MAX, address);
        } else if (span_eq_nocase(f.name, SPAN_LIT("original-rcpt-to")) && bounce_address(v, &address)) {
            struct bounce_rcpt *rcpt = bounce_rcpt_add(w->r, &w->err);
            if (rcpt != NULL)
                bounce_copy(rcpt->address, BOUNCE_ADDRESS_MAX, address);
        }
    }
}

/* ---- the walk -------------------------------------------------------------------------------------------
 */

void bounce_original(struct bounce_report *r, struct span header)
{
    struct mime_field f;
    struct span address;
    for (size_t at = 0; mime_field_next(header, &at, &f);) {
        struct span v = mime_field_value(&f);
        if (span_eq_nocase(f.name, SPAN_LIT("message-id")) && r->message_id[0] == 0)
            bounce_copy(r->message_id, sizeof r->message_id - 1, v);
        else if (span_eq_nocase(f.name, SPAN_LIT(BOUNCE_MARK_FIELD)) && r->mark[0] == 0)
            bounce_copy(r->mark, sizeof r->mark - 1, v);
        else if (span_eq_nocase(f.name, SPAN_LIT("return-path")) && r->return_path[0] == 0 &&
                 bounce_address(v, &address))
            bounce_copy(r->return_path, BOUNCE_ADDRESS_MAX, address);
    }
}

static bool type_is(const struct mime_entity *e, const char *type)
{
    return strcmp(e->type, type) == 0;
}

static void walk_entity(struct walk *w, struct span s, unsigned depth)
{
    struct mime_entity e;
    mime_entity_read(s, &e);
    if (strncmp(e.type, "multipart/", 10) == 0) {
        struct span part;
        for (size_t at = 0; w->err == 0 && mime_part_next(&e, &at, &part);) {
            if (depth >= BOUNCE_DEPTH_MAX || ++w->parts > BOUNCE_PARTS_MAX) {
                w->r->cut = true;
                return;
            }
            walk_entity(w, part, depth + 1);
        }
        return;
    }
    struct span body = mime_body(&e, &w->decoded);
    if (type_is(&e, "message/delivery-status") || type_is(&e, "message/global-delivery-status"))
        read_delivery_status(w, body);
    else if (type_is(&e, "message/feedback-report"))
        read_feedback(w, body);
    else if (type_is(&e, "message/rfc822") || type_is(&e, "text/rfc822-headers") ||
             type_is(&e, "message/global") || type_is(&e, "message/global-headers") ||
             type_is(&e, "text/rfc822-header"))
        bounce_original(w->r, body);
    else if (w->text.n == 0 && (type_is(&e, "text/plain") || type_is(&e, "text/html")))
        w->text = body;
}

/* Exim and others name them in the header; used when nothing else does. */
static void read_failed_recipients(struct walk *w, struct span message)
{
    struct mime_field f;
    for (size_t at = 0; w->err == 0 && mime_field_next(message, &at, &f);) {
        if (!span_eq_nocase(f.name, SPAN_LIT("x-failed-recipients")))
            continue;
        struct span v = mime_field_value(&f), address;
        while (v.n > 0) {
            const char *comma = memchr(v.p, ',', v.n);
            size_t n = comma == NULL ? v.n : (size_t)(comma - v.p);
            struct bounce_rcpt *rcpt =
                bounce_address(span_of(v.p, n), &address) ? bounce_rcpt_add(w->r, &w->err) : NULL;
            if (rcpt != NULL) {
                bounce_copy(rcpt->address, BOUNCE_ADDRESS_MAX, address);
                bounce_copy(rcpt->text, BOUNCE_QUOTE_MAX, w->text);
                bounce_rcpt_judge(rcpt);
            }
            v = span_sub(v, n + 1);
        }
    }
}

static bool has(struct span s, const char *what)
{
    size_t n = strlen(what);
    for (size_t i = 0; i + n <= s.n; i++)
        if (strncasecmp(s.p + i, what, n) == 0)
            return true;
    return false;
}

/* An answer by a machine to a message that arrived (RFC 3834). Mail systems say the same of their bounces, so
 * whoever names himself as one is believed to be none. */
static bool is_auto_reply(struct span message)
{
    struct mime_field f;
    bool replied = false, system = false;
    for (size_t at = 0; mime_field_next(message, &at, &f);) {
        struct span v = mime_field_value(&f);
        if (span_eq_nocase(f.name, SPAN_LIT("auto-submitted")))
            replied = replied || has(v, "auto-replied");
        else if (span_eq_nocase(f.name, SPAN_LIT("x-autoreply")) ||
                 span_eq_nocase(f.name, SPAN_LIT("x-autorespond")))
            replied = true;
        else if (span_eq_nocase(f.name, SPAN_LIT("x-failed-recipients")))
            system = true;
        else if (span_eq_nocase(f.name, SPAN_LIT("from")))
            system = system || has(v, "mailer-daemon") || has(v, "postmaster@");
    }
    return replied && !system;
}

int bounce_report_read(struct span message, struct bounce_report *out)
{
    *out = (struct bounce_report){ 0 };
    if (message.n > BOUNCE_BYTES_MAX) {
        message.n = BOUNCE_BYTES_MAX;
        out->cut = true;
    }
    struct walk w = { .r = out };
    buf_init(&w.decoded, DECODED_MAX);
    /* Never moved while spans point into it. */
    w.err = message.n == 0 ? 0 : buf_reserve(&w.decoded, 2 * message.n);
    if (w.err == 0)
        walk_entity(&w, message, 0);
    bool reported = out->nrcpts > 0 && !w.feedback;
    /* Servers that answer a message for us by vacation send Auto-Submitted too, but never parts like these.
     */
    if (w.err == 0 && !w.feedback && out->nrcpts == 0 && !is_auto_reply(message)) {
        w.err = bounce_plain_read(out, w.text);
        if (w.err == 0 && out->nrcpts == 0)
            read_failed_recipients(&w, message);
        reported = out->nrcpts > 0;
    }
    out->kind = w.feedback ? BOUNCE_COMPLAINT : reported ? BOUNCE_REPORT : BOUNCE_NOTHING;
    buf_fini(&w.decoded);
    if (w.err != 0)
        bounce_report_fini(out);
    return w.err;
}

void bounce_report_fini(struct bounce_report *r)
{
    free(r->rcpts);
    r->rcpts = NULL;
    r->nrcpts = 0;
}
