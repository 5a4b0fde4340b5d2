/* Connections without TLS, over loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "loop.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct net net;
static struct end c, s;

static void both_gone(void)
{
    net_until(&net, end_is_closed, &c);
    net_until(&net, end_is_closed, &s);
    end_fini(&c);
    end_fini(&s);
    net_close(&net);
}

static void begin(void)
{
    net_open(&net);
    net_pair(&net, &c, &s);
}

static void test_talk(void **state)
{
    (void)state;
    begin();
    end_write(&s, "220 hello\r\n");
    end_expect(&c, "220 hello\r\n");
    end_write(&c, "EHLO ");
    end_write(&c, "me\r\n");
    assert_int_equal(stream_queued(c.s), 9);
    end_expect(&s, "EHLO me\r\n");
    assert_int_equal(s.calls, 1); /* two writes of a turn are one on the wire */
    assert_int_equal(stream_queued(c.s), 0);
    struct ip_addr a;
    uint16_t server_port;
    uint16_t client_port;
    uint16_t port;
    stream_local(s.s, &a, &server_port);
    assert_true(ip_addr_eq(&a, &net.addr));
    assert_int_equal(server_port, net.port);
    stream_peer(s.s, &a, &client_port);
    stream_local(c.s, &a, &port);
    assert_int_equal(port, client_port);
    stream_peer(c.s, &a, &port);
    assert_int_equal(port, net.port);
    assert_int_equal(stream_bytes_in(c.s), 11);
    assert_int_equal(stream_bytes_out(c.s), 9);
    assert_null(stream_tls_info(c.s));
    end_write(&s, "221 bye\r\n");
    stream_shutdown_close(s.s, 5000);
    assert_int_equal(stream_write(s.s, "x", 1), ERR_CLOSED);
    both_gone();
    assert_int_equal(s.err, 0);
    assert_int_equal(c.err, UV_EOF);
}

/* What is not consumed is offered again with what comes next, in one piece. */
static void test_leftover(void **state)
{
    (void)state;
    begin();
    s.take = 0;
    end_write(&c, "MAIL FR");
    net_run_ms(&net, 20);
    assert_int_equal(s.last_n, 7);
    assert_int_equal(stream_unread(s.s), 7);
    end_write(&c, "OM:<>");
    net_run_ms(&net, 20);
    assert_int_equal(s.last_n, 12);
    s.take = 3;
    end_write(&c, "\r\n");
    net_run_ms(&net, 20);
    assert_int_equal(s.last_n, 14);
    assert_int_equal(stream_unread(s.s), 11);
    s.take = SIZE_MAX;
    end_write(&c, "X");
    end_expect(&s, "MAIL FROM:<>\r\nX");
    stream_close(c.s, 0);
    both_gone();
    assert_int_equal(s.err, UV_EOF);
}

static void pause_here(struct end *e)
{
    stream_pause(e->s);
}

/* While paused nothing is offered, not even the end; afterwards all of it, in order. */
static void test_pause(void **state)
{
    (void)state;
    begin();
    s.in_data = pause_here;
    s.take = 2;
    end_write(&c, "abcdef");
    net_run_ms(&net, 20);
    assert_int_equal(s.got.len, 2);
    assert_true(stream_paused(s.s));
    end_write(&c, "ghi");
    net_run_ms(&net, 20);
    end_write(&c, "jkl");
    stream_shutdown_close(c.s, 5000);
    net_run_ms(&net, 20);
    assert_int_equal(s.got.len, 2);
    assert_int_equal(s.calls, 1);
    assert_int_equal(s.closed, 0);
    stream_resume(s.s); /* calls nobody by itself */
    assert_int_equal(s.calls, 1);
    net_run_ms(&net, 20);
    assert_int_equal(s.calls, 2);
    assert_int_equal(s.got.len, 4);
    s.in_data = NULL;
    s.take = SIZE_MAX;
    stream_resume(s.s);
    both_gone();
    assert_int_equal(s.err, UV_EOF);
}

static void resume_at_end(struct end *e)
{
    if (e->calls == 1) {
        stream_pause(e->s);
        stream_resume(e->s);
    }
}

/* Paused and resumed in the same call: the rest comes in the same turn, before an end that came with it. */
static void test_pause_resume_eof(void **state)
{
    (void)state;
    begin();
    s.in_data = resume_at_end;
    s.take = 1;
    end_write(&c, "ab");
    stream_shutdown_close(c.s, 5000);
    net_until(&net, end_is_closed, &s);
    assert_int_equal(s.calls, 2);
    assert_memory_equal(s.got.data, "ab", 2);
    both_gone();
}

static void test_input_limit(void **state)
{
    (void)state;
    begin();
    s.take = 0;
    char *block = calloc(1, 64 << 10);
    assert_non_null(block);
    for (int i = 0; i < 10 && c.closed == 0; i++) {
        stream_write(c.s, block, 64 << 10);
        net_run_ms(&net, 5);
    }
    free(block);
    both_gone();
    assert_int_equal(s.err, ERR_LIMIT);
}

/* A flood meets a paused session: one buffer is read, the rest waits in the kernel. */
static void test_paused_flood(void **state)
{
    (void)state;
    begin();
    stream_pause(s.s);
    char *block = calloc(1, 64 << 10);
    assert_non_null(block);
    size_t sent = 0;
    while (stream_queued(c.s) < 512 << 10) {
        assert_true(stream_write(c.s, block, 64 << 10) >= 0);
        sent += 64 << 10;
        net_run_ms(&net, 1);
    }
    assert_int_equal(s.calls, 0);
    assert_true(stream_unread(s.s) <= STREAM_READ_BYTES);
    stream_resume(s.s);
    net_until(&net, end_has, &(struct end_wants){ &s, sent });
    assert_int_equal(s.got.len, sent);
    free(block);
    stream_close(c.s, 0);
    both_gone();
}

static uint32_t pattern(size_t i)
{
    return (uint32_t)(i * 2654435761u) >> 24;
}

/* Writes a long pattern as fast as the other side takes it. */
static size_t pattern_sent;
static void pattern_write(struct end *e)
{
    char block[10000];
    for (;;) {
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = (char)pattern(pattern_sent + i);
        int r = stream_write(e->s, block, sizeof block);
        assert_true(r >= 0);
        pattern_sent += sizeof block;
        if (r == STREAM_FULL || pattern_sent >= 8000000)
            break;
    }
}

static void pattern_more(struct end *e)
{
    if (pattern_sent < 8000000)
        pattern_write(e);
}

static void test_back_pressure(void **state)
{
    (void)state;
    begin();
    pattern_sent = 0;
    c.in_writable = pattern_more;
    stream_pause(s.s);
    pattern_write(&c);
    net_run_ms(&net, 50);
    assert_true(pattern_sent < 8000000); /* the kernel is full, and so are we */
    assert_true(stream_queued(c.s) >= STREAM_OUT_LOW);
    assert_true(stream_queued(c.s) < STREAM_OUT_HIGH + 20000);
    stream_resume(s.s);
    net_until(&net, end_has, &(struct end_wants){ &s, 8000000 });
    assert_true(c.writable > 0);
    for (size_t i = 0; i < s.got.len; i++) {
        if ((unsigned char)s.got.data[i] != pattern(i))
            fail_msg("byte %zu is wrong", i);
    }
    assert_int_equal(stream_bytes_out(c.s), s.got.len);
    stream_close(s.s, 0);
    both_gone();
}

static bool may_send_now;

static bool may_send(void *ctx, uint64_t mark)
{
    return *(bool *)ctx && mark == 7;
}

/* (!) What was not allowed any more when its turn came is never sent, although it was written before. */
static void test_gate(void **state)
{
    (void)state;
    begin();
    may_send_now = true;
    assert_int_equal(stream_set_gate(c.s, may_send, &may_send_now, 7), 0);
    end_write(&c, "EHLO me\r\n");
    end_expect(&s, "EHLO me\r\n");
    end_write(&c, "MAIL FROM:<>\r\n");
    may_send_now = false;
    both_gone();
    assert_int_equal(s.got.len, 0);
    assert_int_equal(c.err, ERR_DENIED);
    assert_int_equal(s.err, UV_ECONNRESET);
}

/* A gated connection tries by itself when the kernel has room again; once it is shut, what is queued stays
 * here, and nothing of it follows a goodbye either. */
static void test_gate_full(void **state)
{
    (void)state;
    for (int shut = 0; shut < 3; shut++) {
        begin();
        may_send_now = true;
        assert_int_equal(stream_set_gate(c.s, may_send, &may_send_now, 7), 0);
        pattern_sent = 0;
        c.in_writable = pattern_more;
        stream_pause(s.s);
        pattern_write(&c);
        net_run_ms(&net, 50);
        assert_true(pattern_sent < 8000000);
        assert_true(stream_queued(c.s) >= STREAM_OUT_LOW);
        if (shut == 2) {
            stream_set_ops(c.s, &end_ops, &c);
            stream_shutdown_close(c.s, 5000);
        }
        may_send_now = shut == 0;
        stream_resume(s.s);
        if (shut == 0) {
            net_until(&net, end_has, &(struct end_wants){ &s, 8000000 });
            for (size_t i = 0; i < s.got.len; i++)
                assert_true((unsigned char)s.got.data[i] == pattern(i));
            stream_close(s.s, 0);
        }
        both_gone();
        assert_true(shut == 0 || s.got.len + STREAM_OUT_LOW <= pattern_sent);
    }
}

static void test_output_limit(void **state)
{
    (void)state;
    begin();
    stream_pause(s.s);
    size_t n = 1 << 20;
    char *block = calloc(1, 3 * n);
    assert_non_null(block);
    assert_int_equal(stream_write(c.s, block, 3 * n), ERR_LIMIT);
    size_t sent = 0;
    int r;
    for (int i = 0; i < 100 && (r = stream_write(c.s, block, n)) != ERR_LIMIT; i++) {
        assert_true(r == 0 || r == STREAM_FULL);
        sent += n;
        net_run_ms(&net, 1);
    }
    assert_int_equal(r, ERR_LIMIT);
    assert_true(stream_queued(c.s) <= STREAM_OUT_MAX);
    stream_resume(s.s); /* what was taken still arrives */
    net_until(&net, end_has, &(struct end_wants){ &s, sent });
    free(block);
    stream_close(c.s, 0);
    both_gone();
}

static void test_refused(void **state)
{
    (void)state;
    net_open(&net);
    int fd = -1;
    assert_int_equal(stream_listen_fd(&net.addr, 0, false, 1, &fd), 0);
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct stream_connect to = { .addr = net.addr };
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(ip_from_sockaddr((struct sockaddr *)&sa, &to.addr, &to.port), 0);
    close(fd);
    end_init(&c, &net);
    assert_int_equal(stream_connect(&net.streams, &to, &end_ops, &c, &c.s), 0);
    end_write(&c, "too early, but taken");
    net_until(&net, end_is_closed, &c);
    assert_int_equal(c.err, UV_ECONNREFUSED);
    assert_int_equal(c.opened, 0);
    end_fini(&c);
    net_close(&net);
}

/* A listener whose queue is full leaves a connection waiting. */
static void test_connect_timeout(void **state)
{
    (void)state;
    net_open(&net);
    int fd = -1;
    assert_int_equal(stream_listen_fd(&net.addr, 0, false, 0, &fd), 0);
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct stream_connect to = { .timeout_ms = 100 };
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(ip_from_sockaddr((struct sockaddr *)&sa, &to.addr, &to.port), 0);
    enum { N = 8 };
    struct end ends[N];
    int opened = 0;
    for (int i = 0; i < N; i++) {
        end_init(&ends[i], &net);
        assert_int_equal(stream_connect(&net.streams, &to, &end_ops, &ends[i], &ends[i].s), 0);
    }
    net_run_ms(&net, 300);
    for (int i = 0; i < N; i++) {
        opened += ends[i].opened;
        if (ends[i].opened == 0) {
            assert_int_equal(ends[i].closed, 1);
            assert_int_equal(ends[i].err, ERR_TIMEOUT);
        } else {
            stream_close(ends[i].s, 0);
        }
        net_until(&net, end_is_closed, &ends[i]);
        end_fini(&ends[i]);
    }
    assert_true(opened < N);
    close(fd);
    net_close(&net);
}

static void test_source(void **state)
{
    (void)state;
    net_open(&net);
    end_init(&c, &net);
    end_init(&s, &net);
    net.accept = &s;
    struct stream_connect to = { .addr = net.addr, .port = net.port };
    assert_int_equal(ip_addr_parse(SPAN_LIT("127.0.0.2"), &to.source), 0);
    assert_int_equal(stream_connect(&net.streams, &to, &end_ops, &c, &c.s), 0);
    net_until(&net, end_is_open, &c);
    end_write(&c, "x");
    end_expect(&s, "x");
    struct ip_addr a;
    stream_peer(s.s, &a, NULL);
    assert_true(ip_addr_eq(&a, &to.source));
    stream_local(c.s, &a, NULL);
    assert_true(ip_addr_eq(&a, &to.source));
    struct stream *none = NULL;
    assert_int_equal(ip_addr_parse(SPAN_LIT("192.0.2.99"), &to.source), 0);
    assert_int_equal(stream_connect(&net.streams, &to, &end_ops, &c, &none), UV_EADDRNOTAVAIL);
    assert_int_equal(ip_addr_parse(SPAN_LIT("::1"), &to.source), 0);
    assert_int_equal(stream_connect(&net.streams, &to, &end_ops, &c, &none), UV_EAFNOSUPPORT);
    assert_null(none);
    stream_close(c.s, 0);
    both_gone();
}

/* The peer says why and goes, while we still write: its words arrive before the end. */
static void test_last_words(void **state)
{
    (void)state;
    net_open(&net);
    int fd = net_raw(&net, &s);
    static const char words[] = "421 4.3.2 going down\r\n";
    stream_pause(s.s);
    assert_int_equal(send(fd, words, sizeof words - 1, 0), (int)sizeof words - 1);
    net_run_ms(&net, 20);
    char byte = 'x';
    assert_int_equal(stream_write(s.s, &byte, 1), 0); /* unread by the peer: its close is a reset */
    net_run_ms(&net, 20);
    close(fd);
    for (int i = 0; i < 5; i++) {
        stream_write(s.s, &byte, 1);
        net_run_ms(&net, 10);
    }
    assert_int_equal(s.closed, 0);
    stream_resume(s.s);
    net_until(&net, end_is_closed, &s);
    assert_int_equal(s.got.len, sizeof words - 1);
    assert_memory_equal(s.got.data, words, sizeof words - 1);
    assert_true(s.err < 0);
    end_fini(&s);
    net_close(&net);
}

/* Our last reply must reach a peer that is still sending: no reset before it closed. */
static void test_linger(void **state)
{
    (void)state;
    net_open(&net);
    int fd = net_raw(&net, &s);
    static char junk[100000];
    assert_true(send(fd, junk, sizeof junk, MSG_DONTWAIT) > 0);
    end_write(&s, "554 5.5.2 bye\r\n");
    stream_shutdown_close(s.s, 10000);
    net_run_ms(&net, 50);
    assert_true(send(fd, junk, 1000, MSG_DONTWAIT | MSG_NOSIGNAL) > 0);
    net_run_ms(&net, 50);
    assert_int_equal(s.closed, 0);
    assert_int_equal(s.calls, 0);
    char got[64];
    ssize_t n = recv(fd, got, sizeof got, 0);
    assert_int_equal(n, 15);
    assert_memory_equal(got, "554 5.5.2 bye\r\n", 15);
    assert_int_equal(recv(fd, got, sizeof got, 0), 0);
    close(fd);
    net_until(&net, end_is_closed, &s);
    assert_int_equal(s.err, 0);
    end_fini(&s);
    net_close(&net);
}

static void test_linger_deadline(void **state)
{
    (void)state;
    net_open(&net);
    int fd = net_raw(&net, &s);
    int64_t start = timers_now_ms(&net.timers);
    stream_shutdown_close(s.s, 80);
    net_until(&net, end_is_closed, &s);
    assert_true(timers_now_ms(&net.timers) - start >= 80);
    assert_int_equal(s.err, 0);
    close(fd);
    end_fini(&s);
    net_close(&net);
}

static void test_reset(void **state)
{
    (void)state;
    net_open(&net);
    int fd = net_raw(&net, &s);
    struct linger l = { .l_onoff = 1 };
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l), 0);
    close(fd);
    net_until(&net, end_is_closed, &s);
    assert_int_equal(s.err, UV_ECONNRESET);
    end_fini(&s);
    net_close(&net);
}

static void close_here(struct end *e)
{
    stream_close(e->s, ERR_DENIED);
    stream_close(e->s, 0);
    stream_pause(e->s);
    stream_resume(e->s);
    stream_shutdown_close(e->s, 10);
    assert_int_equal(stream_write(e->s, "x", 1), ERR_CLOSED);
    assert_int_equal(e->closed, 0);
}

static void test_close_inside(void **state)
{
    (void)state;
    /* in on_data */
    begin();
    s.in_data = close_here;
    s.take = 1;
    end_write(&c, "abc");
    both_gone();
    assert_int_equal(s.err, ERR_DENIED);
    assert_int_equal(s.calls, 1);
    /* in on_open, with output waiting */
    net_open(&net);
    end_init(&c, &net);
    end_init(&s, &net);
    net.accept = &s;
    c.in_open = close_here;
    end_connect(&c);
    end_write(&c, "lost");
    net_until(&net, end_is_closed, &c);
    assert_int_equal(c.err, ERR_DENIED);
    net_run_ms(&net, 20);
    assert_true(s.s == NULL); /* accepted and ended */
    end_fini(&c);
    end_fini(&s);
    net_close(&net);
    /* in on_writable */
    begin();
    c.in_writable = close_here;
    stream_pause(s.s);
    pattern_sent = 0;
    pattern_write(&c);
    stream_resume(s.s);
    both_gone();
    assert_int_equal(c.err, ERR_DENIED);
    assert_int_equal(c.writable, 1);
    /* before it is connected, and when it is paused */
    net_open(&net);
    end_init(&c, &net);
    end_connect(&c);
    stream_close(c.s, 7);
    net_until(&net, end_is_closed, &c);
    assert_int_equal(c.err, 7);
    assert_int_equal(c.opened, 0);
    end_init(&c, &net);
    end_connect(&c);
    stream_shutdown_close(c.s, 1000);
    net_until(&net, end_is_closed, &c);
    end_fini(&c);
    net_close(&net);
}

static void detach_here(struct end *e)
{
    stream_detach(e->s);
    e->s = NULL;
}

static void test_detach(void **state)
{
    (void)state;
    begin();
    s.in_data = detach_here;
    end_write(&c, "abc");
    net_until(&net, end_is_closed, &c);
    net_run_ms(&net, 20);
    assert_int_equal(s.closed, 0);
    assert_int_equal(s.calls, 1);
    assert_int_equal(net.streams.open, 0);
    end_fini(&c);
    end_fini(&s);
    net_close(&net);
}

static void test_set_ops(void **state)
{
    (void)state;
    begin();
    struct end other;
    end_init(&other, &net);
    other.s = s.s;
    stream_set_ops(s.s, &end_ops, &other);
    end_write(&c, "for another");
    end_expect(&other, "for another");
    assert_int_equal(s.calls, 0);
    stream_close(c.s, 0);
    net_until(&net, end_is_closed, &other);
    assert_int_equal(s.closed, 0);
    end_fini(&other);
    net_until(&net, end_is_closed, &c);
    end_fini(&c);
    end_fini(&s);
    net_close(&net);
}

/* The loop's part may be closed before the streams are gone. */
static void test_loop_waits(void **state)
{
    (void)state;
    begin();
    stream_close(c.s, 0);
    stream_close(s.s, 0);
    net_close(&net);
    assert_int_equal(c.closed, 1);
    assert_int_equal(s.closed, 1);
    end_fini(&c);
    end_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_talk),          cmocka_unit_test(test_leftover),
        cmocka_unit_test(test_pause),         cmocka_unit_test(test_pause_resume_eof),
        cmocka_unit_test(test_input_limit),   cmocka_unit_test(test_paused_flood),
        cmocka_unit_test(test_back_pressure), cmocka_unit_test(test_output_limit),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_connect_timeout),
        cmocka_unit_test(test_source),        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_linger),        cmocka_unit_test(test_linger_deadline),
        cmocka_unit_test(test_reset),         cmocka_unit_test(test_close_inside),
        cmocka_unit_test(test_detach),        cmocka_unit_test(test_set_ops),
        cmocka_unit_test(test_loop_waits),    cmocka_unit_test(test_gate),
        cmocka_unit_test(test_gate_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
