/* Commands on messages: queue ..., track. */
#include "cli/act.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct act_option selector[] = {
    { "sender", "sender" },           { "recipient", "recipient" },   { "site", "site" },
    { "account", "account" },         { "older-than", "older_than" }, { "state", "state" },
    { "reply-match", "reply_match" }, { "tenant", "tenant" }
};
#define NSELECTOR (sizeof(selector) / sizeof(selector[0]))

/* --cluster, --local; neither: as the node finds right. */
static void query_scope(struct cli *c, struct client_query *q)
{
    if (cli_has(c, "local") || cli_has(c, "cluster"))
        client_query_add(q, "scope", cli_has(c, "local") ? "local" : "cluster");
}

static void query_selector(struct cli *c, struct client_query *q)
{
    for (size_t i = 0; i < NSELECTOR; i++)
        client_query_add(q, selector[i].param, cli_opt(c, selector[i].option));
    act_query_ids(c, q);
}

/* ---- lists of recipients ------------------------------------------------------------------------------- */

static const char *sender_text(const json_t *row)
{
    const char *s = cli_str(row, "sender");
    return s[0] != '\0' ? s : "<>";
}

static void grey_clock(struct cli *c, const json_t *ms, char *out, size_t cap)
{
    char now[16], then[16];
    struct tm tm;
    time_t at = (time_t)(json_integer_value(ms) / 1000), today = (time_t)(c->now_ms / 1000);
    snprintf(out, cap, "?");
    if (!json_is_integer(ms) || localtime_r(&today, &tm) == NULL || strftime(now, sizeof(now), "%F", &tm) == 0 ||
        localtime_r(&at, &tm) == NULL || strftime(then, sizeof(then), "%F", &tm) == 0)
        return;
    (void)strftime(out, cap, strcmp(now, then) == 0 ? "%H:%M" : "%F %H:%M", &tm);
}

/* "mx.example.net since 10:02, next try 10:17 from 192.0.2.7", or nothing. */
static const char *greylist_text(struct cli *c, const json_t *row, char *out, size_t cap)
{
    char since[32], next[32];
    const json_t *from = json_object_get(row, "greylisted_ms");
    out[0] = '\0';
    if (!json_is_integer(from))
        return out;
    grey_clock(c, from, since, sizeof(since));
    grey_clock(c, json_object_get(row, "next_ms"), next, sizeof(next));
    snprintf(out, cap, "%s since %s, next try %s from %s", cli_str(row, "mx"), since,
             strcmp(next, "?") == 0 ? "now" : next, cli_str(row, "source_ip"));
    return out;
}

/* "moved from pool news to slow by source-blocked", or nothing. */
static const char *moved_text(const json_t *row, char *out, size_t cap)
{
    const char *from = cli_str(row, "rerouted_from");
    out[0] = '\0';
    if (cli_str(row, "rerouted_to")[0] != '\0')
        snprintf(out, cap, "moved %s%s to pool %s by %s", from[0] != '\0' ? "from pool " : "from no pool",
                 from, cli_str(row, "rerouted_to"), cli_str(row, "rerouted_by"));
    return out;
}

static bool any_signed(const json_t *rows)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        if (cli_str(row, "dkim")[0] != '\0')
            return true;
    }
    return false;
}

static void put_recipients(struct cli *c, const json_t *rows, bool tracked)
{
    const char *titles[] = { "ID",    ">AGE",   ">SIZE", "SENDER", "RECIPIENT",
                             "STATE", ">TRIES", "NEXT",  "NODE",   "", "" };
    bool nodes = cli_str(json_array_get(rows, 0), "node")[0] != '\0', keys = tracked && any_signed(rows);
    int key = nodes ? 9 : 8, reply = key + keys;
    struct cli_table t;
    size_t i;
    json_t *row;
    titles[7] = tracked ? "CHANGED" : "NEXT";
    titles[key] = "SIGNED BY";
    titles[reply] = "LAST REPLY";
    cli_table_init(&t, titles, reply + 1);
    json_array_foreach(rows, i, row)
    {
        char age[32] = "-", size[32], when[40], grey[512];
        const json_t *arrival = json_object_get(row, "arrival_ms");
        const char *state = cli_str(row, "state");
        if (json_is_integer(arrival))
            text_format_duration(c->now_ms - (int64_t)json_integer_value(arrival), age, sizeof(age));
        cli_size((uint64_t)cli_int(row, "size"), size, sizeof(size));
        cli_when(c, json_object_get(row, tracked ? "changed_ms" : "next_ms"), when, sizeof(when));
        cli_table_row(&t);
        cli_table_str(&t, 0, row, "id");
        cli_table_set(&t, 1, CLI_PLAIN, "%s", age);
        cli_table_set(&t, 2, CLI_PLAIN, "%s", size);
        cli_table_set(&t, 3, CLI_PLAIN, "%s", sender_text(row));
        cli_table_str(&t, 4, row, "recipient");
        cli_table_set(&t, 5, cli_state_colour(state), "%s", state);
        cli_table_int(&t, 6, row, "attempts");
        cli_table_set(&t, 7, CLI_PLAIN, "%s", when);
        if (nodes)
            cli_table_str(&t, 8, row, "node");
        if (keys)
            cli_table_opt(&t, key, row, "dkim");
        if (tracked && greylist_text(c, row, grey, sizeof(grey))[0] != '\0')
            cli_table_set(&t, reply, CLI_PLAIN, "greylisted by %s", grey);
        else if (tracked && moved_text(row, grey, sizeof(grey))[0] != '\0')
            cli_table_set(&t, reply, CLI_PLAIN, "%s: %s", grey, cli_str(row, "reply"));
        else
            cli_table_opt(&t, reply, row, "reply");
    }
    cli_table_end(c, &t);
}

static void put_step(struct cli *c, const json_t *s)
{
    static const char *const fields[] = { "mx", "mx_ip", "source_ip", "tls", "pool" };
    static const char *const names[] = { "", "", "from ", "", "pool " };
    char when[64], line[1536] = "", safe[1536];
    size_t n = 0;
    const char *what = cli_str(s, "what"), *who = cli_str(s, "who");
    bool arrived = strcmp(what, "arrived") == 0, deferred = strcmp(what, "deferred") == 0,
         checked = strcmp(what, "checked") == 0;
    cli_time(json_object_get(s, "at_ms"), when, sizeof(when));
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]) && n < sizeof(line); i++) {
        const char *v = cli_str(s, fields[i]);
        if (v[0] != '\0')
            n += (size_t)snprintf(line + n, sizeof(line) - n, "%s%s%s", n > 0 ? ", " : "", names[i], v);
    }
    printf("    %s  %s%s%s", when, cli_sgr(c, cli_state_colour(what)), arrived ? "came from node" : what,
           cli_sgr(c, CLI_PLAIN));
    if (deferred)
        printf(" (attempt %" PRId64 "%s)", cli_int(s, "attempt"),
               json_is_true(json_object_get(s, "greylisted")) ? ", greylisted" : "");
    cli_safe(cli_str(s, "done"), safe, sizeof(safe));
    if (safe[0] != '\0')
        printf(" (%s)", safe);
    cli_safe(who, safe, sizeof(safe));
    if (who[0] != '\0')
        printf(" %s%s", arrived ? "" : "by ", safe);
    cli_safe(cli_str(s, checked ? "verdict" : "reply"), safe, sizeof(safe));
    printf("%s%s\n", safe[0] != '\0' ? ": " : "", safe);
    cli_safe(line, safe, sizeof(safe));
    if (safe[0] != '\0')
        printf("      %s\n", safe);
}

/* The last one is what the recipient's own row says. */
static void put_last(struct cli *c, const json_t *r)
{
    static const char *const fields[] = { "mx", "mx_ip", "source_ip", "tls" };
    const char *state = cli_str(r, "state");
    json_t *s = json_pack("{s:s,s:O?,s:O?}", "what", state, "at_ms", json_object_get(r, "changed_ms"),
                          "reply", json_object_get(r, "reply"));
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        json_object_set(s, fields[i], json_object_get(r, fields[i]));
    put_step(c, s);
    json_decref(s);
}

/* What happened to each recipient, in its order. */
static void put_steps(struct cli *c, const json_t *rows)
{
    size_t i, k;
    json_t *r, *s;
    json_array_foreach(rows, i, r)
    {
        const json_t *steps = json_object_get(r, "steps");
        const char *state = cli_str(r, "state");
        json_int_t number = 0;
        char address[2048];
        if (!json_is_array(steps))
            continue;
        cli_safe(cli_str(r, "recipient"), address, sizeof(address));
        printf("\n%s%s %s%s  %s%s%s", cli_sgr(c, CLI_BOLD), cli_str(r, "id"), address, cli_sgr(c, CLI_PLAIN),
               cli_sgr(c, cli_state_colour(state)), state, cli_sgr(c, CLI_PLAIN));
        printf("%s%s\n", cli_str(r, "node")[0] != '\0' ? " on " : "", cli_str(r, "node"));
        json_array_foreach(steps, k, s)
        {
            if (cli_int(s, "number") > number + 1)
                printf("    ... %lld more, not kept\n", (long long)(cli_int(s, "number") - number - 1));
            number = cli_int(s, "number");
            put_step(c, s);
        }
        if (strcmp(state, "queued") != 0 && strcmp(state, "held") != 0 && strcmp(state, "active") != 0)
            put_last(c, r);
    }
}

/* Where somebody with a browser and a login sees the same; of one message. */
static void put_link(const json_t *j)
{
    const json_t *rows = json_object_get(j, "recipients");
    const char *page = cli_str(j, "dashboard"), *id = cli_str(json_array_get(rows, 0), "id");
    char link[640], safe[640];
    for (size_t i = 1; i < json_array_size(rows); i++)
        if (strcmp(cli_str(json_array_get(rows, i), "id"), id) != 0)
            return;
    if (page[0] == '\0' || id[0] == '\0')
        return;
    snprintf(link, sizeof(link), "%s#track/%s", page, id);
    cli_safe(link, safe, sizeof(safe));
    printf("\n%s\n", safe);
}

static void say_kept_by(const json_t *asked, const json_t *since, const char *node)
{
    char when[64];
    if (!json_is_integer(since) || json_integer_value(asked) >= json_integer_value(since))
        return;
    cli_time(since, when, sizeof(when));
    cli_note("%s%sfinished mail is kept that arrived since %s", node, node[0] != '\0' ? ": " : "", when);
}

/* On the last page: of which time it may not be all. */
static void say_kept(const json_t *j)
{
    const json_t *asked = json_object_get(j, "since_ms");
    size_t i;
    json_t *k;
    if (json_is_string(json_object_get(j, "next")))
        return;
    if (json_is_false(json_object_get(j, "history")))
        cli_note("this node keeps no history: finished mail is not in here");
    say_kept_by(asked, json_object_get(j, "kept_since_ms"), "");
    json_array_foreach(json_object_get(j, "kept"), i, k)
    {
        say_kept_by(asked, json_object_get(k, "since_ms"), cli_str(k, "node"));
    }
}

static int list_recipients(struct cli *c, struct client_query *q, bool tracked)
{
    json_t *j = NULL;
    int code = client_pages(c, q, "recipients", &j);
    if (code != 0)
        return code;
    const json_t *rows = json_object_get(j, "recipients");
    if (c->json)
        cli_print_json(j);
    else if (json_array_size(rows) > 0)
        put_recipients(c, rows, tracked);
    else
        cli_note(tracked ? "nothing is known of such a message" : "nothing in the queue matches");
    if (tracked && !c->json) {
        put_steps(c, rows);
        put_link(j);
    }
    cli_say_more(c, j);
    cli_say_missing(j);
    if (tracked && !c->json)
        say_kept(j);
    code = tracked && json_array_size(rows) == 0 ? CLI_NOT_FOUND : CLI_OK;
    json_decref(j);
    return code;
}

int cmd_queue_list(struct cli *c)
{
    struct client_query q;
    client_query_init(&q, "/v1/queue");
    query_selector(c, &q);
    query_scope(c, &q);
    int code = list_recipients(c, &q, false);
    client_query_fini(&q);
    return code;
}

int cmd_track(struct cli *c)
{
    static const struct {
        const char *option, *param;
    } options[] = { { "sender", "sender" },   { "from", "sender" },   { "recipient", "recipient" },
                    { "to", "recipient" },    { "account", "account" }, { "tenant", "tenant" }, { "status", "status" },
                    { "since", "since" },     { "until", "until" } };
    if ((cli_has(c, "from") && cli_has(c, "sender")) || (cli_has(c, "to") && cli_has(c, "recipient")))
        return cli_fail(c, CLI_USAGE, "--from is --sender, and --to is --recipient: give one of them");
    struct client_query q;
    bool which = c->nargs > 0 || cli_has(c, "message-id");
    client_query_init(&q, "/v1/track");
    client_query_add(&q, "id", c->nargs > 0 ? c->args[0] : NULL);
    client_query_add(&q, "message_id", cli_opt(c, "message-id"));
    client_query_add(&q, "steps", cli_has(c, "steps") ? "true" : NULL);
    query_scope(c, &q);
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        client_query_add(&q, options[i].param, cli_opt(c, options[i].option));
        which |= cli_has(c, options[i].option);
    }
    int code =
        which ? list_recipients(c, &q, true)
              : cli_fail(c, CLI_USAGE, "say which: a queue id, --message-id, --sender, --recipient, --account, --status or --since");
    client_query_fini(&q);
    return code;
}

/* ---- one message --------------------------------------------------------------------------------------- */

static void put_message(struct cli *c, const json_t *j)
{
    char when[64], size[32], from[1024];
    size_t i;
    json_t *r;
    cli_time(json_object_get(j, "arrival_ms"), when, sizeof(when));
    cli_size((uint64_t)cli_int(j, "size"), size, sizeof(size));
    snprintf(from, sizeof(from), "%s%s%s%s", cli_str(j, "client_ip"),
             cli_str(j, "client_name")[0] != '\0' ? " " : "", cli_str(j, "client_name"), "");
    act_put_field("id", cli_str(j, "id"));
    act_put_field("arrival", when);
    act_put_field("sender", sender_text(j));
    act_put_field("account", cli_str(j, "account"));
    act_put_field("tenant", cli_str(j, "tenant"));
    act_put_field("class", cli_str(j, "class"));
    act_put_field("message-id", cli_str(j, "message_id"));
    act_put_field("size", size);
    act_put_field("client", from);
    act_put_field("helo", cli_str(j, "helo"));
    act_put_field("protocol", cli_str(j, "protocol"));
    act_put_field("listener", cli_str(j, "listener"));
    act_put_field("signed by", cli_str(j, "dkim"));
    json_array_foreach(json_object_get(j, "recipients"), i, r)
    {
        const char *state = cli_str(r, "state");
        char address[2048], line[512];
        enum cli_colour colour = cli_state_colour(state);
        cli_safe(cli_str(r, "recipient"), address, sizeof(address));
        printf("\n%s%s%s  %s%s%s, %" PRId64 " attempt(s)\n", cli_sgr(c, CLI_BOLD), address,
               cli_sgr(c, CLI_PLAIN), cli_sgr(c, colour), state, cli_sgr(c, CLI_PLAIN),
               cli_int(r, "attempts"));
        snprintf(line, sizeof(line), "%s %s", cli_str(r, "mx"), cli_str(r, "mx_ip"));
        act_put_field("  site", cli_str(r, "site"));
        act_put_field("  host", line[0] == ' ' && line[1] == '\0' ? "" : line);
        act_put_field("  from ip", cli_str(r, "source_ip"));
        act_put_field("  tls", cli_str(r, "tls"));
        act_put_field("  reply", cli_str(r, "reply"));
        act_put_field("  moved", moved_text(r, line, sizeof(line))[0] != '\0' ? line + sizeof("moved ") - 1 : "");
        act_put_field("  greylisted by", greylist_text(c, r, line, sizeof(line)));
        cli_when(c, json_object_get(r, "next_ms"), when, sizeof(when));
        act_put_field("  next", strcmp(when, "-") == 0 ? "" : when);
        cli_when(c, json_object_get(r, "expires_ms"), when, sizeof(when));
        act_put_field("  expires", strcmp(when, "-") == 0 ? "" : when);
    }
}

/* "/v1/queue/messages/ID" + tail; the id must be plain, so that it stays one segment of the path. */
static int message_target(struct cli *c, const char *tail, char *out, size_t cap)
{
    const char *id = c->args[0];
    if (!act_plain_id(id))
        return cli_fail(c, CLI_USAGE, "%s is no queue id", id);
    snprintf(out, cap, "/v1/queue/messages/%s%s", id, tail);
    return id[0] != '\0' ? 0 : cli_fail(c, CLI_USAGE, "the queue id is empty");
}

int cmd_queue_show(struct cli *c)
{
    char target[128];
    json_t *j = NULL;
    int code = message_target(c, "", target, sizeof(target));
    if (code == 0)
        code = client_json(c, target, NULL, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        put_message(c, j);
    json_decref(j);
    return code;
}

/* To a file or pipe byte by byte; to a terminal without what could steer it. */
static int put_content(void *arg, const char *p, size_t n)
{
    struct cli *c = arg;
    if (!c->tty)
        return fwrite(p, 1, n, stdout) != n;
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)p[i];
        if (ch == '\r')
            continue;
        if ((ch < 0x20 && ch != '\n' && ch != '\t') || ch >= 0x7f)
            printf("\\x%02x", ch);
        else
            putchar(ch);
    }
    return 0;
}

int cmd_queue_cat(struct cli *c)
{
    char target[128];
    int code = message_target(c, cli_has(c, "headers") ? "/content?headers_only=true" : "/content", target,
                              sizeof(target));
    if (code == 0)
        code = client_stream(c, target, NULL, put_content, c);
    if (fflush(stdout) != 0 || ferror(stdout))
        code = cli_fail(c, CLI_FAILED, "can't write the message out");
    return code;
}

/* ---- summary ------------------------------------------------------------------------------------------- */

static void put_group(struct cli *c, struct cli_table *t, const char *key, const json_t *g,
                      enum cli_colour colour)
{
    char oldest[32] = "-";
    size_t i;
    json_t *age;
    const json_t *ms = json_object_get(g, "oldest_ms");
    if (json_is_integer(ms))
        text_format_duration(c->now_ms - (int64_t)json_integer_value(ms), oldest, sizeof(oldest));
    cli_table_row(t);
    cli_table_int(t, 0, g, "recipients");
    cli_table_set(t, 1, cli_int(g, "held") > 0 ? CLI_YELLOW : CLI_PLAIN, "%" PRId64, cli_int(g, "held"));
    cli_table_set(t, 2, CLI_PLAIN, "%s", oldest);
    json_array_foreach(json_object_get(g, "ages"), i, age)
    {
        if (i < 10)
            cli_table_set(t, 3 + (int)i, CLI_PLAIN, "%lld", (long long)json_integer_value(age));
    }
    cli_table_set(t, 13, colour, "%s", key);
}

static void put_summary(struct cli *c, const json_t *j)
{
    const char *titles[14] = { ">TOTAL", ">HELD", ">OLDEST" };
    char bounds[10][16];
    const json_t *minutes = json_object_get(j, "age_minutes");
    struct cli_table t;
    size_t i;
    json_t *g;
    for (i = 0; i < 10; i++) {
        long long n = (long long)json_integer_value(json_array_get(minutes, i < 9 ? i : 8));
        snprintf(bounds[i], sizeof(bounds[i]), i < 9 ? ">%lld" : ">%lld+", n);
        titles[3 + i] = bounds[i];
    }
    titles[13] = "GROUP";
    cli_table_init(&t, titles, 14);
    json_array_foreach(json_object_get(j, "groups"), i, g)
    {
        const char *key = cli_str(g, "key");
        put_group(c, &t, key[0] != '\0' ? key : "(none)", g, CLI_PLAIN);
    }
    put_group(c, &t, "TOTAL", json_object_get(j, "total"), CLI_BOLD);
    cli_table_end(c, &t);
}

int cmd_queue_summary(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    client_query_init(&q, "/v1/queue/summary");
    query_selector(c, &q);
    query_scope(c, &q);
    client_query_add(&q, "by", cli_opt(c, "by"));
    client_query_add(&q, "limit", cli_opt(c, "limit"));
    int code = client_get(c, &q, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        put_summary(c, j);
    if (code == 0)
        cli_say_missing(j);
    json_decref(j);
    return code;
}

/* ---- acts ---------------------------------------------------------------------------------------------- */

static int act_body(struct cli *c, json_t *body)
{
    bool selected = act_put_selection(c, selector, NSELECTOR, body);
    if (cli_has(c, "all"))
        json_object_set_new(body, "all", json_true());
    if (cli_opt(c, "reason") != NULL)
        json_object_set_new(body, "text", json_string(cli_opt(c, "reason")));
    if (selected && cli_has(c, "all"))
        return cli_fail(c, CLI_USAGE, "--all means everything: leave the selection away, or --all");
    if (!selected && !cli_has(c, "all"))
        return cli_fail(c, CLI_USAGE, "say what is meant: queue ids, a selection like --site, or --all");
    return 0;
}

static int put_result(struct cli *c, const struct act *a, const json_t *j)
{
    int64_t n = cli_int(j, "recipients"), done = cli_int(j, "done"), busy = cli_int(j, "busy"),
            failed = cli_int(j, "failed"), unchanged = cli_int(j, "unchanged");
    if (c->json)
        cli_print_json(j);
    if (n == 0) {
        cli_note("nothing in the queue matches");
        return CLI_NOT_FOUND;
    }
    if (!c->json) {
        printf("%s%" PRId64 " recipient(s) of %" PRId64 " message(s) %s",
               cli_has(c, "dry-run") ? "would be: " : "", done, cli_int(j, "messages"), a->past);
        if (unchanged > 0)
            printf(", %" PRId64 " were so already", unchanged);
        putchar('\n');
    }
    if (busy > 0)
        cli_note("%" PRId64 " are being delivered just now and were left alone: try again", busy);
    if (failed > 0)
        cli_note("%" PRId64 " failed: the node's log says why", failed);
    return busy + failed == 0 ? CLI_OK : done + unchanged > 0 ? CLI_PARTLY : CLI_FAILED;
}

static int run_act(struct cli *c, const char *path, const char *verb, const char *past, bool asks)
{
    return act_run(c, &(struct act){ .path = path,
                                     .verb = verb,
                                     .past = past,
                                     .what = "message(s)",
                                     .asks = asks,
                                     .body = act_body,
                                     .result = put_result });
}

int cmd_queue_move(struct cli *c)
{
    json_t *body = json_object(), *j = NULL;
    int code = cli_opt(c, "to") == NULL ? cli_fail(c, CLI_USAGE, "say where they go: --to NODE") : act_body(c, body);
    if (code == 0)
        json_object_set_new(body, "to", json_string(cli_opt(c, "to")));
    if (code == 0 && cli_has(c, "dry-run"))
        json_object_set_new(body, "dry_run", json_true());
    if (code == 0)
        code = client_json(c, "/v1/queue/move", body, &j);
    int64_t n = cli_int(j, "messages");
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0 && n > 0)
        printf("%s%" PRId64 " message(s) move to %s\n", cli_has(c, "dry-run") ? "would be: " : "", n, cli_opt(c, "to"));
    if (code == 0 && n == 0) {
        cli_note("nothing in the queue matches");
        code = CLI_NOT_FOUND;
    }
    json_decref(body);
    json_decref(j);
    return code;
}

int cmd_queue_retry(struct cli *c)
{
    return run_act(c, "/v1/queue/retry", "Retry", "due now", false);
}

int cmd_queue_hold(struct cli *c)
{
    return run_act(c, "/v1/queue/hold", "Hold", "held", false);
}

int cmd_queue_release(struct cli *c)
{
    return run_act(c, "/v1/queue/release", "Release", "released", false);
}

int cmd_queue_bounce(struct cli *c)
{
    return run_act(c, "/v1/queue/bounce", "Bounce", "bounced", true);
}

int cmd_queue_delete(struct cli *c)
{
    return run_act(c, "/v1/queue/delete", "Delete", "deleted", true);
}
