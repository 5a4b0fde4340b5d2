/* Defaults that depend on other keys. */
#include "base/ensure.h"
#include "node/config/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void set(char **value, char *text)
{
    ensure(text != NULL);
    free(*value);
    *value = text;
}

static char *join(const char *a, const char *b)
{
    char *text;
    int n = asprintf(&text, "%s%s", a, b);
    ensure(n > 0);
    return text;
}

static bool name_taken(const struct config *c, uint32_t upto, const char *name)
{
    for (uint32_t i = 0; i < c->nlisteners; i++)
        if (i != upto && c->listeners[i].name != NULL && strcmp(c->listeners[i].name, name) == 0)
            return true;
    return false;
}

/* "submission-587", and "submission-587-2" for the second one (IPv4 and IPv6, say). */
static void name_listener(struct config *c, uint32_t i)
{
    static const char *const kinds[] = { "submission", "submissions", "relay", "inbound" };
    struct config_listener *li = &c->listeners[i];
    char name[64];
    unsigned port = config_sockaddr_port(&li->address);
    snprintf(name, sizeof name, "%s-%u", kinds[li->kind], port);
    for (unsigned n = 2; name_taken(c, i, name); n++)
        snprintf(name, sizeof name, "%s-%u-%u", kinds[li->kind], port, n);
    set(&li->name, strdup(name));
}

static void complete_listener(struct schema_load *l, struct config *c, uint32_t i)
{
    struct config_listener *li = &c->listeners[i];
    char path[64];
    snprintf(path, sizeof path, "listeners[%u].require_tls", i);
    if (!schema_has(l, path)) /* passwords come over the other two */
        li->require_tls = li->kind != CONFIG_RELAY && li->kind != CONFIG_INBOUND && !li->old_devices;
    if (li->name == NULL)
        name_listener(c, i);
    if (li->hostname == NULL)
        set(&li->hostname, strdup(c->hostname));
    if (li->max_message_bytes == 0)
        li->max_message_bytes = c->smtp.max_message_bytes;
    if (li->max_rcpts == 0)
        li->max_rcpts = c->smtp.max_rcpts;
    if (li->idle_timeout_ms == 0)
        li->idle_timeout_ms = c->smtp.idle_timeout_ms;
    if (li->command_timeout_ms == 0)
        li->command_timeout_ms = c->smtp.command_timeout_ms;
}

#define CLUSTER_ELECTION_MS 500 /* as in tables.c */
#define CLUSTER_HEARTBEAT_MS 50

static void complete_cluster(struct config *c)
{
    struct config_cluster *cl = &c->cluster;
    char text[80];
    cl->enabled = cl->listen.ss_family != AF_UNSPEC;
    if (!cl->enabled) { /* what is listed, and compared on reload, does not depend on it */
        cl->election_ms = CLUSTER_ELECTION_MS;
        cl->heartbeat_ms = CLUSTER_HEARTBEAT_MS;
        return;
    }
    config_endpoint_format(&cl->listen, text, sizeof text);
    if (cl->advertise == NULL)
        set(&cl->advertise, strdup(text));
    config_endpoint_format(&cl->gossip, text, sizeof text);
    if (cl->advertise_gossip == NULL)
        set(&cl->advertise_gossip, strdup(text));
}

void config_complete(struct schema_load *l, struct config *c)
{
    char path[64];
    if (c->name == NULL) {
        size_t label = strcspn(c->hostname, ".");
        set(&c->name, strndup(c->hostname, label > 63 ? 63 : label));
    }
    if (c->workers == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        c->workers = cores < 1 ? 1 : cores > 256 ? 256 : (uint32_t)cores;
    }
    for (uint32_t i = 0; i < c->nlisteners; i++)
        complete_listener(l, c, i);
    for (uint32_t i = 0; i < c->nroutes; i++) {
        snprintf(path, sizeof path, "routes[%u].tls", i);
        if (!schema_has(l, path))
            c->routes[i].tls = c->delivery.tls;
        snprintf(path, sizeof path, "routes[%u].dane", i);
        if (!schema_has(l, path)) {
            int tls = c->routes[i].tls;
            bool off = tls == CONFIG_TLS_NONE || tls == CONFIG_TLS_VERIFY;
            c->routes[i].dane = off ? CONFIG_DANE_OFF : c->delivery.dane;
        }
        snprintf(path, sizeof path, "routes[%u].mta_sts", i);
        if (!schema_has(l, path))
            c->routes[i].mta_sts = c->delivery.mta_sts;
        if (c->routes[i].tls == CONFIG_TLS_NONE || c->routes[i].tls == CONFIG_TLS_VERIFY)
            c->routes[i].mta_sts = false;
    }
    if (c->delivery.tls == CONFIG_TLS_NONE && !schema_has(l, "delivery.dane"))
        c->delivery.dane = CONFIG_DANE_OFF;
    c->delivery.mta_sts = c->delivery.mta_sts && c->delivery.tls != CONFIG_TLS_NONE;
    if (c->accounts.file == NULL)
        set(&c->accounts.file, join(c->data_dir, "/accounts"));
    if (c->spool.dir == NULL)
        set(&c->spool.dir, join(c->data_dir, "/spool"));
    if (c->history.file == NULL)
        set(&c->history.file, join(c->data_dir, "/history.db"));
    if (c->admin.socket == NULL)
        set(&c->admin.socket, join(c->data_dir, "/admin.sock"));
    if (c->bounces.postmaster == NULL)
        set(&c->bounces.postmaster, join("postmaster@", c->hostname));
    config_dkim_complete(c);
    if (c->tls_reports.organization == NULL)
        set(&c->tls_reports.organization, strdup(c->hostname));
    if (c->tls_reports.from == NULL)
        set(&c->tls_reports.from, strdup(c->bounces.postmaster));
    if (c->tls_reports.contact == NULL)
        set(&c->tls_reports.contact, strdup(c->bounces.postmaster));
    c->admin.enabled_tcp = c->admin.listen.ss_family != AF_UNSPEC;
    complete_cluster(c);
    const char *events = c->log.events;
    c->log.events_kind = strcmp(events, "off") == 0       ? CONFIG_EVENTS_OFF
                         : strcmp(events, "stdout") == 0  ? CONFIG_EVENTS_STDOUT
                         : strcmp(events, "journal") == 0 ? CONFIG_EVENTS_JOURNAL
                                                          : CONFIG_EVENTS_FILE;
}
