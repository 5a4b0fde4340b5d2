/* The exchange of a joiner with a node, from the token to the identity, and all that can go wrong with it. */
#include "raw.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "node/cluster/join.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct joiner {
    struct join_token token;
    int64_t timeout_ms;
    struct identity id;
    struct buf why;
    int err;
    atomic_bool done;
    uv_thread_t thread;
};

struct scene {
    struct net net;
    struct authority a;
    struct paper p1, p2;
    struct node n1, n2;
    struct joiner j;
    /* what the nodes answer */
    int asked1, asked2, retries, redirect;
    const char *refuse;
    bool wrong_authority, wrong_key, silent;
    uint8_t first_hash[32];
    struct authority other;
};

static void answer(struct transport_join *j, const struct join_answer *a)
{
    struct buf b;
    buf_init(&b, TRANSPORT_JOIN_MAX);
    ensure(join_answer_encode(a, &b) == 0);
    transport_join_answer(j, buf_span(&b));
    buf_fini(&b);
}

static void yes(struct scene *s, const struct join_request *r, struct join_answer *a, struct buf *certificate,
                struct buf *unused)
{
    struct authority *by = s->wrong_authority ? &s->other : &s->a;
    struct buf key, request;
    buf_init(&key, 8192);
    buf_init(&request, 8192);
    *a = (struct join_answer){ .ok = true, .slot = 5, .self = { .epoch = 1, .node = 9 }, .nseeds = 1 };
    memcpy(a->self.cluster, s->a.cluster, 16);
    memcpy(a->secret, s->a.secret, sizeof a->secret);
    a->seeds[0] = (struct identity_seed){ .id = 1 };
    strcpy(a->seeds[0].raft_address, "192.0.2.1:7701");
    strcpy(a->seeds[0].gossip_address, "192.0.2.1:7702");
    ensure(ca_make_request("other", &key, &request) == 0);
    ensure(ca_issue(buf_span(&by->ca), buf_span(&by->ca_key), by->secret,
                    s->wrong_key ? buf_span(&request) : r->certificate_request, &a->self, r->name, 0,
                    certificate) == 0);
    (void)unused;
    a->certificate = buf_span(certificate);
    a->ca = buf_span(&by->ca);
    buf_fini(&key);
    buf_fini(&request);
}

static void on_join(struct node *n, struct transport_join *j, struct span request, const char *from)
{
    struct scene *s = n->arg;
    struct join_request_decoded *d;
    struct buf certificate;
    buf_init(&certificate, 8192);
    int asked = n == &s->n1 ? ++s->asked1 : ++s->asked2;
    ensure(strncmp(from, "127.0.0.1:", 10) == 0);
    ensure(join_request_decode(request, &d, NULL) == 0);
    const struct join_request *r = join_request_of(d);
    ensure(strcmp(r->token_id, s->j.token.id) == 0);
    ensure(memcmp(r->secret, s->j.token.secret, sizeof r->secret) == 0);
    ensure(r->wall_ms > clock_wall_ms() - 60000);
    /* the same request each time, whichever node it comes to */
    uint8_t hash[32];
    join_request_hash(r, hash);
    if (s->asked1 + s->asked2 == 1)
        memcpy(s->first_hash, hash, 32);
    ensure(memcmp(s->first_hash, hash, 32) == 0);
    struct join_answer a = { 0 };
    if (s->silent) {
        transport_join_answer(j, (struct span){ 0 });
    } else if (asked <= s->retries) {
        a.retry = true;
        strcpy(a.words, "an election is under way");
        answer(j, &a);
    } else if (s->refuse != NULL) {
        snprintf(a.words, sizeof a.words, "%s", s->refuse);
        answer(j, &a);
    } else if (s->redirect != 0 && (n == &s->n1 || s->redirect == 2)) {
        strcpy(a.words, "this node is not the leader");
        strcpy(a.try_address, n == &s->n1 ? s->n2.address : s->n1.address);
        answer(j, &a);
    } else {
        yes(s, r, &a, &certificate, NULL);
        answer(j, &a);
    }
    join_request_free(d);
    buf_fini(&certificate);
}

static void scene_init(struct scene *s)
{
    *s = (struct scene){ 0 };
    net_init(&s->net);
    authority_init(&s->a, 7, 1);
    authority_init(&s->other, 7, 1);
    paper_init(&s->p1, &s->a, 1);
    paper_init(&s->p2, &s->a, 2);
    s->n1.on_join = s->n2.on_join = on_join;
    s->n1.arg = s->n2.arg = s;
    node_init(&s->n1, &s->net, &s->a, &s->p1, 0);
    node_init(&s->n2, &s->net, &s->a, &s->p2, 0);
    uint8_t sha256[32];
    assert_int_equal(ca_fingerprint(buf_span(&s->a.ca), sha256), 0);
    assert_int_equal(join_token_make(&s->j.token, sha256), 0);
    s->j.token.naddresses = 1;
    strcpy(s->j.token.addresses[0], s->n1.address);
    s->j.timeout_ms = 30000;
    identity_init(&s->j.id);
    buf_init(&s->j.why, 16384);
}

static void scene_fini(struct scene *s)
{
    node_fini(&s->n1);
    node_fini(&s->n2);
    net_fini(&s->net);
    paper_fini(&s->p1);
    paper_fini(&s->p2);
    authority_fini(&s->a);
    authority_fini(&s->other);
    identity_fini(&s->j.id);
    buf_fini(&s->j.why);
}

static void body(void *arg)
{
    struct joiner *j = arg;
    j->err = join_ask(&j->token, "mx9", "192.0.2.9:7701", "192.0.2.9:7702", "0.1.0", 1, j->timeout_ms, &j->id,
                      &j->why);
    atomic_store(&j->done, true);
}

static bool joiner_done(void *arg)
{
    return atomic_load(&((struct joiner *)arg)->done);
}

static void ask(struct scene *s)
{
    s->asked1 = s->asked2 = 0;
    buf_reset(&s->j.why);
    atomic_store(&s->j.done, false);
    ensure(uv_thread_create(&s->j.thread, body, &s->j) == 0);
    net_until(&s->net, joiner_done, &s->j);
    ensure(uv_thread_join(&s->j.thread) == 0);
    buf_put_char(&s->j.why, '\0');
}

static void expect(const struct scene *s, int err, const char *words)
{
    if (s->j.err != err || strstr(s->j.why.data, words) == NULL)
        fail_msg("%d: %s\n(not %d: %s)", s->j.err, s->j.why.data, err, words);
}

static void expect_joined(const struct scene *s)
{
    const struct identity *id = &s->j.id;
    struct ca_info info;
    expect(s, 0, "");
    assert_int_equal(id->self.node, 9);
    assert_int_equal(id->slot, 5);
    assert_string_equal(id->name, "mx9");
    assert_string_equal(id->raft_address, "192.0.2.9:7701");
    assert_true(id->has_secret);
    assert_memory_equal(id->secret, s->a.secret, sizeof id->secret);
    assert_int_equal(id->nseeds, 1);
    assert_int_equal(ca_read(buf_span(&id->certificate), &info), 0);
    assert_int_equal(info.peer.node, 9);
    assert_int_equal(ca_verify(buf_span(&s->a.ca), buf_span(&id->certificate), clock_wall_ms()), 0);
}

static void joins(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    ask(&s);
    expect_joined(&s);
    assert_int_equal(s.asked1, 1);
    /* what it got opens raft's door as well: it can be a node at once */
    struct paper p = { .peer = s.j.id.self, .certificate = s.j.id.certificate, .key = s.j.id.key };
    struct node n9 = { 0 };
    struct dial d;
    node_init(&n9, &s.net, &s.a, &p, 0);
    dial_wait(&d, &n9, 1, s.n1.address);
    assert_int_equal(d.status, 0);
    end_close(&d.end);
    node_fini(&n9);
    scene_fini(&s);
}

static void joins_after_detours(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    s.redirect = 1;
    s.retries = 2;
    ask(&s);
    expect_joined(&s);
    assert_int_equal(s.asked1, 5);
    assert_int_equal(s.asked2, 3);
    /* the first address of the token is dead */
    s.redirect = s.retries = 0;
    s.j.token.naddresses = 2;
    strcpy(s.j.token.addresses[0], "127.0.0.1:1");
    strcpy(s.j.token.addresses[1], s.n1.address);
    ask(&s);
    expect_joined(&s);
    scene_fini(&s);
}

static void is_refused(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    s.refuse = "the token has expired: make a new one with turnpike node token";
    ask(&s);
    expect(&s, ERR_DENIED, "the token has expired: make a new one");
    assert_int_equal(s.asked1, 1);
    assert_null(strchr(s.j.why.data, '\n'));
    s.refuse = NULL;
    s.wrong_authority = true;
    ask(&s);
    expect(&s, ERR_FAILED, "another authority than the token's");
    s.wrong_authority = false;
    s.wrong_key = true;
    ask(&s);
    expect(&s, ERR_FAILED, "for another key");
    s.wrong_key = false;
    /* they send it round in circles */
    s.redirect = 2;
    s.j.timeout_ms = 2000;
    ask(&s);
    expect(&s, ERR_TIMEOUT, "there may be no leader just now");
    s.redirect = 0;
    s.silent = true;
    ask(&s);
    expect(&s, ERR_TIMEOUT, "closed the connection before it had answered");
    assert_null(s.j.id.certificate.data);
    scene_fini(&s);
}

static int listener(char address[128])
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ensure(bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
    ensure(listen(fd, 16) == 0);
    getsockname(fd, (struct sockaddr *)&at, &n);
    snprintf(address, 128, "127.0.0.1:%u", ntohs(at.sin_port));
    return fd;
}

static void finds_nobody(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    /* a node of another cluster: no use in asking again */
    s.j.token.ca_sha256[0] ^= 1;
    ask(&s);
    expect(&s, ERR_FAILED, "is not of the cluster that this token is for");
    assert_int_equal(s.asked1, 0);
    s.j.token.ca_sha256[0] ^= 1;
    /* a line for each address */
    char silent[128];
    int fd = listener(silent);
    s.j.timeout_ms = 2000;
    s.j.token.naddresses = 3;
    strcpy(s.j.token.addresses[0], "127.0.0.1:1");
    strcpy(s.j.token.addresses[1], "name.invalid:7701");
    strcpy(s.j.token.addresses[2], silent);
    ask(&s);
    expect(&s, ERR_TIMEOUT, "127.0.0.1:1: connection refused: does turnpiked run there");
    expect(&s, ERR_TIMEOUT, "\nname.invalid:7701: name.invalid has no address");
    expect(&s, ERR_TIMEOUT, "it took the connection and then said nothing");
    close(fd);
    s.j.token.naddresses = 0;
    ask(&s);
    expect(&s, ERR_BAD, "the token names no address");
    struct buf why;
    buf_init(&why, 1024);
    s.j.token.naddresses = 1;
    assert_int_equal(join_ask(&s.j.token, "mx 9", "a:1", "a:1", "", 0, 1, &s.j.id, &why), ERR_BAD);
    assert_int_equal(join_ask(&s.j.token, "mx9", "a", "a:1", "", 0, 1, &s.j.id, &why), ERR_BAD);
    buf_fini(&why);
    scene_fini(&s);
}

static void expired_node(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    struct paper old;
    paper_init(&old, &s.a, 3);
    paper_expire(&old, &s.a);
    struct node n3 = { .on_join = on_join, .arg = &s };
    node_init(&n3, &s.net, &s.a, &old, 0);
    strcpy(s.j.token.addresses[0], n3.address);
    s.j.timeout_ms = 2000;
    ask(&s);
    expect(&s, ERR_TIMEOUT, "certificate has expired: its certificate is for");
    expect(&s, ERR_TIMEOUT, "is the clock right?");
    node_fini(&n3);
    paper_fini(&old);
    scene_fini(&s);
}

/* ---- many joiners, and bad ones ------------------------------------------------------------------------ */

static struct transport_join *waiting[16];
static int nwaiting;

static void keep(struct node *n, struct transport_join *j, struct span request, const char *from)
{
    (void)n, (void)from;
    ensure(span_eq(request, SPAN_LIT("hello")));
    waiting[nwaiting++] = j;
}

static void run_hello(struct raw *r)
{
    raw_connect(r);
    ensure(raw_handshake(r));
    ensure(SSL_write(r->ssl, "\5\0\0\0he", 6) == 6);
    ensure(SSL_write(r->ssl, "llo", 3) == 3);
    ensure(raw_sees_end(r));
}

static void run_length(struct raw *r)
{
    raw_connect(r);
    ensure(raw_handshake(r));
    ensure(SSL_write(r->ssl, r->arg, 5) == 5);
    ensure(raw_sees_end(r));
}

static bool eight_wait(void *arg)
{
    (void)arg;
    return nwaiting == 8;
}

static void at_most_eight(void **state)
{
    (void)state;
    struct net net;
    struct authority a;
    struct paper p;
    struct node n = { .on_join = keep };
    net_init(&net);
    authority_init(&a, 7, 1);
    paper_init(&p, &a, 1);
    node_init(&n, &net, &a, &p, 1500);
    uint16_t port = transport_port(n.t);
    struct raw bad[] = {
        { .run = run_length, .arg = (char[5]){ 0 } },             /* an empty one */
        { .run = run_length, .arg = (char[5]){ 1, 0, 1, 0, 0 } }, /* one byte over the most */
        { .run = run_length, .arg = (char[5]){ -1, -1, -1, -1, -1 } },
        { .run = run_length, .arg = (char[5]){ 2, 0, 0, 0, 1 } }, /* half of one, and no more */
        { .run = run_hello }
    };
    for (size_t i = 0; i < 4; i++) {
        bad[i].port = port;
        bad[i].alpn = "\x0fturnpike-join/1";
        raw_run(&bad[i], &net);
        assert_int_equal(nwaiting, 0);
    }
    struct raw eight[8];
    for (int i = 0; i < 8; i++) {
        eight[i] = (struct raw){ .run = run_hello, .port = port, .alpn = "\x0fturnpike-join/1" };
        raw_start(&eight[i]);
    }
    net_until(&net, eight_wait, NULL);
    uint64_t refused = node_stats(&n).refused;
    /* the ninth is turned away */
    bad[4].port = port;
    bad[4].alpn = "\x0fturnpike-join/1";
    bad[4].run = run_length;
    bad[4].arg = (char[5]){ 5, 0, 0, 0, 'h' };
    raw_run(&bad[4], &net);
    assert_int_equal(nwaiting, 8);
    assert_int_equal(node_stats(&n).refused, refused + 1);
    /* some are answered, the rest when the transport is gone */
    for (int i = 0; i < 4; i++)
        transport_join_answer(waiting[i], i % 2 == 0 ? SPAN_LIT("words") : (struct span){ 0 });
    node_fini(&n);
    for (int i = 4; i < 8; i++)
        transport_join_answer(waiting[i], SPAN_LIT("late"));
    for (int i = 0; i < 8; i++)
        raw_join(&eight[i]);
    net_fini(&net);
    paper_fini(&p);
    authority_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins),        cmocka_unit_test(joins_after_detours),
        cmocka_unit_test(is_refused),   cmocka_unit_test(finds_nobody),
        cmocka_unit_test(expired_node), cmocka_unit_test(at_most_eight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
