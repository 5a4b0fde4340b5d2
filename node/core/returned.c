/* Mail that comes back: see returned.h. */
#include "node/core/returned.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "consensus/directory.h"
#include "node/bounce/report.h"
#include "node/core/cluster_impl.h"
#include "node/core/forward.h"
#include "node/core/report.h"
#include "node/core/secrets.h"
#include "node/core/suppress.h"
#include "node/core/warmup.h"
#include "node/policy/policy.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OWNERS 1024
#define PAGE 256 /* accounts looked at under one lock */

struct returned {
    struct worker *w;
    struct policy *policy; /* NULL: no member of a cluster */
    struct secrets *secrets;
    bool has_ref, complaints;
    struct bounce_ref ref;
    char to[SRS_ADDRESS_MAX + 1]; /* whom forwarded mail goes back to */
    struct buf head; /* of the message, up to BOUNCE_BYTES_MAX */
    char account[COMMAND_NAME_MAX + 1], tenant[COMMAND_NAME_MAX + 1];
};

/* ---- mail that goes out ---------------------------------------------------------------------------------
 */

static bool marks(const struct policy *p, const struct envelope *env, struct span account, uint8_t class)
{
    return p != NULL && p->bounces.domain[0] != 0 && (p->bounces.classes >> class & 1) && account.n > 0 &&
           env->mail_from.n > 0 && (env->flags & ENVELOPE_DSN) == 0;
}

/* The cluster's newest secret makes them; where there is none, the policy's key. NULL: nothing does. */
static const struct bounce_key *making_key(const struct policy *p, const struct secrets *secrets)
{
    const struct secret *s = secrets_at(secrets, SECRET_BOUNCES, 0);
    return s != NULL ? &s->key : p->bounces.has_key ? &p->bounces.key : NULL;
}

static int write_token(const struct policy *p, const struct secrets *secrets, const struct envelope *env,
                       struct span account, uint8_t class, struct span rcpt, char out[BOUNCE_TOKEN_TEXT + 1])
{
    const struct bounce_key *key = making_key(p, secrets);
    if (key == NULL)
        return ERR_NOT_FOUND;
    struct bounce_ref ref = { .day = (uint16_t)(env->arrival_ms / BOUNCE_DAY_MS),
                              .class = class,
                              .own = span_eq_nocase(env->mail_from, account),
                              .account = bounce_hash(account),
                              .rcpt = rcpt.n > 0 ? (uint32_t)bounce_hash(rcpt) : 0,
                              .salt = (uint16_t)(env->id ^ env->id >> 16 ^ env->id >> 32) };
    return bounce_token_write(key, &ref, out);
}

struct span returned_path(struct worker *w, const struct envelope *env, struct span rcpt,
                          char out[RETURNED_PATH_MAX])
{
    struct policy *p = w->node->cluster == NULL ? NULL : cluster_policy(w->node->cluster);
    char token[BOUNCE_TOKEN_TEXT + 1];
    struct span path = env->mail_from;
    if (forward_path(w, p, env, out)) {
        path = span_str(out);
    } else if (marks(p, env, env->account, env->class)) {
        struct secrets *secrets = cluster_secrets(w->node->cluster);
        int err = write_token(p, secrets, env, env->account, env->class, rcpt, token);
        int n = err != 0 ? 0 : snprintf(out, RETURNED_PATH_MAX, BOUNCE_LOCAL_PREFIX "%s@%s", token, p->bounces.domain);
        path = err != 0 ? path : span_of(out, (size_t)n);
        secrets_rele(secrets);
    }
    policy_rele(p);
    return path;
}

bool returned_mark(struct worker *w, const struct policy *policy, const struct envelope *env,
                   struct span account, uint8_t class, char out[BOUNCE_TOKEN_TEXT + 1])
{
    struct span rcpt = env->nrcpts == 1 ? env->rcpts[0].address : (struct span){ "", 0 };
    if (w->node->cluster == NULL || !marks(policy, env, account, class))
        return false;
    struct secrets *secrets = cluster_secrets(w->node->cluster);
    bool marked = write_token(policy, secrets, env, account, class, rcpt, out) == 0;
    secrets_rele(secrets);
    return marked;
}

/* ---- mail that comes back -------------------------------------------------------------------------------
 */

struct returned *returned_new(struct worker *w)
{
    struct returned *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->w = w;
    b->policy = w->node->cluster == NULL ? NULL : cluster_policy(w->node->cluster);
    b->secrets = w->node->cluster == NULL ? NULL : cluster_secrets(w->node->cluster);
    buf_init(&b->head, BOUNCE_BYTES_MAX);
    return b;
}

void returned_free(struct returned *b)
{
    if (b == NULL)
        return;
    policy_rele(b->policy);
    secrets_rele(b->secrets);
    buf_fini(&b->head);
    free(b);
}

/* Made with any of the cluster's secrets, or with the policy's key. */
static int read_token(const struct returned *b, struct span text, struct bounce_ref *out)
{
    const struct policy *p = b->policy;
    uint16_t today = (uint16_t)(clock_wall_ms() / BOUNCE_DAY_MS);
    uint16_t days = (uint16_t)(p->bounces.life_ms / BOUNCE_DAY_MS);
    const struct secret *s;
    int err = secrets_closed(b->secrets, SECRET_BOUNCES) ? ERR_FAILED : ERR_BAD;
    int got = ERR_BAD;
    for (uint32_t i = 0; got == ERR_BAD && (s = secrets_at(b->secrets, SECRET_BOUNCES, i)) != NULL; i++)
        got = bounce_token_read(&s->key, text, today, days, out);
    if (got == ERR_BAD && p->bounces.has_key)
        got = bounce_token_read(&p->bounces.key, text, today, days, out);
    return got == ERR_BAD ? err : got;
}

static bool is_postmaster(struct span local)
{
    return span_eq_nocase(local, SPAN_LIT("postmaster")) || span_eq_nocase(local, SPAN_LIT("abuse"));
}

/* Mail to the return path of forwarded mail: one at a time, as with our own. */
static const struct smtp_reply *forwarded_rcpt(struct returned *b, const struct smtp_path *rcpt, bool null_sender,
                                               struct span *to, int *err)
{
    static const struct smtp_reply one = { 452, "4.5.3", "One return path at a time" };
    char address[SRS_ADDRESS_MAX + 1];
    const struct smtp_reply *no = NULL;
    *err = forward_return(b->w, b->policy, b->secrets, rcpt, null_sender, address, &no);
    if (*err != 0 || no != NULL)
        return no;
    if (b->has_ref || b->complaints || b->to[0] != '\0')
        return &one;
    memcpy(b->to, address, sizeof b->to);
    *to = span_str(b->to);
    return NULL;
}

const struct smtp_reply *returned_rcpt(struct returned *b, const struct smtp_path *rcpt, bool null_sender,
                                       struct span *to)
{
    static const struct smtp_reply relay = { 550, "5.7.1", "Relaying denied" };
    static const struct smtp_reply nobody = { 550, "5.1.1", "No such address here" };
    static const struct smtp_reply expired = { 550, "5.1.1", "This return path has expired" };
    static const struct smtp_reply one = { 452, "4.5.3", "One return path at a time" };
    static const struct smtp_reply later = { 451, "4.3.2", "Not taking reports just now" };
    static const struct span prefix = { BOUNCE_LOCAL_PREFIX, sizeof BOUNCE_LOCAL_PREFIX - 1 };
    const struct policy *p = b->policy;
    *to = (struct span){ "", 0 };
    if (p == NULL)
        return &later;
    int none;
    const struct smtp_reply *no = forwarded_rcpt(b, rcpt, null_sender, to, &none);
    if (none == 0)
        return no;
    bool forwarding = p->forwarding.domain[0] != 0 && span_eq_nocase(rcpt->domain, span_str(p->forwarding.domain));
    if (!forwarding &&
        (p->bounces.domain[0] == 0 || !span_eq_nocase(rcpt->domain, span_str(p->bounces.domain))))
        return &relay;
    if (p->bounces.domain[0] == 0)
        return &nobody;
    if (is_postmaster(rcpt->local)) {
        *to = span_str(p->bounces.postmaster);
        return NULL;
    }
    if (p->bounces.complaints[0] != 0 && span_eq_nocase(rcpt->local, span_str(p->bounces.complaints))) {
        b->complaints = true;
        return NULL;
    }
    if (rcpt->local.n <= prefix.n || strncasecmp(rcpt->local.p, prefix.p, prefix.n) != 0)
        return &nobody;
    if (b->has_ref || b->to[0] != 0)
        return &one;
    int err = read_token(b, span_sub(rcpt->local, prefix.n), &b->ref);
    b->has_ref = err == 0;
    return err == 0 ? NULL : err == ERR_TIMEOUT ? &expired : err == ERR_BAD ? &nobody : &later;
}

void returned_content(struct returned *b, struct span bytes)
{
    size_t room = BOUNCE_BYTES_MAX - b->head.len;
    if (b->has_ref || b->complaints)
        (void)buf_put(&b->head, bytes.p, bytes.n < room ? bytes.n : room);
}

/* Whose the last ones were, since all accounts are looked at to find one: each in its place by its hash. */
struct returned_owners {
    pthread_mutex_t lock;
    struct {
        uint64_t hash; /* 0: none */
        char name[COMMAND_NAME_MAX + 1];
    } items[OWNERS];
};

struct returned_owners *returned_owners_new(void)
{
    struct returned_owners *o = calloc(1, sizeof *o);
    if (o != NULL)
        pthread_mutex_init(&o->lock, NULL);
    return o;
}

void returned_owners_free(struct returned_owners *o)
{
    if (o == NULL)
        return;
    pthread_mutex_destroy(&o->lock);
    free(o);
}

static bool owner_known(struct returned_owners *o, uint64_t hash, char out[COMMAND_NAME_MAX + 1])
{
    pthread_mutex_lock(&o->lock);
    bool known = o->items[hash % OWNERS].hash == hash;
    if (known)
        memcpy(out, o->items[hash % OWNERS].name, COMMAND_NAME_MAX + 1);
    pthread_mutex_unlock(&o->lock);
    return known;
}

static void owner_note(struct returned_owners *o, uint64_t hash, const char name[COMMAND_NAME_MAX + 1])
{
    pthread_mutex_lock(&o->lock);
    o->items[hash % OWNERS].hash = hash;
    memcpy(o->items[hash % OWNERS].name, name, COMMAND_NAME_MAX + 1);
    pthread_mutex_unlock(&o->lock);
}

struct search {
    struct returned *b;
    uint32_t seen;
    bool found;
    char last[COMMAND_NAME_MAX + 1];
};

static int match_account(void *arg, const struct directory_account *a)
{
    struct search *s = arg;
    if (bounce_hash(a->name) == s->b->ref.account) {
        s->found = true;
        snprintf(s->b->account, sizeof s->b->account, "%.*s", (int)a->name.n, a->name.p);
        snprintf(s->b->tenant, sizeof s->b->tenant, "%.*s", (int)a->tenant.n, a->tenant.p);
        return 1;
    }
    if (++s->seen % PAGE != 0)
        return 0;
    snprintf(s->last, sizeof s->last, "%.*s", (int)a->name.n, a->name.p);
    return 1;
}

/* It may have been removed since, or be another tenant's. */
static bool find_known(struct returned *b, struct machine *m, const char *name)
{
    struct search s = { .b = b };
    struct directory_account a;
    machine_read_lock(m);
    bool found = directory_account_find(m, span_str(name), &a);
    if (found)
        (void)match_account(&s, &a);
    machine_read_unlock(m);
    return s.found;
}

/* Whose it is: an account of the cluster, by its name's hash. */
static bool find_account(struct returned *b)
{
    struct machine *m = cluster_machine(b->w->node->cluster);
    struct returned_owners *owners = b->w->node->cluster->owners;
    struct search s = { .b = b };
    char name[COMMAND_NAME_MAX + 1];
    uint32_t before;
    if (owner_known(owners, b->ref.account, name) && find_known(b, m, name))
        return true;
    do {
        before = s.seen;
        char after[COMMAND_NAME_MAX + 1];
        memcpy(after, s.last, sizeof after);
        machine_read_lock(m);
        (void)directory_account_each(m, span_str(after), match_account, &s);
        machine_read_unlock(m);
    } while (!s.found && s.seen != before && s.seen % PAGE == 0);
    if (s.found)
        owner_note(owners, b->ref.account, b->account);
    return s.found;
}

static bool is_token_of(const struct returned *b, const char *path, struct bounce_ref *out)
{
    struct smtp_path parsed;
    size_t n = sizeof BOUNCE_LOCAL_PREFIX - 1;
    return smtp_mailbox_parse(span_str(path), &parsed) == 0 && parsed.local.n > n &&
           strncasecmp(parsed.local.p, BOUNCE_LOCAL_PREFIX, n) == 0 &&
           read_token(b, span_sub(parsed.local, n), out) == 0;
}

/* A complaint came without a return path of ours: our field, or the path, in what it is about. */
static bool find_mark(struct returned *b, const struct bounce_report *r)
{
    return read_token(b, span_str(r->mark), &b->ref) == 0 || is_token_of(b, r->return_path, &b->ref);
}

/* Only of the recipient to whom the message went: else anybody who gets our mail could have others' addresses
 * suppressed. */
static bool is_about(const struct returned *b, const struct bounce_rcpt *rcpt)
{
    return b->ref.rcpt != 0 && (uint32_t)bounce_hash(span_str(rcpt->address)) == b->ref.rcpt;
}

static void settle_rcpt(struct returned *b, const struct bounce_rcpt *rcpt)
{
    report_returned(
        b->w, &(struct report_returned){ .account = span_str(b->account),
                                         .tenant = span_str(b->tenant),
                                         .rcpt = span_str(rcpt->address),
                                         .rule = bounce_class_name(rcpt->class),
                                         .class = rcpt->class,
                                         .kind = rcpt->hard ? REPORT_RETURNED_HARD : REPORT_RETURNED_SOFT,
                                         .code = rcpt->code,
                                         .status = rcpt->status,
                                         .text = span_str(rcpt->text) });
    if (rcpt->dead && is_about(b, rcpt))
        suppress_bounced(b->w->node->cluster, &(struct suppress_bounce){ .tenant = span_str(b->tenant),
                                                                         .address = span_str(rcpt->address),
                                                                         .class = b->ref.class,
                                                                         .why = rcpt->class,
                                                                         .text = span_str(rcpt->text) });
}

static void settle_report(struct returned *b, const struct bounce_report *r)
{
    static const uint8_t none[3];
    if (r->kind == BOUNCE_COMPLAINT)
        report_returned(b->w,
                        &(struct report_returned){ .account = span_str(b->account),
                                                   .tenant = span_str(b->tenant),
                                                   .rcpt = span_str(r->nrcpts > 0 ? r->rcpts[0].address : ""),
                                                   .rule = r->feedback,
                                                   .kind = REPORT_RETURNED_COMPLAINT,
                                                   .status = none,
                                                   .text = span_of("", 0) });
    for (uint32_t i = 0; r->kind == BOUNCE_COMPLAINT && i < r->nrcpts; i++)
        if (is_about(b, &r->rcpts[i]))
            warmup_complained(b->w, span_str(r->source_ip), span_str(r->rcpts[i].address));
    for (uint32_t i = 0; r->kind == BOUNCE_REPORT && i < r->nrcpts; i++)
        if (r->rcpts[i].action == BOUNCE_FAILED)
            settle_rcpt(b, &r->rcpts[i]);
}

void returned_settle(struct returned *b, struct span *to)
{
    struct bounce_report r;
    static const uint8_t none[3];
    *to = (struct span){ "", 0 };
    if (!b->has_ref && !b->complaints)
        return;
    int err = buf_err(&b->head) != 0 ? buf_err(&b->head) : bounce_report_read(buf_span(&b->head), &r);
    if (err != 0) {
        log_warn("bounces", "a report could not be read: %s", err_text(err));
        return;
    }
    bool known = (b->has_ref || find_mark(b, &r)) && find_account(b);
    if (known && r.kind != BOUNCE_NOTHING)
        settle_report(b, &r);
    else
        report_returned(b->w, &(struct report_returned){ .account = span_str(b->account),
                                                         .tenant = span_str(b->tenant),
                                                         .rcpt = span_of("", 0),
                                                         .rule = known ? "unreadable" : "unknown sender",
                                                         .kind = REPORT_RETURNED_OTHER,
                                                         .status = none,
                                                         .text = span_of("", 0) });
    /* As it came, to whoever asked for it by sending under its own address. */
    if (known && b->has_ref && b->ref.own && r.kind != BOUNCE_COMPLAINT && strchr(b->account, '@') != NULL)
        *to = span_str(b->account);
    bounce_report_fini(&r);
}
