/* Writes one delivery report to standard output; check_dsn.py reads it with another parser. A sample is
 * chosen by words: ACTION.. (failed delayed delivered relayed expanded, one recipient each), full, cap (the
 * content is over the limit), utf8 (addresses), utf8-rcpt (the sender's address in ASCII), utf8-orcpt,
 * utf8-typed (an ORCPT of the type rfc822), utf8-reply, utf8-id, utf8-original, utf8-big (in large blocks),
 * 8bit, local, many (10000 recipients), nasty (octets that could forge a field or a boundary), long (no blank
 * anywhere), bare (no optional value), null-reader.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ensure.h"
#include "node/mail/dsn.h"

static const char ascii[] = "Received: from x by y; z\r\nFrom: s@t.test\r\nSubject: original\r\n\r\n"
                            "body line\r\n--=_not the boundary\r\nlast line";
static const char utf8[] = "Received: from x by y; z\r\nFrom: s@t.test\r\nSubject: \xc3\xbcrig!!!\r\n\r\n"
                           "body l\xc3\xafne\r\n--=_not the boundary\r\nlast line";
static const char eight_bit[] = "Received: from x by y; z\r\nFrom: s@t.test\r\nSubject: original\r\n\r\n"
                                "body l\xefne\r\n--=_not the boundary\r\nlast line";
static struct span content = { ascii, sizeof ascii - 1 };
enum { HEADER = 63 };

static char big[100003];
static size_t block_max = 10;

struct reader {
    size_t at, blocks;
};

static int read_some(void *ctx, const char **p, size_t *n)
{
    struct reader *r = ctx;
    size_t left = content.n - r->at;
    *p = content.p + r->at;
    *n = left < block_max ? left : block_max;
    r->at += *n;
    r->blocks++;
    return 0;
}

static struct mail_dsn_rcpt rcpts[10000];

static void fill(struct mail_dsn_rcpt *r, enum mail_dsn_action action)
{
    *r = (struct mail_dsn_rcpt){ .address = SPAN_LIT("a@b.test"),
                                 .orcpt = SPAN_LIT("rfc822;orig+x@b.test"),
                                 .action = action,
                                 .status = { 5, 1, 1 },
                                 .diagnostic =
                                     SPAN_LIT("550 5.1.1 <a@b.test>: Recipient address rejected: User "
                                              "unknown in virtual mailbox table of this server"),
                                 .remote_mta = SPAN_LIT("mx.b.test"),
                                 .last_attempt_ms = 1795295055000 };
    if (action == MAIL_DSN_DELAYED) {
        r->status[0] = 4;
        r->retry_until_ms = 1795395055000;
    } else if (action != MAIL_DSN_FAILED) {
        memcpy(r->status, (uint8_t[]){ 2, 0, 0 }, 3);
        r->diagnostic = SPAN_LIT("250 2.0.0 ok");
    }
}

static void choose_utf8(const char *what, struct mail_dsn_rcpt *first, struct envelope *e)
{
    if (strcmp(what, "big") == 0) {
        memcpy(big, utf8, sizeof utf8 - 1);
        for (size_t i = sizeof utf8 - 1; i < sizeof big; i++)
            big[i] = (char)(i * 31 >> 3);
        e->flags |= ENVELOPE_SMTPUTF8;
        content = span_of(big, sizeof big);
        block_max = 40000;
    } else if (strcmp(what, "rcpt") == 0) {
        first->address = SPAN_LIT("j\xc3\xbcrg+en@b.test");
        e->flags |= ENVELOPE_SMTPUTF8;
    } else if (strcmp(what, "orcpt") == 0) {
        first->orcpt = SPAN_LIT("UTF-8;\"\xf0\x9f\x98\x80 a\\=+\"@b.test");
    } else if (strcmp(what, "typed") == 0) {
        first->orcpt = SPAN_LIT("rfc822;\xc7\xbf@b.test");
    } else if (strcmp(what, "reply") == 0) {
        first->diagnostic =
            SPAN_LIT("550 5.1.1 Empf\xc3\xa4nger unbekannt: \xe5\xae\x9b \xff \xc2\x85 A\\b=c, "
                     "und noch viel mehr dazu, damit die Zeile gebrochen wird ");
    } else if (strcmp(what, "id") == 0) {
        e->message_id = SPAN_LIT("<\xc3\xa9@t.test>");
    } else if (strcmp(what, "original") == 0) {
        e->flags |= ENVELOPE_SMTPUTF8;
        content = span_str(utf8);
    }
}

static char long_text[3000];

static void choose(const char *word, struct mail_dsn *d, struct envelope *e)
{
    struct mail_dsn_rcpt *first = &rcpts[0];
    for (int a = MAIL_DSN_FAILED; a <= MAIL_DSN_EXPANDED; a++)
        if (strcmp(word, mail_dsn_action_name((enum mail_dsn_action)a)) == 0)
            fill(&rcpts[d->nrcpts++], (enum mail_dsn_action)a);
    if (strcmp(word, "full") == 0) {
        d->full = true;
    } else if (strcmp(word, "cap") == 0) {
        d->full_max_bytes = content.n - 1;
    } else if (strcmp(word, "utf8") == 0) {
        first->address = SPAN_LIT("j\xc3\xbcrgen@b.test");
        first->orcpt = SPAN_LIT("utf-8;j\xc3\xbcrgen@b.test");
        e->mail_from = SPAN_LIT("\xc3\xa9@t.test");
    } else if (strncmp(word, "utf8-", 5) == 0) {
        choose_utf8(word + 5, first, e);
    } else if (strcmp(word, "8bit") == 0) {
        e->flags |= ENVELOPE_BODY_IS_8BIT;
        content = span_str(eight_bit);
    } else if (strcmp(word, "long") == 0) {
        memset(long_text, '+', sizeof long_text);
        for (size_t i = 1; i + 1 < sizeof long_text; i += 3)
            memcpy(long_text + i, "\xc3\xbc", 2);
        first->diagnostic = first->address = first->remote_mta = span_of(long_text, sizeof long_text);
        memcpy(long_text, "utf-8;", 6);
        first->orcpt = first->address;
    } else if (strcmp(word, "local") == 0) {
        first->diagnostic_local = true;
        first->diagnostic = SPAN_LIT("connection timed out");
    } else if (strcmp(word, "many") == 0) {
        for (d->nrcpts = 0; d->nrcpts < 10000; d->nrcpts++)
            fill(&rcpts[d->nrcpts], MAIL_DSN_FAILED);
    } else if (strcmp(word, "nasty") == 0) {
        first->diagnostic =
            SPAN_LIT("550 a\r\nAction: delivered\r\n\r\n--=_0123456789abcdef\r\n\x1b\0\xff\xc3\xa9");
        first->remote_mta = SPAN_LIT("mx\r\nX: y");
        first->orcpt = SPAN_LIT("rfc822;x\r\n\r\ny");
        e->envid = SPAN_LIT("e\r\nf");
        e->message_id = SPAN_LIT("<x\r\nBcc: z@q.test>");
    } else if (strcmp(word, "bare") == 0) {
        *first = (struct mail_dsn_rcpt){ .address = SPAN_LIT("a@b.test"),
                                         .action = MAIL_DSN_FAILED,
                                         .status = { 5 } };
        e->envid = e->message_id = d->queue_id = d->postmaster = (struct span){ "", 0 };
    }
}

int main(int argc, char **argv)
{
    struct envelope e = { .id = 77,
                          .arrival_ms = 1795290000000,
                          .header_bytes = HEADER,
                          .mail_from = SPAN_LIT("s@t.test"),
                          .envid = SPAN_LIT("env=1"),
                          .message_id = SPAN_LIT("<orig@t.test>") };
    struct mail_dsn d = { .original = &e,
                          .rcpts = rcpts,
                          .reporting_mta = SPAN_LIT("out.test"),
                          .message_id = SPAN_LIT("<report@out.test>"),
                          .postmaster = SPAN_LIT("postmaster@t.test"),
                          .queue_id = SPAN_LIT("000000000002D"),
                          .wall_ms = 1795295056000,
                          .full_max_bytes = 1 << 20,
                          .nonce = 0x0123456789abcdef };
    struct reader reader = { 0 };
    struct mail_dsn_builder b;
    struct buf out;
    bool read = true;
    int more = 1;
    for (int i = 1; i < argc; i++) {
        choose(argv[i], &d, &e);
        read = read && strcmp(argv[i], "null-reader") != 0;
    }
    e.size = content.n;
    ensure(memcmp(content.p + HEADER - 4, "\r\n\r\n", 4) == 0);
    buf_init(&out, 32768); /* no step may need more */
    mail_dsn_start(&b, &d, read ? read_some : NULL, &reader);
    while (more == 1) {
        more = mail_dsn_next(&b, &out);
        ensure(more >= 0);
        fwrite(out.data, 1, out.len, stdout);
        buf_reset(&out);
    }
    ensure(mail_dsn_next(&b, &out) == 0);
    ensure(d.full || reader.blocks <= HEADER / 10 + 1);
    fprintf(stderr, "%s%s\n", mail_dsn_is_8bit(&d) ? "8bit " : "", mail_dsn_is_utf8(&d) ? "utf8" : "");
    buf_fini(&out);
    return 0;
}
