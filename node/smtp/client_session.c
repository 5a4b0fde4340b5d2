/* The SMTP client machine from the greeting to the first MAIL, and QUIT: EHLO or HELO, STARTTLS, AUTH. A
 * failure here is one of the session, not of a message. Runs on the session's thread.
 */
#include "node/smtp/client_impl.h"

#include "base/base64.h"
#include "base/ensure.h"

static bool is_class(const struct smtp_client *c, unsigned class)
{
    return c->parser.reply.code / 100 == class;
}

static void fail_local(struct smtp_client *c, enum smtp_client_stage stage, const char *enhanced,
                       const char *text)
{
    struct smtp_client_result r;
    smtp_result_local(&r, SMTP_CLIENT_TEMPORARY, stage, 451, enhanced, "%s", text);
    buf_put_str(c->out, "QUIT\r\n");
    smtp_client_end(c, &r);
}

static void send_line(struct smtp_client *c, enum state state, enum smtp_client_stage stage, const char *verb,
                      const char *argument)
{
    buf_put_str(c->out, verb);
    buf_put_str(c->out, argument);
    buf_put_str(c->out, "\r\n");
    smtp_client_sent(c, state, stage);
}

static void send_ehlo(struct smtp_client *c)
{
    c->caps =
        (struct smtp_capabilities){ 0 }; /* RFC 3207 section 4.2: what was said before TLS is forgotten */
    send_line(c, STATE_EHLO, SMTP_CLIENT_STAGE_EHLO, "EHLO ", c->config.ehlo_name);
}

static void ready(struct smtp_client *c)
{
    c->state = STATE_READY;
    c->stage = SMTP_CLIENT_STAGE_MAIL;
    c->want = SMTP_CLIENT_WANT_MAIL;
    c->progress++;
}

void smtp_client_on_banner(struct smtp_client *c)
{
    smtp_reply_text_copy(&c->banner, &c->parser.reply);
    if (is_class(c, 2))
        send_ehlo(c);
    else if (is_class(c, 3))
        smtp_client_end_protocol(c, "unexpected reply");
    else
        smtp_client_end_reply(c); /* 5xx too: "not by this host" says nothing of the next MX */
}

static void start_auth(struct smtp_client *c)
{
    if (c->config.auth_user == NULL) {
        ready(c);
    } else if (!c->tls_active && !c->config.auth_without_tls) {
        fail_local(c, SMTP_CLIENT_STAGE_AUTH, "4.7.4", "no TLS with this server: the password is not sent");
    } else if ((c->caps.bits & CAP_AUTH_PLAIN) != 0) {
        smtp_client_put_auth_plain(c);
        smtp_client_sent(c, STATE_AUTH_PLAIN, SMTP_CLIENT_STAGE_AUTH);
    } else if ((c->caps.bits & CAP_AUTH_LOGIN) != 0) {
        send_line(c, STATE_AUTH_LOGIN, SMTP_CLIENT_STAGE_AUTH, "AUTH LOGIN", "");
    } else {
        fail_local(c, SMTP_CLIENT_STAGE_AUTH, "4.7.0", "the server offers neither AUTH PLAIN nor AUTH LOGIN");
    }
}

static void after_ehlo(struct smtp_client *c)
{
    bool wanted = !c->tls_active && !c->starttls_refused && c->config.tls != SMTP_CLIENT_TLS_NONE;
    if (wanted && (c->caps.bits & CAP_STARTTLS) != 0)
        send_line(c, STATE_STARTTLS, SMTP_CLIENT_STAGE_TLS, "STARTTLS", "");
    else if (wanted && c->config.tls == SMTP_CLIENT_TLS_REQUIRED)
        fail_local(c, SMTP_CLIENT_STAGE_TLS, "4.7.4",
                   "TLS is required, but the server does not offer STARTTLS");
    else
        start_auth(c);
}

void smtp_client_on_ehlo(struct smtp_client *c)
{
    if (is_class(c, 2))
        after_ehlo(c);
    else if (is_class(c, 3))
        smtp_client_end_protocol(c, "unexpected reply");
    else if (c->state == STATE_EHLO && is_class(c, 5)) {
        /* RFC 5321 section 3.2: a server that does not know EHLO */
        c->caps = (struct smtp_capabilities){ 0 };
        send_line(c, STATE_HELO, SMTP_CLIENT_STAGE_EHLO, "HELO ", c->config.ehlo_name);
    } else
        smtp_client_end_reply(c);
}

void smtp_client_on_starttls(struct smtp_client *c)
{
    if (c->parser.reply.code == 220) {
        c->state = STATE_TLS;
        c->want = SMTP_CLIENT_WANT_TLS;
        c->progress++;
    } else if (is_class(c, 2) || is_class(c, 3)) {
        smtp_client_end_protocol(c, "unexpected reply");
    } else if (c->config.tls == SMTP_CLIENT_TLS_OPPORTUNISTIC) {
        c->starttls_refused = true; /* plain text, on this connection */
        after_ehlo(c);
    } else {
        smtp_client_end_reply(c);
    }
}

void smtp_client_on_tls(struct smtp_client *c, bool ok, const char *why)
{
    if (c->want == SMTP_CLIENT_WANT_CLOSE)
        return;
    ensure(c->want == SMTP_CLIENT_WANT_TLS);
    if (!ok) {
        struct smtp_client_result r;
        c->retry_plain = c->config.tls == SMTP_CLIENT_TLS_OPPORTUNISTIC;
        smtp_result_local(&r, SMTP_CLIENT_TEMPORARY, SMTP_CLIENT_STAGE_TLS, 451, "4.7.5",
                          "TLS handshake failed: %s", why);
        smtp_client_end(c, &r);
        return;
    }
    c->tls_active = true;
    if (c->config.tls == SMTP_CLIENT_TLS_WRAPPED)
        smtp_client_sent(c, STATE_BANNER, SMTP_CLIENT_STAGE_BANNER);
    else
        send_ehlo(c);
}

void smtp_client_on_auth(struct smtp_client *c)
{
    bool asks = c->parser.reply.code == 334;
    if (is_class(c, 2)) {
        ready(c);
    } else if (asks && c->state == STATE_AUTH_LOGIN) {
        base64_put(c->out, c->config.auth_user, strlen(c->config.auth_user));
        send_line(c, STATE_AUTH_USER, SMTP_CLIENT_STAGE_AUTH, "", "");
    } else if (asks && c->state == STATE_AUTH_USER) {
        base64_put(c->out, c->config.auth_password, strlen(c->config.auth_password));
        send_line(c, STATE_AUTH_PASSWORD, SMTP_CLIENT_STAGE_AUTH, "", "");
    } else if (is_class(c, 3)) {
        smtp_client_end_protocol(c, "unexpected reply");
    } else {
        smtp_client_end_reply(c);
    }
}

void smtp_client_quit(struct smtp_client *c)
{
    if (c->want == SMTP_CLIENT_WANT_CLOSE)
        return;
    ensure(c->want == SMTP_CLIENT_WANT_MAIL);
    send_line(c, STATE_QUIT, SMTP_CLIENT_STAGE_QUIT, "QUIT", "");
}

/* Whatever it says. */
void smtp_client_on_quit(struct smtp_client *c)
{
    c->state = STATE_CLOSED;
    c->want = SMTP_CLIENT_WANT_CLOSE;
}
