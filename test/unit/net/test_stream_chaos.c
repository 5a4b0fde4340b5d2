/* Pairs of connections to which random things happen in random places, inside callbacks and outside: writes,
 * pauses, closing, detaching, lingering, resets, with TLS and without. What must hold whatever happens: bytes
 * arrive in order and unchanged, each end is told of its end exactly once (or never, when it detached),
 * nothing is called after it, and nothing is left. AddressSanitizer watches the rest. A failing seed is
 * printed; NET_SEED runs only that one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/ensure.h"
#include "base/err.h"
#include "certs.h"
#include "node/net/stream.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS 8
#define STEPS 300

struct world;

struct side {
    struct world *w;
    struct side *other;
    struct stream *s;
    bool accepted, gone, detached;
    bool tls_asked, tls_told;
    uint32_t id;
    size_t sent, received;
    int closed;
};

struct world {
    uv_loop_t uv;
    struct timers timers;
    struct stream_loop streams;
    struct stream_listener listener;
    uint16_t port;
    uint64_t rng;
    bool tls;
    struct side sides[2 * PAIRS]; /* clients at even places */
    int npairs;
};

static struct tls_server *server;
static struct tls_client *client;

static uint32_t rnd(struct world *w, uint32_t below)
{
    w->rng = w->rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->rng >> 33) % below;
}

static unsigned char byte_at(uint32_t id, size_t i)
{
    return (unsigned char)((i * 2654435761u + id * 40503u) >> 11);
}

static void act(struct side *e);

static size_t on_data(void *ctx, const char *p, size_t n)
{
    struct side *e = ctx;
    ensure(!e->gone && !e->detached);
    ensure(n > 0);
    size_t take = rnd(e->w, 4) == 0 ? rnd(e->w, (uint32_t)n + 1) : n;
    for (size_t i = 0; i < take; i++)
        ensure((unsigned char)p[i] == byte_at(e->other->id, e->received + i));
    e->received += take;
    ensure(e->received <= e->other->sent);
    if (rnd(e->w, 5) == 0)
        act(e);
    return take;
}

static void on_writable(void *ctx)
{
    struct side *e = ctx;
    ensure(!e->gone && !e->detached);
    act(e);
}

static void on_open(void *ctx)
{
    struct side *e = ctx;
    ensure(!e->gone && !e->detached);
    if (!e->w->tls && rnd(e->w, 10) == 0)
        act(e);
}

static void on_tls(void *ctx, bool ok, const char *why)
{
    struct side *e = ctx;
    ensure(!e->gone && !e->detached && e->tls_asked && !e->tls_told);
    ensure(ok || why[0] != '\0');
    e->tls_told = true;
    if (rnd(e->w, 10) == 0)
        act(e);
}

static void on_closed(void *ctx, int err)
{
    (void)err;
    struct side *e = ctx;
    ensure(!e->gone && !e->detached);
    if (rnd(e->w, 3) == 0) { /* everything may still be called here */
        stream_write(e->s, "x", 1);
        stream_pause(e->s);
        stream_resume(e->s);
        stream_close(e->s, 1);
        stream_tls_info(e->s);
    }
    e->gone = true;
    e->closed++;
    e->s = NULL;
}

static const struct stream_ops ops = { .on_data = on_data,
                                       .on_writable = on_writable,
                                       .on_open = on_open,
                                       .on_tls = on_tls,
                                       .on_closed = on_closed };

static void write_some(struct side *e)
{
    static char block[200000];
    struct world *w = e->w;
    size_t n = rnd(w, 6) == 0 ? rnd(w, sizeof block) : rnd(w, 2000) + 1;
    for (size_t i = 0; i < n; i++)
        block[i] = (char)byte_at(e->id, e->sent + i);
    if (stream_write(e->s, block, n) >= 0)
        e->sent += n;
}

static void reset(struct side *e)
{
    uv_os_fd_t fd;
    struct linger l = { .l_onoff = 1 };
    /* the first member of a stream is its libuv handle; only this test looks inside */
    if (uv_fileno((uv_handle_t *)(void *)e->s, &fd) == 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    stream_close(e->s, 0);
}

static void act(struct side *e)
{
    if (e->s == NULL)
        return;
    struct world *w = e->w;
    switch (rnd(w, 40)) {
    case 0:
        stream_close(e->s, 0);
        break;
    case 1:
        stream_shutdown_close(e->s, rnd(w, 30));
        break;
    case 2:
        e->detached = true;
        stream_detach(e->s);
        e->s = NULL;
        break;
    case 3:
        reset(e);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        stream_pause(e->s);
        break;
    case 8:
        stream_pause(e->s);
        stream_resume(e->s);
        break;
    case 9:
    case 10:
    case 11:
    case 12:
    case 13:
    case 14:
        stream_resume(e->s);
        break;
    default:
        write_some(e);
    }
}

static void start_tls(struct side *e)
{
    if (!e->w->tls)
        return;
    static const struct tls_peer peer = { .sni = "one.test", .session_key = { "chaos", 5 } };
    int err =
        e->accepted ? stream_tls_server(e->s, server, 200) : stream_tls_client(e->s, client, &peer, 200);
    ensure(err == 0 || err == ERR_CLOSED); /* not open yet */
    e->tls_asked = err == 0;
}

/* The client says its number first, in the clear, so that the accepting side finds its pair: a byte, taken
 * before anything else. */
static size_t first_byte(void *ctx, const char *p, size_t n)
{
    struct side *probe = ctx;
    struct world *w = probe->w;
    unsigned at = (unsigned char)p[0];
    ensure(at < 2u * PAIRS && at % 2 == 0);
    struct side *e = &w->sides[at + 1];
    e->s = probe->s;
    e->accepted = true;
    free(probe);
    stream_set_ops(e->s, &ops, e);
    if (w->tls)
        start_tls(e);
    else if (n > 1)
        return 1 + on_data(e, p + 1, n - 1);
    return 1;
}

static void first_closed(void *ctx, int err)
{
    (void)err;
    free(ctx);
}

static const struct stream_ops first_ops = { .on_data = first_byte, .on_closed = first_closed };

static void on_accept(struct stream_listener *l)
{
    struct side *probe = calloc(1, sizeof *probe);
    ensure(probe != NULL);
    probe->w = l->ctx;
    if (stream_accept(l->sl, (uv_stream_t *)&l->tcp, &first_ops, probe, &probe->s) != 0)
        free(probe);
}

static void connect_one(struct world *w)
{
    if (w->npairs == PAIRS)
        return;
    struct side *e = &w->sides[2 * w->npairs];
    struct side *o = e + 1;
    *e = (struct side){ .w = w, .other = o, .id = 2u * (uint32_t)w->npairs };
    *o = (struct side){ .w = w, .other = e, .id = e->id + 1 };
    struct stream_connect to = { .port = w->port, .timeout_ms = 1000 };
    ensure(ip_addr_parse(SPAN_LIT("127.0.0.1"), &to.addr) == 0);
    ensure(stream_connect(&w->streams, &to, &ops, e, &e->s) == 0);
    unsigned char at = (unsigned char)(2 * w->npairs);
    ensure(stream_write(e->s, &at, 1) == 0);
    w->npairs++;
}

static void start_clients_tls(struct world *w)
{
    for (int i = 0; i < w->npairs; i++) {
        struct side *e = &w->sides[2 * i];
        /* only once the other side took the byte in the clear */
        if (e->s != NULL && !e->tls_asked && e->other->accepted)
            start_tls(e);
    }
}

static void run_seed(uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    ensure(w != NULL);
    w->rng = seed * 2 + 1;
    for (int i = 0; i < 4; i++)
        rnd(w, 2);
    w->tls = seed % 2 == 1;
    ensure(uv_loop_init(&w->uv) == 0 && timers_init(&w->timers, &w->uv) == 0);
    ensure(stream_loop_init(&w->streams, &w->uv, &w->timers) == 0);
    struct ip_addr addr;
    ensure(ip_addr_parse(SPAN_LIT("127.0.0.1"), &addr) == 0);
    int fd = -1;
    ensure(stream_listen_fd(&addr, 0, false, 64, &fd) == 0);
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    ensure(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
    ensure(ip_from_sockaddr((struct sockaddr *)&sa, &addr, &w->port) == 0);
    ensure(stream_listener_open(&w->listener, &w->streams, fd, on_accept, w) == 0);
    for (int step = 0; step < STEPS; step++) {
        if (rnd(w, 10) == 0)
            connect_one(w);
        if (w->tls)
            start_clients_tls(w);
        if (w->npairs > 0) {
            struct side *e = &w->sides[rnd(w, 2u * (uint32_t)w->npairs)];
            /* with TLS to come, nothing else is said in the clear */
            if (e->s != NULL && (!w->tls || e->tls_asked))
                act(e);
        }
        uv_run(&w->uv, UV_RUN_NOWAIT);
    }
    for (int i = 0; i < 2 * w->npairs; i++) {
        if (w->sides[i].s != NULL)
            stream_close(w->sides[i].s, 0);
    }
    stream_listener_close(&w->listener, NULL);
    stream_loop_close(&w->streams, NULL, NULL);
    uv_run(&w->uv, UV_RUN_DEFAULT);
    for (int i = 0; i < 2 * w->npairs; i++) {
        struct side *e = &w->sides[i];
        bool lived = i % 2 == 0 || e->accepted;
        ensure(e->closed == (lived && !e->detached ? 1 : 0));
    }
    ensure(w->streams.open == 0);
    timers_close(&w->timers, NULL, NULL);
    uv_run(&w->uv, UV_RUN_DEFAULT);
    ensure(uv_loop_close(&w->uv) == 0);
    free(w);
}

static uint64_t now;
static void tell_seed(int sig)
{
    char text[40];
    int n = snprintf(text, sizeof text, "seed %llu\n", (unsigned long long)now);
    if (write(STDERR_FILENO, text, (size_t)n) < 0)
        _exit(3);
    signal(sig, SIG_DFL);
    raise(sig);
}

static void test_chaos(void **state)
{
    (void)state;
    signal(SIGABRT, tell_seed);
    const char *only = getenv("NET_SEED");
    const char *many = getenv("NET_SEEDS");
    if (only != NULL) {
        run_seed(strtoull(only, NULL, 10));
        return;
    }
    uint64_t n = many == NULL ? 300 : strtoull(many, NULL, 10);
    for (uint64_t seed = 1; seed <= n; seed++) {
        now = seed;
        run_seed(seed);
    }
}

static int make(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    certs_make("one", CERTS_EC, "one.test", 30);
    struct buf why;
    buf_init(&why, 256);
    struct tls_tickets *tickets = NULL;
    assert_int_equal(tls_tickets_new(&tickets), 0);
    struct tls_cert_files files = { certs_path("one.pem"), certs_path("one.key") };
    struct tls_server_config config = { .certs = &files, .ncerts = 1, .tickets = tickets };
    assert_int_equal(tls_server_new(&config, &server, &why), 0);
    tls_tickets_rele(tickets);
    assert_int_equal(tls_client_new(&(struct tls_client_config){ .ca_file = certs_ca(), .sessions_max = 10 },
                                    &client, &why),
                     0);
    buf_fini(&why);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    tls_server_rele(server);
    tls_client_rele(client);
    certs_clean();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_chaos) };
    return cmocka_run_group_tests(tests, make, clean);
}
