/* Delivery, on one worker: joins the queue, DNS and connections. */
#include "node/core/egress.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster.h"
#include "node/core/conn.h"
#include "node/core/frozen.h"
#include "node/core/held.h"
#include "node/core/node.h"
#include "node/core/outcome.h"
#include "node/core/report.h"
#include "node/core/tlsrpt.h"
#include "node/ledger/ledger.h"
#include "node/smtp/client.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define POLLS_PER_TURN 512     /* then the loop gets to its other work */
#define RESOLVER_LOOK_MS 500   /* until an old resolver is looked at again */
#define CUT_OFF_LOOK_MS 100    /* until a worker that is cut off looks for a session again */
#define TLS_SESSIONS_MAX 10000 /* remembered for resumption, per worker */
#define INTERFACES_MAX 256     /* addresses of this machine that are known as our own */
#define OWN_MAX (CONFIG_LISTENERS_MAX + CONFIG_SOURCES_MAX + INTERFACES_MAX)

int64_t egress_now_ms(const struct egress *e)
{
    (void)e;
    return clock_wall_ms();
}

/* ---- sites --------------------------------------------------------------------------------------------- */

static struct egress_site *site_of(struct egress *e, struct queue_site *qs)
{
    struct egress_site *site = queue_site_data(qs);
    if (site != NULL)
        return site;
    site = calloc(1, sizeof *site);
    if (site == NULL)
        return NULL;
    site->e = e;
    site->qs = qs;
    list_init(&site->waiting);
    queue_site_set_data(qs, site);
    return site;
}

void egress_site_forget(struct egress_site *site)
{
    if (site->sts_lookup != NULL)
        return; /* what was found waits for it */
    if (site->found != NULL)
        dns_site_rele(site->found);
    site->found = NULL;
}

static void egress_site_gone_cb(void *ctx, struct queue_site *qs, void *data)
{
    (void)ctx;
    (void)qs;
    struct egress_site *site = data;
    if (site == NULL)
        return;
    if (site->request != NULL)
        dns_cancel(site->request);
    egress_sts_forget(site);
    egress_pools_forget(site);
    egress_site_forget(site);
    egress_sites_leave(site);
    free(site);
}

static void egress_site_found_cb(void *ctx, struct dns_site *found)
{
    struct egress_site *site = ctx;
    site->request = NULL;
    report_lookup(site->e->w, found->status != DNS_TEMPORARY, clock_mono_ns() - site->asked_ns);
    if (site->found != NULL)
        dns_site_rele(site->found);
    dns_site_hold(found);
    site->found = found;
    site->joined_by = NULL;
    site->found_until_ms = timers_now_ms(&site->e->w->timers) + (int64_t)found->ttl_s * 1000;
    if (found->status != DNS_OK)
        egress_sts_forget(site);
    if (site->sts_lookup == NULL)
        conn_resolved(site);
}

int egress_site_resolve(struct egress_site *site)
{
    if (site->request != NULL || site->sts_lookup != NULL)
        return ERR_BUSY;
    int64_t now = timers_now_ms(&site->e->w->timers);
    if (site->found != NULL && site->found->status == DNS_OK && now < site->found_until_ms)
        return 0;
    egress_site_forget(site);
    site->asked_ns = clock_mono_ns();
    struct dns *dns = site->e->w->dns;
    struct route_hop hop;
    int err = route_hop_find(site->e->w->config, queue_site_key(site->qs), &hop);
    if (err != 0)
        return err;
    const struct config_route *r = hop.route;
    bool heed = route_key_tls(queue_site_key(site->qs)) != ROUTE_TLS_OPTIONAL; /* what the domain asks for */
    if (r != NULL && (r->hop.kind == CONFIG_HOP_HOST || r->hop.kind == CONFIG_HOP_ADDRESS)) {
        char text[IP_TEXT_MAX];
        struct span host = hop.domain;
        struct ip_addr addr;
        if (r->hop.kind == CONFIG_HOP_ADDRESS &&
            ip_from_sockaddr((const struct sockaddr *)&r->hop.address, &addr, NULL) == 0)
            host = span_str(ip_addr_format(&addr, text));
        site->request = dns_host(dns, host, hop.port, egress_site_found_cb, site);
    } else {
        site->request = dns_site(dns, hop.domain, egress_site_found_cb, site);
        if (site->request != NULL && heed && conn_policy_wants_sts(site->e->w->config, r))
            egress_sts_start(site, hop.domain);
        else
            egress_sts_forget(site);
    }
    if (site->request != NULL && heed && conn_policy_wants_dane(site->e->w->config, r))
        dns_want_dane(site->request, hop.port);
    if (site->request != NULL)
        return ERR_BUSY;
    log_error("egress", "no memory to look up %.*s", (int)hop.domain.n, hop.domain.p);
    return -ENOMEM;
}

/* ---- the queue's wishes -------------------------------------------------------------------------------- */

static void perform(struct egress *e, const struct queue_action *a)
{
    switch (a->kind) {
    case QUEUE_ACTION_OPEN_CONNECTION: {
        struct egress_site *site = site_of(e, a->site);
        if (site != NULL)
            conn_open(site);
        break;
    }
    case QUEUE_ACTION_USE_CONNECTION:
        conn_use(a->conn);
        break;
    case QUEUE_ACTION_CLOSE_CONNECTION:
        conn_quit(a->conn);
        break;
    case QUEUE_ACTION_EXPIRE:
        if (a->held)
            egress_held_expired(e, a->item);
        else
            outcome_expired(e, a->item);
        break;
    case QUEUE_ACTION_DELAY_NOTICE:
        outcome_delayed(e, a->item);
        break;
    }
}

static void poll_queue(struct egress *e)
{
    int64_t now = egress_now_ms(e);
    struct queue_action action;
    uint32_t polls = 0;
    e->kicked = false;
    (void)egress_cut_off(e);
    while (!e->stopping && polls < POLLS_PER_TURN && queue_poll(e->queue, now, &action)) {
        perform(e, &action);
        polls++;
    }
    if (e->stopping)
        return;
    int64_t wake = polls == POLLS_PER_TURN ? now : queue_next_wake_ms(e->queue, now);
    if (wake == INT64_MAX)
        timer_stop(&e->poll_timer);
    else
        timer_set(&e->poll_timer, wake <= now ? 0 : wake - now);
}

static void egress_prepare_cb(uv_prepare_t *prepare)
{
    struct egress *e = prepare->data;
    if (e->kicked)
        poll_queue(e);
}

static void egress_poll_timer_cb(struct timer *t)
{
    egress_kick(TIMER_ITEM(t, struct egress, poll_timer));
}

void egress_kick(struct egress *e)
{
    e->kicked = true;
}

void egress_add(struct egress *e, const struct queue_item_info *info)
{
    if (queue_add(e->queue, info, egress_now_ms(e)) == NULL) {
        char id[SPOOL_ID_TEXT];
        spool_id_format(info->id, id);
        log_error("egress", "%s waits for the next start: no memory", id);
        return;
    }
    egress_shaping_added(e, info->site);
    egress_kick(e);
}

struct queue_item *egress_divide(struct egress *e, struct queue_item *item, const uint32_t *take,
                                 uint32_t ntake, const uint32_t *leave, uint32_t nleave)
{
    struct queue_item_view v;
    queue_item_view(e->queue, item, &v);
    ensure(v.state != QUEUE_STATE_IN_FLIGHT);
    int64_t now = egress_now_ms(e);
    struct queue_item_info info = { .id = v.id,
                                    .site = queue_site_key(v.site),
                                    .sender = v.sender,
                                    .class = v.class,
                                    .arrival_ms = v.arrival_ms,
                                    .renewed = v.renewed,
                                    .next_ms = v.state == QUEUE_STATE_HELD ? v.held_since_ms : v.next_ms,
                                    .attempts = v.attempts,
                                    .held = v.state == QUEUE_STATE_HELD,
                                    .delay_told = v.delay_told,
                                    .nrcpts = ntake,
                                    .rcpts = take,
                                    .size_kib = v.size_kib };
    struct queue_item *taken = queue_add(e->queue, &info, now);
    if (taken == NULL)
        return NULL;
    info.nrcpts = nleave;
    info.rcpts = leave;
    if (queue_add(e->queue, &info, now) == NULL) {
        ensure(queue_remove(e->queue, taken) == 0);
        return NULL;
    }
    ensure(queue_remove(e->queue, item) == 0);
    return taken;
}

/* ---- start, reload, stop ------------------------------------------------------------------------------- */

static void queue_settings(const struct worker *w, struct queue_config *out)
{
    const struct config_delivery *d = &w->config->delivery;
    queue_config_default(out);
    out->nretry = d->nretry > QUEUE_RETRY_STEPS ? QUEUE_RETRY_STEPS : d->nretry;
    for (uint32_t i = 0; i < out->nretry; i++)
        out->retry_ms[i] = d->retry_ms[i];
    out->retry_jitter_pct = d->jitter_pct;
    out->expire_ms = d->expire_ms;
    out->expire_held_ms = w->egress == NULL ? 0 : w->egress->held.expire_ms;
    if (out->expire_grace_ms > d->expire_ms)
        out->expire_grace_ms = d->expire_ms;
    out->delay_notice_ms = d->delay_notice_ms;
    out->conns_start = d->connections_start;
    out->conns_max = d->connections_max;
    uint32_t total = d->connections_total / w->config->workers;
    out->conns_total_max = total == 0 ? 1 : total;
    if (out->reconnect_ms > d->retry_ms[0])
        out->reconnect_ms = d->retry_ms[0];
    for (int i = 0; i < QUEUE_CLASSES; i++)
        out->weight[i] = d->weight[i];
    out->seed = (uint64_t)clock_mono_ns() ^ w->index;
}

static void own_add(struct ip_addr own[OWN_MAX], size_t *n, const struct sockaddr *sa)
{
    if (*n < OWN_MAX && ip_from_sockaddr(sa, &own[*n], NULL) == 0)
        (*n)++;
}

/* Where a next hop would be ourselves. Who listens on all addresses listens on those of the interfaces. */
static size_t own_addrs(const struct config *c, struct ip_addr own[OWN_MAX])
{
    size_t n = 0;
    bool all = false;
    for (uint32_t i = 0; i < c->nlisteners; i++) {
        own_add(own, &n, (const struct sockaddr *)&c->listeners[i].address);
        all = all || (n > 0 && ip_addr_class(&own[n - 1]) == IP_CLASS_UNSPECIFIED);
    }
    for (uint32_t i = 0; i < c->nsources; i++)
        own_add(own, &n, (const struct sockaddr *)&c->sources[i].address);
    uv_interface_address_t *list;
    int found;
    if (!all || uv_interface_addresses(&list, &found) != 0)
        return n;
    for (int i = 0; i < found; i++)
        own_add(own, &n, (const struct sockaddr *)&list[i].address);
    uv_free_interface_addresses(list, found);
    return n;
}

static struct timespec hosts_time(void)
{
    struct stat st;
    return stat("/etc/hosts", &st) == 0 ? st.st_mtim : (struct timespec){ 0 };
}

static bool same_bytes(const void *a, const void *b, size_t n)
{
    return n == 0 || memcmp(a, b, n) == 0;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* A resolver for `a` would serve `b` too. The system's own servers may have changed unseen. */
static bool resolver_serves(const struct egress *e, const struct config *a, const struct config *b)
{
    struct timespec hosts = hosts_time();
    bool same = a->resolver.nservers > 0 && a->resolver.nservers == b->resolver.nservers &&
                same_bytes(a->resolver.servers, b->resolver.servers,
                           a->resolver.nservers * sizeof *a->resolver.servers) &&
                a->resolver.timeout_ms == b->resolver.timeout_ms &&
                same_text(a->resolver.trust_anchor_file, b->resolver.trust_anchor_file) &&
                a->delivery.ipv6 == b->delivery.ipv6 &&
                a->delivery.nallowed_networks == b->delivery.nallowed_networks &&
                same_bytes(a->delivery.allowed_networks, b->delivery.allowed_networks,
                           a->delivery.nallowed_networks * sizeof *a->delivery.allowed_networks) &&
                a->nlisteners == b->nlisteners && a->nsources == b->nsources &&
                same_text(a->hostname, b->hostname) && same_text(a->name, b->name) &&
                hosts.tv_sec == e->hosts_time.tv_sec && hosts.tv_nsec == e->hosts_time.tv_nsec;
    for (uint32_t i = 0; same && i < a->nlisteners; i++)
        same = same_bytes(&a->listeners[i].address, &b->listeners[i].address, sizeof a->listeners[i].address);
    for (uint32_t i = 0; same && i < a->nsources; i++)
        same = same_bytes(&a->sources[i].address, &b->sources[i].address, sizeof a->sources[i].address);
    return same;
}

static bool is_peer(void *ctx, const struct ip_addr *addr)
{
    const struct worker *w = ctx;
    return pool_view_is_ours(w->pools, addr);
}

static int resolver_new(struct worker *w, struct dns **out)
{
    const struct config *c = w->config;
    struct buf why;
    buf_init(&why, 1024);
    const char *resolvers[16];
    char texts[16][80];
    struct ip_addr own[OWN_MAX];
    struct dns_config dc = { .resolvers = resolvers,
                             .trust_anchor_file = c->resolver.trust_anchor_file,
                             .timeout_ms = (uint32_t)c->resolver.timeout_ms,
                             .family = c->delivery.ipv6 == CONFIG_IPV4_ONLY   ? DNS_FAMILY_V4
                                       : c->delivery.ipv6 == CONFIG_IPV6_ONLY ? DNS_FAMILY_V6
                                                                              : DNS_FAMILY_BOTH,
                             .allow = c->delivery.allowed_networks,
                             .nallow = c->delivery.nallowed_networks,
                             .own = own,
                             .nown = own_addrs(c, own),
                             .is_peer = is_peer,
                             .peer_ctx = w,
                             .own_names = (const char *const[]){ c->hostname, c->name },
                             .nown_names = 2 };
    for (uint32_t i = 0; i < c->resolver.nservers && i < 16; i++) {
        struct ip_addr a;
        uint16_t port;
        char text[IP_TEXT_MAX];
        if (ip_from_sockaddr((const struct sockaddr *)&c->resolver.servers[i], &a, &port) != 0)
            continue;
        snprintf(texts[i], sizeof texts[i], "%s@%u", ip_addr_format(&a, text), port);
        resolvers[dc.nresolvers++] = texts[i];
    }
    int err = dns_new(&w->loop, &w->timers, &dc, out, &why);
    if (err != 0)
        log_error("dns", "%.*s", (int)why.len, why.len == 0 ? "" : why.data);
    buf_fini(&why);
    return err;
}

static int tls_new(struct egress *e)
{
    struct buf why;
    buf_init(&why, 1024);
    struct tls_client_config config = { .sessions_max = TLS_SESSIONS_MAX };
    int err = tls_client_new(&config, &e->tls, &why);
    if (err != 0)
        log_error("tls", "%.*s", (int)why.len, why.len == 0 ? "" : why.data);
    buf_fini(&why);
    return err;
}

/* Until a worker of a cluster's node has heard who is frozen, everybody is. */
static bool is_frozen_cb(void *ctx, struct span sender, struct span tenant)
{
    const struct worker *w = ctx;
    return w->gated || w->cut_off || frozen_view_of(w->frozen, sender, tenant) != NULL;
}

void egress_frozen_changed(struct egress *e)
{
    queue_frozen_changed(e->queue, egress_now_ms(e));
    egress_kick(e);
}

bool egress_cut_off(struct egress *e)
{
    struct worker *w = e->w;
    struct cluster *c = w->node->cluster;
    bool now = c != NULL && cluster_holds(c) && (w->ledger == NULL || !ledger_session_valid(w->ledger));
    if (now != w->cut_off) {
        w->cut_off = now;
        egress_frozen_changed(e);
        if (now && !e->stopping)
            timer_set(&e->cut_off_timer, CUT_OFF_LOOK_MS);
    }
    return now;
}

static void egress_cut_off_timer_cb(struct timer *t)
{
    struct egress *e = TIMER_ITEM(t, struct egress, cut_off_timer);
    if (egress_cut_off(e) && !e->stopping)
        timer_set(t, CUT_OFF_LOOK_MS);
}

int egress_new(struct worker *w, struct egress **out)
{
    struct egress *e = calloc(1, sizeof *e);
    if (e == NULL)
        return -ENOMEM;
    e->w = w;
    e->hosts_time = hosts_time();
    list_init(&e->conns);
    list_init(&e->resolvers);
    struct queue_config config;
    queue_settings(w, &config);
    int err = -ENOMEM;
    if ((e->queue = queue_new(&config, clock_wall_ms())) == NULL)
        goto fail;
    queue_on_site_gone(e->queue, egress_site_gone_cb, e);
    queue_on_frozen(e->queue, is_frozen_cb, w);
    queue_on_held(e->queue, held_changed, w->node->held);
    if ((err = timer_init(&e->poll_timer, &w->timers, egress_poll_timer_cb)) != 0 ||
        (err = timer_init(&e->cut_off_timer, &w->timers, egress_cut_off_timer_cb)) != 0)
        goto fail;
    if ((err = reroute_init(&e->reroute, e)) != 0 || (err = egress_pools_init(e)) != 0 ||
        (err = egress_shaping_init(e)) != 0 || (err = egress_sites_init(e)) != 0 || (err = egress_held_init(&e->held, e)) != 0)
        goto fail;
    if ((err = tls_new(e)) != 0 || (err = resolver_new(w, &w->dns)) != 0)
        goto fail;
    if (w->index == 0 && (err = tlsrpt_new(e, &e->tlsrpt)) != 0)
        goto fail;
    uv_prepare_init(&w->loop, &e->prepare);
    e->prepare.data = e;
    uv_prepare_start(&e->prepare, egress_prepare_cb);
    *out = e;
    return 0;
fail:
    queue_free(e->queue);
    free(e);
    return err;
}

void conn_quit_idle(struct egress *e)
{
    LIST_EACH_SAFE(link, &e->conns)
    {
        struct conn *c = LIST_ITEM(link, struct conn, link);
        if (c->state == CONN_IDLE)
            conn_quit(&c->qc);
        else if (c->state == CONN_RESOLVING || c->state == CONN_CONNECTING || c->state == CONN_GREETING)
            conn_cancel(c);
    }
}

/* What was found may have changed with the resolver or the routes; what is asked now dies with the old one.
 */
static void forget_lookup(void *ctx, struct queue_site *qs)
{
    (void)ctx;
    struct egress_site *site = queue_site_data(qs);
    if (site == NULL)
        return;
    bool asking = site->request != NULL || site->sts_lookup != NULL;
    egress_sts_forget(site);
    egress_site_forget(site);
    if (site->request != NULL)
        dns_cancel(site->request);
    site->request = NULL;
    if (asking)
        conn_cancel_waiting(site);
}

static void forget_lookups(struct egress *e)
{
    uint64_t cursor = 0;
    while (queue_walk_sites(e->queue, &cursor, UINT32_MAX, forget_lookup, e))
        ;
}

/* A resolver of an earlier configuration: sessions, probes and operators may still wait for its answers. */
struct resolver {
    struct list link;
    struct egress *e;
    struct dns *dns;
    struct timer timer;
};

static void resolver_close(struct resolver *r)
{
    dns_close(r->dns, NULL, NULL); /* its memory goes from the loop */
    timer_fini(&r->timer);
    list_remove(&r->link);
    free(r);
}

static void resolver_timer_cb(struct timer *t)
{
    struct resolver *r = TIMER_ITEM(t, struct resolver, timer);
    if (dns_idle(r->dns))
        resolver_close(r);
    else
        timer_set(t, RESOLVER_LOOK_MS);
}

static void change_resolver(struct egress *e)
{
    struct dns *fresh;
    struct resolver *r = calloc(1, sizeof *r);
    if (r == NULL || timer_init(&r->timer, &e->w->timers, resolver_timer_cb) != 0) {
        log_error("dns", "no memory: the old resolver stays");
        free(r);
        return;
    }
    if (resolver_new(e->w, &fresh) != 0) {
        timer_fini(&r->timer);
        free(r);
        return; /* told in the log; the old one stays */
    }
    r->e = e;
    r->dns = e->w->dns;
    e->w->dns = fresh;
    e->hosts_time = hosts_time();
    list_push_back(&e->resolvers, &r->link);
    timer_set(&r->timer, 0);
}

void egress_queue_settings(struct egress *e)
{
    struct queue_config config;
    queue_settings(e->w, &config);
    queue_reconfigure(e->queue, &config, egress_now_ms(e));
    egress_kick(e);
}

void egress_reconfigure(struct egress *e, const struct config *old)
{
    if (e->stopping)
        return;
    egress_queue_settings(e);
    forget_lookups(e);
    conn_quit_idle(e);
    if (!resolver_serves(e, old, e->w->config))
        change_resolver(e);
    if (!route_same(old, e->w->config))
        reroute_start(&e->reroute);
    egress_kick(e);
}

void egress_stop(struct egress *e)
{
    e->stopping = true;
    timer_stop(&e->poll_timer);
    timer_stop(&e->sites.timer);
    timer_stop(&e->cut_off_timer);
    reroute_stop(&e->reroute);
    egress_held_stop(&e->held);
    tlsrpt_stop(e->tlsrpt);
    conn_quit_idle(e);
}

bool egress_busy(const struct egress *e)
{
    return e->nconns > 0 || e->njobs > 0;
}

void egress_close(struct egress *e)
{
    e->stopping = true;
    conn_drop_all(e);
    forget_lookups(e);
    sts_lookup_cancel_all(e->w);
    for (struct list *link; (link = list_first(&e->resolvers)) != NULL;)
        resolver_close(LIST_ITEM(link, struct resolver, link));
    egress_pools_fini(e);
    egress_shaping_fini(e);
    egress_sites_fini(e);
    tlsrpt_free(e->tlsrpt);
    e->tlsrpt = NULL;
    reroute_fini(&e->reroute);
    egress_held_fini(&e->held);
    timer_fini(&e->poll_timer);
    timer_fini(&e->cut_off_timer);
    uv_close((uv_handle_t *)&e->prepare, NULL);
}

void egress_free(struct egress *e)
{
    queue_free(e->queue);
    egress_shaping_free(e);
    tls_client_rele(e->tls);
    free(e);
}
