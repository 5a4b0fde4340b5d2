/* Which feature level the policy's keys need: a node of an older build refuses a document with a key that it
 * does not know, and keeps the policy before it. So a document may only be applied once all nodes know what
 * is in it, even where the machine does nothing with it. Keys that are not here are as old as the policy is.
 * Pure.
 */
#include "node/policy/policy_impl.h"

#include <ctype.h>
#include <string.h>

struct since {
    const char *key; /* as docs/policy.md has it: a name in capitals is any; lists are gone through */
    uint8_t level;
    bool (*newer)(struct span value); /* only such a value; NULL: any */
};

/* "hold for 1h"; before, it was "hold 1h" only. */
static bool says_for(struct span value)
{
    for (size_t n = 0; value.n > 0; value = span_sub(value, n)) {
        value = span_trim(value);
        for (n = 0; n < value.n && !isspace((unsigned char)value.p[n]);)
            n++;
        if (span_eq(span_of(value.p, n), SPAN_LIT("for")))
            return true;
    }
    return false;
}

/* Routes that name what builds before knew nothing of. */
static bool names_later_events(struct span value)
{
    return span_starts(value, SPAN_LIT("operator_")) || span_eq(value, SPAN_LIT("web_senders"));
}

static const struct since table[] = {
    { "rules", 2, NULL },
    { "default_rules", 2, NULL },
    { "backoff", 3, NULL },
    { "bounces", 3, NULL },
    { "suppression", 3, NULL },
    { "client_checks", 4, NULL },
    { "default_sites", 4, NULL },
    { "reputation", 4, NULL },
    { "sites", 4, NULL },
    { "warmup", 4, NULL },
    { "dnsbl", 5, NULL },
    { "domains", 5, NULL },
    { "forwarding", 5, NULL },
    { "pools", 5, NULL },
    { "reputation.addresses", 5, NULL },
    { "rules.to", 5, NULL },
    { "sender_credit", 5, NULL },
    { "sender_rules", 5, NULL },
    { "classes.CLASS.over_limit", 6, NULL },
    { "classes.CLASS.over_limit_notice", 6, NULL },
    { "default_sender_rules", 6, NULL },
    { "held", 6, NULL },
    { "limits.over_limit", 6, NULL },
    { "notifications", 6, NULL },
    { "sender_rules.then", 6, says_for },
    { "streams", 6, NULL },
    { "tenant_reports", 6, NULL },
    { "content", 7, NULL },
    { "notifications.routes.events", 7, names_later_events },
    { "web_senders", 7, NULL },
    { "content.milters", 8, NULL },
};

static bool value_has(yaml_document_t *doc, yaml_node_t *node, const char *key, const struct since *s);

static bool scalar_has(const yaml_node_t *node, const struct since *s)
{
    return node != NULL && node->type == YAML_SCALAR_NODE &&
           s->newer(span_of((const char *)node->data.scalar.value, node->data.scalar.length));
}

static bool map_has(yaml_document_t *doc, yaml_node_t *map, const char *key, const struct since *s)
{
    size_t n = strcspn(key, ".");
    const char *rest = key + n + (key[n] == '.');
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        yaml_node_t *name = yaml_document_get_node(doc, p->key);
        if (name == NULL || name->type != YAML_SCALAR_NODE)
            continue;
        struct span text = span_of((const char *)name->data.scalar.value, name->data.scalar.length);
        if ((isupper((unsigned char)key[0]) || span_eq(text, span_of(key, n))) &&
            value_has(doc, yaml_document_get_node(doc, p->value), rest, s))
            return true;
    }
    return false;
}

/* Lists stand in no other list: the document was read by the tables before. */
static bool value_has(yaml_document_t *doc, yaml_node_t *node, const char *key, const struct since *s)
{
    if (node == NULL)
        return false;
    if (key[0] == '\0' && (s->newer == NULL || node->type != YAML_SEQUENCE_NODE))
        return s->newer == NULL || scalar_has(node, s);
    if (node->type == YAML_MAPPING_NODE)
        return map_has(doc, node, key, s);
    if (node->type != YAML_SEQUENCE_NODE)
        return false;
    for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
        yaml_node_t *item = yaml_document_get_node(doc, *i);
        if (key[0] == '\0' ? scalar_has(item, s)
                           : item != NULL && item->type == YAML_MAPPING_NODE && map_has(doc, item, key, s))
            return true;
    }
    return false;
}

void policy_document_level(struct schema_load *l, struct policy_doc *doc)
{
    yaml_node_t *root = yaml_document_get_root_node(l->doc);
    doc->level = 1;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].level > doc->level && value_has(l->doc, root, table[i].key, &table[i])) {
            doc->level = table[i].level;
            doc->level_key = table[i].key;
        }
    /* It had to be given before the cluster had secrets of its own. */
    if (doc->level < 5 && doc->bounces.domain != NULL && doc->bounces.key == NULL) {
        doc->level = 5;
        doc->level_key = "bounces without a key";
    }
}

uint32_t policy_needs(const struct policy *p, const char **key)
{
    uint32_t rules = policy_level(&p->compiled);
    *key = rules > p->level ? "sender_rules" : p->level_key;
    return rules > p->level ? rules : p->level;
}
