/* Live dialogue: trace client, trace server, probe. Lines are printed as they come. */
#include "cli/client.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LINE_MAX_BYTES 65536u

struct live {
    struct cli *cli;
    struct buf line; /* the one that is not complete */
    bool ended, ok;
    bool sessions; /* show which */
};

static void put_line(struct live *l, const json_t *j)
{
    struct cli *c = l->cli;
    const char *dir = cli_str(j, "dir");
    char text[8192], peer[256], when[16] = "";
    time_t t = (time_t)(cli_int(j, "at_ms") / 1000);
    struct tm tm;
    cli_safe(cli_str(j, "text"), text, sizeof(text));
    cli_safe(cli_str(j, "peer"), peer, sizeof(peer));
    if (cli_int(j, "dropped_before") > 0)
        printf("%s(%" PRId64 " lines are missing: they came too fast)%s\n", cli_sgr(c, CLI_YELLOW),
               cli_int(j, "dropped_before"), cli_sgr(c, CLI_PLAIN));
    if (localtime_r(&t, &tm) != NULL)
        strftime(when, sizeof(when), "%H:%M:%S", &tm);
    printf("%s%s.%03d", cli_sgr(c, CLI_DIM), when, (int)(cli_int(j, "at_ms") % 1000));
    if (l->sessions)
        printf(" [%" PRId64 "] %s", cli_int(j, "session"), peer);
    bool in = strcmp(dir, "in") == 0, out = strcmp(dir, "out") == 0;
    printf("%s %s%c %s%s\n", cli_sgr(c, CLI_PLAIN),
           cli_sgr(c, in    ? CLI_GREEN
                      : out ? CLI_BOLD
                            : CLI_DIM),
           in    ? '<'
           : out ? '>'
                 : '*',
           text, cli_sgr(c, CLI_PLAIN));
}

static void end_line(struct live *l)
{
    json_t *j = json_loadb(l->line.data, l->line.len, 0, NULL);
    char text[1024];
    if (j == NULL)
        return; /* a heartbeat is empty; anything else is not ours to show */
    if (strcmp(cli_str(j, "dir"), "end") == 0) {
        l->ended = true;
        l->ok = json_is_true(json_object_get(j, "ok"));
        cli_safe(cli_str(j, "text"), text, sizeof(text));
        if (!l->cli->json && text[0] != '\0')
            cli_note("%s", cli_str(j, "text"));
    } else if (!l->cli->json) {
        put_line(l, j);
    }
    if (l->cli->json)
        printf("%.*s\n", (int)l->line.len, l->line.data);
    json_decref(j);
    fflush(stdout);
}

static int on_piece(void *arg, const char *p, size_t n)
{
    struct live *l = arg;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '\n') {
            if (buf_put_char(&l->line, p[i]) != 0)
                return -1;
            continue;
        }
        if (l->line.len > 0)
            end_line(l);
        buf_reset(&l->line);
    }
    return 0;
}

static int run_live(struct cli *c, const char *target, const json_t *body, bool sessions)
{
    struct live l = { .cli = c, .sessions = sessions };
    buf_init(&l.line, LINE_MAX_BYTES);
    int code = client_stream(c, target, body, on_piece, &l);
    buf_fini(&l.line);
    if (code == 0 && !l.ended)
        code = cli_fail(c, CLI_UNREACHABLE, "the node broke off the dialogue");
    return code != 0 ? code : l.ok ? CLI_OK : CLI_FAILED;
}

static int run_trace(struct cli *c, const char *side)
{
    static const char *const options[] = { "ip", "account", "sessions", "site", "listener" };
    const char *time = cli_opt(c, "for");
    int64_t ms = 300000;
    if (time != NULL && (text_duration_ms(span_str(time), &ms) != 0 || ms < 1000 || ms > 3600000))
        return cli_fail(c, CLI_USAGE, "--for must be a duration from 1s to 1h");
    char seconds[24];
    struct client_query q;
    snprintf(seconds, sizeof(seconds), "%" PRId64, ms / 1000);
    client_query_init(&q, "/v1/trace");
    client_query_add(&q, "side", side);
    client_query_add(&q, "seconds", seconds);
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        client_query_add(&q, options[i], cli_opt(c, options[i]));
    buf_put_char(&q.text, '\0');
    if (c->tty && !c->json)
        cli_note("waiting for sessions; Ctrl-C ends it");
    int code = run_live(c, q.text.data, NULL, true);
    client_query_fini(&q);
    return code;
}

int cmd_trace_client(struct cli *c)
{
    return run_trace(c, "client");
}

int cmd_trace_server(struct cli *c)
{
    return run_trace(c, "server");
}

int cmd_probe(struct cli *c)
{
    json_t *body = json_pack("{s:s}", "recipient", c->args[0]);
    if (cli_opt(c, "from-ip") != NULL)
        json_object_set_new(body, "from_ip", json_string(cli_opt(c, "from-ip")));
    if (cli_opt(c, "sender") != NULL)
        json_object_set_new(body, "sender", json_string(cli_opt(c, "sender")));
    int code = run_live(c, "/v1/probe", body, false);
    json_decref(body);
    return code;
}
