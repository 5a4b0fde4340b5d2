/* Paths and mailboxes of RFC 5321 section 4.1.2, with the UTF-8 of RFC 6531. Pure, no memory of its own: the
 * spans point into what was parsed.
 *
 * Laxer than the RFC where real mail needs it: dots anywhere in a local part, local parts of up to 255 octets
 * (VERP, BATV, SRS), underscores in domains. Stricter where laxness would let two readers see two addresses:
 * no comments, no blanks, no control characters, no domain that looks like a bare IP address.
 */
#ifndef NODE_SMTP_ADDRESS_H
#define NODE_SMTP_ADDRESS_H

#include "base/span.h"

#include <stdbool.h>

#define SMTP_LOCAL_MAX 255  /* octets */
#define SMTP_DOMAIN_MAX 255 /* octets, also of a domain's ASCII form */

struct smtp_path {
    struct span text;   /* the mailbox as it goes into MAIL or RCPT, without < > and without a source route;
                           empty: the null reverse-path */
    struct span local;  /* as given, with its quotes if it has them */
    struct span domain; /* as given; a literal with its brackets; empty when there is none */
    bool is_literal;    /* the domain is [1.2.3.4] or [IPv6:...], and a valid one */
    bool utf8;          /* local part or domain has an octet over 127 (all of it valid UTF-8) */
    bool was_routed;    /* it came with a source route, which is gone (RFC 5321 appendix C) */
    bool qualified;     /* the domain has a dot or is a literal. If not, a submission shell completes it
                           (RFC 6409 section 6) or refuses it; true for the null path */
};

/* Parses "<...>" at the start of s; *used gets its length. 0 or ERR_BAD. "<>" gives an empty path; a mailbox
 * without domain is taken ("<postmaster>") and is not `qualified`. */
int smtp_path_parse(struct span s, struct smtp_path *out, size_t *used);

/* The whole of s is a mailbox, as smtp_path_parse but without < > and source route, and not empty. */
int smtp_mailbox_parse(struct span s, struct smtp_path *out);

/* Is this what RFC 5321 section 4.1.1.1 has behind EHLO and HELO: a domain (letters, digits and inner hyphens; it need
 * not have a dot) or an address literal? A bare IP address is neither. */
bool smtp_helo_valid(struct span name);

/* A domain (no literal) in the form used for DNS and comparison: A-labels, lower case, NUL-terminated.
 * ERR_BAD if it has none: bad syntax, or not allowed by IDNA 2008 / UTS 46. */
int smtp_domain_ascii(struct span domain, char out[SMTP_DOMAIN_MAX + 1]);

#endif
