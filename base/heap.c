/* Intrusive binary heap of deadlines. */
#include "base/heap.h"

#include "base/ensure.h"

#include <errno.h>
#include <stdlib.h>

void heap_init(struct heap *h)
{
    *h = (struct heap){ 0 };
}

void heap_fini(struct heap *h)
{
    free(h->nodes);
    *h = (struct heap){ 0 };
}

static void place(struct heap *h, uint32_t at, struct heap_node *node)
{
    h->nodes[at] = node;
    node->pos = at + 1;
}

static void sift_up(struct heap *h, uint32_t at, struct heap_node *node)
{
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        if (h->nodes[parent]->key <= node->key)
            break;
        place(h, at, h->nodes[parent]);
        at = parent;
    }
    place(h, at, node);
}

static void sift_down(struct heap *h, uint32_t at, struct heap_node *node)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= h->len)
            break;
        if (child + 1 < h->len && h->nodes[child + 1]->key < h->nodes[child]->key)
            child++;
        if (h->nodes[child]->key >= node->key)
            break;
        place(h, at, h->nodes[child]);
        at = child;
    }
    place(h, at, node);
}

int heap_add(struct heap *h, struct heap_node *node, int64_t key)
{
    ensure(!heap_linked(node));
    if (h->len == h->cap) {
        uint32_t cap = h->cap == 0 ? 64 : h->cap * 2;
        struct heap_node **nodes = realloc(h->nodes, cap * sizeof *nodes);
        if (nodes == NULL)
            return -ENOMEM;
        h->nodes = nodes;
        h->cap = cap;
    }
    node->key = key;
    sift_up(h, h->len++, node);
    return 0;
}

void heap_remove(struct heap *h, struct heap_node *node)
{
    if (!heap_linked(node))
        return;
    uint32_t at = node->pos - 1;
    ensure(h->nodes[at] == node);
    node->pos = 0;
    struct heap_node *last = h->nodes[--h->len];
    if (last == node)
        return;
    if (last->key < node->key)
        sift_up(h, at, last);
    else
        sift_down(h, at, last);
}

void heap_move(struct heap *h, struct heap_node *node, int64_t key)
{
    ensure(heap_linked(node));
    uint32_t at = node->pos - 1;
    bool earlier = key < node->key;
    node->key = key;
    if (earlier)
        sift_up(h, at, node);
    else
        sift_down(h, at, node);
}

struct heap_node *heap_first(const struct heap *h)
{
    return h->len == 0 ? NULL : h->nodes[0];
}
