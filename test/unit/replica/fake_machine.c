/* See fake_machine.h. */
#include "fake_machine.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define STEP_BYTES (256u << 10)
#define HELD_STEPS_MAX 30000 /* of a millisecond */

struct state {
    uint64_t hash, commands, applied, now_ms, bulk;
};

struct machine {
    struct state now, marked;
    bool marking;
    uint64_t written; /* of the bulk; ~0: nothing yet */
    uint64_t fail_from;
    atomic_bool hold;
    uint32_t held; /* steps */
    pthread_t taker;
    pthread_mutex_t lock;
};

struct machine *machine_new(const struct machine_config *config)
{
    (void)config;
    struct machine *m = calloc(1, sizeof *m);
    if (m != NULL)
        (void)pthread_mutex_init(&m->lock, NULL);
    return m;
}

void machine_free(struct machine *m)
{
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

void machine_effects_init(struct machine_effects *e)
{
    *e = (struct machine_effects){ 0 };
    buf_init(&e->keys, 1u << 20);
}

void machine_effects_fini(struct machine_effects *e)
{
    free(e->items);
    buf_fini(&e->keys);
}

static uint64_t mix(uint64_t hash, uint64_t v)
{
    return (hash ^ v) * 0x9e3779b97f4a7c15u + (hash >> 29);
}

static int effect_add(struct machine_effects *out, const struct command *cmd, uint64_t now_ms)
{
    if (out->n == out->cap) {
        uint32_t cap = out->cap == 0 ? COMMAND_ENTRY_MAX : 2 * out->cap;
        struct machine_effect *items = realloc(out->items, cap * sizeof *items);
        if (items == NULL)
            return -ENOMEM;
        out->items = items;
        out->cap = cap;
    }
    struct machine_effect *e = &out->items[out->n++];
    e->is_result = true;
    e->command = cmd->type;
    e->origin = cmd->origin;
    e->result.err = 0;
    e->result.now_ms = now_ms;
    return 0;
}

int machine_apply(struct machine *m, uint64_t index, const void *entry, size_t n, struct machine_effects *out)
{
    (void)pthread_mutex_lock(&m->lock);
    int err = 0;
    struct cursor c;
    struct command_entry head;
    struct command cmd;
    out->n = 0;
    ensure(index > m->now.applied);
    if (m->fail_from != 0 && index >= m->fail_from)
        err = ERR_CORRUPT;
    cursor_init(&c, entry, n);
    if (err == 0)
        err = command_entry_decode(&c, &head);
    if (err == 0) {
        ensure(head.n > 0);
        if (head.now_ms > m->now.now_ms)
            m->now.now_ms = head.now_ms;
        m->now.hash = mix(m->now.hash, index);
    }
    for (uint32_t i = 0; err == 0 && i < head.n; i++) {
        err = command_decode(&c, &cmd);
        if (err != 0)
            break;
        m->now.hash = mix(m->now.hash, cmd.origin.seq);
        m->now.commands++;
        err = effect_add(out, &cmd, m->now.now_ms);
    }
    m->now.applied = index;
    (void)pthread_mutex_unlock(&m->lock);
    return err;
}

uint64_t machine_applied(const struct machine *m)
{
    return m->now.applied;
}

uint64_t machine_now_ms(const struct machine *m)
{
    return m->now.now_ms;
}

uint64_t fake_machine_hash(const struct machine *m)
{
    return m->now.hash;
}

uint64_t fake_machine_commands(const struct machine *m)
{
    return m->now.commands;
}

void fake_machine_set_bulk(struct machine *m, uint64_t bytes)
{
    m->now.bulk = bytes;
}

void fake_machine_hold(struct machine *m, bool hold)
{
    atomic_store(&m->hold, hold);
}

void fake_machine_fail_from(struct machine *m, uint64_t index)
{
    m->fail_from = index;
}

int machine_snapshot_begin(struct machine *m)
{
    (void)pthread_mutex_lock(&m->lock);
    ensure(!m->marking);
    m->marking = true;
    m->taker = pthread_self();
    m->held = 0;
    m->marked = m->now;
    m->written = UINT64_MAX;
    (void)pthread_mutex_unlock(&m->lock);
    return 0;
}

static uint8_t bulk_byte(uint64_t at)
{
    return (uint8_t)(at >> 12);
}

int machine_snapshot_step(struct machine *m, struct buf *out)
{
    /* Another thread could be without a processor while it has the lock. */
    ensure(pthread_equal(m->taker, pthread_self()) != 0);
    /* Not for ever: a test that failed must end. */
    if (atomic_load(&m->hold) && ++m->held < HELD_STEPS_MAX) {
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        return 1;
    }
    (void)pthread_mutex_lock(&m->lock);
    ensure(m->marking);
    if (m->written == UINT64_MAX) {
        (void)buf_put_u64(out, m->marked.hash);
        (void)buf_put_u64(out, m->marked.commands);
        (void)buf_put_u64(out, m->marked.applied);
        (void)buf_put_u64(out, m->marked.now_ms);
        (void)buf_put_u64(out, m->marked.bulk);
        m->written = 0;
    }
    uint64_t n = m->marked.bulk - m->written;
    if (n > STEP_BYTES)
        n = STEP_BYTES;
    if (buf_reserve(out, n) == 0) {
        for (uint64_t i = 0; i < n; i++)
            out->data[out->len + i] = (char)bulk_byte(m->written + i);
        out->len += n;
    }
    m->written += n;
    int more = m->written < m->marked.bulk ? 1 : 0;
    (void)pthread_mutex_unlock(&m->lock);
    return more;
}

void machine_snapshot_end(struct machine *m)
{
    (void)pthread_mutex_lock(&m->lock);
    m->marking = false;
    (void)pthread_mutex_unlock(&m->lock);
}

int machine_restore(struct machine *m, const void *p, size_t n)
{
    struct cursor c;
    struct state s;
    cursor_init(&c, p, n);
    s.hash = cursor_u64(&c);
    s.commands = cursor_u64(&c);
    s.applied = cursor_u64(&c);
    s.now_ms = cursor_u64(&c);
    s.bulk = cursor_u64(&c);
    if (cursor_err(&c) != 0 || cursor_left(&c) != s.bulk)
        return ERR_CORRUPT;
    for (uint64_t i = 0; i < s.bulk; i++)
        if (c.p[i] != bulk_byte(i))
            return ERR_CORRUPT;
    (void)pthread_mutex_lock(&m->lock);
    m->now = s;
    (void)pthread_mutex_unlock(&m->lock);
    return 0;
}
