/* What a node holds, counted. See held.h. */
#include "node/core/held.h"

#include "base/hash.h"
#include "base/map.h"
#include "consensus/command.h"
#include "node/policy/policy.h"
#include "node/queue/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct holder { /* a sender who has something held */
    uint64_t messages, bytes;
    size_t n;
    char name[];
};

struct message {
    uint64_t id, bytes;
    uint32_t recipients;
    bool coming; /* admitted, and no queue has it yet */
    struct holder *of;
};

struct held {
    pthread_mutex_t lock;
    struct map messages, holders;
    struct held_stats stats;
    bool releasing;
};

/* ---- why ----------------------------------------------------------------------------------------------- */

bool held_reason(const struct envelope *env, const struct spool_rcpt *r, struct hold_mark *out)
{
    struct span words;
    bool held = r->state == RCPT_HELD || r->state == RCPT_LEAVING_HELD || r->state == RCPT_INERT_HELD;
    if (hold_mark_parse(r->reply, out, &words) && (!held || out->kind != HOLD_RELEASED))
        return true;
    if (!held)
        return false;
    if ((env->flags & ENVELOPE_HELD) != 0 && r->reply.n == 0) {
        hold_reason_parse(env->hold, out);
        out->since_ms = env->arrival_ms;
        return true;
    }
    *out = (struct hold_mark){ .kind = HOLD_OPERATOR, .since_ms = r->changed_ms, .text = { "", 0 } };
    return true;
}

static const char *const class_names[COMMAND_CLASSES] = { "person", "device", "bulk" };

struct span held_host_text(uint8_t class, struct span text, char *out)
{
    snprintf(out, HOLD_TEXT_MAX + 1, "[%s] %.*s", class < COMMAND_CLASSES ? class_names[class] : "", (int)text.n,
             text.n > 0 ? text.p : "");
    return span_str(out);
}

int held_host_class(struct span text)
{
    struct span name = span_cut(&text, ' ');
    if (name.n < 3 || name.p[0] != '[' || name.p[name.n - 1] != ']')
        return -1;
    for (int i = 0; i < COMMAND_CLASSES; i++)
        if (span_eq(span_of(name.p + 1, name.n - 2), span_str(class_names[i])))
            return i;
    return -1;
}

/* ---- tables -------------------------------------------------------------------------------------------- */

static uint64_t message_hash(const void *item)
{
    return hash_u64(((const struct message *)item)->id);
}

static bool message_match(const void *item, const void *key)
{
    return ((const struct message *)item)->id == *(const uint64_t *)key;
}

static uint64_t holder_hash(const void *item)
{
    const struct holder *s = item;
    return hash_bytes(s->name, s->n);
}

static bool holder_match(const void *item, const void *key)
{
    const struct holder *s = item;
    return span_eq(span_of(s->name, s->n), *(const struct span *)key);
}

int held_new(struct held **out)
{
    struct held *h = calloc(1, sizeof *h);
    if (h == NULL)
        return -ENOMEM;
    pthread_mutex_init(&h->lock, NULL);
    map_init(&h->messages, message_hash, message_match);
    map_init(&h->holders, holder_hash, holder_match);
    *out = h;
    return 0;
}

static void free_all(struct map *map)
{
    size_t at = 0;
    for (void *item; (item = map_next(map, &at)) != NULL;)
        free(item);
    map_fini(map);
}

void held_free(struct held *h)
{
    if (h == NULL)
        return;
    free_all(&h->messages);
    free_all(&h->holders);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static struct holder *holder_of(struct held *h, struct span sender)
{
    struct holder *s = map_find(&h->holders, hash_bytes(sender.p, sender.n), &sender);
    if (s != NULL)
        return s;
    s = calloc(1, sizeof *s + sender.n);
    if (s == NULL)
        return NULL;
    s->n = sender.n;
    if (sender.n > 0)
        memcpy(s->name, sender.p, sender.n);
    if (map_add(&h->holders, holder_hash(s), s) == 0)
        return s;
    free(s);
    return NULL;
}

static void holder_settle(struct held *h, struct holder *s)
{
    if (s == NULL || s->messages > 0)
        return;
    (void)map_remove(&h->holders, holder_hash(s), s);
    free(s);
}

static struct message *message_add(struct held *h, uint64_t id, struct span sender, uint64_t bytes)
{
    struct holder *s = holder_of(h, sender);
    struct message *m = s == NULL ? NULL : calloc(1, sizeof *m);
    if (m != NULL)
        *m = (struct message){ .id = id, .bytes = bytes, .of = s };
    if (m == NULL || map_add(&h->messages, hash_u64(id), m) != 0) {
        free(m);
        holder_settle(h, s);
        return NULL;
    }
    s->messages++;
    s->bytes += bytes;
    h->stats.messages++;
    h->stats.bytes += bytes;
    return m;
}

static void message_remove(struct held *h, struct message *m)
{
    m->of->messages--;
    m->of->bytes -= m->bytes;
    h->stats.messages--;
    h->stats.bytes -= m->bytes;
    h->stats.recipients -= m->recipients;
    holder_settle(h, m->of);
    (void)map_remove(&h->messages, hash_u64(m->id), m);
    free(m);
}

/* ---- changes ------------------------------------------------------------------------------------------- */

static enum held_room room(const struct held *h, const struct policy_held *l, struct span sender, uint64_t bytes)
{
    const struct holder *s = map_find(&h->holders, hash_bytes(sender.p, sender.n), &sender);
    if (h->stats.messages >= l->messages || h->stats.bytes + bytes > l->bytes)
        return HELD_FULL_NODE;
    uint64_t messages = s == NULL ? 0 : s->messages, has = s == NULL ? 0 : s->bytes;
    return messages >= l->sender_messages || has + bytes > l->sender_bytes ? HELD_FULL_SENDER : HELD_ROOM;
}

enum held_room held_admit(struct held *h, const struct policy_held *limits, uint64_t id, struct span sender,
                          uint64_t bytes)
{
    pthread_mutex_lock(&h->lock);
    enum held_room answer = room(h, limits, sender, bytes);
    struct message *m = answer == HELD_ROOM ? message_add(h, id, sender, bytes) : NULL;
    if (m != NULL)
        m->coming = true;
    else if (answer == HELD_ROOM)
        answer = HELD_FULL_NODE; /* no memory to count it */
    h->stats.refused += answer != HELD_ROOM;
    pthread_mutex_unlock(&h->lock);
    return answer;
}

void held_forget(struct held *h, uint64_t id)
{
    pthread_mutex_lock(&h->lock);
    struct message *m = map_find(&h->messages, hash_u64(id), &id);
    if (m != NULL && m->coming)
        message_remove(h, m);
    pthread_mutex_unlock(&h->lock);
}

void held_changed(void *held, const struct queue_item_view *v, int by)
{
    struct held *h = held;
    pthread_mutex_lock(&h->lock);
    struct message *m = map_find(&h->messages, hash_u64(v->id), &v->id);
    if (by > 0 && m == NULL) /* without memory it is held all the same, and only not counted */
        m = message_add(h, v->id, v->sender, (uint64_t)v->size_kib * 1024);
    if (m != NULL && by > 0) {
        m->coming = false;
        m->recipients += v->nrcpts;
        h->stats.recipients += v->nrcpts;
    } else if (m != NULL) {
        uint32_t n = v->nrcpts < m->recipients ? v->nrcpts : m->recipients;
        m->recipients -= n;
        h->stats.recipients -= n;
        if (m->recipients == 0)
            message_remove(h, m);
    }
    pthread_mutex_unlock(&h->lock);
}

bool held_try_release(struct held *h)
{
    pthread_mutex_lock(&h->lock);
    bool free_now = !h->releasing;
    h->releasing = true;
    pthread_mutex_unlock(&h->lock);
    return free_now;
}

void held_released(struct held *h)
{
    pthread_mutex_lock(&h->lock);
    h->releasing = false;
    pthread_mutex_unlock(&h->lock);
}

void held_count(struct held *h, enum held_count what, uint64_t n)
{
    pthread_mutex_lock(&h->lock);
    h->stats.counts[what] += n;
    pthread_mutex_unlock(&h->lock);
}

void held_stats(struct held *h, struct held_stats *out)
{
    pthread_mutex_lock(&h->lock);
    *out = h->stats;
    out->senders = (uint32_t)h->holders.len;
    pthread_mutex_unlock(&h->lock);
}
