/* The queue of notifications: nothing is lost or doubled, over restarts too; groups; bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/notify/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOUR INT64_C(3600000)

static char path[100];

static struct notify_queue *opened(void)
{
    struct notify_queue *q = NULL;
    assert_int_equal(notify_queue_open(path, &q), 0);
    return q;
}

static int fresh(void **state)
{
    (void)state;
    char folder[] = "/tmp/notify-XXXXXX";
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/q", folder);
    return 0;
}

static int gone(void **state)
{
    (void)state;
    char command[200];
    snprintf(command, sizeof command, "rm -r '%.*s'", (int)(strrchr(path, '/') - path), path);
    return system(command);
}

static void put(struct notify_queue *q, const char *target, const char *id, uint64_t key, int64_t at_ms,
                uint64_t alert)
{
    char line[100];
    snprintf(line, sizeof line, "{\"event\":\"frozen\",\"text\":\"%s\"}", id);
    assert_int_equal(notify_queue_begin(q), 0);
    assert_int_equal(notify_queue_put(q, &(struct notify_item){ .target = target,
                                                                .id = id,
                                                                .tenant = "t",
                                                                .key = key,
                                                                .at_ms = at_ms,
                                                                .alert = alert,
                                                                .line = span_str(line) }),
                     0);
    assert_int_equal(notify_queue_commit(q), 0);
}

struct seen {
    char text[1000];
    struct notify_message last;
    uint32_t n;
};

static int see(void *arg, const struct notify_message *m)
{
    struct seen *s = arg;
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%s*%u ", m->first.id, m->count);
    s->last = *m;
    s->n++;
    return 0;
}

static struct seen look(struct notify_queue *q, const char *target, int64_t now_ms, int64_t group_ms)
{
    struct seen s = { .n = 0 };
    assert_int_equal(notify_queue_each(q, target, now_ms, group_ms, 100, see, &s), 0);
    return s;
}

static void told(struct notify_queue *q, const char *target, const struct seen *s, int64_t now_ms)
{
    assert_int_equal(notify_queue_begin(q), 0);
    assert_int_equal(notify_queue_told(q, target, &s->last, now_ms), 0);
    assert_int_equal(notify_queue_commit(q), 0);
}

static void kept_over_restarts(void **state)
{
    (void)state;
    struct notify_queue *q = opened();
    put(q, "desk", "n.1", 1, 100, 0);
    put(q, "desk", "n.2", 1, 200, 0);
    put(q, "desk", "n.1", 1, 300, 0); /* once is enough */
    put(q, "mail", "n.1", 1, 100, 0);
    notify_queue_close(q);
    q = opened();
    struct seen s = look(q, "desk", 1000, 0);
    assert_string_equal(s.text, "n.1*1 n.2*1 ");
    told(q, "desk", &s, 1000);
    assert_string_equal(look(q, "desk", 1000, 0).text, "n.1*1 ");
    assert_string_equal(look(q, "mail", 1000, 0).text, "n.1*1 ");
    struct notify_depth d;
    assert_int_equal(notify_queue_depth(q, "desk", &d), 0);
    assert_int_equal(d.n, 1);
    assert_int_equal(d.oldest_ms, 100);
    notify_queue_close(q);
}

static void like_events_are_one_message(void **state)
{
    (void)state;
    struct notify_queue *q = opened();
    put(q, "mail", "a1", 7, 1000, 0);
    put(q, "mail", "b1", 8, 1001, 0);
    struct seen s = look(q, "mail", 2000, HOUR);
    assert_string_equal(s.text, "a1*1 b1*1 ");
    told(q, "mail", &s, 2000); /* b1 */
    put(q, "mail", "b2", 8, 2500, 0);
    put(q, "mail", "a2", 7, 2600, 0);
    put(q, "mail", "b3", 8, 2700, 0);
    s = look(q, "mail", 3000, HOUR); /* the first of a kind at once, further ones wait */
    assert_string_equal(s.text, "a1*2 ");
    assert_int_equal(s.last.last_ms, 2600);
    told(q, "mail", &s, 3000);
    assert_string_equal(look(q, "mail", 3000, HOUR).text, "");
    notify_queue_close(q);
    q = opened();
    assert_string_equal(look(q, "mail", 2000 + HOUR - 1, HOUR).text, "");
    s = look(q, "mail", 2000 + HOUR, HOUR);
    assert_string_equal(s.text, "b2*2 ");
    put(q, "mail", "b4", 8, 2800, 0); /* comes while b2 is on its way */
    told(q, "mail", &s, 2000 + HOUR);
    assert_string_equal(look(q, "mail", 2001 + HOUR, HOUR).text, "");
    assert_string_equal(look(q, "mail", 2000 + 2 * HOUR, HOUR).text, "b4*1 ");
    notify_queue_close(q);
}

static void alerts_stay_until_the_cluster_knows(void **state)
{
    (void)state;
    struct notify_queue *q = opened();
    uint64_t alerts[8];
    put(q, "desk", "c.alert.5", 1, 100, 5);
    put(q, "desk", "c.alert.6", 1, 100, 6);
    put(q, "desk", "n.1", 2, 100, 0);
    struct seen s = look(q, "desk", 1000, 1);
    assert_string_equal(s.text, "c.alert.5*2 n.1*1 ");
    s = look(q, "desk", 1000, 0);
    assert_string_equal(s.text, "c.alert.5*1 c.alert.6*1 n.1*1 ");
    struct seen first = { .n = 0 };
    assert_int_equal(notify_queue_each(q, "desk", 1000, 0, 1, see, &first), 0);
    told(q, "desk", &first, 1000);
    put(q, "desk", "c.alert.5", 1, 100, 5); /* the state still lacks it */
    assert_string_equal(look(q, "desk", 1000, 0).text, "c.alert.6*1 n.1*1 ");
    notify_queue_close(q);
    q = opened();
    assert_int_equal(notify_queue_alerts_told(q, "desk", alerts, 8), 1);
    assert_int_equal(alerts[0], 5);
    assert_int_equal(notify_queue_alert_end(q, "desk", 5), 0);
    assert_int_equal(notify_queue_alerts_told(q, "desk", alerts, 8), 0);
    assert_int_equal(notify_queue_alerts_drop(q), 0); /* another node leads */
    assert_string_equal(look(q, "desk", 1000, 0).text, "n.1*1 ");
    notify_queue_close(q);
}

static bool is_desk(void *arg, const char *target)
{
    (void)arg;
    return strcmp(target, "desk") == 0;
}

static void bounded(void **state)
{
    (void)state;
    struct notify_queue *q = opened();
    uint64_t alerts[1];
    char id[20];
    assert_int_equal(notify_queue_begin(q), 0);
    for (int i = 1; i <= NOTIFY_QUEUE_MAX + 10; i++) {
        snprintf(id, sizeof id, "n.%d", i);
        assert_int_equal(notify_queue_put(q, &(struct notify_item){ .target = "desk",
                                                                    .id = id,
                                                                    .tenant = "",
                                                                    .at_ms = i <= 5 ? 1 : 1000,
                                                                    .line = SPAN_LIT("{}") }),
                         0);
    }
    assert_int_equal(notify_queue_commit(q), 0);
    assert_int_equal(notify_queue_trim(q, "desk", 500, 2000), 10); /* 5 too old, 5 too many */
    struct seen s = { .n = 0 };
    assert_int_equal(notify_queue_each(q, "desk", 2000, 0, 1, see, &s), 0);
    assert_string_equal(s.text, "n.11*1 ");
    put(q, "old", "c.alert.1", 1, 1, 1);
    assert_int_equal(notify_queue_trim(q, "old", 500, 2000), 1); /* given up: the cluster is to know */
    assert_int_equal(notify_queue_alerts_told(q, "old", alerts, 1), 1);
    assert_int_equal(notify_queue_forget(q, is_desk, NULL), 0);
    assert_int_equal(notify_queue_alerts_told(q, "old", alerts, 1), 0);
    notify_queue_close(q);
}

static void a_damaged_file_is_put_aside(void **state)
{
    (void)state;
    struct notify_queue *q = opened();
    put(q, "desk", "n.1", 1, 100, 0);
    notify_queue_close(q);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    for (int i = 0; i < 4096; i++)
        fputc('x', f);
    fclose(f);
    q = opened();
    assert_string_equal(look(q, "desk", 1000, 0).text, "");
    put(q, "desk", "n.2", 1, 100, 0);
    assert_string_equal(look(q, "desk", 1000, 0).text, "n.2*1 ");
    notify_queue_close(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(kept_over_restarts, fresh, gone),
        cmocka_unit_test_setup_teardown(like_events_are_one_message, fresh, gone),
        cmocka_unit_test_setup_teardown(alerts_stay_until_the_cluster_knows, fresh, gone),
        cmocka_unit_test_setup_teardown(bounded, fresh, gone),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_put_aside, fresh, gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
