/* Builds a delivery report part by part: multipart/report of the text for people, the fields for programs,
 * and the original or its header. Holds nothing of the content. Runs on whichever thread delivers.
 */
#include "node/mail/dsn.h"

#include "base/ensure.h"
#include "base/text.h"
#include "node/mail/date.h"
#include "node/mail/dsn_impl.h"

/* Recipients' texts are added until this much lies in the buffer; SLICE is what is encoded of the content in
 * one step. */
enum { ENOUGH = 20480, SLICE = 16384 };

bool mail_dsn_is_utf8(const struct mail_dsn *d)
{
    return mail_dsn_text_utf8(d->original->mail_from);
}

/* Its header is in UTF-8, or may be: our own Received field has the recipient. */
static bool original_utf8(const struct mail_dsn *d)
{
    return (d->original->flags & ENVELOPE_SMTPUTF8) != 0;
}

static bool original_8bit(const struct mail_dsn *d)
{
    return (d->original->flags & ENVELOPE_BODY_IS_8BIT) != 0 || d->original->body == ENVELOPE_BODY_8BITMIME;
}

bool mail_dsn_is_8bit(const struct mail_dsn *d)
{
    return mail_dsn_is_utf8(d) || (original_8bit(d) && !original_utf8(d));
}

/* The text for people has characters that ASCII has not. */
static bool text_shows_utf8(const struct mail_dsn *d)
{
    bool shows = mail_dsn_text_shows_utf8(d->reporting_mta) || mail_dsn_text_shows_utf8(d->postmaster) ||
                 mail_dsn_text_shows_utf8(d->original->message_id);
    for (uint32_t i = 0; i < d->nrcpts && !shows; i++)
        shows = mail_dsn_text_shows_utf8(d->rcpts[i].address) ||
                mail_dsn_text_shows_utf8(d->rcpts[i].diagnostic) ||
                mail_dsn_text_shows_utf8(d->rcpts[i].remote_mta);
    return shows;
}

static bool is_full(const struct mail_dsn *d)
{
    return d->full && mail_dsn_has(d, MAIL_DSN_FAILED) && d->original->size <= d->full_max_bytes;
}

void mail_dsn_start(struct mail_dsn_builder *b, const struct mail_dsn *dsn, mail_dsn_read_fn *read,
                    void *read_ctx)
{
    ensure(dsn->nrcpts > 0);
    *b = (struct mail_dsn_builder){ .dsn = dsn, .read = read, .read_ctx = read_ctx, .phase = MAIL_DSN_HEAD };
    b->utf8 = mail_dsn_is_utf8(dsn);
    b->quoted = !b->utf8 && text_shows_utf8(dsn);
    b->full = is_full(dsn);
    b->left = b->full ? dsn->original->size : dsn->original->header_bytes;
}

static void put_boundary(const struct mail_dsn_builder *b, struct buf *out, const char *end)
{
    buf_printf(out, "--=_%016llx%s\r\n", (unsigned long long)b->dsn->nonce, end);
}

static const char *encoding(bool eight_bit)
{
    return eight_bit ? "Content-Transfer-Encoding: 8bit\r\n" : "";
}

static enum mail_dsn_form status_form(const struct mail_dsn_builder *b)
{
    return b->utf8 ? MAIL_DSN_UTF8 : MAIL_DSN_ESCAPED;
}

/* Text for people: about this recipient, or what stands above all of them. */
static void put_text(const struct mail_dsn_builder *b, struct buf *out, const struct mail_dsn_rcpt *rcpt)
{
    struct buf text, *to = b->quoted ? &text : out;
    buf_init(&text, out->max);
    if (rcpt == NULL)
        mail_dsn_put_intro(to, b->dsn);
    else
        mail_dsn_put_person(to, rcpt);
    if (b->quoted)
        mail_dsn_put_quoted(out, buf_span(&text));
    if (buf_err(&text) != 0 && out->err == 0)
        out->err = buf_err(&text);
    buf_fini(&text);
}

static void put_text_head(const struct mail_dsn_builder *b, struct buf *out)
{
    buf_put_str(out, "Content-Description: Notification\r\nContent-Type: text/plain; charset=");
    buf_put_str(out, b->utf8 || b->quoted ? "utf-8\r\n" : "us-ascii\r\n");
    buf_put_str(out, b->quoted ? "Content-Transfer-Encoding: quoted-printable\r\n" : encoding(b->utf8));
    buf_put_str(out, "\r\n");
    put_text(b, out, NULL);
}

static void put_head(const struct mail_dsn_builder *b, struct buf *out)
{
    const struct mail_dsn *d = b->dsn;
    enum mail_dsn_form form = b->utf8 ? MAIL_DSN_UTF8 : MAIL_DSN_ASCII;
    struct span about = d->original->message_id;
    char date[MAIL_DATE_TEXT];
    mail_date_format(d->wall_ms, 0, date);
    buf_put_str(out, "Date: ");
    buf_put_str(out, date);
    buf_put_str(out, "\r\nFrom: Mail Delivery System <MAILER-DAEMON@");
    mail_dsn_put_plain(out, d->reporting_mta, form);
    buf_put_str(out, ">\r\nTo: <");
    mail_dsn_put_plain(out, d->original->mail_from, form);
    buf_put_str(out, ">\r\nSubject: ");
    buf_put_str(out, mail_dsn_subject(d));
    buf_put_str(out, "\r\nMessage-ID: ");
    mail_dsn_put_plain(out, d->message_id, form);
    /* an id in UTF-8 has no other form: a changed one would refer to nothing */
    if (about.n > 0 && about.n < 900 && (b->utf8 || text_ascii(about))) {
        buf_put_str(out, "\r\nReferences: ");
        mail_dsn_put_plain(out, about, form);
    }
    /* RFC 3834 section 5: nothing may answer this by itself */
    buf_put_str(out, "\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    buf_put_str(out, encoding(mail_dsn_is_8bit(d)));
    buf_printf(
        out,
        "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"=_%016llx\"\r\n\r\n",
        (unsigned long long)d->nonce);
    buf_put_str(out, "This is a delivery report in MIME format.\r\n\r\n");
    put_boundary(b, out, "");
    put_text_head(b, out);
}

static void put_status_head(const struct mail_dsn_builder *b, struct buf *out)
{
    buf_put_str(out, "\r\n");
    put_boundary(b, out, "");
    buf_put_str(out, "Content-Description: Delivery report\r\nContent-Type: message/");
    buf_put_str(out, b->utf8 ? "global-delivery-status\r\n" : "delivery-status\r\n");
    buf_put_str(out, encoding(b->utf8));
    mail_dsn_put_message_fields(out, b->dsn, status_form(b));
}

static bool original_encoded(const struct mail_dsn_builder *b)
{
    return original_utf8(b->dsn) && !b->utf8;
}

/* RFC 6533 section 4: message/global where the original itself is in UTF-8. RFC 6532 section 3.7: unlike any
 * other message, it may be encoded where it must pass through 7 bits. */
static void put_original_head(const struct mail_dsn_builder *b, struct buf *out)
{
    bool global = original_utf8(b->dsn);
    const char *type = b->full ? (global ? "message/global" : "message/rfc822")
                               : (global ? "message/global-headers" : "text/rfc822-headers");
    buf_put_str(out, "\r\n");
    put_boundary(b, out, "");
    buf_put_str(out, b->full ? "Content-Description: Undelivered message\r\n"
                             : "Content-Description: Header of the message\r\n");
    buf_printf(out, "Content-Type: %s\r\n%s\r\n", type,
               original_encoded(b) ? "Content-Transfer-Encoding: base64\r\n"
                                   : encoding(global || original_8bit(b->dsn)));
}

/* The recipients twice: for people, then for programs; `rcpt` counts through both. */
static void put_rcpts(struct mail_dsn_builder *b, struct buf *out)
{
    uint32_t n = b->dsn->nrcpts;
    size_t from = out->len;
    while (b->rcpt < 2 * n && out->len - from < ENOUGH && buf_err(out) == 0) {
        if (b->rcpt < n) {
            put_text(b, out, &b->dsn->rcpts[b->rcpt++]);
            continue;
        }
        if (b->rcpt == n)
            put_status_head(b, out);
        mail_dsn_put_rcpt_fields(out, &b->dsn->rcpts[b->rcpt++ - n], status_form(b));
    }
    if (b->rcpt == 2 * n)
        b->phase = b->read != NULL && b->left > 0 ? MAIL_DSN_ORIGINAL : MAIL_DSN_TAIL;
}

static int put_content(struct mail_dsn_builder *b, struct buf *out)
{
    if (b->block.n == 0) {
        int err = b->read(b->read_ctx, &b->block.p, &b->block.n);
        if (err != 0)
            return err;
        if (b->block.n > b->left)
            b->block.n = (size_t)b->left;
        b->left -= b->block.n;
    }
    bool end = b->block.n == 0;
    bool encoded = original_encoded(b);
    struct span part = b->block;
    if (encoded && part.n > SLICE)
        part.n = SLICE;
    b->block = span_sub(b->block, part.n);
    end = end || (b->block.n == 0 && b->left == 0);
    if (encoded)
        mail_dsn_put_base64(out, &b->base64, part);
    else
        buf_put_span(out, part);
    if (end) {
        mail_dsn_put_base64_end(out, &b->base64);
        b->phase = MAIL_DSN_TAIL;
    }
    return 0;
}

int mail_dsn_next(struct mail_dsn_builder *b, struct buf *out)
{
    int err = 0;
    switch (b->phase) {
    case MAIL_DSN_HEAD:
        put_head(b, out);
        b->phase = MAIL_DSN_RCPTS;
        break;
    case MAIL_DSN_RCPTS:
        put_rcpts(b, out);
        break;
    case MAIL_DSN_ORIGINAL:
        put_original_head(b, out);
        b->phase = MAIL_DSN_CONTENT;
        break;
    case MAIL_DSN_CONTENT:
        err = put_content(b, out);
        break;
    case MAIL_DSN_TAIL:
        buf_put_str(out, "\r\n");
        put_boundary(b, out, "--");
        b->phase = MAIL_DSN_END;
        break;
    case MAIL_DSN_END:
        return 0;
    }
    if (err == 0)
        err = buf_err(out);
    return err != 0 ? err : b->phase == MAIL_DSN_END ? 0 : 1;
}
