/* DMARC (RFC 7489): the record, the organisational domain, and alignment. Pure but for domain_suffixes_new.
 */
#ifndef NODE_DOMAIN_DMARC_H
#define NODE_DOMAIN_DMARC_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum dmarc_policy { DMARC_NONE, DMARC_QUARANTINE, DMARC_REJECT };

const char *dmarc_policy_name(enum dmarc_policy p);

struct dmarc_record {
    enum dmarc_policy policy, subdomains; /* p, sp */
    bool strict_spf, strict_dkim;         /* aspf=s, adkim=s */
    uint8_t percent;
    struct span rua; /* in the text; empty: nobody gets reports */
};

/* One TXT record's text. ERR_NOT_FOUND: it is no DMARC record; ERR_BAD: it is one that receivers will not
 * obey. */
int dmarc_parse(struct span text, struct dmarc_record *out);

/* The public suffix list (the distribution's, else the one built into libpsl). Immutable; any thread. */
struct domain_suffixes;
struct domain_suffixes *domain_suffixes_new(void); /* NULL: there is none */
void domain_suffixes_free(struct domain_suffixes *s);

/* The part that somebody registered: "mail.example.co.uk" -> "example.co.uk". `domain`: A-labels, lower case.
 * A name that is a public suffix itself is its own (RFC 7489 section 3.2). Returns out. */
const char *domain_organisation(const struct domain_suffixes *s, const char *domain, char out[256]);
/* Identifier alignment (section 3.1). Both as above. */
bool domain_aligned(const struct domain_suffixes *s, const char *from, const char *other, bool strict);

#endif
