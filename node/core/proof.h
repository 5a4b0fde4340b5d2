/* Domains that a tenant must prove before his mail may use them (docs/domains.md): what the record in the DNS
 * says, looking for it, and refusing mail.
 *
 * The record's value is a MAC over tenant and domain, with a secret of the cluster: what proves a domain for
 * one tenant proves nothing for another, and nothing need be stored before it is there.
 */
#ifndef NODE_CORE_PROOF_H
#define NODE_CORE_PROOF_H

#include "consensus/command.h"
#include "node/core/charge.h"
#include "node/core/secrets.h"
#include "node/core/worker.h"
#include "node/mail/header.h"

struct cluster;
struct dns_answer;

#define PROOF_VALUE_MAX 64

/* What the TXT record is to say. ERR_FAILED. Any thread. */
int proof_value(const struct secret *secret, struct span tenant, struct span domain,
                char out[PROOF_VALUE_MAX]);

enum proof_seen {
    PROOF_THERE,
    PROOF_MISSING, /* the DNS says so; `words` say more */
    PROOF_UNKNOWN  /* it does not answer */
};
/* What was looked up, for any of the secrets. Any thread. */
enum proof_seen proof_seen(const struct dns_answer *a, const struct secrets *secrets, struct span tenant,
                           struct span domain, char words[COMMAND_DOMAIN_WORDS_MAX + 1]);

/* One look. Filled in by who starts it, who keeps it until `done` was called; on the worker. */
struct proof_look {
    struct worker_msg msg;
    struct secrets *secrets; /* held */
    char tenant[COMMAND_NAME_MAX + 1], domain[256];
    char name[330]; /* of the record */
    enum proof_seen seen;
    char words[COMMAND_DOMAIN_WORDS_MAX + 1];
    void (*done)(struct proof_look *look);
    void *ctx;
};
/* The worker's thread. */
void proof_look_start(struct worker *w, struct proof_look *look);

/* MAIL was read: may this sender use that address? False: `out` says what to do. The worker's thread. */
bool proof_mail(struct session *s, struct span from, struct charge_reply *out);
/* The header is there: likewise From; and the reverse-path, where the header has named the sender. */
bool proof_header(struct session *s, const struct charge *c, struct mail_header *h, struct span from,
                  struct charge_reply *out);

#endif
