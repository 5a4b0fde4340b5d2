/* The admin API's functions on the cluster's secrets: adding a DKIM key, and putting all under a new sealing
 * key. Admin threads. A secret is encrypted here, before it becomes a command.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/cluster/seal.h"
#include "node/core/cluster_impl.h"
#include "node/dkim/record.h"
#include "node/net/dns.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AWAIT_MS 5000
#define REKEY_MS 20000 /* then the operator goes on */

struct span cluster_seal_about(uint8_t kind, struct span name, struct span selector,
                               char out[CLUSTER_SEAL_ABOUT_MAX])
{
    out[0] = (char)kind;
    memcpy(out + 1, name.p, name.n);
    out[name.n + 1] = '\0';
    memcpy(out + name.n + 2, selector.p, selector.n);
    return span_of(out, name.n + 2 + selector.n);
}

/* ---- the sealing key ------------------------------------------------------------------------------------
 */

static bool sealing_now(struct cluster *c, struct directory_sealing *is)
{
    struct machine *m = cluster_machine(c);
    machine_read_lock(m);
    bool any = directory_sealing(m, is);
    machine_read_unlock(m);
    return any;
}

static uint32_t members(struct cluster *c)
{
    struct machine_totals t;
    struct machine *m = cluster_machine(c);
    machine_read_lock(m);
    machine_totals(m, &t);
    machine_read_unlock(m);
    return (uint32_t)t.members;
}

/* A new one, in force. ERR_BUSY: another operator's came first. */
static int change(void *ctx, const struct admin_caller *by, uint64_t number, bool lost, struct seal_key *out,
                  struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct machine_result r;
    struct buf why;
    buf_init(&why, 400);
    int err = cluster_seal_make(c, number, out, &why);
    if (err != 0)
        (void)admin_fail(e, err, "the sealing key cannot be kept: %.*s", (int)why.len,
                         why.len == 0 ? err_text(err) : why.data);
    buf_fini(&why);
    if (err != 0)
        return err;
    struct command cmd = { .type = COMMAND_SEALING_KEY, .sealing_key = { .number = number, .lost = lost } };
    memcpy(cmd.sealing_key.id, out->id, sizeof out->id);
    err = cluster_submit(ctx, by, &cmd, &r, e);
    /* Were this node lost now, all that it encrypts would be. */
    if (err == 0 && members(c) > 1 && !cluster_seal_await_given(c, number, AWAIT_MS))
        log_warn("cluster", "no other node has sealing key %llu yet: what it encrypts is lost with this one",
                 (unsigned long long)number);
    return err;
}

/* The one in force, which is made when there is none. */
int cluster_sealing_key(void *ctx, const struct admin_caller *by, struct seal_key *out, struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct directory_sealing is;
    int err = cluster_barrier(ctx, e);
    if (err == 0 && !sealing_now(c, &is)) {
        err = change(ctx, by, 1, false, out, e);
        if (err != ERR_BUSY || !sealing_now(c, &is))
            return err;
        err = 0;
        e->text[0] = '\0';
    }
    if (err == 0 && cluster_seal_await(c, is.number, is.id, AWAIT_MS, out) != 0)
        err = admin_fail(
            e, ERR_TIMEOUT,
            "this node has not been given sealing key %llu yet: ask a node that has it, or, if none is "
            "left, turnpike dkim rekey --lost",
            (unsigned long long)is.number);
    return err;
}

/* ---- a DKIM key -----------------------------------------------------------------------------------------
 */

static int key_of(const struct admin_dkim_key *a, struct dkim_key **out, struct admin_error *e)
{
    char why[DKIM_WHY_MAX];
    if (a->pem != NULL) {
        if (dkim_key_parse(span_str(a->pem), out, why) != 0)
            return admin_fail(e, ERR_BAD, "the key %s", why);
        return 0;
    }
    int err = dkim_key_generate(a->ed25519 ? DKIM_ED25519 : DKIM_RSA, a->bits == 0 ? 2048 : a->bits, out);
    return err != 0 ? admin_fail(e, err, "the key cannot be made") : 0;
}

static int names_of(const struct admin_dkim_key *a, char domain[256], char selector[256],
                    struct admin_error *e)
{
    if (dns_name_normalise(span_str(a->domain), domain) != 0)
        return admin_fail(e, ERR_BAD, "%s is no domain name", a->domain);
    if (dns_name_normalise(span_str(a->selector), selector) != 0)
        return admin_fail(e, ERR_BAD, "%s is no selector", a->selector);
    return 0;
}

static int seal_pem(const struct seal_key *key, const struct dkim_key *k, struct span about,
                    struct buf *sealed)
{
    struct buf pem;
    buf_init(&pem, COMMAND_SEALED_MAX);
    int err = dkim_key_put_pem(k, &pem);
    if (err == 0)
        err = seal_put(key, about, buf_span(&pem), sealed);
    if (pem.data != NULL)
        OPENSSL_cleanse(pem.data, pem.cap);
    buf_fini(&pem);
    return err;
}

static int submit_key(void *ctx, const struct admin_caller *by, const struct admin_dkim_key *a,
                      const struct dkim_key *k, struct buf *record, struct admin_error *e)
{
    char domain[256], selector[256], about[CLUSTER_SEAL_ABOUT_MAX];
    struct seal_key key;
    struct machine_result r;
    struct buf sealed;
    int err = names_of(a, domain, selector, e);
    if (err == 0)
        err = cluster_sealing_key(ctx, by, &key, e);
    if (err != 0)
        return err;
    buf_init(&sealed, COMMAND_SEALED_MAX);
    struct span name = span_str(domain), sel = span_str(selector);
    err = dkim_record_put(k, record);
    if (err == 0)
        err = seal_pem(&key, k, cluster_seal_about(COMMAND_SEALED_DKIM, name, sel, about), &sealed);
    struct command cmd = { .type = COMMAND_SEALED_SET,
                           .sealed_set = { .kind = COMMAND_SEALED_DKIM,
                                           .name = name,
                                           .selector = sel,
                                           .create = true,
                                           .number = key.number,
                                           .sealed = buf_span(&sealed),
                                           .public = buf_span(record),
                                           .not_before_ms = (uint64_t)a->not_before_ms,
                                           .not_after_ms = (uint64_t)a->not_after_ms,
                                           .subdomains = a->subdomains,
                                           .tenants = span_str(a->tenants) } };
    err = err != 0 ? admin_fail(e, err, "the key cannot be encrypted: %s", err_text(err))
                   : cluster_submit(ctx, by, &cmd, &r, e);
    OPENSSL_cleanse(&key, sizeof key);
    buf_fini(&sealed);
    return err;
}

int cluster_dkim_add(void *ctx, const struct admin_caller *by, const struct admin_dkim_key *a,
                     struct buf *record, struct admin_error *e)
{
    struct dkim_key *k;
    int err = cluster_need(cluster_of(ctx), e);
    if (err == 0)
        err = key_of(a, &k, e);
    if (err != 0)
        return err;
    err = submit_key(ctx, by, a, k, record, e);
    dkim_key_rele(k);
    return err;
}

/* ---- a new sealing key ----------------------------------------------------------------------------------
 */

/* A secret that is to be encrypted anew: a copy of what the state has. */
struct older {
    uint64_t number;  /* what it shall not be any more */
    struct buf place; /* behind which to look; then its own */
    bool found;
    struct directory_sealed is; /* texts in `texts` */
    struct buf texts;
};

static int older_cb(void *arg, const struct directory_sealed *d)
{
    struct older *o = arg;
    char about[CLUSTER_SEAL_ABOUT_MAX];
    if (d->number == o->number)
        return 0;
    const struct span from[] = { d->name, d->selector, d->sealed, d->public, d->tenants };
    struct span *const to[] = { &o->is.name, &o->is.selector, &o->is.sealed, &o->is.public, &o->is.tenants };
    size_t at = 0;
    o->found = true;
    o->is = *d;
    buf_reset(&o->texts);
    buf_reset(&o->place);
    (void)buf_put_span(&o->place, cluster_seal_about(d->kind, d->name, d->selector, about));
    for (size_t i = 0; i < 5; i++)
        (void)buf_put_span(&o->texts, from[i]);
    for (size_t i = 0; i < 5; at += from[i++].n)
        *to[i] = span_of(o->texts.data == NULL ? "" : o->texts.data + at, from[i].n);
    return 1;
}

static bool next_older(struct cluster *c, struct older *o)
{
    struct machine *m = cluster_machine(c);
    o->found = false;
    machine_read_lock(m);
    (void)directory_sealed_each(m, buf_span(&o->place), older_cb, o);
    machine_read_unlock(m);
    return o->found && buf_err(&o->texts) == 0 && buf_err(&o->place) == 0;
}

/* ERR_DENIED: nobody can open it. ERR_BUSY: somebody changed it meanwhile. */
static int reseal(void *ctx, const struct admin_caller *by, const struct directory_sealed *d,
                  const struct seal_key *old, const struct seal_key *key, struct admin_error *e)
{
    char about[CLUSTER_SEAL_ABOUT_MAX];
    struct machine_result r;
    struct buf plain, sealed;
    buf_init(&plain, COMMAND_SEALED_MAX);
    buf_init(&sealed, COMMAND_SEALED_MAX);
    struct span what = cluster_seal_about(d->kind, d->name, d->selector, about);
    int err = buf_reserve(&plain, d->sealed.n);
    if (err == 0)
        err = d->number == old->number ? seal_open(old, what, d->sealed, &plain) : ERR_DENIED;
    if (err == 0)
        err = seal_put(key, what, buf_span(&plain), &sealed);
    if (plain.data != NULL)
        OPENSSL_cleanse(plain.data, plain.cap);
    struct command cmd = { .type = COMMAND_SEALED_SET,
                           .sealed_set = { .by = { .version = d->version },
                                           .kind = d->kind,
                                           .name = d->name,
                                           .selector = d->selector,
                                           .number = key->number,
                                           .sealed = buf_span(&sealed),
                                           .public = d->public,
                                           .not_before_ms = d->not_before_ms,
                                           .not_after_ms = d->not_after_ms,
                                           .subdomains = d->subdomains,
                                           .tenants = d->tenants } };
    if (err == 0)
        err = cluster_submit(ctx, by, &cmd, &r, e);
    buf_fini(&plain);
    buf_fini(&sealed);
    return err;
}

/* One after another, as long as there is time. */
static int reseal_all(void *ctx, const struct admin_caller *by, const struct seal_key *old,
                      const struct seal_key *key, uint32_t *done, uint32_t *left, struct admin_error *e)
{
    struct older o = { .number = key->number };
    int64_t by_ms = clock_boot_ms() + REKEY_MS;
    int err = 0;
    buf_init(&o.place, CLUSTER_SEAL_ABOUT_MAX);
    buf_init(&o.texts, COMMAND_BYTES_MAX);
    while (err == 0 && next_older(cluster_of(ctx), &o)) {
        err = clock_boot_ms() >= by_ms ? ERR_BUSY : reseal(ctx, by, &o.is, old, key, e);
        *done += err == 0;
        *left += err != 0;
        if (err == ERR_DENIED || err == ERR_BUSY || err == ERR_NOT_FOUND) {
            err = 0;
            e->text[0] = '\0';
        }
    }
    buf_fini(&o.place);
    buf_fini(&o.texts);
    return err;
}

static bool any_other(struct cluster *c, uint64_t number)
{
    struct older o = { .number = number };
    buf_init(&o.place, CLUSTER_SEAL_ABOUT_MAX);
    buf_init(&o.texts, COMMAND_BYTES_MAX);
    (void)next_older(c, &o);
    buf_fini(&o.place);
    buf_fini(&o.texts);
    return o.found;
}

int cluster_rekey(void *ctx, const struct admin_caller *by, bool lost, uint32_t *done, uint32_t *left,
                  struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct directory_sealing is = { 0 };
    struct seal_key key = { 0 }, old = { 0 };
    int err = cluster_barrier(ctx, e);
    if (err != 0)
        return err;
    if (!sealing_now(c, &is))
        return admin_fail(e, ERR_NOT_FOUND, "the cluster has no secrets yet");
    if (lost || !any_other(c, is.number)) { /* else the change before has not ended: this ends it */
        err = change(ctx, by, is.number + 1, lost, &key, e);
        if (err == 0 && !sealing_now(c, &is))
            err = admin_fail(e, ERR_BUSY, "try again");
    } else if (cluster_seal_await(c, is.number, is.id, AWAIT_MS, &key) != 0) {
        err = admin_fail(e, ERR_TIMEOUT, "this node has not been given sealing key %llu yet",
                         (unsigned long long)is.number);
    }
    if (err == 0 && is.old_number != 0)
        (void)cluster_seal_await(c, is.old_number, is.old_id, lost ? 0 : AWAIT_MS, &old);
    if (err == 0)
        err = reseal_all(ctx, by, &old, &key, done, left, e);
    OPENSSL_cleanse(&key, sizeof key);
    OPENSSL_cleanse(&old, sizeof old);
    return err;
}
