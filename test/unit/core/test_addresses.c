/* What the address hook is run for, and when an address is ready. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consensus/command.h"
#include "node/core/addresses.h"

#include <stdio.h>
#include <string.h>

#define A "192.0.2.1"
#define B "2001:db8::2"

static struct ip_addr addr_of(const char *text)
{
    struct ip_addr addr;
    assert_int_equal(ip_addr_parse(span_str(text), &addr), 0);
    return addr;
}

static void see(struct addresses *a, const char *address, uint64_t claim, bool ours, const char *next)
{
    const struct addresses_told told = { addr_of(address), SPAN_LIT("news"), claim, ours, next };
    addresses_begin(a);
    assert_int_equal(addresses_see(a, &told), 0);
    addresses_end(a);
}

static void assert_nothing(struct addresses *a, int64_t now)
{
    struct addresses_job job;
    assert_false(addresses_next(a, now, &job));
}

static void assert_job(struct addresses *a, int64_t now, bool add, const char *address, const char *reason)
{
    struct addresses_job job;
    struct ip_addr addr = addr_of(address);
    assert_true(addresses_next(a, now, &job));
    assert_int_equal(job.add, add);
    assert_true(ip_addr_eq(&job.addr, &addr));
    assert_string_equal(job.reason, reason);
    assert_true(span_eq(job.pool, SPAN_LIT("news")));
}

static void end(struct addresses *a, const char *address, bool ok, const char *words, int64_t now)
{
    struct ip_addr addr = addr_of(address);
    addresses_ended(a, &addr, ok, span_str(words), now);
}

static bool ready(const struct addresses *a, const char *address)
{
    struct ip_addr addr = addr_of(address);
    return addresses_ready(a, &addr);
}

static bool give_up(struct addresses *a, const char *address)
{
    struct ip_addr addr = addr_of(address);
    return addresses_give_up(a, &addr);
}

static void assert_report(struct addresses *a, uint64_t claim, uint8_t state, const char *words)
{
    struct addresses_report r;
    assert_true(addresses_report(a, &r));
    assert_int_equal(r.claim, claim);
    assert_int_equal(r.state, state);
    assert_int_equal(r.words.n, strlen(words));
    assert_memory_equal(r.words.p, words, r.words.n);
}

static void assert_saved(const struct addresses *a, const char *text)
{
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(addresses_save(a, &out), 0);
    assert_int_equal(out.len, strlen(text));
    if (out.len > 0)
        assert_memory_equal(out.data, text, out.len);
    buf_fini(&out);
}

/* One that is this node's, under claim 5, and on the machine, in session 3. */
static struct addresses *with_one(void)
{
    struct addresses *a = addresses_new();
    assert_non_null(a);
    addresses_session(a, 3);
    see(a, A, 5, true, NULL);
    assert_job(a, 0, true, A, "it is this node's");
    end(a, A, true, "", 0);
    assert_true(ready(a, A));
    assert_report(a, 5, COMMAND_HOOK_DONE, "");
    (void)addresses_changed(a);
    return a;
}

static void test_added_once_it_is_ours(void **state)
{
    (void)state;
    struct addresses *a = addresses_new();
    struct addresses_report r;
    see(a, A, 5, true, NULL);
    assert_nothing(a, 0); /* no session yet */
    addresses_session(a, 3);
    see(a, B, 6, false, NULL); /* another node's: and A floats no more, or so it is told */
    assert_nothing(a, 0);
    see(a, A, 5, true, NULL);
    assert_false(ready(a, A));
    assert_false(addresses_report(a, &r));
    assert_job(a, 0, true, A, "it is this node's");
    assert_saved(a, A " news\n"); /* before it is there */
    assert_report(a, 5, COMMAND_HOOK_ADDING, "");
    assert_nothing(a, 0); /* one at a time */
    assert_false(ready(a, A));
    (void)addresses_changed(a);
    end(a, A, true, "fine", 10);
    assert_true(ready(a, A));
    assert_true(addresses_changed(a));
    assert_false(addresses_changed(a));
    assert_report(a, 5, COMMAND_HOOK_DONE, "");
    assert_false(addresses_report(a, &r));
    assert_nothing(a, 10);
    addresses_free(a);
}

static void test_a_hook_that_fails_is_run_again(void **state)
{
    (void)state;
    static const int64_t after[] = { 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000 };
    struct addresses *a = addresses_new();
    struct addresses_report r;
    int64_t now = 0;
    addresses_session(a, 3);
    see(a, A, 5, true, NULL);
    for (size_t i = 0; i < sizeof after / sizeof after[0]; i++) {
        assert_job(a, now, true, A, "it is this node's");
        end(a, A, false, "no such\tdevice", now);
        assert_false(ready(a, A));
        if (i == 0)
            assert_report(a, 5, COMMAND_HOOK_FAILED, "no such?device");
        assert_false(addresses_report(a, &r)); /* not each time */
        assert_nothing(a, now + after[i] - 1);
        now += after[i];
    }
    assert_job(a, now, true, A, "it is this node's");
    end(a, A, true, "", now);
    assert_true(ready(a, A));
    assert_report(a, 5, COMMAND_HOOK_DONE, "");
    addresses_free(a);
}

/* (!) In between another node may have had it, and the network may think that it still has. */
static void test_another_session_or_claim(void **state)
{
    (void)state;
    struct addresses *a = with_one();
    addresses_session(a, 4);
    assert_false(ready(a, A));
    assert_true(addresses_changed(a));
    assert_job(a, 0, true, A, "it is this node's");
    end(a, A, true, "", 0);
    assert_true(ready(a, A));
    see(a, A, 9, true, NULL);
    assert_false(ready(a, A));
    assert_true(addresses_changed(a));
    assert_job(a, 0, true, A, "it is this node's");
    see(a, A, 11, true, NULL); /* while it is added */
    end(a, A, true, "", 0);
    assert_false(ready(a, A));
    assert_job(a, 0, true, A, "it is this node's");
    end(a, A, true, "", 0);
    assert_true(ready(a, A));
    assert_report(a, 11, COMMAND_HOOK_DONE, "");
    addresses_free(a);
}

static void test_without_a_session_it_is_taken_off(void **state)
{
    (void)state;
    struct addresses *a = with_one();
    addresses_session(a, 0);
    assert_false(ready(a, A));
    assert_job(a, 0, false, A, "the session has ended");
    end(a, A, false, "", 0); /* it fails */
    assert_nothing(a, 999);
    assert_job(a, 1000, false, A, "the session has ended");
    addresses_session(a, 4); /* there is one again while it is taken off */
    assert_false(ready(a, A));
    end(a, A, true, "", 1000);
    assert_job(a, 1000, true, A, "it is this node's");
    addresses_session(a, 0); /* and it ends while it is added */
    end(a, A, true, "", 1000);
    assert_false(ready(a, A));
    assert_job(a, 1000, false, A, "the session has ended");
    end(a, A, true, "", 1000);
    assert_nothing(a, 1000);
    assert_saved(a, "");
    addresses_free(a);
}

/* (!) Its next owner has it once it is off this machine, or once that was tried. */
static void test_given_up_before_it_is_released(void **state)
{
    (void)state;
    struct addresses *a = with_one();
    see(a, A, 5, true, "relay2");
    assert_true(ready(a, A)); /* what is in hand goes on */
    assert_nothing(a, 0);
    assert_false(give_up(a, A));
    assert_false(ready(a, A));
    assert_job(a, 0, false, A, "it goes to relay2");
    assert_false(give_up(a, A));
    end(a, A, false, "busy", 0);
    assert_true(give_up(a, A)); /* it was tried */
    see(a, A, 6, false, NULL);
    assert_nothing(a, 0);
    assert_job(a, 1000, false, A, "it is no longer this node's"); /* and still is */
    end(a, A, true, "", 1000);
    assert_nothing(a, 1000);
    assert_true(give_up(a, A));

    see(a, A, 7, true, NULL); /* it comes back */
    assert_job(a, 2000, true, A, "it is this node's");
    end(a, A, true, "", 2000);
    see(a, A, 7, true, "");
    assert_false(give_up(a, A));
    assert_job(a, 2000, false, A, "it is being removed");
    see(a, A, 7, true, NULL); /* the operator thinks better of it */
    end(a, A, true, "", 2000);
    assert_false(ready(a, A));
    assert_job(a, 2000, true, A, "it is this node's");
    end(a, A, true, "", 2000);
    assert_true(ready(a, A));
    addresses_free(a);
}

/* An address that leaves before the hook could add it is not added for the sake of being taken off. */
static void test_leaves_before_it_was_added(void **state)
{
    (void)state;
    struct addresses *a = addresses_new();
    addresses_session(a, 3);
    see(a, A, 5, true, "relay2");
    assert_nothing(a, 0);
    assert_true(give_up(a, A));
    assert_nothing(a, 0);
    addresses_free(a);
}

static void test_bound_again(void **state)
{
    (void)state;
    struct addresses *a = with_one();
    see(a, B, 1, false, NULL);
    assert_false(ready(a, A));
    assert_nothing(a, 0); /* it stays on the machine */
    assert_saved(a, "");
    see(a, A, 8, true, NULL);
    assert_job(a, 0, true, A, "it is this node's");
    see(a, B, 1, false, NULL); /* while it is added */
    end(a, A, true, "", 0);
    assert_nothing(a, 0);
    addresses_free(a);
}

static void test_a_stop(void **state)
{
    (void)state;
    struct addresses *a = with_one();
    assert_true(addresses_idle(a));
    addresses_stopping(a);
    assert_false(addresses_idle(a));
    assert_job(a, 0, false, A, "the node is stopping");
    assert_false(addresses_idle(a));
    end(a, A, false, "", 0);
    assert_true(addresses_idle(a)); /* it was tried */
    assert_saved(a, A " news\n");
    addresses_free(a);
}

/* (!) What a process that was killed left on the machine is taken off by the next one, before it has a
 * session. */
static void test_after_a_kill(void **state)
{
    (void)state;
    struct addresses *a = addresses_new();
    assert_int_equal(addresses_load(a, SPAN_LIT(A " news\nwhat is this\n\n" B " news")), 0);
    struct addresses_job job;
    for (int i = 0; i < 2; i++) {
        assert_true(addresses_next(a, 0, &job));
        assert_false(job.add);
        assert_string_equal(job.reason, "left by the process before this one");
        assert_true(span_eq(job.pool, SPAN_LIT("news")));
        addresses_ended(a, &job.addr, true, SPAN_LIT(""), 0);
    }
    assert_nothing(a, 0);
    assert_saved(a, "");

    assert_int_equal(addresses_load(a, SPAN_LIT(A)), 0);
    addresses_session(a, 3);
    see(a, A, 5, true, NULL); /* it still is this node's: then it is added again, whatever is there */
    assert_false(ready(a, A));
    assert_job(a, 0, true, A, "it is this node's");
    end(a, A, true, "", 0);
    assert_true(ready(a, A));
    addresses_free(a);
}

static void test_missing(void **state)
{
    (void)state;
    struct addresses *a = with_one();
    struct ip_addr addr = addr_of(A);
    addresses_missing(a, &addr, 100);
    assert_false(ready(a, A));
    assert_job(a, 100, true, A, "it is missing on this machine");
    end(a, A, true, "", 100);
    assert_true(ready(a, A));
    addresses_missing(a, &addr, 10099);
    assert_nothing(a, 10099);
    addresses_missing(a, &addr, 10100);
    assert_job(a, 10100, true, A, "it is missing on this machine");
    end(a, A, false, "gone", 10100);
    assert_report(a, 5, COMMAND_HOOK_FAILED, "gone");
    addresses_free(a);
}

static void test_what_could_not_be_told(void **state)
{
    (void)state;
    struct addresses *a = with_one();
    struct addresses_report r;
    struct ip_addr addr = addr_of(A);
    addresses_untold(a, &addr);
    assert_report(a, 5, COMMAND_HOOK_DONE, "");
    addresses_untold(a, &addr);
    addresses_session(a, 0);
    assert_false(addresses_report(a, &r));
    addresses_free(a);
}

static void test_bounds(void **state)
{
    (void)state;
    struct addresses *a = addresses_new();
    char text[32];
    addresses_session(a, 1);
    for (unsigned i = 0; i <= ADDRESSES_MAX; i++) {
        snprintf(text, sizeof text, "10.0.%u.%u", i / 256, i % 256);
        const struct addresses_told told = { addr_of(text), SPAN_LIT("p"), 1, true, NULL };
        assert_int_equal(addresses_see(a, &told) == 0, i < ADDRESSES_MAX);
    }
    addresses_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_added_once_it_is_ours),
        cmocka_unit_test(test_a_hook_that_fails_is_run_again),
        cmocka_unit_test(test_another_session_or_claim),
        cmocka_unit_test(test_without_a_session_it_is_taken_off),
        cmocka_unit_test(test_given_up_before_it_is_released),
        cmocka_unit_test(test_leaves_before_it_was_added),
        cmocka_unit_test(test_bound_again),
        cmocka_unit_test(test_a_stop),
        cmocka_unit_test(test_after_a_kill),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_what_could_not_be_told),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
