/* Which key signs when some are in the node's file and some are the cluster's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/core/keyring.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char file[] = "/tmp/keyring-XXXXXX";
static struct dkim_key *rsa, *ed;
static struct config *config;

/* A node whose file has s1 from day 1 on. */
static int set_up(void **state)
{
    (void)state;
    char text[512];
    struct config_errors errors;
    struct buf pem;
    int fd = mkstemp(file);
    buf_init(&pem, DKIM_KEY_FILE_MAX);
    config_errors_init(&errors);
    assert_int_equal(dkim_key_generate(DKIM_RSA, 1024, &rsa), 0);
    assert_int_equal(dkim_key_generate(DKIM_ED25519, 0, &ed), 0);
    assert_int_equal(dkim_key_put_pem(rsa, &pem), 0);
    assert_int_equal(write(fd, pem.data, pem.len), (ssize_t)pem.len);
    close(fd);
    int n =
        snprintf(text, sizeof text,
                 "hostname: relay.example.com\ndata_dir: /tmp/keyring\n"
                 "listeners: { kind: relay, address: \"127.0.0.1:2525\" }\n"
                 "relay_clients: { networks: 127.0.0.0/8, account: a }\n"
                 "dkim: { keys: { domain: a.example, selector: file, file: %s, not_before: 1970-01-02 } }\n",
                 file);
    assert_int_equal(config_parse("f", span_of(text, (size_t)n), 0, &config, &errors), 0);
    config_errors_fini(&errors);
    buf_fini(&pem);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    config_rele(config);
    dkim_key_rele(rsa);
    dkim_key_rele(ed);
    return unlink(file);
}

#define DAY_MS INT64_C(86400000)

static void add(struct keyring *r, const char *domain, const char *selector, struct dkim_key *key,
                int64_t from_ms, int64_t until_ms, const char *tenants, bool subdomains)
{
    struct keyring_key k = { .domain = (char *)(uintptr_t)domain,
                             .selector = (char *)(uintptr_t)selector,
                             .tenants = (char *)(uintptr_t)tenants,
                             .algorithm = key == ed ? DKIM_ED25519 : DKIM_RSA,
                             .not_before_ms = from_ms,
                             .not_after_ms = until_ms,
                             .subdomains = subdomains,
                             .key = key };
    assert_int_equal(keyring_add(r, &k), 0);
}

static void check(const struct keyring *r, const char *domain, const char *tenant, int64_t wall_ms,
                  const char *want)
{
    struct keyring_choice found[DKIM_ALGORITHMS];
    char got[200] = "";
    uint32_t n = keyring_choose(r, config, span_str(domain), span_str(tenant), wall_ms, found);
    for (uint32_t i = 0; i < n; i++) {
        strcat(got, i == 0 ? "" : " ");
        strcat(got, found[i].selector);
        strcat(got, found[i].key == NULL ? "(closed)" : "");
    }
    assert_string_equal(got, want);
}

static void both_places(void **state)
{
    (void)state;
    struct keyring *r = keyring_new(4);
    add(r, "a.example", "same", rsa, DAY_MS, 0, "", false);
    add(r, "a.example", "later", rsa, 3 * DAY_MS, 5 * DAY_MS, "", false);
    add(r, "a.example", "ed", ed, 0, 0, "", false);
    add(r, "a.example", "older", rsa, 0, 0, "", false);
    assert_int_equal(keyring_count(r), 4);
    check(r, "a.example", "", 0, "older ed");
    check(r, "a.example", "", DAY_MS, "file ed"); /* begins with another: the file's */
    check(r, "a.example", "", 3 * DAY_MS, "later ed");
    check(r, "a.example", "", 5 * DAY_MS - 1, "later ed");
    check(r, "a.example", "", 5 * DAY_MS, "file ed");
    check(NULL, "a.example", "", 3 * DAY_MS, "file");
    check(r, "b.a.example", "", 3 * DAY_MS, "");
    struct keyring *more = keyring_hold(r);
    keyring_rele(r);
    check(more, "A.Example", "", 3 * DAY_MS, "later ed");
    keyring_rele(more);
    keyring_rele(NULL);
}

static void whose(void **state)
{
    (void)state;
    struct keyring *r = keyring_new(3);
    add(r, "b.example", "top", ed, 0, 0, "", true);
    add(r, "x.b.example", "two", ed, 0, 0, "shop news", false);
    add(r, "c.example", "shut", NULL, 0, 0, "", false);
    check(r, "y.z.b.example", "", DAY_MS, "top");
    check(r, "x.b.example", "News", DAY_MS, "two");
    check(r, "x.b.example", "shop", DAY_MS, "two");
    check(r, "x.b.example", "sho", DAY_MS, "top");
    check(r, "x.b.example", "", DAY_MS, "top");
    check(r, "c.example", "", DAY_MS, "shut(closed)"); /* it should sign: not nothing */
    keyring_rele(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(both_places), cmocka_unit_test(whose) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
