/* Reading a YAML document by tables. What a document's nodes become is in here; scalars' own syntax is in
 * types.c; printing and comparing are in describe.c.
 */
#include "node/config/schema.h"

#include "base/ensure.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than any valid file has; a few aliases of aliases get past it quickly. */
#define VALUES_MAX 2000000

static void read_map(struct schema_load *l, const struct schema_map *map, yaml_node_t *node, void *obj);

/* ---- faults -------------------------------------------------------------------------------------------- */

void schema_fault(struct schema_load *l, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    config_errors_add(l->errors, l->file, l->line, l->path_len > 0 ? l->path : NULL, "%s", text);
}

static void fault_line(struct schema_load *l, uint32_t line, const char *text)
{
    uint32_t was = l->line;
    l->line = line;
    schema_fault(l, "%s", text);
    l->line = was;
}

static size_t path_push(struct schema_load *l, const char *key, uint32_t index)
{
    size_t was = l->path_len;
    int n = key != NULL ? snprintf(l->path + was, sizeof l->path - was, "%s%s", was > 0 ? "." : "", key)
                        : snprintf(l->path + was, sizeof l->path - was, "[%u]", index);
    l->path_len += (size_t)n;
    ensure(l->path_len < sizeof l->path);
    return was;
}

static void path_pop(struct schema_load *l, size_t was)
{
    l->path_len = was;
    l->path[was] = '\0';
}

/* ---- nodes --------------------------------------------------------------------------------------------- */

static struct span scalar_text(const yaml_node_t *node)
{
    return span_of(node->data.scalar.value, node->data.scalar.length);
}

/* `key:` with nothing after it, or "~" or "null". */
static bool is_null(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    struct span s = scalar_text(node);
    return s.n == 0 || span_eq(s, SPAN_LIT("~")) || span_eq(s, SPAN_LIT("null"));
}

static uint32_t node_line(const yaml_node_t *node)
{
    return (uint32_t)node->start_mark.line + 1;
}

static yaml_node_t *map_get(yaml_document_t *doc, const yaml_node_t *map, struct span key,
                            yaml_node_t **key_node)
{
    if (map == NULL || map->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        yaml_node_t *k = yaml_document_get_node(doc, p->key);
        if (k->type == YAML_SCALAR_NODE && span_eq(scalar_text(k), key)) {
            if (key_node != NULL)
                *key_node = k;
            return yaml_document_get_node(doc, p->value);
        }
    }
    return NULL;
}

/* ---- keys that are not known ----------------------------------------------------------------------------
 */

/* Levenshtein's distance of two short words; large for long ones. */
static size_t distance(struct span a, struct span b)
{
    size_t row[41];
    if (a.n > 40 || b.n > 40)
        return 99;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t change = diagonal + (a.p[i - 1] == b.p[j - 1] ? 0 : 1);
            diagonal = row[j];
            size_t best = row[j] + 1 < row[j - 1] + 1 ? row[j] + 1 : row[j - 1] + 1;
            row[j] = best < change ? best : change;
        }
    }
    return row[b.n];
}

static const struct schema_field *field_find(const struct schema_map *map, struct span key)
{
    for (const struct schema_field *f = map->fields; f->key != NULL; f++)
        if (span_eq(span_str(f->key), key))
            return f;
    return NULL;
}

static void unknown_key(struct schema_load *l, const struct schema_map *map, const yaml_node_t *key)
{
    struct span text = scalar_text(key);
    const char *near = NULL;
    size_t best = 3;
    char known[400];
    size_t len = 0;
    known[0] = '\0';
    for (const struct schema_field *f = map->fields; f->key != NULL; f++) {
        size_t d = distance(text, span_str(f->key));
        if (d < best && d < strlen(f->key)) {
            best = d;
            near = f->key;
        }
        int n = snprintf(known + len, sizeof known - len, "%s%s", len > 0 ? ", " : "", f->key);
        if (len + (size_t)n < sizeof known)
            len += (size_t)n;
        known[len] = '\0';
    }
    char msg[512];
    int shown = text.n > 60 ? 60 : (int)text.n;
    if (near != NULL)
        snprintf(msg, sizeof msg, "unknown key \"%.*s\"; did you mean \"%s\"?", shown, text.p, near);
    else
        snprintf(msg, sizeof msg, "unknown key \"%.*s\"; known here: %s", shown, text.p, known);
    fault_line(l, node_line(key), msg);
}

/* Unknown and repeated keys of one mapping. */
static void check_keys(struct schema_load *l, const struct schema_map *map, const yaml_node_t *node)
{
    const yaml_node_pair_t *start = node->data.mapping.pairs.start;
    uint32_t first_line[64] = { 0 };
    for (const yaml_node_pair_t *p = start; p < node->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(l->doc, p->key);
        if (key->type != YAML_SCALAR_NODE) {
            fault_line(l, node_line(key), "a key must be a single word");
            continue;
        }
        const struct schema_field *f = field_find(map, scalar_text(key));
        if (f == NULL) {
            unknown_key(l, map, key);
            continue;
        }
        size_t i = (size_t)(f - map->fields);
        ensure(i < sizeof first_line / sizeof first_line[0]);
        if (first_line[i] != 0) {
            char msg[160];
            snprintf(msg, sizeof msg, "\"%s\" is given twice; the first one is on line %u", f->key,
                     first_line[i]);
            fault_line(l, node_line(key), msg);
        } else {
            first_line[i] = node_line(key);
        }
    }
}

/* ---- values -------------------------------------------------------------------------------------------- */

static const char *node_kind(const yaml_node_t *node)
{
    return node->type == YAML_SEQUENCE_NODE  ? "a list"
           : node->type == YAML_MAPPING_NODE ? "a mapping"
                                             : "a value";
}

static void read_scalar(struct schema_load *l, const struct schema_field *f, const yaml_node_t *node,
                        void *out)
{
    if (node->type != YAML_SCALAR_NODE) {
        schema_fault(l, "expected a single value, got %s", node_kind(node));
        return;
    }
    struct span text = scalar_text(node);
    if (is_null(node)) {
        schema_fault(l, "has no value; give one or remove the key");
        return;
    }
    if (memchr(text.p, '\0', text.n) != NULL) {
        schema_fault(l, "contains a NUL character");
        return;
    }
    f->type->parse(l, f, text, out);
}

static size_t item_size(const struct schema_field *f)
{
    return f->type != NULL ? f->type->size : f->map->size;
}

static void *list_alloc(const struct schema_field *f, void *obj, uint32_t n)
{
    void *items = calloc(n, item_size(f));
    ensure(items != NULL); /* bounded by count_max, at start or on an operator's reload */
    memcpy((char *)obj + f->offset, &items, sizeof items);
    memcpy((char *)obj + f->count_offset, &n, sizeof n);
    return items;
}

static void read_item(struct schema_load *l, const struct schema_field *f, yaml_node_t *node, void *item)
{
    l->line = node_line(node);
    if (f->map != NULL)
        read_map(l, f->map, node, item);
    else
        read_scalar(l, f, node, item);
}

static void list_default(struct schema_load *l, const struct schema_field *f, void *obj)
{
    if (f->def == NULL)
        return;
    uint32_t n = 1;
    for (const char *p = f->def; *p != '\0'; p++)
        n += *p == ' ';
    char *item = list_alloc(f, obj, n);
    for (const char *p = f->def; n > 0; n--, item += item_size(f)) {
        size_t len = strcspn(p, " ");
        bool ok = f->type->parse(l, f, span_of(p, len), item);
        ensure(ok);
        p += len + 1;
    }
}

static void read_list(struct schema_load *l, const struct schema_field *f, yaml_node_t *node, void *obj)
{
    if (node == NULL || is_null(node)) {
        list_default(l, f, obj);
        if (node != NULL && (f->flags & SCHEMA_REQUIRED))
            schema_fault(l, "is empty: %s", f->hint);
        return;
    }
    if (node->type != YAML_SEQUENCE_NODE) { /* one item may stand alone */
        read_item(l, f, node, list_alloc(f, obj, 1));
        return;
    }
    int64_t n = node->data.sequence.items.top - node->data.sequence.items.start;
    if (n < f->count_min || n > f->count_max) {
        if (n == 0)
            schema_fault(l, "is empty: %s", f->hint != NULL ? f->hint : "give at least one item");
        else
            schema_fault(l, "has %lld items; at most %u are allowed", (long long)n, f->count_max);
        return;
    }
    if (n == 0)
        return;
    char *item = list_alloc(f, obj, (uint32_t)n);
    for (int64_t i = 0; i < n; i++, item += item_size(f)) {
        size_t was = path_push(l, NULL, (uint32_t)i);
        read_item(l, f, yaml_document_get_node(l->doc, node->data.sequence.items.start[i]), item);
        path_pop(l, was);
    }
}

static void read_absent(struct schema_load *l, const struct schema_field *f, void *obj)
{
    if (f->flags & SCHEMA_REQUIRED) {
        schema_fault(l, "is required: %s", f->hint);
        return;
    }
    if (f->flags & SCHEMA_OPTIONAL)
        return;
    if (f->shape == SCHEMA_MAP) {
        read_map(l, f->map, NULL, (char *)obj + f->offset);
    } else if (f->shape == SCHEMA_LIST) {
        list_default(l, f, obj);
    } else if (f->def != NULL) {
        bool ok = f->type->parse(l, f, span_str(f->def), (char *)obj + f->offset);
        ensure(ok); /* the table's own defaults are right */
    }
}

static void read_field(struct schema_load *l, const struct schema_field *f, yaml_node_t *map, void *obj)
{
    yaml_node_t *key = NULL;
    yaml_node_t *node = map_get(l->doc, map, span_str(f->key), &key);
    size_t was = path_push(l, f->key, 0);
    uint32_t was_line = l->line;
    if (++l->values > VALUES_MAX) {
        if (l->values == VALUES_MAX + 1)
            schema_fault(l, "the file has too many values");
    } else if (node == NULL) {
        read_absent(l, f, obj);
    } else {
        /* An empty value's own mark may be on a later line. */
        l->line = is_null(node) ? node_line(key) : node_line(node);
        if (f->shape == SCHEMA_MAP)
            read_map(l, f->map, node, (char *)obj + f->offset);
        else if (f->shape == SCHEMA_LIST)
            read_list(l, f, node, obj);
        else
            read_scalar(l, f, node, (char *)obj + f->offset);
    }
    l->line = was_line;
    path_pop(l, was);
}

/* `node` may be NULL, or empty: then all of it is defaults. */
static void read_map(struct schema_load *l, const struct schema_map *map, yaml_node_t *node, void *obj)
{
    if (node != NULL && is_null(node))
        node = NULL;
    if (node != NULL && node->type != YAML_MAPPING_NODE) {
        schema_fault(l, "expected keys and values (a mapping), got %s", node_kind(node));
        return;
    }
    if (node != NULL)
        check_keys(l, map, node);
    for (const struct schema_field *f = map->fields; f->key != NULL; f++)
        read_field(l, f, node, obj);
}

bool schema_read(struct schema_load *l, const struct schema_map *map, void *out)
{
    uint32_t before = l->errors->errors;
    memset(out, 0, map->size);
    yaml_node_t *root = yaml_document_get_root_node(l->doc);
    l->line = root != NULL ? node_line(root) : 1;
    read_map(l, map, root, out);
    return l->errors->errors == before;
}

void schema_fini(const struct schema_map *map, void *obj)
{
    for (const struct schema_field *f = map->fields; f->key != NULL; f++) {
        char *at = (char *)obj + f->offset;
        if (f->shape == SCHEMA_MAP) {
            schema_fini(f->map, at);
        } else if (f->shape == SCHEMA_SCALAR) {
            if (f->type->fini != NULL)
                f->type->fini(at);
        } else {
            char *items;
            uint32_t n;
            memcpy(&items, at, sizeof items);
            memcpy(&n, (char *)obj + f->count_offset, sizeof n);
            for (uint32_t i = 0; i < n; i++) {
                if (f->map != NULL)
                    schema_fini(f->map, items + i * f->map->size);
                else if (f->type->fini != NULL)
                    f->type->fini(items + i * f->type->size);
            }
            free(items);
        }
    }
}

/* ---- paths --------------------------------------------------------------------------------------------- */

/* Walks as far as the path exists; *whole tells whether that was all of it. */
static yaml_node_t *path_walk(struct schema_load *l, const char *path, uint32_t *line, bool *whole)
{
    yaml_node_t *node = yaml_document_get_root_node(l->doc);
    *line = node != NULL ? node_line(node) : 1;
    *whole = false;
    while (*path != '\0') {
        yaml_node_t *next = NULL;
        yaml_node_t *key = NULL;
        if (*path == '[') {
            unsigned long i = strtoul(path + 1, NULL, 10);
            path += strcspn(path, "]") + 1;
            if (node->type != YAML_SEQUENCE_NODE)
                next = node; /* one item standing alone */
            else if ((int64_t)i < node->data.sequence.items.top - node->data.sequence.items.start)
                next = yaml_document_get_node(l->doc, node->data.sequence.items.start[i]);
        } else {
            path += *path == '.';
            size_t len = strcspn(path, ".[");
            next = map_get(l->doc, node, span_of(path, len), &key);
            path += len;
        }
        if (next == NULL)
            return node;
        node = next;
        *line = key != NULL && (is_null(node) || node->type != YAML_SCALAR_NODE) ? node_line(key)
                                                                                 : node_line(node);
    }
    *whole = true;
    return node;
}

bool schema_has(struct schema_load *l, const char *path)
{
    uint32_t line;
    bool whole;
    yaml_node_t *node = path_walk(l, path, &line, &whole);
    return whole && !is_null(node);
}

uint32_t schema_line(struct schema_load *l, const char *path)
{
    uint32_t line;
    bool whole;
    path_walk(l, path, &line, &whole);
    return line;
}

void schema_fault_at(struct schema_load *l, const char *path, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    config_errors_add(l->errors, l->file, schema_line(l, path), path, "%s", text);
}

void schema_warn_at(struct schema_load *l, const char *path, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    config_errors_warn(l->errors, l->file, schema_line(l, path), path, "%s", text);
}
