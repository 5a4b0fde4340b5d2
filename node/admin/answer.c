/* What another node asks this one: the same handlers as over HTTP, for the few paths that a question to all
 * nodes may have. Never asks further.
 */
#include "node/admin/call.h"
#include "node/admin/cluster.h"
#include "node/admin/server_impl.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"

#include <stdlib.h>

#define PAIRS_MAX 32
#define ANSWER_PATH_MAX (96u << 10)

/* In place; false: a broken escape. */
static bool unescape(char *p, size_t *n)
{
    size_t to = 0;
    for (size_t i = 0; i < *n; i++) {
        if (p[i] != '%') {
            p[to++] = p[i];
            continue;
        }
        int high = i + 2 < *n ? text_hex_value(p[i + 1]) : -1, low = high >= 0 ? text_hex_value(p[i + 2]) : -1;
        if (low < 0)
            return false;
        p[to++] = (char)(high * 16 + low);
        i += 2;
    }
    *n = to;
    return true;
}

/* "a=b&c=d", in place. */
static int split(char *query, struct admin_pair *pairs, size_t *n, struct admin_error *e)
{
    *n = 0;
    for (char *word; (word = strsep(&query, "&")) != NULL;) {
        char *value = strchr(word, '=');
        size_t name_n = value != NULL ? (size_t)(value - word) : strlen(word);
        size_t value_n = value != NULL ? strlen(++value) : 0;
        if (word[0] == '\0')
            continue;
        if (*n == PAIRS_MAX)
            return admin_fail(e, ERR_BAD, "too many parameters");
        if (!unescape(word, &name_n) || (value != NULL && !unescape(value, &value_n)))
            return admin_fail(e, ERR_BAD, "a broken %% escape");
        pairs[(*n)++] =
            (struct admin_pair){ span_of(word, name_n), span_of(value != NULL ? value : "", value_n) };
    }
    return 0;
}

static int run(char *path, struct admin_call *call)
{
    struct admin_pair pairs[PAIRS_MAX];
    const char *others = NULL;
    char *query = strchr(path, '?');
    size_t n = 0;
    if (query != NULL)
        *query++ = '\0';
    const struct admin_route *route = admin_route_find("GET", path, call->id, &others);
    if (route == NULL || !(route->flags & ADMIN_ROUTE_ASKED))
        return admin_fail(&call->e, ERR_NOT_FOUND, "nodes do not ask each other that");
    int err = query != NULL ? split(query, pairs, &n, &call->e) : 0;
    if (err == 0)
        err = admin_args_query(route->params, pairs, n, clock_wall_ms(), &call->args, &call->e);
    call->path = path;
    call->query = pairs;
    call->nquery = n;
    if (err == 0)
        err = route->handler(call);
    call->query = NULL;
    return err != 0 ? err : buf_err(&call->out);
}

int admin_answer(struct admin *a, const char *path, struct buf *body)
{
    static const struct admin_caller by = { .text = "another node" };
    struct admin_call call = { .ops = a->ops,
                               .caller = &by,
                               .cluster = a->config.cluster,
                               .cluster_ctx = a->config.cluster_ctx,
                               .series = a->series,
                               .inner = true };
    char *copy = strnlen(path, ANSWER_PATH_MAX) < ANSWER_PATH_MAX ? strdup(path) : NULL;
    buf_init(&call.out, ADMIN_REPLY_MAX);
    int err = copy != NULL ? run(copy, &call) : admin_fail(&call.e, ERR_BAD, "the question is too long");
    unsigned status = err != 0 ? admin_status_of(err) : call.status != 0 ? call.status : 200;
    if (err != 0)
        admin_error_json(body, status, call.code, call.e.text[0] != '\0' ? call.e.text : err_text(err));
    else
        buf_put_span(body, buf_span(&call.out));
    admin_args_free(call.args);
    buf_fini(&call.out);
    free(copy);
    return buf_err(body) == 0 ? (int)status : 500;
}
