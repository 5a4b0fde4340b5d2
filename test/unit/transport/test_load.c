/* Much data, slow readers, many connections: what is kept stays bounded, and nothing is left over. */
#include "fixture.h"

#include "consensus/transport_impl.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK (1u << 20)
#define BLOCKS 100

struct pair {
    struct net net;
    struct authority a;
    struct paper p1, p2;
    struct node n1, n2;
    struct dial d;
};

static void pair_init(struct pair *p, bool paused)
{
    *p = (struct pair){ 0 };
    net_init(&p->net);
    authority_init(&p->a, 7, 1);
    paper_init(&p->p1, &p->a, 1);
    paper_init(&p->p2, &p->a, 2);
    node_init(&p->n1, &p->net, &p->a, &p->p1, 0);
    node_init(&p->n2, &p->net, &p->a, &p->p2, 0);
    p->n2.paused = paused;
    dial_wait(&p->d, &p->n1, 2, p->n2.address);
    assert_int_equal(p->d.status, 0);
}

static void pair_fini(struct pair *p)
{
    node_fini(&p->n1);
    node_fini(&p->n2);
    net_fini(&p->net);
    paper_fini(&p->p1);
    paper_fini(&p->p2);
    authority_fini(&p->a);
}

static char *block(void)
{
    char *b = malloc(BLOCK);
    assert_non_null(b);
    uint32_t x = 1;
    for (size_t i = 0; i < BLOCK; i++) {
        x = x * 1664525u + 1013904223u;
        b[i] = (char)(x >> 24);
    }
    return b;
}

/* What our side of the connections holds: buffers, and what OpenSSL's BIOs have. */
static size_t held(const struct node *n)
{
    size_t most = 0;
    LIST_EACH(l, &n->t->conns)
    {
        const struct conn *c = LIST_ITEM(l, struct conn, link);
        size_t bytes = c->in.cap + c->out.cap;
        if (c->ssl != NULL)
            bytes += BIO_ctrl_pending(c->sealed_in) + BIO_ctrl_pending(c->sealed_out);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* Both sides have stopped: neither counter moved since the last look. */
struct still {
    struct pair *p;
    uint64_t sum;
    int same;
};

static bool stands_still(void *arg)
{
    struct still *s = arg;
    struct transport_stats a = node_stats(&s->p->n1), b = node_stats(&s->p->n2);
    uint64_t sum = a.bytes_out + b.bytes_in;
    assert_true(held(&s->p->n1) <= 256u << 10);
    assert_true(held(&s->p->n2) <= 256u << 10);
    s->same = sum == s->sum ? s->same + 1 : 0;
    s->sum = sum;
    return s->same > 40;
}

static bool got_all(void *arg)
{
    struct pair *p = arg;
    assert_true(held(&p->n1) <= 256u << 10);
    assert_true(held(&p->n2) <= 256u << 10);
    return p->n2.accepted[0].got == (uint64_t)BLOCK * BLOCKS;
}

static void slow_reader(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, true);
    char *b = block();
    uint64_t sum = 0;
    for (uint64_t i = 0; i < BLOCKS; i++) {
        end_write(&p.d.end, b, BLOCK);
        if (i < 5) /* the sum of all is expensive; the order of the first is enough */
            sum += sum_of(b, BLOCK, i * BLOCK);
    }
    assert_true(transport_pending(p.n1.t, 2) > 90ll << 20);
    struct still s = { .p = &p };
    net_until(&p.net, stands_still, &s);
    /* the kernel's TCP buffers have some; nearly all is still libraft's */
    assert_true(transport_pending(p.n1.t, 2) > 60ll << 20);
    assert_int_equal(node_stats(&p.n1).pending_bytes, transport_pending(p.n1.t, 2));
    assert_int_equal(transport_pending(p.n1.t, 3), 0);
    assert_int_equal(node_stats(&p.n2).pending_bytes, 0);
    end_read(&p.n2.accepted[0]);
    net_until(&p.net, got_all, &p);
    for (uint64_t i = 5; i < BLOCKS; i++)
        sum += sum_of(b, BLOCK, i * BLOCK);
    assert_int_equal(p.n2.accepted[0].sum, sum);
    assert_int_equal(p.d.end.written, BLOCKS);
    assert_int_equal(transport_pending(p.n1.t, 2), 0);
    end_close(&p.d.end);
    pair_fini(&p);
    free(b);
}

static bool both_ended(void *arg)
{
    struct pair *p = arg;
    return p->d.end.ended && p->d.end.cancelled + p->d.end.written == 20;
}

static void cut(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, true);
    char *b = block();
    for (int i = 0; i < 20; i++)
        end_write(&p.d.end, b, BLOCK);
    struct still s = { .p = &p };
    net_until(&p.net, stands_still, &s);
    assert_true(transport_pending(p.n1.t, 2) > 1 << 20);
    transport_cut(p.n1.t, 3); /* another one */
    transport_cut(p.n1.t, 2);
    assert_int_equal(transport_pending(p.n1.t, 2), 0);
    net_until(&p.net, both_ended, &p);
    assert_true(p.d.end.cancelled > 0);
    end_close(&p.d.end);
    /* and it can dial again */
    struct dial again;
    dial_wait(&again, &p.n1, 2, p.n2.address);
    assert_int_equal(again.status, 0);
    end_close(&again.end);
    pair_fini(&p);
    free(b);
}

/* libraft has closed its end and we have not seen it yet: looking at it then must be safe. */
static void pending_of_a_closed_end(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, false);
    end_write(&p.d.end, "x", 1);
    end_close(&p.d.end);
    for (int i = 0; i < 20; i++) {
        assert_in_range(transport_pending(p.n1.t, 2), 0, 1);
        uv_run(&p.net.loop, UV_RUN_NOWAIT);
    }
    pair_fini(&p);
}

static bool none_left(void *arg)
{
    struct pair *p = arg;
    return node_stats(&p->n1).connections == 0 && node_stats(&p->n2).connections == 0;
}

static void a_thousand_connections(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, false);
    end_close(&p.d.end);
    for (int i = 1; i <= 1000; i++) {
        struct dial d;
        dial_wait(&d, &p.n1, 2, p.n2.address);
        assert_int_equal(d.status, 0);
        /* either side may be the one that closes, at any moment */
        struct end *e = &p.n2.accepted[i % 8];
        if (i % 3 != 0)
            end_write(&d.end, "message", 8);
        if (i % 2 == 0)
            end_close(e);
        end_close(&d.end);
        net_until(&p.net, none_left, &p);
        end_close(e);
        end_close(&p.n2.accepted[(i - 1) % 8]);
    }
    assert_int_equal(node_stats(&p.n2).accepted, 1001);
    assert_int_equal(node_stats(&p.n2).refused, 0);
    pair_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_reader),
        cmocka_unit_test(cut),
        cmocka_unit_test(pending_of_a_closed_end),
        cmocka_unit_test(a_thousand_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
