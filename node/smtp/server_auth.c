/* AUTH PLAIN and LOGIN (RFC 4954, RFC 4616): the exchange up to a name and a password. Whether they are right
 * is the shell's question to answer. What was a password is wiped. Pure.
 */
#include "base/ensure.h"
#include "base/text.h"
#include "node/smtp/base64.h"
#include "node/smtp/server_impl.h"

#include <stdlib.h>

#define NAME_MAX_BYTES 255 /* RFC 4616 section 2 */

static const struct smtp_reply no_memory = { 454, "4.7.0", "Temporary authentication failure" };

void smtpd_auth_end(struct smtp_server *s)
{
    if (s->auth == NULL)
        return;
    if (s->auth->secret != NULL)
        explicit_bzero(s->auth->secret, s->auth->secret_bytes);
    free(s->auth->secret);
    explicit_bzero(s->auth, sizeof *s->auth);
    free(s->auth);
    s->auth = NULL;
}

static void fail(struct smtp_server *s, const struct smtp_reply *reply)
{
    smtpd_auth_end(s);
    s->state = STATE_READY;
    smtpd_error(s, reply);
}

void smtpd_auth_too_long(struct smtp_server *s)
{
    fail(s, REPLY(500, "5.5.6", "Authentication exchange line is too long"));
}

static void ask(struct smtp_server *s, const char *challenge)
{
    s->state = STATE_AUTH;
    smtpd_reply(s, REPLY(334, NULL, challenge));
}

/* Names go into logs and look-ups: text without controls. Passwords may be any octets but NUL. */
static bool name_ok(struct span name)
{
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f ||
            ((unsigned char)name.p[i] == 0xc2 && i + 1 < name.n && (unsigned char)name.p[i + 1] < 0xa0))
            return false;
    return name.n <= NAME_MAX_BYTES && text_utf8_valid(name);
}

static void check(struct smtp_server *s)
{
    struct smtp_server_auth *f = &s->auth->fields;
    bool nul = f->password.n > 0 && memchr(f->password.p, '\0', f->password.n) != NULL;
    if (f->authcid.n == 0 || f->password.n == 0 || nul || !name_ok(f->authcid) || !name_ok(f->authzid)) {
        fail(s, REPLY(501, "5.5.2", "Malformed authentication response"));
        return;
    }
    s->state = STATE_READY;
    s->want = SMTP_SERVER_WANT_AUTH;
}

/* authzid NUL authcid NUL password */
static void plain(struct smtp_server *s, struct span message)
{
    struct smtp_server_auth *f = &s->auth->fields;
    const char *one = message.n == 0 ? NULL : memchr(message.p, '\0', message.n);
    struct span rest = one == NULL ? (struct span){ 0 } : span_sub(message, (size_t)(one + 1 - message.p));
    const char *two = rest.n == 0 ? NULL : memchr(rest.p, '\0', rest.n);
    if (two == NULL) {
        fail(s, REPLY(501, "5.5.2", "Malformed authentication response"));
        return;
    }
    f->authzid = span_of(message.p, (size_t)(one - message.p));
    f->authcid = span_of(rest.p, (size_t)(two - rest.p));
    f->password = span_sub(rest, (size_t)(two + 1 - rest.p));
    check(s);
}

static void login_user(struct smtp_server *s, struct span name)
{
    struct server_auth *a = s->auth;
    if (name.n == 0 || name.n > NAME_MAX_BYTES) {
        fail(s, REPLY(501, "5.5.2", "Malformed user name"));
        return;
    }
    memcpy(a->user, name.p, name.n);
    a->fields.authcid = span_of(a->user, name.n);
    explicit_bzero(a->secret, a->secret_bytes); /* some clients send the password here */
    free(a->secret);
    a->secret = NULL;
    a->expect = AUTH_LOGIN_PASSWORD;
    ask(s, "UGFzc3dvcmQ6"); /* Password: */
}

static void response(struct smtp_server *s, struct span line)
{
    struct server_auth *a = s->auth;
    size_t n;
    if (line.n > SMTP_SERVER_AUTH_LINE_MAX) {
        smtpd_auth_too_long(s);
        return;
    }
    ensure(a->secret == NULL);
    a->secret_bytes = SMTP_BASE64_ROOM(line.n) + 1;
    a->secret = malloc(a->secret_bytes);
    if (a->secret == NULL) {
        fail(s, &no_memory);
        return;
    }
    if (smtp_base64_decode(line, a->secret, &n) != 0) {
        fail(s, REPLY(501, "5.5.2", "Invalid base64"));
        return;
    }
    switch (a->expect) {
    case AUTH_PLAIN:
        plain(s, span_of(a->secret, n));
        break;
    case AUTH_LOGIN_USER:
        login_user(s, span_of(a->secret, n));
        break;
    case AUTH_LOGIN_PASSWORD:
        a->fields.password = span_of(a->secret, n);
        check(s);
        break;
    }
}

void smtpd_auth_line(struct smtp_server *s, struct span line)
{
    if (span_eq(line, SPAN_LIT("*")))
        fail(s, REPLY(501, "5.7.0", "Authentication cancelled"));
    else
        response(s, line);
}

void smtpd_auth_begin(struct smtp_server *s, struct span args)
{
    size_t n = 0;
    while (n < args.n && args.p[n] != ' ')
        n++;
    struct span mechanism = span_of(args.p, n), initial = span_sub(args, n);
    while (initial.n > 0 && initial.p[0] == ' ')
        initial = span_sub(initial, 1);
    bool is_plain = span_eq_nocase(mechanism, SPAN_LIT("PLAIN"));
    if (!is_plain && !span_eq_nocase(mechanism, SPAN_LIT("LOGIN"))) {
        smtpd_error(s, REPLY(504, "5.5.4", "Unknown authentication mechanism"));
        return;
    }
    s->auth = calloc(1, sizeof *s->auth);
    if (s->auth == NULL) {
        smtpd_error(s, &no_memory);
        return;
    }
    s->auth->expect = is_plain ? AUTH_PLAIN : AUTH_LOGIN_USER;
    s->auth->fields.mechanism = is_plain ? SPAN_LIT("PLAIN") : SPAN_LIT("LOGIN");
    if (initial.n > 0)
        response(s, span_eq(initial, SPAN_LIT("=")) ? SPAN_LIT("") : initial);
    else
        ask(s, is_plain ? "" : "VXNlcm5hbWU6"); /* Username: */
}

void smtp_server_on_auth(struct smtp_server *s, const struct smtp_reply *refusal)
{
    bool due = smtpd_answer_due(s, SMTP_SERVER_WANT_AUTH);
    smtpd_auth_end(s);
    if (!due)
        return;
    if (smtpd_is_refusal(refusal)) {
        smtpd_error(s, refusal);
        return;
    }
    s->authenticated = true;
    smtpd_reply(s, refusal != NULL && refusal->code != 0 ? refusal
                                                         : REPLY(235, "2.7.0", "Authentication successful"));
}
