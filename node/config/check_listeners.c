/* Rules of listeners: what each kind needs, and what two of them must not share. */
#include "node/config/check.h"

#include <stdio.h>
#include <string.h>

static void check_kind(struct schema_load *l, const struct config *c, uint32_t i)
{
    const struct config_listener *li = &c->listeners[i];
    char path[64];
    snprintf(path, sizeof path, "listeners[%u].tls", i);
    if (li->ntls == 0 && li->kind == CONFIG_SUBMISSIONS)
        schema_fault_at(l, path,
                        "a submissions listener speaks TLS from the start: give certificate and key");
    else if (li->ntls == 0 && li->kind == CONFIG_SUBMISSION && !li->old_devices)
        schema_fault_at(l, path,
                        "a submission listener takes passwords only over TLS: give certificate and key");
    else if (li->ntls == 0 && li->require_tls)
        schema_fault_at(l, path, "require_tls needs a certificate and key");
    snprintf(path, sizeof path, "listeners[%u].require_tls", i);
    if (!li->require_tls && li->kind == CONFIG_SUBMISSIONS && !li->old_devices)
        schema_fault_at(l, path, "a submissions listener speaks TLS from the start; remove the key");
    if (li->require_tls && li->old_devices)
        schema_fault_at(l, path,
                        "contradicts old_devices, which lets clients in without TLS; remove one of them");
    snprintf(path, sizeof path, "listeners[%u].kind", i);
    if (li->old_devices && li->kind == CONFIG_INBOUND)
        schema_fault_at(l, path, "old_devices is for clients that send through us: an inbound listener has none");
    if (li->kind == CONFIG_INBOUND && !c->cluster.enabled)
        schema_fault_at(l, path,
                        "an inbound listener needs a section cluster: the policy says what it takes (bounces)");
    if (li->kind == CONFIG_RELAY && c->nrelay_clients == 0)
        schema_fault_at(l, path,
                        "a relay listener needs relay_clients: which networks send as which account");
}

static void check_networks(struct schema_load *l, const struct config_listener *li, uint32_t i)
{
    char path[96];
    snprintf(path, sizeof path, "listeners[%u].old_devices", i);
    if (li->old_devices && li->nnetworks == 0)
        schema_fault_at(l, path, "needs networks: passwords in plain text only from networks that you name");
    for (uint32_t k = 0; k < li->nnetworks; k++)
        if (li->old_devices && (li->networks[k].bits == 0 || li->networks[k].bits == 96)) {
            snprintf(path, sizeof path, "listeners[%u].networks[%u]", i, k);
            schema_fault_at(l, path, "this is everybody: old_devices is for networks of your own only");
        }
    for (uint32_t k = 0; k < li->proxy_protocol.nfrom; k++)
        if (li->proxy_protocol.from[k].bits == 0 || li->proxy_protocol.from[k].bits == 96) {
            snprintf(path, sizeof path, "listeners[%u].proxy_protocol.from[%u]", i, k);
            schema_fault_at(l, path,
                            "this is everybody: anyone could claim any address; name your load balancers");
        }
}

static void check_twins(struct schema_load *l, const struct config *c, uint32_t i)
{
    char path[64], first[64];
    for (uint32_t k = 0; k < i; k++) {
        if (memcmp(&c->listeners[i].address, &c->listeners[k].address, sizeof c->listeners[i].address) == 0) {
            char text[80];
            config_endpoint_format(&c->listeners[i].address, text, sizeof text);
            snprintf(path, sizeof path, "listeners[%u].address", i);
            snprintf(first, sizeof first, "listeners[%u].address", k);
            schema_fault_at(l, path, "%s is taken by the listener on line %u", text, schema_line(l, first));
        }
        if (strcmp(c->listeners[i].name, c->listeners[k].name) == 0) {
            snprintf(path, sizeof path, "listeners[%u].name", i);
            snprintf(first, sizeof first, "listeners[%u].name", k);
            schema_fault_at(l, path, "\"%s\" is the name of the listener on line %u too",
                            c->listeners[i].name, schema_line(l, first));
        }
    }
}

void config_check_listeners(struct schema_load *l, const struct config *c)
{
    bool relay = false;
    for (uint32_t i = 0; i < c->nlisteners; i++) {
        relay = relay || c->listeners[i].kind == CONFIG_RELAY;
        check_kind(l, c, i);
        check_networks(l, &c->listeners[i], i);
        check_twins(l, c, i);
    }
    if (c->nrelay_clients > 0 && !relay)
        schema_warn_at(l, "relay_clients", "has no effect: no listener is of the kind relay");
}
