/* Holds many connections open after EHLO and does nothing with them: what does an idle client cost a server?
 */
#include "test/bench/send.h"

#include "base/err.h"

#include <inttypes.h>
#include <stdlib.h>

struct idle;

struct idler {
    struct conn conn;
    struct idle *all;
    bool greeted;
    struct lines lines;
};

struct idle {
    uv_loop_t loop;
    uv_timer_t timer;
    unsigned open, greeted, refused;
    unsigned connections;
    struct idler *idlers;
};

static struct idler *of(struct conn *c)
{
    return LIST_ITEM(c, struct idler, conn);
}

static void connected(struct conn *c)
{
    of(c)->all->open++;
}

static void data(struct conn *c, const char *p, size_t n)
{
    struct idler *x = of(c);
    struct span line;
    while (lines_next(&x->lines, &p, &n, &line)) {
        if (line.n > 3 && line.p[3] == '-')
            continue;
        if (line.n < 3 || line.p[0] != '2') {
            x->all->refused++;
            conn_close(c, 0);
            return;
        }
        if (!x->greeted)
            buf_put_str(&c->out, "EHLO bench.test\r\n");
        else
            x->all->greeted++;
        x->greeted = true;
    }
}

static void closed(struct conn *c, int err)
{
    (void)err;
    struct idle *all = of(c)->all;
    if (all->open > 0)
        all->open--;
}

static const struct conn_calls calls = { .connected = connected, .data = data, .closed = closed };

static void finish(uv_timer_t *timer)
{
    struct idle *all = timer->data;
    printf("{\"connections\":%u,\"open\":%u,\"greeted\":%u,\"refused\":%u}\n", all->connections, all->open,
           all->greeted, all->refused);
    for (unsigned i = 0; i < all->connections; i++)
        conn_close(&all->idlers[i].conn, 0);
    uv_close((uv_handle_t *)timer, NULL);
}

int idle_main(int argc, char **argv)
{
    struct idle_opts o;
    int rc = opts_idle(argc, argv, &o);
    if (rc != 0)
        return rc;
    static struct idle all;
    all.connections = o.connections;
    all.idlers = calloc(o.connections, sizeof *all.idlers);
    if (all.idlers == NULL || uv_loop_init(&all.loop) != 0)
        return 2;
    for (unsigned i = 0; i < o.connections; i++) {
        struct idler *x = &all.idlers[i];
        x->all = &all;
        conn_init(&x->conn, &calls);
        int err = conn_connect(&x->conn, &all.loop, (const struct sockaddr *)&o.to);
        if (err != 0) {
            fprintf(stderr, "turnpike-bench: %s\n", err_text(err));
            return 2;
        }
        if (i % 64 == 63) /* not faster than the server's backlog takes them */
            uv_run(&all.loop, UV_RUN_NOWAIT);
    }
    uv_timer_init(&all.loop, &all.timer);
    all.timer.data = &all;
    uv_timer_start(&all.timer, finish, (uint64_t)o.seconds * 1000, 0);
    uv_run(&all.loop, UV_RUN_DEFAULT);
    bool clean = all.refused == 0 && all.greeted == o.connections;
    for (unsigned i = 0; i < o.connections; i++)
        conn_fini(&all.idlers[i].conn);
    free(all.idlers);
    uv_loop_close(&all.loop);
    return clean ? 0 : 1;
}
