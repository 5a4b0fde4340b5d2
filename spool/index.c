/* Living messages in memory: found by id, their recipients' states, the monotone rule. Under the spool's
 * lock. */
#include "spool/internal.h"

#include "base/ensure.h"

#include <stdlib.h>

/* Ids are ours, so a fixed mixing function will do: nobody outside can choose them. */
static uint64_t id_hash(uint64_t id)
{
    id ^= id >> 32;
    id *= 0x9e3779b97f4a7c15u;
    return id ^ id >> 29;
}

static uint64_t msg_hash(const void *item)
{
    return id_hash(((const struct msg *)item)->id);
}

static bool msg_match(const void *item, const void *key)
{
    return ((const struct msg *)item)->id == *(const uint64_t *)key;
}

static struct map *shard_of(struct spool *s, uint64_t id)
{
    struct map *m = &s->index[id_hash(id) >> 58];
    if (m->match == NULL)
        map_init(m, msg_hash, msg_match);
    return m;
}

struct msg *msg_new(uint64_t id, uint32_t nrcpts, uint8_t state)
{
    struct msg *m = calloc(1, sizeof *m + nrcpts * sizeof m->rcpts[0]);
    if (m == NULL)
        return NULL;
    m->id = id;
    m->nrcpts = nrcpts;
    for (uint32_t i = 0; i < nrcpts; i++)
        m->rcpts[i].state = state;
    return m;
}

void msg_free(struct spool *s, struct msg *m)
{
    if (m == NULL)
        return;
    for (uint32_t i = 0; i < m->nrcpts; i++)
        replies_rele(&s->replies, m->rcpts[i].reply);
    free(m->chunks);
    free(m);
}

int index_add(struct spool *s, struct msg *m)
{
    int err = map_add(shard_of(s, m->id), id_hash(m->id), m);
    if (err == 0)
        s->messages++;
    return err;
}

void index_remove(struct spool *s, struct msg *m)
{
    ensure(map_remove(shard_of(s, m->id), id_hash(m->id), m));
    s->messages--;
}

struct msg *index_find(struct spool *s, uint64_t id)
{
    return map_find(shard_of(s, id), id_hash(id), &id);
}

struct msg *index_living(struct spool *s, uint64_t id)
{
    struct msg *m = index_find(s, id);
    return m == NULL || (m->flags & (MSG_PENDING | MSG_STUB)) != 0 ? NULL : m;
}

struct msg *index_next(struct spool *s, uint32_t *shard, size_t *at)
{
    for (; *shard < SPOOL_SHARDS; (*shard)++, *at = 0) {
        struct msg *m = map_next(&s->index[*shard], at);
        if (m != NULL)
            return m;
    }
    return NULL;
}

bool msg_apply(struct spool *s, struct msg *m, const struct spool_rcpt_update *u)
{
    if (u->rcpt >= m->nrcpts)
        return false;
    struct msg_rcpt *r = &m->rcpts[u->rcpt];
    if (rcpt_state_terminal(r->state))
        return false;
    uint32_t reply = replies_hold(&s->replies, u->to.reply);
    replies_rele(&s->replies, r->reply);
    *r = (struct msg_rcpt){
        .next_ms = u->to.next_ms,
        .changed_ms = u->to.changed_ms == 0 ? 1 : u->to.changed_ms,
        .reply = reply,
        .attempts = u->to.attempts,
        .state = u->to.state,
        .delay_told = u->to.delay_told,
    };
    return true;
}

bool msg_all_terminal(const struct msg *m)
{
    for (uint32_t i = 0; i < m->nrcpts; i++)
        if (!rcpt_state_terminal(m->rcpts[i].state))
            return false;
    return true;
}

void msg_rcpt_export(const struct spool *s, const struct msg_rcpt *r, char scratch[64],
                     struct spool_rcpt *out)
{
    *out = (struct spool_rcpt){
        .state = r->state,
        .delay_told = r->delay_told,
        .attempts = r->attempts,
        .next_ms = r->next_ms,
        .changed_ms = r->changed_ms,
        .reply = replies_text(&s->replies, r->reply, scratch),
    };
}
