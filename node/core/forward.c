/* Mail that is forwarded: see forward.h. */
#include "node/core/forward.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "consensus/directory.h"
#include "node/core/cluster_impl.h"
#include "node/core/secrets.h"
#include "node/core/session.h"
#include "node/policy/policy.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define DAY_MS INT64_C(86400000)
#define HOUR_MS INT64_C(3600000)
#define FORWARD_FEATURE 5 /* older nodes do not know the envelope's flag */
#define RETURNS 4096      /* addresses that are told apart, about */

/* ---- mail that goes out ---------------------------------------------------------------------------------
 */

static bool may_forward(const struct policy *p, const struct auth_identity *id)
{
    return p != NULL && p->forwarding.domain[0] != '\0' &&
           ((p->forwarding.classes >> id->class & 1) ||
            policy_names_have(&p->forwarding.accounts, span_str(id->account)));
}

/* The domain is the tenant's, as he has proven. */
static bool is_the_tenants(struct machine *m, struct span tenant, struct span from)
{
    struct directory_proof proof;
    char domain[256];
    const char *at = memrchr(from.p, '@', from.n);
    if (at == NULL || dns_name_normalise(span_sub(from, (size_t)(at + 1 - from.p)), domain) != 0)
        return at == NULL;
    machine_read_lock(m);
    bool proven = directory_proof_find(m, tenant, span_str(domain), &proof) && directory_proof_good(&proof);
    machine_read_unlock(m);
    return proven;
}

bool forward_is(struct session *s, const struct policy *p, struct span from)
{
    struct cluster *cluster = s->in->w->node->cluster;
    struct machine *m = cluster == NULL ? NULL : cluster_machine(cluster);
    if (m == NULL || s->identity == NULL || from.n == 0 || !may_forward(p, s->identity))
        return false;
    machine_read_lock(m);
    bool known = machine_features(m) >= FORWARD_FEATURE;
    machine_read_unlock(m);
    return known && !auth_names_sender(s->identity, from, s->config->accounts.subaddresses) &&
           !is_the_tenants(m, span_str(s->identity->tenant), from);
}

bool forward_allows(struct session *s, struct span from)
{
    struct cluster *cluster = s->in->w->node->cluster;
    struct policy *p = cluster == NULL ? NULL : cluster_policy(cluster);
    bool is = forward_is(s, p, from);
    policy_rele(p);
    return is;
}

static void srs_with(const struct policy *p, const struct secrets *secrets, struct srs *out)
{
    const struct secret *k;
    *out = (struct srs){ .domain = span_str(p->forwarding.domain),
                         .days_max = (unsigned)(p->forwarding.life_ms / DAY_MS) };
    for (; out->nkeys < SRS_KEYS_MAX && (k = secrets_at(secrets, SECRET_SRS, out->nkeys)) != NULL;
         out->nkeys++)
        out->keys[out->nkeys] = span_of(k->text, k->n);
}

bool forward_path(struct worker *w, const struct policy *p, const struct envelope *env,
                  char out[SRS_ADDRESS_MAX + 1])
{
    struct srs srs;
    if ((env->flags & ENVELOPE_FORWARDED) == 0 || p == NULL || p->forwarding.domain[0] == '\0')
        return false;
    struct secrets *secrets = cluster_secrets(w->node->cluster);
    srs_with(p, secrets, &srs);
    /* Too long for a return path: it leaves with its own, as it came. */
    int err = srs.nkeys == 0 ? ERR_NOT_FOUND : srs_forward(&srs, env->mail_from, clock_wall_ms() / 1000, out);
    secrets_rele(secrets);
    return err == 0;
}

/* ---- mail that comes back -------------------------------------------------------------------------------
 */

/* One place for each hash of an address: two may share one, and their bound. */
struct forward_returns {
    pthread_mutex_t lock;
    struct {
        int64_t since_ms;
        uint32_t n;
    } places[RETURNS];
};

struct forward_returns *forward_returns_new(void)
{
    struct forward_returns *r = calloc(1, sizeof *r);
    if (r != NULL)
        pthread_mutex_init(&r->lock, NULL);
    return r;
}

void forward_returns_free(struct forward_returns *r)
{
    if (r == NULL)
        return;
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static bool too_many(struct forward_returns *r, struct span address, uint32_t most)
{
    int64_t now = clock_boot_ms();
    pthread_mutex_lock(&r->lock);
    uint64_t i = hash_bytes(address.p, address.n) % RETURNS;
    if (r->places[i].since_ms == 0 || now - r->places[i].since_ms >= HOUR_MS) {
        r->places[i].since_ms = now;
        r->places[i].n = 0;
    }
    bool many = r->places[i].n >= most;
    r->places[i].n += !many;
    pthread_mutex_unlock(&r->lock);
    return many;
}

int forward_return(struct worker *w, const struct policy *p, const struct secrets *secrets,
                   const struct smtp_path *rcpt, bool null_sender, char to[SRS_ADDRESS_MAX + 1],
                   const struct smtp_reply **no)
{
    static const struct smtp_reply expired = { 550, "5.7.1", "This return path has expired" };
    static const struct smtp_reply forged = { 550, "5.7.1", "This return path is none of ours" };
    static const struct smtp_reply letter = { 550, "5.7.1", "Only reports are returned: MAIL FROM:<>" };
    static const struct smtp_reply later = { 451, "4.3.2", "Not taking reports just now" };
    static const struct smtp_reply many = { 451, "4.7.1",
                                            "Too many reports for this address, try again later" };
    struct srs srs;
    if (p->forwarding.domain[0] == '\0')
        return ERR_NOT_FOUND;
    srs_with(p, secrets, &srs);
    int err = srs_reverse(&srs, rcpt->text, clock_wall_ms() / 1000, to);
    if (err == ERR_NOT_FOUND)
        return err;
    if (err == ERR_TIMEOUT)
        *no = &expired;
    else if (err != 0)
        *no = secrets_closed(secrets, SECRET_SRS) ? &later : &forged;
    else if (!null_sender)
        *no = &letter; /* so nothing that is returned comes back once more */
    else if (too_many(w->node->cluster->returns, span_str(to), p->forwarding.returns))
        *no = &many;
    else
        *no = NULL;
    return 0;
}
