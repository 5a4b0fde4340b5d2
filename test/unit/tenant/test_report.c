/* What a tenant is told about its mail: its own, and nothing of others. */
#include "test/unit/directory/world.h"

#include "node/tenant/report.h"

#include <stdio.h>
#include <string.h>

#define NOW INT64_C(1795363200000) /* Sun, 22 Nov 2026 */
#define HOUR INT64_C(3600000)

static void account(struct world *w, const char *name, const char *tenant)
{
    struct command c = { .type = COMMAND_ACCOUNT_SET,
                         .account_set = {
                             .name = str(name), .hash = str("!"), .tenant = str(tenant), .create = true } };
    assert_int_equal(tell(w, c), 0);
}

static void seen(struct world *w, const char *name, uint32_t delivered, uint32_t refused)
{
    static uint64_t number;
    struct buf b;
    struct record_counts c = { .account = str(name),
                               .count = { [RECORD_DELIVERED] = delivered,
                                          [RECORD_DEFERRED] = 2,
                                          [RECORD_COMPLAINT] = 1,
                                          [RECORD_HARD + 1] = refused } };
    buf_init(&b, 1024);
    assert_int_equal(record_counts_put(&b, &c), 0);
    assert_int_equal(
        tell_as(w, 1,
                (struct command){
                    .type = COMMAND_RECORD_REPORT,
                    .record_report = { .process = { 1 }, .number = ++number, .counts = buf_span(&b) } }),
        0);
    buf_fini(&b);
}

static void freeze(struct world *w, uint8_t scope, const char *name, const char *who, int64_t wall_ms)
{
    struct command c = { .type = COMMAND_FREEZE,
                         .freeze = { .by = { .who = str(who), .wall_ms = wall_ms },
                                     .scope = scope,
                                     .name = str(name),
                                     .mode = COMMAND_FREEZE_HOLD,
                                     .for_ms = 7200000,
                                     .reason = str("150 recipients in 1h\xc3\xa9") } };
    assert_int_equal(tell(w, c), 0);
}

static struct world *world(void)
{
    struct world *w = world_at_level(COMMAND_FEATURES);
    struct command c = { .type = COMMAND_TENANT_SET, .tenant_set = { .name = str("own.example") } };
    assert_int_equal(tell(w, c), 0);
    c.tenant_set.name = str("other.example");
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_TENANT_CONTACT,
                                               .tenant_contact = { .name = str("own.example"),
                                                                   .address = str("it@own.example") } }),
                     0);
    account(w, "anna@own.example", "own.example");
    account(w, "bob@own.example", "own.example");
    account(w, "carol@other.example", "other.example");
    account(w, "carol@own.example", "other.example");
    seen(w, "anna@own.example", 10, 3);
    seen(w, "bob@own.example", 40, 0);
    seen(w, "form@own.example", 5, 0); /* a relay named it */
    seen(w, "carol@other.example", 1000, 1000);
    seen(w, "carol@own.example", 1000, 1000);
    return w;
}

static struct tenant_report *gather(struct world *w, const char *tenant, enum directory_record_window window)
{
    struct tenant_report *r = malloc(sizeof *r);
    assert_non_null(r);
    assert_int_equal(tenant_report_gather(w->m, str(tenant), window, NOW, r), 0);
    return r;
}

static void counts_are_its_own(void **state)
{
    (void)state;
    struct world *w = world();
    struct tenant_report *r = gather(w, "own.example", DIRECTORY_RECORD_WEEK);
    assert_string_equal(r->contact, "it@own.example");
    assert_int_equal(r->counts[RECORD_DELIVERED], 55);
    assert_int_equal(r->counts[RECORD_DEFERRED], 6);
    assert_int_equal(r->counts[RECORD_COMPLAINT], 3);
    assert_int_equal(tenant_report_bounced(r), 3);
    assert_int_equal(r->senders, 3);
    assert_int_equal(r->top_n, 3);
    assert_string_equal(r->top[0].account, "bob@own.example");
    assert_string_equal(r->top[2].account, "form@own.example");
    free(r);
    r = malloc(sizeof *r);
    assert_int_equal(tenant_report_gather(w->m, str("no-one.example"), DIRECTORY_RECORD_DAY, NOW, r),
                     ERR_NOT_FOUND);
    free(r);
    world_free(w);
}

/* Whose host it is, whatever its script or its user is called. */
static void web_senders_are_their_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool own, others;
    } cases[] = {
        { "web:anna@own.example/33:form.php", true, false },
        { "web:anna@own.example/carol@other.example", true, false },
        { "web:anna@own.example/x/y@other.example", true, false },
        { "web:carol@other.example/anna@own.example", false, true },
        { "web:carol@own.example/33:form.php", false, true },
        { "web:relay@own.example/claimed@other.example", true, false }, /* no account: its domain's */
        { "web:relay@own.example/counted@other.example", true, false },
        { "web:relay@own.example/never-seen", false, false },
        { "web:relay@third.example/claimed@own.example", false, false },
        { "web:relay/claimed@own.example", false, false },
    };
    struct world *w = world();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct command claim = {
            .type = COMMAND_WEB_CLAIM,
            .web_claim = { .name = str(cases[i].name), .most_of_host = 10, .most = 100, .for_ms = 7200000 }
        };
        if (strstr(cases[i].name, "/claimed") != NULL)
            assert_int_equal(tell_as(w, 1, claim), 0);
        else if (strstr(cases[i].name, "/never-seen") == NULL)
            seen(w, cases[i].name, 100, 0);
        for (int own = 0; own < 2; own++)
            if (tenant_owns(w->m, str(own ? "own.example" : "other.example"), str(cases[i].name)) !=
                (own ? cases[i].own : cases[i].others))
                fail_msg("%s, %s", cases[i].name, own ? "own" : "another's");
    }
    struct tenant_report *r = gather(w, "own.example", DIRECTORY_RECORD_WEEK);
    assert_int_equal(r->counts[RECORD_DELIVERED], 55 + 400);
    assert_int_equal(r->senders, 3 + 4);
    for (uint32_t i = 0; i < r->top_n; i++)
        assert_null(strstr(r->top[i].account, "web:carol"));
    free(r);
    world_free(w);
}

static void there_may_be_many_senders(void **state)
{
    (void)state;
    struct world *w = world();
    for (uint32_t i = 0; i < 1100; i++) {
        char name[64];
        snprintf(name, sizeof name, "s%04u@own.example", i);
        seen(w, name, i, 0);
    }
    struct tenant_report *r = gather(w, "own.example", DIRECTORY_RECORD_DAY);
    assert_int_equal(r->senders, 1103);
    assert_int_equal(r->counts[RECORD_DELIVERED], 55 + 1099 * 1100 / 2);
    assert_int_equal(r->top_n, TENANT_REPORT_SENDERS);
    for (uint32_t i = 0; i < r->top_n; i++)
        assert_int_equal(r->top[i].delivered, 1099 - i);
    free(r);
    world_free(w);
}

static void what_was_done(void **state)
{
    (void)state;
    struct world *w = world();
    freeze(w, COMMAND_SCOPE_ACCOUNT, "anna@own.example", "unix:uid=0,pid=1@node-a", NOW - 8 * 24 * HOUR);
    freeze(w, COMMAND_SCOPE_ACCOUNT, "anna@own.example", "rule many-places", NOW - 3 * HOUR);
    freeze(w, COMMAND_SCOPE_ACCOUNT, "carol@own.example", "rule many-places", NOW - 2 * HOUR);
    freeze(w, COMMAND_SCOPE_TENANT, "other.example", "unix:uid=0,pid=1@node-a", NOW - 2 * HOUR);
    freeze(w, COMMAND_SCOPE_TENANT, "own.example", "unix:uid=0,pid=1@node-a", NOW - HOUR);
    struct command thaw = { .type = COMMAND_THAW,
                            .thaw = {
                                .by = { .who = str("unix:uid=0,pid=1@node-a"), .wall_ms = NOW - HOUR / 2 },
                                .scope = COMMAND_SCOPE_TENANT,
                                .name = str("own.example") } };
    assert_int_equal(tell(w, thaw), 0);
    struct tenant_report *r = gather(w, "own.example", DIRECTORY_RECORD_WEEK);
    assert_int_equal(r->nfrozen, 1);
    assert_string_equal(r->frozen[0].name, "anna@own.example");
    assert_int_equal(r->frozen[0].left_ms, 7200000);
    assert_int_equal(r->nacts, 3);
    assert_non_null(strstr(r->acts[0].what, "thaw tenant own.example"));
    assert_string_equal(r->acts[0].by, "the postmaster");
    assert_non_null(strstr(r->acts[2].what, "freeze account anna@own.example"));
    assert_string_equal(r->acts[2].by, "rule many-places");
    struct buf out;
    uint32_t header_bytes = 0;
    struct tenant_report_mail mail = { .from = "postmaster@relay.example",
                                       .to = "it@own.example",
                                       .message_id = "<1@relay.example>",
                                       .every = "week" };
    buf_init(&out, TENANT_REPORT_BYTES_MAX);
    assert_int_equal(tenant_report_mail(r, &mail, &out, &header_bytes), 0);
    assert_int_equal(buf_put_char(&out, '\0'), 0);
    static const char *const has[] = { "To: <it@own.example>\r\n",
                                       "Subject: Mail of own.example in the last week\r\n",
                                       "Auto-Submitted: auto-generated\r\n",
                                       "delivered                  55\r\n",
                                       "unknown_user",
                                       "anna@own.example: mail is held since Sun, 22 Nov",
                                       "for another 2h",
                                       "150 recipients in 1h??",
                                       "by rule many-places\r\n",
                                       "once a week.\r\n" };
    for (size_t i = 0; i < sizeof has / sizeof has[0]; i++)
        if (strstr(out.data, has[i]) == NULL)
            fail_msg("no %s in\n%s", has[i], out.data);
    static const char *const lacks[] = { "carol", "other.example", "uid=0" };
    for (size_t i = 0; i < sizeof lacks / sizeof lacks[0]; i++)
        if (strstr(out.data, lacks[i]) != NULL)
            fail_msg("%s in\n%s", lacks[i], out.data);
    assert_memory_equal(out.data + header_bytes - 4, "\r\n\r\n", 4);
    for (const char *lf = out.data; (lf = strchr(lf, '\n')) != NULL; lf++)
        assert_int_equal(lf[-1], '\r');
    buf_fini(&out);
    free(r);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_its_own),
        cmocka_unit_test(web_senders_are_their_hosts),
        cmocka_unit_test(there_may_be_many_senders),
        cmocka_unit_test(what_was_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
