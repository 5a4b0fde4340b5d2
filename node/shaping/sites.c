/* Sites that an operator names: see sites.h. */
#include "node/shaping/sites.h"

#include "node/shaping/rules.h"

#include <stdlib.h>
#include <string.h>

const char *const shaping_tls_names[] = { "none", "opportunistic", "required", NULL };

struct shaping_sites {
    uint32_t n;
    struct shaping_site v[];
};

static void strings_free(char **list, uint32_t n)
{
    for (uint32_t i = 0; list != NULL && i < n; i++)
        free(list[i]);
    free(list);
}

static char **strings_copy(char *const *list, uint32_t n)
{
    char **copy = calloc(n + 1u, sizeof *copy);
    for (uint32_t i = 0; copy != NULL && i < n; i++)
        if ((copy[i] = strdup(list[i])) == NULL) {
            strings_free(copy, i);
            return NULL;
        }
    return copy;
}

void shaping_sites_free(struct shaping_sites *s)
{
    for (uint32_t i = 0; s != NULL && i < s->n; i++) {
        free(s->v[i].name);
        strings_free(s->v[i].mx, s->v[i].nmx);
        strings_free(s->v[i].domains, s->v[i].ndomains);
    }
    free(s);
}

struct shaping_sites *shaping_sites_new(const struct shaping_site *sites, uint32_t n)
{
    struct shaping_sites *s = calloc(1, sizeof *s + n * sizeof *s->v);
    for (uint32_t i = 0; s != NULL && i < n; i++) {
        struct shaping_site *to = &s->v[s->n++];
        *to = sites[i];
        to->name = strdup(sites[i].name);
        to->mx = strings_copy(sites[i].mx, sites[i].nmx);
        to->domains = strings_copy(sites[i].domains, sites[i].ndomains);
        if (to->name == NULL || to->mx == NULL || to->domains == NULL) {
            shaping_sites_free(s);
            return NULL;
        }
    }
    return s;
}

uint32_t shaping_sites_count(const struct shaping_sites *s)
{
    return s->n;
}

const struct shaping_site *shaping_sites_at(const struct shaping_sites *s, uint32_t i)
{
    return &s->v[i];
}

static bool meets_any(char *const *patterns, uint32_t n, struct span name)
{
    for (uint32_t i = 0; i < n; i++)
        if (shaping_site_match(patterns[i], name))
            return true;
    return false;
}

const struct shaping_site *shaping_sites_find(const struct shaping_sites *s, struct span domain,
                                              const char *const *hosts, uint32_t nhosts)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const struct shaping_site *entry = &s->v[i];
        uint32_t met = 0;
        while (met < nhosts && meets_any(entry->mx, entry->nmx, span_str(hosts[met])))
            met++;
        if (meets_any(entry->domains, entry->ndomains, domain) || (nhosts > 0 && met == nhosts))
            return entry;
    }
    return NULL;
}
