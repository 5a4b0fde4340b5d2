/* Requests to join: one of a connection, length first, and its answer. The loop's thread.
 *
 * The request's handle may outlive its connection and the transport: whoever has it answers it in any case.
 */
#include "consensus/transport_impl.h"

#include "base/cursor.h"
#include "base/ensure.h"

#include <stdlib.h>

#define LENGTH_BYTES 4

static uint32_t joining(const struct transport *t)
{
    uint32_t n = t->njoins;
    LIST_EACH(l, &t->conns)
    n += LIST_ITEM(l, struct conn, link)->phase == REQUEST;
    return n;
}

void join_begin(struct conn *c)
{
    if (joining(c->t) >= JOINS_MAX) {
        c->t->stats.refused++;
        transport_complain(c, "too many nodes want to join at once");
        conn_close(c, 0);
        return;
    }
    c->phase = REQUEST; /* its time is what is left of the handshake's */
}

static void give(struct conn *c, struct span request)
{
    struct transport *t = c->t;
    struct transport_join *j = calloc(1, sizeof *j);
    if (j == NULL) {
        conn_close(c, 0);
        return;
    }
    *j = (struct transport_join){ .t = t, .c = c };
    list_push_back(&t->joins, &j->link);
    t->njoins++;
    c->join = j;
    c->phase = ANSWER;
    conn_deadline(c, JOIN_MS);
    t->config.on_join(t->config.ctx, j, request, c->where);
    buf_reset(&c->in);
}

void join_data(struct conn *c)
{
    struct cursor cur;
    cursor_init(&cur, c->in.data, c->in.len);
    uint32_t n = cursor_u32(&cur);
    if (cursor_err(&cur) != 0)
        return;
    if (n == 0 || n > TRANSPORT_JOIN_MAX || c->in.len > LENGTH_BYTES + n) {
        c->t->stats.refused++;
        transport_complain(c, "its request to join has a wrong length");
        conn_close(c, 0);
    } else if (c->in.len == LENGTH_BYTES + n) {
        give(c, span_of(c->in.data + LENGTH_BYTES, n));
    }
}

void join_abandon(struct conn *c)
{
    c->join->c = NULL;
    c->join = NULL;
}

void transport_join_answer(struct transport_join *j, struct span answer)
{
    struct conn *c = j->c;
    if (j->t != NULL) {
        list_remove(&j->link);
        ensure(j->t->njoins > 0);
        j->t->njoins--;
    }
    free(j);
    if (c == NULL)
        return;
    c->join = NULL;
    if (answer.n == 0 || answer.n > TRANSPORT_JOIN_MAX) {
        conn_close(c, 0);
        return;
    }
    char head[LENGTH_BYTES];
    for (size_t i = 0; i < LENGTH_BYTES; i++)
        head[i] = (char)(answer.n >> (8 * i) & 0xff);
    if (conn_send(c, head, sizeof head) && conn_send(c, answer.p, answer.n))
        conn_linger(c);
}
