/* Traces: who gets which session, nothing secret however the bytes are cut, listeners that come and go. */
#include "test/unit/telemetry/fixture.h"

#include "base/err.h"
#include "node/telemetry/trace.h"

#include <pthread.h>
#include <stdatomic.h>

struct listener {
    char text[65536];
    size_t n;
    unsigned lines;
    bool gone, deaf;
};

static bool on_line(void *ctx, const struct trace_line *line)
{
    struct listener *l = ctx;
    assert_false(l->gone);
    assert_null(memchr(line->text.p, '\n', line->text.n));
    l->n += (size_t)snprintf(l->text + l->n, sizeof l->text - l->n, "%d:%c %.*s\n", (int)line->session,
                             "<>*"[line->dir], (int)line -> text.n, line->text.p);
    assert_true(l->n < sizeof l->text);
    l->lines++;
    return !l->deaf;
}

static void on_gone(void *ctx)
{
    ((struct listener *)ctx)->gone = true;
}

static struct trace_subject subject_of(uint64_t session)
{
    return (struct trace_subject){ .session = session, .peer = SPAN_LIT("192.0.2.7:4711") };
}

static void nobody_listens(void **state)
{
    (void)state;
    struct trace *t = trace_new();
    struct trace_mark mark = { 0 };
    struct trace_subject s = subject_of(1);
    assert_false(trace_wanted(t, &s, &mark));
    trace_free(t);
}

static bool matches(struct trace_filter filter, struct trace_subject s)
{
    static struct listener l;
    struct trace *t = trace_new();
    struct trace_mark mark = { 0 };
    memset(&l, 0, sizeof l);
    assert_int_equal(trace_listen(t, &filter, on_line, on_gone, &l), 0);
    bool yes = trace_wanted(t, &s, &mark);
    trace_free(t);
    assert_true(l.gone);
    return yes;
}

static void filters(void **state)
{
    (void)state;
    struct trace_subject s = subject_of(1);
    assert_true(matches((struct trace_filter){ 0 }, s));
    assert_false(matches((struct trace_filter){ .client = true }, s));
    assert_true(matches((struct trace_filter){ .ip = "192.0.2.7" }, s));
    assert_false(matches((struct trace_filter){ .ip = "192.0.2.70" }, s));
    assert_true(matches((struct trace_filter){ .ip = "192.0.2.0/29" }, s));
    assert_false(matches((struct trace_filter){ .ip = "192.0.2.8/29" }, s));
    assert_true(matches((struct trace_filter){ .ip = "0.0.0.0/0" }, s));
    assert_false(matches((struct trace_filter){ .ip = "::/0" }, s));
    assert_false(matches((struct trace_filter){ .account = "ann" }, s));
    s.account = SPAN_LIT("Ann");
    assert_true(matches((struct trace_filter){ .account = "ann" }, s));
    assert_false(matches((struct trace_filter){ .account = "ann", .listener = "relay" }, s));
    s.listener = SPAN_LIT("relay");
    assert_true(matches((struct trace_filter){ .account = "ann", .listener = "relay" }, s));
    s.client = true;
    s.peer = SPAN_LIT("[2001:db8::25]:25");
    s.site = SPAN_LIT("example.net");
    assert_true(
        matches((struct trace_filter){ .client = true, .ip = "2001:db8::/32", .site = "Example.NET" }, s));
    s.site = SPAN_LIT("news/example.net"); /* a pool's */
    assert_true(matches((struct trace_filter){ .client = true, .site = "Example.NET" }, s));
    assert_true(matches((struct trace_filter){ .client = true, .site = "news/example.net" }, s));
    assert_false(matches((struct trace_filter){ .client = true, .site = "other/example.net" }, s));
    assert_false(matches((struct trace_filter){ .client = true, .ip = "2001:db9::/33" }, s));
    s.peer = SPAN_LIT("2001:db8::25");
    assert_true(matches((struct trace_filter){ .client = true, .ip = "2001:db8::25" }, s));

    struct trace *t = trace_new();
    assert_int_equal(trace_listen(t, &(struct trace_filter){ .ip = "192.0.2.0/33" }, on_line, NULL, NULL),
                     ERR_BAD);
    assert_int_equal(trace_listen(t, &(struct trace_filter){ .ip = "host" }, on_line, NULL, NULL), ERR_BAD);
    trace_free(t);
}

static void listeners_come_and_go(void **state)
{
    (void)state;
    static struct listener l[TRACE_LISTENERS_MAX + 1];
    struct trace *t = trace_new();
    struct trace_mark mark = { 0 };
    struct trace_subject s = subject_of(1);
    memset(l, 0, sizeof l);
    for (int i = 0; i < TRACE_LISTENERS_MAX; i++)
        assert_int_equal(trace_listen(t, &(struct trace_filter){ 0 }, on_line, on_gone, &l[i]), 0);
    assert_int_equal(trace_listen(t, &(struct trace_filter){ 0 }, on_line, on_gone, &l[16]), ERR_LIMIT);
    assert_true(trace_wanted(t, &s, &mark));
    trace_note(t, &s, &mark, "connected %d", 5);
    trace_unlisten(t, &l[3]);
    assert_true(l[3].gone);
    /* another takes the place: it does not get this session, whose address it does not want */
    assert_int_equal(trace_listen(t, &(struct trace_filter){ .ip = "10.0.0.0/8" }, on_line, on_gone, &l[16]),
                     0);
    trace_note(t, &s, &mark, "more");
    assert_true(trace_wanted(t, &s, &mark));
    trace_note(t, &s, &mark, "still more");
    assert_int_equal(l[16].lines, 0);
    assert_string_equal(l[3].text, "1:* connected 5\n");
    assert_string_equal(l[0].text, "1:* connected 5\n1:* more\n1:* still more\n");
    l[0].deaf = true; /* nobody reads any more */
    trace_note(t, &s, &mark, "a");
    trace_note(t, &s, &mark, "b");
    assert_int_equal(l[0].lines, 4);
    assert_int_equal(l[1].lines, 5);
    trace_free(t);
}

static void so_many_sessions(void **state)
{
    (void)state;
    static struct listener l;
    struct trace *t = trace_new();
    struct trace_mark mark[3] = { { 0 } };
    memset(&l, 0, sizeof l);
    trace_listen(t, &(struct trace_filter){ .sessions_max = 2 }, on_line, on_gone, &l);
    for (uint64_t round = 0; round < 3; round++)
        for (uint64_t i = 0; i < 3; i++) {
            struct trace_subject s = subject_of(i + 1);
            assert_int_equal(trace_wanted(t, &s, &mark[i]), i < 2);
        }
    trace_free(t);
}

static const char dialogue[] = "EHLO x\r\n"
                               "\r\n"
                               "AU\r\n"
                               "MAIL FROM:<a@b>\r\n"
                               "  auth PLAIN c2VjcmV0\r\n"
                               "NOOP\r\n";

/* The client's bytes, cut at every place: the secret is never shown, the rest always. */
static void auth_is_hidden_however_it_is_cut(void **state)
{
    (void)state;
    static struct listener l;
    for (size_t cut = 0; cut < sizeof dialogue - 1; cut++)
        for (size_t second = cut; second < sizeof dialogue - 1; second += 3) {
            struct trace *t = trace_new();
            struct trace_mark mark = { 0 };
            struct trace_subject s = subject_of(1);
            memset(&l, 0, offsetof(struct listener, deaf));
            trace_listen(t, &(struct trace_filter){ 0 }, on_line, on_gone, &l);
            assert_true(trace_wanted(t, &s, &mark));
            trace_bytes(t, &s, &mark, TRACE_FROM_PEER, span_of(dialogue, cut), false);
            trace_bytes(t, &s, &mark, TRACE_FROM_PEER, span_of(dialogue + cut, second - cut), false);
            trace_bytes(t, &s, &mark, TRACE_FROM_PEER,
                        span_of(dialogue + second, sizeof dialogue - 1 - second), false);
            char *auth = strstr(l.text, "auth PLAIN");
            size_t whole = strlen(l.text);
            for (size_t i = 0; i + 2 <= 8; i++) { /* no two letters of it, after the verb */
                char pair[3] = { "c2VjcmV0"[i], "c2VjcmV0"[i + 1], '\0' };
                assert_null(strstr(auth != NULL ? auth + 10 : l.text, pair));
            }
            assert_true(whole > 0);
            trace_free(t);
        }
}

static void a_dialogue_as_it_is_shown(void **state)
{
    (void)state;
    static struct listener l;
    struct trace *t = trace_new();
    struct trace_mark mark = { 0 };
    struct trace_subject s = subject_of(9);
    memset(&l, 0, sizeof l);
    trace_listen(t, &(struct trace_filter){ 0 }, on_line, on_gone, &l);
    assert_true(trace_wanted(t, &s, &mark));
#define FROM(text, secret) trace_bytes(t, &s, &mark, TRACE_FROM_PEER, SPAN_LIT(text), secret)
#define TO(text) trace_bytes(t, &s, &mark, TRACE_TO_PEER, SPAN_LIT(text), false)
    TO("220 hi\r\n");
    FROM("EHLO x\r\n", false);
    TO("250-x\r\n250 AUTH PLAIN LOGIN\r\n");
    FROM("AUTH LOGIN\r\n", false);
    TO("334 VXNlcm5hbWU6\r\n");
    FROM("YW5u\r\n", true);
    FROM("cGFz", true);
    FROM("cw==\r\n", true);
    TO("235 2.7.0 ok\r\n");
    FROM("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDA", false);
    FROM("TA\r\n", false);
    FROM("AUTH PLAIN AGFubgBwYXNz\r\nsecret too\r\n", false); /* the rest may be its dialogue */
    FROM("QUIT\r\n", false);
    trace_note(t, &s, &mark, "closed");
    assert_string_equal(l.text, "9:> 220 hi\n"
                                "9:< EHLO x\n"
                                "9:> 250-x\n"
                                "9:> 250 AUTH PLAIN LOGIN\n"
                                "9:< AUTH LOGIN\n"
                                "9:> 334 VXNlcm5hbWU6\n"
                                "9:< (4 octets hidden)\n"
                                "9:< (4 octets hidden)\n"
                                "9:< (4 octets hidden)\n"
                                "9:> 235 2.7.0 ok\n"
                                "9:< MAIL FROM:<a@b>\n"
                                "9:< RCPT TO:<c@d>\n"
                                "9:< DA\n"
                                "9:< TA\n"
                                "9:< AUTH PLAIN (13 octets hidden)\n"
                                "9:< (12 octets hidden)\n"
                                "9:< QUIT\n"
                                "9:* closed\n");
    trace_free(t);
}

struct racing {
    struct trace *t;
    atomic_bool stop;
};

static bool on_line_racing(void *ctx, const struct trace_line *line)
{
    (void)line;
    assert_false(atomic_load((atomic_bool *)ctx)); /* not after it has been ended */
    return true;
}

static void *session(void *arg)
{
    struct racing *r = arg;
    struct trace_mark mark = { 0 };
    struct trace_subject s = subject_of(1);
    while (!atomic_load(&r->stop))
        if (trace_wanted(r->t, &s, &mark))
            trace_bytes(r->t, &s, &mark, TRACE_FROM_PEER, SPAN_LIT("NOOP\r\nNOOP\r\n"), false);
    return NULL;
}

static void no_line_after_the_end(void **state)
{
    (void)state;
    struct racing r = { .t = trace_new() };
    pthread_t t[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, session, &r), 0);
    for (int i = 0; i < 3000; i++) {
        atomic_bool ended = false;
        assert_int_equal(trace_listen(r.t, &(struct trace_filter){ 0 }, on_line_racing, NULL, &ended), 0);
        trace_unlisten(r.t, &ended);
        atomic_store(&ended, true);
    }
    atomic_store(&r.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    trace_free(r.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(filters),
        cmocka_unit_test(listeners_come_and_go),
        cmocka_unit_test(so_many_sessions),
        cmocka_unit_test(auth_is_hidden_however_it_is_cut),
        cmocka_unit_test(a_dialogue_as_it_is_shown),
        cmocka_unit_test(no_line_after_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
