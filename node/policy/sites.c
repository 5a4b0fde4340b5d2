/* Sites in the policy: what the tables cannot say, the built-in ones beneath the operators', and what
 * differs. Pure.
 *
 * An operator's entry with a name of its own comes before all built-in ones; one with a built-in entry's name
 * takes its place, and what it leaves out is the built-in one's.
 */
#include "base/text.h"
#include "builtin_sites.h"
#include "node/policy/policy_impl.h"

#include <stdio.h>
#include <stdlib.h>

struct sites_doc {
    struct policy_doc_site *sites;
    uint32_t nsites;
};

static const struct schema_field sites_doc_fields[] = {
    { .key = "sites",
      .shape = SCHEMA_LIST,
      .offset = offsetof(struct sites_doc, sites),
      .count_offset = offsetof(struct sites_doc, nsites),
      .map = &policy_site_map,
      .count_max = SHAPING_SITE_ENTRIES_MAX - POLICY_SITES_MAX },
    { .key = NULL },
};
static const struct schema_map sites_doc_map = { sizeof(struct sites_doc), sites_doc_fields };

struct span policy_builtin_sites(void)
{
    return span_of(builtin_sites, sizeof builtin_sites);
}

static const struct policy_doc_site *find(const struct policy_doc_site *sites, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (sites[i].name != NULL && name != NULL && strcmp(sites[i].name, name) == 0)
            return &sites[i];
    return NULL;
}

static uint32_t or_else(uint32_t given, uint32_t base)
{
    return given != 0 ? given : base;
}

/* `over`'s keys, and `base`'s (NULL: none) where it has none. Borrows from both. */
static void merge(const struct policy_doc_site *over, const struct policy_doc_site *base,
                  struct shaping_site *out)
{
    static const struct policy_doc_site nothing;
    const struct policy_doc_site *b = base != NULL ? base : &nothing;
    const struct policy_doc_site *retry = over->nretry > 0 ? over : b;
    const struct policy_rate *rate = over->rate.count != 0 ? &over->rate : &b->rate;
    *out = (struct shaping_site){
        .name = over->name,
        .mx = over->nmx > 0 ? over->mx : b->mx,
        .nmx = or_else(over->nmx, b->nmx),
        .domains = over->ndomains > 0 ? over->domains : b->domains,
        .ndomains = or_else(over->ndomains, b->ndomains),
        .limits = { .connections = or_else(over->connections, b->connections),
                    .messages_per_connection =
                        or_else(over->messages_per_connection, b->messages_per_connection),
                    .recipients = or_else(over->recipients, b->recipients),
                    .rate_count = rate->count,
                    .rate_ms = rate->within_ms,
                    .nretry = retry->nretry,
                    .tls = (over->tls != 0 ? over->tls : b->tls) - 1 },
    };
    for (uint32_t i = 0; i < retry->nretry; i++)
        out->limits.retry_ms[i] = retry->retry[i];
}

static void fault(struct schema_load *l, uint32_t at, const char *key, const char *words)
{
    char path[64];
    snprintf(path, sizeof path, "sites[%u].%s", at, key);
    schema_fault_at(l, path, "%s", words);
}

void policy_check_sites(struct schema_load *l, const struct policy_doc *doc)
{
    struct sites_doc builtin;
    policy_builtin_read("built-in sites", policy_builtin_sites(), &sites_doc_map, &builtin);
    for (uint32_t i = 0; i < doc->nsites; i++) {
        const struct policy_doc_site *base = find(builtin.sites, builtin.nsites, doc->sites[i].name);
        struct shaping_site s;
        merge(&doc->sites[i], doc->default_sites ? base : NULL, &s);
        if (s.nmx == 0 && s.ndomains == 0)
            fault(l, i, "mx", "is required, or domain: which destinations the site has");
        if (s.name != NULL && strchr(s.name, '.') != NULL)
            fault(l, i, "name", "looks like a domain: give it a name without a dot");
        if (find(doc->sites, i, doc->sites[i].name) != NULL)
            fault(l, i, "name", "is another site's already: give each site its own name");
    }
    schema_fini(&sites_doc_map, &builtin);
}

struct shaping_sites *policy_compile_sites(const struct policy_doc *doc)
{
    struct sites_doc builtin;
    policy_builtin_read("built-in sites", policy_builtin_sites(), &sites_doc_map, &builtin);
    uint32_t nbase = doc->default_sites ? builtin.nsites : 0, n = 0;
    struct shaping_site *all = calloc(doc->nsites + nbase + 1, sizeof *all);
    struct shaping_sites *made = NULL;
    for (uint32_t i = 0; all != NULL && i < doc->nsites; i++)
        if (find(builtin.sites, nbase, doc->sites[i].name) == NULL)
            merge(&doc->sites[i], NULL, &all[n++]);
    for (uint32_t i = 0; all != NULL && i < nbase; i++) {
        const struct policy_doc_site *over = find(doc->sites, doc->nsites, builtin.sites[i].name);
        merge(over != NULL ? over : &builtin.sites[i], &builtin.sites[i], &all[n++]);
    }
    if (all != NULL)
        made = shaping_sites_new(all, n);
    free(all);
    schema_fini(&sites_doc_map, &builtin);
    return made;
}

/* ---- for people ---------------------------------------------------------------------------------------- */

static void put_sep(struct buf *out, size_t start)
{
    if (out->len > start)
        buf_put_str(out, "; ");
}

static void put_number(struct buf *out, size_t start, const char *what, uint32_t n)
{
    if (n == 0)
        return;
    put_sep(out, start);
    buf_printf(out, "%s %u", what, n);
}

static void put_list(struct buf *out, size_t start, const char *what, char *const *list, uint32_t n)
{
    if (n == 0)
        return;
    put_sep(out, start);
    for (uint32_t i = 0; i < n; i++)
        buf_printf(out, "%s %s", i == 0 ? what : ",", list[i]);
}

void policy_put_site(struct buf *out, const struct shaping_site *s)
{
    const struct shaping_limits *l = &s->limits;
    size_t start = out->len;
    char text[32];
    put_number(out, start, "connections", l->connections);
    put_number(out, start, "messages_per_connection", l->messages_per_connection);
    if (l->rate_count != 0) {
        put_sep(out, start);
        buf_printf(out, "rate %u/%s", l->rate_count, text_exact_duration(l->rate_ms, text));
    }
    put_number(out, start, "recipients_per_message", l->recipients);
    if (l->nretry > 0)
        put_sep(out, start);
    for (uint32_t i = 0; i < l->nretry; i++)
        buf_printf(out, "%s %s", i == 0 ? "retry" : ",", text_exact_duration(l->retry_ms[i], text));
    if (l->tls >= 0) {
        put_sep(out, start);
        buf_printf(out, "tls %s", shaping_tls_names[l->tls]);
    }
    put_list(out, start, "mx", s->mx, s->nmx);
    put_list(out, start, "domain", s->domains, s->ndomains);
}

static const struct shaping_site *find_site(const struct shaping_sites *sites, const char *name)
{
    for (uint32_t i = 0; i < shaping_sites_count(sites); i++)
        if (strcmp(shaping_sites_at(sites, i)->name, name) == 0)
            return shaping_sites_at(sites, i);
    return NULL;
}

static void diff_site(struct buf *out, const struct shaping_site *from, const struct shaping_site *to)
{
    struct buf a, b;
    buf_init(&a, 65536);
    buf_init(&b, 65536);
    if (from != NULL)
        policy_put_site(&a, from);
    if (to != NULL)
        policy_put_site(&b, to);
    policy_diff_words(out, "sites.", from != NULL ? from->name : to->name, buf_span(&a), buf_span(&b));
    buf_fini(&a);
    buf_fini(&b);
}

void policy_diff_sites(struct buf *out, const struct shaping_sites *from, const struct shaping_sites *to)
{
    for (uint32_t i = 0; i < shaping_sites_count(from); i++)
        diff_site(out, shaping_sites_at(from, i), find_site(to, shaping_sites_at(from, i)->name));
    for (uint32_t i = 0; i < shaping_sites_count(to); i++)
        if (find_site(from, shaping_sites_at(to, i)->name) == NULL)
            diff_site(out, NULL, shaping_sites_at(to, i));
}
