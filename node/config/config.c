/* Loading and sharing a configuration. The main thread loads; any thread holds and gives back. */
#include "node/config/config.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/map.h"
#include "node/config/check.h"
#include "node/config/document.h"
#include "node/config/tables.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

/* What users of struct config don't see. */
struct config_box {
    struct config config; /* first: a config's address is its box's */
    atomic_uint refs;
    struct map routes; /* by domain */
    struct map dkim;   /* the first key of each domain */
};

static struct config_box *box_of(const struct config *c)
{
    return (struct config_box *)(uintptr_t)c;
}

/* ---- sharing ------------------------------------------------------------------------------------------- */

static void wipe(char *secret)
{
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

static void box_free(struct config_box *box)
{
    struct config *c = &box->config;
    for (uint32_t i = 0; i < c->nroutes; i++) {
        free(c->routes[i].hop.host);
        wipe(c->routes[i].auth.password);
    }
    wipe(c->admin.token);
    free(c->path);
    map_fini(&box->routes);
    map_fini(&box->dkim);
    config_dkim_fini(c);
    schema_fini(&config_map, c);
    free(box);
}

struct config *config_hold(struct config *c)
{
    atomic_fetch_add_explicit(&box_of(c)->refs, 1, memory_order_relaxed);
    return c;
}

void config_rele(struct config *c)
{
    if (c == NULL)
        return;
    unsigned was = atomic_fetch_sub_explicit(&box_of(c)->refs, 1, memory_order_acq_rel);
    ensure(was > 0);
    if (was == 1)
        box_free(box_of(c));
}

/* ---- loading ------------------------------------------------------------------------------------------- */

static uint64_t route_hash(const void *item)
{
    return hash_nocase(span_str(((const struct config_route *)item)->domain));
}

static bool route_match(const void *item, const void *key)
{
    return span_eq_nocase(span_str(((const struct config_route *)item)->domain), *(const struct span *)key);
}

static uint64_t dkim_hash(const void *item)
{
    return hash_nocase(span_str(((const struct config_dkim_key *)item)->domain));
}

static bool dkim_match(const void *item, const void *key)
{
    return span_eq_nocase(span_str(((const struct config_dkim_key *)item)->domain), *(const struct span *)key);
}

static void index_routes(struct config_box *box)
{
    for (uint32_t i = 0; i < box->config.nroutes; i++) {
        int err = map_add(&box->routes, route_hash(&box->config.routes[i]), &box->config.routes[i]);
        ensure(err == 0);
    }
}

static int from_document(struct schema_load *l, unsigned flags, struct config **out)
{
    struct config_box *box = calloc(1, sizeof *box);
    if (box == NULL)
        return -ENOMEM;
    atomic_init(&box->refs, 1);
    map_init(&box->routes, route_hash, route_match);
    map_init(&box->dkim, dkim_hash, dkim_match);
    bool good = schema_read(l, &config_map, &box->config);
    box->config.path = strdup(l->file);
    if (good) {
        config_complete(l, &box->config);
        config_check(l, &box->config);
        if ((flags & CONFIG_NO_FILES) == 0)
            config_check_files(l, &box->config);
        good = l->errors->errors == 0;
    }
    config_errors_sort(l->errors);
    if (!good) {
        box_free(box);
        return ERR_BAD;
    }
    index_routes(box);
    config_dkim_index(&box->config, &box->dkim);
    *out = &box->config;
    return 0;
}

int config_parse(const char *path, struct span text, unsigned flags, struct config **out,
                 struct config_errors *errors)
{
    static const struct config_document_kind kind = { .max_bytes = CONFIG_FILE_MAX,
                                                      .max_nesting = 100,
                                                      .page = "docs/configuration.md" };
    yaml_document_t doc;
    *out = NULL;
    int err = config_document_open(&kind, path, text, &doc, errors);
    if (err != 0)
        return err;
    struct schema_load l = { .file = path, .doc = &doc, .errors = errors };
    err = from_document(&l, flags, out);
    yaml_document_delete(&doc);
    return err;
}

int config_load(const char *path, unsigned flags, struct config **out, struct config_errors *errors)
{
    struct buf b;
    *out = NULL;
    buf_init(&b, CONFIG_FILE_MAX + 2 * 65536);
    int err = config_file_read(path, CONFIG_FILE_MAX, &b);
    if (err == 0)
        err = config_parse(path, buf_span(&b), flags, out, errors);
    else
        config_errors_add(errors, path, 0, NULL, "cannot read: %s", err_text(err));
    buf_fini(&b);
    return err;
}

/* ---- asking -------------------------------------------------------------------------------------------- */

const struct config_route *config_route_find(const struct config *c, struct span domain)
{
    const struct map *routes = &box_of(c)->routes;
    const struct config_route *r = map_find(routes, hash_nocase(domain), &domain);
    char pattern[256];
    for (struct span rest = domain; r == NULL && rest.n > 0;) {
        const char *dot = memchr(rest.p, '.', rest.n);
        if (dot == NULL)
            break;
        rest = span_sub(rest, (size_t)(dot - rest.p) + 1);
        if (rest.n == 0 || rest.n + 2 > sizeof pattern)
            continue;
        memcpy(pattern, "*.", 2);
        memcpy(pattern + 2, rest.p, rest.n);
        struct span key = span_of(pattern, rest.n + 2);
        r = map_find(routes, hash_nocase(key), &key);
    }
    if (r == NULL) {
        struct span any = SPAN_LIT("*");
        r = map_find(routes, hash_nocase(any), &any);
    }
    return r;
}

/* May this tenant's mail be signed with it, now? */
static bool dkim_usable(const struct config_dkim_key *k, struct span tenant, int64_t wall_ms)
{
    if (k->key == NULL || wall_ms < k->not_before_ms || (k->not_after_ms != 0 && wall_ms >= k->not_after_ms))
        return false;
    for (uint32_t i = 0; i < k->ntenants; i++)
        if (span_eq_nocase(span_str(k->tenants[i]), tenant))
            return true;
    return k->ntenants == 0;
}

void config_dkim_look(const struct config *c, struct span domain, bool below, struct span tenant, int64_t wall_ms,
                      const struct config_dkim_key *best[DKIM_ALGORITHMS])
{
    const struct config_dkim_key *k = map_find(&box_of(c)->dkim, hash_nocase(domain), &domain);
    for (; k != NULL; k = k->next) {
        if ((below && !k->subdomains) || !dkim_usable(k, tenant, wall_ms))
            continue;
        const struct config_dkim_key **of = &best[dkim_key_algorithm(k->key)];
        if (*of == NULL || k->not_before_ms > (*of)->not_before_ms)
            *of = k;
    }
}

struct span config_dkim_default(const struct config *c, struct span tenant)
{
    for (uint32_t i = 0; i < c->dkim.ntenants; i++)
        if (span_eq_nocase(span_str(c->dkim.tenants[i].tenant), tenant))
            return span_str(c->dkim.tenants[i].default_domain);
    return span_str(c->dkim.default_domain);
}

const char *config_relay_account(const struct config *c, const struct sockaddr *client)
{
    const char *account = NULL;
    struct ip_addr a;
    int best = -1;
    if (ip_from_sockaddr(client, &a, NULL) != 0)
        return NULL;
    for (uint32_t i = 0; i < c->nrelay_clients; i++)
        for (uint32_t k = 0; k < c->relay_clients[i].nnetworks; k++) {
            const struct ip_net *net = &c->relay_clients[i].networks[k];
            if (net->bits > best && ip_net_has(net, &a)) {
                best = net->bits;
                account = c->relay_clients[i].account;
            }
        }
    return account;
}
