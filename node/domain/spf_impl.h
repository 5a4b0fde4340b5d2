/* What the files of SPF share: terms and macros. Nobody else includes it. */
#ifndef NODE_DOMAIN_SPF_IMPL_H
#define NODE_DOMAIN_SPF_IMPL_H

#include "base/buf.h"
#include "node/domain/spf.h"

#include <stdbool.h>

/* ---- spf_term.c ---------------------------------------------------------------------------------------- */

enum spf_kind {
    SPF_ALL,
    SPF_INCLUDE,
    SPF_A,
    SPF_MX,
    SPF_PTR,
    SPF_IP4,
    SPF_IP6,
    SPF_EXISTS,
    SPF_REDIRECT,
    SPF_EXP,
    SPF_OTHER /* an unknown modifier, which means nothing */
};

struct spf_term {
    struct span text;
    enum spf_kind kind;
    enum spf_result result; /* by its qualifier */
    struct span spec;       /* domain-spec; empty: the domain whose record it is */
    uint8_t bits4, bits6;   /* of A, MX, IP4, IP6 */
    uint8_t net[16];        /* of IP4, IP6 */
};

/* The next term of a record; false: there is none. `rest` loses it. */
bool spf_term_next(struct span *rest, struct span *term);
/* 0 or ERR_BAD. */
int spf_term_parse(struct span text, struct spf_term *t);
bool spf_bits_match(const uint8_t *a, const uint8_t *b, unsigned bits);

/* ---- spf_macro.c --------------------------------------------------------------------------------------- */

struct spf_values {
    struct ip_addr ip;
    struct span local, sender_domain, helo, receiver;
    struct span domain; /* %{d} */
    struct span name;   /* %{p} */
    int64_t now_s;
};

/* Whether it is a macro-string (section 7.1); `explain`: the letters c, r and t, and blanks, are allowed. */
bool spf_macro_valid(struct span s, bool explain);
/* Whether it is a domain-spec. */
bool spf_spec_valid(struct span s);
/* It has %{p}. */
bool spf_macro_wants_name(struct span s);
/* Appends; of what is valid. The buffer keeps its error. */
void spf_macro_expand(struct span s, const struct spf_values *v, struct buf *out);
/* The name that a domain-spec means: cut from the left to 253 octets. ERR_BAD: it can be no domain name. */
int spf_spec_expand(struct span spec, const struct spf_values *v, char out[256]);

#endif
