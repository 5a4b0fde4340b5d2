/* Addresses that bulk mail is not sent to: see suppress.h. */
#include "node/core/suppress.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "consensus/directory.h"
#include "node/core/cluster_impl.h"
#include "node/core/session.h"
#include "node/policy/policy.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SUBMIT_MS 30000

struct waiting {
    struct list link;
    struct suppress *sp;
    enum bounce_class why;
    uint16_t ntenant, naddress, nreason;
    char text[]; /* tenant, address, reason */
};

struct suppress {
    pthread_mutex_t lock;
    struct list waiting;
    uint32_t n; /* with those that were proposed and have no answer yet */
    uint64_t forgotten;
    atomic_bool any; /* the list has entries: else nobody needs to look */
};

struct suppress *suppress_new(void)
{
    struct suppress *sp = calloc(1, sizeof *sp);
    if (sp == NULL)
        return NULL;
    pthread_mutex_init(&sp->lock, NULL);
    list_init(&sp->waiting);
    return sp;
}

void suppress_free(struct suppress *sp)
{
    if (sp == NULL)
        return;
    struct list *link;
    while ((link = list_pop_front(&sp->waiting)) != NULL)
        free(LIST_ITEM(link, struct waiting, link));
    pthread_mutex_destroy(&sp->lock);
    free(sp);
}

/* ---- refusing -------------------------------------------------------------------------------------------
 */

/* In lower case, as the list has it. 0: longer than any that is on it. */
static size_t normalize(struct span address, char out[COMMAND_NAME_MAX])
{
    if (address.n > COMMAND_NAME_MAX)
        return 0;
    for (size_t i = 0; i < address.n; i++)
        out[i] = (char)(address.p[i] >= 'A' && address.p[i] <= 'Z' ? address.p[i] - 'A' + 'a' : address.p[i]);
    return address.n;
}

static void refusal_put(const struct directory_suppressed *d, struct charge_reply *out)
{
    char date[32] = "", whose[96] = "the";
    time_t since = (time_t)(d->wall_ms / 1000);
    struct tm tm;
    if (gmtime_r(&since, &tm) != NULL)
        (void)strftime(date, sizeof date, "%Y-%m-%d", &tm);
    if (d->tenant.n != 0)
        snprintf(whose, sizeof whose, "%.*s's", d->tenant.n > 64 ? 64 : (int)d->tenant.n, d->tenant.p);
    int n = snprintf(out->text, sizeof out->text,
                     "<%.*s> is on %s suppression list since %s (%s), your postmaster can remove it",
                     d->address.n > 100 ? 100 : (int)d->address.n, d->address.p, whose, date,
                     bounce_class_words((enum bounce_class)d->class));
    for (int i = 0; i < n && out->text[i] != 0; i++) /* a reply has no other characters */
        if (out->text[i] < ' ' || out->text[i] == 0x7f)
            out->text[i] = '?';
    out->reply = (struct smtp_reply){ 550, "5.1.1", out->text };
}

bool suppress_refuses(struct session *s, struct span rcpt, struct charge_reply *out)
{
    struct cluster *cluster = s->in->w->node->cluster;
    const struct policy *policy = receive_charge(s)->policy;
    char address[COMMAND_NAME_MAX];
    if (cluster == NULL || policy == NULL || s->identity == NULL ||
        !(policy->suppression.classes >> receive_charge(s)->class & 1) || !atomic_load(&cluster->suppress->any))
        return false;
    struct machine *m = cluster_machine(cluster);
    size_t n = normalize(rcpt, address);
    struct directory_suppressed d;
    if (m == NULL || n == 0)
        return false;
    machine_read_lock(m);
    bool found = directory_suppressed_find(m, span_str(s->identity->tenant), span_of(address, n), &d);
    if (found)
        refusal_put(&d, out);
    machine_read_unlock(m);
    return found;
}

/* ---- adding ---------------------------------------------------------------------------------------------
 */

static size_t clean(struct span text, char *out, size_t max)
{
    size_t n = text.n < max ? text.n : max;
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(text.p[i] < ' ' || text.p[i] == 0x7f ? text.p[i] & 0x80 ? '?' : ' ' : text.p[i]);
    return n;
}

static struct waiting *waiting_new(struct suppress *sp, const struct suppress_bounce *b)
{
    char address[COMMAND_NAME_MAX], reason[COMMAND_SUPPRESS_REASON_MAX];
    size_t n = normalize(b->address, address), nreason = clean(b->text, reason, sizeof reason);
    if (n == 0 || memchr(address, '@', n) == NULL || b->tenant.n > COMMAND_NAME_MAX)
        return NULL;
    struct waiting *w = malloc(sizeof *w + b->tenant.n + n + nreason);
    if (w == NULL)
        return NULL;
    *w = (struct waiting){ .sp = sp,
                           .why = b->why,
                           .ntenant = (uint16_t)b->tenant.n,
                           .naddress = (uint16_t)n,
                           .nreason = (uint16_t)nreason };
    if (b->tenant.n != 0)
        memcpy(w->text, b->tenant.p, b->tenant.n);
    memcpy(w->text + w->ntenant, address, n);
    memcpy(w->text + w->ntenant + n, reason, nreason);
    return w;
}

void suppress_bounced(struct cluster *c, const struct suppress_bounce *b)
{
    struct policy *policy = c == NULL ? NULL : cluster_policy(c);
    bool wanted = policy != NULL && (policy->suppression.classes >> b->class & 1);
    policy_rele(policy);
    struct suppress *sp = c->suppress;
    struct waiting *w = wanted ? waiting_new(sp, b) : NULL;
    if (w == NULL)
        return;
    pthread_mutex_lock(&sp->lock);
    bool room = sp->n < SUPPRESS_WAITING_MAX;
    if (room) {
        list_push_back(&sp->waiting, &w->link);
        sp->n++;
    } else {
        sp->forgotten++;
    }
    pthread_mutex_unlock(&sp->lock);
    if (!room)
        free(w);
}

void suppress_result(struct worker *w, const struct attempt *a, uint32_t i, const struct bounce_reply *reply,
                     enum bounce_class why)
{
    const struct smtp_client_result *r = &a->results[i];
    const struct envelope *env = &a->info->env;
    /* What was said of the message as a whole is no word on one of several recipients. */
    bool about_it =
        r->stage == SMTP_CLIENT_STAGE_RCPT || (r->stage == SMTP_CLIENT_STAGE_DOT && a->nrcpts == 1);
    if (w->node->cluster == NULL || r->local || !about_it || env->account.n == 0)
        return;
    if (bounce_is_dead(reply, why))
        suppress_bounced(w->node->cluster,
                         &(struct suppress_bounce){ .tenant = env->tenant,
                                                    .address = env->rcpts[a->rcpts[i]].address,
                                                    .class = env->class,
                                                    .why = why,
                                                    .text = reply->text });
}

static struct waiting *take(struct suppress *sp, uint64_t *forgotten)
{
    pthread_mutex_lock(&sp->lock);
    struct list *link = list_pop_front(&sp->waiting);
    *forgotten = sp->forgotten;
    sp->forgotten = 0;
    pthread_mutex_unlock(&sp->lock);
    return link == NULL ? NULL : LIST_ITEM(link, struct waiting, link);
}

/* `again`: nobody knows that it was added, and a bounce that came back later comes once. */
static void settle(struct waiting *w, bool again)
{
    struct suppress *sp = w->sp;
    pthread_mutex_lock(&sp->lock);
    if (again)
        list_push_front(&sp->waiting, &w->link);
    else
        sp->n--;
    pthread_mutex_unlock(&sp->lock);
    if (!again)
        free(w);
}

static void added_cb(void *ctx, int err, const struct machine_result *r)
{
    struct waiting *w = ctx;
    if (err == 0 && r->err != 0)
        log_warn("bounces", "an address that bounced is not suppressed: %s", r->words);
    settle(w, err != 0);
}

/* False: not now. */
static bool propose(struct cluster *c, const struct policy *policy, struct waiting *w)
{
    struct directory_suppressed d;
    struct command cmd = { .type = COMMAND_SUPPRESS_ADD };
    cmd.suppress_add =
        (struct command_suppress_add){ .by = { .who = SPAN_LIT("bounce"), .wall_ms = clock_wall_ms() },
                                       .tenant = span_of(w->text, w->ntenant),
                                       .address = span_of(w->text + w->ntenant, w->naddress),
                                       .class = (uint8_t)w->why,
                                       .bounced = true,
                                       .for_ms = (uint64_t)policy->suppression.expire_ms,
                                       .most = policy->suppression.max_per_tenant,
                                       .reason = span_of(w->text + w->ntenant + w->naddress, w->nreason) };
    bool needed = command_type_level(cmd.type) <= machine_features(c->m) &&
                  !directory_suppressed_find(c->m, cmd.suppress_add.tenant, cmd.suppress_add.address, &d);
    int err = needed ? agent_submit(c->agent, &cmd, SUBMIT_MS, added_cb, w) : 0;
    if (err != 0)
        log_debug("bounces", "an address that bounced is not suppressed now: %s", err_text(err));
    if (!needed || err != 0)
        settle(w, err != 0);
    return err == 0;
}

void suppress_changed(struct cluster *c)
{
    atomic_store(&c->suppress->any, directory_suppressed_count(c->m) > 0);
}

void suppress_tick(struct cluster *c)
{
    struct suppress *sp = c->suppress;
    struct policy *policy = cluster_policy(c);
    uint64_t forgotten = 0;
    bool goes_on = policy != NULL;
    suppress_changed(c);
    for (unsigned i = 0; i < SUPPRESS_TURN_MAX && goes_on; i++) {
        struct waiting *w = take(sp, &forgotten);
        if (forgotten > 0)
            log_warn("bounces", "%llu addresses that bounced are not suppressed: too many at a time",
                     (unsigned long long)forgotten);
        goes_on = w != NULL && propose(c, policy, w);
    }
    policy_rele(policy);
}
