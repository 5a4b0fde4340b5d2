/* The admin API: live dialogues and checks of our own addresses. A probe is in probe.c. Admin threads. */
#include "node/core/ops_live.h"

#include "base/err.h"
#include "node/core/cluster.h"
#include "node/core/dnsbl.h"
#include "node/core/node.h"
#include "node/core/pools.h"
#include "node/core/probe.h"
#include "node/net/dns.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- traces ---------------------------------------------------------------------------------------------
 */

static bool trace_put_cb(void *ctx, const struct trace_line *line)
{
    struct admin_stream_line out = { .at_ms = line->at_ms,
                                     .session = line->session,
                                     .dir = line->dir == TRACE_FROM_PEER ? ADMIN_DIR_IN
                                            : line->dir == TRACE_TO_PEER ? ADMIN_DIR_OUT
                                                                         : ADMIN_DIR_NOTE,
                                     .peer = line->peer,
                                     .text = line->text };
    return admin_stream_put(ctx, &out) != ERR_CLOSED;
}

static void trace_gone_cb(void *ctx)
{
    admin_stream_rele(ctx);
}

int ops_trace_start(void *ctx, const struct admin_trace *t, struct admin_stream *s, struct admin_error *e)
{
    struct node *n = ctx;
    struct trace_filter filter = { .client = t->client,
                                   .ip = t->ip,
                                   .account = t->account,
                                   .site = t->site,
                                   .listener = t->listener,
                                   .sessions_max = t->sessions_max };
    admin_stream_hold(s);
    int err = trace_listen(n->trace, &filter, trace_put_cb, trace_gone_cb, s);
    if (err == 0)
        return 0;
    admin_stream_rele(s);
    if (err == ERR_LIMIT)
        return admin_fail(e, err, "%d traces are running already", TRACE_LISTENERS_MAX);
    return admin_fail(e, err, err == ERR_BAD ? "%s is neither an address nor a network" : "%s: cannot trace",
                      t->ip == NULL ? "" : t->ip);
}

void ops_trace_stop(void *ctx, struct admin_stream *s)
{
    struct node *n = ctx;
    trace_unlisten(n->trace, s);
}

/* ---- source addresses -----------------------------------------------------------------------------------
 */

/* Both directions of one address, asked on a worker's resolver. */
struct ip_check {
    struct ip_addr addr;
    char ehlo[256];
    struct dns_client client;
    char addresses[512];
    bool forward_ok;
    enum dns_status forward_status;
    uint32_t waiting;
    sem_t done;
};

static void check_part_done(struct ip_check *c)
{
    if (--c->waiting == 0)
        sem_post(&c->done);
}

static void check_client_cb(void *ctx, const struct dns_client *client)
{
    struct ip_check *c = ctx;
    c->client = *client;
    check_part_done(c);
}

static void check_host_cb(void *ctx, struct dns_site *site)
{
    struct ip_check *c = ctx;
    c->forward_status = site->status;
    for (uint32_t i = 0; i < site->ntargets; i++) {
        char text[IP_TEXT_MAX];
        size_t len = strlen(c->addresses);
        snprintf(c->addresses + len, sizeof c->addresses - len, "%s%s", len == 0 ? "" : " ",
                 ip_addr_format(&site->targets[i].addr, text));
        c->forward_ok = c->forward_ok || ip_addr_eq(&site->targets[i].addr, &c->addr);
    }
    check_part_done(c);
}

static void start_check(struct worker *w, void *arg)
{
    struct ip_check *c = arg;
    c->waiting = 2;
    if (dns_client(w->dns, &c->addr, check_client_cb, c) == NULL) {
        c->client.status = DNS_TEMPORARY;
        check_part_done(c);
    }
    if (dns_host(w->dns, span_str(c->ehlo), 25, check_host_cb, c) == NULL) {
        c->forward_status = DNS_TEMPORARY;
        check_part_done(c);
    }
}

static bool is_bound(const struct ip_addr *addr)
{
    struct ifaddrs *all;
    bool found = false;
    if (getifaddrs(&all) != 0)
        return false;
    for (struct ifaddrs *i = all; i != NULL && !found; i = i->ifa_next) {
        struct ip_addr a;
        found = i->ifa_addr != NULL && ip_from_sockaddr(i->ifa_addr, &a, NULL) == 0 && ip_addr_eq(&a, addr);
    }
    freeifaddrs(all);
    return found || ip_addr_class(addr) == IP_CLASS_LOOPBACK;
}

/* What lists say of the address. */
struct ip_lists {
    struct admin_ip_list v[POLICY_DNSBL_MAX];
    char zones[POLICY_DNSBL_MAX][256], texts[POLICY_DNSBL_MAX][DNSBL_TEXT_MAX];
    uint32_t n;
    const struct admin_ip_list *bad; /* the first that has it */
};

static void list_cb(void *ctx, const struct dnsbl_row *row)
{
    static const char *const states[] = { "unknown", "clean", "listed", "broken" };
    struct ip_lists *l = ctx;
    if (l->n == POLICY_DNSBL_MAX)
        return;
    snprintf(l->zones[l->n], sizeof l->zones[0], "%s", row->zone);
    snprintf(l->texts[l->n], sizeof l->texts[0], "%s", row->text);
    l->v[l->n] = (struct admin_ip_list){ .list = l->zones[l->n],
                                         .state = states[row->state],
                                         .text = l->texts[l->n],
                                         .since_ms = row->since_ms };
    if (row->state == DNSBL_STATE_LISTED && l->bad == NULL)
        l->bad = &l->v[l->n];
    l->n++;
}

static void put_problem(const struct ip_check *c, const char *ip, bool bound, bool ptr_ok,
                        const struct admin_ip_list *bad, char out[1024])
{
    out[0] = '\0';
    if (!bound)
        snprintf(out, 1024, "%s is not an address of this machine", ip);
    else if (bad != NULL)
        snprintf(out, 1024, "%s is on the list %s: %s", ip, bad->list, bad->text);
    else if (c->client.status == DNS_TEMPORARY || c->forward_status == DNS_TEMPORARY)
        snprintf(out, 1024, "the DNS does not answer: try again");
    else if (c->client.status != DNS_OK)
        snprintf(out, 1024, "%s has no PTR record: have it point to %s", ip, c->ehlo);
    else if (!ptr_ok)
        snprintf(out, 1024, "the PTR record of %s names %s: have it name %s, or greet as %s", ip, c->client.name, c->ehlo,
                 c->client.name);
    else if (!c->forward_ok)
        snprintf(out, 1024, "%s does not have the address %s: add it", c->ehlo, ip);
}

static int check_one(struct node *n, const struct ip_addr *addr, struct span ehlo, admin_ip_fn *fn, void *arg)
{
    struct ip_check c = { .addr = *addr };
    struct ip_lists *lists = calloc(1, sizeof *lists);
    char ip[IP_TEXT_MAX], problem[1024];
    if (lists == NULL)
        return -ENOMEM;
    snprintf(c.ehlo, sizeof c.ehlo, "%.*s", (int)ehlo.n, ehlo.p);
    sem_init(&c.done, 0, 0);
    worker_call(&n->workers[0], start_check, &c);
    while (sem_wait(&c.done) != 0)
        ;
    sem_destroy(&c.done);
    dnsbl_each(n->dnsbl, addr, list_cb, lists);
    bool bound = is_bound(&c.addr);
    bool ptr_ok = c.client.status == DNS_OK && strcasecmp(c.client.name, c.ehlo) == 0;
    ip_addr_format(&c.addr, ip);
    put_problem(&c, ip, bound, ptr_ok, lists->bad, problem);
    struct admin_ip_row row = { .ip = span_str(ip),
                                .ehlo = span_str(c.ehlo),
                                .ptr = span_str(c.client.status == DNS_OK ? c.client.name : ""),
                                .addresses = span_str(c.addresses),
                                .bound = bound,
                                .ptr_ok = ptr_ok,
                                .forward_ok = c.forward_ok,
                                .problem = span_str(problem),
                                .nlists = lists->n,
                                .lists = lists->v };
    int enough = fn(arg, &row);
    free(lists);
    return enough;
}

/* Addresses of pools that are this node's, but for those that its configuration has, too. */
static uint32_t check_pools(struct node *n, const struct config *c, const struct ip_addr *only, admin_ip_fn *fn,
                            void *arg)
{
    struct pool_view *v = n->cluster == NULL ? NULL : cluster_pools(n->cluster);
    const struct pool_address *a;
    uint32_t checked = 0;
    int enough = 0;
    for (uint32_t i = 0; enough == 0 && (a = pool_view_at(v, i)) != NULL; i++) {
        bool known = a->meter == NULL || (only != NULL && !ip_addr_eq(only, &a->addr));
        for (uint32_t k = 0; k < c->nsources && !known; k++) {
            struct ip_addr source;
            known = ip_from_sockaddr((const struct sockaddr *)&c->sources[k].address, &source, NULL) == 0 &&
                    ip_addr_eq(&source, &a->addr);
        }
        if (known)
            continue;
        checked++;
        enough = check_one(n, &a->addr, a->ehlo.n > 0 ? a->ehlo : span_str(c->hostname), fn, arg);
    }
    pool_view_rele(v);
    return checked;
}

int ops_ip_check(void *ctx, const char *ip, admin_ip_fn *fn, void *arg, struct admin_error *e)
{
    struct node *n = ctx;
    struct config *c = node_config(n);
    struct ip_addr only;
    int err = 0;
    uint32_t checked = 0;
    if (ip != NULL && ip_addr_parse(span_str(ip), &only) != 0)
        err = admin_fail(e, ERR_BAD, "%s is no IP address", ip);
    if (err == 0)
        (void)dnsbl_ask(n->dnsbl, ip == NULL ? NULL : &only);
    for (uint32_t i = 0; err == 0 && i < c->nsources; i++) {
        struct ip_addr a;
        if (ip_from_sockaddr((const struct sockaddr *)&c->sources[i].address, &a, NULL) != 0 ||
            (ip != NULL && !ip_addr_eq(&a, &only)))
            continue;
        checked++;
        if (check_one(n, &a, span_str(c->sources[i].ehlo), fn, arg) != 0)
            break;
    }
    if (err == 0)
        checked += check_pools(n, c, ip == NULL ? NULL : &only, fn, arg);
    if (err == 0 && checked == 0)
        err = ip == NULL ? admin_fail(e, ERR_NOT_FOUND,
                                      "no source addresses are configured (sources): mail leaves from "
                                      "whatever address the system chooses, as %s",
                                      c->hostname)
                         : admin_fail(e, ERR_NOT_FOUND, "%s is not among this node's source addresses", ip);
    config_rele(c);
    return err;
}
