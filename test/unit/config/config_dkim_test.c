/* The section dkim: what is wrong is told, key files are read and refused, and which keys are for a domain.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "node/config/config.h"
#include "node/core/keyring.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_MS INT64_C(86400000)
#define NEW_YEAR_2026_MS INT64_C(1767225600000)

static char dir[64];

static void write_key(const char *name, enum dkim_algorithm algorithm, mode_t mode)
{
    char path[128];
    struct dkim_key *k;
    struct buf pem;
    buf_init(&pem, DKIM_KEY_FILE_MAX);
    assert_int_equal(dkim_key_generate(algorithm, 1024, &k), 0);
    assert_int_equal(dkim_key_put_pem(k, &pem), 0);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, pem.data, pem.len), (ssize_t)pem.len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    buf_fini(&pem);
    dkim_key_rele(k);
}

static int make_keys(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/config-dkim-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    write_key("rsa", DKIM_RSA, 0600);
    write_key("ed", DKIM_ED25519, 0640);
    write_key("open", DKIM_ED25519, 0644);
    return 0;
}

static int remove_keys(void **state)
{
    (void)state;
    static const char *const names[] = { "rsa", "ed", "open" };
    char path[128];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    return rmdir(dir);
}

/* Line 5 is the first of the section's own; @ is the folder of the keys. */
static struct config *load(const char *section, struct config_errors *errors)
{
    char text[8192];
    size_t n = (size_t)snprintf(text, sizeof text,
                                "hostname: relay.example.com\ndata_dir: %s/data\n"
                                "listeners: { kind: relay, address: \"127.0.0.1:2525\" }\ndkim:\n",
                                dir);
    for (const char *p = section; *p != '\0'; p++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%.*s", *p == '@' ? (int)strlen(dir) : 1,
                              *p == '@' ? dir : p);
    n += (size_t)snprintf(text + n, sizeof text - n, "relay_clients: { networks: 127.0.0.0/8, account: a }\n");
    struct config *c = NULL;
    config_errors_init(errors);
    int err = config_parse("f", span_of(text, n), 0, &c, errors);
    assert_int_equal(err, c == NULL ? ERR_BAD : 0);
    return c;
}

static void check_wrong(const char *section, const char *want)
{
    struct config_errors errors;
    struct config *c = load(section, &errors);
    if (c != NULL || errors.n == 0 || strstr(errors.v[0].text, want) == NULL)
        print_message("%s: %s\n", section, errors.n == 0 ? "nothing is said" : errors.v[0].text);
    assert_null(c);
    assert_true(errors.n > 0);
    assert_non_null(strstr(errors.v[0].text, want));
    config_errors_fini(&errors);
}

#define KEY(domain, selector, file, more)                                                                    \
    "    - { domain: " domain ", selector: " selector ", file: " file more " }\n"

static void test_wrong(void **state)
{
    (void)state;
    check_wrong("  keys:\n    - { domain: a.example }\n", "f:6: dkim.keys[0].selector: is required");
    check_wrong("  keys:\n" KEY("a.example", "s..1", "/x", ""),
                "f:6: dkim.keys[0].selector: expected a selector");
    check_wrong("  keys:\n" KEY("a.example", "s", "@/none", ""), "f:6: dkim.keys[0].file: cannot read");
    check_wrong("  keys:\n" KEY("a.example", "s", "@/open", ""), "(mode 0644): chmod 0640 or 0600 it");
    check_wrong("  keys:\n" KEY("a.example", "s", "/proc/self/status", ""), "f:6: dkim.keys[0].file: ");
    check_wrong("  keys:\n" KEY("a.example", "s", "@/ed", ", not_before: 2026-02-29"),
                "f:6: dkim.keys[0].not_before: expected a date such as 2026-11-01");
    check_wrong("  keys:\n" KEY("a.example", "s", "@/ed",
                                ", not_before: 2026-02-02, not_after: \"2026-02-02T00:00:00Z\""),
                "f:6: dkim.keys[0].not_after: must be later than not_before");
    check_wrong("  keys:\n" KEY("a.example", "s", "@/ed", "") KEY("b.example", "s", "@/ed", "")
                    KEY("A.example", "S", "@/rsa", ""),
                "f:8: dkim.keys[2].selector: S._domainkey.a.example has a key already, on line 6");
    check_wrong("  default_domain: a.example\n",
                "f:5: dkim.default_domain: no key in dkim.keys is for a.example");
    check_wrong("  tenants: { tenant: t, default_domain: a.example }\n",
                "dkim.tenants[0].default_domain: no key in dkim.keys is for a.example");
    check_wrong("  headers: [To, Subject]\n", "f:5: dkim.headers: must have From");
    check_wrong("  oversigned: [Received]\n", "Received cannot be signed");
    check_wrong("  headers: [From, \"a:b\"]\n", "expected the name of a header field");
    check_wrong("  canonicalization: relaxed\n", "f:5: dkim.canonicalization: ");
    check_wrong("  required: [everybody]\n", "f:5: dkim.required");
}

static void check_found(const struct config *c, const char *domain, const char *tenant, int64_t wall_ms,
                        const char *want)
{
    struct keyring_choice keys[DKIM_ALGORITHMS];
    char got[128] = "";
    uint32_t n = keyring_choose(NULL, c, span_str(domain), span_str(tenant), wall_ms, keys);
    for (uint32_t i = 0; i < n; i++) {
        strcat(got, i == 0 ? "" : " ");
        strcat(got, keys[i].selector);
    }
    assert_string_equal(got, want);
}

static void test_keys_of_a_domain(void **state)
{
    (void)state;
    struct config_errors errors;
    struct config *c = load("  default_domain: d.example\n"
                            "  tenants: [{ tenant: Acme, default_domain: a.example }]\n"
                            "  keys:\n" KEY("a.example", "r2025", "@/rsa", ", not_before: 2025-01-01")
                                KEY("a.example", "r2026", "@/rsa", ", not_before: 2026-01-01")
                                    KEY("a.example", "e", "@/ed", ", not_after: 2026-03-01")
                                        KEY("b.example", "top", "@/ed", ", subdomains: true")
                                            KEY("x.b.example", "x", "@/ed", ", tenants: [t]")
                                                KEY("d.example", "d", "@/ed", ""),
                            &errors);
    assert_non_null(c);
    assert_int_equal(errors.errors, 0);
    check_found(c, "a.example", "", NEW_YEAR_2026_MS - 1, "r2025 e");
    check_found(c, "a.example", "", NEW_YEAR_2026_MS, "r2026 e");
    check_found(c, "a.example", "", NEW_YEAR_2026_MS + 59 * DAY_MS - 1, "r2026 e");
    check_found(c, "a.example", "", NEW_YEAR_2026_MS + 59 * DAY_MS, "r2026");
    check_found(c, "a.example", "", NEW_YEAR_2026_MS - 366 * DAY_MS, "e");
    check_found(c, "www.a.example", "", NEW_YEAR_2026_MS, "");
    check_found(c, "b.example", "", NEW_YEAR_2026_MS, "top");
    check_found(c, "y.z.b.example", "", NEW_YEAR_2026_MS, "top");
    check_found(c, "notb.example", "", NEW_YEAR_2026_MS, "");
    check_found(c, "x.b.example", "T", NEW_YEAR_2026_MS, "x");
    check_found(c, "x.b.example", "u", NEW_YEAR_2026_MS, "top");
    check_found(c, "", "", NEW_YEAR_2026_MS, "");
    assert_true(span_eq(config_dkim_default(c, SPAN_LIT("acme")), SPAN_LIT("a.example")));
    assert_true(span_eq(config_dkim_default(c, SPAN_LIT("other")), SPAN_LIT("d.example")));
    assert_int_equal(c->dkim.style.header, DKIM_RELAXED);
    assert_int_equal(c->dkim.style.nnames, 27);
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(config_describe(c, &b), 0);
    assert_non_null(memmem(b.data, b.len, "dkim.keys[2].not_after: 2026-03-01T00:00:00Z\n", 45));
    assert_null(memmem(b.data, b.len, "PRIVATE", 7));
    buf_fini(&b);
    config_rele(c);
    config_errors_fini(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_keys_of_a_domain),
    };
    return cmocka_run_group_tests(tests, make_keys, remove_keys);
}
