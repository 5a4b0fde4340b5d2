/* The admin API: live dialogues and checks of our own addresses. A probe is in probe.c. Admin threads. */
#include "node/core/ops_live.h"

#include "base/err.h"
#include "node/core/node.h"
#include "node/core/probe.h"
#include "node/net/dns.h"

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

static int check_one(struct node *n, const struct config_source *source, admin_ip_fn *fn, void *arg)
{
    struct ip_check c = { 0 };
    char ip[IP_TEXT_MAX], problem[1024] = "";
    if (ip_from_sockaddr((const struct sockaddr *)&source->address, &c.addr, NULL) != 0)
        return 0;
    snprintf(c.ehlo, sizeof c.ehlo, "%s", source->ehlo);
    sem_init(&c.done, 0, 0);
    worker_call(&n->workers[0], start_check, &c);
    while (sem_wait(&c.done) != 0)
        ;
    sem_destroy(&c.done);
    bool bound = is_bound(&c.addr);
    bool ptr_ok = c.client.status == DNS_OK && strcasecmp(c.client.name, c.ehlo) == 0;
    ip_addr_format(&c.addr, ip);
    if (!bound)
        snprintf(problem, sizeof problem, "%s is not an address of this machine", ip);
    else if (c.client.status == DNS_TEMPORARY || c.forward_status == DNS_TEMPORARY)
        snprintf(problem, sizeof problem, "the DNS does not answer: try again");
    else if (c.client.status != DNS_OK)
        snprintf(problem, sizeof problem, "%s has no PTR record: have it point to %s", ip, c.ehlo);
    else if (!ptr_ok)
        snprintf(problem, sizeof problem, "the PTR record of %s names %s: have it name %s, or greet as %s",
                 ip, c.client.name, c.ehlo, c.client.name);
    else if (!c.forward_ok)
        snprintf(problem, sizeof problem, "%s does not have the address %s: add it", c.ehlo, ip);
    struct admin_ip_row row = { .ip = span_str(ip),
                                .ehlo = span_str(c.ehlo),
                                .ptr = span_str(c.client.status == DNS_OK ? c.client.name : ""),
                                .addresses = span_str(c.addresses),
                                .bound = bound,
                                .ptr_ok = ptr_ok,
                                .forward_ok = c.forward_ok,
                                .problem = span_str(problem) };
    return fn(arg, &row);
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
    for (uint32_t i = 0; err == 0 && i < c->nsources; i++) {
        struct ip_addr a;
        if (ip_from_sockaddr((const struct sockaddr *)&c->sources[i].address, &a, NULL) != 0 ||
            (ip != NULL && !ip_addr_eq(&a, &only)))
            continue;
        checked++;
        if (check_one(n, &c->sources[i], fn, arg) != 0)
            break;
    }
    if (err == 0 && checked == 0)
        err = ip == NULL ? admin_fail(e, ERR_NOT_FOUND,
                                      "no source addresses are configured (sources): mail leaves from "
                                      "whatever address the system chooses, as %s",
                                      c->hostname)
                         : admin_fail(e, ERR_NOT_FOUND, "%s is not among the configured sources", ip);
    config_rele(c);
    return err;
}
