/* The records of sessions, with the answers that are remembered for each, and the list of all by id. */
#include "consensus/session_impl.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

static struct span session_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    return store_number_key(session_of(rec)->id, scratch);
}

static void session_encode(const struct store_rec *rec, struct buf *out)
{
    const struct session *s = session_of(rec);
    buf_put_u64(out, s->id);
    buf_put_u64(out, s->node);
    buf_put_u64(out, s->number);
    buf_put_u64(out, s->published);
    buf_put_u64(out, s->opened_index);
    buf_put_u32(out, s->ttl_ms);
    buf_put_u32(out, s->ttl_before_ms);
    buf_put(out, s->nonce, sizeof s->nonce);
    buf_put_u8(out, s->current);
    buf_put_u64(out, s->lowest);
    for (uint64_t i = 0; s->answers != NULL && i < SESSION_WINDOW; i++) {
        const struct answer *a = &s->answers[(s->lowest + i) % SESSION_WINDOW];
        if (a->bytes == NULL)
            continue;
        buf_put_u16(out, (uint16_t)(i + 1));
        buf_put_counted(out, span_of(a->bytes, a->n));
    }
    buf_put_u16(out, 0);
}

static void session_free(struct store_rec *rec)
{
    struct session *s = session_of(rec);
    for (uint32_t i = 0; s->answers != NULL && i < SESSION_WINDOW; i++)
        free(s->answers[i].bytes);
    free(s->answers);
    free(s);
}

int session_answer_put(struct session *s, uint64_t seq, struct span bytes)
{
    if (s->answers == NULL)
        s->answers = calloc(SESSION_WINDOW, sizeof(struct answer));
    if (s->answers == NULL)
        return -ENOMEM;
    struct answer *a = &s->answers[seq % SESSION_WINDOW];
    ensure(a->bytes == NULL);
    a->bytes = malloc(bytes.n);
    if (a->bytes == NULL)
        return -ENOMEM;
    memcpy(a->bytes, bytes.p, bytes.n);
    a->n = (uint32_t)bytes.n;
    return 0;
}

static int decode_answers(struct cursor *c, struct session *s)
{
    uint16_t last = 0;
    for (uint16_t i; (i = cursor_u16(c)) != 0; last = i) {
        struct span bytes = cursor_counted(c);
        struct cursor in;
        struct machine_result r;
        cursor_init(&in, bytes.p, bytes.n);
        if (cursor_err(c) != 0)
            return cursor_err(c);
        if (i > SESSION_WINDOW || i <= last || machine_result_decode(&in, &r) != 0 || cursor_left(&in) != 0)
            return ERR_CORRUPT;
        int err = session_answer_put(s, s->lowest + i - 1, bytes);
        if (err != 0)
            return err;
    }
    return cursor_err(c);
}

static int session_decode(struct cursor *c, struct store_rec **out)
{
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->id = cursor_u64(c);
    s->node = cursor_u64(c);
    s->number = cursor_u64(c);
    s->published = cursor_u64(c);
    s->opened_index = cursor_u64(c);
    s->ttl_ms = cursor_u32(c);
    s->ttl_before_ms = cursor_u32(c);
    struct span nonce = cursor_bytes(c, sizeof s->nonce);
    memcpy(s->nonce, nonce.p, nonce.n);
    uint8_t current = cursor_u8(c);
    s->current = current == 1;
    s->lowest = cursor_u64(c);
    int err = cursor_err(c);
    if (err == 0 && (s->id == 0 || s->node == 0 || current > 1 || s->lowest == 0))
        err = ERR_CORRUPT;
    if (err == 0)
        err = decode_answers(c, s);
    if (err != 0) {
        session_free(&s->rec);
        return err;
    }
    *out = &s->rec;
    return 0;
}

static struct span opened_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    return store_number_key(((const struct opened *)rec)->node, scratch);
}

static void opened_encode(const struct store_rec *rec, struct buf *out)
{
    const struct opened *o = (const struct opened *)rec;
    buf_put_u64(out, o->node);
    buf_put_u64(out, o->session);
    buf_put(out, o->nonce, sizeof o->nonce);
}

static int opened_decode(struct cursor *c, struct store_rec **out)
{
    struct opened *o = calloc(1, sizeof *o);
    if (o == NULL)
        return -ENOMEM;
    o->node = cursor_u64(c);
    o->session = cursor_u64(c);
    struct span nonce = cursor_bytes(c, sizeof o->nonce);
    memcpy(o->nonce, nonce.p, nonce.n);
    if (cursor_err(c) != 0) {
        free(o);
        return cursor_err(c);
    }
    *out = &o->rec;
    return 0;
}

static void opened_free(struct store_rec *rec)
{
    free(rec);
}

const struct store_type session_type = {
    .id = 1,
    .name = "session",
    .key = session_key,
    .encode = session_encode,
    .decode = session_decode,
    .free = session_free,
};
const struct store_type session_opened_type = {
    .id = 2,
    .name = "opened",
    .key = opened_key,
    .encode = opened_encode,
    .decode = opened_decode,
    .free = opened_free,
};
const struct store_type *const session_types[] = { &session_type, &session_opened_type };
const uint32_t session_ntypes = 2;

/* ---- derived: all sessions by id --------------------------------------------------------------------------
 */

struct sessions *sessions_new(void)
{
    struct sessions *ss = calloc(1, sizeof *ss);
    if (ss != NULL)
        buf_init(&ss->scratch, SIZE_MAX);
    return ss;
}

void sessions_free(struct sessions *ss)
{
    if (ss == NULL)
        return;
    buf_fini(&ss->scratch);
    free(ss->by_id);
    free(ss);
}

int session_list_add(struct sessions *ss, struct session *s)
{
    if (ss->n == ss->cap) {
        uint32_t cap = ss->cap == 0 ? 16 : ss->cap * 2;
        struct session **by_id = realloc(ss->by_id, cap * sizeof(struct session *));
        if (by_id == NULL)
            return -ENOMEM;
        ss->by_id = by_id;
        ss->cap = cap;
    }
    ss->by_id[ss->n++] = s;
    return 0;
}

int session_restored(struct machine *m)
{
    struct sessions *ss = m->sessions;
    ss->n = 0;
    LIST_EACH(link, store_all(m->store, &session_type))
    {
        struct session *s = session_of(LIST_ITEM(link, struct store_rec, link));
        /* Ids ascend with the log, so the order of arrival is the order of ids. */
        if (ss->n > 0 && ss->by_id[ss->n - 1]->id >= s->id)
            return ERR_CORRUPT;
        for (uint32_t i = 0; s->current && i < ss->n; i++)
            if (ss->by_id[i]->current && ss->by_id[i]->node == s->node)
                return ERR_CORRUPT;
        int err = session_list_add(ss, s);
        if (err != 0)
            return err;
    }
    return 0;
}
