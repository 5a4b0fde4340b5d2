/* Whether domains are proven (proof.h): the leader looks for their records now and then, some at a time, on a
 * worker's resolver, and tells the cluster what it found. An operator may have a node look at once.
 *
 * A record that is missing now and then changes nothing. One that has been missing as often and as long as
 * the policy says is lost, and so is one whose time has run out while the DNS did not answer.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"
#include "node/core/proof.h"
#include "node/core/report.h"
#include "node/net/dns.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 8
#define PAGE 256    /* of what the state has, in one turn */
#define TURN_MS 200 /* between two */
#define SUBMIT_MS 10000
#define FRESH_MS 3600000 /* a domain that was asked for so recently is looked for more often: */
#define EAGER_MS 60000
#define AGAIN_MS 30000 /* after a look without an answer */

enum slot_state { SLOT_FREE, SLOT_ASKED /* the worker's */, SLOT_ANSWERED, SLOT_TOLD /* the cluster is */ };

struct slot {
    struct proof_look look;
    struct cluster *c;
    atomic_int state;
    uint64_t version;
    bool was_good;
    int64_t until_ms, again_ms; /* until then it is not taken again */
};

struct cluster_proof {
    struct slot slots[AT_ONCE];
    int64_t turn_ms;
    char at[2 * COMMAND_NAME_MAX + 1]; /* the last one that was looked at, as its key */
    size_t nat;
};

int cluster_proof_new(struct cluster *c, struct cluster_proof **out)
{
    struct cluster_proof *p = calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    for (int i = 0; i < AT_ONCE; i++)
        p->slots[i].c = c;
    *out = p;
    return 0;
}

void cluster_proof_free(struct cluster_proof *p)
{
    for (int i = 0; p != NULL && i < AT_ONCE; i++)
        secrets_rele(p->slots[i].look.secrets);
    free(p);
}

/* ---- what a look makes of a domain ----------------------------------------------------------------------
 */

/* The command for what was found. False: nothing is to be said. */
static bool result_of(const struct policy *policy, const struct directory_proof *was,
                      const struct proof_look *look, struct command *out)
{
    int64_t now = clock_wall_ms();
    bool good = look->seen == PROOF_THERE;
    bool over = was->state == DIRECTORY_PROOF_PROVEN && now >= was->until_ms;
    bool missing = look->seen == PROOF_MISSING && was->fails + 1 >= policy->domains.failures &&
                   was->failing_ms != 0 && now - was->failing_ms >= policy->domains.failing_ms;
    if (look->seen == PROOF_UNKNOWN && !over)
        return false;
    *out = (struct command){ .type = COMMAND_DOMAIN_RESULT };
    out->domain_result = (struct command_domain_result){
        .by = { .wall_ms = now, .version = was->version },
        .tenant = span_str(look->tenant),
        .domain = span_str(look->domain),
        .outcome = good              ? COMMAND_DOMAIN_GOOD
                   : over || missing ? COMMAND_DOMAIN_LOST
                                     : COMMAND_DOMAIN_BAD,
        .until_ms = good ? (uint64_t)(now + policy->domains.valid_ms) : 0,
        .words = look->seen == PROOF_UNKNOWN ? SPAN_LIT("the DNS does not answer") : span_str(look->words)
    };
    return true;
}

struct told {
    struct worker_msg msg;
    char domain[256], tenant[COMMAND_NAME_MAX + 1], words[COMMAND_DOMAIN_WORDS_MAX + 1];
    uint8_t state;
};

static void run_told(struct worker *w, struct worker_msg *msg)
{
    struct told *t = LIST_ITEM(msg, struct told, msg);
    report_domain(w, span_str(t->tenant), span_str(t->domain), directory_proof_name(t->state),
                  span_str(t->words));
    free(t);
}

/* A domain is proven now, or lost: into the log, and the event log. */
static void tell(struct cluster *c, const struct directory_proof *p)
{
    log_info("domains", "domain %.*s of %.*s is %s%s%.*s", (int)p->domain.n, p->domain.p, (int)p->tenant.n,
             p->tenant.p, directory_proof_name(p->state), p->words.n > 0 ? ": " : "", (int)p->words.n,
             p->words.p);
    struct told *t = calloc(1, sizeof *t);
    if (t == NULL)
        return;
    t->msg.run = run_told;
    t->state = p->state;
    snprintf(t->domain, sizeof t->domain, "%.*s", (int)p->domain.n, p->domain.p);
    snprintf(t->tenant, sizeof t->tenant, "%.*s", (int)p->tenant.n, p->tenant.p);
    snprintf(t->words, sizeof t->words, "%.*s", (int)p->words.n, p->words.p);
    if (worker_post(&c->node->workers[0], &t->msg) != 0)
        free(t);
}

/* ---- the leader -----------------------------------------------------------------------------------------
 */

static void looked(struct proof_look *look)
{
    atomic_store(&((struct slot *)look->ctx)->state, SLOT_ANSWERED);
}

static bool stopping(const struct node *n)
{
    return atomic_load(&n->state) == NODE_STOPPING;
}

static void run_look(struct worker *w, struct worker_msg *msg)
{
    struct proof_look *l = LIST_ITEM(msg, struct proof_look, msg);
    if (!stopping(w->node)) /* else it may come after the worker's end, and has no resolver */
        proof_look_start(w, l);
}

static int record_name(const struct policy *policy, const char *domain, char *out, size_t cap)
{
    int n = snprintf(out, cap, "%s.%s", policy->domains.record, domain);
    return n < 0 || (size_t)n >= cap ? ERR_LIMIT : 0;
}

/* Takes a reference of the secrets. */
static int look_prepare(struct proof_look *look, const struct policy *policy, struct secrets *secrets,
                        struct span tenant, struct span domain)
{
    if (tenant.n >= sizeof look->tenant || domain.n >= sizeof look->domain)
        return ERR_LIMIT;
    snprintf(look->tenant, sizeof look->tenant, "%.*s", (int)tenant.n, tenant.p);
    snprintf(look->domain, sizeof look->domain, "%.*s", (int)domain.n, domain.p);
    look->secrets = secrets_hold(secrets);
    return record_name(policy, look->domain, look->name, sizeof look->name);
}

static void slot_end(struct slot *s, int64_t again_ms)
{
    secrets_rele(s->look.secrets);
    s->look.secrets = NULL;
    s->again_ms = again_ms;
    atomic_store(&s->state, SLOT_FREE);
}

static void told_cb(void *ctx, int err, const struct machine_result *r)
{
    struct slot *s = ctx;
    struct directory_proof p;
    if (err == 0 && r->err == 0 &&
        directory_proof_find(s->c->m, span_str(s->look.tenant), span_str(s->look.domain), &p) &&
        directory_proof_good(&p) != s->was_good)
        tell(s->c, &p);
    slot_end(s, 0);
}

static void settle(struct cluster *c, const struct policy *policy, struct slot *s, int64_t now)
{
    struct directory_proof p;
    struct command cmd;
    bool known = directory_proof_find(c->m, span_str(s->look.tenant), span_str(s->look.domain), &p) &&
                 p.version == s->version && p.state != DIRECTORY_PROOF_VOUCHED;
    if (!known || !result_of(policy, &p, &s->look, &cmd)) {
        slot_end(s, known ? now + AGAIN_MS : 0);
        return;
    }
    cmd.domain_result.by.who = SPAN_LIT("proof");
    s->was_good = directory_proof_good(&p);
    atomic_store(&s->state, SLOT_TOLD);
    if (agent_submit(c->agent, &cmd, SUBMIT_MS, told_cb, s) != 0)
        slot_end(s, 0);
}

static bool is_due(const struct directory_proof *p, const struct policy *policy)
{
    int64_t now = clock_wall_ms(), every = policy->domains.recheck_ms;
    bool fresh = p->state == DIRECTORY_PROOF_ASKED && now - p->asked_ms < FRESH_MS;
    every = fresh && every > EAGER_MS ? EAGER_MS : every;
    if (p->state == DIRECTORY_PROOF_VOUCHED)
        return false;
    return p->checked_ms == 0 || now - p->checked_ms >= every || p->checked_ms > now ||
           (p->state == DIRECTORY_PROOF_PROVEN && now >= p->until_ms);
}

struct walk {
    struct cluster *c;
    const struct policy *policy;
    struct secrets *secrets;
    uint32_t seen;
    int64_t now_ms;
};

/* One that is free; none while this domain is under way, or was without an answer. */
static struct slot *slot_for(struct walk *k, const struct directory_proof *p)
{
    struct slot *free_one = NULL;
    for (int i = 0; i < AT_ONCE; i++) {
        struct slot *s = &k->c->proof->slots[i];
        bool is_free = atomic_load(&s->state) == SLOT_FREE;
        if ((!is_free || s->again_ms > k->now_ms) && span_eq(span_str(s->look.domain), p->domain) &&
            span_eq(span_str(s->look.tenant), p->tenant))
            return NULL;
        free_one = is_free && (free_one == NULL || s->again_ms < free_one->again_ms) ? s : free_one;
    }
    return free_one;
}

static int on_proof(void *arg, const struct directory_proof *p)
{
    struct walk *k = arg;
    struct cluster_proof *cp = k->c->proof;
    struct slot *s = is_due(p, k->policy) ? slot_for(k, p) : NULL;
    if (s != NULL) {
        s->version = p->version;
        s->look = (struct proof_look){ .done = looked, .ctx = s };
        s->look.msg.run = run_look;
        atomic_store(&s->state, SLOT_ASKED);
        if (look_prepare(&s->look, k->policy, k->secrets, p->tenant, p->domain) != 0 ||
            worker_post(&k->c->node->workers[0], &s->look.msg) != 0)
            slot_end(s, k->now_ms + AGAIN_MS);
    }
    memcpy(cp->at, p->tenant.p == NULL ? "" : p->tenant.p, p->tenant.n);
    cp->at[p->tenant.n] = '\0';
    memcpy(cp->at + p->tenant.n + 1, p->domain.p, p->domain.n);
    cp->nat = p->tenant.n + 1 + p->domain.n;
    return ++k->seen == PAGE;
}

/* A part of those that the state has. */
static void walk(struct cluster *c, const struct policy *policy, int64_t now)
{
    struct cluster_proof *cp = c->proof;
    char after[sizeof cp->at];
    size_t n = cp->nat;
    struct walk k = { .c = c, .policy = policy, .secrets = cluster_secrets(c), .now_ms = now };
    memcpy(after, cp->at, n);
    if (secrets_at(k.secrets, SECRET_DOMAINS, 0) != NULL && !secrets_closed(k.secrets, SECRET_DOMAINS) &&
        directory_proof_each(c->m, span_of(after, n), on_proof, &k) == 0)
        cp->nat = 0;
    secrets_rele(k.secrets);
}

void cluster_proof_tick(struct cluster *c, int64_t now)
{
    struct cluster_proof *cp = c->proof;
    if (now - cp->turn_ms < TURN_MS || stopping(c->node) ||
        command_type_level(COMMAND_DOMAIN_RESULT) > machine_features(c->m))
        return;
    cp->turn_ms = now;
    struct policy *policy = cluster_policy(c);
    for (int i = 0; policy != NULL && i < AT_ONCE; i++)
        if (atomic_load(&cp->slots[i].state) == SLOT_ANSWERED)
            settle(c, policy, &cp->slots[i], now);
    if (policy != NULL && policy->domains.prove != POLICY_PROVE_OFF)
        walk(c, policy, now);
    policy_rele(policy);
}

/* ---- an operator ----------------------------------------------------------------------------------------
 */

struct ask {
    struct proof_look look;
    sem_t done;
};

static void asked(struct proof_look *look)
{
    sem_post(&((struct ask *)look->ctx)->done);
}

static void ask(struct worker *w, void *arg)
{
    proof_look_start(w, &((struct ask *)arg)->look);
}

static int look_now(void *ctx, const struct admin_caller *by, const struct policy *policy,
                    struct secrets *secrets, struct span tenant, struct span domain, struct admin_proof *out,
                    struct admin_error *e)
{
    static const char *const found[] = { "there", "missing", "unknown" };
    struct cluster *c = cluster_of(ctx);
    struct machine *m = cluster_machine(c);
    struct ask a = { .look = { .done = asked, .ctx = &a } };
    struct directory_proof p;
    struct machine_result r;
    struct command cmd;
    int err = look_prepare(&a.look, policy, secrets, tenant, domain);
    if (err == 0) {
        sem_init(&a.done, 0, 0);
        worker_call(&c->node->workers[0], ask, &a);
        while (sem_wait(&a.done) != 0)
            ;
        sem_destroy(&a.done);
    }
    secrets_rele(a.look.secrets);
    if (err != 0)
        return admin_fail(e, err, "the domain's name is too long");
    out->found = found[a.look.seen];
    snprintf(out->words, sizeof out->words, "%s", a.look.words);
    machine_read_lock(m);
    bool known = directory_proof_find(m, tenant, domain, &p) && p.state != DIRECTORY_PROOF_VOUCHED;
    bool say = known && result_of(policy, &p, &a.look, &cmd);
    bool was = known && directory_proof_good(&p);
    machine_read_unlock(m);
    if (!say)
        return 0;
    err = cluster_submit(ctx, by, &cmd, &r, e);
    if (err == ERR_BUSY) { /* the leader has looked, too */
        e->text[0] = '\0';
        return 0;
    }
    machine_read_lock(m);
    if (err == 0 && directory_proof_find(m, tenant, domain, &p) && directory_proof_good(&p) != was)
        tell(c, &p);
    machine_read_unlock(m);
    return err;
}

int cluster_domain_name(const char *name, char out[256])
{
    return dns_name_normalise(span_str(name), out);
}

int cluster_domain_proof(void *ctx, const struct admin_caller *by, const char *tenant, const char *domain,
                         struct admin_proof *out, struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    const struct secret *s;
    char value[PROOF_VALUE_MAX];
    int err = cluster_secret_ensure(ctx, by, secret_use_name(SECRET_DOMAINS), e);
    if (err != 0)
        return err;
    struct secrets *secrets = cluster_secrets(c);
    for (int i = 0; i < 50 && secrets_at(secrets, SECRET_DOMAINS, 0) == NULL;
         i++) { /* it was made just now */
        secrets_rele(secrets);
        (void)usleep(20000);
        secrets = cluster_secrets(c);
    }
    struct policy *policy = cluster_policy(c);
    s = secrets_at(secrets, SECRET_DOMAINS, 0);
    if (s == NULL || policy == NULL)
        err = admin_fail(e, ERR_BUSY,
                         "this node cannot decrypt the secret that domains are challenged with (yet)");
    if (err == 0)
        err = proof_value(s, span_str(tenant), span_str(domain), value);
    if (err == 0)
        err = record_name(policy, domain, out->name, sizeof out->name);
    if (err == 0) {
        snprintf(out->value, sizeof out->value, "%s", value);
        if (out->look)
            err = look_now(ctx, by, policy, secrets, span_str(tenant), span_str(domain), out, e);
    }
    policy_rele(policy);
    secrets_rele(secrets);
    return err;
}
