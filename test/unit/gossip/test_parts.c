/* The pure parts: health, codecs, the seal, and the handshake with everybody who should not pass it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "certs.h"
#include "gossip/gossip_health.h"
#include "gossip/gossip_identity.h"

#include <openssl/pem.h>

/* Health. */

static void test_health(void **state)
{
    (void)state;
    const struct gossip_health_rule rule = { .suspect_ms = 2000, .dead_ms = 10000, .step_max_ms = 1000 };
    struct gossip_pulse p;
    gossip_pulse_init(&p, 5000);
    for (int64_t t = 5500; t < 60000; t += 500)
        assert_false(gossip_pulse_step(&p, &rule, t));
    assert_int_equal(p.health, GOSSIP_NEVER_SEEN);
    assert_true(gossip_pulse_heard(&p, 60000));
    assert_false(gossip_pulse_heard(&p, 60500));
    int64_t suspect_at = 0, dead_at = 0;
    for (int64_t t = 61000; t < 80000; t += 500) {
        if (!gossip_pulse_step(&p, &rule, t))
            continue;
        if (p.health == GOSSIP_SUSPECT)
            suspect_at = t;
        else
            dead_at = t;
    }
    assert_int_equal(suspect_at, 62500);
    assert_int_equal(dead_at, 70500);
    assert_int_equal(p.health, GOSSIP_DEAD);
    assert_true(gossip_pulse_heard(&p, 80000));
    assert_int_equal(p.health, GOSSIP_ALIVE);
    assert_false(gossip_pulse_step(&p, &rule, 79000)); /* a clock that steps back does nothing */
}

static void test_health_after_we_stood_still(void **state)
{
    (void)state;
    const struct gossip_health_rule rule = { .suspect_ms = 2000, .dead_ms = 10000, .step_max_ms = 1000 };
    struct gossip_pulse p;
    gossip_pulse_init(&p, 0);
    gossip_pulse_heard(&p, 1000);
    assert_false(gossip_pulse_step(&p, &rule, 3601000)); /* an hour: but ours, not the peer's */
    assert_true(gossip_pulse_step(&p, &rule, 3602000));
    assert_int_equal(p.health, GOSSIP_SUSPECT);
    assert_true(gossip_pulse_heard(&p, 3602100));
}

/* Codecs. */

static void test_state_codec(void **state)
{
    (void)state;
    struct gossip_state s = { .node = 3,
                              .session = 4,
                              .applied = 5,
                              .published = 6,
                              .digest_index = 7,
                              .digest = UINT64_MAX,
                              .leader = 8,
                              .term = 9,
                              .features = 10,
                              .draining = true,
                              .quorum = true,
                              .fenced = true,
                              .queued = 11,
                              .held = 12,
                              .sessions_in = 13,
                              .sessions_out = 14,
                              .accepted_per_min = 15,
                              .delivered_per_min = 16,
                              .cpu_permille = 17,
                              .disk_free_permille = 18,
                              .disk_low = true,
                              .wall_ms = 19,
                              .transfers_late = 20 };
    const size_t added = 12;
    memset(s.version, 'v', sizeof s.version - 1);
    struct buf b, again;
    buf_init(&b, 4096);
    buf_init(&again, 4096);
    struct gossip_state out;
    assert_int_equal(gossip_state_encode(&s, &b), 0);
    for (size_t n = 0; n < b.len - added; n++)
        assert_int_equal(gossip_state_decode(span_of(b.data, n), &out), ERR_TORN);
    assert_int_equal(gossip_state_decode(span_of(b.data, b.len - added), &out), 0); /* of an older node */
    assert_true(out.disk_low && out.wall_ms == 0 && out.transfers_late == 0);
    assert_int_equal(gossip_state_decode(buf_span(&b), &out), 0);
    assert_int_equal(gossip_state_encode(&out, &again), 0);
    assert_true(span_eq(buf_span(&b), buf_span(&again)));
    assert_int_equal(out.node, 3);
    assert_int_equal(out.disk_free_permille, 18);
    assert_int_equal(out.wall_ms, 19);
    assert_int_equal(out.transfers_late, 20);
    assert_true(out.draining && out.quorum && out.fenced && !out.accepting);
    assert_string_equal(out.version, s.version);

    assert_int_equal(buf_put_str(&b, "what a newer version adds"), 0);
    assert_int_equal(gossip_state_decode(buf_span(&b), &out), 0);
    b.data[again.len - added - 1] = '\n';
    assert_int_equal(gossip_state_decode(buf_span(&b), &out), ERR_BAD);
    b.data[again.len - added - 1] = 'v';
    b.data[0] = 2;
    assert_int_equal(gossip_state_decode(buf_span(&b), &out), ERR_BAD);
    s.node = 0;
    assert_int_equal(gossip_state_encode(&s, &again), ERR_BAD);
    s.node = 1;
    s.version[sizeof s.version - 1] = 'v';
    assert_int_equal(gossip_state_encode(&s, &again), ERR_BAD);
    buf_fini(&b);
    buf_fini(&again);
}

static int frame(uint8_t kind, uint16_t type, uint64_t id, const char *payload, struct gossip_frame *out)
{
    static uint8_t bytes[128];
    gossip_frame_head(&(struct gossip_frame){ .kind = kind, .type = type, .id = id }, bytes);
    memcpy(bytes + GOSSIP_FRAME_FIXED, payload, strlen(payload));
    return gossip_frame_decode(span_of(bytes, GOSSIP_FRAME_FIXED + strlen(payload)), out);
}

static void test_frame_codec(void **state)
{
    (void)state;
    struct gossip_frame f;
    assert_int_equal(frame(GOSSIP_REQUEST, 0xabcd, UINT64_MAX - 1, "hi", &f), 0);
    assert_int_equal(f.kind, GOSSIP_REQUEST);
    assert_int_equal(f.type, 0xabcd);
    assert_true(f.id == UINT64_MAX - 1);
    assert_true(span_eq(f.payload, SPAN_LIT("hi")));
    assert_int_equal(frame(GOSSIP_MESSAGE, 1, 0, "", &f), 0);
    assert_int_equal(frame(GOSSIP_MESSAGE, 1, 5, "", &f), ERR_BAD);
    assert_int_equal(frame(GOSSIP_ECHO, 0, 5, "x", &f), ERR_BAD);
    assert_int_equal(frame(GOSSIP_ECHO, 1, 5, "", &f), ERR_BAD);
    assert_int_equal(frame(GOSSIP_REFUSAL, 0, 5, "x", &f), ERR_BAD);
    assert_int_equal(frame(GOSSIP_ANSWER, 1, 5, "x", &f), ERR_BAD);
    assert_int_equal(frame(0, 0, 0, "", &f), ERR_BAD);
    assert_int_equal(frame(GOSSIP_REFUSAL + 1, 0, 0, "", &f), ERR_BAD);
    assert_int_equal(gossip_frame_decode(SPAN_LIT("\4\0"), &f), ERR_TORN);
    static char large[GOSSIP_FRAME_FIXED + GOSSIP_MESSAGE_MAX + 1];
    gossip_frame_head(&(struct gossip_frame){ .kind = GOSSIP_MESSAGE }, (uint8_t *)large);
    assert_int_equal(gossip_frame_decode(span_of(large, sizeof large - 1), &f), 0);
    assert_int_equal(gossip_frame_decode(span_of(large, sizeof large), &f), ERR_BAD);

    size_t n;
    assert_int_equal(gossip_record_length(SPAN_LIT("\3\0\0"), 10, &n), ERR_TORN);
    assert_int_equal(gossip_record_length(SPAN_LIT("\3\0\0\0ab"), 10, &n), ERR_TORN);
    assert_int_equal(gossip_record_length(SPAN_LIT("\3\0\0\0abcd"), 10, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(gossip_record_length(SPAN_LIT("\013\0\0\0"), 10, &n), ERR_LIMIT);
    assert_int_equal(gossip_record_length(SPAN_LIT("\xff\xff\xff\xff"), 10, &n), ERR_LIMIT);
}

static void test_seal(void **state)
{
    (void)state;
    const uint8_t key[GOSSIP_SEAL_KEY_BYTES] = { 1 }, iv[GOSSIP_SEAL_IV_BYTES] = { 2 };
    struct gossip_seal out, in;
    struct buf b;
    struct span plain;
    buf_init(&b, 4096);
    assert_int_equal(gossip_seal_init(&out, key, iv, true), 0);
    assert_int_equal(gossip_seal_init(&in, key, iv, false), 0);
    size_t starts[4];
    for (int i = 0; i < 3; i++) {
        starts[i] = b.len;
        assert_int_equal(
            gossip_seal_put(&out, SPAN_LIT("head"), i == 0 ? (struct span){ 0 } : SPAN_LIT("payload"), &b),
            0);
    }
    starts[3] = b.len;
    uint8_t copy[3][64];
    for (int i = 0; i < 3; i++)
        memcpy(copy[i], b.data + starts[i] + 4, starts[i + 1] - starts[i] - 4);
    size_t n = starts[2] - starts[1] - 4;
    assert_int_equal(n, 4 + 7 + GOSSIP_TAG_BYTES);
    assert_int_equal(gossip_seal_open(&in, copy[0], starts[1] - 4, &plain), 0);
    assert_true(span_eq(plain, SPAN_LIT("head")));
    struct gossip_seal moved = in;
    assert_int_equal(gossip_seal_open(&moved, copy[2], n, &plain), ERR_DENIED); /* one is missing */
    assert_int_equal(gossip_seal_open(&in, copy[1], n, &plain), 0);
    assert_true(span_eq(plain, SPAN_LIT("headpayload")));
    memcpy(copy[1], b.data + starts[1] + 4, n);
    moved = in;
    assert_int_equal(gossip_seal_open(&moved, copy[1], n, &plain), ERR_DENIED); /* repeated */
    for (size_t i = 0; i < n; i++) {
        memcpy(copy[2], b.data + starts[2] + 4, n);
        copy[2][i] ^= 0x20;
        moved = in;
        assert_int_equal(gossip_seal_open(&moved, copy[2], n, &plain), ERR_DENIED); /* changed */
    }
    moved = in;
    assert_int_equal(gossip_seal_open(&moved, copy[2], 15, &plain), ERR_DENIED);
    gossip_seal_fini(&out);
    gossip_seal_fini(&in);
    buf_fini(&b);
}

/* The handshake. */

static struct authority ca, other_ca;
static const struct peer members[] = { { .cluster = { 1 }, .epoch = 1, .node = 1 },
                                       { .cluster = { 1 }, .epoch = 1, .node = 2 },
                                       { .cluster = { 1 }, .epoch = 1, .node = 3 } };
static struct gossip_identity *ids[3];

static struct gossip_identity *identity(const struct authority *a, const struct peer *p)
{
    struct leaf l;
    struct gossip_identity *id;
    leaf_make(&l, a, p, 30);
    assert_int_equal(
        gossip_identity_new(p, buf_span(&l.certificate), buf_span(&l.key), buf_span(&a->pem), &id, NULL), 0);
    leaf_fini(&l);
    return id;
}

static int setup(void **state)
{
    (void)state;
    authority_make(&ca);
    authority_make(&other_ca);
    for (int i = 0; i < 3; i++)
        ids[i] = identity(&ca, &members[i]);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        gossip_identity_rele(ids[i]);
    authority_fini(&ca);
    authority_fini(&other_ca);
    return 0;
}

struct pair {
    struct gossip_handshake d, a;
};

static void meet(struct pair *p, struct gossip_identity *d, struct gossip_identity *a)
{
    assert_int_equal(gossip_handshake_init(&p->d, d, GOSSIP_DIALER, a->self.node), 0);
    assert_int_equal(gossip_handshake_init(&p->a, a, GOSSIP_ACCEPTOR, d->self.node), 0);
    assert_int_equal(gossip_handshake_meet(&p->a, buf_span(&p->d.hello), NULL), 0);
    assert_int_equal(gossip_handshake_meet(&p->d, buf_span(&p->a.hello), NULL), 0);
}

static void part(struct pair *p)
{
    gossip_handshake_fini(&p->d);
    gossip_handshake_fini(&p->a);
}

static void test_handshake(void **state)
{
    (void)state;
    struct pair p;
    struct buf s, sealed;
    struct span plain;
    buf_init(&s, 512);
    buf_init(&sealed, 512);
    meet(&p, ids[0], ids[1]);
    assert_int_equal(p.a.peer.node, 1);
    assert_int_equal(p.d.peer.node, 2);
    assert_int_equal(gossip_handshake_sign(&p.a, &s), 0);
    assert_int_equal(gossip_handshake_check(&p.a, buf_span(&s)), ERR_DENIED); /* its own, sent back */
    assert_int_equal(gossip_handshake_check(&p.d, buf_span(&s)), 0);
    assert_int_equal(gossip_handshake_check(&p.d, (struct span){ "", 0 }), ERR_DENIED);
    buf_reset(&s);
    assert_int_equal(gossip_handshake_sign(&p.d, &s), 0);
    assert_int_equal(gossip_handshake_check(&p.a, buf_span(&s)), 0);
    assert_int_equal(gossip_seal_put(&p.d.out, SPAN_LIT("x"), SPAN_LIT("y"), &sealed), 0);
    assert_int_equal(gossip_seal_open(&p.a.in, (uint8_t *)sealed.data + 4, sealed.len - 4, &plain), 0);
    assert_true(span_eq(plain, SPAN_LIT("xy")));
    buf_reset(&sealed);
    assert_int_equal(gossip_seal_put(&p.a.out, SPAN_LIT("x"), SPAN_LIT("z"), &sealed), 0);
    assert_int_equal(gossip_seal_open(&p.d.in, (uint8_t *)sealed.data + 4, sealed.len - 4, &plain), 0);
    part(&p);
    buf_fini(&s);
    buf_fini(&sealed);
}

/* Two connections of the same two nodes have nothing in common: neither signatures nor keys pass from one to
 * another. */
static void test_a_recorded_handshake_is_of_no_use(void **state)
{
    (void)state;
    struct pair first, second;
    struct buf s, sealed;
    struct span plain;
    buf_init(&s, 512);
    buf_init(&sealed, 512);
    meet(&first, ids[0], ids[1]);
    assert_int_equal(gossip_handshake_sign(&first.d, &s), 0);
    assert_int_equal(gossip_seal_put(&first.d.out, SPAN_LIT("x"), SPAN_LIT("y"), &sealed), 0);
    /* the same first hello, sent again; the acceptor's is fresh */
    memset(&second, 0, sizeof second);
    assert_int_equal(gossip_handshake_init(&second.a, ids[1], GOSSIP_ACCEPTOR, 1), 0);
    assert_int_equal(gossip_handshake_meet(&second.a, buf_span(&first.d.hello), NULL), 0);
    assert_int_equal(gossip_seal_open(&second.a.in, (uint8_t *)sealed.data + 4, sealed.len - 4, &plain),
                     ERR_DENIED);
    assert_int_equal(gossip_handshake_check(&second.a, buf_span(&s)), ERR_DENIED);
    gossip_handshake_fini(&second.a);
    part(&first);
    buf_fini(&s);
    buf_fini(&sealed);
}

static int refused(struct gossip_identity *by, struct span hello, const char *words)
{
    struct gossip_handshake a;
    const char *why = "";
    assert_int_equal(gossip_handshake_init(&a, by, GOSSIP_ACCEPTOR, 1), 0);
    int err = gossip_handshake_meet(&a, hello, &why);
    gossip_handshake_fini(&a);
    if (strcmp(why, words) != 0)
        fail_msg("refused with \"%s\", not \"%s\"", why, words);
    return err;
}

static void edit(const struct gossip_handshake *h, struct buf *out, void (*fn)(struct gossip_hello *))
{
    struct gossip_hello hello;
    assert_int_equal(gossip_hello_decode(buf_span(&h->hello), &hello), 0);
    fn(&hello);
    buf_reset(out);
    assert_int_equal(gossip_hello_encode(&hello, out), 0);
}

static void as_node_3(struct gossip_hello *h)
{
    h->node = 3;
}

static void as_node_2(struct gossip_hello *h)
{
    h->node = 2;
}

static void as_acceptor(struct gossip_hello *h)
{
    h->role = GOSSIP_ACCEPTOR;
}

static void without_order(struct gossip_hello *h)
{
    memset(h->key, 0, sizeof h->key);
}

static void cut_certificate(struct gossip_hello *h)
{
    h->certificate.n--;
}

static void test_hellos_that_are_refused(void **state)
{
    (void)state;
    struct gossip_handshake d;
    struct buf b;
    buf_init(&b, GOSSIP_HELLO_MAX);
    assert_int_equal(gossip_handshake_init(&d, ids[0], GOSSIP_DIALER, 2), 0);
    assert_int_equal(refused(ids[2], buf_span(&d.hello), "means another node"),
                     ERR_DENIED); /* relayed to node 3 */
    edit(&d, &b, as_node_3);
    assert_int_equal(refused(ids[1], buf_span(&b), "claims to be a node that its certificate does not name"),
                     ERR_DENIED);
    edit(&d, &b, as_node_2);
    assert_int_equal(refused(ids[1], buf_span(&b), "claims to be this node"), ERR_DENIED);
    edit(&d, &b, as_acceptor);
    assert_int_equal(refused(ids[1], buf_span(&b), "our own role"), ERR_DENIED);
    edit(&d, &b, without_order);
    assert_int_equal(refused(ids[1], buf_span(&b), "no common key"), ERR_DENIED);
    edit(&d, &b, cut_certificate);
    assert_int_equal(refused(ids[1], buf_span(&b), "no certificate"), ERR_BAD);
    for (size_t n = 0; n < d.hello.len; n += 7)
        assert_int_equal(refused(ids[1], span_of(d.hello.data, n), "not a greeting of ours"), ERR_BAD);
    gossip_handshake_fini(&d);
    buf_fini(&b);
}

static void try_certificate(const struct authority *a, const struct peer *p, int days, const char *words)
{
    struct gossip_handshake d;
    struct leaf l;
    leaf_make(&l, a, p, days);
    BIO *bio = BIO_new_mem_buf(l.certificate.data, (int)l.certificate.len);
    X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    uint8_t *der = NULL;
    int n = i2d_X509(x, &der);
    assert_true(n > 0);
    assert_int_equal(gossip_handshake_init(&d, ids[0], GOSSIP_DIALER, 2), 0);
    struct gossip_hello hello;
    struct buf b;
    buf_init(&b, GOSSIP_HELLO_MAX);
    assert_int_equal(gossip_hello_decode(buf_span(&d.hello), &hello), 0);
    hello.certificate = span_of(der, (size_t)n);
    hello.node = p->node;
    assert_int_equal(gossip_hello_encode(&hello, &b), 0);
    assert_int_equal(refused(ids[1], buf_span(&b), words), ERR_DENIED);
    OPENSSL_free(der);
    X509_free(x);
    BIO_free(bio);
    buf_fini(&b);
    leaf_fini(&l);
    gossip_handshake_fini(&d);
}

static void test_certificates_that_are_refused(void **state)
{
    (void)state;
    struct peer other_cluster = members[0], other_epoch = members[0];
    other_cluster.cluster[15] = 9;
    other_epoch.epoch = 2;
    try_certificate(&ca, &other_cluster, 30, "a certificate of another cluster");
    try_certificate(&ca, &other_epoch, 30, "a certificate of another epoch");
    try_certificate(&ca, &members[0], -2, "certificate has expired");
    try_certificate(&other_ca, &members[0], 30, "certificate signature failure");
}

/* Node 1 shows node 3's certificate, which anybody can see, but has not its key. */
static void test_a_certificate_without_its_key(void **state)
{
    (void)state;
    struct pair p;
    struct buf s;
    buf_init(&s, 512);
    meet(&p, ids[2], ids[1]);
    gossip_identity_rele(p.d.id);
    p.d.id = gossip_identity_hold(ids[0]);
    assert_int_equal(gossip_handshake_sign(&p.d, &s), 0);
    assert_int_equal(gossip_handshake_check(&p.a, buf_span(&s)), ERR_DENIED);
    part(&p);
    buf_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_health_after_we_stood_still),
        cmocka_unit_test(test_state_codec),
        cmocka_unit_test(test_frame_codec),
        cmocka_unit_test(test_seal),
        cmocka_unit_test(test_handshake),
        cmocka_unit_test(test_a_recorded_handshake_is_of_no_use),
        cmocka_unit_test(test_hellos_that_are_refused),
        cmocka_unit_test(test_certificates_that_are_refused),
        cmocka_unit_test(test_a_certificate_without_its_key),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
