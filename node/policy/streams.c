/* Streams: which class mail is of when where it comes from says so, a listener or a client's network, rather
 * than its account; and what becomes of mail beyond a limit. Sections of the policy. Pure.
 */
#include "node/auth/identity.h"
#include "node/config/net.h"
#include "node/config/schema_rows.h"
#include "node/config/types.h"
#include "node/policy/policy_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALL_CLASSES ((1u << POLICY_CLASSES) - 1)

const char *const policy_over_names[POLICY_OVERS + 1] = { "defer", "reject", "hold", NULL };
const char *const policy_notice_names[4] = { "held", "always", "never", NULL };

static const struct schema_field stream_fields[] = {
    VALUE(policy_doc_stream, name, "name", word, REQUIRED("what reports call it")),
    VALUE(policy_doc_stream, class, "class", enum, .names = policy_class_names,
          REQUIRED("person, device or bulk: what its mail counts as")),
    LIST(policy_doc_stream, listeners, "listeners", TYPE(word), COUNT(1, POLICY_STREAM_LISTENERS_MAX)),
    LIST(policy_doc_stream, networks, "networks", TYPE(net), COUNT(1, POLICY_STREAM_NETWORKS_MAX)),
    LIST(policy_doc_stream, accounts, "accounts", TYPE(match), COUNT(1, POLICY_STREAM_ACCOUNTS_MAX)),
    LIST(policy_doc_stream, of, "of", TYPE(enum), .names = policy_class_names, COUNT(1, POLICY_CLASSES)),
    END,
};
const struct schema_map policy_stream_map = { sizeof(struct policy_doc_stream), stream_fields };

void policy_check_streams(struct schema_load *l, const struct policy_doc *doc)
{
    for (uint32_t i = 0; i < doc->nstreams; i++) {
        const struct policy_doc_stream *s = &doc->streams[i];
        char path[64];
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(s->name, doc->streams[k].name) == 0) {
                policy_fault_named(l, "streams", i, k, s->name, "each");
                break;
            }
        snprintf(path, sizeof path, "streams[%u].listeners", i);
        if (s->nlisteners == 0 && s->nnetworks == 0)
            schema_fault_at(l, path,
                            "or networks are required: an account's own class is set with the account");
    }
}

static uint8_t bits_of(const int *classes, uint32_t n)
{
    uint8_t bits = 0;
    for (uint32_t i = 0; i < n; i++)
        bits |= (uint8_t)(1u << classes[i]);
    return n > 0 ? bits : ALL_CLASSES;
}

/* Takes them. */
static struct policy_names take(char ***items, uint32_t *n)
{
    struct policy_names out = { .items = *items, .n = *n };
    *items = NULL;
    *n = 0;
    return out;
}

bool policy_compile_streams(struct policy_doc *doc, struct policy *out)
{
    out->streams = calloc(doc->nstreams + 1, sizeof *out->streams);
    if (out->streams == NULL)
        return false;
    for (uint32_t i = 0; i < doc->nstreams; i++) {
        struct policy_doc_stream *from = &doc->streams[i];
        struct policy_stream *to = &out->streams[out->nstreams++];
        snprintf(to->name, sizeof to->name, "%s", from->name);
        to->class = (uint8_t)from->class;
        to->of = bits_of(from->of, from->nof);
        to->listeners = take(&from->listeners, &from->nlisteners);
        to->accounts = take(&from->accounts, &from->naccounts);
        to->networks = from->networks;
        to->nnetworks = from->nnetworks;
        from->networks = NULL;
        from->nnetworks = 0;
    }
    for (uint32_t i = 0; i < POLICY_CLASSES; i++) {
        out->classes[i].over_limit = (uint8_t)doc->classes[i].over_limit;
        if (doc->classes[i].notice != 0)
            out->classes[i].over_limit_notice = (uint8_t)(doc->classes[i].notice - 1);
    }
    for (uint32_t i = 0; i < doc->nlimits; i++)
        out->over_limit[i] = (uint8_t)doc->limits[i].over_limit;
    return true;
}

static void names_free(struct policy_names *names)
{
    for (uint32_t i = 0; i < names->n; i++)
        free(names->items[i]);
    free(names->items);
}

void policy_streams_free(struct policy *p)
{
    for (uint32_t i = 0; i < p->nstreams; i++) {
        names_free(&p->streams[i].listeners);
        names_free(&p->streams[i].accounts);
        free(p->streams[i].networks);
    }
    free(p->streams);
}

/* ---- looked up ----------------------------------------------------------------------------------------- */

static bool listed(const struct policy_names *names, struct span name)
{
    for (uint32_t i = 0; i < names->n; i++)
        if (span_eq(span_str(names->items[i]), name))
            return true;
    return names->n == 0;
}

static bool of_account(const struct policy_stream *s, struct span account)
{
    for (uint32_t i = 0; i < s->accounts.n; i++)
        if (auth_rule_matches(span_str(s->accounts.items[i]), account))
            return true;
    return s->accounts.n == 0;
}

uint8_t policy_stream_class(const struct policy *p, const struct policy_source *from)
{
    for (uint32_t i = 0; p != NULL && i < p->nstreams; i++) {
        const struct policy_stream *s = &p->streams[i];
        if ((s->of >> from->class & 1) != 0 && listed(&s->listeners, from->listener) &&
            (s->nnetworks == 0 || ip_nets_have(s->networks, s->nnetworks, from->client)) &&
            of_account(s, from->account))
            return s->class;
    }
    return from->class;
}

uint8_t policy_over_limit(const struct policy *p, const char *limit, uint8_t class)
{
    uint8_t over = 0;
    for (uint32_t i = 0; p != NULL && over == 0 && i < p->compiled.nlimits; i++)
        if (strcmp(p->compiled.limits[i].name, limit) == 0)
            over = p->over_limit[i];
    if (over == 0 && p != NULL && class < POLICY_CLASSES)
        over = p->classes[class].over_limit;
    return over == 0 ? POLICY_OVER_DEFER : over;
}

bool policy_over_notice(const struct policy *p, uint8_t over, uint8_t class)
{
    uint8_t notice = p != NULL && class < POLICY_CLASSES ? p->classes[class].over_limit_notice : POLICY_NOTICE_NEVER;
    return notice == POLICY_NOTICE_ALWAYS || (notice == POLICY_NOTICE_HELD && over == POLICY_OVER_HOLD);
}

/* ---- compared ------------------------------------------------------------------------------------------ */

static void put_list(struct buf *out, const char *what, const struct policy_names *names)
{
    for (uint32_t i = 0; i < names->n; i++)
        (void)buf_printf(out, "%s%s", i > 0 ? ", " : what, names->items[i]);
}

static void words_of(struct buf *out, const void *entry)
{
    const struct policy_stream *s = entry;
    char net[IP_TEXT_MAX + 4];
    (void)buf_put_str(out, policy_class_names[s->class]);
    put_list(out, "; listeners ", &s->listeners);
    for (uint32_t i = 0; i < s->nnetworks; i++) {
        config_net_format(&s->networks[i], net);
        (void)buf_printf(out, "%s%s", i > 0 ? ", " : "; networks ", net);
    }
    put_list(out, "; accounts ", &s->accounts);
    for (unsigned i = 0, n = 0; s->of != ALL_CLASSES && i < POLICY_CLASSES; i++)
        if ((s->of >> i & 1) != 0)
            (void)buf_printf(out, "%s%s", n++ == 0 ? "; of " : ", ", policy_class_names[i]);
}

static const struct policy_stream *named(const struct policy *p, const char *name)
{
    for (uint32_t i = 0; i < p->nstreams; i++)
        if (strcmp(p->streams[i].name, name) == 0)
            return &p->streams[i];
    return NULL;
}

static void diff_over(struct buf *out, const char *prefix, const char *name, uint8_t from, uint8_t to)
{
    char key[POLICY_LIMIT_NAME + 32];
    snprintf(key, sizeof key, "%s.%s.over_limit", prefix, name);
    policy_diff_words(out, "", key, span_str(from == 0 ? "" : policy_over_names[from - 1]),
                      span_str(to == 0 ? "" : policy_over_names[to - 1]));
}

static uint8_t over_of(const struct policy *p, const char *limit)
{
    for (uint32_t i = 0; i < p->compiled.nlimits; i++)
        if (strcmp(p->compiled.limits[i].name, limit) == 0)
            return p->over_limit[i];
    return 0;
}

void policy_diff_streams(struct buf *out, const struct policy *from, const struct policy *to)
{
    for (uint32_t i = 0; i < to->compiled.nlimits; i++) {
        const char *limit = to->compiled.limits[i].name;
        diff_over(out, "limits", limit, over_of(from, limit), to->over_limit[i]);
    }
    for (unsigned i = 0; i < POLICY_CLASSES; i++) {
        char key[64];
        snprintf(key, sizeof key, "classes.%s.over_limit_notice", policy_class_names[i]);
        policy_diff_words(out, "", key, span_str(policy_notice_names[from->classes[i].over_limit_notice]),
                          span_str(policy_notice_names[to->classes[i].over_limit_notice]));
    }
    for (unsigned i = 0; i < POLICY_CLASSES; i++)
        diff_over(out, "classes", policy_class_names[i], from->classes[i].over_limit,
                  to->classes[i].over_limit);
    for (uint32_t i = 0; i < from->nstreams; i++)
        policy_diff_entry(out, "streams", from->streams[i].name, words_of, &from->streams[i],
                          named(to, from->streams[i].name));
    for (uint32_t i = 0; i < to->nstreams; i++)
        if (named(from, to->streams[i].name) == NULL)
            policy_diff_entry(out, "streams", to->streams[i].name, words_of, NULL, &to->streams[i]);
}
