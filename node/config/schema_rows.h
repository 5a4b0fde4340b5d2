/* Short forms for the rows of schema.h's tables: for the files that hold such tables, and no others. */
#ifndef NODE_CONFIG_SCHEMA_ROWS_H
#define NODE_CONFIG_SCHEMA_ROWS_H

#include "node/config/schema.h"

#include <stddef.h>

/* Each row is of the structure `st`; TYPE and what follows it are the optional parts of a row. */
#define VALUE(st, member, k, ty, ...)                                                                        \
    {                                                                                                        \
        .key = k, .shape = SCHEMA_SCALAR, .offset = offsetof(struct st, member), .type = &type_##ty,         \
        __VA_ARGS__                                                                                          \
    }
/* Keys of a mapping that has no structure of its own: its rows give offsets in the enclosing one. */
#define GROUP(k, m)                                                                                          \
    {                                                                                                        \
        .key = k, .shape = SCHEMA_MAP, .offset = 0, .map = &m                                                \
    }
#define MAP(st, member, k, m)                                                                                \
    {                                                                                                        \
        .key = k, .shape = SCHEMA_MAP, .offset = offsetof(struct st, member), .map = &m                      \
    }
/* The list's count is the member of the same name with an n before it. */
#define LIST(st, member, k, ...)                                                                             \
    {                                                                                                        \
        .key = k, .shape = SCHEMA_LIST, .offset = offsetof(struct st, member),                               \
        .count_offset = offsetof(struct st, n##member), __VA_ARGS__                                          \
    }
#define LIST_IN(st, group, member, k, ...)                                                                   \
    {                                                                                                        \
        .key = k, .shape = SCHEMA_LIST, .offset = offsetof(struct st, group.member),                         \
        .count_offset = offsetof(struct st, group.n##member), __VA_ARGS__                                    \
    }
#define END                                                                                                  \
    {                                                                                                        \
        .key = NULL                                                                                          \
    }
#define TABLE(name, st, ...)                                                                                 \
    static const struct schema_field name##_fields[] = { __VA_ARGS__, END };                                 \
    static const struct schema_map name##_map = { sizeof(struct st), name##_fields }

#define TYPE(ty) .type = &type_##ty
#define REQUIRED(h) .flags = SCHEMA_REQUIRED, .hint = h
#define DEFAULT(d) .def = d
#define RANGE(lo, hi) .min = lo, .max = hi
#define COUNT(lo, hi) .count_min = lo, .count_max = hi
#define RESTART .flags = SCHEMA_RESTART
/* A mapping whose own required keys count only when it is there. */
#define OPTIONAL(k, m)                                                                                       \
    {                                                                                                        \
        .key = k, .shape = SCHEMA_MAP, .flags = SCHEMA_OPTIONAL, .map = &m                                   \
    }

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define SEC INT64_C(1000)
#define MINUTE (60 * SEC)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

#endif
