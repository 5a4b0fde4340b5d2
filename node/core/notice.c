/* Notices by mail: see notice.h. */
#include "node/core/notice.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"
#include "node/core/local_mail.h"
#include "node/core/report.h"
#include "node/policy/policy.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVERY_MS (UINT64_C(24) * 3600000)
#define EVERY_LEAST_MS UINT64_C(3600000) /* of limits with short windows */
#define SUBMIT_MS 30000
/* What was seen is not looked at again before: a client that tries over and over costs next to nothing. */
#define RECENT_MS 600000
#define RECENT_MAX 4096 /* by hash: another one in its place is looked at a little sooner */
#define TEXT_BYTES_MAX 8192

struct item {
    struct list link;
    struct worker_msg msg;
    struct notices *n;
    struct worker *w; /* that saw it */
    struct ip_addr client;
    bool forward;
    uint8_t over;   /* enum policy_over: a limit of the account is reached. 0: a server needs reverse DNS */
    uint64_t for_ms;
    int64_t retry_ms;
    uint32_t held, recipients;
    char tenant[COMMAND_NAME_MAX + 1], account[COMMAND_NAME_MAX + 1], contact[COMMAND_NAME_MAX + 1];
    char name[256], reply[512];
};

struct notices {
    pthread_mutex_t lock;
    struct list waiting;
    uint32_t len; /* with those that are being claimed */
    struct {
        uint64_t hash;
        int64_t until_ms;
    } recent[RECENT_MAX];
};

struct notices *notices_new(void)
{
    struct notices *n = calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    pthread_mutex_init(&n->lock, NULL);
    list_init(&n->waiting);
    return n;
}

void notices_free(struct notices *n)
{
    if (n == NULL)
        return;
    for (struct list *link; (link = list_pop_front(&n->waiting)) != NULL;)
        free(LIST_ITEM(link, struct item, link));
    pthread_mutex_destroy(&n->lock);
    free(n);
}

/* ---- seeing, on a worker ------------------------------------------------------------------------------- */

/* Under the lock. */
static bool seen_recently(struct notices *n, uint64_t hash, int64_t now_ms)
{
    size_t at = hash % RECENT_MAX;
    if (n->recent[at].hash == hash && n->recent[at].until_ms > now_ms)
        return true;
    n->recent[at].hash = hash;
    n->recent[at].until_ms = now_ms + RECENT_MS;
    return false;
}

static bool copy(char *out, size_t cap, const char *text)
{
    size_t n = strlen(text);
    if (n >= cap)
        return false;
    memcpy(out, text, n + 1);
    return true;
}

static struct item *item_new(struct session *s, const char *name, bool forward, const char *reply)
{
    struct item *it = calloc(1, sizeof *it);
    if (it == NULL)
        return NULL;
    it->w = s->in->w;
    it->client = s->peer;
    it->forward = forward;
    if (copy(it->tenant, sizeof it->tenant, s->identity->tenant) &&
        copy(it->account, sizeof it->account, s->identity->account) &&
        copy(it->name, sizeof it->name, name) && copy(it->reply, sizeof it->reply, reply))
        return it;
    free(it);
    return NULL;
}

/* Takes the place of a hash in what waits, if it was not seen of late. */
static void wait_for_it(struct notices *n, struct item *it, uint64_t hash)
{
    pthread_mutex_lock(&n->lock);
    bool wanted = it != NULL && n->len < NOTICE_WAITING_MAX && !seen_recently(n, hash, clock_boot_ms());
    if (wanted) {
        it->n = n;
        list_push_back(&n->waiting, &it->link);
        n->len++;
    }
    pthread_mutex_unlock(&n->lock);
    if (!wanted)
        free(it);
}

void notice_reverse_dns(struct session *s, const char *name, bool forward, const char *reply)
{
    struct cluster *c = s->in->w->node->cluster;
    if (c == NULL || s->identity == NULL || s->identity->tenant[0] == '\0')
        return;
    struct notices *n = c->notices;
    uint64_t hash =
        hash_u64(hash_bytes(s->identity->tenant, strlen(s->identity->tenant)) ^ ip_addr_hash(&s->peer));
    wait_for_it(n, item_new(s, name, forward, reply), hash);
}

static bool copy_span(char *out, size_t cap, struct span text)
{
    if (text.n >= cap)
        return false;
    memcpy(out, text.p, text.n);
    out[text.n] = '\0';
    return true;
}

void notice_over_limit(struct session *s, const struct notice_over *o)
{
    struct cluster *c = s->in->w->node->cluster;
    struct item *it = calloc(1, sizeof *it);
    if (it == NULL)
        return;
    it->w = s->in->w;
    it->client = s->peer;
    it->over = o->over;
    it->retry_ms = o->retry_ms;
    it->held = o->held;
    it->recipients = o->recipients;
    it->for_ms = o->window_ms < EVERY_LEAST_MS ? EVERY_LEAST_MS
                 : o->window_ms > EVERY_MS     ? EVERY_MS
                                               : o->window_ms;
    if (o->to.n == 0 || !copy_span(it->account, sizeof it->account, o->account) ||
        !copy_span(it->contact, sizeof it->contact, o->to) || !copy(it->name, sizeof it->name, o->limit) ||
        !copy(it->reply, sizeof it->reply, o->words)) {
        free(it);
        return;
    }
    wait_for_it(c->notices, it, hash_u64(hash_bytes(o->account.p, o->account.n) ^ hash_bytes(o->limit, strlen(o->limit))));
}

/* ---- writing, on that worker --------------------------------------------------------------------------- */

/* The message was queued. */
static void report_told(struct worker *w, uint64_t id, const char *rule, const char *tenant, const char *account,
                   const struct ip_addr *client, const char *contact)
{
    char ip[IP_TEXT_MAX];
    struct event e = EVENT_INIT(EVENT_NOTICE);
    e.id = id;
    e.rule = span_str(rule);
    e.tenant = span_str(tenant);
    e.account = span_str(account);
    e.client_ip = span_str(ip_addr_format(client, ip));
    e.recipient = span_str(contact);
    e.null_sender = true;
    report_event(w, &e);
}

static int put_text(const struct worker *w, const struct item *it, const struct local_mail *mail, struct buf *text,
                    uint32_t *header_bytes)
{
    if (it->over != 0) {
        struct notice_over_mail m = { .from = w->config->bounces.postmaster,
                                      .to = local_mail_to(mail),
                                      .message_id = local_mail_message_id(mail),
                                      .account = it->account,
                                      .limit = it->name,
                                      .words = it->reply,
                                      .retry_ms = it->retry_ms,
                                      .now_ms = clock_wall_ms(),
                                      .held = it->held,
                                      .recipients = it->recipients,
                                      .over = it->over };
        return notice_over_put(&m, text, header_bytes);
    }
    struct notice_mail m = { .from = w->config->bounces.postmaster,
                             .to = local_mail_to(mail),
                             .message_id = local_mail_message_id(mail),
                             .name = it->name,
                             .account = it->account,
                             .reply = it->reply,
                             .client = it->client,
                             .forward = it->forward,
                             .now_ms = clock_wall_ms() };
    return notice_mail_put(&m, text, header_bytes);
}

static void write_mail(struct worker *w, const struct item *it)
{
    const struct config *config = w->config;
    struct local_mail *mail;
    uint32_t header_bytes = 0;
    struct buf text;
    int err =
        local_mail_begin(w, "notice", span_str(config->bounces.postmaster), span_str(it->contact), &mail);
    if (err != 0) {
        log_warn("notice", "to %s: %s", it->contact, err_text(err));
        return;
    }
    uint64_t id = local_mail_id(mail);
    buf_init(&text, TEXT_BYTES_MAX);
    err = put_text(w, it, mail, &text, &header_bytes);
    err = local_mail_end(mail, err, &text, header_bytes, 0);
    if (err != 0)
        log_warn("notice", "to %s: %s", it->contact, err_text(err));
    else
        report_told(w, id, it->over != 0 ? "over_limit" : "reverse_dns", it->tenant, it->account, &it->client, it->contact);
}

static void run_granted(struct worker *w, struct worker_msg *msg)
{
    struct item *it = LIST_ITEM(msg, struct item, msg);
    if (w->stopping == 0)
        write_mail(w, it);
    free(it);
}

/* ---- claiming, on the cluster thread ------------------------------------------------------------------- */

/* `again`: the cluster did not answer. */
static void settle(struct item *it, bool again)
{
    struct notices *n = it->n;
    pthread_mutex_lock(&n->lock);
    if (again)
        list_push_back(&n->waiting, &it->link);
    else
        n->len--;
    pthread_mutex_unlock(&n->lock);
}

static void claimed_cb(void *ctx, int err, const struct machine_result *r)
{
    struct item *it = ctx;
    settle(it, err != 0);
    if (err != 0)
        return;
    if (r->err != 0 && r->err != ERR_EXISTS)
        log_debug("notice", "%s is not told: %s", it->over != 0 ? it->account : it->tenant, r->words);
    it->msg.run = run_granted;
    if (r->err != 0 || worker_post(it->w, &it->msg) != 0)
        free(it);
}

/* Likewise. */
static int propose_over(struct cluster *c, struct item *it)
{
    char about[64 + 16];
    struct command cmd = { .type = COMMAND_SENDER_NOTICE };
    snprintf(about, sizeof about, "over-limit %.63s", it->name);
    cmd.notice_claim = (struct command_notice_claim){ .tenant = span_str(it->account),
                                                      .about = span_str(about),
                                                      .for_ms = it->for_ms };
    if (command_type_level(cmd.type) > machine_features(c->m) ||
        directory_notice_given(c->m, cmd.notice_claim.tenant, cmd.notice_claim.about, machine_now_ms(c->m)))
        return ERR_NOT_FOUND;
    return agent_submit(c->agent, &cmd, SUBMIT_MS, claimed_cb, it);
}

/* ERR_NOT_FOUND: there is nobody to tell, or he was told. */
static int propose(struct cluster *c, struct item *it)
{
    if (it->over != 0)
        return propose_over(c, it);
    char about[64], ip[IP_TEXT_MAX];
    struct span contact;
    struct command cmd = { .type = COMMAND_NOTICE_CLAIM };
    snprintf(about, sizeof about, "reverse-dns %s", ip_addr_format(&it->client, ip));
    cmd.notice_claim = (struct command_notice_claim){ .tenant = span_str(it->tenant),
                                                      .about = span_str(about),
                                                      .for_ms = EVERY_MS };
    if (command_type_level(cmd.type) > machine_features(c->m) ||
        !directory_contact_find(c->m, cmd.notice_claim.tenant, &contact) || contact.n >= sizeof it->contact ||
        directory_notice_given(c->m, cmd.notice_claim.tenant, cmd.notice_claim.about, machine_now_ms(c->m)))
        return ERR_NOT_FOUND;
    memcpy(it->contact, contact.p, contact.n);
    it->contact[contact.n] = '\0';
    return agent_submit(c->agent, &cmd, SUBMIT_MS, claimed_cb, it);
}

void notice_tick(struct cluster *c)
{
    struct notices *n = c->notices;
    for (unsigned i = 0; i < NOTICE_TURN_MAX; i++) {
        pthread_mutex_lock(&n->lock);
        struct list *link = list_pop_front(&n->waiting);
        pthread_mutex_unlock(&n->lock);
        if (link == NULL)
            return;
        struct item *it = LIST_ITEM(link, struct item, link);
        int err = propose(c, it);
        if (err == 0)
            continue;
        settle(it, err != ERR_NOT_FOUND);
        if (err != ERR_NOT_FOUND)
            return;
        free(it);
    }
}
