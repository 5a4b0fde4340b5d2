/* privacy export: what is kept about one address, of all nodes. It is gathered here, page by page, from what
 * the API tells of the queues, the histories and the suppression list. */
#include "cli/client.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PAGE "1000"
#define ROWS_MAX 100000 /* of each kind */

struct export
{
    const char *address;
    json_t *sent, *received, *suppressed, *kept, *missing;
    bool cluster, cut;
};

/* Nodes that did not answer one page or another, each once. */
static void add_missing(struct export *x, const json_t *page)
{
    size_t i, k;
    json_t *m, *was;
    json_array_foreach(json_object_get(page, "missing"), i, m)
    {
        bool known = false;
        json_array_foreach(x->missing, k, was)
        {
            known |= strcmp(cli_str(was, "node"), cli_str(m, "node")) == 0;
        }
        if (!known)
            json_array_append(x->missing, m);
    }
}

static bool of_address(const struct export *x, const json_t *row)
{
    return strcasecmp(cli_str(row, "address"), x->address) == 0;
}

static void add_rows(struct export *x, const json_t *page, const char *key, json_t *into)
{
    bool suppressed = into == x->suppressed;
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(page, key), i, row)
    {
        if (json_array_size(into) == ROWS_MAX)
            x->cut = true;
        else if (!suppressed || of_address(x, row))
            json_array_append(into, row);
    }
}

/* All pages of `target`, which has no question mark yet; `name`=ADDRESS where there is a name. */
static int gather(struct cli *c, struct export *x, const char *target, const char *name, const char *key,
                  json_t *into)
{
    char after[256] = "";
    int code = 0;
    bool more = true;
    while (code == 0 && more && !x->cut) {
        struct client_query q;
        json_t *page = NULL;
        client_query_init(&q, target);
        client_query_add(&q, name != NULL ? name : "limit", name != NULL ? x->address : PAGE);
        if (name != NULL) {
            client_query_add(&q, "steps", "true");
            client_query_add(&q, "limit", PAGE);
        }
        client_query_add(&q, "after", after[0] != '\0' ? after : NULL);
        code = client_get(c, &q, &page);
        if (code == 0) {
            add_rows(x, page, key, into);
            add_missing(x, page);
            const json_t *kept = json_object_get(page, "kept");
            x->cluster |= json_is_array(kept);
            if (json_is_array(kept) && json_array_size(x->kept) == 0)
                json_array_extend(x->kept, (json_t *)(uintptr_t)kept);
            more = cli_str(page, "next")[0] != '\0';
            snprintf(after, sizeof(after), "%s", cli_str(page, "next"));
        }
        json_decref(page);
    }
    return code;
}

static void put_mail(struct cli *c, const char *what, const json_t *rows, const char *other)
{
    static const char *const titles[] = { "", "ID", "ARRIVED", "WITH", "STATE", "CLIENT", "NODE" };
    struct cli_table t;
    size_t i;
    json_t *r;
    if (json_array_size(rows) == 0)
        return;
    cli_table_init(&t, titles, 7);
    json_array_foreach(rows, i, r)
    {
        char when[64];
        const char *state = cli_str(r, "state");
        cli_time(json_object_get(r, "arrival_ms"), when, sizeof(when));
        cli_table_row(&t);
        cli_table_set(&t, 0, CLI_PLAIN, "%s", what);
        cli_table_str(&t, 1, r, "id");
        cli_table_set(&t, 2, CLI_PLAIN, "%s", when);
        cli_table_opt(&t, 3, r, other);
        cli_table_set(&t, 4, cli_state_colour(state), "%s", state);
        cli_table_opt(&t, 5, r, "client_ip");
        cli_table_opt(&t, 6, r, "node");
    }
    cli_table_end(c, &t);
}

static void put_text(struct cli *c, const struct export *x)
{
    size_t i;
    json_t *r;
    put_mail(c, "sent", x->sent, "recipient");
    put_mail(c, "received", x->received, "sender");
    json_array_foreach(x->suppressed, i, r)
    {
        char when[64], tenant[256];
        cli_time(json_object_get(r, "since_ms"), when, sizeof(when));
        cli_safe(cli_str(r, "tenant"), tenant, sizeof(tenant));
        printf("suppressed since %s%s%s\n", when, tenant[0] != '\0' ? " by tenant " : "", tenant);
    }
    cli_note("event logs, the nodes' own logs and backups are not in here: each node has its own");
}

static int put(struct cli *c, struct export *x)
{
    bool none = json_array_size(x->sent) + json_array_size(x->received) + json_array_size(x->suppressed) == 0;
    json_t *j = json_pack("{s:s,s:O,s:O,s:O,s:O,s:O,s:b}", "address", x->address, "sent", x->sent, "received",
                          x->received, "suppressed", x->suppressed, "kept", x->kept, "missing", x->missing,
                          "cut", x->cut);
    if (c->json)
        cli_print_json(j);
    else
        put_text(c, x);
    cli_say_missing(j);
    if (x->cut)
        cli_note("there is more than %d rows of a kind: narrow it with track --since and --until", ROWS_MAX);
    bool partly = x->cut || json_array_size(x->missing) > 0;
    json_decref(j);
    return partly ? CLI_PARTLY : none ? CLI_NOT_FOUND : CLI_OK;
}

int cmd_privacy_export(struct cli *c)
{
    struct export x = { .address = c->args[0] };
    const char *at = strrchr(x.address, '@');
    if (at == NULL || at == x.address)
        return cli_fail(c, CLI_USAGE, "%s is no address", x.address);
    json_t **all[] = { &x.sent, &x.received, &x.suppressed, &x.kept, &x.missing };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        *all[i] = json_array();
    int code = gather(c, &x, "/v1/track", "sender", "recipients", x.sent);
    if (code == 0)
        code = gather(c, &x, "/v1/track", "recipient", "recipients", x.received);
    if (code == 0 && x.cluster) /* a node by itself has no such list */
        code = gather(c, &x, "/v1/suppression", NULL, "suppressed", x.suppressed);
    if (code == 0)
        code = put(c, &x);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        json_decref(*all[i]);
    return code;
}
