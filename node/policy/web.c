/* Web senders: which shared hosts are believed to name the script, site or user of each message in a header,
 * how many such senders there may be, and what their mail is. A section of the policy. Pure.
 */
#include "base/text.h"
#include "node/auth/identity.h"
#include "node/config/net.h"
#include "node/config/schema_rows.h"
#include "node/config/types.h"
#include "node/policy/policy_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- read ---------------------------------------------------------------------------------------------- */

/* RFC 5322 section 2.2: printable ASCII but the colon. */
static bool field_name_ok(struct span name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] >= 0x7f || name.p[i] == ':' || name.p[i] == '*')
            return false;
    return name.n > 0 && name.n <= ORIGIN_NAME_MAX;
}

static int form_named(struct span name)
{
    for (int i = 0; i < ORIGIN_FORMS; i++)
        if (span_eq(name, span_str(origin_form_names[i])))
            return i;
    return -1;
}

/* "X-AuthUser", "X-Site as path" */
static bool origin_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    struct origin_header *h = out;
    const char *as = s.n == 0 ? NULL : memmem(s.p, s.n, " as ", 4);
    struct span name = as == NULL ? s : span_trim(span_of(s.p, (size_t)(as - s.p)));
    struct span form = as == NULL ? span_of("", 0) : span_trim(span_sub(s, (size_t)(as - s.p) + 4));
    int known = form.n > 0 ? form_named(form) : (int)origin_form_of(name);
    if (!field_name_ok(name) || known < 0) {
        schema_fault(
            l,
            "expected a header's name such as X-AuthUser, or with a form, \"X-Site as path\" (text, user, "
            "script, path), got \"%.*s\"",
            (int)(s.n < 80 ? s.n : 80), s.p);
        return false;
    }
    memcpy(h->name, name.p, name.n);
    h->name[name.n] = '\0';
    h->form = (uint8_t)known;
    return true;
}

static bool origin_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    const struct origin_header *h = in;
    return buf_printf(out, "%s as %s", h->name, origin_form_names[h->form]) == 0;
}

static const struct schema_type type_origin = { sizeof(struct origin_header), origin_parse, origin_format,
                                                NULL };

TABLE(host, policy_doc_web_host,
      VALUE(policy_doc_web_host, name, "name", word, REQUIRED("what reports call it")),
      LIST(policy_doc_web_host, networks, "networks", TYPE(net), COUNT(1, POLICY_STREAM_NETWORKS_MAX)),
      LIST(policy_doc_web_host, accounts, "accounts", TYPE(match), COUNT(1, POLICY_STREAM_ACCOUNTS_MAX)),
      LIST(policy_doc_web_host, headers, "headers", TYPE(origin), COUNT(1, ORIGIN_HEADERS_MAX)),
      VALUE(policy_doc_web_host, class, "class", enum, .names = policy_class_names, DEFAULT("device")),
      VALUE(policy_doc_web_host, remove, "remove", bool, DEFAULT("true")));

static const struct schema_field web_fields[] = {
    LIST(policy_doc_web, hosts, "hosts", .map = &host_map, COUNT(0, POLICY_WEB_HOSTS_MAX)),
    VALUE(policy_doc_web, most, "max_senders", u32, DEFAULT("50000"), RANGE(0, 100000)),
    VALUE(policy_doc_web, most_of_host, "max_per_host", u32, DEFAULT("500"), RANGE(0, 10000)),
    VALUE(policy_doc_web, expire_ms, "expire", duration, DEFAULT("30d"), RANGE(HOUR, 366 * DAY)),
    END,
};
const struct schema_map policy_web_map = { sizeof(struct policy_doc_web), web_fields };

/* ---- checked ------------------------------------------------------------------------------------------- */

/* Fields that a message cannot do without, or that say nothing of its sender's script. */
static bool is_of_mail(const char *name)
{
    static const char *const fields[] = { "From",
                                          "Sender",
                                          "Reply-To",
                                          "To",
                                          "Cc",
                                          "Bcc",
                                          "Date",
                                          "Subject",
                                          "Message-ID",
                                          "In-Reply-To",
                                          "References",
                                          "MIME-Version",
                                          "Received",
                                          "Comments",
                                          "Keywords",
                                          "Return-Path",
                                          "DKIM-Signature",
                                          "Authentication-Results" };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (span_eq_nocase(span_str(name), span_str(fields[i])))
            return true;
    return strncasecmp(name, "Content-", 8) == 0;
}

static void check_headers(struct schema_load *l, const struct policy_doc *doc, uint32_t at)
{
    const struct policy_doc_web_host *h = &doc->web.hosts[at];
    char path[64];
    for (uint32_t i = 0; i < h->nheaders; i++) {
        struct span name = span_str(h->headers[i].name);
        snprintf(path, sizeof path, "web_senders.hosts[%u].headers[%u]", at, i);
        if (is_of_mail(h->headers[i].name))
            schema_fault_at(l, path, "%s is a field of every message: name one that the host adds",
                            h->headers[i].name);
        for (uint32_t k = 0; k < i; k++)
            if (span_eq_nocase(name, span_str(h->headers[k].name)))
                schema_fault_at(l, path, "\"%s\" is given twice", h->headers[i].name);
    }
}

void policy_check_web(struct schema_load *l, const struct policy_doc *doc)
{
    char path[64];
    if (schema_has(l, "web_senders") && doc->web.nhosts == 0)
        schema_fault_at(l, "web_senders", "hosts is required: whose headers are believed");
    for (uint32_t i = 0; i < doc->web.nhosts; i++) {
        const struct policy_doc_web_host *h = &doc->web.hosts[i];
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(h->name, doc->web.hosts[k].name) == 0) {
                policy_fault_named(l, "web_senders.hosts", i, k, h->name, "each");
                break;
            }
        snprintf(path, sizeof path, "web_senders.hosts[%u].networks", i);
        if (h->nnetworks == 0 && h->naccounts == 0)
            schema_fault_at(l, path, "or accounts are required: whose headers are believed");
        snprintf(path, sizeof path, "web_senders.hosts[%u].headers", i);
        if (h->nheaders == 0)
            schema_fault_at(l, path,
                            "is required: the headers that say which script sent it, the first choice first");
        check_headers(l, doc, i);
    }
}

/* ---- compiled ------------------------------------------------------------------------------------------ */

bool policy_compile_web(struct policy_doc *doc, struct policy *out)
{
    out->web.most = doc->web.most;
    out->web.most_of_host = doc->web.most_of_host;
    out->web.expire_ms = doc->web.expire_ms;
    out->web.hosts = calloc(doc->web.nhosts + 1, sizeof *out->web.hosts);
    if (out->web.hosts == NULL)
        return false;
    for (uint32_t i = 0; i < doc->web.nhosts; i++) {
        struct policy_doc_web_host *from = &doc->web.hosts[i];
        struct policy_web_host *to = &out->web.hosts[out->web.nhosts++];
        snprintf(to->name, sizeof to->name, "%s", from->name);
        to->class = (uint8_t)from->class;
        to->remove = from->remove;
        to->networks = from->networks;
        to->nnetworks = from->nnetworks;
        to->headers = from->headers;
        to->nheaders = from->nheaders;
        to->accounts = (struct policy_names){ from->accounts, from->naccounts };
        from->networks = NULL;
        from->headers = NULL;
        from->accounts = NULL;
        from->nnetworks = from->nheaders = from->naccounts = 0;
    }
    return true;
}

void policy_web_free(struct policy *p)
{
    for (uint32_t i = 0; i < p->web.nhosts; i++) {
        struct policy_web_host *h = &p->web.hosts[i];
        for (uint32_t k = 0; k < h->accounts.n; k++)
            free(h->accounts.items[k]);
        free(h->accounts.items);
        free(h->networks);
        free(h->headers);
    }
    free(p->web.hosts);
}

/* ---- looked up ----------------------------------------------------------------------------------------- */

static bool has_account(const struct policy_web_host *h, struct span account)
{
    for (uint32_t i = 0; i < h->accounts.n; i++)
        if (auth_rule_matches(span_str(h->accounts.items[i]), account))
            return true;
    return h->accounts.n == 0;
}

const struct policy_web_host *policy_web_host(const struct policy *p, struct span account,
                                              const struct ip_addr *client)
{
    for (uint32_t i = 0; p != NULL && i < p->web.nhosts; i++) {
        const struct policy_web_host *h = &p->web.hosts[i];
        if ((h->nnetworks == 0 || ip_nets_have(h->networks, h->nnetworks, client)) && has_account(h, account))
            return h;
    }
    return NULL;
}

/* ---- compared ------------------------------------------------------------------------------------------ */

static void words_of(struct buf *out, const void *entry)
{
    const struct policy_web_host *h = entry;
    char net[IP_TEXT_MAX + 4];
    (void)buf_printf(out, "%s%s", policy_class_names[h->class], h->remove ? "" : "; headers stay");
    for (uint32_t i = 0; i < h->nheaders; i++)
        (void)buf_printf(out, "%s%s as %s", i > 0 ? ", " : "; headers ", h->headers[i].name,
                         origin_form_names[h->headers[i].form]);
    for (uint32_t i = 0; i < h->nnetworks; i++) {
        config_net_format(&h->networks[i], net);
        (void)buf_printf(out, "%s%s", i > 0 ? ", " : "; networks ", net);
    }
    for (uint32_t i = 0; i < h->accounts.n; i++)
        (void)buf_printf(out, "%s%s", i > 0 ? ", " : "; accounts ", h->accounts.items[i]);
}

static const struct policy_web_host *named(const struct policy *p, const char *name)
{
    for (uint32_t i = 0; i < p->web.nhosts; i++)
        if (strcmp(p->web.hosts[i].name, name) == 0)
            return &p->web.hosts[i];
    return NULL;
}

static void diff_count(struct buf *out, const char *key, uint64_t from, uint64_t to)
{
    char a[24], b[24];
    snprintf(a, sizeof a, "%llu", (unsigned long long)from);
    snprintf(b, sizeof b, "%llu", (unsigned long long)to);
    policy_diff_words(out, "", key, span_str(a), span_str(b));
}

void policy_diff_web(struct buf *out, const struct policy *from, const struct policy *to)
{
    char a[32], b[32];
    for (uint32_t i = 0; i < from->web.nhosts; i++)
        policy_diff_entry(out, "web_senders.hosts", from->web.hosts[i].name, words_of, &from->web.hosts[i],
                          named(to, from->web.hosts[i].name));
    for (uint32_t i = 0; i < to->web.nhosts; i++)
        if (named(from, to->web.hosts[i].name) == NULL)
            policy_diff_entry(out, "web_senders.hosts", to->web.hosts[i].name, words_of, NULL, &to->web.hosts[i]);
    diff_count(out, "web_senders.max_senders", from->web.most, to->web.most);
    diff_count(out, "web_senders.max_per_host", from->web.most_of_host, to->web.most_of_host);
    policy_diff_words(out, "", "web_senders.expire", span_str(text_exact_duration(from->web.expire_ms, a)),
                      span_str(text_exact_duration(to->web.expire_ms, b)));
}
