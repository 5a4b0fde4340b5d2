/* SPF (RFC 7208): may this address send mail of that domain? A machine that asks for DNS answers and is fed
 * them; it performs no I/O and reads no clock. Any thread, one at a time.
 *
 *     const struct spf_question *q;
 *     while ((q = spf_next(s)) != NULL)
 *         spf_feed(s, &answer_to_q);
 *     spf_verdict(s)->result
 *
 * Bounds (section 4.6.4): 10 terms that make look-ups, 2 of them without result, 10 MX hosts, 10 names of the
 * address. So at most some 230 questions, whoever wrote the records.
 */
#ifndef NODE_DOMAIN_SPF_H
#define NODE_DOMAIN_SPF_H

#include "base/span.h"
#include "node/net/ip.h"

#include <stdint.h>

enum spf_result { /* section 2.6 */
                  SPF_NONE,
                  SPF_NEUTRAL,
                  SPF_PASS,
                  SPF_FAIL,
                  SPF_SOFTFAIL,
                  SPF_TEMPERROR,
                  SPF_PERMERROR
};

const char *spf_result_name(enum spf_result r); /* "pass" */

struct spf_input { /* copied */
    struct ip_addr ip;
    struct span local, domain; /* of MAIL FROM; an empty local part is "postmaster"; A-labels */
    struct span helo;
    struct span receiver; /* for %{r} of explanations */
    int64_t now_s;        /* for %{t} of explanations */
};

struct spf;
/* NULL: no memory. */
struct spf *spf_new(const struct spf_input *in);
void spf_free(struct spf *s); /* NULL is harmless */

enum spf_type { /* the DNS's own numbers */
                SPF_TYPE_A = 1,
                SPF_TYPE_PTR = 12,
                SPF_TYPE_MX = 15,
                SPF_TYPE_TXT = 16,
                SPF_TYPE_AAAA = 28
};

struct spf_question {
    enum spf_type type;
    char name[256]; /* no final dot */
};

enum spf_dns {
    SPF_DNS_OK,     /* with or without records */
    SPF_DNS_NONE,   /* no such name */
    SPF_DNS_FAILED, /* no answer, SERVFAIL, ...: may be had another time */
};

struct spf_answer {
    enum spf_dns status;
    uint32_t n;
    const struct span *records; /* rdata in wire format, names not compressed */
};

/* The question to be answered, or NULL: the verdict is there. */
const struct spf_question *spf_next(struct spf *s);
/* Only after spf_next gave a question. */
void spf_feed(struct spf *s, const struct spf_answer *a);

struct spf_verdict {
    enum spf_result result;
    char term[256];        /* the mechanism that matched, or what is wrong; cut; "" for none */
    char domain[256];      /* whose record has it */
    char why[96];          /* one line for errors */
    char explanation[512]; /* of the domain's owner, for FAIL: ASCII, not to be trusted */
    uint32_t lookups, voids;
};
const struct spf_verdict *spf_verdict(const struct spf *s);

#endif
