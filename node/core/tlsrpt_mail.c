/* TLS reports as messages. Any thread. */
#include "node/core/tlsrpt_mail.h"

#include "base/base64.h"
#include "base/err.h"
#include "node/mail/date.h"

#include <isa-l/igzip_lib.h>
#include <stdlib.h>

#define LINE_BYTES 57 /* 76 characters of base64 */

int tlsrpt_gzip(struct span json, struct buf *out)
{
    struct isal_zstream z;
    size_t room = json.n + json.n / 1000 * 5 + 1024;
    int err = buf_reserve(out, room);
    if (err != 0)
        return err;
    isal_deflate_stateless_init(&z);
    z.gzip_flag = IGZIP_GZIP;
    z.end_of_stream = 1;
    z.next_in = (uint8_t *)(uintptr_t)json.p;
    z.avail_in = (uint32_t)json.n;
    z.next_out = (uint8_t *)out->data + out->len;
    z.avail_out = (uint32_t)room;
    if (isal_deflate_stateless(&z) != COMP_OK)
        return ERR_FAILED;
    out->len += z.total_out;
    return 0;
}

static void put_base64(struct buf *out, struct span s)
{
    while (s.n > 0) {
        size_t n = s.n < LINE_BYTES ? s.n : LINE_BYTES;
        base64_put(out, s.p, n);
        buf_put_str(out, "\r\n");
        s = span_sub(s, n);
    }
}

int tlsrpt_mail_put(const struct tlsrpt_mail *m, struct buf *out, uint32_t *header_bytes)
{
    char date[MAIL_DATE_TEXT];
    struct buf gz;
    buf_init(&gz, m->json.n + m->json.n / 1000 * 5 + 1024);
    int err = tlsrpt_gzip(m->json, &gz);
    if (err != 0) {
        buf_fini(&gz);
        return err;
    }
    long long begin = (long long)m->day * 86400;
    mail_date_format(m->now_ms, 0, date);
    size_t from = out->len;
    buf_printf(out, "From: TLS reports <%s>\r\nTo: <%s>\r\nDate: %s\r\nMessage-ID: %s\r\n", m->from, m->to,
               date, m->message_id);
    buf_printf(out, "Subject: Report Domain: %s\r\n Submitter: %s\r\n Report-ID: <%s>\r\n", m->domain,
               m->submitter, m->report_id);
    buf_printf(out, "TLS-Report-Domain: %s\r\nTLS-Report-Submitter: %s\r\n", m->domain, m->submitter);
    buf_put_str(out,
                "Auto-Submitted: auto-generated\r\nTLS-Required: No\r\nMIME-Version: 1.0\r\n"
                "Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=\"=_tlsrpt_=\"\r\n\r\n");
    *header_bytes = (uint32_t)(out->len - from);
    buf_printf(out,
               "--=_tlsrpt_=\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
               "This is the report of %s about its TLS connections to the mail hosts of\r\n%s within one day "
               "(RFC 8460).\r\n\r\n",
               m->submitter, m->domain);
    buf_printf(
        out,
        "--=_tlsrpt_=\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n"
        "Content-Disposition: attachment;\r\n filename=\"%s!%s!%lld!%lld.json.gz\"\r\n\r\n",
        m->submitter, m->domain, begin, begin + 86399);
    put_base64(out, buf_span(&gz));
    buf_put_str(out, "\r\n--=_tlsrpt_=--\r\n");
    buf_fini(&gz);
    return buf_err(out);
}
