/* Metrics: sums over shards, histograms, and a text that Prometheus' own checker accepts. */
#include "test/unit/telemetry/fixture.h"

#include "node/telemetry/metrics.h"
#include "node/telemetry/metrics_table.h"

#include <pthread.h>
#include <time.h>

static void the_table_is_whole(void **state)
{
    (void)state;
    for (int id = 0; id < METRICS_IDS; id++) {
        const struct metrics_def *d = &metrics_table[id];
        assert_non_null(d->name);
        assert_true(strlen(d->help) > 10);
        size_t n = strlen(d->name);
        bool total = n > 6 && strcmp(d->name + n - 6, "_total") == 0;
        assert_int_equal(total, d->type == METRICS_COUNTER);
        if (d->type == METRICS_HISTOGRAM)
            assert_string_equal(d->name + n - 8, "_seconds");
        for (int k = 0; k < id; k++)
            assert_string_not_equal(d->name, metrics_table[k].name);
    }
    for (int i = 1; metrics_bounds_us[i] != 0; i++)
        assert_true(metrics_bounds_us[i] > metrics_bounds_us[i - 1]);
    assert_int_equal(metrics_bounds_us[METRICS_BUCKETS - 1], 0);
}

static void expect_line(const char *text, const char *line)
{
    char all[256];
    snprintf(all, sizeof all, "\n%s\n", line);
    if (strstr(text, all) == NULL)
        fail_msg("no line \"%s\" in\n%s", line, text);
}

static char *render(const struct metrics *m)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(metrics_render(m, &out), 0);
    buf_put_char(&out, '\0');
    return out.data;
}

static void shards_are_summed(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(3);
    metrics_add(m, 0, METRICS_MESSAGES_RECEIVED, METRICS_LISTENER_RELAY, 2);
    metrics_add(m, 2, METRICS_MESSAGES_RECEIVED, METRICS_LISTENER_RELAY, 40);
    metrics_add(m, 1, METRICS_SESSIONS, METRICS_OUT, 5);
    metrics_add(m, 1, METRICS_SESSIONS, METRICS_OUT, -2);
    for (uint32_t i = 0; i < 3; i++)
        metrics_set(m, i, METRICS_QUEUE_ITEMS, METRICS_STATE_HELD, 100);
    metrics_set(m, 0, METRICS_QUEUE_ITEMS, METRICS_STATE_HELD, 7);
    assert_int_equal(metrics_value(m, METRICS_MESSAGES_RECEIVED, METRICS_LISTENER_RELAY), 42);
    char *text = render(m);
    expect_line(text, "turnpike_messages_received_total{listener=\"relay\"} 42");
    expect_line(text, "turnpike_messages_received_total{listener=\"submission\"} 0");
    expect_line(text, "turnpike_sessions{direction=\"out\"} 3");
    expect_line(text, "turnpike_queue_items{state=\"held\"} 207");
    expect_line(text, "# TYPE turnpike_queue_items gauge");
    free(text);
    metrics_free(m);
}

static void histograms(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(2);
    metrics_observe_us(m, 0, METRICS_COMMIT_SECONDS, 0);
    metrics_observe_us(m, 0, METRICS_COMMIT_SECONDS, 1000); /* a bound belongs to its bucket */
    metrics_observe_us(m, 1, METRICS_COMMIT_SECONDS, 1001);
    metrics_observe_us(m, 1, METRICS_COMMIT_SECONDS, 2000000);
    metrics_observe_us(m, 1, METRICS_COMMIT_SECONDS, INT64_C(90000000000));
    metrics_observe_us(m, 1, METRICS_COMMIT_SECONDS, -5);
    assert_int_equal(metrics_value(m, METRICS_COMMIT_SECONDS, METRICS_NONE), 6);
    char *text = render(m);
    expect_line(text, "turnpike_commit_duration_seconds_bucket{le=\"0.001\"} 3");
    expect_line(text, "turnpike_commit_duration_seconds_bucket{le=\"0.0025\"} 4");
    expect_line(text, "turnpike_commit_duration_seconds_bucket{le=\"1\"} 4");
    expect_line(text, "turnpike_commit_duration_seconds_bucket{le=\"5\"} 5");
    expect_line(text, "turnpike_commit_duration_seconds_bucket{le=\"86400\"} 5");
    expect_line(text, "turnpike_commit_duration_seconds_bucket{le=\"+Inf\"} 6");
    expect_line(text, "turnpike_commit_duration_seconds_count 6");
    expect_line(text, "turnpike_commit_duration_seconds_sum 90002.002001");
    free(text);
    metrics_free(m);
}

struct counting {
    struct metrics *m;
    uint32_t shard;
};

static void *count(void *arg)
{
    struct counting *c = arg;
    for (int i = 0; i < 200000; i++)
        metrics_add(c->m, c->shard, METRICS_BYTES_SENT, METRICS_NONE, 3);
    return NULL;
}

static void read_while_counted(void **state)
{
    (void)state;
    struct counting c[2];
    pthread_t t[2];
    struct metrics *m = metrics_new(2);
    for (uint32_t i = 0; i < 2; i++) {
        c[i] = (struct counting){ m, i };
        assert_int_equal(pthread_create(&t[i], NULL, count, &c[i]), 0);
    }
    int64_t last = 0;
    for (int i = 0; i < 100; i++) {
        free(render(m));
        int64_t now = metrics_value(m, METRICS_BYTES_SENT, METRICS_NONE);
        assert_true(now >= last);
        assert_int_equal(now % 3, 0);
        last = now;
    }
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    assert_int_equal(metrics_value(m, METRICS_BYTES_SENT, METRICS_NONE), 1200000);
    metrics_free(m);
}

static double number_after(const char *text, const char *name)
{
    const char *p = strstr(text, name);
    assert_non_null(p);
    return strtod(p + strlen(name), NULL);
}

static void the_processes_own(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(1);
    char *text = render(m);
    assert_true(number_after(text, "\nprocess_resident_memory_bytes ") > 100000);
    assert_true(number_after(text, "\nprocess_open_fds ") >= 3);
    double start = number_after(text, "\nprocess_start_time_seconds ");
    assert_true(start > (double)time(NULL) - 600 && start < (double)time(NULL) + 60);
    free(text);
    metrics_free(m);
}

static void promtool_accepts_it(void **state)
{
    (void)state;
    const char *promtool = getenv("PROMTOOL");
    if (promtool == NULL)
        skip();
    struct metrics *m = metrics_new(1);
    for (int i = 0; i < 100; i++)
        metrics_observe_us(m, 0, METRICS_DNS_SECONDS, i * i * i * i);
    char *text = render(m), command[1024], path[256], report[256];
    FILE *f = fopen(in_dir(path, "metrics"), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    snprintf(command, sizeof command, "%s check metrics < %s > %s 2>&1", promtool, path,
             in_dir(report, "report"));
    int code = system(command);
    char *said = read_file(report);
    if (code != 0 || said[0] != '\0')
        fail_msg("promtool: %s", said);
    free(said);
    free(text);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_whole),
        cmocka_unit_test(shards_are_summed),
        cmocka_unit_test(histograms),
        cmocka_unit_test(read_while_counted),
        cmocka_unit_test(the_processes_own),
        cmocka_unit_test_setup_teardown(promtool_accepts_it, make_dir, drop_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
