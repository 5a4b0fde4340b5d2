/* Nodes of a cluster in one loop. */
#include "fixture.h"

#include "base/ensure.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void authority_init(struct authority *a, uint8_t cluster, uint32_t epoch)
{
    *a = (struct authority){ .cluster = { cluster }, .epoch = epoch, .secret = { cluster, 1 } };
    buf_init(&a->ca, 8192);
    buf_init(&a->ca_key, 8192);
    ensure(ca_make(a->cluster, epoch, a->secret, &a->ca, &a->ca_key) == 0);
}

void authority_fini(struct authority *a)
{
    buf_fini(&a->ca);
    buf_fini(&a->ca_key);
}

void paper_init(struct paper *p, const struct authority *a, uint64_t node)
{
    struct buf request;
    *p = (struct paper){ .peer = { .epoch = a->epoch, .node = node } };
    memcpy(p->peer.cluster, a->cluster, 16);
    buf_init(&p->certificate, 8192);
    buf_init(&p->key, 8192);
    buf_init(&request, 8192);
    ensure(ca_make_request("n", &p->key, &request) == 0);
    ensure(ca_issue(buf_span(&a->ca), buf_span(&a->ca_key), a->secret, buf_span(&request), &p->peer, "n", 0,
                    &p->certificate) == 0);
    buf_fini(&request);
}

void paper_fini(struct paper *p)
{
    buf_fini(&p->certificate);
    buf_fini(&p->key);
}

void paper_expire(struct paper *p, const struct authority *a)
{
    char phrase[2 * CA_SECRET_BYTES + 1], *out = NULL;
    for (size_t i = 0; i < CA_SECRET_BYTES; i++)
        snprintf(phrase + 2 * i, 3, "%02x", a->secret[i]);
    BIO *key_bio = BIO_new_mem_buf(a->ca_key.data, (int)a->ca_key.len);
    BIO *cert_bio = BIO_new_mem_buf(p->certificate.data, (int)p->certificate.len);
    BIO *signed_bio = BIO_new(BIO_s_mem());
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, phrase);
    X509 *x = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
    ensure(key != NULL && x != NULL);
    X509_gmtime_adj(X509_getm_notBefore(x), -7200);
    X509_gmtime_adj(X509_getm_notAfter(x), -3600);
    ensure(X509_sign(x, key, EVP_sha256()) > 0);
    ensure(PEM_write_bio_X509(signed_bio, x) == 1);
    long n = BIO_get_mem_data(signed_bio, &out);
    buf_reset(&p->certificate);
    ensure(buf_put(&p->certificate, out, (size_t)n) == 0);
    BIO_free(key_bio);
    BIO_free(cert_bio);
    BIO_free(signed_bio);
    EVP_PKEY_free(key);
    X509_free(x);
}

/* ---- the loop ------------------------------------------------------------------------------------------ */

static void on_beat(uv_timer_t *t)
{
    (void)t;
}

void net_init(struct net *net)
{
    signal(SIGPIPE, SIG_IGN);
    ensure(uv_loop_init(&net->loop) == 0);
    ensure(uv_timer_init(&net->loop, &net->beat) == 0);
    uv_timer_start(&net->beat, on_beat, 5, 5); /* a condition may come true outside the loop */
}

void net_fini(struct net *net)
{
    uv_close((uv_handle_t *)&net->beat, NULL);
    uv_run(&net->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&net->loop), 0);
}

void net_until(struct net *net, net_until_fn *fn, void *arg)
{
    uint64_t start = uv_hrtime();
    while (!fn(arg)) {
        uv_run(&net->loop, UV_RUN_ONCE);
        if (uv_hrtime() - start > 60000000000ull)
            fail_msg("waited for 60 s");
    }
}

/* ---- what libraft does with a stream ------------------------------------------------------------------- */

uint64_t sum_of(const void *p, size_t n, uint64_t at)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (uint64_t)((const uint8_t *)p)[i] * (at + i + 1);
    return sum;
}

static void on_closed(uv_handle_t *h)
{
    raft_free(h);
}

void end_close(struct end *e)
{
    if (e->stream != NULL)
        uv_close((uv_handle_t *)e->stream, on_closed);
    e->stream = NULL;
}

static char read_room[65536];

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *b)
{
    (void)h, (void)suggested;
    *b = uv_buf_init(read_room, sizeof read_room);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct end *e = s->data;
    if (n > 0) {
        e->sum += sum_of(b->base, (size_t)n, e->got);
        e->got += (uint64_t)n;
    } else if (n < 0) {
        e->ended = true;
        uv_read_stop(s);
    }
}

void end_read(struct end *e)
{
    assert_int_equal(uv_read_start(e->stream, on_alloc, on_read), 0);
}

static void on_written(uv_write_t *w, int status)
{
    struct end *e = w->data;
    if (status == 0)
        e->written++;
    else
        e->cancelled++;
    free(w);
}

void end_write(struct end *e, const void *p, size_t n)
{
    uv_write_t *w = calloc(1, sizeof *w);
    uv_buf_t b = uv_buf_init((char *)(uintptr_t)p, (unsigned)n);
    w->data = e;
    ensure(uv_write(w, e->stream, &b, 1, on_written) == 0);
}

/* ---- nodes --------------------------------------------------------------------------------------------- */

static bool admit(void *ctx, const struct peer *peer, const uint8_t sha256[32])
{
    struct node *n = ctx;
    if (n->admit_by_sha256)
        return memcmp(n->admit_sha256, sha256, 32) == 0;
    return n->admit_only == 0 || peer->node == n->admit_only;
}

static void on_accept(struct raft_uv_transport *raft, raft_id id, const char *address, uv_stream_t *stream)
{
    struct node *n = raft->data;
    struct end *e = &n->accepted[n->naccepted++ % 8];
    ensure(e->stream == NULL);
    *e = (struct end){ .stream = stream, .id = id };
    snprintf(e->address, sizeof e->address, "%s", address);
    stream->data = e;
    if (!n->paused)
        end_read(e);
}

static void on_join(void *ctx, struct transport_join *j, struct span request, const char *from)
{
    struct node *n = ctx;
    n->on_join(n, j, request, from);
}

void node_open(struct node *n, struct net *net, const struct authority *a, const struct paper *p,
               int handshake_ms)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct transport_config config = { .loop = &net->loop,
                                       .self = p->peer,
                                       .certificate = buf_span(&p->certificate),
                                       .key = buf_span(&p->key),
                                       .ca = buf_span(&a->ca),
                                       .handshake_ms = handshake_ms == 0 ? 10000 : handshake_ms,
                                       .admit = admit,
                                       .on_join = n->on_join == NULL ? NULL : on_join,
                                       .ctx = n };
    memcpy(&config.listen, &to, sizeof to);
    n->net = net;
    assert_int_equal(transport_new(&config, &n->t), 0);
    snprintf(n->address, sizeof n->address, "127.0.0.1:%u", transport_port(n->t));
    n->raft = transport_raft(n->t);
}

void node_init(struct node *n, struct net *net, const struct authority *a, const struct paper *p,
               int handshake_ms)
{
    node_open(n, net, a, p, handshake_ms);
    n->raft->data = n;
    assert_int_equal(n->raft->init(n->raft, p->peer.node, n->address), 0);
    assert_int_equal(n->raft->listen(n->raft, on_accept), 0);
}

static void on_raft_closed(struct raft_uv_transport *raft)
{
    ((struct node *)raft->data)->raft_closed++;
}

static void on_transport_closed(void *ctx)
{
    ((struct node *)ctx)->closed++;
}

static bool raft_is_closed(void *arg)
{
    return ((struct node *)arg)->raft_closed > 0;
}

static bool is_closed(void *arg)
{
    return ((struct node *)arg)->closed > 0;
}

void node_fini(struct node *n)
{
    if (n->raft_closed == 0) {
        n->raft->close(n->raft, on_raft_closed);
        net_until(n->net, raft_is_closed, n);
    }
    for (int i = 0; i < 8; i++)
        end_close(&n->accepted[i]);
    transport_close(n->t, on_transport_closed, n);
    net_until(n->net, is_closed, n);
    assert_int_equal(n->raft_closed, 1);
    assert_int_equal(n->closed, 1);
    transport_free(n->t);
}

struct transport_stats node_stats(const struct node *n)
{
    struct transport_stats s;
    transport_stats(n->t, &s);
    return s;
}

static void on_connect(struct raft_uv_connect *req, uv_stream_t *stream, int status)
{
    struct dial *d = req->data;
    d->calls++;
    d->status = status;
    d->end.stream = stream;
    ensure((stream == NULL) == (status != 0));
    if (stream == NULL)
        return;
    stream->data = &d->end;
    end_read(&d->end);
}

void dial_start(struct dial *d, struct node *from, uint64_t id, const char *address)
{
    *d = (struct dial){ .req = { .data = d } };
    assert_int_equal(from->raft->connect(from->raft, &d->req, id, address, on_connect), 0);
    assert_int_equal(d->calls, 0);
}

bool dial_done(void *dial)
{
    return ((struct dial *)dial)->calls > 0;
}

void dial_wait(struct dial *d, struct node *from, uint64_t id, const char *address)
{
    dial_start(d, from, id, address);
    net_until(from->net, dial_done, d);
}
