/* Commands about notifications: notify status, notify test. */
#include "cli/client.h"

#include <inttypes.h>
#include <stdio.h>

static void put_rows(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "TARGET", "NODE",  "KIND",      "WHERE", ">WAITING",
                                          ">SENT",  ">LOST", "LAST SENT", "FAILS" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 9);
    json_array_foreach(rows, i, r)
    {
        char sent[64], failed[64];
        cli_when(c, json_object_get(r, "last_ok_ms"), sent, sizeof sent);
        cli_when(c, json_object_get(r, "last_failed_ms"), failed, sizeof failed);
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "target");
        cli_table_str(&t, 1, r, "node");
        cli_table_str(&t, 2, r, "kind");
        cli_table_str(&t, 3, r, "where");
        cli_table_int(&t, 4, r, "waiting");
        cli_table_int(&t, 5, r, "sent");
        cli_table_int(&t, 6, r, "lost");
        cli_table_set(&t, 7, CLI_PLAIN, "%s", sent);
        if (cli_int(r, "failures") > 0)
            cli_table_set(&t, 8, CLI_RED, "%" PRId64 " times, %s: %s", cli_int(r, "failures"), failed,
                          cli_str(r, "error"));
    }
    cli_table_end(c, &t);
}

int cmd_notify_status(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    client_query_init(&q, "/v1/notify");
    client_query_add(&q, "scope", cli_has(c, "local") ? "local" : NULL);
    int code = client_get(c, &q, &j);
    const json_t *rows = json_object_get(j, "targets");
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0 && json_array_size(rows) == 0)
        printf("the policy has no targets of notifications: docs/notifications.md\n");
    else if (code == 0)
        put_rows(c, rows);
    if (code == 0)
        cli_say_missing(j);
    json_decref(j);
    return code;
}

int cmd_notify_test(struct cli *c)
{
    json_t *body = json_object(), *answer = NULL;
    int code = cli_put_text(c, body, "target", c->args[0]);
    if (code == 0)
        code = client_json(c, "/v1/notify/test", body, &answer);
    json_decref(body);
    if (code == 0 && c->json)
        cli_print_json(answer);
    else if (code == 0)
        printf("%s has taken it: %s\n", c->args[0], cli_str(answer, "id"));
    json_decref(answer);
    return code;
}
