/* Whoever must not talk to a node: refused, counted, and the others undisturbed. */
#include "raw.h"

#include "base/ensure.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RAFT_ALPN "\x0fturnpike-raft/1"

struct scene {
    struct net net;
    struct authority a;
    struct paper p1, p2;
    struct node n1, n2; /* n2 is the one that is attacked; n1 is its peer */
    struct dial good;
};

static void scene_init_with(struct scene *s, int handshake_ms)
{
    *s = (struct scene){ 0 };
    net_init(&s->net);
    authority_init(&s->a, 7, 2);
    paper_init(&s->p1, &s->a, 1);
    paper_init(&s->p2, &s->a, 2);
    node_init(&s->n1, &s->net, &s->a, &s->p1, handshake_ms);
    node_init(&s->n2, &s->net, &s->a, &s->p2, handshake_ms);
    dial_wait(&s->good, &s->n1, 2, s->n2.address);
    assert_int_equal(s->good.status, 0);
}

static void scene_init(struct scene *s)
{
    scene_init_with(s, 3000);
}

static bool got_8(void *arg)
{
    return ((struct end *)arg)->got >= 8;
}

static bool only_good_left(void *arg)
{
    return node_stats(arg).connections == 1;
}

/* The good connection still works, and nobody else was let in. */
static void scene_fini(struct scene *s)
{
    end_write(&s->good.end, "eight---", 8);
    net_until(&s->net, got_8, &s->n2.accepted[0]);
    assert_int_equal(s->n2.naccepted, 1);
    assert_int_equal(node_stats(&s->n2).accepted, 1);
    net_until(&s->net, only_good_left, &s->n2);
    end_close(&s->good.end);
    node_fini(&s->n1);
    node_fini(&s->n2);
    net_fini(&s->net);
    paper_fini(&s->p1);
    paper_fini(&s->p2);
    authority_fini(&s->a);
}

/* ---- nodes that are not of the cluster ----------------------------------------------------------------- */

/* A stranger dials n2, and n1 dials the stranger: neither gets a stream. */
static void stranger(struct scene *s, const struct authority *a, const struct paper *p, uint64_t expected)
{
    struct transport_stats before = node_stats(&s->n2), before1 = node_stats(&s->n1);
    struct node x = { 0 };
    node_init(&x, &s->net, a, p, 3000);
    struct dial out, in;
    dial_wait(&out, &x, 2, s->n2.address);
    assert_int_equal(out.status, RAFT_NOCONNECTION);
    dial_wait(&in, &s->n1, expected, x.address);
    assert_int_equal(in.status, RAFT_NOCONNECTION);
    assert_int_equal(x.naccepted, 0);
    struct transport_stats after = node_stats(&s->n2), after1 = node_stats(&s->n1);
    assert_true(after.refused + after.handshake_failures > before.refused + before.handshake_failures);
    assert_true(after1.refused + after1.handshake_failures > before1.refused + before1.handshake_failures);
    node_fini(&x);
}

static void other_authority(void **state)
{
    (void)state;
    struct scene s;
    struct authority b;
    struct paper p;
    scene_init(&s);
    authority_init(&b, 7, 2); /* even of the same name */
    paper_init(&p, &b, 3);
    stranger(&s, &b, &p, 3);
    paper_fini(&p);
    authority_fini(&b);
    scene_fini(&s);
}

/* Signed by our authority, but for another cluster, an older epoch, or long ago. */
static void other_cluster_epoch_time(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    for (int i = 0; i < 4; i++) {
        struct authority b = s.a;
        struct paper p;
        if (i == 0)
            b.cluster[15] = 1;
        else if (i == 1)
            b.epoch--;
        else if (i == 2)
            b.epoch++;
        paper_init(&p, &b, 3);
        if (i == 3)
            paper_expire(&p, &b);
        stranger(&s, &b, &p, 3);
        paper_fini(&p);
    }
    scene_fini(&s);
}

static void under_another_name(void **state)
{
    (void)state;
    struct scene s;
    struct paper p;
    scene_init(&s);
    /* node 3 answers where node 4 was dialled */
    paper_init(&p, &s.a, 3);
    struct node x = { 0 };
    struct dial d;
    node_init(&x, &s.net, &s.a, &p, 3000);
    dial_wait(&d, &s.n1, 4, x.address);
    assert_int_equal(d.status, RAFT_NOCONNECTION);
    assert_int_equal(node_stats(&s.n1).refused, 1);
    dial_wait(&d, &s.n1, 3, x.address);
    assert_int_equal(d.status, 0);
    end_close(&d.end);
    node_fini(&x);
    paper_fini(&p);
    /* a copy of n2's disk */
    paper_init(&p, &s.a, 2);
    stranger(&s, &s.a, &p, 2 + 1);
    paper_fini(&p);
    scene_fini(&s);
}

static void not_admitted(void **state)
{
    (void)state;
    struct scene s;
    struct paper p;
    scene_init(&s);
    paper_init(&p, &s.a, 3);
    s.n2.admit_only = 1;
    s.n1.admit_only = 2;
    stranger(&s, &s.a, &p, 3);
    assert_int_equal(node_stats(&s.n2).refused, 1);
    paper_fini(&p);
    scene_fini(&s);
}

/* ---- clients that are no nodes at all ------------------------------------------------------------------ */

static void run_handshake(struct raw *r)
{
    raw_connect(r);
    raw_handshake(r); /* TLS 1.3: the client may be done before the server has judged */
    ensure(raw_sees_end(r));
}

static void run_plain(struct raw *r)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
    raw_connect(r);
    ensure(write(r->fd, text, sizeof text - 1) > 0);
    ensure(raw_sees_end(r));
}

static void run_silence(struct raw *r)
{
    raw_connect(r);
    ensure(raw_sees_end(r));
}

/* The first bytes of a handshake, and then no more. */
static void run_half(struct raw *r)
{
    static const char hello[] = { 0x16, 3, 1, 2, 0, 1, 0, 1, (char)0xfc, 3, 3 };
    raw_connect(r);
    ensure(write(r->fd, hello, sizeof hello) > 0);
    ensure(raw_sees_end(r));
}

/* A node whose handshake is right, and which then says `arg`. */
static void run_says(struct raw *r)
{
    const struct span *s = r->arg;
    raw_connect(r);
    ensure(raw_handshake(r));
    ensure(SSL_write(r->ssl, s->p, (int)s->n) > 0);
    ensure(raw_sees_end(r));
}

/* Bytes that are no TLS, in the middle of it. */
static void run_breaks_tls(struct raw *r)
{
    static const char junk[] = { 0x17, 3,  3,  0,  32, 1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14,
                                 15,   16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32 };
    raw_connect(r);
    ensure(raw_handshake(r));
    ensure(write(r->fd, junk, sizeof junk) > 0);
    ensure(raw_sees_end(r));
}

static void expect_refused(struct scene *s, struct raw r)
{
    struct transport_stats before = node_stats(&s->n2);
    r.port = transport_port(s->n2.t);
    r.authority = &s->a;
    raw_run(&r, &s->net);
    struct transport_stats after = node_stats(&s->n2);
    assert_int_equal(after.refused + after.handshake_failures,
                     before.refused + before.handshake_failures + 1);
    assert_int_equal(after.accepted, before.accepted);
}

static void no_nodes(void **state)
{
    (void)state;
    struct scene s;
    struct paper p;
    scene_init_with(&s, 1500); /* some of them say nothing */
    paper_init(&p, &s.a, 3);
    expect_refused(&s, (struct raw){ .run = run_handshake, .alpn = RAFT_ALPN }); /* no certificate */
    expect_refused(&s, (struct raw){ .run = run_handshake, .paper = &p });       /* no protocol named */
    expect_refused(&s, (struct raw){ .run = run_handshake });
    expect_refused(&s, (struct raw){ .run = run_handshake, .paper = &p, .alpn = "\x02h2" });
    expect_refused(
        &s, (struct raw){ .run = run_handshake, .alpn = "\x0fturnpike-join/1" }); /* none are taken here */
    expect_refused(
        &s,
        (struct raw){ .run = run_handshake, .paper = &p, .alpn = RAFT_ALPN, .max_version = TLS1_2_VERSION });
    expect_refused(&s, (struct raw){ .run = run_plain });
    expect_refused(&s, (struct raw){ .run = run_silence });
    expect_refused(&s, (struct raw){ .run = run_half });
    expect_refused(&s, (struct raw){ .run = run_breaks_tls, .paper = &p, .alpn = RAFT_ALPN });
    static const struct span greetings[] = { SPAN_LIT("garbage"),
                                             SPAN_LIT("T"),
                                             SPAN_LIT("TPR1"),
                                             SPAN_LIT("TPR1\0"),
                                             SPAN_LIT("TPR1\x80"),
                                             SPAN_LIT("TPR1\00318"),
                                             SPAN_LIT("TPR1\003"
                                                      "a:1x"),
                                             SPAN_LIT("TPR1\003"
                                                      "a\n1"),
                                             SPAN_LIT("TPR2\003"
                                                      "a:1") };
    for (size_t i = 0; i < sizeof greetings / sizeof *greetings; i++)
        expect_refused(&s, (struct raw){ .run = run_says,
                                         .paper = &p,
                                         .alpn = RAFT_ALPN,
                                         .arg = (void *)(uintptr_t)&greetings[i] });
    paper_fini(&p);
    scene_fini(&s);
}

/* One host cannot take all connections: of forty, the last are closed at once, the first not. */
static void run_crowd(struct raw *r)
{
    int fds[40];
    int *refused = r->arg;
    for (int i = 0; i < 40; i++) {
        raw_connect(r);
        fds[i] = r->fd;
    }
    r->fd = -1;
    for (int i = 39; i >= 0; i--) {
        char c;
        refused[i] = i >= 31 && recv(fds[i], &c, 1, 0) == 0;
    }
    for (int i = 0; i < 31; i++) {
        char c;
        refused[i] = recv(fds[i], &c, 1, MSG_DONTWAIT) == 0;
    }
    for (int i = 0; i < 40; i++)
        close(fds[i]);
}

static bool idle(void *arg)
{
    struct transport_stats st = node_stats(arg);
    return st.connections == 1 && st.refused + st.handshake_failures == 40;
}

static void too_many_of_one_host(void **state)
{
    (void)state;
    struct scene s;
    int refused[40];
    scene_init_with(&s, 20000); /* nobody is turned away for being slow */
    struct raw r = { .run = run_crowd, .port = transport_port(s.n2.t), .arg = refused };
    raw_run(&r, &s.net);
    for (int i = 0; i < 40; i++)
        assert_int_equal(refused[i], i >= 31); /* the peer has one of the 32 */
    net_until(&s.net, idle, &s.n2);
    scene_fini(&s);
}

/* Strangers of nine addresses hold all connections, and say nothing. */
static void run_hosts(struct raw *r)
{
    static int fds[9][32];
    for (int i = 0; i < 9 * 32; i++) {
        struct sockaddr_in from = { .sin_family = AF_INET,
                                    .sin_addr = { htonl(0x7f000002u + (uint32_t)i / 32) } };
        struct sockaddr_in to = { .sin_family = AF_INET,
                                  .sin_port = htons(r->port),
                                  .sin_addr = { htonl(INADDR_LOOPBACK) } };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ensure(fd >= 0 && bind(fd, (struct sockaddr *)&from, sizeof from) == 0);
        ensure(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
        fds[i / 32][i % 32] = fd;
    }
    atomic_store((atomic_bool *)r->arg, true);
    char c;
    for (int i = 0; i < 9 * 32; i++) {
        struct timeval limit = { .tv_sec = 30 };
        setsockopt(fds[i / 32][i % 32], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ensure(recv(fds[i / 32][i % 32], &c, 1, 0) == 0);
        close(fds[i / 32][i % 32]);
    }
}

static bool is_set(void *arg)
{
    return atomic_load((atomic_bool *)arg);
}

static void strangers_make_room(void **state)
{
    (void)state;
    struct net net;
    struct authority a;
    struct paper p1, p2;
    struct node n1 = { 0 }, n2 = { 0 };
    net_init(&net);
    authority_init(&a, 7, 1);
    paper_init(&p1, &a, 1);
    paper_init(&p2, &a, 2);
    node_init(&n1, &net, &a, &p1, 6000);
    node_init(&n2, &net, &a, &p2, 6000);
    atomic_bool there = false;
    struct raw r = { .run = run_hosts, .port = transport_port(n2.t), .arg = &there };
    raw_start(&r);
    net_until(&net, is_set, &there);
    struct dial d;
    dial_wait(&d, &n1, 2, n2.address);
    assert_int_equal(d.status, 0);
    assert_int_equal(node_stats(&n2).handshake_failures, 9 * 32 + 1 - TRANSPORT_CONNECTIONS_MAX);
    net_until(&net, raw_done, &r);
    raw_join(&r);
    assert_false(d.end.ended);
    end_close(&d.end);
    node_fini(&n1);
    node_fini(&n2);
    net_fini(&net);
    paper_fini(&p1);
    paper_fini(&p2);
    authority_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_authority),
        cmocka_unit_test(other_cluster_epoch_time),
        cmocka_unit_test(under_another_name),
        cmocka_unit_test(not_admitted),
        cmocka_unit_test(no_nodes),
        cmocka_unit_test(too_many_of_one_host),
        cmocka_unit_test(strangers_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
