/* Commands about the node itself: status, top, site list, ip check, reload, config, log, version. */
#include "cli/client.h"

#include "base/clock.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int get(struct cli *c, const char *target, json_t **out)
{
    return client_json(c, target, NULL, out);
}

/* ---- status -------------------------------------------------------------------------------------------- */

static void put_rates(const json_t *rates)
{
    static const char *const names[] = { "received", "delivered", "deferred",
                                         "bounced",  "rejected",  "auth_failed" };
    printf("%-12s %10s %10s %10s %12s\n", "per second", "1 min", "5 min", "15 min", "total");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const json_t *r = json_object_get(rates, names[i]);
        printf("  %-10s %10.2f %10.2f %10.2f %12" PRId64 "\n", i == 5 ? "auth fail" : names[i],
               cli_real(r, "m1"), cli_real(r, "m5"), cli_real(r, "m15"), cli_int(r, "total"));
    }
}

static void put_queue(struct cli *c, const json_t *q)
{
    char oldest[40];
    cli_when(c, json_object_get(q, "oldest_ms"), oldest, sizeof(oldest));
    printf("queue        %" PRId64 " messages, %" PRId64 " recipients (%" PRId64 " active, %" PRId64
           " deferred, %" PRId64 " held), oldest %s\n",
           cli_int(q, "messages"), cli_int(q, "recipients"), cli_int(q, "active"), cli_int(q, "deferred"),
           cli_int(q, "held"), oldest);
    printf("sites        %" PRId64 ", %" PRId64 " down\n", cli_int(q, "sites"), cli_int(q, "sites_down"));
}

static void put_spool(const json_t *s)
{
    char size[32], live[32], left[32], why[256];
    cli_size((uint64_t)cli_int(s, "bytes"), size, sizeof(size));
    cli_size((uint64_t)cli_int(s, "live_bytes"), live, sizeof(live));
    cli_size((uint64_t)cli_int(s, "free_bytes"), left, sizeof(left));
    printf("spool        %s in %" PRId64 " segments (%s needed), %s free\n", size, cli_int(s, "segments"),
           live, left);
    if (cli_int(s, "corrupt_records") > 0)
        printf("             %" PRId64 " damaged records were found\n", cli_int(s, "corrupt_records"));
    cli_safe(cli_str(s, "error"), why, sizeof(why));
    if (why[0] != '\0')
        printf("             STOPPED: %s\n", why);
}

static void put_greylisting(const json_t *g)
{
    char site[300];
    int64_t endless = cli_int(g, "endless");
    cli_safe(cli_str(g, "example"), site, sizeof(site));
    if (cli_int(g, "sites") > 0)
        printf("greylisting  %" PRId64 " sites%s%s\n", cli_int(g, "sites"),
               endless > 0 ? "; NEVER ENDS at one or more, such as " : "", endless > 0 ? site : "");
}

static void put_dnsbl(const struct cli *c, const json_t *d)
{
    char example[300];
    cli_safe(cli_str(d, "example"), example, sizeof(example));
    if (cli_int(d, "listed") > 0)
        printf("lists        %s%" PRId64 " of bad addresses have an address of ours%s, such as %s\n",
               cli_sgr(c, CLI_RED), cli_int(d, "listed"), cli_sgr(c, CLI_PLAIN), example);
}

static void put_status(struct cli *c, const json_t *j)
{
    char up[32], memory[32], node[300], reason[300], loaded[40], path[300];
    const json_t *s = json_object_get(j, "sessions");
    const char *state = cli_str(j, "state");
    text_format_duration(cli_int(j, "uptime_ms"), up, sizeof(up));
    cli_size((uint64_t)cli_int(j, "memory_bytes"), memory, sizeof(memory));
    cli_safe(cli_str(j, "node"), node, sizeof(node));
    cli_safe(cli_str(j, "reason"), reason, sizeof(reason));
    cli_safe(cli_str(j, "config_path"), path, sizeof(path));
    cli_when(c, json_object_get(j, "config_loaded_ms"), loaded, sizeof(loaded));
    printf("%s%s%s  %s%s%s%s%s, turnpike %s, up %s, pid %" PRId64 ", %s of memory\n", cli_sgr(c, CLI_BOLD),
           node, cli_sgr(c, CLI_PLAIN), cli_sgr(c, cli_state_colour(state)), state, cli_sgr(c, CLI_PLAIN),
           reason[0] != '\0' ? ": " : "", reason, cli_str(j, "version"), up, cli_int(j, "pid"), memory);
    printf("config       %s, read %s\n", path, loaded);
    printf("sessions     %" PRId64 " in (at most %" PRId64 "), %" PRId64 " out (at most %" PRId64
           "), %zu workers\n",
           cli_int(s, "in"), cli_int(s, "in_max"), cli_int(s, "out"), cli_int(s, "out_max"),
           json_array_size(json_object_get(j, "workers")));
    put_queue(c, json_object_get(j, "queue"));
    put_spool(json_object_get(j, "spool"));
    put_greylisting(json_object_get(j, "greylisting"));
    if (cli_int(j, "held_messages") + cli_int(j, "held_refused") > 0) {
        char size[32];
        cli_size((uint64_t)cli_int(j, "held_bytes"), size, sizeof(size));
        printf("held         %" PRId64 " messages, %s%s", cli_int(j, "held_messages"), size,
               cli_int(j, "held_refused") > 0 ? "; " : "\n");
        if (cli_int(j, "held_refused") > 0)
            printf("NO ROOM for %" PRId64 " since the start: see turnpike held list\n", cli_int(j, "held_refused"));
    }
    if (cli_int(j, "sites_rested") > 0)
        printf("addresses    ALL OF A POOL'S REST for %" PRId64 " site(s): see turnpike site show\n",
               cli_int(j, "sites_rested"));
    put_dnsbl(c, json_object_get(j, "dnsbl"));
    put_rates(json_object_get(j, "rates"));
    size_t i;
    json_t *l;
    json_array_foreach(json_object_get(j, "listeners"), i, l)
    {
        char name[128], address[200];
        cli_safe(cli_str(l, "name"), name, sizeof(name));
        cli_safe(cli_str(l, "address"), address, sizeof(address));
        printf("listener     %s (%s) %s, %" PRId64 " sessions, %" PRId64 " since start\n", name,
               cli_str(l, "kind"), address, cli_int(l, "sessions"), cli_int(l, "accepted"));
    }
}

/* A line for each node; the cluster's own state is cluster status's. */
static void put_status_of_all(struct cli *c, const json_t *j)
{
    static const char *const titles[] = { "NODE",    "STATE", "UP",          ">IN",          ">OUT",
                                          ">QUEUED", ">HELD", ">RECEIVED/S", ">DELIVERED/S", "WHY" };
    struct cli_table t;
    size_t i;
    json_t *n;
    cli_table_init(&t, titles, 10);
    json_array_foreach(json_object_get(j, "nodes"), i, n)
    {
        char up[32];
        const json_t *s = json_object_get(n, "status"), *q = json_object_get(s, "queue");
        const json_t *rates = json_object_get(s, "rates"), *sessions = json_object_get(s, "sessions");
        const char *state = cli_str(s, "state");
        text_format_duration(cli_int(s, "uptime_ms"), up, sizeof(up));
        cli_table_row(&t);
        cli_table_str(&t, 0, n, "node");
        cli_table_set(&t, 1, cli_state_colour(state), "%s", state);
        cli_table_set(&t, 2, CLI_PLAIN, "%s", up);
        cli_table_int(&t, 3, sessions, "in");
        cli_table_int(&t, 4, sessions, "out");
        cli_table_int(&t, 5, q, "recipients");
        cli_table_int(&t, 6, q, "held");
        cli_table_set(&t, 7, CLI_PLAIN, "%.2f", cli_real(json_object_get(rates, "received"), "m1"));
        cli_table_set(&t, 8, CLI_PLAIN, "%.2f", cli_real(json_object_get(rates, "delivered"), "m1"));
        cli_table_opt(&t, 9, s, "reason");
    }
    cli_table_end(c, &t);
}

int cmd_status(struct cli *c)
{
    json_t *j = NULL;
    int code = get(c, cli_has(c, "cluster") ? "/v1/status?scope=cluster" : "/v1/status", &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0 && cli_has(c, "cluster"))
        put_status_of_all(c, j);
    else if (code == 0)
        put_status(c, j);
    if (code == 0)
        cli_say_missing(j);
    json_decref(j);
    return code;
}

/* ---- top ----------------------------------------------------------------------------------------------- */

static void put_top_table(struct cli *c, const char *title, const json_t *rows)
{
    const char *titles[] = { ">RECV/S",   ">DELIV/S", ">RECEIVED", ">DELIVERED",
                             ">DEFERRED", ">BOUNCED", ">QUEUED",   title };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 8);
    json_array_foreach(rows, i, r)
    {
        static const char *const counts[] = { "received", "delivered", "deferred", "bounced", "queued" };
        cli_table_row(&t);
        cli_table_set(&t, 0, CLI_PLAIN, "%.2f", cli_real(r, "received_rate"));
        cli_table_set(&t, 1, CLI_PLAIN, "%.2f", cli_real(r, "delivered_rate"));
        for (int k = 0; k < 5; k++) {
            int64_t n = cli_int(r, counts[k]);
            enum cli_colour colour = n > 0 && k == 2 ? CLI_YELLOW : n > 0 && k == 3 ? CLI_RED : CLI_PLAIN;
            cli_table_set(&t, 2 + k, colour, "%" PRId64, n);
        }
        cli_table_str(&t, 7, r, "key");
    }
    cli_table_end(c, &t);
}

static void put_top(struct cli *c, const json_t *j)
{
    char up[32], node[300];
    const json_t *q = json_object_get(j, "queue"), *r = json_object_get(j, "rates");
    text_format_duration(cli_int(j, "uptime_ms"), up, sizeof(up));
    cli_safe(cli_str(j, "node"), node, sizeof(node));
    if (json_object_get(j, "uptime_ms") == NULL) /* of all nodes together */
        snprintf(up, sizeof(up), "-");
    printf("%s%s%s  up %s   received %.2f/s   delivered %.2f/s   deferred %.2f/s   bounced %.2f/s\n",
           cli_sgr(c, CLI_BOLD), node, cli_sgr(c, CLI_PLAIN), up,
           cli_real(json_object_get(r, "received"), "m1"), cli_real(json_object_get(r, "delivered"), "m1"),
           cli_real(json_object_get(r, "deferred"), "m1"), cli_real(json_object_get(r, "bounced"), "m1"));
    put_queue(c, q);
    putchar('\n');
    put_top_table(c, "SENDER", json_object_get(j, "senders"));
    putchar('\n');
    put_top_table(c, "SITE", json_object_get(j, "sites"));
}

int cmd_top(struct cli *c)
{
    int64_t interval_ms = 2000;
    const char *interval = cli_opt(c, "interval");
    bool live = c->tty && !c->json && !cli_has(c, "once");
    if (interval != NULL && (text_duration_ms(span_str(interval), &interval_ms) != 0 || interval_ms < 200))
        return cli_fail(c, CLI_USAGE, "--interval must be a duration of at least 200ms");
    struct client_query q;
    client_query_init(&q, "/v1/top");
    client_query_add(&q, "limit", cli_opt(c, "limit"));
    client_query_add(&q, "scope", cli_has(c, "cluster") ? "cluster" : NULL);
    buf_put_char(&q.text, '\0');
    int code;
    do {
        json_t *j = NULL;
        code = get(c, q.text.data, &j);
        if (code == 0 && live)
            printf("\x1b[H\x1b[2J");
        if (code == 0 && c->json)
            cli_print_json(j);
        else if (code == 0)
            put_top(c, j);
        if (code == 0)
            cli_say_missing(j);
        json_decref(j);
        fflush(stdout);
        if (live && code == 0)
            nanosleep(&(struct timespec){ interval_ms / 1000, interval_ms % 1000 * 1000000 }, NULL);
    } while (live && code == 0);
    client_query_fini(&q);
    return code;
}

/* ---- sites and addresses ------------------------------------------------------------------------------- */

static void put_sites(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "SITE",  "STATE",    ">CONNS", ">QUEUED",     ">ACTIVE",
                                          ">HELD", ">SENDERS", "NEXT",   "OF SITE",
                                          ">DOMAINS", "LAST FAILURE" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 11);
    json_array_foreach(rows, i, r)
    {
        char next[40];
        const char *state = cli_str(r, "state");
        cli_when(c, json_object_get(r, "next_ms"), next, sizeof(next));
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "site");
        cli_table_set(&t, 1, cli_state_colour(state), "%s", state);
        cli_table_set(&t, 2, CLI_PLAIN, "%" PRId64 "/%" PRId64, cli_int(r, "conns"),
                      cli_int(r, "conns_limit"));
        cli_table_int(&t, 3, r, "queued");
        cli_table_int(&t, 4, r, "active");
        cli_table_int(&t, 5, r, "held");
        cli_table_int(&t, 6, r, "senders");
        cli_table_set(&t, 7, CLI_PLAIN, "%s", next);
        cli_table_opt(&t, 8, r, "of");
        cli_table_int(&t, 9, r, "domains");
        cli_table_opt(&t, 10, r, "last_reply");
    }
    cli_table_end(c, &t);
}

int cmd_site_list(struct cli *c)
{
    struct client_query q;
    client_query_init(&q, "/v1/sites");
    client_query_add(&q, "state", cli_opt(c, "state"));
    int code = cli_list(c, &q, "sites", NULL, put_sites);
    client_query_fini(&q);
    return code;
}

/* "2 clean, 1 listed"; nothing where none were asked. */
static void put_lists(struct cli_table *t, const json_t *lists)
{
    static const char *const states[] = { "clean", "listed", "broken", "unknown" };
    char text[128] = "";
    size_t i, n = 0;
    json_t *l;
    for (int k = 0; k < 4; k++) {
        int count = 0;
        json_array_foreach(lists, i, l)
        {
            count += strcmp(cli_str(l, "state"), states[k]) == 0;
        }
        if (count > 0)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%d %s", n > 0 ? ", " : "", count, states[k]);
    }
    if (n > 0)
        cli_table_set(t, 4, CLI_PLAIN, "%s", text);
}

/* Lists whose word on the address does not count, and why. */
static void put_odd_lists(const json_t *row)
{
    size_t i;
    json_t *l;
    char zone[300], text[300];
    json_array_foreach(json_object_get(row, "lists"), i, l)
    {
        bool broken = strcmp(cli_str(l, "state"), "broken") == 0;
        if (!broken && strcmp(cli_str(l, "state"), "unknown") != 0)
            continue;
        cli_safe(cli_str(l, "list"), zone, sizeof(zone));
        cli_safe(cli_str(l, "text"), text, sizeof(text));
        printf("%s: the list %s %s: %s\n", cli_str(row, "ip"), zone,
               broken ? "is not believed" : "says nothing of it", text);
    }
}

static int put_ips(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "ADDRESS", "EHLO", "PTR", "EHLO LEADS TO", "LISTS", "RESULT" };
    struct cli_table t;
    size_t i, bad = 0;
    json_t *r;
    cli_table_init(&t, titles, 6);
    json_array_foreach(rows, i, r)
    {
        bool ok = json_is_true(json_object_get(r, "ok"));
        static const char *const names[] = { "ip", "ehlo", "ptr", "addresses" };
        cli_table_row(&t);
        for (int k = 0; k < 4; k++)
            cli_table_opt(&t, k, r, names[k]);
        cli_table_set(&t, 5, ok ? CLI_GREEN : CLI_RED, "%s", ok ? "ok" : cli_str(r, "problem"));
        put_lists(&t, json_object_get(r, "lists"));
        bad += !ok;
    }
    if (!c->json)
        cli_table_print(c, &t);
    cli_table_fini(&t);
    if (!c->json)
        json_array_foreach(rows, i, r)
        {
            put_odd_lists(r);
        }
    return bad == 0 ? CLI_OK : CLI_FAILED;
}

int cmd_ip_check(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    client_query_init(&q, "/v1/ip/check");
    client_query_add(&q, "ip", c->nargs > 0 ? c->args[0] : NULL);
    int code = client_get(c, &q, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    if (code == 0)
        code = put_ips(c, json_object_get(j, "ips"));
    json_decref(j);
    return code;
}

/* ---- configuration and log ----------------------------------------------------------------------------- */

/* POST with these members; prints `said` when it went well. */
static int post(struct cli *c, const char *target, json_t *body, const char *said)
{
    json_t *j = NULL;
    int code = client_json(c, target, body, &j);
    json_decref(body);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        printf("%s\n", said);
    json_decref(j);
    return code;
}

int cmd_reload(struct cli *c)
{
    return post(c, "/v1/reload", json_object(), "reloaded");
}

int cmd_config_show(struct cli *c)
{
    json_t *j = NULL;
    int code = get(c, "/v1/config", &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        fputs(cli_str(j, "yaml"), stdout);
    json_decref(j);
    return code;
}

int cmd_log(struct cli *c)
{
    char said[64];
    if (c->nargs > 0) {
        snprintf(said, sizeof(said), "log level is %.8s", c->args[0]);
        return post(c, "/v1/log", json_pack("{s:s}", "level", c->args[0]), said);
    }
    json_t *j = NULL;
    int code = get(c, "/v1/log", &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        printf("%s\n", cli_str(j, "level"));
    json_decref(j);
    return code;
}

int cmd_config_check_node(struct cli *c)
{
    return post(c, "/v1/config/check", json_object(), "the node's configuration file is good");
}
