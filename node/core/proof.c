/* Domains that must be proven: see proof.h. */
#include "node/core/proof.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "consensus/directory.h"
#include "node/core/cluster.h"
#include "node/core/forward.h"
#include "node/core/session.h"
#include "node/domain/name.h"
#include "node/policy/policy.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#define VALUE_PREFIX "turnpike-proof="
#define VALUE_TEXT 32 /* 160 bits in base 32 */
#define TYPE_TXT 16
#define SAY_EVERY_MS 10000

/* ---- the record -----------------------------------------------------------------------------------------
 */

int proof_value(const struct secret *secret, struct span tenant, struct span domain,
                char out[PROOF_VALUE_MAX])
{
    static const char base32[] = "abcdefghijklmnopqrstuvwxyz234567", what[] = "turnpike domain";
    char text[sizeof what + COMMAND_NAME_MAX + 1 + 256];
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    size_t at = sizeof VALUE_PREFIX - 1;
    struct span parts[] = { span_of(what, sizeof what), tenant, span_of("", 1), domain };
    size_t len = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; len += parts[i++].n) {
        if (parts[i].n > sizeof text - len)
            return ERR_FAILED;
        memcpy(text + len, parts[i].n == 0 ? "" : parts[i].p, parts[i].n);
    }
    if (HMAC(EVP_sha256(), secret->text, (int)secret->n, (unsigned char *)text, len, mac, &n) == NULL ||
        n < 20)
        return ERR_FAILED;
    memcpy(out, VALUE_PREFIX, at);
    for (size_t i = 0; i < VALUE_TEXT; i++) {
        size_t bit = 5 * i, byte = bit / 8;
        unsigned two = (unsigned)mac[byte] << 8 | mac[byte + 1];
        out[at + i] = base32[two >> (11 - bit % 8) & 31];
    }
    out[at + VALUE_TEXT] = '\0';
    return 0;
}

static bool is_value(struct span text, const struct secrets *secrets, struct span tenant, struct span domain)
{
    const struct secret *s;
    char want[PROOF_VALUE_MAX];
    bool good = false;
    for (uint32_t i = 0; (s = secrets_at(secrets, SECRET_DOMAINS, i)) != NULL; i++)
        good = good || (proof_value(s, tenant, domain, want) == 0 && text.n == strlen(want) &&
                        CRYPTO_memcmp(text.p, want, text.n) == 0);
    return good;
}

enum proof_seen proof_seen(const struct dns_answer *a, const struct secrets *secrets, struct span tenant,
                           struct span domain, char words[COMMAND_DOMAIN_WORDS_MAX + 1])
{
    struct buf text;
    bool there = false;
    words[0] = '\0';
    if (a->status != DNS_OK && a->status != DNS_PERMANENT)
        return PROOF_UNKNOWN;
    buf_init(&text, 65536);
    for (uint32_t i = 0; !there && a->status == DNS_OK && i < a->nrecords; i++) {
        buf_reset(&text);
        there = domain_txt_join(a->records[i], &text) == 0 &&
                is_value(domain_trim(buf_span(&text)), secrets, tenant, domain);
    }
    buf_fini(&text);
    if (there)
        return PROOF_THERE;
    snprintf(words, COMMAND_DOMAIN_WORDS_MAX + 1, "%s",
             a->status == DNS_PERMANENT || a->nrecords == 0 ? "there is no such TXT record"
                                                            : "its TXT record says something else");
    return PROOF_MISSING;
}

static void looked_cb(void *ctx, const struct dns_answer *a)
{
    struct proof_look *l = ctx;
    l->seen = proof_seen(a, l->secrets, span_str(l->tenant), span_str(l->domain), l->words);
    l->done(l);
}

void proof_look_start(struct worker *w, struct proof_look *l)
{
    char name[256];
    bool valid = dns_name_normalise(span_str(l->name), name) == 0;
    if (valid && dns_lookup(w->dns, span_str(name), TYPE_TXT, looked_cb, l) != NULL)
        return;
    l->seen = valid ? PROOF_UNKNOWN : PROOF_MISSING;
    snprintf(l->words, sizeof l->words, "%s", valid ? "" : "the record's name is too long");
    l->done(l);
}

/* ---- refusing -------------------------------------------------------------------------------------------
 */

struct who {
    struct span account, tenant;
    uint8_t class;
};

/* Must he prove what he uses? */
static bool must(const struct policy *p, const struct who *who)
{
    return p != NULL && p->domains.prove != POLICY_PROVE_OFF && (p->domains.classes >> who->class & 1) &&
           (p->domains.tenants.n == 0 || policy_names_have(&p->domains.tenants, who->tenant)) &&
           !policy_names_have(&p->domains.trusted, who->account);
}

/* In lower case, A-labels; without one it gets the account's. False: it has none at all. */
static bool domain_of(struct span address, struct span account, char out[256])
{
    const char *at = address.n == 0 ? NULL : memrchr(address.p, '@', address.n);
    if (at == NULL) {
        address = account;
        at = account.n == 0 ? NULL : memrchr(account.p, '@', account.n);
    }
    return at != NULL && dns_name_normalise(span_sub(address, (size_t)(at + 1 - address.p)), out) == 0;
}

static bool is_proven(const struct machine *m, struct span tenant, struct span domain, bool below)
{
    struct directory_proof p;
    bool good = directory_proof_find(m, tenant, domain, &p) && directory_proof_good(&p);
    const char *dot;
    while (!good && below && (dot = memchr(domain.p, '.', domain.n)) != NULL) {
        domain = span_sub(domain, (size_t)(dot + 1 - domain.p));
        good = directory_proof_find(m, tenant, domain, &p) && directory_proof_good(&p);
    }
    return good;
}

static void warn(const struct worker *w, const struct who *who, const char *domain)
{
    static _Atomic int64_t said_ms;
    int64_t now = clock_boot_ms(), was = said_ms;
    metrics_add(w->node->metrics, w->index, METRICS_UNPROVEN, METRICS_UNPROVEN_WARNED, 1);
    if ((was == 0 || now - was >= SAY_EVERY_MS) && atomic_compare_exchange_strong(&said_ms, &was, now))
        log_warn("domains",
                 "account %.*s uses domain %s, which tenant %.*s has not proven; of more like it "
                 "nothing is said for %d s",
                 (int)who->account.n, who->account.p, domain, (int)who->tenant.n, who->tenant.p,
                 SAY_EVERY_MS / 1000);
}

static bool allows(struct session *s, const struct policy *p, const struct who *who, struct span address,
                   struct charge_reply *out)
{
    struct worker *w = s->in->w;
    struct cluster *cluster = w->node->cluster;
    struct machine *m = cluster == NULL ? NULL : cluster_machine(cluster);
    char domain[256];
    if (m == NULL || !must(p, who) ||
        (p->domains.senders && auth_names_sender(s->identity, address, s->config->accounts.subaddresses)))
        return true;
    bool any = domain_of(address, who->account, domain);
    machine_read_lock(m);
    bool good = any && is_proven(m, who->tenant, span_str(domain), p->domains.subdomains);
    machine_read_unlock(m);
    if (good)
        return true;
    if (p->domains.prove == POLICY_PROVE_WARN) {
        warn(w, who, any ? domain : "(none)");
        return true;
    }
    metrics_add(w->node->metrics, w->index, METRICS_UNPROVEN, METRICS_UNPROVEN_REFUSED, 1);
    snprintf(out->text, sizeof out->text,
             "Domain %.100s is not proven to be yours: ask your postmaster for the TXT record (%.63s) that "
             "proves it",
             any ? domain : "of the sender", p->domains.record);
    out->reply = (struct smtp_reply){ 550, "5.7.1", out->text };
    return false;
}

bool proof_mail(struct session *s, struct span from, struct charge_reply *out)
{
    const struct charge *c = receive_charge(s);
    if (c->policy == NULL || s->identity == NULL || from.n == 0 || charge_header(c).n > 0 ||
        forward_is(s, c->policy, from))
        return true; /* nobody's; or whose it is will be seen in the header */
    const struct who who = { span_str(s->identity->account), span_str(s->identity->tenant),
                             c->class };
    return allows(s, c->policy, &who, from, out);
}

struct addresses {
    struct session *s;
    const struct charge *c;
    const struct who *who;
    struct charge_reply *out;
};

static int address_cb(void *ctx, struct span address)
{
    struct addresses *a = ctx;
    return allows(a->s, a->c->policy, a->who, address, a->out) ? 0 : ERR_DENIED;
}

bool proof_header(struct session *s, const struct charge *c, struct mail_header *h, struct span from,
                  struct charge_reply *out)
{
    if (c->policy == NULL || s->identity == NULL || forward_is(s, c->policy, from))
        return true;
    struct who who = { span_str(s->identity->account), span_str(s->identity->tenant), c->class };
    if (c->has_named && !c->web) /* a web sender's domains are his host's */
        who = (struct who){ span_str(c->named_account), span_str(c->named_tenant), c->named_class };
    if (!must(c->policy, &who))
        return true;
    struct addresses a = { s, c, &who, out };
    if (charge_header(c).n > 0 && from.n > 0 && !allows(s, c->policy, &who, from, out))
        return false;
    int err = mail_header_addresses(h, SPAN_LIT("From"), address_cb, &a);
    if (err == 0 || err == ERR_DENIED || c->policy->domains.prove == POLICY_PROVE_WARN)
        return err != ERR_DENIED;
    out->reply = (struct smtp_reply){ 550, "5.6.0", "The From header cannot be understood" };
    return false;
}
