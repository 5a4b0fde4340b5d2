/* Domains that tenants have proven to be theirs, by a record in the DNS that only they can make. What is here
 * is what was found; who looks, and when, is the leader's business (node/core/cluster_proof.c), and what a
 * domain that is not proven may do is the policy's. Times are wall clocks', as proposers saw them.
 *
 *     ASKED --> PROVEN <--> LOST       VOUCHED
 *
 * Bounded by DIRECTORY_PROOFS_MAX. From feature level 5 on.
 */
#include "base/ensure.h"
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdlib.h>

#define PROOF_FEATURE 5

struct proof {
    struct store_rec rec;
    struct span key; /* tenant, 0, domain */
    struct span who, words;
    uint16_t ntenant;
    uint8_t state;
    uint32_t fails;
    int64_t asked_ms, proven_ms, checked_ms, until_ms, failing_ms;
    uint64_t version;
};
#define PROOF_TEXTS(p) TEXTS(&(p)->key, &(p)->who, &(p)->words)

static struct span tenant_of(const struct proof *p)
{
    return span_of(p->key.p, p->ntenant);
}

static struct span domain_of(const struct proof *p)
{
    return span_sub(p->key, p->ntenant + 1u);
}

static struct span proof_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct proof *)rec)->key;
}

static void proof_encode(const struct store_rec *rec, struct buf *out)
{
    const struct proof *p = (const struct proof *)rec;
    (void)buf_put_counted(out, tenant_of(p));
    (void)buf_put_counted(out, domain_of(p));
    (void)buf_put_counted(out, p->who);
    (void)buf_put_counted(out, p->words);
    (void)buf_put_u8(out, p->state);
    (void)buf_put_u32(out, p->fails);
    (void)buf_put_u64(out, (uint64_t)p->asked_ms);
    (void)buf_put_u64(out, (uint64_t)p->proven_ms);
    (void)buf_put_u64(out, (uint64_t)p->checked_ms);
    (void)buf_put_u64(out, (uint64_t)p->until_ms);
    (void)buf_put_u64(out, (uint64_t)p->failing_ms);
    (void)buf_put_u64(out, p->version);
}

static void proof_free(struct store_rec *rec)
{
    struct proof *p = (struct proof *)rec;
    directory_texts_free(PROOF_TEXTS(p));
    free(p);
}

static bool names_ok(struct span tenant, struct span domain)
{
    for (size_t i = 0; i < domain.n; i++)
        if ((domain.p[i] >= 'A' && domain.p[i] <= 'Z') || domain.p[i] == '@')
            return false;
    return (tenant.n == 0 || directory_name_ok(tenant)) && directory_name_ok(domain);
}

static struct span key_put(struct span tenant, struct span domain, char out[2 * COMMAND_NAME_MAX + 1])
{
    if (tenant.n > 0)
        memcpy(out, tenant.p, tenant.n);
    out[tenant.n] = '\0';
    memcpy(out + tenant.n + 1, domain.p, domain.n);
    return span_of(out, tenant.n + 1 + domain.n);
}

/* NULL: no memory. */
static struct proof *make(struct span tenant, struct span domain, struct span who, struct span words)
{
    char key[2 * COMMAND_NAME_MAX + 1];
    struct proof *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    if (directory_texts_copy(PROOF_TEXTS(p), (struct span[]){ key_put(tenant, domain, key), who, words }) !=
        0) {
        proof_free(&p->rec);
        return NULL;
    }
    p->ntenant = (uint16_t)tenant.n;
    return p;
}

static int proof_decode(struct cursor *c, struct store_rec **out)
{
    struct span tenant = cursor_counted(c), domain = cursor_counted(c), who = cursor_counted(c),
                words = cursor_counted(c);
    struct proof is = { .state = cursor_u8(c) };
    is.fails = cursor_u32(c);
    is.asked_ms = (int64_t)cursor_u64(c);
    is.proven_ms = (int64_t)cursor_u64(c);
    is.checked_ms = (int64_t)cursor_u64(c);
    is.until_ms = (int64_t)cursor_u64(c);
    is.failing_ms = (int64_t)cursor_u64(c);
    is.version = cursor_u64(c);
    if (cursor_err(c))
        return cursor_err(c);
    if (tenant.n > COMMAND_NAME_MAX || domain.n > COMMAND_NAME_MAX || !names_ok(tenant, domain) ||
        who.n > COMMAND_TEXT_MAX || words.n > COMMAND_DOMAIN_WORDS_MAX || is.state < DIRECTORY_PROOF_ASKED ||
        is.state > DIRECTORY_PROOF_VOUCHED)
        return ERR_CORRUPT;
    struct proof *p = make(tenant, domain, who, words);
    if (p == NULL)
        return -ENOMEM;
    p->state = is.state;
    p->fails = is.fails;
    p->asked_ms = is.asked_ms;
    p->proven_ms = is.proven_ms;
    p->checked_ms = is.checked_ms;
    p->until_ms = is.until_ms;
    p->failing_ms = is.failing_ms;
    p->version = is.version;
    *out = &p->rec;
    return 0;
}

const struct store_type directory_proof_type = { 93,           "proven domain", proof_key,
                                                 proof_encode, proof_decode,    proof_free };

static struct proof *find(const struct machine *m, struct span tenant, struct span domain)
{
    char key[2 * COMMAND_NAME_MAX + 1];
    if (domain.n == 0 || tenant.n > COMMAND_NAME_MAX || domain.n > COMMAND_NAME_MAX)
        return NULL;
    return (struct proof *)store_find(m->store, &directory_proof_type, key_put(tenant, domain, key));
}

/* ---- the commands ---------------------------------------------------------------------------------------
 */

static bool too_early(const struct machine *m, struct machine_result *r)
{
    if (directory_features(m) >= PROOF_FEATURE)
        return false;
    machine_refuse(r, ERR_DENIED,
                   "the cluster's feature level is %u, proven domains need %d: see `turnpike cluster raise`",
                   directory_features(m), PROOF_FEATURE);
    return true;
}

static struct span whose(struct span tenant)
{
    return tenant.n == 0 ? SPAN_LIT("accounts without tenant") : tenant;
}

int directory_domain_ask(struct machine *m, const struct machine_at *at, const struct command *cmd,
                         struct machine_result *r)
{
    const struct command_domain_ask *c = &cmd->domain_ask;
    struct directory *d = m->directory;
    if (too_early(m, r))
        return 0;
    if (!names_ok(c->tenant, c->domain) || !directory_text_ok(c->by.who))
        return REFUSE(r, ERR_BAD, "tenant or domain are empty, not in lower case, or have blanks or an @");
    struct proof *was = find(m, c->tenant, c->domain);
    if (was != NULL && directory_stale(&c->by, was->version))
        return REFUSE(r, ERR_BUSY, "domain %.*s was changed meanwhile", S(c->domain));
    if (was != NULL && c->vouched == (was->state == DIRECTORY_PROOF_VOUCHED)) {
        r->id = was->version; /* it is asked for already */
        return 0;
    }
    if (was == NULL && d->proofs.len >= DIRECTORY_PROOFS_MAX)
        return REFUSE(r, ERR_LIMIT, "%d domains are known, which is the most", DIRECTORY_PROOFS_MAX);
    struct proof *p = make(c->tenant, c->domain, c->by.who, (struct span){ "", 0 });
    if (p == NULL)
        return -ENOMEM;
    p->state = c->vouched ? DIRECTORY_PROOF_VOUCHED : DIRECTORY_PROOF_ASKED;
    p->asked_ms = c->by.wall_ms;
    p->version = r->id = at->id;
    if (was != NULL)
        directory_drop(m, &d->proofs, &was->rec);
    int err = directory_add(m, &d->proofs, &p->rec);
    if (err != 0) {
        proof_free(&p->rec);
        return err;
    }
    return directory_audit(m, at, &c->by, "%s domain %.*s for %.*s",
                           c->vouched ? "vouch for" : "ask for proof of", S(c->domain), S(whose(c->tenant)));
}

/* What a look has found. True: the state is another one now. */
static bool take_result(struct proof *p, const struct command_domain_result *c)
{
    uint8_t was = p->state;
    p->checked_ms = c->by.wall_ms;
    if (c->outcome == COMMAND_DOMAIN_GOOD) {
        p->state = DIRECTORY_PROOF_PROVEN;
        p->proven_ms = was == DIRECTORY_PROOF_PROVEN ? p->proven_ms : c->by.wall_ms;
        p->until_ms = (int64_t)c->until_ms;
        p->failing_ms = 0;
        p->fails = 0;
        return was != DIRECTORY_PROOF_PROVEN;
    }
    p->failing_ms = p->failing_ms == 0 ? c->by.wall_ms : p->failing_ms;
    p->fails += p->fails < UINT32_MAX;
    if (c->outcome == COMMAND_DOMAIN_LOST && was == DIRECTORY_PROOF_PROVEN)
        p->state = DIRECTORY_PROOF_LOST;
    return p->state != was;
}

int directory_domain_result(struct machine *m, const struct machine_at *at, const struct command *cmd,
                            struct machine_result *r)
{
    const struct command_domain_result *c = &cmd->domain_result;
    if (too_early(m, r))
        return 0;
    struct proof *p = find(m, c->tenant, c->domain);
    if (p == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "nobody asks for proof of domain %.*s", S(c->domain));
    if (directory_stale(&c->by, p->version) || p->state == DIRECTORY_PROOF_VOUCHED)
        return REFUSE(r, ERR_BUSY, "domain %.*s was changed meanwhile", S(c->domain));
    if (!directory_text_ok(c->words) || c->until_ms > INT64_MAX)
        return REFUSE(r, ERR_BAD, "a text has control characters, or a date is out of range");
    struct span words = { NULL, 0 };
    int err = directory_text_set(&words, c->words);
    if (err != 0)
        return err;
    store_touch(m->store, &p->rec);
    directory_text_free(&p->words);
    p->words = words;
    p->version = r->id = at->id;
    if (!take_result(p, c))
        return 0;
    return directory_audit(m, at, &c->by, "domain %.*s of %.*s is %s%s%.*s", S(c->domain),
                           S(whose(c->tenant)), directory_proof_name(p->state), c->words.n > 0 ? ": " : "",
                           S(c->words));
}

int directory_domain_forget(struct machine *m, const struct machine_at *at, const struct command *cmd,
                            struct machine_result *r)
{
    const struct command_domain_forget *c = &cmd->domain_forget;
    if (too_early(m, r))
        return 0;
    struct proof *p = find(m, c->tenant, c->domain);
    if (p == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "domain %.*s of %.*s is not known", S(c->domain),
                      S(whose(c->tenant)));
    if (directory_stale(&c->by, p->version))
        return REFUSE(r, ERR_BUSY, "domain %.*s was changed meanwhile", S(c->domain));
    directory_drop(m, &m->directory->proofs, &p->rec);
    return directory_audit(m, at, &c->by, "forget domain %.*s of %.*s", S(c->domain), S(whose(c->tenant)));
}

/* ---- readers --------------------------------------------------------------------------------------------
 */

const char *directory_proof_name(uint8_t state)
{
    static const char *const names[] = { "unknown", "asked", "proven", "lost", "vouched" };
    return names[state > DIRECTORY_PROOF_VOUCHED ? 0 : state];
}

bool directory_proof_good(const struct directory_proof *p)
{
    return p->state == DIRECTORY_PROOF_PROVEN || p->state == DIRECTORY_PROOF_VOUCHED;
}

static struct directory_proof view(const struct proof *p)
{
    return (struct directory_proof){ .tenant = tenant_of(p),
                                     .domain = domain_of(p),
                                     .who = p->who,
                                     .words = p->words,
                                     .state = p->state,
                                     .asked_ms = p->asked_ms,
                                     .proven_ms = p->proven_ms,
                                     .checked_ms = p->checked_ms,
                                     .until_ms = p->until_ms,
                                     .failing_ms = p->failing_ms,
                                     .fails = p->fails,
                                     .version = p->version };
}

bool directory_proof_find(const struct machine *m, struct span tenant, struct span domain,
                          struct directory_proof *out)
{
    const struct proof *p = find(m, tenant, domain);
    if (p != NULL)
        *out = view(p);
    return p != NULL;
}

int directory_proof_each(const struct machine *m, struct span after, directory_proof_fn *fn, void *arg)
{
    struct directory_place at = directory_index_after(&m->directory->proofs, after);
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && (rec = directory_index_next(&m->directory->proofs, &at)) != NULL;) {
        struct directory_proof v = view((const struct proof *)rec);
        stop = fn(arg, &v);
    }
    return stop;
}
