/* How many sessions each client has with this node. */
#include "node/core/clients.h"

#include "base/ensure.h"
#include "base/map.h"

#include <stdlib.h>
#include <uv.h>

struct client {
    struct ip_addr net;
    uint32_t sessions;
};

struct clients {
    uv_mutex_t lock;
    struct map map;
};

static uint64_t client_hash(const void *item)
{
    return ip_addr_hash(&((const struct client *)item)->net);
}

static bool client_match(const void *item, const void *key)
{
    return ip_addr_eq(&((const struct client *)item)->net, key);
}

struct clients *clients_new(void)
{
    struct clients *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    if (uv_mutex_init(&c->lock) != 0) {
        free(c);
        return NULL;
    }
    map_init(&c->map, client_hash, client_match);
    return c;
}

void clients_free(struct clients *c)
{
    size_t at = 0;
    for (struct client *client; (client = map_next(&c->map, &at)) != NULL;)
        free(client);
    map_fini(&c->map);
    uv_mutex_destroy(&c->lock);
    free(c);
}

static struct ip_addr network_of(const struct ip_addr *addr)
{
    return ip_net_around(addr, addr->family == 6 ? 64 : 32).addr;
}

bool clients_enter(struct clients *c, const struct ip_addr *addr, uint32_t max)
{
    struct ip_addr net = network_of(addr);
    uint64_t hash = ip_addr_hash(&net);
    bool ok = false;
    uv_mutex_lock(&c->lock);
    struct client *client = map_find(&c->map, hash, &net);
    if (client == NULL && (client = calloc(1, sizeof *client)) != NULL) {
        client->net = net;
        if (map_add(&c->map, hash, client) != 0) {
            free(client);
            client = NULL;
        }
    }
    if (client != NULL && (max == 0 || client->sessions < max)) {
        client->sessions++;
        ok = true;
    }
    uv_mutex_unlock(&c->lock);
    return ok;
}

void clients_leave(struct clients *c, const struct ip_addr *addr)
{
    struct ip_addr net = network_of(addr);
    uint64_t hash = ip_addr_hash(&net);
    uv_mutex_lock(&c->lock);
    struct client *client = map_find(&c->map, hash, &net);
    ensure(client != NULL && client->sessions > 0);
    if (--client->sessions == 0) {
        map_remove(&c->map, hash, client);
        free(client);
    }
    uv_mutex_unlock(&c->lock);
}
