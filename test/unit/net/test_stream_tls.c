/* TLS on connections, over loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "certs.h"
#include "loop.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct net net;
static struct end c, s;
static struct tls_server *server;
static struct tls_client *client;
static const struct tls_peer peer = { .sni = "one.test", .session_key = { "one", 3 } };

static void begin(void)
{
    net_open(&net);
    net_pair(&net, &c, &s);
}

static void both_gone(void)
{
    net_until(&net, end_is_closed, &c);
    net_until(&net, end_is_closed, &s);
    end_fini(&c);
    end_fini(&s);
    net_close(&net);
}

static void shake(void)
{
    assert_int_equal(stream_tls_server(s.s, server, 5000), 0);
    assert_int_equal(stream_tls_client(c.s, client, &peer, 5000), 0);
    net_until(&net, end_has_tls, &c);
    net_until(&net, end_has_tls, &s);
    assert_true(c.tls_ok);
    assert_true(s.tls_ok);
}

static void test_talk(void **state)
{
    (void)state;
    begin();
    assert_int_equal(stream_tls_server(s.s, server, 5000), 0);
    assert_int_equal(stream_tls_client(c.s, client, &peer, 5000), 0);
    assert_int_equal(stream_tls_client(c.s, client, &peer, 5000), ERR_EXISTS);
    assert_null(stream_tls_info(c.s));
    end_write(&c, "written before the handshake is over");
    end_expect(&s, "written before the handshake is over");
    assert_true(stream_tls_info(c.s)->verified);
    assert_string_equal(stream_tls_info(c.s)->version, "TLSv1.3");
    assert_string_equal(stream_tls_info(s.s)->sni, "one.test");
    end_write(&s, "answer");
    end_expect(&c, "answer");
    end_write(&c, "QUIT\r\n");
    end_expect(&s, "QUIT\r\n");
    end_write(&s, "221 bye\r\n");
    stream_shutdown_close(s.s, 5000);
    end_expect(&c, "221 bye\r\n");
    both_gone();
    assert_int_equal(c.err, UV_EOF);
    assert_int_equal(s.err, 0);
    /* the next connection resumes */
    begin();
    shake();
    assert_true(stream_tls_info(c.s)->resumed);
    stream_close(c.s, 0);
    both_gone();
}

static void start_server_tls(struct end *e)
{
    if (e->calls > 1)
        return;
    end_write(e, "220 go ahead\r\n");
    assert_int_equal(stream_tls_server(e->s, server, 5000), 0);
}

static void start_client_tls(struct end *e)
{
    if (e->calls == 1)
        assert_int_equal(stream_tls_client(e->s, client, &peer, 5000), 0);
}

/* CVE-2011-0411, against the server: what follows STARTTLS in the same segment is forgotten, whether it was
 * consumed or not; the reply before the handshake leaves in the clear. */
static void test_starttls_same_segment(void **state)
{
    (void)state;
    for (int consumed = 0; consumed < 2; consumed++) {
        begin();
        s.in_data = start_server_tls;
        s.take = consumed ? SIZE_MAX : 10;
        c.in_data = start_client_tls;
        end_write(&c, "STARTTLS\r\nNOOP\r\n");
        net_until(&net, end_has_tls, &c);
        net_until(&net, end_has_tls, &s);
        assert_true(s.tls_ok && c.tls_ok);
        assert_int_equal(c.got.len, 14);
        assert_memory_equal(c.got.data, "220 go ahead\r\n", 14);
        buf_reset(&s.got);
        s.take = SIZE_MAX;
        end_write(&c, "EHLO x\r\n");
        end_expect(&s, "EHLO x\r\n");
        assert_int_equal(s.calls, 2);
        stream_close(c.s, 0);
        both_gone();
    }
}

/* ... kept from before, as an unfinished line or while the session was paused. */
static void test_starttls_kept(void **state)
{
    (void)state;
    for (int paused = 0; paused < 2; paused++) {
        begin();
        s.take = 0;
        if (paused)
            stream_pause(s.s);
        end_write(&c, "NOOP\r\n");
        net_run_ms(&net, 30);
        assert_int_equal(stream_unread(s.s), 6);
        s.take = SIZE_MAX;
        shake();
        assert_false(stream_paused(s.s));
        end_write(&c, "EHLO x\r\n");
        end_expect(&s, "EHLO x\r\n");
        stream_close(c.s, 0);
        both_gone();
    }
}

/* ... and in a later segment: no handshake comes from that. */
static void test_starttls_split(void **state)
{
    (void)state;
    net_open(&net);
    int fd = net_raw(&net, &s);
    s.in_data = start_server_tls;
    assert_int_equal(send(fd, "STARTTLS\r\n", 10, 0), 10);
    char reply[64];
    net_run_ms(&net, 30);
    assert_int_equal(recv(fd, reply, sizeof reply, MSG_DONTWAIT), 14);
    assert_int_equal(send(fd, "NOOP\r\nNOOP\r\nNOOP\r\n", 18, 0), 18);
    net_until(&net, end_has_tls, &s);
    assert_false(s.tls_ok);
    assert_string_equal(s.why, "peer does not speak TLS");
    net_until(&net, end_is_closed, &s);
    assert_int_equal(s.err, ERR_FAILED);
    assert_int_equal(s.calls, 1);
    close(fd);
    end_fini(&s);
    net_close(&net);
}

/* Response injection, against the client: words in the clear after the 220 do not survive into TLS. */
static void test_response_injection(void **state)
{
    (void)state;
    begin();
    c.in_data = start_client_tls;
    end_write(&s, "220 go\r\n250-AUTH PLAIN\r\n250 ok\r\n");
    assert_int_equal(stream_tls_server(s.s, server, 5000), 0);
    net_until(&net, end_has_tls, &c);
    assert_true(c.tls_ok);
    buf_reset(&c.got);
    end_write(&s, "250 inside\r\n");
    end_expect(&c, "250 inside\r\n");
    stream_close(c.s, 0);
    both_gone();
}

static void test_verify_fails(void **state)
{
    (void)state;
    begin();
    struct tls_peer wrong = { .sni = "two.test", .verify = TLS_VERIFY_NAME };
    assert_int_equal(stream_tls_server(s.s, server, 5000), 0);
    assert_int_equal(stream_tls_client(c.s, client, &wrong, 5000), 0);
    end_write(&c, "secret");
    both_gone();
    assert_int_equal(c.err, ERR_FAILED);
    assert_false(c.tls_ok);
    assert_non_null(strstr(c.why, "not trusted: "));
    assert_non_null(strstr(c.why, "ostname"));
    /* TLS 1.3: the server learns it from the alert, which did leave */
    assert_false(s.tls_ok);
    assert_non_null(strstr(s.why, "peer's alert"));
    assert_int_equal(s.got.len, 0);
    /* nobody to verify: refused before anything is sent */
    begin();
    assert_int_equal(stream_tls_client(c.s, client, &(struct tls_peer){ .verify = TLS_VERIFY_NAME }, 5000),
                     ERR_FAILED);
    end_write(&c, "still in the clear");
    end_expect(&s, "still in the clear");
    stream_close(c.s, 0);
    both_gone();
}

static void test_no_tls_there(void **state)
{
    (void)state;
    begin();
    assert_int_equal(stream_tls_client(c.s, client, &peer, 5000), 0);
    net_run_ms(&net, 20);
    end_write(&s, "500 what?\r\n");
    both_gone();
    assert_false(c.tls_ok);
    assert_int_equal(c.tls_called, 1);
    assert_string_equal(c.why, "peer does not speak TLS");
    assert_int_equal(c.err, ERR_FAILED);
}

static void test_handshake_timeout(void **state)
{
    (void)state;
    begin();
    assert_int_equal(stream_tls_server(s.s, server, 60), 0);
    net_until(&net, end_is_closed, &s);
    assert_int_equal(s.err, ERR_TIMEOUT);
    assert_int_equal(s.tls_called, 1);
    assert_string_equal(s.why, "timed out");
    both_gone();
}

static void test_ends_in_handshake(void **state)
{
    (void)state;
    begin();
    assert_int_equal(stream_tls_server(s.s, server, 5000), 0);
    stream_close(c.s, 0);
    both_gone();
    assert_int_equal(s.err, UV_EOF);
    assert_int_equal(s.tls_called, 1);
    assert_false(s.tls_ok);
    /* the end had come before TLS was asked for */
    begin();
    stream_pause(s.s);
    stream_close(c.s, 0);
    net_run_ms(&net, 20);
    assert_int_equal(stream_tls_server(s.s, server, 5000), 0);
    both_gone();
    assert_int_equal(s.err, UV_EOF);
    assert_int_equal(s.tls_called, 1);
    /* we end it ourselves: no word of the handshake */
    begin();
    assert_int_equal(stream_tls_server(s.s, server, 5000), 0);
    assert_int_equal(stream_tls_client(c.s, client, &peer, 5000), 0);
    stream_shutdown_close(s.s, 1000);
    both_gone();
    assert_int_equal(s.err, 0);
    assert_int_equal(s.tls_called, 0);
    assert_false(c.tls_ok);
}

static void close_here(struct end *e)
{
    stream_close(e->s, ERR_DENIED);
}

static void detach_here(struct end *e)
{
    stream_detach(e->s);
    e->s = NULL;
}

static void test_close_inside(void **state)
{
    (void)state;
    begin();
    s.in_tls = close_here;
    assert_int_equal(stream_tls_server(s.s, server, 5000), 0);
    assert_int_equal(stream_tls_client(c.s, client, &peer, 5000), 0);
    end_write(&c, "early");
    both_gone();
    assert_int_equal(s.err, ERR_DENIED);
    assert_int_equal(s.calls, 0);
    begin();
    shake();
    s.in_data = close_here;
    s.take = 2;
    end_write(&c, "some bytes");
    both_gone();
    assert_int_equal(s.calls, 1);
    begin();
    s.in_tls = detach_here;
    assert_int_equal(stream_tls_server(s.s, server, 5000), 0);
    assert_int_equal(stream_tls_client(c.s, client, &peer, 5000), 0);
    net_until(&net, end_is_closed, &c);
    net_run_ms(&net, 10);
    assert_int_equal(s.closed, 0);
    end_fini(&c);
    end_fini(&s);
    net_close(&net);
}

static uint32_t pattern(size_t i)
{
    return (uint32_t)(i * 2654435761u) >> 24;
}

static size_t pattern_sent;
static void pattern_more(struct end *e)
{
    char block[30000];
    while (pattern_sent < 6000000) {
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = (char)pattern(pattern_sent + i);
        int r = stream_write(e->s, block, sizeof block);
        assert_true(r >= 0);
        pattern_sent += sizeof block;
        if (r == STREAM_FULL)
            break;
    }
}

static void pause_each_third(struct end *e)
{
    if (e->calls % 3 == 0)
        stream_pause(e->s);
    if (e->calls % 6 == 0)
        stream_resume(e->s);
}

/* Much data against a session that pauses again and again and consumes unevenly. */
static void test_back_pressure(void **state)
{
    (void)state;
    begin();
    shake();
    pattern_sent = 0;
    c.in_writable = pattern_more;
    s.in_data = pause_each_third;
    s.take = 13000;
    pattern_more(&c);
    for (int i = 0; i < 100000 && s.got.len < 6000000; i++) {
        uv_run(&net.uv, UV_RUN_NOWAIT);
        assert_true(stream_queued(c.s) < STREAM_OUT_HIGH + 40000);
        assert_true(stream_unread(s.s) < STREAM_IN_MAX);
        if (stream_paused(s.s))
            stream_resume(s.s);
        if (s.calls % 7 == 0) /* an unconsumed rest alone is not offered again until more comes: ask for it */
            s.take = 20000;
    }
    s.in_data = NULL;
    s.take = SIZE_MAX;
    stream_pause(s.s);
    stream_resume(s.s);
    net_until(&net, end_has, &(struct end_wants){ &s, 6000000 });
    assert_int_equal(s.got.len, 6000000);
    for (size_t i = 0; i < s.got.len; i++) {
        if ((unsigned char)s.got.data[i] != pattern(i))
            fail_msg("byte %zu is wrong", i);
    }
    stream_shutdown_close(c.s, 1000);
    both_gone();
    assert_int_equal(s.err, UV_EOF);
}

static void test_paused_end(void **state)
{
    (void)state;
    begin();
    shake();
    stream_pause(s.s);
    end_write(&c, "last words");
    stream_shutdown_close(c.s, 5000);
    net_run_ms(&net, 30);
    assert_int_equal(s.calls, 0);
    assert_int_equal(s.closed, 0);
    stream_resume(s.s);
    end_expect(&s, "last words");
    both_gone();
    assert_int_equal(s.err, UV_EOF);
}

/* Garbage inside TLS: the connection ends, and the other side is told by an alert. */
static void test_garbage_inside(void **state)
{
    (void)state;
    net_open(&net);
    int fd = net_raw(&net, &s);
    assert_int_equal(stream_tls_server(s.s, server, 5000), 0);
    SSL *ssl = tls_client_ssl(client, &peer);
    assert_non_null(ssl);
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    char bytes[20000];
    for (int i = 0; i < 50 && s.tls_called == 0; i++) {
        SSL_do_handshake(ssl);
        int n = BIO_read(out, bytes, sizeof bytes);
        if (n > 0)
            assert_int_equal(send(fd, bytes, (size_t)n, 0), n);
        net_run_ms(&net, 5);
        ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got > 0)
            BIO_write(in, bytes, (int)got);
    }
    assert_true(s.tls_ok);
    assert_int_equal(send(fd, "\x17\x03\x03\x00\x20 this is not a record of ours, but long", 43, 0), 43);
    net_until(&net, end_is_closed, &s);
    assert_int_equal(s.err, ERR_FAILED);
    assert_int_equal(s.calls, 0);
    SSL_free(ssl);
    close(fd);
    end_fini(&s);
    net_close(&net);
}

static int make(void **state)
{
    (void)state;
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_talk),
        cmocka_unit_test(test_starttls_same_segment),
        cmocka_unit_test(test_starttls_kept),
        cmocka_unit_test(test_starttls_split),
        cmocka_unit_test(test_response_injection),
        cmocka_unit_test(test_verify_fails),
        cmocka_unit_test(test_no_tls_there),
        cmocka_unit_test(test_handshake_timeout),
        cmocka_unit_test(test_ends_in_handshake),
        cmocka_unit_test(test_close_inside),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_paused_end),
        cmocka_unit_test(test_garbage_inside),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
