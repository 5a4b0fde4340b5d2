/* Writes one delivery report to standard output; check_dsn.py reads it with another parser. A sample is
 * chosen by words: ACTION.. (failed delayed delivered relayed expanded, one recipient each), full, cap (the
 * content is over the limit), utf8 (addresses), utf8-original, 8bit, local, many (10000 recipients), nasty
 * (octets that could forge a field or a boundary), bare (no optional value), null-reader.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ensure.h"
#include "node/mail/dsn.h"

static const char content[] = "Received: from x by y; z\r\nFrom: s@t.test\r\nSubject: original\r\n\r\n"
                              "body line\r\n--=_not the boundary\r\nlast line";
enum { HEADER = 63 };

struct reader {
    size_t at, blocks;
};

static int read_some(void *ctx, const char **p, size_t *n)
{
    struct reader *r = ctx;
    size_t left = sizeof content - 1 - r->at;
    *p = content + r->at;
    *n = left < 10 ? left : 10;
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

static void choose(const char *word, struct mail_dsn *d, struct envelope *e)
{
    struct mail_dsn_rcpt *first = &rcpts[0];
    for (int a = MAIL_DSN_FAILED; a <= MAIL_DSN_EXPANDED; a++)
        if (strcmp(word, mail_dsn_action_name((enum mail_dsn_action)a)) == 0)
            fill(&rcpts[d->nrcpts++], (enum mail_dsn_action)a);
    if (strcmp(word, "full") == 0) {
        d->full = true;
    } else if (strcmp(word, "cap") == 0) {
        d->full_max_bytes = sizeof content - 2;
    } else if (strcmp(word, "utf8") == 0) {
        first->address = SPAN_LIT("j\xc3\xbcrgen@b.test");
        first->orcpt = SPAN_LIT("utf-8;j\xc3\xbcrgen@b.test");
        e->mail_from = SPAN_LIT("\xc3\xa9@t.test");
    } else if (strcmp(word, "utf8-original") == 0) {
        e->flags |= ENVELOPE_SMTPUTF8;
    } else if (strcmp(word, "8bit") == 0) {
        e->flags |= ENVELOPE_BODY_IS_8BIT;
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
                          .size = sizeof content - 1,
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
    ensure(memcmp(content + HEADER - 4, "\r\n\r\n", 4) == 0);
    for (int i = 1; i < argc; i++) {
        choose(argv[i], &d, &e);
        read = read && strcmp(argv[i], "null-reader") != 0;
    }
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
