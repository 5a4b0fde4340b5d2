/* Is a domain ready to send mail from these addresses? SPF, DKIM, DMARC, alignment and where bounces go; for
 * each trouble what to do. Asks for DNS answers and is fed them, as SPF does: no I/O, no clock. Any thread,
 * one at a time.
 */
#ifndef NODE_DOMAIN_CHECK_H
#define NODE_DOMAIN_CHECK_H

#include "node/domain/dmarc.h"
#include "node/domain/spf.h"

#define DOMAIN_CHECK_SOURCES_MAX 256
#define DOMAIN_CHECK_KEYS_MAX 16

struct dkim_key;

struct domain_check_key {
    const char *selector;
    const char *domain; /* that signs (d=); NULL: the one that is checked */
    const struct dkim_key
        *key; /* that the record must be for; borrowed until the check is freed; NULL: any */
};

struct domain_check_input {  /* all copied but the suffixes */
    const char *domain;      /* of From: A-labels, lower case */
    const char *return_path; /* the domain of MAIL FROM; NULL: the same */
    const struct ip_addr *sources;
    size_t nsources; /* beyond the bound: the first */
    const struct domain_check_key *keys;
    size_t nkeys; /* likewise */
    const struct domain_suffixes *suffixes;
};

enum domain_level { DOMAIN_GOOD, DOMAIN_NOTE, DOMAIN_TROUBLE };

const char *domain_level_name(enum domain_level level); /* "good", "note", "trouble" */

struct domain_finding {
    enum domain_level level;
    const char *what;  /* "mx", "spf", "dkim", "dmarc", "alignment" */
    char subject[300]; /* the address, the selector's name or the domain */
    char result[16];   /* one word: "pass", "none", ... */
    char text[400];    /* what was found */
    char advice[600];  /* what to do; "" when there is nothing */
};

struct domain_check;
/* NULL: no memory. */
struct domain_check *domain_check_new(const struct domain_check_input *in);
void domain_check_free(struct domain_check *c); /* NULL is harmless */
/* As spf_next and spf_feed. */
const struct spf_question *domain_check_next(struct domain_check *c);
void domain_check_feed(struct domain_check *c, const struct spf_answer *a);
/* Once there is no question any more. */
size_t domain_check_count(const struct domain_check *c);
const struct domain_finding *domain_check_at(const struct domain_check *c, size_t i);
/* There is trouble. */
bool domain_check_bad(const struct domain_check *c);

#endif
