/* Intrusive binary heap of deadlines: the smallest key comes first. One thread at a time. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t key;  /* usually a time in ms */
    uint32_t pos; /* place in the heap + 1; 0: in no heap */
};

struct heap {
    struct heap_node **nodes;
    uint32_t len;
    uint32_t cap;
};

#define HEAP_ITEM(node, type, member) ((type *)((char *)(node) - offsetof(type, member)))

void heap_init(struct heap *h);
void heap_fini(struct heap *h);

/* 0 or -ENOMEM. The node must be in no heap. */
int heap_add(struct heap *h, struct heap_node *node, int64_t key);
/* Harmless when the node is in no heap. */
void heap_remove(struct heap *h, struct heap_node *node);
/* The node must be in the heap. */
void heap_move(struct heap *h, struct heap_node *node, int64_t key);
/* The node with the smallest key, or NULL; it stays in the heap. */
struct heap_node *heap_first(const struct heap *h);

static inline bool heap_linked(const struct heap_node *node)
{
    return node->pos != 0;
}

#endif
