/* libunbound on a libuv loop: its thread asks, its descriptor wakes the loop, and what it may be asked at
 * once is bounded. What is asked for and what the answers mean for mail is in dns_site.c and dns_client.c.
 * One loop's thread.
 */
#include "node/net/dns_impl.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define TIMEOUT_MS 20000
#define UNDER_WAY_MAX 512
#define WAITING_MAX 16384
#define MX_MAX 20
#define CACHE_BYTES (16u << 20)
#define SET_MAX 65536
#define TTL_MIN_S 30
#define TTL_MAX_S 3600
#define TTL_NEGATIVE_MAX_S 300

struct dns_ask {
    struct list link; /* under way or waiting */
    struct dns *d;
    dns_ask_fn *fn; /* NULL: abandoned */
    void *ctx;
    bool under_way;
    int64_t asked_ms;
    int type;
    char name[];
};

uint64_t dns_random(struct dns *d) /* splitmix64 */
{
    uint64_t z = d->rng += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint32_t dns_ttl(uint32_t ttl_s, enum dns_status status)
{
    uint32_t max = status == DNS_OK ? TTL_MAX_S : TTL_NEGATIVE_MAX_S;
    return ttl_s < TTL_MIN_S ? TTL_MIN_S : ttl_s > max ? max : ttl_s;
}

/* ---- asks ---- */

static void ask_free(struct dns_ask *a)
{
    list_remove(&a->link);
    free(a);
}

static void ask_answer(struct dns_ask *a, const struct dns_reply *reply)
{
    dns_ask_fn *fn = a->fn;
    void *ctx = a->ctx;
    struct dns *d = a->d;
    ask_free(a);
    if (reply->status == DNS_TEMPORARY)
        d->stats.failed++;
    else
        d->stats.answered++;
    if (fn != NULL)
        fn(ctx, reply);
}

static void reply_from(struct dns_reply *reply, const struct ub_result *r, int64_t took_ms)
{
    *reply = (struct dns_reply){ .secure = r->secure != 0,
                                 .canon = r->canonname,
                                 .bogus = r->bogus != 0,
                                 .ttl_s = r->ttl < 0 ? 0 : (uint32_t)r->ttl };
    enum { NOERROR = 0, SERVFAIL = 2, NXDOMAIN = 3 };
    if (r->bogus) {
        reply->status = DNS_TEMPORARY;
        reply->reason = r->why_bogus == NULL ? "DNSSEC validation failed" : r->why_bogus;
    } else if (r->rcode == NXDOMAIN || (r->rcode == NOERROR && r->nxdomain)) {
        reply->status = DNS_PERMANENT;
    } else if (r->rcode != NOERROR) {
        reply->status = DNS_TEMPORARY;
        reply->quick_failure = r->rcode == SERVFAIL && took_ms < DNS_QUICK_MS;
        reply->reason = took_ms >= DNS_QUICK_MS ? "name servers do not answer"
                        : r->rcode == SERVFAIL  ? "name server failure"
                                                : "name server refused";
    } else if (r->havedata) {
        reply->data = r->data;
        reply->len = r->len;
        while (r->data[reply->n] != NULL)
            reply->n++;
    }
}

static void start_waiting(struct dns *d);

static void dns_ask_cb(void *mydata, int err, struct ub_result *result)
{
    struct dns_ask *a = mydata;
    struct dns *d = a->d;
    d->nunder_way--;
    struct dns_reply reply = { .status = DNS_TEMPORARY, .reason = ub_strerror(err) };
    if (err == 0)
        reply_from(&reply, result, timers_now_ms(d->timers) - a->asked_ms);
    ask_answer(a, &reply);
    if (result != NULL)
        ub_resolve_free(result);
}

/* 0, or an error and the ask is where it was. */
static int ask_start(struct dns_ask *a)
{
    struct dns *d = a->d;
    enum { CLASS_IN = 1 };
    int id;
    if (ub_resolve_async(d->ub, a->name, a->type, CLASS_IN, a, dns_ask_cb, &id) != 0)
        return ERR_FAILED;
    list_remove(&a->link);
    list_push_back(&d->under_way, &a->link);
    a->under_way = true;
    a->asked_ms = timers_now_ms(d->timers);
    d->nunder_way++;
    d->stats.asked++;
    return 0;
}

/* From the loop only: it may have to tell of a failure. */
static void start_waiting(struct dns *d)
{
    while (!d->closing && d->nunder_way < d->under_way_max) {
        struct list *l = list_first(&d->waiting);
        if (l == NULL)
            break;
        struct dns_ask *a = LIST_ITEM(l, struct dns_ask, link);
        d->nwaiting--;
        if (ask_start(a) != 0) {
            struct dns_reply reply = { .status = DNS_TEMPORARY, .reason = "libunbound takes no query" };
            ask_answer(a, &reply);
        }
    }
}

int dns_ask(struct dns *d, const char *name, int type, dns_ask_fn *fn, void *ctx, struct dns_ask **out)
{
    if (d->closing)
        return ERR_CLOSED;
    bool now = d->nunder_way < d->under_way_max && list_empty(&d->waiting);
    if (!now && d->nwaiting >= d->waiting_max) {
        d->stats.refused++;
        return ERR_LIMIT;
    }
    size_t len = strlen(name) + 1;
    struct dns_ask *a = calloc(1, sizeof *a + len);
    if (a == NULL)
        return -ENOMEM;
    a->d = d;
    a->fn = fn;
    a->ctx = ctx;
    a->type = type;
    memcpy(a->name, name, len);
    if (now) {
        int err = ask_start(a);
        if (err != 0) {
            free(a);
            return err;
        }
    } else {
        list_push_back(&d->waiting, &a->link);
        d->nwaiting++;
    }
    *out = a;
    return 0;
}

void dns_ask_cancel(struct dns_ask *a)
{
    if (a == NULL)
        return;
    if (a->under_way) {
        a->fn = NULL; /* libunbound goes on with it, so it keeps counting as under way */
        return;
    }
    a->d->nwaiting--;
    ask_free(a);
}

/* ---- requests ---- */

static void request_due(struct timer *t)
{
    struct dns_request *r = TIMER_ITEM(t, struct dns_request, timer);
    r->due(r);
}

int dns_request_init(struct dns_request *r, struct dns *d, void (*due)(struct dns_request *),
                     void (*drop)(struct dns_request *))
{
    *r = (struct dns_request){ .d = d, .due = due, .drop = drop };
    int err = timer_init(&r->timer, d->timers, request_due);
    if (err != 0)
        return err;
    timer_set(&r->timer, d->timeout_ms);
    list_push_back(&d->requests, &r->link);
    return 0;
}

void dns_request_soon(struct dns_request *r)
{
    timer_set(&r->timer, 0);
}

void dns_request_finish(struct dns_request *r)
{
    ensure(!r->done);
    r->done = true;
    timer_stop(&r->timer);
    list_remove(&r->link);
}

void dns_request_fini(struct dns_request *r)
{
    list_remove(&r->link);
    timer_fini(&r->timer);
}

void dns_cancel(struct dns_request *r)
{
    if (r != NULL && !r->done)
        r->drop(r);
}

/* ---- the context ---- */

static void poll_cb(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    struct dns *d = poll->data;
    ub_process(d->ub);
    start_waiting(d);
}

static int set_options(struct dns *d, const struct dns_config *config, struct buf *why)
{
    char under_way[16];
    char cache[16];
    snprintf(under_way, sizeof under_way, "%u", d->under_way_max);
    snprintf(cache, sizeof cache, "%u", config->cache_bytes == 0 ? CACHE_BYTES : config->cache_bytes);
    const struct {
        const char *name, *value;
    } options[] = {
        { "do-not-query-localhost:", "no" },
        { "outgoing-range:", under_way },
        { "num-queries-per-thread:", under_way },
        { "msg-cache-size:", cache },
        { "rrset-cache-size:", cache },
        { "cache-max-negative-ttl:", "300" },
        /* resend after 0.7, 1.4, 2.8 and 5 s: a resolver that has to ask around itself is given the time to
         */
        { "infra-cache-min-rtt:", "700" },
        { "infra-cache-max-rtt:", "10000" },
        { "infra-keep-probing:", "yes" },
        { "outbound-msg-retry:", "4" },
        /* names that libunbound would answer itself, but a site's own resolver may know */
        { "unblock-lan-zones:", "yes" },
        { "local-zone:", "test. transparent" },
        { "local-zone:", "home.arpa. transparent" },
        { "local-zone:", "127.in-addr.arpa. transparent" },
        { "local-zone:",
          "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa. transparent" },
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        int err = ub_ctx_set_option(d->ub, options[i].name, options[i].value);
        if (err != 0) {
            buf_printf(why, "libunbound: %s %s: %s", options[i].name, options[i].value, ub_strerror(err));
            return ERR_FAILED;
        }
    }
    return 0;
}

static int set_servers(struct dns *d, const struct dns_config *config, struct buf *why)
{
    int err = 0;
    const char *anchor = config->trust_anchor_file;
    if (anchor != NULL && access(anchor, R_OK) != 0) {
        buf_printf(why, "trust anchor %s: %s", anchor, uv_strerror(-errno));
        return ERR_BAD;
    }
    if (anchor != NULL && (err = ub_ctx_add_ta_file(d->ub, anchor)) != 0) {
        buf_printf(why, "trust anchor %s: %s", anchor, ub_strerror(err));
        return ERR_BAD;
    }
    if (config->recursive)
        return 0;
    for (size_t i = 0; i < config->nresolvers; i++) {
        if ((err = ub_ctx_set_fwd(d->ub, config->resolvers[i])) != 0) {
            buf_printf(why, "resolver %s: %s", config->resolvers[i], ub_strerror(err));
            return ERR_BAD;
        }
    }
    if (config->nresolvers == 0 && (err = ub_ctx_resolvconf(d->ub, NULL)) != 0) {
        buf_printf(why, "/etc/resolv.conf: %s", ub_strerror(err));
        return ERR_BAD;
    }
    return 0;
}

static int set_own(struct dns *d, const struct dns_config *config)
{
    ip_set_init(&d->allow, SET_MAX);
    ip_set_init(&d->own, SET_MAX);
    d->is_peer = config->is_peer;
    d->peer_ctx = config->peer_ctx;
    int err = 0;
    for (size_t i = 0; i < config->nallow && (err == 0 || err == ERR_EXISTS); i++)
        err = ip_set_add(&d->allow, &config->allow[i], NULL);
    for (size_t i = 0; i < config->nown && (err == 0 || err == ERR_EXISTS); i++) {
        struct ip_net net = ip_net_around(&config->own[i], 128);
        err = ip_set_add(&d->own, &net, NULL);
    }
    if (err != 0 && err != ERR_EXISTS)
        return err;
    d->own_names = calloc(config->nown_names + 1, sizeof *d->own_names);
    if (d->own_names == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < config->nown_names; i++) {
        if (dns_name_normalise(span_str(config->own_names[i]), d->own_names[d->nown_names].name) == 0)
            d->nown_names++;
    }
    return 0;
}

static void first_cb(void *mydata, int err, struct ub_result *result)
{
    (void)mydata, (void)err;
    ub_resolve_free(result);
}

/* libunbound only looks at its settings (the trust anchor's file) when it is first asked: so ask, for a name
 * that it knows itself. Its thread starts here. */
static int start_context(struct dns *d, struct buf *why)
{
    enum { CLASS_IN = 1 };
    int id;
    int err = ub_ctx_async(d->ub, 1);
    if (err == 0)
        err = ub_resolve_async(d->ub, "localhost", DNS_TYPE_A, CLASS_IN, NULL, first_cb, &id);
    if (err != 0) {
        buf_printf(why, "libunbound: %s", ub_strerror(err));
        return ERR_BAD;
    }
    return 0;
}

static uint32_t or_default(uint32_t v, uint32_t instead)
{
    return v == 0 ? instead : v;
}

/* libunbound makes and takes apart what all contexts share, without a lock of its own. */
static uv_mutex_t context_lock;
static uv_once_t context_once = UV_ONCE_INIT;

static void context_lock_make(void)
{
    ensure(uv_mutex_init(&context_lock) == 0);
}

static void context_guard(bool on)
{
    uv_once(&context_once, context_lock_make);
    if (on)
        uv_mutex_lock(&context_lock);
    else
        uv_mutex_unlock(&context_lock);
}

static void context_free(struct dns *d)
{
    if (d->ub != NULL) {
        context_guard(true);
        ub_ctx_delete(d->ub);
        context_guard(false);
    }
    for (struct list *l; (l = list_first(&d->under_way)) != NULL;)
        ask_free(LIST_ITEM(l, struct dns_ask, link));
    ip_set_fini(&d->allow);
    ip_set_fini(&d->own);
    free(d->own_names);
    dns_hosts_free(d->hosts);
    free(d);
}

int dns_new(uv_loop_t *loop, struct timers *timers, const struct dns_config *config, struct dns **out,
            struct buf *why)
{
    struct dns *d = calloc(1, sizeof *d);
    if (d == NULL) {
        buf_put_str(why, "out of memory");
        return -ENOMEM;
    }
    d->loop = loop;
    d->timers = timers;
    list_init(&d->requests);
    list_init(&d->under_way);
    list_init(&d->waiting);
    d->timeout_ms = or_default(config->timeout_ms, TIMEOUT_MS);
    d->under_way_max = or_default(config->under_way_max, UNDER_WAY_MAX);
    d->waiting_max = or_default(config->waiting_max, WAITING_MAX);
    d->mx_max = or_default(config->mx_max, MX_MAX);
    d->family = config->family;
    d->prefer_v4 = config->prefer_v4;
    d->rng = config->seed;
    if (d->rng == 0 && getrandom(&d->rng, sizeof d->rng, 0) != sizeof d->rng)
        d->rng = uv_hrtime(); /* it only spreads load */
    d->hosts = dns_hosts_read(config->hosts_file == NULL ? "/etc/hosts" : config->hosts_file);
    context_guard(true);
    d->ub = ub_ctx_create();
    int err = d->ub == NULL || d->hosts == NULL ? -ENOMEM : set_own(d, config);
    if (err != 0)
        buf_put_str(why, err_text(err));
    if (err == 0)
        err = set_options(d, config, why);
    if (err == 0)
        err = set_servers(d, config, why);
    if (err == 0)
        err = start_context(d, why);
    context_guard(false);
    if (err == 0 && (err = uv_poll_init(loop, &d->poll, ub_fd(d->ub))) != 0)
        buf_printf(why, "libunbound's descriptor: %s", uv_strerror(err));
    if (err != 0) {
        context_free(d);
        return err;
    }
    d->poll.data = d;
    uv_poll_start(&d->poll, UV_READABLE, poll_cb);
    *out = d;
    return 0;
}

static void poll_closed(uv_handle_t *h)
{
    struct dns *d = h->data;
    void (*closed)(void *) = d->closed;
    void *ctx = d->closed_ctx;
    context_free(d);
    if (closed != NULL)
        closed(ctx);
}

void dns_close(struct dns *d, void (*closed)(void *ctx), void *ctx)
{
    ensure(!d->closing);
    d->closing = true;
    d->closed = closed;
    d->closed_ctx = ctx;
    for (struct list *l; (l = list_first(&d->requests)) != NULL;) {
        struct dns_request *r = LIST_ITEM(l, struct dns_request, link);
        r->drop(r);
    }
    uv_close((uv_handle_t *)&d->poll, poll_closed);
}

bool dns_idle(const struct dns *d)
{
    return list_empty(&d->requests);
}

void dns_stats_get(const struct dns *d, struct dns_stats *out)
{
    *out = d->stats;
    out->under_way = d->nunder_way;
    out->waiting = d->nwaiting;
}
