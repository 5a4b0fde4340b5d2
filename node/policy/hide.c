/* The policy's text without its secret, bounces.key, which policies had before the cluster had secrets of its
 * own. Pure. */
#include "base/err.h"
#include "node/policy/policy_impl.h"

#include <errno.h>
#include <string.h>

/* The value of a key of a mapping; NULL: none. */
static yaml_node_t *value_of(yaml_document_t *doc, const yaml_node_t *map, const char *key)
{
    if (map == NULL || map->type != YAML_MAPPING_NODE)
        return NULL;
    const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
    for (; pair < map->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(doc, pair->key);
        if (name->type == YAML_SCALAR_NODE && strcmp((const char *)name->data.scalar.value, key) == 0)
            return yaml_document_get_node(doc, pair->value);
    }
    return NULL;
}

/* libyaml's marks count characters, behind a byte order mark. */
static size_t byte_of(struct span text, size_t character)
{
    size_t at = span_starts(text, SPAN_LIT("\xef\xbb\xbf")) ? 3 : 0;
    for (; at < text.n && character > 0; character--)
        for (at++; at < text.n && ((unsigned char)text.p[at] & 0xc0) == 0x80;)
            at++;
    return at;
}

static int replace(struct span text, const yaml_node_t *key, struct buf *out)
{
    size_t from = byte_of(text, key->start_mark.index), to = byte_of(text, key->end_mark.index);
    (void)buf_put_span(out, span_of(text.p, from));
    (void)buf_put_str(out, "\"" POLICY_HIDDEN "\"");
    if (to > from && text.p[to - 1] == '\n') /* a block's last line is part of it */
        (void)buf_put_char(out, '\n');
    return buf_put_span(out, span_sub(text, to));
}

int policy_hide(struct span text, struct buf *out, struct buf *secret)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    if (!yaml_parser_initialize(&parser))
        return -ENOMEM;
    yaml_parser_set_input_string(&parser, (const unsigned char *)(text.n > 0 ? text.p : ""), text.n);
    int loaded = yaml_parser_load(&parser, &doc);
    yaml_parser_delete(&parser);
    if (!loaded)
        return ERR_BAD;
    const yaml_node_t *key =
        value_of(&doc, value_of(&doc, yaml_document_get_root_node(&doc), "bounces"), "key");
    bool is_text = key != NULL && key->type == YAML_SCALAR_NODE;
    int err = is_text ? replace(text, key, out) : buf_put_span(out, text);
    if (err == 0 && is_text && secret != NULL)
        err = buf_put(secret, key->data.scalar.value, key->data.scalar.length);
    yaml_document_delete(&doc);
    return err;
}
