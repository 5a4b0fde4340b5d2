/* Who is refused at a node's gossip port, and that nothing else comes of it: the cluster goes on untouched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/ensure.h"
#include "base/err.h"
#include "gossip/gossip_impl.h"
#include "rogue.h"

#include <sys/socket.h>
#include <unistd.h>

/* Node 3 is at work; node 1, which may dial it, is played by the rogue. */
static struct fixture f;
static struct node *target, *other;

static bool pair_alive(void *arg)
{
    (void)arg;
    return node_sees(target, 2, GOSSIP_ALIVE) && node_sees(other, 3, GOSSIP_ALIVE);
}

static int setup(void **state)
{
    (void)state;
    fixture_init(&f);
    target = &f.nodes[2];
    other = &f.nodes[1];
    for (int i = 1; i < NODES; i++)
        node_up(&f.nodes[i]);
    strcpy(f.nodes[0].address, "127.0.0.1:1");
    for (int i = 1; i < NODES; i++)
        node_meet(&f.nodes[i]);
    fixture_until(&f, pair_alive, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_fini(&f);
    return 0;
}

static bool has_refused(void *arg)
{
    return node_stats(target).refused >= *(uint64_t *)arg;
}

/* He was cut off, it was counted, and nobody saw a trace of node 1. */
static void expect_refused(struct rogue *r)
{
    uint64_t want = node_stats(target).refused + 1;
    r->address = target->address;
    rogue_run(&f, r);
    fixture_until(&f, has_refused, &want);
    assert_true(r->cut_off);
    assert_false(node_connected(target, 1));
    assert_int_equal(node_info(target, 1).health, GOSSIP_NEVER_SEEN);
    assert_int_equal(target->messages, 0);
    assert_int_equal(target->requests, 0);
    fixture_until(&f, pair_alive, NULL);
    assert_int_equal(target->heard[1].node, 0);
}

static void say_hello(struct rogue *r);

static void test_no_certificate(void **state)
{
    (void)state;
    expect_refused(&(struct rogue){ .act = say_hello });
}

static void test_another_authority(void **state)
{
    (void)state;
    struct authority a;
    struct leaf l;
    authority_make(&a);
    leaf_make(&l, &a, &f.nodes[0].self, 30);
    expect_refused(&(struct rogue){ .leaf = &l, .act = say_hello });
    leaf_fini(&l);
    authority_fini(&a);
}

static void test_expired(void **state)
{
    (void)state;
    struct leaf l;
    leaf_make(&l, &f.ca, &f.nodes[0].self, -2);
    expect_refused(&(struct rogue){ .leaf = &l, .act = say_hello });
    leaf_fini(&l);
}

static void say_garbage(struct rogue *r)
{
    static char garbage[3000];
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (char)(i * 7919 >> 3);
    memcpy(garbage, "\100\0\0\0", 4);
    rogue_write(r, span_of(garbage, sizeof garbage));
}

static void say_too_much(struct rogue *r)
{
    rogue_write(r, SPAN_LIT("\x01\x20\0\0"));
}

static void say_http(struct rogue *r)
{
    rogue_write(r, SPAN_LIT("GET / HTTP/1.0\r\n\r\n"));
}

static void test_garbage_instead_of_a_hello(void **state)
{
    (void)state;
    expect_refused(&(struct rogue){ .leaf = &f.nodes[0].leaf, .act = say_garbage });
    expect_refused(&(struct rogue){ .leaf = &f.nodes[0].leaf, .act = say_too_much });
    expect_refused(&(struct rogue){ .plain = true, .act = say_garbage });
    expect_refused(&(struct rogue){ .plain = true, .act = say_http });
}

/* What node 1's handshake would say, with one thing or another made wrong. */
struct script {
    struct gossip_identity *shows, *signs; /* whose certificate, whose key; NULL: node 1's */
    void (*edit)(struct gossip_hello *h);
    bool no_signature;  /* a message in its place */
    bool then_garbage;  /* the handshake is right; what follows is not */
    struct buf *record; /* all that was written, for a replay */
    bool passed;
};

static struct gossip_identity *make_identity(struct node *n)
{
    struct gossip_identity *id;
    ensure(gossip_identity_new(&n->self, buf_span(&n->leaf.certificate), buf_span(&n->leaf.key),
                               buf_span(&f.ca.pem), &id, NULL) == 0);
    return id;
}

static void script_write(struct rogue *r, struct span bytes)
{
    struct script *s = r->arg;
    if (s->record != NULL)
        ensure(buf_put_span(s->record, bytes) == 0);
    rogue_write(r, bytes);
}

static void seal_and_write(struct rogue *r, struct gossip_handshake *h, uint8_t kind, struct span payload)
{
    uint8_t head[GOSSIP_FRAME_FIXED];
    struct buf b;
    buf_init(&b, 4096);
    gossip_frame_head(&(struct gossip_frame){ .kind = kind, .id = kind == GOSSIP_HEARTBEAT }, head);
    ensure(gossip_seal_put(&h->out, span_of(head, sizeof head), payload, &b) == 0);
    script_write(r, buf_span(&b));
    buf_fini(&b);
}

static void prove(struct rogue *r, struct gossip_handshake *h)
{
    struct script *s = r->arg;
    struct buf signature;
    buf_init(&signature, 512);
    if (s->signs != NULL) {
        gossip_identity_rele(h->id);
        h->id = gossip_identity_hold(s->signs);
    }
    ensure(gossip_handshake_sign(h, &signature) == 0);
    if (s->no_signature)
        seal_and_write(r, h, GOSSIP_MESSAGE, SPAN_LIT("let me in"));
    else
        seal_and_write(r, h, GOSSIP_AUTH, buf_span(&signature));
    if (s->then_garbage) {
        seal_and_write(r, h, GOSSIP_MESSAGE, SPAN_LIT("good"));
        h->out.seq++; /* as if one had been dropped on the way */
        seal_and_write(r, h, GOSSIP_MESSAGE, SPAN_LIT("bad"));
    }
    buf_fini(&signature);
}

static void play(struct rogue *r)
{
    struct script *s = r->arg;
    struct gossip_handshake h;
    struct gossip_hello hello;
    struct buf b;
    buf_init(&b, GOSSIP_HELLO_MAX + 4);
    ensure(gossip_handshake_init(&h, s->shows, GOSSIP_DIALER, 3) == 0);
    if (s->edit != NULL) {
        ensure(gossip_hello_decode(buf_span(&h.hello), &hello) == 0);
        s->edit(&hello);
        ensure(gossip_hello_encode(&hello, &b) == 0);
        buf_reset(&h.hello);
        ensure(buf_put_span(&h.hello, buf_span(&b)) == 0);
        buf_reset(&b);
    }
    buf_put_u32(&b, (uint32_t)h.hello.len);
    ensure(buf_put_span(&b, buf_span(&h.hello)) == 0);
    script_write(r, buf_span(&b));
    if (rogue_read_record(r, &b) && gossip_handshake_meet(&h, buf_span(&b), NULL) == 0) {
        s->passed = true;
        prove(r, &h);
    }
    gossip_handshake_fini(&h);
    buf_fini(&b);
}

/* As node 1 should, unless the script says otherwise. */
static void run_script(struct script *s, const struct leaf *tls)
{
    struct gossip_identity *own = make_identity(&f.nodes[0]);
    if (s->shows == NULL)
        s->shows = own;
    expect_refused(&(struct rogue){ .leaf = tls != NULL ? tls : &f.nodes[0].leaf, .act = play, .arg = s });
    gossip_identity_rele(own);
}

static void say_hello(struct rogue *r)
{
    struct script s = { .shows = make_identity(&f.nodes[1]) };
    r->arg = &s;
    play(r);
    gossip_identity_rele(s.shows);
}

static struct gossip_identity *stranger(const struct peer *p, struct leaf *l)
{
    struct gossip_identity *id;
    leaf_make(l, &f.ca, p, 30);
    ensure(gossip_identity_new(p, buf_span(&l->certificate), buf_span(&l->key), buf_span(&f.ca.pem), &id,
                               NULL) == 0);
    return id;
}

static void test_another_cluster_and_epoch(void **state)
{
    (void)state;
    struct peer cluster = f.nodes[0].self, epoch = f.nodes[0].self;
    cluster.cluster[0]++;
    epoch.epoch++;
    const struct peer *const strangers[] = { &cluster, &epoch };
    for (int i = 0; i < 2; i++) {
        struct leaf l;
        struct script s = { .shows = stranger(strangers[i], &l) };
        run_script(&s, &l);
        assert_false(s.passed);
        gossip_identity_rele(s.shows);
        leaf_fini(&l);
    }
}

static void test_not_admitted(void **state)
{
    (void)state;
    struct script s = { 0 };
    target->bar[1] = true;
    run_script(&s, NULL);
    assert_true(s.passed); /* so far: whether he is admitted is asked when he is proven */
}

static void test_a_member_that_is_not_known_here(void **state)
{
    (void)state;
    struct leaf l;
    struct peer p = f.nodes[0].self;
    p.node = NODES + 1;
    struct script s = { .shows = stranger(&p, &l) };
    run_script(&s, &l);
    gossip_identity_rele(s.shows);
    leaf_fini(&l);
}

static void as_node_2(struct gossip_hello *h)
{
    h->node = 2;
}

static void to_node_2(struct gossip_hello *h)
{
    h->to = 2;
}

static void as_acceptor(struct gossip_hello *h)
{
    h->role = GOSSIP_ACCEPTOR;
}

static void test_claims(void **state)
{
    (void)state;
    void (*const edits[])(struct gossip_hello *) = { as_node_2, to_node_2, as_acceptor };
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        struct script s = { .edit = edits[i] };
        run_script(&s, NULL);
        assert_false(s.passed);
    }
}

/* Node 2's certificate, and TLS of his own; node 2 itself stays connected throughout. */
static void test_a_certificate_without_its_key(void **state)
{
    (void)state;
    struct gossip_identity *shown = make_identity(other), *own = make_identity(&f.nodes[0]);
    struct script s = { .shows = shown, .signs = own };
    run_script(&s, NULL);
    assert_true(s.passed);
    struct script t = { .no_signature = true };
    run_script(&t, NULL);
    assert_true(t.passed);
    gossip_identity_rele(shown);
    gossip_identity_rele(own);
}

static void replay(struct rogue *r)
{
    struct buf *record = r->arg;
    rogue_write(r, buf_span(record));
}

/* Everything that a handshake which went well once said, said again. */
static void test_a_replay(void **state)
{
    (void)state;
    struct buf record;
    buf_init(&record, 1 << 16);
    struct script s = { .record = &record, .no_signature = true };
    run_script(&s, NULL);
    assert_true(s.passed && record.len > 500);
    expect_refused(&(struct rogue){ .leaf = &f.nodes[0].leaf, .act = replay, .arg = &record });
    buf_fini(&record);
}

static bool one_message(void *arg)
{
    (void)arg;
    return target->messages == 1 && !node_connected(target, 1);
}

static void test_garbage_after_the_handshake(void **state)
{
    (void)state;
    struct gossip_identity *own = make_identity(&f.nodes[0]);
    struct script s = { .shows = own, .then_garbage = true };
    struct rogue r = { .address = target->address, .leaf = &f.nodes[0].leaf, .act = play, .arg = &s };
    uint64_t want = node_stats(target).refused + 1;
    rogue_run(&f, &r);
    fixture_until(&f, has_refused, &want);
    assert_true(s.passed && r.cut_off);
    fixture_until(&f, one_message, NULL);
    assert_int_equal(target->last_from, 1);
    fixture_until(&f, pair_alive, NULL);
    gossip_identity_rele(own);
}

/* More silent connections than there are places: the oldest go, and an honest node is served all the same. */
enum { SILENT = 150 };

static void open_many(struct rogue *r)
{
    int *fds = r->arg;
    for (int i = 0; i < SILENT; i++)
        fds[i] = rogue_dial(r->address);
    shutdown(r->fd, SHUT_WR); /* his own ends; theirs stay */
}

static bool welcome(void *arg)
{
    (void)arg;
    return node_sees(target, 1, GOSSIP_ALIVE) && node_sees(&f.nodes[0], 3, GOSSIP_ALIVE);
}

static void test_silent_connections_keep_nobody_out(void **state)
{
    (void)state;
    static int fds[SILENT];
    struct rogue r = { .address = target->address, .plain = true, .act = open_many, .arg = fds };
    rogue_run(&f, &r);
    f.nodes[0].address[0] = '\0';
    node_up(&f.nodes[0]);
    node_meet(&f.nodes[0]);
    fixture_until(&f, welcome, NULL);
    assert_true(node_stats(target).refused >= SILENT - GOSSIP_STRANGERS_MAX);
    for (int i = 0; i < SILENT; i++)
        close(fds[i]);
}

/* Another member answers at the address that node 1 dials for node 2. */
static bool two_refusals(void *arg)
{
    (void)arg;
    return node_stats(target).refused >= 2;
}

static void test_a_dialled_node_that_is_another(void **state)
{
    (void)state;
    f.nodes[0].address[0] = '\0';
    node_up(&f.nodes[0]);
    struct gossip_peer wrong = { 2, target->address };
    assert_int_equal(gossip_set_peers(f.nodes[0].g, &wrong, 1), 0);
    fixture_until(&f, two_refusals, NULL);
    assert_int_equal(node_info(&f.nodes[0], 2).health, GOSSIP_NEVER_SEEN);
    assert_false(node_connected(&f.nodes[0], 2));
    assert_false(node_connected(target, 1));
}

int main(void)
{
#define REFUSED_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        REFUSED_TEST(test_no_certificate),
        REFUSED_TEST(test_another_authority),
        REFUSED_TEST(test_expired),
        REFUSED_TEST(test_garbage_instead_of_a_hello),
        REFUSED_TEST(test_another_cluster_and_epoch),
        REFUSED_TEST(test_not_admitted),
        REFUSED_TEST(test_a_member_that_is_not_known_here),
        REFUSED_TEST(test_claims),
        REFUSED_TEST(test_a_certificate_without_its_key),
        REFUSED_TEST(test_a_replay),
        REFUSED_TEST(test_garbage_after_the_handshake),
        REFUSED_TEST(test_silent_connections_keep_nobody_out),
        REFUSED_TEST(test_a_dialled_node_that_is_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
