/* privacy erase, erasures: an address is taken out of what is kept. The cluster does it by itself; here one
 * waits a while, and says which nodes have not. */
#include "cli/client.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define LOOKS 40
#define PAUSE_NS 250000000

static const json_t *find(const json_t *page, json_int_t id)
{
    size_t i;
    json_t *e;
    json_array_foreach(json_object_get(page, "erasures"), i, e)
    {
        if (cli_int(e, "id") == id)
            return e;
    }
    return NULL;
}

static void say_waiting(const json_t *erasure)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(erasure, "waiting"), i, node)
    {
        char name[128];
        cli_safe(json_string_value(node), name, sizeof name);
        cli_note("%s has not done it yet: it is away, or has mail of the address in its queue; it goes on by "
                 "itself",
                 name);
    }
}

/* Waits until it is gone, or some time has passed. 0 and the last look. */
static int await(struct cli *c, json_int_t id, json_t **page)
{
    const struct timespec pause = { .tv_nsec = PAUSE_NS };
    int code = 0;
    for (int i = 0; i < LOOKS; i++) {
        struct client_query q;
        json_decref(*page);
        *page = NULL;
        client_query_init(&q, "/v1/privacy/erasures");
        client_query_add(&q, "limit", "1000");
        code = client_get(c, &q, page);
        if (code != 0 || find(*page, id) == NULL)
            return code;
        nanosleep(&pause, NULL);
    }
    return code;
}

static int ask(struct cli *c)
{
    char address[512], question[640];
    if (cli_has(c, "yes"))
        return 0;
    cli_safe(c->args[0], address, sizeof address);
    snprintf(question, sizeof question, "take %s out of the histories for good?", address);
    return cli_confirm(c, question);
}

int cmd_privacy_erase(struct cli *c)
{
    json_t *body = json_object(), *answer = NULL, *page = NULL;
    int code = ask(c);
    if (code == 0)
        code = cli_put_text(c, body, "address", c->args[0]);
    if (code == 0)
        code = client_json(c, "/v1/privacy/erase", body, &answer);
    json_decref(body);
    json_int_t id = cli_int(answer, "id");
    if (code == 0 && id != 0)
        code = await(c, id, &page);
    const json_t *left = find(page, id);
    if (code == 0 && c->json)
        cli_print_json(left != NULL ? left : answer);
    else if (code == 0 && left == NULL)
        printf("erased\n");
    if (code == 0 && left != NULL) {
        say_waiting(left);
        code = CLI_PARTLY;
    }
    json_decref(answer);
    json_decref(page);
    return code;
}

static void put_erasures(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "ADDRESS", "ASKED", "BY", "WAITING FOR" };
    struct cli_table t;
    size_t i, k;
    json_t *r, *node;
    cli_table_init(&t, titles, 4);
    json_array_foreach(rows, i, r)
    {
        char when[64], waiting[512] = "";
        cli_when(c, json_object_get(r, "asked_ms"), when, sizeof when);
        json_array_foreach(json_object_get(r, "waiting"), k, node)
        {
            size_t n = strlen(waiting);
            snprintf(waiting + n, sizeof waiting - n, "%s%s", n > 0 ? ", " : "", json_string_value(node));
        }
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "address");
        cli_table_set(&t, 1, CLI_PLAIN, "%s", when);
        cli_table_opt(&t, 2, r, "by");
        cli_table_set(&t, 3, CLI_PLAIN, "%s", waiting);
    }
    cli_table_end(c, &t);
}

int cmd_privacy_erasures(struct cli *c)
{
    return cli_list_all(c, "/v1/privacy/erasures", "erasures", "nothing is being erased", put_erasures);
}
