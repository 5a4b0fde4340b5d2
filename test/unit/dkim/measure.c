/* Signatures a second of one thread: of the signing alone, and of messages with a body of 4 KiB. Seconds to
 * run may be given. */
#include "base/clock.h"
#include "base/ensure.h"
#include "node/dkim/sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char *const names[] = { "From", "To", "Subject", "Date", "Message-ID" };

/* As openssl speed counts: other programs may be busy at the same time. */
static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void message(const struct dkim_signature *with, uint32_t n, struct span body)
{
    static const struct dkim_style style = { .header = DKIM_RELAXED,
                                             .body = DKIM_RELAXED,
                                             .names = names,
                                             .nnames = 5,
                                             .oversigned = names,
                                             .noversigned = 5 };
    static const char header[] = "From: a@example.com\r\nTo: b@example.org\r\nSubject: hello\r\n"
                                 "Date: Sun, 22 Nov 2026 07:05:12 +0000\r\nMessage-ID: <x@example.com>\r\n";
    struct dkim_signer *s;
    struct buf out;
    buf_init(&out, DKIM_OUT_MAX);
    ensure(dkim_signer_new(&style, with, n, &s) == 0);
    ensure(dkim_signer_header(s, span_str(header)) == 0);
    dkim_signer_body(s, body);
    ensure(dkim_signer_sign(s, 1700000000000, &out) == 0);
    dkim_signer_free(s);
    buf_fini(&out);
}

int main(int argc, char **argv)
{
    int64_t seconds = argc > 1 ? atoi(argv[1]) : 3;
    struct dkim_signature with[2] = { { NULL, "example.com", "rsa" }, { NULL, "example.com", "ed" } };
    char body[4096];
    ensure(dkim_key_generate(DKIM_RSA, 2048, &with[0].key) == 0);
    ensure(dkim_key_generate(DKIM_ED25519, 0, &with[1].key) == 0);
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = i % 78 == 76 ? '\r' : i % 78 == 77 ? '\n' : i % 7 == 6 ? ' ' : 'a';
    static const struct {
        const char *name;
        uint32_t first, n;
    } cases[] = { { "rsa2048", 0, 1 }, { "ed25519", 1, 1 }, { "both", 0, 2 } };
    for (int i = 0; i < 3; i++) {
        int64_t begin = cpu_ns(), took;
        uint64_t count = 0;
        do {
            message(with + cases[i].first, cases[i].n, span_of(body, sizeof body));
            count++;
            took = cpu_ns() - begin;
        } while (took < seconds * 1000000000);
        printf("%-8s %8.0f messages of 4 KiB/s, %.1f us each\n", cases[i].name,
               (double)count * 1e9 / (double)took, (double)took / 1000.0 / (double)count);
    }
    dkim_key_rele(with[0].key);
    dkim_key_rele(with[1].key);
    return 0;
}
