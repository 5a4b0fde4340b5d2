/* Runs dialogs/NAME.dialog: what a client sends, what it must hear, and what the relay must then have.
 *
 * Each dialogue runs three times: as it is written, byte by byte, and with everything sent ahead that RFC
 * 2920 lets a client send ahead. Lines of a file:
 *
 *     config: NAME=VALUE ...      of struct smtp_server_config, over the defaults below
 *     modes: whole bytes ahead    if not all of them make sense
 *     early | refuse: 421 4.3.2 T instead of the greeting
 *     S: TEXT                     a reply line; * and ? match as in the shell; S*20: the same 20 times
 *     C: TEXT                     a line of the client, CRLF is added; C*20: the same 20 times
 *     C> TEXT                     octets as they are
 *     answer: WHAT CODE ENH TEXT  of the shell, for the next C line; WHAT: auth mail rcpt body content commit
 *     sync                        the client waits here (it does after EHLO, HELO, STARTTLS)
 *     tls-fails                   the next handshake does
 *     message: FROM to RCPT,RCPT  the next message that was stored
 *     content: TEXT               and what is in it
 *     no-message | closed | open  there is no further message; the session was, or was not, ended by the
 * relay auth: MECH|AUTHZID|AUTHCID|PASSWORD  what the last AUTH gave
 *
 * In TEXT: \r \n \t \\ \xHH, and \{N} for N times the letter a.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/smtp_server/harness.h"

#include <ctype.h>
#include <dirent.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

#define ITEMS_MAX 512
#define DIALOGS_MAX 128

enum mode { WHOLE, BYTES, AHEAD };
static const char *const mode_names[] = { "whole", "bytes", "ahead" };

enum item_kind { CLIENT, SERVER, ANSWER, SYNC, MESSAGE, CONTENT, NO_MESSAGE, CLOSED, OPEN, TLS_FAILS, AUTH };

struct item {
    enum item_kind kind;
    unsigned line, times;
    struct buf text;
    enum smtp_server_want want; /* ANSWER */
    bool for_content;
    struct smtp_reply reply;
    uint64_t from, to; /* CLIENT: where it was in the stream */
};

struct dialog {
    char path[512];
    struct smtp_server_config config;
    bool modes[3];
    bool early;
    struct smtp_reply refusal;
    char *words[ITEMS_MAX * 3]; /* to be freed */
    size_t nwords;
    struct item items[ITEMS_MAX];
    size_t n;
};

struct run {
    struct dialog *d;
    struct harness h;
    size_t reply_at;   /* reply lines checked so far, in octets */
    size_t message_at; /* messages checked */
    bool in_commit;
    struct buf auth;
};

_Noreturn static void bad(const struct dialog *d, unsigned line, const char *what, const char *more)
{
    fail_msg("%s:%u: %s%s", d->path, line, what, more);
    abort();
}

static char *word(struct dialog *d, const char *p, size_t n)
{
    char *w = strndup(p, n);
    assert_non_null(w);
    assert_true(d->nwords < sizeof d->words / sizeof d->words[0]);
    return d->words[d->nwords++] = w;
}

static void unescape(struct dialog *d, unsigned line, const char *p, struct buf *out)
{
    buf_init(out, 1u << 22);
    for (; *p != '\0'; p++) {
        unsigned v;
        int used = 0;
        if (*p != '\\')
            buf_put_char(out, *p);
        else if (*++p == 'r')
            buf_put_char(out, '\r');
        else if (*p == 'n')
            buf_put_char(out, '\n');
        else if (*p == 't')
            buf_put_char(out, '\t');
        else if (*p == '\\')
            buf_put_char(out, '\\');
        else if (sscanf(p, "x%2x%n", &v, &used) == 1 && used == 3)
            buf_put_char(out, (char)(unsigned char)v);
        else if (sscanf(p, "{%u}%n", &v, &used) == 1 && used > 0)
            while (v-- > 0)
                buf_put_char(out, 'a');
        else
            bad(d, line, "escape: ", p);
        p += used > 0 ? used - 1 : 0;
    }
}

static void parse_reply(struct dialog *d, unsigned line, const char *p, struct smtp_reply *out)
{
    unsigned code;
    int enh, enh_end, text;
    if (sscanf(p, "%u %n%*s%n %n", &code, &enh, &enh_end, &text) != 1)
        bad(d, line, "reply: ", p);
    *out = (struct smtp_reply){ .code = (uint16_t)code };
    if (p[enh] != '-')
        out->enhanced = word(d, p + enh, (size_t)(enh_end - enh));
    out->text = word(d, p + text, strlen(p + text));
}

static void parse_answer(struct dialog *d, struct item *it, const char *p)
{
    static const struct {
        const char *name;
        enum smtp_server_want want;
    } kinds[] = {
        { "auth ", SMTP_SERVER_WANT_AUTH },     { "mail ", SMTP_SERVER_WANT_MAIL },
        { "rcpt ", SMTP_SERVER_WANT_RCPT },     { "body ", SMTP_SERVER_WANT_BODY },
        { "commit ", SMTP_SERVER_WANT_COMMIT }, { "content ", SMTP_SERVER_WANT_INPUT },
    };
    it->kind = ANSWER;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(kinds[i].name);
        if (strncmp(p, kinds[i].name, n) == 0) {
            it->want = kinds[i].want;
            it->for_content = kinds[i].want == SMTP_SERVER_WANT_INPUT;
            parse_reply(d, it->line, p + n, &it->reply);
            return;
        }
    }
    bad(d, it->line, "answer: ", p);
}

static void parse_setting(struct dialog *d, unsigned line, char *setting)
{
    struct smtp_server_config *c = &d->config;
    struct {
        const char *name;
        bool *flag;
        uint32_t *number;
    } known[] = {
        { "max_rcpts", NULL, &c->max_rcpts },
        { "max_messages", NULL, &c->max_messages },
        { "max_errors", NULL, &c->max_errors },
        { "max_line_bytes", NULL, &c->max_line_bytes },
        { "max_header_lines", NULL, &c->max_header_lines },
        { "max_body_line_bytes", NULL, &c->max_body_line_bytes },
        { "offer_starttls", &c->offer_starttls, NULL },
        { "require_tls", &c->require_tls, NULL },
        { "offer_auth", &c->offer_auth, NULL },
        { "require_auth", &c->require_auth, NULL },
        { "auth_without_tls", &c->auth_without_tls, NULL },
        { "normalise_bare_lf", &c->normalise_bare_lf, NULL },
        { "offer_smtputf8", &c->offer_smtputf8, NULL },
        { "offer_requiretls", &c->offer_requiretls, NULL },
        { "allow_unqualified", &c->allow_unqualified, NULL },
    };
    char *eq = strchr(setting, '=');
    if (eq == NULL)
        bad(d, line, "setting: ", setting);
    *eq = '\0';
    unsigned long v = strtoul(eq + 1, NULL, 10);
    if (strcmp(setting, "max_message_bytes") == 0) {
        c->max_message_bytes = v;
        return;
    }
    if (strcmp(setting, "kind") == 0) {
        c->kind = strcmp(eq + 1, "relay") == 0         ? SMTP_LISTENER_RELAY
                  : strcmp(eq + 1, "submissions") == 0 ? SMTP_LISTENER_SUBMISSIONS
                                                       : SMTP_LISTENER_SUBMISSION;
        return;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(setting, known[i].name) != 0)
            continue;
        if (known[i].flag != NULL)
            *known[i].flag = v != 0;
        else
            *known[i].number = (uint32_t)v;
        return;
    }
    bad(d, line, "unknown setting: ", setting);
}

/* "X: text" or "X*20: text", with mark ':' or '>'; NULL if the line is something else. */
static const char *spoken(const char *p, char who, struct item *it, bool *raw)
{
    int used = 1;
    it->times = 1;
    if (p[0] != who)
        return NULL;
    if (p[1] == '*' && sscanf(p + 1, "*%u%n", &it->times, &used) == 1)
        used++;
    *raw = p[used] == '>';
    if (p[used] != ':' && p[used] != '>')
        return NULL;
    return p[used + 1] == ' ' ? p + used + 2 : p + used + 1;
}

static void parse_line(struct dialog *d, unsigned line, char *p)
{
    static const struct {
        const char *name;
        enum item_kind kind;
        bool text;
    } simple[] = { { "sync", SYNC, false },           { "message: ", MESSAGE, true },
                   { "content: ", CONTENT, true },    { "no-message", NO_MESSAGE, false },
                   { "closed", CLOSED, false },       { "open", OPEN, false },
                   { "tls-fails", TLS_FAILS, false }, { "auth: ", AUTH, true } };
    assert_true(d->n < ITEMS_MAX);
    struct item *it = &d->items[d->n];
    const char *text;
    bool raw;
    *it = (struct item){ .line = line };
    if (strncmp(p, "config: ", 8) == 0) {
        for (char *w = strtok(p + 8, " "); w != NULL; w = strtok(NULL, " "))
            parse_setting(d, line, w);
        return;
    }
    if (strncmp(p, "modes: ", 7) == 0) {
        for (int m = WHOLE; m <= AHEAD; m++)
            d->modes[m] = strstr(p, mode_names[m]) != NULL;
        return;
    }
    if (strcmp(p, "early") == 0) {
        d->early = true;
        return;
    }
    if (strncmp(p, "refuse: ", 8) == 0) {
        parse_reply(d, line, p + 8, &d->refusal);
        return;
    }
    d->n++;
    if (strncmp(p, "answer: ", 8) == 0) {
        parse_answer(d, it, p + 8);
        return;
    }
    if ((text = spoken(p, 'C', it, &raw)) != NULL) {
        it->kind = CLIENT;
        unescape(d, line, text, &it->text);
        if (!raw)
            buf_put_str(&it->text, "\r\n");
        return;
    }
    if ((text = spoken(p, 'S', it, &raw)) != NULL) {
        it->kind = SERVER;
        buf_init(&it->text, 4096);
        buf_put(&it->text, text, strlen(text) + 1);
        return;
    }
    for (size_t i = 0; i < sizeof simple / sizeof simple[0]; i++) {
        size_t n = strlen(simple[i].name);
        if (simple[i].text ? strncmp(p, simple[i].name, n) != 0 : strcmp(p, simple[i].name) != 0)
            continue;
        it->kind = simple[i].kind;
        unescape(d, line, simple[i].text ? p + n : "", &it->text);
        return;
    }
    bad(d, line, "what is this: ", p);
}

static struct dialog *dialog_load(const char *path)
{
    struct dialog *d = calloc(1, sizeof *d);
    assert_non_null(d);
    snprintf(d->path, sizeof d->path, "%s", path);
    d->modes[WHOLE] = d->modes[BYTES] = d->modes[AHEAD] = true;
    d->config = (struct smtp_server_config){
        .kind = SMTP_LISTENER_RELAY,
        .hostname = "mx.test",
        .max_message_bytes = 1000000,
        .max_rcpts = 100,
        .max_messages = 100,
        .max_errors = 20,
        .max_line_bytes = 2048,
        .max_header_lines = 1000,
        .max_body_line_bytes = 2000,
        .offer_smtputf8 = true,
        .offer_requiretls = true,
    };
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char line[8192];
    for (unsigned no = 1; fgets(line, sizeof line, f) != NULL; no++) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0' && line[0] != '#')
            parse_line(d, no, line);
    }
    fclose(f);
    return d;
}

static void dialog_free(struct dialog *d)
{
    for (size_t i = 0; i < d->n; i++)
        buf_fini(&d->items[i].text);
    for (size_t i = 0; i < d->nwords; i++)
        free(d->words[i]);
    free(d);
}

/* The answer written before the client's line that holds the octet before `offset`. */
static const struct smtp_reply *scripted(struct run *r, enum smtp_server_want want, bool content,
                                         uint64_t offset)
{
    struct dialog *d = r->d;
    size_t i = 0;
    while (i < d->n && (d->items[i].kind != CLIENT || offset <= d->items[i].from || offset > d->items[i].to))
        i++;
    if (i == d->n)
        return NULL;
    while (i-- > 0 && d->items[i].kind == ANSWER)
        if (d->items[i].for_content == content && (content || d->items[i].want == want))
            return &d->items[i].reply;
    return NULL;
}

static const struct smtp_reply *answer(void *ctx, enum smtp_server_want want, uint64_t offset)
{
    struct run *r = ctx;
    if (want == SMTP_SERVER_WANT_AUTH) {
        const struct smtp_server_auth *a = smtp_server_auth(r->h.s);
        buf_reset(&r->auth);
        struct span parts[] = { a->mechanism, a->authzid, a->authcid, a->password };
        for (size_t i = 0; i < 4; i++) {
            if (i > 0)
                buf_put_char(&r->auth, '|');
            buf_put_span(&r->auth, parts[i]);
        }
    }
    return scripted(r, want, false, offset);
}

static const struct smtp_reply *content(void *ctx, enum smtp_server_want want, uint64_t offset)
{
    return scripted(ctx, want, true, offset);
}

static void check_server(struct run *r, const struct item *it)
{
    for (unsigned i = 0; i < it->times; i++) {
        const char *p = r->h.reply.data + r->reply_at;
        size_t left = r->h.reply.len - r->reply_at;
        const char *lf = left == 0 ? NULL : memchr(p, '\n', left);
        if (lf == NULL)
            bad(r->d, it->line, "no reply; expected ", it->text.data);
        char line[600] = "";
        assert_true((size_t)(lf - p) < sizeof line);
        memcpy(line, p, (size_t)(lf - p - 1));
        if (fnmatch(it->text.data, line, 0) != 0)
            bad(r->d, it->line, "reply was ", line);
        r->reply_at += (size_t)(lf + 1 - p);
    }
}

static void check_message(struct run *r, const struct item *it)
{
    if (r->message_at >= r->h.messages)
        bad(r->d, it->line, "no such message", "");
    const struct harness_message *m = &r->h.kept[r->message_at++];
    struct buf got;
    buf_init(&got, 1u << 16);
    buf_put_span(&got, buf_span(&m->from));
    buf_put_str(&got, " to ");
    buf_put_span(&got, buf_span(&m->rcpts));
    if (!span_eq(buf_span(&got), buf_span(&it->text))) {
        buf_put_char(&got, '\0');
        bad(r->d, it->line, "message was ", got.data);
    }
    buf_fini(&got);
}

static void check_content(struct run *r, const struct item *it)
{
    assert_true(r->message_at > 0);
    const struct buf *body = &r->h.kept[r->message_at - 1].body;
    if (!span_eq(buf_span(body), buf_span(&it->text))) {
        fprintf(stderr, "%.*s\n", (int)body->len, body->data);
        bad(r->d, it->line, "content differs", "");
    }
}

static void check(struct run *r, const struct item *it)
{
    switch (it->kind) {
    case SERVER:
        check_server(r, it);
        break;
    case MESSAGE:
        check_message(r, it);
        break;
    case CONTENT:
        check_content(r, it);
        break;
    case NO_MESSAGE:
        if (r->message_at != r->h.messages)
            bad(r->d, it->line, "a message too many", "");
        break;
    case CLOSED:
    case OPEN:
        if (r->h.closed != (it->kind == CLOSED))
            bad(r->d, it->line, "session is ", r->h.closed ? "closed" : "open");
        break;
    case AUTH:
        if (!span_eq(buf_span(&r->auth), buf_span(&it->text)))
            bad(r->d, it->line, "other credentials", "");
        break;
    case CLIENT:
    case ANSWER:
    case SYNC:
    case TLS_FAILS:
        break;
    }
}

static bool waits_after(const struct item *it)
{
    struct span s = buf_span(&it->text);
    return it->kind == SYNC ||
           (it->kind == CLIENT && (span_eq_nocase(span_of(s.p, s.n < 4 ? s.n : 4), SPAN_LIT("EHLO")) ||
                                   span_eq_nocase(span_of(s.p, s.n < 4 ? s.n : 4), SPAN_LIT("HELO")) ||
                                   span_eq_nocase(span_of(s.p, s.n < 8 ? s.n : 8), SPAN_LIT("STARTTLS"))));
}

/* Where the group of client lines that begins at i ends: what is sent before the replies are looked at. */
static size_t group_end(const struct dialog *d, size_t i, enum mode mode)
{
    for (; i < d->n; i++) {
        enum item_kind k = d->items[i].kind;
        if (mode != AHEAD && k != CLIENT && k != ANSWER && k != TLS_FAILS)
            return i;
        if (k == OPEN || k == AUTH) /* to be looked at before more is sent */
            return i;
        if (mode == AHEAD && waits_after(&d->items[i]))
            return i + 1;
    }
    return d->n;
}

static size_t send_group(struct run *r, size_t i, enum mode mode)
{
    struct buf out;
    buf_init(&out, 1u << 24);
    size_t end = group_end(r->d, i, mode);
    uint64_t at = r->h.offset + r->h.unread.len;
    for (size_t k = i; k < end; k++) {
        struct item *it = &r->d->items[k];
        if (it->kind == TLS_FAILS)
            r->h.tls_fails = true;
        if (it->kind != CLIENT)
            continue;
        it->from = at + out.len;
        for (unsigned t = 0; t < it->times; t++)
            buf_put_span(&out, buf_span(&it->text));
        it->to = at + out.len;
    }
    assert_int_equal(buf_err(&out), 0);
    if (mode == BYTES) {
        for (size_t k = 0; k < out.len; k++)
            harness_feed(&r->h, out.data + k, 1);
    } else if (out.len > 0) {
        harness_feed(&r->h, out.data, out.len);
    }
    buf_fini(&out);
    return end;
}

static void dialog_run(struct dialog *d, enum mode mode)
{
    struct run r = { .d = d };
    buf_init(&r.auth, 1u << 16);
    for (size_t i = 0; i < d->n; i++)
        d->items[i].from = d->items[i].to = 0;
    harness_init(&r.h, &d->config);
    r.h.answer = answer;
    r.h.content = content;
    r.h.ctx = &r;
    if (d->early)
        smtp_server_greet_early(r.h.s);
    else
        smtp_server_greet(r.h.s, d->refusal.code == 0 ? NULL : &d->refusal);
    harness_feed(&r.h, "", 0);
    size_t sent = 0;
    for (size_t i = 0; i < d->n; i++) {
        if (i >= sent &&
            (d->items[i].kind == CLIENT || d->items[i].kind == ANSWER || d->items[i].kind == TLS_FAILS))
            sent = send_group(&r, i, mode);
        check(&r, &d->items[i]);
    }
    if (r.reply_at != r.h.reply.len)
        bad(d, 0, "replies left over: ", r.h.reply.data + r.reply_at);
    harness_check_replies(&r.h);
    buf_fini(&r.auth);
    harness_fini(&r.h);
}

static void run_file(void **state)
{
    struct dialog *d = dialog_load(*state);
    for (int m = WHOLE; m <= AHEAD; m++) {
        if (!d->modes[m])
            continue;
        dialog_run(d, (enum mode)m);
    }
    dialog_free(d);
}

int main(void)
{
    static struct CMUnitTest tests[DIALOGS_MAX];
    size_t n = 0;
    const char *folder = TEST_SOURCE_DIR "/dialogs";
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return 1;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (fnmatch("*.dialog", e->d_name, 0) != 0 || n == DIALOGS_MAX)
            continue;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        char *kept = strdup(path);
        tests[n++] = (struct CMUnitTest){ .name = strrchr(kept, '/') + 1,
                                          .test_func = run_file,
                                          .initial_state = kept };
    }
    closedir(dir);
    int failed = n < 20 ? 1 : _cmocka_run_group_tests("dialogs", tests, n, NULL, NULL);
    for (size_t i = 0; i < n; i++)
        free(tests[i].initial_state);
    return failed;
}
