/* The policy's list `content.milters`: which filters messages are shown to by the milter protocol. Pure.
 * docs/content.md.
 */
#include "base/text.h"
#include "node/config/schema_rows.h"
#include "node/config/types.h"
#include "node/policy/policy_impl.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static const char *const unreachable[] = { "accept", "defer", NULL };

static const struct schema_field milter_fields[] = {
    VALUE(policy_doc_milter, name, "name", word, REQUIRED("what it is called in logs")),
    VALUE(policy_doc_milter, socket, "socket", text, RANGE(1, POLICY_MILTER_SOCKET_MAX),
          REQUIRED("inet:host:port or unix:/path, where the filter listens")),
    VALUE(policy_doc_milter, timeout_ms, "timeout", duration, RANGE(100, MINUTE)),
    VALUE(policy_doc_milter, when_unreachable, "when_unreachable", choice, .names = unreachable),
    VALUE(policy_doc_milter, offer_all, "offer_all", bool, DEFAULT("no")),
    LIST(policy_doc_milter, classes, "classes", TYPE(enum), .names = policy_class_names, COUNT(1, POLICY_CLASSES)),
    END,
};
const struct schema_map policy_milter_map = { sizeof(struct policy_doc_milter), milter_fields };

const char *policy_milter_socket(const char *text, struct policy_milter_socket *out)
{
    struct span s = span_str(text);
    struct sockaddr_un un;
    *out = (struct policy_milter_socket){ .port = 0 };
    if (span_starts(s, SPAN_LIT("unix:"))) {
        out->path = span_sub(s, 5);
        if (out->path.n == 0 || out->path.p[0] != '/')
            return "needs an absolute path: unix:/run/filter.sock";
        return out->path.n < sizeof un.sun_path ? NULL : "has a longer path than sockets can have";
    }
    if (!span_starts(s, SPAN_LIT("inet:")))
        return "expected inet:host:port or unix:/path";
    return text_host_port(span_sub(s, 5), &out->host, &out->port) == 0 && out->port != 0
               ? NULL
               : "expected inet:host:port, such as inet:127.0.0.1:8892 or inet:[::1]:8892";
}

void policy_check_milters(struct schema_load *l, const struct policy_doc *doc)
{
    struct policy_milter_socket parsed;
    for (uint32_t i = 0; i < doc->content.nmilters; i++) {
        const struct policy_doc_milter *m = &doc->content.milters[i];
        const char *wrong = m->socket == NULL ? NULL : policy_milter_socket(m->socket, &parsed);
        char path[64];
        snprintf(path, sizeof path, "content.milters[%u].socket", i);
        if (wrong != NULL)
            schema_fault_at(l, path, "%s", wrong);
        for (uint32_t k = 0; k < i && m->name != NULL; k++)
            if (doc->content.milters[k].name != NULL && strcmp(m->name, doc->content.milters[k].name) == 0) {
                policy_fault_named(l, "content.milters", i, k, m->name, "each filter");
                break;
            }
    }
}

void policy_compile_milters(const struct policy_doc *doc, struct policy_content *out)
{
    for (uint32_t i = 0; i < doc->content.nmilters; i++) {
        const struct policy_doc_milter *from = &doc->content.milters[i];
        struct policy_milter *to = &out->milters[out->nmilters++];
        snprintf(to->name, sizeof to->name, "%s", from->name);
        snprintf(to->socket, sizeof to->socket, "%s", from->socket);
        to->timeout_ms = from->timeout_ms != 0 ? from->timeout_ms : out->timeout_ms;
        to->defer = from->when_unreachable == 0 ? out->defer : from->when_unreachable == 2;
        to->offer_all = from->offer_all;
        to->classes = from->nclasses == 0 ? out->classes : 0;
        for (uint32_t k = 0; k < from->nclasses; k++)
            to->classes |= (uint8_t)(1u << from->classes[k] & out->classes);
    }
}

/* ---- compared ------------------------------------------------------------------------------------------ */

static void words_of(struct buf *out, const void *ctx)
{
    const struct policy_milter *m = ctx;
    char timeout[32], classes[64];
    (void)buf_printf(out, "%s, timeout %s, when_unreachable %s, classes %s%s", m->socket,
                     text_exact_duration(m->timeout_ms, timeout), unreachable[m->defer],
                     policy_classes_text(m->classes, classes), m->offer_all ? ", offer_all" : "");
}

static const struct policy_milter *find(const struct policy_content *c, const char *name)
{
    for (uint32_t i = 0; i < c->nmilters; i++)
        if (strcmp(c->milters[i].name, name) == 0)
            return &c->milters[i];
    return NULL;
}

static struct span order_of(const struct policy_content *c, struct buf *out)
{
    buf_init(out, POLICY_MILTERS_MAX * sizeof c->milters[0].name);
    for (uint32_t i = 0; i < c->nmilters; i++)
        (void)buf_printf(out, "%s%s", i > 0 ? ", " : "", c->milters[i].name);
    return buf_span(out);
}

void policy_diff_milters(struct buf *out, const struct policy_content *from, const struct policy_content *to)
{
    struct buf a, b;
    policy_diff_words(out, "content.", "milters", order_of(from, &a), order_of(to, &b));
    buf_fini(&a);
    buf_fini(&b);
    for (uint32_t i = 0; i < from->nmilters; i++)
        policy_diff_entry(out, "content.milters", from->milters[i].name, words_of, &from->milters[i],
                          find(to, from->milters[i].name));
    for (uint32_t i = 0; i < to->nmilters; i++)
        if (find(from, to->milters[i].name) == NULL)
            policy_diff_entry(out, "content.milters", to->milters[i].name, words_of, NULL, &to->milters[i]);
}
