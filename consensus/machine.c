/* The machine's front: entries in, effects out; the lock; snapshots. What commands do is in session.c,
 * quota.c, freeze.c and directory.c.
 */
#include "consensus/machine.h"

#include "base/ensure.h"
#include "base/err.h"
#include "consensus/freeze.h"
#include "consensus/machine_impl.h"
#include "consensus/quota.h"
#include "consensus/session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define SNAPSHOT_MAGIC 0x6d707474u
#define SNAPSHOT_FORMAT 1
#define SNAPSHOT_STEP_BYTES (16u << 10)
#define NOW_MAX_MS (UINT64_C(1) << 60) /* so that adding windows to it never wraps */
#define INDEX_MAX (UINT64_C(1) << 57)  /* ids are index * 64 + place */
#define DIGEST_KEEP 512 /* records left to be hashed with the digest: a fraction of a millisecond */

static const struct machine_config defaults = {
    .session_ttl_ms = 3000,
    .session_margin_ms = 1000,
    .max_accounts = 1000000,
    .max_counters = 4000000,
    .max_frozen = 100000,
    .audit_entries = 10000,
    .audit_bytes = 8u << 20,
};

static struct machine_config with_defaults(const struct machine_config *config)
{
    struct machine_config c = *config;
    c.session_ttl_ms = c.session_ttl_ms != 0 ? c.session_ttl_ms : defaults.session_ttl_ms;
    c.session_margin_ms = c.session_margin_ms != 0 ? c.session_margin_ms : defaults.session_margin_ms;
    c.max_accounts = c.max_accounts != 0 ? c.max_accounts : defaults.max_accounts;
    c.max_counters = c.max_counters != 0 ? c.max_counters : defaults.max_counters;
    c.max_frozen = c.max_frozen != 0 ? c.max_frozen : defaults.max_frozen;
    c.audit_entries = c.audit_entries != 0 ? c.audit_entries : defaults.audit_entries;
    c.audit_bytes = c.audit_bytes != 0 ? c.audit_bytes : defaults.audit_bytes;
    return c;
}

static struct store *make_store(void)
{
    const struct store_type *types[STORE_TYPES_MAX];
    const struct {
        const struct store_type *const *types;
        uint32_t n;
    } parts[] = {
        { session_types, session_ntypes },
        { quota_types, quota_ntypes },
        { freeze_types, freeze_ntypes },
        { directory_types, directory_ntypes },
    };
    uint32_t n = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        for (uint32_t j = 0; j < parts[i].n; j++) {
            ensure(n < STORE_TYPES_MAX);
            types[n++] = parts[i].types[j];
        }
    return store_new(types, n);
}

struct machine *machine_new(const struct machine_config *config)
{
    struct machine *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->config = with_defaults(config);
    buf_init(&m->snapshot_part, SIZE_MAX);
    buf_init(&m->snapshot_copies, SIZE_MAX);
    if (pthread_mutex_init(&m->lock, NULL) != 0) {
        free(m);
        return NULL;
    }
    m->store = make_store();
    if (m->store == NULL)
        goto fail;
    m->sessions = sessions_new();
    m->quotas = quotas_new(m);
    m->freezes = freezes_new();
    m->directory = directory_new(m);
    if (m->sessions == NULL || m->quotas == NULL || m->freezes == NULL || m->directory == NULL)
        goto fail;
    return m;
fail:
    machine_free(m);
    return NULL;
}

void machine_free(struct machine *m)
{
    if (m == NULL)
        return;
    if (m->directory != NULL)
        directory_free(m->directory);
    freezes_free(m->freezes);
    quotas_free(m->quotas);
    sessions_free(m->sessions);
    store_free(m->store);
    buf_fini(&m->snapshot_part);
    buf_fini(&m->snapshot_copies);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* ---- effects ---------------------------------------------------------------------------------------------
 */

void machine_effects_init(struct machine_effects *e)
{
    *e = (struct machine_effects){ 0 };
    buf_init(&e->keys, SIZE_MAX);
}

void machine_effects_fini(struct machine_effects *e)
{
    free(e->items);
    buf_fini(&e->keys);
    *e = (struct machine_effects){ 0 };
}

static struct machine_effect *effect_add(struct machine *m)
{
    struct machine_effects *e = m->out;
    if (e->n == e->cap) {
        uint32_t cap = e->cap == 0 ? 16 : e->cap * 2;
        struct machine_effect *items = realloc(e->items, cap * sizeof *items);
        if (items == NULL) {
            m->failed = -ENOMEM;
            return NULL;
        }
        e->items = items;
        e->cap = cap;
    }
    return &e->items[e->n++];
}

void machine_changed(struct machine *m, enum machine_change change, uint64_t id, struct span key)
{
    if (m->out == NULL) /* while restoring: MACHINE_CHANGED_ALL says it */
        return;
    struct machine_effect *e = effect_add(m);
    if (e == NULL)
        return;
    e->is_result = false;
    e->change = change;
    e->id = id;
    /* The keys may still move: its place for now, see keys_settle. */
    e->key = (struct span){ NULL, key.n };
    if (buf_put_span(&m->out->keys, key) != 0)
        m->failed = buf_err(&m->out->keys);
}

static void keys_settle(struct machine_effects *e)
{
    size_t at = 0;
    for (uint32_t i = 0; i < e->n; i++) {
        if (e->items[i].is_result)
            continue;
        e->items[i].key.p = e->items[i].key.n == 0 ? "" : e->keys.data + at;
        at += e->items[i].key.n;
    }
}

int machine_refuse(struct machine_result *r, int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->words, sizeof r->words, fmt, ap);
    va_end(ap);
    return r->err = err;
}

/* ---- applying --------------------------------------------------------------------------------------------
 */

static int apply_by_type(struct machine *m, const struct machine_at *at, const struct command *cmd,
                         struct machine_result *r)
{
    switch (cmd->type) {
    case COMMAND_SESSION_OPEN:
    case COMMAND_SESSION_RENEW:
    case COMMAND_SESSION_EXPIRE:
    case COMMAND_SESSION_CLOSE:
    case COMMAND_CANCEL:
        return session_apply(m, at, cmd, r);
    case COMMAND_GRANT:
    case COMMAND_GRANT_STREAM:
    case COMMAND_RETURN:
        return quota_apply(m, at, session_node(m, cmd->origin.session), cmd, r);
    case COMMAND_LIMITS_REOPEN:
        return quota_reopen(m, at, cmd, r);
    case COMMAND_FREEZE:
    case COMMAND_THAW:
        return freeze_apply(m, at, cmd, r);
    case COMMAND_CLUSTER_INIT: {
        struct directory_cluster before;
        bool founded = directory_cluster(m, &before);
        uint32_t epoch = founded ? before.epoch : 0;
        int err = directory_apply(m, at, cmd, r);
        if (err == 0 && r->err == 0 && founded && epoch != cmd->cluster_init.epoch)
            quota_fill(m); /* after a loss: nobody knows what the last epoch granted */
        return err;
    }
    default:
        return directory_apply(m, at, cmd, r);
    }
}

static int apply_command(struct machine *m, const struct machine_at *at, const struct command *cmd)
{
    struct machine_result r = { 0 };
    int err = 0;
    if (session_admit(m, at, cmd, &r)) {
        err = apply_by_type(m, at, cmd, &r);
        r.now_ms = m->now_ms;
        if (err == 0)
            err = session_remember(m, cmd, &r);
        if (err != 0)
            return err;
    }
    struct machine_effect *e = effect_add(m);
    if (e == NULL)
        return -ENOMEM;
    e->is_result = true;
    e->command = cmd->type;
    e->origin = cmd->origin;
    e->result = r;
    return m->failed;
}

static int apply_entry(struct machine *m, uint64_t index, struct cursor *c)
{
    struct command_entry entry;
    int err = command_entry_decode(c, &entry);
    if (err != 0)
        return err;
    if (entry.n > COMMAND_ENTRY_MAX || entry.now_ms > NOW_MAX_MS || index > INDEX_MAX)
        return ERR_CORRUPT;
    /* Clamped to grow: cluster time never runs backwards, whatever a proposer believes. */
    uint64_t before = m->now_ms;
    if (entry.now_ms > m->now_ms)
        m->now_ms = entry.now_ms;
    for (uint32_t i = 0; i < entry.n; i++) {
        struct command cmd;
        err = command_decode(c, &cmd);
        if (err != 0)
            return err;
        struct machine_at at = {
            .index = index, .place = i, .id = index * COMMAND_ENTRY_MAX + i, .now_ms = m->now_ms
        };
        err = apply_command(m, &at, &cmd);
        if (err != 0)
            return err;
    }
    if (cursor_left(c) != 0)
        return ERR_CORRUPT;
    quota_sweep(m, entry.n, m->now_ms - before);
    return 0;
}

int machine_apply(struct machine *m, uint64_t index, const void *entry, size_t n, struct machine_effects *out)
{
    struct cursor c;
    cursor_init(&c, entry, n);
    out->n = 0;
    buf_reset(&out->keys);
    machine_read_lock(m);
    ensure(index > m->applied);
    m->out = out;
    m->failed = 0;
    int err = apply_entry(m, index, &c);
    m->applied = index;
    m->out = NULL;
    store_digest_ahead(m->store, DIGEST_KEEP);
    machine_read_unlock(m);
    keys_settle(out);
    return err;
}

/* Of all parts; encoded commands without origin. */
int machine_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n)
{
    *n = 0;
    int err = freeze_due(m, now_ms, out, n);
    return err != 0 ? err : directory_due(m, now_ms, out, n);
}

/* ---- reading ---------------------------------------------------------------------------------------------
 */

void machine_read_lock(struct machine *m)
{
    ensure(pthread_mutex_lock(&m->lock) == 0);
}

void machine_read_unlock(struct machine *m)
{
    ensure(pthread_mutex_unlock(&m->lock) == 0);
}

uint64_t machine_applied(const struct machine *m)
{
    return m->applied;
}

uint64_t machine_now_ms(const struct machine *m)
{
    return m->now_ms;
}

uint32_t machine_features(const struct machine *m)
{
    return directory_features(m);
}

bool machine_founded(const struct machine *m)
{
    struct directory_cluster cluster;
    return directory_cluster(m, &cluster);
}

int64_t machine_session_ttl_ms(const struct machine *m)
{
    const struct policy_compiled *p = directory_policy_compiled(m);
    return p->session_ttl_ms > 0 ? p->session_ttl_ms : m->config.session_ttl_ms;
}

int64_t machine_session_margin_ms(const struct machine *m)
{
    const struct policy_compiled *p = directory_policy_compiled(m);
    return p->session_margin_ms > 0 ? p->session_margin_ms : m->config.session_margin_ms;
}

void machine_totals(const struct machine *m, struct machine_totals *out)
{
    *out = (struct machine_totals){ 0 };
    session_totals(m, out);
    quota_totals(m, out);
    freeze_totals(m, out);
    directory_totals(m, out);
}

/* ---- digest and snapshot ---------------------------------------------------------------------------------
 */

uint64_t machine_digest(struct machine *m)
{
    machine_read_lock(m);
    /* Where the time stands is part of what nodes must agree upon. */
    uint64_t digest = store_digest(m->store) ^ (m->now_ms * UINT64_C(0x9e3779b97f4a7c15));
    machine_read_unlock(m);
    return digest;
}

int machine_snapshot_begin(struct machine *m)
{
    machine_read_lock(m);
    m->snapshot_applied = m->applied;
    m->snapshot_now_ms = m->now_ms;
    m->snapshot_begun = false;
    int err = store_snapshot_begin(m->store);
    machine_read_unlock(m);
    return err;
}

int machine_snapshot_step(struct machine *m, struct buf *out)
{
    struct buf *part = &m->snapshot_part, *copies = &m->snapshot_copies;
    buf_reset(part);
    buf_reset(copies);
    machine_read_lock(m);
    if (m->snapshot_begun) {
        store_snapshot_copies(m->store, copies);
    } else {
        buf_put_u32(part, SNAPSHOT_MAGIC);
        buf_put_u32(part, SNAPSHOT_FORMAT);
        buf_put_u64(part, m->snapshot_applied);
        buf_put_u64(part, m->snapshot_now_ms);
        m->snapshot_begun = true;
    }
    int more = store_snapshot_step(m->store, part, SNAPSHOT_STEP_BYTES);
    machine_read_unlock(m);
    int err = buf_put_span(out, buf_span(copies));
    buf_reset(copies);
    buf_shrink(copies, 1u << 20);
    if (err == 0)
        err = buf_put_span(out, buf_span(part));
    return err != 0 ? err : more;
}

void machine_snapshot_end(struct machine *m)
{
    machine_read_lock(m);
    store_snapshot_end(m->store);
    buf_fini(&m->snapshot_part);
    buf_fini(&m->snapshot_copies);
    machine_read_unlock(m);
}

static int rebuild(struct machine *m)
{
    int (*const parts[])(struct machine *) = { directory_restored, session_restored, quota_restored,
                                               freeze_restored };
    int err = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        int e = parts[i](m); /* all of them: none may keep what points into the old state */
        err = err == 0 ? e : err;
    }
    return err;
}

static int restore(struct machine *m, struct cursor *c)
{
    uint32_t magic = cursor_u32(c), format = cursor_u32(c);
    m->applied = cursor_u64(c);
    m->now_ms = cursor_u64(c);
    int err = cursor_err(c);
    if (err == 0 && (magic != SNAPSHOT_MAGIC || format != SNAPSHOT_FORMAT || m->now_ms > NOW_MAX_MS ||
                     m->applied > INDEX_MAX))
        err = ERR_CORRUPT;
    if (err == 0)
        err = store_restore(m->store, c);
    if (err == 0 && cursor_left(c) != 0)
        err = ERR_CORRUPT;
    return err;
}

/* An empty snapshot, so that a store that holds half of something becomes a store that holds nothing. */
static void empty(struct machine *m)
{
    struct cursor nothing;
    cursor_init(&nothing, "", 0);
    (void)store_restore(m->store, &nothing);
    m->applied = m->now_ms = 0;
}

int machine_restore(struct machine *m, const void *p, size_t n)
{
    struct cursor c;
    cursor_init(&c, p, n);
    machine_read_lock(m);
    int err = restore(m, &c);
    if (err != 0)
        empty(m);
    int rebuilt = rebuild(m);
    if (err == 0 && rebuilt != 0) {
        err = rebuilt;
        empty(m);
        (void)rebuild(m);
    }
    machine_read_unlock(m);
    return err;
}
