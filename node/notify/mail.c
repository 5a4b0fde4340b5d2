/* Notifications as mail: see body.h. Templates have variables and no code; a line whose variables are all
 * empty is left out. What comes from events is printable when it gets here, and cannot end a header field.
 */
#include "node/notify/body.h"

#include "base/base64.h"
#include "base/text.h"
#include "node/mail/date.h"

#include <stdio.h>
#include <string.h>

#define WRAP 100        /* columns at which a line is broken at a blank */
#define WRAP_HARD 300   /* and where there is none */
#define VALUE_MAX 1100  /* bytes of a variable */
#define BASE64_BYTES 57 /* of a line */
#define TEXT_MAX (1u << 20)

static const char built_in_subject[] = "[turnpike] {severity}: {event} {account} {site}";
static const char *const built_in_text[] = {
    "{severity}: {event}",
    "",
    "{text}",
    "Account:   {account}",
    "Tenant:    {tenant}",
    "Rule:      {rule}",
    "Site:      {site}",
    "Sender:    {sender}",
    "Recipient: {recipient}",
    "Client:    {ip}",
    "Time:      {time}",
    "Node:      {node}",
    "Times:     {count}",
    "Id:        {id}",
};

struct values {
    const struct notify_told *told;
    struct notify_event event;
    const char *name;
};

static const char *value_of(const struct values *v, struct span name, char scratch[32])
{
    static const struct {
        const char *name, *key;
    } others[] = { { "ip", "client_ip" }, { "time", "ts" } };
    if (span_eq(name, SPAN_LIT("severity")))
        return policy_severity_names[v->event.severity];
    if (span_eq(name, SPAN_LIT("id")))
        return v->told->id;
    if (span_eq(name, SPAN_LIT("name")))
        return v->name;
    if (span_eq(name, SPAN_LIT("count"))) {
        snprintf(scratch, 32, "%u", v->told->count);
        return v->told->count > 1 ? scratch : "";
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (span_eq(name, span_str(others[i].name)))
            return notify_event_str(&v->event, others[i].key);
    snprintf(scratch, 32, "%.*s", (int)name.n, name.p);
    return notify_event_str(&v->event, scratch);
}

/* No control characters, whatever the line had. `ascii`: nor what is beyond. */
static void put_value(struct buf *out, const char *text, bool ascii)
{
    for (size_t n = 0; *text != '\0' && n < VALUE_MAX; text++, n++) {
        unsigned char c = (unsigned char)*text;
        buf_put_char(out, c < ' ' || c == 0x7f || (ascii && c > '~') ? '?' : *text);
    }
}

/* False: it has variables, and all are empty. */
static bool expand(struct buf *out, const struct values *v, const char *template, bool ascii)
{
    struct span s = span_str(template), piece;
    bool variables = false, any = false;
    char scratch[32];
    while (s.n > 0) {
        if (!policy_template_next(&s, &piece)) {
            buf_put_span(out, piece);
            continue;
        }
        const char *value = value_of(v, piece, scratch);
        variables = true;
        any = any || value[0] != '\0';
        put_value(out, value, ascii);
    }
    return any || !variables;
}

/* In lines that any mail server takes, and people can read. */
static void put_wrapped(struct buf *out, struct span s)
{
    do {
        size_t n = s.n;
        if (n > WRAP) {
            const char *blank = memrchr(s.p + 40, ' ', WRAP - 40);
            n = blank != NULL ? (size_t)(blank - s.p) : n < WRAP_HARD ? n : WRAP_HARD;
            while (n > 1 && n < s.n && ((unsigned char)s.p[n] & 0xc0) == 0x80)
                n--;
        }
        buf_put_span(out, span_of(s.p, n));
        buf_put_str(out, "\r\n");
        s = span_sub(s, n);
        if (s.n > 0 && s.p[0] == ' ')
            s = span_sub(s, 1);
    } while (s.n > 0);
}

static void put_one(struct buf *out, const struct notify_mail *m, const struct values *v)
{
    uint32_t n = m->target->ntext;
    struct buf line;
    buf_init(&line, 64u << 10);
    if (n == 0)
        n = sizeof built_in_text / sizeof built_in_text[0];
    for (uint32_t i = 0; i < n; i++) {
        buf_reset(&line);
        if (expand(&line, v, m->target->ntext > 0 ? m->target->text[i] : built_in_text[i], false))
            put_wrapped(out, buf_span(&line));
    }
    buf_fini(&line);
}

static void put_subject(struct buf *out, const struct notify_mail *m, const struct values *v, uint32_t n,
                        int worst)
{
    buf_put_str(out, "Subject: ");
    if (n > 1) {
        buf_printf(out, "[turnpike] %u notifications, the worst is %s", n, policy_severity_names[worst]);
    } else {
        size_t from = out->len;
        (void)expand(out, v, m->target->subject != NULL ? m->target->subject : built_in_subject, true);
        while (out->len > from && out->data[out->len - 1] == ' ')
            out->len--;
        if (out->len - from > 200)
            out->len = from + 200;
    }
    buf_put_str(out, "\r\n");
}

static void put_body(struct buf *out, struct span text)
{
    if (text_ascii(text)) {
        buf_put_str(out, "Content-Type: text/plain; charset=us-ascii\r\n\r\n");
        buf_put_span(out, text);
        return;
    }
    buf_put_str(out, "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    while (text.n > 0) {
        size_t n = text.n < BASE64_BYTES ? text.n : BASE64_BYTES;
        base64_put(out, text.p, n);
        buf_put_str(out, "\r\n");
        text = span_sub(text, n);
    }
}

int notify_mail_put(struct buf *out, const struct notify_mail *m, const struct notify_told *told, uint32_t n,
                    uint64_t more, uint32_t *header_bytes)
{
    char date[MAIL_DATE_TEXT];
    struct buf text, head;
    size_t from = out->len;
    int worst = 0, err = 0;
    buf_init(&text, TEXT_MAX);
    buf_init(&head, 65536);
    mail_date_format(m->now_ms, 0, date);
    for (uint32_t i = 0; i < n && err == 0; i++) {
        struct values v = { .told = &told[i], .name = m->name };
        err = notify_event_parse(told[i].line, &v.event);
        if (err != 0)
            break;
        worst = v.event.severity > worst ? v.event.severity : worst;
        if (i > 0)
            buf_put_str(&text, "\r\n----\r\n");
        put_one(&text, m, &v);
        if (i == n - 1)
            put_subject(&head, m, &v, n, worst);
        notify_event_fini(&v.event);
    }
    if (more > 0)
        buf_printf(&text, "\r\n%llu more wait to be told of.\r\n", (unsigned long long)more);
    buf_printf(out, "From: Turnpike <%s>\r\nTo: <%s>\r\nDate: %s\r\nMessage-ID: %s\r\n", m->from, m->to, date,
               m->message_id);
    buf_put_span(out, buf_span(&head));
    buf_put_str(out, "Auto-Submitted: auto-generated\r\nPrecedence: bulk\r\nMIME-Version: 1.0\r\n");
    struct buf body;
    buf_init(&body, 2 * TEXT_MAX);
    put_body(&body, buf_span(&text));
    const char *end = body.data == NULL ? NULL : memmem(body.data, body.len, "\r\n\r\n", 4);
    *header_bytes = (uint32_t)(out->len - from + (end == NULL ? 0 : (size_t)(end - body.data) + 4));
    err = err != 0 ? err : buf_err(&text) != 0 ? buf_err(&text) : buf_put_span(out, buf_span(&body));
    err = err != 0 ? err : buf_err(&body);
    buf_fini(&body);
    buf_fini(&text);
    buf_fini(&head);
    return err != 0 ? err : buf_err(out);
}
