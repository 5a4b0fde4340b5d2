/* Rules between keys, other than those of listeners (check_listeners.c). Files are not looked at: see
 * files.c. */
#include "node/config/check.h"

#include "base/ensure.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/text.h"
#include "node/config/types.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- routes -------------------------------------------------------------------------------------------- */

static uint64_t route_hash(const void *item)
{
    return hash_nocase(span_str(((const struct config_route *)item)->domain));
}

static bool route_match(const void *item, const void *key)
{
    return strcmp(((const struct config_route *)item)->domain, key) == 0;
}

static void check_dane(struct schema_load *l, const struct config *c, const char *path, int dane, int tls)
{
    if (!schema_has(l, path))
        return;
    if (dane != CONFIG_DANE_OFF && (tls == CONFIG_TLS_NONE || tls == CONFIG_TLS_VERIFY))
        schema_fault_at(l, path,
                        "DANE has its own way to know a server: set tls to opportunistic or required");
    else if (dane == CONFIG_DANE_ONLY && c->resolver.trust_anchor_file == NULL)
        schema_fault_at(l, path, "nothing can be validated without resolver.trust_anchor_file");
}

static void check_route(struct schema_load *l, struct config *c, uint32_t i, struct map *seen)
{
    struct config_route *r = &c->routes[i];
    char path[64];
    uint64_t hash = route_hash(r);
    const struct config_route *other = map_find(seen, hash, r->domain);
    if (other != NULL) {
        char first[64];
        snprintf(first, sizeof first, "routes[%u].domain", (unsigned)(other - c->routes));
        snprintf(path, sizeof path, "routes[%u].domain", i);
        schema_fault_at(l, path, "\"%s\" has a route already, on line %u", r->domain, schema_line(l, first));
    } else {
        int err = map_add(seen, hash, r);
        ensure(err == 0);
    }
    const char *why = via_parse(r);
    if (why != NULL) {
        snprintf(path, sizeof path, "routes[%u].via", i);
        schema_fault_at(l, path, "%s; got \"%.100s\"", why, r->via);
    }
    if (r->auth.user != NULL && r->tls != CONFIG_TLS_REQUIRED && r->tls != CONFIG_TLS_VERIFY) {
        snprintf(path, sizeof path, "routes[%u].auth", i);
        schema_fault_at(l, path,
                        "a password is only sent over TLS: set tls of this route to required or verify");
    }
    snprintf(path, sizeof path, "routes[%u].dane", i);
    check_dane(l, c, path, r->dane, r->tls);
}

static void check_routes(struct schema_load *l, struct config *c)
{
    struct map seen;
    map_init(&seen, route_hash, route_match);
    for (uint32_t i = 0; i < c->nroutes; i++)
        check_route(l, c, i, &seen);
    map_fini(&seen);
}

/* ---- the rest ------------------------------------------------------------------------------------------ */

static void check_relay_network(struct schema_load *l, const struct ip_net *net, const char *path)
{
    if (net->bits == 0)
        schema_fault_at(l, path, "this is everybody: it would make an open relay; name your own networks");
    else if (net->bits < (net->addr.family == 4 ? 8 : 16))
        schema_warn_at(l, path, "/%u is a very large network to relay for", net->bits);
}

struct relay_net {
    const struct ip_net *net;
    uint32_t client, index;
};

static int relay_net_compare(const void *va, const void *vb)
{
    const struct relay_net *a = va, *b = vb;
    int d = memcmp(a->net, b->net, sizeof *a->net);
    if (d != 0)
        return d;
    uint64_t ka = (uint64_t)a->client << 32 | a->index, kb = (uint64_t)b->client << 32 | b->index;
    return ka < kb ? -1 : ka > kb;
}

/* One network under two accounts would be a coin toss. */
static void check_relay_twins(struct schema_load *l, struct relay_net *nets, size_t n)
{
    char path[96], first[96], text[IP_TEXT_MAX + 4];
    qsort(nets, n, sizeof *nets, relay_net_compare);
    for (size_t i = 1; i < n; i++) {
        if (memcmp(nets[i].net, nets[i - 1].net, sizeof *nets[i].net) != 0)
            continue;
        config_net_format(nets[i].net, text);
        snprintf(path, sizeof path, "relay_clients[%u].networks[%u]", nets[i].client, nets[i].index);
        snprintf(first, sizeof first, "relay_clients[%u].networks[%u]", nets[i - 1].client,
                 nets[i - 1].index);
        schema_fault_at(l, path, "%s belongs to an account already, on line %u", text, schema_line(l, first));
    }
}

static void check_relay_clients(struct schema_load *l, const struct config *c)
{
    char path[96];
    size_t n = 0;
    for (uint32_t i = 0; i < c->nrelay_clients; i++)
        n += c->relay_clients[i].nnetworks;
    if (n == 0)
        return;
    struct relay_net *nets = calloc(n, sizeof *nets);
    ensure(nets != NULL);
    n = 0;
    for (uint32_t i = 0; i < c->nrelay_clients; i++)
        for (uint32_t k = 0; k < c->relay_clients[i].nnetworks; k++) {
            snprintf(path, sizeof path, "relay_clients[%u].networks[%u]", i, k);
            check_relay_network(l, &c->relay_clients[i].networks[k], path);
            nets[n++] = (struct relay_net){ &c->relay_clients[i].networks[k], i, k };
        }
    check_relay_twins(l, nets, n);
    free(nets);
}

static void check_header_rules(struct schema_load *l, const struct config *c)
{
    char path[64];
    for (uint32_t i = 0; i < c->nheader_rules; i++)
        if (c->header_rules[i].name == NULL) {
            snprintf(path, sizeof path, "header_rules[%u]", i);
            schema_fault_at(l, path, "give add: \"Name: text\" or remove: Name");
        }
}

static void check_delivery(struct schema_load *l, const struct config *c)
{
    const struct config_delivery *d = &c->delivery;
    check_dane(l, c, "delivery.dane", d->dane, d->tls);
    if (d->retry_ms[0] >= d->expire_ms)
        schema_fault_at(l, "delivery.retry",
                        "the first retry comes after the message expired; make it shorter than "
                        "delivery.expire");
    if (d->delay_notice_ms >= d->expire_ms)
        schema_fault_at(l, "delivery.delay_notice",
                        "must be shorter than delivery.expire; 0 means no notice");
    if (d->connections_start > d->connections_max)
        schema_fault_at(l,
                        schema_has(l, "delivery.connections_start") ? "delivery.connections_start"
                                                                    : "delivery.connections_max",
                        "connections_start (%u) must not be more than connections_max (%u)",
                        d->connections_start, d->connections_max);
    if (d->connections_max > d->connections_total)
        schema_fault_at(l,
                        schema_has(l, "delivery.connections_total") ? "delivery.connections_total"
                                                                    : "delivery.connections_max",
                        "connections_max of one site (%u) must not be more than connections_total (%u)",
                        d->connections_max, d->connections_total);
}

static bool loopback(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static void check_sources(struct schema_load *l, const struct config *c)
{
    char path[64], first[64];
    bool v4 = false, v6 = false;
    for (uint32_t i = 0; i < c->nsources; i++) {
        v4 = v4 || c->sources[i].address.ss_family == AF_INET;
        v6 = v6 || c->sources[i].address.ss_family == AF_INET6;
        for (uint32_t k = 0; k < i; k++)
            if (memcmp(&c->sources[i].address, &c->sources[k].address, sizeof c->sources[i].address) == 0) {
                snprintf(path, sizeof path, "sources[%u].address", i);
                snprintf(first, sizeof first, "sources[%u].address", k);
                schema_fault_at(l, path, "is a source already, on line %u", schema_line(l, first));
            }
    }
    if (c->nsources > 0 && !v4 && c->delivery.ipv6 == CONFIG_IPV4_ONLY)
        schema_fault_at(l, "sources", "delivery.ipv6 is ipv4_only, but no source is an IPv4 address");
    if (c->nsources > 0 && !v6 && c->delivery.ipv6 == CONFIG_IPV6_ONLY)
        schema_fault_at(l, "sources", "delivery.ipv6 is ipv6_only, but no source is an IPv6 address");
}

static void check_admin(struct schema_load *l, const struct config *c)
{
    if (!c->admin.enabled_tcp && c->admin.ntls > 0)
        schema_warn_at(l, "admin.tls", "has no effect without admin.listen");
    if (!c->admin.enabled_tcp)
        return;
    if (!c->admin.remote && c->admin.ntls == 0 && !loopback(&c->admin.listen))
        schema_fault_at(l, "admin.listen",
                        "must be a loopback address such as 127.0.0.1:8025, or have a certificate (admin.tls); "
                        "or say admin.remote: true where the network is trusted");
    if (c->admin.token_file == NULL)
        schema_fault_at(l, "admin.listen",
                        "needs admin.token_file: without it any local user could operate the node");
}

static void check_accounts(struct schema_load *l, const struct config *c)
{
    const struct config_accounts *a = &c->accounts;
    if (a->source != CONFIG_ACCOUNTS_DOVECOT && schema_has(l, "accounts.dovecot"))
        schema_warn_at(l, "accounts.dovecot", "has no effect while accounts.source is file");
    if (a->source == CONFIG_ACCOUNTS_DOVECOT && schema_has(l, "accounts.file"))
        schema_warn_at(l, "accounts.file", "has no effect while accounts.source is dovecot");
    if (a->checks.cache_entries > 0 && a->checks.cache_ttl_ms == 0)
        schema_warn_at(l, "accounts.checks.cache_time",
                       "0: right passwords are not remembered, each login costs a hash");
}

/* Two files must not be one. */
static void check_paths(struct schema_load *l, const struct config *c)
{
    const struct {
        const char *key;
        const char *value;
    } paths[] = {
        { "accounts.file", c->accounts.file },
        { "history.file", c->history.file },
        { "spool.dir", c->spool.dir },
        { "admin.socket", c->admin.socket },
        { "log.events", c->log.events_kind == CONFIG_EVENTS_FILE ? c->log.events : "" },
        { "data_dir", c->data_dir },
    };
    size_t n = sizeof paths / sizeof paths[0];
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++)
            if (strcmp(paths[i].value, paths[k].value) == 0)
                schema_fault_at(l, paths[i].key, "is the same path as %s: %s", paths[k].key, paths[i].value);
    if (strlen(c->admin.socket) > 107)
        schema_fault_at(l, "admin.socket", "is longer than the 107 characters that a socket's path may have");
    if (strlen(c->accounts.dovecot.socket) > 107)
        schema_fault_at(l, "accounts.dovecot.socket",
                        "is longer than the 107 characters that a socket's path may have");
}

/* "host:port", "192.0.2.1:7301", "[2001:db8::1]:7301" */
static bool dialable(const char *text)
{
    struct sockaddr_storage address;
    struct span host;
    uint16_t port;
    if (config_endpoint_parse(span_str(text), ':', &address) == 0)
        return true;
    return text[0] != '[' && text_host_port(span_str(text), &host, &port) == 0 && host_valid(host);
}

static bool any_address(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static void check_advertised(struct schema_load *l, const char *path, const char *text,
                             const struct sockaddr_storage *listen)
{
    if (!schema_has(l, path)) {
        if (any_address(listen))
            schema_fault_at(l, path,
                            "is required when the node listens on any address: where others reach it");
    } else if (!dialable(text)) {
        schema_fault_at(l, path, "is no name or address with a port, such as node-a.example.com:7301: %s",
                        text);
    }
}

static void check_cluster(struct schema_load *l, const struct config *c)
{
    const struct config_cluster *cl = &c->cluster;
    if (!cl->enabled)
        return;
    if (memcmp(&cl->listen, &cl->gossip, sizeof cl->listen) == 0)
        schema_fault_at(l, "cluster.gossip", "is the same as cluster.listen: give it a port of its own");
    check_advertised(l, "cluster.advertise", cl->advertise, &cl->listen);
    check_advertised(l, "cluster.advertise_gossip", cl->advertise_gossip, &cl->gossip);
    if (cl->address_hook != NULL && strlen(cl->address_hook) > CONFIG_HOOK_MAX)
        schema_fault_at(l, "cluster.address_hook", "is longer than %d characters", CONFIG_HOOK_MAX);
    if (cl->heartbeat_ms * 3 > cl->election_ms)
        schema_fault_at(l,
                        schema_has(l, "cluster.heartbeat") ? "cluster.heartbeat" : "cluster.election_timeout",
                        "election_timeout must be at least three times heartbeat");
}

void config_check(struct schema_load *l, struct config *c)
{
    config_check_listeners(l, c);
    check_relay_clients(l, c);
    check_header_rules(l, c);
    check_delivery(l, c);
    check_sources(l, c);
    check_routes(l, c);
    check_admin(l, c);
    check_accounts(l, c);
    check_paths(l, c);
    check_cluster(l, c);
    config_dkim_check(l, c);
    if (c->group != NULL && c->user == NULL)
        schema_fault_at(l, "group", "has no effect without user; give both");
}
