/* What tests of the policy's text share: it is read, or what is wrong with it is said. */
#ifndef TEST_POLICY_SAID_H
#define TEST_POLICY_SAID_H

#include "node/policy/policy.h"

/* The policy of this text, called "p.yaml", of which nothing may be said; the caller's. */
struct policy *said_read(const char *text);

struct said_fault {
    const char *text, *want; /* a policy, and all that is said of it */
};
/* Each of them is refused, in its words. */
void said_faults(const struct said_fault *f, size_t n);

/* What policy_diff says of these two. */
void said_diff(const char *from, const char *to, const char *want);

#endif
