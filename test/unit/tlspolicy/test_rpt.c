/* Counting for TLS reports: what is in them, bounds, over restarts; who wants one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/tlspolicy/rpt.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY0 (INT64_C(19000) * RPT_DAY_MS)

static const struct rpt_sender sender = { .organization = "Org",
                                          .contact = "c@org.test",
                                          .host = "mx.org.test" };

static void count(struct rpt *r, int64_t now_ms, const char *domain, enum rpt_policy policy, const char *text,
                  enum rpt_result result, const char *mx)
{
    struct rpt_session s = { .domain = domain,
                             .policy = policy,
                             .policy_text = span_str(text),
                             .result = result,
                             .sending_ip = "192.0.2.1",
                             .mx_host = mx,
                             .mx_ip = "192.0.2.2",
                             .reason = "because" };
    rpt_count(r, now_ms, &s);
}

/* The next report; NULL: none. For the caller to free; it is done with. */
static json_t *next(struct rpt *r, int64_t now_ms)
{
    struct rpt_due due;
    buf_init(&due.json, 4u << 20);
    int err = rpt_next(r, now_ms, &sender, &due);
    json_t *j = NULL;
    if (err == 0) {
        j = json_loadb(due.json.data, due.json.len, 0, NULL);
        assert_non_null(j);
        assert_string_equal(json_string_value(json_object_get(j, "report-id")), due.id);
        rpt_done(r, &due);
    } else {
        assert_int_equal(err, ERR_NOT_FOUND);
    }
    buf_fini(&due.json);
    return j;
}

static json_int_t summary(const json_t *policy, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(policy, "summary"), key));
}

static void expect_report(struct rpt *r)
{
    json_t *j = next(r, DAY0 + RPT_DAY_MS);
    assert_non_null(j);
    const json_t *range = json_object_get(j, "date-range"), *list = json_object_get(j, "policies");
    assert_string_equal(json_string_value(json_object_get(range, "start-datetime")), "2022-01-08T00:00:00Z");
    assert_string_equal(json_string_value(json_object_get(range, "end-datetime")), "2022-01-08T23:59:59Z");
    assert_int_equal(json_array_size(list), 2);
    const json_t *sts = json_array_get(list, 0);
    assert_int_equal(summary(sts, "total-successful-session-count"), 2);
    assert_int_equal(summary(sts, "total-failure-session-count"), 3);
    const json_t *policy = json_object_get(sts, "policy"), *details = json_object_get(sts, "failure-details");
    assert_int_equal(json_array_size(json_object_get(policy, "policy-string")), 3);
    assert_string_equal(json_string_value(json_array_get(json_object_get(policy, "mx-host"), 0)), "*.a.test");
    assert_int_equal(json_array_size(details), 2);
    const json_t *first = json_array_get(details, 0);
    assert_string_equal(json_string_value(json_object_get(first, "result-type")), "certificate-expired");
    assert_int_equal(json_integer_value(json_object_get(first, "failed-session-count")), 2);
    assert_string_equal(json_string_value(json_object_get(first, "receiving-mx-hostname")), "mx.a.test");
    assert_string_equal(json_string_value(json_object_get(first, "failure-reason-code")), "because");
    const json_t *none = json_array_get(list, 1);
    assert_string_equal(json_string_value(json_object_get(json_object_get(none, "policy"), "policy-type")),
                        "no-policy-found");
    assert_null(json_object_get(none, "failure-details"));
    json_decref(j);
}

static void fill(struct rpt *r)
{
    static const char text[] = "version: STSv1\nmode: enforce\nmx: *.a.test";
    count(r, DAY0, "a.test", RPT_STS, text, RPT_SUCCESS, "");
    count(r, DAY0 + 1, "a.test", RPT_STS, text, RPT_CERTIFICATE_EXPIRED, "mx.a.test");
    count(r, DAY0 + RPT_DAY_MS - 1, "a.test", RPT_STS, text, RPT_SUCCESS, "");
    count(r, DAY0 + 2, "a.test", RPT_STS, text, RPT_CERTIFICATE_EXPIRED, "mx.a.test");
    count(r, DAY0 + 2, "a.test", RPT_STS, text, RPT_STARTTLS_NOT_SUPPORTED, "mx.a.test");
    count(r, DAY0 + 2, "a.test", RPT_NO_POLICY, "", RPT_SUCCESS, "");
    count(r, DAY0 + RPT_DAY_MS, "a.test", RPT_STS, text, RPT_SUCCESS, ""); /* the day after */
}

static void test_report(void **state)
{
    (void)state;
    struct rpt *r = rpt_new(10);
    fill(r);
    assert_int_equal(rpt_domains(r), 2);
    assert_null(next(r, DAY0 + RPT_DAY_MS - 1)); /* the day is not over */
    expect_report(r);
    assert_null(next(r, DAY0 + RPT_DAY_MS));
    json_t *j = next(r, DAY0 + 2 * RPT_DAY_MS);
    assert_non_null(j);
    json_decref(j);
    assert_int_equal(rpt_domains(r), 0);
    rpt_free(r);
}

static void test_bounds(void **state)
{
    (void)state;
    struct rpt *r = rpt_new(3);
    char name[64], text[4096];
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "d%d.test", i);
        count(r, DAY0, name, RPT_NO_POLICY, "", RPT_SUCCESS, "");
    }
    assert_int_equal(rpt_domains(r), 3);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "mx%d.test", i);
        text[0] = (char)('a' + i % 26);
        count(r, DAY0, "d0.test", RPT_TLSA, text, RPT_VALIDATION_FAILURE, "mx");
        count(r, DAY0, "d0.test", RPT_NO_POLICY, "", RPT_VALIDATION_FAILURE, name);
    }
    json_t *j = next(r, DAY0 + RPT_DAY_MS);
    const json_t *list = json_object_get(j, "policies");
    assert_int_equal(json_array_size(list), RPT_POLICIES_MAX);
    assert_int_equal(summary(json_array_get(list, 0), "total-failure-session-count"), 100);
    assert_int_equal(json_array_size(json_object_get(json_array_get(list, 0), "failure-details")),
                     RPT_FAILURES_MAX);
    json_decref(j);
    rpt_free(r);
}

static void test_restart(void **state)
{
    (void)state;
    char dir[] = "/tmp/test-rpt-XXXXXX", file[64];
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/f", dir);
    struct rpt *r = rpt_new(10);
    assert_int_equal(rpt_load(r, file, DAY0), 0); /* no file yet */
    fill(r);
    assert_int_equal(rpt_save(r, file), 0);
    rpt_free(r);
    r = rpt_new(10);
    assert_int_equal(rpt_load(r, file, DAY0 + RPT_DAY_MS), 0);
    assert_int_equal(rpt_domains(r), 2);
    expect_report(r);
    rpt_free(r);
    /* too old, and damaged */
    FILE *f = fopen(file, "a");
    fputs("\n{\n[]\n{\"day\":19001,\"domain\":5}\n{\"day\":19001,\"domain\":\"b.test\",\"policies\":[5,{},"
          "{\"policy\":{\"policy-type\":\"sts\",\"policy-string\":[1]},\"failure-details\":[{},3,{\"result-"
          "type\":"
          "\"success\"}]}]}\n{\"day\":1",
          f);
    fclose(f);
    r = rpt_new(10);
    assert_int_equal(rpt_load(r, file, DAY0 + 4 * RPT_DAY_MS), 0);
    assert_int_equal(rpt_domains(r), 2); /* of the day after, and b.test */
    rpt_free(r);
    unlink(file);
    rmdir(dir);
}

static uint64_t good_sessions(struct rpt *r, int64_t now_ms)
{
    json_t *j = next(r, now_ms);
    uint64_t n = j == NULL ? 0
                           : (uint64_t)summary(json_array_get(json_object_get(j, "policies"), 0),
                                               "total-successful-session-count");
    json_decref(j);
    return n;
}

static size_t file_bytes(const char *file)
{
    struct stat st;
    return stat(file, &st) == 0 ? (size_t)st.st_size : 0;
}

/* What was kept is there after a crash, the last word about each domain; what was sent is not. */
static void test_crash(void **state)
{
    (void)state;
    char dir[] = "/tmp/test-rpt-XXXXXX", file[64];
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/f", dir);
    struct rpt *r = rpt_new(100);
    assert_int_equal(rpt_keep(r, file), 0);
    assert_int_equal(file_bytes(file), 0); /* nothing to say */
    for (int i = 0; i < 5; i++) {
        count(r, DAY0, "a.test", RPT_NO_POLICY, "", RPT_SUCCESS, "");
        assert_int_equal(rpt_keep(r, file), 0);
    }
    count(r, DAY0, "b.test", RPT_NO_POLICY, "", RPT_SUCCESS, "");
    count(r, DAY0 + RPT_DAY_MS, "c.test", RPT_NO_POLICY, "", RPT_SUCCESS, "");
    count(r, DAY0, "d.test", RPT_NO_POLICY, "", RPT_SUCCESS, ""); /* the clock was set back */
    assert_int_equal(rpt_keep(r, file), 0);
    size_t bytes = file_bytes(file);
    assert_int_equal(rpt_keep(r, file), 0);
    assert_int_equal(file_bytes(file), bytes);                       /* nothing has changed */
    count(r, DAY0, "lost.test", RPT_NO_POLICY, "", RPT_SUCCESS, ""); /* it crashes before this is kept */
    FILE *f = fopen(file, "a");                                      /* in the middle of a line */
    fputs("{\"day\":19000,\"domain\":\"a.test\",\"pol", f);
    fclose(f);
    rpt_free(r);

    r = rpt_new(100);
    assert_int_equal(rpt_load(r, file, DAY0 + RPT_DAY_MS), 0);
    assert_int_equal(rpt_domains(r), 4);
    assert_int_equal(rpt_keep(r, file), 0); /* as a whole */
    assert_true(file_bytes(file) < bytes);
    assert_int_equal(good_sessions(r, DAY0 + RPT_DAY_MS), 5); /* a.test: done */
    assert_int_equal(rpt_keep(r, file), 0);
    rpt_free(r);

    r = rpt_new(100);
    assert_int_equal(rpt_load(r, file, DAY0 + RPT_DAY_MS), 0);
    assert_int_equal(rpt_domains(r), 3);
    assert_int_equal(good_sessions(r, DAY0 + RPT_DAY_MS), 1); /* b.test */
    assert_int_equal(good_sessions(r, DAY0 + RPT_DAY_MS), 1); /* d.test, though it came later than c.test */
    assert_int_equal(good_sessions(r, DAY0 + RPT_DAY_MS), 0);
    rpt_free(r);
    unlink(file);
    rmdir(dir);
}

/* The file doesn't grow for ever, and a disk that fails costs nothing but the time until it works. */
static void test_file_bounds(void **state)
{
    (void)state;
    char dir[] = "/tmp/test-rpt-XXXXXX", file[64], name[64];
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/f", dir);
    struct rpt *r = rpt_new(2000);
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 1000; i++) {
            snprintf(name, sizeof name, "d%d.test", i);
            count(r, DAY0, name, RPT_NO_POLICY, "", RPT_VALIDATION_FAILURE, "mx.test");
        }
        assert_int_equal(rpt_keep(r, file), 0);
        assert_true(file_bytes(file) < 6u << 20);
    }
    unlink(file);
    rmdir(dir);
    count(r, DAY0, "d0.test", RPT_NO_POLICY, "", RPT_VALIDATION_FAILURE, "mx.test");
    assert_int_not_equal(rpt_keep(r, file), 0);
    assert_int_not_equal(rpt_keep(r, file), 0); /* still owed */
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(rpt_keep(r, file), 0);
    rpt_free(r);
    r = rpt_new(2000);
    assert_int_equal(rpt_load(r, file, DAY0), 0);
    assert_int_equal(rpt_domains(r), 1000);
    rpt_free(r);
    unlink(file);
    rmdir(dir);
}

/* An address that cannot be reached is tried again for a day; the others go on, and have it once. */
static void test_later(void **state)
{
    (void)state;
    struct rpt *r = rpt_new(10);
    struct rpt_due due;
    int64_t now = DAY0 + RPT_DAY_MS;
    char id[64] = "";
    uint32_t tries = 0;
    count(r, DAY0, "a.test", RPT_NO_POLICY, "", RPT_SUCCESS, "");
    count(r, DAY0, "b.test", RPT_NO_POLICY, "", RPT_SUCCESS, "");
    assert_int_equal(rpt_waits_until(r), INT64_MAX);
    for (bool again = true; again; tries++) {
        buf_init(&due.json, 1u << 20);
        assert_int_equal(rpt_next(r, now, &sender, &due), 0);
        assert_string_equal(due.domain, "a.test");
        assert_true(tries == 0 || strcmp(due.id, id) == 0);
        assert_int_equal(due.sent, tries == 0 ? 0 : 5);
        snprintf(id, sizeof id, "%s", due.id);
        buf_fini(&due.json);
        due.sent = 5;
        again = rpt_later(r, &due, now);
        if (tries == 0) {
            json_t *j = next(r, now); /* b.test need not wait */
            assert_non_null(j);
            json_decref(j);
        }
        if (again) {
            assert_null(next(r, now));
            int64_t then = rpt_waits_until(r);
            assert_int_equal(then, now + ((int64_t)RPT_RETRY_MS << tries));
            assert_null(next(r, then - 1));
            now = then;
        }
    }
    assert_in_range(tries, 7, 12);
    assert_true(now < DAY0 + 2 * RPT_DAY_MS);
    assert_int_equal(rpt_domains(r), 0);
    /* nodes with one host's name, and restarts */
    struct rpt_sender other = sender;
    other.node = "b";
    count(r, DAY0, "a.test", RPT_NO_POLICY, "", RPT_SUCCESS, "");
    buf_init(&due.json, 1u << 20);
    assert_int_equal(rpt_next(r, now, &sender, &due), 0);
    assert_string_equal(due.id, id);
    buf_reset(&due.json);
    assert_int_equal(rpt_next(r, now, &other, &due), 0);
    assert_string_not_equal(due.id, id);
    buf_fini(&due.json);
    rpt_free(r);
}

static void test_txt(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int err;
        uint32_t n;
        const char *first;
    } cases[] = {
        { "v=TLSRPTv1; rua=mailto:r@a.test", 0, 1, "mailto:r@a.test" },
        { "v=TLSRPTv1;rua=mailto:r@a.test,https://a.test/v1;", 0, 2, "mailto:r@a.test" },
        { "v=TLSRPTv1; x=y; rua = https://a.test/ ", 0, 1, "https://a.test/" },
        { "v=TLSRPTv1;rua=ftp://x,mailto:r@a.test", 0, 1, "mailto:r@a.test" },
        { "v=TLSRPTv1;rua=mailto:a@t,mailto:b@t,mailto:c@t,mailto:d@t,mailto:e@t", 0, RPT_URIS_MAX,
          "mailto:a@t" },
        { "v=TLSRPTv1", ERR_BAD, 0, "" },
        { "v=TLSRPTv1;rua=", ERR_BAD, 0, "" },
        { "v=TLSRPTv1;rua=http://a.test/", ERR_BAD, 0, "" },
        { "v=TLSRPTv1;rua=mailto:", ERR_BAD, 0, "" },
        { "v=TLSRPTv1;rua=mailto:@a.test", ERR_BAD, 0, "" },
        { "v=TLSRPTv1;rua=mailto:a@", ERR_BAD, 0, "" },
        { "v=TLSRPTv1;rua=mailto:a@b@c", ERR_BAD, 0, "" },
        { "v=TLSRPTv1;rua=mailto:a@b?subject=x", ERR_BAD, 0, "" },
        { "v=TLSRPTv1;rua=mailto:a>b@c.test", ERR_BAD, 0, "" },
        { "v=TLSRPTv1;rua=mailto:a\r\nDATA@c.test", ERR_BAD, 0, "" },
        { "v=TLSRPTv1;rua=mailto:a%40b@c.test", ERR_BAD, 0, "" },
        { "v=TLSRPTv2;rua=mailto:r@a.test", ERR_NOT_FOUND, 0, "" },
        { "", ERR_NOT_FOUND, 0, "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rpt_uris uris;
        print_message("%s\n", cases[i].text);
        assert_int_equal(rpt_txt_parse(span_str(cases[i].text), &uris), cases[i].err);
        assert_int_equal(uris.n, cases[i].n);
        if (uris.n > 0)
            assert_true(span_eq(uris.uri[0], span_str(cases[i].first)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_report),      cmocka_unit_test(test_bounds),
                                        cmocka_unit_test(test_restart),     cmocka_unit_test(test_crash),
                                        cmocka_unit_test(test_file_bounds), cmocka_unit_test(test_later),
                                        cmocka_unit_test(test_txt) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
