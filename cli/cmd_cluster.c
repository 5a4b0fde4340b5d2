/* Commands about the cluster and its nodes: cluster ..., node .... */
#include "cli/client.h"

#include "base/clock.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define JOIN_TOKEN_MAX 4096

/* ---- status -------------------------------------------------------------------------------------------- */

static const char *mail_of(const json_t *n, enum cli_colour *colour)
{
    bool accepting = json_is_true(json_object_get(n, "accepting"));
    *colour = accepting ? CLI_GREEN : CLI_YELLOW;
    return json_is_true(json_object_get(n, "draining")) ? "draining" : accepting ? "accepted" : "refused";
}

static enum cli_colour health_colour(const char *health)
{
    bool well = strcmp(health, "alive") == 0 || strcmp(health, "self") == 0;
    return well ? CLI_GREEN : strcmp(health, "suspect") == 0 ? CLI_YELLOW : CLI_RED;
}

static void put_nodes(struct cli *c, const json_t *nodes, bool addresses)
{
    const char *titles[] = { "NODE",  "ROLE",     "STATE",   "HEALTH",  "MAIL", ">QUEUED",
                             ">HELD", ">APPLIED", "SESSION", "VERSION", "RAFT", "GOSSIP" };
    struct cli_table t;
    size_t i;
    json_t *n;
    cli_table_init(&t, titles, addresses ? 12 : 10);
    json_array_foreach(nodes, i, n)
    {
        char left[32] = "";
        enum cli_colour colour;
        const char *health = cli_str(n, "health"), *state = cli_str(n, "state"), *mail = mail_of(n, &colour);
        const json_t *left_ms = json_object_get(n, "session_left_ms");
        if (json_is_integer(left_ms))
            text_format_duration((int64_t)json_integer_value(left_ms), left, sizeof(left));
        cli_table_row(&t);
        cli_table_str(&t, 0, n, "name");
        cli_table_set(&t, 1, CLI_PLAIN, "%s%s", cli_str(n, "role"),
                      json_is_true(json_object_get(n, "leader")) ? ", leads" : "");
        cli_table_set(&t, 2, strcmp(state, "active") == 0 ? CLI_PLAIN : CLI_YELLOW, "%s", state);
        cli_table_set(&t, 3, health_colour(health), "%s", health);
        cli_table_set(&t, 4, colour, "%s", mail);
        cli_table_int(&t, 5, n, "queued");
        cli_table_int(&t, 6, n, "held");
        cli_table_int(&t, 7, n, "applied");
        cli_table_set(&t, 8, CLI_PLAIN, "%s", left[0] != '\0' ? left : cli_str(n, "session"));
        cli_table_str(&t, 9, n, "version");
        if (!addresses)
            continue;
        cli_table_str(&t, 10, n, "raft_address");
        cli_table_str(&t, 11, n, "gossip_address");
    }
    cli_table_end(c, &t);
}

static const char *leader_name(const json_t *j)
{
    size_t i;
    json_t *n;
    json_array_foreach(json_object_get(j, "nodes"), i, n)
    {
        if (cli_int(n, "id") == cli_int(j, "leader"))
            return cli_str(n, "name");
    }
    return "unknown";
}

/* What is wrong stands first. */
static void put_status(struct cli *c, const json_t *j)
{
    const json_t *problems = json_object_get(j, "problems"), *totals = json_object_get(j, "totals");
    char safe[600], log[32], snapshot[32], state[32];
    size_t i;
    json_t *p;
    if (json_array_size(problems) == 0)
        printf("%shealthy%s\n", cli_sgr(c, CLI_GREEN), cli_sgr(c, CLI_PLAIN));
    json_array_foreach(problems, i, p)
    {
        cli_safe(json_string_value(p), safe, sizeof(safe));
        printf("%s%s%s\n", cli_sgr(c, CLI_RED), safe, cli_sgr(c, CLI_PLAIN));
    }
    if (cli_str(j, "note")[0] != '\0') {
        cli_safe(cli_str(j, "note"), safe, sizeof(safe));
        printf("%s%s%s\n", cli_sgr(c, CLI_YELLOW), safe, cli_sgr(c, CLI_PLAIN));
    }
    cli_safe(leader_name(j), safe, sizeof(safe));
    printf("cluster      %s, epoch %" PRId64 ", feature level %" PRId64 "\n", cli_str(j, "cluster"),
           cli_int(j, "epoch"), cli_int(j, "features"));
    printf("leader       %s, term %" PRId64 ", applied %" PRId64 "%s\n", safe, cli_int(j, "term"),
           cli_int(j, "applied"),
           json_is_true(json_object_get(j, "joining")) ? " (this node has not caught up yet)" : "");
    cli_size((uint64_t)cli_int(j, "log_bytes"), log, sizeof(log));
    cli_size((uint64_t)cli_int(j, "snapshot_bytes"), snapshot, sizeof(snapshot));
    cli_size((uint64_t)cli_int(totals, "bytes"), state, sizeof(state));
    printf("state        %s in memory, %s of log, %s of snapshot\n", state, log, snapshot);
    printf("senders      %" PRId64 " accounts, %" PRId64 " tenants, %" PRId64 " frozen, policy %" PRId64 "\n",
           cli_int(totals, "accounts"), cli_int(totals, "tenants"), cli_int(totals, "frozen"),
           cli_int(j, "policy_version"));
    printf("tokens       %" PRId64 " charged, %" PRId64 " refunded, %" PRId64 " burned; %" PRId64
           " grants, %" PRId64 " refusals\n\n",
           cli_int(totals, "charged"), cli_int(totals, "refunded"), cli_int(totals, "burned"),
           cli_int(totals, "granted"), cli_int(totals, "refused"));
    put_nodes(c, json_object_get(j, "nodes"), false);
}

int cmd_cluster_status(struct cli *c)
{
    json_t *j = NULL;
    int code = client_json(c, "/v1/cluster", NULL, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        put_status(c, j);
    if (code == 0 && cli_has(c, "check") && json_array_size(json_object_get(j, "problems")) > 0)
        code = CLI_FAILED;
    json_decref(j);
    return code;
}

int cmd_node_list(struct cli *c)
{
    json_t *j = NULL;
    int code = client_json(c, "/v1/cluster", NULL, &j);
    if (code == 0 && c->json)
        cli_print_json(json_object_get(j, "nodes"));
    else if (code == 0)
        put_nodes(c, json_object_get(j, "nodes"), true);
    json_decref(j);
    return code;
}

/* ---- becoming a member --------------------------------------------------------------------------------- */

int cmd_cluster_init(struct cli *c)
{
    json_t *body = json_object();
    int code = cli_put_text(c, body, "name", cli_opt(c, "name"));
    if (code == 0)
        return cli_post(
            c, "/v1/cluster/init", body,
            "the cluster is made, and this node is its first; turnpike node token lets others join");
    json_decref(body);
    return code;
}

/* The token alone on standard output, so that it can go through a pipe. */
int cmd_node_token(struct cli *c)
{
    json_t *body = json_object(), *j = NULL;
    char length[32];
    int code = cli_put_text(c, body, "for", cli_opt(c, "for"));
    if (code == 0)
        code = cli_put_text(c, body, "name", cli_opt(c, "name"));
    if (code == 0)
        code = client_json(c, "/v1/nodes/token", body, &j);
    if (code == 0 && c->json) {
        cli_print_json(j);
    } else if (code == 0) {
        text_format_duration(cli_int(j, "for_ms"), length, sizeof(length));
        printf("%s\n", cli_str(j, "token"));
        cli_note("good for one node, for %s; on that node: turnpike node join FILE, with this in FILE",
                 length);
    }
    json_decref(body);
    json_decref(j);
    return code;
}

/* From a file or standard input, never from the arguments, which every user of the machine can read. */
static int read_token(struct cli *c, char out[JOIN_TOKEN_MAX + 1])
{
    bool standard = strcmp(c->args[0], "-") == 0;
    int fd = standard ? STDIN_FILENO : open(c->args[0], O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    ssize_t got = 0;
    if (fd < 0)
        return cli_fail(c, CLI_USAGE,
                        "can't read the token's file: %s; give a file that holds the token, or -",
                        strerror(errno));
    while (n < JOIN_TOKEN_MAX && (got = read(fd, out + n, JOIN_TOKEN_MAX - n)) > 0)
        n += (size_t)got;
    if (!standard)
        close(fd);
    out[n] = '\0';
    char *start = out + strspn(out, " \t\r\n");
    memmove(out, start, strlen(start) + 1);
    out[strcspn(out, " \t\r\n")] = '\0';
    return out[0] != '\0' ? 0 : cli_fail(c, CLI_USAGE, "there is no token in the file");
}

int cmd_node_join(struct cli *c)
{
    char token[JOIN_TOKEN_MAX + 1];
    json_t *body = json_object(), *j = NULL;
    int code = read_token(c, token);
    if (code == 0)
        code = cli_put_text(c, body, "token", token);
    explicit_bzero(token, sizeof(token));
    if (code == 0)
        code = client_json(c, "/v1/node/join", body, &j);
    const json_t *text = json_object_get(body, "token");
    if (text != NULL)
        explicit_bzero((char *)(uintptr_t)json_string_value(text), json_string_length(text));
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        printf("this node has joined; turnpike cluster status shows how it catches up\n");
    json_decref(body);
    json_decref(j);
    return code;
}

/* ---- this node ----------------------------------------------------------------------------------------- */

int cmd_node_drain(struct cli *c)
{
    json_t *body = json_object();
    bool undo = cli_has(c, "undo");
    if (undo)
        json_object_set_new(body, "undo", json_true());
    return cli_post(c, "/v1/node/drain", body,
                    undo ? "this node takes new mail again"
                         : "this node takes no new mail; it delivers what it has");
}

/* Each call waits a while; what has gone is gone, so that it may be ended and repeated at any time. */
int cmd_node_leave(struct cli *c)
{
    int64_t most_ms = 3600000;
    const char *most = cli_opt(c, "timeout");
    if (most != NULL && (text_duration_ms(span_str(most), &most_ms) != 0 || most_ms <= 0))
        return cli_fail(c, CLI_USAGE, "--timeout must be a duration such as 30m");
    int code = cli_confirm(c, "Hand over this node's mail and leave the cluster?");
    int64_t until_ms = clock_boot_ms() + most_ms;
    bool left = false;
    json_t *body = json_object(), *j = NULL;
    while (code == 0 && !left) {
        json_decref(j);
        j = NULL;
        code = client_json(c, "/v1/node/leave", body, &j);
        left = json_is_true(json_object_get(j, "left"));
        const char *why = cli_str(j, "waits_for");
        if (code == 0 && !left)
            cli_note("not yet: %s", why[0] != '\0' ? why : "mail is still handed over");
        if (code == 0 && !left && clock_boot_ms() >= until_ms)
            code = cli_fail(c, CLI_PARTLY,
                            "it has not left in time; it goes on as it was told: repeat the command");
    }
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        printf("this node has left the cluster, with nothing in its queue\n");
    json_decref(body);
    json_decref(j);
    return code;
}

/* ---- other nodes --------------------------------------------------------------------------------------- */

static int role(struct cli *c, const char *role)
{
    json_t *body = json_object();
    int code = cli_put_text(c, body, "node", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "role", role);
    if (code == 0)
        return cli_post(c, "/v1/nodes/role", body, "%s is a %s", c->args[0], role);
    json_decref(body);
    return code;
}

int cmd_node_promote(struct cli *c)
{
    return role(c, "voter");
}

int cmd_node_demote(struct cli *c)
{
    return role(c, "standby");
}

int cmd_node_address(struct cli *c)
{
    json_t *body = json_object();
    int code = cli_put_text(c, body, "node", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "raft", c->args[1]);
    if (code == 0)
        code = cli_put_text(c, body, "gossip", c->args[2]);
    if (code == 0)
        return cli_post(c, "/v1/nodes/address", body, "%s is reached at %s and %s", c->args[0], c->args[1],
                        c->args[2]);
    json_decref(body);
    return code;
}

/* What is known to be on it is shown before, what is lost afterwards. */
int cmd_node_remove(struct cli *c)
{
    json_t *status = NULL, *n, *body = json_object(), *j = NULL, *line;
    int64_t queued = 0, held = 0;
    char question[500], name[300];
    size_t i;
    int code = client_json(c, "/v1/cluster", NULL, &status);
    json_array_foreach(json_object_get(status, "nodes"), i, n)
    {
        if (strcmp(cli_str(n, "name"), c->args[0]) == 0) {
            queued = cli_int(n, "queued");
            held = cli_int(n, "held");
        }
    }
    cli_safe(c->args[0], name, sizeof(name));
    snprintf(question, sizeof(question),
             "Remove %s for good, with the %" PRId64 " recipients queued and %" PRId64
             " held that it was last known to have?",
             name, queued, held);
    if (code == 0)
        code = cli_confirm(c, question);
    if (code == 0)
        code = cli_put_text(c, body, "node", c->args[0]);
    if (code == 0)
        code = client_json(c, "/v1/nodes/remove", body, &j);
    if (code == 0 && c->json) {
        cli_print_json(j);
    } else if (code == 0) {
        printf("removed %s: its certificate is no longer accepted\n", name);
        json_array_foreach(json_object_get(j, "lost"), i, line)
        {
            char safe[600];
            cli_safe(json_string_value(line), safe, sizeof(safe));
            printf("  %s\n", safe);
        }
    }
    json_decref(status);
    json_decref(body);
    json_decref(j);
    return code;
}
