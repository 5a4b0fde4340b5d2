/* Dovecot: the protocol line by line, and the link against a fake server that answers as it is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/auth/auth.h"
#include "node/auth/dovecot.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HELLO                                                                                                \
    "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t7\nCUID\t1\nCOOKIE\tff\nDONE\n"

/* ---- protocol ------------------------------------------------------------------------------------------ */

static char events[4096];

static void on_event(void *ctx, enum dovecot_event event, uint32_t id, struct span user)
{
    (void)ctx;
    static const char *const names[] = { "ready", "ok", "fail", "temp" };
    size_t n = strlen(events);
    snprintf(events + n, sizeof events - n, "%s %u %.*s;", names[event], id, (int)user.n, user.p);
}

static const struct {
    const char *in, *events, *why; /* why NULL: it is right */
} lines[] = {
    { HELLO, "ready 0 ;", NULL },
    { HELLO "OK\t1\tuser=anna\n", "ready 0 ;ok 1 anna;", NULL },
    { HELLO "OK\t4294967295\tresp=x\tuser=a\001tb\tx\n", "ready 0 ;ok 4294967295 a\tb;", NULL },
    { HELLO "OK\t3\n", "ready 0 ;ok 3 ;", NULL },
    { HELLO "FAIL\t3\tuser=anna\n", "ready 0 ;fail 3 anna;", NULL },
    { HELLO "FAIL\t3\tuser=anna\ttemp\n", "ready 0 ;temp 3 anna;", NULL },
    { HELLO "FAIL\t3\tcode=temp_fail\treason=x\n", "ready 0 ;temp 3 ;", NULL },
    { HELLO "FAIL\t3\ttempting\n", "ready 0 ;fail 3 ;", NULL },
    { HELLO "FAIL\t3\tuser_disabled\n", "ready 0 ;fail 3 ;", NULL },
    { HELLO "CONT\t3\tabc\n", "ready 0 ;temp 3 ;", NULL },
    { HELLO "NEW\tthing\n\n\t\t\nOK\t9\tuser=a\n", "ready 0 ;ok 9 a;", NULL },
    { "VERSION\t2\t0\n", "", "a version of the protocol other than 1" },
    { "VERSION\n", "", "a version of the protocol other than 1" },
    { "MECH\tPLAIN\nDONE\n", "", "no version was given" },
    { "VERSION\t1\t2\nMECH\tCRAM-MD5\nDONE\n", "", "the server does not offer PLAIN (auth_mechanisms)" },
    { "VERSION\t1\t2\nOK\t1\n", "", "an answer before the handshake was done" },
    { HELLO "OK\n", "ready 0 ;", "an answer without a proper id" },
    { HELLO "OK\t0\n", "ready 0 ;", "an answer without a proper id" },
    { HELLO "OK\t-1\n", "ready 0 ;", "an answer without a proper id" },
    { HELLO "OK\t4294967296\n", "ready 0 ;", "an answer without a proper id" },
    { HELLO "DONE\n", "ready 0 ;", "a second handshake" },
};

static void feed(const char *in, size_t step, const char *want, const char *why)
{
    struct dovecot d;
    struct buf out;
    dovecot_init(&d);
    buf_init(&out, 1000);
    dovecot_start(&d, 42, &out);
    assert_true(span_eq(buf_span(&out), SPAN_LIT("VERSION\t1\t1\nCPID\t42\n")));
    events[0] = '\0';
    int err = 0;
    for (size_t at = 0, n = strlen(in); at < n && err == 0; at += step)
        err = dovecot_input(&d, in + at, n - at < step ? n - at : step, on_event, NULL);
    assert_string_equal(events, want);
    assert_int_equal(err, why == NULL ? 0 : ERR_BAD);
    if (why != NULL)
        assert_string_equal(d.why, why);
    buf_fini(&out);
    dovecot_fini(&d);
}

static void test_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        for (size_t step = 1; step < 200; step += step < 5 ? 1 : 97)
            feed(lines[i].in, step, lines[i].events, lines[i].why);
    char *big = calloc(1, 20000);
    memset(big, 'x', 19000);
    feed(big, 1000, "", "a line of more than 8192 bytes");
    memset(big, '\t', 8000); /* more fields than are looked at */
    strcpy(big + 8000, "\n");
    feed(big, 8001, "", NULL);
    free(big);
}

static void test_request(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 300);
    assert_int_equal(dovecot_request(7, SPAN_LIT("smtp"), SPAN_LIT("anna"), SPAN_LIT("secret"),
                                     SPAN_LIT("192.0.2.1"), &out),
                     0);
    assert_true(
        span_eq(buf_span(&out),
                SPAN_LIT("AUTH\t7\tPLAIN\tservice=smtp\tsecured\trip=192.0.2.1\tresp=AGFubmEAc2VjcmV0\n")));
    char big[3000];
    memset(big, 'a', sizeof big);
    size_t was = out.len;
    assert_int_equal(
        dovecot_request(8, SPAN_LIT("smtp"), SPAN_LIT("a"), span_of(big, 250), SPAN_LIT(""), &out),
        ERR_LIMIT);
    assert_int_equal(
        dovecot_request(8, SPAN_LIT("smtp"), SPAN_LIT("a"), span_of(big, 3000), SPAN_LIT(""), &out),
        ERR_LIMIT);
    assert_int_equal(dovecot_request(8, SPAN_LIT("s\tx"), SPAN_LIT("a"), SPAN_LIT("b"), SPAN_LIT(""), &out),
                     ERR_LIMIT);
    assert_int_equal(out.len, was); /* nothing of them is left behind */
    assert_int_equal(dovecot_request(8, SPAN_LIT("smtp"), SPAN_LIT("a"), SPAN_LIT("b"), SPAN_LIT(""), &out),
                     0);
    buf_fini(&out);
}

/* ---- a fake server --------------------------------------------------------------------------------------
 */

static char socket_path[100], dir[64];

struct fake {
    pthread_t thread;
    int listen;
    atomic_int stop, connections, requests, drop_next; /* drop_next: close instead of answering */
};

/* user "ok..." with "secret" is right, "temp" temporary, "mute" is never answered; "alias" is really
 * boss@b.org. */
static void answer_line(struct fake *f, int fd, char *line)
{
    char *resp = strstr(line, "resp="), out[700], raw[600] = "";
    unsigned id = (unsigned)strtoul(line + 5, NULL, 10);
    if (resp == NULL)
        abort();
    atomic_fetch_add(&f->requests, 1);
    if (strlen(resp + 5) > 700 ||
        EVP_DecodeBlock((unsigned char *)raw, (unsigned char *)resp + 5, (int)strlen(resp + 5)) < 0)
        abort();
    const char *user = raw + 1, *password = user + strlen(user) + 1;
    if (strcmp(user, "mute") == 0)
        return;
    if (strcmp(user, "temp") == 0)
        snprintf(out, sizeof out, "FAIL\t%u\tuser=temp\ttemp\n", id);
    else if (strcmp(user, "alias") == 0)
        snprintf(out, sizeof out, "OK\t%u\tuser=Boss@b.org\n", id);
    else if (strncmp(user, "ok", 2) == 0 && strcmp(password, "secret") == 0)
        snprintf(out, sizeof out, "OK\t%u\tuser=%s\n", id, user);
    else
        snprintf(out, sizeof out, "FAIL\t%u\tuser=%s\n", id, user);
    if (send(fd, out, strlen(out), MSG_NOSIGNAL) < 0)
        return;
}

static void serve(struct fake *f, int fd)
{
    char data[65536];
    size_t len = 0;
    atomic_fetch_add(&f->connections, 1);
    if (send(fd, HELLO, strlen(HELLO), MSG_NOSIGNAL) < 0)
        return;
    while (!atomic_load(&f->stop)) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, 20) <= 0)
            continue;
        ssize_t n = read(fd, data + len, sizeof data - 1 - len);
        if (n <= 0)
            return;
        len += (size_t)n;
        data[len] = '\0';
        char *line = data, *end;
        for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            if (strncmp(line, "AUTH\t", 5) != 0)
                continue;
            if (atomic_load(&f->drop_next) > 0) {
                atomic_fetch_sub(&f->drop_next, 1);
                return;
            }
            answer_line(f, fd, line);
        }
        len -= (size_t)(line - data);
        memmove(data, line, len);
    }
}

static void *fake_run(void *arg)
{
    struct fake *f = arg;
    while (!atomic_load(&f->stop)) {
        struct pollfd p = { .fd = f->listen, .events = POLLIN };
        if (poll(&p, 1, 20) <= 0)
            continue;
        int fd = accept(f->listen, NULL, NULL);
        if (fd < 0)
            continue;
        serve(f, fd);
        close(fd);
    }
    return NULL;
}

static void fake_start(struct fake *f)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    memset(f, 0, sizeof *f);
    strcpy(sa.sun_path, socket_path);
    unlink(socket_path);
    f->listen = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(f->listen, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(f->listen, 8), 0);
    assert_int_equal(pthread_create(&f->thread, NULL, fake_run, f), 0);
}

static void fake_stop(struct fake *f)
{
    atomic_store(&f->stop, 1);
    pthread_join(f->thread, NULL);
    close(f->listen);
    unlink(socket_path);
}

/* ---- checks through it -----------------------------------------------------------------------------------
 */

static uv_loop_t loop;
static struct inbox inbox;
static struct auth_request *got[3000];
static unsigned ngot;

static void on_answer(void *ctx, struct inbox_msg *msg)
{
    (void)ctx;
    got[ngot++] = LIST_ITEM(msg, struct auth_request, msg);
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/turnpike-auth-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    snprintf(socket_path, sizeof socket_path, "%s/auth", dir);
    uv_loop_init(&loop);
    return inbox_init(&inbox, &loop, 4096, on_answer, NULL);
}

static int teardown(void **state)
{
    (void)state;
    inbox_close(&inbox, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    inbox_fini(&inbox);
    rmdir(dir);
    return uv_loop_close(&loop);
}

static const struct auth_rule rules[] = {
    { .match = "*@news.example.org", .tenant = "letters", .class = ACCOUNT_BULK },
    { .match = "boss@b.org", .senders = "*", .class = ACCOUNT_PERSON },
};

static struct auth *start(uint32_t queue, int64_t timeout_ms)
{
    struct auth_config c = {
        .dovecot_socket = socket_path,
        .dovecot_service = "smtp",
        .dovecot_timeout_ms = timeout_ms,
        .tenant = "domain",
        .rules = rules,
        .nrules = 2,
        .queue = queue,
        .cache_entries = 100,
        .cache_ttl_ms = 60000,
        .guard = { .account_failures = 0, .client_failures = 0, .window_ms = 1000, .block_ms = 1000 }
    };
    struct auth *a;
    assert_int_equal(auth_new(&c, &a), 0);
    return a;
}

static struct auth_request *request(const char *user, const char *password)
{
    return auth_request_new(&inbox, NULL, (struct span){ NULL, 0 }, span_str(user), span_str(password), NULL);
}

static struct auth_request *check(struct auth *a, const char *user, const char *password)
{
    struct auth_request *r = request(user, password);
    ngot = 0;
    if (auth_check(a, r) == AUTH_PENDING)
        while (ngot < 1)
            uv_run(&loop, UV_RUN_ONCE);
    return r;
}

static enum auth_result result_of(struct auth *a, const char *user, const char *password)
{
    struct auth_request *r = check(a, user, password);
    enum auth_result result = r->result;
    auth_request_free(r);
    return result;
}

static void test_link(void **state)
{
    (void)state;
    struct fake f;
    fake_start(&f);
    struct auth *a = start(100, 30000);
    struct auth_request *r = check(a, "OK@News.example.org", "secret");
    assert_int_equal(r->result, AUTH_OK);
    assert_string_equal(r->identity->account, "ok@news.example.org");
    assert_string_equal(r->identity->tenant, "letters");
    assert_int_equal(r->identity->class, ACCOUNT_BULK);
    assert_true(auth_identity_current(a, r->identity));
    auth_request_free(r);
    r = check(a, "ok@c.org", "secret");
    assert_string_equal(r->identity->tenant, "c.org");
    assert_int_equal(r->identity->class, ACCOUNT_PERSON);
    auth_request_free(r);
    r = check(a, "alias", "any"); /* Dovecot knows the account's real name */
    assert_int_equal(r->result, AUTH_OK);
    assert_string_equal(r->identity->account, "boss@b.org");
    assert_string_equal(r->identity->senders, "*");
    auth_request_free(r);
    assert_int_equal(result_of(a, "ok@c.org", "wrong"), AUTH_BAD);
    assert_int_equal(result_of(a, "nobody", "secret"), AUTH_BAD);
    assert_int_equal(result_of(a, "temp", "secret"), AUTH_TEMP);
    int before = atomic_load(&f.requests);
    assert_int_equal(result_of(a, "ok@c.org", "secret"), AUTH_OK); /* remembered */
    assert_int_equal(atomic_load(&f.requests), before);
    assert_int_equal(atomic_load(&f.connections), 1);
    auth_free(a);
    fake_stop(&f);
}

static void test_many_under_way(void **state)
{
    (void)state;
    struct fake f;
    fake_start(&f);
    struct auth *a = start(3000, 20000);
    ngot = 0;
    for (int i = 0; i < 2500; i++) {
        char user[32];
        snprintf(user, sizeof user, "%s%d", i % 2 ? "ok" : "no", i);
        assert_int_equal(auth_check(a, request(user, "secret")), AUTH_PENDING);
    }
    while (ngot < 2500)
        uv_run(&loop, UV_RUN_ONCE);
    for (unsigned i = 0; i < 2500; i++) {
        assert_int_equal(got[i]->result, got[i]->account[0] == 'o' ? AUTH_OK : AUTH_BAD);
        if (got[i]->identity != NULL)
            assert_string_equal(got[i]->identity->account, got[i]->account);
        auth_request_free(got[i]);
    }
    auth_free(a);
    fake_stop(&f);
}

static void test_timeout_and_bound(void **state)
{
    (void)state;
    struct fake f;
    fake_start(&f);
    struct auth *a = start(3, 1000);
    ngot = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(auth_check(a, request("mute", "secret")), AUTH_PENDING);
    struct auth_request *r = request("ok", "secret");
    assert_int_equal(auth_check(a, r), AUTH_TEMP);
    auth_request_free(r);
    while (ngot < 3)
        uv_run(&loop, UV_RUN_ONCE);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(got[i]->result, AUTH_TEMP);
        auth_request_free(got[i]);
    }
    enum auth_result result = AUTH_TEMP;
    for (int i = 0; i < 20 && result == AUTH_TEMP; i++) /* a busy machine may answer later than this limit */
        result = result_of(a, "ok", "secret");
    assert_int_equal(result, AUTH_OK); /* there is room again */
    auth_free(a);
    fake_stop(&f);
}

/* Dovecot goes away with a check in hand and comes back: the check is sent again. It goes away twice: 454. */
static void test_reconnect(void **state)
{
    (void)state;
    struct fake f;
    fake_start(&f);
    struct auth *a = start(100, 10000);
    atomic_store(&f.drop_next, 1);
    assert_int_equal(result_of(a, "ok1", "secret"), AUTH_OK);
    assert_int_equal(atomic_load(&f.connections), 2);
    atomic_store(&f.drop_next, 2);
    assert_int_equal(result_of(a, "ok2", "secret"), AUTH_TEMP);
    fake_stop(&f);
    assert_int_equal(result_of(a, "ok3", "secret"), AUTH_TEMP); /* at once: nobody is there */
    fake_start(&f);
    enum auth_result result = AUTH_TEMP;
    for (int i = 0; i < 300 && result == AUTH_TEMP; i++) {
        usleep(100000);
        result = result_of(a, "ok4", "secret");
    }
    assert_int_equal(result, AUTH_OK);
    auth_free(a);
    fake_stop(&f);
}

static void test_stop_with_checks(void **state)
{
    (void)state;
    struct fake f;
    fake_start(&f);
    struct auth *a = start(100, 60000);
    ngot = 0;
    for (int i = 0; i < 10; i++)
        assert_int_equal(auth_check(a, request("mute", "secret")), AUTH_PENDING);
    auth_free(a);
    while (ngot < 10)
        uv_run(&loop, UV_RUN_ONCE);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(got[i]->result, AUTH_TEMP);
        auth_request_free(got[i]);
    }
    fake_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_link),
        cmocka_unit_test(test_many_under_way),
        cmocka_unit_test(test_timeout_and_bound),
        cmocka_unit_test(test_reconnect),
        cmocka_unit_test(test_stop_with_checks),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
