/* The event log: every line is JSON whatever peers say, order, rotation, bounds, a full disk, the journal. */
#include "test/unit/telemetry/fixture.h"

#include "node/telemetry/events.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct events *open_file(const char *path, uint32_t shards, uint64_t max_bytes)
{
    struct events *ev;
    struct events_config c = {
        .target = EVENTS_FILE, .path = path, .node = "n\"1", .nshards = shards, .max_bytes = max_bytes
    };
    assert_int_equal(events_open(&c, &ev), 0);
    return ev;
}

static json_t *parse(const char *line)
{
    json_error_t e;
    json_t *j = json_loads(line, JSON_REJECT_DUPLICATES, &e);
    if (j == NULL)
        fail_msg("%s: %s", e.text, line);
    return j;
}

static const char *text(json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

static void all_fields(void **state)
{
    (void)state;
    char path[256];
    struct events *ev = open_file(in_dir(path, "log"), 1, 0);
    struct event e = EVENT_INIT(EVENT_DEFERRED);
    e.ts_ms = 1795295045067;
    e.id = 12345678901;
    e.session = 77;
    e.client_ip = SPAN_LIT("192.0.2.7");
    e.client_name = SPAN_LIT("host.example");
    e.helo = SPAN_LIT("evil\r\n{\"event\":\"delivered\"}");
    e.account = SPAN_LIT("ann@example.com");
    e.tenant = SPAN_LIT("example.com");
    e.class = SPAN_LIT("person");
    e.null_sender = true;
    e.recipient = SPAN_LIT("b\xc3\xb6\xff@example.net");
    e.site = SPAN_LIT("example.net");
    e.mx = SPAN_LIT("mx.example.net");
    e.mx_ip = SPAN_LIT("2001:db8::1");
    e.source_ip = SPAN_LIT("192.0.2.1");
    e.pool = SPAN_LIT("main");
    e.attempt = 3;
    e.stage = SPAN_LIT("rcpt");
    e.code = 450;
    e.enhanced[0] = 4;
    e.enhanced[1] = 2;
    e.enhanced[2] = 0;
    e.text = SPAN_LIT("mailbox \xe2\x80\xa8"
                      "busy");
    e.size = 4096;
    e.tls = SPAN_LIT("TLSv1.3");
    e.rule = SPAN_LIT("greylist");
    e.bounce_class = SPAN_LIT("mailbox");
    e.next_ms = 1795295345000;
    e.queue_delay_ms = 0;
    e.connect_delay_ms = 12;
    events_put(ev, 0, &e);
    events_flush(ev);
    assert_int_equal(mode_of(path) & 07137, 0); /* at most 0640 */
    char *log = read_file(path);
    assert_int_equal(count_lines(log), 1);
    json_t *j = parse(log);
    assert_string_equal(text(j, "ts"), "2026-11-21T21:04:05.067Z");
    assert_string_equal(text(j, "event"), "deferred");
    assert_string_equal(text(j, "node"), "n\"1");
    assert_int_equal(strlen(text(j, "id")), 13);
    assert_int_equal(json_integer_value(json_object_get(j, "session")), 77);
    assert_string_equal(text(j, "helo"), "evil\r\n{\"event\":\"delivered\"}");
    assert_string_equal(text(j, "sender"), "<>");
    assert_string_equal(text(j, "recipient"), "b\xc3\xb6\xef\xbf\xbd@example.net");
    assert_string_equal(text(j, "mx_ip"), "2001:db8::1");
    assert_string_equal(text(j, "enhanced"), "4.2.0");
    assert_int_equal(json_integer_value(json_object_get(j, "code")), 450);
    assert_int_equal(json_integer_value(json_object_get(j, "attempt")), 3);
    assert_string_equal(text(j, "next"), "2026-11-21T21:09:05.000Z");
    assert_int_equal(json_integer_value(json_object_get(j, "queue_delay_ms")), 0);
    assert_non_null(json_object_get(j, "queue_delay_ms"));
    assert_null(json_object_get(j, "dns_delay_ms"));
    assert_null(json_object_get(j, "message_id"));
    assert_null(strstr(log, "\xe2\x80\xa8")); /* escaped: JavaScript ends a line there */
    json_decref(j);
    free(log);
    events_close(ev);
}

static void every_kind_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < EVENT_KINDS; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(event_kind_name((enum event_kind)i), event_kind_name((enum event_kind)k));
    assert_string_equal(event_kind_name(EVENT_AUTH_FAILED), "auth_failed");
}

static void long_text_is_cut_between_characters(void **state)
{
    (void)state;
    char path[256], reply[3001];
    struct events *ev = open_file(in_dir(path, "log"), 1, 0);
    for (size_t i = 0; i + 2 <= sizeof reply - 1; i += 2)
        memcpy(reply + i, "\xc3\xb6", 2);
    struct event e = EVENT_INIT(EVENT_BOUNCED);
    e.text = span_of(reply, 2999);
    e.message_id = span_of(reply + 1, 2998); /* begins within a character */
    events_put(ev, 0, &e);
    events_close(ev);
    char *log = read_file(path);
    json_t *j = parse(log);
    assert_int_equal(strlen(text(j, "text")), EVENTS_TEXT_MAX);
    assert_null(strstr(text(j, "text"), "\xef\xbf\xbd"));
    assert_true(strlen(text(j, "message_id")) <= EVENTS_TEXT_MAX + 2);
    json_decref(j);
    free(log);
}

struct thread {
    struct events *ev;
    uint32_t shard;
};

#define PER_THREAD 20000

static void *put_many(void *arg)
{
    struct thread *t = arg;
    for (uint64_t i = 1; i <= PER_THREAD; i++) {
        struct event e = EVENT_INIT(EVENT_DELIVERED);
        e.session = i;
        e.recipients = t->shard + 1;
        events_put(t->ev, t->shard, &e);
    }
    return NULL;
}

static void nothing_is_lost_and_each_worker_is_in_order(void **state)
{
    (void)state;
    char path[256];
    struct events *ev = open_file(in_dir(path, "log"), 3, UINT64_C(64) << 20);
    struct thread t[3];
    pthread_t id[3];
    for (uint32_t i = 0; i < 3; i++) {
        t[i] = (struct thread){ ev, i };
        assert_int_equal(pthread_create(&id[i], NULL, put_many, &t[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(id[i], NULL);
    events_flush(ev);
    struct events_stats s;
    events_stats(ev, &s);
    assert_int_equal(s.written, 3 * PER_THREAD);
    assert_int_equal(s.dropped, 0);
    events_close(ev);
    char *log = read_file(path);
    json_int_t last[4] = { 0 };
    unsigned lines = 0;
    for (char *line = strtok(log, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++) {
        json_t *j = parse(line);
        json_int_t shard = json_integer_value(json_object_get(j, "recipients"));
        json_int_t session = json_integer_value(json_object_get(j, "session"));
        assert_int_equal(session, last[shard] + 1);
        last[shard] = session;
        json_decref(j);
    }
    assert_int_equal(lines, 3 * PER_THREAD);
    free(log);
}

/* A sink that takes nothing for a while: events are counted and told of, and memory stays within its bound.
 */
static void what_does_not_fit_is_counted_and_told(void **state)
{
    (void)state;
    char path[256];
    in_dir(path, "pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    int keep = open(path, O_RDWR | O_NONBLOCK);
    assert_true(keep >= 0);
    struct events *ev = open_file(path, 1, 65536);
    uint64_t put = 20000;
    for (uint64_t i = 1; i <= put; i++) {
        struct event e = EVENT_INIT(EVENT_REJECTED);
        e.session = i;
        events_put(ev, 0, &e);
    }
    FILE *f = fdopen(keep, "r");
    char line[4096];
    uint64_t seen = 0, dropped = 0, polls = 0;
    while (seen + dropped < put) {
        clearerr(f);
        if (fgets(line, sizeof line, f) == NULL) {
            assert_true(++polls < 6000);
            usleep(10000);
            continue;
        }
        json_t *j = parse(line);
        if (strcmp(text(j, "event"), "dropped") == 0)
            dropped += (uint64_t)json_integer_value(json_object_get(j, "count"));
        else
            seen++;
        json_decref(j);
    }
    assert_int_equal(seen + dropped, put);
    assert_true(dropped > 0);
    events_flush(ev);
    struct events_stats s;
    events_stats(ev, &s);
    assert_int_equal(s.written, seen);
    assert_int_equal(s.dropped, dropped);
    events_close(ev);
    fclose(f);
}

static void put_one(struct events *ev, uint64_t session)
{
    struct event e = EVENT_INIT(EVENT_CONNECTION);
    e.session = session;
    events_put(ev, 0, &e);
    events_flush(ev);
}

static void reopened_after_rotation(void **state)
{
    (void)state;
    char path[256], old[256], elsewhere[256];
    struct events *ev = open_file(in_dir(path, "log"), 1, 0);
    put_one(ev, 1);
    assert_int_equal(rename(path, in_dir(old, "log.1")), 0);
    put_one(ev, 2); /* still the old file */
    events_reopen(ev);
    put_one(ev, 3);
    char *first = read_file(old), *second = read_file(path);
    assert_int_equal(count_lines(first), 2);
    assert_int_equal(count_lines(second), 1);
    assert_non_null(strstr(second, "\"session\":3"));
    free(first);
    free(second);

    unlink(path); /* it cannot be opened again: what is open stays in use */
    assert_int_equal(mkdir(path, 0700), 0);
    events_reopen(ev);
    put_one(ev, 4);
    struct events_stats s;
    events_stats(ev, &s);
    assert_int_equal(s.written, 4);
    assert_int_equal(s.dropped, 0);
    assert_int_equal(rmdir(path), 0);

    assert_int_not_equal(events_retarget(ev, EVENTS_FILE, "/nonexistent/dir/log"), 0);
    assert_int_equal(events_retarget(ev, EVENTS_FILE, in_dir(elsewhere, "other")), 0);
    put_one(ev, 5);
    char *other = read_file(elsewhere);
    assert_int_equal(count_lines(other), 1);
    free(other);
    assert_int_equal(events_retarget(ev, EVENTS_OFF, NULL), 0);
    put_one(ev, 6);
    events_stats(ev, &s);
    assert_int_equal(s.written, 5);
    events_close(ev);
}

/* The disk is full in the middle of a line: later lines are whole again. */
static void a_torn_line_does_not_spoil_the_next(void **state)
{
    (void)state;
    char path[256];
    struct rlimit old, small;
    struct events *ev = open_file(in_dir(path, "log"), 1, 0);
    put_one(ev, 1);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = (rlim_t)st.st_size + 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    put_one(ev, 2);
    put_one(ev, 3);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    put_one(ev, 4);
    struct events_stats s;
    events_stats(ev, &s);
    assert_int_equal(s.written, 2);
    assert_int_equal(s.dropped, 2);
    assert_int_equal(s.errors, 2);
    events_close(ev);
    char *log = read_file(path);
    assert_int_equal(count_lines(log), 3); /* 1, the torn one, 4 */
    json_t *j = parse(strrchr(log, '{'));
    assert_int_equal(json_integer_value(json_object_get(j, "session")), 4);
    json_decref(j);
    free(log);
}

static void to_the_journal(void **state)
{
    (void)state;
    char path[256], got[8192];
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    in_dir(path, "journal");
    memcpy(at.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    struct events_config c = { .target = EVENTS_JOURNAL, .path = path, .node = "n", .nshards = 1 };
    struct events *ev;
    assert_int_equal(events_open(&c, &ev), 0);
    for (int round = 0; round < 2; round++) {
        put_one(ev, 5);
        ssize_t n = recv(fd, got, sizeof got - 1, 0);
        assert_true(n > 0);
        got[n] = '\0';
        assert_non_null(strstr(got, "\nSYSLOG_IDENTIFIER=turnpiked-events\n"));
        char *message = strstr(got, "\nMESSAGE={");
        assert_non_null(message);
        json_t *j = parse(message + 9);
        assert_int_equal(json_integer_value(json_object_get(j, "session")), 5);
        json_decref(j);
        close(fd); /* journald is started anew */
        unlink(path);
        fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    }
    close(fd);
    events_close(ev);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, drop_dir)
    const struct CMUnitTest tests[] = {
        TEST(all_fields),
        TEST(every_kind_has_a_name_of_its_own),
        TEST(long_text_is_cut_between_characters),
        TEST(nothing_is_lost_and_each_worker_is_in_order),
        TEST(what_does_not_fit_is_counted_and_told),
        TEST(reopened_after_rotation),
        TEST(a_torn_line_does_not_spoil_the_next),
        TEST(to_the_journal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
