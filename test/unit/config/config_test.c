/* A right configuration: defaults, the commented example, lookups, printing, what a reload can change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/config/config.h"
#include "node/config/tables.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MINIMAL                                                                                              \
    "hostname: Relay.Example.COM.\n"                                                                         \
    "listeners:\n"                                                                                           \
    "  - { kind: submission, address: \"127.0.0.1:587\", tls: { certificate: /x/c.pem, key: /x/k.pem } }\n"

static struct config *parse_flags(const char *text, unsigned flags)
{
    struct config_errors errors;
    struct config *c = NULL;
    config_errors_init(&errors);
    int err = config_parse("node.yaml", span_str(text), flags, &c, &errors);
    for (uint32_t i = 0; i < errors.n; i++)
        print_message("%s\n", errors.v[i].text);
    assert_int_equal(err, 0);
    assert_int_equal(errors.errors, 0);
    config_errors_fini(&errors);
    return c;
}

static struct config *parse(const char *text)
{
    return parse_flags(text, CONFIG_NO_FILES);
}

static void test_defaults(void **state)
{
    (void)state;
    struct config *c = parse(MINIMAL);
    assert_string_equal(c->hostname, "relay.example.com");
    assert_string_equal(c->name, "relay");
    assert_string_equal(c->data_dir, "/var/lib/turnpike");
    assert_null(c->user);
    assert_true(c->workers >= 1);
    assert_int_equal(c->nlisteners, 1);
    const struct config_listener *l = &c->listeners[0];
    assert_string_equal(l->name, "submission-587");
    assert_string_equal(l->hostname, "relay.example.com");
    assert_true(l->require_tls);
    assert_false(l->old_devices);
    assert_int_equal(l->ntls, 1);
    assert_string_equal(l->tls[0].key, "/x/k.pem");
    assert_int_equal(l->max_message_bytes, 50u << 20);
    assert_int_equal(l->max_rcpts, 1000);
    assert_int_equal(l->idle_timeout_ms, 300000);
    assert_int_equal(l->proxy_protocol.nfrom, 0);
    assert_int_equal(c->delivery.nretry, 7);
    assert_int_equal(c->delivery.retry_ms[0], 300000);
    assert_int_equal(c->delivery.retry_ms[6], 4 * 3600000);
    assert_int_equal(c->delivery.expire_ms, INT64_C(4) * 86400000);
    assert_int_equal(c->delivery.weight[ENVELOPE_CLASS_PERSON], 4);
    assert_int_equal(c->delivery.weight[ENVELOPE_CLASS_BULK], 1);
    assert_int_equal(c->delivery.tls, CONFIG_TLS_OPPORTUNISTIC);
    assert_false(c->delivery.eightbit_bounce);
    assert_string_equal(c->accounts.file, "/var/lib/turnpike/accounts");
    assert_int_equal(c->accounts.sender_check, CONFIG_SENDER_ENVELOPE_AND_HEADER);
    assert_string_equal(c->spool.dir, "/var/lib/turnpike/spool");
    assert_string_equal(c->bounces.postmaster, "postmaster@relay.example.com");
    assert_string_equal(c->admin.socket, "/var/lib/turnpike/admin.sock");
    assert_false(c->admin.enabled_tcp);
    assert_int_equal(c->log.events_kind, CONFIG_EVENTS_JOURNAL);
    assert_true(c->history.enabled);
    config_rele(c);
}

/* Each key may be empty where all of its own keys have defaults: whoever comments out all of them. */
static void test_empty_mappings(void **state)
{
    (void)state;
    struct config *c =
        parse(MINIMAL "smtp:\ndelivery:\nroutes:\naccounts:\n  dovecot:\n  checks: ~\nadmin: null\n");
    assert_int_equal(c->smtp.max_errors, 20);
    assert_int_equal(c->nroutes, 0);
    assert_int_equal(c->delivery.nretry, 7);
    config_rele(c);
}

static void test_example(void **state)
{
    (void)state;
    struct config_errors errors;
    struct config *c;
    config_errors_init(&errors);
    int err =
        config_load(TEST_SOURCE_DIR "/../../../deploy/turnpike.example.yaml", CONFIG_NO_FILES, &c, &errors);
    for (uint32_t i = 0; i < errors.n; i++)
        print_message("%s\n", errors.v[i].text);
    assert_int_equal(err, 0);
    assert_int_equal(errors.n, 0); /* no warning either */
    assert_int_equal(c->nlisteners, 6);
    assert_string_equal(c->listeners[1].name, "submission-587");
    assert_int_equal(c->listeners[2].ntls, 2);
    assert_string_equal(c->listeners[2].tls[0].certificate, "/etc/turnpike/tls/relay1.pem");
    assert_true(c->listeners[2].hide_client_address);
    assert_int_equal(c->listeners[3].kind, CONFIG_RELAY);
    assert_false(c->listeners[3].require_tls);
    assert_true(c->listeners[4].old_devices);
    assert_false(c->listeners[4].require_tls);
    assert_int_equal(c->listeners[4].max_rcpts, 20);
    assert_int_equal(c->listeners[5].proxy_protocol.nfrom, 2);
    assert_string_equal(c->listeners[5].hostname, "outbound.example.com");
    assert_int_equal(c->listeners[5].idle_timeout_ms, 120000);
    assert_int_equal(c->nheader_rules, 2);
    assert_int_equal(c->header_rules[0].action, CONFIG_HEADER_REMOVE);
    assert_string_equal(c->header_rules[1].name, "X-Relayed-By");
    assert_string_equal(c->header_rules[1].value, "example.com");
    assert_int_equal(c->nsources, 2);
    assert_int_equal(c->nroutes, 3);
    assert_int_equal(c->routes[0].hop.kind, CONFIG_HOP_ADDRESS);
    assert_int_equal(config_sockaddr_port(&c->routes[0].hop.address), 25);
    assert_int_equal(c->routes[1].hop.kind, CONFIG_HOP_MX);
    assert_string_equal(c->routes[1].hop.host, "gateway.partner.example");
    assert_int_equal(c->routes[1].tls, CONFIG_TLS_VERIFY);
    assert_int_equal(c->routes[2].hop.kind, CONFIG_HOP_MX_OF_DOMAIN);
    assert_int_equal(c->routes[2].hop.port, 2525);
    assert_int_equal(c->routes[2].tls, CONFIG_TLS_OPPORTUNISTIC);
    assert_int_equal(c->resolver.nservers, 2);
    assert_int_equal(config_sockaddr_port(&c->resolver.servers[0]), 53);
    assert_int_equal(config_sockaddr_port(&c->resolver.servers[1]), 5353);
    assert_int_equal(c->log.events_kind, CONFIG_EVENTS_FILE);
    config_rele(c);
    config_errors_fini(&errors);
}

static void test_routes(void **state)
{
    (void)state;
    struct config *c = parse(MINIMAL "routes:\n"
                                     "  - { domain: Example.org., via: smart.example.net }\n"
                                     "  - { domain: \"*.example.org\", via: \"smart.example.net:26\" }\n"
                                     "  - { domain: \"*.a.example.org\", via: \"[smart.example.net]:27\" }\n"
                                     "  - { domain: \"*\", via: \"[2001:db8::1]:28\" }\n"
                                     "  - { domain: v4.example, via: \"192.0.2.1\" }\n"
                                     "  - { domain: mx.example, via: \"mx:Other.Example:29\" }\n");
    assert_ptr_equal(config_route_find(c, SPAN_LIT("example.org")), &c->routes[0]);
    assert_ptr_equal(config_route_find(c, SPAN_LIT("EXAMPLE.org")), &c->routes[0]);
    assert_ptr_equal(config_route_find(c, SPAN_LIT("b.example.org")), &c->routes[1]);
    assert_ptr_equal(config_route_find(c, SPAN_LIT("a.example.org")), &c->routes[1]);
    assert_ptr_equal(config_route_find(c, SPAN_LIT("x.y.a.example.org")), &c->routes[2]);
    assert_ptr_equal(config_route_find(c, SPAN_LIT("notexample.org")), &c->routes[3]);
    assert_ptr_equal(config_route_find(c, SPAN_LIT("org")), &c->routes[3]);
    assert_ptr_equal(config_route_find(c, SPAN_LIT("")), &c->routes[3]);
    assert_int_equal(c->routes[0].hop.kind, CONFIG_HOP_HOST);
    assert_int_equal(c->routes[0].hop.port, 25);
    assert_int_equal(c->routes[1].hop.port, 26);
    assert_int_equal(c->routes[2].hop.kind, CONFIG_HOP_HOST);
    assert_int_equal(c->routes[2].hop.port, 27);
    assert_int_equal(c->routes[3].hop.kind, CONFIG_HOP_ADDRESS);
    assert_int_equal(config_sockaddr_port(&c->routes[3].hop.address), 28);
    assert_int_equal(config_sockaddr_port(&c->routes[4].hop.address), 25);
    assert_string_equal(c->routes[5].hop.host, "other.example");
    assert_int_equal(c->routes[5].hop.port, 29);
    config_rele(c);

    c = parse(MINIMAL "routes: [{ domain: example.org, via: smart.example.net }]\n");
    assert_null(config_route_find(c, SPAN_LIT("www.example.org")));
    config_rele(c);
}

static struct sockaddr_storage ip(const char *text)
{
    struct sockaddr_storage a;
    assert_int_equal(config_ip_parse(span_str(text), &a), 0);
    return a;
}

static void test_relay_accounts(void **state)
{
    (void)state;
    struct config *c = parse("hostname: relay.example.com\n"
                             "listeners: { kind: relay, address: \"127.0.0.1:25\" }\n"
                             "relay_clients:\n"
                             "  - { networks: [10.0.0.0/8, \"2001:db8::/32\"], account: Big@Example.com }\n"
                             "  - { networks: 10.1.0.0/16, account: small@example.com }\n");
    struct sockaddr_storage a = ip("10.1.2.3"), b = ip("10.2.0.1"), d = ip("::ffff:10.1.2.3"),
                            e = ip("192.0.2.1"), f = ip("2001:db8::7");
    assert_string_equal(config_relay_account(c, (struct sockaddr *)&a), "small@example.com");
    assert_string_equal(config_relay_account(c, (struct sockaddr *)&b), "big@example.com");
    assert_string_equal(config_relay_account(c, (struct sockaddr *)&d), "small@example.com");
    assert_null(config_relay_account(c, (struct sockaddr *)&e));
    assert_string_equal(config_relay_account(c, (struct sockaddr *)&f), "big@example.com");
    assert_false(c->listeners[0].require_tls);
    config_rele(c);
}

/* What is printed says every default, and printing what was read again gives the same. */
static void test_describe(void **state)
{
    (void)state;
    struct config *c = parse(MINIMAL "routes:\n  - { domain: a.example, via: \"b.example:25\", tls: verify,\n"
                                     "      auth: { user: me, password_file: /x/pw } }\n"
                                     "header_rules: [{ add: \"X-A: b\" }, { remove: X-C }]\n");
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(config_describe(c, &b), 0);
    buf_put_char(&b, '\0');
    static const char *const lines[] = {
        "hostname: relay.example.com\n",
        "listeners[0].address: 127.0.0.1:587\n",
        "listeners[0].tls[0].key: /x/k.pem\n",
        "listeners[0].max_message_size: 50M\n",
        "smtp.session_timeout: 2h\n",
        "header_rules[0].add: X-A: b\n",
        "header_rules[1].remove: X-C\n",
        "delivery.retry[0]: 5m\n",
        "delivery.eightbit_fallback: send\n",
        "delivery.timeouts.dot: 10m\n",
        "routes[0].auth.password_file: /x/pw\n",
        "accounts.guard.window: 10m\n",
        "bounces.from: Mail Delivery System\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (strstr(b.data, lines[i]) == NULL)
            fail_msg("missing: %s in\n%s", lines[i], b.data);
    assert_null(strstr(b.data, "header_rules[0].remove"));
    assert_null(strstr(b.data, "admin.listen"));
    buf_fini(&b);
    config_rele(c);
}

static void test_admin_for_others(void **state)
{
    (void)state;
    struct config *c =
        parse(MINIMAL "admin: { listen: \"0.0.0.0:8025\", remote: true, token_file: /x/t,\n"
                      "         hosts: [a.example.com, b.example.com], open_metrics: true }\n");
    assert_true(c->admin.enabled_tcp && c->admin.remote && c->admin.open_metrics);
    assert_int_equal(c->admin.nhosts, 2);
    assert_string_equal(c->admin.hosts[1], "b.example.com");
    config_rele(c);
    c = parse(MINIMAL "admin: { listen: \"0.0.0.0:8025\", token_file: /x/t,\n"
                      "         tls: { certificate: /x/c.pem, key: /x/k.pem } }\n");
    assert_true(c->admin.enabled_tcp && !c->admin.remote);
    assert_int_equal(c->admin.ntls, 1);
    assert_string_equal(c->admin.tls[0].key, "/x/k.pem");
    config_rele(c);
}

static void test_diff(void **state)
{
    (void)state;
    struct config *a = parse(MINIMAL);
    struct config *b =
        parse(MINIMAL "data_dir: /srv/turnpike\nworkers: 77\nuser: mail\nsmtp: { max_errors: 3 }\n"
                      "admin: { listen: \"127.0.0.1:8025\", token_file: /x/t }\n");
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(config_diff_restart_needed(a, a, &out), 0);
    assert_int_equal(out.len, 0);
    uint32_t n = config_diff_restart_needed(a, b, &out);
    buf_put_char(&out, '\0');
    /* What follows from data_dir is named too. */
    assert_string_equal(out.data,
                        "data_dir\nuser\nworkers\nspool.dir\nhistory.file\nadmin.socket\nadmin.listen\n");
    assert_int_equal(n, 7);
    buf_fini(&out);
    config_rele(a);
    config_rele(b);
}

/* ---- files --------------------------------------------------------------------------------------------- */

static char dir[64];

static char *file(const char *name, const char *content, mode_t mode)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static int setup_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/turnpike-config-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    return system(cmd);
}

static void test_secrets(void **state)
{
    (void)state;
    char text[2048];
    snprintf(
        text, sizeof text,
        "hostname: relay.example.com\n"
        "listeners: { kind: submissions, address: \"127.0.0.1:465\", tls: { certificate: %s, key: %s } }\n"
        "routes: { domain: \"*\", via: \"smart.example:587\", tls: verify, auth: { user: u, password_file: "
        "%s } }\n"
        "admin: { listen: \"[::1]:8025\", token_file: %s }\n"
        "log: { events: %s/events.json }\n",
        file("c.pem", "x", 0644), file("k.pem", "x", 0640), file("pw", "open sesame\n", 0600),
        file("token", "0123456789abcdef\r\nrest\n", 0440), dir);
    struct config *c = parse_flags(text, 0);
    assert_string_equal(c->routes[0].auth.password, "open sesame");
    assert_string_equal(c->admin.token, "0123456789abcdef");
    struct buf b;
    buf_init(&b, 1 << 20);
    config_describe(c, &b);
    assert_null(memmem(b.data, b.len, "sesame", 6));
    assert_null(memmem(b.data, b.len, "0123456789abcdef", 16));
    buf_fini(&b);
    config_rele(c);
}

static void test_load_missing(void **state)
{
    (void)state;
    struct config_errors errors;
    struct config *c;
    config_errors_init(&errors);
    assert_int_equal(config_load("/nowhere/node.yaml", 0, &c, &errors), -2);
    assert_null(c);
    assert_string_equal(errors.v[0].text, "/nowhere/node.yaml: cannot read: No such file or directory");
    config_errors_fini(&errors);
}

/* ---- sharing ------------------------------------------------------------------------------------------- */

static void *hold_and_rele(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        struct config *c = config_hold(arg);
        if (c->nlisteners != 1)
            abort();
        config_rele(c);
    }
    config_rele(arg);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct config *c = parse(MINIMAL);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold_and_rele, config_hold(c)), 0);
    config_rele(c); /* the last thread frees it */
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

/* ---- documentation ------------------------------------------------------------------------------------- */

static void check_documented(const struct schema_map *map, const char *prefix, const char *doc, int *missing)
{
    for (const struct schema_field *f = map->fields; f->key != NULL; f++) {
        char path[200], cell[220];
        snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] ? "." : "", f->key);
        if (f->map != NULL) {
            check_documented(f->map, path, doc, missing);
            continue;
        }
        snprintf(cell, sizeof cell, "\n| `%s` |", path);
        const char *row = strstr(doc, cell);
        if (row == NULL) {
            print_message("docs/configuration.md has no row for %s\n", path);
            ++*missing;
            continue;
        }
        if (f->def == NULL || f->shape != SCHEMA_SCALAR)
            continue;
        char def[100];
        snprintf(def, sizeof def, "| `%s` |", f->def);
        const char *end = strchr(row + 1, '\n');
        if (memmem(row, (size_t)(end - row), def, strlen(def)) == NULL) {
            print_message("docs/configuration.md: the row of %s does not have the default %s\n", path,
                          f->def);
            ++*missing;
        }
    }
}

static void test_documented(void **state)
{
    (void)state;
    FILE *f = fopen(TEST_SOURCE_DIR "/../../../docs/configuration.md", "r");
    assert_non_null(f);
    char *doc = calloc(1, 1 << 20);
    assert_true(fread(doc, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    int missing = 0;
    check_documented(&config_map, "", doc, &missing);
    free(doc);
    assert_int_equal(missing, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_empty_mappings),
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_relay_accounts),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_admin_for_others),
        cmocka_unit_test(test_diff),
        cmocka_unit_test_setup_teardown(test_secrets, setup_dir, remove_dir),
        cmocka_unit_test(test_load_missing),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
