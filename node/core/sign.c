/* One message's signatures. See sign.h. */
#include "node/core/sign.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster.h"
#include "node/core/node.h"
#include "node/net/dns.h"

#include <errno.h>
#include <stdlib.h>

/* Each transaction that is accepted has at most one, so that the pool is as bounded as they are; over this
 * many the client is told to come again. */
#define QUEUE_MAX 4096

static void run_signed(struct worker *w, struct worker_msg *msg);

int sign_start(struct auth_pool **out, uint32_t workers)
{
    return auth_pool_start(workers, QUEUE_MAX, out);
}

/* ---- keys ---------------------------------------------------------------------------------------------- */

static struct span domain_of(struct span address)
{
    const char *at = address.n == 0 ? NULL : memrchr(address.p, '@', address.n);
    return at == NULL ? (struct span){ "", 0 } : span_sub(address, (size_t)(at - address.p) + 1);
}

static uint32_t find_keys(const struct config *c, const struct keyring *ring, const struct sign_who *who,
                          struct keyring_choice keys[DKIM_ALGORITHMS])
{
    char name[256];
    int64_t now_ms = clock_wall_ms();
    uint32_t n = 0;
    if (who->may_use_from && dns_name_normalise(domain_of(who->from), name) == 0)
        n = keyring_choose(ring, c, span_str(name), who->tenant, now_ms, keys);
    struct span other = config_dkim_default(c, who->tenant);
    if (n == 0 && other.n > 0)
        n = keyring_choose(ring, c, other, who->tenant, now_ms, keys);
    return n;
}

static void name_keys(struct sign *s)
{
    size_t n = 0;
    for (uint32_t i = 0; i < s->nkeys && n < sizeof s->by; i++)
        n += (size_t)snprintf(s->by + n, sizeof s->by - n, "%s%s._domainkey.%s", i == 0 ? "" : " ",
                              s->keys[i].selector, s->keys[i].domain);
}

static int begin(struct sign *s, const struct sign_who *who)
{
    struct dkim_signature with[DKIM_ALGORITHMS];
    s->nkeys = find_keys(s->config, s->ring, who, s->keys);
    for (uint32_t i = 0; i < s->nkeys; i++) {
        if (s->keys[i].key == NULL) {
            log_warn("dkim", "key %s of %s signs, and this node cannot decrypt it", s->keys[i].selector,
                     s->keys[i].domain);
            return ERR_BUSY;
        }
        with[i] = (struct dkim_signature){ s->keys[i].key, s->keys[i].domain, s->keys[i].selector };
    }
    name_keys(s);
    return s->nkeys == 0 ? 0 : dkim_signer_new(&s->config->dkim.style, with, s->nkeys, &s->signer);
}

int sign_new(struct worker *w, struct config *config, const struct sign_who *who, struct sign **out)
{
    struct keyring *ring = w->node->cluster == NULL ? NULL : cluster_keyring(w->node->cluster);
    *out = NULL;
    struct sign *s = config->dkim.nkeys + keyring_count(ring) == 0 ? NULL : calloc(1, sizeof *s);
    if (s == NULL) {
        bool none = config->dkim.nkeys + keyring_count(ring) == 0;
        keyring_rele(ring);
        return none ? 0 : -ENOMEM;
    }
    s->w = w;
    s->config = config_hold(config);
    s->ring = ring;
    s->msg.run = run_signed;
    buf_init(&s->fields, DKIM_OUT_MAX);
    int err = begin(s, who);
    if (err == 0 && s->nkeys > 0)
        *out = s;
    else
        sign_free(s);
    return err;
}

bool sign_keys_any(struct worker *w, const struct config *config)
{
    struct keyring *ring = w->node->cluster == NULL ? NULL : cluster_keyring(w->node->cluster);
    bool any = config->dkim.nkeys + keyring_count(ring) > 0;
    keyring_rele(ring);
    return any;
}

void sign_free(struct sign *s)
{
    if (s == NULL)
        return;
    if (s->away) { /* run_signed frees it */
        s->done = NULL;
        return;
    }
    dkim_signer_free(s->signer);
    keyring_rele(s->ring);
    config_rele(s->config);
    buf_fini(&s->fields);
    free(s);
}

/* ---- the message --------------------------------------------------------------------------------------- */

void sign_header(struct sign *s, struct span header)
{
    s->err = dkim_signer_header(s->signer, header);
}

void sign_body(struct sign *s, struct span bytes)
{
    if (s->err == 0)
        dkim_signer_body(s->signer, bytes);
}

/* What came of it, into the counters. */
static void count(struct sign *s)
{
    struct metrics *m = s->w->node->metrics;
    for (uint32_t i = 0; i < s->nkeys; i++)
        metrics_add(m, s->w->index, s->err == 0 ? METRICS_DKIM_SIGNATURES : METRICS_DKIM_FAILED,
                    (uint32_t)s->keys[i].algorithm, 1);
    if (s->err != 0)
        log_warn("dkim", "a message could not be signed by %s: %s", s->by, err_text(s->err));
    else
        metrics_observe_us(m, s->w->index, METRICS_DKIM_SECONDS, (clock_mono_ns() - s->begun_ns) / 1000);
}

static void run_signed(struct worker *w, struct worker_msg *msg)
{
    (void)w;
    struct sign *s = LIST_ITEM(msg, struct sign, msg);
    s->away = false;
    if (s->done == NULL) { /* nobody waits any more */
        sign_free(s);
        return;
    }
    count(s);
    s->done(s->ctx);
}

/* On one of the pool's threads. */
static void sign_job_cb(struct auth_job *job, int stopping)
{
    struct sign *s = LIST_ITEM(job, struct sign, job);
    s->err = stopping ? ERR_CLOSED : dkim_signer_sign(s->signer, clock_wall_ms(), &s->fields);
    worker_post_always(s->w, &s->msg);
}

bool sign_finish(struct sign *s, void (*done)(void *ctx), void *ctx)
{
    ensure(!s->away);
    s->begun_ns = clock_mono_ns();
    if (s->err == 0 && dkim_signer_slow(s->signer)) {
        s->job.run = sign_job_cb;
        s->done = done;
        s->ctx = ctx;
        s->away = true;
        int err = auth_pool_push(s->w->node->signers, &s->job);
        if (err == 0)
            return false; /* it is the pool's: nothing of it may be touched */
        s->err = err;
        s->away = false;
    } else if (s->err == 0) {
        s->err = dkim_signer_sign(s->signer, clock_wall_ms(), &s->fields);
    }
    count(s);
    return true;
}
