/* MTA-STS (RFC 8461): the TXT record that says there is a policy, the policy, and which hosts it names. Pure;
 * fetching and keeping are elsewhere. Any thread.
 */
#ifndef NODE_TLSPOLICY_STS_H
#define NODE_TLSPOLICY_STS_H

#include "base/buf.h"
#include "base/span.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define STS_ID_MAX 32          /* octets of an id, section 3.1 */
#define STS_BODY_MAX 65536     /* of a policy as it is fetched */
#define STS_NAMES_MAX 8192     /* octets of the host patterns that are kept */
#define STS_MX_MAX 128         /* and how many: one with more is refused */
#define STS_AGE_MAX_S 31557600 /* section 3.2: about a year */
#define STS_TXT "_mta-sts."    /* in front of the domain */
#define STS_HOST "mta-sts."    /* likewise */

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };

/* Shared by reference count, and never changed. */
struct sts_policy {
    atomic_uint refs;
    enum sts_mode mode;
    uint32_t max_age_s;
    uint32_t nmx;
    uint32_t bytes;
    char names[]; /* "mx.example.com" or "*.example.com", in lower case, each with its NUL */
};

void sts_policy_hold(struct sts_policy *p);
void sts_policy_rele(struct sts_policy *p); /* NULL is harmless */

/* 0; ERR_NOT_FOUND: no record of MTA-STS; ERR_BAD: one, but not as it should be. */
int sts_txt_parse(struct span text, char id[STS_ID_MAX + 1]);

/* The body as it was fetched. 0; ERR_BAD and a static text in `why`; -ENOMEM. */
int sts_policy_parse(struct span body, struct sts_policy **out, const char **why);
/* Of what was kept. ERR_BAD or -ENOMEM. */
int sts_policy_new(enum sts_mode mode, uint32_t max_age_s, const struct span *mx, uint32_t n,
                   struct sts_policy **out);

/* Section 4.1: `*.` stands for exactly one label. `host` is in lower case, without a final dot. */
bool sts_policy_allows(const struct sts_policy *p, const char *host);
/* The first pattern after `at`, or the first one for NULL; NULL at the end. */
const char *sts_policy_next(const struct sts_policy *p, const char *at);

const char *sts_mode_name(enum sts_mode mode);
/* -1: none of the three. */
int sts_mode_parse(struct span name);

#endif
