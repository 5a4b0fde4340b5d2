/* Streams between nodes as libraft uses them: bytes, ends, rotation, cancelled connects, closing. */
#include "fixture.h"

#include "base/err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct pair {
    struct net net;
    struct authority a;
    struct paper p1, p2;
    struct node n1, n2;
};

static void pair_init_with(struct pair *p, int handshake_ms)
{
    *p = (struct pair){ 0 };
    net_init(&p->net);
    authority_init(&p->a, 7, 1);
    paper_init(&p->p1, &p->a, 1);
    paper_init(&p->p2, &p->a, 2);
    node_init(&p->n1, &p->net, &p->a, &p->p1, handshake_ms);
    node_init(&p->n2, &p->net, &p->a, &p->p2, handshake_ms);
}

static void pair_init(struct pair *p)
{
    pair_init_with(p, 0);
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

static bool got_24(void *arg)
{
    return ((struct end *)arg)->got >= 24;
}

static bool ended(void *arg)
{
    return ((struct end *)arg)->ended;
}

static bool no_connections(void *arg)
{
    return node_stats(arg).connections == 0;
}

static void both_ways(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    struct dial to2, to1;
    dial_wait(&to2, &p.n1, 2, p.n2.address);
    assert_int_equal(to2.status, 0);
    dial_wait(&to1, &p.n2, 1, p.n1.address);
    assert_int_equal(to1.status, 0);
    /* who it is comes from the certificate, under which address from what libraft calls itself */
    assert_int_equal(p.n2.naccepted, 1);
    assert_int_equal(p.n2.accepted[0].id, 1);
    assert_string_equal(p.n2.accepted[0].address, p.n1.address);
    assert_int_equal(p.n1.accepted[0].id, 2);
    assert_string_equal(p.n1.accepted[0].address, p.n2.address);
    static const char words[] = "one-----two-----three---";
    for (int i = 0; i < 3; i++) {
        end_write(&to2.end, words + 8 * i, 8);
        end_write(&to1.end, words + 8 * (2 - i), 8);
    }
    net_until(&p.net, got_24, &p.n2.accepted[0]);
    net_until(&p.net, got_24, &p.n1.accepted[0]);
    assert_int_equal(p.n2.accepted[0].sum, sum_of(words, 24, 0));
    assert_int_equal(p.n1.accepted[0].sum, sum_of("three---two-----one-----", 24, 0));
    assert_int_equal(to2.end.written, 3);
    struct transport_stats s = node_stats(&p.n1);
    assert_int_equal(s.connections, 2);
    assert_int_equal(s.accepted, 1);
    assert_int_equal(s.refused + s.handshake_failures, 0);
    assert_true(s.bytes_in > 1000);
    assert_true(s.bytes_out > 1000);

    /* the writer closes, with something just written: it arrives, then the end */
    end_write(&to2.end, words, 24);
    end_close(&to2.end);
    net_until(&p.net, ended, &p.n2.accepted[0]);
    assert_int_equal(p.n2.accepted[0].got, 48);
    end_close(&p.n2.accepted[0]);
    /* the reader closes: the writer, which only ever writes, sees the end */
    end_close(&p.n1.accepted[0]);
    net_until(&p.net, ended, &to1.end);
    end_close(&to1.end);
    net_until(&p.net, no_connections, &p.n1);
    net_until(&p.net, no_connections, &p.n2);
    pair_fini(&p);
}

/* Whatever libraft believes: its configuration keeps the address that a node joined with. */
static void a_node_that_moved(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    struct dial d;
    assert_int_equal(transport_set_address(p.n1.t, 2, "nowhere"), ERR_BAD);
    assert_int_equal(transport_set_address(p.n1.t, 2, p.n2.address), 0);
    dial_wait(&d, &p.n1, 2, "127.0.0.1:1");
    assert_int_equal(d.status, 0);
    assert_int_equal(transport_set_address(p.n1.t, 2, p.n2.address), 0); /* nothing new: it stays */
    assert_false(d.end.ended);
    assert_int_equal(transport_set_address(p.n1.t, 2, "127.0.0.1:1"), 0);
    net_until(&p.net, ended, &d.end);
    end_close(&d.end);
    dial_wait(&d, &p.n1, 2, p.n2.address);
    assert_int_not_equal(d.status, 0);
    assert_int_equal(transport_set_address(p.n1.t, 2, NULL), 0);
    dial_wait(&d, &p.n1, 2, p.n2.address);
    assert_int_equal(d.status, 0);
    end_close(&d.end);
    for (uint64_t node = 3; node < 3 + 128; node++)
        assert_int_equal(transport_set_address(p.n1.t, node, "127.0.0.1:1"), 0);
    assert_int_equal(transport_set_address(p.n1.t, 200, "127.0.0.1:1"), ERR_LIMIT);
    assert_int_equal(transport_set_address(p.n1.t, 3, NULL), 0);
    assert_int_equal(transport_set_address(p.n1.t, 200, "127.0.0.1:1"), 0);
    for (int i = 0; i < p.n2.naccepted; i++)
        end_close(&p.n2.accepted[i]);
    pair_fini(&p);
}

static void name_is_looked_up(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    struct dial d;
    char address[32];
    snprintf(address, sizeof address, "localhost:%u", transport_port(p.n2.t));
    dial_wait(&d, &p.n1, 2, address);
    assert_int_equal(d.status, 0);
    end_close(&d.end);
    dial_wait(&d, &p.n1, 2, "name.invalid:7701");
    assert_int_equal(d.status, RAFT_NOCONNECTION);
    static const char *const bad[] = {
        "", "localhost", ":1", "localhost:0", "localhost:65536", "localhost:1x"
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(p.n1.raft->connect(p.n1.raft, &d.req, 2, bad[i], NULL), RAFT_NOCONNECTION);
    pair_fini(&p);
}

static void rotation(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    struct dial old, fresh;
    dial_wait(&old, &p.n1, 2, p.n2.address);
    assert_int_equal(old.status, 0);
    struct paper next;
    paper_init(&next, &p.a, 1);
    /* a key that is another's is refused, and nothing changes */
    assert_int_equal(transport_set_certificate(p.n1.t, buf_span(&next.certificate), buf_span(&p.p1.key)),
                     ERR_BAD);
    assert_int_equal(transport_set_certificate(p.n1.t, buf_span(&next.certificate), buf_span(&next.key)), 0);
    struct ca_info info;
    assert_int_equal(ca_read(buf_span(&next.certificate), &info), 0);
    p.n2.admit_by_sha256 = true;
    memcpy(p.n2.admit_sha256, info.sha256, 32);
    dial_wait(&fresh, &p.n1, 2, p.n2.address);
    assert_int_equal(fresh.status, 0);
    /* the old connection lives until the peers are checked */
    static const char words[24] = "still here";
    end_write(&old.end, words, 24);
    net_until(&p.net, got_24, &p.n2.accepted[0]);
    transport_check_peers(p.n2.t);
    net_until(&p.net, ended, &old.end);
    end_write(&fresh.end, words, 24);
    net_until(&p.net, got_24, &p.n2.accepted[1]);
    assert_false(fresh.end.ended);
    end_close(&old.end);
    end_close(&fresh.end);
    paper_fini(&next);
    pair_fini(&p);
}

static int silent_listener(char address[32])
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 16), 0);
    getsockname(fd, (struct sockaddr *)&at, &n);
    snprintf(address, 32, "127.0.0.1:%u", ntohs(at.sin_port));
    return fd;
}

static void on_raft_closed(struct raft_uv_transport *raft)
{
    ((struct node *)raft->data)->raft_closed++;
}

static bool raft_closed(void *arg)
{
    return ((struct node *)arg)->raft_closed > 0;
}

static void cancelled_connects(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    char address[32];
    int fd = silent_listener(address);
    struct dial d[5];
    for (int i = 0; i < 3; i++)
        dial_start(&d[i], &p.n1, 2, address);
    dial_start(&d[3], &p.n1, 2, "localhost:9"); /* being looked up */
    dial_start(&d[4], &p.n1, 2, p.n2.address);  /* on its way */
    uv_run(&p.net.loop, UV_RUN_NOWAIT);
    p.n1.raft->close(p.n1.raft, on_raft_closed);
    assert_int_equal(p.n1.raft_closed, 0);
    net_until(&p.net, raft_closed, &p.n1);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(d[i].calls, 1);
        assert_int_equal(d[i].status, RAFT_CANCELED);
    }
    /* nothing is accepted for libraft any more */
    struct dial in;
    dial_wait(&in, &p.n2, 1, p.n1.address);
    assert_int_equal(in.status, RAFT_NOCONNECTION);
    assert_int_equal(p.n1.naccepted, 0);
    assert_int_equal(p.n1.raft->connect(p.n1.raft, &in.req, 2, p.n2.address, NULL), RAFT_CANCELED);
    close(fd);
    pair_fini(&p);
    for (int i = 0; i < 5; i++)
        assert_int_equal(d[i].calls, 1);
}

static void connect_has_a_limit(void **state)
{
    (void)state;
    struct pair p;
    pair_init_with(&p, 1000);
    char address[32];
    int fd = silent_listener(address);
    struct dial d;
    uint64_t start = uv_hrtime();
    dial_wait(&d, &p.n1, 2, address); /* takes the connection, says nothing */
    assert_int_equal(d.status, RAFT_NOCONNECTION);
    assert_in_range(uv_hrtime() - start, 900000000ull, 30000000000ull);
    assert_int_equal(node_stats(&p.n1).handshake_failures, 1);
    close(fd);
    dial_wait(&d, &p.n1, 2, address); /* nobody there */
    assert_int_equal(d.status, RAFT_NOCONNECTION);
    pair_fini(&p);
}

static bool admit_all(void *ctx, const struct peer *peer, const uint8_t sha256[32])
{
    (void)ctx, (void)peer, (void)sha256;
    return true;
}

static void address_in_use(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_port = htons(transport_port(p.n1.t)),
                              .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct transport_config config = { .loop = &p.net.loop,
                                       .self = p.p2.peer,
                                       .certificate = buf_span(&p.p2.certificate),
                                       .key = buf_span(&p.p2.key),
                                       .ca = buf_span(&p.a.ca),
                                       .admit = admit_all };
    memcpy(&config.listen, &at, sizeof at);
    struct transport *t = NULL;
    assert_int_equal(transport_new(&config, &t), -EADDRINUSE);
    assert_null(t);
    at.sin_port = 0;
    at.sin_addr.s_addr = inet_addr("192.0.2.1");
    memcpy(&config.listen, &at, sizeof at);
    assert_int_equal(transport_new(&config, &t), -EADDRNOTAVAIL);
    config.key = buf_span(&p.p1.key);
    assert_int_equal(transport_new(&config, &t), ERR_BAD);
    config.certificate = SPAN_LIT("nonsense");
    assert_int_equal(transport_new(&config, &t), ERR_BAD);
    pair_fini(&p);
}

/* libraft closes its streams after the transport said that it is closed, or never dialled: nothing is left
 * over. */
static void close_with_streams(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    struct dial d;
    dial_wait(&d, &p.n1, 2, p.n2.address);
    assert_int_equal(d.status, 0);
    p.n1.raft->close(p.n1.raft, on_raft_closed);
    net_until(&p.net, raft_closed, &p.n1);
    assert_false(d.end.ended);
    node_fini(&p.n2);
    net_until(&p.net, ended, &d.end);
    node_fini(&p.n1);
    end_close(&d.end);
    net_fini(&p.net);
    paper_fini(&p.p1);
    paper_fini(&p.p2);
    authority_fini(&p.a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),          cmocka_unit_test(a_node_that_moved),
        cmocka_unit_test(name_is_looked_up),  cmocka_unit_test(rotation),
        cmocka_unit_test(cancelled_connects), cmocka_unit_test(connect_has_a_limit),
        cmocka_unit_test(address_in_use),     cmocka_unit_test(close_with_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
