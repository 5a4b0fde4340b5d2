/* The leader's memory of when it saw each renewal: a short table by session. */
#include "consensus/lease.h"

#include "base/ensure.h"

#include <errno.h>
#include <stdlib.h>

#define ASK_AGAIN_MS 1000

struct seen {
    uint64_t session, number;
    int64_t since_ms; /* CLOCK_BOOTTIME when the renewal was applied here */
    int64_t ttl_ms;   /* the longest that the node may be counting */
    int64_t asked_ms; /* an expiry was proposed then; INT64_MIN: not yet */
};

struct lease {
    bool leading;
    struct seen *seen;
    uint32_t n, cap;
    int64_t margin_ms;
    int err; /* -ENOMEM: told by the next lease_due */
};

struct lease *lease_new(void)
{
    return calloc(1, sizeof(struct lease));
}

void lease_free(struct lease *l)
{
    if (l == NULL)
        return;
    free(l->seen);
    free(l);
}

static struct seen *find(const struct lease *l, uint64_t session)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (l->seen[i].session == session)
            return &l->seen[i];
    return NULL;
}

static void note(struct lease *l, const struct machine_session *s, int64_t boot_ms)
{
    struct seen *x = find(l, s->id);
    if (x == NULL) {
        if (l->n == l->cap) {
            uint32_t cap = l->cap == 0 ? 16 : l->cap * 2;
            struct seen *seen = realloc(l->seen, cap * sizeof *seen);
            if (seen == NULL) {
                l->err = -ENOMEM;
                return;
            }
            l->seen = seen;
            l->cap = cap;
        }
        x = &l->seen[l->n++];
        *x = (struct seen){ .session = s->id };
    } else if (x->number == s->number) {
        return;
    }
    x->number = s->number;
    x->since_ms = boot_ms;
    x->ttl_ms = (int64_t)s->ttl_ms;
    x->asked_ms = INT64_MIN;
}

struct looking {
    struct lease *l;
    int64_t boot_ms;
};

static int note_cb(void *arg, const struct machine_session *s)
{
    const struct looking *x = arg;
    note(x->l, s, x->boot_ms);
    return 0;
}

static void look_again(struct lease *l, const struct machine *m, int64_t boot_ms)
{
    for (uint32_t i = 0; i < l->n;) {
        struct machine_session s;
        if (machine_session_find(m, l->seen[i].session, &s))
            i++;
        else
            l->seen[i] = l->seen[--l->n];
    }
    struct looking x = { l, boot_ms };
    machine_sessions_each(m, note_cb, &x);
    l->margin_ms = machine_session_margin_ms(m);
}

void lease_start(struct lease *l, const struct machine *m, int64_t boot_ms)
{
    l->leading = true;
    l->n = 0;
    l->err = 0;
    look_again(l, m, boot_ms);
}

void lease_stop(struct lease *l)
{
    l->leading = false;
    l->n = 0;
}

void lease_applied(struct lease *l, const struct machine *m, const struct machine_effects *effects,
                   int64_t boot_ms)
{
    if (!l->leading)
        return;
    for (uint32_t i = 0; i < effects->n; i++) {
        const struct machine_effect *e = &effects->items[i];
        struct machine_session s;
        if (!e->is_result && (e->change == MACHINE_CHANGED_SESSIONS || e->change == MACHINE_CHANGED_ALL))
            look_again(l, m, boot_ms);
        else if (e->is_result && e->command == COMMAND_SESSION_RENEW && e->result.err == 0 &&
                 machine_session_find(m, e->origin.session, &s))
            note(l, &s, boot_ms);
    }
    l->margin_ms = machine_session_margin_ms(m);
}

/* A node's clock may be 0.5 % slow and ours 0.5 % fast: with a long TTL that is more than a short margin. */
static int64_t wait_of(const struct lease *l, const struct seen *x)
{
    int64_t drift = x->ttl_ms / 50;
    return x->ttl_ms + (l->margin_ms > drift ? l->margin_ms : drift);
}

int lease_due(struct lease *l, const struct machine *m, int64_t boot_ms, struct buf *out, uint32_t *n)
{
    *n = 0;
    if (!l->leading)
        return 0;
    if (l->err != 0) {
        l->err = 0;
        look_again(l, m, boot_ms);
        if (l->err != 0)
            return l->err;
    }
    for (uint32_t i = 0; i < l->n; i++) {
        struct seen *x = &l->seen[i];
        if (boot_ms - x->since_ms < wait_of(l, x))
            continue;
        if (x->asked_ms != INT64_MIN && boot_ms - x->asked_ms < ASK_AGAIN_MS)
            continue;
        struct command cmd = { .type = COMMAND_SESSION_EXPIRE };
        cmd.session_expire = (struct command_session_expire){ .session = x->session, .number = x->number };
        int err = command_encode(&cmd, out);
        if (err != 0)
            return err;
        x->asked_ms = boot_ms;
        ++*n;
    }
    return 0;
}

int64_t lease_left_ms(const struct lease *l, uint64_t session, int64_t boot_ms)
{
    const struct seen *x = l->leading ? find(l, session) : NULL;
    if (x == NULL)
        return -1;
    int64_t left = wait_of(l, x) - (boot_ms - x->since_ms);
    return left > 0 ? left : 0;
}
