/* Requests to the admin API, over its unix socket or a URL. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "cli/cli.h"

/* Builds a target: "/v1/queue?limit=5&sender=a%40b". */
struct client_query {
    struct buf text;
    bool any;
};
void client_query_init(struct client_query *q, const char *path);
void client_query_add(struct client_query *q, const char *name, const char *value); /* NULL value: nothing */
void client_query_fini(struct client_query *q);

/* GET when body is NULL, else POST. 0 and the reply's JSON, or an exit code after saying what is wrong. */
int client_json(struct cli *c, const char *target, const json_t *body, json_t **out);

/* GET of what was built, which is gone then. */
int client_get(struct cli *c, struct client_query *q, json_t **out);

/* As client_json, but the reply is handed over in pieces as it comes; a non-zero return ends it. 0 when all
 * of it came; CLI_UNREACHABLE when it broke off. */
typedef int client_piece_fn(void *arg, const char *p, size_t n);
int client_stream(struct cli *c, const char *target, const json_t *body, client_piece_fn *fn, void *arg);

/* Fetches pages into one document whose array `key` holds at most --limit elements, from --after on. `base`
 * is the target without limit and after. */
int client_pages(struct cli *c, const struct client_query *base, const char *key, json_t **out);

void client_fini(struct cli *c);

/* Where the node is looked for when nothing says it: what `file` (node.yaml) says, else a default. */
void client_default_socket(const char *file, char *out, size_t cap);

#endif
