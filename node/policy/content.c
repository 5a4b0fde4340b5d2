/* The policy's section `content`: which servers look at what messages say, and what becomes of what they
 * find. Pure. docs/content.md.
 */
#include "base/text.h"
#include "node/config/schema_rows.h"
#include "node/config/types.h"
#include "node/policy/policy_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALL_CLASSES ((1u << POLICY_CLASSES) - 1)
#define SERVER_MAX 200 /* characters of a server's URL */
#define SIZE_MAX_BYTES (64 * MIB)

static const char *const unreachable[] = { "accept", "defer", NULL };
static const char *const acts[] = { [POLICY_CONTENT_ACCEPT] = "accept",
                                    [POLICY_CONTENT_ADD_HEADER] = "add_header",
                                    [POLICY_CONTENT_HOLD] = "hold",
                                    [POLICY_CONTENT_REJECT] = "reject",
                                    NULL };

static const struct schema_field content_fields[] = {
    LIST_IN(policy_doc, content, servers, "servers", TYPE(text), RANGE(1, SERVER_MAX),
            COUNT(1, POLICY_CONTENT_SERVERS_MAX)),
    LIST_IN(policy_doc, content, milters, "milters", .map = &policy_milter_map, COUNT(1, POLICY_MILTERS_MAX)),
    VALUE(policy_doc, content.timeout_ms, "timeout", duration, DEFAULT("5s"), RANGE(100, MINUTE)),
    VALUE(policy_doc, content.max_size, "max_size", size, DEFAULT("2M"), RANGE(KIB, SIZE_MAX_BYTES)),
    VALUE(policy_doc, content.checks, "checks", u32, DEFAULT("50"), RANGE(1, 1000)),
    VALUE(policy_doc, content.when_unreachable, "when_unreachable", enum, .names = unreachable,
          DEFAULT("accept")),
    VALUE(policy_doc, content.on_reject, "on_reject", enum, .names = acts, DEFAULT("reject")),
    VALUE(policy_doc, content.on_spam, "on_spam", enum, .names = acts, DEFAULT("add_header")),
    LIST_IN(policy_doc, content, classes, "classes", TYPE(enum), .names = policy_class_names,
            COUNT(1, POLICY_CLASSES)),
    END,
};
const struct schema_map policy_content_map = { sizeof(struct policy_doc), content_fields };

/* Of http://host:port[/]: where what is asked for stands is rspamd's, not the operator's. */
static const char *check_server(const char *url)
{
    struct policy_url parsed;
    if (strchr(url, '@') != NULL)
        return "must not have a user name or password in it";
    const char *wrong = policy_webhook_parse(span_str(url), &parsed);
    if (wrong != NULL)
        return strncmp(url, "http", 4) == 0 ? wrong
                                            : "expected http://host:port, such as http://127.0.0.1:11333";
    const char *path = strpbrk(strstr(url, "//") + 2, "/?#");
    return path == NULL || strcmp(path, "/") == 0 ? NULL : "must not have a path: http://host:port";
}

void policy_check_content(struct schema_load *l, const struct policy_doc *doc)
{
    if (schema_has(l, "content") && doc->content.nservers == 0 && doc->content.nmilters == 0)
        schema_fault_at(l, "content", "needs servers, where rspamd answers, such as http://127.0.0.1:11333, or milters");
    policy_check_milters(l, doc);
    for (uint32_t i = 0; i < doc->content.nservers; i++) {
        char path[64];
        snprintf(path, sizeof path, "content.servers[%u]", i);
        const char *wrong = check_server(doc->content.servers[i]);
        if (wrong != NULL)
            schema_fault_at(l, path, "%s", wrong);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(doc->content.servers[i], doc->content.servers[k]) == 0) {
                schema_fault_at(l, path, "\"%s\" is given twice", doc->content.servers[i]);
                break;
            }
    }
}

void policy_compile_content(struct policy_doc *doc, struct policy *out)
{
    struct policy_content *c = &out->content;
    c->servers = (struct policy_names){ .items = doc->content.servers, .n = doc->content.nservers };
    doc->content.servers = NULL;
    doc->content.nservers = 0;
    c->timeout_ms = doc->content.timeout_ms;
    c->max_size = doc->content.max_size;
    c->checks = doc->content.checks;
    c->defer = doc->content.when_unreachable != 0;
    c->on_reject = (uint8_t)doc->content.on_reject;
    c->on_spam = (uint8_t)doc->content.on_spam;
    c->classes = doc->content.nclasses == 0 ? ALL_CLASSES : 0;
    for (uint32_t i = 0; i < doc->content.nclasses; i++)
        c->classes |= (uint8_t)(1u << doc->content.classes[i]);
    policy_compile_milters(doc, c);
}

void policy_content_free(struct policy *p)
{
    for (uint32_t i = 0; i < p->content.servers.n; i++)
        free(p->content.servers.items[i]);
    free(p->content.servers.items);
}

/* ---- compared ------------------------------------------------------------------------------------------ */

static struct span list(const struct policy_content *c, struct buf *out)
{
    buf_init(out, POLICY_CONTENT_SERVERS_MAX * (SERVER_MAX + 4));
    for (uint32_t i = 0; i < c->servers.n; i++)
        (void)buf_printf(out, "%s%s", i > 0 ? ", " : "", c->servers.items[i]);
    return buf_span(out);
}

static void diff_text(struct buf *out, const char *key, const char *from, const char *to)
{
    policy_diff_words(out, "content.", key, span_str(from), span_str(to));
}

static void diff_number(struct buf *out, const char *key, uint64_t from, uint64_t to)
{
    char a[24], b[24];
    snprintf(a, sizeof a, "%llu", (unsigned long long)from);
    snprintf(b, sizeof b, "%llu", (unsigned long long)to);
    diff_text(out, key, a, b);
}

const char *policy_classes_text(uint8_t bits, char out[64])
{
    size_t n = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < POLICY_CLASSES; i++)
        if ((bits >> i & 1) != 0)
            n += (size_t)snprintf(out + n, 64 - n, "%s%s", n > 0 ? ", " : "", policy_class_names[i]);
    return out;
}

void policy_diff_content(struct buf *out, const struct policy_content *from, const struct policy_content *to)
{
    struct buf a, b;
    char was[64], now[64];
    policy_diff_words(out, "content.", "servers", list(from, &a), list(to, &b));
    buf_fini(&a);
    buf_fini(&b);
    policy_diff_milters(out, from, to);
    if (!policy_checks_content(from) || !policy_checks_content(to))
        return;
    diff_text(out, "timeout", text_exact_duration(from->timeout_ms, was),
              text_exact_duration(to->timeout_ms, now));
    diff_number(out, "max_size", from->max_size, to->max_size);
    diff_number(out, "checks", from->checks, to->checks);
    diff_text(out, "when_unreachable", unreachable[from->defer], unreachable[to->defer]);
    diff_text(out, "on_reject", acts[from->on_reject], acts[to->on_reject]);
    diff_text(out, "on_spam", acts[from->on_spam], acts[to->on_spam]);
    diff_text(out, "classes", policy_classes_text(from->classes, was), policy_classes_text(to->classes, now));
}
