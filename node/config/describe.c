/* Printing and comparing configurations, by the tables that read them. */
#include "base/ensure.h"
#include "base/err.h"
#include "node/config/config.h"
#include "node/config/tables.h"

#include <stdio.h>
#include <string.h>

#define DESCRIBE_MAX (16u << 20)

typedef void visit_fn(void *ctx, const char *path, const struct schema_field *f, const void *value);

/* Calls fn for every scalar; a list's items have an index in their path. */
static void visit(const struct schema_map *map, const char *prefix, const void *obj, visit_fn *fn, void *ctx)
{
    char path[SCHEMA_PATH_MAX];
    for (const struct schema_field *f = map->fields; f->key != NULL; f++) {
        const char *at = (const char *)obj + f->offset;
        int n = snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", f->key);
        ensure(n < SCHEMA_PATH_MAX - 16);
        if (f->shape == SCHEMA_MAP) {
            visit(f->map, path, at, fn, ctx);
            continue;
        }
        if (f->shape == SCHEMA_SCALAR) {
            fn(ctx, path, f, at);
            continue;
        }
        const char *items;
        uint32_t count;
        memcpy(&items, at, sizeof items);
        memcpy(&count, (const char *)obj + f->count_offset, sizeof count);
        for (uint32_t i = 0; i < count; i++) {
            snprintf(path + n, sizeof path - (size_t)n, "[%u]", i);
            if (f->map != NULL)
                visit(f->map, path, items + i * f->map->size, fn, ctx);
            else
                fn(ctx, path, f, items + i * f->type->size);
        }
    }
}

static void print_one(void *ctx, const char *path, const struct schema_field *f, const void *value)
{
    struct buf *out = ctx;
    size_t was = out->len;
    buf_printf(out, "%s: ", path);
    if (!f->type->format(f, value, out) && buf_err(out) == 0) {
        out->len = was;
        return;
    }
    buf_put_char(out, '\n');
}

void schema_print(const struct schema_map *map, const void *obj, struct buf *out)
{
    visit(map, "", obj, print_one, out);
}

/* Only keys outside of lists are ever marked, so both walks meet the same ones in the same order. */
static void print_restart(void *ctx, const char *path, const struct schema_field *f, const void *value)
{
    if (f->flags & SCHEMA_RESTART) {
        size_t was = ((struct buf *)ctx)->len;
        print_one(ctx, path, f, value);
        if (((struct buf *)ctx)->len == was) /* unset: still a line to compare */
            buf_printf(ctx, "%s: \n", path);
    }
}

uint32_t schema_diff(const struct schema_map *map, const void *a, const void *b, struct buf *out)
{
    struct buf ta, tb;
    uint32_t n = 0;
    buf_init(&ta, DESCRIBE_MAX);
    buf_init(&tb, DESCRIBE_MAX);
    visit(map, "", a, print_restart, &ta);
    visit(map, "", b, print_restart, &tb);
    ensure(buf_err(&ta) == 0);
    ensure(buf_err(&tb) == 0);
    struct span sa = buf_span(&ta), sb = buf_span(&tb);
    while (sa.n > 0 && sb.n > 0) {
        size_t la = (size_t)((const char *)memchr(sa.p, '\n', sa.n) - sa.p);
        size_t lb = (size_t)((const char *)memchr(sb.p, '\n', sb.n) - sb.p);
        if (!span_eq(span_of(sa.p, la), span_of(sb.p, lb))) {
            size_t key = (size_t)((const char *)memchr(sa.p, ':', la) - sa.p);
            buf_put(out, sa.p, key);
            buf_put_char(out, '\n');
            n++;
        }
        sa = span_sub(sa, la + 1);
        sb = span_sub(sb, lb + 1);
    }
    buf_fini(&ta);
    buf_fini(&tb);
    return n;
}

int config_describe(const struct config *c, struct buf *out)
{
    schema_print(&config_map, c, out);
    return buf_err(out);
}

uint32_t config_diff_restart_needed(const struct config *was, const struct config *now, struct buf *names)
{
    return schema_diff(&config_map, was, now, names);
}
