/* The mail server's side of the milter protocol: see milter_session.h. */
#include "node/content/milter_session.h"

#include "base/ensure.h"
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

#define DONE_HERE (MILTER_DOES_ADD | MILTER_DOES_CHANGE | MILTER_DOES_QUARANTINE)
#define KNOWN                                                                                                \
    (DONE_HERE | MILTER_DOES_BODY | MILTER_DOES_ADD_RCPT | MILTER_DOES_DELETE_RCPT | MILTER_DOES_SENDER |    \
     MILTER_DOES_ADD_RCPT_ARGS)
#define STEPS                                                                                                \
    (MILTER_NO_CONNECT | MILTER_NO_HELO | MILTER_NO_MAIL | MILTER_NO_RCPT | MILTER_NO_BODY |                 \
     MILTER_NO_FIELDS | MILTER_NO_HEADER_END | MILTER_MUTE_FIELD | MILTER_NO_UNKNOWN | MILTER_NO_DATA |      \
     MILTER_SKIPS | MILTER_MUTE_CONNECT | MILTER_MUTE_HELO | MILTER_MUTE_MAIL | MILTER_MUTE_RCPT |           \
     MILTER_MUTE_DATA | MILTER_MUTE_UNKNOWN | MILTER_MUTE_HEADER_END | MILTER_MUTE_BODY |                    \
     MILTER_LEADING_BLANK)

/* ---- what is sent -------------------------------------------------------------------------------------- */

static const struct step_flags {
    char command;
    uint32_t no, mute, since; /* a version */
} flags[] = {
    { MILTER_CONNECT, MILTER_NO_CONNECT, MILTER_MUTE_CONNECT, 2 },
    { MILTER_HELO, MILTER_NO_HELO, MILTER_MUTE_HELO, 2 },
    { MILTER_MAIL, MILTER_NO_MAIL, MILTER_MUTE_MAIL, 2 },
    { MILTER_RCPT, MILTER_NO_RCPT, MILTER_MUTE_RCPT, 2 },
    { MILTER_DATA, MILTER_NO_DATA, MILTER_MUTE_DATA, 4 },
    { MILTER_FIELD, MILTER_NO_FIELDS, MILTER_MUTE_FIELD, 2 },
    { MILTER_HEADER_END, MILTER_NO_HEADER_END, MILTER_MUTE_HEADER_END, 2 },
    { MILTER_BODY, MILTER_NO_BODY, MILTER_MUTE_BODY, 2 },
};

static const struct step_flags *flags_of(char command)
{
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (flags[i].command == command)
            return &flags[i];
    return NULL;
}

static bool wanted(const struct milter_session *s, char command)
{
    const struct step_flags *f = flags_of(command);
    return f != NULL && (s->protocol & f->no) == 0 && s->version >= f->since;
}

static void sent(struct milter_session *s, char command)
{
    const struct step_flags *f = flags_of(command);
    s->last = command;
    s->waits = f == NULL || (s->protocol & f->mute) == 0;
}

static void put_offer(struct milter_session *s, struct buf *out)
{
    struct buf data;
    buf_init(&data, 12);
    (void)milter_put_u32(&data, MILTER_VERSION);
    (void)milter_put_u32(&data, s->offer_all ? KNOWN : DONE_HERE);
    (void)milter_put_u32(&data, STEPS);
    (void)milter_put(out, MILTER_NEGOTIATE, buf_span(&data));
    if (out->err == 0)
        out->err = buf_err(&data);
    buf_fini(&data);
    sent(s, MILTER_NEGOTIATE);
}

/* The script's next packet, if the filter wants it; macros as the step that they are for. */
static void put_envelope(struct milter_session *s, struct buf *out)
{
    struct span from = s->script, data;
    char command;
    if (s->script.n == 0) {
        s->step = MILTER_STEP_FIELDS;
        return;
    }
    ensure(milter_next(&s->script, &command, &data) == 1);
    bool macros = command == MILTER_MACROS;
    if (!wanted(s, macros ? data.p[0] : command))
        return;
    (void)buf_put(out, from.p, from.n - s->script.n);
    if (macros)
        return;
    s->rcpt = span_of(data.p, data.n > 0 ? data.n - 1 : 0);
    sent(s, command);
}

/* Lines' ends within are single LFs, as filters know them from sendmail. */
static void put_value(struct buf *data, struct span value)
{
    value.n = value.n < MILTER_FIELD_MAX ? value.n : MILTER_FIELD_MAX;
    for (size_t i = 0; i < value.n; i++) {
        bool end = value.p[i] == '\r' && i + 1 < value.n && value.p[i + 1] == '\n';
        if (!end)
            (void)buf_put_char(data, value.p[i] == '\0' ? '?' : value.p[i]);
    }
    (void)buf_put_char(data, '\0');
}

static void put_field(struct milter_session *s, struct buf *out)
{
    const struct milter_fields *f = s->message->fields;
    struct span name, value;
    if (s->field == f->n || !wanted(s, MILTER_FIELD)) {
        s->step = MILTER_STEP_HEADER_END;
        return;
    }
    if (!milter_fields_show(f, s->field++, &name, &value))
        return;
    struct buf data;
    buf_init(&data, MILTER_DATA_MAX);
    bool blank = value.n > 0 && (value.p[0] == ' ' || value.p[0] == '\t');
    if (blank && (s->protocol & MILTER_LEADING_BLANK) == 0)
        value = span_sub(value, 1);
    (void)milter_put_text(&data, name);
    put_value(&data, value);
    (void)milter_put(out, MILTER_FIELD, buf_span(&data));
    if (out->err == 0)
        out->err = buf_err(&data);
    buf_fini(&data);
    sent(s, MILTER_FIELD);
}

static void put_header_end(struct milter_session *s, struct buf *out)
{
    s->step = MILTER_STEP_BODY;
    if (!wanted(s, MILTER_HEADER_END))
        return;
    (void)milter_put(out, MILTER_HEADER_END, (struct span){ "", 0 });
    sent(s, MILTER_HEADER_END);
}

static void put_body(struct milter_session *s, struct buf *out)
{
    if (s->body.n == 0 || !wanted(s, MILTER_BODY)) {
        s->step = MILTER_STEP_END;
        return;
    }
    size_t n = s->body.n < MILTER_DATA_MAX ? s->body.n : MILTER_DATA_MAX;
    (void)milter_put(out, MILTER_BODY, span_of(s->body.p, n));
    s->body = span_sub(s->body, n);
    sent(s, MILTER_BODY);
}

static void put_end(struct milter_session *s, struct buf *out)
{
    (void)milter_put(out, MILTER_BODY_END, (struct span){ "", 0 });
    s->step = MILTER_STEP_LAST;
    sent(s, MILTER_BODY_END);
}

int milter_session_pump(struct milter_session *s, struct buf *out)
{
    static void (*const put[])(struct milter_session *, struct buf *) = {
        [MILTER_STEP_NEGOTIATE] = put_offer, [MILTER_STEP_ENVELOPE] = put_envelope,
        [MILTER_STEP_FIELDS] = put_field,    [MILTER_STEP_HEADER_END] = put_header_end,
        [MILTER_STEP_BODY] = put_body,       [MILTER_STEP_END] = put_end,
    };
    while (!s->waits && s->step < MILTER_STEP_LAST && out->len < MILTER_DATA_MAX && buf_err(out) == 0)
        put[s->step](s, out);
    return buf_err(out);
}

void milter_session_init(struct milter_session *s, bool offer_all)
{
    *s = (struct milter_session){ .step = MILTER_STEP_IDLE, .offer_all = offer_all };
}

void milter_session_begin(struct milter_session *s, const struct milter_message *m)
{
    ensure(s->step == MILTER_STEP_IDLE);
    s->message = m;
    s->step = s->negotiated ? MILTER_STEP_ENVELOPE : MILTER_STEP_NEGOTIATE;
    s->script = m->script;
    s->body = m->body;
    s->field = 0;
    s->last = 0;
    s->waits = s->reusable = false;
    s->answer = (struct milter_answer){ .verdict = MILTER_ACCEPTED };
}

bool milter_session_again(struct milter_session *s, struct buf *out)
{
    ensure(s->step == MILTER_STEP_IDLE);
    if (!s->reusable)
        return false;
    (void)milter_put(out, MILTER_NEXT_CONNECTION, (struct span){ "", 0 });
    return buf_err(out) == 0;
}

/* ---- what it says -------------------------------------------------------------------------------------- */

static enum milter_result fail(struct milter_session *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static enum milter_result fail(struct milter_session *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->why, sizeof s->why, fmt, ap);
    va_end(ap);
    return MILTER_FAILED;
}

/* Some claim actions whether they were offered or not (rspamd): what counts is what they do. */
static enum milter_result negotiated(struct milter_session *s, const struct milter_reply *r)
{
    if (s->last != MILTER_NEGOTIATE)
        return fail(s, "it negotiates a second time");
    if (r->version < MILTER_VERSION_OLDEST || r->version > MILTER_VERSION)
        return fail(s, "it speaks version %u of the protocol", r->version);
    uint32_t more = r->protocol & ~(uint32_t)(STEPS | MILTER_HARMLESS);
    if (more != 0)
        return fail(s, "it wants a protocol that is not offered (0x%x)", more);
    s->version = r->version;
    s->actions = r->actions;
    s->protocol = r->protocol;
    s->negotiated = true;
    s->step = MILTER_STEP_ENVELOPE;
    s->last = 0;
    s->waits = false;
    return MILTER_MORE;
}

static enum milter_result finish(struct milter_session *s, enum milter_verdict verdict,
                                 const struct milter_reply *r)
{
    struct milter_answer *a = &s->answer;
    s->step = MILTER_STEP_IDLE;
    s->waits = false;
    if (verdict == MILTER_ACCEPTED)
        return MILTER_DONE; /* but what it asked for before stands: to be kept back */
    a->verdict = verdict;
    a->code = r->code;
    memcpy(a->enhanced, r->enhanced, sizeof a->enhanced);
    memcpy(a->text, r->text, sizeof a->text);
    if (s->last == MILTER_RCPT)
        milter_copy_text(a->rcpt, sizeof a->rcpt, s->rcpt);
    return MILTER_DONE;
}

static enum milter_result changed(struct milter_session *s, const struct milter_reply *r)
{
    bool blank = (s->protocol & MILTER_LEADING_BLANK) != 0;
    struct milter_fields *f = s->message->fields;
    int err = r->kind == MILTER_SAYS_ADD      ? milter_fields_add(f, r->name, r->value, blank)
              : r->kind == MILTER_SAYS_INSERT ? milter_fields_insert(f, r->index, r->name, r->value, blank)
                                              : milter_fields_change(f, r->index, r->name, r->value, blank);
    s->answer.changed = true;
    return err == 0         ? MILTER_MORE
           : err == ERR_BAD ? fail(s, "it wants a field in the header that cannot stand there")
                            : fail(s, "it wants too much in the header");
}

static void keep_back(struct milter_session *s, enum milter_verdict verdict, const char *text)
{
    if (s->answer.verdict == MILTER_UNDOABLE)
        return;
    s->answer.verdict = verdict;
    snprintf(s->answer.text, sizeof s->answer.text, "%s", text);
}

/* What it does at the end of a message: allowed there, and what is done here only as it was negotiated. */
static const struct {
    enum milter_reply_kind kind;
    uint32_t action;
    const char *undoable;
} acts[] = {
    { MILTER_SAYS_ADD, MILTER_DOES_ADD, NULL },
    { MILTER_SAYS_INSERT, MILTER_DOES_ADD, NULL },
    { MILTER_SAYS_CHANGE, MILTER_DOES_CHANGE, NULL },
    { MILTER_SAYS_QUARANTINE, MILTER_DOES_QUARANTINE, NULL },
    { MILTER_SAYS_BODY, 0, "it wants to replace the body" },
    { MILTER_SAYS_ADD_RCPT, 0, "it wants to add a recipient" },
    { MILTER_SAYS_ADD_RCPT_ARGS, 0, "it wants to add a recipient" },
    { MILTER_SAYS_DELETE_RCPT, 0, "it wants to delete a recipient" },
    { MILTER_SAYS_SENDER, 0, "it wants to change the sender" },
};

static enum milter_result act(struct milter_session *s, const struct milter_reply *r)
{
    size_t i = 0;
    while (acts[i].kind != r->kind)
        i++;
    if (s->last != MILTER_BODY_END)
        return fail(s, "it changes a message that has not ended");
    if (acts[i].undoable == NULL && (s->actions & acts[i].action) == 0)
        return fail(s, "it does what was not negotiated");
    if (acts[i].undoable != NULL)
        keep_back(s, MILTER_UNDOABLE, acts[i].undoable);
    else if (r->kind == MILTER_SAYS_QUARANTINE)
        keep_back(s, MILTER_QUARANTINED, r->text);
    else
        return changed(s, r);
    return MILTER_MORE;
}

static enum milter_result skip(struct milter_session *s)
{
    if (s->last != MILTER_BODY || (s->protocol & MILTER_SKIPS) == 0)
        return fail(s, "it skips what is no body");
    s->body.n = 0;
    s->waits = false;
    return MILTER_MORE;
}

static enum milter_result said(struct milter_session *s, const struct milter_reply *r)
{
    if (!s->waits)
        return fail(s, "it speaks when it was not asked");
    if (s->last == MILTER_NEGOTIATE && r->kind != MILTER_SAYS_NEGOTIATE)
        return fail(s, "it does not negotiate");
    switch (r->kind) {
    case MILTER_SAYS_CONTINUE:
        s->waits = false;
        s->reusable = s->last == MILTER_BODY_END && s->version >= MILTER_VERSION;
        return s->last == MILTER_BODY_END ? finish(s, MILTER_ACCEPTED, r) : MILTER_MORE;
    case MILTER_SAYS_ACCEPT:
        return finish(s, MILTER_ACCEPTED, r);
    case MILTER_SAYS_REJECT:
    case MILTER_SAYS_DISCARD:
        return finish(s, MILTER_REJECTED, r);
    case MILTER_SAYS_TEMPFAIL:
    case MILTER_SAYS_SHUTDOWN:
        return finish(s, MILTER_DEFERRED, r);
    case MILTER_SAYS_CODE:
        return finish(s, r->code < 500 ? MILTER_DEFERRED : MILTER_REJECTED, r);
    case MILTER_SAYS_SKIP:
        return skip(s);
    case MILTER_SAYS_PROGRESS:
        s->progress = true;
        return MILTER_MORE;
    case MILTER_SAYS_NEGOTIATE:
        return negotiated(s, r);
    case MILTER_SAYS_ADD:
    case MILTER_SAYS_INSERT:
    case MILTER_SAYS_CHANGE:
    case MILTER_SAYS_QUARANTINE:
    case MILTER_SAYS_BODY:
    case MILTER_SAYS_ADD_RCPT:
    case MILTER_SAYS_ADD_RCPT_ARGS:
    case MILTER_SAYS_DELETE_RCPT:
    case MILTER_SAYS_SENDER:
        return act(s, r);
    }
    ensure(false);
    return MILTER_FAILED;
}

enum milter_result milter_session_take(struct milter_session *s, struct span *in)
{
    struct milter_reply r;
    struct span data;
    const char *why;
    char command;
    int got;
    while ((got = milter_next(in, &command, &data)) == 1) {
        if (milter_reply_read(command, data, &r, &why) != 0)
            return fail(s, "%s", why);
        enum milter_result result = said(s, &r);
        if (result != MILTER_MORE || !s->waits)
            return result; /* what it would say next, it was not asked yet: pumping comes first */
    }
    return got < 0 ? fail(s, "it sends a packet of an impossible length") : MILTER_MORE;
}
