/* Commands about mail that moves between nodes: transfer ..., spool adopt. */
#include "cli/client.h"

#include "base/clock.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>

static void put_transfers(struct cli *c, const json_t *j)
{
    static const char *const titles[] = { "BATCH", "FROM", "TO", ">MESSAGES", ">AGE", "STATE", "TROUBLE" };
    struct cli_table t;
    size_t i;
    json_t *row;
    cli_table_init(&t, titles, 7);
    json_array_foreach(json_object_get(j, "transfers"), i, row)
    {
        char age[32] = "-";
        if (cli_int(row, "since_ms") > 0)
            text_format_duration((clock_wall_ms() - cli_int(row, "since_ms")) / 1000 * 1000, age,
                                 sizeof(age));
        cli_table_row(&t);
        cli_table_str(&t, 0, row, "batch");
        cli_table_str(&t, 1, row, "giver");
        cli_table_str(&t, 2, row, "taker");
        cli_table_int(&t, 3, row, "messages");
        cli_table_set(&t, 4, CLI_PLAIN, "%s", age);
        cli_table_str(&t, 5, row, "state");
        if (cli_str(row, "trouble")[0] != '\0')
            cli_table_set(&t, 6, CLI_RED, "%s", cli_str(row, "trouble"));
    }
    cli_table_end(c, &t);
}

int cmd_transfer_list(struct cli *c)
{
    json_t *j = NULL;
    int code = client_json(c, "/v1/transfers", NULL, &j);
    if (code == 0 && c->json) {
        cli_print_json(j);
    } else if (code == 0) {
        if (json_array_size(json_object_get(j, "transfers")) == 0)
            cli_note("nothing is on its way");
        else
            put_transfers(c, j);
        printf("%" PRId64 " message(s) here, %" PRId64 " on their way out, %" PRId64 " gone, %" PRId64
               " still to be sent\n",
               cli_int(j, "queued"), cli_int(j, "leaving"), cli_int(j, "moved"), cli_int(j, "waiting"));
        if (cli_int(j, "unclaimed") > 0)
            cli_note("%" PRId64 " copies wait until their giver says what became of them",
                     cli_int(j, "unclaimed"));
        if (cli_int(j, "stuck") > 0)
            cli_note("%" PRId64 " message(s) cannot be moved: the node's log says why", cli_int(j, "stuck"));
    }
    json_decref(j);
    return code;
}

int cmd_transfer_cancel(struct cli *c)
{
    json_t *body = json_object();
    int code = cli_put_text(c, body, "batch", c->args[0]);
    if (code == 0)
        return cli_post(c, "/v1/transfers/cancel", body,
                        "it is to stay here; turnpike transfer list shows when");
    json_decref(body);
    return code;
}

int cmd_transfer_take(struct cli *c)
{
    json_t *body = json_object();
    int code = cli_put_text(c, body, "batch", c->args[0]);
    if (code == 0)
        return cli_post(c, "/v1/transfers/take", body, "it is this node's now");
    json_decref(body);
    return code;
}

int cmd_transfer_forget(struct cli *c)
{
    json_t *body = json_object(), *j = NULL;
    int code = cli_put_text(c, body, "node", c->args[0]);
    if (code == 0)
        code = client_json(c, "/v1/transfers/forget", body, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        printf("%" PRId64 " batch(es) ended\n", cli_int(j, "ended"));
    if (code == 0 && cli_int(j, "kept") > 0)
        code = cli_fail(c, CLI_PARTLY,
                        "%" PRId64
                        " are kept: a node has copies of them; turnpike transfer list on each node shows "
                        "them, transfer take takes what came whole",
                        cli_int(j, "kept"));
    json_decref(body);
    json_decref(j);
    return code;
}

int cmd_spool_adopt(struct cli *c)
{
    json_t *body = json_object(), *j = NULL;
    char question[256];
    const char *node = cli_opt(c, "node");
    int code = node == NULL ? cli_fail(c, CLI_USAGE, "say whose it was: --node NAME") : 0;
    if (code == 0)
        code = cli_put_text(c, body, "dir", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "node", node);
    snprintf(question, sizeof(question), "Take in the mail of node %s from %s?", node != NULL ? node : "",
             c->args[0]);
    if (code == 0)
        code = cli_confirm(c, question);
    if (code == 0)
        code = client_json(c, "/v1/spool/adopt", body, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        printf("%" PRId64 " message(s) were there: %" PRId64 " taken, %" PRId64 " are another node's\n",
               cli_int(j, "messages"), cli_int(j, "taken"), cli_int(j, "elsewhere"));
    if (cli_int(j, "in_doubt") > 0)
        cli_note("%" PRId64
                 " are in doubt: run turnpike transfer list on the other nodes, and transfer take there; "
                 "then repeat this",
                 cli_int(j, "in_doubt"));
    if (cli_int(j, "failed") > 0)
        cli_note("%" PRId64 " cannot be read, or have moved too often", cli_int(j, "failed"));
    if (code == 0 && cli_int(j, "in_doubt") + cli_int(j, "failed") > 0)
        code = CLI_PARTLY;
    json_decref(body);
    json_decref(j);
    return code;
}
