/* A message's envelope as packets for filters, each step after its macros: those that sendmail and Postfix
 * give by default, where they are known. See milter_session.h.
 */
#include "node/content/milter_session.h"

#include "base/err.h"

#include <stdio.h>

static struct span cut(struct span s)
{
    s.n = s.n < MILTER_VALUE_MAX ? s.n : MILTER_VALUE_MAX;
    return s;
}

static void put_macro(struct buf *data, const char *name, struct span value)
{
    if (value.n == 0)
        return;
    (void)milter_put_text(data, span_str(name));
    (void)milter_put_text(data, cut(value));
}

static void begin(struct buf *data, enum milter_command step)
{
    buf_init(data, MILTER_DATA_MAX);
    (void)buf_put_char(data, (char)step);
}

static void end(struct buf *out, enum milter_command command, struct buf *data)
{
    int err = buf_err(data);
    if (err == 0)
        err = milter_put(out, command, buf_span(data));
    if (out->err == 0)
        out->err = err;
    buf_fini(data);
}

static struct span domain_of(struct span address)
{
    const char *at = address.n == 0 ? NULL : memrchr(address.p, '@', address.n);
    return at == NULL ? (struct span){ "", 0 } : span_sub(address, (size_t)(at - address.p) + 1);
}

static void put_connect(struct buf *out, const struct milter_about *a)
{
    struct buf data;
    begin(&data, MILTER_CONNECT);
    put_macro(&data, "j", a->hostname);
    put_macro(&data, "_", a->client_name.n > 0 ? a->client_name : a->ip);
    put_macro(&data, "v", a->version);
    put_macro(&data, "{daemon_name}", a->daemon);
    put_macro(&data, "{client_addr}", a->ip);
    put_macro(&data, "{client_name}", a->client_name);
    end(out, MILTER_MACROS, &data);
    buf_init(&data, MILTER_DATA_MAX);
    if (a->client_name.n > 0)
        (void)buf_put_span(&data, cut(a->client_name));
    else
        (void)buf_printf(&data, "[%.*s]", (int)a->ip.n, a->ip.p);
    (void)buf_put_char(&data, '\0');
    (void)buf_put_char(&data, a->ip_v6 ? '6' : '4');
    (void)buf_put_char(&data, (char)(a->port >> 8));
    (void)buf_put_char(&data, (char)(a->port & 0xff));
    (void)milter_put_text(&data, cut(a->ip));
    end(out, MILTER_CONNECT, &data);
}

static void put_helo(struct buf *out, const struct milter_about *a)
{
    char bits[12];
    struct buf data;
    begin(&data, MILTER_HELO);
    snprintf(bits, sizeof bits, "%u", a->cipher_bits);
    put_macro(&data, "{tls_version}", a->tls_version);
    put_macro(&data, "{cipher}", a->cipher);
    if (a->cipher_bits > 0)
        put_macro(&data, "{cipher_bits}", span_str(bits));
    end(out, MILTER_MACROS, &data);
    buf_init(&data, MILTER_DATA_MAX);
    (void)milter_put_text(&data, cut(a->helo));
    end(out, MILTER_HELO, &data);
}

static void put_path(struct buf *out, enum milter_command command, struct span address)
{
    struct buf data;
    buf_init(&data, MILTER_DATA_MAX);
    (void)buf_put_char(&data, '<');
    (void)buf_put_span(&data, cut(address));
    (void)milter_put_text(&data, SPAN_LIT(">"));
    end(out, command, &data);
}

int milter_script_begin(struct buf *out, const struct milter_about *a)
{
    struct buf data;
    put_connect(out, a);
    put_helo(out, a);
    begin(&data, MILTER_MAIL);
    put_macro(&data, "i", a->queue_id);
    put_macro(&data, "{auth_type}", a->auth_type);
    put_macro(&data, "{auth_authen}", a->account);
    put_macro(&data, "{mail_addr}", a->mail_from);
    put_macro(&data, "{mail_host}", domain_of(a->mail_from));
    end(out, MILTER_MACROS, &data);
    put_path(out, MILTER_MAIL, a->mail_from);
    return buf_err(out);
}

int milter_script_rcpt(struct buf *out, struct span rcpt)
{
    struct buf data;
    begin(&data, MILTER_RCPT);
    put_macro(&data, "{rcpt_addr}", rcpt);
    put_macro(&data, "{rcpt_host}", domain_of(rcpt));
    end(out, MILTER_MACROS, &data);
    put_path(out, MILTER_RCPT, rcpt);
    return buf_err(out);
}

int milter_script_end(struct buf *out)
{
    int err = milter_put(out, MILTER_DATA, (struct span){ "", 0 });
    return err != 0 ? err : buf_err(out);
}
